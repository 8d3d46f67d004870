"""A node of the graph as a program that stays in the solver: its stage, and cuts on the cost of what follows."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property

import numpy as np
from scipy.sparse import coo_array

from orl.convex import build_program
from orl.linear import LinearSolution
from orl.stages import Stage

from .cuts import CutPool


class Visit:
    """What comes of a state and a noise at a node; computed when it is read, as a backward pass needs but a part.

    Parameters
    ----------
    stage : Stage
    found : LinearSolution
    slopes : ndarray (k, num_states), or None
        What a unit of the state that came in added to the noise.
    """

    def __init__(self, stage: Stage, found: LinearSolution, slopes: np.ndarray | None = None):
        self._stage, self._found, self._slopes = stage, found, slopes

    @property
    def value(self) -> float:
        """Cost of the stage and, as far as cuts know, of what follows."""
        return self._found.value

    @property
    def gradient(self) -> np.ndarray:
        """A subgradient of the value by the state that came in, (num_states,)."""
        gradient = self._found.reduced_costs[self._stage.incoming]
        if self._slopes is None:
            return gradient
        return gradient + self._found.row_duals[self._stage.noise_rows] @ self._slopes

    @property
    def row_duals(self) -> np.ndarray:
        """Of the stage's rows and the cuts in the program, in their order."""
        return self._found.row_duals

    @cached_property
    def columns(self) -> np.ndarray:
        """The whole decision, (n,)."""
        return self._found.columns[: len(self._stage.cost)]

    @property
    def outgoing(self) -> np.ndarray:
        """State that goes out, (num_states,)."""
        return self.columns[self._stage.outgoing]

    @property
    def cost(self) -> float:
        """Of the stage alone."""
        return float(self._stage.cost @ self.columns)


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
        self.program = build_program(
            np.concatenate([stage.cost, weights]),
            np.concatenate([stage.lower, np.full(futures, least_cost)]),
            np.concatenate([stage.upper, np.full(futures, np.inf)]),
            wide,
            stage.row_lower,
            stage.row_upper,
            stage.name,
            [(stage.separate, np.arange(count))],
            stage.tolerance,
        )
        self._weights, self._least_cost = list(weights), least_cost
        self._future: tuple[np.ndarray, np.ndarray] | None = None  # of a settled node
        self._is_settled = False
        self._rows: list[tuple[int, int]] = []  # (future, cut) of each row below those of the stage
        self._incoming, self._noise_rows = (x.astype(np.int32) for x in (stage.incoming, stage.noise_rows))
        self._lower, self._upper = stage.row_lower[stage.noise_rows], stage.row_upper[stage.noise_rows]

    def visit(self, state: np.ndarray, raised: np.ndarray) -> Visit:
        """Solve the program for a state that comes in, and rows raised by a noise that is known."""
        return self._visits(state, raised[None], None)[0]

    def draw(self, state: np.ndarray, number: int) -> Visit:
        """Solve the program for a state that comes in and the number of a noise."""
        return self.draws(state, [number])[0]

    def draws(self, state: np.ndarray, numbers: Sequence[int] | None = None) -> list[Visit]:
        """Solve the program for a state that comes in and each of some noises; None: of all."""
        which = slice(None) if numbers is None else list(numbers)
        noises, slopes = self.stage.noises[which], self.stage.noise_slopes
        if slopes is None:
            return self._visits(state, noises, None)
        return self._visits(state, noises + slopes[which] @ state, slopes[which])

    def _visits(self, state: np.ndarray, raised: np.ndarray, slopes: np.ndarray | None) -> list[Visit]:
        program, found = self.program, []
        with program.lock:
            program.set_columns(self._incoming, state, state)
            for number, by in enumerate(raised):
                program.set_rows(self._noise_rows, self._lower + by, self._upper + by)
                solved = program.solve(from_kept=self._is_settled)
                found.append(Visit(self.stage, solved, None if slopes is None else slopes[number]))
        return found

    def settled(self) -> Node:
        """Return a copy to decide by, which learns no more.

        Of several decisions that are as good as one another, which one is found depends on the basis that the solver
        begins at. The copy always begins at the one of now: the same question has the same answer, whatever was asked
        before, and in a copy of the copy, too.
        """
        self.program.solve()  # a selection of cuts may have left it without a basis
        self.program.keep_basis()
        other = copy(self)
        other.program, other._future = copy(self.program), self.future() if len(self._weights) < 2 else None
        other.pools, other._is_settled = [], True
        return other

    def future(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the future as the cuts in the program have it, discounted: intercepts (n,), slopes (n, num_states).

        It is the highest of intercepts + slopes . outgoing state. Of a node with one future or none.
        """
        if self._future is not None:
            return self._future
        floor = np.zeros((1, len(self.stage.outgoing)))
        if not self._weights:
            return np.zeros(1), floor
        (weight,), pool, kept = self._weights, self.pools[0], [cut for _, cut in self._rows]
        intercepts = np.append(pool.intercepts[kept], self._least_cost)
        return weight * intercepts, weight * np.vstack([pool.gradients[kept], floor])

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
