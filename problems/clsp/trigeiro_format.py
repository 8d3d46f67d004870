"""The text files of Trigeiro, Thomas and McClain (1989), read and written.

    items periods
    cost of a unit made (left out of costs)
    capacity of every period
    unit time, holding cost, set-up time, set-up cost      a line an item
    demand of every item                                   a line a period
    anything

References
----------
W. W. Trigeiro, L. J. Thomas, J. O. McClain (1989). Capacitated lot sizing with setup times. Management Science 35(3).
doi 10.1287/mnsc.35.3.353
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from orl.errors import InputError, at
from orl.files import read_text

from .instance import MAX_ENTRIES, CapacitatedLotSizing, CapacitatedSettings


def is_trigeiro(text: str) -> bool:
    """Return whether a text begins as these files do: two numbers, then one, then one, then four."""
    lines = [line.split() for line in text.splitlines() if line.strip()][:4]
    return [len(line) for line in lines] == [2, 1, 1, 4] and all(_is_number(word) for line in lines for word in line)


def load(path: Path, settings: CapacitatedSettings) -> CapacitatedLotSizing:
    """Read an instance."""
    lines = [(number, line.split()) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    if not lines:
        raise at(path, None, "the file is empty.")
    items, periods = (_whole(path, lines, 0, place) for place in (0, 1))
    if items < 1 or periods < 1 or items * periods > MAX_ENTRIES:
        what = f"expected 1 or more items and periods, at most {MAX_ENTRIES} of both together"
        raise at(path, lines[0][0], f"{what}, got {items} {periods}.")
    unit_cost, capacity = (_row(path, lines, place, 1)[0] for place in (1, 2))
    table = np.array([_row(path, lines, 3 + item, 4) for item in range(items)])
    demand = [_row(path, lines, 3 + items + period, items) for period in range(periods)]
    try:
        return CapacitatedLotSizing(
            path.stem,
            np.array(demand),
            np.full(periods, capacity),
            unit_times=table[:, 0],
            setup_times=table[:, 2],
            setup_costs=table[:, 3],
            holding_costs=table[:, 1],
            unit_cost=unit_cost,
            settings=settings,
            source=str(path),
        )
    except InputError as error:
        raise at(path, None, str(error).removeprefix(f"{path}: ")) from None


def to_text(instance: CapacitatedLotSizing) -> str:
    """Return an instance as text.

    Raises
    ------
    InputError
        If it has what the format has not: periods of different capacity, or stock at the start.
    """
    if (instance.capacity != instance.capacity[0]).any():
        raise InputError(f"{instance.name}: this format has one capacity for all periods; write it as TOML.")
    if instance.initial_stock.any():
        raise InputError(f"{instance.name}: this format has no stock at the start; write it as TOML.")
    parts = (instance.unit_times, instance.holding_costs, instance.setup_times, instance.setup_costs)
    rows: list[list[float]] = [[instance.num_items, instance.num_periods], [instance.unit_cost]]
    rows.append([float(instance.capacity[0])])
    rows += [list(row) for row in zip(*parts, strict=True)]
    rows += instance.demand.tolist()
    return "\n".join(" ".join(f"{number:.15g}" for number in row) for row in rows) + "\n"


def _row(path: Path, lines: list[tuple[int, list[str]]], place: int, count: int) -> list[float]:
    if place >= len(lines):
        raise at(path, lines[-1][0], f"the file ends here, {place + 1} lines of numbers or more are expected.")
    number, words = lines[place]
    if len(words) != count or not all(map(_is_number, words)):
        raise at(path, number, f"expected {count} number{'s' * (count > 1)}, got {' '.join(words)[:40]!r}.")
    return [float(word) for word in words]


def _whole(path: Path, lines: list[tuple[int, list[str]]], place: int, column: int) -> int:
    value = _row(path, lines, place, 2)[column]
    if not value.is_integer():
        raise at(path, lines[place][0], f"expected whole numbers of items and periods, got {value:g}.")
    return int(value)


def _is_number(word: str) -> bool:
    try:
        return word.isascii() and "_" not in word and math.isfinite(float(word))
    except ValueError:
        return False
