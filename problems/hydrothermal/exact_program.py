"""The linear program of a tree of inflows: at every node the stage of `stages.py`, joined to the node before.

    minimise    sum_n weight_n c' x_n
    subject to  A x_n + B x_m = b_n + (K a_nr in the water rows),    l_n <= x_n <= u_n        m the node before n

x_n are a stage's variables without the volumes that come in, which are those that go out at m: B holds their
coefficients. In the first stage they are the initial volumes, and go to the right-hand side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, eye_array, kron

from orl.convex import Separate

from .exact_tree import Tree
from .instance import HydroThermal
from .plans import Dispatch, reader
from .stages import columns, stage_of


class Program(NamedTuple):
    """Minimise cost' x subject to matrix x = right, and bounds on x; node by node, in each the columns of `kept`.

    Parameters
    ----------
    cost, lower, upper : ndarray (N * n,)
    matrix : sparse array (N * m, N * n)
    right : ndarray (N * m,)
    kept : int ndarray (n,)
        Of a stage's columns.
    """

    cost: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    matrix: csr_array
    right: np.ndarray
    kept: np.ndarray


def program_of(instance: HydroThermal, tree: Tree) -> Program:
    """Return the program of a tree."""
    at, template = columns(instance), stage_of(instance, 0)
    of_stage = [stage_of(instance, stage, template) for stage in range(tree.paths.shape[1])]
    lower = template.lower.copy()
    if instance.has_commitment:
        lower[at.power] = 0.0  # a plant may be off
    incoming = np.concatenate([at.before, at.inflow_before])  # inflows are numbers here
    kept = np.setdiff1d(np.arange(len(template.cost)), incoming)
    nodes, from_before = len(tree.stage), template.matrix[:, at.before]
    joined = from_before @ _ones(np.arange(len(at.after)), at.after, (len(at.after), len(template.cost)))
    has_parent = tree.parent >= 0
    before = _ones(np.flatnonzero(has_parent), tree.parent[has_parent], (nodes, nodes))
    right = np.stack([stage.row_lower for stage in of_stage])[tree.stage]
    right[:, template.noise_rows] += tree.inflow * instance.hm3_per_flow
    right[~has_parent] -= from_before @ instance.reservoirs.initial_hm3
    return Program(
        cost=np.outer(tree.weight, template.cost[kept]).ravel(),
        lower=np.tile(lower[kept], nodes),
        upper=np.stack([stage.upper[kept] for stage in of_stage])[tree.stage].ravel(),
        matrix=csr_array(kron(eye_array(nodes), template.matrix[:, kept]) + kron(before, joined[:, kept])),
        right=right.ravel(),
        kept=kept,
    )


def _ones(rows: np.ndarray, places: np.ndarray, shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(rows)), (rows, places)), shape=shape)


def dispatches(
    instance: HydroThermal, tree: Tree, program: Program, values: Sequence[float] | np.ndarray
) -> list[Dispatch]:
    """Return what values of the variables mean, one dispatch a path of the tree."""
    found = np.zeros((len(tree.stage), len(stage_of(instance, 0).cost)))
    found[:, program.kept] = np.reshape(values, (len(tree.stage), -1))
    read = reader(instance)
    return [read(found[path]) for path in tree.paths]


def parts_of(instance: HydroThermal, tree: Tree, program: Program) -> list[tuple[Separate | None, np.ndarray]]:
    """Return what is convex at each node, and where its stage's columns stand in the program."""
    stage = stage_of(instance, 0)
    place = np.zeros(len(stage.cost), dtype=np.int64)  # the volumes that come in are in nothing convex
    place[program.kept] = np.arange(len(program.kept))
    return [(stage.separate, place + node * len(program.kept)) for node in range(len(tree.stage))]
