"""Lot sizing in hindsight: how strong the formulations of `exact` are, on the instances of the literature's kind.

python benchmarks/lotsizing_exact.py
"""

from __future__ import annotations

import time

import pyomo.environ as pyo
import record

import orl
from orl import registry
from orl.exact import solve_model
from orl.problems.lotsizing import exact
from orl.scenario import Purpose
from orl.simulate import best_rule
from orl.solver import Control

INSTANCES = ("lotsizing/15x5-a", "lotsizing/15x5-b", "lotsizing/15x5-c")
FORMS = ("plain", "flow", "facility-location")
SECONDS = 60


def bound_of(program, seconds):
    started = time.perf_counter()
    solved = solve_model(program, Control(seconds))
    return solved, time.perf_counter() - started


def row(name, form):
    """Return size, bound of the relaxation, and what branch and bound proves in SECONDS."""
    family, instance = registry.find_problem("lotsizing"), orl.load(name)
    scenario = family.sample(instance, 0, Purpose.EVALUATE, 1)[0]
    rule, cost, plan = best_rule(family, instance, scenario, 0)
    model = exact.build(instance, scenario, form=form)
    solved = solve_model(model.program, Control(SECONDS), model.start(plan))
    columns = sum(1 for _ in model.program.component_data_objects(pyo.Var))
    pyo.TransformationFactory("core.relax_integer_vars").apply_to(model.program)
    relaxed, seconds = bound_of(model.program, 4 * SECONDS)
    root = f"{relaxed.value:.1f}" if relaxed.bound is not None else "not solved"
    gap = f"{(solved.value - solved.bound) / solved.value:.1%}"
    return [
        name,
        form,
        columns,
        root,
        f"{seconds:.1f}",
        f"{solved.bound:.1f}",
        f"{solved.value:.1f}",
        gap,
        rule,
        f"{cost:.1f}",
    ]


if __name__ == "__main__":
    rows = [row(name, form) for name in INSTANCES for form in FORMS]
    text = (
        "Scenario 0 of `evaluate`, seed 0. Bound of the linear relaxation, and the seconds it takes; bound, best "
        f"solution and gap of HiGHS after {SECONDS} s on one thread, started from the best rule."
    )
    headers = ["instance", "form", "variables", "relaxation", "s", "bound", "best", "gap", "best rule", "its cost"]
    record.write("lotsizing_exact", "Lot sizing in hindsight: formulations", [(text, headers, rows)])
