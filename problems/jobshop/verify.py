"""Verification of a schedule against the statement of the job shop, from scratch: no kernel or model is trusted.

Times are Python integers here, so no number that a broken schedule may hold overflows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import NamedTuple

from orl.problem import Report, Violation
from orl.scenario import Scenarios

from .instance import JobShop, Schedule
from .scenario import Intervals, down_intervals

MAX_VIOLATIONS = 1000  # a wholly broken schedule needs no longer list
LAST_TIME = 2**42  # sums over jobs stay exact
MAX_FAILURES = 2**22  # drawn to judge a schedule, about
MAX_POSITIONS = 10_000  # tried to find an order of the moves of one instant


class _Row(NamedTuple):
    job: int
    position: int
    machine: int
    start: int
    end: int


Placed = Mapping[tuple[int, int], _Row]  # the first row of each operation, by job and position


class _Stay(NamedTuple):
    """What holds a machine: an operation, or with blocking those that its job does there one after the other."""

    row: _Row  # the first of them
    last: _Row
    leave: int
    is_there: bool  # when the shop goes on


class _Motion:
    """Where a shop in motion is; one that begins is at 0, and nothing has been done."""

    def __init__(self, instance: JobShop) -> None:
        state = instance.state
        self.clock = instance.clock
        self.done = [0] * instance.num_jobs  # operations, by job
        self.completions: dict[int, int] = {}  # of jobs that are complete
        self.running: dict[tuple[int, int], tuple[int, int]] = {}  # by job and position: start and work left
        self.blocked: dict[tuple[int, int], _Row] = {}  # the last operations of jobs that hold their machines
        self.history: dict[tuple[int, int], _Row] = {}
        if state is None:
            return
        if state.history is not None:
            columns = (getattr(state.history, key).tolist() for key in _Row._fields)
            self.history = {(row.job, row.position): row for row in map(_Row, *columns)}
        self.done = state.ops_done.tolist()
        for job, route in enumerate(instance.machines):
            last, ready = self.done[job] - 1, int(state.ready_at[job])
            if last + 1 == len(route):
                self.completions[job] = ready
            elif state.work_left[job] > 0:
                self.running[job, last + 1] = int(state.started[job]), int(state.work_left[job])
            elif last >= 0 and instance.settings.buffers != "unlimited":
                self.blocked[job, last] = _Row(job, last, route[last], ready, ready)

    def is_before(self, row: _Row) -> bool:
        """Whether an operation is completed before the shop goes on."""
        return row.position < self.done[row.job]


def verify(instance: JobShop, scenario: Scenarios | None, schedule: Schedule) -> Report:
    """Recompute the cost and list every broken rule, the first `MAX_VIOLATIONS` of them.

    Parameters
    ----------
    instance : JobShop
    scenario : Scenarios or None
        One row of failures and repairs; None: no machine breaks down.
    schedule : Schedule
        However broken.

    Returns
    -------
    Report
        The cost is the objective of the jobs' last ends; None if a job has no operation in the schedule. In a shop in
        motion the jobs that are complete need none: the state tells when they were. Kinds of violation:

        - 'shape', 'unknown', 'duplicate', 'missing', 'machine', 'negative start', 'release', 'precedence';
        - 'horizon': too late to be judged, as numbers would not be exact or too many failures had to be drawn;
        - 'history': operations completed before a shop in motion goes on are not there as its history has them, or
          are there without one;
        - 'clock': any other operation starts before the shop goes on, or one under way not when the state says;
        - 'duration': the end does not follow from start, duration and downtime, or from the work left;
        - 'downtime': a job starts on a machine that is down, or with blocking leaves one;
        - 'overlap': an operation starts on a machine before another is done there;
        - 'blocking': instead of it, where jobs hold machines until they move: before another job has left it;
        - 'swap': moves at one instant of which each must come before another. With swaps allowed that takes a job
          that passes a machine in no time.

        An operation's second row is reported and looked at no further. Precedence and overlap take an operation to
        last as long as it truly does; a false end is a 'duration' of its own. Swaps are judged where precedence holds
        and no machine is held by two jobs. A job may be left waiting where the process would have moved it by itself.
        Of what was done before a shop in motion goes on, nothing but the machines that jobs are on then matters.
    """
    columns = {key: getattr(schedule, key) for key in _Row._fields}
    if any(column.ndim != 1 or len(column) != schedule.job.size for column in columns.values()):
        shapes = ", ".join(f"{key} {column.shape}" for key, column in columns.items())
        return Report(None, (Violation("shape", f"columns must be of one length, got {shapes}."),))
    rows = [_Row(*entries) for entries in zip(*(column.tolist() for column in columns.values()), strict=True)]
    known = [row for row in rows if _is_operation(instance, row)]
    first: dict[tuple[int, int], _Row] = {}
    for row in known:
        first.setdefault((row.job, row.position), row)
    scenario = scenario or Scenarios.deterministic()
    motion = _Motion(instance)
    placed = {key: row for key, row in first.items() if not motion.is_before(row)}
    latest = _latest(instance, scenario)
    down = _down(instance, scenario, placed.values(), latest)
    ends = {key: _true_end(instance, motion, down, row) for key, row in placed.items()}
    stays = _stays(instance, motion, placed, ends)
    violations = chain(
        _unknown(instance, rows),
        _duplicate(instance, known, first),
        _history(instance, motion, first),
        _missing(instance, motion, placed),
        _operation(instance, motion, placed, ends, latest),
        _downtime(instance, motion, down, placed, ends),
        _sequence(instance, placed, ends, stays),
    )
    return Report(_cost(instance, motion, placed), tuple(islice(violations, MAX_VIOLATIONS)))


def _cost(instance: JobShop, motion: _Motion, placed: Placed) -> float | None:
    completions = dict(motion.completions)
    for row in placed.values():
        completions[row.job] = max(row.end, completions.get(row.job, row.end))
    if len(completions) < instance.num_jobs or max(map(abs, completions.values())) > LAST_TIME:
        return None
    return instance.cost([completions[job] for job in range(instance.num_jobs)])


def _latest(instance: JobShop, scenario: Scenarios) -> int:
    """Return the last time at which an operation may end and be judged."""
    probability = instance.settings.breakdowns.probability
    if not scenario.is_random or probability == 0:
        return LAST_TIME
    return int(min(LAST_TIME, instance.clock + MAX_FAILURES / probability / instance.num_machines))


def _down(instance: JobShop, scenario: Scenarios, placed: Iterable[_Row], latest: int) -> list[Intervals]:
    """Return each machine's downtime, complete up to the last time in the schedule that can be judged."""
    last = max((time for row in placed for time in (row.start, row.end) if time <= latest), default=0)
    return down_intervals(instance, scenario, max(last, instance.clock) + 2)


