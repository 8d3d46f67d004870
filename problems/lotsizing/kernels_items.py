"""One item alone, the time of machines having a price: dynamic programming over its stock and who is set up for it.

A state is a mask, of which bit j is set if machine j of those that can make the item is set up for it, and a level of
stock, counted from the lowest. Within a period these machines decide in order: the bits of those that have decided tell
what they are set up for now, the bits of the others what they were set up for before. Where one machine at most may
make the item in a period there are two flags: states with flag 1 are those in which one does.
"""

from __future__ import annotations

from orl.jit import kernel

OFF, MAKES, HOLDS = 0, 1, 2  # what a machine does with an item: nothing; makes it; stays set up for it


@kernel
def backward(item, nature, prices, first, room, values, posts, choices):
    """Fill the values of states and of post-decision states, and what machines do, from the last period on.

    `values` (periods + 1, masks, levels), `posts` (periods, masks, levels after production), `choices` (periods,
    machines, flags, masks, levels after production); with one entry for all periods, `values` and `posts` are written
    over from period to period. `room` holds arrays to work in. Machines before `first` have been told what to do in the
    first period.
    """
    values[len(values) - 1] = 0.0
    for period in range(len(nature.weight) - 1, -1, -1):
        post = posts[min(period, len(posts) - 1)]
        expect(item, nature, period, values[min(period + 1, len(values) - 1)], room.row, post)
        copy(post, room.now[0])
        improve(item, nature.weight[period], prices[period], first if period == 0 else 0, room, choices[period])
        copy(room.now[0], values[min(period, len(values) - 1)])


@kernel
def backward_penalised(item, nature, known, relaxed, prices, first, room, values, choices):
    """The same for one scenario, `known`, made to pay for what it knows: penalties of the values `relaxed` (periods +
    1, masks, levels) charge what the scenario brings beyond the mean under `nature`. `values` (1, masks, levels).
    """
    values[0] = 0.0
    for period in range(len(known.weight) - 1, -1, -1):
        post = room.now[0]
        expect(item, nature, period, relaxed[period + 1], room.row, post)
        add_surprise(item, known.demand[period], values[0], relaxed[period + 1], post)
        improve(item, known.weight[period], prices[period], first if period == 0 else 0, room, choices[period])
        copy(room.now[0], values[0])


@kernel
def add_surprise(item, demand, values, relaxed, post):
    """Add what values are above the relaxed ones where a known demand leads."""
    for mask in range(post.shape[0]):
        for level in range(post.shape[1]):
            left = max(min(level - demand, item.full), item.floor)
            post[mask, level] += values[mask, left] - relaxed[mask, left]


@kernel
def copy(source, target):
    """Fill `target`, as far as it goes, with `source`; slices of more than one axis would allocate."""
    for mask in range(target.shape[0]):
        for level in range(target.shape[1]):
            target[mask, level] = source[mask, level]


@kernel
def expect(item, nature, period, after, row, post):
    """Fill `post` (masks, levels after production) with the mean cost of a period's end and of what comes after it."""
    law = nature.law[period]
    begin, end = nature.first[law], nature.first[law + 1]
    masks, levels = post.shape
    most = nature.demand[end - 1]  # entries ascend
    for mask in range(masks):
        for place in range(levels + most):  # level `place - most` after demand, within its limits
            row[place] = after[mask, max(min(place - most, item.full), item.floor)]
        value = post[mask]
        value[:] = 0.0
        for entry in range(begin, end):
            probability, lower = nature.probability[entry], row[most - nature.demand[entry] :]
            for level in range(levels):
                value[level] += probability * lower[level]
    for level in range(levels):
        cost = 0.0
        for entry in range(begin, end):
            left = level - nature.demand[entry] - item.empty
            if left < 0:
                cost -= nature.probability[entry] * item.shortage * left
            else:
                cost += nature.probability[entry] * item.holding * min(left, item.full - item.empty)
        row[level] = nature.weight[period] * cost
    for mask in range(masks):
        for level in range(levels):
            post[mask, level] += row[level]


