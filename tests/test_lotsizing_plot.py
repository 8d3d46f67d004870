"""Pictures of lot-sizing plans show what happened."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from lots import lots

import orl
from orl import cli, registry
from orl.errors import InputError
from orl.pictures import SUFFIXES
from orl.problems.lotsizing.metrics import metrics
from orl.problems.lotsizing.plot import course, draw_plan
from orl.problems.lotsizing.rules import RULES
from orl.problems.lotsizing.scenario import sample
from orl.problems.lotsizing.verify import Ledger, verify
from orl.scenario import Purpose


def random_plan(instance):
    scenario = sample(instance, 0, Purpose.EVALUATE, 1)[0]
    process = registry.find_problem("lotsizing").process([instance], [scenario])
    process.run(RULES["random"], np.array([1], dtype=np.uint64))
    return scenario, process.solution(0)


@given(lots())
@profile(max_examples=60)
def test_the_course_of_a_plan_is_what_the_verifier_finds(instance):
    scenario, plan = random_plan(instance)
    seen = course(instance, scenario, plan)
    paid = Ledger(instance, scenario)
    for period, row in enumerate(plan.choices.tolist()):
        list(paid.play(period, row))
        assert seen.stock[period].tolist() == paid.stock
    assert seen.cost == pytest.approx(verify(instance, scenario, plan).cost)
    assert seen.is_setup.sum() == paid.setups
    if instance.settings.unmet == "lost":
        assert seen.lost.sum() == paid.short
    assert metrics(instance, scenario, plan)["setups_per_period"] == pytest.approx(paid.setups / len(plan.choices))


@given(lots())
@profile(max_examples=5)
def test_any_plan_can_be_drawn(instance):
    scenario, plan = random_plan(instance)
    figure = draw_plan(instance, plan, 1.0, scenario)
    assert len(figure.axes) == 1 + instance.num_items
    bars = [bar for bar in figure.axes[0].patches if bar.get_width() > 0]
    assert sum(bar.get_width() for bar in bars) == (plan.choices > 0).sum()


def test_pictures_from_python_and_from_the_command_line(tmp_path, capsys):
    name = "lotsizing/setting_2items_VI"
    for suffix in SUFFIXES:
        path = tmp_path / f"plan{suffix}"
        assert (
            cli.main(["solve", name, "--set", "horizon=20", "--scenarios", "3", "--seed", "4", "--plot", str(path)])
            == 0
        )
        assert path.stat().st_size > 1000
    instance = orl.load(name, settings={"horizon": "20"})
    result = orl.solve(instance, "greedy", scenarios=3, seed=4)
    solution, scenario = result.solutions[0], sample(instance, 4, Purpose.EVALUATE, 3)[0]
    orl.plot(instance, solution, tmp_path / "again.svg", scenario=scenario)
    orl.plot(instance, result, tmp_path / "result.svg")
    for name in ("again.svg", "result.svg"):
        assert (tmp_path / name).read_text() == (tmp_path / "plan.svg").read_text()
    with pytest.raises(InputError, match="expected a name ending in"):
        orl.plot(instance, solution, tmp_path / "plan.gif")
