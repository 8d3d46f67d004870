"""One table of families by methods: how far every method that applies ends above the best bound, and its seconds.

python benchmarks/family_method.py measure [--cases ta31 brazil]      rows that are there are kept
python benchmarks/family_method.py                                    write the table

On one core, seconds are processor time. A method has `LIMIT` seconds to search, in all scenarios together, or to make
a policy for an instance (`lagrangian`, `sddp`) or train one from nothing (`ts-ddr`, `ts-ldr`: nothing is shipped for
these instances); limits of the clock are stretched by how much other work slows the core down. `ppo` and `pdppo` are
those that come with ORL. All of a column are simulated, or solved, on the same scenarios of `evaluate`. Nothing was
trained or tuned on the instances; that of lot sizing is drawn here.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import record
import rows
import tomli_w

import orl
from orl import params, registry
from orl.api import problem_of
from orl.errors import InputError
from orl.problem import Problem
from orl.result import relative_gap
from orl.scenario import Purpose
from orl.solver import Control, Solver, Task

RAW = record.RESULTS / "family_method"
LIMIT, PATIENCE = 10.0, 100.0  # processor seconds; of a simulation
SCENARIOS, SEED = 5, 0  # where anything is random
OWN = "the family's own"
BEST, BEST_KNOWING = "best rule", "best rule that knows what is hidden"
TRAINED = {"ts-ddr": {"encoder": "lstm"}, "ts-ldr": {"encoder": "linear", "learning_rate": 0.003}}
SETTINGS: Mapping[str, Mapping[str, Any]] = {"rolling": {"replan_time": 0.1}, "ppo": {"samples": 128}}


@dataclass(frozen=True)
class Case:
    """A column: an instance, settings of methods there, and what proves its bound: methods and their seconds."""

    family: str
    title: str
    instance: str | Callable[[], Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    provers: Mapping[str, float] = field(default_factory=dict)


def drawn() -> Any:
    """Return a plant of 20 items and 8 machines that nobody has seen."""
    return registry.resolve("orl.problems.lotsizing.scenario:draw")(np.random.default_rng([2026, 11]), 20, 8)


RANDOM = {"setups": "relaxed", "overtime": 10, "demand": "random"}
SHORT = {"requests": 40, "num_gpu_blocks_override": 300}
BREAKDOWNS = {"buffers": "swap", "breakdowns": {"probability": 0.005}}
CASES = {
    "ta31": Case("jobshop", "ta31, 30x15", "jobshop/ta31"),
    "orb03": Case("jobshop", "orb03, swaps, breakdowns", "jobshop/orb03", BREAKDOWNS, provers={"cp-sat": 50}),
    "drawn": Case(
        "lotsizing", "drawn, 20x8", drawn,
        methods={"rolling": {"lookahead": 8}, "rollout": {"futures": 2}}, provers={"lagrangian": 40},
    ),
    "X12428B": Case("clsp", "X12428B", "lotsizing/X12428B"),
    "X12428B-relaxed": Case("clsp", "X12428B, relaxed, random", "lotsizing/X12428B", RANDOM, provers={"sddp": 30}),
    "brazil": Case(
        "hydrothermal", "Brazil, 24 months", "hydrothermal/brazil", {"stages": 24}, {"rolling": {"replan_time": 1.0}},
        provers={"sddp": 30},
    ),
    "theory": Case("llmserving", "theory-40, 12 requests", "llmserving/theory-40", {"requests": 12}),
    "poisson": Case("llmserving", "poisson, 40 requests", "llmserving/poisson", SHORT, {"rollout": {"futures": 2}}),
}  # fmt: skip


def slowdown() -> float:
    """Return how many seconds of the clock a second of the processor takes now."""
    began, used = time.perf_counter(), time.process_time()
    while time.process_time() - used < 0.3:
        pass
    return max(1.0, (time.perf_counter() - began) / (time.process_time() - used))


@cache
def instance_of(case: str) -> Any:
    of = CASES[case]
    return of.instance() if callable(of.instance) else orl.load(of.instance, of.family, of.settings)


def scenarios_of(case: str) -> int:
    one = instance_of(case)
    return SCENARIOS if problem_of(one).sample(one, SEED, Purpose.EVALUATE, 1).is_random else 1


def options(case: str, method: str) -> dict[str, Any]:
    """Return a method's settings: one thread, and those of the tables above."""
    known = params.keys(registry.find_solver(method, problem_of(instance_of(case))).settings)
    told = {"threads": 1, **SETTINGS.get(method, {}), **CASES[case].methods.get(method, {})}
    if "replan_time" in told:
        told["replan_time"] *= slowdown()
    return {key: value for key, value in told.items() if key in known}


