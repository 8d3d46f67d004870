"""`run_bench`: the runs of a suite go to an executor, their rows into a folder, a row the moment it is there."""

from __future__ import annotations

import queue
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from pathlib import Path
from typing import Any

from orl.benchmark import kept
from orl.benchmark.measure import failure
from orl.benchmark.places import Place, place_of
from orl.benchmark.run_log import RunLog, write_plan
from orl.benchmark.runs import Run, Suite
from orl.benchmark.suite import read_suite
from orl.benchmark.tables import write_tables
from orl.errors import InputError
from orl.files import write_atomically

FOLDER = "bench"  # results of a suite go to FOLDER/NAME unless told otherwise


def run_bench(
    suite: str | Path | Suite,
    out: str | Path | None = None,
    *,
    executor: Executor | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    resume: bool = False,
    verbose: bool = False,
) -> list[dict[str, Any]]:
    """Run a suite and write its rows, tables and pictures into a folder.

    Every run is made in a child process, verified, and appended to `runs.jsonl` as it finishes. A run that crashes,
    takes far too long or runs out of memory is a row that says so. A batch that was killed goes on with `resume`.
    Needs Linux or macOS.

    Parameters
    ----------
    suite : str, Path or Suite
        A path, or the name of a packaged suite.
    out : path or None
        The folder; None: `bench/<name of the suite>`.
    executor : concurrent.futures.Executor or None
        Where runs are made; None: `jobs` threads of this process. It stays open. With processes that are forked, call
        this before you start threads of your own.
    jobs : int, >= 1
        How many runs at a time, without an executor. One keeps times honest; methods may use several threads each.
    scheduler : str or None
        The address of a Dask scheduler, whose workers make the runs, each as many at a time as it has threads; in place
        of `executor` and `jobs`. A run whose worker dies is made again by another; if it takes several workers with it
        (Dask's `allowed-failures`), its row says `crashed`.
    resume : bool
        Whether the folder may hold runs: those that are complete, failures among them, are not repeated, unless the
        suite keeps solutions and theirs is missing.
    verbose : bool
        Whether to show a progress bar on a terminal.

    Returns
    -------
    list of dict
        The suite's rows in its order, as `orl.benchmark.measure` describes them.

    Raises
    ------
    InputError
        Before anything runs; later if the folder cannot be written any more, a worker that comes later is unlike us, or
        the scheduler is gone.
    KeyboardInterrupt
        After Ctrl-C; the folder holds what is complete, tables included.

    Examples
    --------
    >>> import tempfile, orl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     suite = Path(folder) / "tiny.toml"
    ...     _ = suite.write_text('[[runs]]\\ninstances = ["jobshop/ft06"]\\nsolvers = ["spt", "mwr"]')
    ...     rows = orl.run_bench(suite, folder)
    >>> [(row["label"], row["value"], row["verified"]) for row in rows]
    [('spt', 88, True), ('mwr', 61, True)]
    """
    if jobs < 1:
        raise InputError(f"there must be 1 job or more, got {jobs}.")
    if scheduler is not None and (executor is not None or jobs > 1):
        raise InputError("a scheduler takes the place of an executor and of jobs; give one of them.")
    suite = suite if isinstance(suite, Suite) else read_suite(suite)
    folder = folder_of(suite, out)
    with place_of(suite.runs, executor, jobs, scheduler) as place:
        log = RunLog(folder, resume)
        try:
            write_atomically(folder / "suite.toml", suite.text)
            write_plan(folder, suite)
            lost = kept.lost(folder, suite.runs, log.rows)
            done = {row["key"] for row in log.rows} - lost
            missing = [run for run in suite.runs if run.key not in done]
            with Progress(suite.runs, missing, log.rows, place.jobs, verbose) as progress:
                try:
                    _collect(missing, place, log, progress)
                finally:
                    rows = rows_of(suite, log.rows)
                    write_tables(rows, folder, suite)
        finally:
            log.close()
    return rows


def folder_of(suite: Suite, out: str | Path | None) -> Path:
    """Return the folder of a suite's results."""
    return Path(out) if out is not None else Path(FOLDER) / suite.name


