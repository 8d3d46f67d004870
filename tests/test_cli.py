"""The command line as a user meets it: exit codes, JSON, files, interruption, speed of start."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orl import cli, files, load, plot, solve

ROOT = Path(__file__).resolve().parent.parent


def orl(*arguments, **options):
    return subprocess.run(
        [sys.executable, ROOT / "run.py", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def test_solve_prints_a_verified_schedule_with_bound_and_gap(capsys):
    assert cli.main(["solve", "jobshop/ft06", "--solver", "mwr"]) == 0
    printed = capsys.readouterr().out
    for words in ("value:                 61", "verified:              yes", "gap", "best known:            55"):
        assert words in printed


def test_json_is_alone_on_stdout_and_complete(capsys):
    assert cli.main(["solve", "jobshop/ft06", "--solver", "best-of", "--set", "runs=50", "--json"]) == 0
    out = capsys.readouterr().out
    data = json.loads(out)
    assert out.count("\n") == 1
    needed = "problem instance solver settings value bound bound_kind gap gap_best_known status interval scenarios"
    assert set(f"{needed} seconds seed verified versions".split()) <= set(data)
    assert data["settings"]["runs"] == 50
    assert data["interval"] is None


def test_out_and_check_agree(tmp_path, capsys):
    for name in ("plan.json", "plan.csv"):
        out = str(tmp_path / name)
        assert cli.main(["solve", "jobshop/ft06", "--solver", "spt", "--out", out]) == 0
        assert cli.main(["check", "jobshop/ft06", out]) == 0
        assert "verified: cost 88" in capsys.readouterr().out
    csv, result = tmp_path / "plan.csv", tmp_path / "plan.json"
    assert cli.main(["check", "jobshop/la01", str(csv)]) == 1
    assert "not feasible" in capsys.readouterr().out
    assert cli.main(["check", "jobshop/la01", str(result)]) == 2
    assert "is a solution of 'ft06', not of 'la01'" in capsys.readouterr().err
    result.write_text(result.read_text().replace('"value": 88', '"value": 87'))
    assert cli.main(["check", "jobshop/ft06", str(result)]) == 1
    assert "value: the file says 87, the verifier finds 88" in capsys.readouterr().out


def test_a_moved_operation_is_found(tmp_path, capsys):
    out = tmp_path / "plan.csv"
    assert cli.main(["solve", "jobshop/ft06", "--solver", "spt", "--out", str(out)]) == 0
    lines = out.read_text().splitlines()
    job, op, machine, start, end = lines[3].split(",")
    lines[3] = f"{job},{op},{machine},{int(start) - 1},{int(end) - 1}"
    out.write_text("\n".join(lines))
    capsys.readouterr()
    assert cli.main(["check", "jobshop/ft06", str(out), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["feasible"]
    assert {violation["kind"] for violation in report["violations"]} & {"overlap", "precedence"}


def test_compare_pairs_the_methods_and_sweeps(tmp_path, capsys):
    out = tmp_path / "table.csv"
    command = ["compare", "jobshop/ft06", "--solvers", "spt,mwr,best-of", "--sweep", "runs=1:21:2", "--out", str(out)]
    assert cli.main(command) == 0
    lines = out.read_text().splitlines()
    assert len(lines) == 1 + 2 * 3
    assert lines[0].startswith("runs,solver,value")
    assert cli.main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert min(row["difference"]["mean"] for row in rows) == 0
    assert {row["bound"] for row in rows} == {52}


def test_plot_draws_from_python_and_from_the_command_line(tmp_path, capsys):
    for name in ("a.png", "a.svg", "a.html"):
        assert cli.main(["solve", "jobshop/ft06", "--solver", "spt", "--plot", str(tmp_path / name)]) == 0
        assert (tmp_path / name).stat().st_size > 5000
    shop = load("jobshop/ft06")
    plot(shop, solve(shop, "spt").solutions[0], tmp_path / "b.svg", 52)
    assert (tmp_path / "b.svg").stat().st_size > 5000


BAD = [
    (["solve", "jobshop/ft99"], "no file and no instance 'jobshop/ft99'"),
    (["solve", "jobshop/ft06", "--solver", "spx"], "did you mean spt?"),
    (["solve", "hydrothermal/case3", "--solver", "zzz"], "sddp, ppo, pdppo, ts-ddr, ts-ldr, rolling, myopic"),
    (["solve", "jobshop/ft06", "--solver", "nowhere:rule"], "no module 'nowhere'"),
    (["solve", "jobshop/ft06", "--solver", "math:pi"], "is not a rule but a float"),
    (["solve", "jobshop/ft06", "--problem", "jobshpo"], "did you mean jobshop?"),
    (["solve", "jobshop/ft06", "--set", "dispatch"], "--set expects key=value"),
    (["solve", "jobshop/ft06", "--set", "dispatch=lazy"], "expected non-delay or active, got 'lazy'"),
    (["solve", "jobshop/ft06", "--set", "dispath=active"], "did you mean dispatch?"),
    (["solve", "jobshop/ft06", "--set", "due_date_factor=x"], "due_date_factor: expected `float | null`, got `str`"),
    (["solve", "jobshop/ft06", "--solver", "spt", "--out", "plan.xls"], "expected a name ending in .json, .csv"),
    (["solve", "jobshop/ft06", "--solver", "spt", "--out", "/nowhere/plan.csv"], "there is no folder /nowhere"),
    (["solve", "jobshop/ft06", "--solver", "spt", "--plot", "plan.gif"], "expected a name ending in .png"),
    (["solve", "jobshop/ft06", "--solver", "spt", "--time-limit", "-1"], "must be > 0 seconds"),
    (["solve", "jobshop/ft06", "--solver", "spt", "--time-limit", "nan"], "must be > 0 seconds"),
    (["solve", "jobshop/ft06", "--solver", "spt", "--seed", "-1"], "the seed must be >= 0"),
    (["solve", "jobshop/ft06", "--solver", "spt", "--scenarios", "5"], "it has 1 scenario, not 5"),
    (["solve", "jobshop/ft06", "--solver", "spt", "--scenarios", "0"], "1 to 1000000 scenarios"),
    (["solve", "llmserving/poisson", "--solver", "fcfs", "--scenarios", str(2**63)], "1 to 1000000 scenarios"),
    (["solve", "."], "no family recognises"),
    (["compare", "jobshop/ft06", "--solvers", "spt,spt"], "expects different names"),
    (["compare", "jobshop/ft06", "--solvers", ","], "expects different names"),
    (["compare", "jobshop/ft06", "--solvers", "spt", "--sweep", "runs=1:2"], "--sweep expects key=a:b:n"),
    (
        ["compare", "jobshop/ft06", "--solvers", "spt", "--sweep", "runs=1:2:3"],
        "belongs neither to jobshop nor to solver spt",
    ),
    (["check", "jobshop/ft06", "nowhere.csv"], "nowhere.csv"),
    (
        ["solve", "lotsizing/15x5-a", "--solver", "exact", "--set", "start=none"],
        "belongs to both lotsizing and solver exact; set lotsizing.start or exact.start.",
    ),
    (["solve", "lotsizing/15x5-a", "--set", "lotsizing.strat=none"], "unknown setting 'strat'; did you mean start?"),
    (["solve", "lotsizing/15x5-a", "--solver", "exact", "--set", "exact.gpa=1"], "did you mean gap?"),
    (["solve", "lotsizing/15x5-a", "--solver", "exact", "--set", "exact=1"], "setting 'exact' belongs neither"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_clear_line_and_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if line.startswith("orl: ")]
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["solve", "jobshop/ft06", "--solver", "ppo", "--set", "checkpoint=" + "x" * 300],
        ["solve", "hydrothermal/case3", "--solver", "ts-ddr", "--set", "checkpoint=" + "x" * 300],
        ["solve", "jobshop/ft06", "--solver", "spt", "--set", "state=" + "x" * 300],
        ["report", "x" * 300],
        ["bench", "x" * 300],
        ["train", "x" * 300],
        ["solve", "jobshop/ft06", "--solver", "spt", "--out", "xxx\0.json"],
        ["bench", "smoke", "--out", "xxx\0"],
    ],
)
def test_a_path_that_cannot_be_looked_at_is_one_clear_line(arguments, capsys):
    """Whoever asks the system for it: a name too long, a folder that is shut."""
    assert cli.main(arguments) == cli.BAD_INPUT
    said = capsys.readouterr().err
    assert ["xxx" in line for line in said.splitlines() if line.startswith("orl: ")] == [True], said


def test_settings_of_neither_kind_are_refused_by_the_parser_too():
    assert orl("solve").returncode == 2
    assert orl("fly").returncode == 2


def test_a_users_rule_runs_from_the_command_line(tmp_path):
    """Five lines beside the user's files are a solver: a table runs in the kernel, a score step by step."""
    (tmp_path / "mine.py").write_text(
        "def table(instance):\n    return -instance.op_duration\n\n\n"
        "def score(observation):\n"
        "    import numpy as np\n"
        "    op = observation.arrays['candidate']\n"
        "    return -np.take_along_axis(observation.arrays['op_duration'], np.maximum(op, 0), axis=1)\n\n\n"
        "def wrong(shop):\n    return 1\n\n\n"
        "def short(instance):\n    return [1.0]\n\n\n"
        "def broken(instance):\n    return instance.wings\n"
    )
    values = []
    for name in ("table", "score"):
        run = orl("solve", "jobshop/ft10", "--solver", f"mine:{name}", "--json", cwd=tmp_path)
        values.append(json.loads(run.stdout)["value"])
    assert values == [1074, 1074]
    for name, message in (("wrong", "must take (instance)"), ("short", "must return 36"), ("broken", "'wings'")):
        run = orl("solve", "jobshop/ft06", "--solver", f"mine:{name}", cwd=tmp_path)
        assert run.returncode == 2, name
        assert message in run.stderr
        assert "Traceback" not in run.stderr


