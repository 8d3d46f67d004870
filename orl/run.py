"""One run of a method: scenarios drawn, the method run under its reins, solutions verified, bound and gaps stated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from orl import params
from orl.errors import InputError
from orl.problem import Problem, Report, Violation
from orl.result import Result, Status, mean_interval, relative_gap
from orl.scenario import Purpose, Scenarios
from orl.simulate import simulate
from orl.solver import Control, Outcome, Solver, Task
from orl.versions import versions

DEFAULT_SCENARIOS = 100  # of an instance in which something is random


def sample(family: Problem, instance: Any, seed: int, purpose: Purpose | str, count: int | None) -> Scenarios:
    """Draw scenarios of an instance; None: one if nothing is random, else `DEFAULT_SCENARIOS`."""
    if seed < 0:
        raise InputError(f"the seed must be >= 0, got {seed}.")
    if count is not None and count < 1:
        raise InputError(f"there must be 1 scenario or more, got {count}.")
    if count is None:
        count = DEFAULT_SCENARIOS if family.sample(instance, seed, Purpose(purpose), 1).is_random else 1
    return family.sample(instance, seed, Purpose(purpose), count)


def run_method(
    family: Problem,
    instance: Any,
    method: Solver,
    options: Any,
    *,
    scenarios: int | None = None,
    purpose: Purpose | str = Purpose.EVALUATE,
    time_limit: float | None = None,
    seed: int = 0,
    verbose: bool = False,
) -> Result:
    """Run a method on an instance, verify its solutions and say how far they are from the optimum.

    Parameters
    ----------
    options : the method's settings
    scenarios : int or None
        How many; None: 1 if nothing is random, else 100.
    time_limit : float or None
        Seconds; None: no limit.
    """
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"the time limit must be > 0 seconds, got {time_limit:g}.")
    rows = sample(family, instance, seed, purpose, scenarios)
    if method.needs_determinism and rows.is_random:
        raise InputError(f"{method.name} is for instances in which nothing is random.")
    control = Control(time_limit, verbose)
    with control.interruptible():
        if method.solve is not None:
            outcome = method.solve(Task(family, instance, rows, options, seed, control))
        else:
            assert method.policy is not None
            run = simulate(family, instance, method.policy(family, options), rows, seed, control)
            status = Status.INTERRUPTED if control.is_interrupted else Status.FEASIBLE
            outcome = Outcome(status, run.solutions, value=float(run.costs.mean()))
        seconds = control.seconds
    return _result(family, instance, method, options, rows, outcome, seconds, seed, control)


def _result(
    family: Problem,
    instance: Any,
    method: Solver,
    options: Any,
    scenarios: Scenarios,
    outcome: Outcome,
    seconds: float,
    seed: int,
    control: Control,
) -> Result:
    costs, report = verify_all(family, instance, scenarios, outcome.solutions)
    value = report.cost
    if (
        value is not None
        and outcome.value is not None
        and not math.isclose(value, outcome.value, rel_tol=1e-6, abs_tol=1e-6)
    ):
        note = Violation("cost", f"{method.name} says {outcome.value:.10g}, the verifier finds {value:.10g}.")
        report = Report(value, (*report.violations, note))
    bound, bound_kind = _best_bound(family, instance, scenarios, outcome, len(costs))
    status = outcome.status
    if report.is_feasible and value is not None and bound is not None and bound_kind == "proven":
        if bound > value + 1e-6 * max(abs(value), 1):
            raise RuntimeError(
                f"{method.name}: the bound {bound} exceeds the verified value {value}; please report this."
            )
        if status == Status.FEASIBLE and value - bound <= 1e-9 * max(abs(value), 1):
            status = Status.OPTIMAL
    known = family.best_known(instance) if family.best_known is not None else None
    best_known = known.upper if known else None
    has_both = value is not None and best_known is not None and report.is_feasible
    interval = mean_interval(costs) if len(costs) > 1 else None
    return Result(
        problem=family.name,
        instance=instance.name,
        solver=method.name,
        settings={**params.to_dict(getattr(instance, "settings", None)), **params.to_dict(options)},
        status=status,
        value=value,
        bound=bound,
        bound_kind=bound_kind,
        gap=relative_gap(value, bound) if report.is_feasible else None,
        best_known=best_known,
        gap_best_known=(value - best_known) / max(abs(best_known), 1e-9) if has_both else None,  # type: ignore[operator,arg-type]
        interval=(interval.low, interval.high) if interval else None,
        costs=costs,
        scenarios=len(scenarios) if not outcome.solutions else len(outcome.solutions),
        seconds=seconds,
        seed=seed,
        verified=report.is_feasible,
        violations=report.violations,
        metrics={**_mean_metrics(family, instance, scenarios, outcome.solutions), **outcome.metrics},
        trace=control.trace,
        versions=versions(),
        solutions=outcome.solutions,
    )


def verify_all(
    family: Problem, instance: Any, scenarios: Scenarios, solutions: Sequence[Any]
) -> tuple[list[float], Report]:
    """Return the cost of each solution, and one report: the mean cost and all violations."""
    reports = [family.verify(instance, scenarios[i], solution) for i, solution in enumerate(solutions)]
    costs = [report.cost for report in reports if report.cost is not None]
    violations = tuple(violation for report in reports for violation in report.violations)
    is_whole = bool(reports) and len(costs) == len(reports)
    return costs, Report(float(np.mean(costs)) if is_whole else None, violations)


def _best_bound(
    family: Problem, instance: Any, scenarios: Scenarios, outcome: Outcome, count: int
) -> tuple[float | None, str]:
    """Return the better of the method's bound and the family's own cheap one."""
    if outcome.status in (Status.INFEASIBLE, Status.UNBOUNDED):
        return None, "none"
    bound, kind = (outcome.bound, outcome.bound_kind) if outcome.bound is not None else (None, "none")
    if family.bound is not None:
        count = max(count, 1)
        cheap = float(np.mean([family.bound(instance, scenarios[i]) for i in range(min(count, len(scenarios)))]))
        if bound is None or cheap > bound:
            bound, kind = cheap, "proven" if len(scenarios) == 1 else "hindsight-mean"
    return bound, kind


def _mean_metrics(family: Problem, instance: Any, scenarios: Scenarios, solutions: Sequence[Any]) -> dict[str, float]:
    if family.metrics is None or not solutions:
        return {}
    rows = [family.metrics(instance, scenarios[i], solution) for i, solution in enumerate(solutions)]
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
