"""Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438) on costs, past forced decisions."""

from __future__ import annotations

import numpy as np


def advantages(
    costs: np.ndarray,
    discounts: np.ndarray,
    values: np.ndarray,
    is_open: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    cut_values: np.ndarray,
    decay: float,
) -> np.ndarray:
    """Return the advantage of each open decision, (T, N); 0 elsewhere. Rewards are costs with the other sign.

    Between two open decisions costs and discounts add up and multiply as in one step of a semi-Markov process: what
    nobody decided neither counts as a step nor needs a value.

    Parameters
    ----------
    costs, discounts : ndarray (T, N)
        Of each decision, what it costs until the next one, and what everything later is multiplied by.
    values : ndarray (T, N)
        The critic's estimate of rewards to come, where the decision is open.
    is_open : bool ndarray (T, N)
        Where there was more than one choice.
    terminated, truncated : bool ndarray (T, N)
        Where an episode came to its end, or was cut off, after the decision.
    cut_values : ndarray (T, N)
        The critic's estimate of the state in which an episode was cut off.
    decay : float in [0, 1]
        Lambda: 0 trusts the critic from the next decision on, 1 the costs alone.

    Examples
    --------
    Two decisions of cost 1 and 2; the critic expects nothing.

    >>> one, no = np.ones((2, 1)), np.zeros((2, 1), dtype=bool)
    >>> advantages(np.array([[1.0], [2.0]]), one, 0 * one, ~no, np.array([[False], [True]]), no, 0 * one, 1.0).tolist()
    [[-3.0], [-2.0]]
    """
    steps, num_envs = costs.shape
    result = np.zeros((steps, num_envs))
    cost, discount = np.zeros(num_envs), np.ones(num_envs)  # since the decision, until the next open one
    next_value, next_advantage = np.zeros(num_envs), np.zeros(num_envs)
    for step in reversed(range(steps)):
        is_end = terminated[step] | truncated[step]
        next_value = np.where(is_end, np.where(truncated[step], cut_values[step], 0.0), next_value)
        next_advantage = np.where(is_end, 0.0, next_advantage)
        cost = costs[step] + discounts[step] * np.where(is_end, 0.0, cost)
        discount = discounts[step] * np.where(is_end, 1.0, discount)
        here = is_open[step]
        surprise = -cost + discount * next_value - values[step]
        result[step] = np.where(here, surprise + decay * discount * next_advantage, 0.0)
        next_value = np.where(here, values[step], next_value)
        next_advantage = np.where(here, result[step], next_advantage)
        cost, discount = np.where(here, 0.0, cost), np.where(here, 1.0, discount)
    return result
