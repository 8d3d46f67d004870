"""Serving by rounds, all requests known beforehand: what schedules of it are, and how one is carried out.

With clock=rounds a request that runs in a round gets one token in it, whether its keys are kept, copied or computed
anew, and takes as many tokens of memory as it has, prompt and output, before. So a schedule is who runs in which round,
and to preempt costs nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from orl.errors import InputError
from orl.scenario import Scenarios

from . import kernels_codes as codes
from .instance import ADMIT, FINISH, RECOMPUTE, SWAP_IN, SWAP_OUT, Serving, ServingLog
from .process import ServingProcess
from .scenario import realise

MAX_ROUNDS = 1_000_000


@dataclass(frozen=True, eq=False)
class Rounds:
    """Requests by rounds, (num_requests,) each.

    Parameters
    ----------
    arrival, prompt, output : int ndarray
    weight : ndarray
    memory : int
        Tokens.
    seats : int
        How many may run at a time.
    """

    arrival: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    weight: np.ndarray
    memory: int
    seats: int


def rounds_of(instance: Serving, scenario: Scenarios) -> Rounds:
    """Return the requests of a scenario by rounds.

    Raises
    ------
    InputError
        If time is in seconds, a request arrives within a round, prefixes are shared, or the instance is in motion.
    """
    instance.must_begin()
    if not instance.is_rounds:
        raise InputError(f"{instance.name}: optimal schedules are for rounds; set clock=rounds.")
    requests = realise(instance, scenario).requests
    arrival = requests.arrival.astype(np.int64)
    if (arrival != requests.arrival).any():
        place = int((arrival != requests.arrival).argmax())
        raise InputError(
            f"{instance.name}: optimal schedules need arrivals at whole rounds, request {place} arrives at "
            f"{requests.arrival[place]:g}."
        )
    if (rounds := int(arrival.max() + requests.output.sum())) > MAX_ROUNDS:
        raise InputError(
            f"{instance.name}: optimal schedules are for up to {MAX_ROUNDS} rounds, these requests may take {rounds}."
        )
    if instance.settings.enable_prefix_caching and ((requests.parent >= 0) & (requests.shared > 0)).any():
        raise InputError(f"{instance.name}: optimal schedules are without sharing; set enable_prefix_caching=false.")
    return Rounds(
        arrival, requests.prompt, requests.output, requests.weight, instance.num_blocks, instance.settings.max_num_seqs
    )


def carried_out(instance: Serving, scenario: Scenarios, runs: Callable[[int], np.ndarray]) -> ServingLog:
    """Return the log of a schedule.

    Parameters
    ----------
    runs : callable (round) -> bool ndarray (num_requests,)
        Who runs in a round.
    """
    process = ServingProcess([instance], [scenario])
    while (observation := process.observe()).legal.any():
        status = observation.arrays["status"][0]
        wanted = runs(round(float(observation.arrays["clock"][0, codes.NOW])))[: len(status)]
        is_running = status == codes.RUNNING
        leaves, enters = np.flatnonzero(is_running & ~wanted), np.flatnonzero(~is_running & wanted)
        legal = observation.legal[0]
        # First all leave, then others enter, then they run; what is not legal is left for the next epoch.
        moves = [1 + 2 * int(r) for r in (*leaves, *enters) if legal[1 + 2 * r]]
        action = moves[0] if moves and (len(leaves) == 0 or moves[0] == 1 + 2 * leaves[0]) else 0
        process.decide(np.array([action if legal[action] else int(legal.argmax())]))
        process.reveal()
    return process.solution(0)


def rounds_of_tokens(log: ServingLog, num_requests: int) -> list[list[int]]:
    """Return in which round each token of each request came."""
    came: list[list[int]] = [[] for _ in range(num_requests)]
    running: set[int] = set()
    moves = np.split(log.events, np.searchsorted(log.events[:, 0], np.arange(1, len(log.decided) + 1)))
    for epoch, events in enumerate(moves[: len(log.decided)]):
        for _, request, kind, _ in events.tolist():
            if kind in (ADMIT, SWAP_IN):
                running.add(request)
            elif kind in (RECOMPUTE, SWAP_OUT, FINISH):
                running.discard(request)
        if log.end[epoch] > log.start[epoch]:
            for request in running:
                came[request].append(round(float(log.decided[epoch])))
    return came