def _is_operation(instance: JobShop, row: _Row) -> bool:
    return 0 <= row.job < instance.num_jobs and 0 <= row.position < len(instance.durations[row.job])


def _op(instance: JobShop, row: _Row) -> str:
    return f"operation {row.position} of job {instance.job_label(row.job)}"


def _machine(instance: JobShop, machine: int) -> str:
    """Name a machine, also one that does not exist."""
    return f"machine {instance.machine_label(machine) if 0 <= machine < instance.num_machines else machine}"


def _downtime_from(down: Sequence[Intervals], machine: int, time: int) -> Iterator[tuple[int, int]]:
    """Yield the intervals of a machine that end after a time."""
    intervals = down[machine] if 0 <= machine < len(down) else []
    return islice(intervals, bisect_right(intervals, time, key=itemgetter(1)), None)


def _down_at(down: Sequence[Intervals], machine: int, time: int) -> str:
    """Say when the machine is down if it is at this time, else nothing."""
    return next((f"down from {a} to {b}" for a, b in _downtime_from(down, machine, time) if a <= time), "")


def _true_end(instance: JobShop, motion: _Motion, down: Sequence[Intervals], row: _Row) -> int:
    """Return when an operation that starts as its row says, or is under way as the state says, is done.

    Later than the whole schedule if that is unknown.
    """
    duration = instance.durations[row.job][row.position]
    if duration == 0:
        return row.start
    time, remaining = row.start, duration
    if (row.job, row.position) in motion.running:
        time, remaining = motion.clock, motion.running[row.job, row.position][1]
    for start, end in _downtime_from(down, row.machine, time):
        if time + remaining <= start:
            break
        is_kept = instance.settings.on_failure == "resume"
        remaining = remaining - max(start - time, 0) if is_kept else duration
        time = end
    return time + remaining


