"""When operations can start in a schedule worth looking at: what the exact models know before any search.

Downtime. Machine m is down in half-open intervals [a, b); between them it is up. An operation of duration d that starts
at s, when its machine is up, ends at E_m(s, d). With `resume` the work goes on after an interval, and E_m counts d up
time units from s; with `restart` it begins anew, and E_m = b + d for the first end b of an interval after s from which
d fits before the next, unless d fits at s. Work that ends exactly at a is complete. E_m is nondecreasing in s.

Earliest starts. A job alone in the shop, each operation as early as its machine is up (blocking: and the machine that
it leaves), ends every operation as early as any schedule does, for E_m is nondecreasing. Its completion is shortest_j.

Deadlines. U is the cost of a known schedule: given, or that of the serial schedule, one job after another. No schedule
of cost <= U completes job j after

    makespan             U
    flow-time            shortest_j + (U - cost(shortest))
    weighted-tardiness   max(due_j, shortest_j) + (U - cost(shortest)) / w_j       if job j has a due date and w_j > 0
    max-lateness         due_j + U                                                 if job j has a due date

for every other job costs at least what it does alone. The jobs that remain, those whose completion costs nothing, and
with tardy-jobs the tardy ones and those without a due date, may be taken out of a schedule and done one after another
once all others are complete: the shop is empty then, so blocking does not matter, and the cost is no larger. The others
complete by T, their latest deadline (tardy-jobs: the latest due date). As a job's completion in an empty shop is
nondecreasing in its start, those that remain need not complete after the end of a serial schedule of all of them from
T.

Without downtime no completion need exceed the latest release plus all work either: the earliest starts for given orders
on the machines are the longest paths in the alternative graph; a simple path takes each operation once, and cycles, of
length 0 if at all, add nothing.

Beyond the latest deadline nothing of the downtime matters; it is asked for as far as that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from orl.errors import InputError
from orl.scenario import Scenarios

from .instance import NO_DUE_DATE, JobShop
from .scenario import bound, down_intervals

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
    """

    def __init__(self, down: list[tuple[int, int]], is_restart: bool):
        self.begins = [begin for begin, _ in down]
        self.ends = [end for _, end in down]
        self.is_restart = is_restart

    def next_up(self, time: int) -> int:
        """Return the first time from `time` on at which the machine is up."""
        before = bisect_right(self.begins, time) - 1
        return max(time, self.ends[before]) if before >= 0 else time

    def end(self, start: int, duration: int) -> int:
        """Return when work ends that starts while the machine is up."""
        time, left = start, duration
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
    deadline : int ndarray (num_jobs,)
    lower, upper : float
        Bounds on the cost.
    up_times : list of UpTime, (num_machines,)
    """

    earliest: np.ndarray
    earliest_end: np.ndarray
    latest: np.ndarray
    deadline: np.ndarray
    lower: float
    upper: float
    up_times: list[UpTime]


def time_windows(
    instance: JobShop, scenarios: Scenarios | None, start: Any, horizon: Any, upper_bound: float | None
) -> TimeWindows:
    """Return the windows of an instance in hindsight of a scenario; None: only the calendar has machines down.

    Raises
    ------
    InputError
        If `start` or `horizon` is given, there are several scenarios, `upper_bound` is below a proven lower bound, or
        machines are hardly ever up.
    """
    if instance.state is not None:
        raise InputError(f"{instance.name}: the models of the job shop know no shop in motion yet.")
    if start is not None or horizon is not None:
        raise InputError(f"{instance.name}: the models of the job shop know no rolling horizon, got start or horizon.")
    scenario = scenarios or Scenarios.deterministic()
    if len(scenario) != 1:
        raise InputError(f"{instance.name}: the models of the job shop are for 1 scenario, got {len(scenario)}.")
    until = 2 * (int(instance.op_duration.sum() + instance.releases.max()) + 1)
    while True:
        down = down_intervals(instance, scenario, until)
        if sum(map(len, down)) > MAX_INTERVALS:
            raise InputError(f"{instance.name}: machines are hardly ever up; no schedule is found by {until}.")
        windows = _windows(instance, scenario, down, upper_bound)
        latest = int(windows.deadline.max())
        if latest < until or not any(down):
            return windows
        until = 2 * latest


def ends(instance: JobShop, up_times: list[UpTime], starts: np.ndarray) -> np.ndarray:
    """Return when operations end that start as given, (num_ops,)."""
    rows = zip(instance.op_machine.tolist(), np.asarray(starts).tolist(), instance.op_duration.tolist(), strict=True)
    return np.array([up_times[machine].end(start, duration) for machine, start, duration in rows], dtype=np.int64)


def _windows(
    instance: JobShop, scenario: Scenarios, down: list[list[tuple[int, int]]], upper_bound: float | None
) -> TimeWindows:
    up_times = [UpTime(pairs, instance.settings.on_failure == "restart") for pairs in down]
    alone = [_alone(instance, up_times, job, 0) for job in range(instance.num_jobs)]
    earliest = np.array([start for job in alone for start, _ in job], dtype=np.int64)
    earliest_end = np.array([end for job in alone for _, end in job], dtype=np.int64)
    shortest = earliest_end[instance.job_first[1:] - 1]
    lower = max(bound(instance, scenario), instance.cost(shortest))
    upper = upper_bound
    if upper is None:  # the serial schedule; by due date, then by completion, is as good an order as any
        by_date = np.lexsort((shortest, instance.due_dates)).tolist()
        upper = instance.cost(_serial(instance, up_times, by_date, 0))
    elif upper < lower - 1e-6:
        rule = f"upper_bound must be >= {lower:g}, which no schedule falls below"
        raise InputError(f"{instance.name}: {rule}, got {upper_bound}.")
    deadline = _deadlines(instance, up_times, shortest, max(upper, lower))
    latest = np.repeat(deadline, np.diff(instance.job_first)) - instance.remaining_work
    return TimeWindows(earliest, earliest_end, latest, deadline, lower, max(upper, lower), up_times)


def _alone(instance: JobShop, up_times: list[UpTime], job: int, time: int) -> list[tuple[int, int]]:
    """Return (start, end) of a job's operations in an empty shop from `time` on."""
    rows: list[tuple[int, int]] = []
    held: int | None = None
    time = max(time, int(instance.releases[job]))
    for machine, duration in zip(instance.machines[job], instance.durations[job], strict=True):
        start = up_times[machine].next_up(time)
        while held is not None and (later := up_times[held].next_up(start)) != start:
            start = up_times[machine].next_up(later)
        time = up_times[machine].end(start, duration)
        rows.append((start, time))
        held = None if instance.settings.buffers == "unlimited" else machine
    return rows


def _serial(instance: JobShop, up_times: list[UpTime], jobs: Iterable[int], time: int) -> np.ndarray:
    """Return the completions (num_jobs,) of jobs done one after another from `time` on; 0 of the others."""
    completions = np.zeros(instance.num_jobs, dtype=np.int64)
    for job in jobs:
        time = completions[job] = _alone(instance, up_times, job, time)[-1][1]
    return completions


def _deadlines(instance: JobShop, up_times: list[UpTime], shortest: np.ndarray, upper: float) -> np.ndarray:
    """Return the time by which each job is complete in some schedule of least cost, if that is <= upper."""
    slack = upper - instance.cost(shortest) + 1e-6
    has_date = instance.due_dates != NO_DUE_DATE
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
    if not is_bound.all():
        last = int(deadline[has_date if not is_bound.any() else is_bound].max(initial=0))
        deadline[~is_bound] = _serial(instance, up_times, np.flatnonzero(~is_bound).tolist(), last).max()
    if not any(up_time.begins for up_time in up_times):
        deadline = np.minimum(deadline, int(instance.op_duration.sum() + instance.releases.max()))
    return deadline
