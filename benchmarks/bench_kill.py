"""Batches killed by `kill -9` at random moments and resumed each time: what is lost, what is repeated.

python benchmarks/bench_kill.py measure [--series 24]     batches killed 25 times each; those that are there stay
python benchmarks/bench_kill.py                           write the table

Trainings are killed by train_kill.py.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import record
import rows

from orl.benchmark.run_log import read_rows
from orl.benchmark.suite import read_suite

RUN = Path(__file__).resolve().parent.parent / "run.py"
RAW = record.RESULTS / "bench_kill"
JOBS = 2
KILLS = 25  # of a batch
FROM_START, FROM_ROW = 4.0, 1.0  # seconds: the longest wait, every other time, from the start and from a new row
SUITE = """\
time_limit = 5
seeds = [0]
[[runs]]
instances = ["jobshop/la*"]
settings = { runs = 200 }
solvers = ["spt", "random", "best-of", { command = "true {instance} {solution}", label = "command" }]
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


def killed_series(series):
    """Kill a batch and resume it, again and again; then let it come to its end, and count."""
    rng = random.Random(series)
    lost = half_lines = silent = kills = 0
    started: set[int] = set()
    with tempfile.TemporaryDirectory() as folder:
        suite, out = Path(folder) / "suite.toml", Path(folder) / "out"
        suite.write_text(SUITE)
        total, log, before = len(read_suite(suite).runs), out / "runs.jsonl", b""
        for number in range(KILLS):
            batch = start(suite, out)
            if number % 2:
                wait_for_row(batch, log, before)
            time.sleep(rng.uniform(0, FROM_ROW if number % 2 else FROM_START))
            if batch.poll() is not None:  # done before it could be killed
                break
            started.update(children(batch.pid))
            batch.kill()
            batch.wait()
            kills += 1
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
        keys = [json.loads(line)["key"] for line in log.read_bytes().splitlines()]
    return {
        "kills": kills,
        "before any new row": silent,
        "half lines cut off": half_lines,
        "complete rows lost": lost,
        "runs repeated": len(keys) - len(set(keys)),
        "runs missing": total - len(set(keys)),
        "processes left behind": orphans,
        "rows before the last start": killed,
        "rows at the end": len(keys),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--series", type=int, default=24)
    options = parser.parse_args()
    if options.action:
        cells = [
            ({"part": "batches", "series": series}, partial(killed_series, series))
            for series in range(options.series)
        ]  # fmt: skip
        rows.measure(RAW, "batches", cells)
        return
    found = rows.read(RAW)
    header = [name for name in found[0] if name not in ("part", "series", "commit")]
    text = (
        f"{rows.commits(found)}\n\n{len(found)} batches, {JOBS} runs at a time; "
        f"`kill -9` at random moments, up to {FROM_START:g} s after the start or {FROM_ROW:g} s after the first new "
        "row, in turn."
    )
    lines = [[sum(row[name] for row in found) for name in header]]
    record.write("bench_kill", "Batches that are killed and resumed", [(text, header, lines)])


if __name__ == "__main__":
    main()
