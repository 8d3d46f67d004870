"""The job shop's simulator: numba over flat integer arrays, batch axis first.

A shop is one row of integers and the state of an environment is another; `at`, a `Layout`, says where in its row a
field begins, so `state[at.free_at + machine]` is when a machine is free.

What happens at an instant is worked off in this order: completions and releases, then decisions. An operation of zero
duration completes when it starts, before the next decision. Nothing is validated here: `JobShop` and `JobShopProcess`
did that.

The cost of an operation hardly grows with the shop: pending completions lie in a binary heap, waiting jobs in one
linked list a machine, and only machines that something happened to are looked at (`open_machines`).
"""

from __future__ import annotations

import numpy as np

from orl.jit import kernel

TABLE, FIFO, LIFO, WINQ, RANDOM = range(5)  # how a candidate is scored; TABLE reads a rule's table
JOB_BITS = 20  # an event is time << JOB_BITS | job; the limits of `instance` keep it within 63 bits


# events: a binary heap of packed (time, job) ------------------------------------------------------------------------


@kernel
def _push_event(state, at, time, job):
    key = (time << JOB_BITS) | job
    i = state[at.num_events]
    state[at.num_events] = i + 1
    while i > 0 and state[at.events + ((i - 1) >> 1)] > key:
        state[at.events + i] = state[at.events + ((i - 1) >> 1)]
        i = (i - 1) >> 1
    state[at.events + i] = key


@kernel
def _pop_event(state, at):
    """Take the earliest event off the heap and return its job."""
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
    return top & ((1 << JOB_BITS) - 1)


# queues and open machines -------------------------------------------------------------------------------------------


@kernel
def _open_machine(state, at, machine):
    if state[at.is_open + machine]:
        return
    state[at.is_open + machine] = True
    i = state[at.num_open]
    while i > 0 and state[at.open_machines + i - 1] < machine:
        state[at.open_machines + i] = state[at.open_machines + i - 1]
        i -= 1
    state[at.open_machines + i] = machine
    state[at.num_open] += 1


@kernel
def _close_machine(state, at, machine):
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
def _enqueue(shop, state, at, job):
    op = state[at.next_op + job]
    machine = state[at.machine + job]
    state[at.queue_next + job] = state[at.queue_head + machine]
    state[at.queue_head + machine] = job
    state[at.queue_work + machine] += shop[at.op_duration + op]
    if state[at.free_at + machine] <= state[at.clock]:
        _open_machine(state, at, machine)


@kernel
def _dequeue(shop, state, at, job, previous):
    """Take `job` out of its queue; `previous` is the job before it there, -1: it is the head."""
    op = state[at.next_op + job]
    machine = state[at.machine + job]
    after = state[at.queue_next + job]
    if previous < 0:
        state[at.queue_head + machine] = after
    else:
        state[at.queue_next + previous] = after
    state[at.queue_work + machine] -= shop[at.op_duration + op]


# the process --------------------------------------------------------------------------------------------------------


@kernel
def _reset(shop, state, at):
    state[:] = 0
    state[at.candidate : at.available] = -1  # candidate and machine, the padding too
    state[at.queue_head : at.queue_work] = -1
    state[at.start :] = -1
    for job in range(shop[at.num_jobs]):
        op = shop[at.job_first + job]
        state[at.next_op + job] = op
        state[at.candidate + job] = op
        state[at.machine + job] = shop[at.op_machine + op]
        state[at.available + job] = shop[at.releases + job]
        if not shop[at.is_active]:
            if shop[at.releases + job] == 0:
                _enqueue(shop, state, at, job)
            else:
                _push_event(state, at, shop[at.releases + job], job)


@kernel
def _place(shop, state, at, job, time):
    """Start the job's next operation at `time` and return its end."""
    op = state[at.next_op + job]
    end = time + shop[at.op_duration + op]
    state[at.start + op] = time
    state[at.free_at + state[at.machine + job]] = end
    state[at.available + job] = end
    state[at.last_end] = max(state[at.last_end], end)
    state[at.num_started] += 1
    op += 1
    state[at.next_op + job] = op
    is_last = op == shop[at.job_first + job + 1]
    state[at.candidate + job] = -1 if is_last else op
    state[at.machine + job] = -1 if is_last else shop[at.op_machine + op]
    return end


