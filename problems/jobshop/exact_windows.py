"""When operations can start in a schedule worth looking at: what the exact models know before any search.

Downtime. Machine m is down in half-open intervals [a, b); between them it is up. An operation of duration d that starts
at s, when its machine is up, ends at E_m(s, d). With `resume` the work goes on after an interval, and E_m counts d up
time units from s; with `restart` it begins anew, and E_m = b + d for the first end b of an interval after s from which
d fits before the next, unless d fits at s. Work that ends exactly at a is complete. E_m is nondecreasing in s.

A shop in motion goes on from its clock. What has begun is known: a completed operation ended before, and of a job that
is in an operation the work that is left goes on where its machine is up, which gives the end. Both are fixed. A job
that waits on a machine, blocked, has only completed operations; it holds that machine from the clock on.

Earliest starts. A job alone in the shop, each operation as early as its machine is up (blocking: and the machine that
it leaves) and done with the operation it may be in at the clock, ends every operation as early as any schedule does,
for E_m is nondecreasing. Its completion is shortest_j.

Deadlines. U is the cost of a known schedule, or more: given, or that of the serial schedule, one job after another. No
schedule of cost <= U completes job j after

    makespan             U
    flow-time            shortest_j + (U - cost(shortest))
    weighted-tardiness   max(due_j, shortest_j) + (U - cost(shortest)) / w_j       if job j has a due date and w_j > 0
    max-lateness         due_j + U                                                 if job j has a due date

for every other job costs at least what it does alone. The jobs that remain, those whose completion costs nothing, and
with tardy-jobs the tardy ones and those without a due date, may be taken out of a schedule and done one after another
once all others are complete: the shop is empty then, so blocking does not matter, and the cost is no larger. The others
complete by T, their latest deadline (tardy-jobs: the latest due date). As a job's completion in an empty shop is
nondecreasing in its start, those that remain need not complete after the end of a serial schedule of all of them from
T. An operation that a job is in at the clock stays where it is.

Only the jobs that are on machines of a blocking shop in motion cannot be taken out. Of them, those that remain go on in
the order they have once the others are complete, and the serial schedule begins when they have left; so it does from
the clock, to find U. The earliest starts for given orders are the longest paths in the alternative graph, but that on
the way work takes until E_m and moves wait for machines. A path takes each operation once, as work is in no cycle. Let
A be a machine that is down whenever one is that these jobs are on or yet to use: no step takes longer on it. So the
jobs have left by the time that A has done all their operations one after another; with `restart`, where the order
matters, as many operations as long as the longest.

Without downtime no completion need exceed the clock or the latest release plus all work either: again the longest paths
in the alternative graph. Cycles, of length 0 if at all, add nothing.

Beyond the latest deadline nothing of the downtime matters; it is asked for as far as that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from orl.errors import InputError
from orl.scenario import Scenarios

from .instance import NO_DUE_DATE, JobShop, Schedule, with_history
from .scenario import bound, down_intervals, joined
from .state import held_machines

MAX_INTERVALS = 100_000  # of downtime that a model takes


class Piece(NamedTuple):
    """Starts from `low` to `high` whose operation ends `delay` after start + duration, or at `end` if that is given."""

    low: int
    high: int
    delay: int
    end: int | None


class UpTime:
    """When one machine is up, and when work ends on it.

    Parameters
    ----------
    down : list of (from, to)
        In order and apart.
    is_restart : bool
        Whether interrupted work begins anew.

    Examples
    --------
    >>> machine = UpTime([(5, 7), (9, 12)], is_restart=False)
    >>> machine.next_up(5), machine.end(3, 2), machine.end(3, 5)
    (7, 5, 13)
    >>> [(piece.low, piece.high, piece.delay) for piece in machine.pieces(0, 12, 5)]
    [(0, 0, 0), (1, 2, 2), (3, 4, 5), (7, 8, 3), (12, 12, 0)]
    >>> UpTime([(5, 7), (9, 12)], is_restart=True).end(3, 3)
    15
    >>> UpTime([(5, 7), (9, 12)], is_restart=True).end(3, 3, left=2)
    5
    """

    def __init__(self, down: list[tuple[int, int]], is_restart: bool):
        self.begins = [begin for begin, _ in down]
        self.ends = [end for _, end in down]
        self.is_restart = is_restart

    def next_up(self, time: int) -> int:
        """Return the first time from `time` on at which the machine is up."""
        before = bisect_right(self.begins, time) - 1
        return max(time, self.ends[before]) if before >= 0 else time

    def end(self, start: int, duration: int, left: int | None = None) -> int:
        """Return when work ends that starts, or with so much `left` goes on, while the machine is up."""
        time, left = start, duration if left is None else left
        for k in range(bisect_right(self.begins, start), len(self.begins)):
            if time + left <= self.begins[k]:
                break
            left = duration if self.is_restart else left - (self.begins[k] - time)
            time = self.ends[k]
        return time + left

    def gaps(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Yield the whole times from `low` to `high` at which the machine is up, as (first, last)."""
        time = self.next_up(low)
        while time <= high:
            k = bisect_right(self.begins, time)
            if k == len(self.begins):
                yield time, high
                return
            yield time, min(high, self.begins[k] - 1)
            time = self.ends[k]

    def pieces(self, low: int, high: int, duration: int) -> Iterator[Piece]:
        """Yield the starts from `low` to `high`, cut where the end is another function of the start."""
        for first, last in self.gaps(low, high):
            while first <= last:
                end = self.end(first, duration)
                if self.is_restart and end > first + duration:
                    yield Piece(first, last, 0, end)
                    break
                k = bisect_left(self.begins, end)  # the end may move on up to the next interval
                high_here = min(last, first + self.begins[k] - end) if k < len(self.begins) else last
                yield Piece(first, high_here, end - first - duration, None)
                first = high_here + 1


