"""Does the simulator predict what another schedule does? 27 clients on an A10G, fitted on one schedule, asked for two.

python benchmarks/llmserving_fairness.py vtc_arena_27clients_a10g.csv

The file has, for each of 1,500 requests, measured seconds to the first and to the last token under several schedulers
(Sheng et al., arXiv 2401.00588; Llama 2 7B on S-LoRA, which reserves memory for the whole of what it admits). The
factor on the roofline's times and the tokens of the KV cache are fitted on FCFS; VTC and LCF are predicted.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import record
from scipy.optimize import minimize_scalar

from orl import registry
from orl.problems.llmserving.instance import CostModel, Serving
from orl.problems.llmserving.metrics import metrics
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.rules import RULES
from orl.problems.llmserving.verify import replayed, verify
from orl.scenario import Scenarios

ENGINE = {"model": "llama-2-7b", "gpu": "a10g", "async_scheduling": False, "enable_prefix_caching": False}
ENGINES = {
    "reserving, as S-LoRA": {"block_size": 1, "reserve_output": True},
    "preempting, as vLLM": {"block_size": 16, "reserve_output": False},
}
TOKENS = range(6000, 14001, 250)  # of the KV cache
FIGURES = ("TTFT mean", "TTFT median", "latency mean", "latency median")
NOTHING = Scenarios.deterministic()


def server(path: Path, tokens: int, factor: float, engine: dict[str, object]) -> Serving:
    """Return the server with so many tokens of KV cache, whose iterations take `factor` times the roofline's time."""
    blocks = tokens // engine["block_size"] + 1  # one is the engine's own
    one = registry.find_problem("llmserving").load(path, ENGINE | engine | {"num_gpu_blocks_override": blocks})
    scaled = {name: factor * getattr(one.costs, name) for name in ("dense", "sequence", "prefill", "decode")}
    return replace(one, costs=CostModel(**{**vars(one.costs), **scaled}))


def played(one: Serving, rule: str):
    process = ServingProcess([one], [NOTHING])
    process.run(RULES[rule], np.zeros(1, dtype=np.uint64))
    return process.solution(0)


def times(one: Serving, log) -> np.ndarray:
    replay = replayed(one, NOTHING, log)
    arrival = replay.requests.arrival
    return summary(replay.first_token - arrival, replay.finish - arrival)


def summary(ttft: np.ndarray, latency: np.ndarray) -> np.ndarray:
    """Return the FIGURES."""
    return np.array([ttft.mean(), np.median(ttft), latency.mean(), np.median(latency)])


def fitted(path: Path, right: np.ndarray, engine: dict[str, object]) -> tuple[int, float, float]:
    """Return tokens, factor and the root mean squared logarithm of simulated over measured figures of FCFS."""
    found = []
    for tokens in TOKENS:

        def misfit(factor: float, tokens: int = tokens) -> float:
            one = server(path, tokens, factor, engine)
            return float(np.sqrt(np.mean(np.log(times(one, played(one, "fcfs")) / right) ** 2)))

        best = minimize_scalar(misfit, bounds=(0.5, 2.0), options={"xatol": 0.002})
        found.append((float(best.fun), tokens, float(best.x)))
    least, tokens, factor = min(found)
    return tokens, factor, least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    path = parser.parse_args().run
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    column = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    real = {rule: summary(column[f"{rule}_ttft_s"], column[f"{rule}_latency_s"]) for rule in ("fcfs", "vtc", "lcf")}
    fits, predicted, service = [], [], []
    for title, engine in ENGINES.items():
        tokens, factor, misfit = fitted(path, real["fcfs"], engine)
        fits.append([title, tokens, f"{factor:.3f}", f"{100 * misfit:.1f} %"])
        one = server(path, tokens, factor, engine)
        for rule, right in real.items():
            log = played(one, rule)
            report = verify(one, NOTHING, log)
            assert report.is_feasible, report.violations[:1]
            ours, told = times(one, log), metrics(one, NOTHING, log)
            cells = [f"{a:.1f} / {b:.1f} ({100 * (a / b - 1):+.0f} %)" for a, b in zip(ours, right, strict=True)]
            predicted.append([title, f"{rule}, fitted" if rule == "fcfs" else rule, *cells])
            service.append([title, rule, told["backlogged_difference"], told["vtc_bound"], told["preemptions"]])
    record.write(
        "llmserving_fairness",
        "LLM serving: fairness among 27 clients",
        [
            (
                "Fitted on FCFS: tokens of the KV cache, the factor on the roofline's times, and what is left (root of "
                "the mean squared logarithm over four figures).",
                ["engine", "tokens", "factor", "left"],
                fits,
            ),
            (
                "Seconds simulated / measured (error). VTC and LCF are predicted.",
                ["engine", "schedule", *FIGURES],
                predicted,
            ),
            (
                "How much the service of two clients (prompt + 2 output tokens) drifts apart while both have requests "
                "that were never admitted, at most; VTC's bound on it holds where nobody is preempted.",
                ["engine", "schedule", "drift", "VTC's bound", "preemptions"],
                service,
            ),
        ],
    )


if __name__ == "__main__":
    main()
