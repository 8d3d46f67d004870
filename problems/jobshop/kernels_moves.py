"""What happens to a job: it enters a machine, works there, is done, moves on; and swaps, where jobs move together."""

from __future__ import annotations

from orl.jit import kernel

from .kernels_codes import BLOCKED, COMPLETION, DONE, NO_BUFFERS, RUNNING, UNLIMITED, WAITING
from .kernels_queues import before_in_queue, close, dequeue, enqueue, open_if_ready, push_event


@kernel
def enter(shop, state, at, job):
    """Put a job, out of its queue by now, on the machine of its next operation, and count that operation as started."""
    op = state[at.next_op + job]
    machine = state[at.machine + job]
    now = state[at.clock]
    state[at.start + op] = now
    state[at.num_started] += 1
    state[at.num_running] += 1
    state[at.version] += 1
    state[at.status + job] = RUNNING
    state[at.place + job] = machine
    state[at.occupant + machine] = job
    end = now + shop[at.op_duration + op]
    state[at.available + job] = end
    state[at.free_at + machine] = end
    op += 1
    state[at.next_op + job] = op
    is_last = op == shop[at.job_first + job + 1]
    state[at.candidate + job] = -1 if is_last else op
    state[at.machine + job] = -1 if is_last else shop[at.op_machine + op]


@kernel
def begin_work(shop, state, at, job):
    """Let an operation that has just entered its machine run; one of zero duration completes here and now."""
    if state[at.available + job] == state[at.clock]:
        complete(shop, state, at, job)
    elif not state[at.has_event + job]:
        state[at.has_event + job] = True
        push_event(state, at, state[at.available + job], COMPLETION, job)


@kernel
def complete(shop, state, at, job):
    """Note that a job is done with its operation: it waits, holds its machine, or leaves the shop."""
    now = state[at.clock]
    machine = state[at.place + job]
    state[at.end + state[at.next_op + job] - 1] = now
    state[at.num_running] -= 1
    state[at.last_end] = max(state[at.last_end], now)
    is_done = state[at.candidate + job] < 0
    if not is_done and shop[at.buffers] != UNLIMITED:
        state[at.status + job] = BLOCKED
        if state[at.down_since + machine] < 0:
            enqueue(shop, state, at, job)
            touch(state, at, machine)
        return
    state[at.place + job] = -1
    state[at.occupant + machine] = -1
    state[at.version] += 1
    if is_done:
        state[at.status + job] = DONE
        state[at.num_done] += 1
    else:
        state[at.status + job] = WAITING
        enqueue(shop, state, at, job)
    open_if_ready(state, at, machine)


@kernel
def move(shop, state, at, job, previous):
    """Carry out a decision: the job leaves the machine it holds, if any, and starts on the next one, now."""
    left = state[at.place + job]
    machine = state[at.machine + job]
    dequeue(shop, state, at, job, previous)
    enter(shop, state, at, job)
    close(state, at, machine)
    if left >= 0:
        state[at.occupant + left] = -1
        open_if_ready(state, at, left)
    begin_work(shop, state, at, job)


@kernel
def touch(state, at, machine):
    """Note a machine at which a cycle of blocked jobs may have closed."""
    for i in range(state[at.num_touched]):
        if state[at.touched + i] == machine:
            return
    state[at.touched + state[at.num_touched]] = machine
    state[at.num_touched] += 1


@kernel
def swap(shop, state, at):
    """Move all jobs of each closed cycle of blocked jobs at once; a job that waits for its own machine is a cycle.

    A cycle closes at the machine whose job was blocked, or whose repair ended, last: only `touched` ones are followed.
    """
    while state[at.num_touched] > 0:
        state[at.num_touched] -= 1
        first = state[at.touched + state[at.num_touched]]
        machine, length = first, 0
        while True:
            job = state[at.occupant + machine]
            if job < 0 or state[at.status + job] != BLOCKED or state[at.down_since + machine] >= 0:
                length = 0
                break
            state[at.scratch + length] = job
            length += 1
            machine = state[at.machine + job]
            if machine == first or shop[at.buffers] == NO_BUFFERS or length == at.down_since - at.occupant:
                break
        if length == 0 or machine != first:
            continue
        for i in range(length):
            job = state[at.scratch + i]
            dequeue(shop, state, at, job, before_in_queue(state, at, job))
        for i in range(length):
            enter(shop, state, at, state[at.scratch + i])
        for i in range(length):  # zero durations complete only now that all have moved
            begin_work(shop, state, at, state[at.scratch + i])
