"""The blocks of the KV cache as a replay keeps them: who holds them, what is in them, where they lie, what is copied.

Shares no code with kernels or the twin.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np

from .instance import Serving

_MANY = 2**26  # more than a request has blocks


class Memory:
    """The GPU's blocks: who holds them, what is in them, and which are taken next.

    Attributes
    ----------
    holders : list of int
        How many requests hold each block.
    """

    def __init__(self, instance: Serving, parent: Sequence[int], shared: Sequence[int]):
        self.holders = [0] * instance.num_blocks
        self._content: list[int] = [-1] * instance.num_blocks
        self._free = OrderedDict.fromkeys(range(instance.num_blocks))  # the queue of free blocks
        self._num_blocks, self._group = instance.num_blocks, instance.block_group
        self._areas = Areas(instance.num_blocks, instance.block_group) if instance.block_group > 1 else None
        self._known: dict[int, int] = {}  # content: block
        self._held: list[list[int]] = [[] for _ in parent]
        self._is_cached = instance.settings.enable_prefix_caching
        self._prefix: list[list[int]] = []  # contents that are another's
        for other, tokens in zip(parent, shared, strict=True):
            count = tokens // instance.block_size if other >= 0 and self._is_cached else 0
            first = self._prefix[other][:count] if count else []
            self._prefix.append(first + [_MANY * other + block for block in range(len(first), count)])

    @property
    def used(self) -> int:
        """How many blocks are held."""
        return len(self.holders) - len(self._free)

    @property
    def free(self) -> int:
        return len(self._free)

    def held_by(self, request: int) -> int:
        """Return how many blocks a request holds."""
        return len(self._held[request])

    def find(self, request: int, most: int) -> list[int]:
        """Return the leading blocks of a request, `most` or fewer, whose content is known."""
        found: list[int] = []
        while self._is_cached and len(found) < most:
            block = self._known.get(self._key(request, len(found)), -1)
            if block < 0:
                break
            found.append(block)
        return found

    def share(self, request: int, blocks: list[int]) -> None:
        """Let a request hold blocks that are known."""
        for block in blocks:
            if self.holders[block] == 0:
                del self._free[block]
                if self._areas:
                    self._areas.take(block)
            self.holders[block] += 1
        self._held[request] += blocks

    def take(self, request: int, count: int) -> None:
        """Let a request hold more blocks; what was in them is known no more. Where none is free there is one more."""
        for _ in range(count):
            if self._free:
                if self._areas:
                    block = self._next(self._held[request], self._areas)
                    del self._free[block]
                    self._areas.take(block)
                else:
                    block = self._free.popitem(last=False)[0]
                if self._content[block] >= 0:
                    del self._known[self._content[block]]
                    self._content[block] = -1
            else:
                block = len(self.holders)
                self.holders.append(0)
                self._content.append(-1)
            self.holders[block] = 1
            self._held[request].append(block)

    def _next(self, held: list[int], areas: Areas) -> int:
        """Return the free block that comes next for a request which holds these."""
        if held:
            after = held[-1] + 1
            if after % self._group and after < self._num_blocks and self.holders[after] == 0:
                return after
        block = areas.largest()
        return block if block >= 0 else next(iter(self._free))

    def stretches(self, request: int, first: int, last: int) -> int:
        """Return in how many stretches a request's blocks from `first` on lie, those from `last` on left out."""
        blocks = self._held[request][first:last]
        if self._group == 1:
            return len(blocks)
        breaks = sum(block != before + 1 or block % self._group == 0 for before, block in pairwise(blocks))
        return breaks + 1 if blocks else 0

    def fill(self, request: int, place: int) -> None:
        """Make a request's block known, unless its content is."""
        if self._is_cached:
            key = self._key(request, place)
            if key not in self._known:
                block = self._held[request][place]
                self._known[key] = block
                self._content[block] = key

    def detach(self, request: int) -> list[int]:
        """Return a request's blocks, which it holds no more and nobody may take yet."""
        blocks, self._held[request] = self._held[request], []
        return blocks

    def release_all(self, blocks: list[int]) -> None:
        """Release blocks, the last first."""
        for block in reversed(blocks):
            self.holders[block] -= 1
            if self.holders[block] == 0:
                self._free[block] = None
                if self._areas:
                    self._areas.release(block)

    def release(self, request: int) -> None:
        """Release what a request holds."""
        self.release_all(self.detach(request))

    def _key(self, request: int, place: int) -> int:
        prefix = self._prefix[request]
        return prefix[place] if place < len(prefix) else _MANY * request + place


