"""Decision rules on the published Bolivian system, beside SDDP and PPO: cost against time of training, on the protocol.

python benchmarks/hydrothermal_decision_rules.py train METHOD [--seed 0] [--minutes 15] [--processes 2]
python benchmarks/hydrothermal_decision_rules.py judge METHOD [--seed 0]      500 columns of the protocol
python benchmarks/hydrothermal_decision_rules.py execution                    seconds a trajectory
python benchmarks/hydrothermal_decision_rules.py curve                        SDDP after more and more iterations
python benchmarks/hydrothermal_decision_rules.py                              write tables and picture

METHOD: ts-ddr, ts-ldr, ts-ddr-cvar, ppo, sddp, sddp-cvar. Rules and PPO train on drawn paths and choose their weights
on `select` scenarios; the protocol's columns are for judging alone. Trainings are kept in --work and resumed.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import record

import orl
from orl import params
from orl.learn.training import Recipe, Source, Training
from orl.registry import find_problem, find_solver
from orl.result import mean_interval, paired_difference
from orl.scenario import Purpose
from orl.simulate import run_episodes, simulate
from orl.solver import Control, Task

CASE, FAMILY = "hydrothermal/bolivia", "hydrothermal"
COLUMNS = 500
RAW = record.RESULTS / "hydrothermal_decision_rules"
OF_RECORD = 304543.67, 303922.07  # first 96 stages, 500 columns: converged SDDP, and hindsight
RULES = {
    "ts-ddr": {"encoder": "lstm"},
    "ts-ldr": {"encoder": "linear", "learning_rate": 0.003},
    "ts-ddr-cvar": {"encoder": "lstm", "tail": 0.1, "tail_weight": 0.5},
}
PPO = {"encoder": "plain", "baseline": "critic", "instances": 16, "samples": 1, "epochs": 4, "minibatch": 512,
       "learning_rate": 1e-3, "entropy": 0.0, "width": 64, "layers": 2, "gae_decay": 0.9}  # fmt: skip
SDDP_RISK = {"sddp": {}, "sddp-cvar": {"risk": "mean-avar", "share": 0.1, "weight": 0.5}}
CURVE = (10, 20, 40, 80, 160, 320)  # iterations, each time from the beginning
SDDP_ITERATIONS = 450  # five minutes on a core of its own, see hydrothermal_bolivia.md


def recipe_of(training, seed):
    one = [{"instance": CASE}]
    return Recipe(FAMILY, one, one, seed=seed, validation_instances=32, validate_every=20, training=training)


def train_rule(method, seed, minutes, processes, iterations, folder):
    """Train, or go on; the learning rate is annealed over `iterations`, the clock only cuts off."""
    from orl.solvers.decision_rules.settings import DecisionRuleSettings
    from orl.solvers.decision_rules.train import DecisionRuleLearner

    training = {**RULES[method], "iterations": iterations, "processes": processes}
    recipe, control = recipe_of(training, seed), Control(60 * minutes, verbose=True)
    with DecisionRuleLearner(find_problem(FAMILY), recipe, DecisionRuleSettings(**training)) as learner:
        Training(learner, recipe, iterations, folder, (folder / "last").exists()).run(control)


def train_ppo(seed, minutes, iterations, folder):
    from orl.solvers.ppo.settings import PpoSettings
    from orl.solvers.ppo.train import PpoLearner

    training = {**PPO, "iterations": iterations}
    recipe = recipe_of(training, seed)
    learner = PpoLearner(find_problem(FAMILY), recipe, params.make(PpoSettings, training, "ppo"))
    Training(learner, recipe, iterations, folder, (folder / "last").exists()).run(Control(60 * minutes, verbose=True))


def judged(method, seed, folder):
    """Return costs of all stages and of the first 96 by column, seconds a trajectory, and the training's curve."""
    family = find_problem(FAMILY)
    instance = orl.load(CASE, settings={"panel": "protocol"})
    if method in SDDP_RISK:
        settings = {"iterations": SDDP_ITERATIONS, **SDDP_RISK[method]}
        result = orl.solve(instance, "sddp", settings=settings, scenarios=COLUMNS, seed=seed, time_limit=None)
        note = {"curve": [], "seconds": None, "iterations": result.metrics["iterations"],
                "bound": result.metrics["sddp_bound"]}  # fmt: skip
    else:
        name = "ppo" if method == "ppo" else "ts-ddr"
        result = orl.solve(instance, name, settings={"checkpoint": str(folder / "best")}, scenarios=COLUMNS, seed=seed,
                           time_limit=None)  # fmt: skip
        rows = list(csv.DictReader((folder / "log.csv").open()))
        curve = [[float(row["seconds"]), float(row["validation"])] for row in rows if row["validation"]]
        note = {"curve": curve, "seconds": float(rows[-1]["seconds"]), "iterations": len(rows),
                "missed": sum(float(row.get("missed") or 0) for row in rows)}  # fmt: skip
    assert result.verified, result.violations
    columns = zip(family.sample(instance, 0, Purpose.EVALUATE, COLUMNS), result.solutions, strict=True)
    first = [family.metrics(instance, row, dispatch)["cost_reported"] for row, dispatch in columns]
    pace = result.metrics["seconds_per_decision"]
    return {"costs": result.costs, "first": first, "seconds_per_decision": pace, **note}


