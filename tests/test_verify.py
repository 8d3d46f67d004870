"""Verification and key figures of the job shop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shops import (
    AT_6,
    BEFORE_6,
    BUFFERS,
    EVERY_MODE,
    FROM_6,
    ON_FAILURE,
    PROBABILITIES,
    STATE_AT_6,
    Row,
    random_choice,
    rows_of,
    scenario_of,
    schedule_of,
    shops_in_motion,
)
from shops import shops as any_shops

import orl
from orl.problems.jobshop.instance import Breakdowns, JobShop, JobShopSettings, Schedule
from orl.problems.jobshop.metrics import metrics
from orl.problems.jobshop.scenario import down_intervals
from orl.problems.jobshop.simpy_twin import giffler_thompson, simulate
from orl.problems.jobshop.simpy_twin_rules import SCORES, rule_choice
from orl.problems.jobshop.state import ShopState
from orl.problems.jobshop.verify import LAST_TIME, MAX_VIOLATIONS, verify
from orl.scenario import Scenarios


def kinds(instance: JobShop, rows: list[Row], scenario: Scenarios | None = None) -> list[str]:
    return [violation.kind for violation in verify(instance, scenario, schedule_of(rows)).violations]


# On paper -----------------------------------------------------------------------------------------------------------

# Job A: 3 on the saw, then 2 on the lathe; job B: 2 on the lathe, then 4 on the saw, from time 1 on.
SHOP = JobShop(
    "paper",
    machines=[[0, 1], [1, 0]],
    durations=[[3, 2], [2, 4]],
    releases=[0, 1],
    job_names=("A", "B"),
    machine_names=("saw", "lathe"),
)
VALID: list[Row] = [(0, 0, 0, 0, 3), (1, 0, 1, 1, 3), (0, 1, 1, 3, 5), (1, 1, 0, 3, 7)]
BROKEN: list[tuple[str, dict[int, Row | None], str]] = [
    ("missing", {3: None}, "operation 1 of job B (machine saw) has no row."),
    ("unknown", {4: (2, 0, 0, 7, 8)}, "row 4: job must be in 0..1, got 2."),
    ("unknown", {4: (0, 2, 0, 7, 8)}, "row 4: position must be in 0..1 for job A, got 2."),
    ("unknown", {3: (1, 1, -1, 3, 7)}, "row 3: machine of operation 1 of job B must be in 0..1, got -1."),
    (
        "duplicate",
        {4: (0, 1, 1, 8, 10)},
        "operation 1 of job A is there again at 8 on machine lathe, besides at 3 on machine lathe.",
    ),
    ("machine", {0: (0, 0, 1, -9, -6)}, "operation 0 of job A must run on machine saw, got machine lathe."),
    ("duration", {3: (1, 1, 0, 3, 8)}, "operation 1 of job B on machine saw must take 4, got 5 (from 3 to 8)."),
    ("negative start", {0: (0, 0, 0, -1, 2)}, "operation 0 of job A on machine saw must start at 0 or later, got -1."),
    (
        "release",
        {1: (1, 0, 1, 0, 2)},
        "operation 0 of job B on machine lathe starts at 0, before its job's release at 1.",
    ),
    (
        "precedence",
        {1: (1, 0, 1, 5, 7)},
        "operation 1 of job B on machine saw starts at 3, before operation 0 on machine lathe ends at 7.",
    ),
    (
        "overlap",
        {1: (1, 0, 1, 2, 4), 3: (1, 1, 0, 4, 8)},
        "operation 1 of job A on machine lathe starts at 3, before operation 0 of job B ends at 4.",
    ),
]


def test_a_schedule_drawn_on_paper_is_feasible() -> None:
    report = verify(SHOP, None, schedule_of(VALID))
    assert report.is_feasible and report.cost == 7


@pytest.mark.parametrize(("kind", "changes", "message"), BROKEN, ids=[kind for kind, _, _ in BROKEN])
def test_a_broken_rule_is_named_with_place_and_numbers(kind: str, changes: dict[int, Row | None], message: str) -> None:
    rows = [row for row in (dict(enumerate(VALID)) | changes).values() if row is not None]
    assert (kind, message) in verify(SHOP, None, schedule_of(rows)).violations


def test_zero_duration_may_touch_but_not_pierce() -> None:
    """An operation without duration may sit on the boundary of another, not inside it."""
    shop = JobShop("zero", machines=[[0], [0], [0]], durations=[[4], [0], [0]])

    def at(first: int, second: int) -> list[str]:
        return kinds(shop, [(0, 0, 0, 2, 6), (1, 0, 0, first, first), (2, 0, 0, second, second)])

    assert at(2, 2) == at(2, 6) == at(6, 6) == at(0, 9) == []
    assert at(3, 6) == ["overlap"] and at(3, 3) == at(3, 5) == ["overlap", "overlap"]


def test_an_overlap_hidden_behind_a_third_operation_is_found() -> None:
    """The operation that ends last counts, not the one that started last."""
    shop = JobShop("hidden", machines=[[0], [0], [0]], durations=[[9], [1], [1]])
    assert kinds(shop, [(0, 0, 0, 0, 9), (1, 0, 0, 2, 3), (2, 0, 0, 5, 6)]) == ["overlap", "overlap"]


def test_nothing_left_has_no_cost() -> None:
    empty = verify(SHOP, None, schedule_of([]))
    assert empty.cost is None and [violation.kind for violation in empty.violations] == ["missing"] * 4
    assert verify(SHOP, None, schedule_of([(7, 0, 0, 0, 3)])).cost is None
    assert verify(SHOP, None, Schedule([0, 1], [0], [0], [0], [3])).violations[0].kind == "shape"
    assert verify(SHOP, None, Schedule(0, 0, 0, 0, 3)).violations[0].kind == "shape"


def test_the_list_is_capped() -> None:
    rows = [(9, 0, 0, 0, 1)] * (2 * MAX_VIOLATIONS)
    assert len(verify(SHOP, None, schedule_of(rows)).violations) == MAX_VIOLATIONS


def test_key_figures_on_paper() -> None:
    """Flow times 5 and 6, no waiting; saw 7 of 7 and lathe 4 of 7 busy; B is 3 late at weight 2, A 1 early."""
    shop = JobShop("due", SHOP.machines, SHOP.durations, releases=[0, 1], due_dates=[6, 4], weights=[1, 2])
    assert metrics(shop, None, schedule_of(VALID)) == {
        "makespan": 7,
        "flow_time_mean": 5.5,
        "waiting_time_mean": 0,
        "utilisation_mean": pytest.approx(11 / 14),
        "utilisation_max": 1,
        "idle_time_total": 0,
        "weighted_tardiness": 6,
        "tardy_jobs": 1,
        "max_lateness": 3,
    }


def test_key_figures_of_no_work_at_all() -> None:
    shop = JobShop("nothing", machines=[[0]], durations=[[0]], num_machines=3)
    assert set(metrics(shop, None, schedule_of([(0, 0, 0, 0, 0)])).values()) == {0}


# Blocking and downtime on paper ------------------------------------------------------------------------------------


def with_settings(shop: JobShop, calendar: tuple = (), **settings) -> JobShop:
    return JobShop(
        shop.name, shop.machines, shop.durations, shop.num_machines, shop.releases, shop.due_dates, shop.weights,
        calendar, shop.job_names, shop.machine_names, settings=JobShopSettings(**settings),
    )  # fmt: skip


def test_a_swap_is_none_without_swaps() -> None:
    """VALID swaps A and B at 3."""
    assert verify(with_settings(SHOP, buffers="swap"), None, schedule_of(VALID)).is_feasible
    report = verify(with_settings(SHOP, buffers="none"), None, schedule_of(VALID))
    message = "at 3 these moves wait for one another: job A to machine lathe, job B to machine saw."
    assert report.violations == (("swap", message),)


def test_five_of_the_moves_that_wait_for_one_another_are_named() -> None:
    for count, more in ((5, "job 4 to machine 0."), (6, "job 4 to machine 5 and 1 more.")):
        machines = [[job, (job + 1) % count] for job in range(count)]
        shop = JobShop("ring", machines, [[1, 1]] * count, settings=JobShopSettings(buffers="none"))
        rows = [(job, at, machines[job][at], at, at + 1) for job in range(count) for at in range(2)]
        report = verify(shop, None, schedule_of(rows))
        assert [found.kind for found in report.violations] == ["swap"]
        assert report.violations[0].message.endswith(more)


def test_a_job_that_is_done_blocks_its_machine() -> None:
    """A is done on the saw at 3 but goes to the lathe at 5; B comes to the saw at 4."""
    rows = [(0, 0, 0, 0, 3), (1, 0, 1, 1, 3), (0, 1, 1, 5, 7), (1, 1, 0, 4, 8)]
    assert verify(SHOP, None, schedule_of(rows)).is_feasible
    report = verify(with_settings(SHOP, buffers="swap"), None, schedule_of(rows))
    message = "operation 1 of job B on machine saw starts at 4, before job A, there since 0, leaves it at 5."
    assert report.violations == (("blocking", message),)


def test_a_job_that_goes_on_on_its_own_machine_never_leaves_it() -> None:
    """So nothing passes in between, in however little time; with buffers it may."""
    shop = JobShop("own", machines=[[0, 0], [0]], durations=[[3, 2], [0]])
    rows = [(0, 0, 0, 0, 3), (0, 1, 0, 3, 5), (1, 0, 0, 3, 3)]
    assert kinds(shop, rows) == []
    for buffers in ("swap", "none"):
        assert kinds(with_settings(shop, buffers=buffers), rows) == ["blocking"]
        assert kinds(with_settings(shop, buffers=buffers), [*rows[:2], (1, 0, 0, 5, 5)]) == []


def test_moves_of_one_instant_that_a_passing_job_upsets() -> None:
    """Job 0 passes machines 1 and 2 in no time at 2. Job 1 goes from 1 to 2 then, and would have to be gone from 1
    before job 0 comes, yet come to 2 after job 0 is gone. If job 1 goes to machine 0 instead they swap first.
    """
    for target, is_possible in ((2, False), (0, True)):
        shop = JobShop("pass", machines=[[0, 1, 2, 3], [1, target]], durations=[[2, 0, 0, 1], [2, 1]])
        rows = [
            (0, 0, 0, 0, 2),
            (0, 1, 1, 2, 2),
            (0, 2, 2, 2, 2),
            (0, 3, 3, 2, 3),
            (1, 0, 1, 0, 2),
            (1, 1, target, 2, 3),
        ]
        assert kinds(shop, rows) == []
        assert kinds(with_settings(shop, buffers="swap"), rows) == ([] if is_possible else ["swap"])
        assert kinds(with_settings(shop, buffers="none"), rows) == ["swap"]


def test_nothing_starts_on_a_machine_that_is_down_or_leaves_it() -> None:
    """The saw is down from 3 to 5: A's work there is done, but A holds it until 5, unless there is a buffer."""
    rows = [(0, 0, 0, 0, 3), (0, 1, 1, 3, 5), (1, 0, 1, 1, 3), (1, 1, 0, 5, 9)]
    assert kinds(with_settings(SHOP, ((0, 3, 5),)), rows) == []
    at_repair = [(0, 0, 0, 0, 3), (0, 1, 1, 5, 7), (1, 0, 1, 1, 3), (1, 1, 0, 5, 9)]
    assert kinds(with_settings(SHOP, ((0, 3, 5),), buffers="swap"), at_repair) == []
    leaves = with_settings(SHOP, ((0, 3, 5),), buffers="swap")
    assert verify(leaves, None, schedule_of(rows)).violations[0] == (
        "downtime", "job A leaves machine saw at 3, which is down from 3 to 5."
    )  # fmt: skip
    early = [*rows[:3], (1, 1, 0, 4, 9)]
    assert verify(with_settings(SHOP, ((0, 3, 5),)), None, schedule_of(early)).violations == (
        ("downtime", "operation 1 of job B starts at 4 on machine saw, which is down from 3 to 5."),
    )


