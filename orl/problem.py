"""The contract of a problem family: the record of what it offers. Solvers ask for fields, never for a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from orl.decomposition import Decomposition
    from orl.embed import Live
    from orl.features import Features
    from orl.layers import Layered
    from orl.local_search import LocalSearch
    from orl.rule import Rule
    from orl.stages import Staged
    from orl.tabular import Tabular
    from orl.windows import Groups

Solution = Any  # a family's record of executed decisions
Columns = Mapping[str, Sequence[Any]]  # a solution as a table: column name -> entries


class Violation(NamedTuple):
    """One broken rule: its name in the field's terms, and a sentence with place and numbers."""

    kind: str
    message: str


@dataclass(frozen=True)
class Report:
    """What an independent verification found.

    Parameters
    ----------
    cost : float or None
        Recomputed from the solution; None if it is too broken to have one.
    violations : tuple of Violation
    """

    cost: float | None
    violations: tuple[Violation, ...] = ()

    @property
    def is_feasible(self) -> bool:
        return not self.violations and self.cost is not None


class KnownBounds(NamedTuple):
    """The best bounds that the literature reports for an instance."""

    lower: float | None
    upper: float | None
    source: str


@dataclass(frozen=True)
class Problem:
    """What a family offers.

    Parameters
    ----------
    name : str
    default_solver : str
    summary : str
        One line for `list problems`.
    file_hint : str
        What the family's files look like, for the message about a file nobody recognises.
    settings : callable () -> type
        The dataclass of what `--set` may change about an instance, imported when asked for.
    sniff : callable (path, head: bytes) -> bool
    load : callable (path, settings: Mapping) -> instance
    describe : callable (instance) -> str
        Size and objective in one line.
    sample : callable (instance, seed, purpose, n) -> Scenarios
    process : callable (instances, scenarios, fit=()) -> Process
        `scenarios` is a sequence of one-row streams, one an instance; `fit` holds further instances that the padding
        must have room for, because a later `reset` may bring them.
    verify : callable (instance, scenario, solution) -> Report
    columns : callable (instance, solution) -> Columns
    solution : callable (instance, columns) -> Solution
        The inverse; raises `InputError` that names column and row.
    rules : callable () -> name -> Rule, or None
    choices : callable (observation) -> mask that rules choose among, or None for all that is legal
    default_rule : str or None
        The rule to fall back on.
    bound : callable (instance, scenario) -> float, or None
        A cheap proven lower bound on the cost of one scenario.
    scale : callable (instance) -> float, or None
        What those who learn divide costs by, so that large and small instances look alike; None: the bound.
    best_known : callable (instance) -> KnownBounds or None, or None
    metrics : callable (instance, scenario, solution) -> name -> float, or None
        Key performance indicators; the unit is in the name.
    randomise : callable (instance, rule, runs, first_run, epsilon, seed) -> (cost, Solution), or None
        The best of some randomised runs of a rule, in one kernel; deterministic instances only.
    local_search : callable (instance, solution, seed, **settings) -> LocalSearch, or None
        A search that improves a solution move by move, see `orl.local_search`; raises `InputError` for an instance that
        it is not meant for. Settings are those of `orl.solvers.tabu`. Deterministic instances only.
    mirrored : callable (instance) -> (instance, callable (solution) -> solution) or None, or None
        The instance with time turned round and what turns its solutions back, of equal cost; None where there is none.
    draw : callable (rng, **sizes) -> instance, or None
    in_motion : callable (instance, observation, env) -> instance, or None
        The instance as it goes on from what an observation between two decisions shows of one environment. Its
        scenarios are futures that agree with what has been seen, its models plan the rest.
    shortened : callable (instance, periods) -> instance, or None
        The instance that ends after so many further periods, if it does not end before.
    nominal : callable (instance) -> (instance, Scenarios), or None
        To plan with: an instance, the same or one of expected values, and the one scenario in which everything goes as
        expected.
    follow : callable (planned, solution, observation, env) -> action, or None
        What a solution of the instance `planned` asks for now, as far as it is legal.
    is_disturbed : callable (planned, observation, env) -> bool, or None
        Whether something has happened that plans of the instance `planned` did not foresee.
    live : callable () -> Live, or None
        What those need who embed a policy, see `orl.embed`.
    models : name -> callable (instance, scenarios, upper_bound, should_stop) -> Model, or None
        The first is the one to plan with, where plans are made again and again.
        'exact' (Pyomo), 'cp-sat', ... One scenario: hindsight; several: tree; of an instance that goes on from a state
        what is left to decide. `upper_bound` is the cost of a known solution; the model may leave out whatever costs
        more, never what costs as much. A large model asks `should_stop()` from time to time as it is built, and raises
        `Stopped`. All but the first: keywords.
    has_trees : bool
        Whether the model 'exact' takes several scenarios: its solution is then a list of solutions, one a scenario.
    windows : callable (instance, program) -> name -> Groups, or None
        Which integer variables of the model 'exact' belong together, by period, by item, ...: those who decide some
        groups at a time, all others fixed, choose among them; see `orl.windows`.
    tabular : callable (instance) -> Tabular, or None
        A small instance written out for dynamic programming, see `orl.tabular`; raises `InputError` if it is too large.
    decomposition : callable (instance) -> Decomposition, or None
        An instance whose parts are solved alone once what they share has a price, see `orl.decomposition`.
    layered : callable (instance, scenario, should_stop) -> Layered, or None
        One scenario as states in layers, see `orl.layers`; raises `InputError` if there are too many. What makes its
        bounds better asks `should_stop()` from time to time.
    stages : callable (instance) -> Staged, or None
        The process as a graph of linear stages, see `orl.stages`.
    kind : callable (instance) -> str, or None
        Which of the learned policies that come with the family is meant for an instance; None: one does for all.
    choice_settings : sequence of str
        Settings that say among what is chosen, not what a solution is worth: a learned policy chooses as it was trained
        to.
    features : callable () -> Features, or None
        What a network reads of an observation, as one vector and as a graph; see `orl.features`.
    plot : callable (instance, solutions, path, bound, scenario) -> None, or None
        `solutions` is a sequence, one or more, of paired scenarios; `scenario` is the first one's, or None. `bound` is
        a lower bound on their mean cost, or None. A family may draw the first alone.
    save : callable (instance, path) -> None, or None
    exports : ending -> callable (instance, scenario, solution) -> str, or None
        Further files that a solution can be written to: '.trace.json' for `--out a.trace.json`. Endings are in lower
        case, and end with '.json' or '.csv'.
    env_name : str
        The family in the ids of Gymnasium environments: 'JobShop' in 'orl/JobShop-v0'; empty: none is registered.
    """

    name: str
    default_solver: str
    summary: str
    file_hint: str
    settings: Callable[[], type]
    sniff: Callable[..., bool]
    load: Callable[..., Any]
    describe: Callable[[Any], str]
    sample: Callable[..., Any]
    process: Callable[..., Any]
    verify: Callable[..., Report]
    columns: Callable[..., Columns]
    solution: Callable[..., Solution]
    rules: Callable[[], Mapping[str, Rule]] | None = None
    choices: Callable[..., Any] | None = None
    default_rule: str | None = None
    bound: Callable[..., float] | None = None
    scale: Callable[[Any], float] | None = None
    best_known: Callable[[Any], KnownBounds | None] | None = None
    metrics: Callable[..., Mapping[str, float]] | None = None
    randomise: Callable[..., tuple[float, Solution]] | None = None
    local_search: Callable[..., LocalSearch] | None = None
    mirrored: Callable[[Any], tuple[Any, Callable[[Solution], Solution]] | None] | None = None
    draw: Callable[..., Any] | None = None
    in_motion: Callable[..., Any] | None = None
    shortened: Callable[..., Any] | None = None
    nominal: Callable[[Any], tuple[Any, Any]] | None = None
    follow: Callable[..., Any] | None = None
    is_disturbed: Callable[..., bool] | None = None
    live: Callable[[], Live] | None = None
    models: Mapping[str, Callable[..., Any]] | None = None
    has_trees: bool = False
    windows: Callable[[Any, Any], Mapping[str, Groups]] | None = None
    tabular: Callable[[Any], Tabular] | None = None
    decomposition: Callable[[Any], Decomposition] | None = None
    layered: Callable[..., Layered] | None = None
    stages: Callable[[Any], Staged] | None = None
    kind: Callable[[Any], str] | None = None
    choice_settings: Sequence[str] = ()
    features: Callable[[], Features] | None = None
    plot: Callable[..., None] | None = None
    save: Callable[..., None] | None = None
    exports: Mapping[str, Callable[..., str]] | None = None
    env_name: str = ""


@dataclass(frozen=True)
class Model:
    """An exact model of a family, ready for a solver.

    Parameters
    ----------
    program : a Pyomo ConcreteModel or a CP-SAT CpModel
    read : callable (value) -> Solution
        `value(variable)` gives a variable's number.
    start : callable (Solution) -> iterable of (variable, number)
        What a heuristic solution means for the variables; covers all of a MILP's integer variables.
    separate : callable (value) -> iterable of (variables, coefficients, at least), or None
        What is convex in a model without integers beside the program: rows that a solution violates, see `orl.convex`.
        The program is solved again with them until there are none. None: the program is the whole model.
    """

    program: Any
    read: Callable[[Callable[[Any], float]], Solution]
    start: Callable[[Solution], Any]
    separate: Callable[[Callable[[Any], float]], Any] | None = None
