"""Key performance indicators of one schedule."""

from __future__ import annotations

import numpy as np

from orl.scenario import Scenarios

from .instance import NO_DUE_DATE, JobShop, Schedule


def metrics(instance: JobShop, scenario: Scenarios | None, schedule: Schedule) -> dict[str, float]:
    """Return key performance indicators of a schedule that `verify` has passed.

    Times are in the instance's time unit; utilisations are shares of the makespan (0 if that is 0).

    Parameters
    ----------
    instance : JobShop
    scenario : Scenarios or None
        Not looked at: nothing is random in the classic job shop.
    schedule : Schedule

    Returns
    -------
    dict
        makespan; flow_time_mean, from a job's release to its completion; waiting_time_mean, the part of it in which a
        job is not processed; utilisation_mean and utilisation_max, over the machines that have operations;
        idle_time_total, between a machine's first start and last end, summed over machines. If there are due dates,
        over the jobs that have one: weighted_tardiness (a sum), tardy_jobs (a count) and max_lateness (negative if
        all are early).
    """
    processing = schedule.end - schedule.start  # (rows,)
    completion = np.zeros(instance.num_jobs, dtype=np.int64)
    np.maximum.at(completion, schedule.job, schedule.end)
    flow_time = completion - instance.releases
    work = np.bincount(schedule.job, weights=processing, minlength=instance.num_jobs)

    busy = np.bincount(schedule.machine, weights=processing, minlength=instance.num_machines)
    first_start = np.full(instance.num_machines, np.iinfo(np.int64).max)
    last_end = np.zeros(instance.num_machines, dtype=np.int64)
    np.minimum.at(first_start, schedule.machine, schedule.start)
    np.maximum.at(last_end, schedule.machine, schedule.end)
    used = np.unique(schedule.machine)
    utilisation = busy[used] / max(schedule.makespan, 1)

    values = {
        "makespan": schedule.makespan,
        "flow_time_mean": flow_time.mean(),
        "waiting_time_mean": (flow_time - work).mean(),
        "utilisation_mean": utilisation.mean() if len(used) else 0,
        "utilisation_max": utilisation.max(initial=0),
        "idle_time_total": (last_end[used] - first_start[used] - busy[used]).sum(),
    }
    if instance.has_due_dates:
        due = instance.due_dates != NO_DUE_DATE
        lateness = completion[due] - instance.due_dates[due]
        values["weighted_tardiness"] = (instance.weights[due] * np.maximum(lateness, 0)).sum()
        values["tardy_jobs"] = (lateness > 0).sum()
        values["max_lateness"] = lateness.max()
    return {key: float(value) for key, value in values.items()}
