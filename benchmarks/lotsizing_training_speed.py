"""How long a million steps of training on 15x5 take, one critic and two, on one core and on two.

python benchmarks/lotsizing_training_speed.py

Run it while nothing else runs. A step is one decision for one machine; settings are those of `lotsizing_ppo.py`.
"""

from __future__ import annotations

import os
import statistics
import time

import record
from lotsizing_ppo import FORMS, TRAINING

from orl import params
from orl.learn.training import Recipe
from orl.registry import find_problem
from orl.solvers.ppo import train
from orl.solvers.ppo.settings import PpoSettings

ITERATIONS = 5
STEPS = 32_000  # of an iteration
VARIANTS = [("single", 1, 1024), ("single", 2, 1024), ("single", 2, 2048), ("half-steps", 1, 1024),
            ("half-steps", 2, 1024)]  # fmt: skip


def seconds(form: str, threads: int, minibatch: int) -> tuple[float, float]:
    """Return the median seconds of an iteration, after one that does not count, and of the update in it."""
    os.sched_setaffinity(0, range(threads))
    training = {**TRAINING, **FORMS[form], "threads": threads, "minibatch": minibatch}
    told = [{"instance": "lotsizing/15x5-a"}]
    recipe = Recipe("lotsizing", told, told, training=training)
    learner = train.PpoLearner(find_problem("lotsizing"), recipe, params.make(PpoSettings, training, form))
    updating: list[float] = []
    times: list[float] = []
    update = train.update

    def timed(*arguments, **options):
        started = time.perf_counter()
        notes = update(*arguments, **options)
        updating.append(time.perf_counter() - started)
        return notes

    train.update = timed
    for number in range(1 + ITERATIONS):
        started = time.perf_counter()
        learner.iterate(number)
        times.append(time.perf_counter() - started)
    train.update = update
    return statistics.median(times[1:]), statistics.median(updating[1:])


def main() -> None:
    table = []
    for form, threads, minibatch in VARIANTS:
        whole, updating = seconds(form, threads, minibatch)
        million = 1e6 / STEPS
        table.append([
            "one" if form == "single" else f"two, {form}", threads, minibatch, f"{million * whole:.0f}",
            f"{million * updating:.0f}", f"{STEPS / whole:.0f}",
        ])  # fmt: skip
    text = (
        f"15x5-a, {TRAINING['epochs']} epochs, a network of width {TRAINING['width']}: seconds of a million steps, of "
        f"them in the update, and steps a second; median of {ITERATIONS} iterations of {STEPS} steps, without "
        "validation and compiling."
    )
    headers = ["critics", "threads", "minibatch", "s", "update, s", "steps / s"]
    record.write("lotsizing_training_speed", "A million steps of training", [(text, headers, table)], digits=5)


if __name__ == "__main__":
    main()
