"""The SimPy twin of the job shop: small shops worked out on paper."""

from __future__ import annotations

from math import exp, inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shops import BUFFERS, EVERY_MODE, random_choice, rows_of, scenario_of, schedule_of, shops

from orl.errors import IllegalAction
from orl.problems.jobshop.instance import Breakdowns, JobShop, JobShopSettings
from orl.problems.jobshop.scenario import down_intervals
from orl.problems.jobshop.simpy_twin import State, giffler_thompson, simulate
from orl.problems.jobshop.simpy_twin_rules import SCORES, rule_choice
from orl.problems.jobshop.verify import verify
from orl.scenario import Purpose, Scenarios


def failures(*repairs_of_machines: list[tuple[int, int]]) -> Scenarios:
    """Return the scenario in which each machine fails as given, (up time before it, repair time), then hardly ever."""
    longest = max(map(len, repairs_of_machines))
    padded = [[*pairs, *[(10**6, 1)] * (longest + 1 - len(pairs))] for pairs in repairs_of_machines]
    block = np.array(padded, dtype=np.int64).transpose(1, 0, 2)  # (failures, num_machines, 2)
    return Scenarios(0, Purpose.EVALUATE, (0,), draw=lambda rng, number: block.copy())


def shop_with(
    machines, durations, calendar=(), releases=None, num_machines=None, probability=0.0, **settings
) -> JobShop:
    options = JobShopSettings(breakdowns=Breakdowns(probability), **settings)
    return JobShop(
        "paper", machines, durations, releases=releases, calendar=calendar, num_machines=num_machines, settings=options
    )


def run(shop: JobShop, *jobs: int | None, scenario: Scenarios | None = None):
    """Return the rows under these decisions, then those of the lowest job, by job and position; all of them verify."""
    decisions = iter(jobs)

    def choose(state: State) -> int | None:
        return next(decisions, min(job for jobs in state.startable() for job in jobs))

    schedule = simulate(shop, choose, scenario)
    assert verify(shop, scenario, schedule).is_feasible and next(decisions, "all made") == "all made"
    return [row[3:] for row in sorted(rows_of(schedule))]


# The classic shop ---------------------------------------------------------------------------------------------------


def test_a_zero_operation_is_over_before_the_next_decision() -> None:
    """Job 0 passes machine 0 in no time and competes for machine 1 at the same instant, where it is shorter."""
    shop = JobShop("flash", machines=[[0, 1], [1]], durations=[[0, 1], [5]])
    schedule = simulate(shop, rule_choice(shop, SCORES["spt"]))
    assert rows_of(schedule) == [(0, 0, 0, 0, 0), (0, 1, 1, 0, 1), (1, 0, 1, 1, 6)]


def test_all_that_happens_at_an_instant_counts_before_the_decision() -> None:
    """At 3 a release and a completion bring two rivals to machine 1; the shorter wins though it arrives second."""
    shop = JobShop("instant", machines=[[0, 1], [1]], durations=[[3, 1], [4]], releases=[0, 3])
    schedule = simulate(shop, rule_choice(shop, SCORES["spt"]))
    assert rows_of(schedule)[1:] == [(0, 1, 1, 3, 4), (1, 0, 1, 4, 8)]


def test_waiting_holds_all_machines_until_the_next_event() -> None:
    """Waiting at 0 for the urgent job 2 lets all machines stand until its release at 2."""
    shop = JobShop("wait", machines=[[0], [1], [0]], durations=[[9], [1], [1]], releases=[0, 0, 2])
    asked: list[int] = []

    def choose(state: State) -> int | None:
        asked.append(state.time)
        return None if state.time == 0 else max(job for jobs in state.candidates().values() for job in jobs)

    schedule = simulate(shop, choose)
    assert rows_of(schedule) == [(2, 0, 0, 2, 3), (1, 0, 1, 2, 3), (0, 0, 0, 3, 12)] and asked == [0, 2, 2, 3]


def test_illegal_choices_raise() -> None:
    """Nobody may wait for nothing, nor start a job that is not there or whose machine is taken."""
    with pytest.raises(IllegalAction, match="none will come"):
        simulate(JobShop("one", [[0]], [[1]]), lambda state: None)
    for job in (1, 7):
        with pytest.raises(IllegalAction, match=f"job {job}"):
            simulate(JobShop("two", [[0], [1]], [[1], [1]], releases=[0, 1]), lambda state, job=job: job)
    with pytest.raises(IllegalAction, match="in conflict"):
        giffler_thompson(JobShop("two", [[0], [1]], [[1], [2]]), lambda state, jobs: 1)


