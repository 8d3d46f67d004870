"""Plans as tables: a row a period, a column a machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from orl.entries import check_columns, whole
from orl.errors import InputError
from orl.params import nearest
from orl.problem import Columns

from .instance import LotPlan, LotSizing

IDLE = "idle"


def columns(instance: LotSizing, plan: LotPlan) -> Columns:
    """Return a plan as columns: the period, and for every machine the item that it makes, or 'idle'."""
    labels = [IDLE, *(instance.item_label(item) for item in range(instance.num_items))]
    first = instance.first_period
    table: dict[str, list[Any]] = {"period": list(range(first, first + len(plan.choices)))}
    for machine in range(instance.num_machines):
        table[_heading(instance, machine)] = [labels[choice] for choice in plan.choices[:, machine].tolist()]
    return table


def plan(instance: LotSizing, table: Columns) -> LotPlan:
    """Return the plan that columns mean.

    Raises
    ------
    InputError
        If a column is missing or unknown, or an entry is no item of the instance.
    """
    headings = [_heading(instance, machine) for machine in range(instance.num_machines)]
    check_columns(table, ["period", *headings])
    first, length = instance.first_period, len(table["period"])
    for row, period in enumerate(table["period"]):
        if whole(period) != first + row:
            raise InputError(f"column 'period', row {row}: expected {first + row}, got {str(period)[:40]!r}.")
    choice_of = {instance.item_label(item): item + 1 for item in range(instance.num_items)} | {IDLE: 0}
    choices = np.empty((length, instance.num_machines), dtype=np.int64)
    for machine, name in enumerate(headings):
        for row, entry in enumerate(table[name]):
            label = entry if isinstance(entry, str) else str(whole(entry))
            if label not in choice_of:
                known = nearest(str(entry)[:40], choice_of)
                raise InputError(f"column {name!r}, row {row}: there is no item {str(entry)[:40]!r}; {known}")
            choices[row, machine] = choice_of[label]
    return LotPlan(choices)


def _heading(instance: LotSizing, machine: int) -> str:
    return f"machine {instance.machine_label(machine)}"
