"""Prices for memory that make the bound of `kernels_prices` large, by subgradients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import kernels_prices as kernels

STEPS, FEWEST, PATIENCE = 600, 50, 20
STEPS_AGAIN = 150  # from prices that are good elsewhere
WORK = 300_000_000  # values that are filled in all, about a second; who could not make the fewest steps makes none


class Prices(NamedTuple):
    """What requests cost at prices of memory.

    Parameters
    ----------
    values : ndarray (requests, rounds + 1, tokens + 1)
        Of a request at a round, with so many tokens.
    worth : ndarray (rounds + 1,)
        Of all memory from a round on.
    prices : ndarray (rounds,)
    """

    values: np.ndarray
    worth: np.ndarray
    prices: np.ndarray


def find_prices(given: np.ndarray, memory: int, preempts: bool) -> Prices:
    """Return prices for instances given as in `kernels_search`; where those would be too many, prices of nothing.

    There are `STEPS` of them, fewer where there is much to fill.
    """
    count, tokens = given.shape[1], int(given[2].max())
    rounds = int(given[0].max() + given[2].sum())  # then all are served, if never nobody is who could be
    steps = min(STEPS, WORK // (count * (rounds + 1) * (tokens + 1)))
    if steps < FEWEST:
        return Prices(np.zeros((count, 1, tokens + 1)), np.zeros(1), np.zeros(0))
    return improved(given, memory, preempts, np.zeros(rounds), np.zeros(count, dtype=np.int16), 0, steps)


def improved(
    given: np.ndarray, memory: int, preempts: bool, prices: np.ndarray, state: np.ndarray, now: int,
    steps: int = STEPS_AGAIN,
) -> Prices:  # fmt: skip
    """Return prices that make the bound of a state large, beginning with others.

    A step goes along what is taken beyond the memory, towards a bound a little better than the best one so far (Held,
    Wolfe and Crowder 1974, doi 10.1007/BF01580223); after `PATIENCE` steps without a better one it is shorter.
    """
    count, rounds, tokens = given.shape[1], len(prices), int(given[2].max())
    values, taken = np.zeros((count, rounds + 1, tokens + 1)), np.zeros(rounds)
    best, best_prices, size, since = -np.inf, prices, 1.0, 0
    start = (np.arange(count), now, state)
    for _ in range(steps):
        kernels.fill_values(given, preempts, prices, values, now)
        bound = float(values[start].sum() - memory * prices[now:].sum())
        if bound > best:
            best, best_prices, since = bound, prices, 0
        else:
            since += 1
            if since == PATIENCE:
                prices, size, since = best_prices, 0.7 * size, 0
                kernels.fill_values(given, preempts, prices, values, now)
        kernels.memory_taken(given, preempts, prices, values, state, now, taken)
        beyond = taken - memory
        beyond[:now] = 0
        beyond[(prices <= 0) & (beyond < 0)] = 0
        norm = float(beyond @ beyond)
        if norm == 0:
            break
        prices = np.maximum(prices + size * (0.05 * best + max(best - bound, 0.0)) / norm * beyond, 0)
    kernels.fill_values(given, preempts, best_prices, values, 0)
    return Prices(values, np.append(memory * best_prices[::-1].cumsum()[::-1], 0.0), best_prices)
