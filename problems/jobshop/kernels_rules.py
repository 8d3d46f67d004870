"""What rules think of candidates, and whom they choose."""

from __future__ import annotations

import numpy as np

from orl.jit import kernel
from orl.kernels_hash import hash_uniform

from .kernels_certificate import may_move
from .kernels_codes import ATC, ATC_LOOK_AHEAD, CR, FIFO, LIFO, MDD, NO_DUE_DATE, RANDOM, SOPN, TABLE, WINQ


@kernel
def hash_uniform_many(seeds, num_started, scores):
    """Fill `scores` (envs, jobs + 1) with what the random rule draws."""
    for env in range(scores.shape[0]):
        for job in range(scores.shape[1]):
            scores[env, job] = hash_uniform(seeds[env], num_started[env], job)


@kernel
def score_of(shop, weights, state, at, job, code, seed):
    """Score what a table does not hold: a rule that looks at the shop or the clock, or draws."""
    op = state[at.next_op + job]
    if code == FIFO:
        return -np.float64(state[at.available + job])
    if code == LIFO:
        return np.float64(state[at.available + job])
    if code == WINQ:
        if op + 1 == shop[at.job_first + job + 1]:
            return 0.0
        return -np.float64(state[at.queue_work + shop[at.op_machine + op + 1]])
    if code == RANDOM:
        return hash_uniform(seed, state[at.num_started], job)
    due = shop[at.due_dates + job]
    now = state[at.clock]
    work = shop[at.op_remaining + op]
    if due == NO_DUE_DATE:
        return 0.0 if code == ATC else -np.inf
    if code == MDD:
        return -np.float64(max(due, now + work))
    if code == CR:
        return -(due - now) / max(work, 1)
    slack = due - now - work
    if code == SOPN:
        return -slack / (shop[at.job_first + job + 1] - op)
    mean_duration = weights[-1]
    urgency = np.exp(-max(slack, 0) / (ATC_LOOK_AHEAD * mean_duration))
    return weights[job] / max(shop[at.op_duration + op], 1) * urgency


@kernel
def best_on(shop, weights, state, at, machine, code, table, seed):
    """Return the best job that may take a machine and the job before it in the queue; -1: there is none."""
    best, before_best, best_score = np.int64(-1), np.int64(-1), -np.inf
    job, previous = state[at.queue_head + machine], np.int64(-1)
    while job >= 0:
        if code == TABLE:  # here and not in `score_of`: inlined, it halves the time of an episode
            score = table[state[at.next_op + job]]
        else:
            score = score_of(shop, weights, state, at, job, code, seed)
        is_better = best < 0 or score > best_score or (score == best_score and job < best)
        if is_better and may_move(shop, state, at, job):
            best, before_best, best_score = job, previous, score
        previous, job = job, state[at.queue_next + job]
    return best, before_best
