"""Pictures of hydrothermal dispatch show what was dispatched; water values and nodal prices are derivatives."""

from functools import cache

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import StepPatch
from scipy.optimize import linprog

import orl
from orl import cli, registry
from orl.errors import InputError
from orl.pictures import SUFFIXES
from orl.problems.hydrothermal.plans import Dispatch
from orl.problems.hydrothermal.plot import _heat, draw_dispatches, load_mw, mean_cost, supply, thermal_groups
from orl.problems.hydrothermal.prices import NUDGE, prices
from orl.problems.hydrothermal.scenario import realise
from orl.problems.hydrothermal.stages import columns, stages
from orl.scenario import Purpose

HYDRO = registry.find_problem("hydrothermal")
SHORT = {"stages": 6, "reported_stages": 4}
CASES = {
    "case3": ("hydrothermal/case3", {}),
    "bolivia": ("hydrothermal/bolivia", SHORT),
    "one bus": ("hydrothermal/bolivia", {**SHORT, "network": "single-bus"}),
    "scarce": ("hydrothermal/bolivia", {**SHORT, "load_factor": 2.0}),  # load is not served
}


@cache
def solved(case):
    """Return an instance and the result of a policy on five scenarios."""
    name, settings = CASES[case]
    instance = orl.load(name, settings=settings)
    return instance, orl.solve(instance, "sddp", settings={"iterations": 8}, scenarios=5)


def axes_of(figure):
    return {axes.get_label(): axes for axes in figure.axes}


def optimum(instance, stage, before, after, arriving, load):
    """Return the cost of a stage from one pair of volumes to another, or None if it cannot be done."""
    at = columns(instance)
    right = stage.row_lower.copy()
    right[at.water_rows], right[at.power_rows] = arriving, load
    lower, upper = stage.lower.copy(), stage.upper.copy()
    for part, volume in ((at.before, before), (at.after, after)):
        lower[part] = upper[part] = volume
    found = linprog(stage.cost, A_eq=stage.matrix, b_eq=right, bounds=np.column_stack([lower, upper]))
    return found.fun if found.status == 0 else None


@pytest.mark.parametrize("case", CASES)
def test_prices_are_one_sided_differences(case):
    """By another solver, from inflows and not from what the dispatch accounts for.

    At a kink a dual is one of many subgradients, so neither side may undercut it: costs rise by at least the price when
    load rises, and fall by at most the price when load falls. The water value is that of one hm3 more, exactly.
    """
    instance, result = solved(case)
    dispatch, at = result.solutions[0], columns(instance)
    inflows = realise(instance, HYDRO.sample(instance, 0, Purpose.EVALUATE, 5)[0]) * instance.hm3_per_flow
    found = prices(instance, dispatch)
    before = instance.reservoirs.initial_hm3
    assert len(found.water) == len(found.nodal) == instance.num_stages
    exact = []
    for number in range(instance.num_stages):
        stage, after = stages(instance).stages[number], dispatch.volume[number]
        point, load = inflows[number] + NUDGE, stage.row_lower[at.power_rows]

        def cost(more_hm3, more_mw, given=(stage, before, after), point=point, load=load):
            return optimum(instance, *given, point + more_hm3, load + more_mw)

        base = cost(0, 0)
        for rows, duals, step in (
            (np.eye(len(point)), -found.water[number] / instance.stage_hours, 1e-4),
            (np.eye(len(load)), found.nodal[number], 1e-3),
        ):
            of_water = step == 1e-4
            for row, dual in zip(rows, duals, strict=True):
                up, down = (cost(s * row, 0) if of_water else cost(0, s * row) for s in (step, -step))
                slack = 1e-6 * max(1.0, abs(base) * 1e-3)
                assert up - base >= dual * step - slack
                assert down is None or down - base >= -dual * step - slack
                sides = [(up - base) / step] if down is None else [(up - base) / step, (base - down) / step]
                exact.append(min(abs(side - dual) for side in sides) <= 1e-2 * max(1.0, abs(dual)))
                if of_water:
                    assert (up - base) / step == pytest.approx(dual, rel=1e-2, abs=1e-2)
        before = after
    assert np.mean(exact) > 0.95


