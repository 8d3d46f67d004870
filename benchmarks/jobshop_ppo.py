"""The learned dispatcher of job shops: gaps on Taillard's instances, seconds of a decision, pace of training.

python benchmarks/jobshop_ppo.py [--checkpoint DIR] [--others DIR ...] [--samples 1 32 128] [--each 10]
    [--only gaps samples temperature race decision training]

The policies were trained on drawn shops; no instance of the literature, and no validation instance, is among them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import record
from jobshop_rules import GROUPS

import orl
from orl.learn.training import Recipe, Training
from orl.problems.jobshop.instance import JobShopSettings
from orl.problems.jobshop.scenario import draw
from orl.registry import find_problem
from orl.scenario import Scenarios, generator
from orl.solver import Control, Task
from orl.solvers.ppo import LearnedSettings
from orl.solvers.ppo.policy import load, policy_of
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner

RACE = ("ta21", "ta41", "ta51", "ta71")
SECONDS = (10, 60)
EPOCHS, MINIBATCH = 4, 256
TEMPERATURES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
PARTS = ("gaps", "samples", "temperature", "race", "decision", "training")
DECISIONS = ((6, 6), (10, 10), (15, 15), (30, 20), (100, 20))


def gaps(checkpoint: str, counts: Sequence[int], each: int = 10) -> list[list[object]]:
    """Return a row a number of samples: the checkpoint's seed and the number, group means of the gap, and seconds.

    The gap is that to the best known makespan, in percent; `each` is how many instances of a group are solved.
    """
    rows = []
    _, about = load(find_problem("jobshop"), checkpoint, orl.load("jobshop/ta01"))
    for count in counts:
        found, started = [], time.perf_counter()
        for number in (10 * group + place for group in range(len(GROUPS)) for place in range(1, each + 1)):
            settings = {"checkpoint": checkpoint, "samples": count}
            result = orl.solve(f"jobshop/ta{number:02d}", "ppo", settings=settings, time_limit=None)
            assert result.verified
            found.append(100 * result.gap_best_known)
        took = (time.perf_counter() - started) / len(found)
        name = "greedy" if count == 1 else f"best of {count}"
        means = np.reshape(found, (len(GROUPS), each)).mean(axis=1)
        rows.append([about["recipe"]["seed"], name, *means.round(1), f"{np.mean(found):.2f}", f"{took:.1f}"])
        print(rows[-1], flush=True)
    return rows


def temperatures(checkpoint: str, samples: int) -> list[list[object]]:
    """Return a row a temperature: mean excess over the lower bound of the best of so many, on drawn shops."""
    shops = [draw(generator(0, "select", 100 + row), *size) for size in ((15, 15), (20, 15)) for row in range(10)]
    rows: list[list[object]] = []
    for temperature in TEMPERATURES:
        settings = {"checkpoint": checkpoint, "samples": samples, "temperature": temperature}
        found = [
            orl.solve(shop, "ppo", settings=settings, time_limit=None).value / shop.makespan_bound() for shop in shops
        ]
        rows.append([temperature, f"{100 * (np.mean(found) - 1):.2f}"])
    return rows


def race(checkpoint: str) -> tuple[list[str], list[list[object]]]:
    """Return the methods, and a row an instance and a time: what each reaches, gap in percent."""
    methods: dict[str, dict[str, object]] = {
        "ppo": {"samples": 10**6, "checkpoint": checkpoint},
        "best-of": {"runs": 10**9},
        "tabu": {},
        "cp-sat": {"threads": 1},
    }
    rows = []
    for name in RACE:
        for seconds in SECONDS:
            row: list[object] = [name, seconds]
            for method, settings in methods.items():
                result = orl.solve(f"jobshop/{name}", method, settings=settings, time_limit=seconds)
                row.append(f"{100 * result.gap_best_known:.1f}")
            rows.append(row)
    return list(methods), rows


def decisions(checkpoint: str) -> list[list[object]]:
    """Return a row a size: milliseconds of a greedy decision alone, observation and features included; median, 99 %."""
    family = find_problem("jobshop")
    rows = []
    for jobs, machines in DECISIONS:
        shop = draw(generator(0, "select", 0), jobs, machines, settings=JobShopSettings(dispatch="active"))
        policy = policy_of(Task(family, shop, None, LearnedSettings(checkpoint), 0, Control()))
        process = family.process([shop], [Scenarios.deterministic()])
        memory, times = policy.start([shop], np.random.default_rng(0)), []
        for _ in range(max(1, 400 // shop.num_ops)):
            process.reset()
            is_over = False
            while not is_over:
                is_choice = process.observe().legal.sum() > 1
                started = time.perf_counter()
                actions, memory = policy.decide(process.observe(), memory)
                if is_choice:
                    times.append(time.perf_counter() - started)
                process.decide(actions)
                is_over = process.reveal().terminated[0]
        rows.append([f"{jobs}x{machines}", *(f"{1e3 * np.quantile(times, share):.3f}" for share in (0.5, 0.99))])
    return rows


def ours(envs: int, seconds: float) -> float:
    """Return decisions a second of training with the plain network, updates included."""
    settings = PpoSettings(
        encoder="plain", width=64, layers=2, baseline="critic", instances=envs // 2, samples=2, epochs=EPOCHS,
        minibatch=MINIBATCH, iterations=10**6,
    )  # fmt: skip
    size = {"jobs": 10, "machines": 10}
    recipe = Recipe("jobshop", [size], [size], validation_instances=1, validate_every=10**6)
    with tempfile.TemporaryDirectory() as folder:
        learner = PpoLearner(find_problem("jobshop"), recipe, settings)
        trainer = Training(learner, recipe, 10**6, Path(folder))
        trainer.run(Control(seconds / 4))  # compiles
        done, started = trainer.done, time.perf_counter()
        trainer.run(Control(seconds))
        return (trainer.done - done) * envs * 100 / (time.perf_counter() - started)


def theirs(envs: int, seconds: float) -> float:
    """Return the same of Stable-Baselines3's maskable PPO on the same shops through Gymnasium."""
    import sb3_contrib
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    import orl.gym  # noqa: F401

    class Until(BaseCallback):
        def _on_step(self) -> bool:
            return time.perf_counter() < self.end

    shops = [draw(generator(0, "train", row), 10, 10) for row in range(envs)]
    made = make_vec_env(
        "orl.gym:orl/JobShop-v0", n_envs=envs, seed=0, env_kwargs={"post_decision": False, "instance": shops}
    )
    net = {"net_arch": [64, 64]}
    model = sb3_contrib.MaskablePPO(
        "MlpPolicy",
        made,
        n_steps=100,
        batch_size=MINIBATCH,
        n_epochs=EPOCHS,
        gamma=1.0,
        policy_kwargs=net,
        device="cpu",
    )
    stop = Until()
    for limit in (seconds / 4, seconds):  # the first compiles
        stop.end = time.perf_counter() + limit
        before, started = model.num_timesteps, time.perf_counter()
        model.learn(10**9, callback=stop, reset_num_timesteps=False)
        pace = (model.num_timesteps - before) / (time.perf_counter() - started)
    return pace


