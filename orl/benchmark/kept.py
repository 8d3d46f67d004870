"""Solutions that a batch keeps beside its rows: a file a run, which `orl check` reads and `orl report` draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orl import files
from orl.benchmark.runs import Run
from orl.problem import Problem
from orl.result import Result

FOLDER = "solutions"


def to_json(family: Problem, instance: Any, result: Result, count: int) -> str | None:
    """Return the file of the first `count` solutions of a verified result: their mean is its value."""
    if not (count and result.verified and result.solutions):
        return None
    if count < len(result.solutions):
        costs = result.costs[:count]
        result = replace(
            result,
            solutions=result.solutions[:count],
            costs=costs,
            scenarios=count,
            value=sum(costs) / count,
            # What was said of all scenarios does not hold for the first ones.
            interval=None,
            bound=None,
            bound_kind="none",
            gap=None,
            gap_best_known=None,
            metrics={},
            trace=[],
        )
    return files.solution_json(family, instance, result)


def store(folder: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """Write the solutions that a row brings along into a folder, and return the row with the file's name instead."""
    if row.get("solution") is None:
        return dict(row)
    name = f"{FOLDER}/{row['key']}.json"
    files.make_folder(folder / FOLDER)
    files.write_atomically(folder / name, row["solution"])
    return {**row, "solution": name}


def lost(folder: Path, runs: Sequence[Run], rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the keys of verified rows whose solutions are to be kept and are not there: their runs are made again."""
    wanted = {run.key for run in runs if run.keep_solutions}
    found = {path.stem for path in (folder / FOLDER).glob("*.json")} if wanted else set()
    return {row["key"] for row in rows if row["verified"] and row["key"] in wanted - found}