def test_downtime_stretches_an_operation() -> None:
    """The saw is down from 1 to 2: A's 3 units there last until 4, or begin anew at 2."""
    for on_failure, end in (("resume", 4), ("restart", 5)):
        shop = with_settings(SHOP, ((0, 1, 2),), on_failure=on_failure)
        rows = [(0, 0, 0, 0, end), (0, 1, 1, end, end + 2), (1, 0, 1, 1, 3), (1, 1, 0, end, end + 4)]
        assert kinds(shop, rows) == []
        (violation,) = verify(shop, None, schedule_of([(0, 0, 0, 0, 3), *rows[1:]])).violations
        assert violation.kind == "duration" and "must take 3 while its machine is up" in violation.message


def test_a_schedule_too_late_to_judge_is_refused() -> None:
    shop = JobShop("late", [[0]], [[1]], due_dates=[3])
    assert kinds(shop, [(0, 0, 0, LAST_TIME, LAST_TIME + 1)]) == ["horizon"]
    shop = with_settings(shop, breakdowns=Breakdowns(0.2))
    assert "horizon" in kinds(shop, [(0, 0, 0, 2**40, 2**40 + 1)], scenario_of(shop, 0))


@pytest.mark.parametrize(
    ("objective", "cost"),
    [("makespan", 7), ("flow-time", 5 + 6), ("weighted-tardiness", 2 * 3), ("max-lateness", 3), ("tardy-jobs", 1)],
)
def test_the_cost_is_the_objective(objective: str, cost: float) -> None:
    settings = JobShopSettings(objective=objective)
    shop = JobShop(
        "due", SHOP.machines, SHOP.durations, releases=[0, 1], due_dates=[6, 4], weights=[1, 2], settings=settings
    )
    assert verify(shop, None, schedule_of(VALID)).cost == cost


