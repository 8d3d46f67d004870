"""Drawn job shops: small, and as odd as the data model allows."""

from __future__ import annotations

from hypothesis import strategies as st

from orl.problems.jobshop.instance import JobShop, JobShopSettings


@st.composite
def shops(draw, max_jobs=5, max_machines=4, max_ops=5, dispatch=("non-delay", "active")):
    """Shops with zero durations, recirculation, jobs of unequal length and release times."""
    machines = draw(st.integers(1, max_machines))
    duration = st.one_of(st.integers(0, 3), st.integers(0, 20))
    op = st.tuples(st.integers(0, machines - 1), duration)
    jobs = draw(st.lists(st.lists(op, min_size=1, max_size=max_ops), min_size=1, max_size=max_jobs))
    releases = draw(st.none() | st.lists(st.integers(0, 10), min_size=len(jobs), max_size=len(jobs)))
    return JobShop(
        "drawn",
        machines=[[machine for machine, _ in job] for job in jobs],
        durations=[[duration for _, duration in job] for job in jobs],
        num_machines=machines,
        releases=releases,
        settings=JobShopSettings(dispatch=draw(st.sampled_from(dispatch))),
    )
