"""One run: warmed up, timed, verified, its peak memory taken, and written down as one row of plain values.

A row holds what `Run` says of the run and what `Result.to_dict` says of its result, and besides:

    status               as in `orl.Status`, or one of `FAILURES`
    message              one line on what went wrong, or what a command wrote to stderr; else null
    wall_seconds         of the whole run, with loading, warming up and verification
    seconds_per_decision where the method tells its `seconds_per_decision`; else null
    peak_memory_mb       resident peak of the process that ran it, Python and libraries included; null where unknown
    instance_settings    what the suite sets of the instance; `settings` holds everything, defaults included
    clairvoyant          whether the method knew the scenarios, as a policy that is given them or as a hindsight model
    started              UTC time stamp
    machine              cores and processor
    solution             the file of its first solutions, see `orl.benchmark.kept`; null where none is kept
"""

from __future__ import annotations

import gc
import json
import os
import platform
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orl import files, params, registry
from orl.benchmark import kept
from orl.benchmark.command import CommandFailed, command_solver, write_instance
from orl.benchmark.memory import forget_peak, limited_memory, peak_memory_mb
from orl.benchmark.runs import Run, modules_of, words_of
from orl.errors import InputError
from orl.result import Result, Status
from orl.run import run_method
from orl.solver import Solver

FAILURES = {
    "failed": "the method raised an error",
    "crashed": "the process ended by itself",
    "killed": "somebody else killed the process, as the system does when memory runs out",
    "timed-out": "killed by us, long after its time limit",
    "out-of-memory": "more memory asked for than there is, or than the suite allows",
}
WARM_UP_SECONDS = 1.0
MAX_MESSAGE = 1000
_WARM: set[tuple[str, str, bool]] = set()


def measure(run: Run) -> dict[str, Any]:
    """Run a method in this process and return its row; whatever it raises becomes a row as well."""
    began, started = time.perf_counter(), _now()
    heard: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="orl-bench-") as scratch, modules_of(run.folder):
            result, peak, solution = _run(run, Path(scratch), heard)
        row = {**_row_of(run, result, peak, heard), "solution": solution}
    except MemoryError as error:
        row = failure(run, "out-of-memory", str(error) or "MemoryError")
    except CommandFailed as error:
        row = failure(run, "failed", " ".join([str(error), *heard]))
    except InputError as error:
        row = failure(run, "failed", str(error))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        row = failure(run, "failed", f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})")
    return {**row, "started": started, "wall_seconds": time.perf_counter() - began}


def failure(run: Run, status: str, message: str) -> dict[str, Any]:
    """Return the row of a run that gave no result."""
    empty: dict[str, Any] = dict.fromkeys(("value", "bound", "gap", "best_known", "gap_best_known", "interval",
                                           "seconds", "seconds_per_decision", "peak_memory_mb"))  # fmt: skip
    return {
        **_about(run),
        **empty,
        "status": status,
        "verified": False,
        "bound_kind": "none",
        "costs": [],
        "clairvoyant": False,
        "violations": [],
        "metrics": {},
        "trace": [],
        "versions": _versions(),
        "solution": None,
        "message": " ".join(message.split())[:MAX_MESSAGE],
        "started": _now(),
        "wall_seconds": None,
    }


def _run(run: Run, scratch: Path, heard: list[str]) -> tuple[Result, float | None, str | None]:
    family = registry.find_problem(run.problem)
    file = files.find_instance(run.path, [family.name])
    instance = family.load(file, run.settings)
    if run.command is not None:
        path = write_instance(family, instance, file, bool(run.settings), scratch)
        words = words_of(run.command)
        method = command_solver(run.label, words, Path(run.folder), path, run.memory_limit_gb, heard.append)
    else:
        assert run.solver is not None
        method = registry.find_solver(run.solver, family)
    options: Any = params.make(method.settings, run.options, method.name)
    if run.command is None:
        _warm_up(run, family, instance, method, options)
    gc.collect()
    is_measured = forget_peak()
    with limited_memory(None if run.command else run.memory_limit_gb):
        result = run_method(
            family,
            instance,
            method,
            options,
            scenarios=run.scenarios,
            purpose=run.purpose,
            time_limit=run.time_limit,
            seed=run.seed,
        )
    peak = peak_memory_mb() if is_measured else None
    return result, peak, kept.to_json(family, instance, result, run.keep_solutions)


def _warm_up(run: Run, family: Any, instance: Any, method: Solver, options: Any) -> None:
    """Run a method once for at most a second, unmeasured: its first run in a process imports and compiles."""
    what = (run.problem, str(run.solver), run.is_random)
    if what not in _WARM:
        limit = min(run.time_limit, WARM_UP_SECONDS)
        with suppress(Exception), limited_memory(run.memory_limit_gb):  # the run that counts will tell
            run_method(family, instance, method, options, scenarios=1, time_limit=limit, seed=run.seed)
        _WARM.add(what)


def _row_of(run: Run, result: Result, peak: float | None, heard: list[str]) -> dict[str, Any]:
    row = {**_about(run), **result.to_dict()}
    if run.command is not None:  # the peak of the command's process, not of ours
        peak = row["metrics"].pop("peak_memory_mb", None)
    return {
        **row,
        "problem": run.problem,
        "instance": run.instance,
        "clairvoyant": result.clairvoyant,
        "violations": row["violations"][:5],
        "message": " ".join(" ".join(heard).split())[:MAX_MESSAGE] or None,
        "peak_memory_mb": None if peak is None else round(peak, 1),
        "seconds_per_decision": row["metrics"].get("seconds_per_decision"),
    }


def _about(run: Run) -> dict[str, Any]:
    names = ("path", "folder", "kill_after", "options", "keep_solutions")
    about = {key: value for key, value in asdict(run).items() if key not in names}
    about["instance_settings"] = run.settings
    about["settings"] = {**run.settings, **run.options}
    return {**about, "machine": {"cores": os.cpu_count(), "processor": platform.machine()}}


def _versions() -> dict[str, str]:
    from orl.versions import versions

    return versions()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def is_complete(row: Any) -> bool:
    """Tell whether a line of a log is a row."""
    return isinstance(row, dict) and isinstance(row.get("key"), str) and (row.get("status") in {*FAILURES, *Status})


def to_line(row: dict[str, Any]) -> bytes:
    """Return a row as one line of JSON."""
    return (json.dumps(row, allow_nan=False) + "\n").encode()
