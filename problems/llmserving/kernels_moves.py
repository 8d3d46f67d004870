"""Decisions of one server: what the batch would be, what is legal, and what each decision does.

`w` is the instance and what the scenario brings, `s` the state of one environment; see `process.py` for their arrays.
Actions: 0 is run; 1 + 2 r admits request r, swaps it in, or preempts it by recomputing; 2 + 2 r preempts it by
swapping.
"""

from __future__ import annotations

from orl.jit import kernel

from . import kernels_codes as codes
from .kernels_blocks import found, release, share, stretches_of, take
from .kernels_codes import (
    BLOCK_SIZE,
    BUDGET,
    CPU_FREE,
    EPOCH,
    EVENTS,
    FREE,
    LEFT,
    MAX_SEQS,
    NEED,
    NOW,
    NUM_RUNNING,
    PLANNED,
    RUNNING,
    SWAPPED,
    WAITING,
)


@kernel
def blocks_for(tokens, size):
    """Return how many blocks so many tokens need."""
    return (tokens + size - 1) // size


@kernel
def write_event(s, request, kind, amount):
    """Note in the log what is done to a request."""
    event = s.events[s.num[EVENTS]]
    event[0] = s.num[EPOCH]
    event[1] = request
    event[2] = kind
    event[3] = amount
    s.num[EVENTS] += 1


@kernel
def known_tokens(s, w, request):
    """Return the tokens of a request that are known or under way."""
    return w.request[request, codes.PROMPT] + s.request[request, codes.GENERATED] + s.request[request, codes.UNDER_WAY]


@kernel
def put_in_batch(s, place, request, tokens, is_decode):
    """Write a place of the planned batch."""
    s.seats[place, codes.PLAN_REQUEST] = request
    s.seats[place, codes.PLAN_TOKENS] = tokens
    s.seats[place, codes.PLAN_IS_DECODE] = is_decode


@kernel
def plan(s, w):
    """Write the batch: who gets how many tokens, the blocks that it needs, the tokens of the budget that it leaves; and
    the blocks that those who are copied in will need for a token.
    """
    size, left, need, pending, count = w.sizes[BLOCK_SIZE], w.sizes[BUDGET], 0, 0, 0
    others = 0
    for seat in range(s.num[NUM_RUNNING]):
        request = s.seats[seat, codes.SEATED]
        if s.ready[request] > s.clock[NOW]:
            pending += blocks_for(s.request[request, codes.COMPUTED] + 1, size) - s.request[request, codes.HELD]
            continue
        done, known = s.request[request, codes.COMPUTED], known_tokens(s, w, request)
        prompt, output = w.request[request, codes.PROMPT], w.request[request, codes.OUTPUT]
        if known - done == 1 and done >= prompt:
            if known < prompt + output:
                put_in_batch(s, count, request, 1, True)
                count += 1
                left -= 1
                if done >= s.request[request, codes.HELD] * size:
                    need += 1
        elif known > done:
            others += 1
    seat = 0
    while others > 0:
        request = s.seats[seat, codes.SEATED]
        seat += 1
        if s.ready[request] > s.clock[NOW]:
            continue
        done = s.request[request, codes.COMPUTED]
        todo = known_tokens(s, w, request) - done
        if todo <= 0 or (todo == 1 and done >= w.request[request, codes.PROMPT]):
            continue
        others -= 1
        tokens = min(todo, left)
        if not w.sizes[codes.IS_CHUNKED] and tokens < todo:
            tokens = 0
        if tokens > 0:
            put_in_batch(s, count, request, tokens, False)
            count += 1
            left -= tokens
            need += blocks_for(done + tokens, size) - s.request[request, codes.HELD]
    s.num[PLANNED] = count
    s.num[NEED] = need
    s.num[codes.PENDING] = pending
    s.num[LEFT] = left


@kernel
def room(s):
    """Return the blocks that somebody who comes may have."""
    return s.num[FREE] - s.num[NEED] - s.num[codes.PENDING]


