"""The same as the command line offers, for those who embed it: load, solve, evaluate, make_policy, check, save."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orl import files, params, registry
from orl.errors import InputError
from orl.pictures import SUFFIXES as PICTURES
from orl.policy import Policy
from orl.problem import Problem, Report, Violation
from orl.result import Result
from orl.rule import Rule, rule_from
from orl.run import run_method, sample, verify_all
from orl.scenario import Purpose, Scenarios
from orl.simulate import rule_policy
from orl.solver import Control, NoSettings, Solver, Task, check_scheduler

if TYPE_CHECKING:
    from orl.embed import LivePolicy

TABLES = (".json", ".csv")
DEFAULT_TIME_LIMIT = 50.0  # seconds: an answer within a minute


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


def plot(
    instance: Any, solutions: Any, path: str | Path, bound: float | None = None, scenario: Scenarios | None = None
) -> None:
    """Draw a solution, or those of several scenarios, to a .png, .svg or (self-contained) .html file.

    Parameters
    ----------
    solutions : Result, solution, or list of solutions
        Of paired scenarios, as in `Result.solutions`; families that cannot draw several draw the first.
    bound : float or None
        A lower bound on their mean cost, to tell beside it; None: that of a result.
    scenario : Scenarios or None
        What the first solution went through, one row; None: that of a result, else the first of `evaluate`, seed 0.
    """
    family = problem_of(instance)
    if family.plot is None:
        raise InputError(f"{family.name} has no pictures yet.")
    if isinstance(solutions, Result):
        result, solutions = solutions, solutions.solutions
        # What bounds an expectation or a mean says nothing of a single scenario.
        if bound is None and (result.bound_kind == "proven" or len(solutions) > 1):
            bound = result.bound
        scenario = sample(family, instance, result.seed, result.purpose, 1) if scenario is None else scenario
    solutions = list(solutions) if isinstance(solutions, list | tuple) else [solutions]
    if not solutions:
        raise InputError("there is no solution to draw.")
    path = files.check_writable(path, PICTURES)
    seen = family.sample(instance, 0, Purpose.EVALUATE, 1) if scenario is None else scenario
    family.plot(instance, solutions, path, bound, seen[0])


def problem_of(instance: Any) -> Problem:
    """Return the family of a loaded instance."""
    name = getattr(instance, "problem", None)
    if not isinstance(name, str):
        raise InputError(f"expected an instance, a path or a name, got a {type(instance).__name__}.")
    return registry.find_problem(name)


def make_policy(
    problem: Any,
    policy: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    budget_ms: float | None = None,
    fallback: Any = None,
) -> LivePolicy:
    """Make a policy that decides for a plant or a server of your own; loaded and compiled when it is made.

    Parameters
    ----------
    problem : str, path or instance
        The family's name, if the states bring along what they speak of; or the instance that they speak of.
    policy : str, Rule, callable or Policy
        A rule's or a policy method's name, `module:function`, a `Rule`, or a function as `orl.rule.rule_from` takes it.
    settings : name -> value
        Of the instance or of the method.
    seed : int
        Of policies that draw.
    budget_ms : float or None
        Time to answer in; whoever is late is replaced by the fallback, and the answer says so.
    fallback : str, Rule or callable
        None: the family's default rule.

    Examples
    --------
    >>> import orl
    >>> policy = orl.make_policy("jobshop", "spt")
    >>> jobs = [{"job": "a", "operations": [["lathe", 5]]}, {"job": "b", "operations": [["lathe", 2], ["mill", 4]]}]
    >>> policy.decide({"clock": 0, "jobs": jobs}).decision
    {'job': 'b', 'machine': 'lathe'}
    """
    from orl.embed import LivePolicy

    names: list[Any] = [policy] if isinstance(policy, str) else []
    if isinstance(problem, str) and (problem in registry.problem_names() or ":" in problem):
        family = registry.find_problem(problem)
        methods = {name: registry.find_solver(name, family).settings for name in names}
        of_instance, of_method = params.split(settings or {}, family.name, family.settings(), methods)
        given: Any = params.make(family.settings(), of_instance, family.name)
        options: Any = params.make(methods[policy], of_method[policy], policy) if names else None
        instance = None
    else:
        family, instance, prepared = prepare(problem, names, None, settings or {})
        given, options = instance, prepared[0][1] if prepared else None
    made = policy_of(family, instance, policy, options, seed)
    spare = None
    if budget_ms is not None:
        other = fallback if fallback is not None else family.default_rule
        if other is None:
            raise InputError(f"{family.name} has no default rule; name a fallback.")
        spare = LivePolicy(family, _name_of(other), policy_of(family, instance, other, None, seed), given, seed)
    elif fallback is not None:
        raise InputError("a fallback answers when a budget is spent: set budget_ms, too.")
    return LivePolicy(family, _name_of(policy), made, given, seed, budget_ms, spare)


def schema(problem: str) -> dict[str, Any]:
    """Return the JSON Schema of a family's live states and decisions.

    Examples
    --------
    >>> import orl
    >>> sorted(orl.schema("jobshop")["$defs"])
    ['decision', 'state']
    """
    family = registry.find_problem(problem)
    if family.live is None:
        raise InputError(f"{family.name} cannot answer live states yet.")
    return family.live().schema()


def policy_of(family: Problem, instance: Any, policy: Any, options: Any = None, seed: int = 0) -> Policy:
    """Return the policy that a name, a rule or a function means; `options` are a method's settings, None: defaults."""
    if isinstance(policy, str):
        solver = registry.find_solver(policy, family)
        if solver.policy is None:
            raise InputError(f"solver {policy!r} gives a solution, not a policy; solve with it instead.")
        options = solver.settings() if options is None else options
        return solver.policy(Task(family, instance, None, options, seed, Control()))
    if isinstance(policy, Rule):
        return rule_policy(family, policy)
    held: Any = getattr(policy, "policy", None)  # a LivePolicy is none itself, but asks one
    for one in (policy, held):
        if hasattr(one, "decide") and hasattr(one, "start"):
            return one
    if callable(policy):
        return rule_policy(family, rule_from(policy))
    raise InputError(f"expected a policy, a rule or a name, got a {type(policy).__name__}.")


