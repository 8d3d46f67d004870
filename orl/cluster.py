"""A Dask cluster: the connection, whether its workers have what we have, and members of a crew that work there.

Runs of a benchmark go to `Client.get_executor()`, as to any executor. A member of a crew keeps a state, so one worker
holds it and answers all its questions.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orl.errors import InputError
from orl.versions import versions

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10.0  # that a scheduler has to answer
ALIVE_SECONDS = 2.0  # between two looks whether a worker that owes an answer is still there
PACKAGES = ("orl", "orl.problems", "orl.solvers")  # whose sources decide what comes out


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to a scheduler, and see that what is there has the sources and versions that we have.

    Parameters
    ----------
    address : str
        Such as 'tcp://10.0.0.1:8786'; 'tls://...' takes keys from Dask's own configuration.

    Raises
    ------
    InputError
        If Dask is missing, nobody answers, or somebody there is not like us. No workers yet is no error.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise InputError(
            f"a scheduler needs Dask, and {error.name!r} is missing; install the extra [cluster]: pip install "
            "'orl[cluster]'."
        ) from None
    if not address:  # with which Dask would start a cluster of its own
        raise InputError("expected the address of a scheduler, such as tcp://10.0.0.1:8786.")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mismatched versions")  # we look ourselves, at what matters to us
        try:
            client = Client(address, timeout=CONNECT_SECONDS)
        except (OSError, ValueError, TypeError) as error:  # TimeoutError is an OSError
            raise InputError(f"there is no scheduler at {address!r}: {error}") from None
    with client:
        check_workers(client)
        yield client


def check_workers(client: Client, question: Callable[..., str] | None = None, *words: Any) -> None:
    """Ask the scheduler and each worker what is amiss there, nothing being '', by a question that they can import.

    Without a question: how they differ from us; the scheduler is asked only that, as it reads what is sent.

    Raises
    ------
    InputError
        With what the first one says, by address.
    """
    answers: dict[str, Any] = {}
    if question is None:
        question, words = difference, (identity(),)
        try:
            answers["the scheduler"] = client.run_on_scheduler(question, *words)
        except Exception as error:  # such as that it has no ORL
            answers["the scheduler"] = error
    said = client.run(question, *words, on_error="return")
    answers |= {f"the worker at {address}": said[address] for address in sorted(said)}
    for who, answer in answers.items():
        if isinstance(answer, Exception):
            raise InputError(f"{who} cannot run ORL: {type(answer).__name__}: {answer}")
        if answer:
            raise InputError(f"{who} {answer}")


@cache
def identity() -> dict[str, str]:
    """Return the versions of ORL and what it stands on, and a hash of ORL's sources, changed or not."""
    digest = hashlib.sha256()
    for name in PACKAGES:
        folder = Path(importlib.import_module(name).__path__[0])
        for path in sorted(folder.rglob("*.py")):
            place = path.relative_to(folder)
            # In a clone these are links to where the next names look.
            if name != "orl" or place.parts[0] not in ("problems", "solvers", "instances"):
                digest.update(f"{name} {place}\n".encode() + path.read_bytes())
    return {**versions(), "sources": digest.hexdigest()[:12]}


def difference(theirs: Mapping[str, str]) -> str:
    """Return in what we differ from who tells an identity, a sentence about us without its subject; or ''."""
    ours = identity()
    if ours["sources"] != theirs["sources"]:
        commits = [f"commit {one['commit']}" if "commit" in one else "no clone" for one in (ours, theirs)]
        return (
            f"has other sources of ORL: {ours['orl']} ({commits[0]}), not {theirs['orl']} ({commits[1]}) as here; "
            "start it again with the same."
        )
    for name in [*theirs, *ours]:
        if name not in ("commit", "sources") and ours.get(name) != theirs.get(name):
            return (
                f"has {name} {ours.get(name, 'not at all')}, unlike {theirs.get(name, 'none')} here; make them equal."
            )
    return ""


# Members of a crew --------------------------------------------------------------------------------------------------


class Held:
    """A member on the worker that holds it, and how many questions it has answered."""

    def __init__(self, member: Callable[[Any], Any]):
        self.member, self.answered = member, 0


class MemberThere:
    """A member of a crew that works on a worker; see `orl.crew`.

    Parameters
    ----------
    client : distributed.Client
    worker : str
        Its address.
    member : callable (question) -> answer
        A copy of it goes there, and is dropped when this object is, or when this process ends.
    """

    def __init__(self, client: Client, worker: str, member: Callable[[Any], Any]):
        self._client, self._worker, self._asked = client, worker, 0
        self._held = self._submit(_hold, pickle.dumps(member))
        self._answer: Any = None

    def tell(self, question: Any) -> None:
        """Send a question."""
        self._answer = self._submit(_answer, self._held, self._asked, pickle.dumps(question))
        self._asked += 1

    def hear(self) -> Any:
        """Wait for the answer, which may be an error.

        Raises
        ------
        EOFError
            If the worker, and with it the member's state, is gone.
        """
        looked = time.monotonic()
        while True:
            try:
                answer = pickle.loads(self._answer.result(timeout=ALIVE_SECONDS))
                self._answer = None
                return answer
            except TimeoutError:
                pass
            except Exception as error:  # the cluster's, as those of the member are answers
                raise EOFError(f"(worker {self._worker}: {type(error).__name__}: {error})") from None
            if time.monotonic() - looked > ALIVE_SECONDS:
                looked = time.monotonic()
                # The scheduler would wait for a worker of this address for ever.
                if self._worker not in self._client.ncores():
                    raise EOFError(f"(worker {self._worker} has left the cluster)")

    def end(self) -> None:
        """Drop the member; what it is at, it ends."""
        with suppress(Exception):  # there may be no scheduler any more
            self._client.cancel([future for future in (self._answer, self._held) if future is not None])

    def _submit(self, work: Callable[..., Any], *words: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # once, and it is what the member is
            return self._client.submit(work, *words, workers=[self._worker], pure=False)


def _hold(member: bytes) -> Held:
    return Held(pickle.loads(member))


def _answer(held: Held, number: int, question: bytes) -> bytes:
    """Answer a question of a member that has answered all before it; one made anew would not know what it learned."""
    from orl.crew import answered

    if held.answered != number:
        raise RuntimeError("the worker was started again and has forgotten what it was told")
    answer = answered(held.member, pickle.loads(question))
    held.answered += 1
    return pickle.dumps(answer)
