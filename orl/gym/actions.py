"""Actions as Gymnasium's clients send them, for each form of decision."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from orl.errors import IllegalAction
from orl.process import Decision


def action_space(decision: Decision) -> spaces.Space:
    """Return the space of one environment's actions."""
    if decision.kind == "choice":
        return spaces.Discrete(decision.width)
    if decision.kind == "per_machine":
        return spaces.MultiDiscrete([decision.width] * decision.machines)
    return spaces.Box(-1.0, 1.0, (decision.width,), dtype=np.float32)


def action_masks(decision: Decision, legal: np.ndarray) -> np.ndarray:
    """Return what is legal as new booleans (num_envs, choices), the machines' masks one after another."""
    if decision.kind == "targets":
        raise TypeError("targets have bounds, not masks: every action in [-1, 1] is legal.")
    return legal.reshape(len(legal), -1).copy()


def to_process(decision: Decision, actions: np.ndarray, legal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return actions as the process takes them, and which environments sent an illegal one, (num_envs,).

    An illegal choice becomes the lowest legal one; a target outside of [-1, 1] becomes the nearest inside.

    Examples
    --------
    >>> to_process(Decision("choice", width=3), np.array([2, 2]), np.array([[False, True, False], [False, True, True]]))
    (array([1, 2]), array([ True, False]))
    """
    num_envs = len(legal)
    if decision.kind == "targets":
        actions = np.asarray(actions, dtype=np.float64).reshape(num_envs, decision.width)
        inside = np.clip(np.nan_to_num(actions), -1, 1)
        low, high = legal[:, 0], legal[:, 1]
        return low + (inside + 1) / 2 * (high - low), (inside != actions).any(axis=1)
    actions = np.asarray(actions)
    if not np.issubdtype(actions.dtype, np.integer):
        raise IllegalAction(f"choices must be whole numbers, got {actions.dtype}.")
    actions = actions.reshape(legal.shape[:-1])
    in_range = (actions >= 0) & (actions < decision.width)
    taken = np.take_along_axis(legal, np.where(in_range, actions, 0)[..., None], axis=-1)[..., 0]
    is_legal = in_range & taken
    if is_legal.all():
        return actions, np.zeros(num_envs, dtype=bool)
    return np.where(is_legal, actions, legal.argmax(axis=-1)), ~is_legal.reshape(num_envs, -1).all(axis=1)
