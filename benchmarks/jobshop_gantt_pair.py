"""The best rule and the learned policy on the same scenario of a blocking shop with swaps: two Gantt charts, and why.

python benchmarks/jobshop_gantt_pair.py

The instance is the first, the scenario the first of the stream `evaluate`: neither was picked for its picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import record
from jobshop_disruptions import LAWRENCE, SEED, shop_of

import orl
from orl.problems.jobshop.instance import Schedule
from orl.problems.jobshop.plot import gantt
from orl.problems.jobshop.scenario import sample
from orl.scenario import Purpose

PROBABILITY = 0.005
RULE = "lor"  # the best of these shops at this probability, benchmarks/results/jobshop_disruptions.md
SCENARIOS = 10
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "swap_pair.png"


def jobs_inside(schedule: Schedule) -> float:
    """Return how many jobs are in the shop at a time, from the first start to the makespan, on average."""
    begun = [schedule.start[schedule.job == job].min() for job in np.unique(schedule.job)]
    ended = [schedule.end[schedule.job == job].max() for job in np.unique(schedule.job)]
    return float(sum(np.subtract(ended, begun)) / (schedule.makespan - min(begun)))


def pictured() -> None:
    """Draw the pair, one above the other on one axis of time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.image import imsave

    shop = shop_of(LAWRENCE[0], "swap", PROBABILITY)
    scenario = sample(shop, SEED, Purpose.EVALUATE, 1)[0]
    solved = {m: orl.solve(shop, m, scenarios=1, seed=SEED, time_limit=None).solutions[0] for m in (RULE, "ppo")}
    latest = max(schedule.makespan for schedule in solved.values())
    images = []
    for method, schedule in solved.items():
        figure = gantt(shop, schedule, None, scenario)
        axes = figure.axes[0]
        axes.set_xlim(0, 1.01 * latest)
        axes.set_title(f"{method}: {axes.get_title(loc='left')}", loc="left", parse_math=False)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba()))
    imsave(PICTURE, np.concatenate(images))


def main() -> None:
    """Draw the picture and write what the two do, over all Lawrence shops."""
    pictured()
    rows = []
    for method in (RULE, "ppo"):
        found = []
        for name in LAWRENCE:
            shop = shop_of(name, "swap", PROBABILITY)
            result = orl.solve(shop, method, scenarios=SCENARIOS, seed=SEED, time_limit=None)
            inside = np.mean([jobs_inside(schedule) for schedule in result.solutions])
            machines = len(np.unique(result.solutions[0].machine))
            share = result.metrics["time_blocked_total"] / (machines * result.value)
            found.append([result.value, inside, 100 * share, 100 * result.metrics["utilisation_mean"]])
        rows.append([method, *(f"{value:.1f}" for value in np.mean(found, axis=0))])
    caption = (
        f"la01-la40 with swaps, breakdowns of probability {PROBABILITY}, {SCENARIOS} scenarios: mean makespan, jobs in "
        "the shop at a time, and the shares of machines' time that they are blocked and work, %."
    )
    headers = ["method", "makespan", "jobs inside", "blocked", "at work"]
    record.write("jobshop_gantt_pair", "What the learned policy does differently", [(caption, headers, rows)])


if __name__ == "__main__":
    main()
