"""Dispatching rules as methods, and `best-of`: the best of many randomised runs of a rule."""

from __future__ import annotations

from dataclasses import dataclass

from orl.errors import InputError
from orl.problem import Problem
from orl.registry import find_rule
from orl.rule import Rule
from orl.simulate import best_rule, rule_policy
from orl.solver import NoSettings, Outcome, Solver, Task


def rule_solver(rule: Rule, problem: Problem) -> Solver:
    """Return the method that follows `rule`."""
    return Solver(
        name=rule.name,
        summary=rule.summary,
        settings=NoSettings,
        fits=lambda other: other.name == problem.name,
        policy=lambda task: rule_policy(task.problem, rule),
    )


@dataclass(frozen=True)
class BestOfSettings:
    """What `best-of` may be told.

    Parameters
    ----------
    rule : str
        A rule's name, or 'best': the one that does best on the instance without randomness.
    runs : int
        How many runs, the first of them without randomness.
    epsilon : float in [0, 1]
        The probability with which a decision is drawn at random. The default was chosen on drawn shops
        (`benchmarks/jobshop_best_of.py`).
    """

    rule: str = "best"
    runs: int = 1000
    epsilon: float = 0.2

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise ValueError(f"runs must be >= 1, got {self.runs}.")
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon must be in 0..1, got {self.epsilon}.")


CHUNK_SECONDS = 0.2  # how long a kernel may run before time and interruption are looked at


def best_of(task: Task) -> Outcome:
    """Run a rule many times with some decisions drawn at random, and keep the best."""
    from orl.result import Status

    problem, instance, settings, control = task.problem, task.instance, task.settings, task.control
    assert problem.randomise is not None
    if settings.rule == "best":
        best = best_rule(problem, instance, task.scenarios[0], task.seed)
        assert best is not None
        rule = find_rule(best[0], problem)
    else:
        rule = find_rule(settings.rule, problem)
    if rule.table is None and not rule.compiled:
        raise InputError(f"best-of runs inside a kernel: rule {rule.name!r} must be a table, not a score.")
    best_value, best_solution, done, chunk = float("inf"), None, 0, 1
    with control.progress(settings.runs, "runs") as bar:
        while done < settings.runs and not (done and control.should_stop):
            started = control.seconds
            runs = min(chunk, settings.runs - done)
            value, solution = problem.randomise(instance, rule, runs, done, settings.epsilon, task.seed)
            if value < best_value:
                best_value, best_solution = value, solution
                control.report(value=value)
            done += runs
            bar.update(runs)
            per_run = max((control.seconds - started) / runs, 1e-9)
            chunk = int(min(max(CHUNK_SECONDS / per_run, 1), 2 * chunk))
    status = Status.INTERRUPTED if control.is_interrupted else Status.FEASIBLE
    return Outcome(status, [best_solution], value=best_value, metrics={"runs": done})


BEST_OF = Solver(
    name="best-of",
    summary="the best of many randomised runs of a rule (deterministic instances)",
    settings=BestOfSettings,
    fits=lambda problem: problem.randomise is not None and problem.rules is not None,
    solve=best_of,
    needs_determinism=True,
)
