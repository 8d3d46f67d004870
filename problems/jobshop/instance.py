"""The records of the job shop: an instance, and a schedule of it. Checked once, when made; immutable ever after."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from orl.arrays import frozen, whole_numbers
from orl.errors import InputError

from .kernels_codes import NO_DUE_DATE
from .state import ShopState, checked_state

MAX_HORIZON = 2**40  # time units; keeps (time, job) packable into one integer and every time exact in a float
MAX_JOBS = 2**19
MAX_MACHINES = 2**17
MAX_TIME = 2 * MAX_HORIZON  # nothing is simulated beyond; downtime may carry a shop past the horizon


@dataclass(frozen=True)
class Breakdowns:
    """When machines fail, and for how long.

    Parameters
    ----------
    probability : float in [0, 1)
        Of a failure in a time unit of calendar time, for every machine that is up, busy or idle.
    repair : str
        Law of the repair time in whole time units: 'uniform LOW HIGH', 'geometric MEAN' or 'fixed LENGTH', all >= 1.
    """

    probability: float = 0.0
    repair: str = "uniform 5 35"

    def __post_init__(self) -> None:
        if not 0 <= self.probability < 1:
            raise ValueError(f"breakdowns.probability must be >= 0 and below 1, got {self.probability}.")
        _ = self.repair_law

    @property
    def repair_law(self) -> tuple[str, float, float]:
        """The law's name and its parameters: low and high, or the mean or length twice."""
        name, *numbers = self.repair.split() or [""]
        expected = {"uniform": 2, "geometric": 1, "fixed": 1}
        try:
            values = [float(word) for word in numbers]
        except ValueError:
            values = []
        is_whole = name == "geometric" or all(value.is_integer() for value in values)
        if len(values) != expected.get(name) or not is_whole or not all(1 <= v < MAX_HORIZON for v in values):
            law = "'uniform LOW HIGH', 'geometric MEAN' or 'fixed LENGTH' with numbers >= 1"
            raise ValueError(f"breakdowns.repair must be {law}, got {self.repair!r}.")
        if values[0] > values[-1]:
            raise ValueError(f"breakdowns.repair must have LOW <= HIGH, got {self.repair!r}.")
        return name, values[0], values[-1]


Objective = Literal["makespan", "flow-time", "weighted-tardiness", "max-lateness", "tardy-jobs"]


@dataclass(frozen=True)
class JobShopSettings:
    """What `--set` may change about a job shop.

    Parameters
    ----------
    dispatch : 'non-delay' or 'active'
        Among which operations rules and policies choose. 'non-delay': those that a free machine could start now, or
        wait. 'active': the conflict set of Giffler and Thompson (1960, doi 10.1287/opre.8.4.487): the operations that
        compete for the machine with the earliest possible completion; for unlimited buffers without downtime.
    buffers : 'unlimited', 'swap' or 'none'
        Where a job is between two operations. 'unlimited': beside its machine. Otherwise it holds its machine until
        the next one takes it; with 'swap' a cycle of finished jobs, each waiting for the next one's machine, moves at
        once, with 'none' such a cycle must not arise.
    breakdowns : Breakdowns
    on_failure : 'resume' or 'restart'
        Whether an interrupted operation goes on or begins anew after the repair.
    objective : str
        'makespan'; 'flow-time', the sum over jobs of completion minus release; 'weighted-tardiness', the sum of weight
        times how late a job is; 'max-lateness', the largest completion minus due date; 'tardy-jobs', how many are late.
    due_date_factor : float > 0 or None
        Gives jobs without a due date one: release plus this times the job's work, rounded down.
    state : str or None
        A JSON file with the state of a shop in motion, from where it goes on.
    plan : str or None
        A schedule of this shop, as `--out` writes it; results tell what has moved against it.
    freeze : int >= 0 or None
        What starts before this time in the plan stays as it is there; the shop goes on from the state at this time.
    """

    dispatch: Literal["non-delay", "active"] = "non-delay"
    buffers: Literal["unlimited", "swap", "none"] = "unlimited"
    breakdowns: Breakdowns = Breakdowns()
    on_failure: Literal["resume", "restart"] = "resume"
    objective: Objective = "makespan"
    due_date_factor: float | None = None
    state: str | None = None
    plan: str | None = None
    freeze: int | None = None

    def __post_init__(self) -> None:
        for key, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, key) not in get_args(kind):
                raise ValueError(f"{key} must be one of {', '.join(get_args(kind))}, got {getattr(self, key)!r}.")
        if self.due_date_factor is not None and not 0 < self.due_date_factor < MAX_HORIZON:
            raise ValueError(f"due_date_factor must be > 0 and below 2**40, got {self.due_date_factor}.")
        if self.freeze is not None and not 0 <= self.freeze < MAX_HORIZON:
            raise ValueError(f"freeze must be >= 0 and below 2**40, got {self.freeze}.")
        if self.freeze is not None and (self.plan is None or self.state is not None):
            raise ValueError("freeze keeps the beginning of a plan: set plan, and no state.")
        if self.dispatch == "active" and (self.buffers != "unlimited" or self.breakdowns.probability > 0):
            raise ValueError("dispatch=active is for unlimited buffers without downtime.")


