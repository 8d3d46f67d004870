"""Key performance indicators of one schedule."""

from __future__ import annotations

import numpy as np

from orl.scenario import Scenarios

from .instance import NO_DUE_DATE, JobShop, Schedule
from .scenario import Intervals, down_intervals


def metrics(instance: JobShop, scenario: Scenarios | None, schedule: Schedule) -> dict[str, float]:
    """Return key performance indicators of a schedule that `verify` has passed.

    Times are in the instance's time unit; utilisations are shares of the makespan (0 if that is 0).

    Parameters
    ----------
    instance : JobShop
    scenario : Scenarios or None
        One row of failures and repairs; None: no machine breaks down.
    schedule : Schedule

    Returns
    -------
    dict
        makespan; flow_time_mean, from a job's release to its completion; waiting_time_mean, the part of it in which a
        job is not processed; utilisation_mean and utilisation_max, over the machines that have operations;
        idle_time_total, in which a machine does not process between its first start and last end, summed over machines.
        Where jobs hold machines: time_blocked_total, in which finished ones do, summed over machines. Where machines
        may be down: downtime_total, summed over machines up to the makespan. If there are due dates, over the jobs that
        have one: weighted_tardiness (a sum), tardy_jobs (a count) and max_lateness (negative if all are early).
    """
    down = down_intervals(instance, scenario or Scenarios.deterministic(), schedule.makespan + 1)
    downtime = np.zeros(len(schedule.job))  # during each operation
    for machine, intervals in enumerate(down):
        rows = schedule.machine == machine
        downtime[rows] = _down_before(intervals, schedule.end[rows]) - _down_before(intervals, schedule.start[rows])
    processing = schedule.end - schedule.start - downtime  # (rows,)
    completion = completions(instance, schedule)
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
    if instance.settings.buffers != "unlimited":
        values["time_blocked_total"] = (departures(instance, schedule) - schedule.end).sum()
    if instance.has_downtime:
        values["downtime_total"] = sum(_down_before(intervals, schedule.makespan) for intervals in down)
    if instance.has_due_dates:
        due = instance.due_dates != NO_DUE_DATE
        lateness = completion[due] - instance.due_dates[due]
        values["weighted_tardiness"] = (instance.weights[due] * np.maximum(lateness, 0)).sum()
        values["tardy_jobs"] = (lateness > 0).sum()
        values["max_lateness"] = lateness.max()
    return {key: float(value) for key, value in values.items()}


def completions(instance: JobShop, schedule: Schedule) -> np.ndarray:
    """Return when each job is complete, (num_jobs,)."""
    completion = np.zeros(instance.num_jobs, dtype=np.int64)
    np.maximum.at(completion, schedule.job, schedule.end)
    return completion


def departures(instance: JobShop, schedule: Schedule) -> np.ndarray:
    """Return when the job of each row leaves the row's machine, (rows,)."""
    leave = schedule.end.copy()
    if instance.settings.buffers != "unlimited":
        order = np.lexsort((schedule.position, schedule.job))
        goes_on = np.flatnonzero(np.diff(schedule.job[order]) == 0)
        leave[order[goes_on]] = schedule.start[order[goes_on + 1]]
    return leave


def _down_before(intervals: Intervals, time: np.ndarray | int) -> np.ndarray:
    """Return how long a machine has been down before each time."""
    if not intervals:
        return np.zeros(np.shape(time))
    lengths = [end - start for start, end in intervals]
    totals = np.concatenate([[0], np.cumsum(lengths)])
    return np.interp(time, np.ravel(intervals), np.stack([totals[:-1], totals[1:]], axis=1).ravel())
