"""Rules, the learned policy, `rollout`, `rolling` on blocking job shops that break down, and what hindsight could do.

python benchmarks/jobshop_disruptions.py rules rollout rolling hindsight    measure (each part goes on where it was)
python benchmarks/jobshop_disruptions.py ppo --modes swap --checkpoint DIR  another training seed of the same recipe
python benchmarks/jobshop_disruptions.py rollout-ppo --modes swap           `rollout` on the learned policy: slow, a few
python benchmarks/jobshop_disruptions.py                                    write the tables from what is measured
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import record
from tqdm import tqdm

import orl
from orl import registry
from orl.benchmark.statistics import crossed_difference, holm
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.rules import DUE_DATE_RULES, RULES
from orl.problems.jobshop.scenario import sample
from orl.result import mean_interval, paired_difference
from orl.scenario import Purpose
from orl.solvers.ppo.policy import load

MODES = ("swap", "none")
PROBABILITIES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02)
LAWRENCE = [f"la{i:02d}" for i in range(1, 41)]
SOME = LAWRENCE[:5] + LAWRENCE[15:20]
FEW = LAWRENCE[:5]
SCENARIOS = 50
FEW_SCENARIOS = 5
SEED = 0
RAW = record.RESULTS / "jobshop_disruptions"  # a file a part
PARTS = {
    "rules": (LAWRENCE, None, {}),
    "ppo": (LAWRENCE, SCENARIOS, {}),
    "rollout": (SOME, SCENARIOS, {"futures": 20}),
    "rollout-ppo": (FEW, FEW_SCENARIOS, {"base": "ppo", "futures": 10}),
    "rolling": (SOME, FEW_SCENARIOS, {"replan_time": 1}),
    "hindsight": (FEW, FEW_SCENARIOS, {}),
}


def shop_of(name, mode, probability):
    return orl.load(f"jobshop/{name}", settings={"buffers": mode, "breakdowns": {"probability": probability}})


def scenarios_of(shop, count):
    return sample(shop, SEED, Purpose.EVALUATE, count if shop.settings.breakdowns.probability else 1)


def rule_rows(name, mode, probability):
    """Yield one row a rule; the schedule of its first scenario is verified."""
    shop = shop_of(name, mode, probability)
    scenarios = scenarios_of(shop, SCENARIOS)
    process = JobShopProcess([shop] * len(scenarios), list(scenarios))
    seeds = np.arange(len(scenarios), dtype=np.uint64)
    for rule in RULES.values():
        if rule.name not in DUE_DATE_RULES:  # there are no due dates
            process.reset()
            costs = process.run(rule, seeds)
            report = registry.find_problem("jobshop").verify(shop, scenarios[0], process.solution(0))
            assert report.is_feasible and report.cost == costs[0]
            yield {"method": rule.name, "costs": costs.astype(int).tolist()}  # makespans are whole


def policy_row(method, name, mode, probability, count, settings):
    shop = shop_of(name, mode, probability)
    count = count if probability else None
    result = orl.solve(shop, method, settings=settings, scenarios=count, seed=SEED, time_limit=None)
    assert result.verified, result.violations
    return {"method": method, "costs": result.costs, "seconds_per_decision": result.metrics.get("seconds_per_decision")}


def learned(mode, folder=""):
    """Return the training seed of a checkpoint, or of the policy that is shipped, as its rows name it."""
    about = load(registry.find_problem("jobshop"), folder, shop_of("la01", mode, 0.0))[1]
    return f"ppo, seed {about['recipe']['seed']}"


def hindsight_row(name, mode, probability, count):
    """Return proven bounds and best values of the hindsight problems, 20 s each."""
    shop = shop_of(name, mode, probability)
    scenarios = scenarios_of(shop, count)
    limit = 20.0 * len(scenarios)
    result = orl.solve(shop, "cp-sat", scenarios=len(scenarios) if probability else None, seed=SEED, time_limit=limit)
    assert result.verified
    proven = result.metrics["proven_scenarios"]
    return {"method": "hindsight", "costs": result.costs, "bound": result.bound, "proven": proven}


def measure(part, modes, folder):
    """Append what is missing of a part to the raw rows."""
    for mode in modes:
        measure_mode(part, mode, folder)


def measure_mode(part, mode, folder):
    """The same for one mode; a policy of another training seed is a part of its own."""
    names, count, settings = PARTS[part]
    file_name = part
    if part == "ppo":
        part, settings = learned(mode, folder), {"checkpoint": folder}
    done = {(row["part"], row["instance"], row["mode"], row["probability"]) for row in raw()}
    cells = [(name, mode, p) for p in PROBABILITIES for name in names]
    for cell in tqdm([cell for cell in cells if (part, *cell) not in done], desc=part):
        if part == "rules":
            rows = list(rule_rows(*cell))
        elif part == "hindsight":
            rows = [hindsight_row(*cell, count)]
        else:
            rows = [{**policy_row(file_name.split("-")[0], *cell, count, settings), "method": part}]
        about = {"part": part, **dict(zip(("instance", "mode", "probability"), cell, strict=True))}
        lines = [json.dumps({**about, **row, "commit": record.VERSIONS.get("commit")}) + "\n" for row in rows]
        RAW.mkdir(exist_ok=True)
        with (RAW / f"{file_name}.jsonl").open("a") as file:
            file.write("".join(lines))


def raw():
    files = [RAW / f"{part}.jsonl" for part in PARTS]
    return [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]


def by_scenario(rows, method, names, mode, probability, count):
    """Return the mean over instances for each scenario, (scenarios,); None where something is missing."""
    found = {
        row["instance"]: row["costs"][:count]
        for row in rows
        if (row["method"], row["mode"], row["probability"]) == (method, mode, probability)
    }
    if not all(name in found for name in names):
        return None
    return np.mean([found[name] for name in names], axis=0)


def table(rows, methods, names, mode, count):
    """Return a line a method: means with intervals; and a line a method: paired differences to the best rule."""
    means, differences = [], []
    columns = {
        (method, p): by_scenario(rows, method, names, mode, p, count) for method in methods for p in PROBABILITIES
    }
    rules = [method for method in methods if method in RULES and method != "random"]
    best = {}
    for p in PROBABILITIES:
        best[p] = min(rules, key=lambda rule, p=p: columns[rule, p].mean())
    for method in methods:
        if all(columns[method, p] is None for p in PROBABILITIES):
            continue
        line, line_of_differences = [method], [method]
        for p in PROBABILITIES:
            costs = columns[method, p]
            if costs is None:
                line.append("")
                line_of_differences.append("")
                continue
            line.append(with_interval(mean_interval(costs.tolist()) if len(costs) > 1 else None, costs.mean()))
            reference = columns[best[p], p]
            if method == best[p]:
                line_of_differences.append("best rule")
            else:
                paired = paired_difference(costs.tolist(), reference.tolist()) if len(costs) > 1 else None
                line_of_differences.append(with_interval(paired, (costs - reference).mean(), sign="+"))
        means.append(line)
        differences.append(line_of_differences)
    return means, differences


def seeds_table(rows, rules, mode):
    """Return a line a probability: the policies of all training seeds against its best rule, in percent."""
    seeds = sorted({row["method"] for row in rows if row["mode"] == mode and row["method"].startswith("ppo, seed")})
    found = {}
    for p in PROBABILITIES:
        costs = {
            method: {
                row["instance"]: np.mean(row["costs"])
                for row in rows
                if (row["method"], row["mode"], row["probability"]) == (method, mode, p)
            }
            for method in [*rules, *seeds]
        }
        if len(seeds) < 2 or not all(len(of_method) == len(LAWRENCE) for of_method in costs.values()):
            return [], []
        best = min((rule for rule in rules if rule != "random"), key=lambda rule: np.mean(list(costs[rule].values())))
        found[p] = [[100 * (costs[seed][name] / costs[best][name] - 1) for seed in seeds] for name in LAWRENCE]
    compared = {p: crossed_difference(table, 1 - 0.05 / len(PROBABILITIES)) for p, table in found.items()}
    adjusted = holm([one.p_value for one in compared.values()])
    lines = []
    for (p, one), p_value in zip(compared.items(), adjusted, strict=True):
        of_seeds = [f"{value:+.1f}" for value in np.mean(found[p], axis=0)]
        worse = (np.mean(found[p], axis=1) > 0).sum()
        lines.append([f"p = {p:g}", *of_seeds, f"{one.mean:+.1f}", f"{one.low:+.1f} to {one.high:+.1f}",
                      f"{p_value:.1g}", f"{worse} of {len(LAWRENCE)}"])  # fmt: skip
    return ["", *(seed.removeprefix("ppo, ") for seed in seeds), "mean", "interval", "p", "worse"], lines


def with_interval(interval, value, sign=""):
    half = "" if interval is None else f" ± {(interval.high - interval.low) / 2:.1f}"
    return f"{value:{sign}.1f}{half}"


def hindsight_table(rows, mode):
    """Return a line a method: mean over la01-la05 and the scenarios that hindsight was computed for."""
    lines = []
    bounds = {}
    line, proven = ["hindsight bound"], ["proven, of"]
    for p in PROBABILITIES:
        key = ("hindsight", mode, p)
        found = [row for row in rows if (row["method"], row["mode"], row["probability"]) == key]
        if len(found) < len(FEW):
            line.append("")
            proven.append("")
            continue
        bounds[p] = np.mean([row["bound"] for row in found])
        line.append(f"{bounds[p]:.1f}")
        proven.append(f"{sum(row['proven'] for row in found):.0f} of {sum(len(row['costs']) for row in found)}")
    lines += [line, proven]
    for method in ("mwr", "ppo", "rollout", "rollout-ppo", "rolling"):
        line = [f"{method}: excess over it, %"]
        for p in PROBABILITIES:
            costs = by_scenario(rows, method, FEW, mode, p, FEW_SCENARIOS)
            line.append("" if costs is None or p not in bounds else f"{100 * (costs.mean() / bounds[p] - 1):.1f}")
        if any(line[1:]):
            lines.append(line)
    return lines


def pace(rows):
    lines = []
    for method in ("ppo", "rollout", "rollout-ppo", "rolling"):
        for mode in MODES:
            line = [method, mode]
            for p in PROBABILITIES:
                key = (method, mode, p)
                found = [row for row in rows if (row["method"], row["mode"], row["probability"]) == key]
                times = [1000 * row["seconds_per_decision"] for row in found if row["seconds_per_decision"]]
                line.append(f"{np.mean(times):.2f}" if times else "")
            if any(line[2:]):
                lines.append(line)
    return lines


def write():
    rows = raw()
    shipped = {mode: learned(mode) for mode in MODES}
    rows += [{**row, "method": "ppo"} for row in rows if row["method"] == shipped[row["mode"]]]
    rules = list(dict.fromkeys(row["method"] for row in rows if row["part"] == "rules"))
    headers = ["method", *(f"p = {p:g}" for p in PROBABILITIES)]
    some, few = "la01-la05 and la16-la20", "la01-la05"
    sections = []
    for mode in MODES:
        name = {"swap": "with swaps", "none": "without swaps"}[mode]
        means, differences = table(rows, [*rules, "ppo"], LAWRENCE, mode, SCENARIOS)
        sections += [
            (f"la01-la40 {name}: mean makespan over instances and {SCENARIOS} scenarios, ± half a 95 % interval over "
             "scenarios (p = 0: one, no interval).", headers, means),
            (f"la01-la40 {name}: paired difference to the best rule.", headers, differences),
            (f"la01-la40 {name}: makespans of the learned policies of all training seeds over those of the best rule "
             f"of each probability, %, means over scenarios; {shipped[mode]} is shipped. Intervals over instances and "
             "training seeds that hold together with 95 % (each 99.2 %), p-values after Holm; `worse`: instances on "
             "which the mean over seeds is.", *seeds_table(rows, rules, mode)),
            (f"{some} {name}: the same with `rollout` (20 futures, base MWR).", headers,
             table(rows, [*rules, "ppo", "rollout"], SOME, mode, SCENARIOS)[0]),
            (f"{some} {name}: paired difference to the best rule.", headers,
             table(rows, [*rules, "ppo", "rollout"], SOME, mode, SCENARIOS)[1]),
            (f"{some} {name}, the first {FEW_SCENARIOS} of these scenarios, with `rolling` (1 s a plan).", headers,
             table(rows, [*rules, "ppo", "rollout", "rolling"], SOME, mode, FEW_SCENARIOS)[0]),
            (f"{few} {name}, the first {FEW_SCENARIOS} of these scenarios, with `rolling` (1 s a plan) and with "
             "`rollout-ppo`: `rollout` on the learned policy, 10 futures.", headers,
             table(rows, [*rules, "ppo", "rollout", "rollout-ppo", "rolling"], FEW, mode, FEW_SCENARIOS)[0]),
            (f"{few} {name}, these scenarios: mean proven bound in hindsight (CP-SAT, 20 s each; unproven ones enter "
             "by their bound), and the excess over it.", headers, hindsight_table(rows, mode)),
        ]  # fmt: skip
    sections.append(
        (
            "Milliseconds a decision, mean over what was measured; scenarios are played side by side. Those of "
            "`rollout-ppo` were taken beside other work, at p = 0.002 without swaps beside much.",
            ["method", "mode", *headers[1:]],
            pace(rows),
        )
    )
    sections = [section for section in sections if section[2]]
    commits = ", ".join(dict.fromkeys(str(row.get("commit")) for row in rows))
    title = "Blocking job shops whose machines break down"
    note = f"Repair times uniform 5..35, resumed; seed {SEED}, stream `evaluate`. Rows were measured at {commits}.\n\n"
    sections[0] = (note + sections[0][0], *sections[0][1:])
    record.write("jobshop_disruptions", title, sections)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--checkpoint", default="", help="of ppo; default: the policy that comes with such shops")
    parser.add_argument("--modes", nargs="*", default=MODES, choices=MODES, help="of the shops that are measured")
    options = parser.parse_args()
    for chosen in options.parts:
        measure(chosen, options.modes, options.checkpoint)
    write()