class Areas:
    """The wholly free areas of 2, 4, ... up to `group` blocks, of each size the one that comes first in the queue.

    An area comes first if the block of it does that queues longest. Each block that is released is given the next
    number, which stays until the block is taken, so the least number of an area does not change while it is free.

    Parameters
    ----------
    num_blocks : int
    group : int
        A power of two.
    """

    def __init__(self, num_blocks: int, group: int):
        self._turn = num_blocks
        # By level and area, the least number of its blocks, -1 if it is not wholly free; and the free ones by number,
        # among them some that are free no more.
        self._least = [list(range(0, num_blocks >> level << level, 1 << level)) for level in range(group.bit_length())]
        self._queues = [[(least, area) for area, least in enumerate(level)] for level in self._least]

    def largest(self) -> int:
        """Return the first block of the first of the largest areas of two blocks or more, -1 if there is none."""
        for level in range(len(self._least) - 1, 0, -1):
            queue, least = self._queues[level], self._least[level]
            while queue and least[queue[0][1]] != queue[0][0]:
                heappop(queue)
            if queue:
                return queue[0][1] << level
        return -1

    def take(self, block: int) -> None:
        """Note that a block is free no more."""
        for level, least in enumerate(self._least):
            area = block >> level
            if area >= len(least) or least[area] < 0:
                return
            least[area] = -1

    def release(self, block: int) -> None:
        """Note that a block is free again and the last in the queue."""
        number, self._turn = self._turn, self._turn + 1
        for level, least in enumerate(self._least):
            area = block >> level
            if area >= len(least):  # it begins below the number of blocks and ends beyond
                return
            if level > 0:
                number = min(self._least[level - 1][2 * area : 2 * area + 2])
                if number < 0:
                    return
                self._push(level, number, area)
            least[area] = number

    def _push(self, level: int, number: int, area: int) -> None:
        queue, least = self._queues[level], self._least[level]
        if len(queue) > 2 * len(least) + 64:
            queue[:] = [(number, area) for area, number in enumerate(least) if number >= 0]
            heapify(queue)
        heappush(queue, (number, area))


class Copies:
    """Copies on the CPU of blocks whose requests are not swapped, and who gives them up first.

    Parameters
    ----------
    priorities : Priorities

    Attributes
    ----------
    total : int
        Blocks.
    """

    def __init__(self, priorities: Priorities):
        self.total = 0
        self._priorities = priorities
        self._blocks: dict[int, int] = {}  # of those that have some
        self._order: list[tuple[int, int]] = []  # less its priority, request; some have nothing any more
        self._updates = 0  # that the order knows of

    def of(self, request: int) -> int:
        """Return of how many leading blocks of a request there is a copy."""
        return self._blocks.get(request, 0)

    def keep(self, request: int, blocks: int) -> None:
        """Let there be a copy of so many leading blocks of a request."""
        before = self._blocks.pop(request, 0)
        self.total += blocks - before
        if blocks:
            self._blocks[request] = blocks
            if not before:
                heappush(self._order, (-int(self._priorities.now[request]), request))

    def give_up(self, free: int) -> None:
        """Give up what is more than the free blocks: of the least urgent first, of equals the smallest number."""
        if self.total <= free:
            return
        if self._updates != self._priorities.updates:
            self._updates = self._priorities.updates
            self._order = [(-int(self._priorities.now[request]), request) for request in self._blocks]
            heapify(self._order)
        while self._blocks and self.total > free:
            request = self._order[0][1]
            blocks = self.of(request)
            if blocks == 0:
                heappop(self._order)
            else:
                self.keep(request, max(blocks - (self.total - free), 0))


class Priorities:
    """Priorities of requests: those of the file, or drawn ones, which change.

    Parameters
    ----------
    instance : Serving
    given, arrival : ndarray (num_requests,)
        The file's priorities, and when requests arrive.
    key : int in 0..2**64 - 1
        Of the drawn ones.

    Attributes
    ----------
    now : int ndarray (num_requests,)
    updates : int
        So far.
    """

    def __init__(self, instance: Serving, given: np.ndarray, arrival: np.ndarray, key: int):
        self.now, self.updates = given.copy(), 0
        self._settings, self._every, self._key = instance.settings, instance.priority_every, np.uint64(key)
        self._arrival, self._arrived, self._batches = arrival, 0, 0
        self._is_drawn = instance.settings.priorities != "file"

    def arrive(self, time: float) -> None:
        """Give levels to those that have arrived since the last epoch."""
        if self._is_drawn:
            new = np.arange(self._arrived, np.searchsorted(self._arrival, time, side="right"))
            self._arrived += len(new)
            self.now[new] = self._levels(new)

    def count_batch(self, finish_epoch: np.ndarray) -> None:
        """Note that a batch which is not empty starts, and update those that have arrived and not finished (-1)."""
        self._batches += 1
        if self._every == 0 or self._batches % self._every:
            return
        self.updates += 1
        requests = np.flatnonzero(finish_epoch[: self._arrived] < 0)
        if self._settings.priorities == "markov":
            requests = requests[self._uniform(requests, 2 * self.updates + 1) >= self._settings.priority_stay]
        self.now[requests] = self._levels(requests)

    def _levels(self, requests: np.ndarray) -> np.ndarray:
        return (self._uniform(requests, 2 * self.updates) * self._settings.priority_levels).astype(np.int64)

    def _uniform(self, requests: np.ndarray, place: int) -> np.ndarray:
        """Return numbers in [0, 1) by SplitMix64, modulo 2**64."""
        with np.errstate(over="ignore"):
            bits = self._key + (requests.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            bits += np.uint64(place + 1) * np.uint64(0xD1B54A32D192ED03)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
        return (bits >> np.uint64(11)) * 2.0**-53
