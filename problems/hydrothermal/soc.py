"""The second-order cone relaxation of alternating current, as linear rows and what is convex beside them.

Sets
    B       buses
    N       pairs (i, j) of buses that branches join, in the direction of the first of them
    E       branches

Parameters (per unit)
    y_e = g + j b           1 / (r + j x); g_from, b_from, g_to, b_to to ground; T = tr + j ti = tap exp(j shift)
    rate_e                  largest apparent power
    a_n, A_n                least and largest angle of i against j, of all branches of the pair
    gs_b, bs_b              shunts

Variables
    w_b     squared voltage v^2
    c_n, s_n    real and imaginary part of V_i conj(V_j);  l_n = (w_i + w_j) / 2 - c_n stands for c_n
    Q_b     reactive power of a bus's plants, Mvar

Power flows into a branch are linear in them; for a branch in the direction of its pair, times the base,

    p_from =  (g + g_from) / tap^2 w_i + (-g tr + b ti) / tap^2 c + (-b tr - g ti) / tap^2 s
    q_from = -(b + b_from) / tap^2 w_i + ( b tr + g ti) / tap^2 c + (-g tr + b ti) / tap^2 s
    p_to   =  (g + g_to) w_j + (-g tr - b ti) / tap^2 c + ( b tr - g ti) / tap^2 s
    q_to   = -(b + b_to) w_j + ( b tr - g ti) / tap^2 c + ( g tr + b ti) / tap^2 s

and the power balance of `stages` has them in place of its flows; a balance of reactive power stands beside it:

    power       sum_{g at b} p_g + sum_{r at b} rho_r q_r + sum_k u_bk - sum_{e at b} p_e - gs_b w_b = load_b
    reactive    Q_b - sum_{e at b} q_e + bs_b w_b = reactive load_b

Convex, and told by tangents (`Tangents`):

    cone        c^2 + s^2 <= w_i w_j, that is  ||(s, (w_i - w_j) / 2, c)|| <= (w_i + w_j) / 2
    rate        p_e^2 + q_e^2 <= rate_e^2    at both ends
    angle       tan(a_n) c <= s <= tan(A_n) c
    product     limits of c and s from those of voltages and angles; the two lifted nonlinear cuts of each pair

With c^2 + s^2 = w_i w_j and angles that add up to 0 around each cycle it would be alternating current itself, so it
allows all of that and more. Losses are proportional to l, which is small: with c in its place they would be differences
of numbers ten thousand times their size.

References
----------
R. A. Jabr (2006). Radial distribution load flow using conic programming. IEEE Transactions on Power Systems 21(3).
doi 10.1109/TPWRS.2006.879234
C. Coffrin, H. L. Hijazi, P. Van Hentenryck (2017). Strengthening the SDP relaxation of AC power flows with convex
envelopes, bound tightening, and valid inequalities. IEEE Transactions on Power Systems 32(5).
doi 10.1109/TPWRS.2016.2634586
C. Coffrin, R. Bent, K. Sundar, Y. Ng, M. Lubin (2018). PowerModels.jl: an open-source framework for exploring power
flow formulations. PSCC. doi 10.23919/PSCC.2018.8442948
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array, vstack

from orl.convex import NO_ROWS, Rows

from .instance import Network

HALF_TURN = np.pi / 2
COARSE = 0.02  # MVA that rows may be violated by while a policy is trained, and where it decides
FINE = 5e-5  # MVA, of what is executed


class Pairs(NamedTuple):
    """Pairs of buses that branches join.

    Parameters
    ----------
    first, second : int ndarray (N,)
        Buses.
    of_branch : int ndarray (E,)
    sign : ndarray (E,)
        1 where the branch has the direction of its pair, else -1.
    angle_min, angle_max : ndarray (N,)
        Of the first against the second, rad.
    admittance : ndarray (N,)
        The largest |y| of its branches, pu.
    """

    first: np.ndarray
    second: np.ndarray
    of_branch: np.ndarray
    sign: np.ndarray
    angle_min: np.ndarray
    angle_max: np.ndarray
    admittance: np.ndarray


def pairs_of(network: Network) -> Pairs:
    """Return the pairs of a network's buses."""
    grid = network.grid
    assert grid is not None
    known: dict[tuple[int, int], int] = {}
    of_branch, sign = np.zeros(len(network.branch_from), dtype=np.int64), np.ones(len(network.branch_from))
    for e, (source, target) in enumerate(zip(network.branch_from.tolist(), network.branch_to.tolist(), strict=True)):
        if (target, source) in known:
            of_branch[e], sign[e] = known[target, source], -1.0
        else:
            of_branch[e] = known.setdefault((source, target), len(known))
    low, high, most = np.full(len(known), -np.inf), np.full(len(known), np.inf), np.zeros(len(known))
    np.maximum.at(low, of_branch, np.where(sign > 0, grid.branch_angle_min, -grid.branch_angle_max))
    np.minimum.at(high, of_branch, np.where(sign > 0, grid.branch_angle_max, -grid.branch_angle_min))
    np.maximum.at(most, of_branch, 1 / np.hypot(grid.branch_r, grid.branch_x))
    ends = np.array(list(known), dtype=np.int64).reshape(-1, 2)
    return Pairs(ends[:, 0], ends[:, 1], of_branch, sign, low, high, most)


