"""LLM serving: logs made by hand, right and broken in every way; what is read of them; kernels and verifier agree."""

import csv
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from servers import servers

import orl
from orl import api
from orl.errors import InputError
from orl.problems.llmserving import plans
from orl.problems.llmserving.instance import KINDS, CostModel, Requests, Serving, ServingLog, ServingSettings
from orl.problems.llmserving.metrics import metrics
from orl.problems.llmserving.plot import draw_log, plot
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.replay_memory import Copies, Memory, Priorities
from orl.problems.llmserving.rules import RULES
from orl.problems.llmserving.scenario import sample
from orl.problems.llmserving.trace import chrome_trace, requests_csv, requests_table, trace_json
from orl.problems.llmserving.verify import durations, replayed, verify
from orl.scenario import Scenarios
from orl.testing import RandomPolicy

NONE = Scenarios.deterministic()
SECOND = CostModel([0.0, 1.0, 1.0], [0.0, 0.0], [0, 1], [0, 1], np.zeros((2, 2)), [0, 1], [0, 1], np.zeros((2, 2)))


def server(prompts, outputs, arrivals=None, blocks=100, cpu=100, parent=None, shared=None, client=None, **settings):
    """A server whose batches take a second, copies one a block; blocks of one token, no pipelining, no cache."""
    count = len(prompts)
    same = [0] * count
    asked = Requests(
        arrivals or same, prompts, outputs, client or same, same, [1.0] * count, parent or [-1] * count, shared or same
    )
    plain = {"block_size": 1, "async_scheduling": False, "enable_prefix_caching": False, "copy_us": 1e6,
             "pcie_gbs": 1e6, **settings}  # fmt: skip
    return Serving("paper", asked, SECOND, blocks, cpu, 1000, 1, ServingSettings(**plain))


def made(epochs, events):
    """A log of (decided, start, end) and of 'epoch request kind number' lines."""
    rows = [line.split() for line in events.splitlines() if line.strip()]
    table = [(int(epoch), int(request), KINDS.index(kind), int(number)) for epoch, request, kind, number in rows]
    decided, start, end = zip(*epochs, strict=True)
    return ServingLog(decided, start, end, table)


TWO = server([4, 2], [3, 2])
TWO_EPOCHS = [(0, 0, 1), (1, 1, 2), (2, 2, 3)]
TWO_EVENTS = """
    0 0 admit 0
    0 1 admit 0
    0 0 prefill 4
    0 1 prefill 2
    2 1 finish 0
    3 0 finish 0
"""
# Ten blocks: at time 2 both hold 5 and nothing is left.
TIGHT = server([4, 4], [4, 4], blocks=10)
TIGHT_EPOCHS = [(0, 0, 1), (1, 1, 2), (2, 2, 3), (3, 3, 4), (4, 4, 5), (5, 5, 6)]
TIGHT_EVENTS = """
    0 0 admit 0
    0 1 admit 0
    0 0 prefill 4
    0 1 prefill 4
    2 1 recompute 5
    4 0 finish 0
    4 1 admit 0
    4 1 prefill 6
    6 1 finish 0
"""
SWAP_EPOCHS = [(0, 0, 1), (1, 1, 2), (2, 7, 8), (8, 8, 9), (9, 14, 15), (15, 15, 16)]
SWAP_EVENTS = """
    0 0 admit 0
    0 1 admit 0
    0 0 prefill 4
    0 1 prefill 4
    2 1 swap-out 5
    4 0 finish 0
    4 1 swap-in 5
    6 1 finish 0
"""
# Copies go on beside batches: out from 2 to 7, in from 7 to 12.
BESIDE = server([4, 4], [4, 4], blocks=12, overlap=True)
BESIDE_EPOCHS = [(0, 0, 1), (1, 1, 2), (2, 2, 3), (3, 3, 4), (4, 4, 4), (7, 7, 7), (12, 12, 13), (13, 13, 14)]
BESIDE_EVENTS = """
    0 0 admit 0
    0 1 admit 0
    0 0 prefill 4
    0 1 prefill 4
    2 1 swap-out 5
    4 0 finish 0
    5 1 swap-in 5
    8 1 finish 0
"""
# The second request's first four tokens are the first one's, in two blocks.
CACHED = server([4, 5], [1, 1], [0.0, 1.5], parent=[-1, 0], shared=[0, 4], block_size=2, enable_prefix_caching=True)
CACHED_EPOCHS = [(0, 0, 1), (1, 1, 1), (1.5, 1.5, 2.5)]
CACHED_EVENTS = """
    0 0 admit 0
    0 0 prefill 4
    1 0 finish 0
    2 1 admit 4
    2 1 prefill 1
    3 1 finish 0
"""
PIPELINED = server([2], [2], async_scheduling=True)
PIPELINED_EPOCHS = [(0, 0, 1), (0, 1, 2), (1, 1, 1)]
PIPELINED_EVENTS = """
    0 0 admit 0
    0 0 prefill 2
    3 0 finish 0
"""


