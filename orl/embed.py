"""Policies for those who run a plant or a server of their own: one live state in, one decision out, in time.

Nothing is simulated here and nothing is remembered: an answer depends on the state alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from orl.errors import InputError
from orl.policy import Policy, RulePolicy, ScoringPolicy
from orl.problem import Problem
from orl.scenario import Purpose

State = Mapping[str, Any]


class Answer(NamedTuple):
    """What a policy answers to a state.

    Parameters
    ----------
    decision : dict or None
        In the family's terms, see its schema; None: there is nothing to decide in this state.
    scores : name of a candidate -> float, or None
        What the policy thinks of the candidates, the largest goes first; None if it does not tell.
    answered_by : str
        The policy's name, or the fallback's.
    milliseconds : float
        From the question to the answer.
    note : str
        Why the fallback answered; else empty.
    """

    decision: dict[str, Any] | None
    scores: dict[Any, float] | None
    answered_by: str
    milliseconds: float
    note: str = ""


class Chosen(NamedTuple):
    """An answer without its circumstances."""

    decision: dict[str, Any] | None
    scores: dict[Any, float] | None


@dataclass(frozen=True)
class Live:
    """What a family offers to those who embed a policy.

    Parameters
    ----------
    schema : callable () -> dict
        The JSON Schema of a state and of a decision.
    read : callable (instance or None, state) -> instance
        The instance as it stands in a state given as dictionaries or arrays; None: the state brings it along.
    answer : callable (instance, observation, action) -> (decision, label of each candidate)
        An action in the family's terms, and labels for the mask's entries, flattened; (None, ...) if the observation
        is of a later time than the state.
    chooser : callable (instance, rule, seed) -> callable (state, with_scores) -> Chosen or None
        The fast way for rules that a kernel knows; the inner callable returns None for states that it leaves to the
        ordinary way.
    example : callable (instance or None) -> state
        A state to warm up with.
    """

    schema: Callable[[], dict[str, Any]]
    read: Callable[..., Any]
    answer: Callable[..., tuple[dict[str, Any] | None, list[Any]]]
    chooser: Callable[..., Callable[..., Chosen | None] | None]
    example: Callable[[Any], Any]


@dataclass
class LivePolicy:
    """A policy that answers live states; thread-safe, fork-safe, picklable, and it prints nothing.

    Parameters
    ----------
    problem : Problem
    name : str
    policy : Policy
        What decides; it can also be run on a `Process`.
    instance : instance or None
        What the states speak of; None: each state brings its own.
    seed : int
        Of policies that draw.
    budget_ms : float or None
        Time to answer in; None: as long as it takes.
    fallback : LivePolicy or None
        Who answers when the policy is late or fails; with a budget there is one.

    Examples
    --------
    >>> import orl
    >>> policy = orl.make_policy("jobshop/ft06", "spt")
    >>> policy.decide({"clock": 0}).decision
    {'job': 5, 'machine': 1}
    """

    problem: Problem
    name: str
    policy: Policy
    instance: Any = None
    seed: int = 0
    budget_ms: float | None = None
    fallback: LivePolicy | None = None
    _worker: _Worker | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.problem.live is None:
            raise InputError(f"{self.problem.name} cannot answer live states yet.")
        if self.budget_ms is not None and not self.budget_ms > 0:
            raise InputError(f"budget_ms must be > 0, got {self.budget_ms}.")
        self._live: Live = self.problem.live()
        self._choose: Callable[..., Chosen | None] | None = None
        if isinstance(self.policy, RulePolicy):
            self._choose = self._live.chooser(self.instance, self.policy.rule, self.seed)
        self._reserve = 0.0
        if self.budget_ms is not None:
            self._worker = _Worker()
            started = time.perf_counter()
            assert self.fallback is not None
            self.fallback.decide(self._live.example(self.instance))  # the second time, what counts
            self._reserve = 2 * (time.perf_counter() - started)
        self._decide(self._live.example(self.instance))  # loads and compiles now what would be late later

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self.problem, self.name, self.policy, self.instance, self.seed, self.budget_ms, self.fallback)
        return LivePolicy, given

    def decide(self, state: Any, with_scores: bool = False) -> Answer:
        """Return the decision for a state.

        Parameters
        ----------
        state : mapping, or a family's record of a state where it takes one
            Dictionaries or arrays, as `orl.schema` describes them.
        with_scores : bool
            Whether to tell what the policy thinks of all candidates.

        Raises
        ------
        InputError
            If the state cannot be; names key, rule and value.
        """
        started = time.perf_counter()
        if self._worker is None:
            decision, scores = self._decide(state, with_scores)
            return Answer(decision, scores, self.name, 1000 * (time.perf_counter() - started))
        assert self.budget_ms is not None and self.fallback is not None
        note = f"{self.name} is still busy with an earlier state"
        future = self._worker.submit(self._decide, state, with_scores)
        if future is not None:
            left = self.budget_ms / 1000 - self._reserve - (time.perf_counter() - started)
            try:
                decision, scores = future.result(timeout=max(left, 0))
                return Answer(decision, scores, self.name, 1000 * (time.perf_counter() - started))
            except TooLate:
                note = f"{self.name} did not answer within {self.budget_ms:g} ms"
            except InputError:
                raise
            except Exception as error:
                note = f"{self.name} failed: {type(error).__name__}: {error}"
        answer = self.fallback.decide(state, with_scores)
        return answer._replace(milliseconds=1000 * (time.perf_counter() - started), note=note)

    def _decide(self, state: State, with_scores: bool = False) -> Chosen:
        chosen = self._choose(state, with_scores) if self._choose is not None else None
        return self._step(state, with_scores) if chosen is None else chosen

    def _step(self, state: State, with_scores: bool) -> Chosen:
        """Decide as in a simulation that has just come to this state."""
        problem, policy = self.problem, self.policy
        instance = self._live.read(self.instance, state)
        ahead = problem.nominal(instance)[1] if problem.nominal else problem.sample(instance, 0, Purpose.TRAIN, 1)
        observation = problem.process([instance], [ahead]).observe()
        memory = policy.start([instance], np.random.default_rng(self.seed))
        if not observation.legal.any():
            return Chosen(None, None)
        actions, _ = policy.decide(observation, memory)
        decision, labels = self._live.answer(instance, observation, actions[0])
        if decision is None or not with_scores or not isinstance(policy, ScoringPolicy):
            return Chosen(decision, None)
        scores, among = policy.scores(observation, memory)[0].ravel(), policy.choices(observation)[0]
        return Chosen(decision, {labels[i]: float(scores[i]) for i in np.flatnonzero(among).tolist()})


class _Worker:
    """One thread that decides; made anew in a process that was forked off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._running: Future[Chosen] | None = None
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock, self._pool, self._running = threading.Lock(), None, None

    def submit(self, work: Callable[..., Chosen], *question: Any) -> Future[Chosen] | None:
        """Start to work on a question; None: an earlier one is not done yet."""
        with self._lock:
            if self._running is not None and not self._running.done():
                return None
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="orl")
            self._running = self._pool.submit(work, *question)
            return self._running
