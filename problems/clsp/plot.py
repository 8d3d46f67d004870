"""Pictures of a plan: how capacity is used, and what that does to the stock of every item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orl.colours import INK, SIGNAL, distinct_colours
from orl.pictures import short_label, write_figure
from orl.result import relative_gap
from orl.scenario import Scenarios

from .instance import SETUP, CapacitatedLotSizing, CapacitatedPlan
from .verify import Books

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ITEMS = 40  # that have a row of their own


def plot(
    instance: CapacitatedLotSizing,
    plans: Sequence[CapacitatedPlan],
    path: Path | str,
    bound: float | None = None,
    scenario: Scenarios | None = None,
) -> None:
    """Draw the first of some plans.

    Above, the capacity that each item takes of a period, a colour an item, set-ups hatched, the capacity as a line, in
    red what is beyond it; below, a row an item: units made, and stock at the end of the period.

    Parameters
    ----------
    instance : CapacitatedLotSizing
    plans : sequence of CapacitatedPlan
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


def draw_plan(
    instance: CapacitatedLotSizing,
    plan: CapacitatedPlan,
    bound: float | None = None,
    scenario: Scenarios | None = None,
) -> Figure:
    """Return the picture as a matplotlib figure."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    books = Books(instance, scenario or Scenarios.deterministic(), plan)
    cost, made = sum(books.play().values()), plan.production
    periods, items, shown = len(made), instance.num_items, min(instance.num_items, MAX_ITEMS)
    stock, capacity = np.array(books.stock).reshape(periods, items), instance.capacity[:periods]
    colours, place = distinct_colours(items), np.arange(periods)
    figure = Figure(figsize=(14.0, 4.2 + 0.55 * shown), dpi=120, layout="constrained")
    rows = figure.subplots(shown + 1, 1, sharex=True, height_ratios=[2.8, *[0.55] * shown])
    lots = (made > SETUP) if instance.settings.setups == "binary" else made / instance.largest_lots
    top, height = rows[0], np.zeros(periods)
    for item in range(items):
        setups, units = lots[:, item] * instance.setup_times[item], made[:, item] * instance.unit_times[item]
        for takes, hatch in ((setups, "////"), (units, "")):
            top.bar(place, takes, 0.86, height, color=colours[item], hatch=hatch, edgecolor="white", linewidth=0.3)
            height += takes
    beyond = np.maximum(height - capacity, 0.0)
    is_beyond = beyond > 1e-6 * np.maximum(1.0, capacity)
    top.bar(place[is_beyond], beyond[is_beyond], 0.86, capacity[is_beyond], fill=False, edgecolor=SIGNAL)
    edges = np.arange(periods + 1) - 0.5
    top.stairs(capacity, edges, baseline=None, color=INK, linewidth=1.4)
    top.set_ylim(0, 1.08 * max(1.0, height.max(initial=0.0), instance.capacity.max()))
    top.set_ylabel("capacity used")
    for item, axes in enumerate(rows[1:]):
        axes.bar(place, made[:, item], 0.86, color=colours[item])
        axes.stairs(stock[:, item], edges, baseline=None, color=INK, linewidth=1.0)
        axes.set_ylabel(short_label(instance.item_label(item)), rotation=0, ha="right", va="center")
        axes.yaxis.set_major_locator(MaxNLocator(2))
        axes.tick_params(labelsize=7)
    rows[-1].set_xlim(-0.5, max(periods, 1) - 0.5)
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    rows[-1].set_xlabel("period; of each item, bars: units made, line: stock at the end; above, hatched: set-ups")
    title = f"{short_label(instance.name)}: cost {cost:,.2f}"
    if bound is not None:
        gap = relative_gap(cost, bound)
        title += f", bound {bound:,.2f}" + (f" (gap {gap:z.1%})" if gap is not None else "")
    if shown < items:
        title += f"; {shown} of {items} items"
    figure.suptitle(title, fontsize=11)
    for axes in rows:
        axes.spines[["top", "right"]].set_visible(False)
    return figure
