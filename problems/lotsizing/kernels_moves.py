"""What a machine may be told, and what comes of it."""

from __future__ import annotations

from orl.jit import kernel

from .kernels_codes import FIRST_PERIOD, FORBID, KEEPS_SETUP, NUM_ITEMS, ON_TIME, ONE_MACHINE, PERIODS


@kernel
def deadline(lots, row, stock, period):
    """Return by the end of which period the unit is needed that must be made now; -1: any choice is as good.

    Of unmet=forbid. With a unit a period, all demand can be met after this one if and only if for every later period
    the units still needed by its end are at most the periods up to it. If they are one more than that, one of them must
    be made now; the first such period says which may be. Where not all can be met whatever is done, nothing is asked.
    """
    sizes = lots.sizes[row]
    if not sizes[ON_TIME]:
        return -1
    first = sizes[FIRST_PERIOD]
    last = -1
    for ahead in range(sizes[PERIODS] - period):
        needed = 0
        for item in range(sizes[NUM_ITEMS]):
            until = lots.demanded[row, first + period + ahead + 1, item] - lots.demanded[row, first + period, item]
            needed += max(until - stock[item], 0)
        if needed > ahead + 1:
            return -1
        if needed == ahead + 1 and last < 0:
            last = period + ahead
    if last < 0:
        return -1
    for item in range(sizes[NUM_ITEMS]):
        if lots.possible[row, 0, item + 1] and needed_by(lots, row, stock, period, item) <= last:
            return last
    return -1


@kernel
def needed_by(lots, row, stock, period, item):
    """Return the first period whose demand the stock of an item does not meet; the number of periods: none."""
    sizes = lots.sizes[row]
    first = sizes[FIRST_PERIOD]
    for later in range(period, sizes[PERIODS]):
        if lots.demanded[row, first + later + 1, item] - lots.demanded[row, first + period, item] > stock[item]:
            return later
    return sizes[PERIODS]


@kernel
def is_legal(lots, row, setup, stock, choice, machine, option, period, last):
    """Return whether a machine may be told `option` now, the machines before it having been told theirs; `last` is the
    `deadline`.
    """
    if last >= 0 and (option == 0 or needed_by(lots, row, stock, period, option - 1) > last):
        return False
    if option == 0:
        return True
    if not lots.possible[row, machine, option]:
        return False
    sizes = lots.sizes[row]
    item = option - 1
    if sizes[FORBID]:
        made = lots.output[row, machine, setup[machine], option]
        if stock[item] + made > lots.limit[row, item]:
            return False
    if sizes[ONE_MACHINE]:
        for other in range(machine):
            if choice[other] == option:
                return False
    return True


@kernel
def book(lots, row, setup, stock, choice, machine, option):
    """Let a machine do as it is told, and return the cost of setting it up, before cost factors."""
    before = setup[machine]
    choice[machine] = option
    if option == 0:
        if not lots.sizes[row, KEEPS_SETUP]:
            setup[machine] = 0
        return 0.0
    setup[machine] = option
    stock[option - 1] += lots.output[row, machine, before, option]
    return lots.changeover[row, machine, before, option]
