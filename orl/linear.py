"""A linear program that stays in HiGHS: solved again and again with other bounds, from the last basis.

A call to HiGHS costs some tens of microseconds, a re-solve of a small program with a warm basis a few tenths of a
millisecond; through a modelling language it is ten times that.
"""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highspy
import numpy as np
from scipy.sparse import csc_array, csr_array

from orl.errors import InputError

TOLERANCE = 1e-9  # of primal and dual feasibility
ITERATIONS = 10  # of the simplex method, a row and column, before it is taken to cycle; then it starts from scratch


@dataclass(frozen=True, slots=True, eq=False)
class LinearSolution:
    """The optimum of a linear program; vectors are copied from the solver's lists when they are read.

    Parameters
    ----------
    value : float
    solution : highspy.HighsSolution
    """

    value: float
    solution: Any

    @property
    def columns(self) -> np.ndarray:
        """Of shape (n,)."""
        return np.array(self.solution.col_value)

    @property
    def reduced_costs(self) -> np.ndarray:
        """Derivative of the value by the bound that a column is at, (n,)."""
        return np.array(self.solution.col_dual)

    @property
    def row_duals(self) -> np.ndarray:
        """Derivative of the value by the bound that a row is at, (m,)."""
        return np.array(self.solution.row_dual)


# What is tried one after another, each from scratch, where the warm start fails. Only the last one is content with less
# than the tolerance, and of primal feasibility alone: duals, and what is concluded from them, are as exact as ever.
RETRIES: tuple[dict[str, str | int | float], ...] = (
    {},
    {"presolve": "off"},
    {"presolve": "off", "simplex_scale_strategy": 0},
    {"presolve": "off", "solver": "ipm"},
    {"presolve": "off", "primal_feasibility_tolerance": 1e-7},
)


class NotSolved(InputError):
    """Report a linear program without an optimum: its status, coefficient ranges and the file it was saved to."""


class _Silent(highspy.Highs):
    """A HiGHS without callbacks, which a re-solve would pay for, and without greetings."""

    def enableCallbacks(self) -> None:  # noqa: N802
        self.setOptionValue("output_flag", False)


class LinearProgram:
    """Minimise cost' x subject to bounds on x and on matrix x.

    A pickled or copied program is built anew from its data. The kept basis goes along; the last one does not, so the
    first solve of the copy begins at the kept basis, or from scratch. Hold the `lock` from setting bounds to solving if
    several threads ask.

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
        self._build(cost, lower, upper, csr_array(matrix), row_lower, row_upper)
        self._kept: highspy.HighsBasis | None = None

    def __getstate__(self) -> dict[str, Any]:
        lp, kept = self._highs.getLp(), self._kept
        matrix = lp.a_matrix_
        kind = csc_array if matrix.format_ == highspy.MatrixFormat.kColwise else csr_array
        data = tuple(np.array(x) for x in (matrix.value_, matrix.index_, matrix.start_))
        rows = csr_array(kind(data, shape=(lp.num_row_, lp.num_col_)))
        rows.sort_indices()  # one order, whatever the solver made of it: equal programs are solved alike
        bounds = (lp.col_cost_, lp.col_lower_, lp.col_upper_), (lp.row_lower_, lp.row_upper_)
        return {
            "name": self.name,
            "data": (*map(np.array, bounds[0]), rows, *map(np.array, bounds[1])),
            "kept": kept and [[int(x) for x in part] for part in (kept.col_status, kept.row_status)],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.name = state["name"]
        self._build(*state["data"])
        self._kept = None
        if state["kept"]:
            self._kept = highspy.HighsBasis()
            self._kept.col_status, self._kept.row_status = (
                [highspy.HighsBasisStatus(x) for x in part] for part in state["kept"]
            )
            self._kept.valid = True
            self._highs.setBasis(self._kept)

    def _build(
        self,
        cost: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        matrix: csr_array,
        row_lower: np.ndarray,
        row_upper: np.ndarray,
    ) -> None:
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = matrix.shape
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = (np.asarray(x, dtype=np.float64) for x in (cost, lower, upper))
        lp.row_lower_, lp.row_upper_ = (np.asarray(x, dtype=np.float64) for x in (row_lower, row_upper))
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)
        lp.a_matrix_.value_ = matrix.data.astype(np.float64)
        self._highs: Any = _Silent()
        for option in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
            self._highs.setOptionValue(option, TOLERANCE)
        self._highs.setOptionValue("threads", 1)
        self._highs.setOptionValue("solver", "simplex")
        # From a warm basis the simplex method has been seen to cycle without end, once in a hundred thousand solves.
        self._highs.setOptionValue("simplex_iteration_limit", ITERATIONS * (1000 + sum(matrix.shape)))
        self._highs.passModel(lp)
        self.lock = threading.Lock()

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
        basis = self._highs.getBasis()
        self._kept = basis if basis.valid else None

    def solve(self, from_kept: bool = False) -> LinearSolution:
        """Return the optimum, found from the last basis or the kept one, on which it then depends alone.

        If that fails, as it does in some of a hundred thousand solves, it is found from scratch, in the end by other
        algorithms.

        Raises
        ------
        NotSolved
            If there is none.
        """
        if from_kept:
            self._highs.clearSolver()
            if self._kept is not None:
                self._highs.setBasis(self._kept)
        self._run()
        if self._highs.getModelStatus() != highspy.HighsModelStatus.kOptimal and not self._solve_from_scratch():
            raise NotSolved(self._failure())
        return LinearSolution(self._highs.getObjectiveValue(), self._highs.getSolution())

    def _run(self) -> None:
        """Solve from the basis that there is."""
        self._highs.run()

    def _solve_from_scratch(self) -> bool:
        """Return whether one of the RETRIES finds the optimum, or proves that there is none."""
        proven = (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnbounded)
        for options in RETRIES:
            before = {name: self._highs.getOptionValue(name)[1] for name in options}
            for name, value in options.items():
                self._highs.setOptionValue(name, value)
            self._highs.clearSolver()
            self._highs.run()
            for name, value in before.items():
                self._highs.setOptionValue(name, value)
            status = self._highs.getModelStatus()
            if status == highspy.HighsModelStatus.kOptimal or status in proven:
                break
        return status == highspy.HighsModelStatus.kOptimal

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
        is_infeasible = self._highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible
        why = f"{status.lower()}, limits contradict one another" if is_infeasible else status.lower()
        return f"{self.name} has no optimum ({why}); it is saved as {file}; sizes of coefficients: {ranges}."


def _range(values: np.ndarray) -> str:
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    return f"{sizes.min():.1g}..{sizes.max():.1g}" if len(sizes) else "none"
