"""What the robustness tables share: a command is run, and what became of it is one word."""

from __future__ import annotations

import io
import json
import math
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from orl import cli

RUN = Path(__file__).resolve().parent.parent / "run.py"
SLOW = 1.0  # seconds of work until something is refused
HANG = 120.0  # seconds, after which anything is stopped
MEMORY = 6 << 30  # bytes of address space
REFUSED, HANDLED = "refused", "handled"  # in one line with code 2; done, or told that there is no solution, code 1


class Case(NamedTuple):
    """A command, whether it may be done, and what must hold of the place when it has ended."""

    arguments: Sequence[str]
    may_pass: bool = True
    holds: Callable[[], str] = str  # '' or what is wrong
    before: Callable[[], Any] = str


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
        return REFUSED if seconds < SLOW else f"refused after {seconds:.1f} s: {told[0][:100]}"
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


def outcome(case: Case) -> str:
    """Run a command in this process; see `judged`."""
    out, err = io.StringIO(), io.StringIO()
    case.before()

    def ring(*_: Any) -> None:
        raise TimeoutError("a hang")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HANG)
    started = time.process_time()
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # of numpy: an overflow is no answer
            code: Any = cli.main(list(case.arguments))
    except SystemExit as error:
        code = error.code
    except BaseException as error:
        return f"traceback: {type(error).__name__}: {str(error)[:150]}"
    finally:
        seconds = time.process_time() - started
        signal.setitimer(signal.ITIMER_REAL, 0)
    return (
        judged(code, out.getvalue(), err.getvalue(), seconds, case.may_pass) if not (wrong := case.holds()) else wrong
    )


def outcome_of_process(
    case: Case, prefix: Sequence[str] = (), stdin: str = "", python: str = sys.executable, **how: Any
) -> str:
    """Run a command in a process of its own; see `judged`. Its start is no work of the command's."""
    case.before()
    command = [*prefix, python, *([str(RUN)] if python == sys.executable else ["-m", "orl"]), *case.arguments]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=HANG, check=False, **how)
    except subprocess.TimeoutExpired:
        return f"a hang of {HANG:g} s"
    found = judged(done.returncode, done.stdout, done.stderr, 0.0, case.may_pass)
    return found if not (wrong := case.holds()) else wrong


def counted(cases: Iterable[Case], run: Callable[[Case], str] = outcome) -> Mapping[str, Any]:
    """Run cases and return how often each outcome was, and which commands ended as none should."""
    counts, failures = Counter[str](), []
    for case in cases:
        found = run(case)
        is_right = found in (REFUSED, HANDLED)
        counts[found if is_right else "failed"] += 1
        if not is_right:
            failures.append(f"{' '.join(case.arguments)[-200:]!r}: {found}")
            print(failures[-1], flush=True)
    return {"counts": dict(counts), "failures": failures[:40]}
