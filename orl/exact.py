"""A Pyomo model through HiGHS: limits, warm start, status, bound, progress, interruption.

The model is compiled to a matrix once (Pyomo's standard form) and handed to HiGHS directly: Pyomo's own HiGHS
interface passes no starting solution, no progress and no interruption through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
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
AGGREGATOR = 1 << 12  # of the rules that HiGHS presolves by
SMALL = 500  # columns of an integer program that needs no presolving


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
    from pyomo.opt import WriterFactory

    form = WriterFactory("compile_standard_form").write(model, mixed_form=True)
    column_of = {id(variable): column for column, variable in enumerate(form.columns)}
    highs = QuietHighs()
    highs.setOptionValue("mip_rel_gap", relative_gap)
    highs.setOptionValue("mip_abs_gap", 1e-9 if relative_gap == 0 else 0.0)
    if is_milp := any(not variable.is_continuous() for variable in form.columns):
        if separate is not None:
            raise ValueError("rows that a solution violates are for models without integers.")
        # With it HiGHS 1.14 has called 0.5 the optimum of a program whose origin is feasible and costs 0 (tests:
        # "origin"). Linear programs keep it: without it one that is infeasible was not done in a minute.
        highs.setOptionValue("presolve_rule_off", AGGREGATOR)
        if len(form.columns) <= SMALL:
            highs.setOptionValue("presolve", "off")  # no rule left out mends another (tests: "cheaper in overtime")
    highs.setOptionValue("threads", threads)
    highs.setOptionValue("parallel", "off" if threads == 1 else "on")
    highs.setOptionValue("random_seed", seed % 2**31)
    if math.isfinite(control.remaining):
        highs.setOptionValue("time_limit", control.remaining)
    highs.passModel(_linear_program(form))
    start = [(column_of[id(variable)], number) for variable, number in start if id(variable) in column_of]
    if start:
        columns, numbers = zip(*start, strict=True)
        highs.setSolution(len(start), np.array(columns, dtype=np.int32), np.array(numbers, dtype=np.float64))
    _listen(highs, control, is_last=separate is None)
    _run(highs, control)
    solved = _read(highs, control, column_of, is_milp, float(form.c_offset[0]))
    if separate is None:
        return solved
    return _cut_off(
        highs,
        control,
        solved,
        separate,
        column_of,
        lambda: _read(highs, control, column_of, is_milp, float(form.c_offset[0])),
    )


def _cut_off(
    highs: highspy.Highs,
    control: Control,
    solved: Solved,
    separate: Separate,
    column_of: dict[int, int],
    read: Callable[[], Solved],
) -> Solved:
    """Add the rows that solutions violate until one violates none."""
    first, bound = highs.getNumRow(), solved.bound
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
        add(highs, _rows(told, column_of))
        slack = np.concatenate([slack, np.zeros(len(told), dtype=np.int64)])
        patience = max(LEAST_PATIENCE, PATIENCE * longest)
        _limit(highs, min(control.remaining, patience))
        began = highs.getRunTime()
        _run(highs, control)
        if highs.getModelStatus() == highspy.HighsModelStatus.kTimeLimit and not control.should_stop:
            # From some bases the simplex method comes to no end, and makes no iteration either.
            highs.clearSolver()
            _limit(highs, control.remaining)
            _run(highs, control)
        longest = max(longest, highs.getRunTime() - began)
        solved = read()
        if solved.bound is not None:
            bound = solved.bound if bound is None else max(bound, solved.bound)
            control.report(bound=bound)
    if solved.status in (Status.INFEASIBLE, Status.UNBOUNDED):
        return solved
    return Solved(Status.INTERRUPTED if control.is_interrupted else Status.NO_SOLUTION, None, bound, None, solved.nodes)


def _limit(highs: highspy.Highs, seconds: float) -> None:
    """Give the next run so many seconds."""
    highs.setOptionValue("time_limit", highs.getRunTime() + seconds)


def _rows(told: Sequence[tuple[Any, Any, float]], column_of: dict[int, int]) -> Rows:
    starts = np.cumsum([0, *(len(variables) for variables, _, _ in told)])
    columns = np.array([column_of[id(variable)] for variables, _, _ in told for variable in variables], dtype=np.int64)
    values = np.concatenate([np.asarray(numbers, dtype=np.float64) for _, numbers, _ in told])
    return Rows(np.array([at_least for _, _, at_least in told], dtype=np.float64), starts, columns, values)


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


def _listen(highs: highspy.Highs, control: Control, is_last: bool = True) -> None:
    """Report bounds, and values where solutions are not cut off later."""

    def improved(event: Any) -> None:
        if is_last:
            control.report(value=_finite(event.data_out.objective_function_value))

    def logged(event: Any) -> None:
        value = _finite(event.data_out.mip_primal_bound) if is_last else None
        control.report(value=value, bound=_finite(event.data_out.mip_dual_bound))

    highs.cbMipImprovingSolution += improved
    highs.cbMipLogging += logged


def _run(highs: highspy.Highs, control: Control) -> None:
    if control.wait_for(highs.run, highs.cancelSolve) == highspy.HighsStatus.kError:
        raise RuntimeError(f"HiGHS failed: {highs.modelStatusToString(highs.getModelStatus())}.")


def _read(highs: highspy.Highs, control: Control, column_of: dict[int, int], is_milp: bool, constant: float) -> Solved:
    info = highs.getInfo()
    nodes = max(0, int(info.mip_node_count))
    status = _STATUS.get(highs.getModelStatus())
    if highs.getModelStatus() == highspy.HighsModelStatus.kUnboundedOrInfeasible:
        status = _unbounded_or_infeasible(highs, control)
    if status in (Status.INFEASIBLE, Status.UNBOUNDED):
        return Solved(status, None, None, None, nodes)
    is_feasible = not column_of or info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    objective = float(info.objective_function_value) if column_of else constant  # HiGHS says 0 of an empty model
    value = objective if is_feasible else None
    lp_bound = value if status == Status.OPTIMAL else None
    bound = _finite(info.mip_dual_bound) if is_milp else lp_bound
    if status == Status.OPTIMAL and not is_met(value, bound):  # HiGHS calls a gap within the setting optimal
        status = Status.FEASIBLE
    elif status is None and control.is_interrupted:
        status = Status.INTERRUPTED
    elif status is None:
        status = Status.FEASIBLE if is_feasible else Status.NO_SOLUTION
    values = np.array(highs.getSolution().col_value)

    def of(variable: Any) -> float:
        column = column_of.get(id(variable))
        if column is not None:
            return float(values[column])
        # Fixed, or in no constraint and of no cost: any number within the bounds will do.
        return float(variable.value if variable.fixed else max(variable.lb or 0.0, min(0.0, variable.ub or 0.0)))

    return Solved(status, value, bound, of if is_feasible else None, nodes)


_STATUS = {
    highspy.HighsModelStatus.kOptimal: Status.OPTIMAL,
    highspy.HighsModelStatus.kModelEmpty: Status.OPTIMAL,
    highspy.HighsModelStatus.kInfeasible: Status.INFEASIBLE,
    highspy.HighsModelStatus.kUnbounded: Status.UNBOUNDED,
}


def _unbounded_or_infeasible(highs: highspy.Highs, control: Control) -> Status | None:
    """Tell the two apart: a model that is feasible without its objective is unbounded with it."""
    columns = np.arange(highs.getNumCol(), dtype=np.int32)
    highs.changeColsCost(len(columns), columns, np.zeros(len(columns)))
    _run(highs, control)
    status = _STATUS.get(highs.getModelStatus())
    return Status.UNBOUNDED if status == Status.OPTIMAL else status


def _finite(x: float) -> float | None:
    return float(x) if abs(x) < highspy.kHighsInf and math.isfinite(x) else None
