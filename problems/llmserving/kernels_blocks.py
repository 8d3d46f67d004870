"""The KV cache: blocks that are held, shared, or free in the order in which they were released.

Free blocks form a doubly linked list; entry K of `after` and `before` is its anchor. A block in the list may still be
known by its content, until it is taken again.

With groups of blocks, `areas` is a binary tree over the blocks: how many below each node are free, up to the size of a
group; `levels` counts the nodes of each level below which all are free.
"""

from __future__ import annotations

from orl.jit import kernel

from . import kernels_codes as codes
from .kernels_codes import BLOCK_SIZE, FREE, GROUP, IS_CACHING, NUM_BLOCKS


@kernel
def content_of(w, request, place, size):
    """Return the number of a block's content: that of the earliest request which has it."""
    while w.request[request, codes.PARENT] >= 0 and (place + 1) * size <= w.request[request, codes.SHARED]:
        request = w.request[request, codes.PARENT]
    return w.request[request, codes.OFFSET] + place


@kernel
def count_in_areas(s, w, block, change):
    """Count a block that is free now (1) or no more (-1) in the areas in which it lies."""
    node, size, level = s.areas.shape[0] // 2 + block, 1, 0
    while size <= w.sizes[GROUP] and node > 0:
        s.levels[level] -= s.areas[node] == size
        s.areas[node] += change
        s.levels[level] += s.areas[node] == size
        node, size, level = node >> 1, 2 * size, level + 1


@kernel
def append_free(s, w, block):
    """Put a block behind those released before it."""
    anchor = w.sizes[NUM_BLOCKS]
    last = s.blocks[anchor, codes.BEFORE]
    s.blocks[last, codes.AFTER] = block
    s.blocks[block, codes.BEFORE] = last
    s.blocks[block, codes.AFTER] = anchor
    s.blocks[anchor, codes.BEFORE] = block
    s.num[FREE] += 1
    if w.sizes[GROUP] > 1:
        count_in_areas(s, w, block, 1)


@kernel
def unlink(s, w, block):
    """Take a block out of the free ones."""
    s.blocks[s.blocks[block, codes.BEFORE], codes.AFTER] = s.blocks[block, codes.AFTER]
    s.blocks[s.blocks[block, codes.AFTER], codes.BEFORE] = s.blocks[block, codes.BEFORE]
    s.num[FREE] -= 1
    if w.sizes[GROUP] > 1:
        count_in_areas(s, w, block, -1)


@kernel
def last_block(s, w, request):
    """Return the last of the blocks that a request holds, -1 if there is none."""
    held = s.request[request, codes.HELD]
    return s.contents[w.request[request, codes.OFFSET] + held - 1, codes.TABLE] if held > 0 else -1


@kernel
def goes_on(w, last, block):
    """Return whether a block lies right behind the last one of a request, in the same group."""
    return last >= 0 and block == last + 1 and block % w.sizes[GROUP] != 0


@kernel
def next_block(s, w, request):
    """Return the free block that a request is given next."""
    anchor, group = w.sizes[NUM_BLOCKS], w.sizes[GROUP]
    block = s.blocks[anchor, codes.AFTER]  # was released longest ago
    if group == 1:
        return block
    last = last_block(s, w, request)
    if goes_on(w, last, last + 1) and last + 1 < anchor and s.blocks[last + 1, codes.HOLDERS] == 0:
        return last + 1
    size, level = 1, 0
    while size < group:
        size, level = 2 * size, level + 1
    while s.levels[level] == 0:
        size, level = size // 2, level - 1
    leaves = s.areas.shape[0] // 2
    while s.areas[(leaves + block) >> level] < size:
        block = s.blocks[block, codes.AFTER]
    return (block >> level) << level


@kernel
def into_table(s, w, request, block):
    """Write a block behind those that a request holds."""
    held = s.request[request, codes.HELD]
    s.request[request, codes.STRETCHES] += not goes_on(w, last_block(s, w, request), block)
    s.contents[w.request[request, codes.OFFSET] + held, codes.TABLE] = block
    s.request[request, codes.HELD] = held + 1


