"""Capacitated lot sizing: an example for paper, published values, models against one another, files, bad input."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from lots import capacitated
from twins import capacitated_rule_agrees, capacitated_targets_agree, lots_of_items_are_cheapest, targets_verify

import orl
from orl import testing
from orl.api import policy_of
from orl.errors import IllegalAction, InputError
from orl.exact import CompiledModel
from orl.problems.clsp import simpy_twin
from orl.problems.clsp.exact import build
from orl.problems.clsp.instance import CapacitatedLotSizing, CapacitatedPlan, CapacitatedSettings
from orl.problems.clsp.simpy_twin import RULES
from orl.problems.clsp.stages import staged
from orl.problems.clsp.verify import Books, verify
from orl.problems.clsp.wagner_whitin import bound, wagner_whitin
from orl.registry import find_problem
from orl.scenario import Purpose, Scenarios
from orl.simulate import simulate
from orl.solver import Control
from orl.solvers.lagrangian import LagrangianSettings

FAMILY = find_problem("clsp")
NOTHING = Scenarios.deterministic()


def two(**settings):
    """Two items, three periods: item 0 is wanted in all, item 1 in the last."""
    return CapacitatedLotSizing(
        "two", [[2, 0], [2, 0], [2, 6]], [10, 13, 7], [1, 1], [1, 2], [5, 8], [1, 0.5],
        settings=CapacitatedSettings(**settings),
    )  # fmt: skip


# On paper -----------------------------------------------------------------------------------------------------------


def test_a_plan_is_judged_as_on_paper():
    """Item 1 fits the last period only if item 0 is not made there: 1 + 4 + 2 + 6 > 7, so both are made before."""
    report = verify(two(), NOTHING, CapacitatedPlan([[2, 0], [4, 6], [0, 0]]))
    assert report.is_feasible
    assert report.cost == 5 + (5 + 8) + 2 * 1 + 6 * 0.5  # set-ups; two of item 0 and six of item 1 for a period
    late = verify(two(), NOTHING, CapacitatedPlan([[2, 0], [2, 0], [2, 6]]))
    assert [violation.kind for violation in late.violations] == ["capacity"]  # 2 + 1 + 6 + 2 = 11 of 7
    dear = verify(two(overtime=3.0), NOTHING, CapacitatedPlan([[2, 0], [2, 0], [2, 6]]))
    assert dear.cost == 3 * 5 + 8 + 4 * 3.0
    missing = verify(two(), NOTHING, CapacitatedPlan([[2, 0], [2, 6], [0, 0]]))
    assert [violation.kind for violation in missing.violations] == ["demand"]


def kinds_of(plan, **settings):
    return [violation.kind for violation in verify(two(**settings), NOTHING, CapacitatedPlan(plan)).violations]


def test_the_verifier_names_what_is_wrong():
    for plan in ([[2, 0], [4, 6]], [[2, 0], [4, np.nan], [0, 0]], [[2, 0], [4, np.inf], [0, 0]]):
        report = verify(two(), NOTHING, CapacitatedPlan(plan))
        assert report.cost is None and [violation.kind for violation in report.violations] == ["shape"]
    assert kinds_of([[2, 0], [4.5, 6], [-0.5, 0]], overtime=3.0) == ["production"]
    held = kinds_of([[5, 0], [1, 3], [0, 3]], overtime=3.0, stock_limit=1.5)
    assert held == [], "three units may be in stock, a period and a half"
    assert kinds_of([[5.1, 0], [0.9, 0], [0, 6]], overtime=3.0, stock_limit=1.5) == ["stock"]
    many = CapacitatedLotSizing("many", [[1] * 25], [99], *([1] * 25 for _ in range(4)))
    assert len(verify(many, NOTHING, CapacitatedPlan([[0] * 25])).violations) == 20


def test_the_verifier_allows_a_millionth():
    """Of what is asked for, in stock or of the capacity, if that is more than 1; period 1 uses all of its capacity."""
    half = CapacitatedLotSizing("half", [[0.5]], [0.5], [1], [0], [0], [1])
    for by, expected in ((0.9e-6, []), (1.1e-6, ["demand"])):
        assert [one.kind for one in verify(half, NOTHING, CapacitatedPlan([[0.5 - by]])).violations] == expected
        more = [one.kind for one in verify(half, NOTHING, CapacitatedPlan([[0.5 + by]])).violations]
        assert more == (["capacity"] if expected else [])
    for by, expected in ((1.9e-6, []), (2.1e-6, ["demand"])):
        assert kinds_of([[2 - by, 0], [4, 6], [by, 0]]) == expected
    for by, expected in ((12e-6, []), (14e-6, ["capacity"])):
        assert kinds_of([[2, 0], [4 + by, 6], [0, 0]]) == expected
    for by, expected in ((1.9e-6, []), (2.1e-6, ["production"])):  # two are asked for in the last period
        assert kinds_of([[2, 0], [4.5, 6], [-by, 0]], overtime=3.0) == expected
    for before, by, expected in ((0, 0.9e-6, []), (0, 1.1e-6, ["stock"]), (2, 1.9e-6, []), (2, 2.1e-6, ["stock"])):
        plan = [[2, before], [2, 3 - before + by], [2, 3]]
        assert kinds_of(plan, overtime=3.0, stock_limit=1.5) == expected


def test_a_share_of_a_setup_is_paid_on_paper():
    """Of item 0 a period's largest lot is what is yet to be asked for, or what fits: 6 and 8; 4 and 11; 2 and 6."""
    plan = CapacitatedPlan([[2, 0], [4, 6], [0, 0]])
    one = two(setups="relaxed")
    books = Books(one, NOTHING, plan)
    costs = books.play()
    shares = np.array([2, 4, 6]) / one.largest_lots[[0, 1, 1], [0, 0, 1]]
    assert books.setups == 3 and costs["setup"] == pytest.approx(shares @ [5, 5, 8])
    assert books.used == pytest.approx([2 + shares[0], 10 + shares[1] + 2 * shares[2], 0])
    assert books.stock == [[0, 0], [2, 6], [0, 0]]


