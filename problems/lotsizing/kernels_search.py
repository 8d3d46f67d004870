"""What follows the states of a layer: a period's production; see `layers`.

A state is a row of whole numbers: the set-up, then units made of each item, packed. `given` is a `Given` of `units`,
`machine` and `values` are those of `kernels_prices`.
"""

from __future__ import annotations

import math

import numpy as np

from orl.jit import kernel

TINY = 1e-6  # of a cost; what is rounded up must not be rounding


@kernel
def unpack(packing, states, row, units):
    """Write the units of a state."""
    for item in range(len(units)):
        units[item] = (states[row, packing.word[item]] >> packing.shift[item]) & packing.mask[item]


@kernel
def tight(given, units, period):
    """Return by the end of which period a unit is needed that must be made now; -1: none; -2: not all can be met."""
    periods, items = given.weight.shape
    last = -1
    for later in range(period, periods):
        missing = 0
        for item in range(items):
            missing += max(given.needed[later, item] - units[item], 0)
        if missing > later - period + 1:
            return -2
        if missing == later - period + 1 and last < 0:
            last = later
    return last


@kernel
def follow(given, packing, machine, values, period, below, grain, states, costs, units, out):
    """Write what follows some states into `out`, and return how many there are; those whose bound is below a cost."""
    items = given.weight.shape[1]
    count = 0
    for row in range(len(costs)):
        unpack(packing, states, row, units)
        setup = states[row, 0]
        last = tight(given, units, period)
        if last == -2:
            continue
        held, ahead = 0.0, 0.0  # cost of stock if nothing is made, and of the items from the next period on
        lacking, which = 0, -1
        for item in range(items):
            place = given.first[item] + units[item]
            if given.holding[period, place] + values[period + 1, place, 0] == np.inf:
                lacking += 1
                which = item
            else:
                held += given.holding[period, place]
                ahead += values[period + 1, place, 0]
        if lacking > 1:
            continue
        for choice in range(items + 1):
            after = choice
            if choice == 0:
                if last >= 0 or lacking:
                    continue
                cost = costs[row] + held
                after = setup if given.keeps else 0
                rest = ahead
                if after > 0:
                    place = given.first[after - 1] + units[after - 1]
                    rest += values[period + 1, place, 1] - values[period + 1, place, 0]
            else:
                item = choice - 1
                if not given.possible[item] or (lacking and which != item):
                    continue
                place = given.first[item] + units[item]
                is_more = place + 1 == given.first[item + 1]
                if last >= 0 and (is_more or given.needed[last, item] <= units[item]):
                    continue
                cost = costs[row] + held
                rest = ahead
                if not lacking:
                    cost -= given.holding[period, place]
                    rest -= values[period + 1, place, 0]
                if is_more:
                    cost += given.surplus[period, item]
                else:
                    place += 1
                cost += given.holding[period, place]
                rest += values[period + 1, place, 1]
                if setup != choice:
                    cost += given.changeover[setup, choice] * given.weight[period, item]
            bound = cost + machine[period + 1, after] + rest
            if grain > 0:
                bound = math.ceil(bound / grain - TINY) * grain
            if not bound < below:
                continue
            for word in range(states.shape[1]):
                out.states[count, word] = states[row, word]
            out.states[count, 0] = after
            if choice > 0 and not is_more:
                out.states[count, packing.word[item]] += np.int64(1) << packing.shift[item]
            out.costs[count] = cost
            out.bounds[count] = bound
            out.parents[count] = row
            count += 1
    return count


@kernel
def undominated(dearer, states, costs, stays):
    """Tell which of distinct states, those of equal units side by side, are worth going on from: not those that are
    dearer than another by what it may cost more to go on from that, `dearer` (choices, choices).
    """
    count = len(costs)
    begin = 0
    while begin < count:
        end = begin + 1
        while end < count and is_alike(states, begin, end):
            end += 1
        for row in range(begin, end):
            stays[row] = True
            for other in range(begin, end):
                if other == row:
                    continue
                worse = costs[other] + dearer[states[other, 0], states[row, 0]] - costs[row]
                if worse < 0 or (worse == 0 and other < row):
                    stays[row] = False
                    break
        begin = end


@kernel
def is_alike(states, row, other):
    """Return whether the same has been made in two states."""
    differ = 0
    for word in range(1, states.shape[1]):
        differ += states[row, word] != states[other, word]
    return differ == 0