# Twelve blocks in areas of 4, a second a stretch. The first request lies in 0 1 2, 3 and 8 9, the other in 4 5 6, 7 and
# 10 11: at time 4 nothing is left, and its six blocks are copied out in two stretches. The first takes 10, next to its
# 9, and ends at 7; 11 is the first in the queue then, so the other is copied into 8 9 10 11, and 4 5 of the next area.
GROUPED = server([3, 3], [5, 5], blocks=12, block_group=4)
GROUPED_EPOCHS = [(0, 0, 1), (1, 1, 2), (2, 2, 3), (3, 3, 4), (4, 6, 7), (7, 9, 10)]
GROUPED_EVENTS = """
    0 0 admit 0
    0 1 admit 0
    0 0 prefill 3
    0 1 prefill 3
    4 1 swap-out 6
    5 0 finish 0
    5 1 swap-in 6
    6 1 finish 0
"""
# Blocks of two tokens, a second each: out 2 and in 2; the first is full, so then out only the second, and in 2.
KEPT = server([3], [4], block_size=2, kv_reuse="preemptions")
KEPT_EPOCHS = [(0, 0, 1), (1, 1, 1), (1, 5, 6), (6, 6, 6), (6, 9, 10), (10, 10, 11)]
KEPT_EVENTS = """
    0 0 admit 0
    0 0 prefill 3
    1 0 swap-out 3
    2 0 swap-in 3
    3 0 swap-out 4
    4 0 swap-in 4
    6 0 finish 0
"""
# The first turn's two blocks are copied out when it ends at 1, the second turn copies them in: 4 seconds to wait for.
TURNS = server([4, 5], [1, 1], [0.0, 1.5], parent=[-1, 0], shared=[0, 4], block_size=2, kv_reuse="turns")
TURNS_EPOCHS = [(0, 0, 1), (1, 1, 1), (1.5, 5.5, 6.5)]
# Beside batches: out from 1 to 3, and in from 4, when the second turn arrives, to 6.
LATE = server([4, 5], [1, 1], [0.0, 4.0], parent=[-1, 0], shared=[0, 4], block_size=2, kv_reuse="turns", overlap=True)
LATE_EPOCHS = [(0, 0, 1), (1, 1, 1), (3, 3, 3), (4, 4, 4), (6, 6, 7)]
LATE_EVENTS = """
    0 0 admit 0
    0 0 prefill 4
    1 0 finish 0
    3 1 admit 4
    4 1 prefill 1
    5 1 finish 0
"""
# The same, but the second turn joins the batch, which is empty without it, at once, and the batch waits.
JOINED = replace(LATE, settings=replace(LATE.settings, overlap_from=1))
JOINED_EPOCHS = [(0, 0, 1), (1, 1, 1), (3, 3, 3), (4, 6, 7)]
JOINED_EVENTS = LATE_EVENTS.replace("4 1 prefill", "3 1 prefill").replace("5 1 finish", "4 1 finish")
# As the second turn arrives at 1.5 the copy out goes on until 3: it computes all of its prompt, and its own two full
# blocks are copied out when it ends.
EARLY = replace(TURNS, settings=replace(TURNS.settings, overlap=True))
EARLY_EPOCHS = [(0, 0, 1), (1, 1, 1), (1.5, 1.5, 2.5)]
EARLY_EVENTS = CACHED_EVENTS.replace("2 1 admit 4", "2 1 admit 0").replace("2 1 prefill 1", "2 1 prefill 5")


@pytest.mark.parametrize(
    ("instance", "epochs", "events", "cost"),
    [
        (GROUPED, GROUPED_EPOCHS, GROUPED_EVENTS, 17.0),
        (KEPT, KEPT_EPOCHS, KEPT_EVENTS, 11.0),
        (TURNS, TURNS_EPOCHS, CACHED_EVENTS, 6.0),
        (LATE, LATE_EPOCHS, LATE_EVENTS, 4.0),
        (JOINED, JOINED_EPOCHS, JOINED_EVENTS, 4.0),
        (EARLY, EARLY_EPOCHS, EARLY_EVENTS, 2.0),
        (TWO, TWO_EPOCHS, TWO_EVENTS, 5.0),
        (TIGHT, TIGHT_EPOCHS, TIGHT_EVENTS, 10.0),
        (TIGHT, SWAP_EPOCHS, SWAP_EVENTS, 25.0),
        (BESIDE, BESIDE_EPOCHS, BESIDE_EVENTS, 18.0),
        (CACHED, CACHED_EPOCHS, CACHED_EVENTS, 2.0),
        (PIPELINED, PIPELINED_EPOCHS, PIPELINED_EVENTS, 2.0),
    ],
)
def test_logs_that_are_right(instance, epochs, events, cost):
    report = verify(instance, NONE, made(epochs, events))
    assert report.violations == ()
    assert report.cost == pytest.approx(cost)


