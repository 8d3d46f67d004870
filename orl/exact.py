"""A Pyomo model through HiGHS: limits, warm start, status, bound, progress, interruption.

The model is compiled to a matrix once (Pyomo's standard form) and handed to HiGHS directly: Pyomo's own HiGHS
interface passes no starting solution, no progress and no interruption through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import highspy
import numpy as np

from orl.convex import Rows, add, is_slack, take_out
from orl.hindsight import Solved, Start, is_met
from orl.result import Status
from orl.solver import Control

if TYPE_CHECKING:
    import pyomo.environ as pyo

Separate = Callable[[Callable[[Any], float]], Iterable[tuple[Any, Any, float]]]
PATIENCE, LEAST_PATIENCE = 20.0, 0.25  # of the longest round, seconds: what a linear program may take from its basis
SLACK_ROUNDS = 3  # after which a row that was told goes


class QuietHighs(highspy.Highs):
    """A HiGHS that does not greet on stdout, where a Result's JSON may go, and that can be cancelled."""

    def enableCallbacks(self) -> None:  # noqa: N802
        self.setOptionValue("output_flag", False)  # the greeting comes with the first callback
        super().enableCallbacks()
        self.HandleUserInterrupt = True


def solve_model(
    model: pyo.ConcreteModel,
    control: Control,
    start: Start = (),
    relative_gap: float = 0.0,
    threads: int = 1,
    seed: int = 0,
    separate: Separate | None = None,
) -> Solved:
    """Minimise a linear or mixed-integer Pyomo model, or a convex one without integers of which it is the linear part.

    Parameters
    ----------
    model : ConcreteModel with one objective to minimise
    control : Control
        Time limit and interruption; hears of every improvement.
    start : iterable of (variable, number)
        A starting solution; of a MILP all integer variables, HiGHS completes the rest.
    relative_gap : float
        Stop when (value - bound) / |value| is at most this. The status is 'optimal' only where the gap is closed.
    threads, seed : int
    separate : callable (value) -> iterable of (variables, coefficients, at least), or None
        Rows that a solution violates; it is solved again with them until there are none. A bound is proven after every
        round, a solution is one after the last.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(domain=pyo.NonNegativeIntegers)
    >>> m.c = pyo.Constraint(expr=2 * m.x >= 3)
    >>> m.cost = pyo.Objective(expr=m.x)
    >>> solved = solve_model(m, Control())
    >>> solved.status.value, solved.value, solved.bound
    ('optimal', 2.0, 2.0)
    """
    compiled = CompiledModel(model, threads, seed)
    if separate is None:
        return compiled.solve(control, start, relative_gap)
    if len(compiled.integers):
        raise ValueError("rows that a solution violates are for models without integers.")
    return compiled.solve_convex(control, separate)


