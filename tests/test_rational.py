"""Bounds in fractions: dual values prove no more than the optimum, good ones prove all of it, and claims are caught."""

import math
from fractions import Fraction

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from orl import certificate
from orl.errors import Stopped
from orl.exact import CompiledModel
from orl.rational import Column, RationalProgram, Row, floor, implied_bounds, read_program
from orl.solver import Control

WHOLE = st.integers(-4, 4)


@st.composite
def programs(draw):
    """A Pyomo model, dual values that are optimal by construction (complementary slackness), and the optimum."""
    count, height = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    matrix = [[draw(WHOLE) for _ in range(count)] for _ in range(height)]
    at = [draw(WHOLE) for _ in range(count)]
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(count))
    duals = []
    m.c = pyo.ConstraintList()
    for coefficients in matrix:
        here = sum(a * x for a, x in zip(coefficients, at, strict=True))
        side = draw(st.sampled_from(["lower", "upper", "both", "neither"]))
        dual = {"lower": abs, "upper": lambda y: -abs(y), "both": int, "neither": lambda _: 0}[side](draw(WHOLE))
        slack = {"lower": (0, 3), "upper": (3, 0), "both": (0, 0), "neither": (1, 1)}[side]
        body = sum(a * m.x[j] for j, a in enumerate(coefficients)) + 0 * m.x[0]
        if any(coefficients):
            m.c.add((here - slack[0], body, here + slack[1]))
            duals.append(dual)
        else:
            duals.append(0)
    cost = [sum(y * row[j] for y, row in zip(duals, matrix, strict=True)) for j in range(count)]
    for j in range(count):
        side = draw(st.sampled_from(["lower", "upper", "fixed", "between", "half-line"]))
        reduced = {"lower": abs, "upper": lambda d: -abs(d), "fixed": int, "between": lambda _: 0, "half-line": abs}
        cost[j] += reduced[side](draw(WHOLE))
        slack = {"lower": (0, 2), "upper": (2, 0), "fixed": (0, 0), "between": (1, 1), "half-line": (0, None)}[side]
        m.x[j].setlb(at[j] - slack[0])
        m.x[j].setub(None if slack[1] is None else at[j] + slack[1])
    m.cost = pyo.Objective(expr=sum(c * m.x[j] for j, c in enumerate(cost)) + 7)
    kept = [y for y, row in zip(duals, matrix, strict=True) if any(row)]
    names = [constraint.name for constraint in m.c.values()]
    return m, dict(zip(names, kept, strict=True)), 7 + sum(c * x for c, x in zip(cost, at, strict=True))


@given(programs())
@profile(max_examples=200, deadline=None)
def test_optimal_duals_prove_the_optimum_to_the_last_digit(case):
    model, duals, optimum = case
    assert read_program(model).prove(duals).bound == optimum


@given(programs(), st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4))
@profile(max_examples=200, deadline=None)
def test_no_duals_prove_more_than_the_optimum(case, numbers):
    model, duals, optimum = case
    proof = read_program(model).prove(dict(zip(duals, numbers, strict=False)))
    assert proof.bound is None or proof.bound <= optimum
    assert (proof.bound is None) == bool(proof.missing)


@given(programs())
@profile(max_examples=100, deadline=None)
def test_the_solvers_duals_prove_its_optimum(case):
    """Which it finds in floating point; lowered costs mend reduced costs of the wrong sign, if anything has to."""
    model, _, optimum = case
    program = read_program(model)
    said, duals = certificate.sharpened(CompiledModel(model, tolerance=certificate.SHARP), program, Control())
    bound = program.prove(duals).bound
    assert math.isclose(said, optimum, rel_tol=1e-9, abs_tol=1e-9)
    assert bound <= optimum
    assert float(optimum - bound) <= 1e-9 * max(1, abs(optimum))


def test_a_half_line_needs_lowered_costs():
    """Seven thirds of x are bought by three rows whose duals are no floating-point numbers; nothing bounds x above."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3), domain=pyo.NonNegativeReals)
    m.c = pyo.Constraint(range(3), rule=lambda m, i: 0.1 * m.x[i] + 0.7 * m.x[(i + 1) % 3] + 0.3 * m.x[0] >= 0.3)
    m.cost = pyo.Objective(expr=0.7 * m.x[0] + 1.1 * m.x[1] + 0.9 * m.x[2])
    program, compiled = read_program(m), CompiledModel(m)
    value = compiled.solve(Control()).value
    assert program.prove(compiled.duals()).missing
    said, duals = certificate.sharpened(compiled, program, Control())
    assert said == value
    assert 0 <= said - program.prove(duals).bound < 1e-9


def test_free_columns_without_bounds_prove_nothing():
    """Two free columns of which only the difference matters; thirds leave a little of their reduced costs."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2))
    m.y = pyo.Var(bounds=(0, 1))
    m.c = pyo.Constraint(expr=0.1 * m.x[0] - 0.1 * m.x[1] + m.y >= 1)
    m.d = pyo.Constraint(expr=0.3 * m.x[0] - 0.3 * m.x[1] - m.y >= 0)
    m.cost = pyo.Objective(expr=0.7 * m.x[0] - 0.7 * m.x[1] + 0.1 * m.y)
    assert read_program(m).prove({"c": 1.0}).missing.keys() == {"x[0]", "x[1]"}
    if read_program(m).prove(CompiledModel(m).duals()).bound is None:
        with pytest.raises(Stopped, match=r"for want of bounds on x\[0\], x\[1\]"):
            certificate.sharpened(CompiledModel(m), read_program(m), Control())