@kernel
def improve(item, weight, prices, first, room, choices):
    """Turn the values after production in `room.now[0]` into those before it, machine by machine, last one first."""
    flags = choices.shape[1]
    now, then = room.now, room.then
    masks, levels = now.shape[1:]
    if flags == 2:
        copy(now[0], now[1])
    for machine in range(len(item.machine) - 1, first - 1, -1):
        bit = 1 << machine
        price = prices[item.machine[machine]]
        setup = price + weight * item.setup_cost[machine]
        fresh, more = item.made_fresh[machine], item.made_more[machine]
        # From how many levels it may go: where overflow is forbidden, those that end within the limit.
        may_fresh = max(min(levels, item.full - fresh + 1), 0) if item.forbids else levels
        may_more = max(min(levels, item.full - more + 1), 0) if item.forbids else levels
        for flag in range(flags):
            is_free = flags == 1 or flag == 0
            for low in range(masks):
                if low & bit:
                    continue
                high = low | bit
                off, makes = now[flag, low], now[flags - 1, high]
                for up in range(2):
                    value, does = then[flag, high if up else low], choices[machine, flag, high if up else low]
                    for level in range(levels):
                        value[level] = off[level]
                        does[level] = OFF
                    if up and item.keeps:
                        consider(value, does, now[flag, high], 0, levels, price, HOLDS)
                    if is_free and up:
                        consider(value, does, makes, more, may_more, price, MAKES)
                    elif is_free:
                        consider(value, does, makes, fresh, may_fresh, setup, MAKES)
        now, then = then, now
    if (len(item.machine) - first) % 2:  # the values have ended up in the other array
        copy(now[0], room.now[0])


@kernel
def consider(value, does, option, made, count, cost, code):
    """Where `cost` + the option's value, `made` levels up, is less than the value, take it; from the first levels."""
    levels = len(value)
    inside = max(min(count, levels - made), 0)
    above = option[made:]  # an index that may be negative would keep the loop from being vectorised
    for level in range(inside):
        with_it = cost + above[level]
        is_less = with_it < value[level]
        value[level] = with_it if is_less else value[level]
        does[level] = code if is_less else does[level]
    for level in range(inside, count):
        with_it = cost + option[levels - 1]
        if with_it < value[level]:
            value[level] = with_it
            does[level] = code


@kernel
def trace(item, demand, first, choices, mask, level, plan):
    """Follow one item through a scenario, `demand` (periods,), and write what its machines do: `plan` (periods,
    machines), of those before `first` nothing in the first period.
    """
    flags, levels = choices.shape[2], choices.shape[4]
    for period in range(len(demand)):
        flag = 0
        for machine in range(first if period == 0 else 0, len(item.machine)):
            bit = 1 << machine
            does = choices[period, machine, flag, mask, level]
            plan[period, machine] = does
            if does == OFF:
                mask &= ~bit
            elif does == MAKES:
                made = item.made_more[machine] if mask & bit else item.made_fresh[machine]
                level = min(level + made, levels - 1)
                mask |= bit
                flag = flags - 1
        level = max(min(level - demand[period], item.full), item.floor)


@kernel
def forward(item, nature, first, choices, room, usage):
    """Add to `usage` (periods, all machines) how likely each machine is to be taken by the item.

    `room.now` (flags, masks, levels after production) holds the probabilities of the first state; it is written over.
    """
    now, then = room.now, room.then
    flags, masks, levels = now.shape
    for period in range(len(nature.weight)):
        for machine in range(first if period == 0 else 0, len(item.machine)):
            usage[period, item.machine[machine]] += move(item, machine, choices[period, machine], now)
        law = nature.law[period]
        for mask in range(masks):
            for level in range(levels):
                then[0, mask, level] = 0.0
            for flag in range(flags):
                for level in range(levels):
                    chance = now[flag, mask, level]
                    now[flag, mask, level] = 0.0
                    if chance > 0:
                        for entry in range(nature.first[law], nature.first[law + 1]):
                            left = max(min(level - nature.demand[entry], item.full), item.floor)
                            then[0, mask, left] += chance * nature.probability[entry]
        copy(then[0], now[0])


@kernel
def move(item, machine, choices, chance):
    """Let one machine act in every state, and return how likely it is to be taken; from the highest level down, so
    that nothing is moved twice.
    """
    flags, masks, levels = chance.shape
    bit, taken = 1 << machine, 0.0
    for low in range(masks):
        if low & bit:
            continue
        high = low | bit
        for level in range(levels - 1, -1, -1):
            for flag in range(flags - 1, -1, -1):
                down, up = chance[flag, low, level], chance[flag, high, level]
                if down == 0 and up == 0:
                    continue
                chance[flag, low, level] = chance[flag, high, level] = 0.0
                if choices[flag, low, level] == MAKES:
                    chance[flags - 1, high, min(level + item.made_fresh[machine], levels - 1)] += down
                    taken += down
                else:
                    chance[flag, low, level] += down
                does = choices[flag, high, level]
                if does == OFF:
                    chance[flag, low, level] += up
                else:
                    taken += up
                    if does == HOLDS:
                        chance[flag, high, level] += up
                    else:
                        chance[flags - 1, high, min(level + item.made_more[machine], levels - 1)] += up
    return taken
