"""Training in several processes: the same bound in the end, the same run each time, and nothing left behind."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_sddp import reservoir, tutorial

import orl
from orl.errors import InputError
from orl.linear import NotSolved
from orl.scenario import generator
from orl.solver import Control
from orl.solvers.sddp.parallel import Crew
from orl.solvers.sddp.train import Sddp, train
from orl.stages import StageGraph

ROOT = Path(__file__).resolve().parent.parent


def crew_trained(graph, processes, iterations=60, **options):
    sddp, rngs = Sddp(graph, **options), [generator(0, "train", number) for number in range(processes)]
    with Crew(sddp, rngs) as crew:
        log = train(sddp, rngs[0], lambda log: sddp.iterations >= iterations, time.perf_counter, iterate=crew.iterate)
    assert not multiprocessing.active_children()
    return sddp, log


def longer():
    return StageGraph.line([reservoir(50.0 + 10 * t) for t in range(6)], np.array([100.0]))


def test_a_crew_finds_the_published_value():
    _, log = crew_trained(tutorial(), 3)
    assert log[-1].bound == pytest.approx(8333.3333, abs=6e-5)
    assert [line.number for line in log[:2]] == [3, 6] and all(len(line.costs) == 3 for line in log)


def test_a_crew_of_one_is_no_crew():
    rng = generator(0, "train", 0)
    sddp = Sddp(longer())
    alone = train(sddp, rng, lambda log: len(log) >= 20, time.perf_counter)
    _, log = crew_trained(longer(), 1, 20)
    assert [line[:3] for line in log] == [line[:3] for line in alone]


@pytest.mark.parametrize("options", [{}, {"multi_cut": True}])
def test_what_is_learned_depends_on_seed_and_processes_alone(options):
    """Twice the same, to the bit; each process has the cuts of all."""
    (one, first), (two, second) = (crew_trained(longer(), 2, 30, **options) for _ in range(2))
    assert [line[:3] for line in first] == [line[:3] for line in second]
    assert one.to_dict() == two.to_dict()
    assert len(one.nodes[0].pools[0].intercepts) == 30


class Failing(Sddp):
    def make_pass(self, rng):
        if multiprocessing.parent_process() is not None:
            raise NotSolved("too_much has no optimum")
        return super().make_pass(rng)


class Dying(Sddp):
    def make_pass(self, rng):
        if multiprocessing.parent_process() is not None:
            os._exit(3)
        return super().make_pass(rng)


class Stubborn(Sddp):
    def make_pass(self, rng):
        if multiprocessing.parent_process() is not None:
            time.sleep(600)
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (Failing, NotSolved, "too_much has no optimum"),
        (Dying, RuntimeError, r"process 1 of sddp is gone \(exit code 3\)"),
        (Stubborn, KeyboardInterrupt, None),
    ],
)
def test_what_goes_wrong_is_raised_here_and_nobody_is_left(kind, error, message):
    """An error with its message, a process that is gone, and an interruption that does not wait for slow passes."""
    started = time.perf_counter()
    with (
        pytest.raises(error, match=message),
        Crew(kind(tutorial()), [generator(0, "train", k) for k in (0, 1)]) as crew,
    ):
        for _ in range(3):
            crew.iterate()
    assert not multiprocessing.active_children()
    assert time.perf_counter() - started < 60


def test_settings_and_interruption():
    """An interruption ends a round that is whole; iterations are counted over processes."""
    case = "hydrothermal/case3"
    few = orl.solve(case, "sddp", settings={"iterations": 9, "processes": 2}, scenarios=2)
    assert few.metrics["iterations"] == 10 and few.verified
    control = Control()
    threading.Timer(3.0, control.interrupt).start()
    result = orl.solve(case, "sddp", settings={"iterations": 10**6, "processes": 2}, scenarios=3, control=control)
    assert (result.status, len(result.costs)) == ("interrupted", 3) and result.bound <= result.interval[1]
    assert not multiprocessing.active_children()
    with pytest.raises(InputError, match=r"processes must be in 1\.\.64"):
        orl.solve(case, "sddp", settings={"processes": 0})


def started(*settings):
    """Start a run that trains with two processes, in a process group of its own, and wait for a bound."""
    command = [sys.executable, ROOT / "run.py", "solve", "hydrothermal/case3", "--json", "--scenarios", "2"]
    for setting in ("iterations=1000000", "processes=2", *settings):
        command += ["--set", setting]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    next(line for line in run.stderr if "bound" in line)
    return run


def living(group):
    """Return the processes of a group that are no zombies, as /proc tells them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it ended meanwhile
            continue
        if int(of) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def assert_all_end(group):
    """Python's own watcher of resources ends a moment after the process that it watches."""
    until = time.perf_counter() + 20
    while living(group) and time.perf_counter() < until:
        time.sleep(0.05)
    assert not living(group)


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="asks /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_ends_training_and_not_the_others(number):
    """As a terminal sends Ctrl-C, and `timeout` SIGTERM: to every process of the group."""
    run = started()
    assert len(living(run.pid)) >= 2
    os.killpg(run.pid, number)
    out, error = run.communicate(timeout=60)
    data = json.loads(out)
    assert run.returncode == 0 and "Traceback" not in error, error
    assert (data["status"], len(data["costs"])) == ("interrupted", 2)
    assert_all_end(run.pid)


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="asks /proc")
def test_the_others_end_when_the_one_that_asks_is_killed():
    run = started()
    run.kill()
    run.communicate(timeout=60)
    assert_all_end(run.pid)