def measured(case: str, method: str, limit: float = LIMIT) -> rows.Row:
    """Return what a method costs on the scenarios, what it proves, and its seconds."""
    one = instance_of(case)
    family, count = problem_of(one), scenarios_of(case)
    try:
        if method in (BEST, BEST_KNOWING):
            return of_rules(family, one, count, is_knowing=method == BEST_KNOWING)
        solver = registry.find_solver(method, family)
        if count == 1 and solver.solve is not None:
            return of_solution(one, solver, options(case, method), 1, limit)
        if solver.policy is not None:
            return of_policy(family, one, solver, options(case, method), count, limit)
        return of_solution(one, solver, options(case, method), count, limit)
    except InputError as error:
        return {"refuses": str(error)}


def of_rules(family: Problem, one: Any, count: int, is_knowing: bool) -> rows.Row:
    """Return the rule that is best on as many scenarios of `select`."""
    known = {name: rule for name, rule in registry.rules_of(family).items() if rule.clairvoyant == is_knowing}
    if not known:
        return {"refuses": "there is none."}
    for rule in known.values():
        orl.evaluate(one, rule, scenarios=1, purpose=Purpose.SELECT, seed=SEED)  # compiled code
    began, costs = time.process_time(), {}
    for name, rule in known.items():
        costs[name] = orl.evaluate(one, rule, scenarios=count, purpose=Purpose.SELECT, seed=SEED).value
    best = min(costs, key=lambda name: (costs[name] is None, costs[name]))
    row = told(orl.evaluate(one, known[best], scenarios=count, seed=SEED), is_knowing)
    return {**row, "seconds": time.process_time() - began, "name": best}


def of_solution(one: Any, solver: Solver, settings: Mapping[str, Any], count: int, limit: float) -> rows.Row:
    orl.solve(one, solver, settings=settings, scenarios=1, time_limit=1.0, seed=SEED)  # imports, compiled code
    stretched, began = limit * slowdown(), time.process_time()
    result = orl.solve(one, solver, settings=settings, scenarios=count, time_limit=stretched, seed=SEED)
    return {**told(result, result.clairvoyant), "seconds": time.process_time() - began}


def of_policy(
    family: Problem, one: Any, solver: Solver, settings: dict[str, Any], count: int, limit: float
) -> rows.Row:
    """Make or train a policy, then simulate it until it is done; what making it has proven is told, too."""
    with tempfile.TemporaryDirectory() as folder:
        stretched, used = limit * slowdown(), time.process_time
        if solver.name in TRAINED:
            trained(family, one, solver.name, Path(folder) / "warm", 1.0)
            began = used()
            best = trained(family, one, solver.name, Path(folder) / "real", stretched)
            if not best.exists():
                return {"value": None, "costs": [], "bound": None, "seconds": used() - began}
            settings = {"checkpoint": str(best)}
        else:
            solver.policy(task_of(family, one, solver, settings, count, 1.0))
            began = used()
        task = task_of(family, one, solver, settings, count, stretched)
        policy = solver.policy(task)
        making = used() - began
        orl.evaluate(one, policy, scenarios=1, purpose=Purpose.SELECT, time_limit=LIMIT)  # compiled code
        began = used()
        result = orl.evaluate(one, policy, scenarios=count, seed=SEED, time_limit=PATIENCE * slowdown())
    proven = solver.certificate(policy, task) if solver.certificate is not None else None
    row = told(result, policy.clairvoyant)
    if proven is not None and proven.bound is not None:
        row |= {"bound": proven.bound, "bound_kind": proven.bound_kind}
    return {**row, "seconds": making + used() - began, "making": making}


def task_of(family: Problem, one: Any, solver: Solver, settings: Mapping[str, Any], count: int, limit: float) -> Task:
    scenarios = family.sample(one, SEED, Purpose.EVALUATE, count)
    return Task(family, one, scenarios, params.make(solver.settings, settings, solver.name), SEED, Control(limit))


def trained(family: Problem, one: Any, method: str, folder: Path, limit: float) -> Path:
    """Train a decision rule on an instance from nothing, and return its checkpoint."""
    case = next(case for name, case in CASES.items() if instance_of(name) is one)
    place = [{"instance": case.instance}]
    recipe = {
        "method": method, "problem": family.name, "seed": SEED, "sizes": place, "validation": place,
        "validation_instances": 4, "validate_every": 1, "instance": case.settings, "training": TRAINED[method],
    }  # fmt: skip
    path = folder.with_suffix(".toml")
    path.write_text(tomli_w.dumps(recipe))
    return orl.train(path, folder, control=Control(limit)) / "best"


def told(result: Any, is_clairvoyant: bool) -> rows.Row:
    assert result.verified or result.value is None, result.violations[:2]
    return {
        "value": result.value,
        "costs": list(result.costs),
        "bound": result.bound,
        "bound_kind": result.bound_kind,
        "clairvoyant": is_clairvoyant,
        "status": result.status.value,
    }


