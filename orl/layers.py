"""A hindsight problem as states in layers, one decision after another: what search in layers stands on.

A state of a layer leads to states of the next one. What it has cost is known, and so is a bound on what it will have
cost in the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from orl.hindsight import Attempt
from orl.problem import Solution
from orl.result import Status
from orl.solver import Control

FIRST_WIDTH, GROWTH = 100, 10
MANY = 1_000_000  # states beside one another, perhaps alike, before those that are alike are looked for
SLACK, MOST_SLACK = 1e-9, 5e-7  # relative, and in all: differences that count as rounding


class Layer(NamedTuple):
    """States side by side.

    Parameters
    ----------
    states : int ndarray (n, k)
        Equal rows are equal states.
    costs : ndarray (n,)
        Paid so far.
    bounds : ndarray (n,)
        No more than the cost of any solution that passes through the state; of equal states the cheaper has the
        smaller.
    parents : int ndarray (n,)
        Which state of the layer before each comes from.
    is_end : bool ndarray (n,)
        Whether it is a solution; its cost is that of the whole.
    """

    states: np.ndarray
    costs: np.ndarray
    bounds: np.ndarray
    parents: np.ndarray
    is_end: np.ndarray


class Layered(Protocol):
    """What a family offers of one scenario, known beforehand."""

    def first(self) -> Layer:
        """Return the layer of the beginning."""

    def next(self, layer: Layer, number: int, below: float) -> Iterator[Layer]:
        """Yield what follows the states of layer `number`, none of them ends; those whose bound is below a cost.

        Part by part, so that time and memory can be looked after; the same state may come several times. What is left
        out must not be needed: for every solution below that cost through one of the states, one that is no dearer
        passes through a state that is yielded.
        """

    def undominated(self, layer: Layer, number: int) -> Layer:
        """Return layer `number`, of distinct states, without some from which nothing cheaper is reached than from one
        that stays.
        """

    def solution(self, states: Sequence[np.ndarray]) -> Solution:
        """Return the solution of a path, (k,) each, from the first layer to an end."""


def distinct(layer: Layer) -> Layer:
    """Return the cheapest of states that are alike."""
    order = np.lexsort((layer.costs, *layer.states.T))
    rows = layer.states[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return some(layer, order[is_new])


def some(layer: Layer, places: np.ndarray | slice) -> Layer:
    """Return some states of a layer, by their places."""
    return Layer._make(array[places] for array in layer)


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search of one width found.

    Parameters
    ----------
    path : list of ndarray, or None
        The states of a solution that is cheaper than what was known.
    cost : float
        Its cost; infinity without one.
    bound : float
        No solution that was left out for want of room is cheaper; infinity: none was left out. Minus infinity if there
        was no time to the end.
    states : int
        How many went on.
    """

    path: list[np.ndarray] | None
    cost: float
    bound: float
    states: int


def search(layered: Layered, width: int, below: float, control: Control) -> Searched:
    """Search for a solution cheaper than `below`, so many states of a layer going on."""
    layer, left_out, states = layered.first(), math.inf, 0
    behind: list[tuple[np.ndarray, np.ndarray]] = []  # states and parents of the layers before
    best, end = math.inf, None
    while len(layer.states):
        behind.append((layer.states, layer.parents))
        followers = _followers(layered, layer, len(behind) - 1, min(below, best), control)
        if followers is None:
            left_out = -math.inf
            break
        layer = followers
        if layer.is_end.any():
            cheapest = int(np.where(layer.is_end, layer.costs, np.inf).argmin())
            if layer.costs[cheapest] < best:
                best = float(layer.costs[cheapest])
                end = layer.states[cheapest], int(layer.parents[cheapest]), len(behind)
        layer = some(layer, np.flatnonzero(~layer.is_end))
        if len(layer.states) > width:
            order = np.argsort(layer.bounds, kind="stable")
            left_out = min(left_out, float(layer.bounds[order[width]]))
            layer = some(layer, order[:width])
        states += len(layer.states)
    if end is None:
        return Searched(None, best, left_out, states)
    state, place, length = end
    path = [state]
    for states_there, parents in reversed(behind[:length]):
        path.append(states_there[place])
        place = int(parents[place])
    return Searched(path[::-1], best, left_out, states)


def _followers(layered: Layered, layer: Layer, number: int, below: float, control: Control) -> Layer | None:
    """Return what follows a layer, each state once, less what others dominate; None if there was no time."""
    parts, pending = [some(layer, slice(0))], 0
    for part in layered.next(layer, number, below):
        if control.should_stop:
            return None
        parts.append(distinct(part))
        pending += len(parts[-1].states)
        if pending > max(MANY, len(parts[0].states)):  # each state is followed several ways, most of them alike
            parts, pending = [_merged(parts)], 0
    return layered.undominated(_merged(parts), number + 1)


def _merged(parts: Sequence[Layer]) -> Layer:
    return distinct(Layer._make(np.concatenate(column) for column in zip(*parts, strict=True)))


def _below(best: float) -> float:
    """Return what a solution must be cheaper than to count as better; rounding is not."""
    return best - min(SLACK * max(1.0, best), MOST_SLACK) if best < math.inf else math.inf


def attempt(
    layered: Layered, width: int, control: Control, solution: Solution | None = None, cost: float | None = None
) -> Attempt:
    """Search with growing widths, up to `width`, from the best solution known, until nothing was left out."""
    best = math.inf if cost is None else cost
    bound, states, now = float(layered.first().bounds[0]), 0, min(FIRST_WIDTH, width)
    with control.progress(0, "states") as bar:
        while True:
            found = search(layered, now, _below(best), control)
            states += found.states
            bar.update(found.states)
            if found.path is not None:
                solution, best = layered.solution(found.path), found.cost
            if best == found.bound == math.inf:  # nothing was left out, and there is no end
                return Attempt(Status.INFEASIBLE, None, None, states)
            bound = max(bound, min(best, found.bound))
            control.report(value=best if solution is not None else None, bound=bound, note=f"width {now}")
            if found.bound >= _below(best) or found.bound == -math.inf or now >= width:
                break
            now = min(GROWTH * now, width)
    return Attempt(Status.OPTIMAL if bound >= _below(best) else Status.FEASIBLE, solution, bound, states)
