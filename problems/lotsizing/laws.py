"""Demand as lists of what is possible and how likely it is: what exact methods take means over."""

from __future__ import annotations

import math

import numpy as np

from .demand import Demand, IndependentDemand, PathDemand

Laws = list[tuple[np.ndarray, np.ndarray]]  # of each item: demand, ascending, and its probability


def laws_of(demand: Demand, period: int) -> Laws:
    """Return the law of each item's demand in a period, autocorrelation not counted.

    Poisson demand is cut off where what is beyond has a probability below 1e-18.
    """
    if isinstance(demand, PathDemand):
        return [(np.array([d]), np.ones(1)) for d in demand.path[period].tolist()]
    if isinstance(demand, IndependentDemand):
        return [(np.flatnonzero(row), row[row > 0]) for row in demand.probabilities]
    from scipy.stats import poisson

    laws = []
    for mean in (demand.means * demand.season[period % len(demand.season)]).tolist():
        levels = np.arange(int(mean + 20 * math.sqrt(mean)) + 40)  # `isf` is nan at 1e-18 in some versions of SciPy
        last = int((poisson.sf(levels, mean) <= 1e-18).argmax())
        probabilities = poisson.pmf(np.arange(last + 1), mean)
        laws.append((np.arange(last + 1), probabilities / probabilities.sum()))
    return laws
