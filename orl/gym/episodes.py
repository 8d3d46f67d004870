"""What is played: the instance and the scenario of each episode, and the episodes of a batch as they go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orl import files
from orl.api import problem_of
from orl.errors import InputError
from orl.gym.actions import to_process
from orl.gym.forms import Form, Values, reader, rows
from orl.problem import Problem
from orl.scenario import Purpose, Scenarios, generator

INSTANCE = 2  # the kind of draw that chooses an instance; scenarios use 0 and 1 of the same row


class Draws:
    """Draw what environment i plays in its k-th episode: a function of (seed, i, k) alone.

    Parameters
    ----------
    problem : Problem
    instance : str, Path, instance, a sequence of these, or callable (rng) -> instance
    settings : name -> value
        Of instances given by name or path.
    purpose : Purpose or its name
    """

    def __init__(self, problem: Problem, instance: Any, settings: Mapping[str, Any] | None, purpose: Purpose | str):
        self.problem = problem
        self.purpose = Purpose(purpose)
        if settings and not _is_named(instance):
            raise InputError("settings are for instances given by name or path.")
        self._make: Callable[[np.random.Generator], Any] | None = instance if callable(instance) else None
        self.instances = [] if callable(instance) else load_all(problem, instance, settings)

    def draw(self, seed: int, env: int, episode: int) -> tuple[Any, Scenarios]:
        """Return instance and scenario of an episode."""
        # Cantor's pairing: every (env, episode) is a row of its own, however many environments there are.
        row = (env + episode) * (env + episode + 1) // 2 + episode
        if len(self.instances) == 1:
            instance = self.instances[0]
        else:
            rng = generator(seed, self.purpose, row, INSTANCE)
            instance = self._make(rng) if self._make is not None else self.instances[rng.integers(len(self.instances))]
        stream = self.problem.sample(instance, seed, self.purpose, 1)
        return instance, stream.row(row) if stream.is_random else stream


def load_all(problem: Problem, instance: Any, settings: Mapping[str, Any] | None) -> list[Any]:
    """Return one instance, or each of a sequence, loaded where it is a name or a path."""
    if isinstance(instance, Sequence) and not isinstance(instance, str):
        if not len(instance):
            raise InputError("expected at least one instance, got an empty sequence.")
        return [one for entry in instance for one in load_all(problem, entry, settings)]
    if isinstance(instance, str | Path):
        return [problem.load(files.find_instance(instance, [problem.name]), settings or {})]
    found = problem_of(instance).name
    if found != problem.name:
        raise InputError(f"expected an instance of {problem.name}, got one of {found}.")
    return [instance]


class Stepped(NamedTuple):
    """What a step of a batch gave, (num_envs,) each; `post` is the post-decision observation, if it was asked for.

    `solution_cost` is the discounted cost since the start.
    """

    cost: np.ndarray
    discount: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    illegal: np.ndarray
    solution_cost: np.ndarray
    post: Values


class Episodes:
    """A batch of episodes, stepped side by side, each followed by the next one of its environment.

    Parameters
    ----------
    problem, instance, settings, purpose
        As in `Draws`.
    form : 'flat' or 'graph'
    fit : instance, name or a sequence of these
        What the padding must have room for, besides the instances that can come.
    num_envs : int
    """

    def __init__(
        self,
        problem: Problem,
        instance: Any,
        settings: Mapping[str, Any] | None,
        purpose: Purpose | str,
        form: Form,
        fit: Any,
        num_envs: int,
    ):
        self.problem, self.num_envs = problem, num_envs
        self._draws = Draws(problem, instance, settings, purpose)
        self._read = reader(problem, form)
        self.seed = 0
        self.numbers = np.zeros(num_envs, dtype=np.int64)  # of the episode that each environment plays
        first = [self._draws.draw(0, env, 0) for env in range(num_envs)]
        instances, scenarios = map(list, zip(*first, strict=True))
        further = load_all(problem, fit, settings) if fit is not None else []
        self.process = problem.process(instances, scenarios, [*self._draws.instances, *further])
        self._weight, self.costs = np.ones(num_envs), np.zeros(num_envs)  # costs: discounted, so far
        self.scenarios = scenarios

    def start(self, seed: int | None = None) -> None:
        """Begin with episode 0 of `seed`, or go on with the next episodes, in all environments."""
        if seed is None:
            self.numbers += 1
        else:
            self.seed = seed
            self.numbers[:] = 0
        self.begin(np.arange(self.num_envs))

    def next(self, envs: np.ndarray) -> None:
        """Go on with the next episode in some environments."""
        self.numbers[envs] += 1
        self.begin(envs)

    def begin(self, envs: np.ndarray) -> None:
        """Begin the episodes that are due, from their start, in some environments."""
        numbers = zip(envs.tolist(), self.numbers[envs].tolist(), strict=True)
        drawn = [self._draws.draw(self.seed, env, number) for env, number in numbers]
        instances, scenarios = map(list, zip(*drawn, strict=True))
        present = self.process.instances
        is_new = any(one is not present[env] for env, one in zip(envs, instances, strict=True))
        try:
            self.process.reset(envs, instances if is_new else None, scenarios)
        except ValueError as error:
            raise InputError(f"{error} Give the largest instances that can come as `fit`.") from error
        for env, scenario in zip(envs.tolist(), scenarios, strict=True):
            self.scenarios[env] = scenario
        self._weight[envs], self.costs[envs] = 1.0, 0.0

    def observe(self, envs: np.ndarray | None = None) -> Values:
        """Return what all environments, or some, see now."""
        observation = self.process.observe()
        return self._read(observation if envs is None else rows(observation, envs))

    def step(self, actions: np.ndarray, wants_post: bool) -> Stepped:
        """Take one decision in each environment and bring in what follows."""
        process = self.process
        actions, illegal = to_process(process.decision, actions, process.observe().legal)
        cost = process.decide(actions)
        post = self._read(process.observe()) if wants_post else None
        revealed = process.reveal()
        cost = cost + revealed.cost
        self.costs += self._weight * cost
        self._weight *= revealed.discount
        return Stepped(
            cost,
            revealed.discount,
            revealed.terminated.copy(),
            revealed.truncated.copy(),
            illegal,
            self.costs.copy(),
            post,
        )


def _is_named(instance: Any) -> bool:
    """Whether an instance, or any of a sequence, is given by name or path."""
    if isinstance(instance, Sequence) and not isinstance(instance, str):
        return any(_is_named(one) for one in instance)
    return isinstance(instance, str | Path)
