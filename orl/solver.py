"""The contract of a solution method, and the reins it runs on: time, interruption, progress."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from orl.compiling import CLOCK
from orl.errors import InputError
from orl.problem import Problem, Solution

if TYPE_CHECKING:
    from tqdm import tqdm

    from orl.result import Status

T = TypeVar("T")


class Control:
    """Tell a running method when to stop, and hear from it how far it is.

    Parameters
    ----------
    time_limit : float or None
        Seconds from now, in which kernels are compiled uncounted; None: no limit.
    verbose : bool
        Whether to write improvements (and, on a terminal, a progress bar) to stderr.
    scheduler : str or None
        The address of a Dask scheduler, whose workers a method with `processes` takes in place of processes of this
        machine.
    """

    def __init__(self, time_limit: float | None = None, verbose: bool = False, scheduler: str | None = None):
        self.time_limit = time_limit
        self.verbose = verbose
        self.scheduler = scheduler
        self.trace: list[tuple[float, float | None, float | None]] = []
        self._lock = threading.Lock()  # solvers report from several threads
        self._started, self._compiled = time.perf_counter(), CLOCK.seconds
        self._stop = threading.Event()
        self._printed = -math.inf

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started

    @property
    def remaining(self) -> float:
        """Seconds left; infinity without a limit."""
        return math.inf if self.time_limit is None else max(0.0, self.time_limit - self._counted)

    @property
    def gone(self) -> float:
        """Share of the time limit that is gone; 0 without a limit."""
        return 0.0 if self.time_limit is None else self._counted / max(self.time_limit, 1e-9)

    @property
    def _counted(self) -> float:
        return self.seconds - (CLOCK.seconds - self._compiled)

    @property
    def is_interrupted(self) -> bool:
        return self._stop.is_set()

    @property
    def should_stop(self) -> bool:
        """Whether the user or the clock asks for an end."""
        return self.is_interrupted or self.remaining <= 0

    def interrupt(self) -> None:
        """Ask the method to stop and give what it has."""
        self._stop.set()

    def within(self, seconds: float) -> Control:
        """Return reins for a part of the work: at most so many of the seconds left, the same stop, its own trace."""
        seconds = min(seconds, self.remaining)
        part = Control(seconds if math.isfinite(seconds) else None)
        part._stop = self._stop
        return part

    def go_on(self, message: str) -> bool:
        """Forget an interruption, as what comes next may have one of its own; return whether there was one."""
        was_interrupted = self.is_interrupted
        if was_interrupted:
            self._stop.clear()
            if self.verbose:
                _say(message)
        return was_interrupted

    def report(self, value: float | None = None, bound: float | None = None, note: str = "") -> None:
        """Note an incumbent value and a proven bound, if either is better than what is known.

        A `note`, on what is neither, stands in the line that is written, and is not kept.
        """
        with self._lock:
            last_value, last_bound = self.trace[-1][1:] if self.trace else (None, None)
            value = min((x for x in (value, last_value) if x is not None), default=None)
            bound = max((x for x in (bound, last_bound) if x is not None), default=None)
            is_better = (value, bound) != (last_value, last_bound)
            if is_better:
                self.trace.append((self.seconds, value, bound))
            # Every improvement is worth a line; a creeping bound alone, or a note, is worth one a second.
            is_due = (is_better or bool(note)) and self.seconds - self._printed > 1
            if self.verbose and (value != last_value or is_due):
                self._printed = self.seconds
                words = [f"{name} {_number(x)}" for name, x in (("best", value), ("bound", bound))]
                _say(f"{self.seconds:8.1f} s  " + "  ".join([*words, note] if note else words))

    def progress(self, total: int, unit: str) -> tqdm[Any]:
        """Return a progress bar: shown on a terminal, silent in a pipe."""
        from tqdm import tqdm

        return tqdm(total=total, unit=unit, leave=False, disable=None if self.verbose else True)

    def wait_for(self, work: Callable[[], T], cancel: Callable[[], object]) -> T:
        """Run compiled `work` in a thread, so that an interruption can `cancel` it and still get its answer."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(work)
            while not wait([future], timeout=0.05).done:
                if self.is_interrupted:
                    cancel()
            return future.result()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Turn the first Ctrl-C (or SIGTERM) within the block into `interrupt`; the second one is fatal as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        previous = [signal.getsignal(number) for number in signals]

        def restore() -> None:
            for number, handler in zip(signals, previous, strict=True):
                signal.signal(number, handler)

        def stop(*_: object) -> None:
            self.interrupt()
            restore()

        for number in signals:
            signal.signal(number, stop)
        try:
            yield
        finally:
            restore()


