"""Tabu search on the disjunctive graph of the classic job shop.

A node is an operation. Job j's operations are the nodes `first + 1, first + 2, ...` behind a source node `first`, which
ends at the job's release; so job neighbours are o - 1 and o + 1, and the node behind a job's last operation is another
source, or the last node of all, and has tail 0. That last node also stands for "none" on machines.

    node    (num_nodes, 8): the columns below, one cache line a node
    order   (num_ops,): the operations in a topological order of the graph, kept up to date move by move
    tabu    (num_nodes, most operations of a machine): until which iteration an arc a -> b must not come back, by a and
            the place of b among the operations of its machine
    path    (num_ops,): a critical path, at the array's end
    scratch (num_ops,): room
    found   the best move so far, and state: counters; see below
"""

from __future__ import annotations

import numpy as np

from orl.jit import kernel
from orl.kernels_hash import hash_uniform

# columns of a node: duration, end = head + duration, tail with its own duration, machine predecessor and successor,
# place in `order`, place among the machine's operations, the iteration that marked it last
DURATION, END, TAIL, BEFORE, AFTER, PLACE, INDEX, MARK = range(8)
# state: iterations so far, makespan, the best one since `start_from`, the iteration that found it, whether no move is
# left
ITERATION, MAKESPAN, BEST, BEST_AT, IS_STUCK, STATE_WIDTH = range(6)
# found: estimate, u, v and direction of the best move that is allowed, how many are as good; of a move drawn from all,
# how many there are
VALUE, U, V, IS_RIGHT, NUM_BEST, ANY_U, ANY_V, ANY_IS_RIGHT, NUM_ANY, FOUND_WIDTH = range(10)
N5, N6, N7 = range(3)  # neighbourhoods


@kernel
def start_from(node, order, op_machine, last_on, state):
    """Take the machine sequences of a topological order: links, heads, tails.

    `op_machine` is by node, `last_on` (num_machines,) is room.
    """
    none = len(node) - 1
    last_on[:] = none
    for place in range(len(order)):
        o = order[place]
        machine = op_machine[o]
        node[o, PLACE], node[o, BEFORE], node[o, AFTER] = place, last_on[machine], none
        if last_on[machine] != none:
            node[last_on[machine], AFTER] = o
        last_on[machine] = o
    _set_heads(node, order, 0)
    _set_tails(node, order, len(order) - 1)
    makespan = np.int64(0)
    for o in order:
        makespan = max(makespan, node[o, END])
    state[MAKESPAN] = state[BEST] = makespan
    state[BEST_AT] = state[ITERATION]
    state[IS_STUCK] = 0


@kernel
def _set_heads(node, order, first):
    for place in range(first, len(order)):
        o = order[place]
        node[o, END] = max(node[o - 1, END], node[node[o, BEFORE], END]) + node[o, DURATION]


@kernel
def _set_tails(node, order, last):
    for place in range(last, -1, -1):
        o = order[place]
        node[o, TAIL] = max(node[o + 1, TAIL], node[node[o, AFTER], TAIL]) + node[o, DURATION]


@kernel
def _critical_path(node, job_last, path, makespan, seed, iteration):
    """Write a critical path to the end of `path` and return where it begins; ties are broken at random."""
    o, ties = np.int64(-1), 0
    for last in job_last:
        if node[last, END] == makespan:
            ties += 1
            if ties == 1 or hash_uniform(seed, iteration, ties) * ties < 1:
                o = last
    place = len(path)
    while True:
        place -= 1
        path[place] = o
        head = node[o, END] - node[o, DURATION]
        before = node[o, BEFORE]
        by_machine = before != len(node) - 1 and node[before, END] == head
        by_job = node[o - 1, END] == head and node[o - 1, PLACE] >= 0
        if by_machine and by_job:
            by_machine = hash_uniform(seed, iteration, -place) < 0.5
        if by_machine:
            o = before
        elif by_job:
            o = o - 1
        else:
            return place


@kernel
def _estimate_right(node, u, v, ends):
    """Return the estimated longest path through u .. v if u moves right after v (Balas and Vazacopoulos 1998)."""
    end = node[node[u, BEFORE], END]
    w, count = node[u, AFTER], 0
    while True:
        end = max(node[w - 1, END], end) + node[w, DURATION]
        ends[count] = end
        count += 1
        if w == v:
            break
        w = node[w, AFTER]
    end = max(node[u - 1, END], end)
    tail = max(node[u + 1, TAIL], node[node[v, AFTER], TAIL]) + node[u, DURATION]
    longest = end + tail
    while w != u:
        count -= 1
        tail = max(node[w + 1, TAIL], tail)
        longest = max(longest, ends[count] + tail)
        tail += node[w, DURATION]
        w = node[w, BEFORE]
    return longest