class TimeWindows(NamedTuple):
    """What a schedule of cost <= `upper` keeps; times in time units, costs as `JobShop.cost` has them.

    Parameters
    ----------
    earliest, earliest_end, latest : int ndarray (num_ops,)
        Earliest start and end and latest start of operations.
    is_fixed : bool ndarray (num_ops,)
        Begun before the shop goes on: nothing but `earliest` to `earliest_end`, the part of it from the clock on.
        So the last operation of a complete job lies at its completion, and other completed ones at the clock.
    deadline : int ndarray (num_jobs,)
    lower, upper : float
        Bounds on the cost.
    up_times : list of UpTime, (num_machines,)
    """

    earliest: np.ndarray
    earliest_end: np.ndarray
    latest: np.ndarray
    is_fixed: np.ndarray
    deadline: np.ndarray
    lower: float
    upper: float
    up_times: list[UpTime]


class _Begun(NamedTuple):
    """What is known when the shop goes on.

    Parameters
    ----------
    end : list of int, (num_ops,)
        When operations end that have begun, as in `TimeWindows`; -1 of the others.
    free_at : list of int, (num_machines,)
        When a machine can be entered at the earliest.
    """

    end: list[int]
    free_at: list[int]


def time_windows(instance: JobShop, scenarios: Scenarios | None, upper_bound: float | None) -> TimeWindows:
    """Return the windows of an instance in hindsight of a scenario; None: only the calendar has machines down.

    Raises
    ------
    InputError
        If there are several scenarios, `upper_bound` is below a proven lower bound, or machines are hardly ever up.
    """
    scenario = scenarios or Scenarios.deterministic()
    if len(scenario) != 1:
        raise InputError(f"{instance.name}: the models of the job shop are for 1 scenario, got {len(scenario)}.")
    until = instance.clock + 2 * (int(instance.op_duration.sum() + instance.releases.max()) + 1)
    while True:
        down = down_intervals(instance, scenario, until)
        if sum(map(len, down)) > MAX_INTERVALS:
            raise InputError(f"{instance.name}: machines are hardly ever up; no schedule is found by {until}.")
        windows = _windows(instance, scenario, down, upper_bound)
        latest = int(windows.deadline.max())
        if latest < until or not any(down):
            return windows
        until = 2 * latest


def ends(instance: JobShop, windows: TimeWindows, starts: np.ndarray) -> np.ndarray:
    """Return when operations end that start as given, (num_ops,)."""
    rows = zip(instance.op_machine.tolist(), np.asarray(starts).tolist(), instance.op_duration.tolist(), strict=True)
    free = [windows.up_times[machine].end(start, duration) for machine, start, duration in rows]
    return np.where(windows.is_fixed, windows.earliest_end, free)


