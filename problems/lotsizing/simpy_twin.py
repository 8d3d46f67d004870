"""Lot sizing as plain SimPy processes: slow and readable, the oracle against which the kernels are tested.

A machine is a process that is given an order a period; a planner gives the orders, one machine after another, waits for
all machines to finish, and then lets demand come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import simpy

from orl.errors import IllegalAction
from orl.scenario import Scenarios

from .demand import IndependentDemand, PathDemand, SeasonalDemand
from .instance import LotPlan, LotSizing
from .scenario import Realised, realise


@dataclass
class State:
    """What is known when the next machine is told its choice: 0 idle, i + 1 item i.

    Parameters
    ----------
    instance : LotSizing
    setup : list of int, (num_machines,)
        What each machine is set up for.
    on_hand : list of int, (num_items,)
        Units; negative: backlog.
    factors : list of float, (num_items,)
        Cost factors in force.
    last_demand : list of int, (num_items,), or None
        Of the period before, where that is known.
    told : list of int
        Choices in this period of the machines before.
    under_way : list of int, (num_items,)
        Units that the machines before make in this period.
    period : int
        Counted from the beginning of the episode.
    """

    instance: LotSizing
    setup: list[int]
    on_hand: list[int]
    factors: list[float]
    last_demand: list[int] | None = None
    told: list[int] = field(default_factory=list)
    under_way: list[int] = field(default_factory=list)
    period: int = 0

    @staticmethod
    def initial(instance: LotSizing, seen: Realised) -> State:
        """Return the state at the first decision: at the start, or where an instance in motion is."""
        state = State(instance, seen.setup.tolist(), seen.stock.tolist(), [1.0] * instance.num_items)
        state.under_way = [0] * instance.num_items
        if instance.state is not None:
            state.told = instance.state.booked.tolist()  # what they make is on hand already
            if instance.state.last_demand is not None:
                state.last_demand = instance.state.last_demand.tolist()
        return state

    @property
    def machine(self) -> int:
        """The machine that is to be told next."""
        return len(self.told)

    @property
    def stock(self) -> list[int]:
        """Units that there will be before demand, as far as the machines have been told."""
        return [sum(units) for units in zip(self.on_hand, self.under_way, strict=True)]

    @property
    def legal(self) -> list[int]:
        """What the next machine may be told, in order of choices."""
        return [choice for choice in range(self.instance.num_items + 1) if self._is_legal(choice)]

    def setup_cost(self, choice: int) -> float:
        """Return what it costs to set the next machine up for a choice, without the cost factor."""
        one, machine, before = self.instance, self.machine, self.setup[self.machine]
        if choice in (0, before):
            return 0.0
        if one.changeover_costs is not None:
            return float(one.changeover_costs[machine, before, choice])
        assert one.setup_costs is not None
        return float(one.setup_costs[machine, choice - 1])

    def output(self, choice: int) -> int:
        """Return how many units the next machine makes in this period if it is told a choice."""
        one, machine, before = self.instance, self.machine, self.setup[self.machine]
        if choice == 0:
            return 0
        rate = int(one.rates[machine, choice - 1])
        if choice == before:
            return rate
        if one.changeover_losses is not None:
            return max(rate - int(one.changeover_losses[machine, before, choice]), 0)
        assert one.setup_losses is not None
        return max(rate - int(one.setup_losses[machine, choice - 1]), 0)

    def mean_demand(self, item: int, window: int = 1) -> float:
        """Return the mean demand over the next periods, this one first, given the last demand."""
        law, first = self.instance.demand, self.instance.first_period + self.period

        def usual(period: int) -> float:
            if isinstance(law, IndependentDemand):
                return float(law.mean[item])
            if isinstance(law, PathDemand):
                return float(law.path[period, item])
            return float(law.means[item] * law.season[period % len(law.season)])

        is_steady = isinstance(law, IndependentDemand) or (isinstance(law, SeasonalDemand) and len(law.season) == 1)
        mean = window * usual(first) if is_steady else sum(usual(first + ahead) for ahead in range(window))
        if isinstance(law, SeasonalDemand) and self.last_demand is not None:
            share, surprise = law.autocorrelation, self.last_demand[item] - usual(first - 1)
            mean += surprise * share * (1 - share**window) / (1 - share)  # share + share^2 + ... + share^window
        return max(mean, 0.0)

    def spread(self, item: int, window: int) -> float:
        """Return the standard deviation of demand over a window, were all periods independent."""
        law = self.instance.demand
        if isinstance(law, PathDemand):
            return 0.0
        if isinstance(law, SeasonalDemand):
            return math.sqrt(self.mean_demand(item, window))
        return math.sqrt(window * float(law.variance[item]))

    def _is_legal(self, choice: int) -> bool:
        one, settings = self.instance, self.instance.settings
        if choice == 0:
            return True
        if one.rates[self.machine, choice - 1] == 0:
            return False
        if settings.item_machines == "one" and choice in self.told:
            return False
        stock, limit = self.stock[choice - 1] + self.output(choice), one.stock_limits[choice - 1]
        return settings.overflow == "discard" or stock <= limit


class Episode(NamedTuple):
    """What an episode cost, discounted, and what was done in it."""

    cost: float
    plan: LotPlan


class _Order(NamedTuple):
    choice: int
    begun: simpy.Event
    done: simpy.Event


Choose = Callable[[State], int]
Steps = Generator[simpy.Event, object, None]


def simulate(instance: LotSizing, choose: Choose, scenario: Scenarios | None = None) -> Episode:
    """Simulate the process under a policy, from the start or from where an instance in motion is.

    Parameters
    ----------
    instance : LotSizing
    choose : callable (State) -> int
        The choice of machine `state.machine`; of a joint decision it is asked machine by machine, too.
    scenario : Scenarios or None
        One row; None: of an instance in which nothing is random.

    Raises
    ------
    IllegalAction
        If a machine is told what is not among `state.legal`.
    """
    plant = _Plant(instance, choose, realise(instance, scenario or Scenarios.deterministic()))
    plant.env.run(until=plant.env.process(plant.plan()))
    return Episode(plant.cost, LotPlan(plant.rows))  # type: ignore[arg-type]


class _Plant:
    """The machines, the stock and the planner of one simulation."""

    def __init__(self, instance: LotSizing, choose: Choose, seen: Realised) -> None:
        self.instance, self.choose, self.seen = instance, choose, seen
        self.state = State.initial(instance, seen)
        self.cost, self.rows = 0.0, list[list[int]]()
        self.env = simpy.Environment()
        self.orders = [simpy.Store(self.env) for _ in range(instance.num_machines)]
        for machine in range(instance.num_machines):
            self.env.process(self.machine(machine))

    def plan(self) -> Steps:
        state = self.state
        for state.period in range(self.instance.periods_left):
            if self.seen.cost_factors is not None:
                state.factors = self.seen.cost_factors[state.period].tolist()
            working = []
            while state.machine < self.instance.num_machines:
                choice = self.choose(state)
                if choice not in state.legal:
                    raise IllegalAction(
                        f"machine {state.machine} must be told one of {state.legal} in period {state.period}, got {choice}."
                    )
                order = _Order(choice, self.env.event(), self.env.event())
                self.orders[state.machine].put(order)
                yield order.begun
                state.told.append(choice)
                working.append(order.done)
            yield self.env.all_of(working)
            self.meet_demand()
            self.rows.append(state.told)
            state.told = []

    def machine(self, machine: int) -> Steps:
        state, keeps = self.state, self.instance.settings.idle == "keeps-setup"
        while True:
            order = yield self.orders[machine].get()
            assert isinstance(order, _Order)
            choice, item, made = order.choice, order.choice - 1, state.output(order.choice)
            if choice > 0:
                self.pay(state.setup_cost(choice), item)
                state.setup[machine] = choice
                state.under_way[item] += made
            elif not keeps:
                state.setup[machine] = 0
            order.begun.succeed()
            yield self.env.timeout(1)
            if choice > 0:
                state.under_way[item] -= made
                state.on_hand[item] += made
            order.done.succeed()

    def meet_demand(self) -> None:
        one, state = self.instance, self.state
        state.last_demand = self.seen.demand[state.period].tolist()
        for item, demand in enumerate(state.last_demand):
            short = max(demand - state.on_hand[item], 0)
            left = min(max(state.on_hand[item] - demand, 0), int(one.stock_limits[item]))
            self.pay(short * float(one.shortage_costs[item]) + left * float(one.holding_costs[item]), item)
            state.on_hand[item] = left - short if one.settings.unmet == "backlog" else left

    def pay(self, cost: float, item: int) -> None:
        self.cost += self.instance.settings.discount**self.state.period * self.state.factors[item] * cost


# Rules --------------------------------------------------------------------------------------------------------------

Rule = Callable[[State, Sequence[float], int], int]


def rule_choice(name: str, parameters: Sequence[float] = (), seed: int = 0) -> Choose:
    """Return the `choose` that follows a rule.

    Parameters
    ----------
    name : str
        A key of `RULES`.
    parameters : sequence of float
        fixed: a choice a machine; s-S: s and S, in periods; greedy: W, in periods, and K.
    seed : int >= 0
        Of the random rule.
    """
    return lambda state: RULES[name](state, parameters, seed)


def _keep(state: State, parameters: Sequence[float], seed: int) -> int:
    current = state.setup[state.machine]
    return current if current in state.legal else 0


def _fixed(state: State, parameters: Sequence[float], seed: int) -> int:
    choice = int(parameters[state.machine])
    return choice if choice in state.legal else 0


def _base_stock(state: State, parameters: Sequence[float], seed: int) -> int:
    low, high = parameters
    current = state.setup[state.machine]
    if current > 0 and current in state.legal:
        if state.stock[current - 1] < high * state.mean_demand(current - 1):
            return current
    means = {choice: state.mean_demand(choice - 1) for choice in state.legal if choice > 0}
    covers = {choice: state.stock[choice - 1] / mean for choice, mean in means.items() if mean > 0}
    least = min(covers, key=covers.__getitem__, default=0)  # min keeps the first of equals
    return least if least and covers[least] < low else 0


def _greedy(state: State, parameters: Sequence[float], seed: int) -> int:
    savings = {0: 0.0} | {choice: _saving(state, choice, *parameters) for choice in state.legal if choice > 0}
    return max(savings, key=savings.__getitem__)  # max keeps the first of equals


def _saving(state: State, choice: int, window: float, setup_share: float) -> float:
    """Return the shortage that an item's production saves, less the holding of what is then left and the set-up.

    What overflows at the end of the period saves nothing.
    """
    one, item = state.instance, choice - 1
    periods = min(int(window), one.periods_left - state.period)
    before = state.stock[item]
    after = min(before + state.output(choice), int(one.stock_limits[item]) + int(state.mean_demand(item)))
    if after <= before:
        return 0.0
    mean, spread = state.mean_demand(item, periods), state.spread(item, periods)
    met = expected_shortage(before, mean, spread) - expected_shortage(after, mean, spread)
    saved = met * one.shortage_costs[item] - (after - before - met) * one.holding_costs[item] * periods
    return float((saved - setup_share * state.setup_cost(choice)) * state.factors[item])


def expected_shortage(stock: int, mean: float, spread: float) -> float:
    """Return the mean of max(X - stock, 0), X normal: the loss function of the standard normal, scaled."""
    z = (stock - mean) / spread if spread > 1e-9 else math.copysign(math.inf, stock - mean)
    if abs(z) > 6:  # beyond, all demand is met or all stock is sold
        return max(mean - stock, 0.0) if z < 0 else 0.0
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return spread * density + (mean - stock) * math.erfc(z / math.sqrt(2)) / 2


def _random(state: State, parameters: Sequence[float], seed: int) -> int:
    """The largest of numbers drawn for this machine, period and choice."""
    decision = state.period * state.instance.num_machines + state.machine
    return max(state.legal, key=lambda choice: _mixed(seed, decision, choice))


def _mixed(seed: int, decision: int, choice: int) -> int:
    """Return 53 random bits: the finaliser of splitmix64 (Steele et al. 2014, doi 10.1145/2660193.2660195)."""
    bits = 2**64 - 1
    x = (seed + decision * 0x9E3779B97F4A7C15 + choice * 0xD1B54A32D192ED03) & bits
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & bits
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & bits
    return (x ^ x >> 31) >> 11


RULES: Mapping[str, Rule] = {
    "idle": lambda state, parameters, seed: 0,
    "keep": _keep,
    "fixed": _fixed,
    "s-S": _base_stock,
    "greedy": _greedy,
    "random": _random,
}
