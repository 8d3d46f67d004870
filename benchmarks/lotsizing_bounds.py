"""Lot sizing: `lagrangian` beside rules and `rolling`, and how far the best policy can be from the optimum.

python benchmarks/lotsizing_bounds.py policies hindsight penalised tiny rolling measure (each part goes on where it was)
python benchmarks/lotsizing_bounds.py                                          write the tables from what is measured
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import record
from tqdm import tqdm

import orl
from orl import registry
from orl.problems.lotsizing.scenario import sample
from orl.result import mean_interval, paired_difference
from orl.scenario import Purpose
from orl.solvers.dp.relaxation import hindsight as free
from orl.solvers.dp.relaxation import optimal_values
from orl.solvers.dp.relaxation import penalised as paying

SIZES = ("15x5", "20x10", "25x10", "25x15")
RULES = ("idle", "keep", "fixed", "greedy")
SCENARIOS, FEW, FEWER = 500, 20, 5
SEED = 0
RAW = record.RESULTS / "lotsizing_bounds"
ALL = [f"{size}-{letter}" for size in SIZES for letter in "abc"]
FIRSTS = [f"{size}-a" for size in SIZES]


def policies(name):
    """Yield the costs of rules and `lagrangian`; of 25x15 the search for prices has 9 minutes, else 150 steps."""
    for method in (*RULES, "lagrangian"):
        is_slow = method == "lagrangian" and name.startswith("25x15")
        yield method, orl.solve(f"lotsizing/{name}", method, scenarios=SCENARIOS, time_limit=900 if is_slow else None)


def hindsight(name):
    """Yield plans and bounds of known scenarios."""
    limit = None if name.startswith("15x5") else 10.0 * FEW
    yield "hindsight", orl.solve(f"lotsizing/{name}", "lagrangian-hindsight", scenarios=FEW, time_limit=limit)


def penalised(name):
    """Yield the policy with bounds of known scenarios that pay for what they know."""
    settings = {"scenario_iterations": 40}
    yield "penalised", orl.solve(f"lotsizing/{name}", "lagrangian", settings=settings, scenarios=FEW, time_limit=None)


def rolling(name):
    """Yield a rolling horizon over expected demand."""
    settings = {"lookahead": 8, "replan_time": 0.5}
    yield "rolling", orl.solve(f"lotsizing/{name}", "rolling", settings=settings, scenarios=FEWER, time_limit=None)


def tiny(name):
    """Yield what is exact on an instance that can be written out, and information relaxation with its values."""
    instance, discount = name.split("@")
    one = orl.load(f"lotsizing/{instance}", settings={"discount": float(discount), "horizon": "file"})
    table = registry.find_problem("lotsizing").tabular(one)
    scenarios = sample(one, SEED, Purpose.EVALUATE, FEW)
    values = optimal_values(table)
    for method in ("dp", "lagrangian", "greedy"):
        yield method, orl.solve(one, method, scenarios=SCENARIOS, time_limit=None)
    few = orl.solve(one, "dp", scenarios=FEW, time_limit=None)
    yield "hindsight", replace(few, costs=[free(table, scenario) for scenario in scenarios])
    yield "paying", replace(few, costs=[paying(table, scenario, values) for scenario in scenarios])


TINY = [f"{name}@{discount}" for name in ("setting_2items_VI", "setting_2items_VI_binomial_1",
        "setting_2items_VI_binomial_3") for discount in (0.9, 0.99)]  # fmt: skip
PARTS = {
    "policies": (policies, ALL),
    "hindsight": (hindsight, [*ALL[:3], *FIRSTS[1:]]),
    "penalised": (penalised, ALL[:3]),
    "tiny": (tiny, TINY),
    "rolling": (rolling, FIRSTS),
}


def measure(part):
    """Append what is missing of a part to the raw rows."""
    run, names = PARTS[part]
    done = {row["instance"] for row in raw() if row["part"] == part}
    for name in tqdm([name for name in names if name not in done], desc=part):
        lines = []
        for method, result in run(name):
            assert result.verified and len(result.costs) == result.scenarios, (name, method, result.violations)
            row = {
                "part": part,
                "instance": name,
                "method": method,
                "costs": result.costs,
                "bound": result.bound,
                "bound_kind": result.bound_kind,
                "seconds": round(result.seconds, 1),
                "metrics": {k: v for k, v in result.metrics.items() if k in KEPT},
                "commit": record.VERSIONS.get("commit"),
            }
            lines.append(json.dumps(row) + "\n")
        RAW.mkdir(exist_ok=True)
        with (RAW / f"{part}.jsonl").open("a") as file:
            file.write("".join(lines))


KEPT = (
    "optimal_cost",
    "seconds_per_decision",
    "price_iterations",
    "expected_bound",
    "bound_low",
    "bound_high",
)


def raw():
    files = [RAW / f"{part}.jsonl" for part in PARTS]
    return [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]


def half_width(values):
    interval = mean_interval(values)
    return f"{np.mean(values):.0f} ± {(interval.high - interval.low) / 2:.0f}"


def of_policies(rows):
    """Return a row an instance: costs of rules and `lagrangian`, its bound and gap, its paired difference."""
    table = []
    for name in ALL:
        of = {row["method"]: row for row in rows if row["part"] == "policies" and row["instance"] == name}
        if not of:
            continue
        ours = of["lagrangian"]
        best = min(RULES, key=lambda rule: np.mean(of[rule]["costs"]))
        difference = paired_difference(ours["costs"], of[best]["costs"])
        table.append([
            name,
            *(half_width(of[rule]["costs"]) for rule in RULES),
            half_width(ours["costs"]),
            f"{difference.mean:.0f} ± {(difference.high - difference.low) / 2:.0f} ({best})",
            f"{ours['bound']:.0f}",
            f"{100 * (np.mean(ours['costs']) - ours['bound']) / np.mean(ours['costs']):.1f}",
            f"{ours['metrics']['price_iterations']:.0f}",
            f"{1e6 * ours['metrics']['seconds_per_decision']:.0f}",
            f"{ours['seconds']:.0f}",
        ])  # fmt: skip
    return table


def of_bounds(rows):
    """Return a row an instance of what is known of the first FEW scenarios."""
    table = []
    find = {(row["part"], row["instance"], row["method"]): row for row in rows}
    for name in PARTS["hindsight"][1]:
        known, ours = find.get(("hindsight", name, "hindsight")), find.get(("policies", name, "lagrangian"))
        paying = find.get(("penalised", name, "penalised"))
        if known is None or ours is None:
            continue
        cost = np.mean(ours["costs"][:FEW])
        cells = [
            name,
            f"{known['bound']:.0f}",
            half_width(known["costs"]),
            f"{cost:.0f}",
            percent(cost, known["bound"]),
        ]
        cells += [f"{ours['bound']:.0f}", percent(cost, ours["bound"])]
        if paying:
            low, high = paying["metrics"]["bound_low"], paying["metrics"]["bound_high"]
            cells += [f"{paying['bound']:.0f} ± {(high - low) / 2:.0f}", percent(cost, paying["bound"])]
        table.append(cells + [""] * (9 - len(cells)))
    return table


def of_tiny(rows):
    """Return a row an instance: exact value, bounds on it, policies."""
    table = []
    for name in TINY:
        of = {row["method"]: row for row in rows if row["part"] == "tiny" and row["instance"] == name}
        if of:
            optimum = of["dp"]["metrics"]["optimal_cost"]
            spread = np.ptp(of["paying"]["costs"])
            table.append([
                *name.split("@"),
                f"{optimum:.4f}",
                f"{np.mean(of['hindsight']['costs']):.4f}",
                f"{np.mean(of['paying']['costs']):.4f}",
                f"{spread:.0e}",
                f"{of['lagrangian']['bound']:.4f}",
                *(f"{np.mean(of[method]['costs']):.4f}" for method in ("dp", "lagrangian", "greedy")),
            ])  # fmt: skip
    return table


def percent(cost, bound):
    return f"{100 * (cost - bound) / cost:.1f}"


def of_rolling(rows):
    """Return a row an instance: `rolling`, and the others on the same scenarios."""
    table = []
    find = {(row["part"], row["instance"], row["method"]): row for row in rows}
    for name in PARTS["rolling"][1]:
        plans = find.get(("rolling", name, "rolling"))
        if plans is None:
            continue
        others = [find["policies", name, method]["costs"][:FEWER] for method in ("fixed", "greedy", "lagrangian")]
        seconds = plans["metrics"]["seconds_per_decision"]
        table.append([name, half_width(plans["costs"]), *map(half_width, others), f"{seconds:.3f}"])
    return table


def write():
    """Write the tables."""
    rows = raw()
    commits = ", ".join(sorted({f"{row['part']} at {row['commit']}" for row in rows}))
    bounds = [
        "instance", "hindsight bound", "hindsight plan", "lagrangian", "gap to hindsight %", "bound on policies",
        "gap to it %", "penalised bound", "gap to that %",
    ]  # fmt: skip
    record.write(
        "lotsizing_bounds",
        "Lot sizing: policies and bounds",
        [
            (f"Measured: {commits}. Mean cost ± half a 95 % interval over {SCENARIOS} scenarios of `evaluate`, seed 0; "
             "paired difference of `lagrangian` to the best rule; its proven bound on the expected cost of every "
             "policy, gap in %, evaluations of prices, microseconds a decision (256 environments side by side), "
             "seconds in all.",
             ["instance", *RULES, "lagrangian", "difference", "bound", "gap %", "prices", "µs", "s"],
             of_policies(rows)),
            (f"The first {FEW} of these scenarios: bound and plans of `lagrangian-hindsight`, which knows each "
             "scenario; the cost of `lagrangian` there and its gap to that bound, to the bound on the expected cost, "
             "and to the mean of bounds with penalties.", bounds, of_bounds(rows)),
            (f"`rolling` (8 periods of expected demand, 0.5 s a plan) on the first {FEWER} scenarios, others on the "
             "same; seconds a decision.",
             ["instance", "rolling", "fixed", "greedy", "lagrangian", "s"], of_rolling(rows)),
            (f"Two items, one machine, 100 periods, file's start: the optimum by dynamic programming; mean over {FEW} "
             "scenarios of hindsight, and of hindsight that pays penalties of the optimal values, with its range over "
             f"scenarios; the bound of `lagrangian`; mean costs of policies over {SCENARIOS} scenarios.",
             ["instance", "discount", "optimum", "hindsight", "with penalties", "range", "lagrangian bound", "dp",
              "lagrangian", "greedy"], of_tiny(rows)),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS])
    for each in parser.parse_args().parts:
        measure(each)
    write()
