"""Dynamic programming: values of record, its own bounds, and no policy below them."""

import itertools
import pickle
from dataclasses import replace

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
from orl.problems.lotsizing import exact
from orl.problems.lotsizing.demand import PathDemand, SeasonalDemand, binomial
from orl.problems.lotsizing.instance import LotSizing, LotSizingSettings, LotState
from orl.problems.lotsizing.process import LotSizingProcess
from orl.problems.lotsizing.rules import RULES
from orl.problems.lotsizing.scenario import sample
from orl.problems.lotsizing.tabular import tabular
from orl.scenario import Purpose, Scenarios
from orl.simulate import rule_policy, simulate
from orl.solver import Control
from orl.solvers.dp.relaxation import hindsight, optimal_values, penalised
from orl.solvers.dp.values import average, backward_induction, discounted

LOTSIZING = registry.find_problem("lotsizing")

# V*(set-up; stock of both items), found by policy iteration of an independent code.
VALUES = [
    ("setting_2items_VI", 0.9, {(0, 0, 0): 8.40909542, (1, 0, 0): 7.31628648, (0, 5, 5): 6.52333584}, 6.27169226),
    ("setting_2items_VI", 0.99, {(0, 0, 0): 66.29620309}, 64.0447006),
    (
        "setting_2items_VI_binomial_1",
        0.9,
        {(0, 0, 0): 44.06068955, (2, 0, 0): 43.21470068, (0, 5, 5): 47.2329726},
        56.00599981,
    ),
    ("setting_2items_VI_binomial_1", 0.99, {(0, 0, 0): 381.79696621}, 398.01663615),
    (
        "setting_2items_VI_binomial_3",
        0.9,
        {(0, 0, 0): 42.09054203, (1, 0, 0): 41.65229426, (0, 5, 5): 45.95709569},
        54.50028176,
    ),
    ("setting_2items_VI_binomial_3", 0.99, {(0, 0, 0): 362.36360831}, None),
]
AVERAGES = {
    "setting_2items_VI": 0.642807356,
    "setting_2items_VI_binomial_1": 3.751692363,
    "setting_2items_VI_binomial_3": 3.557986468,
}


def quiet(sweeps):
    pass


@pytest.mark.parametrize(("name", "gamma", "of_states", "mean"), VALUES)
def test_values_of_record(name, gamma, of_states, mean):
    instance = orl.load(f"lotsizing/{name}", settings={"discount": gamma})
    values = discounted(tabular(instance), 1e-10, quiet)
    limits = instance.stock_limits + 1
    for (setup, *stock), value in of_states.items():
        place = setup * limits.prod() + stock[0] * limits[1] + stock[1]
        assert values.low[place] == pytest.approx(value, abs=1e-6)
    if mean is not None:
        assert values.low.mean() == pytest.approx(mean, abs=1e-6)
    assert (values.low <= values.high).all() and (values.high - values.low).max() < 1e-8


@pytest.mark.parametrize("name", AVERAGES)
def test_average_cost_of_record(name):
    settings = {"discount": 0.9, "objective": "average"}
    result = orl.solve(f"lotsizing/{name}", "dp", settings=settings, scenarios=2)
    assert result.metrics["average_cost"] == pytest.approx(AVERAGES[name], abs=1e-6)
    assert result.bound_kind != "dp", "an average bounds no total"


@pytest.mark.parametrize("decision", ["machine", "joint"])
@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_the_policy_costs_what_its_value_says(discount, decision):
    name, settings = "lotsizing/setting_2items_VI_binomial_1", {"discount": discount, "decision": decision}
    result = orl.solve(name, "dp", settings=settings, scenarios=2000)
    low, high = result.interval
    slack = (high - low) / 2  # twice the 95 % interval
    assert low - slack <= result.metrics["optimal_cost"] <= high + slack
    assert result.bound_kind == "dp" and result.bound <= result.metrics["optimal_cost"] + 1e-9
    for rule in ("keep", "greedy", "s-S"):
        other = orl.solve(name, rule, settings=settings, scenarios=2000)
        assert np.mean(np.subtract(other.costs, result.costs)) > -slack


