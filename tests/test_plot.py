"""Pictures of job shop schedules."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from shops import AT_6, BEFORE_6, FROM_6, STATE_AT_6, scenario_of, schedule_of

from orl.colours import distinct_colours
from orl.errors import InputError
from orl.pictures import SUFFIXES
from orl.problems.jobshop.instance import Breakdowns, JobShop, JobShopSettings, Schedule
from orl.problems.jobshop.plot import gantt, interactive_gantt, plot
from orl.problems.jobshop.simpy_twin import simulate
from orl.problems.jobshop.simpy_twin_rules import SCORES, rule_choice

EVIL = "<script>alert('job')</script>"


def draw(shop: JobShop, schedule: Schedule, path: Path, *more: Any) -> None:
    plot(shop, [schedule], path, *more)


@pytest.fixture
def drawn() -> tuple[JobShop, Schedule]:
    """Return a shop with a zero duration and with names that mean something to HTML, to TeX or to no font."""
    shop = JobShop(
        f"name {EVIL}",
        machines=[[0, 1], [1, 0, 1], [2]],
        durations=[[3, 0], [4, 2, 1], [7]],
        releases=[2, 0, 0],
        job_names=[EVIL, "$\\frac$ 漢", "_" * 80],
        machine_names=["<b onclick='alert(1)'>saw", "lathe & drill", "x" * 80],
        time_unit="min",
    )
    return shop, simulate(shop, rule_choice(shop, SCORES["spt"]))


@pytest.mark.parametrize("bound", [None, 5.5, 7])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_its_kind_is_written(
    suffix: str, bound: float | None, drawn: tuple[JobShop, Schedule], tmp_path: Path
) -> None:
    path = tmp_path / f"gantt{suffix}"
    draw(*drawn, path, bound)
    assert {".png": b"\x89PNG", ".svg": b"<?xml", ".html": b"<!doctype html>"}[suffix] in path.read_bytes()[:200]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_an_unknown_kind_is_refused(drawn: tuple[JobShop, Schedule], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.png, \.svg, \.html"):
        draw(*drawn, tmp_path / "gantt.gif")


def test_the_page_is_self_contained_and_names_are_inert(drawn: tuple[JobShop, Schedule], tmp_path: Path) -> None:
    """Nothing is fetched, and a name is neither a tag of the page nor one that plotly would make."""
    draw(*drawn, tmp_path / "gantt.html", 7)
    page = (tmp_path / "gantt.html").read_text(encoding="utf-8")
    assert "Plotly.newPlot" in page and len(page) > 10**6  # the library is inside
    tags = re.findall(
        r"<(?:script|link|img|iframe)\b[^>]*>", re.sub(r"(<script\b[^>]*>).*?</script>", r"\1", page, flags=re.S)
    )
    assert tags and not [tag for tag in tags if "src=" in tag or "href=" in tag]
    assert EVIL not in page and "<b onclick" not in page
    figure = interactive_gantt(*drawn)
    texts = [figure["layout"]["title"]["text"], *figure["layout"]["yaxis"]["ticktext"]]
    texts += [text for trace in figure["data"] for text in (trace["name"], trace["text"], *trace["hovertext"])]
    assert not [text for text in texts if set(re.findall(r"<[^>]*>", text)) - {"<b>", "</b>", "<br>"}]


def test_plotly_accepts_the_figure(drawn: tuple[JobShop, Schedule]) -> None:
    """The figure goes out unchecked for speed; plotly's own check knows all of its keys."""
    import plotly.graph_objects as go

    assert len(go.Figure(interactive_gantt(*drawn, bound=7)).data) == 3


def test_bars_are_operations(drawn: tuple[JobShop, Schedule]) -> None:
    """Each operation is one bar at its machine from start to end, in the still picture and in the page."""
    shop, schedule = drawn
    expected = sorted(zip(schedule.machine.tolist(), schedule.start.tolist(), schedule.end.tolist(), strict=True))
    figure = gantt(shop, schedule)
    (bars,) = [artist for artist in figure.axes[0].collections if isinstance(artist, PolyCollection)]
    boxes = [path.get_extents() for path in bars.get_paths()]
    assert sorted((round((box.y0 + box.y1) / 2), box.x0, box.x1) for box in boxes) == expected
    traces = interactive_gantt(shop, schedule)["data"]
    shown = [
        (machine, start, start + width)
        for trace in traces
        for machine, start, width in zip(trace["y"], trace["base"], trace["x"], strict=True)
    ]
    assert len(traces) == shop.num_jobs and sorted(shown) == expected


@pytest.fixture
def as_it_is() -> tuple[JobShop, Schedule]:
    """Return a swap shop: job 1 blocks machine 1 from 2 to 5; machine 0 is down from 1 to 3 and 8 to 30."""
    shop = JobShop(
        "swap",
        machines=[[0, 1], [1, 0]],
        durations=[[3, 2], [2, 3]],
        calendar=[(0, 1, 3), (0, 8, 30), (1, 6, 7), (1, 20, 30)],
        job_names=[EVIL, "b"],
        settings=JobShopSettings(buffers="swap"),
    )
    return shop, simulate(shop, rule_choice(shop, SCORES["spt"]))


