"""The job shop's simulator: numba over flat integer arrays, batch axis first.

A shop is one row of integers and the state of an environment is another; `at`, a `Layout`, says where in its row a
field begins, so `state[at.free_at + machine]` is when a machine is free. `down` is a row with the intervals [a, b) in
which machines are down, planned or not, machine by machine.

What happens at an instant is worked off in this order: completions and releases, repairs, failures, swaps, decisions.
An operation of zero duration completes when it starts, before the next decision. Nothing is validated here: `JobShop`
and `JobShopProcess` did that.

The cost of an operation hardly grows with the shop: events lie in a binary heap, waiting jobs in one linked list a
machine, and only machines that something happened to are looked at (`open_machines`, `touched`).
"""

from __future__ import annotations

import numpy as np

from orl.jit import kernel

from .kernels_layout import WORD_BITS

TABLE, FIFO, LIFO, WINQ, RANDOM, MDD, CR, SOPN, ATC = range(9)  # how a candidate is scored; TABLE: a rule's table
UNLIMITED, SWAP, NO_BUFFERS = range(3)
MAKESPAN, FLOW_TIME, WEIGHTED_TARDINESS, MAX_LATENESS, TARDY_JOBS = range(5)
TO_COME, WAITING, RUNNING, BLOCKED, DONE = range(5)
COMPLETION, REPAIR, FAILURE = range(3)  # in the order in which they are worked off at one instant
ID_BITS = 20  # an event is time, kind and job (or jobs + machine) in 64 bits; the limits of `instance` make it fit
KIND_BITS = 2
NO_DUE_DATE = np.iinfo(np.int64).max
ATC_LOOK_AHEAD = 2.0  # Vepsalainen and Morton's k, as a multiple of the mean duration


# events: a binary heap ----------------------------------------------------------------------------------------------


@kernel
def _push_event(state, at, time, kind, number):
    key = (((time << KIND_BITS) | kind) << ID_BITS) | number
    i = state[at.num_events]
    state[at.num_events] = i + 1
    while i > 0 and state[at.events + ((i - 1) >> 1)] > key:
        state[at.events + i] = state[at.events + ((i - 1) >> 1)]
        i = (i - 1) >> 1
    state[at.events + i] = key


@kernel
def _next_time(state, at):
    return state[at.events] >> (ID_BITS + KIND_BITS)


@kernel
def _pop_event(state, at):
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


# queues and open machines -------------------------------------------------------------------------------------------


@kernel
def _open_if_ready(state, at, machine):
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
def _close(state, at, machine):
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
def _add_queue_work(shop, state, at, job, sign):
    state[at.queue_work + state[at.machine + job]] += sign * shop[at.op_duration + state[at.next_op + job]]


@kernel
def _enqueue(shop, state, at, job):
    machine = state[at.machine + job]
    state[at.queue_next + job] = state[at.queue_head + machine]
    state[at.queue_head + machine] = job
    _add_queue_work(shop, state, at, job, 1)
    _open_if_ready(state, at, machine)


@kernel
def _before_in_queue(state, at, job):
    """Return the job before this one in its queue, -1: it is the head."""
    previous = np.int64(-1)
    waiting = state[at.queue_head + state[at.machine + job]]
    while waiting != job:
        previous = waiting
        waiting = state[at.queue_next + waiting]
    return previous


@kernel
def _dequeue(shop, state, at, job, previous):
    """Take `job` out of its queue; `previous` is the job before it there, -1: it is the head."""
    machine = state[at.machine + job]
    after = state[at.queue_next + job]
    if previous < 0:
        state[at.queue_head + machine] = after
        if after < 0:
            _close(state, at, machine)
    else:
        state[at.queue_next + previous] = after
    _add_queue_work(shop, state, at, job, -1)


# what happens to a job ----------------------------------------------------------------------------------------------


