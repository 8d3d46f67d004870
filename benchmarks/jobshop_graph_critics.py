"""Does a critic of post-decision states help a graph network on blocking shops that break down?

python benchmarks/jobshop_graph_critics.py measure [--seeds 3]   goes on where it was
python benchmarks/jobshop_graph_critics.py                       write the table

The graph of the shop is convolved anew at every decision (`encoder=graph`); everything but what costs are compared with
is the same, and so is the number of episodes. Shops of 6 jobs and 5 machines are drawn; la01-la05 (10 jobs) are judged
by the weights that do best on drawn `select` shops, and no training sees them.
"""

from __future__ import annotations

import argparse
import tempfile
import tomllib
from functools import partial
from pathlib import Path

import numpy as np
import record
import rows
from jobshop_ppo_additions import RECIPE, mean

from orl import params
from orl.learn.training import Recipe, Training
from orl.registry import find_problem
from orl.result import mean_interval
from orl.solver import Control
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner

RAW = record.RESULTS / "jobshop_graph_critics"
ITERATIONS, EPISODES = 60, 32
COMPARED = {
    "within groups of 4": {"baseline": "group", "instances": EPISODES // 4, "samples": 4},
    "one critic": {"critic": "single"},
    **{f"two critics, {form}": {"critic": "dual", "advantage": form} for form in ("half-steps", "post", "max")},
}
# No discount: where time is what costs, a policy could put it off by waiting more often.
TRAINING: dict[str, object] = {
    "encoder": "graph", "width": 32, "layers": 2, "baseline": "critic", "instances": EPISODES, "samples": 1,
    "taught": 0, "lessons": 0, "extremes": 0, "epochs": 4, "minibatch": 512, "learning_rate": 0.002, "entropy": 0.01,
    "iterations": ITERATIONS,
}  # fmt: skip
SHOPS = range(1, 6)


def trained_row(name: str, seed: int) -> rows.Row:
    """Train, and return validation over the lower bound, its curve, and makespans over those of the best rule."""
    data = {key: value for key, value in tomllib.loads(RECIPE.read_text()).items() if key != "method"}
    small = [{"jobs": 6, "machines": 5}]
    changed = {"sizes": small, "validation": small, "validation_instances": 48, "validate_every": 5, "seed": seed}
    recipe: Recipe = params.make(Recipe, {**data, **changed, "training": {**TRAINING, **COMPARED[name]}}, str(RECIPE))
    learner = PpoLearner(find_problem("jobshop"), recipe, PpoSettings(**recipe.training))
    with tempfile.TemporaryDirectory() as folder:
        training = Training(learner, recipe, ITERATIONS, Path(folder) / "run")
        training.run(Control())
        log = (Path(folder) / "run" / "log.csv").read_text().splitlines()
        settings = {"checkpoint": str(Path(folder) / "run" / "best")}
        ratios = [mean("ppo", number, settings) / mean("lor", number) for number in SHOPS]
    columns = [dict(zip(log[0].split(","), line.split(","), strict=True)) for line in log[1:]]
    curve = [(int(line["iteration"]), float(line["validation"])) for line in columns if line["validation"]]
    return {"curve": curve, "ratios": ratios, "seconds": float(columns[-1]["seconds"])}


def cells(seeds: int) -> list[rows.Cell]:
    return [
        ({"part": "critics", "method": name, "seed": seed}, partial(trained_row, name, seed))
        for seed in range(seeds)
        for name in COMPARED
    ]


def table(found: list[rows.Row]) -> list[list[object]]:
    lines: list[list[object]] = []
    for name in COMPARED:
        runs = [row for row in found if row["method"] == name]
        best = [min(value for _, value in row["curve"]) for row in runs]
        dearer = [100 * (np.mean(row["ratios"]) - 1) for row in runs]
        if len(runs) > 1:
            interval = mean_interval(dearer)
            lines.append([
                name, len(runs), f"{np.mean(best):.3f}", ", ".join(f"{one:.3f}" for one in best),
                f"{interval.mean:+.1f} ({interval.low:+.1f} to {interval.high:+.1f})",
                f"{np.mean([row['seconds'] for row in runs]):.0f}",
            ])  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.action == "measure":
        record.one_core()
        rows.measure(RAW, "critics", cells(options.seeds))
        return
    found = rows.read(RAW)
    text = (
        f"{rows.commits(found)}\n\n{ITERATIONS} iterations of {EPISODES} episodes each: mean makespan of "
        "greedy decisions over the lower bound on 48 drawn shops of `select`, breakdowns from none to frequent, mean "
        "and each training seed; makespan on la01-la05 over that of LOR, % (10 scenarios of `evaluate`, p = 0.005), "
        "with its 95 % interval over training seeds; seconds of training on a core that other work shared."
    )
    headers = ["costs are compared", "seeds", "select", "each", "la01-la05 to LOR, %", "s"]
    record.write("jobshop_graph_critics", "A graph network and its critics", [(text, headers, table(found))], digits=4)


if __name__ == "__main__":
    main()
