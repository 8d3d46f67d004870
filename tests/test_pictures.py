"""What pictures of every family share."""

import pytest
from matplotlib.figure import Figure

from orl.pictures import write_figure


def test_the_last_digits_of_a_layout_do_not_reach_the_file(tmp_path):
    """The solver of layouts leaves others from one call to the next, by which an SVG names its clip paths."""
    drawn = []

    def draw():
        figure = Figure(layout="constrained")
        for axes in figure.subplots(3, 1, height_ratios=[0.3, 1, 0.7]):
            axes.stairs([1, 3, 2], fill=True)
            axes.set_ylabel("stock")
        drawn.append(figure)
        return figure

    write_figure(tmp_path / "a.svg", draw, "stock")
    edges = [edge for axes in drawn[0].axes for edge in axes.get_position().bounds]
    assert edges == pytest.approx([round(edge, 6) for edge in edges], abs=1e-12)
    assert len({axes.get_position().bounds for axes in drawn[0].axes}) == 3