def test_an_active_schedule_lets_a_machine_wait_for_an_urgent_job() -> None:
    """Job 1 can reach machine 0 at 1, before job 0 could be done there, so it is in conflict and may go first."""
    shop = JobShop("active", machines=[[0], [1, 0]], durations=[[5], [1, 3]])
    seen: list[list[int]] = []

    def choose(state: State, jobs: list[int]) -> int:
        seen.append(jobs)
        return jobs[-1]

    assert rows_of(giffler_thompson(shop, choose)) == [(1, 0, 1, 0, 1), (1, 1, 0, 1, 4), (0, 0, 0, 4, 9)]
    assert seen == [[1], [0, 1], [0]]


# Blocking -----------------------------------------------------------------------------------------------------------

CROSSING = {"machines": [[0, 1], [1, 0]], "durations": [[3, 2], [2, 4]]}  # each wants the machine that the other has


@pytest.mark.parametrize(
    ("buffers", "expected"),
    [
        ("unlimited", [(0, 3), (3, 5), (0, 2), (3, 7)]),
        ("swap", [(0, 3), (3, 5), (0, 2), (3, 7)]),  # job 1 blocks machine 1 from 2 to 3, when they swap
        ("none", [(0, 3), (3, 5), (5, 7), (7, 11)]),  # starting job 1 before machine 1 is done with job 0 is unsafe
    ],
)
def test_two_jobs_that_cross(buffers: str, expected: list[tuple[int, int]]) -> None:
    assert run(shop_with(**CROSSING, buffers=buffers)) == expected


def test_without_swaps_only_safe_starts_are_offered() -> None:
    """With job 0 on machine 0 job 1 must stay outside until that has gone on; job 2, which needs no other, need not."""
    shop = shop_with([[0, 1], [1, 0], [1]], [[3, 2], [2, 4], [1]], buffers="none")
    offered = []

    def choose(state: State) -> int:
        offered.append((state.time, state.candidates()))
        return state.startable()[0][-1]

    simulate(shop, choose)
    assert offered[:2] == [(0, {0: [0], 1: [1, 2]}), (0, {1: [2]})]


def test_a_job_blocks_until_the_next_machine_takes_it() -> None:
    """Job 0 is done on machine 0 at 1 and holds it until machine 1 is free at 5; only then job 2 may start."""
    shop = shop_with([[0, 1], [1], [0]], [[1, 1], [5], [1]], buffers="swap")
    assert run(shop, 0, 1) == [(0, 1), (5, 6), (0, 5), (5, 6)]


def test_three_jobs_go_round_at_once() -> None:
    shop = shop_with([[0, 1], [1, 2], [2, 0]], [[1, 1], [2, 1], [3, 1]], buffers="swap")
    assert run(shop) == [(0, 1), (3, 4), (0, 2), (3, 4), (0, 3), (3, 4)]


@pytest.mark.parametrize("buffers", ["swap", "none"])
def test_a_job_goes_on_on_its_own_machine_by_itself(buffers: str) -> None:
    """Nobody is asked at 2, and job 1 cannot come between; while the machine is down nothing goes on."""
    machines, durations = [[0, 0, 0], [0]], [[2, 0, 3], [1]]
    assert run(shop_with(machines, durations, buffers=buffers), 0) == [(0, 2), (2, 2), (2, 5), (5, 6)]
    down = shop_with(machines, durations, calendar=[(0, 2, 4)], buffers=buffers)
    assert run(down, 0) == [(0, 2), (4, 4), (4, 7), (7, 8)]
    assert run(shop_with(machines, durations), 0, 1) == [(0, 2), (3, 3), (3, 6), (2, 3)]  # beside its machine it waits


def test_a_cycle_waits_for_its_down_machines() -> None:
    """Both are done at 3; machine 0 is down from 3 to 6, so they swap at 6."""
    shop = shop_with(**CROSSING, calendar=[(0, 3, 6)], buffers="swap")
    assert run(shop) == [(0, 3), (6, 8), (0, 2), (6, 10)]


