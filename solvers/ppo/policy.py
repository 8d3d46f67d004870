"""A checkpoint as a policy, and as the best of several samples. NumPy alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np

from orl.errors import InputError
from orl.learn import checkpoint, forward
from orl.problem import Problem
from orl.process import Observation
from orl.result import Status
from orl.simulate import run_episodes
from orl.solver import Outcome, Task

BATCH = 32  # samples that are made side by side


@dataclass(frozen=True, eq=False)
class LearnedPolicy:
    """Takes the choice with the highest score, or draws one by the scores.

    Parameters
    ----------
    weights : name -> ndarray
    read : callable (observation) -> float32 ndarray (num_envs, width, c)
    temperature : float
        0: the highest score.
    """

    weights: Mapping[str, np.ndarray]
    read: Callable[[Observation], np.ndarray]
    temperature: float = 0.0
    clairvoyant = False

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> np.random.Generator:
        return rng

    def decide(self, observation: Observation, memory: np.random.Generator) -> tuple[np.ndarray, np.random.Generator]:
        legal = np.asarray(observation.legal)
        actions = legal.argmax(axis=1)
        is_open = np.flatnonzero(legal.sum(axis=1) > 1)
        if len(is_open):
            scores = self.scores(observation, is_open)
            if self.temperature > 0:
                scores = scores / self.temperature + memory.gumbel(size=scores.shape)
            actions[is_open] = scores.argmax(axis=1)
        return actions, memory

    def scores(self, observation: Observation, envs: np.ndarray) -> np.ndarray:
        """Return the scores of choices in some environments, minus infinity where illegal."""
        rows, legal = self.read(observation)[envs], np.asarray(observation.legal)[envs]
        return forward.scores(self.weights, rows, legal)


def policy_of(task: Task) -> LearnedPolicy:
    """Return the greedy policy of a task's checkpoint."""
    weights, _ = _load(task.problem, task.settings.checkpoint)
    return _policy(task.problem, weights)


def _policy(problem: Problem, weights: Mapping[str, np.ndarray], temperature: float = 0.0) -> LearnedPolicy:
    assert problem.features is not None
    read = problem.features().candidates
    assert read is not None
    return LearnedPolicy(weights, read, temperature)


def _load(problem: Problem, folder: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    path = Path(folder) if folder else Path(str(package_files("orl.solvers.ppo"))) / "checkpoints" / problem.name
    if not folder and not path.is_dir():
        raise InputError(f"no policy comes with {problem.name} yet; train one and name it with checkpoint=.")
    weights, about = checkpoint.load(path)
    if about.get("problem") != problem.name:
        raise InputError(f"{path}: a policy for {about.get('problem')}, not for {problem.name}.")
    network = about.get("network", {})
    if network.get("encoder") != "candidates":
        raise InputError(f"{path}: expected a network that reads candidates, got {network.get('encoder')!r}.")
    return weights, about


def sample(task: Task) -> Outcome:
    """Make one greedy solution, then drawn ones, and keep the best; the first is made whatever the time limit."""
    problem, settings, control = task.problem, task.settings, task.control
    weights, about = _load(problem, settings.checkpoint)
    instance = _as_trained(task.instance, about.get("instance", {}))
    rng = np.random.default_rng([task.seed, 0])
    best, solution, made = np.inf, None, 0
    with control.progress(settings.samples, "samples") as bar:
        while made < settings.samples and not (made and control.should_stop):
            count = 1 if made == 0 else min(BATCH, settings.samples - made)
            policy = _policy(problem, weights, settings.temperature if made else 0.0)
            process = problem.process([instance] * count, [task.scenarios[0]] * count)
            costs, is_over = run_episodes(process, policy, rng, control if made else None)
            costs[~is_over] = np.inf  # the time was over before
            if costs.min() < best:
                best, solution = float(costs.min()), process.solution(int(costs.argmin()))
                control.report(value=best)
            made += int(is_over.sum())
            bar.update(int(is_over.sum()))
    status = Status.INTERRUPTED if control.is_interrupted else Status.FEASIBLE
    return Outcome(status, [solution], value=best, metrics={"samples": made})


def _as_trained(instance: Any, settings: Mapping[str, Any]) -> Any:
    """Return the instance with the settings that the policy was trained with, where it can have them."""
    try:
        return dataclasses.replace(instance, settings=dataclasses.replace(instance.settings, **settings))
    except (ValueError, InputError):  # active dispatch, for instance, is not for shops without buffers
        return instance
