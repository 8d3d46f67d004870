"""Which integer variables of a model belong together: what fix-and-optimise stands on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Groups(NamedTuple):
    """One way to part the integer variables of a model: by period, by item, by machine.

    Parameters
    ----------
    groups : sequence of sequences of variables
        No variable is in two of them. Integer variables in none are decided anew with every group.
    is_ordered : bool
        Whether groups that follow one another belong together, as periods do; else any may.
    """

    groups: Sequence[Sequence[Any]]
    is_ordered: bool = False
