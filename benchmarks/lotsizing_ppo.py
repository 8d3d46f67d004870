"""Lot sizing: PPO with one critic and with two, at equal steps, and the policies that come with it.

python benchmarks/lotsizing_ppo.py measure [--only ablation two-items] [--seeds 3]   each run goes on where it was
python benchmarks/lotsizing_ppo.py measure --only shipped shipped-pdppo              the policies that come with ORL
python benchmarks/lotsizing_ppo.py                                                   write the tables

A training knows the instance and its `train` stream, chooses its weights on `select`, and is judged by 500 scenarios of
`evaluate`. A step is one decision for one machine. Trainings are kept in `--work`; one that was stopped is resumed.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import record
import rows
from lotsizing_value import exact_values
from scipy.stats import ttest_rel

import orl
from orl import params
from orl.benchmark.statistics import holm
from orl.learn.training import Recipe, Training
from orl.registry import find_problem
from orl.result import paired_difference
from orl.solver import Control
from orl.solvers.ppo.policy import load
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner

SCENARIOS = 500
RAW = record.RESULTS / "lotsizing_ppo"
TRAINING = {
    "baseline": "critic", "discount": 0.994, "gae_decay": 0.95, "samples": 1, "instances": 64,
    "epochs": 4, "minibatch": 1024, "learning_rate": 0.002, "entropy": 0.003, "width": 32, "layers": 1, "columns": 34,
}  # fmt: skip
FORMS = {
    "single": {"critic": "single"},
    **{form: {"critic": "dual", "advantage": form} for form in ("max", "sum")},
    # Two half-steps make a step: lambda is the root of that of one critic.
    **{form: {"critic": "dual", "advantage": form, "gae_decay": 0.975} for form in ("post", "half-steps")},
}
ABLATION = {
    (form, normalise): {**told, "normalise": normalise}
    for normalise in ("returns", "none")
    for form, told in FORMS.items()
    if normalise == "returns" or form in ("single", "half-steps")
}
ABLATION["greedy-score", "returns"] = {"critic": "single", "columns": 0}
TWO_ITEMS = ("setting_2items_VI", "setting_2items_VI_binomial_1", "setting_2items_VI_binomial_3")
# What separates the actions of a state is a tenth of the noise: more of everything than above.
SMALL = {"discount": 1.0, "instances": 64, "epochs": 8, "minibatch": 512, "learning_rate": 0.004, "entropy": 0.01,
         "width": 64, "layers": 2}  # fmt: skip
RULES = ("greedy", "fixed", "keep", "idle")
COMPARED = ("greedy", "fixed", "lagrangian")
FULL = {"single": "one", **{form: f"two, {form}" for form in ("max", "sum", "post", "half-steps")},
        "greedy-score": "one, greedy's score read"}  # fmt: skip
SIZES = ("15x5", "20x10", "25x10", "25x15")
INSTANCES = [f"{size}-{letter}" for size in SIZES for letter in "abc"]


def learned(name, settings, instance, training, iterations, seed, every, work):
    """Train, or go on, and return the folder; `instance` are settings of the instance."""
    folder = work / f"{name}-seed{seed}"
    training = {**TRAINING, **training, "iterations": iterations}
    recipe = Recipe("lotsizing", [{"instance": instance}], [{"instance": instance}], seed=seed, validation_instances=32,
                    validate_every=every, instance=settings, training=training)  # fmt: skip
    learner = PpoLearner(find_problem("lotsizing"), recipe, params.make(PpoSettings, training, name))
    Training(learner, recipe, iterations, folder, (folder / "last").exists()).run(Control())
    return folder


def judged(instance, method, settings=None):
    """Return costs on the `evaluate` stream, verified, and seconds a decision."""
    result = orl.solve(instance, method, settings=settings or {}, scenarios=SCENARIOS, seed=0, time_limit=None)
    assert result.verified, result.violations
    return result.costs, result.metrics.get("seconds_per_decision")


def steps_of(folder):
    """Return the validation figures of a training, a pair (iteration, cost) each, and its seconds."""
    log = list(csv.DictReader((folder / "log.csv").open()))
    return [(int(row["iteration"]), float(row["validation"])) for row in log if row["validation"]], log[-1]["seconds"]


def trained_row(name, settings, instance, training, iterations, seed, every, work):
    """Train with settings of the instance, and judge on it as it comes; the curve is that of validation."""
    folder = learned(name, settings, instance, training, iterations, seed, every, work)
    costs, pace = judged(orl.load(instance), "ppo", {"checkpoint": str(folder / "best")})
    curve, seconds = steps_of(folder)
    return {"costs": costs, "seconds_per_decision": pace, "curve": curve, "seconds": float(seconds)}


def judged_row(instance, method):
    costs, pace = judged(orl.load(instance), method)
    return {"costs": costs, "seconds_per_decision": pace}


def ablation(seeds, work):
    """Yield what to measure for every variant and seed on 15x5-a: 20 iterations of 32,000 steps."""
    for normalise, seed, form in product(("returns", "none"), range(seeds), FULL):
        if (form, normalise) in ABLATION:
            key = {"part": "ablation", "form": form, "normalise": normalise, "seed": seed}
            name, training = f"ablation-{form}-{normalise}", ABLATION[form, normalise]
            yield key, partial(trained_row, name, {}, "lotsizing/15x5-a", training, 20, seed, 2, work)


def two_items_row(instance, form, seed, work):
    """Train and compute what the policy is worth; its curve is that of the validation scenarios."""
    settings, training = {"discount": 0.9}, {**FORMS[form], **SMALL}
    name = f"two-{instance}-{form}"
    folder = learned(name, settings, f"lotsizing/{instance}", training, 40, seed, 40, work)
    policy = load(find_problem("lotsizing"), str(folder / "last"), None)[0]
    cost, optimum = exact_values(orl.load(f"lotsizing/{instance}", settings=settings), policy)
    return {"cost": cost, "optimum": optimum, "seconds": float(steps_of(folder)[1])}


def two_items(seeds, work):
    """Yield what to measure for every instance, method and seed; the process' discount is 0.9."""
    for form, seed, instance in product(("single", "half-steps"), range(seeds), TWO_ITEMS):
        key = {"part": "two-items", "instance": instance, "form": form, "seed": seed}
        yield key, partial(two_items_row, instance, form, seed, work)


