"""fix-and-optimise: on programs small enough for paper, against `exact` on drawn instances, and under the reins."""

from itertools import pairwise

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from lots import capacitated as instances
from lots import lots

import orl
from orl.exact import CompiledModel
from orl.problem import Model
from orl.problems.lotsizing import exact as small_buckets
from orl.registry import find_problem
from orl.result import Status
from orl.scenario import Purpose
from orl.solver import Control
from orl.solvers.fix_and_optimise import FixAndOptimiseSettings
from orl.solvers.fix_and_optimise.search import _Parts, search
from orl.windows import Groups


def found(program, groups, start=(), control=None, is_ordered=True, **settings):
    groupings = {"all": Groups(groups, is_ordered)}
    return search(program, groupings, control or Control(), start, FixAndOptimiseSettings(**settings))


def pair(count=2):
    """Switches that are all on, at -1, or all off, at 0; one alone cannot change."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(count), domain=pyo.Binary)
    m.same = pyo.ConstraintList()
    for a, b in pairwise(range(count)):
        m.same.add(m.x[a] == m.x[b])
    m.cost = pyo.Objective(expr=-sum(m.x.values()) / count)
    return m


# On paper -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_ordered", [True, False])
def test_windows_grow_until_they_find_what_no_small_one_can(is_ordered):
    """From all off no single switch can move: only the window that is the whole model turns all on."""
    m = pair(5)
    solved = found(m, [[x] for x in m.x.values()], [(x, 0.0) for x in m.x.values()], window=1, is_ordered=is_ordered)
    assert solved.status == Status.OPTIMAL
    assert (solved.value, solved.bound) == (-1, -1)
    assert [round(solved.of(x)) for x in m.x.values()] == [1] * 5


def test_what_is_in_no_group_is_decided_with_every_window():
    m = pyo.ConcreteModel()
    m.x, m.extra = pyo.Var(range(3), domain=pyo.Binary), pyo.Var(domain=pyo.Binary)
    m.needs = pyo.Constraint(expr=sum(m.x.values()) <= 3 * m.extra)
    m.cost = pyo.Objective(expr=m.extra - sum(m.x.values()))
    start = [(x, 0.0) for x in [*m.x.values(), m.extra]]
    control = Control()
    solved = found(m, [[x] for x in m.x.values()], start, control, window=2)
    assert solved.value == -2
    assert solved.of(m.extra) == 1


def test_relax_and_fix_that_leads_nowhere_is_tried_with_larger_windows():
    """x0 = 1 is cheapest as long as the rest may be broken; then 3 x0 + 2 x1 = 4 has no whole x1."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], domain=pyo.NonNegativeIntegers, bounds=(0, 5))
    m.sum = pyo.Constraint(expr=3 * m.x[0] + 2 * m.x[1] == 4)
    m.cost = pyo.Objective(expr=m.x[1] - m.x[0])
    solved = found(m, [[m.x[0]], [m.x[1]]], window=1)
    assert solved.status == Status.OPTIMAL
    assert (solved.of(m.x[0]), solved.of(m.x[1])) == (0, 2)


def test_a_start_that_does_not_fit_the_model_is_not_believed():
    m = pair()
    solved = found(m, [[x] for x in m.x.values()], [(m.x[0], 1.0), (m.x[1], 0.0)])
    assert solved.value == -1


@pytest.mark.parametrize("is_broken", [True, False])
def test_infeasible_is_said(is_broken):
    """Whether the relaxation tells, or only whole numbers: 2 x0 + 2 x1 = 3."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], domain=pyo.NonNegativeIntegers, bounds=(0, 5))
    m.sum = pyo.Constraint(expr=2 * m.x[0] + 2 * m.x[1] == (23 if is_broken else 3))
    m.cost = pyo.Objective(expr=m.x[1])
    assert found(m, [[m.x[0]], [m.x[1]]], window=1).status == Status.INFEASIBLE


def test_without_integers_the_relaxation_is_the_answer():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0.5, 2))
    m.row = pyo.Constraint(expr=m.x <= 1)
    m.cost = pyo.Objective(expr=m.x)
    solved = search(m, {}, Control(), (), FixAndOptimiseSettings())
    assert (solved.status, solved.value, solved.bound) == (Status.OPTIMAL, 0.5, 0.5)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=9), st.integers(1, 20), st.booleans(), st.integers(0, 99))
@profile(max_examples=60, deadline=None)
def test_windows_hold_every_group_and_no_more_than_asked(sizes, size, is_ordered, seed):
    """In order they overlap, by no more than half; without order every group is in one of them."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(sum(sizes)), domain=pyo.Binary)
    m.cost = pyo.Objective(expr=sum(m.x.values()))
    ends = np.cumsum([0, *sizes])
    groups = [[m.x[j] for j in range(a, b)] for a, b in pairwise(ends.tolist())]
    part = _Parts(CompiledModel(m), Groups(groups, is_ordered))
    drawn = list(part.windows(size, np.random.default_rng(seed)))
    assert {group for window in drawn for group in window} == set(range(len(sizes)))
    assert all(len(window) == 1 or len(part.columns(window)) <= size for window in drawn)
    if is_ordered:
        assert all(window == list(range(window[0], window[-1] + 1)) for window in drawn)
        assert all(a[0] < b[0] and a[-1] < b[-1] for a, b in pairwise(drawn))
    else:
        assert sum(map(len, drawn)) == len(sizes)


# Against exact ------------------------------------------------------------------------------------------------------