def starts_by_op(instance: JobShop, windows: TimeWindows, schedule: Schedule) -> np.ndarray:
    """Return the starts of a schedule by operation as the models have them, (num_ops,)."""
    starts = np.zeros(instance.num_ops, dtype=np.int64)
    starts[instance.job_first[schedule.job] + schedule.position] = schedule.start
    return np.where(windows.is_fixed, windows.earliest, starts)


def schedule_of(instance: JobShop, starts: np.ndarray, ends: np.ndarray) -> Schedule:
    """Return the schedule of what is not completed before the shop goes on, and of what is where that is known.

    Parameters
    ----------
    starts, ends : int ndarray (num_ops,)
        Not looked at where an operation is completed; one that a job is in starts when it did.
    """
    begun = np.full(instance.num_ops, -1)
    if instance.state is not None:
        is_in = np.flatnonzero(instance.state.work_left > 0)
        begun[instance.job_first[is_in] + instance.state.ops_done[is_in]] = instance.state.started[is_in]
    at = Schedule.from_starts(instance, np.where(begun >= 0, begun, starts))
    rows = (at.job, at.position, at.machine, at.start, ends)
    return with_history(instance, Schedule(*(row[~instance.is_done] for row in rows)))


def _windows(
    instance: JobShop, scenario: Scenarios, down: list[list[tuple[int, int]]], upper_bound: float | None
) -> TimeWindows:
    up_times = [UpTime(pairs, instance.settings.on_failure == "restart") for pairs in down]
    begun = _begun(instance, up_times)
    alone = [_alone(instance, up_times, begun, job, 0) for job in range(instance.num_jobs)]
    earliest = np.array([start for job in alone for start, _ in job], dtype=np.int64)
    earliest_end = np.array([end for job in alone for _, end in job], dtype=np.int64)
    shortest = earliest_end[instance.job_first[1:] - 1]
    lower = max(bound(instance, scenario), instance.cost(shortest))
    upper = upper_bound
    if upper is None:  # the serial schedule; by due date, then by completion, is as good an order as any
        by_date = np.lexsort((shortest, instance.due_dates))
        upper = instance.cost(_serial(instance, up_times, begun, by_date, instance.clock))
    elif upper < lower - 1e-6:
        rule = f"upper_bound must be >= {lower:g}, which no schedule falls below"
        raise InputError(f"{instance.name}: {rule}, got {upper_bound}.")
    deadline = _deadlines(instance, up_times, begun, shortest, max(upper, lower))
    latest = np.repeat(deadline, np.diff(instance.job_first)) - instance.remaining_work
    is_fixed = np.array(begun.end) >= 0
    latest = np.where(is_fixed, earliest, latest)
    return TimeWindows(earliest, earliest_end, latest, is_fixed, deadline, lower, max(upper, lower), up_times)


def _begun(instance: JobShop, up_times: list[UpTime]) -> _Begun:
    clock, state = instance.clock, instance.state
    end, free_at = np.full(instance.num_ops, -1), np.full(instance.num_machines, clock)
    if state is None:
        return _Begun(end.tolist(), free_at.tolist())
    end[instance.is_done] = clock
    last = instance.job_first[1:] - 1
    end[last] = np.where(instance.is_done[last], state.ready_at, -1)
    for job in np.flatnonzero(state.work_left > 0):
        o = int(instance.job_first[job] + state.ops_done[job])
        up_time = up_times[machine := int(instance.op_machine[o])]
        left = int(instance.work_left[o])
        end[o] = free_at[machine] = up_time.end(up_time.next_up(clock), int(instance.op_duration[o]), left)
    return _Begun(end.tolist(), free_at.tolist())