Told = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # rows with as many entries: lower (k,), columns and values (k, entries)


class Places(NamedTuple):
    """Where the variables of the relaxation stand in a stage of `width` columns: squares (B,), losses, crosses (N,)."""

    square: np.ndarray
    loss: np.ndarray
    cross: np.ndarray
    width: int


class Flows(NamedTuple):
    """Power into the branches at either end, MW and Mvar, as rows (E, width) over a stage's columns."""

    p_from: csr_array
    q_from: csr_array
    p_to: csr_array
    q_to: csr_array


def flows_of(network: Network, at: Places) -> Flows:
    """Return the flows of a network's branches; see the module."""
    grid, pairs = network.grid, pairs_of(network)
    assert grid is not None
    size = grid.branch_r**2 + grid.branch_x**2
    g, b, tap2 = grid.branch_r / size, -grid.branch_x / size, grid.branch_tap**2
    tr, ti = grid.branch_tap * np.cos(grid.branch_shift), grid.branch_tap * np.sin(grid.branch_shift)
    source, target, n = network.branch_from, network.branch_to, pairs.of_branch
    number = np.arange(len(source))

    def rows(bus: np.ndarray, of_square: np.ndarray, of_real: np.ndarray, of_imaginary: np.ndarray) -> csr_array:
        # c = (w_i + w_j) / 2 - l
        columns = (at.square[bus], at.square[source], at.square[target], at.loss[n], at.cross[n])
        values = (of_square, of_real / 2, of_real / 2, -of_real, pairs.sign * of_imaginary)
        made = coo_array(
            (grid.base_mva * np.concatenate(values), (np.tile(number, 5), np.concatenate(columns))),
            shape=(len(source), at.width),
        )
        return csr_array(made)

    return Flows(
        rows(source, (g + grid.branch_g_from) / tap2, (-g * tr + b * ti) / tap2, (-b * tr - g * ti) / tap2),
        rows(source, -(b + grid.branch_b_from) / tap2, (b * tr + g * ti) / tap2, (-g * tr + b * ti) / tap2),
        rows(target, g + grid.branch_g_to, (-g * tr - b * ti) / tap2, (b * tr - g * ti) / tap2),
        rows(target, -(b + grid.branch_b_to), (b * tr - g * ti) / tap2, (g * tr + b * ti) / tap2),
    )


class Limits(NamedTuple):
    """Of products of voltages, (N,) each: least and largest real part, least and largest imaginary part."""

    real_min: np.ndarray
    real_max: np.ndarray
    imaginary_min: np.ndarray
    imaginary_max: np.ndarray


