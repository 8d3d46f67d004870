"""Decision rules on the continuous relaxation of capacitated lot sizing, beside SDDP, hindsight and a rule.

python benchmarks/lotsizing_decision_rules.py train [--methods ts-ddr ts-ldr] [--seeds 0 1 2] [--work FOLDER]
python benchmarks/lotsizing_decision_rules.py judge [--work FOLDER]            rows that are there are kept
python benchmarks/lotsizing_decision_rules.py                                  write the table

The instance is X12429A-relaxed: 10 items, 20 periods, 10 samples of demand a period, overtime at a price. Rules train
on drawn paths and choose their weights on `select` scenarios; the scenarios that are judged on are seen by no training.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import record
import rows

import orl
from orl.learn.training import Recipe, Training
from orl.registry import find_problem
from orl.result import mean_interval, paired_difference
from orl.solver import Control
from orl.solvers.decision_rules.settings import DecisionRuleSettings
from orl.solvers.decision_rules.train import DecisionRuleLearner

CASE, FAMILY, SCENARIOS = "lotsizing/X12429A-relaxed", "clsp", 500
RAW = record.RESULTS / "lotsizing_decision_rules"
RULES = {"ts-ddr": {"encoder": "lstm"}, "ts-ldr": {"encoder": "linear", "learning_rate": 0.003}}
ITERATIONS = 400
OTHERS = {"sddp": {"iterations": 300}, "lot-for-lot": {}, "exact": {"start": "none"}}


def train(method: str, seed: int, work: Path) -> None:
    """Train, or go on."""
    training = {**RULES[method], "iterations": ITERATIONS}
    one = [{"instance": CASE}]
    recipe = Recipe(FAMILY, one, one, seed=seed, validation_instances=64, validate_every=20, training=training)
    folder = work / f"{method}-{seed}"
    with DecisionRuleLearner(find_problem(FAMILY), recipe, DecisionRuleSettings(**training)) as learner:
        Training(learner, recipe, ITERATIONS, folder, (folder / "last").exists()).run(Control(verbose=True))


def judged(method: str, work: Path, seed: int) -> rows.Row:
    """Return the cost of each scenario."""
    settings = OTHERS.get(method, {"checkpoint": str(work / f"{method}-{seed}" / "best")})
    result = orl.solve(CASE, method, settings=settings, scenarios=SCENARIOS, time_limit=None)
    assert result.verified, result.violations[:2]
    found = {
        "costs": list(result.costs),
        "bound": result.bound,
        "bound_kind": result.bound_kind,
        "seconds": result.seconds,
    }
    if method in RULES:
        log = list(csv.DictReader((work / f"{method}-{seed}" / "log.csv").open()))
        found |= {"seconds": float(log[-1]["seconds"]), "missed": sum(float(line["missed"]) for line in log)}
    return found


def lines(found: list[rows.Row]) -> list[list[object]]:
    costs = {(row["method"], row["seed"]): np.array(row["costs"]) for row in found}
    best, known = costs["sddp", 0], costs["exact", 0]
    table: list[list[object]] = []
    for row in sorted(found, key=lambda row: np.mean(row["costs"])):
        own = costs[row["method"], row["seed"]]
        mean, to = mean_interval(own), paired_difference(own, best)
        scale = 100 / best.mean()
        table.append([
            row["method"] + " *" * (row["method"] == "exact"), row["seed"],
            f"{mean.mean:.0f} ± {(mean.high - mean.low) / 2:.0f}",
            "" if row["method"] == "sddp" else "{:+.2f} ({:+.2f} to {:+.2f})".format(*(scale * x for x in to)),
            f"{100 * (own.mean() / known.mean() - 1):.2f}", f"{row['seconds']:.0f}",
        ])  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["train", "judge"])
    parser.add_argument("--methods", nargs="*", default=list(RULES), choices=RULES)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "orl-lotsizing-decision-rules")
    options = parser.parse_args()
    if options.action:
        record.one_core()
    if options.action == "train":
        for method in options.methods:
            for seed in options.seeds:
                train(method, seed, options.work)
        return
    if options.action == "judge":
        asked = [(method, 0) for method in OTHERS] + [(method, seed) for method in RULES for seed in options.seeds]
        cells = [
            ({"part": "cost", "method": method, "seed": seed}, partial(judged, method, options.work, seed))
            for method, seed in asked
        ]
        rows.measure(RAW, "cost", cells)
        return
    found = rows.read(RAW)
    bound = next(row for row in found if row["method"] == "sddp")["bound"]
    passes = OTHERS["sddp"]["iterations"]
    text = (
        f"{rows.commits(found)}\n\n{SCENARIOS} scenarios: mean cost ± half a 95 % interval; paired difference to "
        "`sddp` in % with its 95 % interval; % above the mean of what each scenario costs at least if it is known "
        f"beforehand (*); seconds of training ({ITERATIONS} iterations), else of the whole run, on a core that other "
        f"work shared. `sddp` ({passes} iterations) proves that no policy's expected cost is below {bound:.0f}."
    )
    header = ["method", "seed", "cost", "to sddp, %", "above hindsight, %", "s"]
    record.write("lotsizing_decision_rules", "Decision rules on relaxed lot sizing", [(text, header, lines(found))])


if __name__ == "__main__":
    main()
