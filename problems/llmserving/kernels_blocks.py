"""The KV cache: blocks that are held, shared, or free in the order in which they were released.

Free blocks form a doubly linked list; entry K of `after` and `before` is its anchor. A block in the list may still be
known by its content, until it is taken again.
"""

from __future__ import annotations

from orl.jit import kernel

from . import kernels_codes as codes
from .kernels_codes import BLOCK_SIZE, FREE, IS_CACHING, NUM_BLOCKS


@kernel
def content_of(w, request, place, size):
    """Return the number of a block's content: that of the earliest request which has it."""
    while w.request[request, codes.PARENT] >= 0 and (place + 1) * size <= w.request[request, codes.SHARED]:
        request = w.request[request, codes.PARENT]
    return w.request[request, codes.OFFSET] + place


@kernel
def append_free(s, block, anchor):
    """Put a block behind those released before it."""
    last = s.blocks[anchor, codes.BEFORE]
    s.blocks[last, codes.AFTER] = block
    s.blocks[block, codes.BEFORE] = last
    s.blocks[block, codes.AFTER] = anchor
    s.blocks[anchor, codes.BEFORE] = block
    s.num[FREE] += 1


@kernel
def unlink(s, block):
    """Take a block out of the free ones."""
    s.blocks[s.blocks[block, codes.BEFORE], codes.AFTER] = s.blocks[block, codes.AFTER]
    s.blocks[s.blocks[block, codes.AFTER], codes.BEFORE] = s.blocks[block, codes.BEFORE]
    s.num[FREE] -= 1


@kernel
def take(s, w, request):
    """Give a request the block that was released longest ago."""
    anchor = w.sizes[NUM_BLOCKS]
    block = s.blocks[anchor, codes.AFTER]
    unlink(s, block)
    if s.blocks[block, codes.OWNER] >= 0:
        s.contents[s.blocks[block, codes.OWNER], codes.KNOWN] = -1
        s.blocks[block, codes.OWNER] = -1
    s.blocks[block, codes.HOLDERS] = 1
    s.contents[w.request[request, codes.OFFSET] + s.request[request, codes.HELD], codes.TABLE] = block
    s.request[request, codes.HELD] += 1


@kernel
def release(s, w, request):
    """Take all blocks of a request away, the last one first."""
    anchor, offset = w.sizes[NUM_BLOCKS], w.request[request, codes.OFFSET]
    for place in range(s.request[request, codes.HELD] - 1, -1, -1):
        block = s.contents[offset + place, codes.TABLE]
        s.blocks[block, codes.HOLDERS] -= 1
        if s.blocks[block, codes.HOLDERS] == 0:
            append_free(s, block, anchor)
    s.request[request, codes.HELD] = 0
    s.request[request, codes.FILLED] = 0


@kernel
def found(s, w, request):
    """Return how many leading blocks of a waiting request are known, and how many of them nobody holds."""
    if not w.sizes[IS_CACHING]:
        return 0, 0
    size = w.sizes[BLOCK_SIZE]
    most = (w.request[request, codes.PROMPT] + s.request[request, codes.GENERATED] - 1) // size
    count, unheld = 0, 0
    while count < most:
        block = s.contents[content_of(w, request, count, size), codes.KNOWN]
        if block < 0:
            break
        if s.blocks[block, codes.HOLDERS] == 0:
            unheld += 1
        count += 1
    return count, unheld


@kernel
def share(s, w, request, count):
    """Let a request hold the first `count` blocks of its content."""
    size, offset = w.sizes[BLOCK_SIZE], w.request[request, codes.OFFSET]
    for place in range(count):
        block = s.contents[content_of(w, request, place, size), codes.KNOWN]
        if s.blocks[block, codes.HOLDERS] == 0:
            unlink(s, block)
        s.blocks[block, codes.HOLDERS] += 1
        s.contents[offset + place, codes.TABLE] = block
    s.request[request, codes.HELD] = count
    s.request[request, codes.FILLED] = count


@kernel
def note_full(s, w, request):
    """Make the blocks of a request that are full by now known by their content."""
    if not w.sizes[IS_CACHING]:
        return
    size, offset = w.sizes[BLOCK_SIZE], w.request[request, codes.OFFSET]
    while s.request[request, codes.FILLED] < s.request[request, codes.COMPUTED] // size:
        place = s.request[request, codes.FILLED]
        content = content_of(w, request, place, size)
        block = s.contents[offset + place, codes.TABLE]
        if s.contents[content, codes.KNOWN] < 0 and s.blocks[block, codes.OWNER] < 0:
            s.contents[content, codes.KNOWN] = block
            s.blocks[block, codes.OWNER] = content
        s.request[request, codes.FILLED] += 1
