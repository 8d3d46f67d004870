"""The machines' part of the mixed-integer program: who makes what, and what it is set up for. See `exact`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .exact_tree import Tree
from .instance import LotSizing

Slot = tuple[int, int, int]  # scenario, period, machine


class Machines:
    """Variables x, v, and y or z of a program.

    Parameters
    ----------
    m : ConcreteModel
    instance : LotSizing
    tree : Tree
    has_flow : bool
        With z, a flow through what each machine is set up for, else with y, which needs set-ups that do not depend on
        what was made before.

    Attributes
    ----------
    slots : list of (scenario, period, machine)
        Everything that is to be decided; what has been booked before is not.
    costs : list of expressions
    """

    def __init__(self, m: Any, instance: LotSizing, tree: Tree, has_flow: bool):
        import pyomo.environ as pyo

        self.m, self.instance, self.tree, self.has_flow = m, instance, tree, has_flow
        self.keeps = instance.settings.idle == "keeps-setup"
        self.items = [np.flatnonzero(row).tolist() for row in instance.rates]
        num_booked = 0 if instance.state is None else len(instance.state.booked)
        machines = range(instance.num_machines)
        self.slots = [(k, t, a) for k, t in tree.decisions for a in machines if t > 0 or a >= num_booked]
        self._decided = set(self.slots)
        m.x = pyo.Var([(*slot, i) for slot in self.slots for i in self.items[slot[2]]], domain=pyo.Binary)
        m.v = pyo.Var([(*slot, c) for slot in self.slots if self.keeps for c in self._setups(slot)], bounds=(0, 1))
        m.one_choice = pyo.Constraint(self.slots, rule=self._one_choice)
        if has_flow:
            m.z = pyo.Var([at for slot in self.slots for at in self._changeovers(slot)], bounds=(0, 1))
            m.flow_in = pyo.Constraint(list(m.x), rule=self._flow_in)
            m.flow_out = pyo.Constraint([(*slot, c) for slot in self.slots for c in self._setups(slot)], rule=self._out)
        else:
            m.y = pyo.Var(list(m.x), bounds=(0, 1))
            m.sets_up = pyo.Constraint(
                list(m.x), rule=lambda _, *at: m.y[at] >= m.x[at] - self._before(at[:3], at[3] + 1)
            )
            m.is_made = pyo.Constraint(list(m.x), rule=lambda _, *at: m.y[at] <= m.x[at])
            m.is_new = pyo.Constraint(list(m.x), rule=lambda _, *at: m.y[at] <= 1 - self._before(at[:3], at[3] + 1))
            m.stays = pyo.Constraint(list(m.v), rule=lambda _, *at: m.v[at] <= self._before(at[:3], at[3]))
        self.costs = list(self._costs())

    def made(self, k: int, t: int, a: int, i: int) -> Any:
        """Return the units of item i that machine a adds to stock in period t; those booked before are in it."""
        if (k, t, a, i) not in self.m.x:
            return 0
        units = self.instance.output[a, :, i + 1]
        if self.has_flow:
            return sum(int(units[c]) * self.m.z[k, t, a, c, i] for c in self._setups((k, t, a)))
        loss = int(units[i + 1] - units[0])
        return int(units[i + 1]) * self.m.x[k, t, a, i] - loss * self.m.y[k, t, a, i]

    def makers(self, k: int, t: int, i: int) -> list[Any]:
        """Return x of the machines that may make item i in period t."""
        return [self.m.x[k, t, a, i] for a in range(self.instance.num_machines) if (k, t, a, i) in self.m.x]

    def start(self, slot: Slot, before: int, choice: int) -> Iterator[tuple[Any, float]]:
        """Yield what a choice means for the variables, the machine having been set up for `before`."""
        m = self.m
        for i in self.items[slot[2]]:
            yield m.x[(*slot, i)], float(choice == i + 1)
            if not self.has_flow:
                yield m.y[(*slot, i)], float(choice == i + 1 != before)
        if self.has_flow:
            yield from ((m.z[at], float(at[3] == before and at[4] == choice - 1)) for at in self._changeovers(slot))
        if self.keeps:
            yield from ((m.v[(*slot, c)], float(choice == 0 and before == c)) for c in self._setups(slot))

    # private

    def _setups(self, slot: tuple[int, ...]) -> list[int]:
        """Return what a machine may be set up for: choices."""
        k, _, a = slot
        return sorted({0, int(self.tree.setup[k, a]), *(i + 1 for i in self.items[a])})

    def _changeovers(self, slot: Slot) -> Iterator[tuple[int, ...]]:
        return ((*slot, c, i) for c in self._setups(slot) for i in self.items[slot[2]])

    def _busy(self, slot: tuple[int, ...]) -> Any:
        return sum(self.m.x[(*slot, i)] for i in self.items[slot[2]])

    def _after(self, slot: Slot, c: int) -> Any:
        """Return whether a machine is set up for choice c at the end of a period."""
        x = self.m.x[(*slot, c - 1)] if (*slot, c - 1) in self.m.x else 0  # noqa: SIM401 (no `get` there)
        if self.keeps:
            return x + self.m.v[(*slot, c)]
        return x if c > 0 else 1 - self._busy(slot)

    def _before(self, slot: tuple[int, ...], c: int) -> Any:
        """Return whether a machine is set up for choice c when a period begins."""
        k, t, a = slot
        last = (int(self.tree.decided[k, t - 1]), t - 1, a) if t > 0 else None
        if last is None or last not in self._decided:
            return int(self.tree.setup[k, a] == c)
        return self._after(last, c)

    def _one_choice(self, _: Any, *slot: int) -> Any:
        import pyomo.environ as pyo

        if self.keeps:
            return self._busy(slot) + sum(self.m.v[(*slot, c)] for c in self._setups(slot)) == 1
        return self._busy(slot) <= 1 if self.items[slot[2]] else pyo.Constraint.Skip

    def _flow_in(self, _: Any, k: int, t: int, a: int, i: int) -> Any:
        return self.m.x[k, t, a, i] == sum(self.m.z[k, t, a, c, i] for c in self._setups((k, t, a)))

    def _out(self, _: Any, k: int, t: int, a: int, c: int) -> Any:
        import pyomo.environ as pyo

        left = sum(self.m.z[k, t, a, c, i] for i in self.items[a])
        if self.keeps:
            return left + self.m.v[k, t, a, c] == self._before((k, t, a), c)
        return left <= self._before((k, t, a), c) if self.items[a] else pyo.Constraint.Skip

    def _costs(self) -> Iterator[Any]:
        m, cost = self.m, self.instance.changeover_cost
        weight = {node: self.tree.weight_decided(*node) for node in self.tree.decisions}
        if self.has_flow:
            for k, t, a, c, i in m.z:
                if paid := float(cost[a, c, i + 1] * weight[k, t][i]):
                    yield paid * m.z[k, t, a, c, i]
        else:
            for k, t, a, i in m.y:
                if paid := float(cost[a, 0, i + 1] * weight[k, t][i]):
                    yield paid * m.y[k, t, a, i]
