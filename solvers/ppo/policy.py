"""A checkpoint as a policy, and as the best of several samples. NumPy alone."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orl import params
from orl.errors import InputError
from orl.files import packaged
from orl.learn import checkpoint, forward
from orl.learn.forms import NetworkSettings, deciding
from orl.learn.readers import Encoder, Reader, make_reader
from orl.problem import Problem
from orl.process import Observation
from orl.result import Status
from orl.simulate import run_episodes
from orl.solver import Outcome, Task

BATCH = 32  # samples that are made side by side


class Memory(NamedTuple):
    """What a policy carries through an episode: its draws, and what the network knows since the beginning."""

    rng: np.random.Generator
    embedded: np.ndarray | None = None
    has_begun: bool = False


@dataclass(frozen=True, eq=False)
class LearnedPolicy:
    """Takes the likeliest decision, or draws one by the probabilities.

    Parameters
    ----------
    problem : Problem
    encoder : str
        What the network reads, see `orl.learn.readers`.
    weights : name -> ndarray
    temperature : float
        0: the likeliest.
    columns : int
        Of a candidate's features so many are read, the first ones; 0: all.
    """

    problem: Problem
    encoder: Encoder
    weights: Mapping[str, np.ndarray]
    temperature: float = 0.0
    columns: int = 0
    clairvoyant = False

    @cached_property
    def reader(self) -> Reader:
        return make_reader(self.problem, self.encoder, self.columns)

    def __reduce__(self) -> tuple[Any, ...]:
        return LearnedPolicy, (self.problem, self.encoder, self.weights, self.temperature, self.columns)

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> Memory:
        return Memory(rng)

    def decide(self, observation: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        legal, memory = np.asarray(observation.legal), self._begun(observation, memory)
        if legal.dtype != bool:
            mean = self.output(observation, np.arange(len(legal)), memory)[:, 0]
            low, high = legal[:, 0], legal[:, 1]
            return low + (np.clip(mean, -1, 1) + 1) / 2 * (high - low), memory
        actions = legal.argmax(axis=-1)
        free = np.flatnonzero((legal.sum(axis=-1) > 1).reshape(len(legal), -1).any(axis=1))
        if len(free):
            scores = self.output(observation, free, memory)
            if self.temperature > 0:
                scores = scores / self.temperature + memory.rng.gumbel(size=scores.shape)
            actions[free] = scores.argmax(axis=-1)
        return actions, memory

    def scores(self, observation: Observation, memory: Memory) -> np.ndarray:
        """Return the scores of all choices, minus infinity where illegal, in the shape of the mask."""
        return self.output(observation, np.arange(len(observation.legal)), self._begun(observation, memory))

    def choices(self, observation: Observation) -> np.ndarray:
        """Return which of them it chooses among, in the shape of the mask; none if it decides on targets."""
        legal = np.asarray(observation.legal)
        return legal if legal.dtype == bool else np.zeros(legal.shape, dtype=bool)

    def _begun(self, observation: Observation, memory: Memory) -> Memory:
        if memory.has_begun:
            return memory
        return Memory(memory.rng, forward.embed(self.encoder, self.weights, self.reader.begin(observation)), True)

    def output(self, observation: Observation, envs: np.ndarray, memory: Memory) -> np.ndarray:
        """Return what the network says in some environments: scores of choices, minus infinity where illegal."""
        seen, legal = self.reader.read(observation, envs), np.asarray(observation.legal)[envs]
        embedded = None if memory.embedded is None else memory.embedded[envs]
        return forward.output(self.encoder, self.weights, seen, legal, embedded)


def policy_of(task: Task, method: str = "ppo") -> LearnedPolicy:
    """Return the greedy policy of a task's checkpoint."""
    return load(task.problem, task.settings.checkpoint, task.instance, method)[0]


def load(problem: Problem, folder: str, instance: Any, method: str = "ppo") -> tuple[LearnedPolicy, dict[str, Any]]:
    """Return a checkpoint's greedy policy, and what else it tells; '' is the one that comes for such an instance."""
    kind = problem.kind(instance) if problem.kind is not None else ""
    path = Path(folder) if folder else packaged("orl.solvers.ppo") / "checkpoints" / method / problem.name / kind
    if not folder and not checkpoint.is_there(path):
        called = f"{problem.name} ({kind})" if kind else problem.name
        raise InputError(f"no policy of {method} comes with {called} yet; train one and name it with checkpoint=.")
    weights, about = checkpoint.load(path)
    if about.get("problem") != problem.name:
        raise InputError(f"{path}: a policy for {about.get('problem')}, not for {problem.name}.")
    form = params.make(NetworkSettings, about.get("network"), f"{path}: network")
    if not isinstance(about.get("instance"), dict):
        raise InputError(f"{path}: expected settings of instances, got {about.get('instance')!r}.")
    try:
        weights = checkpoint.of_shapes(weights, deciding(form))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    columns = 0 if form.encoder in ("plain", "graph") else form.inputs
    return LearnedPolicy(problem, form.encoder, weights, columns=columns), about


def sample(task: Task, method: str) -> Outcome:
    """Make one greedy solution, then drawn ones, and keep the best; the first is made whatever the time limit.

    Where the family can turn time round, every other batch is made from the end to the beginning.
    """
    problem, settings, control = task.problem, task.settings, task.control
    greedy, about = load(problem, settings.checkpoint, task.instance, method)
    chosen = {key: value for key, value in about.get("instance", {}).items() if key in problem.choice_settings}
    instance = _as_trained(task.instance, chosen)
    mirror = problem.mirrored(instance) if problem.mirrored is not None else None
    sides = [(instance, None), mirror] if mirror else [(instance, None)]  # and what turns a solution back
    rng = np.random.default_rng([task.seed, 0])
    best, solution, made = np.inf, None, 0
    drawing = dataclasses.replace(greedy, temperature=settings.temperature)
    with control.progress(settings.samples, "samples") as bar:
        for turn in itertools.count():
            if made >= settings.samples or (made and control.should_stop):
                break
            is_greedy = turn < len(sides)
            side, back = sides[turn % len(sides)]
            policy, count = (greedy, 1) if is_greedy else (drawing, min(BATCH, settings.samples - made))
            process = problem.process([side] * count, [task.scenarios[0]] * count)
            costs, is_over = run_episodes(process, policy, rng, control if made else None)
            costs[~is_over] = np.inf  # the time was over before
            if costs.min() < best:
                best, solution = float(costs.min()), process.solution(int(costs.argmin()))
                solution = back(solution) if back else solution
                control.report(value=best)
            made += int(is_over.sum())
            bar.update(int(is_over.sum()))
    status = Status.INTERRUPTED if control.is_interrupted else Status.FEASIBLE
    return Outcome(status, [solution], value=best, metrics={"samples": made})


def _as_trained(instance: Any, settings: Mapping[str, Any]) -> Any:
    """Return the instance with choices as the policy was trained to make, where it can have them."""
    try:
        return dataclasses.replace(instance, settings=dataclasses.replace(instance.settings, **settings))
    except (ValueError, InputError):  # active dispatch, for instance, is not for shops without buffers
        return instance