def test_prices_of_a_price_that_is_known():
    """On one bus with load not served, a MW costs a deficit; water is worth what its plants make of it."""
    instance = orl.load("hydrothermal/case3", settings={"network": "single-bus", "load_factor": 4.0, "stages": 3})
    dispatch = orl.solve(instance, "sddp", settings={"iterations": 5}, scenarios=1).solutions[0]
    assert (dispatch.deficit > 1).all()
    found = prices(instance, dispatch)
    assert found.nodal == pytest.approx(1000.0)
    is_free = dispatch.turn < 80 - 1e-6
    assert is_free.any() and found.water[is_free] == pytest.approx(1000.0 / 0.0036)  # 1 MW per m3/s


@pytest.mark.parametrize("case", CASES)
def test_rounded_volumes_have_prices_and_no_penalty_is_in_them(case):
    instance, result = solved(case)
    most = float(instance.network.deficit_cost[0]) * instance.reservoirs.mw_per_flow.sum() / 0.0036
    for digits in (12, 7, 4, 2):
        rounded = Dispatch(*(np.round(part, digits) for part in vars(result.solutions[0]).values()))
        found = prices(instance, rounded)
        assert (found.water <= most).all() and (found.water >= -1e-6).all()
        assert np.isfinite(found.nodal).all()


@pytest.mark.parametrize("case", CASES)
def test_the_parts_of_supply_add_up_to_the_load(case):
    instance, result = solved(case)
    parts = supply(instance, result.solutions)
    assert sum(parts.values()) == pytest.approx(load_mw(instance, instance.num_stages), abs=1e-3)
    figure = axes_of(draw_dispatches(instance, result.solutions))
    *steps, load = [patch for patch in figure["supply"].patches if isinstance(patch, StepPatch)]
    below = 0 * load.get_data().values
    for patch, values in zip(steps, parts.values(), strict=True):
        assert (patch.get_data().baseline == below).all()
        below = below + values
        assert (patch.get_data().values == below).all()
    assert (load.get_data().values == load_mw(instance, instance.num_stages)).all()
    groups = thermal_groups(instance)
    assert sorted(np.concatenate(list(groups.values()))) == list(range(len(instance.network.gen_names)))
    dearest = [instance.network.gen_cost[plants].max() for plants in groups.values()]
    assert dearest == sorted(dearest) and len(groups) <= 4


def fan_of(axes):
    """Return lines by their label, and the lower and upper edges of the bands."""
    bands = []
    for band in axes.collections:
        if isinstance(band, FillBetweenPolyCollection):
            (path,) = band.get_paths()
            x, y = path.vertices.T
            bands += [[fold(y[x == at]) for at in np.unique(x)] for fold in (np.min, np.max)]
    return {line.get_label(): line.get_ydata() for line in axes.lines}, np.array(bands)


def test_fans_are_quantiles_of_the_volumes():
    instance, result = solved("bolivia")
    figure = axes_of(draw_dispatches(instance, result.solutions, result.bound))
    start = np.tile(instance.reservoirs.initial_hm3, (5, 1, 1))
    volumes = np.concatenate([start, np.stack([one.volume for one in result.solutions])], axis=1)
    panels = {"storage": volumes.sum(axis=2)}
    for place, name in enumerate(instance.reservoirs.names):
        if instance.reservoirs.max_hm3[place] > 0:
            panels[f"storage {name}"] = volumes[:, :, place]
    assert {label for label in figure if label.startswith("storage")} == set(panels)
    for label, values in panels.items():
        lines, bands = fan_of(figure[label])
        assert bands == pytest.approx(np.quantile(values, (0.05, 0.95, 0.25, 0.75), axis=0))
        assert lines["median"] == pytest.approx(np.median(values, axis=0))
        assert lines["first scenario"] == pytest.approx(values[0])
    title = figure["storage"].figure.figure.get_suptitle()
    assert f"5 scenarios, mean cost {result.value:,.2f} USD, bound {result.bound:,.2f} USD" in title
    assert mean_cost(instance, result.solutions) == pytest.approx(result.value)


