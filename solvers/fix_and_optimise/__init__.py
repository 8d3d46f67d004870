"""The method `fix-and-optimise`: a family's mixed-integer model, a few groups of its integer variables at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from orl.problem import Problem
from orl.solver import Outcome, Solver, Task


@dataclass(frozen=True)
class FixAndOptimiseSettings:
    """Settings of `fix-and-optimise`.

    Parameters
    ----------
    window : int >= 1
        How many integer variables are decided at a time, at first; a group is never cut.
    window_time : float > 0
        Seconds for a window, at first.
    threads : int, >= 0
        Of HiGHS; 0: all cores.
    start : 'best-rule' or 'none'
        The starting solution: that of the family's best dispatching rule, or, as where there is none, one that is built
        window by window.
    """

    window: int = 40
    window_time: float = 2.0
    threads: int = 1
    start: Literal["best-rule", "none"] = "best-rule"

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be >= 1, got {self.window}.")
        if not self.window_time > 0:
            raise ValueError(f"window_time must be > 0 seconds, got {self.window_time}.")
        if not 0 <= self.threads <= (os.cpu_count() or 1):
            raise ValueError(f"threads must be in 0..{os.cpu_count()}, the cores of this machine, got {self.threads}.")


def _fits(problem: Problem) -> bool:
    return problem.windows is not None and "exact" in (problem.models or ())


def _solve(task: Task) -> Outcome:
    from orl.hindsight import solve_hindsight, with_model

    from .search import search

    def solve(one: Task, program: Any, start: Any) -> Any:
        assert one.problem.windows is not None
        groupings = one.problem.windows(one.instance, program)
        return search(program, groupings, one.control, start, task.settings, task.seed)

    return solve_hindsight(task, task.settings.start, with_model("exact", solve))


SOLVER = Solver(
    name="fix-and-optimise",
    summary="the mixed-integer program of `exact`, a few integer variables at a time, all others fixed",
    settings=FixAndOptimiseSettings,
    fits=_fits,
    solve=_solve,
)
