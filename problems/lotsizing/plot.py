"""Pictures of a plan: what every machine makes, and what that does to the stock of every item."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from orl.colours import GRID, INK, SIGNAL, distinct_colours, text_colour
from orl.pictures import short_label, write_figure
from orl.result import relative_gap
from orl.scenario import Scenarios

from .instance import LotPlan, LotSizing
from .verify import Ledger

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Course(NamedTuple):
    """What became of a plan.

    Parameters
    ----------
    is_setup : bool ndarray (num_periods, num_machines)
        Where a machine was set up.
    stock : int ndarray (num_periods, num_items)
        After demand; negative: backlog.
    lost : int ndarray (num_periods, num_items)
        Demand lost.
    cost : float
    """

    is_setup: np.ndarray
    stock: np.ndarray
    lost: np.ndarray
    cost: float


def plot(
    instance: LotSizing,
    plans: Sequence[LotPlan],
    path: Path | str,
    bound: float | None = None,
    scenario: Scenarios | None = None,
) -> None:
    """Draw the first of some plans.

    Above, a row a machine, a colour an item, a dark edge where it was set up; below, a row an item, stock after demand,
    and in red what was lost or is owed.

    Parameters
    ----------
    instance : LotSizing
    plans : sequence of LotPlan
        That `verify` has passed, of paired scenarios.
    path : Path or str
        Its ending, .png, .svg or .html, says which kind of file is written.
    bound : float or None
        A lower bound on the mean cost of the plans; told in the title if there is one plan.
    scenario : Scenarios or None
        One row, the first plan's; None: nothing is random.
    """
    known = bound if len(plans) == 1 else None  # a bound on a mean is none on the first
    write_figure(path, lambda: draw_plan(instance, plans[0], known, scenario), instance.name)


def course(instance: LotSizing, scenario: Scenarios, plan: LotPlan) -> Course:
    """Play a plan through a scenario."""
    paid = Ledger(instance, scenario)
    periods = len(plan.choices)
    is_setup = np.zeros(plan.choices.shape, dtype=bool)
    stock, lost = np.zeros((2, periods, instance.num_items), dtype=np.int64)
    for period, row in enumerate(plan.choices.tolist()):
        before = np.array(paid.setup)
        list(paid.make(period, row))
        is_setup[period] = (np.array(paid.setup) != before) & (np.array(row) > 0)
        left = np.array(paid.stock) - paid.demand[period]
        list(paid.sell(period))
        stock[period] = paid.stock
        if instance.settings.unmet != "backlog":
            lost[period] = np.maximum(-left, 0)
    return Course(is_setup, stock, lost, paid.total)


def draw_plan(
    instance: LotSizing, plan: LotPlan, bound: float | None = None, scenario: Scenarios | None = None
) -> Figure:
    """Return the picture as a matplotlib figure."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    seen = course(instance, Scenarios.deterministic() if scenario is None else scenario, plan)
    machines, items, periods = instance.num_machines, instance.num_items, len(plan.choices)
    heights = [0.3 * machines] + [float(np.clip(12 / items, 0.25, 0.7))] * items
    figure = Figure(figsize=(14.0, 1.6 + sum(heights)), dpi=120, layout="constrained")
    rows = figure.subplots(items + 1, 1, sharex=True, height_ratios=heights)
    colours = distinct_colours(items)
    first = instance.first_period
    top = rows[0]
    for machine in range(machines):
        for begin, end, choice in _runs(plan.choices[:, machine], seen.is_setup[:, machine]):
            if choice == 0:
                continue
            colour = colours[choice - 1]
            top.barh(
                machine, end - begin, left=first + begin, height=0.82, color=colour, edgecolor="white", linewidth=0.5
            )
            if seen.is_setup[begin, machine]:
                top.plot([first + begin] * 2, [machine - 0.41, machine + 0.41], color=INK, linewidth=1.6)
            if 14 * 66 * (end - begin) / periods > 7 * len(label := short_label(instance.item_label(choice - 1))):
                place = first + (begin + end) / 2
                top.text(place, machine, label, ha="center", va="center", fontsize=7, color=text_colour(colour))
    top.set_yticks(range(machines), [short_label(instance.machine_label(machine)) for machine in range(machines)])
    top.set_ylim(machines - 0.5, -0.5)
    top.set_ylabel("machine")
    edges = first + np.arange(periods + 1)
    short = np.maximum(-seen.stock, seen.lost)
    has_limits = instance.settings.unmet != "forbid"  # else they hold all there is
    for item, axes in enumerate(rows[1:]):
        axes.stairs(np.maximum(seen.stock[:, item], 0), edges, fill=True, color=colours[item])
        axes.stairs(-short[:, item], edges, fill=True, color=SIGNAL)
        axes.axhline(0, color=INK, linewidth=0.5)
        if has_limits:
            axes.axhline(instance.stock_limits[item], color=GRID, linewidth=0.8, linestyle="--")
        high = instance.stock_limits[item] if has_limits else seen.stock.max(initial=0)
        axes.set_ylim(min(-1.0, -1.1 * short.max(initial=0)), 1.1 * max(1, int(high)))
        axes.set_ylabel(short_label(instance.item_label(item)), rotation=0, ha="right", va="center")
        axes.tick_params(labelsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    rows[-1].set_xlim(first, first + max(periods, 1))
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    unmet = {"lost": "lost", "backlog": "owed", "forbid": "not met"}[instance.settings.unmet]
    rows[-1].set_xlabel(
        f"period; stock of each item after demand, red: demand {unmet}" + (", dashed: limit" if has_limits else "")
    )
    title = f"{short_label(instance.name)}: cost {seen.cost:,.2f}"
    if bound is not None:
        gap = relative_gap(seen.cost, bound)
        title += f", bound {bound:,.2f}" + (f" (gap {gap:.1%})" if gap is not None else "")
    figure.suptitle(title, fontsize=11)
    for axes in rows:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _runs(choices: np.ndarray, is_setup: np.ndarray) -> list[tuple[int, int, int]]:
    """Return begin, end and choice of each stretch of equal choices; a new set-up begins a new one."""
    if not len(choices):
        return []
    cuts = [0, *(np.flatnonzero((np.diff(choices) != 0) | is_setup[1:]) + 1).tolist(), len(choices)]
    return [(a, b, int(choices[a])) for a, b in pairwise(cuts)]
