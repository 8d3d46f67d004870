"""Verification of a schedule against the statement of the job shop, from scratch: no kernel or model is trusted.

Times are Python integers here, so no number that a broken schedule may hold overflows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

from orl.problem import Report, Violation
from orl.scenario import Scenarios

from .instance import JobShop, Schedule

MAX_VIOLATIONS = 1000  # a wholly broken schedule needs no longer list


class _Row(NamedTuple):
    job: int
    position: int
    machine: int
    start: int
    end: int


def verify(instance: JobShop, scenario: Scenarios | None, schedule: Schedule) -> Report:
    """Recompute the makespan and list every broken rule, the first `MAX_VIOLATIONS` of them.

    Parameters
    ----------
    instance : JobShop
    scenario : Scenarios or None
        Not looked at: nothing is random in the classic job shop.
    schedule : Schedule
        However broken.

    Returns
    -------
    Report
        The cost is the latest end of an operation of the instance; None if the schedule has none. Kinds of violation:
        'shape', 'unknown', 'duplicate', 'missing', 'machine', 'duration', 'negative start', 'release', 'precedence'
        and 'overlap'. An operation's second row is reported and looked at no further. Precedence and overlap take an
        operation to last its true duration; a false end is a 'duration' of its own.
    """
    columns = {key: getattr(schedule, key) for key in _Row._fields}
    if any(column.ndim != 1 or len(column) != schedule.job.size for column in columns.values()):
        shapes = ", ".join(f"{key} {column.shape}" for key, column in columns.items())
        return Report(None, (Violation("shape", f"columns must be of one length, got {shapes}."),))
    rows = [_Row(*entries) for entries in zip(*(column.tolist() for column in columns.values()), strict=True)]
    known = [row for row in rows if _is_operation(instance, row)]
    placed: dict[tuple[int, int], _Row] = {}
    for row in known:
        placed.setdefault((row.job, row.position), row)
    violations = chain(
        _unknown(instance, rows),
        _duplicate(instance, known, placed),
        _missing(instance, placed),
        _operation(instance, placed.values()),
        _precedence(instance, placed),
        _overlap(instance, placed.values()),
    )
    cost = float(max(row.end for row in placed.values())) if placed else None
    return Report(cost, tuple(islice(violations, MAX_VIOLATIONS)))


def _is_operation(instance: JobShop, row: _Row) -> bool:
    return 0 <= row.job < instance.num_jobs and 0 <= row.position < len(instance.durations[row.job])


def _op(instance: JobShop, row: _Row) -> str:
    return f"operation {row.position} of job {instance.job_label(row.job)}"


def _machine(instance: JobShop, machine: int) -> str:
    """Name a machine, also one that does not exist."""
    return f"machine {instance.machine_label(machine) if 0 <= machine < instance.num_machines else machine}"


def _true_end(instance: JobShop, row: _Row) -> int:
    return row.start + instance.durations[row.job][row.position]


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


def _missing(instance: JobShop, placed: dict[tuple[int, int], _Row]) -> Iterator[Violation]:
    for job, route in enumerate(instance.machines):
        for position, machine in enumerate(route):
            if (job, position) not in placed:
                row = _Row(job, position, machine, 0, 0)
                yield Violation("missing", f"{_op(instance, row)} ({_machine(instance, machine)}) has no row.")


def _operation(instance: JobShop, placed: Iterable[_Row]) -> Iterator[Violation]:
    """Yield what is wrong with an operation by itself."""
    for row in placed:
        machine, duration = instance.machines[row.job][row.position], instance.durations[row.job][row.position]
        if row.machine != machine and 0 <= row.machine < instance.num_machines:
            must = f"must run on {_machine(instance, machine)}"
            yield Violation("machine", f"{_op(instance, row)} {must}, got {_machine(instance, row.machine)}.")
        what = f"{_op(instance, row)} on {_machine(instance, row.machine)}"
        if row.end - row.start != duration:
            took = f"got {row.end - row.start} (from {row.start} to {row.end})"
            yield Violation("duration", f"{what} must take {duration}, {took}.")
        release = int(instance.releases[row.job])
        if row.start < 0:
            yield Violation("negative start", f"{what} must start at 0 or later, got {row.start}.")
        elif row.start < release:
            yield Violation("release", f"{what} starts at {row.start}, before its job's release at {release}.")


def _precedence(instance: JobShop, placed: dict[tuple[int, int], _Row]) -> Iterator[Violation]:
    before: _Row | None = None  # the operation of the same job that comes before, of those that have a row
    for _, row in sorted(placed.items()):
        if before is not None and before.job == row.job and row.start < _true_end(instance, before):
            what = f"{_op(instance, row)} on {_machine(instance, row.machine)} starts at {row.start}"
            end = f"operation {before.position} on {_machine(instance, before.machine)}"
            yield Violation("precedence", f"{what}, before {end} ends at {_true_end(instance, before)}.")
        before = row


def _overlap(instance: JobShop, placed: Iterable[_Row]) -> Iterator[Violation]:
    # By start, and those of zero duration first: then a pair a, b is in order if and only if a ends by the start of b.
    rows = sorted(placed, key=lambda row: (row.machine, row.start, _true_end(instance, row)))
    last: _Row | None = None  # of those so far on the machine, the one that ends last
    for row in rows:
        if last is None or last.machine != row.machine:
            last = row
            continue
        if row.start < _true_end(instance, last):
            what = f"{_op(instance, row)} on {_machine(instance, row.machine)} starts at {row.start}"
            yield Violation("overlap", f"{what}, before {_op(instance, last)} ends at {_true_end(instance, last)}.")
        if _true_end(instance, row) > _true_end(instance, last):
            last = row