def sddp_curve():
    """Return the row of SDDP in the picture: seconds of training, and mean costs on the rules' `select` scenarios."""
    family, curve = find_problem(FAMILY), []
    drawn, solver = Source(family, recipe_of({}, 0)).validation[0], find_solver("sddp", family)
    for iterations in CURVE:
        settings, started = params.make(solver.settings, {"iterations": iterations}, "sddp"), time.perf_counter()
        policy = solver.policy(Task(family, drawn.instances[0], None, settings, 0, Control()))
        seconds = time.perf_counter() - started
        process = family.process(drawn.instances, drawn.scenarios)
        curve.append([seconds, float(run_episodes(process, policy, np.random.default_rng(0))[0].mean())])
        print(iterations, curve[-1], flush=True)
    return {"part": "curve", "method": "sddp", "seed": 0, "curve": curve, **about_now()}


def executed(folder):
    """Return seconds of a whole trajectory, decisions and process, one at a time, for each method: median of some."""
    family, instance = find_problem(FAMILY), orl.load(CASE, settings={"panel": "protocol"})
    methods = {
        "ts-ddr": ({"checkpoint": str(folder / "best")}, 11),
        "sddp": ({"iterations": 100}, 11),
        "rolling": ({"lookahead": 26}, 2),
    }
    rows = []
    for name, (settings, count) in methods.items():
        solver = find_solver(name, family)
        task = Task(family, instance, None, params.make(solver.settings, settings, name), 0, Control())
        policy, times = solver.policy(task), []
        for row in family.sample(instance, 0, Purpose.EVALUATE, count):
            started = time.perf_counter()
            simulate(family, instance, policy, row, 0)
            times.append(time.perf_counter() - started)
        rows.append({"part": "execution", "method": name, "seconds": float(np.median(times[1:])), **about_now()})
    return rows


# Table and picture --------------------------------------------------------------------------------------------------


