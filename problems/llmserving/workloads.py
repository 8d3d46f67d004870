"""Requests from files: CSV by the names of its columns, Mooncake's JSONL; who shares a prefix with whom."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from orl.errors import InputError, at
from orl.files import read_text

from .instance import MAX_TOKENS, Requests, ServingSettings

# field -> name of a column -> what one of its units is in seconds, tokens or rows; the first one there is taken.
COLUMNS: dict[str, dict[str, float]] = {
    "arrival": {"arrival_s": 1, "req_time": 1, "timestamp_ms": 1e-3, "TIMESTAMP": 1},
    "prompt": {"input_tokens": 1, "context_tokens": 1, "ContextTokens": 1, "input_length": 1, "prompt_len": 1},
    "output": {
        "output_tokens": 1, "vllm_output_tokens": 1, "generated_tokens": 1, "GeneratedTokens": 1, "output_length": 1,
        "output_len": 1,
    },
    "client": {"client": 1},
    "conversation": {"conversation": 1, "conversation_index": 1},
    "turn": {"turn": 1},
    "priority": {"priority": 1},
    "weight": {"weight": 1},
    "shared": {"shared_prefix_tokens": 1, "shared_prefix_blocks16": 16, "shared_prefix_blocks512": 512},
    "parent": {"parent": 1, "parent_index": 1},
}  # fmt: skip
_NEEDED = ("arrival", "prompt", "output")
_HASHED = 512  # tokens that one of Mooncake's hashes stands for


@dataclass(frozen=True)
class _Table:
    """Rows as text by column, each with its line in the file."""

    path: Path
    names: list[str]
    rows: list[dict[str, str]]
    lines: list[int]

    def column(self, field: str) -> str | None:
        return next((name for name in COLUMNS[field] if name in self.names), None)

    def error(self, row: int, column: str, rule: str) -> InputError:
        return at(self.path, self.lines[row], f"{column} must be {rule}, got {self.rows[row][column][:40]!r}.")


def has_columns(names: list[str]) -> bool:
    """Return whether a header has what requests need."""
    return all(any(name in names for name in COLUMNS[field]) for field in _NEEDED)


def read_requests(path: Path | str, settings: ServingSettings | None = None) -> Requests:
    """Read requests from CSV, or from Mooncake's JSONL.

    Parameters
    ----------
    path : Path
        `COLUMNS` tells the columns; other ones are passed over. JSONL has timestamp (ms), input_length, output_length
        and, if prefixes are to be shared, hash_ids.
    settings : ServingSettings
        requests, rate, shared_prefix.

    Raises
    ------
    InputError
        One line that names file, line and column.
    """
    path, settings = Path(path), settings or ServingSettings()
    hashes: list[list[int]] = []
    if path.suffix == ".jsonl":
        table = _read_jsonl(path, hashes)
    else:
        table = _read_csv(path)
    if not table.rows:
        raise at(path, None, "expected requests below the header, found none.")
    arrival = _arrivals(table)
    order = np.argsort(arrival, kind="stable")
    prompt, output = (_integers(table, field, 1, MAX_TOKENS)[order] for field in ("prompt", "output"))
    if hashes:
        parent, shared = _by_hashes([hashes[row] for row in order], prompt)
        shared = np.where(parent >= 0, np.minimum(shared, (prompt + output)[parent]), 0)  # blocks are rounded up
    else:
        parent, shared = _parents(table, order, prompt, output, settings.shared_prefix)
    ones = np.ones(len(order))
    requests = Requests(
        arrival=arrival[order],
        prompt=prompt,
        output=output,
        client=_labels(table, "client")[order] if table.column("client") else 0 * ones,
        priority=_integers(table, "priority", -(2**31), 2**31)[order] if table.column("priority") else 0 * ones,
        weight=_numbers(table, "weight", may_be_zero=False)[order] if table.column("weight") else ones,
        parent=parent,
        shared=shared,
    )
    requests = adapted(requests, settings, str(path))
    if (np.diff(arrival) < 0).any():
        print(f"orl: {path}: requests were not sorted by arrival; they are now.", file=sys.stderr)
    return requests


def adapted(requests: Requests, settings: ServingSettings, where: str) -> Requests:
    """Return the first `settings.requests` of the requests, their arrivals stretched to `settings.rate`.

    Stretched arrivals begin with 0; what has the rate already stays as it is.

    Raises
    ------
    InputError
        If all arrive at once, and a rate is asked for.
    """
    if 0 < settings.requests < len(requests):
        cut = {name: getattr(requests, name)[: settings.requests] for name in requests.__dataclass_fields__}
        requests = Requests(**cut)
    if settings.rate == 0:
        return requests
    arrival = requests.arrival - requests.arrival[0]
    lasts = len(requests) / settings.rate
    if arrival[-1] <= 0:
        raise InputError(f"{where}: all requests arrive at once; rate={settings.rate:g} cannot be set.")
    if requests.arrival[0] == 0 and math.isclose(arrival[-1], lasts, rel_tol=1e-12):
        return requests
    return replace(requests, arrival=arrival * (lasts / arrival[-1]))


# Files --------------------------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> _Table:
    reader = csv.reader(io.StringIO(read_text(path)))
    rows, lines = [], []
    try:
        names = [name.strip() for name in next(reader, [])]
        for field in _NEEDED:
            if not any(name in names for name in COLUMNS[field]):
                expected = " or ".join(COLUMNS[field])
                raise at(path, 1, f"expected a column {expected}; found {', '.join(names)[:200] or 'no header'}.")
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise at(path, reader.line_num, f"expected {len(names)} entries, got {len(row)}.")
            rows.append({name: text.strip() for name, text in zip(names, row, strict=True)})
            lines.append(reader.line_num)
    except csv.Error as error:
        raise at(path, reader.line_num, f"expected CSV: {error}.") from None
    return _Table(path, names, rows, lines)


def _read_jsonl(path: Path, hashes: list[list[int]]) -> _Table:
    """Read Mooncake's form, the hashes into `hashes` if there are any."""
    rows, lines = [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        data = _object(path, number, line)
        ids = data.get("hash_ids")
        if ids is not None:
            if not isinstance(ids, list) or not all(isinstance(entry, int) for entry in ids):
                raise at(path, number, "hash_ids must be a list of integers.")
            hashes.append(ids)
        keys = {"timestamp": "timestamp_ms", "input_length": "input_length", "output_length": "output_length"}
        for key in keys:
            if key not in data:
                raise at(path, number, f"expected timestamp, input_length and output_length; {key} is missing.")
        rows.append({name: str(data[key]) for key, name in keys.items()})
        lines.append(number)
    if hashes and len(hashes) < len(rows):
        raise at(path, None, "hash_ids must be given for all requests or for none.")
    return _Table(path, ["timestamp_ms", "input_length", "output_length"], rows, lines)


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise at(path, number, f"expected JSON: {error.msg}.") from None
    except (ValueError, RecursionError) as error:
        raise at(path, number, f"expected JSON: {error}.") from None
    if not isinstance(data, dict):
        raise at(path, number, "expected an object.")
    return data


# Columns ------------------------------------------------------------------------------------------------------------


def _arrivals(table: _Table) -> np.ndarray:
    """Return seconds; dates count from the first."""
    column = table.column("arrival")
    if column != "TIMESTAMP":
        return _numbers(table, "arrival")
    moments = []
    for row, entry in enumerate(table.rows):
        whole, _, part = entry[column].partition(".")
        try:
            if part and not re.fullmatch("[0-9]{1,12}", part):
                raise ValueError
            moments.append((datetime.fromisoformat(whole).replace(tzinfo=None), float(f"0.{part or 0}")))
        except ValueError:
            raise table.error(row, column, "a date such as 2023-11-16 18:15:46.6805900") from None
    first, fraction = min(moments)
    return np.array([(moment - first).total_seconds() + part - fraction for moment, part in moments])


def _numbers(table: _Table, field: str, may_be_zero: bool = True) -> np.ndarray:
    column = table.column(field)
    assert column is not None
    values = np.empty(len(table.rows))
    for row, entry in enumerate(table.rows):
        try:
            value = float(entry[column]) * COLUMNS[field][column]
        except ValueError:
            value = math.nan
        if not (0 < value < math.inf or (value == 0 and may_be_zero)):
            raise table.error(row, column, f"a number {'>= 0' if may_be_zero else '> 0'}")
        values[row] = value
    return values


def _integers(table: _Table, field: str, low: int, high: int, blank: int | None = None) -> np.ndarray:
    """Return a column's integers in low..high; `blank` stands for an entry that is empty, if given."""
    column = table.column(field)
    assert column is not None
    values = np.empty(len(table.rows), dtype=np.int64)
    for row, entry in enumerate(table.rows):
        text = entry[column]
        if blank is not None and text == "":
            values[row] = blank
            continue
        if not re.fullmatch(r"[+-]?[0-9]{1,15}", text) or not low <= int(text) <= high:
            raise table.error(row, column, f"an integer in {low}..{high}")
        values[row] = int(text)
    return values * int(COLUMNS[field][column])


def _labels(table: _Table, field: str) -> np.ndarray:
    """Return labels as integers: themselves if all are, else in the order in which they appear; -1: empty."""
    column = table.column(field)
    assert column is not None
    texts = [entry[column] for entry in table.rows]
    if all(re.fullmatch("[0-9]{1,6}", text) for text in texts):
        return np.array([int(text) for text in texts])
    known: dict[str, int] = {}
    if field == "conversation":
        known[""] = -1
    return np.array([known.setdefault(text, len(known) - (field == "conversation")) for text in texts])


# Shared prefixes ----------------------------------------------------------------------------------------------------


def _parents(
    table: _Table, order: np.ndarray, prompt: np.ndarray, output: np.ndarray, shared_prefix: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return parent and shared tokens of the sorted requests."""
    total = prompt + output
    given = _integers(table, "shared", 0, MAX_TOKENS, blank=0)[order] if table.column("shared") else None
    if given is not None and table.column("shared") == "shared_prefix_tokens" and (given > prompt).any():
        row = int(order[(given > prompt).argmax()])
        raise table.error(row, "shared_prefix_tokens", "at most the input tokens")
    parent = np.full(len(order), -1, dtype=np.int64)
    if table.column("parent"):
        parent = _given_parents(table, order)
    else:
        is_told = np.zeros(len(order), dtype=bool)
        if table.column("conversation"):
            parent, is_told = _by_conversations(table, order)
        if given is not None:
            found = _earlier(prompt, np.where(is_told, 0, given), shared_prefix)
            parent = np.where(is_told, parent, found)
    shared = total[parent] if given is None else np.minimum(given, total[parent])
    return parent, np.where(parent >= 0, np.minimum(shared, prompt), 0)


def _given_parents(table: _Table, order: np.ndarray) -> np.ndarray:
    """Return the file's parents, rows from 0, as places in the order of arrival."""
    rows = _integers(table, "parent", -1, len(order) - 1, blank=-1)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    parent = np.where(rows >= 0, place[rows], -1)[order]
    if (parent >= np.arange(len(order))).any():
        row = int(order[(parent >= np.arange(len(order))).argmax()])
        raise table.error(row, str(table.column("parent")), "the row, from 0, of a request that arrives earlier, or -1")
    return parent


def _by_conversations(table: _Table, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each request's parent, the turn before it in its conversation, and whether it is in one."""
    label = _labels(table, "conversation")[order]
    turn = _integers(table, "turn", 0, 2**31)[order] if table.column("turn") else None
    parent = np.full(len(order), -1, dtype=np.int64)
    earlier: dict[int, list[int]] = {}
    for place, conversation in enumerate(label):
        before = earlier.setdefault(int(conversation), [])
        if turn is not None:
            turns = [turn[other] for other in before if turn[other] < turn[place]]
            own = [other for other in before if turns and turn[other] == max(turns)]
        else:
            own = before
        if conversation >= 0 and own:
            parent[place] = own[-1]
        before.append(place)
    return parent, label >= 0


def _earlier(prompt: np.ndarray, shared: np.ndarray, which: str) -> np.ndarray:
    """Return for each request that shares something an earlier one whose prompt is long enough, or -1."""
    parent = np.full(len(prompt), -1, dtype=np.int64)
    if which == "none":
        return parent
    for row in np.flatnonzero(shared):
        others = np.flatnonzero(prompt[:row] >= shared[row])
        if len(others) == 0:
            continue
        if which == "random":
            parent[row] = others[np.random.default_rng([0, int(row)]).integers(len(others))]
        else:
            parent[row] = others[-1 if which == "latest" else 0]
    return parent


def _by_hashes(hashes: list[list[int]], prompt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return parent and shared tokens: the latest earlier request that has the last of the blocks seen before."""
    parent = np.full(len(hashes), -1, dtype=np.int64)
    shared = np.zeros(len(hashes), dtype=np.int64)
    holder: dict[int, int] = {}
    for row, ids in enumerate(hashes):
        seen = next((place for place, entry in enumerate(ids) if entry not in holder), len(ids))
        if seen:
            parent[row] = holder[ids[seen - 1]]
            shared[row] = min(seen * _HASHED, prompt[row])
        holder.update(dict.fromkeys(ids, row))
    return parent, shared
