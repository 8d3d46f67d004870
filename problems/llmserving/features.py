"""What a network reads of a server. A quantity x >= 0 is shown as x / (x + scale): bounded, increasing.

Tokens are measured by the KV cache, times by a minute (with clock=rounds: 60 rounds). Output lengths are hidden.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orl.features import Features, squash
from orl.process import Observation

from . import kernels_codes as codes

ENGINE_COLUMNS = 8
REQUEST_COLUMNS = 15
MINUTE = 60.0


def flat(observation: Observation) -> np.ndarray:
    """Return one vector an environment, float32 (num_envs, 8 + 15 N), within [-1, 1], for N requests of padding."""
    parts = [_engine(observation), _requests(observation).reshape(len(observation.sizes), -1)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def graph(observation: Observation) -> Mapping[str, np.ndarray]:
    """Return one graph an environment, as `orl.features` documents it: N requests, then the engine, are the nodes.

    Edges join the engine with every request that has arrived and is not finished, either way; their feature tells the
    direction. Run is about the engine, every other action about its request.
    """
    status = observation.arrays["status"]
    envs, count = status.shape
    is_here = (status > codes.FUTURE) & (status < codes.FINISHED)
    nodes = np.zeros((envs, count + 1, 2 + ENGINE_COLUMNS + REQUEST_COLUMNS), dtype=np.float32)
    nodes[:, :count, 0] = nodes[:, count, 1] = 1.0
    nodes[:, :, 2 : 2 + ENGINE_COLUMNS] = _engine(observation)[:, None]
    nodes[:, :count, 2 + ENGINE_COLUMNS :] = _requests(observation)
    nodes[:, :count][~is_here] = 0.0
    is_node = np.concatenate([is_here, np.ones((envs, 1), dtype=bool)], axis=1)
    own = np.where(is_here, np.arange(count), -1)
    engine = np.where(is_here, count, -1)
    edges = np.stack([np.concatenate([own, engine], axis=1), np.concatenate([engine, own], axis=1)], axis=1)
    features = np.zeros((envs, 2 * count, 2), dtype=np.float32)
    features[:, :count, 0] = is_here
    features[:, count:, 1] = is_here
    about = np.concatenate([[count], np.repeat(np.arange(count), 2)])
    return {
        "nodes": nodes,
        "is_node": is_node,
        "edges": edges.astype(np.int64),
        "edge_features": features,
        "legal": observation.legal.copy(),
        "choice_nodes": np.broadcast_to(about, observation.legal.shape).astype(np.int64),
    }


def candidates(observation: Observation, envs: np.ndarray | None = None) -> np.ndarray:
    """Return a row a choice, float32 (len(envs), 1 + 2 N, 33), within [-1, 1].

    The first tells of running the batch, then two of each request: of what can be done to it as it is, legal now or
    not; and, only where it is legal, of preempting it by swapping.

    Examples
    --------
    >>> from orl.scenario import Scenarios
    >>> from .process import ServingProcess
    >>> from .scenario import draw
    >>> one = draw(np.random.default_rng(0), requests=2)
    >>> candidates(ServingProcess([one], [Scenarios.deterministic()]).observe()).shape
    (1, 5, 33)
    """
    from . import kernels_candidates as kernels  # numba is slow to load

    view = observation.arrays
    envs = np.arange(len(observation.sizes)) if envs is None else envs
    out = np.empty((len(envs), observation.legal.shape[1], kernels.NUM_COLUMNS), dtype=np.float32)
    seen = kernels.Seen(*(np.ascontiguousarray(view[name]) for name in kernels.Seen._fields))
    kernels.candidates(seen, envs, observation.legal, observation.post, np.empty(view["status"].shape[1]), out)
    return out


def _engine(observation: Observation) -> np.ndarray:
    """Return what is seen of the engine, (num_envs, ENGINE_COLUMNS)."""
    view = observation.arrays
    sizes, num, clock = view["engine"], view["counters"], view["clock"]
    blocks, cpu = sizes[:, codes.NUM_BLOCKS], np.maximum(sizes[:, codes.CPU_BLOCKS], 1)
    seats, budget = sizes[:, codes.MAX_SEQS], sizes[:, codes.BUDGET]
    columns = [
        num[:, codes.FREE] / blocks,
        num[:, codes.CPU_FREE] / cpu,
        np.minimum(num[:, codes.NEED] / blocks, 1.0),
        num[:, codes.LEFT] / budget,
        np.minimum(num[:, codes.NUM_RUNNING] / seats, 1.0),
        squash(num[:, codes.NUM_QUEUED].astype(np.float64), seats.astype(np.float64)),
        squash(clock[:, codes.STALL], 1.0),
        np.full(len(sizes), float(observation.post)),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _requests(observation: Observation) -> np.ndarray:
    """Return what is seen of the requests, (num_envs, N, REQUEST_COLUMNS); 0 for those not here."""
    view = observation.arrays
    status = view["status"]
    is_here = (status > codes.FUTURE) & (status < codes.FINISHED)
    sizes = view["engine"]
    room = (sizes[:, codes.NUM_BLOCKS] * sizes[:, codes.BLOCK_SIZE])[:, None].astype(np.float64)
    now = view["clock"][:, codes.NOW][:, None]
    client = np.minimum(view["client"], view["clients"].shape[1] - 1)
    served = np.take_along_axis(view["clients"][:, :, codes.SERVED], client, axis=1)
    least = np.where(is_here, served, np.inf).min(axis=1, keepdims=True)
    ahead = np.where(is_here, served - np.where(np.isfinite(least), least, 0.0), 0.0)
    columns = [
        status == codes.WAITING,
        status == codes.RUNNING,
        status == codes.SWAPPED,
        squash(view["prompt"].astype(np.float64), room / 8),
        squash(view["generated"].astype(np.float64), room / 8),
        squash(view["limit"].astype(np.float64), room / 8),
        squash(view["computed"].astype(np.float64), room / 8),
        view["blocks"] / sizes[:, codes.NUM_BLOCKS, None],
        squash(view["cpu_blocks"].astype(np.float64), sizes[:, codes.NUM_BLOCKS, None].astype(np.float64)),
        view["under_way"] / 2.0,
        squash(np.maximum(now - view["arrival"], 0.0), MINUTE),
        squash(view["priority"].astype(np.float64), 4.0),
        squash(view["weight"], 1.0),
        squash(ahead, room / 8),
        view["touched"] == view["counters"][:, codes.EPOCH, None],
    ]
    return np.where(is_here[..., None], np.stack([column.astype(np.float64) for column in columns], axis=-1), 0.0)


FEATURES = Features(flat, graph, candidates)
