"""Hydrothermal dispatch in alternating current: the grid's data, the stage, the process, hindsight."""

import json
import pickle
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import orl
from orl import registry
from orl.cli import main
from orl.errors import InputError
from orl.files import instance_folder
from orl.problems.hydrothermal.ac import AcStage, Cuts
from orl.problems.hydrothermal.ac_hindsight import estimate
from orl.problems.hydrothermal.grid import Grid
from orl.problems.hydrothermal.instance import HydroThermal, HydroThermalSettings, Network, Reservoirs
from orl.problems.hydrothermal.process import Dispatcher
from orl.problems.hydrothermal.stages import staged
from orl.scenario import Purpose
from orl.solvers.sddp.train import Sddp

HYDRO = registry.find_problem("hydrothermal")


def half_full(stages, **settings):
    """Return the Bolivian system, its reservoirs half full."""
    size = orl.load("hydrothermal/bolivia").reservoirs.max_hm3
    more = {"stages": stages, "reported_stages": stages, "initial_volumes": tuple((size / 2).tolist())}
    return orl.load("hydrothermal/bolivia", settings={"network": "ac", **more, **settings})


def changed(tmp_path, change):
    """Return a folder with case3 whose grid is changed."""
    folder = tmp_path / "case"
    shutil.copytree(instance_folder("hydrothermal") / "case3", folder)
    power = json.loads((folder / "PowerModels.json").read_text())
    change(power)
    (folder / "PowerModels.json").write_text(json.dumps(power))
    return folder


def test_the_grid_is_read_with_its_load_factor():
    grid = orl.load("hydrothermal/bolivia", settings={"network": "ac"}).network.grid
    assert grid.load_mvar.sum() == pytest.approx(57.9039, abs=1e-4)  # 60 % of the file's
    assert grid.branch_r[0] == 0.0033 and grid.branch_x[0] == 0.1067 and grid.branch_rate[0] == 0.7
    assert (grid.bus_v_min == 0.9).all() and (grid.bus_v_max == 1.1).all() and grid.base_mva == 100
    assert grid.gen_max_mvar.shape == (23,) and (grid.hydro_min_mvar == -99900).all()
    assert orl.load("hydrothermal/bolivia").network.grid is None
    case = orl.load("hydrothermal/case3", settings={"network": "soc"}).network.grid
    assert case.branch_b_from.tolist() == [0.225, 0.35, 0.15] and not case.bus_shunt_b.any()