def _stays(
    instance: JobShop, motion: _Motion, placed: Placed, ends: Mapping[tuple[int, int], int]
) -> dict[int, list[_Stay]]:
    """Return by job the stays on machines, in routing order."""
    is_blocking = instance.settings.buffers != "unlimited"
    stays: defaultdict[int, list[_Stay]] = defaultdict(list)
    for (job, position), row in sorted({**placed, **motion.blocked}.items()):
        end = ends.get((job, position), motion.clock)
        after = placed.get((job, position + 1))
        leave = max(after.start, end) if is_blocking and after is not None else end
        of_job = stays[job]
        goes_on = of_job and of_job[-1].last.position == position - 1 and of_job[-1].last.machine == row.machine
        if is_blocking and goes_on:
            of_job[-1] = of_job[-1]._replace(last=row, leave=leave)
        else:
            is_there = (job, position) in motion.blocked or (job, position) in motion.running
            of_job.append(_Stay(row, row, leave, is_there))
    return stays


def _unknown(instance: JobShop, rows: Iterable[_Row]) -> Iterator[Violation]:
    for index, row in enumerate(rows):
        if not 0 <= row.job < instance.num_jobs:
            yield Violation("unknown", f"row {index}: job must be in 0..{instance.num_jobs - 1}, got {row.job}.")
        elif not _is_operation(instance, row):
            label, last = instance.job_label(row.job), len(instance.durations[row.job]) - 1
            yield Violation(
                "unknown", f"row {index}: position must be in 0..{last} for job {label}, got {row.position}."
            )
        elif not 0 <= row.machine < instance.num_machines:
            where = f"machine of {_op(instance, row)} must be in 0..{instance.num_machines - 1}"
            yield Violation("unknown", f"row {index}: {where}, got {row.machine}.")


def _duplicate(instance: JobShop, known: Iterable[_Row], placed: dict[tuple[int, int], _Row]) -> Iterator[Violation]:
    for row in known:
        first = placed[row.job, row.position]
        if row is not first:
            where = f"at {row.start} on {_machine(instance, row.machine)}"
            before = f"at {first.start} on {_machine(instance, first.machine)}"
            yield Violation("duplicate", f"{_op(instance, row)} is there again {where}, besides {before}.")


def _history(instance: JobShop, motion: _Motion, first: Placed) -> Iterator[Violation]:
    """Yield what is not as it was before the shop goes on."""
    for key, row in first.items():
        then = motion.history.get(key)
        if not motion.is_before(row) or row == then:
            continue
        what = f"{_op(instance, row)}, completed before {motion.clock},"
        got = f"from {row.start} to {row.end} on {_machine(instance, row.machine)}"
        if then is None:
            yield Violation("history", f"{what} must have no row, as there is no history; got {got}.")
        else:
            was = f"from {then.start} to {then.end} on {_machine(instance, then.machine)}"
            yield Violation("history", f"{what} must be as it was, {was}; got {got}.")
    for key, then in motion.history.items():
        if key not in first:
            what = f"{_op(instance, then)} ({_machine(instance, then.machine)}), completed before {motion.clock},"
            yield Violation("history", f"{what} has no row.")


def _missing(instance: JobShop, motion: _Motion, placed: Placed) -> Iterator[Violation]:
    for job, route in enumerate(instance.machines):
        for position, machine in enumerate(route):
            row = _Row(job, position, machine, 0, 0)
            if (job, position) not in placed and not motion.is_before(row):
                yield Violation("missing", f"{_op(instance, row)} ({_machine(instance, machine)}) has no row.")


