"""Lot sizing as a `Process`: the Python side of the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orl import choices
from orl.arrays import read_only
from orl.process import Decision, Observation, Revealed
from orl.rule import Rule, call_table
from orl.scenario import Scenarios

from . import kernels, kernels_codes
from .demand import IndependentDemand, PathDemand
from .instance import LotPlan, LotSizing
from .scenario import realise


class Lots(NamedTuple):
    """The distinct instances of a batch, a row each, padded to M machines and I items.

    `sizes` (rows, ROW_WIDTH) holds whole numbers, see `kernels_codes`; `base` (rows, cycle, I) mean demand, `variance`
    (rows, I) that of independent demand; `demanded` (rows, cycle + 1, I) with unmet=forbid the demand before each
    period, else (rows, 1, I) zeros.
    """

    sizes: np.ndarray
    discount: np.ndarray
    possible: np.ndarray
    output: np.ndarray
    changeover: np.ndarray
    holding: np.ndarray
    shortage: np.ndarray
    limit: np.ndarray
    base: np.ndarray
    variance: np.ndarray
    autocorrelation: np.ndarray
    demanded: np.ndarray


class States(NamedTuple):
    """Where the environments are; `row` (num_envs,) tells which instance each plays.

    `period` counts from the beginning of the episode, `machine` (num_envs,) is the one to be decided, `choice`
    (num_envs, M) what has been told in this period, -1: nothing yet; `log` (num_envs, periods, M) what was done.
    """

    row: np.ndarray
    period: np.ndarray
    machine: np.ndarray
    setup: np.ndarray
    stock: np.ndarray
    choice: np.ndarray
    last_demand: np.ndarray
    factors: np.ndarray
    log: np.ndarray


class Nature(NamedTuple):
    """What the scenarios bring: `demand` and, with cost noise, `factors`, (num_envs, periods, I)."""

    demand: np.ndarray
    factors: np.ndarray
    has_noise: bool


class LotSizingProcess:
    """A batch of lot-sizing problems, stepped decision by decision or run whole under a rule.

    Choice 0 is idle, choice i + 1 is item i. With `decision=machine` an action, (num_envs,), is the choice of the
    machine that is next; with `decision=joint` it is the choices of all, (num_envs, M), which take effect in the
    machines' order. The README of this family documents the arrays of an observation.

    Parameters
    ----------
    instances : sequence of LotSizing
        One an environment; sizes may differ, the largest gives the padding, but the form of the decision may not.
    scenarios : sequence of Scenarios
        One an environment, of one row each.
    fit : sequence of LotSizing
        Further instances that the padding must have room for.

    Examples
    --------
    >>> from orl.problems.lotsizing.demand import PathDemand
    >>> path = PathDemand([[1], [2]])
    >>> one = LotSizing("one", [[3]], [1.0], [10.0], [10], path, 2, [[5.0]])
    >>> process = LotSizingProcess([one], [Scenarios.deterministic()])
    >>> process.decide(np.array([1])).tolist(), process.reveal().cost.tolist()  # a set-up, then 2 units held
    ([5.0], [2.0])
    """

    def __init__(self, instances: Sequence[LotSizing], scenarios: Sequence[Scenarios], fit: Sequence[LotSizing] = ()):
        self.num_envs = len(instances)
        self._instances, self._scenarios = list(instances), list(scenarios)
        known = list({id(one): one for one in (*instances, *fit)}.values())
        forms = {one.settings.decision for one in known}
        if len(forms) > 1:
            raise ValueError("the instances of a batch must agree in their setting decision.")
        self._is_joint = forms == {"joint"}
        self._items = max(one.num_items for one in known)
        self._machines = max(one.num_machines for one in known)
        self._periods = max(one.periods_left for one in known)
        self._cycle = max(_base(one).shape[0] for one in known)
        self._has_noise = any(one.settings.cost_noise > 0 for one in known)
        self._is_on_time = any(one.settings.unmet == "forbid" for one in known)
        width = self._items + 1
        self.decision = Decision("per_machine", width, self._machines) if self._is_joint else Decision("choice", width)
        self._slots = self.decision.machines
        self._legal = np.zeros((self.num_envs, self._slots, width), dtype=bool)
        self._no_legal = read_only(np.zeros_like(self._shaped(self._legal)))
        self._is_over = np.zeros(self.num_envs, dtype=bool)
        self._is_infinite = np.zeros(self.num_envs, dtype=bool)
        self._post = False
        self._distinct: list[LotSizing] = []  # the instance of each row of `_lots`
        self._lots = self._no_lots(0)
        self._states = self._new_states()
        shape = (self.num_envs, self._periods, self._items)
        self._demand = np.zeros(shape, dtype=np.int32)
        self._factors = np.ones(shape if self._has_noise else (1, 1, 1))
        self._start(np.arange(self.num_envs))

    @property
    def instances(self) -> Sequence[LotSizing]:
        return self._instances

    def reset(
        self,
        envs: Sequence[int] | np.ndarray | None = None,
        instances: Sequence[LotSizing] | None = None,
        scenarios: Sequence[Scenarios] | None = None,
    ) -> None:
        if envs is not None and self._post:
            raise RuntimeError("a partial reset must not come between decide and reveal.")
        which = np.arange(self.num_envs) if envs is None else np.asarray(envs, dtype=np.int64)
        if instances is not None:
            self._check_fit(instances)
        for place, env in enumerate(which.tolist()):
            if instances is not None:
                self._instances[env] = instances[place]
            if scenarios is not None:
                self._scenarios[env] = scenarios[place]
        self._start(which)
        if envs is None:
            self._post = False

    def observe(self) -> Observation:
        legal = self._no_legal if self._post else read_only(self._shaped(self._legal))
        return Observation(self._views, self._views["sizes"][:, : kernels_codes.NUM_ITEMS + 1], legal, self._post)

    def decide(self, actions: np.ndarray) -> np.ndarray:
        if self._post:
            raise RuntimeError("decide was called twice; call reveal in between.")
        actions = choices.checked(actions, self._shaped(self._legal), self._is_over)
        actions = actions.reshape(self.num_envs, self._slots)
        cost = np.empty(self.num_envs)
        kernels.decide(self._lots, self._states, self._is_joint, actions, cost)
        self._post = True
        return cost

    def reveal(self) -> Revealed:
        if not self._post:
            raise RuntimeError("reveal was called without decide.")
        cost, discount, is_over = np.empty(self.num_envs), np.empty(self.num_envs), np.empty(self.num_envs, dtype=bool)
        kernels.reveal(self._lots, self._states, self._nature, self._is_joint, cost, discount, is_over, self._legal)
        self._is_over = is_over
        self._post = False
        return Revealed(cost, discount, is_over & ~self._is_infinite, is_over & self._is_infinite)

    def solution(self, env: int) -> LotPlan:
        """Return what has been done so far in one environment."""
        instance = self._instances[env]
        return LotPlan(self._states.log[env, : self._states.period[env], : instance.num_machines])

    def run(self, rule: Rule, seeds: np.ndarray) -> np.ndarray | None:
        if not rule.compiled:
            return None
        parameters = np.zeros((len(self._distinct), max(self._machines, kernels_codes.NUM_PARAMETERS)))
        for row in np.unique(self._states.row).tolist():
            if rule.table is not None:
                values = call_table(rule, self._distinct[row])
                parameters[row, : len(values)] = values
        cost = np.empty(self.num_envs)
        kernels.run(self._lots, self._states, self._nature, rule.compiled, parameters, seeds, cost)
        self._is_over[:] = True
        self._legal[:] = False
        self._post = False
        return cost

    # private

    @property
    def _nature(self) -> Nature:
        return Nature(self._demand, self._factors, self._has_noise)

    def _shaped(self, by_slot: np.ndarray) -> np.ndarray:
        """Return an array (num_envs, slots, choices) in the form of the decision's masks."""
        return by_slot if self._is_joint else by_slot[:, 0]

    def _new_states(self) -> States:
        envs, machines, items = self.num_envs, self._machines, self._items
        whole = np.int64
        return States(
            row=np.zeros(envs, dtype=whole),
            period=np.zeros(envs, dtype=whole),
            machine=np.zeros(envs, dtype=whole),
            setup=np.zeros((envs, machines), dtype=whole),
            stock=np.zeros((envs, items), dtype=whole),
            choice=np.full((envs, machines), -1, dtype=whole),
            last_demand=np.full((envs, items), -1, dtype=whole),
            factors=np.ones((envs, items)),
            log=np.zeros((envs, self._periods, machines), dtype=np.int16 if items < 2**15 else whole),
        )

    def _no_lots(self, rows: int) -> Lots:
        machines, items, choices = self._machines, self._items, self._items + 1
        table = (rows, machines, choices, choices)
        return Lots(
            sizes=np.zeros((rows, kernels_codes.ROW_WIDTH), dtype=np.int64),
            discount=np.ones(rows),
            possible=np.zeros((rows, machines, choices), dtype=bool),
            output=np.zeros(table, dtype=np.int64),
            changeover=np.zeros(table),
            holding=np.zeros((rows, items)),
            shortage=np.zeros((rows, items)),
            limit=np.zeros((rows, items), dtype=np.int64),
            base=np.zeros((rows, self._cycle, items)),
            variance=np.zeros((rows, items)),
            autocorrelation=np.zeros(rows),
            demanded=np.zeros((rows, self._cycle + 1 if self._is_on_time else 1, items), dtype=np.int64),
        )

    def _check_fit(self, instances: Sequence[LotSizing]) -> None:
        room = {
            "items": self._items,
            "machines": self._machines,
            "periods": self._periods,
            "periods of a season or path": self._cycle,
        }
        for one in instances:
            sizes = (one.num_items, one.num_machines, one.periods_left, _base(one).shape[0])
            for (what, most), size in zip(room.items(), sizes, strict=True):
                if size > most:
                    raise ValueError(f"{one.name} does not fit: {size} {what}, room for {most}.")
            if (one.settings.decision == "joint") != self._is_joint:
                raise ValueError("the instances of a batch must agree in their setting decision.")
            if one.settings.unmet == "forbid" and not self._is_on_time:
                raise ValueError(f"{one.name} has unmet=forbid, which none had when the process was made.")
            if one.settings.cost_noise > 0 and not self._has_noise:
                raise ValueError(f"{one.name} has cost noise, which none had when the process was made.")

    def _start(self, envs: np.ndarray) -> None:
        """Put environments at the beginning of their episodes."""
        self._take_instances()
        states = self._states
        for name, value in (("period", 0), ("machine", 0), ("setup", 0), ("stock", 0), ("choice", -1), ("log", 0)):
            getattr(states, name)[envs] = value
        states.last_demand[envs] = -1
        states.factors[envs] = 1.0
        for env in envs.tolist():
            instance = self._instances[env]
            seen = realise(instance, self._scenarios[env])
            periods, items = seen.demand.shape
            self._demand[env, :periods, :items] = seen.demand
            states.setup[env, : instance.num_machines] = seen.setup
            states.stock[env, :items] = seen.stock
            if self._has_noise:
                self._factors[env] = 1.0
                if seen.cost_factors is not None:
                    self._factors[env, :periods, :items] = seen.cost_factors
                    states.factors[env, :items] = seen.cost_factors[0]
            if instance.state is not None:
                booked = instance.state.booked
                states.choice[env, : len(booked)] = booked
                states.machine[env] = len(booked)
                if instance.state.last_demand is not None:
                    states.last_demand[env, :items] = instance.state.last_demand
            self._is_infinite[env] = instance.settings.is_infinite
        self._is_over[envs] = False
        kernels.write_masks(self._lots, states, self._is_joint, envs, self._legal)
        self._views = self._named_views()

    def _take_instances(self) -> None:
        """Give each environment the row of its instance; rows are laid out anew when instances have come or gone."""
        here = list({id(one): one for one in self._instances}.values())
        if [id(one) for one in here] != [id(one) for one in self._distinct]:
            self._lots, self._distinct = self._no_lots(len(here)), here
            for row, one in enumerate(here):
                _lay_out(self._lots, row, one)
        row_of = {id(one): row for row, one in enumerate(self._distinct)}
        self._states.row[:] = [row_of[id(one)] for one in self._instances]

    def _named_views(self) -> Mapping[str, np.ndarray]:
        """Return the arrays of an observation; one instance for all costs no memory."""
        static = self._lots._asdict()
        if len(self._distinct) == 1:
            by_env = {key: np.broadcast_to(rows[0], (self.num_envs, *rows.shape[1:])) for key, rows in static.items()}
        else:
            by_env = {key: rows[self._states.row] for key, rows in static.items()}
        moving = {key: array for key, array in self._states._asdict().items() if key not in ("row", "log")}
        return {key: read_only(array) for key, array in {**moving, **by_env}.items()}