def test_key_figures_of_a_shop_as_it_is() -> None:
    """The saw is down from 1 to 2 and the lathe from 8 to 20, beyond the makespan of 8; B blocks the lathe 3 to 4."""
    shop = with_settings(SHOP, ((0, 1, 2), (1, 8, 20)), buffers="swap")
    rows = [(0, 0, 0, 0, 4), (0, 1, 1, 4, 6), (1, 0, 1, 1, 3), (1, 1, 0, 4, 8)]
    assert kinds(shop, rows) == []
    assert metrics(shop, None, schedule_of(rows)) == {
        "makespan": 8,
        "flow_time_mean": 6.5,
        "waiting_time_mean": 1,  # A while the saw is down, B while it blocks the lathe
        "utilisation_mean": pytest.approx((7 / 8 + 4 / 8) / 2),
        "utilisation_max": 7 / 8,
        "idle_time_total": 2,
        "time_blocked_total": 1,
        "downtime_total": 1,
    }


# In motion on paper -------------------------------------------------------------------------------------------------

BUFFERED = replace(AT_6, settings=JobShopSettings())


def at_6(shop: JobShop, history: bool = False) -> JobShop:
    return shop.in_motion(replace(STATE_AT_6, history=schedule_of(BEFORE_6) if history else None))


def test_a_shop_in_motion_goes_on_as_drawn_on_paper() -> None:
    """With history and without, in every mode; the cost counts C, complete at 3, which needs no row."""
    for buffers in BUFFERS:
        settings = JobShopSettings(buffers=buffers, objective="flow-time")
        shop = replace(AT_6, settings=settings)
        report = verify(at_6(shop), None, schedule_of(FROM_6))
        assert report.is_feasible and report.cost == 7 + 8 + 3 + 10
        report = verify(at_6(shop, history=True), None, schedule_of([*FROM_6, *BEFORE_6]))
        assert report.is_feasible and report.cost == 7 + 8 + 3 + 10
    assert kinds(at_6(BUFFERED), [*FROM_6[:2], (3, 0, 0, 6, 8), (3, 1, 1, 8, 9)]) == []


