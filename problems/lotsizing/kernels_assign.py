"""Which machine makes which item now, given what the state after it is worth to every item alone.

All machines that have yet to be told are assigned together, by steepest descent over moves of one machine and exchanges
between two; the first of them is then told its own. What an item is worth after the decision is looked up.
"""

from __future__ import annotations

from orl.jit import kernel

EXCHANGES = 8  # in one assignment at most; each is followed by moves


@kernel
def assign(table, options, periods, is_over, first, setup, stock, choice, room, told):
    """Fill `told` (envs, machines) with what machines from number `first` (envs,) on are to do, choices.

    `table` is an `ItemTable`; `options` (envs, machines, choices): what is legal for each machine, as far as that is
    known before the machines before it are told; `setup`, `choice` (envs, machines), `stock` (envs, items) as in
    observations; `room` an `AssignRoom`.
    """
    for env in range(len(told)):
        if is_over[env]:
            continue
        begin(table, periods[env], first[env], setup[env], stock[env], choice[env], room)
        machines = table.bit.shape[1]
        for machine in range(first[env], machines):
            room.told[machine] = 0
        descend(table, options[env], periods[env], first[env], setup[env], room)
        for _ in range(EXCHANGES):
            if not exchange(table, options[env], periods[env], first[env], setup[env], room):
                break
            descend(table, options[env], periods[env], first[env], setup[env], room)
        for machine in range(first[env], machines):
            told[env, machine] = room.told[machine]


@kernel
def begin(table, period, first, setup, stock, choice, room):
    """Note where the items are if all machines from number `first` on are idle."""
    for item in range(len(room.mask)):
        mask = 0
        room.makers[item] = 0
        for machine in range(table.bit.shape[1]):
            bit = table.bit[item, machine]
            if bit and setup[machine] == item + 1 and (table.keeps or machine < first):
                mask |= bit
            if machine < first and choice[machine] == item + 1:
                room.makers[item] += 1
        room.mask[item] = mask
        room.level[item] = stock[item] + table.empty[item]
        room.paid[item] = 0.0
        room.worth[item] = look_up(table, period, item, mask, room.level[item])


@kernel
def look_up(table, period, item, mask, level):
    """Return what a state after the decision costs an item from here on."""
    levels = table.levels[item]
    place = min(max(level, 0), levels - 1)
    return table.posts[table.first[item] + (period * table.masks[item] + mask) * levels + place]


@kernel
def change(table, period, item, machine, before, sign, room):
    """Let a machine set up for `before` make an item (sign 1), or take that back (-1), and return its new cost; with
    sign 0 (idle machines stay set up) the machine leaves the set-up for the item, with 2 it returns to it.
    """
    bit = table.bit[item, machine]
    if sign == 1 or sign == -1:
        is_new = before != item + 1
        made = table.made_fresh[item, machine] if is_new else table.made_more[item, machine]
        room.level[item] += sign * made
        room.makers[item] += sign
        if is_new:
            room.paid[item] += sign * table.weight[period] * table.setup_cost[item, machine]
    if sign == 1 or sign == 2:
        room.mask[item] |= bit
    elif sign == 0 or not (table.keeps and before == item + 1):
        room.mask[item] &= ~bit
    return room.paid[item] + look_up(table, period, item, room.mask[item], room.level[item])


@kernel
def tell(table, period, machine, before, option, room):
    """Change what a machine is told, and return by how much that raises the cost."""
    total = 0.0
    was = room.told[machine]
    if was == option:
        return 0.0
    if was > 0:
        old = room.worth[was - 1]
        room.worth[was - 1] = change(table, period, was - 1, machine, before, -1, room)
        total += room.worth[was - 1] - old
    if option > 0:
        old = room.worth[option - 1]
        room.worth[option - 1] = change(table, period, option - 1, machine, before, 1, room)
        total += room.worth[option - 1] - old
    if table.keeps and before > 0 and table.bit[before - 1, machine]:
        stays_before, stays_now = was == 0 or was == before, option == 0 or option == before
        if stays_before != stays_now:
            old = room.worth[before - 1]
            room.worth[before - 1] = change(table, period, before - 1, machine, before, 2 if stays_now else 0, room)
            total += room.worth[before - 1] - old
    room.told[machine] = option
    return total


@kernel
def fits(table, option, room):
    """Return whether an item that is told to be made keeps within what is allowed."""
    if option == 0:
        return True
    item = option - 1
    if table.is_alone and room.makers[item] > 1:
        return False
    return not table.forbids or room.level[item] <= table.full[item]


@kernel
def descend(table, options, period, first, setup, room):
    """Move one machine at a time to where that lowers the cost most."""
    machines, choices = options.shape
    while True:
        best_machine, best_option, best = -1, 0, -table.tolerance
        for machine in range(first, machines):
            was = room.told[machine]
            for option in range(choices):
                if option != was and options[machine, option]:
                    change_of_cost = tell(table, period, machine, setup[machine], option, room)
                    if change_of_cost < best and fits(table, option, room):
                        best_machine, best_option, best = machine, option, change_of_cost
                    tell(table, period, machine, setup[machine], was, room)
        if best_machine < 0:
            return
        tell(table, period, best_machine, setup[best_machine], best_option, room)


@kernel
def exchange(table, options, period, first, setup, room):
    """Exchange what two machines are told where that lowers the cost, the first such pair; return whether one did."""
    machines = options.shape[0]
    for one in range(first, machines):
        for other in range(one + 1, machines):
            told_one, told_other = room.told[one], room.told[other]
            if told_one == told_other or not options[one, told_other] or not options[other, told_one]:
                continue
            total = tell(table, period, one, setup[one], told_other, room)
            total += tell(table, period, other, setup[other], told_one, room)
            if total < -table.tolerance and fits(table, told_one, room) and fits(table, told_other, room):
                return True
            tell(table, period, one, setup[one], told_one, room)
            tell(table, period, other, setup[other], told_other, room)
    return False
