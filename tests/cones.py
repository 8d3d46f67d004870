"""Cone programs by Clarabel, and one stage of a system in the second-order cone relaxation, written out on its own.

References
----------
P. J. Goulart, Y. Chen (2024). Clarabel: an interior-point solver for conic programs with quadratic objectives.
arXiv 2405.12762
"""

import clarabel
import numpy as np
from scipy.sparse import csc_matrix, csr_matrix, identity, vstack


def solve_cones(cost, lower, upper, matrix, row_lower, row_upper, cones):
    """Minimise cost' x over bounds, rows and cones, each (matrix, constant) with matrix x + constant in the cone.

    Returns
    -------
    value, x
    """
    one, rows = identity(len(cost), format="csr"), vstack([csr_matrix(matrix), identity(len(cost))], format="csr")
    low, high = np.concatenate([row_lower, lower]), np.concatenate([row_upper, upper])
    fixed, least, most = low == high, np.isfinite(low) & (low != high), np.isfinite(high) & (low != high)
    parts = [rows[fixed], -rows[least], rows[most], *(-csr_matrix(of) for of, _ in cones)]
    right = np.concatenate([low[fixed], -low[least], high[most], *(constant for _, constant in cones)])
    kinds = [clarabel.ZeroConeT(int(fixed.sum())), clarabel.NonnegativeConeT(int(least.sum() + most.sum()))]
    kinds += [clarabel.SecondOrderConeT(len(constant)) for _, constant in cones]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-9
    made = clarabel.DefaultSolver(csc_matrix(0 * one), cost, csc_matrix(vstack(parts)), right, kinds, settings).solve()
    assert str(made.status) in ("Solved", "AlmostSolved"), made.status
    return made.obj_val, np.array(made.x)


