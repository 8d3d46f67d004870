"""Key figures of LLM serving, on paper; who gives up copies, and how far clients drift apart."""

import logs
import numpy as np
import pytest
from logs import NONE, SECOND, made, server

from orl.problems.llmserving.instance import Requests, Serving, ServingSettings
from orl.problems.llmserving.metrics import metrics
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.replay_memory import Copies, Memory, Priorities
from orl.problems.llmserving.rules import RULES
from orl.problems.llmserving.verify import verify


def test_key_figures_on_paper():
    one = server([4, 2], [3, 2], client=[0, 1], slo_tpot_s=1.0)
    seen = metrics(one, NONE, made(logs.TWO_EPOCHS, logs.TWO_EVENTS))
    expected = {
        "ttft_mean": 1, "ttft_p999": 1, "tpot_mean": 1, "latency_mean": 2.5, "latency_p50": 2.5, "tbt_p99": 1,
        "throughput_tokens_s": 5 / 3, "throughput_requests_s": 2 / 3, "goodput_requests_s": 2 / 3,
        "service_difference": 2, "backlogged_difference": 0, "vtc_bound": 400, "preemptions": 0,
        "recomputed_tokens": 0, "swapped_bytes": 0, "stalled_share": 0, "kv_use": 0.2 / 3, "hit_tokens": 0,
    }  # fmt: skip
    assert {name: seen[name] for name in expected} == pytest.approx(expected)


def test_what_preemption_costs_on_paper():
    again = metrics(logs.TIGHT, NONE, made(logs.TIGHT_EPOCHS, logs.TIGHT_EVENTS))
    assert (again["preemptions"], again["recomputed_tokens"], again["swapped_bytes"]) == (1, 5, 0)
    copied = metrics(logs.TIGHT, NONE, made(logs.SWAP_EPOCHS, logs.SWAP_EVENTS))
    assert (copied["preemptions"], copied["recomputed_tokens"], copied["swapped_bytes"]) == (1, 0, 10_000)
    assert copied["stalled_share"] == pytest.approx(10 / 16)
    beside = metrics(logs.BESIDE, NONE, made(logs.BESIDE_EPOCHS, logs.BESIDE_EVENTS))
    assert beside["stalled_share"] == pytest.approx(8 / 14)  # from 4 to 12 nothing could be computed
    assert metrics(logs.CACHED, NONE, made(logs.CACHED_EPOCHS, logs.CACHED_EVENTS))["hit_tokens"] == 4


@pytest.mark.parametrize(
    ("instance", "epochs", "events", "copies", "blocks", "tokens", "stalled"),
    [
        (logs.GROUPED, logs.GROUPED_EPOCHS, logs.GROUPED_EVENTS, 4, 12, 0, 4 / 10),
        (logs.KEPT, logs.KEPT_EPOCHS, logs.KEPT_EVENTS, 7, 7, 0, 7 / 11),
        (logs.TURNS, logs.TURNS_EPOCHS, logs.CACHED_EVENTS, 4, 4, 4, 4 / 6.5),
        (logs.LATE, logs.LATE_EPOCHS, logs.LATE_EVENTS, 4, 4, 4, 2 / 7),  # nobody is there from 1 to 3
        (logs.JOINED, logs.JOINED_EPOCHS, logs.JOINED_EVENTS, 4, 4, 4, 2 / 7),
        (logs.EARLY, logs.EARLY_EPOCHS, logs.EARLY_EVENTS, 4, 4, 0, 0),
    ],
)
def test_what_copies_cost_on_paper(instance, epochs, events, copies, blocks, tokens, stalled):
    seen = metrics(instance, NONE, made(epochs, events))
    assert (seen["copies"], seen["swapped_bytes"], seen["blocks_per_copy"]) == (copies, 1000 * blocks, blocks / copies)
    assert (seen["copied_in_tokens"], seen["hit_tokens"]) == (tokens, 0)
    assert seen["stalled_share"] == pytest.approx(stalled)


def test_the_least_urgent_gives_up_its_copies_first():
    given = np.array([0, 5, 5, 9])
    copies = Copies(Priorities(logs.TWO, given, np.zeros(4), 0))
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
