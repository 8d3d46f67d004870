"""Dispatching rules: a number for every candidate; the largest goes first, ties go to the lowest candidate.

Where decisions are targets there are no candidates: a rule says what to aim at.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from orl.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """A dispatching rule, as a table, as a score, as a score with a table of parameters, or as targets.

    Parameters
    ----------
    name : str
    table : callable (instance) -> ndarray (num_entries,), or None
        Priorities computed once for an instance, not NaN; whole episodes then run in the family's kernel. Beside a
        score: the score's parameters.
    score : callable (observation[, seeds][, parameters]) -> ndarray of the shape of `observation.legal`, or None
        Scores computed at every decision. `seeds` (num_envs,) uint64 tell random rules apart; `parameters` (num_envs,
        num_entries) is the table of each environment's instance.
    steer : callable (instance) -> callable (observation, env) -> ndarray (width,), or None
        For decisions of the kind 'targets': made once for an instance, it gives an environment's.
    compiled : int
        The family's number of the same rule inside its kernel; 0: none.
    source : str
        Where the rule comes from.
    clairvoyant : bool
        Whether it reads what observations hide (`Observation.hidden`).
    """

    name: str
    table: Callable[[Any], np.ndarray] | None = None
    score: Callable[..., np.ndarray] | None = None
    steer: Callable[[Any], Callable[[Any, int], np.ndarray]] | None = None
    compiled: int = 0
    source: str = ""
    clairvoyant: bool = False

    @property
    def summary(self) -> str:
        """The first sentence of the rule's docstring."""
        docs = [inspect.getdoc(function) for function in (self.table, self.score, self.steer) if function is not None]
        return next((doc for doc in docs if doc), "").split("\n")[0]


def rule_from(function: Callable[..., np.ndarray], name: str = "") -> Rule:
    """Make a rule of a plain function: `f(instance)` is a table, `f(observation)` or `f(observation, seeds)` a score.

    Raises
    ------
    InputError
        If the first parameter is named neither `instance` nor `observation`.

    Examples
    --------
    >>> def longest_first(instance):
    ...     return instance.durations
    >>> rule_from(longest_first).name
    'longest_first'
    """
    name = name or getattr(function, "__name__", "rule")
    try:
        parameters = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        parameters = ["unknown"]
    if parameters == ["instance"]:
        return Rule(name, table=function)
    if parameters in (["observation"], ["observation", "seeds"]):
        return Rule(name, score=function)
    raise InputError(
        f"rule {name!r} must take (instance), (observation) or (observation, seeds), got ({', '.join(parameters)})."
    )


def call_table(rule: Rule, instance: Any, num_entries: int | None = None) -> np.ndarray:
    """Return a table rule's priorities, checked: one number an entry, not NaN."""
    assert rule.table is not None
    priorities = _numbers(rule, rule.table, instance)
    if priorities.ndim != 1 or (num_entries is not None and len(priorities) != num_entries):
        expected = num_entries or "one-dimensional"
        raise InputError(f"rule {rule.name!r} must return {expected} priorities, got shape {priorities.shape}.")
    if np.isnan(priorities).any():
        raise InputError(f"rule {rule.name!r} returned NaN at entry {int(np.isnan(priorities).argmax())}.")
    return priorities


def call_score(rule: Rule, observation: Any, seeds: np.ndarray, parameters: np.ndarray | None = None) -> np.ndarray:
    """Return a score rule's scores, checked: the shape of the mask, no NaN where it counts."""
    assert rule.score is not None
    given = {"seeds": seeds, "parameters": parameters}
    takes = [name for name in inspect.signature(rule.score).parameters if name in given]
    scores = _numbers(rule, rule.score, observation, *(given[name] for name in takes))
    if scores.shape != observation.legal.shape:
        raise InputError(
            f"rule {rule.name!r} must return scores of shape {observation.legal.shape}, got {scores.shape}."
        )
    if np.isnan(scores[observation.legal]).any():
        raise InputError(f"rule {rule.name!r} returned NaN for a legal candidate.")
    return scores


def call_steer(rule: Rule, instance: Any) -> Callable[[Any, int], np.ndarray]:
    """Return what gives a rule's targets in an instance."""
    assert rule.steer is not None
    return _called(rule, rule.steer, instance)


def _numbers(rule: Rule, function: Callable[..., Any], *arguments: Any) -> np.ndarray:
    return _called(rule, lambda: np.asarray(function(*arguments), dtype=np.float64))


def _called(rule: Rule, function: Callable[..., T], *arguments: Any) -> T:
    """Call a rule's function; whatever goes wrong inside is named with the rule, its file and its line."""
    try:
        return function(*arguments)
    except InputError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{frame.filename}, line {frame.lineno}"
        raise InputError(f"rule {rule.name!r} failed: {type(error).__name__}: {error} ({where})") from error