def test_a_swap_enables_the_next_at_the_same_instant() -> None:
    """Jobs 0 and 1 swap at 2; job 0 passes machine 1 in no time and swaps with job 2 before anyone is asked."""
    shop = shop_with([[0, 1, 2], [1, 0], [2, 1]], [[2, 0, 4], [1, 5], [1, 6]], buffers="swap")
    assert run(shop) == [(0, 2), (2, 2), (2, 6), (0, 1), (2, 7), (0, 1), (2, 8)]


def test_the_last_operation_frees_its_machine_though_that_fails_just_then() -> None:
    """Job 0 ends for good at 3, when machine 0 goes down; job 1 starts at the repair."""
    for buffers in BUFFERS:
        shop = shop_with([[0], [0]], [[3], [1]], calendar=[(0, 3, 5)], buffers=buffers)
        assert run(shop) == [(0, 3), (5, 6)]


def test_a_finished_job_cannot_leave_a_machine_that_is_down() -> None:
    """Unless there is a buffer: done at 3, as the machine fails, it is beside the machine already."""
    for buffers, start in (("unlimited", 3), ("swap", 5), ("none", 5)):
        shop = shop_with([[0, 1]], [[3, 1]], calendar=[(0, 3, 5)], buffers=buffers)
        assert run(shop) == [(0, 3), (start, start + 1)]


# Downtime -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("on_failure", "end"), [("resume", 9), ("restart", 12)])
def test_an_interrupted_operation_goes_on_or_begins_anew(on_failure: str, end: int) -> None:
    """Down in [2, 4) and [6, 7): 2 + 2 + 2 units of work are kept, or all 5 begin at 7."""
    shop = shop_with([[0]], [[6 if on_failure == "resume" else 5]], probability=0.1, on_failure=on_failure)
    assert run(shop, scenario=failures([(2, 2), (2, 1)])) == [(0, end)]


def test_planned_and_unplanned_downtime_join() -> None:
    """Down in [2, 5) by itself and [5, 8) by plan: no work is done at 5."""
    shop = shop_with([[0]], [[4]], calendar=[(0, 5, 8)], probability=0.1)
    assert run(shop, scenario=failures([(2, 3)])) == [(0, 10)]


def test_nobody_waits_for_a_failure_that_nobody_can_see() -> None:
    """A failure to come is no reason to wait, planned downtime is one, and so is a machine that is down."""
    idle = {"machines": [[0]], "durations": [[1]], "num_machines": 2, "probability": 0.1}
    scenario = failures([], [(4, 3)])
    with pytest.raises(IllegalAction, match="none will come"):
        run(shop_with(**idle), None, scenario=scenario)
    assert run(shop_with(**idle, calendar=[(1, 9, 10)]), None, None, None, scenario=scenario) == [(9, 10)]


def test_a_wait_ends_at_any_event() -> None:
    """Waiting for the release at 9 one is asked at the failure at 4 and at the repair at 7 of the other machine."""
    shop = shop_with([[0], [0]], [[1], [1]], num_machines=2, releases=[0, 9], probability=0.1)
    asked: list[tuple[int, bool, int | None]] = []

    def choose(state: State) -> int | None:
        asked.append((state.time, state.can_wait, state.down_since[1]))
        return None if state.can_wait and state.time < 9 else state.startable()[0][0]

    schedule = simulate(shop, choose, failures([], [(4, 3)]))
    assert asked == [(0, True, None), (4, True, 4), (7, True, None), (9, False, None), (10, False, None)]
    assert rows_of(schedule) == [(0, 0, 0, 9, 10), (1, 0, 0, 10, 11)]


# Scores -------------------------------------------------------------------------------------------------------------


def test_scores_on_paper() -> None:
    """Job 0 has 2 then 3 on machines 0 and 1, job 1 has 4 then 1 on machine 1 alone, released at 1, due at 8."""
    shop = JobShop("scores", [[0, 1], [1, 1]], [[2, 3], [4, 1]], releases=[0, 1], due_dates=[None, 8], weights=[1, 3])
    state = State(shop, 1, next_op=[0, 0], available=[0, 1], place=[None, None], down_since=[None, None])
    assert {name: (score(shop, state, 0), score(shop, state, 1)) for name, score in SCORES.items()} == {
        "spt": (-2, -4),
        "lpt": (2, 4),
        "mwr": (5, 5),
        "lwr": (-5, -5),
        "mor": (2, 2),
        "lor": (-2, -2),
        "fifo": (0, -1),
        "lifo": (0, 1),
        "fdd/mwr": (-2 / 5, -5 / 5),
        "winq": (-4, -4),
        "edd": (-inf, -8),
        "mdd": (-inf, -8),
        "cr": (-inf, -7 / 5),
        "s/opn": (-inf, -2 / 2),
        "atc": (0, 3 / 4 * exp(-2 / (2 * 2.5))),
    }