class Stage:
    """One stage of an instance as a cone program in w, Re and Im of V_i conj(V_j) for each branch, and flows.

    Parallel branches share a product.
    """

    def __init__(self, instance):
        self.instance = instance
        network, water, grid = instance.network, instance.reservoirs, instance.network.grid
        buses, branches = len(network.bus_names), len(network.branch_from)
        plants, thermal = len(water.names), len(network.gen_names)
        sizes = {
            **dict.fromkeys(("after", "turn", "spill"), plants),
            "power": thermal,
            "deficit": buses,
            "square": buses,
            "real": branches,
            "imaginary": branches,
            "reactive": thermal + plants,
            "flows": 4 * branches,
        }
        ends = np.cumsum([0, *sizes.values()])
        at = {key: np.arange(first, end) for key, first, end in zip(sizes, ends, ends[1:], strict=False)}
        self.at, self.width = at, int(ends[-1])
        base = grid.base_mva
        self.cost = np.zeros(self.width)
        self.cost[at["turn"]] = water.cost * water.mw_per_flow
        self.cost[at["spill"]], self.cost[at["power"]] = water.spill_cost, network.gen_cost
        self.cost[at["deficit"]] = network.deficit_cost[0]
        self.lower, self.upper = np.full(self.width, -np.inf), np.full(self.width, np.inf)
        for key, low, high in (
            ("after", water.min_hm3, water.max_hm3),
            ("turn", water.min_turn, water.max_turn),
            ("spill", 0, np.inf),
            ("power", network.gen_min_mw, network.gen_max_mw),
            ("deficit", 0, np.inf),
            ("square", grid.bus_v_min**2, grid.bus_v_max**2),
            ("reactive", np.concatenate([grid.gen_min_mvar, grid.hydro_min_mvar]) / base,
             np.concatenate([grid.gen_max_mvar, grid.hydro_max_mvar]) / base),
        ):  # fmt: skip
            self.lower[at[key]], self.upper[at[key]] = low, high
        self.rows, self.low, self.high, self.cones = [], [], [], []
        k = instance.hm3_per_flow
        for r in range(plants):
            row = {at["after"][r]: 1, at["turn"][r]: k, at["spill"][r]: 1}
            for up in range(plants):
                row[at["turn"][up]] = row.get(at["turn"][up], 0) - k * water.turn_into[up, r]
                row[at["spill"][up]] = row.get(at["spill"][up], 0) - float(water.spill_into[up, r])
            self._add(row, 0, 0)
        self._balances()
        for e in range(branches):
            self._branch(e)

    def solve(self, volume, arriving_hm3, worth=0.0):
        """Return value and solution of the stage, where a hm3 left is worth something."""
        cost = self.cost.copy()
        cost[self.at["after"]] -= worth
        matrix = np.zeros((len(self.rows), self.width))
        for number, row in enumerate(self.rows):
            for column, value in row.items():
                matrix[number, column] += value
        low, high = np.array(self.low, dtype=float), np.array(self.high, dtype=float)
        low[: len(volume)] = high[: len(volume)] = volume + arriving_hm3
        value, x = solve_cones(cost, self.lower, self.upper, matrix, low, high, self.cones)
        return value + self.instance.network.fixed_cost, x

    def _add(self, row, low, high):
        self.rows.append(row)
        self.low.append(low)
        self.high.append(high)

    def _balances(self):
        network, water, grid, at = self.instance.network, self.instance.reservoirs, self.instance.network.grid, self.at
        base, flows = grid.base_mva, at["flows"].reshape(4, -1)
        load, reactive = self.instance.load_mw(0) / base, grid.load_mvar[0] / base
        for bus in range(len(network.bus_names)):
            active, other = {at["deficit"][bus]: 1 / base, at["square"][bus]: -grid.bus_shunt_g[bus]}, {}
            other[at["square"][bus]] = grid.bus_shunt_b[bus]
            for g in np.flatnonzero(network.gen_bus == bus):
                active[at["power"][g]], other[at["reactive"][g]] = 1 / base, 1
            for r in np.flatnonzero(water.bus == bus):
                active[at["turn"][r]] = water.mw_per_flow[r] / base
                other[at["reactive"][len(network.gen_names) + r]] = 1
            for ends, p, q in ((network.branch_from, 0, 1), (network.branch_to, 2, 3)):
                for e in np.flatnonzero(ends == bus):
                    active[flows[p, e]], other[flows[q, e]] = -1, -1
            self._add(active, load[bus], load[bus])
            self._add(other, reactive[bus], reactive[bus])

    def _branch(self, e):
        network, grid, at = self.instance.network, self.instance.network.grid, self.at
        i, j = int(network.branch_from[e]), int(network.branch_to[e])
        w_i, w_j, c, s = at["square"][i], at["square"][j], at["real"][e], at["imaginary"][e]
        p_from, q_from, p_to, q_to = at["flows"].reshape(4, -1)[:, e]
        y = 1 / (grid.branch_r[e] + 1j * grid.branch_x[e])
        ratio = grid.branch_tap[e] * np.exp(1j * grid.branch_shift[e])
        own = np.conj(y + grid.branch_g_from[e] + 1j * grid.branch_b_from[e]) / abs(ratio) ** 2
        across, back = -np.conj(y) / ratio, -np.conj(y / ratio)
        self._add({w_i: own.real, c: across.real, s: -across.imag, p_from: -1}, 0, 0)
        self._add({w_i: own.imag, c: across.imag, s: across.real, q_from: -1}, 0, 0)
        own = np.conj(y + grid.branch_g_to[e] + 1j * grid.branch_b_to[e])
        self._add({w_j: own.real, c: back.real, s: back.imag, p_to: -1}, 0, 0)
        self._add({w_j: own.imag, c: back.imag, s: -back.real, q_to: -1}, 0, 0)
        for other in range(e):
            ends = int(network.branch_from[other]), int(network.branch_to[other])
            if ends in ((i, j), (j, i)):
                self._add({c: 1, at["real"][other]: -1}, 0, 0)
                self._add({s: 1, at["imaginary"][other]: -1 if ends == (i, j) else 1}, 0, 0)
        self._cone([{w_i: 0.5, w_j: 0.5}, {w_i: 0.5, w_j: -0.5}, {c: 1}, {s: 1}], [0, 0, 0, 0])
        if np.isfinite(grid.branch_rate[e]):
            for p, q in ((p_from, q_from), (p_to, q_to)):
                self._cone([{}, {p: 1}, {q: 1}], [grid.branch_rate[e], 0, 0])
        low, high = grid.branch_angle_min[e], grid.branch_angle_max[e]
        self._add({s: 1, c: -np.tan(low)}, 0, np.inf)
        self._add({s: 1, c: -np.tan(high)}, -np.inf, 0)
        (a, b), (big_a, big_b) = ((v[i], v[j]) for v in (grid.bus_v_min, grid.bus_v_max))
        cosines, sines = np.cos([low, high]), np.sin([low, high])
        self.lower[c] = a * b * cosines.min()
        self.upper[c] = big_a * big_b * (1 if low < 0 < high else cosines.max())
        self.lower[s] = (big_a * big_b if sines[0] < 0 else a * b) * sines[0]
        self.upper[s] = (big_a * big_b if sines[1] > 0 else a * b) * sines[1]
        phi, d = (low + high) / 2, (high - low) / 2
        sums = (a + big_a) * (b + big_b)
        for v_i, v_j, sign in ((big_a, big_b, 1), (a, b, -1)):
            row = {c: sums * np.cos(phi), s: sums * np.sin(phi), w_i: -v_j * np.cos(d) * (b + big_b),
                   w_j: -v_i * np.cos(d) * (a + big_a)}  # fmt: skip
            self._add(row, sign * v_i * v_j * np.cos(d) * (a * b - big_a * big_b), np.inf)

    def _cone(self, rows, constant):
        matrix = np.zeros((len(rows), self.width))
        for number, row in enumerate(rows):
            for column, value in row.items():
                matrix[number, column] = value
        self.cones.append((matrix, np.array(constant, dtype=float)))
