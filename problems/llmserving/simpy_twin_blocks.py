"""The KV cache of the SimPy twin, found out by looking at every block."""

from __future__ import annotations

Content = tuple[int, int]  # the request whose own content it is, and which of its blocks
Written = tuple[Content, int]  # what is really in a block, and how many tokens of it


class Blocks:
    """The KV cache on the GPU: who holds which block, what each contains, which is taken next.

    Parameters
    ----------
    count : int
        Of blocks.
    group : int
        The largest area that is kept together.

    Attributes
    ----------
    written : list
        What is really in each block, whether anybody knows it or not.
    """

    def __init__(self, count: int, group: int = 1) -> None:
        self.group = group
        self.holders = [0] * count
        self.written: list[Written | None] = [None] * count
        self.free = list(range(count))  # the next to be taken first
        self.known: dict[Content, int] = {}
        self.content: dict[int, Content] = {}  # of blocks that are known

    def take(self, blocks: list[int]) -> None:
        """Give a request that has these blocks the next one, and forget what it was known for."""
        block = self._next(blocks)
        self.free.remove(block)
        if block in self.content:
            del self.known[self.content.pop(block)]
        self.holders[block] = 1
        blocks.append(block)

    def stretches(self, blocks: list[int]) -> int:
        """Count the series of blocks that lie side by side."""
        return sum(
            place == 0 or not self._is_side_by_side(blocks[place - 1], block) for place, block in enumerate(blocks)
        )

    def _next(self, blocks: list[int]) -> int:
        if blocks:
            after = blocks[-1] + 1
            if self._is_side_by_side(blocks[-1], after) and self.holders[after] == 0:
                return after
        for size in (2**power for power in reversed(range(self.group.bit_length()))):
            for block in self.free:
                area = self._area(block, size)
                if area and all(self.holders[member] == 0 for member in area):
                    return area[0]
        raise IndexError("no block is free.")

    def _area(self, block: int, size: int) -> range:
        """Return the area of a size in which a block lies; empty where it would go beyond the last block."""
        start = block - block % size
        return range(start, start + size) if start + size <= len(self.holders) else range(0)

    def _is_side_by_side(self, block: int, after: int) -> bool:
        return after == block + 1 < len(self.holders) and after // self.group == block // self.group

    def share(self, block: int) -> None:
        """Let one more hold a known block."""
        if self.holders[block] == 0:
            self.free.remove(block)
        self.holders[block] += 1

    def release(self, blocks: list[int]) -> None:
        """Give up a request's blocks, the last one first."""
        while blocks:
            block = blocks.pop()
            self.holders[block] -= 1
            if self.holders[block] == 0:
                self.free.append(block)

    def fill(self, block: int, content: Content) -> None:
        """Know a block by its content, unless another is."""
        if content not in self.known:
            self.known[content], self.content[block] = block, content
