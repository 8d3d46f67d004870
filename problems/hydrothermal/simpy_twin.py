"""Hydrothermal dispatch as plain SimPy processes: slow and readable, the oracle against which the process is tested.

A river brings inflows when a stage begins; an operator then says which volumes it is to end with, and requests a
dispatch of the centre; reservoirs turbine and spill as they are told, and their water runs on to those below. Written
from the README's statement, not from the process: of an instance it reads the fields, of a scenario its uniforms.

Volumes follow from flows, not from a program. The centre knows a stage as a list of activities and what each does to
reservoirs, buses and branches. Where the process has one program with a price on the distance from the targets, it has
two, solved by `scipy.optimize.linprog`: the least distance, and the least cost at that distance. The solver is HiGHS,
too, in SciPy's build.

It covers network=dc, transport and single-bus, with finite and periodic horizons, paths, panels, known first inflows
and autoregressions. It does not cover network=ac and soc, commitment=on, and the rules, whose programs may have many
solutions. So may a dispatch: cost and distance from the targets are determined, volumes only if one asks for volumes
that can be reached.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import simpy

from orl.errors import IllegalAction, InputError
from orl.linear import NotSolved
from orl.scenario import Purpose, Scenarios

from .instance import HydroThermal

CLOSED = 0.5  # the time within a stage at which its water has run
# Of the programs. The presolve of SciPy 1.17.1 ended the whole process on one of 16,500 drawn systems: memory was freed
# twice.
OPTIONS = {"presolve": False, "primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
NO_FARTHER = 1e-8  # hm3 farther from the targets than the least distance, which is known as well as programs are
Row = tuple[str, int]  # what is added to: a kind, and the number of a reservoir, bus or branch
Limits = tuple[float, float]
DISTANCE: Row = "distance", 0


class Activity(NamedTuple):
    """Something that a stage can do, more or less of.

    Parameters
    ----------
    cost : float
        Of a unit of it, USD for an hour of the stage.
    low, high : float
        The least and the most of it.
    does : dict of Row to float
        What a unit of it adds: hm3, MW.
    """

    cost: float
    low: float
    high: float
    does: dict[Row, float]


class Operation(NamedTuple):
    """The cheapest way to end a stage as near the targets as can be.

    Parameters
    ----------
    cost : float
        USD for an hour of the stage.
    distance : float
        From the targets, summed over reservoirs, hm3.
    turn, spill : list of float, (R,)
        m3/s; hm3.
    """

    cost: float
    distance: float
    turn: list[float]
    spill: list[float]


class _Request(NamedTuple):
    targets: list[float]
    answer: simpy.Event


@dataclass
class System:
    """What is known when a stage is decided.

    Parameters
    ----------
    instance : HydroThermal
    volume : list of float, (R,)
        hm3, at the beginning of the stage.
    inflow : list of float, (R,)
        m3/s, of the stage.
    stage : int
    costs : list of float
        Of the stages that are over, USD for an hour of each.
    volumes : list of lists of float
        At their ends, hm3.
    """

    instance: HydroThermal
    volume: list[float]
    inflow: list[float]
    stage: int = 0
    costs: list[float] = field(default_factory=list)
    volumes: list[list[float]] = field(default_factory=list)

    @property
    def hm3_per_flow(self) -> float:
        """What a flow of 1 m3/s brings in the stage."""
        return 1.0 if self.instance.holds_energy else 3600 * self.instance.stage_hours / 1e6

    @property
    def load(self) -> list[float]:
        """MW at every bus; with network=single-bus there is one."""
        table = self.instance.network.load_mw
        load = table[(self.instance.first_stage + self.stage) % len(table)].tolist()
        return [sum(load)] if self.instance.settings.network == "single-bus" else load

    def arrived(self) -> list[float]:
        """Return the volumes with the inflow and without any release, hm3."""
        return [volume + self.hm3_per_flow * flow for volume, flow in zip(self.volume, self.inflow, strict=True)]

    def dispatch(self, targets: list[float]) -> Operation:
        """Return the cheapest of the operations that end as near the targets as can be.

        Raises
        ------
        NotSolved
            If there is none.
        """
        activities, limits, count = self._activities(), self._limits(targets), len(self.volume)
        apart = [activity.does.get(DISTANCE, 0.0) for activity in activities]
        distance = float(np.dot(apart, self._cheapest(apart, activities, limits)))
        costs = [activity.cost for activity in activities]
        done = self._cheapest(costs, activities, limits | {DISTANCE: (-np.inf, distance + NO_FARTHER)})
        turn, spill = done[:count].tolist(), done[count : 2 * count].tolist()
        return Operation(self.instance.network.fixed_cost + float(np.dot(costs, done)), distance, turn, spill)

    def _limits(self, targets: list[float]) -> dict[Row, Limits]:
        """Return what activities together may add to reservoirs, buses and branches."""
        water, network = self.instance.reservoirs, self.instance.network
        limits: dict[Row, Limits] = {("power", bus): (load, load) for bus, load in enumerate(self.load)}
        for r, (arrived, target) in enumerate(zip(self.arrived(), targets, strict=True)):
            limits["water", r] = float(water.min_hm3[r]) - arrived, float(water.max_hm3[r]) - arrived
            limits["above", r] = -np.inf, target - arrived
            limits["below", r] = target - arrived, np.inf
        for branch, low in enumerate(network.branch_min_mw.tolist()):
            limits["flow", branch] = low, float(network.branch_max_mw[branch])
        return limits

    def _activities(self) -> list[Activity]:
        """Return turbining, spilling, misses of targets, thermal plants, deficits, and what sends power about."""
        network, water, kind = self.instance.network, self.instance.reservoirs, self.instance.settings.network
        found: list[Activity] = []

        def bus(number: int) -> Row:
            return "power", 0 if kind == "single-bus" else int(number)

        def runs(r: int, hm3: float, into: np.ndarray) -> dict[Row, float]:
            does = defaultdict[Row, float](float)
            for place, more in ((r, -hm3), *((int(below), hm3) for below in np.flatnonzero(into[r]))):
                for row in ("water", "above", "below"):
                    does[row, place] += more
            return does

        for r, rho in enumerate(water.mw_per_flow.tolist()):
            does = runs(r, self.hm3_per_flow, water.turn_into) | {bus(water.bus[r]): rho}
            found.append(Activity(rho * float(water.cost[r]), float(water.min_turn[r]), float(water.max_turn[r]), does))
        for r, cost in enumerate(water.spill_cost.tolist()):
            found.append(Activity(cost, 0.0, np.inf, runs(r, 1.0, water.spill_into)))
        for r in range(len(self.volume)):
            found.append(Activity(0.0, 0.0, np.inf, {("above", r): -1.0, ("below", r): 1.0, DISTANCE: 1.0}))
        plants = (of.tolist() for of in (network.gen_bus, network.gen_cost, network.gen_min_mw, network.gen_max_mw))
        for place, cost, low, high in zip(*plants, strict=True):
            found.append(Activity(cost, low, high, {bus(place): 1.0}))
        for place, load in enumerate(self.load):
            for cost, share in zip(network.deficit_cost.tolist(), network.deficit_share.tolist(), strict=True):
                found.append(Activity(cost, 0.0, np.inf if share == np.inf else share * load, {bus(place): 1.0}))
        return found + (self._flows() if kind == "transport" else self._angles() if kind == "dc" else [])

    def _flows(self) -> list[Activity]:
        """Return one activity a branch: it sends a MW over it."""
        network, found = self.instance.network, []
        for branch, cost in enumerate(network.branch_cost.tolist()):
            source, sink = int(network.branch_from[branch]), int(network.branch_to[branch])
            does = {("power", source): -1.0, ("power", sink): 1.0, ("flow", branch): 1.0}
            found.append(Activity(cost, -np.inf, np.inf, does))
        return found

    def _angles(self) -> list[Activity]:
        """Return one activity a bus: it turns its angle by a radian, which drives power over all its branches."""
        network = self.instance.network
        assert network.branch_mw_per_rad is not None
        costs, does = [0.0] * len(self.load), [defaultdict[Row, float](float) for _ in self.load]
        for branch, driven in enumerate(network.branch_mw_per_rad.tolist()):
            source, sink = int(network.branch_from[branch]), int(network.branch_to[branch])
            for bus, much in ((source, driven), (sink, -driven)):
                does[bus]["power", source] -= much
                does[bus]["power", sink] += much
                does[bus]["flow", branch] += much
                costs[bus] += float(network.branch_cost[branch]) * much
        turns = [0.0 if bus == network.reference_bus else np.inf for bus in range(len(self.load))]
        return [Activity(*one) for one in zip(costs, [-most for most in turns], turns, does, strict=True)]

    def _cheapest(self, costs: list[float], activities: list[Activity], limits: dict[Row, Limits]) -> np.ndarray:
        """Return how much of each activity is done at least cost, (activities,)."""
        from scipy.optimize import linprog  # slow to load

        equal, right, most, highest = [], [], [], []
        for row in sorted(limits.keys() & {row for activity in activities for row in activity.does}):
            line, (low, high) = np.array([activity.does.get(row, 0.0) for activity in activities]), limits[row]
            if low == high:
                equal.append(line)
                right.append(low)
                continue
            for lines, limit in ((line, high), (-line, -low)):
                if limit < np.inf:
                    most.append(lines)
                    highest.append(limit)
        bounds = [(activity.low, activity.high) for activity in activities]
        found = linprog(costs, most, highest, equal, right, bounds, options=OPTIONS)
        if found.status != 0:
            raise NotSolved(f"{self.instance.name}: stage {self.stage} has no dispatch ({found.message})")
        return np.asarray(found.x)


Steps = Generator[simpy.Event, Any, None]
Choose = Callable[[System], list[float]]


def simulate(instance: HydroThermal, scenario: Scenarios, choose: Choose) -> tuple[list[float], list[list[float]]]:
    """Run an episode; `choose` says which volumes a stage is to end with, hm3, one a reservoir.

    Returns
    -------
    costs : list of float
        Of every stage, USD for an hour of it, not discounted.
    volumes : list of lists of float
        At the ends of stages, hm3.

    Raises
    ------
    InputError
        With network=ac, network=soc or commitment=on.
    IllegalAction
        If `choose` asks for volumes outside the limits.
    NotSolved
        If a stage has no dispatch.

    Examples
    --------
    >>> import orl
    >>> one = orl.load("hydrothermal/case3deterministic", settings={"stages": 2})
    >>> costs, volumes = simulate(one, Scenarios.deterministic(), lambda system: [0.1])
    >>> len(costs), [round(volume, 6) for volume, in volumes]
    (2, [0.1, 0.1])
    """
    if instance.settings.network in ("ac", "soc"):
        raise InputError(f"{instance.name}: the twin knows no network={instance.settings.network}.")
    instance.refuse_commitment("the twin")
    environment, system = simpy.Environment(), System(instance, instance.reservoirs.initial_hm3.tolist(), [])
    begun, requests = simpy.Store(environment), simpy.Store(environment)
    reservoirs = [_Reservoir(environment, volume) for volume in system.volume]
    for r in range(len(reservoirs)):
        environment.process(_runs(system, r, reservoirs))
    environment.process(_operator(environment, system, begun, requests, reservoirs, choose))
    environment.process(_centre(system, requests))
    environment.run(until=environment.process(_river(environment, system, begun, reservoirs, scenario)))
    return system.costs, system.volumes


class _Reservoir:
    """Holds water, hm3, and is told what to turbine and to spill."""

    def __init__(self, environment: simpy.Environment, hm3: float) -> None:
        self.hm3, self.orders = hm3, simpy.Store(environment)


def _river(
    environment: simpy.Environment,
    system: System,
    begun: simpy.Store,
    reservoirs: list[_Reservoir],
    scenario: Scenarios,
) -> Steps:
    for stage in range(system.instance.num_stages):
        system.stage, system.inflow = stage, _inflow(system.instance, scenario, stage, system.inflow)
        for reservoir, hm3 in zip(reservoirs, system.arrived(), strict=True):
            reservoir.hm3 = hm3
        yield begun.put(stage)
        yield environment.timeout(CLOSED)
        system.volume = [reservoir.hm3 for reservoir in reservoirs]
        system.volumes.append(system.volume)
        yield environment.timeout(1 - CLOSED)


def _operator(
    environment: simpy.Environment,
    system: System,
    begun: simpy.Store,
    requests: simpy.Store,
    reservoirs: list[_Reservoir],
    choose: Choose,
) -> Steps:
    water = system.instance.reservoirs
    while True:
        yield begun.get()
        targets = [float(volume) for volume in choose(system)]
        for name, low, volume, high in zip(water.names, water.min_hm3, targets, water.max_hm3, strict=True):
            if not low - 1e-9 * max(high, 1.0) <= volume <= high + 1e-9 * max(high, 1.0):
                raise IllegalAction(f"a volume of {volume:g} of {name} is illegal in stage {system.stage}.")
        request = _Request(targets, environment.event())
        yield requests.put(request)
        dispatch = yield request.answer
        for r, reservoir in enumerate(reservoirs):
            yield reservoir.orders.put((dispatch.turn[r], dispatch.spill[r]))
        system.costs.append(dispatch.cost)


def _centre(system: System, requests: simpy.Store) -> Steps:
    while True:
        request = yield requests.get()
        request.answer.succeed(system.dispatch(request.targets))


def _runs(system: System, r: int, reservoirs: list[_Reservoir]) -> Steps:
    water = system.instance.reservoirs
    while True:
        turn, spill = yield reservoirs[r].orders.get()
        for hm3, into in ((system.hm3_per_flow * turn, water.turn_into), (spill, water.spill_into)):
            reservoirs[r].hm3 -= hm3
            for below in np.flatnonzero(into[r]):
                reservoirs[below].hm3 += hm3


def _inflow(instance: HydroThermal, scenario: Scenarios, stage: int, before: list[float]) -> list[float]:
    """Return the inflows of a stage, m3/s."""
    if instance.path is not None:
        return instance.path[stage].tolist()
    if stage == 0 and instance.first_inflow is not None:
        return instance.first_inflow.tolist()
    row = (instance.first_stage + stage) % len(instance.inflows)
    drawn = instance.inflows[row, _number(instance, scenario, stage, row)].tolist()
    if (memory := instance.autoregression) is None:
        return drawn
    grown = zip(drawn, memory.base[row].tolist(), memory.slope[row].tolist(), before, strict=True)
    return [error * (base + slope * last) for error, base, slope, last in grown]


def _number(instance: HydroThermal, scenario: Scenarios, stage: int, row: int) -> int:
    """Return the number of a stage's inflow scenario."""
    if not scenario.is_random:
        return 0
    if instance.panel is not None and scenario.purpose == Purpose.EVALUATE:
        return int(instance.panel[stage, scenario.rows[0]])
    reached = list(accumulate(instance.probabilities[row].tolist()))
    point = scenario.values(0, stage + 1)[stage] * reached[-1]
    return next((number for number, share in enumerate(reached) if point < share), len(reached) - 1)
