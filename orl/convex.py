"""Convex programs at the speed of linear ones: a linear program, and rows that cut off what is not allowed.

A convex set is the set of all points that satisfy all its tangents. A program begins with few of them; after every
solve its parts are asked for rows that the solution violates, these are added, and the program is solved again from its
basis, until no row is violated by more than a tolerance. All rows stay valid, so they accumulate, and a program that is
solved again and again soon needs one solve.

Whatever the tolerance, value and duals are those of an outer approximation: of a program that allows more. Its value is
a lower bound on the convex program's, and the duals' tangent plane in bounds lies below the convex program's value, so
what is concluded from them, such as a cut of SDDP, is as valid as of a linear program.

References
----------
J. E. Kelley (1960). The cutting-plane method for solving convex programs. Journal of the Society for Industrial and
Applied Mathematics 8(4). doi 10.1137/0108053
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import highspy
import numpy as np
from scipy.sparse import csr_array

from orl.linear import LinearProgram, LinearSolution, NotSolved

MAX_ROUNDS = 500  # of one solve
AGE = 60  # solves in which a row has been slack, after which it may go
PATIENCE, LEAST_PATIENCE = 50.0, 2.0  # of the longest solve, seconds: what one from a basis may take
LEAST_ROWS = 20  # of each part, before any goes


class Rows(NamedTuple):
    """Some rows, values . x[columns] >= lower: row i takes entries starts[i] to starts[i + 1].

    Parameters
    ----------
    lower : ndarray (k,)
    starts : int ndarray (k + 1,)
    columns : int ndarray (starts[k],)
    values : ndarray (starts[k],)
    """

    lower: np.ndarray
    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray


NO_ROWS = Rows(np.zeros(0), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))


class Separate(Protocol):
    """What is convex in a stage, told by the rows that a decision violates."""

    @property
    def data(self) -> Sequence[np.ndarray]:
        """All that it depends on, for a fingerprint."""

    def __call__(self, columns: np.ndarray, tolerance: float) -> Rows:
        """Return rows that a decision (n,) violates by more than the tolerance; every allowed decision satisfies them.

        They are valid whatever state comes in and whatever noise is drawn.
        """


class Part(NamedTuple):
    """Something convex in a program.

    Parameters
    ----------
    separate : Separate
    columns : int ndarray (n,)
        Where its columns stand in the program; any number for those that are in none of its rows.
    """

    separate: Separate
    columns: np.ndarray


def convex_parts(parts: Sequence[tuple[Separate | None, np.ndarray]]) -> list[Part]:
    """Return the parts of stages that have something convex."""
    return [Part(separate, columns) for separate, columns in parts if separate is not None]


def violated(parts: Sequence[Part], found: np.ndarray, tolerance: float) -> Rows:
    """Return the rows of all parts that a solution (n,) violates, in the program's columns."""
    told = []
    for part in parts:
        rows = part.separate(found[part.columns], tolerance)
        if len(rows.lower):
            told.append(rows._replace(columns=part.columns[rows.columns]))
    if len(told) < 2:
        return told[0] if told else NO_ROWS
    starts = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(rows.starts) for rows in told]))])
    return Rows(
        np.concatenate([rows.lower for rows in told]),
        starts,
        np.concatenate([rows.columns for rows in told]),
        np.concatenate([rows.values for rows in told]),
    )


def add(highs: Any, rows: Rows) -> None:
    """Add rows to a program in HiGHS."""
    count, at = len(rows.lower), (rows.starts[:-1].astype(np.int32), rows.columns.astype(np.int32))
    highs.addRows(count, rows.lower, np.full(count, np.inf), len(rows.values), *at, rows.values)


def is_slack(highs: Any, rows: np.ndarray) -> np.ndarray:
    """Return whether rows are in the basis, so that the solution does not lean on them."""
    status = list(highs.getBasis().row_status)
    return np.array([status[row] == highspy.HighsBasisStatus.kBasic for row in rows.tolist()], dtype=bool)


def take_out(highs: Any, rows: np.ndarray) -> None:
    """Take rows that are slack out of a program in HiGHS, which goes on from its basis."""
    if not len(rows):
        return
    basis = highs.getBasis()
    highs.deleteRows(len(rows), rows.astype(np.int32))
    if basis.valid:
        left, gone = highspy.HighsBasis(), set(rows.tolist())
        left.col_status = basis.col_status
        left.row_status = [one for row, one in enumerate(basis.row_status) if row not in gone]
        left.valid = True
        highs.setBasis(left)


def build_program(
    cost: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    matrix: csr_array,
    row_lower: np.ndarray,
    row_upper: np.ndarray,
    name: str,
    parts: Sequence[tuple[Separate | None, np.ndarray]],
    tolerance: float,
) -> LinearProgram:
    """Return a program with what is convex in it; a linear one if its parts have nothing that is."""
    convex = convex_parts(parts)
    if not convex:
        return LinearProgram(cost, lower, upper, matrix, row_lower, row_upper, name)
    return ConvexProgram(cost, lower, upper, matrix, row_lower, row_upper, name, convex, tolerance)