@pytest.mark.parametrize(
    ("shop", "index", "row", "kind", "message"),
    [
        (
            at_6(AT_6), 4, BEFORE_6[0], "history",
            "operation 0 of job A, completed before 6, must have no row, as there is no history; got from 0 to 3 on "
            "machine saw.",
        ),
        (
            at_6(AT_6, history=True), 4, (0, 0, 0, 0, 2), "history",
            "operation 0 of job A, completed before 6, must be as it was, from 0 to 3 on machine saw; got from 0 to 2 "
            "on machine saw.",
        ),
        (
            at_6(AT_6, history=True), 5, None, "history",
            "operation 0 of job B (machine saw), completed before 6, has no row.",
        ),
        (at_6(AT_6), 1, None, "missing", "operation 1 of job B (machine lathe) has no row."),
        (
            at_6(AT_6), 0, (0, 1, 1, 4, 7), "clock",
            "operation 1 of job A on machine lathe is under way since 3, got a start at 4.",
        ),
        (
            at_6(BUFFERED), 2, (3, 0, 0, 5, 7), "clock",
            "operation 0 of job D on machine saw starts at 5, before the shop goes on at 6.",
        ),
        (
            at_6(AT_6), 0, (0, 1, 1, 3, 8), "duration",
            "operation 1 of job A on machine lathe must take 1 from 6 on, got 2 (from 6 to 8).",
        ),
        (
            at_6(AT_6), 3, (3, 1, 1, 8, 9), "precedence",
            "operation 1 of job D on machine lathe starts at 8, before operation 0 on machine saw ends at 9.",
        ),
        (
            at_6(BUFFERED), 1, (1, 1, 1, 6, 7), "overlap",
            "operation 1 of job B on machine lathe starts at 6, before operation 1 of job A ends at 7.",
        ),
        (
            at_6(AT_6), 2, (3, 0, 0, 6, 8), "blocking",
            "operation 0 of job D on machine saw starts at 6, before job B, there as the shop goes on at 6, leaves it "
            "at 7.",
        ),
    ],
)  # fmt: skip
def test_a_broken_rule_of_a_shop_in_motion_is_named(
    shop: JobShop, index: int, row: Row | None, kind: str, message: str
) -> None:
    """One row is changed, added or left out, and what is broken is named with place and numbers, and nothing else."""
    rows: list[Row | None] = [*FROM_6, *(BEFORE_6 if shop.state.history is not None else ())]  # type: ignore[union-attr]
    rows[index : index + 1] = [row]
    violations = verify(shop, None, schedule_of([row for row in rows if row is not None])).violations
    assert (kind, message) in violations
    assert {violation.kind for violation in violations} == {kind}


def test_a_job_that_is_blocked_as_the_shop_goes_on_cannot_leave_a_machine_that_is_down() -> None:
    """The saw is down from 6 to 8: until then B holds it, unless there is a buffer."""
    calendar = ((0, 6, 8),)
    rows = [FROM_6[0], (1, 1, 1, 7, 8), (3, 0, 0, 8, 10), (3, 1, 1, 10, 11)]
    assert kinds(at_6(replace(BUFFERED, calendar=calendar)), rows) == []
    assert verify(at_6(replace(AT_6, calendar=calendar)), None, schedule_of(rows)).violations == (
        ("downtime", "job B leaves machine saw at 7, which is down from 6 to 8."),
    )
    assert kinds(at_6(replace(AT_6, calendar=calendar)), [rows[0], (1, 1, 1, 8, 9), *rows[2:]]) == []


def test_nothing_passes_a_machine_on_which_a_job_is_in_however_little_time() -> None:
    """The saw is taken as the shop goes on, though what runs there began just then; with buffers, once it is done."""
    shop = JobShop("held", machines=[[0], [0]], durations=[[2], [0]])
    state = ShopState(4, [0, 0], work_left=[2, 0], started=[4, -1], ready_at=[-1, -1], down_since=[-1])
    for time, expected in ((4, ["overlap"]), (5, ["overlap"]), (6, [])):
        assert kinds(shop.in_motion(state), [(0, 0, 0, 4, 6), (1, 0, 0, time, time)]) == expected


def test_who_is_on_a_machine_takes_part_in_swaps() -> None:
    """A, on the saw as the shop goes on, and B swap at 7, which they may not without swaps."""
    shop = JobShop("swap", [[0, 1], [1, 0]], [[4, 1], [1, 1]], job_names=("A", "B"))
    state = ShopState(5, [0, 0], work_left=[2, 0], started=[3, -1], ready_at=[-1, -1], down_since=[-1, -1])
    rows = [(0, 0, 0, 3, 7), (1, 0, 1, 6, 7), (0, 1, 1, 7, 8), (1, 1, 0, 7, 8)]
    assert kinds(with_settings(shop, buffers="swap").in_motion(state), rows) == []
    assert kinds(with_settings(shop, buffers="none").in_motion(state), rows) == ["swap"]


