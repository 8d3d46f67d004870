"""The pigment sequencing problem (CSPLib prob058): its `.psp` files, and the `.dzn` files of larger instances.

One machine makes a unit a period or is idle, which keeps its set-up; going from one item to another costs, the first
item of all does not; a unit that is made before its due date costs its item's stocking cost a period; none may be late.

A `.psp` file holds white space between whole numbers: periods T, items n, n rows of T flags (1: a unit is due in that
period), the stocking cost of all items, n rows of n changeover costs, and one or two numbers more: the optimum, or a
lower and an upper bound. A `.dzn` file (MiniZinc) names Periods, Items, Demands, StockingCosts and SetupCosts.

References
----------
CSPLib prob058, discrete lot sizing: https://www.csplib.org/Problems/prob058
S. Ceschia, L. Di Gaspero, A. Schaerf (2017). Solving discrete lot-sizing and scheduling by simulated annealing and
mixed integer programming. Computers & Industrial Engineering 114. doi 10.1016/j.cie.2017.10.017
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orl import params
from orl.errors import InputError, at
from orl.files import instance_folder, known_bounds, read_text
from orl.problem import KnownBounds

from .demand import PathDemand
from .instance import LotSizing, LotSizingSettings

SUFFIXES = (".psp", ".dzn")
FORM = {"unmet": "forbid", "idle": "keeps-setup"}  # settings of a pigment sequencing problem
_KEYS = ("Periods", "Items", "Demands", "StockingCosts", "SetupCosts")


class Pigments(NamedTuple):
    """What a file says.

    Parameters
    ----------
    due : int ndarray (num_items, num_periods)
        Units.
    stocking : ndarray (num_items,)
    changeover : ndarray (num_items, num_items)
    reported : tuple of float
        The optimum, or a lower and an upper bound, or nothing.
    notices : tuple of str
        What is wrong with the file, though it can be read.
    """

    due: np.ndarray
    stocking: np.ndarray
    changeover: np.ndarray
    reported: tuple[float, ...] = ()
    notices: tuple[str, ...] = ()


def is_pigments(path: Path, text: str) -> bool:
    """Return whether a file is one of these, from its name or its beginning."""
    if path.suffix in SUFFIXES:
        return True
    if all(re.search(rf"^\s*{key}\s*=", text, re.M) for key in ("Periods", "Items", "Demands")):
        return True
    head = text.split(maxsplit=2)
    if len(head) < 3 or not all(re.fullmatch("[0-9]{1,9}", word) for word in head[:2]):
        return False
    flags = [line.split() for line in text.splitlines() if line.strip()][2:4]
    return bool(flags) and all(len(row) == int(head[0]) and set(row) <= {"0", "1"} for row in flags)


def load_pigments(path: Path, settings: Mapping[str, Any]) -> LotSizing:
    """Read an instance; what is odd about the file is told on stderr.

    Parameters
    ----------
    path : Path
    settings : name -> value
        Of `LotSizingSettings`, before those that make it a pigment sequencing problem.

    Raises
    ------
    InputError
        One line that names the file, the line and what was expected.
    """
    text = read_text(path)
    is_dzn = path.suffix == ".dzn" or (path.suffix != ".psp" and "=" in text)
    said = _parse_dzn(path, text) if is_dzn else _parse_psp(path, text)
    known, notices = _known(path, text, said)
    for notice in (*said.notices, *notices):
        print(f"orl: {path}: {notice}", file=sys.stderr)
    items, periods = said.due.shape
    changeover = np.zeros((1, items + 1, items + 1))
    changeover[0, 1:, 1:] = said.changeover
    try:
        return LotSizing(
            path.stem,
            rates=np.ones((1, items)),
            holding_costs=said.stocking,
            # Nothing may be short; the greedy rule weighs by this what being early costs.
            shortage_costs=np.full(items, max(float(said.changeover.max()), 1.0)),
            stock_limits=np.full(items, max(periods, int(said.due.sum(axis=1).max()))),
            demand=PathDemand(said.due.T),
            num_periods=periods,
            changeover_costs=changeover,
            settings=params.make(LotSizingSettings, {**FORM, **settings}, str(path)),
            source=str(path),
            known=known,
        )
    except InputError as error:
        raise at(path, None, str(error).removeprefix(f"{path}: ")) from None


def to_psp(instance: LotSizing, path: Path) -> str:
    """Return a `.psp` file's text.

    Raises
    ------
    InputError
        If the instance has more than the format holds.
    """
    items = instance.num_items
    changeover = instance.changeover_cost[0]
    demand = instance.demand
    reasons = {
        "unmet=forbid": instance.settings.unmet == "forbid",
        "idle=keeps-setup": instance.settings.idle == "keeps-setup",
        "discount 1": instance.settings.discount == 1,
        "no cost_noise": instance.settings.cost_noise == 0,
        "a start from the file": instance.settings.start == "file",
        "rates of 1": bool((instance.rates == 1).all()),
        "no stock at the start": not np.any(instance.initial_stock),
        "an idle machine at the start": not np.any(instance.initial_setup),
        "no cost of the first set-up": not changeover[0].any(),
        "one stocking cost for all items": bool((instance.holding_costs == instance.holding_costs[0]).all()),
        "whole costs": bool((changeover % 1 == 0).all() and (instance.holding_costs % 1 == 0).all()),
        "demand of 0 or 1": isinstance(demand, PathDemand) and bool((demand.path[: instance.horizon] <= 1).all()),
        "no names": instance.item_names is None and instance.machine_names is None,
    }
    for what, holds in reasons.items():
        if not holds:
            raise InputError(f"{path}: a .psp file needs {what}; choose a name ending in .toml.")
    assert isinstance(demand, PathDemand)
    rows = [" ".join(map(str, row)) for row in demand.path[: instance.horizon].T.tolist()]
    costs = [" ".join(f"{cost:.0f}" for cost in row) for row in changeover[1:, 1:].tolist()]
    lines = [str(instance.horizon), str(items), *rows, f"{instance.holding_costs[0]:.0f}", "", *costs]
    if (known := best_known(instance)) is not None:
        bounds = [known.upper] if known.lower == known.upper else [known.lower, known.upper]
        lines += ["", " ".join(f"{bound:.0f}" for bound in bounds if bound is not None)]
    return "\n".join(lines) + "\n"


def best_known(instance: LotSizing) -> KnownBounds | None:
    """Return the bounds that came with the instance, if it is what they speak of."""
    settings = instance.settings
    is_same = (
        settings.discount == 1
        and settings.horizon in ("auto", "file")
        and (settings.unmet, settings.idle, settings.start) == ("forbid", "keeps-setup", "file")
        and settings.cost_noise == 0
        and instance.state is None
    )
    return instance.known if is_same else None


# Parsing ------------------------------------------------------------------------------------------------------------


def _parse_psp(path: Path, text: str) -> Pigments:
    numbers = _Numbers(path, text)
    periods, items = numbers.one("the number of periods", 1), numbers.one("the number of items", 1)
    due = numbers.table("due-date flags", items, periods)
    if (due > 1).any():
        item, period = np.argwhere(due > 1)[0].tolist()
        raise at(
            path, None, f"due-date flags must be 0 or 1, got {due[item, period]} in period {period} of item {item}."
        )
    stocking = numbers.one("the stocking cost", 0)
    width, notices = items, []
    rows = [len(row) for row in numbers.rows_left()]
    if rows and items < rows[0] < len(rows) and set(rows[: rows[0]]) == {rows[0]}:
        width = rows[0]
        notices.append(
            f"says {items} items but holds {width} x {width} changeover costs; the first {items} rows and columns "
            "count, and its last line does not."
        )
    changeover = numbers.table("changeover costs", width, width)[:items, :items]
    reported = numbers.rest()
    if len(reported) > 2:
        raise at(path, numbers.line, f"expected an optimum or two bounds at the end, got {len(reported)} numbers.")
    if len(reported) == 2 and reported[0] > reported[1]:
        raise at(path, numbers.line, f"expected a lower and an upper bound, got {reported[0]} and {reported[1]}.")
    return Pigments(due, np.full(items, float(stocking)), changeover, () if notices else reported, tuple(notices))


class _Numbers:
    """Whole numbers between white space, one after another, with their lines."""

    def __init__(self, path: Path, text: str):
        self._path = path
        self._words = [(word, number) for number, line in enumerate(text.splitlines(), 1) for word in line.split()]
        self._next = 0

    @property
    def line(self) -> int | None:
        """The line of the number that is next, or of the last one."""
        return self._words[min(self._next, len(self._words) - 1)][1] if self._words else None

    def one(self, what: str, least: int) -> int:
        if self._next == len(self._words):
            raise at(self._path, self.line, f"expected {what}, found the end.")
        word = self._words[self._next][0]
        if not (word.isascii() and word.isdigit() and len(word) <= 9 and int(word) >= least):
            raise at(self._path, self.line, f"expected {what}, a whole number >= {least}, got {word[:40]!r}.")
        self._next += 1
        return int(word)

    def table(self, what: str, rows: int, columns: int) -> np.ndarray:
        if rows * columns > len(self._words) - self._next:
            found = len(self._words) - self._next
            raise at(self._path, self.line, f"expected {rows} rows of {columns} {what}, found {found} numbers.")
        return np.array([[self.one(what, 0) for _ in range(columns)] for _ in range(rows)])

    def rows_left(self) -> list[list[str]]:
        """Return the words that are left, line by line."""
        by_line: dict[int, list[str]] = {}
        for word, line in self._words[self._next :]:
            by_line.setdefault(line, []).append(word)
        return list(by_line.values())

    def rest(self) -> tuple[float, ...]:
        return tuple(float(self.one("a bound", 0)) for _ in range(len(self._words) - self._next))


def _parse_dzn(path: Path, text: str) -> Pigments:
    said: dict[str, str] = dict(re.findall(r"(\w+)\s*=\s*([^;]*);", re.sub(r"%.*", "", text)))
    for key in _KEYS:
        if key not in said:
            raise at(path, None, f"{key} is missing.")

    def numbers(key: str, *shape: int) -> np.ndarray:
        words = re.findall(r"[^\s,|\[\]]+", said[key])
        count = int(np.prod(shape))
        for word in words:
            if not re.fullmatch(r"[0-9]{1,9}", word):
                raise at(path, None, f"{key} must be whole numbers >= 0, got {word[:40]!r}.")
        if len(words) != count:
            raise at(path, None, f"{key} must be {' x '.join(map(str, shape)) or 'one'} numbers, got {len(words)}.")
        return np.array(list(map(int, words))).reshape(shape)

    periods, items = int(numbers("Periods")), int(numbers("Items"))
    if not (periods and items):
        raise at(path, None, f"Periods and Items must be >= 1, got {periods} and {items}.")
    return Pigments(
        numbers("Demands", items, periods),
        numbers("StockingCosts", items).astype(np.float64),
        numbers("SetupCosts", items, items),
    )


def _known(path: Path, text: str, said: Pigments) -> tuple[KnownBounds | None, list[str]]:
    """Return the best known bounds, those of the table if the file is the packaged one, and what is to be told."""
    reported = KnownBounds(said.reported[0], said.reported[-1], f"last line of {path.name}") if said.reported else None
    packaged = instance_folder("lotsizing") / path.name
    table = known_bounds("lotsizing", path.stem)
    if table is None or not packaged.is_file() or read_text(packaged).split() != text.split():
        return reported, []
    assert table.lower is not None and table.upper is not None
    if not said.reported or (said.reported[0] <= table.upper and said.reported[-1] >= table.lower):
        return table, []
    return table, [f"its last line says {said.reported[-1]:.0f}; the optimum is {table.upper:.0f} ({table.source})."]
