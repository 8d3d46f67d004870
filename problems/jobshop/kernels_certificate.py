"""Whether a move may be made without buffers: if the jobs in the shop can still all finish.

Which is the safety of a sequential resource allocation system whose resources have one unit each, an NP-complete
question (Lawley and Reveliotis 2001, International Journal of Flexible Manufacturing Systems 13); so the search for an
answer ends after `SEARCH_LIMIT` positions, with no.
"""

from __future__ import annotations

import numpy as np

from orl.jit import kernel

from .kernels_codes import NO_BUFFERS

SEARCH_LIMIT = 100


@kernel
def is_safe(shop, state, at, job):
    """Whether all jobs in the shop can finish once `job` has made its next move (no buffers).

    What is found is kept until a machine has another holder.
    """
    known = state[at.is_move_safe + job]
    if known // 2 == state[at.version]:
        return known % 2 == 1
    safe = _can_all_leave_after(shop, state, at, job)
    state[at.is_move_safe + job] = 2 * state[at.version] + safe
    return safe


@kernel
def may_move(shop, state, at, job):
    """Whether a waiting job may take its free machine."""
    return shop[at.buffers] != NO_BUFFERS or is_safe(shop, state, at, job)


@kernel
def _can_all_leave_after(shop, state, at, job):
    num_machines = at.down_since - at.occupant
    room = state[at.search : at.search + search_room(num_machines)]
    following, ends = room[:num_machines], room[num_machines : 2 * num_machines]
    count = 0
    for other in range(shop[at.num_jobs]):
        if state[at.place + other] < 0 and other != job:
            continue
        op, end = state[at.next_op + other] + (other == job), shop[at.job_first + other + 1]
        if op < end:  # who is at the last operation leaves by itself
            following[count], ends[count] = op, end
            count += 1
    return can_all_leave(shop[at.op_machine :], room, count, num_machines)


@kernel
def search_room(num_machines):
    """Return how many integers a search takes."""
    return num_machines * 4 + SEARCH_LIMIT * (num_machines + 3)


@kernel
def can_all_leave(machines, room, count, num_machines):
    """Whether jobs can all leave a shop without buffers, moving one at a time.

    A depth-first search over the positions of the jobs. In each position `_advance` first makes all moves that can do
    no harm; where these end does not depend on their order. So where the search says yes there is always a move after
    which it says yes again: the next harmless one, or the first on its way, from which it meets no position that it has
    not met before. Hence the limit can refuse moves that could be made, but not make a shop stop.

    Parameters
    ----------
    machines : (num_ops,) int64
        Of all operations.
    room : (search_room(num_machines),) int64
        Begins with the next operation of each of `count` jobs in the shop, of which each holds the machine of the
        operation before; from `num_machines` on the end of each one's operations.
    count, num_machines : int
    """
    first, ends = room[:count], room[num_machines : num_machines + count]
    occupant, visits = room[2 * num_machines : 3 * num_machines], room[3 * num_machines : 4 * num_machines]
    if _advance(machines, first, ends, occupant, visits):
        return True
    if _is_circular(machines, first, ends, occupant):
        return False
    begin = 4 * num_machines
    keys = room[begin : begin + SEARCH_LIMIT]
    path = room[begin + SEARCH_LIMIT : begin + 2 * SEARCH_LIMIT]  # from the first position to the present one
    tried = room[begin + 2 * SEARCH_LIMIT : begin + 3 * SEARCH_LIMIT]  # how many jobs were moved from each of these
    begin += 3 * SEARCH_LIMIT
    for k in range(count):
        room[begin + k] = first[k]
    keys[0], path[0], tried[0] = _key(first), 0, 0
    met, depth = 1, 0
    while depth >= 0:
        here, k = room[begin + path[depth] * count : begin + (path[depth] + 1) * count], tried[depth]
        if k == count:
            depth -= 1
            continue
        tried[depth] += 1
        op = here[k]
        if op == ends[k] or not _is_free(machines, here, ends, k, machines[op]):
            continue
        if met == SEARCH_LIMIT:
            return False
        new = room[begin + met * count : begin + (met + 1) * count]
        for i in range(count):
            new[i] = here[i]
        new[k] += 1
        if _advance(machines, new, ends, occupant, visits):
            return True
        keys[met] = _key(new)
        if _is_known(room[begin:], keys, met, count):
            continue
        if not _is_circular(machines, new, ends, occupant):
            depth += 1
            path[depth], tried[depth] = met, 0
        met += 1
    return False


@kernel
def _advance(machines, following, ends, occupant, visits):
    """Make the moves that do no harm, and return whether all jobs have left.

    Those are moves of one job, through free machines, out of the shop or to a machine that no other job in it needs.
    Fills `occupant` (the job on each machine, -1: none); `visits` is scratch space.
    """
    occupant[:] = -1
    visits[:] = 0
    for k in range(len(following)):
        if following[k] < ends[k]:
            occupant[machines[following[k] - 1]] = k
            for op in range(following[k], ends[k]):
                visits[machines[op]] += 1
    num_inside, is_progress = 0, True
    while is_progress:
        num_inside, is_progress = 0, False
        for k in range(len(following)):
            begin, end = following[k], ends[k]
            if begin == end:
                continue
            ahead = occupant[machines[begin]]
            if ahead >= 0 and ahead != k:
                num_inside += 1
                continue
            for op in range(begin, end):
                visits[machines[op]] -= 1
            op = best = begin
            while op < end and (occupant[machines[op]] < 0 or occupant[machines[op]] == k):
                op += 1
                if op == end or visits[machines[op - 1]] == 0:
                    best = op
            for op in range(best, end):
                visits[machines[op]] += 1
            if best > begin:
                occupant[machines[begin - 1]] = -1
                if best < end:
                    occupant[machines[best - 1]] = k
                following[k] = best
                is_progress = True
            num_inside += following[k] < ends[k]
    return num_inside == 0


@kernel
def _is_free(machines, following, ends, job, machine):
    for k in range(len(following)):
        if k != job and following[k] < ends[k] and machines[following[k] - 1] == machine:
            return False
    return True


@kernel
def _is_circular(machines, following, ends, occupant):
    """Whether some jobs wait for one another in a circle."""
    for first in range(len(following)):
        k = first
        for _ in range(len(following)):
            if following[k] == ends[k]:
                break
            ahead = occupant[machines[following[k]]]
            if ahead < 0 or ahead == k:
                break
            if ahead == first:
                return True
            k = ahead
    return False


@kernel
def _key(following):
    key = np.int64(0)
    for k in range(len(following)):
        key = (key ^ following[k]) * np.int64(1099511628211)
    return key


@kernel
def _is_known(positions, keys, number, count):
    """Whether the position of a number is one of those before it."""
    for i in range(number):
        if keys[i] == keys[number]:
            is_same = True
            for k in range(count):
                is_same &= positions[i * count + k] == positions[number * count + k]
            if is_same:
                return True
    return False
