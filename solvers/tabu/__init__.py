"""The method `tabu`: tabu search from a rule's or a policy's solution, with restarts from elite solutions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from orl.errors import InputError
from orl.local_search import Neighbourhood
from orl.problem import Solution
from orl.registry import find_solver
from orl.simulate import best_rule, simulate
from orl.solver import Outcome, Solver, Task


@dataclass(frozen=True)
class TabuSettings:
    """Settings of `tabu`.

    Parameters
    ----------
    start : str
        The policy whose solution the search improves, by name: a rule, or any other; 'best': the family's best rule.
    iterations : int >= 1
        Moves. By default the time limit comes first; equal seeds and equal iterations give equal results.
    neighbourhood : 'N5', 'N6' or 'N7'
        Which moves are tried; see the README.
    tenure : float in (0, 10]
        Multiplies how long a reversed arc stays tabu, drawn anew for each move.
    patience : int >= 1
        Iterations without improvement after which the search goes on from elsewhere.
    elite : int >= 2
        How many solutions are kept, between which it goes on.
    """

    start: str = "best"
    iterations: int = 1_000_000_000
    neighbourhood: Neighbourhood = "N6"
    tenure: float = 1.0
    patience: int = 12_500
    elite: int = 8

    def __post_init__(self) -> None:
        for key, least in (("iterations", 1), ("patience", 1), ("elite", 2)):
            if getattr(self, key) < least:
                raise ValueError(f"{key} must be >= {least}, got {getattr(self, key)}.")
        if self.iterations > 2_000_000_000:
            raise ValueError(f"iterations must be <= 2,000,000,000, got {self.iterations}.")
        if not 0 < self.tenure <= 10:
            raise ValueError(f"tenure must be > 0 and <= 10, got {self.tenure}.")


CHUNK_SECONDS = 0.2  # how long a kernel may run before time and interruption are looked at


def _solve(task: Task) -> Outcome:
    """Improve a policy's solution until time, iterations or the proven bound end it."""
    from orl.result import Status

    settings, control = task.settings, task.control
    start = _start(task)
    if start is None:
        return Outcome(Status.INTERRUPTED if control.is_interrupted else Status.NO_SOLUTION, [])
    assert task.problem.local_search is not None
    search = task.problem.local_search(
        task.instance,
        start,
        task.seed,
        neighbourhood=settings.neighbourhood,
        tenure=settings.tenure,
        patience=settings.patience,
        elite=settings.elite,
    )
    control.report(value=search.value, bound=search.bound)
    chunk = 100
    with control.progress(settings.iterations, "iterations") as bar:
        while search.iterations < settings.iterations and search.value > search.bound and not control.should_stop:
            started, before = control.seconds, search.iterations
            control.report(value=search.improve(min(chunk, settings.iterations - before)))
            bar.update(search.iterations - before)
            per_iteration = max((control.seconds - started) / max(search.iterations - before, 1), 1e-9)
            chunk = int(min(max(min(CHUNK_SECONDS, control.remaining) / per_iteration, 1), 4 * chunk))
    is_optimal = search.value <= search.bound
    status = Status.OPTIMAL if is_optimal else Status.INTERRUPTED if control.is_interrupted else Status.FEASIBLE
    metrics = {"iterations": float(search.iterations), "restarts": float(search.restarts)}
    return Outcome(status, [search.solution()], search.bound, "proven", search.value, metrics)


def _start(task: Task) -> Solution | None:
    """Return the solution to begin with; None if there was no time for one."""
    problem, name, scenario = task.problem, task.settings.start, task.scenarios[0]
    if name == "best":
        best = best_rule(problem, task.instance, scenario, task.seed)
        if best is None:
            raise InputError(f"{problem.name} has no rules: name a policy to start from.")
        return best[2]
    method = find_solver(name, problem)
    if method.policy is None:
        raise InputError(f"tabu: start must be a policy; solver {name!r} gives a solution.")
    policy: Any = method.policy(replace(task, settings=method.settings()))
    solutions = simulate(problem, task.instance, policy, scenario, task.seed, task.control).solutions
    return solutions[0] if solutions else None


SOLVER = Solver(
    name="tabu",
    summary="tabu search with restarts from elite solutions (deterministic instances)",
    settings=TabuSettings,
    fits=lambda problem: problem.local_search is not None,
    solve=_solve,
    needs_determinism=True,
)