@pytest.mark.parametrize(("on_failure", "end"), [("resume", 9), ("restart", 12)])
def test_what_is_interrupted_as_the_shop_goes_on_ends_after_the_repair(on_failure: str, end: int) -> None:
    """Down from 4 to 8: the 1 unit that is left at 6 ends at 9, or all 4 begin anew."""
    shop = at_6(with_settings(AT_6, ((1, 4, 8),), on_failure=on_failure))
    assert shop.state is not None and shop.state.down_since.tolist() == [-1, 4]
    rows = [(0, 1, 1, 3, end), (1, 1, 1, end, end + 1), (3, 0, 0, 6, 8), (3, 1, 1, end + 1, end + 2)]
    assert kinds(shop, rows) == []
    (violation,) = verify(shop, None, schedule_of([(0, 1, 1, 3, 7), *rows[1:]])).violations
    assert violation.kind == "duration" and "must take 1 from 6 on while its machine is up" in violation.message


# Proven optima with their makespans: found by this project's own models, starts by job and position.
OPTIMA = {
    ("ft06", "swap", 63): [
        [0, 1, 8, 14, 21, 24], [0, 8, 13, 24, 34, 44], [1, 6, 10, 18, 29, 30], [24, 29, 34, 39, 44, 54],
        [25, 34, 37, 44, 54, 57], [14, 24, 34, 44, 54, 58],
    ],
    ("ft06", "none", 69): [
        [0, 1, 4, 10, 25, 29], [13, 30, 35, 45, 55, 65], [10, 25, 29, 40, 49, 56], [30, 35, 40, 45, 48, 56],
        [1, 10, 13, 18, 25, 29], [0, 3, 6, 15, 25, 29],
    ],
    ("la01", "swap", 793): [
        [488, 509, 579, 676, 731], [1, 23, 75, 97, 140], [429, 481, 579, 622, 672], [54, 131, 186, 265, 352],
        [23, 106, 140, 265, 367], [0, 54, 97, 186, 290], [211, 290, 367, 488, 579], [352, 390, 509, 579, 676],
        [140, 211, 265, 290, 390], [404, 481, 579, 622, 697],
    ],
    ("la01", "none", 881): [
        [186, 207, 260, 355, 410], [0, 21, 73, 89, 115], [615, 678, 776, 818, 869], [207, 284, 392, 471, 537],
        [21, 104, 256, 325, 355], [477, 537, 580, 678, 776], [421, 490, 567, 654, 776], [580, 618, 678, 749, 776],
        [4, 21, 89, 114, 158], [114, 256, 335, 402, 477],
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "mode", "makespan"), list(OPTIMA))
def test_stored_optima_verify_in_the_right_modes_only(name: str, mode: str, makespan: int) -> None:
    """What needs no swap is feasible with swaps and buffers as well, not the other way round."""
    shop = orl.load(f"jobshop/{name}")
    schedule = Schedule.from_starts(shop, np.concatenate(OPTIMA[name, mode, makespan]))
    for buffers in BUFFERS:
        report = verify(with_settings(shop, buffers=buffers), None, schedule)
        assert report.cost == makespan
        assert report.is_feasible == (BUFFERS.index(buffers) <= BUFFERS.index(mode))
        assert {violation.kind for violation in report.violations} <= {"swap"}


@pytest.mark.parametrize("name", ["ft06", "la01"])
def test_a_schedule_that_needs_buffers_blocks(name: str) -> None:
    shop = orl.load(f"jobshop/{name}")
    rows = rows_of(simulate(shop, rule_choice(shop, SCORES["mwr"])))
    for buffers in ("swap", "none"):
        assert "blocking" in kinds(with_settings(shop, buffers=buffers), rows)


# Drawn shops --------------------------------------------------------------------------------------------------------

OP = st.tuples(st.integers(0, 2), st.integers(0, 5))


@st.composite
def shops(draw: Callable) -> JobShop:
    """Draw a small shop: recirculation, zero durations, releases, unequal jobs.

    The first job has every feature that a mutation needs: two real operations in a row on one machine, and a release.
    """
    jobs = [[(0, 3), (0, 2)], *draw(st.lists(st.lists(OP, min_size=1, max_size=4), max_size=4))]
    return JobShop(
        "drawn",
        machines=[[machine for machine, _ in job] for job in jobs],
        durations=[[duration for _, duration in job] for job in jobs],
        num_machines=4,
        releases=[2, *draw(st.lists(st.integers(0, 6), min_size=len(jobs) - 1, max_size=len(jobs) - 1))],
        job_names=draw(st.sampled_from([None, [f"job {job}" for job in range(len(jobs))]])),
    )


@st.composite
def scheduled(draw: Callable) -> tuple[JobShop, list[Row], np.random.Generator]:
    """Draw a shop and a valid schedule of it, by a random rule or a random policy, non-delay, waiting or active."""
    shop, rng = draw(shops()), np.random.default_rng(draw(st.integers(0, 2**32)))
    rule = rule_choice(shop, draw(st.sampled_from([*SCORES.values(), rng.random(shop.num_ops)])))
    way = draw(st.sampled_from(["rule", "policy", "active"]))
    if way == "active":
        return shop, rows_of(giffler_thompson(shop, rule)), rng
    return shop, rows_of(simulate(shop, rule if way == "rule" else random_choice(rng))), rng


