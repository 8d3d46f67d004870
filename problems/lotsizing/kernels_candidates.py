"""Rows of candidates: what is known of idling and of each item, for the machine that is told next.

`features` documents the columns; at the half-step after a decision no machine is due, and the rows tell of the items.
"""

from __future__ import annotations

import numpy as np

from orl.jit import kernel
from orl.kernels_squash import squash

from .kernels_codes import ENDLESS, GREEDY_SETUP_SHARE, GREEDY_WINDOW, NUM_ITEMS, NUM_MACHINES, PERIODS
from .kernels_rules import expected_shortage, mean_over, saving, spread_over

WINDOWS = (2, 4, 8, 16)  # periods over which shortage is expected
NUM_COLUMNS = 35


@kernel
def mean_setup_cost(lots, row):
    """Return the mean cost of setting up an idle machine, 1 if that is free."""
    total, count = 0.0, 0
    for machine in range(lots.sizes[row, NUM_MACHINES]):
        for option in range(1, lots.sizes[row, NUM_ITEMS] + 1):
            if lots.possible[row, machine, option]:
                total += lots.changeover[row, machine, 0, option]
                count += 1
    return total / count if total > 0 else 1.0


@kernel
def candidates(lots, row_of, envs, period, machine_of, setup, stock, choice, last_demand, factors, legal, is_post, out):
    """Fill `out` (len(envs), choices, NUM_COLUMNS) from the arrays of an observation."""
    out[:] = 0
    for place in range(len(envs)):
        env = envs[place]
        row, rows = row_of[env], out[place]
        sizes = lots.sizes[row]
        machines, items = sizes[NUM_MACHINES], sizes[NUM_ITEMS]
        due = -1 if is_post or machine_of[env] >= machines else machine_of[env]
        cost_scale = mean_setup_cost(lots, row)
        mean_demand = 0.0
        for item in range(items):
            mean_demand += mean_over(lots, row, period[env], last_demand[env], item, 1) / items
        mean_demand = max(mean_demand, 1e-9)
        told = machine_of[env] / machines
        left = 1.0 if sizes[ENDLESS] else squash(np.float64(max(sizes[PERIODS] - period[env], 0)), 10.0)
        cover, going_on = 0.0, 0.0  # of what the machine is set up for
        if due >= 0 and setup[env, due] > 0:
            item = setup[env, due] - 1
            demand = max(mean_over(lots, row, period[env], last_demand[env], item, 1), 1e-9)
            cover = squash(np.float64(stock[env, item]), 3 * demand)
            going_on = squash(np.float64(lots.output[row, due, item + 1, item + 1]), demand)
        for option in range(items + 1):
            cells = rows[option]
            cells[0] = option == 0
            cells[1] = legal[env, option]
            cells[2] = option > 0
            cells[3] = is_post
            cells[4] = told
            cells[5] = left
            cells[6] = lots.discount[row]
            cells[7], cells[8] = cover, going_on
            set_up, makes = 0, 0
            for machine in range(machines):
                if machine != due:
                    set_up += setup[env, machine] == option
                makes += choice[env, machine] == option
            cells[9], cells[10] = set_up / machines, makes / machines
            if due >= 0:
                cells[11] = setup[env, due] == option
            if option > 0:
                of_item(
                    lots, row, period[env], setup[env], stock[env], choice[env], last_demand[env], factors[env], due,
                    option, cost_scale, mean_demand, cells,
                )  # fmt: skip


@kernel
def of_item(
    lots, row, period, setup, stock, choice, last_demand, factors, due, option, cost_scale, mean_demand, cells
):  # fmt: skip
    """Fill the columns of an item."""
    item, machines = option - 1, lots.sizes[row, NUM_MACHINES]
    now, shortage = np.float64(stock[item]), lots.shortage[row, item]
    demand = max(mean_over(lots, row, period, last_demand, item, 1), 1e-9)
    made, paid = 0.0, 0.0
    if due >= 0:
        made = np.float64(lots.output[row, due, setup[due], option])
        paid = lots.changeover[row, due, setup[due], option]
    after = min(now + made, lots.limit[row, item] + demand)  # what is beyond is thrown away
    going_on, best, able = 0.0, 0.0, 0
    for machine in range(machines):
        if machine == due:
            continue
        able += lots.possible[row, machine, option]
        if choice[machine] < 0 and setup[machine] == option:
            going_on += lots.output[row, machine, option, option]
        best = max(best, np.float64(lots.output[row, machine, option, option]))
    cells[12] = squash(made, demand)
    cells[13] = squash(paid, cost_scale)
    cells[14] = squash(now, 3 * demand)
    cells[15] = squash(after, 3 * demand)
    cells[16] = squash(lots.limit[row, item] - now - made, demand)
    cells[17] = squash(demand, mean_demand)
    cells[18] = squash(shortage * demand, cost_scale)
    cells[19] = squash(10 * lots.holding[row, item] * demand, cost_scale)
    cells[20] = squash(going_on, demand)
    cells[21] = squash(best, demand)
    cells[22] = able / machines
    cells[23] = squash(spread_over(lots, row, item, 1, demand), demand)
    cells[24] = factors[item] - 1
    cells[25] = now <= 0
    for place, window in enumerate(WINDOWS):
        mean = mean_over(lots, row, period, last_demand, item, window)
        spread = spread_over(lots, row, item, window, mean)
        short, short_after = expected_shortage(now, mean, spread), expected_shortage(after, mean, spread)
        cells[26 + 2 * place] = squash(shortage * short, cost_scale)
        cells[27 + 2 * place] = squash(shortage * (short - short_after), cost_scale)
    if due >= 0:
        saved = saving(
            lots, row, setup, stock, period, last_demand, factors, due, option, GREEDY_WINDOW, GREEDY_SETUP_SHARE
        )
        cells[34] = squash(saved, cost_scale)