@st.composite
def tiny(draw):
    """Return one or two machines and items, finite, with every setting that dynamic programming knows."""
    machines, items = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    numbers = st.integers(0, 3)
    pick = lambda *options: draw(st.sampled_from(options))  # noqa: E731
    settings = LotSizingSettings(
        unmet=pick("lost", "backlog"),
        overflow=pick("discard", "forbid"),
        idle=pick("loses-setup", "keeps-setup"),
        item_machines=pick("any", "one"),
        discount=pick(1.0, 0.8),
        horizon="3",
    )
    table = lambda: [[draw(numbers) for _ in range(items)] for _ in range(machines)]  # noqa: E731
    return LotSizing(
        "tiny",
        table(),
        [draw(numbers) for _ in range(items)],
        [draw(numbers) + 1 for _ in range(items)],
        [draw(st.integers(1, 4)) for _ in range(items)],
        binomial(items, 1, 0.5),
        3,
        table(),
        table(),
        settings=settings,
    )


def by_recursion(instance):
    """Return the least expected cost by trying every choice and every demand in the simulator itself."""

    def value(period, setup, stock):
        if period == instance.horizon:
            return 0.0
        best = np.inf
        for plan in itertools.product(range(instance.num_items + 1), repeat=instance.num_machines):
            mean = 0.0
            for demand in itertools.product((0, 1), repeat=instance.num_items):
                path = PathDemand(np.tile(demand, (instance.horizon, 1)))
                moved = replace(instance, demand=path, state=LotState(period, setup, stock, []))
                one = LotSizingProcess([moved], [Scenarios.deterministic()])
                paid = 0.0
                for choice in plan:
                    if not one.observe().legal[0, choice]:
                        break
                    paid += one.decide(np.array([choice]))[0]
                    revealed = one.reveal()
                    paid += revealed.cost[0]
                else:
                    view = one.observe().arrays
                    rest = value(period + 1, view["setup"][0].tolist(), view["stock"][0].tolist())
                    mean += (paid + instance.settings.discount * rest) / 2**instance.num_items
                    continue
                mean = np.inf
                break
            best = min(best, mean)
        return best

    return value(0, [0] * instance.num_machines, [0] * instance.num_items)


@given(tiny().filter(lambda instance: instance.num_machines * instance.num_items <= 2))
@profile(max_examples=8)
def test_backward_induction_agrees_with_trying_everything_in_the_simulator(instance):
    written = tabular(instance)
    values = backward_induction(written, quiet)
    assert written.start @ values.low == pytest.approx(by_recursion(instance))


def test_average_of_an_infinite_process_bounds_itself():
    written = tabular(orl.load("lotsizing/setting_2items_VI", settings={"discount": 0.9}))
    rough, fine = average(written, 0.1, quiet), average(written, 1e-9, quiet)
    assert rough.low[0] <= fine.low[0] <= fine.high[0] <= rough.high[0]


def test_what_is_too_large_is_refused_in_one_line():
    with pytest.raises(orl.InputError, match="too many to write out"):
        orl.solve("lotsizing/15x5-a", "dp")
    assert "dp" in registry.solver_names(registry.find_problem("lotsizing"))


