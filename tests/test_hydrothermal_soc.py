"""The second-order cone relaxation of alternating current: against Clarabel, the authors' stage, and real voltages."""

import pickle
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cones import Stage, solve_cones
from grids import draw_system
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mof import read_mof

import orl
from orl import registry
from orl.cli import main
from orl.exact import solve_model
from orl.problems.hydrothermal.ac_model import flows as ac_flows
from orl.problems.hydrothermal.instance import HydroThermal
from orl.problems.hydrothermal.optimum import optimal_cost
from orl.problems.hydrothermal.plans import columns as as_table
from orl.problems.hydrothermal.plans import dispatch
from orl.problems.hydrothermal.prices import prices
from orl.problems.hydrothermal.scenario import realise
from orl.problems.hydrothermal.soc import FINE, Tangents, flows_of, pairs_of
from orl.problems.hydrothermal.stages import columns, stage_of, stages
from orl.problems.hydrothermal.verify import verify
from orl.scenario import Purpose
from orl.solver import Control
from orl.solvers.sddp.train import Sddp

FILE = Path(__file__).parent / "data" / "bolivia_stage_soc.mof.json.gz"
FAMILY = registry.find_problem("hydrothermal")
SEEDS = st.integers(0, 10**6)


def program(instance, tolerance=FINE):
    return replace(stage_of(instance, 0), tolerance=tolerance).program()


def fix(made, instance, volume, arriving, worth=0.0):
    at, stage = columns(instance), stage_of(instance, 0)
    made.set_columns(at.before, volume, volume)
    made.set_rows(at.water_rows, arriving, arriving)
    made.set_costs(at.after, stage.cost[at.after] - worth)


def draw_state(rng, instance):
    """Return volumes, what flows in, and what a hm3 left is worth."""
    water = instance.reservoirs
    count = len(water.names)
    volume = rng.random(count) * water.max_hm3 * rng.choice([0, 0.1, 1], count)
    drawn = instance.inflows[rng.integers(len(instance.inflows)), rng.integers(instance.inflows.shape[1])]
    return volume, instance.hm3_per_flow * drawn, 300 * rng.random(count)


def variants(instance, **changes):
    return replace(instance, settings=replace(instance.settings, **changes))


@pytest.fixture(scope="module")
def bolivia():
    return orl.load("hydrothermal/bolivia", settings={"network": "soc"})


# Against the cones ------------------------------------------------------------------------------------------------


def test_stages_of_bolivia_are_worth_what_the_exact_cones_say(bolivia):
    rng, made, exact = np.random.default_rng(0), program(bolivia), Stage(bolivia)
    for _ in range(6):
        state = draw_state(rng, bolivia)
        fix(made, bolivia, *state)
        value, _ = exact.solve(*state)
        assert made.solve().value == pytest.approx(value, rel=1e-5, abs=1e-2)


