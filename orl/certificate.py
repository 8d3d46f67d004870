"""Certificates of bounds: the dual values of a family's model `exact`, from which anyone can prove the bound again.

`certify` solves the linear relaxation of the model in floating point and keeps its dual values; `orl.reproof` proves
the bound again. Of a model with integer variables that is the bound of its relaxation; what branch and bound adds to it
is not proven again. Of a model that is convex it is the bound of its linear part.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orl import api, files
from orl.errors import InputError, Stopped, at
from orl.problem import Model, Problem
from orl.rational import Proof, RationalProgram, read_program
from orl.result import Result, Status
from orl.run import sample
from orl.scenario import Purpose
from orl.solver import Control
from orl.versions import versions

KIND = "duals of the model 'exact'"
SHARP = 1e-9  # feasibility that the solver is asked for
ROUNDS = 6  # of costs that are lowered a little, until reduced costs have the sign that they need
LEAST_SHIFT = 1e-12  # of a cost, relative
LARGEST = 2.0**53  # that an upper bound may be


@dataclass(frozen=True, eq=False)
class ProgramDuals:
    """The dual values of one scenario's model.

    Parameters
    ----------
    optimum : float
        Of the linear relaxation, as its solver says.
    upper_bound : float or None
        Cost of the known solution that the model was made with.
    rows, columns, nonzeros : int
    digest : str
        See `orl.rational.RationalProgram.digest`.
    duals : name of a row -> float
        Those that are not 0.
    """

    optimum: float
    upper_bound: float | None
    rows: int
    columns: int
    nonzeros: int
    digest: str
    duals: Mapping[str, float]

    def __post_init__(self) -> None:
        _check_number("optimum", self.optimum)
        if self.upper_bound is not None:
            _check_number("upper_bound", self.upper_bound)
            if abs(self.upper_bound) > LARGEST:
                raise InputError(f"upper_bound must be of size <= 2**53, got {self.upper_bound:g}.")
        for name in ("rows", "columns", "nonzeros"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise InputError(f"{name} must be a whole number >= 0, got {getattr(self, name)!r}.")
        if not isinstance(self.digest, str):
            raise InputError(f"digest must be a text, got {self.digest!r}.")
        if not isinstance(self.duals, Mapping):
            raise InputError("duals must be an object: a number for each row.")
        for name, dual in self.duals.items():
            _check_number(f"the dual of {name}", dual)


@dataclass(frozen=True, eq=False)
class DualCertificate:
    """What a bound can be proven from, beside the instance.

    Parameters
    ----------
    problem, instance : str
    settings : name -> value
        Of the instance and of the solver.
    seed : int
    purpose : str
        Of the scenarios: the first ones, one a program.
    solver : str
    value, bound : float or None
        What the solve says; `bound_kind` tells what the bound is.
    bound_kind : str
    programs : sequence of ProgramDuals
    versions : name -> str
    """

    problem: str
    instance: str
    settings: Mapping[str, Any]
    seed: int
    purpose: str
    solver: str
    value: float | None
    bound: float | None
    bound_kind: str
    programs: Sequence[ProgramDuals]
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("problem", "instance", "solver", "bound_kind"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} must be a text, got {getattr(self, name)!r}.")
        if not isinstance(self.settings, Mapping) or not isinstance(self.versions, Mapping):
            raise InputError("settings and versions must be objects.")
        if type(self.seed) is not int or self.purpose not in list(Purpose):
            raise InputError(f"expected a whole seed and a known purpose, got {self.seed!r} and {self.purpose!r}.")
        for name in ("value", "bound"):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name))
        if not self.programs:
            raise InputError("programs must be a list of one or more.")

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps({"certificate": KIND, **dataclasses.asdict(self)}, indent=1) + "\n"


def is_certificate(path: Path) -> bool:
    """Whether a file begins as a certificate does."""
    return path.is_file() and re.match(rb'\s*\{\s*"certificate"\s*:', files.read_head(path)) is not None


def read_certificate(path: Path) -> DualCertificate:
    """Read a certificate.

    Raises
    ------
    InputError
        That names the file, the field and the rule.
    """
    data = files.parse_json(files.read_text(path), path)
    if not isinstance(data, dict) or data.pop("certificate", None) != KIND:
        raise at(path, None, f"expected an object with 'certificate': {json.dumps(KIND)}.")
    try:
        programs = data.get("programs")
        if not isinstance(programs, list):
            raise InputError("programs must be a list of one or more.")
        return _record(DualCertificate, {**data, "programs": [_record(ProgramDuals, one) for one in programs]})
    except InputError as error:
        raise at(path, None, str(error)) from None


def _record(kind: type, data: Any) -> Any:
    names = {each.name for each in dataclasses.fields(kind)}
    if not isinstance(data, dict) or data.keys() != names:
        raise InputError(f"expected an object of {', '.join(sorted(names))}.")
    return kind(**data)


def _check_number(name: str, x: Any) -> None:
    if not isinstance(x, int | float) or isinstance(x, bool) or not abs(x) <= sys.float_info.max:
        raise InputError(f"{name} must be a finite number, got {x!r}.")


# To certify ---------------------------------------------------------------------------------------------------------


def certify(instance: Any, result: Result, control: Control | None = None) -> DualCertificate:
    """Return dual values that prove a bound for the scenarios of a result, whatever method it is of.

    Raises
    ------
    InputError
        If the family has no model `exact`, or it does not take the instance.
    Stopped
        If a relaxation is not solved in time or has no optimum, or nothing can be proven from its dual values.

    Examples
    --------
    >>> import orl
    >>> shop = orl.load("jobshop/ft06")
    >>> certificate = certify(shop, orl.solve(shop, "mwr"))
    >>> orl.check_bound(shop, certificate).bound
    52.0
    """
    family, control = api.problem_of(instance), control or Control()
    builder_of(family)
    count = len(result.costs) or result.scenarios
    costs = result.costs if result.verified else [None] * count
    rows = sample(family, instance, result.seed, result.purpose, count)
    programs = []
    with control.progress(count, "programs") as bar:
        for i in range(count):
            programs.append(_dual_values(family, instance, rows[i], costs[i], control))
            bar.update()
    said = result.to_dict()
    names = ("problem", "instance", "settings", "seed", "purpose", "solver", "value", "bound", "bound_kind")
    return DualCertificate(**{name: said[name] for name in names}, programs=programs, versions=versions())


def builder_of(family: Problem) -> Callable[..., Model]:
    """Return what makes the family's model `exact`; a family without it is an `InputError`."""
    if family.models is None or "exact" not in family.models:
        raise InputError(f"{family.name} has no model 'exact' to prove bounds with.")
    return family.models["exact"]


