"""The arrays of a batch of servers, and one environment's part of them.

Few arrays with many columns, not many arrays: kernels compile faster, and what belongs to one request lies together.
`kernels_codes` names the columns.

| dimension | of |
|---|---|
| E, N, S, C | environments, requests, seats (running requests), clients, padded |
| K, T | blocks of the KV cache; blocks of all requests' contents, padded |
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orl.jit import kernel


class Work(NamedTuple):
    """Instances and what scenarios bring."""

    sizes: np.ndarray  # (E, SIZES_WIDTH) whole numbers
    times: np.ndarray  # (E, TIMES_WIDTH)
    key: np.ndarray  # (E, 1) uint64, of drawn priorities
    request: np.ndarray  # (E, N, GIVEN_WIDTH) whole numbers
    real: np.ndarray  # (E, N, REAL_WIDTH)
    dense: np.ndarray  # (E, ...), as all below: the cost model's tables, continued linearly where another's are longer
    sequence: np.ndarray
    chunk: np.ndarray
    past: np.ndarray
    prefill: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # a tuple has a method of that name
    context: np.ndarray
    decode: np.ndarray


class States(NamedTuple):
    """Where the environments are."""

    num: np.ndarray  # (E, NUM_WIDTH) counters
    clock: np.ndarray  # (E, CLOCK_WIDTH) times
    request: np.ndarray  # (E, N, REQUEST_WIDTH) whole numbers
    ready: np.ndarray  # (E, N): when a request's last copy ends
    seats: np.ndarray  # (E, S, SEAT_WIDTH): who runs, in the order of admission; the batch
    flight: np.ndarray  # (E, 2, S): who gets a token of each batch under way
    sampled: np.ndarray  # (E, 2): how many do
    leaving: np.ndarray  # (E, N): who is being copied out
    clients: np.ndarray  # (E, C, CLIENT_WIDTH)
    contents: np.ndarray  # (E, T, CONTENT_WIDTH): block of each content of a request; block known by it, -1: none
    # Content, holders, neighbours in the ring of free blocks, who took it last, as which of its own, known?; K: anchor
    blocks: np.ndarray  # (E, K + 1, BLOCK_WIDTH)
    areas: np.ndarray  # (E, 2 x the next power of two of K): free blocks below each node of a binary tree over blocks
    levels: np.ndarray  # (E, NUM_LEVELS): nodes of each level below which all are free, up to the size of a group
    epochs: np.ndarray  # (E, epochs, 3): decided, start, end
    events: np.ndarray  # (E, events, 4)


@kernel
def at_env(work, states, env):
    """Return one environment's part of all arrays."""
    w = Work(
        work.sizes[env],
        work.times[env],
        work.key[env],
        work.request[env],
        work.real[env],
        work.dense[env],
        work.sequence[env],
        work.chunk[env],
        work.past[env],
        work.prefill[env],
        work.count[env],
        work.context[env],
        work.decode[env],
    )
    s = States(
        states.num[env],
        states.clock[env],
        states.request[env],
        states.ready[env],
        states.seats[env],
        states.flight[env],
        states.sampled[env],
        states.leaving[env],
        states.clients[env],
        states.contents[env],
        states.blocks[env],
        states.areas[env],
        states.levels[env],
        states.epochs[env],
        states.events[env],
    )
    return s, w
