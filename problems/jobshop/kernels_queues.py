"""Events to come and jobs that wait: a binary heap, a linked list a machine, and the machines to be asked."""

from __future__ import annotations

import numpy as np

from orl.jit import kernel

from .kernels_codes import ID_BITS, KIND_BITS


@kernel
def push_event(state, at, time, kind, number):
    """Put an event into the heap."""
    key = (((time << KIND_BITS) | kind) << ID_BITS) | number
    i = state[at.num_events]
    state[at.num_events] = i + 1
    while i > 0 and state[at.events + ((i - 1) >> 1)] > key:
        state[at.events + i] = state[at.events + ((i - 1) >> 1)]
        i = (i - 1) >> 1
    state[at.events + i] = key


@kernel
def next_time(state, at):
    """Return when the earliest event is."""
    return state[at.events] >> (ID_BITS + KIND_BITS)


@kernel
def pop_event(state, at):
    """Take the earliest event off the heap and return its kind and number."""
    top = state[at.events]
    size = state[at.num_events] - 1
    state[at.num_events] = size
    key = state[at.events + size]
    i = 0
    while 2 * i + 1 < size:
        child = 2 * i + 1
        if child + 1 < size and state[at.events + child + 1] < state[at.events + child]:
            child += 1
        if state[at.events + child] >= key:
            break
        state[at.events + i] = state[at.events + child]
        i = child
    state[at.events + i] = key
    return (top >> ID_BITS) & ((1 << KIND_BITS) - 1), top & ((1 << ID_BITS) - 1)


@kernel
def open_if_ready(state, at, machine):
    """Note a machine that is up, free and waited for as one to be asked."""
    is_ready = state[at.occupant + machine] < 0 and state[at.down_since + machine] < 0
    if state[at.is_open + machine] or not is_ready or state[at.queue_head + machine] < 0:
        return
    state[at.is_open + machine] = True
    i = state[at.num_open]
    while i > 0 and state[at.open_machines + i - 1] < machine:
        state[at.open_machines + i] = state[at.open_machines + i - 1]
        i -= 1
    state[at.open_machines + i] = machine
    state[at.num_open] += 1


@kernel
def close(state, at, machine):
    """Note a machine as one that is not to be asked."""
    if not state[at.is_open + machine]:
        return
    state[at.is_open + machine] = False
    size = state[at.num_open] - 1
    state[at.num_open] = size
    i = size  # the machine asked first is the last entry, so this is short
    while state[at.open_machines + i] != machine:
        i -= 1
    while i < size:
        state[at.open_machines + i] = state[at.open_machines + i + 1]
        i += 1


@kernel
def add_queue_work(shop, state, at, job, sign):
    """Count (sign 1) or discount (-1) a job's next operation as work that waits for its machine."""
    state[at.queue_work + state[at.machine + job]] += sign * shop[at.op_duration + state[at.next_op + job]]


@kernel
def enqueue(shop, state, at, job):
    """Put a job into the queue of its next machine."""
    machine = state[at.machine + job]
    state[at.queue_next + job] = state[at.queue_head + machine]
    state[at.queue_head + machine] = job
    add_queue_work(shop, state, at, job, 1)
    open_if_ready(state, at, machine)


@kernel
def before_in_queue(state, at, job):
    """Return the job before this one in its queue, -1: it is the head."""
    previous = np.int64(-1)
    waiting = state[at.queue_head + state[at.machine + job]]
    while waiting != job:
        previous = waiting
        waiting = state[at.queue_next + waiting]
    return previous


@kernel
def dequeue(shop, state, at, job, previous):
    """Take `job` out of its queue; `previous` is the job before it there, -1: it is the head."""
    machine = state[at.machine + job]
    after = state[at.queue_next + job]
    if previous < 0:
        state[at.queue_head + machine] = after
        if after < 0:
            close(state, at, machine)
    else:
        state[at.queue_next + previous] = after
    add_queue_work(shop, state, at, job, -1)
