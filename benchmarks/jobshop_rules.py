"""Dispatching rules: their gaps on Taillard's instances, their speed beside a peer and the twin, and how cost grows.

    python benchmarks/jobshop_rules.py [--peer-python PATH]

The peer is job_shop_lib (MIT), which needs an environment of its own because it downgrades ortools:

    python -m venv peer && peer/bin/pip install job-shop-lib
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
from pathlib import Path

import numpy as np
import record

import orl
from orl import files
from orl.problems.jobshop import simpy_twin
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.rules import DUE_DATE_RULES, RULES
from orl.problems.jobshop.scenario import draw
from orl.problems.jobshop.simpy_twin_rules import SCORES, rule_choice
from orl.scenario import Scenarios, generator

HERE = Path(__file__).parent
GROUPS = ("15x15", "20x15", "20x20", "30x15", "30x20", "50x15", "50x20", "100x20")
PEER_RULES = {"spt": "shortest_processing_time", "mwr": "most_work_remaining"}
SIZES = ((15, 15), (30, 15), (50, 20), (100, 20), (200, 20), (200, 50), (500, 50), (1000, 100))


def process_of(shop):
    return JobShopProcess([shop], [Scenarios.deterministic()])


def run(process, name):
    process.reset()
    return float(process.run(RULES[name], np.zeros(1, dtype=np.uint64))[0])


def gaps():
    """Return a row a rule: the eight group means of the gap to the best known makespan, in percent."""
    shops = [orl.load(f"jobshop/ta{i:02d}") for i in range(1, 81)]
    best = [files.known_bounds("jobshop", shop.name).upper for shop in shops]
    with (HERE / "reference" / "taillard_group_gaps.csv").open() as file:
        reference = {row["rule"]: [float(row[group]) for group in GROUPS] for row in csv.DictReader(file)}
    rows = []
    for name in RULES:
        if name in DUE_DATE_RULES:  # there are none
            continue
        percent = [100 * (run(process_of(s), name) / b - 1) for s, b in zip(shops, best, strict=True)]
        means = np.reshape(percent, (8, 10)).mean(axis=1)
        off = max(abs(means - reference[name])) if name in reference else None
        rows.append([name, *np.round(means, 1), round(float(np.mean(percent)), 1), off and round(float(off), 2)])
    return rows


def peer_times(python, repeats=15):
    """Return makespan and median seconds of the peer's rules on ta71, measured by the peer's own interpreter."""
    code = (
        "import json, statistics, sys, time\n"
        "from job_shop_lib import JobShopInstance\n"
        "from job_shop_lib.dispatching.rules import DispatchingRuleSolver\n"
        "shop = JobShopInstance.from_taillard_file(sys.argv[1])\n"
        "found = {}\n"
        "for name, rule in json.loads(sys.argv[2]).items():\n"
        "    solver, times = DispatchingRuleSolver(dispatching_rule=rule), []\n"
        "    for _ in range(int(sys.argv[3])):\n"
        "        started = time.perf_counter()\n"
        "        schedule = solver.solve(shop)\n"
        "        times.append(time.perf_counter() - started)\n"
        "    found[name] = [schedule.makespan(), statistics.median(times)]\n"
        "print(json.dumps(found))"
    )
    path = files.find_instance("jobshop/ta71", ["jobshop"])
    command = [python, "-c", code, path, json.dumps(PEER_RULES), str(repeats)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def speed(peer):
    """Return a row a rule: median milliseconds of ours, the twin's and the peer's schedule of ta71, and the ratios."""
    shop = orl.load("jobshop/ta71")
    process = process_of(shop)
    rows = []
    for name in PEER_RULES:
        ours = statistics.median(record.seconds(lambda name=name: run(process, name), 500))
        choose = rule_choice(shop, SCORES[name])
        twin = statistics.median(record.seconds(lambda choose=choose: simpy_twin.simulate(shop, choose), 3))
        theirs = peer.get(name, [None, None])
        ratio = theirs[1] and round(theirs[1] / ours)
        rows.append([name, run(process, name), theirs[0], round(1e3 * ours, 4), round(1e3 * twin, 1),
                     theirs[1] and round(1e3 * theirs[1], 1), round(twin / ours), ratio])  # fmt: skip
    return rows


def growth():
    """Return a row a size: median nanoseconds an operation of a rule's schedule on a drawn shop."""
    rows = []
    for jobs, machines in SIZES:
        process = process_of(draw(generator(0, "evaluate", jobs * machines), jobs, machines))
        repeats = max(5, 400_000 // (jobs * machines))
        times = [
            statistics.median(record.seconds(lambda name=name, process=process: run(process, name), repeats))
            for name in ("spt", "mwr", "fdd/mwr", "fifo", "winq")
        ]
        rows.append([f"{jobs}x{machines}", jobs * machines, *(round(1e9 * t / (jobs * machines)) for t in times)])
    return rows


def main():
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", help="interpreter of the environment in which job_shop_lib is installed")
    peer = peer_times(python) if (python := parser.parse_args().peer_python) else {}
    record.write(
        "jobshop_rules",
        "Dispatching rules on the classic job shop",
        [
            ("Mean gap to the best known makespan on Taillard's instances, %, by group. `off`: largest difference of a "
             "group mean from an independent computation (`reference/taillard_group_gaps.csv`), percentage points.",
             ["rule", *GROUPS, "mean", "off"], gaps()),
            ("A rule's schedule of ta71 (100x20): makespan and median milliseconds. Peer: job_shop_lib 1.7.2 with the "
             "same rule.",
             ["rule", "makespan", "peer's", "ORL ms", "twin ms", "peer ms", "twin / ORL", "peer / ORL"], speed(peer)),
            ("How the cost of an operation grows: median nanoseconds an operation, drawn shops.",
             ["size", "operations", "spt", "mwr", "fdd/mwr", "fifo", "winq"], growth()),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
