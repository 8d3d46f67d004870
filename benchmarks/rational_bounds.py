"""Bounds proven again in fractions: sizes, what the solve and what the proof takes, and by how much they differ.

python benchmarks/rational_bounds.py measure [PART]   the programs of a family, or of SDDP; goes on where it was
python benchmarks/rational_bounds.py                  write the table

Scenario 0 of `evaluate`, seed 0; models of the job shop begin with the cost of the rule MWR, the others with none.
Seconds are of the processor, so that a busy machine tells the same.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import llmserving_exact
import numpy as np
import record
import rows

import orl
from orl import certificate
from orl.exact import CompiledModel
from orl.rational import read_program
from orl.scenario import Purpose
from orl.solver import Control
from orl.solvers.sddp.proof import prove_bound
from orl.solvers.sddp.train import Sddp

RAW = record.RESULTS / "rational_bounds"
PROGRAMS = {
    "jobshop": [("jobshop/ft06", {}), ("jobshop/la01", {}), ("jobshop/ft10", {}), ("jobshop/la21", {}),
                ("jobshop/la01", {"buffers": "none"}), ("jobshop/ft10", {"objective": "flow-time"})],
    "lotsizing": [("lotsizing/pigment15a", {}), ("lotsizing/15x5-a", {"horizon": "3"}),
                  ("lotsizing/15x5-a", {"horizon": "6"})],
    "clsp": [(f"lotsizing/{name}", {"formulation": form}) for name in ("X11117A", "X11128B", "X12429A")
             for form in ("facility", "plain-ls", "plain")],
    "hydrothermal": [("hydrothermal/case3", {}), ("hydrothermal/case3", {"network": "soc"}),
                     ("hydrothermal/case3", {"commitment": "on", "min_output": 0.5, "start_cost": 80}),
                     *(("hydrothermal/brazil", {"stages": stages}) for stages in (12, 60, 120)),
                     *(("hydrothermal/bolivia", {"stages": n, "reported_stages": n}) for n in (12, 48, 96))],
    "llmserving": [(f"theory-{count}", {}) for count in (4, 5, 6, 8)],
}  # fmt: skip

SDDP = [("hydrothermal/case3", {}, 20), ("hydrothermal/case3", {}, 60), ("hydrothermal/case3", {}, 200),
        ("hydrothermal/case3", {"discount": 0.9}, 60), ("hydrothermal/brazil", {"stages": 6}, 20),
        ("hydrothermal/brazil", {"stages": 6, "inflow_model": "autoregressive", "noise_samples": 20}, 20)]  # fmt: skip


def instance_of(name: str, settings: dict[str, Any], family: str) -> Any:
    if family == "llmserving":
        return llmserving_exact.instance(int(name.partition("-")[2]), 0, True)
    return orl.load(name, family, settings)


def measured(name: str, settings: dict[str, Any], family: str) -> rows.Row:
    instance = instance_of(name, settings, family)
    problem = orl.api.problem_of(instance)
    scenario = problem.sample(instance, 0, Purpose.EVALUATE, 1)[0]
    cost = orl.solve(instance, "mwr", time_limit=None).value if family == "jobshop" else None
    clock = [time.process_time()]

    def lap() -> float:
        clock.append(time.process_time())
        return clock[-1] - clock[-2]

    model = problem.models["exact"](instance, scenario, upper_bound=cost)
    build = lap()
    compiled = CompiledModel(model.program, tolerance=certificate.SHARP)
    compiled.relax(compiled.integers)
    solved = compiled.solve(Control())
    solve = lap()
    program = read_program(model.program)
    read = lap()
    plain = program.prove(compiled.duals())
    prove = lap()
    optimum, duals = certificate.sharpened(compiled, program, Control())
    bound = program.prove(duals).bound
    assert solved.value == optimum, (solved.value, optimum)
    return {
        "rows": len(program.rows), "columns": len(program.columns), "nonzeros": program.num_nonzeros,
        "has_integers": program.has_integers, "is_convex": model.separate is not None,
        "build": build, "solve": solve, "read": read, "prove": prove,
        "is_plain": plain.bound is not None, "implied": plain.implied,
        "claimed": optimum, "proven": float(bound), "difference": float(bound - certificate.Fraction(optimum)),
    }  # fmt: skip


def trained(name: str, settings: dict[str, Any], iterations: int) -> rows.Row:
    """Return bounds of SDDP and what they take."""
    instance = orl.load(name, "hydrothermal", settings)
    sddp, rng = Sddp(orl.api.problem_of(instance).stages(instance).graph), np.random.default_rng(0)
    started = time.process_time()
    for _ in range(iterations):
        sddp.iterate(rng)
    bound, ended = sddp.bound(), time.process_time()
    proven = prove_bound(sddp)
    noises = sum(len(stage.noises) for stage in sddp.graph.stages) / len(sddp.graph.stages)
    return {
        "stages": len(sddp.graph.stages), "rows": sddp.graph.stages[0].matrix.shape[0], "noises": noises,
        "train": ended - started, "prove": time.process_time() - ended, "bound": bound, "proven": float(proven),
    }  # fmt: skip


def cells(family: str) -> list[rows.Cell]:
    if family == "sddp":
        return [
            ({"part": "sddp", "instance": name, "settings": settings, "iterations": count},
             partial(trained, name, settings, count)) for name, settings, count in SDDP
        ]  # fmt: skip
    return [
        ({"part": family, "instance": name, "settings": settings}, partial(measured, name, settings, family))
        for name, settings in PROGRAMS[family]
    ]


def said(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def table() -> None:
    read = rows.read(RAW)
    there = sorted(
        (row for row in read if row["part"] in PROGRAMS),
        key=lambda row: (list(PROGRAMS).index(row["part"]), row["rows"]),
    )
    kinds = {(False, False): "program", (True, False): "relaxation", (False, True): "linear part"}
    lines = [
        [
            row["instance"].partition("/")[2] or row["instance"],
            said(row["settings"]),
            kinds[row["has_integers"], row["is_convex"]],
            row["rows"], row["columns"], row["nonzeros"],
            *(f"{row[key]:.2f}" for key in ("build", "solve", "read", "prove")),
            row["implied"],
            f"{row['claimed']:.10g}", f"{row['proven']:.10g}", f"{row['difference']:.1e}",
        ]
        for row in there
    ]  # fmt: skip
    mended = sum(not row["is_plain"] for row in there)
    worst = max(abs(row["difference"]) / max(1, abs(row["proven"])) for row in there)
    text = (
        "What the bound is of (a linear program, the relaxation of one with integers, the linear part of a convex "
        "one), its size, processor seconds to build the model, to solve it, to read it in fractions and to prove the "
        "bound (`check` builds, reads and proves); how many bounds on columns had to be found in the rows; the optimum "
        f"as the solver says it, what is proven, and proven less said. Of {len(there)} programs {mended} needed "
        f"lowered costs; the largest difference is {worst:.1e} of the bound. {rows.commits(there)}"
    )
    headers = [
        "instance", "settings", "of", "rows", "columns", "nonzeros", "build", "solve", "read", "prove", "implied",
        "said", "proven", "difference",
    ]  # fmt: skip
    trainings = [row for row in read if row["part"] == "sddp"]
    columns = ("iterations", "stages", "rows", "noises")
    sddp = [
        [row["instance"].partition("/")[2], said(row["settings"]), *(row[key] for key in columns),
         *(f"{row[key]:.2f}" for key in ("train", "prove")), *(f"{row[key]:.8g}" for key in ("bound", "proven"))]
        for row in trainings
    ]  # fmt: skip
    about = (
        "Bounds of `sddp` (seed 0), and what `prove=true` proves from cuts made anew at the states of those of "
        f"training: rows and noises a stage (in the mean), processor seconds. {rows.commits(trainings)}"
    )
    heads = ["instance", "settings", *columns, "training", "proof", "bound", "proven"]
    sections = [(text, headers, lines), (about, heads, sddp)]
    record.write("rational_bounds", "Bounds proven again in fractions", sections, digits=12)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("part", nargs="?", choices=[*PROGRAMS, "sddp"])
    options = parser.parse_args()
    if options.action == "measure":
        for part in [options.part] if options.part else [*PROGRAMS, "sddp"]:
            rows.measure(RAW, part, cells(part))
    else:
        table()