def test_scores_of_a_late_job() -> None:
    """At 9 job 0 has 6 left in two operations and was due at 5: 10 late at best, not to be discounted."""
    shop = JobShop("late", [[0, 0]], [[2, 4]], due_dates=[5], weights=[3])
    state = State(shop, 9, next_op=[0], available=[0], place=[None], down_since=[None])
    scores = {name: SCORES[name](shop, state, 0) for name in ("edd", "mdd", "cr", "s/opn", "atc")}
    assert scores == {"edd": -5, "mdd": -15, "cr": 4 / 6, "s/opn": 10 / 2, "atc": 3 / 2}


# Drawn shops --------------------------------------------------------------------------------------------------------


@given(shops(**EVERY_MODE, dispatch=("non-delay",)), st.integers(0, 2**32))
def test_whatever_is_decided_the_shop_finishes_and_the_schedule_verifies(shop: JobShop, seed: int) -> None:
    """No deadlock in any mode, and no job moves when or where it may not."""
    scenario = scenario_of(shop, seed)
    rng = np.random.default_rng(seed)
    schedule = simulate(shop, random_choice(rng), scenario)
    report = verify(shop, scenario, schedule)
    assert not report.violations and report.cost is not None
    assert schedule.makespan >= shop.makespan_bound()


@given(shops(**EVERY_MODE, dispatch=("non-delay",)), st.integers(0, 2**32), st.sampled_from(list(SCORES)))
def test_rules_never_wait_and_finish_in_every_mode(shop: JobShop, seed: int, name: str) -> None:
    scenario = scenario_of(shop, seed)
    schedule = simulate(shop, rule_choice(shop, SCORES[name]), scenario)
    assert not verify(shop, scenario, schedule).violations


@given(shops(**EVERY_MODE, dispatch=("non-delay",)), st.integers(0, 2**32))
def test_what_is_offered_does_not_depend_on_the_future(shop: JobShop, seed: int) -> None:
    """Under another future that is the same up to now, the same is offered now."""
    rng = np.random.default_rng(seed)
    scenario = scenario_of(shop, seed)
    offered: list[tuple] = []
    decisions: list[int | None] = []

    def seen(state: State) -> tuple:
        return state.time, state.can_wait, state.candidates(), list(state.down_since), list(state.place)

    def record(state: State) -> int | None:
        offered.append(seen(state))
        decisions.append(random_choice(rng)(state))
        return decisions[-1]

    simulate(shop, record, scenario)
    other = scenario_of(shop, seed + 1)
    common = next((t for t in range(64) if _is_down(shop, scenario, t) != _is_down(shop, other, t)), 64)
    steps = 0

    def replay(state: State) -> int | None:
        nonlocal steps
        step, steps = steps, steps + 1
        if state.time < common and step < len(offered):
            assert seen(state) == offered[step]
            return decisions[step]
        return state.startable()[0][0]

    simulate(shop, replay, other)


def _is_down(shop: JobShop, scenario: Scenarios, time: int) -> list[bool]:
    return [any(a <= time < b for a, b in pairs) for pairs in down_intervals(shop, scenario, time + 1)]


@given(shops(buffers=BUFFERS, dispatch=("non-delay",)), st.integers(0, 2**32))
def test_what_blocking_allows_buffers_allow(shop: JobShop, seed: int) -> None:
    """A schedule without swaps is one with swaps, and that one with buffers."""
    schedule = simulate(shop, random_choice(np.random.default_rng(seed)))
    for buffers in BUFFERS[: BUFFERS.index(shop.settings.buffers) + 1]:
        looser = JobShop(
            "looser", shop.machines, shop.durations, shop.num_machines, shop.releases,
            settings=JobShopSettings(buffers=buffers),
        )  # fmt: skip
        assert verify(looser, None, schedule_of(rows_of(schedule))).is_feasible
