"""Suites: what is asked for is read, and what is wrong is told before anything runs."""

import pytest
from test_bench import FAST, write

import orl
from orl import cli
from orl.benchmark import suite

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