class CompiledModel:
    """A Pyomo model as a matrix in HiGHS, which is solved again and again, some variables held and some let go.

    Parameters
    ----------
    model : ConcreteModel with one objective to minimise
    threads, seed : int
    tolerance : float or None
        Of primal and dual feasibility; None: that of HiGHS, 1e-7.

    Attributes
    ----------
    integers : int ndarray
        Columns of the integer variables.
    values : ndarray, or None
        Of all columns, in the solution that was found last.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var([0, 1], domain=pyo.NonNegativeIntegers, bounds=(0, 9))
    >>> m.c = pyo.Constraint(expr=2 * m.x[0] + 3 * m.x[1] >= 7)
    >>> m.cost = pyo.Objective(expr=m.x[0] + 2 * m.x[1])
    >>> compiled = CompiledModel(m)
    >>> compiled.hold(compiled.columns([m.x[1]]), [1.0])
    >>> compiled.solve(Control()).value
    4.0
    >>> compiled.let_go()
    >>> compiled.solve(Control()).value
    4.0
    >>> compiled.relax(compiled.integers)
    >>> compiled.solve(Control()).value
    3.5
    """

    def __init__(self, model: pyo.ConcreteModel, threads: int = 1, seed: int = 0, tolerance: float | None = None):
        from pyomo.opt import WriterFactory

        form = WriterFactory("compile_standard_form").write(model, mixed_form=True)
        self._column_of = {id(variable): column for column, variable in enumerate(form.columns)}
        self._variables = form.columns  # an id is of the living alone
        self._constraints = [row.constraint for row in form.rows]
        self._constant = float(form.c_offset[0])
        self._control, self._is_last = Control(), True
        self._lp = _linear_program(form)
        self.integers = np.flatnonzero([not variable.is_continuous() for variable in form.columns]).astype(np.int32)
        self._is_integer = np.zeros(len(form.columns), dtype=bool)
        self._is_integer[self.integers] = True
        self.values: np.ndarray | None = None
        self._highs = highs = QuietHighs()
        highs.setOptionValue("threads", threads)
        highs.setOptionValue("parallel", "off" if threads == 1 else "on")
        highs.setOptionValue("random_seed", seed % 2**31)
        if tolerance is not None:
            for option in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
                highs.setOptionValue(option, tolerance)
        highs.passModel(self._lp)
        self._listen()

    def columns(self, variables: Iterable[Any]) -> np.ndarray:
        """Return the columns of variables, less those that are fixed or in no constraint and of no cost."""
        places = (self._column_of.get(id(variable)) for variable in variables)
        return np.array([place for place in places if place is not None], dtype=np.int32)

    def hold(self, columns: np.ndarray, numbers: np.ndarray | Sequence[float]) -> None:
        """Hold columns at numbers."""
        numbers = np.asarray(numbers, dtype=np.float64)
        self._highs.changeColsBounds(len(columns), columns, numbers, numbers)

    def let_go(self, columns: np.ndarray | None = None) -> None:
        """Give columns, None: all of them, the bounds that they have in the model."""
        columns = np.arange(len(self._variables), dtype=np.int32) if columns is None else columns
        low, high = (np.asarray(x)[columns] for x in (self._lp.col_lower_, self._lp.col_upper_))
        self._highs.changeColsBounds(len(columns), columns, low, high)

    def relax(self, columns: np.ndarray) -> None:
        """Let columns be of any value from now on, and the other integer variables integer."""
        self._is_integer[:] = False
        self._is_integer[self.integers] = True
        self._is_integer[columns] = False
        kinds = self._is_integer.astype(np.uint8)  # continuous, integer
        self._highs.changeColsIntegrality(len(kinds), np.arange(len(kinds), dtype=np.int32), kinds)

    def solve(
        self, control: Control, start: Start | np.ndarray = (), relative_gap: float = 0.0, is_first_enough: bool = False
    ) -> Solved:
        """Minimise; see `solve_model`. A start may be the values of all columns; the first solution may be enough."""
        highs, is_milp = self._highs, bool(self._is_integer.any())
        self._control = control
        highs.setOptionValue("mip_rel_gap", relative_gap)
        highs.setOptionValue("mip_abs_gap", 1e-9 if relative_gap == 0 else 0.0)
        # Integer programs that HiGHS 1.14 has presolved, or presolved again at a restart, had optima that were none, of
        # 7 columns as well as of 2,279, whatever rule was left out (tests: "origin", "cheaper in overtime", "X12117E").
        highs.setOptionValue("presolve", "off" if is_milp else "choose")
        highs.setOptionValue("time_limit", min(control.remaining, highspy.kHighsInf))
        highs.setOptionValue("mip_max_improving_sols", 1 if is_first_enough else highspy.kHighsIInf)
        self._begin(start)
        self._run()
        return self._read(is_milp)

    def solve_convex(self, control: Control, separate: Separate) -> Solved:
        """Minimise a model without integers; rows that solutions violate are added until one violates none."""
        self._is_last = False
        solved = self.solve(control)
        highs, first, bound = self._highs, self._highs.getNumRow(), solved.bound
        longest = highs.getRunTime()  # seconds of a round
        slack = np.zeros(0, dtype=np.int64)  # in how many rounds each added row has been slack, one after another
        while solved.of is not None:
            told = list(separate(solved.of))
            if not told:
                return solved
            if control.should_stop:
                break
            is_loose = is_slack(highs, np.arange(first, highs.getNumRow()))
            slack = np.where(is_loose, slack + 1, 0)
            take_out(highs, first + np.flatnonzero(slack >= SLACK_ROUNDS))
            slack = slack[slack < SLACK_ROUNDS]
            add(highs, self._rows(told))
            slack = np.concatenate([slack, np.zeros(len(told), dtype=np.int64)])
            self._limit(min(control.remaining, max(LEAST_PATIENCE, PATIENCE * longest)))
            began = highs.getRunTime()
            self._run()
            if highs.getModelStatus() == highspy.HighsModelStatus.kTimeLimit and not control.should_stop:
                # From some bases the simplex method comes to no end, and makes no iteration either.
                highs.clearSolver()
                began = highs.getRunTime()  # what comes to no end tells nothing of how long a round takes
                self._limit(control.remaining)
                self._run()
            longest = max(longest, highs.getRunTime() - began)
            solved = self._read(is_milp=False)
            if solved.bound is not None:
                bound = solved.bound if bound is None else max(bound, solved.bound)
                control.report(bound=bound)
        if solved.status in (Status.INFEASIBLE, Status.UNBOUNDED):
            return solved
        status = Status.INTERRUPTED if control.is_interrupted else Status.NO_SOLUTION
        return Solved(status, None, bound, None, solved.nodes)

    def duals(self) -> dict[str, float]:
        """Return the dual values of the linear program solved last, by constraint, those that are 0 left out.

        Each is the derivative of the value by the side that the constraint is at; the two rows of a range are one.
        """
        found: dict[str, float] = {}
        for constraint, dual in zip(self._constraints, self._highs.getSolution().row_dual, strict=True):
            if dual:
                found[constraint.name] = found.get(constraint.name, 0.0) + dual
        return found

    def add_to_costs(self, amounts: Mapping[str, float]) -> None:
        """Add to the costs that the model gives to some variables; earlier additions are forgotten."""
        costs = np.array(self._lp.col_cost_)
        for column, variable in enumerate(self._variables):
            costs[column] += amounts.get(variable.name, 0.0)
        self._highs.changeColsCost(len(costs), np.arange(len(costs), dtype=np.int32), costs)

    def reader(self, values: np.ndarray) -> Callable[[Any], float]:
        """Return what tells a variable's number from the values of all columns."""

        def of(variable: Any) -> float:
            column = self._column_of.get(id(variable))
            if column is not None:
                return float(values[column])
            # Fixed, or in no constraint and of no cost: any number within the bounds will do.
            return float(variable.value if variable.fixed else max(variable.lb or 0.0, min(0.0, variable.ub or 0.0)))

        return of

    # private

    def _begin(self, start: Start | np.ndarray) -> None:
        if isinstance(start, np.ndarray):
            solution = highspy.HighsSolution()
            solution.col_value = start.tolist()
            self._highs.setSolution(solution)
            return
        known = [(self._column_of[id(x)], number) for x, number in start if id(x) in self._column_of]
        if known:
            columns, numbers = zip(*known, strict=True)
            columns, numbers = np.array(columns, dtype=np.int32), np.array(numbers, dtype=np.float64)
            self._highs.setSolution(len(known), columns, numbers)

    def _limit(self, seconds: float) -> None:
        """Give the next run so many seconds."""
        self._highs.setOptionValue("time_limit", self._highs.getRunTime() + seconds)

    def _rows(self, told: Sequence[tuple[Any, Any, float]]) -> Rows:
        starts = np.cumsum([0, *(len(variables) for variables, _, _ in told)])
        columns = [self._column_of[id(variable)] for variables, _, _ in told for variable in variables]
        values = np.concatenate([np.asarray(numbers, dtype=np.float64) for _, numbers, _ in told])
        least = np.array([at_least for _, _, at_least in told], dtype=np.float64)
        return Rows(least, starts, np.array(columns, dtype=np.int64), values)

    def _listen(self) -> None:
        """Report bounds, and values where solutions are not cut off later."""

        def improved(event: Any) -> None:
            if self._is_last:
                self._control.report(value=_finite(event.data_out.objective_function_value))

        def logged(event: Any) -> None:
            found = event.data_out
            value = _finite(found.mip_primal_bound) if self._is_last else None
            self._control.report(value=value, bound=_finite(found.mip_dual_bound))

        self._highs.cbMipImprovingSolution += improved
        self._highs.cbMipLogging += logged

    def _run(self) -> None:
        highs = self._highs
        if self._control.wait_for(highs.run, highs.cancelSolve) == highspy.HighsStatus.kError:
            raise RuntimeError(f"HiGHS failed: {highs.modelStatusToString(highs.getModelStatus())}.")

    def _read(self, is_milp: bool) -> Solved:
        highs, has_columns = self._highs, bool(len(self._variables))
        info = highs.getInfo()
        nodes = max(0, int(info.mip_node_count))
        status = _STATUS.get(highs.getModelStatus())
        if highs.getModelStatus() == highspy.HighsModelStatus.kUnboundedOrInfeasible:
            status = self._unbounded_or_infeasible()
        if status in (Status.INFEASIBLE, Status.UNBOUNDED):
            return Solved(status, None, None, None, nodes)
        is_feasible = not has_columns or info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        objective = float(info.objective_function_value) if has_columns else self._constant  # HiGHS says 0 if empty
        value = objective if is_feasible else None
        lp_bound = value if status == Status.OPTIMAL else None
        bound = _finite(info.mip_dual_bound) if is_milp else lp_bound
        if status == Status.OPTIMAL and not is_met(value, bound):  # HiGHS calls a gap within the setting optimal
            status = Status.FEASIBLE
        elif status is None and self._control.is_interrupted:
            status = Status.INTERRUPTED
        elif status is None:
            status = Status.FEASIBLE if is_feasible else Status.NO_SOLUTION
        if not is_feasible:
            return Solved(status, None, bound, None, nodes)
        self.values = values = np.array(highs.getSolution().col_value)
        return Solved(status, value, bound, self.reader(values), nodes)

    def _unbounded_or_infeasible(self) -> Status | None:
        """Tell the two apart: a model that is feasible without its objective is unbounded with it."""
        highs, columns = self._highs, np.arange(len(self._variables), dtype=np.int32)
        highs.changeColsCost(len(columns), columns, np.zeros(len(columns)))
        self._run()
        status = _STATUS.get(highs.getModelStatus())
        highs.changeColsCost(len(columns), columns, np.asarray(self._lp.col_cost_))
        return Status.UNBOUNDED if status == Status.OPTIMAL else status