def test_blocked_and_down_time_are_shown(as_it_is: tuple[JobShop, Schedule]) -> None:
    """Down time ends at the makespan; in the still picture it is there twice, behind the bars and through them."""
    shop, schedule = as_it_is
    blocked, down = {(1, 2, 5)}, {(0, 1, 3), (1, 6, 7)}
    assert schedule.makespan == 8
    collections = [artist for artist in gantt(shop, schedule).axes[0].collections if isinstance(artist, PolyCollection)]
    boxes = [[path.get_extents() for path in artist.get_paths()] for artist in collections]
    shown = [{(round((box.y0 + box.y1) / 2), box.x0, box.x1) for box in of_kind} for of_kind in boxes]
    assert shown[1:] == [blocked, down, down]
    assert [bool(artist.get_hatch()) for artist in collections] == [False, True, False, False]
    traces = interactive_gantt(shop, schedule)["data"]
    spans = [
        {(y, base, base + x) for y, base, x in zip(trace["y"], trace["base"], trace["x"], strict=True)}
        for trace in traces
    ]
    assert spans == [down, {(0, 0, 5), (1, 5, 7 + 1)}, {(1, 0, 2), (0, 5, 8)}, blocked]
    assert traces[3]["legendgroup"] == traces[2]["legendgroup"] == "b" and traces[3]["marker"]["pattern"]["shape"]


def test_plotly_accepts_blocked_and_down_time(as_it_is: tuple[JobShop, Schedule], tmp_path: Path) -> None:
    import plotly.graph_objects as go

    assert len(go.Figure(interactive_gantt(*as_it_is)).data) == 4
    for suffix in SUFFIXES:
        draw(*as_it_is, tmp_path / f"gantt{suffix}")
    assert EVIL not in (tmp_path / "gantt.html").read_text(encoding="utf-8")


def test_failures_are_those_of_the_scenario(tmp_path: Path) -> None:
    shop = JobShop("fail", [[0]], [[40]], settings=JobShopSettings(breakdowns=Breakdowns(0.2, "fixed 2")))
    scenario = scenario_of(shop, 0)
    schedule = simulate(shop, rule_choice(shop, SCORES["spt"]), scenario)
    traces = interactive_gantt(shop, schedule, scenario=scenario)["data"]
    assert [trace["name"] for trace in traces] == ["down", "0"] and sum(traces[0]["x"]) == schedule.makespan - 40
    assert len(interactive_gantt(shop, schedule)["data"]) == 1
    draw(shop, schedule, tmp_path / "gantt.png", 40, scenario)


def test_a_bound_on_another_objective_is_no_time(tmp_path: Path) -> None:
    """It is in the title, with the gap to the cost, and no line."""
    settings = JobShopSettings(objective="flow-time")
    shop = JobShop("flow", [[0], [0]], [[3], [4]], settings=settings)
    figure = gantt(shop, Schedule.from_starts(shop, [0, 3]), bound=8)
    assert figure.axes[0].get_title(loc="left") == "flow: makespan 7, flow-time 10, bound 8, gap 20.0%"
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["makespan"]


def test_a_shop_in_motion_begins_at_its_line(tmp_path: Path) -> None:
    """There is a line at 6. B blocks the saw from 5 on, or without history, as far as one knows, from 6 on."""
    for history, since in ((None, 6), (schedule_of(BEFORE_6), 5)):
        shop = AT_6.in_motion(replace(STATE_AT_6, history=history))
        schedule = schedule_of(FROM_6 if history is None else [*FROM_6, *BEFORE_6])
        figure = gantt(shop, schedule)
        (axes,) = figure.axes
        assert "now" in [text.get_text() for text in axes.get_legend().get_texts()]
        assert [line.get_xdata()[0] for line in axes.lines if line.get_label() == "now"] == [6]
        assert axes.get_xlim()[0] == (3 if history is None else 0)
        (box,) = [path.get_extents() for path in axes.collections[1].get_paths()]
        assert (box.x0, box.x1) == (since, 7)
        page = interactive_gantt(shop, schedule)
        (blocked,) = [trace for trace in page["data"] if "pattern" in trace["marker"]]
        assert (blocked["name"], blocked["y"], blocked["base"], blocked["x"]) == ("B", [0], [since], [7 - since])
        assert [(shape["x0"], shape["line"]["dash"]) for shape in page["layout"]["shapes"]] == [
            (10, "solid"),
            (6, "dot"),
        ]
        assert ("range" in page["layout"]["xaxis"]) == (history is None)
        for suffix in SUFFIXES:
            draw(shop, schedule, tmp_path / f"gantt{suffix}")


def test_a_shop_without_work_has_a_picture(tmp_path: Path) -> None:
    shop = JobShop("nothing", machines=[[0]], durations=[[0]])
    for suffix in SUFFIXES:
        draw(shop, Schedule.from_starts(shop, [0]), tmp_path / f"gantt{suffix}", 0)


def test_the_same_schedule_makes_the_same_picture(drawn: tuple[JobShop, Schedule], tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for path in (first, second):
        draw(*drawn, path, 6)
    assert first.read_bytes() == second.read_bytes()


def test_colours_are_distinct_and_begin_again_after_a_hundred() -> None:
    colours = distinct_colours(130)
    assert len(set(colours)) == 100 and colours[100:] == colours[:30]
    assert distinct_colours(9) == colours[:9]
    parts = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours])
    assert parts.max(axis=1).min() > 80 and parts.min(axis=1).max() < 250  # neither ink nor paper


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_of_several_schedules_the_first_is_drawn(suffix: str, drawn: tuple[JobShop, Schedule], tmp_path: Path) -> None:
    """Without the bound, which is one on the mean of all."""
    shop, schedule = drawn
    other = simulate(shop, rule_choice(shop, SCORES["lpt"]))
    plot(shop, [schedule, other], tmp_path / f"several{suffix}", 7)
    plot(shop, [schedule], tmp_path / f"one{suffix}")
    several, one = ((tmp_path / f"{name}{suffix}").read_text("latin-1") for name in ("several", "one"))
    if suffix == ".html":  # plotly names the place of a figure anew each time
        several, one = (re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "", page) for page in (several, one))
    assert several == one
