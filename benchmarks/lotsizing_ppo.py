"""Lot sizing: PPO with one critic and with two, at equal steps, and the policies that come with it.

python benchmarks/lotsizing_ppo.py measure [--only ablation two-items] [--seeds 3]   each run goes on where it was
python benchmarks/lotsizing_ppo.py measure --only shipped                            the policies that come with ORL
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
from pathlib import Path

import record
from tqdm import tqdm

import orl
from orl import params
from orl.learn.training import Recipe, Training
from orl.registry import find_problem
from orl.solver import Control
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner

SCENARIOS = 500
RAW = record.RESULTS / "lotsizing_ppo"
TRAINING = {
    "baseline": "critic", "discount": 0.994, "samples": 1, "instances": 64, "epochs": 4, "minibatch": 1024,
    "learning_rate": 0.002, "entropy": 0.003, "width": 32, "layers": 1,
}  # fmt: skip
FORMS = {
    "single": {"critic": "single"},
    **{form: {"critic": "dual", "advantage": form} for form in ("max", "sum", "post", "half-steps")},
}
ABLATION = {
    (form, normalise): {**told, "normalise": normalise}
    for normalise in ("returns", "none")
    for form, told in FORMS.items()
    if normalise == "returns" or form in ("single", "half-steps")
}
TWO_ITEMS = {
    "setting_2items_VI": 8.40909542,
    "setting_2items_VI_binomial_1": 44.06068955,
    "setting_2items_VI_binomial_3": 42.09054203,
}
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
    rows = list(csv.DictReader((folder / "log.csv").open()))
    return [(int(row["iteration"]), float(row["validation"])) for row in rows if row["validation"]], rows[-1]["seconds"]


def trained_row(name, settings, instance, training, iterations, seed, every, work):
    """Train and judge; the curve is that of the validation scenarios."""
    folder = learned(name, settings, instance, training, iterations, seed, every, work)
    costs, pace = judged(orl.load(instance, settings=settings), "ppo", {"checkpoint": str(folder / "best")})
    curve, seconds = steps_of(folder)
    return {"costs": costs, "seconds_per_decision": pace, "curve": curve, "seconds": float(seconds)}


def judged_row(instance, method):
    costs, pace = judged(orl.load(instance), method)
    return {"costs": costs, "seconds_per_decision": pace}


def ablation(seeds, work):
    """Yield what to measure for every variant and seed on 15x5-a: 20 iterations of 32,000 steps."""
    for seed in range(seeds):
        for (form, normalise), training in ABLATION.items():
            key = {"part": "ablation", "form": form, "normalise": normalise, "seed": seed}
            name = f"ablation-{form}-{normalise}"
            yield key, partial(trained_row, name, {}, "lotsizing/15x5-a", training, 20, seed, 2, work)


def two_items(seeds, work):
    """Yield what to measure for every instance, method and seed; the process' discount is 0.9."""
    for seed in range(seeds):
        for instance in TWO_ITEMS:
            for form in ("single", "half-steps"):
                key = {"part": "two-items", "instance": instance, "form": form, "seed": seed}
                training = {**FORMS[form], "discount": 1.0, "minibatch": 512, "instances": 32}
                settings, name = {"discount": 0.9}, f"two-{instance}-{form}"
                yield key, partial(trained_row, name, settings, f"lotsizing/{instance}", training, 80, seed, 5, work)


def shipped(seeds, work):
    """Yield what to measure for every instance: policies that come with ORL, and rules."""
    for instance in INSTANCES:
        for method in ("ppo", "pdppo", "greedy", "fixed", "s-S"):
            key = {"part": "shipped", "instance": instance, "method": method}
            yield key, partial(judged_row, f"lotsizing/{instance}", method)


PARTS = {"ablation": ablation, "two-items": two_items, "shipped": shipped}


def raw():
    return [json.loads(line) for path in sorted(RAW.glob("*.jsonl")) for line in path.read_text().splitlines()]


def measure(part, seeds, work):
    """Append what is missing of a part to its raw rows."""
    done = {_named(row) for row in raw()}
    RAW.mkdir(parents=True, exist_ok=True)
    cells = [(key, row) for key, row in PARTS[part](seeds, work) if _named(key) not in done]
    for key, row in tqdm(cells, desc=part):
        line = json.dumps({**key, **row(), "commit": record.VERSIONS.get("commit")})
        with (RAW / f"{part}.jsonl").open("a") as file:
            file.write(line + "\n")


def _named(row):
    return tuple(row.get(key) for key in ("part", "instance", "method", "form", "normalise", "seed"))


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
            measure(part, options.seeds, options.work)


if __name__ == "__main__":
    main()