def shipped(seeds, work, part="shipped", method="ppo"):
    """Yield what to measure for every instance: the policy that comes with ORL."""
    for instance in INSTANCES:
        yield {"part": part, "instance": instance}, partial(judged_row, f"lotsizing/{instance}", method)


PARTS = {
    "ablation": ablation,
    "two-items": two_items,
    "shipped": shipped,
    "shipped-pdppo": partial(shipped, part="shipped-pdppo", method="pdppo"),
}

# Tables -------------------------------------------------------------------------------------------------------------


def of_others():
    """Return costs by instance and method that `lotsizing_bounds.py` measured on the same scenarios."""
    lines = (record.RESULTS / "lotsizing_bounds" / "policies.jsonl").read_text().splitlines()
    return {(row["instance"], row["method"]): np.array(row["costs"]) for row in map(json.loads, lines)}


def share(costs, others):
    """Return the paired difference as text, % of what the others cost."""
    found, mean = paired_difference(costs, others), np.mean(others)
    return f"{100 * found.mean / mean:+.1f} ± {50 * (found.high - found.low) / mean:.1f}"


def shipped_table(found):
    others, table = of_others(), []
    two = {row["instance"]: row["costs"] for row in found if row["part"] == "shipped-pdppo"}
    for row in found:
        if row["part"] == "shipped":
            instance, costs = row["instance"], np.array(row["costs"])
            best = min(RULES, key=lambda rule, at=instance: others[at, rule].mean())
            table.append([
                instance, f"{costs.mean():.0f}", *(f"{others[instance, name].mean():.0f}" for name in COMPARED),
                share(costs, others[instance, "greedy"]), f"{share(costs, others[instance, best])} ({best})",
                share(costs, others[instance, "lagrangian"]), share(np.array(two[instance]), costs),
                f"{1e6 * row['seconds_per_decision']:.0f}",
            ])  # fmt: skip
    text = (
        "The policy that comes with ORL on instances that it was not trained on, and what others cost on the same "
        f"{SCENARIOS} scenarios of `evaluate` (from `lotsizing_bounds.py`): mean cost; paired difference in % ± half a "
        "95 % interval to the tuned greedy rule, to the best rule of the instance, and to `lagrangian`, which searches "
        "for prices for seconds to minutes an instance; the policy that comes with `pdppo`, to this one; "
        "microseconds a decision, 256 environments side by side."
    )
    headers = ["instance", "ppo", *COMPARED, "to greedy", "to the best rule", "to lagrangian", "pdppo to it", "µs"]
    return text, headers, table


