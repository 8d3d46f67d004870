"""Prices that decide best need not be those that bound best: some near the latter are tried on the `select` stream.

Prices found by a search are rough from one period to the next, and they belong to the way that is expected, not to the
one that comes. So they are smoothed over periods and raised a little, as much as pays on scenarios that nothing is
judged on. The bound stays that of the best prices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d

from orl.decomposition import Decomposition
from orl.policy import Policy
from orl.scenario import Purpose
from orl.simulate import simulate
from orl.solver import Task

WINDOWS = (1, 5, 15)  # periods over which prices are averaged
FACTORS = (1.0, 1.1)
SEED = 0  # of the select stream, whatever the seed of the run
TIME_SHARE = 0.8  # of the time limit that may be gone


def best_values(
    task: Task, decomposition: Decomposition, prices: np.ndarray, make: Any, trials: int
) -> tuple[Any, float, int]:
    """Return the values that decide best, and the factor and the window of their prices.

    Parameters
    ----------
    prices : ndarray
        The first axis is that of periods.
    make : callable (values) -> Policy
    trials : int
        Scenarios of the select stream; 0: nothing is tried.
    """
    problem, control = task.problem, task.control

    def is_late() -> bool:
        return control.is_interrupted or control.gone > TIME_SHARE

    values = decomposition.values(prices)
    if not trials or is_late():
        return values, 1.0, 1
    is_random = problem.sample(task.instance, SEED, Purpose.SELECT, 1).is_random
    scenarios = problem.sample(task.instance, SEED, Purpose.SELECT, trials if is_random else 1)

    def cost(policy: Policy) -> float:
        return float(simulate(problem, task.instance, policy, scenarios, SEED).costs.mean())

    best = values, 1.0, 1
    least = cost(make(values))
    for window in WINDOWS:
        for factor in FACTORS:
            if is_late():
                return best
            if (window, factor) != (1, 1.0):
                trial = decomposition.values(factor * uniform_filter1d(prices, window, axis=0, mode="nearest"))
                if (found := cost(make(trial))) < least:
                    least, best = found, (trial, factor, window)
    return best
