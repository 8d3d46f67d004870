"""Capacitated lot sizing with relaxed set-ups as a line of linear stages, one a period.

With s, s' the stocks before and after, d the demand, seen when the stage begins, x what is made, o overtime, and for
every unit made the 1 / M-th part of a set-up,

    minimise    sum_i (q_i / M_i) x_i + sum_i h_i s'_i + p o
    subject to  s'_i = s_i + x_i - d_i,    sum_i (a_i + b_i / M_i) x_i - o <= C,    x, o >= 0,    0 <= s' <= L.

Any stock from max(0, s - d) up can be reached, at the price of overtime.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array, hstack, vstack

from orl.errors import InputError
from orl.process import Observation
from orl.stages import Seen, Stage, Staged, StageGraph

from .instance import CapacitatedLotSizing


class Reach:
    """Stocks at the end of a period from shares of the way between the least and the most."""

    def __init__(self, instance: CapacitatedLotSizing):
        self.num_shares = instance.num_items
        self._most = instance.stock_limits.tolist()

    def __call__(self, state: Any, noise: Any, share: Any) -> list[Any]:
        """Return stocks at the end, a list, from stocks before, minus demand, and shares, (..., items) each."""
        stocks = []
        for item, most in enumerate(self._most):
            low = (state[..., item] + noise[..., item]).clip(min=0.0)
            stocks.append(low + share[..., item] * (most - low).clip(min=0.0))
        return stocks


def stages(instance: CapacitatedLotSizing) -> StageGraph:
    """Return the graph of an instance.

    Raises
    ------
    InputError
        Unless set-ups are relaxed and overtime has a price.
    """
    if instance.settings.setups != "relaxed" or instance.settings.overtime == float("inf"):
        raise InputError(f"{instance.name}: linear stages need setups=relaxed and overtime=PRICE.")
    return StageGraph.line([_stage(instance, period) for period in range(instance.num_periods)], instance.initial_stock)


def _stage(instance: CapacitatedLotSizing, period: int) -> Stage:
    count, lots = instance.num_items, 1 / instance.largest_lots[period]
    one, nothing = csr_array(np.eye(count)), csr_array((count, 1))
    takes = instance.unit_times + instance.setup_times * lots
    balance = hstack([-one, one, -one, nothing])  # columns: stock before, stock after, made, overtime
    room = csr_array(np.concatenate([np.zeros(2 * count), takes, [-1.0]])[None])
    width = 3 * count + 1
    lower, upper = np.zeros(width), np.full(width, np.inf)
    lower[:count], upper[count : 2 * count] = -np.inf, instance.stock_limits
    outcomes = instance.outcomes[period]
    return Stage(
        np.concatenate(
            [np.zeros(count), instance.holding_costs, instance.setup_costs * lots, [instance.settings.overtime]]
        ),
        lower,
        upper,
        csr_array(vstack([balance, room])),
        np.append(np.zeros(count), -np.inf),
        np.append(np.zeros(count), instance.capacity[period]),
        np.arange(count),
        count + np.arange(count),
        np.arange(count),
        -outcomes,
        np.full(len(outcomes), 1 / len(outcomes)),
        f"{instance.name} period {period}",
    )


def staged(instance: CapacitatedLotSizing) -> Staged:
    """Return the graph, and how observations and actions are read in it."""
    count, graph = instance.num_items, stages(instance)

    def seen(observation: Observation, env: int) -> Seen | None:
        period = int(observation.arrays["period"][env])
        if period == instance.num_periods:
            return None
        stock, demand = (observation.arrays[key][env, :count].copy() for key in ("stock", "demand"))
        return Seen(period, stock, -demand)

    def action(stock: np.ndarray, observation: Observation, env: int) -> np.ndarray:
        low, high = observation.legal[env]
        return np.clip(np.pad(stock, (0, len(low) - count)), low, high)

    lots = 1 / instance.largest_lots
    dearest = (
        instance.setup_costs * lots + instance.settings.overtime * (instance.unit_times + instance.setup_times * lots)
    ).max()
    return Staged(graph, seen, action, reach=Reach(instance), most_worth=float(dearest))