def listing(suite: Suite, jobs: int = 1) -> str:
    """Return a line a run, and the time that all take at most if every method keeps to its limit."""
    lines = [
        f"{run.table}: {run.label} on {run.instance}, seed {run.seed}"
        + (f", {run.scenarios} scenarios" if run.is_random else "")
        + f", {run.time_limit:g} s"
        for run in suite.runs
    ]
    most = sum(run.time_limit for run in suite.runs) / jobs
    return "\n".join([*lines, f"{len(lines)} runs, {duration(most)} at most with {jobs} at a time"])


def rows_of(suite: Suite, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a suite's rows in its order, under the names that it now gives to tables and methods."""
    by_key = {row["key"]: row for row in rows}
    return [
        {**by_key[run.key], "table": run.table, "label": run.label} for run in suite.runs if run.key in by_key
    ]  # fmt: skip


def _collect(runs: Sequence[Run], place: Place, log: RunLog, progress: Progress) -> None:
    finished: queue.SimpleQueue[Future[dict[str, Any]]] = queue.SimpleQueue()
    run_of: dict[Future[dict[str, Any]], Run] = {}
    try:
        for run in runs:
            run_of[future := place.submit(run)] = run
            future.add_done_callback(finished.put)
        for _ in runs:
            future = progress.wait_for(finished)
            # Forgotten here, a row is forgotten by a cluster, too, which would else make it again to replace a worker.
            run = run_of.pop(future)
            row = kept.store(log.path.parent, _row(future, run))
            del future
            log.append(row)
            progress.note(run, row)
    finally:
        place.cancel(run_of)


def _row(future: Future[dict[str, Any]], run: Run) -> dict[str, Any]:
    try:
        return future.result()
    except InputError:  # a place that is not fit for any run
        raise
    except (BrokenExecutor, CancelledError) as error:
        raise Broken(f"the executor broke: {type(error).__name__}: {error}; go on with resume.") from error
    except Exception as error:  # such as a cluster's news that it has lost a worker
        return failure(run, "crashed", f"the executor lost the run: {type(error).__name__}: {error}")


class Broken(InputError, RuntimeError):
    """Report that the place where runs are made broke; the rows so far are kept."""


class Progress:
    """Shows how far a batch is, and an estimate of what remains from the time that each method has taken so far.

    A method of which no run has finished is taken to need its time limit.
    """

    def __init__(
        self, runs: Sequence[Run], missing: Sequence[Run], rows: Sequence[dict[str, Any]], jobs: int, is_shown: bool
    ):
        from tqdm import tqdm

        self._waiting = {run.key: run for run in missing}
        self._jobs = jobs
        self._seconds: dict[tuple[str, str, float], list[float]] = defaultdict(list)
        self._failed = 0
        self._bar = tqdm(
            total=len(runs),
            initial=len(runs) - len(missing),
            disable=None if is_shown else True,
            file=sys.stderr,
            bar_format="{percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt} runs, {elapsed}{postfix}",
        )
        by_key = {run.key: run for run in runs}
        for row in rows:
            if row["key"] in by_key:
                self._learn(by_key[row["key"]], row)
        self._show()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @property
    def seconds_left(self) -> float:
        """The estimate, without regard to what the runs in flight have done already."""
        return sum(map(self._expected, self._waiting.values())) / self._jobs

    def wait_for(self, finished: queue.SimpleQueue[Any]) -> Any:
        """Return the next entry of a queue; the clock ticks meanwhile."""
        while True:
            try:
                return finished.get(timeout=1.0)
            except queue.Empty:
                self._bar.refresh()

    def note(self, run: Run, row: dict[str, Any]) -> None:
        """Count a finished run."""
        self._waiting.pop(run.key, None)
        self._learn(run, row)
        self._show()
        self._bar.update(1)

    def _learn(self, run: Run, row: dict[str, Any]) -> None:
        self._failed += not row["verified"]
        if row.get("wall_seconds") is not None:
            self._seconds[run.table, run.label, run.time_limit].append(row["wall_seconds"])

    def _expected(self, run: Run) -> float:
        known = self._seconds.get((run.table, run.label, run.time_limit))
        return sum(known) / len(known) if known else run.time_limit

    def _show(self) -> None:
        left = f"about {duration(self.seconds_left)} left" if self._waiting else "done"
        failed = f", {self._failed} without a verified solution" if self._failed else ""
        self._bar.set_postfix_str(f"{left}{failed}", refresh=False)


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(42.3), duration(600), duration(9000)
    ('43 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{-int(-seconds // 1)} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
