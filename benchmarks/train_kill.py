"""Trainings killed by `kill -9` at random moments and resumed each time: what is lost, and where they end.

python benchmarks/train_kill.py measure [--series 5] [--only ppo ts-ddr sddp]   of each kind, 40 kills each at most
python benchmarks/train_kill.py                                                 write the table

A command is a process of its own, forked from this one so that it need not import torch again. Every other time it is
killed within milliseconds of a file that changes. `ppo` and `ts-ddr` are trained by recipes that keep a checkpoint
after every iteration, and must end at the weights of one that was never killed. `sddp` writes its cuts once, when
training ends, and goes on from those of the run before: they must be there, whole, and as many as before.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import record
import rows
from tqdm import tqdm

from orl import cli
from orl.errors import InputError
from orl.learn import checkpoint

tqdm.monitor_interval = 0  # no thread of this process may hold a lock when it forks
RAW = record.RESULTS / "train_kill"
KILLS = 40  # of a training
FROM_START, FROM_CHANGE = 1.0, 0.02  # seconds: the longest wait, every other time, from the start and from a change
RECIPES = {
    "ppo": """\
method = "ppo"
problem = "jobshop"
seed = {seed}
sizes = [{{ jobs = 3, machines = 3 }}]
validation = [{{ jobs = 3, machines = 3 }}]
validation_instances = 2
validate_every = 1
[training]
width = 16
iterations = 100
instances = 2
samples = 4
""",
    "ts-ddr": """\
method = "ts-ddr"
problem = "hydrothermal"
seed = {seed}
sizes = [{{ instance = "hydrothermal/case3" }}]
validation = [{{ instance = "hydrothermal/case3" }}]
validation_instances = 2
validate_every = 1
[training]
width = 8
paths = 4
iterations = 100
""",
}
SDDP = ["solve", "hydrothermal/case3", "--solver", "sddp", "--scenarios", "2", "--set", "iterations=3", "--json"]
KINDS = (*RECIPES, "sddp")
FAULTS = ("checkpoints lost", "checkpoints unreadable", "steps back", "log lines lost")


def warm_up(kind):
    """Do in this process what its forks will do, so that they find all compiled and loaded."""
    with tempfile.TemporaryDirectory() as scratch, redirect_stdout(io.StringIO()):
        recipe = Path(scratch) / "recipe.toml"
        if kind == "sddp":
            cli.main([*SDDP, "--set", f"cuts={scratch}/cuts.json"])
        else:
            recipe.write_text(RECIPES[kind].format(seed=0))
            cli.main(["train", str(recipe), "--out", f"{scratch}/run", "--set", "training.iterations=2"])


def start(arguments):
    """Start a command in a process forked from this one, and return its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        code = cli.main(arguments)
    finally:
        os._exit(code)


