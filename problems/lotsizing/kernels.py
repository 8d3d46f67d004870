"""The small-bucket lot-sizing process over flat arrays, batch axis first.

`lots` holds a row for each distinct instance, `states` one for each environment; see `process.py` for their shapes.
Choice 0 is idle, choice i + 1 is item i.
"""

from __future__ import annotations

from orl.jit import kernel

from .kernels_codes import BACKLOG, NUM_ITEMS, NUM_MACHINES, PERIODS
from .kernels_moves import book, deadline, is_legal
from .kernels_rules import choose


@kernel
def end_period(lots, row, stock, last_demand, demand, factors):
    """Bring in a period's demand and return the cost of holding and shortage."""
    sizes = lots.sizes[row]
    cost = 0.0
    for item in range(sizes[NUM_ITEMS]):
        after = stock[item] - demand[item]
        last_demand[item] = demand[item]
        paid = 0.0
        if after < 0:
            paid = -after * lots.shortage[row, item]
            if not sizes[BACKLOG]:
                after = 0
        elif after > 0:
            after = min(after, lots.limit[row, item])
            paid = after * lots.holding[row, item]
        stock[item] = after
        cost += paid * factors[item]
    return cost


@kernel
def write_legal(lots, row, states, env, is_joint, legal):
    """Fill the mask of an environment between two decisions."""
    legal[:] = False
    sizes = lots.sizes[row]
    setup, stock, choice = states.setup[env], states.stock[env], states.choice[env]
    period = states.period[env]
    last = deadline(lots, row, stock, period)
    if not is_joint:
        machine = states.machine[env]
        for option in range(sizes[NUM_ITEMS] + 1):
            legal[0, option] = is_legal(lots, row, setup, stock, choice, machine, option, period, last)
        return
    for machine in range(legal.shape[0]):
        if machine >= sizes[NUM_MACHINES]:
            legal[machine, 0] = True  # all that a machine of the padding may do
            continue
        for option in range(sizes[NUM_ITEMS] + 1):
            legal[machine, option] = is_legal(lots, row, setup, stock, choice, machine, option, period, last)


@kernel
def write_masks(lots, states, is_joint, envs, legal):
    """Fill the masks of some environments."""
    for env in envs:
        write_legal(lots, states.row[env], states, env, is_joint, legal[env])


@kernel
def decide(lots, states, is_joint, options, cost):
    """Book one choice (or, joint, one for every machine) in each environment that is not at its end."""
    for env in range(options.shape[0]):
        row = states.row[env]
        sizes = lots.sizes[row]
        cost[env] = 0.0
        if states.period[env] >= sizes[PERIODS]:
            continue
        setup, stock, choice = states.setup[env], states.stock[env], states.choice[env]
        first, last = states.machine[env], states.machine[env] + 1
        if is_joint:
            last = sizes[NUM_MACHINES]
        for machine in range(first, last):
            option = options[env, machine - first if not is_joint else machine]
            paid = book(lots, row, setup, stock, choice, machine, option)
            if option > 0:
                cost[env] += paid * states.factors[env, option - 1]
        states.machine[env] = last


@kernel
def advance(lots, row, states, nature, env):
    """After a choice: let demand come if all machines have theirs, and return its cost; else 0."""
    sizes = lots.sizes[row]
    if states.machine[env] < sizes[NUM_MACHINES]:
        return 0.0
    period = states.period[env]
    for machine in range(sizes[NUM_MACHINES]):
        states.log[env, period, machine] = states.choice[env, machine]
        states.choice[env, machine] = -1
    paid = end_period(
        lots, row, states.stock[env], states.last_demand[env], nature.demand[env, period], states.factors[env]
    )
    states.machine[env] = 0
    states.period[env] = period + 1
    if nature.has_noise and period + 1 < sizes[PERIODS]:
        for item in range(sizes[NUM_ITEMS]):
            states.factors[env, item] = nature.factors[env, period + 1, item]
    return paid


@kernel
def reveal(lots, states, nature, is_joint, cost, discount, is_over, legal):
    """Bring in what nobody controls, in every environment."""
    for env in range(cost.shape[0]):
        row = states.row[env]
        cost[env] = 0.0
        discount[env] = 1.0
        if states.period[env] < lots.sizes[row, PERIODS]:
            before = states.period[env]
            cost[env] = advance(lots, row, states, nature, env)
            if states.period[env] > before:
                discount[env] = lots.discount[row]
        is_over[env] = states.period[env] >= lots.sizes[row, PERIODS]
        if is_over[env]:
            legal[env] = False
        else:
            write_legal(lots, row, states, env, is_joint, legal[env])


@kernel
def run(lots, states, nature, code, parameters, seeds, cost):
    """Finish the episodes under a rule, and return the discounted costs that this adds."""
    for env in range(cost.shape[0]):
        row = states.row[env]
        sizes = lots.sizes[row]
        setup, stock, choice = states.setup[env], states.stock[env], states.choice[env]
        total, weight = 0.0, 1.0
        while states.period[env] < sizes[PERIODS]:
            for machine in range(states.machine[env], sizes[NUM_MACHINES]):
                option = choose(
                    lots,
                    row,
                    setup,
                    stock,
                    choice,
                    states.period[env],
                    states.last_demand[env],
                    states.factors[env],
                    machine,
                    code,
                    parameters[row],
                    seeds[env],
                )
                paid = book(lots, row, setup, stock, choice, machine, option)
                if option > 0:
                    total += weight * paid * states.factors[env, option - 1]
            states.machine[env] = sizes[NUM_MACHINES]
            total += weight * advance(lots, row, states, nature, env)
            weight *= lots.discount[row]
        cost[env] = total


@kernel
def options_of_rule(
    lots,
    row_of,
    period,
    machine_of,
    setup,
    stock,
    choice,
    last_demand,
    factors,
    is_joint,
    code,
    parameters,
    seeds,
    scores,
):
    """Fill `scores` (envs, machines, choices) with 1 for what a rule chooses, 0 else; writes over set-ups and stock."""
    for env in range(scores.shape[0]):
        row = row_of[env]
        sizes = lots.sizes[row]
        scores[env] = 0.0
        if period[env] >= sizes[PERIODS]:
            continue
        first, last = machine_of[env], machine_of[env] + 1
        if is_joint:
            last = sizes[NUM_MACHINES]
            for machine in range(last, scores.shape[1]):
                scores[env, machine, 0] = 1.0
        for machine in range(first, last):
            option = choose(
                lots,
                row,
                setup[env],
                stock[env],
                choice[env],
                period[env],
                last_demand[env],
                factors[env],
                machine,
                code,
                parameters[env],
                seeds[env],
            )
            scores[env, machine if is_joint else 0, option] = 1.0
            book(lots, row, setup[env], stock[env], choice[env], machine, option)
