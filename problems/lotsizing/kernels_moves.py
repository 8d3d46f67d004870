"""What a machine may be told, and what comes of it."""

from __future__ import annotations

from orl.jit import kernel

from .kernels_codes import FORBID, KEEPS_SETUP, ONE_MACHINE


@kernel
def is_legal(lots, row, setup, stock, choice, machine, option):
    """Return whether a machine may be told `option` now, the machines before it having been told theirs."""
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
