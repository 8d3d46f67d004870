"""Streams of exogenous information: what nature does in an episode, drawn apart from the decisions.

Row `i` depends on (seed, purpose, i) alone. A row is drawn block by block, each block from a generator of its own, so
a row can be made longer at any time and its beginning stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from orl.errors import InputError


class Purpose(StrEnum):
    """What scenarios are for. Purposes never share draws, so nothing is judged on what it was trained or tuned on."""

    TRAIN = "train"
    SELECT = "select"
    EVALUATE = "evaluate"

    @classmethod
    def _missing_(cls, value: object) -> Purpose:
        raise InputError(f"purpose must be one of {', '.join(cls)}, got {value!r}.")


_PURPOSE_KEY = {Purpose.TRAIN: 1, Purpose.SELECT: 2, Purpose.EVALUATE: 3}


def generator(seed: int, purpose: Purpose | str, row: int, *more: int) -> np.random.Generator:
    """Return the random generator of one row of a stream.

    Parameters
    ----------
    seed, row, *more : int, >= 0
        What tells this generator from all others; `more` may number blocks or kinds of draws.
    purpose : Purpose or its name

    Examples
    --------
    >>> a = generator(7, "train", 0).integers(100, size=3)
    >>> b = generator(7, "evaluate", 0).integers(100, size=3)
    >>> bool((a == b).all())
    False
    """
    key = (_PURPOSE_KEY[Purpose(purpose)], row, *more)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


@dataclass(frozen=True, eq=False)
class Scenarios:
    """Rows of exogenous information.

    Parameters
    ----------
    seed : int, >= 0
    purpose : Purpose
    rows : tuple of int
        The row numbers held here; any subset of a stream is a stream.
    draw : callable (rng, block) -> ndarray of shape (length, ...), or None
        Draws block number `block` of consecutive periods or events, all of one length. None: nothing is random
        (`deterministic`).
    initial : callable (rng) -> ndarray, or None
        Draws the random initial state of a row, where there is one.

    Examples
    --------
    >>> coins = Scenarios(0, Purpose.EVALUATE, (0, 1), draw=lambda rng, block: rng.integers(2, size=16))
    >>> coins.values(0, 40).shape              # whole blocks, at least 40 long
    (48,)
    >>> short, long = coins[1].values(0, 20), coins.values(1, 40)
    >>> bool((short == long[: len(short)]).all())
    True
    """

    seed: int
    purpose: Purpose
    rows: tuple[int, ...]
    draw: Callable[[np.random.Generator, int], np.ndarray] | None = None
    initial: Callable[[np.random.Generator], np.ndarray] | None = None
    _blocks: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, repr=False)

    @staticmethod
    def deterministic(seed: int = 0, purpose: Purpose = Purpose.EVALUATE) -> Scenarios:
        """Return the one empty scenario of an instance in which nothing is random."""
        return Scenarios(seed, purpose, (0,))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Scenarios:
        """Return the stream that holds row `index` alone."""
        return Scenarios(self.seed, self.purpose, (self.rows[index],), self.draw, self.initial, self._blocks)

    def row(self, number: int) -> Scenarios:
        """Return the stream that holds row `number` of the same stream alone, whether or not it is held here.

        It keeps its draws to itself, so that endless training does not hold on to all that was ever drawn.
        """
        return Scenarios(self.seed, self.purpose, (number,), self.draw, self.initial)

    def __iter__(self) -> Iterator[Scenarios]:
        return (self[index] for index in range(len(self)))

    @property
    def is_random(self) -> bool:
        """Whether anything is drawn at all."""
        return self.draw is not None or self.initial is not None

    def values(self, index: int, length: int) -> np.ndarray:
        """Return at least `length` leading entries of row `index`, drawing further blocks where needed."""
        if self.draw is None:
            raise ValueError("a deterministic scenario holds no values.")
        row = self.rows[index]
        blocks: list[np.ndarray] = []
        held = 0
        while held < max(length, 1):
            key = (row, len(blocks))
            if key not in self._blocks:
                block = self.draw(generator(self.seed, self.purpose, row, 1, len(blocks)), len(blocks))
                block.setflags(write=False)
                self._blocks[key] = block
            blocks.append(self._blocks[key])
            held += len(blocks[-1])
        return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]

    def start(self, index: int) -> np.ndarray:
        """Return the random initial state of row `index`."""
        if self.initial is None:
            raise ValueError("this stream has no random initial state.")
        return self.initial(generator(self.seed, self.purpose, self.rows[index], 0))
