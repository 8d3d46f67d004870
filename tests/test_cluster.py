"""Runs and crews on a local Dask cluster of two workers: what comes out is what processes of one machine give."""

import os
import re
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from test_bench import FAST, is_running, lines_of, misbehaving, start_bench, steady, wait_until, write
from test_sddp_parallel import longer

import orl
from orl import cli, cluster
from orl.benchmark import places, run_log, suite
from orl.crew import Crew
from orl.scenario import generator
from orl.solvers.sddp import parallel
from orl.solvers.sddp.train import Sddp, train

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="asks /proc")


@pytest.fixture(scope="module")
def two():
    """A scheduler and two workers of a thread each, which are started again when they die; a run may kill one."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1, "distributed.admin.log-length": 100}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0, silence_logs=50
        ) as made,
    ):
        yield made


@pytest.fixture
def scheduler(two):
    two.wait_for_workers(2, timeout=60)
    return two.scheduler_address


def pids(address):
    with distributed.Client(address) as client:
        return list(client.run(os.getpid).values())


# Runs ---------------------------------------------------------------------------------------------------------------


def suite_in(folder):
    """A suite with packaged instances, a file beside it, chance, a rule and a slow method of a user's module."""
    orl.save(orl.load("jobshop/la04"), folder / "mine.txt")
    text = """\
    scenarios = 5
    time_limit = 5
    [[runs]]
    name = "rules"
    instances = ["jobshop/ft06", "mine.txt"]
    sweep.breakdowns.probability = [0, 0.02]
    solvers = ["spt"]
    [[runs]]
    name = "mine"
    instances = ["jobshop/ft06", "jobshop/la0[1-2]", "mine.txt"]
    solvers = [{ solver = "bench_solvers:QUICK", settings.seconds = 0.3 }, "mwr"]
    """
    return write(folder, text)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The rows of that suite from processes of this machine."""
    folder = tmp_path_factory.mktemp("local")
    rows = orl.run_bench(suite_in(folder), folder / "out", jobs=2)
    assert len(rows) == 12 and all(row["verified"] for row in rows)
    return steady(rows)


def test_rows_of_processes_and_of_a_cluster_are_the_same(scheduler, local, tmp_path):
    """Resumed, nothing runs again; when a batch is over, none of its processes is left."""
    path, out = suite_in(tmp_path), tmp_path / "out"
    assert steady(orl.run_bench(path, out, scheduler=scheduler)) == local
    before = lines_of(out)
    assert steady(orl.run_bench(path, out, scheduler=scheduler, resume=True)) == local
    assert lines_of(out) == before
    wait_until(lambda: not any(children_of(pid) for pid in pids(scheduler)))


def children_of(pid):
    """Return the children that hold runs, of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"orl.benchmark.child" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def test_a_worker_killed_midway_changes_no_row(scheduler, local, tmp_path):
    """Its run is made again; what was done is not."""
    path, out, victim = suite_in(tmp_path), tmp_path / "out", pids(scheduler)[0]

    def kill():
        wait_until(lambda: (out / "runs.jsonl").exists() and len(run_log.read_rows(out)) >= 4, 60)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    rows = orl.run_bench(path, out, scheduler=scheduler)
    killer.join()
    assert not is_running(victim)
    assert steady(rows) == local
    assert len({row["key"] for row in lines_of(out)}) == len(lines_of(out)) == 12


def test_a_run_that_kills_its_workers_is_a_row_that_says_so(scheduler, tmp_path):
    rows = orl.run_bench(write(tmp_path, misbehaving("KILLER", "QUICK")), tmp_path / "out", scheduler=scheduler)
    assert [row["status"] for row in rows] == ["crashed", "feasible"]
    assert "the executor lost the run: KilledWorker" in rows[0]["message"]


