"""Mutants of verifiers and kernels, a sample of each file, and which of them no test notices.

python benchmarks/mutation.py measure [--only problems/clsp/verify.py ...] [--verify 40] [--kernel 30] [--seed 0]
python benchmarks/mutation.py survivors [--wider] [--only ...]     once more: tests are new, or more of them are asked
python benchmarks/mutation.py                                      write the table

A mutant has one small thing wrong: a comparison, an operator, a number or a condition is another one, a statement is
gone. It is killed if a test fails, or takes more than its time. `mutation_tests.py` says which tests belong to a file,
and which survivors are equivalent, and why.

mutmut (3.8.1) and cosmic-ray (8.7.0) were looked at. mutmut names a mutant by the path of its file, where our folders
have other import names, and calls mutants through a trampoline that numba cannot compile. cosmic-ray writes each
mutant to the disk and starts the tests anew: seconds of imports for each, and for a kernel a minute to compile. Here
the tests are collected once, with numba off; each mutant is a forked process in which the functions of the file have
another code, and pytest goes on. `assert`, messages, annotations and decorators are left alone.
"""

from __future__ import annotations

import os

os.environ["NUMBA_DISABLE_JIT"] = "1"  # before anything is imported: kernels are Python, and can be changed

import argparse
import ast
import gc
import importlib
import resource
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
import record
import rows
from mutation_tests import EQUIVALENT, TESTS

ROOT = Path(__file__).resolve().parent.parent
RAW = record.RESULTS / "mutation"
SLOWER = 5.0  # times as long as without a mutant, and
AT_LEAST = 5.0  # seconds of processor time: too much
EXAMPLES = 25  # drawn ones of a test, at most
SETTINGS = "_hypothesis_internal_use_settings"
MEMORY = 8 << 30  # bytes of address space
OTHER = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.USub: ast.UAdd,
}  # fmt: skip
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
LEFT_ALONE = (ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom, ast.arguments)
Mutant = tuple[int, str, Callable[[], None]]  # line, what is changed, and who changes it in its tree


def mutants(tree: ast.AST) -> Iterator[Mutant]:
    """Yield what may be changed in a tree, always in the same order."""
    for field, value in ast.iter_fields(tree):
        for place, node in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(node, ast.AST) or isinstance(node, LEFT_ALONE):
                continue
            if field in ("annotation", "returns", "decorator_list"):
                continue
            yield from _of_node(tree, field, place if isinstance(value, list) else None, node)
            yield from mutants(node)


def _of_node(parent: ast.AST, field: str, place: int | None, node: ast.AST) -> Iterator[Mutant]:
    def put(other: ast.AST) -> None:
        if place is None:
            setattr(parent, field, other)
        else:
            getattr(parent, field)[place] = other

    def into(text: str, other: str, change: Callable[[], None]) -> Mutant:
        return node.lineno, f"{text} -> {other}", change  # type: ignore[attr-defined]

    if isinstance(node, ast.Compare):
        for number, kind in enumerate(node.ops):
            if (turned := OTHER.get(type(kind))) is not None:
                yield into(ast.unparse(node), turned.__name__, partial(node.ops.__setitem__, number, turned()))
    elif isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp, ast.UnaryOp)):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield into(ast.unparse(node), "without not", partial(put, node.operand))
        elif (turned := OTHER.get(type(node.op))) is not None:
            yield into(ast.unparse(node), turned.__name__, partial(setattr, node, "op", turned()))
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield into(f"{node.value} in {ast.unparse(parent)[:80]}", str(value), partial(setattr, node, "value", value))
    elif isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in CALLS:
            key = "attr" if isinstance(node.func, ast.Attribute) else "id"
            yield into(ast.unparse(node), CALLS[name], partial(setattr, node.func, key, CALLS[name]))
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        for value in (True, False)[isinstance(node, ast.While) :]:  # a loop for ever teaches nothing
            yield into(f"if {ast.unparse(node.test)}", str(value), partial(setattr, node, "test", ast.Constant(value)))
    if isinstance(node, (ast.Break, ast.Continue)):
        other = ast.Continue() if isinstance(node, ast.Break) else ast.Break()
        yield into(ast.unparse(node), type(other).__name__, partial(put, other))
    is_name = isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Name, ast.Tuple))  # it would be missed
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)) and not is_name and not is_text:
        yield into(ast.unparse(node)[:100], "gone", partial(put, ast.Pass()))


