"""Decisions a second on one core under random legal actions: the process, the vector environment, one environment.

    python benchmarks/throughput.py

Choosing the actions is part of what is measured, for every environment, at every step, in vectorised NumPy.
Environments that end begin their next episode at once, which is measured too; episodes are out of step with one
another. Seconds are of processor time, all threads together: on an idle core they are those of a wall clock.
"""

from __future__ import annotations

import statistics
import time

import gymnasium
import numpy as np
import record

import orl
import orl.gym
from orl.registry import find_problem
from orl.scenario import Scenarios

INSTANCE = "jobshop/ta01"
ENV_ID = "orl.gym:orl/JobShop-v0"
BATCHES = (1, 16, 256, 1024, 4096)
REPEATS = 7
CHUNK = 0.4  # seconds of a repeat, roughly


def random_legal(rng, legal):
    """Draw uniformly among what is legal, (num_envs, width) -> (num_envs,)."""
    return (legal - rng.random(legal.shape, dtype=np.float32)).argmax(axis=1)


def pace(step, num_envs, warm_up=400):
    """Return the median over repeats of decisions a second; `step` takes one decision in each environment."""
    for _ in range(warm_up):  # compiles, and brings the environments out of step
        step()
    started = time.process_time()
    for _ in range(20):
        step()
    steps = max(20, round(20 * CHUNK / (time.process_time() - started)))
    paces = []
    for _ in range(REPEATS):
        started = time.process_time()
        for _ in range(steps):
            step()
        paces.append(steps * num_envs / (time.process_time() - started))
    return statistics.median(paces)


def process_rows(shop):
    """Return a row a batch size: decisions a second, and nanoseconds of a decision by what they go to."""
    rows = []
    for num_envs in BATCHES:
        process = find_problem("jobshop").process([shop] * num_envs, [Scenarios.deterministic()] * num_envs)
        rng, clock = np.random.default_rng(0), time.process_time
        spent = np.zeros(4)
        count = 0

        def step(process=process, rng=rng):
            process.decide(random_legal(rng, process.observe().legal))
            ended = np.flatnonzero(process.reveal().terminated)
            if len(ended):
                process.reset(ended)

        per_second = pace(step, num_envs)
        for _ in range(max(200, 200_000 // num_envs)):  # apart, because the clock takes time as well
            times = [clock()]
            actions = random_legal(rng, process.observe().legal)
            times.append(clock())
            process.decide(actions)
            times.append(clock())
            ended = np.flatnonzero(process.reveal().terminated)
            times.append(clock())
            if len(ended):
                process.reset(ended)
            times.append(clock())
            spent += np.diff(times)
            count += num_envs
        rows.append([num_envs, round(per_second), *np.round(1e9 * spent / count).astype(int)])
    return rows


def vector_pace(num_envs, **kwargs):
    """Return decisions a second of the vector environment."""
    envs = gymnasium.make_vec(ENV_ID, num_envs=num_envs, **kwargs)
    rng = np.random.default_rng(0)
    envs.reset(seed=0)
    return round(pace(lambda: envs.step(random_legal(rng, envs.action_masks())), num_envs))


def single_pace(shop):
    """Return steps a second of one environment, as `gymnasium.make` gives it, its own wrappers included."""
    env = gymnasium.make(ENV_ID, instance=shop)
    rng, masks = np.random.default_rng(0), env.get_wrapper_attr("action_masks")
    env.reset(seed=0)

    def step():
        _, _, terminated, truncated, _ = env.step(random_legal(rng, masks()[None])[0])
        if terminated or truncated:
            env.reset()

    return round(pace(step, 1))


def main():
    """Measure and write the table."""
    record.one_core()
    shop = orl.load(INSTANCE)
    vector = [
        [n, vector_pace(n, instance=shop, post_decision=False), vector_pace(n, instance=shop)] for n in BATCHES[1:]
    ]
    failing = {"breakdowns": {"probability": 0.002}}
    forms = [
        ["ta01, flat", vector_pace(256, instance=shop)],
        ["ta01, flat, machines fail with probability 0.002", vector_pace(256, instance=INSTANCE, settings=failing)],
        ["one of ta01 ... ta10 an episode, flat", vector_pace(
            256, instance=[f"jobshop/ta{i:02d}" for i in range(1, 11)])],
        ["ta01, graph (240 nodes, 660 edges)", vector_pace(256, instance=shop, observation="graph")],
    ]  # fmt: skip
    record.write(
        "throughput",
        "Decisions a second on one core, ta01 (15x15), random legal actions",
        [
            ("A decision is `observe`, a random choice among the legal actions (`wait` is one of them), `decide` and "
             "`reveal`; an environment that ends is reset. Actions are chosen for the whole batch by NumPy: the argmax "
             "of mask minus uniform noise, which is uniform over what is legal. All of this is included, in seconds of "
             "processor time, all threads together. Median of repeats.\n\nThe process, by batch size: decisions a "
             "second; then, measured apart, where the nanoseconds of a decision go.",
             ["environments", "decisions / s", "choose", "decide", "reveal", "reset"], process_rows(shop)),
            ("The vector environment, flat observations of 395 numbers, masks, infos and autoreset included; without "
             "and with the post-decision observation in `info`.",
             ["environments", "without / s", "with / s"], vector),
            ("The same with 256 environments and post-decision observations, by what is played and shown.",
             ["256 environments", "decisions / s"], forms),
            ("One environment from `gymnasium.make`, with Gymnasium's wrappers and post-decision observations. The "
             "peers' figures were measured elsewhere, on another machine; a step of jumanji is a time unit, in which "
             "every machine decides.",
             ["environment", "steps / s"],
             [["orl/JobShop-v0", single_pace(shop)], ["JSSEnv", 15_600], ["jumanji (time units)", 88_000]]),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
