"""What pictures of every family share: a figure written to a file of its kind, and labels that fit."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from orl.files import check_writable, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".html")
MAX_LABEL = 24  # characters


def write_figure(path: Path | str, draw: Callable[[], Figure], title: str) -> None:
    """Draw a figure and write it: the same figure makes the same file.

    Parameters
    ----------
    path : Path or str
        Its ending, one of `SUFFIXES`, says which kind of file is written; a page holds the figure as SVG.
    draw : callable () -> matplotlib Figure
    title : str
        Of a page.
    """
    from matplotlib import rc_context

    path = check_writable(path, SUFFIXES)
    kind = "png" if path.suffix.lower() == ".png" else "svg"
    file = io.BytesIO()
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": "orl"}):  # no random ids, no date
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure = draw()
        _fix_layout(figure)
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
    if path.suffix.lower() != ".html":
        write_atomically(path, file.getvalue())
        return
    svg = file.getvalue().decode()
    page = (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>svg {{ max-width: 100%; height: auto }}</style></head><body>{svg[svg.index('<svg') :]}</body></html>\n"
    )
    write_atomically(path, page)


def _fix_layout(figure: Figure) -> None:
    """Lay a figure out and round where its axes are.

    The solver of constrained layouts leaves another last digit from one call to the next, and an SVG names its clip
    paths by all digits.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = axes.get_position().bounds
        axes.set_position((round(left, 6), round(bottom, 6), round(width, 6), round(height, 6)))


def short_label(label: str) -> str:
    """Return a label cut to `MAX_LABEL` characters, in which a dollar sign begins no formula.

    >>> short_label("a reservoir with a very long name"), short_label("cash $")
    ('a reservoir with a very…', 'cash \\\\$')
    """
    text = label if len(label) <= MAX_LABEL else label[: MAX_LABEL - 1] + "…"
    return text.replace("$", r"\$")
