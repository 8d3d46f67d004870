"""Servers on the way: where one is between two decisions, as an observation shows it, and how it goes on from there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from orl.errors import InputError

from . import kernels_codes as codes
from .instance import Generator, Requests, Serving
from .layout import BLOCKS, KNOWN

if TYPE_CHECKING:
    from orl.process import Observation


@dataclass(frozen=True, eq=False)
class ServingState:
    """Where a server is between two decisions. Columns are those of `kernels_codes`; n requests have arrived.

    Parameters
    ----------
    seen : Requests
        Those n. `output` is the least that it can be.
    is_told : bool ndarray (n,)
        Whether it is just that.
    known : int ndarray (n, REQUEST_WIDTH)
    ready : ndarray (n,)
        When a request's last transfer ends.
    running, flight : int ndarray
        Who runs, in the order of admission; who gets a token of the batch under way, in its order.
    counters : int ndarray (NUM_WIDTH,)
        The log begins anew: there was no epoch and no event.
    clock : ndarray (CLOCK_WIDTH,)
    clients : ndarray (num_clients, CLIENT_WIDTH)
    blocks : int ndarray (num_blocks + 1, BLOCK_WIDTH)
        Who took each, as which of its own, whether it is known, the ring of free ones; -1 in other columns.
    """

    seen: Requests
    is_told: np.ndarray
    known: np.ndarray
    ready: np.ndarray
    running: np.ndarray
    flight: np.ndarray
    counters: np.ndarray
    clock: np.ndarray
    clients: np.ndarray
    blocks: np.ndarray

    @property
    def now(self) -> float:
        return float(self.clock[codes.NOW])


def in_motion(instance: Serving, observation: Observation, env: int) -> Serving:
    """Return the server as it goes on from an observation between two decisions.

    Its scenarios agree with what has been seen; all else is drawn anew (`generate.generate`).

    Raises
    ------
    InputError
        If its requests are those of a file: these are what comes, and no law of what else might.
    """
    if not isinstance(instance.source, Generator):
        raise InputError(
            f"{instance.name}: its requests are given, not drawn, so there are no futures to try; take an instance "
            "with [generator]."
        )
    return replace(instance, state=observed_state(instance, observation, env))


def observed_state(instance: Serving, observation: Observation, env: int) -> ServingState | None:
    """Return the state that an observation between two decisions shows of one of its environments.

    None if nobody has arrived: then it is the beginning.
    """
    view = {name: array[env] for name, array in observation.arrays.items()}
    count = int(view["counters"][codes.ARRIVED])
    if count == 0:
        return None
    status, generated, is_last = (view[name][:count] for name in ("status", "generated", "is_last"))
    known = np.zeros((count, codes.REQUEST_WIDTH), dtype=np.int64)
    for name, column in KNOWN.items():
        known[:, column] = view[name][:count]
    counters = view["counters"].copy()
    known[:, codes.TOUCHED] = np.where(known[:, codes.TOUCHED] == counters[codes.EPOCH], 0, -1)
    counters[[codes.EPOCH, codes.EVENTS]] = 0
    blocks = np.full((instance.num_blocks + 1, codes.BLOCK_WIDTH), -1, dtype=np.int32)
    for name, column in BLOCKS.items():
        blocks[:, column] = view[name][: len(blocks)]
    has_ended = (status == codes.FINISHED) | is_last
    least = generated + view["under_way"][:count] + ~has_ended
    is_told = has_ended | (view["limit"][:count] > 0)
    facts = {name: view[name][:count] for name in ("arrival", "prompt", "client", "priority", "weight", "parent")}
    shared, parent = view["shared"][:count], facts["parent"]
    least = np.maximum(least, view["limit"][:count])
    goes_on = np.flatnonzero(parent >= 0)
    np.maximum.at(least, parent[goes_on], shared[goes_on] - facts["prompt"][parent[goes_on]])
    return ServingState(
        seen=Requests(output=least, shared=shared, **facts),
        is_told=is_told,
        known=known,
        ready=view["ready"][:count].copy(),
        running=view["running"][: counters[codes.NUM_RUNNING]].copy(),
        flight=view["flight"][view["flight"] >= 0].copy(),
        counters=counters,
        clock=view["clock"].copy(),
        clients=view["clients"].copy(),
        blocks=blocks,
    )
