"""The verifier of hydrothermal dispatch: prices of every quantity, and limits and balances to their tolerances."""

from dataclasses import replace

import numpy as np
import pytest
from grids import draw_system

import orl
from orl import registry
from orl.problems.hydrothermal.scenario import realise
from orl.problems.hydrothermal.verify import verify
from orl.scenario import Purpose

HYDRO = registry.find_problem("hydrothermal")
NETWORKS = ["dc", "transport", "single-bus"]
JUST, BEYOND = 0.9e-6, 1.1e-6


def played(network, seed=3, **settings):
    """Return an instance whose quantities all have prices of their own, its scenario, and a dispatch."""
    one = draw_system(seed, network, stages=2)
    grid, water = one.network, one.reservoirs
    lines, units, plants = len(grid.branch_from), len(grid.gen_names), len(water.names)
    one = replace(
        one,
        network=replace(
            grid,
            fixed_cost=7.0,
            grid=None,
            branch_cost=(3.0 + np.arange(lines)) * (network == "transport"),  # where no flow goes backwards
            branch_min_mw=np.zeros(lines) if network == "transport" else grid.branch_min_mw,
            gen_min_mw=np.full(units, 2.0),
            deficit_cost=np.array([500.0, 900.0]),
            deficit_share=np.array([0.1, np.inf]),
        ),
        reservoirs=replace(
            water, cost=0.1 + np.arange(plants), spill_cost=0.2 + np.arange(plants), min_hm3=np.full(plants, 0.25),
            initial_hm3=np.full(plants, 9.0), min_turn=np.full(plants, 0.5),
        ),
        settings=replace(one.settings, discount=0.9, **settings),
    )  # fmt: skip
    scenario = HYDRO.sample(one, 0, Purpose.EVALUATE, 1)[0]
    process = HYDRO.process([one], [scenario])
    for _ in range(2):
        low, high = process.observe().legal[0]
        process.decide((0.6 * low + 0.4 * high)[None])
        process.reveal()
    return one, scenario, process.solution(0)


def moved(dispatch, key, place, by=0.0, to=None):
    """Return a dispatch with one entry of the last stage changed."""
    array = getattr(dispatch, key).copy()
    row = array[-1].reshape(-1)  # a view
    row[place] = row[place] + by if to is None else to
    return replace(dispatch, **{key: array})


def messages(one, scenario, dispatch, kind):
    return [found.message for found in verify(one, scenario, dispatch).violations if found.kind == kind]


@pytest.mark.parametrize("network", NETWORKS)
def test_every_quantity_is_paid_for(network):
    one, scenario, dispatch = played(network)
    grid, water = one.network, one.reservoirs
    report = verify(one, scenario, dispatch)
    assert report.is_feasible
    prices = {
        "power": grid.gen_cost, "turn": water.cost * water.mw_per_flow, "spill": water.spill_cost,
        "deficit": grid.deficit_cost,
    }  # fmt: skip
    if network != "single-bus":
        prices["flow"] = grid.branch_cost
    for key, of in prices.items():
        for place in (0, 1):
            if place < len(of):
                more = verify(one, scenario, moved(dispatch, key, place, 2.0)).cost - report.cost
                assert more == pytest.approx(0.9 * 2.0 * of[place]), key
    last = dispatch.deficit.shape[-1] - 1
    more = verify(one, scenario, moved(dispatch, "deficit", last, 1.0)).cost - report.cost
    assert more == pytest.approx(0.9 * 900.0), "segment by segment, bus by bus"
    nothing = replace(dispatch, **{key: 0 * value for key, value in vars(dispatch).items()})
    assert verify(one, scenario, nothing).cost == pytest.approx(7.0 * 1.9), "the fixed cost of two stages"


@pytest.mark.parametrize("network", NETWORKS)
def test_limits_are_kept_to_a_millionth(network):
    one, scenario, dispatch = played(network)
    grid, water = one.network, one.reservoirs
    load = one.load_mw(1) if network != "single-bus" else one.load_mw(1).sum(keepdims=True)
    limits = {
        "volume": (water.min_hm3, water.max_hm3), "turn": (water.min_turn, water.max_turn),
        "spill": (np.zeros(1), [np.inf]), "power": (grid.gen_min_mw, grid.gen_max_mw),
        "deficit": (np.zeros(1), 0.1 * load),
    }  # fmt: skip
    if network != "single-bus":
        limits["flow"] = grid.branch_min_mw, grid.branch_max_mw
    for key, ends in limits.items():
        for end, sign in zip(ends, (-1, 1), strict=True):
            limit = float(end[0])
            if limit < np.inf:
                for share, count in ((JUST, 0), (BEYOND, 1)):
                    value = limit + sign * share * max(1.0, abs(limit))
                    found = messages(one, scenario, moved(dispatch, key, 0, to=value), "limit")
                    assert len(found) == count, (key, sign, share)