def test_shunts_are_read(tmp_path):
    shunt = {"index": 1, "shunt_bus": 2, "gs": 0.01, "bs": 0.2, "status": 1}
    folder = changed(tmp_path, lambda power: power.update(shunt={"1": shunt, "2": {**shunt, "status": 0}}))
    grid = orl.load(folder, settings={"network": "ac"}).network.grid
    assert grid.bus_shunt_g.tolist() == [0, 0.01, 0] and grid.bus_shunt_b.tolist() == [0, 0.2, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda power: power["bus"]["1"].update(bus_type=2), "no bus is the reference"),
        (
            lambda power: [power["branch"][key].update(br_status=0) for key in ("1", "2")],
            r"bus 3 is on an island: .* reference bus 1",
        ),
        (lambda power: power["branch"]["2"].update(br_r=0, br_x=0), "json: branch 2 from bus 3 to bus 2 has no imped"),
        (lambda power: power["bus"]["2"].update(vmin=1.2), "bus 1: expected 0 < bus_v_min <= bus_v_max, got 1.2 and"),
        (lambda power: power["gen"]["2"].update(qmax=-200), "gen 1: expected gen_min_mvar <= gen_max_mvar"),
        (lambda power: power["gen"]["3"].pop("qmin"), "'qmin' is missing"),
        (lambda power: power["branch"]["2"].update(tap=0), r"branch 1: expected branch_tap > 0, got 0"),
    ],
)
def test_a_bad_grid_gives_one_line(tmp_path, capsys, change, message):
    folder = changed(tmp_path, change)
    with pytest.raises(InputError, match=message):
        orl.load(folder, settings={"network": "ac"})
    assert main(["solve", str(folder), "--set", "network=soc"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_format_without_a_grid_says_so():
    for network in ("ac", "soc"):
        with pytest.raises(InputError, match=f"nothing is known of the grid .* that network={network} needs"):
            orl.load("hydrothermal/brazil", settings={"network": network})


def test_a_grid_is_of_its_network():
    network = orl.load("hydrothermal/case3", settings={"network": "ac"}).network
    other = orl.load("hydrothermal/bolivia", settings={"network": "ac"}).network
    with pytest.raises(InputError, match="the grid must be of as many branches"):
        replace(network, grid=other.grid)
    with pytest.raises(InputError, match="branch_cost must be 0"):
        replace(network, branch_cost=np.ones(3), branch_min_mw=np.zeros(3))


# The stage ----------------------------------------------------------------------------------------------------------


def residual(instance, found, stage=0):
    """Return what Kirchhoff's laws miss, and by how much limits are passed, pu: complex arithmetic by branch."""
    network, water, grid = instance.network, instance.reservoirs, instance.network.grid
    volts = found.voltage * np.exp(1j * found.angle)
    into = (-instance.load_mw(stage) - 1j * grid.load_mvar[0]) / grid.base_mva
    into = into - (grid.bus_shunt_g - 1j * grid.bus_shunt_b) * found.voltage**2
    into = into + found.deficit.reshape(len(volts), -1).sum(axis=1) / grid.base_mva
    for bus, power in zip(network.gen_bus, found.power + 1j * found.gen_mvar, strict=True):
        into[bus] += power / grid.base_mva
    for bus, power in zip(water.bus, water.mw_per_flow * found.turn + 1j * found.hydro_mvar, strict=True):
        into[bus] += power / grid.base_mva
    over = [0.0]
    for e, (source, end) in enumerate(zip(network.branch_from, network.branch_to, strict=True)):
        ratio = grid.branch_tap[e] * np.exp(1j * grid.branch_shift[e])
        inner = volts[source] / ratio  # behind the ideal transformer
        along = (inner - volts[end]) / (grid.branch_r[e] + 1j * grid.branch_x[e])
        begin = along + inner * (grid.branch_g_from[e] + 1j * grid.branch_b_from[e])
        finish = -along + volts[end] * (grid.branch_g_to[e] + 1j * grid.branch_b_to[e])
        sent, taken = inner * np.conj(begin), volts[end] * np.conj(finish)
        assert sent * grid.base_mva == pytest.approx(found.flow[e] + 1j * found.flow_mvar[e], abs=1e-6)
        assert taken * grid.base_mva == pytest.approx(found.flow_to[e] + 1j * found.flow_to_mvar[e], abs=1e-6)
        into[source] -= sent
        into[end] -= taken
        apart = found.angle[source] - found.angle[end]
        over += [abs(sent) - grid.branch_rate[e], abs(taken) - grid.branch_rate[e]]
        over += [apart - grid.branch_angle_max[e], grid.branch_angle_min[e] - apart]
    over += [*(found.voltage - grid.bus_v_max), *(grid.bus_v_min - found.voltage)]
    return float(np.abs(into).max()), float(max(over))


def drawn_stage(instance, rng):
    """Return volumes before, what flows in, and targets that can be reached."""
    water, k = instance.reservoirs, instance.hm3_per_flow
    volume = water.max_hm3 * rng.uniform(0.2, 0.8, len(water.names))
    arriving = instance.inflows[rng.integers(len(instance.inflows)), 0] * k
    return volume, arriving, np.clip(volume + arriving - k * water.max_turn * rng.uniform(0.3, 0.7), 0, water.max_hm3)


@pytest.mark.parametrize("name", ["case3", "bolivia"])
def test_a_stage_keeps_kirchhoffs_laws(name):
    """To 1e-6 pu, at targets and with cuts, from scratch and from another stage's point."""
    instance, rng = orl.load(f"hydrothermal/{name}", settings={"network": "ac"}), np.random.default_rng(3)
    stage, start, count = AcStage(instance), None, len(instance.reservoirs.names)
    cuts = Cuts(rng.uniform(2e3, 3e3, 50), -rng.uniform(0, 20, (50, count)))
    for k in range(6):
        volume, arriving, target = drawn_stage(instance, rng)
        aim = {"target": target} if k % 2 else {"cuts": cuts}
        found = stage.solve(k, volume, arriving, start=start, **aim)
        missed, over = residual(instance, found)
        assert found.is_solved and missed < 1e-6 and over < 1e-6
        assert (found.flow + found.flow_to > -1e-6).all()  # branches lose power
        if k % 2:
            assert found.distance.max() < 1e-6 and found.value == pytest.approx(found.cost, rel=1e-6)
        else:
            assert found.value == pytest.approx(found.cost + cuts.at(found.volume).max(), rel=1e-9)
        start = found.point


@pytest.mark.parametrize("name", ["case3", "bolivia"])
def test_duals_are_derivatives(name):
    """Against central differences, at targets within reach and with cuts."""
    instance, rng = orl.load(f"hydrothermal/{name}", settings={"network": "ac"}), np.random.default_rng(1)
    stage, count = AcStage(instance), len(instance.reservoirs.names)
    volume, arriving, target = drawn_stage(instance, rng)
    cuts = Cuts(rng.uniform(2e3, 3e3, 50), -rng.uniform(0, 20, (50, count)))
    at_target, with_cuts = stage.solve(0, volume, arriving, target), stage.solve(0, volume, arriving, cuts=cuts)

    def slope(of, start, step):
        return (of(step, start.point).value - of(-step, start.point).value) / (2 * np.abs(step).sum())

    checked = 0
    size = instance.reservoirs.max_hm3
    for r in np.flatnonzero((target > 0.05 * size) & (target < 0.95 * size)):
        step = np.zeros(count)
        step[r] = 1e-4 * size[r]
        for duals, found, of in (
            (at_target.state_duals, at_target, lambda d, p: stage.solve(0, volume + d, arriving, target, start=p)),
            (at_target.target_duals, at_target, lambda d, p: stage.solve(0, volume, arriving, target + d, start=p)),
            (with_cuts.state_duals, with_cuts, lambda d, p: stage.solve(0, volume + d, arriving, cuts=cuts, start=p)),
        ):
            assert slope(of, found, step) == pytest.approx(duals[r], rel=1e-3, abs=0.05)
            checked += 1
    assert checked >= 3


def test_where_a_solve_begins_changes_nothing():
    """A warm start needs fewer iterations and finds the same value; so does a stage that was pickled."""
    instance, rng = orl.load("hydrothermal/bolivia", settings={"network": "ac"}), np.random.default_rng(5)
    stage, iterations = AcStage(instance), []
    start = stage.solve(0, *drawn_stage(instance, rng)).point
    for _ in range(5):
        asked = drawn_stage(instance, rng)
        cold, warm = stage.solve(0, *asked), pickle.loads(pickle.dumps(stage)).solve(0, *asked, start=start)
        assert cold.is_solved and warm.is_solved and warm.value == pytest.approx(cold.value, rel=1e-6)
        assert stage.solve(0, *asked, start=start).value == warm.value
        iterations.append((cold.iterations, warm.iterations))
        start = warm.point
    cold_all, warm_all = np.sum(iterations, axis=0)
    assert warm_all < 0.8 * cold_all


def test_many_cuts_that_meet_grow_the_block(monkeypatch):
    """A smooth future made of 400 tangents: the cut of the value found is the highest of all."""
    monkeypatch.setattr("orl.problems.hydrothermal.ac.BLOCK", 2)
    monkeypatch.setattr("orl.problems.hydrothermal.ac.ROUNDS", 1)
    instance = orl.load("hydrothermal/bolivia", settings={"network": "ac"})
    rng, size = np.random.default_rng(2), instance.reservoirs.max_hm3
    points = rng.uniform(0, 1, (400, len(size))) * size
    slopes = (points - size) * 0.5
    cuts = Cuts(3e3 + (0.25 * (points - size) ** 2).sum(axis=1) - (slopes * points).sum(axis=1), slopes)
    stage = AcStage(instance)
    found = stage.solve(0, 0.5 * size, 0.0 * size, cuts=cuts)
    assert max(stage._programs) > 2
    assert found.is_solved and found.value == pytest.approx(found.cost + cuts.at(found.volume).max(), rel=1e-9)


def test_a_target_out_of_reach_is_met_as_nearly_as_can_be():
    instance = orl.load("hydrothermal/case3", settings={"network": "ac"})
    full = np.array(instance.reservoirs.max_hm3)
    found = AcStage(instance).solve(0, np.zeros(1), np.array([0.1]), full)
    assert found.is_solved
    assert found.volume == pytest.approx([0.1], abs=1e-5) and found.turn == pytest.approx([0], abs=1e-4)
    assert found.cost == pytest.approx(AcStage(instance).solve(0, np.zeros(1), np.zeros(1)).cost, rel=1e-4)


def test_the_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "casadi", None)
    with pytest.raises(InputError, match=r"^network=ac needs CasADi, which the extra power brings: pip install .*\.$"):
        AcStage(orl.load("hydrothermal/case3", settings={"network": "ac"}))


# Hindsight ----------------------------------------------------------------------------------------------------------


def published_path(stages):
    """Return the Bolivian system and the second column of its protocol."""
    more = {"network": "ac", "panel": "protocol", "stages": stages, "reported_stages": stages}
    instance = orl.load("hydrothermal/bolivia", settings=more)
    return instance, HYDRO.sample(instance, 0, Purpose.EVALUATE, 2)[1]


def test_hindsight_of_a_path_is_a_dispatch_that_costs_what_it_says():
    """And less than the myopic rule on the same path."""
    instance, scenario = published_path(6)
    found = estimate(instance, scenario)
    report = HYDRO.verify(instance, scenario, found.dispatch)
    assert found.is_solved and report.is_feasible and report.cost == pytest.approx(found.value, rel=1e-9)
    rule = orl.solve(instance, solver="myopic", scenarios=2)
    assert rule.verified and found.value < rule.costs[1]


def test_exact_shows_the_estimate_beside_the_proven_bound():
    """The value is that of the local optimum, verified; the bound the relaxation's, below it but not far."""
    result = orl.solve(published_path(3)[0], solver="exact", scenarios=2)
    assert result.verified and result.bound_kind == "hindsight-mean" and result.status == "feasible"
    assert result.costs[1] == pytest.approx(estimate(*published_path(3)).value, rel=1e-9)
    assert 0.99 * result.value < result.bound <= result.value


@pytest.mark.slow
def test_hindsight_of_96_stages():
    """A value found independently, with looser limits (a relative 1e-8) and tolerance (1e-7)."""
    found = estimate(*published_path(96))
    assert found.is_solved and found.value == pytest.approx(314548.2028, rel=2e-6)


# Stages of the graph as they are -------------------------------------------------------------------------------------


def test_nodes_are_operated_as_the_process_does():
    """The decision with cuts is a target that the process reaches at the same cost, from whatever start."""
    instance, rng = half_full(3), np.random.default_rng(4)
    graph = staged(instance)
    operate = pickle.loads(pickle.dumps(graph.operate))
    process = HYDRO.process([instance], [HYDRO.sample(instance, 0, Purpose.SELECT, 1)[0]])
    memory = None
    for _ in range(3):
        observation = process.observe()
        seen = graph.seen(observation, 0)
        intercepts, slopes = rng.uniform(2e3, 3e3, 30), -rng.uniform(0, 20, (30, 11))
        done = operate(seen.node, seen.state, seen.noise, intercepts, slopes, memory=memory)
        again = graph.operate(seen.node, seen.state, seen.noise, intercepts, slopes, near=done.outgoing)
        futures = [float((intercepts + slopes @ one.outgoing).max()) for one in (done, again)]
        assert done.cost + futures[0] == pytest.approx(again.cost + futures[1], rel=1e-6)
        cost = process.decide(graph.action(done.outgoing, observation, 0)[None])
        assert cost[0] == pytest.approx(done.cost, rel=1e-5, abs=0.1)
        process.reveal()
        memory = done.memory
    assert staged(orl.load("hydrothermal/case3")).operate is None


# Drawn grids ---------------------------------------------------------------------------------------------------------


def drawn_system(rng, buses):
    """Return a ring of buses with a reservoir, a cheap and a dear plant, and loads that branches can just carry."""
    branches = buses if buses > 2 else 1
    source, end = np.arange(branches), (np.arange(branches) + 1) % buses
    rate, zeros = rng.uniform(0.25, 0.6, branches), np.zeros(branches)
    load, charging = rng.uniform(0, 0.4, buses), rng.uniform(0, 0.05, branches)
    grid = Grid(
        base_mva=100.0, branch_r=rng.uniform(0, 0.1, branches), branch_x=rng.uniform(0.05, 0.3, branches),
        branch_g_from=zeros, branch_b_from=charging, branch_g_to=zeros + 0.001, branch_b_to=charging,
        branch_tap=rng.uniform(0.98, 1.02, branches), branch_shift=rng.uniform(-0.02, 0.02, branches), branch_rate=rate,
        branch_angle_min=zeros - 1, branch_angle_max=zeros + 1,
        bus_v_min=np.full(buses, 0.9), bus_v_max=np.full(buses, 1.1),
        bus_shunt_g=rng.uniform(0, 0.01, buses), bus_shunt_b=rng.uniform(-0.05, 0.05, buses),
        load_mvar=100 * rng.uniform(-0.2, 0.3, (1, buses)) * load,
        gen_min_mvar=np.array([-30.0, -20.0]), gen_max_mvar=np.array([30.0, 20.0]),
        hydro_min_mvar=np.array([-40.0]), hydro_max_mvar=np.array([40.0]),
    )  # fmt: skip
    network = Network(
        bus_names=tuple("abcd"[:buses]), load_mw=100 * load[None], gen_names=("cheap", "dear"),
        gen_bus=rng.integers(buses, size=2), gen_min_mw=np.zeros(2), gen_max_mw=rng.uniform(10, 60, 2),
        gen_cost=np.array([10.0, 40.0]), branch_from=source, branch_to=end, branch_min_mw=-100 * rate,
        branch_max_mw=100 * rate, branch_cost=zeros, branch_mw_per_rad=None, deficit_cost=np.array([500.0]),
        deficit_share=np.array([np.inf]), reference_bus=int(rng.integers(buses)), grid=grid,
    )  # fmt: skip
    no = np.zeros((1, 1), dtype=bool)
    water = Reservoirs(
        ("lake",), rng.integers(buses, size=1), np.zeros(1), np.ones(1), np.full(1, 0.5), np.zeros(1), np.full(1, 50.0),
        np.ones(1), np.ones(1), np.zeros(1), no, no,
    )  # fmt: skip
    settings = HydroThermalSettings(network="ac")
    return HydroThermal("drawn", network, water, np.full((1, 1, 1), 10.0), np.ones((1, 1)), 1.0, settings)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), buses=st.integers(2, 4))
