"""Tables of numbers and JSON objects, read with messages that name file and line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from orl.errors import at
from orl.files import parse_json, read_text


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    data = parse_json(read_text(path), path)
    if not isinstance(data, dict):
        raise at(path, None, "expected a JSON object.")
    return data


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of a CSV with their numbers, from 1."""
    reader = csv.reader(io.StringIO(read_text(path)), delimiter=delimiter)
    try:
        yield from enumerate(reader, start=1)
    except csv.Error as error:
        raise at(path, reader.line_num, f"expected a CSV: {error}.") from None


def read_table(path: Path, header: bool = False, first: int = 0, delimiter: str = ",", missing: str = "") -> np.ndarray:
    """Read a CSV of numbers, (rows, columns).

    Parameters
    ----------
    header : bool
        Whether the first line holds names.
    first : int
        How many leading columns hold names.
    missing : str
        What stands for a number that is not known, read as NaN; empty: nothing does.
    """
    rows: list[list[float]] = []
    for number, row in _rows(path, delimiter):
        if not row or (header and number == 1):
            continue
        try:
            rows.append([np.nan if entry == (missing or None) else float(entry) for entry in row[first:]])
        except ValueError:
            raise at(path, number, f"expected numbers, got {','.join(row)[:40]!r}.") from None
        if not (np.isfinite(rows[-1]) | (np.isnan(rows[-1]) & bool(missing))).all():
            raise at(path, number, "expected finite numbers.")
        if len(rows[-1]) != len(rows[0]):
            raise at(path, number, f"expected {len(rows[0])} columns, got {len(rows[-1])}.")
    if not rows:
        raise at(path, None, "the file is empty.")
    return np.array(rows)