@given(instances(), st.sampled_from([1, 3, 40]))
@profile(max_examples=15, deadline=None)
def test_big_buckets_with_time_enough_are_proven(instance, window):
    """The last window is the whole model, so that what it finds is what `exact` finds."""
    exact = orl.solve(instance, "exact")
    mine = orl.solve(instance, "fix-and-optimise", settings={"window": window})
    assert mine.status == exact.status
    if exact.value is not None:
        assert mine.verified
        assert mine.value == pytest.approx(exact.value, rel=1e-6, abs=1e-6)


@given(lots(), st.sampled_from([1, 40]))
@profile(max_examples=15, deadline=None)
def test_small_buckets_with_time_enough_are_proven(instance, window):
    family = find_problem("lotsizing")
    scenario = family.sample(instance, 0, Purpose.EVALUATE, 1)[0]
    model = small_buckets.build(instance, scenario)
    groupings = small_buckets.windows(instance, model.program)
    solved = search(model.program, groupings, Control(), (), FixAndOptimiseSettings(window=window))
    whole = CompiledModel(small_buckets.build(instance, scenario).program).solve(Control())
    assert solved.value == pytest.approx(whole.value, rel=1e-6, abs=1e-6)
    report = family.verify(instance, scenario, model.read(solved.of))
    assert report.cost == pytest.approx(solved.value, rel=1e-6, abs=1e-6)


def test_published_values_are_met_where_the_relaxation_proves_them():
    result = orl.solve("lotsizing/X11117A", "fix-and-optimise")
    assert (result.status, result.bound_kind) == (Status.OPTIMAL, "proven")
    assert result.value == pytest.approx(8375.8)


# Under the reins ----------------------------------------------------------------------------------------------------


class Impatient(Control):
    """Interrupts as soon as there is a solution."""

    def report(self, value=None, bound=None, note=""):
        super().report(value, bound, note)
        if value is not None:
            self.interrupt()


def test_an_interruption_keeps_the_best():
    m = pair(4)
    solved = found(m, [[x] for x in m.x.values()], [(x, 0.0) for x in m.x.values()], Impatient(), window=1)
    assert solved.status == Status.INTERRUPTED
    assert (solved.value, solved.bound) == (0, -1)


def test_no_time_is_no_solution_but_that_of_the_rule():
    rule = orl.solve("lotsizing/setting_2items_VI", "greedy", scenarios=1)
    mine = orl.solve("lotsizing/setting_2items_VI", "fix-and-optimise", scenarios=1, time_limit=1e-3)
    assert mine.verified
    assert mine.value <= rule.value


def test_equal_seeds_give_equal_plans():
    """With time enough for every window; the order of items is drawn."""
    settings = {"window": 20, "window_time": 1e3}
    one = orl.load("lotsizing/X11117B")
    costs = [orl.solve(one, "fix-and-optimise", settings=settings, seed=3).value for _ in range(2)]
    assert costs[0] == costs[1] == pytest.approx(8169.4)


@pytest.mark.parametrize("wrong", [{"window": 0}, {"window_time": 0}, {"threads": 10_000}, {"start": "warm"}])
def test_settings_are_checked(wrong):
    with pytest.raises(orl.InputError, match=next(iter(wrong))):
        orl.solve("lotsizing/X11117A", "fix-and-optimise", settings=wrong)


# The compiled model -------------------------------------------------------------------------------------------------


def test_a_compiled_model_forgets_what_was_held_and_relaxed():
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], domain=pyo.NonNegativeIntegers, bounds=(0, 9))
    m.row = pyo.Constraint(expr=2 * m.x[0] + 3 * m.x[1] >= 7)
    m.cost = pyo.Objective(expr=2 * m.x[0] + 2 * m.x[1])
    compiled = CompiledModel(m)
    assert compiled.solve(Control()).value == 6
    compiled.hold(compiled.columns([m.x[1]]), [0.0])
    assert compiled.solve(Control()).value == 8
    compiled.let_go()
    compiled.relax(compiled.integers)
    assert compiled.solve(Control()).value == pytest.approx(14 / 3)
    compiled.relax(compiled.integers[:0])
    assert compiled.solve(Control(), compiled.values.round()).value == 6


def test_a_compiled_model_has_its_costs_again_after_it_was_unbounded():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(domain=pyo.Integers)
    m.y = pyo.Var(domain=pyo.NonNegativeIntegers)
    m.row = pyo.Constraint(expr=m.x + m.y <= 4)
    m.cost = pyo.Objective(expr=m.x - m.y)
    compiled = CompiledModel(m)
    assert compiled.solve(Control()).status == Status.UNBOUNDED
    compiled.hold(compiled.columns([m.x]), [1.0])
    assert compiled.solve(Control()).value == -2


def test_the_hook_names_variables_of_the_model():
    for name, build in (("clsp", "lotsizing/X11117A"), ("lotsizing", "lotsizing/setting_2items_VI")):
        family, one = find_problem(name), orl.load(build)
        scenario = family.sample(one, 0, Purpose.EVALUATE, 1)[0]
        model = family.models["exact"](one, scenario)
        assert isinstance(model, Model)
        compiled = CompiledModel(model.program)
        for groups in family.windows(one, model.program).values():
            columns = [column for group in groups.groups for column in compiled.columns(group).tolist()]
            assert len(columns) == len(set(columns)), "no variable is in two groups"
            assert set(columns) <= set(compiled.integers.tolist())
