"""When training may end before its iterations are done: the bound has stalled, or simulated costs do not contradict it.

The second rule is weak. It cannot tell a good policy from a wide interval: few simulations, or costs that vary much,
make it stop early, and the more simulations the later it stops, whatever the policy is worth. It is asked again and
again, so it stops by chance, too. That it has stopped says little of how far the policy is from the optimum.

References
----------
A. Shapiro (2011). Analysis of stochastic dual dynamic programming method. European Journal of Operational Research
209(1). doi 10.1016/j.ejor.2010.08.007
O. Dowson, L. Kapelevich (2021). SDDP.jl: a Julia package for stochastic dual dynamic programming. INFORMS Journal on
Computing 33(1). doi 10.1287/ijoc.2020.0987 (the documentation of its rule `Statistical` warns likewise)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from orl.result import Interval, mean_interval

from .train import Iteration, Sddp

SLACK = 1e-6  # share by which the bound may miss the interval, which has no width where nothing is random


def has_stalled(log: Sequence[Iteration], iterations: int, tolerance: float) -> bool:
    """Whether the bound has risen by less than `tolerance` of itself over so many iterations; 0 iterations: never."""
    if not iterations or not log:
        return False
    before = [line for line in log if line.number <= log[-1].number - iterations]
    return bool(before) and log[-1].bound - before[-1].bound < tolerance * max(1.0, abs(log[-1].bound))


class IntervalRule:
    """Stop when the bound lies within the 95 % interval of the mean cost of simulated paths.

    In a graph without an end a path ends by chance with the discount, as a forward pass does: the mean of its costs,
    undiscounted, is that of discounted costs for ever, but they vary by the lengths of the paths as well, so the
    interval is wider still.

    Parameters
    ----------
    sddp : Sddp
        With the expectation as its measure: what is simulated is a mean.
    rng : numpy Generator
        Of paths that are not those of training.
    every : int >= 0
        Iterations from one simulation to the next; 0: never.
    count : int >= 2
        Paths.

    Attributes
    ----------
    interval : Interval or None
        Of the last simulation that came to its end.
    """

    def __init__(self, sddp: Sddp, rng: np.random.Generator, every: int, count: int):
        self.sddp, self.every, self.count = sddp, every, count
        self.interval: Interval | None = None
        self._rng, self._done = rng, 0

    def is_met(self, log: Sequence[Iteration], is_late: Callable[[], bool] = lambda: False) -> bool:
        """Whether training may end; simulates when it is time to, unless `is_late` says in between to let it be."""
        if not self.every or not log or log[-1].number // self.every == self._done:
            return False
        self._done = log[-1].number // self.every
        costs = []
        for _ in range(self.count):
            if is_late():
                return False
            costs.append(self.sddp.cost(self.sddp.forward(self._rng)))
        self.interval = mean_interval(costs)
        bound, slack = log[-1].bound, SLACK * max(1.0, abs(log[-1].bound))
        return self.interval.low - slack <= bound <= self.interval.high + slack


def recent_mean(log: Sequence[Iteration], passes: int = 50) -> tuple[float, int]:
    """Return the mean cost of the last forward passes, and how many: while the policy changes, a rough estimate.

    >>> recent_mean([Iteration(1, 0.0, [4.0], 0.1), Iteration(3, 0.0, [2.0, 3.0], 0.2)])
    (3.0, 3)
    >>> recent_mean([Iteration(1, 0.0, [4.0], 0.1), Iteration(3, 0.0, [2.0, 3.0], 0.2)], 2)
    (2.5, 2)
    """
    costs: list[float] = []
    for line in reversed(log):
        costs += reversed(line.costs)
        if len(costs) >= passes:
            break
    return (math.fsum(costs[:passes]) / len(costs[:passes]), len(costs[:passes])) if costs else (math.nan, 0)