def test_a_single_dispatch_is_a_line():
    instance, result = solved("bolivia")
    figure = axes_of(draw_dispatches(instance, result.solutions[:1]))
    lines, bands = fan_of(figure["storage"])
    assert len(bands) == 0 and set(lines) >= {"volume"} and "median" not in lines
    assert lines["volume"][1:] == pytest.approx(result.solutions[0].volume.sum(axis=1))


@pytest.mark.parametrize("case", ["case3", "bolivia", "one bus"])
def test_prices_are_drawn_as_they_are(case):
    """As lines where there are few, else as a map."""
    instance, result = solved(case)
    figure = axes_of(draw_dispatches(instance, result.solutions))
    found = prices(instance, result.solutions[0])
    for label, values in (("water", found.water), ("nodal", found.nodal)):
        axes = figure[label]
        if values.shape[1] <= 4:
            drawn = [patch.get_data().values for patch in axes.patches]
        else:
            (image,) = axes.images
            drawn = image.get_array()
            assert image.get_extent() == [0, instance.num_stages, values.shape[1] - 0.5, -0.5]
        assert np.array(drawn) == pytest.approx(values.T)


def test_the_beginning_of_an_episode_can_be_drawn(tmp_path):
    """As in the pictures of environments, all of one size."""
    for case, lengths in (("case3", (0, 1, 3)), ("bolivia", (0, 2))):
        instance, result = solved(case)
        shapes = set()
        for done in lengths:
            begun = [Dispatch(*(part[:done] for part in vars(one).values())) for one in result.solutions]
            orl.plot(instance, begun if done == 1 else begun[0], tmp_path / f"{case}.png")
            shapes.add(imread(tmp_path / f"{case}.png").shape)
        assert len(shapes) == 1


def test_a_rare_deficit_does_not_hide_other_prices():
    """The map's colours end below it, and its colour is apart from them."""
    values = np.tile(np.linspace(10.0, 20.0, 50)[:, None], (1, 6))
    values[7, 3] = 1000.0
    figure = Figure()
    axes, bar = figure.subplots(2, 1)
    _heat(axes, bar, values, list("abcdef"), "USD/MWh")
    (image,) = axes.images
    assert image.norm.vmax == pytest.approx(20, abs=0.5) and image.norm.vmin == 10
    assert image.colorbar.extend == "max"


def test_pictures_from_python_and_from_the_command_line(tmp_path, capsys):
    """The same dispatches make the same picture."""
    command = ["solve", "hydrothermal/case3", "--solver", "sddp", "--set", "iterations=20", "--scenarios", "20"]
    for suffix in SUFFIXES:
        path = tmp_path / f"x{suffix}"
        assert cli.main([*command, "--plot", str(path)]) == 0
        assert path.stat().st_size > 10_000
    result = orl.solve("hydrothermal/case3", "sddp", settings={"iterations": 20}, scenarios=20)
    instance = orl.load("hydrothermal/case3")
    orl.plot(instance, result.solutions, tmp_path / "again.svg", result.bound)
    assert (tmp_path / "again.svg").read_text() == (tmp_path / "x.svg").read_text()
    with pytest.raises(InputError, match="no solution to draw"):
        orl.plot(instance, [], tmp_path / "none.svg")
    with pytest.raises(InputError, match="expected a name ending in"):
        orl.plot(instance, result.solutions, tmp_path / "plan.gif")
