"""Capacitated lot sizing of one scenario as a mixed-integer linear program, in Pyomo.

Sets
    T, I    periods, items

Parameters
    d_ti        demand, net of the stock at the start
    C_t, p      capacity; cost of a unit of overtime, if there is any
    a_i, b_i    capacity that a unit, and a set-up, takes
    q_i, h_i    cost of a set-up; of a unit in stock at the end of a period
    M_ti        what a period can make at most
    L_i         the most stock

Variables
    y_ti        1 if item i is set up for; setups=relaxed: the share x_ti / M_ti
    o_t         overtime
    z_tui       share of the demand of period u >= t that is made in t        formulation=facility
    x_ti, s_ti  units made; in stock at the end                                formulation=plain, plain-ls

minimise  sum_ti q_i y_ti + sum_ti h_i s_ti + p sum_t o_t          (facility: h_i (u - t) d_ui z_tui in place of stock)

subject to

    capacity    sum_i (a_i x_ti + b_i y_ti) <= C_t + o_t,               x_ti = sum_u d_ui z_tui
    facility    sum_{t <= u} z_tui = 1,  z_tui <= y_ti                  where d_ui > 0
    plain       s_t-1,i + x_ti = d_ti + s_ti,  x_ti <= M_ti y_ti
    limit       s_ti <= L_i

Facility location describes the plans of an item without capacity exactly: its relaxation is as good as all (l, S)
inequalities, sum_{t in S} x_t + sum_{t <= l, not in S} d_t..l y_t >= d_1..l, which `plain-ls` adds as far as the
relaxation violates them, round by round.

References
----------
J. Krarup, O. Bilde (1977). Plant location, set covering and economic lot size: an O(mn)-algorithm for structured
problems. Numerische Methoden bei Optimierungsaufgaben 3. doi 10.1007/978-3-0348-5936-3_10
I. Barany, T. J. Van Roy, L. A. Wolsey (1984). Strong formulations for multi-item capacitated lot sizing. Management
Science 30(10). doi 10.1287/mnsc.30.10.1255
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from orl.errors import InputError, Stopped
from orl.problem import Model
from orl.scenario import Scenarios
from orl.windows import Groups

from .instance import SETUP, CapacitatedLotSizing, CapacitatedPlan
from .scenario import realise
from .wagner_whitin import net

if TYPE_CHECKING:
    import pyomo.environ as pyo

VIOLATED = 1e-6  # units, relative to the demand that an inequality covers
DUST = 1e-7  # share of a period's demand that counts as none


def build(
    instance: CapacitatedLotSizing,
    scenarios: Scenarios,
    upper_bound: float | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Model:
    """Return the model of one scenario, in the formulation that the settings name.

    Raises
    ------
    InputError
        If several scenarios are given.
    """
    if len(scenarios) > 1:
        raise InputError(f"{instance.name}: the model is of one scenario; there are {len(scenarios)}.")
    stop = should_stop or (lambda: False)
    wanted, held = net(instance, realise(instance, scenarios))
    made = _facility if instance.settings.formulation == "facility" else _plain
    m, production = made(instance, wanted, held)
    if instance.settings.formulation == "plain-ls":
        _tighten(m, instance, wanted, stop)
    if stop():
        raise Stopped

    def read(value: Callable[[Any], float]) -> CapacitatedPlan:
        found = np.array([[production(value, t, i) for i in range(instance.num_items)] for t in m.T])
        return CapacitatedPlan(_exact(found, wanted))

    def start(plan: CapacitatedPlan) -> Iterator[tuple[Any, float]]:
        if instance.settings.setups == "binary":
            for t, i in m.y:
                yield m.y[t, i], float(plan.production[t, i] > SETUP)

    return Model(m, read, start)


def windows(instance: CapacitatedLotSizing, program: pyo.ConcreteModel) -> Mapping[str, Groups]:
    """Return how set-ups belong together: by period, and by item; nothing where they are relaxed."""
    if instance.settings.setups == "relaxed":
        return {}
    return {
        "periods": Groups([[program.y[t, i] for i in program.I] for t in program.T], is_ordered=True),
        "items": Groups([[program.y[t, i] for t in program.T] for i in program.I]),
    }


def _exact(production: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return production that adds up to demand exactly: rounding of the solver, and lots of dust, are taken out.

    Going forward, what is short is added to the last lot; what is left over at the end is taken from it.
    """
    production = np.where(production > DUST * np.maximum(1.0, wanted.max(axis=0)), production, 0.0)
    for item in range(production.shape[1]):
        stock, last = 0.0, None
        for period in range(len(production)):
            if production[period, item] > 0:
                last = period
            stock += production[period, item] - wanted[period, item]
            if stock < 0:
                if last is None:
                    last = period
                production[last, item] -= stock
                stock = 0.0
        if last is not None:
            production[last, item] = max(0.0, production[last, item] - stock)
    return production