@kernel
def _estimate_left(node, u, v, tails):
    """Return the estimated longest path through u .. v if v moves right before u."""
    tail = node[node[v, AFTER], TAIL]
    w, count = node[v, BEFORE], 0
    while True:
        tail = max(node[w + 1, TAIL], tail) + node[w, DURATION]
        tails[count] = tail
        count += 1
        if w == u:
            break
        w = node[w, BEFORE]
    tail = max(node[v + 1, TAIL], tail)
    end = max(node[v - 1, END], node[node[u, BEFORE], END]) + node[v, DURATION]
    longest = end + tail
    while w != v:
        count -= 1
        end = max(node[w - 1, END], end)
        longest = max(longest, end + tails[count])
        end += node[w, DURATION]
        w = node[w, AFTER]
    return longest


@kernel
def _can_go_right(node, u, v):
    """Whether no path leads from u's job successor to v, so that u can move right after v.

    Such a path would make the tail behind that successor at least as long as that of v.
    """
    return u + 1 != v and node[u + 1, TAIL] - node[u + 1, DURATION] < node[v, TAIL]


@kernel
def _can_go_left(node, u, v):
    """Whether no path leads from u to v's job predecessor, so that v can move right before u."""
    return v - 1 != u and node[v - 1, END] - node[v - 1, DURATION] < node[u, END]


@kernel
def _is_tabu_right(node, tabu, u, v, iteration):
    index, w = node[u, INDEX], u
    while w != v:
        w = node[w, AFTER]
        if tabu[w, index] > iteration:
            return True
    return False


@kernel
def _is_tabu_left(node, tabu, u, v, iteration):
    w = v
    while w != u:
        w = node[w, BEFORE]
        if tabu[v, node[w, INDEX]] > iteration:
            return True
    return False


@kernel
def _move_right(node, order, tabu, scratch, u, v, iteration, until):
    """Move u right after v: tabu arcs, machine sequence, topological order; return the places that changed."""
    w = u
    while w != v:
        w = node[w, AFTER]
        tabu[u, node[w, INDEX]] = until
    _unlink(node, u)
    _link_after(node, u, v)
    first, last = node[u, PLACE], node[v, PLACE]
    # Behind u in the graph: what u reaches. It goes behind u, all else that lay between u and v before it.
    write, count = first, 0
    for place in range(first, last + 1):
        w = order[place]
        if w == u or node[w - 1, MARK] == iteration or node[node[w, BEFORE], MARK] == iteration:
            node[w, MARK] = iteration
            scratch[count] = w
            count += 1
        else:
            order[write] = w
            node[w, PLACE] = write
            write += 1
    for i in range(count):
        order[write + i] = scratch[i]
        node[scratch[i], PLACE] = write + i
    return first, last


@kernel
def _move_left(node, order, tabu, scratch, u, v, iteration, until):
    """Move v right before u, as `_move_right` does u."""
    w = v
    while w != u:
        w = node[w, BEFORE]
        tabu[w, node[v, INDEX]] = until
    _unlink(node, v)
    _link_before(node, v, u)
    first, last = node[u, PLACE], node[v, PLACE]
    write, count = last, 0
    for place in range(last, first - 1, -1):
        w = order[place]
        if w == v or node[w + 1, MARK] == iteration or node[node[w, AFTER], MARK] == iteration:
            node[w, MARK] = iteration
            scratch[count] = w
            count += 1
        else:
            order[write] = w
            node[w, PLACE] = write
            write -= 1
    for i in range(count):
        order[write - i] = scratch[i]
        node[scratch[i], PLACE] = write - i
    return first, last


@kernel
def _unlink(node, o):
    none = len(node) - 1
    before, after = node[o, BEFORE], node[o, AFTER]
    if before != none:
        node[before, AFTER] = after
    if after != none:
        node[after, BEFORE] = before


@kernel
def _link_after(node, o, other):
    after = node[other, AFTER]
    node[o, BEFORE], node[o, AFTER], node[other, AFTER] = other, after, o
    if after != len(node) - 1:
        node[after, BEFORE] = o


@kernel
def _link_before(node, o, other):
    before = node[other, BEFORE]
    node[o, BEFORE], node[o, AFTER], node[other, BEFORE] = before, other, o
    if before != len(node) - 1:
        node[before, AFTER] = o