@kernel
def _start(shop, state, at, job, previous):
    """Non-delay: start a waiting job on its free machine, now."""
    machine = state[at.machine + job]
    _dequeue(shop, state, at, job, previous)
    now = state[at.clock]
    end = _place(shop, state, at, job, now)
    if end > now:
        _close_machine(state, at, machine)
        _push_event(state, at, end, job)
        return
    if state[at.queue_head + machine] < 0:
        _close_machine(state, at, machine)
    if state[at.candidate + job] >= 0:
        _enqueue(shop, state, at, job)


@kernel
def _advance(shop, state, at):
    """Non-delay: move the clock to the next event and work off all that happens then."""
    now = state[at.events] >> JOB_BITS
    state[at.clock] = now
    while state[at.num_events] > 0 and state[at.events] >> JOB_BITS == now:
        job = _pop_event(state, at)
        op = state[at.next_op + job]
        if op > shop[at.job_first + job]:
            machine = shop[at.op_machine + op - 1]
            if state[at.queue_head + machine] >= 0:
                _open_machine(state, at, machine)
        if state[at.candidate + job] >= 0:
            _enqueue(shop, state, at, job)


@kernel
def _conflict_machine(shop, state, at):
    """Active: return machine and time of the earliest possible completion; ties go to the lowest machine."""
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
def _mark_conflict_set(shop, state, at, legal):
    """Active: mark the conflict set as legal and set the clock to the earliest start in it."""
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
def _mark_legal(shop, state, at, legal):
    legal[:] = False
    if shop[at.is_active]:
        _mark_conflict_set(shop, state, at, legal)
        return
    for i in range(state[at.num_open]):
        job = state[at.queue_head + state[at.open_machines + i]]
        while job >= 0:
            legal[job] = True
            job = state[at.queue_next + job]
    legal[len(legal) - 1] = state[at.num_open] > 0 and state[at.num_events] > 0


@kernel
def _move_on(shop, state, at):
    """Move to the next decision, or to the end of the episode."""
    if state[at.num_started] == shop[at.num_ops]:
        state[at.clock] = state[at.last_end]
    elif not shop[at.is_active]:
        while state[at.is_held] or state[at.num_open] == 0:
            state[at.is_held] = False
            _advance(shop, state, at)


# steps: one decision in each environment ----------------------------------------------------------------------------


@kernel
def reset(shops, shop_of, states, legal, at, envs):
    """Bring environments to their first decision."""
    for env in envs:
        shop, state = shops[shop_of[env]], states[env]
        _reset(shop, state, at)
        _move_on(shop, state, at)
        _mark_legal(shop, state, at, legal[env])


@kernel
def decide(shops, shop_of, states, at, actions, cost):
    """Apply legal actions; the last action is `wait`. Books what the decision adds to the makespan when active."""
    wait = at.machine - at.candidate - 1
    for env in range(len(actions)):
        shop, state, job = shops[shop_of[env]], states[env], actions[env]
        cost[env] = 0
        if state[at.num_started] == shop[at.num_ops]:
            continue
        if job == wait:
            state[at.is_held] = True
        elif shop[at.is_active]:
            before = state[at.last_end]
            _place(shop, state, at, job, max(state[at.available + job], state[at.free_at + state[at.machine + job]]))
            cost[env] = state[at.last_end] - before
        else:
            previous = np.int64(-1)
            waiting = state[at.queue_head + state[at.machine + job]]
            while waiting != job:
                previous = waiting
                waiting = state[at.queue_next + waiting]
            _start(shop, state, at, job, previous)


@kernel
def reveal(shops, shop_of, states, legal, at, cost, is_over):
    """Move on; books the passing of time, unless active, where `decide` booked it."""
    for env in range(len(cost)):
        shop, state = shops[shop_of[env]], states[env]
        _move_on(shop, state, at)
        _mark_legal(shop, state, at, legal[env])
        cost[env] = 0 if shop[at.is_active] else state[at.clock] - state[at.booked]
        state[at.booked] = state[at.clock]
        is_over[env] = state[at.num_started] == shop[at.num_ops]


# whole episodes under a rule ----------------------------------------------------------------------------------------


