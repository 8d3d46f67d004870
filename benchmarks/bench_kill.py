"""A batch killed by `kill -9` a hundred times at random moments and resumed each time: what is lost, what is repeated.

python benchmarks/bench_kill.py [--kills N]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import record

from orl.benchmark.run_log import read_rows
from orl.benchmark.suite import read_suite

RUN = Path(__file__).resolve().parent.parent / "run.py"
JOBS = 2
FROM_START, FROM_ROW = 4.0, 1.0  # seconds: the longest wait, every other time, from the start and from a new row
SUITE = """\
time_limit = 5
seeds = {seeds}
[[runs]]
instances = ["jobshop/la*"]
settings = {{ runs = 200 }}
solvers = ["spt", "random", "best-of", {{ command = "true {{instance}} {{solution}}", label = "command" }}]
"""


def children(pid):
    """Return the processes that a process has started, and those that these have."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            child = int(path.parent.name)
            found += [child, *children(child)]
    return found


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def start(suite, out):
    command = [sys.executable, RUN, "bench", suite, "--out", out, "--jobs", str(JOBS), "--resume"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_row(batch, log, before):
    """Wait until a batch has written something to its log."""
    while batch.poll() is None and (log.stat().st_size if log.exists() else 0) <= len(before):
        time.sleep(0.002)


def lost_rows(before, after):
    """Return how many complete lines of the log are no longer there, or not the same."""
    kept = before[: before.rfind(b"\n") + 1].splitlines()
    return sum(a != b for a, b in zip(kept, after.splitlines() + [b""] * len(kept), strict=False))


def main():
    """Kill, resume, count, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    kills = parser.parse_args().kills
    rng = random.Random(0)
    lost = half_lines = silent = 0
    started: set[int] = set()
    with tempfile.TemporaryDirectory() as folder:
        suite, out = Path(folder) / "suite.toml", Path(folder) / "out"
        suite.write_text(SUITE.format(seeds=list(range(max(1, kills // 3)))))
        total, log, before = len(read_suite(suite).runs), out / "runs.jsonl", b""
        for number in range(kills):
            batch = start(suite, out)
            if number % 2:
                wait_for_row(batch, log, before)
            time.sleep(rng.uniform(0, FROM_ROW if number % 2 else FROM_START))
            if batch.poll() is not None:
                raise SystemExit("the batch was done before it could be killed; give it more seeds.")
            started.update(children(batch.pid))
            batch.kill()
            batch.wait()
            after = log.read_bytes() if log.exists() else b""
            lost += lost_rows(before, after)
            half_lines += not after.endswith(b"\n") and bool(after)
            silent += after == before
            before = after
        killed = len(read_rows(out))
        time.sleep(3)
        orphans = sum(map(is_running, started))
        start(suite, out).wait()
        lost += lost_rows(before, log.read_bytes())
        rows = [json.loads(line) for line in log.read_bytes().splitlines()]
    keys = [row["key"] for row in rows]
    record.write(
        "bench_kill",
        "A batch that is killed and resumed",
        [
            (f"{total} runs, {JOBS} at a time; `kill -9` at random moments, up to {FROM_START:g} s after the start or "
             f"{FROM_ROW:g} s after the first new row, in turn.",
             ["kills", "before any new row", "half lines cut off", "complete rows lost", "runs repeated",
              "runs missing", "processes left behind", "rows before the last start", "rows at the end"],
             [[kills, silent, half_lines, lost, len(keys) - len(set(keys)), total - len(set(keys)), orphans, killed,
               len(rows)]]),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
