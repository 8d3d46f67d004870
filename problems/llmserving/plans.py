"""Logs as tables: a row an epoch, followed by a row for each of its events."""

from __future__ import annotations

from typing import Any

import numpy as np

from orl.entries import check_columns, number, whole
from orl.errors import InputError
from orl.params import nearest
from orl.problem import Columns
from orl.process import Observation

from . import kernels_codes as codes
from .instance import ADMIT, FINISH, KINDS, RECOMPUTE, SWAP_IN, SWAP_OUT, Serving, ServingLog

EPOCH, END = "epoch", "end"
HEADINGS = ("record", "epoch", "decided", "start", "end", "request", "number")
RECORDS = (EPOCH, *KINDS, END)
_ACTIONS = {ADMIT: 1, RECOMPUTE: 1, SWAP_IN: 1, SWAP_OUT: 2}  # and 2 for each request before


def columns(instance: Serving, log: ServingLog) -> Columns:
    """Return a log as columns.

    A row whose `record` is 'epoch' tells when an epoch's decisions were taken and when its batch was computed; the rows
    below it are its events, by their kinds. What is finished after the last epoch stands below a row 'end'. Entries
    that mean nothing are ''.
    """
    epochs = len(log.decided)
    at = log.events[:, 0]
    has_end = bool(at.size) and int(at.max()) >= epochs
    heads = np.arange(epochs + has_end)
    order = np.lexsort((np.concatenate([np.zeros(len(heads)), np.ones(len(at))]), np.concatenate([heads, at])))
    times = [column.tolist() for column in (log.decided, log.start, log.end)]
    events = log.events.tolist()
    rows: list[tuple[Any, ...]] = []
    for place in order.tolist():
        if place >= len(heads):
            epoch, request, kind, number = events[place - len(heads)]
            rows.append((KINDS[kind], epoch, "", "", "", request, number))
        elif place < epochs:
            rows.append((EPOCH, place, *(column[place] for column in times), "", ""))
        else:
            rows.append((END, place, "", "", "", "", ""))
    return dict(zip(HEADINGS, map(list, zip(*rows, strict=True)), strict=True)) if rows else {k: [] for k in HEADINGS}


def solution(instance: Serving, table: Columns) -> ServingLog:
    """Return the log that columns mean.

    Raises
    ------
    InputError
        If a column is missing or unknown, or an entry means nothing.
    """
    check_columns(table, HEADINGS)
    times: list[tuple[float, ...]] = []
    events: list[tuple[int, int, int, int]] = []
    has_ended = False
    for row, record in enumerate(table["record"]):
        if record not in RECORDS:
            known = nearest(str(record)[:40], RECORDS)
            raise InputError(f"column 'record', row {row}: there is no record {str(record)[:40]!r}; {known}")
        is_event = record in KINDS
        expected = max(len(times) - (not has_ended), 0) if is_event else len(times)
        epoch = _whole(table, "epoch", row)
        if epoch != expected or (is_event and not times) or (has_ended and not is_event):
            raise InputError(f"column 'epoch', row {row}: expected {record} in epoch {expected}, got {epoch}.")
        if is_event:
            kind = KINDS.index(record)
            if has_ended and kind != FINISH:
                raise InputError(f"column 'record', row {row}: expected finish after the last epoch, got {record}.")
            events.append((epoch, _whole(table, "request", row), kind, _whole(table, "number", row)))
        elif record == END:
            has_ended = True
        else:
            times.append(tuple(_time(table, name, row) for name in ("decided", "start", "end")))
    decided, start, end = np.array(times, dtype=np.float64).reshape(-1, 3).T
    return ServingLog(decided, start, end, np.array(events, dtype=np.int64).reshape(-1, 4))


def follow(planned: Serving, log: ServingLog, observation: Observation, env: int) -> int:
    """Return the next action of a log of the same scenario that was followed so far; where it fits no more, to run."""
    counters, legal = observation.arrays["counters"][env], observation.legal[env]
    action, at = 0, int(counters[codes.EVENTS])
    if at < len(log.events):
        epoch, request, kind, _ = log.events[at].tolist()
        if epoch == counters[codes.EPOCH] and kind in _ACTIONS:
            action = _ACTIONS[kind] + 2 * request
    return action if legal[action] else int(legal.argmax())


def _whole(table: Columns, name: str, row: int) -> int:
    value = whole(entry := table[name][row])
    if value is None:
        raise InputError(f"column {name!r}, row {row}: expected a whole number, got {str(entry)[:40]!r}.")
    return value


def _time(table: Columns, name: str, row: int) -> float:
    value = number(entry := table[name][row])
    if value is None:
        raise InputError(f"column {name!r}, row {row}: expected a time, got {str(entry)[:40]!r}.")
    return value
