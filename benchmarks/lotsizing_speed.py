"""Speed of lot sizing on one core: machine-decisions a second of process, rule and SimPy twin, and how it grows.

python benchmarks/lotsizing_speed.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import record

import orl
from orl.problems.lotsizing.process import LotSizingProcess
from orl.problems.lotsizing.rules import RULES
from orl.problems.lotsizing.scenario import sample
from orl.problems.lotsizing.simpy_twin import simulate
from orl.scenario import Purpose

SIZES = ("15x5", "20x10", "25x10", "25x15")
BATCHES = (1, 16, 256, 1024)
REPEATS = 7
CHUNK = 0.4  # seconds of a repeat, roughly


def median_seconds(work):
    """Return the median seconds of processor time of a call, after one that does not count."""
    work()
    started = time.process_time()
    work()
    calls = max(1, round(CHUNK / max(time.process_time() - started, 1e-6)))
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        for _ in range(calls):
            work()
        times.append((time.process_time() - started) / calls)
    return statistics.median(times)


def episodes(name, num_envs, decision):
    """Return machine-decisions a second of whole episodes, without and with the choice of a random legal action."""
    instance = orl.load(f"lotsizing/{name}-a", settings={"decision": decision})
    rows = sample(instance, 0, Purpose.EVALUATE, num_envs)
    process = LotSizingProcess([instance] * num_envs, list(rows))
    rng = np.random.default_rng(0)
    count = num_envs * instance.periods_left * instance.num_machines
    steps = instance.periods_left * (1 if decision == "joint" else instance.num_machines)

    def random_legal():
        legal = process.observe().legal
        return (legal - rng.random(legal.shape, dtype=np.float32)).argmax(axis=-1)

    def play(actions):
        process.reset()
        for step in range(steps):
            process.decide(random_legal() if actions is None else actions[step])
            process.reveal()

    process.reset()
    told = []
    for _ in range(steps):
        told.append(random_legal())
        process.decide(told[-1])
        process.reveal()
    reset = median_seconds(process.reset)
    return [count / (median_seconds(lambda: play(told)) - reset), count / (median_seconds(lambda: play(None)) - reset)]


def whole_episodes(name):
    """Return milliseconds of a greedy episode, alone and in a batch of 256, and of the twin playing the same plan."""
    instance = orl.load(f"lotsizing/{name}-a")
    rows = sample(instance, 0, Purpose.EVALUATE, 256)
    times = []
    for num_envs in (1, 256):
        process, seeds = LotSizingProcess([instance] * num_envs, list(rows)[:num_envs]), np.zeros(num_envs, np.uint64)

        def play(process=process, seeds=seeds):
            process.reset()
            process.run(RULES["greedy"], seeds)

        times.append(1000 * (median_seconds(play) - median_seconds(process.reset)) / num_envs)
    play()  # the last one measured was a reset
    plan = process.solution(0)
    twin = median_seconds(
        lambda: simulate(instance, rows[0], lambda plant: int(plan.choices[plant.period, len(plant.told)]))
    )
    return [*times, 1000 * twin]


if __name__ == "__main__":
    record.one_core()
    batches = [
        [n, *(f"{pace / 1e6:.2f}" for decision in ("joint", "machine") for pace in episodes("15x5", n, decision))]
        for n in BATCHES
    ]
    sizes = []
    for name in SIZES:
        alone, batched, twin = whole_episodes(name)
        pace = episodes(name, 256, "joint")[0]
        sizes.append(
            [name, f"{pace / 1e6:.2f}", f"{alone:.3f}", f"{batched:.3f}", f"{twin:.1f}", f"{twin / alone:.0f}"]
        )
    record.write(
        "lotsizing_speed",
        "Speed of lot sizing on one core",
        [
            (
                "15x5-a, 100 periods: million machine-decisions a second, `observe`, `decide`, `reveal`, the reset of "
                "an episode taken off; with actions told beforehand, and with random legal ones, whose choice by NumPy "
                "is then included. Median of repeats, processor time.",
                ["environments", "joint, told", "joint, random", "by machine, told", "by machine, random"],
                batches,
            ),
            (
                "Growth: million machine-decisions a second (joint, told, 256 environments); milliseconds of a greedy "
                "episode of 100 periods, alone and in a batch of 256, and of the SimPy twin playing a plan told "
                "beforehand, which spares it the rule; the last column is twin over one episode alone.",
                ["size", "M decisions / s", "greedy ms", "greedy ms, batch", "twin ms", "twin / kernel"],
                sizes,
            ),
        ],
    )
