"""One run of a method: scenarios drawn, the method run under its reins, solutions verified, bound and gaps stated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orl import params
from orl.errors import InputError
from orl.hindsight import is_met
from orl.problem import Problem, Report, Violation
from orl.result import Result, Status, cvar, mean_interval, relative_gap
from orl.scenario import Purpose, Scenarios
from orl.simulate import simulate
from orl.solver import Certificate, Control, Outcome, Solver, Task, check_scheduler
from orl.versions import versions

DEFAULT_SCENARIOS = 100  # of an instance in which something is random
MAX_SCENARIOS = 1_000_000
MIN_FOR_SPREAD = 20  # scenarios, below which a 95 % quantile is the worst one


def sample(family: Problem, instance: Any, seed: int, purpose: Purpose | str, count: int | None) -> Scenarios:
    """Draw scenarios of an instance; None: one if nothing is random, else `DEFAULT_SCENARIOS`."""
    if not 0 <= seed < 2**63:
        raise InputError(f"the seed must be >= 0 and below 2**63, got {seed}.")
    if count is not None and not 1 <= count <= MAX_SCENARIOS:
        raise InputError(f"there must be 1 to {MAX_SCENARIOS} scenarios, got {count}.")
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
    control: Control | None = None,
) -> Result:
    """Run a method on an instance, verify its solutions and say how far they are from the optimum.

    Parameters
    ----------
    options : the method's settings
    scenarios : int or None
        How many; None: 1 if nothing is random, else 100.
    time_limit : float or None
        Seconds; None: no limit.
    control : Control or None
        Reins of the caller's own, in place of `time_limit` and `verbose`: another thread may `interrupt` them.
    """
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"the time limit must be > 0 seconds, got {time_limit:g}.")
    rows = sample(family, instance, seed, purpose, scenarios)
    if method.needs_determinism and rows.is_random:
        raise InputError(f"{method.name} is for instances in which nothing is random.")
    control = control or Control(time_limit, verbose)
    check_scheduler(control, getattr(options, "processes", 1), method.name)
    task = Task(family, instance, rows, options, seed, control)
    outcome, is_clairvoyant = None, rows.is_random  # a method that solves was given the scenarios
    if method.solve is not None and (method.policy is None or not rows.is_random):
        with control.interruptible():
            outcome = method.solve(task)
    if outcome is None:
        outcome, is_clairvoyant = _simulated(task, method)
    seconds = control.seconds
    if len(outcome.solutions) > len(rows):
        raise RuntimeError(f"{method.name} gives {len(outcome.solutions)} solutions for {len(rows)} scenarios.")
    return _result(task, method, outcome, seconds, is_clairvoyant)


def _simulated(task: Task, method: Solver) -> tuple[Outcome, bool]:
    """Make a method's policy and simulate it, each until an interruption of its own; return whether it knew nature."""
    assert method.policy is not None
    control = task.control
    with control.interruptible():
        policy = method.policy(task)
    is_unfinished = control.go_on("interrupted: the policy is simulated as it is by now; Ctrl-C again ends that, too")
    with control.interruptible():
        run = simulate(task.problem, task.instance, policy, task.scenarios, task.seed, control)
        has_any = bool(run.solutions)
        status = Status.FEASIBLE if has_any else Status.NO_SOLUTION
        if is_unfinished or control.is_interrupted:
            status = Status.INTERRUPTED
        nothing = Certificate(None, "none", {})
        proven = method.certificate(policy, task) if method.certificate is not None else nothing
    pace = {} if run.seconds_per_decision is None else {"seconds_per_decision": run.seconds_per_decision}
    value = float(run.costs.mean()) if has_any else None
    outcome = Outcome(status, run.solutions, proven.bound, proven.bound_kind, value, {**pace, **proven.metrics})
    return outcome, policy.clairvoyant


