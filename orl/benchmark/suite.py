"""Suites: a TOML file that says which methods run on which instances; checked to the last key before anything runs.

    name = "demo"
    description = "one sentence for `list suites`"
    time_limit = 10                  # seconds a run; default 50
    seeds = [0, 1]                   # of scenarios and methods; default [0]
    scenarios = 20                   # a run, where something is random; default 100
    purpose = "evaluate"             # or "select", for tuning
    reference = "mwr"                # the method that differences are taken to; default: the best of each table
    memory_limit_gb = 4              # a run's private memory; default none
    kill_factor = 1.5                # a run is killed after kill_factor * time_limit + kill_grace seconds
    kill_grace = 120
    keep_solutions = 1               # solutions a run that are kept beside its row, for `report`; default 0

    [[runs]]                         # one table of results, and more if there is a sweep
    name = "blocking"
    instances = ["jobshop/ft06", "jobshop/la0[1-5]", "plant.toml", "mine/*.txt"]
    settings = { buffers = "swap" }  # of the instances, and of every method that knows the key
    sweep.breakdowns.probability = [0, 0.01]
    solvers = [
        "spt",
        { solver = "cp-sat", settings = { threads = 4 }, label = "cp-sat 4", time_limit = 30 },
        { command = "./peer.sh {instance} {solution}", label = "peer" },
    ]

`[[runs]]` may also say `problem`, `time_limit`, `seeds` and `scenarios` of its own. An instance is a path or a pattern
relative to the suite's folder, or else the name of a packaged instance or a pattern of names. Several swept settings
give all combinations. Blocks of the same name share a table.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from orl import api, files, params, registry
from orl.benchmark.command import PLACEHOLDERS, command_solver
from orl.benchmark.runs import Run, Suite, modules_of, words_of
from orl.errors import InputError
from orl.problem import Problem
from orl.run import DEFAULT_SCENARIOS, MAX_SCENARIOS
from orl.scenario import Purpose
from orl.solver import Solver

MAX_RUNS = 10**6


# The file's tables, field by field ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    runs: list[dict[str, Any]]
    name: str = ""
    description: str = ""
    reference: str | None = None
    time_limit: float = api.DEFAULT_TIME_LIMIT
    seeds: list[int] = field(default_factory=lambda: [0])
    scenarios: int | None = None
    purpose: Purpose = Purpose.EVALUATE
    memory_limit_gb: float | None = None
    kill_factor: float = 1.5
    kill_grace: float = 120.0  # a first run compiles: half a minute, or more on a slow machine
    keep_solutions: int = 0

    def __post_init__(self) -> None:
        _check_limits(self.time_limit, self.seeds, self.scenarios)
        _check_positive("memory_limit_gb", self.memory_limit_gb)
        _check_positive("kill_factor", self.kill_factor)
        _check_positive("kill_grace", self.kill_grace)
        if self.keep_solutions < 0:
            raise ValueError(f"keep_solutions must be >= 0, got {self.keep_solutions}.")
        if self.name and not re.fullmatch(r"[\w.-]+", self.name):
            raise ValueError(f"name must be letters, digits, '.', '_' and '-', got {self.name!r}.")


@dataclass(frozen=True)
class _Block:
    instances: list[str]
    solvers: list[Any]
    name: str = ""
    problem: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    sweep: dict[str, Any] = field(default_factory=dict)
    time_limit: float | None = None
    seeds: list[int] | None = None
    scenarios: int | None = None

    def __post_init__(self) -> None:
        _check_limits(self.time_limit, self.seeds, self.scenarios)
        for key in ("instances", "solvers"):
            if not getattr(self, key):
                raise ValueError(f"{key} must name one or more.")


@dataclass(frozen=True)
class _Entry:
    solver: str | None = None
    command: str | None = None
    label: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    time_limit: float | None = None

    def __post_init__(self) -> None:
        _check_limits(self.time_limit, None, None)
        if (self.solver is None) == (self.command is None):
            raise ValueError("expected either solver or command.")
        name = self.solver or Path(words_of(str(self.command))[0]).name
        settings = [f"{key}={value}" for key, value in params.dotted(self.settings).items()]
        object.__setattr__(self, "label", self.label or " ".join([name, *settings]))


def _check_limits(time_limit: float | None, seeds: Sequence[int] | None, scenarios: int | None) -> None:
    _check_positive("time_limit", time_limit)
    if scenarios is not None and not 1 <= scenarios <= MAX_SCENARIOS:
        raise ValueError(f"scenarios must be in 1..{MAX_SCENARIOS}, got {scenarios}.")
    if seeds is not None and (not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**63):
        raise ValueError(f"seeds must be one or more different numbers >= 0, got {seeds}.")


def _check_positive(key: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{key} must be > 0, got {value:g}.")


# Reading -----------------------------------------------------------------------------------------------------------


def suite_folder() -> Path:
    """Return the folder of the packaged suites."""
    return files.packaged("orl.benchmark") / "suites"


def packaged_suites() -> dict[str, str]:
    """Return name and description of the packaged suites."""
    paths = sorted(suite_folder().glob("*.toml"))
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")).get("description", "") for path in paths}


def find_suite(name: str | Path) -> Path:
    """Return the path of a suite: a path, or the name of a packaged one."""
    path, packaged = Path(name), suite_folder() / f"{name}.toml"
    if path.is_file() or path.suffix == ".toml":
        return path
    if not re.fullmatch(r"[\w.-]+", str(name)) or not packaged.is_file():
        known = [path.stem for path in suite_folder().glob("*.toml")]
        raise InputError(f"there is no file and no suite {str(name)!r}; {params.nearest(str(name), sorted(known))}")
    return packaged


def read_suite(name: str | Path) -> Suite:
    """Read and check a suite.

    Parameters
    ----------
    name : str or Path
        A path, or the name of a packaged suite.

    Raises
    ------
    InputError
        One line that names file and place; nothing has run then.

    Examples
    --------
    >>> suite = read_suite("smoke")
    >>> suite.name, suite.runs[0].instance, suite.runs[0].label
    ('smoke', 'jobshop/ft06', 'spt')
    """
    path = find_suite(name)
    text = files.read_text(path)
    head = params.make(_File, files.parse_toml(text, path), str(path))
    runs: list[Run] = []
    with modules_of(path.resolve().parent):
        for index, table in enumerate(head.runs):
            place = f"{path}, runs[{index}]"
            block = params.make(_Block, table, place)
            runs += _BlockReader(path, place, head, block, f"runs {index + 1}").runs()
            if len(runs) > MAX_RUNS:
                raise InputError(f"{place}: more than {MAX_RUNS} runs.")
    _check_keys_differ(runs, path)
    labels = list(dict.fromkeys(run.label for run in runs))
    if not runs:
        raise InputError(f"{path}: expected tables [[runs]].")
    if head.reference is not None and head.reference not in labels:
        raise InputError(f"{path}: unknown reference {head.reference!r}; {params.nearest(head.reference, labels)}")
    return Suite(head.name or path.stem, head.description, head.reference, tuple(runs), text)


@contextmanager
def _at(place: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _check_keys_differ(runs: Sequence[Run], path: Path) -> None:
    seen: dict[str, Run] = {}
    for run in runs:
        other = seen.setdefault(run.key, run)
        if other is not run:
            tables = f"{other.table!r}" if other.table == run.table else f"{other.table!r} and {run.table!r}"
            raise InputError(f"{path}: {run.label} on {run.instance}, seed {run.seed}, is listed twice, in {tables}.")


class _BlockReader:
    """Turns one `[[runs]]` into runs."""

    def __init__(self, path: Path, place: str, head: _File, block: _Block, default_name: str):
        self.place, self.head, self.block = place, head, block
        self.folder = path.resolve().parent
        self.name = block.name or default_name
        self.entries: list[_Entry] = []
        for index, raw in enumerate(block.solvers):
            where = self._solver_at(index)
            if not isinstance(raw, str | dict):
                raise InputError(f"{where}: expected a name or a table, got {raw!r}.")
            entry = _Entry(solver=raw) if isinstance(raw, str) else params.make(_Entry, raw, where)
            if entry.label in [other.label for other in self.entries]:
                raise InputError(f"{where}: label {entry.label!r} is used twice; give one of the two a label.")
            self.entries.append(entry)

    def runs(self) -> list[Run]:
        """Return the block's runs, instance by instance, so that all methods are met early."""
        block, found = self.block, []
        for index, pattern in enumerate(block.instances):
            with _at(f"{self.place}.instances[{index}]"):
                places = list(self._instances(pattern))
            for instance, path in places:
                with _at(f"{self.place}.instances[{index}]"):
                    file = files.find_instance(path, registry.problem_names())
                    family = registry.find_problem(block.problem) if block.problem else api.recognise(file)
                for swept in self._variants():
                    found += self._of_instance(family, instance, path, file, swept)
        return found

    def _solver_at(self, index: int) -> str:
        return f"{self.place}.solvers[{index}]"

    def _instances(self, pattern: str) -> Iterator[tuple[str, str]]:
        """Yield name and place of what a pattern means: files beside the suite, else packaged instances."""
        is_pattern = any(sign in pattern for sign in "*?[")
        if is_pattern and not Path(pattern).is_absolute():
            paths = sorted(self.folder.glob(pattern))
        else:
            paths = [path for path in [self.folder / pattern] if path.exists()]
        if paths:
            yield from ((_relative(path, self.folder), str(path)) for path in paths)
            return
        known = [name for family in registry.problem_names() for name in files.packaged_instances(family)]
        names = [name for name in known if fnmatchcase(name, pattern)] if is_pattern else [pattern] * (pattern in known)
        if not names:
            hint = "no file and no packaged instance fits" if is_pattern else params.nearest(pattern, known)
            raise InputError(f"there is no instance {pattern!r}; {hint.rstrip('.')}.")
        yield from ((name, name) for name in names)

    def _variants(self) -> list[dict[str, Any]]:
        """Return all combinations of the swept settings."""
        sweep = params.dotted(self.block.sweep)
        for key, values in sweep.items():
            if not isinstance(values, list) or not values:
                raise InputError(f"{self.place}.sweep.{key}: expected a list of values, got {values!r}.")
            if key in params.dotted(self.block.settings):
                raise InputError(f"{self.place}.sweep.{key}: is both set and swept.")
        return [dict(zip(sweep, values, strict=True)) for values in itertools.product(*sweep.values())]

    def _of_instance(self, family: Problem, instance: str, path: str, file: Path, swept: dict[str, Any]) -> list[Run]:
        settings = dict(self.block.settings)
        for key, value in swept.items():
            settings = params.merged(settings, params.nested(key, value))
        methods = [self._method(index, entry, family) for index, entry in enumerate(self.entries)]
        with _at(self.place):
            knows = {method.name: method.settings for method in methods}
            of_all, of_method = params.split(settings, family.name, family.settings(), knows)
        found: list[Run] = []
        content = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
        randomness: dict[str, bool] = {}  # by settings, of which most methods share one set
        for index, (entry, method) in enumerate(zip(self.entries, methods, strict=True)):
            with _at(self._solver_at(index)):
                own = params.split(entry.settings, family.name, family.settings(), {method.name: method.settings})
                options = params.merged(of_method[method.name], own[1][method.name])
                params.make(method.settings, options, method.name)
                of_instance = params.merged(of_all, own[0])
            if repr(of_instance) not in randomness:
                with _at(f"{self.place}, {instance}"):
                    loaded = family.load(file, of_instance)
                    randomness[repr(of_instance)] = family.sample(loaded, 0, self.head.purpose, 1).is_random
            is_random = randomness[repr(of_instance)]
            with _at(self._solver_at(index)):
                if method.needs_determinism and is_random:
                    raise InputError(f"{entry.label} is for instances in which nothing is random, unlike {instance}.")
                if entry.command and of_instance and family.save is None:
                    raise InputError(f"{family.name} cannot write instances, so a command cannot be told settings.")
            wanted = self.block.scenarios or self.head.scenarios or DEFAULT_SCENARIOS
            run = Run(
                key="",
                table=", ".join([self.name, *(f"{key}={value}" for key, value in swept.items())]),
                label=entry.label,
                problem=self.block.problem or family.name,
                instance=instance,
                path=path,
                settings=of_instance,
                swept=swept,
                solver=entry.solver,
                command=entry.command,
                options=options,
                seed=0,
                scenarios=wanted if is_random else 1,
                is_random=is_random,
                purpose=self.head.purpose.value,
                time_limit=(limit := entry.time_limit or self.block.time_limit or self.head.time_limit),
                kill_after=self.head.kill_factor * limit + self.head.kill_grace,
                memory_limit_gb=self.head.memory_limit_gb,
                folder=str(self.folder),
                keep_solutions=self.head.keep_solutions,
            )
            found += [_with_key(replace(run, seed=seed), content) for seed in self.block.seeds or self.head.seeds]
        return found

    def _method(self, index: int, entry: _Entry, family: Problem) -> Solver:
        with _at(self._solver_at(index)):
            if entry.solver is not None:
                return registry.find_solver(entry.solver, family)
            words = words_of(str(entry.command))
            unknown = {name for word in words for name in re.findall(r"\{([^{}]*)\}", word)} - set(PLACEHOLDERS)
            if unknown:
                raise InputError(
                    f"command: unknown placeholder {{{unknown.pop()}}}; {params.nearest('', PLACEHOLDERS)}"
                )
            if "{solution}" not in str(entry.command):
                raise InputError("command: expected {solution}, the file that it writes.")
            program = str(self.folder / words[0]) if "/" in words[0] else words[0]
            if shutil.which(program) is None:
                raise InputError(f"command: there is no program {words[0]!r} that can be run.")
            return command_solver(entry.label, words, self.folder, Path())


def _with_key(run: Run, content: str | None) -> Run:
    """Give a run its key; names of tables and methods, and where things lie, do not belong to it."""
    facts = asdict(run)
    for name in ("key", "table", "label", "swept", "path", "folder", "kill_after", "is_random", "keep_solutions"):
        del facts[name]
    facts["content"] = content
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    return replace(run, key=digest.hexdigest()[:20])


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