def test_drawn_grids_keep_the_laws_and_cost_no_less_than_without_losses(seed, buses):
    """Half the apparent power that goes in and out of a branch is a flow within its limits, what it loses a load at its
    ends: so transport without losses is a relaxation. (A linear flow along angles, network=dc, is none.)
    """
    instance = drawn_system(np.random.default_rng(seed), buses)
    free = replace(instance, settings=HydroThermalSettings(network="transport"))
    for target in (0.2, 0.5):
        volume, arriving, aim = np.full(1, 0.5), np.full(1, 0.036), np.full(1, target)
        found = AcStage(instance).solve(0, volume, arriving, aim)
        missed, over = residual(instance, found)
        assert found.is_solved and missed < 1e-6 and over < 1e-6
        assert Dispatcher(free).execute(0, volume, arriving, aim).cost <= found.cost + 1e-4
        assert staged(instance).operate(0, volume, arriving, np.zeros(1), np.zeros((1, 1))).cost <= found.cost + 1e-3


# SDDP ----------------------------------------------------------------------------------------------------------------


def test_sddp_decides_in_alternating_current_and_its_bound_is_proven():
    """Of one path: bound of the relaxation <= optimum in hindsight (an estimate) <= what the policy costs."""
    instance = orl.load("hydrothermal/case3deterministic", settings={"network": "ac", "stages": 6})
    result = orl.solve(instance, solver="sddp", settings={"iterations": 15})
    known = estimate(instance, HYDRO.sample(instance, 0, Purpose.EVALUATE, 1)[0])
    assert result.verified and result.bound_kind == "proven" and known.is_solved
    assert result.bound <= known.value * (1 + 1e-6) and known.value <= result.value * (1 + 1e-6)
    assert result.value <= known.value * 1.05
    with pytest.raises(InputError, match="multi_cut=true is for stages that are the process's own"):
        orl.solve(instance, solver="sddp", settings={"iterations": 2, "multi_cut": True})


