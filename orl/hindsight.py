"""The hindsight problem of every scenario of a task, whatever solves it; of a deterministic instance, the instance.

The mean over scenarios of the least cost of each, known beforehand, is a lower bound on the mean cost of any policy; a
scenario that is not solved to the end enters by its proven bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orl.errors import InputError, Stopped
from orl.problem import Solution
from orl.result import Status
from orl.simulate import best_rule
from orl.solver import Outcome, Task

Start = Iterable[tuple[Any, float]]  # (variable, number) of a starting solution


@dataclass(frozen=True, eq=False)
class Solved:
    """What a solver says of a model.

    Parameters
    ----------
    status : Status
    value, bound : float or None
        Objective of the best solution, proven bound on it; None where there is none.
    of : callable (variable) -> float, or None
        The best solution's value of a variable.
    nodes : int
        Branch-and-bound nodes.
    """

    status: Status
    value: float | None
    bound: float | None
    of: Callable[[Any], float] | None
    nodes: int


@dataclass(frozen=True, eq=False)
class Attempt:
    """What a method makes of one scenario's hindsight problem.

    Parameters
    ----------
    status : Status
    solution : Solution or None
    bound : float or None
        Proven.
    nodes : int
        Branch-and-bound nodes.
    """

    status: Status
    solution: Solution | None
    bound: float | None
    nodes: int = 0


# (task of one scenario, the best solution known, its cost) -> what came of it, None if there was no time
Try = Callable[[Task, Solution | None, float | None], Attempt | None]


@dataclass(frozen=True, eq=False)
class _Found:
    """What is known of one scenario's hindsight problem."""

    status: Status
    solution: Solution | None
    cost: float | None
    bound: float | None
    nodes: int = 0


NOISE = 1.1e-6  # HiGHS looks for nothing that is better by less than 1e-6, and says so in its bound
LEAST_SHARE = 3.0  # seconds: what loads at the first model must not cost the first scenario its solution


def with_model(model: str, solve: Callable[..., Solved]) -> Try:
    """Return the attempt to solve a model of the family.

    Parameters
    ----------
    model : str
        Name of the model among `problem.models`.
    solve : callable (task, program, start, separate) -> Solved
        The task is that of one scenario; `separate` is that of the model, to be given only where it has one.
    """

    def attempt(task: Task, solution: Solution | None, cost: float | None) -> Attempt | None:
        assert task.problem.models is not None
        build, control = task.problem.models[model], task.control
        try:  # large models take their time to build
            made = build(task.instance, task.scenarios, upper_bound=cost, should_stop=lambda: control.should_stop)
        except Stopped:
            return None
        begin = made.start(solution) if solution is not None else ()
        solved = solve(task, made.program, begin, *(() if made.separate is None else (made.separate,)))
        return Attempt(solved.status, made.read(solved.of) if solved.of else None, solved.bound, solved.nodes)

    return attempt


def solve_hindsight(task: Task, start: str, attempt: Try) -> Outcome:
    """Solve the hindsight problem of each scenario of a task; of a deterministic instance that is the instance.

    Several scenarios share the time: each may take what is left, divided by how many are left. Values and bounds of one
    say nothing of the others, so they are not reported; the progress bar counts scenarios.

    Parameters
    ----------
    task : Task
    start : 'best-rule' or 'none'
        The starting solution. What is found is never worse than it.
    attempt : callable (task of one scenario, solution, cost) -> Attempt or None

    Returns
    -------
    Outcome
        The bound is the mean of the scenarios' proven bounds, None unless each has one. `proven_scenarios` counts those
        that are solved to the end.
    """
    found = list(_solve_scenarios(task, start, attempt))
    solutions = [one.solution for one in found if one.solution is not None]
    costs = [one.cost for one in found if one.cost is not None]
    bounds = [one.bound for one in found if one.bound is not None]
    kind = "proven" if len(found) == 1 else "hindsight-mean"
    return Outcome(
        status=next(status for status in _GRAVEST_FIRST if status in {one.status for one in found}),
        solutions=solutions if len(solutions) == len(found) else [],
        bound=float(np.mean(bounds)) if len(bounds) == len(found) else None,
        bound_kind=kind if len(bounds) == len(found) else "none",
        value=float(np.mean(costs)) if len(costs) == len(found) else None,
        metrics={
            "nodes": float(sum(one.nodes for one in found)),
            "proven_scenarios": float(sum(one.status == Status.OPTIMAL for one in found)),
        },
    )


_GRAVEST_FIRST = (
    Status.INFEASIBLE,
    Status.UNBOUNDED,
    Status.INTERRUPTED,
    Status.NO_SOLUTION,
    Status.FEASIBLE,
    Status.OPTIMAL,
)


def _solve_scenarios(task: Task, start: str, attempt: Try) -> Iterator[_Found]:
    count = len(task.scenarios)
    if count == 1:
        yield _solve_scenario(task, start, attempt)
        return
    with task.control.progress(count, "scenarios") as bar:
        for index, scenario in enumerate(task.scenarios):
            left = task.control.remaining
            share = task.control.within(max(left / (count - index), LEAST_SHARE))
            yield _solve_scenario(replace(task, scenarios=scenario, control=share), start, attempt)
            bar.update(1)
            if task.control.is_interrupted:  # what is solved by now is the answer: value and bound of these scenarios
                return


def _solve_scenario(task: Task, start: str, attempt: Try) -> _Found:
    problem, instance, scenario, control = task.problem, task.instance, task.scenarios, task.control
    bound = float(problem.bound(instance, scenario)) if problem.bound else None
    rule = _best_rule(task) if start == "best-rule" else None
    solution, cost = (rule[2], rule[1]) if rule else (None, None)
    control.report(cost, bound)
    solved = None
    if not (control.should_stop or is_met(cost, bound)):
        solved = attempt(task, solution, cost)
    if solved is not None and solved.bound is not None:
        bound = solved.bound if bound is None else max(bound, solved.bound)
    if solved is not None and solved.solution is not None:
        report = problem.verify(instance, scenario, solved.solution)
        is_better = cost is None or (report.cost is not None and report.cost < cost)
        if is_better and (cost is None or report.is_feasible):  # a broken one is handed on only for want of another
            solution, cost = solved.solution, report.cost
    if solved is not None and solved.status in (Status.INFEASIBLE, Status.UNBOUNDED):
        if solution is not None and solved.status == Status.INFEASIBLE:
            raise RuntimeError(f"{instance.name}: a method claims to be infeasible, but a rule found a solution.")
        status: Status = solved.status
        bound = None
    elif is_met(cost, bound):
        status = Status.OPTIMAL
    elif control.is_interrupted:
        status = Status.INTERRUPTED
    else:
        status = Status.NO_SOLUTION if solution is None else Status.FEASIBLE
    control.report(cost, bound)
    return _Found(status, solution, cost, bound, solved.nodes if solved else 0)


def _best_rule(task: Task) -> tuple[str, float, Solution] | None:
    """Return what `best_rule` does; None if process or rules refuse an instance that the model may well take, or if
    what a rule does is no solution, as where there is none.

    A family without a default rule has models that need no start.
    """
    if task.problem.default_rule is None:
        return None
    try:
        best = best_rule(task.problem, task.instance, task.scenarios, task.seed)
    except InputError:
        return None
    return best if best and task.problem.verify(task.instance, task.scenarios, best[2]).is_feasible else None


def is_met(cost: float | None, bound: float | None) -> bool:
    """Whether a cost is at its bound, up to the noise of floating-point solvers."""
    return cost is not None and bound is not None and cost - bound <= NOISE
