"""The kernels against the SimPy twin: same decisions offered, same schedule, exactly."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shops import EVERY_MODE, OBJECTIVES, rows_of, scenario_of, shops
from twins import shop_decisions_agree, shop_rules_agree

import orl
from orl import registry
from orl.policy import RulePolicy
from orl.problems.jobshop import simpy_twin
from orl.problems.jobshop.instance import JobShop, JobShopSettings
from orl.problems.jobshop.kernels_codes import WAITING
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.rules import RULES, choices
from orl.problems.jobshop.schedules import columns
from orl.problems.jobshop.simpy_twin_rules import SCORES, rule_choice
from orl.rule import Rule
from orl.scenario import Scenarios

NOTHING_RANDOM = [Scenarios.deterministic()]


@given(shops(), st.integers(0, 2**32))
@settings(max_examples=100)
def test_classic_shops_agree_with_the_twin(shop, seed):
    shop_rules_agree(shop, NOTHING_RANDOM[0])
    shop_decisions_agree(shop, NOTHING_RANDOM[0], np.random.default_rng(seed))


@given(shops(**EVERY_MODE), st.integers(0, 2**32))
@settings(max_examples=300)
def test_every_rule_gives_the_twins_schedule_in_every_mode(shop, seed):
    shop_rules_agree(shop, scenario_of(shop, seed))


@given(shops(**EVERY_MODE), st.integers(0, 2**32))
@settings(max_examples=300)
def test_random_decisions_lead_where_they_lead_in_the_twin(shop, seed):
    shop_decisions_agree(shop, scenario_of(shop, seed), np.random.default_rng(seed))


@pytest.mark.slow
@given(shops(max_jobs=8, max_machines=6, max_ops=8, **EVERY_MODE), st.integers(0, 2**32))
@settings(max_examples=100_000)
def test_larger_shops_agree_with_the_twin(shop, seed):
    scenario = scenario_of(shop, seed)
    shop_rules_agree(shop, scenario)
    shop_decisions_agree(shop, scenario, np.random.default_rng(seed))


def test_a_shop_small_enough_for_paper():
    """SPT: job 1 enters machine 0 first (2 < 3), job 0 follows at 2; job 1 then waits for nobody on machine 1."""
    shop = JobShop("paper", machines=[[0, 1], [0, 1]], durations=[[3, 2], [2, 4]])
    process = JobShopProcess([shop], NOTHING_RANDOM)
    assert process.run(RULES["spt"], np.zeros(1, dtype=np.uint64)).tolist() == [8]
    assert process.solution(0).start.tolist() == [2, 6, 0, 2]


def test_an_active_schedule_grows_on_paper():
    """Of two that could be complete at 2 the one on the lower machine is placed; it waits then, on no machine."""
    active = JobShopSettings(dispatch="active")
    process = JobShopProcess([JobShop("tie", [[0, 1], [1]], [[2, 1], [2]], settings=active)], NOTHING_RANDOM)
    assert process.observe().legal.tolist() == [[True, False, False]]
    process.decide(np.array([0]))
    process.reveal()
    seen = process.observe()
    assert seen.legal.tolist() == [[False, True, False]]
    assert seen.arrays["status"][0, 0] == WAITING and seen.arrays["place"][0, 0] == -1


def test_one_job_of_many_operations_on_paper():
    process = JobShopProcess([JobShop("long", [[0, 1] * 40], [[1, 2] * 40])], NOTHING_RANDOM)
    assert process.run(RULES["mwr"], np.zeros(1, dtype=np.uint64)).tolist() == [120]


def test_atc_looks_ahead_by_durations_on_paper():
    """The mean duration is 2, so slacks count by exp(-slack / 4): 40 / 2 exp(-6 / 4) = 4.5 is less than 10 / 2."""
    options = JobShopSettings(objective="weighted-tardiness")
    shop = JobShop("atc", [[0], [0]], [[2], [2]], due_dates=[8, 2], weights=[40, 10], settings=options)
    process = JobShopProcess([shop], NOTHING_RANDOM)
    process.run(RULES["atc"], np.zeros(1, dtype=np.uint64))
    assert process.solution(0).start.tolist() == [2, 0]


def test_work_in_the_next_queue_is_the_twins_in_an_active_schedule_of_many_jobs():
    shop_rules_agree(orl.load("jobshop/la11", settings={"dispatch": "active"}), NOTHING_RANDOM[0], ["winq"])


def test_wait_holds_all_machines_until_the_next_event_and_needs_one():
    """With one machine busy the other may wait for its completion; with nothing pending waiting is illegal."""
    shop = JobShop("wait", machines=[[0], [1]], durations=[[3], [5]])
    process = JobShopProcess([shop], NOTHING_RANDOM)
    assert process.observe().legal.tolist() == [[True, True, False]]
    process.decide(np.array([0]))
    process.reveal()
    assert process.observe().legal.tolist() == [[False, True, True]]
    process.decide(np.array([2]))
    assert process.reveal().cost.tolist() == [3]
    assert process.observe().legal.tolist() == [[False, True, False]]
    process.decide(np.array([1]))
    assert process.reveal().cost.tolist() == [5]
    assert process.solution(0).start.tolist() == [0, 3]


# Tardy by 1 each; what is paid after each completion does not add up to the whole, but for rounding.
ROUNDED = JobShop(
    "rounded",
    machines=[[0], [1], [2]],
    durations=[[2], [3], [1]],
    due_dates=[1, 2, 0],
    weights=[28.7, 34.3, 0.1],
    settings=JobShopSettings(dispatch="active", objective="weighted-tardiness"),
)


@example(ROUNDED, 0)
@given(shops(dispatch=("active",), objectives=OBJECTIVES, due_dates=True), st.integers(0, 2**32))
@settings(max_examples=100)
def test_active_dispatch_has_paid_once_it_has_decided(shop, seed):
    """There is no clock: what an operation adds is known when it is placed, and nothing comes after."""
    process, rng = JobShopProcess([shop], NOTHING_RANDOM), np.random.default_rng(seed)
    while (legal := process.observe().legal[0]).any():
        process.decide(np.array([rng.choice(np.flatnonzero(legal))]))
        assert process.reveal().cost.tolist() == [0]


@given(shops())
@settings(max_examples=100)
def test_no_schedule_is_below_the_bound_and_the_best_run_is_never_worse_than_the_rule(shop):
    family = registry.find_problem("jobshop")
    rule = RULES["mwr"]
    cost, schedule = family.randomise(shop, rule, 20, 0, 0.2, 3)
    assert family.verify(shop, None, schedule).is_feasible
    assert cost == schedule.makespan
    one = JobShopProcess([shop], NOTHING_RANDOM).run(rule, np.zeros(1, dtype=np.uint64))[0]
    assert shop.makespan_bound() <= cost <= one
    split = min(family.randomise(shop, rule, 10, first, 0.2, 3)[0] for first in (0, 10))
    assert split == cost  # chunks change nothing


def test_a_finished_part_waits_for_its_next_machine_also_while_its_own_is_down():
    """WINQ counts job 3, held by machine 2 that failed at 11: job 2 goes before job 1, whose next queue it is in."""
    shop = JobShop(
        "held",
        machines=[[0], [0, 0], [0, 2], [2, 0]],
        durations=[[4], [0, 0], [0, 0], [0, 1]],
        calendar=[(0, 4, 11), (2, 11, 19)],
        settings=JobShopSettings(buffers="swap"),
    )
    process = JobShopProcess([shop], NOTHING_RANDOM)
    process.run(RULES["winq"], np.zeros(1, dtype=np.uint64))
    assert process.solution(0).start.tolist() == [0, 20, 20, 11, 19, 0, 19]
    twin = simpy_twin.simulate(shop, rule_choice(shop, SCORES["winq"]), NOTHING_RANDOM[0])
    assert columns(shop, process.solution(0)) == columns(shop, twin)


def test_the_random_rule_depends_on_its_seed_and_draws_evenly():
    shop = JobShop("even", machines=[[0]] * 4, durations=[[1]] * 4)
    process = JobShopProcess([shop] * 4000, NOTHING_RANDOM * 4000)
    seeds = np.random.default_rng(0).integers(0, 2**63, size=4000, dtype=np.uint64)
    process.run(RULES["random"], seeds)
    first = np.array([int(process.solution(env).start.argmin()) for env in range(4000)])
    share = np.bincount(first, minlength=4) / 4000
    assert (abs(share - 0.25) < 0.03).all()  # four standard deviations


def test_work_in_next_queue_counts_a_job_that_a_down_machine_holds():
    """Job 0 waits for machine 1, though held by machine 0, down from 3 to 10; so at 4 job 4, bound elsewhere, goes."""
    shop = JobShop(
        "held",
        machines=[[0, 1], [1], [2], [2, 1], [2, 3]],
        durations=[[2, 9], [20], [4], [1, 1], [1, 1]],
        releases=[0, 0, 0, 1, 1],
        calendar=[(0, 3, 10)],
        settings=JobShopSettings(buffers="swap"),
    )
    process = JobShopProcess([shop], NOTHING_RANDOM)
    process.run(RULES["winq"], np.zeros(1, dtype=np.uint64))
    start = {row[:2]: row[3] for row in rows_of(process.solution(0))}
    assert (start[4, 0], start[3, 0]) == (4, 5)
    shop_rules_agree(shop, NOTHING_RANDOM[0])


def test_a_choice_scored_minus_infinity_is_still_a_choice():
    """A table of minus infinities follows the tie rule, step by step as in the kernel."""
    shop = JobShop("flat", machines=[[1, 0], [0, 1], [0, 1]], durations=[[3, 2], [2, 4], [1, 1]])
    rule = Rule("flat", table=lambda instance: np.full(instance.num_ops, -np.inf))
    whole = JobShopProcess([shop], NOTHING_RANDOM)
    whole.run(rule, np.zeros(1, dtype=np.uint64))
    stepped = JobShopProcess([shop], NOTHING_RANDOM)
    policy = RulePolicy(rule, choices)
    memory = policy.start([shop], np.random.default_rng(0))
    while stepped.observe().legal.any():
        actions, memory = policy.decide(stepped.observe(), memory)
        stepped.decide(actions)
        stepped.reveal()
    assert columns(shop, whole.solution(0)) == columns(shop, stepped.solution(0))
