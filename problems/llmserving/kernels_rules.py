"""What a rule decides next: whom to preempt when memory is short, whom to admit or to swap in, or to run.

A rule is an order of requests (`codes.ORDER`) and, beside it, when and how it preempts.
"""

from __future__ import annotations

from orl.jit import kernel

from . import kernels_codes as codes
from .kernels_codes import BLOCK_SIZE, EPOCH, FREE, LEFT, MAX_SEQS, NEED, NUM_RUNNING, SWAPPED, WAITING
from .kernels_moves import blocks_for, copy_time, is_legal, known_tokens, room
from .kernels_time import bilinear, by_count


@kernel
def can(s, w, legal, action):
    """Return whether an action is legal: as the mask says, or, if it is empty, by looking."""
    if legal.shape[0] > 0:
        return legal[action]
    return is_legal(s, w, action)


@kernel
def can_preempt(s, w, legal, request):
    """Return whether a running request may be preempted."""
    return can(s, w, legal, 1 + 2 * request)


@kernel
def remaining(s, w, request, order):
    """Return the output tokens that a request still needs, in truth or as predicted; at least one."""
    length = (
        w.real[request, codes.PREDICTED] if order == codes.BY_PREDICTED else float(w.request[request, codes.OUTPUT])
    )
    return max(length - s.request[request, codes.GENERATED] - s.request[request, codes.UNDER_WAY], 1.0)


@kernel
def key_of(s, w, request, order):
    """Return a request's place in a rule's order; the least goes first, of equals the one that came first."""
    if order == codes.BY_PRIORITY:
        return float(s.request[request, codes.PRIORITY])
    if order == codes.BY_OUTPUT or order == codes.BY_PREDICTED:
        return remaining(s, w, request, order)
    if order == codes.BY_ATTAINED:
        attained = (
            s.request[request, codes.WAS_ADMITTED] * w.request[request, codes.PROMPT]
            + s.request[request, codes.GENERATED]
        )
        level, limit = 0.0, codes.ATTAINED_UNIT
        while attained >= limit:
            level, limit = level + 1.0, 2 * limit + codes.ATTAINED_UNIT
        return level
    if order == codes.BY_COUNTER:
        return s.clients[w.request[request, codes.CLIENT], codes.COUNTER]
    if order == codes.BY_SERVED:
        return s.clients[w.request[request, codes.CLIENT], codes.SERVED]
    if order == codes.BY_KNOWN:
        return float(known_tokens(s, w, request))
    if order == codes.BY_WORK:
        left = remaining(s, w, request, order)
        return (known_tokens(s, w, request) + left / 2) * left
    return 0.0


@kernel
def first_in_queue(s, w, order):
    """Return the waiting or swapped request that is first in the order, -1 if there is none that may be touched."""
    best, best_key = -1, 0.0
    first, arrived = s.num[codes.FIRST], s.num[codes.ARRIVED]
    if s.num[codes.NUM_QUEUED] == 0:
        s.num[codes.FIRST] = arrived
        return -1
    while first < arrived and s.request[first, codes.STATUS] != WAITING and s.request[first, codes.STATUS] != SWAPPED:
        first += 1
    s.num[codes.FIRST] = first
    for request in range(first, arrived):
        if s.request[request, codes.STATUS] != WAITING and s.request[request, codes.STATUS] != SWAPPED:
            continue
        if s.request[request, codes.TOUCHED] == s.num[EPOCH]:
            continue
        if order == codes.BY_ARRIVAL:
            return request
        key = key_of(s, w, request, order)
        if best < 0 or key < best_key:
            best, best_key = request, key
    return best


@kernel
def whom_to_preempt(s, w, legal, order, victim):
    """Return the running request that gives way first, -1 if nobody may be preempted."""
    worst, worst_key = -1, 0.0
    for seat in range(s.num[NUM_RUNNING]):
        request = s.seats[seat, codes.SEATED]
        if not can_preempt(s, w, legal, request):
            continue
        if victim == codes.THE_LAST:
            key = key_of(s, w, request, order)
        elif victim == codes.THE_LARGEST:
            key = float(s.request[request, codes.HELD])
        elif victim == codes.THE_SMALLEST:
            key = -float(s.request[request, codes.HELD])
        else:
            key = 0.0
        if worst < 0 or key > worst_key or (key == worst_key and request > worst):
            worst, worst_key = request, key
    return worst


@kernel
def preempt_action(s, w, legal, request, mode):
    """Return the action that preempts a request: by swapping if that is meant and possible, else by recomputing."""
    is_swap = mode == codes.BY_SWAP
    if mode == codes.BY_CHEAPER:
        tokens = s.request[request, codes.COMPUTED]
        again = by_count(w.dense, tokens) + bilinear(w.chunk, w.past, w.prefill, float(tokens), 0.0)
        # There and back, as its blocks lie now, less the bytes of those that have a copy.
        there = copy_time(w, s.request[request, codes.STRETCHES], s.request[request, codes.HELD])
        is_swap = 2 * there - copy_time(w, 0, s.request[request, codes.KEPT]) < again
    if is_swap and can(s, w, legal, 2 + 2 * request):
        return 2 + 2 * request
    return 1 + 2 * request


