"""The method `cp-sat`: a family's constraint program, solved by CP-SAT of OR-Tools."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orl.problem import Problem
from orl.solver import Outcome, Solver, Task

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from orl.hindsight import Solved


MIN_THREADS = 4
MAX_THREADS = 512


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
    start : 'best-rule' or 'none'
        The starting solution: that of the family's best dispatching rule, or none.
    """

    gap: float = 0.0
    threads: int = 0
    start: Literal["best-rule", "none"] = "best-rule"

    def __post_init__(self) -> None:
        if not 0 <= self.gap < math.inf:
            raise ValueError(f"gap must be >= 0 and finite, got {self.gap}.")
        if not 0 <= self.threads <= MAX_THREADS:
            raise ValueError(f"threads must be in 0..{MAX_THREADS}, got {self.threads}.")


def _fits(problem: Problem) -> bool:
    return problem.models is not None and "cp-sat" in problem.models


def _solve(task: Task) -> Outcome:
    from orl.hindsight import solve_hindsight

    return solve_hindsight(task, "cp-sat", task.settings.start, solve_program)


def solve_program(task: Task, program: cp_model.CpModel, start: Iterable[tuple[Any, float]]) -> Solved:
    """Minimise a constraint program; settings, seed, limits and reports as the task says."""
    from ortools.sat.python import cp_model

    from orl.hindsight import Solved, is_met
    from orl.result import Status

    control = task.control
    for variable, number in start:
        program.add_hint(variable, int(number))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = task.settings.threads or max(os.cpu_count() or 1, MIN_THREADS)
    solver.parameters.relative_gap_limit = task.settings.gap
    solver.parameters.random_seed = task.seed % 2**31
    solver.parameters.catch_sigint_signal = False
    if math.isfinite(control.remaining):
        solver.parameters.max_time_in_seconds = control.remaining
    # CP-SAT calls its best bound 0 as long as it has none; what it tells the callback has been proven.
    bounds: list[float] = []

    def tightened(bound: float) -> None:
        bounds.append(bound)
        control.report(bound=bound)

    class Improved(cp_model.CpSolverSolutionCallback):
        def on_solution_callback(self) -> None:
            control.report(value=self.objective_value)

    solver.best_bound_callback = tightened
    improved = Improved()
    code = control.wait_for(lambda: solver.solve(program, improved), solver.stop_search)
    if code == cp_model.MODEL_INVALID:
        raise ValueError(f"CP-SAT finds the model invalid: {program.validate()}")
    nodes = int(solver.num_branches)
    if code == cp_model.INFEASIBLE:
        return Solved(Status.INFEASIBLE, None, None, None, nodes)
    is_feasible = code in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    value = solver.objective_value if is_feasible else None
    bound = solver.best_objective_bound if code == cp_model.OPTIMAL else max(bounds, default=None)
    if is_met(value, bound):
        status = Status.OPTIMAL
    elif control.is_interrupted:
        status = Status.INTERRUPTED
    else:
        status = Status.FEASIBLE if is_feasible else Status.NO_SOLUTION
    return Solved(status, value, bound, solver.value if is_feasible else None, nodes)


SOLVER = Solver(
    name="cp-sat",
    summary="constraint program, solved by CP-SAT of OR-Tools",
    settings=CpSatSettings,
    fits=_fits,
    solve=_solve,
)
