"""Hydrothermal dispatch: published values, the authors' own stage problem, the verifier, and bad input."""

import json
import pickle
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from test_sddp import equivalent

import orl
from orl import registry
from orl.api import policy_of
from orl.cli import main
from orl.errors import InputError
from orl.files import instance_folder
from orl.linear import LinearProgram
from orl.problems.hydrothermal.formats import load
from orl.problems.hydrothermal.instance import Autoregression
from orl.problems.hydrothermal.plans import Dispatch
from orl.problems.hydrothermal.process import Dispatcher
from orl.problems.hydrothermal.stages import columns, stages
from orl.scenario import Purpose
from orl.simulate import simulate
from orl.solvers.sddp import SddpSettings
from orl.solvers.sddp.train import Sddp, train

HYDRO = registry.find_problem("hydrothermal")


def bound_of(instance, iterations):
    sddp = Sddp(stages(instance))
    return train(sddp, np.random.default_rng(0), lambda log: len(log) >= iterations, time.perf_counter)[-1].bound


@pytest.mark.parametrize(
    ("name", "value"), [("case3deterministic", 11000.0), ("case3deterministic_nowater", 39010.144)]
)
def test_published_deterministic_values(name, value):
    """HydroPowerModels.jl, examples/HydroValleys; to their tolerance of 0.01."""
    result = orl.solve(f"hydrothermal/{name}", settings={"iterations": 30})
    assert result.verified and result.bound_kind == "proven"
    assert result.value == pytest.approx(value, abs=0.01) and result.bound == pytest.approx(value, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("probabilities", "value"), [("file", 11306.08), ("uniform", 11342.64)])
def test_the_bound_of_case3_by_both_readings_of_its_weights(probabilities, value):
    """Values found independently for the same stages. They are bounds of a training that had not ended: ours pass them
    and come to rest at 11306.35 and 11342.73.
    """
    instance = orl.load("hydrothermal/case3", settings={"probabilities": probabilities})
    assert value <= bound_of(instance, 700) <= value + 0.5


def test_the_bound_of_a_short_case3_is_its_deterministic_equivalent():
    instance = orl.load("hydrothermal/case3", settings={"stages": 5})
    assert bound_of(instance, 250) == pytest.approx(equivalent(stages(instance)), rel=1e-5)


@pytest.mark.parametrize("network", ["dc", "single-bus"])
def test_the_contract_holds_on_the_published_system(network):
    from orl import testing

    instance = orl.load("hydrothermal/bolivia", settings={"network": network, "stages": 6, "reported_stages": 4})
    testing.check_problem(HYDRO, instance)


def test_bolivia_is_read_as_published():
    instance = orl.load("hydrothermal/bolivia")
    assert instance.hm3_per_flow == pytest.approx(0.6048)
    assert instance.network.load_mw.sum() == pytest.approx(482.53, abs=0.01)
    assert instance.inflows.shape == (48, 15, 11) and instance.num_stages == 126
    assert not instance.reservoirs.initial_hm3.any()
    names = instance.reservoirs.names
    falls = {(names[i], names[j]) for i, j in zip(*np.nonzero(instance.reservoirs.turn_into), strict=True)}
    assert falls == {("COR", "SIS"), ("ZON", "CHU"), ("TAQ1", "TAQ2")}
    spills = {(names[i], names[j]) for i, j in zip(*np.nonzero(instance.reservoirs.spill_into), strict=True)}
    assert spills == falls - {("COR", "SIS")}


def test_hindsight_is_a_bound_on_every_policy_of_a_path():
    instance = orl.load("hydrothermal/case3")
    hindsight = orl.solve(instance, "exact", scenarios=4)
    policy = orl.solve(instance, "sddp", settings={"iterations": 40}, scenarios=4)
    assert hindsight.verified and hindsight.bound_kind == "hindsight-mean" and hindsight.clairvoyant
    assert hindsight.bound == pytest.approx(hindsight.value, rel=1e-7)
    assert all(best <= cost + 1e-6 for best, cost in zip(hindsight.costs, policy.costs, strict=True))
    known = orl.solve("hydrothermal/case3deterministic", "exact")
    assert known.status == "optimal" and known.value == pytest.approx(11000.0, abs=0.01)


