"""Where the runs of a batch are made: threads of this process, an executor of the caller's, or a Dask cluster.

A worker of a cluster is as good as this machine if it has the same ORL, and finds instances, modules and programs of
the user's by the same names: they are on a disk that all share, or copied to the same path. So each worker is asked for
what the runs need before any of them begins, and again with each run, as workers may come later.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from orl import cluster
from orl.benchmark.runs import Run, modules_of, words_of
from orl.benchmark.worker import dismiss, execute
from orl.errors import InputError

Row = dict[str, Any]


class Place(NamedTuple):
    """Where runs are made: how one is handed in, how those not begun are called off, how many are made at a time."""

    submit: Callable[[Run], Future[Row]]
    cancel: Callable[[Iterable[Future[Row]]], None]
    jobs: int


@contextmanager
def place_of(
    runs: Sequence[Run], executor: Executor | None = None, jobs: int = 1, scheduler: str | None = None
) -> Iterator[Place]:
    """Open a place for runs; at its end no child process is at work any more, where we can reach it.

    Raises
    ------
    InputError
        If there is no cluster, or a worker of it lacks what the runs need.
    """
    batch = uuid.uuid4().hex
    if scheduler is not None:
        with _on_cluster(scheduler, runs, batch) as place:
            yield place
        return
    if executor is not None:
        try:
            yield Place(lambda run: executor.submit(execute, run, batch), _cancel, jobs)
        finally:
            dismiss(batch)
        return
    with ThreadPoolExecutor(jobs, "orl-bench") as own:
        try:
            yield Place(lambda run: own.submit(execute, run, batch), _cancel, jobs)
        finally:
            own.shutdown(wait=False, cancel_futures=True)
            dismiss(batch)  # after a Ctrl-C they are still at work


def _cancel(futures: Iterable[Future[Row]]) -> None:
    for future in futures:
        future.cancel()


@contextmanager
def _on_cluster(scheduler: str, runs: Sequence[Run], batch: str) -> Iterator[Place]:
    with cluster.connected(scheduler) as client:
        cluster.check_workers(client, Needs.lacking, needs_of(runs))
        identity, own = cluster.identity(), client.get_executor(pure=False)

        def submit(run: Run) -> Future[Row]:
            return own.submit(execute_there, run, batch, needs_of([run]), identity)

        def call_off(_: Iterable[Future[Row]]) -> None:
            # One by one a future's `cancel` would go to the scheduler and back.
            with suppress(Exception):  # the scheduler may be gone
                own.shutdown(wait=False)

        try:
            yield Place(submit, call_off, sum(client.ncores().values()) or 1)
        finally:
            call_off(())
            with suppress(Exception):
                client.run(dismiss, batch, on_error="ignore")


def execute_there(run: Run, batch: str, needs: Needs, identity: Mapping[str, str]) -> Row:
    """Make a run on a worker that has what it needs.

    Raises
    ------
    InputError
        If it has not.
    """
    amiss = cluster.difference(identity) or needs.lacking()
    if amiss:
        from distributed import get_worker

        raise InputError(f"the worker at {get_worker().address} {amiss}")
    return execute(run, batch)


@dataclass(frozen=True)
class Needs:
    """What runs need of the user's own, which a row depends on.

    Parameters
    ----------
    folder : str
        The suite's.
    files, modules : name -> SHA-256 of the bytes
        Instances by path, modules by the names that solvers go by; None for a folder.
    programs : tuple of str
        Of commands.
    """

    folder: str
    files: Mapping[str, str | None]
    modules: Mapping[str, str | None]
    programs: tuple[str, ...]

    def lacking(self) -> str:
        """Return the first thing that this machine does not have, as a sentence without its subject; or ''."""
        for path, digest in self.files.items():
            if not Path(path).exists():
                return f"has no {path}; instances must be there at the same path as here."
            if _digest(path) != digest:
                return f"has another {path} than is here."
        for name, digest in self.modules.items():
            origin = _origin(name, self.folder)
            if origin is None:
                return f"finds no module {name}; it must be on its path, or in {self.folder}."
            if _digest(origin) != digest:
                return f"has another module {name} than is here."
        for program in self.programs:
            if shutil.which(program) is None:
                return f"has no program {program} that can be run."
        return ""


def needs_of(runs: Iterable[Run]) -> Needs:
    """Return what runs of one suite need."""
    folder = ""
    files: dict[str, str | None] = {}
    modules: dict[str, str | None] = {}
    programs: list[str] = []
    for run in runs:
        folder = run.folder
        if Path(run.path).is_absolute():  # else packaged
            files[run.path] = _digest(run.path)
        for name in (run.solver, run.problem):
            if name is not None and ":" in name:
                module = name.partition(":")[0]
                modules[module] = _digest(_origin(module, folder) or "")
        if run.command is not None:
            program = words_of(run.command)[0]
            programs.append(str(Path(folder) / program) if "/" in program else program)
    return Needs(folder, files, modules, tuple(dict.fromkeys(programs)))


def _digest(path: str) -> str | None:
    """Return the hash of a file's bytes; None for what is no file."""
    try:
        about = Path(path).stat()
    except OSError:
        return None
    return _digest_of(path, about.st_mtime_ns, about.st_size) if Path(path).is_file() else None


@lru_cache(maxsize=10**5)
def _digest_of(path: str, mtime: int, size: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _origin(module: str, folder: str) -> str | None:
    """Return the file of a module, on the path or beside the suite."""
    with modules_of(folder), suppress(ImportError, ValueError):
        found = importlib.util.find_spec(module)
        return found.origin if found is not None else None
    return None
