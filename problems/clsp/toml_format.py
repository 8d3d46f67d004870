"""The TOML of our own, which holds everything that an instance may have; see the README for its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from orl import params
from orl.errors import InputError, at
from orl.files import parse_toml, read_text

from .instance import CapacitatedLotSizing, CapacitatedSettings

_TABLES = ("demand", "capacity", "unit_times", "setup_times", "setup_costs", "holding_costs")
_TOP = ("problem", "name", *_TABLES, "unit_cost", "initial_stock", "options")


def load(path: Path, settings: Mapping[str, Any]) -> CapacitatedLotSizing:
    """Read an instance; `settings` overrides the file's own options."""
    data = parse_toml(read_text(path), path)
    try:
        return _instance(path, data, settings)
    except InputError as error:
        raise at(path, None, str(error).removeprefix(f"{path}: ")) from None


def _instance(path: Path, data: dict[str, Any], settings: Mapping[str, Any]) -> CapacitatedLotSizing:
    for key in data:
        if key not in _TOP:
            raise InputError(f"{key}: unknown; {params.nearest(key, _TOP)}")
    for key in _TABLES:
        if key not in data:
            raise InputError(f"{key} is missing.")
    if data.get("problem", "clsp") != "clsp":
        raise InputError(f"problem: expected 'clsp', got {data['problem']!r}.")
    options, name, unit_cost = data.get("options", {}), data.get("name", path.stem), data.get("unit_cost", 0.0)
    if not isinstance(options, dict):
        raise InputError("options must be a table, [options].")
    if not isinstance(name, str):
        raise InputError(f"name must be text, got {name!r}.")
    if isinstance(unit_cost, bool) or not isinstance(unit_cost, int | float):
        raise InputError(f"unit_cost must be a number, got {unit_cost!r}.")
    tables = {key: data[key] for key in (*_TABLES, "initial_stock") if key in data}
    if isinstance(tables["capacity"], int | float) and isinstance(tables["demand"], list):
        tables["capacity"] = np.full(len(tables["demand"]), tables["capacity"])  # the same in every period
    chosen = params.make(CapacitatedSettings, {**options, **settings}, "clsp")
    return CapacitatedLotSizing(name, **tables, unit_cost=float(unit_cost), settings=chosen, source=str(path))


def to_toml(instance: CapacitatedLotSizing) -> str:
    """Return an instance as TOML."""
    import tomli_w

    data: dict[str, Any] = {"problem": "clsp", "name": instance.name}
    data |= {key: getattr(instance, key).tolist() for key in (*_TABLES, "initial_stock")}
    data["unit_cost"] = float(instance.unit_cost)
    chosen = instance.settings
    options = {f.name: getattr(chosen, f.name) for f in fields(chosen) if getattr(chosen, f.name) != f.default}
    return tomli_w.dumps(data | ({"options": options} if options else {}))