@kernel
def _enter(shop, state, at, job):
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
def _process(shop, state, at, job):
    """Let an operation that has just entered its machine run; one of zero duration completes here and now."""
    if state[at.available + job] == state[at.clock]:
        _complete(shop, state, at, job)
    elif not state[at.has_event + job]:
        state[at.has_event + job] = True
        _push_event(state, at, state[at.available + job], COMPLETION, job)


@kernel
def _complete(shop, state, at, job):
    now = state[at.clock]
    machine = state[at.place + job]
    state[at.end + state[at.next_op + job] - 1] = now
    state[at.num_running] -= 1
    state[at.last_end] = max(state[at.last_end], now)
    is_done = state[at.candidate + job] < 0
    if not is_done and shop[at.buffers] != UNLIMITED:
        state[at.status + job] = BLOCKED
        if state[at.down_since + machine] < 0:
            _enqueue(shop, state, at, job)
            _touch(state, at, machine)
        return
    state[at.place + job] = -1
    state[at.occupant + machine] = -1
    state[at.version] += 1
    if is_done:
        state[at.status + job] = DONE
        state[at.num_done] += 1
    else:
        state[at.status + job] = WAITING
        _enqueue(shop, state, at, job)
    _open_if_ready(state, at, machine)


@kernel
def _move(shop, state, at, job, previous):
    """Carry out a decision: the job leaves the machine it holds, if any, and starts on the next one, now."""
    left = state[at.place + job]
    machine = state[at.machine + job]
    _dequeue(shop, state, at, job, previous)
    _enter(shop, state, at, job)
    _close(state, at, machine)
    if left >= 0:
        state[at.occupant + left] = -1
        _open_if_ready(state, at, left)
    _process(shop, state, at, job)


# swaps --------------------------------------------------------------------------------------------------------------


@kernel
def _touch(state, at, machine):
    """Note a machine at which a cycle of blocked jobs may have closed."""
    for i in range(state[at.num_touched]):
        if state[at.touched + i] == machine:
            return
    state[at.touched + state[at.num_touched]] = machine
    state[at.num_touched] += 1


@kernel
def _swap(shop, state, at):
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
            _dequeue(shop, state, at, job, _before_in_queue(state, at, job))
        for i in range(length):
            _enter(shop, state, at, state[at.scratch + i])
        for i in range(length):  # zero durations complete only now that all have moved
            _process(shop, state, at, state[at.scratch + i])


@kernel
def _is_safe(shop, state, at, job):
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
def _may_move(shop, state, at, job):
    """Whether a waiting job may take its free machine."""
    return shop[at.buffers] != NO_BUFFERS or _is_safe(shop, state, at, job)


# downtime -----------------------------------------------------------------------------------------------------------


@kernel
def _down_start(down, at, machine, i):
    """Return when the machine's interval `i` begins, -1: there is none."""
    intervals = len(down) // (2 * (at.down_since - at.occupant))
    return down[2 * (machine * intervals + i)] if i < intervals else np.int64(-1)


@kernel
def _down_end(down, at, machine, i):
    intervals = len(down) // (2 * (at.down_since - at.occupant))
    return down[2 * (machine * intervals + i) + 1]


@kernel
def _expect_failure(state, down, at, machine):
    start = _down_start(down, at, machine, state[at.next_down + machine])
    if start >= 0:
        _push_event(state, at, start, FAILURE, (at.machine - at.candidate - 1) + machine)


@kernel
def _fail(shop, state, down, at, machine):
    now = state[at.clock]
    state[at.down_since + machine] = now
    state[at.num_down] += 1
    end = _down_end(down, at, machine, state[at.next_down + machine])
    _push_event(state, at, end, REPAIR, (at.machine - at.candidate - 1) + machine)
    job = state[at.occupant + machine]
    if job < 0:
        _close(state, at, machine)
    elif state[at.status + job] == BLOCKED:
        _dequeue(shop, state, at, job, _before_in_queue(state, at, job))
        _add_queue_work(shop, state, at, job, 1)  # it cannot move, but waits all the same
    else:
        state[at.remaining + job] = state[at.available + job] - now
        state[at.available + job] = -1  # its event in the heap will find nothing to complete
        state[at.free_at + machine] = -1


