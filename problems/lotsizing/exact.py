"""Lot sizing as a mixed-integer linear program, in Pyomo: in hindsight of one scenario, or on the tree of several.

Sets
    N       nodes of the tree of scenarios: (k, t), scenario and period; one scenario: its periods. At `decided`
            choices are made, at `seen` stock is counted, see `exact_tree`; n- is the node before n
    A, I    machines, items; I_a what machine a can make; C_a what it can be set up for, 0 (nothing) among them

Parameters
    d_ni    demand
    g_ni    probability times discount times cost factor
    u_aci   units that machine a makes of item i in a period if set up for c before (the rate, less a loss if c != i)
    f_aci   cost of setting machine a, set up for c, up for item i
    h_i, p_i, L_i   holding cost, shortage cost, stock limit
    W_ni, R_ni      the most that can be discarded, that can be short

Variables
    x_nai   1 if machine a makes item i
    v_nac   1 if machine a is idle and stays set up for c; only with idle=keeps-setup
    y_nai   1 if machine a is set up for item i; or, where set-ups depend on what was made before,
    z_naci  1 if it is set up for i from c
    s_ni, r_ni      stock after demand, what is short: demand lost now, or the backlog
    w_ni    units discarded; b_ni 1 if some are
    e_ni    1 if something is short; only with cost noise, where losing demand that could be met may pay

With S_nac = x_nac + v_nac (idle=loses-setup: S_na0 = 1 - sum_i x_nai) for what machine a is set up for after n,
minimise

    sum_n sum_i g_ni (sum_a f_a.i y_nai  or  sum_ac f_aci z_naci)  +  sum_n sum_i g_ni (h_i s_ni + p_i r_ni)

subject to

    one choice      sum_i x_nai + sum_c v_nac = 1,  or  sum_i x_nai <= 1
    set-ups         x_nai - S_n-ai <= y_nai <= min(x_nai, 1 - S_n-ai),  v_nac <= S_n-ac
    or flow         x_nai = sum_c z_naci,  sum_i z_naci + v_nac = S_n-ac  (<= without v)
    balance         s_ni - r_ni = s_n-i (- r_n-i: backlog) + sum_a made_nai - d_ni - w_ni
    discard         w_ni <= W_ni b_ni,  s_ni >= L_i b_ni,  r_ni <= R_ni (1 - b_ni) (backlog)
    lost            r_ni <= d_ni e_ni,  s_ni <= L_i (1 - e_ni)
    room            s_n-i + sum_a made_nai <= L_i  if item i can be made           overflow=forbid
    one machine     sum_a x_nai <= 1                                               item_machines=one

where made_nai is rate x_nai - loss y_nai, or sum_c u_aci z_naci. What is lost, discarded or held follows from x alone:
without e, losing what could be met never pays, for a later loss costs no more; without b, throwing stock away would
save its holding.

Forms
    plain               y where it can be, else z
    flow                z everywhere: the hull of each machine's paths through its set-ups
    facility-location   plain, and production told apart by the period t' whose demand it meets (lost sales, one
                        scenario): q_tt'i <= d_t'i sum_a x_tai,  sum_t' q_tt'i <= sum_a made_tai,
                        sum_{t <= t'} q_tt'i = d_t'i - r_t'i, what is there at the start counting as made then
    network             of unmet=forbid and one scenario: flow, and a network of every item's plans, see `exact_network`

The relaxations of plain and flow have the same bound on instances of the literature's kind, and a weak one: a machine
set up for three tenths of every item, period after period, pays for no set-up. After 60 s plain leaves a gap of 71 to
92 %, flow a little more; the relaxation of facility-location is not solved in 240 s
(benchmarks/results/lotsizing_exact.md). So plain, the smallest, is the default,
except without shortage: there network, whose relaxation is far stronger (benchmarks/results/lotsizing_psp.md).

References
----------
L. A. Wolsey (1997). MIP modelling of changeovers in production planning and scheduling problems. European Journal of
Operational Research 99(1). doi 10.1016/S0377-2217(97)89646-4
J. Krarup, O. Bilde (1977). Plant location, set covering and economic lot size: an O(mn)-algorithm for structured
problems. Numerische Methoden bei Optimierungsaufgaben 3. doi 10.1007/978-3-0348-5936-3_10
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from orl.errors import InputError, Stopped
from orl.problem import Model
from orl.scenario import Scenarios
from orl.windows import Groups

from . import exact_network
from .exact_machines import Machines
from .exact_tree import Tree, tree_of
from .instance import LotPlan, LotSizing
from .units import can_count_units

Form = Literal["plain", "flow", "facility-location", "network"]


def build(
    instance: LotSizing,
    scenarios: Scenarios,
    upper_bound: float | None = None,
    should_stop: Callable[[], bool] | None = None,
    form: Form | None = None,
) -> Model:
    """Return the mixed-integer model of scenarios that are equally likely.

    Parameters
    ----------
    instance : LotSizing
        In motion or not.
    scenarios : Scenarios
        One: hindsight. Several: their tree; the model's solution is then a list of plans, one a scenario, that differ
        only in what could be told apart.
    upper_bound : number or None
        Not made use of.
    should_stop : callable () -> bool, or None
        Asked from time to time as the model is built.
    form : 'plain', 'flow', 'facility-location', 'network' or None
        None: network with unmet=forbid, one scenario and stock limits that cannot bind, else plain.

    Raises
    ------
    InputError
        If facility-location is asked for with backlog or of several scenarios, or network where it is not meant to be.
    """
    import pyomo.environ as pyo

    if form is None:
        is_network = instance.settings.unmet == "forbid" and len(scenarios) == 1
        form = "network" if is_network and can_count_units(instance, scenarios[0]) else "plain"
    if form == "network":
        if instance.settings.unmet != "forbid" or len(scenarios) > 1:
            raise InputError(f"{instance.name}: the network form is for unmet=forbid and one scenario.")
        return exact_network.build(instance, scenarios[0], should_stop)
    if form == "facility-location" and (instance.settings.unmet == "backlog" or len(scenarios) > 1):
        raise InputError(f"{instance.name}: the facility-location form is for lost sales and one scenario.")

    def check() -> None:
        if should_stop is not None and should_stop():
            raise Stopped

    tree = tree_of(instance, scenarios)
    m = pyo.ConcreteModel(instance.name)
    machines = Machines(m, instance, tree, has_flow=form == "flow" or instance.is_sequence_dependent)
    check()
    stock = _Stock(m, instance, tree, machines)
    check()
    if form == "facility-location":
        _add_facilities(m, instance, tree, stock)
    m.cost = pyo.Objective(expr=pyo.quicksum(machines.costs) + pyo.quicksum(stock.costs))
    periods, count = instance.periods_left, len(tree.setup)
    booked = [] if instance.state is None else instance.state.booked.tolist()

    def read(value: Callable[[Any], float]) -> Any:
        choices = np.zeros((count, periods, instance.num_machines), dtype=np.int64)
        choices[:, 0, : len(booked)] = booked
        for (k, t, a, i), x in m.x.items():
            if value(x) > 0.5:
                choices[tree.decided[:, t] == k, t, a] = i + 1
        plans = [LotPlan(table) for table in choices]
        return plans[0] if count == 1 else plans

    def start(solution: Any) -> Iterator[tuple[Any, float]]:
        for k, plan in enumerate([solution] if isinstance(solution, LotPlan) else solution):
            setup, level = tree.setup[k].copy(), tree.stock[k].copy()
            for t, row in enumerate(plan.choices.tolist()):
                for a, choice in enumerate(row):
                    if t == 0 and a < len(booked):
                        continue
                    if tree.decided[k, t] == k:
                        yield from machines.start((k, t, a), int(setup[a]), choice)
                    if choice > 0:
                        level[choice - 1] += instance.output[a, setup[a], choice]
                    if choice > 0 or not machines.keeps:
                        setup[a] = choice
                level -= tree.demand[k, t]
                if tree.seen[k, t] == k:
                    yield from stock.start(k, t, level)
                level = np.minimum(level, instance.stock_limits)
                if stock.is_lost:
                    level = np.maximum(level, 0)

    return Model(m, read, start)


def windows(instance: LotSizing, program: Any) -> Mapping[str, Groups]:
    """Return which choices belong together: those of a period, and those of an item."""
    periods: dict[int, list[Any]] = {}
    items: dict[int, list[Any]] = {}
    for at, x in program.x.items():
        periods.setdefault(at[0] if len(at) == 2 else at[1], []).append(x)
        items.setdefault(at[-1], []).append(x)
    by_time = [periods[t] for t in sorted(periods)]
    return {"periods": Groups(by_time, is_ordered=True), "items": Groups(list(items.values()))}


class _Stock:
    """The items' part of a program: variables s, r, w, b, e.

    Attributes
    ----------
    made : (k, t, i) -> expression
        Units added at a decision node.
    costs : list of expressions
    """

    def __init__(self, m: Any, instance: LotSizing, tree: Tree, machines: Machines):
        import pyomo.environ as pyo

        self.m, self.instance, self.tree, self.machines = m, instance, tree, machines
        settings, limit, demand = instance.settings, instance.stock_limits, tree.demand
        self.is_lost, self.forbids = settings.unmet != "backlog", settings.overflow == "forbid"
        may_be_short = settings.unmet != "forbid"
        items = range(instance.num_items)
        nodes = [(k, t, i) for k, t in tree.outcomes for i in items]
        decisions = [(k, t, i) for k, t in tree.decisions for i in items]
        self.made = {
            (k, t, i): sum(machines.made(k, t, a, i) for a in range(instance.num_machines)) for k, t, i in decisions
        }
        most, least = self._range()
        m.s = pyo.Var(nodes, bounds=lambda _, *at: (0, max(0, min(int(limit[at[2]]), int(most[at])))))
        most_short = demand * may_be_short if self.is_lost else np.maximum(-least, 0)
        m.r = pyo.Var(nodes, bounds=lambda _, *at: (0, int(most_short[at])))
        spare = {at: int(most[at] - limit[at[2]]) for at in nodes if most[at] > limit[at[2]]}
        m.w = pyo.Var(list(spare), bounds=lambda _, *at: (0, spare[at]))
        m.b = pyo.Var(list(spare), domain=pyo.Binary)
        m.e = pyo.Var(list(self._may_save(nodes)), domain=pyo.Binary)
        m.balance = pyo.Constraint(nodes, rule=self._balance)
        m.discards = pyo.Constraint(list(m.b), rule=lambda _, *at: m.w[at] <= spare[at] * m.b[at])
        m.is_full = pyo.Constraint(list(m.b), rule=lambda _, *at: m.s[at] >= int(limit[at[2]]) * m.b[at])
        if not self.is_lost:
            m.not_short = pyo.Constraint(list(m.b), rule=lambda _, *at: m.r[at] <= m.r[at].ub * (1 - m.b[at]))
        m.is_short = pyo.Constraint(list(m.e), rule=lambda _, *at: m.r[at] <= m.r[at].ub * m.e[at])
        m.is_empty = pyo.Constraint(list(m.e), rule=lambda _, *at: m.s[at] <= m.s[at].ub * (1 - m.e[at]))
        if self.forbids:
            m.room = pyo.Constraint(decisions, rule=self._room)
        if settings.item_machines == "one":
            m.one_machine = pyo.Constraint(decisions, rule=self._one_machine)
        self.costs = list(self._costs())

    def start(self, k: int, t: int, left: np.ndarray) -> Iterator[tuple[Any, float]]:
        """Yield what stock after demand, before losses and discards, means for the variables."""
        for i, units in enumerate(left.tolist()):
            at, limit = (k, t, i), int(self.instance.stock_limits[i])
            yield self.m.s[at], float(min(max(units, 0), limit))
            yield self.m.r[at], float(max(-units, 0))
            if at in self.m.w:
                yield self.m.w[at], float(max(units - limit, 0))
                yield self.m.b[at], float(units > limit)
            if at in self.m.e:
                yield self.m.e[at], float(units < 0)

    # private

    def _before(self, k: int, t: int, i: int) -> Any:
        """Return the stock of an item when period t begins; negative: backlog."""
        if t == 0:
            return int(self.tree.stock[k, i])
        at = int(self.tree.seen[k, t - 1]), t - 1, i
        return self.m.s[at] if self.is_lost else self.m.s[at] - self.m.r[at]

    def _range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the most and the least stock after demand, before losses and discards, each (k, t, i)."""
        one, tree = self.instance, self.tree
        best = one.output.max(axis=1)[:, 1:]
        made = best.max(axis=0) if one.settings.item_machines == "one" else best.sum(axis=0)
        most, least = np.zeros((2, *tree.demand.shape), dtype=np.int64)
        high, low = tree.stock.copy(), tree.stock.copy()
        for t in range(one.periods_left):
            raised = np.minimum(high + made, np.maximum(one.stock_limits, high)) if self.forbids else high + made
            most[:, t], least[:, t] = raised - tree.demand[:, t], low - tree.demand[:, t]
            high, low = np.minimum(most[:, t], one.stock_limits), np.minimum(least[:, t], one.stock_limits)
            if self.is_lost:
                high, low = np.maximum(high, 0), np.maximum(low, 0)
        return most, least

    def _may_save(self, nodes: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
        """Yield where losing demand that could be met might pay: where a unit lost later may cost more."""
        if self.instance.settings.unmet != "lost" or self.instance.settings.cost_noise == 0:
            return
        later = np.zeros(self.tree.weight.shape)
        later[:, :-1] = np.maximum.accumulate(self.tree.weight[:, :0:-1], axis=1)[:, ::-1]
        pays = (later > self.tree.weight) & (self.instance.shortage_costs > 0) & (self.tree.demand > 0)
        for k, t, i in nodes:
            if pays[self.tree.seen[:, t] == k, t, i].any():
                yield k, t, i

    def _balance(self, _: Any, k: int, t: int, i: int) -> Any:
        m = self.m
        made = self.made[int(self.tree.decided[k, t]), t, i]
        discarded = m.w[k, t, i] if (k, t, i) in m.w else 0  # noqa: SIM401 (no `get` there)
        return m.s[k, t, i] - m.r[k, t, i] == self._before(k, t, i) + made - int(self.tree.demand[k, t, i]) - discarded

    def _room(self, _: Any, k: int, t: int, i: int) -> Any:
        import pyomo.environ as pyo

        limit, makers = int(self.instance.stock_limits[i]), self.machines.makers(k, t, i)
        if not makers:
            return pyo.Constraint.Skip
        if t == 0 and self.tree.stock[k, i] > limit:  # of an instance in motion: what is there may stay
            return sum(makers) == 0
        return self._before(k, t, i) + self.made[k, t, i] <= limit

    def _one_machine(self, _: Any, k: int, t: int, i: int) -> Any:
        import pyomo.environ as pyo

        state, makers = self.instance.state, self.machines.makers(k, t, i)
        is_booked = t == 0 and state is not None and i + 1 in state.booked
        return sum(makers) <= (0 if is_booked else 1) if makers else pyo.Constraint.Skip

    def _costs(self) -> Iterator[Any]:
        weight = {node: self.tree.weight_seen(*node) for node in self.tree.outcomes}
        for prices, units in ((self.instance.holding_costs, self.m.s), (self.instance.shortage_costs, self.m.r)):
            for k, t, i in units:
                if paid := float(prices[i] * weight[k, t][i]):
                    yield paid * units[k, t, i]


def _add_facilities(m: Any, instance: LotSizing, tree: Tree, stock: _Stock) -> None:
    """Tell production apart by the period whose demand it meets; period -1 is the stock at the start."""
    import pyomo.environ as pyo

    periods, demand = range(instance.periods_left), tree.demand[0]
    items = range(instance.num_items)
    meets = [(t, u, i) for i in items for u in periods if demand[u, i] > 0 for t in range(-1, u + 1)]
    m.q = pyo.Var(meets, bounds=lambda _, t, u, i: (0, int(demand[u, i])))

    def linked(_: Any, t: int, u: int, i: int) -> Any:
        if t < 0:
            return pyo.Constraint.Skip
        return m.q[t, u, i] <= int(demand[u, i]) * sum(stock.machines.makers(0, t, i))

    def is_made(_: Any, t: int, i: int) -> Any:
        used = [m.q[t, u, i] for u in periods if (t, u, i) in m.q]
        made = int(tree.stock[0, i]) if t < 0 else stock.made[0, t, i]
        return sum(used) <= made if used else pyo.Constraint.Skip

    def is_met(_: Any, u: int, i: int) -> Any:
        if demand[u, i] == 0:
            return pyo.Constraint.Skip
        return sum(m.q[t, u, i] for t in range(-1, u + 1)) == int(demand[u, i]) - m.r[0, u, i]

    m.linked = pyo.Constraint(meets, rule=linked)
    m.used = pyo.Constraint([(t, i) for t in range(-1, len(periods)) for i in items], rule=is_made)
    m.met = pyo.Constraint([(u, i) for u in periods for i in items], rule=is_met)