def test_the_stage_is_that_of_the_authors_file():
    """`SOCWRConicPowerModel.mof.json` of DecisionRules.jl, K = 0.0036; see `test_hydrothermal_stage`."""
    instance = orl.load("hydrothermal/bolivia", settings={"stage_hours": 1, "network": "soc"})
    place, (cost, lower, upper, *rows), cones = read_mof(FILE)
    assert len(cones) == 30 + 2 * 31
    for name, column in place.items():
        if "violation" in name:
            lower[column] = upper[column] = 0.0
    before, after, inflow = (
        [place[name.format(r)] for r in range(1, 12)]
        for name in ("reservoir[{}]_in", "reservoir[{}]_out", "inflow[{}]")
    )
    rng, made = np.random.default_rng(1), program(instance)
    for _ in range(4):
        volume, arriving, worth = draw_state(rng, instance)
        fix(made, instance, volume, arriving, worth)
        lower[before] = upper[before] = volume
        lower[inflow] = upper[inflow] = arriving / instance.hm3_per_flow
        paid = cost.copy()
        paid[after] -= worth
        value, _ = solve_cones(paid, lower, upper, *rows, cones)
        assert made.solve().value == pytest.approx(value, rel=1e-5, abs=1e-2)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_drawn_grids_are_worth_what_the_exact_cones_say(seed):
    """Taps, shifts, parallel and turned branches, ratings, shunts; one bus for all is a relaxation of it."""
    instance, rng = draw_system(seed), np.random.default_rng(seed)
    made, exact = program(instance), Stage(instance)
    for _ in range(2):
        state = draw_state(rng, instance)
        fix(made, instance, *state)
        value, _ = exact.solve(*state)
        scale = max(1.0, abs(value))
        found = made.solve().value
        # Where load is shed, what rows may be violated by is worth that much.
        missed = FINE * instance.network.deficit_cost[0] * len(instance.network.branch_from)
        assert value - 1e-5 * scale - missed <= found <= value + 1e-5 * scale
        single = variants(instance, network="single-bus")
        one = stage_of(single, 0).program()
        fix(one, single, *state)
        assert one.solve().value <= found + 1e-5 * scale


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_rows_cut_off_no_voltages(seed):
    """Rows told at any decision hold for the products of real voltages within their limits."""
    instance, rng = draw_system(seed), np.random.default_rng(seed)
    at, grid, network = columns(instance), instance.network.grid, instance.network
    pairs, tell = pairs_of(network), Tangents(network, at.places)
    stage = stage_of(instance, 0)
    points = []
    while len(points) < 20:
        size = rng.uniform(grid.bus_v_min, grid.bus_v_max)
        volts = size * np.exp(1j * rng.normal(0, 0.1, len(size)))
        product = volts[pairs.first] * volts[pairs.second].conj()
        x = np.zeros(at.width)
        x[at.square], x[at.cross] = size**2, product.imag
        x[at.loss] = (size[pairs.first] ** 2 + size[pairs.second] ** 2) / 2 - product.real
        of = flows_of(network, at.places)
        told = ac_flows(
            grid, size[network.branch_from], size[network.branch_to],
            *(f(np.angle(volts[network.branch_from] * volts[network.branch_to].conj())) for f in (np.cos, np.sin)),
        )  # fmt: skip
        for rows, power in zip(of, told, strict=True):
            assert np.allclose(rows @ x, grid.base_mva * power, atol=1e-9)
        apparent = np.maximum(np.hypot(told[0], told[1]), np.hypot(told[2], told[3]))
        angle = np.angle(product)
        if (apparent <= grid.branch_rate).all() and (np.abs(angle) <= pairs.angle_max).all():
            points.append(x)
            for part in (at.square, at.loss, at.cross):
                assert (x[part] >= stage.lower[part] - 1e-9).all() and (x[part] <= stage.upper[part] + 1e-9).all()
            assert not len(tell(x, 1e-6).lower)
        elif rng.random() < 0.01:
            break  # no such grid can be
    count = 0
    for _ in range(30):
        asked = np.zeros(at.width)
        asked[at.square] = rng.uniform(grid.bus_v_min**2, grid.bus_v_max**2)
        asked[at.cross] = rng.uniform(-1.2, 1.2, len(pairs.first))
        asked[at.loss] = rng.exponential(0.3, len(pairs.first))
        rows = tell(asked, 1e-6)
        for number, (first, end) in enumerate(zip(rows.starts, rows.starts[1:], strict=False)):
            entries, values = rows.columns[first:end], rows.values[first:end]
            assert values @ asked[entries] < rows.lower[number]
            for x in points:
                assert values @ x[entries] >= rows.lower[number] - 1e-6
            count += 1
    assert count


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_alternating_current_costs_no_less(seed):
    pytest.importorskip("casadi")
    from orl.problems.hydrothermal.ac import AcStage

    instance, rng = draw_system(seed), np.random.default_rng(seed)
    volume, arriving, _ = draw_state(rng, instance)
    found = AcStage(variants(instance, network="ac")).solve(0, volume, arriving)
    made = program(instance)
    fix(made, instance, volume, arriving)
    assume(found.is_solved)
    assert made.solve().value <= found.cost + 1e-5 * max(1.0, found.cost)


