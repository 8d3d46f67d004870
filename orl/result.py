"""What a run gives: status, value, bound and gaps, with the statistics and the JSON form that all commands share."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from orl.problem import Solution, Violation


class Status(StrEnum):
    """How a run ended."""

    OPTIMAL = "optimal"  # value = proven bound
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"  # proven: there is no solution
    UNBOUNDED = "unbounded"
    NO_SOLUTION = "no-solution"  # a limit was reached before a solution was found
    INTERRUPTED = "interrupted"  # by the user; the best so far is given, if there is one


class Interval(NamedTuple):
    """A mean and its confidence limits."""

    mean: float
    low: float
    high: float


def mean_interval(sample: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """Return mean and Student t interval of independent observations; one observation has no interval (NaN).

    >>> [round(x, 4) for x in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.4841, 4.4841]
    """
    x = np.asarray(sample, dtype=np.float64)
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, math.nan, math.nan)
    from scipy.special import stdtrit

    half = float(stdtrit(len(x) - 1, 0.5 + level / 2) * x.std(ddof=1) / math.sqrt(len(x)))
    return Interval(mean, mean - half, mean + half)


def paired_difference(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> Interval:
    """Return mean and interval of a - b over paired scenarios.

    >>> paired_difference([3.0, 4.0], [1.0, 2.0]).mean
    2.0
    """
    if len(a) != len(b):
        raise ValueError(f"paired samples must have one length, got {len(a)} and {len(b)}.")
    return mean_interval(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))


def relative_gap(value: float | None, bound: float | None) -> float | None:
    """Return (value - bound) / max(|value|, 1e-9), or None where either is unknown.

    >>> relative_gap(100.0, 90.0)
    0.1
    """
    if value is None or bound is None or not (math.isfinite(value) and math.isfinite(bound)):
        return None
    return (value - bound) / max(abs(value), 1e-9)


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Parameters
    ----------
    problem, instance, solver : str
    settings : name -> value
        Of the instance and of the solver, defaults included; one of the solver's that the instance has, too, is
        SOLVER.NAME.
    clairvoyant : bool
        Whether the method was given the scenario as it decided; such policies are tabled apart.
    status : Status
    value : float or None
        Mean cost over the scenarios, recomputed by the verifier.
    bound : float or None
        Of the same stages, horizon and scenarios as `value`.
    bound_kind : str
        'proven', 'hindsight-mean', 'dp' or 'lagrangian' (proven, on the expected cost), 'penalised-mean' (mean over the
        scenarios of bounds that information relaxation gives), 'sddp' or 'none'.
    gap : float or None
        (value - bound) / max(|value|, 1e-9).
    best_known : float or None
        The best value that the literature reports for the instance.
    gap_best_known : float or None
        (value - best_known) / max(|best_known|, 1e-9): the literature's percentage above the best known.
    interval : (low, high) or None
        95 % interval of the mean, for two scenarios or more.
    costs : list of float
        One a scenario.
    scenarios : int
        How many were asked for; a run that was interrupted or out of time may have fewer `costs`.
    purpose : str
        Whose draws: 'evaluate', 'select' or 'train'.
    seconds : float
        Wall time of the method, without loading and verification.
    seed : int
    verified : bool
        Whether every solution passed the family's verifier.
    violations : tuple of Violation
    metrics : name -> float
    trace : list of (seconds, value, bound)
        How value and bound came about.
    versions : name -> str
    solutions : list of Solution
        One a scenario; not part of the JSON (see `orl.save_result`).
    """

    problem: str
    instance: str
    solver: str
    settings: Mapping[str, Any]
    clairvoyant: bool
    status: Status
    value: float | None
    bound: float | None
    bound_kind: str
    gap: float | None
    best_known: float | None
    gap_best_known: float | None
    interval: tuple[float, float] | None
    costs: list[float]
    scenarios: int
    purpose: str
    seconds: float
    seed: int
    verified: bool
    violations: tuple[Violation, ...]
    metrics: Mapping[str, float]
    trace: list[tuple[float, float | None, float | None]]
    versions: Mapping[str, str]
    solutions: list[Solution] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return what the JSON holds; what is unknown or not finite is None."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "solutions"}
        return _plain(fields)

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(self.to_dict())


def cvar(costs: Sequence[float], level: float) -> float:
    """Return the conditional value at risk: the mean of the worst share `1 - level` of the costs, (num_scenarios,).

    >>> cvar([1.0, 2.0, 3.0, 4.0], 0.5)
    3.5
    """
    ordered = np.sort(np.asarray(costs, dtype=np.float64))
    weight = (1 - level) * len(ordered)
    whole = math.floor(weight + 1e-9)
    worst = ordered[len(ordered) - whole :].sum()
    rest = weight - whole
    if rest > 1e-9:
        worst += rest * ordered[len(ordered) - whole - 1]
    return float(worst / weight)


def _plain(x: Any) -> Any:
    """Return `x` in types that JSON knows; whole floats become integers, what is not finite becomes None."""
    if isinstance(x, Violation):
        return x._asdict()
    if isinstance(x, Mapping):
        return {str(key): _plain(value) for key, value in x.items()}
    if isinstance(x, list | tuple | np.ndarray):
        return [_plain(value) for value in x]
    if isinstance(x, StrEnum):
        return x.value
    if isinstance(x, np.generic):
        x = x.item()
    if isinstance(x, float):
        if not math.isfinite(x):
            return None
        return int(x) if x.is_integer() and abs(x) < 2**53 else x
    return x
