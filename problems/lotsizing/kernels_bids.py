"""What an item gains from a machine, now, given the values of its post-decision states and the prices of machines."""

from __future__ import annotations

from orl.jit import kernel

from .kernels_items import HOLDS, NEVER, OFF


@kernel
def bids(item, choice_number, own, periods, is_over, prices, weights, posts, setup, stock, choice, make, hold):
    """Fill `make` and `hold` (envs,) with what it adds to an item's cost that its machine number `own` makes it, or
    stays set up for it, in place of leaving it alone; the machines after it cost their prices.

    `periods` (envs,) says which entry of `prices` (periods, all machines), `weights` (periods,) and `posts` (periods,
    masks, levels) holds; `setup`, `choice` (envs, all machines) and `stock` (envs,) as in observations.
    """
    bit = 1 << own
    for env in range(len(make)):
        make[env], hold[env] = NEVER, NEVER
        if is_over[env]:
            continue
        period = periods[env]
        mask, is_taken = 0, False
        for j in range(len(item.machine)):
            if setup[env, item.machine[j]] == choice_number:
                mask |= 1 << j
            if j < own and choice[env, item.machine[j]] == choice_number:
                is_taken = True
        level = max(min(stock[env] + item.empty, posts.shape[2] - 1), 0)
        price, weight, post = prices[period], weights[period], posts[period]
        off = complete(item, price, weight, post, mask & ~bit, level, is_taken, own + 1)
        if mask & bit:
            hold[env] = complete(item, price, weight, post, mask, level, is_taken, own + 1) - off
        made, cost = item.made_fresh[own], weight * item.setup_cost[own]
        if mask & bit:
            made, cost = item.made_more[own], 0.0
        make[env] = cost + complete(item, price, weight, post, mask | bit, level + made, True, own + 1) - off


@kernel
def complete(item, price, weight, post, mask, level, is_taken, first):
    """Return the least cost of an item when its machines from number `first` on have yet to be told what to do."""
    later = len(item.machine) - first
    options = 3 if item.keeps else 2
    combinations = 1
    for _ in range(later):
        combinations *= options
    least = NEVER
    for combination in range(combinations):
        rest, stock, bits, cost = combination, level, mask, 0.0
        makers = 1 if is_taken else 0
        for machine in range(first, first + later):
            does, bit = rest % options, 1 << machine
            rest //= options
            if does == OFF:
                bits &= ~bit
                continue
            cost += price[item.machine[machine]]
            if does == HOLDS:
                if not mask & bit:
                    cost = NEVER
                continue
            makers += 1
            if mask & bit:
                stock += item.made_more[machine]
            else:
                stock += item.made_fresh[machine]
                cost += weight * item.setup_cost[machine]
                bits |= bit
            if (item.forbids and stock > item.full) or (item.is_alone and makers > 1):
                cost = NEVER
        least = min(least, cost + post[bits, max(min(stock, post.shape[1] - 1), 0)])
    return least
