"""Where blocks lie, overlap_from and kv_reuse in the SimPy twin of LLM serving: on paper."""

from __future__ import annotations

import numpy as np
import pytest
from test_llmserving_twin import do, rows_of

from orl.problems.llmserving.instance import CostModel, Requests, Serving, ServingSettings
from orl.problems.llmserving.simpy_twin import RUN, Server

# Every batch takes a second. A block's bytes take 1/8 s, to start a copy `copy_us`.
COSTS = CostModel([0, 0], [0, 1, 1], [0, 1], [0, 1], np.zeros((2, 2)), [0, 1], [0, 1], np.zeros((2, 2)))
PLAIN = {"block_size": 1, "enable_prefix_caching": False, "async_scheduling": False, "copy_us": 0.0, "pcie_gbs": 1.0}


def server_of(rows, num_blocks, cpu_blocks=16, parents=None, priority=None, **settings) -> Server:
    """Return a server of requests (arrival, prompt, output)."""
    arrival, prompt, output = zip(*rows, strict=True)
    nobody = [0] * len(rows)
    parent, shared = zip(*(parents or [(-1, 0)] * len(rows)), strict=True)
    requests = Requests(arrival, prompt, output, nobody, priority or nobody, [1.0] * len(rows), parent, shared)
    options = ServingSettings(**{**PLAIN, **settings})
    return Server(Serving("paper", requests, COSTS, num_blocks, cpu_blocks, 125_000_000, 1, options), requests)


def blocks_of(server: Server) -> list[list[int]]:
    return [job.blocks for job in server.jobs]


# Where blocks lie ---------------------------------------------------------------------------------------------------


def test_blocks_lie_side_by_side_and_are_copied_by_stretches() -> None:
    """Areas of 4: 0-3, 4-7, 8-11. To start a copy takes 1 s.

    0, 1 and 2 begin an area each. None is wholly free then; 2-3, 6-7 and 10-11 are, and 2 comes first in the queue
    (2, 3, 6, 7, 10, 11): 3 takes 2, 3 after it, and then 6. Out: 2 stretches of 3 blocks, 2 x 1 + 3/8 s. The queue is
    7, 10, 11, 6, 3, 2; the others take what is next to their own, 2, 6 and 10. 2 ends and gives up 10, 9, 8: an area
    of 4, though 7 comes first in the queue (7, 11, 3, 10, 9, 8). 3 takes 8, 9, 10, one stretch, in 1 + 3/8 s.
    """
    rows = [(0, 2, 9), (0, 2, 9), (0, 2, 2), (0, 3, 9)]
    server = server_of(rows, num_blocks=12, block_group=4, copy_us=1e6)
    do(server, *((number, "admit") for number in range(4)))
    assert blocks_of(server) == [[0, 1], [4, 5], [8, 9], [2, 3, 6]]
    do(server, (3, "swap-out"))
    assert blocks_of(server) == [[0, 1, 2], [4, 5, 6], [], []]
    assert server.blocks.free == [7, 11, 3, 10, 9, 8]
    do(server, (3, "swap-in"))
    assert blocks_of(server)[3] == [8, 9, 10, 11]  # and the batch takes the next
    assert rows_of(server) == [(0, 0, 1), (1, 3.375, 4.375), (4.375, 5.75, 6.75)]


def test_a_stretch_ends_where_the_area_ends() -> None:
    """Areas of 2: 6 tokens in 0-5 are three stretches in order, 3 x 1 + 6/8 s."""
    server = server_of([(0, 6, 3)], num_blocks=9, block_group=2, copy_us=1e6)
    do(server, (0, "admit"))
    assert blocks_of(server) == [[0, 1, 2, 3, 4, 5]]
    do(server, (0, "swap-out"))
    do(server, (0, "swap-in"))
    assert rows_of(server)[2][1] == 1 + 2 * 3.75


# Reuse --------------------------------------------------------------------------------------------------------------


def out_and_in(server: Server) -> None:
    """Swap request 0 out; nothing is computed, no time passes; swap it in, and run."""
    do(server, (0, "swap-out"))
    do(server, (0, "swap-in"))


def test_only_what_has_changed_is_copied_out_again() -> None:
    """Blocks of 2 tokens. Out and in with 5 tokens, 3 blocks each way: 6/8 s. 2 full ones are kept.

    Out with 7 tokens in 4 blocks: those from the third on, 2/8 s; in: 4/8 s. Of 7 tokens 3 blocks are full.
    """
    server = server_of([(0, 5, 4)], num_blocks=9, block_size=2, kv_reuse="preemptions")
    do(server, (0, "admit"))
    out_and_in(server)
    assert (server.kept, server.held_on_cpu, server.cpu_free) == ([2], [0], 16)
    do(server)
    server.decide((0, "swap-out"))
    assert (server.kept, server.held_on_cpu, server.cpu_free) == ([0], [4], 12)
    do(server)
    server.decide((0, "swap-in"))
    assert server.kept == [3]
    do(server)
    assert rows_of(server) == [(0, 0, 1), (1, 1, 1), (1, 1.75, 2.75), (2.75, 2.75, 3.75), (3.75, 3.75, 3.75),
                               (3.75, 4.5, 5.5)]  # fmt: skip
    assert server.is_over and server.kept == [0]


def test_nothing_to_copy_is_copied_at_once() -> None:
    """With overlap, out from 1 to 1.5, in from 2 to 2.5; out at 3, with nothing computed: no batch is waited for."""
    rows = [(0, 4, 4), (0, 1, 9)]
    server = server_of(rows, 20, overlap=True, async_scheduling=True, kv_reuse="preemptions")
    do(server, (0, "admit"), (1, "admit"))
    do(server, (0, "swap-out"))
    do(server)
    do(server, (0, "swap-in"))
    assert (server.now, server.kept, server.c, len(server.under_way)) == (3, [4, 0], [4, 4], 1)
    server.decide((0, "swap-out"))
    assert (server.held, server.held_on_cpu, server.kept, server.free) == ([0, 4], [4, 0], [0, 0], 16)


