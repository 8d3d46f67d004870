"""The Brazilian system: published value, autoregressive inflows, deficit in segments, transport, bad files."""

import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from test_hydrothermal import bound_of
from test_sddp import equivalent

import orl
from orl import registry, testing
from orl.cli import main
from orl.errors import InputError
from orl.files import instance_folder
from orl.problems.hydrothermal.formats import load
from orl.problems.hydrothermal.scenario import realise
from orl.problems.hydrothermal.stages import columns, stages
from orl.scenario import Purpose
from orl.solvers.sddp.train import Sddp, train

HYDRO = registry.find_problem("hydrothermal")
PUBLISHED = (39717.564, 6632.5141, 15897.183, 2525.2938)  # inflows behind the printed optimum of the example
AUTOREGRESSIVE = {"inflow_model": "autoregressive", "noise_samples": 3}


def brazil(**settings):
    return orl.load("hydrothermal/brazil", settings=settings)


def test_the_bound_of_three_stages_comes_to_the_published_value_from_below():
    """782309.1878 on the extensive form, msppy's example; 82 years, of which each stage's is drawn apart."""
    instance = brazil(stages=3, initial_inflows=PUBLISHED)
    assert instance.inflows.shape == (12, 82, 4), "1983 is not whole"
    assert 782309.19 * (1 - 5e-4) < bound_of(instance, 30) <= 782309.19
    shipped = bound_of(brazil(stages=3), 30)
    assert 767742.62 * (1 - 5e-4) < shipped < 767760, "the file's own inflow is another problem"


@pytest.mark.slow
def test_three_stages_converge():
    assert bound_of(brazil(stages=3, initial_inflows=PUBLISHED), 400) == pytest.approx(782309.19, abs=1.0)


@pytest.mark.parametrize("settings", [{}, AUTOREGRESSIVE, {"network": "single-bus"}])
def test_the_contract_holds(settings):
    testing.check_problem(HYDRO, brazil(stages=14, **settings))


def test_autoregressive_inflows_are_those_of_the_formula():
    instance = brazil(stages=15, inflow_model="autoregressive")
    inflows = realise(instance, HYDRO.sample(instance, 0, Purpose.EVALUATE, 1)[0])
    folder = instance_folder("hydrothermal") / "brazil"
    mean, gamma = (np.loadtxt(folder / f"{name}.csv", delimiter=",", skiprows=1)[:, 1:] for name in ("exp_mu", "gamma"))
    assert inflows[0].tolist() == [55899.53854, 7237.840244, 14156.975, 10551.62268]
    for stage in range(1, 15):
        now, before = stage % 12, (stage - 1) % 12
        expected = (1 - gamma[now]) * mean[now] + gamma[now] * mean[now] / mean[before] * inflows[stage - 1]
        error = np.log(inflows[stage] / expected)
        known = np.log(instance.inflows[now])
        assert np.isclose(known, error).all(axis=1).any(), "one of the errors of the month, of all regions together"


def test_errors_have_the_covariances_of_the_files():
    instance = brazil(inflow_model="autoregressive", noise_samples=4000)
    folder = instance_folder("hydrothermal") / "brazil"
    for month in (0, 7):
        sigma = np.loadtxt(folder / f"sigma_{month}.csv", delimiter=",", skiprows=1)[:, 1:]
        assert np.allclose(np.cov(np.log(instance.inflows[month]).T), sigma, atol=0.02)


def test_noises_that_depend_on_the_state_lead_to_the_optimum():
    instance = brazil(stages=3, **AUTOREGRESSIVE)
    bound = bound_of(instance, 60)
    assert bound == pytest.approx(equivalent(stages(instance)), rel=1e-6)
    result = orl.solve(instance, "sddp", settings={"iterations": 60}, scenarios=50)
    assert result.verified and result.bound == pytest.approx(bound, rel=1e-6) and result.bound_kind == "sddp"


def test_the_worth_of_yesterdays_inflow_is_a_derivative():
    graph = stages(brazil(stages=3, **AUTOREGRESSIVE))
    sddp = Sddp(graph)
    train(sddp, np.random.default_rng(0), lambda log: len(log) >= 5, time.perf_counter)
    state = np.concatenate([0.4 * sddp.nodes[1].stage.upper[columns_of(graph)], [40000, 7000, 12000, 9000.0]])
    node = sddp.nodes[1]
    visit = node.draw(state, 1)
    for place in range(8):
        step = 1e-3 * state[place]
        up, down = state.copy(), state.copy()
        up[place], down[place] = state[place] + step, state[place] - step
        slopes = [(node.draw(up, 1).value - visit.value) / step, (visit.value - node.draw(down, 1).value) / step]
        low, high = min(slopes), max(slopes)
        assert low - 1e-3 * (1 + abs(low)) <= visit.gradient[place] <= high + 1e-3 * (1 + abs(high))