def _frame(instance: CapacitatedLotSizing) -> pyo.ConcreteModel:
    """Return the model with set-ups and overtime."""
    import pyomo.environ as pyo

    m = pyo.ConcreteModel(instance.name)
    m.T, m.I = range(instance.num_periods), range(instance.num_items)
    if instance.settings.setups == "binary":
        m.y = pyo.Var(m.T, m.I, domain=pyo.Binary)
    most = 0.0 if instance.settings.overtime == float("inf") else None
    m.o = pyo.Var(m.T, bounds=(0.0, most))
    return m


def _finish(m: pyo.ConcreteModel, instance: CapacitatedLotSizing, made: Any, holding: Any) -> None:
    """Add capacity and cost; `made` (t, i) is an expression of production."""
    import pyomo.environ as pyo

    def lots(t: int, i: int) -> Any:
        if instance.settings.setups == "binary":
            return m.y[t, i]
        return made(t, i) / float(instance.largest_lots[t, i])

    def capacity(m: pyo.ConcreteModel, t: int) -> Any:
        used = sum(
            float(instance.unit_times[i]) * made(t, i) + float(instance.setup_times[i]) * lots(t, i) for i in m.I
        )
        return used - m.o[t] <= float(instance.capacity[t])

    m.room = pyo.Constraint(m.T, rule=capacity)
    setups = sum(float(instance.setup_costs[i]) * lots(t, i) for t in m.T for i in m.I)
    price = instance.settings.overtime
    m.cost = pyo.Objective(expr=setups + holding + sum((price if price < float("inf") else 0.0) * m.o[t] for t in m.T))


def _facility(instance: CapacitatedLotSizing, wanted: np.ndarray, held: float) -> tuple[pyo.ConcreteModel, Any]:
    import pyomo.environ as pyo

    m = _frame(instance)
    asked = [(u, i) for u in m.T for i in m.I if wanted[u, i] > 0]
    m.z = pyo.Var([(t, u, i) for u, i in asked for t in range(u + 1)], bounds=(0.0, 1.0))
    m.met = pyo.Constraint(asked, rule=lambda m, u, i: sum(m.z[t, u, i] for t in range(u + 1)) == 1)
    if instance.settings.setups == "binary":
        m.setup = pyo.Constraint(list(m.z), rule=lambda m, t, u, i: m.z[t, u, i] <= m.y[t, i])
    later: dict[tuple[int, int], list[int]] = {}
    for t, u, i in m.z:
        later.setdefault((t, i), []).append(u)

    def made(t: int, i: int) -> Any:
        return sum(float(wanted[u, i]) * m.z[t, u, i] for u in later.get((t, i), ()))

    if np.isfinite(instance.settings.stock_limit):

        def limit(m: pyo.ConcreteModel, t: int, i: int) -> Any:
            stock = [float(wanted[u, i]) * m.z[k, u, i] for k, u, j in m.z if j == i and k <= t < u]
            return sum(stock) <= _room(instance, t, i, wanted) if stock else pyo.Constraint.Skip

        m.limit = pyo.Constraint(m.T, m.I, rule=limit)
    holding = sum(float(instance.holding_costs[i] * (u - t) * wanted[u, i]) * m.z[t, u, i] for t, u, i in m.z)
    _finish(m, instance, made, holding + held)

    def production(value: Callable[[Any], float], t: int, i: int) -> float:
        return float(sum(wanted[u, i] * value(m.z[t, u, i]) for u in later.get((t, i), ())))

    return m, production


