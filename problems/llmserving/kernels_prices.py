"""Prices for memory, round by round: what a request costs alone at them, and what it takes then.

At given prices requests have nothing to do with one another: `values[r, t, k]` is the least weighted end of request r,
and what it pays for memory on the way, if k tokens are there at round t. All of these, less what all memory is worth at
the prices, is no more than the cost of any schedule (Lagrange's relaxation of the memory; Geoffrion 1974, doi
10.1007/BFb0120690).
"""

from __future__ import annotations

import math

from orl.jit import kernel


@kernel
def fill_values(given, preempts, prices, values, now):
    """Fill `values` (requests, rounds + 1, tokens + 1) from a round on; `given` as in `kernels_search`."""
    requests, last = values.shape[0], values.shape[1] - 1
    for r in range(requests):
        output = int(given[2, r])
        for t in range(last, now - 1, -1):
            values[r, t, output] = 0.0
            for k in range(output):
                run, later = math.inf, math.inf
                if t < last:
                    if t >= given[0, r]:
                        run = prices[t] * (given[1, r] + k) + end_of(given, values, r, t + 1, k + 1)
                    if preempts or k == 0:
                        later = values[r, t + 1, k]
                values[r, t, k] = min(run, later)


@kernel
def end_of(given, values, r, t, k):
    """Return what a request costs from round t on: its weighted end, if that is there."""
    return given[3, r] * t if k == given[2, r] else values[r, t, k]


@kernel
def memory_taken(given, preempts, prices, values, state, now, taken):
    """Fill in the memory that requests take round by round from a state on where each does what costs it least."""
    taken[:] = 0.0
    for r in range(values.shape[0]):
        k = state[r]
        for t in range(now, values.shape[1] - 1):
            if k == given[2, r]:
                break
            if t < given[0, r]:
                continue
            run = prices[t] * (given[1, r] + k) + end_of(given, values, r, t + 1, k + 1)
            if run <= values[r, t + 1, k] or (k > 0 and not preempts):
                taken[t] += given[1, r] + k
                k += 1


@kernel
def priced_bound(values, worth, state, sums):
    """Return a bound on the weighted sum of the ends of what is open: the best of several prices.

    `values` (requests, tokens + 1, prices) and `worth` (prices,) are those of a round, `sums` (prices,) is to work in.
    """
    for i in range(len(worth)):
        sums[i] = -worth[i]
    for r in range(len(state)):
        for i in range(len(worth)):
            sums[i] += values[r, state[r], i]
    best = sums[0]
    for i in range(1, len(worth)):
        best = max(best, sums[i])
    return best
