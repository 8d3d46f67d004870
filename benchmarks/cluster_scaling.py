"""How runs and training grow from one worker of a Dask cluster to two, and what every run costs the one that deals out.

The cluster is a scheduler and workers on this machine, so its network is not one. What is serial is measured apart, for
the plan to many workers: how many runs a second it can bear.

python benchmarks/cluster_scaling.py [--runs 24] [--evaluations 20000] [--tasks 2000] [--rows 2000] [--rounds 40]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import record

import orl
from orl.benchmark.measure import to_line
from orl.benchmark.places import needs_of
from orl.benchmark.run_log import RunLog
from orl.benchmark.suite import read_suite
from orl.cluster import connected, identity
from orl.crew import Crew as AnyCrew
from orl.problems.hydrothermal.stages import stages
from orl.scenario import generator
from orl.solvers.sddp.parallel import Crew
from orl.solvers.sddp.train import Sddp

WORKERS = 1000  # in the plan
SUITE = """\
time_limit = 600
seeds = {seeds}
[[runs]]
instances = ["jobshop/ta21"]
solvers = [{{ solver = "best-of", settings.runs = {evaluations} }}]
"""


@contextmanager
def cluster_of(workers):
    """Yield the address of a scheduler on this machine with so many workers of one thread."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=":0", memory_limit=0, silence_logs=50
    ) as made:
        made.wait_for_workers(workers, timeout=60)
        yield made.scheduler_address


def timed(suite, **where):
    """Return the wall seconds of a batch, and the mean of what its runs took by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        rows = orl.run_bench(suite, Path(folder) / "out", **where)
        seconds = time.perf_counter() - started
    assert all(row["verified"] for row in rows)
    return seconds, sum(row["seconds"] for row in rows) / len(rows), rows[0]


def of_runs(suite):
    """Return rows: one process, two, one worker, two; each with its speed over the first of its kind."""
    rows, row = [], {}
    for kind in ("processes", "workers"):
        first = None
        for count in (1, 2):
            if kind == "processes":
                seconds, alone, row = timed(suite, jobs=count)
            else:
                with cluster_of(count) as address:
                    seconds, alone, row = timed(suite, scheduler=address)
            first = first or seconds
            rows.append((kind, count, len(suite.runs), seconds, alone, first / seconds))
    return rows, row


def no_work(run, needs, versions):
    return run.key


def of_dealing(run, count):
    """Return rows for one worker and two: milliseconds to hand in a task that does nothing, and until all are done."""
    needs, versions, rows = needs_of([run]), identity(), []
    for workers in (1, 2):
        with cluster_of(workers) as address, connected(address) as client:
            executor = client.get_executor(pure=False)
            executor.submit(no_work, run, needs, versions).result()
            started = time.perf_counter()
            futures = [executor.submit(no_work, run, needs, versions) for _ in range(count)]
            handed = time.perf_counter() - started
            while futures:
                futures.pop().result()
            done = time.perf_counter() - started
        rows.append((f"{workers} workers", 1e3 * handed / count, 1e3 * done / count))
    return rows


def of_logging(row, count):
    """Return milliseconds and bytes that a row takes in the log, on the disk before the next one."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        log = RunLog(Path(folder), resume=False)
        started = time.perf_counter()
        for _ in range(count):
            log.append(row)
        seconds = time.perf_counter() - started
        log.close()
    return 1e3 * seconds / count, len(to_line(row))


def of_training(rounds):
    """Return rows: milliseconds of an empty question, and passes a second of SDDP, with one process and with two."""
    rows = []
    for kind, count in (("this process", 1), ("a process besides", 2), ("a worker besides", 2)):
        with cluster_of(1) as address:
            scheduler = address if kind == "a worker besides" else None
            with AnyCrew([abs] * count, "empty", scheduler) as crew:
                question = 1e3 * min(record.seconds(lambda crew=crew, n=count: crew.ask([-1] * n), 50))
            sddp = Sddp(stages(orl.load("hydrothermal/bolivia")))
            with Crew(sddp, [generator(0, "train", number) for number in range(count)], scheduler) as crew:
                crew.iterate()  # the other is there by now
                first, started = sddp.iterations, time.perf_counter()
                while sddp.iterations < first + rounds:
                    crew.iterate()
                seconds = time.perf_counter() - started
        rows.append((kind, question, (sddp.iterations - first) / seconds))
    return [(*row, row[2] / rows[0][2]) for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("runs", 24), ("evaluations", 20_000), ("tasks", 2000), ("rows", 2000), ("rounds", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "suite.toml"
        path.write_text(SUITE.format(seeds=list(range(told.runs)), evaluations=told.evaluations))
        suite = read_suite(path)
        timed(replace(suite, runs=suite.runs[:1]), jobs=1)  # whatever is compiled once for all is there then
        runs, row = of_runs(suite)
        dealing = of_dealing(suite.runs[0], told.tasks)
    of_row, size = of_logging(row, told.rows)
    one, two = dealing
    serial = [
        ("hand a run to the scheduler", one[1]),
        ("the scheduler's part, and the row's way back", min(one[2], two[2]) - one[1]),
        (f"write a row of {size} bytes, synced", of_row),
    ]
    together = sum(cost for _, cost in serial)
    plan = [
        (what, cost, 1e3 / cost, WORKERS * cost / 1e3) for what, cost in [*serial, ("all, one after another", together)]
    ]
    record.write(
        "cluster_scaling",
        "A Dask cluster: from one worker to two, and what is serial",
        [
            (
                "A suite of equal runs, `best-of` on ta21: wall seconds of the batch, with the start of children and "
                "their warming up, mean seconds that a run says of itself, and the speed over one of the same kind.",
                ["kind", "count", "runs", "seconds", "seconds a run", "speed"],
                runs,
            ),
            (
                "Tasks that do nothing, with all that a run's task carries: milliseconds a task to hand it in, and "
                "until all are done.",
                ["cluster", "ms handed in", "ms done"],
                dealing,
            ),
            (
                f"What one process does for every run: milliseconds, runs a second that it can bear, and how many "
                f"seconds a run must take so that {WORKERS} workers do not wait for it.",
                ["work", "ms a run", "runs / s", f"s a run for {WORKERS} workers"],
                plan,
            ),
            (
                "Crews: an empty question to all and back, least milliseconds of 50, and SDDP on Bolivia's 126 stages: "
                "passes a second, and the speed over one process.",
                ["crew", "ms a question", "passes / s", "speed"],
                of_training(told.rounds),
            ),
        ],
        digits=3,
    )


if __name__ == "__main__":
    main()
