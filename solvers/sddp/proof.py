"""The bound of cuts proven again in fractions, from the last stage to the first.

At every state at which training has made a cut, the programs of the children are solved with the cuts proven
so far. Their dual values, whatever they are, make by weak duality a function of the state that comes in,

    sum_i y_i side_i + sum_j d_j side_j + sum_k d_k state_k        j: columns, k: those that hold the state,

which no cost of the child falls below, for all states within the limits of what the stages before let out; see
`orl.rational`. Its mean over noises and children is a proven cut. It is rounded to floating-point numbers, downwards
within those limits where there are any, so that numbers do not grow longer from stage to stage. What is proven is of
the stages' data as they stand, probabilities included, and of `least_cost`, which is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from orl.errors import InputError, Stopped
from orl.rational import Column, RationalProgram, Row, floor
from orl.stages import Edge, Stage, StageGraph

from .node import Node
from .risk import Expectation
from .train import Sddp

Side = Fraction | None  # None: infinite


@dataclass(frozen=True, eq=False)
class Affine:
    """constant + gradient . state."""

    constant: Fraction
    gradient: list[Fraction]

    def at(self, state: Sequence[float]) -> Fraction:
        return self.constant + sum((g * Fraction(x) for g, x in zip(self.gradient, state, strict=True)), Fraction(0))


Box = list[tuple[Side, Side]]  # lowest and highest of each entry of the state


def check_provable(sddp: Sddp) -> None:
    """Refuse what `prove_bound` would.

    Raises
    ------
    InputError
        If the graph has no end, a stage is no linear program, or the future's worth is not its mean.
    """
    if sddp.graph.is_cyclic:
        raise InputError("cuts are proven from the end of a graph; this one has none. Set prove=false.")
    if any(stage.separate is not None for stage in sddp.graph.stages):
        raise InputError("cuts are proven of linear stages; these are convex. Set prove=false.")
    if not isinstance(sddp.risk, Expectation):
        raise InputError("cuts are proven of the expected cost; set risk=expectation or prove=false.")


def prove_bound(sddp: Sddp, should_stop: Callable[[], bool] = lambda: False) -> Fraction:
    """Return a lower bound on the expected cost of every policy, from cuts proven at the states of those of training.

    It may be higher than the bound of training, whose cuts were made with less known of the future.

    Raises
    ------
    InputError
        See `check_provable`.
    Stopped
        If `should_stop` says so, or if nothing is proven in the first stage.

    Examples
    --------
    >>> import orl
    >>> from orl.registry import find_problem
    >>> instance = orl.load("hydrothermal/case3", settings={"stages": 2})
    >>> sddp = Sddp(find_problem("hydrothermal").stages(instance).graph)
    >>> rng = np.random.default_rng(0)
    >>> costs = [sddp.iterate(rng) for _ in range(10)]
    >>> bool(abs(sddp.bound() - float(prove_bound(sddp))) < 1e-6)
    True
    """
    check_provable(sddp)
    graph = sddp.graph
    boxes = _boxes(graph)
    proven: dict[int, ProvenNode] = {}
    for number in _from_the_end(graph):
        children, stage = graph.children[number], graph.stages[number]
        made = ProvenNode(stage, graph, bool(children), boxes[number])
        pools = sddp.nodes[number].pools if children else ()
        states = np.unique(np.concatenate([pool.states for pool in pools]), axis=0) if pools else ()
        out = _limits(stage, stage.outgoing)
        for state in states:
            if should_stop():
                raise Stopped("there was no time to prove all cuts.")
            future = _mean(proven, children, state)
            if future is not None:
                made.add(_rounded(future, out))
        proven[number] = made
    start = _mean(proven, graph.root, graph.initial)
    if start is None:
        raise Stopped("nothing is proven: in the first stage, reduced costs ask for limits that columns lack.")
    return start.at(graph.initial.tolist())


class ProvenNode:
    """A stage and its proven cuts, in floating point to be solved, and in fractions."""

    def __init__(self, stage: Stage, graph: StageGraph, has_future: bool, box: Box):
        self.stage = stage
        self._node = Node(stage, [graph.discount] if has_future else [], graph.least_cost)
        limits = _limits(stage, np.arange(len(stage.cost)))
        costs = [Fraction(c) for c in stage.cost.tolist()]
        for k, j in enumerate(stage.incoming.tolist()):
            limits[j] = box[k]
        if has_future:
            limits.append((Fraction(graph.least_cost), None))
            costs.append(Fraction(graph.discount))
        self._columns = tuple(
            Column(str(j), low, high, False, cost)
            for j, ((low, high), cost) in enumerate(zip(limits, costs, strict=True))
        )
        self._lower, self._upper = ([_side(x) for x in limit.tolist()] for limit in (stage.row_lower, stage.row_upper))
        matrix = stage.matrix.tocsr()
        self._terms: list[dict[int, Fraction]] = []
        for first, end in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
            places, numbers = matrix.indices[first:end].tolist(), matrix.data[first:end].tolist()
            self._terms.append({j: Fraction(a) for j, a in zip(places, numbers, strict=True) if a})
        self._cuts: list[Row] = []
        self._noise_rows = stage.noise_rows.tolist()

    def add(self, cut: Affine) -> None:
        """Add a proven cut on the future."""
        self._node.add_cut(0, np.array([float(g) for g in cut.gradient]), float(cut.constant), None)
        terms = {len(self._columns) - 1: Fraction(1)}
        terms |= {j: -Fraction(g) for j, g in zip(self.stage.outgoing.tolist(), cut.gradient, strict=True) if g}
        self._cuts.append(Row(f"cut {len(self._cuts)}", cut.constant, None, terms))

    def visits(self, state: np.ndarray) -> Iterator[Affine | None]:
        """Yield for each noise what is proven of the stage's cost and its future's, at a state and then for all."""
        for number, visit in enumerate(self._node.draws(state)):
            yield self._proven(number, [Fraction(y) for y in visit.row_duals.tolist()])

    def _proven(self, number: int, duals: list[Fraction]) -> Affine | None:
        rows = (*self._rows(number), *self._cuts)
        named = {row.name: y for row, y in zip(rows, self._shared(duals), strict=True) if y}
        incoming = self.stage.incoming.tolist()
        proof = RationalProgram(self._columns, rows, Fraction(0)).prove(named, held=incoming)
        return None if proof.bound is None else Affine(proof.bound, [proof.gradient[j] for j in incoming])

    def _shared(self, duals: list[Fraction]) -> list[Fraction]:
        """Return dual values in which those of the cuts are together no more than what the future weighs.

        It has no upper limit, so by what rounding has left above that weight they would prove nothing.
        """
        first = len(self._terms)
        total = sum((y for y in duals[first:] if y > 0), Fraction(0))
        if not self._cuts or total <= self._columns[-1].cost:
            return duals
        return [*duals[:first], *(max(y, Fraction(0)) * self._columns[-1].cost / total for y in duals[first:])]

    def _rows(self, number: int) -> list[Row]:
        """Return the stage's rows, raised by a noise, of which what depends on the state is brought to the left."""
        lower, upper, terms = list(self._lower), list(self._upper), list(self._terms)
        for place, (row, by) in enumerate(zip(self._noise_rows, self.stage.noises[number].tolist(), strict=True)):
            lower[row], upper[row] = (
                None if side is None else side + Fraction(by) for side in (lower[row], upper[row])
            )
            if self.stage.noise_slopes is not None:
                told, slopes = dict(terms[row]), self.stage.noise_slopes[number, place].tolist()
                for j, slope in zip(self.stage.incoming.tolist(), slopes, strict=True):
                    told[j] = told.get(j, Fraction(0)) - Fraction(slope)
                terms[row] = {j: a for j, a in told.items() if a}
        return [Row(str(i), *of_row) for i, of_row in enumerate(zip(lower, upper, terms, strict=True))]


