"""The job shop as a constraint program, for CP-SAT of OR-Tools: all buffers, all objectives, machines that go down.

Sets, parameters, windows, In_k and Out_k are those of the mixed-integer model in `exact`, stays those of `exact_stays`,
and E_m(s, d), the end of work on a machine that goes down, is that of `exact_windows`. In a shop in motion s_o and c_o
are constants where o has begun.

Variables
    s_o     start of operation o, e_o <= s_o <= l_o, when the machine is up (blocking: and the machine that is left)
    c_o     its end
    p_oi    1 if s_o lies in piece i of the domain of E_m(., d_o); only if there are several
    C       cost
    u_i     place of move i in an order of moves, in blocking shops where `exact_stays` asks for it
    y_ab    1 if stay a is before stay b on their machine, in blocking shops

Minimise C subject to

    end            c_o = E_m(s_o, d_o): s_o + d_o without downtime; else, with exactly one p_oi = 1,
                   p_oi = 1  =>  s_o in piece i,  c_o = s_o + d_o + delay_oi  or  c_o = end_oi
    precedence     s_{o+1} >= c_o                              o not the last of its job
    machines       the intervals [In_k, Out_k) on a machine do not overlap
    order          y_ab = 1  =>  In_b >= Out_a                 in blocking shops
    moves          y_ab = 1  =>  u of entering b >= u of leaving a + 1      + 0 with swaps; as in `exact`
    objective      as in `exact`

An interval of length 0 may touch others on its machine but not lie inside one: CP-SAT's no-overlap means by it what
`verify` does. `order` follows from `machines`, but where the length of a stay is a variable, CP-SAT proves hardly
anything without: with swaps la05 takes 2 s instead of more than a minute.

With unlimited buffers an operation that an interruption makes begin anew may as well begin there at once: the machine
is free until then, and no other machine is held. So with `restart` the domain of s_o keeps only the starts from which
the operation fits, E_m is s + d, and no p is needed.

CP-SAT counts in integers: with weights of few decimals it minimises a whole multiple of C; others are refused.

References
----------
P. Laborie, J. Rogerie, P. Shaw, P. Vilim (2018). IBM ILOG CP optimizer for scheduling. Constraints 23.
doi 10.1007/s10601-018-9281-x: intervals and no-overlap as modelling concepts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from ortools.sat.python import cp_model

from orl.errors import InputError
from orl.problem import Model
from orl.scenario import Scenarios

from .exact import cost_scale
from .exact_stays import Stays, stays_of
from .exact_windows import Piece, TimeWindows, ends, schedule_of, starts_by_op, time_windows
from .instance import NO_DUE_DATE, JobShop, Schedule

MAX_COST = 2**53  # beyond, the float that CP-SAT reports of a scaled cost is not exact


class _Times(NamedTuple):
    """Starts and ends of the operations of a schedule, (num_ops,)."""

    start: np.ndarray
    end: np.ndarray


Hints = list[tuple[Any, Any]]  # a variable, and a function (_Times) -> its number in a schedule


def build(
    instance: JobShop,
    scenarios: Scenarios | None = None,
    upper_bound: float | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Model:
    """Return the constraint program of an instance in hindsight of a scenario.

    Parameters
    ----------
    instance : JobShop
        In motion or not.
    scenarios : Scenarios or None
        One row; when machines are down. None: as the calendar says.
    upper_bound
        As of `exact.build`.
    should_stop : callable or None
        Not asked: the program of a blocking 100x20 shop is built in about 2 s, others faster.

    Raises
    ------
    InputError
        As `exact.build`; or if weights have too many decimals, there are several scenarios, or machines are hardly
        ever up.
    """
    windows = time_windows(instance, scenarios, upper_bound)
    stays = stays_of(instance)
    program = cp_model.CpModel()
    hints: Hints = []
    s, c, length = _add_times(program, instance, windows, hints)
    enter = [s[o] for o in stays.first]
    leave = [c[o] if stays.leaves_at_end(k) else enter[k + 1] for k, o in enumerate(stays.last)]
    _add_machines(program, instance, windows, stays, enter, leave, length, hints)
    if stays.is_blocking:
        order = _add_order(program, stays, windows, enter, leave, hints)
        if stays.has_move_order:
            _add_move_order(program, stays, order)
    _add_objective(program, instance, windows, [c[o] for o in instance.job_first[1:] - 1], hints)
    begins_late = instance.settings.on_failure == "restart" and not stays.is_blocking

    def read(value: Callable[[Any], float]) -> Schedule:
        starts = windows.earliest.copy()
        to_begin = np.flatnonzero(~windows.is_fixed)
        starts[to_begin] = [round(value(s[o])) for o in to_begin]
        return schedule_of(instance, starts, ends(instance, windows, starts))

    def start_values(schedule: Schedule) -> Iterator[tuple[Any, float]]:
        starts = starts_by_op(instance, windows, schedule)
        finished = ends(instance, windows, starts)
        latest = np.where(windows.is_fixed, starts, finished - instance.op_duration)
        times = _Times(latest if begins_late else starts, finished)
        yield from ((variable, number(times)) for variable, number in hints)

    return Model(program, read, start_values)


def _add_times(
    program: cp_model.CpModel, instance: JobShop, windows: TimeWindows, hints: Hints
) -> tuple[list[Any], list[Any], list[int | None]]:
    """Add times of the operations, one after another in a job; return starts, ends and what lengths are fixed."""
    s: list[Any] = []
    c: list[Any] = []
    length: list[int | None] = []
    for o, duration in enumerate(instance.op_duration.tolist()):
        if windows.is_fixed[o]:
            begin, end = int(windows.earliest[o]), int(windows.earliest_end[o])
            s.append(program.new_constant(begin))
            c.append(program.new_constant(end))
            length.append(end - begin)
            continue
        pieces = _pieces(instance, windows, o)
        domain = cp_model.Domain.from_intervals([[piece.low, piece.high] for piece in pieces])
        is_first = o in instance.job_first
        if not is_first and instance.settings.buffers != "unlimited":
            left = windows.up_times[instance.op_machine[o - 1]]
            gaps = left.gaps(int(windows.earliest[o]), int(windows.latest[o]))
            domain = domain.intersection_with(cp_model.Domain.from_intervals([list(gap) for gap in gaps]))
        if domain.is_empty():
            raise InputError(f"{instance.name}: no schedule costs at most upper_bound = {windows.upper:g}.")
        s.append(program.new_int_var_from_domain(domain, f"s{o}"))
        hints.append((s[o], lambda times, o=o: int(times.start[o])))
        if len({(piece.delay, piece.end) for piece in pieces}) == 1 and pieces[0].end is None:
            length.append(duration + pieces[0].delay)
            c.append(s[o] + length[o])
        else:
            length.append(None)
            deadline = int(windows.deadline[instance.op_job[o]])
            c.append(program.new_int_var(int(windows.earliest_end[o]), deadline, f"c{o}"))
            hints.append((c[o], lambda times, o=o: int(times.end[o])))
            _add_pieces(program, s[o], c[o], o, duration, pieces, hints)
        if not is_first:
            program.add(s[o] >= c[o - 1])
    return s, c, length


def _pieces(instance: JobShop, windows: TimeWindows, o: int) -> list[Piece]:
    """Return the pieces of the end of operation o as a function of its start."""
    up_time = windows.up_times[instance.op_machine[o]]
    window = int(windows.earliest[o]), int(windows.latest[o])
    pieces = list(up_time.pieces(*window, int(instance.op_duration[o])))
    if instance.settings.on_failure == "restart" and instance.settings.buffers == "unlimited":
        return [piece for piece in pieces if piece.end is None]
    return pieces


def _add_pieces(
    program: cp_model.CpModel, s: Any, c: Any, o: int, duration: int, pieces: list[Piece], hints: Hints
) -> None:
    """Tie the end of operation o to its start."""
    choices = []
    for i, piece in enumerate(pieces):
        is_in = program.new_bool_var(f"p{o}_{i}")
        program.add_linear_constraint(s, piece.low, piece.high).only_enforce_if(is_in)
        program.add(c == (s + duration + piece.delay if piece.end is None else piece.end)).only_enforce_if(is_in)
        choices.append(is_in)
        hints.append((is_in, lambda times, piece=piece: int(piece.low <= times.start[o] <= piece.high)))
    program.add_exactly_one(choices)


def _add_machines(
    program: cp_model.CpModel,
    instance: JobShop,
    windows: TimeWindows,
    stays: Stays,
    enter: list[Any],
    leave: list[Any],
    length: list[int | None],
    hints: Hints,
) -> None:
    """Keep the stays on each machine from overlapping."""
    intervals: list[list[Any]] = [[] for _ in range(instance.num_machines)]
    for k, machine in enumerate(stays.machine):
        size: Any = length[stays.last[k]]
        if size is None or stays.first[k] != stays.last[k] or not stays.leaves_at_end(k):
            longest = int(windows.deadline[stays.job[k]] - windows.earliest[stays.first[k]])
            size = program.new_int_var(stays.work[k], longest, f"h{k}")
            hints.append((size, lambda times, k=k: stays.leave(k, *times) - int(times.start[stays.first[k]])))
        intervals[machine].append(program.new_interval_var(enter[k], size, leave[k], f"i{k}"))
    for on_machine in intervals:
        program.add_no_overlap(on_machine)


def _add_order(
    program: cp_model.CpModel, stays: Stays, windows: TimeWindows, enter: list[Any], leave: list[Any], hints: Hints
) -> dict[tuple[int, int], Any]:
    """Add the order of each pair of stays on a machine; return (a, b), a < b -> literal."""
    order: dict[tuple[int, int], Any] = {}
    for a, b in stays.pairs():
        fixed = stays.order(windows, a, b)
        y = program.new_bool_var(f"y{a}_{b}") if fixed is None else program.new_constant(fixed)
        if fixed is None:
            hints.append((y, lambda times, a=a, b=b: int(stays.is_before(a, b, *times))))
        program.add(enter[b] >= leave[a]).only_enforce_if(y)
        program.add(enter[a] >= leave[b]).only_enforce_if(~y)
        order[a, b] = y
    return order


def _add_move_order(program: cp_model.CpModel, stays: Stays, order: dict[tuple[int, int], Any]) -> None:
    """Ask for an order of the moves, also of those at one time; CP-SAT completes a hint without it."""
    u = [program.new_int_var(0, len(stays.moves) - 1, f"u{move}") for move in stays.moves]
    gap = 0 if stays.has_swaps else 1
    for (a, b), y in order.items():
        for before, after, literal in ((a, b, y), (b, a, ~y)):
            if stays.is_arc(before, after):
                program.add(u[after] >= u[stays.leaving(before)] + gap).only_enforce_if(literal)
    for k in stays.passing:
        program.add(u[stays.leaving(k)] >= u[k] + 1)


def _add_objective(
    program: cp_model.CpModel, instance: JobShop, windows: TimeWindows, ends: list[Any], hints: Hints
) -> None:
    """Minimise the cost of the completions `ends`, one expression a job."""
    objective, due = instance.settings.objective, instance.due_dates.tolist()
    dated = [j for j in range(instance.num_jobs) if due[j] != NO_DUE_DATE]
    done = (instance.job_first[1:] - 1).tolist()
    scale = cost_scale(instance)
    if scale is None:
        rule = "weights must be decimals of at most 6 digits behind the point for CP-SAT, which counts in integers"
        raise InputError(f"{instance.name}: {rule}, got {', '.join(map(repr, instance.weights.tolist()[:5]))}.")
    lower, upper = math.ceil(windows.lower * scale - 1e-6), math.floor(windows.upper * scale + 1e-6)
    if upper > MAX_COST:
        raise InputError(
            f"{instance.name}: costs must be below 2**53 for CP-SAT, weights made whole; got up to {upper}."
        )
    cost = program.new_int_var(lower, upper, "C")
    hints.append((cost, lambda times: round(instance.cost(times.end[done]) * scale)))
    match objective:
        case "makespan":
            for end in ends:
                program.add(cost >= end)
        case "flow-time":
            program.add(cost == sum(ends) - int(instance.releases.sum()))
        case "max-lateness":
            for j in dated:
                program.add(cost >= ends[j] - due[j])
        case "weighted-tardiness":
            late = {j: program.new_int_var(0, max(0, int(windows.deadline[j]) - due[j]), f"T{j}") for j in dated}
            for j in dated:
                program.add(late[j] >= ends[j] - due[j])
                hints.append((late[j], lambda times, j=j: max(0, int(times.end[done[j]]) - due[j])))
            weight = np.rint(instance.weights * scale).astype(int).tolist()
            program.add(cost == sum(weight[j] * late[j] for j in dated))
        case "tardy-jobs":
            is_late = {j: program.new_bool_var(f"z{j}") for j in dated}
            for j in dated:
                program.add(ends[j] <= due[j]).only_enforce_if(~is_late[j])
                hints.append((is_late[j], lambda times, j=j: int(times.end[done[j]] > due[j])))
            program.add(cost == sum(is_late.values()))
    program.minimize(cost)
    program.proto.objective.scaling_factor = 1 / scale