def columns_of(graph):
    return graph.stages[1].outgoing[:4]


def test_a_ring_begins_with_the_inflows_that_are_known():
    instance = brazil(stages=14, horizon="periodic", discount=0.9)
    graph = stages(instance)
    assert len(graph.stages) == 13 and len(graph.stages[0].noises) == 1 and len(graph.stages[1].noises) == 82
    assert graph.children[12][0].node == 1 and graph.is_cyclic
    assert (graph.stages[12].noises == instance.inflows[0]).all(), "December is followed by January"
    result = orl.solve(instance, "sddp", settings={"iterations": 3}, scenarios=2)
    assert result.verified and result.bound is None


def test_known_first_inflows_serve_other_systems_too():
    known = orl.load("hydrothermal/case3", settings={"initial_inflows": (100,)})
    paths = [realise(known, one) for one in HYDRO.sample(known, 0, Purpose.EVALUATE, 5)]
    assert all(path[0, 0] == 100 for path in paths) and len({path[1, 0] for path in paths}) > 1
    for wrong in ((1, 2), (-1,)):
        with pytest.raises(InputError, match="initial_inflows must"):
            orl.load("hydrothermal/case3", settings={"initial_inflows": wrong})


def test_transport_is_a_relaxation_of_dc_and_one_bus_of_transport():
    settings = {"stages": 4, "reported_stages": 4, "inflows": None}
    costs = []
    for network in ("dc", "transport", "single-bus"):
        instance = orl.load("hydrothermal/bolivia", settings={**settings, "network": network})
        result = orl.solve(instance, "exact", scenarios=3)
        assert result.verified
        costs.append(result.value)
    assert costs[0] > costs[1] + 1 and costs[1] >= costs[2] - 1e-6


def test_deficit_is_shed_in_segments_from_the_cheapest_on():
    base = brazil(stages=2, initial_volumes=(0, 0, 0, 0), initial_inflows=(0, 0, 0, 0))
    result = orl.solve(base, "sddp", settings={"iterations": 5}, scenarios=1)
    deficit = result.solutions[0].deficit[0].reshape(5, 4)
    load = base.load_mw(0)
    assert result.verified and deficit[0].sum() > 0
    assert deficit[:4, 0] == pytest.approx(0.05 * load[:4]), "the first segment is full before others are begun"
    for segment in range(4):
        broken = replace(result.solutions[0], deficit=result.solutions[0].deficit.copy())
        broken.deficit[0, segment] = 0.81 * load[0]
        report = HYDRO.verify(base, HYDRO.sample(base, 0, Purpose.EVALUATE, 1)[0], broken)
        assert any(v.kind == "limit" and f"segment {segment}" in v.message for v in report.violations)


def test_columns_name_units_of_energy(tmp_path):
    file = tmp_path / "plan.csv"
    arguments = ["hydrothermal/brazil", "--set", "stages=3"]
    assert main(["solve", *arguments, "--set", "iterations=5", "--scenarios", "2", "--out", str(file)]) == 0
    head = file.read_text().splitlines()[0]
    assert "volume SE (MW-stages)" in head and "turbined SE (MW)" in head and "deficit SE 4 (MW)" in head
    assert main(["check", *arguments, str(file)]) == 0
    assert len(columns(brazil()).deficit) == 20


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("demand.csv", lambda text: text.replace("45515", "much"), r"demand\.csv, line 2: expected numbers"),
        ("demand.csv", lambda text: "\n".join(text.splitlines()[:5]), "expected 12 rows of 4 numbers, got 4 of 4"),
        ("exchange.csv", lambda text: text.replace("7379", "-7379"), "expected least flow <= largest"),
        ("hydro.csv", lambda text: text.replace("59419.3", "999999"), "initial volume must be in 0..200718"),
        ("deficit.csv", lambda text: text.replace("2465.4", "24.654"), "costs of deficit segments must ascend"),
        ("hist_1.csv", lambda text: text.rsplit("2013", 1)[0], "all regions must have the same years"),
    ],
)
def test_bad_files_give_one_line(tmp_path, capsys, file, change, message):
    folder = tmp_path / "case"
    shutil.copytree(instance_folder("hydrothermal") / "brazil", folder)
    text = (folder / file).read_text(encoding="utf-8-sig")
    assert change(text) != text
    (folder / file).write_text(change(text))
    with pytest.raises(InputError, match=message):
        load(folder)
    assert main(["solve", str(folder)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_dc_needs_reactances():
    with pytest.raises(InputError, match="set network to transport or single-bus"):
        brazil(network="dc")
