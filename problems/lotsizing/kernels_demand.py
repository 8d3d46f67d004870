"""From uniform random numbers to demand."""

from __future__ import annotations

import numpy as np

from orl.jit import kernel


@kernel
def demand_of_independent(uniforms, cumulative, demand):
    """Fill `demand` (periods, items): the least d whose cumulative probability exceeds the uniform number."""
    last = cumulative.shape[1] - 1
    for period in range(demand.shape[0]):
        for item in range(demand.shape[1]):
            u = uniforms[period, item]
            d = 0
            while d < last and u >= cumulative[item, d]:
                d += 1
            demand[period, item] = d


@kernel
def demand_of_poisson(uniforms, base, first, autocorrelation, last_demand, has_last, demand):
    """Fill `demand` (periods, items) of `SeasonalDemand`; `base` (cycle, items) holds the means of a season."""
    cycle = base.shape[0]
    for item in range(demand.shape[1]):
        surprise = 0.0
        if has_last:
            surprise = last_demand[item] - base[(first - 1) % cycle, item]
        for period in range(demand.shape[0]):
            mean = base[(first + period) % cycle, item]
            d = invert_poisson(uniforms[period, item], max(0.0, mean + autocorrelation * surprise))
            demand[period, item] = d
            surprise = d - mean


@kernel
def invert_poisson(u, mean):
    """Return the least d whose cumulative Poisson probability exceeds u."""
    probability = np.exp(-mean)
    cumulative = probability
    d = 0
    while u >= cumulative and probability > 1e-300:
        d += 1
        probability *= mean / d
        if d > mean and probability < 1e-18:  # what is left is rounding
            break
        cumulative += probability
    return d
