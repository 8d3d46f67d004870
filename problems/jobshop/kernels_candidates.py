"""What is known of each candidate of a job shop, a float32 row a choice. `features` documents the columns."""

from __future__ import annotations

import numpy as np

from orl.jit import kernel
from orl.kernels_squash import squash

from . import kernels_floor

NUM_COLUMNS = kernels_floor.FIRST_COLUMN + kernels_floor.NUM_COLUMNS
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
def _first_to_end(machine, following, ready, free, next_in, first_in, op_duration):
    """Return the earliest end among the jobs in line at a machine, FAR if there is none, and its job, the lowest."""
    first_end, first_job = FAR, np.int64(-1)
    job = first_in[machine]
    while job >= 0:
        end = max(ready[job], free[machine]) + op_duration[following[job]]
        if end < first_end or (end == first_end and job < first_job):
            first_end, first_job = end, job
        job = next_in[job]
    return first_end, first_job


@kernel
def _schedule_backwards(
    candidate, heads, job_first, op_machine, op_duration, op_remaining, num_jobs, num_machines, scratch, tails
):
    """Fill `tails` (ops,): how long after its end the shop goes on, in an active schedule made from the end.

    The conflict set is that of Giffler and Thompson (1960), the latest head goes first. Unlike the work that a job has
    left, such tails tell of the queues to come. `scratch` (7, J or M) int64. A job is in line at one machine at a time,
    in a linked list, so that a step looks at two machines and not at all jobs.
    """
    following, ready, free, next_in, first_in, first_end, first_job = scratch
    for m in range(num_machines):
        free[m], first_in[m] = 0, -1
    left = 0
    for job in range(num_jobs):
        if candidate[job] < 0:
            continue
        op = job_first[job + 1] - 1
        following[job], ready[job] = op, 0
        next_in[job], first_in[op_machine[op]] = first_in[op_machine[op]], job
        left += op + 1 - candidate[job]
    for m in range(num_machines):
        first_end[m], first_job[m] = _first_to_end(m, following, ready, free, next_in, first_in, op_duration)
    for _ in range(left):
        machine = 0
        for m in range(1, num_machines):
            is_tie = first_end[m] == first_end[machine] and first_job[m] < first_job[machine]
            if first_end[m] < first_end[machine] or is_tie:
                machine = m
        limit = first_end[machine]
        chosen, before, latest = np.int64(-1), np.int64(-1), np.int64(-1)
        job, previous = first_in[machine], np.int64(-1)
        while job >= 0:
            op = following[job]
            start = max(ready[job], free[machine])
            if start < limit or start + op_duration[op] <= limit:
                head = heads[job] + op_remaining[candidate[job]] - op_remaining[op] + op_duration[op]
                if head > latest or (head == latest and job < chosen):
                    chosen, before, latest = job, previous, head
            job, previous = next_in[job], job
        op = following[chosen]
        tails[op] = max(ready[chosen], free[machine])
        ready[chosen] = tails[op] + op_duration[op]
        free[machine] = ready[chosen]
        following[chosen] = op - 1
        if before < 0:
            first_in[machine] = next_in[chosen]
        else:
            next_in[before] = next_in[chosen]
        if op > candidate[chosen]:
            m = op_machine[op - 1]
            next_in[chosen], first_in[m] = first_in[m], chosen
            if m != machine:
                first_end[m], first_job[m] = _first_to_end(m, following, ready, free, next_in, first_in, op_duration)
        first_end[machine], first_job[machine] = _first_to_end(
            machine, following, ready, free, next_in, first_in, op_duration
        )


@kernel
def _collect(machine, candidate, heads, job_first, op_machine, op_remaining, num_jobs, visits):
    """Fill `visits` (3, ops) with job, operation and earliest arrival of all that is to come on a machine; count it."""
    count = 0
    for job in range(num_jobs):
        if candidate[job] < 0:
            continue
        for op in range(candidate[job], job_first[job + 1]):
            if op_machine[op] == machine:
                visits[0, count], visits[1, count] = job, op
                visits[2, count] = heads[job] + op_remaining[candidate[job]] - op_remaining[op]
                count += 1
    return count