# Rows accumulate --------------------------------------------------------------------------------------------------


def test_values_rise_with_accuracy_and_never_above_the_optimum(bolivia):
    state = draw_state(np.random.default_rng(2), bolivia)
    exact, _ = Stage(bolivia).solve(*state)
    values = []
    for tolerance in (10.0, 1.0, 0.1, 1e-2, 1e-4):
        made = program(bolivia, tolerance)
        fix(made, bolivia, *state)
        values.append(made.solve().value)
    assert values == sorted(values) and values[-1] <= exact + 1e-3 and values[0] < exact - 1


def test_rows_stay_and_what_is_slack_goes(bolivia):
    made, rng = program(bolivia, 0.02), np.random.default_rng(3)
    states, counts = [draw_state(rng, bolivia) for _ in range(5)], []
    for _ in range(30):
        for state in states:
            fix(made, bolivia, *state)
            made.solve()
        counts.append(made.num_told)
    assert counts[0] > 100 and max(counts) < 1500 and counts[-1] == counts[-2]
    assert made.num_rows == len(stage_of(bolivia, 0).row_lower)


def test_from_the_kept_basis_the_same_question_has_the_same_answer(bolivia):
    made, rng = program(bolivia, 1e-3), np.random.default_rng(4)
    made.solve()
    made.keep_basis()
    made = copy(made)  # as policies do
    states = [draw_state(rng, bolivia) for _ in range(4)]

    def ask(of, state):
        fix(of, bolivia, *state)
        found = of.solve(from_kept=True)
        return found.value, found.columns.tolist()

    first = [ask(made, state) for state in states]
    other = pickle.loads(pickle.dumps(made))
    assert [ask(made, state) for state in states[::-1]][::-1] == first
    assert [ask(other, state) for state in states[::-1]][::-1] == first


def test_rows_of_others_are_numbered_without_those_told(bolivia):
    made, at = program(bolivia, 0.02), columns(bolivia)
    state = draw_state(np.random.default_rng(5), bolivia)
    fix(made, bolivia, *state)
    value, first = made.solve().value, made.num_rows
    for least in (0.5, 0.25):
        made.add_row(least * bolivia.reservoirs.max_hm3[0], np.inf, at.after[:1], np.ones(1))
        made.solve()
    assert made.num_rows == first + 2
    made.delete_rows([first])
    quarter = made.solve().columns[at.after[0]]
    assert quarter >= 0.25 * bolivia.reservoirs.max_hm3[0] - 1e-6
    made.delete_rows([first])
    assert made.solve().value == pytest.approx(value, rel=1e-4, abs=1.0) and made.num_rows == first


# Whole episodes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["case3", "bolivia"])
def test_hindsight_is_below_every_policy_and_both_are_verified(name):
    chosen = {"network": "soc", "stages": 3, "reported_stages": 3}
    best = orl.solve(f"hydrothermal/{name}", "exact", settings=chosen, scenarios=2, time_limit=None)
    assert best.verified and best.bound == pytest.approx(best.value, rel=1e-9)
    lossless = orl.solve(f"hydrothermal/{name}", "exact", settings={**chosen, "network": "single-bus"}, scenarios=2)
    assert lossless.value <= best.value
    for rule in ("myopic", "thermal-first"):
        found = orl.solve(f"hydrothermal/{name}", rule, settings=chosen, scenarios=2, time_limit=None)
        assert found.verified and found.value >= best.value - 1e-3


