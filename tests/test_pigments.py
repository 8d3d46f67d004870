"""Pigment sequencing: lot sizing without shortage; its files and the bounds that come with them."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import example, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from lots import pigments
from test_lotsizing_models import least_cost

import orl
from orl.cp_sat import solve_program
from orl.errors import InputError
from orl.exact import solve_model
from orl.files import bounds_table, instance_folder
from orl.problems.lotsizing import cp_sat, exact, kernels_prices, kernels_search, layers, prices
from orl.problems.lotsizing.demand import PathDemand, binomial
from orl.problems.lotsizing.formats import sniff
from orl.problems.lotsizing.instance import LotPlan, LotSizing, LotSizingSettings
from orl.problems.lotsizing.psp_format import is_pigments
from orl.problems.lotsizing.scenario import sample
from orl.problems.lotsizing.units import given_of
from orl.problems.lotsizing.verify import verify
from orl.scenario import Purpose, Scenarios
from orl.solver import Control

FOLDER = instance_folder("lotsizing")
# Two periods: a is due in both, b in the second; the unit of the second must be made in the first, or nothing helps.
PAPER = "3\n2\n0 1 1\n0 0 1\n4\n\n0 5\n7 0\n\n"


def paper(**settings):
    return LotSizing(
        "paper", [[1, 1]], [4, 4], [9, 9], [3, 3], PathDemand([[0, 0], [1, 0], [1, 1]]), 3,
        changeover_costs=[[[0, 0, 0], [0, 0, 5], [0, 7, 0]]],
        settings=LotSizingSettings(unmet="forbid", idle="keeps-setup", **settings),
    )  # fmt: skip


def test_a_plan_on_paper():
    """b first waits two periods for 8 and changes over for 7; a, a, b waits one period for 4 and changes over for 5."""
    assert verify(paper(), Scenarios.deterministic(), LotPlan([[2], [1], [1]])).cost == 15
    report = verify(paper(), Scenarios.deterministic(), LotPlan([[1], [1], [2]]))
    assert report.cost == 4 + 4 + 5 and report.is_feasible
    short = verify(paper(), Scenarios.deterministic(), LotPlan([[1], [0], [2]]))
    assert [v.message for v in short.violations] == ["period 2: 1 of 1 units of item 0 are not there."]


@pytest.mark.parametrize("name", sorted(bounds_table("lotsizing")))
def test_packaged_files_are_read_with_the_best_known_bounds(name, capsys):
    row = bounds_table("lotsizing")[name]
    one = orl.load(f"lotsizing/{name}")
    told = capsys.readouterr().err
    assert (one.num_items, one.num_periods) == (int(row["items"]), int(row["periods"]))
    known = orl.api.problem_of(one).best_known(one)
    assert known.lower == float(row["lower_bound"]) and known.upper == float(row["upper_bound"])
    assert bool(told) == (name in ("pigment15c", "pigment30c", "PSP_150_4", "PSP_200_4"))
    assert orl.evaluate(one, "greedy").value >= known.lower


def test_digits_of_another_script_are_no_numbers():
    assert not is_pigments(Path("a.txt"), "² 2 x\n1\n0 1\n0 1\n")


def test_wrong_files_say_so(capsys):
    orl.load("lotsizing/pigment30c")
    assert "its last line says 1471; the optimum is 1707" in capsys.readouterr().err
    orl.load("lotsizing/pigment15c")
    assert "says 8 items but holds 10 x 10 changeover costs; the first 8 rows" in capsys.readouterr().err


def test_the_last_line_of_a_file_is_a_bound(tmp_path):
    path = tmp_path / "own.psp"
    for ending, bounds in (("13", (13, 13)), ("11 14", (11, 14)), ("", None)):
        path.write_text(PAPER + ending)
        one = orl.load(path)
        known = orl.api.problem_of(one).best_known(one)
        assert known is None if bounds is None else (known.lower, known.upper) == bounds
    path.write_text(PAPER + "14")
    assert orl.solve(path, "greedy", settings={"unmet": "lost"}).best_known is None
    assert orl.solve(path, "greedy").best_known == 14


@pytest.mark.parametrize("name", ["pigment15a", "PSP_150_1"])
def test_what_is_written_reads_back_the_same(name, tmp_path):
    one = orl.load(f"lotsizing/{name}")
    for ending in ("psp", "toml"):
        orl.save(one, tmp_path / f"copy.{ending}")
        copy = orl.load(tmp_path / f"copy.{ending}")
        assert (copy.demand.path == one.demand.path).all() and (copy.changeover_cost == one.changeover_cost).all()
        assert (copy.holding_costs == one.holding_costs).all() and copy.settings == one.settings
        if ending == "psp":
            assert copy.known[:2] == one.known[:2]


def test_both_formats_say_the_same(tmp_path):
    one = orl.load("lotsizing/pigment15a")
    rows = "\n|".join(", ".join(map(str, row)) for row in one.demand.path.T)
    costs = "\n|".join(", ".join(f"{cost:.0f}" for cost in row) for row in one.changeover_costs[0, 1:, 1:])
    text = f"Periods = 15;\nItems = 5;\nDemands = [|{rows}|];\nStockingCosts = [10, 10, 10, 10, 10];\n"
    path = tmp_path / "same.dzn"
    path.write_text(text + f"SetupCosts = [|{costs}|];\n")
    same = orl.load(path)
    assert (same.demand.path == one.demand.path).all() and (same.changeover_cost == one.changeover_cost).all()
    path.write_text(text)
    with pytest.raises(InputError, match=r"same.dzn: SetupCosts is missing"):
        orl.load(path)


def test_files_are_recognised_by_what_they_hold():
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in (".psp", ".dzn"):
            assert sniff(Path("renamed.txt"), path.read_bytes())
    assert not sniff(Path("ft06.txt"), (instance_folder("jobshop") / "ft06.txt").read_bytes())


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("0 1 1\n", "0 1 x\n", r"line 3: expected due-date flags, a whole number >= 0, got 'x'"),
        ("0 1 1\n", "0 2 1\n", "due-date flags must be 0 or 1, got 2 in period 1 of item 0"),
        ("7 0\n", "", "expected 2 rows of 2 changeover costs, found 2 numbers"),
        ("7 0\n", "7 0\n\n9 8", "expected a lower and an upper bound, got 9.0 and 8.0"),
        ("7 0\n", "7 0\n\n9 8 7", "expected an optimum or two bounds at the end, got 3 numbers"),
        ("3\n2\n", "3\n0\n", "line 2: expected the number of items, a whole number >= 1, got '0'"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, before, after, words):
    path = tmp_path / "bad.psp"
    path.write_text(PAPER.replace(before, after, 1))
    with pytest.raises(InputError, match=words):
        orl.load(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"demand": binomial(2, 2, 0.5)}, "needs demand that is known"),
        ({"rates": [[1, 2]]}, "needs rates of 0 or 1, got 2 at item 1"),
        ({"stock_limits": [1, 3]}, "needs stock_limits that hold all demand, 2 units of item 0, got 1"),
        ({"changeover_losses": [[[0, 1, 0], [0, 0, 0], [0, 0, 0]]], "setup_losses": None}, "set-ups without losses"),
    ],
)
def test_where_it_cannot_be_told_what_is_legal_forbid_is_refused(changes, words):
    with pytest.raises(InputError, match=f"unmet=forbid needs .*{words.removeprefix('needs ')}"):
        replace(paper(), **changes)


def test_what_a_file_cannot_hold_is_not_written(tmp_path):
    one = orl.load("lotsizing/pigment15a")
    with pytest.raises(InputError, match="needs unmet=forbid; choose a name"):
        orl.save(replace(one, settings=replace(one.settings, unmet="lost")), tmp_path / "a.psp")
    with pytest.raises(InputError, match="needs one stocking cost for all items"):
        orl.save(orl.load("lotsizing/ps-200-10-80"), tmp_path / "a.psp")


@pytest.mark.parametrize("solver", ["lagrangian", "lagrangian-hindsight"])
def test_what_does_not_know_forbid_refuses_it(solver):
    one = replace(paper(), changeover_costs=None, setup_costs=np.ones((1, 2)))
    with pytest.raises(InputError, match="unmet=forbid"):
        orl.solve(one, solver)


def least_of(instance):
    return least_cost(instance, sample(instance, 0, Purpose.EVALUATE, 1)[0])


def roomy(instance):
    return replace(instance, stock_limits=instance.stock_limits + 20)


@given(st.one_of(pigments(most_periods=5), pigments(due=2, most_periods=5)).map(roomy))
@profile(max_examples=150)
def test_layers_find_the_least_of_all_plans(instance):
    least = least_of(instance)
    result = orl.solve(instance, "layers", time_limit=None, scenarios=1)
    if least == np.inf:
        assert result.status.value == "infeasible"
    else:
        assert result.status.value == "optimal" and result.verified
        assert result.value == pytest.approx(least, abs=1e-6) and result.bound == pytest.approx(least, abs=1e-5)


def busy(seed, idle):
    """Three items over five periods, four units of which are needed; some detours are cheaper than the direct way."""
    rng = np.random.default_rng(seed)
    demand, costs = np.zeros((5, 3), dtype=int), rng.integers(1, 20, (1, 4, 4))
    for unit in range(4):
        demand[rng.integers(unit, 5), rng.integers(3)] += 1
    costs[:, :, 0], costs[:, range(4), range(4)] = 0, 0
    return LotSizing(
        "busy", [[1, 1, 1]], rng.integers(1, 4, 3), [9] * 3, [9] * 3, PathDemand(demand), 5, changeover_costs=costs,
        initial_setup=rng.integers(0, 4, 1),
        settings=LotSizingSettings(unmet="forbid", idle=idle, discount=0.9, horizon="file"),
    )  # fmt: skip


@pytest.mark.parametrize("idle", ["loses-setup", "keeps-setup"])
@pytest.mark.parametrize("seed", range(3))
def test_layers_find_the_least_of_all_plans_of_a_busy_machine(seed, idle):
    one = busy(seed, idle)
    result = orl.solve(one, "layers", time_limit=None, scenarios=1)
    assert result.status.value == "optimal" and result.verified
    assert result.value == pytest.approx(least_of(one)) == pytest.approx(result.bound, abs=1e-5)


@given(pigments(most_periods=5).map(roomy), st.integers(0, 2**32))
@profile(max_examples=100)
def test_any_prices_bound_all_plans(instance, seed):
    scenario = sample(instance, 0, Purpose.EVALUATE, 1)[0]
    data, start = given_of(instance, scenario)
    periods, items = data.weight.shape
    drawn = np.random.default_rng(seed).normal(0, 5, (3, periods, items))
    machine, values = np.zeros((periods + 1, items + 1)), np.zeros((periods + 1, data.first[-1], 2))
    kernels_prices.value_machine(data, drawn, machine)
    kernels_prices.value_items(data, drawn, values)
    assert kernels_prices.total(data, machine, values, start) <= least_of(instance) + 1e-6


@example(replace(busy(1, "keeps-setup"), initial_setup=[0]), 0)
@example(replace(busy(2, "keeps-setup"), initial_setup=[0]), 3)
@example(busy(3, "keeps-setup"), 1)
@example(busy(4, "loses-setup"), 2)
@given(pigments(most_periods=3).map(roomy), st.integers(0, 2**32))
@profile(max_examples=100)
def test_machine_and_items_alone_cost_the_least_of_all_their_ways(instance, seed):
    """At drawn prices; and the excess is what the items do there, less what the machine does."""
    data, start = given_of(instance, sample(instance, 0, Purpose.EVALUATE, 1)[0])
    periods, items = data.weight.shape
    make, begin, hold = drawn = np.random.default_rng(seed).normal(0, 5, (3, periods, items))

    def of_machine(told):
        cost, setup, did = 0.0, start[items], np.zeros((3, periods, items))
        for t, choice in enumerate(told):
            if choice > 0:
                did[0, t, choice - 1] = 1
                if choice != setup:
                    did[1, t, choice - 1] = 1
                    cost += data.changeover[setup, choice] * data.weight[t, choice - 1]
            elif data.keeps and setup > 0:
                did[2, t, setup - 1] = 1
            setup = choice if choice > 0 or not data.keeps else setup
            cost += np.inf if choice > 0 and not data.possible[choice - 1] else 0.0
        return cost - (did * drawn).sum(), did

    def of_item(item, does):
        """0: nothing, 1: the machine makes it, 2: it is idle and stays set up for it."""
        cost, units, on = 0.0, 0, start[items] == item + 1
        most = data.first[item + 1] - data.first[item] - 1
        for t, what in enumerate(does):
            if what == 1:
                cost += make[t, item] + (0.0 if on else begin[t, item])
                cost += np.inf if not data.possible[item] else data.surplus[t, item] if units == most else 0.0
            elif what == 2:
                cost += hold[t, item] if on and data.keeps else np.inf
            units, on = min(units + (what == 1), most), what > 0
            cost += data.holding[t, data.first[item] + units]
        return cost, does

    machine, values = np.zeros((periods + 1, items + 1)), np.zeros((periods + 1, data.first[-1], 2))
    kernels_prices.value_machine(data, drawn, machine)
    kernels_prices.value_items(data, drawn, values)
    least, did = min((of_machine(told) for told in product(range(items + 1), repeat=periods)), key=lambda way: way[0])
    excess = -did
    for item in range(items):
        cost, does = min((of_item(item, does) for does in product(range(3), repeat=periods)), key=lambda way: way[0])
        least, on = least + cost, start[items] == item + 1
        for t, what in enumerate(does):
            excess[:, t, item] += [what == 1, what == 1 and not on, what == 2]
            on = what > 0
    assert kernels_prices.total(data, machine, values, start) == pytest.approx(least)
    if least < np.inf:
        found = np.zeros_like(excess)
        kernels_prices.add_excess(data, drawn, machine, values, start, found)
        assert (found == excess).all()


@pytest.mark.parametrize(("seed", "idle"), [(0, "keeps-setup"), (1, "loses-setup"), (2, "keeps-setup")])
def test_a_bound_is_the_cost_so_far_and_what_machine_and_items_cost_alone(seed, idle):
    """Of every state that follows another, up to the end."""
    one = busy(seed, idle)
    layered = layers.LayeredLots(one, sample(one, 0, Purpose.EVALUATE, 1)[0])
    layer, first, priced = layered.first(), layered._given.first[:-1], layered.priced
    for period in range(1, one.num_periods + 1):
        (layer,) = layered.next(layer, period - 1, np.inf)
        for state, cost, bound in zip(layer.states, layer.costs, layer.bounds, strict=True):
            units = (state[layered._packing.word] >> layered._packing.shift) & layered._packing.mask
            alone = priced.values[period, first + units, (state[0] == [1, 2, 3]).astype(int)].sum()
            assert bound == pytest.approx(cost + priced.machine[period, state[0]] + alone)
        assert len(layer.costs)


@given(st.integers(0, 2**32))
@profile(max_examples=100)
def test_of_states_that_are_alike_those_stay_that_no_other_makes_needless(seed):
    """Not who is dearer than another by more than going on from that may cost; of those by just as much the first."""
    rng = np.random.default_rng(seed)
    states = np.array([(setup, made) for made in range(3) for setup in range(4) if rng.random() < 0.8]).reshape(-1, 2)
    costs, dearer = (rng.integers(0, most, shape) * 1.0 for most, shape in ((9, len(states)), (4, (4, 4))))
    stays = np.zeros(len(states), dtype=bool)
    kernels_search.undominated(dearer, states, costs, stays)
    for row, (setup, made) in enumerate(states):
        others = [other for other in np.flatnonzero(states[:, 1] == made) if other != row]
        spare = [costs[row] - costs[other] - dearer[states[other, 0], setup] for other in others]
        is_needless = any(more > 0 or (more == 0 and other < row) for more, other in zip(spare, others, strict=True))
        assert stays[row] != is_needless


def test_who_must_stop_has_the_best_prices_so_far():
    instance = orl.load("lotsizing/PSP_100_1")
    scenario, asked = sample(instance, 0, Purpose.EVALUATE, 1)[0], []

    def should_stop():
        asked.append(None)
        return len(asked) >= 500

    early = layers.LayeredLots(instance, scenario, should_stop).priced
    at_once = layers.LayeredLots(instance, scenario, lambda: True).priced
    assert len(asked) == 501 and at_once.bound < early.bound <= orl.solve("lotsizing/PSP_100_1", "dp").value


@pytest.mark.parametrize("name", [n for n in sorted(bounds_table("lotsizing")) if n.startswith("pigment")])
def test_dp_proves_the_optima_of_up_to_30_periods(name):
    result = orl.solve(f"lotsizing/{name}", "dp")
    assert result.status.value == "optimal" and result.verified and result.gap_best_known == 0


def test_dp_is_a_plan_where_there_are_layers_and_a_table_elsewhere():
    table = orl.solve(replace(paper(), settings=LotSizingSettings(unmet="lost"), stock_limits=[2, 2]), "dp")
    assert table.status.value == "feasible" and table.metrics["states"] > 0
    with pytest.raises(InputError, match="unmet=forbid"):
        orl.make_policy(paper(), "dp")
    hopeless = orl.solve(replace(paper(), demand=PathDemand([[1, 1], [0, 0], [0, 0]])), "dp")
    assert (hopeless.status.value, hopeless.value, hopeless.bound) == ("infeasible", None, None)


@given(pigments(most_periods=4).map(roomy))
@profile(max_examples=40)
def test_models_find_the_least_of_all_plans(instance):
    least = least_of(instance)
    scenario = sample(instance, 0, Purpose.EVALUATE, 1)[0]
    for form in ("network", "plain"):
        model = exact.build(instance, scenario, form=form)
        found = solve_model(model.program, Control())
        assert found.status.value == ("infeasible" if least == np.inf else "optimal")
        if least < np.inf:
            assert found.value == pytest.approx(least, abs=1e-5)
            report = verify(instance, scenario, model.read(found.of))
            assert report.is_feasible and report.cost == pytest.approx(least, abs=1e-5)
    try:
        model = cp_sat.build(instance, scenario)
    except InputError as error:
        assert "too many decimals" in str(error)
        return
    found = solve_program(model.program, Control(), threads=1)
    assert found.status.value == ("infeasible" if least == np.inf else "optimal")
    assert least == np.inf or found.value == pytest.approx(least, abs=1e-5)


def test_the_network_is_strong():
    """Its linear relaxation is what the best prices give, and no less."""
    one = orl.load("lotsizing/pigment15d")
    data, start = given_of(one, Scenarios.deterministic())
    model = exact.build(one, Scenarios.deterministic())
    pyo.TransformationFactory("core.relax_integer_vars").apply_to(model.program)
    relaxed = solve_model(model.program, Control()).value
    assert prices.search(data, start).bound == pytest.approx(relaxed, rel=2e-3)
    assert prices.search(data, start).bound <= relaxed + 1e-6
    plain = exact.build(one, Scenarios.deterministic(), form="plain")
    pyo.TransformationFactory("core.relax_integer_vars").apply_to(plain.program)
    assert solve_model(plain.program, Control()).value < 0.5 * relaxed


@pytest.mark.parametrize("solver", ["exact", "cp-sat"])
def test_models_prove_a_small_instance(solver):
    result = orl.solve("lotsizing/pigment15a", solver, settings={"threads": 1}, time_limit=100)
    assert result.status.value == "optimal" and result.value == 1195