def test_a_token_under_way_at_a_preemption_counts():
    """Swapped out as its second token is computed from 1 to 2, a request is finished when that is known."""
    epochs = [(0, 0, 1), (0, 1, 2), (1, 1, 1)]
    events = PIPELINED_EVENTS.replace("3 0 finish 0", "2 0 swap-out 3\n 3 0 finish 0")
    assert verify(PIPELINED, NONE, made(epochs, events)) == (orl.Report(2.0, ()))


BROKEN = [
    # kind, words of the message, instance, epochs, events, (what, by what) replaced in the events
    ("order", "epoch 4, request 0: finish comes too late", TIGHT, TIGHT_EPOCHS, TIGHT_EVENTS,
     ("4 0 finish 0\n    4 1 admit 0", "4 1 admit 0\n    4 0 finish 0")),
    ("order", "epoch 3, request 0: recompute after the last epoch", TWO, TWO_EPOCHS, TWO_EVENTS,
     ("3 0 finish 0", "3 0 recompute 6")),
    ("life", "epoch 0, request 0: swap-in of a request that is waiting", TWO, TWO_EPOCHS, TWO_EVENTS,
     ("0 0 admit", "0 0 swap-in")),
    ("life", "epoch 3, request 1: finish of a request that is finished", TWO, TWO_EPOCHS, TWO_EVENTS,
     ("3 0 finish", "3 1 finish 0\n    3 0 finish")),
    ("touched", "epoch 2, request 1: admit of a request that was touched", TIGHT, TIGHT_EPOCHS, TIGHT_EVENTS,
     ("2 1 recompute 5", "2 1 recompute 5\n    2 1 admit 0")),
    ("arrival", "epoch 0, request 1: admitted at 0, it arrives at 0.5", server([4, 2], [3, 2], [0, 0.5]), TWO_EPOCHS,
     TWO_EVENTS, ("", "")),
    ("prefix", "epoch 0, request 1: 1 tokens found in the prefix cache, there are 0", TWO, TWO_EPOCHS, TWO_EVENTS,
     ("0 1 admit 0", "0 1 admit 1")),
    ("prefix", "epoch 2, request 1: 0 tokens found in the prefix cache, there are 4", CACHED, CACHED_EPOCHS,
     CACHED_EVENTS, ("2 1 admit 4", "2 1 admit 0")),
    ("seats", "epoch 0, request 1: 1 requests run already", server([4, 2], [3, 2], max_num_seqs=1), TWO_EPOCHS,
     TWO_EVENTS, ("", "")),
    ("budget", "epoch 0: a batch of 6 tokens, 5 are allowed",
     server([4, 2], [3, 2], max_num_seqs=2, max_num_batched_tokens=5), TWO_EPOCHS, TWO_EVENTS, ("", "")),
    ("budget", "epoch 0, request 1: the batch leaves no tokens of the budget of 4",
     server([4, 2], [3, 2], max_num_seqs=2, max_num_batched_tokens=4), TWO_EPOCHS, TWO_EVENTS, ("", "")),
    ("batch", "epoch 0, request 0: a chunk of 3 tokens, not of 4", TWO, TWO_EPOCHS, TWO_EVENTS,
     ("prefill 4", "prefill 3")),
    ("batch", "epoch 1, request 0: a chunk of 1 tokens, not of 0", TWO, TWO_EPOCHS, TWO_EVENTS,
     ("2 1 finish", "1 0 prefill 1\n    2 1 finish")),
    ("batch", "epoch 0, request 0: has two chunks", TWO, TWO_EPOCHS, TWO_EVENTS,
     ("0 0 prefill 4", "0 0 prefill 4\n    0 0 prefill 4")),
    ("admit", "epoch 0, request 1: needs 4 blocks, 3 are free", server([4, 4], [3, 2], blocks=7), TWO_EPOCHS,
     TWO_EVENTS, ("0 1 prefill 2", "0 1 prefill 4")),
    ("blocks", "epoch 2: 12 blocks are held, there are 10", TIGHT, TIGHT_EPOCHS, TIGHT_EVENTS,
     ("2 1 recompute 5", "")),
    ("swap-in", "epoch 3, request 1: needs 6 blocks, 3 are free", TIGHT, SWAP_EPOCHS, SWAP_EVENTS,
     ("4 0 finish 0\n    4 1 swap-in 5", "3 1 swap-in 5\n    4 0 finish 0")),
    ("cpu-blocks", "epoch 2, request 1: swap-out of 5 blocks, 4 are free on the CPU",
     server([4, 4], [4, 4], blocks=10, cpu=4), SWAP_EPOCHS, SWAP_EVENTS, ("", "")),
    ("number", "epoch 2, request 1: recompute of 4 tokens, it has computed 5", TIGHT, TIGHT_EPOCHS, TIGHT_EVENTS,
     ("recompute 5", "recompute 4")),
    ("number", "epoch 4, request 1: swap-in of 6 tokens, it has computed 5", TIGHT, SWAP_EPOCHS, SWAP_EVENTS,
     ("swap-in 5", "swap-in 6")),
    ("transfer", "epoch 4, request 1: swap-in at 4, its swap-out ends at 7", BESIDE, BESIDE_EPOCHS, BESIDE_EVENTS,
     ("5 1 swap-in", "4 1 swap-in")),
    ("life", "epoch 6, request 1: swap-out of a request that is running and not copied yet", BESIDE,
     [*BESIDE_EPOCHS[:6], (8, 8, 8), *BESIDE_EPOCHS[6:]], BESIDE_EVENTS,
     ("8 1 finish", "6 1 swap-out 5\n    9 1 finish")),
    ("swap-out", "epoch 1, request 1: swap-out of a request that has computed nothing",
     server([4, 4], [4, 4], enable_chunked_prefill=False, max_num_seqs=2, max_num_batched_tokens=8), TIGHT_EPOCHS,
     TIGHT_EVENTS, ("0 1 prefill 4", "1 1 swap-out 0")),
    ("finish", "epoch 1, request 1: finishes after 1 of 2 tokens", TWO, TWO_EPOCHS, TWO_EVENTS,
     ("2 1 finish", "1 1 finish")),
    ("finish", "epoch 3, request 1: finishes, its last token is known in epoch 2", TWO, TWO_EPOCHS, TWO_EVENTS,
     ("2 1 finish 0\n", "3 1 finish 0\n")),
    ("finish", "the number of a finish is 0, got 7", TWO, TWO_EPOCHS, TWO_EVENTS, ("3 0 finish 0", "3 0 finish 7")),
    ("finish", "epoch 2, request 0: finishes, its last token is known in epoch 3", PIPELINED, PIPELINED_EPOCHS,
     PIPELINED_EVENTS, ("3 0 finish", "2 0 finish")),
    ("unfinished", "request 0: 3 of 3 tokens are computed and it is not finished", TWO, TWO_EPOCHS, TWO_EVENTS,
     ("3 0 finish 0", "")),
    ("start", "epoch 1: the batch starts at 0.5, 1 would be right", TWO, [(0, 0, 1), (1, 0.5, 1.5), (2, 2, 3)],
     TWO_EVENTS, ("", "")),
    ("start", "epoch 2: the batch starts at 2, 7 would be right", TIGHT, [*SWAP_EPOCHS[:2], (2, 2, 3), (3, 3, 4),
     (4, 9, 10), (10, 10, 11)], SWAP_EVENTS, ("", "")),
    ("start", "epoch 4: the batch starts at 10, 6 would be right", GROUPED, [*GROUPED_EPOCHS[:4], (4, 10, 11),
     (11, 13, 14)], GROUPED_EVENTS, ("", "")),  # a second a block
    ("start", "epoch 5: the batch starts at 8, 9 would be right", GROUPED, [*GROUPED_EPOCHS[:5], (7, 8, 9)],
     GROUPED_EVENTS, ("", "")),  # in one stretch
    ("start", "epoch 4: the batch starts at 10, 9 would be right", KEPT, [*KEPT_EPOCHS[:4], (6, 10, 11), (11, 11, 12)],
     KEPT_EVENTS, ("", "")),  # both blocks out again
    ("start", "epoch 2: the batch starts at 3.5, 5.5 would be right", TURNS, [*TURNS_EPOCHS[:2], (1.5, 3.5, 4.5)],
     CACHED_EVENTS, ("", "")),  # nothing copied out
    ("start", "epoch 3: the batch starts at 4, 6 would be right", JOINED, [*JOINED_EPOCHS[:3], (4, 4, 5)],
     JOINED_EVENTS, ("", "")),
    ("prefix", "epoch 2, request 1: 0 tokens found in the prefix cache or copied in, there are 4", TURNS, TURNS_EPOCHS,
     CACHED_EVENTS, ("2 1 admit 4", "2 1 admit 0")),
    ("prefix", "epoch 2, request 1: 4 tokens found in the prefix cache, there are 0", EARLY, EARLY_EPOCHS, EARLY_EVENTS,
     ("2 1 admit 0", "2 1 admit 4")),
    ("touched", "epoch 3, request 1: recompute of a request that was touched in this epoch", JOINED, JOINED_EPOCHS,
     JOINED_EVENTS, ("3 1 admit 4", "3 1 admit 4\n    3 1 recompute 4")),
    ("start", "epoch 1: the batch is empty and starts at 1.2", CACHED, [(0, 0, 1), (1, 1.2, 1.2), (1.5, 1.5, 2.5)],
     CACHED_EVENTS, ("", "")),
    ("duration", "epoch 2: the batch of 1 tokens, 1 requests takes 0.5, the cost model says 1", TWO,
     [(0, 0, 1), (1, 1, 2), (2, 2, 2.5)], TWO_EVENTS, ("", "")),
    ("epoch", "epoch 0: decided at 1, the first is at 0", TWO, [(1, 1, 2), (2, 2, 3), (3, 3, 4)], TWO_EVENTS, ("", "")),
    ("epoch", "epoch 1: decided at 0.5, 1 would be right", TWO, [(0, 0, 1), (0.5, 1, 2), (2, 2, 3)], TWO_EVENTS,
     ("", "")),
    ("epoch", "epoch 2: decided at 0, 1 would be right", PIPELINED, [(0, 0, 1), (0, 1, 2), (0, 0, 0)],
     PIPELINED_EVENTS, ("", "")),
    ("epoch", "epoch 5: decided at 6, 7 would be right", BESIDE,
     [*BESIDE_EPOCHS[:5], (6, 6, 6), *BESIDE_EPOCHS[6:]], BESIDE_EVENTS, ("", "")),
    ("idle", "epoch 3: the batch is empty and there is nothing to wait for", TWO, [*TWO_EPOCHS, (3, 3, 3)], TWO_EVENTS,
     ("", "")),
]  # fmt: skip


