"""Settings of wrong types and values, from the records that declare them: by --set, in files, suites and recipes."""

from __future__ import annotations

import dataclasses
import tempfile
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from robustness_commands import Case, methods

import orl
from orl import params, registry

BASES = {  # an instance of each family, and what it needs to be solved at all
    "jobshop": ("jobshop/ft06", {}),
    "lotsizing": ("lotsizing/setting_2items_VI", {}),
    "clsp": ("lotsizing/X12429A-relaxed", {"overtime": 50.0}),
    "hydrothermal": ("hydrothermal/case3", {}),
    "llmserving": ("llmserving/crowded", {"requests": 12}),
}
TEXTS = (
    *("", " ", "abc", "nan", "inf", "-inf", "-1", "-1e308", "0", "-0.0", "1e308", "1e999", "1e-320", "9" * 30, "0.5"),
    *("9223372036854775808", "2147483648", "100000", "true", "null", "[]", "{}", "[1,2]", "[nan]", "\x00", "٣", "0x10"),
    *("1_000", "a" * 5000, "../..", "/dev/null", "a\nb", "{instance}", "%s", "spt", "-", "--json"),
)  # fmt: skip
VALUES = (
    *("''", "'abc'", "nan", "inf", "-inf", "-1", "-1e308", "0", "1e308", "9223372036854775807", "1.5", "true"),
    *("[]", "{}", "[1, 2]", "['a']", "[nan]", "{ a = 1 }", "[[1], [2, 3]]", "1979-05-27", "07:32:00", "'\\u0000'"),
    *("-9223372036854775808", "[{ a = nan }]", "0.5", "100000"),
)  # fmt: skip
NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1", "2", "0.5", "1e-320", "1e308", "-1e308", "1000000", "2147483648",
           "9223372036854775807", "1e-9", "0.999999999999")  # fmt: skip
SMALL = ["--scenarios", "1", "--time-limit", "0.5", "--json"]


