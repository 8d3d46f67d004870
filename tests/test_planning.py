"""Policies that look ahead: what they see, what they promise, what they cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shops import EVERY_MODE, scenario_of, shops

import orl
from orl import registry
from orl.errors import InputError
from orl.problems.jobshop.instance import JobShop, JobShopSettings, Schedule
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.replanning import follow, is_disturbed
from orl.problems.jobshop.scenario import nominal, sample
from orl.problems.jobshop.state import observed_state, state_from
from orl.scenario import Purpose, Scenarios

BROKEN = {**EVERY_MODE, "dispatch": ("non-delay",), "probabilities": (0.02, 0.1), "calendars": False}


def with_another_future(scenario: Scenarios, shop: JobShop, clock: int) -> Scenarios:
    """Return the scenario with what happens after a time, the end of repairs under way included, drawn anew."""
    gaps = scenario.values(0, 400).copy()  # (failures, machines, 2)
    ends = gaps.sum(axis=2).cumsum(axis=0)
    starts = ends - gaps[:, :, 1]
    for machine in range(shop.num_machines):
        k = int((ends[:, machine] <= clock).sum())  # the first interval that is not over
        last = int(ends[k - 1, machine]) if k else 0
        if starts[k, machine] <= clock:  # down now: only the end may change
            gaps[k, machine, 1] = clock - starts[k, machine] + 1 + (gaps[k, machine, 1] * 7) % 11
        else:
            gaps[k, machine, 0] = clock - last + 1 + (gaps[k, machine, 0] * 7) % 13
        gaps[k + 1 :, machine] = gaps[k + 1 :, machine][::-1]
    return Scenarios(0, Purpose.EVALUATE, (0,), lambda rng, block: gaps if block == 0 else gaps + 1)


@given(shops(**BROKEN), st.integers(0, 2**32), st.integers(0, 12))
@settings(max_examples=150, deadline=None)
def test_what_a_policy_sees_does_not_depend_on_the_hidden_future(shop, seed, decisions):
    """Change all that happens after a decision: observation and mask at that decision stay as they were."""
    rng = np.random.default_rng(seed)
    scenario = scenario_of(shop, seed)
    process, actions = JobShopProcess([shop], [scenario]), []
    for _ in range(decisions):
        legal = np.flatnonzero(process.observe().legal[0])
        if not len(legal):
            return
        actions.append(int(rng.choice(legal)))
        process.decide(np.array([actions[-1]]))
        process.reveal()
    seen = process.observe()
    changed = with_another_future(scenario, shop, int(seen.arrays["clock"][0]))
    again = JobShopProcess([shop], [changed])
    for action in actions:
        again.decide(np.array([action]))
        again.reveal()
    assert (again.observe().legal == seen.legal).all()
    for key, array in seen.arrays.items():
        assert (again.observe().arrays[key] == array).all(), key


def test_scenarios_do_not_depend_on_how_many_are_drawn_or_how_long_episodes_last():
    """A row run alone, after a longer episode, or as one of many costs the same."""
    shop = orl.load("jobshop/la01", settings={"breakdowns": {"probability": 0.02}, "buffers": "swap"})
    many = sample(shop, 3, Purpose.EVALUATE, 9)
    rule, seeds = registry.rules_of(registry.find_problem("jobshop"))["mwr"], np.zeros(9, dtype=np.uint64)
    costs = JobShopProcess([shop] * 9, list(many)).run(rule, seeds)
    long = orl.load("jobshop/ta71", settings={"breakdowns": {"probability": 0.02}, "buffers": "swap"})
    few = sample(shop, 3, Purpose.EVALUATE, 2)
    mixed = JobShopProcess([shop, long, shop], [few[0], sample(long, 3, Purpose.EVALUATE, 1), few[1]])
    assert mixed.run(rule, seeds[:3])[[0, 2]].tolist() == costs[:2].tolist()


def test_futures_agree_with_what_is_seen():
    """Repairs under way have lasted already: with uniform 5 35 and 20 time units gone, 1 to 15 are left, all alike."""
    shop = orl.load("jobshop/la01", settings={"breakdowns": {"probability": 0.02}})
    state = {"clock": 100, "machines": [{"machine": 2, "down_since": 80}]}
    moving = shop.in_motion(state_from(shop, state))
    drawn = sample(moving, 0, Purpose.TRAIN, 3000)
    rest = np.array([drawn.values(i, 1)[0, 2] for i in range(3000)])
    assert (rest[:, 0] == 0).all()
    assert rest[:, 1].min() == 1 and rest[:, 1].max() == 15
    assert (abs(np.bincount(rest[:, 1])[1:] / 3000 - 1 / 15) < 0.02).all()
    assert nominal(moving)[1].values(0, 1)[0, 2].tolist() == [0, 8]


@pytest.mark.parametrize("settings", [{}, {"buffers": "swap"}, {"buffers": "none"}], ids=["classic", "swap", "none"])
def test_rollout_is_never_worse_than_its_base_where_nothing_is_random(settings):
    """On one future, the best first move and then the base is at least as good as the base, at every decision."""
    for name in ("ft06", "la01", "la02"):
        shop = orl.load(f"jobshop/{name}", settings=settings)
        assert orl.solve(shop, "rollout").value <= orl.solve(shop, "mwr").value


def test_rollout_beats_its_base_under_breakdowns_and_reports_its_pace():
    shop = orl.load("jobshop/la02", settings={"buffers": "swap", "breakdowns": {"probability": 0.01}})
    rollout = orl.solve(shop, "rollout", scenarios=10, settings={"futures": 5})
    assert rollout.verified and rollout.value < orl.solve(shop, "mwr", scenarios=10).value
    assert rollout.metrics["seconds_per_decision"] > 0
    again = orl.solve(shop, "rollout", scenarios=10, settings={"futures": 5})
    assert again.costs == rollout.costs  # futures follow from the seed
    assert orl.solve(shop, "rollout", scenarios=4, settings={"futures": 5}).costs == rollout.costs[:4]


def test_rollout_leaves_its_base_only_where_it_is_sure():
    """Asked for a hundred standard errors, it does what its base does; nothing is asked for where nothing is random."""
    shop = orl.load("jobshop/la02", settings={"buffers": "swap", "breakdowns": {"probability": 0.01}})
    told = {"futures": 4, "standard_errors": 100.0}
    assert orl.solve(shop, "rollout", scenarios=3, settings=told).costs == orl.solve(shop, "mwr", scenarios=3).costs
    sure = orl.solve("jobshop/la02", "rollout", settings={"futures": 4, "standard_errors": 100.0})
    assert sure.costs == orl.solve("jobshop/la02", "rollout").costs
    with pytest.raises(InputError, match="standard_errors needs futures >= 2"):
        orl.solve(shop, "rollout", settings={"futures": 1, "standard_errors": 1.0})


def test_rollout_refuses_a_base_that_is_no_policy():
    with pytest.raises(InputError, match="base must be a policy; solver 'exact'"):
        orl.solve("jobshop/ft06", "rollout", settings={"base": "exact"})


def test_a_plan_is_followed_in_its_order_and_given_up_when_a_machine_fails():
    """Two jobs, one machine: the plan has job 1 first; job 0 waits for it although the machine is free."""
    shop = JobShop("two", machines=[[0], [1, 0]], durations=[[5], [2, 1]], settings=JobShopSettings())
    plan = Schedule.from_starts(shop, [3, 0, 2])
    process = JobShopProcess([shop], [Scenarios.deterministic()])
    assert follow(shop, plan, process.observe(), 0) == 1
    process.decide(np.array([1]))
    process.reveal()
    assert follow(shop, plan, process.observe(), 0) == 2  # wait
    failed = shop.in_motion(observed_state(shop, process.observe(), 0))
    state = failed.state
    down = type(state)(state.clock, state.ops_done, state.work_left, state.started, state.ready_at, [0, -1])
    assert not is_disturbed(shop, process.observe(), 0)
    assert is_disturbed(shop.in_motion(down), process.observe(), 0)


@pytest.mark.parametrize(("name", "optimum"), [("la01", 881), ("la05", 732)])
def test_what_is_optimal_without_swaps_can_be_followed(name, optimum):
    """What the models may do the simulator allows, too."""
    assert orl.solve(f"jobshop/{name}", "rolling", settings={"buffers": "none", "replan_time": 30}).value == optimum


def test_rolling_is_never_worse_than_its_rules_where_nothing_is_random():
    """Not even where the simulator may refuse what is planned."""
    shop = orl.load("jobshop/la16", settings={"buffers": "none"})
    best = min(orl.solve(shop, rule).value for rule in registry.rules_of(registry.find_problem("jobshop")))
    assert orl.solve(shop, "rolling", settings={"replan_time": 0.5}, time_limit=None).value <= best
