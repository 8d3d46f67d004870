"""Bounds from information relaxation: hindsight, made to pay for what it knows.

Who knows the whole scenario does better than any policy, so the mean of the least costs in hindsight is a lower bound,
often a weak one. A penalty p_t that is 0 in the mean for every policy that does not look ahead leaves the values of
policies as they are and keeps the bound a bound (weak duality of Brown, Smith and Sun 2010). Built from values v of
the next state, with x_t the post-decision state and w_t what is revealed,

    p_t = [c(x_t, w_t) + discount v_{t+1}(s_{t+1})] - E[c(x_t, w) + discount v_{t+1}(s') | x_t]

charges what the scenario brings beyond its mean. The least cost of a scenario after penalties obeys

    W_t(s) = min_a  cost(s, a) + E[c + discount v_{t+1}](x) + discount (W_{t+1} - v_{t+1})(s_{t+1}),  W_T = 0,

so with the optimal v it is the optimal value, whatever the scenario (strong duality).

References
----------
D. B. Brown, J. E. Smith, P. Sun (2010). Information relaxations and duality in stochastic dynamic programs. Operations
Research 58(4). doi 10.1287/opre.1090.0796
"""

from __future__ import annotations

import numpy as np

from orl.scenario import Scenarios
from orl.tabular import Tabular


def hindsight(tabular: Tabular, scenario: Scenarios) -> float:
    """Return the least cost of a scenario that is known beforehand."""
    known = tabular.realised(scenario)
    values = np.zeros(known.num_states)
    for period in reversed(range(known.episode)):
        values = best(known, known.post_cost(period) + known.discount * known.expect(values, period))
    return float(known.start @ values)


def penalised(tabular: Tabular, scenario: Scenarios, values: np.ndarray) -> float:
    """Return the least cost of a scenario, penalties of `values` included.

    Parameters
    ----------
    tabular : Tabular
    scenario : Scenarios
        One row.
    values : ndarray (episode + 1, num_states)
        Approximate cost from each period on; any will do, the optimal ones close the gap.
    """
    known = tabular.realised(scenario)
    least = np.zeros(known.num_states)
    for period in reversed(range(known.episode)):
        after = values[period + 1]
        mean = tabular.post_cost(period) + known.discount * tabular.expect(after, period)
        least = best(known, mean + known.discount * known.expect(least - after, period))
    return float(known.start @ least)


def optimal_values(tabular: Tabular) -> np.ndarray:
    """Return the optimal cost from each period of an episode on, (episode + 1, num_states)."""
    values = np.zeros((tabular.episode + 1, tabular.num_states))
    for period in reversed(range(tabular.episode)):
        after = tabular.post_cost(period) + tabular.discount * tabular.expect(values[period + 1], period)
        values[period] = best(tabular, after)
    return values


def best(tabular: Tabular, after: np.ndarray) -> np.ndarray:
    """Return the value of each state from those of post-decision states, (num_posts,)."""
    value = np.where(tabular.successor >= 0, tabular.cost + after[tabular.successor], np.inf)
    return value.min(axis=1)
