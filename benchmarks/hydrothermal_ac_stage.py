"""Alternating current on the published Bolivian system: seconds a stage, and what paths cost in hindsight.

python benchmarks/hydrothermal_ac_stage.py [--columns 10] [--iterations 20]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import record

import orl
from orl import registry
from orl.problems.hydrothermal.ac import AcStage, Cuts
from orl.problems.hydrothermal.ac_hindsight import estimate
from orl.problems.hydrothermal.scenario import realise
from orl.problems.hydrothermal.stages import stages
from orl.scenario import Purpose
from orl.solvers.sddp.train import Sddp

STAGES = 96
COLUMNS = (2, 39, 81, 119, 130, 156, 200, 206, 378, 493)
# Local optima of 96 stages found independently: polar form, IPOPT with limits relaxed by 1e-8 and a tolerance of 1e-7.
OF_RECORD = (314548.2028, 302479.3114, 323283.3686, 308341.0260, 322011.5138, 311364.5051, 312841.3618, 310325.4539,
             312349.7255, 308821.9132)  # fmt: skip
HYDRO = registry.find_problem("hydrothermal")


def system(network):
    """Return the published case, its first 96 stages."""
    more = {"network": network, "panel": "protocol", "stages": STAGES, "reported_stages": STAGES}
    return orl.load("hydrothermal/bolivia", settings=more)


def scenario(instance, column):
    return HYDRO.sample(instance, 0, Purpose.EVALUATE, column)[column - 1]


def futures(iterations):
    """Return the cuts of each stage's future that SDDP with network=dc learns in some iterations."""
    sddp, rng = Sddp(stages(system("dc"))), np.random.default_rng(0)
    for _ in range(iterations):
        sddp.iterate(rng)
    pools = [node.pools[0] for node in sddp.nodes[:-1]]
    return [Cuts(pool.intercepts[kept], pool.gradients[kept]) for pool in pools for kept in [pool.selected()]]


def followed(instance, path, volumes, cuts, is_warm):
    """Return seconds, seconds of this process and iterations of each stage along volumes, (stages, 3)."""
    program, start, rows = AcStage(instance), None, []
    before, arriving = instance.reservoirs.initial_hm3, realise(instance, path) * instance.hm3_per_flow
    for stage in range(STAGES - 1):
        aim = {"target": volumes[stage]} if cuts is None else {"cuts": cuts[stage], "near": volumes[stage]}
        began, cpu = time.perf_counter(), time.process_time()
        found = program.solve(stage, before, arriving[stage], start=start, **aim)
        rows.append((time.perf_counter() - began, time.process_time() - cpu, found.iterations))
        assert found.is_solved
        start, before = found.point if is_warm else None, volumes[stage]
    return np.array(rows[1:])  # the first one makes the program


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--columns", type=int, default=len(COLUMNS))
    parser.add_argument("--iterations", type=int, default=20)
    asked = parser.parse_args()
    instance, in_hindsight, found = system("ac"), [], {}
    for column, known in zip(COLUMNS[: asked.columns], OF_RECORD, strict=False):
        began = time.perf_counter()
        found[column] = estimate(instance, scenario(instance, column))
        seconds = time.perf_counter() - began
        report = HYDRO.verify(instance, scenario(instance, column), found[column].dispatch)
        assert found[column].is_solved and report.is_feasible
        in_hindsight.append(
            [column, f"{report.cost:.2f}", f"{known:.2f}", f"{report.cost - known:.2f}", f"{seconds:.1f}"]
        )
    mean = np.mean([one.value for one in found.values()])
    cuts, volumes, rows = futures(asked.iterations), found[COLUMNS[0]].dispatch.volume, []
    for told, of in (
        ("target volumes", None),
        (f"cuts ({np.mean([len(c.intercepts) for c in cuts]):.0f} a stage)", cuts),
    ):
        for is_warm in (False, True):
            taken = followed(instance, scenario(instance, COLUMNS[0]), volumes, of, is_warm)
            wall, cpu, iterations = np.median(taken, axis=0)
            begin = "the stage before" if is_warm else "scratch"
            rows.append([told, begin, f"{1e3 * wall:.1f}", f"{1e3 * np.quantile(taken[:, 0], 0.9):.1f}",
                         f"{1e3 * cpu:.1f}", f"{iterations:.0f}"])  # fmt: skip
    record.write(
        "hydrothermal_ac_stage",
        "Alternating current on the Bolivian system",
        [
            (
                f"A stage, along column {COLUMNS[0]} of the protocol with the volumes of its optimum in hindsight; "
                f"medians of {STAGES - 2} stages. Cuts are those of SDDP with network=dc after {asked.iterations} "
                "iterations.",
                ["future", "starts from", "ms", "ms, 90 %", "CPU ms", "IPOPT iterations"],
                rows,
            ),
            (
                f"The first {STAGES} stages of columns of the protocol, known beforehand, as one program: local "
                "optima, estimates and no bounds; verified. Beside them, values found independently, with limits "
                f"relaxed by 1e-8. Mean {mean:.2f}.",
                ["column", "value", "of record", "difference", "seconds"],
                in_hindsight,
            ),
        ],
        digits=9,
    )


if __name__ == "__main__":
    main()
