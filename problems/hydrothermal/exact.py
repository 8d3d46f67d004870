"""The deterministic equivalent in Pyomo: one path of inflows known beforehand, or the tree of several.

Sets
    N       nodes of the tree, see `exact_tree`; one path: its stages. m is the node before n
    a stage's rows and columns, see `stages`

Parameters
    g_n     probability of a node times the discount of its stage
    a_nr    inflow, m3/s
    c, A, b, l, u       of a stage, see `stages`; B the coefficients of the volumes that come in

Variables
    x_n     all that is decided in a stage: volumes at its end, flows, power, deficit, angles

    minimise    sum_n g_n c' x_n
    subject to  A x_n + B x_m = b_n + (K a_nr in the water rows),    l <= x_n <= u_n

with network=soc what is convex in a stage, see `soc`, as rows that are added until none is violated, and with
commitment=on what `exact_commitment` adds, which makes it a mixed-integer program.

With network=ac the program is that of network=soc, a relaxation: its value is a proven bound, and no cost. The solution
of one path is a local optimum of `ac_hindsight`, an estimate. What is made to plan with, and a tree, keep the
relaxation's, of which the volumes at the end of a stage are of use.

Who decides at a node knows its inflows, as policies do. With one path the optimum is a bound on every policy there.
With several it is that of decisions that serve all of them, told apart only as far as they have shown to differ.

References
----------
J. R. Birge, F. Louveaux (2011). Introduction to Stochastic Programming, 2nd ed. Springer.
doi 10.1007/978-1-4614-0237-4
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from orl.convex import convex_parts, violated
from orl.errors import Stopped
from orl.problem import Model
from orl.scenario import Scenarios

from .exact_commitment import Commitment
from .exact_program import dispatches, parts_of, program_of
from .exact_tree import drawn_tree
from .instance import HydroThermal
from .plans import Dispatch
from .soc import FINE
from .stages import columns

ROWS_AT_A_TIME = 1000  # between questions whether to stop


def build(
    instance: HydroThermal,
    scenarios: Scenarios,
    upper_bound: float | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Model:
    """Return the program of scenarios that are equally likely: linear, or with commitment=on mixed-integer.

    Parameters
    ----------
    instance : HydroThermal
    scenarios : Scenarios
        One: hindsight. Several: their tree; the model's solution is then a list of dispatches, one a scenario.
    upper_bound : number or None
        Not made use of.
    should_stop : callable () -> bool, or None
        Asked from time to time as the model is built.
    """
    import pyomo.environ as pyo
    from pyomo.core.expr import LinearExpression

    tree = drawn_tree(instance, scenarios)
    program = program_of(instance, tree)
    m = pyo.ConcreteModel(instance.name)
    lower, upper = (
        [limit if np.isfinite(limit) else None for limit in limits.tolist()]
        for limits in (program.lower, program.upper)
    )
    m.x = pyo.Var(range(len(lower)), bounds=lambda _, column: (lower[column], upper[column]))
    x = list(m.x.values())
    m.balance = pyo.ConstraintList()
    matrix, right = program.matrix, program.right.tolist()
    starts, held, numbers = (part.tolist() for part in (matrix.indptr, matrix.indices, matrix.data))
    for row, (first, end) in enumerate(pairwise(starts)):
        if row % ROWS_AT_A_TIME == 0 and should_stop is not None and should_stop():
            raise Stopped
        terms = LinearExpression(linear_coefs=numbers[first:end], linear_vars=[x[column] for column in held[first:end]])
        m.balance.add((terms, right[row]))
    paid = np.flatnonzero(program.cost).tolist()
    cost = LinearExpression(linear_coefs=program.cost[paid].tolist(), linear_vars=[x[column] for column in paid])
    commitment = None
    if instance.has_commitment:
        width, places = len(program.kept), np.searchsorted(program.kept, columns(instance).power).tolist()
        power = [[x[n * width + place] for place in places] for n in range(len(tree.stage))]
        commitment = Commitment(m, instance, tree, power)
        cost = cost + commitment.cost
    m.cost = pyo.Objective(expr=cost)
    parts = convex_parts(parts_of(instance, tree, program))

    def separate(value: Callable[[Any], float]) -> Any:
        rows = violated(parts, np.array([value(variable) for variable in x]), FINE)
        for number, (first, end) in enumerate(pairwise(rows.starts.tolist())):
            places = rows.columns[first:end].tolist()
            yield [x[place] for place in places], rows.values[first:end], float(rows.lower[number])

    def read(value: Callable[[Any], float]) -> Any:
        if instance.settings.network == "ac" and instance.origin is None and len(scenarios) == 1:
            from .ac_hindsight import estimate

            local = estimate(instance, scenarios)
            return local.dispatch if local.is_solved else None
        found = dispatches(instance, tree, program, [value(variable) for variable in x])
        if commitment is not None:
            found = [replace(one, on=on) for one, on in zip(found, commitment.read(value), strict=True)]
        return found[0] if len(scenarios) == 1 else found

    def start(solution: Any) -> Any:
        if commitment is None:
            return ()
        return commitment.start([solution] if isinstance(solution, Dispatch) else solution)

    return Model(m, read, start, separate if parts else None)