@pytest.mark.parametrize("case", BROKEN, ids=[f"{place}-{case[0]}" for place, case in enumerate(BROKEN)])
def test_what_is_broken_is_named(case):
    kind, words, instance, epochs, events, (what, by) = case
    report = verify(instance, NONE, made(epochs, events.replace(what, by, 1)))
    assert any(found.kind == kind and words in found.message for found in report.violations), report.violations
    assert not report.is_feasible
    assert (report.cost is None) == any(found.kind == "unfinished" for found in report.violations)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("event 0: there is no epoch 9", {"events": [(9, 0, 0, 0)]}),
        ("event 0: there is no request 2", {"events": [(0, 2, 0, 0)]}),
        ("event 0: there is no kind -1", {"events": [(0, 0, -1, 0)]}),
        ("event 1: epoch 0 after epoch 1", {"events": [(1, 0, 0, 0), (0, 0, 0, 0)]}),
        ("expected start of 3 epochs", {"start": [0.0]}),
        ("end of epoch 1 is no finite number", {"end": [1.0, np.nan, 3.0]}),
        ("expected 1 epoch or more", {"decided": [], "start": [], "end": []}),
    ],
)
def test_logs_without_a_cost(words, change):
    report = verify(TWO, NONE, replace(made(TWO_EPOCHS, TWO_EVENTS), **change))
    assert report.cost is None
    assert [found.kind for found in report.violations] == ["shape"]
    assert words in report.violations[0].message


