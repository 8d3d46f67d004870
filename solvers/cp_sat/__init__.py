"""The method `cp-sat`: a family's constraint program, solved by CP-SAT of OR-Tools."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from orl.params import check_threads
from orl.problem import Problem
from orl.solver import Outcome, Solver, Task


@dataclass(frozen=True)
class CpSatSettings:
    """Settings of `cp-sat`.

    Parameters
    ----------
    gap : float, >= 0
        Stop at a solution proven to be within this relative gap.
    threads : int, >= 0
        Workers of CP-SAT, each of which searches in its own way; one makes runs repeatable. 0: all cores, but 4 at
        least: on two cores four proved ft10 about ten times as fast as two did, and eight were slower again.
    work : float > 0 or None
        Stop after so much work, in CP-SAT's deterministic time, about seconds: with threads=1 a run that is cut off so
        is repeatable, one that the clock ends is not.
    start : 'best-rule' or 'none'
        The starting solution: that of the family's best dispatching rule, or none.
    """

    gap: float = 0.0
    threads: int = 0
    work: float | None = None
    start: Literal["best-rule", "none"] = "best-rule"

    def __post_init__(self) -> None:
        if not 0 <= self.gap < math.inf:
            raise ValueError(f"gap must be >= 0 and finite, got {self.gap}.")
        check_threads(self.threads)
        if self.work is not None and not self.work > 0:
            raise ValueError(f"work must be > 0, got {self.work}.")


def _fits(problem: Problem) -> bool:
    return problem.models is not None and "cp-sat" in problem.models


def _solve(task: Task) -> Outcome:
    from orl.cp_sat import solve_program
    from orl.hindsight import solve_hindsight, with_model

    settings = task.settings

    def solve(one: Task, program: Any, start: Any) -> Any:
        return solve_program(program, one.control, start, settings.gap, settings.threads, task.seed, settings.work)

    return solve_hindsight(task, settings.start, with_model("cp-sat", solve))


SOLVER = Solver(
    name="cp-sat",
    summary="constraint program, solved by CP-SAT of OR-Tools",
    settings=CpSatSettings,
    fits=_fits,
    solve=_solve,
)