def test_help_and_list_load_nothing_heavy():
    for command in (["--help"], ["list"], ["list", "instances"], ["list", "rules"], ["list", "solvers"]):
        code = (
            "import sys\nfrom orl.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
            "heavy = 'numba pyomo torch ortools scipy matplotlib plotly highspy'.split()\n"
            "loaded = set(heavy) & set(sys.modules)\n"
            "sys.exit(f'loaded {loaded}' if loaded else 0)"
        )
        run = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr


def test_a_closed_pipe_is_no_error():
    run = subprocess.run(
        f"{sys.executable} {ROOT / 'run.py'} list instances | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.startswith("jobshop/abz5")
    assert run.stderr == ""


def test_a_closed_pipe_costs_no_file_and_a_lost_file_no_result(tmp_path):
    out = tmp_path / "plan.csv"
    command = f"{sys.executable} {ROOT / 'run.py'} solve jobshop/ft06 --solver spt --out {out} 2>/dev/null | true"
    subprocess.run(command, shell=True, check=True)
    assert len(out.read_text().splitlines()) == 37
    run = orl("solve", "jobshop/ft06", "--solver", "spt", "--json", "--out", str(tmp_path / ("x" * 300 + ".csv")))
    assert run.returncode == 2
    assert "Traceback" not in run.stderr


def test_ctrl_c_prints_the_best_so_far():
    """An interrupted run still gives a verified solution, and says that it was interrupted."""
    command = [sys.executable, ROOT / "run.py", "solve", "jobshop/ta41", "--json", "--solver", "best-of"]
    command += ["--set", "runs=100000000"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in run.stderr:
        if "best" in line:  # it has a solution by now
            break
    run.send_signal(signal.SIGINT)
    out, error = run.communicate(timeout=60)
    data = json.loads(out)
    assert run.returncode == 0, error
    assert data["status"] == "interrupted"
    assert data["verified"]


def interrupted_in_training(*more):
    """Return a run of sddp that has a bound by now, and was sent one Ctrl-C."""
    command = [sys.executable, ROOT / "run.py", "solve", "hydrothermal/case3", "--json", "--set", "iterations=1000000"]
    run = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    next(line for line in run.stderr if "bound" in line)
    run.send_signal(signal.SIGINT)
    return run


def test_ctrl_c_ends_training_and_the_policy_is_simulated(tmp_path):
    """The cuts of the policy are written, too."""
    cuts = tmp_path / "cuts.json"
    run = interrupted_in_training("--scenarios", "3", "--set", f"cuts={cuts}")
    out, error = run.communicate(timeout=60)
    data = json.loads(out)
    assert run.returncode == 0, error
    assert (data["status"], data["verified"], len(data["costs"])) == ("interrupted", True, 3)
    assert data["bound"] <= data["interval"][1]
    assert "the policy is simulated as it is by now" in error
    assert max(len(pools[0]["intercepts"]) for pools in json.loads(cuts.read_text())["nodes"] if pools) >= 1


def test_another_ctrl_c_ends_the_simulation():
    """What has been simulated is kept: of a million scenarios some are."""
    run = interrupted_in_training("--scenarios", "1000000")
    next(line for line in run.stderr if "simulated" in line)
    time.sleep(1.5)
    run.send_signal(signal.SIGINT)
    out, error = run.communicate(timeout=60)
    data = json.loads(out)
    assert run.returncode == 0, error
    assert (data["status"], data["verified"], data["scenarios"]) == ("interrupted", True, 1_000_000)
    assert 0 < len(data["costs"]) < 1_000_000


def test_a_third_ctrl_c_is_fatal(tmp_path):
    (tmp_path / "deaf.py").write_text(
        "import sys, time\n"
        "from orl.solver import Solver\n"
        "from orl.solver import NoSettings\n"
        "class Deaf:\n"
        "    clairvoyant = False\n"
        "    def __init__(self, control): self.control = control\n"
        "    def start(self, instances, rng): return None\n"
        "    def decide(self, observation, memory):\n"
        "        while True:\n"
        "            word = 'ignoring' if self.control.is_interrupted else 'deciding'\n"
        "            print(word, file=sys.stderr, flush=True); time.sleep(0.1)\n"
        "def make(task):\n"
        "    while not task.control.is_interrupted: print('making', file=sys.stderr, flush=True); time.sleep(0.1)\n"
        "    return Deaf(task.control)\n"
        "SOLVER = Solver('deaf', '', NoSettings, lambda problem: True, policy=make)\n"
    )
    command = [sys.executable, ROOT / "run.py", "solve", "jobshop/ft06", "--solver", "deaf:SOLVER"]

    def hears() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs inherit that Ctrl-C is ignored

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=hears, **pipes) as run:
        for word in ("making", "deciding", "ignoring"):  # each signal has been heard before the next is sent
            next(line for line in run.stderr if word in line)
            run.send_signal(signal.SIGINT)
        try:
            error = run.communicate(timeout=60)[1]
        finally:
            run.kill()
    assert run.returncode == 130
    assert "orl: interrupted." in error and "Traceback" not in error


def test_a_kill_during_out_leaves_no_half_file(tmp_path):
    """Whenever a writer is killed, the file holds the old or the new text, whole."""
    path = tmp_path / "plan.json"
    code = (
        "import sys; from orl.files import write_atomically\n"
        "print('go', flush=True)\n"
        "for i in range(10**9): write_atomically(sys.argv[1], str(i % 10) * 3_000_000)"
    )
    for attempt in range(8):
        run = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        run.stdout.readline()
        time.sleep(0.02 + 0.013 * attempt)
        run.kill()
        run.communicate()
        text = path.read_text() if path.exists() else ""
        assert len(text) in (0, 3_000_000)
        assert len(set(text)) <= 1


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "old.txt"
    path.write_text("old")
    with pytest.raises(TypeError):
        files.write_atomically(path, 3)
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["old.txt"]