def test_a_stage_reaches_targets_as_nearly_as_can_be():
    instance = orl.load("hydrothermal/case3")
    dispatcher, at = Dispatcher(instance), columns(instance)
    full = dispatcher.execute(0, np.array([0.18]), np.array([0.1]), np.array([0.54]))
    assert full.columns[at.after][0] == pytest.approx(0.28) and full.columns[at.turn][0] == pytest.approx(0)
    exact = dispatcher.execute(0, np.array([0.18]), np.array([0.1]), np.array([0.2]))
    assert exact.columns[at.after][0] == pytest.approx(0.2)
    empty = dispatcher.execute(0, np.array([0.54]), np.array([0.4]), np.array([0.0]))
    assert empty.columns[at.after][0] == pytest.approx(0) and empty.columns[at.spill][0] > 0


def test_the_price_of_a_target_is_no_part_of_the_cost():
    """The same volumes cost the same, asked for or run into."""
    instance = orl.load("hydrothermal/bolivia", settings={"stages": 3, "reported_stages": 3})
    scenario = HYDRO.sample(instance, 0, Purpose.EVALUATE, 1)[0]
    full = np.tile(instance.reservoirs.max_hm3, (1, 1))
    process = HYDRO.process([instance], [scenario])
    asked = process.decide(full)[0]
    reached = process.solution(0).volume[-1][None]
    process.reset()
    assert process.decide(reached)[0] == pytest.approx(asked, rel=1e-6)


def test_relabelling_reservoirs_changes_nothing():
    instance = orl.load("hydrothermal/bolivia", settings={"stages": 4, "reported_stages": 4})
    order = np.random.default_rng(0).permutation(11)
    water = instance.reservoirs
    moved = {
        key: tuple(np.array(value)[order]) if key == "names" else value[order]
        for key, value in vars(water).items()
        if key not in ("turn_into", "spill_into")
    }
    tables = {key: getattr(water, key)[np.ix_(order, order)] for key in ("turn_into", "spill_into")}
    other = replace(instance, reservoirs=replace(water, **moved, **tables), inflows=instance.inflows[:, :, order])
    assert bound_of(other, 4) == pytest.approx(bound_of(instance, 4), rel=2e-3)
    certain = [replace(one, inflows=one.inflows[:, :1], probabilities=np.ones((48, 1))) for one in (instance, other)]
    values = [bound_of(one, 15) for one in certain]
    assert values[0] == pytest.approx(values[1], rel=1e-7)


def test_the_protocol_is_played_column_by_column():
    instance = orl.load("hydrothermal/bolivia", settings={"panel": "protocol"})
    from orl.problems.hydrothermal.scenario import realise

    scenarios = HYDRO.sample(instance, 7, Purpose.EVALUATE, 500)
    protocol = np.loadtxt(instance_folder("hydrothermal") / "bolivia" / "protocol.csv", delimiter=",", dtype=int)
    for place in (0, 1, 499):
        expected = instance.inflows[np.arange(126) % 48, protocol[:, place] - 1]
        assert (realise(instance, scenarios[place]) == expected).all()
    with pytest.raises(InputError, match="500 scenarios, not 501"):
        HYDRO.sample(instance, 0, Purpose.EVALUATE, 501)
    drawn = realise(instance, HYDRO.sample(instance, 0, Purpose.SELECT, 1)[0])
    assert (drawn != realise(instance, scenarios[0])).any()


def test_drawn_scenarios_come_as_often_as_their_probabilities_say():
    from orl.problems.hydrothermal.scenario import realise

    instance = orl.load("hydrothermal/case3")
    inflows = np.stack([realise(instance, one)[:, 0] for one in HYDRO.sample(instance, 1, Purpose.EVALUATE, 400)])
    for stage in range(12):
        shares = [(inflows[:, stage] == value).mean() for value in instance.inflows[stage, :, 0]]
        assert np.allclose(shares, [0.3, 0.4, 0.3], atol=0.1)