@pytest.mark.parametrize("formulation", ["facility", "plain", "plain-ls"])
def test_the_optimum_is_that_of_paper(formulation):
    """All of item 0 at once, 5 + 2 + 4; item 1 a period early, 8 + 3, since 2 + 6 is more than 7."""
    result = orl.solve(two(formulation=formulation), "exact")
    assert result.status == "optimal"
    assert result.value == pytest.approx(5 + 2 + 4 + 8 + 3)


def test_what_rounding_leaves_asks_for_no_lot():
    """0.8 for three periods, then 0.2; of 0.1 + 0.6 + 0.1 less than 0.1 is left for the third, by a rounding."""
    one = CapacitatedLotSizing(
        "tenths", [[0.1], [0.6], [0.1], [0.2]], [9] * 4, [1], [0], [1], [1], settings=CapacitatedSettings(overtime=1.0)
    )
    result = orl.solve(one, "silver-meal")
    assert result.value == pytest.approx(2 * 1 + 0.6 + 2 * 0.1)
    assert result.solutions[0].production[:, 0] == pytest.approx([0.8, 0, 0, 0.2])


def test_the_twin_plays_as_on_paper():
    """Item 1 a period early, where 2 + 1 + 6 + 2 fit the 13; lot for lot the last period takes 11 of its 7."""
    stocks = iter([[0, 0], [0, 6], [0, 0]])
    costs, plan = simpy_twin.simulate(two(overtime=3.0), NOTHING, lambda plant: next(stocks))
    assert costs == [5, 5 + 8 + 6 * 0.5, 5] and plan.production.tolist() == [[2, 0], [2, 6], [2, 0]]
    costs, _ = simpy_twin.simulate(two(overtime=3.0), NOTHING, RULES["lot-for-lot"])
    assert costs == [5, 5, 5 + 8 + 4 * 3.0]
    with pytest.raises(IllegalAction, match="a stock of 7 of item 1 is illegal in period 0"):
        simpy_twin.simulate(two(overtime=3.0), NOTHING, lambda plant: [0, 7])
    with pytest.raises(InputError, match="set overtime=PRICE"):
        simpy_twin.simulate(two(), NOTHING, RULES["lot-for-lot"])


