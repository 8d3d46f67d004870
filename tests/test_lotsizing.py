"""Lot sizing: kernels equal to the SimPy twin, honest verifier, blind masks, laws as stated, files refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from lots import lots, pigments
from twins import can_meet_demand, lots_decisions_agree, lots_rule_agrees, lots_scenario

import orl
from orl import registry, testing
from orl.errors import InputError
from orl.problems.lotsizing.demand import IndependentDemand, PathDemand, binomial
from orl.problems.lotsizing.instance import LotPlan, LotSizing, LotSizingSettings, LotState
from orl.problems.lotsizing.metrics import metrics
from orl.problems.lotsizing.process import LotSizingProcess
from orl.problems.lotsizing.rules import RULES
from orl.problems.lotsizing.scenario import draw, realise, sample
from orl.problems.lotsizing.simpy_twin import simulate
from orl.problems.lotsizing.verify import Ledger, verify
from orl.scenario import Purpose

LOTSIZING = registry.find_problem("lotsizing")


@given(st.one_of(lots(), pigments()), st.sampled_from(sorted(RULES)), st.integers(0, 3))
@profile(max_examples=150)
def test_an_episode_of_a_rule_is_that_of_the_twin(instance, rule, seed):
    lots_rule_agrees(instance, rule, seed)


@given(st.one_of(lots(), pigments(), pigments(due=2)), st.integers(0, 2**32))
@profile(max_examples=200)
def test_masks_and_states_are_those_of_the_twin(instance, seed):
    lots_decisions_agree(instance, seed)


@given(st.one_of(lots(), pigments().filter(can_meet_demand)))
@profile(max_examples=40)
def test_lot_sizing_keeps_the_contract_on_drawn_instances(instance):
    family = LOTSIZING if instance.state is None else replace(LOTSIZING, save=None)  # states are not written
    testing.check_problem(family, instance)


@given(lots(), st.integers(0, 2**32))
@profile(max_examples=60)
def test_stock_balances(instance, seed):
    scenario, rng = lots_scenario(instance), np.random.default_rng(seed)
    _, plan = simulate(instance, scenario, lambda plant: int(rng.choice(plant.legal())))
    books = Ledger(instance, scenario)
    first = sum(books.stock)
    for period, row in enumerate(plan.choices.tolist()):
        assert not list(books.play(period, row))
    lost = books.short if instance.settings.unmet == "lost" else 0
    assert first + books.produced - books.demanded + lost - books.discarded == sum(books.stock)
    assert books.total == pytest.approx(books.setup_cost + books.holding_cost + books.shortage_cost)


@pytest.mark.parametrize(
    ("kind", "choices", "settings"),
    [
        ("impossible", [[2, 0]], {}),
        ("machines", [[1, 1]], {"item_machines": "one"}),
        ("overflow", [[1, 1]], {"overflow": "forbid"}),
        ("unknown", [[3, 0]], {}),
        ("shape", [[1]], {}),
    ],
)
def test_the_verifier_names_what_is_wrong(kind, choices, settings):
    limits, law = [3, 9], binomial(2, 1, 0.5)
    one = LotSizing("two", [[2, 0], [2, 2]], [1, 1], [1, 1], limits, law, 1, settings=LotSizingSettings(**settings))
    report = verify(one, lots_scenario(one), LotPlan(choices))
    assert kind in [violation.kind for violation in report.violations]
    assert verify(one, lots_scenario(one), LotPlan([[1, 2]])).is_feasible


def test_the_verifier_pays_on_paper():
    """Two periods discounted by 0.9, costs times their factors: set-ups, two units short, then one left and two lost.

    In the first period both machines make item 0, two and one of it (the second loses one to its set-up), and three of
    item 1 are asked for, of which there is one.
    """
    one = LotSizing(
        "paid", [[2, 2], [2, 0]], [1, 2], [10, 20], [4, 9], PathDemand([[1, 3], [0, 1]]), 2,
        setup_costs=[[5, 6], [7, 8]], setup_losses=[[0, 0], [1, 0]], initial_stock=[0, 1],
        settings=LotSizingSettings(discount=0.9, cost_noise=0.3, horizon="file"),
    )  # fmt: skip
    scenario = lots_scenario(one)
    first, second = realise(one, scenario).cost_factors
    books = Ledger(one, scenario)
    assert not list(books.play(0, [1, 1])) and books.stock == [2, 0]
    assert books.setup_cost == pytest.approx((5 + 7) * first[0])
    assert books.shortage_cost == pytest.approx(2 * 20 * first[1])
    assert books.holding_cost == pytest.approx(2 * 1 * first[0])
    assert not list(books.play(1, [1, 1])) and books.stock == [4, 0]
    assert books.setup_cost == pytest.approx((5 + 7) * first[0]), "both are set up already"
    assert books.shortage_cost == pytest.approx(2 * 20 * first[1] + 0.9 * 20 * second[1])
    assert books.holding_cost == pytest.approx(2 * first[0] + 0.9 * 4 * second[0])
    assert books.total == pytest.approx(books.setup_cost + books.holding_cost + books.shortage_cost)
    assert (books.produced, books.demanded, books.short, books.discarded, books.setups) == (7, 5, 3, 2, 2)


def test_the_verifier_holds_a_plan_to_what_is_booked():
    state = LotState(0, [1, 0], [2, 0], [1])
    one = LotSizing(
        "booked", [[2, 0], [2, 2]], [1, 1], [1, 1], [3, 9], binomial(2, 1, 0.5), 2, [[1, 1]] * 2, state=state
    )
    plans = [[1, 2], [2, 1]], [[2, 2], [1, 1]], [[0, 2], [1, 1]]
    found = [[v.kind for v in verify(one, lots_scenario(one), LotPlan(plan)).violations] for plan in plans]
    assert found == [["impossible"], ["booked"], ["booked"]], "in the first period alone, and it is not made again"
    long = LotSizing("long", [[0]], [1], [1], [9], binomial(1, 1, 0.5), 25, [[1]])
    assert len(verify(long, lots_scenario(long), LotPlan([[1]] * 25)).violations) == 20


def test_what_cannot_be_made_at_all_is_not_asked_for():
    """The unit of b that is due now cannot be: with it all demand cannot be met, so nothing is forced."""
    one = LotSizing(
        "lost", [[1, 0]], [1, 1], [9, 9], [3, 3], PathDemand([[0, 1], [1, 0]]), 2, [[1, 1]],
        settings=LotSizingSettings(unmet="forbid"),
    )  # fmt: skip
    process = LotSizingProcess([one], [lots_scenario(one)])
    assert process.observe().legal.tolist() == [[True, True, False]]


@pytest.mark.parametrize("decision", ["machine", "joint"])
def test_another_instance_is_shown_as_in_a_new_process(decision):
    """A smaller one than before: nothing is left of what was legal then."""
    settings = LotSizingSettings(decision=decision)
    large, small = (draw(np.random.default_rng(0), size, size, settings=settings) for size in (3, 1))
    process = LotSizingProcess([large], [lots_scenario(large)])
    process.reset([0], [small], [lots_scenario(small)])
    new = LotSizingProcess([small], [lots_scenario(small)], fit=[large])
    assert (process.observe().legal == new.observe().legal).all()


def test_masks_do_not_see_the_future():
    instance = draw(np.random.default_rng(1), 4, 2, settings=LotSizingSettings(overflow="forbid"))
    rows = sample(instance, 5, Purpose.EVALUATE, 2)
    process = LotSizingProcess([instance, instance], [rows[0], rows[1]])
    observation = process.observe()
    assert (realise(instance, rows[0]).demand != realise(instance, rows[1]).demand).any()
    assert (observation.legal[0] == observation.legal[1]).all()
    assert all((array[0] == array[1]).all() for array in observation.arrays.values())


@given(lots())
@profile(max_examples=30)
def test_a_scenario_does_not_depend_on_how_many_are_drawn(instance):
    if instance.is_random:
        few, many = sample(instance, 3, Purpose.SELECT, 2), sample(instance, 3, Purpose.SELECT, 5)
        assert (realise(instance, few[1]).demand == realise(instance, many[1]).demand).all()


def test_demand_and_start_follow_their_laws():
    instance = draw(np.random.default_rng(2), 5, 2, settings=LotSizingSettings(start="random"))
    seen = [realise(instance, row) for row in sample(instance, 0, Purpose.EVALUATE, 400)]
    demand = np.concatenate([one.demand for one in seen])
    error = np.sqrt(20 * 0.4 * 0.6 / len(demand))
    assert (np.abs(demand.mean(axis=0) - 8) < 5 * error).all()
    assert demand.var(axis=0) == pytest.approx(np.full(5, 4.8), rel=0.1)
    stock = np.array([one.stock for one in seen])
    assert np.abs(stock.mean() - 50) < 5 * np.sqrt(101**2 / 12 / stock.size)
    for machine in range(2):
        assert {int(one.setup[machine]) for one in seen} == set(np.flatnonzero(instance.possible[machine]).tolist())


GOOD = """problem = "lotsizing"
periods = 4
rates = [[2, 0]]
holding_costs = [1, 1]
shortage_costs = [5, 5]
stock_limits = [9, 9]
[demand]
law = "pmf"
values = [0, 1]
probabilities = [0.5, 0.5]
"""


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("[0.5, 0.5]", "[0.5, -0.5]", "probabilit"),
        ("periods = 4", "periods = 0", "num_periods"),
        ("rates = [[2, 0]]", "rates = [[2, 0.5]]", "rates must be whole"),
        ("rates = [[2, 0]]", "", "rates"),
        ("stock_limits = [9, 9]", "stock_limits = [9]", "stock_limits must have shape"),
        ('law = "pmf"', 'law = "guess"', "law"),
        ("holding_costs = [1, 1]", "holding_costs = [1, nan]", "holding_costs must be >= 0"),
        ("holding_costs = [1, 1]", "holding = [1, 1]", "holding"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, before, after, words):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(GOOD)
    assert orl.load(good).num_items == 2
    assert before in GOOD
    bad.write_text(GOOD.replace(before, after))
    with pytest.raises(orl.InputError, match=words) as refused:
        orl.load(bad, problem="lotsizing")
    assert "bad.toml" in str(refused.value) and "\n" not in str(refused.value)


def test_key_figures_on_paper():
    """Demand 1, 2; 3 made once at a set-up cost of 5, then idle: nothing short, 2 held, then none."""
    path = PathDemand([[1], [2]])
    one = LotSizing("one", [[3]], [1.0], [10.0], [10], path, 2, [[5.0]])
    figures = metrics(one, lots_scenario(one), LotPlan([[1], [0]]))
    assert figures == {
        "setup_cost": 5,
        "holding_cost": 2,
        "shortage_cost": 0,
        "fill_rate": 1,
        "setups_per_period": 0.5,
        "utilisation": 0.5,
        "discarded_units": 0,
    }
    backlog = replace(one, settings=replace(one.settings, unmet="backlog"))
    figures = metrics(backlog, lots_scenario(one), LotPlan([[0], [0]]))
    assert (figures["fill_rate"], figures["shortage_cost"]) == (0, 10 + 30), "each unit is short once, and waits on"


def test_results_tell_the_spread_of_costs():
    result = orl.solve("lotsizing/setting_2items_VI", "idle", settings={"horizon": "10"}, scenarios=200)
    costs = np.sort(result.costs)
    assert result.metrics["cost_cvar95"] == pytest.approx(costs[-10:].mean())
    assert result.metrics["cost_median"] <= result.metrics["cost_q95"] <= result.metrics["cost_cvar95"]


@pytest.mark.parametrize("entry", [float("nan"), float("inf"), 0.5, True, None])
def test_an_entry_of_a_plan_that_is_no_whole_number_is_named(entry):
    instance = orl.load("lotsizing/setting_2items_VI", settings={"horizon": "1"})
    with pytest.raises(orl.InputError, match="column 'period', row 0: expected 0"):
        LOTSIZING.solution(instance, {"period": [entry], "machine 0": ["idle"]})


def squash(amount, scale):
    return amount / (abs(amount) + scale)


def test_rows_of_candidates_on_paper():
    """Machine 0 is told item 0; machine 1, due, cannot make that and is set up for item 1, of which 2 are in stock."""
    plant = LotSizing(
        "paper", [[6, 5], [0, 4]], [0.1, 0.2], [2.0, 3.0], [20, 10], PathDemand([[2, 4]] * 9), 9, [[7, 9], [1, 8]],
        [[1, 1], [1, 1]], initial_setup=[0, 2], initial_stock=[0, 2],
    )  # fmt: skip
    process = LotSizingProcess([plant], [lots_scenario(plant)])
    process.decide(np.array([1]))
    process.reveal()
    idle, first, second = LOTSIZING.features().candidates(process.observe())[0]
    assert idle[:3].tolist() == [1, 1, 0] and first[:3].tolist() == [0, 0, 1] and second[:3].tolist() == [0, 1, 1]
    assert first[[3, 4, 6]].tolist() == [0, 0.5, 1] and first[5] == pytest.approx(squash(9, 10))
    assert idle[7] == pytest.approx(squash(2, 12)) and idle[8] == pytest.approx(squash(4, 4))
    assert first[9:12].tolist() == [0.5, 0.5, 0] and second[9:12].tolist() == [0, 0, 1]
    setup = (7 + 9 + 8) / 3
    assert second[12:18] == pytest.approx([squash(4, 4), 0, squash(2, 12), squash(6, 12), squash(4, 4), squash(4, 3)])
    assert first[14] == pytest.approx(squash(5, 6)) and first[16] == pytest.approx(squash(15, 2))
    assert second[18:20] == pytest.approx([squash(12, setup), squash(8, setup)])
    assert second[20:24] == pytest.approx([0, squash(5, 4), 0.5, 0]) and first[20:22] == pytest.approx(
        [0, squash(6, 2)]
    )
    assert second[24:28] == pytest.approx([0, 0, squash(3 * 6, setup), squash(3 * 4, setup)])
    for place, short in ((28, 16 - 2), (30, 32 - 2)):  # within four and eight periods
        assert second[place : place + 2] == pytest.approx([squash(3 * short, setup), squash(3 * 4, setup)])
    saved = (14 - 10) * 3 - 0 * 0.2 - 0.5 * 0  # four periods' demand of 16, short by 14 without the 4 made
    assert [idle[34], first[34]] == [0, 0] and second[34] == pytest.approx(squash(saved, setup))
    process.decide(np.array([2]))
    idle, first, second = LOTSIZING.features().candidates(process.observe())[0]
    assert [row[3] for row in (idle, first, second)] == [1, 1, 1] and second[4] == 1
    assert not any(row[place] for row in (idle, first, second) for place in (1, 7, 8, 11, 12, 13, 27, 34))
    assert second[14] == pytest.approx(squash(6, 12)) and second[[9, 10]].tolist() == [0.5, 0.5]
    process.reveal()
    first = LOTSIZING.features().candidates(process.observe())[0, 1]
    assert first[20:23].tolist() == [0, 0, 0], "the other machine cannot make it"


@given(lots(), st.integers(0, 20), st.integers(0, 2**32))
@profile(max_examples=80)
def test_rows_of_candidates_are_bounded_and_blind_to_company(instance, steps, seed):
    """At either half-step; beside a larger plant an instance is shown as alone, and 0 in the padding."""
    instance = replace(instance, settings=replace(instance.settings, decision="machine"))
    large = draw(np.random.default_rng(seed), items=5, machines=4, periods=40)
    read = LOTSIZING.features().candidates
    alone = LotSizingProcess([instance], [lots_scenario(instance)])
    both = LotSizingProcess([instance, large], [lots_scenario(instance), lots_scenario(large)])
    rng, width = np.random.default_rng(seed), instance.num_items + 1
    for _ in range(steps):
        if not alone.observe().legal.any():
            break
        choice = rng.choice(np.flatnonzero(alone.observe().legal[0]))
        for half in ("decide", "reveal"):
            rows, padded = read(alone.observe())[0], read(both.observe(), np.array([0, 0]))
            assert np.abs(rows).max() <= 1 and (rows[:, 1] == alone.observe().legal[0]).all()
            assert (padded[0, :width] == rows).all() and (padded[1] == padded[0]).all() and not padded[0, width:].any()
            if half == "decide":
                alone.decide(np.array([choice])), both.decide(np.array([choice, 0]))
            else:
                alone.reveal(), both.reveal()


@given(lots(), st.integers(0, 20), st.integers(0, 2**32))
@profile(max_examples=80)
def test_the_score_that_is_shown_is_what_the_greedy_rule_goes_by(instance, steps, seed):
    process = LotSizingProcess([instance], [lots_scenario(instance)])
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        seen = process.observe()
        if seen.legal.ndim == 3 or not seen.legal.any():
            break
        scores = np.where(seen.legal[0], LOTSIZING.features().candidates(seen)[0, :, 34], 0)
        chosen = int(np.argmax(LOTSIZING.rules()["greedy"].score(seen, np.array([[4.0, 0.5]]))[0]))
        assert scores[chosen] == pytest.approx(max(scores.max(), 0), abs=1e-6) and (chosen > 0) == (scores.max() > 0)
        process.decide(np.array([rng.choice(np.flatnonzero(seen.legal[0]))]))
        process.reveal()


def test_where_nothing_ends_no_feature_tells_the_period():
    """An infinite horizon is cut off somewhere; a policy is not to know where."""
    instance = orl.load("lotsizing/setting_2items_VI", settings={"discount": 0.9})
    process = LotSizingProcess(
        [instance, replace(instance, settings=LotSizingSettings())], [lots_scenario(instance)] * 2
    )
    features = LOTSIZING.features()
    seen = []
    for _ in range(3):
        observation = process.observe()
        seen.append((features.candidates(observation)[:, 1, 5], features.flat(observation)[:, 4]))
        process.decide(np.zeros(2, dtype=np.int64))
        process.reveal()
    rows, vectors = (np.array(one) for one in zip(*seen, strict=True))
    for left in (rows, vectors):
        assert (left[:, 0] == 1).all() and (np.diff(left[:, 1]) < 0).all() and (left[:, 1] < 1).all()


def test_where_nothing_ends_the_greedy_rule_does_not_see_where_it_is_cut_off():
    demand = IndependentDemand([[0, 0, 1, 0, 0], [0, 0, 0, 0, 1]])
    plants = [
        LotSizing(
            "paper", [[8, 14]], [0.1, 0.2], [2.0, 3.0], [20, 20], demand, 9, [[7, 9]],
            settings=LotSizingSettings(discount=0.9, horizon=horizon, tail=tail),
        )
        for horizon, tail in (("infinite", 0.6), ("infinite", 1e-6), ("6", 1e-6))
    ]  # fmt: skip
    process = LotSizingProcess(plants, [lots_scenario(plant) for plant in plants])
    for _ in range(3):
        process.decide(np.zeros(3, dtype=np.int64))
        process.reveal()
    short, long, ends = LOTSIZING.features().candidates(process.observe())[:, :, 34]
    assert (short == long).all() and (ends[1:] < long[1:]).all()


def test_rows_of_candidates_are_for_one_machine():
    plant = draw(np.random.default_rng(0), items=2, machines=2, settings=LotSizingSettings(decision="joint"))
    process = LotSizingProcess([plant], [lots_scenario(plant)])
    with pytest.raises(InputError, match="set decision=machine"):
        LOTSIZING.features().candidates(process.observe())
