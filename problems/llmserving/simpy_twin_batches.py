"""What the iterations of the SimPy twin compute: requests on their way, who is in a batch, and how long it takes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import simpy

from .instance import Serving
from .simpy_twin_blocks import Written


@dataclass
class Job:
    """A request on its way through the server.

    Parameters
    ----------
    state : 'future', 'waiting', 'running', 'swapped' or 'finished'
    g, q, c : int
        Output tokens known, those under way, tokens computed.
    blocks : list of int
        Held on the GPU, in the order of the tokens.
    cpu : int
        Blocks held on the CPU.
    copies : map of int to Written
        What lies on the CPU, by the number of the block in the request's order; not all of it may be of use.
    wanted : list of Written
        What its full blocks are to contain, as far as that was asked for.
    is_copying : bool
        A copy out, or a copy in for which it waits, is not complete.
    was_admitted : bool
        Once at least.
    """

    number: int
    arrival: float
    prompt: int
    output: int
    client: int
    weight: float
    state: str = "future"
    g: int = 0
    q: int = 0
    c: int = 0
    blocks: list[int] = field(default_factory=list)
    cpu: int = 0
    copies: dict[int, Written | None] = field(default_factory=dict)
    wanted: list[Written] = field(default_factory=list)
    is_copying: bool = False
    was_admitted: bool = False

    @property
    def missing(self) -> int:
        """Tokens that are known or under way, and not computed."""
        return self.prompt + self.g + self.q - self.c

    @property
    def is_decoding(self) -> bool:
        return self.c >= self.prompt and self.missing == 1


@dataclass
class Batch:
    """What an iteration computes.

    Parameters
    ----------
    decodes : list of Job
        One token each.
    chunks : list of (Job, int)
        The others, with their tokens.
    yields : list of Job
        Those of which a token becomes known at the end.
    end : float
    ended : simpy.Event
    """

    decodes: list[Job]
    chunks: list[tuple[Job, int]]
    yields: list[Job] = field(default_factory=list)
    end: float = 0.0
    ended: simpy.Event | None = None

    @property
    def parts(self) -> list[tuple[Job, int]]:
        """Its requests and their tokens, in its order."""
        return [(job, 1) for job in self.decodes] + self.chunks

    @property
    def tokens(self) -> int:
        return sum(count for _, count in self.parts)


def planned(instance: Serving, running: Sequence[Job]) -> Batch:
    """Return who gets how many tokens of those that run, in the order of their admission."""
    left = instance.token_budget
    able = [job for job in running if not job.is_copying]
    batch = Batch([], [])
    for job in able:
        if job.is_decoding and job.g + job.q < job.output and left > 0:
            batch.decodes.append(job)
            left -= 1
    for job in able:
        if job.is_decoding or job.missing <= 0:
            continue
        is_whole = job.missing <= left
        count = min(job.missing, left) if instance.settings.enable_chunked_prefill or is_whole else 0
        if count > 0:
            batch.chunks.append((job, count))
            left -= count
    return batch


def seconds_of(instance: Serving, batch: Batch) -> float:
    """Return how long a batch takes that is not computed yet."""
    if instance.is_rounds:
        return 1.0
    costs = instance.costs
    seconds = _linear(list(range(len(costs.dense))), costs.dense.tolist(), batch.tokens)
    seconds += _linear(list(range(len(costs.sequence))), costs.sequence.tolist(), len(batch.parts))
    if batch.decodes:
        mean = sum(job.c + 1 for job in batch.decodes) / len(batch.decodes)
        seconds += _bilinear(costs.count, costs.context, costs.decode, len(batch.decodes), mean)
    return seconds + sum(_bilinear(costs.chunk, costs.past, costs.prefill, count, job.c) for job, count in batch.chunks)


def _linear(points: list[float] | list[int], values: list[float], at: float) -> float:
    left = min(bisect_right(points, at), len(points) - 1) - 1
    share = (at - points[left]) / (points[left + 1] - points[left])
    return values[left] * (1 - share) + values[left + 1] * share


def _bilinear(rows: np.ndarray, columns: np.ndarray, table: np.ndarray, row: float, column: float) -> float:
    along = [_linear(columns.tolist(), values, column) for values in table.tolist()]
    return _linear(rows.tolist(), along, row)
