"""Curves over time: how far methods are from the best known values as they search, and what trainings log."""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orl.benchmark.picture import MAX_METHODS, MIN_SECONDS
from orl.benchmark.statistics import primal_gaps
from orl.benchmark.tables import best_values, incumbents
from orl.errors import at
from orl.files import read_text

Points = tuple[list[float], list[float]]
MAX_POINTS = 300  # of a curve
LOG = "log.csv"


def gap_curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, Points]:
    """Return the mean primal gap of each method of a table by time, in percent; it holds until the next entry.

    The area beneath a curve is the table's primal integral, but that times below `MIN_SECONDS` are drawn as one.
    Empty if no method found anything on the way.
    """
    best = best_values(rows)
    runs: dict[str, list[list[tuple[float, float]]]] = defaultdict(list)
    for row in rows:
        value, found = best.get((row["instance"], row["seed"])), incumbents(row)
        if value is not None and found is not None and not row["clairvoyant"]:
            gaps = [(max(seconds, MIN_SECONDS), gap) for seconds, gap in primal_gaps(found, value)]
            runs[row["label"]].append([(0.0, 1.0), *gaps])
    if not any(len(run) > 2 for of_method in runs.values() for run in of_method):
        return {}
    curves = {}
    for label, of_method in list(runs.items())[:MAX_METHODS]:
        times = sorted({seconds for run in of_method for seconds, _ in run if seconds > 0})
        step = max(1, math.ceil(len(times) / MAX_POINTS))
        times = [MIN_SECONDS, *(x for x in times[::-1][::step][::-1] if x > MIN_SECONDS)]  # the last one among them
        at_times = [[run[bisect_right(run, (time, math.inf)) - 1][1] for run in of_method] for time in times]
        curves[label] = times, [100 * sum(gaps) / len(gaps) for gaps in at_times]
    return curves


def is_log(path: Path) -> bool:
    """Tell whether a file begins as the log of a training does."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(100).startswith("iteration,seconds,")
    except (OSError, UnicodeDecodeError):
        return False


def read_log(path: Path) -> dict[str, Points]:
    """Return the columns of a training's log by iteration; a column skips the iterations that have no entry.

    Raises
    ------
    InputError
        With the line that is none of a log.
    """
    reader = csv.reader(io.StringIO(read_text(path)))
    try:
        (_, header), *lines = [(reader.line_num, entries) for entries in reader]
    except csv.Error as error:
        raise at(path, reader.line_num, f"expected CSV: {error}.") from None
    curves: dict[str, Points] = {name: ([], []) for name in header[1:]}
    for number, entries in lines:
        if len(entries) != len(header):
            raise at(path, number, f"expected {len(header)} entries, got {len(entries)}.")
        for name, entry in zip(header[1:], entries[1:], strict=True):
            if not entry:
                continue
            try:
                iteration, value = float(entries[0]), float(entry)
            except ValueError:
                raise at(path, number, f"expected numbers, got {entry[:40]!r} as {name}.") from None
            if math.isfinite(value):
                curves[name][0].append(iteration)
                curves[name][1].append(value)
    return {name: points for name, points in curves.items() if points[0]}
