"""`tabu` on Taillard's instances: gaps by seconds and neighbourhood, and what an iteration costs.

    python benchmarks/jobshop_tabu.py [--each 3] [--seconds 1 10] [--neighbourhoods N5 N6 N7]

`--each 10 --seconds 1 10 60` is the whole comparison: 80 minutes a neighbourhood.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import record
from jobshop_rules import GROUPS

import orl
from orl.problems.jobshop.local_search import TabuSearch
from orl.problems.jobshop.scenario import draw
from orl.scenario import generator

TUNED_ON = ((20, 15),) * 2 + ((20, 20),) * 3 + ((25, 20),) * 3
CHOICES = (("N5", 8), ("N6", 8), ("N7", 8), ("N6", 4), ("N6", 16))  # neighbourhood and elite
SIZES = ((10, 10), (15, 15), (30, 15), (30, 20), (50, 20), (100, 20), (200, 20), (200, 50))


def tuning(seconds):
    """Return a row a choice: mean excess over the shops' lower bounds, %; stream `select`."""
    shops = [draw(generator(0, "select", 900 + i), *size) for i, size in enumerate(TUNED_ON)]
    rows = []
    for neighbourhood, elite in CHOICES:
        settings = {"neighbourhood": neighbourhood, "elite": elite}
        of_seed = []
        for seed in (0, 1):
            results = [orl.solve(shop, "tabu", settings=settings, time_limit=seconds, seed=seed) for shop in shops]
            found = [result.value / shop.makespan_bound() for result, shop in zip(results, shops, strict=True)]
            of_seed.append(100 * (float(np.mean(found)) - 1))
        rows.append([neighbourhood, elite, *np.round(of_seed, 2), round(float(np.mean(of_seed)), 2)])
    return rows


def reached(name, neighbourhood, seconds):
    """Return the gap to the best known makespan, %, after each of `seconds`, the rules before the search included.

    An improvement counts from when it is reported, which is up to 0.2 s after it was found.
    """
    result = orl.solve(name, "tabu", settings={"neighbourhood": neighbourhood}, time_limit=seconds[-1])
    assert result.verified
    values = [min(value for at, value, _ in result.trace if at <= limit) for limit in seconds[:-1]] + [result.value]
    return [100 * (value / result.best_known - 1) for value in values]


def gaps(each, neighbourhoods, seconds):
    """Return a row a neighbourhood and time: means by group, their mean, and how many best known makespans are met."""
    rows = []
    for neighbourhood in neighbourhoods:
        names = [f"jobshop/ta{10 * group + i + 1:02d}" for group in range(8) for i in range(each)]
        percent = np.array([reached(name, neighbourhood, seconds) for name in names])  # (instances, times)
        for limit, column in zip(seconds, percent.T, strict=True):
            means = column.reshape(8, each).mean(axis=1)
            met = int((column <= 1e-9).sum())
            rows.append([neighbourhood, limit, *np.round(means, 2), round(float(column.mean()), 2), met])
    return rows


def growth(neighbourhoods, repeats=7):
    """Return a row a size: median nanoseconds an iteration of a search that has settled, drawn shops."""
    rows = []
    for size in SIZES:
        shop = draw(generator(0, "evaluate", size[0] * size[1]), *size)
        start = orl.solve(shop, "mwr").solutions[0]
        row = [f"{size[0]}x{size[1]}", shop.num_ops]
        for neighbourhood in neighbourhoods:
            search = TabuSearch(shop, start, neighbourhood=neighbourhood)
            search.bound = -1.0  # never met
            search.improve(2000)
            count = max(200, 4_000_000 // shop.num_ops)
            times = []
            for _ in range(repeats):
                started = time.perf_counter()
                search.improve(count)
                times.append((time.perf_counter() - started) / count)
            row.append(round(1e9 * statistics.median(times)))
        rows.append(row)
    return rows


def main():
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=3, help="instances of each of Taillard's eight sizes, 1 to 10")
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[1.0, 10.0], help="times at which to look, in order"
    )
    parser.add_argument("--neighbourhoods", nargs="+", default=["N5", "N6", "N7"])
    given = parser.parse_args()
    orl.solve("jobshop/ft06", "tabu", settings={"iterations": 10})  # compile
    which = (
        "all 80 instances" if given.each == 10 else f"the first {given.each} of each size, {8 * given.each} of the 80"
    )
    record.write(
        "jobshop_tabu",
        "Tabu search on the classic job shop",
        [
            ("Choice of `neighbourhood` and `elite`: mean excess over the lower bound after 5 s, %, on 8 drawn shops "
             "(20x15 to 25x20, stream `select`), for two seeds of the search.",
             ["neighbourhood", "elite", "seed 0", "seed 1", "mean"], tuning(5)),
            (f"Taillard's instances, {which}: mean gap to the best known makespan, %, by size, after so many seconds "
             "on one core, from the best rule's schedule; `met`: how many best known makespans are reached.",
             ["neighbourhood", "seconds", *GROUPS, "mean", "met"],
             gaps(given.each, given.neighbourhoods, given.seconds)),
            ("How the cost of an iteration grows: median nanoseconds, drawn shops.",
             ["size", "operations", *given.neighbourhoods], growth(given.neighbourhoods)),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
