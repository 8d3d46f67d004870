"""What a suite comes to: runs, in plain values that travel to the process that makes them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One run, in plain values that travel as JSON: what `measure` needs to know.

    Parameters
    ----------
    key : str
        A hash of all that the result depends on, the instance file's bytes among it.
    table, label : str
        Where the row belongs in the summary, and the method's name there.
    problem, instance : str
    path : str
        Where the instance is: an absolute path, or the name of a packaged one.
    settings : name -> value
        Of the instance.
    swept : dotted name -> value
        Those of the settings that the suite sweeps.
    solver, command : str or None
        One of the two.
    options : name -> value
        Of the solver.
    seed, scenarios : int
    is_random : bool
        Whether anything in the instance is.
    purpose : str
    time_limit, kill_after : float, seconds
    memory_limit_gb : float or None
    folder : str
        The suite's, in which commands run and modules are found.
    keep_solutions : int
        Of the first scenarios.
    """

    key: str
    table: str
    label: str
    problem: str
    instance: str
    path: str
    settings: Mapping[str, Any]
    swept: Mapping[str, Any]
    solver: str | None
    command: str | None
    options: Mapping[str, Any]
    seed: int
    scenarios: int
    is_random: bool
    purpose: str
    time_limit: float
    kill_after: float
    memory_limit_gb: float | None
    folder: str
    keep_solutions: int


@dataclass(frozen=True)
class Suite:
    """A checked suite.

    Parameters
    ----------
    name, description : str
    reference : str or None
        Label of the method that differences are taken to; None: the best of each table.
    runs : tuple of Run
        In the order in which they run: instance by instance.
    text : str
        The file's.
    """

    name: str
    description: str
    reference: str | None
    runs: tuple[Run, ...]
    text: str


def words_of(command: str) -> list[str]:
    """Return a command's words, split as a shell splits them."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"command {command!r}: {error}.") from None
    if not words:
        raise ValueError("command must not be empty.")
    return words


@contextmanager
def modules_of(folder: Path | str) -> Iterator[None]:
    """Find `module:NAME` beside the suite as well."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
