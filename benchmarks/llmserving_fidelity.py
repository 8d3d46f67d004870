"""Does the simulator agree with a real server? A measured run against the same requests on the simulated engine.

python benchmarks/llmserving_fidelity.py RUN.csv [--set KEY=VALUE ...] [--name NAME]

RUN.csv has the columns arrival_s, input_tokens, vllm_output_tokens (or output_tokens), first_token_s, last_token_s and
where known shared_prefix_blocks16. The engine's facts are settings; those of the run on record are the defaults: vLLM
0.19.0, Llama 3.1 8B on an RTX 4090. Nothing is fitted on the run.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import record

from orl import params, registry
from orl.problems.llmserving.instance import Serving
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.rules import RULES
from orl.problems.llmserving.verify import replayed, verify
from orl.scenario import Scenarios

FACTS = {
    "model": "llama-3.1-8b",
    "gpu": "rtx4090",
    "profile": "rtx4090-llama-3.1-8b",
    "num_gpu_blocks_override": 2588,
    "max_num_seqs": 256,
    "max_num_batched_tokens": 2048,
}
VARIANTS = [
    ("a shared prefix is that of an earlier request drawn at random (the default)", {}),
    ("of nobody", {"shared_prefix": "none"}),
    ("of the earliest request that is long enough", {"shared_prefix": "earliest"}),
    ("of the latest request that is long enough", {"shared_prefix": "latest"}),
    ("admission for the first chunk alone", {"scheduler_reserve_full_isl": False}),
    ("one batch at a time", {"async_scheduling": False}),
    ("the roofline instead of the profile", {"profile": ""}),
]
MEASURES = ("TTFT", "TPOT", "latency")


def measured(path: Path) -> dict[str, np.ndarray]:
    """Return what each request of the real run took, in seconds."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    output = next(name for name in ("vllm_output_tokens", "output_tokens") if name in rows[0])
    names = ("arrival_s", "first_token_s", "last_token_s", output)
    arrival, first, last, tokens = (np.array([float(row[name]) for row in rows]) for name in names)
    return spans(arrival, first, last, tokens)


def simulated(instance: Serving) -> dict[str, np.ndarray]:
    """Return what each request takes on the simulated engine, first come, first served; the log is verified."""
    scenario = Scenarios.deterministic()
    process = ServingProcess([instance], [scenario])
    process.run(RULES["fcfs"], np.zeros(1, dtype=np.uint64))
    log = process.solution(0)
    report = verify(instance, scenario, log)
    assert report.is_feasible, report.violations[:1]
    replay = replayed(instance, scenario, log)
    requests = replay.requests
    return spans(requests.arrival, replay.first_token, replay.finish, requests.output)


def spans(arrival: np.ndarray, first: np.ndarray, last: np.ndarray, tokens: np.ndarray) -> dict[str, np.ndarray]:
    several = tokens > 1
    return {
        "TTFT": first - arrival,
        "TPOT": ((last - first) / np.maximum(tokens - 1, 1))[several],
        "latency": last - arrival,
    }


def figures(values: np.ndarray) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "P50": float(np.median(values)),
        "P95": float(np.quantile(values, 0.95)),
        "P99": float(np.quantile(values, 0.99)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--name", default="llmserving_fidelity", help="of the table under results/")
    options = parser.parse_args()
    facts = FACTS | params.parse_assignments(options.set)
    family = registry.find_problem("llmserving")
    real = {name: figures(values) for name, values in measured(options.run).items()}
    by_variant = {}
    for name, changed in VARIANTS:
        if all(facts.get(key) != value for key, value in changed.items()) or not changed:
            by_variant[name] = {
                measure: figures(values)
                for measure, values in simulated(family.load(options.run, {**facts, **changed})).items()
            }
    ours = by_variant[VARIANTS[0][0]]
    record.write(
        options.name,
        "LLM serving beside a real server",
        [
            (
                f"{describe(options.run, facts)} Seconds in the run and in the simulator, and the error.",
                ["", "", "real", "simulated", "error"],
                [
                    [measure, key, right, ours[measure][key], error(ours[measure][key], right)]
                    for measure in MEASURES
                    for key, right in real[measure].items()
                ],
            ),
            (
                "What matters: errors of the means and of P99, in percent, with one thing changed. The file says how "
                "much of a prompt an earlier one has, too, but not which; the default was chosen with these figures in "
                "sight.",
                ["with", *(f"{measure} {key}" for measure in MEASURES for key in ("mean", "P99"))],
                [
                    [
                        name,
                        *(
                            error(found[measure][key], real[measure][key])
                            for measure in MEASURES
                            for key in ("mean", "P99")
                        ),
                    ]
                    for name, found in by_variant.items()
                ],
            ),
        ],
        digits=4,
    )


def describe(path: Path, facts: dict[str, object]) -> str:
    words = ", ".join(f"{key} {value}" for key, value in facts.items() if value != "")
    return f"The requests of {path.name}; {words}."


def error(value: float, right: float) -> str:
    return f"{100 * (value / right - 1):+.1f} %"


if __name__ == "__main__":
    main()