def broken(dispatch, key, stage, place, by):
    table = {name: value.copy() for name, value in vars(dispatch).items()}
    table[key][stage, place] += by
    return Dispatch(**table)


@pytest.mark.parametrize(
    ("key", "by", "kinds"),
    [
        ("volume", -0.5, {"water"}),
        ("turn", 1.0, {"water", "power"}),
        ("spill", 1.0, {"water"}),
        ("power", 5.0, {"power"}),
        ("deficit", -2.0, {"power", "limit"}),
        ("flow", 3.0, {"flow", "power"}),
        ("angle", 0.1, {"flow"}),
    ],
)
def test_the_verifier_finds_what_is_wrong(key, by, kinds):
    instance = orl.load("hydrothermal/bolivia", settings={"stages": 3, "reported_stages": 3})
    result = orl.solve(instance, "sddp", settings={"iterations": 3}, scenarios=1)
    scenario = HYDRO.sample(instance, 0, Purpose.EVALUATE, 1)[0]
    report = HYDRO.verify(instance, scenario, broken(result.solutions[0], key, 1, 4, by))
    assert kinds <= {violation.kind for violation in report.violations}


def test_paths_of_ones_own_and_settings(tmp_path):
    path = tmp_path / "dry.csv"
    path.write_text("\n".join(["10"] * 12))
    dry = orl.solve("hydrothermal/case3", settings={"inflows": str(path), "iterations": 20})
    out = tmp_path / "dry.json"
    arguments = ["solve", "hydrothermal/case3", "--inflows", str(path), "--set", "iterations=20", "--out", str(out)]
    assert main(arguments) == 0 and json.loads(out.read_text())["value"] == dry.value
    assert dry.verified and dry.scenarios == 1 and dry.bound is None
    wet = orl.solve("hydrothermal/case3deterministic", settings={"iterations": 20})
    assert dry.value > wet.value
    more = orl.solve("hydrothermal/case3deterministic", settings={"iterations": 20, "load_factor": 1.1})
    assert more.value > wet.value
    single = orl.solve("hydrothermal/case3deterministic", settings={"iterations": 20, "network": "single-bus"})
    assert single.value <= wet.value + 1e-6
    for_ever = orl.load("hydrothermal/case3", settings={"horizon": "periodic", "discount": 0.9})
    assert orl.solve(for_ever, "sddp", settings={"iterations": 10}, scenarios=3).bound is None


def test_a_policy_is_pickled_and_answers_alike_whatever_was_asked_before():
    """Bit for bit, in another order, from several threads, and from its copy; training's own programs do not."""
    instance = orl.load("hydrothermal/bolivia", settings={"stages": 6, "reported_stages": 6})
    policy = policy_of(HYDRO, instance, "sddp", SddpSettings(iterations=12))
    scenarios = list(HYDRO.sample(instance, 0, Purpose.EVALUATE, 8))
    process, questions, answers = HYDRO.process([instance] * 8, scenarios), [], []
    for _ in range(6):
        seen = process.observe()
        questions.append(replace(seen, arrays={k: v.copy() for k, v in seen.arrays.items()}, legal=seen.legal.copy()))
        answers.append(policy.decide(seen, None)[0])
        process.decide(answers[-1])
        process.reveal()
    again = pickle.loads(pickle.dumps(policy))
    for other in (policy, again):
        for question, answer in zip(questions[::-1], answers[::-1], strict=True):
            assert (other.decide(question, None)[0] == answer).all()
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda place, other=other: other.decide(questions[place % 6], None)[0], range(48))
            assert all((one == answers[place % 6]).all() for place, one in enumerate(found))


def test_scenarios_cost_the_same_in_any_batch():
    instance = orl.load("hydrothermal/bolivia", settings={"stages": 4, "reported_stages": 4})
    policy = policy_of(HYDRO, instance, "sddp", SddpSettings(iterations=8))
    rows = HYDRO.sample(instance, 0, Purpose.EVALUATE, 5)
    costs = [simulate(HYDRO, instance, replace(policy, batch=size), rows).costs.tolist() for size in (1, 5)]
    assert costs[0] == costs[1]


