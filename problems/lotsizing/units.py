"""One scenario without shortage as units to be made: what search in layers and exact models stand on.

A unit beyond what is needed by the end is of use only on the way from one item to another. It is ruled out where no
detour is cheaper than the direct way, and costs are those of the first period for ever.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orl.errors import InputError
from orl.scenario import Scenarios

from .instance import LotSizing
from .scenario import realise


class Given(NamedTuple):
    """One scenario, for kernels.

    Parameters
    ----------
    weight : ndarray (periods, items)
        Of costs: discount and cost factors.
    changeover : ndarray (choices, choices)
    possible : bool ndarray (items,)
    first : int ndarray (items + 1,)
        Where the places of each item begin: one for each number of units made, 0 to what is needed in all.
    holding : ndarray (periods, places)
        Cost of stock at the end of a period, units being made by then; infinite where demand is not met.
    surplus : ndarray (periods, items)
        Cost of holding a unit to the end; infinite where none is made beyond what is needed.
    needed : int ndarray (periods, items)
        Units to be made by the end of each period.
    keeps : bool
        Whether an idle machine stays set up.
    """

    weight: np.ndarray
    changeover: np.ndarray
    possible: np.ndarray
    first: np.ndarray
    holding: np.ndarray
    surplus: np.ndarray
    needed: np.ndarray
    keeps: bool


def given_of(instance: LotSizing, scenario: Scenarios) -> tuple[Given, np.ndarray]:
    """Return a scenario for kernels, and the state at its start: units made, none, and the set-up, (items + 1,)."""
    seen = realise(instance, scenario)
    periods, items = seen.demand.shape
    weight = np.repeat(instance.settings.discount ** np.arange(periods)[:, None], items, axis=1)
    if seen.cost_factors is not None:
        weight = weight * seen.cost_factors
    if (seen.stock > instance.stock_limits).any():
        raise InputError(f"{instance.name}: states in layers do not throw stock away; it is above its limit.")
    owed = seen.demand.cumsum(axis=0) - seen.stock
    needed = np.maximum(owed, 0)
    first = np.concatenate([[0], (needed[-1] + 1).cumsum()])
    price = instance.holding_costs * weight
    holding = np.empty((periods, first[-1]))
    for item in range(items):
        stock = np.arange(first[item + 1] - first[item]) - owed[:, item, None]
        paid = np.where(stock < 0, np.inf, np.maximum(stock, 0) * price[:, item, None])
        holding[:, first[item] : first[item + 1]] = paid
    surplus = price[::-1].cumsum(axis=0)[::-1].copy()
    changeover = instance.changeover_cost[0].copy()
    keeps = instance.settings.idle == "keeps-setup"
    if not _detours_pay(changeover, instance.holding_costs, weight, keeps):
        surplus[:] = np.inf
    elif (instance.stock_limits < seen.stock + periods).any():
        raise InputError(f"{instance.name}: states in layers need stock_limits that never bind, as detours may pay.")
    given = Given(weight, changeover, instance.rates[0] > 0, first, holding, surplus, needed, keeps)
    return given, np.concatenate([np.zeros(items, dtype=np.int64), seen.setup])


def can_count_units(instance: LotSizing, scenario: Scenarios) -> bool:
    """Whether `given_of` takes an instance."""
    try:
        given_of(instance, scenario)
    except InputError:
        return False
    return True


def _detours_pay(changeover: np.ndarray, holding: np.ndarray, weight: np.ndarray, keeps: bool) -> bool:
    """Whether making a unit of no use, on the way from one item to another, may be worth its set-up and its holding."""
    if (weight != 1).any():
        return True
    through = changeover[:, 1:, None] + changeover[None, 1:, 1:] + holding[None, :, None]  # from, by way of, to
    direct = changeover[:, None, 1:] if keeps else changeover[:1, None, 1:]
    is_way = ~np.eye(len(holding), dtype=bool)
    return bool((is_way & (through < direct - 1e-9)).any())
