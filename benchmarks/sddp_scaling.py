"""How the time of SDDP grows: with processes, stages, noises and iterations, on the published Bolivian system.

python benchmarks/sddp_scaling.py [--passes 120] [--iterations 300] [--repeats 12]
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import time
from dataclasses import replace

import numpy as np
import record

import orl
from orl.colours import GRID, distinct_colours
from orl.files import write_atomically
from orl.problems.hydrothermal.stages import stages
from orl.scenario import generator
from orl.solvers.sddp.parallel import Crew
from orl.solvers.sddp.train import Sddp

SEED = 0
STAGES, NOISES = (12, 24, 48, 96), (3, 5, 10, 15)
BASE = 24, 15  # stages while noises grow, noises while stages grow
LONG = 48  # stages, where iterations grow
WARM = 3  # iterations that are not timed
LAST = 10  # iterations, whose median is the time of the last of them
MARKS = (10, 50, 100, 200, 300)


def system(num_stages, num_noises=15):
    """Return the system with so many stages, and the first so many of its 15 inflow scenarios, equally probable."""
    instance = orl.load("hydrothermal/bolivia", settings={"stages": num_stages, "reported_stages": min(num_stages, 96)})
    rows = len(instance.inflows)
    return replace(
        instance,
        inflows=instance.inflows[:, :num_noises],
        probabilities=np.full((rows, num_noises), 1 / num_noises),
    )


def paced(count, passes):
    """Train with so many processes until so many passes are made; return seconds, passes a second, and the bound."""
    sddp, rngs = Sddp(stages(orl.load("hydrothermal/bolivia"))), [generator(SEED, "train", k) for k in range(count)]
    with Crew(sddp, rngs) as crew:
        crew.iterate()  # the others are there by now
        first, started = sddp.iterations, time.perf_counter()
        while sddp.iterations < first + passes:
            crew.iterate()
        seconds = time.perf_counter() - started
    return seconds, (sddp.iterations - first) / seconds, sddp.bound()


def by_processes(passes):
    """Return rows: one process, two, and two that know nothing of one another, which is what the machine can do."""
    rows = [(str(count), *paced(count, passes)) for count in (1, 2, 1, 2)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        apart = pool.starmap(alone, [(passes,)] * 2, chunksize=1)
    rows.append(("2 runs of 1, unrelated", max(taken for taken, _ in apart), sum(pace for _, pace in apart), None))
    single = (rows[0][2] + rows[2][2]) / 2
    return [
        [name, f"{taken:.1f}", f"{pace:.3f}", f"{pace / single:.2f}", "" if bound is None else f"{bound:.2f}"]
        for name, taken, pace, bound in rows
    ]


def alone(passes):
    """Return seconds and passes a second of one process; asked in a process of its own."""
    return paced(1, passes)[:2]


def iteration_times(instance, count, selects=True):
    """Return seconds of each iteration, and cuts in the programs after each."""
    sddp, rng, times, cuts = Sddp(stages(instance), selects=selects), generator(SEED, "train", 0), [], []
    for _ in range(count):
        started = time.perf_counter()
        sddp.iterate(rng)
        sddp.bound()
        times.append(time.perf_counter() - started)
        cuts.append(sum(node.num_cuts for node in sddp.nodes))
    return times, cuts


def by_size(repeats):
    """Return (stages, noises, seconds an iteration), first over stages, then over noises."""
    sizes = [(count, BASE[1]) for count in STAGES] + [(BASE[0], count) for count in NOISES]
    return [(*size, float(np.median(iteration_times(system(*size), WARM + repeats)[0][WARM:]))) for size in sizes]


def by_iteration(count):
    """Return selects -> (seconds of each iteration, cuts after each)."""
    return {selects: iteration_times(system(LONG), count, selects) for selects in (True, False)}


def at(values, number):
    return float(np.median(values[max(0, number - LAST) : number]))


def picture(sizes, grown):
    """Return a PNG: seconds an iteration over stages, over noises, and over iterations."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    colours = distinct_colours(2)
    over_stages, over_noises, over_iterations = figure.subplots(1, 3)
    for axes, rows, place, label in (
        (over_stages, sizes[: len(STAGES)], 0, f"stages ({BASE[1]} noises)"),
        (over_noises, sizes[len(STAGES) :], 1, f"noises ({BASE[0]} stages)"),
    ):
        axes.plot([row[place] for row in rows], [row[2] for row in rows], "o-", color=colours[0])
        axes.set(xlabel=label, ylabel="s an iteration", xlim=(0, None), ylim=(0, None))
    for (selects, (times, _)), colour in zip(grown.items(), colours, strict=True):
        numbers = range(LAST, len(times) + 1, LAST)
        label = "cuts selected" if selects else "all cuts"
        over_iterations.plot(numbers, [at(times, number) for number in numbers], color=colour, label=label)
    over_iterations.set(xlabel=f"iteration ({LONG} stages)", ylabel="s an iteration", xlim=(0, None), ylim=(0, None))
    over_iterations.legend(frameon=False)
    for axes in (over_stages, over_noises, over_iterations):
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    return drawn.getvalue()


def main():
    """Measure, and write the tables and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=120)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=12)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    processes = by_processes(arguments.passes)
    sizes, grown = by_size(arguments.repeats), by_iteration(arguments.iterations)
    marks = [number for number in MARKS if number <= arguments.iterations]
    ms = [[s, n, f"{t:.3f}", f"{1e3 * t / (s * n):.3f}"] for s, n, t in sizes]
    growth = [
        [number] + [cell for times, cuts in grown.values() for cell in (f"{at(times, number):.3f}", cuts[number - 1])]
        for number in marks
    ]
    record.write(
        "sddp_scaling",
        "How the time of SDDP grows",
        [
            (f"Processes: 126 stages of 15 noises, {arguments.passes} passes after the first round, one and two "
             f"processes in turn; ratios to the mean pace of one. The machine's load was {load:.1f} before.",
             ["processes", "s", "passes / s", "ratio", "bound"], processes),
            (f"Stages and noises (the first so many inflow scenarios, equally probable): median of "
             f"{arguments.repeats} iterations after the first {WARM}, and per program of a backward pass.",
             ["stages", "noises", "s an iteration", "ms a stage and noise"], ms),
            (f"Iterations: {LONG} stages of 15 noises, with and without selection of cuts; median of the last {LAST} "
             "iterations, and cuts in all programs. [Picture](sddp_scaling.png).",
             ["iteration", "s, selected", "cuts, selected", "s, all cuts", "all cuts"], growth),
        ],
    )  # fmt: skip
    write_atomically(record.RESULTS / "sddp_scaling.png", picture(sizes, grown))


if __name__ == "__main__":
    main()
