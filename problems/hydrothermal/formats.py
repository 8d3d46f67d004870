"""Hydrothermal systems from folders in the formats of HydroPowerModels.jl or msppy, with options.toml of our own, which
holds settings; or from a TOML file elsewhere that holds settings and names the folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from orl import params
from orl.errors import InputError, at
from orl.files import parse_toml, read_text

from . import hydropowermodels_format, msppy_format
from .instance import HydroThermal, HydroThermalSettings
from .tables import read_table

FORMATS = (hydropowermodels_format, msppy_format)


def sniff(path: Path, head: bytes) -> bool:
    """Return whether a folder or a TOML file is a hydrothermal system."""
    if path.is_dir():
        return any(format.sniff(path) for format in FORMATS)
    says = re.search(r"""^\s*problem\s*=\s*["'](\w+)["']""", head.decode("utf-8-sig", errors="replace"), re.M)
    return path.suffix == ".toml" and says is not None and says.group(1) == "hydrothermal"


def load(path: Path, settings: Mapping[str, Any] | None = None) -> HydroThermal:
    """Read a system; `settings` overrides the options of its TOML.

    Raises
    ------
    InputError
        One line that names the file and what was expected.
    """
    path = Path(path)
    options: dict[str, Any] = {}
    folder, name = path, path.name
    if not path.is_dir():
        data = parse_toml(read_text(path), path)
        name, inside = path.stem, data.pop("folder", ".")
        if not isinstance(inside, str):
            raise at(path, None, f"folder must be text, got {inside!r}.")
        folder = path.parent / inside
        data.pop("problem", None)
        options = data
        if not folder.is_dir():
            raise at(path, None, f"folder: there is no folder {inside!r}.")
    elif (path / "options.toml").is_file():
        options = parse_toml(read_text(path / "options.toml"), path / "options.toml")
    if isinstance(inflows := options.get("inflows"), str):  # beside the file that names it
        options["inflows"] = str((path if path.is_dir() else path.parent) / inflows)
    try:
        chosen = params.make(HydroThermalSettings, {**options, **(settings or {})}, "hydrothermal")
    except InputError as error:
        raise at(path, None, str(error)) from None
    format = next((format for format in FORMATS if format.sniff(folder)), hydropowermodels_format)
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            instance = format.load(folder, chosen)
    except InputError as error:
        raise error if str(folder) in str(error) else at(folder, None, str(error)) from None
    except FloatingPointError as error:
        raise at(folder, None, f"numbers are too large, or zero where one divides by them: {error}.") from None
    water, count = instance.reservoirs, len(instance.reservoirs.names)
    for key in ("initial_volumes", "initial_inflows"):
        given = getattr(chosen, key)
        if given is not None and len(given) != count:
            raise at(path, None, f"{key} must have {count} entries, got {len(given)}.")
    try:
        if chosen.initial_volumes is not None:
            water = replace(water, initial_hm3=np.array(chosen.initial_volumes, dtype=np.float64))
    except InputError as error:
        raise at(path, None, str(error)) from None
    first = instance.first_inflow if chosen.initial_inflows is None else np.array(chosen.initial_inflows, np.float64)
    own = read_inflows(Path(chosen.inflows), count) if chosen.inflows else None
    return replace(instance, name=name, source=str(path), reservoirs=water, first_inflow=first, path=own)


def read_inflows(path: Path, count: int) -> np.ndarray:
    """Read a path of inflows of the user's own, m3/s: a row a stage, a column a reservoir, (stages, R)."""
    table = read_table(path)
    if table.shape[1] != count:
        raise at(path, 1, f"expected {count} columns, one a reservoir, got {table.shape[1]}.")
    if (table < 0).any():
        row = int((table < 0).any(axis=1).argmax())
        raise at(path, row + 1, "inflows must be >= 0.")
    return table
