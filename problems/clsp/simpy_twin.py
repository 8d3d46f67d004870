"""Capacitated lot sizing as plain SimPy processes: slow and readable, the oracle against which the process is tested.

A market tells what it wants when a period begins; a planner then says how much of every item is to be in stock at the
period's end; items order lots from the one workshop, which counts its time; the market takes what it wants, and the
books of the period are closed. Written from the README's statement, not from the process: of an instance it reads the
fields and what demand can be, of a scenario its uniforms.

It covers all that the process does, with binary and relaxed set-ups, and the rules. Without a price for overtime there
is no process, and no twin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from orl.errors import IllegalAction, InputError
from orl.scenario import Scenarios

from .instance import CapacitatedLotSizing, CapacitatedPlan

NOTHING = 1e-6  # units that are none
TAKEN = 0.5  # the time within a period at which the market takes what it wants


@dataclass
class Plant:
    """What is known when stocks at the end of a period are chosen.

    Parameters
    ----------
    instance : CapacitatedLotSizing
    stock : list of float, (num_items,)
        Units.
    wanted : list of float, (num_items,)
        Demand of this period, units.
    period : int
    costs : list of float
        Of the periods that are closed.
    log : list of lists of float
        What was made in them, units.
    """

    instance: CapacitatedLotSizing
    stock: list[float]
    wanted: list[float]
    period: int = 0
    costs: list[float] = field(default_factory=list)
    log: list[list[float]] = field(default_factory=list)

    def legal(self) -> list[tuple[float, float]]:
        """Return the least and the most stock of every item at the end of the period."""
        found = []
        for item, (stock, wanted) in enumerate(zip(self.stock, self.wanted, strict=True)):
            left = max(stock - wanted, 0.0)
            found.append((left, max(self._room(item), left)))
        return found

    def expected(self, item: int) -> list[float]:
        """Return the mean demand of an item in every period."""
        return [sum(found[item] for found in can_be) / len(can_be) for can_be in self.instance.outcomes.tolist()]

    def setups(self, item: int, lot: float) -> float:
        """Return how many set-ups a lot in this period takes: one, or if relaxed its share of the largest lot."""
        return 1.0 if self.instance.settings.setups == "binary" else lot / self.largest(item)

    def largest(self, item: int) -> float:
        """Return the most of an item that this period can make: what is still wanted, and fits its capacity alone.

        No less than the period can want; where nothing is wanted any more, the most that any period can.
        """
        one, most = self.instance, self._most(item)
        still, takes = sum(most[self.period :]), float(one.unit_times[item])
        left = max(float(one.capacity[self.period] - one.setup_times[item]), 0.0)
        fits = left / takes if takes > 0 else math.inf
        return max(min(still, fits), most[self.period]) or max(*most, 1.0)

    def _most(self, item: int) -> list[float]:
        return [max(found[item] for found in can_be) for can_be in self.instance.outcomes.tolist()]

    def _room(self, item: int) -> float:
        periods = self.instance.settings.stock_limit
        if periods == math.inf:  # more than this is never wanted
            return max(sum(self._most(item)), float(self.instance.initial_stock[item]))
        return periods * sum(self.expected(item)) / self.instance.num_periods


Choose = Callable[[Plant], list[float]]
Played = tuple[list[float], CapacitatedPlan]


def simulate(
    instance: CapacitatedLotSizing, scenario: Scenarios, choose: Choose
) -> tuple[list[float], CapacitatedPlan]:
    """Run an episode; `choose` says how much of every item is to be in stock at the period's end.

    Returns
    -------
    costs : list of float
        Of every period.
    plan : CapacitatedPlan

    Raises
    ------
    InputError
        If overtime has no price.
    IllegalAction
        If `choose` asks for what is not legal.

    Examples
    --------
    >>> from .instance import CapacitatedSettings
    >>> price = CapacitatedSettings(overtime=3.0)
    >>> one = CapacitatedLotSizing("one", [[3], [2]], [4, 4], [1], [1], [10], [1], settings=price)
    >>> simulate(one, Scenarios.deterministic(), lambda plant: [2.0 * (plant.period == 0)])[0]  # 2 held, 2 overtime
    [18.0, 0.0]
    """
    if instance.settings.overtime == math.inf:
        raise InputError(f"{instance.name}: the twin knows no plans without overtime; set overtime=PRICE.")
    plant = Plant(instance, instance.initial_stock.tolist(), [])
    environment = simpy.Environment()
    announced = simpy.Store(environment)
    workshop = _Workshop(environment, plant)
    orders = [simpy.Store(environment) for _ in range(instance.num_items)]
    for item, order in enumerate(orders):
        environment.process(_item(plant, item, order, workshop))
    environment.process(_planner(plant, announced, orders, choose))
    environment.run(until=environment.process(_market(environment, plant, announced, workshop, scenario)))
    return plant.costs, CapacitatedPlan(np.array(plant.log))


class _Workshop:
    """Makes one lot after another, and counts time and set-ups of the period."""

    def __init__(self, environment: simpy.Environment, plant: Plant) -> None:
        self.turns, self._plant = simpy.Resource(environment), plant
        self.open()

    def open(self) -> None:
        """Begin a period."""
        self.used = self.cost = 0.0
        self.made = [0.0] * self._plant.instance.num_items

    def make(self, item: int, lot: float) -> None:
        one, setups = self._plant.instance, self._plant.setups(item, lot)
        self.used += lot * float(one.unit_times[item]) + setups * float(one.setup_times[item])
        self.cost += setups * float(one.setup_costs[item])
        self.made[item] = lot


def _market(
    environment: simpy.Environment, plant: Plant, announced: simpy.Store, workshop: _Workshop, scenario: Scenarios
) -> Generator[simpy.Event, Any, None]:
    one = plant.instance
    for period, can_be in enumerate(one.outcomes.tolist()):
        number = int(scenario.values(0, period + 1)[period] * len(can_be)) if scenario.is_random else 0
        plant.period, plant.wanted = period, can_be[number]
        workshop.open()
        yield announced.put(period)
        yield environment.timeout(TAKEN)
        cost = workshop.cost + one.settings.overtime * max(workshop.used - float(one.capacity[period]), 0.0)
        for item, wanted in enumerate(plant.wanted):
            plant.stock[item] = max(plant.stock[item] - wanted, 0.0)
            cost += plant.stock[item] * float(one.holding_costs[item])
        plant.costs.append(cost)
        plant.log.append(workshop.made)
        yield environment.timeout(1 - TAKEN)


def _planner(
    plant: Plant, announced: simpy.Store, orders: list[simpy.Store], choose: Choose
) -> Generator[simpy.Event, Any, None]:
    while True:
        yield announced.get()
        chosen = choose(plant)
        for item, ((low, high), stock) in enumerate(zip(plant.legal(), chosen, strict=True)):
            if not low - 1e-9 * max(high, 1.0) <= stock <= high + 1e-9 * max(high, 1.0):
                raise IllegalAction(f"a stock of {stock:g} of item {item} is illegal in period {plant.period}.")
            yield orders[item].put(min(max(stock, low), high))


def _item(plant: Plant, item: int, orders: simpy.Store, workshop: _Workshop) -> Generator[simpy.Event, Any, None]:
    while True:
        at_end = yield orders.get()
        lot = at_end + plant.wanted[item] - plant.stock[item]
        if lot > NOTHING:
            with workshop.turns.request() as turn:
                yield turn
                workshop.make(item, lot)
                plant.stock[item] += lot


# Rules --------------------------------------------------------------------------------------------------------------

Lasts = Callable[[list[float], float, float], int]  # (demand, cost of a set-up, of holding) -> periods


def _lot_for_lot(demand: list[float], setup: float, holding: float) -> int:
    return 1


def _silver_meal(demand: list[float], setup: float, holding: float) -> int:
    """Return for how many periods a lot lasts: one more as long as that does not raise the mean cost of a period."""
    mean = [
        (setup + holding * sum(later * units for later, units in enumerate(demand[:periods]))) / periods
        for periods in range(1, len(demand) + 1)
    ]
    return next((n for n in range(1, len(demand)) if mean[n] > mean[n - 1]), len(demand))


def _wagner_whitin(demand: list[float], setup: float, holding: float) -> int:
    """Return how long the first lot of the cheapest plan lasts; of equally cheap ones, that of the latest last lots."""
    least, begins = [0.0], [0]  # of the demand before a period; where the last lot for that begins
    for end in range(1, len(demand) + 1):
        ways = []
        for begin in range(end):
            held = sum((period - begin) * demand[period] for period in range(begin, end))
            ways.append(least[begin] + (setup + holding * held if any(demand[begin:end]) else 0.0))
        least.append(min(ways))
        begins.append(max(begin for begin, cost in enumerate(ways) if cost == least[end]))
    end = len(demand)
    while begins[end] > 0:
        end = begins[end]
    return end


def _rule(lasts: Lasts) -> Choose:
    def choose(plant: Plant) -> list[float]:
        one, chosen = plant.instance, []
        for item, (low, high) in enumerate(plant.legal()):
            short, stock = plant.wanted[item] - plant.stock[item], low
            if short > NOTHING:
                demand = [short, *plant.expected(item)[plant.period + 1 :]]
                stock = sum(demand[1 : lasts(demand, float(one.setup_costs[item]), float(one.holding_costs[item]))])
            chosen.append(min(max(stock, low), high))
        return chosen

    return choose


RULES: Mapping[str, Choose] = {
    "lot-for-lot": _rule(_lot_for_lot),
    "silver-meal": _rule(_silver_meal),
    "wagner-whitin": _rule(_wagner_whitin),
}
