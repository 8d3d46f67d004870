"""The shop with time turned round: its schedules, turned back, are schedules of the shop, of equal makespan."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from shops import shops

import orl
from orl.problems.jobshop.instance import JobShop
from orl.problems.jobshop.mirror import mirrored
from orl.problems.jobshop.verify import verify


@given(shops())
@profile(max_examples=60)
def test_a_schedule_of_the_mirror_is_one_of_the_shop(shop):
    shop = replace(shop, releases=None)
    mirror, back = mirrored(shop)
    found = orl.solve(mirror, "mwr")
    report = verify(shop, None, back(found.solutions[0]))
    assert report.is_feasible and report.cost == found.value
    again, _ = mirrored(mirror)
    assert (again.op_machine == shop.op_machine).all() and (again.op_duration == shop.op_duration).all()


@pytest.mark.parametrize(
    "told",
    [{"releases": [0, 1]}, {"calendar": [(0, 3, 5)]}, {"settings": {"buffers": "swap"}},
     {"settings": {"objective": "flow-time"}}],
    ids=str,
)  # fmt: skip
def test_there_is_no_mirror_of_a_shop_whose_time_has_a_direction(told):
    settings = orl.load("jobshop/ft06", settings=told.pop("settings", {})).settings
    shop = JobShop("two", machines=[[0, 1], [1, 0]], durations=[[3, 2], [2, 4]], settings=settings, **told)
    assert mirrored(shop) is None


def test_samples_from_both_sides_are_verified():
    result = orl.solve("jobshop/la16", "ppo", settings={"samples": 40}, seed=1)
    assert result.verified and result.metrics["samples"] == 40
    assert np.asarray(result.solutions[0].start).min() == 0
