"""Does a second critic pay in lot sizing? PPO, PDPPO and sb3-contrib's MaskablePPO at equal steps, on four sizes.

python benchmarks/lotsizing_pdppo.py measure [--only tuning sizes maskable] [--seeds 3]   goes on where it was
python benchmarks/lotsizing_pdppo.py                                                      write tables and picture

All train on the instance and its `train` stream, choose their weights on 32 scenarios of `select`, and are judged by
500 of `evaluate`. A step is one decision for one machine; 640,000 each. Settings were tuned on 15x5-b, and those of
plants with more machines on 20x10-b, as much for two critics as for one. There nothing is learned in as many steps but
to leave machines as they are, so the first four of their 20 iterations imitate the greedy rule, on one lesson of 32,000
steps. MaskablePPO reads all features as one vector, as it comes.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import record
import rows
from lotsizing_ppo import COMPARED, FORMS, FULL, SCENARIOS, TRAINING, of_others, steps_to, trained_row

import orl
from orl.benchmark.statistics import holm
from orl.registry import find_problem
from orl.result import mean_interval, paired_difference
from orl.scenario import Purpose

RAW = record.RESULTS / "lotsizing_pdppo"
SIZES = {"15x5-a": 5, "20x10-a": 10, "25x10-a": 10, "25x15-a": 15}  # and machines
TUNED_ON = {5: "15x5-b", 10: "20x10-b"}
ITERATIONS = 20  # of 32,000 steps
METHODS = ("single", "half-steps")
GRID: dict[str, dict[str, float]] = {
    "as it was": {},
    "lambda 0.98": {"gae_decay": 0.98},
    "learning rate 0.005": {"learning_rate": 0.005},
    "entropy 0.01": {"entropy": 0.01},
}
TAUGHT = {"taught": 4, "lessons": 1, "teacher": "greedy", "learning_rate": 0.004}
LARGE_GRID = ("as it was", "lambda 0.98")
BEST = {("single", False): "as it was", ("half-steps", False): "lambda 0.98",
        ("single", True): "lambda 0.98", ("half-steps", True): "as it was"}  # by the table of tuning  # fmt: skip
MASKABLE = {"n_epochs": 4, "batch_size": 1024, "ent_coef": 0.003}
MASKABLE_RATES = (0.0003, 0.001, 0.003)
MASKABLE_BEST = 0.001  # likewise


def told(form, entry, machines):
    """Return training settings of a form with an entry of a grid; its lambda is that of a whole step."""
    taught = TAUGHT if machines > 5 else {}
    changed = {**TRAINING, **FORMS[form], **taught, "gae_decay": TRAINING["gae_decay"], **GRID[entry]}
    if form != "single":
        changed["gae_decay"] **= 0.5
    return {**changed, "instances": round(64 * 5 / machines)}


def ours(instance, machines, form, entry, seed, work):
    name = f"{instance}-{form}-{entry.replace(' ', '-')}"
    return trained_row(name, {}, f"lotsizing/{instance}", told(form, entry, machines), ITERATIONS, seed, 2, work)


def maskable_row(instance, machines, rate, seed):
    """Train MaskablePPO, keep the weights that do best on `select`, and judge them."""
    import maskable

    made, family, curve = orl.load(f"lotsizing/{instance}"), find_problem("lotsizing"), []
    best: list[dict] = [{}]

    def mean(model, purpose, count):
        process = family.process([made] * count, list(family.sample(made, 0, purpose, count)))
        total = np.zeros(count)
        while (observation := process.observe()).legal.any():
            seen, masks = family.features().flat(observation), np.array(observation.legal)
            total += process.decide(model.predict(seen, action_masks=masks, deterministic=True)[0])
            total += process.reveal().cost
        return total

    def look(number, model):
        if number % 2 == 0:
            cost = float(mean(model, Purpose.SELECT, 32).mean())
            if not curve or cost < min(of for _, of in curve):
                best[0] = {key: value.clone() for key, value in model.policy.state_dict().items()}
            curve.append((number, cost))

    sight = {"gamma": TRAINING["discount"], "gae_lambda": TRAINING["gae_decay"]}
    envs, found = round(64 * 5 / machines), {}

    def keep(number, model):
        look(number, model)
        if number == ITERATIONS:
            model.policy.load_state_dict(best[0])
            found["costs"] = mean(model, Purpose.EVALUATE, SCENARIOS).tolist()

    settings = {**MASKABLE, **sight, "learning_rate": rate}
    seconds = maskable.trained(made, envs, 100 * machines, ITERATIONS, seed, keep, **settings)
    return {**found, "curve": curve, "seconds": seconds}


def tuning(seeds, work):
    """Yield what to measure for every entry of the grids, one training seed each."""
    for machines, instance in TUNED_ON.items():
        for entry in GRID if machines == 5 else LARGE_GRID:
            for form in METHODS:
                key = {"part": "tuning", "instance": instance, "method": form, "entry": entry, "seed": 100}
                yield key, partial(ours, instance, machines, form, entry, 100, work)
    for rate in MASKABLE_RATES:
        key = {"part": "tuning", "instance": TUNED_ON[5], "method": "maskable", "entry": f"learning rate {rate:g}",
               "seed": 100}  # fmt: skip
        yield key, partial(maskable_row, TUNED_ON[5], 5, rate, 100)


def sizes(seeds, work):
    """Yield what to measure for every seed, size and method; ten seeds of the smallest size."""
    for seed in range(max(10, seeds)):
        for instance, machines in SIZES.items():
            for form in METHODS:
                if seed < seeds or instance == "15x5-a":
                    key = {"part": "sizes", "instance": instance, "method": form, "seed": seed}
                    yield key, partial(ours, instance, machines, form, BEST[form, machines > 5], seed, work)


def maskable_part(seeds, work):
    """Yield the same for MaskablePPO."""
    for seed in range(seeds):
        for instance, machines in SIZES.items():
            key = {"part": "sizes", "instance": instance, "method": "maskable", "seed": seed}
            yield key, partial(maskable_row, instance, machines, MASKABLE_BEST, seed)


PARTS = {"tuning": tuning, "sizes": sizes, "maskable": maskable_part}

# Tables -------------------------------------------------------------------------------------------------------------

CALLED = {**FULL, "single": "PPO, one critic", "half-steps": "PDPPO, half-steps", "maskable": "MaskablePPO"}


def tuning_table(found):
    table = []
    for row in found:
        if row["part"] == "tuning":
            best = min(cost for _, cost in row["curve"])
            table.append([row["instance"], CALLED[row["method"]], row["entry"], f"{best:.4g}"])
    text = (
        "Tuning: one training seed that is not used again, one change at a time; the best mean cost on "
        "the `select` scenarios while training (over the scale of the instance; MaskablePPO: as it is)."
    )
    return text, ["instance", "method", "change", "select"], table


def sizes_table(found):
    others, table, p_values = of_others(), [], {}
    for instance in SIZES:
        runs = {
            method: {row["seed"]: row for row in found
                     if (row["part"], row["instance"], row["method"]) == ("sizes", instance, method)}
            for method in (*METHODS, "maskable")
        }  # fmt: skip
        for method, by_seed in runs.items():
            if len(by_seed) < 2:
                continue
            means = [np.mean(row["costs"]) for row in by_seed.values()]
            interval = mean_interval(means)
            greedy, dearer = others[instance, "greedy"].mean(), others[instance, "lagrangian"].mean()
            compared = [f"{100 * (interval.mean / other - 1):+.1f}" for other in (greedy, dearer)]
            cost = f"{interval.mean:.0f} ({interval.low:.0f} to {interval.high:.0f})"
            line = [instance, CALLED[method], len(means), cost, *compared]
            both = sorted(by_seed.keys() & runs["single"].keys())
            if method != "single" and len(both) > 1:
                pairs = [[np.mean(runs[one][seed]["costs"]) for seed in both] for one in (method, "single")]
                change = paired_difference(*pairs)
                line.append(f"{change.mean:+.0f} ({change.low:+.0f} to {change.high:+.0f})")
                p_values[len(table)] = p_value(pairs)
            else:
                line.append("")
            curves = [steps_to(row["curve"]) for row in by_seed.values()]
            table.append([*line, "", f"{np.median(curves):.0f}"])
    for place, p in zip(p_values, holm(list(p_values.values())), strict=True):
        table[place][7] = f"{p:.2g}"
    text = (
        f"640,000 steps each: mean cost over {SCENARIOS} scenarios of `evaluate` with its 95 % interval over training "
        "seeds; % of the tuned greedy rule, and of `lagrangian`; difference to one critic, paired by seed, its "
        "interval, p after Holm; thousands of steps until 95 % of what a run improved (on `select`), median."
    )
    headers = ["instance", "method", "seeds", "cost", "to greedy, %", "to lagrangian, %", "to one critic", "p",
               "1000 steps to 95 %"]  # fmt: skip
    return text, headers, table


def p_value(pairs):
    from scipy.stats import ttest_rel

    return float(ttest_rel(*pairs).pvalue)


def picture(found):
    """Draw the learning curves, the median over seeds and all seeds; lines are what others cost on `evaluate`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(SIZES), figsize=(13, 3.2))
    for axis, instance in zip(axes, SIZES, strict=True):
        scale = find_problem("lotsizing").scale(orl.load(f"lotsizing/{instance}"))
        for method, colour in zip((*METHODS, "maskable"), ("C0", "C1", "C7"), strict=True):
            runs = [row["curve"] for row in found
                    if (row["part"], row["instance"], row["method"]) == ("sizes", instance, method)]  # fmt: skip
            if runs:
                curves = np.array(runs)[:, :, 1] * (1 if method == "maskable" else scale)
                steps = 32 * np.array(runs[0])[:, 0]
                axis.plot(steps, curves.T, color=colour, alpha=0.25, linewidth=0.8)
                axis.plot(steps, np.median(curves, axis=0), color=colour, label=CALLED[method])
        for name, style in zip(COMPARED, (":", "-.", "--"), strict=True):
            axis.axhline(of_others()[instance, name].mean(), color="0.5", linestyle=style, linewidth=1, label=name)
        axis.set_title(instance), axis.set_xlabel("1000 steps"), axis.set_yscale("log")
    axes[0].set_ylabel("mean cost on select"), axes[-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(record.RESULTS / "lotsizing_pdppo.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--methods", nargs="*", default=[], help="some of them alone")
    parser.add_argument("--instances", nargs="*", default=[], help="likewise")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "orl-lotsizing-pdppo")
    options = parser.parse_args()
    if options.action == "measure":
        record.one_core()
        for part in options.only:
            cells = PARTS[part](options.seeds, options.work)
            wanted = [
                (key, row) for key, row in cells
                if (not options.methods or key["method"] in options.methods)
                and (not options.instances or key["instance"] in options.instances)
            ]  # fmt: skip
            rows.measure(RAW, part, wanted)
        return
    found = rows.read(RAW)
    sections = [sizes_table(found), tuning_table(found)]
    sections[0] = (f"{rows.commits(found)}\n\n{sections[0][0]}", *sections[0][1:])
    if {row["instance"] for row in found if row["part"] == "sizes"} == set(SIZES):
        picture(found)
    title = "One critic and two in lot sizing"
    record.write("lotsizing_pdppo", title, [one for one in sections if one[2]], digits=5)


if __name__ == "__main__":
    main()
