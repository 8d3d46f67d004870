"""When thermal plants run: what `commitment=on` adds to the program of a tree, in Pyomo.

Sets
    N       nodes of the tree; m is the node before n, n-k its k-th ancestor
    G       thermal plants

Parameters
    g_n             probability of a node times the discount of its stage
    P_g, p_g        largest power; least power of a plant that runs, MW
    S_g             cost of a start, USD for an hour of the stage: start_cost P_g / hours
    U, D            min_up, min_down, stages

Variables
    x_ng    power, MW, of the program
    z_ng    1 if the plant runs
    y_ng, w_ng      1 if it is started, stopped in this stage; integer where z is

    minimise    what the program does + sum_n g_n sum_g S_g y_ng
    subject to  output      p_g z_ng <= x_ng <= P_g z_ng
                logic       z_ng - z_mg = y_ng - w_ng
                turn on     sum_{k < U} y_(n-k)g <= z_ng
                turn off    sum_{k < D} w_(n-k)g <= 1 - z_ng

Before the first stage all plants are off, and have been long enough to be started. After the last nothing is asked: who
was started shortly before the end may owe stages. The turn on/off inequalities and bounds are the hull of a plant's on
and off.

References
----------
D. Rajan, S. Takriti (2005). Minimum up/down polytopes of the unit commitment problem with start-up costs. IBM Research
Report RC23628.
G. Morales-Espana, J. M. Latorre, A. Ramos (2013). Tight and compact MILP formulation for the thermal unit commitment
problem. IEEE Transactions on Power Systems 28(4). doi 10.1109/TPWRS.2013.2251373
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .exact_tree import Tree
from .instance import HydroThermal
from .plans import Dispatch


class Commitment:
    """Variables and constraints of a tree's commitment, added to a model.

    Parameters
    ----------
    m : ConcreteModel
    instance : HydroThermal
    tree : Tree
    power : sequence (N) of sequences (G) of variables
        Of thermal plants.
    """

    def __init__(self, m: Any, instance: HydroThermal, tree: Tree, power: Sequence[Sequence[Any]]):
        import pyomo.environ as pyo

        network, chosen = instance.network, instance.settings
        self.tree, self.plants = tree, range(len(network.gen_names))
        nodes, most, least = range(len(tree.stage)), network.gen_max_mw.tolist(), instance.least_mw.tolist()
        m.on = pyo.Var(nodes, self.plants, domain=pyo.Binary)
        m.started = pyo.Var(nodes, self.plants, bounds=(0, 1))
        m.stopped = pyo.Var(nodes, self.plants, bounds=(0, 1))
        m.commitment = pyo.ConstraintList()
        self.on = m.on
        parent = tree.parent.tolist()
        for n in nodes:
            recent = [n]
            while len(recent) < max(chosen.min_up, chosen.min_down) and parent[recent[-1]] >= 0:
                recent.append(parent[recent[-1]])
            for g in self.plants:
                on, started, stopped = m.on[n, g], m.started[n, g], m.stopped[n, g]
                before = m.on[parent[n], g] if parent[n] >= 0 else 0
                m.commitment.add(power[n][g] <= most[g] * on)
                m.commitment.add(power[n][g] >= least[g] * on)
                m.commitment.add(on - before == started - stopped)
                m.commitment.add(pyo.quicksum(m.started[k, g] for k in recent[: chosen.min_up]) <= on)
                m.commitment.add(pyo.quicksum(m.stopped[k, g] for k in recent[: chosen.min_down]) <= 1 - on)
        start_cost = [chosen.start_cost * mw / instance.stage_hours for mw in most]
        weight = tree.weight.tolist()
        self.cost = pyo.quicksum(weight[n] * start_cost[g] * m.started[n, g] for n in nodes for g in self.plants)

    def read(self, value: Callable[[Any], float]) -> list[np.ndarray]:
        """Return what runs in each path of the tree, (stages, G)."""
        on = np.array([[round(value(self.on[n, g])) for g in self.plants] for n in range(len(self.tree.stage))])
        return [on.reshape(-1, len(self.plants))[path] for path in self.tree.paths]

    def start(self, dispatches: Sequence[Dispatch]) -> Iterator[tuple[Any, float]]:
        """Yield what runs in dispatches of the paths, one a path; those that know no commitment say nothing."""
        for n, (path, stage) in {int(n): at for at, n in np.ndenumerate(self.tree.paths)}.items():
            on = dispatches[path].on
            if on.shape[1] == len(self.plants):
                yield from ((self.on[n, g], float(on[stage, g])) for g in self.plants)