def test_ctrl_c_ends_what_is_at_work_there_and_keeps_the_rows(scheduler, tmp_path):
    text = misbehaving("QUICK", "STUBBORN", "CHATTY", time_limit=100)
    path, out = write(tmp_path, text), tmp_path / "out"
    run = start_bench(path, "--out", out, "--scheduler", scheduler)
    wait_until(lambda: (out / "runs.jsonl").exists() and len(run_log.read_rows(out)) == 2, 90)
    held = [child for pid in pids(scheduler) for child in children_of(pid)]
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=30)
    assert run.returncode == 130, error
    assert f"go on with: orl bench {path} --out {out} --scheduler {scheduler} --resume" in error
    assert "Traceback" not in error
    assert len(lines_of(out)) == 2
    assert held
    wait_until(lambda: not any(map(is_running, held)))


class Forgetful(ThreadPoolExecutor):
    """Drops what it is given, as the client of a scheduler does that is gone."""

    def submit(self, *_):
        future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_a_scheduler_that_is_gone_is_an_error_that_says_how_to_go_on(tmp_path):
    with Forgetful(1) as executor, pytest.raises(orl.InputError, match=r"the executor broke: .* go on with resume"):
        orl.run_bench(write(tmp_path, FAST), tmp_path / "out", executor=executor)


# What a cluster must have -------------------------------------------------------------------------------------------


def refused(path, address, capsys, *arguments):
    started = time.monotonic()
    assert cli.main(["bench", str(path), "--out", str(path.parent / "out"), "--scheduler", address, *arguments]) == 2
    assert time.monotonic() - started < 10
    assert not (path.parent / "out").exists()
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err


def test_no_scheduler_is_one_line_and_code_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1.0)
    path = write(tmp_path, FAST)
    for address in ("tcp://127.0.0.1:9", "nonsense", "foo://127.0.0.1:9"):
        assert f"there is no scheduler at '{address}'" in refused(path, address, capsys)
    assert "expected the address of a scheduler" in refused(path, "", capsys)
    with pytest.raises(SystemExit):
        cli.main(["bench", str(path), "--scheduler", "tcp://127.0.0.1:9", "--jobs", "2"])
    assert "not allowed with argument" in capsys.readouterr().err
    with pytest.raises(orl.InputError, match="takes the place of an executor and of jobs"):
        orl.run_bench(path, tmp_path / "out", jobs=2, scheduler="tcp://127.0.0.1:9")


def test_a_missing_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "install the extra [cluster]" in refused(write(tmp_path, FAST), "tcp://127.0.0.1:9", capsys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": "0", "commit": "abc"}, r"has other sources of ORL: .* \(commit abc\) as here"),
        ({"numpy": "0.1"}, r"has numpy \d.*, unlike 0.1 here"),
        ({"torch": None}, r"has torch \d.*, unlike none here"),
        ({"new": "1"}, r"has new not at all, unlike 1 here"),
    ],
)
def test_others_must_have_our_sources_and_versions(change, message):
    ours = {**cluster.identity(), **change}
    assert re.match(message, cluster.difference({key: value for key, value in ours.items() if value is not None}))


def test_an_unlike_worker_is_refused_before_anything_runs(scheduler, tmp_path, capsys, monkeypatch):
    theirs = cluster.identity()  # also the scheduler's, which is in this process
    monkeypatch.setattr(cluster, "identity", lambda: {**theirs, "numba": "0.1"})
    error = refused(write(tmp_path, FAST), scheduler, capsys)
    assert "the worker at tcp://" in error and ", unlike 0.1 here; make them equal." in error


def test_what_the_users_own_is_must_be_there(tmp_path, scheduler):
    """Instances, modules and programs are compared by their bytes, by each worker."""
    path, script = suite_in(tmp_path), write(tmp_path, "#!/bin/sh\n", "peer.sh")
    script.chmod(0o755)
    path.write_text(path.read_text().replace('"mwr"', '{ command = "./peer.sh {solution}" }'))
    needs = places.needs_of(suite.read_suite(path).runs)
    assert needs.lacking() == ""
    assert list(needs.modules) == ["bench_solvers"] and needs.programs == (str(script),)
    (tmp_path / "mine.txt").write_text("2 2\n0 1 1 1\n0 1 1 1\n")
    assert needs.lacking() == f"has another {tmp_path / 'mine.txt'} than is here."
    with (
        distributed.Client(scheduler) as client,
        pytest.raises(orl.InputError, match=r"the worker at tcp://.* has another .*mine.txt than is here"),
    ):
        cluster.check_workers(client, places.Needs.lacking, needs)
    (tmp_path / "mine.txt").unlink()
    assert "mine.txt; instances must be there at the same path" in needs.lacking()
    assert "finds no module gone" in places.Needs("", {}, {"gone": "0"}, ()).lacking()
    assert "another module bench_solvers" in places.Needs("", {}, {"bench_solvers": "0"}, ()).lacking()
    assert "has no program" in places.Needs("", {}, {}, (str(tmp_path / "none"),)).lacking()


