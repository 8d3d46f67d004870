"""Files: what is written is read back; what is broken gives one line with file, line and what was expected."""

import csv
import re

import pytest
from hypothesis import given, settings
from shops import shops

import orl
from orl import files
from orl.api import problem_of
from orl.errors import InputError
from orl.problems.jobshop.formats import load, save
from orl.problems.jobshop.instance import NO_DUE_DATE, JobShop
from orl.problems.jobshop.schedules import schedule
from orl.problems.jobshop.text_format import parse_text, to_text
from orl.problems.jobshop.toml_format import to_toml

FT06 = files.instance_folder("jobshop") / "ft06.txt"
PLANT = """\
problem = "jobshop"
name = "plant"
time_unit = "min"
machines = ["saw", "drill"]
[options]
dispatch = "active"
[[jobs]]
name = "table"
release = 5
due = 60
weight = 2.5
operations = [["saw", 30], ["drill", 10]]
[[jobs]]
operations = [["drill", 20], ["saw", 0], ["drill", 1]]
"""


def write(tmp_path, text, name="shop.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_packaged_instance_reads_and_has_the_size_of_its_bounds_row():
    rows = files.bounds_table("jobshop")
    assert len(rows) == 242
    for name, row in rows.items():
        shop = orl.load(f"jobshop/{name}")
        assert (shop.num_jobs, shop.num_machines) == (int(row["jobs"]), int(row["machines"]))
        assert shop.makespan_bound() <= int(row["lower_bound"]) <= int(row["upper_bound"])
        assert (row["status"] == "optimal") == (row["lower_bound"] == row["upper_bound"])


def test_abz8_has_the_bound_known_since_2014():
    """An older table puts the upper bound of abz8 at 665, below the lower bound 667."""
    assert files.known_bounds("jobshop", "abz8")[:2] == (667, 667)


@given(shops())
@settings(max_examples=60)
def test_a_toml_holds_everything(tmp_path_factory, shop):
    path = tmp_path_factory.mktemp("toml") / "shop.toml"
    save(shop, path)
    again = load(path)
    assert to_toml(again) == to_toml(shop)
    assert again.machines == shop.machines
    assert again.durations == shop.durations


@given(shops(dispatch=("non-delay",)))
@settings(max_examples=60)
def test_a_text_holds_routes_and_durations(shop):
    routes, durations, num_machines = parse_text(to_text(shop))
    assert (tuple(map(tuple, routes)), tuple(map(tuple, durations))) == (shop.machines, shop.durations)
    assert num_machines == shop.num_machines


def test_a_text_refuses_what_it_cannot_hold(tmp_path):
    shop = JobShop("late", [[0]], [[1]], releases=[4])
    with pytest.raises(InputError, match="routes and durations only"):
        save(shop, tmp_path / "late.txt")


def test_our_toml_with_names_dates_and_options(tmp_path):
    shop = load(write(tmp_path, PLANT, "plant.toml"))
    assert shop.machine_names == ("saw", "drill")
    assert shop.job_names == ("table", "1")
    assert shop.releases.tolist() == [5, 0]
    assert shop.due_dates.tolist() == [60, NO_DUE_DATE]
    assert shop.weights.tolist() == [2.5, 1.0]
    assert shop.machines == ((0, 1), (1, 0, 1))
    assert shop.settings.dispatch == "active"
    assert load(tmp_path / "plant.toml", {"dispatch": "non-delay"}).settings.dispatch == "non-delay"


def test_a_toml_may_refer_to_a_file(tmp_path):
    write(tmp_path, "2 2\n0 1 1 2\n1 3 0 4\n", "base.txt")
    text = 'file = "base.txt"\n[[jobs]]\nrelease = 3\n[[jobs]]\ndue = 9\n'
    shop = load(write(tmp_path, text, "more.toml"))
    assert shop.machines == ((0, 1), (1, 0))
    assert shop.releases.tolist() == [3, 0]


def test_taillards_two_blocks_give_the_same_shop():
    standard = "2 3\n0 5 1 6 2 7\n2 1 0 2 1 3\n"
    named = "Nb of jobs, Nb of Machines, Time seed\n 2 3 99\nTimes\n5 6 7\n1 2 3\nMachines\n1 2 3\n3 1 2\n"
    unnamed = "2 3\n5 6 7\n1 2 3\n1 2 3\n3 1 2\n"
    assert parse_text(standard) == parse_text(named) == parse_text(unnamed)


def test_line_breaks_do_not_matter_in_a_full_shop():
    text = FT06.read_text()
    numbers = " ".join(line for line in text.splitlines() if not line.startswith("#"))
    assert parse_text(numbers) == parse_text(text)
    assert parse_text(numbers.replace(" ", "\r\n\t ").replace("6\r\n\t 6", "6 6", 1)) == parse_text(text)


BROKEN = {
    "": "found no numbers",
    "# only a comment\n": "found no numbers",
    "6\n": "line 1: expected 'jobs machines'",
    "2 x\n": "line 1: expected an integer for machines, got 'x'",
    "0 3\n": "line 1: expected 1 or more jobs",
    "2 2\n0 1 1 2\n": "line 2: expected 2 lines of jobs, or 8 numbers in all, got 1 lines with 4",
    "2 2\n0 1 1 2\n1 3 0\n": "line 3: expected pairs 'machine duration', got 3 numbers",
    "2 2\n0 1 1 2\n1 3 2 1\n": "line 3: expected machine in 0..1, got 2",
    "2 2\n0 1 1 2\n1 3 0 -4\n": "line 3: expected duration in 0..1099511627775, got -4",
    "2 2\n0 1 1 2\n1 3 0 4.5\n": "line 3: expected an integer for duration, got '4.5'",
    "2 2\n0 1 1 2\n1 3 0 99999999999999999999999\n": "line 3: expected an integer for duration",
    "2 2 5\n1 1 1 1 2\n1 1 2 1 1\n": "flexible job shop",
    "2 2\nTimes\n1 2\n3 4\nMachines\n1 2\n3 1\n": "line 7: expected machines in 1..2, got 3",
    "2 2\nTimes\n1 2\n3 4\nMachines\n1 2\n": "expected 2 lines in the block of machines, got 1",
    "2 2\n0 1 1 2 \xff": "line 2: expected text in UTF-8",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_text_names_file_line_and_what_was_expected(tmp_path, text):
    path = write(tmp_path, text.encode("latin-1"))
    with pytest.raises(InputError, match=re.escape(BROKEN[text])) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


BROKEN_TOML = {
    "jobs = [": "expected TOML",
    "": "expected 'file' or [[jobs]]",
    "machine = 3\n": "line 1: machine: unknown; did you mean machines?",
    'problem = "lotsizing"\n': "expected 'jobshop'",
    "machines = 0\n[[jobs]]\noperations = [[0, 1]]\n": "line 1: machines: expected a number >= 1",
    "[[jobs]]\noperations = []\n": "line 1: jobs[0].operations: expected a list of [machine, duration]",
    "[[jobs]]\noperations = [[0, 1]]\n\n[[jobs]]\noperations = [[0]]\n": "line 4: jobs[1].operations[0]: expected",
    'machines = ["a"]\n[[jobs]]\noperations = [["b", 1]]\n': "unknown machine 'b'; known are: a.",
    "[[jobs]]\noperations = [[0, 1.5]]\n": "durations must be whole numbers, got 1.5",
    "[[jobs]]\noperations = [[0, -1]]\n": "durations must be >= 0, got -1 at operation 0 of job 0",
    "[[jobs]]\noperations = [[0, true]]\n": "durations must be whole numbers",
    "[[jobs]]\nrelease = -2\noperations = [[0, 1]]\n": "releases must be >= 0",
    "[[jobs]]\nweight = nan\noperations = [[0, 1]]\n": "weights must be >= 0",
    '[[jobs]]\nname = ""\noperations = [[0, 1]]\n': "job_names must be distinct, printable, not empty",
    "[options]\ndispatch = 3\n[[jobs]]\noperations = [[0, 1]]\n": "setting dispatch: expected non-delay or active",
    "[options]\nspeed = 3\n[[jobs]]\noperations = [[0, 1]]\n": "unknown setting 'speed'",
    'file = "nowhere.txt"\n': "nowhere.txt",
}


@pytest.mark.parametrize("text", BROKEN_TOML)
def test_a_broken_toml_gives_one_line(tmp_path, text):
    with pytest.raises(InputError, match=re.escape(BROKEN_TOML[text])) as error:
        load(write(tmp_path, text, "shop.toml"))
    assert "\n" not in str(error.value)


def test_a_schedule_may_use_names(tmp_path):
    shop = load(write(tmp_path, PLANT, "plant.toml"))
    result = orl.solve(shop, "spt")
    path = tmp_path / "plan.csv"
    path.write_text(files.solution_csv(problem_of(shop), shop, result))
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert {row["machine"] for row in rows} == {"saw", "drill"}
    assert {row["job"] for row in rows} == {"table", "1"}
    assert orl.check(shop, path).is_feasible


def test_a_schedule_column_names_row_and_expectation():
    shop = orl.load("jobshop/ft06")
    table = {key: ["0"] for key in ("job", "operation", "machine", "start", "end")}
    with pytest.raises(InputError, match="column 'start', row 0: expected a whole number, got 'soon'"):
        schedule(shop, {**table, "start": ["soon"]})
    with pytest.raises(InputError, match="'end' is missing"):
        schedule(shop, {key: table[key] for key in table if key != "end"})
