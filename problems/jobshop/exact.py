"""The job shop as a disjunctive mixed-integer linear program, in Pyomo.

Sets
    O       operations, numbered through job by job; o + 1 follows o in the same job
    O_m     operations on machine m
    P       pairs {a, b}, a < b, of operations of different jobs on one machine

Parameters
    d_o     duration of operation o
    r_o     head: release of the job plus the work of the job before o
    q_o     tail: work of the job after o
    U       upper bound: cost of a known schedule
    e_o     earliest start, e_o = r_o
    l_o     latest start in a schedule of makespan <= U, l_o = U - q_o - d_o

Variables
    s_o     start, e_o <= s_o <= l_o
    y_ab    1 if a is before b, 0 if b is before a, for {a, b} in P; y_ba stands for 1 - y_ab
    C       makespan; whole, as all data are, and within the bounds that heads, tails and loads give

Minimise C subject to

    precedence     s_{o+1} >= s_o + d_o                                  o not the last of its job
    makespan       C >= s_o + d_o                                        o the last of its job
    disjunction    s_b >= s_a + d_a - (l_a + d_a - e_b) (1 - y_ab)       a, b in both orders, {a, b} in P
    head cut       s_b >= r + sum(d_a y_ab : a in O_m \\ b, r_a >= r)     b in O_m, r in {r_a : a in O_m, r_a <= r_b}
    tail cut       C - s_b - d_b >= q + sum(d_a y_ba : a in O_m \\ b, q_a >= q)    likewise, with tails for heads

The disjunction is the one of Manne, with the least big-M that the time windows allow. Where the windows rule out one
order of a pair, y_ab is a constant; so it is for two operations of one job that visits a machine twice, whose order
the precedence gives. The cuts say that the operations before b run one after another on b's machine, none of them
earlier than r: the half cuts of Applegate and Cook, those that follow from the order of the heads (tails) alone.
For operations of duration 0 the disjunction means what `verify` demands: at the border of another operation on the
machine, not inside it.

References
----------
A. S. Manne (1960). On the job-shop scheduling problem. Operations Research 8(2). doi 10.1287/opre.8.2.219
D. Applegate, W. Cook (1991). A computational study of the job-shop scheduling problem. ORSA Journal on Computing 3(2).
doi 10.1287/ijoc.3.2.149
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from orl.errors import InputError, Stopped
from orl.problem import Model
from orl.scenario import Scenarios

from .instance import JobShop, Schedule

MAX_OPS_ALL_CUTS = 30  # cuts grow with the cube of a machine's operations; beyond, only those of the least r and q


class TimeWindows(NamedTuple):
    """When operations can start in a schedule of makespan <= upper: arrays (num_ops,), in time units."""

    earliest: np.ndarray
    latest: np.ndarray
    upper: int


def time_windows(instance: JobShop, start: Any, horizon: Any, upper_bound: float | None) -> TimeWindows:
    """Return the windows that heads and tails leave; see `build` for parameters and errors."""
    if start is not None or horizon is not None:
        raise InputError(f"{instance.name}: the models of the job shop know no rolling horizon, got start or horizon.")
    if upper_bound is None:
        upper = int(instance.op_duration.sum() + instance.releases.max())
    else:
        upper = math.floor(upper_bound + 1e-6)
    if upper < instance.makespan_bound():
        rule = f"upper_bound must be >= {instance.makespan_bound()}, which no schedule falls below"
        raise InputError(f"{instance.name}: {rule}, got {upper_bound}.")
    return TimeWindows(instance.heads, upper - instance.remaining_work, upper)


def build(
    instance: JobShop,
    scenarios: Scenarios | None = None,
    start: Any = None,
    horizon: Any = None,
    upper_bound: float | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Model:
    """Return the mixed-integer model of an instance.

    Parameters
    ----------
    instance : JobShop
    scenarios : Scenarios or None
        Not looked at: nothing is random in the classic job shop.
    start, horizon : None
        There is no rolling horizon.
    upper_bound : number or None
        Makespan of a known schedule, in time units; the model has no worse ones. None: all durations one after another.

    should_stop : callable () -> bool, or None
        Asked machine by machine as the model is built.

    Raises
    ------
    InputError
        If `start` or `horizon` is given, or `upper_bound` is below a proven lower bound.
    Stopped
        If `should_stop` says so.
    """
    import pyomo.environ as pyo  # here, so that the CP-SAT model does not pay for it

    earliest, latest, upper = time_windows(instance, start, horizon, upper_bound)
    rivals = _rivals(instance)
    order = {(a, b): _order(instance, earliest, latest, a, b) for b in rivals for a in rivals[b]}
    r, q, d = instance.heads.tolist(), instance.tails.tolist(), instance.op_duration.tolist()

    m = pyo.ConcreteModel(instance.name)
    m.s = pyo.Var(range(instance.num_ops), bounds=lambda _, o: (int(earliest[o]), int(latest[o])))
    m.y = pyo.Var([(a, b) for a, b in order if a < b and order[a, b] is None], domain=pyo.Binary)
    m.C = pyo.Var(bounds=(instance.makespan_bound(), upper), domain=pyo.Integers)
    m.cost = pyo.Objective(expr=m.C)

    def y(a: int, b: int) -> Any:
        if order[a, b] is not None:
            return order[a, b]
        return m.y[a, b] if a < b else 1 - m.y[b, a]

    def precedence(_: Any, o: int) -> Any:
        is_last = o + 1 in instance.job_first
        return (m.C if is_last else m.s[o + 1]) >= m.s[o] + d[o]

    def disjunction(_: Any, a: int, b: int) -> Any:
        big_m = int(latest[a] + d[a] - earliest[b])
        return m.s[b] >= m.s[a] + d[a] - big_m * (1 - y(a, b))

    def head_cut(_: Any, b: int, head: int) -> Any:
        return m.s[b] >= head + pyo.quicksum(d[a] * y(a, b) for a in rivals[b] if r[a] >= head)

    def tail_cut(_: Any, b: int, tail: int) -> Any:
        return m.C - m.s[b] - d[b] >= tail + pyo.quicksum(d[a] * y(b, a) for a in rivals[b] if q[a] >= tail)

    m.precedence = pyo.Constraint(range(instance.num_ops), rule=precedence)
    m.machine = pyo.Block(range(instance.num_machines))
    for machine in range(instance.num_machines):
        if should_stop is not None and should_stop():
            raise Stopped
        here = {b: rivals[b] for b in np.flatnonzero(instance.op_machine == machine).tolist()}
        possible = [
            (a, b) for b in here for a in here[b] if order[a, b] != 0 and instance.op_job[a] != instance.op_job[b]
        ]
        m.machine[machine].disjunction = pyo.Constraint(possible, rule=disjunction)
        m.machine[machine].head_cut = pyo.Constraint(_levels(r, here), rule=head_cut)
        m.machine[machine].tail_cut = pyo.Constraint(_levels(q, here), rule=tail_cut)

    def read(value: Callable[[Any], float]) -> Schedule:
        return left_shifted(instance, np.array([value(m.s[o]) for o in range(instance.num_ops)]))

    def start_values(schedule: Schedule) -> Iterator[tuple[Any, float]]:
        starts = starts_by_op(instance, schedule).tolist()
        yield m.C, schedule.makespan
        yield from ((m.s[o], starts[o]) for o in m.s)
        yield from ((m.y[a, b], float(starts[a] + d[a] <= starts[b])) for a, b in m.y)

    return Model(m, read, start_values)


def left_shifted(instance: JobShop, starts: np.ndarray) -> Schedule:
    """Return the semi-active schedule with the order of `starts`, (num_ops,), floats up to noise.

    Operations that do not overlap and last 1 or more have midpoints 1/2 or more apart, so midpoints give the order of
    each machine safely where starts, beside operations of duration 0, do not. No operation starts later than it did.
    """
    middle = starts + instance.op_duration / 2
    for first, end in zip(instance.job_first[:-1], instance.job_first[1:], strict=True):
        middle[first:end] = np.maximum.accumulate(middle[first:end])
    shifted = np.zeros(instance.num_ops, dtype=np.int64)
    job_ready, machine_ready = instance.releases.copy(), np.zeros(instance.num_machines, dtype=np.int64)
    for o in np.argsort(middle, kind="stable"):
        job, machine = instance.op_job[o], instance.op_machine[o]
        shifted[o] = max(job_ready[job], machine_ready[machine])
        job_ready[job] = machine_ready[machine] = shifted[o] + instance.op_duration[o]
    return Schedule.from_starts(instance, shifted)


def starts_by_op(instance: JobShop, schedule: Schedule) -> np.ndarray:
    """Return the starts of a schedule by operation, (num_ops,)."""
    starts = np.empty(instance.num_ops, dtype=np.int64)
    starts[instance.job_first[schedule.job] + schedule.position] = schedule.start
    return starts


def _rivals(instance: JobShop) -> dict[int, list[int]]:
    """Return the other operations on each operation's machine."""
    on_machine = [np.flatnonzero(instance.op_machine == machine).tolist() for machine in range(instance.num_machines)]
    return {o: [a for a in ops if a != o] for ops in on_machine for o in ops}


def _order(instance: JobShop, earliest: np.ndarray, latest: np.ndarray, a: int, b: int) -> int | None:
    """Return 1 if a must be before b on their machine, 0 if b before a, None if that is to be decided."""
    if instance.op_job[a] == instance.op_job[b]:
        return int(a < b)
    if earliest[b] + instance.op_duration[b] > latest[a]:
        return 1
    return 0 if earliest[a] + instance.op_duration[a] > latest[b] else None


def _levels(heads: list[int], rivals: dict[int, list[int]]) -> list[tuple[int, int]]:
    """Return operation and level of each cut: the heads (or tails) on the operation's machine up to its own."""
    pairs = []
    for o, others in rivals.items():
        levels = sorted({heads[o], *(heads[a] for a in others if heads[a] < heads[o])})
        pairs += [(o, level) for level in (levels if len(others) < MAX_OPS_ALL_CUTS else levels[:1])]
    return pairs
