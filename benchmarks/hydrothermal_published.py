"""Published values of hydrothermal problems, beside what `sddp` and the tree of all inflows give.

python benchmarks/hydrothermal_published.py
"""

from __future__ import annotations

import time

import numpy as np
import record
from scipy.sparse import csr_array

import orl
from orl.problems.hydrothermal.optimum import optimal_cost
from orl.problems.hydrothermal.stages import stages
from orl.solvers.sddp.risk import AVaR, Entropic, Expectation, WorstCase
from orl.solvers.sddp.train import Sddp, train
from orl.stages import Stage, StageGraph

SEED = 0
PRINTED = (39717.564, 6632.5141, 15897.183, 2525.2938)  # inflows of the first stage behind msppy's printed optimum
BRAZIL = 782309.1877977113


def tutorial():
    """Return the three-stage example of SDDP.jl: a reservoir of 200, inflows 0, 50 or 100, a load of 150."""

    def stage(cost):
        return Stage(
            cost=np.array([0, 0, 0, cost, 0.0]),  # volume before, after, hydro, thermal, spill
            lower=np.array([-np.inf, 0, 0, 0, 0]),
            upper=np.array([np.inf, 200, np.inf, np.inf, np.inf]),
            matrix=csr_array(np.array([[-1, 1, 1, 0, 1.0], [0, 0, 1, 1, 0]])),
            row_lower=np.array([0, 150.0]),
            row_upper=np.array([0, 150.0]),
            incoming=np.array([0]),
            outgoing=np.array([1]),
            noise_rows=np.array([0]),
            noises=np.array([[0.0], [50.0], [100.0]]),
            probabilities=np.full(3, 1 / 3),
        )

    return StageGraph.line([stage(cost) for cost in (50.0, 100.0, 150.0)], np.array([200.0]))


def bound(graph, iterations, risk=None):
    """Return the bound, and the seconds it took."""
    started = time.perf_counter()
    log = train(Sddp(graph, risk), np.random.default_rng(SEED), lambda log: len(log) >= iterations, time.perf_counter)
    return log[-1].bound, time.perf_counter() - started


def row(name, of_record, how, value, seconds):
    return [name, f"{of_record:.10g}", how, f"{value:.11g}", f"{(value - of_record) / of_record:.1e}", f"{seconds:.1f}"]


def main():
    """Measure and write the table."""
    rows = []
    for name, risk, value in (
        ("expectation", Expectation(), 8333.3333),
        ("worst case", WorstCase(), 15000.0),
        ("AVaR(0.5)", AVaR(0.5), 13333.3333),
        ("entropic(0.1)", Entropic(0.1), 14986.70339),
    ):
        rows.append(row(f"three stages, {name}", value, "sddp, 60 iterations", *bound(tutorial(), 60, risk)))
    for name, value in (("case3deterministic", 11000.0), ("case3deterministic_nowater", 39010.144)):
        rows.append(row(name, value, "sddp, 30 iterations", *bound(stages(orl.load(f"hydrothermal/{name}")), 30)))
    for probabilities, value in (("file", 11306.08), ("uniform", 11342.64)):
        graph = stages(orl.load("hydrothermal/case3", settings={"probabilities": probabilities}))
        rows.append(row(f"case3, weights {probabilities}", value, "sddp, 1000 iterations", *bound(graph, 1000)))
    brazil = orl.load("hydrothermal/brazil", settings={"stages": 3, "initial_inflows": PRINTED})
    rows.append(row("Brazil, 3 stages", BRAZIL, "sddp, 200 iterations", *bound(stages(brazil), 200)))
    rows.append(row("Brazil, 3 stages", BRAZIL, "sddp, 600 iterations", *bound(stages(brazil), 600)))
    started = time.perf_counter()
    optimum = optimal_cost(brazil)
    rows.append(row("Brazil, 3 stages", BRAZIL, "tree of all inflows", optimum, time.perf_counter() - started))
    record.write(
        "hydrothermal_published",
        "Hydrothermal dispatch: published values",
        [
            ("Values of record (SDDP.jl's example, HydroPowerModels.jl's tests, msppy's; for case3 the bound of an "
             "independent training that had not ended), what is found here, relative difference, seconds. Seed 0.",
             ["problem", "of record", "by", "value", "difference", "s"], rows),
        ],
        digits=12,
    )  # fmt: skip


if __name__ == "__main__":
    main()