def test_zeros_at_first_ask_for_no_lot():
    """Seven units in the last period cost the least made three periods before, 110 + 21 (stockpyl, PR 177)."""
    demand, setup = [[0], [0], [0], [0], [0], [7]], [[110], [108], [110], [120], [125], [134]]
    lots = wagner_whitin(demand, setup, [1])
    assert lots.costs.tolist() == [131]
    assert lots.production[:, 0].tolist() == [0, 0, 7, 0, 0, 0]
    assert wagner_whitin([[0], [0]], [[5], [5]], [1]).costs.tolist() == [0]


# Against one another ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 9), min_size=1, max_size=7), st.data())
@profile(max_examples=100)
def test_the_dynamic_program_finds_the_best_of_all_lots(demand, data):
    """Every subset of periods as set-ups; each unit comes from the last set-up before that is cheapest for it."""
    count = len(demand)
    draw = st.lists(st.integers(0, 9), min_size=count, max_size=count)
    setup, unit = data.draw(draw), data.draw(draw)
    best = np.inf
    for mask in range(1 << count):
        opened = [t for t in range(count) if mask >> t & 1]
        cost = float(sum(setup[t] for t in opened))
        for period, units in enumerate(demand):
            ways = [unit[t] + period - t for t in opened if t <= period]
            cost += units * min(ways) if ways else (np.inf if units else 0.0)
        best = min(best, cost)
    one = wagner_whitin(np.array(demand)[:, None], np.array(setup)[:, None], [1.0], np.array(unit)[:, None])
    assert one.costs[0] == pytest.approx(best)
    made = one.production[:, 0]
    assert made.sum() == sum(demand)
    assert (made.cumsum() >= np.cumsum(demand) - 1e-9).all()


@given(capacitated())
@profile(max_examples=25)
def test_bounds_optimum_and_policies_are_in_order(instance):
    """Items alone <= prices for capacity <= optimum, in every formulation <= any policy."""
    least = bound(instance, NOTHING)
    values = []
    for formulation in ("facility", "plain", "plain-ls"):
        chosen = CapacitatedSettings(overtime=instance.settings.overtime, formulation=formulation)
        one = CapacitatedLotSizing(
            instance.name, instance.demand, instance.capacity, instance.unit_times, instance.setup_times,
            instance.setup_costs, instance.holding_costs, initial_stock=instance.initial_stock, settings=chosen,
        )  # fmt: skip
        result = orl.solve(one, "exact")
        assert result.status == "optimal"
        assert result.verified
        values.append(result.value)
    assert values == pytest.approx([values[0]] * 3, abs=1e-6)
    prices = orl.solve(instance, "lagrangian-hindsight", settings={"iterations": 30, "repairs": 10})
    assert least - 1e-6 <= prices.bound <= values[0] + 1e-6 <= prices.value + 2e-6
    for rule in FAMILY.rules():
        assert orl.solve(instance, rule).value >= values[0] - 1e-6


def test_an_optimum_is_told_though_highs_stops_a_millionth_below():
    """From the rule's plan of cost 1, five units of capacity and one of overtime, HiGHS proves 0.999999."""
    one = CapacitatedLotSizing(
        "noise", [[0, 5], [0, 1]], [19, 4], [1, 4], [0, 0], [0, 0], [0, 2], settings=CapacitatedSettings(overtime=1.0)
    )
    result = orl.solve(one, "exact")
    assert result.status == "optimal"
    assert result.value == pytest.approx(1, abs=1e-6)


@given(capacitated())
@profile(max_examples=25)
def test_drawn_instances_keep_the_contract(instance):
    testing.check_problem(FAMILY, instance)


@given(capacitated(setups="relaxed", demand="random", samples=3, variation=0.5))
@profile(max_examples=15)
def test_drawn_instances_with_relaxed_setups_keep_the_contract(instance):
    testing.check_problem(FAMILY, instance)


@given(capacitated(setups="relaxed"))
@profile(max_examples=15)
def test_stages_are_the_relaxed_process(instance):
    """Where nothing is random, SDDP's bound, its policy's cost and the linear program's optimum are one."""
    best = orl.solve(instance, "exact").value
    found = orl.solve(instance, "sddp", settings={"iterations": 60})
    assert found.value == pytest.approx(best, rel=1e-6, abs=1e-6)
    assert found.bound <= best + 1e-6
    binary = CapacitatedSettings(overtime=instance.settings.overtime)
    whole = CapacitatedLotSizing(
        instance.name, instance.demand, instance.capacity, instance.unit_times, instance.setup_times,
        instance.setup_costs, instance.holding_costs, initial_stock=instance.initial_stock, settings=binary,
    )  # fmt: skip
    report = verify(instance, NOTHING, orl.solve(whole, "exact").solutions[0])
    assert report.is_feasible


