"""Tables of solutions, as they come from JSON or CSV: which columns there must be, and what an entry means."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from orl.errors import InputError
from orl.params import nearest
from orl.problem import Columns

LARGEST = 2**53  # whole numbers of JSON beyond may be floats, which hold not all of them


def check_columns(table: Columns, expected: Iterable[str]) -> None:
    """Refuse a table that has other columns than expected, in whatever order."""
    names = list(expected)
    for name in table:
        if name not in names:
            raise InputError(f"unknown column {name!r}; {nearest(name, names)}")
    for name in names:
        if name not in table:
            raise InputError(f"column {name!r} is missing.")


def whole(entry: Any) -> int | None:
    """Return the whole number that an entry means, or None.

    >>> whole("12"), whole(12.0), whole("1.5"), whole(True)
    (12, 12, None, None)
    """
    if isinstance(entry, str):
        return int(entry) if re.fullmatch("-?[0-9]{1,18}", entry) else None
    if isinstance(entry, bool) or not isinstance(entry, int | float) or not abs(entry) < LARGEST:
        return None
    return int(entry) if entry == int(entry) else None


def number(entry: Any) -> float | None:
    """Return the finite number that an entry means, or None.

    >>> number("1e3"), number(2), number("nan"), number(None)
    (1000.0, 2.0, None, None)
    """
    if isinstance(entry, bool):
        return None
    try:
        value = float(entry)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None