def compiled_choices(
    observation: Observation, code: int, parameters: np.ndarray | None = None, seeds: np.ndarray | None = None
) -> np.ndarray:
    """Return 1 for what a compiled rule chooses, else 0, of the shape of `legal`.

    Parameters
    ----------
    parameters : ndarray (num_envs, n), or None
    seeds : uint64 ndarray (num_envs,), or None
    """
    view, legal = observation.arrays, observation.legal
    num_envs, machines = view["setup"].shape
    padded = np.zeros((num_envs, max(machines, kernels_codes.NUM_PARAMETERS)))
    if parameters is not None:
        padded[:, : parameters.shape[1]] = parameters
    is_joint = legal.ndim == 3
    scores = np.empty((num_envs, machines if is_joint else 1, legal.shape[-1]))
    kernels.options_of_rule(
        *lots_of(observation),
        *(view[name].copy() for name in ("period", "machine", "setup", "stock", "choice", "last_demand", "factors")),
        is_joint,
        code,
        padded,
        np.zeros(num_envs, dtype=np.uint64) if seeds is None else seeds,
        scores,
    )
    return scores if is_joint else scores[:, 0]


def lots_of(observation: Observation) -> tuple[Lots, np.ndarray]:
    """Return the instances of an observation as kernels take them, and the row of each environment."""
    static, num_envs = [observation.arrays[name] for name in Lots._fields], len(observation.sizes)
    is_shared = num_envs > 1 and all(array.strides[0] == 0 for array in static)
    lots = Lots(*(array[:1] if is_shared else np.ascontiguousarray(array) for array in static))
    return lots, np.zeros(num_envs, dtype=np.int64) if is_shared else np.arange(num_envs)


