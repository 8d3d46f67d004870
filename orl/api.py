"""The same as the command line offers, for those who embed it: load, solve, evaluate, make_policy, check, save."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from orl import files, params, registry
from orl.errors import InputError
from orl.policy import Policy
from orl.problem import Problem, Report, Violation
from orl.result import Result, Status, mean_interval, relative_gap
from orl.rule import Rule, rule_from
from orl.scenario import Purpose, Scenarios
from orl.simulate import rule_policy, simulate
from orl.solver import Control, Outcome, Solver, Task

DEFAULT_TIME_LIMIT = 50.0  # seconds: an answer within a minute
DEFAULT_SCENARIOS = 100  # of an instance in which something is random


def load(instance: str | Path, problem: str | None = None, settings: Mapping[str, Any] | None = None) -> Any:
    """Load an instance from a file or by name.

    Parameters
    ----------
    instance : str or Path
        A path, or the name of a packaged instance such as 'jobshop/ft06'.
    problem : str or None
        The family; None: the one that recognises the file.
    settings : name -> value
        What `--set` would change about the instance.

    Raises
    ------
    InputError
        One line that names the file, the line and what was expected.

    Examples
    --------
    >>> import orl
    >>> orl.load("jobshop/ft06").num_jobs
    6
    """
    family = registry.find_problem(problem) if problem else None
    path = files.find_instance(instance, [family.name] if family else registry.problem_names())
    return (family or recognise(path)).load(path, settings or {})


def save(instance: Any, path: str | Path) -> None:
    """Write an instance to a file of its family; the ending chooses the format."""
    family = problem_of(instance)
    if family.save is None:
        raise InputError(f"{family.name} cannot write instances.")
    family.save(instance, Path(path))


def problem_of(instance: Any) -> Problem:
    """Return the family of a loaded instance."""
    name = getattr(instance, "problem", None)
    if not isinstance(name, str):
        raise InputError(f"expected an instance, a path or a name, got a {type(instance).__name__}.")
    return registry.find_problem(name)


def make_policy(problem: str | Any, policy: Any, settings: Mapping[str, Any] | None = None) -> Policy:
    """Make a policy from a name, a rule, or a plain function.

    Parameters
    ----------
    problem : str or instance
        The family's name, or an instance of it.
    policy : str, Rule, callable or Policy
        A rule's or a policy method's name, `module:function`, a `Rule`, or a function as `orl.rule.rule_from` takes it.

    Examples
    --------
    >>> import orl
    >>> orl.make_policy("jobshop", "mwr").rule.name
    'mwr'
    """
    family = registry.find_problem(problem) if isinstance(problem, str) else problem_of(problem)
    if isinstance(policy, str):
        solver = registry.find_solver(policy, family)
        if solver.policy is None:
            raise InputError(f"solver {policy!r} gives a solution, not a policy; solve with it instead.")
        return solver.policy(family, params.make(solver.settings, settings or {}, solver.name))
    if isinstance(policy, Rule):
        return rule_policy(family, policy)
    if hasattr(policy, "decide") and hasattr(policy, "start"):
        return policy
    if callable(policy):
        return rule_policy(family, rule_from(policy))
    raise InputError(f"expected a policy, a rule or a name, got a {type(policy).__name__}.")


def evaluate(
    instance: Any,
    policy: Any,
    *,
    scenarios: int | None = None,
    purpose: Purpose | str = Purpose.EVALUATE,
    seed: int = 0,
    time_limit: float | None = None,
    verbose: bool = False,
) -> Result:
    """Simulate a policy on scenarios and verify every solution.

    Parameters
    ----------
    instance : instance, path or name
    policy : as in `make_policy`
    scenarios : int or None
        How many; None: 1 if nothing is random, else 100.
    purpose : 'evaluate', 'select' or 'train'
        Whose draws; tune on 'select', report on 'evaluate'.

    Examples
    --------
    >>> import orl
    >>> orl.evaluate("jobshop/ft06", lambda instance: -instance.op_duration).value
    88.0
    """
    instance = instance if hasattr(instance, "problem") else load(instance)
    family = problem_of(instance)
    made = make_policy(family.name if ":" not in instance.problem else instance.problem, policy)
    name = policy if isinstance(policy, str) else getattr(getattr(made, "rule", None), "name", type(made).__name__)
    solver = Solver(name, "", type(None), lambda _: True, policy=lambda *_: made)
    return _run(
        family, instance, solver, None, _sample(family, instance, seed, purpose, scenarios), time_limit, seed, verbose
    )


def solve(
    instance: Any,
    solver: str | None = None,
    *,
    problem: str | None = None,
    settings: Mapping[str, Any] | None = None,
    scenarios: int | None = None,
    time_limit: float | None = DEFAULT_TIME_LIMIT,
    seed: int = 0,
    verbose: bool = False,
) -> Result:
    """Solve an instance, verify the solution independently, and say how far it is from the optimum.

    Parameters
    ----------
    instance : instance, path or name
    solver : str or None
        A method's or a rule's name, or `module:NAME`; None: the family's default.
    settings : name -> value
        Of the instance or of the solver; a key that is neither, or both, is an error.
    scenarios : int or None
        How many; None: 1 if nothing is random, else 100.
    time_limit : float or None
        Seconds; None: no limit.
    seed : int
        Of scenarios and of the solver.
    verbose : bool
        Whether improvements go to stderr.

    Raises
    ------
    InputError
        For an unknown name or setting.

    Examples
    --------
    >>> import orl
    >>> result = orl.solve("jobshop/ft06", "fdd/mwr")
    >>> result.value, result.bound, result.best_known, result.verified
    (67.0, 52.0, 55.0, True)
    """
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"the time limit must be > 0 seconds, got {time_limit:g}.")
    if seed < 0:
        raise InputError(f"the seed must be >= 0, got {seed}.")
    family, instance, method, of_solver = prepare(instance, solver, problem, settings or {})
    rows = _sample(family, instance, seed, Purpose.EVALUATE, scenarios)
    options = params.make(method.settings, of_solver, method.name)
    return _run(family, instance, method, options, rows, time_limit, seed, verbose)


def prepare(
    instance: Any, solver: str | None, problem: str | None, settings: Mapping[str, Any]
) -> tuple[Problem, Any, Solver, dict[str, Any]]:
    """Find family, instance and method, and divide the settings between them."""
    if hasattr(instance, "problem"):
        family = problem_of(instance)
        method = registry.find_solver(solver or family.default_solver, family)
        return family, instance, method, dict(settings)
    path = files.find_instance(instance, [problem] if problem in registry.problem_names() else registry.problem_names())
    family = registry.find_problem(problem) if problem else recognise(path)
    method = registry.find_solver(solver or family.default_solver, family)
    of_instance, of_solver = params.split(
        settings, family.settings(), method.settings, (family.name, f"solver {method.name}")
    )
    return family, family.load(path, of_instance), method, of_solver


def recognise(path: Path) -> Problem:
    """Return the family that recognises a file."""
    head = files.read_head(path)
    families = [registry.find_problem(name) for name in registry.problem_names()]
    for family in families:
        if family.sniff(path, head):
            return family
    if not head and path.is_file():
        raise InputError(f"{path}: the file is empty.")
    hints = "; ".join(f"{family.name}: {family.file_hint}" for family in families)
    raise InputError(f"{path}, line 1: no family recognises this file ({hints}). Name its family with --problem.")


def check(
    instance: Any, solution: Any, *, problem: str | None = None, settings: Mapping[str, Any] | None = None
) -> Report:
    """Verify a solution independently of whatever made it.

    Parameters
    ----------
    instance : instance, path or name
    solution : path, or solution
        A JSON or CSV file as `--out` writes it, or a family's solution of one scenario.

    Returns
    -------
    Report
        Mean cost over the scenarios, and all violations.

    Examples
    --------
    >>> import orl
    >>> shop = orl.load("jobshop/ft06")
    >>> orl.check(shop, orl.solve(shop, "spt").solutions[0])
    Report(cost=88.0, violations=())
    """
    if not hasattr(instance, "problem"):
        instance = load(instance, problem, settings)
    family = problem_of(instance) if problem is None else registry.find_problem(problem)
    if not isinstance(solution, str | Path):
        return family.verify(instance, _sample(family, instance, 0, Purpose.EVALUATE, 1), solution)
    tables, about = files.read_solutions(Path(solution))
    if not tables:
        raise InputError(f"{solution}: holds no solution.")
    seed = about.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"{solution}: expected 'seed' to be a whole number >= 0, got {seed!r}.")
    rows = _sample(family, instance, seed, Purpose.EVALUATE, len(tables))
    try:
        solutions = [family.solution(instance, table) for table in tables]
    except InputError as error:
        raise InputError(f"{solution}: {error}") from None
    return _verify(family, instance, rows, solutions)[1]


# private ------------------------------------------------------------------------------------------------------------


def _sample(family: Problem, instance: Any, seed: int, purpose: Purpose | str, count: int | None) -> Scenarios:
    if count is not None and count < 1:
        raise InputError(f"there must be 1 scenario or more, got {count}.")
    if count is None:
        count = DEFAULT_SCENARIOS if family.sample(instance, seed, Purpose(purpose), 1).is_random else 1
    return family.sample(instance, seed, Purpose(purpose), count)


def _run(
    family: Problem,
    instance: Any,
    method: Solver,
    options: Any,
    scenarios: Scenarios,
    time_limit: float | None,
    seed: int,
    verbose: bool,
) -> Result:
    if method.needs_determinism and scenarios.is_random:
        raise InputError(f"{method.name} is for instances in which nothing is random.")
    control = Control(time_limit, verbose)
    with control.interruptible():
        if method.solve is not None:
            outcome = method.solve(Task(family, instance, scenarios, options, seed, control))
        else:
            assert method.policy is not None
            run = simulate(family, instance, method.policy(family, options), scenarios, seed, control)
            status = Status.INTERRUPTED if control.is_interrupted else Status.FEASIBLE
            outcome = Outcome(status, run.solutions, value=float(run.costs.mean()))
        seconds = control.seconds
    return _result(family, instance, method, options, scenarios, outcome, seconds, seed, control)


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
    costs, report = _verify(family, instance, scenarios, outcome.solutions)
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


def _verify(
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


@cache
def versions() -> dict[str, str]:
    """Return the versions of ORL, Python and what ORL stands on, and the commit of a clone."""
    import platform
    import subprocess
    from importlib import metadata

    found = {"orl": metadata.version("orl"), "python": platform.python_version()}
    for name in ("numpy", "numba", "pyomo", "highspy", "ortools", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    root = Path(__file__).resolve().parent.parent
    if (root / ".git").exists():

        def git(*words: str) -> str:
            command = ["git", "-C", str(root), *words]
            return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()

        with suppress(OSError, subprocess.TimeoutExpired):  # no git here, or a very slow disk: no commit then
            found["commit"] = git("rev-parse", "--short=12", "HEAD") + (
                "+changes" if git("status", "--porcelain") else ""
            )
    return found
