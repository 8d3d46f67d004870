"""Schedules as tables: what goes out to JSON and CSV, and comes in again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orl.entries import whole
from orl.errors import InputError
from orl.problem import Columns

from .instance import JobShop, Schedule


def columns(instance: JobShop, schedule: Schedule) -> Columns:
    """Return a schedule as a table, by machine and time; jobs and machines by their names where they have any."""
    order = np.lexsort((schedule.position, schedule.job, schedule.end, schedule.start, schedule.machine))
    return {
        "job": [instance.job_label(j) for j in schedule.job[order].tolist()],
        "operation": schedule.position[order].tolist(),
        "machine": [instance.machine_label(m) for m in schedule.machine[order].tolist()],
        "start": schedule.start[order].tolist(),
        "end": schedule.end[order].tolist(),
    }


def schedule(instance: JobShop, table: Columns) -> Schedule:
    """Return the schedule that a table holds; `verify` judges it.

    Raises
    ------
    InputError
        If a column is missing or an entry is neither a whole number nor a known name; names column and row.
    """
    for key in ("job", "operation", "machine", "start", "end"):
        if key not in table:
            raise InputError(f"a schedule needs the columns job, operation, machine, start, end; {key!r} is missing.")
    names = {"job": instance.job_names or (), "machine": instance.machine_names or ()}
    read = {
        key: _column(key, table[key], names.get(key, ())) for key in ("job", "operation", "machine", "start", "end")
    }
    return Schedule(read["job"], read["operation"], read["machine"], read["start"], read["end"])


def _column(key: str, entries: Sequence[Any], names: Sequence[str]) -> np.ndarray:
    index_of = {name: index for index, name in enumerate(names)}
    values = np.empty(len(entries), dtype=np.int64)
    for row, entry in enumerate(entries):
        found = index_of.get(str(entry)) if names else whole(entry)
        if found is None:
            kind = f"one of {', '.join(names[:5])}" if names else "a whole number"
            raise InputError(f"column {key!r}, row {row}: expected {kind}, got {str(entry)[:40]!r}.")
        values[row] = found
    return values
