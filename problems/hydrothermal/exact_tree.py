"""Trees of inflows: of some drawn scenarios, or of all that can come in a short instance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orl.errors import InputError
from orl.scenario import Scenarios

from .instance import HydroThermal
from .scenario import realise

MAX_NODES = 20_000  # of a full tree; a node of the Brazilian system has 140 variables


class Tree(NamedTuple):
    """What can come; who decides at a node has seen the inflows of its stage and of those before.

    Parameters
    ----------
    stage : int ndarray (N,)
    parent : int ndarray (N,)
        The node before, which has a smaller number; -1: none.
    inflow : ndarray (N, R)
        m3/s.
    weight : ndarray (N,)
        Probability times discount.
    paths : int ndarray (leaves, stages)
        The nodes from the first stage to each end; of drawn scenarios one row a scenario, the same one twice if it was
        drawn twice.
    """

    stage: np.ndarray
    parent: np.ndarray
    inflow: np.ndarray
    weight: np.ndarray
    paths: np.ndarray


def drawn_tree(instance: HydroThermal, scenarios: Scenarios) -> Tree:
    """Return the tree of scenarios that are equally likely; two share a node as long as they have seen the same."""
    inflows = np.stack([realise(instance, scenario) for scenario in scenarios])
    count, stages = inflows.shape[:2]
    paths = np.empty((count, stages), dtype=np.int64)
    nodes: dict[tuple[int, bytes], int] = {}
    for t in range(stages):
        for k in range(count):
            seen = int(paths[k, t - 1]) if t > 0 else -1, inflows[k, t].tobytes()
            paths[k, t] = nodes.setdefault(seen, len(nodes))
    _, first, times = np.unique(paths, return_index=True, return_counts=True)
    stage = first % stages
    weight = times / count * instance.settings.discount**stage
    parent = np.array([parent for parent, _ in nodes])
    return Tree(stage, parent, inflows.reshape(-1, inflows.shape[2])[first], weight, paths)


def full_tree(instance: HydroThermal) -> Tree:
    """Return the tree of all that can come, with its probabilities.

    Raises
    ------
    InputError
        If it has no end, more than `MAX_NODES` nodes, or if only one path of the user's own is played.
    """
    if instance.settings.horizon == "periodic":
        raise InputError(f"{instance.name}: a tree needs an end; horizon=periodic has none.")
    if instance.path is not None:
        raise InputError(f"{instance.name}: inflows={instance.settings.inflows} is one path, no tree.")
    drawn = [_drawn(instance, stage) for stage in range(instance.num_stages)]
    sizes = np.cumprod([float(len(probability)) for _, probability in drawn])
    if sizes.sum() > MAX_NODES:
        raise InputError(
            f"{instance.name}: the tree of all inflows has {sizes.sum():.6g} nodes, more than {MAX_NODES}; set stages "
            f"to {int((np.cumsum(sizes) <= MAX_NODES).sum())} or fewer."
        )
    discount, memory = instance.settings.discount, instance.autoregression
    parents, inflows, weights = [np.full(len(drawn[0][1]), -1)], [drawn[0][0]], [drawn[0][1]]
    paths, end = np.arange(len(weights[0]))[:, None], 0
    for stage in range(1, len(drawn)):
        values, probability = drawn[stage]
        before, number = len(weights[-1]), len(probability)
        arriving = np.tile(values, (before, 1))
        if memory is not None:
            row = instance.row(stage)
            arriving *= np.repeat(memory.base[row] + memory.slope[row] * inflows[-1], number, axis=0)
        parents.append(np.repeat(end + np.arange(before), number))
        inflows.append(arriving)
        weights.append(discount * np.outer(weights[-1], probability).ravel())
        end += before
        paths = np.hstack([np.repeat(paths, number, axis=0), end + np.arange(before * number)[:, None]])
    stages = np.repeat(np.arange(len(drawn)), sizes.astype(np.int64))
    return Tree(stages, np.concatenate(parents), np.concatenate(inflows), np.concatenate(weights), paths)


def _drawn(instance: HydroThermal, stage: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what can be drawn in a stage, (n, R), and its probabilities, none of them 0."""
    if stage == 0 and instance.first_inflow is not None:
        return instance.first_inflow[None], np.ones(1)
    row = instance.row(stage)
    probability = instance.probabilities[row]
    can_come = probability > 0
    return instance.inflows[row, can_come], probability[can_come] / probability.sum()
