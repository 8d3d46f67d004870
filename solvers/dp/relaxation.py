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

from .values import backward_induction, improve, post_values


def hindsight(tabular: Tabular, scenario: Scenarios) -> float:
    """Return the least cost of a scenario that is known beforehand."""
    known = tabular.realised(tabular, scenario)
    return float(known.start @ backward_induction(known, lambda _: None).low)


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
    known = tabular.realised(tabular, scenario)
    least = np.zeros(known.num_states)
    for period in reversed(range(known.episode)):
        after = values[period + 1]
        surprise = known.discount * known.expect(least - after, period)
        least, _ = improve(known, post_values(tabular, after, period) + surprise)
    return float(known.start @ least)


def optimal_values(tabular: Tabular) -> np.ndarray:
    """Return the optimal cost from each period of an episode on, (episode + 1, num_states)."""
    values = np.zeros((tabular.episode + 1, tabular.num_states))
    for period in reversed(range(tabular.episode)):
        values[period], _ = improve(tabular, post_values(tabular, values[period + 1], period))
    return values