@kernel
def can_admit(s, w, request):
    """Return whether a waiting request may be admitted now."""
    if (
        s.request[request, codes.STATUS] != WAITING
        or s.num[NUM_RUNNING] >= w.sizes[MAX_SEQS]
        or s.num[LEFT] <= 0
        or s.request[request, codes.TOUCHED] == s.num[EPOCH]
    ):
        return False
    size, known = w.sizes[BLOCK_SIZE], w.request[request, codes.PROMPT] + s.request[request, codes.GENERATED]
    spare = room(s)
    if spare <= 0:
        return False
    count, unheld = found(s, w, request)
    if not w.sizes[codes.RESERVES_ALL]:
        known = min(known, max(count, copies_for(s, w, request)) * size + s.num[LEFT])
    return blocks_for(known, size) - count + unheld <= spare


@kernel
def can_swap_in(s, w, request):
    """Return whether a swapped request may come back now."""
    return (
        s.request[request, codes.STATUS] == SWAPPED
        and s.num[NUM_RUNNING] < w.sizes[MAX_SEQS]
        and s.num[LEFT] > 0
        and s.request[request, codes.TOUCHED] != s.num[EPOCH]
        and s.ready[request] <= s.clock[NOW]
        and s.request[request, codes.HELD] == 0
        and blocks_for(s.request[request, codes.COMPUTED] + 1, w.sizes[BLOCK_SIZE]) <= room(s)
    )


@kernel
def can_preempt(s, w, request):
    """Return whether a running request may be preempted now."""
    return (
        s.request[request, codes.STATUS] == RUNNING
        and (s.request[request, codes.TOUCHED] != s.num[EPOCH] or s.num[NEED] > s.num[FREE])
        and s.ready[request] <= s.clock[NOW]
    )


@kernel
def can_swap_out(s, w, request):
    """Return whether a running request may be swapped to the CPU now."""
    return (
        can_preempt(s, w, request)
        and s.request[request, codes.COMPUTED] > 0
        and s.num[CPU_FREE] >= s.request[request, codes.HELD]
    )


@kernel
def can_run(s, w):
    """Return whether the batch as it is planned may be run."""
    if s.num[NEED] > s.num[FREE]:
        return False
    return (
        s.num[PLANNED] > 0
        or s.num[codes.FLIGHTS] > 0
        or s.num[codes.PREEMPTED] > 0
        or s.num[codes.ARRIVED] < w.sizes[codes.NUM_REQUESTS]
        or next_transfer(s) >= 0
    )


@kernel
def next_transfer(s):
    """Return when the next copy that is under way ends, -1 if there is none."""
    first = -1.0
    for place in range(s.num[codes.LEAVING]):
        ready = s.ready[s.leaving[place]]
        if first < 0 or ready < first:
            first = ready
    for seat in range(s.num[NUM_RUNNING]):
        ready = s.ready[s.seats[seat, codes.SEATED]]
        if ready > s.clock[NOW] and (first < 0 or ready < first):
            first = ready
    return first


@kernel
def lift(s, w, request):
    """VTC: a client that comes back is not owed what it did not ask for meanwhile."""
    client = w.request[request, codes.CLIENT]
    if s.clients[client, codes.QUEUED] == 0:
        least, is_any = 0.0, False
        for other in range(w.sizes[codes.NUM_CLIENTS]):
            if s.clients[other, codes.QUEUED] > 0 and (not is_any or s.clients[other, codes.COUNTER] < least):
                least, is_any = s.clients[other, codes.COUNTER], True
        if not is_any and s.num[codes.LAST_CLIENT] >= 0:
            least, is_any = s.clients[s.num[codes.LAST_CLIENT], codes.COUNTER], True
        if is_any and s.clients[client, codes.COUNTER] < least:
            s.clients[client, codes.COUNTER] = least


@kernel
def into_queue(s, w, request):
    """Count a request among those that wait or are swapped."""
    s.clients[w.request[request, codes.CLIENT], codes.QUEUED] += 1
    s.num[codes.NUM_QUEUED] += 1
    if request < s.num[codes.FIRST]:
        s.num[codes.FIRST] = request


@kernel
def out_of_queue(s, w, request):
    """Count a request among those no more."""
    s.clients[w.request[request, codes.CLIENT], codes.QUEUED] -= 1
    s.num[codes.NUM_QUEUED] -= 1
    s.num[codes.LAST_CLIENT] = w.request[request, codes.CLIENT]