def _result(task: Task, method: Solver, outcome: Outcome, seconds: float, is_clairvoyant: bool) -> Result:
    family, instance, scenarios, control = task.problem, task.instance, task.scenarios, task.control
    costs, report, figures = verify_all(family, instance, scenarios, outcome.solutions, control)
    value, notes = report.cost, list(report.violations)
    if value is not None and outcome.value is not None and not math.isclose(value, outcome.value, rel_tol=1e-6):
        notes.append(Violation("cost", f"{method.name} says {outcome.value:.10g}, the verifier finds {value:.10g}."))
    bound, bound_kind = _best_bound(family, instance, scenarios, outcome, len(costs))
    status = outcome.status
    is_comparable = not notes and value is not None and bound is not None and bound_kind == "proven"
    if is_comparable and bound > value + 1e-6 * max(abs(value), 1):  # type: ignore[operator,arg-type]
        notes.append(Violation("bound", f"{method.name}: bound {bound:.10g} above the verified value {value:.10g}."))
        bound, bound_kind = None, "none"
    # A status is believed only where the verified value meets the bound.
    if status in (Status.OPTIMAL, Status.FEASIBLE):
        status = Status.OPTIMAL if bound_kind == "proven" and is_met(value, bound) else Status.FEASIBLE
    report = Report(value, tuple(notes))
    known = family.best_known(instance) if family.best_known is not None else None
    best_known = known.upper if known else None
    has_both = value is not None and best_known is not None and report.is_feasible
    interval = mean_interval(costs) if len(costs) > 1 else None
    return Result(
        problem=family.name,
        instance=instance.name,
        solver=method.name,
        settings=_settings(task, method),
        clairvoyant=is_clairvoyant,
        status=status,
        value=value,
        bound=bound,
        bound_kind=bound_kind,
        gap=relative_gap(value, bound) if report.is_feasible else None,
        best_known=best_known,
        gap_best_known=(value - best_known) / max(abs(best_known), 1e-9) if has_both else None,  # type: ignore[operator,arg-type]
        interval=(interval.low, interval.high) if interval else None,
        costs=costs,
        scenarios=len(scenarios),
        purpose=scenarios.purpose.value,
        seconds=seconds,
        seed=task.seed,
        verified=report.is_feasible,
        violations=report.violations,
        metrics={
            **(figures if report.is_feasible else {}),
            **_spread(costs),
            **outcome.metrics,
        },
        trace=list(control.trace),
        versions=versions(),
        solutions=outcome.solutions,
    )


def _settings(task: Task, method: Solver) -> dict[str, Any]:
    """Return the settings of instance and method; one of the method's that the instance has, too, as METHOD.KEY."""
    of_instance = params.to_dict(getattr(task.instance, "settings", None))
    own = params.to_dict(task.settings)
    return {**of_instance, **{f"{method.name}.{key}" if key in of_instance else key: own[key] for key in own}}


def verify_all(
    family: Problem,
    instance: Any,
    scenarios: Scenarios,
    solutions: Sequence[Any],
    control: Control | None = None,
    has_metrics: bool = True,
) -> tuple[list[float], Report, dict[str, float]]:
    """Return the cost of each solution, one report, the mean cost and all violations, and the means of the metrics.

    Metrics stand for nothing where there are violations. They follow each solution's verification, so that a family may
    remember for them what it found.
    """
    costs, violations, figures = [], list[Violation](), list[Mapping[str, float]]()
    with (control or Control()).progress(len(solutions), "verified") as bar:
        for i, solution in enumerate(solutions):
            scenario = scenarios[i]
            report = family.verify(instance, scenario, solution)
            if report.cost is not None:
                costs.append(report.cost)
            violations += report.violations
            if has_metrics and family.metrics is not None and report.is_feasible:
                figures.append(family.metrics(instance, scenario, solution))
            bar.update()
    is_whole = bool(solutions) and len(costs) == len(solutions)
    means = {key: float(np.mean([row[key] for row in figures])) for key in figures[0]} if figures else {}
    return costs, Report(float(np.mean(costs)) if is_whole else None, tuple(violations)), means


def _best_bound(
    family: Problem, instance: Any, scenarios: Scenarios, outcome: Outcome, count: int
) -> tuple[float | None, str]:
    """Return the better of the method's bound and the family's own cheap one."""
    if outcome.status in (Status.INFEASIBLE, Status.UNBOUNDED):
        return None, "none"
    bound, kind = (outcome.bound, outcome.bound_kind) if outcome.bound is not None else (None, "none")
    speaks_of_sample = kind in ("none", "proven", "hindsight-mean")  # a bound on the expected cost is another thing
    if family.bound is not None and speaks_of_sample:
        count = max(count, 1)
        cheap = float(np.mean([family.bound(instance, scenarios[i]) for i in range(min(count, len(scenarios)))]))
        if bound is None or cheap > bound:
            bound, kind = cheap, "proven" if len(scenarios) == 1 else "hindsight-mean"
    return bound, kind


def _spread(costs: Sequence[float]) -> dict[str, float]:
    """Return what the worse scenarios cost: median, 95 % quantile, and the mean of the worst 5 %."""
    if len(costs) < MIN_FOR_SPREAD:
        return {}
    median, high = (float(q) for q in np.quantile(costs, (0.5, 0.95)))
    return {"cost_median": median, "cost_q95": high, "cost_cvar95": cvar(costs, 0.95)}
