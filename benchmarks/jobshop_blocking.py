"""Blocking job shops: proven optima, gaps of rules and `best-of` with swaps, speed with breakdowns.

python benchmarks/jobshop_blocking.py
"""

from __future__ import annotations

import statistics

import numpy as np
import record

import orl
from orl import files
from orl.problems.jobshop.instance import Breakdowns, JobShopSettings
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.rules import DUE_DATE_RULES, RULES
from orl.problems.jobshop.scenario import draw, sample
from orl.scenario import Purpose, generator

PUBLISHED = {
    "swap": {"ft06": 63, "la01": 793, "la02": 793, "la03": 715, "la04": 743, "la05": 664},
    "none": {"ft06": 69, "la01": 881, "la02": 900, "la05": 732},
}
WITHOUT_DUE_DATES = [name for name in RULES if name not in DUE_DATE_RULES]
SIZES = ((15, 15), (30, 15), (50, 20), (100, 20), (200, 20), (200, 50))


def optima():
    """Return a row an instance and mode: published optimum, ours, and the seconds that its proof took."""
    rows = []
    for mode, values in PUBLISHED.items():
        for name, published in values.items():
            result = orl.solve(f"jobshop/{name}", "cp-sat", settings={"buffers": mode}, time_limit=60)
            rows.append([name, mode, published, result.value, result.bound, result.verified, round(result.seconds, 1)])
    return rows


def gaps():
    """Return a row a method: mean and largest gap to the optimum over the proven instances with swaps, %."""
    table = files.bounds_table("jobshop", "swap_bounds")
    names = [name for name, row in table.items() if row["status"] == "optimal"]
    rows = []
    for method in [*WITHOUT_DUE_DATES, "best-of"]:
        gap = []
        for name in names:
            result = orl.solve(f"jobshop/{name}", method, settings={"buffers": "swap"}, time_limit=None)
            assert result.verified and result.gap_best_known >= 0
            gap.append(100 * result.gap_best_known)
        rows.append([method, round(float(np.mean(gap)), 1), round(min(gap), 1), round(max(gap), 1)])
    return rows, names


def speed(probability):
    """Return a row a size: median nanoseconds an operation of MWR's schedule of a drawn shop, by buffers."""
    rows = []
    for jobs, machines in SIZES:
        row = [f"{jobs}x{machines}", jobs * machines]
        for buffers in ("unlimited", "swap", "none"):
            settings = JobShopSettings(buffers=buffers, breakdowns=Breakdowns(probability))
            shop = draw(generator(0, "evaluate", jobs * machines), jobs, machines, settings=settings)
            process = JobShopProcess([shop], list(sample(shop, 0, Purpose.EVALUATE, 1)))
            seeds = np.zeros(1, dtype=np.uint64)
            process.run(RULES["mwr"], seeds)  # draws the failures as far as they are needed

            def whole(process=process, seeds=seeds):
                process.reset()
                process.run(RULES["mwr"], seeds)

            times = record.seconds(whole, max(3, 20_000 // (jobs * machines)))
            row.append(round(1e9 * statistics.median(times) / (jobs * machines)))
        rows.append(row)
    return rows


def main():
    """Measure and write the tables."""
    of_methods, names = gaps()
    headers = ["size", "operations", "unlimited", "swap", "none"]
    record.write(
        "jobshop_blocking",
        "Blocking job shops",
        [
            ("Proven optima: published, and by CP-SAT within a minute.",
             ["instance", "buffers", "published", "value", "bound", "verified", "seconds"], optima()),
            (f"Gap to the proven optimum with swaps, %, over {len(names)} instances ({', '.join(names)}); `best-of`: "
             "1,000 runs of the rule that is best on the instance.",
             ["method", "mean", "least", "largest"], of_methods),
            ("Nanoseconds an operation of MWR's schedule of a drawn shop, without breakdowns (median, reset of the "
             "process and laying out of downtime included).", headers, speed(0.0)),
            ("The same with breakdowns of probability 0.005 a time unit, repair uniform 5..35.",
             headers, speed(0.005)),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
