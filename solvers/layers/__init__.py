"""The method `layers`: search through layers of states, wider and wider, until nothing was left out. See README.md."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from orl.hindsight import Attempt, solve_hindsight
from orl.layers import Layer, Layered, distinct, some
from orl.problem import Problem, Solution
from orl.result import Status
from orl.solver import Control, Outcome, Solver, Task

FIRST_WIDTH, GROWTH = 100, 10
SLACK, MOST_SLACK = 1e-9, 5e-7  # relative, and in all: differences that count as rounding


@dataclass(frozen=True)
class LayersSettings:
    """Settings of `layers`.

    Parameters
    ----------
    width : int >= 1
        The most states of a layer that go on, those with the least bounds. Memory grows with it, with the layers, and
        with what follows a state.
    """

    width: int = 1_000_000

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 100_000_000:
            raise ValueError(f"width must be in 1..100,000,000, got {self.width}.")


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
    parts = [some(layer, slice(0))]
    for part in layered.next(layer, number, below):
        if control.should_stop:
            return None
        parts.append(distinct(part))
    layer = distinct(Layer._make(np.concatenate(column) for column in zip(*parts, strict=True)))
    return layered.undominated(layer, number + 1)


def _below(best: float) -> float:
    """Return what a solution must be cheaper than to count as better; rounding is not."""
    return best - min(SLACK * max(1.0, best), MOST_SLACK) if best < math.inf else math.inf


def _attempt(task: Task, solution: Solution | None, cost: float | None) -> Attempt | None:
    """Search with growing widths, from the best solution known, until nothing was left out."""
    assert task.problem.layered is not None
    layered, control = task.problem.layered(task.instance, task.scenarios), task.control
    best = math.inf if cost is None else cost
    bound, states, width = float(layered.first().bounds[0]), 0, min(FIRST_WIDTH, task.settings.width)
    with control.progress(0, "states") as bar:
        while True:
            found = search(layered, width, _below(best), control)
            states += found.states
            bar.update(found.states)
            if found.path is not None:
                solution, best = layered.solution(found.path), found.cost
            if best == found.bound == math.inf:  # nothing was left out, and there is no end
                return Attempt(Status.INFEASIBLE, None, None, states)
            bound = max(bound, min(best, found.bound))
            control.report(value=best if solution is not None else None, bound=bound, note=f"width {width}")
            if found.bound >= _below(best) or found.bound == -math.inf or width >= task.settings.width:
                break
            width = min(GROWTH * width, task.settings.width)
    return Attempt(Status.OPTIMAL if bound >= _below(best) else Status.FEASIBLE, solution, bound, states)


def _fits(problem: Problem) -> bool:
    return problem.layered is not None


def _solve(task: Task) -> Outcome:
    return solve_hindsight(task, "best-rule", _attempt)


SOLVER = Solver(
    name="layers",
    summary="search through layers of states, wider and wider: a plan in hindsight and a bound",
    settings=LayersSettings,
    fits=_fits,
    solve=_solve,
)
