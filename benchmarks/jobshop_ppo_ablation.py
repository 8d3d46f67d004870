"""What each part of the learned dispatcher's training adds, at equal processor time on one core.

python benchmarks/jobshop_ppo_ablation.py [--minutes 4] [--only NAME ...]

Every variant is trained by the shipped recipe with a few settings changed, for equal processor time, which other work
on the machine hardly touches. The figures are those of the last weights: greedy decisions on drawn validation shops,
cost over the lower bound, and the gap on Taillard's instances of 15x15 and 20x15, which no training sees.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np
import record

import orl
from orl import params
from orl.learn.training import Recipe, Training
from orl.registry import find_problem
from orl.solver import Control
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner

SHIPPED = Path(__file__).parent.parent / "solvers" / "ppo" / "checkpoints" / "ppo"
RECIPE = SHIPPED / "jobshop" / "classic" / "recipe.toml"
FOREVER = 10**6
PPO: dict[str, object] = {"taught": 0, "epochs": 1, "minibatch": 4096, "extremes": 4, "entropy": 0.1}
VARIANTS: dict[str, dict[str, object]] = {
    "as shipped: imitates tabu search": {"taught": FOREVER},
    "without the features of the outlook": {"taught": FOREVER, "columns": 30},
    "with those of the shop floor": {"taught": FOREVER, "columns": 59},
    "width 32": {"taught": FOREVER, "width": 32},
    "graph-once": {"taught": FOREVER, "encoder": "graph-once"},
    "graph": {"taught": FOREVER, "encoder": "graph"},
    "PPO alone, extremes": PPO,
    "PPO alone, all environments": {**PPO, "extremes": 0},
    "PPO alone, critic instead of group": {**PPO, "baseline": "critic", "extremes": 0},
    "self-labelling alone": {**PPO, "self_labelling": FOREVER},
}
INSTANCES = [f"jobshop/ta{number:02d}" for number in range(1, 21)]


class ProcessorTime(Control):
    """Stops after so much processor time, not wall time."""

    def __init__(self, seconds: float):
        super().__init__()
        self._end = time.process_time() + seconds

    @property
    def should_stop(self) -> bool:
        return time.process_time() > self._end


def trained(changed: dict[str, object], seconds: float, folder: Path) -> list[object]:
    """Train one variant and return a row: iterations, validation, mean gap in percent."""
    data = {key: value for key, value in tomllib.loads(RECIPE.read_text()).items() if key != "method"}
    recipe: Recipe = params.make(Recipe, {**data, "validate_every": FOREVER}, str(RECIPE))
    problem = find_problem("jobshop")
    learner = PpoLearner(problem, recipe, PpoSettings(**{**recipe.training, **changed}))
    training = Training(learner, recipe, FOREVER, folder)
    training.run(ProcessorTime(seconds))
    validation = learner.validated()
    gaps = []
    for name in INSTANCES:
        result = orl.solve(name, "ppo", settings={"checkpoint": str(folder / "last")}, time_limit=None)
        gaps.append(100 * result.gap_best_known)
    return [training.done, f"{validation:.4f}", f"{np.mean(gaps):.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4, help="of processor time for each variant")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    options = parser.parse_args()
    record.one_core()
    rows = []
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            row = trained(VARIANTS[name], 60 * options.minutes, Path(folder))
        rows.append([name, *row])
        print(rows[-1], flush=True)
    section = (
        f"Each variant has {options.minutes:g} minutes of processor time, seed 0; `validation`: mean makespan of "
        "greedy decisions over the lower bound, 24 drawn shops each of 15x15, 20x15 and 30x20; `ta01-ta20`: mean gap "
        "to the best known makespan, %.",
        ["variant", "iterations", "validation", "ta01-ta20"],
        rows,
    )
    record.write("jobshop_ppo_ablation", "What each part of the training adds", [section], digits=4)


if __name__ == "__main__":
    main()
