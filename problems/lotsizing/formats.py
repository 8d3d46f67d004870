"""Instances from and to files, whatever their format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orl.errors import InputError, at
from orl.files import read_head, write_atomically

from .instance import LotSizing
from .psp_format import is_pigments, load_pigments, to_psp
from .sdlsp_format import load_json
from .toml_format import load_toml, to_toml


def sniff(path: Path, head: bytes) -> bool:
    """Return whether a file looks like lot sizing, from its beginning."""
    text = head.decode("utf-8-sig", errors="replace")
    if path.suffix == ".toml":
        says = re.search(r"""^\s*problem\s*=\s*["'](\w+)["']""", text, re.M)
        return says.group(1) == "lotsizing" if says else bool(re.search(r"^\s*rates\s*=", text, re.M))
    if is_pigments(path, text):
        return True
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
    if path.suffix not in (".toml", ".json"):
        text = read_head(path).decode("utf-8-sig", errors="replace")
        if is_pigments(path, text):
            return load_pigments(path, settings or {})
    return (load_toml if path.suffix == ".toml" else load_json)(path, settings or {})


def save(instance: LotSizing, path: Path | str) -> None:
    """Write an instance as TOML, or as a `.psp` file if it is such a problem.

    Raises
    ------
    InputError
        If the name ends neither in .toml nor in .psp, the instance goes on from a state, or a .psp file cannot hold it.
    """
    path = Path(path)
    if path.suffix not in (".toml", ".psp"):
        raise InputError(f"{path}: lot sizing is written as TOML; choose a name ending in .toml, or in .psp.")
    if instance.state is not None:
        raise InputError(f"{path}: an instance in motion cannot be written; write it as it begins.")
    write_atomically(path, to_psp(instance, path) if path.suffix == ".psp" else to_toml(instance))


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
    words.append({"lost": "lost sales", "backlog": "backlog", "forbid": "no shortage"}[settings.unmet])
    if instance.is_sequence_dependent:
        words.append("sequence-dependent set-ups")
    if settings.start == "random":
        words.append("random start")
    if settings.cost_noise:
        words.append(f"cost noise {settings.cost_noise:g}")
    return ", ".join(words)
