"""Where the fields of a shop and of a state lie in the integer rows that the kernels work on.

Rows cost a kernel nothing to pass on; a tuple of twenty arrays made it ten times slower, by counting references. The
layout itself is a record, which a kernel passes on as one pointer.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np


class Layout(NamedTuple):
    """Where each field begins in the row of a shop and in the row of a state, all in 64-bit integers."""

    # shop
    num_jobs: int
    num_ops: int
    is_active: int  # dispatch = active
    buffers: int  # UNLIMITED, SWAP, NO_BUFFERS
    restarts: int  # on_failure = restart
    objective: int
    last_planned: int  # when the last planned downtime begins, -1: there is none
    initial_clock: int
    job_first: int  # jobs + 1
    releases: int  # jobs
    due_dates: int  # jobs
    initial_done: int  # jobs: operations completed at the start
    initial_left: int  # jobs: work left of the operation that the job is in at the start, 0: it is in none
    initial_start: int  # jobs: when that operation started
    ready_at: int  # jobs: when the job is ready for its next operation at the start
    op_machine: int  # ops
    op_duration: int  # ops
    op_remaining: int  # ops: work of the job from the operation on
    # state
    clock: int  # dispatch = active: the earliest start in the conflict set
    last_end: int  # the latest completion of what has started
    num_started: int
    num_done: int  # jobs
    num_running: int  # jobs on a machine and not finished there, interrupted ones too
    num_to_come: int  # jobs not yet released
    num_down: int  # machines
    is_held: int  # `wait` was chosen at this instant
    num_open: int
    num_events: int
    num_touched: int
    version: int  # counts the changes of who holds which machine
    next_op: int  # jobs: the first operation not started, job_first[job + 1] when all have
    candidate: int  # jobs + 1: the same, but -1 when all have (and for `wait`)
    machine: int  # jobs + 1: the candidate's machine, -1: none
    status: int  # jobs: TO_COME, WAITING, RUNNING, BLOCKED, DONE
    place: int  # jobs: the machine that the job holds, -1: none
    available: int  # jobs: when the job is or will be ready for its next operation; -1: interrupted, nobody knows
    remaining: int  # jobs: work left of an interrupted operation, else 0
    has_event: int  # jobs: whether a completion of the job is in the heap
    is_move_safe: int  # jobs: twice the version for which this is known, and one if so (no buffers)
    queue_next: int  # jobs: the next waiting job in the same queue, -1: none
    events: int  # jobs + machines: heap of what is to come
    free_at: int  # machines: when the machine has done what it started; -1: interrupted
    occupant: int  # machines: the job that holds the machine, -1: none
    down_since: int  # machines: -1: up
    next_down: int  # machines: its next interval of downtime, or the present one
    queue_head: int  # machines: a waiting job, -1: none
    queue_work: int  # machines: summed durations of the waiting operations, also of jobs held by a machine that is down
    is_open: int  # machines: up, free and with a queue
    open_machines: int  # machines: these, highest first
    touched: int  # machines: where a cycle may have closed
    scratch: int  # machines
    search: int  # no buffers: room to search for a way out
    start: int  # ops: -1: not started
    end: int  # ops: -1: not completed


def layout(jobs: int, machines: int, ops: int, search: int) -> tuple[Layout, int, int]:
    """Return the layout for shops of at most these sizes, and the lengths of a shop's and a state's row.

    `search` is the room that shops without buffers need.
    """
    by_job = {
        "releases",
        "due_dates",
        "initial_done",
        "initial_left",
        "initial_start",
        "ready_at",
        "next_op",
        "status",
        "place",
        "available",
        "remaining",
        "has_event",
        "is_move_safe",
        "queue_next",
    }
    by_machine = {"free_at", "occupant", "down_since", "next_down", "queue_head", "queue_work", "is_open"}
    by_machine |= {"open_machines", "touched", "scratch"}
    by_op = {"op_machine", "op_duration", "op_remaining", "start", "end"}
    sizes = {
        **dict.fromkeys(Layout._fields, 1),
        **dict.fromkeys(by_job, jobs),
        **dict.fromkeys(("job_first", "candidate", "machine"), jobs + 1),
        **dict.fromkeys(by_machine, machines),
        **dict.fromkeys(by_op, ops),
        "events": jobs + machines,
        "search": search,
    }
    first_of_state = Layout._fields.index("clock")
    starts: list[int] = []
    lengths = []
    for fields in (Layout._fields[:first_of_state], Layout._fields[first_of_state:]):
        ends = np.cumsum([sizes[field] for field in fields]).tolist()
        starts += [0, *ends[:-1]]
        lengths.append(ends[-1])
    record = np.rec.array(tuple(starts), dtype=[(field, np.int64) for field in Layout._fields])[()]
    return cast(Layout, record), lengths[0], lengths[1]