def limits_of(network: Network) -> Limits:
    """Return what limits of voltages and angles leave of the products of pairs."""
    grid, pairs = network.grid, pairs_of(network)
    assert grid is not None
    low = grid.bus_v_min[pairs.first] * grid.bus_v_min[pairs.second]
    high = grid.bus_v_max[pairs.first] * grid.bus_v_max[pairs.second]
    is_wide = ~_is_narrow(pairs)
    # A sine or cosine is largest at an end of the angles, or at 0; a product with it where that of voltages is.
    ends = np.stack([pairs.angle_min, pairs.angle_max])
    cosines, sines = np.cos(ends), np.sin(ends)
    has_zero = (pairs.angle_min < 0) & (pairs.angle_max > 0)
    return Limits(
        np.where(is_wide, -high, low * cosines.min(axis=0)),
        np.where(is_wide | has_zero, high, high * cosines.max(axis=0)),
        np.where(is_wide, -high, np.where(sines[0] < 0, high, low) * sines[0]),
        np.where(is_wide, high, np.where(sines[1] > 0, high, low) * sines[1]),
    )


def _is_narrow(pairs: Pairs) -> np.ndarray:
    """Whether a pair's angles are less than a right angle, so that the real part is positive and tangents are known."""
    return (pairs.angle_min > -HALF_TURN) & (pairs.angle_max < HALF_TURN)


class Tangents:
    """Tell the rows of the relaxation that a decision violates, in MVA; see the module.

    Parameters
    ----------
    network : Network
    at : Places
    """

    def __init__(self, network: Network, at: Places):
        grid, pairs = network.grid, pairs_of(network)
        assert grid is not None
        # Of the columns of the relaxation alone, densely: small and asked after every solve.
        self._inner = np.concatenate([at.square, at.loss, at.cross])
        squares, count = len(at.square), len(pairs.first)
        self._first, self._second = pairs.first, pairs.second
        loss = squares + np.arange(count)
        self._of_cone = np.stack([loss, loss + count, pairs.first, pairs.second], axis=1)
        self._scale = 2 * grid.base_mva * pairs.admittance  # MVA of loss for a unit of l
        limits, self._lower = _linear_limits(network, at, self._scale)
        self._rate = np.tile(grid.base_mva * grid.branch_rate, 2)
        self._num_flows = 4 * len(network.branch_from)
        flows = flows_of(network, at)
        ordered = (flows.p_from, flows.p_to, flows.q_from, flows.q_to, limits)
        self._rows = vstack(ordered, format="csr")[:, self._inner].toarray()

    @property
    def data(self) -> Sequence[np.ndarray]:
        return self._inner, self._of_cone, self._scale, self._rows, self._rate, self._lower

    def __call__(self, columns: np.ndarray, tolerance: float) -> Rows:
        x = columns[self._inner]
        told = [*self._cones(x, tolerance), *self._planes(x, tolerance)]
        if not told:
            return NO_ROWS
        sizes = np.concatenate([np.full(len(lower), at.shape[1]) for lower, at, _ in told])
        return Rows(
            np.concatenate([lower for lower, _, _ in told]),
            np.concatenate([[0], np.cumsum(sizes)]),
            self._inner[np.concatenate([at.ravel() for _, at, _ in told])],
            np.concatenate([values.ravel() for _, _, values in told]),
        )

    def _cones(self, x: np.ndarray, tolerance: float) -> Iterator[Told]:
        """Tell tangents where l would have to be for the cone to hold: there they are highest."""
        squares, count = len(x) - 2 * len(self._first), len(self._first)
        loss, cross = x[squares : squares + count], x[squares + count :]
        first, second = x[self._first], x[self._second]
        mean, half = (first + second) / 2, (first - second) / 2
        inside = first * second - cross * cross
        # Where the cone does not hold whatever l is, the tangent in the point's direction.
        is_inside = (inside > 1e-2 * mean * mean) & (loss < mean)
        real = np.where(is_inside, np.sqrt(np.maximum(inside, 0.0)), mean - loss)
        size = np.sqrt(real * real + half * half + cross * cross)
        c, u, s = real / size, half / size, cross / size
        rest = np.where(c > 0, (u * u + s * s) / (1 + np.abs(c)), 1 - c)  # 1 - c, which is small
        height = self._scale * (c * loss - s * cross - u * half + rest * mean)
        bad = np.flatnonzero(height < -tolerance)
        if len(bad):
            c, u, s, rest, scale = (part[bad] for part in (c, u, s, rest, self._scale))
            values = scale[:, None] * np.stack([c, -s, (rest - u) / 2, (rest + u) / 2], axis=1)
            yield np.zeros(len(bad)), self._of_cone[bad], values

    def _planes(self, x: np.ndarray, tolerance: float) -> Iterator[Told]:
        """Tell tangents at flows that are too large, in their direction, and limits that are linear."""
        y = self._rows @ x
        p, q = y[: self._num_flows].reshape(2, -1)
        size = np.hypot(p, q)
        values = [np.zeros((0, len(x)))]
        bad = np.flatnonzero(size > self._rate + tolerance)
        for number in bad.tolist():
            share_p, share_q = p[number] / size[number], q[number] / size[number]
            row = share_p * self._rows[number] + share_q * self._rows[number + len(p)]
            values.append(-row[None])
        below = np.flatnonzero(y[self._num_flows :] < self._lower - tolerance)
        values.append(self._rows[self._num_flows + below])
        lower = np.concatenate([-self._rate[bad], self._lower[below]])
        for at_least, row in zip(lower, np.concatenate(values), strict=True):
            at = np.flatnonzero(row)
            yield np.array([at_least]), at[None], row[at][None]


