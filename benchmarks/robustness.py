"""Whatever is wrong: a clear line and code 2, or it is done right; no traceback, hang, half file or wrong answer.

python benchmarks/robustness.py measure [--only settings ...] [--scale 1.0]   count what becomes of drawn commands
python benchmarks/robustness.py                                              write the table

Mangled instance files are counted by robustness_files.py, kills by bench_kill.py and train_kill.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import record
import robustness_settings as settings
import rows
from robustness_commands import HANDLED, REFUSED, counted, limited

RAW = record.RESULTS / "robustness"


def drawn(cases: Callable[..., Any], name: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of so many drawn commands."""
    limited()
    rng = np.random.default_rng([seed, *f"{cases.__name__} {name}".encode()])
    return counted(cases(name, count, rng))


KINDS: dict[str, list[tuple[str, int, Callable[..., Any]]]] = {  # title -> what, how many, and how they are counted
    "settings by --set": [(name, 400, partial(drawn, settings.by_set)) for name in settings.BASES],
    "other options": [(name, 60, partial(drawn, settings.of_commands)) for name in settings.BASES],
    "settings in suites": [(name, 300, partial(drawn, settings.in_suites)) for name in settings.BASES],
    "settings in instance files": [(name, 150, partial(drawn, settings.in_files)) for name in settings.BASES],
    "settings in recipes": [(name, 150, partial(drawn, settings.in_recipes)) for name in settings.RECIPES],
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
                    count = max(1, round(count * options.scale))
                    key = {"part": kind, "about": name, "count": count, "seed": options.seed}
                    cells.append((key, partial(measured, name, count, options.seed)))
        rows.measure(RAW, "commands", cells)
        return
    found = rows.read(RAW)
    lines = []
    for kind in KINDS:
        some = [row["counts"] for row in found if row["part"] == kind]
        totals = [sum(counts.get(key, 0) for counts in some) for key in (REFUSED, HANDLED, "failed")]
        lines.append([kind, sum(totals), *totals])
    lines.append(["all", *(sum(line[place] for line in lines) for place in range(1, 5))])
    text = f"{rows.commits(found)}"
    header = ["what is wrong", "tried", "refused in one line, code 2", "handled", "failures"]
    record.write("robustness", "Whatever is wrong", [(text, header, lines)])


if __name__ == "__main__":
    main()
