"""Where the fields of a shop and of a state lie in the integer rows that the kernels work on.

Rows cost a kernel nothing to pass on; a tuple of twenty arrays made it ten times slower, by counting references.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """Where each field begins in the row of a shop and in the row of a state, all in 64-bit integers."""

    # shop
    num_jobs: int
    num_ops: int
    is_active: int  # dispatch = active
    job_first: int  # jobs + 1
    releases: int  # jobs
    op_machine: int  # ops
    op_duration: int  # ops
    # state
    clock: int  # dispatch = active: the earliest start in the conflict set
    booked: int  # the time that has been paid for; behind the clock before the first decision if releases are late
    last_end: int  # the latest completion of what has started
    num_started: int
    is_held: int  # `wait` was chosen at this instant
    num_open: int
    num_events: int
    next_op: int  # jobs: the first operation not started, job_first[job + 1] when all have
    candidate: int  # jobs + 1: the same, but -1 when all have (and for `wait`)
    machine: int  # jobs + 1: the candidate's machine, -1: none
    available: int  # jobs: end of the job's last started operation, or its release
    queue_next: int  # jobs: the next waiting job in the same queue, -1: none
    events: int  # jobs: heap of completions and releases to come
    free_at: int  # machines
    queue_head: int  # machines: a waiting job, -1: none
    queue_work: int  # machines: summed durations of the waiting operations
    is_open: int  # machines: free and with a queue
    open_machines: int  # machines: these, highest first
    start: int  # ops: -1: not started


def layout(jobs: int, machines: int, ops: int) -> tuple[Layout, int, int]:
    """Return the layout for shops of at most these sizes, and the lengths of a shop's and a state's row."""
    sizes = Layout(
        num_jobs=1,
        num_ops=1,
        is_active=1,
        job_first=jobs + 1,
        releases=jobs,
        op_machine=ops,
        op_duration=ops,
        clock=1,
        booked=1,
        last_end=1,
        num_started=1,
        is_held=1,
        num_open=1,
        num_events=1,
        next_op=jobs,
        candidate=jobs + 1,
        machine=jobs + 1,
        available=jobs,
        queue_next=jobs,
        events=jobs,
        free_at=machines,
        queue_head=machines,
        queue_work=machines,
        is_open=machines,
        open_machines=machines,
        start=ops,
    )
    of_shop = Layout._fields.index("clock")
    starts: list[int] = []
    for fields in (sizes[:of_shop], sizes[of_shop:]):
        ends = np.cumsum(fields).tolist()
        starts += [0, *ends[:-1]]
    return Layout(*starts), sum(sizes[:of_shop]), sum(sizes[of_shop:])