def _name_of(policy: Any) -> str:
    return policy if isinstance(policy, str) else getattr(policy, "name", getattr(policy, "__name__", "policy"))


def evaluate(
    instance: Any,
    policy: Any,
    *,
    scenarios: int | None = None,
    purpose: Purpose | str = Purpose.EVALUATE,
    seed: int = 0,
    time_limit: float | None = None,
    verbose: bool = False,
    control: Control | None = None,
) -> Result:
    """Simulate a policy on scenarios and verify every solution.

    Parameters
    ----------
    instance : instance, path or name
    policy : str, Rule, callable or Policy
        As in `make_policy`.
    scenarios : int or None
        How many; None: 1 if nothing is random, else 100.
    time_limit, verbose, control
        As in `solve`.
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
    made = policy_of(family, instance, policy, seed=seed)
    name = policy if isinstance(policy, str) else getattr(getattr(made, "rule", None), "name", type(made).__name__)
    method = Solver(name, "", NoSettings, lambda _: True, policy=lambda *_: made)
    return run_method(
        family,
        instance,
        method,
        NoSettings(),
        scenarios=scenarios,
        purpose=purpose,
        time_limit=time_limit,
        seed=seed,
        verbose=verbose,
        control=control,
    )


def solve(
    instance: Any,
    solver: str | Solver | None = None,
    *,
    problem: str | None = None,
    settings: Mapping[str, Any] | None = None,
    scenarios: int | None = None,
    time_limit: float | None = DEFAULT_TIME_LIMIT,
    seed: int = 0,
    verbose: bool = False,
    control: Control | None = None,
) -> Result:
    """Solve an instance, verify the solution independently, and say how far it is from the optimum.

    Parameters
    ----------
    instance : instance, path or name
    solver : str, Solver or None
        A method's or a rule's name, `module:NAME`, or the record itself; None: the family's default.
    settings : name -> value
        Of the instance or of the solver; a key that is neither, or both, is an error, see `orl.params.split`.
    scenarios : int or None
        How many; None: 1 if nothing is random, else 100.
    time_limit : float or None
        Seconds, in which kernels are compiled uncounted, once a machine; None: no limit.
    seed : int
        Of scenarios and of the solver.
    verbose : bool
        Whether improvements go to stderr.
    control : Control or None
        Reins of your own, in place of `time_limit` and `verbose`: another thread may `interrupt` them.

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
    family, loaded, methods = prepare(instance, [solver], problem, settings or {})
    return run_method(
        family,
        loaded,
        *methods[0],
        scenarios=scenarios,
        time_limit=time_limit,
        seed=seed,
        verbose=verbose,
        control=control,
    )


