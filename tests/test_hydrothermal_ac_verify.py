"""Dispatch in alternating current: the process, its independent verifier, files and prices."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_hydrothermal_ac import changed, drawn_system, half_full

import orl
from orl import registry, testing
from orl.cli import main
from orl.errors import InputError
from orl.problems.hydrothermal.ac import AcStage
from orl.problems.hydrothermal.prices import NUDGE, prices
from orl.scenario import Purpose

HYDRO = registry.find_problem("hydrothermal")


def test_the_contract_holds_in_alternating_current():
    testing.check_problem(HYDRO, orl.load("hydrothermal/case3", settings={"network": "ac", "stages": 4}))


@pytest.mark.slow
def test_the_contract_holds_on_the_published_system():
    testing.check_problem(HYDRO, half_full(2))


def episode(instance, seed=0):
    """Return a scenario and a dispatch that aims at drawn volumes, reachable or not."""
    scenario = HYDRO.sample(instance, seed, Purpose.SELECT, 1)[0]
    process, rng = HYDRO.process([instance], [scenario]), np.random.default_rng(seed)
    for _ in range(instance.num_stages):
        process.decide(rng.uniform(*process.observe().legal[0])[None])
        process.reveal()
    return scenario, process.solution(0)


@pytest.mark.parametrize(
    ("key", "place", "by", "kind"),
    [
        ("voltage", 4, 1e-4, "power"),
        ("angle", 7, 1e-4, "power"),
        ("voltage", 4, 0.5, "limit"),
        ("angle", 7, 2.0, "limit"),
        ("flow", 3, 1e-3, "flow"),
        ("flow_to", 3, 1e-3, "flow"),
        ("gen_mvar", 0, 0.01, "power"),
        ("hydro_mvar", 0, 0.01, "power"),
        ("hydro_mvar", 0, 1e6, "limit"),
        ("power", 0, 0.01, "power"),
        ("deficit", 5, 0.01, "power"),
        ("angle", 0, 1e-3, "angle"),
    ],
)
def test_the_verifier_finds_what_breaks_the_grids_laws(key, place, by, kind):
    instance = half_full(2)
    scenario, found = episode(instance)
    report = HYDRO.verify(instance, scenario, found)
    assert report.is_feasible
    wrong = getattr(found, key).copy()
    wrong[1, place] += by
    report = HYDRO.verify(instance, scenario, replace(found, **{key: wrong}))
    assert any(one.kind == kind and "stage 1" in one.message for one in report.violations), report.violations


@pytest.fixture(scope="module")
def ring():
    """A drawn ring of four buses with an angle at none of its limits, its scenario and a dispatch."""
    instance = drawn_system(np.random.default_rng(5), 4)
    scenario, found = episode(instance)
    assert HYDRO.verify(instance, scenario, found).is_feasible
    return instance, scenario, found


def kinds(instance, scenario, dispatch):
    return [one.kind for one in HYDRO.verify(instance, scenario, dispatch).violations]


def apparent(instance, found):
    """Return the apparent power at both ends of all branches, pu, (2, branches)."""
    network, grid = instance.network, instance.network.grid
    volts = found.voltage[0] * np.exp(1j * found.angle[0])
    begin, end = volts[network.branch_from], volts[network.branch_to]
    begin = begin / (grid.branch_tap * np.exp(1j * grid.branch_shift))
    along = (begin - end) / (grid.branch_r + 1j * grid.branch_x)
    return np.abs([
        begin * (along + (grid.branch_g_from + 1j * grid.branch_b_from) * begin).conj(),
        end * (along - (grid.branch_g_to + 1j * grid.branch_b_to) * end).conj(),
    ])  # fmt: skip


def test_limits_of_the_grid_are_kept_to_a_millionth(ring):
    """Per unit: a limit a little below what is there, or above, is broken if that is more than the tolerance."""
    instance, scenario, found = ring
    network, base = instance.network, instance.network.grid.base_mva
    apart = (found.angle[0][network.branch_from] - found.angle[0][network.branch_to])[0]
    values = {
        "bus_v": (found.voltage[0, 0], "{}_{}", 1.0), "gen": (found.gen_mvar[0, 0], "{}_{}_mvar", base),
        "hydro": (found.hydro_mvar[0, 0], "{}_{}_mvar", base), "branch_angle": (apart, "{}_{}", 1.0),
    }  # fmt: skip
    for what, (value, form, unit) in values.items():
        for end, sign in (("min", 1), ("max", -1)):
            for share, expected in ((0.9e-6, []), (1.1e-6, ["limit"])):
                key = form.format(what, end)
                limits = np.array(getattr(network.grid, key))
                limits[0] = value + sign * share * unit
                grid = replace(network.grid, **{key: limits})
                assert kinds(replace(instance, network=replace(network, grid=grid)), scenario, found) == expected, key
    there = apparent(instance, found)
    for side, branch in enumerate(there.argmax(axis=1)):
        for share, count in ((0.9e-6, 0), (1.1e-6, 1)):
            rate = np.full(there.shape[1], np.inf)
            rate[branch] = there[side, branch] - share
            grid = replace(network.grid, branch_rate=rate)
            limit = kinds(replace(instance, network=replace(network, grid=grid)), scenario, found)
            assert len(limit) >= count and set(limit) <= {"limit"}
            other = there[1 - side, branch] - rate[branch]
            assert len(limit) == count + (other > 1e-6)


@pytest.mark.parametrize("key", ["power", "gen_mvar", "hydro_mvar", "deficit", "flow", "flow_to", "angle"])
def test_the_laws_of_the_grid_are_kept_to_a_millionth(ring, key):
    """Power and flows per unit of 100 MVA; the reference bus has the angle 0."""
    instance, scenario, found = ring
    expected = {"flow": "flow", "flow_to": "flow", "angle": "angle"}.get(key, "power")
    for sign in (-1, 1):
        for share, count in ((0.8, 0), (1.2, 1)):
            if key == "angle":
                wrong = found.angle + sign * share * 1e-6  # nothing else tells
            else:
                wrong = np.array(getattr(found, key))
                wrong[0, 0] += sign * share * 1e-6 * instance.network.grid.base_mva
            assert kinds(instance, scenario, replace(found, **{key: wrong})).count(expected) == count


def test_what_a_record_lacks_is_told():
    instance = half_full(2)
    scenario, found = episode(instance)
    report = HYDRO.verify(instance, scenario, replace(found, voltage=np.zeros((0, 0))))
    assert report.cost is None and "expected voltage of 2 stages x 28 columns" in report.violations[0].message
    for key in ("angle", "flow", "flow_to", "gen_mvar", "hydro_mvar"):
        report = HYDRO.verify(instance, scenario, replace(found, **{key: getattr(found, key)[:, 1:]}))
        assert report.cost is None and f"expected {key} of" in report.violations[0].message


def test_a_dispatch_is_checked_from_a_file(tmp_path, capsys):
    """Also as CSV; key figures tell what branches lose."""
    for ending in ("json", "csv"):
        out = tmp_path / f"plan.{ending}"
        asked = ["hydrothermal/case3", "--set", "network=ac"]
        assert main(["solve", *asked, "--solver", "myopic", "--scenarios", "1", "--out", str(out), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["verified"] and 0.01 < result["metrics"]["loss_share"] < 0.1
        assert main(["check", asked[0], str(out), *asked[1:]]) == 0
        capsys.readouterr()


def test_prices_are_derivatives_of_the_cost(tmp_path):
    """The nodal prices of a stage against central differences of its load; pictures show them."""
    instance = half_full(3)
    _, found = episode(instance, 1)
    worth, before = prices(instance, found), found.volume[0]
    assert worth.water.shape == (3, 11) and worth.nodal.shape == (3, 28) and (worth.nodal > 0).all()

    def cost(bus, more):
        load = instance.network.load_mw.copy()
        load[0, bus] += more
        changed = replace(instance, network=replace(instance.network, load_mw=load))
        turn, spill, water = found.turn[1], found.spill[1], instance.reservoirs
        k = instance.hm3_per_flow
        arriving = found.volume[1] - before + k * (turn - water.turn_into.T @ turn) + spill - water.spill_into.T @ spill
        return AcStage(changed).solve(1, before, arriving + NUDGE, found.volume[1]).value

    for bus in (0, 9, 20):
        assert (cost(bus, 0.02) - cost(bus, -0.02)) / 0.04 == pytest.approx(worth.nodal[1, bus], rel=1e-3)
    orl.plot(instance, [found], tmp_path / "ac.svg")
    assert (tmp_path / "ac.svg").stat().st_size > 10_000


def test_a_stage_without_a_dispatch_is_one_line(tmp_path):
    """No voltage can be held where a load takes reactive power that nothing gives."""
    folder = changed(tmp_path, lambda power: power["load"]["1"].update(qd=1e4))
    instance = orl.load(folder, settings={"network": "ac"})
    process = HYDRO.process([instance], [HYDRO.sample(instance, 0, Purpose.SELECT, 1)[0]])
    with pytest.raises(InputError, match=r"^case: IPOPT finds no dispatch in alternating current of stage 0 \(.*\)\.$"):
        process.decide(process.observe().legal[:, 0])
