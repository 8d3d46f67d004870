"""A trained rule as a policy: one pass of a small network in NumPy, and the process solves the stage's program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from orl import params
from orl.errors import InputError
from orl.files import packaged
from orl.learn import checkpoint
from orl.process import Observation
from orl.solver import Task
from orl.stages import Staged

from .forward import nothing_remembered, remember, shares
from .inputs import NUM_TIMES, Scale, bounds, num_shares, times


class RuleMemory(NamedTuple):
    """What the rule has seen, output and cell of its memory, (num_envs, width) each."""

    output: np.ndarray
    cell: np.ndarray


@dataclass(frozen=True, eq=False)
class DecisionRulePolicy:
    """Ask for the state at the end of a stage.

    Parameters
    ----------
    staged : Staged
    weights : name -> ndarray
        Of the rule, and its scale.
    is_strict : bool
        Whether it was trained to ask for what can be reached alone.
    """

    staged: Staged
    weights: Mapping[str, np.ndarray]
    is_strict: bool = True
    clairvoyant: bool = False

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> RuleMemory:
        return RuleMemory(*nothing_remembered(self.weights, len(instances)))

    def decide(self, observation: Observation, memory: RuleMemory) -> tuple[np.ndarray, RuleMemory]:
        actions = np.zeros(observation.legal[:, 0].shape)
        told = {env: self.staged.seen(observation, env) for env in range(len(actions))}
        due = {env: seen for env, seen in told.items() if seen is not None}
        if not due:
            return actions, memory
        envs, graph = list(due), self.staged.graph
        nodes = np.array([seen.node for seen in due.values()])
        state, noise = (np.stack([getattr(seen, name) for seen in due.values()]) for name in ("state", "noise"))
        scale = Scale(*(self.weights[f"scale.{name}"] for name in Scale._fields))
        when = times(nodes, len(graph.stages), self.staged.season)
        seen = np.concatenate([(noise - scale.mean) / scale.deviation, when], axis=1)
        output, cell = (array.copy() for array in memory)
        output[envs], cell[envs] = remember(self.weights, (output[envs], cell[envs]), seen)
        share = shares(self.weights, output[envs], seen, state / scale.size)
        if self.is_strict:
            assert self.staged.reach is not None
            target = np.stack(self.staged.reach(state, noise, share), axis=-1)
        else:
            low, high = np.stack([bounds(graph.stages[node]) for node in nodes], axis=1)
            target = low + share * (high - low)
        for place, env in enumerate(envs):
            actions[env] = self.staged.action(target[place], observation, env)
        return actions, RuleMemory(output, cell)


def policy_of(task: Task, method: str) -> DecisionRulePolicy:
    """Return the rule of a task's checkpoint.

    Raises
    ------
    InputError
        If there is none, or it is for another kind of system.
    """
    problem, folder, instance = task.problem, task.settings.checkpoint, task.instance
    if instance is None:
        raise InputError(f"{method} makes a policy for one instance; none is given.")
    path = Path(folder) if folder else packaged("orl.solvers.decision_rules") / "checkpoints" / method / instance.name
    if not folder and not checkpoint.is_there(path):
        raise InputError(f"no rule of {method} comes with {instance.name}; train one and name it with checkpoint=.")
    weights, about = checkpoint.load(path)
    if about.get("problem") != problem.name or about.get("targets") not in ("strict", "penalised"):
        raise InputError(f"{path}: no decision rule for {problem.name}.")
    form = params.make(RuleForm, about.get("network"), f"{path}: network")
    is_strict = about["targets"] == "strict"
    assert problem.stages is not None
    staged: Staged = problem.stages(instance)
    of_rule = tuple(np.size(weights.get(f"scale.{name}", ())) for name in ("size", "mean"))
    of_instance = len(staged.graph.initial), len(staged.graph.stages[0].noise_rows)
    if of_rule != of_instance:
        raise InputError(
            f"{path}: the rule is for {of_rule[0]} states and {of_rule[1]} noises, {instance.name} has "
            f"{of_instance[0]} and {of_instance[1]}."
        )
    try:
        weights = checkpoint.of_shapes(weights, form.deciding(*of_instance, num_shares(staged, is_strict)))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not all((weights[f"scale.{name}"] > 0).all() for name in ("deviation", "size")):
        raise InputError(f"{path}: scale.deviation and scale.size must be > 0.")
    return DecisionRulePolicy(staged, weights, is_strict)


@dataclass(frozen=True)
class RuleForm:
    """The form of a rule, as its checkpoint tells it."""

    encoder: Literal["lstm", "linear"]
    width: int

    def deciding(self, num_states: int, num_noises: int, num_shares: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the weights."""
        is_linear, width, seen = self.encoder == "linear", self.width, num_noises + NUM_TIMES
        gates, told = (1 if is_linear else 4) * width, width + seen + num_states
        layer = {} if is_linear else {"layer.0.weight": (width, told), "layer.0.bias": (width,)}
        return {
            "memory.weight_ih_l0": (gates, seen),
            "memory.weight_hh_l0": (gates, width),
            "memory.bias_ih_l0": (gates,),
            "memory.bias_hh_l0": (gates,),
            **layer,
            "last.weight": (num_shares, told if is_linear else width),
            "last.bias": (num_shares,),
            "scale.mean": (num_noises,),
            "scale.deviation": (num_noises,),
            "scale.size": (num_states,),
        }
