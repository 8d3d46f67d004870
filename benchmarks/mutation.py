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
another code, and pytest goes on.
"""

from __future__ import annotations

import os

os.environ["NUMBA_DISABLE_JIT"] = "1"  # before anything is imported: kernels are Python, and can be changed

import argparse
import ast
import gc
import resource
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import record
import rows
from mutants import ROOT, mutants, put_in_place
from mutation_tests import EQUIVALENT, TESTS

RAW = record.RESULTS / "mutation"
SLOWER = 3.0  # times as long as without a mutant, and
AT_LEAST = 3.0  # seconds of processor time: too much
EXAMPLES = 10, 50  # drawn ones of a test, at most; of the wider tests
SETTINGS = "_hypothesis_internal_use_settings"
MEMORY = 8 << 30  # bytes of address space
MOVED = 40  # lines, at most, by which what was drawn is looked for elsewhere: lines before it have come or gone


def sampled(file: str, count: int, seed: int) -> list[tuple[int, int, str]]:
    """Return number, line and change of so many mutants of a file, drawn without replacement."""
    found = [(number, *one[:2]) for number, one in enumerate(mutants(ast.parse((ROOT / file).read_text())))]
    rng = np.random.default_rng([seed, *file.encode()])
    return [found[number] for number in sorted(rng.permutation(len(found))[:count])]


class InChild(Exception):
    """Raised in a forked process, which is to run the tests."""


class Session:
    """A plugin of pytest that, instead of running the tests it has collected, does some work that forks.

    Parameters
    ----------
    file : str
        Whose mutants they are.
    examples : int
        Drawn ones of a test, at most.
    work : callable
        Is given this session, and asks it for outcomes.
    """

    def __init__(self, file: str, examples: int, work: Callable[[Session], None]) -> None:
        self.file, self._examples, self._work = file, examples, work

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        for item in session.items:  # whatever a test asks for
            used = getattr(getattr(item, "obj", None), SETTINGS, None)
            if used is not None and used.max_examples > self._examples:
                setattr(item.obj, SETTINGS, type(used)(used, max_examples=self._examples))
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


def with_tests(file: str, wider: bool, work: Callable[[Session], None]) -> None:
    """Import a file's tests and let some work be done with them; drawn examples are neither shrunk nor kept."""
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "mutants", max_examples=EXAMPLES[1], deadline=None, database=None, derandomize=True,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    settings.load_profile("mutants")
    tests = TESTS[file][wider]
    names = [str(ROOT / "tests" / word) if word.endswith(".py") else word for word in tests]
    plain = ["-p", "no:cacheprovider", "--noconftest", "-W", "ignore", "--rootdir", str(ROOT), "-o", "addopts="]
    plain += ["-m", "not slow", "--tb=no", "-x", "-q", "-s"]
    parent = os.getpid()
    code = pytest.main([*plain, *names], plugins=[Session(file, EXAMPLES[wider], work)])
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

    with_tests(file, wider, work)


def latest(file: str) -> list[rows.Row]:
    """Return the last row of each mutant that a file still has, if a few lines away; `at_first` is what tests said when
    it was drawn.
    """
    there: dict[str, list[int]] = {}
    for line, change, _ in mutants(ast.parse((ROOT / file).read_text())):
        there.setdefault(change, []).append(line)
    found: dict[tuple[int, str], rows.Row] = {}
    for row in rows.read(RAW):
        if row["file"] == file and row["change"] in there:
            line = min(there[row["change"]], key=lambda line: abs(line - row["line"]))
            if abs(line - row["line"]) <= MOVED:
                before = found.get((line, row["change"]), {"at_first": row["outcome"]})
                found[line, row["change"]] = {**row, "line": line, "at_first": before["at_first"]}
    return list(found.values())


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
        at_first = sum(row["at_first"] != "survived" for row in mine)
        shares = [100 * count / (len(mine) - same) for count in (at_first, killed)]
        lines.append([file, total, len(mine), at_first, killed, same, len(left) - same, *shares])
        for row in left:
            change = f"`{row['change']}`".replace("|", "\\|")
            told.append([file, row["line"], change, EQUIVALENT.get((file, row["change"]), "")])
    for group, is_mine in (("verifiers", lambda file: "verify" in file), ("kernels", lambda file: "kernels" in file)):
        mine = [line for line in lines if is_mine(line[0])]
        sums = [sum(line[place] for line in mine) for place in range(1, 7)]
        different = max(1, sums[1] - sums[4])
        lines.append([f"all {group}", *sums, 100 * sums[2] / different, 100 * sums[3] / different])
    text = (
        f"Rows were measured at {', '.join(dict.fromkeys(row['commit'] for row in rows.read(RAW)))}.\n\n"
        "Mutants of a file, how many were drawn, killed when they were drawn (one of the tests that are asked first "
        "failed or took too long), killed by now, equivalent (read, and no test can tell them), survived; and the "
        "shares that were killed of those that are not equivalent. Most survivors got tests, or were needless code, so "
        "what the tests do with mutants that were not drawn the first share tells, not the second. A second sample "
        "(three of each kernel file, six of each verifier) was drawn after that; its survivors are those without a "
        "reason."
    )
    if missing := [file for file in TESTS if not latest(file)]:
        text += f" Not drawn from yet: {', '.join(missing)}."
    header = [
        "file",
        "mutants",
        "drawn",
        "killed at first",
        "killed",
        "equivalent",
        "survived",
        "at first, %",
        "killed, %",
    ]
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
