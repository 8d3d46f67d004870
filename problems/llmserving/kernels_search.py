"""Schedules by rounds, layer by layer: who may run next, and what the rest will cost at least.

A layer is a round; a state, how many tokens each request has. Only sets that nobody could join, for memory or seats,
run: a token that could be had now and is had later can be had now instead, and nothing else changes. Without preemption
whoever has begun runs on, so memory must do for all that have begun to their ends, and sets may be such that somebody
could join.

What is left costs at least: let W_r be the memory that the tokens left of request r take, a round each, in rounds of
the whole memory. A round takes no more than that, so a schedule is one of a preemptive machine with jobs W_r, released
when they arrive; there shortest remaining work first has most jobs done at any time (Schrage 1968, doi
10.1287/opre.16.3.687), so its j-th end comes no later than the j-th of the schedule. Nor does the j-th smallest of the
rounds at which each would end if it ran alone from now on. The largest weight is given to the earliest end. A second
bound is that of `kernels_prices`, the best of several prices; the larger one counts, rounded up to what a cost can be.
"""

from __future__ import annotations

import math

from orl.jit import kernel

from .kernels_prices import priced_bound


@kernel
def first_bound(given, work, state, now, room):
    """Return the bound on the weighted sum of the times at which what is open ends, `state` tokens being there.

    `given` (4, requests): arrival, prompt, output, weight; `work` (requests, tokens) is what is left of each in rounds
    of the whole memory; `room` (4, requests) is to work in.
    """
    left, begins, ends, weights = room[0], room[1], room[2], room[3]
    count = 0
    alone = 0.0
    for r in range(len(state)):
        if state[r] < given[2, r]:
            left[count] = work[r, state[r]]
            begins[count] = max(float(now), given[0, r])
            weights[count] = given[3, r]
            alone += given[3, r] * (begins[count] + given[2, r] - state[r])
            count += 1
    shortest_first(count, left, begins, ends, float(now))
    # In place of `left` and `begins`, which are used up: when each would end alone, in order; weights, largest first.
    place = 0
    for r in range(len(state)):
        if state[r] < given[2, r]:
            left[place] = max(float(now), given[0, r]) + given[2, r] - state[r]
            place += 1
    sort(left, count)
    sort(weights, count)
    together = 0.0
    for j in range(count):
        together += weights[count - 1 - j] * max(math.ceil(ends[j] - 1e-7), left[j])
    return max(alone, together)


@kernel
def shortest_first(count, left, begins, ends, now):
    """Fill the ends, in order, of jobs on one machine that always works at the one with least left."""
    done = 0
    while done < count:
        best, nearest = -1, math.inf
        for j in range(count):
            if left[j] >= 0:
                if begins[j] <= now:
                    if best < 0 or left[j] < left[best]:
                        best = j
                elif begins[j] < nearest:
                    nearest = begins[j]
        if best < 0:
            now = nearest
        elif now + left[best] <= nearest:
            now += left[best]
            left[best] = -1.0
            ends[done] = now
            done += 1
        else:
            left[best] = max(0.0, left[best] - (nearest - now))
            now = nearest


@kernel
def sort(values, count):
    """Sort the first few values, which are few."""
    for i in range(1, count):
        value, j = values[i], i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


