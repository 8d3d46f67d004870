"""Cost and violations of a plan, by plain arithmetic; shares no code with kernels or models."""

from __future__ import annotations

from collections.abc import Iterator

from orl.problem import Report, Violation
from orl.scenario import Scenarios

from .instance import LotPlan, LotSizing
from .scenario import realise

MAX_VIOLATIONS = 20


def verify(instance: LotSizing, scenario: Scenarios, plan: LotPlan) -> Report:
    """Play a plan through a scenario by hand.

    Returns
    -------
    Report
        Without a cost if the plan has another shape than the episode or names choices that there are not.
    """
    periods, machines = instance.periods_left, instance.num_machines
    if plan.choices.shape != (periods, machines):
        expected = f"{periods} periods x {machines} machines"
        return Report(None, (Violation("shape", f"expected {expected}, got shape {plan.choices.shape}."),))
    rows = plan.choices.tolist()
    for period, row in enumerate(rows):
        for machine, choice in enumerate(row):
            if not 0 <= choice <= instance.num_items:
                message = f"period {period}, machine {machine}: there is no choice {choice}."
                return Report(None, (Violation("unknown", message),))
    paid = Ledger(instance, scenario)
    violations: list[Violation] = []
    for period, row in enumerate(rows):
        violations += paid.play(period, row)
    return Report(paid.total, tuple(violations[:MAX_VIOLATIONS]))


class Ledger:
    """Keeps the books of one episode, in plain numbers.

    Attributes
    ----------
    total : float
        Discounted cost.
    setup_cost, holding_cost, shortage_cost : float
        Its parts.
    stock : list of int
    produced, demanded, short, discarded, setups : int
    """

    def __init__(self, instance: LotSizing, scenario: Scenarios):
        self.instance = instance
        seen = realise(instance, scenario)
        self.demand = seen.demand.tolist()
        self.factors = None if seen.cost_factors is None else seen.cost_factors.tolist()
        self.setup, self.stock = seen.setup.tolist(), seen.stock.tolist()
        self.total = self.setup_cost = self.holding_cost = self.shortage_cost = 0.0
        self.produced = self.demanded = self.short = self.discarded = self.setups = 0

    def play(self, period: int, row: list[int]) -> Iterator[Violation]:
        """Play one period and yield what is not allowed in it."""
        found = list(self.make(period, row))
        found += self.sell(period)
        return iter(found)

    def _factor(self, period: int, item: int) -> float:
        return 1.0 if self.factors is None else self.factors[period][item]

    def make(self, period: int, row: list[int]) -> Iterator[Violation]:
        """Set machines up and add what they make to stock; yield what is not allowed."""
        one, settings = self.instance, self.instance.settings
        weight = settings.discount**period
        booked = one.state.booked.tolist() if one.state is not None and period == 0 else []
        for machine, choice in enumerate(row):
            place = f"period {period}, machine {machine}"
            if machine < len(booked):  # done, paid and in stock before the instance begins
                if choice != booked[machine]:
                    yield Violation("booked", f"{place}: {booked[machine]} was booked, the plan says {choice}.")
                continue
            if choice == 0:
                if settings.idle == "loses-setup":
                    self.setup[machine] = 0
                continue
            item, before = choice - 1, self.setup[machine]
            rate = int(one.rates[machine, item])
            if rate == 0:
                yield Violation("impossible", f"{place}: cannot make item {one.item_label(item)}.")
            if settings.item_machines == "one" and choice in row[:machine]:
                yield Violation("machines", f"{place}: another machine makes item {one.item_label(item)} already.")
            loss = 0
            if before != choice:
                if one.changeover_costs is not None:
                    cost = float(one.changeover_costs[machine, before, choice])
                else:
                    cost = float(one.setup_costs[machine, item])  # type: ignore[index]
                if one.changeover_losses is not None:
                    loss = int(one.changeover_losses[machine, before, choice])
                else:
                    loss = int(one.setup_losses[machine, item])  # type: ignore[index]
                paid = weight * cost * self._factor(period, item)
                self.setup_cost += paid
                self.total += paid
                self.setups += 1
            made = max(rate - loss, 0)
            self.setup[machine] = choice
            self.stock[item] += made
            self.produced += made
            if settings.overflow == "forbid" and self.stock[item] > one.stock_limits[item]:
                yield Violation(
                    "overflow",
                    f"{place}: stock of item {one.item_label(item)} becomes {self.stock[item]}, "
                    f"its limit is {one.stock_limits[item]}.",
                )

    def sell(self, period: int) -> Iterator[Violation]:
        """Meet demand, and pay for shortage and for what is left; yield what must not be short."""
        one, settings = self.instance, self.instance.settings
        weight = settings.discount**period
        for item, demand in enumerate(self.demand[period]):
            left = self.stock[item] - demand
            self.demanded += demand
            self.short += min(max(-left, 0), demand)
            self.discarded += max(left - int(one.stock_limits[item]), 0)
            shortage = max(-left, 0) * float(one.shortage_costs[item]) * self._factor(period, item) * weight
            left = min(left, int(one.stock_limits[item]))
            if settings.unmet == "forbid" and left < 0:
                unmet = f"{-left} of {demand} units of item {one.item_label(item)}"
                yield Violation("shortage", f"period {period}: {unmet} are not there.")
            if settings.unmet != "backlog":
                left = max(left, 0)
            holding = max(left, 0) * float(one.holding_costs[item]) * self._factor(period, item) * weight
            self.stock[item] = left
            self.shortage_cost += shortage
            self.holding_cost += holding
            self.total += shortage + holding
