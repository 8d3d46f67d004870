"""Pictures of a log: requests over time, the use of the KV cache, and how long requests took."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orl.colours import GRID, INK, SIGNAL, distinct_colours
from orl.pictures import short_label, write_figure
from orl.result import relative_gap
from orl.scenario import Scenarios

from .instance import Serving, ServingLog
from .replay import Replay
from .verify import replayed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 4000  # of a curve over time: beyond, the highest of neighbours


def plot(
    instance: Serving,
    logs: Sequence[ServingLog],
    path: Path | str,
    bound: float | None = None,
    scenario: Scenarios | None = None,
) -> None:
    """Draw the first of some logs.

    Above, requests that run, wait and are swapped; below, the share of blocks that are held; last, the share of
    requests whose first token and whose last came within a time.

    Parameters
    ----------
    instance : Serving
    logs : sequence of ServingLog
        That `verify` has passed, of paired scenarios.
    path : Path or str
        Its ending, .png, .svg or .html, says which kind of file is written.
    bound : float or None
        A lower bound on the mean cost of the logs; told in the title if there is one log.
    scenario : Scenarios or None
        One row, the first log's; None: nothing is random.
    """
    known = bound if len(logs) == 1 else None  # a bound on a mean is none on the first
    write_figure(path, lambda: draw_log(instance, logs[0], known, scenario), instance.name)


def draw_log(
    instance: Serving, log: ServingLog, bound: float | None = None, scenario: Scenarios | None = None
) -> Figure:
    """Return the picture as a matplotlib figure."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(14.0, 8.5), dpi=120, layout="constrained")
    if not len(log.decided):  # nothing is done yet
        figure.suptitle(short_label(instance.name), fontsize=11)
        return figure
    replay = replayed(instance, Scenarios.deterministic() if scenario is None else scenario, log)
    unit = "rounds" if instance.is_rounds else "s"
    grid = figure.add_gridspec(3, 1, height_ratios=[1.0, 0.7, 1.0])
    queues = figure.add_subplot(grid[0])
    memory = figure.add_subplot(grid[1], sharex=queues)
    waits = figure.add_subplot(grid[2])
    time, colours = replay.epoch_time, distinct_colours(3)
    for colour, name in zip(colours, ("running", "waiting", "swapped"), strict=True):
        _steps(queues, time, getattr(replay, name), colour, name)
    queues.set_ylabel("requests")
    queues.legend(loc="upper right", frameon=False, fontsize=8, ncols=3)
    _steps(memory, time, replay.used / instance.num_blocks, INK, "held")
    memory.axhline(1.0, color=SIGNAL, linewidth=0.8, linestyle="--")
    memory.set_ylim(0, 1.08)
    memory.yaxis.set_major_formatter(PercentFormatter(1.0))
    memory.set_ylabel(f"of {instance.num_blocks:,} blocks")
    memory.set_xlabel(f"time ({unit})")
    memory.set_xlim(time[0], max(time[-1], time[0] + 1e-9))
    arrival = replay.requests.arrival
    for colour, name, values in zip(
        colours, ("to the first token", "to the last token"), (replay.first_token, replay.finish), strict=False
    ):
        spans = np.sort((values - arrival)[np.isfinite(values)])
        spans = np.maximum(spans, 1e-9)  # the axis is logarithmic
        share = np.arange(1, len(spans) + 1) / max(len(spans), 1)
        waits.step(spans, share, where="post", color=colour, label=name)
    waits.set_xscale("log")
    waits.set_ylim(0, 1.02)
    waits.yaxis.set_major_formatter(PercentFormatter(1.0))
    waits.set_xlabel(f"time from the arrival ({unit})")
    waits.set_ylabel("of requests")
    waits.legend(loc="lower right", frameon=False, fontsize=8)
    for axes in (queues, memory, waits):
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_title(instance, replay, bound), fontsize=11)
    return figure


def _title(instance: Serving, replay: Replay, bound: float | None) -> str:
    title = f"{short_label(instance.name)}: {len(replay.requests):,} requests"
    if replay.cost is None:
        return title
    title += f", cost {replay.cost:,.2f}"
    if bound is not None:
        gap = relative_gap(replay.cost, bound)
        title += f", bound {bound:,.2f}" + (f" (gap {gap:.1%})" if gap is not None else "")
    return title


def _steps(axes: Axes, time: np.ndarray, values: np.ndarray, colour: str, label: str) -> None:
    """Draw what holds from each epoch to the next."""
    stride = -(-len(values) // MAX_POINTS)
    begins = np.arange(0, len(values), stride)
    high = np.maximum.reduceat(values, begins)
    edges = np.append(time[begins], time[-1])
    axes.step(edges, np.append(high, high[-1]), where="post", color=colour, linewidth=1.0, label=label)
