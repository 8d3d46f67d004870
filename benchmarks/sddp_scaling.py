"""SDDP: iterations a second with one and two processes, and how the time of an iteration grows.

python benchmarks/sddp_scaling.py [--seconds 60]
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace

import numpy as np
import record

import orl
from orl.files import write_atomically
from orl.problems.hydrothermal.stages import stages
from orl.scenario import Purpose, generator
from orl.solvers.sddp.parallel import Crew
from orl.solvers.sddp.train import Sddp, train

SEED = 0
LENGTHS, NOISES = (12, 24, 48, 96), (3, 5, 10, 15)
WARM, TIMED = 5, 10  # iterations before those that are timed, and those
CURVE = 200  # iterations with and without selection, of so many stages
CURVE_STAGES = 24


def bolivia(num_stages=126, noises=15):
    one = orl.load("hydrothermal/bolivia", settings={"stages": num_stages, "reported_stages": num_stages})
    few = one.inflows[:, :noises]
    return replace(one, inflows=few, probabilities=np.full(few.shape[:2], 1 / noises))


def trained(sddp, processes, should_stop):
    """Return the log of training; its clock begins when all processes are there."""
    rngs = [generator(SEED, Purpose.TRAIN, number) for number in range(processes)]
    with Crew(sddp, rngs) as crew:
        crew.iterate()
        started = time.perf_counter()
        return train(sddp, rngs[0], should_stop, lambda: time.perf_counter() - started, iterate=crew.iterate)


def of_processes(seconds, repeats=2):
    """Return rows of one and two processes, in turns: iterations and bound after equal time."""
    done = {1: [], 2: []}
    for _ in range(repeats):
        for processes, of in done.items():
            started = time.perf_counter()
            log = trained(Sddp(stages(bolivia())), processes, lambda _: time.perf_counter() - started > seconds)  # noqa: B023
            rate = (log[-1].number - processes) / log[-1].seconds
            of.append((rate, log[-1].number, log[-1].bound))
    base = np.median([rate for rate, _, _ in done[1]])
    return [
        [
            processes,
            f"{np.median([rate for rate, _, _ in of]):.3f}",
            f"{np.median([rate for rate, _, _ in of]) / base:.2f}",
            ", ".join(str(number) for _, number, _ in of),
            ", ".join(f"{bound:.0f}" for _, _, bound in of),
        ]
        for processes, of in done.items()
    ]


def seconds_an_iteration(num_stages, noises):
    """Return the median time of an iteration after the first few."""
    log = trained(Sddp(stages(bolivia(num_stages, noises))), 1, lambda log: len(log) >= WARM + TIMED)
    return float(np.median(np.diff([line.seconds for line in log[WARM - 1 :]])))


def of_sizes():
    """Return rows of stages x noises: seconds, and microseconds a program solved."""
    rows = []
    for num_stages in LENGTHS:
        for noises in NOISES if num_stages == LENGTHS[2] else (15,):
            taken = seconds_an_iteration(num_stages, noises)
            programs = (num_stages - 1) * noises + num_stages + noises
            rows.append([num_stages, noises, programs, f"{taken:.4f}", f"{1e6 * taken / programs:.0f}"])
    return rows


def of_curves():
    """Return the log, and the number of cuts at its end, with and without selection."""
    curves = {}
    for selects in (True, False):
        sddp = Sddp(stages(bolivia(CURVE_STAGES)), selects=selects)
        log = trained(sddp, 1, lambda log: len(log) >= CURVE)
        pace = np.diff([0.0, *(line.seconds for line in log)])
        curves[selects] = pace, sum(node.num_cuts for node in sddp.nodes) / max(1, len(sddp.nodes) - 1)
    return curves


def at(pace, iteration):
    """Return the median over the ten iterations up to one."""
    return float(np.median(pace[max(0, iteration - 10) : iteration]))


def draw(sizes, curves):
    """Draw both curves."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    programs, taken = (np.array([float(row[column]) for row in sizes]) for column in (2, 3))
    order = programs.argsort()
    left.plot(programs[order], taken[order], "o-")
    left.set_xlabel("programs an iteration (stages x noises)")
    left.set_ylabel("s an iteration")
    for selects, (pace, _) in curves.items():
        points = range(10, CURVE + 1, 10)
        label = "with selection of cuts" if selects else "without"
        right.plot(points, [at(pace, point) for point in points], label=label)
    right.set_xlabel("iteration")
    right.set_ylabel("s an iteration")
    right.set_ylim(0)
    left.set_ylim(0)
    right.legend(frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    write_atomically(record.RESULTS / "sddp_scaling.png", file.getvalue())


def main():
    """Measure and write the tables and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    processes = of_processes(arguments.seconds)
    sizes, curves = of_sizes(), of_curves()
    marks = [mark for mark in (10, 50, 100, 150, 200) if mark <= CURVE]
    draw(sizes, curves)
    record.write(
        "sddp_scaling",
        "SDDP: processes, and the time of an iteration",
        [
            (f"The Bolivian system, 126 stages, 15 inflow scenarios; {arguments.seconds:.0f} s each, twice in turns; "
             f"load of the machine before: {load:.1f}. An iteration is one pass of one process.",
             ["processes", "iterations a second", "ratio", "iterations", "bound"], processes),
            (f"Stages and inflow scenarios of the Bolivian system; median of {TIMED} iterations after {WARM}.",
             ["stages", "noises", "programs", "s an iteration", "µs a program"], sizes),
            (f"Seconds an iteration ({CURVE_STAGES} stages), median of the ten up to it, and cuts a stage at the end "
             "(![curves](sddp_scaling.png)).",
             ["selection", *marks, "cuts"],
             [["yes" if selects else "no", *(f"{at(pace, mark):.4f}" for mark in marks), f"{cuts:.0f}"]
              for selects, (pace, cuts) in curves.items()]),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
