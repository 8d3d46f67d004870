"""Gantt charts: .png and .svg by matplotlib, an interactive and self-contained .html by plotly."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orl.colours import GRID, INK, SIGNAL, distinct_colours, text_colour
from orl.files import check_writable, write_atomically
from orl.pictures import MAX_LABEL, SUFFIXES, write_figure
from orl.result import relative_gap
from orl.scenario import Scenarios

from .instance import JobShop, Schedule
from .metrics import begin_of, blocked_times, completions
from .scenario import down_intervals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR_HEIGHT = 0.82  # of a machine's row
DOWN = "#c4c4c4"
PALE = 0.35  # how much of its colour a job keeps while it blocks a machine
MAX_LEGEND_COLUMNS = 2  # beyond, the labels in the bars must do


def plot(
    instance: JobShop,
    schedules: Sequence[Schedule],
    path: Path | str,
    bound: float | None = None,
    scenario: Scenarios | None = None,
) -> None:
    """Draw the first of some schedules as a Gantt chart: a row a machine, a colour a job.

    A job that is done and still holds its machine is pale and hatched; machines that are down are grey. Where a shop in
    motion goes on there is a dotted line.

    Parameters
    ----------
    instance : JobShop
    schedules : sequence of Schedule
        That `verify` has passed, of paired scenarios.
    path : Path or str
        Its ending, one of `SUFFIXES`, says which kind of file is written.
    bound : float or None
        A lower bound on the mean cost of the schedules; if there is one, told in the title, and drawn as a line if it
        is one on the makespan.
    scenario : Scenarios or None
        One row of failures and repairs, the first schedule's; None: no machine breaks down.
    """
    path = check_writable(path, SUFFIXES)
    known = bound if len(schedules) == 1 else None  # a bound on a mean is none on the first
    if path.suffix.lower() == ".html":
        write_atomically(path, _page(instance, schedules[0], known, scenario))
    else:
        write_figure(path, lambda: gantt(instance, schedules[0], known, scenario), instance.name)


def _title(instance: JobShop, schedule: Schedule, bound: float | None) -> str:
    unit = f" {instance.time_unit}" if instance.time_unit else ""
    title = f"{_short(instance.name)}: makespan {schedule.makespan:,}{unit}"
    value = instance.cost(completions(instance, schedule))
    if instance.settings.objective != "makespan":
        title += f", {instance.settings.objective} {value:,.10g}"
        unit = ""  # some objectives are counts or weighted
    if bound is None:
        return title
    return f"{title}, bound {bound:,.10g}{unit}, gap {relative_gap(value, bound):.1%}"


def _down(instance: JobShop, schedule: Schedule, scenario: Scenarios | None) -> list[np.ndarray]:
    """Return machine, start and end of downtime up to the makespan, (intervals,) each."""
    last = schedule.makespan
    down = down_intervals(instance, scenario or Scenarios.deterministic(), last + 1)
    rows = [(machine, a, min(b, last)) for machine, pairs in enumerate(down) for a, b in pairs if a < last]
    return list(np.array(rows, dtype=np.int64).reshape(-1, 3).T)


def _first(instance: JobShop, schedule: Schedule) -> int:
    """Return where the time axis begins: at 0, or where a shop in motion without history does, or what is under way."""
    return int(schedule.start.min(initial=begin_of(instance)))


def _short(label: str | int) -> str:
    label = " ".join(str(label).split())
    return label if len(label) <= MAX_LABEL else f"{label[: MAX_LABEL - 1]}…"


def _time_axis(instance: JobShop) -> str:
    return f"time ({instance.time_unit})" if instance.time_unit else "time"


def _pale(colour: str) -> str:
    return "#" + "".join(f"{round(255 - PALE * (255 - int(colour[i : i + 2], 16))):02x}" for i in (1, 3, 5))


def _boxes(machine: np.ndarray, start: np.ndarray, end: np.ndarray, height: float = BAR_HEIGHT) -> list[np.ndarray]:
    """Return the corners of bars, (4, 2) each."""
    x = np.stack([start, start, end, end], axis=1)
    y = np.stack([machine - height / 2, machine + height / 2, machine + height / 2, machine - height / 2], axis=1)
    return list(np.stack([x, y], axis=2))


# matplotlib ---------------------------------------------------------------------------------------------------------


def gantt(
    instance: JobShop, schedule: Schedule, bound: float | None = None, scenario: Scenarios | None = None
) -> Figure:
    """Return the Gantt chart as a matplotlib figure."""
    from matplotlib.artist import Artist
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import MaxNLocator

    row_height = float(np.clip(16 / instance.num_machines, 0.14, 0.42))  # inches
    width, height = 14.0, max(1.5 + row_height * instance.num_machines, 2.6)
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    colours = distinct_colours(instance.num_jobs)
    is_makespan = instance.settings.objective == "makespan"
    low = _first(instance, schedule)
    high = max(schedule.makespan, (bound or 0) if is_makespan else 0, low + 1)
    points = 72 * 0.85 * width / (high - low)  # a time unit on paper

    durations = schedule.end - schedule.start
    fills = [colours[job] for job in schedule.job]
    # An operation of no duration is all outline, so that is in its own colour.
    edges = ["white" if duration else fill for duration, fill in zip(durations, fills, strict=True)]
    outline = float(np.clip(0.12 * points * np.median(durations), 0, 0.7)) if len(durations) else 0
    outlines = np.where(durations > 0, outline, 1.5)
    corners = _boxes(schedule.machine, schedule.start, schedule.end)
    axes.add_collection(
        PolyCollection(corners, facecolors=fills, edgecolors=edges, linewidths=outlines, zorder=2),
        autolim=False,
    )
    blocked = blocked_times(instance, schedule)
    handles: list[Artist] = []
    if len(blocked.job):
        corners = _boxes(blocked.machine, blocked.start, blocked.end)
        strong = [colours[job] for job in blocked.job]
        pale = [_pale(colour) for colour in strong]
        axes.add_collection(  # a hatch takes the colour of the edge
            PolyCollection(corners, facecolors=pale, edgecolors=strong, linewidths=0, hatch="/////", zorder=2),
            autolim=False,
        )
        handles.append(Patch(facecolor=_pale("#555555"), edgecolor="#555555", hatch="/////", label="blocked"))
    machine, start, end = _down(instance, schedule, scenario)
    if len(machine):
        # Behind the bars over the whole row, and through the bars that it interrupts.
        for height, alpha, zorder in ((0.95, 1.0, 1.0), (BAR_HEIGHT * 0.35, 0.8, 2.5)):
            axes.add_collection(
                PolyCollection(
                    _boxes(machine, start, end, height), facecolors=DOWN, alpha=alpha, linewidths=0, zorder=zorder
                ),
                autolim=False,
            )
        handles.append(Patch(color=DOWN, label="down"))

    size = min(8.0, 72 * row_height * BAR_HEIGHT * 0.7)
    labels = [_short(instance.job_label(job)) for job in range(instance.num_jobs)]
    inks = [text_colour(colour) for colour in colours]
    for job, machine, start, duration in zip(
        *(c.tolist() for c in (schedule.job, schedule.machine, schedule.start, durations)), strict=True
    ):
        fits = size if points * duration > 0.62 * size * len(labels[job]) + 2 else size * 0.75
        if points * duration > 0.62 * fits * len(labels[job]) + 1:
            axes.text(
                start + duration / 2, machine, labels[job], color=inks[job], fontsize=fits, ha="center",
                va="center_baseline", parse_math=False, clip_on=True, zorder=3,
            )  # fmt: skip

    axes.set_xlim(low, low + 1.01 * (high - low))
    axes.set_ylim(instance.num_machines - 0.5, -0.5)
    axes.set_yticks(range(instance.num_machines))
    machines = [_short(instance.machine_label(machine)) for machine in range(instance.num_machines)]
    axes.set_yticklabels(machines, fontsize=min(9.0, 72 * row_height * 0.8), parse_math=False)
    axes.set_ylabel("machine")
    axes.set_xlabel(_time_axis(instance))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.set_title(_title(instance, schedule, bound), loc="left", parse_math=False, color=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    halo = [withStroke(linewidth=3.2, foreground="white")]  # keeps lines apart from bars of their colour
    axes.axvline(schedule.makespan, color=INK, linewidth=1.2, zorder=4, label="makespan", path_effects=halo)
    if instance.state is not None:
        axes.axvline(instance.clock, color=INK, linewidth=1.2, linestyle=":", zorder=4, label="now", path_effects=halo)
    if bound is not None and is_makespan:
        dashes = (0, (5, 3))
        axes.axvline(bound, color=SIGNAL, linewidth=1.6, linestyle=dashes, zorder=5, label="bound", path_effects=halo)
    handles = [*handles, *axes.get_legend_handles_labels()[0]]
    axes.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(handles), frameon=False, fontsize=8,
        borderaxespad=0.1,
    )  # fmt: skip
    columns = -(-instance.num_jobs // int(72 * height / 13))  # 13 points a line
    if columns <= MAX_LEGEND_COLUMNS:
        patches = [Patch(color=colour, label="job") for colour in colours]
        legend = figure.legend(
            handles=patches, loc="outside right upper", ncols=columns, title="job", frameon=False, fontsize=8
        )
        for text, name in zip(legend.get_texts(), labels, strict=True):  # not as labels: those may not begin with _
            text.set_text(name)
            text.set_parse_math(False)
    return figure


# plotly -------------------------------------------------------------------------------------------------------------


def interactive_gantt(
    instance: JobShop, schedule: Schedule, bound: float | None = None, scenario: Scenarios | None = None
) -> dict[str, Any]:
    """Return the Gantt chart as plotly's plain figure, data and layout; names are escaped, as it reads them as HTML."""
    machines = [escape(str(instance.machine_label(machine))) for machine in range(instance.num_machines)]
    down = _down(instance, schedule, scenario)
    traces = [_down_trace(machines, *down)] if len(down[0]) else []  # behind all others
    blocked = blocked_times(instance, schedule)
    for job, colour in enumerate(distinct_colours(instance.num_jobs)):
        rows = np.flatnonzero(schedule.job == job)
        machine, start, end = (column[rows].tolist() for column in (schedule.machine, schedule.start, schedule.end))
        label = escape(str(instance.job_label(job)))
        hover = [
            f"<b>job {label}</b>, operation {position}<br>machine {machines[m]}<br>start {s:,}, end {e:,} ({e - s:,})"
            for position, m, s, e in zip(schedule.position[rows].tolist(), machine, start, end, strict=True)
        ]
        has_width = [e > s for s, e in zip(start, end, strict=True)]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": escape(_short(instance.job_label(job))),
                "y": machine,
                "base": start,
                "x": [e - s for s, e in zip(start, end, strict=True)],
                "width": BAR_HEIGHT,
                "marker": {
                    "color": colour,
                    # An operation of no duration is all outline.
                    "line": {
                        "color": ["white" if wide else colour for wide in has_width],
                        "width": [0.5 if wide else 3 for wide in has_width],
                    },
                },
                "text": escape(_short(instance.job_label(job))),
                "textposition": "inside",
                "insidetextanchor": "middle",
                "textangle": 0,
                "textfont": {"color": text_colour(colour)},
                "hovertext": hover,
                "hoverinfo": "text",
            }
        )
        if (blocked.job == job).any():
            traces.append(
                _blocked_trace(traces[-1], label, colour, blocked, np.flatnonzero(blocked.job == job), machines)
            )
    lines: list[tuple[float, str, str, str]] = [(schedule.makespan, INK, "solid", "makespan")]
    if instance.state is not None:
        lines.append((instance.clock, INK, "dot", "now"))
    if bound is not None and instance.settings.objective == "makespan":
        lines.append((bound, SIGNAL, "dash", "bound"))
    layout: dict[str, Any] = {
        "title": {"text": escape(_title(instance, schedule, bound)), "x": 0.01, "xanchor": "left"},
        "barmode": "overlay",
        "plot_bgcolor": "white",
        "height": max(340, 150 + min(34 * instance.num_machines, 1600)),
        "margin": {"l": 60, "r": 20, "t": 70, "b": 50},
        "legend": {"title": {"text": "job"}},
        "hoverlabel": {"align": "left"},
        "uniformtext": {"minsize": 7, "mode": "hide"},
        "xaxis": {"title": {"text": escape(_time_axis(instance))}, "gridcolor": GRID, "rangemode": "tozero"},
        "yaxis": {
            "title": {"text": "machine"},
            "tickvals": list(range(instance.num_machines)),
            "ticktext": [escape(_short(instance.machine_label(m))) for m in range(instance.num_machines)],
            "range": [instance.num_machines - 0.5, -0.5],
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
        },
        "shapes": [
            {
                "type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1,
                "line": {"color": colour, "dash": dash, "width": 1.5},
            }
            for at, colour, dash, _ in lines
        ],
        "annotations": [
            {
                "x": at, "y": 1, "xref": "x", "yref": "paper", "text": text, "showarrow": False,
                "xanchor": "right", "yanchor": "bottom", "font": {"color": colour}, "yshift": 16 * row,
            }
            for row, (at, colour, _, text) in enumerate(lines)
        ],
    }  # fmt: skip
    if begin_of(instance) > 0:
        low, high = _first(instance, schedule), max(at for at, *_ in lines)
        layout["xaxis"]["range"] = [low, low + 1.02 * max(high - low, 1)]
    return {"data": traces, "layout": layout}