def raw():
    path = RAW / "rows.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def append(rows):
    RAW.mkdir(exist_ok=True)
    with (RAW / "rows.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def about_now():
    return {"commit": record.VERSIONS.get("commit")}


def tail_mean(costs):
    """Return the mean of the dearest tenth."""
    return float(np.sort(costs)[-len(costs) // 10 :].mean())


def table(rows):
    reference = next((row for row in rows if row["method"] == "sddp"), None)
    lines = []
    for row in sorted(rows, key=lambda row: (row["method"], row["iterations"], row["seed"])):
        interval = mean_interval(row["first"])
        line = [row["method"], row["seed"], row["iterations"], f"{row['seconds'] / 60:.1f}" if row["seconds"] else "",
                f"{interval.mean:.0f} ± {(interval.high - interval.low) / 2:.0f}", f"{tail_mean(row['first']):.0f}",
                f"{100 * (interval.mean / OF_RECORD[0] - 1):+.2f}"]  # fmt: skip
        if reference is not None and row is not reference:
            found = paired_difference(row["first"], reference["first"])
            share = 100 / np.mean(reference["first"])
            line.append(f"{share * found.mean:+.3f} ± {share * (found.high - found.low) / 2:.3f}")
        else:
            line.append("")
        lines.append([*line, f"{np.mean(row['costs']):.0f}", f"{1000 * row['seconds_per_decision']:.3f}"])
    text = (
        f"{COLUMNS} columns of the protocol, first 96 of 126 stages, USD/h summed: mean ± half a 95 % interval over "
        f"columns, mean of the dearest tenth, excess over {OF_RECORD[0]:.0f} (converged SDDP, of record; hindsight "
        f"{OF_RECORD[1]:.0f}), paired difference to the SDDP below, %; cost of all stages; milliseconds a decision "
        "(rules: without the stage's program, which the process solves; SDDP: with it). Minutes are those of training, "
        "one process; those at earlier commits (`ts-ddr` of up to 400 iterations, `ts-ldr` of 374, PPO) on a core that "
        "other work shared."
    )
    headers = ["method", "seed", "iterations", "minutes", "first 96", "dearest tenth", "% to record", "% to sddp",
               "126 stages", "ms"]  # fmt: skip
    return text, headers, lines


def picture(rows):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4))
    colours = {"ts-ddr": "C0", "ts-ldr": "C1", "ppo": "C3", "ts-ddr-cvar": "C2", "sddp": "C4"}
    for row in rows:
        if row["curve"]:
            seconds, costs = np.array(row["curve"]).T
            label = row["method"] if row["seed"] == 0 else None
            axis.plot(seconds / 60, costs, color=colours[row["method"]], label=label, linewidth=1)
    axis.set_xlabel("minutes of training"), axis.set_ylabel("mean cost of 126 stages, 32 `select` scenarios")
    axis.set_yscale("log"), axis.legend(), axis.grid(alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(record.RESULTS / "hydrothermal_decision_rules.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["train", "judge", "execution", "curve"])
    parser.add_argument("method", nargs="?", choices=[*RULES, "ppo", *SDDP_RISK])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=800, help="over which the learning rate is annealed")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "orl-decision-rules")
    options = parser.parse_args()
    folder = options.work / f"{options.method}-seed{options.seed}"
    if options.action == "train":
        if options.method == "ppo":
            train_ppo(options.seed, options.minutes, options.iterations, folder)
        else:
            train_rule(options.method, options.seed, options.minutes, options.processes, options.iterations, folder)
        return
    if options.action == "judge":
        row = judged(options.method, options.seed, folder)
        append([{"part": "cost", "method": options.method, "seed": options.seed, **about_now(), **row}])
        return
    if options.action == "execution":
        append(executed(options.work / "ts-ddr-seed0"))
        return
    if options.action == "curve":
        record.one_core()
        append([sddp_curve()])
        return
    rows = [row for row in raw() if row["part"] == "cost"]
    text, headers, lines = table(rows)
    commits = ", ".join(dict.fromkeys(str(row["commit"]) for row in raw()))
    picture([*rows, *(row for row in raw() if row["part"] == "curve")])
    pace = [[row["method"], f"{row['seconds']:.3f}"] for row in raw() if row["part"] == "execution"]
    sections = [
        (f"Rows were measured at {commits}.\n\n{text}", headers, lines),
        ("Seconds of a trajectory of 126 stages, alone: decisions (`sddp`: 100 iterations; `rolling`: 26 stages of "
         "expected inflows) and the process, which solves a program a stage; median.", ["method", "s"], pace),
    ]  # fmt: skip
    sections = [section for section in sections if section[2]]
    record.write("hydrothermal_decision_rules", "Decision rules on the Bolivian system", sections, digits=9)


if __name__ == "__main__":
    main()
