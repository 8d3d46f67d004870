"""The job shop's simulator: numba over flat integer arrays, batch axis first.

A shop is one row of integers and the state of an environment is another; `at`, a `Layout`, says where in its row a
field begins, so `state[at.free_at + machine]` is when a machine is free. `down` is a row with the intervals [a, b) in
which machines are down, planned or not, machine by machine.

What happens at an instant is worked off in this order: completions and releases, repairs, failures, swaps, decisions.
An operation of zero duration completes when it starts, before the next decision. Nothing is validated here: `JobShop`
and `JobShopProcess` did that.

The cost of an operation hardly grows with the shop: events lie in a binary heap, waiting jobs in one linked list a
machine, and only machines that something happened to are looked at (`open_machines`, `touched`). Each idea has a file:
`kernels_queues`, `kernels_moves`, `kernels_certificate`, `kernels_downtime`, `kernels_rules`, `kernels_active`.
"""

from __future__ import annotations

import numpy as np

from orl.jit import kernel
from orl.kernels_hash import hash_uniform

from .kernels_active import mark_conflict_set, place
from .kernels_certificate import is_safe, may_move
from .kernels_codes import (
    BLOCKED,
    COMPLETION,
    DONE,
    FAILURE,
    FLOW_TIME,
    ID_BITS,
    MAKESPAN,
    NO_BUFFERS,
    NO_DUE_DATE,
    RANDOM,
    REPAIR,
    TABLE,
    TARDY_JOBS,
    TO_COME,
    UNLIMITED,
    WAITING,
    WEIGHTED_TARDINESS,
    WINQ,
)
from .kernels_downtime import down_start, expect_failure, fail, repair
from .kernels_moves import begin_work, complete, enter, move, swap, touch
from .kernels_queues import before_in_queue, close, enqueue, next_time, pop_event, push_event
from .kernels_rules import best_on, score_of


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
            start = down_start(down, at, machine, 0)
            if 0 <= start <= now:
                fail(shop, state, down, at, machine)
                state[at.down_since + machine] = start
            else:
                expect_failure(state, down, at, machine)


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
        enter(shop, state, at, job)
        close(state, at, state[at.place + job])
        state[at.start + op] = shop[at.initial_start + job]
        end = now + shop[at.initial_left + job]
        state[at.available + job] = end
        state[at.free_at + state[at.place + job]] = end
        begin_work(shop, state, at, job)
    elif done > 0 and shop[at.buffers] != UNLIMITED:
        machine = shop[at.op_machine + op - 1]
        state[at.status + job] = BLOCKED
        state[at.place + job] = machine
        state[at.occupant + machine] = job
        close(state, at, machine)
        enqueue(shop, state, at, job)
        touch(state, at, machine)
    elif shop[at.is_active]:
        pass
    elif shop[at.ready_at + job] <= now:
        state[at.status + job] = WAITING
        enqueue(shop, state, at, job)
    else:
        state[at.num_to_come] += 1
        push_event(state, at, shop[at.ready_at + job], COMPLETION, job)


@kernel
def _advance(shop, state, down, at):
    """Move the clock to the next event and work off all that happens then; False: it was stale, nothing happened."""
    now = next_time(state, at)
    state[at.clock] = now
    jobs = at.machine - at.candidate - 1
    has_happened = False
    while state[at.num_events] > 0 and next_time(state, at) == now:
        kind, number = pop_event(state, at)
        if kind == REPAIR:
            has_happened |= repair(shop, state, down, at, number - jobs)
        elif kind == FAILURE:
            fail(shop, state, down, at, number - jobs)
            has_happened = True
        elif state[at.status + number] == TO_COME:
            state[at.status + number] = WAITING
            state[at.num_to_come] -= 1
            enqueue(shop, state, at, number)
            has_happened = True
        else:
            # An interruption moves the end, not the event: it is put where it belongs when it comes up.
            state[at.has_event + number] = False
            if state[at.available + number] == now:
                complete(shop, state, at, number)
                has_happened = True
            elif state[at.available + number] > now:
                begin_work(shop, state, at, number)
    swap(shop, state, at)
    return has_happened


@kernel
def _has_choice(shop, state, at):
    """Whether some waiting job may take a free machine."""
    if shop[at.buffers] != NO_BUFFERS:
        return state[at.num_open] > 0
    for i in range(state[at.num_open]):
        job = state[at.queue_head + state[at.open_machines + i]]
        while job >= 0:
            if is_safe(shop, state, at, job):
                return True
            job = state[at.queue_next + job]
    return False


@kernel
def _move_on(shop, state, down, at, known_until):
    """Move to the next decision or to the end of the episode; False: stopped, the scenario must be drawn further."""
    if shop[at.is_active]:
        return True
    swap(shop, state, at)
    while state[at.num_done] < shop[at.num_jobs] and (state[at.is_held] or not _has_choice(shop, state, at)):
        if next_time(state, at) >= known_until:
            return False
        if _advance(shop, state, down, at):
            state[at.is_held] = False
    return True


@kernel
def _mark_legal(shop, state, at, legal):
    legal[:] = False
    if shop[at.is_active]:
        mark_conflict_set(shop, state, at, legal)
        return
    if state[at.num_done] == shop[at.num_jobs]:
        return
    has_choice = False
    for i in range(state[at.num_open]):
        job = state[at.queue_head + state[at.open_machines + i]]
        while job >= 0:
            legal[job] = may_move(shop, state, at, job)
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


# steps: one decision in each environment -----------------------------------------------------------------------------


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
            place(shop, state, at, job)
            cost[env] = _accrued(shop, weights[shop_of[env]], state, at) - paid[env]
            paid[env] += cost[env]
        else:
            move(shop, state, at, job, before_in_queue(state, at, job))


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


# whole episodes under a rule -----------------------------------------------------------------------------------------


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
        best, before_best = best_on(shop, weights, state, at, state[at.open_machines + i], code, table, seed)
        if best >= 0:
            move(shop, state, at, best, before_best)
            return
        i -= 1


@kernel
def _place_best(shop, weights, state, legal, at, code, table, seed):
    """Active: place the best operation of the conflict set."""
    legal[:] = False
    mark_conflict_set(shop, state, at, legal)
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
                score = score_of(shop, weights, state, at, job, code, seed)
            if best < 0 or score > best_score:
                best, best_score = job, score
    place(shop, state, at, best)


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


# one decision for a shop that somebody else runs ---------------------------------------------------------------------


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
    swap(shop, state, at)
    scores[:] = np.nan
    i = state[at.num_open] - 1
    while i >= 0:
        machine = state[at.open_machines + i]
        best, _ = best_on(shop, weights, state, at, machine, code, table, seed)
        if best >= 0:
            job = state[at.queue_head + machine]
            while job >= 0:
                if may_move(shop, state, at, job):
                    if code == TABLE:
                        scores[job] = table[state[at.next_op + job]]
                    else:
                        scores[job] = score_of(shop, weights, state, at, job, code, seed)
                job = state[at.queue_next + job]
            return best
        i -= 1
    return np.int64(-1)
