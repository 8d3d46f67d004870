"""Rules of hydrothermal dispatch, and what a rolling horizon plans with."""

from dataclasses import replace

import numpy as np
import pytest

import orl
from orl import registry
from orl.errors import InputError
from orl.linear import LinearProgram
from orl.problems.hydrothermal import planning
from orl.problems.hydrothermal.scenario import realise
from orl.problems.hydrothermal.stages import columns, stage_of
from orl.problems.hydrothermal.storage_curve import LEVELS, PRICES, SWINGS, dryness, tuned
from orl.rule import Rule
from orl.scenario import Purpose
from orl.simulate import rule_policy, run_episodes, simulate

HYDRO = registry.find_problem("hydrothermal")
RULES = registry.rules_of(HYDRO)


def case3(**settings):
    return orl.load("hydrothermal/case3", settings=settings)


def bolivia(stages):
    return orl.load("hydrothermal/bolivia", settings={"stages": stages, "reported_stages": stages})


def least(instance, stage, volume, inflow, cost):
    """Return the optimum of a stage's program with another objective."""
    made = stage_of(instance, stage)
    program = LinearProgram(cost, made.lower, made.upper, made.matrix, made.row_lower, made.row_upper)
    program.set_columns(columns(instance).before, volume, volume)
    arriving = inflow * instance.hm3_per_flow
    program.set_rows(made.noise_rows, arriving, arriving)
    return program.solve().value


@pytest.mark.parametrize("instance", [case3(), bolivia(5)], ids=["case3", "bolivia"])
def test_rules_shed_no_more_load_than_they_must_and_the_myopic_one_pays_least_now(instance):
    at, scenario = columns(instance), HYDRO.sample(instance, 0, Purpose.EVALUATE, 1)[0]
    inflows = realise(instance, scenario)
    shed = np.zeros(len(stage_of(instance, 0).cost))
    shed[at.deficit] = 1.0
    for name, rule in RULES.items():
        run = simulate(HYDRO, instance, rule_policy(HYDRO, rule), scenario)
        before = instance.reservoirs.initial_hm3
        for stage, inflow in enumerate(inflows):
            one = run.solutions[0]
            deficit = least(instance, stage, before, inflow, shed)
            assert one.deficit[stage].sum() == pytest.approx(deficit, abs=1e-5), name
            if name == "myopic":
                cost = least(instance, stage, before, inflow, stage_of(instance, stage).cost)
                paid = HYDRO.verify(replace_stages(instance, stage, before, inflow), scenario, beginning(one, stage))
                assert paid.cost == pytest.approx(cost, rel=1e-4)
            before = one.volume[stage]


def replace_stages(instance, stage, before, inflow):
    settings = replace(instance.settings, stages=1, reported_stages=None)
    water = replace(instance.reservoirs, initial_hm3=np.clip(before, instance.reservoirs.min_hm3, None))
    return replace(instance, settings=settings, reservoirs=water, path=inflow[None], first_stage=stage)


def beginning(dispatch, stage):
    return type(dispatch)(*(getattr(dispatch, key)[stage : stage + 1] for key in vars(dispatch)))


def test_thermal_first_keeps_water_that_myopic_uses():
    instance = case3()
    scenario = HYDRO.sample(instance, 0, Purpose.EVALUATE, 1)[0]
    volumes = {
        name: simulate(HYDRO, instance, rule_policy(HYDRO, RULES[name]), scenario).solutions[0].volume
        for name in ("myopic", "thermal-first")
    }
    assert volumes["thermal-first"].sum() > volumes["myopic"].sum()


def test_the_curve_is_the_best_of_its_grid_on_the_select_stream_alone():
    instance = case3()
    level, swing, price = tuned(instance)
    assert level in LEVELS and swing in SWINGS and price in PRICES
    select = HYDRO.sample(instance, 0, Purpose.SELECT, 5)
    costs = {
        name: simulate(HYDRO, instance, rule_policy(HYDRO, rule), select).costs.mean() for name, rule in RULES.items()
    }
    assert costs["storage-curve"] <= min(costs.values()) + 1e-9
    on_the_way = planning.shortened(instance, 3)
    assert tuned(on_the_way) == (level, swing, price), "what goes on from an instance has its curve"


def test_dryness_looks_ahead():
    """Four seasons, the third one dry: it is driest before it."""
    inflows = np.array([100.0, 80.0, 10.0, 90.0])[:, None, None]
    instance = replace(case3(stages=4), inflows=inflows, probabilities=np.ones((4, 1)))
    assert dryness(instance).argmax() == 1 and dryness(instance).max() == 1
    assert dryness(instance).argmin() == 3 and dryness(instance).min() == -1
    flat = replace(instance, inflows=np.full((4, 1, 1), 5.0))
    assert not dryness(flat).any()


def test_rolling_is_optimal_where_all_is_known():
    known = orl.solve("hydrothermal/case3deterministic", "rolling")
    assert known.verified and known.value == pytest.approx(11000.0, abs=0.01)


