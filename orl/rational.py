"""A linear program in exact rational arithmetic, and the lower bound that dual values prove of it.

The program is read from the expressions of a Pyomo model, by a walk of its own: no number of it has gone through a
matrix writer or a solver, and every floating-point number stands for the fraction that it is. Of

    minimise  k + sum_j c_j x_j   subject to   L_i <= sum_j a_ij x_j <= U_i,   l_j <= x_j <= u_j

any numbers y_i, wherever they come from, prove by weak duality

    k + sum_i (y_i L_i if y_i > 0 else y_i U_i) + sum_j (d_j l_j if d_j > 0 else d_j u_j)

with the reduced costs d_j = c_j - sum_i y_i a_ij, to be a lower bound, also where some of the variables are to be
integer. So a bound needs no trust in the solver that found the y_i: good ones make a good bound, bad ones a bad one.
Where the side of a row that y_i asks for is infinite, y_i counts as 0. Where the side of a column that d_j asks for is
infinite, as it is where rounding has left a little of a d_j that should be 0, it is looked for among the bounds that
follow from the rows, one row at a time; if there is none, nothing is proven.

References
----------
A. Neumaier, O. Shcherbina (2004). Safe bounds in linear and mixed-integer linear programming. Mathematical Programming
99. doi 10.1007/s10107-003-0433-3
W. Cook, T. Koch, D. E. Steffy, K. Wolter (2013). A hybrid branch-and-bound approach for exact rational mixed-integer
programming. Mathematical Programming Computation 5. doi 10.1007/s12532-013-0055-6
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from numbers import Integral
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from orl.errors import InputError

if TYPE_CHECKING:
    import pyomo.environ as pyo

DIGITS = 9  # of every number that the digest looks at: what another machine rounds differently is the same program


@dataclass(slots=True)
class Column:
    """A variable; a bound that is None is infinite."""

    name: str
    lower: Fraction | None
    upper: Fraction | None
    is_integer: bool
    cost: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Row:
    """A constraint: lower <= sum of coefficient times column <= upper."""

    name: str
    lower: Fraction | None
    upper: Fraction | None
    terms: Mapping[int, Fraction]


class Proof(NamedTuple):
    """What dual values prove.

    Parameters
    ----------
    bound : Fraction or None
        None: nothing, for want of a bound on the columns of `missing`.
    missing : name -> Fraction
        Columns with a reduced cost that asks for a bound which they do not have.
    implied : int
        Of how many columns a bound was used that follows from the rows.
    gradient : column -> Fraction
        Of the columns that were held: what a unit of each adds to the bound.
    """

    bound: Fraction | None
    missing: Mapping[str, Fraction] = MappingProxyType({})
    implied: int = 0
    gradient: Mapping[int, Fraction] = MappingProxyType({})


@dataclass(frozen=True)
class RationalProgram:
    """A linear or mixed-integer program to minimise, in fractions.

    Parameters
    ----------
    columns : tuple of Column
    rows : tuple of Row
    constant : Fraction
        Of the objective.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var([0, 1], bounds=(0, 9))
    >>> m.c = pyo.Constraint(expr=2 * m.x[0] + 3 * m.x[1] >= 7)
    >>> m.cost = pyo.Objective(expr=m.x[0] + 2 * m.x[1])
    >>> program = read_program(m)
    >>> program.prove({"c": 0.5}).bound, program.prove({"c": 1.0}).bound
    (Fraction(7, 2), Fraction(-11, 1))
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    constant: Fraction

    @property
    def num_nonzeros(self) -> int:
        return sum(len(row.terms) for row in self.rows)

    @property
    def has_integers(self) -> bool:
        return any(column.is_integer for column in self.columns)

    @property
    def digest(self) -> str:
        """SHA-256 of names and numbers, whatever the order of rows and columns."""
        lines = [
            "|".join((column.name, *map(_text, (column.lower, column.upper, column.cost)), str(column.is_integer)))
            for column in self.columns
        ]
        for row in self.rows:
            terms = sorted(f"{self.columns[j].name}:{_text(a)}" for j, a in row.terms.items())
            lines.append("|".join((row.name, _text(row.lower), _text(row.upper), *terms)))
        return hashlib.sha256("\n".join([_text(self.constant), *sorted(lines)]).encode()).hexdigest()

    def prove(self, duals: Mapping[str, float | Fraction], held: Collection[int] = ()) -> Proof:
        """Return the bound that dual values of the rows prove; a row that is not named has 0.

        Parameters
        ----------
        duals : name -> number
        held : collection of int
            Columns that others decide: the bound is what is left where they are 0, and its gradient in them holds
            wherever they are within their limits.

        Raises
        ------
        InputError
            If there is no row of some name.
        """
        unknown = duals.keys() - {row.name for row in self.rows}
        if unknown:
            raise InputError(f"the program has no row {min(unknown)!r}.")
        known = ((row, _fraction(duals[row.name])) for row in self.rows if row.name in duals)
        weighted = [(row, y, row.lower if y > 0 else row.upper) for row, y in known if y]
        weighted = [(row, y, side) for row, y, side in weighted if side is not None]
        reduced = self.reduced_costs([(row, y) for row, y, _ in weighted])
        bound = self.constant + _dot([(y, side) for _, y, side in weighted if side is not None])
        sides = [column.lower if d > 0 else column.upper for column, d in zip(self.columns, reduced, strict=True)]
        gradient = {j: reduced[j] for j in held}
        reduced = [Fraction(0) if j in gradient else d for j, d in enumerate(reduced)]
        lacking = [j for j, d in enumerate(reduced) if d and sides[j] is None]
        if lacking:
            lower, upper = implied_bounds(self, lacking)
            for j in lacking:
                sides[j] = lower[j] if reduced[j] > 0 else upper[j]
        missing = {self.columns[j].name: reduced[j] for j in lacking if sides[j] is None}
        if missing:
            return Proof(None, missing)
        bound += _dot([(d, side) for d, side in zip(reduced, sides, strict=True) if d and side is not None])
        return Proof(bound, implied=len(lacking), gradient=gradient)

    def round_up(self, bound: Fraction) -> Fraction:
        """Return the least value that a solution can have from `bound` on: whole multiples of something, if all costs
        are of integer variables.

        >>> x = Column("x", Fraction(0), None, True, Fraction(3, 2))
        >>> RationalProgram((x,), (), Fraction(1)).round_up(Fraction(3))
        Fraction(4, 1)
        """
        paid = [column for column in self.columns if column.cost]
        if not paid or not all(column.is_integer for column in paid):
            return bound
        step = reduce(_gcd, (column.cost for column in paid))
        return self.constant + math.ceil((bound - self.constant) / step) * step

    def reduced_costs(self, weighted: list[tuple[Row, Fraction]]) -> list[Fraction]:
        """Return d_j = c_j - sum_i y_i a_ij of all columns, summed as integers over one denominator."""
        costs = [column.cost for column in self.columns]
        below = math.lcm(
            *{cost.denominator for cost in costs}, *{a.denominator for row, _ in weighted for a in row.terms.values()}
        )
        dual_below = math.lcm(*{y.denominator for _, y in weighted})
        total = [_over(cost, below) * dual_below for cost in costs]
        for row, y in weighted:
            factor = _over(y, dual_below)
            for j, a in row.terms.items():
                total[j] -= factor * _over(a, below)
        return [Fraction(number, below * dual_below) if number else Fraction(0) for number in total]