@given(scheduled())
def test_what_the_twin_does_is_feasible(drawn: tuple[JobShop, list[Row], np.random.Generator]) -> None:
    """Every schedule of the twin passes, no sooner than the bound; the key figures agree and are finite."""
    shop, rows, rng = drawn
    rng.shuffle(rows)
    schedule = schedule_of(rows)
    report = verify(shop, None, schedule)
    assert report.is_feasible and report.cost == schedule.makespan >= shop.makespan_bound()
    figures = metrics(shop, None, schedule)
    assert figures["makespan"] == report.cost and np.isfinite(list(figures.values())).all()
    assert 0 <= figures["utilisation_mean"] <= figures["utilisation_max"] <= 1
    assert 0 <= figures["waiting_time_mean"] <= figures["flow_time_mean"] and figures["idle_time_total"] >= 0


def moved(row: Row, start: int) -> Row:
    return (*row[:3], start, start + row[4] - row[3])


def mutated(kind: str, shop: JobShop, rows: list[Row], rng: np.random.Generator) -> list[Row]:
    """Return the rows with one mutation that must be reported as `kind`."""

    def pick(fits: Callable[[Row], bool]) -> int:
        return int(rng.choice([index for index, row in enumerate(rows) if fits(row)]))

    index = pick(lambda row: True)
    row = rows[index]
    job, position, machine, start, end = row
    new: list[Row] = []
    match kind:
        case "duplicate":
            new = [row, moved(row, start + int(rng.integers(0, 100)))]
        case "unknown":
            length = len(shop.machines[job])
            wrong = [(-1, position, machine), (shop.num_jobs, position, machine), (job, length, machine)]
            wrong += [(job, -1, machine), (job, position, shop.num_machines), (job, position, -1)]
            new = [(*wrong[rng.integers(len(wrong))], start, end)]
        case "machine":
            new = [(job, position, (machine + int(rng.integers(1, 4))) % 4, start, end)]
        case "duration":
            new = [(job, position, machine, start, end + int(rng.choice([-1, 1])))]
        case "negative start":
            new = [moved(row, -int(rng.integers(1, 100)))]
        case "release":
            index = pick(lambda row: shop.releases[row[0]] > 0)
            new = [moved(rows[index], int(rng.integers(shop.releases[rows[index][0]])))]
        case "precedence":
            index = pick(lambda row: row[1] > 0)
            before = next(row for row in rows if row[:2] == (rows[index][0], rows[index][1] - 1))
            new = [moved(rows[index], before[4] - 1)]
        case "overlap":  # with another of the same machine, both of some duration
            index = pick(lambda row: row[0] == 0)
            rivals = [r for r in rows if r[2] == rows[index][2] and r[4] > r[3] and r != rows[index]]
            new = [moved(rows[index], rivals[rng.integers(len(rivals))][3])]
    return rows[:index] + new + rows[index + 1 :]


@pytest.mark.parametrize("kind", [*dict.fromkeys(kind for kind, _, _ in BROKEN)])
@given(drawn=scheduled())
def test_a_mutation_is_caught(kind: str, drawn: tuple[JobShop, list[Row], np.random.Generator]) -> None:
    """A valid schedule in which one thing is changed is reported under the name of that thing."""
    shop, rows, rng = drawn
    assert kind in kinds(shop, mutated(kind, shop, rows, rng))


@given(scheduled())
def test_overlap_is_what_the_pairs_say(drawn: tuple[JobShop, list[Row], np.random.Generator]) -> None:
    """With starts at random, an operation is reported if and only if some pair of its machine is out of order."""
    shop, rows, rng = drawn
    rows = [moved(row, int(rng.integers(0, 25))) for row in rows]
    pairs = [
        (a, b)
        for a, b in combinations(rows, 2)
        if a[2] == b[2] and not (a[4] <= b[3] or b[4] <= a[3])
    ]  # fmt: skip
    found = Counter(kinds(shop, rows))["overlap"]
    assert bool(pairs) == bool(found) and found <= len(pairs)


COLUMN = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 4), max_size=6)


@given(
    shops() | any_shops(**EVERY_MODE),
    st.lists(COLUMN, min_size=5, max_size=5) | COLUMN.map(lambda column: [column] * 5),
)
def test_no_schedule_makes_it_raise(shop: JobShop, columns: list[list[int]]) -> None:
    """Unless it happens to be right, which it can be in a shop of a single operation."""
    schedule = Schedule(*columns)
    report = verify(shop, scenario_of(shop, 0), schedule)
    assert report.is_feasible == (not report.violations) and (report.violations or shop.num_ops == len(schedule.job))


# Drawn shops of every mode -------------------------------------------------------------------------------------------


@st.composite
def scheduled_in_any_mode(draw: Callable, **modes) -> tuple[JobShop, Scenarios, list[Row], np.random.Generator]:
    """Draw a shop, a scenario and the schedule of a random policy of the twin."""
    shop = draw(any_shops(**{**EVERY_MODE, "dispatch": ("non-delay",), **modes}))
    seed = draw(st.integers(0, 2**32))
    scenario, rng = scenario_of(shop, seed), np.random.default_rng(seed)
    return shop, scenario, rows_of(simulate(shop, random_choice(rng), scenario)), rng