def played(instance, seed=0):
    """Return a scenario and its dispatch by targets at random."""
    scenario, rng = next(iter(FAMILY.sample(instance, seed, Purpose.EVALUATE, 1))), np.random.default_rng(seed)
    process = FAMILY.process([instance], [scenario])
    cost = 0.0
    for _ in range(instance.num_stages):
        low, high = process.observe().legal[0]
        cost += process.decide((low + rng.random(len(low)) ** 2 * (high - low))[None])[0]
        process.reveal()
    return scenario, process.solution(0), cost


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_what_a_process_does_is_verified(seed):
    instance = draw_system(seed)
    scenario, done, cost = played(instance, seed)
    report = verify(instance, scenario, done)
    assert report.is_feasible, report.violations
    assert report.cost == pytest.approx(cost, rel=1e-9)
    table = as_table(instance, done)
    again = verify(instance, scenario, dispatch(instance, {key: list(map(str, of)) for key, of in table.items()}))
    assert again.is_feasible and again.cost == pytest.approx(cost, rel=1e-9)


@pytest.mark.parametrize(
    ("key", "change", "kind"),
    [
        ("product_real", lambda of: of + 1e-3, "cone"),
        ("product_imaginary", lambda of: of * 1.01 + 1e-3, "power"),
        ("voltage", lambda of: of * 1.3, "limit"),
        ("reactive", lambda of: of + 1, "power"),
        ("flow", lambda of: of + 1, "flow"),
        ("power", lambda of: of + 1, "power"),
    ],
)
def test_a_changed_dispatch_is_found_out(key, change, kind):
    instance = orl.load("hydrothermal/case3", settings={"network": "soc", "stages": 2})
    scenario, done, _ = played(instance)
    assert verify(instance, scenario, done).is_feasible
    broken = verify(instance, scenario, replace(done, **{key: change(getattr(done, key))}))
    assert kind in {one.kind for one in broken.violations}
    if key != "power":
        shapeless = verify(instance, scenario, replace(done, **{key: np.zeros((2, 1))}))
        assert shapeless.violations[0].kind == "shape" and key in shapeless.violations[0].message


def at_its_limit(instance, **limits):
    """Return an instance of which entries of the grid, by name and place, are replaced."""
    arrays = {}
    for key, (place, value) in limits.items():
        arrays[key] = np.array(getattr(instance.network.grid, key))
        arrays[key][place] = value
    return replace(instance, network=replace(instance.network, grid=replace(instance.network.grid, **arrays)))


@pytest.mark.parametrize("seed", [1, 2])
def test_limits_of_the_relaxation_are_kept_to_a_millionth(seed):
    """Per unit: a limit a little below what is there, or above, is broken if that is more than the tolerance."""
    instance = draw_system(seed, stages=1)
    scenario, done, _ = played(instance)
    network, grid = instance.network, instance.network.grid

    def kinds(one):
        return [found.kind for found in verify(one, scenario, done).violations]

    assert kinds(instance) == []
    begin, end, product = network.branch_from, network.branch_to, done.product_real[0] + 1j * done.product_imaginary[0]
    series, square = 1 / (grid.branch_r + 1j * grid.branch_x), done.voltage[0] ** 2
    ratio = grid.branch_tap * np.exp(1j * grid.branch_shift)
    shunts = grid.branch_g_from + 1j * grid.branch_b_from, grid.branch_g_to + 1j * grid.branch_b_to
    apparent = np.abs([
        np.conj(series + shunts[0]) * square[begin] / grid.branch_tap**2 - np.conj(series) / ratio * product,
        np.conj(series + shunts[1]) * square[end] - np.conj(series / ratio * product),
    ])  # fmt: skip
    side, line = np.unravel_index(apparent.argmax(), apparent.shape)
    bus, real, unit = network.gen_bus[0], product[0].real, 2 * abs(series[0])
    there = done.reactive[0, bus]
    alone = {key: (slice(None), 0.0) for key in ("gen_min_mvar", "gen_max_mvar", "hydro_min_mvar", "hydro_max_mvar")}
    wide = at_its_limit(instance, **{key: (slice(None), 99.0 * (-1) ** ("min" in key)) for key in alone})
    fixed = wide.network.gen_bus == bus, wide.reservoirs.bus == bus
    for share, expected in ((0.9e-6, []), (1.1e-6, ["limit"])):
        volts = done.voltage[0, 0]
        assert kinds(at_its_limit(instance, bus_v_min=(0, volts + share), bus_v_max=(0, 2.0))) == expected
        assert kinds(at_its_limit(instance, bus_v_min=(0, 0.5), bus_v_max=(0, volts - share))) == expected
        assert kinds(at_its_limit(instance, branch_rate=(line, apparent[side, line] - share))) == expected
        for name, sign in (("min", 1), ("max", -1)):
            none = at_its_limit(wide, **{f"gen_{name}_mvar": (fixed[0], 0.0), f"hydro_{name}_mvar": (fixed[1], 0.0)})
            assert kinds(at_its_limit(none, **{f"gen_{name}_mvar": (0, there + sign * share * 100)})) == expected, name
        expected = ["angle"] if expected else []
        high, low = (np.arctan((product[0].imag - sign * share / unit) / real) for sign in (1, -1))
        assert kinds(at_its_limit(instance, branch_angle_max=(0, high))) == expected
        assert kinds(at_its_limit(instance, branch_angle_min=(0, low))) == expected
        assert kinds(at_its_limit(instance, branch_angle_min=(0, -1.2), branch_angle_max=(0, high))) == expected
    for wide in ({"branch_angle_min": (0, -1.6)}, {"branch_angle_max": (0, 1.6)}):
        assert kinds(at_its_limit(instance, **wide)) == [], "no limit beyond a right angle"