def test_a_log_of_nonsense_has_at_most_twenty_violations():
    rng = np.random.default_rng(1)
    for _ in range(200):
        epoch = np.sort(rng.integers(0, 7, size=60))
        events = np.stack([epoch, rng.integers(2, size=60), rng.integers(6, size=60), rng.integers(8, size=60)], axis=1)
        times = np.array(TIGHT_EPOCHS, dtype=float).T
        cached = {"enable_prefix_caching": True}
        reused = {**cached, "kv_reuse": "turns", "block_group": 4, "overlap_from": 1}
        for instance in (
            TIGHT,
            *(replace(BESIDE, settings=replace(BESIDE.settings, **more)) for more in (cached, reused)),
        ):
            report = verify(instance, NONE, ServingLog(*times, events))
            assert 0 < len(report.violations) <= 20


@pytest.mark.parametrize("arrival", [0, 1000])
def test_times_are_right_to_their_tolerances(arrival):
    """Points in time to a billionth of themselves, or of a second; how long a batch takes to a millionth besides."""
    one = server([4, 2], [3, 2], [arrival, arrival])
    first = [(0, 0, 0)] if arrival else []
    events = "\n".join(
        f"{int(line.split()[0]) + len(first)} {line.strip()[2:]}" for line in TWO_EVENTS.splitlines() if line.strip()
    )

    def kinds(shift=0.0, longer=0.0):
        at = arrival
        epochs = [*first, (at, at, at + 1), (at + 1, at + 1 + shift, at + 2), (at + 2, at + 2, at + 3 + longer)]
        return {found.kind for found in verify(one, NONE, made(epochs, events)).violations}

    unit = 1e-9 * max(1, arrival)
    assert kinds(0.8 * unit) == kinds(-0.8 * unit) == kinds() == set()
    assert kinds(1.3 * unit) == kinds(-1.3 * unit) == {"start"}
    most = 1e-6 + 1e-9 * max(1, arrival + 3)
    assert kinds(longer=0.9 * most) == kinds(longer=-0.9 * most) == set()
    assert kinds(longer=1.1 * most) == kinds(longer=-1.1 * most) == {"duration"}


