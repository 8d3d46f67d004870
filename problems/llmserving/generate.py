"""Requests of uniform numbers: from the beginning, or as they go on from what has been seen.

What has been seen is kept: who has arrived, and what is known of the answers. An answer under way is drawn from those
that are longer than it is; the next arrival, and the next turn of a conversation, from those later than now; whether a
conversation is over, given how long it has been silent. One thing is left out: its silence is no evidence of how long
an answer under way will be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaincc, gammainccinv, gammaincinv, ndtr, ndtri

from .instance import Generator, Requests

if TYPE_CHECKING:
    from .state import ServingState

GAP, PROMPT, OUTPUT, CLIENT, ENDS, THINK, NOISE, WIDTH = range(8)  # columns of the uniform numbers
ANSWER_S = 0.05  # a token: when a client is thought to have its answer, before it thinks
TINY = 1e-300


def generate(law: Generator, uniforms: np.ndarray, state: ServingState | None = None) -> tuple[Requests, np.ndarray]:
    """Return requests of uniform numbers, and for each the row of numbers that it comes from.

    Parameters
    ----------
    law : Generator
    uniforms : ndarray (law.count, WIDTH)
    state : ServingState, optional
        What has been seen: the first requests, and what is still open of them comes from the first rows.
    """
    drawn = _Drawn(law, uniforms, state)
    if law.arrivals == "conversations":
        _converse(drawn, law, uniforms)
    else:
        drawn.arrival[drawn.count :] = _arrivals(law, uniforms[drawn.count :, GAP], drawn)
    if state is not None:
        later = drawn.arrival[drawn.count :]
        np.maximum(later, np.nextafter(drawn.now, np.inf), out=later)  # gaps may be too small to be told from none
    return drawn.sorted()


class _Drawn:
    """Requests as they are drawn, row by row: the first `count` of them have been seen, the others are questions."""

    def __init__(self, law: Generator, uniforms: np.ndarray, state: ServingState | None):
        self.count, self.now = (0, 0.0) if state is None else (len(state.seen), state.now)
        self.arrival, self.shared = np.zeros(law.count), np.zeros(law.count, dtype=np.int64)
        self.parent = np.full(law.count, -1)
        self.prompt = lengths(law, law.prompt_mean, uniforms[:, PROMPT])
        self.client = np.floor(uniforms[:, CLIENT] * law.clients).astype(np.int64)
        least = np.ones(law.count, dtype=np.int64)
        if state is not None:
            least[: self.count] = state.seen.output
            for name in ("arrival", "prompt", "client", "parent", "shared"):
                getattr(self, name)[: self.count] = getattr(state.seen, name)
        self.output = lengths(law, law.output_mean, uniforms[:, OUTPUT], least)
        if state is not None:
            told = state.is_told.copy()
            told[state.seen.parent[(state.seen.parent >= 0) & (state.seen.shared < state.seen.prompt)]] = True
            self.output[: self.count][told] = least[: self.count][told]  # the next turn repeats the whole answer

    def sorted(self) -> tuple[Requests, np.ndarray]:
        """Return the requests by arrival, and the row of each; those seen are where they were."""
        later = np.argsort(self.arrival[self.count :], kind="stable")
        order = np.concatenate([np.arange(self.count), self.count + later])
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        requests = Requests(
            self.arrival[order],
            self.prompt[order],
            self.output[order],
            self.client[order],
            priority=np.zeros(len(order)),
            weight=np.ones(len(order)),
            parent=np.where(self.parent >= 0, place[self.parent], -1)[order],
            shared=self.shared[order],
        )
        return requests, order


def lengths(law: Generator, mean: float, uniforms: np.ndarray, least: np.ndarray | None = None) -> np.ndarray:
    """Return log-normal lengths, rounded and cut; with `least` from those that are no shorter."""
    mu = np.log(mean) - law.spread**2 / 2
    if least is not None and law.spread > 0:
        below = np.where(least > 1, ndtr((np.log(np.maximum(least - 0.5, 0.5)) - mu) / law.spread), 0.0)
        uniforms = below + (1 - below) * uniforms
    drawn = np.clip(np.round(np.exp(mu + law.spread * normal(uniforms))), 1, law.longest).astype(np.int64)
    return drawn if least is None else np.maximum(drawn, least)


def normal(uniforms: np.ndarray) -> np.ndarray:
    """Return standard normal numbers of uniform ones."""
    return ndtri(np.clip(uniforms, 1e-15, 1 - 1e-15))


def _arrivals(law: Generator, uniforms: np.ndarray, drawn: _Drawn) -> np.ndarray:
    """Return the arrivals after now, one a uniform number; a gap that has begun is longer than it has been."""
    if law.arrivals == "poisson":
        return drawn.now + np.cumsum(-np.log1p(-uniforms)) / law.rate
    last = drawn.arrival[drawn.count - 1] if drawn.count else 0.0
    shape = law.burstiness**-2
    gaps = gammaincinv(shape, uniforms) / shape
    if len(gaps) and drawn.now > last:
        tail = (1 - uniforms[0]) * gammaincc(shape, shape * law.rate * (drawn.now - last))
        gaps[0] = gammainccinv(shape, max(tail, TINY)) / shape
    return last + np.cumsum(gaps) / law.rate


def _converse(drawn: _Drawn, law: Generator, uniforms: np.ndarray) -> None:
    """Draw one conversation after the other until there are enough requests: first those that have begun go on.

    So the last one may be cut off, and towards the end there are fewer requests a second than before. A prompt that
    grows beyond the longest is cut at its end.
    """
    gaps = -np.log1p(-uniforms[:, GAP]) * law.turns / law.rate
    row, start = drawn.count, drawn.now
    for before in _last_turns(drawn.parent[: drawn.count]):
        row = _go_on(drawn, law, uniforms, before, row)
    while row < law.count:
        start += gaps[row]
        drawn.arrival[row] = start
        row = _go_on(drawn, law, uniforms, row, row + 1)


def _last_turns(parent: np.ndarray) -> list[int]:
    """Return the last turn seen of each conversation, in the order of their beginnings."""
    last: dict[int, int] = {}
    first = np.arange(len(parent))
    for row, before in enumerate(parent.tolist()):
        if before >= 0:
            first[row] = first[before]
        last[int(first[row])] = row
    return list(last.values())


def _go_on(drawn: _Drawn, law: Generator, uniforms: np.ndarray, before: int, row: int) -> int:
    """Draw the turns after one of a conversation, from a row on; return the row after them."""
    over = 1 / law.turns
    while row < law.count:
        answered = drawn.arrival[before] + ANSWER_S * drawn.output[before]
        silent = max(drawn.now - answered, 0.0)
        is_over = over / (over + (1 - over) * np.exp(-silent / law.think_s))
        if uniforms[before, ENDS] < is_over:
            break
        so_far = drawn.prompt[before] + drawn.output[before]
        drawn.arrival[row] = max(answered, drawn.now) - np.log1p(-uniforms[row, THINK]) * law.think_s
        drawn.prompt[row] = min(so_far + drawn.prompt[row], law.longest)
        drawn.shared[row], drawn.parent[row] = min(so_far, drawn.prompt[row]), before
        drawn.client[row] = drawn.client[before]
        before, row = row, row + 1
    return row
