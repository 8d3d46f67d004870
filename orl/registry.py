"""Families, methods and rules by name, loaded when asked for; `package.module:NAME` names a third party's."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orl.errors import InputError
from orl.params import nearest
from orl.problem import Problem
from orl.problems import PROBLEMS
from orl.rule import Rule, rule_from
from orl.solver import Control, Solver
from orl.solvers import SOLVERS


@dataclass(frozen=True)
class lazy:  # noqa: N801 - used as a function
    """A function that imports `module:attribute` when it is first called; it can be pickled.

    >>> lazy("math:sqrt")(9.0)
    3.0
    """

    reference: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what the reference names."""
        return resolve(self.reference)(*args, **kwargs)


def resolve(reference: str) -> Any:
    """Import `module:attribute`; what is missing is an `InputError`."""
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise InputError(f"{reference}: there is no module {error.name!r} on the Python path.") from None
        raise InputError(f"{reference}: {module_name} needs the missing package {error.name!r}.") from None
    except Exception as error:  # whatever a user's module does when it is imported
        raise InputError(f"{reference}: importing {module_name!r} failed: {type(error).__name__}: {error}.") from error
    if not hasattr(module, attribute):
        raise InputError(f"{reference}: {module_name} has no {attribute!r}; {nearest(attribute, vars(module))}")
    return getattr(module, attribute)


def train_by(
    reference: str,
    method: str,
    training: Mapping[str, Any],
    data: Mapping[str, Any],
    path: Path,
    folder: Path,
    resume: bool,
    control: Control,
) -> None:
    """Train as `reference` does, by settings that a method has unless the recipe says otherwise; see `Solver.train`.

    The recipe that `reference` is given names its method.
    """
    told = data.get("training", {})
    data = {**data, "method": method, "training": {**training, **told} if isinstance(told, Mapping) else told}
    resolve(reference)(data, path, folder, resume, control)


def problem_names() -> list[str]:
    """Return the families by name."""
    return list(PROBLEMS)


def find_problem(name: str) -> Problem:
    """Return a family by name or by `module:ATTRIBUTE`."""
    if ":" in name:
        problem = resolve(name)
    elif name in PROBLEMS:
        problem = resolve(PROBLEMS[name])
    else:
        raise InputError(f"unknown problem family {name!r}; {nearest(name, PROBLEMS)}")
    if not isinstance(problem, Problem):
        raise InputError(f"{name} is not a Problem but a {type(problem).__name__}.")
    return problem


def rules_of(problem: Problem) -> dict[str, Rule]:
    """Return the family's rules by name; none is an empty mapping."""
    return dict(problem.rules()) if problem.rules is not None else {}


def find_rule(name: str, problem: Problem) -> Rule:
    """Return a rule of a family by name, or anybody's by `module:function`."""
    if ":" in name:
        found = resolve(name)
        if isinstance(found, Rule):
            return found
        if callable(found):
            return rule_from(found, name)
        raise InputError(f"{name} is not a rule but a {type(found).__name__}.")
    rules = rules_of(problem)
    if name not in rules:
        raise InputError(f"unknown rule {name!r} of {problem.name}; {nearest(name, rules)}")
    return rules[name]


def solver_names(problem: Problem | None = None) -> list[str]:
    """Return the methods by name, of all families or those that fit one; rules are listed apart."""
    return [name for name in SOLVERS if problem is None or resolve(SOLVERS[name]).fits(problem)]


def find_solver(name: str | Solver, problem: Problem) -> Solver:
    """Return a method by name, a rule of the family as a method, or a third party's by `module:NAME`."""
    if isinstance(name, Solver):
        solver, name = name, name.name
    elif ":" in name:
        found = resolve(name)
        solver = found if isinstance(found, Solver) else rule_solver(find_rule(name, problem), problem)
    elif name in SOLVERS:
        solver = resolve(SOLVERS[name])
    elif name in (rules := rules_of(problem)):
        solver = rule_solver(rules[name], problem)
    else:
        raise InputError(f"unknown solver {name!r}; {nearest(name, [*solver_names(problem), *rules])}")
    if not solver.fits(problem):
        raise InputError(
            f"solver {name!r} does not fit {problem.name}; these do: "
            f"{', '.join([*solver_names(problem), *rules_of(problem)])}."
        )
    return solver


def rule_solver(rule: Rule, problem: Problem) -> Solver:
    """Return the method that follows a rule."""
    return resolve("orl.solvers.rules:rule_solver")(rule, problem)
