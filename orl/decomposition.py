"""A decision process that falls into parts once what they share has a price: what Lagrangian relaxation stands on."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from orl.problem import Solution
from orl.process import Observation
from orl.scenario import Scenarios


class Relaxed(NamedTuple):
    """What comes of some prices.

    Parameters
    ----------
    value : float
        A lower bound on the least cost.
    excess : ndarray of the shape of the prices
        How far the use of each resource exceeds what there is: a supergradient of the value.
    """

    value: float
    excess: np.ndarray


class Relaxation(Protocol):
    """A problem whose shared resources are paid for instead of limited."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the prices, all >= 0; the first axis is that of periods."""

    def relax(self, prices: np.ndarray, threads: int = 1) -> Relaxed:
        """Return the least cost at some prices, less what the resources are worth."""


class KnownRelaxation(Relaxation, Protocol):
    """The relaxation of one scenario that is known beforehand."""

    def repair(self, prices: np.ndarray, rng: np.random.Generator, solution: Solution | None = None) -> Solution:
        """Return a solution within the resources, made at random with the help of prices, or near a given one."""


class Decomposition(Protocol):
    """What a family offers of an instance that falls into parts."""

    def expected(self) -> Relaxation:
        """Return the relaxation of the process itself: a bound on the expected cost of every policy.

        Raises
        ------
        InputError
            If a part is too large, or its state holds what the parts do not have.
        """

    def known(self, scenario: Scenarios) -> KnownRelaxation:
        """Return the relaxation of one scenario, known beforehand."""

    def values(self, prices: np.ndarray) -> Any:
        """Return the values of the parts of `expected` after a decision, for `decide`."""

    def decide(self, values: Any, observation: Observation) -> np.ndarray:
        """Return the actions that are best if what comes after them costs what the parts' values say."""

    def penalties(self, prices: np.ndarray) -> Any:
        """Return the values of the parts of `expected` before a decision, for `penalised`."""

    def penalised(self, scenario: Scenarios, penalties: Any) -> Relaxation:
        """Return the relaxation of one scenario, known beforehand and made to pay for what it knows."""