def fields(cls: type, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of a record's settings, and names near to them and far from them that are none."""
    for name, kind in params._fields(cls).items():
        yield prefix + name
        yield prefix + name[:-1]
        yield f"{prefix}{name}.{name}"
        if dataclasses.is_dataclass(kind):
            yield from fields(kind, f"{prefix}{name}.")
    yield from (f"{prefix}{name}" for name in ("zzz", "__class__", "x.y.z", "ß"))


def _wrong(cls: type, rng: np.random.Generator) -> tuple[str, str]:
    """Return a setting as a dotted name, mostly one that there is, and what it is set to, as TOML."""
    known = params._fields(cls)
    if not known or rng.random() < 0.25:
        some = list(fields(cls))
        return some[rng.integers(len(some))], VALUES[rng.integers(len(VALUES))]
    name = list(known)[rng.integers(len(known))]
    kind = known[name]
    if dataclasses.is_dataclass(kind) and rng.random() < 0.8:
        inside, value = _wrong(kind, rng)
        return f"{name}.{inside}", value
    choices = [repr(one) for one in typing.get_args(kind) if isinstance(one, str)]
    likely = choices or (NUMBERS if kind in (int, float) or typing.get_args(kind) else ["true", "false"])
    values = likely if rng.random() < 0.6 else VALUES
    return name, values[rng.integers(len(values))]


def _told(settings: Mapping[str, Any]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def by_set(family: str, count: int, rng: np.random.Generator) -> Iterator[Case]:
    """Yield commands that set one or two settings of a family and a method, some of them more than once."""
    name, needed = BASES[family]
    problem, known = registry.find_problem(family), methods(family)
    for number in range(count):
        method = known[rng.integers(len(known))] if number % 4 else problem.default_solver
        told = []
        for _ in range(1 + int(rng.random() < 0.2)):
            settings = registry.find_solver(method, problem).settings if rng.random() < 0.5 else problem.settings()
            key, value = _wrong(settings, rng)
            value = value.strip("'") if rng.random() < 0.7 else TEXTS[rng.integers(len(TEXTS))]
            told += ["--set", f"{key}={value}" if rng.random() < 0.97 else key]
        needs = _told({key: value for key, value in needed.items() if f"{key}=" not in " ".join(told)})
        yield Case(["solve", name, "--problem", family, "--solver", method, *needs, *told, *SMALL])


def of_commands(family: str, count: int, rng: np.random.Generator) -> Iterator[Case]:
    """Yield commands whose other options are wrong."""
    name, needed = BASES[family]
    known = methods(family)
    options = ("--scenarios", "--seed", "--time-limit", "--solver", "--problem", "--sweep", "--scheduler")
    for _ in range(count):
        option, value = options[rng.integers(len(options))], TEXTS[rng.integers(len(TEXTS))]
        method = known[rng.integers(len(known))]
        asked = [f"{option}={value}"]
        if option == "--sweep":
            yield Case(["compare", name, "--problem", family, "--solvers", method, *_told(needed), *SMALL, *asked])
        elif option == "--seed" and rng.random() < 0.3:
            yield Case(["compare", name, "--problem", family, f"--solvers={value}", *_told(needed), *SMALL])
        else:
            yield Case(["solve", name, "--problem", family, "--solver", method, *_told(needed), *SMALL, *asked])


def _toml(key: str, value: str, table: str = "") -> str:
    """Return a table in which a dotted key has a value, quoted part by part."""
    quoted = ".".join(f'"{part}"' for part in key.split("."))
    return f"{table}{quoted} = {value}\n"


def in_suites(family: str, count: int, rng: np.random.Generator) -> Iterator[Case]:
    """Yield suites whose settings, options or sweeps are wrong; they are read to the last key and listed."""
    name, needed = BASES[family]
    problem, known = registry.find_problem(family), methods(family)
    top = ("name", "description", "time_limit", "seeds", "scenarios", "purpose", "reference", "memory_limit_gb",
           "kill_factor", "kill_grace", "keep_solutions", "runs", "tme_limit")  # fmt: skip
    of_runs = ("name", "instances", "settings", "solvers", "problem", "time_limit", "seeds", "scenarios", "zzz")
    with tempfile.TemporaryDirectory() as scratch:
        suite = Path(scratch) / "suite.toml"
        for _ in range(count):
            method, value = known[rng.integers(len(known))], VALUES[rng.integers(len(VALUES))]
            settings = problem.settings() if rng.random() < 0.5 else registry.find_solver(method, problem).settings
            (key, other), kind = _wrong(settings, rng), rng.integers(5)
            lines = {"time_limit": "1", "scenarios": "1"}
            run = {"instances": f'["{name}"]', "solvers": f'["{method}"]', "problem": f'"{family}"'}
            told = "".join(_toml(one, str(x), "settings.") for one, x in needed.items() if one != key)
            if kind == 0:
                lines[top[rng.integers(len(top))]] = value
            elif kind == 1:
                run[of_runs[rng.integers(len(of_runs))]] = value
            elif kind == 2:
                told += _toml(key, f"[{value}, {other}]", "sweep.")
            elif kind == 3:
                run["solvers"] = f'[{{ solver = "{method}", {_toml(key, other, "settings.").strip()} }}]'
            else:
                told += _toml(key, other, "settings.")
            text = "".join(f"{one} = {x}\n" for one, x in lines.items()) + "[[runs]]\n"
            text += "".join(f"{one} = {x}\n" for one, x in run.items()) + ("" if "settings" in run else told)

            def write(text: str = text) -> None:
                suite.write_text(text)

            yield Case(["bench", str(suite), "--list"], before=write)


def in_files(family: str, count: int, rng: np.random.Generator) -> Iterator[Case]:
    """Yield instance files whose options are wrong."""
    name, needed = BASES[family]
    problem = registry.find_problem(family)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "one.toml"
        if problem.save is None:
            return
        problem.save(orl.load(name, family, needed), place)
        text = place.read_text()
        for _ in range(count):
            line = _toml(*_wrong(problem.settings(), rng))
            changed = text.replace("[options]\n", f"[options]\n{line}", 1)
            changed = changed if changed != text else text + f"\n[options]\n{line}"

            def write(changed: str = changed) -> None:
                place.write_text(changed)

            method = next(iter(registry.rules_of(problem)))
            yield Case(["solve", str(place), "--problem", family, "--solver", method, *SMALL], before=write)


RECIPES = {
    "ppo": ('[{ jobs = 3, machines = 3 }]', "jobshop", "iterations = 1\ninstances = 1\nsamples = 2\nwidth = 4\n"),
    "pdppo": ('[{ items = 2, machines = 1 }]', "lotsizing", "iterations = 1\ninstances = 2\nsamples = 1\nwidth = 4\n"),
    "ts-ddr": ('[{ instance = "hydrothermal/case3" }]', "hydrothermal", "iterations = 1\npaths = 2\nwidth = 4\n"),
}  # fmt: skip


def in_recipes(method: str, count: int, rng: np.random.Generator) -> Iterator[Case]:
    """Yield recipes in which a setting, of the recipe, the instance or the training, is wrong; most train a little."""
    from orl.learn.training import Recipe
    from orl.solvers.decision_rules.settings import DecisionRuleSettings
    from orl.solvers.ppo.settings import PpoSettings

    sizes, family, training = RECIPES[method]
    of_training = DecisionRuleSettings if method == "ts-ddr" else PpoSettings
    of_family = registry.find_problem(family).settings()
    with tempfile.TemporaryDirectory() as scratch:
        recipe = Path(scratch) / "recipe.toml"
        for number in range(count):
            kind = rng.integers(4)
            lines = {"sizes": sizes, "validation": sizes, "validation_instances": "1", "problem": f'"{family}"',
                     "method": f'"{method}"'}  # fmt: skip
            tables = {"training": training, "instance": ""}
            if kind == 0:
                key, value = _wrong(Recipe, rng)
                lines.pop(key, None)
                tables = {name: text for name, text in tables.items() if name != key.split(".")[0]}
                lines['"' + '"."'.join(key.split(".")) + '"'] = value
            elif kind == 1:
                tables["instance"] = _toml(*_wrong(of_family, rng))
            else:
                key, value = _wrong(of_training, rng)
                kept = [line for line in training.splitlines(keepends=True) if not line.startswith(f"{key} ")]
                tables["training"] = "".join(kept) + _toml(key, value)
            text = "".join(f"{one} = {x}\n" for one, x in lines.items())
            text += "".join(f"[{name}]\n{body}" for name, body in tables.items())

            def write(text: str = text) -> None:
                recipe.write_text(text)

            yield Case(["train", str(recipe), "--out", f"{scratch}/{number}", "--time-limit", "1"], before=write)