def prepare(
    instance: Any, solvers: Sequence[str | Solver | None], problem: str | None, settings: Mapping[str, Any]
) -> tuple[Problem, Any, list[tuple[Solver, Any]]]:
    """Find the family, load the instance, and find the methods, each with its settings.

    Parameters
    ----------
    instance : instance, path or name
    solvers : sequence of names
        None: the family's default.
    """
    is_loaded = hasattr(instance, "problem")
    if is_loaded:
        family = problem_of(instance)
        if problem not in (None, family.name, instance.problem):
            raise InputError(f"{instance.name} is of the family {family.name}, not {problem}.")
    else:
        known = registry.problem_names()
        path = files.find_instance(instance, [problem] if problem in known else known)
        family = registry.find_problem(problem) if problem else recognise(path)
    methods = [registry.find_solver(name or family.default_solver, family) for name in solvers]
    of_instance, of_solver = params.split(
        settings,
        family.name,
        None if is_loaded else family.settings(),
        {m.name: m.settings for m in methods},
        unloaded=params.keys(family.settings()),
    )
    options: list[Any] = [params.make(method.settings, of_solver[method.name], method.name) for method in methods]
    loaded = instance if is_loaded else family.load(path, of_instance)
    return family, loaded, list(zip(methods, options, strict=True))


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
    instance: Any,
    solution: Any,
    *,
    problem: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    purpose: Purpose | str | None = None,
) -> Report:
    """Verify a solution independently of whatever made it.

    Parameters
    ----------
    instance : instance, path or name
    solution : path, Result, or solution
        A JSON or CSV file as `--out` writes it, a result, or a family's solution of the first scenario.
    settings : name -> value
        Of the instance; None: what the JSON says it was solved with.
    seed, purpose : or None
        Of the scenarios; None: what the JSON or the result says, else 0 and 'evaluate'.

    Returns
    -------
    Report
        Mean cost over the scenarios, and all violations.

    Raises
    ------
    InputError
        If a file cannot be read, or is a solution of another instance.

    Examples
    --------
    >>> import orl
    >>> shop = orl.load("jobshop/ft06")
    >>> orl.check(shop, orl.solve(shop, "spt"))
    Report(cost=88.0, violations=())
    """
    about: dict[str, Any] = {}
    if isinstance(solution, str | Path):
        tables, about = files.read_solutions(Path(solution))
    elif isinstance(solution, Result):
        about = solution.to_dict()
    instance = load_as(about, instance, problem, settings)
    family = problem_of(instance)
    if about.get("instance", instance.name) != instance.name:
        raise InputError(f"{solution}: is a solution of {about['instance']!r}, not of {instance.name!r}.")
    seed = about.get("seed", 0) if seed is None else seed
    purpose = about.get("purpose", Purpose.EVALUATE) if purpose is None else purpose
    if not isinstance(seed, int) or isinstance(seed, bool) or purpose not in list(Purpose):
        raise InputError(f"{solution}: expected a whole 'seed' and a known 'purpose', got {seed!r} and {purpose!r}.")
    if isinstance(solution, Result):
        solutions = solution.solutions
    elif isinstance(solution, str | Path):
        try:
            solutions = [family.solution(instance, table) for table in tables]
        except InputError as error:
            raise InputError(f"{solution}: {error}") from None
    else:
        solutions = [solution]
    if not solutions:
        raise InputError(f"{solution}: holds no solution.")
    rows = sample(family, instance, seed, purpose, len(solutions))
    report = verify_all(family, instance, rows, solutions, has_metrics=False)[1]
    said = about.get("value")
    if isinstance(said, int | float) and report.cost is not None and not math.isclose(said, report.cost, rel_tol=1e-6):
        note = Violation("value", f"the file says {said:.10g}, the verifier finds {report.cost:.10g}.")
        report = Report(report.cost, (*report.violations, note))
    return report


