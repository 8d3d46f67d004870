"""The learned policies of blocking shops where breakdowns are not as in their training: repair law, restart.

python benchmarks/jobshop_unseen.py

Trained on repair times uniform 5..35 and operations that are resumed. The best rule is chosen for every line.
"""

from __future__ import annotations

import numpy as np
import record
from jobshop_disruptions import MODES, SCENARIOS, SEED, SOME
from tqdm import tqdm

import orl
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.rules import DUE_DATE_RULES, RULES
from orl.problems.jobshop.scenario import sample
from orl.result import mean_interval
from orl.scenario import Purpose

PROBABILITIES = (0.002, 0.01, 0.02)
CASES = {
    "as in training": ("uniform 5 35", "resume"),
    "geometric 40": ("geometric 40", "resume"),
    "restart": ("uniform 5 35", "restart"),
    "geometric 40, restart": ("geometric 40", "restart"),
}
CHOSEN_FROM = [rule for rule in RULES.values() if rule.name not in {*DUE_DATE_RULES, "random"}]


def makespans(name: str, mode: str, repair: str, on_failure: str, probability: float) -> dict[str, float]:
    """Return a method's mean makespan over the scenarios, which are the same for all."""
    breakdowns = {"probability": probability, "repair": repair}
    shop = orl.load(f"jobshop/{name}", settings={"buffers": mode, "on_failure": on_failure, "breakdowns": breakdowns})
    process = JobShopProcess([shop] * SCENARIOS, list(sample(shop, SEED, Purpose.EVALUATE, SCENARIOS)))
    found = {}
    for rule in CHOSEN_FROM:
        process.reset()
        found[rule.name] = float(process.run(rule, np.arange(SCENARIOS, dtype=np.uint64)).mean())
    learned = orl.solve(shop, "ppo", scenarios=SCENARIOS, seed=SEED, time_limit=None)
    assert learned.verified, learned.violations
    return {**found, "ppo": float(np.mean(learned.costs))}


def table(mode: str) -> list[list[object]]:
    """Return a line for every case and probability."""
    rows: list[list[object]] = []
    for case, p in tqdm([(case, p) for case in CASES for p in PROBABILITIES], desc=mode):
        found = {name: makespans(name, mode, *CASES[case], p) for name in SOME}
        means = {method: np.mean([of[method] for of in found.values()]) for method in found[SOME[0]]}
        best = min((rule.name for rule in CHOSEN_FROM), key=means.__getitem__)
        excess = [100 * (of["ppo"] / of[best] - 1) for of in found.values()]
        interval = mean_interval(excess)
        half = (interval.high - interval.low) / 2
        rows.append([case, f"{p:g}", best, f"{means[best]:.1f}", f"{means['ppo']:.1f}",
                     f"{interval.mean:+.1f} ± {half:.1f}", f"{max(excess):+.1f}"])  # fmt: skip
    return rows


def main() -> None:
    """Measure and write the tables."""
    headers = ["breakdowns", "p", "best rule", "its mean", "ppo", "excess", "on the worst instance"]
    sections = []
    for mode in MODES:
        name = {"swap": "with swaps", "none": "without swaps"}[mode]
        caption = (
            f"la01-la05 and la16-la20 {name}, {SCENARIOS} paired scenarios: mean makespans of the best rule and of "
            "`ppo`, and the latter's excess, %, ± half a 95 % interval over instances (of the one policy that is "
            "shipped)."
        )
        sections.append((caption, headers, table(mode)))
    record.write("jobshop_unseen", "The learned policies where breakdowns are not as in training", sections)


if __name__ == "__main__":
    main()