@pytest.mark.parametrize("network", NETWORKS)
def test_balances_are_kept_to_their_tolerances(network):
    """Water to a millionth of what arrives, power to 1e-5 MW, flows to 1e-5 of what angles drive."""
    one, scenario, dispatch = played(network)
    for r in range(len(one.reservoirs.names)):
        arrives = one.hm3_per_flow * dispatch.turn[1, r] + dispatch.spill[1, r] + dispatch.volume[1, r]
        for share, count in ((JUST, 0), (BEYOND, 1)):
            for sign in (-1, 1):
                wrong = moved(dispatch, "volume", r, sign * share * max(1.0, arrives))
                assert len(messages(one, scenario, wrong, "water")) == count
    for sign in (-1, 1):
        for by, count in ((0.8e-5, 0), (1.2e-5, 1)):
            found = messages(one, scenario, moved(dispatch, "power", 0, sign * by), "power")
            assert len(found) == count and all(("bus all:" in m) == (network == "single-bus") for m in found)
            assert len(messages(one, scenario, moved(dispatch, "deficit", 0, sign * by), "power")) == count
        if network != "single-bus":
            assert len(messages(one, scenario, moved(dispatch, "flow", 0, sign), "power")) == 2, "at both ends"
        if network == "dc":
            flow = 1e-5 * max(1.0, abs(dispatch.flow[1, 0]))
            for share, count in ((0.8, 0), (1.2, 1)):
                assert len(messages(one, scenario, moved(dispatch, "flow", 0, sign * share * flow), "flow")) == count


def test_little_water_is_balanced_to_the_tolerance_of_a_hm3():
    one, scenario, dispatch = played("dc")
    dry = replace(one, inflows=1e-3 * one.inflows)
    nothing = replace(dispatch, **{key: 0 * value for key, value in vars(dispatch).items()})
    arrives = one.hm3_per_flow * realise(dry, scenario)[1, 0]
    assert 1.1e-6 < arrives < 1
    for share, count in ((JUST, 0), (BEYOND, 1)):
        found = messages(dry, scenario, moved(nothing, "volume", 0, arrives + share), "water")
        assert sum(message.startswith("stage 1, r0:") for message in found) == count


def test_a_small_flow_is_driven_to_the_tolerance_of_a_megawatt():
    one, scenario, dispatch = played("dc")
    still = replace(dispatch, flow=0 * dispatch.flow, angle=0 * dispatch.angle)
    for by, count in ((0.8e-5, 0), (1.2e-5, 1)):
        assert len(messages(one, scenario, moved(still, "flow", 0, by), "flow")) == count


def test_water_comes_from_above():
    """What the upper plant turbines and spills arrives at the lower one."""
    one, scenario, dispatch = next(
        case for case in (played("dc", seed) for seed in range(9)) if len(case[0].reservoirs.names) == 2
    )
    for key, by in (("turn", one.hm3_per_flow), ("spill", 1.0)):
        found = messages(one, scenario, moved(dispatch, key, 0, 1.0), "water")
        assert len(found) == 2 and found[1].startswith("stage 1, r1: "), key
        back = moved(moved(dispatch, key, 0, 1.0), "volume", 0, -by)
        assert len(messages(one, scenario, moved(back, "volume", 1, by), "water")) == 0


def test_stored_energy_is_no_flow():
    """In the Brazilian system inflows and turbined energy are energy of a stage, as volumes are."""
    one = orl.load("hydrothermal/brazil", settings={"stages": 1})
    scenario = HYDRO.sample(one, 0, Purpose.EVALUATE, 1)[0]
    process = HYDRO.process([one], [scenario])
    low, high = process.observe().legal[0]
    process.decide((0.5 * (low + high))[None])
    process.reveal()
    assert verify(one, scenario, process.solution(0)).is_feasible
    assert len(messages(one, scenario, moved(process.solution(0), "volume", 0, 1.0), "water")) == 1


def test_what_has_another_shape_is_told_and_twenty_violations_are_enough():
    one, scenario, dispatch = played("dc")
    report = verify(one, scenario, replace(dispatch, volume=dispatch.volume[:1]))
    assert report.cost is None and [found.kind for found in report.violations] == ["shape"]
    wrong = replace(dispatch, **{key: 0 * value - 5.0 for key, value in vars(dispatch).items() if key != "on"})
    assert len(verify(one, scenario, wrong).violations) == 20


@pytest.mark.parametrize("key", ["volume", "turn", "spill", "power", "deficit", "flow", "angle"])
def test_what_is_no_number_or_is_missing_is_never_judged(key):
    one, scenario, dispatch = played("dc")
    for broken in (moved(dispatch, key, 0, to=np.nan), replace(dispatch, **{key: getattr(dispatch, key)[:1]})):
        report = verify(one, scenario, broken)
        assert report.cost is None and [found.kind for found in report.violations] == ["shape"]
    assert "stage 1, " in verify(one, scenario, moved(dispatch, key, 0, to=np.inf)).violations[0].message