@kernel
def stretches_of(s, w, request, first, end):
    """Return in how many stretches the blocks of a request from one place to before another lie."""
    if w.sizes[GROUP] == 1:
        return end - first
    count, last, offset = 0, -1, w.request[request, codes.OFFSET]
    for place in range(first, end):
        block = s.contents[offset + place, codes.TABLE]
        count += not goes_on(w, last, block)
        last = block
    return count


@kernel
def take(s, w, request):
    """Give a request a free block."""
    block = next_block(s, w, request)
    unlink(s, w, block)
    if s.blocks[block, codes.OWNER] >= 0:
        s.contents[s.blocks[block, codes.OWNER], codes.KNOWN] = -1
        s.blocks[block, codes.OWNER], s.blocks[block, codes.IS_KNOWN] = -1, 0
    s.blocks[block, codes.HOLDERS] = 1
    s.blocks[block, codes.TAKEN_BY], s.blocks[block, codes.PLACE] = request, s.request[request, codes.HELD]
    into_table(s, w, request, block)


@kernel
def release(s, w, request):
    """Take all blocks of a request away, the last one first."""
    offset = w.request[request, codes.OFFSET]
    for place in range(s.request[request, codes.HELD] - 1, -1, -1):
        block = s.contents[offset + place, codes.TABLE]
        s.blocks[block, codes.HOLDERS] -= 1
        if s.blocks[block, codes.HOLDERS] == 0:
            append_free(s, w, block)
    s.request[request, codes.HELD] = 0
    s.request[request, codes.STRETCHES] = 0
    s.request[request, codes.FILLED] = 0
    s.request[request, codes.FOUND] = 0


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
    size = w.sizes[BLOCK_SIZE]
    for place in range(count):
        block = s.contents[content_of(w, request, place, size), codes.KNOWN]
        if s.blocks[block, codes.HOLDERS] == 0:
            unlink(s, w, block)
        s.blocks[block, codes.HOLDERS] += 1
        into_table(s, w, request, block)
    s.request[request, codes.FILLED] = count
    s.request[request, codes.FOUND] = count


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
            s.blocks[block, codes.OWNER], s.blocks[block, codes.IS_KNOWN] = content, 1
        s.request[request, codes.FILLED] += 1


@kernel
def restore(s, w):
    """Write where blocks lie, as it follows from who took each block last, as which of its own, whether it is known,
    the ring of free blocks, and how many blocks each request holds and how many of them it found.

    What a request found is known by its content. Of what it took itself there may be a second block that others hold:
    the one that is known.
    """
    anchor, size = w.sizes[NUM_BLOCKS], w.sizes[BLOCK_SIZE]
    for block in range(anchor):
        s.blocks[block, codes.HOLDERS] = 1
    block = anchor
    while s.blocks[block, codes.AFTER] != anchor:
        after = s.blocks[block, codes.AFTER]
        s.blocks[after, codes.BEFORE] = block
        s.blocks[after, codes.HOLDERS] = 0
        block = after
    s.blocks[anchor, codes.BEFORE] = block
    for is_known in (1, 0):
        for block in range(anchor):
            request, place = s.blocks[block, codes.TAKEN_BY], s.blocks[block, codes.PLACE]
            if s.blocks[block, codes.IS_KNOWN] != is_known:
                continue
            if is_known:
                content = content_of(w, request, place, size)
                s.blocks[block, codes.OWNER] = content
                s.contents[content, codes.KNOWN] = block
            if s.blocks[block, codes.HOLDERS] == 1 and place < s.request[request, codes.HELD]:
                s.contents[w.request[request, codes.OFFSET] + place, codes.TABLE] = block
    for block in range(anchor):
        if s.blocks[block, codes.HOLDERS] == 1 and w.sizes[GROUP] > 1:
            count_in_areas(s, w, block, -1)
        s.blocks[block, codes.HOLDERS] = 0
    for request in range(s.num[codes.ARRIVED]):
        offset = w.request[request, codes.OFFSET]
        for place in range(s.request[request, codes.HELD]):
            if place < s.request[request, codes.FOUND]:
                content = content_of(w, request, place, size)
                s.contents[offset + place, codes.TABLE] = s.contents[content, codes.KNOWN]
            s.blocks[s.contents[offset + place, codes.TABLE], codes.HOLDERS] += 1
