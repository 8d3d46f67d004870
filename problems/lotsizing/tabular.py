"""Small lot-sizing instances written out, state by state, for dynamic programming.

A state is what the machines are set up for and the stock of each item; a post-decision state the same with stock after
production. Items meet only in the machines, so the mean over demand is taken one item after the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from orl.errors import InputError
from orl.process import Observation
from orl.scenario import Scenarios
from orl.tabular import MAX_ENTRIES, Tabular

from .demand import IndependentDemand, PathDemand
from .instance import LotSizing
from .kernels_codes import FIRST_PERIOD
from .laws import Laws, laws_of
from .scenario import realise


def tabular(instance: LotSizing) -> Tabular:
    """Write an instance out.

    Raises
    ------
    InputError
        If it has too many states and actions, or more in its state than set-ups and stock.
    """
    settings = instance.settings
    if settings.cost_noise > 0 or getattr(instance.demand, "autocorrelation", 0.0) > 0:
        what = "cost_noise" if settings.cost_noise > 0 else "autocorrelated demand"
        raise InputError(f"{instance.name}: dynamic programming does not have {what} in its state.")
    if instance.state is not None and len(instance.state.booked):
        raise InputError(f"{instance.name}: dynamic programming begins with a period; some of its choices are booked.")
    if settings.is_infinite and len(getattr(instance.demand, "season", (1,))) > 1:
        raise InputError(f"{instance.name}: dynamic programming over an infinite horizon needs demand without season.")
    if settings.is_infinite and settings.unmet == "backlog":
        raise InputError(f"{instance.name}: backlog has no limit; dynamic programming needs a finite horizon.")
    if settings.unmet == "forbid":
        raise InputError(f"{instance.name}: a table of states does not tell what unmet=forbid makes illegal.")
    space = _Space(instance)
    periods = None if settings.is_infinite else instance.periods_left
    laws = [laws_of(instance.demand, instance.first_period + t) for t in range(1 if periods is None else periods)]
    steps = _Steps(space, laws)

    parts: dict[str, Any] = {
        "successor": space.successor(),
        "cost": space.cost(),
        "discount": settings.discount,
        "episode": instance.periods_left,
        "state_of": space.state_of,
        "period_of": partial(_period_of, instance.first_period),
        "is_first": _is_first,
        "actions_of": partial(_actions_of, np.array(space.actions)),
        "realised": partial(_realised, instance, space),
    }
    return Tabular(**parts, post_cost=steps.post_cost, expect=steps.expect, periods=periods, start=space.start())


def _realised(instance: LotSizing, space: _Space, table: Tabular, scenario: Scenarios) -> Tabular:
    """Return the table of what one scenario brings."""
    seen = realise(instance, scenario)
    known = _Steps(space, [[(np.array([d]), np.ones(1)) for d in row] for row in seen.demand.tolist()])
    start = space.at(seen.setup, seen.stock)
    return replace(table, post_cost=known.post_cost, expect=known.expect, periods=table.episode, start=start)


def _period_of(first_period: int, observation: Observation) -> np.ndarray:
    return observation.arrays["period"] + observation.arrays["sizes"][:, FIRST_PERIOD] - first_period


def _is_first(observation: Observation) -> np.ndarray:
    return observation.arrays["machine"] == 0


class _Space:
    """Numbers states, actions and post-decision states."""

    def __init__(self, instance: LotSizing):
        self.instance, settings = instance, instance.settings
        first_setup = instance.initial_setup if instance.state is None else instance.state.setup
        assert first_setup is not None and instance.initial_stock is not None
        self.setups = [
            sorted({0, int(first_setup[machine]), *np.flatnonzero(row).tolist()})
            for machine, row in enumerate(instance.possible)
        ]
        first_stock = instance.initial_stock if instance.state is None else instance.state.stock
        self.low = np.zeros(instance.num_items, dtype=np.int64)
        if settings.unmet == "backlog":
            self.low = np.minimum(first_stock, 0) - instance.periods_left * _most(instance)
        self.high = np.maximum(instance.stock_limits, first_stock)
        made = instance.output.max(axis=1)[:, 1:]  # (num_machines, num_items)
        most = made.max(axis=0) if settings.item_machines == "one" else made.sum(axis=0)
        self.post_high = self.high if settings.overflow == "forbid" else self.high + most
        self.levels = (self.high - self.low + 1).tolist()
        self.post_levels = (self.post_high - self.low + 1).tolist()
        num_setups = math.prod(map(len, self.setups))
        num_states = num_setups * math.prod(self.levels)
        num_actions = math.prod(int(row.sum()) for row in instance.possible)
        num_posts = num_setups * math.prod(self.post_levels)
        if num_states * num_actions > MAX_ENTRIES or num_posts > MAX_ENTRIES:
            raise InputError(
                f"{instance.name}: {num_states:.4g} states x {num_actions:.4g} actions, {num_posts:.4g} post-decision "
                f"states are too many to write out (at most {MAX_ENTRIES:.4g}); use rolling or a rule."
            )
        options = [np.flatnonzero(row).tolist() for row in instance.possible]
        self.actions = [
            action
            for action in itertools.product(*options)
            if settings.item_machines == "any" or len(items := [a for a in action if a]) == len(set(items))
        ]
        self.configurations = list(itertools.product(*self.setups))
        self._number = {setup: number for number, setup in enumerate(self.configurations)}

    def _after(self, setup: Sequence[int], action: Sequence[int]) -> tuple[tuple[int, ...], np.ndarray, float]:
        """Return set-ups, units made, (num_items,), and cost of an action."""
        one = self.instance
        made, cost, after = np.zeros(one.num_items, dtype=np.int64), 0.0, list(setup)
        for machine, choice in enumerate(action):
            if choice:
                made[choice - 1] += one.output[machine, setup[machine], choice]
                cost += float(one.changeover_cost[machine, setup[machine], choice])
                after[machine] = choice
            elif one.settings.idle == "loses-setup":
                after[machine] = 0
        return tuple(after), made, cost

    def successor(self) -> np.ndarray:
        """Return the post-decision state of every state and action, -1: illegal."""
        grid = np.indices(self.levels).reshape(len(self.levels), -1)  # (num_items, stocks), from `low`
        num_stocks, num_posts = grid.shape[1], math.prod(self.post_levels)
        table = np.empty((len(self.configurations), num_stocks, len(self.actions)), dtype=np.int32)
        room = np.array(self.post_levels)
        if self.instance.settings.overflow == "forbid":  # what is there may lie above the limit, what is made may not
            room = self.instance.stock_limits - self.low + 1
        for number, setup in enumerate(self.configurations):
            for a, action in enumerate(self.actions):
                after, made, _ = self._after(setup, action)
                stock = grid + made[:, None]
                is_made = np.isin(np.arange(len(made)) + 1, action)
                fits = (stock < room[:, None])[is_made].all(axis=0)
                place = np.ravel_multi_index(tuple(np.where(fits, stock, 0)), self.post_levels)
                table[number, :, a] = np.where(fits, self._number[after] * num_posts + place, -1)
        return table.reshape(-1, len(self.actions))

    def cost(self) -> np.ndarray:
        """Return the cost of set-ups of every state and action."""
        by_setup = np.array([[self._after(s, a)[2] for a in self.actions] for s in self.configurations])
        return np.repeat(by_setup, math.prod(self.levels), axis=0)

    def start(self) -> np.ndarray:
        """Return the probabilities of the first state."""
        one = self.instance
        if one.state is None and one.settings.start == "random":
            parts = []
            for machine, setups in enumerate(self.setups):
                is_drawn = one.possible[machine, setups]
                parts.append(is_drawn / is_drawn.sum())
            for item, levels in enumerate(self.levels):
                stock = self.low[item] + np.arange(levels)
                is_drawn = (stock >= 0) & (stock <= one.stock_limits[item])
                parts.append(is_drawn / is_drawn.sum())
            probabilities = np.ones(1)
            for part in parts:
                probabilities = np.outer(probabilities, part).ravel()
            return probabilities
        setup = one.initial_setup if one.state is None else one.state.setup
        stock = one.initial_stock if one.state is None else one.state.stock
        return self.at(np.asarray(setup), np.asarray(stock))

    def at(self, setup: np.ndarray, stock: np.ndarray) -> np.ndarray:
        """Return 1 for one state, else 0."""
        probabilities = np.zeros(len(self.configurations) * math.prod(self.levels))
        probabilities[self._index(setup[None], stock[None])] = 1.0
        return probabilities

    def _index(self, setup: np.ndarray, stock: np.ndarray) -> np.ndarray:
        """Return the numbers of states, (n,), from set-ups (n, num_machines) and stock (n, num_items)."""
        places = [np.searchsorted(setups, setup[:, machine]) for machine, setups in enumerate(self.setups)]
        levels = [*map(len, self.setups), *self.levels]
        return np.ravel_multi_index((*places, *(stock - self.low).T), levels)

    def state_of(self, observation: Observation) -> np.ndarray:
        """Return the state that each environment is in; of those at their end or amid a period it means nothing.

        Raises
        ------
        InputError
            If a period begins in a state that was not written out.
        """
        one, begins = self.instance, observation.arrays["machine"] == 0
        setup = observation.arrays["setup"][:, : one.num_machines]
        stock = observation.arrays["stock"][:, : one.num_items]
        clipped = np.clip(stock, self.low, self.high)
        is_known = [np.isin(setup[:, machine], setups) for machine, setups in enumerate(self.setups)]
        missing = begins & ~((stock == clipped).all(axis=1) & np.all(is_known, axis=0))
        if missing.any():
            env = int(missing.argmax())
            levels = ", ".join(f"{low}..{high}" for low, high in zip(self.low, self.high, strict=True))
            raise InputError(
                f"{one.name}: dynamic programming has stock {levels} and set-ups that the machines can make; got stock "
                f"{stock[env].tolist()} and set-ups {setup[env].tolist()}."
            )
        return self._index(setup, clipped)


def _most(instance: LotSizing) -> np.ndarray:
    """Return the largest possible demand of each item in a period."""
    if isinstance(instance.demand, PathDemand):
        return instance.demand.path.max(axis=0)
    if isinstance(instance.demand, IndependentDemand):
        table = instance.demand.probabilities
        return table.shape[1] - 1 - (table[:, ::-1] > 0).argmax(axis=1)
    raise InputError(f"{instance.name}: Poisson demand has no limit, so backlog has none; use unmet=lost.")


class _Steps:
    """What a period brings after each post-decision state, in the mean; laws that return are worked out once."""

    def __init__(self, space: _Space, laws: Sequence[Laws]):
        self._space, self._laws = space, laws
        self._known: dict[bytes, tuple[np.ndarray, list[np.ndarray]]] = {}

    def post_cost(self, period: int) -> np.ndarray:
        """Return the mean cost of holding and shortage, (num_posts,)."""
        return self._of(period)[0]

    def expect(self, values: np.ndarray, period: int) -> np.ndarray:
        """Return the mean value of the next state, (num_posts,), from values (num_states,)."""
        tensor = values.reshape(len(self._space.configurations), *self._space.levels)
        for axis, matrix in enumerate(self._of(period)[1], start=1):
            tensor = np.moveaxis(np.tensordot(matrix, tensor, axes=(1, axis)), 0, axis)
        return tensor.ravel()

    def _of(self, period: int) -> tuple[np.ndarray, list[np.ndarray]]:
        laws = self._laws[min(period, len(self._laws) - 1)]
        key = b"|".join(part.tobytes() for law in laws for part in law)
        if key not in self._known:
            self._known[key] = _mean_costs(self._space, laws), _transitions(self._space, laws)
        return self._known[key]


def _mean_costs(space: _Space, laws: Laws) -> np.ndarray:
    instance = space.instance
    total = np.zeros(space.post_levels)
    for item, (demand, probabilities) in enumerate(laws):
        stock = space.low[item] + np.arange(space.post_levels[item])
        left = stock[:, None] - demand
        paid = np.maximum(-left, 0) * instance.shortage_costs[item]
        paid = paid + np.clip(left, 0, instance.stock_limits[item]) * instance.holding_costs[item]
        shape = [1] * len(space.post_levels)
        shape[item] = -1
        total = total + (paid @ probabilities).reshape(shape)
    return np.tile(total.ravel(), len(space.configurations))


def _transitions(space: _Space, laws: Laws) -> list[np.ndarray]:
    """Return of each item the probabilities of its stock after demand, (stock after production, stock)."""
    instance, matrices = space.instance, []
    for item, (demand, probabilities) in enumerate(laws):
        stock = space.low[item] + np.arange(space.post_levels[item])
        left = np.minimum(stock[:, None] - demand, instance.stock_limits[item])
        floor = 0 if instance.settings.unmet == "lost" else space.low[item]
        place = np.maximum(left, floor) - space.low[item]
        matrix = np.zeros((len(stock), space.levels[item]))
        np.add.at(matrix, (np.arange(len(stock))[:, None], place), probabilities)
        matrices.append(matrix)
    return matrices


def _actions_of(choices: np.ndarray, actions: np.ndarray, observation: Observation) -> np.ndarray:
    """Return the choices that actions mean for the machine that is due, or for all, in the form of the decision."""
    envs, machines = observation.arrays["setup"].shape
    by_machine = np.zeros((envs, machines), dtype=np.int64)
    by_machine[:, : choices.shape[1]] = choices[actions]
    if observation.legal.ndim == 3:
        return by_machine
    return by_machine[np.arange(envs), np.minimum(observation.arrays["machine"], machines - 1)]
