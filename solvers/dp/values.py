"""Values of small decision processes, each with proven error.

References
----------
M. L. Puterman (1994). Markov Decision Processes. Wiley. doi 10.1002/9780470316887. Section 4.5 (backward induction),
6.6 (bounds from one sweep), 6.5 (modified policy iteration), 8.5 (relative value iteration).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orl.tabular import Tabular

EVALUATIONS = 20  # sweeps under one policy between two improvements
CHUNK = 4_000_000  # entries of a sweep held at a time


class Values(NamedTuple):
    """Proven bounds on the optimal values at the start, and a policy.

    Parameters
    ----------
    low, high : ndarray (num_states,)
        Of the cost to the end, or for ever; (1,) of the cost a period if that is the objective.
    actions : int32 ndarray (periods, num_states), or (1, num_states) if nothing depends on the period
    sweeps : int
    """

    low: np.ndarray
    high: np.ndarray
    actions: np.ndarray
    sweeps: int


def backward_induction(tabular: Tabular, report: Callable[[int], None]) -> Values:
    """Return the values of a process that ends; exact but for rounding.

    `report(periods_done)` may raise to stop.
    """
    assert tabular.periods is not None
    values = np.zeros(tabular.num_states)
    actions = np.empty((tabular.periods, tabular.num_states), dtype=np.int32)
    for period in reversed(range(tabular.periods)):
        values, actions[period] = improve(tabular, post_values(tabular, values, period))
        report(tabular.periods - period)
    return Values(values, values, actions, tabular.periods)


def discounted(tabular: Tabular, tolerance: float, report: Callable[[int], None]) -> Values:
    """Return the values of a process that goes on for ever, within `tolerance` of each other, by modified policy
    iteration. Both hold from whatever sweep it ends with: they come from the least and the greatest change of it.
    """
    gamma, sweeps = tabular.discount, 0
    values = np.zeros(tabular.num_states)
    while True:
        better, actions = improve(tabular, post_values(tabular, values, 0))
        sweeps += 1
        change = better - values
        weight = gamma / (1 - gamma)
        low, high = better + weight * change.min(), better + weight * change.max()
        report(sweeps)
        rounding = 1e-13 * max(1.0, float(np.abs(better).max()))
        if (high - low).max() <= max(tolerance, rounding):
            return Values(low, high, actions[None], sweeps)
        # Centring takes out the slow part of the error, which is the same in all states.
        values = _evaluate(tabular, (low + high) / 2, actions, EVALUATIONS)


def average(tabular: Tabular, tolerance: float, report: Callable[[int], None]) -> Values:
    """Return the least cost a period in the long run, (1,), by relative value iteration.

    The least and the greatest change of a sweep bound it if it does not depend on where one starts; half of every step
    stays where it is, which makes the chain aperiodic and halves the changes.
    """
    tabular = replace(tabular, discount=1.0)
    values, sweeps = np.zeros(tabular.num_states), 0
    while True:
        better, actions = improve(tabular, post_values(tabular, values, 0))
        change = better - values
        sweeps += 1
        report(sweeps)
        if change.max() - change.min() <= tolerance:
            return Values(np.array([change.min()]), np.array([change.max()]), actions[None], sweeps)
        values = values + change / 2
        values -= values[0]


def improve(tabular: Tabular, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best values of states, and the actions that reach them, of equal ones the first.

    `after` (num_posts,) holds the values of post-decision states.
    """
    states, options = tabular.successor.shape
    best, actions = np.empty(states), np.empty(states, dtype=np.int32)
    step = max(1, CHUNK // options)
    for first in range(0, states, step):
        rows = slice(first, first + step)
        successor = tabular.successor[rows]
        total = np.where(successor >= 0, tabular.cost[rows] + after[successor], np.inf)
        actions[rows] = total.argmin(axis=1)
        best[rows] = np.take_along_axis(total, actions[rows, None], axis=1)[:, 0]
    return best, actions


def _evaluate(tabular: Tabular, values: np.ndarray, actions: np.ndarray, sweeps: int) -> np.ndarray:
    """Return the values after some sweeps under a policy."""
    states = np.arange(tabular.num_states)
    successor, cost = tabular.successor[states, actions], tabular.cost[states, actions]
    for _ in range(sweeps):
        values = cost + post_values(tabular, values, 0)[successor]
    return values


def post_values(tabular: Tabular, values: np.ndarray, period: int) -> np.ndarray:
    """Return the values of post-decision states, (num_posts,), from those of the next states, (num_states,)."""
    return tabular.post_cost(period) + tabular.discount * tabular.expect(values, period)
