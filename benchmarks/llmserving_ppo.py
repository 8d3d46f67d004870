"""LLM serving: learned policies against the rules, on scenarios that none of them was trained or chosen on.

python benchmarks/llmserving_ppo.py train [--forms groups critic] [--seed 0] [--work FOLDER]    goes on where it was
python benchmarks/llmserving_ppo.py measure [--only select ...] [--work FOLDER]           rows that are there are kept
python benchmarks/llmserving_ppo.py                                                     write the tables and the picture

`rollout` takes a minute or more a scenario, so `measure --only rollout` is for leading scenarios of `evaluate` only.

`select`: which rule is the best of those that know no more than the policies, on the stream `select`. `evaluate`: all
rules, and a policy of each form, on the stream `evaluate`, the same scenarios for all. Where limits are declared the
engine knows all outputs, so no rule is clairvoyant there; a rule that is 'bold' admits what fits now, as a policy may,
not only what fits to the end of all.
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
from orl import params
from orl.learn import checkpoint
from orl.learn.training import Recipe, Training
from orl.problems.llmserving import kernels_codes as codes
from orl.problems.llmserving.instance import Serving
from orl.problems.llmserving.metrics import metrics
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.rules import RULES
from orl.problems.llmserving.scenario import sample
from orl.problems.llmserving.verify import verify
from orl.registry import find_problem
from orl.result import mean_interval, paired_difference
from orl.rule import Rule
from orl.scenario import Purpose
from orl.simulate import rule_policy, simulate
from orl.solver import Control
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner
from orl.solvers.rollout import RolloutPolicy

RAW = record.RESULTS / "llmserving_ppo"
SCENARIOS = 200
FRESH, FRESH_SEED = 400, 1  # scenarios of `confirm`, which nothing was looked at on before
TRAINED = {
    "8 a second": {"rate": 8.0},
    "12 a second": {"rate": 12.0},
    "8 a second, declared": {"rate": 8.0, "reserve_output": True},
    "12 a second, declared": {"rate": 12.0, "reserve_output": True},
}
OTHERS = {
    "10 a second": {"rate": 10.0},
    "20 a second, twice the memory": {"rate": 20.0, "num_gpu_blocks_override": 257, "max_num_seqs": 32},
    "120 requests, 8 a second": {"requests": 120, "rate": 8.0},
    "120 requests, 8 a second, declared": {"requests": 120, "rate": 8.0, "reserve_output": True},
}  # fmt: skip
RECIPE = {
    "problem": "llmserving", "description": "crowded, two loads, limits declared or not",
    "sizes": [{"instance": "llmserving/crowded"}], "validation": [{"instance": "llmserving/crowded"}],
    "validation_instances": 32, "validate_every": 5, "variants": list(TRAINED.values()),
}  # fmt: skip
TAUGHT = {"entropy": 0.0, "width": 32, "layers": 2, "learning_rate": 0.003}
GROUPS = {
    **TAUGHT, "taught": 40, "lessons": 8, "baseline": "group", "instances": 8, "samples": 8, "extremes": 2, "epochs": 2,
    "minibatch": 2048,
}  # fmt: skip
CRITIC = {
    **TAUGHT, "teacher": "smallest", "taught": 14, "lessons": 3, "iterations": 100, "baseline": "critic",
    "instances": 32, "samples": 1, "epochs": 4, "minibatch": 1024, "discount": 0.995, "gae_decay": 0.95,
}  # fmt: skip
FORMS = {
    "groups": {**GROUPS, "teacher": "smallest", "iterations": 120},
    "groups-now": {**GROUPS, "teacher": "smallest-now", "iterations": 75},
    "critic": CRITIC,
    "two-critics": {**CRITIC, "critic": "dual"},
}
LAST = "groups-now"
STOPPED = {"groups": 70, "groups-now": 56, "critic": 60, "two-critics": 60}  # after so many iterations
WORKLOADS = {**TRAINED, **OTHERS}
ROLLED = ("8 a second", "8 a second, declared")  # workloads for `rollout`
ROLLED_SCENARIOS = 3
BASE, FUTURES, STANDARD_ERRORS = "smallest-now", 20, 3.0
PEERS = (BASE, LAST, "fcfs", "shortest")
PARTS = ["select", "evaluate", "confirm", "rollout"]
NAMED = ("fcfs", "fcfs-swap", "las", "smallest", "smallest-now", "shortest", "mc-sf")


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
        rules += [bold(RULES["shortest"])]
    return {rule.name: (rule, rule.clairvoyant and not declares) for rule in rules}


def by_rule(workload: str, method: str, purpose: Purpose, seed: int = 0, count: int = SCENARIOS) -> rows.Row:
    """Return the cost of each scenario, the total time in the system; every tenth is verified."""
    one = load(workload)
    drawn = sample(one, seed, purpose, count)
    scenarios = [drawn[row] for row in range(count)]
    process = ServingProcess([one] * count, scenarios)
    costs = process.run(methods(workload)[method][0], np.zeros(count, dtype=np.uint64))
    assert costs is not None
    for env in range(0, count, 10):
        report = verify(one, scenarios[env], process.solution(env))
        assert report.is_feasible and np.isclose(report.cost, costs[env]), report.violations[:1]
    return {"costs": costs.tolist(), "requests": one.num_requests}


def train(form: str, seed: int, work: Path) -> None:
    """Train, or go on."""
    training = FORMS[form]
    recipe = params.make(Recipe, {**RECIPE, "seed": seed, "training": training}, form)
    settings = params.make(PpoSettings, training, form)
    folder = work / form
    learner = PpoLearner(find_problem(recipe.problem), recipe, settings)
    Training(learner, recipe, settings.iterations, folder, (folder / "last").exists()).run(Control())


def by_policy(workload: str, folder: Path, seed: int = 0, count: int = SCENARIOS) -> rows.Row:
    one = load(workload)
    told = {"checkpoint": str(folder / "best")}
    result = orl.solve(one, "ppo", settings=told, scenarios=count, seed=seed, time_limit=None)
    assert result.verified, result.violations
    about = checkpoint.load(folder / "best")[1]
    return {
        "costs": list(result.costs), "requests": one.num_requests,
        "seconds_per_decision": result.metrics["seconds_per_decision"], "preemptions": result.metrics["preemptions"],
        "iteration": about["iteration"], "trained_s": about["seconds"], "validation": about["validation"],
    }  # fmt: skip


def by_rollout(workload: str, scenario: int) -> rows.Row:
    """Return what `rollout` costs on one scenario."""
    one, problem = load(workload), find_problem("llmserving")
    row = sample(one, 0, Purpose.EVALUATE, scenario + 1)[scenario]
    policy = RolloutPolicy(problem, rule_policy(problem, RULES[BASE]), FUTURES, STANDARD_ERRORS)
    found = simulate(problem, one, policy, row, seed=scenario)
    report = verify(one, row, found.solutions[0])
    assert report.is_feasible and np.isclose(report.cost, found.costs[0]), report.violations[:1]
    return {
        "cost": float(found.costs[0]), "requests": one.num_requests, "seconds_per_decision": found.seconds_per_decision,
        "preemptions": metrics(one, row, found.solutions[0])["preemptions"],
    }  # fmt: skip


def cells(part: str, work: Path):
    """Yield what to measure."""
    if part == "rollout":
        for scenario in range(ROLLED_SCENARIOS):
            for workload in ROLLED:
                key = {"part": part, "workload": workload, "method": "rollout", "scenario": scenario}
                yield key, partial(by_rollout, workload, scenario)
        return
    if part == "confirm":
        for workload in TRAINED:
            best = best_rule(rows.read(RAW), workload)
            key = {"part": part, "workload": workload}
            yield {**key, "method": best}, partial(by_rule, workload, best, Purpose.EVALUATE, FRESH_SEED, FRESH)
            policy = partial(by_policy, workload, work / LAST, FRESH_SEED, FRESH)
            yield {**key, "method": LAST}, policy
        return
    for workload in WORKLOADS:
        for method in methods(workload):
            key = {"part": part, "workload": workload, "method": method}
            yield key, partial(by_rule, workload, method, Purpose(part))
        for form in FORMS if part == "evaluate" else ():
            if form != LAST and workload not in TRAINED:
                continue
            yield {"part": part, "workload": workload, "method": form}, partial(by_policy, workload, work / form)


# Tables -------------------------------------------------------------------------------------------------------------


def costs_of(found: list[rows.Row], part: str, workload: str) -> dict[str, NDArray[np.float64]]:
    """Return the mean time in the system by method and scenario."""
    return {
        row["method"]: np.array(row["costs"]) / row["requests"]
        for row in found if (row["part"], row["workload"]) == (part, workload)
    }  # fmt: skip


def best_rule(found: list[rows.Row], workload: str) -> str:
    """Return the rule of least mean on `select` of those that know no more than the policies."""
    on_select, known = costs_of(found, "select", workload), methods(workload)
    fair = {name: on_select[name].mean() for name in known if not known[name][1]}
    return min(fair, key=lambda name: fair[name])


def share(costs: NDArray[np.float64], others: NDArray[np.float64]) -> str:
    """Return the paired difference as text, % of what the others cost."""
    found, mean = paired_difference(costs, others), others.mean()
    return f"{100 * found.mean / mean:+.2f} ({100 * found.low / mean:+.2f} to {100 * found.high / mean:+.2f})"


def table(found: list[rows.Row], workloads: dict[str, dict[str, object]]) -> list[list[object]]:
    lines: list[list[object]] = []
    for workload in workloads:
        costs, known = costs_of(found, "evaluate", workload), methods(workload)
        best = best_rule(found, workload)
        measured = {row["method"]: row for row in found if (row["part"], row["workload"]) == ("evaluate", workload)}
        for form in (form for form in FORMS if form in measured):
            own, row = costs[form], measured[form]
            lines.append([
                workload, form, f"{own.mean():.3f}", f"{best} {costs[best].mean():.3f}",
                share(own, costs[best]), f"{(own < costs[best]).mean():.0%}",
                "" if best == "smallest" else share(own, costs["smallest"]), share(own, costs["fcfs"]),
                share(own, costs["shortest"]) + (" *" if known["shortest"][1] else ""),
                f"{row['preemptions']:.1f}", f"{1e6 * row['seconds_per_decision']:.0f}",
            ])  # fmt: skip
    return lines


def confirm_table(found: list[rows.Row]) -> list[list[object]]:
    lines: list[list[object]] = []
    ratios = []
    for workload in TRAINED:
        costs, best = costs_of(found, "confirm", workload), best_rule(found, workload)
        if LAST not in costs or best not in costs:
            continue
        own, others = costs[LAST], costs[best]
        ratios.append((own - others) / others.mean())
        lines.append([
            workload, f"{own.mean():.3f}", f"{best} {others.mean():.3f}", share(own, others),
            f"{(own < others).mean():.0%}",
        ])  # fmt: skip
    if lines:
        mean = mean_interval(100 * np.mean(ratios, axis=0))
        lines.append(["mean", "", "", f"{mean.mean:+.2f} ({mean.low:+.2f} to {mean.high:+.2f})", ""])
    return lines


def rollout_table(found: list[rows.Row]) -> list[list[object]]:
    lines: list[list[object]] = []
    for workload in ROLLED:
        rolled = [row for row in found if (row["part"], row["workload"]) == ("rollout", workload)]
        if len(rolled) < 2:
            continue
        there = [row["scenario"] for row in rolled]
        own = np.array([row["cost"] / row["requests"] for row in rolled])
        costs = costs_of(found, "evaluate", workload)
        others = {name: costs[name][there] for name in PEERS}
        knows = " *" if methods(workload)["shortest"][1] else ""
        lines.append([
            workload, len(there), f"{own.mean():.3f}",
            *(f"{costs.mean():.3f}{knows if name == 'shortest' else ''}" for name, costs in others.items()),
            share(own, others[BASE]), share(own, others[LAST]), f"{(own < others[BASE]).sum()} of {len(there)}",
            f"{np.mean([row['preemptions'] for row in rolled]):.1f}",
            f"{1e3 * np.mean([row['seconds_per_decision'] for row in rolled]):.0f}",
        ])  # fmt: skip
    return lines


def training_table(found: list[rows.Row]) -> list[list[object]]:
    done = {row["method"]: row for row in found if row["method"] in FORMS}
    return [
        [
            form,
            FORMS[form]["teacher"],
            FORMS[form]["taught"],
            row["iteration"],
            f"{row['trained_s'] / 60:.1f}",
            f"{row['validation']:.4f}",
            STOPPED[form],
        ]
        for form, row in done.items()
    ]


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
    """Draw every scenario of the workloads that were trained on: the best rule across, the policies upwards."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(TRAINED), figsize=(13, 3.4))
    for axis, workload in zip(axes, TRAINED, strict=True):
        costs, best = costs_of(found, "evaluate", workload), best_rule(found, workload)
        there = [form for form in FORMS if form in costs]
        ends = [min(costs[name].min() for name in (best, *there)), max(costs[name].max() for name in (best, *there))]
        axis.plot(ends, ends, color="C7", linewidth=0.8)
        for form in there:
            axis.plot(costs[best], costs[form], ".", markersize=3, label=f"{form}: {share(costs[form], costs[best])} %")
        axis.set_title(workload, fontsize=9), axis.legend(fontsize=7)
        axis.set_xlabel(f"{best}, s in the system")
    axes[0].set_ylabel("ppo, s in the system")
    figure.tight_layout()
    figure.savefig(record.RESULTS / "llmserving_ppo.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["train", "measure"])
    parser.add_argument("--only", nargs="*", default=["select", "evaluate", "confirm"], choices=PARTS)
    parser.add_argument("--forms", nargs="*", default=list(FORMS), choices=FORMS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "orl-llmserving-ppo")
    options = parser.parse_args()
    if options.action:
        record.one_core()
    if options.action == "train":
        for form in options.forms:
            train(form, options.seed, options.work)
        return
    if options.action == "measure":
        for part in options.only:
            rows.measure(RAW, part, cells(part, options.work))
        return
    found = rows.read(RAW)
    headers = ["workload", "ppo", "s", "best rule, s", "to it, %", "ahead", "to smallest, %", "to fcfs, %",
               "to shortest, %", "preemptions", "µs"]  # fmt: skip
    text = (
        f"{SCENARIOS} scenarios of `evaluate` a workload: mean time in the system, s, of a policy and of the rule that "
        "is the best on `select` of those that know no more; paired difference in % of the rule's with its 95 % "
        "interval; share of the scenarios in which the policy is ahead; the difference to `smallest`, where the best "
        "is another, to `fcfs` and to `shortest` (*: clairvoyant, it knows outputs that the policy does not); "
        f"preemptions an episode; microseconds a decision, {SCENARIOS} servers side by side on a core that other work "
        "shared."
    )
    about = (
        "Training, one seed each: the rule that is imitated, in how many of the first iterations, the iteration of the "
        "weights that are measured, which are the best by validation, minutes until then on a core that other work "
        "shared, time in the system over the bound on the validation scenarios; after how many iterations it was "
        "stopped, before the end of its recipe. `groups` and `critic` had been looked at on `evaluate` before the rule "
        "`smallest-now` was there, and `groups-now` was taught by it."
    )
    names, lines = rules_table(found)
    sections = [
        (f"{rows.commits(found)}\n\nWorkloads of the recipe. {text}", headers, table(found, TRAINED)),
        (
            f"`{LAST}`, the policy that comes with ORL, on {FRESH} scenarios of `evaluate` with seed {FRESH_SEED}, "
            "which nothing had been looked at on; it was to be shipped if it was ahead in the mean of the four "
            "workloads, the interval without 0, and worse on none.",
            ["workload", "s", "best rule, s", "to it, %", "ahead"],
            confirm_table(found),
        ),
        (
            f"`rollout` from `{BASE}`, {FUTURES} futures, another choice only where it is {STANDARD_ERRORS:g} standard "
            f"errors better, on the leading scenarios of `evaluate`, beside the base, `{LAST}` and two rules on the "
            "same (*: clairvoyant): mean time in the system, s; paired differences in %; scenarios in which it is "
            "ahead of its base; preemptions an episode; milliseconds a decision, one server at a time, on a core that "
            "other work shared.",
            [
                "workload",
                "scenarios",
                "rollout",
                *PEERS,
                *(f"to {name}, %" for name in (BASE, LAST)),
                "ahead",
                "preemptions",
                "ms",
            ],
            rollout_table(found),
        ),
        ("Workloads that the recipe has not, the columns as in the first table.", headers, table(found, OTHERS)),
        (
            about,
            ["ppo", "teacher", "imitating", "weights of", "minutes", "validation", "stopped"],
            training_table(found),
        ),
        ("All rules, mean time in the system on `evaluate`, s; *: clairvoyant.", names, lines),
    ]
    record.write("llmserving_ppo", "Learned policies of LLM serving", [one for one in sections if one[2]], digits=4)
    picture(found)


if __name__ == "__main__":
    main()