def training(seconds: float = 30) -> list[list[object]]:
    """Return a row a number of environments: thousands of decisions a second, ours and theirs, and the ratio."""
    rows = []
    for envs in (16, 256):
        mine, other = ours(envs, seconds), theirs(envs, seconds)
        rows.append([envs, f"{mine / 1e3:.2f}", f"{other / 1e3:.2f}", f"{mine / other:.1f}"])
    return rows


def write(part: str, caption: str, headers: list[str], rows: list[list[object]]) -> None:
    """Write the table of a part, a file of its own."""
    record.write(f"jobshop_ppo_{part}", "The learned dispatcher of job shops", [(caption, headers, rows)], digits=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="", help="default: the policy that comes with job shops")
    parser.add_argument("--others", nargs="*", default=[], metavar="DIR", help="further training seeds, greedy alone")
    parser.add_argument("--samples", nargs="*", type=int, default=[1, 32, 128])
    parser.add_argument("--each", type=int, default=10, help="instances of each of Taillard's groups, of the samples")
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS)
    options = parser.parse_args()
    record.one_core()
    heads = ["training seed", "", *GROUPS, "all", "s"]
    if "gaps" in options.only:
        rows = gaps(options.checkpoint, (1, 2)) + [row for other in options.others for row in gaps(other, (1,))]
        caption = (
            "Mean gap to the best known makespan on Taillard's eight groups of ten, %, and seconds an instance on one "
            "core; best of 2: the better of a greedy schedule from either end of time. The first lines are the policy "
            "that is shipped. For comparison: the rule FDD/MWR has 18.0, published constructive networks 25 to 27 "
            "(L2D), 13.4 and 8.4 of 128 samples (SPN)."
        )
        write("gaps", caption, heads, rows)
    if "samples" in options.only:
        caption = f"The best of samples on the first {options.each} of each group, the policy that is shipped."
        write("samples", caption, heads, gaps(options.checkpoint, options.samples, options.each))
    if "temperature" in options.only:
        caption = (
            f"Choice of `temperature`: mean excess of the best of {max(options.samples)} over the lower bound, %, on "
            "20 drawn shops (15x15, 20x15, stream `select`)."
        )
        write("temperature", caption, ["temperature", "excess"], temperatures(options.checkpoint, max(options.samples)))
    if "race" in options.only:
        methods, rows = race(options.checkpoint)
        caption = "Gap to the best known makespan, %, by what the same seconds buy on one core."
        write("race", caption, ["instance", "s", *methods], rows)
    if "decision" in options.only:
        caption = (
            "A greedy decision where there is a choice, observation and features included, NumPy without torch: "
            "milliseconds."
        )
        write("decision", caption, ["size", "median", "99 %"], decisions(options.checkpoint))
    if "training" in options.only:
        caption = (
            f"Training on drawn 10x10 shops: thousands of decisions a second, updates included ({EPOCHS} epochs, "
            f"minibatches of {MINIBATCH}, two hidden layers of 64), beside sb3-contrib's MaskablePPO."
        )
        write("training", caption, ["environments", "ours", "sb3", "ratio"], training())


if __name__ == "__main__":
    main()
