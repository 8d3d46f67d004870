"""Whatever is wrong: a clear line and code 2, or it is done right; no traceback, hang, half file or wrong answer.

python benchmarks/robustness.py measure [--only settings ...] [--scale 1.0]   count what becomes of drawn commands
python benchmarks/robustness.py                                              write the table

Mangled instance files are counted by robustness_files.py, kills by bench_kill.py and train_kill.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import record
import robustness_checkpoints as checkpoints
import robustness_homes as homes
import robustness_instances as instances
import robustness_places as places
import robustness_settings as settings
import rows
from robustness_commands import HANDLED, REFUSED, SLOW, counted, limited

RAW = record.RESULTS / "robustness"


def drawn(cases: Callable[..., Any], name: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of so many drawn commands."""
    limited()
    rng = np.random.default_rng([seed, *f"{cases.__name__} {name}".encode()])
    return counted(cases(name, count, rng))


def each(names: Iterable[str], count: int, measured: Callable[..., Any]) -> list[tuple[str, int, Callable[..., Any]]]:
    return [(name, count, measured) for name in names]


FAMILIES = tuple(settings.BASES)
KINDS = {  # title -> what, how many commands (0: as many as there are), and how they are counted
    "settings by --set": each(FAMILIES, 300, partial(drawn, settings.by_set)),
    "other options": each(FAMILIES, 60, partial(drawn, settings.of_commands)),
    "settings in suites": each(FAMILIES, 200, partial(drawn, settings.in_suites)),
    "settings in instance files": each(FAMILIES, 100, partial(drawn, settings.in_files)),
    "settings in recipes": each(settings.RECIPES, 100, partial(drawn, settings.in_recipes)),
    "NaN, infinite and huge numbers in instances": each(instances.BASES, 60, instances.numbers),
    "empty instances": each(FAMILIES, 0, instances.empty),
    "instances of one element, every method": each(FAMILIES, 0, instances.tiny),
    "unreadable paths": each(["all"], 0, places.unreadable),
    "unwritable paths": each(["all"], 0, places.unwritable),
    "odd names of files": each(["all"], 0, places.odd_names),
    "full disk (a tmpfs of 1 MB)": each(["all"], 12, places.full_disk),
    "files that cannot grow: the result is told": each(["all"], 0, places.told_before),
    "tampered checkpoints": each(checkpoints.POLICIES, 400, checkpoints.policies),
    "tampered cuts": each(["sddp"], 400, checkpoints.cuts),
    "two at once": each(["benches", "trainings", "solves"], 15, places.two_at_once),
    "no home": each(["unset", "missing", "a file", "shut", "relative"], 0, homes.homes),
    "read-only install": each(["with a home", "with a shut home"], 0, homes.install),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of kinds, or of what they are about")
    parser.add_argument("--scale", type=float, default=1.0, help="of the counts")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.action:
        cells = []
        for kind, parts in KINDS.items():
            for name, count, measured in parts:
                if not options.only or any(kind.startswith(one) or name.startswith(one) for one in options.only):
                    count = max(1, round(count * options.scale)) if count else 0
                    key = {"part": kind, "about": name, "count": count, "seed": options.seed}
                    cells.append((key, partial(measured, name, count, options.seed)))
        rows.measure(RAW, "commands", cells)
        return
    found = rows.read(RAW)
    lines = []
    for kind in KINDS:
        some = [row["counts"] for row in found if row["part"] == kind]
        totals = [sum(counts.get(key, 0) for counts in some) for key in (REFUSED, HANDLED, "failed")]
        lines += [[kind, sum(totals), *totals]] if some else []  # not measured yet
    lines.append(["all", *(sum(line[place] for line in lines) for place in range(1, 5))])
    text = (
        f"{', '.join(dict.fromkeys(row['commit'] for row in found))} were measured. Commands of every kind: how many, "
        f"refused in one line with code 2 within {SLOW:g} s of work, handled (done, or told that there is no solution; "
        "every value verified), and anything else: a traceback, a hang, a file half-written, a wrong answer, code of "
        "others that was run."
    )
    header = ["what is wrong", "tried", "refused in one line, code 2", "handled", "failures"]
    sections = [(text, header, lines)]
    if failures := [[row["part"], f"`{one}`"] for row in found for one in row["failures"]]:
        sections.append(("Failures. What earlier ones showed was mended, and the same commands were tried again.",
                         ["what is wrong", "command, and what became of it"], failures))  # fmt: skip
    record.write("robustness", "Whatever is wrong", sections)


if __name__ == "__main__":
    main()
