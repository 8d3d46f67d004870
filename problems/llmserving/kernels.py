"""A server from epoch to epoch, and whole batches of servers.

`work` holds instances and scenarios, `states` where the environments are, one row each; see `process.py`.
"""

from __future__ import annotations

import numpy as np

from orl.jit import kernel

from . import kernels_codes as codes
from .kernels_blocks import note_full, release, restore, take
from .kernels_codes import (
    ARRIVED,
    END_0,
    EPOCH,
    EVENTS,
    FINISHED,
    FLIGHTS,
    GPU_FREE,
    NOW,
    NUM_REQUESTS,
    OLDEST,
    PLANNED,
    RUNNING,
    STALL,
    UNFINISHED,
    WAITING,
    WEIGHT,
)
from .kernels_layout import at_env
from .kernels_moves import (
    act,
    copy_out,
    into_queue,
    is_legal,
    keep_copies,
    leave_seat,
    lift,
    next_transfer,
    out_of_queue,
    plan,
    write_event,
)
from .kernels_rules import choose
from .kernels_time import bilinear, by_count


@kernel
def mixed(key, a, b):
    """Return a number in [0, 1) that looks random, of three numbers (uint64; SplitMix64's finaliser)."""
    z = key + (a + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + (b + np.uint64(1)) * np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * 2.0**-53


@kernel
def draw_priority(s, w, request, is_new):
    """Give a request the priority of the present update."""
    update = s.num[codes.UPDATES]
    stays = mixed(w.key[0], np.uint64(request), np.uint64(2 * update + 1)) < w.times[codes.STAY]
    if w.sizes[codes.PRIORITY_KIND] == codes.BY_MARKOV and not is_new and stays:
        return
    level = mixed(w.key[0], np.uint64(request), np.uint64(2 * update)) * w.sizes[codes.PRIORITY_LEVELS]
    s.request[request, codes.PRIORITY] = int(level)


@kernel
def arrive(s, w):
    """Let everybody wait who has arrived; return the weighted time that they have waited by now."""
    waited = 0.0
    while s.num[ARRIVED] < w.sizes[NUM_REQUESTS] and w.real[s.num[ARRIVED], codes.ARRIVAL] <= s.clock[NOW]:
        request = s.num[ARRIVED]
        lift(s, w, request)
        s.request[request, codes.STATUS] = WAITING
        into_queue(s, w, request)
        s.num[ARRIVED] += 1
        s.clock[WEIGHT] += w.real[request, codes.WEIGHT_OF]
        waited += w.real[request, codes.WEIGHT_OF] * (s.clock[NOW] - w.real[request, codes.ARRIVAL])
        if w.sizes[codes.PRIORITY_KIND] != codes.BY_FILE:
            draw_priority(s, w, request, True)
    return waited


@kernel
def finish(s, w, request):
    """Let a request leave, from wherever it is."""
    status, kept = s.request[request, codes.STATUS], s.request[request, codes.KEPT]
    full = s.request[request, codes.COMPUTED] // w.sizes[codes.BLOCK_SIZE]
    if w.sizes[codes.REUSE] != codes.OF_TURNS:
        full = 0
    s.request[request, codes.STATUS] = FINISHED
    if status == RUNNING:
        leave_seat(s, request)
        if full > s.num[codes.CPU_FREE]:
            full = 0
        keep_copies(s, w, request, full)
        copy_out(s, w, request, min(kept, full), full, False)
    else:
        out_of_queue(s, w, request)
        s.num[codes.CPU_FREE] += s.request[request, codes.ON_CPU]
        if s.ready[request] <= s.clock[NOW]:
            keep_copies(s, w, request, full)
        s.request[request, codes.ON_CPU] = 0
        if s.request[request, codes.HELD] > 0:  # its copy goes on, of what is nobody's any more
            s.num[codes.OUTBOUND] -= s.request[request, codes.HELD]
            release(s, w, request)
    s.num[UNFINISHED] -= 1
    s.clock[WEIGHT] -= w.real[request, codes.WEIGHT_OF]
    write_event(s, request, codes.FINISH, 0)


@kernel
def end_copies(s, w):
    """Release the blocks whose copies out have ended."""
    count = 0
    for place in range(s.num[codes.LEAVING]):
        request = s.leaving[place]
        if s.ready[request] <= s.clock[NOW]:
            s.num[codes.OUTBOUND] -= s.request[request, codes.HELD]
            release(s, w, request)
        else:
            s.leaving[count] = request
            count += 1
    s.num[codes.LEAVING] = count


@kernel
def batch_time(s, w):
    """Return how long the planned batch takes."""
    if w.sizes[codes.IS_ROUNDS]:
        return 1.0
    tokens, decoding, context, prefill = 0, 0, 0, 0.0
    for place in range(s.num[PLANNED]):
        request, count = s.seats[place, codes.PLAN_REQUEST], s.seats[place, codes.PLAN_TOKENS]
        done = s.request[request, codes.COMPUTED]
        tokens += count
        if s.seats[place, codes.PLAN_IS_DECODE]:
            decoding += 1
            context += done + 1
        else:
            prefill += bilinear(w.chunk, w.past, w.prefill, float(count), float(done))
    total = by_count(w.dense, tokens) + by_count(w.sequence, s.num[PLANNED]) + prefill
    if decoding > 0:
        total += bilinear(w.count, w.context, w.decode, float(decoding), context / decoding)
    return total


@kernel
def start_batch(s, w):
    """Take the planned batch's blocks and start it, or note that there is none."""
    epoch, now = s.num[EPOCH], s.clock[NOW]
    s.epochs[epoch, 0] = now
    s.epochs[epoch, 1] = now
    s.epochs[epoch, 2] = now
    if s.num[PLANNED] == 0:
        return
    start = max(now, s.clock[GPU_FREE], s.clock[codes.WAITS_FOR]) + s.clock[STALL]
    s.clock[STALL], s.clock[codes.WAITS_FOR] = 0.0, 0.0
    end = start + batch_time(s, w)
    s.clock[GPU_FREE] = end
    s.epochs[epoch, 1] = start
    s.epochs[epoch, 2] = end
    flight = (s.num[OLDEST] + s.num[FLIGHTS]) % 2
    s.clock[END_0 + flight] = end
    s.num[FLIGHTS] += 1
    size, sampled = w.sizes[codes.BLOCK_SIZE], 0
    for place in range(s.num[PLANNED]):
        request, count = s.seats[place, codes.PLAN_REQUEST], s.seats[place, codes.PLAN_TOKENS]
        done = s.request[request, codes.COMPUTED] + count
        while s.request[request, codes.HELD] * size < done:
            take(s, w, request)
        s.request[request, codes.COMPUTED] = done
        note_full(s, w, request)
        if not s.seats[place, codes.PLAN_IS_DECODE]:
            write_event(s, request, codes.PREFILL, count)
        if (
            done
            == w.request[request, codes.PROMPT]
            + s.request[request, codes.GENERATED]
            + s.request[request, codes.UNDER_WAY]
        ):
            s.request[request, codes.UNDER_WAY] += 1
            s.flight[flight, sampled] = request
            sampled += 1
    s.sampled[flight] = sampled
    s.num[codes.ITERATIONS] += 1
    every = w.sizes[codes.PRIORITY_EVERY]
    if every > 0 and s.num[codes.ITERATIONS] % every == 0:
        s.num[codes.UPDATES] += 1
        for request in range(s.num[ARRIVED]):
            if s.request[request, codes.STATUS] != FINISHED:
                draw_priority(s, w, request, False)


@kernel
def end_batch(s, w):
    """Let the tokens of the oldest batch be known."""
    flight = s.num[OLDEST]
    s.num[OLDEST] = 1 - flight
    s.num[FLIGHTS] -= 1
    for place in range(s.sampled[flight]):
        request = s.flight[flight, place]
        s.request[request, codes.GENERATED] += 1
        s.request[request, codes.UNDER_WAY] -= 1
        s.clients[w.request[request, codes.CLIENT], codes.SERVED] += codes.OUTPUT_SERVICE
        s.clients[w.request[request, codes.CLIENT], codes.COUNTER] += codes.OUTPUT_SERVICE
        if s.request[request, codes.GENERATED] == w.request[request, codes.OUTPUT]:
            finish(s, w, request)


@kernel
def pass_time(s, w):
    """After "run": start the batch, move to the next epoch, and return what the time between costs."""
    before, is_new = s.clock[NOW], s.num[PLANNED] > 0
    start_batch(s, w)
    s.num[EPOCH] += 1
    s.num[codes.PREEMPTED] = 0
    ends = False
    if not (is_new and s.num[FLIGHTS] < w.sizes[codes.DEPTH]):
        if s.num[FLIGHTS] > 0:
            s.clock[NOW] = max(before, s.clock[END_0 + s.num[OLDEST]])
            ends = True
        else:
            at = next_transfer(s)
            if s.num[ARRIVED] < w.sizes[NUM_REQUESTS] and (at < 0 or w.real[s.num[ARRIVED], codes.ARRIVAL] < at):
                at = w.real[s.num[ARRIVED], codes.ARRIVAL]
            s.clock[NOW] = max(before, at)
    cost = s.clock[WEIGHT] * (s.clock[NOW] - before)
    if s.num[codes.LEAVING] > 0:
        end_copies(s, w)
    if ends:
        end_batch(s, w)
    cost += arrive(s, w)
    plan(s, w)
    return cost


@kernel
def begin(work, states, envs):
    """Let those arrive who are there at time 0."""
    for env in envs:
        s, w = at_env(work, states, env)
        arrive(s, w)
        plan(s, w)


@kernel
def go_on(work, states, envs):
    """Write what follows from the rest of states on the way: where blocks lie, and who is being copied out."""
    for env in envs:
        s, w = at_env(work, states, env)
        restore(s, w)
        count = 0
        for request in range(s.num[ARRIVED]):
            if s.request[request, codes.STATUS] == RUNNING or s.ready[request] <= s.clock[NOW]:
                continue
            place = count
            while place > 0 and s.ready[s.leaving[place - 1]] > s.ready[request]:
                s.leaving[place] = s.leaving[place - 1]
                place -= 1
            s.leaving[place] = request
            count += 1
        s.num[codes.LEAVING] = count


@kernel
def write_legal(s, w, legal):
    """Fill the mask of an environment."""
    legal[:] = False
    if s.num[UNFINISHED] == 0:
        return
    legal[0] = is_legal(s, w, 0)
    for request in range(w.sizes[NUM_REQUESTS]):
        if WAITING <= s.request[request, codes.STATUS] < FINISHED:
            legal[1 + 2 * request] = is_legal(s, w, 1 + 2 * request)
            legal[2 + 2 * request] = is_legal(s, w, 2 + 2 * request)


@kernel
def write_masks(work, states, envs, legal):
    """Fill the masks of some environments."""
    for env in envs:
        s, w = at_env(work, states, env)
        write_legal(s, w, legal[env])


@kernel
def decide(work, states, actions):
    """Carry out an action in each environment that is not at its end; 0 waits for `reveal`."""
    for env in range(actions.shape[0]):
        s, w = at_env(work, states, env)
        if s.num[UNFINISHED] > 0 and actions[env] > 0:
            act(s, w, actions[env])


@kernel
def reveal(work, states, actions, cost, legal):
    """Let time pass where the action was run."""
    for env in range(cost.shape[0]):
        s, w = at_env(work, states, env)
        cost[env] = 0.0
        if s.num[UNFINISHED] > 0 and actions[env] == 0:
            cost[env] = pass_time(s, w)
        write_legal(s, w, legal[env])


@kernel
def has_room(s, w):
    """Return whether the log has room for one epoch more."""
    return (
        s.num[EPOCH] + 2 < s.epochs.shape[0]
        and s.num[EVENTS] + 3 * s.seats.shape[0] + 2 * w.sizes[NUM_REQUESTS] + 8 < s.events.shape[0]
    )


@kernel
def run(work, states, parameters, no_mask, cost):
    """Follow a rule to the ends of the episodes; return the environment whose log is full, -1 if all have ended."""
    full = -1
    for env in range(cost.shape[0]):
        s, w = at_env(work, states, env)
        rule = parameters[env]
        while s.num[UNFINISHED] > 0:
            if not has_room(s, w):
                full = env
                break
            action = choose(s, w, no_mask, rule)
            while action > 0:
                act(s, w, action)
                action = choose(s, w, no_mask, rule)
            cost[env] += pass_time(s, w)
    return full


@kernel
def actions_of_rule(work, states, parameters, legal, actions):
    """Fill in the action that a rule takes next in each environment."""
    for env in range(actions.shape[0]):
        s, w = at_env(work, states, env)
        actions[env] = 0
        if s.num[UNFINISHED] > 0:
            actions[env] = choose(s, w, legal[env], parameters[env])
