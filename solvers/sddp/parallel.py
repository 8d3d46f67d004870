"""Training in several processes: the passes of a round are made side by side, with the same cuts.

Every process holds a copy of all programs, as HiGHS shares none. In a round each goes forward and backward once, with
draws of its own; then each takes the cuts of all others, in the order of the processes. So what is learned depends on
the seed and the number of processes, not on which of them is faster. A pass does not know the cuts of its own round's
others: an iteration teaches a little less than one of a single process.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

import numpy as np

from .train import Cut, Sddp

PATIENCE = 2.0  # seconds in which a process that was told to end does so


class Crew:
    """This process and others that train with it; a context, at whose end the others are gone.

    Parameters
    ----------
    sddp : Sddp
        Copied to the others as it is, with the cuts it has.
    rngs : sequence of numpy Generators
        Draws of each process; the first is this one. One: nothing is started, and training is as without a crew.
    """

    def __init__(self, sddp: Sddp, rngs: Sequence[np.random.Generator]):
        self._sddp, self._rngs = sddp, list(rngs)
        self._processes: list[BaseProcess] = []
        self._lines: list[Connection] = []
        self._learned: list[list[Cut]] = []  # by each process in the last round

    def __enter__(self) -> Crew:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks of HiGHS's and numba's threads
        with _deaf():
            for number, rng in enumerate(self._rngs[1:], start=1):
                here, there = context.Pipe()
                process = context.Process(
                    target=_work, args=(there, self._sddp, rng), name=f"sddp {number}", daemon=True
                )
                process.start()
                there.close()
                self._processes.append(process)
                self._lines.append(here)
        return self

    def iterate(self) -> list[float]:
        """Make a round of passes, one a process, and return their costs."""
        for place, line in enumerate(self._lines, start=1):
            self._tell(place, line, [cuts for other, cuts in enumerate(self._learned) if other != place])
        done = [self._sddp.make_pass(self._rngs[0])]
        done += [self._hear(place, line) for place, line in enumerate(self._lines, start=1)]
        self._learned = [cuts for _, cuts in done]
        self._sddp.end_round(self._learned[1:])
        return [cost for cost, _ in done]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for line in self._lines:
            line.close()  # a process that listens ends at that
        for process in self._processes:
            process.join(PATIENCE if kind is None else 0)
            if process.is_alive():  # amid a pass that nobody waits for
                process.kill()
            process.join()
            process.close()
        self._processes, self._lines = [], []

    def _tell(self, place: int, line: Connection, cuts: list[list[Cut]]) -> None:
        try:
            line.send(cuts)
        except OSError:
            raise self._loss(place) from None

    def _hear(self, place: int, line: Connection) -> tuple[float, list[Cut]]:
        try:
            answer: Any = line.recv()
        except (EOFError, OSError):
            raise self._loss(place) from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _loss(self, place: int) -> RuntimeError:
        process = self._processes[place - 1]
        process.join(PATIENCE)
        return RuntimeError(
            f"process {place} of sddp is gone (exit code {process.exitcode}). A script that asks for several "
            'processes does so under `if __name__ == "__main__":`; else memory may be short.'
        )


@contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that never hear Ctrl-C or SIGTERM, which are for the one that starts them; it hears them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # whose own start would make the signals heard again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(line: Connection, sddp: Sddp, rng: np.random.Generator) -> None:
    """Make passes as they are asked for, until the line is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while True:
            others = line.recv()
            if others:  # none before the first round
                sddp.end_round(others)
            line.send(sddp.make_pass(rng))
    except (EOFError, OSError):
        return
    except Exception as error:
        line.send(_portable(error))


def _portable(error: Exception) -> Exception:
    """Return an error that survives the way to another process, with its message."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
