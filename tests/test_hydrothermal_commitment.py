"""Thermal plants that are started and stopped: the program against brute force, the verifier, and who refuses it."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from test_sddp import equivalent

import orl
from orl import registry
from orl.cli import main
from orl.errors import InputError
from orl.exact import solve_model
from orl.linear import LinearProgram
from orl.problems.hydrothermal.exact import build
from orl.problems.hydrothermal.exact_program import program_of
from orl.problems.hydrothermal.exact_tree import drawn_tree
from orl.problems.hydrothermal.optimum import optimal_cost
from orl.problems.hydrothermal.prices import prices
from orl.problems.hydrothermal.stages import columns, stages
from orl.rule import Rule
from orl.scenario import Purpose
from orl.solver import Control, Task
from orl.solvers.exact import SOLVER as EXACT
from orl.solvers.exact import ExactSettings

HYDRO = registry.find_problem("hydrothermal")


def load(name="case3deterministic", **settings):
    return orl.load(f"hydrothermal/{name}", settings={"commitment": "on", **settings})


def drawn(instance, count=1):
    return HYDRO.sample(instance, 0, Purpose.EVALUATE, count)


def solved(instance, scenarios, start=None):
    model = build(instance, scenarios)
    found = solve_model(model.program, Control(), () if start is None else model.start(start))
    assert found.status == "optimal"
    return found.value, model.read(found.of)


def is_allowed(on, min_up, min_down):
    """Say whether a plant, on[stage], stays on and off long enough; straight from the definition."""
    before = [False, *on[:-1]]
    for stage, (was, now) in enumerate(zip(before, on, strict=True)):
        if now and not was and not all(on[stage : stage + min_up]):
            return False
        if was and not now and any(on[stage : stage + min_down]):
            return False
    return True


def cost_of_starts(on, instance):
    """Return what starts cost in one path, (stages, G), undiscounted."""
    before = np.vstack([np.zeros(on.shape[1]), on[:-1]])
    starts = ((on == 1) & (before == 0)).sum(axis=0)
    return float(instance.settings.start_cost * starts @ instance.network.gen_max_mw) / instance.stage_hours


WAYS = [
    {"min_output": 0.5},
    {"min_output": 0.4, "start_cost": 9.0, "min_down": 2},
    {"min_output": 0.3, "start_cost": 4.0, "min_up": 2, "stage_hours": 2.0},
    {"min_output": 0.6, "start_cost": 30.0, "min_up": 3, "min_down": 2},
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loads", [(1.4, 0.2, 1.4), (0.2, 1.4, 0.1)], ids=["valley", "peak"])
def test_the_program_finds_the_best_of_all_patterns(way, loads):
    """Two plants, three stages: 64 patterns, each a linear program of its own."""
    instance = load(stages=3, **way)
    network = replace(instance.network, load_mw=np.outer(loads, instance.network.load_mw[0]))
    inflows, certain = np.full((3, 1, 1), 10.0), np.ones((3, 1))
    instance = replace(instance, network=network, inflows=inflows, probabilities=certain)
    plain = replace(instance, settings=replace(instance.settings, commitment="off", min_output=None, start_cost=0.0,
                                               min_up=1, min_down=1))  # fmt: skip
    graph, at, most = stages(plain), columns(plain), instance.network.gen_max_mw
    costs = []
    for bits in product((0, 1), repeat=6):
        on = np.array(bits).reshape(3, 2)
        if not all(is_allowed(on[:, g], instance.settings.min_up, instance.settings.min_down) for g in range(2)):
            continue
        bound = []
        for stage, row in zip(graph.stages, on, strict=True):
            lower, upper = stage.lower.copy(), stage.upper.copy()
            lower[at.power], upper[at.power] = instance.settings.min_output * most * row, most * row
            bound.append(replace(stage, lower=lower, upper=upper))
        try:
            costs.append(equivalent(replace(graph, stages=tuple(bound))) + cost_of_starts(on, instance))
        except AssertionError:  # more than the load: no dispatch
            continue
    assert costs
    value, dispatch = solved(instance, drawn(instance))
    assert value == pytest.approx(min(costs), rel=1e-7)
    report = HYDRO.verify(instance, drawn(instance), dispatch)
    assert report.is_feasible and report.cost == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize("way", [WAYS[0], WAYS[2], {**WAYS[3], "discount": 0.9}])
def test_the_program_of_a_tree_finds_the_best_of_all_patterns(way):
    """Two futures of the second stage: 64 patterns over three nodes."""
    instance = load("case3", stages=2, initial_inflows=(60,), load_factor=1.2, **way)
    instance = replace(instance, panel=np.array([[0, 0], [0, 2]]))
    scenarios = drawn(instance, 2)
    tree, program, at = (
        drawn_tree(instance, scenarios),
        program_of(instance, drawn_tree(instance, scenarios)),
        columns(instance),
    )
    assert tree.parent.tolist() == [-1, 0, 0]
    power = np.searchsorted(program.kept, at.power)
    columns_of = (np.arange(3)[:, None] * len(program.kept) + power).ravel()
    made = LinearProgram(program.cost, program.lower, program.upper, program.matrix, program.right, program.right)
    most, chosen, costs = instance.network.gen_max_mw, instance.settings, []
    for bits in product((0, 1), repeat=6):
        on = np.array(bits).reshape(3, 2)
        paths = [on[path] for path in tree.paths]
        if not all(is_allowed(path[:, g], chosen.min_up, chosen.min_down) for path in paths for g in range(2)):
            continue
        made.set_columns(columns_of, (chosen.min_output * most * on).ravel(), (most * on).ravel())
        starts = [cost_of_starts(path[:1], instance) for path in paths]
        later = [cost_of_starts(path, instance) - first for path, first in zip(paths, starts, strict=True)]
        costs.append(made.solve().value + np.mean(starts) + chosen.discount * np.mean(later))
    value, dispatches = solved(instance, scenarios)
    assert value == pytest.approx(min(costs), rel=1e-7)
    reports = [HYDRO.verify(instance, *pair) for pair in zip(scenarios, dispatches, strict=True)]
    assert all(report.is_feasible for report in reports)
    assert np.mean([report.cost for report in reports]) == pytest.approx(value, rel=1e-7)
    assert (dispatches[0].on[0] == dispatches[1].on[0]).all()
    assert value >= np.mean([solved(instance, one)[0] for one in scenarios]) - 1e-7 * abs(value)


def test_plants_that_may_stop_and_pay_nothing_for_it_cost_what_those_do_that_are_always_ready():
    for seed in range(3):
        plain = orl.load("hydrothermal/case3")
        scenario = HYDRO.sample(plain, seed, Purpose.EVALUATE, 1)
        assert solved(load("case3"), scenario)[0] == pytest.approx(solved(plain, scenario)[0], rel=1e-7)


def test_what_is_asked_of_plants_costs():
    """Each rule takes plans away; being allowed to be off gives some back."""
    ways = [{}, {"min_output": 0.5}, {"min_output": 0.5, "start_cost": 50.0}]
    ways.append({**ways[-1], "min_up": 3, "min_down": 3})
    costs = [solved(load(load_factor=1.3, **way), drawn(load(**way)))[0] for way in ways]
    assert (np.diff(costs) >= -1e-6).all() and costs[-1] > costs[0] + 100
    brazil = [orl.load("hydrothermal/brazil", settings={"stages": 4, "commitment": commitment})
              for commitment in ("off", "on")]  # fmt: skip
    ready, may_stop = (solved(one, drawn(one))[0] for one in brazil)
    assert may_stop < ready - 1, "the files' least powers hold only where a plant runs"


@pytest.fixture(scope="module")
def known():
    """An instance with rules of every kind, its scenario, and its optimum: plant 2 is on in stages 2 to 4 alone."""
    instance = load(stages=6, min_output=0.2, start_cost=10.0, min_up=2, min_down=3)
    return instance, drawn(instance), solved(instance, drawn(instance))[1]


def verified(known, **changes):
    instance, scenario, dispatch = known
    return HYDRO.verify(instance, scenario, replace(dispatch, **changes))


def kinds(report):
    return {violation.kind for violation in report.violations}


def test_the_verifier_finds_each_kind_of_violation(known):
    dispatch = known[2]
    assert verified(known).is_feasible
    power, idle, busy = dispatch.power, np.zeros(6), np.ones(6)
    both = np.stack([busy, idle], axis=1)
    assert (dispatch.on == both).all() and not power[:, 1].any()

    def with_second(*row):
        return verified(known, on=np.stack([busy, row], axis=1), power=np.stack([power[:, 0], 0 * idle], axis=1))

    assert kinds(verified(known, on=0 * both)) == {"limit"}, "power of a plant that is off"
    assert kinds(with_second(1, 1, 0, 0, 0, 1)) == {"limit"}, "less power than the least; no rule of time is broken"
    assert kinds(with_second(0, 1, 0, 0, 0, 0)) == {"limit", "min up"}
    assert kinds(with_second(1, 1, 0, 0, 1, 1)) == {"limit", "min down"}
    assert kinds(with_second(0.5, 0, 0, 0, 0, 0)) >= {"commitment"}
    message = with_second(1, 1, 0, 0, 1, 1).violations[-1].message
    assert message == "stage 4, 2: off for 2 stages, at least 3 are due."
    report = HYDRO.verify(*known[:2], replace(dispatch, on=np.zeros((0, 0))))
    assert report.cost is None and kinds(report) == {"shape"}


def test_starts_are_paid_by_the_hour_of_a_stage(known):
    instance, scenario, dispatch = known
    busy = np.ones(6)
    least = replace(dispatch, on=np.stack([busy, [1, 0, 0, 1, 0, 0]], axis=1))
    assert HYDRO.verify(instance, scenario, least).cost - verified(known).cost == pytest.approx(2 * 10.0 * 50)
    soon = replace(dispatch, on=np.stack([busy, [0, 1, 0, 1, 0, 0]], axis=1))
    assert HYDRO.verify(instance, scenario, soon).cost - verified(known).cost == pytest.approx(2 * 10.0 * 50)
    longer = replace(instance, stage_hours=4.0)
    more = HYDRO.verify(longer, scenario, least).cost - HYDRO.verify(longer, scenario, dispatch).cost
    assert more == pytest.approx(2 * 10.0 * 50 / 4)
    discounted = replace(instance, settings=replace(instance.settings, discount=0.5))
    more = HYDRO.verify(discounted, scenario, least).cost - HYDRO.verify(discounted, scenario, dispatch).cost
    assert more == pytest.approx(10.0 * 50 * (1 + 0.5**3))


def test_the_verifier_knows_the_definition_of_minimum_times(known):
    for bits in product((0, 1), repeat=6):
        found = kinds(verified(known, on=np.stack([np.ones(6), bits], axis=1))) & {"min up", "min down"}
        assert bool(found) != is_allowed(bits, 2, 3), bits


def test_a_plan_that_is_known_starts_the_program(known):
    instance, scenario, dispatch = known
    value, again = solved(instance, scenario, start=dispatch)
    assert value == pytest.approx(verified(known).cost) and (again.on == dispatch.on).all()
    model = build(instance, scenario)
    assert len(list(model.start(dispatch))) == 12
    assert list(model.start(replace(dispatch, on=np.zeros((0, 0))))) == []
    assert list(build(orl.load("hydrothermal/case3deterministic"), scenario).start(dispatch)) == []


def test_exact_begins_without_a_rule_where_the_process_refuses():
    """Rules play in a process, and none knows commitment."""
    instance = load(stages=3, min_output=0.3)
    with_rules = replace(HYDRO, rules=lambda: {"full": Rule("full", score=lambda observation: observation.legal[:, 1])})
    task = Task(with_rules, instance, drawn(instance), ExactSettings(), 0, Control())
    assert EXACT.solve(task).status == "optimal"


def test_process_stages_and_the_full_tree_refuse_commitment(capsys):
    instance = load("case3", stages=2)
    for refuses in (lambda: HYDRO.process([instance], [drawn(instance)]), lambda: HYDRO.stages(instance),
                    lambda: optimal_cost(instance)):  # fmt: skip
        with pytest.raises(InputError, match=r"knows no commitment=on; solve it by the method exact"):
            refuses()
    assert main(["solve", "hydrothermal/case3", "--set", "commitment=on"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("orl:")]
    assert len(lines) == 1 and "method exact" in lines[0]


def test_a_plan_is_written_and_checked_with_what_runs(tmp_path, capsys):
    file = tmp_path / "plan.csv"
    settings = ["--set", "commitment=on", "--set", "min_output=0.3"]
    asked = ["hydrothermal/case3deterministic", *settings]
    assert main(["solve", *asked, "--solver", "exact", "--out", str(file)]) == 0
    head, first, *_ = file.read_text().splitlines()
    assert head.endswith(",on 1,on 2") and first.endswith(",1,0")
    assert main(["check", asked[0], str(file), *settings]) == 0
    assert main(["check", asked[0], str(file)]) == 2, "without commitment there is no such column"
    assert "unknown column 'on 1'" in capsys.readouterr().err
    file.write_text(file.read_text().replace(",1,0\n", ",0,0\n"))
    assert main(["check", asked[0], str(file), *settings]) == 1


def test_without_commitment_nobody_sees_it():
    instance = orl.load("hydrothermal/case3deterministic", settings={"stages": 3})
    dispatch = solved(instance, drawn(instance))[1]
    assert dispatch.on.size == 0
    table = HYDRO.columns(instance, dispatch)
    assert not any(name.startswith("on ") for name in table)
    assert HYDRO.solution(instance, table).on.shape == (3, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"commitment": "maybe"}, "expected off or on"),
        ({"commitment": "on", "min_output": 1.5}, r"min_output must be in 0\.\.1, got 1.5"),
        ({"commitment": "on", "start_cost": -1}, "start_cost must be >= 0, got -1"),
        ({"commitment": "on", "min_up": 0}, "min_up must be >= 1, got 0"),
        ({"min_down": 2}, "min_down needs commitment=on"),
        ({"min_output": 0.3}, "min_output needs commitment=on"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        orl.load("hydrothermal/case3", settings=settings)


def test_prices_are_those_of_the_plants_that_run():
    """On one bus, power is worth what a plant costs that runs between its least and its most."""
    instance = load("case3", min_output=0.4, start_cost=5.0, network="single-bus")
    one = orl.solve(instance, "exact", scenarios=2, time_limit=None).solutions[0]
    worth, network, checked = prices(instance, one), instance.network, 0
    for stage, plant in product(range(12), range(2)):
        low, high = instance.least_mw[plant] + 0.1, network.gen_max_mw[plant] - 0.1
        if one.on[stage, plant] > 0.5 and low < one.power[stage, plant] < high:
            assert worth.nodal[stage, 0] == pytest.approx(network.gen_cost[plant], abs=1e-6)
            checked += 1
    assert checked, "or nothing is tested"
