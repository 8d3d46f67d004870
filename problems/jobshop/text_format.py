"""The literature's text files of job shops, read and written.

Lines that begin with # are comments; then `jobs machines`; then a line a job of pairs `machine duration`, machines from
0 (jobs of unequal length are legal then); or, with any line breaks, jobs x machines pairs. Taillard's form: a line that
begins with `jobs machines`, then the block `Times` and the block `Machines`, a row a job, machines from 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from orl.errors import at

from .instance import MAX_HORIZON, JobShop

MAX_OPS = 10_000_000
Tokens = list[tuple[int, list[str]]]  # (line number, words)


def parse_text(text: str, path: Path | str = "<text>") -> tuple[list[list[int]], list[list[int]], int]:
    """Return routes, durations and the number of machines of a text in the standard or in Taillard's form."""
    lines: Tokens = [
        (number, line.split())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if lines and lines[0][1][0].lower() == "nb":  # Taillard's files open with a line of words
        lines = lines[1:]
    if not lines:
        raise at(path, None, "expected 'jobs machines', found no numbers.")
    number, words = lines[0]
    if len(words) < 2:
        raise at(path, number, f"expected 'jobs machines', got {_shown(words)}.")
    jobs, machines = (
        _integer(word, path, number, what) for word, what in zip(words, ("jobs", "machines"), strict=False)
    )
    if jobs < 1 or machines < 1 or jobs * machines > MAX_OPS:
        raise at(
            path, number, f"expected 1 or more jobs and machines, at most {MAX_OPS} operations, got {jobs} {machines}."
        )
    named = {words[0].lower().rstrip(":"): i for i, (_, words) in enumerate(lines) if words[0][0].isalpha()}
    if "times" in named and "machines" in named:
        return _taillard_blocks(lines, named, jobs, machines, path)
    body = lines[1:]
    if len(words) == 2 and len(body) == jobs:
        return (*_rows_of_pairs(body, machines, path), machines)
    if len(words) == 2 and _is_taillard(body, jobs, machines):
        blocks = [(number, ["Times"]), *body[:jobs], (number, ["Machines"]), *body[jobs:]]
        return _taillard_blocks(blocks, {"times": 0, "machines": jobs + 1}, jobs, machines, path)
    numbers = [(line, word) for line, row in [(number, words[2:]), *body] for word in row]
    if len(numbers) != 2 * jobs * machines:
        what = f"expected {jobs} lines of jobs, or {2 * jobs * machines} numbers in all"
        what += f", got {len(body)} lines with {len(numbers)} numbers"
        raise at(path, lines[-1][0], what + (" (a flexible job shop?)." if len(words) == 3 else "."))
    width = 2 * machines
    return (*_pairs([numbers[i : i + width] for i in range(0, len(numbers), width)], machines, path), machines)


def _rows_of_pairs(body: Tokens, machines: int, path: Path | str) -> tuple[list[list[int]], list[list[int]]]:
    for number, words in body:
        if len(words) % 2:
            raise at(path, number, f"expected pairs 'machine duration', got {len(words)} numbers.")
    return _pairs([[(number, word) for word in words] for number, words in body], machines, path)


def _pairs(
    rows: list[list[tuple[int, str]]], machines: int, path: Path | str
) -> tuple[list[list[int]], list[list[int]]]:
    routes, durations = [], []
    for row in rows:
        routes.append([_integer(word, path, line, "machine", machines - 1) for line, word in row[0::2]])
        durations.append([_integer(word, path, line, "duration") for line, word in row[1::2]])
    return routes, durations


def _is_taillard(body: Tokens, jobs: int, machines: int) -> bool:
    """Whether unnamed lines are the two blocks: machines from 1, each job visiting each machine once."""
    if len(body) != 2 * jobs or any(len(words) != machines for _, words in body):
        return False
    every = sorted(str(machine) for machine in range(1, machines + 1))
    return all(sorted(words) == every for _, words in body[jobs:])


def _taillard_blocks(
    lines: Tokens, named: Mapping[str, int], jobs: int, machines: int, path: Path | str
) -> tuple[list[list[int]], list[list[int]], int]:
    blocks = {}
    for name, low, high in (("times", 0, MAX_HORIZON), ("machines", 1, machines)):
        rows = lines[named[name] + 1 : named[name] + 1 + jobs]
        for number, words in rows:
            if len(words) != machines:
                raise at(path, number, f"expected {machines} numbers in the block of {name}, got {_shown(words)}.")
        if len(rows) < jobs:
            raise at(path, lines[-1][0], f"expected {jobs} lines in the block of {name}, got {len(rows)}.")
        blocks[name] = [[_integer(word, path, number, name, high, low) for word in words] for number, words in rows]
    return [[machine - 1 for machine in row] for row in blocks["machines"]], blocks["times"], machines


def _integer(word: str, path: Path | str, line: int, what: str, high: int = MAX_HORIZON - 1, low: int = 0) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", word):
        raise at(path, line, f"expected an integer for {what}, got {word[:40]!r}.")
    value = int(word)
    if not low <= value <= high:
        raise at(path, line, f"expected {what} in {low}..{high}, got {value}.")
    return value


def _shown(words: Sequence[str]) -> str:
    return repr(" ".join(words)[:60])


def to_text(instance: JobShop) -> str:
    """Return the standard text: exactly the routes and durations, with the name as a comment.

    >>> print(to_text(JobShop("two", machines=[[0, 1], [1, 0]], durations=[[3, 2], [2, 4]])), end="")
    # two
    2 2
    0 3 1 2
    1 2 0 4
    """
    rows = [
        " ".join(f"{machine} {duration}" for machine, duration in zip(route, times, strict=True))
        for route, times in zip(instance.machines, instance.durations, strict=True)
    ]
    name = " ".join(instance.name.split())
    return "\n".join([f"# {name}", f"{instance.num_jobs} {instance.num_machines}", *rows]) + "\n"