class ConvexProgram(LinearProgram):
    """A linear program with parts that are convex. Rows are numbered as if those of the parts were not there.

    Parameters
    ----------
    cost, lower, upper, matrix, row_lower, row_upper, name
        See `LinearProgram`.
    parts : sequence of Part
    tolerance : float > 0
        By how much a solution may violate a row of theirs.

    Examples
    --------
    The point of the unit disc that lies farthest in the direction (1, 1):

    >>> class Disc:
    ...     data = ()
    ...     def __call__(self, x, tolerance):
    ...         size = np.hypot(*x)
    ...         if size <= 1 + tolerance:
    ...             return NO_ROWS
    ...         return Rows(-np.ones(1), np.array([0, 2]), np.arange(2), -x / size)
    >>> one, none = np.ones(2), csr_array((0, 2))
    >>> disc = [Part(Disc(), np.arange(2))]
    >>> made = ConvexProgram(-one, -2 * one, 2 * one, none, np.zeros(0), np.zeros(0), "disc", disc, 1e-9)
    >>> round(made.solve().value, 6)
    -1.414214
    """

    def __init__(
        self,
        cost: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        matrix: csr_array,
        row_lower: np.ndarray,
        row_upper: np.ndarray,
        name: str,
        parts: Sequence[Part],
        tolerance: float,
    ):
        super().__init__(cost, lower, upper, matrix, row_lower, row_upper, name)
        self.parts, self.tolerance = list(parts), tolerance
        self._begin(np.zeros(matrix.shape[0], dtype=bool), 0)

    def _begin(self, is_told: np.ndarray, num_kept: int) -> None:
        self._is_told = is_told  # of each row of the solver, whether a part told it
        self._num_kept = num_kept  # of those rows, how many the kept basis knows
        self._longest = 0.0  # seconds of a solve
        self._clock, self._limit = 0, LEAST_ROWS * len(self.parts)
        self._last = np.zeros(int(is_told.sum()), dtype=np.int64)  # solve in which each was last tight

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return state | {"convex": (self.parts, self.tolerance, self._is_told, self._num_kept)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.parts, self.tolerance, *told = state["convex"]
        self._begin(*told)

    @property
    def num_told(self) -> int:
        """How many rows of its parts the program holds."""
        return len(self._last)

    @property
    def num_rows(self) -> int:
        return super().num_rows - self.num_told

    def set_rows(self, rows: object, lower: object, upper: object) -> None:
        super().set_rows(self._places(rows), lower, upper)

    def add_row(self, lower: float, upper: float, columns: object, values: object) -> None:
        super().add_row(lower, upper, columns, values)
        self._is_told = np.append(self._is_told, False)

    def delete_rows(self, rows: object) -> None:
        places = self._places(rows)
        super().delete_rows(places)
        self._is_told = np.delete(self._is_told, places)

    def keep_basis(self) -> None:
        super().keep_basis()
        self._num_kept = self.num_told

    def solve(self, from_kept: bool = False) -> LinearSolution:
        """Return an optimum that violates no row by more than the tolerance.

        From the kept basis it is found with the rows that were there when it was kept, and no others, so that it
        depends on them alone.

        Raises
        ------
        NotSolved
            If there is none, or it is not found in `MAX_ROUNDS` rounds.
        """
        if from_kept:
            self._forget()
        for number in range(MAX_ROUNDS):
            found = super().solve(from_kept and number == 0)
            self._clock += 1
            if self.num_told:
                duals = found.row_duals
                self._last[duals[self._is_told] != 0] = self._clock
            rows = violated(self.parts, found.columns, self.tolerance)
            if not len(rows.lower):
                if self.num_told > self._limit and self._kept is None:
                    self._purge()
                return found
            self._add(rows)
        raise NotSolved(f"{self.name}: rows are violated by more than {self.tolerance:g} after {MAX_ROUNDS} rounds.")

    def _run(self) -> None:
        """Solve from the basis, for as long as a solve may take; then it is solved from scratch."""
        # From some bases the simplex method comes to no end, and makes no iteration either.
        began = self._highs.getRunTime()
        if self._clock:
            self._highs.setOptionValue("time_limit", began + max(LEAST_PATIENCE, PATIENCE * self._longest))
        self._highs.run()
        self._highs.setOptionValue("time_limit", np.inf)
        if self._highs.getModelStatus() != highspy.HighsModelStatus.kTimeLimit:  # what comes to no end tells nothing
            self._longest = max(self._longest, self._highs.getRunTime() - began)

    def _places(self, rows: object) -> np.ndarray:
        numbers = np.asarray(rows, dtype=np.int64)
        if not self.num_told or not len(numbers) or not self._is_told[: numbers.max() + 1].any():
            return numbers
        return np.flatnonzero(~self._is_told)[numbers]

    def _add(self, rows: Rows) -> None:
        count = len(rows.lower)
        add(self._highs, rows)
        self._is_told = np.append(self._is_told, np.ones(count, dtype=bool))
        self._last = np.append(self._last, np.full(count, self._clock))

    def _forget(self) -> None:
        """Take out the rows that were told since the basis was kept."""
        newer = np.flatnonzero(self._is_told)[self._num_kept :]
        if len(newer):
            super().delete_rows(newer)
            self._is_told, self._last = np.delete(self._is_told, newer), self._last[: self._num_kept]

    def _purge(self) -> None:
        """Take out the rows that have been slack for long."""
        told = np.flatnonzero(self._is_told)
        is_gone = is_slack(self._highs, told) & (self._clock - self._last > AGE)
        take_out(self._highs, told[is_gone])
        self._is_told, self._last = np.delete(self._is_told, told[is_gone]), self._last[~is_gone]
        self._limit = max(LEAST_ROWS * len(self.parts), int(1.5 * self.num_told))
