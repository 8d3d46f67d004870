"""Performance profiles as a picture: a row of panels a table, costs on the left, times to a proven optimum beside."""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orl.benchmark.statistics import performance_profile
from orl.colours import GRID, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
MAX_TABLES, MAX_METHODS = 8, 20  # more than anyone can read
MIN_CASES = 5  # fewer make no profile
MIN_SECONDS = 1e-3  # times below are one: a ratio of microseconds says nothing


def draw_profiles(rows: Sequence[Row]) -> bytes | None:
    """Return a PNG of the performance profiles, or None where no table has two methods and `MIN_CASES` cases.

    Parameters
    ----------
    rows : sequence of dict
        As `orl.run_bench` returns them; methods that know the scenarios are left out.
    """
    tables: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        tables[row["table"]].append(row)
    panels = [(name, *found) for name, of_table in tables.items() if (found := profile_measures(of_table))]
    if not panels:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = panels[:MAX_TABLES]
    columns = 1 + any(times is not None for *_, times in panels)
    figure = Figure(figsize=(6.5 * columns, 3.4 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), columns, squeeze=False)
    for (name, costs, times), (left, *right) in zip(panels, axes, strict=True):
        _draw(left, costs, f"{name}: cost", "cost / best cost")
        if times is not None:
            _draw(right[0], times, f"{name}: time to a proven optimum", "time / shortest time", is_log=True)
        elif right:
            right[0].set_axis_off()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


def profile_measures(rows: Sequence[Row]) -> tuple[dict[str, list[float]], dict[str, list[float]] | None] | None:
    """Return the costs of one table by method, and the times to a proven optimum; None for what would tell nothing."""
    rows = [row for row in rows if not row["clairvoyant"]]
    costs = _measures(rows, lambda row: row["value"] if row["verified"] else math.inf)
    times = _measures(rows, _time_to_optimum)
    return (costs, times if _is_telling(times) else None) if _is_telling(costs) else None


def _measures(rows: Sequence[Row], measure: Any) -> dict[str, list[float]]:
    """Return a number a case by method; a case that a method has not run is a failure."""
    cases = list(dict.fromkeys((row["instance"], row["seed"]) for row in rows))
    found = {(row["label"], row["instance"], row["seed"]): measure(row) for row in rows}
    labels = list(dict.fromkeys(row["label"] for row in rows))[:MAX_METHODS]
    measures = {label: [found.get((label, *case), math.inf) for case in cases] for label in labels}
    return {label: row for label, row in measures.items() if any(map(math.isfinite, row))}


def _time_to_optimum(row: Row) -> float:
    is_proven = row["verified"] and row["status"] == "optimal" and row["seconds"] is not None
    return max(row["seconds"], MIN_SECONDS) if is_proven else math.inf


def _is_telling(measures: Mapping[str, Sequence[float]]) -> bool:
    """Whether profiles can be drawn and say anything: of two methods, enough cases, positive numbers."""
    numbers = [x for row in measures.values() for x in row]
    return len(measures) > 1 and len(numbers) >= MIN_CASES * len(measures) and all(x > 0 for x in numbers)


def _draw(axes: Axes, measures: Mapping[str, Sequence[float]], title: str, label: str, is_log: bool = False) -> None:
    profiles = performance_profile(measures)
    last = max(float(ratios[-1]) for ratios, _ in profiles.values())
    end = last**1.05 if is_log else last + 0.05 * (last - 1)
    end = max(end, 1.01)
    for number, (name, (ratios, shares)) in enumerate(profiles.items()):
        style = ("-", "--", ":", "-.")[number // 10 % 4]
        axes.step([*ratios, end], [*shares, shares[-1]], where="post", label=name, linestyle=style, linewidth=1.6)
    if is_log:
        axes.set_xscale("log")
    axes.set_xlim(1, end)
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xlabel(label, fontsize=9)
    axes.set_ylabel("share of runs", fontsize=9)
    axes.grid(color=GRID)
    axes.legend(fontsize=7, loc="lower right", framealpha=0.6, ncols=1 + (len(profiles) > 10))