def implied_bounds(
    program: RationalProgram, wanted: Iterable[int]
) -> tuple[list[Fraction | None], list[Fraction | None]]:
    """Return lower and upper bounds of all columns: their own, and where they have none what follows from a row.

    What follows from bounds that follow is found, too, but none is made tighter. Those that are found are rounded
    outwards to floating-point numbers, so that they do not grow longer from row to row.

    Parameters
    ----------
    wanted : iterable of int
        Columns whose bounds are looked for, and with them those that share rows with them and lack a bound.
    """
    lower, upper = [column.lower for column in program.columns], [column.upper for column in program.columns]
    rows_of: dict[int, list[Row]] = {}
    for row in program.rows:
        for j in row.terms:
            if lower[j] is None or upper[j] is None:
                rows_of.setdefault(j, []).append(row)
    rows, open_columns, seen = dict[str, Row](), list(wanted), set[int]()
    while open_columns:
        j = open_columns.pop()
        if j not in seen and j in rows_of:
            seen.add(j)
            rows.update((row.name, row) for row in rows_of[j])
            open_columns += [other for row in rows_of[j] for other in row.terms]
    is_new = True
    while is_new:
        is_new = False
        for row in rows.values():
            for side, sign in ((row.upper, 1), (row.lower, -1)):  # as sum of (sign a_ij) x_j <= sign side
                if side is not None:
                    is_new |= _tell(row, sign * side, sign, lower, upper)
    return lower, upper


