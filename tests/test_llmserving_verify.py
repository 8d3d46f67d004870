"""LLM serving: logs made by hand, right and broken in every way; kernels and verifier agree."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from logs import (
    BESIDE,
    BESIDE_EPOCHS,
    BESIDE_EVENTS,
    CACHED,
    CACHED_EPOCHS,
    CACHED_EVENTS,
    EARLY,
    EARLY_EPOCHS,
    EARLY_EVENTS,
    GROUPED,
    GROUPED_EPOCHS,
    GROUPED_EVENTS,
    JOINED,
    JOINED_EPOCHS,
    JOINED_EVENTS,
    KEPT,
    KEPT_EPOCHS,
    KEPT_EVENTS,
    LATE,
    LATE_EPOCHS,
    LATE_EVENTS,
    NONE,
    PIPELINED,
    PIPELINED_EPOCHS,
    PIPELINED_EVENTS,
    SECOND,
    SWAP_EPOCHS,
    SWAP_EVENTS,
    TIGHT,
    TIGHT_EPOCHS,
    TIGHT_EVENTS,
    TURNS,
    TURNS_EPOCHS,
    TWO,
    TWO_EPOCHS,
    TWO_EVENTS,
    made,
    server,
)
from servers import servers

import orl
from orl.problems.llmserving import plans
from orl.problems.llmserving.instance import CostModel, ServingLog
from orl.problems.llmserving.metrics import metrics
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.scenario import sample
from orl.problems.llmserving.trace import trace_json
from orl.problems.llmserving.verify import durations, replayed, verify
from orl.testing import RandomPolicy


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
