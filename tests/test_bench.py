"""The benchmark runner: no run brings it down, no kill costs a complete row, and its tables say what the rows say."""

import json
import multiprocessing
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

import orl
from orl import cli
from orl.benchmark import batch, run_log, suite, tables
from orl.benchmark.measure import FAILURES

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
FAST = """\
[[runs]]
name = "rules"
instances = ["jobshop/ft06", "jobshop/la0[1-3]"]
solvers = ["spt", "mwr"]
"""
UNSTEADY = ("started", "wall_seconds", "seconds", "peak_memory_mb", "trace")


def write(folder, text, name="suite.toml"):
    path = folder / name
    path.write_text(text)
    return path


def misbehaving(*names, **settings):
    lines = [f"{key} = {value}" for key, value in {"time_limit": 2, **settings}.items()]
    solvers = ", ".join(f'"bench_solvers:{name}"' for name in names)
    return "\n".join([*lines, "[[runs]]", 'instances = ["jobshop/ft06"]', f"solvers = [{solvers}]"])


def steady(rows):
    return [{key: value for key, value in row.items() if key not in UNSTEADY} for row in rows]


def lines_of(folder):
    return [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]


def is_running(pid):
    """Tell whether a process lives; a zombie that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def start_bench(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    command = [sys.executable, ROOT / "run.py", "bench", *map(str, arguments)]

    def heed_ctrl_c():  # a shell's background jobs ignore it, and so would their children
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_ctrl_c
    )


# Rows ---------------------------------------------------------------------------------------------------------------


def test_a_suite_becomes_verified_rows_and_tables(tmp_path, capsys):
    """Each run is a line with value, bound, gaps, costs, times, memory, versions and key; the tables follow from it."""
    path = write(tmp_path, FAST.replace("[1-3]", "[1-4]"))
    assert cli.main(["bench", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "10 runs, 0 without a verified solution" in capsys.readouterr().out
    rows = lines_of(tmp_path / "out")
    assert len({row["key"] for row in rows}) == len(rows) == 10
    first = rows[0]
    assert (first["instance"], first["label"], first["value"], first["bound"]) == ("jobshop/ft06", "spt", 88, 52)
    assert first["bound_kind"] == "proven"
    assert first["gap"] == pytest.approx(36 / 88)
    assert first["gap_best_known"] == pytest.approx(0.6)
    assert first["costs"] == [88]
    assert first["verified"]
    assert first["seconds"] < 0.5  # warmed up: neither imports nor compilation
    if sys.platform == "linux":
        assert 50 < first["peak_memory_mb"] < 4000
    assert {"orl", "python", "numpy"} <= set(first["versions"])
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {
        "runs.jsonl", "runs.csv", "summary.csv", "summary.md", "profiles.png", "suite.toml", "batch.json"
    }  # fmt: skip
    assert "| mwr " in (tmp_path / "out" / "summary.md").read_text()


def test_a_run_that_dies_is_a_row_that_says_how(tmp_path):
    """Segfault, exit, kill, lack of memory, an exception, no end: each one row, and the runs after it are made."""
    names = ("SEGFAULT", "LEAVE", "SHOT", "GREEDY", "WRONG", "STUBBORN", "CHATTY", "QUICK")
    path = write(tmp_path, misbehaving(*names, kill_factor=1, kill_grace=3, memory_limit_gb=2))
    rows = {row["label"].partition(":")[2]: row for row in orl.run_bench(path, tmp_path / "out")}
    assert {name: row["status"] for name, row in rows.items()} == {
        "SEGFAULT": "crashed",
        "LEAVE": "crashed",
        "SHOT": "killed",
        "GREEDY": "out-of-memory",
        "WRONG": "failed",
        "STUBBORN": "timed-out",
        "CHATTY": "feasible",
        "QUICK": "feasible",
    }
    assert "SIGSEGV" in rows["SEGFAULT"]["message"]
    assert "Segmentation fault" in rows["SEGFAULT"]["message"]
    assert "exit code 3" in rows["LEAVE"]["message"]
    assert rows["WRONG"]["message"].startswith("ValueError: no idea (bench_solvers.py:")
    assert "killed after 5 s" in rows["STUBBORN"]["message"]
    assert [name for name, row in rows.items() if row["verified"]] == ["CHATTY", "QUICK"]
    assert {set(row) == set(rows["QUICK"]) or name for name, row in rows.items()} <= {True, *names}
    assert "timed-out" in (tmp_path / "out" / "summary.md").read_text()


def test_exit_code_1_where_a_row_is_not_verified(tmp_path, monkeypatch):
    path = write(tmp_path, misbehaving("WRONG"))
    assert cli.main(["bench", str(path), "--out", str(tmp_path / "out")]) == 1


def test_a_random_instance_pairs_scenarios_and_a_hindsight_model_stands_apart(tmp_path):
    """Rules meet the same scenarios; cp-sat, which knows them, is marked and competes with nobody."""
    text = """\
    scenarios = 6
    time_limit = 3
    [[runs]]
    name = "shop"
    instances = ["jobshop/ft06"]
    sweep.breakdowns.probability = [0, 0.02]
    solvers = ["spt", "mwr", "cp-sat"]
    """
    rows = orl.run_bench(write(tmp_path, text), tmp_path / "out")
    assert [(row["table"], row["scenarios"], row["clairvoyant"]) for row in rows] == [
        ("shop, breakdowns.probability=0", 1, False),
        ("shop, breakdowns.probability=0", 1, False),
        ("shop, breakdowns.probability=0", 1, False),
        ("shop, breakdowns.probability=0.02", 6, False),
        ("shop, breakdowns.probability=0.02", 6, False),
        ("shop, breakdowns.probability=0.02", 6, True),
    ]
    spt, mwr, _ = lines = tables.summarise(rows[3:])
    assert [line.method for line in lines] == ["spt", "mwr", "cp-sat"]
    assert lines[2].difference is None
    assert spt.gap_hindsight > 0
    assert spt.gap_proven is None
    worse = spt if mwr.is_reference else mwr
    assert sum(worse.score) == 6
    assert worse.difference.low <= worse.difference.mean <= worse.difference.high


# Commands -----------------------------------------------------------------------------------------------------------

PEER = """\
#!{python}
import csv, json, sys, tomllib
# Takes the jobs one after another: a feasible schedule of any job shop.
text = open(sys.argv[1]).read()
if sys.argv[1].endswith(".toml"):
    data = tomllib.loads(text)
    assert data["options"]["buffers"] == "swap"
    jobs = [job["operations"] for job in data["jobs"]]
