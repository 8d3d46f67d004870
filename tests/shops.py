"""Drawn job shops: small, and as odd as the data model allows."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from hypothesis import strategies as st

from orl.problems.jobshop.instance import Breakdowns, JobShop, JobShopSettings, Schedule
from orl.problems.jobshop.scenario import sample
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