def test_bounds_follow_from_rows_one_after_another():
    """x_0 = 0 and x_i+1 - x_i within 1: bounds follow through the chain, and not for a column that no row holds."""
    one = Fraction(1)
    columns = [Column(f"x{i}", None, None, False) for i in range(4)]
    columns[0] = Column("x0", Fraction(0), Fraction(0), False)
    rows = [Row(f"r{i}", -one, one, {i: -one, i + 1: one}) for i in (1, 0)]
    program = RationalProgram(tuple(columns), tuple(rows), Fraction(0))
    assert implied_bounds(program, [2]) == ([0, -1, -2, None], [0, 1, 2, None])


def test_a_model_is_read_as_it_is_written():
    """Expressions, parameters, fixed variables, ranges and constants; 0.1 stands for the fraction that it is."""
    m = pyo.ConcreteModel()
    m.x, m.n, m.z = pyo.Var(bounds=(0, 5)), pyo.Var(domain=pyo.NonNegativeIntegers), pyo.Var()
    m.p = pyo.Param(initialize=3, mutable=True)
    m.z.fix(2)
    m.twice = pyo.Expression(expr=2 * m.x + 1)
    m.range = pyo.Constraint(expr=(1, m.twice - (m.n - m.z * m.x) / m.p, 9))
    m.equal = pyo.Constraint(expr=m.x + m.n == 0.1 + np.int64(2) * m.x)
    m.off = pyo.Constraint(expr=m.x >= 4)
    m.off.deactivate()
    m.cost = pyo.Objective(expr=m.p * (m.x + 0.5) - np.float64(0.25) * m.n)
    program = read_program(m)
    named = {column.name: column for column in program.columns}
    places = {column.name: j for j, column in enumerate(program.columns)}
    by_name = {row.name: row for row in program.rows}
    assert by_name.keys() == {"range", "equal"}
    row = by_name["range"]
    assert (row.lower, row.upper) == (0, 8)
    assert row.terms == {places["x"]: 2 + Fraction(2, 3), places["n"]: Fraction(-1, 3)}
    row = by_name["equal"]
    assert {name: row.terms[places[name]] * (1 if row.lower > 0 else -1) for name in "xn"} == {"x": -1, "n": 1}
    assert abs(row.lower) == abs(row.upper) == Fraction(0.1) != Fraction(1, 10)
    assert (named["x"].lower, named["x"].upper, named["x"].is_integer, named["x"].cost) == (0, 5, False, 3)
    assert (named["n"].lower, named["n"].upper, named["n"].is_integer, named["n"].cost) == (0, None, True, -0.25)
    assert program.constant == 1.5


def test_what_is_not_linear_or_not_minimised_is_refused():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.cost = pyo.Objective(expr=m.x, sense=pyo.maximize)
    with pytest.raises(ValueError, match="one objective, to minimise"):
        read_program(m)
    m.cost.sense = pyo.minimize
    m.c = pyo.Constraint(expr=m.x * m.x >= 1)
    with pytest.raises(ValueError, match="expected a linear expression"):
        read_program(m)


def test_costs_in_whole_multiples_round_the_bound_up():
    costs = Fraction(3, 2), Fraction(9, 4), Fraction(0)
    kinds = True, True, False
    columns = tuple(Column(f"x{j}", Fraction(0), None, *of) for j, of in enumerate(zip(kinds, costs, strict=True)))
    program = RationalProgram(columns, (), Fraction(1, 2))
    assert [program.round_up(Fraction(x, 100)) for x in (50, 51, 125, 126)] == [0.5, 1.25, 1.25, 2]
    columns[2].cost = Fraction(1)
    assert program.round_up(Fraction(51, 100)) == Fraction(51, 100)


@given(st.fractions())
def test_floors_are_below(x):
    assert floor(x) <= x < Fraction(math.nextafter(floor(x), math.inf))


def test_bounds_beyond_floating_point_are_told_apart():
    assert floor(Fraction(10**400)) == math.nextafter(math.inf, 0)
    assert floor(Fraction(-(10**400))) == -math.inf
