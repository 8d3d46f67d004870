"""Lagrangian relaxation of lot sizing, against every plan there is and against dynamic programming."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from lots import lots
from test_lotsizing_models import least_cost

import orl
from orl import registry
from orl.errors import InputError
from orl.problems.lotsizing import kernels_assign, kernels_items
from orl.problems.lotsizing.decomposition import AssignRoom, ItemDecomposition
from orl.problems.lotsizing.demand import PathDemand, SeasonalDemand, binomial
from orl.problems.lotsizing.instance import LotSizing, LotSizingSettings, LotState
from orl.problems.lotsizing.scenario import draw, sample
from orl.problems.lotsizing.verify import verify
from orl.scenario import Purpose
from orl.solver import Control, Task
from orl.solvers.dp.values import backward_induction
from orl.solvers.lagrangian import LagrangianSettings, tuning
from orl.solvers.lagrangian.ascent import ascend

LOTSIZING = registry.find_problem("lotsizing")


def drawn_prices(relaxation, seed):
    return np.random.default_rng(seed).choice([0.0, 0.5, 2.0, 8.0], size=relaxation.shape)


def exact_value(instance):
    """Return the optimal expected cost of an episode."""
    table = LOTSIZING.tabular(instance)
    table = replace(table, periods=table.episode)  # an infinite horizon, cut off
    return float(table.start @ backward_induction(table, lambda _: None).low)


def with_plain_setups(instance):
    """Return the instance with set-ups that do not depend on what was made before."""
    tables = {}
    for setup, changeover in (("setup_costs", "changeover_costs"), ("setup_losses", "changeover_losses")):
        if getattr(instance, changeover) is not None:
            tables |= {changeover: None, setup: getattr(instance, changeover)[:, 0, 1:]}
    return replace(instance, **tables)


def falling_apart(instance):
    """Return the instance without what items alone do not have in their state."""
    demand, state = instance.demand, instance.state
    if isinstance(demand, SeasonalDemand):
        demand = SeasonalDemand(demand.means, demand.season, 0.0)
    if state is not None:
        state = replace(state, cost_factors=None)
    settings = replace(instance.settings, cost_noise=0.0)
    return replace(with_plain_setups(instance), demand=demand, state=state, settings=settings)


@given(lots(), st.integers(0, 99))
@profile(max_examples=150)
def test_any_prices_bound_every_plan_of_a_scenario(instance, seed):
    assume((instance.num_items + 1) ** (instance.periods_left * instance.num_machines) <= 1100)
    instance = with_plain_setups(instance)
    scenario = sample(instance, 0, Purpose.EVALUATE, 1)[0]
    relaxation = ItemDecomposition(instance).known(scenario)
    prices = drawn_prices(relaxation, seed)
    least = least_cost(instance, scenario)
    at = relaxation.relax(prices)
    assert at.value <= least + 1e-9
    others = drawn_prices(relaxation, seed + 100)
    elsewhere = relaxation.relax(others).value
    assert elsewhere <= at.value + (at.excess * (others - prices)).sum() + 1e-9  # a supergradient
    plan = relaxation.repair(prices, np.random.default_rng(seed))
    near = relaxation.repair(prices, np.random.default_rng(seed), plan)
    for found in (plan, near):
        report = verify(instance, scenario, found)
        # A machine that the plan leaves idle stays set up: it makes more than planned, which may not fit.
        assert report.is_feasible or (instance.settings.idle, instance.settings.overflow) == ("keeps-setup", "forbid")
        assert not report.is_feasible or report.cost >= least - 1e-9


@given(lots(), st.integers(0, 99))
@profile(max_examples=150)
def test_any_prices_bound_every_policy(instance, seed):
    instance = falling_apart(instance)
    try:
        optimum = exact_value(instance)
    except InputError:
        assume(False)
    relaxation = ItemDecomposition(instance).expected()
    prices = drawn_prices(relaxation, seed)
    at = relaxation.relax(prices)
    assert at.value <= optimum + 1e-9 * max(1.0, optimum)
    others = drawn_prices(relaxation, seed + 100)
    assert relaxation.relax(others).value <= at.value + (at.excess * (others - prices)).sum() + 1e-9
    # With one item nothing is shared, so without prices nothing is relaxed; but idle machines stay set up, while the
    # item alone may give a set-up away.
    if instance.num_items == 1 and instance.settings.idle == "loses-setup":
        assert relaxation.relax(np.zeros(relaxation.shape)).value == pytest.approx(optimum, abs=1e-9)


@given(lots(), st.integers(0, 99))
@profile(max_examples=100)
def test_who_pays_for_what_is_known_gains_nothing_by_it(instance, seed):
    """With penalties of the values at some prices, every scenario costs at these prices what is expected there."""
    instance = falling_apart(instance)
    decomposition = ItemDecomposition(instance)
    prices = drawn_prices(decomposition.expected(), seed)
    scenario = sample(instance, seed, Purpose.EVALUATE, 1)[0]
    paying = decomposition.penalised(scenario, decomposition.penalties(prices))
    if instance.settings.start == "file" or instance.state is not None:
        expected = decomposition.expected().relax(prices).value
        assert paying.relax(prices).value == pytest.approx(expected, abs=1e-8)


@given(lots(), st.integers(0, 99))
@profile(max_examples=100)
def test_what_is_known_is_done_as_it_is_planned(instance, seed):
    """How likely an item of one scenario takes a machine is 1 where its plan does, 0 elsewhere, at the same cost."""
    instance = with_plain_setups(instance)
    relaxation = ItemDecomposition(instance).known(sample(instance, seed, Purpose.EVALUATE, 1)[0])
    prices = drawn_prices(relaxation, seed)
    for number, part in enumerate(relaxation.parts):
        does, taken = np.zeros((len(prices), len(part.item.machine)), int), np.zeros(prices.shape)
        cost = relaxation._plan_item(number, prices, does)
        taken[:, part.item.machine] = does != kernels_items.OFF
        value, use = relaxation._relax_part(number, prices)
        assert value == cost and (use == taken).all()


def test_a_full_item_keeps_its_machine_on_paper():
    """Two in stock, which is the limit, are held once and asked for next; two more are made then without a set-up."""
    one = LotSizing(
        "full", [[2]], [0.1], [10.0], [2], PathDemand([[0], [2], [2]]), 3, [[5.0]],
        initial_setup=[1], initial_stock=[2], settings=LotSizingSettings(overflow="forbid", idle="keeps-setup"),
    )  # fmt: skip
    at = ItemDecomposition(one).expected().relax(np.full((3, 1), 0.5))
    assert at.value == pytest.approx(2 * 0.1) and not at.excess.any()


def test_a_machine_that_has_been_told_may_be_used_in_the_next_period_on_paper():
    """The first of two, which alone can make the item, is idle now; a set-up for 1 in the next period is in time."""
    state, demand = LotState(0, [0, 0], [0], [0]), PathDemand([[0], [3]])
    one = LotSizing("told", [[3], [0]], [0.5], [6.0], [6], demand, 2, [[1.0], [1.0]], state=state)
    assert ItemDecomposition(one).expected().relax(np.zeros((2, 2))).value == 1


def one_item(machines=2):
    return LotSizing(
        "one",
        rates=[[3], [2]][:machines],
        holding_costs=[0.5],
        shortage_costs=[6.0],
        stock_limits=[6],
        demand=binomial(1, 4, 0.5),
        num_periods=6,
        setup_costs=[[1.0], [0.5]][:machines],
        setup_losses=[[1], [0]][:machines],
    )


@pytest.mark.parametrize("decision", ["machine", "joint"])
@pytest.mark.parametrize("idle", ["loses-setup", "keeps-setup"])
def test_the_policy_of_a_single_item_is_optimal(decision, idle):
    one = one_item()
    one = replace(one, settings=LotSizingSettings(decision=decision, idle=idle))
    policy = orl.solve(one, "lagrangian", scenarios=300, time_limit=None)
    optimal = orl.solve(one, "dp", scenarios=300, time_limit=None)
    assert policy.verified and policy.bound_kind == "lagrangian"
    assert policy.bound == pytest.approx(optimal.metrics["optimal_cost"], abs=1e-6)
    assert policy.value == pytest.approx(optimal.value, abs=1e-3)  # of equal actions another one may be taken


@given(lots(), st.integers(0, 9))
@profile(max_examples=40)
def test_the_policy_plays_every_setting(instance, seed):
    instance = falling_apart(instance)
    count = 5 if instance.is_random else 1
    result = orl.solve(instance, "lagrangian", settings={"iterations": 5}, scenarios=count, seed=seed, time_limit=None)
    assert result.verified
    if not instance.is_random:
        assert result.bound_kind == "proven" and result.bound <= result.value + 1e-6


def test_both_forms_of_the_decision_choose_the_same():
    instance = draw(np.random.default_rng(1), items=4, machines=3, periods=20)
    by_machine, joint = (
        orl.solve(
            replace(instance, settings=replace(instance.settings, decision=decision)),
            "lagrangian",
            settings={"iterations": 20},
            scenarios=20,
            time_limit=None,
        )
        for decision in ("machine", "joint")
    )
    assert by_machine.costs == pytest.approx(joint.costs)


def test_bounds_improve_from_hindsight_to_prices_to_penalties_and_the_policy_beats_the_rules():
    instance = draw(np.random.default_rng(2), items=8, machines=2, periods=40, settings=LotSizingSettings())
    plain = orl.solve(instance, "lagrangian", scenarios=30, time_limit=None)
    penalised = orl.solve(instance, "lagrangian", settings={"scenario_iterations": 20}, scenarios=30, time_limit=None)
    hindsight = orl.solve(instance, "lagrangian-hindsight", settings={"repairs": 0}, scenarios=30, time_limit=None)
    assert plain.costs == penalised.costs
    assert (plain.bound_kind, penalised.bound_kind) == ("lagrangian", "penalised-mean")
    assert hindsight.bound < plain.bound < penalised.bound < plain.value
    best = min(orl.solve(instance, rule, scenarios=30, time_limit=None).value for rule in ("greedy", "fixed", "s-S"))
    assert plain.value < 0.8 * best and plain.bound > 0.9 * plain.value


def test_hindsight_is_near_the_mixed_integer_optimum():
    instance = draw(np.random.default_rng(3), items=3, machines=2, periods=12)
    exact = orl.solve(instance, "exact", scenarios=3, time_limit=None)
    found = orl.solve(instance, "lagrangian-hindsight", scenarios=3, time_limit=None)
    assert exact.bound == pytest.approx(exact.value)
    assert found.verified and found.clairvoyant and found.bound_kind == "hindsight-mean"
    assert found.bound <= exact.value + 1e-6 <= found.value + 2e-6
    assert found.value <= 1.05 * exact.value and found.bound >= 0.8 * exact.value


def test_prices_end_where_nothing_is_short():
    """Two items that need different machines have nothing to share: prices stay 0, and the first step ends."""
    instance = LotSizing(
        "apart",
        rates=[[3, 0], [0, 3]],
        holding_costs=[1.0, 1.0],
        shortage_costs=[5.0, 5.0],
        stock_limits=[5, 5],
        demand=PathDemand(np.array([[1, 2], [3, 0], [2, 2]])),
        num_periods=3,
        setup_costs=[[1.0, 1.0], [1.0, 1.0]],
    )
    found = ascend(ItemDecomposition(instance).expected(), 50)
    assert found.iterations == 1 and not found.prices.any()
    scenario = sample(instance, 0, Purpose.EVALUATE, 1)[0]
    assert found.value == pytest.approx(least_cost(replace(instance, name="all"), scenario), abs=1e-9)


def test_a_stop_keeps_the_best_prices_so_far():
    instance = draw(np.random.default_rng(2), items=8, machines=2, periods=15)
    relaxation = ItemDecomposition(instance).expected()
    calls = iter(range(1000))
    short = ascend(relaxation, 100, lambda: float(next(calls) > 5) * 2)
    assert short.iterations < 20 and short.value == pytest.approx(relaxation.relax(short.prices).value)
    assert short.value < ascend(relaxation, 100).value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"setup_costs": None, "changeover_costs": np.zeros((1, 3, 3))}, "items do not fall apart"),
        ({"settings": LotSizingSettings(cost_noise=0.1)}, "do not have cost_noise"),
        ({"stock_limits": [10**8, 10**8]}, "the tables of item 0 alone take"),
    ],
)
def test_what_items_alone_do_not_have_is_refused_in_one_line(changes, message):
    instance = LotSizing("small", [[3, 3]], [1, 1], [10, 10], [10, 10], binomial(2, 2, 0.5), 5, [[1, 1]], [[1, 1]])
    with pytest.raises(InputError, match=message):
        orl.solve(replace(instance, **changes), "lagrangian")


@pytest.mark.parametrize("settings", [{"iterations": 0}, {"scenario_iterations": -1}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match="must be >="):
        orl.solve("lotsizing/setting_2items_VI", "lagrangian", settings=settings)


def test_a_policy_in_motion_is_a_base_for_rollout():
    instance = draw(np.random.default_rng(5), items=3, machines=2, periods=8)
    settings = {"base": "lagrangian", "futures": 10}
    result = orl.solve(instance, "rollout", settings=settings, scenarios=5, time_limit=None)
    assert result.verified
    plain = orl.solve(instance, "lagrangian", scenarios=5, time_limit=None)
    assert result.value <= 1.1 * plain.value


def test_every_choice_is_tried():
    """What the policy takes is the best of all choices, what is left being worth what the items' values say."""
    instance = replace(one_item(machines=1), num_periods=3)
    decomposition = ItemDecomposition(instance)
    values = decomposition.values(np.zeros((3, 1)))
    process = LOTSIZING.process([instance], [sample(instance, 0, Purpose.EVALUATE, 1)[0]])
    action = decomposition.decide(values, process.observe())[0]
    costs = []
    for choices in product(range(2), repeat=1):
        process.reset()
        cost = process.decide(np.array([choices[0]]))[0]
        stock = int(process.observe().arrays["stock"][0, 0])
        costs.append(cost + values.posts[choices[0] * values.levels[0] + stock])
    assert action == int(np.argmin(costs))


