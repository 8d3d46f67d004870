"""HiGHS under the reins: what a model's solution, status and bound are."""

from __future__ import annotations

import subprocess
import sys

import pyomo.environ as pyo
import pytest
from test_exact_models import FT06

from orl.exact import solve_model
from orl.problems.jobshop import exact
from orl.result import Status
from orl.solver import Control


def tiny(kind: str, domain: object) -> pyo.ConcreteModel:
    """Return a model of two variables that is feasible, unbounded or infeasible."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(domain=domain), pyo.Var(domain=domain)
    m.above = pyo.Constraint(expr=m.x >= m.y + 1)
    m.low = pyo.Constraint(expr=m.y >= (m.x if kind == "infeasible" else 2))
    m.cost = pyo.Objective(expr=-m.x if kind == "unbounded" else m.x)
    return m


@pytest.mark.parametrize("domain", [pyo.Reals, pyo.Integers], ids=["lp", "milp"])
def test_highs_tells_optimal_unbounded_and_infeasible_apart(domain):
    """Also where presolve only knows that it is one of the two."""
    for kind in ("unbounded", "infeasible"):
        solved = solve_model(tiny(kind, domain), Control())
        assert (solved.status, solved.value, solved.bound, solved.of) == (kind, None, None, None)
    m = tiny("optimal", domain)
    solved = solve_model(m, Control())
    assert (solved.status, solved.value, solved.bound, solved.of(m.y)) == ("optimal", 3, 3, 2)


def test_unboundedness_is_not_claimed_of_a_model_without_integer_solutions():
    m = tiny("unbounded", pyo.Integers)
    m.odd = pyo.Constraint(expr=2 * m.x - 4 * m.y == 1)
    assert solve_model(m, Control()).status == Status.INFEASIBLE


def test_bounds_that_exclude_each_other_are_infeasible():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(5, 3))
    m.cost = pyo.Objective(expr=m.x)
    assert solve_model(m, Control()).status == Status.INFEASIBLE


def test_fixed_and_unused_variables_have_values_and_a_constant_counts():
    m = pyo.ConcreteModel()
    m.fixed, m.unused, m.x = pyo.Var(), pyo.Var(bounds=(2, 7)), pyo.Var(bounds=(0, 9))
    m.fixed.fix(4)
    m.c = pyo.Constraint(expr=(5, m.x + m.fixed, 8))
    m.cost = pyo.Objective(expr=m.x + m.fixed + 10)
    solved = solve_model(m, Control())
    assert (solved.value, solved.of(m.x), solved.of(m.fixed), solved.of(m.unused)) == (15, 1, 4, 2)


def test_highs_without_time_has_no_solution_and_interrupted_is_interrupted():
    program = exact.build(FT06).program
    assert solve_model(program, Control(time_limit=0.0)).status == Status.NO_SOLUTION
    control = Control()
    control.interrupt()
    assert solve_model(program, control).status == Status.INTERRUPTED


def test_the_number_of_threads_may_change_from_run_to_run():
    for threads in (1, 2, 1):
        m = tiny("optimal", pyo.Integers)
        assert solve_model(m, Control(), threads=threads).status == Status.OPTIMAL


def test_highs_writes_nothing_to_stdout():
    """The JSON of a Result goes there; HiGHS greets once a process, hence the new one."""
    code = (
        "import pyomo.environ as pyo; from orl.exact import solve_model; from orl.solver import Control;"
        "m = pyo.ConcreteModel(); m.x = pyo.Var(bounds=(1, 2)); m.cost = pyo.Objective(expr=m.x);"
        "solve_model(m, Control())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == ""
