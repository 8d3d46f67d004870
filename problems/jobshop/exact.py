"""The job shop as a disjunctive mixed-integer linear program over the alternative graph, in Pyomo.

Sets
    O       operations, numbered through job by job; o + 1 follows o in the same job. Of a shop in motion those that are
            not completed, and of each job the one completed last if the job is on its machine yet, or complete
    K       stays of jobs on machines, see `exact_stays`: with unlimited buffers the operations
    P       pairs {a, b}, a < b, of stays of different jobs on one machine
    J       jobs

Parameters
    d_o     duration of operation o; in a shop in motion the work that is left, 0 if it is completed
    U       upper bound: cost of a known schedule
    e_o, l_o   earliest and latest start in a schedule of cost <= U, see `exact_windows`
    D_j     deadline of job j in a schedule of cost <= U, likewise
    w_k     work of stay k
    r_k     head: e_o of the first operation of stay k
    q_k     tail: work of the job after stay k

Variables
    s_o     start, e_o <= s_o <= l_o; a stay is entered at In_k, the start of its first operation. In a shop in motion
            what has begun goes on at its clock, and what completed a job is at its completion: e_o = l_o
    y_ab    1 if a is before b, 0 if b is before a, for {a, b} in P; y_ba stands for 1 - y_ab
    C       cost, within the bounds that are known; whole, or with weights of few decimals a whole multiple of the cost
    u_i     place of move i in an order of the I moves, 0 <= u_i <= I - 1; only where `exact_stays` asks for it. Move k
            is the entry into stay k, and k' stands for the move that leaves it: k + 1, or the job's leaving the shop
    T_j     tardiness of job j, >= 0
    z_j     1 if job j is tardy

A job completes at End_j = s_o + d_o, o its last operation. A stay k is left at Out_k = s_o + d_o, o its last operation,
if buffers are unlimited or it is its job's last; else at In_{k+1}.

Minimise C subject to

    precedence     s_{o+1} >= s_o + d_o                                    o not the last of its job
    disjunction    In_b >= Out_a - M_ab (1 - y_ab)                         a, b in both orders, {a, b} in P
    moves          u_b >= u_a' + 1 - I (1 - y_ab)                          without 1 if there are swaps
                   u_k' >= u_k + 1                                         k in K with w_k = 0
    head cut       In_b >= r + sum(w_a y_ab : a on b's machine, r_a >= r)  b in K, r in {r_a : a on it, r_a <= r_b}
    objective      makespan               C >= End_j
                   flow-time              C = sum_j (End_j - release_j)
                   weighted-tardiness     C = sum_j weight_j T_j,  T_j >= End_j - due_j
                   max-lateness           C >= End_j - due_j
                   tardy-jobs             C = sum_j z_j,  End_j <= due_j + (D_j - due_j) z_j
    tail cut       C - In_b - w_b >= q + sum(w_a y_ba : a on b's machine, q_a >= q)     likewise; for the makespan

The disjunction is the one of Manne; where Out_a is In_{a+1} it is the alternative arc of Mascis and Pacciarelli. M_ab
is the least that the time windows allow. Where the windows rule out one order of a pair, y_ab is a constant; so it is
for two stays of one job, whose order the precedence gives. For stays of length 0 the disjunction means what `verify`
demands: at the border of another one, not inside it. `moves` excludes the cycles of moves at one time that cannot be
made, and nothing else, see `exact_stays`. The cuts say that the stays before b run one after another on b's machine,
none of them earlier than r: the half cuts of Applegate and Cook, those that follow from the order of the heads (tails)
alone. They hold whatever the buffers, for a stay is at least as long as its work.

Machines that go down are left to `cp-sat`: the end of an operation is then no linear function of its start.

References
----------
A. S. Manne (1960). On the job-shop scheduling problem. Operations Research 8(2). doi 10.1287/opre.8.2.219
D. Applegate, W. Cook (1991). A computational study of the job-shop scheduling problem. ORSA Journal on Computing 3(2).
doi 10.1287/ijoc.3.2.149
A. Mascis, D. Pacciarelli (2002). Job-shop scheduling with blocking and no-wait constraints. European Journal of
Operational Research 143(3). doi 10.1016/S0377-2217(01)00338-1
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from orl.errors import InputError, Stopped
from orl.problem import Model
from orl.scenario import Scenarios

from .exact_stays import Stays, stays_of
from .exact_windows import TimeWindows, schedule_of, starts_by_op, time_windows
from .instance import NO_DUE_DATE, JobShop, Schedule

MAX_SCALE = 10**6  # weights may have six decimals
MAX_STAYS_ALL_CUTS = 30  # cuts grow with the cube of a machine's stays; beyond, only those of the least r and q

CHUNK = 50  # operations whose cuts are built between two questions whether to stop


def build(
    instance: JobShop,
    scenarios: Scenarios | None = None,
    upper_bound: float | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Model:
    """Return the mixed-integer model of an instance.

    Parameters
    ----------
    instance : JobShop
        Without downtime; in motion or not.
    scenarios : Scenarios or None
        Not looked at: nothing is random without downtime.
    upper_bound : number or None
        Cost of a known schedule; the model has no worse ones. None: that of one job after another.
    should_stop : callable () -> bool, or None
        Asked from time to time as the model is built.

    Raises
    ------
    InputError
        If a machine may be down, or `upper_bound` is below a proven lower bound.
    Stopped
        If `should_stop` says so.
    """
    import pyomo.environ as pyo  # here, so that the CP-SAT model does not pay for it

    if instance.has_downtime:
        rule = "the model of solver exact knows no machines that go down (breakdowns, calendar); solver cp-sat does"
        raise InputError(f"{instance.name}: {rule}.")
    windows = time_windows(instance, scenarios, upper_bound)
    stays = stays_of(instance)
    pairs = stays.pairs()
    order = {pair: stays.order(windows, *pair) for pair in pairs}
    rivals = _rivals(stays, pairs)
    d = instance.work_left.tolist()
    last = instance.job_first[1:] - 1
    is_last = np.isin(np.arange(instance.num_ops), last)
    is_in = ~instance.is_done | is_last
    is_in[stays.first] = True

    m = pyo.ConcreteModel(instance.name)
    m.s = pyo.Var(
        np.flatnonzero(is_in).tolist(), bounds=lambda _, o: (int(windows.earliest[o]), int(windows.latest[o]))
    )
    m.y = pyo.Var([pair for pair in pairs if order[pair] is None], domain=pyo.Binary)

    def end(o: int) -> Any:
        return m.s[o] + d[o]

    def enter(k: int) -> Any:
        return m.s[stays.first[k]]

    def leave(k: int) -> Any:
        return end(stays.last[k]) if stays.leaves_at_end(k) else enter(k + 1)

    def y(a: int, b: int) -> Any:
        if a > b:
            return 1 - y(b, a)
        return m.y[a, b] if order[a, b] is None else order[a, b]

    def disjunction(_: Any, a: int, b: int) -> Any:
        latest_leave = windows.latest[stays.last[a]] + d[stays.last[a]]
        if not stays.leaves_at_end(a):
            latest_leave = windows.latest[stays.first[a + 1]]
        big_m = int(latest_leave - windows.earliest[stays.first[b]])
        return enter(b) >= leave(a) - big_m * (1 - y(a, b))

    both = pairs + [(b, a) for a, b in pairs]
    possible = [(a, b) for a, b in both if not (isinstance(y(a, b), int) and y(a, b) == 0)]
    between_jobs = [(a, b) for a, b in possible if stays.job[a] != stays.job[b]]
    not_last = np.flatnonzero(is_in & ~is_last).tolist()
    m.precedence = pyo.Constraint(not_last, rule=lambda _, o: m.s[o + 1] >= end(o))
    m.disjunction = pyo.Constraint(between_jobs, rule=disjunction)
    if stays.has_move_order:
        big_m = len(stays.moves)
        gap = 0 if stays.has_swaps else 1
        arcs = [(a, b) for a, b in possible if stays.is_arc(a, b)]
        m.u = pyo.Var(stays.moves, bounds=(0, big_m - 1))
        m.moves = pyo.Constraint(
            arcs, rule=lambda _, a, b: m.u[b] >= m.u[stays.leaving(a)] + gap - big_m * (1 - y(a, b))
        )
        m.passing = pyo.Constraint(stays.passing, rule=lambda _, k: m.u[stays.leaving(k)] >= m.u[k] + 1)
    _add_objective(m, instance, windows, [end(o) for o in last.tolist()])

    head = windows.earliest[stays.first].tolist()
    tail = instance.tails[stays.last].tolist()

    def head_cut(_: Any, b: int, level: int) -> Any:
        return enter(b) >= level + pyo.quicksum(stays.work[a] * y(a, b) for a in rivals[b] if head[a] >= level)

    def tail_cut(_: Any, b: int, level: int) -> Any:
        after = pyo.quicksum(stays.work[a] * y(b, a) for a in rivals[b] if tail[a] >= level)
        return m.C - enter(b) - stays.work[b] >= level + after

    stays_listed = list(rivals)
    chunks = [stays_listed[i : i + CHUNK] for i in range(0, len(stays_listed), CHUNK)]
    m.cuts = pyo.Block(range(len(chunks)))
    for chunk, cuts in zip(chunks, m.cuts.values(), strict=True):
        if should_stop is not None and should_stop():
            raise Stopped
        here = {b: rivals[b] for b in chunk}
        cuts.head = pyo.Constraint(_levels(head, here), rule=head_cut)
        if instance.settings.objective == "makespan":
            cuts.tail = pyo.Constraint(_levels(tail, here), rule=tail_cut)

    def read(value: Callable[[Any], float]) -> Schedule:
        decided = {pair: order[pair] if pair not in m.y else round(value(m.y[pair])) for pair in pairs}
        return left_shifted(instance, windows, stays, [(a, b) if decided[a, b] else (b, a) for a, b in pairs])

    def start_values(schedule: Schedule) -> Iterator[tuple[Any, float]]:
        starts = starts_by_op(instance, windows, schedule)
        finished = starts + instance.work_left
        is_before = {pair: stays.is_before(*pair, starts, finished) for pair in pairs}
        completions = finished[last]
        yield m.C, instance.cost(completions) * (cost_scale(instance) or 1)
        yield from ((m.s[o], float(starts[o])) for o in m.s)
        yield from ((m.y[pair], float(is_before[pair])) for pair in m.y)
        late = np.maximum(completions - instance.due_dates, 0)
        if instance.settings.objective == "weighted-tardiness":
            yield from ((m.T[j], float(late[j])) for j in m.T)
        if instance.settings.objective == "tardy-jobs":
            yield from ((m.z[j], float(late[j] > 0)) for j in m.z)

    return Model(m, read, start_values)


def _add_objective(m: Any, instance: JobShop, windows: TimeWindows, ends: list[Any]) -> None:
    """Add the cost C of the completions `ends`, one expression a job."""
    import pyomo.environ as pyo

    objective, due = instance.settings.objective, instance.due_dates.tolist()
    dated = [j for j in range(instance.num_jobs) if due[j] != NO_DUE_DATE]
    scale = cost_scale(instance)
    factor = scale or 1
    if scale is None:
        m.C = pyo.Var(bounds=(windows.lower, windows.upper))
    else:
        bounds = math.ceil(windows.lower * scale - 1e-6), math.floor(windows.upper * scale + 1e-6)
        m.C = pyo.Var(bounds=bounds, domain=pyo.Integers)
    m.cost = pyo.Objective(expr=m.C / factor)
    match objective:
        case "makespan":
            m.makespan = pyo.Constraint(range(instance.num_jobs), rule=lambda _, j: ends[j] <= m.C)
        case "flow-time":
            m.flow_time = pyo.Constraint(expr=sum(ends) - int(instance.releases.sum()) == m.C)
        case "max-lateness":
            m.lateness = pyo.Constraint(dated, rule=lambda _, j: ends[j] - due[j] <= m.C)
        case "weighted-tardiness":
            m.T = pyo.Var(dated, domain=pyo.NonNegativeReals)
            m.tardiness = pyo.Constraint(dated, rule=lambda _, j: m.T[j] >= ends[j] - due[j])
            weight = instance.weights if scale is None else np.rint(instance.weights * scale)
            m.total = pyo.Constraint(expr=pyo.quicksum(float(weight[j]) * m.T[j] for j in dated) == m.C)
        case "tardy-jobs":
            m.z = pyo.Var(dated, domain=pyo.Binary)
            longest = {j: max(0, int(windows.deadline[j]) - due[j]) for j in dated}
            m.tardy = pyo.Constraint(dated, rule=lambda _, j: ends[j] <= due[j] + longest[j] * m.z[j])
            m.total = pyo.Constraint(expr=pyo.quicksum(m.z[j] for j in dated) == m.C)


def left_shifted(instance: JobShop, windows: TimeWindows, stays: Stays, ordered: list[tuple[int, int]]) -> Schedule:
    """Return the schedule in which operations start as early as an order of the stays allows: the longest paths.

    So no noise of the solver in starts gets into the schedule.

    Parameters
    ----------
    ordered : list of (a, b)
        a is before b; every pair on one machine.
    """
    ops = [o for o in np.flatnonzero(~instance.is_done).tolist() if o + 1 not in instance.job_first]
    tails = ops + [stays.last[a] if stays.leaves_at_end(a) else stays.first[a + 1] for a, _ in ordered]
    heads = [o + 1 for o in ops] + [stays.first[b] for _, b in ordered]
    length = instance.work_left[tails]
    for arc, (a, _) in enumerate(ordered, start=len(ops)):
        length[arc] *= stays.leaves_at_end(a)
    starts = windows.earliest.copy()
    for _ in range(instance.num_ops + 1):
        before = starts.copy()
        np.maximum.at(starts, heads, before[tails] + length)
        if (starts == before).all():
            return schedule_of(instance, starts, starts + instance.work_left)
    raise RuntimeError(f"{instance.name}: the orders of the model contradict one another.")


def cost_scale(instance: JobShop) -> int | None:
    """Return the least factor that makes all costs whole; None if weights have more than six decimals."""
    if instance.settings.objective != "weighted-tardiness":
        return 1
    # The decimals that were written, not the floats next to them.
    scale = math.lcm(*(Fraction(repr(weight)).denominator for weight in instance.weights.tolist()))
    return scale if MAX_SCALE % scale == 0 else None


def _rivals(stays: Stays, pairs: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """Return the other stays on each stay's machine."""
    rivals: dict[int, list[int]] = {k: [] for k in range(len(stays.first))}
    for a, b in pairs:
        rivals[a].append(b)
        rivals[b].append(a)
    return rivals


def _levels(heads: list[int], rivals: dict[int, list[int]]) -> list[tuple[int, int]]:
    """Return stay and level of each cut: the heads (or tails) on the stay's machine up to its own."""
    pairs = []
    for k, others in rivals.items():
        levels = sorted({heads[k], *(heads[a] for a in others if heads[a] < heads[k])})
        pairs += [(k, level) for level in (levels if len(others) < MAX_STAYS_ALL_CUTS else levels[:1])]
    return pairs
