"""The optimal expected cost of a short instance: the linear program of the tree of all inflows.

The least that any policy can cost on average, and what bounds of SDDP rise to. The tree grows by a factor a stage, so
this is a yardstick for a few stages. The program is handed to HiGHS as a matrix; a modelling language would take longer
than the solver.
"""

from __future__ import annotations

from orl.convex import build_program

from .exact_program import dispatches, parts_of, program_of
from .exact_tree import Tree, full_tree
from .instance import HydroThermal
from .plans import Dispatch
from .soc import FINE


def optimal_cost(instance: HydroThermal) -> float:
    """Return the optimal expected discounted cost of an episode.

    Raises
    ------
    InputError
        If the tree of all inflows has no end or too many nodes, see `exact_tree.full_tree`; with commitment=on.

    Examples
    --------
    >>> import orl
    >>> round(optimal_cost(orl.load("hydrothermal/case3", settings={"stages": 2})), 2)
    1047.53
    """
    return solve_tree(instance, full_tree(instance))[0]


def solve_tree(instance: HydroThermal, tree: Tree) -> tuple[float, list[Dispatch]]:
    """Return the optimal cost of a tree, and the dispatch of each of its paths."""
    instance.refuse_commitment("a linear program")
    program = program_of(instance, tree)
    # A node far out weighs little; its costs must not vanish within the solver's tolerance.
    unit = float(tree.weight.min())
    made = build_program(
        program.cost / unit,
        program.lower,
        program.upper,
        program.matrix,
        program.right,
        program.right,
        f"{instance.name}_tree",
        parts_of(instance, tree, program),
        FINE,
    )
    found = made.solve()
    return unit * found.value, dispatches(instance, tree, program, found.columns)
