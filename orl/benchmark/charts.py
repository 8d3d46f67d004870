"""Line charts as SVG in a page: colours follow its light or dark, and the same figures stand in a table beneath."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from orl.benchmark.page import Html, element, table
from orl.colours import distinct_colours

Points = tuple[Sequence[float], Sequence[float]]  # x, increasing, and y

WIDTH, HEIGHT = 520, 330
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 12, 48
DASHES = (None, "7 3", "2 3", "9 3 2 3")
PLAIN_COLOURS = 8  # that anyone tells apart; further lines are dashed as well


def line_chart(
    title: str,
    description: str,
    series: Mapping[str, Points],
    labels: tuple[str, str],
    *,
    is_stepped: bool = False,
    is_log: bool = False,
    span: tuple[float, float] | None = None,
) -> Html:
    """Return a figure.

    Parameters
    ----------
    title, description : str
        For those who hear the chart.
    series : name -> (x, y)
        Each of one point or more.
    labels : (str, str)
        Of the axes.
    is_stepped : bool
        Whether a value holds until the next one; it then holds to the end as well.
    is_log : bool
        Whether x is drawn by its logarithm; all x are positive then.
    span : (float, float) or None
        Of y; None: that of the points.
    """
    xs = np.concatenate([np.asarray(x, dtype=float) for x, _ in series.values()])
    ys = np.concatenate([np.asarray(y, dtype=float) for _, y in series.values()])
    low, high = _range(xs.min(), xs.max(), is_stepped, is_log)
    x_ticks = [x for x in _ticks(low, high, is_log) if low * (1 - 1e-9) <= x <= high * (1 + 1e-9)] or [low]
    bottom, top = span or (ys.min(), ys.max())
    if top - bottom <= 1e-9 * max(abs(bottom), abs(top)):  # a level line: in the middle, not magnified noise
        bottom, top = bottom - (abs(bottom) or 1.0), top + (abs(top) or 1.0)
    y_ticks = _ticks(bottom, top)
    x_of = _scale(low, high, LEFT, WIDTH - RIGHT, is_log)
    y_of = _scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    grid = [element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y_of(y), y2=y_of(y), class_="grid") for y in y_ticks]
    grid += [element("line", y1=TOP, y2=HEIGHT - BOTTOM, x1=x_of(x), x2=x_of(x), class_="grid") for x in x_ticks]
    marks = [element("text", f"{y:g}", x=LEFT - 7, y=y_of(y), class_="y") for y in y_ticks]
    marks += [element("text", f"{x:g}", x=x_of(x), y=HEIGHT - BOTTOM + 19, class_="x") for x in x_ticks]
    marks += [
        element("text", labels[0], x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, class_="x"),
        element("text", labels[1], transform=f"translate(13 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)", class_="x"),
    ]
    lines, legend = [], []
    colours = [colour for _, colour in zip(series, itertools.cycle(distinct_colours(PLAIN_COLOURS)))]
    for number, ((name, (x, y)), colour) in enumerate(zip(series.items(), colours, strict=True)):
        dash = DASHES[number // PLAIN_COLOURS % len(DASHES)]
        points = [(x_of(a), y_of(b)) for a, b in zip(x, y, strict=True)]
        look = {"class_": "line", "style": f"--c:{colour}", "stroke_dasharray": dash}
        path = element("path", d=_path(points, WIDTH - RIGHT if is_stepped else None), **look)
        lines.append(element("g", element("title", name), path))
        key = element("path", d="M0 6H26", **look)
        swatch = element("svg", key, viewBox="0 0 26 12", width=26, height=12, aria_hidden="true")
        legend.append(element("li", swatch, " ", name))
    drawing = element(
        "svg",
        element("title", title),
        element("desc", description),
        grid,
        lines,
        marks,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
    )
    columns: dict[str, list[str]] = {"": list(series)}
    for tick in x_ticks:
        columns[f"{tick:g}"] = [_at(*points, tick, is_stepped) for points in series.values()]
    figures = table(f"{title}, by {labels[0]}", columns, list(columns)[1:], is_plain=True)
    caption = element("figcaption", title)
    more = element("details", element("summary", "The same in figures"), figures)
    return element("figure", caption, drawing, element("ul", legend, class_="legend"), more)


def _range(low: float, high: float, is_padded: bool, is_log: bool) -> tuple[float, float]:
    """Return the ends of the x axis; a step at the last place needs some room behind it."""
    if is_padded:
        high = high * (high / low) ** 0.05 if is_log else high + 0.05 * (high - low)
    return low, high if high > low * (1 + 1e-9) else low + (abs(low) or 1.0)


def _ticks(low: float, high: float, is_log: bool = False) -> list[float]:
    """Return round numbers from just below `low` to just above `high`."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    decades = math.log10(high / low) if is_log else 0
    if decades < 0.5:  # neighbours: even steps read better
        return [float(x) for x in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3).tick_values(low, high)]
    return [
        float(x) for x in LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,), numticks=7).tick_values(low, high)
    ]


def _scale(low: float, high: float, start: float, end: float, is_log: bool = False) -> Callable[[float], float]:
    turn = math.log10 if is_log else float
    return lambda x: round(start + (turn(x) - turn(low)) / (turn(high) - turn(low)) * (end - start), 1)


def _path(points: Sequence[tuple[float, float]], end: float | None) -> str:
    """Return an SVG path: straight from point to point, or in steps as far as `end`."""
    (x, y), *others = points
    if end is None:
        return f"M{x:g} {y:g}" + "".join(f"L{x:g} {y:g}" for x, y in others)
    return f"M{x:g} {y:g}" + "".join(f"H{x:g}V{y:g}" for x, y in others) + f"H{end:g}"


def _at(x: Sequence[float], y: Sequence[float], place: float, is_stepped: bool) -> str:
    """Return what a line says at a place, as text; nothing where it says nothing."""
    if place < x[0] or (not is_stepped and place > x[-1]):
        return ""
    if is_stepped:
        return f"{y[int(np.searchsorted(x, place, side='right')) - 1]:.4g}"
    return f"{np.interp(place, x, y):.4g}"