def _tell(row: Row, most: Fraction, sign: int, lower: list[Fraction | None], upper: list[Fraction | None]) -> bool:
    """Fill in the bounds that lack and that sum_j (sign a_ij) x_j <= most tells; return whether there were any."""
    least, infinite, wanted = Fraction(0), list[int](), list[int]()  # the least that the finite part of the sum can be
    for j, a in row.terms.items():
        low, high = (lower[j], upper[j]) if sign * a > 0 else (upper[j], lower[j])
        if high is None:
            wanted.append(j)
        if low is None:
            infinite.append(j)
            if len(infinite) > 1:
                return False
        else:
            least += sign * a * low
    told = [j for j in wanted if not infinite or infinite == [j]]
    for j in told:
        a = sign * row.terms[j]
        low = lower[j] if a > 0 else upper[j]
        limit = (most - least + (0 if low is None else a * low)) / a
        if a > 0:
            upper[j] = _outwards(limit, math.inf)
        else:
            lower[j] = _outwards(limit, -math.inf)
    return bool(told)


# From Pyomo ---------------------------------------------------------------------------------------------------------


def read_program(model: pyo.ConcreteModel) -> RationalProgram:
    """Return a linear or mixed-integer Pyomo model in fractions.

    Raises
    ------
    ValueError
        If an expression is not linear, two rows have one name, or the objective is not one to minimise.
    """
    import pyomo.environ as pyo

    places: dict[int, int] = {}  # column of a variable's id
    columns: list[Column] = []

    def terms_of(expression: Any) -> tuple[dict[int, Fraction], Fraction]:
        """Return coefficients by column, and the constant."""
        terms, constant = dict[int, Fraction](), Fraction(0)
        for factor, variable in _linear(expression):
            if variable is None:
                constant += factor
                continue
            j = places.get(id(variable))
            if j is None:
                j = places[id(variable)] = len(columns)
                lower, upper = map(_limit, variable.bounds)
                columns.append(Column(variable.name, lower, upper, not variable.is_continuous()))
            terms[j] = terms[j] + factor if j in terms else factor
        return terms, constant

    rows = []
    for constraint in model.component_data_objects(pyo.Constraint, active=True):
        terms, constant = terms_of(constraint.body)
        lower, upper = _limit(pyo.value(constraint.lower)), _limit(pyo.value(constraint.upper))
        lower, upper = (None if side is None else side - constant for side in (lower, upper))
        rows.append(Row(constraint.name, lower, upper, {j: a for j, a in terms.items() if a}))
    if len({row.name for row in rows}) < len(rows):
        raise ValueError(f"{model.name}: two constraints have one name.")
    objectives = list(model.component_data_objects(pyo.Objective, active=True))
    if len(objectives) != 1 or objectives[0].sense != pyo.minimize:
        raise ValueError(f"{model.name}: expected one objective, to minimise.")
    costs, constant = terms_of(objectives[0].expr)
    for j, cost in costs.items():
        columns[j].cost = cost
    return RationalProgram(tuple(columns), tuple(rows), constant)


