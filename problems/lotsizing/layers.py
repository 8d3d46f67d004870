"""Lot sizing without shortage as states in layers: dynamic programming over units made, forward in time, with bounds.

A layer is a period. Its states are what the machine is set up for, and how many units have been made of each item, up
to what is needed of it by the end. What a state costs is set-ups and stock so far; its bound adds what the rest costs
at least, by Lagrangian relaxation. The machine and every item get variables of their own for what they share,

    x_ti  the machine makes a unit of item i,   y_ti  it is set up for it,   v_ti  it is idle, set up for it,

equal at prices a_ti, b_ti, g_ti of any sign. Set-ups are then paid along the machine's cheapest path through its
states, stock by each item alone, which sees only whether the machine is set up for it:

    rest(t, s, k) >= machine_t(s) + sum_i item_ti(k_i, s = i)

The tables of both are made once for all (`kernels_prices`), at the best prices found (`prices`), so the bound of a
state is a sum of looked-up numbers. At the start it is near that of the linear program of the flow through set-ups
joined with the convex hull of each item's plans.

A unit beyond what is needed is made only where that may pay, on the way from one item to another: not if no detour is
cheaper than the direct way, and costs are those of the first period for ever. Of two states with equal units the one is
dominated that is dearer than the other by more than going on from the other's set-up may ever cost more.

References
----------
M. L. Fisher (1981). The Lagrangian relaxation method for solving integer programming problems. Management Science 27.
doi 10.1287/mnsc.27.1.1
T. L. Morin, R. E. Marsten (1976). Branch-and-bound strategies for dynamic programming. Operations Research 24.
doi 10.1287/opre.24.4.611
C. A. van Hoesel, A. Kolen (1994). A linear description of the discrete lot-sizing and scheduling problem. European
Journal of Operational Research 75. doi 10.1016/0377-2217(94)90078-7
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from orl.errors import InputError
from orl.layers import Layer, some
from orl.scenario import Scenarios

from . import kernels_search
from .instance import LotPlan, LotSizing
from .prices import Priced, search
from .units import Given, given_of

PART = 100_000  # states that are followed at a time
WORD_BITS = 62


class Packing(NamedTuple):
    """Where the units of each item are in the words of a state, (items,) each; word 0 is the set-up."""

    word: np.ndarray
    shift: np.ndarray
    mask: np.ndarray


class Out(NamedTuple):
    """Room for what follows states."""

    states: np.ndarray
    costs: np.ndarray
    bounds: np.ndarray
    parents: np.ndarray


class LayeredLots:
    """See the module.

    Parameters
    ----------
    instance : LotSizing
        With unmet=forbid.
    scenario : Scenarios
        One row.
    should_stop : callable () -> bool
        Whether the search for prices must end.

    Raises
    ------
    InputError
        If demand may be unmet, or stock limits may bind.
    """

    def __init__(
        self, instance: LotSizing, scenario: Scenarios, should_stop: Callable[[], bool] = lambda: False
    ):  # fmt: skip
        if instance.settings.unmet != "forbid":
            raise InputError(f"{instance.name}: states in layers are for unmet=forbid.")
        self._instance, self._should_stop = instance, should_stop
        self._given, self._start = given_of(instance, scenario)
        self._packing = _packing(np.diff(self._given.first))
        self._grain = _grain(instance, self._given)
        self._dearer = _dearer(self._given)

    @cached_property
    def priced(self) -> Priced:
        """What machine and items cost alone."""
        return search(self._given, self._start, should_stop=self._should_stop)

    def first(self) -> Layer:
        words = 1 + int(self._packing.word.max())
        state = np.zeros((1, words), dtype=np.int64)
        state[0, 0] = self._start[-1]
        bound = _rounded_up(self.priced.bound, self._grain)
        return Layer(state, np.zeros(1), np.full(1, bound), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=bool))

    def next(self, layer: Layer, number: int, below: float) -> Iterator[Layer]:
        periods, items = self._given.weight.shape
        out = _room(min(PART, len(layer.costs)) * (items + 1), layer.states.shape[1])
        units = np.zeros(items, dtype=np.int64)
        for begin in range(0, len(layer.costs), PART):
            part = slice(begin, begin + PART)
            count = kernels_search.follow(
                self._given, self._packing, self.priced.machine, self.priced.values, number, below, self._grain,
                layer.states[part], layer.costs[part], units, out,
            )  # fmt: skip
            states, costs, bounds, parents = (array[:count].copy() for array in out)
            yield Layer(states, costs, bounds, parents + begin, np.full(count, number + 1 == periods))

    def undominated(self, layer: Layer, number: int) -> Layer:
        order = np.lexsort(layer.states.T)
        stays = np.zeros(len(order), dtype=bool)
        kernels_search.undominated(self._dearer, layer.states[order], layer.costs[order], stays)
        return some(layer, order[stays])

    def solution(self, states: Sequence[np.ndarray]) -> LotPlan:
        rows = np.array(states)
        units = (rows[:, self._packing.word] >> self._packing.shift) & self._packing.mask
        made, setup = np.diff(units, axis=0), rows[:, 0]
        # Nothing new, but set up: a unit beyond what is needed, unless an idle machine stays as it was.
        more = np.where((setup[1:] == setup[:-1]) & self._given.keeps, 0, setup[1:])
        return LotPlan(np.where(made.any(axis=1), made.argmax(axis=1) + 1, more)[:, None])


def _packing(counts: np.ndarray) -> Packing:
    """Return places for numbers of units, 0 to count - 1 of each item."""
    word, shift, mask = np.zeros((3, len(counts)), dtype=np.int64)
    at, used = 1, 0
    for item, count in enumerate(counts.tolist()):
        bits = (count - 1).bit_length()
        if used + bits > WORD_BITS:
            at, used = at + 1, 0
        word[item], shift[item], mask[item] = at, used, (1 << bits) - 1
        used += bits
    return Packing(word, shift, mask)


def _grain(instance: LotSizing, given: Given) -> float:
    """Return what every cost is a multiple of; 0: unknown."""
    costs = np.concatenate([given.changeover.ravel(), instance.holding_costs])
    if (given.weight != 1).any() or (costs % 1 != 0).any():
        return 0.0
    return float(np.gcd.reduce(costs.astype(np.int64)))


def _rounded_up(bound: float, grain: float) -> float:
    return math.ceil(bound / grain - kernels_search.TINY) * grain if grain > 0 and math.isfinite(bound) else bound


def _dearer(given: Given) -> np.ndarray:
    """Return by how much going on from one set-up may cost more than from another, (choices, choices)."""
    if (given.weight != 1).any():
        return np.full(given.changeover.shape, np.inf)
    to_items = given.changeover[:, 1:]
    return np.maximum((to_items[:, None] - to_items[None]).max(axis=2), 0.0)


def _room(rows: int, words: int) -> Out:
    return Out(np.empty((rows, words), dtype=np.int64), np.empty(rows), np.empty(rows), np.empty(rows, dtype=np.int64))
