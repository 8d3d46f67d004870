"""The uncapacitated plan of each item alone: a bound on the whole, a start, and what Lagrangian relaxation solves.

References
----------
H. M. Wagner, T. M. Whitin (1958). Dynamic version of the economic lot size model. Management Science 5(1).
doi 10.1287/mnsc.5.1.89
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orl.scenario import Scenarios

from .instance import CapacitatedLotSizing
from .kernels_lots import cheapest_lots
from .scenario import realise


class Lots(NamedTuple):
    """Plans of items alone.

    Parameters
    ----------
    costs : ndarray (num_items,)
        The least cost of each.
    production : ndarray (num_periods, num_items)
        Units.
    """

    costs: np.ndarray
    production: np.ndarray


def wagner_whitin(demand: np.ndarray, setup: np.ndarray, holding: np.ndarray, unit: np.ndarray | float = 0.0) -> Lots:
    """Return the cheapest plan of each item without capacity.

    Parameters
    ----------
    demand : (num_periods, num_items)
        Units; zeros are allowed, and ask for no set-up.
    setup : (num_periods, num_items)
        Cost of a set-up in each period.
    holding : (num_items,)
        Cost of a unit in stock at the end of a period.
    unit : (num_periods, num_items) or number
        Cost of a unit made in each period.

    Examples
    --------
    >>> lots = wagner_whitin([[20], [50], [10], [50], [50], [10], [20], [40], [20], [30]], [[100]] * 10, [1])
    >>> lots.costs.tolist(), lots.production[:, 0].tolist()
    ([580.0], [80.0, 0.0, 0.0, 130.0, 0.0, 0.0, 0.0, 90.0, 0.0, 0.0])
    """
    by_item = np.ascontiguousarray(np.asarray(demand, dtype=np.float64).T)
    tables = [
        np.ascontiguousarray(np.broadcast_to(np.asarray(x, dtype=np.float64).T, by_item.shape)) for x in (setup, unit)
    ]
    costs, made = np.empty(len(by_item)), np.empty(by_item.shape)
    room = np.empty(by_item.shape[1] + 1)
    cheapest_lots(by_item, *tables, np.asarray(holding, dtype=np.float64), costs, room, made)
    return Lots(costs, made.T)


class Net(NamedTuple):
    """What demand asks for once the stock at the start is used up.

    Parameters
    ----------
    demand : ndarray (num_periods, num_items)
    holding : float
        What holding that stock costs, whatever is made.
    """

    demand: np.ndarray
    holding: float


def net(instance: CapacitatedLotSizing, demand: np.ndarray) -> Net:
    """Return demand net of the stock at the start, which is used first."""
    left = np.maximum(instance.initial_stock - demand.cumsum(axis=0), 0.0)
    before = np.concatenate([instance.initial_stock[None], left[:-1]])
    return Net(np.maximum(demand - before, 0.0), float((left * instance.holding_costs).sum()))


def bound(instance: CapacitatedLotSizing, scenario: Scenarios) -> float:
    """Return the sum of the items' least costs alone, a proven bound; 0 where set-ups are relaxed."""
    if instance.settings.setups == "relaxed":
        return 0.0
    wanted = net(instance, realise(instance, scenario))
    setup = np.broadcast_to(instance.setup_costs, wanted.demand.shape)
    return float(wagner_whitin(wanted.demand, setup, instance.holding_costs).costs.sum()) + wanted.holding
