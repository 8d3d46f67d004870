"""Scheduling theory's random instances: memory-constrained shortest first beside first come, first served.

python benchmarks/llmserving_rounds.py

Instances as in Jaillet et al. (arXiv 2502.07115), drawn by seed: memory uniform on 30..50 tokens, prompts on 1..5,
outputs on 1..memory less the prompt. Either 40 to 60 requests that are all there at the beginning, or arrivals at a
rate uniform on 0.5..1.5 a round for 40 to 60 rounds. What differs from theirs: no keys are kept of a request's last
token, and rules other than mc-sf preempt when memory is short (computing anew takes one round, whatever the length).
"""

from __future__ import annotations

import argparse

import numpy as np
import record

from orl.problems.llmserving.instance import Requests, Serving, ServingSettings
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.rules import RULES
from orl.problems.llmserving.scenario import bound, sample
from orl.problems.llmserving.server import server
from orl.problems.llmserving.verify import verify
from orl.result import mean_interval
from orl.scenario import Purpose

SHOWN = ("fcfs", "shortest", "mc-sf", "mc-sf-predicted", "las")
NOISE = 0.5


def instance(seed: int, are_all_there: bool) -> Serving:
    """Draw an instance."""
    rng = np.random.default_rng([seed, are_all_there])
    memory = int(rng.integers(30, 51))
    if are_all_there:
        arrival = np.zeros(rng.integers(40, 61))
    else:
        per_round = rng.poisson(rng.uniform(0.5, 1.5), rng.integers(40, 61))
        arrival = np.repeat(np.arange(len(per_round), dtype=float), per_round)
    count = len(arrival)
    prompt = rng.integers(1, 6, count)
    output = rng.integers(1, memory - prompt + 1)
    same = np.zeros(count, dtype=np.int64)
    asked = Requests(arrival, prompt, output, same, same, same + 1.0, same - 1, same)
    settings = ServingSettings(clock="rounds", enable_prefix_caching=False, prediction_noise=NOISE)
    return Serving(f"theory-{seed}", asked, settings=settings, **server(settings, {"num_blocks": memory}))


def costs(one: Serving, seed: int) -> tuple[list[float], float]:
    """Return the mean time in the system under each rule, and the bound on it."""
    scenario = sample(one, seed, Purpose.EVALUATE, 1)[0]
    found = []
    for name in SHOWN:
        process = ServingProcess([one], [scenario])
        process.run(RULES[name], np.zeros(1, dtype=np.uint64))
        report = verify(one, scenario, process.solution(0))
        assert report.is_feasible, report.violations[:1]
        found.append(report.cost / one.num_requests)
    return found, bound(one, scenario) / one.num_requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=200)
    count = parser.parse_args().instances
    sections = []
    for title, are_all_there in (("all there at the beginning", True), ("arriving over time", False)):
        drawn = [costs(instance(seed, are_all_there), seed) for seed in range(count)]
        table, bounds = np.array([row for row, _ in drawn]), np.array([low for _, low in drawn])
        rows = []
        for column, name in enumerate(SHOWN):
            ratio = mean_interval(table[:, column] / table[:, 0])
            rows.append(
                [
                    name,
                    table[:, column].mean(),
                    f"{ratio.mean:.3f} ({ratio.low:.3f} to {ratio.high:.3f})",
                    int((table[:, column] < table[:, 0]).sum()),
                    (table[:, column] / bounds).mean(),
                ]
            )
        sections.append(
            (
                f"{count} instances, requests {title}: rounds in the system, mean over requests and instances; its "
                "ratio to fcfs on the same instance, with the 95 % interval of its mean; on how many it is less; the "
                "ratio to the bound, which knows of no queue and is weak here.",
                ["rule", "rounds", "to fcfs", "better on", "to the bound"],
                rows,
            )
        )
    record.write("llmserving_rounds", "LLM serving by rounds: what knowing the outputs is worth", sections, digits=4)


if __name__ == "__main__":
    main()