@kernel
def expand(given, work, values, worth, sums, limits, now, below, states, costs, begin, end, room, chosen, out_states,
           out_costs, out_bounds, out_parents):  # fmt: skip
    """Write what follows states `begin` to `end`, and return how many and the first state that found no room.

    `values`, `worth` and `sums` are those of `priced_bound` at the next round.
    `limits`: memory, seats, whether there is preemption, what every cost is a multiple of (0: not known); `chosen`
    (2, requests): who may run, neediest first; who does.
    """
    present, runs = chosen[0], chosen[1]
    count = 0
    for s in range(begin, end):
        state = states[s]
        num = 0
        for r in range(len(state)):
            if state[r] < given[2, r] and given[0, r] <= now:
                place = num
                while place > 0 and need(given, state, present[place - 1]) < need(given, state, r):
                    present[place] = present[place - 1]
                    place -= 1
                present[place] = r
                num += 1
        start = count
        # Depth first over who runs: at depth d the choice of present[d], first with it, then without.
        depth, used, seats = 0, 0, 0
        runs[:] = 0  # 0: not decided; 1: runs; 2: does not
        while depth >= 0:
            if depth == num:
                if limits[2]:
                    is_set = is_full(given, state, present, runs, num, limits[0] - used, limits[1] - seats)
                else:
                    is_set = lasts(given, state, present, runs, num, limits[0])
                if is_set:
                    if count == len(out_costs):
                        return start, s
                    bound = write(
                        given, work, values, worth, sums, limits[3], state, present, runs, num, now, costs[s], below,
                        out_states[count], room,
                    )  # fmt: skip
                    if bound[1] < below:
                        out_costs[count], out_bounds[count], out_parents[count] = bound[0], bound[1], s
                        count += 1
                depth -= 1
                continue
            r = present[depth]
            if runs[depth] == 0:
                runs[depth] = 1
                if used + need(given, state, r) <= limits[0] and seats < limits[1]:
                    used += need(given, state, r)
                    seats += 1
                    depth += 1
                    continue
            elif runs[depth] == 1:
                used -= need(given, state, r)
                seats -= 1
            if limits[2]:
                may_stay_out = may_be_full(given, state, present, depth, num, limits[0] - used, limits[1] - seats)
            else:
                may_stay_out = state[r] == 0
            if runs[depth] == 1 and may_stay_out:
                runs[depth] = 2
                depth += 1
            else:
                runs[depth] = 0
                depth -= 1
    return count, end


@kernel
def need(given, state, r):
    """Return the memory that a request takes in its next round."""
    return int(given[1, r]) + state[r]


@kernel
def is_full(given, state, present, runs, num, memory, seats):
    """Return whether nobody could join."""
    smallest = memory + 1
    for d in range(num):
        if runs[d] == 2:
            smallest = min(smallest, need(given, state, present[d]))
    return seats == 0 or smallest > memory


@kernel
def may_be_full(given, state, present, depth, num, memory, seats):
    """Return whether those decided later can take so much that the one at `depth` could not join."""
    wanted = 0
    for d in range(depth + 1, num):
        wanted += need(given, state, present[d])
    return wanted + need(given, state, present[depth]) > memory or num - depth - 1 >= seats


@kernel
def write(given, work, values, worth, sums, grain, state, present, runs, num, now, cost, below, out, room):
    """Write the state that follows, and return its cost and its bound, or one that is not below `below`."""
    for r in range(len(state)):  # slices would allocate
        out[r] = state[r]
    for d in range(num):
        if runs[d] == 1:
            r = present[d]
            out[r] += 1
            if out[r] == given[2, r]:
                cost += given[3, r] * (now + 1 - given[0, r])
    so_far = cost
    for r in range(len(out)):
        if out[r] < given[2, r]:
            so_far -= given[3, r] * given[0, r]
    bound = so_far + priced_bound(values, worth, out, sums)
    if bound < below:  # the other takes longer
        bound = max(bound, so_far + first_bound(given, work, out, now + 1, room))
    return cost, rounded_up(bound, grain)


@kernel
def rounded_up(bound, grain):
    """Return the least multiple of `grain` that is no less than a bound, rounding aside; of 0 the bound itself."""
    return grain * math.ceil(bound / grain - 1e-6) if grain > 0 and bound < math.inf else bound


@kernel
def lasts(given, state, present, runs, num, memory):
    """Return whether memory does for those that run, to their ends."""
    later = 0
    while True:
        used, is_any = 0, False
        for d in range(num):
            r = present[d]
            if runs[d] == 1 and state[r] + later < given[2, r]:
                used += need(given, state, r) + later
                is_any = True
        if used > memory:
            return False
        if not is_any:
            return True
        later += 1