@kernel
def _repair(shop, state, down, at, machine):
    now = state[at.clock]
    end = _down_end(down, at, machine, state[at.next_down + machine])
    if end > now:  # the stream was drawn further, and another interval joined this one
        _push_event(state, at, end, REPAIR, (at.machine - at.candidate - 1) + machine)
        return False
    state[at.down_since + machine] = -1
    state[at.num_down] -= 1
    state[at.next_down + machine] += 1
    _expect_failure(state, down, at, machine)
    job = state[at.occupant + machine]
    if job < 0:
        _open_if_ready(state, at, machine)
    elif state[at.status + job] == BLOCKED:
        _add_queue_work(shop, state, at, job, -1)
        _enqueue(shop, state, at, job)
        _touch(state, at, machine)
    else:
        work = state[at.remaining + job]
        if shop[at.restarts]:
            work = shop[at.op_duration + state[at.next_op + job] - 1]
        state[at.remaining + job] = 0
        state[at.available + job] = now + work
        state[at.free_at + machine] = now + work
        _process(shop, state, at, job)
    return True


# the process --------------------------------------------------------------------------------------------------------


@kernel
def _reset(shop, state, down, at):
    state[:] = 0
    state[at.candidate : at.status] = -1  # candidate and machine, the padding too
    state[at.place : at.available] = -1
    state[at.occupant : at.next_down] = -1  # occupant and down_since
    state[at.queue_head : at.queue_work] = -1
    state[at.start :] = -1  # start and end
    now = shop[at.initial_clock]
    state[at.clock] = now
    state[at.version] = 1
    for job in range(shop[at.num_jobs]):
        _put(shop, state, at, job, now)
    if len(down) > 0:
        for machine in range(at.down_since - at.occupant):
            start = _down_start(down, at, machine, 0)
            if 0 <= start <= now:
                _fail(shop, state, down, at, machine)
                state[at.down_since + machine] = start
            else:
                _expect_failure(state, down, at, machine)


@kernel
def _put(shop, state, at, job, now):
    """Put a job where it is at the start."""
    done = shop[at.initial_done + job]
    op = shop[at.job_first + job] + done
    is_complete = op == shop[at.job_first + job + 1]
    state[at.num_started] += done
    state[at.next_op + job] = op
    state[at.candidate + job] = -1 if is_complete else op
    state[at.machine + job] = -1 if is_complete else shop[at.op_machine + op]
    state[at.available + job] = shop[at.ready_at + job]
    if is_complete:
        state[at.status + job] = DONE
        state[at.num_done] += 1
    elif shop[at.initial_left + job] > 0:
        _enter(shop, state, at, job)
        _close(state, at, state[at.place + job])
        state[at.start + op] = shop[at.initial_start + job]
        end = now + shop[at.initial_left + job]
        state[at.available + job] = end
        state[at.free_at + state[at.place + job]] = end
        _process(shop, state, at, job)
    elif done > 0 and shop[at.buffers] != UNLIMITED:
        machine = shop[at.op_machine + op - 1]
        state[at.status + job] = BLOCKED
        state[at.place + job] = machine
        state[at.occupant + machine] = job
        state[at.version] += 1
        _close(state, at, machine)
        _enqueue(shop, state, at, job)
        _touch(state, at, machine)
    elif shop[at.is_active]:
        pass
    elif shop[at.ready_at + job] <= now:
        state[at.status + job] = WAITING
        _enqueue(shop, state, at, job)
    else:
        state[at.num_to_come] += 1
        state[at.has_event + job] = True
        _push_event(state, at, shop[at.ready_at + job], COMPLETION, job)


