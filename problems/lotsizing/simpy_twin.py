"""Lot sizing as plain SimPy processes: slow and readable, the oracle against which the kernels are tested.

A planner tells one machine after another what to do at the beginning of a period; machines are processes that set up
and make; a market takes its demand at the period's end. Written from the README's statement, not from the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from orl.errors import IllegalAction
from orl.scenario import Scenarios

from .demand import PathDemand
from .instance import LotPlan, LotSizing
from .scenario import Realised, realise

MARKET = 0.5  # the time within a period at which demand comes


@dataclass
class Plant:
    """What is known when a machine is told what to do.

    Parameters
    ----------
    instance : LotSizing
    setup : list of int, (num_machines,)
    stock : list of int, (num_items,)
    told : list of int
        Choices of this period, of the machines before.
    period : int
        Counted from the beginning of the episode.
    """

    instance: LotSizing
    setup: list[int]
    stock: list[int]
    told: list[int]
    period: int = 0
    cost: float = 0.0
    log: list[list[int]] = field(default_factory=list)

    def legal(self) -> list[int]:
        """Return what the next machine may be told."""
        options = [0, *(item + 1 for item in range(self.instance.num_items) if self._can_make(item))]
        if self.instance.settings.unmet != "forbid":
            return options
        return [option for option in options if self._leaves_time(option)] or options

    def _leaves_time(self, option: int) -> bool:
        """Return whether all demand can still be met after a choice: due dates of what is missing, earliest first."""
        one, dues = self.instance, []
        assert isinstance(one.demand, PathDemand)
        for item in range(one.num_items):
            left = self.stock[item] + (option == item + 1)
            for period in range(self.period, one.periods_left):
                for _ in range(one.demand.path[one.first_period + period, item]):
                    left -= 1
                    if left < 0:
                        dues.append(period)
        return all(due >= self.period + 1 + place for place, due in enumerate(sorted(dues)))

    def made(self, machine: int, item: int) -> int:
        """Return what a machine makes of an item in this period, a set-up included."""
        one, before = self.instance, self.setup[machine]
        if before == item + 1:
            return int(one.rates[machine, item])
        if one.changeover_losses is not None:
            loss = one.changeover_losses[machine][before][item + 1]
        else:
            loss = one.setup_losses[machine][item]  # type: ignore[index]
        return max(int(one.rates[machine, item] - loss), 0)

    def setup_cost(self, machine: int, item: int) -> float:
        """Return what it costs to have a machine make an item in this period, before cost factors."""
        one, before = self.instance, self.setup[machine]
        if before == item + 1:
            return 0.0
        if one.changeover_costs is not None:
            return float(one.changeover_costs[machine][before][item + 1])
        return float(one.setup_costs[machine][item])  # type: ignore[index]

    def _can_make(self, item: int) -> bool:
        machine, one = len(self.told), self.instance
        if one.rates[machine, item] == 0:
            return False
        if one.settings.item_machines == "one" and item + 1 in self.told:
            return False
        room = one.stock_limits[item] - self.stock[item]
        return one.settings.overflow == "discard" or self.made(machine, item) <= room


def simulate(instance: LotSizing, scenario: Scenarios, choose: Callable[[Plant], int]) -> tuple[float, LotPlan]:
    """Run an episode; `choose` tells the next machine what to do.

    Returns
    -------
    cost : float
        Discounted; what was booked before a state in motion is not in it.
    plan : LotPlan

    Raises
    ------
    IllegalAction
        If `choose` asks for what is not legal.

    Examples
    --------
    >>> from .demand import PathDemand
    >>> one = LotSizing("one", [[3]], [1.0], [10.0], [10], PathDemand([[1], [2]]), 2, [[5.0]])
    >>> simulate(one, Scenarios.deterministic(), lambda plant: 1)[0]  # a set-up, 2 units held, then 3
    10.0
    """
    brings = realise(instance, scenario)
    booked = [] if instance.state is None else instance.state.booked.tolist()
    plant = Plant(instance, brings.setup.tolist(), brings.stock.tolist(), booked)
    environment = simpy.Environment()
    orders = [simpy.Store(environment) for _ in range(instance.num_machines)]
    done = simpy.Store(environment)
    for machine in range(instance.num_machines):
        environment.process(_machine(plant, machine, orders[machine], done, brings))
    environment.process(_planner(environment, plant, orders, done, choose))
    environment.process(_market(environment, plant, brings))
    environment.run(until=instance.periods_left)
    return plant.cost, LotPlan(np.array(plant.log))


def _weight(plant: Plant, brings: Realised, item: int) -> float:
    factor = 1.0 if brings.cost_factors is None else float(brings.cost_factors[plant.period, item])
    return plant.instance.settings.discount**plant.period * factor


def _planner(
    environment: simpy.Environment,
    plant: Plant,
    orders: list[simpy.Store],
    done: simpy.Store,
    choose: Callable[[Plant], int],
) -> Generator[simpy.Event, Any, None]:
    while True:
        while len(plant.told) < len(orders):
            machine, choice = len(plant.told), choose(plant)
            if choice not in plant.legal():
                raise IllegalAction(f"{choice} is illegal for machine {machine} in period {plant.period}.")
            yield orders[machine].put(choice)
            yield done.get()
            plant.told.append(choice)
        yield environment.timeout(1)


def _machine(
    plant: Plant, machine: int, orders: simpy.Store, done: simpy.Store, brings: Realised
) -> Generator[simpy.Event, Any, None]:
    while True:
        choice = yield orders.get()
        if choice:
            item = choice - 1
            plant.cost += plant.setup_cost(machine, item) * _weight(plant, brings, item)
            plant.stock[item] += plant.made(machine, item)
            plant.setup[machine] = choice
        elif plant.instance.settings.idle == "loses-setup":
            plant.setup[machine] = 0
        yield done.put(machine)


def _market(environment: simpy.Environment, plant: Plant, brings: Realised) -> Generator[simpy.Event, Any, None]:
    one = plant.instance
    yield environment.timeout(MARKET)
    while True:
        for item, demand in enumerate(brings.demand[plant.period].tolist()):
            weight = _weight(plant, brings, item)
            served = min(max(plant.stock[item], 0), demand)
            if one.settings.unmet == "backlog":
                plant.stock[item] -= demand
                missing = max(-plant.stock[item], 0)
            else:
                plant.stock[item] -= served
                missing = demand - served
            plant.stock[item] = min(plant.stock[item], int(one.stock_limits[item]))
            plant.cost += weight * float(one.shortage_costs[item]) * missing
            plant.cost += weight * float(one.holding_costs[item]) * max(plant.stock[item], 0)
        plant.log.append(plant.told)
        plant.told, plant.period = [], plant.period + 1
        yield environment.timeout(1)
