"""Actions are checked before anything is changed."""

import numpy as np
import pytest

from orl.choices import checked
from orl.errors import IllegalAction

LEGAL = np.array([[False, True, True], [True, False, False], [False, False, False]])
IS_OVER = np.array([False, False, True])


def test_legal_actions_become_integers():
    assert checked([2.0, 0.0, 99.0], LEGAL, IS_OVER).tolist() == [2, 0, 99]
    joint = checked([[1, 2], [0, 0], [7, 7]], np.repeat(LEGAL[:, None], 2, axis=1), IS_OVER)
    assert joint.tolist() == [[1, 2], [0, 0], [7, 7]] and joint.dtype == np.int64


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 0, 0], r"action 0 is illegal in environment 0; legal are \[1, 2\]"),
        ([1, 3, 0], "action 3 is illegal in environment 1"),
        ([1, -1, 0], "action -1 is illegal in environment 1"),
        ([1, 1e300, 0], "illegal in environment 1"),
        ([1, 0], r"must have shape \(3,\), got \(2,\)"),
        ([0.5, 0, 0], "whole numbers, got float64"),
        ([np.nan, 0, 0], "whole numbers"),
        (["1", "0", "0"], "whole numbers, got <U1"),
        ([None, 0, 0], "whole numbers, got object"),
    ],
)
def test_others_are_refused(actions, message):
    with pytest.raises(IllegalAction, match=message):
        checked(actions, LEGAL, IS_OVER)


def test_the_machine_is_named():
    with pytest.raises(IllegalAction, match="environment 0, machine 1"):
        checked([[1, 1]], LEGAL[None, :2], IS_OVER[:1])
    with pytest.raises(IllegalAction, match="environment 1, machine 1"):
        checked([[1, 2], [0, 1]], np.repeat(LEGAL[:2, None], 2, axis=1), IS_OVER[:2])
