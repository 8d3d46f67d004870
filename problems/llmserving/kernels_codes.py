"""Numbers by which kernels and their callers name things."""

from __future__ import annotations

# Requests
FUTURE, WAITING, RUNNING, SWAPPED, FINISHED = range(5)

# Events, as in `instance.KINDS`
ADMIT, RECOMPUTE, SWAP_OUT, SWAP_IN, PREFILL, FINISH = range(6)

# Whole numbers of an instance
(
    NUM_REQUESTS, NUM_BLOCKS, CPU_BLOCKS, BLOCK_SIZE, MAX_SEQS, BUDGET, DEPTH, IS_CHUNKED, IS_CACHING, RESERVES_ALL,
    IS_OVERLAPPED, IS_ROUNDS, PRIORITY_EVERY, PRIORITY_LEVELS, PRIORITY_KIND, NUM_CLIENTS, OVERLAP_FROM, GROUP, REUSE,
    SIZES_WIDTH,
) = range(20)  # fmt: skip
BY_FILE, BY_DRAW, BY_MARKOV = range(3)  # PRIORITY_KIND
NO_REUSE, OF_PREEMPTIONS, OF_TURNS = range(3)  # REUSE
START_S, BLOCK_S, STAY, TIMES_WIDTH = range(
    4
)  # times: of a stretch, of a block's bytes; probability to keep a priority

# Counters of a state
(
    FREE, CPU_FREE, NUM_RUNNING, FIRST, ARRIVED, UNFINISHED, EPOCH, EVENTS, FLIGHTS, OLDEST, PLANNED, NEED, LEFT,
    PREEMPTED, ITERATIONS, UPDATES, LEAVING, NUM_QUEUED, LAST_CLIENT, COPIES, OUTBOUND,
    PENDING, NUM_WIDTH,
) = range(23)  # fmt: skip

# Clocks of a state
NOW, GPU_FREE, STALL, OUT_FREE, IN_FREE, WEIGHT, END_0, END_1, WAITS_FOR, CLOCK_WIDTH = range(10)

# What a state knows of a request, of a seat (who runs, and the planned batch), of a client, of a content, of a block
(
    STATUS, GENERATED, UNDER_WAY, COMPUTED, HELD, ON_CPU, FILLED, TOUCHED, WAS_ADMITTED, PRIORITY, KEPT, STRETCHES,
    FOUND, REQUEST_WIDTH,
) = range(14)  # fmt: skip
SEATED, PLAN_REQUEST, PLAN_TOKENS, PLAN_IS_DECODE, SEAT_WIDTH = range(5)
SERVED, COUNTER, QUEUED, CLIENT_WIDTH = range(4)
TABLE, KNOWN, CONTENT_WIDTH = range(3)
OWNER, HOLDERS, AFTER, BEFORE, TAKEN_BY, PLACE, IS_KNOWN, BLOCK_WIDTH = range(8)

# What an instance says of a request: whole numbers, and others
PROMPT, OUTPUT, CLIENT, PARENT, SHARED, OFFSET, GIVEN_WIDTH = range(7)
ARRIVAL, WEIGHT_OF, PREDICTED, REAL_WIDTH = range(4)

# Parameters of a rule
ORDER, TRIGGER, MODE, VICTIM, LOOKS_AHEAD, NUM_PARAMETERS = range(6)
BY_ARRIVAL, BY_PRIORITY, BY_OUTPUT, BY_PREDICTED, BY_ATTAINED, BY_COUNTER, BY_SERVED, BY_KNOWN, BY_WORK = range(9)
ON_SHORTAGE, FOR_ROOM, FOR_SEATS = range(3)  # TRIGGER
BY_RECOMPUTE, BY_SWAP, BY_CHEAPER = range(3)  # MODE
THE_LAST, THE_LATEST, THE_LARGEST, THE_SMALLEST = range(4)  # VICTIM

ATTAINED_UNIT = 256.0  # tokens of service within the first level of least-attained service
COUNTER_SLACK = 1000.0  # of service by which VTC's counters must differ before somebody is preempted
OUTPUT_SERVICE = 2.0  # service of an output token, where a prompt token is 1 (VTC, arXiv 2401.00588)