def _linear_limits(network: Network, at: Places, scale: np.ndarray) -> tuple[csr_array, np.ndarray]:
    """Return the limits of angles and of real parts and the lifted nonlinear cuts, as rows and what they are at least.

    The other limits are bounds of columns.
    """
    grid, pairs, limits = network.grid, pairs_of(network), limits_of(network)
    assert grid is not None
    first, second, number = pairs.first, pairs.second, np.arange(len(pairs.first))
    low, high = ((v[first], v[second]) for v in (grid.bus_v_min, grid.bus_v_max))
    narrow = np.flatnonzero(_is_narrow(pairs))
    made: list[tuple[csr_array, np.ndarray]] = []

    def add(
        which: np.ndarray, real: object, imaginary: object, of_first: object, of_second: object, at_least: object
    ) -> None:
        n, ones = number[which], np.ones(len(which))
        real, imaginary, of_first, of_second, at_least = (
            np.broadcast_to(np.asarray(part, dtype=np.float64), ones.shape)
            for part in (real, imaginary, of_first, of_second, at_least)
        )
        values = np.concatenate([of_first + real / 2, of_second + real / 2, -real, imaginary])
        columns = np.concatenate([at.square[first[n]], at.square[second[n]], at.loss[n], at.cross[n]])
        rows = np.tile(np.arange(len(n)), 4)
        matrix = coo_array((np.tile(scale[n], 4) * values, (rows, columns)), shape=(len(n), at.width))
        made.append((csr_array(matrix), scale[n] * at_least))

    add(number, 1.0, 0.0, 0.0, 0.0, limits.real_min)
    add(number, -1.0, 0.0, 0.0, 0.0, -limits.real_max)
    add(narrow, -np.tan(pairs.angle_min[narrow]), 1.0, 0.0, 0.0, 0.0)
    add(narrow, np.tan(pairs.angle_max[narrow]), -1.0, 0.0, 0.0, 0.0)
    (low_i, low_j), (high_i, high_j) = ((i[narrow], j[narrow]) for i, j in (low, high))
    middle, half = ((pairs.angle_max + sign * pairs.angle_min)[narrow] / 2 for sign in (1, -1))
    sum_i, sum_j, cos = low_i + high_i, low_j + high_j, np.cos(half)
    turned = sum_i * sum_j * np.cos(middle), sum_i * sum_j * np.sin(middle)
    apart = cos * (low_i * low_j - high_i * high_j)
    add(narrow, *turned, -high_j * cos * sum_j, -high_i * cos * sum_i, high_i * high_j * apart)
    add(narrow, *turned, -low_j * cos * sum_j, -low_i * cos * sum_i, -low_i * low_j * apart)
    return vstack([rows for rows, _ in made], format="csr"), np.concatenate([least for _, least in made])