def test_a_round_is_right_whatever_the_cost_model_says():
    one = replace(server([4, 2], [3, 2], clock="rounds"), costs=replace(SECOND, dense=[0.0, 5.0, 5.0]))
    assert verify(one, NONE, made(TWO_EPOCHS, TWO_EVENTS)).is_feasible


def test_durations_are_those_of_the_cost_model():
    """Tables are linear between their points and beyond the last."""
    costs = CostModel(
        [0, 1, 3],
        [0, 0.1],
        [0, 2],
        [0, 10],
        [[0, 0], [4, 8]],
        [0, 1, 2],
        [0, 5, 5.5],
        [[0, 0, 0], [1, 2, 4], [3, 4, 9]],
    )
    one = replace(server([4, 2], [3, 2]), costs=costs)
    replay = replayed(one, NONE, made(TWO_EPOCHS, TWO_EVENTS))
    prefill = 2 * 4 + 1 * 4  # chunks of 4 and 2 without a past
    assert durations(replay).tolist() == pytest.approx([
        1 + 2 * 5 + 0.2 + prefill,  # 6 tokens
        3 + 0.2 + 3 + 1 * 4 / 5,  # two decode over (5 + 3) / 2 tokens
        1 + 0.1 + 2 + 2 * 1 / 0.5,  # one over 6
    ])  # fmt: skip


# Key figures ----------------------------------------------------------------------------------------------------------


def test_key_figures_on_paper():
    one = server([4, 2], [3, 2], client=[0, 1], slo_tpot_s=1.0)
    seen = metrics(one, NONE, made(TWO_EPOCHS, TWO_EVENTS))
    expected = {
        "ttft_mean": 1, "ttft_p999": 1, "tpot_mean": 1, "latency_mean": 2.5, "latency_p50": 2.5, "tbt_p99": 1,
        "throughput_tokens_s": 5 / 3, "throughput_requests_s": 2 / 3, "goodput_requests_s": 2 / 3,
        "service_difference": 2, "backlogged_difference": 0, "vtc_bound": 400, "preemptions": 0,
        "recomputed_tokens": 0, "swapped_bytes": 0, "stalled_share": 0, "kv_use": 0.2 / 3, "hit_tokens": 0,
    }  # fmt: skip
    assert {name: seen[name] for name in expected} == pytest.approx(expected)


def test_what_preemption_costs_on_paper():
    again = metrics(TIGHT, NONE, made(TIGHT_EPOCHS, TIGHT_EVENTS))
    assert (again["preemptions"], again["recomputed_tokens"], again["swapped_bytes"]) == (1, 5, 0)
    copied = metrics(TIGHT, NONE, made(SWAP_EPOCHS, SWAP_EVENTS))
    assert (copied["preemptions"], copied["recomputed_tokens"], copied["swapped_bytes"]) == (1, 0, 10_000)
    assert copied["stalled_share"] == pytest.approx(10 / 16)
    beside = metrics(BESIDE, NONE, made(BESIDE_EPOCHS, BESIDE_EVENTS))
    assert beside["stalled_share"] == pytest.approx(8 / 14)  # from 4 to 12 nothing could be computed
    assert metrics(CACHED, NONE, made(CACHED_EPOCHS, CACHED_EVENTS))["hit_tokens"] == 4


