"""Numbers of an instance that are none, or are so large that sums of them would lose what is small."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from orl.errors import InputError

MAX_NUMBER = 1e12  # MW, hm3, m3/s, USD


def check_numbers(part: Any, unlimited: tuple[str, ...] = ()) -> None:
    """Raise an error unless the floats of a dataclass, arrays or single, are numbers of at most `MAX_NUMBER` in size.

    Fields that are named `unlimited` may be infinite.
    """
    for of in fields(part):
        values = np.asarray(getattr(part, of.name))
        if values.dtype.kind != "f":
            continue
        is_right = np.abs(values) <= MAX_NUMBER
        if of.name in unlimited:
            is_right |= np.isinf(values)
        if not is_right.all():
            found = values[~is_right].flat[0]
            raise InputError(f"{of.name}: expected numbers between -{MAX_NUMBER:g} and {MAX_NUMBER:g}, got {found:g}.")
