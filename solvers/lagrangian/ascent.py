"""Search for the prices at which a relaxation bounds best.

The bound is concave in the prices, and piecewise linear. It is climbed along supergradients, coordinates scaled by
their own recent size as Adam does, with steps that shrink geometrically. That is a heuristic: it comes near the best
prices fast, and proves nothing about how near. Any prices give a bound, and the best are kept.

References
----------
D. P. Kingma, J. Ba (2015). Adam: a method for stochastic optimization. arXiv 1412.6980
M. Held, P. Wolfe, H. P. Crowder (1974). Validation of subgradient optimization. Mathematical Programming 6.
doi 10.1007/BF01580223
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from orl.decomposition import Relaxation

FIRST_STEP, LAST_STEP = 0.3, 0.01  # shares of the price level
MEMORY, SQUARED_MEMORY = 0.8, 0.95  # of supergradients and of their squares
MAX_DOUBLINGS = 60


class Ascent(NamedTuple):
    """The best prices found, the bound there, and how many times the relaxation was solved."""

    prices: np.ndarray
    value: float
    iterations: int


def ascend(
    relaxation: Relaxation,
    iterations: int,
    spent: Callable[[], float] = lambda: 0.0,
    start: np.ndarray | None = None,
    report: Callable[[int, float], None] = lambda done, value: None,
    first_step: float = FIRST_STEP,
    threads: int = 1,
) -> Ascent:
    """Return prices, the best of `iterations` and of a search for their level.

    Parameters
    ----------
    spent : callable () -> float
        Share of the time that is gone; the search ends at 1, its steps having shrunk by then.
    start : ndarray or None
        Prices to begin with; None: 0, and their level is searched for.
    report : callable (iterations, best value)
    first_step : float
        Share of the price level.
    """
    search = _Search(relaxation, threads, spent, report)
    prices = np.zeros(relaxation.shape) if start is None else start.copy()
    excess = search.relax(prices)
    if start is None and not _is_optimal(prices, excess):
        prices = np.full(relaxation.shape, search.level(iterations))
        excess = search.relax(prices)
    level = float(prices.mean()) or 1.0
    mean, square = np.zeros(prices.shape), np.zeros(prices.shape)
    for step in range(1, iterations + 1):
        gone = max(step / iterations, spent())
        if gone > 1 or _is_optimal(prices, excess):
            break
        downhill = (prices <= 0) & (excess < 0)  # where a price cannot fall any more
        gradient = np.where(downhill, 0.0, excess)
        mean = MEMORY * mean + (1 - MEMORY) * gradient
        square = SQUARED_MEMORY * square + (1 - SQUARED_MEMORY) * gradient**2
        size = level * first_step * (LAST_STEP / FIRST_STEP) ** gone
        direction = (mean / (1 - MEMORY**step)) / (np.sqrt(square / (1 - SQUARED_MEMORY**step)) + 1e-9)
        prices = np.maximum(prices + size * direction, 0.0)
        excess = search.relax(prices)
    return search.best


class _Search:
    """Solves the relaxation, and keeps the best prices."""

    def __init__(
        self, relaxation: Relaxation, threads: int, spent: Callable[[], float], report: Callable[[int, float], None]
    ):
        self._relaxation, self._threads, self._spent, self._report = relaxation, threads, spent, report
        self.best = Ascent(np.zeros(relaxation.shape), -np.inf, 0)

    def relax(self, prices: np.ndarray) -> np.ndarray:
        value, excess = self._relaxation.relax(prices, self._threads)
        done = self.best.iterations + 1
        self.best = Ascent(prices, value, done) if value > self.best.value else self.best._replace(iterations=done)
        self._report(done, self.best.value)
        return excess

    def level(self, iterations: int) -> float:
        """Return the best of equal prices, up to a factor of 2."""
        at_zero = self.best.value
        price = abs(at_zero) / max(self.best.prices.size, 1) or 1.0
        self.relax(np.full(self._relaxation.shape, price))
        factor = 2.0 if self.best.value > at_zero else 0.5
        for _ in range(min(MAX_DOUBLINGS, iterations)):
            if self._spent() > 0.3:
                break
            before, price = self.best.value, price * factor
            self.relax(np.full(self._relaxation.shape, price))
            if before > at_zero and self.best.value <= before:
                break
        return float(self.best.prices.max()) or price


def _is_optimal(prices: np.ndarray, excess: np.ndarray) -> bool:
    """Whether nothing exceeds what there is, and what has a price is used up."""
    return bool((excess <= 1e-12).all() and (prices * np.abs(excess) <= 1e-12).all())