@dataclass(frozen=True, eq=False)
class JobShop:
    """A job shop: each job visits machines in a given order, a machine processes one operation at a time.

    Operations are numbered through, job by job in routing order. Alternative machines and set-up times will be tables
    beside `machines` and `durations`, indexed by operation as these are.

    Parameters
    ----------
    name : str
    machines : sequence of sequences of int, in 0..num_machines-1
        `machines[job][position]`; a job may visit a machine more than once, jobs may differ in length.
    durations : sequences of the same shape, int >= 0, in time units
    num_machines : int or None
        None: one more than the highest machine used.
    releases : sequence of int >= 0, (num_jobs,)
        When each job becomes available, in time units; None: at 0.
    due_dates : sequence of int or None, (num_jobs,)
        None: no due date.
    weights : sequence of float >= 0, (num_jobs,)
        None: all 1.
    calendar : sequence of (machine, from, to)
        Planned downtime: the machine is down in [from, to), known to everybody. In order and apart for each machine.
    job_names, machine_names : sequence of str or None
        None: numbers.
    time_unit : str
    settings : JobShopSettings
    source : str
        File the instance was read from; messages begin with it.
    state : ShopState or None
        Of a shop in motion, see `in_motion`.
    plan : Schedule or None
        With which results are compared.

    Attributes
    ----------
    op_machine, op_duration, op_job : ndarray (num_ops,)
        The same by operation.
    job_first : ndarray (num_jobs + 1,)
        First operation of each job; the operations of job j are `job_first[j] : job_first[j + 1]`.

    Raises
    ------
    InputError
        Names field, rule, value and place.

    Examples
    --------
    >>> shop = JobShop("two", machines=[[0, 1], [1, 0]], durations=[[3, 2], [2, 4]])
    >>> shop.num_jobs, shop.num_machines, shop.num_ops
    (2, 2, 4)
    """

    name: str
    machines: Sequence[Sequence[int]] = field(repr=False)
    durations: Sequence[Sequence[int]] = field(repr=False)
    num_machines: int = None  # type: ignore[assignment]
    releases: np.ndarray = field(default=None, repr=False)  # type: ignore[arg-type]
    due_dates: np.ndarray = field(default=None, repr=False)  # type: ignore[arg-type]
    weights: np.ndarray = field(default=None, repr=False)  # type: ignore[arg-type]
    calendar: tuple[tuple[int, int, int], ...] = field(default=(), repr=False)
    job_names: tuple[str, ...] | None = field(default=None, repr=False)
    machine_names: tuple[str, ...] | None = field(default=None, repr=False)
    time_unit: str = ""
    settings: JobShopSettings = JobShopSettings()
    source: str = field(default="", repr=False)
    state: ShopState | None = field(default=None, repr=False)
    plan: Schedule | None = field(default=None, repr=False)

    problem = "jobshop"

    def __post_init__(self) -> None:
        if not 1 <= len(self.durations) <= MAX_JOBS:
            raise self._error(f"there must be 1 to {MAX_JOBS} jobs, got {len(self.durations)}.")
        if len(self.machines) != len(self.durations):
            raise self._error(f"machines has {len(self.machines)} jobs, durations has {len(self.durations)}.")
        for job, (route, times) in enumerate(zip(self.machines, self.durations, strict=True)):
            if len(route) == 0:
                raise self._error(f"job {job} must have at least one operation.")
            if len(route) != len(times):
                raise self._error(f"job {job} has {len(route)} machines but {len(times)} durations.")
        first = np.concatenate([[0], np.cumsum([len(route) for route in self.machines])]).astype(np.int64)
        self._set("job_first", first)
        self._set("op_job", np.repeat(np.arange(self.num_jobs), np.diff(first)))
        self._set("op_duration", self._whole("durations", [d for times in self.durations for d in times], 0, None))
        count = self.num_machines
        if count is not None and (isinstance(count, bool) or not isinstance(count, int | np.integer)):
            raise self._error(f"num_machines must be a whole number, got {count!r}.")
        highest = MAX_MACHINES - 1 if count is None else int(count) - 1
        op_machine = self._whole("machines", [m for route in self.machines for m in route], 0, highest)
        self._set("op_machine", op_machine)
        self._set("num_machines", int(op_machine.max()) + 1 if count is None else int(count))
        if self.num_machines > MAX_MACHINES:
            raise self._error(f"num_machines must be <= {MAX_MACHINES}, got {self.num_machines}.")
        self._set("machines", tuple(map(tuple, self.by_job(op_machine))))
        self._set("durations", tuple(map(tuple, self.by_job(self.op_duration))))
        self._set("releases", self._job_field("releases", self.releases))
        due = self.due_dates if self.due_dates is not None else [None] * self.num_jobs
        self._set(
            "due_dates", self._job_field("due_dates", [NO_DUE_DATE if d is None else d for d in due], NO_DUE_DATE)
        )
        self._set("weights", self._checked_weights())
        self._set("calendar", self._checked_calendar())
        for key, size in (("job_names", self.num_jobs), ("machine_names", self.num_machines)):
            self._check_names(key, size)
        horizon = sum(self.op_duration.tolist()) + int(self.releases.max())
        self._fill_due_dates()
        if horizon >= MAX_HORIZON:
            raise self._error(f"durations and releases must sum to below 2**40 time units, got {horizon}.")
        if self.state is not None:
            self._set("state", checked_state(self, self.state))

    # sizes and views

    op_machine: np.ndarray = field(init=False, repr=False)
    op_duration: np.ndarray = field(init=False, repr=False)
    op_job: np.ndarray = field(init=False, repr=False)
    job_first: np.ndarray = field(init=False, repr=False)

    @property
    def num_jobs(self) -> int:
        return len(self.durations)

    @property
    def num_ops(self) -> int:
        return int(self.job_first[-1])

    def in_motion(self, state: ShopState | None) -> JobShop:
        """Return the same shop as it stands at a time; None: as it begins.

        Raises
        ------
        InputError
            If the shop cannot be in this state.
        """
        shop = copy(self)
        for key in ("is_done", "work_left", "earliest_starts"):
            shop.__dict__.pop(key, None)
        object.__setattr__(shop, "state", checked_state(self, state) if state is not None else None)
        return shop

    @property
    def clock(self) -> int:
        """When the shop goes on."""
        return self.state.clock if self.state is not None else 0

    @property
    def has_downtime(self) -> bool:
        """Whether a machine may ever be down."""
        is_down = self.state is not None and bool((self.state.down_since >= 0).any())
        return bool(self.calendar) or self.settings.breakdowns.probability > 0 or is_down

    @property
    def has_due_dates(self) -> bool:
        return bool((self.due_dates != NO_DUE_DATE).any())

    def by_job(self, values: np.ndarray) -> list[list[Any]]:
        """Return per-operation values as one list a job."""
        return [part.tolist() for part in np.split(values, self.job_first[1:-1])]

    def job_label(self, job: int) -> str | int:
        """The job's name, or its number where it has none."""
        return self.job_names[job] if self.job_names else int(job)

    def machine_label(self, machine: int) -> str | int:
        """The machine's name, or its number where it has none."""
        return self.machine_names[machine] if self.machine_names else int(machine)

    @cached_property
    def heads(self) -> np.ndarray:
        """Earliest start of each operation if no machine were ever taken, (num_ops,)."""
        before = np.concatenate([[0], np.cumsum(self.op_duration)])[:-1]
        return frozen(before - np.repeat(before[self.job_first[:-1]] - self.releases, np.diff(self.job_first)))

    @cached_property
    def remaining_work(self) -> np.ndarray:
        """Work of the job from each operation on, this one included, (num_ops,)."""
        total = np.cumsum(self.op_duration)
        ends = np.repeat(total[self.job_first[1:] - 1], np.diff(self.job_first))
        return frozen(ends - total + self.op_duration)

    @cached_property
    def is_done(self) -> np.ndarray:
        """Whether each operation is completed before the shop goes on, (num_ops,)."""
        if self.state is None:
            return frozen(np.zeros(self.num_ops, dtype=bool))
        position = np.arange(self.num_ops) - self.job_first[self.op_job]
        return frozen(position < self.state.ops_done[self.op_job])

    @cached_property
    def work_left(self) -> np.ndarray:
        """Work of each operation that is left when the shop goes on, (num_ops,); an interrupted one may begin anew."""
        if self.state is None:
            return self.op_duration
        left = np.where(self.is_done, 0, self.op_duration)
        is_in = np.flatnonzero(self.state.work_left > 0)
        op = self.job_first[is_in] + self.state.ops_done[is_in]
        is_down = self.state.down_since[self.op_machine[op]] >= 0
        begins_anew = is_down & (self.settings.on_failure == "restart")
        left[op] = np.where(begins_anew, self.op_duration[op], self.state.work_left[is_in])
        return frozen(left)

    @cached_property
    def earliest_starts(self) -> np.ndarray:
        """Earliest start, or going on, of each operation from where the shop is if no machine were ever taken."""
        if self.state is None:
            return self.heads
        before = np.concatenate([[0], np.cumsum(self.work_left)])[:-1]
        begin = np.maximum(self.releases, self.clock)
        return frozen(before - np.repeat(before[self.job_first[:-1]] - begin, np.diff(self.job_first)))

    @cached_property
    def tails(self) -> np.ndarray:
        """Work of the job after each operation, (num_ops,)."""
        return frozen(self.remaining_work - self.op_duration)

    def makespan_bound(self) -> int:
        """Return a proven lower bound on the makespan: the longest job, and each machine's load between the least
        head and the least tail of its operations.
        """
        head, left, tail = (x[~self.is_done] for x in (self.earliest_starts, self.work_left, self.tails))
        on = self.op_machine[~self.is_done]
        loads = [head[on == m].min() + left[on == m].sum() + tail[on == m].min() for m in np.unique(on)]
        return int(max((head + left + tail).max(), *loads))

    def cost(self, completions: Sequence[int] | np.ndarray) -> float:
        """Return the objective of completion times of the jobs, (num_jobs,), in time units (a count for tardy-jobs).

        Jobs without a due date are neither tardy nor late.
        """
        done = np.asarray(completions, dtype=np.int64)
        has_date = self.due_dates != NO_DUE_DATE
        late = done[has_date] - self.due_dates[has_date]
        match self.settings.objective:
            case "makespan":
                return float(done.max())
            case "flow-time":
                return float((done - self.releases).sum())
            case "weighted-tardiness":
                return float((self.weights[has_date] * np.maximum(late, 0)).sum())
            case "tardy-jobs":
                return float((late > 0).sum())
            case "max-lateness":
                return float(late.max())
        raise ValueError(f"unknown objective {self.settings.objective!r}.")

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key, value in state.items():  # pickling forgets that arrays are read-only
            self._set(key, value)

    # checks

    def _error(self, message: str) -> InputError:
        return InputError(f"{self.source or self.name}: {message}")

    def _set(self, key: str, value: Any) -> None:
        object.__setattr__(self, key, frozen(value) if isinstance(value, np.ndarray) else value)

    def _whole(self, key: str, values: Sequence[Any], low: int, high: int | None) -> np.ndarray:
        """Return whole numbers between two limits as an array, or name the first that is not."""
        for op, value in enumerate(values):
            if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
                rule, found = "whole numbers", repr(value)
            elif value < low:
                rule, found = f">= {low}", str(value)
            elif high is not None and value > high:
                rule, found = f"<= {high}", str(value)
            elif value >= MAX_HORIZON:
                rule, found = "below 2**40", str(value)
            else:
                continue
            job = int(np.searchsorted(self.job_first, op, side="right")) - 1
            place = f"at operation {op - self.job_first[job]} of job {job}"
            raise self._error(f"{key} must be {rule}, got {found} {place}.")
        return np.array(values, dtype=np.int64)

    def _job_field(
        self, key: str, values: Sequence[Any] | np.ndarray | None, sentinel: int | None = None
    ) -> np.ndarray:
        """Return times by job as an array; `sentinel` is the one number beyond the horizon that is allowed."""
        values = [0] * self.num_jobs if values is None else list(values)
        if len(values) != self.num_jobs:
            raise self._error(f"{key} must have one entry a job ({self.num_jobs}), got {len(values)}.")
        for job, value in enumerate(values):
            if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
                raise self._error(f"{key} must be whole numbers, got {value!r} at job {job}.")
            if value < 0 or (value >= MAX_HORIZON and value != sentinel):
                raise self._error(f"{key} must be >= 0 and below 2**40, got {value} at job {job}.")
        return np.array(values, dtype=np.int64)

    def _checked_weights(self) -> np.ndarray:
        weights = [1.0] * self.num_jobs if self.weights is None else list(self.weights)
        if len(weights) != self.num_jobs:
            raise self._error(f"weights must have one entry a job ({self.num_jobs}), got {len(weights)}.")
        for job, weight in enumerate(weights):
            is_number = isinstance(weight, int | float | np.number) and not isinstance(weight, bool)
            if not is_number or not 0 <= weight < MAX_HORIZON:
                raise self._error(f"weights must be >= 0 and below 2**40, got {weight!r} at job {job}.")
        return np.array(weights, dtype=np.float64)

    def _checked_calendar(self) -> tuple[tuple[int, int, int], ...]:
        """Return the planned downtime by machine and time, intervals that touch or overlap joined."""
        joined: list[tuple[int, int, int]] = []
        for index, entry in enumerate(self.calendar):
            is_whole = len(entry) == 3 and all(
                isinstance(x, int | np.integer) and not isinstance(x, bool) for x in entry
            )
            if not is_whole:
                raise self._error(f"calendar must hold (machine, from, to) in whole numbers, got {entry!r} at {index}.")
            machine, start, end = map(int, entry)
            if not 0 <= machine < self.num_machines or not 0 <= start < end < MAX_HORIZON:
                rule = f"machines 0..{self.num_machines - 1} and 0 <= from < to < 2**40"
                raise self._error(f"calendar must have {rule}, got {entry!r} at {index}.")
        for machine, start, end in sorted((int(m), int(a), int(b)) for m, a, b in self.calendar):
            if joined and joined[-1][0] == machine and start <= joined[-1][2]:
                joined[-1] = (machine, joined[-1][1], max(end, joined[-1][2]))
            else:
                joined.append((machine, start, end))
        if joined and self.settings.dispatch == "active":
            raise self._error("dispatch=active is for unlimited buffers without downtime.")
        return tuple(joined)

    def _fill_due_dates(self) -> None:
        factor, objective = self.settings.due_date_factor, self.settings.objective
        if factor is not None:
            work = self.remaining_work[self.job_first[:-1]]
            given = np.minimum(np.floor(factor * work), float(MAX_HORIZON - 1)).astype(np.int64) + self.releases
            self._set("due_dates", np.where(self.due_dates == NO_DUE_DATE, given, self.due_dates))
        if objective in ("weighted-tardiness", "max-lateness", "tardy-jobs") and not self.has_due_dates:
            raise self._error(f"objective {objective} needs due dates; give them in the file or set due_date_factor.")

    def _check_names(self, key: str, size: int) -> None:
        names = getattr(self, key)
        if names is None:
            return
        names = tuple(names)
        if len(names) != size:
            raise self._error(f"{key} must have {size} entries, got {len(names)}.")
        seen: set[str] = set()
        for index, name in enumerate(names):
            is_text = isinstance(name, str) and name.isprintable() and name == name.strip() != ""
            if not is_text or name in seen:
                rule = "distinct, printable, not empty and without blanks around them"
                raise self._error(f"{key} must be {rule}, got {name!r} at {index}.")
            seen.add(name)
        self._set(key, names)


