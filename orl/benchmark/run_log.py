"""The log of a batch: a line of JSON a run, on the disk before the next one; a kill costs at most a half line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from orl.benchmark import kept
from orl.benchmark.measure import is_complete, to_line
from orl.errors import InputError, at
from orl.files import lock, make_folder, sweep, write_atomically

if TYPE_CHECKING:
    from orl.benchmark.runs import Suite

FILE = "runs.jsonl"
PLAN = "batch.json"


def read_rows(folder: Path | str) -> list[dict[str, Any]]:
    """Return the complete rows of a folder; a half line at the end, of a batch that runs or was killed, is left out."""
    path = Path(folder) / FILE
    try:
        return _rows(path, path.read_bytes())[0]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None


def write_plan(folder: Path, suite: Suite) -> None:
    """Write what rows do not tell of a suite: which runs it has, under which names, and where their instances are."""
    head = {"name": suite.name, "description": suite.description, "reference": suite.reference}
    runs = [
        {"key": run.key, "table": run.table, "label": run.label, "path": run.path, "options": run.options}
        for run in suite.runs
    ]
    plan = {**head, "folder": suite.runs[0].folder, "runs": runs}
    write_atomically(folder / PLAN, json.dumps(plan) + "\n")


def read_plan(folder: Path) -> dict[str, Any] | None:
    """Return what `write_plan` wrote, or None for a folder without it.

    Raises
    ------
    InputError
        If the file is broken.
    """
    path = folder / PLAN
    if not path.exists():
        return None
    try:
        return msgspec.to_builtins(msgspec.json.decode(path.read_bytes(), type=_Plan))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}.") from None


class _PlannedRun(TypedDict):
    key: str
    table: str
    label: str
    path: str
    options: dict[str, Any]


class _Plan(TypedDict):
    name: str
    description: str
    reference: str | None
    folder: str
    runs: list[_PlannedRun]


class RunLog:
    """The open log of a folder, for one batch at a time.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    resume : bool
        Whether the folder may hold runs already.

    Attributes
    ----------
    rows : list of dict
        All that the file holds.

    Raises
    ------
    InputError
        If the folder cannot be written, holds runs (without `resume`), is broken, or another batch writes to it.
    """

    def __init__(self, folder: Path, resume: bool):
        self.path = folder / FILE
        make_folder(folder)
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}).") from None
        try:
            lock(self._file, self.path, "batch")
            sweep(folder, folder / kept.FOLDER)
            _sync_folder(folder)
            data = _read(self._file)
            self.rows, length = _rows(self.path, data)
            if self.rows and not resume:
                raise InputError(
                    f"{self.path}: holds {len(self.rows)} runs; go on with --resume, or choose another --out."
                )
            os.ftruncate(self._file, length)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, row: dict[str, Any]) -> None:
        """Write a row whole, and have it on the disk."""
        data, length = to_line(row), os.fstat(self._file).st_size
        try:
            if os.write(self._file, data) < len(data):
                os.ftruncate(self._file, length)
                raise InputError(f"{self.path}: cannot be written (the disk is full).")
            os.fsync(self._file)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}).") from None
        self.rows.append(row)

    def close(self) -> None:
        """Close the file and let the next batch have it."""
        os.close(self._file)


def _rows(path: Path, data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return rows, and how many bytes they take."""
    length = data.rfind(b"\n") + 1
    rows = []
    for number, line in enumerate(data[:length].splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not is_complete(row):
            raise at(path, number, "expected the row of a run as JSON.")
        rows.append(row)
    return rows, length


def _read(file: int) -> bytes:
    parts, place = [], 0
    while part := os.pread(file, 2**24, place):
        parts.append(part)
        place += len(part)
    return b"".join(parts)


def _sync_folder(folder: Path) -> None:
    """Have the file's name on the disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
