"""What critics, post-decision states, teachers and curricula add to PPO on blocking shops that break down.

python benchmarks/jobshop_ppo_additions.py [--minutes 3] [--only NAME ...]

Every variant is trained by the shipped recipe for shops with swaps, a few settings changed, for equal processor time on
one core; the figures are those of the last weights, on drawn validation shops (breakdowns from none to frequent) and on
la01-la20, which no training sees.
"""

from __future__ import annotations

import argparse
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import record
from jobshop_ppo_ablation import FOREVER, SHIPPED, ProcessorTime

import orl
from orl import params
from orl.learn.training import Recipe, Training
from orl.registry import find_problem
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner

RECIPE = SHIPPED / "jobshop" / "swap" / "recipe.toml"
SCRATCH: dict[str, object] = {"taught": 0, "lessons": 0}
# No discount: where time is what costs, a policy could put it off by waiting more often.
CRITIC: dict[str, object] = {**SCRATCH, "baseline": "critic", "extremes": 0}
VARIANTS: dict[str, dict[str, object]] = {
    "PPO from scratch, compared within groups": SCRATCH,
    "the same, sizes and probabilities one after the other": SCRATCH,
    "one critic": CRITIC,
    "two critics, half-steps": {**CRITIC, "critic": "dual", "advantage": "half-steps"},
    "two critics, max": {**CRITIC, "critic": "dual", "advantage": "max"},
    "taught by CP-SAT before": {"taught": 20, "lessons": 10},
    "taught by rollout before": {"taught": 20, "lessons": 10, "teacher": "rollout", "teacher_settings": {"futures": 5}},
}
CURRICULUM = "the same, sizes and probabilities one after the other"
PROBABILITY, SCENARIOS, SEED = 0.005, 10, 2


def trained(name: str, seconds: float, folder: Path) -> list[object]:
    """Train one variant and return a row: iterations, validation, makespan over that of the best rule in percent."""
    data = {key: value for key, value in tomllib.loads(RECIPE.read_text()).items() if key != "method"}
    curriculum = 30 if name == CURRICULUM else 0
    recipe: Recipe = params.make(Recipe, {**data, "validate_every": FOREVER, "curriculum": curriculum}, str(RECIPE))
    learner = PpoLearner(find_problem("jobshop"), recipe, PpoSettings(**{**recipe.training, **VARIANTS[name]}))
    training = Training(learner, recipe, FOREVER, folder)
    training.run(ProcessorTime(seconds))
    settings = {"checkpoint": str(folder / "last")}
    ratios = [mean("ppo", number, settings) / mean("lor", number) for number in range(1, 21)]
    assert recipe.seed == SEED
    return [training.done, f"{learner.validated():.3f}", f"{100 * (np.mean(ratios) - 1):+.1f}"]


def mean(method: str, number: int, settings: dict[str, object] | None = None) -> float:
    shop = orl.load(f"jobshop/la{number:02d}", settings={"buffers": "swap", "breakdowns": {"probability": PROBABILITY}})
    result = orl.solve(shop, method, settings=settings or {}, scenarios=SCENARIOS, time_limit=None)
    assert result.verified, result.violations
    return float(np.mean(result.costs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3, help="of processor time for each variant")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    options = parser.parse_args()
    record.one_core()
    rows = []
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            row = trained(name, 60 * options.minutes, Path(folder))
        rows.append([name, *row])
        print(rows[-1], flush=True)
    section = (
        f"Each variant has {options.minutes:g} minutes of processor time, seed {SEED}; `validation`: mean makespan of "
        "greedy decisions over the lower bound, 36 drawn shops of each of three sizes, breakdowns from none to "
        f"frequent; `la01-la20`: mean makespan over that of LOR, % ({SCENARIOS} scenarios, p = {PROBABILITY}).",
        ["variant", "iterations", "validation", "la01-la20"],
        rows,
    )
    record.write("jobshop_ppo_additions", "What is added to PPO on shops with swaps", [section], digits=4)


if __name__ == "__main__":
    main()