@kernel
def comes_before(s, w, request, other, order):
    """Return whether a request is so far before another in the order that the other may be preempted for it."""
    slack = codes.COUNTER_SLACK if order == codes.BY_COUNTER or order == codes.BY_SERVED else 0.0
    return key_of(s, w, request, order) + slack < key_of(s, w, other, order)


@kernel
def blocks_to_enter(s, w, request):
    """Return the blocks that a waiting or swapped request needs to run, those that it may find not counted."""
    tokens = max(
        w.request[request, codes.PROMPT] + s.request[request, codes.GENERATED], s.request[request, codes.COMPUTED] + 1
    )
    return blocks_for(tokens, w.sizes[BLOCK_SIZE])


@kernel
def frees_enough(s, w, legal, request, order):
    """Return whether preempting everybody after a request in the order would make room for it."""
    spare, seats = room(s), w.sizes[MAX_SEQS] - s.num[NUM_RUNNING]
    for seat in range(s.num[NUM_RUNNING]):
        other = s.seats[seat, codes.SEATED]
        if can_preempt(s, w, legal, other) and comes_before(s, w, request, other, order):
            spare += s.request[other, codes.HELD]
            seats += 1
    return seats > 0 and blocks_to_enter(s, w, request) <= spare


@kernel
def fits_ahead(s, w, candidate, order):
    """Return whether memory suffices to the end of all that run and the candidate, if lengths are as expected.

    Looked at when each of them gives its memory up (Jaillet et al., arXiv 2502.07115: when it ends), as if no prompt
    took more than an iteration.
    """
    size, count = w.sizes[BLOCK_SIZE], s.num[NUM_RUNNING]
    in_all = 0
    for other in range(count + 1):
        request = s.seats[other, codes.SEATED] if other < count else candidate
        in_all += blocks_for(int(known_tokens(s, w, request) + remaining(s, w, request, order)) - 1, size)
    if in_all <= w.sizes[codes.NUM_BLOCKS]:
        return True  # even if all ended together
    lag = w.sizes[codes.DEPTH] - 1  # iterations until an end is known
    for end in range(count + 1):
        at = s.seats[end, codes.SEATED] if end < count else candidate
        steps = remaining(s, w, at, order) + lag
        blocks = 0
        for other in range(count + 1):
            request = s.seats[other, codes.SEATED] if other < count else candidate
            left = remaining(s, w, request, order)
            if left + lag >= steps:
                blocks += blocks_for(int(known_tokens(s, w, request) + min(left, steps)) - 1, size)
        if blocks > w.sizes[codes.NUM_BLOCKS]:
            return False
    return True


@kernel
def choose(s, w, legal, parameters):
    """Return a rule's next action; the batch is planned. `legal` is the mask, or empty."""
    order, mode, victim = int(parameters[codes.ORDER]), int(parameters[codes.MODE]), int(parameters[codes.VICTIM])
    if s.num[NEED] > s.num[FREE]:
        return preempt_action(s, w, legal, whom_to_preempt(s, w, legal, order, victim), mode)
    trigger = int(parameters[codes.TRIGGER])
    if s.num[codes.PREEMPTED] > 0 and trigger == codes.ON_SHORTAGE:
        return 0  # who had to make room does not see it given to others at once
    if s.num[LEFT] <= 0:
        return 0
    # Nobody can be let in, whoever is first: there is no seat, or no block that is free.
    if trigger != codes.FOR_SEATS and s.num[NUM_RUNNING] >= w.sizes[MAX_SEQS]:
        return 0
    if trigger == codes.ON_SHORTAGE and room(s) <= 0:
        return 0
    request = first_in_queue(s, w, order)
    if request < 0:
        return 0
    is_short = parameters[codes.LOOKS_AHEAD] > 0 and s.num[NUM_RUNNING] > 0 and not fits_ahead(s, w, request, order)
    if not is_short:
        if can(s, w, legal, 1 + 2 * request):
            return 1 + 2 * request
        has_seat = s.num[NUM_RUNNING] < w.sizes[MAX_SEQS]
        may = trigger == codes.FOR_SEATS or (trigger == codes.FOR_ROOM and has_seat)
        is_copied = s.request[request, codes.STATUS] == WAITING or (
            s.request[request, codes.HELD] == 0 and s.ready[request] <= s.clock[codes.NOW]
        )
        is_on_its_way = has_seat and blocks_to_enter(s, w, request) <= room(s) + s.num[codes.OUTBOUND]
        if may and is_copied and not is_on_its_way and frees_enough(s, w, legal, request, order):
            other = whom_to_preempt(s, w, legal, order, codes.THE_LAST)
            if other >= 0 and comes_before(s, w, request, other, order):
                return preempt_action(s, w, legal, other, mode)
    return 0
