"""`best-of`: how its randomness was chosen (on drawn shops), and what it reaches on Taillard's instances.

python benchmarks/jobshop_best_of.py
"""

from __future__ import annotations

import numpy as np
import record

import orl
from orl import files
from orl.problems.jobshop.process import randomise
from orl.problems.jobshop.rules import RULES
from orl.problems.jobshop.scenario import draw
from orl.scenario import generator
from orl.solvers.rules import BestOfSettings

SIZES = ((10, 10), (15, 15), (20, 15), (30, 20))
EPSILONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
NAMES = ("spt", "mwr", "mor", "fdd/mwr")


def tuning(runs=1000):
    """Return a row a rule: mean excess over the shops' lower bounds, %, for each probability; `select` stream."""
    shops = [draw(generator(0, "select", i), *size) for i in range(10) for size in SIZES]

    def excess(name, epsilon):
        found = [randomise(shop, RULES[name], runs, 0, epsilon, 0)[0] / shop.makespan_bound() - 1 for shop in shops]
        return round(100 * float(np.mean(found)), 2)

    return [[name, *(excess(name, epsilon) for epsilon in EPSILONS)] for name in NAMES]


def taillard(epsilon, counts=(1, 128, 1000)):
    """Return a row a rule: mean gap to the best known makespan over the 80 instances, %, by number of runs."""
    shops = [orl.load(f"jobshop/ta{i:02d}") for i in range(1, 81)]
    best = [files.known_bounds("jobshop", shop.name).upper for shop in shops]
    rows = []
    for name in NAMES:
        gaps = [
            [
                100 * (randomise(s, RULES[name], runs, 0, epsilon, 0)[0] / b - 1)
                for s, b in zip(shops, best, strict=True)
            ]
            for runs in counts
        ]
        rows.append([name, *(round(float(np.mean(row)), 1) for row in gaps)])
    return rows


def main():
    """Measure and write the table."""
    epsilon = BestOfSettings().epsilon
    record.write(
        "jobshop_best_of",
        "Best of many randomised runs of a rule",
        [
            ("Choice of `epsilon`: mean excess of the best of 1,000 runs over the lower bound, %, on 40 drawn shops "
             "(10x10 to 30x20, seed 0, stream `select`).", ["rule", *map(str, EPSILONS)], tuning()),
            (f"Taillard's 80 instances, epsilon {epsilon}, seed 0: mean gap to the best known makespan, %, by runs.",
             ["rule", "1", "128", "1000"], taillard(epsilon)),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
