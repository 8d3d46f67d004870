"""A bound proven again: what `check` makes of a certificate, without any solver.

The model is built from the instance and read in fractions, and what the certificate's dual values prove of it is
computed, see `orl.rational`. What is proven of a model made with the cost U of a known solution, which leaves out
whatever costs more, is the lesser of the two, so that nobody needs to believe U.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from orl import api
from orl.certificate import DualCertificate, ProgramDuals, builder_of, read_certificate, some
from orl.errors import InputError
from orl.problem import Problem
from orl.rational import Proof, floor, read_program
from orl.run import sample

TOLERANCE = Fraction(1, 10**6)  # relative, of bounds below 1 absolute: what floating-point solvers call equal


@dataclass(frozen=True, eq=False)
class ProgramProof:
    """What the dual values of one scenario prove.

    Parameters
    ----------
    claimed : float
        The optimum of the relaxation, as the certificate says.
    proof : Proof
        Of the relaxation.
    bound : Fraction or None
        On the scenario's cost.
    rows, columns, nonzeros : int
    """

    claimed: float
    proof: Proof
    bound: Fraction | None
    rows: int
    columns: int
    nonzeros: int

    @property
    def is_as_claimed(self) -> bool:
        return _is_at_least(self.proof.bound, self.claimed)


@dataclass(frozen=True, eq=False)
class Reproof:
    """What a certificate proves of an instance.

    Parameters
    ----------
    kind : str
        What the bound is of: 'linear program', 'linear relaxation' of one with integers, or 'linear part' of one that
        is convex.
    programs : tuple of ProgramProof
        One a scenario.
    solve_bound : float or None
        What the solve says of the same scenarios.
    """

    kind: str
    programs: tuple[ProgramProof, ...]
    solve_bound: float | None

    @property
    def exact_bound(self) -> Fraction | None:
        """The proven bound on the mean cost of the scenarios, None if there is none."""
        bounds = [one.bound for one in self.programs if one.bound is not None]
        return sum(bounds, Fraction(0)) / len(bounds) if len(bounds) == len(self.programs) else None

    @property
    def bound(self) -> float | None:
        """The same, rounded downwards."""
        return None if self.exact_bound is None else floor(self.exact_bound)

    @property
    def claimed(self) -> float:
        """Mean optimum of the relaxations, as the certificate says."""
        return math.fsum(one.claimed for one in self.programs) / len(self.programs)

    @property
    def covers_solve(self) -> bool | None:
        """Whether the solve's bound is proven, too; None if there is none."""
        return None if self.solve_bound is None else _is_at_least(self.exact_bound, self.solve_bound)

    @property
    def is_proven(self) -> bool:
        """Whether what is claimed is proven: every relaxation's optimum, and the solve's bound if nothing is relaxed.

        Up to `TOLERANCE`, relative to the bound if that is above 1: claims are of floating-point solvers.
        """
        is_whole = self.kind != "linear program" or self.covers_solve is not False
        return is_whole and all(one.is_as_claimed for one in self.programs)

    def to_dict(self) -> dict[str, Any]:
        """Return what `check --json` prints."""
        bound = self.bound
        return {
            "proven": self.is_proven,
            "bound": None if bound is None or not math.isfinite(bound) else bound,
            "of": self.kind,
            "claimed": self.claimed,
            "solve_bound": self.solve_bound,
            "solve_bound_proven": self.covers_solve,
            "programs": [
                {"rows": one.rows, "columns": one.columns, "nonzeros": one.nonzeros, "proven": one.is_as_claimed}
                for one in self.programs
            ],
        }

    def __str__(self) -> str:
        sizes = ", ".join(
            f"{sum(getattr(one, name) for one in self.programs)} {name}" for name in ("rows", "columns", "nonzeros")
        )
        several = f" of {len(self.programs)} scenarios, in the mean" if len(self.programs) > 1 else ""
        about = f"the {self.kind}{several} ({sizes})"
        short = [one for one in self.programs if not one.is_as_claimed]
        if self.exact_bound is None:
            missing = next(one.proof.missing for one in self.programs if one.bound is None)
            lines = [f"not proven: nothing of {about}, for want of bounds on {some(missing)}"]
        else:
            verdict = "not proven: in fractions only" if short else "proven in fractions:"
            lines = [f"{verdict} bound {self.bound:.12g} of {about}; claimed {self.claimed:.12g}"]
        if self.covers_solve is not None:
            verdict = "proven, too" if self.covers_solve else "NOT proven"
            why = "" if self.covers_solve or self.kind == "linear program" else ": it is of more than the " + self.kind
            lines.append(f"the solve's bound {self.solve_bound:.12g}: {verdict}{why}")
        return "\n".join(lines)


