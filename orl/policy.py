"""The contract of a policy, and the policy that a dispatching rule is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from orl.errors import InputError
from orl.process import Observation
from orl.rule import Rule, call_score, call_steer, call_table

Memory = Any


class Policy(Protocol):
    """Maps observations to actions. It keeps no mutable state of its own, so it is thread-safe and picklable.

    Whatever changes between decisions (counters, hidden layers, random numbers, warm starts) is the explicit memory.
    A policy that decides environment by environment, and slowly, has an attribute `batch`: how many it is simulated on
    at a time, so that an early end leaves scenarios that are whole.
    """

    @property
    def clairvoyant(self) -> bool:
        """Whether the policy is given the scenario; such a policy is tabled apart."""

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> Memory:
        """Return the memory for a batch of episodes, one an instance."""

    def decide(self, observation: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        """Return actions (num_envs, ...) and the memory for the next decision."""


@runtime_checkable
class ScoringPolicy(Policy, Protocol):
    """A policy that tells what it thinks of each choice, the largest score goes first."""

    def scores(self, observation: Observation, memory: Memory) -> np.ndarray:
        """Return the score of each choice, of the shape of `legal`; those of what is no choice mean nothing."""

    @property
    def choices(self) -> Callable[[Observation], np.ndarray]:
        """What tells among which it chooses, bool (num_envs, ...)."""


class RuleMemory(NamedTuple):
    """What a rule carries through an episode: tables (num_envs, entries), seeds (num_envs,), and what steers each
    environment; None where the rule has none.
    """

    tables: np.ndarray | None
    seeds: np.ndarray
    steers: Sequence[Callable[[Observation, int], np.ndarray]] | None = None


def all_legal(observation: Observation) -> np.ndarray:
    """Let a rule choose among everything that is legal."""
    return observation.legal


@dataclass(frozen=True)
class RulePolicy:
    """Follow a dispatching rule.

    Parameters
    ----------
    rule : Rule
    choices : callable (observation) -> bool ndarray of the shape of `legal`
        What rules of this family choose among; a subset of what is legal, never empty where `legal` is not.
    """

    rule: Rule
    choices: Callable[[Observation], np.ndarray] = all_legal

    @property
    def clairvoyant(self) -> bool:
        return self.rule.clairvoyant

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> RuleMemory:
        seeds = rule_seeds(rng, len(instances))
        if self.rule.steer is not None:
            made = {id(instance): call_steer(self.rule, instance) for instance in instances}
            return RuleMemory(None, seeds, [made[id(instance)] for instance in instances])
        if self.rule.table is None:
            return RuleMemory(None, seeds)
        of_instance = {id(instance): call_table(self.rule, instance) for instance in instances}
        width = max(len(table) for table in of_instance.values())
        tables = np.zeros((len(instances), width))
        for env, instance in enumerate(instances):
            table = of_instance[id(instance)]
            tables[env, : len(table)] = table
        return RuleMemory(tables, seeds)

    def decide(self, observation: Observation, memory: RuleMemory) -> tuple[np.ndarray, RuleMemory]:
        if memory.steers is not None:
            observation = self._shown(observation)
            return np.stack([steer(observation, env) for env, steer in enumerate(memory.steers)]), memory
        if observation.legal.dtype != bool:
            raise InputError(f"rule {self.rule.name!r} scores candidates; decisions here are targets, see Rule.steer.")
        # a choice scored minus infinity is still a choice
        scores = np.maximum(self.scores(observation, memory), np.finfo(np.float64).min)
        return np.where(self.choices(observation), scores, -np.inf).argmax(axis=-1), memory

    def scores(self, observation: Observation, memory: RuleMemory) -> np.ndarray:
        """Return the score of each choice, of the shape of `legal`; those of what is no choice mean nothing."""
        if self.rule.score is not None:
            return call_score(self.rule, self._shown(observation), memory.seeds, memory.tables)
        assert memory.tables is not None
        candidate = observation.arrays["candidate"]
        flat = candidate.reshape(len(candidate), -1)
        return np.take_along_axis(memory.tables, np.maximum(flat, 0), axis=1).reshape(candidate.shape)

    def _shown(self, observation: Observation) -> Observation:
        """Return what the rule may read of an observation."""
        return replace(observation, hidden={}) if observation.hidden and not self.clairvoyant else observation


def rule_seeds(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw the seeds of random rules; the first ones do not depend on how many are drawn."""
    return rng.integers(0, 2**63, size=count, dtype=np.uint64)