else:
    numbers = [list(map(int, line.split())) for line in text.splitlines() if line.strip() and line[0] != "#"]
    jobs = [list(zip(line[::2], line[1::2])) for line in numbers[1:]]
rows, now = [], 0
for job, ops in enumerate(jobs):
    for position, (machine, duration) in enumerate(ops):
        rows.append(dict(job=job, operation=position, machine=machine, start=now, end=now + duration))
        now += duration
print("this peer is slow;", sys.argv[3], file=sys.stderr)
if "lie" in sys.argv:
    rows[3]["start"] -= 1
if "json" in sys.argv:
    json.dump(rows, open(sys.argv[2], "w"))
else:
    writer = csv.DictWriter(open(sys.argv[2], "w"), list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
if "fail" in sys.argv:
    sys.exit(4)
"""


@pytest.fixture
def peer(tmp_path):
    path = tmp_path / "peer.py"
    path.write_text(PEER.replace("{python}", sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def of_commands(*commands, settings="", **options):
    lines = [f"{key} = {value}" for key, value in {"time_limit": 5, **options}.items()]
    entries = ", ".join(f'{{ command = "{text}", label = "{number}" }}' for number, text in enumerate(commands))
    return "\n".join(
        [*lines, "[[runs]]", 'instances = ["jobshop/ft06"]', f"settings = {{ {settings} }}", f"solvers = [{entries}]"]
    )


def test_a_users_command_is_verified_like_ours(tmp_path, peer):
    """Instance in, CSV or JSON out; what it writes to stderr is kept; a lie, a failure, silence are rows."""
    base = "./peer.py {instance} {solution} {seed}"
    commands = (base, f"{base} json", f"{base} lie", f"{base} fail", "true {solution}", f"{base} '; touch x'")
    rows = orl.run_bench(write(tmp_path, of_commands(*commands, seeds=[7])), tmp_path / "out")
    work = int(orl.load("jobshop/ft06").op_duration.sum())
    assert [(row["status"], row["value"], row["verified"]) for row in rows] == [
        ("feasible", work, True),
        ("feasible", work, True),
        ("feasible", work, False),
        ("failed", None, False),
        ("no-solution", None, False),
        ("feasible", work, True),
    ]
    assert rows[0]["message"] == "this peer is slow; 7"
    assert rows[0]["gap_best_known"] == pytest.approx(work / 55 - 1)
    assert rows[2]["violations"]
    assert rows[3]["message"] == "exit code 4. this peer is slow; 7"
    assert not (tmp_path / "x").exists()


def test_a_command_reads_the_settings_in_the_instance(tmp_path, peer):
    """What the text format cannot hold is written as the family's .toml."""
    text = of_commands("./peer.py {instance} {solution} x", settings='buffers = "swap"')
    row = orl.run_bench(write(tmp_path, text), tmp_path / "out")[0]
    assert (row["verified"], row["settings"]["buffers"]) == (True, "swap")


def test_a_command_out_of_time_dies_with_all_that_it_started(tmp_path):
    """A time-out kills the command, its children, and nothing else."""
    script = write(tmp_path, "#!/bin/sh\nsleep 1000 &\necho $! > pids\necho $$ >> pids\nwait\n", "slow.sh")
    script.chmod(0o755)
    text = of_commands("./slow.sh {instance} {solution}", time_limit=0.5, kill_factor=1, kill_grace=3)
    rows = orl.run_bench(write(tmp_path, text), tmp_path / "out")
    assert rows[0]["status"] == "timed-out"
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_running, pids)))


