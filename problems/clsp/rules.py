"""The rules of capacitated lot sizing: how much stock to keep; none looks at capacity, so overtime may follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from orl.process import Observation
from orl.rule import Rule

from .instance import SETUP, CapacitatedLotSizing

Steer = Callable[[Observation, int], np.ndarray]  # an environment's stocks at the end of the period


def lot_for_lot(instance: CapacitatedLotSizing) -> Steer:
    """Lot for lot: make what the period asks for and no more."""

    def steer(observation: Observation, env: int) -> np.ndarray:
        return np.array(observation.legal[env, 0])

    return steer


def silver_meal(instance: CapacitatedLotSizing) -> Steer:
    """Silver-Meal: what is made lasts as many periods as make the mean cost of a period smallest."""

    def lasts(item: int, demand: np.ndarray) -> int:
        best, cost = np.inf, float(instance.setup_costs[item])
        for periods in range(1, len(demand) + 1):
            cost += instance.holding_costs[item] * (periods - 1) * demand[periods - 1]
            if cost / periods > best:
                return periods - 1
            best = cost / periods
        return len(demand)

    return _lots(instance, lasts)


def wagner_whitin_rule(instance: CapacitatedLotSizing) -> Steer:
    """Wagner-Whitin: the first lot of the item's cheapest plan for expected demand, if there were capacity for all."""

    return priced_lots(instance, np.zeros(instance.num_periods))


def priced_lots(instance: CapacitatedLotSizing, prices: np.ndarray) -> Steer:
    """Return the rule that makes the first lot of each item's cheapest plan at prices of the periods' capacity."""

    from .wagner_whitin import wagner_whitin  # numba is slow to load

    def lasts(item: int, demand: np.ndarray) -> int:
        price = prices[len(prices) - len(demand) :, None]
        setup = instance.setup_costs[item] + price * instance.setup_times[item]
        unit, holding = price * instance.unit_times[item], instance.holding_costs[item : item + 1]
        later = np.flatnonzero(wagner_whitin(demand[:, None], setup, holding, unit).production[1:, 0] > 0)
        return int(later[0]) + 1 if len(later) else len(demand)

    return _lots(instance, lasts)


def _lots(instance: CapacitatedLotSizing, lasts: Callable[[int, np.ndarray], int]) -> Steer:
    """Return the rule that makes an item when it runs out, for so many periods of expected demand."""

    def steer(observation: Observation, env: int) -> np.ndarray:
        view, legal = observation.arrays, observation.legal[env]
        period, stocks = int(view["period"][env]), np.array(legal[0])
        for item in range(instance.num_items):
            short = view["demand"][env, item] - view["stock"][env, item]
            if short > SETUP:  # what rounding leaves is nothing
                demand = instance.expected_demand[period:, item].copy()
                demand[0] = short
                stocks[item] = demand[1 : lasts(item, demand)].sum()
        return np.clip(stocks, legal[0], legal[1])

    return steer


RULES: Mapping[str, Rule] = {
    name: Rule(name, steer=steer, source=source)
    for name, steer, source in (
        ("lot-for-lot", lot_for_lot, ""),
        ("silver-meal", silver_meal, "Silver, Meal (1973)"),
        ("wagner-whitin", wagner_whitin_rule, "Wagner, Whitin (1958), doi 10.1287/mnsc.5.1.89"),
    )
}
