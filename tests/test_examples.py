"""The examples run, from their folder, as a reader would run them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import orl
import orl.problems.jobshop.instance

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str, folder: Path = ROOT / "examples") -> str:
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_simpy_plant_is_dispatched_as_our_simulator_would():
    """The plant of the example, dispatched by MWR, ends when the same shop ends in our simulator."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import simpy_plant
    finally:
        sys.path.pop(0)
    names = list(dict.fromkeys(machine for route in simpy_plant.JOBS.values() for machine, _ in route))
    shop = orl.problems.jobshop.instance.JobShop(
        "plant",
        machines=[[names.index(machine) for machine, _ in route] for route in simpy_plant.JOBS.values()],
        durations=[[duration for _, duration in route] for route in simpy_plant.JOBS.values()],
    )
    for rule in ("mwr", "spt", "fifo"):
        said = run("simpy_plant.py", rule)
        assert int(said.splitlines()[-1].split()[0]) == orl.solve(shop, rule).value


def test_a_rule_in_five_lines_is_compared_from_the_command_line():
    command = ("../run.py", "compare", "jobshop/ft06", "--solvers", "my_rule:nearly_done,spt", "--json")
    assert '"solver": "my_rule:nearly_done"' in run(*command)


def test_a_family_outside_of_the_repository_does_what_contributing_says(tmp_path):
    """At most 300 lines and a rule in five, copied elsewhere: solved, checked, compared, and held to the contracts."""
    toy = shutil.copytree(ROOT / "examples" / "toy_family", tmp_path / "mine", ignore=lambda *_: ["__pycache__"])
    family, rule = (toy / name for name in ("knapsack.py", "choosy.py"))
    assert len(family.read_text().splitlines()) <= 300
    assert len(rule.read_text().partition("def ")[2].splitlines()) == 5
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## Try a rule and a family")[2].partition("\n## ")[0]
    said = {}
    for line in re.findall(r"^    orl (.*)$", text, re.M):
        command = shlex.split(line)
        as_json = [] if command[0] == "check" else ["--json"]
        said[command[0]] = run(str(ROOT / "run.py"), *command, *as_json, folder=toy)
    assert "verified" in said["check"]
    rows = json.loads(said["compare"])
    assert [row["solver"] for row in rows] == ["first-come", "quota", "choosy:choosy", "exact"]
    value = {row["solver"]: row["value"] for row in rows}
    assert all(row["verified"] and row["bound"] <= row["value"] + 1e-9 for row in rows)
    assert value["exact"] < value["choosy:choosy"] < value["first-come"]
    assert json.loads(said["solve"])["value"] == value["choosy:choosy"]
    contracts = next(block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "check_problem" in block)
    run("-c", contracts, folder=toy)


def test_the_readmes_python_for_embedding_runs_and_prints_what_it_says(capsys):
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S) if "A7" in block
    )
    exec(code, {"orl": orl})
    said = re.search(r"answered_by\)  # (.*)", code)
    assert said and capsys.readouterr().out.strip() == said.group(1)