def _base(instance: LotSizing) -> np.ndarray:
    """Return mean demand over the periods of a cycle, (cycle, num_items), before any surprise."""
    law = instance.demand
    if isinstance(law, IndependentDemand):
        return law.mean[None]
    return law.path.astype(np.float64) if isinstance(law, PathDemand) else law.season[:, None] * law.means


def _lay_out(lots: Lots, row: int, one: LotSizing) -> None:
    """Write an instance into its row."""
    codes, settings = kernels_codes, one.settings
    machines, items, choices = one.num_machines, one.num_items, one.num_items + 1
    base = _base(one)
    sizes = lots.sizes[row]
    sizes[codes.NUM_MACHINES], sizes[codes.NUM_ITEMS] = machines, items
    sizes[codes.PERIODS], sizes[codes.FIRST_PERIOD] = one.periods_left, one.first_period
    sizes[codes.BACKLOG] = settings.unmet == "backlog"
    sizes[codes.FORBID] = settings.overflow == "forbid"
    sizes[codes.KEEPS_SETUP] = settings.idle == "keeps-setup"
    sizes[codes.ONE_MACHINE] = settings.item_machines == "one"
    sizes[codes.CYCLE] = len(base)
    sizes[codes.ENDLESS] = settings.is_infinite
    sizes[codes.ON_TIME] = settings.unmet == "forbid"
    if settings.unmet == "forbid":
        lots.demanded[row, 1 : len(base) + 1, :items] = base.cumsum(axis=0)
    lots.discount[row] = settings.discount
    lots.possible[row, :machines, :choices] = one.possible
    lots.output[row, :machines, :choices, :choices] = one.output
    lots.changeover[row, :machines, :choices, :choices] = one.changeover_cost
    lots.holding[row, :items], lots.shortage[row, :items] = one.holding_costs, one.shortage_costs
    lots.limit[row, :items] = one.stock_limits
    lots.base[row, : len(base), :items] = base
    if isinstance(one.demand, IndependentDemand):
        sizes[codes.LAW] = codes.INDEPENDENT
        lots.variance[row, :items] = one.demand.variance
    elif isinstance(one.demand, PathDemand):
        sizes[codes.LAW] = codes.PATH
    else:
        sizes[codes.LAW] = codes.POISSON
        lots.autocorrelation[row] = one.demand.autocorrelation