@kernel
def _try_move(node, tabu, scratch, state, u, v, is_right, seed, found):
    """Weigh one move, u right behind v or v right before u, against the best so far; ties are drawn."""
    if not (_can_go_right(node, u, v) if is_right else _can_go_left(node, u, v)):
        return
    iteration = state[ITERATION]
    value = _estimate_right(node, u, v, scratch) if is_right else _estimate_left(node, u, v, scratch)
    is_tabu = _is_tabu_right(node, tabu, u, v, iteration) if is_right else _is_tabu_left(node, tabu, u, v, iteration)
    found[NUM_ANY] += 1
    if hash_uniform(seed, iteration, u * len(node) + v) * found[NUM_ANY] < 1:
        found[ANY_U], found[ANY_V], found[ANY_IS_RIGHT] = u, v, is_right
    if is_tabu and value >= state[BEST]:  # aspiration: a tabu move may be made if it seems to beat the best
        return
    if value < found[VALUE]:
        found[VALUE], found[NUM_BEST] = value, 0
    if value == found[VALUE]:
        found[NUM_BEST] += 1
        if hash_uniform(seed, iteration, v * len(node) + u) * found[NUM_BEST] < 1:
            found[U], found[V], found[IS_RIGHT] = u, v, is_right


@kernel
def _find_move(node, tabu, path, begin, scratch, state, neighbourhood, seed, found):
    """Look through the moves at the ends of the blocks of a critical path, `path[begin:]`."""
    found[:] = 0
    found[VALUE] = np.iinfo(np.int64).max
    first = begin
    while first < len(path):
        last = first
        while last + 1 < len(path) and node[path[last], AFTER] == path[last + 1]:
            last += 1
        # Nothing gets shorter before the first block, unless it waits for a release, nor behind the last one.
        has_front = first > begin or node[path[first], END] > node[path[first], DURATION]
        has_back = last + 1 < len(path)
        if last > first and has_front:
            reach = first + 1 if neighbourhood == N5 else last
            for i in range(first + 1, reach + 1):
                _try_move(node, tabu, scratch, state, path[first], path[i], False, seed, found)
                if neighbourhood == N7 and i > first + 1:
                    _try_move(node, tabu, scratch, state, path[first], path[i], True, seed, found)
        if last > first and has_back:
            reach = last - 1 if neighbourhood == N5 else first
            for i in range(last - 1, reach - 1, -1):
                if last == first + 1 and has_front:
                    break  # the same swap
                _try_move(node, tabu, scratch, state, path[i], path[last], True, seed, found)
                if neighbourhood == N7 and i < last - 1:
                    _try_move(node, tabu, scratch, state, path[i], path[last], False, seed, found)
        first = last + 1


@kernel
def search(
    node, order, best_order, job_last, tabu, path, scratch, found, state, neighbourhood, tenure, patience, bound, seed,
    iterations,
):  # fmt: skip
    """Make moves until `iterations` are done, `patience` have brought nothing, or the bound is met."""
    for _ in range(iterations):
        if state[BEST] <= bound or state[IS_STUCK] or state[ITERATION] - state[BEST_AT] >= patience:
            return
        state[ITERATION] += 1
        iteration = state[ITERATION]
        begin = _critical_path(node, job_last, path, state[MAKESPAN], seed, iteration)
        _find_move(node, tabu, path, begin, scratch, state, neighbourhood, seed, found)
        if found[NUM_ANY] == 0:
            state[IS_STUCK] = 1
            return
        u, v, is_right = found[U], found[V], found[IS_RIGHT]
        if found[NUM_BEST] == 0:  # all are tabu
            u, v, is_right = found[ANY_U], found[ANY_V], found[ANY_IS_RIGHT]
        until = iteration + tenure[0] + np.int64(hash_uniform(seed, iteration, 0) * (tenure[1] - tenure[0] + 1))
        if is_right:
            first, last = _move_right(node, order, tabu, scratch, u, v, iteration, until)
        else:
            first, last = _move_left(node, order, tabu, scratch, u, v, iteration, until)
        _set_heads(node, order, first)
        _set_tails(node, order, last)
        makespan = np.int64(0)
        for o in job_last:
            makespan = max(makespan, node[o, END])
        state[MAKESPAN] = makespan
        if makespan < state[BEST]:
            state[BEST], state[BEST_AT] = makespan, iteration
            for place in range(len(order)):  # a slice would allocate
                best_order[place] = order[place]
