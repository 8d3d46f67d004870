"""How long a live policy takes to answer, by the form of the state.

python benchmarks/decide_latency.py
"""

from __future__ import annotations

import time

import numpy as np
import record

import orl
from orl.problems.jobshop.scenario import draw
from orl.scenario import generator

RULES = ("mwr", "fifo", "winq", "atc")
QUESTIONS = 3000


def quantiles(ask, questions):
    """Return median and 99th percentile in microseconds."""
    times = np.array(record.seconds(ask, questions)) * 1e6
    return [round(float(np.median(times)), 1), round(float(np.quantile(times, 0.99)), 1)]


def waiting(jobs, machines):
    """Return a shop and a state in which nothing has begun: all jobs wait."""
    shop = draw(generator(0, "evaluate", jobs), jobs, machines)
    arrays = {"clock": 100, "ops_done": np.zeros(jobs, dtype=np.int64)}
    known = {"clock": 100, "jobs": [{"job": job, "ready_at": 0} for job in range(jobs)]}
    routes = [list(map(list, zip(*pair, strict=True))) for pair in zip(shop.machines, shop.durations, strict=True)]
    brought = {"clock": 100, "jobs": [{"job": str(j), "operations": route} for j, route in enumerate(routes)]}
    return shop, arrays, known, brought


def rules():
    """Return a row a rule and size."""
    rows = []
    for jobs, machines in ((10, 10), (100, 20), (1000, 20)):
        shop, arrays, known, brought = waiting(jobs, machines)
        for name in RULES:
            policy = orl.make_policy(shop, name)
            alone = orl.make_policy("jobshop", name)
            row = [name, jobs, machines, *quantiles(lambda p=policy, s=arrays: p.decide(s), QUESTIONS)]
            row += quantiles(lambda p=policy, s=known: p.decide(s), QUESTIONS // 10)
            row += quantiles(lambda p=alone, s=brought: p.decide(s), 20)
            rows.append(row)
    return rows


def budgets():
    """Return a row a policy: what a budget of 20 ms with MWR as fallback makes of it."""
    shop, arrays, _, _ = waiting(15, 15)
    rows = []
    for name, settings in (("mwr", {}), ("rollout", {"futures": 1}), ("rolling", {"replan_time": 0.5})):
        policy = orl.make_policy(shop, name, settings, budget_ms=20, fallback="mwr")
        answers = []
        for _ in range(50):
            answers.append(policy.decide(arrays))
            time.sleep(0.02)
        milliseconds = [answer.milliseconds for answer in answers]
        own = sum(answer.answered_by == name for answer in answers)
        rows.append([name, own, round(float(np.median(milliseconds)), 2), round(max(milliseconds), 2)])
    return rows


def main():
    """Measure and write the tables."""
    record.write(
        "decide_latency",
        "Answers of live policies",
        [
            ("Microseconds a decision, median and 99th percentile, all jobs waiting: a state of arrays; of "
             "dictionaries, for a shop that is known; of dictionaries that bring their jobs along.",
             ["rule", "jobs", "machines", "arrays", "arrays 99 %", "dictionaries", "dictionaries 99 %", "with jobs",
              "with jobs 99 %"], rules()),
            ("A budget of 20 ms on a 15x15 shop, 50 questions: how many the policy answered itself (else MWR did), "
             "milliseconds.", ["policy", "answered itself", "median", "longest"], budgets()),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