def ended(pid, kill=False):
    """Return the exit code of a process, None while it runs; it is killed before, if it is to be."""
    if kill:
        os.kill(pid, signal.SIGKILL)
    found, status = os.waitpid(pid, 0 if kill else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def stamp(path):
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def killed(arguments, watched, is_aimed, rng):
    """Start a command and kill it, unless it ends before: then return its exit code, or else None."""
    before, pid = stamp(watched), start(arguments)
    limit = time.perf_counter() + (30 if is_aimed else rng.uniform(0, FROM_START))
    changes, seen = rng.randrange(1, 8), 0
    while time.perf_counter() < limit and seen < changes:
        if (code := ended(pid)) is not None:
            return code
        if is_aimed and (now := stamp(watched)) != before:
            before, seen = now, seen + 1
        time.sleep(0.0005)
    time.sleep(rng.uniform(0, FROM_CHANGE) if is_aimed else 0)
    code = ended(pid)
    if code is None:
        ended(pid, kill=True)
    return code


def looked_at(folder, before, counts):
    """Return iteration and log of a training's last checkpoint; count what is wrong with it."""
    if not (folder / "last" / checkpoint.ABOUT).exists():
        counts["checkpoints lost"] += before is not None
        return before
    try:
        about = checkpoint.load(folder / "last")[1]
        if (folder / "best" / checkpoint.ABOUT).exists():
            checkpoint.load(folder / "best")
    except InputError:
        counts["checkpoints unreadable"] += 1
        return before
    reader = csv.DictReader(io.StringIO((folder / "log.csv").read_text()))
    log = [row for row in reader if int(row["iteration"]) <= about["iteration"]]
    counts["log lines lost"] += about["iteration"] - len(log)
    if before is not None:
        counts["steps back"] += about["iteration"] < before[0]
        counts["log lines lost"] += sum(a != b for a, b in zip(before[1], log, strict=False))
    return about["iteration"], log


def end_of(folder):
    """Return what two trainings that went the same way have in common."""
    columns = [line.split(",") for line in (folder / "log.csv").read_text().splitlines()]
    log = [line[:1] + line[3:] for line in columns]  # neither time nor pace
    ends = [checkpoint.load(folder / name)[1] for name in ("last", "best")]
    return log, [(about["sha256"], about["iteration"], about["validation"]) for about in ends]


def trained_series(kind, series):
    """Kill a training by a recipe and resume it until it is done; return what was lost."""
    warm_up(kind)
    rng, counts = random.Random(f"{kind} {series}"), Counter(dict.fromkeys(FAULTS, 0))
    with tempfile.TemporaryDirectory() as scratch:
        recipe, folder, whole = (Path(scratch) / name for name in ("recipe.toml", "run", "whole"))
        recipe.write_text(RECIPES[kind].format(seed=series))
        command = ["train", str(recipe), "--out", str(folder), "--resume"]
        counts["kills"], before = 0, None
        while counts["kills"] < KILLS:
            code = killed(command, folder / "last", counts["kills"] % 2 == 1, rng)
            before = looked_at(folder, before, counts)
            if code is not None:
                counts["other ends"] += code != 0
                break
            counts["kills"] += 1
        for arguments in (command, [*command[:3], str(whole), "--resume"]):
            pid = start(arguments)
            counts["other ends"] += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
        looked_at(folder, before, counts)
        counts["other ends"] += end_of(folder) != end_of(whole)
        counts["files left over"] = len(list(folder.rglob(".orl-*")))
    return dict(counts)


def cut_series(series):
    """Kill `sddp`, that goes on from its own cuts, again and again; return what was lost."""
    warm_up("sddp")
    rng, counts = random.Random(f"sddp {series}"), Counter(dict.fromkeys(FAULTS, 0))
    with tempfile.TemporaryDirectory() as scratch:
        cuts, before = Path(scratch) / "cuts.json", 0
        command = [*SDDP, "--set", f"cuts={cuts}"]
        for number in range(KILLS):
            code = killed([*command, "--seed", str(number)], Path(scratch), number % 2 == 1, rng)
            counts["other ends"] += code not in (0, None)
            counts["kills"] += code is None
            counts["checkpoints lost"] += before > 0 and not cuts.exists()
            try:
                now = len(json.loads(cuts.read_text())["nodes"][0][0]["intercepts"]) if cuts.exists() else 0
            except ValueError:
                counts["checkpoints unreadable"] += 1
                continue
            counts["steps back"] += now < before
            before = now
        pid = start(command)
        counts["other ends"] += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
        counts["files left over"] = len(list(Path(scratch).rglob(".orl-*")))
    return dict(counts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--series", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    if options.action:
        record.one_core()
        measured = {kind: partial(trained_series, kind) for kind in RECIPES} | {"sddp": cut_series}
        cells = [
            ({"part": "trainings", "kind": kind, "series": series}, partial(measured[kind], series))
            for series in range(options.series)
            for kind in options.only
        ]
        rows.measure(RAW, "trainings", cells)
        return
    found = rows.read(RAW)
    header = ["kills", *FAULTS, "other ends", "files left over"]
    lines = []
    for kind in KINDS:
        some = [row for row in found if row["kind"] == kind]
        lines.append([kind, len(some), *(sum(row.get(name, 0) for row in some) for name in header)])
    lines.append(["all", *(sum(column) for column in list(zip(*lines, strict=True))[1:])])
    text = (
        f"{rows.commits(found)}\n\n`kill -9` at random moments, up to {FROM_START:g} s after the start, or within "
        f"{1000 * FROM_CHANGE:g} ms of a change in the folder of the newest checkpoint, in turn; resumed each time, up "
        f"to {KILLS} kills a training. Other ends: exit codes other than 0, and trainings that did not end at the "
        "weights, and the lines of the log, of one that was never killed."
    )
    header = ["training", "trainings", *header]
    record.write("train_kill", "Trainings that are killed and resumed", [(text, header, lines)])


if __name__ == "__main__":
    main()