def _dual_values(
    family: Problem, instance: Any, scenario: Any, upper_bound: float | None, control: Control
) -> ProgramDuals:
    from orl.exact import CompiledModel

    model = builder_of(family)(
        instance, scenario, upper_bound=upper_bound, should_stop=lambda: control.should_stop
    ).program
    compiled = CompiledModel(model, tolerance=SHARP)
    compiled.relax(compiled.integers)
    program = read_program(model)
    optimum, duals = sharpened(compiled, program, control)
    sizes = len(program.rows), len(program.columns), program.num_nonzeros
    return ProgramDuals(optimum, upper_bound, *sizes, program.digest, duals)


def sharpened(compiled: Any, program: RationalProgram, control: Control) -> tuple[float, dict[str, float]]:
    """Return the optimum of the relaxation, and dual values that prove a bound.

    Where a reduced cost lacks a bound on its column and has the wrong sign, by rounding, the column's cost is lowered a
    little for the solver, who then finds dual values that leave the reduced cost that much on the right side.
    """
    optimum, proof = math.nan, Proof(None)
    size = {column.name: 1 + abs(float(column.cost)) for column in program.columns}
    shifts: dict[str, float] = {}
    for _ in range(ROUNDS):
        compiled.add_to_costs(shifts)
        solved = compiled.solve(control)
        if solved.status != Status.OPTIMAL or solved.value is None:
            raise Stopped(f"the relaxation has no certificate: {solved.status.value}.")
        optimum = solved.value if math.isnan(optimum) else optimum
        duals = compiled.duals()
        proof = program.prove(duals)
        if proof.bound is not None:
            return optimum, duals
        for name, reduced in proof.missing.items():
            least = math.copysign(LEAST_SHIFT * size[name], reduced)
            shifts[name] = 10 * shifts[name] if name in shifts else least + 4 * float(reduced)
    raise Stopped(f"nothing is proven for want of bounds on {some(proof.missing)}.")


def some(names: Mapping[str, Any]) -> str:
    """Return the first names, and how many more there are."""
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
