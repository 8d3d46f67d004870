"""The flat features of job shops, written into one float32 row an environment. `features` documents the columns."""

from __future__ import annotations

import numpy as np

from orl.jit import kernel
from orl.kernels_squash import squash

from .kernels_codes import DONE, NO_DUE_DATE

NUM_GLOBAL, NUM_BY_JOB, NUM_BY_MACHINE = 4, 17, 8


@kernel
def flat(
    clock,
    num_started,
    candidate,
    machine,
    status,
    available,
    remaining,
    free_at,
    occupant,
    down_since,
    job_first,
    due_dates,
    weights,
    op_machine,
    op_duration,
    op_remaining,
    sizes,
    legal,
    is_post,
    to_come,
    out,
):
    """Fill `out` (num_envs, F) from the arrays of an observation; `to_come` (machines,) is scratch space."""
    width = legal.shape[1]
    first_job = width + NUM_GLOBAL
    first_machine = first_job + (width - 1) * NUM_BY_JOB
    for env in range(out.shape[0]):
        row = out[env]
        row[:] = 0
        num_jobs, num_machines, num_ops = sizes[env, 0], sizes[env, 1], sizes[env, 2]
        now = clock[env]
        total_work, num_done = 0.0, 0
        for job in range(num_jobs):
            total_work += op_remaining[env, job_first[env, job]]
            num_done += status[env, job] == DONE
        mean_work, mean_duration = max(total_work / num_jobs, 1.0), max(total_work / num_ops, 1.0)

        for action in range(width):
            row[action] = legal[env, action]
        row[width] = is_post
        row[width + 1] = num_started[env] / num_ops
        row[width + 2] = num_done / num_jobs
        row[width + 3] = squash(np.float64(now), mean_work)

        # Work and jobs by machine: sums first, put to scale below.
        for m in range(num_machines):
            at = first_machine + m * NUM_BY_MACHINE
            is_up = down_since[env, m] < 0
            row[at] = 1
            row[at + 1] = is_up
            row[at + 2] = occupant[env, m] >= 0
            free = free_at[env, m]
            row[at + 3] = 1 if free < 0 else squash(np.float64(max(free - now, 0)), mean_duration)
            row[at + 4] = 0 if is_up else squash(np.float64(now - down_since[env, m]), mean_duration)
        machine_of, duration_of = op_machine[env], op_duration[env]
        for m in range(num_machines):
            to_come[m] = 0
        for job in range(num_jobs):
            op = candidate[env, job]
            if op < 0:
                continue
            if 0 <= available[env, job] <= now:
                at = first_machine + machine[env, job] * NUM_BY_MACHINE
                row[at + 5] += op_duration[env, op]
                row[at + 6] += 1
            for later in range(op, job_first[env, job + 1]):
                to_come[machine_of[later]] += duration_of[later]
        for m in range(num_machines):
            at = first_machine + m * NUM_BY_MACHINE
            row[at + 5] = squash(np.float64(row[at + 5]), mean_work)
            row[at + 6] /= num_jobs
            row[at + 7] = squash(np.float64(to_come[m]), mean_work)

        for job in range(num_jobs):
            at = first_job + job * NUM_BY_JOB
            row[at] = 1
            if status[env, job] != DONE:
                row[at + 1 + status[env, job]] = 1
            ready = available[env, job]
            if ready < 0:
                row[at + 5] = 1
                row[at + 6] = 1
                row[at + 7] = squash(np.float64(remaining[env, job]), mean_duration)
            elif ready > now:
                row[at + 5] = squash(np.float64(ready - now), mean_duration)
            op, work = candidate[env, job], 0.0
            if op >= 0:
                first, end, m = job_first[env, job], job_first[env, job + 1], machine[env, job]
                work = np.float64(op_remaining[env, op])
                if 0 <= ready < now:
                    row[at + 8] = squash(np.float64(now - ready), mean_duration)
                row[at + 9] = (end - op) / (end - first)
                row[at + 10] = squash(work, mean_work)
                row[at + 11] = squash(np.float64(op_duration[env, op]), mean_duration)
                row[at + 12] = row[first_machine + m * NUM_BY_MACHINE + 3]
                if op + 1 < end:
                    row[at + 13] = row[first_machine + op_machine[env, op + 1] * NUM_BY_MACHINE + 5]
            due = due_dates[env, job]
            if due != NO_DUE_DATE and status[env, job] != DONE:
                slack = due - now - work
                row[at + 14] = 1
                row[at + 15] = slack / (abs(slack) + mean_work)
            row[at + 16] = weights[env, job] / (weights[env, job] + 1)
