"""What all benchmark scripts share: one Markdown file a table, headed by command, commit, versions and machine."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from orl.files import write_atomically
from orl.versions import versions

RESULTS = Path(__file__).parent / "results"
VERSIONS = versions()  # at the start: what is measured is the commit that was there then


def write(
    name: str,
    title: str,
    sections: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Any]]]],
    block: str = "",
    digits: int = 6,
) -> None:
    """Write `results/<name>.md`: for each section a text, the headers and the rows of a table; then a fenced block.

    Numbers are shown with so many significant digits, also those that are given as text. A row that has not as many
    entries as there are headers is an error: the headers would be shifted, or left out.
    """
    sections = [(text, headers, [list(row) for row in rows]) for text, headers, rows in sections]
    for text, headers, rows in sections:
        if any(len(row) != len(headers) for row in rows):
            raise ValueError(f"{name}: a row has not as many entries as the table {text[:60]!r} has headers.")
    about = ", ".join(f"{key} {value}" for key, value in VERSIONS.items())
    lines = [
        f"# {title}",
        "",
        f"`python benchmarks/{Path(sys.argv[0]).name} {' '.join(_arguments())}".rstrip() + "`",
        "",
        f"Measured on {time.strftime('%Y-%m-%d')} with {about}; {os.cpu_count()} cores, {platform.machine()}.",
    ]
    for text, headers, rows in sections:
        lines += ["", text, "", tabulate(rows, headers=headers, tablefmt="pipe", floatfmt=f".{digits}g")]
        print("\n".join(lines[-3:]), flush=True)
    lines += ["", "```", block, "```"] if block else []
    RESULTS.mkdir(exist_ok=True)
    write_atomically(RESULTS / f"{name}.md", "\n".join(lines) + "\n")


def _arguments() -> list[str]:
    """The script's arguments; a path of this machine is shown by its last part."""
    return [Path(word).name if "/" in word and Path(word).exists() else word for word in sys.argv[1:]]


def one_core() -> None:
    """Keep this process on one core, whatever libraries would do."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def seconds(work: Callable[[], Any], repeats: int) -> list[float]:
    """Return the wall times of `repeats` calls, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return times