@dataclass(frozen=True, eq=False)
class Schedule:
    """What was done when: one row an operation, in any order, as it was executed or read; `verify` judges it.

    Parameters
    ----------
    job, position, machine : int ndarray (rows,)
        `position` counts the job's operations from 0 in routing order.
    start, end : int ndarray (rows,), in time units
    """

    job: np.ndarray
    position: np.ndarray
    machine: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __post_init__(self) -> None:
        for key in ("job", "position", "machine", "start", "end"):
            object.__setattr__(self, key, whole_numbers(key, getattr(self, key)))

    @property
    def makespan(self) -> int:
        return int(self.end.max(initial=0))

    @staticmethod
    def from_starts(instance: JobShop, starts: Sequence[int] | np.ndarray) -> Schedule:
        """Return the schedule in which each operation (num_ops,) starts as given and runs for its duration."""
        starts = np.asarray(starts, dtype=np.int64)
        position = np.arange(instance.num_ops) - instance.job_first[instance.op_job]
        return Schedule(instance.op_job, position, instance.op_machine, starts, starts + instance.op_duration)


def with_history(instance: JobShop, schedule: Schedule) -> Schedule:
    """Return a schedule with the rows of what was done before the shop went on, where they are known."""
    if instance.state is None or instance.state.history is None:
        return schedule
    parts = [[getattr(one, f.name) for f in fields(Schedule)] for one in (instance.state.history, schedule)]
    return Schedule(*map(np.concatenate, zip(*parts, strict=True)))