def test_a_worker_that_comes_later_is_looked_at_as_well(tmp_path, monkeypatch):
    """Its answer ends the batch, for it would spoil every run that it is given."""
    run = suite.read_suite(write(tmp_path, FAST)).runs[0]
    like, none = cluster.identity(), places.needs_of([])

    class Worker:
        address = "tcp://10.0.0.7:1"

    monkeypatch.setattr(distributed, "get_worker", Worker)
    with pytest.raises(orl.InputError, match=r"the worker at tcp://10.0.0.7:1 has numpy .* make them equal"):
        places.execute_there(run, "batch", none, {**like, "numpy": "0.1"})


# Crews --------------------------------------------------------------------------------------------------------------


def trained_on(scheduler):
    made, rngs = Sddp(longer()), [generator(0, "train", number) for number in range(2)]
    with parallel.Crew(made, rngs, scheduler) as crew:
        log = train(made, rngs[0], lambda log: made.iterations >= 20, time.perf_counter, iterate=crew.iterate)
    return made.to_dict(), [line[:3] for line in log]


def test_sddp_learns_on_a_cluster_what_it_learns_in_processes(scheduler):
    assert trained_on(scheduler) == trained_on(None)


RECIPE = """\
method = "ts-ddr"
problem = "hydrothermal"
sizes = [{ instance = "hydrothermal/case3" }]
validation = [{ instance = "hydrothermal/case3" }]
validation_instances = 1
validate_every = 2
[training]
width = 4
paths = 2
iterations = 2
"""


@pytest.mark.slow
def test_a_recipe_trains_on_a_cluster_what_it_trains_here(scheduler, tmp_path):
    """In one process, and in two of which one is a worker: the same weights, to the bit."""
    path = write(tmp_path, RECIPE, "rule.toml")
    here = orl.train(path, tmp_path / "here")
    two = ["--set", "training.processes=2", "--scheduler", scheduler]
    assert cli.main(["train", str(path), "--out", str(tmp_path / "there"), *two]) == 0
    weights = [sorted((folder / "best").glob("*.safetensors")) for folder in (here, tmp_path / "there")]
    assert weights[0] and [one.read_bytes() for one in weights[0]] == [one.read_bytes() for one in weights[1]]


def test_a_scheduler_without_use_is_refused(tmp_path, capsys):
    path, there = write(tmp_path, RECIPE, "rule.toml"), ["--scheduler", "tcp://127.0.0.1:9"]
    for arguments in (["train", str(path), "--out", str(tmp_path / "out")], ["solve", "jobshop/ft06"]):
        assert cli.main([*arguments, *there]) == 2
        assert "runs in one process and has no use for a scheduler" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def wrong(question):
    raise orl.InputError(f"no idea of {question}")


def slow(question):
    time.sleep(question)
    return os.getpid()


def test_a_members_error_and_the_loss_of_its_worker_are_told(scheduler):
    with Crew([abs, wrong], "test", scheduler) as crew, pytest.raises(orl.InputError, match="no idea of 3"):
        crew.ask([1, 3])
    with pytest.raises(orl.InputError, match=r"takes a worker for each but the first, .* has 2"):
        Crew([abs] * 4, "test", scheduler).__enter__()
    with Crew([slow, slow, abs], "test", scheduler) as crew:
        here, there, _ = crew.ask([0, 0, -1])
        assert here == os.getpid() and there in pids(scheduler)
        threading.Timer(0.5, os.kill, (there, signal.SIGKILL)).start()
        with pytest.raises(RuntimeError, match=r"process 1 of test is gone \(worker tcp"):
            crew.ask([0, 60, -1])
