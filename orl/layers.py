"""A hindsight problem as states in layers, one decision after another: what search in layers stands on.

A state of a layer leads to states of the next one. What it has cost is known, and so is a bound on what it will have
cost in the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from orl.problem import Solution


class Layer(NamedTuple):
    """States side by side.

    Parameters
    ----------
    states : int ndarray (n, k)
        Equal rows are equal states.
    costs : ndarray (n,)
        Paid so far.
    bounds : ndarray (n,)
        No more than the cost of any solution that passes through the state; of equal states the cheaper has the
        smaller.
    parents : int ndarray (n,)
        Which state of the layer before each comes from.
    is_end : bool ndarray (n,)
        Whether it is a solution; its cost is that of the whole.
    """

    states: np.ndarray
    costs: np.ndarray
    bounds: np.ndarray
    parents: np.ndarray
    is_end: np.ndarray


class Layered(Protocol):
    """What a family offers of one scenario, known beforehand."""

    def first(self) -> Layer:
        """Return the layer of the beginning."""

    def next(self, layer: Layer, number: int, below: float) -> Iterator[Layer]:
        """Yield what follows the states of layer `number`, none of them ends; those whose bound is below a cost.

        Part by part, so that time and memory can be looked after; the same state may come several times. What is left
        out must not be needed: for every solution below that cost through one of the states, one that is no dearer
        passes through a state that is yielded.
        """

    def undominated(self, layer: Layer, number: int) -> Layer:
        """Return layer `number`, of distinct states, without some from which nothing cheaper is reached than from one
        that stays.
        """

    def solution(self, states: Sequence[np.ndarray]) -> Solution:
        """Return the solution of a path, (k,) each, from the first layer to an end."""


def distinct(layer: Layer) -> Layer:
    """Return the cheapest of states that are alike."""
    order = np.lexsort((layer.costs, *layer.states.T))
    rows = layer.states[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return some(layer, order[is_new])


def some(layer: Layer, places: np.ndarray | slice) -> Layer:
    """Return some states of a layer, by their places."""
    return Layer._make(array[places] for array in layer)
