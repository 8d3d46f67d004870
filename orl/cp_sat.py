"""Constraint programs through CP-SAT of OR-Tools: limits, starting solutions, status, proven bounds, progress."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any

from ortools.sat.python import cp_model

from orl.hindsight import Solved, is_met
from orl.result import Status
from orl.solver import Control

MIN_THREADS = 4


def solve_program(
    program: cp_model.CpModel,
    control: Control,
    start: Iterable[tuple[Any, float]] = (),
    gap: float = 0.0,
    threads: int = 0,
    seed: int = 0,
    work: float | None = None,
) -> Solved:
    """Minimise a constraint program within the limits that `control` sets, and report to it.

    Parameters
    ----------
    program : CpModel
    control : Control
    start : iterable of (variable, number)
        A solution to start from.
    gap : float >= 0
        Stop at a solution proven to be within this relative gap.
    threads : int
        Workers; 0: all cores, but `MIN_THREADS` at least.
    seed : int
    work : float or None
        Stop after so much work, in CP-SAT's deterministic time.
    """
    for variable, number in start:
        program.add_hint(variable, int(number))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = threads or max(os.cpu_count() or 1, MIN_THREADS)
    solver.parameters.relative_gap_limit = gap
    solver.parameters.random_seed = seed % 2**31
    solver.parameters.catch_sigint_signal = False
    if work is not None:
        solver.parameters.max_deterministic_time = work
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
