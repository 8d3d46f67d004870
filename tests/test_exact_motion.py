"""The exact models of job shops in motion, against brute force and one another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from shops import scenario_of, shops
from test_exact_models import BUILDERS, least_cost, problem, solve, tiny_shop
from test_motion import IN_MOTION, same_future, stopped

from orl.cp_sat import solve_program
from orl.problem import Problem, Report
from orl.problems.jobshop import cp_sat, exact
from orl.problems.jobshop.instance import Breakdowns, JobShop, JobShopSettings
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.rules import RULES
from orl.problems.jobshop.scenario import bound
from orl.problems.jobshop.state import ShopState, observed_state, state_at
from orl.problems.jobshop.verify import verify
from orl.result import Status
from orl.scenario import Scenarios
from orl.solver import Control, Task
from orl.solvers.cp_sat import SOLVER as CP_SAT
from orl.solvers.exact import SOLVER as EXACT


def in_motion(shop: JobShop, scenario: Scenarios, seed: int) -> tuple[JobShop, dict[int, int]] | None:
    """Return a shop after some random decisions, with its history, and when operations started that have."""
    rng = np.random.default_rng(seed)
    process = stopped(shop, scenario, rng, int(rng.integers(1, shop.num_ops + 1)))
    if process is None:
        return None
    starts = process._field("start", shop.num_ops)[0]
    state = observed_state(shop, process.observe(), 0)
    is_in = np.flatnonzero(state.work_left > 0)
    started = state.started.copy()
    started[is_in] = starts[shop.job_first[is_in] + state.ops_done[is_in]]
    state = replace(state, started=started, history=process.solution(0))
    return shop.in_motion(state), {o: int(start) for o, start in enumerate(starts) if start >= 0}


def judged_from_the_start(shop: JobShop, scenario: Scenarios | None) -> Problem:
    """Return a family that takes a schedule for one of the shop as it was before it was stopped."""
    return problem(verify=lambda instance, _, schedule: verify(shop, scenario, schedule))


def judged_by_cost() -> Problem:
    """Return a family that takes every schedule of a shop in motion for feasible."""

    def cost(instance, _, schedule):
        completions = np.where(instance.is_done[instance.job_first[1:] - 1], instance.state.ready_at, 0)
        np.maximum.at(completions, schedule.job, schedule.end)
        return Report(instance.cost(completions))

    return problem(verify=cost)


@pytest.mark.parametrize("buffers", ["unlimited", "swap", "none"])
def test_both_models_and_brute_force_agree_on_shops_in_motion(buffers):
    """What is left is done at the least cost that any schedule with the same beginning has, and with that beginning."""
    count = 0
    for seed in range(50):
        shop = tiny_shop(seed, buffers=buffers)
        moving = in_motion(shop, Scenarios.deterministic(), seed)
        if moving is None:
            continue
        count += 1
        outcomes = [
            solve(solver, moving[0], judged_from_the_start(shop, None), start="none", **settings)
            for solver, settings in ((EXACT, {}), (CP_SAT, {"threads": 1}))
        ]
        assert [o.status for o in outcomes] == [Status.OPTIMAL] * 2, seed
        assert [o.value for o in outcomes] == pytest.approx([least_cost(shop, None, moving[1], moving[0].clock)] * 2)
        assert all(verify(shop, None, o.solutions[0]).is_feasible for o in outcomes), seed
    assert count > 25


@pytest.mark.parametrize("on_failure", ["resume", "restart"])
@pytest.mark.parametrize("buffers", ["unlimited", "swap", "none"])
def test_cp_sat_and_brute_force_agree_on_shops_in_motion_in_hindsight_of_downtime(buffers, on_failure):
    """Also where machines are down and operations interrupted as the shop goes on."""
    count = 0
    for seed in range(40):
        breakdowns = Breakdowns(0.15, "uniform 1 5") if seed % 3 else Breakdowns()
        settings = {"buffers": buffers, "on_failure": on_failure, "breakdowns": breakdowns}
        shop = tiny_shop(seed, has_calendar=seed % 3 == 0, **settings)
        scenario = scenario_of(shop, seed)
        moving = in_motion(shop, scenario, seed)
        if moving is None:
            continue
        count += 1
        future = same_future(shop, scenario, moving[0].state)
        family = judged_from_the_start(shop, scenario)
        outcome = solve(CP_SAT, moving[0], family, scenarios=future, threads=1, start="none")
        assert outcome.status == Status.OPTIMAL, seed
        assert verify(shop, scenario, outcome.solutions[0]).is_feasible, seed
        assert outcome.value == pytest.approx(least_cost(shop, scenario, moving[1], moving[0].clock)), seed
    assert count > 20


@given(shops(max_jobs=4, max_ops=4, **IN_MOTION), st.integers(0, 2**32))
@profile(max_examples=60, deadline=None)
def test_no_rule_beats_the_optimum_of_a_shop_in_motion_and_no_schedule_the_bound(shop, seed):
    """From a drawn state on; without downtime both models find that optimum. A rule's schedule keeps the program."""
    if shop.calendar and shop.settings.breakdowns.probability > 0:
        shop = replace(shop, calendar=())  # where the two overlap, an observation does not tell which has the machine
    shop = replace(shop, weights=np.round(shop.weights, 2))
    moving = in_motion(shop, scenario_of(shop, seed), seed)
    if moving is None:
        return
    shop = moving[0]
    scenario = scenario_of(shop, seed)
    outcome = solve(CP_SAT, shop, judged_by_cost(), scenarios=scenario, threads=1, start="none")
    assert outcome.status == Status.OPTIMAL
    assert outcome.value >= bound(shop, scenario) - 1e-6
    if not shop.has_downtime:
        assert solve(EXACT, shop, judged_by_cost(), start="none").value == pytest.approx(outcome.value)
    process = JobShopProcess([shop], [scenario])
    for rule in RULES.values():
        process.reset()
        cost = process.run(rule, np.array([seed], dtype=np.uint64))[0]
        assert cost >= outcome.value - 1e-6
    model = cp_sat.build(shop, scenario, upper_bound=cost)
    for variable, number in model.start(process.solution(0)):
        model.program.add(variable == int(number))
    task = Task(problem(), shop, scenario, CP_SAT.settings(threads=1), 0, Control())
    assert solve_program(model.program, task.control, threads=task.settings.threads).value == pytest.approx(cost)