def _say(text: str) -> None:
    """Write a line to stderr, above a progress bar if there is one."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


def _number(x: float | None) -> str:
    return "-" if x is None or not math.isfinite(x) else f"{x:.10g}"


def check_scheduler(control: Control, processes: Any, name: str) -> None:
    """Refuse a scheduler that nothing would be sent to: a method in one process has no use for another machine.

    Raises
    ------
    InputError
    """
    if control.scheduler is not None and processes == 1:
        raise InputError(
            f"{name} runs in one process and has no use for a scheduler; where it knows processes=N, set it."
        )


@dataclass(frozen=True)
class NoSettings:
    """Of a method that has none, such as a rule."""


@dataclass(frozen=True)
class Task:
    """What a method is asked to do: a family's record, an instance, its scenarios, settings, a seed, the reins."""

    problem: Problem
    instance: Any
    scenarios: Any
    settings: Any
    seed: int
    control: Control


@dataclass(frozen=True)
class Outcome:
    """What a method found; its value is recomputed by the family's `verify`.

    Parameters
    ----------
    status : Status
    solutions : list of Solution
        One a scenario; empty if none was found.
    bound : float or None
        A proven lower bound on the mean cost, or None.
    bound_kind : str
        'proven', 'hindsight-mean', 'dp' or 'lagrangian' (proven, on the expected cost), 'penalised-mean' (mean over the
        scenarios of bounds that information relaxation gives), 'sddp' or 'none'.
    value : float or None
        What the method believes its solutions cost; a difference from `verify` is an error.
    metrics : name -> float
    """

    status: Status
    solutions: list[Solution]
    bound: float | None = None
    bound_kind: str = "none"
    value: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class Certificate(NamedTuple):
    """What making a policy has proven of its problem: a bound on the expected cost, its kind, and figures."""

    bound: float | None
    bound_kind: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Solver:
    """A solution method: it solves a task, or it makes a policy that is then simulated.

    Parameters
    ----------
    name, summary : str
    settings : type
        A dataclass with defaults.
    fits : callable (Problem) -> bool
        Whether the family offers what the method asks for.
    solve : callable (Task) -> Outcome, or None
        If there is a policy as well: for scenarios in which nothing is random; it may return None, then the policy is
        simulated.
    policy : callable (Task) -> Policy, or None
        A policy that needs no training does not look at the task's instance, which is then None in `orl.make_policy`.
    certificate : callable (Policy, Task) -> Certificate, or None
        What making the policy has proven of the task's instance; asked after the simulation, it may use scenarios.
    train : callable (data: Mapping, path, folder, resume, control) -> None, or None
        Train a policy by the recipe of a TOML file, whose text without `method` is `data`, into a folder of checkpoints
        and a log; with `resume` where it was left.
    needs_determinism : bool
        Whether the method is only for instances in which nothing is random.
    """

    name: str
    summary: str
    settings: type
    fits: Callable[[Problem], bool]
    solve: Callable[[Task], Outcome | None] | None = None
    policy: Callable[[Task], Any] | None = None
    certificate: Callable[[Any, Task], Certificate] | None = None
    train: Callable[[Mapping[str, Any], Path, Path, bool, Control], None] | None = None
    needs_determinism: bool = False
