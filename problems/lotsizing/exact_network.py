"""Lot sizing without shortage as a mixed-integer program of networks, in Pyomo: a strong formulation; see `exact`.

Sets
    T, I    periods, items; 0 is no set-up
    N_i     nodes of item i: (t, k, o), k units made before period t, o = 1 if the machine is set up for it

Parameters
    f_ci    cost of a set-up for item i from c;  g_ti  weight of costs
    H_tik   cost of the stock of item i at the end of period t if k units have been made by then

Variables
    x_ti    1 if item i is made
    z_tci   flow: it is made, the machine having been set up for c
    v_tc    flow: the machine is idle and stays set up for c; with idle=loses-setup: it is idle and was
    m_tiko, d_tik, e_tiko   flow of item i from (t, k, o): it is made; it stays set up, idle; neither

Minimise

    sum_tci g_ti f_ci z_tci + sum_ti (sum_ko H_ti,k+1 m_tiko + sum_k H_tik d_tik + sum_ko H_tik e_tiko)

subject to

    machine     a unit of flow from its set-up at the start through z and v
    items       a unit of flow each from no unit made, through m to (t+1, k+1, 1), d to (t+1, k, 1), e to (t+1, k, 0)
    agreement   sum_c z_tci = x_ti = sum_ko m_tiko,  sum_{c != i} z_tci = sum_k m_tik0,  v_ti = sum_k d_tik

Nodes from which demand is not met are left out. Each network alone is integral, so the linear relaxation is the
Lagrangian bound that the agreement gives at the best prices (`layers`): the flow through set-ups joined with the convex
hull of every item's plans, which is what the inequalities of van Hoesel and Kolen describe in x and y.

References
----------
C. A. van Hoesel, A. Kolen (1994). A linear description of the discrete lot-sizing and scheduling problem. European
Journal of Operational Research 75. doi 10.1016/0377-2217(94)90078-7
L. A. Wolsey (1997). MIP modelling of changeovers in production planning and scheduling problems. European Journal of
Operational Research 99(1). doi 10.1016/S0377-2217(97)89646-4
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from orl.errors import Stopped
from orl.problem import Model
from orl.scenario import Scenarios

from .instance import LotPlan, LotSizing
from .units import Given, given_of

Node = tuple[Any, ...]
Arc = tuple[Node, Node, float, tuple[Node, ...] | None]  # from, to, cost, names of the sums that it takes part in


def build(instance: LotSizing, scenario: Scenarios, should_stop: Callable[[], bool] | None = None) -> Model:
    """Return the program of one scenario.

    Raises
    ------
    InputError
        If stock limits may bind.
    """
    import pyomo.environ as pyo

    given, start = given_of(instance, scenario)
    periods, items = given.weight.shape
    m = pyo.ConcreteModel(instance.name)
    makes = [(t, i) for t in range(periods) for i in range(items) if given.possible[i]]
    m.x = pyo.Var(makes, domain=pyo.Binary)
    net = network_of(given, start)
    arcs, sums = net.arcs, net.sums
    m.flow = pyo.Var(range(len(arcs)), bounds=(0, 1))
    m.nothing = pyo.Var(bounds=(0, 0))  # asked to be more where an item has no plan
    if should_stop is not None and should_stop():
        raise Stopped

    def kept(_: Any, place: int) -> Any:
        node = net.nodes[place]
        arriving = sum(m.flow[number] for number in net.into[node]) + int(node in net.sources)
        leaving = sum(m.flow[number] for number in net.out_of[node])
        return leaving == arriving if net.out_of[node] else m.nothing >= 1

    m.kept = pyo.Constraint(range(len(net.nodes)), rule=kept)

    def total(name: Node) -> Any:
        return sum(m.flow[number] for number in sums[name])

    m.is_made = pyo.Constraint(makes, rule=lambda _, t, i: total(("machine makes", t, i)) == m.x[t, i])
    m.makes = pyo.Constraint(makes, rule=lambda _, t, i: total(("item makes", t, i)) == m.x[t, i])

    def agree(_: Any, what: str, t: int, i: int) -> Any:
        left, right = total((f"machine {what}", t, i)), total((f"item {what}", t, i))
        return left == right

    m.agree = pyo.Constraint(net.agreed, rule=agree)
    m.cost = pyo.Objective(
        expr=pyo.quicksum(cost * m.flow[number] for number, (_, _, cost, _) in enumerate(arcs) if cost)
    )

    def read(value: Callable[[Any], float]) -> LotPlan:
        choices = np.zeros((periods, 1), dtype=np.int64)
        for (t, i), x in m.x.items():
            if value(x) > 0.5:
                choices[t, 0] = i + 1
        return LotPlan(choices)

    def begin(plan: LotPlan) -> Iterator[tuple[Any, float]]:
        return ((x, float(plan.choices[t, 0] == i + 1)) for (t, i), x in m.x.items())

    return Model(m, read, begin)


class Network(NamedTuple):
    """Networks of the machine and of every item.

    Parameters
    ----------
    arcs : list of (from, to, cost, names)
        Nodes are (whose, period, ...); names say in which sums the arc takes part: ('item makes', period, item), ...
    sources : list of nodes
    nodes : list of nodes
        Those before the end.
    into, out_of : node -> numbers of arcs
    sums : name -> numbers of arcs
    agreed : list of (what, period, item)
        'begins' and 'holds', where machine and item must agree on it.
    """

    arcs: list[Arc]
    sources: list[Node]
    nodes: list[Node]
    into: Mapping[Node, list[int]]
    out_of: Mapping[Node, list[int]]
    sums: Mapping[Node, list[int]]
    agreed: list[tuple[str, int, int]]


def network_of(given: Given, start: np.ndarray) -> Network:
    """Return the networks of a scenario."""
    periods, items = given.weight.shape
    arcs = list(_machine_arcs(given, int(start[items])))
    sources: list[Node] = [("machine", 0, int(start[items]))]
    for item in range(items):
        arcs += _item_arcs(given, item, int(start[items]) == item + 1)
        sources.append((item, 0, 0, int(start[items] == item + 1)))
    into, out_of, sums = defaultdict(list), defaultdict(list), defaultdict(list)
    for number, (tail, head, _, names) in enumerate(arcs):
        out_of[tail].append(number)
        into[head].append(number)
        for name in names or ():
            sums[name].append(number)
    nodes = [node for node in dict.fromkeys((*sources, *into)) if node[1] < periods]
    ways = [(what, t, i) for what in ("begins", "holds") for t in range(periods) for i in range(items)]
    agreed = [at for at in ways if sums["machine " + at[0], at[1], at[2]] or sums["item " + at[0], at[1], at[2]]]
    return Network(arcs, sources, nodes, into, out_of, sums, agreed)


def _machine_arcs(given: Given, first: int) -> Iterator[Arc]:
    """Yield the arcs of the machine that are reached from its set-up at the start."""
    reached = {first}
    for t in range(len(given.weight)):
        for setup in sorted(reached):
            tail, after = ("machine", t, setup), setup if given.keeps else 0
            holds = (("machine holds", t, setup - 1),) if given.keeps and setup and given.possible[setup - 1] else None
            yield tail, ("machine", t + 1, after), 0.0, holds
            for i in np.flatnonzero(given.possible).tolist():
                parts: tuple[Node, ...] = (("machine makes", t, i), ("machine begins", t, i))[
                    : 1 if setup == i + 1 else 2
                ]
                cost = float(given.changeover[setup, i + 1] * given.weight[t, i])
                yield tail, ("machine", t + 1, i + 1), cost, parts
        makes = {i + 1 for i in np.flatnonzero(given.possible).tolist()}
        reached = makes | (reached if given.keeps else {0})


def _item_arcs(given: Given, i: int, is_set_up: bool) -> list[Arc]:
    """Return the arcs of an item that lie on a path from the start to the end."""
    periods, first = len(given.weight), int(given.first[i])
    most = int(given.first[i + 1]) - first - 1
    arcs: list[Arc] = []
    reached = {(i, 0, 0, int(is_set_up))}
    for t in range(periods):
        following = set()
        for node in sorted(reached):
            k, on = node[2], node[3]
            options: list[tuple[int, int, float, tuple[Node, ...] | None]] = [(k, 0, 0.0, None)]
            if on and given.keeps:
                options.append((k, 1, 0.0, (("item holds", t, i),) if given.possible[i] else None))
            if given.possible[i]:
                names: tuple[Node, ...] = (("item makes", t, i), ("item begins", t, i))[: 1 if on else 2]
                more = float(given.surplus[t, i]) if k == most else 0.0
                options.append((min(k + 1, most), 1, more, names))
            for after, is_on, more, parts in options:
                cost = float(given.holding[t, first + after]) + more
                if np.isfinite(cost):
                    head = (i, t + 1, after, is_on)
                    arcs.append((node, head, cost, parts))
                    following.add(head)
        reached = following
    useful, alive = [], {head for _, head, _, _ in arcs if head[1] == periods}
    for arc in reversed(arcs):
        if arc[1] in alive:
            alive.add(arc[0])
            useful.append(arc)
    return useful[::-1]
