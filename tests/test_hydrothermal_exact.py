"""Hydrothermal dispatch as one program: trees of drawn inflows, and the tree of all of them, whose optimum is known."""

import time
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from test_sddp import equivalent

import orl
from orl import registry
from orl.errors import InputError, Stopped
from orl.exact import solve_model
from orl.problems.hydrothermal import exact_tree
from orl.problems.hydrothermal.exact import build
from orl.problems.hydrothermal.exact_tree import drawn_tree, full_tree
from orl.problems.hydrothermal.optimum import optimal_cost, solve_tree
from orl.problems.hydrothermal.stages import stages
from orl.scenario import Purpose
from orl.solver import Control
from orl.solvers.sddp.train import Sddp, train

HYDRO = registry.find_problem("hydrothermal")
AUTOREGRESSIVE = {"stages": 3, "inflow_model": "autoregressive", "noise_samples": 3}


def case3(**settings):
    return orl.load("hydrothermal/case3", settings={"stages": 4, **settings})


def drawn(instance, count, seed=0):
    return HYDRO.sample(instance, seed, Purpose.EVALUATE, count)


def solved(instance, scenarios):
    """Return cost and dispatches by the model in Pyomo."""
    model = build(instance, scenarios)
    found = solve_model(model.program, Control())
    assert found.status == "optimal"
    return found.value, model.read(found.of)


def every_path_once(instance):
    """Return an instance with equal probabilities, and scenarios that are all its paths, each once."""
    _, count, _ = instance.inflows.shape
    panel = np.array(list(product(range(count), repeat=instance.num_stages))).T
    equal = replace(instance, panel=panel, probabilities=np.full(instance.probabilities.shape, 1 / count))
    return equal, drawn(equal, panel.shape[1])


@pytest.mark.parametrize(
    "instance",
    [
        case3(),
        case3(discount=0.9, stages=3),
        case3(initial_inflows=(100,)),
        orl.load("hydrothermal/brazil", settings=AUTOREGRESSIVE),
        orl.load("hydrothermal/brazil", settings={**AUTOREGRESSIVE, "network": "single-bus", "discount": 0.95}),
    ],
    ids=["case3", "discounted", "first known", "brazil", "brazil on one bus"],
)
def test_the_full_tree_is_where_the_bound_of_sddp_rises_to(instance):
    optimum = optimal_cost(instance)
    assert optimum == pytest.approx(equivalent(stages(instance)), rel=1e-7)
    log = train(Sddp(stages(instance)), np.random.default_rng(0), lambda log: len(log) >= 150, time.perf_counter)
    bounds = np.array([line.bound for line in log])
    assert (bounds <= optimum * (1 + 1e-9)).all() and bounds[-1] == pytest.approx(optimum, rel=1e-6)


@pytest.mark.slow
def test_the_published_optimum_of_the_brazilian_example():
    """msppy, doc/source/examples/hydro_thermal: the extensive form of three stages, 6,807 nodes.

    What is printed there, 782309.1877977113, is 0.13 above the optimum. Costs of a node are divided by 6,724, which a
    solver with a tolerance of 1e-6 hardly sees: with it HiGHS ends 8 above. With 1e-7, or costs times 6,724 and 1e-9,
    it finds 782309.0581928, which the bound of SDDP reaches after 800 iterations, too.
    """
    first = (39717.564, 6632.5141, 15897.183, 2525.2938)
    instance = orl.load("hydrothermal/brazil", settings={"stages": 3, "initial_inflows": first})
    assert len(full_tree(instance).stage) == 1 + 82 + 82**2
    optimum = optimal_cost(instance)
    assert optimum == pytest.approx(782309.0581928, rel=1e-10)
    assert optimum == pytest.approx(782309.1877977113, rel=2e-7)


@pytest.mark.parametrize("settings", [{}, {"discount": 0.8}, {"initial_inflows": (100,)}])
def test_all_paths_drawn_once_are_the_full_tree_of_equal_probabilities(settings):
    instance, scenarios = every_path_once(case3(stages=3, **settings))
    tree, full = drawn_tree(instance, scenarios), full_tree(instance)
    assert sorted(tree.stage) == sorted(full.stage) and len(tree.paths) == len(scenarios)
    value, dispatches = solved(instance, scenarios)
    assert value == pytest.approx(optimal_cost(instance), rel=1e-9)
    assert value == pytest.approx(solve_tree(instance, tree)[0], rel=1e-9)
    assert len(dispatches) == 27
    assert optimal_cost(replace(instance, settings=replace(instance.settings, panel="drawn"))) == optimal_cost(instance)