# Bad suites ---------------------------------------------------------------------------------------------------------

ONE = '[[runs]]\ninstances = ["jobshop/ft06"]\n'
BAD = [
    ("", "suite.toml: object missing required field `runs`"),
    ("runs = []", "suite.toml: expected tables [[runs]]"),
    ("x = [", "suite.toml: expected TOML"),
    ("x = 1\n= 2", "suite.toml, line 2: expected TOML"),
    ("sedes = [1]\n" + FAST, "suite.toml: unknown setting 'sedes'; did you mean seeds?"),
    ("seeds = [1, 1]\n" + FAST, "suite.toml: seeds must be one or more different numbers"),
    ("time_limit = -3\n" + FAST, "suite.toml: time_limit must be > 0, got -3"),
    ("time_limit = inf\n" + FAST, "suite.toml: time_limit must be > 0, got inf"),
    ("scenarios = 0\n" + FAST, "suite.toml: scenarios must be in 1..1000000, got 0"),
    ('purpose = "fun"\n' + FAST, "suite.toml: setting purpose: "),
    ('reference = "mwx"\n' + FAST, "suite.toml: unknown reference 'mwx'; did you mean mwr?"),
    (FAST.replace("solvers", "solver"), "suite.toml, runs[0]: unknown setting 'solver'; did you mean solvers?"),
    (ONE + "solvers = []", "suite.toml, runs[0]: solvers must name one or more"),
    (ONE + "solvers = [3]", "suite.toml, runs[0].solvers[0]: expected a name or a table, got 3"),
    (ONE + 'solvers = ["spt", "spx"]', "suite.toml, runs[0].solvers[1]: unknown solver 'spx'; did you mean spt?"),
    (ONE + 'solvers = ["spt", "spt"]', "runs[0].solvers[1]: label 'spt' is used twice"),
    (ONE + 'solvers = ["nowhere:X"]', "runs[0].solvers[0]: nowhere:X: there is no module 'nowhere'"),
    (ONE + "solvers = [{}]", "runs[0].solvers[0]: expected either solver or command"),
    (ONE + 'solvers = [{ solver = "spt", settings = { runs = 3 } }]', "setting 'runs' belongs neither to jobshop nor"),
    (ONE + 'solvers = [{ solver = "best-of", settings = { runs = "x" } }]', "solvers[0]: best-of: setting runs"),
    (ONE + 'settings = { buffer = 1 }\nsolvers = ["spt"]', "runs[0]: setting 'buffer' belongs neither"),
    (ONE + 'settings = { buffers = 1 }\nsolvers = ["spt"]', "runs[0], jobshop/ft06: jobshop: setting buffers"),
    (ONE + 'settings.breakdowns.probability = 2\nsolvers = ["spt"]', "breakdowns.probability must be >= 0 and below 1"),
    (ONE + 'sweep.buffers = "swap"\nsolvers = ["spt"]', "runs[0].sweep.buffers: expected a list of values"),
    (ONE + 'sweep.runs = [1]\nsettings.runs = 3\nsolvers = ["best-of"]', "sweep.runs: is both set and swept"),
    (ONE + 'settings.breakdowns.probability = 0.1\nsolvers = ["best-of"]', "best-of is for instances in which nothing"),
    (ONE + 'problem = "jobshpo"\nsolvers = ["spt"]', "did you mean jobshop?"),
    (ONE + 'solvers = [{ command = "./none {solution}" }]', "there is no program './none' that can be run"),
    (ONE + 'solvers = [{ command = "\'" }]', 'runs[0].solvers[0]: command "\'": No closing quotation'),
    (ONE + 'solvers = [{ command = "true {instance}" }]', "command: expected {solution}"),
    (ONE + 'solvers = [{ command = "true {solution} {x}" }]', "command: unknown placeholder {x}"),
    (ONE + 'solvers = ["spt"]\n' + ONE + 'solvers = ["spt"]', "spt on jobshop/ft06, seed 0, is listed twice"),
    (FAST.replace("ft06", "ft0x"), "runs[0].instances[0]: there is no instance 'jobshop/ft0x'; did you mean"),
    (FAST.replace("[1-3]", "[x]"), "runs[0].instances[1]: there is no instance 'jobshop/la0[x]'; no file and no"),
    ('[[runs]]\ninstances = ["broken.txt"]\nsolvers = ["spt"]', "broken.txt, line 2"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_suite_is_one_clear_line_and_code_2_before_anything_runs(text, message, tmp_path, capsys):
    write(tmp_path, "2 2\n0 1 1\n", "broken.txt")
    path = write(tmp_path, text)
    assert cli.main(["bench", str(path), "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert not (tmp_path / "out").exists()


def test_other_mistakes_are_one_line_too(tmp_path, capsys):
    path = write(tmp_path, FAST)
    for arguments, message in (
        (["smoky"], "no file and no suite 'smoky'; did you mean smoke?"),
        ([str(tmp_path / "none.toml")], "there is no such file"),
        ([str(path), "--jobs", "0"], "1 job or more"),
        ([str(path), "--out", str(path)], "cannot be written"),
    ):
        assert cli.main(["bench", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_settings_go_to_whom_they_belong(tmp_path):
    """A block's setting reaches the instance and every method that knows it; an entry's is its own."""
    text = """\
    seeds = [3, 4]
    [[runs]]
    instances = ["jobshop/la0[12]"]
    settings = { runs = 7, breakdowns = { repair = "fixed 3" } }
    sweep.epsilon = [0.1, 0.2]
    solvers = ["spt", { solver = "best-of", settings = { rule = "mwr" } },
               { solver = "mwr", settings = { dispatch = "active" } }]
    """
    path = write(tmp_path, text.replace("epsilon = [0.1, 0.2]", "epsilon = [0.1]"))
    runs = suite.read_suite(path).runs
    assert len(runs) == 2 * 3 * 2
    assert [run.label for run in runs[:6:2]] == ["spt", "best-of rule=mwr", "mwr dispatch=active"]
    assert [run.seed for run in runs[:2]] == [3, 4]
    assert dict(runs[0].options) == {}
    assert dict(runs[2].options) == {"runs": 7, "epsilon": 0.1, "rule": "mwr"}
    assert runs[4].settings == {"breakdowns": {"repair": "fixed 3"}, "dispatch": "active"}
    with pytest.raises(orl.InputError, match="spt on jobshop/la01, seed 3, is listed twice"):
        suite.read_suite(write(tmp_path, text))  # what is swept is nothing to a rule


def test_instances_beside_the_suite_come_before_packaged_ones(tmp_path):
    """A pattern means files relative to the suite, else packaged names; the file's bytes belong to the key."""
    (tmp_path / "mine").mkdir()
    for name in ("b", "a"):
        orl.save(orl.load("jobshop/ft06"), tmp_path / "mine" / f"{name}.txt")
    path = write(tmp_path, '[[runs]]\ninstances = ["mine/*.txt"]\nsolvers = ["spt"]')
    before = suite.read_suite(path).runs
    assert [run.instance for run in before] == ["mine/a.txt", "mine/b.txt"]
    orl.save(orl.load("jobshop/la01"), tmp_path / "mine" / "a.txt")
    after = suite.read_suite(path).runs
    assert [a.key == b.key for a, b in zip(before, after, strict=True)] == [False, True]


def test_packaged_suites_can_be_read_and_listed(capsys):
    """All are checked in full; the long ones are not run here."""
    assert cli.main(["list", "suites"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"smoke", "jobshop-rules", "jobshop-exact"} <= set(listed)
    for name in listed:
        assert suite.read_suite(name).name == name
    assert cli.main(["bench", "smoke", "--list", "--jobs", "2"]) == 0
    out = capsys.readouterr().out
    assert "breakdowns, breakdowns.probability=0.02: mwr on jobshop/ft06, seed 0, 20 scenarios, 3 s" in out
    assert "at most with 2 at a time" in out


# Executors, resumption, interruption --------------------------------------------------------------------------------


def test_an_executor_of_threads_or_processes_gives_the_same_rows(tmp_path):
    """Where a run is made does not show in its row."""
    path = write(tmp_path, FAST)
    rows = [orl.run_bench(path, tmp_path / "own", jobs=2)]
    with ThreadPoolExecutor(2) as threads:
        rows.append(orl.run_bench(path, tmp_path / "threads", executor=threads))
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        rows.append(orl.run_bench(path, tmp_path / "processes", executor=processes))
    assert steady(rows[0]) == steady(rows[1]) == steady(rows[2])


def test_a_folder_with_runs_is_resumed_or_refused(tmp_path):
    """What is complete is not repeated, a half line is cut off, runs that the suite no longer has do not count."""
    path, out = write(tmp_path, FAST), tmp_path / "out"
    orl.run_bench(path, out)
    with pytest.raises(orl.InputError, match="holds 8 runs; go on with --resume"):
        orl.run_bench(path, out)
    whole = (out / "runs.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    (out / "runs.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:40])
    assert len(run_log.read_rows(out)) == 5
    rows = orl.run_bench(path, out, resume=True)
    assert len(rows) == 8
    after = (out / "runs.jsonl").read_bytes()
    assert after.startswith(b"".join(lines[:5]))
    assert len({row["key"] for row in lines_of(out)}) == len(lines_of(out)) == 8
    write(tmp_path, FAST.replace('"mwr"', '"lpt"').replace('"rules"', '"other"'))
    rows = orl.run_bench(path, out, resume=True)
    assert [row["label"] for row in rows] == ["spt", "lpt"] * 4
    assert {row["table"] for row in rows} == {"other"}
    assert len(lines_of(out)) == 12
    (out / "runs.jsonl").write_bytes(lines[0] + b"nonsense\n")
    with pytest.raises(orl.InputError, match=r"runs.jsonl, line 2: expected the row of a run"):
        orl.run_bench(path, out, resume=True)


def test_two_batches_do_not_write_to_one_folder(tmp_path):
    path = write(tmp_path, misbehaving("STUBBORN", time_limit=100))
    first = start_bench(path, "--out", tmp_path / "out")
    try:
        wait_until(lambda: (tmp_path / "out" / "suite.toml").exists())
        second = start_bench(path, "--out", tmp_path / "out", "--resume")
        assert "another batch is writing" in second.communicate(timeout=60)[1]
        assert second.returncode == 2
    finally:
        first.kill()
        first.communicate()


def test_a_killed_batch_loses_no_complete_row_repeats_none_and_leaves_no_process(tmp_path):
    """Three kills at random moments, then a resumption: every run once."""
    text = "".join(
        f'[[runs]]\nname = "{i}"\ninstances = ["jobshop/la*"]\nseeds = [{i}]\nsolvers = ["spt", "mwr"]\n'
        for i in range(3)
    )
    path, out, seen = write(tmp_path, text), tmp_path / "out", []
    rng = random.Random(0)
    for _ in range(3):
        run = start_bench(path, "--out", out, "--resume", "--jobs", "2")
        held = len(seen)
        wait_until(lambda held=held: (out / "runs.jsonl").exists() and len(run_log.read_rows(out)) > held, 60)
        time.sleep(rng.uniform(0, 0.3))
        run.kill()
        run.communicate()
        rows = run_log.read_rows(out)
        assert rows[: len(seen)] == seen
        seen = rows
    assert len(seen) < 240
    rows = orl.run_bench(path, out, resume=True, jobs=2)
    logged = lines_of(out)
    assert logged[: len(seen)] == seen
    assert len({row["key"] for row in logged}) == len(logged) == len(rows) == 240
    assert all(row["verified"] for row in rows)


def test_kill_9_of_the_batch_kills_a_child_that_holds_the_lock_and_what_it_started(tmp_path):
    file = tmp_path / "pids"
    text = misbehaving("STUBBORN", time_limit=100).replace(
        '"bench_solvers:STUBBORN"', f'{{ solver = "bench_solvers:STUBBORN", settings = {{ file = "{file}" }} }}'
    )
    run = start_bench(write(tmp_path, text), "--out", tmp_path / "out")
    wait_until(lambda: file.exists() and len(file.read_text().split()) == 2, 60)
    pids = file.read_text().split()
    assert all(map(is_running, pids))
    run.kill()
    run.communicate()
    wait_until(lambda: not any(map(is_running, pids)))


def test_ctrl_c_leaves_a_usable_folder_and_says_how_to_go_on(tmp_path):
    text = misbehaving("QUICK", "STUBBORN", time_limit=100)
    path, out = write(tmp_path, text), tmp_path / "out"
    run = start_bench(path, "--out", out)
    wait_until(lambda: (out / "runs.jsonl").exists() and run_log.read_rows(out), 60)
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=30)
    assert run.returncode == 130, error
    assert f"go on with: orl bench {path} --out {out} --resume" in error
    assert "Traceback" not in error
    assert len(lines_of(out)) == 1
    assert "1 of 2 runs are missing" in (out / "summary.md").read_text()


def test_a_child_that_died_between_runs_is_replaced(tmp_path):
    """Whoever kills an idle child costs no run."""
    from orl.benchmark.worker import Worker

    run = suite.read_suite(write(tmp_path, FAST)).runs[0]
    worker = Worker()
    assert worker.execute(run)["verified"]
    os.killpg(worker._process.pid, signal.SIGKILL)
    worker._process.wait()
    assert worker.execute(run)["verified"]
    worker.close()


def test_the_estimate_of_what_remains_learns_from_what_was_measured(tmp_path):
    """A method that has not run yet is taken to need its time limit, others their mean so far."""
    runs = suite.read_suite(write(tmp_path, "time_limit = 10\n" + FAST)).runs
    progress = batch.Progress(runs, runs, [], 2, False)
    assert progress.seconds_left == 8 * 10 / 2
    progress.note(runs[0], {"key": runs[0].key, "verified": True, "wall_seconds": 0.5})
    assert progress.seconds_left == (3 * 0.5 + 4 * 10) / 2
    progress.note(runs[1], {"key": runs[1].key, "verified": True, "wall_seconds": 2.0})
    assert progress.seconds_left == (3 * 0.5 + 3 * 2.0) / 2


def test_an_executor_that_breaks_ends_the_batch_and_what_was_done_stays(tmp_path):
    class Breaking(ThreadPoolExecutor):
        def submit(self, function, run, batch):
            if run.label == "mwr":
                raise RuntimeError("no more")
            return super().submit(function, run, batch)

    with Breaking(1) as executor, pytest.raises(RuntimeError, match="no more"):
        orl.run_bench(write(tmp_path, FAST), tmp_path / "out", executor=executor)
    assert threading.active_count() < 20


def test_statuses_of_failures_are_explained():
    assert not set(FAILURES) & set(orl.Status)
