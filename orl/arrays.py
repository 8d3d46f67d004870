"""Arrays of records and observations: whole where they must be, and nobody may write to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from orl.errors import InputError

LARGEST = 2.0**63  # beyond, an int64 has no room


def frozen(array: np.ndarray) -> np.ndarray:
    """Return an array of one's own that nobody may write to from now on."""
    array.setflags(write=False)
    return array


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a view of an array that its owner goes on writing to, and nobody else may."""
    return frozen(array.view())


def whole_numbers(name: str, values: Any) -> np.ndarray:
    """Return a copy of whole numbers as int64, read-only.

    Raises
    ------
    InputError
        If one is none, or beyond int64; names it and its place.

    Examples
    --------
    >>> whole_numbers("prompt", [3.0, 2]).tolist()
    [3, 2]
    >>> whole_numbers("prompt", [3, 2.5])
    Traceback (most recent call last):
    orl.errors.InputError: prompt must be whole numbers, got 2.5 at [1].
    """
    try:
        array = np.array(values)
    except (ValueError, OverflowError):  # rows of different lengths
        array = np.array(None)
    if array.dtype.kind not in "biuf" and array.size:
        raise InputError(f"{name} must be whole numbers, got {str(values)[:60]}.")
    if array.dtype.kind in "uf":
        is_whole = (array == np.floor(array)) & (np.abs(array) < LARGEST)
        if not is_whole.all():
            place = np.argwhere(~is_whole)[0].tolist()
            raise InputError(f"{name} must be whole numbers, got {array[tuple(place)]:g} at {place}.")
    return frozen(array.astype(np.int64, copy=False))
