"""Pictures of hydrothermal dispatch: storage, who serves the load, and what water and power are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orl.colours import GRID, INK, SIGNAL, distinct_colours
from orl.pictures import short_label, write_figure
from orl.result import relative_gap
from orl.scenario import Scenarios

from .instance import HydroThermal
from .plans import Dispatch
from .prices import prices
from .verify import stage_cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WATER, FIRST = "#0072b2", "#d55e00"
THERMAL = ("#f5d79a", "#e69f00", "#a86a00", "#5e3a00")  # from cheap to dear
BANDS = ((0.05, 0.95, 0.18), (0.25, 0.75, 0.32))  # quantiles, and how dense they are drawn
MAX_RESERVOIRS = 24  # with a panel of their own
MAX_LINES = 4  # beyond, colours tell more
RARE = 0.99  # prices far above this quantile, which a deficit makes, would hide all others


def plot(
    instance: HydroThermal,
    dispatches: Sequence[Dispatch],
    path: Path | str,
    bound: float | None = None,
    scenario: Scenarios | None = None,
) -> None:
    """Draw storage and supply over all scenarios, water values and nodal prices of the first.

    Parameters
    ----------
    instance : HydroThermal
    dispatches : sequence of Dispatch
        That `verify` has passed, of paired scenarios; or their beginnings, all of one length.
    path : Path or str
        Its ending, .png, .svg or .html, says which kind of file is written.
    bound : float or None
        A lower bound on the mean cost, told in the title.
    scenario : Scenarios or None
        Not made use of: inflows follow from what was done.
    """
    write_figure(path, lambda: draw_dispatches(instance, dispatches, bound), instance.name)


# What is drawn ------------------------------------------------------------------------------------------------------


def load_mw(instance: HydroThermal, num_stages: int) -> np.ndarray:
    """Return the load of all buses, MW, (stages,)."""
    return np.array([instance.load_mw(stage).sum() for stage in range(num_stages)])


def storage(instance: HydroThermal, dispatches: Sequence[Dispatch]) -> np.ndarray:
    """Return volumes at the beginning and after every stage, hm3, (scenarios, stages + 1, R)."""
    volume = np.stack([dispatch.volume for dispatch in dispatches])
    initial = np.broadcast_to(instance.reservoirs.initial_hm3, (len(volume), 1, volume.shape[2]))
    return np.concatenate([initial, volume], axis=1)


def supply(instance: HydroThermal, dispatches: Sequence[Dispatch]) -> Mapping[str, np.ndarray]:
    """Return what serves the load, mean over the scenarios, MW, (stages,) each: hydro, thermal by cost, deficit."""
    turn, power = (np.mean([getattr(one, key) for one in dispatches], axis=0) for key in ("turn", "power"))
    parts = {"hydro": turn @ instance.reservoirs.mw_per_flow}
    parts |= {label: power[:, plants].sum(axis=1) for label, plants in thermal_groups(instance).items()}
    return parts | {"deficit": np.mean([one.deficit.sum(axis=1) for one in dispatches], axis=0)}


def thermal_groups(instance: HydroThermal) -> Mapping[str, np.ndarray]:
    """Return label (with USD/MWh) -> plants, in as many groups as there are colours or fewer, cheap ones first."""
    costs, rank = np.unique(instance.network.gen_cost, return_inverse=True)
    groups = {}
    for ranks in np.array_split(np.arange(len(costs)), max(1, min(len(THERMAL), len(costs)))):
        if len(ranks):
            low, high = (f"{costs[place]:.3g}" for place in (ranks[0], ranks[-1]))
            label = f"thermal {low}" if low == high else f"thermal {low}–{high}"  # noqa: RUF001
            groups[label] = np.flatnonzero(np.isin(rank, ranks))
    return groups


def mean_cost(instance: HydroThermal, dispatches: Sequence[Dispatch]) -> float:
    """Return the discounted cost, mean over the scenarios, USD for an hour of every stage."""
    weights = instance.settings.discount ** np.arange(len(dispatches[0].volume))
    costs = [[stage_cost(instance, one, stage) for stage in range(len(weights))] for one in dispatches]
    return float(np.mean(np.array(costs) @ weights))


# The figure ---------------------------------------------------------------------------------------------------------


def draw_dispatches(instance: HydroThermal, dispatches: Sequence[Dispatch], bound: float | None = None) -> Figure:
    """Return the picture as a matplotlib figure; the axes are labelled 'storage', 'supply', 'water', 'nodal'."""
    from matplotlib.figure import Figure

    count = len(instance.reservoirs.names)
    volumes, worth = storage(instance, dispatches), prices(instance, dispatches[0])
    names = [short_label(name) for name in instance.reservoirs.names]
    buses = [short_label(name) for name in instance.network.bus_names] if worth.nodal.shape[1] > 1 else ["all"]
    volume = _unit(instance)
    heights = [2.4, 2.4, _height(count), _height(len(buses))]
    has_panels = 1 < count <= MAX_RESERVOIRS
    figure = Figure(figsize=(16.0 if has_panels else 12.0, 1.8 + 1.15 * sum(heights)), dpi=110, layout="constrained")
    widths = (2.4, 1.0) if has_panels else (1.0,)
    left, *right = np.atleast_1d(np.asarray(figure.subfigures(1, len(widths), width_ratios=widths), dtype=object))
    # A column of its own for colour bars keeps the stages of all panels in line.
    grid = left.add_gridspec(4, 2, height_ratios=heights, width_ratios=(1, 0.015))
    rows: list[Axes] = []
    for row, label in enumerate(("storage", "supply", "water", "nodal")):
        rows.append(left.add_subplot(grid[row, 0], label=label, sharex=rows[0] if rows else None))
    _fan(rows[0], volumes.sum(axis=2), float(instance.reservoirs.max_hm3.sum()))
    _name(rows[0], f"Storage, total of {count}" if count > 1 else "Storage", volume)
    _legend(rows[0])
    _stack(rows[1], instance, dispatches)
    first = ", first scenario" if len(dispatches) > 1 else ""
    for row, title, kind, values, labels, unit in (
        (2, f"Water values: what one more {volume} saves", "reservoir", worth.water, names, f"USD/{volume}"),
        (3, "Nodal prices", "bus", worth.nodal, buses, "USD/MWh"),
    ):
        axes = rows[row]
        if len(labels) <= MAX_LINES:
            _lines(axes, values, [f"{kind} {label}" for label in labels])
            _name(axes, title + first, unit)
        else:
            _heat(axes, left.add_subplot(grid[row, 1]), values, labels, unit)
            _name(axes, title + first, kind)
    if right:
        _panels(right[0], instance, volumes, names)
    for axes in rows[:3]:
        axes.tick_params(labelbottom=False)
    below = f"stage of {instance.stage_hours:g} h"
    told = instance.settings.reported_stages
    if told is not None and told < instance.num_stages:
        below += f"; dotted: end of the {told} reported stages"
        for axes in rows:
            axes.axvline(told, color=INK, linewidth=0.9, linestyle=":")
    rows[3].set_xlim(0, instance.num_stages)
    rows[3].set_xlabel(below)
    figure.suptitle(_title(instance, dispatches, bound), fontsize=12)
    return figure


def _title(instance: HydroThermal, dispatches: Sequence[Dispatch], bound: float | None) -> str:
    cost, many = mean_cost(instance, dispatches), len(dispatches) > 1
    title = (
        f"{short_label(instance.name)}: {f'{len(dispatches)} scenarios, mean cost' if many else 'cost'} {cost:,.2f} USD"
    )
    if bound is not None:
        gap = relative_gap(cost, bound)
        # A few scenarios may cost less than what all must cost in the mean.
        title += f", bound {bound:,.2f} USD" + (f" (gap {gap:.1%})" if gap is not None and gap >= 0 else "")
    return f"{title}, for an hour of every stage"


def _unit(instance: HydroThermal) -> str:
    return "MW-stage" if instance.holds_energy else "hm³"


def _height(rows: int) -> float:
    """Return the height, in inches, of lines or of a map with so many rows."""
    return 1.6 if rows <= MAX_LINES else float(np.clip(0.13 * rows, 1.4, 4.5))


def _name(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Axes) -> None:
    """Put the legend above the axes, to the right of their title."""
    handles, labels = axes.get_legend_handles_labels()
    legend = axes.legend(
        handles, labels, loc="lower right", bbox_to_anchor=(1, 1), ncols=max(len(handles), 1), frameon=False,
        fontsize=8, borderaxespad=0.1, columnspacing=1.2, handlelength=1.4,
    )  # fmt: skip
    legend.set_in_layout(False)  # or the axes would shrink to its width


def _fan(axes: Axes, values: np.ndarray, limit: float) -> None:
    """Draw quantiles of (scenarios, stages + 1) and the first row; a dashed line at the limit."""
    at = np.arange(values.shape[1])
    axes.axhline(limit, color="#999999", linewidth=0.8, linestyle="--", label="limit")
    if len(values) > 1:
        for low, high, alpha in BANDS:
            edges = np.quantile(values, (low, high), axis=0)
            label = f"{100 * low:.0f}–{100 * high:.0f} %"  # noqa: RUF001
            axes.fill_between(at, *edges, color=WATER, alpha=alpha, linewidth=0, label=label)
        axes.plot(at, np.median(values, axis=0), color=WATER, linewidth=1.4, label="median")
    colour, label = (FIRST, "first scenario") if len(values) > 1 else (WATER, "volume")
    axes.plot(at, values[0], color=colour, linewidth=1.0, label=label)
    axes.set_ylim(0, 1.05 * max(limit, float(values.max()), 1e-9))


def _stack(axes: Axes, instance: HydroThermal, dispatches: Sequence[Dispatch]) -> None:
    parts = supply(instance, dispatches)
    below, edges = np.zeros(len(parts["hydro"])), np.arange(len(parts["hydro"]) + 1)
    colours = [WATER, *THERMAL[: len(parts) - 2], SIGNAL]
    for (label, values), colour in zip(parts.items(), colours, strict=True):
        if len(values):
            axes.stairs(below + values, edges, baseline=below, fill=True, color=colour, linewidth=0, label=label)
        below = below + values
    load = load_mw(instance, len(below))
    if len(load):
        axes.stairs(load, edges, baseline=None, color=INK, linewidth=1.3, label="load")
    axes.set_ylim(0, 1.08 * max(float(load.max(initial=0)), float(below.max(initial=0)), 1e-9))
    _name(axes, "Power, mean" if len(dispatches) > 1 else "Power", "MW; thermal by USD/MWh")
    _legend(axes)


def _lines(axes: Axes, values: np.ndarray, labels: Sequence[str]) -> None:
    """Draw the columns of (stages, lines) as steps."""
    styles = ("-", "--", "-.", ":")  # equal prices lie upon one another
    for label, colour, style, column in zip(labels, distinct_colours(len(labels)), styles, values.T, strict=False):
        if len(column):
            edges = np.arange(len(column) + 1)
            axes.stairs(column, edges, baseline=None, color=colour, linestyle=style, linewidth=1.6, label=label)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    _legend(axes)


def _heat(axes: Axes, bar: Axes, values: np.ndarray, labels: Sequence[str], unit: str) -> None:
    """Draw (stages, rows) as a map, a row of colours each; what is rarely high is red."""
    from matplotlib import colormaps

    count, height = len(labels), 72 * _height(len(labels))  # points
    every = int(np.ceil(7 * count / height))
    axes.set_yticks(range(0, count, every), labels[::every], fontsize=min(8.0, 0.85 * every * height / count))
    axes.set_ylim(count - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    if not len(values):
        bar.set_axis_off()
        return
    top, highest = float(np.quantile(values, RARE)), float(values.max())
    is_cut = highest > 2 * top > 0
    colours = colormaps["cividis"].with_extremes(over=SIGNAL)
    image = axes.imshow(
        values.T, aspect="auto", interpolation="nearest", extent=(0, len(values), count - 0.5, -0.5), cmap=colours,
        vmin=float(values.min()), vmax=top if is_cut else highest,
    )  # fmt: skip
    axes.figure.colorbar(image, cax=bar, label=unit, extend="max" if is_cut else "neither")


def _panels(figure: Figure, instance: HydroThermal, volumes: np.ndarray, names: Sequence[str]) -> None:
    """Draw a small fan of every reservoir that can keep water."""
    limits = instance.reservoirs.max_hm3
    places = np.flatnonzero(limits > instance.reservoirs.min_hm3)
    panels = figure.subplots(max(1, -(-len(places) // 2)), 2, sharex=True, squeeze=False)
    for panel, place in zip(panels.flat, places.tolist(), strict=False):
        _fan(panel, volumes[:, :, place], float(limits[place]))
        _name(panel, f"{names[place]}, {_unit(instance)}", "")
        panel.set_label(f"storage {names[place]}")
        panel.tick_params(labelsize=7)
    for panel in panels.flat[len(places) :]:
        panel.set_axis_off()
    for panel in panels[-1]:
        panel.set_xlabel("stage", fontsize=8)
    panels[0, 0].set_xlim(0, instance.num_stages)
