"""This process and others that each hold a member of a crew, and answer questions side by side.

HiGHS shares no program between processes, so each member is copied as it is, and keeps what it learns.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

PATIENCE = 2.0  # seconds in which a process that was told to end does so

Member = Callable[[Any], Any]  # what answers a question


class Crew:
    """A context, at whose end the other processes are gone.

    Parameters
    ----------
    members : sequence of callables (question) -> answer
        The first answers in this process, each other one, a copy of it, in a process of its own. One: nothing is
        started.
    name : str
        For messages.

    Examples
    --------
    >>> with Crew([abs], "example") as crew:
    ...     crew.ask([-1])
    [1]
    """

    def __init__(self, members: Sequence[Member], name: str):
        self._members, self._name = list(members), name
        self._processes: list[BaseProcess] = []
        self._lines: list[Connection] = []

    def __enter__(self) -> Crew:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks of HiGHS's and numba's threads
        with _deaf():
            for number, member in enumerate(self._members[1:], start=1):
                here, there = context.Pipe()
                process = context.Process(
                    target=_work, args=(there, member), name=f"{self._name} {number}", daemon=True
                )
                process.start()
                there.close()
                self._processes.append(process)
                self._lines.append(here)
        return self

    def ask(self, questions: Sequence[Any]) -> list[Any]:
        """Return the answer of each member to its question; an error of one is raised here."""
        for place, (line, question) in enumerate(zip(self._lines, questions[1:], strict=True), start=1):
            self._tell(place, line, question)
        answers = [self._members[0](questions[0])]
        return answers + [self._hear(place, line) for place, line in enumerate(self._lines, start=1)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for line in self._lines:
            line.close()  # a process that listens ends at that
        for process in self._processes:
            process.join(PATIENCE if kind is None else 0)
            if process.is_alive():  # amid work that nobody waits for
                process.kill()
            process.join()
            process.close()
        self._processes, self._lines = [], []

    def _tell(self, place: int, line: Connection, question: Any) -> None:
        try:
            line.send(question)
        except OSError:
            raise self._loss(place) from None

    def _hear(self, place: int, line: Connection) -> Any:
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
            f"process {place} of {self._name} is gone (exit code {process.exitcode}). A script that asks for several "
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


def _work(line: Connection, member: Member) -> None:
    """Answer questions until the line is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while True:
            question = line.recv()
            line.send(member(question))
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