@kernel
def hash_uniform(seed, a, b):
    """Return a number in [0, 1) that depends on three integers alone (the finaliser of splitmix64, Steele et al. 2014,
    doi 10.1145/2660193.2660195).
    """
    x = np.uint64(seed) + np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b) * np.uint64(0xD1B54A32D192ED03)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def hash_uniform_many(seeds, num_started, scores):
    """Fill `scores` (envs, jobs + 1) with what the random rule draws."""
    for env in range(scores.shape[0]):
        for job in range(scores.shape[1]):
            scores[env, job] = hash_uniform(seeds[env], num_started[env], job)


@kernel
def _score(shop, state, at, job, code, table, seed):
    """Score what a table does not hold: a rule that looks at the shop, or draws."""
    if code == FIFO:
        return -np.float64(state[at.available + job])
    if code == LIFO:
        return np.float64(state[at.available + job])
    if code == WINQ:
        op = state[at.next_op + job]
        if op + 1 == shop[at.job_first + job + 1]:
            return 0.0
        return -np.float64(state[at.queue_work + shop[at.op_machine + op + 1]])
    return hash_uniform(seed, state[at.num_started], job)


@kernel
def _run(shop, state, legal, at, code, table, seed, epsilon):
    """Run one episode: the machines are asked in index order, the largest score goes first, ties to the lowest job.

    With probability `epsilon` a decision is drawn at random instead.
    """
    _reset(shop, state, at)
    while state[at.num_started] < shop[at.num_ops]:
        now_code = code
        if epsilon > 0 and hash_uniform(seed, state[at.num_started], 1 << JOB_BITS) < epsilon:
            now_code = RANDOM
        if shop[at.is_active]:
            _place_best(shop, state, legal, at, now_code, table, seed)
        else:
            _move_on(shop, state, at)
            machine = state[at.open_machines + state[at.num_open] - 1]
            job, previous = state[at.queue_head + machine], np.int64(-1)
            best, before_best, best_score = job, previous, -np.inf
            while job >= 0:
                if now_code == TABLE:  # here and not in `_score`: inlined, it halves the time of an episode
                    score = table[state[at.next_op + job]]
                else:
                    score = _score(shop, state, at, job, now_code, table, seed)
                if score > best_score or (score == best_score and job < best):
                    best, before_best, best_score = job, previous, score
                previous, job = job, state[at.queue_next + job]
            _start(shop, state, at, best, before_best)
    _move_on(shop, state, at)
    return state[at.last_end]


@kernel
def _place_best(shop, state, legal, at, code, table, seed):
    """Active: place the best operation of the conflict set."""
    legal[:] = False
    _mark_conflict_set(shop, state, at, legal)
    if code == WINQ:
        state[at.queue_work : at.is_open] = 0
        for job in range(shop[at.num_jobs]):
            if state[at.candidate + job] >= 0 and state[at.available + job] <= state[at.clock]:
                duration = shop[at.op_duration + state[at.candidate + job]]
                state[at.queue_work + state[at.machine + job]] += duration
    best, best_score = np.int64(-1), -np.inf
    for job in range(shop[at.num_jobs]):
        if legal[job]:
            if code == TABLE:
                score = table[state[at.next_op + job]]
            else:
                score = _score(shop, state, at, job, code, table, seed)
            if best < 0 or score > best_score:
                best, best_score = job, score
    start = max(state[at.available + best], state[at.free_at + state[at.machine + best]])
    _place(shop, state, at, best, start)


@kernel
def run(shops, shop_of, states, legal, at, code, tables, seeds, cost):
    """Run one episode in every environment; `tables` (shops, ops) is read if `code` is TABLE."""
    for env in range(len(cost)):
        shop, table = shops[shop_of[env]], tables[shop_of[env]]
        cost[env] = _run(shop, states[env], legal[env], at, code, table, seeds[env], 0.0)
        legal[env] = False


@kernel
def run_randomised(shop, state, legal, at, code, table, seed, first_run, runs, epsilon, best_start):
    """Run a rule `runs` times in one environment and keep the best starts; run 0 is the rule itself."""
    best = np.int64(-1)
    for i in range(first_run, first_run + runs):
        cost = _run(shop, state, legal, at, code, table, seed + np.uint64(i), 0.0 if i == 0 else epsilon)
        if best < 0 or cost < best:
            best = cost
            for op in range(len(best_start)):
                best_start[op] = state[at.start + op]
    return best
