"""Training in several processes: the passes of a round are made side by side, with the same cuts.

Every process holds a copy of all programs. In a round each goes forward and backward once, with draws of its own; then
each takes the cuts of all others, in the order of the processes. So what is learned depends on the seed and the number
of processes, not on which of them is faster. A pass does not know the cuts of its own round's others: an iteration
teaches a little less than one of a single process.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np

from orl import crew

from .train import Cut, Sddp


class Passes:
    """Make passes with draws of its own, after taking the cuts of others; the first of a crew takes them later."""

    def __init__(self, sddp: Sddp, rng: np.random.Generator):
        self._sddp, self._rng = sddp, rng

    def __call__(self, others: list[list[Cut]]) -> tuple[float, list[Cut]]:
        if others:  # none before the first round
            self._sddp.end_round(others)
        return self._sddp.make_pass(self._rng)


class Crew:
    """This process and others that train with it; a context, at whose end the others are gone.

    Parameters
    ----------
    sddp : Sddp
        Copied to the others as it is, with the cuts it has.
    rngs : sequence of numpy Generators
        Draws of each process; the first is this one. One: nothing is started, and training is as without a crew.
    scheduler : str or None
        Of a Dask cluster that the others work on; see `orl.crew`.
    """

    def __init__(self, sddp: Sddp, rngs: Sequence[np.random.Generator], scheduler: str | None = None):
        self._sddp, self._size = sddp, len(rngs)
        self._crew = crew.Crew([Passes(sddp, rng) for rng in rngs], "sddp", scheduler)
        self._learned: list[list[Cut]] = []  # by each process in the last round

    def __enter__(self) -> Crew:
        self._crew.__enter__()
        return self

    def iterate(self) -> list[float]:
        """Make a round of passes, one a process, and return their costs."""
        # This process took the others' cuts when the round before ended, so that it could tell its bound.
        done = self._crew.ask([[], *(self._of_others(place) for place in range(1, self._size))])
        self._learned = [cuts for _, cuts in done]
        self._sddp.end_round(self._learned[1:])
        return [cost for cost, _ in done]

    def _of_others(self, place: int) -> list[list[Cut]]:
        return [cuts for other, cuts in enumerate(self._learned) if other != place]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._crew.__exit__(kind, error, traceback)
