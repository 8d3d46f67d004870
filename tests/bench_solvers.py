"""Methods that misbehave, for the tests of the runner; a suite names them as `bench_solvers:NAME`."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orl.result import Status
from orl.solver import Outcome, Solver


@dataclass(frozen=True)
class Settings:
    seconds: float = 0.0
    file: str = ""


def solver(name, solve):
    return Solver(name, "", Settings, lambda problem: True, solve=solve)


def quick(task):
    """Give the instance's solution by its first rule, after a while."""
    import orl

    time.sleep(task.settings.seconds)
    return Outcome(Status.FEASIBLE, orl.evaluate(task.instance, "spt").solutions)


def segfault(task):
    print("about to fall", file=sys.stderr)
    ctypes.string_at(0)


def leave(task):
    os._exit(3)


def shot(task):
    os.kill(os.getpid(), signal.SIGKILL)


def greedy(task):
    return [np.ones(10**9) for _ in range(10**3)]


def stubborn(task):
    """Take no notice of time, interruption or the interpreter lock's other users, and start a process besides."""
    sleeper = subprocess.Popen(["sleep", "1000"])
    Path(task.settings.file or os.devnull).write_text(f"{os.getpid()} {sleeper.pid}")
    ctypes.PyDLL(None).sleep(1000)  # PyDLL keeps the lock


def wrong(task):
    raise ValueError("no idea")


def chatty(task):
    print('{"key": 1}', flush=True)
    os.write(1, b'{"key": 2}\n')
    assert sys.stdin.read() == ""
    return quick(task)


def killer(task):
    """Kill whoever started this process, if that is a worker of a cluster, which is spawned, and not the batch."""
    if b"multiprocessing.spawn" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes():
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)
    return quick(task)


QUICK = solver("quick", quick)
SEGFAULT = solver("segfault", segfault)
LEAVE = solver("leave", leave)
SHOT = solver("shot", shot)
GREEDY = solver("greedy", greedy)
STUBBORN = solver("stubborn", stubborn)
WRONG = solver("wrong", wrong)
KILLER = solver("killer", killer)
CHATTY = solver("chatty", chatty)
