"""Instances from and to files, whatever their format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orl.errors import InputError, at
from orl.files import write_atomically

from .instance import LotSizing
from .sdlsp_format import load_json
from .toml_format import load_toml, to_toml


def sniff(path: Path, head: bytes) -> bool:
    """Return whether a file looks like lot sizing, from its beginning."""
    text = head.decode("utf-8-sig", errors="replace")
    if path.suffix == ".toml":
        says = re.search(r"""^\s*problem\s*=\s*["'](\w+)["']""", text, re.M)
        return says.group(1) == "lotsizing" if says else bool(re.search(r"^\s*rates\s*=", text, re.M))
    return text.lstrip().startswith("{") and '"machine_production"' in text


def load(path: Path, settings: Mapping[str, Any] | None = None) -> LotSizing:
    """Read an instance; `settings` overrides the file's own options.

    Raises
    ------
    InputError
        One line that names the file and what was expected.
    """
    path = Path(path)
    if path.is_dir():
        raise at(path, None, "expected a file, found a folder.")
    return (load_toml if path.suffix == ".toml" else load_json)(path, settings or {})


def save(instance: LotSizing, path: Path | str) -> None:
    """Write an instance as TOML.

    Raises
    ------
    InputError
        If the name does not end in .toml, or the instance goes on from a state.
    """
    path = Path(path)
    if path.suffix != ".toml":
        raise InputError(f"{path}: lot sizing is written as TOML; choose a name ending in .toml.")
    if instance.state is not None:
        raise InputError(f"{path}: an instance in motion cannot be written; write it as it begins.")
    write_atomically(path, to_toml(instance))


def describe(instance: LotSizing) -> str:
    """Say size, horizon and demand in one line."""
    settings = instance.settings
    words = [f"{instance.num_items} items x {instance.num_machines} machines"]
    if settings.is_infinite:
        ends = f"cut off after {instance.horizon} periods, when costs weigh less than {settings.tail:g}"
        words.append(f"infinite horizon, discount {settings.discount:g} ({ends})")
    else:
        discount = f", discount {settings.discount:g}" if settings.discount < 1 else ""
        words.append(f"{instance.horizon} periods{discount}")
    words.append(instance.demand.describe())
    words.append("lost sales" if settings.unmet == "lost" else "backlog")
    if instance.is_sequence_dependent:
        words.append("sequence-dependent set-ups")
    if settings.start == "random":
        words.append("random start")
    if settings.cost_noise:
        words.append(f"cost noise {settings.cost_noise:g}")
    return ", ".join(words)
