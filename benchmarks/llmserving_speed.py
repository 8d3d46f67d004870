"""Speed of the LLM-serving kernels on one core: iterations a second, a whole trace, how time and memory grow.

    python benchmarks/llmserving_speed.py

Seconds are of processor time, medians, the reset of an episode taken off; memory is what a process of its own
holds at the end, less what it holds with its libraries loaded and its kernels compiled (Linux only).
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import record

import orl
from orl.problems.llmserving.instance import Requests, Serving, ServingSettings
from orl.problems.llmserving.metrics import metrics
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.rules import RULES
from orl.problems.llmserving.server import server
from orl.problems.llmserving.simpy_twin import RUN, play
from orl.problems.llmserving.verify import replayed, verify
from orl.scenario import Scenarios

NOTHING = Scenarios.deterministic()
REPEATS = 11
RUNNING = (10, 50, 100, 250)
SIZES = (5_000, 10_000, 20_000, 40_000, 80_000)
SHOWN = ("fcfs", "priority", "shortest", "mc-sf", "las", "vtc")
TRACE = "llmserving/azure-conv"


def asked(requests: int, rate: float = 0.0, running: int = 256, **settings) -> Serving:
    """Return a server of 8 clients' requests, 50-150 tokens in and 100-300 out; all at once if there is no rate."""
    options = ServingSettings(gpu="a100-80g", max_num_seqs=running, enable_prefix_caching=False, **settings)
    rng = np.random.default_rng(0)
    gaps = rng.exponential(1 / rate, requests) if rate else np.zeros(requests)
    prompt, output = rng.integers(50, 151, requests), rng.integers(100, 301, requests)
    same = np.zeros(requests, dtype=np.int64)
    priority, client = rng.integers(4, size=requests), np.arange(requests) % 8
    workload = Requests(np.cumsum(gaps), prompt, output, client, priority, same + 1.0, same - 1, same)
    return Serving("asked", workload, settings=options, **server(options))


def episode(one: Serving, rule: str, repeats: int = REPEATS) -> tuple[float, int]:
    """Return the seconds of an episode and its iterations."""
    process = ServingProcess([one], [NOTHING])
    spent = []
    for repeat in range(repeats + 1):
        process.reset()
        started = time.process_time()
        process.run(RULES[rule], np.zeros(1, dtype=np.uint64))
        if repeat:  # the first one compiles, and its log grows
            spent.append(time.process_time() - started)
    return statistics.median(spent), len(process.solution(0).decided)


def pace(one: Serving, rule: str) -> float:
    """Return thousands of iterations a second."""
    seconds, iterations = episode(one, rule)
    return iterations / seconds / 1e3


def against_the_twin() -> list[object]:
    """Return milliseconds of an episode by kernel and by twin, first come, first served, at 50 running requests."""
    one = asked(100, running=50, async_scheduling=False)
    seconds, _ = episode(one, "fcfs")

    def choose(server):
        legal = server.legal()
        return next((choice for choice in legal if choice[1] == "admit"), RUN)

    started = time.process_time()
    cost, _ = play(one, one.source, choose)
    twin = time.process_time() - started
    process = ServingProcess([one], [NOTHING])
    assert np.isclose(process.run(RULES["fcfs"], np.zeros(1, dtype=np.uint64))[0], cost)
    return [f"{1e3 * seconds:.2f}", f"{1e3 * twin:.0f}", f"{twin / seconds:.0f}"]


def trace() -> list[list[object]]:
    """Return seconds of each part of solving the whole trace."""
    started = time.process_time()
    one = orl.load(TRACE, settings={"requests": 0})
    loading = time.process_time() - started
    seconds, iterations = episode(one, "fcfs", 3)
    process = ServingProcess([one], [NOTHING])
    process.run(RULES["fcfs"], np.zeros(1, dtype=np.uint64))
    log = process.solution(0)
    parts = [["loading", loading], [f"simulating ({iterations} iterations)", seconds]]
    for name, work in (("verifying", verify), ("key figures", metrics)):
        replayed.cache_clear()  # else the second takes what the first remembers
        started = time.process_time()
        work(one, NOTHING, log)
        parts.append([name, time.process_time() - started])
    return parts


def memory(requests: int) -> float:
    """Return the MB that an episode needs, in a process of its own."""
    command = [sys.executable, __file__, str(requests)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(requests: int) -> None:
    episode(asked(100, 6.0), "fcfs", 1)
    before = resident()
    process = ServingProcess([asked(requests, 6.0)], [NOTHING])
    process.run(RULES["fcfs"], np.zeros(1, dtype=np.uint64))
    print(resident() - before)


def resident() -> float:
    """Return the MB that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    record.one_core()
    by_rule = [[rule, *(pace(asked(20 * running, running=running), rule) for running in RUNNING)] for rule in SHOWN]
    growth = []
    for size in SIZES:
        seconds, iterations = episode(asked(size, 6.0), "fcfs", 3)
        needs = memory(size)
        growth.append([size, iterations, 1e6 * seconds / size, f"{needs:.0f}", 1024 * needs / size])
    record.write(
        "llmserving_speed",
        "Speed of LLM serving on one core",
        [
            (
                "Thousands of iterations a second at so many running requests, 20 times as many asked at once.",
                ["rule", *(f"{running} running" for running in RUNNING)],
                by_rule,
            ),
            (
                f"{TRACE} whole, 19,366 requests: seconds.",
                ["part", "seconds"],
                trace(),
            ),
            (
                "Growth with the number of requests, 6 a second, first come, first served.",
                ["requests", "iterations", "microseconds a request", "MB", "KB a request"],
                growth,
            ),
            (
                "100 requests at up to 50 running, one batch at a time: milliseconds by kernel and by SimPy twin, of "
                "which a part is asking it what is legal.",
                ["kernel", "twin", "twin / kernel"],
                [against_the_twin()],
            ),
        ],
        digits=4,
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure_memory(int(sys.argv[1]))
    else:
        main()