@pytest.mark.parametrize(
    ("instance", "epochs", "events", "copies", "blocks", "tokens", "stalled"),
    [
        (GROUPED, GROUPED_EPOCHS, GROUPED_EVENTS, 4, 12, 0, 4 / 10),
        (KEPT, KEPT_EPOCHS, KEPT_EVENTS, 7, 7, 0, 7 / 11),
        (TURNS, TURNS_EPOCHS, CACHED_EVENTS, 4, 4, 4, 4 / 6.5),
        (LATE, LATE_EPOCHS, LATE_EVENTS, 4, 4, 4, 2 / 7),  # nobody is there from 1 to 3
        (JOINED, JOINED_EPOCHS, JOINED_EVENTS, 4, 4, 4, 2 / 7),
        (EARLY, EARLY_EPOCHS, EARLY_EVENTS, 4, 4, 0, 0),
    ],
)
def test_what_copies_cost_on_paper(instance, epochs, events, copies, blocks, tokens, stalled):
    seen = metrics(instance, NONE, made(epochs, events))
    assert (seen["copies"], seen["swapped_bytes"], seen["blocks_per_copy"]) == (copies, 1000 * blocks, blocks / copies)
    assert (seen["copied_in_tokens"], seen["hit_tokens"]) == (tokens, 0)
    assert seen["stalled_share"] == pytest.approx(stalled)


def test_the_least_urgent_gives_up_its_copies_first():
    given = np.array([0, 5, 5, 9])
    copies = Copies(Priorities(TWO, given, np.zeros(4), 0))
    for request, blocks in enumerate((3, 2, 2, 0)):
        copies.keep(request, blocks)
    copies.give_up(4)
    assert [copies.of(request) for request in range(4)] == [3, 0, 1, 0] and copies.total == 4
    copies.give_up(2)
    assert [copies.of(request) for request in range(4)] == [2, 0, 0, 0]


@pytest.mark.parametrize("group", [2, 8, 64])
def test_the_next_block_is_the_one_that_the_statement_says(group):
    """The areas that a memory keeps account of are those found by looking at every block."""
    rng, count = np.random.default_rng(group), 45
    memory = Memory(server([1] * 6, [1] * 6, blocks=count, block_group=group), [-1] * 6, [0] * 6)
    queue, held = list(range(count)), [[] for _ in range(6)]
    for _ in range(400):
        request = int(rng.integers(6))
        if rng.random() < 0.2 or not queue:
            memory.release(request)
            queue += reversed(held[request])
            held[request] = []
            continue
        after = held[request][-1] + 1 if held[request] else 0
        if after % group == 0 or after not in queue:
            areas = [(size, start) for size in 2 ** np.arange(group.bit_length()) for start in range(0, count, size)
                     if set(range(start, start + size)) <= set(queue)]  # fmt: skip
            largest = max(size for size, _ in areas)
            starts = [start for size, start in areas if size == largest]
            after = min(starts, key=lambda start: min(queue.index(start + place) for place in range(largest)))
        memory.take(request, 1)
        queue.remove(after)
        held[request].append(after)
        assert memory._held[request] == held[request]
        pieces = [place for place, block in enumerate(held[request])
                  if place == 0 or block % group == 0 or block != held[request][place - 1] + 1]  # fmt: skip
        assert memory.stretches(request, 0, len(held[request])) == len(pieces)


def test_clients_that_wait_are_compared_while_both_do():
    """One seat; both clients wait from 0 to 1, one of them to 2; by then the first was served 2 + 2 more."""
    one = server([2, 2, 2], [1, 1, 1], client=[0, 0, 1], max_num_seqs=1)
    epochs = [(0, 0, 1), (1, 1, 2), (2, 2, 3)]
    events = "\n".join(f"{r} {r} admit 0\n {r} {r} prefill 2\n {r + 1} {r} finish 0" for r in range(3))
    rows = sorted(events.splitlines(), key=lambda line: (int(line.split()[0]), "finish" not in line))
    log = made(epochs, "\n".join(rows))
    assert verify(one, NONE, log).violations == ()
    seen = metrics(one, NONE, log)
    assert seen["service_difference"] == 6  # at 1: the first has 2 + 2 and 2 more at once
    assert seen["backlogged_difference"] == 0
    assert (
        metrics(server([1], [1]), NONE, made([(0, 0, 1)], "0 0 admit 0\n0 0 prefill 1\n1 0 finish 0"))["tpot_mean"] == 0
    )


# Tables, pictures, traces ---------------------------------------------------------------------------------------------