def _mean(proven: dict[int, ProvenNode], edges: Sequence[Edge], state: np.ndarray) -> Affine | None:
    """Return the mean over edges and noises of what is proven at a state; None if one of them has nothing."""
    constant, gradient = Fraction(0), [Fraction(0)] * len(state)
    for edge in edges:
        made = proven[edge.node]
        for probability, one in zip(made.stage.probabilities.tolist(), made.visits(state), strict=True):
            if one is None:
                return None
            weight = Fraction(edge.probability) * Fraction(probability)
            constant += weight * one.constant
            gradient = [g + weight * d for g, d in zip(gradient, one.gradient, strict=True)]
    return Affine(constant, gradient)


def _rounded(cut: Affine, box: Box) -> Affine:
    """Return a cut in floating-point numbers that is nowhere within the limits of the state above this one.

    An entry whose limit is infinite keeps its slope as it is.
    """
    gradient, constant = [], cut.constant
    for exact, (low, high) in zip(cut.gradient, box, strict=True):
        rest = exact - Fraction(float(exact))
        side = low if rest > 0 else high
        gradient.append(exact if side is None else exact - rest)
        constant += 0 if side is None else rest * side
    return Affine(Fraction(floor(constant)), gradient)


def _boxes(graph: StageGraph) -> list[Box]:
    """Return the limits of the states that come in at each node: what stages before let out, and the beginning."""
    seen: list[list[Box]] = [[] for _ in graph.stages]
    for edge in graph.root:
        seen[edge.node].append([(Fraction(x), Fraction(x)) for x in graph.initial.tolist()])
    for stage, edges in zip(graph.stages, graph.children, strict=True):
        for edge in edges:
            seen[edge.node].append(_limits(stage, stage.outgoing))
    return [[_hull(each) for each in zip(*boxes, strict=True)] for boxes in seen]


def _hull(each: Sequence[tuple[Side, Side]]) -> tuple[Side, Side]:
    lows, highs = [low for low, _ in each if low is not None], [high for _, high in each if high is not None]
    return min(lows) if len(lows) == len(each) else None, max(highs) if len(highs) == len(each) else None


def _from_the_end(graph: StageGraph) -> list[int]:
    """Return the nodes that can be reached, each after its children."""
    order, seen = list[int](), set[int]()
    open_nodes = [(edge.node, False) for edge in graph.root]
    while open_nodes:
        node, is_done = open_nodes.pop()
        if is_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            open_nodes += [(node, True), *((edge.node, False) for edge in graph.children[node])]
    return order


def _limits(stage: Stage, columns: np.ndarray) -> Box:
    return [(_side(stage.lower[j]), _side(stage.upper[j])) for j in columns.tolist()]


def _side(x: float) -> Side:
    return Fraction(float(x)) if np.isfinite(x) else None
