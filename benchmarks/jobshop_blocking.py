"""Blocking job shops: proven optima, gaps of rules, `best-of` and the learned policies, speed with breakdowns.

python benchmarks/jobshop_blocking.py [--only optima gaps speed]
"""

from __future__ import annotations

import argparse
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
METHODS = {
    **{name: (name, {}) for name in [*WITHOUT_DUE_DATES, "best-of", "ppo"]},
    "ppo, best of 128": ("ppo", {"samples": 128}),
}
PARTS = ("optima", "gaps", "speed")
SIZES = ((15, 15), (30, 15), (50, 20), (100, 20), (200, 20), (200, 50))
LARGEST_WITHOUT = (100, 20)  # without buffers a larger one takes seconds to minutes


def optima():
    """Return a row an instance and mode: published optimum, ours, and the seconds that its proof took."""
    rows = []
    for mode, values in PUBLISHED.items():
        for name, published in values.items():
            result = orl.solve(f"jobshop/{name}", "cp-sat", settings={"buffers": mode}, time_limit=60)
            rows.append([name, mode, published, result.value, result.bound, result.verified, round(result.seconds, 1)])
    return rows


def proven(mode):
    """Return proven optima by instance."""
    if mode == "none":
        return PUBLISHED["none"]
    table = files.bounds_table("jobshop", "swap_bounds")
    return {name: int(row["upper_bound"]) for name, row in table.items() if row["status"] == "optimal"}


def gaps(mode):
    """Return a row a method: mean, least and largest gap to the optimum, %; and the instances."""
    rows, names = [], proven(mode)
    for title, (method, told) in METHODS.items():
        found = [
            orl.solve(f"jobshop/{name}", method, settings={"buffers": mode, **told}, time_limit=None) for name in names
        ]
        pairs = list(zip(found, names.values(), strict=True))
        assert all(result.verified and result.value >= optimum for result, optimum in pairs)
        gap = [100 * (result.value / optimum - 1) for result, optimum in pairs]
        seconds = statistics.median(result.seconds for result in found)
        rows.append([title, round(float(np.mean(gap)), 1), round(min(gap), 1), round(max(gap), 1), f"{seconds:.2g}"])
    return rows, names


def speed(probability):
    """Return a row a size: median nanoseconds an operation of MWR's schedule of a drawn shop, by buffers."""
    rows = []
    for jobs, machines in SIZES:
        row = [f"{jobs}x{machines}", jobs * machines]
        for buffers in ("unlimited", "swap", "none"):
            if buffers == "none" and (jobs, machines) > LARGEST_WITHOUT:
                row.append("")
                continue
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
    """Measure and write the tables, a file a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS)
    only = parser.parse_args().only
    title = "Blocking job shops"
    if "optima" in only:
        headers = ["instance", "buffers", "published", "value", "bound", "verified", "seconds"]
        caption = "Proven optima: published, and by CP-SAT within a minute."
        record.write("jobshop_blocking_optima", title, [(caption, headers, optima())])
    if "gaps" in only:
        sections = []
        for mode, called in (("swap", "with swaps"), ("none", "without swaps")):
            rows, names = gaps(mode)
            caption = (
                f"Gap to the proven optimum {called}, %, over {len(names)} instances ({', '.join(names)}), and median "
                "seconds; `best-of`: 1,000 runs of the rule that is best on the instance. None of them was seen in the "
                "training of `ppo`."
            )
            sections.append((caption, ["method", "mean", "least", "largest", "s"], rows))
        record.write("jobshop_blocking_gaps", title, sections)
    if "speed" in only:
        headers = ["size", "operations", "unlimited", "swap", "none"]
        caption = (
            "Nanoseconds an operation of MWR's schedule of a drawn shop, without breakdowns (median, reset of the "
            "process and laying out of downtime included); without buffers up to 100x20."
        )
        broken = "The same with breakdowns of probability 0.005 a time unit, repair uniform 5..35."
        tables = [(caption, headers, speed(0.0)), (broken, headers, speed(0.005))]
        record.write("jobshop_blocking_speed", title, tables)


if __name__ == "__main__":
    main()