@pytest.mark.parametrize("buffers", ["unlimited", "swap", "none"])
def test_an_optimal_schedule_is_optimal_from_wherever_it_has_come_to(buffers):
    """Stopped at any time and planned anew, a shop is done as early as planned at first."""
    for seed in range(40):
        on_failure = "restart" if seed % 2 else "resume"
        shop = tiny_shop(seed, buffers=buffers, objective="makespan", on_failure=on_failure, has_calendar=seed % 4 < 2)
        whole = solve(CP_SAT, shop, threads=1)
        time = int(np.random.default_rng(seed).integers(whole.value))
        moving = shop.in_motion(state_at(shop, whole.solutions[0], time))
        rest = solve(CP_SAT, moving, judged_from_the_start(shop, None), threads=1, start="none")
        assert (rest.status, rest.value) == (Status.OPTIMAL, whole.value), seed
        assert verify(shop, None, rest.solutions[0]).is_feasible, seed


def test_a_job_on_a_machine_that_is_down_stays_there():
    """A blocked job leaves after the repair at 12; a running one then goes on for 3, or begins anew and takes 5."""
    for on_failure, makespan in (("resume", 15), ("restart", 17)):
        settings = JobShopSettings(buffers="swap", on_failure=on_failure)
        shop = JobShop("two", [[0, 1], [2, 1]], [[4, 2], [5, 0]], calendar=[(0, 6, 12), (2, 6, 12)], settings=settings)
        state = ShopState(7, [1, 0], [0, 3], [-1, -1], [-1, -1], [-1, -1, -1])
        outcome = solve(CP_SAT, shop.in_motion(state), judged_by_cost(), threads=1, start="none")
        assert outcome.value == makespan
        starts = dict(zip(outcome.solutions[0].job.tolist(), outcome.solutions[0].start.tolist(), strict=True))
        assert starts[0] == 12


@BUILDERS
def test_a_machine_is_not_passed_before_the_operation_that_is_on_it(build):
    """An operation without duration waits for the end of one that has begun at the same time."""
    shop = JobShop("pass", [[0], [0, 1]], [[4], [0, 1]])
    moving = shop.in_motion(ShopState(0, [0, 0], [4, 0], [0, -1], [-1, -1], [-1, -1]))
    solver = EXACT if build is exact.build else CP_SAT
    assert solve(solver, moving, judged_by_cost(), start="none").value == 5