@given(scheduled_in_any_mode())
def test_key_figures_are_in_range_in_any_mode(drawn: tuple[JobShop, Scenarios, list[Row], np.random.Generator]) -> None:
    shop, scenario, rows, _ = drawn
    figures = metrics(shop, scenario, schedule_of(rows))
    assert np.isfinite(list(figures.values())).all()
    assert 0 <= figures["utilisation_mean"] <= figures["utilisation_max"] <= 1
    assert 0 <= figures["waiting_time_mean"] <= figures["flow_time_mean"] and figures["idle_time_total"] >= 0
    assert 0 <= figures.get("time_blocked_total", 0) <= shop.num_machines * figures["makespan"]
    assert ("time_blocked_total" in figures) == (shop.settings.buffers != "unlimited")
    assert ("downtime_total" in figures) == shop.has_downtime
    down = down_intervals(shop, scenario, int(figures["makespan"]) + 1)
    ticks = sum(a <= t < b for pairs in down for a, b in pairs for t in range(int(figures["makespan"])))
    assert figures.get("downtime_total", 0) == ticks


@given(scheduled_in_any_mode())
def test_a_false_end_is_caught_in_any_mode(drawn: tuple[JobShop, Scenarios, list[Row], np.random.Generator]) -> None:
    shop, scenario, rows, rng = drawn
    index = int(rng.integers(len(rows)))
    rows[index] = (*rows[index][:4], rows[index][4] + int(rng.choice([-1, 1])))
    assert "duration" in kinds(shop, rows, scenario)


@given(scheduled_in_any_mode(probabilities=PROBABILITIES[2:]))
def test_a_start_in_downtime_is_caught_in_any_mode(
    drawn: tuple[JobShop, Scenarios, list[Row], np.random.Generator],
) -> None:
    shop, scenario, rows, rng = drawn
    index = int(rng.integers(len(rows)))
    job, position, machine, start, end = rows[index]
    a, b = down_intervals(shop, scenario, 100)[machine][0]
    start = int(rng.integers(a, b))
    rows[index] = (job, position, machine, start, max(start, end))
    assert "downtime" in kinds(shop, rows, scenario)


@given(any_shops(max_ops=1, max_jobs=1, max_machines=1, probabilities=PROBABILITIES[1:], calendars=True,
                 on_failure=ON_FAILURE), st.integers(0, 2**32), st.integers(10, 50))  # fmt: skip
def test_an_end_is_what_counting_time_units_says(shop: JobShop, seed: int, start: int) -> None:
    scenario = scenario_of(shop, seed)

    def is_down(time: int) -> bool:
        return any(a <= time < b for a, b in down_intervals(shop, scenario, time + 1)[0])

    while is_down(start):
        start += 1
    time, done, duration = start, 0, shop.durations[0][0]
    while done < duration:
        done = done if is_down(time) else done + 1
        if is_down(time) and shop.settings.on_failure == "restart":
            done = 0
        time += 1
    for end in (time - 1, time, time + 1):
        assert kinds(shop, [(0, 0, 0, start, end)], scenario) == ["duration"] * (end != time)


def holdings(rows: list[Row]) -> list[tuple[int, int, int]]:
    """Return (machine, from, to) of what a blocking shop holds, consecutive operations on one machine joined."""
    held: list[tuple[int, int, int]] = []
    before: Row | None = None
    for row in sorted(rows):
        if before is not None and row[0] == before[0]:
            machine, since, _ = held[-1]
            held[-1] = machine, since, row[3]
            if row[2] == before[2]:
                held[-1] = machine, since, row[4]
                before = row
                continue
        held.append((row[2], row[3], row[4]))
        before = row
    return held


@given(scheduled_in_any_mode(buffers=("unlimited",), probabilities=(0.0,), calendars=False))
def test_blocking_is_what_the_pairs_say(drawn: tuple[JobShop, Scenarios, list[Row], np.random.Generator]) -> None:
    """A schedule of a shop with buffers is reported if and only if two jobs would hold one machine."""
    shop, _, rows, _ = drawn
    pairs = [(a, b) for a, b in combinations(holdings(rows), 2) if a[0] == b[0] and not (a[2] <= b[1] or b[2] <= a[1])]
    found = kinds(with_settings(shop, buffers="swap"), rows)
    assert ("blocking" in found) == bool(pairs)


@st.composite
def scheduled_in_motion(draw: Callable, **modes) -> tuple[JobShop, Scenarios, list[Row], np.random.Generator]:
    """Draw a shop in motion, a scenario and the schedule of a random policy of the twin."""
    shop, seed = draw(shops_in_motion(**modes))
    scenario, rng = scenario_of(shop, seed + 1), np.random.default_rng(seed)
    return shop, scenario, rows_of(simulate(shop, random_choice(rng), scenario)), rng


