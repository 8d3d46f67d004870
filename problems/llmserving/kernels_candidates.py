"""Rows of candidates: what is known of running the batch, and of everything that may be done to a request.

`features` passes the arrays of an observation; the README of this family tables the columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orl.jit import kernel
from orl.kernels_squash import squash

from . import kernels_codes as codes
from .kernels_codes import BLOCK_SIZE, FINISHED, FREE, FUTURE, NEED, NUM_BLOCKS, NUM_RUNNING, RUNNING, SWAPPED, WAITING
from .kernels_moves import blocks_for
from .kernels_time import bilinear, by_count

NUM_COLUMNS = 33
PRIORITY_SCALE = 4.0
LONG, SHORT = 100.0, 10.0  # iterations by which waiting, and work done again, are measured


class Seen(NamedTuple):
    """The arrays of an observation that are read, as the README names them."""

    status: np.ndarray
    arrival: np.ndarray
    weight: np.ndarray
    priority: np.ndarray
    client: np.ndarray
    prompt: np.ndarray
    limit: np.ndarray
    generated: np.ndarray
    under_way: np.ndarray
    computed: np.ndarray
    blocks: np.ndarray
    cpu_blocks: np.ndarray
    stretches: np.ndarray
    touched: np.ndarray
    clients: np.ndarray
    counters: np.ndarray
    clock: np.ndarray
    engine: np.ndarray
    times: np.ndarray
    dense: np.ndarray
    sequence: np.ndarray
    chunk: np.ndarray
    past: np.ndarray
    prefill: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # a tuple has a method of that name
    context: np.ndarray
    decode: np.ndarray


@kernel
def is_here(seen, env, request):
    """Return whether a request has arrived and is not finished."""
    return FUTURE < seen.status[env, request] < FINISHED


@kernel
def known_tokens(seen, env, request):
    """Return the tokens of a request that are known or under way."""
    return seen.prompt[env, request] + seen.generated[env, request] + seen.under_way[env, request]


@kernel
def expected_output(seen, env):
    """Return the output tokens that a request is expected to need still, whatever it has: all seen, by all finished.

    That is what is likeliest if outputs are geometric; one more counts as finished, so that there is an answer at once.
    """
    tokens, finished = 0, 1
    for request in range(seen.engine[env, codes.NUM_REQUESTS]):
        tokens += seen.generated[env, request]
        finished += seen.status[env, request] == FINISHED
    return max(tokens / finished, 1.0)


@kernel
def remaining(seen, env, request, expected):
    """Return the output tokens to come: what a request declares less what it has, or what is expected; at least 1."""
    if seen.limit[env, request] > 0:
        return max(seen.limit[env, request] - seen.generated[env, request] - seen.under_way[env, request], 1.0)
    return expected


@kernel
def iteration_time(seen, env):
    """Return how long an iteration takes in which everybody that runs decodes."""
    if seen.engine[env, codes.IS_ROUNDS]:
        return 1.0
    tokens, count = 0, seen.counters[env, NUM_RUNNING]
    for request in range(seen.engine[env, codes.NUM_REQUESTS]):
        if seen.status[env, request] == RUNNING:
            tokens += seen.computed[env, request]
    time = by_count(seen.dense[env], max(count, 1)) + by_count(seen.sequence[env], max(count, 1))
    if count > 0:
        time += bilinear(seen.count[env], seen.context[env], seen.decode[env], float(count), tokens / count)
    return max(time, 1e-9)


@kernel
def again_time(seen, env, tokens):
    """Return how long it takes to compute so many tokens of a request."""
    if seen.engine[env, codes.IS_ROUNDS]:
        return 1.0
    prefill = bilinear(seen.chunk[env], seen.past[env], seen.prefill[env], float(tokens), 0.0)
    return by_count(seen.dense[env], tokens) + prefill


@kernel
def least_served(seen, env):
    """Return the service of the client here that was served least."""
    least = -1.0
    for request in range(seen.engine[env, codes.NUM_REQUESTS]):
        if is_here(seen, env, request):
            served = seen.clients[env, seen.client[env, request], codes.SERVED]
            if least < 0 or served < least:
                least = served
    return least


@kernel
def of_engine(seen, env, post, cells):
    """Fill the columns that all rows share."""
    sizes, num = seen.engine, seen.counters
    blocks = sizes[env, NUM_BLOCKS]
    cells[6] = post
    cells[7] = max((num[env, FREE] - num[env, NEED]) / blocks, -1.0)
    cells[8] = min(num[env, NEED] / blocks, 1.0)
    cells[9] = num[env, codes.LEFT] / sizes[env, codes.BUDGET]
    cells[10] = min(num[env, NUM_RUNNING] / sizes[env, codes.MAX_SEQS], 1.0)
    cells[11] = squash(np.float64(num[env, codes.NUM_QUEUED]), np.float64(sizes[env, codes.MAX_SEQS]))
    cells[12] = squash(np.float64(num[env, codes.PREEMPTED]), 1.0)


@kernel
def of_request(seen, env, request, expected, iteration, mean_weight, mean_left, least, cells):
    """Fill the columns of a request, ranks left out."""
    blocks, size = seen.engine[env, NUM_BLOCKS], seen.engine[env, BLOCK_SIZE]
    room = np.float64(blocks * size)
    known, left = known_tokens(seen, env, request), remaining(seen, env, request, expected)
    held = max(seen.blocks[env, request], seen.cpu_blocks[env, request])
    whole, free = blocks_for(known, size), seen.counters[env, FREE] - seen.counters[env, NEED]
    after = free + seen.blocks[env, request]
    if seen.status[env, request] == WAITING:
        after = free - whole
    elif seen.status[env, request] == SWAPPED:
        after = free - seen.cpu_blocks[env, request]
    cells[13] = squash(np.float64(seen.prompt[env, request]), room / 8)
    cells[14] = squash(np.float64(seen.generated[env, request]), room / 8)
    cells[15] = squash(np.float64(seen.computed[env, request]), room / 8)
    cells[16] = held / blocks
    cells[17] = min(whole / blocks, 1.0)
    cells[18] = min(max(after / blocks, -1.0), 1.0)
    waited = max(seen.clock[env, codes.NOW] - seen.arrival[env, request], 0.0)
    cells[19] = squash(waited, LONG * iteration)
    cells[20] = squash(np.float64(seen.weight[env, request]), mean_weight)
    cells[21] = squash(np.float64(seen.priority[env, request]), PRIORITY_SCALE)
    cells[22] = seen.limit[env, request] > 0
    cells[23] = squash(left, room / 8)
    cells[24] = squash(left, mean_left)
    cells[25] = min((known + left) / room, 1.0)
    cells[26] = squash(again_time(seen, env, known), SHORT * iteration)
    stretches = seen.stretches[env, request] if seen.status[env, request] == RUNNING else held
    copy = stretches * seen.times[env, codes.START_S] + held * seen.times[env, codes.BLOCK_S]
    cells[27] = squash(2 * copy, SHORT * iteration)
    cells[28] = seen.touched[env, request] == seen.counters[env, codes.EPOCH]
    served = seen.clients[env, seen.client[env, request], codes.SERVED]
    cells[29] = squash(max(served - least, 0.0), room / 8)


@kernel
def of_ranks(seen, env, request, order, expected, cells):
    """Fill in how many go before a request: of those that are let in the least, of those that give way the most.

    `order` has the work of everybody here.
    """
    runs = seen.status[env, request] == RUNNING
    sign = -1 if runs else 1
    by_arrival, by_left, by_work = 0, 0, 0
    left = remaining(seen, env, request, expected)
    for other in range(seen.engine[env, codes.NUM_REQUESTS]):
        if other == request or not is_here(seen, env, other) or (seen.status[env, other] == RUNNING) != runs:
            continue
        is_before = sign * other < sign * request
        difference = sign * (remaining(seen, env, other, expected) - left)
        by_arrival += is_before
        by_left += difference < 0 or (difference == 0 and is_before)
        difference = sign * (order[other] - order[request])
        by_work += difference < 0 or (difference == 0 and is_before)
    cells[30] = 1 / (1 + by_arrival)
    cells[31] = 1 / (1 + by_left)
    cells[32] = 1 / (1 + by_work)


@kernel
def candidates(seen, envs, legal, post, work, out):
    """Fill `out` (len(envs), choices, NUM_COLUMNS) from the arrays of an observation; `work` (N,) is overwritten."""
    out[:] = 0
    for place in range(len(envs)):
        env, rows = envs[place], out[place]
        expected, iteration, least = expected_output(seen, env), iteration_time(seen, env), least_served(seen, env)
        count, mean_weight, mean_left = 0, 0.0, 0.0
        for request in range(seen.engine[env, codes.NUM_REQUESTS]):
            if is_here(seen, env, request):
                left = remaining(seen, env, request, expected)
                work[request] = (known_tokens(seen, env, request) + left / 2) * left
                mean_weight += seen.weight[env, request]
                mean_left += left
                count += 1
        mean_weight, mean_left = mean_weight / max(count, 1), mean_left / max(count, 1)
        rows[0, 0] = 1
        rows[0, 1] = legal[env, 0]
        of_engine(seen, env, post, rows[0])
        rows[0, 18] = rows[0, 7]
        for request in range(seen.engine[env, codes.NUM_REQUESTS]):
            if not is_here(seen, env, request):
                continue
            first = 1 + 2 * request
            cells, status = rows[first], seen.status[env, request]
            cells[1] = legal[env, first]
            cells[2], cells[3], cells[4] = status == WAITING, status == SWAPPED, status == RUNNING
            of_engine(seen, env, post, cells)
            of_request(seen, env, request, expected, iteration, mean_weight, mean_left, least, cells)
            of_ranks(seen, env, request, work, expected, cells)
            if legal[env, first + 1]:
                for column in range(6, NUM_COLUMNS):
                    rows[first + 1, column] = cells[column]
                rows[first + 1, 1] = rows[first + 1, 5] = 1
