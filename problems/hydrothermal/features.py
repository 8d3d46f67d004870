"""What a network reads of hydrothermal dispatch. A quantity x >= 0 is shown as x / (x + scale): bounded, increasing.

Volumes count from the lowest that is legal. Water is measured by what comes and what can be turbined, power by the
load, so that systems of all sizes look alike. The README of this family tables the columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orl.features import Features, squash
from orl.process import Observation

SYSTEM_COLUMNS = 11
RESERVOIR_COLUMNS = 13


def flat(observation: Observation) -> np.ndarray:
    """Return one vector an environment, float32 (num_envs, 11 + 13 R), within [-1, 1], for R reservoirs of padding.

    Examples
    --------
    >>> import orl
    >>> from .process import HydroThermalProcess
    >>> process = HydroThermalProcess([orl.load("hydrothermal/case3deterministic")], [orl.Scenarios.deterministic()])
    >>> flat(process.observe()).shape
    (1, 24)
    """
    parts = [_system(observation), _reservoirs(observation).reshape(len(observation.sizes), -1)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def graph(observation: Observation) -> Mapping[str, np.ndarray]:
    """Return one graph an environment, as `orl.features` documents it: R reservoirs and the system are the nodes.

    An edge joins two reservoirs, either way, if water flows from one to the other; edges join every reservoir with the
    system, either way. Edge features: turbined, spilled water flows along the edge; turbined, spilled water flows
    against it; the edge goes to, comes from the system. A target is about its reservoir.

    Examples
    --------
    >>> import orl
    >>> from .process import HydroThermalProcess
    >>> process = HydroThermalProcess([orl.load("hydrothermal/case3deterministic")], [orl.Scenarios.deterministic()])
    >>> {name: array.shape for name, array in graph(process.observe()).items()}  # doctest: +NORMALIZE_WHITESPACE
    {'nodes': (1, 2, 26), 'is_node': (1, 2), 'edges': (1, 2, 2), 'edge_features': (1, 2, 6), 'legal': (1, 2, 1),
     'choice_nodes': (1, 2, 1)}
    """
    view = observation.arrays
    num_envs, width = view["volume"].shape
    is_reservoir = _is_reservoir(observation)
    is_node = np.concatenate([is_reservoir, np.ones((num_envs, 1), dtype=bool)], axis=1)
    nodes = np.zeros((num_envs, width + 1, 2 + SYSTEM_COLUMNS + RESERVOIR_COLUMNS), dtype=np.float32)
    nodes[:, :width, 0] = nodes[:, width, 1] = 1.0
    nodes[:, :, 2 : 2 + SYSTEM_COLUMNS] = _system(observation)[:, None]
    nodes[:, :width, 2 + SYSTEM_COLUMNS :] = _reservoirs(observation)

    # A pair of reservoirs has one edge each way, whatever flows between them, so there is room for any cascade.
    source, target = np.nonzero(~np.eye(width, dtype=bool))
    along = [view[name][:, source, target] for name in ("turn_into", "spill_into")]
    against = [view[name][:, target, source] for name in ("turn_into", "spill_into")]
    edge_features = np.zeros((num_envs, len(source) + 2 * width, 6), dtype=np.float32)
    edge_features[:, : len(source), :4] = np.stack([*along, *against], axis=2)
    edge_features[:, len(source) : -width, 4] = edge_features[:, -width:, 5] = is_reservoir
    number, system = np.arange(width), np.full(width, width)
    edges = np.stack([np.concatenate([source, number, system]), np.concatenate([target, system, number])])
    high = observation.legal[:, 1].max(axis=1)[:, None, None]
    return {
        "nodes": np.where(is_node[:, :, None], nodes, 0),
        "is_node": is_node,
        "edges": np.where(np.any(edge_features, axis=2)[:, None], edges, -1),
        "edge_features": edge_features,
        "legal": _share(observation.legal, high).astype(np.float32),
        "choice_nodes": np.repeat(np.where(is_reservoir, number, -1)[:, None], 2, axis=1),
    }


FEATURES = Features(flat=flat, graph=graph)


def _is_reservoir(observation: Observation) -> np.ndarray:
    """Return which reservoirs are no padding, (num_envs, R)."""
    return np.arange(observation.legal.shape[2]) < observation.sizes[:, :1]


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _inflow(observation: Observation) -> np.ndarray:
    """Return the inflows that are still to be decided on, (num_envs, R): after the decision they are in the volumes."""
    return np.zeros_like(observation.arrays["inflow"]) if observation.post else observation.arrays["inflow"]


def _system(observation: Observation) -> np.ndarray:
    """Return (num_envs, 11): half-step, time, season, discount, energy, plants."""
    view = observation.arrays
    stages, rows = observation.sizes[:, 1], observation.sizes[:, 2]
    left, season = np.maximum(stages - view["stage"], 0), 2 * np.pi * view["row"] / rows
    power, low, high = view["mw_downstream"], observation.legal[:, 0], observation.legal[:, 1]
    columns = [
        np.full(len(left), float(observation.post)),
        np.where(view["has_end"], left / stages, 1.0),
        np.where(view["has_end"], squash(left, 10.0), 1.0),
        np.sin(season),
        np.cos(season),
        view["discount"],
        _share(((view["volume"] - low) * power).sum(axis=1), ((high - low) * power).sum(axis=1)),
        squash((_inflow(observation) * power).sum(axis=1), (view["mean_inflow"] * power).sum(axis=1)),
        squash((view["max_turn"] * view["mw_per_flow"]).sum(axis=1), view["load"]),
        squash(view["thermal_mw"], view["load"]),
        squash(view["thermal_cost"], view["deficit_cost"]),
    ]
    return np.stack(columns, axis=1)


def _reservoirs(observation: Observation) -> np.ndarray:
    """Return (num_envs, R, 13): volume, inflow, size, plant, what becomes of the water."""
    view = observation.arrays
    low, high = observation.legal[:, 0], observation.legal[:, 1]
    volume, room, size = view["volume"] - low, high - view["volume"], high - low
    mean_hm3, turn_hm3 = (view["hm3_per_flow"][:, None] * view[name] for name in ("mean_inflow", "max_turn"))
    power = view["mw_downstream"]
    columns = [
        _share(volume, size),
        squash(volume, turn_hm3),
        squash(room, mean_hm3),
        squash(_inflow(observation), view["mean_inflow"]),
        squash(size, mean_hm3),
        _share(size * power, (size * power).sum(axis=1, keepdims=True)),
        squash(view["max_turn"], view["mean_inflow"]),
        _share(view["min_turn"], view["max_turn"]),
        squash(view["max_turn"] * view["mw_per_flow"], view["load"][:, None]),
        _share(view["mw_per_flow"], power),
        _share(power, power.max(axis=1, keepdims=True)),
        view["turn_into"].any(axis=2),
        view["spill_into"].any(axis=2),
    ]
    return np.where(_is_reservoir(observation)[:, :, None], np.stack(columns, axis=2), 0)