@kernel
def _advance(shop, state, down, at):
    """Move the clock to the next event and work off all that happens then; False: it was stale, nothing happened."""
    now = _next_time(state, at)
    state[at.clock] = now
    jobs = at.machine - at.candidate - 1
    has_happened = False
    while state[at.num_events] > 0 and _next_time(state, at) == now:
        kind, number = _pop_event(state, at)
        if kind == REPAIR:
            has_happened |= _repair(shop, state, down, at, number - jobs)
        elif kind == FAILURE:
            _fail(shop, state, down, at, number - jobs)
            has_happened = True
        elif state[at.status + number] == TO_COME:
            state[at.has_event + number] = False
            state[at.status + number] = WAITING
            state[at.num_to_come] -= 1
            _enqueue(shop, state, at, number)
            has_happened = True
        else:
            # An interruption moves the end, not the event: it is put where it belongs when it comes up.
            state[at.has_event + number] = False
            if state[at.available + number] == now:
                _complete(shop, state, at, number)
                has_happened = True
            elif state[at.available + number] > now:
                _process(shop, state, at, number)
    _swap(shop, state, at)
    return has_happened


@kernel
def _has_choice(shop, state, at):
    """Whether some waiting job may take a free machine."""
    if shop[at.buffers] != NO_BUFFERS:
        return state[at.num_open] > 0
    for i in range(state[at.num_open]):
        job = state[at.queue_head + state[at.open_machines + i]]
        while job >= 0:
            if _is_safe(shop, state, at, job):
                return True
            job = state[at.queue_next + job]
    return False


@kernel
def _move_on(shop, state, down, at, known_until):
    """Move to the next decision or to the end of the episode; False: stopped, the scenario must be drawn further."""
    if shop[at.is_active]:
        return True
    _swap(shop, state, at)
    while state[at.num_done] < shop[at.num_jobs] and (state[at.is_held] or not _has_choice(shop, state, at)):
        if _next_time(state, at) >= known_until:
            return False
        if _advance(shop, state, down, at):
            state[at.is_held] = False
    return True


@kernel
def _mark_legal(shop, state, at, legal):
    legal[:] = False
    if shop[at.is_active]:
        _mark_conflict_set(shop, state, at, legal)
        return
    if state[at.num_done] == shop[at.num_jobs]:
        return
    has_choice = False
    for i in range(state[at.num_open]):
        job = state[at.queue_head + state[at.open_machines + i]]
        while job >= 0:
            legal[job] = _may_move(shop, state, at, job)
            has_choice |= legal[job]
            job = state[at.queue_next + job]
    visible = state[at.num_running] + state[at.num_to_come] + state[at.num_down]
    legal[len(legal) - 1] = has_choice and (visible > 0 or shop[at.last_planned] > state[at.clock])


@kernel
def _accrued(shop, weights, state, at):
    """Return the cost that has arisen so far; at the end of the episode it is the objective."""
    objective = shop[at.objective]
    is_active = shop[at.is_active]
    if objective == MAKESPAN:
        return np.float64(state[at.last_end] if is_active else state[at.clock])
    cost, is_first = 0.0, True
    for job in range(shop[at.num_jobs]):
        is_done = state[at.status + job] == DONE
        if is_active and not is_done:
            continue  # there is no clock: only what is complete counts
        now = state[at.available + job] if is_done else state[at.clock]
        due = shop[at.due_dates + job]
        if objective == FLOW_TIME:
            cost += max(now - shop[at.releases + job], 0)
        elif due != NO_DUE_DATE:
            if objective == WEIGHTED_TARDINESS:
                cost += weights[job] * max(now - due, 0)
            elif objective == TARDY_JOBS:
                cost += now > due
            elif is_first or now - due > cost:
                cost, is_first = np.float64(now - due), False
    return cost


# dispatch = active --------------------------------------------------------------------------------------------------


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
def _mark_conflict_set(shop, state, at, legal):
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
def _place(shop, state, at, job):
    """Append the job's next operation to the schedule, at its earliest start."""
    op = state[at.next_op + job]
    machine = state[at.machine + job]
    start = max(state[at.available + job], state[at.free_at + machine])
    state[at.clock] = start
    _enter(shop, state, at, job)
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


# steps: one decision in each environment ----------------------------------------------------------------------------


