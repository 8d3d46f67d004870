"""Plans as tables: a row a period, a column an item."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from orl.errors import InputError
from orl.params import nearest
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
    expected = ["period", *headings]
    for name in table:
        if name not in expected:
            raise InputError(f"unknown column {name!r}; {nearest(name, expected)}")
    for name in expected:
        if name not in table:
            raise InputError(f"column {name!r} is missing.")
    for row, period in enumerate(table["period"]):
        if _number(period) != row:
            found = str(period)[:40]
            raise InputError(f"column 'period', row {row}: expected {row}, got {found!r}.")
    production = np.empty((len(table["period"]), instance.num_items))
    for item, name in enumerate(headings):
        for row, entry in enumerate(table[name]):
            number = _number(entry)
            if number is None:
                raise InputError(f"column {name!r}, row {row}: expected a number, got {str(entry)[:40]!r}.")
            production[row, item] = number
    return CapacitatedPlan(production)


def _heading(instance: CapacitatedLotSizing, item: int) -> str:
    return f"item {instance.item_label(item)}"


def _number(entry: Any) -> float | None:
    """Return the finite number that an entry of JSON or CSV means, or None."""
    if isinstance(entry, bool):
        return None
    try:
        number = float(entry)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