@given(lots())
@profile(max_examples=40)
def test_penalties_of_the_optimal_values_close_the_gap_of_hindsight(instance):
    """In every scenario: penalised hindsight costs the optimal value, and hindsight no more than any policy."""
    instance = replace(instance, settings=replace(instance.settings, cost_noise=0.0, start="file"))
    assume(not (instance.settings.is_infinite and instance.settings.unmet == "backlog"))
    assume(getattr(instance.demand, "autocorrelation", 0.0) == 0)
    assume(not (instance.settings.unmet == "backlog" and isinstance(instance.demand, SeasonalDemand)))
    try:
        table = tabular(instance)
    except InputError:
        assume(False)
    assume(table.num_states * table.successor.shape[1] * table.episode < 2_000_000)
    scenarios = sample(instance, 0, Purpose.EVALUATE, 8 if instance.is_random else 1)
    values = optimal_values(table)
    optimum = float(table.start @ values[0])
    for scenario in scenarios:
        assert penalised(table, scenario, values) == pytest.approx(optimum, rel=1e-9, abs=1e-9)
        least = hindsight(table, scenario)
        if instance.periods_left * instance.num_machines <= 4:
            program = exact.build(instance, scenario).program
            assert solve_model(program, Control()).value == pytest.approx(least, abs=1e-5)
        for rule in ("greedy", "random"):
            run = simulate(LOTSIZING, instance, rule_policy(LOTSIZING, RULES[rule]), scenario)
            assert run.costs[0] >= least - 1e-9


def test_no_item_is_made_onto_stock_above_its_limit():
    """A shop in motion may hold more than the limit; where overflow is forbidden nothing is then added to it."""
    instance = LotSizing(
        "above",
        rates=[[1]],
        holding_costs=[0.0],
        shortage_costs=[1.0],
        stock_limits=[0],
        demand=PathDemand([[0], [2]]),
        num_periods=2,
        settings=LotSizingSettings(overflow="forbid"),
        state=LotState(0, [0], [1], []),
    )
    assert orl.solve(instance, "dp").value == orl.solve(instance, "dp").bound == 2.0


def test_the_relaxation_is_weak_without_penalties_and_a_bound_with_any():
    instance = orl.load("lotsizing/setting_2items_VI", settings={"horizon": "12"})
    table, scenarios = tabular(instance), sample(instance, 1, Purpose.EVALUATE, 2000)
    values = optimal_values(table)
    optimum = float(table.start @ values[0])
    free = np.array([hindsight(table, scenario) for scenario in scenarios])
    rough = np.array([penalised(table, scenario, 0.8 * values) for scenario in scenarios])
    error = 4 * rough.std() / len(scenarios) ** 0.5
    assert free.mean() < rough.mean() <= optimum + error
    policy = simulate(LOTSIZING, instance, rule_policy(LOTSIZING, RULES["greedy"]), scenarios)
    assert policy.costs.mean() >= optimum - 4 * policy.costs.std() / len(scenarios) ** 0.5


@pytest.mark.parametrize("mean", [0.01, 0.5, 8.0, 200.0])
def test_poisson_demand_is_cut_where_nothing_is_left(mean):
    rates, limit = [[1]], [2]
    instance = LotSizing("one", rates, [0.0], [1.0], limit, SeasonalDemand([mean], [1.0], 0.0), 1)
    idle = tabular(instance).post_cost(0)[0]
    assert idle == pytest.approx(mean, rel=1e-12)  # all of it is lost


def test_as_the_base_of_rollout_it_knows_the_period_and_refuses_to_begin_amid_one():
    """Demand comes in period 2 alone, so nothing need be paid; of two machines the second begins amid a period."""
    one = LotSizing("one", [[3]], [1.0], [10.0], [10], PathDemand([[0], [0], [3], [0]]), 4)
    assert orl.solve(one, "rollout", settings={"base": "dp"}).value == orl.solve(one, "dp").value == 0
    two = LotSizing("two", [[3], [3]], [1.0], [10.0], [10], PathDemand([[3], [3]]), 2)
    with pytest.raises(InputError, match="first choice of a period"):
        orl.solve(two, "rollout", settings={"base": "dp"})


def test_a_policy_is_pickled():
    instance = orl.load("lotsizing/setting_2items_VI", settings={"discount": 0.9, "horizon": "file"})
    scenarios = sample(instance, 0, Purpose.EVALUATE, 20)
    policy = orl.api.policy_of(LOTSIZING, instance, "dp")
    copy = pickle.loads(pickle.dumps(policy))
    costs = [simulate(LOTSIZING, instance, each, scenarios).costs.tolist() for each in (policy, copy)]
    assert costs[0] == costs[1]
