"""Serving by rounds as layers of states, see `kernels_search`: the preemptive optimum in hindsight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from orl.errors import InputError
from orl.layers import Layer, some
from orl.scenario import Scenarios

from . import kernels_search as kernels
from .instance import Serving, ServingLog
from .prices import Prices, find_prices, improved
from .rounds import carried_out, rounds_of

MAX_REQUESTS, MAX_OUTPUT = 16, 2**15 - 1
CHUNK = 5_000  # states that are followed at a time
STATES_A_PRICE, MOST_PRICES = 1_000, 8  # prices are improved for one state in a thousand of a layer, up to so many
NEAR = 2  # layers on either side whose prices are looked at
LARGE, MOST_VALUES = 500_000, 50_000_000  # values at prices that take too long to improve, and of all prices in all
ROOM = 1 << (MAX_REQUESTS + 2)  # states that are written at a time; more than can follow one state


class LayeredServing:
    """The schedules of one scenario; see `orl.layers.Layered`.

    Parameters
    ----------
    instance : Serving
    scenario : Scenarios
    should_stop : callable () -> bool
        Whether prices are good enough as they are.
    preempts : bool
        Whether somebody may stand aside between two tokens. Without it what is found is no bound on policies that
        preempt, and a process that is never idle while somebody waits may not be able to carry it out.

    Raises
    ------
    InputError
        If time is in seconds, or there are too many requests to look at all sets of them.
    """

    def __init__(
        self, instance: Serving, scenario: Scenarios, should_stop: Callable[[], bool] = lambda: False,
        preempts: bool = True,
    ):  # fmt: skip
        self._instance, self._scenario, self._should_stop = instance, scenario, should_stop
        rounds = rounds_of(instance, scenario)
        count = len(rounds.output)
        if count > MAX_REQUESTS:
            raise InputError(
                f"{instance.name}: at most {MAX_REQUESTS} requests are searched, there are {count}; set requests."
            )
        if rounds.output.max() > MAX_OUTPUT:
            raise InputError(f"{instance.name}: outputs of at most {MAX_OUTPUT} tokens are searched.")
        self._given = np.stack([rounds.arrival, rounds.prompt, rounds.output, rounds.weight]).astype(np.float64)
        self._output = rounds.output
        # Rounds are whole, so where weights are, costs are multiples of what all weights are multiples of.
        weight = rounds.weight.astype(np.int64)
        grain = np.gcd.reduce(weight) if (weight == rounds.weight).all() else 0
        self._limits = np.array([rounds.memory, rounds.seats, preempts, grain])
        # Token k of a request, counted from 0, takes prompt + k tokens of memory.
        self._work = np.zeros((count, int(rounds.output.max()) + 1))
        for r, (prompt, output) in enumerate(zip(rounds.prompt.tolist(), rounds.output.tolist(), strict=True)):
            self._work[r, :output] = np.arange(prompt, prompt + output)[::-1].cumsum()[::-1] / rounds.memory
        self._prices = find_prices(self._given, rounds.memory, preempts)
        self._improved: dict[int, list[Prices]] = {}  # layer -> for some of its states
        self._room, self._chosen = np.zeros((4, count)), np.zeros((2, count), dtype=np.int64)
        parents = np.zeros(ROOM, dtype=np.int64)
        self._out = np.zeros((ROOM, count), dtype=np.int16), np.zeros(ROOM), np.zeros(ROOM), parents

    def first(self) -> Layer:
        state, zero = np.zeros((1, len(self._output)), dtype=np.int16), np.zeros(1)
        bound = kernels.first_bound(self._given, self._work, state[0], 0, self._room)
        values, worth = self._at(0)
        bound = max(bound, kernels.priced_bound(values, worth, state[0], np.zeros(len(worth))))
        bound = kernels.rounded_up(bound - float(self._given[3] @ self._given[0]), self._limits[3])
        return Layer(state, zero, zero + bound, np.zeros(1, dtype=np.int64), np.zeros(1, dtype=bool))

    def next(self, layer: Layer, number: int, below: float) -> Iterator[Layer]:
        self._improve(layer, number)
        values, worth = self._at(number + 1)
        sums = np.zeros(len(worth))
        for first in range(0, len(layer.states), CHUNK):
            begin, end = first, min(first + CHUNK, len(layer.states))
            while begin < end:
                count, begin = kernels.expand(
                    self._given, self._work, values, worth, sums, self._limits, number, below, layer.states,
                    layer.costs, begin, end, self._room, self._chosen, *self._out,
                )  # fmt: skip
                states, costs, bounds, parents = (array[:count].copy() for array in self._out)
                yield Layer(states, costs, bounds, parents, (states == self._output).all(axis=1))

    def _improve(self, layer: Layer, number: int) -> None:
        """Seek prices that suit states of this layer, some more the more states there are."""
        root, there = self._prices, self._improved.setdefault(number, [])
        wanted = min(len(layer.states) // STATES_A_PRICE, MOST_PRICES) - len(there)
        are_too_many = sum(map(len, self._improved.values())) * root.values.size > MOST_VALUES
        if wanted <= 0 or not len(root.prices) or root.values.size > LARGE or are_too_many:
            return
        order = np.argsort(layer.bounds, kind="stable")
        memory, preempts = int(self._limits[0]), bool(self._limits[2])
        for place in np.linspace(0, len(order) - 1, wanted + 2, dtype=np.int64)[1:-1]:
            if self._should_stop():
                return
            there.append(improved(self._given, memory, preempts, root.prices, layer.states[order[place]], number))

    def _at(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the values and the worth of prices at a round: those of the beginning, and those of layers nearby."""
        near = [one for layer in range(number - NEAR, number + NEAR + 1) for one in self._improved.get(layer, [])]
        now = min(number, len(self._prices.worth) - 1)
        chosen = [self._prices, *near]
        return np.stack([one.values[:, now] for one in chosen], axis=-1), np.array([one.worth[now] for one in chosen])

    def undominated(self, layer: Layer, number: int) -> Layer:
        """Leave out states that are behind another with one request alone, and no cheaper.

        Who is ahead may do what the other does and let that request stand aside until the other has caught up. Where it
        has ended already, the other's end comes after as many rounds as it has tokens to go, at least.
        """
        if not self._limits[2]:
            return layer
        arrival, _, output, weight = self._given
        for r in range(len(output)):
            states = layer.states
            others = np.delete(states, r, axis=1)
            order = np.lexsort((-states[:, r], *others.T))
            is_first = np.ones(len(order), dtype=bool)  # the one that is furthest, of those alike but for the request
            is_first[1:] = (others[order[1:]] != others[order[:-1]]).any(axis=1)
            ahead = order[np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))]
            has_ended = (states[ahead, r] == output[r]) & ~is_first
            to_pay = weight[r] * (number + output[r] - states[order, r] - arrival[r])
            is_dominated = ~is_first & (layer.costs[ahead] <= layer.costs[order] + np.where(has_ended, to_pay, 0.0))
            layer = some(layer, np.sort(order[~is_dominated]))
        return layer

    def solution(self, states: Sequence[np.ndarray]) -> ServingLog:
        tokens = np.stack(states)
        who = np.concatenate([np.diff(tokens, axis=0) > 0, np.zeros((1, tokens.shape[1]), dtype=bool)])
        return carried_out(self._instance, self._scenario, lambda now: who[min(now, len(who) - 1)])