@pytest.mark.parametrize("seed", [1, 2])
def test_the_laws_of_the_relaxation_are_kept_to_a_millionth(seed):
    """Power and flows per unit of 100 MVA; products of parallel branches, whichever way round, are the same."""
    instance = draw_system(seed, stages=1)
    segments = {"deficit_cost": np.array([500.0, 900.0]), "deficit_share": np.array([0.1, np.inf])}
    instance = replace(instance, network=replace(instance.network, **segments))
    scenario, done, _ = played(instance)
    network, grid = instance.network, instance.network.grid

    def count(kind, key, by):
        array = np.array(getattr(done, key))
        array[0, 0] += by
        found = verify(instance, scenario, replace(done, **{key: array})).violations
        return [one.kind for one in found].count(kind)

    square = done.voltage[0, [network.branch_from[0], network.branch_to[0]]] ** 2
    mean, half = square.mean(), (square[0] - square[1]) / 2
    angle = np.angle(done.product_real[0, 0] + 1j * done.product_imaginary[0, 0])
    for share, is_found in ((0.8e-6, 0), (1.2e-6, 1)):
        for sign in (-1, 1):
            for key in ("power", "reactive", "deficit"):
                assert count("power", key, sign * share * 100) == is_found, key
            assert count("flow", "flow", sign * share * 100) == is_found
            for key in ("product_real", "product_imaginary"):
                assert (count("product", key, sign * share) >= 2) == is_found
        size = np.sqrt((mean + share * abs(grid.branch_r[0] + 1j * grid.branch_x[0]) / 2) ** 2 - half**2)
        turned = replace(done, product_imaginary=done.product_imaginary.copy(), product_real=done.product_real.copy())
        turned.product_real[0, 0], turned.product_imaginary[0, 0] = size * np.cos(angle), size * np.sin(angle)
        assert [one.kind for one in verify(instance, scenario, turned).violations].count("cone") == is_found


def test_prices_are_what_one_more_costs():
    instance = orl.load("hydrothermal/case3", settings={"network": "soc", "stages": 1})
    scenario, done, cost = played(instance)
    at = prices(instance, done)
    assert at.nodal.shape == (1, 3)
    more = replace(instance, network=replace(instance.network, load_mw=instance.network.load_mw + np.eye(3)[:1] * 0.01))
    process = FAMILY.process([more], [scenario])
    assert process.decide(done.volume[:1])[0] - cost == pytest.approx(0.01 * at.nodal[0, 0], rel=2e-2)


