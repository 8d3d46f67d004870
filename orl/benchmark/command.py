"""A user's own program as a method: an instance file in, a solution file out, verified as everything is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from orl import files
from orl.benchmark.memory import limited_memory, peak_memory_mb
from orl.errors import InputError
from orl.problem import Problem
from orl.result import Status
from orl.solver import NoSettings, Outcome, Solver, Task

PLACEHOLDERS = ("instance", "solution", "seed", "time_limit")
TAIL = 500  # characters of what a program wrote to stderr that a row keeps


class CommandFailed(Exception):
    """Report that a program ended with an exit code other than 0."""


def write_instance(family: Problem, instance: Any, file: Path, has_settings: bool, folder: Path) -> Path:
    """Write the instance that a program is to read.

    Without settings it is a copy of the file; with settings the family writes its .toml, which holds them.
    """
    if has_settings:
        assert family.save is not None
        path = folder / f"{file.stem}.toml"
        family.save(instance, path)
        return path
    if file.is_dir():
        return Path(shutil.copytree(file, folder / file.name))
    return Path(shutil.copy(file, folder / file.name))


def command_solver(
    label: str,
    words: Sequence[str],
    folder: Path,
    instance_file: Path,
    memory_limit_gb: float | None = None,
    hear: Callable[[str], object] = print,
) -> Solver:
    """Return the method that a program is.

    Parameters
    ----------
    label : str
    words : sequence of str
        Program and arguments, with placeholders `{instance}`, `{solution}`, `{seed}`, `{time_limit}`. No shell reads
        them.
    folder : Path
        Where the program runs.
    instance_file : Path
        What `{instance}` stands for. The solution is expected beside it, as JSON or CSV (see `orl.files`).
    memory_limit_gb : float or None
    hear : callable (text)
        Is told the end of what the program wrote to stderr, if it wrote anything.
    """

    def solve(task: Task) -> Outcome:
        solution = instance_file.parent / "solution.csv"
        values = dict(
            zip(PLACEHOLDERS, (instance_file, solution, task.seed, f"{task.control.time_limit:g}"), strict=True)
        )
        filled = [_filled(word, values) for word in words]
        with tempfile.TemporaryFile() as errors:
            before = peak_memory_mb()
            with limited_memory(memory_limit_gb):
                process = subprocess.Popen(
                    filled, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
                )
            _, code, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(code)
            tail = _tail(errors)
        if tail:
            hear(tail)
        if process.returncode != 0:
            raise CommandFailed(f"exit code {process.returncode}.")
        # A new process begins with its parent's peak, so only a higher one is known to be its own.
        peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        metrics = {"peak_memory_mb": peak} if before is not None and peak > before else {}
        if not solution.exists():
            return Outcome(Status.NO_SOLUTION, [], metrics=metrics)
        tables, about = files.read_solutions(solution)
        said = about.get("value")
        try:
            solutions = [task.problem.solution(task.instance, table) for table in tables]
        except InputError as error:
            raise InputError(f"{solution.name}: {error}") from None
        value = float(said) if isinstance(said, int | float) else None
        return Outcome(Status.FEASIBLE, solutions, value=value, metrics=metrics)

    return Solver(label, "a program of the user's", NoSettings, lambda _: True, solve=solve, needs_determinism=True)


def _filled(word: str, values: dict[str, Any]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", str(value))
    return word


def _tail(errors: IO[bytes]) -> str:
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4 * TAIL))
    return " ".join(errors.read().decode(errors="replace").split())[-TAIL:]
