"""What a network reads of lot sizing. A quantity x >= 0 is shown as x / (x + scale): bounded, increasing.

The scale of units is the item's mean demand, that of set-up costs their mean, so that plants of all sizes look alike.
The README of this family tables the columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orl.errors import InputError
from orl.features import Features, squash
from orl.process import Observation

from .kernels_codes import CYCLE, ENDLESS, FIRST_PERIOD, LAW, NUM_ITEMS, NUM_MACHINES, PERIODS, POISSON

NUM_GLOBAL = 4
ITEM_COLUMNS = 9
MACHINE_COLUMNS = 3
PAIR_COLUMNS = 5
COVER = 3  # periods of mean demand at which stock is shown as a half


def flat(observation: Observation) -> np.ndarray:
    """Return one vector an environment, float32 (num_envs, F), within [-1, 1].

    F is S C + 4 + 9 I + 3 M + 5 M C for I items, C = I + 1 choices, M machines of padding, and S = 1 (M with
    `decision=joint`); the first S C entries are the mask.

    Examples
    --------
    >>> from orl.scenario import Scenarios
    >>> from .demand import PathDemand
    >>> from .instance import LotSizing
    >>> from .process import LotSizingProcess
    >>> one = LotSizing("one", [[3, 2]], [1, 1], [9, 9], [10, 10], PathDemand([[1, 1], [2, 0]]), 2, [[5, 5]])
    >>> process = LotSizingProcess([one], [Scenarios.deterministic()])
    >>> flat(process.observe()).shape
    (1, 43)
    """
    num_envs = len(observation.sizes)
    parts = [observation.legal, _globals(observation), _items(observation), _machines(observation), _pairs(observation)]
    return np.concatenate([part.reshape(num_envs, -1) for part in parts], axis=1, dtype=np.float32)


def graph(observation: Observation) -> Mapping[str, np.ndarray]:
    """Return one graph an environment, as `orl.features` documents it: I items, M machines and M C pairs of a machine
    and what it can be told (machine by machine, idle first) are the nodes.

    Edges go from each pair to its machine and its item, and back; idle has no item. A choice is about its pair.

    Examples
    --------
    >>> from orl.scenario import Scenarios
    >>> from .demand import PathDemand
    >>> from .instance import LotSizing
    >>> from .process import LotSizingProcess
    >>> one = LotSizing("one", [[3, 2]], [1, 1], [9, 9], [10, 10], PathDemand([[1, 1], [2, 0]]), 2, [[5, 5]])
    >>> process = LotSizingProcess([one], [Scenarios.deterministic()])
    >>> {name: array.shape for name, array in graph(process.observe()).items()}  # doctest: +NORMALIZE_WHITESPACE
    {'nodes': (1, 6, 24), 'is_node': (1, 6), 'edges': (1, 2, 10), 'edge_features': (1, 10, 4), 'legal': (1, 3),
     'choice_nodes': (1, 3)}
    """
    view = observation.arrays
    num_envs, machines, choices = view["possible"].shape
    items = choices - 1
    of_items, of_machines, of_pairs = _items(observation), _machines(observation), _pairs(observation)
    of_pairs = of_pairs.reshape(num_envs, machines * choices, PAIR_COLUMNS)
    shared = np.repeat(_globals(observation)[:, None], items + machines + machines * choices, axis=1)
    first_pair = items + machines
    nodes = np.zeros((num_envs, first_pair + machines * choices, 3 + NUM_GLOBAL + 17), dtype=np.float32)
    column = 3 + NUM_GLOBAL
    nodes[:, :, 3:column] = shared
    for kind, (rows, values) in enumerate(
        (
            (slice(0, items), of_items),
            (slice(items, first_pair), of_machines),
            (slice(first_pair, None), of_pairs),
        )
    ):
        nodes[:, rows, kind] = 1.0
        nodes[:, rows, column : column + values.shape[2]] = values
        column += values.shape[2]
    is_item = np.arange(items) < view["sizes"][:, NUM_ITEMS, None]
    is_machine = np.arange(machines) < view["sizes"][:, NUM_MACHINES, None]
    is_pair = view["possible"] & is_machine[:, :, None]  # (num_envs, machines, choices)
    is_node = np.concatenate([is_item, is_machine, is_pair.reshape(num_envs, -1)], axis=1)

    pair = first_pair + np.arange(machines * choices).reshape(machines, choices)
    machine = np.broadcast_to(items + np.arange(machines)[:, None], pair.shape)
    item = np.broadcast_to(np.arange(-1, items), pair.shape)
    ends = [(pair, machine), (machine, pair), (pair[:, 1:], item[:, 1:]), (item[:, 1:], pair[:, 1:])]
    is_edge = np.concatenate(
        [is_pair[:, :, -one.shape[1] :].reshape(num_envs, -1) for one, _ in ends],
        axis=1,
    )
    sides = [np.concatenate([end[side].ravel() for end in ends]) for side in (0, 1)]
    kinds = np.repeat(np.eye(4, dtype=np.float32), [one.size for one, _ in ends], axis=0)
    return {
        "nodes": np.where(is_node[:, :, None], nodes, 0),
        "is_node": is_node,
        "edges": np.where(is_edge[:, None], np.stack(sides), -1),
        "edge_features": is_edge[:, :, None] * kinds,
        "legal": observation.legal.copy(),
        "choice_nodes": _choice_nodes(observation, pair, is_pair),
    }


def candidates(observation: Observation, envs: np.ndarray | None = None) -> np.ndarray:
    """Return a row a choice of the machine that is told next, float32 (len(envs), C, 35), within [-1, 1]; idle first.

    After a decision no machine is due: what depends on the machine is 0 then.

    Examples
    --------
    >>> from orl.scenario import Scenarios
    >>> from .demand import PathDemand
    >>> from .instance import LotSizing
    >>> from .process import LotSizingProcess
    >>> one = LotSizing("one", [[3, 0]], [1, 1], [9, 9], [10, 10], PathDemand([[1, 1], [2, 0]]), 2, [[5, 5]])
    >>> process = LotSizingProcess([one], [Scenarios.deterministic()])
    >>> candidates(process.observe())[0, :, 1]         # it can idle or make the first item
    array([1., 1., 0.], dtype=float32)
    """
    if observation.legal.ndim == 3:
        raise InputError("lotsizing: candidates are those of one machine; set decision=machine.")
    from . import kernels_candidates as kernels  # numba is slow to load
    from .process import lots_of

    view = observation.arrays
    envs = np.arange(len(observation.sizes)) if envs is None else envs
    out = np.empty((len(envs), observation.legal.shape[1], kernels.NUM_COLUMNS), dtype=np.float32)
    moving = ("period", "machine", "setup", "stock", "choice", "last_demand", "factors")
    kernels.candidates(
        *lots_of(observation), envs, *(view[name] for name in moving), observation.legal, observation.post, out
    )
    return out


FEATURES = Features(flat=flat, graph=graph, candidates=candidates)


def _choice_nodes(observation: Observation, pair: np.ndarray, is_pair: np.ndarray) -> np.ndarray:
    by_machine = np.where(is_pair, pair, -1)
    if observation.legal.ndim == 3:
        return by_machine
    machine = np.minimum(observation.arrays["machine"], len(pair) - 1)
    return by_machine[np.arange(len(by_machine)), machine]


def _mean_positive(values: np.ndarray) -> np.ndarray:
    """Return the mean of the positive entries of each environment, (num_envs,); 1 if there are none."""
    by_env = values.reshape(len(values), -1)
    count = (by_env > 0).sum(axis=1)
    return np.where(count > 0, by_env.sum(axis=1) / np.maximum(count, 1), 1.0)


def _mean_demand(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
    """Return the long-run mean demand, and that of this period given what is known, (num_envs, items) each."""
    view = observation.arrays
    cycle = view["sizes"][:, CYCLE]
    envs = np.arange(len(cycle))
    calendar = view["sizes"][:, FIRST_PERIOD] + view["period"]
    now, before = view["base"][envs, calendar % cycle], view["base"][envs, (calendar - 1) % cycle]
    surprise = np.where(view["last_demand"] >= 0, view["last_demand"] - before, 0)
    return view["base"].sum(axis=1) / cycle[:, None], np.maximum(now + view["autocorrelation"][:, None] * surprise, 0)


def _globals(observation: Observation) -> np.ndarray:
    """Return (num_envs, 4): post-decision, time left, discount, share of machines told."""
    view = observation.arrays
    sizes = view["sizes"]
    left = np.where(sizes[:, ENDLESS], 1.0, squash(np.maximum(sizes[:, PERIODS] - view["period"], 0), 10.0))
    told = view["machine"] / sizes[:, NUM_MACHINES]
    return np.stack([np.full(len(left), float(observation.post)), left, view["discount"], told], axis=1)


def _items(observation: Observation) -> np.ndarray:
    """Return (num_envs, items, 9)."""
    view = observation.arrays
    stock, limit, factors = view["stock"], view["limit"], view["factors"]
    is_item = np.arange(stock.shape[1]) < view["sizes"][:, NUM_ITEMS, None]
    mean, now = _mean_demand(observation)
    scale = np.where(mean > 0, mean, 1.0)
    last = view["last_demand"]
    variance = np.where(view["sizes"][:, LAW, None] == POISSON, now, view["variance"])
    columns = [
        squash(stock, COVER * scale),
        np.clip(squash(limit - stock, scale), -1, 1),
        squash(now, scale),
        np.where(last >= 0, squash(last - mean, scale), 0),
        squash(np.sqrt(variance), scale),
        squash(view["shortage"], view["holding"]),
        squash(view["holding"], _mean_positive(view["holding"])[:, None]),
        squash(mean, _mean_positive(mean)[:, None]),
        factors - 1.0,
    ]
    return np.where(is_item[:, :, None], np.stack(columns, axis=2), 0)


def _machines(observation: Observation) -> np.ndarray:
    """Return (num_envs, machines, 3): due, told, set up."""
    view = observation.arrays
    number = np.arange(view["setup"].shape[1])
    is_machine = number < view["sizes"][:, NUM_MACHINES, None]
    is_due = (number == view["machine"][:, None]) | (observation.legal.ndim == 3)
    is_due = is_due & (not observation.post)
    columns = np.stack([is_due, view["choice"] >= 0, view["setup"] > 0], axis=2)
    return np.where(is_machine[:, :, None], columns, 0)


def _pairs(observation: Observation) -> np.ndarray:
    """Return (num_envs, machines, choices, 5): units made, cost of the set-up, is set up, is told, is legal now."""
    view = observation.arrays
    num_envs, machines, choices = view["possible"].shape
    envs, number = np.arange(num_envs)[:, None], np.arange(machines)
    mean, _ = _mean_demand(observation)
    scale = np.concatenate([np.ones((num_envs, 1)), np.where(mean > 0, mean, 1.0)], axis=1)
    option = np.arange(choices)
    if observation.legal.ndim == 3:
        legal = observation.legal
    else:
        legal = observation.legal[:, None] & (number == view["machine"][:, None])[:, :, None]
    columns = [
        squash(view["output"][envs, number, view["setup"]], scale[:, None]),
        squash(view["changeover"][envs, number, view["setup"]], _mean_positive(view["changeover"])[:, None, None]),
        view["setup"][:, :, None] == option,
        view["choice"][:, :, None] == option,
        legal,
    ]
    return np.where(view["possible"][:, :, :, None], np.stack(columns, axis=3), 0)