@kernel
def _machine_makespan(first, end, tail, num_visits, visits, op_duration, tails, arrives, which):
    """Return when the shop is done, as far as one machine tells, if a job goes first on it and is done at `end`.

    The others follow as they arrive, the longest tail first (Schrage's schedule). `arrives` and `which` (ops,) int64
    are scratch space.
    """
    latest, time, count = end + tail, end, 0
    for k in range(num_visits):
        if visits[0, k] != first:
            which[count], arrives[count] = visits[1, k], visits[2, k]
            count += 1
    while count > 0:
        best, best_tail, soonest = -1, np.int64(-1), FAR
        for k in range(count):
            soonest = min(soonest, arrives[k])
            if arrives[k] <= time and tails[which[k]] > best_tail:
                best, best_tail = k, tails[which[k]]
        if best < 0:
            time = soonest
            continue
        time += op_duration[which[best]]
        latest = max(latest, time + best_tail)
        count -= 1
        arrives[best], which[best] = arrives[count], which[count]
    return latest


@kernel
def candidates(
    envs,
    clock,
    candidate,
    machine,
    status,
    place,
    available,
    remaining,
    free_at,
    occupant,
    down_since,
    job_first,
    op_machine,
    op_duration,
    op_remaining,
    sizes,
    legal,
    heads,
    machines,
    scratch,
    tails,
    visits,
    out,
):
    """Fill `out` (len(envs), J + 1, NUM_COLUMNS).

    `heads` (J,), `machines` (M, 4), `scratch` (7, J or M), `tails` (ops,) and `visits` (5, ops) int64 are scratch
    space.
    """
    wait = legal.shape[1] - 1
    for asked in range(len(envs)):
        env, rows = envs[asked], out[asked]
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
        _schedule_backwards(
            candidate[env],
            heads,
            job_first[env],
            op_machine[env],
            op_duration[env],
            op_remaining[env],
            num_jobs,
            sizes[env, 1],
            scratch,
            tails,
        )
        outlook = now
        for job in range(num_jobs):
            op = candidate[env, job]
            if op >= 0:
                outlook = max(outlook, heads[job] + op_duration[env, op] + tails[op])
        busiest = np.int64(1)
        for m in range(sizes[env, 1]):
            if machines[m, 0] > 0:
                busiest = max(busiest, machines[m, 0])
                bound = max(bound, machines[m, 1] + machines[m, 0] + machines[m, 2])

        collected, num_visits = np.int64(-1), 0
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
            longest, outlook_pushed, outlook_reaches = np.int64(0), now, now
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
                longest = max(longest, tails[its])
                outlook_pushed = max(outlook_pushed, later + op_duration[env, its] + tails[its])
                outlook_reaches = max(outlook_reaches, heads[other] + op_duration[env, its] + duration + tails[op])
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
            row[30] = squash(np.float64(end + tails[op] - outlook), mean_duration)
            row[31] = squash(np.float64(end + tails[op] - bound), mean_work)
            row[32] = squash(np.float64(tails[op] - longest), mean_duration) if rivals > 0 else 1.0
            row[33] = squash(np.float64(outlook_pushed - outlook), mean_duration)
            row[34] = squash(np.float64(outlook_reaches - outlook), mean_duration)
            if legal[env, job]:
                if m != collected:
                    num_visits = _collect(
                        m,
                        candidate[env],
                        heads,
                        job_first[env],
                        op_machine[env],
                        op_remaining[env],
                        num_jobs,
                        visits,
                    )
                    collected = m
                known = _machine_makespan(
                    job, end, tails[op], num_visits, visits, op_duration[env], tails, visits[3], visits[4]
                )
                row[35] = squash(np.float64(known - outlook), mean_duration)
                row[36] = squash(np.float64(known - outlook), mean_work)
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
        kernels_floor.floor(
            now,
            candidate[env],
            machine[env],
            status[env],
            place[env],
            available[env],
            remaining[env],
            occupant[env],
            down_since[env],
            job_first[env],
            op_machine[env],
            op_duration[env],
            num_jobs,
            sizes[env, 1],
            mean_duration,
            heads,
            scratch[0],
            scratch[1:4],
            rows,
        )