@given(scheduled_in_motion())
def test_a_change_is_caught_in_motion(drawn: tuple[JobShop, Scenarios, list[Row], np.random.Generator]) -> None:
    """A false end, a start before the clock, or before the one of what is under way, and a change of what has been."""
    shop, scenario, rows, rng = drawn
    index = int(rng.integers(len(rows)))
    job, position, machine, start, end = rows[index]
    assert shop.state is not None
    is_before = position < shop.state.ops_done[job]
    is_under_way = position == shop.state.ops_done[job] and shop.state.work_left[job] > 0
    false_end = (job, position, machine, start, end + int(rng.choice([-1, 1])))
    assert ("history" if is_before else "duration") in kinds(
        shop, [*rows[:index], false_end, *rows[index + 1 :]], scenario
    )
    early = (start if is_under_way else shop.clock) - 1
    found = kinds(shop, [*rows[:index], (job, position, machine, early, end), *rows[index + 1 :]], scenario)
    assert is_before or ("clock" if early >= 0 or is_under_way else "negative start") in found
    found = kinds(shop, rows[:index] + rows[index + 1 :], scenario)
    assert ("history" if is_before else "missing") in found


@given(shops_in_motion(buffers=("swap",), probabilities=(0.0,), calendars=False))
def test_blocking_in_motion_is_what_the_pairs_say(drawn: tuple[JobShop, int]) -> None:
    """With gaps at random, it is reported if and only if two jobs hold one machine; some do before anything moves."""
    shop, seed = drawn
    rng, state, rows = np.random.default_rng(seed), shop.state, []
    assert state is not None
    held = []
    for job, (route, durations) in enumerate(zip(shop.machines, shop.durations, strict=True)):
        done, time = int(state.ops_done[job]), max(shop.clock, int(shop.releases[job]))
        of_job = []
        if 0 < done < len(route) and state.work_left[job] == 0:
            of_job = [(job, done - 1, route[done - 1], time - 0.5, time)]
        for position in range(done, len(route)):
            start = time + int(rng.integers(4))
            time = start + durations[position]
            row = (job, position, route[position], start, time)
            if position == done and state.work_left[job] > 0:
                time = shop.clock + int(state.work_left[job])
                row = (job, position, route[position], int(state.started[job]), time)
                of_job.append((*row[:3], shop.clock - 0.5, time))
            else:
                of_job.append(row)
            rows.append(row)
        held += holdings(of_job)
    pairs = [(a, b) for a, b in combinations(held, 2) if a[0] == b[0] and not (a[2] <= b[1] or b[2] <= a[1])]
    found = kinds(shop.in_motion(replace(state, history=None)), rows)
    assert ("blocking" in found) == bool(pairs) and set(found) <= {"blocking", "swap"}


# The moves of one instant, against trying everything ----------------------------------------------------------------


def can_be_ordered(paths: list[list[int | None]], may_swap: bool) -> bool:
    """Return whether jobs can go these ways, one move after the other or in a cycle; None is outside."""

    def is_reachable(done: tuple[int, ...]) -> bool:
        if done in seen:
            return False
        seen.add(done)
        here = [path[at] for path, at in zip(paths, done, strict=True)]
        target = {
            job: path[at + 1] for job, (path, at) in enumerate(zip(paths, done, strict=True)) if at + 1 < len(path)
        }
        if not target:
            return True
        sets = [{job} for job, machine in target.items() if machine is None or machine not in here]
        if may_swap:
            for size in range(2, len(paths) + 1):
                for jobs in combinations(target, size):
                    if None not in (goal := {target[job] for job in jobs}) and goal == {here[job] for job in jobs}:
                        sets.append(set(jobs))
        return any(is_reachable(tuple(at + (job in jobs) for job, at in enumerate(done))) for jobs in sets)

    seen: set[tuple[int, ...]] = set()
    return is_reachable(tuple(0 for _ in paths))


@given(st.data())
def test_moves_can_be_ordered_if_trying_everything_finds_an_order(data: st.DataObject) -> None:
    """Jobs come from machines held until 1 or from outside, pass others in no time, and stay on others or leave."""
    num_machines, num_jobs = 4, data.draw(st.integers(2, 4))
    begin = data.draw(st.permutations(range(4)))[:num_jobs]
    finish = data.draw(st.permutations(range(4)))[:num_jobs]
    machines, durations, rows, paths = [], [], [], []
    for job in range(num_jobs):
        comes, stays = data.draw(st.booleans()), data.draw(st.booleans())
        middle = data.draw(st.lists(st.integers(0, num_machines - 1), min_size=1 - (comes or stays), max_size=3))
        route = [begin[job]] * comes + middle + [finish[job]] * stays
        times = [1] * comes + [0] * len(middle) + [1] * stays
        starts = [0] * comes + [1] * (len(middle) + stays)
        machines.append(route)
        durations.append(times)
        rows += [(job, o, m, s, s + d) for o, (m, s, d) in enumerate(zip(route, starts, times, strict=True))]
        path: list[int | None] = [] if comes else [None]
        path += [machine for o, machine in enumerate(route) if o == 0 or machine != route[o - 1]]
        paths.append(path if stays else [*path, None])
    shop = JobShop("instant", machines, durations, num_machines)
    for buffers in ("swap", "none"):
        found = kinds(with_settings(shop, buffers=buffers), rows)
        if "blocking" in found or "overlap" in found:  # a job that never leaves its machine while others pass it
            continue
        assert found == ([] if can_be_ordered(paths, buffers == "swap") else ["swap"])