def sampled(file: str, count: int, seed: int) -> list[tuple[int, int, str]]:
    """Return number, line and change of so many mutants of a file, drawn without replacement."""
    found = [(number, *one[:2]) for number, one in enumerate(mutants(ast.parse((ROOT / file).read_text())))]
    rng = np.random.default_rng([seed, *file.encode()])
    return [found[number] for number in sorted(rng.permutation(len(found))[:count])]


def put_in_place(file: str, number: int) -> None:
    """Put a mutant in the place of the file's functions and values, in this process."""
    tree = ast.parse((ROOT / file).read_text())
    for place, (_, _, change) in enumerate(mutants(tree)):
        if place == number:
            change()
            break
    module = importlib.import_module(module_of(file))
    names: dict[str, Any] = {
        "__name__": module.__name__,
        "__package__": module.__package__,
        "__file__": module.__file__,
    }
    sys.modules[module.__name__], kept = ModuleType(module.__name__), module  # of dataclasses and named tuples
    sys.modules[module.__name__].__dict__.update(names)
    exec(compile(ast.fix_missing_locations(tree), str(ROOT / file), "exec"), names)
    sys.modules[module.__name__] = kept
    _replace(vars(module), names, module.__name__)


def _replace(old: dict[str, Any], new: dict[str, Any], module: str) -> None:
    """Give functions, also those that others have imported, the code of their namesakes; replace
    values."""
    for name, value in list(new.items()):
        before = old.get(name)
        while hasattr(before, "__wrapped__"):  # behind a cache
            before, value = before.__wrapped__, value.__wrapped__
        if isinstance(before, property):
            before, value = before.fget, value.fget
        if isinstance(before, FunctionType) and before.__module__ == module:
            before.__code__, before.__defaults__ = value.__code__, value.__defaults__
        elif isinstance(before, type) and before.__module__ == module:
            _replace(dict(vars(before)), dict(vars(value)), module)
        elif not (callable(value) or isinstance(value, (ModuleType, type)) or name.startswith("__")):
            old[name] = value


def module_of(file: str) -> str:
    return "orl." + file.removeprefix("orl/").removesuffix(".py").replace("/", ".")


class InChild(Exception):
    """Raised in a forked process, which is to run the tests."""


class Session:
    """A plugin of pytest that, instead of running the tests it has collected, does some work that forks.

    Parameters
    ----------
    file : str
        Whose mutants they are.
    work : callable
        Is given this session, and asks it for outcomes.
    """

    def __init__(self, file: str, work: Callable[[Session], None]) -> None:
        self.file, self._work = file, work

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        for item in session.items:  # whatever a test asks for
            used = getattr(getattr(item, "obj", None), SETTINGS, None)
            if used is not None and used.max_examples > EXAMPLES:
                setattr(item.obj, SETTINGS, type(used)(used, max_examples=EXAMPLES))  # type: ignore[attr-defined]
        gc.collect()
        gc.freeze()  # or each child would copy what it collects
        try:
            self._work(self)
        except InChild:
            return None  # pytest goes on with the tests
        return True

    def outcome(self, number: int | None, seconds: float) -> tuple[str, float]:
        """Return what tests say of a mutant, or of none: 'survived', 'killed' or 'timed out'; and the time taken."""
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            try:
                if number is not None:
                    put_in_place(self.file, number)
            except Exception:  # it cannot even be imported
                os._exit(1)
            raise InChild
        _, status, usage = os.wait4(child, 0)
        took = usage.ru_utime + usage.ru_stime
        if os.WIFSIGNALED(status):
            return "timed out" if took >= seconds else "killed", took
        return "killed" if os.WEXITSTATUS(status) else "survived", took