@pytest.mark.parametrize(
    ("name", "settings", "count"),
    [
        ("case3", {"stages": 4, "discount": 0.9}, 12),
        ("bolivia", {"stages": 3, "reported_stages": 3}, 4),
        ("brazil", {**AUTOREGRESSIVE, "stages": 4}, 6),
    ],
)
def test_dispatches_of_a_tree_are_feasible_cost_its_mean_and_foresee_nothing(name, settings, count):
    instance = orl.load(f"hydrothermal/{name}", settings=settings)
    scenarios = drawn(instance, count)
    value, dispatches = solved(instance, scenarios)
    reports = [HYDRO.verify(instance, *pair) for pair in zip(scenarios, dispatches, strict=True)]
    assert all(report.is_feasible for report in reports), reports
    assert value == pytest.approx(np.mean([report.cost for report in reports]), rel=1e-7)
    tree = drawn_tree(instance, scenarios)
    alike = [(i, j, t) for t in range(instance.num_stages) for i, j in product(range(count), repeat=2)
             if tree.paths[i, t] == tree.paths[j, t]]  # fmt: skip
    assert name == "bolivia" or any(i != j for i, j, _ in alike), "some have a past in common"
    assert all((dispatches[i].volume[t] == dispatches[j].volume[t]).all() for i, j, t in alike)
    hindsight = [solved(instance, scenario)[0] for scenario in scenarios]
    assert value >= np.mean(hindsight) - 1e-7 * abs(value)


def test_a_tree_that_foresees_nothing_costs_more_than_hindsight():
    """The first stage is decided for both of two futures that differ in the second."""
    instance = case3(stages=3, initial_inflows=(50,))
    equal, scenarios = every_path_once(instance)
    hindsight = [solved(equal, scenario)[0] for scenario in scenarios]
    assert solved(equal, scenarios)[0] > np.mean(hindsight) + 1


def test_numbers_and_order_of_scenarios_do_not_matter():
    instance = orl.load("hydrothermal/brazil", settings=AUTOREGRESSIVE)
    order = np.array([2, 0, 1])
    weights = np.tile([0.5, 0.2, 0.3], (12, 1))
    one = replace(instance, probabilities=weights)
    other = replace(one, inflows=one.inflows[:, order], probabilities=weights[:, order])
    assert optimal_cost(one) == pytest.approx(optimal_cost(other), rel=1e-9)
    equal, scenarios = every_path_once(case3(stages=2))
    moved = replace(equal, panel=equal.panel[:, ::-1].copy())
    backwards = solved(moved, drawn(moved, 9))
    assert backwards[0] == pytest.approx(solved(equal, scenarios)[0], rel=1e-9)


def test_what_is_drawn_twice_weighs_twice():
    instance = case3(stages=2)
    panel = np.array([[0, 0, 0, 2], [1, 1, 2, 0]])
    drawn_so = replace(instance, panel=panel)
    tree = drawn_tree(drawn_so, drawn(drawn_so, 4))
    assert tree.paths.tolist() == [[0, 2], [0, 2], [0, 3], [1, 4]] and tree.parent.tolist() == [-1, -1, 0, 0, 1]
    assert tree.weight.tolist() == [0.75, 0.25, 0.5, 0.25, 0.25]


def test_inflows_that_cannot_come_have_no_node():
    instance = case3(stages=3)
    weights = np.tile([0.5, 0.0, 0.5], (12, 1))
    never = replace(instance, probabilities=weights)
    tree = full_tree(never)
    assert len(tree.stage) == 2 + 4 + 8 and len(tree.paths) == 8
    assert tree.weight[tree.stage == 2].sum() == pytest.approx(1)
    without = replace(instance, inflows=instance.inflows[:, ::2], probabilities=weights[:, ::2])
    assert optimal_cost(never) == pytest.approx(optimal_cost(without), rel=1e-9)


def test_an_instance_of_one_path_is_its_own_tree():
    assert optimal_cost(orl.load("hydrothermal/case3deterministic")) == pytest.approx(11000.0, abs=0.01)


def test_trees_without_an_end_or_too_large_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"case3: the tree of all inflows has 797160 nodes.*set stages to 8 or fewer"):
        optimal_cost(case3(stages=12))
    with pytest.raises(InputError, match=r"bolivia: the tree of all inflows has \S+e\+148 nodes"):
        optimal_cost(orl.load("hydrothermal/bolivia"))
    monkeypatch.setattr(exact_tree, "MAX_NODES", 39)
    assert len(full_tree(case3(stages=3)).stage) == 39
    with pytest.raises(InputError, match="120 nodes, more than 39; set stages to 3"):
        optimal_cost(case3())
    with pytest.raises(InputError, match="horizon=periodic"):
        optimal_cost(case3(horizon="periodic", discount=0.9))
    path = tmp_path / "dry.csv"
    path.write_text("\n".join(["10"] * 12))
    with pytest.raises(InputError, match="is one path"):
        optimal_cost(case3(inflows=str(path)))


def test_building_stops_when_asked():
    instance = orl.load("hydrothermal/bolivia")
    with pytest.raises(Stopped):
        build(instance, drawn(instance, 1), should_stop=lambda: True)
