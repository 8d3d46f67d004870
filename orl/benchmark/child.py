"""The child process that runs are made in, one after another: a line of JSON in, a row as a line of JSON out.

It is the leader of a process group of its own. A guard, a process forked off before anything large is imported, waits
for the other end of the child's stdin to close, which the system does when the batch ends in whatever way, `kill -9`
among them; then it kills the group: the child, and whatever a method or a command may have started. A thread could not
do that while a method holds the interpreter's lock, and Linux's PR_SET_PDEATHSIG would leave the child's own children.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

LEAVE_SECONDS = 1.0  # that an idle child has to end by itself before its guard kills it


def main() -> None:
    """Serve until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the batch's matter
    guard = _start_guard()
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # neither a method nor a command may read or write what we talk over
    os.dup2(2, 1)
    faulthandler.enable()
    with suppress(OSError):  # when memory runs out, let the system kill a child rather than the batch
        Path("/proc/self/oom_score_adj").write_text("1000")
    from orl.benchmark.measure import measure, to_line
    from orl.benchmark.runs import Run

    for line in requests:
        _write(answers, to_line(measure(Run(**json.loads(line)))))
    os.kill(guard, signal.SIGKILL)
    os.waitpid(guard, 0)
    os.killpg(0, signal.SIGKILL)  # what a command may have left behind, and ourselves


def _start_guard() -> int:
    guard = os.fork()
    if guard:
        return guard
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    devnull = os.open(os.devnull, os.O_RDWR)
    os.dup2(devnull, 1)  # or the batch would not see the child's end
    os.dup2(devnull, 2)
    closing = select.poll()
    closing.register(0, 0)  # no events asked for: only the end of the other side is told
    closing.poll()
    time.sleep(LEAVE_SECONDS)
    os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    sys.exit("the batch starts this program; see orl.benchmark.worker.")