@kernel
def reset(shops, shop_of, states, downs, known_until, legal, at, envs, is_short):
    """Bring environments to their first decision; `is_short` tells which scenarios must be drawn further."""
    for env in envs:
        shop, state = shops[shop_of[env]], states[env]
        _reset(shop, state, downs[env], at)
        is_short[env] = not _move_on(shop, state, downs[env], at, known_until[env])
        _mark_legal(shop, state, at, legal[env])


@kernel
def decide(shops, shop_of, weights, states, at, actions, paid, cost):
    """Apply legal actions; the last action is `wait`. Books what has become known, which is something when active."""
    wait = at.machine - at.candidate - 1
    for env in range(len(actions)):
        shop, state, job = shops[shop_of[env]], states[env], actions[env]
        cost[env] = 0
        if state[at.num_done] == shop[at.num_jobs]:
            continue
        if job == wait:
            state[at.is_held] = True
        elif shop[at.is_active]:
            _place(shop, state, at, job)
            cost[env] = _accrued(shop, weights[shop_of[env]], state, at) - paid[env]
            paid[env] += cost[env]
        else:
            _move(shop, state, at, job, _before_in_queue(state, at, job))


@kernel
def reveal(shops, shop_of, weights, states, downs, known_until, legal, at, envs, paid, cost, is_over, is_short):
    """Move on and book what arises on the way; `is_short` tells whose scenario must be drawn further first."""
    for env in envs:
        shop, state = shops[shop_of[env]], states[env]
        is_short[env] = not _move_on(shop, state, downs[env], at, known_until[env])
        if is_short[env]:
            continue
        _mark_legal(shop, state, at, legal[env])
        cost[env] = 0
        if not shop[at.is_active]:
            cost[env] = _accrued(shop, weights[shop_of[env]], state, at) - paid[env]
            paid[env] += cost[env]
        is_over[env] = state[at.num_done] == shop[at.num_jobs]


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
def _score(shop, weights, state, at, job, code, seed):
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
def _run(shop, weights, state, down, known_until, legal, at, code, table, seed, epsilon):
    """Finish an episode: the machines are asked in index order, the largest score goes first, ties to the lowest job.

    With probability `epsilon` a decision is drawn at random instead. False: the scenario must be drawn further.
    """
    while True:
        if not _move_on(shop, state, down, at, known_until):
            return False
        if state[at.num_done] == shop[at.num_jobs]:
            return True
        now_code = code
        if epsilon > 0 and hash_uniform(seed, state[at.num_started], 1 << ID_BITS) < epsilon:
            now_code = RANDOM
        if shop[at.is_active]:
            _place_best(shop, weights, state, legal, at, now_code, table, seed)
        else:
            _start_best(shop, weights, state, at, now_code, table, seed)


@kernel
def _start_best(shop, weights, state, at, code, table, seed):
    """Start the best job on the lowest machine that some waiting job may take."""
    i = state[at.num_open] - 1
    while i >= 0:
        best, before_best = _best_on(shop, weights, state, at, state[at.open_machines + i], code, table, seed)
        if best >= 0:
            _move(shop, state, at, best, before_best)
            return
        i -= 1


@kernel
def _best_on(shop, weights, state, at, machine, code, table, seed):
    """Return the best job that may take a machine and the job before it in the queue; -1: there is none."""
    best, before_best, best_score = np.int64(-1), np.int64(-1), -np.inf
    job, previous = state[at.queue_head + machine], np.int64(-1)
    while job >= 0:
        if code == TABLE:  # here and not in `_score`: inlined, it halves the time of an episode
            score = table[state[at.next_op + job]]
        else:
            score = _score(shop, weights, state, at, job, code, seed)
        is_better = best < 0 or score > best_score or (score == best_score and job < best)
        if is_better and _may_move(shop, state, at, job):
            best, before_best, best_score = job, previous, score
        previous, job = job, state[at.queue_next + job]
    return best, before_best