def _linear(expression: Any) -> Iterator[tuple[Fraction, Any]]:
    """Yield factors and variables of a linear expression; a constant has the variable None."""
    from pyomo.core.expr import numeric_expr as node
    from pyomo.core.expr.numvalue import is_fixed, native_numeric_types, value

    def times(factor: Fraction, number: Any) -> Fraction:
        return _fraction(number) if factor == 1 else factor * _fraction(number)

    stack = [(Fraction(1), expression)]
    while stack:
        factor, part = stack.pop()
        if part.__class__ in native_numeric_types or not part.is_potentially_variable():
            yield times(factor, value(part)), None
        elif part.is_variable_type():
            yield (times(factor, value(part)), None) if part.fixed else (factor, part)
        elif part.is_named_expression_type():
            stack.append((factor, part.expr))
        elif isinstance(part, node.SumExpression):
            stack += [(factor, one) for one in part.args]
        elif isinstance(part, node.NegationExpression):
            stack.append((-factor, part.args[0]))
        elif isinstance(part, node.ProductExpression) and any(map(is_fixed, part.args)):
            constant, rest = part.args if is_fixed(part.args[0]) else reversed(part.args)
            stack.append((times(factor, value(constant)), rest))
        elif isinstance(part, node.DivisionExpression) and is_fixed(part.args[1]):
            stack.append((factor / _fraction(value(part.args[1])), part.args[0]))
        elif is_fixed(part):  # whatever it is made of
            yield times(factor, value(part)), None
        else:
            raise ValueError(f"expected a linear expression, got {str(part)[:80]}.")


# Fractions ----------------------------------------------------------------------------------------------------------


def floor(x: Fraction) -> float:
    """Return the greatest floating-point number that is not above x.

    >>> floor(Fraction(1, 3)) <= Fraction(1, 3) < math.nextafter(floor(Fraction(1, 3)), 1)
    True
    """
    try:
        near = float(x)
    except OverflowError:
        return math.nextafter(math.inf, 0) if x > 0 else -math.inf
    return near if near <= x else math.nextafter(near, -math.inf)


def _outwards(x: Fraction, towards: float) -> Fraction:
    try:
        near = float(x)
        return Fraction(near if near == x else math.nextafter(near, towards))
    except OverflowError:  # of float, or of the fraction of an infinity
        return x


def _fraction(x: Any) -> Fraction:
    """Return the fraction that a number is; numpy's integers are none of Python's."""
    if x.__class__ is float or isinstance(x, Fraction):
        return Fraction(x)
    return Fraction(int(x) if isinstance(x, Integral) else float(x))


def _limit(x: Any) -> Fraction | None:
    return None if x is None or math.isinf(x) else _fraction(x)


def _text(x: Fraction | None) -> str:
    return "none" if x is None else f"{float(x):.{DIGITS}g}"


def _over(x: Fraction, denominator: int) -> int:
    """Return the numerator of x over a multiple of its denominator."""
    return x.numerator * (denominator // x.denominator)


def _dot(pairs: list[tuple[Fraction, Fraction]]) -> Fraction:
    """Return the sum of products, over one denominator."""
    left, right = (math.lcm(*{pair[k].denominator for pair in pairs}) for k in (0, 1))
    return Fraction(sum(_over(a, left) * _over(b, right) for a, b in pairs), left * right)


def _gcd(a: Fraction, b: Fraction) -> Fraction:
    """Return the greatest number of which both are whole multiples."""
    below = math.lcm(a.denominator, b.denominator)
    return Fraction(math.gcd(_over(a, below), _over(b, below)), below)
