"""Prices at which the machine alone and the items alone bound well what they cost together, by subgradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .kernels_prices import add_excess, total, value_items, value_machine

if TYPE_CHECKING:
    from .units import Given

ITERATIONS = 2000  # of a round
ROUNDS, ENOUGH = 8, 2e-4  # the last round is that which gains no more than this share
MOST_WORK = 7e9  # of all rounds, in values of states: about 15 s
FIRST_STEP, LATER_STEP, LAST_STEP = 0.5, 0.1, 0.0003  # shares of the mean cost of a set-up
MEMORY, SQUARED_MEMORY = 0.9, 0.99  # of supergradients and of their squares


class Priced(NamedTuple):
    """What the machine and the items cost from every state on, at some prices.

    Parameters
    ----------
    bound : float
        From the start.
    machine : ndarray (periods + 1, items + 1)
    values : ndarray (periods + 1, places, 2)
    prices : ndarray (3, periods, items)
    """

    bound: float
    machine: np.ndarray
    values: np.ndarray
    prices: np.ndarray


def search(
    given: Given, start: np.ndarray, iterations: int = ITERATIONS, rounds: int = ROUNDS,
    should_stop: Callable[[], bool] = lambda: False,
) -> Priced:  # fmt: skip
    """Return the best prices found, by steps along supergradients, scaled by their recent size, that shrink; and again.

    An infinite bound means that some item's demand cannot be met. Whoever stops has the best prices so far.

    References
    ----------
    D. P. Kingma, J. Ba (2015). Adam: a method for stochastic optimization. arXiv 1412.6980
    """
    periods, items = given.weight.shape
    machine = np.zeros((periods + 1, items + 1))
    values = np.zeros((periods + 1, int(given.first[-1]), 2))
    prices, excess, mean, square = np.zeros((4, 3, periods, items))
    best, best_prices = -np.inf, prices.copy()
    costs = given.changeover[:, 1:][given.changeover[:, 1:] > 0]
    level = float(costs.mean()) if len(costs) else 1.0
    work = periods * (items**2 + 6 * int(given.first[-1]))  # of an iteration
    left = max(int(MOST_WORK / work), min(iterations, 200))
    for once in range(rounds):
        before, iterations = best, min(iterations, left)
        left -= iterations
        prices[:], mean[:], square[:] = best_prices, 0.0, 0.0
        step = FIRST_STEP if once == 0 else LATER_STEP
        for number in range(1, iterations + 1):
            value_machine(given, prices, machine)
            value_items(given, prices, values)
            bound = total(given, machine, values, start)
            if bound > best:
                best = bound
                best_prices[:] = prices
            excess[:] = 0.0
            if bound < np.inf:
                add_excess(given, prices, machine, values, start, excess)
            if not excess.any() or should_stop():
                break
            mean += (1 - MEMORY) * (excess - mean)
            square += (1 - SQUARED_MEMORY) * (excess**2 - square)
            size = level * step * (LAST_STEP / step) ** (number / iterations)
            prices += size * (mean / (1 - MEMORY**number)) / (np.sqrt(square / (1 - SQUARED_MEMORY**number)) + 1e-9)
        if not excess.any() or should_stop() or left == 0 or best - before <= ENOUGH * abs(best):
            break
    value_machine(given, best_prices, machine)
    value_items(given, best_prices, values)
    return Priced(float(total(given, machine, values, start)), machine, values, best_prices)
