"""The machine alone and every item alone, at prices for what they must agree on; see `layers`.

The machine's states are what it is set up for; an item's are units made of it, and whether it is set up for.
`given` is a `Given` of `units`; units made are counted up to what is needed of the item, places [first[item] + units].
Prices (3, periods, items): of making a unit, of beginning to (a set-up), and of being idle while set up for the item.
"""

from __future__ import annotations

import numpy as np

from orl.jit import kernel

MAKE, BEGIN, HOLD = 0, 1, 2  # what has a price


@kernel
def value_machine(given, prices, machine):
    """Fill `machine` (periods + 1, items + 1): the least cost of set-ups from a period on, less what is earned."""
    periods, items = given.weight.shape
    machine[periods] = 0.0
    for t in range(periods - 1, -1, -1):
        for setup in range(items + 1):
            best = machine[t + 1, setup if given.keeps else 0]
            if given.keeps and setup > 0:
                best -= prices[HOLD, t, setup - 1]
            for item in range(items):
                if given.possible[item]:
                    cost = machine[t + 1, item + 1] - prices[MAKE, t, item]
                    if setup != item + 1:
                        cost += given.changeover[setup, item + 1] * given.weight[t, item] - prices[BEGIN, t, item]
                    best = min(best, cost)
            machine[t, setup] = best


@kernel
def value_items(given, prices, values):
    """Fill `values` (periods + 1, places, 2): the least cost of stock from a period on, plus what is paid; the last
    axis tells whether the machine is set up for the item.
    """
    periods, items = given.weight.shape
    values[periods] = 0.0
    for t in range(periods - 1, -1, -1):
        for item in range(items):
            first = given.first[item]
            count = given.first[item + 1] - first
            for units in range(count):
                stay = values[t + 1, first + units, 0] + given.holding[t, first + units]
                off, on = stay, stay
                if given.keeps:
                    idle = values[t + 1, first + units, 1] + given.holding[t, first + units] + prices[HOLD, t, item]
                    on = min(on, idle)
                after, more = units + 1, 0.0
                if after == count:
                    after, more = units, given.surplus[t, item]
                if given.possible[item]:
                    made = values[t + 1, first + after, 1] + given.holding[t, first + after] + more
                    made += prices[MAKE, t, item]
                    on = min(on, made)
                    off = min(off, made + prices[BEGIN, t, item])
                values[t, first + units, 0] = off
                values[t, first + units, 1] = on


@kernel
def add_excess(given, prices, machine, values, start, excess):
    """Add to `excess` (3, periods, items) what the items do, less what the machine does, each at its least cost."""
    periods, items = given.weight.shape
    setup = start[items]
    for t in range(periods):
        best = machine[t + 1, setup if given.keeps else 0]
        if given.keeps and setup > 0:
            best -= prices[HOLD, t, setup - 1]
        made = 0
        for item in range(items):
            if given.possible[item]:
                cost = machine[t + 1, item + 1] - prices[MAKE, t, item]
                if setup != item + 1:
                    cost += given.changeover[setup, item + 1] * given.weight[t, item] - prices[BEGIN, t, item]
                if cost < best:
                    best, made = cost, item + 1
        if made > 0:
            excess[MAKE, t, made - 1] -= 1.0
            if made != setup:
                excess[BEGIN, t, made - 1] -= 1.0
            setup = made
        elif given.keeps:
            if setup > 0:
                excess[HOLD, t, setup - 1] -= 1.0
        else:
            setup = 0
    for item in range(items):
        first = given.first[item]
        count = given.first[item + 1] - first
        units = start[item]
        on = start[items] == item + 1
        for t in range(periods):
            best = values[t + 1, first + units, 0] + given.holding[t, first + units]
            does = 0
            if given.keeps and on:
                idle = values[t + 1, first + units, 1] + given.holding[t, first + units] + prices[HOLD, t, item]
                if idle < best:
                    best, does = idle, 1
            after, more = units + 1, 0.0
            if after == count:
                after, more = units, given.surplus[t, item]
            if given.possible[item]:
                made = values[t + 1, first + after, 1] + given.holding[t, first + after] + more
                made += prices[MAKE, t, item]
                if not on:
                    made += prices[BEGIN, t, item]
                if made < best:
                    does = 2
            if does == 2:
                excess[MAKE, t, item] += 1.0
                if not on:
                    excess[BEGIN, t, item] += 1.0
                on, units = True, after
            elif does == 1:
                excess[HOLD, t, item] += 1.0
            else:
                on = False


@kernel
def total(given, machine, values, start):
    """Return the bound from the first period on, at a state: units made of each item, and the set-up."""
    items = given.weight.shape[1]
    value = machine[0, start[items]]
    for item in range(items):
        value += values[0, given.first[item] + start[item], np.int64(start[items] == item + 1)]
    return value
