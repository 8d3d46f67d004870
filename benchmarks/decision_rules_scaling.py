"""What an iteration of a decision rule and a pass of SDDP take as stages, and as reservoirs, double.

python benchmarks/decision_rules_scaling.py [--iterations 30]

The Bolivian system with 63 to 252 stages; and two and four copies of it, sharing the scenario of a stage and nothing
else: programs and states grow, and the optimal cost is that of one times their number.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import record
from scipy.linalg import block_diag

import orl
from orl.learn.training import Recipe
from orl.problems.hydrothermal.stages import stages
from orl.registry import find_problem
from orl.solvers.decision_rules.settings import DecisionRuleSettings
from orl.solvers.decision_rules.train import DecisionRuleLearner
from orl.solvers.sddp.train import Sddp

CASE, PATHS = "hydrothermal/bolivia", 15


def copies(system, count):
    """Return a system of so many copies, side by side."""
    network, water, buses = system.network, system.reservoirs, len(system.network.bus_names)

    def joined(record_, shifted):
        changed = {}
        for name, value in vars(record_).items():
            if isinstance(value, tuple):
                changed[name] = tuple(f"{one} {k}" for k in range(count) for one in value)
            elif name in ("turn_into", "spill_into"):
                changed[name] = block_diag(*[value] * count).astype(bool)
            elif name in shifted:
                changed[name] = np.concatenate([value + k * buses for k in range(count)])
            elif isinstance(value, np.ndarray) and name not in ("deficit_cost", "deficit_share"):
                changed[name] = np.concatenate([value] * count, axis=-1)
        return replace(record_, **changed)

    return replace(
        system,
        name=f"{count} x {system.name}",
        network=joined(network, ("gen_bus", "branch_from", "branch_to")),
        reservoirs=joined(water, ("bus",)),
        inflows=np.concatenate([system.inflows] * count, axis=2),
        panel=None,
    )


def measured(system, iterations):
    """Return milliseconds of a path of the rule, and of an SDDP pass, means over iterations after the first."""
    one, hydro = [{"instance": CASE}], find_problem("hydrothermal")
    family = replace(
        hydro,
        stages=lambda _: hydro.stages(system),
        process=lambda envs, rows, fit=(): hydro.process([system] * len(envs), rows),
    )
    recipe = Recipe("hydrothermal", one, one, validation_instances=1)
    learner, times = DecisionRuleLearner(family, recipe, DecisionRuleSettings(paths=PATHS)), []
    with learner:
        for number in range(iterations // PATHS + 2):
            started = time.perf_counter()
            learner.iterate(number)
            times.append((time.perf_counter() - started) / PATHS)
    sddp, rng, passes = Sddp(stages(system)), np.random.default_rng(0), []
    for _ in range(iterations):
        started = time.perf_counter()
        sddp.iterate(rng)
        passes.append(time.perf_counter() - started)
    return 1000 * np.mean(times[1:]), 1000 * np.mean(passes[1:]), 1000 * np.mean(passes[-5:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=30)
    iterations = parser.parse_args().iterations
    record.one_core()

    def of(count):
        return orl.load(CASE, settings={"stages": count, "reported_stages": count})

    systems = [(f"{count} stages", of(count)) for count in (63, 126, 252)]
    systems += [(f"{count} copies, 63 stages", copies(of(63), count)) for count in (2, 4)]
    rows = []
    for name, system in systems:
        found = measured(system, iterations)
        rows.append([name, len(system.reservoirs.names), *(f"{value:.0f}" for value in found)])
        print(rows[-1], flush=True)
    section = (
        f"Milliseconds on one core: of a path in training of `ts-ddr` ({PATHS} paths an iteration, the rule's own work "
        f"included); of a pass of `sddp`, mean over {iterations} and over the last 5 of them, with more cuts.",
        ["system", "reservoirs", "ts-ddr, a path", "sddp, a pass", "of the last"],
        rows,
    )
    record.write("decision_rules_scaling", "How training grows with stages and reservoirs", [section])


if __name__ == "__main__":
    main()
