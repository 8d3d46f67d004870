"""The mixed-integer models of lot sizing, against every plan there is and against dynamic programming."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from lots import lots

import orl
from orl import registry
from orl.errors import InputError
from orl.exact import solve_model
from orl.problems.lotsizing import exact, planning
from orl.problems.lotsizing.demand import IndependentDemand
from orl.problems.lotsizing.instance import LotPlan, LotSizing, LotSizingSettings
from orl.problems.lotsizing.rules import RULES
from orl.problems.lotsizing.scenario import sample
from orl.problems.lotsizing.verify import verify
from orl.result import Status
from orl.rule import call_table
from orl.scenario import Purpose, Scenarios
from orl.simulate import rule_policy, simulate
from orl.solver import Control

LOTSIZING = registry.find_problem("lotsizing")
FORMS = ("plain", "flow", "facility-location")


def least_cost(instance, scenario):
    """Return the least cost of all plans, infinity if none is allowed, by trying them."""
    slots = instance.periods_left * instance.num_machines
    shape = instance.periods_left, instance.num_machines
    plans = (LotPlan(np.reshape(choices, shape)) for choices in product(range(instance.num_items + 1), repeat=slots))
    reports = (verify(instance, scenario, plan) for plan in plans)
    return min((report.cost for report in reports if report.is_feasible), default=np.inf)


def solved(instance, scenarios, form="plain", start=None):
    model = exact.build(instance, scenarios, form=form)
    found = solve_model(model.program, Control(), () if start is None else model.start(start))
    assert found.value - found.bound <= 1e-5  # HiGHS calls what is as near optimal
    return found.value, model.read(found.of)


@pytest.mark.parametrize("form", FORMS)
def test_a_program_whose_origin_is_optimal(form):
    """Nothing costs anything but stock: making nothing is best. HiGHS 1.14 with its aggregator says 0.5 in one form."""
    demand = IndependentDemand(probabilities=[[0.216, 0.432, 0.288, 0.064]] * 3)
    options = LotSizingSettings(decision="joint", unmet="lost", overflow="discard", idle="loses-setup")
    one = LotSizing(
        name="origin", rates=[[0, 0, 0], [0, 2, 0], [0, 2, 0]], holding_costs=[0, 0.5, 0], shortage_costs=[0, 0, 0],
        stock_limits=[0, 2, 0], demand=demand, num_periods=1, setup_costs=np.zeros((3, 3)),
        setup_losses=[[0, 0, 0], [0, 2, 0], [0, 0, 0]], initial_setup=[0, 0, 0], initial_stock=[0, 0, 0],
        settings=options,
    )  # fmt: skip
    assert solved(one, sample(one, 0, Purpose.EVALUATE, 1)[0], form)[0] == pytest.approx(0, abs=1e-6)


@given(lots())
@profile(max_examples=60)
def test_the_optimum_in_hindsight_is_the_least_of_all_plans(instance):
    assume((instance.num_items + 1) ** (instance.periods_left * instance.num_machines) <= 1100)
    scenario = sample(instance, 0, Purpose.EVALUATE, 1)[0]
    least = least_cost(instance, scenario)
    for form in FORMS[: 2 if instance.settings.unmet == "backlog" else 3]:
        value, plan = solved(instance, scenario, form)
        report = verify(instance, scenario, plan)
        assert report.is_feasible
        assert value == pytest.approx(report.cost, abs=1e-5) == pytest.approx(least, abs=1e-5)


@given(lots())
@profile(max_examples=60)
def test_a_plan_of_a_rule_is_a_solution_of_its_cost(instance):
    """The starting solution is complete, and worth what it costs."""
    scenario = sample(instance, 0, Purpose.EVALUATE, 1)[0]
    process = LOTSIZING.process([instance], [scenario])
    process.run(RULES["random"], np.array([3], dtype=np.uint64))
    plan = process.solution(0)
    for form in FORMS[: 2 if instance.settings.unmet == "backlog" else 3]:
        model = exact.build(instance, scenario, form=form)
        for variable, number in model.start(plan):
            variable.fix(number)
        found = solve_model(model.program, Control())
        assert found.status == Status.OPTIMAL
        assert found.value == pytest.approx(verify(instance, scenario, plan).cost, abs=1e-6)


@pytest.mark.parametrize("unmet", ["lost", "backlog"])
@pytest.mark.parametrize("decision", ["machine", "joint"])
def test_the_tree_of_all_paths_is_worth_what_dynamic_programming_says(unmet, decision):
    instance = LotSizing(
        "tiny",
        rates=[[2, 3]],
        holding_costs=[0.5, 0.25],
        shortage_costs=[4.0, 3.0],
        stock_limits=[3, 4],
        demand=IndependentDemand(np.array([[0.5, 0, 0.5], [0.5, 0.5, 0]])),
        num_periods=4,
        setup_costs=[[1.0, 1.5]],
        setup_losses=[[1, 0]],
        settings=LotSizingSettings(unmet=unmet, decision=decision, horizon="file"),
    )
    cases = list(product([0.25, 0.75], repeat=2 * 4))
    rows = {row: np.reshape(case, (4, 1, 2)) for row, case in enumerate(cases)}
    scenarios = Scenarios(0, Purpose.EVALUATE, tuple(rows), draw=lambda rng, block: None)
    scenarios._blocks.update({(row, 0): values for row, values in rows.items()})
    value, plans = solved(instance, scenarios)
    dp = orl.solve(instance, "dp").bound
    assert value == pytest.approx(dp, abs=1e-6)
    costs = [verify(instance, one, plan).cost for one, plan in zip(scenarios, plans, strict=True)]
    assert np.mean(costs) == pytest.approx(value, abs=1e-6)
    hindsight = np.mean([solved(instance, one)[0] for one in scenarios])
    assert hindsight < value - 0.1


@given(lots())
@profile(max_examples=25)
def test_a_rolling_horizon_over_what_is_known_is_optimal(instance):
    """Each period plans anew, optimally for what is left, so following the plans costs what the first promises."""
    assume((instance.num_items + 1) ** (instance.periods_left * instance.num_machines) <= 300)
    ahead, known = planning.nominal(instance)
    rolling = orl.solve(ahead, "rolling", settings={"replan_time": 60.0}, time_limit=None)
    assert rolling.verified
    assert rolling.value == pytest.approx(least_cost(ahead, known), abs=1e-4)


@given(lots(), st.integers(1, 4))
@profile(max_examples=60)
def test_expected_demand_loses_no_unit_on_the_way(instance, periods):
    near = planning.shortened(instance, periods)
    assert near.periods_left == min(periods, instance.periods_left)
    ahead, _ = planning.nominal(near)
    path = ahead.demand.path[near.first_period :]
    last = None if instance.state is None else instance.state.last_demand
    means = []
    for period in range(near.first_period, near.first_period + near.periods_left):
        last = instance.expected_demand(period, last)
        means.append(last)
    assert (abs(path.cumsum(axis=0) - np.cumsum(means, axis=0)) <= 0.5 + 1e-9).all()


def test_rolling_looks_ahead_as_far_as_it_is_told():
    instance = orl.load("lotsizing/setting_2items_VI", settings={"horizon": "12"})
    near = orl.solve(instance, "rolling", settings={"lookahead": 1}, scenarios=20, time_limit=None)
    far = orl.solve(instance, "rolling", settings={"lookahead": 8}, scenarios=20, time_limit=None)
    assert near.verified and far.verified and far.value < near.value
    with pytest.raises(InputError, match="jobshop does not count periods"):
        orl.solve("jobshop/ft06", "rolling", settings={"lookahead": 3})


def test_rules_are_tuned_to_the_instance_and_not_to_what_is_left_of_it():
    instance = orl.load("lotsizing/setting_2items_VI", settings={"horizon": "12"})
    ahead, known = planning.nominal(planning.shortened(instance, 2))
    simulate(LOTSIZING, ahead, rule_policy(LOTSIZING, RULES["s-S"]), known)
    fresh = orl.load("lotsizing/setting_2items_VI", settings={"horizon": "12"})
    assert (call_table(RULES["s-S"], instance) == call_table(RULES["s-S"], fresh)).all()


def test_a_rolling_horizon_over_drawn_futures_hedges_where_expected_demand_does_not():
    """Demand is 0 or 4 as a coin falls, a shortage costs much: the mean of 2 is never enough, a future may be."""
    instance = LotSizing(
        "coin",
        rates=[[4]],
        holding_costs=[0.1],
        shortage_costs=[10.0],
        stock_limits=[8],
        demand=IndependentDemand(np.array([[0.5, 0, 0, 0, 0.5]])),
        num_periods=6,
        initial_stock=[2],
    )
    settings = {"lookahead": 1, "replan_time": 20.0}
    nominal = orl.solve(instance, "rolling", settings=settings, scenarios=30, time_limit=None)
    hedged = orl.solve(instance, "rolling", settings={**settings, "futures": 12}, scenarios=30, time_limit=None)
    again = orl.solve(instance, "rolling", settings={**settings, "futures": 12}, scenarios=30, time_limit=None)
    optimal = orl.solve(instance, "dp", scenarios=30, time_limit=None)
    assert nominal.verified and hedged.verified and hedged.costs == again.costs
    assert optimal.value <= hedged.value + 1e-9 < nominal.value - 10
    with pytest.raises(InputError, match="jobshop has no model of several futures"):
        orl.solve("jobshop/ft06", "rolling", settings={"futures": 3})


@given(lots())
@profile(max_examples=20)
def test_a_rolling_horizon_over_futures_plays_every_setting(instance):
    assume((instance.num_items + 1) ** (instance.periods_left * instance.num_machines) <= 300)
    settings = {"futures": 3, "lookahead": 2, "replan_time": 20.0}
    count = 2 if instance.is_random else 1
    assert orl.solve(instance, "rolling", settings=settings, scenarios=count, time_limit=None).verified


def test_how_far_rolling_looks_is_set_by_name_beside_the_instance():
    """Settings of a method and of a family must not share names, or neither can be set from the command line."""
    settings = {"lookahead": 2, "horizon": "4"}
    result = orl.solve("lotsizing/setting_2items_VI", "rolling", settings=settings, scenarios=2, time_limit=None)
    assert result.verified and result.settings["lookahead"] == 2 and result.settings["horizon"] == "4"
