"""Hydrothermal dispatch as a `Process`: targets for the volumes at the end of the stage, met as nearly as can be.

What a target asks for may not be reachable: there may be too little water, or too much to turbine and no wish to spill.
The stage problem is then solved with the target's distance, summed over reservoirs, at a price above any value that
water can have; what was executed is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import csr_array, hstack

from orl.arrays import read_only
from orl.convex import build_program
from orl.linear import NotSolved
from orl.process import Decision, Observation, Revealed, checked_targets
from orl.rule import Rule
from orl.scenario import Scenarios

from .figures import figures
from .instance import HydroThermal
from .plans import Dispatch, reader
from .scenario import realise
from .soc import FINE
from .stages import PRICE, Columns, Loads, columns, most_worth, stage_of

if TYPE_CHECKING:
    from .ac_dispatcher import AcDispatcher


class Executed(NamedTuple):
    """The decision of one stage, and what the next one may begin with."""

    cost: float
    columns: np.ndarray
    memory: Any = None


class Dispatcher:
    """The stage problem of an instance with targets for the volumes at its end.

    Parameters
    ----------
    instance : HydroThermal
    """

    def __init__(self, instance: HydroThermal):
        stage = stage_of(instance, 0)
        self.at: Columns = columns(instance)
        count, width = len(self.at.after), len(stage.cost)
        # Two columns a reservoir: how far the volume ends above and below its target, in rows of their own.
        below = np.zeros((count, width))
        below[np.arange(count), self.at.after] = 1.0
        matrix = csr_array(
            np.vstack([
                hstack([stage.matrix, csr_array((stage.matrix.shape[0], 2 * count))]).toarray(),
                np.hstack([below, -np.eye(count), np.eye(count)]),
            ])
        )  # fmt: skip
        self._price = PRICE * most_worth(instance)
        self._target_rows = stage.matrix.shape[0] + np.arange(count)
        self._stage, self._loads, self._upper = stage, Loads(instance), stage.upper.copy()
        self._upper[self.at.deficit] = np.inf  # by stage; the solver keeps it
        self._read = reader(instance)
        self._program = build_program(
            np.concatenate([stage.cost, np.full(2 * count, self._price)]),
            np.concatenate([stage.lower, np.zeros(2 * count)]),
            np.concatenate([stage.upper, np.full(2 * count, np.inf)]),
            matrix,
            np.concatenate([stage.row_lower, np.zeros(count)]),
            np.concatenate([stage.row_upper, np.zeros(count)]),
            f"{instance.name} dispatch",
            [(stage.separate, np.arange(width))],
            FINE,
        )
        water = instance.reservoirs
        # Whatever must be turbined, there is enough of. In a ring of full reservoirs it has nowhere to go: then every
        # dispatch is found from scratch.
        with suppress(NotSolved):
            self.execute(0, water.max_hm3, instance.hm3_per_flow * water.min_turn, water.max_hm3)
            self._program.keep_basis()  # whatever was solved before, the same question has the same answer

    @property
    def volume(self) -> np.ndarray:
        """Columns that hold the volumes at the end of a stage."""
        return self.at.after

    def execute(
        self, stage: int, volume: np.ndarray, arriving_hm3: np.ndarray, target: np.ndarray, memory: None = None
    ) -> Executed:
        """Return the cheapest dispatch of a stage that ends as near the target as can be."""
        self._loads.set(self._program, stage)
        self._program.set_columns(self.at.before, volume, volume)
        self._program.set_rows(self._stage.noise_rows, arriving_hm3, arriving_hm3)
        self._program.set_rows(self._target_rows, target, target)
        found = self._program.solve(from_kept=True).columns[: len(self._stage.cost)]
        found = np.clip(found, self._stage.lower, self._upper)
        return Executed(float(self._stage.cost @ found), found)

    def read(self, done: np.ndarray) -> Dispatch:
        """Return what columns (stages, width) of executed stages mean."""
        return self._read(done.reshape(len(done), len(self._stage.cost)))


class HydroThermalProcess:
    """A batch of systems, stepped stage by stage.

    An action, (num_envs, R), holds the volumes at the end of the stage, hm3, that the stage's dispatch is to reach.
    The README of this family documents the arrays of an observation.

    Parameters
    ----------
    instances : sequence of HydroThermal
        One an environment; the numbers of reservoirs may differ, the largest gives the padding.
    scenarios : sequence of Scenarios
        One an environment, of one row each.
    fit : sequence of HydroThermal
        Further instances that the padding must have room for.
    """

    def __init__(
        self, instances: Sequence[HydroThermal], scenarios: Sequence[Scenarios], fit: Sequence[HydroThermal] = ()
    ):
        self.num_envs = len(instances)
        self.instances, self._scenarios = list(instances), list(scenarios)
        self._width = max(len(one.reservoirs.names) for one in (*instances, *fit))
        self.decision = Decision("targets", self._width)
        self._dispatchers: WeakKeyDictionary[HydroThermal, Dispatcher | AcDispatcher] = WeakKeyDictionary()
        self._post = False
        shape = (self.num_envs, self._width)
        self._volume, self._inflow = np.zeros(shape), np.zeros(shape)
        self._stage = np.zeros(self.num_envs, dtype=np.int64)
        self._legal = np.zeros((self.num_envs, 2, self._width))
        self._sizes = np.zeros((self.num_envs, 3), dtype=np.int64)
        self._figures = {
            name: np.zeros((self.num_envs, *value.shape), dtype=value.dtype)
            for name, value in figures(self.instances[0], self._width).items()
        }
        self._inflows: list[np.ndarray] = [np.zeros((0, 0))] * self.num_envs
        self._log: list[list[np.ndarray]] = [[] for _ in range(self.num_envs)]
        self._memory: list[Any] = [None] * self.num_envs  # what the next stage may begin with
        self._start(range(self.num_envs))

    def reset(
        self,
        envs: Sequence[int] | np.ndarray | None = None,
        instances: Sequence[HydroThermal] | None = None,
        scenarios: Sequence[Scenarios] | None = None,
    ) -> None:
        if envs is not None and self._post:
            raise RuntimeError("a partial reset must not come between decide and reveal.")
        which = list(range(self.num_envs)) if envs is None else [int(env) for env in envs]
        for place, env in enumerate(which):
            if instances is not None:
                if len(instances[place].reservoirs.names) > self._width:
                    raise ValueError(f"{instances[place].name} does not fit the padding; name it in `fit`.")
                self.instances[env] = instances[place]
            if scenarios is not None:
                self._scenarios[env] = scenarios[place]
        self._start(which)
        if envs is None:
            self._post = False

    def observe(self) -> Observation:
        arrays = {
            "stage": self._stage,
            "calendar": self._stage + np.array([one.first_stage for one in self.instances]),
            "row": np.array([one.row(int(stage)) for one, stage in zip(self.instances, self._stage, strict=True)]),
            "volume": self._volume,
            "inflow": self._inflow,
            **self._figures,
        }
        views = {name: read_only(array) for name, array in arrays.items()}
        return Observation(views, read_only(self._sizes), read_only(self._legal), self._post)

    def decide(self, actions: np.ndarray) -> np.ndarray:
        """Dispatch one stage in every environment; see the class.

        Raises
        ------
        IllegalAction
            If a target is outside the limits of its reservoir.
        NotSolved
            If a stage has no dispatch at all: flows that must be turbined ask for more water than there is.
        """
        if self._post:
            raise RuntimeError("decide was called twice; call reveal in between.")
        actions = checked_targets(actions, self._legal, self._is_over, "reservoir", "hm3")
        cost = np.zeros(self.num_envs)
        for env in np.flatnonzero(~self._is_over).tolist():
            one = self.instances[env]
            count = len(one.reservoirs.names)
            executed = self._dispatcher(one).execute(
                int(self._stage[env]),
                self._volume[env, :count],
                self._inflow[env, :count] * one.hm3_per_flow,
                actions[env, :count],
                self._memory[env],
            )
            cost[env], self._memory[env] = executed.cost, executed.memory
            self._log[env].append(executed.columns)
            self._volume[env, :count] = executed.columns[self._dispatcher(one).volume]
        self._post = True
        return cost

    def reveal(self) -> Revealed:
        if not self._post:
            raise RuntimeError("reveal was called without decide.")
        self._post = False
        discount = np.ones(self.num_envs)
        for env in np.flatnonzero(~self._is_over).tolist():
            discount[env] = self.instances[env].settings.discount
            self._stage[env] += 1
            self._show(env)
            # Where nothing ends an episode is only cut off, and its last observation is one as any other.
            has_end = self.instances[env].settings.horizon == "finite"
            if has_end and self._stage[env] == self.instances[env].num_stages:
                self._legal[env] = 0.0
        is_over = self._is_over
        is_ring = np.array([one.settings.horizon == "periodic" for one in self.instances])
        return Revealed(np.zeros(self.num_envs), discount, is_over & ~is_ring, is_over & is_ring)

    def solution(self, env: int) -> Dispatch:
        """Return what has been dispatched so far in one environment."""
        return self._dispatcher(self.instances[env]).read(np.array(self._log[env]))

    def run(self, rule: Rule, seeds: np.ndarray) -> np.ndarray | None:
        return None

    # private

    @property
    def _is_over(self) -> np.ndarray:
        return self._stage >= np.array([one.num_stages for one in self.instances])

    def _start(self, envs: Sequence[int] | range) -> None:
        for env in envs:
            one = self.instances[env]
            one.refuse_commitment("a process of linear stages")
            count = len(one.reservoirs.names)
            self._inflows[env] = realise(one, self._scenarios[env])
            self._volume[env], self._stage[env], self._log[env], self._memory[env] = 0.0, 0, [], None
            self._volume[env, :count] = one.reservoirs.initial_hm3
            self._sizes[env] = count, one.num_stages, len(one.inflows)
            self._legal[env] = 0.0
            self._legal[env, :, :count] = one.reservoirs.min_hm3, one.reservoirs.max_hm3
            for name, value in figures(one, self._width).items():
                self._figures[name][env] = value
            self._show(env)

    def _show(self, env: int) -> None:
        """Reveal the inflows of the stage that is due, and tell its load."""
        self._figures["load"][env] = self.instances[env].load_mw(int(self._stage[env])).sum()
        self._inflow[env] = 0.0
        if self._stage[env] < len(self._inflows[env]):
            inflow = self._inflows[env][self._stage[env]]
            self._inflow[env, : len(inflow)] = inflow

    def _dispatcher(self, instance: HydroThermal) -> Dispatcher | AcDispatcher:
        if instance not in self._dispatchers:
            self._dispatchers[instance] = _dispatcher_of(instance)
        return self._dispatchers[instance]


def _dispatcher_of(instance: HydroThermal) -> Dispatcher | AcDispatcher:
    if instance.settings.network != "ac":
        return Dispatcher(instance)
    from .ac_dispatcher import AcDispatcher

    return AcDispatcher(instance)