@kernel
def leave_seat(s, request):
    """Take a request out of the running ones."""
    count = s.num[NUM_RUNNING]
    seat = 0
    while s.seats[seat, codes.SEATED] != request:
        seat += 1
    for place in range(seat, count - 1):
        s.seats[place, codes.SEATED] = s.seats[place + 1, codes.SEATED]
    s.num[NUM_RUNNING] = count - 1


@kernel
def copy_time(w, stretches, blocks):
    """Return how long the transfer of so many blocks takes that lie in so many stretches."""
    return stretches * w.times[codes.START_S] + blocks * w.times[codes.BLOCK_S]


@kernel
def copy_in(s, w, request, first):
    """Copy the blocks of a request from a place on from the CPU."""
    held = s.request[request, codes.HELD]
    seconds = copy_time(w, stretches_of(s, w, request, first, held), held - first)
    if not w.sizes[codes.IS_OVERLAPPED] or seconds == 0:
        s.clock[codes.STALL] += seconds
        return
    s.clock[codes.IN_FREE] = max(s.clock[NOW], s.clock[codes.IN_FREE]) + seconds
    if s.num[PLANNED] < w.sizes[codes.OVERLAP_FROM]:
        s.clock[codes.WAITS_FOR] = max(s.clock[codes.WAITS_FOR], s.clock[codes.IN_FREE])
    else:
        s.ready[request] = s.clock[codes.IN_FREE]


@kernel
def copy_out(s, w, request, first, end, is_urgent):
    """Copy the blocks of a request from one place to before another to the CPU, and release all that it holds: then or,
    if it is urgent, at once, and the next batch waits.
    """
    seconds = copy_time(w, stretches_of(s, w, request, first, end), end - first)
    if w.sizes[codes.IS_OVERLAPPED] and seconds > 0:
        s.clock[codes.OUT_FREE] = max(end_of_flights(s), s.clock[codes.OUT_FREE]) + seconds
        s.ready[request] = s.clock[codes.OUT_FREE]
        s.leaving[s.num[codes.LEAVING]] = request
        s.num[codes.LEAVING] += 1
        if is_urgent:
            s.clock[codes.WAITS_FOR] = max(s.clock[codes.WAITS_FOR], s.clock[codes.OUT_FREE])
            release(s, w, request)
        s.num[codes.OUTBOUND] += s.request[request, codes.HELD]
    else:
        s.clock[codes.STALL] += seconds
        release(s, w, request)


@kernel
def keep_copies(s, w, request, count):
    """Note how many leading blocks of a request have a copy on the CPU; give up copies if there are too many now."""
    s.num[codes.COPIES] += count - s.request[request, codes.KEPT]
    s.request[request, codes.KEPT] = count
    while s.num[codes.COPIES] > s.num[CPU_FREE]:
        last = -1
        for other in range(s.num[codes.ARRIVED]):
            if s.request[other, codes.KEPT] > 0 and (
                last < 0 or s.request[other, codes.PRIORITY] > s.request[last, codes.PRIORITY]
            ):
                last = other
        fewer = min(s.request[last, codes.KEPT], s.num[codes.COPIES] - s.num[CPU_FREE])
        s.request[last, codes.KEPT] -= fewer
        s.num[codes.COPIES] -= fewer