def _operation(
    instance: JobShop, motion: _Motion, placed: Placed, ends: Mapping[tuple[int, int], int], latest: int
) -> Iterator[Violation]:
    """Yield what is wrong with an operation by itself."""
    for key, row in placed.items():
        machine, duration = instance.machines[row.job][row.position], instance.durations[row.job][row.position]
        if row.machine != machine and 0 <= row.machine < instance.num_machines:
            must = f"must run on {_machine(instance, machine)}"
            yield Violation("machine", f"{_op(instance, row)} {must}, got {_machine(instance, row.machine)}.")
        what = f"{_op(instance, row)} on {_machine(instance, row.machine)}"
        if max(row.start, row.end) > latest:
            yield Violation("horizon", f"{what} must end by {latest} to be judged, got {row.start} to {row.end}.")
        started, left = motion.running.get(key, (None, duration))
        since = row.start if started is None else motion.clock
        if row.end != ends[key]:
            must = f"must take {left}" + ("" if started is None else f" from {since} on")
            if ends[key] != since + left:
                is_kept = instance.settings.on_failure == "resume"
                must += " while its machine is up" + ("" if is_kept else ", without interruption")
            yield Violation("duration", f"{what} {must}, got {row.end - since} (from {since} to {row.end}).")
        release = int(instance.releases[row.job])
        if started is not None:
            if row.start != started:
                yield Violation("clock", f"{what} is under way since {started}, got a start at {row.start}.")
        elif row.start < 0:
            yield Violation("negative start", f"{what} must start at 0 or later, got {row.start}.")
        elif row.start < motion.clock:
            yield Violation("clock", f"{what} starts at {row.start}, before the shop goes on at {motion.clock}.")
        elif row.start < release:
            yield Violation("release", f"{what} starts at {row.start}, before its job's release at {release}.")


def _downtime(
    instance: JobShop,
    motion: _Motion,
    down: Sequence[Intervals],
    placed: Placed,
    ends: Mapping[tuple[int, int], int],
) -> Iterator[Violation]:
    """Yield the moves onto a machine that is down and, where a job holds its machine until it moves, off one."""
    for (job, position), row in {**placed, **motion.blocked}.items():
        where = _machine(instance, row.machine)
        is_there = (job, position) in motion.blocked or (job, position) in motion.running
        if not is_there and (interval := _down_at(down, row.machine, row.start)):
            what = f"{_op(instance, row)} starts at {row.start} on {where}"
            yield Violation("downtime", f"{what}, which is {interval}.")
        after = placed.get((job, position + 1))
        if instance.settings.buffers == "unlimited" or after is None or after.machine == row.machine:
            continue
        # A job that starts before it is done breaks precedence, or the clock, which is reported there.
        if after.start >= ends.get((job, position), motion.clock) and (
            interval := _down_at(down, row.machine, after.start)
        ):
            what = f"job {instance.job_label(job)} leaves {where} at {after.start}"
            yield Violation("downtime", f"{what}, which is {interval}.")


def _sequence(
    instance: JobShop, placed: Placed, ends: Mapping[tuple[int, int], int], stays: Mapping[int, list[_Stay]]
) -> Iterator[Violation]:
    """Yield what is wrong with the order of operations, in a job, on a machine and, if that is right, at an instant."""
    is_right = True
    for violation in chain(_precedence(instance, placed, ends), _overlap(instance, stays)):
        is_right = False
        yield violation
    if is_right and instance.settings.buffers != "unlimited":
        yield from _swaps(instance, stays)


def _precedence(instance: JobShop, placed: Placed, ends: Mapping[tuple[int, int], int]) -> Iterator[Violation]:
    before: _Row | None = None  # the operation of the same job that comes before, of those that have a row
    for _, row in sorted(placed.items()):
        if before is not None and before.job == row.job:
            end = ends[before.job, before.position]
            if row.start < end:
                what = f"{_op(instance, row)} on {_machine(instance, row.machine)} starts at {row.start}"
                earlier = f"operation {before.position} on {_machine(instance, before.machine)}"
                yield Violation("precedence", f"{what}, before {earlier} ends at {end}.")
        before = row


def _overlap(instance: JobShop, stays: Mapping[int, list[_Stay]]) -> Iterator[Violation]:
    # Who is there first, then by start, and those of no length first: then a pair a, b is in order if and only if a
    # leaves by the start of b.
    by_machine = sorted(
        chain(*stays.values()), key=lambda stay: (stay.row.machine, not stay.is_there, stay.row.start, stay.leave)
    )
    last: _Stay | None = None  # of those so far on the machine, the one that leaves last
    for stay in by_machine:
        if last is None or last.row.machine != stay.row.machine:
            last = stay
            continue
        what = f"{_op(instance, stay.row)} on {_machine(instance, stay.row.machine)} starts at {stay.row.start}"
        if stay.row.start < last.leave and instance.settings.buffers == "unlimited":
            yield Violation("overlap", f"{what}, before {_op(instance, last.row)} ends at {last.leave}.")
        elif stay.row.start < last.leave:
            since = (
                f"there as the shop goes on at {instance.clock}" if last.is_there else f"there since {last.row.start}"
            )
            holder = f"job {instance.job_label(last.row.job)}, {since}, leaves it at {last.leave}"
            yield Violation("blocking", f"{what}, before {holder}.")
        if stay.leave > last.leave:
            last = stay