@kernel
def _place_best(shop, weights, state, legal, at, code, table, seed):
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
                score = _score(shop, weights, state, at, job, code, seed)
            if best < 0 or score > best_score:
                best, best_score = job, score
    _place(shop, state, at, best)


@kernel
def run(
    shops, shop_of, weights, states, downs, known_until, legal, at, code, tables, seeds, envs, paid, cost, is_short
):
    """Finish the episodes of `envs`; `tables` (shops, ops) is read if `code` is TABLE. Books what arises on the way."""
    for env in envs:
        row = shop_of[env]
        shop, state = shops[row], states[env]
        is_short[env] = not _run(
            shop, weights[row], state, downs[env], known_until[env], legal[env], at, code, tables[row], seeds[env], 0.0
        )
        if is_short[env]:
            continue
        cost[env] = _accrued(shop, weights[row], state, at) - paid[env]
        paid[env] += cost[env]
        legal[env] = False


@kernel
def run_randomised(shop, weights, state, down, legal, at, code, table, seed, first_run, runs, epsilon, best_row):
    """Run a rule `runs` times from the start and keep the state at the end of the best; run 0 is the rule itself."""
    best = np.inf
    for number in range(first_run, first_run + runs):
        of_run = 0.0 if number == 0 else epsilon
        _reset(shop, state, down, at)
        _run(shop, weights, state, down, NO_DUE_DATE, legal, at, code, table, seed + np.uint64(number), of_run)
        cost = _accrued(shop, weights, state, at)
        if cost < best:
            best = cost
            for i in range(len(state)):
                best_row[i] = state[i]
    return best


# one decision for a shop that somebody else runs -------------------------------------------------------------------


@kernel
def _is_possible(shop, state, at):
    """Whether a shop can be in the state that its row holds; fills in when jobs became ready where that is -1.

    Whether jobs without buffers block one another for ever is not looked at.
    """
    now = shop[at.initial_clock]
    machines = at.down_since - at.occupant
    state[at.scratch : at.scratch + machines] = -1
    unfinished = 0
    for job in range(shop[at.num_jobs]):
        done, left = shop[at.initial_done + job], shop[at.initial_left + job]
        op, end = shop[at.job_first + job] + done, shop[at.job_first + job + 1]
        if done < 0 or op > end or left < 0 or (left > 0 and op == end):
            return False
        unfinished += op < end
        if done == 0 and left == 0:
            shop[at.ready_at + job] = shop[at.releases + job]
            continue
        if shop[at.ready_at + job] < 0:
            shop[at.ready_at + job] = now
        if shop[at.ready_at + job] > now or shop[at.releases + job] > now:
            return False
        if left == 0 and (op == end or shop[at.buffers] == UNLIMITED):
            continue
        if left > 0 and left > shop[at.op_duration + op]:
            return False
        machine = shop[at.op_machine + op] if left > 0 else shop[at.op_machine + op - 1]
        if state[at.scratch + machine] >= 0:
            return False
        state[at.scratch + machine] = job
    return unfinished > 0


@kernel
def choose(shop, weights, state, down, at, code, table, seed, scores):
    """Return the job that a rule starts in the state that the row of a shop holds, and fill `scores` of its rivals.

    -1: none can start now; -2: the shop cannot be in this state. `down` has one interval a machine. Jobs that are no
    candidates score NaN.
    """
    if not _is_possible(shop, state, at):
        return np.int64(-2)
    _reset(shop, state, down, at)
    _swap(shop, state, at)
    scores[:] = np.nan
    i = state[at.num_open] - 1
    while i >= 0:
        machine = state[at.open_machines + i]
        best, _ = _best_on(shop, weights, state, at, machine, code, table, seed)
        if best >= 0:
            job = state[at.queue_head + machine]
            while job >= 0:
                if _may_move(shop, state, at, job):
                    if code == TABLE:
                        scores[job] = table[state[at.next_op + job]]
                    else:
                        scores[job] = _score(shop, weights, state, at, job, code, seed)
                job = state[at.queue_next + job]
            return best
        i -= 1
    return np.int64(-1)