def test_settings_that_end_training_early(capsys):
    case = "hydrothermal/case3"
    short = orl.solve(case, settings={"iterations": 2000, "simulate_every": 20, "simulations": 50}, scenarios=2)
    assert short.metrics["iterations"] < 2000 and short.metrics["iterations"] % 20 == 0
    assert short.metrics["simulated_low"] <= short.bound <= short.metrics["simulated_high"]
    stalled = orl.solve(case, settings={"iterations": 2000, "stall": 5, "stall_tolerance": 0.01}, scenarios=2)
    assert stalled.metrics["iterations"] < 2000
    with pytest.raises(InputError, match="simulate_every is for risk=expectation"):
        orl.solve(case, settings={"simulate_every": 5, "risk": "avar"})


def test_progress_tells_bound_and_costs_of_passes_and_takes_neither_for_what_it_is_not(capsys):
    """Simulated costs are no incumbent, and with a risk measure the value of the beginning is no bound on the mean."""
    settings = {"iterations": 10**6}
    plain = orl.solve("hydrothermal/case3", settings=settings, scenarios=1, time_limit=4, verbose=True)
    assert re.search(r"s  best -  bound \d+.*  last \d+ passes \d+", capsys.readouterr().err)
    assert plain.trace and all(value is None for _, value, _ in plain.trace)
    careful = orl.solve(
        "hydrothermal/case3", settings={**settings, "risk": "avar"}, scenarios=1, time_limit=4, verbose=True
    )
    assert re.search(r"best -  bound -  sddp_bound \d+.*  last \d+ passes \d+", capsys.readouterr().err)
    assert not careful.trace


def test_cuts_are_kept_and_risk_measures_raise_the_value(tmp_path):
    file = tmp_path / "cuts.json"
    settings = {"iterations": 20, "cuts": str(file)}
    first = orl.solve("hydrothermal/case3", settings=settings, scenarios=2)
    again = orl.solve("hydrothermal/case3", settings={**settings, "iterations": 1}, scenarios=2)
    assert again.metrics["sddp_bound"] >= first.metrics["sddp_bound"] - 1e-6
    careful = orl.solve("hydrothermal/case3", settings={"iterations": 20, "risk": "avar", "share": 0.3}, scenarios=2)
    assert careful.bound is None and careful.metrics["sddp_bound"] > first.metrics["sddp_bound"] + 100
    with pytest.raises(InputError, match="the cuts are of other stages"):
        orl.solve("hydrothermal/case3", settings={**settings, "load_factor": 1.1}, scenarios=1)
    with pytest.raises(InputError, match="the cuts are of other stages"):
        orl.solve("hydrothermal/case3", settings={**settings, "risk": "worst-case"}, scenarios=1)
    low = orl.solve("hydrothermal/case3", settings={**settings, "initial_volumes": (0.0,)}, scenarios=1)
    assert low.metrics["sddp_bound"] > first.metrics["sddp_bound"], "where an episode begins does not matter to cuts"
    file.write_text('{"nodes": []}')
    with pytest.raises(InputError, match="expected cuts of this graph"):
        orl.solve("hydrothermal/case3", settings=settings, scenarios=1)


