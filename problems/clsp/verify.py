"""Cost and violations of a plan, by plain arithmetic; shares no code with processes or models."""

from __future__ import annotations

import math

from orl.problem import Report, Violation
from orl.scenario import Scenarios

from .instance import SETUP, CapacitatedLotSizing, CapacitatedPlan
from .scenario import realise

MAX_VIOLATIONS = 20
TOLERANCE = 1e-6  # units and capacity, or share of them


def verify(instance: CapacitatedLotSizing, scenario: Scenarios, plan: CapacitatedPlan) -> Report:
    """Play a plan through a scenario by hand.

    Returns
    -------
    Report
        Without a cost if the plan has another shape than the episode, or holds what is no number.
    """
    shape = (instance.num_periods, instance.num_items)
    if plan.production.shape != shape:
        message = f"expected {shape[0]} periods x {shape[1]} items, got shape {plan.production.shape}."
        return Report(None, (Violation("shape", message),))
    books = Books(instance, scenario, plan)
    if not all(math.isfinite(amount) for row in books.production for amount in row):
        return Report(None, (Violation("shape", "production must be finite numbers."),))
    return Report(sum(books.play().values()), tuple(books.violations[:MAX_VIOLATIONS]))


class Books:
    """Keeps the books of one episode, in plain numbers.

    Attributes
    ----------
    production, demand : list of lists of float, periods x items
    stock : list of lists of float
        At the end of each period that was played.
    used : list of float
        Capacity of each period that was played.
    setups : int
    violations : list of Violation
    """

    def __init__(self, instance: CapacitatedLotSizing, scenario: Scenarios, plan: CapacitatedPlan):
        self.instance = instance
        self.production, self.demand = plan.production.tolist(), realise(instance, scenario).tolist()
        self.stock: list[list[float]] = []
        self.used: list[float] = []
        self.setups = 0
        self.violations: list[Violation] = []

    def play(self) -> dict[str, float]:
        """Play all periods; return costs of set-ups, holding and overtime."""
        one, costs = self.instance, {"setup": 0.0, "holding": 0.0, "overtime": 0.0}
        stock = one.initial_stock.tolist()
        for period, row in enumerate(self.production):
            used = 0.0
            for item, made in enumerate(row):
                place = f"period {period}, item {one.item_label(item)}"
                demand = self.demand[period][item]
                if made < -TOLERANCE * max(1.0, demand):
                    self._wrong("production", f"{place}: {made:.6g} units are made.")
                share = self._setups(period, item, made)
                costs["setup"] += share * float(one.setup_costs[item])
                used += float(one.unit_times[item]) * made + share * float(one.setup_times[item])
                left = stock[item] + made - demand
                slack = TOLERANCE * max(1.0, demand, stock[item])
                if left < -slack:
                    self._wrong("demand", f"{place}: {-left:.6g} units are missing.")
                if left > float(one.stock_limits[item]) + slack:
                    self._wrong("stock", f"{place}: {left:.6g} in stock, at most {one.stock_limits[item]:.6g} may be.")
                stock[item] = left
                costs["holding"] += max(left, 0.0) * float(one.holding_costs[item])
            beyond = used - float(one.capacity[period])
            if beyond > TOLERANCE * max(1.0, float(one.capacity[period])):
                if one.settings.overtime == math.inf:
                    self._wrong("capacity", f"period {period}: {beyond:.6g} too much is used.")
                else:
                    costs["overtime"] += beyond * one.settings.overtime
            self.stock.append(list(stock))
            self.used.append(used)
        return costs

    def _setups(self, period: int, item: int, made: float) -> float:
        """Return how many set-ups an amount takes."""
        if made <= SETUP:
            return 0.0
        self.setups += 1
        if self.instance.settings.setups == "binary":
            return 1.0
        return made / float(self.instance.largest_lots[period, item])

    def _wrong(self, kind: str, message: str) -> None:
        self.violations.append(Violation(kind, message))
