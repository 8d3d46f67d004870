"""Arrays of records: numbers that are not whole are refused, not cut off."""

from dataclasses import replace

import numpy as np
import pytest

import orl
from orl.arrays import frozen, read_only, whole_numbers
from orl.problems.jobshop.instance import Schedule
from orl.problems.jobshop.state import ShopState
from orl.problems.llmserving.instance import Requests, ServingLog
from orl.problems.lotsizing.instance import LotPlan, LotState


@pytest.mark.parametrize(
    "wrong",
    [
        [0.5],
        [np.nan],
        [np.inf],
        [-1e300],
        ["1"],
        [None],
        [[1], [1, 2]],
        [2**70],
        np.array([2**64 - 1], dtype=np.uint64),
    ],
)
def test_what_is_no_whole_number_is_refused(wrong):
    with pytest.raises(orl.InputError, match="units must be whole numbers, got"):
        whole_numbers("units", wrong)


def test_whole_numbers_are_copied_and_kept():
    given = np.array([[3.0, -4.0]])
    kept = whole_numbers("units", given)
    given[:] = 0
    assert kept.dtype == np.int64 and kept.tolist() == [[3, -4]] and not kept.flags.writeable
    assert whole_numbers("units", []).shape == (0,) and whole_numbers("units", np.uint8([255])).tolist() == [255]
    view, own = read_only(given), frozen(np.zeros(1))
    given[0, 0] = 7
    assert view[0, 0] == 7 and given.flags.writeable and not view.flags.writeable and not own.flags.writeable


@pytest.mark.parametrize(
    "make",
    [
        lambda: Schedule([0], [0], [0], [0], [2.5]),
        lambda: ShopState(0, [0], [0.5], [-1], [-1], [-1]),
        lambda: LotPlan([[0.9]]),
        lambda: LotState(0, [0], [1.5], []),
        lambda: Requests([0.0], [2.7], [1], [0], [0], [1.0], [-1], [0]),
        lambda: ServingLog([0.0], [0.0], [1.0], [[0, 0, 0, 0.5]]),
    ],
)
def test_records_do_not_cut_fractions_off(make):
    with pytest.raises(orl.InputError, match=r"must be whole numbers, got (0|1|2)\.[579] at"):
        make()


def test_a_schedule_of_fractions_is_not_taken_for_another():
    """Ends 0.4 later were verified as if they were not."""
    found = orl.solve("jobshop/ft06", "spt").solutions[0]
    with pytest.raises(orl.InputError, match=r"end must be whole numbers, got \d+\.4 at \[0\]"):
        replace(found, end=found.end + 0.4)
