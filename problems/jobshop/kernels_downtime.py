"""Machines that fail and come back. `down` is a row with the intervals [a, b) of each machine in turn."""

from __future__ import annotations

import numpy as np

from orl.jit import kernel

from .kernels_codes import BLOCKED, FAILURE, REPAIR
from .kernels_moves import begin_work, touch
from .kernels_queues import add_queue_work, before_in_queue, close, dequeue, enqueue, open_if_ready, push_event


@kernel
def down_start(down, at, machine, i):
    """Return when the machine's interval `i` begins, -1: there is none."""
    intervals = len(down) // (2 * (at.down_since - at.occupant))
    return down[2 * (machine * intervals + i)] if i < intervals else np.int64(-1)


@kernel
def _down_end(down, at, machine, i):
    intervals = len(down) // (2 * (at.down_since - at.occupant))
    return down[2 * (machine * intervals + i) + 1]


@kernel
def expect_failure(state, down, at, machine):
    """Put the machine's next failure into the heap, if there is one."""
    start = down_start(down, at, machine, state[at.next_down + machine])
    if start >= 0:
        push_event(state, at, start, FAILURE, (at.machine - at.candidate - 1) + machine)


@kernel
def fail(shop, state, down, at, machine):
    """Take a machine down; what it works at stops, what it holds stays."""
    now = state[at.clock]
    state[at.down_since + machine] = now
    state[at.num_down] += 1
    end = _down_end(down, at, machine, state[at.next_down + machine])
    push_event(state, at, end, REPAIR, (at.machine - at.candidate - 1) + machine)
    job = state[at.occupant + machine]
    if job < 0:
        close(state, at, machine)
    elif state[at.status + job] == BLOCKED:
        dequeue(shop, state, at, job, before_in_queue(state, at, job))
        add_queue_work(shop, state, at, job, 1)  # it cannot move, but waits all the same
    else:
        state[at.remaining + job] = state[at.available + job] - now
        state[at.available + job] = -1  # its event in the heap will find nothing to complete
        state[at.free_at + machine] = -1


@kernel
def repair(shop, state, down, at, machine):
    """Bring a machine back; False: another interval has joined this one, and it stays down."""
    now = state[at.clock]
    end = _down_end(down, at, machine, state[at.next_down + machine])
    if end > now:  # the stream was drawn further, and another interval joined this one
        push_event(state, at, end, REPAIR, (at.machine - at.candidate - 1) + machine)
        return False
    state[at.down_since + machine] = -1
    state[at.num_down] -= 1
    state[at.next_down + machine] += 1
    expect_failure(state, down, at, machine)
    job = state[at.occupant + machine]
    if job < 0:
        open_if_ready(state, at, machine)
    elif state[at.status + job] == BLOCKED:
        add_queue_work(shop, state, at, job, -1)
        enqueue(shop, state, at, job)
        touch(state, at, machine)
    else:
        work = state[at.remaining + job]
        if shop[at.restarts]:
            work = shop[at.op_duration + state[at.next_op + job] - 1]
        state[at.remaining + job] = 0
        state[at.available + job] = now + work
        state[at.free_at + machine] = now + work
        begin_work(shop, state, at, job)
    return True
