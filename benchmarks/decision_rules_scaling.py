"""How decision rules and SDDP grow as stages, and as reservoirs, double: in time, and in the cost that is reached.

python benchmarks/decision_rules_scaling.py pace [--iterations 30]      what an iteration and a pass take
python benchmarks/decision_rules_scaling.py cost                        cost against time; rows that are there are kept
python benchmarks/decision_rules_scaling.py                             write the tables

The Bolivian system with 63 to 252 stages; and two and four copies of it, sharing the scenario of a stage and nothing
else: programs and states grow, and the optimal cost is that of one times their number. Costs are those of `select`
scenarios, above the mean of what each costs at least if it is known beforehand.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial

import numpy as np
import record
import rows
from scipy.linalg import block_diag

import orl
from orl.learn.training import Recipe
from orl.problems.hydrothermal.stages import stages
from orl.registry import find_problem
from orl.simulate import run_episodes
from orl.solvers.decision_rules.settings import DecisionRuleSettings
from orl.solvers.decision_rules.train import DecisionRuleLearner
from orl.solvers.sddp import SddpPolicy
from orl.solvers.sddp.train import Sddp

CASE, PATHS = "hydrothermal/bolivia", 15
RAW = record.RESULTS / "decision_rules_scaling"
SCENARIOS, TRAINING = 32, 200  # `select` scenarios that costs are told of; iterations of the rule's training
PASSES = (3, 5, 10, 20, 40, 80)  # of SDDP, after which it is judged
NEAR = (2.0, 1.0, 0.5)  # % above hindsight


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


def of_stages(count):
    return orl.load(CASE, settings={"stages": count, "reported_stages": count})


SYSTEMS = {
    "63 stages": partial(of_stages, 63),
    "126 stages": partial(of_stages, 126),
    "252 stages": partial(of_stages, 252),
    "2 copies, 63 stages": lambda: copies(of_stages(63), 2),
    "4 copies, 63 stages": lambda: copies(of_stages(63), 4),
}
JUDGED = ("63 stages", "126 stages", "2 copies, 63 stages")


def learner_of(system, scenarios, iterations):
    """Return what trains a rule on a system that no file holds."""
    one, hydro = [{"instance": CASE}], find_problem("hydrothermal")
    family = replace(
        hydro,
        stages=lambda _: hydro.stages(system),
        process=lambda envs, rows, fit=(): hydro.process([system] * len(envs), rows),
    )
    recipe = Recipe("hydrothermal", one, one, validation_instances=scenarios)
    return DecisionRuleLearner(family, recipe, DecisionRuleSettings(paths=PATHS, iterations=iterations))


def paced(name, iterations):
    """Return milliseconds of a path of the rule, and of an SDDP pass, means over iterations after the first."""
    system, times = SYSTEMS[name](), []
    with learner_of(system, 1, iterations) as learner:
        for number in range(iterations // PATHS + 2):
            started = time.perf_counter()
            learner.iterate(number)
            times.append((time.perf_counter() - started) / PATHS)
    sddp, rng, passes = Sddp(stages(system)), np.random.default_rng(0), []
    for _ in range(iterations):
        started = time.perf_counter()
        sddp.iterate(rng)
        passes.append(time.perf_counter() - started)
    found = {"path": times[1:], "pass": passes[1:], "last": passes[-5:]}
    return {"reservoirs": len(system.reservoirs.names), "iterations": iterations} | {
        key: float(1000 * np.mean(values)) for key, values in found.items()
    }


def judged(name):
    """Return seconds of training and the cost then, of rule and of SDDP, and what the scenarios cost in hindsight."""
    system, curves, spent = SYSTEMS[name](), {"ts-ddr": [], "sddp": []}, 0.0
    with learner_of(system, SCENARIOS, TRAINING) as learner:
        for number in range(TRAINING):
            started = time.perf_counter()
            learner.iterate(number)
            spent += time.perf_counter() - started
            if number % 10 == 9:
                curves["ts-ddr"].append([spent, learner.validated()])
        drawn, hindsight = learner.source.validation[0], learner.reference
    hydro, rng, spent, sddp = find_problem("hydrothermal"), np.random.default_rng(0), 0.0, Sddp(stages(system))
    for number in range(PASSES[-1]):
        started = time.perf_counter()
        sddp.iterate(rng)
        spent += time.perf_counter() - started
        if number + 1 in PASSES:
            policy = SddpPolicy(hydro.stages(system), sddp.settled(), sddp.bound(), {})
            process = hydro.process([system] * SCENARIOS, drawn.scenarios)
            cost = float(run_episodes(process, policy, np.random.default_rng(0))[0].mean())
            curves["sddp"].append([spent, cost])
    return {"reservoirs": len(system.reservoirs.names), "hindsight": hindsight, "curves": curves}


def cost_line(row, method):
    """Return minutes of training until the cost is near hindsight, and where it ends."""
    curve = [(seconds / 60, 100 * (cost / row["hindsight"] - 1)) for seconds, cost in row["curves"][method]]
    reached = [next((f"{minutes:.1f}" for minutes, above in curve if above <= near), "") for near in NEAR]
    return [row["system"], row["reservoirs"], method, *reached, f"{curve[-1][0]:.1f}", f"{curve[-1][1]:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["pace", "cost"])
    parser.add_argument("--iterations", type=int, default=30)
    options = parser.parse_args()
    record.one_core()
    if options.action == "pace":
        cells = [({"part": "pace", "system": name}, partial(paced, name, options.iterations)) for name in SYSTEMS]
        rows.measure(RAW, "pace", cells)
        return
    if options.action == "cost":
        rows.measure(RAW, "cost", [({"part": "cost", "system": name}, partial(judged, name)) for name in JUDGED])
        return
    found = rows.read(RAW)
    pace, cost = ([row for row in found if row["part"] == part] for part in ("pace", "cost"))
    sections = [
        (
            f"{rows.commits(found)}\n\nMilliseconds on one core: of a path in training of `ts-ddr` ({PATHS} paths an "
            f"iteration, the rule's own work included); of a pass of `sddp`, mean over {pace[0]['iterations']} "
            "and over the last 5 of them, with more cuts.",
            ["system", "reservoirs", "ts-ddr, a path", "sddp, a pass", "of the last"],
            [[row["system"], row["reservoirs"], *(f"{row[key]:.0f}" for key in ("path", "pass", "last"))]
             for row in pace],
        ),
        (
            f"Minutes of training on one core until the mean cost of {SCENARIOS} `select` scenarios is at most so many "
            f"% above what they cost in hindsight (empty: not reached); minutes in all ({TRAINING} iterations of "
            f"{PATHS} paths, {PASSES[-1]} passes) and the % above hindsight then. Judged every 10 iterations, and "
            f"after {', '.join(map(str, PASSES))} passes. One seed.",
            ["system", "reservoirs", "method", *(f"to {near:g} %" for near in NEAR), "in all", "%"],
            [cost_line(row, method) for row in cost for method in row["curves"]],
        ),
    ]  # fmt: skip
    record.write("decision_rules_scaling", "How training grows with stages and reservoirs", sections)


if __name__ == "__main__":
    main()
