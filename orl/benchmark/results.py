"""What is in the folder of a batch, checked: rows under the names that the suite gives them, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import msgspec

from orl.benchmark.run_log import FILE, read_plan, read_rows
from orl.errors import InputError
from orl.files import read_text

Row = Mapping[str, Any]


class _Violation(TypedDict):
    message: str


class _Machine(TypedDict):
    cores: int | None
    processor: str


class _Row(TypedDict):
    key: str
    table: str
    label: str
    problem: str
    instance: str
    seed: int
    scenarios: int
    is_random: bool
    purpose: str
    time_limit: float
    status: str
    verified: bool
    clairvoyant: bool
    value: float | None
    costs: list[float]
    bound: float | None
    bound_kind: str
    gap: float | None
    best_known: float | None
    gap_best_known: float | None
    seconds: float | None
    peak_memory_mb: float | None
    trace: list[tuple[float, float | None, float | None]]
    instance_settings: dict[str, Any]
    violations: list[_Violation]
    message: str | None
    started: str
    versions: dict[str, str]
    machine: _Machine
    settings: NotRequired[dict[str, Any]]
    solver: NotRequired[str | None]
    solution: NotRequired[str | None]


@dataclass(frozen=True)
class Batch:
    """The folder of a batch.

    Parameters
    ----------
    folder : Path
    name, description : str
    reference : str or None
        As in `Suite`.
    rows : list of dict
        In the suite's order.
    missing : int or None
        How many of the suite's runs have no row; None: the folder does not say, as those of older versions do not.
    planned : key -> dict
        What the suite says of a run and a row does not: `path`, `options`.
    home : str or None
        The suite's folder.
    suite : str
        The suite's text, or nothing.
    """

    folder: Path
    name: str
    description: str
    reference: str | None
    rows: Sequence[Row]
    missing: int | None
    planned: Mapping[str, Mapping[str, Any]]
    home: str | None
    suite: str


def read_batch(folder: Path) -> Batch:
    """Read the folder of a batch, running or not.

    Raises
    ------
    InputError
        If a file is broken.
    """
    by_key = {row["key"]: row for row in read_rows(folder)}
    try:
        msgspec.convert(list(by_key.values()), list[_Row])
    except msgspec.ValidationError as error:
        raise InputError(f"{folder / FILE}: a row is none of a run: {error}.") from None
    text = read_text(folder / "suite.toml") if (folder / "suite.toml").exists() else ""
    plan = read_plan(folder)
    if plan is None:
        return Batch(folder, folder.resolve().name, "", None, list(by_key.values()), None, {}, None, text)
    rows = [
        {**by_key[run["key"]], "table": run["table"], "label": run["label"]}
        for run in plan["runs"]
        if run["key"] in by_key
    ]
    planned = {run["key"]: run for run in plan["runs"]}
    missing = len(plan["runs"]) - len(rows)
    return Batch(
        folder, plan["name"], plan["description"], plan["reference"], rows, missing, planned, plan["folder"], text
    )
