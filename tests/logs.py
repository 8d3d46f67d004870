"""Logs of small servers, drawn on paper, and what they are made with."""

from dataclasses import replace

import numpy as np

from orl.problems.llmserving.instance import KINDS, CostModel, Requests, Serving, ServingLog, ServingSettings
from orl.scenario import Scenarios

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