def cells(cases: list[str]) -> Iterator[rows.Cell]:
    for case in cases:
        for method, limit in CASES[case].provers.items():
            yield {"part": "bound", "case": case, "method": method}, partial(measured, case, method, limit)
        for method in [BEST, BEST_KNOWING, *registry.solver_names(problem_of(instance_of(case)))]:
            yield {"part": "methods", "case": case, "method": method}, partial(measured, case, method)


# The table ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bound:
    """A lower bound on the mean cost on the scenarios, and who proved it."""

    value: float
    by: str


def bounds(case: str, found: list[rows.Row]) -> tuple[Bound | None, Bound | None]:
    """Return the best bound on plans that know the scenarios, and the best one on policies."""
    one = instance_of(case)
    family, hindsight, policies = problem_of(one), list[Bound](), list[Bound]()
    known = family.best_known(one) if family.best_known is not None else None
    if known is not None and known.lower is not None:
        hindsight.append(Bound(known.lower, "of record"))
    for row in found:
        if row["case"] != case or row.get("bound") is None or len(row["costs"]) < scenarios_of(case):
            continue
        if row["bound_kind"] in ("proven", "hindsight-mean"):
            hindsight.append(Bound(row["bound"], OWN if "rule" in row["method"] else f"`{row['method']}`"))
        else:
            policies.append(Bound(row["bound"], f"`{row['method']}`"))

    def rank(bound: Bound) -> tuple[float, bool]:
        return bound.value, bound.by == OWN  # which every method tells that has no better one

    return max(hindsight, key=rank, default=None), max([*hindsight, *policies], key=rank, default=None)


def cell(case: str, row: rows.Row | None, on_plans: Bound | None, on_policies: Bound | None) -> str:
    """Return gap and seconds; nothing where a method does not apply."""
    if row is None:
        return "not measured"
    if "refuses" in row:
        return ""
    count = scenarios_of(case)
    if row["value"] is None:
        return f"none ({row['seconds']:.2g} s)"
    if len(row["costs"]) < count:
        return f"{len(row['costs'])} of {count} in {row['seconds']:.0f} s"
    is_knowing = row["clairvoyant"] and count > 1
    bound = on_plans if is_knowing else on_policies
    gap = relative_gap(row["value"], bound.value) if bound else None
    shown = "?" if gap is None else f"{100 * gap + 0.0:.1f}" if gap > 5e-4 or gap < -5e-4 else "0"
    seconds = f"{row['seconds']:.0f}" if row["seconds"] >= 9.5 else f"{row['seconds']:.2g}"
    return f"{row['name'] + ' ' if 'name' in row else ''}{shown}{' *' * is_knowing} ({seconds} s)"


def write() -> None:
    found = rows.read(RAW)
    cases = [case for case in CASES if any(row["case"] == case for row in found)]
    best = {case: bounds(case, found) for case in cases}
    named = {case: registry.solver_names(problem_of(instance_of(case))) for case in cases}
    at = {(row["case"], row["method"]): row for row in found if row["part"] == "methods"}
    table = [
        ["scenarios", *(str(scenarios_of(case)) for case in cases)],
        ["bound, by", *(f"{two[1].value:.7g} {two[1].by}" if two[1] else "none" for two in best.values())],
        ["bound on plans that know (*)", *(
            f"{two[0].value:.7g} {two[0].by}" if two[0] and scenarios_of(case) > 1 else "" for case, two in best.items()
        )],
    ]  # fmt: skip
    for method in [BEST, BEST_KNOWING, *registry.solver_names()]:
        fits = [method in (BEST, BEST_KNOWING) or method in named[case] for case in cases]
        line = [
            cell(case, at.get((case, method)), *best[case]) if is_fit else ""
            for case, is_fit in zip(cases, fits, strict=True)
        ]
        if any(line):
            table.append([f"{method}" if "rule" in method else f"`{method}`", *line])
    text = (
        f"{rows.commits(found)}\n\n"
        "Gap to the best proven bound of the instance, (cost - bound) / cost in %, and processor seconds of "
        f"all that was done, verification included: a search has {LIMIT:g} s, in all scenarios together, and "
        "so has the making or training of a policy. Empty: does not apply, or refuses. *: knows the "
        "scenarios, and is held to the bound on those who do. Rules are chosen on `select`; `ppo` and `pdppo` "
        "come with ORL; `sddp`, `lagrangian`, `ts-ddr` and `ts-ldr` begin from nothing. Limits of the clock "
        "were stretched by what other work on the core took."
    )
    headers = ["method", *(f"{CASES[case].family} {CASES[case].title}" for case in cases)]
    record.write(
        "family_method",
        "Every method that applies, on instances that nothing was trained or tuned on",
        [(text, headers, table)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    chosen = parser.parse_args()
    if chosen.action:
        record.one_core()
        for part in ("methods", "bound"):
            rows.measure(RAW, part, [one for one in cells(chosen.cases) if one[0]["part"] == part])
        return
    write()


if __name__ == "__main__":
    main()
