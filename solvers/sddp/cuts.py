"""Cuts: what is known of the cost of a node's future as a function of the state that goes out of it.

The best lower bound known at a state is the highest cut there. With level-1 selection a node's program holds only cuts
that are the highest at one or more of the states visited so far; the others are kept aside and come back when a new
state needs them.

References
----------
V. de Matos, A. Philpott, E. Finardi (2015). Improving the performance of stochastic dual dynamic programming. Journal
of Computational and Applied Mathematics 290. doi 10.1016/j.cam.2015.04.048
"""

from __future__ import annotations

import numpy as np

TIE = 1e-9  # a cut replaces another where it is higher by more than this share


class CutPool:
    """Cuts of one function of the state.

    Parameters
    ----------
    num_states : int

    Attributes
    ----------
    count : int
    """

    def __init__(self, num_states: int):
        self.count = 0
        self._gradients = np.empty((16, num_states))
        self._intercepts = np.empty(16)
        self._states = np.empty((16, num_states))
        self._best = np.empty(16, dtype=np.int64)  # cut that is highest at each state
        self._height = np.empty(16)
        self._num_states = 0

    @property
    def gradients(self) -> np.ndarray:
        """Of all cuts, (count, num_states)."""
        return self._gradients[: self.count]

    @property
    def intercepts(self) -> np.ndarray:
        """Of all cuts, (count,): their values at state 0."""
        return self._intercepts[: self.count]

    def add(self, gradient: np.ndarray, intercept: float, state: np.ndarray | None = None) -> int:
        """Add a cut, made at a state, and return its number."""
        number = self.count
        if number == len(self._intercepts):
            self._gradients, self._intercepts = _doubled(self._gradients), _doubled(self._intercepts)
        self._gradients[number], self._intercepts[number] = gradient, intercept
        self.count += 1
        seen = self._num_states
        heights = self._states[:seen] @ gradient + intercept
        is_higher = heights > self._height[:seen] + TIE * np.maximum(1.0, np.abs(self._height[:seen]))
        self._best[:seen][is_higher] = number
        self._height[:seen][is_higher] = heights[is_higher]
        if state is not None:
            self._visit(state)
        return number

    def selected(self) -> np.ndarray:
        """Return the numbers of the cuts that are highest at a state visited so far, ascending."""
        return np.unique(self._best[: self._num_states])

    @property
    def states(self) -> np.ndarray:
        """At which cuts were made, (k, num_states)."""
        return self._states[: self._num_states]

    def _visit(self, state: np.ndarray) -> None:
        place = self._num_states
        if place == len(self._best):
            self._states, self._best, self._height = (
                _doubled(self._states),
                _doubled(self._best),
                _doubled(self._height),
            )
        heights = self.gradients @ state + self.intercepts
        self._states[place], self._best[place] = state, int(heights.argmax())
        self._height[place] = heights.max()
        self._num_states += 1


def _doubled(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, np.empty_like(array)])
