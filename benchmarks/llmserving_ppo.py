"""LLM serving: a learned policy against the rules, on scenarios that none of them was trained or chosen on.

python benchmarks/llmserving_ppo.py train [--seeds 1] [--work FOLDER]       by the recipe; one that was stopped goes on
python benchmarks/llmserving_ppo.py measure [--work FOLDER] [--only ...]    rows that are there are kept
python benchmarks/llmserving_ppo.py                                         write the tables and the picture

`select`: which rule is the best of those that know no more than the policy, on the stream `select`. `evaluate`: all
rules and the policy of training seed 0, on the stream `evaluate`, the same scenarios for all. Where limits are declared
the engine knows all outputs, so no rule is clairvoyant there; a rule that is 'bold' admits what fits now, as the policy
may, not only what fits to the end of all.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import record
import rows
from numpy.typing import NDArray

import orl
from orl.problems.llmserving import kernels_codes as codes
from orl.problems.llmserving.instance import Serving
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.rules import RULES
from orl.problems.llmserving.scenario import sample
from orl.problems.llmserving.verify import verify
from orl.result import paired_difference
from orl.rule import Rule
from orl.scenario import Purpose

RAW = record.RESULTS / "llmserving_ppo"
RECIPE = Path(orl.__file__).parent.parent / "solvers" / "ppo" / "checkpoints" / "ppo" / "llmserving" / "recipe.toml"
SCENARIOS = 200
TRAINED = {
    "8 a second": {"rate": 8.0},
    "12 a second": {"rate": 12.0},
    "8 a second, declared": {"rate": 8.0, "reserve_output": True},
    "12 a second, declared": {"rate": 12.0, "reserve_output": True},
}
LONGER = {"requests": 60, "rate": 3.0, "num_gpu_blocks_override": 520}
OTHERS = {
    "10 a second": {"rate": 10.0},
    "20 a second, twice the memory": {"rate": 20.0, "num_gpu_blocks_override": 257, "max_num_seqs": 32},
    "120 requests, 8 a second": {"requests": 120, "rate": 8.0},
    "poisson, 3 a second": {"instance": "llmserving/poisson", **LONGER},
    "120 requests, 8 a second, declared": {"requests": 120, "rate": 8.0, "reserve_output": True},
    "poisson, 3 a second, declared": {"instance": "llmserving/poisson", **LONGER, "reserve_output": True},
}  # fmt: skip
WORKLOADS = {**TRAINED, **OTHERS}
NAMED = ("fcfs", "fcfs-swap", "las", "smallest", "shortest", "mc-sf")
POLICY = "ppo"


def load(workload: str) -> Serving:
    told = dict(WORKLOADS[workload])
    return orl.load(str(told.pop("instance", "llmserving/crowded")), settings=told)


def bold(rule: Rule) -> Rule:
    """Return the rule that admits what fits now, whether or not requests declare limits."""

    def table(instance: Serving) -> NDArray[np.float64]:
        assert rule.table is not None
        values = np.array(rule.table(instance))
        values[codes.LOOKS_AHEAD] = 0
        return values

    return replace(rule, name=f"{rule.name}, bold", table=table)


def methods(workload: str) -> dict[str, tuple[Rule, bool]]:
    """Return the rules of a workload, and whether each knows more than the policy."""
    declares = bool(WORKLOADS[workload].get("reserve_output"))
    rules = [RULES[name] for name in NAMED]
    if declares:
        rules += [bold(RULES[name]) for name in ("smallest", "shortest")]
    return {rule.name: (rule, rule.clairvoyant and not declares) for rule in rules}


def by_rule(workload: str, method: str, purpose: Purpose) -> rows.Row:
    """Return the cost of each scenario, the total time in the system; every tenth is verified."""
    one = load(workload)
    drawn = sample(one, 0, purpose, SCENARIOS)
    scenarios = [drawn[row] for row in range(SCENARIOS)]
    process = ServingProcess([one] * SCENARIOS, scenarios)
    costs = process.run(methods(workload)[method][0], np.zeros(SCENARIOS, dtype=np.uint64))
    assert costs is not None
    for env in range(0, SCENARIOS, 10):
        report = verify(one, scenarios[env], process.solution(env))
        assert report.is_feasible and np.isclose(report.cost, costs[env]), report.violations[:1]
    return {"costs": costs.tolist(), "requests": one.num_requests}


def by_policy(workload: str, folder: Path) -> rows.Row:
    one = load(workload)
    told = {"checkpoint": str(folder / "best")}
    result = orl.solve(one, POLICY, settings=told, scenarios=SCENARIOS, seed=0, time_limit=None)
    assert result.verified, result.violations
    pace = result.metrics["seconds_per_decision"]
    preemptions = result.metrics["preemptions"]
    return {"costs": list(result.costs), "requests": one.num_requests, "seconds_per_decision": pace,
            "preemptions": preemptions}  # fmt: skip


def cells(part: str, work: Path):
    """Yield what to measure."""
    for workload in WORKLOADS:
        for method in methods(workload):
            key = {"part": part, "workload": workload, "method": method}
            yield key, partial(by_rule, workload, method, Purpose(part))
        if part == "evaluate":
            key = {"part": part, "workload": workload, "method": POLICY}
            yield key, partial(by_policy, workload, work / "seed0")


# Tables -------------------------------------------------------------------------------------------------------------


def costs_of(found: list[rows.Row], part: str, workload: str) -> dict[str, NDArray[np.float64]]:
    """Return the mean time in the system by method and scenario."""
    return {
        row["method"]: np.array(row["costs"]) / row["requests"]
        for row in found if (row["part"], row["workload"]) == (part, workload)
    }  # fmt: skip


def best_rule(found: list[rows.Row], workload: str) -> str:
    """Return the rule of least mean on `select` of those that know no more than the policy."""
    on_select, known = costs_of(found, "select", workload), methods(workload)
    fair = {name: on_select[name].mean() for name in known if not known[name][1]}
    return min(fair, key=lambda name: fair[name])


def share(costs: NDArray[np.float64], others: NDArray[np.float64]) -> str:
    """Return the paired difference as text, % of what the others cost."""
    found, mean = paired_difference(costs, others), others.mean()
    return f"{100 * found.mean / mean:+.1f} ({100 * found.low / mean:+.1f} to {100 * found.high / mean:+.1f})"


def table(found: list[rows.Row], workloads: dict[str, dict[str, object]]) -> list[list[object]]:
    lines: list[list[object]] = []
    for workload in workloads:
        costs = costs_of(found, "evaluate", workload)
        if POLICY not in costs:
            continue
        best = best_rule(found, workload)
        (row,) = (row for row in found if row["method"] == POLICY and row["workload"] == workload)
        declares = bool(WORKLOADS[workload].get("reserve_output"))
        lines.append([
            workload, f"{costs[POLICY].mean():.3f}", best, f"{costs[best].mean():.3f}",
            share(costs[POLICY], costs[best]),
            f"{(costs[POLICY] < costs[best]).mean():.0%}", share(costs[POLICY], costs["fcfs"]),
            share(costs[POLICY], costs["shortest"]) + ("" if declares else " *"),
            f"{row['preemptions']:.1f}", f"{1e6 * row['seconds_per_decision']:.0f}",
        ])  # fmt: skip
    return lines


def rules_table(found: list[rows.Row]) -> tuple[list[str], list[list[object]]]:
    names = list(dict.fromkeys(name for workload in WORKLOADS for name in methods(workload)))
    lines: list[list[object]] = []
    for workload in WORKLOADS:
        costs = costs_of(found, "evaluate", workload)
        known = methods(workload)
        lines.append([
            workload,
            *(f"{costs[name].mean():.3f}{' *' if known[name][1] else ''}" if name in costs else "" for name in names),
        ])  # fmt: skip
    return ["workload", *names], lines


def picture(found: list[rows.Row]) -> None:
    """Draw every scenario of the workloads that were trained on: the best rule across, the policy upwards."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(TRAINED), figsize=(13, 3.4))
    for axis, workload in zip(axes, TRAINED, strict=True):
        costs, best = costs_of(found, "evaluate", workload), best_rule(found, workload)
        ends = [min(costs[best].min(), costs[POLICY].min()), max(costs[best].max(), costs[POLICY].max())]
        axis.plot(ends, ends, color="C7", linewidth=0.8)
        axis.plot(costs[best], costs[POLICY], ".", markersize=3)
        axis.set_title(f"{workload}\n{share(costs[POLICY], costs[best])} %", fontsize=8)
        axis.set_xlabel(f"{best}, s")
    axes[0].set_ylabel("ppo, mean time in the system, s")
    figure.tight_layout()
    figure.savefig(record.RESULTS / "llmserving_ppo.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["train", "measure"])
    parser.add_argument("--only", nargs="*", default=["select", "evaluate"], choices=["select", "evaluate"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "orl-llmserving-ppo")
    options = parser.parse_args()
    if options.action:
        record.one_core()
    if options.action == "train":
        for seed in range(options.seeds):
            folder = options.work / f"seed{seed}"
            orl.train(RECIPE, folder, {"seed": seed}, resume=(folder / "last").exists())
        return
    if options.action == "measure":
        for part in options.only:
            rows.measure(RAW, part, cells(part, options.work))
        return
    found = rows.read(RAW)
    headers = ["workload", "ppo", "best rule", "its", "to the best rule", "ahead", "to fcfs", "to shortest",
               "preemptions", "µs"]  # fmt: skip
    text = (
        f"{SCENARIOS} scenarios of `evaluate` a workload: mean time in the system, s, of the policy and of the rule "
        "that is the best on `select` of those that know no more; paired difference in % of the rule's with its 95 % "
        "interval; share of the scenarios in which the policy is ahead; the same difference to `fcfs` and to "
        "`shortest` (*: clairvoyant, it knows outputs that the policy does not); preemptions an episode; microseconds "
        f"a decision, {SCENARIOS} servers side by side on a core that other work shared."
    )
    names, lines = rules_table(found)
    sections = [
        (f"{rows.commits(found)}\n\nWorkloads of the recipe. {text}", headers, table(found, TRAINED)),
        ("Workloads that are like none of the recipe, the columns as above.", headers, table(found, OTHERS)),
        ("All rules, mean time in the system on `evaluate`, s; *: clairvoyant.", names, lines),
    ]
    record.write("llmserving_ppo", "A learned policy of LLM serving", [one for one in sections if one[2]], digits=4)
    picture(found)


if __name__ == "__main__":
    main()
