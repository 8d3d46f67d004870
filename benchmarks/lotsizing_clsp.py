"""Capacitated lot sizing, the X instances: exact, fix-and-optimise and Lagrangian relaxation at equal time.

python benchmarks/lotsizing_clsp.py measure [--seconds 12] [--letters ABCDE]      rows that are there are kept
python benchmarks/lotsizing_clsp.py                                               write the tables

One core each. The name of an instance, X1abcd, tells what the end of its file does: a = 1, 2: demand varies little,
much; b = 1, 2, 4: time between orders; c = 1, 2: set-up times small, four times as large; d = 7, 8, 9: how much of the
capacity is used, 7 the least.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace
from functools import partial

import numpy as np
import record
import rows

import orl
from orl.files import bounds_table
from orl.hindsight import is_met
from orl.problems.clsp.exact import build
from orl.scenario import Scenarios
from orl.solver import Control

RAW = record.RESULTS / "lotsizing_clsp"
METHODS = {
    "exact": {"threads": 1},
    "fix-and-optimise": {"threads": 1},
    "lagrangian-hindsight": {"threads": 1, "iterations": 1000, "repairs": 1_000_000},
}
FORMS, ROOTS = ("plain", "plain-ls", "facility"), ("X11117A", "X12429A")


def solved(name: str, method: str, seconds: float) -> rows.Row:
    """Return what a method finds and proves in a time."""
    result = orl.solve(f"lotsizing/{name}", method, settings=METHODS[method], time_limit=seconds)
    assert result.value is None or result.verified, result.violations[:1]
    return {"value": result.value, "bound": result.bound, "status": result.status.value, "seconds": result.seconds}


def root(name: str, form: str) -> rows.Row:
    """Return the bound of the linear relaxation of a formulation."""
    import pyomo.environ as pyo

    from orl.exact import solve_model

    one = orl.load(f"lotsizing/{name}", settings={"formulation": form})
    program = build(replace(one), Scenarios.deterministic()).program
    for variable in program.y.values():
        variable.domain = pyo.UnitInterval
    return {"bound": solve_model(program, Control()).bound}


def cells(part: str, seconds: float, letters: str):
    """Yield what to measure, a letter after another, so that a part of it is of all classes."""
    if part == "root":
        for name in ROOTS:
            for form in FORMS:
                yield {"part": part, "instance": name, "form": form}, partial(root, name, form)
        return
    for letter in letters:
        for name in bounds_table("lotsizing", "clsp_bounds"):
            if name.endswith(letter):
                for method in METHODS:
                    key = {"part": part, "instance": name, "method": method, "limit": seconds}
                    yield key, partial(solved, name, method, seconds)


def line(name: str, cases: list[str], found: dict[tuple[str, str], rows.Row], method: str) -> list[object]:
    """Return a line of a class and a method."""
    of_method = [found[case, method] for case in cases]
    values = [row["value"] for row in of_method]
    best = [best_of(case, found, "value") for case in cases]
    bounds = [best_of(case, found, "bound") for case in cases]
    there = [place for place, value in enumerate(values) if value is not None]
    to_best = [100 * (values[place] / best[place] - 1) for place in there]
    own_gap = [100 * (1 - (of_method[place]["bound"] or 0.0) / values[place]) for place in there]
    gap = [100 * (1 - (bounds[place] or 0.0) / values[place]) for place in there]
    to_known = [100 * (values[place] / known(cases[place]) - 1) for place in there if known(cases[place])]
    return [
        name, len(cases), method, len(there), sum(row["status"] == "optimal" for row in of_method),
        *(f"{np.mean(numbers):.2f}" if numbers else "" for numbers in (own_gap, gap, to_best, to_known)),
        f"{np.mean([row['seconds'] for row in of_method]):.1f}",
    ]  # fmt: skip


def known(name: str) -> float | None:
    """Return the carried value of an instance; None: HiGHS found no plan."""
    value = bounds_table("lotsizing", "clsp_bounds")[name]["upper_bound"]
    return float(value) if value else None


def best_of(name: str, found: dict[tuple[str, str], rows.Row], key: str) -> float | None:
    """Return the least value, or the largest bound, of all methods; None: there is none."""
    there = [found[name, method][key] for method in METHODS if found[name, method][key] is not None]
    return (min if key == "value" else max)(there, default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--letters", default="ABCDE")
    options = parser.parse_args()
    if options.action:
        record.one_core()
        orl.solve("lotsizing/X11117A", "lagrangian-hindsight")  # kernels are compiled before the clock runs
        rows.measure(RAW, "root", cells("root", options.seconds, options.letters))
        rows.measure(RAW, "methods", cells("methods", options.seconds, options.letters))
        return
    read = rows.read(RAW)
    methods = [row for row in read if row["part"] == "methods"]
    found = {(row["instance"], row["method"]): row for row in methods}
    names = [name for name in bounds_table("lotsizing", "clsp_bounds") if all((name, m) in found for m in METHODS)]
    classes: dict[str, list[str]] = defaultdict(list)
    for name in names:
        classes[f"X1.{name[3]}.{name[5]}"].append(name)
        classes["all"].append(name)
    best = {name: best_of(name, found, "value") for name in names}
    compared = [name for name in names if best[name] and known(name)]
    excess = [100 * (best[name] / known(name) - 1) for name in compared]
    carried = [name for name in names if bounds_table("lotsizing", "clsp_bounds")[name]["status"] == "optimal"]
    proven = sum(is_met(best[name], best_of(name, found, "bound")) for name in names)
    by_exact = {name for name in names if found[name, "exact"]["status"] == "optimal"}
    by_use = ", ".join(
        f"{sum(x[5] == d for x in by_exact)} of {sum(x[5] == d for x in names)} (d = {d})" for d in "789"
    )
    text = (
        f"{rows.commits(read)}\n\n{len(names)} of 165 instances, {methods[0]['limit']:g} s each on one core; by time "
        "between orders and use of capacity (X1.b.d). Solved: with a verified plan; proven: to optimality; gap "
        "to the own bound; to the best of the methods' bounds; above the best of the methods' plans; above the carried "
        "values (HiGHS, 10 to 12 s); mean %, over plans that there are. Best of the three against the carried values: "
        f"{np.mean(excess):+.3f} % in the mean, {max(excess):+.2f} % at most, better on "
        f"{sum(x < -1e-6 for x in excess)}; without a plan {sum(value is None for value in best.values())}, and "
        f"{len(names) - len(compared)} have none to compare. Proven together: {proven}. `exact` proves {by_use}, and "
        f"of the {len(carried)} that are carried as proven {len(by_exact & set(carried))}."
    )
    order = sorted(classes, key=lambda name: (name == "all", name))
    lines = [line(name, classes[name], found, method) for name in order for method in METHODS]
    header = ["class", "instances", "method", "solved", "proven", "own gap, %", "gap, %", "to best, %", "to carried, %",
              "s"]  # fmt: skip
    roots = {(row["instance"], row["form"]): row["bound"] for row in read if row["part"] == "root"}
    table = [[name, *(f"{roots[name, form]:.1f}" for form in FORMS)] for name in ROOTS]
    record.write(
        "lotsizing_clsp",
        "Capacitated lot sizing with set-up times",
        [(text, header, lines), ("Bounds of the linear relaxations.", ["instance", *FORMS], table)],
        digits=8,
    )


if __name__ == "__main__":
    main()
