"""Plans as tables: a row a period, a column an item."""

from __future__ import annotations

from typing import Any

import numpy as np

from orl.entries import check_columns, number
from orl.errors import InputError
from orl.problem import Columns

from .instance import CapacitatedLotSizing, CapacitatedPlan


def columns(instance: CapacitatedLotSizing, plan: CapacitatedPlan) -> Columns:
    """Return a plan as columns: the period, and the units made of every item."""
    table: dict[str, list[Any]] = {"period": list(range(len(plan.production)))}
    return table | {_heading(instance, item): plan.production[:, item].tolist() for item in range(instance.num_items)}


def plan(instance: CapacitatedLotSizing, table: Columns) -> CapacitatedPlan:
    """Return the plan that columns mean.

    Raises
    ------
    InputError
        If a column is missing or unknown, or an entry is no number.
    """
    headings = [_heading(instance, item) for item in range(instance.num_items)]
    check_columns(table, ["period", *headings])
    for row, period in enumerate(table["period"]):
        if number(period) != row:
            found = str(period)[:40]
            raise InputError(f"column 'period', row {row}: expected {row}, got {found!r}.")
    production = np.empty((len(table["period"]), instance.num_items))
    for item, name in enumerate(headings):
        for row, entry in enumerate(table[name]):
            units = number(entry)
            if units is None:
                raise InputError(f"column {name!r}, row {row}: expected a number, got {str(entry)[:40]!r}.")
            production[row, item] = units
    return CapacitatedPlan(production)


def _heading(instance: CapacitatedLotSizing, item: int) -> str:
    return f"item {instance.item_label(item)}"
