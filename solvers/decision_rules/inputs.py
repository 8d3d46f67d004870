"""What a rule is shown of noises, states and time, in numbers about 1."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orl.stages import Stage, Staged, StageGraph

NUM_TIMES = 4


class Scale(NamedTuple):
    """What numbers are divided by: mean and deviation of noises, (k,), and the size of states, (S,)."""

    mean: np.ndarray
    deviation: np.ndarray
    size: np.ndarray


def scale_of(graph: StageGraph) -> Scale:
    """Return the scale of a graph, from the noises of all its stages and the bounds of its states."""
    noises = np.concatenate([stage.noises for stage in graph.stages])
    deviation = noises.std(axis=0)
    upper = np.max([bounds(stage)[1] for stage in graph.stages], axis=0)
    # A state without a bound is a memory of noises.
    size = np.where(np.isfinite(upper), upper, np.abs(graph.initial) + deviation.max())
    return Scale(noises.mean(axis=0), np.where(deviation > 0, deviation, 1.0), np.where(size > 0, size, 1.0))


def bounds(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest state that may go out, (S,) each."""
    return stage.lower[stage.outgoing], stage.upper[stage.outgoing]


def times(nodes: np.ndarray, count: int, season: int) -> np.ndarray:
    """Return (..., 4) of stages by number: share of the line that is left, the last stages, season as an angle."""
    left, angle = count - nodes, 2 * np.pi * nodes / (season or count)
    return np.stack([left / count, 1 / left, np.sin(angle), np.cos(angle)], axis=-1)


def num_shares(staged: Staged, is_strict: bool) -> int:
    """Return how many numbers a rule chooses in a stage."""
    if not is_strict:
        return len(staged.graph.initial)
    assert staged.reach is not None
    return staged.reach.num_shares
