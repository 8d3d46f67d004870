"""Drawn job shops: small, and as odd as the data model allows."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from orl.problems.jobshop.instance import Breakdowns, JobShop, JobShopSettings, Schedule
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.scenario import sample
from orl.problems.jobshop.state import ShopState, observed_state
from orl.scenario import Purpose, Scenarios

Row = tuple[int, int, int, int, int]  # job, position, machine, start, end

BUFFERS = ("unlimited", "swap", "none")
PROBABILITIES = (0.0, 0.02, 0.1, 0.2)  # of a breakdown
REPAIRS = ("uniform 1 8", "geometric 4", "fixed 1", "fixed 5")
ON_FAILURE = ("resume", "restart")
OBJECTIVES = ("makespan", "flow-time", "weighted-tardiness", "max-lateness", "tardy-jobs")
EVERY_MODE = {
    "buffers": BUFFERS,
    "probabilities": PROBABILITIES,
    "calendars": True,
    "on_failure": ON_FAILURE,
    "objectives": OBJECTIVES,
    "due_dates": True,
}


# A shop at 6. A, done on the saw, has been on the lathe since 3; B, done on the saw since 5, is to follow it there and
# holds the saw until then; C is complete; D is yet to begin on the saw. What is left to do takes until 10.
AT_6 = JobShop(
    "at 6",
    machines=[[0, 1], [0, 1], [1], [0, 1]],
    durations=[[3, 4], [2, 1], [3], [2, 1]],
    job_names=("A", "B", "C", "D"),
    machine_names=("saw", "lathe"),
    settings=JobShopSettings(buffers="swap"),
)
STATE_AT_6 = ShopState(
    6, [1, 1, 1, 0], work_left=[1, 0, 0, 0], started=[3, -1, -1, -1], ready_at=[-1, 5, 3, -1], down_since=[-1, -1]
)
BEFORE_6: list[Row] = [(0, 0, 0, 0, 3), (1, 0, 0, 3, 5), (2, 0, 1, 0, 3)]
FROM_6: list[Row] = [(0, 1, 1, 3, 7), (1, 1, 1, 7, 8), (3, 0, 0, 7, 9), (3, 1, 1, 9, 10)]


@st.composite
def shops(
    draw,
    max_jobs=5,
    max_machines=4,
    max_ops=5,
    dispatch=("non-delay", "active"),
    buffers=("unlimited",),
    probabilities=(0.0,),
    calendars=False,
    on_failure=("resume",),
    objectives=("makespan",),
    due_dates=False,
):
    """Shops with zero durations, recirculation, jobs of unequal length and release times.

    `shops(**EVERY_MODE)` draws all that a shop may have; one for which active dispatch is not meant is non-delay.
    """
    machines = draw(st.integers(1, max_machines))
    duration = st.one_of(st.integers(0, 3), st.integers(0, 20))
    op = st.tuples(st.integers(0, machines - 1), duration)
    jobs = draw(st.lists(st.lists(op, min_size=1, max_size=max_ops), min_size=1, max_size=max_jobs))

    def by_job(of_job):
        return draw(st.none() | st.lists(of_job, min_size=len(jobs), max_size=len(jobs)))

    releases = by_job(st.integers(0, 10))
    due = weights = None
    factor = None
    if due_dates:
        due = by_job(st.none() | st.integers(0, 60))
        weights = by_job(st.integers(0, 5) | st.floats(0, 5))
        factor = draw(st.sampled_from((None, 1.0, 1.7)))
    calendar = []
    if calendars:
        interval = st.tuples(st.integers(0, machines - 1), st.integers(0, 40), st.integers(1, 15))
        calendar = [(machine, a, a + length) for machine, a, length in draw(st.lists(interval, max_size=5))]
    breakdowns = Breakdowns()
    if probability := draw(st.sampled_from(probabilities)):
        breakdowns = Breakdowns(probability, draw(st.sampled_from(REPAIRS)))
    has_dates = factor is not None or (due is not None and any(date is not None for date in due))
    buffer = draw(st.sampled_from(buffers))
    is_classic = buffer == "unlimited" and not probability and not calendar
    return JobShop(
        "drawn",
        machines=[[machine for machine, _ in job] for job in jobs],
        durations=[[duration for _, duration in job] for job in jobs],
        num_machines=machines,
        releases=releases,
        due_dates=due,
        weights=weights,
        calendar=calendar,
        settings=JobShopSettings(
            dispatch=draw(st.sampled_from(dispatch)) if is_classic else "non-delay",
            buffers=buffer,
            breakdowns=breakdowns,
            on_failure=draw(st.sampled_from(on_failure)),
            objective=draw(st.sampled_from([name for name in objectives if has_dates or name in OBJECTIVES[:2]])),
            due_date_factor=factor,
        ),
    )


@st.composite
def shops_in_motion(draw, **modes):
    """Draw a shop that was played at random for some decisions, with or without its history, and a seed."""
    shop = draw(shops(**{**EVERY_MODE, "dispatch": ("non-delay",), **modes}))
    seed = draw(st.integers(0, 2**32))
    process = stopped(shop, scenario_of(shop, seed), np.random.default_rng(seed), draw(st.integers(0, 20)))
    assume(process is not None)
    state = observed_state(shop, process.observe(), 0)
    if draw(st.booleans()):
        state = replace(state, history=process.solution(0))
    return shop.in_motion(state), seed


def stopped(shop, scenario, rng, decisions):
    """Play at random for some decisions; return the process, or None if the episode ends before."""
    process = JobShopProcess([shop], [scenario])
    for _ in range(decisions):
        legal = np.flatnonzero(process.observe().legal[0])
        if not len(legal):
            return None
        process.decide(np.array([rng.choice(legal)]))
        process.reveal()
    return process if process.observe().legal.any() else None


def scenario_of(shop: JobShop, seed: int) -> Scenarios:
    """Return one row of failures and repairs, the empty one of a shop without breakdowns."""
    return sample(shop, seed, Purpose.EVALUATE, 1)


def rows_of(schedule: Schedule) -> list[Row]:
    return list(zip(*(getattr(schedule, column.name).tolist() for column in fields(Schedule)), strict=True))


def schedule_of(rows: list[Row]) -> Schedule:
    return Schedule(*np.array(rows, dtype=np.int64).reshape(-1, 5).T)


def random_choice(rng: np.random.Generator):
    """Return a policy of the twin that starts any candidate, or waits where that is legal."""

    def choose(state):
        if state.can_wait and rng.random() < 0.3:
            return None
        return int(rng.choice([job for jobs in state.candidates().values() for job in jobs]))

    return choose
