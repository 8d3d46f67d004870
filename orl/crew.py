"""This process and others that each hold a member of a crew, and answer questions side by side.

HiGHS shares no program between processes, so each member is copied as it is, and keeps what it learns. The others are
processes of this machine or workers of a Dask cluster; who asks does not see where they are.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from orl.cluster import MemberThere, connected
from orl.errors import InputError

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
    scheduler : str or None
        The address of a Dask scheduler, each of whose workers holds one of the others; None: processes of this machine.

    Examples
    --------
    >>> with Crew([abs], "example") as crew:
    ...     crew.ask([-1])
    [1]
    """

    def __init__(self, members: Sequence[Member], name: str, scheduler: str | None = None):
        self._members, self._name, self._scheduler = list(members), name, scheduler
        self._others: list[_MemberHere | MemberThere] = []
        self._connection = ExitStack()

    def __enter__(self) -> Crew:
        members = self._members[1:]
        if members and self._scheduler is not None:
            client = self._connection.enter_context(connected(self._scheduler))
            workers = sorted(client.ncores())
            if len(workers) < len(members):
                self._connection.close()
                raise InputError(
                    f"{self._name} in {len(self._members)} processes takes a worker for each but the first, and the "
                    f"scheduler at {self._scheduler} has {len(workers)}."
                )
            self._others = [MemberThere(client, *one) for one in zip(workers, members, strict=False)]
            return self
        with _deaf() if members else nullcontext():
            for number, member in enumerate(members, start=1):
                self._others.append(_MemberHere(member, f"{self._name} {number}"))
        return self

    def ask(self, questions: Sequence[Any]) -> list[Any]:
        """Return the answer of each member to its question; an error of one is raised here."""
        for place, question in enumerate(questions[1:], start=1):
            self._of(place, "tell", question)
        answers = [self._members[0](questions[0])]
        return answers + [self._of(place, "hear") for place in range(1, len(questions))]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        others, self._others = self._others, []
        for other in others:
            other.end()
        for other in others:
            if isinstance(other, _MemberHere):
                other.join(PATIENCE if kind is None else 0)
        self._connection.close()

    def _of(self, place: int, verb: str, *words: Any) -> Any:
        try:
            answer = getattr(self._others[place - 1], verb)(*words)
        except EOFError as error:
            raise Gone(f"process {place} of {self._name} is gone {error}.") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Gone(InputError, RuntimeError):
    """Report that a member's process ended, for which memory or the place it was started from may be mended."""


class _MemberHere:
    """A member in a process of this machine, to which nothing but its line leads."""

    def __init__(self, member: Member, name: str):
        context = multiprocessing.get_context("spawn")  # a fork would copy locks of HiGHS's and numba's threads
        self._line, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, member), name=name, daemon=True)
        self._process.start()
        there.close()

    def tell(self, question: Any) -> None:
        try:
            self._line.send(question)
        except OSError:
            raise self._loss() from None

    def hear(self) -> Any:
        try:
            return self._line.recv()
        except (EOFError, OSError):
            raise self._loss() from None

    def end(self) -> None:
        self._line.close()  # a process that listens ends at that

    def join(self, patience: float) -> None:
        self._process.join(patience)
        if self._process.is_alive():  # amid work that nobody waits for
            self._process.kill()
        self._process.join()
        self._process.close()

    def _loss(self) -> EOFError:
        self._process.join(PATIENCE)
        return EOFError(
            f"(exit code {self._process.exitcode}). A script that asks for several processes does so under "
            '`if __name__ == "__main__":`; else memory may be short'
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
            line.send(answered(member, line.recv()))
    except (EOFError, OSError):
        return


def answered(member: Member, question: Any) -> Any:
    """Return what a member answers, or the error that it raises, which can travel to another process."""
    try:
        return member(question)
    except Exception as error:
        return _portable(error)


def _portable(error: Exception) -> Exception:
    """Return an error that survives the way to another process, with its message."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