@kernel
def copies_for(s, w, request):
    """Return how many leading blocks of a waiting request the request that it goes on from has left on the CPU."""
    parent, size = w.request[request, codes.PARENT], w.sizes[BLOCK_SIZE]
    if (
        w.sizes[codes.REUSE] != codes.OF_TURNS
        or parent < 0
        or s.request[parent, codes.STATUS] != codes.FINISHED
        or s.ready[parent] > s.clock[NOW]
    ):
        return 0
    most = (w.request[request, codes.PROMPT] + s.request[request, codes.GENERATED] - 1) // size
    return min(s.request[parent, codes.KEPT], w.request[request, codes.SHARED] // size, most)


@kernel
def end_of_flights(s):
    """Return when all batches under way have ended."""
    return max(s.clock[NOW], s.clock[codes.GPU_FREE]) if s.num[codes.FLIGHTS] > 0 else s.clock[NOW]


@kernel
def admit(s, w, request):
    """Let a waiting request run; it holds what it finds in the prefix cache and, beyond that, on the CPU."""
    count, _ = found(s, w, request)
    share(s, w, request, count)
    copies = copies_for(s, w, request)
    if copies > 0:
        keep_copies(s, w, w.request[request, codes.PARENT], 0)
        keep_copies(s, w, request, copies)
    if copies > count:
        while s.request[request, codes.HELD] < copies:
            take(s, w, request)
        s.request[request, codes.FILLED] = copies  # what came back is not known
        copy_in(s, w, request, count)
    s.request[request, codes.COMPUTED] = max(count, copies) * w.sizes[BLOCK_SIZE]
    s.request[request, codes.STATUS] = RUNNING
    s.seats[s.num[NUM_RUNNING], codes.SEATED] = request
    s.num[NUM_RUNNING] += 1
    out_of_queue(s, w, request)
    if s.request[request, codes.WAS_ADMITTED] == 0:
        s.request[request, codes.WAS_ADMITTED] = 1
        s.clients[w.request[request, codes.CLIENT], codes.SERVED] += w.request[request, codes.PROMPT]
        s.clients[w.request[request, codes.CLIENT], codes.COUNTER] += w.request[request, codes.PROMPT]
    write_event(s, request, codes.ADMIT, s.request[request, codes.COMPUTED])


@kernel
def swap_in(s, w, request):
    """Let a swapped request run again."""
    blocks = s.request[request, codes.ON_CPU]
    for _ in range(blocks):
        take(s, w, request)
    s.request[request, codes.ON_CPU] = 0
    s.num[CPU_FREE] += blocks
    full = s.request[request, codes.COMPUTED] // w.sizes[BLOCK_SIZE]
    s.request[request, codes.FILLED] = full  # what came back is not known
    if w.sizes[codes.REUSE] != codes.NO_REUSE:
        keep_copies(s, w, request, full)  # the block that is not full will change
    s.request[request, codes.STATUS] = RUNNING
    s.seats[s.num[NUM_RUNNING], codes.SEATED] = request
    s.num[NUM_RUNNING] += 1
    out_of_queue(s, w, request)
    copy_in(s, w, request, 0)
    write_event(s, request, codes.SWAP_IN, s.request[request, codes.COMPUTED])


@kernel
def recompute(s, w, request):
    """Preempt a request; what it had computed is lost."""
    write_event(s, request, codes.RECOMPUTE, s.request[request, codes.COMPUTED])
    leave_seat(s, request)
    release(s, w, request)
    keep_copies(s, w, request, 0)
    s.request[request, codes.COMPUTED] = 0
    s.request[request, codes.STATUS] = WAITING
    into_queue(s, w, request)
    s.num[codes.PREEMPTED] += 1


@kernel
def swap_out(s, w, request):
    """Preempt a request; its blocks go to the CPU."""
    write_event(s, request, codes.SWAP_OUT, s.request[request, codes.COMPUTED])
    is_urgent = s.num[NEED] > s.num[FREE]
    leave_seat(s, request)
    blocks, kept = s.request[request, codes.HELD], s.request[request, codes.KEPT]
    s.request[request, codes.ON_CPU] = blocks
    s.num[CPU_FREE] -= blocks
    keep_copies(s, w, request, 0)  # they are a part of what it holds there now
    s.request[request, codes.STATUS] = SWAPPED
    into_queue(s, w, request)
    s.num[codes.PREEMPTED] += 1
    copy_out(s, w, request, kept, blocks, is_urgent)


@kernel
def is_legal(s, w, action):
    """Return whether an action is legal; the batch is planned."""
    if action == 0:
        return can_run(s, w)
    request = (action - 1) // 2
    if request >= w.sizes[codes.NUM_REQUESTS]:
        return False
    status = s.request[request, codes.STATUS]
    if status == RUNNING:
        return can_swap_out(s, w, request) if action % 2 == 0 else can_preempt(s, w, request)
    if action % 2 == 0:
        return False
    if status == WAITING:
        return can_admit(s, w, request)
    return status == SWAPPED and can_swap_in(s, w, request)


@kernel
def act(s, w, action):
    """Carry out an action other than run, and plan the batch anew."""
    request = (action - 1) // 2
    status = s.request[request, codes.STATUS]
    s.request[request, codes.TOUCHED] = s.num[EPOCH]
    if status == WAITING:
        admit(s, w, request)
    elif status == SWAPPED:
        swap_in(s, w, request)
    elif action % 2 == 1:
        recompute(s, w, request)
    else:
        swap_out(s, w, request)
    plan(s, w)
