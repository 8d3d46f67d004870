"""The blocks of the KV cache, over many drawn steps: nothing is lost or held twice, and what groups promise."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from orl.jit import kernel
from orl.problems.llmserving import kernels_codes as codes
from orl.problems.llmserving.instance import ServingSettings
from orl.problems.llmserving.kernels_blocks import release, stretches_of, take
from orl.problems.llmserving.kernels_layout import at_env
from orl.problems.llmserving.layout import Room, begin, lay_out
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.scenario import draw, realise
from orl.problems.llmserving.verify import verify
from orl.registry import find_problem
from orl.scenario import Purpose, Scenarios

STEPS = 20_000
REQUESTS = 24


@kernel
def drawn_steps(work, states, requests, is_taking):
    """Give a block to each request in turn, or take all of its blocks away."""
    s, w = at_env(work, states, 0)
    for step in range(requests.shape[0]):
        request = requests[step]
        offset = w.request[request, codes.OFFSET]
        most = w.request[request + 1, codes.OFFSET] - offset
        if is_taking[step] and s.num[codes.FREE] > 0 and s.request[request, codes.HELD] < most:
            take(s, w, request)
        else:
            release(s, w, request)


@kernel
def count_stretches(work, states, request):
    s, w = at_env(work, states, 0)
    return stretches_of(s, w, request, 0, s.request[request, codes.HELD])


def server(group: int, blocks: int):
    """Return an instance with short requests, and the kernels' arrays for it."""
    settings = ServingSettings(block_size=1, block_group=group, async_scheduling=False, enable_prefix_caching=False)
    one = draw(np.random.default_rng(1), requests=REQUESTS + 1, blocks=blocks, longest=24, settings=settings)
    room = Room.of([one])
    work, states = room.work(1), room.states(1)
    (scenario,) = find_problem("llmserving").sample(one, 0, Purpose.EVALUATE, 1)
    realised = realise(one, scenario)
    lay_out(work, 0, one, realised)
    begin(states, 0, one, realised)
    return work, states


def tables(work, states) -> list[list[int]]:
    offsets = work.request[0, :, codes.OFFSET]
    held = states.request[0, :REQUESTS, codes.HELD]
    return [
        states.contents[0, start : start + count, codes.TABLE].tolist()
        for start, count in zip(offsets[:REQUESTS], held, strict=True)
    ]


def stretches(table: list[int], group: int) -> int:
    """Count where a block does not go on from the one before it, in the same group."""
    goes_on = [after == before + 1 and after // group == before // group for before, after in pairwise(table)]
    return len(table) - sum(goes_on)


def queue_of(states, blocks: int) -> list[int]:
    """Return the ring of free blocks, from its anchor on."""
    order, block = [], states.blocks[0, blocks, codes.AFTER]
    while block != blocks:
        order.append(int(block))
        block = states.blocks[0, block, codes.AFTER]
    return order


@pytest.mark.parametrize(("group", "blocks"), [(1, 97), (2, 64), (8, 101), (64, 50), (1024, 128)])
def test_blocks_are_never_lost_and_never_held_twice(group, blocks):
    """A million steps over all sizes of groups; looked at after every hundred."""
    work, states = server(group, blocks)
    rng = np.random.default_rng(group)
    for _ in range(10):
        requests = rng.integers(0, REQUESTS, STEPS)
        is_taking = rng.random(STEPS) < 0.9
        for start in range(0, STEPS, 100):
            part = slice(start, start + 100)
            drawn_steps(work, states, requests[part], is_taking[part])
            held = tables(work, states)
            free = queue_of(states, blocks)
            assert sorted([*free, *(block for table in held for block in table)]) == list(range(blocks))
            assert len(free) == states.num[0, codes.FREE]
            counts = [stretches(table, group) for table in held]
            assert states.request[0, :REQUESTS, codes.STRETCHES].tolist() == counts
            if group > 1:
                is_free = np.isin(np.arange(blocks), free)
                for level in range(group.bit_length()):
                    size = 2**level
                    areas = is_free[: blocks // size * size].reshape(-1, size)
                    assert states.levels[0, level] == areas.all(axis=1).sum()
    assert count_stretches(work, states, 3) == stretches(tables(work, states)[3], group)


def test_groups_lay_blocks_side_by_side():
    """Two requests that take turns, 12 blocks each."""
    work, states = server(8, 64)
    drawn_steps(work, states, np.tile([0, 1], 12), np.ones(24, dtype=bool))
    first, second, *_ = tables(work, states)
    assert first == [*range(8), *range(16, 20)] and second == [*range(8, 16), *range(24, 28)]


def test_where_no_group_is_free_a_request_is_given_what_another_might_have_grown_into():
    """48 blocks, groups of 32: 0 begins the only whole one, 1 and 2 what is left of it and beyond it by halves, ..."""
    work, states = server(32, 48)
    drawn_steps(work, states, np.array([0, 1, 2, 2, 0, 3]), np.ones(6, dtype=bool))
    assert tables(work, states)[:4] == [[0, 1], [16], [32, 33], [8]]


def run(settings: ServingSettings, rule: str, seed: int) -> tuple[float, list[float], list[list[int]]]:
    """Return cost, ends of batches and events of a rule on a drawn instance."""
    one = draw(np.random.default_rng(seed), requests=30, blocks=12, longest=24, settings=settings)
    process = ServingProcess([one], [Scenarios.deterministic()])
    cost = process.run(find_problem("llmserving").rules()[rule], np.zeros(1, dtype=np.uint64))
    log = process.solution(0)
    assert not verify(one, Scenarios.deterministic(), log).violations
    return float(cost[0]), log.end.tolist(), log.events.tolist()


FREE = {"block_size": 4, "max_num_seqs": 8, "max_num_batched_tokens": 16, "enable_prefix_caching": False,
        "preemption": "swap", "copy_us": 0.0, "pcie_gbs": float("inf")}  # fmt: skip


@pytest.mark.parametrize("rule", ["fcfs-swap", "priority", "las"])
@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("switches", [{"overlap": True}, {"block_group": 8}, {"kv_reuse": "preemptions"},
                                      {"overlap": True, "overlap_from": 2, "block_group": 8,
                                       "kv_reuse": "preemptions"}])  # fmt: skip
def test_where_copies_take_no_time_no_switch_matters(rule, pipelined, switches):
    """Bit for bit; somebody is swapped, so with copies that take time they differ."""
    settings = ServingSettings(**FREE, async_scheduling=pipelined)
    for seed in range(4):
        assert run(replace(settings, **switches), rule, seed) == run(settings, rule, seed)
    slow = replace(settings, copy_us=1000.0)
    runs = [(run(replace(slow, **switches), rule, seed), run(slow, rule, seed)) for seed in range(4)]
    assert any(ours != theirs for ours, theirs in runs)


@pytest.mark.parametrize("rule", ["fcfs-swap", "priority"])
def test_where_starting_a_copy_is_free_groups_make_no_difference(rule):
    """Nothing is cached, and bytes take their time."""
    settings = ServingSettings(**(FREE | {"pcie_gbs": 0.01}))
    for seed in range(4):
        assert run(replace(settings, block_group=1024), rule, seed)[::2] == run(settings, rule, seed)[::2]