def test_without_iterations_cuts_decide_as_they_are(tmp_path):
    file = tmp_path / "cuts.json"
    solve = partial(orl.solve, "hydrothermal/case3", scenarios=2)
    with pytest.raises(InputError, match=r"cuts\.json: no such file; iterations=0 needs cuts"):
        solve(settings={"iterations": 0, "cuts": str(file)})
    with pytest.raises(InputError, match="iterations must be >= 1 without cuts"):
        solve(settings={"iterations": 0})
    with pytest.raises(InputError, match="no cuts come with case3 as it is set, some do with: bolivia;"):
        solve(settings={"iterations": 0, "cuts": "shipped"})
    solve(settings={"iterations": 5, "cuts": str(file)})
    written = file.read_bytes()
    found = solve(settings={"iterations": 0, "cuts": str(file)})
    assert found.metrics["iterations"] == 0 and file.read_bytes() == written and found.bound > 0


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "inflows.csv",
            lambda text: text.replace("120,80,40", "120,80"),
            r"inflows\.csv, line 2: expected 2 columns, got 3",
        ),
        ("inflows.csv", lambda text: text.replace("120", "wet"), r"inflows\.csv, line 1: expected numbers"),
        ("inflows.csv", lambda text: text.replace("120", "-1"), r"inflows must be >= 0, got -1"),
        ("scenarioprobability.csv", lambda text: "0.3,0.4,0.3\n", "there must be 12 x 3 probabilities"),
        ("scenarioprobability.csv", lambda text: text.replace("0.4", "0.5"), "row 0 sums to 1.1"),
        ("hydro.json", lambda text: text.replace('"min_volume": 0', '"min_volume": 2'), "expected 0 <= min_hm3"),
        ("hydro.json", lambda text: text.replace('"max_volume"', '"big"'), "'max_volume' is missing"),
        ("hydro.json", lambda text: text[:-20], "expected JSON"),
        ("hydro.json", lambda text: text.replace('"spill_cost": 0', '"spill_cost": -1'), "costs of reservoirs must be"),
        ("PowerModels.json", lambda text: text.replace('"cost_deficit": 1000', '"cost_deficit": -5'), "must be >= 0"),
        ("PowerModels.json", lambda text: text.replace('"load_bus": 3', '"load_bus": 9'), "load 1 is at bus 9"),
        (
            "PowerModels.json",
            lambda text: text.replace('"pmax": 1,', '"pmax": 1e99,'),
            r"between -1e\+12 and 1e\+12, got 1e\+101",
        ),
        (
            "PowerModels.json",
            lambda text: re.sub('"pmin": [0-9.]+', '"pmin": 9', text),
            "expected least power <= largest",
        ),
        ("PowerModels.json", lambda text: re.sub('"baseMVA": [0-9.]+', '"baseMVA": 0', text), "zero where one divides"),
    ],
)
def test_bad_files_give_one_line(tmp_path, capsys, file, change, message):
    folder = tmp_path / "case"
    shutil.copytree(instance_folder("hydrothermal") / "case3", folder)
    text = (folder / file).read_text()
    if file.endswith(".json"):
        text = json.dumps(json.loads(text))
    assert change(text) != text
    (folder / file).write_text(change(text))
    with pytest.raises(InputError, match=message):
        load(folder)
    assert main(["solve", str(folder)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_records_made_by_hand_are_checked():
    """A path of NaN, or of one column too many, was played; files are checked before."""
    case = orl.load("hydrothermal/case3")
    for path, message in ((np.full((12, 1), np.nan), "must be of numbers"), (np.full((12, 1), 1e300), "at most 1e.12"),
                          (np.zeros((12, 2)), "must have 1 columns")):  # fmt: skip
        with pytest.raises(orl.InputError, match=message):
            replace(case, path=path)
    system = orl.load("hydrothermal/brazil", settings={"inflow_model": "autoregressive"})
    with pytest.raises(orl.InputError, match="base: expected numbers"):
        Autoregression(np.full((12, 4), np.nan), np.zeros((12, 4)))
    with pytest.raises(orl.InputError, match=r"must be of 12 rows x 4, got \(11, 4\) and \(12, 4\)"):
        replace(system, autoregression=Autoregression(np.zeros((11, 4)), np.zeros((12, 4))))


def test_a_toml_names_folder_and_settings(tmp_path):
    shutil.copytree(instance_folder("hydrothermal") / "case3", tmp_path / "data")
    file = tmp_path / "mine.toml"
    file.write_text('problem = "hydrothermal"\nfolder = "data"\nstages = 24\nload_factor = 0.5\n')
    instance = orl.load(file)
    assert (instance.name, instance.num_stages, instance.network.load_mw.sum()) == ("mine", 24, 50.0)
    assert orl.load(file, settings={"stages": 3}).num_stages == 3
    for text, message in (
        ('problem = "hydrothermal"\nfolder = "nowhere"', "there is no folder 'nowhere'"),
        ('problem = "hydrothermal"\nfolder = "data"\nstagse = 3', "stagse"),
        (
            'problem = "hydrothermal"\nfolder = "data"\nnetwork = "hvdc"',
            "setting network: expected dc or ac or soc or",
        ),
        ('problem = "hydrothermal"\nfolder = "data"\ninitial_volumes = [9]', "initial volume must be in 0..0.54"),
        ('problem = "hydrothermal"\nfolder = "data"\nstages = [', "expected TOML"),
        ('problem = "hydrothermal"\nfolder = "data"\ninflow_model = "autoregressive"', "no autoregression"),
        ('problem = "hydrothermal"\nfolder = "data"\ninflows = "nowhere.csv"', r"nowhere\.csv"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            orl.load(file)


def test_a_plan_is_checked_from_its_file(tmp_path):
    file = tmp_path / "plan.csv"
    assert main(["solve", "hydrothermal/case3deterministic", "--set", "iterations=20", "--out", str(file)]) == 0
    assert main(["check", "hydrothermal/case3deterministic", str(file)]) == 0
    rows = file.read_text().splitlines()
    assert rows[0].startswith("scenario,") or "volume 1 (hm3)" in rows[0]
    file.write_text("\n".join([rows[0], *(row.replace("0.", "9.", 1) for row in rows[1:])]))
    assert main(["check", "hydrothermal/case3deterministic", str(file)]) in (1, 2)


def test_the_duals_of_volumes_are_water_values():
    """One more hm3 in the reservoir saves what the dual says."""
    graph = stages(orl.load("hydrothermal/case3deterministic_nowater", settings={"stages": 1}))
    stage = graph.stages[0]
    program = LinearProgram(
        stage.cost, stage.lower, stage.upper, stage.matrix, stage.row_lower, stage.row_upper, "one stage"
    )
    raised = stage.noises[0]
    program.set_rows(
        stage.noise_rows, stage.row_lower[stage.noise_rows] + raised, stage.row_upper[stage.noise_rows] + raised
    )

    def value(volume):
        program.set_columns(stage.incoming, [volume], [volume])
        return program.solve()

    dual = value(0.001).reduced_costs[stage.incoming][0]
    assert dual == pytest.approx((value(0.0011).value - value(0.0009).value) / 0.0002, rel=1e-6) and dual < 0


def test_packaged_systems_are_listed_and_carry_their_licence(capsys):
    assert main(["list", "instances"]) == 0
    listed = capsys.readouterr().out
    for name in ("bolivia", "case3", "case3deterministic", "case3deterministic_nowater"):
        assert f"hydrothermal/{name}" in listed
        assert (Path(instance_folder("hydrothermal")) / name / "LICENSE.txt").is_file()


@pytest.mark.parametrize("solver", ["sddp", "myopic", "rolling"])
def test_flows_that_ask_for_more_water_than_there_is_give_one_line(tmp_path, capsys, solver):
    folder = tmp_path / "case"
    shutil.copytree(instance_folder("hydrothermal") / "case3", folder)
    text = (folder / "hydro.json").read_text()
    (folder / "hydro.json").write_text(text.replace('"min_turn": 0', '"min_turn": 70'))
    assert main(["solve", str(folder), "--solver", solver, "--scenarios", "3"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and "infeasible" in said.splitlines()[-1]


def test_a_toml_finds_a_path_beside_it(tmp_path, monkeypatch):
    shutil.copytree(instance_folder("hydrothermal") / "case3", tmp_path / "plans" / "data")
    (tmp_path / "plans" / "dry.csv").write_text("\n".join(["10"] * 12))
    file = tmp_path / "plans" / "mine.toml"
    file.write_text('problem = "hydrothermal"\nfolder = "data"\ninflows = "dry.csv"\n')
    monkeypatch.chdir(tmp_path)
    assert (orl.load(file).path == 10).all()


def test_least_lengths_and_what_a_format_lacks():
    with pytest.raises(InputError, match="this format has no protocol"):
        orl.load("hydrothermal/brazil", settings={"panel": "protocol"})
    instance = orl.load("hydrothermal/case3")
    with pytest.raises(InputError, match="stage_hours must be > 0"):
        replace(instance, stage_hours=0.0)