def _plain(instance: CapacitatedLotSizing, wanted: np.ndarray, held: float) -> tuple[pyo.ConcreteModel, Any]:
    import pyomo.environ as pyo

    m = _frame(instance)
    m.x = pyo.Var(m.T, m.I, domain=pyo.NonNegativeReals)
    m.s = pyo.Var(m.T, m.I, bounds=lambda m, t, i: (0.0, _room(instance, t, i, wanted)))
    m.balance = pyo.Constraint(
        m.T, m.I,
        rule=lambda m, t, i: (m.s[t - 1, i] if t else 0) + m.x[t, i] == float(wanted[t, i]) + m.s[t, i],
    )  # fmt: skip
    left = wanted[::-1].cumsum(axis=0)[::-1]
    most = left if instance.settings.overtime < float("inf") else np.minimum(left, instance.largest_lots)
    if instance.settings.setups == "binary":
        m.setup = pyo.Constraint(m.T, m.I, rule=lambda m, t, i: m.x[t, i] <= float(most[t, i]) * m.y[t, i])
    holding = sum(float(instance.holding_costs[i]) * m.s[t, i] for t in m.T for i in m.I)
    _finish(m, instance, lambda t, i: m.x[t, i], holding + held)
    return m, lambda value, t, i: float(value(m.x[t, i]))


def _room(instance: CapacitatedLotSizing, t: int, i: int, wanted: np.ndarray) -> float | None:
    """Return how much the stock made here may be: what the stock at the start leaves of the limit; None: any."""
    if not np.isfinite(instance.settings.stock_limit):
        return None
    used = float(instance.initial_stock[i]) - float(wanted[: t + 1, i].sum())
    return float(instance.stock_limits[i]) - max(used, 0.0)


def _tighten(
    m: pyo.ConcreteModel, instance: CapacitatedLotSizing, wanted: np.ndarray, stop: Callable[[], bool]
) -> None:
    """Add the (l, S) inequalities that the relaxation violates, round by round."""
    import pyomo.environ as pyo

    from orl.exact import CompiledModel
    from orl.solver import Control

    if instance.settings.setups == "relaxed":
        return
    total = np.concatenate([np.zeros((1, instance.num_items)), wanted.cumsum(axis=0)])
    found: list[tuple[list[Any], np.ndarray, float]] = []  # variables, coefficients, at least

    def separate(value: Callable[[Any], float]) -> list[tuple[list[Any], np.ndarray, float]]:
        if stop():
            raise Stopped
        x, y = (np.array([[value(of[t, i]) for i in m.I] for t in m.T]) for of in (m.x, m.y))
        told = []
        for i in m.I:
            for last in m.T:
                covered = total[last + 1, i] - total[: last + 1, i]  # demand of t..last
                is_lot = x[: last + 1, i] <= covered * y[: last + 1, i]
                left = np.where(is_lot, x[: last + 1, i], covered * y[: last + 1, i]).sum()
                if covered[0] > 0 and left < covered[0] - VIOLATED * max(1.0, covered[0]):
                    variables = [m.x[t, i] if is_lot[t] else m.y[t, i] for t in range(last + 1)]
                    told.append((variables, np.where(is_lot, 1.0, covered), float(covered[0])))
        found.extend(told)
        return told

    relaxed = CompiledModel(m)
    relaxed.relax(relaxed.integers)
    relaxed.solve_convex(Control(), separate)
    m.ls = pyo.ConstraintList()
    for variables, coefficients, least in found:
        m.ls.add(sum(float(c) * v for c, v in zip(coefficients, variables, strict=True)) >= least)
