"""Logs of LLM serving as tables, pictures and traces."""

import csv
import json
from dataclasses import replace
from itertools import pairwise

import logs
import pytest
from logs import NONE, made

import orl
from orl import api
from orl.errors import InputError
from orl.problems.llmserving import plans
from orl.problems.llmserving.plot import draw_log, plot
from orl.problems.llmserving.trace import chrome_trace, requests_csv, requests_table, trace_json

ALL = [
    (logs.TWO, logs.TWO_EPOCHS, logs.TWO_EVENTS),
    (logs.TIGHT, logs.SWAP_EPOCHS, logs.SWAP_EVENTS),
    (logs.BESIDE, logs.BESIDE_EPOCHS, logs.BESIDE_EVENTS),
    (logs.PIPELINED, logs.PIPELINED_EPOCHS, logs.PIPELINED_EVENTS),
    (logs.JOINED, logs.JOINED_EPOCHS, logs.JOINED_EVENTS),
]


@pytest.mark.parametrize(("instance", "epochs", "events"), ALL)
def test_a_log_is_a_table_and_back(instance, epochs, events):
    epochs = [(a / 3, b / 3, c / 7) for a, b, c in epochs]  # floats that need all their digits
    log = made(epochs, events)
    table = plans.columns(instance, log)
    assert len({len(column) for column in table.values()}) == 1
    texts = {name: [str(entry) for entry in column] for name, column in table.items()}
    for form in (table, json.loads(json.dumps(table)), texts):
        back = plans.solution(instance, form)
        for name in ("decided", "start", "end", "events"):
            assert (getattr(back, name) == getattr(log, name)).all()


@pytest.mark.parametrize(
    ("words", "column", "row", "entry"),
    [
        ("column 'record', row 1: there is no record 'admid'; did you mean", "record", 1, "admid"),
        ("column 'epoch', row 0: expected epoch in epoch 0, got 3", "epoch", 0, 3),
        ("column 'epoch', row 1: expected admit in epoch 0, got 1", "epoch", 1, 1),
        ("column 'decided', row 0: expected a time, got 'soon'", "decided", 0, "soon"),
        ("column 'end', row 0: expected a time, got 'inf'", "end", 0, "inf"),
        ("column 'request', row 1: expected a whole number, got '1.5'", "request", 1, "1.5"),
        ("column 'number', row 1: expected a whole number, got ''", "number", 1, ""),
    ],
)
def test_tables_that_mean_nothing(words, column, row, entry):
    table = plans.columns(logs.TWO, made(logs.TWO_EPOCHS, logs.TWO_EVENTS))
    table[column][row] = entry
    with pytest.raises(InputError, match=words):
        plans.solution(logs.TWO, table)


def test_columns_are_all_there_and_known():
    table = plans.columns(logs.TWO, made(logs.TWO_EPOCHS, logs.TWO_EVENTS))
    with pytest.raises(InputError, match="column 'start' is missing"):
        plans.solution(logs.TWO, {name: column for name, column in table.items() if name != "start"})
    with pytest.raises(InputError, match="unknown column 'sart'"):
        plans.solution(logs.TWO, {**table, "sart": table["start"]})


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_pictures(tmp_path, suffix):
    path = tmp_path / f"log{suffix}"
    plot(logs.TIGHT, [made(logs.SWAP_EPOCHS, logs.SWAP_EVENTS)], path, 20.0, NONE)
    assert path.stat().st_size > 1000
    title = draw_log(logs.TIGHT, made(logs.SWAP_EPOCHS, logs.SWAP_EVENTS), 20.0).get_suptitle()
    assert title == "paper: 2 requests, cost 25.00, bound 20.00 (gap 20.0%)"


@pytest.mark.parametrize(("instance", "epochs", "events"), ALL)
def test_traces(instance, epochs, events):
    log = made(epochs, events)
    trace = json.loads(trace_json(instance, NONE, log))
    assert trace == chrome_trace(instance, NONE, log)
    rows = {}
    for event in trace["traceEvents"]:
        assert {"name", "ph", "pid"} <= set(event)
        if event["ph"] in "BE":
            rows.setdefault(event["tid"], []).append((event["ph"], event["name"], event["ts"]))
    assert sorted(rows) == list(range(len(instance.source)))
    for row in rows.values():
        for begin, end in zip(row[::2], row[1::2], strict=True):
            assert (begin[0], end[0]) == ("B", "E") and begin[1] == end[1] and begin[2] < end[2]
        assert all(a[2] <= b[2] for a, b in pairwise(row))
    batches = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(batches) == sum(a < b for _, a, b in epochs)


def test_spans_of_a_trace_on_paper():
    events = chrome_trace(logs.BESIDE, NONE, made(logs.BESIDE_EPOCHS, logs.BESIDE_EVENTS))["traceEvents"]
    spans = [(event["name"], event["ts"] / 1e6) for event in events if event["ph"] in "BE" and event["tid"] == 1]
    expected = "prefill 0, prefill 1, decode 1, decode 2, swapped 2, swapped 12, decode 12, decode 14"
    assert ", ".join(f"{name} {time:.3g}" for name, time in spans) == expected


def test_a_table_of_requests():
    table = requests_table(logs.TWO, NONE, made(logs.TWO_EPOCHS, logs.TWO_EVENTS))
    assert table["ttft"] == [1.0, 1.0] and table["latency"] == [3.0, 2.0] and table["tpot"] == [1.0, 1.0]
    rows = list(csv.DictReader(requests_csv(logs.TWO, NONE, made(logs.TWO_EPOCHS, logs.TWO_EVENTS)).splitlines()))
    assert [row["finish"] for row in rows] == ["3.0", "2.0"]


def test_the_ending_of_a_file_says_what_is_exported(tmp_path, monkeypatch):
    shop = orl.load("jobshop/ft06")
    family = api.problem_of(shop)
    result = orl.solve(shop, "spt")
    exports = {".first.csv": lambda instance, scenario, schedule: f"{instance.name} {schedule.makespan}\n"}
    monkeypatch.setattr(api, "problem_of", lambda instance: replace(family, exports=exports))
    for name in ("a.first.csv", "A.FIRST.CSV"):
        orl.save_result(shop, result, tmp_path / name)
        assert (tmp_path / name).read_text() == f"ft06 {int(result.value)}\n"
    orl.save_result(shop, result, tmp_path / "first.csv")
    assert (tmp_path / "first.csv").read_text().startswith("job,")
    with pytest.raises(InputError, match="there is no solution to write"):
        orl.save_result(shop, replace(result, solutions=[]), tmp_path / "b.first.csv")
