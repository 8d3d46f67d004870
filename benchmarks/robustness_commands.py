"""What the robustness tables share: a command is run, and what became of it is one word."""

from __future__ import annotations

import io
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from tqdm import tqdm

from orl import cli, registry

RUN = Path(__file__).resolve().parent.parent / "run.py"
tqdm.monitor_interval = 0  # no thread of this process may hold a lock when it forks
SLOW = 1.0  # seconds of work until something is refused
HANG = 120.0  # seconds of work, after which anything is stopped, compiling included; of the clock five times as many
MEMORY = 6 << 30  # bytes of address space
LATE = "refused after"
REFUSED, HANDLED = "refused", "handled"  # in one line with code 2; done, or told that there is no solution, code 1


class Case(NamedTuple):
    """A command, whether it may be done, and what must hold of the place when it has ended."""

    arguments: Sequence[str]
    may_pass: bool = True
    holds: Callable[[], str] = str  # '' or what is wrong
    before: Callable[[], Any] = str


def methods(family: str) -> list[str]:
    """Return all that a family may be solved by, rules included."""
    problem = registry.find_problem(family)
    return [*registry.solver_names(problem), *registry.rules_of(problem)]


def limited() -> None:
    """Let this process have so much memory, and no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def judged(code: Any, out: str, err: str, seconds: float, may_pass: bool) -> str:
    """Return what became of a command, in a word if it is as it should be."""
    said = [line for line in err.splitlines() if line.strip()]
    told = [line for line in said if line.startswith("orl: ")]
    if "Traceback (most recent call last)" in err or "Traceback (most recent call last)" in out:
        return f"traceback: {said[-1][:150] if said else out[-150:]}"
    if code == cli.BAD_INPUT:
        if len(told) != 1 or not told[0].removeprefix("orl: ").strip():
            return f"refused in {len(told)} lines"
        return REFUSED if seconds < SLOW else f"{LATE} {seconds:.1f} s: {told[0][:100]}"
    if code not in (cli.SOLVED, cli.NO_SOLUTION):
        return f"exit code {code}: {said[-1][:150] if said else ''}"
    if not may_pass:
        return f"not refused, code {code}"
    return wrong_result(out, code) or HANDLED


def wrong_result(out: str, code: int) -> str:
    """Return what is wrong with the Result that a command printed; '' for nothing, and for other output."""
    if not out.startswith("{"):
        return ""
    try:
        result = json.loads(out)
    except ValueError as error:
        return f"no JSON: {error}"
    value = result.get("value")
    if code == cli.SOLVED and not (result.get("verified") and value is not None and math.isfinite(value)):
        return f"code 0 with value {value}, verified {result.get('verified')}"
    return ""


class Hang(BaseException):
    """Raised where a command has worked too long; no command takes it for an error of its own."""


def outcome(case: Case) -> str:
    """Run a command in this process; see `judged`."""
    out, err = io.StringIO(), io.StringIO()
    case.before()

    def ring(*_: Any) -> None:
        raise Hang

    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, HANG)
    started = time.process_time()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code: Any = cli.main(list(case.arguments))
    except SystemExit as error:
        code = error.code
    except Hang:
        return "a hang"
    except BaseException as error:
        return f"traceback: {type(error).__name__}: {str(error)[:150]}"
    finally:
        seconds = time.process_time() - started
        signal.setitimer(signal.ITIMER_PROF, 0)
    return case.holds() or judged(code, out.getvalue(), err.getvalue(), seconds, case.may_pass)


def outcome_of_process(case: Case, prefix: Sequence[str], **how: Any) -> str:
    """Run a command, after `prefix`, in a process of its own; see `judged`. Its start is no work of the command's."""
    case.before()
    command = [*prefix, *case.arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5 * HANG, check=False, **how)
    except subprocess.TimeoutExpired:
        return "a hang"
    return case.holds() or judged(done.returncode, done.stdout, done.stderr, 0.0, case.may_pass)


def outcome_of_fork(case: Case, changed: Callable[[], Any] = str) -> str:
    """Run a command in a process forked from this one, where user, limits or folder can be `changed`; see `judged`."""
    case.before()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        pid = fork(case.arguments, out, err, changed)
        _, status, used = os.wait4(pid, 0)
        seconds = used.ru_utime + used.ru_stime
        out.seek(0)
        err.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return case.holds() or judged(code, out.read(), err.read(), seconds, case.may_pass)


def fork(arguments: Sequence[str], out: IO[str], err: IO[str], changed: Callable[[], Any] = str) -> int:
    """Start a command in a process forked from this one, and return its number."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code: Any = 99
    try:
        for file, stream in ((out, 1), (err, 2)):
            os.dup2(file.fileno(), stream)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_CPU, (int(HANG), int(HANG)))
        changed()
        code = cli.main(list(arguments))
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 98
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def counted(cases: Iterable[Case], run: Callable[[Case], str] = outcome) -> Mapping[str, Any]:
    """Run cases and return how often each outcome was, and which commands ended as none should."""
    counts, failures = Counter[str](), []
    for case in cases:
        found = run(case)
        if found.startswith(LATE):  # once more: what is imported and compiled for the first time is no fault
            found = run(case)
        is_right = found in (REFUSED, HANDLED)
        counts[found if is_right else "failed"] += 1
        if not is_right:
            said = f"{' '.join(case.arguments)[-200:]!r}: {found}"
            failures.append(re.sub(rf"{re.escape(tempfile.gettempdir())}/\w+/", "", said))  # where is of no interest
            print(failures[-1], flush=True)
    return {"counts": dict(counts), "failures": failures[:40]}