def with_tests(file: str, tests: tuple[str, ...], work: Callable[[Session], None]) -> None:
    """Import a file's tests and let some work be done with them; drawn examples are neither shrunk nor kept."""
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "mutants", max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    settings.load_profile("mutants")
    names = [str(ROOT / "tests" / word) if word.endswith(".py") else word for word in tests]
    plain = ["-p", "no:cacheprovider", "--noconftest", "-W", "ignore", "--rootdir", str(ROOT), "-o", "addopts="]
    parent = os.getpid()
    code = pytest.main([*plain, "-m", "not slow", "--tb=no", "-x", "-q", "-s", *names], plugins=[Session(file, work)])
    if os.getpid() != parent:
        os._exit(int(code))
    if code:
        raise SystemExit(f"{file}: pytest ended with {code!r}; are there tests {tests}?")


def measure(file: str, count: int, seed: int, survivors: bool, wider: bool) -> None:
    """Measure a sample of a file's mutants, or its survivors once more."""
    drawn: list[rows.Row] = [{"line": line, "change": change} for _, line, change in sampled(file, count, seed)]
    if survivors:
        drawn = [row for row in latest(file) if row["outcome"] == "survived"]
    tests, part = TESTS[file][wider], file.replace("/", ".").removesuffix(".py")
    if not tests or not drawn:
        return
    numbers = {(line, change): number for number, line, change in sampled(file, 10**6, seed)}

    def work(session: Session) -> None:
        outcome, usual = session.outcome(None, 600.0)
        if outcome != "survived":
            raise SystemExit(f"{file}: its tests fail without a mutant.")
        print(file, f"takes {usual:.1f} s", flush=True)

        def judged(number: int) -> rows.Row:
            outcome, took = session.outcome(number, max(AT_LEAST, SLOWER * usual))
            return {"outcome": outcome, "seconds": round(took, 2)}

        cells = []
        for one in drawn:
            key = {"part": part, "file": file, "line": one["line"], "change": one["change"], "time": one.get("time", 0)}
            key["time"] += survivors
            cells.append((key, partial(judged, numbers[one["line"], one["change"]])))
        rows.measure(RAW, part, cells)

    with_tests(file, tests, work)


def latest(file: str) -> list[rows.Row]:
    """Return the last row of each mutant of a file."""
    return list({(row["line"], row["change"]): row for row in rows.read(RAW) if row["file"] == file}.values())


def write_table() -> None:
    """Write the table, and the survivors with what is said of them."""
    lines, told = [], []
    for file in TESTS:
        mine = latest(file)
        if not mine:
            continue
        left = [row for row in mine if row["outcome"] == "survived"]
        same = sum((file, row["change"]) in EQUIVALENT for row in left)
        total, killed = len(list(mutants(ast.parse((ROOT / file).read_text())))), len(mine) - len(left)
        lines.append([file, total, len(mine), killed, same, len(left) - same, 100 * killed / (len(mine) - same)])
        for row in left:
            change = f"`{row['change']}`".replace("|", "\\|")
            told.append([file, row["line"], change, EQUIVALENT.get((file, row["change"]), "")])
    for group, is_mine in (("verifiers", lambda file: "verify" in file), ("kernels", lambda file: "kernels" in file)):
        mine = [line for line in lines if is_mine(line[0])]
        sums = [sum(line[place] for line in mine) for place in range(1, 6)]
        lines.append([f"all {group}", *sums, 100 * sums[2] / max(1, sums[1] - sums[3])])
    text = (
        f"Rows were measured at {', '.join(dict.fromkeys(row['commit'] for row in rows.read(RAW)))}.\n\n"
        "Mutants of a file, how many were drawn, killed (a test failed or took too long), equivalent (read, and no "
        "test can tell them), survived; and the share that was killed of those that are not equivalent."
    )
    header = ["file", "mutants", "drawn", "killed", "equivalent", "survived", "killed, %"]
    record.write(
        "mutation", "Mutants of verifiers and kernels",
        [(text, header, lines), ("Survivors.", ["file", "line", "change", "why"], told)], digits=4,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure", "survivors"])
    parser.add_argument("--only", nargs="*", default=list(TESTS))
    parser.add_argument("--verify", type=int, default=40)
    parser.add_argument("--kernel", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wider", action="store_true")
    options = parser.parse_args()
    if options.action:
        for file in options.only:
            if os.fork() == 0:  # so that files do not share what they import
                count = options.verify if "verify" in file else options.kernel
                measure(file, count, options.seed, options.action == "survivors", options.wider)
                os._exit(0)
            os.wait()
    else:
        write_table()


if __name__ == "__main__":
    main()
