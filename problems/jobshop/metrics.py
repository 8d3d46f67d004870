"""Key performance indicators of one schedule."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from orl.scenario import Scenarios

from .instance import NO_DUE_DATE, JobShop, Schedule
from .scenario import Intervals, down_intervals
from .state import held_machines


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

        Of a shop in motion without history, waiting, processing, idle and blocked time count from its clock on, and
        utilisations are shares of the time from there to the makespan. Downtime always counts from the clock on; what
        an interruption before it has wasted is not known, so processing before it is work that was kept.

        If the instance has a plan, over the operations in both that were not completed before: moved_operations, those
        that start at another time; shift_mean and shift_max, by how much starts differ, early or late; and
        resequenced_operations, those that follow another of these operations on their machine than in the plan.
    """
    down = down_intervals(instance, scenario or Scenarios.deterministic(), schedule.makespan + 1)
    begin = begin_of(instance)
    start, processing = np.maximum(schedule.start, begin), _processing(instance, schedule, down)  # (rows,) each
    completion = completions(instance, schedule)
    flow_time = completion - instance.releases
    work = np.bincount(schedule.job, weights=processing, minlength=instance.num_jobs)
    waiting_time = np.maximum(completion - np.maximum(instance.releases, begin), 0) - work

    busy = np.bincount(schedule.machine, weights=processing, minlength=instance.num_machines)
    first_start = np.full(instance.num_machines, np.iinfo(np.int64).max)
    last_end = np.zeros(instance.num_machines, dtype=np.int64)
    np.minimum.at(first_start, schedule.machine, start)
    np.maximum.at(last_end, schedule.machine, schedule.end)
    used = np.unique(schedule.machine)
    utilisation = busy[used] / max(schedule.makespan - begin, 1)

    values = {
        "makespan": schedule.makespan,
        "flow_time_mean": flow_time.mean(),
        "waiting_time_mean": waiting_time.mean(),
        "utilisation_mean": utilisation.mean() if len(used) else 0,
        "utilisation_max": utilisation.max(initial=0),
        "idle_time_total": (last_end[used] - first_start[used] - busy[used]).sum(),
    }
    if instance.settings.buffers != "unlimited":
        blocked = blocked_times(instance, schedule)
        values["time_blocked_total"] = (blocked.end - blocked.start).sum()
    if instance.has_downtime:
        until = schedule.makespan
        values["downtime_total"] = sum(_down_before(of, until) - _down_before(of, instance.clock) for of in down)
    if instance.has_due_dates:
        due = instance.due_dates != NO_DUE_DATE
        lateness = completion[due] - instance.due_dates[due]
        values["weighted_tardiness"] = (instance.weights[due] * np.maximum(lateness, 0)).sum()
        values["tardy_jobs"] = (lateness > 0).sum()
        values["max_lateness"] = lateness.max()
    if instance.plan is not None:
        values |= _changes(instance, schedule, instance.plan)
    return {key: float(value) for key, value in values.items()}


def begin_of(instance: JobShop) -> int:
    """Return from when on a schedule tells what happens: from the clock of a shop in motion without history, or 0."""
    return instance.clock if instance.state is not None and instance.state.history is None else 0


def completions(instance: JobShop, schedule: Schedule) -> np.ndarray:
    """Return when each job is complete, (num_jobs,)."""
    completion = np.zeros(instance.num_jobs, dtype=np.int64)
    np.maximum.at(completion, schedule.job, schedule.end)
    if instance.state is not None:
        is_complete = instance.is_done[instance.job_first[1:] - 1]
        completion[is_complete] = instance.state.ready_at[is_complete]
    return completion


def blocked_times(instance: JobShop, schedule: Schedule) -> Schedule:
    """Return when jobs hold machines that are done with them, as rows of the operations that were done there.

    A job that is blocked as a shop in motion goes on is so from its end there, or without history from the clock on.
    """
    columns = [getattr(schedule, f.name) for f in fields(Schedule)]
    if (state := instance.state) is not None and state.history is None:
        machine = held_machines(instance, state)
        job = np.flatnonzero((machine >= 0) & (state.work_left == 0))
        clock = np.full(len(job), state.clock)
        there = (job, state.ops_done[job] - 1, machine[job], clock, clock)
        columns = [np.concatenate(pair) for pair in zip(columns, there, strict=True)]
    job, position, machine, start, end = columns
    leave = end.copy()
    if instance.settings.buffers != "unlimited":
        order = np.lexsort((position, job))
        goes_on = np.flatnonzero(np.diff(job[order]) == 0)
        leave[order[goes_on]] = start[order[goes_on + 1]]
    is_blocked = leave > end
    return Schedule(*(column[is_blocked] for column in (job, position, machine, end, leave)))


def _processing(instance: JobShop, schedule: Schedule, down: list[Intervals]) -> np.ndarray:
    """Return how long each operation is processed, (rows,)."""
    start, end = schedule.start, schedule.end
    since = np.minimum(np.maximum(start, instance.clock), end)
    downtime = np.zeros(len(start))  # during each operation
    for machine, intervals in enumerate(down):
        rows = schedule.machine == machine
        downtime[rows] = _down_before(intervals, end[rows]) - _down_before(intervals, since[rows])
    processing = end - since - downtime
    if begin_of(instance) < instance.clock:
        op = instance.job_first[schedule.job] + schedule.position
        processing += np.minimum(instance.op_duration[op] - instance.work_left[op], since - start)
    return processing


def _changes(instance: JobShop, schedule: Schedule, plan: Schedule) -> dict[str, float]:
    """Return what differs from a plan."""
    starts = np.full((2, instance.num_ops), -1)
    for of_one, one in zip(starts, (schedule, plan), strict=True):
        of_one[instance.job_first[one.job] + one.position] = one.start
    both = np.flatnonzero((starts >= 0).all(axis=0) & ~instance.is_done)
    shifts = np.abs(starts[0, both] - starts[1, both])
    before = [_predecessors(instance, both, of_one[both]) for of_one in starts]
    return {
        "moved_operations": (shifts > 0).sum(),
        "shift_mean": shifts.mean() if len(both) else 0,
        "shift_max": shifts.max(initial=0),
        "resequenced_operations": (before[0] != before[1]).sum(),
    }


def _predecessors(instance: JobShop, ops: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the one of these operations that comes before each of them on its machine, -1: none."""
    machine = instance.op_machine[ops]
    order = np.lexsort((ops, instance.op_duration[ops], starts, machine))
    is_first = np.diff(machine[order], prepend=-1) != 0
    before = np.empty(len(ops), dtype=np.int64)
    before[order] = np.where(is_first, -1, np.roll(ops[order], 1))
    return before


def _down_before(intervals: Intervals, time: np.ndarray | int) -> np.ndarray:
    """Return how long a machine has been down before each time."""
    if not intervals:
        return np.zeros(np.shape(time))
    lengths = [end - start for start, end in intervals]
    totals = np.concatenate([[0], np.cumsum(lengths)])
    return np.interp(time, np.ravel(intervals), np.stack([totals[:-1], totals[1:]], axis=1).ravel())