def test_sddp_rises_to_the_optimum_of_the_tree():
    instance = orl.load("hydrothermal/case3", settings={"network": "soc", "stages": 3})
    best, sddp, rng = optimal_cost(instance), Sddp(stages(instance)), np.random.default_rng(0)
    bounds = []
    for _ in range(20):
        sddp.iterate(rng)
        bounds.append(sddp.bound())
    assert bounds == sorted(bounds) and best - 1e-3 * best <= bounds[-1] <= best + 1e-6 * best


def test_sddp_of_case3_has_the_published_bound():
    """11,637.76 within 10 in the tests of HydroPowerModels.jl: with the file's probabilities, not with equal ones."""
    chosen = {"network": "soc", "iterations": 40}
    found = orl.solve("hydrothermal/case3", "sddp", settings=chosen, scenarios=5, time_limit=None)
    assert found.verified and found.bound_kind == "sddp" and found.bound == pytest.approx(11637.76, abs=10)


def test_programs_of_decision_rules_take_convex_stages():
    """What the best of a path costs is its hindsight optimum; slopes by states are those of differences."""
    pytest.importorskip("torch")
    from orl.solvers.decision_rules.programs import Asked, PathPrograms, StagePrograms

    instance = orl.load("hydrothermal/case3", settings={"network": "soc", "stages": 3})
    graph = stages(instance)
    graph = replace(graph, stages=tuple(replace(stage, tolerance=1e-6) for stage in graph.stages))
    scenarios = FAMILY.sample(instance, 0, Purpose.EVALUATE, 2)
    noises = instance.hm3_per_flow * np.stack([realise(instance, one) for one in scenarios])
    best = PathPrograms(graph, slice(None), np.inf)(Asked(np.full((2, 4, 1), graph.initial), noises)).costs.sum(axis=1)
    known = orl.solve("hydrothermal/case3", "exact", settings={"network": "soc", "stages": 3}, scenarios=2)
    assert best == pytest.approx(known.costs, rel=1e-5)
    states = np.tile(np.array([*graph.initial, 0.15, 0.12, 0.1])[:, None], (2, 1, 1))
    programs = StagePrograms(graph, range(3), 1e4)
    answer, more = programs(Asked(states, noises)), states.copy()
    more[:, 2] += 1e-5
    changed = programs(Asked(more, noises)).costs.sum(axis=1) - answer.costs.sum(axis=1)
    assert not answer.missed.any() and changed == pytest.approx(1e-5 * answer.slopes[:, 2, 0], rel=1e-2)


def test_cuts_are_of_their_grid(bolivia):
    """Cuts of another grid are refused, though costs, matrix and limits of columns are the same."""
    small = orl.load("hydrothermal/case3", settings={"network": "soc"})
    grid = replace(small.network.grid, branch_rate=small.network.grid.branch_rate * 0.9)
    other: HydroThermal = replace(small, network=replace(small.network, grid=grid))
    assert Sddp(stages(small)).fingerprint() != Sddp(stages(other)).fingerprint()


def test_there_is_no_commitment_on_a_grid(capsys):
    asked = ["--set", "network=soc", "--set", "commitment=on"]
    assert main(["solve", "hydrothermal/case3", "--solver", "exact", *asked]) == 2
    assert "network=soc knows no commitment=on; set network to dc" in capsys.readouterr().err


def test_a_bound_that_time_ran_out_on_is_one():
    """Before the last round there is no solution, but a bound."""
    instance = orl.load("hydrothermal/bolivia", settings={"network": "soc", "stages": 8, "reported_stages": 8})
    scenario = FAMILY.sample(instance, 0, Purpose.EVALUATE, 1)
    made = FAMILY.models["exact"](instance, scenario)
    control, rounds = Control(), []

    def separate(value):
        rounds.append(list(made.separate(value)))
        if len(rounds) == 4:
            control.interrupt()
        return rounds[-1]

    stopped = solve_model(made.program, control, separate=separate)
    assert stopped.of is None and stopped.value is None and stopped.status == "interrupted"
    whole = solve_model(made.program, Control(), separate=made.separate)
    assert 0.5 * whole.value < stopped.bound < whole.value == whole.bound
