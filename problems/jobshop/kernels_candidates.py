"""What is known of each candidate of a job shop, a float32 row a choice. `features` documents the columns."""

from __future__ import annotations

import numpy as np

from orl.jit import kernel

from .kernels_features import squash

NUM_COLUMNS = 30
FAR = np.int64(2**60)


@kernel
def _look_at_machines(candidate, heads, job_first, op_machine, op_duration, op_remaining, num_jobs, machines):
    """Fill `machines` (M, 4): work to come, least head and tail of its operations, earliest arrival of later ones.

    Heads and tails are those of the job alone, as if no machine were ever taken.
    """
    machines[:, 0] = 0
    machines[:, 1:] = FAR
    for job in range(num_jobs):
        op = candidate[job]
        if op < 0:
            continue
        head = heads[job]
        for later in range(op, job_first[job + 1]):
            machine, duration = op_machine[later], op_duration[later]
            tail = op_remaining[later] - duration
            machines[machine, 0] += duration
            machines[machine, 1] = min(machines[machine, 1], head)
            machines[machine, 2] = min(machines[machine, 2], tail)
            if later > op:
                machines[machine, 3] = min(machines[machine, 3], head)
            head += duration


@kernel
def candidates(
    clock,
    candidate,
    machine,
    available,
    remaining,
    free_at,
    job_first,
    op_machine,
    op_duration,
    op_remaining,
    sizes,
    legal,
    heads,
    machines,
    out,
):
    """Fill `out` (num_envs, J + 1, NUM_COLUMNS); `heads` (J,) and `machines` (M, 4) int64 are scratch space."""
    wait = legal.shape[1] - 1
    for env in range(out.shape[0]):
        rows = out[env]
        rows[:] = 0
        num_jobs, num_ops = sizes[env, 0], sizes[env, 2]
        now = clock[env]
        total = 0.0
        for job in range(num_jobs):
            total += op_remaining[env, job_first[env, job]]
        mean_work, mean_duration = max(total / num_jobs, 1.0), max(total / num_ops, 1.0)

        # When each job's next operation can start, and how soon the whole shop can be done, at least.
        first_start, first_end, most_work = FAR, FAR, np.int64(1)
        bound = now
        for job in range(num_jobs):
            op = candidate[env, job]
            ready = available[env, job]
            if ready < 0:
                ready = now + remaining[env, job]
            if op < 0:
                heads[job] = ready
                continue
            head = max(ready, free_at[env, machine[env, job]])
            if legal[env, job]:
                head = max(head, now)
                first_start = min(first_start, head)
                first_end = min(first_end, head + op_duration[env, op])
            heads[job] = head
            bound = max(bound, head + op_remaining[env, op])
            most_work = max(most_work, op_remaining[env, op])
        if first_start == FAR:
            first_start, first_end = now, now
        _look_at_machines(
            candidate[env],
            heads,
            job_first[env],
            op_machine[env],
            op_duration[env],
            op_remaining[env],
            num_jobs,
            machines,
        )
        busiest = np.int64(1)
        for m in range(sizes[env, 1]):
            if machines[m, 0] > 0:
                busiest = max(busiest, machines[m, 0])
                bound = max(bound, machines[m, 1] + machines[m, 0] + machines[m, 2])

        rows[wait, 0] = 1
        rows[wait, 1] = legal[env, wait]
        for job in range(num_jobs):
            op = candidate[env, job]
            if op < 0:
                continue
            row, m = rows[job], machine[env, job]
            duration, work = op_duration[env, op], op_remaining[env, op]
            start, ready = heads[job], available[env, job]
            end = start + duration
            if ready < 0:
                ready = now + remaining[env, job]
            # What the others who wait for the machine would have to bear if this one went first.
            rivals, their_work, their_tail, their_shortest = 0, np.int64(0), np.int64(0), FAR
            pushed, reaches, delay = now, now, np.int64(0)
            for other in range(num_jobs):
                if other == job or candidate[env, other] < 0 or machine[env, other] != m:
                    continue
                its = candidate[env, other]
                rivals += 1
                their_work += op_duration[env, its]
                their_tail = max(their_tail, op_remaining[env, its])
                their_shortest = min(their_shortest, op_duration[env, its])
                later = max(end, heads[other])
                delay += later - heads[other]
                pushed = max(pushed, later + op_remaining[env, its])
                reaches = max(reaches, heads[other] + op_duration[env, its] + work)
            row[1] = legal[env, job]
            row[2] = 1
            row[3] = squash(np.float64(duration), mean_duration)
            row[4] = squash(np.float64(start - first_start), mean_duration)
            row[5] = squash(np.float64(end - first_end), mean_duration)
            row[6] = squash(np.float64(start - now), mean_duration)
            row[7] = squash(np.float64(start - free_at[env, m]), mean_duration)
            row[8] = squash(np.float64(start - ready), mean_duration)
            row[9] = squash(np.float64(work), mean_work)
            row[10] = work / most_work
            row[11] = (job_first[env, job + 1] - op) / (job_first[env, job + 1] - job_first[env, job])
            row[12] = squash(np.float64(machines[m, 0]), mean_work)
            row[13] = machines[m, 0] / busiest
            row[14] = squash(np.float64(bound - start - work), mean_work)
            row[15] = squash(np.float64(bound - machines[m, 1] - machines[m, 0] - machines[m, 2]), mean_work)
            row[16] = rivals / num_jobs
            row[17] = squash(np.float64(their_work), mean_duration)
            row[18] = squash(np.float64(delay), mean_duration)
            row[19] = squash(np.float64(pushed - bound), mean_duration)
            row[20] = squash(np.float64(pushed - bound), mean_work)
            row[21] = squash(np.float64(work - their_tail), mean_work)
            row[22] = squash(np.float64(duration - their_shortest), mean_duration) if rivals > 0 else -1.0
            row[23] = squash(np.float64(reaches - bound), mean_duration)
            if machines[m, 3] < FAR:
                row[24] = squash(np.float64(machines[m, 3] - end), mean_duration)
            else:
                row[24] = 1.0
            if op + 1 < job_first[env, job + 1]:
                following = op_machine[env, op + 1]
                row[25] = 1
                row[26] = squash(np.float64(op_duration[env, op + 1]), mean_duration)
                row[27] = squash(np.float64(free_at[env, following] - end), mean_duration)
                row[28] = machines[following, 0] / busiest
                waiting = 0
                for other in range(num_jobs):
                    waiting += other != job and candidate[env, other] >= 0 and machine[env, other] == following
                row[29] = waiting / num_jobs
