"""Capacitated lot sizing as a process: demand is seen, stocks at the end of the period are chosen, lots follow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from orl.arrays import read_only
from orl.errors import InputError
from orl.process import Decision, Observation, Revealed, checked_targets
from orl.rule import Rule
from orl.scenario import Scenarios

from .instance import SETUP, CapacitatedLotSizing, CapacitatedPlan
from .scenario import realise


class CapacitatedProcess:
    """A batch of instances, stepped period by period.

    An action, (num_envs, num_items), holds the stocks at the end of the period, units; what is made follows from them,
    and what it takes beyond the period's capacity is overtime. The README of this family documents the arrays of an
    observation.

    Parameters
    ----------
    instances : sequence of CapacitatedLotSizing
        One an environment; the numbers of items may differ, the largest gives the padding.
    scenarios : sequence of Scenarios
        One an environment, of one row each.
    fit : sequence of CapacitatedLotSizing
        Further instances that the padding must have room for.

    Raises
    ------
    InputError
        If an instance has no price for overtime.
    """

    def __init__(
        self,
        instances: Sequence[CapacitatedLotSizing],
        scenarios: Sequence[Scenarios],
        fit: Sequence[CapacitatedLotSizing] = (),
    ):
        self.num_envs = len(instances)
        self.instances, self._scenarios = list(instances), list(scenarios)
        self._width = max(one.num_items for one in (*instances, *fit))
        self.decision = Decision("targets", self._width)
        shape = (self.num_envs, self._width)
        self._arrays: dict[str, np.ndarray] = {
            name: np.zeros(shape) for name in ("stock", "demand", "expected", "largest", *_OF_ITEMS)
        }
        self._arrays |= {name: np.zeros(self.num_envs) for name in ("capacity", "overtime")}
        self._period = np.zeros(self.num_envs, dtype=np.int64)
        self._legal, self._sizes = np.zeros((self.num_envs, 2, self._width)), np.zeros((self.num_envs, 2), np.int64)
        self._demand: list[np.ndarray] = [np.zeros((0, 0))] * self.num_envs
        self._made: list[list[np.ndarray]] = [[] for _ in range(self.num_envs)]
        self._post = False
        self._start(range(self.num_envs))

    def reset(
        self,
        envs: Sequence[int] | np.ndarray | None = None,
        instances: Sequence[CapacitatedLotSizing] | None = None,
        scenarios: Sequence[Scenarios] | None = None,
    ) -> None:
        if envs is not None and self._post:
            raise RuntimeError("a partial reset must not come between decide and reveal.")
        which = list(range(self.num_envs)) if envs is None else [int(env) for env in envs]
        for place, env in enumerate(which):
            if instances is not None:
                if instances[place].num_items > self._width:
                    raise ValueError(f"{instances[place].name} does not fit the padding; name it in `fit`.")
                self.instances[env] = instances[place]
            if scenarios is not None:
                self._scenarios[env] = scenarios[place]
        self._start(which)
        if envs is None:
            self._post = False

    def observe(self) -> Observation:
        views = {name: read_only(array) for name, array in {"period": self._period, **self._arrays}.items()}
        return Observation(views, read_only(self._sizes), read_only(self._legal), self._post)

    def decide(self, actions: np.ndarray) -> np.ndarray:
        """Make what the stocks ask for; see the class.

        Raises
        ------
        IllegalAction
            If a stock is beyond its limit, or less than what is left when nothing is made.
        """
        if self._post:
            raise RuntimeError("decide was called twice; call reveal in between.")
        actions = checked_targets(actions, self._legal, self._is_over, "item", "units")
        cost = np.zeros(self.num_envs)
        for env in np.flatnonzero(~self._is_over).tolist():
            cost[env] = self._make(env, actions[env])
        self._post = True
        return cost

    def reveal(self) -> Revealed:
        if not self._post:
            raise RuntimeError("reveal was called without decide.")
        self._post = False
        for env in np.flatnonzero(~self._is_over).tolist():
            self._period[env] += 1
            self._show(env)
        over, nothing = self._is_over, np.zeros(self.num_envs)
        return Revealed(nothing, np.ones(self.num_envs), over, np.zeros(self.num_envs, dtype=bool))

    def solution(self, env: int) -> CapacitatedPlan:
        """Return what has been made so far in one environment."""
        one = self.instances[env]
        return CapacitatedPlan(np.array(self._made[env]).reshape(-1, one.num_items))

    def run(self, rule: Rule, seeds: np.ndarray) -> np.ndarray | None:
        return None

    # private

    @property
    def _is_over(self) -> np.ndarray:
        return self._period >= self._sizes[:, 1]

    def _make(self, env: int, stock: np.ndarray) -> float:
        """Make what leads to a stock; return what that costs."""
        one, period = self.instances[env], int(self._period[env])
        count = one.num_items
        after, before = stock[:count], self._arrays["stock"][env, :count]
        made = np.maximum(after - before + self._arrays["demand"][env, :count], 0.0)
        made[made <= SETUP] = 0.0
        left = np.maximum(before + made - self._arrays["demand"][env, :count], 0.0)
        lots = made / one.largest_lots[period] if one.settings.setups == "relaxed" else (made > 0).astype(np.float64)
        used = float(one.unit_times @ made + one.setup_times @ lots)
        beyond = max(0.0, used - float(one.capacity[period]))
        self._arrays["stock"][env, :count] = left
        self._made[env].append(made)
        return float(one.setup_costs @ lots + one.holding_costs @ left) + one.settings.overtime * beyond

    def _start(self, envs: Sequence[int] | range) -> None:
        for env in envs:
            one = self.instances[env]
            if one.settings.overtime == math.inf:
                raise InputError(
                    f"{one.name}: policies cannot be sure of the capacity that is to come: set overtime=PRICE, or use "
                    "exact, lagrangian-hindsight or fix-and-optimise."
                )
            count = one.num_items
            self._demand[env], self._made[env], self._period[env] = realise(one, self._scenarios[env]), [], 0
            self._sizes[env] = count, one.num_periods
            for array in self._arrays.values():
                array[env] = 0.0
            self._arrays["stock"][env, :count] = one.initial_stock
            self._arrays["overtime"][env] = one.settings.overtime
            for name in _OF_ITEMS:
                self._arrays[name][env, :count] = getattr(one, f"{name}s")
            self._show(env)

    def _show(self, env: int) -> None:
        """Reveal the demand of the period that is due, and tell what is legal."""
        one, period = self.instances[env], int(self._period[env])
        count, view = one.num_items, self._arrays
        self._legal[env] = 0.0
        for name in ("demand", "expected", "largest"):
            view[name][env] = 0.0
        view["capacity"][env] = 0.0
        if period == one.num_periods:
            return
        view["demand"][env, :count] = self._demand[env][period]
        view["largest"][env, :count] = one.largest_lots[period]
        view["capacity"][env] = one.capacity[period]
        if period + 1 < one.num_periods:
            view["expected"][env, :count] = one.expected_demand[period + 1]
        left = np.maximum(view["stock"][env, :count] - view["demand"][env, :count], 0.0)
        self._legal[env, 0, :count] = left
        self._legal[env, 1, :count] = np.maximum(one.stock_limits, left)


_OF_ITEMS = ("unit_time", "setup_time", "setup_cost", "holding_cost", "stock_limit")
