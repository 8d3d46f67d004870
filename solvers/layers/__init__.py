"""The method `layers`: search through layers of states, wider and wider, until nothing was left out. See README.md."""

from __future__ import annotations

from dataclasses import dataclass

from orl.hindsight import Attempt, solve_hindsight
from orl.layers import attempt
from orl.problem import Problem, Solution
from orl.solver import Outcome, Solver, Task


@dataclass(frozen=True)
class LayersSettings:
    """Settings of `layers`.

    Parameters
    ----------
    width : int >= 1
        The most states of a layer that go on, those with the least bounds. Memory grows with it, with the layers, and
        with what follows a state.
    """

    width: int = 4_000_000

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 100_000_000:
            raise ValueError(f"width must be in 1..100,000,000, got {self.width}.")


def _attempt(task: Task, solution: Solution | None, cost: float | None) -> Attempt:
    assert task.problem.layered is not None
    layered = task.problem.layered(task.instance, task.scenarios, lambda: task.control.should_stop)
    return attempt(layered, task.settings.width, task.control, solution, cost)


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
