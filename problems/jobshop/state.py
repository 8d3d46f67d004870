"""A shop in motion: where jobs and machines are at a time. From there a shop can be simulated, planned and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orl.arrays import whole_numbers
from orl.errors import InputError
from orl.files import parse_json, read_text
from orl.params import nearest

from .kernels_codes import RUNNING

if TYPE_CHECKING:
    from orl.process import Observation

    from .instance import JobShop, Schedule


@dataclass(frozen=True, eq=False)
class ShopState:
    """Where jobs and machines are at a time; times in time units, -1 where there is none.

    Where a job is follows from its operations: one that is in an operation is on that operation's machine; in a
    blocking shop, any other that has begun holds the machine of its last operation. A machine that is down for a time
    that is known has it in the instance's calendar.

    Parameters
    ----------
    clock : int >= 0
    ops_done : sequence of int, (num_jobs,)
        Operations completed.
    work_left : sequence of int, (num_jobs,)
        Of the operation that a job is in, >= 1; 0: it is in none.
    started : sequence of int, (num_jobs,)
        When that operation started, <= clock; -1: as if it had not been interrupted.
    ready_at : sequence of int, (num_jobs,)
        When the job became ready for its next operation, or complete; -1: at the clock. A job that has not begun
        becomes ready at its release, whatever this says.
    down_since : sequence of int, (num_machines,)
        When a machine that is down failed; -1: it is up.
    history : Schedule or None
        Rows of the operations completed, one each, for pictures and tables.
    """

    clock: int
    ops_done: np.ndarray
    work_left: np.ndarray
    started: np.ndarray
    ready_at: np.ndarray
    down_since: np.ndarray
    history: Schedule | None = None

    def __post_init__(self) -> None:
        for key in _ARRAYS:
            object.__setattr__(self, key, whole_numbers(f"state: {key}", getattr(self, key)))


_ARRAYS = ("ops_done", "work_left", "started", "ready_at", "down_since")


def checked_state(shop: JobShop, state: ShopState) -> ShopState:
    """Return a state with what follows from the shop filled in.

    Raises
    ------
    InputError
        If the shop cannot be in this state; names field, rule, value and place.
    """
    clock, done, left = int(state.clock), state.ops_done, state.work_left
    sizes = dict.fromkeys(_ARRAYS, shop.num_jobs) | {"down_since": shop.num_machines}
    for key, size in sizes.items():
        if getattr(state, key).shape != (size,):
            raise _error(shop, f"{key} must have {size} entries, got {getattr(state, key).shape}.")
    if not 0 <= clock < 2**40:
        raise _error(shop, f"clock must be >= 0 and below 2**40, got {clock}.")
    if shop.settings.dispatch == "active":
        raise _error(shop, "a shop in motion is for dispatch=non-delay.")
    lengths = np.diff(shop.job_first)
    if (bad := np.flatnonzero((done < 0) | (done > lengths))).size:
        job = int(bad[0])
        raise _error(shop, f"ops_done must be in 0..{lengths[job]}, got {done[job]} at {_job(shop, job)}.")
    if (done == lengths).all():
        raise _error(shop, "all jobs are complete; there is nothing left to decide.")
    op = np.minimum(shop.job_first[:-1] + done, shop.job_first[1:] - 1)
    durations = np.where(done < lengths, shop.op_duration[op], 0)
    if (bad := np.flatnonzero((left < 0) | (left > durations))).size:
        job = int(bad[0])
        rule = f"work_left must be in 0..{durations[job]}, the duration of the job's next operation"
        raise _error(shop, f"{rule}, got {left[job]} at {_job(shop, job)}.")
    begins_early = ((done > 0) | (left > 0)) & (shop.releases > clock)
    if begins_early.any():
        raise _error(shop, f"{_job(shop, int(begins_early.argmax()))} has begun before its release.")
    started = np.where(state.started >= 0, state.started, np.maximum(clock - (durations - left), shop.releases))
    started = np.where(left > 0, started, -1)
    ready_at = np.where(state.ready_at >= 0, state.ready_at, clock)
    ready_at = np.where((done == 0) & (left == 0), shop.releases, ready_at)
    for key, times in (("started", started), ("ready_at", np.where((done == 0) & (left == 0), 0, ready_at))):
        if (times > clock).any():
            job = int((times > clock).argmax())
            raise _error(shop, f"{key} must be <= clock = {clock}, got {times[job]} at {_job(shop, job)}.")
    down_since = _down_since(shop, clock, state.down_since)
    filled = ShopState(clock, done, left, started, ready_at, down_since, state.history)
    _check_machines(shop, filled)
    _check_history(shop, filled)
    return filled


def held_machines(shop: JobShop, state: ShopState) -> np.ndarray:
    """Return the machine that each job is on, (num_jobs,); -1: none."""
    first, last = shop.job_first[:-1], shop.job_first[1:] - 1
    is_in = state.work_left > 0
    has_begun = (state.ops_done > 0) & (state.ops_done <= last - first)
    holds = is_in | (has_begun & (shop.settings.buffers != "unlimited"))
    op = np.clip(first + state.ops_done - ~is_in, first, last)
    return np.where(holds, shop.op_machine[op], -1)


def _down_since(shop: JobShop, clock: int, given: np.ndarray) -> np.ndarray:
    down_since = np.where(given >= 0, given, -1)
    if (down_since > clock).any():
        machine = int((down_since > clock).argmax())
        where = f"machine {shop.machine_label(machine)}"
        raise _error(shop, f"down_since must be <= clock = {clock}, got {down_since[machine]} at {where}.")
    for machine, start, end in shop.calendar:  # what is planned is known: the machine is down, whatever is said
        if start <= clock < end and down_since[machine] < 0:
            down_since[machine] = start
    return down_since


def _check_machines(shop: JobShop, state: ShopState) -> None:
    """Refuse two jobs on one machine, and jobs that can never move."""
    held = held_machines(shop, state)
    holder = dict[int, int]()
    for job in np.flatnonzero(held >= 0).tolist():
        machine = int(held[job])
        if machine in holder:
            both = f"{_job(shop, holder[machine])} and {_job(shop, job)}"
            raise _error(shop, f"{both} are both on machine {shop.machine_label(machine)}.")
        holder[machine] = job
    if shop.settings.buffers != "none":
        return
    from .kernels_certificate import can_all_leave, search_room  # imports numba

    inside = np.array(sorted(holder.values()), dtype=np.int64)
    following = shop.job_first[inside] + state.ops_done[inside] + (state.work_left[inside] > 0)
    ends = shop.job_first[inside + 1]
    is_last = following == ends
    inside, following, ends = inside[~is_last], following[~is_last], ends[~is_last]
    room = np.zeros(search_room(shop.num_machines), dtype=np.int64)
    room[: len(inside)], room[shop.num_machines : shop.num_machines + len(inside)] = following, ends
    if not can_all_leave(shop.op_machine, room, len(inside), shop.num_machines):
        jobs = ", ".join(_job(shop, job) for job in inside.tolist())
        raise _error(shop, f"with buffers=none {jobs} block one another: no way was found in which all can finish.")


def _check_history(shop: JobShop, state: ShopState) -> None:
    """Refuse a history that is not that of the operations completed."""
    if state.history is None:
        return
    rows = Counter(zip(state.history.job.tolist(), state.history.position.tolist(), strict=True))
    completed = Counter((job, position) for job, done in enumerate(state.ops_done.tolist()) for position in range(done))
    if wrong := (rows - completed) + (completed - rows):
        job, position = min(wrong)
        got = f"got {rows[job, position]} of operation {position} of job {job}"
        raise _error(shop, f"history must have one row of each operation completed and no other, {got}.")
    if (state.history.end > state.clock).any():
        raise _error(shop, f"history must end by clock = {state.clock}, got {state.history.end.max()}.")


def read_state(shop: JobShop, path: Path) -> ShopState:
    """Read the state of a shop from a JSON file; `state_from` tells what it holds."""
    data = parse_json(read_text(path), path)
    try:
        return state_from(shop, data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def state_from(shop: JobShop, data: Any) -> ShopState:
    """Return the state that plain dictionaries describe; jobs and machines that are not mentioned are as at the start.

    Parameters
    ----------
    shop : JobShop
    data : mapping
        `clock`; `jobs`, a list of mappings with `job` (name or number), `ops_done`, `work_left`, `started`, `ready_at`;
        `machines`, a list of mappings with `machine` (name or number) and `down_since`. As in `ShopState`.

    Raises
    ------
    InputError
        Names key, rule and value.

    Examples
    --------
    >>> import orl
    >>> shop = orl.load("jobshop/ft06")
    >>> state = state_from(shop, {"clock": 7, "jobs": [{"job": 0, "ops_done": 1, "work_left": 2}]})
    >>> int(shop.in_motion(state).state.started[0])
    6
    """
    if not isinstance(data, Mapping):
        raise InputError("a state must be an object with clock, jobs and machines.")
    _check_keys(data, ("clock", "jobs", "machines"), "state")
    if "clock" not in data:
        raise InputError("state: clock is missing.")
    names = {"jobs": shop.job_names, "machines": shop.machine_names}
    counts = {"jobs": shop.num_jobs, "machines": shop.num_machines}
    keys = {"jobs": ("ops_done", "work_left", "started", "ready_at"), "machines": ("down_since",)}
    arrays: dict[str, Any] = {
        key: np.full(counts[group], 0 if key in ("ops_done", "work_left") else -1)
        for group, of_group in keys.items()
        for key in of_group
    }
    for group, of_group in keys.items():
        entries = data.get(group, [])
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise InputError(f"state: {group} must be a list of objects.")
        seen: set[int] = set()
        for i, entry in enumerate(entries):
            where, one = f"{group}[{i}]", group[:-1]
            _check_keys(entry, (one, *of_group), where)
            index = _index(entry.get(one), one, names[group], counts[group], where)
            if index in seen:
                raise InputError(f"{where}: {one} {entry[one]!r} is there twice.")
            seen.add(index)
            for key in of_group:
                if entry.get(key) is not None:
                    arrays[key][index] = _whole(entry[key], f"{where}.{key}")
    return ShopState(_whole(data["clock"], "clock"), **arrays)


def state_at(shop: JobShop, schedule: Schedule, time: int) -> ShopState:
    """Return the state at `time` of a shop that follows a schedule: what starts before it has happened.

    Parameters
    ----------
    shop : JobShop
        Machines are down as its calendar says. It may be in motion itself.
    schedule : Schedule
        One that `verify` has passed.
    time : int
        Not before the shop goes on.
    """
    begun = shop.state
    done, left, started, ready = (np.full(shop.num_jobs, value) for value in (0, 0, -1, -1))
    if begun is not None:
        done, ready = begun.ops_done.copy(), begun.ready_at.copy()
    down = {m: [(a, b) for machine, a, b in shop.calendar if machine == m] for m in range(shop.num_machines)}
    rows = zip(*(getattr(schedule, f.name).tolist() for f in fields(schedule)), strict=True)
    is_over = (schedule.start < time) & (schedule.end <= time)
    for job, position, machine, start, end in sorted(rows):
        if start >= time:
            continue
        if end <= time:
            done[job], ready[job] = position + 1, end
            continue
        since, work = start, shop.durations[job][position]
        if begun is not None and begun.work_left[job] > 0 and begun.ops_done[job] == position:
            since, work = begun.clock, int(begun.work_left[job])
        repairs = [b for _, b in down[machine] if since < b <= time]
        if repairs and shop.settings.on_failure == "restart":
            since, work = max(repairs), shop.durations[job][position]
        left[job], started[job] = work - _up_time(down[machine], since, time), start
    history = None
    if begun is None or begun.history is not None or not begun.ops_done.any():
        history = type(schedule)(*(getattr(schedule, f.name)[is_over] for f in fields(schedule)))
    return ShopState(time, done, left, started, ready, np.full(shop.num_machines, -1), history)


def _up_time(down: Sequence[tuple[int, int]], start: int, end: int) -> int:
    return end - start - sum(max(min(b, end) - max(a, start), 0) for a, b in down)


def observed_state(shop: JobShop, observation: Observation, env: int) -> ShopState:
    """Return the state that an observation between two decisions shows of one of its environments."""
    view = {key: array[env] for key, array in observation.arrays.items()}
    first, end = shop.job_first[:-1], shop.job_first[1:]
    jobs = slice(0, shop.num_jobs)
    candidate = view["candidate"][jobs]
    next_op = np.where(candidate < 0, end, candidate)
    status = view["status"][jobs]
    is_in = status == RUNNING
    remaining = np.where(view["available"][jobs] < 0, view["remaining"][jobs], view["available"][jobs] - view["clock"])
    return ShopState(
        int(view["clock"]),
        ops_done=next_op - first - is_in,
        work_left=np.where(is_in, remaining, 0),
        started=np.full(shop.num_jobs, -1),
        ready_at=np.where(is_in, -1, view["available"][jobs]),
        down_since=view["down_since"][: shop.num_machines],
    )


def in_motion(shop: JobShop, observation: Observation, env: int) -> JobShop:
    """Return a shop as it goes on from an observation between two decisions."""
    return shop.in_motion(observed_state(shop, observation, env))


def _check_keys(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}; {nearest(str(key), known)}")


def _index(label: Any, kind: str, names: Sequence[str] | None, count: int, where: str) -> int:
    if names is not None and label in names:
        return names.index(label)
    is_number = isinstance(label, int | np.integer) and not isinstance(label, bool)
    if names is None and is_number and 0 <= label < count:
        return int(label)
    expected = f"one of {', '.join(names[:5])}" if names else f"a number in 0..{count - 1}"
    raise InputError(f"{where}: {kind} must be {expected}, got {label!r}.")


def _whole(value: Any, where: str) -> int:
    is_whole = isinstance(value, int | np.integer) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not is_whole or abs(value) >= 2**40:
        raise InputError(f"{where} must be a whole number, got {value!r}.")
    return int(value)


def _job(shop: JobShop, job: int) -> str:
    return f"job {shop.job_label(job)}"


def _error(shop: JobShop, message: str) -> InputError:
    return InputError(f"{shop.source or shop.name}, state: {message}")
