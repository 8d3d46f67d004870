"""Local search: what a family offers to methods that improve a solution move by move."""

from __future__ import annotations

from typing import Literal, Protocol

from orl.problem import Solution

Neighbourhood = Literal["N5", "N6", "N7"]


class LocalSearch(Protocol):
    """A search that goes on from where it is; the same in one call or in many.

    Attributes
    ----------
    value : float
        Cost of the best solution so far, the start included.
    bound : float
        A proven lower bound; the search ends there.
    iterations, restarts : int
        Moves made, and how often the search went on from another solution.
    """

    value: float
    bound: float
    iterations: int
    restarts: int

    def improve(self, iterations: int) -> float:
        """Make so many moves, fewer if the bound is met; return the value."""
        ...

    def solution(self) -> Solution:
        """Return the best solution so far."""
        ...
