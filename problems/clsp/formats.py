"""Instances from and to files: the literature's text, or a TOML of our own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orl import params
from orl.errors import InputError, at
from orl.files import instance_folder, known_bounds, write_atomically
from orl.problem import KnownBounds

from . import toml_format, trigeiro_format
from .instance import CapacitatedLotSizing, CapacitatedSettings


def sniff(path: Path, head: bytes) -> bool:
    """Return whether a file looks like capacitated lot sizing, from its beginning."""
    text = head.decode("utf-8-sig", errors="replace")
    if path.suffix == ".toml":
        says = re.search(r"""^\s*problem\s*=\s*["'](\w+)["']""", text, re.M)
        return says is not None and says.group(1) == "clsp"
    return trigeiro_format.is_trigeiro(text)


def load(path: Path, settings: Mapping[str, Any] | None = None) -> CapacitatedLotSizing:
    """Read an instance; `settings` overrides the file's own options.

    Raises
    ------
    InputError
        One line that names the file and what was expected.
    """
    path = Path(path)
    if path.is_dir():
        raise at(path, None, "expected a file, found a folder.")
    if path.suffix == ".toml":
        return toml_format.load(path, settings or {})
    return trigeiro_format.load(path, params.make(CapacitatedSettings, settings or {}, "clsp"))


def save(instance: CapacitatedLotSizing, path: Path | str) -> None:
    """Write an instance, as TOML or, with a name that ends in .txt, in the literature's form.

    Raises
    ------
    InputError
        If the name ends otherwise, or the literature's form cannot hold the instance.
    """
    path = Path(path)
    if path.suffix == ".toml":
        write_atomically(path, toml_format.to_toml(instance))
    elif path.suffix == ".txt":
        write_atomically(path, trigeiro_format.to_text(instance))
    else:
        raise InputError(f"{path}: choose a name ending in .toml or .txt.")


def best_known(instance: CapacitatedLotSizing) -> KnownBounds | None:
    """Return the literature's values if this is the very instance that is packaged under its name."""
    known, path = known_bounds("lotsizing", instance.name, "clsp_bounds"), _packaged(instance.name)
    chosen = CapacitatedSettings(formulation=instance.settings.formulation)
    if known is None or instance.settings != chosen or not path.is_file():
        return None
    packaged = trigeiro_format.load(path, chosen)
    keys = ("demand", "capacity", "unit_times", "setup_times", "setup_costs", "holding_costs", "initial_stock")
    is_same = all(np.array_equal(getattr(packaged, key), getattr(instance, key)) for key in keys)
    return known if is_same else None


def _packaged(name: str) -> Path:
    return instance_folder("lotsizing") / f"{name}.txt"


def describe(instance: CapacitatedLotSizing) -> str:
    """Say size, demand and capacity in one line."""
    settings = instance.settings
    words = [f"{instance.num_items} items x {instance.num_periods} periods"]
    words.append(f"mean capacity {instance.capacity.mean():.6g}")
    if settings.demand == "random":
        words.append(f"demand one of {settings.samples} samples, 1 -+ {settings.variation:g} times the file's")
    if settings.overtime < float("inf"):
        words.append(f"overtime {settings.overtime:g} a unit")
    if settings.setups == "relaxed":
        words.append("set-ups relaxed")
    return ", ".join(words)