def check_bound(
    instance: Any,
    certificate: DualCertificate | str | Path,
    *,
    problem: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Reproof:
    """Prove the bound of a certificate again, in fractions, from the instance and the dual values alone.

    Parameters
    ----------
    instance : instance, path or name
    certificate : DualCertificate, or path of its file
    settings : name -> value
        Of the instance; None: what the certificate says.
    seed : int or None
        Of the scenarios; None: what the certificate says.

    Raises
    ------
    InputError
        If a file cannot be read, or is a certificate of another instance or another model.
    """
    if isinstance(certificate, DualCertificate):
        name = "certificate"
    else:
        name, certificate = str(certificate), read_certificate(Path(certificate))
    instance = api.load_as(dataclasses.asdict(certificate), instance, problem, settings)
    family = api.problem_of(instance)
    if (certificate.problem, certificate.instance) != (family.name, instance.name):
        other = f"{certificate.instance!r} of {certificate.problem}"
        raise InputError(f"{name}: is a certificate of {other}, not of {instance.name!r} of {family.name}.")
    seed = certificate.seed if seed is None else seed
    rows = sample(family, instance, seed, certificate.purpose, len(certificate.programs))
    kinds, proofs = set[str](), list[ProgramProof]()
    for i, duals in enumerate(certificate.programs):
        try:
            kind, proof = _prove(family, instance, rows[i], duals)
        except InputError as error:
            place = f"{name}, program {i}" if len(certificate.programs) > 1 else name
            raise InputError(f"{place}: {error}") from None
        kinds.add(kind)
        proofs.append(proof)
    is_of_these = certificate.bound_kind in ("proven", "hindsight-mean")
    kind = next(kind for kind in ("linear part", "linear relaxation", "linear program") if kind in kinds)
    return Reproof(kind, tuple(proofs), certificate.bound if is_of_these else None)


def _prove(family: Problem, instance: Any, scenario: Any, duals: ProgramDuals) -> tuple[str, ProgramProof]:
    try:
        model = builder_of(family)(instance, scenario, upper_bound=duals.upper_bound, should_stop=lambda: False)
    except InputError:
        raise
    except (ValueError, ArithmeticError) as error:  # an upper bound that nobody found
        raise InputError(f"there is no model with upper_bound {duals.upper_bound}: {error}") from None
    program = read_program(model.program)
    sizes = len(program.rows), len(program.columns), program.num_nonzeros
    said = duals.rows, duals.columns, duals.nonzeros
    if sizes != said:
        raise InputError(f"is of a model of rows, columns, nonzeros {said}; that of {instance.name} has {sizes}.")
    if program.digest != duals.digest:
        raise InputError(f"is of a model with other names or numbers than that of {instance.name}.")
    proof = program.prove(duals.duals)
    bound = proof.bound
    if bound is not None:
        bound = program.round_up(bound)
        if duals.upper_bound is not None:
            bound = min(bound, Fraction(duals.upper_bound))
    kind = "linear relaxation" if program.has_integers else "linear program"
    return kind if model.separate is None else "linear part", ProgramProof(duals.optimum, proof, bound, *sizes)


def _is_at_least(bound: Fraction | None, claimed: float) -> bool:
    return bound is not None and Fraction(claimed) <= bound + TOLERANCE * max(Fraction(1), abs(bound))