def _linear_program(form: Any) -> highspy.HighsLp:
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(form.columns), len(form.rows)
    lp.col_cost_ = form.c.toarray().ravel()
    lp.offset_ = float(form.c_offset[0])
    bounds = [variable.bounds for variable in form.columns]
    lp.col_lower_ = np.array([-math.inf if low is None else low for low, _ in bounds], dtype=np.float64)
    lp.col_upper_ = np.array([math.inf if high is None else high for _, high in bounds], dtype=np.float64)
    sense = np.array([row.bound_type for row in form.rows], dtype=np.int8)  # -1: >=, 0: ==, 1: <=
    lp.row_lower_ = np.where(sense <= 0, form.rhs, -math.inf)
    lp.row_upper_ = np.where(sense >= 0, form.rhs, math.inf)
    matrix = form.A.tocsc()
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    kinds = highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger
    lp.integrality_ = [kinds[not variable.is_continuous()] for variable in form.columns]
    return lp


_STATUS = {
    highspy.HighsModelStatus.kOptimal: Status.OPTIMAL,
    highspy.HighsModelStatus.kModelEmpty: Status.OPTIMAL,
    highspy.HighsModelStatus.kInfeasible: Status.INFEASIBLE,
    highspy.HighsModelStatus.kUnbounded: Status.UNBOUNDED,
}


def _finite(x: float) -> float | None:
    return float(x) if abs(x) < highspy.kHighsInf and math.isfinite(x) else None