def test_rolling_plans_for_expected_inflows():
    instance = case3()
    patient = {"replan_time": 30.0}  # a stage takes milliseconds, on a machine that does not stand still
    rolling = orl.solve(instance, "rolling", settings=patient, scenarios=5, time_limit=None)
    hindsight = orl.solve(instance, "exact", scenarios=5, time_limit=None)
    myopic = orl.solve(instance, "myopic", scenarios=5)
    assert rolling.verified and rolling.value < myopic.value
    assert all(best <= cost + 1e-6 for best, cost in zip(hindsight.costs, rolling.costs, strict=True))
    short = orl.solve(instance, "rolling", settings={"lookahead": 1, **patient}, scenarios=5, time_limit=None)
    assert short.value > rolling.value, "a stage alone keeps no water"


def test_rolling_plans_for_a_tree_of_futures():
    instance = case3(stages=4)
    tree = orl.solve(instance, "rolling", settings={"futures": 9, "replan_time": 30.0}, scenarios=4, time_limit=None)
    hindsight = orl.solve(instance, "exact", scenarios=4, time_limit=None)
    assert tree.verified
    assert all(best <= cost + 1e-6 for best, cost in zip(hindsight.costs, tree.costs, strict=True))


def test_what_is_foreseen_is_expected():
    instance = orl.load("hydrothermal/brazil", settings={"stages": 14, "inflow_model": "autoregressive"})
    planned, scenario = planning.nominal(instance)
    memory, path = instance.autoregression, realise(planned, scenario)
    assert (path[0] == instance.first_inflow).all() and not scenario.is_random and not planned.is_random
    for stage in range(1, 14):
        row = stage % 12
        mean_error = instance.inflows[row].mean(axis=0)
        assert path[stage] == pytest.approx(mean_error * (memory.base[row] + memory.slope[row] * path[stage - 1]))
    own = replace(case3(), path=np.full((12, 1), 3.0))
    ahead = planning.in_motion(own, HYDRO.process([own], [orl.Scenarios.deterministic()]).observe(), 0)
    foreseen = realise(*planning.nominal(ahead))
    expected = np.einsum("ts,tsr->tr", own.probabilities, own.inflows)
    assert foreseen[0, 0] == 3.0 and foreseen[1:] == pytest.approx(expected[1:]), "a path of one's own is not foreseen"


@pytest.mark.parametrize("settings", [{}, {"horizon": "periodic", "discount": 0.9, "stages": 8}])
def test_an_instance_in_motion_goes_on_as_the_episode_does(settings):
    """Played on from any stage with what it then knows, a policy does what it did; loads and seasons go on, too."""
    instance = orl.load("hydrothermal/brazil", settings={"stages": 8, **settings})
    scenario = HYDRO.sample(instance, 3, Purpose.EVALUATE, 1)[0]
    inflows = realise(instance, scenario)
    process = HYDRO.process([instance], [scenario])
    policy = rule_policy(HYDRO, RULES["thermal-first"])
    memory = policy.start([instance], np.random.default_rng(0))
    left, last = [], 0.0  # what is paid from each stage on; in the stage before
    for stage in range(8):
        observation = process.observe()
        ahead = planning.in_motion(instance, observation, 0)
        assert ahead.num_stages == 8 - stage and ahead.row(0) == stage and ahead.load_mw(1) is not None
        rest = replace(ahead, path=inflows[stage:])
        follow = HYDRO.process([rest], [orl.Scenarios.deterministic()])
        costs = run_episodes(follow, policy, np.random.default_rng(0))[0][0]
        left.append(costs)
        actions, memory = policy.decide(observation, memory)
        now = process.decide(actions)[0]
        if stage:
            assert left[-2] == pytest.approx(last + instance.settings.discount * costs, rel=1e-6)
        last = now
        process.reveal()


def test_a_rule_of_ones_own_that_fails_is_named():
    rule = Rule("mine", steer=lambda instance: 1 / 0)
    with pytest.raises(InputError, match="rule 'mine' failed: ZeroDivisionError"):
        orl.evaluate(case3(), rule, scenarios=1)


def test_a_path_of_ones_own_is_neither_planned_with_nor_tuned_on(tmp_path):
    file = tmp_path / "dry.csv"
    file.write_text("\n".join(["60"] * 3 + ["0"] * 3 + ["150"] * 3 + ["0"] * 3))
    dry = case3(inflows=str(file))
    assert tuned(dry) == tuned(case3())
    hindsight = orl.solve(dry, "exact")
    for settings in ({"futures": 5}, {}):
        rolling = orl.solve(dry, "rolling", settings=settings, time_limit=None)
        assert rolling.verified and rolling.value > hindsight.value + 1, settings


def test_dryness_of_autoregressive_inflows_is_that_of_what_is_expected():
    chosen = {"inflow_model": "autoregressive", "noise_samples": 2000}
    drawn, known = (orl.load("hydrothermal/brazil", settings=settings) for settings in (chosen, {}))
    assert (drawn.mean_inflows > 0).all()
    assert drawn.mean_inflows == pytest.approx(known.mean_inflows, rel=0.35)
    assert np.corrcoef(dryness(drawn), dryness(known))[0, 1] > 0.95


def test_a_rule_that_scores_candidates_is_refused():
    with pytest.raises(InputError, match="decisions here are targets"):
        orl.evaluate(case3(), lambda observation: observation.legal, scenarios=1)