def _alone(instance: JobShop, up_times: list[UpTime], begun: _Begun, job: int, time: int) -> list[tuple[int, int]]:
    """Return (start, end) of a job's operations from `time` on in a shop without other jobs but in their operations."""
    rows: list[tuple[int, int]] = []
    held: int | None = None
    time = max(time, int(instance.releases[job]))
    known = begun.end[instance.job_first[job] : instance.job_first[job + 1]]
    for machine, duration, end in zip(instance.machines[job], instance.durations[job], known, strict=True):
        if end >= 0:
            rows.append((min(end, instance.clock), end))
            time = max(time, end)
        else:
            start = up_times[machine].next_up(max(time, begun.free_at[machine]))
            while held is not None and (later := up_times[held].next_up(start)) != start:
                start = up_times[machine].next_up(later)
            time = up_times[machine].end(start, duration)
            rows.append((start, time))
        held = None if instance.settings.buffers == "unlimited" else machine
    return rows


def _serial(instance: JobShop, up_times: list[UpTime], begun: _Begun, jobs: np.ndarray, time: int) -> np.ndarray:
    """Return completions (num_jobs,) of jobs done one after another from `time` on; 0 of the others.

    Those on machines of a blocking shop come first, and all are complete when the last of them is at the latest.
    """
    completions = np.zeros(instance.num_jobs, dtype=np.int64)
    if instance.state is not None and instance.settings.buffers != "unlimited":
        is_held = held_machines(instance, instance.state)[jobs] >= 0
        if is_held.any():
            time = completions[jobs[is_held]] = _together(instance, up_times, jobs[is_held], time)
        jobs = jobs[~is_held]
    for job in jobs.tolist():
        completions[job] = _alone(instance, up_times, begun, job, time)[-1][1]
        time = max(time, int(completions[job]))
    return completions


def _together(instance: JobShop, up_times: list[UpTime], jobs: np.ndarray, time: int) -> int:
    """Return when jobs on machines of a blocking shop have left it at the latest if they go on from `time`."""
    assert instance.state is not None
    to_do = np.flatnonzero(np.isin(instance.op_job, jobs) & ~instance.is_done)
    machines = {*instance.op_machine[to_do].tolist(), *held_machines(instance, instance.state)[jobs].tolist()}
    down = joined(pair for m in machines for pair in zip(up_times[m].begins, up_times[m].ends, strict=True))
    is_restart = instance.settings.on_failure == "restart"
    all_up = UpTime(down, is_restart)
    work = instance.op_duration[to_do]
    for step in [int(work.max())] * len(work) if is_restart else [int(work.sum())]:
        time = all_up.next_up(all_up.end(all_up.next_up(time), step))
    return time


def _deadlines(
    instance: JobShop, up_times: list[UpTime], begun: _Begun, shortest: np.ndarray, upper: float
) -> np.ndarray:
    """Return the time by which each job is complete in some schedule of least cost, if that is <= upper."""
    slack = upper - instance.cost(shortest) + 1e-6
    has_date = instance.due_dates != NO_DUE_DATE
    is_complete = instance.is_done[instance.job_first[1:] - 1]
    dates = np.where(has_date, instance.due_dates, 0)
    match instance.settings.objective:
        case "makespan":
            is_bound, deadline = np.ones(instance.num_jobs, dtype=bool), np.full(instance.num_jobs, upper + 1e-6)
        case "flow-time":
            is_bound, deadline = np.ones(instance.num_jobs, dtype=bool), shortest + slack
        case "weighted-tardiness":
            is_bound = has_date & (instance.weights > 0)
            deadline = np.maximum(dates, shortest) + slack / np.where(is_bound, instance.weights, 1.0)
        case "max-lateness":
            is_bound, deadline = has_date, dates + upper + 1e-6
        case "tardy-jobs":  # T is the latest due date; whatever is tardy comes after it
            is_bound, deadline = np.zeros(instance.num_jobs, dtype=bool), dates
        case other:
            raise ValueError(f"unknown objective {other!r}.")
    deadline = np.floor(deadline).astype(np.int64)
    remaining = np.flatnonzero(~is_bound & ~is_complete)
    if len(remaining):
        last = int(deadline[has_date if not is_bound.any() else is_bound].max(initial=instance.clock))
        deadline[remaining] = _serial(instance, up_times, begun, remaining, last).max()
    if not any(up_time.begins for up_time in up_times):
        from_here = max(instance.clock, int(instance.releases.max()))
        deadline = np.minimum(deadline, from_here + int(instance.work_left.sum()))
    return np.where(is_complete, shortest, deadline)
