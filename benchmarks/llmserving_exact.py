"""LLM serving by rounds: the optimum in hindsight with and without preemption, and how far from it rules are.

python benchmarks/llmserving_exact.py measure [--seconds 60]   each instance; goes on where it was
python benchmarks/llmserving_exact.py                          write the tables

Instances as in Jaillet et al. (arXiv 2502.07115), drawn by seed, fewer requests: memory uniform on 30..50 tokens,
prompts on 1..5, outputs on 1..memory less the prompt; 5 to 12 requests that are all there at the beginning, or that
arrive one after another at random, on average one in two rounds. The rules know nothing of what will arrive.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import numpy as np
import record
import rows

import orl
from orl.layers import search
from orl.problems.llmserving.instance import Requests, Serving, ServingSettings
from orl.problems.llmserving.search import LayeredServing
from orl.problems.llmserving.server import server
from orl.result import mean_interval
from orl.scenario import Scenarios
from orl.solver import Control

RAW = record.RESULTS / "llmserving_exact"
RULES = ("fcfs", "shortest", "mc-sf", "las")  # with one client and one priority others are among these
SIZES = range(5, 13)
SEEDS = range(4)
WIDTHS = (100, 1_000, 10_000, 100_000, 1_000_000)


def instance(count: int, seed: int, are_all_there: bool) -> Serving:
    """Draw an instance."""
    rng = np.random.default_rng([count, seed, are_all_there])
    memory = int(rng.integers(30, 51))
    arrival = np.zeros(count) if are_all_there else np.cumsum(rng.geometric(0.5, count) - 1.0)
    prompt = rng.integers(1, 6, count)
    output = rng.integers(1, memory - prompt + 1)
    same = np.zeros(count, dtype=np.int64)
    asked = Requests(arrival, prompt, output, same, same, same + 1.0, same - 1, same)
    settings = ServingSettings(clock="rounds", enable_prefix_caching=False)
    return Serving(f"theory-{count}-{seed}", asked, settings=settings, **server(settings, {"num_blocks": memory}))


def without_preemption(one: Serving, seconds: float) -> tuple[float, float]:
    """Return the cost of the best schedule in which nobody is preempted, and a proven bound on it."""
    layered, control = LayeredServing(one, Scenarios.deterministic(), preempts=False), Control(seconds)
    best, bound = orl.solve(one, "mc-sf", time_limit=None).value, float(layered.first().bounds[0])
    for width in WIDTHS:
        found = search(layered, width, best, control)
        best = min(best, found.cost)
        bound = max(bound, min(best, found.bound))
        if found.bound >= best or found.bound < 0:
            break
    return best, bound


def measured(count: int, seed: int, are_all_there: bool, seconds: float) -> rows.Row:
    one = instance(count, seed, are_all_there)
    found = {}
    for rule in RULES:
        result = orl.solve(one, rule, time_limit=None)
        assert result.verified, result.violations
        found[rule] = result.value
    started = time.perf_counter()
    best = orl.solve(one, "layers", time_limit=seconds)
    assert best.verified, best.violations
    taken = time.perf_counter() - started
    value, bound = without_preemption(one, seconds)
    return {"rules": found, "value": best.value, "bound": best.bound, "states": best.metrics["nodes"],
            "seconds": taken, "whole": value, "whole_bound": bound}  # fmt: skip


def cells(seconds: float) -> list[rows.Cell]:
    return [
        ({"part": "exact", "requests": count, "seed": seed, "there": there},
         partial(measured, count, seed, there, seconds))
        for count in SIZES for seed in SEEDS for there in (True, False)
    ]  # fmt: skip


def is_proven(row: rows.Row) -> bool:
    return bool(row["bound"] >= row["value"] - 1e-6)


def of_optima(found: list[rows.Row]) -> list[list[object]]:
    lines: list[list[object]] = []
    for count in SIZES:
        some = [row for row in found if row["requests"] == count]
        if some:
            gaps = [100 * (row["value"] / row["bound"] - 1) for row in some]
            whole = [row for row in some if row["whole_bound"] >= row["whole"] - 1e-6]
            both = [row for row in whole if is_proven(row)]
            worth = [100 * (row["whole"] / row["value"] - 1) for row in both]
            lines.append([
                count, len(some), sum(map(is_proven, some)), f"{max(gaps):.1f}",
                f"{np.median([row['seconds'] for row in some]):.1f}", len(whole),
                f"{np.mean(worth):.1f} ({min(worth):.1f} to {max(worth):.1f})" if worth else "",
            ])  # fmt: skip
    return lines


def of_rules(found: list[rows.Row]) -> list[list[object]]:
    lines: list[list[object]] = []
    for rule in RULES:
        line: list[object] = [rule]
        for there in (True, False):
            some = [row for row in found if row["there"] == there and is_proven(row)]
            interval = mean_interval([100 * (row["rules"][rule] / row["value"] - 1) for row in some])
            worst = max(100 * (row["rules"][rule] / row["value"] - 1) for row in some)
            line += [f"{interval.mean:.1f} ({interval.low:.1f} to {interval.high:.1f})", f"{worst:.0f}"]
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--seconds", type=float, default=60, help="for each optimum")
    options = parser.parse_args()
    if options.action == "measure":
        record.one_core()
        rows.measure(RAW, "exact", cells(options.seconds))
        return
    found = rows.read(RAW)
    proven = sum(map(is_proven, found))
    sections = [
        (f"{rows.commits(found)}\n\nThe least total time in the system with preemption, by `layers`: instances, how "
         "many are proven, the largest gap of value over bound, %, median seconds on a core that other work shared; "
         "without preemption: how many are proven, and how much more it costs where both are, % (least to most).",
         ["requests", "instances", "proven", "worst gap %", "s", "proven without", "preemption is worth, %"],
         of_optima(found)),
        (f"Rules on the {proven} instances whose optimum with preemption is proven: % above it, mean with its 95 % "
         "interval, and the worst; requests all there at the beginning, and arriving over time. `shortest` and `mc-sf` "
         "know the outputs of those that are there.",
         ["rule", "all there", "worst", "arriving", "worst"], of_rules(found)),
    ]  # fmt: skip
    record.write("llmserving_exact", "LLM serving by rounds: optima in hindsight", sections, digits=5)


if __name__ == "__main__":
    main()
