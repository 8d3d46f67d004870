"""What a network reads of capacitated lot sizing. A quantity x >= 0 is shown as x / (x + scale): bounded, increasing.

Units are measured by what the item is asked for in two periods, time by the period's capacity, money by the set-ups of
all items, so that plants of all sizes look alike. The README of this family tables the columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orl.features import Features, squash
from orl.process import Observation

PERIOD_COLUMNS = 7
ITEM_COLUMNS = 9


def flat(observation: Observation) -> np.ndarray:
    """Return one vector an environment, float32 (num_envs, 7 + 9 I), within [-1, 1], for I items of padding.

    Examples
    --------
    >>> import orl
    >>> from .process import CapacitatedProcess
    >>> one = orl.load("lotsizing/X11117A", settings={"overtime": 50.0})
    >>> flat(CapacitatedProcess([one], [orl.Scenarios.deterministic()]).observe()).shape
    (1, 97)
    """
    parts = [_period(observation), _items(observation).reshape(len(observation.sizes), -1)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def graph(observation: Observation) -> Mapping[str, np.ndarray]:
    """Return one graph an environment, as `orl.features` documents it: I items and the period are the nodes.

    Edges join every item with the period, whose capacity they share, either way. A target is about its item.

    Examples
    --------
    >>> import orl
    >>> from .process import CapacitatedProcess
    >>> one = orl.load("lotsizing/X11117A", settings={"overtime": 50.0})
    >>> process = CapacitatedProcess([one], [orl.Scenarios.deterministic()])
    >>> {name: array.shape for name, array in graph(process.observe()).items()}  # doctest: +NORMALIZE_WHITESPACE
    {'nodes': (1, 11, 18), 'is_node': (1, 11), 'edges': (1, 2, 20), 'edge_features': (1, 20, 2), 'legal': (1, 2, 10),
     'choice_nodes': (1, 2, 10)}
    """
    view = observation.arrays
    num_envs, width = view["stock"].shape
    is_item = _is_item(observation)
    nodes = np.zeros((num_envs, width + 1, 2 + PERIOD_COLUMNS + ITEM_COLUMNS), dtype=np.float32)
    nodes[:, :width, 0] = nodes[:, width, 1] = 1.0
    nodes[:, :, 2 : 2 + PERIOD_COLUMNS] = _period(observation)[:, None]
    nodes[:, :width, 2 + PERIOD_COLUMNS :] = _items(observation)
    is_node = np.concatenate([is_item, np.ones((num_envs, 1), dtype=bool)], axis=1)
    number, period = np.arange(width), np.full(width, width)
    edges = np.stack([np.concatenate([number, period]), np.concatenate([period, number])])
    is_edge = np.concatenate([is_item, is_item], axis=1)
    kinds = np.repeat(np.eye(2, dtype=np.float32), width, axis=0)
    high = observation.legal[:, 1].max(axis=1)[:, None, None]
    legal = np.divide(observation.legal, high, out=np.zeros(observation.legal.shape), where=high > 0)
    return {
        "nodes": np.where(is_node[:, :, None], nodes, 0),
        "is_node": is_node,
        "edges": np.where(is_edge[:, None], edges, -1),
        "edge_features": is_edge[:, :, None] * kinds,
        "legal": legal.astype(np.float32),
        "choice_nodes": np.repeat(np.where(is_item, number, -1)[:, None], 2, axis=1),
    }


FEATURES = Features(flat=flat, graph=graph)


def _is_item(observation: Observation) -> np.ndarray:
    """Return which items are no padding, (num_envs, I)."""
    return np.arange(observation.legal.shape[2]) < observation.sizes[:, :1]


def _demand(observation: Observation) -> np.ndarray:
    """Return the demand that is still to be met, (num_envs, I): after the decision there is none."""
    return np.zeros_like(observation.arrays["demand"]) if observation.post else observation.arrays["demand"]


def _period(observation: Observation) -> np.ndarray:
    """Return (num_envs, 7): half-step, time, load, what overtime costs."""
    view = observation.arrays
    periods, capacity = observation.sizes[:, 1], view["capacity"]
    left = np.maximum(periods - view["period"], 0)
    short = np.maximum(_demand(observation) - view["stock"], 0)
    columns = [
        np.full(len(left), float(observation.post)),
        left / periods,
        squash(left, 10.0),
        squash((view["unit_time"] * short).sum(axis=1), capacity),
        squash((view["unit_time"] * view["expected"]).sum(axis=1), capacity),
        squash(view["setup_time"].sum(axis=1), capacity),
        squash(view["overtime"] * capacity, view["setup_cost"].sum(axis=1)),
    ]
    return np.stack(columns, axis=1)


def _items(observation: Observation) -> np.ndarray:
    """Return (num_envs, I, 9): stock, demand, what may be made, what a set-up and stock cost."""
    view, demand = observation.arrays, _demand(observation)
    scale = view["demand"] + view["expected"]
    capacity = view["capacity"][:, None]
    columns = [
        squash(view["stock"], scale),
        squash(view["stock"], view["stock_limit"]),
        squash(demand, scale),
        squash(view["expected"], scale),
        squash(np.maximum(demand - view["stock"], 0), scale),
        squash(view["largest"], scale),
        squash(view["unit_time"] * scale, capacity),
        squash(view["setup_time"], capacity),
        squash(view["setup_cost"], view["holding_cost"] * scale),
    ]
    return np.where(_is_item(observation)[:, :, None], np.stack(columns, axis=2), 0)