@pytest.mark.parametrize(
    ("priority", "cpu_blocks", "kept"),
    [([1, 1, 0], 8, [1, 2, 0]), ([1, 2, 0], 8, [2, 1, 0]), ([1, 1, 0], 6, [0, 1, 0]), ([1, 2, 0], 6, [1, 0, 0])],
)
def test_copies_are_given_up_by_priority(priority, cpu_blocks, kept) -> None:
    """0 and 1 keep copies of 2 blocks each. 2 is swapped out with 5: of 8 blocks 3 are left, of 6 one."""
    rows = [(0, 2, 9), (0, 2, 9), (0, 3, 9)]
    server = server_of(rows, 20, cpu_blocks, priority=[0, 0, 0], kv_reuse="preemptions")
    server.priority = priority
    do(server, (0, "admit"), (1, "admit"), (2, "admit"))
    do(server, (0, "swap-out"), (1, "swap-out"))
    do(server, (0, "swap-in"), (1, "swap-in"))
    assert (server.kept, server.c) == ([2, 2, 0], [3, 3, 5])
    server.decide((2, "swap-out"))
    assert (server.kept, server.cpu_free) == (kept, cpu_blocks - 5)


TURNS = {"rows": [(0, 4, 2), (10, 7, 1)], "parents": [(-1, 0), (0, 6)], "block_size": 2, "kv_reuse": "turns"}


def test_a_turn_copies_in_what_the_one_before_it_left() -> None:
    """0 ends at 2 with 5 tokens: 2 full blocks are copied out, 2/8 s. 1 shares 3 blocks, of which these 2 are kept.

    They are copied in, 2/8 s, and its batch begins at 10 + 2/8 + 2/8; it computes 7 - 4 tokens.
    """
    server = server_of(num_blocks=9, **TURNS)
    do(server, (0, "admit"))
    do(server)
    assert (server.now, server.kept, server.held, server.cpu_free) == (2, [2, 0], [0, 0], 16)
    do(server)
    server.decide((1, "admit"))
    assert (server.now, server.kept, server.held, server.c[1]) == (10, [0, 2], [0, 2], 4)
    do(server)
    assert rows_of(server)[-1] == (10, 10.5, 11.5) and server.is_over
    assert server.kept == [0, 3]  # 7 tokens


def test_turns_while_batches_are_computed() -> None:
    """With overlap: out from 2 to 2.25, then blocks are free; in from 10 to 10.25, then it is computed."""
    server = server_of(num_blocks=9, overlap=True, **TURNS)
    do(server, (0, "admit"))
    do(server)
    assert (server.kept, server.held, server.free) == ([2, 0], [3, 0], 6)
    do(server)
    assert (server.now, server.held, server.free) == (2.25, [0, 0], 9)
    do(server)
    server.decide((1, "admit"))
    assert server.legal() == [RUN] and server.batch().parts == []
    do(server)
    do(server)
    assert rows_of(server)[-2:] == [(10, 10, 10), (10.25, 10.25, 11.25)] and server.is_over


def test_what_the_prefix_cache_has_is_not_copied_in() -> None:
    """1 finds both blocks of 0 on the GPU, takes the copies over, and waits for the copy out alone."""
    server = server_of(num_blocks=9, enable_prefix_caching=True, **TURNS)
    do(server, (0, "admit"))
    do(server)
    do(server)
    do(server, (1, "admit"))
    assert rows_of(server)[-1] == (10, 10.25, 11.25) and server.kept == [0, 3]


# Waiting for a copy in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlap_from", "last"), [(1, [(2, 2, 3), (3, 3, 4)]), (2, [(2, 2.25, 3.25), (3.25, 3.25, 4.25)])]
)
def test_a_small_batch_waits_for_a_copy_in(overlap_from, last) -> None:
    """1 is out from 1 to 1.25, in from 2 to 2.25; 0 is alone in the batch, which goes on from 1 on, not from 2."""
    server = server_of([(0, 2, 9), (0, 2, 9)], num_blocks=12, overlap=True, overlap_from=overlap_from)
    do(server, (0, "admit"), (1, "admit"))
    do(server, (1, "swap-out"))
    do(server, (1, "swap-in"))
    do(server)
    assert rows_of(server)[2:] == last
    assert server.c == [5, 2 + overlap_from]  # it was in one of the last two, or in both


@pytest.mark.parametrize(("num_blocks", "start"), [(5, 1.25), (6, 1)])
def test_a_batch_that_is_short_of_blocks_waits_for_a_copy_out(num_blocks, start) -> None:
    """At 1 both hold 2 blocks and want a third; of 5 one is free, of 6 two. Out: 2/8 s."""
    server = server_of([(0, 2, 3), (0, 2, 3)], num_blocks, overlap=True)
    do(server, (0, "admit"), (1, "admit"))
    do(server, (1, "swap-out"))
    assert rows_of(server)[1] == (1, start, start + 1)


# Stale tokens -------------------------------------------------------------------------------------------------------


def test_a_stale_token_is_noticed() -> None:
    """With 5 tokens in 3 blocks 2 are kept. Were it 3, the sixth token would not be copied out."""
    server = server_of([(0, 5, 9)], num_blocks=9, block_size=2, kv_reuse="preemptions")
    do(server, (0, "admit"))
    out_and_in(server)
    server.kept[0] += 1
    with pytest.raises(AssertionError, match="stale"):
        out_and_in(server)
