"""Verification, key figures and the SimPy twin of the job shop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl.errors import IllegalAction
from orl.problems.jobshop.instance import JobShop, Schedule
from orl.problems.jobshop.metrics import metrics
from orl.problems.jobshop.simpy_twin import SCORES, State, giffler_thompson, rule_choice, simulate
from orl.problems.jobshop.verify import MAX_VIOLATIONS, verify

Row = tuple[int, int, int, int, int]  # job, position, machine, start, end


def rows_of(schedule: Schedule) -> list[Row]:
    return list(zip(*(getattr(schedule, column.name).tolist() for column in fields(Schedule)), strict=True))


def schedule_of(rows: list[Row]) -> Schedule:
    return Schedule(*np.array(rows, dtype=np.int64).reshape(-1, 5).T)


def kinds(instance: JobShop, rows: list[Row]) -> list[str]:
    return [violation.kind for violation in verify(instance, None, schedule_of(rows)).violations]


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


# The twin on paper --------------------------------------------------------------------------------------------------


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
        return None if state.time == 0 else max(job for queue in state.startable() for job in queue)

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


def test_scores_on_paper() -> None:
    """Job 0 has 2 then 3 on machines 0 and 1, job 1 has 4 then 1 on machine 1 alone, released at 1."""
    shop = JobShop("scores", machines=[[0, 1], [1, 1]], durations=[[2, 3], [4, 1]], releases=[0, 1])
    state = State(1, next_op=[0, 0], available=[0, 1], free_at=[0, 0], queues=[[0], [1]])
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
    }


def test_an_active_schedule_lets_a_machine_wait_for_an_urgent_job() -> None:
    """Job 1 can reach machine 0 at 1, before job 0 could be done there, so it is in conflict and may go first."""
    shop = JobShop("active", machines=[[0], [1, 0]], durations=[[5], [1, 3]])
    seen: list[list[int]] = []

    def choose(state: State, jobs: list[int]) -> int:
        seen.append(jobs)
        return jobs[-1]

    assert rows_of(giffler_thompson(shop, choose)) == [(1, 0, 1, 0, 1), (1, 1, 0, 1, 4), (0, 0, 0, 4, 9)]
    assert seen == [[1], [0, 1], [0]]


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


def random_choice(rng: np.random.Generator) -> Callable[[State], int | None]:
    """Start any job that can start, or wait where a release or a completion is surely pending."""

    def choose(state: State) -> int | None:
        if max(state.free_at) > state.time and rng.random() < 0.3:
            return None
        return int(rng.choice([job for queue in state.startable() for job in queue]))

    return choose


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


@given(shops(), st.lists(COLUMN, min_size=5, max_size=5) | COLUMN.map(lambda column: [column] * 5))
def test_no_schedule_makes_it_raise(shop: JobShop, columns: list[list[int]]) -> None:
    report = verify(shop, None, Schedule(*columns))
    assert not report.is_feasible and report.violations