def sizes_table(found):
    others, table = of_others(), []
    for size in SIZES:
        of_size = [row for row in found if row["part"] == "shipped" and row["instance"].startswith(size)]
        ratios = {
            name: np.mean([np.mean(one["costs"]) / others[one["instance"], name].mean() - 1 for one in of_size])
            for name in ("greedy", "lagrangian") if of_size
        }  # fmt: skip
        table += [[size, *(f"{100 * ratio:+.1f}" for ratio in ratios.values())]] if of_size else []
    return "The same by size, mean over its three instances, %.", ["size", "to greedy", "to lagrangian"], table


def ablation_table(found):
    of_part = [row for row in found if row["part"] == "ablation"]
    means = {(row["form"], row["normalise"], row["seed"]): np.mean(row["costs"]) for row in of_part}
    table, p_values = [], {}
    for form, normalise in ABLATION:
        runs = [row for row in of_part if (row["form"], row["normalise"]) == (form, normalise)]
        if not runs:
            continue
        costs = [means[form, normalise, row["seed"]] for row in runs]
        others = [means.get(("single", "returns", row["seed"]), np.nan) for row in runs]
        change = paired_difference(costs, others)
        is_base = (form, normalise) == ("single", "returns")
        if not is_base:
            p_values[len(table)] = ttest_rel(costs, others).pvalue
        table.append([
            FULL[form], normalise, f"{np.mean(costs):.0f}", ", ".join(f"{cost:.0f}" for cost in costs),
            "" if is_base else f"{change.mean:+.0f} ({change.low:+.0f} to {change.high:+.0f})", "",
            ", ".join(str(steps_to(row["curve"])) for row in runs),
            f"{np.mean([row['seconds'] for row in runs]):.0f}",
        ])  # fmt: skip
    for place, p in zip(p_values, holm(list(p_values.values())), strict=True):
        table[place][5] = f"{p:.2g}"
    others = of_others() if table else {}
    table += [
        [name, "", f"{others['15x5-a', name].mean():.0f}", *[""] * 5] for name in COMPARED if others
    ]  # fmt: skip
    text = (
        "15x5-a, trained on the instance itself and its `train` stream, 640,000 steps each, weights chosen on "
        f"`select`: mean cost over {SCENARIOS} scenarios of `evaluate`, mean over seeds and each seed; difference to "
        "one critic with its 95 % interval over training seeds, p after Holm; thousands of steps until 95 % of what "
        "the run improved in all (on `select`, from its first look at 64,000); seconds of training on one core."
    )
    return text, ["critics", "normalise", "cost", "seeds", "to one critic", "p", "1000 steps to 95 %", "s"], table


def steps_to(curve):
    """Return after how many thousand steps a run has 95 % of its improvement."""
    iterations, costs = np.array(curve).T
    best = np.minimum.accumulate(costs)
    enough = costs[0] - 0.95 * (costs[0] - best[-1])
    return int(iterations[np.argmax(best <= enough)] * 32)


def two_items_table(found):
    table = []
    for instance in TWO_ITEMS:
        for form in ("single", "half-steps"):
            of_part = [row for row in found if row["part"] == "two-items"]
            runs = [row for row in of_part if (row["instance"], row["form"]) == (instance, form)]
            if runs:
                gaps = [100 * (row["cost"] / row["optimum"] - 1) for row in runs]
                table.append([
                    instance, FULL[form], f"{runs[0]['optimum']:.4f}", len(gaps), f"{np.median(gaps):.2f}",
                    f"{min(gaps):.2f}", f"{max(gaps):.2f}", f"{np.median([row['seconds'] for row in runs]):.0f}",
                ])  # fmt: skip
    text = (
        "Two items, one machine, discount 0.9, 340,000 steps: what the policy that training ends with is worth, "
        "computed from its decisions in all states, % above the optimum; training seeds, their median, best and "
        "worst; seconds of training, median, on a core that other work shared. The settings were tried on the third "
        "instance, seed 0."
    )
    return text, ["instance", "critics", "optimum", "seeds", "median", "best", "worst", "s"], table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "orl-lotsizing-ppo")
    options = parser.parse_args()
    if options.action == "measure":
        record.one_core()
        for part in options.only:
            rows.measure(RAW, part, PARTS[part](options.seeds, options.work))
        return
    found = rows.read(RAW)
    sections = [write(found) for write in (shipped_table, sizes_table, ablation_table, two_items_table)]
    sections[0] = (f"{rows.commits(found)}\n\n{sections[0][0]}", *sections[0][1:])
    record.write("lotsizing_ppo", "Learned policies of lot sizing", [one for one in sections if one[2]], digits=5)


if __name__ == "__main__":
    main()
