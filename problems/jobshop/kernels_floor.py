"""What each candidate tells of the shop floor: who holds which machine, what is blocked, what is down.

The columns go on behind those of `kernels_candidates`. `features` and the README of this family document them.
"""

from __future__ import annotations

import numpy as np

from orl.jit import kernel
from orl.kernels_squash import squash

from .kernels_codes import BLOCKED, DONE, RUNNING

FIRST_COLUMN = 37
NUM_COLUMNS = 22


@kernel
def _chain(first, now, machine, available, remaining, occupant, num_machines, is_last):
    """Follow who holds a machine, the machine that this job wants next, who holds that, and so on.

    Returns
    -------
    (free, length, last)
        When the first machine can be free if nothing but these jobs delays it: the latest end among the operations of
        the chain. How many machines it is; where it ended, a machine nobody holds, or one where a circle closed (all of
        a circle move at once), -1 where a job leaves the shop.
    """
    free, length, here = now, np.int64(0), first
    while length < num_machines:
        job = occupant[here]
        if job < 0:
            return free, length, here
        length += 1
        end = available[job] if available[job] >= 0 else now + remaining[job]
        free = max(free, end)
        if is_last[job]:
            return free, length, np.int64(-1)
        here = machine[job]
        if here == first:
            break
    return free, length, here


@kernel
def floor(
    now,
    candidate,
    machine,
    status,
    place,
    available,
    remaining,
    occupant,
    down_since,
    job_first,
    op_machine,
    op_duration,
    num_jobs,
    num_machines,
    mean_duration,
    heads,
    is_last,
    on,
    rows,
):
    """Fill the columns of one environment's rows (J + 1, ...), in which those of `candidates` are filled.

    `heads` (J,) tells when each job's next operation can start; `is_last` (J,) and `on` (3, M) are scratch space.
    """
    wait = len(candidate) - 1
    num_begun, num_held = 0, 0
    on[:, :num_machines] = 0  # jobs that come next to a machine; those that have begun, and all their visits to come
    soonest = np.int64(-1)
    for job in range(num_jobs):
        is_last[job] = candidate[job] < 0
        has_begun = status[job] != DONE and candidate[job] != job_first[job]
        num_begun += has_begun
        if candidate[job] >= 0:
            on[0, machine[job]] += 1
        if has_begun and candidate[job] >= 0:
            on[1, machine[job]] += 1
            for op in range(candidate[job], job_first[job + 1]):
                on[2, op_machine[op]] += 1
        if status[job] == RUNNING and available[job] > now and (soonest < 0 or available[job] < soonest):
            soonest = available[job]
    for m in range(num_machines):
        num_held += occupant[m] >= 0
    base = FIRST_COLUMN
    for job in range(num_jobs):
        op = candidate[job]
        if op < 0:
            continue
        row, m, held = rows[job], machine[job], place[job]
        row[base] = op > job_first[job]
        row[base + 1] = status[job] == RUNNING
        if status[job] == BLOCKED:
            row[base + 2] = 1
            row[base + 3] = squash(np.float64(max(now - available[job], 0)), mean_duration)
        if available[job] < 0:
            row[base + 4] = squash(np.float64(remaining[job]), mean_duration)
        if down_since[m] >= 0:
            row[base + 5] = 1
            row[base + 6] = squash(np.float64(now - down_since[m]), mean_duration)
        if occupant[m] >= 0:
            row[base + 7] = status[occupant[m]] == RUNNING
            row[base + 8] = status[occupant[m]] == BLOCKED
        free, length, _ = _chain(m, now, machine, available, remaining, occupant, num_machines, is_last)
        row[base + 9] = squash(np.float64(free - now), mean_duration)
        row[base + 10] = length / num_machines
        if held >= 0:
            row[base + 11] = (on[0, held] - (m == held)) / num_jobs
        if op + 1 < job_first[job + 1]:
            following, end = op_machine[op + 1], heads[job] + op_duration[op]
            row[base + 12] = down_since[following] >= 0
            if occupant[following] >= 0:
                row[base + 13] = 1
                row[base + 14] = not is_last[occupant[following]] and machine[occupant[following]] == m
            free, length, last = _chain(following, now, machine, available, remaining, occupant, num_machines, is_last)
            row[base + 15] = squash(np.float64(free - end), mean_duration)
            row[base + 16] = length / num_machines
            row[base + 17] = last == m
        row[base + 18] = squash(np.float64(on[2, m]), num_machines)
        row[base + 19] = squash(np.float64(on[1, m]), num_machines)
    for job in range(num_jobs + 1):
        at = job if job < num_jobs else wait
        if at == wait or candidate[job] >= 0:
            rows[at, base + 20] = num_held / num_machines
            rows[at, base + 21] = squash(np.float64(num_begun), num_machines)
    if soonest >= 0:
        rows[wait, 6] = squash(np.float64(soonest - now), mean_duration)