@pytest.mark.parametrize("name", ["case3", "bolivia"])
def test_cuts_never_exceed_values_in_alternating_current(name):
    """Of the last stage, over all its noises, at drawn states; and they come near."""
    case = orl.load("hydrothermal/case3", settings={"network": "ac", "stages": 3}) if name == "case3" else half_full(3)
    graph, rng = staged(case), np.random.default_rng(5)
    sddp = Sddp(graph.graph, operate=graph.operate)
    for _ in range(12):
        sddp.iterate(rng)
    last, pool = graph.graph.stages[-1], sddp.nodes[-2].pools[0]
    low, high = last.lower[last.outgoing], last.upper[last.outgoing]
    nearest = np.inf
    for share in rng.uniform(0.05, 0.95, 6):
        state = low + share * (high - low)
        costs = [
            graph.operate(len(graph.graph.stages) - 1, state, last.raised(state, noise), *sddp.nodes[-1].future()).cost
            for noise in range(len(last.probabilities))
        ]
        height, value = float((pool.intercepts + pool.gradients @ state).max()), float(last.probabilities @ costs)
        assert height <= value * (1 + 1e-6)
        nearest = min(nearest, value - height)
    assert nearest <= 0.3 * value


@pytest.mark.parametrize("network", ["soc", "ac"])
def test_rolling_plans_with_the_relaxation(network):
    """The first plan's program once came to no end: HiGHS made no iteration more from the basis that it had."""
    settings = {"network": network, "stages": 4, "replan_time": 10.0}
    result = orl.solve("hydrothermal/case3", solver="rolling", settings=settings, scenarios=2)
    assert result.verified and result.value > 0
