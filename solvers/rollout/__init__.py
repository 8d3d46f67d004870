"""The method `rollout`: every candidate is tried on futures that agree with what has been seen.

One step of policy iteration from a base policy: each legal action is taken in each of K drawn futures, the base policy
finishes the episode, and the action with the least mean cost is chosen. All actions see the same futures.

References
----------
D. P. Bertsekas, D. A. Castanon (1999). Rollout algorithms for stochastic scheduling problems. Journal of Heuristics 5,
89-108. doi 10.1023/A:1009634810396
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from orl.errors import InputError
from orl.policy import Memory, Policy
from orl.problem import Problem
from orl.process import Observation
from orl.registry import find_solver
from orl.scenario import Purpose, Scenarios
from orl.simulate import run_episodes
from orl.solver import Solver, Task

MAX_ENVS = 4096  # simulated side by side


@dataclass(frozen=True)
class RolloutSettings:
    """What `rollout` may be told.

    Parameters
    ----------
    futures : int >= 1
        On how many drawn futures each candidate is tried; where nothing is random, on the one that there is.
    base : str or None
        The policy that finishes the episodes, by name; None: the family's default rule.
    standard_errors : float >= 0
        By how many standard errors of the paired difference a candidate must be better than the base's own choice to be
        taken instead; where nothing is random there is no such error.
    """

    futures: int = 20
    base: str | None = None
    standard_errors: float = 0.0

    def __post_init__(self) -> None:
        if self.futures < 1:
            raise ValueError(f"futures must be >= 1, got {self.futures}.")
        if not 0 <= self.standard_errors < np.inf:
            raise ValueError(f"standard_errors must be >= 0 and finite, got {self.standard_errors}.")
        if self.standard_errors > 0 and self.futures < 2:
            raise ValueError("standard_errors needs futures >= 2: of one there is no error.")


class RolloutMemory(NamedTuple):
    """The instances, the seeds of their futures (num_envs,), how many decisions were made, the base's memory."""

    instances: Sequence[Any]
    seeds: np.ndarray
    decisions: int
    base: Memory


@dataclass(frozen=True)
class RolloutPolicy:
    """Try every candidate.

    Parameters
    ----------
    problem : Problem
    base : Policy
    futures : int
    standard_errors : float
    """

    problem: Problem
    base: Policy
    futures: int
    standard_errors: float = 0.0
    clairvoyant: bool = False
    batch: int = 4  # slow: when time is up some scenarios have come to their end

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> RolloutMemory:
        seeds = rng.integers(0, 2**63, size=len(instances))
        return RolloutMemory(instances, seeds, 0, self.base.start(instances, rng))

    def decide(self, observation: Observation, memory: RolloutMemory) -> tuple[np.ndarray, RolloutMemory]:
        if observation.legal.ndim > 2:
            raise InputError("rollout tries single choices, not joint ones of all machines: set decision=machine.")
        actions, base = self.base.decide(observation, memory.base)
        actions = actions.copy()
        envs: list[int] = []  # with something to choose, gathered until there are many trials
        trials: list[tuple[Any, int]] = []
        futures: list[Scenarios] = []
        first: list[int] = []
        for env in np.flatnonzero(observation.legal.sum(axis=-1) > 1).tolist():
            envs.append(env)
            first.append(len(trials))
            instance = self._in_motion(memory, observation, env)
            rows = self._futures(instance, memory, env)
            legal = np.flatnonzero(observation.legal[env]).tolist()
            trials += [(instance, action) for action in legal for _ in rows]
            futures += list(rows) * len(legal)
            if len(trials) >= MAX_ENVS:
                self._choose(actions, observation, memory, envs, first, trials, futures)
                envs, trials, futures, first = [], [], [], []
        if envs:
            self._choose(actions, observation, memory, envs, first, trials, futures)
        return actions, memory._replace(decisions=memory.decisions + 1, base=base)

    def _in_motion(self, memory: RolloutMemory, observation: Observation, env: int) -> Any:
        assert self.problem.in_motion is not None
        return self.problem.in_motion(memory.instances[env], observation, env)

    def _futures(self, instance: Any, memory: RolloutMemory, env: int) -> Scenarios:
        entropy = np.random.SeedSequence([int(memory.seeds[env]), memory.decisions])
        seed = int(entropy.generate_state(1, np.uint64)[0]) >> 1
        rows = self.problem.sample(instance, seed, Purpose.TRAIN, 1)
        return self.problem.sample(instance, seed, Purpose.TRAIN, self.futures) if rows.is_random else rows

    def _choose(
        self,
        actions: np.ndarray,
        observation: Observation,
        memory: RolloutMemory,
        envs: list[int],
        first: list[int],
        trials: list[tuple[Any, int]],
        futures: list[Scenarios],
    ) -> None:
        """Set the actions of `envs` to those of least mean cost; of equal ones to the base's, then the lowest.

        Others than the base's count only if they are surely better.
        """
        process = self.problem.process([instance for instance, _ in trials], futures)
        tried = np.array([action for _, action in trials])
        costs = process.decide(tried)
        revealed = process.reveal()
        rng = np.random.default_rng(int(memory.seeds[0]))
        rest, _ = run_episodes(process, self.base, rng)
        costs = costs + revealed.cost + revealed.discount * rest
        for env, low, high in zip(envs, first, [*first[1:], len(trials)], strict=True):
            legal = np.flatnonzero(observation.legal[env])
            of_action = costs[low:high].reshape(len(legal), -1)
            means = of_action.mean(axis=1)
            if self.standard_errors > 0 and of_action.shape[1] > 1:
                saved = of_action[legal == actions[env]] - of_action
                error = saved.std(axis=1, ddof=1) / np.sqrt(of_action.shape[1])
                is_sure = (saved.mean(axis=1) > self.standard_errors * error) | (legal == actions[env])
                means = np.where(is_sure, means, np.inf)
            best = legal[means <= means.min() + 1e-9 * max(1.0, abs(means.min()))]
            if actions[env] not in best:
                actions[env] = best[0]


def _fits(problem: Problem) -> bool:
    return problem.in_motion is not None and problem.default_rule is not None


def _policy(task: Task) -> RolloutPolicy:
    problem = task.problem
    base = find_solver(task.settings.base or problem.default_rule or "", problem)
    if base.policy is None:
        raise InputError(f"rollout: base must be a policy; solver {base.name!r} gives a solution.")
    policy = base.policy(replace(task, settings=base.settings()))
    return RolloutPolicy(problem, policy, task.settings.futures, task.settings.standard_errors)


SOLVER = Solver(
    name="rollout",
    summary="every candidate tried on drawn futures, finished by a base policy",
    settings=RolloutSettings,
    fits=_fits,
    policy=_policy,
)