ALL = [
    (TWO, TWO_EPOCHS, TWO_EVENTS),
    (TIGHT, SWAP_EPOCHS, SWAP_EVENTS),
    (BESIDE, BESIDE_EPOCHS, BESIDE_EVENTS),
    (PIPELINED, PIPELINED_EPOCHS, PIPELINED_EVENTS),
    (JOINED, JOINED_EPOCHS, JOINED_EVENTS),
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
    table = plans.columns(TWO, made(TWO_EPOCHS, TWO_EVENTS))
    table[column][row] = entry
    with pytest.raises(InputError, match=words):
        plans.solution(TWO, table)


def test_columns_are_all_there_and_known():
    table = plans.columns(TWO, made(TWO_EPOCHS, TWO_EVENTS))
    with pytest.raises(InputError, match="column 'start' is missing"):
        plans.solution(TWO, {name: column for name, column in table.items() if name != "start"})
    with pytest.raises(InputError, match="unknown column 'sart'"):
        plans.solution(TWO, {**table, "sart": table["start"]})


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_pictures(tmp_path, suffix):
    path = tmp_path / f"log{suffix}"
    plot(TIGHT, [made(SWAP_EPOCHS, SWAP_EVENTS)], path, 20.0, NONE)
    assert path.stat().st_size > 1000
    title = draw_log(TIGHT, made(SWAP_EPOCHS, SWAP_EVENTS), 20.0).get_suptitle()
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
    events = chrome_trace(BESIDE, NONE, made(BESIDE_EPOCHS, BESIDE_EVENTS))["traceEvents"]
    spans = [(event["name"], event["ts"] / 1e6) for event in events if event["ph"] in "BE" and event["tid"] == 1]
    expected = "prefill 0, prefill 1, decode 1, decode 2, swapped 2, swapped 12, decode 12, decode 14"
    assert ", ".join(f"{name} {time:.3g}" for name, time in spans) == expected


def test_a_table_of_requests():
    table = requests_table(TWO, NONE, made(TWO_EPOCHS, TWO_EVENTS))
    assert table["ttft"] == [1.0, 1.0] and table["latency"] == [3.0, 2.0] and table["tpot"] == [1.0, 1.0]
    rows = list(csv.DictReader(requests_csv(TWO, NONE, made(TWO_EPOCHS, TWO_EVENTS)).splitlines()))
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


# Kernels and verifier -------------------------------------------------------------------------------------------------


@given(servers(), st.integers(0, 1000))
@profile(max_examples=60)
def test_kernels_and_verifier_agree(one, seed):
    scenario = sample(one, seed, "evaluate", 1)[0]
    process, policy = ServingProcess([one], [scenario]), RandomPolicy()
    memory, total = policy.start([one], np.random.default_rng(seed)), 0.0
    for _ in range(20_000):
        actions, memory = policy.decide(process.observe(), memory)
        process.decide(actions)
        revealed = process.reveal()
        total += revealed.cost[0]
        if revealed.terminated[0]:
            break
    assert revealed.terminated[0]
    log = process.solution(0)
    report = verify(one, scenario, log)
    assert report.violations == ()
    assert report.cost == pytest.approx(total)
    assert all(np.isfinite(value) for value in metrics(one, scenario, log).values())
    back = plans.solution(one, plans.columns(one, log))
    assert (back.events == log.events).all() and (back.end == log.end).all()
    assert json.loads(trace_json(one, scenario, log))["traceEvents"]


@pytest.mark.parametrize("seed", range(12))
def test_vtc_keeps_its_bound_where_nobody_is_preempted(seed):
    """Clients who ask for much from the beginning drift apart without it, and not by more than its bound with it."""
    rng = np.random.default_rng(seed)
    count = 120
    client = np.sort(rng.integers(0, 3, count))  # first come, first served: one client after the other
    prompt, output = rng.integers(1, 9, count), rng.integers(1, 20, count)
    same = np.zeros(count, dtype=np.int64)
    asked = Requests(same, prompt, output, client, same, same + 1.0, same - 1, same)
    options = ServingSettings(block_size=4, reserve_output=True, enable_prefix_caching=False)
    one = Serving("backlogged", asked, SECOND, 20, 0, 1000, 1, options)
    differences = {}
    for rule in ("fcfs", "vtc"):
        process = ServingProcess([one], [NONE])
        process.run(RULES[rule], np.zeros(1, dtype=np.uint64))
        told = metrics(one, NONE, process.solution(0))
        assert told["preemptions"] == 0
        differences[rule] = told["backlogged_difference"]
    assert differences["vtc"] <= told["vtc_bound"] < differences["fcfs"]
