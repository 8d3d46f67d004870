"""How long things take: the cost model's tables, linear between their points and beyond the last ones."""

from __future__ import annotations

from orl.jit import kernel


@kernel
def by_count(table, count):
    """Return the entry of a table over 0, 1, 2, ..., continued linearly."""
    last = table.shape[0] - 1
    if count <= last:
        return table[count]
    return table[last] + (count - last) * (table[last] - table[last - 1])


@kernel
def place_on(axis, value):
    """Return the lower end of the interval to interpolate in, and the weight of its upper end."""
    low, high = 0, axis.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if axis[middle] <= value:
            low = middle
        else:
            high = middle
    return low, (value - axis[low]) / (axis[low + 1] - axis[low])


@kernel
def bilinear(rows, columns, table, row, column):
    """Return the entry of a table at a point between its rows and columns."""
    i, u = place_on(rows, row)
    j, v = place_on(columns, column)
    low = table[i, j] + v * (table[i, j + 1] - table[i, j])
    high = table[i + 1, j] + v * (table[i + 1, j + 1] - table[i + 1, j])
    return low + u * (high - low)
