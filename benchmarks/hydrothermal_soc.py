"""The second-order cone relaxation on the published Bolivian system: solves, hindsight and bounds of SDDP beside DC.

Seconds are those of the processor, of one process.

python benchmarks/hydrothermal_soc.py [--seconds 200]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import record

import orl
from orl import registry
from orl.convex import ConvexProgram
from orl.exact import solve_model
from orl.problems.hydrothermal.stages import columns, stage_of, stages
from orl.scenario import Purpose
from orl.solver import Control
from orl.solvers.sddp.train import Sddp, train

SEED = 0
TOLERANCES = (0.1, 0.02, 1e-3, 5e-5)  # MVA
STATES, WARM = 20, 5  # states, and how many of them come first
COLUMN = 2  # of the protocol
# A local optimum in alternating current of that column's 96 stages, as carried with the data.
AC_ESTIMATE = 314548.2028


def of_stage():
    """Return rows of solves of one stage: states nearby, all noises of a row at each, as a backward pass asks."""
    rows, best = [], None
    for network, tolerance in (("dc", None), *(("soc", tolerance) for tolerance in reversed(TOLERANCES))):
        instance = orl.load("hydrothermal/bolivia", settings={"network": network})
        at, water, rng = columns(instance), instance.reservoirs, np.random.default_rng(SEED)
        stage = stage_of(instance, 0)
        made = (stage if tolerance is None else replace(stage, tolerance=tolerance)).program()
        made.set_costs(at.after, stage.cost[at.after] - 300 * rng.random(len(at.after)))
        centre, values, taken = rng.random(len(at.after)) * water.max_hm3 / 3, [], []
        for state in range(STATES):
            spread = rng.normal(0, 0.05, len(at.after)) * water.max_hm3
            before = np.clip(centre + spread, 0, water.max_hm3)
            for drawn in instance.inflows[20 + state % 3]:
                made.set_columns(at.before, before, before)
                made.set_rows(at.water_rows, *2 * [instance.hm3_per_flow * drawn])
                started = time.process_time()
                value = made.solve().value
                if state >= WARM:
                    taken.append(time.process_time() - started)
                    values.append(value)
        values = np.array(values)
        best = values if tolerance == TOLERANCES[-1] else best
        told = made.num_told if isinstance(made, ConvexProgram) else 0
        below = "" if tolerance is None else f"{(best - values).mean():.4f}"
        rows.append([network, tolerance or "", f"{1000 * np.mean(taken):.2f}", told, below])
    return rows


def of_hindsight():
    """Return rows of the best that could be done in one column, knowing it."""
    rows = []
    for network in ("dc", "soc"):
        chosen = {"panel": "protocol", "network": network, "stages": 96, "reported_stages": 96}
        instance = orl.load("hydrothermal/bolivia", settings=chosen)
        family = registry.find_problem("hydrothermal")
        known = family.sample(instance, SEED, Purpose.EVALUATE, COLUMN)
        scenario = list(known)[COLUMN - 1]
        started = time.process_time()
        found = solve_one(family, instance, scenario)
        rows.append([network, f"{found:.4f}", f"{100 * (AC_ESTIMATE - found) / AC_ESTIMATE:.3f}",
                     f"{time.process_time() - started:.1f}"])  # fmt: skip
    return rows


def solve_one(family, instance, scenario):
    """Return the proven bound of one scenario, which its verified solution meets."""
    made = family.models["exact"](instance, scenario)
    solved = solve_model(made.program, Control(), separate=made.separate)
    report = family.verify(instance, scenario, made.read(solved.of))
    assert report.is_feasible and np.isclose(report.cost, solved.bound, rtol=1e-9), report
    return solved.bound


def trained(network, seconds):
    """Return the log of training on a network for some seconds of the processor."""
    instance = orl.load("hydrothermal/bolivia", settings={"network": network})
    sddp, started = Sddp(stages(instance)), time.process_time()

    def clock():
        return time.process_time() - started

    return train(sddp, np.random.default_rng(SEED), lambda _: clock() >= seconds, clock)


def of_training(seconds):
    """Return rows of bounds by seconds."""
    rows = []
    for network in ("dc", "soc"):
        log = trained(network, seconds)
        for line in log:
            if line.number in (1, 5, 10, 20, 40, 80, 160) or line is log[-1]:
                rows.append([network, line.number, f"{line.bound:.2f}", f"{line.seconds:.0f}"])
    return rows


def main():
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=200)
    arguments = parser.parse_args()
    record.write(
        "hydrothermal_soc",
        "The second-order cone relaxation on the Bolivian system",
        [
            (f"One stage from {STATES - WARM} states near one another, 15 inflows at each, after {WARM} others: ms a "
             "solve, rows that the program then holds, and by how much the value lies below that of the finest "
             "tolerance, USD of some hundreds.",
             ["network", "tolerance, MVA", "ms", "rows", "below"], of_stage()),
            (f"Column {COLUMN} of the protocol known beforehand, 96 stages: proven, its solution verified; by how much "
             f"it lies below the local optimum of record in alternating current, {AC_ESTIMATE}.",
             ["network", "bound", "% below", "s"], of_hindsight()),
            ("Bounds of SDDP on the expected cost of 126 stages, seed 0, one process.",
             ["network", "iterations", "bound", "s"], of_training(arguments.seconds)),
        ],
        digits=9,
    )  # fmt: skip


if __name__ == "__main__":
    main()
