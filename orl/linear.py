"""A linear program that stays in HiGHS: solved again and again with other bounds, from the last basis.

A call to HiGHS costs some tens of microseconds, a re-solve of a small program with a warm basis a few tenths of a
millisecond; through a modelling language it is ten times that.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import highspy
import numpy as np
from scipy.sparse import csr_array

TOLERANCE = 1e-9  # of primal and dual feasibility


class LinearSolution(NamedTuple):
    """The optimum of a linear program.

    Parameters
    ----------
    value : float
    columns : ndarray (n,)
    reduced_costs : ndarray (n,)
        Derivative of the value by the bound that a column is at.
    row_duals : ndarray (m,)
        Derivative of the value by the bound that a row is at.
    """

    value: float
    columns: np.ndarray
    reduced_costs: np.ndarray
    row_duals: np.ndarray


class NotSolved(RuntimeError):
    """A linear program has no optimum; the message names status, coefficient ranges and the file it was saved to."""


class _Silent(highspy.Highs):
    """A HiGHS without callbacks, which a re-solve would pay for, and without greetings."""

    def enableCallbacks(self) -> None:  # noqa: N802
        self.setOptionValue("output_flag", False)


class LinearProgram:
    """Minimise cost' x subject to bounds on x and on matrix x.

    Parameters
    ----------
    cost, lower, upper : ndarray (n,)
        Bounds may be infinite.
    matrix : sparse array (m, n)
    row_lower, row_upper : ndarray (m,)
    name : str
        For messages and the name of the file that a failed program is saved to.

    Examples
    --------
    >>> one = np.ones(1)
    >>> program = LinearProgram(one, 0 * one, 9 * one, csr_array([[1.0]]), 2 * one, np.inf * one)
    >>> program.solve().value
    2.0
    >>> program.set_rows([0], [3.0], [np.inf])
    >>> program.solve().value
    3.0
    """

    def __init__(
        self,
        cost: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        matrix: csr_array,
        row_lower: np.ndarray,
        row_upper: np.ndarray,
        name: str = "program",
    ):
        self.name = name
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = matrix.shape
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = (np.asarray(x, dtype=np.float64) for x in (cost, lower, upper))
        lp.row_lower_, lp.row_upper_ = (np.asarray(x, dtype=np.float64) for x in (row_lower, row_upper))
        matrix = csr_array(matrix)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)
        lp.a_matrix_.value_ = matrix.data.astype(np.float64)
        self._highs: Any = _Silent()
        for option in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
            self._highs.setOptionValue(option, TOLERANCE)
        self._highs.setOptionValue("threads", 1)
        self._highs.setOptionValue("solver", "simplex")
        self._highs.passModel(lp)
        self._kept: highspy.HighsBasis | None = None

    @property
    def num_rows(self) -> int:
        return int(self._highs.getNumRow())

    def set_rows(self, rows: object, lower: object, upper: object) -> None:
        """Set the bounds of some rows."""
        rows = np.asarray(rows, dtype=np.int32)
        self._highs.changeRowsBounds(len(rows), rows, *(np.asarray(x, dtype=np.float64) for x in (lower, upper)))

    def set_columns(self, columns: object, lower: object, upper: object) -> None:
        """Set the bounds of some columns."""
        columns = np.asarray(columns, dtype=np.int32)
        self._highs.changeColsBounds(len(columns), columns, *(np.asarray(x, np.float64) for x in (lower, upper)))

    def set_costs(self, columns: object, costs: object) -> None:
        """Set the costs of some columns."""
        columns = np.asarray(columns, dtype=np.int32)
        self._highs.changeColsCost(len(columns), columns, np.asarray(costs, dtype=np.float64))

    def add_row(self, lower: float, upper: float, columns: object, values: object) -> None:
        """Add a row below the others."""
        columns = np.asarray(columns, dtype=np.int32)
        self._highs.addRow(lower, upper, len(columns), columns, np.asarray(values, dtype=np.float64))

    def delete_rows(self, rows: object) -> None:
        """Take rows out; those below them move up."""
        rows = np.asarray(rows, dtype=np.int32)
        if len(rows):
            self._highs.deleteRows(len(rows), rows)

    def keep_basis(self) -> None:
        """Remember the basis of the last solution for `solve(from_kept=True)`."""
        self._kept = self._highs.getBasis()

    def solve(self, from_kept: bool = False) -> LinearSolution:
        """Return the optimum, found from the last basis or the kept one, on which it then depends alone; from scratch
        if that fails.

        Raises
        ------
        NotSolved
            If there is none.
        """
        if from_kept and self._kept is not None:
            self._highs.clearSolver()
            self._highs.setBasis(self._kept)
        self._highs.run()
        if self._highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            self._highs.clearSolver()
            self._highs.run()
        if self._highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise NotSolved(self._failure())
        solution = self._highs.getSolution()
        return LinearSolution(
            float(self._highs.getInfo().objective_function_value),
            np.array(solution.col_value),
            np.array(solution.col_dual),
            np.array(solution.row_dual),
        )

    def _failure(self) -> str:
        """Save the program, and say what is known of it."""
        status = self._highs.modelStatusToString(self._highs.getModelStatus())
        file = Path(tempfile.mkdtemp(prefix="orl-")) / f"{self.name}.lp"
        self._highs.writeModel(str(file))
        lp = self._highs.getLp()
        parts = (
            ("costs", lp.col_cost_),
            ("matrix", lp.a_matrix_.value_),
            ("row bounds", [*lp.row_lower_, *lp.row_upper_]),
        )
        ranges = ", ".join(f"{name} {_range(np.array(values))}" for name, values in parts)
        return f"{self.name} has no optimum ({status.lower()}); it is saved as {file}; sizes of coefficients: {ranges}."


def _range(values: np.ndarray) -> str:
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    return f"{sizes.min():.1g}..{sizes.max():.1g}" if len(sizes) else "none"
