"""Lots of one item alone, by dynamic programming: Wagner and Whitin's, with costs that differ by period."""

from __future__ import annotations

import numpy as np

from orl.jit import kernel


@kernel
def cheapest_lots(
    demand: np.ndarray,
    setup: np.ndarray,
    unit: np.ndarray,
    holding: np.ndarray,
    costs: np.ndarray,
    value: np.ndarray,
    made: np.ndarray,
) -> None:
    """Find for every item the cheapest plan without capacity.

    With F_j the least cost of the demand of the first j periods,

        F_j = min over i <= j of F_{i-1} + [d_i + ... + d_j > 0] (setup_i + sum_{k=i..j} (unit_i + (k - i) h) d_k):

    nothing is set up where nothing is needed.

    Parameters
    ----------
    demand, setup, unit : (items, periods)
        Units; cost of a set-up, of a unit made in a period.
    holding : (items,)
        Cost of a unit in stock at the end of a period.
    costs : (items,)
        Written: the least cost.
    value : (periods + 1,)
        Room to work in.
    made : (items, periods)
        Written: what is made. Between rows it holds the first period that a lot which ends there is made in.
    """
    items, periods = demand.shape
    for item in range(items):
        value[0] = 0.0
        for last in range(periods):
            best, begin = np.inf, last
            lot, carried = 0.0, 0.0  # units of the lot; what holding them costs a unit of holding cost
            for first in range(last, -1, -1):
                # One period earlier, all that is made later is held a period longer.
                carried += lot
                lot += demand[item, first]
                cost = value[first]
                if lot > 0.0:
                    cost += setup[item, first] + unit[item, first] * lot + holding[item] * carried
                if cost < best:
                    best, begin = cost, first
            value[last + 1] = best
            made[item, last] = begin
        costs[item] = value[periods]
        last = periods - 1
        while last >= 0:
            begin = int(made[item, last])
            lot = 0.0
            for period in range(begin, last + 1):
                lot += demand[item, period]
                made[item, period] = 0.0
            made[item, begin] = lot
            last = begin - 1
