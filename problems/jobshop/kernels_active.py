"""Active dispatch: the conflict set of Giffler and Thompson (1960, doi 10.1287/opre.8.4.487)."""

from __future__ import annotations

import numpy as np

from orl.jit import kernel

from .kernels_codes import DONE, WAITING
from .kernels_moves import enter


@kernel
def _conflict_machine(shop, state, at):
    """Return machine and time of the earliest possible completion; ties go to the lowest machine."""
    best_end, best_machine = np.int64(-1), np.int64(-1)
    for job in range(shop[at.num_jobs]):
        op = state[at.candidate + job]
        if op < 0:
            continue
        machine = state[at.machine + job]
        end = max(state[at.available + job], state[at.free_at + machine]) + shop[at.op_duration + op]
        if best_machine < 0 or end < best_end or (end == best_end and machine < best_machine):
            best_end, best_machine = end, machine
    return best_machine, best_end


@kernel
def mark_conflict_set(shop, state, at, legal):
    """Mark the conflict set as legal and set the clock to the earliest start in it."""
    machine, first_end = _conflict_machine(shop, state, at)
    clock = first_end
    for job in range(shop[at.num_jobs]):
        if state[at.machine + job] == machine and machine >= 0:
            start = max(state[at.available + job], state[at.free_at + machine])
            duration = shop[at.op_duration + state[at.candidate + job]]
            # An operation of zero duration competes although it starts no earlier than the first completion.
            legal[job] = start < first_end or start + duration == first_end
            if legal[job]:
                clock = min(clock, start)
    state[at.clock] = clock if machine >= 0 else state[at.last_end]


@kernel
def place(shop, state, at, job):
    """Append the job's next operation to the schedule, at its earliest start."""
    op = state[at.next_op + job]
    machine = state[at.machine + job]
    start = max(state[at.available + job], state[at.free_at + machine])
    state[at.clock] = start
    enter(shop, state, at, job)
    end = state[at.available + job]
    state[at.end + op] = end
    state[at.last_end] = max(state[at.last_end], end)
    state[at.num_running] -= 1
    state[at.place + job] = -1
    state[at.occupant + machine] = -1
    state[at.status + job] = WAITING
    if state[at.candidate + job] < 0:
        state[at.status + job] = DONE
        state[at.num_done] += 1
