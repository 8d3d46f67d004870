"""A node of the graph as a program that stays in the solver: its stage, and cuts on the cost of what follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array

from orl.linear import LinearProgram
from orl.stages import Stage

from .cuts import CutPool


class Visit(NamedTuple):
    """What comes of a state and a noise at a node.

    Parameters
    ----------
    value : float
        Cost of the stage and, as far as cuts know, of what follows.
    cost : float
        Of the stage alone.
    outgoing : ndarray (num_states,)
    gradient : ndarray (num_states,)
        A subgradient of the value by the state that came in.
    noise_duals : ndarray (k,)
        The same by what the noise rows are raised by.
    columns : ndarray (n,)
        The whole decision.
    """

    value: float
    cost: float
    outgoing: np.ndarray
    gradient: np.ndarray
    noise_duals: np.ndarray
    columns: np.ndarray


class Node:
    """A stage with its future.

    Parameters
    ----------
    stage : Stage
    weights : sequence of float
        Of each future in the objective: the discount, or with several cuts the discount times a probability; none: the
        end.
    least_cost : float
        No more than a future can cost.
    """

    def __init__(self, stage: Stage, weights: Sequence[float], least_cost: float):
        self.stage = stage
        self.pools = [CutPool(len(stage.outgoing)) for _ in weights]
        count, futures = len(stage.cost), len(weights)
        matrix = coo_array(stage.matrix)
        wide = coo_array((matrix.data, (matrix.row, matrix.col)), shape=(matrix.shape[0], count + futures)).tocsr()
        self._futures = np.arange(count, count + futures)
        self.program = LinearProgram(
            np.concatenate([stage.cost, weights]),
            np.concatenate([stage.lower, np.full(futures, least_cost)]),
            np.concatenate([stage.upper, np.full(futures, np.inf)]),
            wide,
            stage.row_lower,
            stage.row_upper,
            stage.name,
        )
        self._rows: list[tuple[int, int]] = []  # (future, cut) of each row below those of the stage
        self._lower, self._upper = stage.row_lower[stage.noise_rows], stage.row_upper[stage.noise_rows]

    def draw(self, state: np.ndarray, noise: int) -> Visit:
        """Solve the program for a state that comes in and the number of a noise."""
        visit = self.visit(state, self.stage.noise(noise, state))
        if self.stage.noise_slopes is None:
            return visit
        return visit._replace(gradient=visit.gradient + visit.noise_duals @ self.stage.noise_slopes[noise])

    def visit(self, state: np.ndarray, raised: np.ndarray) -> Visit:
        """Solve the program for a state that comes in, and rows raised by a noise that is known."""
        stage, program = self.stage, self.program
        program.set_columns(stage.incoming, state, state)
        program.set_rows(stage.noise_rows, self._lower + raised, self._upper + raised)
        found = program.solve()
        columns = found.columns[: len(stage.cost)]
        cost = float(stage.cost @ columns)
        gradient, duals = found.reduced_costs[stage.incoming], found.row_duals[stage.noise_rows]
        return Visit(found.value, cost, columns[stage.outgoing], gradient, duals, columns)

    def add_cut(self, future: int, gradient: np.ndarray, intercept: float, state: np.ndarray | None) -> None:
        """Add a lower bound on a future: intercept + gradient . outgoing state."""
        number = self.pools[future].add(gradient, intercept, state)
        self._add_row(future, number)

    def select(self) -> None:
        """Take out the cuts that are highest nowhere, and bring back those that are highest somewhere."""
        first = len(self.stage.row_lower)
        wanted = {(future, cut) for future, pool in enumerate(self.pools) for cut in pool.selected().tolist()}
        gone = [row for row, key in enumerate(self._rows) if key not in wanted]
        self.program.delete_rows(np.array(gone, dtype=np.int32) + first)
        self._rows = [key for key in self._rows if key in wanted]
        for future, cut in sorted(wanted.difference(self._rows)):
            self._add_row(future, cut)

    @property
    def num_cuts(self) -> int:
        """In the program."""
        return len(self._rows)

    def _add_row(self, future: int, cut: int) -> None:
        pool = self.pools[future]
        gradient = pool.gradients[cut]
        columns = np.append(self.stage.outgoing, self._futures[future])
        self.program.add_row(float(pool.intercepts[cut]), np.inf, columns, np.append(-gradient, 1.0))
        self._rows.append((future, cut))
