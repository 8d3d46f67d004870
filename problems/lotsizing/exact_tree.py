"""The tree of some scenarios: which of them cannot be told apart, and until when."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orl.scenario import Scenarios

from .instance import LotSizing
from .scenario import realise

Node = tuple[int, int]  # scenario, period


class Tree(NamedTuple):
    """What scenarios bring, each as likely as another.

    Parameters
    ----------
    demand : int ndarray (num_scenarios, periods_left, num_items)
    weight : ndarray (num_scenarios, periods_left, num_items)
        Cost factor times discount, divided by the number of scenarios.
    setup : int ndarray (num_scenarios, num_machines), stock : int ndarray (num_scenarios, num_items)
        At the start.
    decided : int ndarray (num_scenarios, periods_left)
        The first scenario that looks the same when a period is decided: its decisions are this one's too.
    seen : int ndarray (num_scenarios, periods_left)
        The first scenario that looks the same when a period's demand is known: its stock is this one's too.
    """

    demand: np.ndarray
    weight: np.ndarray
    setup: np.ndarray
    stock: np.ndarray
    decided: np.ndarray
    seen: np.ndarray

    @property
    def decisions(self) -> list[Node]:
        """Scenario and period of every node at which something is decided."""
        return _nodes(self.decided)

    @property
    def outcomes(self) -> list[Node]:
        """Scenario and period of every node at which demand has become known."""
        return _nodes(self.seen)

    def weight_decided(self, k: int, t: int) -> np.ndarray:
        """Return the weight of what is paid at a decision, (num_items,)."""
        return self.weight[self.decided[:, t] == k, t].sum(axis=0)

    def weight_seen(self, k: int, t: int) -> np.ndarray:
        """Return the weight of what is paid when demand is known, (num_items,)."""
        return self.weight[self.seen[:, t] == k, t].sum(axis=0)


def tree_of(instance: LotSizing, scenarios: Scenarios) -> Tree:
    """Return the tree of scenarios.

    Who decides a period knows the start, the demand of the periods before, and cost factors up to this period's.
    """
    futures = [realise(instance, scenario) for scenario in scenarios]
    count, periods = len(futures), instance.periods_left
    demand = np.stack([future.demand for future in futures])
    factors = np.ones(demand.shape)
    for k, future in enumerate(futures):
        if future.cost_factors is not None:
            factors[k] = future.cost_factors
    setup, stock = np.stack([future.setup for future in futures]), np.stack([future.stock for future in futures])
    decided, seen = np.zeros((2, count, periods), dtype=np.int64)
    before = _first_alike(np.concatenate([setup, stock], axis=1))
    for t in range(periods):
        decided[:, t] = _first_alike(before[:, None], factors[:, t])
        before = seen[:, t] = _first_alike(decided[:, t, None], demand[:, t])
    discounts = instance.settings.discount ** np.arange(periods)
    return Tree(demand, factors * discounts[:, None] / count, setup, stock, decided, seen)


def _nodes(first: np.ndarray) -> list[Node]:
    return [(k, t) for t in range(first.shape[1]) for k in np.unique(first[:, t]).tolist()]


def _first_alike(*columns: np.ndarray) -> np.ndarray:
    """Return, for each row, the number of the first row like it."""
    first: dict[bytes, int] = {}
    rows = np.concatenate([column.astype(np.float64) for column in columns], axis=1)
    return np.array([first.setdefault(row.tobytes(), number) for number, row in enumerate(rows)])