# The moves of one instant --------------------------------------------------------------------------------------------


def _swaps(instance: JobShop, stays: Mapping[int, list[_Stay]]) -> Iterator[Violation]:
    """Yield the instants whose moves cannot be put in any order."""
    paths: defaultdict[int, dict[int, list[int | None]]] = defaultdict(dict)  # by time and job: machines one by one
    for job, of_job in stays.items():
        for index, stay in enumerate(of_job):
            if not stay.is_there:
                came_from = of_job[index - 1].row.machine if index else None
                paths[stay.row.start].setdefault(job, [came_from]).append(stay.row.machine)
        paths[of_job[-1].leave].setdefault(job, [of_job[-1].row.machine]).append(None)
    for time, of_instant in sorted(paths.items()):
        if stuck := _stuck(of_instant, may_swap=instance.settings.buffers == "swap"):
            moves = [f"job {instance.job_label(job)} to {_machine(instance, to)}" for job, to in stuck.items()]
            more = f" and {len(moves) - 5} more" if len(moves) > 5 else ""
            yield Violation("swap", f"at {time} these moves wait for one another: {', '.join(moves[:5])}{more}.")


def _stuck(paths: Mapping[int, list[int | None]], may_swap: bool) -> dict[int, int]:
    """Play the moves of one instant; return by job the machines waited for in the end, empty if all can be entered.

    A machine that several jobs pass at this instant, some in no time, may be passed in several orders; all are tried.
    After `MAX_POSITIONS` positions the benefit of the doubt is given: it takes a crowd of operations without duration.

    Parameters
    ----------
    paths : job -> machines in turn, the first the one it comes from; None is outside
    may_swap : bool
    """
    first_stuck: dict[int, int] = {}
    seen: set[tuple[int, ...]] = set()
    jobs = list(paths)
    open_positions = [tuple(0 for _ in jobs)]
    while open_positions and len(seen) < MAX_POSITIONS:
        done = dict(zip(jobs, open_positions.pop(), strict=True))
        choices = _make_sure_moves(paths, done, may_swap)
        targets = _targets(paths, done)
        if not targets:
            return {}
        if not choices and not first_stuck:
            first_stuck = {job: machine for job, machine in targets.items() if machine is not None}
        for job in choices:
            position = tuple(done[other] + (other == job) for other in jobs)
            if position not in seen:
                seen.add(position)
                open_positions.append(position)
    return {} if open_positions else first_stuck


def _targets(paths: Mapping[int, list[int | None]], done: Mapping[int, int]) -> dict[int, int | None]:
    """Return by job where it goes next; jobs that have made all their moves are left out."""
    return {job: path[done[job] + 1] for job, path in paths.items() if done[job] + 1 < len(path)}


def _make_sure_moves(paths: Mapping[int, list[int | None]], done: dict[int, int], may_swap: bool) -> list[int]:
    """Advance `done` by all moves that can do no harm; return the jobs that could move then, but might be in the way.

    A move out of the shop, or onto a free machine that no other job is yet to visit, only frees a machine; and jobs in
    a cycle can do nothing but swap.
    """
    while True:
        holder = {machine: job for job, path in paths.items() if (machine := path[done[job]]) is not None}
        targets = _targets(paths, done)
        able = [job for job, machine in targets.items() if machine not in holder]
        visits = Counter(machine for job, path in paths.items() for machine in set(path[done[job] + 1 :]))
        sure = [job for job in able if targets[job] is None or visits[targets[job]] == 1]
        if may_swap and not sure:
            sure = _cycle({job: holder[machine] for job, machine in targets.items() if machine in holder})
        if not sure:
            return able
        for job in sure:
            done[job] += 1


def _cycle(behind: Mapping[int, int]) -> list[int]:
    """Return the jobs of a cycle in which each waits for the machine of the next, empty if there is none."""
    for first in behind:
        path = [first]
        while (following := behind.get(path[-1])) is not None and following not in path:
            path.append(following)
        if following == first:
            return path
    return []