def _down_trace(machines: list[str], machine: np.ndarray, start: np.ndarray, end: np.ndarray) -> dict[str, Any]:
    """Return the bars of downtime."""
    return {
        "type": "bar",
        "orientation": "h",
        "name": "down",
        "y": machine.tolist(),
        "base": start.tolist(),
        "x": (end - start).tolist(),
        "width": 0.95,
        "marker": {"color": DOWN},
        "hovertext": [
            f"machine {machines[m]}<br>down from {a:,} to {b:,}"
            for m, a, b in zip(machine.tolist(), start.tolist(), end.tolist(), strict=True)
        ],
        "hoverinfo": "text",
    }


def _blocked_trace(
    of_job: dict[str, Any], label: str, colour: str, blocked: Schedule, rows: np.ndarray, machines: list[str]
) -> dict[str, Any]:
    """Return the bars in which a job, whose other bars are given, is done and holds its machine."""
    of_job["legendgroup"] = of_job["name"]
    machine, start, end = (column[rows].tolist() for column in (blocked.machine, blocked.start, blocked.end))
    return {
        "type": "bar",
        "orientation": "h",
        "name": of_job["name"],
        "legendgroup": of_job["name"],
        "showlegend": False,
        "y": machine,
        "base": start,
        "x": [b - a for a, b in zip(start, end, strict=True)],
        "width": BAR_HEIGHT,
        "marker": {
            "color": _pale(colour),
            "pattern": {"shape": "/", "fgcolor": colour, "bgcolor": _pale(colour), "size": 7},
        },
        "hovertext": [
            f"<b>job {label}</b> holds machine {machines[m]}<br>done from {a:,} on, leaves at {b:,} ({b - a:,})"
            for m, a, b in zip(machine, start, end, strict=True)
        ],
        "hoverinfo": "text",
    }


def _page(instance: JobShop, schedule: Schedule, bound: float | None, scenario: Scenarios | None) -> str:
    """Return a whole page with the library inside, so that it opens without a network."""
    from plotly.io import to_html

    chart = to_html(
        interactive_gantt(instance, schedule, bound, scenario),
        config={"displaylogo": False, "responsive": True},
        include_plotlyjs=True,
        full_html=False,
        validate=False,
    )
    title = escape(_title(instance, schedule, bound))
    head = f'<head><meta charset="utf-8"><title>{title}</title></head>'
    return f'<!doctype html>\n<html lang="en">{head}\n<body>{chart}</body></html>\n'
