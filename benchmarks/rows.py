"""Raw rows of a benchmark, a JSON line each in a file a part, so that a long measurement goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import record
from tqdm import tqdm

Row = dict[str, Any]
Cell = tuple[Row, Callable[[], Row]]  # what names a row, and what measures the rest of it


def read(folder: Path) -> list[Row]:
    """Return the rows of all parts."""
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def measure(folder: Path, part: str, cells: Iterable[Cell]) -> None:
    """Append to a part the rows of cells that no row is there for; a cell's name tells its part."""
    folder.mkdir(parents=True, exist_ok=True)
    there = read(folder)
    missing = [(key, rest) for key, rest in cells if not any(key.items() <= row.items() for row in there)]
    for key, rest in tqdm(missing, desc=part):
        line = json.dumps({**key, **rest(), "commit": record.VERSIONS.get("commit")})
        with (folder / f"{part}.jsonl").open("a") as file:
            file.write(line + "\n")


def commits(rows: Iterable[Row]) -> str:
    """Return at which commits the rows of each part were measured."""
    return "Rows were measured: " + ", ".join(dict.fromkeys(f"{row['part']} at {row['commit']}" for row in rows)) + "."
