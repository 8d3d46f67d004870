"""The batch's end of a child process: a run goes in, a row comes out, whatever happens to the child.

A pool of processes breaks as a whole when one of them crashes, and a new process for each run costs a second or two of
imports. So each thread or process of an executor keeps one child, and replaces it when it has died or been killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from orl.benchmark.measure import failure
from orl.benchmark.runs import Run

TAIL = 600  # characters of a dead child's stderr that its row keeps
_OF_THREAD = threading.local()
_LOCK = threading.Lock()
_WORKERS: weakref.WeakSet[Worker] = weakref.WeakSet()  # of all threads
_OVER: set[str] = set()  # batches


def execute(run: Run, batch: str) -> dict[str, Any]:
    """Make a run of a batch in the child process of this thread and return its row; an executor is given this.

    Another batch has another child, as a user's modules may have changed meanwhile.
    """
    worker: Worker | None = getattr(_OF_THREAD, "worker", None)
    if worker is None or worker.batch != batch:
        with _LOCK:
            if batch in _OVER:
                raise RuntimeError("the batch has ended.")
            worker = _OF_THREAD.worker = Worker(batch)
            _WORKERS.add(worker)
    return worker.execute(run)


def dismiss(batch: str) -> None:
    """End the children that this process has for a batch at once, whatever they do, and let it have no more."""
    with _LOCK:
        _OVER.add(batch)
        workers = [worker for worker in _WORKERS if worker.batch == batch]
    for worker in workers:
        worker.close()


class Worker:
    """Keeps a child process, started when first needed."""

    def __init__(self, batch: str = "") -> None:
        self.batch = batch
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._is_closed = False
        self._starting = threading.Lock()  # another thread may close while this one starts a child

    def execute(self, run: Run) -> dict[str, Any]:
        """Return the row of a run; a child that ends or takes too long is one, too."""
        began = time.perf_counter()
        with self._starting:
            process = self._living()
        is_late = threading.Event()

        def kill() -> None:
            is_late.set()
            _kill(process)

        timer = threading.Timer(run.kill_after, kill)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdin and process.stdout
            with suppress(BrokenPipeError):  # it died just now: no answer will come
                process.stdin.write((json.dumps(asdict(run)) + "\n").encode())
                process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            timer.cancel()
        if answer.endswith(b"\n") and not is_late.is_set():
            return json.loads(answer)
        return {**self._obituary(run, process, is_late.is_set()), "wall_seconds": time.perf_counter() - began}

    def close(self) -> None:
        """End the child at once, whatever it does."""
        with self._starting:
            self._is_closed = True
            if self._process is not None:
                _kill(self._process)

    def _living(self) -> subprocess.Popen[bytes]:
        """Return the child, a new one if there is none or it has died."""
        if self._is_closed:
            raise RuntimeError("the batch has ended.")
        if self._process is not None and self._process.poll() is not None:  # it died between two runs
            assert self._errors is not None
            _end(self._process, self._errors)
            self._process = None
        if self._process is None:
            self._errors = tempfile.TemporaryFile(mode="a+b", buffering=0)  # noqa: SIM115 - the child's, as long as it lives
            found = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)  # what we can import, it can
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from orl.benchmark.child import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # of its own group, and out of reach of the terminal's Ctrl-C
                env={**os.environ, "PYTHONPATH": found},
            )
            weakref.finalize(self, _end, self._process, self._errors)
        assert self._errors is not None
        self._errors.truncate(0)
        return self._process

    def _obituary(self, run: Run, process: subprocess.Popen[bytes], is_late: bool) -> dict[str, Any]:
        assert self._errors is not None
        _kill(process)  # what it may have started, and its guard; and itself, should it merely have closed the pipe
        code = process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 8 * TAIL))
        said = _brief(self._errors.read().decode(errors="replace"))
        _end(process, self._errors)
        self._process = None
        if is_late:
            message = f"killed after {run.kill_after:g} s, with a time limit of {run.time_limit:g} s"
            return failure(run, "timed-out", f"{message}. {said}")
        if code == -signal.SIGKILL:
            return failure(run, "killed", f"killed from outside, as the system does when memory runs out. {said}")
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return failure(run, "crashed", f"{cause}. {said}")


def _brief(errors: str) -> str:
    """Return the head of Python's own report of a crash, or else the end of what was written."""
    fault = errors.find("Fatal Python error")
    return errors[fault : fault + TAIL] if fault >= 0 else errors[-TAIL:]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a child's whole group. It is not reaped yet, so its number is still its own."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    """Close what leads to a child, which ends it, and wait until it has."""
    for pipe in (process.stdin, process.stdout, errors):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()