def load_as(
    about: Mapping[str, Any], instance: Any, problem: str | None = None, settings: Mapping[str, Any] | None = None
) -> Any:
    """Load an instance, if it is not loaded yet, with the settings that a file of results names, unless others are
    given."""
    if hasattr(instance, "problem"):
        return instance
    if settings is None and isinstance(about.get("settings"), dict):
        family = registry.find_problem(problem) if problem else recognise(_path_of(instance))
        known = params.keys(family.settings())
        settings = {k: v for k, v in about["settings"].items() if k in known and v is not None}
    return load(instance, problem, settings)


def train(
    recipe: str | Path,
    folder: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    control: Control | None = None,
) -> Path:
    """Train a policy by a recipe, a TOML file that names its `method`, and return the folder of its checkpoints.

    Parameters
    ----------
    recipe : str or path
    folder : str or path, optional
        For checkpoints and log; the recipe's name in the current folder otherwise.
    settings : mapping, optional
        Nested as in the recipe, on top of it.
    resume : bool
        Go on where the folder's training was left.
    control : Control, optional
        Ends it early; what was learned by the last checkpoint is kept.

    Raises
    ------
    InputError
        If the recipe is wrong, its method trains nothing, or the folder holds another training.
    """
    path, data = Path(recipe), read_recipe(recipe, settings)
    method = registry.find_solver(data.pop("method"), registry.find_problem(data["problem"]))
    if method.train is None:
        raise InputError(f"{path}: {method.name} is not trained by recipes.")
    folder, control = Path(folder) if folder else Path(path.stem), control or Control()
    training = data.get("training")
    processes = training.get("processes", 1) if isinstance(training, Mapping) else 1
    check_scheduler(control, processes, f"the training of {method.name}")
    method.train(data, path, folder, resume, control)
    return folder


def read_recipe(recipe: str | Path, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a recipe says, with `settings` on top; see `train`."""
    path = Path(recipe)
    data = params.merged(files.parse_toml(files.read_text(path), path), settings or {})
    for key in ("method", "problem"):
        if not isinstance(data.get(key), str):
            raise InputError(f"{path}: expected {key} = a name.")
    return data


def save_result(instance: Any, result: Result, path: str | Path) -> None:
    """Write a result with its solutions to a .json file, or the solutions alone to a .csv file, whole or not at all.

    If the name has one of the longer endings that the family knows (`Problem.exports`), that file is written of the
    first solution.

    Raises
    ------
    InputError
        If the file cannot be written, or would hold no solution though it is no .json file.
    """
    path = files.check_writable(path, TABLES)
    family = problem_of(instance)
    export = next((write for end, write in (family.exports or {}).items() if path.name.lower().endswith(end)), None)
    if export is not None and result.solutions:
        scenario = sample(family, instance, result.seed, Purpose(result.purpose), 1)[0]
        files.write_atomically(path, export(instance, scenario, result.solutions[0]))
    elif export is not None:
        raise InputError(f"{path}: there is no solution to write.")
    elif path.suffix.lower() == ".json":
        files.write_atomically(path, files.solution_json(family, instance, result))
    elif result.solutions:
        files.write_atomically(path, files.solution_csv(family, instance, result))
    else:
        raise InputError(f"{path}: there is no solution to write.")


def _path_of(instance: Any) -> Path:
    return files.find_instance(instance, registry.problem_names())
