"""What rules choose for a machine, the machines before it having been told theirs."""

from __future__ import annotations

import math

import numpy as np

from orl.jit import kernel
from orl.kernels_hash import hash_uniform

from .kernels_codes import (
    BASE_STOCK,
    CYCLE,
    ENDLESS,
    FIRST_PERIOD,
    FIXED,
    GREEDY,
    KEEP,
    LAW,
    NUM_ITEMS,
    PATH,
    PERIODS,
    POISSON,
)
from .kernels_codes import RANDOM as RANDOM_RULE
from .kernels_moves import deadline, is_legal, needed_by


@kernel
def choose(lots, row, setup, stock, choice, period, last_demand, factors, machine, code, parameters, seed):
    """Return the choice of a rule for a machine: 0 idle, i + 1 item i; where that is illegal, what is needed first."""
    last = deadline(lots, row, stock, period)
    option = wanted(
        lots, row, setup, stock, choice, period, last, last_demand, factors, machine, code, parameters, seed
    )
    if last < 0 or is_legal(lots, row, setup, stock, choice, machine, option, period, last):
        return option
    best, best_by = np.int64(0), last + 1
    for other in range(1, lots.sizes[row, NUM_ITEMS] + 1):
        if is_legal(lots, row, setup, stock, choice, machine, other, period, last):
            by = needed_by(lots, row, stock, period, other - 1)
            if by < best_by:
                best, best_by = np.int64(other), by
    return best


@kernel
def wanted(lots, row, setup, stock, choice, period, last, last_demand, factors, machine, code, parameters, seed):
    """Return what a rule would choose for a machine; legal, or idle."""
    if code in (KEEP, FIXED):
        option = setup[machine] if code == KEEP else np.int64(parameters[machine])
        return option if is_legal(lots, row, setup, stock, choice, machine, option, period, last) else np.int64(0)
    if code == BASE_STOCK:
        return least_covered(lots, row, setup, stock, choice, period, last, last_demand, machine, parameters)
    if code == GREEDY:
        return most_saving(lots, row, setup, stock, choice, period, last, last_demand, factors, machine, parameters)
    if code == RANDOM_RULE:
        best, best_number = np.int64(0), -1.0
        since_start = lots.sizes[row, FIRST_PERIOD] + period  # so that a state gets the same number on its own
        for option in range(lots.sizes[row, NUM_ITEMS] + 1):
            if is_legal(lots, row, setup, stock, choice, machine, option, period, last):
                number = hash_uniform(seed, since_start * setup.shape[0] + machine, option)
                if number > best_number:
                    best, best_number = np.int64(option), number
        return best
    return np.int64(0)


@kernel
def least_covered(lots, row, setup, stock, choice, period, last, last_demand, machine, parameters):
    """Go on with an item until its stock covers `parameters[1]` periods of mean demand; then set up for the item with
    the least cover, if that is below `parameters[0]` periods.
    """
    current = setup[machine]
    if current > 0 and is_legal(lots, row, setup, stock, choice, machine, current, period, last):
        mean = mean_over(lots, row, period, last_demand, current - 1, 1)
        if stock[current - 1] < parameters[1] * mean:
            return current
    best, best_cover = np.int64(0), parameters[0]
    for option in range(1, lots.sizes[row, NUM_ITEMS] + 1):
        if is_legal(lots, row, setup, stock, choice, machine, option, period, last):
            mean = mean_over(lots, row, period, last_demand, option - 1, 1)
            if mean > 0 and stock[option - 1] / mean < best_cover:
                best, best_cover = np.int64(option), stock[option - 1] / mean
    return best


@kernel
def most_saving(lots, row, setup, stock, choice, period, last, last_demand, factors, machine, parameters):
    """Choose the item whose production now saves most; nothing if none saves anything."""
    best, best_saved = np.int64(0), 0.0
    for option in range(1, lots.sizes[row, NUM_ITEMS] + 1):
        if is_legal(lots, row, setup, stock, choice, machine, option, period, last):
            saved = saving(
                lots, row, setup, stock, period, last_demand, factors, machine, option, parameters[0], parameters[1]
            )
            if saved > best_saved:
                best, best_saved = np.int64(option), saved
    return best


@kernel
def saving(lots, row, setup, stock, period, last_demand, factors, machine, option, window, setup_share):
    """Return what making an item now saves: the expected shortage within `window` periods, less the holding of what is
    then left, less `setup_share` times the set-up cost; 0 if it adds nothing to stock.
    """
    window = np.int64(window)
    if not lots.sizes[row, ENDLESS]:
        window = min(window, lots.sizes[row, PERIODS] - period)
    item = option - 1
    now = stock[item]
    after = min(
        now + lots.output[row, machine, setup[machine], option],
        lots.limit[row, item] + np.int64(mean_over(lots, row, period, last_demand, item, 1)),
    )
    if after <= now:
        return 0.0
    mean = mean_over(lots, row, period, last_demand, item, window)
    spread = spread_over(lots, row, item, window, mean)
    short, short_after = expected_shortage(now, mean, spread), expected_shortage(after, mean, spread)
    saved = (short - short_after) * lots.shortage[row, item]
    saved -= (after - now - (short - short_after)) * lots.holding[row, item] * window
    saved -= setup_share * lots.changeover[row, machine, setup[machine], option]
    return saved * factors[item]


@kernel
def mean_over(lots, row, period, last_demand, item, window):
    """Return the mean demand of an item over the next `window` periods, this one first, seen from now."""
    sizes = lots.sizes[row]
    first = sizes[FIRST_PERIOD] + period
    cycle = sizes[CYCLE]
    if cycle == 1:
        total = window * lots.base[row, 0, item]
    else:
        total = 0.0
        for ahead in range(window):
            total += lots.base[row, (first + ahead) % cycle, item]
    share = lots.autocorrelation[row]
    if share > 0 and last_demand[item] >= 0:
        surprise = last_demand[item] - lots.base[row, (first - 1) % cycle, item]
        total += surprise * share * (1 - share**window) / (1 - share)
    return max(total, 0.0)


@kernel
def spread_over(lots, row, item, window, mean):
    """Return the standard deviation of an item's demand over `window` periods, autocorrelation not counted."""
    law = lots.sizes[row, LAW]
    if law == PATH:
        return 0.0
    return math.sqrt(mean if law == POISSON else window * lots.variance[row, item])


@kernel
def expected_shortage(stock, mean, spread):
    """Return by how much normally distributed demand exceeds stock in the mean."""
    if spread <= 1e-9:
        return max(mean - stock, 0.0)
    z = (stock - mean) / spread
    if z > 6:
        return 0.0
    if z < -6:
        return mean - stock
    density = math.exp(-0.5 * z * z) / 2.5066282746310002
    beyond = 0.5 * math.erfc(z / 1.4142135623730951)
    return spread * density + (mean - stock) * beyond