def test_whoever_is_interrupted_tries_no_other_prices(monkeypatch):
    """A Ctrl-C in the search for prices is not followed by fifty scenarios of tuning."""
    instance, control = one_item(), Control()
    task = Task(LOTSIZING, instance, None, LagrangianSettings(), 0, control)
    monkeypatch.setattr(tuning, "simulate", lambda *_: pytest.fail("simulated"))
    control.interrupt()
    decomposition = ItemDecomposition(instance)
    prices = np.zeros(decomposition.expected().shape)
    assert tuning.best_values(task, decomposition, prices, lambda values: values, trials=50)[1:] == (1.0, 1)


def two_items(machines, **others):
    demand = PathDemand([[1, 2], [2, 0], [1, 1], [2, 2]])
    rates, setup_costs = [[3, 3]] * machines, [[4.0, 6.0]] * machines
    return LotSizing("two", rates, [0.5, 0.4], [5.0, 6.0], [5, 5], demand, 4, setup_costs, **others)


@pytest.mark.parametrize("idle", ["loses-setup", "keeps-setup"])
def test_a_machine_is_told_what_leaves_both_items_best(idle):
    """Whatever it is set up for and whatever there is: set-up, and what the state after it is worth to each item."""
    settings = LotSizingSettings(idle=idle)
    values = ItemDecomposition(two_items(1, settings=settings)).values(np.full((4, 1), 1.0))
    for setup, *stock in product(range(3), range(3), range(3)):
        one = two_items(1, settings=settings, state=LotState(0, [setup], stock, []))
        process, costs = LOTSIZING.process([one], [sample(one, 0, Purpose.EVALUATE, 1)[0]]), []
        action = ItemDecomposition(one).decide(values, process.observe())[0]
        for choice in range(3):
            process.reset()
            cost = process.decide(np.array([choice]))[0]
            after = process.observe().arrays
            for item, level in enumerate(after["stock"][0] + values.empty):
                place = int(after["setup"][0, 0] == item + 1) * values.levels[item] + level
                cost += values.posts[values.first[item] + place]
            costs.append(cost)
        assert costs[action] == pytest.approx(min(costs), abs=1e-5)


def test_machines_exchange_only_what_both_may_do():
    """Each is told what the other is set up for: to exchange that saves two set-ups."""
    one = two_items(2)
    values = ItemDecomposition(one).values(np.zeros((4, 2)))
    setup, zeros = np.array([1, 2]), np.zeros((3, 2), dtype=np.int64)
    for other_may, told in ((True, [1, 2]), (False, [2, 1])):
        room = AssignRoom(*zeros.copy(), *np.zeros((2, 2)), np.zeros(2, dtype=np.int64))
        kernels_assign.begin(values, 0, 0, setup, np.zeros(2, dtype=np.int64), np.full(2, -1), room)
        for machine, option in enumerate((2, 1)):
            kernels_assign.tell(values, 0, machine, setup[machine], option, room)
        options = np.ones((2, 3), dtype=bool)
        options[1, 2] = other_may
        assert kernels_assign.exchange(values, options, 0, 0, setup, room) == other_may and room.told.tolist() == told