def test_random_demand_is_seen_before_it_is_met():
    """The mean of hindsight optima <= SDDP's bound <= its policy's cost on an instance small enough to converge."""
    settings = {"setups": "relaxed", "overtime": 5.0, "demand": "random", "samples": 3, "variation": 0.5}
    one = two(**settings)
    policy = orl.solve(one, "sddp", settings={"iterations": 200}, scenarios=200)
    known = orl.solve(one, "exact", scenarios=200)
    assert known.value <= policy.value + 1e-6
    assert policy.interval[0] - 1e-6 <= policy.bound <= policy.interval[1] + 1e-6


def test_targets_are_reached_whatever_the_shares_are():
    one = two(setups="relaxed", overtime=5.0, demand="random", samples=4, variation=0.5, stock_limit=2.0)
    reach, rng = staged(one).reach, np.random.default_rng(0)
    process = FAMILY.process([one] * 50, list(FAMILY.sample(one, 0, Purpose.TRAIN, 50)))
    for _ in range(one.num_periods):
        observation = process.observe()
        state, demand = observation.arrays["stock"], observation.arrays["demand"]
        targets = np.stack(reach(state, -demand, rng.random(state.shape)), axis=-1)
        process.decide(targets)
        assert process.observe().arrays["stock"] == pytest.approx(targets, abs=2e-6)
        process.reveal()


@given(
    st.fixed_dictionaries({
        "setups": st.sampled_from(["binary", "relaxed"]),
        "demand": st.sampled_from(["file", "random"]),
        "samples": st.integers(1, 3),
        "stock_limit": st.sampled_from([np.inf, 3.0]),
        "most_periods": st.just(7),
    }).flatmap(lambda chosen: capacitated(**chosen)),
    st.integers(0, 2**32),
    st.sampled_from(sorted(FAMILY.rules())),
)  # fmt: skip
@profile(max_examples=150)
def test_the_process_is_that_of_the_twin(instance, seed, rule):
    capacitated_targets_agree(instance, seed)
    capacitated_rule_agrees(instance, rule, seed)


@given(
    st.sampled_from([{}, {"setups": "relaxed"}, {"demand": "random", "samples": 3}, {"stock_limit": 1.5}]).flatmap(
        lambda settings: capacitated(**settings)
    ),
    st.integers(0, 2**32),
)
@profile(max_examples=100)
def test_what_a_process_does_is_what_the_verifier_and_plain_recursion_say(instance, seed):
    targets_verify("clsp", instance, seed)
    lots_of_items_are_cheapest(instance)


# Published ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("X11117A", 8375.8), ("X11117C", 9664.6)])
def test_the_literature_is_met(name, value):
    result = orl.solve(f"lotsizing/{name}", "exact", time_limit=60)
    assert result.problem == "clsp"
    assert result.status == "optimal"
    assert result.value == pytest.approx(value)
    assert result.best_known == pytest.approx(value)


@pytest.mark.parametrize(("formulation", "value"), [("facility", 8375.8), ("plain-ls", 8375.8), ("plain", 1665.9)])
def test_strong_formulations_close_the_gap_at_the_root(formulation, value):
    """Facility location, (l, S) inequalities round by round, and the plain model; the optimum of X11117A is 8375.8."""
    one = orl.load("lotsizing/X11117A", settings={"formulation": formulation})
    compiled = CompiledModel(build(one, NOTHING).program)
    compiled.relax(compiled.integers)
    assert compiled.solve(Control()).value == pytest.approx(value, abs=0.05)


def test_all_carried_instances_are_recognised():
    known = orl.load("lotsizing/X12429E")
    assert known.problem == "clsp"
    assert (known.num_items, known.num_periods) == (10, 20)
    assert orl.load("jobshop/ft06").problem == "jobshop"


