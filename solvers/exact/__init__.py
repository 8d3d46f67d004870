"""The method `exact`: a family's mixed-integer model in Pyomo, solved by HiGHS."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Literal

from orl.problem import Problem
from orl.solver import Outcome, Solver, Task


@dataclass(frozen=True)
class ExactSettings:
    """Settings of `exact`.

    Parameters
    ----------
    gap : float, >= 0
        Stop at a solution proven to be within this relative gap.
    threads : int, >= 0
        Of HiGHS; 0: all cores.
    start : 'best-rule' or 'none'
        The starting solution: that of the family's best dispatching rule, or none.
    """

    gap: float = 0.0
    threads: int = 1
    start: Literal["best-rule", "none"] = "best-rule"

    def __post_init__(self) -> None:
        if not 0 <= self.gap < math.inf:
            raise ValueError(f"gap must be >= 0 and finite, got {self.gap}.")
        if not 0 <= self.threads <= (os.cpu_count() or 1):
            raise ValueError(f"threads must be in 0..{os.cpu_count()}, the cores of this machine, got {self.threads}.")


def _fits(problem: Problem) -> bool:
    return problem.models is not None and "exact" in problem.models


def _solve(task: Task) -> Outcome:
    from orl.exact import solve_model
    from orl.hindsight import solve_hindsight, with_model

    settings = task.settings

    def solve(one: Task, program: Any, start: Any, separate: Any = None) -> Any:
        return solve_model(program, one.control, start, settings.gap, settings.threads, task.seed, separate)

    return solve_hindsight(task, settings.start, with_model("exact", solve))


SOLVER = Solver(
    name="exact",
    summary="mixed-integer program in Pyomo, solved by HiGHS",
    settings=ExactSettings,
    fits=_fits,
    solve=_solve,
)
