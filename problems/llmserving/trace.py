"""A log as a trace that browsers draw, and as a table of requests."""

from __future__ import annotations

import csv
import io
import json
import math
from itertools import groupby
from typing import Any

import numpy as np

from orl.problem import Columns
from orl.scenario import Scenarios

from .instance import Serving, ServingLog
from .replay import Replay
from .verify import replayed

SERVER, REQUESTS = 1, 2  # processes of a trace
MICRO = 1e6  # of a second, or of a round


def chrome_trace(instance: Serving, scenario: Scenarios, log: ServingLog) -> dict[str, Any]:
    """Return a log in the Trace Event Format of chrome://tracing and Perfetto.

    A process of one thread a request holds its spans 'queued', 'prefill', 'decode' and 'swapped', a begin and an end
    each; another holds the batches, and counters of the queue and of the KV cache. Where a decision came before the end
    of a batch that was under way, the span after it begins with that end.
    """
    replay = replayed(instance, scenario, log)
    events: list[dict[str, Any]] = [_named("process_name", SERVER, 0, instance.name)]
    events += [_named("thread_name", SERVER, 0, "batches"), _named("process_name", REQUESTS, 0, "requests")]
    full = np.flatnonzero(~replay.is_empty)
    for epoch in full.tolist():
        start, end = float(log.start[epoch]) * MICRO, float(log.end[epoch]) * MICRO
        about = {
            "epoch": epoch,
            "tokens": int(replay.tokens[epoch]),
            "requests": int(replay.members[epoch]),
            "decodes": int(replay.decodes[epoch]),
        }
        events.append({"name": "batch", "ph": "X", "pid": SERVER, "tid": 0, "ts": start, "dur": max(end - start, 0.0),
                       "args": about})  # fmt: skip
    columns = (replay.epoch_time[:-1], replay.running, replay.waiting, replay.swapped, replay.used)
    for time, running, waiting, swapped, used in zip(*(column.tolist() for column in columns), strict=True):
        queue = {"running": running, "waiting": waiting, "swapped": swapped}
        events.append({"name": "requests", "ph": "C", "pid": SERVER, "ts": time * MICRO, "args": queue})
        events.append({"name": "KV blocks", "ph": "C", "pid": SERVER, "ts": time * MICRO, "args": {"held": used}})
    for request, spans in _spans(replay).items():
        events.append(_named("thread_name", REQUESTS, request, f"request {request}"))
        for state, begin, end in spans:
            where = {"name": state, "cat": "request", "pid": REQUESTS, "tid": request}
            events.append({**where, "ph": "B", "ts": begin * MICRO})
            events.append({**where, "ph": "E", "ts": end * MICRO})
    return {"displayTimeUnit": "ms", "traceEvents": events}


def trace_json(instance: Serving, scenario: Scenarios, log: ServingLog) -> str:
    """Return `chrome_trace` as the text of a file."""
    return json.dumps(chrome_trace(instance, scenario, log), separators=(",", ":")) + "\n"


def requests_csv(instance: Serving, scenario: Scenarios, log: ServingLog) -> str:
    """Return `requests_table` as the text of a file."""
    table = requests_table(instance, scenario, log)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return text.getvalue()


def _named(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _spans(replay: Replay) -> dict[int, list[tuple[str, float, float]]]:
    """Return each request's states one after the other, with begin and end."""
    spans: dict[int, list[tuple[str, float, float]]] = {}
    arrival, finish = replay.requests.arrival.tolist(), replay.finish.tolist()
    lives = sorted(replay.lives, key=lambda life: life[0])  # keeps the order of each request's
    last = float(replay.epoch_time[-1])
    for request, changes in groupby(lives, key=lambda life: life[0]):
        state, begin, found = "queued", arrival[request], []
        for _, following, time in changes:
            end = max(begin, finish[request] if following == "finished" else time)
            if end > begin:
                found.append((state, begin, end))
            state, begin = following, end
        if state != "finished" and last > begin:
            found.append((state, begin, last))
        spans[request] = found
    return spans


def requests_table(instance: Serving, scenario: Scenarios, log: ServingLog) -> Columns:
    """Return a row a request, as columns; what never came is None, `tpot` of a single token, too."""
    replay = replayed(instance, scenario, log)
    requests = replay.requests
    tpot = (replay.finish - replay.first_token) / np.where(requests.output > 1, requests.output - 1, np.nan)
    table = {
        "request": np.arange(len(requests)),
        "client": requests.client,
        "arrival": requests.arrival,
        "prompt": requests.prompt,
        "output": requests.output,
        "admitted": replay.admitted,
        "first_token": replay.first_token,
        "finish": replay.finish,
        "ttft": replay.first_token - requests.arrival,
        "tpot": tpot,
        "latency": replay.finish - requests.arrival,
        "preemptions": replay.preemptions,
        "recomputed_tokens": replay.recomputed,
        "blocks_swapped": replay.blocks_swapped,
    }
    return {
        name: [None if isinstance(entry, float) and math.isnan(entry) else entry for entry in values.tolist()]
        for name, values in table.items()
    }