# Files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["toml", "txt"])
def test_an_instance_survives_its_file(ending, tmp_path):
    one = orl.load("lotsizing/X11428B")
    path = tmp_path / f"X.{ending}"
    FAMILY.save(one, path)
    again = orl.load(path)
    for key in ("demand", "capacity", "unit_times", "setup_times", "setup_costs", "holding_costs", "unit_cost"):
        assert np.array_equal(getattr(again, key), getattr(one, key)), key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 3\n1\n10\n1 1 1 1\n", "line 4: the file ends here"),
        ("1 1\n1\n10\n1 1 1 x\n4\n", "line 4: expected 4 numbers, got '1 1 1 x'"),
        ("1 1\n1\n10\n1 1 1 1\n4 5\n", "line 5: expected 1 number, got '4 5'"),
        ("1 1\n1\n-10\n1 1 1 1\n4\n", "capacity must be >= 0"),
        ("0 1\n1\n10\n1 1 1 1\n4\n", "line 1: expected 1 or more items"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text, message, tmp_path):
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad.txt") as error:
        orl.load(path, problem="clsp")
    assert message in str(error.value)


def test_a_policy_of_prices_decides_the_same_when_it_is_pickled():
    instance = orl.load("lotsizing/X11117A", settings={"overtime": 50.0})
    policy = policy_of(FAMILY, instance, "lagrangian", LagrangianSettings(iterations=5, trials=0))
    costs = [simulate(FAMILY, instance, one, NOTHING).costs[0] for one in (policy, pickle.loads(pickle.dumps(policy)))]
    assert costs[0] == costs[1] > 0


def test_a_file_is_named_once_whatever_the_instance_is_called(tmp_path):
    path = tmp_path / "bad.toml"
    rest = "unit_times = [1]\nsetup_times = [1]\nsetup_costs = [1]\nholding_costs = [1]\n"
    path.write_text(f"problem = 'clsp'\nname = 'mine'\ndemand = [[-1]]\ncapacity = 9\n{rest}")
    with pytest.raises(InputError) as error:
        orl.load(path)
    assert str(error.value) == f"{path}: demand must be >= 0 and at most 1e+12, got -1 at [0, 0]."


def test_policies_ask_for_a_price_of_overtime():
    with pytest.raises(InputError, match="set overtime=PRICE"):
        orl.solve("lotsizing/X11117A", "silver-meal")
    with pytest.raises(InputError, match="setups=relaxed and overtime=PRICE"):
        orl.solve("lotsizing/X11117A", "sddp")


def test_a_family_finds_its_instances_in_the_folder_of_another():
    from orl.files import find_instance

    assert find_instance("lotsizing/X12429A-relaxed", ["clsp"]).suffix == ".toml"
    assert orl.load("lotsizing/X11117A", problem="clsp").num_items == 10


def test_what_is_cheaper_in_overtime_is_found():
    """Both units in the period without capacity, 2 + 2 overtime; HiGHS 1.14 presolved says 5, a lot in each period."""
    chosen = CapacitatedSettings(overtime=1.0)
    one = CapacitatedLotSizing("one", [[1], [1]], [0, 1], [1], [0], [2], [0], settings=chosen)
    result = orl.solve(one, "exact", settings={"start": "none"})
    assert (result.value, result.bound, result.status) == (4.0, 4.0, "optimal")


def test_the_optimum_of_x12117e_is_proven():
    """A verified plan costs 7,395.3; HiGHS 1.14 presolved and restarted calls 7,408.7 the optimum."""
    result = orl.solve("lotsizing/X12117E", "exact", time_limit=None)
    assert result.verified and result.value == pytest.approx(7395.3) == result.bound


@pytest.mark.parametrize("ending", ["png", "svg", "html"])
def test_a_plan_is_drawn(ending, tmp_path):
    for settings in ({}, {"setups": "relaxed", "overtime": 2.0}):
        one = two(**settings)
        path = tmp_path / f"plan.{ending}"
        FAMILY.plot(one, [CapacitatedPlan([[2, 0], [4, 6], [0, 0]])], path, 15.0)
        assert path.stat().st_size > 5000


def test_a_gap_of_rounding_is_drawn_as_none(tmp_path):
    """A solver's bound may lie a rounding above the cost."""
    one, plan, path = two(), CapacitatedPlan([[2, 0], [4, 6], [0, 0]]), tmp_path / "plan.svg"
    FAMILY.plot(one, [plan], path, FAMILY.verify(one, Scenarios.deterministic(), plan).cost + 1e-9)
    assert "(gap 0.0%)" in path.read_text()
