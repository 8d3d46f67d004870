"""Instances that are empty, of one element, or hold numbers that are none or too large, through every method."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from robustness_commands import Case, counted, limited, methods
from robustness_files import BASES, NEEDED, prepared

from orl import registry
from orl.problems.clsp.instance import CapacitatedLotSizing
from orl.problems.jobshop.instance import JobShop

SMALL = ["--scenarios", "1", "--time-limit", "2", "--json"]
NUMBERS = (
    b"nan",
    b"inf",
    b"-inf",
    b"1e308",
    b"-1e308",
    b"-1",
    b"0",
    b"1e-320",
    b"9" * 30,
    b"9223372036854775807",
    b"1e18",
)
NOTHING = {"txt": ("", "\n", " ", "0 0\n", "0 1\n", "1 0\n", "0\n", "\x00"),
           "toml": ("", "\n", "problem = ''\n", "jobs = []\n", "items = []\n", "machines = []\n[options]\n"),
           "json": ("", "{}", "[]", "null", '{"n_items": 0}'), "csv": ("", "\n", ",\n", "a,b\n"),
           "jsonl": ("", "\n", "{}\n", "[]\n")}  # fmt: skip


def single(family: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield instances of one element, or of nothing but zeros, each with what is set."""
    problem = registry.find_problem(family)

    def saved(instance: Any, name: str) -> str:
        problem.save(instance, folder / f"{name}.toml")
        return str(folder / f"{name}.toml")

    if family == "jobshop":
        shop = saved(JobShop("one", [[0]], [[5]], 1), "one")
        for told in ("buffers=swap", "buffers=none", "breakdowns.probability=0.05", "objective=flow-time",
                     "objective=weighted-tardiness", "dispatch=active"):  # fmt: skip
            yield shop, ["--set", told]
        yield shop, []
        yield saved(JobShop("zero", [[0]], [[0]], 1), "zero"), []
        yield saved(JobShop("idle", [[0], [0]], [[0], [0]], 3), "idle"), []
    elif family == "lotsizing":
        for number, (items, machines, periods) in enumerate([(1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 1, 3)]):
            drawn = problem.draw(np.random.default_rng(0), items=items, machines=machines, periods=periods)
            yield saved(drawn, f"one-{number}"), []
            yield saved(drawn, f"one-{number}"), ["--set", "start=file", "--set", "horizon=file"]
    elif family == "clsp":
        for number, (demand, capacity) in enumerate(
            [([[3.0]], [10.0]), ([[0.0]], [0.0]), ([[0.0], [4.0]], [9.0, 9.0])]
        ):
            zeros = {"setup_times": [0.0], "setup_costs": [0.0], "holding_costs": [0.0], "unit_times": [1.0]}
            ones = {"setup_times": [1.0], "setup_costs": [2.0], "holding_costs": [1.0], "unit_times": [1.0]}
            for kind, rest in (("zeros", zeros), ("ones", ones)):
                made = CapacitatedLotSizing(f"one-{number}", demand, capacity, **rest)
                yield saved(made, f"{kind}-{number}"), ["--set", "overtime=50"]
    elif family == "hydrothermal":
        for told in (["stages=1"], ["stages=1", "network=transport"], ["stages=2", "network=single-bus"]):
            yield "hydrothermal/case3", [word for one in told for word in ("--set", one)]
    else:
        for told in (["requests=1"], ["requests=1", "clock=rounds"], ["requests=2", "max_num_seqs=1"]):
            yield "llmserving/crowded", [word for one in told for word in ("--set", one)]


def tiny(family: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of instances of one element through every method of their family."""
    limited()
    with tempfile.TemporaryDirectory() as scratch:
        return counted(
            Case(["solve", name, "--problem", family, "--solver", method, *told, *SMALL])
            for name, told in single(family, Path(scratch))
            for method in methods(family)
        )


def empty(family: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of files with next to nothing in them, and of folders: none is an instance."""
    limited()
    with tempfile.TemporaryDirectory() as scratch:
        cases = []
        for suffix, texts in NOTHING.items():
            for number, text in enumerate(texts):
                path = Path(scratch) / f"{number}.{suffix}"
                path.write_text(text)
                for told in ([], ["--problem", family]):
                    cases.append(Case(["solve", str(path), *told, *SMALL], may_pass=False))
                cases.append(Case(["check", str(path), str(path), "--problem", family], may_pass=False))
        (Path(scratch) / "folder").mkdir()
        cases.append(Case(["solve", f"{scratch}/folder", "--problem", family, *SMALL], may_pass=False))
        return counted(cases)


def numbers(base: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of files in which one or two numbers are none, too large or too small, solved by a rule."""
    limited()
    family, rng = BASES[base][0], np.random.default_rng([seed, *base.encode()])
    problem = registry.find_problem(family)
    rules = list(registry.rules_of(problem))
    with tempfile.TemporaryDirectory() as scratch:
        place, file = prepared(base, Path(scratch))
        data = file.read_bytes()
        spans = [found.span() for found in re.finditer(rb"(?<![\w.])-?[0-9]+(\.[0-9]*)?(e[-+]?[0-9]+)?(?![\w.])", data)]
        told = [word for key, value in NEEDED.get(family, {}).items() for word in ("--set", f"{key}={value}")]

        def change() -> None:
            changed = data
            chosen = sorted({int(x) for x in rng.integers(len(spans), size=1 + rng.integers(2))}, reverse=True)
            for start, end in (spans[place] for place in chosen):
                changed = changed[:start] + NUMBERS[rng.integers(len(NUMBERS))] + changed[end:]
            file.write_bytes(changed)

        command = ["solve", str(place), "--problem", family, *told, *SMALL, "--solver"]
        return counted(Case([*command, rules[number % len(rules)]], before=change) for number in range(count))
