"""Whether a move may be made without buffers: if the jobs in the shop can still finish, one after another."""

from __future__ import annotations

import numpy as np

from orl.jit import kernel

from .kernels_codes import NO_BUFFERS
from .kernels_layout import WORD_BITS


@kernel
def is_safe(shop, state, at, job):
    """Whether all jobs in the shop can finish, one after another, once `job` has made its next move (no buffers).

    The order is the certificate: each job's remaining machines are free, its own, or released by those before it. The
    jobs in the shop have one as they are, so all that matters is whether `job` can finish once those have that can
    without the machine it enters: after it, the others can as before. A greedy search finds these, because a finished
    job only adds free machines.
    """
    op, entered, left = state[at.next_op + job] + 1, state[at.machine + job], state[at.place + job]
    if op == shop[at.job_first + job + 1]:
        return True
    words = shop[at.num_words]
    kept = at.kept + entered * words
    if left >= 0:
        kept = at.kept + (at.down_since - at.occupant) * words
        _keep(shop, state, at, entered, job, kept)
    elif state[at.kept_version + entered] != state[at.version]:
        state[at.kept_version + entered] = state[at.version]
        _keep(shop, state, at, entered, np.int64(-1), kept)
    return _is_route_free(shop, state, at, op, entered, kept)


@kernel
def _keep(shop, state, at, entered, leaving, kept):
    """Write the set of machines that jobs hold who cannot finish without `entered`, and `entered` itself.

    Sets of machines are bits: `op_route` holds those that a job still needs. `leaving` is the job that enters, -1: it
    comes from outside.
    """
    words = shop[at.num_words]
    state[kept : kept + words] = 0
    state[kept + entered // WORD_BITS] = 1 << (entered % WORD_BITS)
    unfinished = 0
    for machine in range(at.down_since - at.occupant):
        holder = state[at.occupant + machine]
        if holder >= 0 and holder != leaving:
            state[kept + machine // WORD_BITS] |= 1 << (machine % WORD_BITS)
            state[at.scratch + unfinished] = machine
            unfinished += 1
    is_progress = True
    while is_progress:
        is_progress = False
        i = 0
        while i < unfinished:
            machine = state[at.scratch + i]
            holder = state[at.occupant + machine]
            op = state[at.next_op + holder]
            is_last = op == shop[at.job_first + holder + 1]
            if not is_last and not _is_route_free(shop, state, at, op, machine, kept):
                i += 1
                continue
            state[kept + machine // WORD_BITS] &= ~(1 << (machine % WORD_BITS))
            unfinished -= 1
            state[at.scratch + i] = state[at.scratch + unfinished]
            is_progress = True


@kernel
def _is_route_free(shop, state, at, op, own, kept):
    """Whether the machines of a job from an operation on, but for the one it is on, are not in a set."""
    words = shop[at.num_words]
    for word in range(words):
        blocked = shop[at.op_route + op * words + word] & state[kept + word]
        if word == own // WORD_BITS:
            blocked &= ~(1 << (own % WORD_BITS))
        if blocked != 0:
            return False
    return True


@kernel
def may_move(shop, state, at, job):
    """Whether a waiting job may take its free machine."""
    return shop[at.buffers] != NO_BUFFERS or is_safe(shop, state, at, job)
