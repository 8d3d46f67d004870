"""SDDP on the published Bolivian system (DC, K = 0.6048, 126 stages): how its bound rises, and what its policy costs.

python benchmarks/hydrothermal_bolivia.py [--seconds 300] [--scenarios 500]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import record

import orl
from orl import registry
from orl.problems.hydrothermal.stages import stages
from orl.result import mean_interval, paired_difference
from orl.scenario import Purpose
from orl.simulate import simulate
from orl.solvers.sddp import SddpPolicy
from orl.solvers.sddp.train import Sddp, train

SEED = 0
ROLLING, LOOKAHEAD = 5, 26  # columns and stages
HINDSIGHT = 50  # columns of the protocol that are solved with their inflows known
# Bounds by iteration of an independent implementation on the same stages, as carried with the data.
OF_RECORD = {10: 373924.49, 20: 378555.28, 50: 380010.23, 100: 380453.89, 200: 380644.89, 378: 380722.12}
SECONDS = (10, 30, 60, 120, 240, 480)


def of_bounds(log):
    """Return rows by iteration and by second."""
    by_iteration = [
        [line.number, f"{line.bound:.2f}", f"{OF_RECORD[line.number]:.2f}", f"{line.seconds:.1f}"]
        for line in log
        if line.number in OF_RECORD
    ]
    by_second = []
    for limit in SECONDS:
        done = [line for line in log if line.seconds <= limit]
        if done and log[-1].seconds >= limit - 5:
            by_second.append([limit, done[-1].number, f"{done[-1].bound:.2f}"])
    return by_iteration, by_second


def pace(log):
    """Return seconds an iteration, by tens of iterations."""
    ends = [0.0, *(line.seconds for line in log)]
    return [
        [f"{first + 1}-{first + 10}", f"{(ends[first + 10] - ends[first]) / 10:.2f}"]
        for first in range(0, len(log) - 9, 20)
    ]


def of_others(instance, ours):
    """Return rows of rules and `rolling`."""
    rows = []
    for method in ("myopic", "storage-curve", "thermal-first", "rolling"):
        is_slow = method == "rolling"
        count = ROLLING if is_slow else HINDSIGHT
        settings = {"lookahead": LOOKAHEAD} if is_slow else {}
        started = time.perf_counter()
        found = orl.solve(instance, method, settings=settings, scenarios=count, time_limit=None)
        taken = (time.perf_counter() - started) / (count * instance.num_stages)
        assert found.verified and len(found.costs) == count
        difference = paired_difference(found.costs, ours[:count])
        rows.append([
            method,
            count,
            half(found.costs),
            f"{difference.mean:.0f} ± {(difference.high - difference.low) / 2:.0f}",
            f"{100 * difference.mean / np.mean(ours[:count]):.2f}",
            f"{1000 * taken:.1f}",
        ])  # fmt: skip
    return rows


def half(values):
    interval = mean_interval(values)
    return f"{np.mean(values):.2f} ± {(interval.high - interval.low) / 2:.2f}"


def main():
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--scenarios", type=int, default=500)
    arguments = parser.parse_args()
    family = registry.find_problem("hydrothermal")
    instance = orl.load("hydrothermal/bolivia", settings={"panel": "protocol"})
    sddp, started = Sddp(stages(instance)), time.perf_counter()

    def clock():
        return time.perf_counter() - started

    log = train(sddp, np.random.default_rng(SEED), lambda _: clock() >= arguments.seconds, clock)
    by_iteration, by_second = of_bounds(log)
    rows = family.sample(instance, SEED, Purpose.EVALUATE, arguments.scenarios)
    policy = SddpPolicy(family.stages(instance), sddp.settled(), log[-1].bound, {})
    started = time.perf_counter()
    run = simulate(family, instance, policy, rows, SEED)
    simulated = clock()
    first = []
    for place, dispatch in enumerate(run.solutions):
        if place < 50:
            report = family.verify(instance, rows[place], dispatch)
            assert report.is_feasible and np.isclose(report.cost, run.costs[place], rtol=1e-9), report
        first.append(family.metrics(instance, rows[place], dispatch)["cost_reported"])
    whole = orl.solve(instance, "exact", scenarios=HINDSIGHT, time_limit=None)
    short = orl.load("hydrothermal/bolivia", settings={"panel": "protocol", "stages": 96})
    known = orl.solve(short, "exact", scenarios=HINDSIGHT, time_limit=None)
    assert whole.verified and known.verified
    regret = paired_difference(first[:HINDSIGHT], known.costs)
    record.write(
        "hydrothermal_bolivia",
        "SDDP on the Bolivian system",
        [
            ("Lower bound on the expected cost of 126 stages by iteration, beside that of an independent "
             "implementation; seconds since the start, one process. Seed 0; the other one drew other forward passes.",
             ["iteration", "bound", "of record", "s"], by_iteration),
            ("The same by seconds.", ["s", "iterations", "bound"], by_second),
            ("Seconds an iteration (126 x 15 programs backward, 126 forward), by tens; cuts are selected.",
             ["iterations", "s an iteration"], pace(log)),
            (f"The policy on the first {arguments.scenarios} columns of the protocol (50 of them verified), ± half a "
             f"95 % interval; simulated in {simulated:.0f} s. Of record for 500 columns: 381067.48 and 304543.67.",
             ["iterations", "bound", "cost of 126 stages", "of the first 96"],
             [[log[-1].number, f"{log[-1].bound:.2f}", half(run.costs), half(first)]]),
            (f"The first {HINDSIGHT} columns known beforehand (126 stages; 96 stages), and how much more the policy "
             "pays for its first 96. Of record for 500 columns: 380693.57, 303922.07, 621.59.",
             ["126 known", "policy", "96 known", "policy's first 96", "difference"],
             [[half(whole.costs), half(run.costs[:HINDSIGHT]), half(known.costs), half(first[:HINDSIGHT]),
               f"{regret.mean:.2f} ± {(regret.high - regret.low) / 2:.2f}"]]),
            (f"Other policies on these {HINDSIGHT} columns (`rolling`: the first {ROLLING}, {LOOKAHEAD} stages of "
             "expected inflows), and how much more they pay for all stages than the policy above; ms a stage, tuning "
             "and simulating included.",
             ["method", "columns", "cost of 126 stages", "difference", "%", "ms"],
             of_others(instance, run.costs)),
        ],
        digits=9,
    )  # fmt: skip


if __name__ == "__main__":
    main()
