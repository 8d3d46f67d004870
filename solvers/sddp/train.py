"""Stochastic dual dynamic programming: play forward, and learn backward what states are worth.

A forward pass draws one way through the graph and follows the policy that the cuts make. A backward pass, from its last
node to its first, solves every child of a node for every noise at the state that went out of the node, and adds the cut
that these make together. The bound is the value of the beginning, and never falls.

References
----------
M. V. F. Pereira, L. M. V. G. Pinto (1991). Multi-stage stochastic optimization applied to energy planning. Mathematical
Programming 52. doi 10.1007/BF01582895
O. Dowson (2020). The policy graph decomposition of multistage stochastic programming problems. Networks 76(1).
doi 10.1002/net.21932
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np

from orl.stages import Edge, Operate, StageGraph

from .node import Node, Visit
from .risk import Expectation, Risk

SELECT_EVERY = 5  # iterations


class Step(NamedTuple):
    """One node of a way through the graph."""

    node: int
    noise: int
    state: np.ndarray
    outgoing: np.ndarray
    cost: float


class Cut(NamedTuple):
    """A lower bound on a future of a node, intercept + gradient . outgoing state, learned at a state."""

    node: int
    future: int
    gradient: np.ndarray
    intercept: float
    state: np.ndarray


class Iteration(NamedTuple):
    """A line of the log: iterations so far, the bound, and the costs of the forward passes since the line before."""

    number: int
    bound: float
    costs: list[float]
    seconds: float


class Sddp:
    """A policy for a graph of stages, and how it is trained.

    Parameters
    ----------
    graph : StageGraph
    risk : Risk
    multi_cut : bool
        A cut for each child and noise in place of one for all; with `Expectation` only.
    selects : bool
        Whether cuts that are highest nowhere are taken out of the programs.
    operate : Operate or None
        What forward passes follow in place of the graph's stages, from which all cuts come; with single cuts only.

    Attributes
    ----------
    nodes : list of Node
    """

    def __init__(
        self,
        graph: StageGraph,
        risk: Risk | None = None,
        multi_cut: bool = False,
        selects: bool = True,
        operate: Operate | None = None,
    ):
        self.graph, self.risk, self.multi_cut, self.selects = graph, risk or Expectation(), multi_cut, selects
        self.operate = operate
        if multi_cut and operate is not None:
            raise ValueError("several cuts are for stages that are the process's own; use single cuts.")
        if multi_cut and not isinstance(self.risk, Expectation):
            raise ValueError("several cuts are for the expectation; use single cuts with other risk measures.")
        self.nodes = [
            Node(stage, self._weights(children), graph.least_cost)
            for stage, children in zip(graph.stages, graph.children, strict=True)
        ]
        self.iterations = 0
        self._bound = -np.inf

    def bound(self) -> float:
        """Return the best value of the beginning so far: a lower bound on the (risk-adjusted) cost of every policy.

        What has been proven stays proven, though cuts that are taken out may be missed at states not visited yet. Of
        the noises of the first stage it is the mean, whatever the risk measure, as in the published examples.
        """
        probabilities, visits = self._futures(self.graph.root, self.graph.initial)
        self._bound = max(self._bound, float(probabilities @ [visit.value for visit in visits]))
        return self._bound

    def forward(self, rng: np.random.Generator) -> list[Step]:
        """Draw a way through the graph and follow the policy; where there is no end, it ends with 1 - discount."""
        steps: list[Step] = []
        edges, state = self.graph.root, self.graph.initial
        is_cyclic, memory = self.graph.is_cyclic, None
        while edges:
            if is_cyclic and steps and rng.random() > self.graph.discount:
                break
            node = edges[_draw(rng, [edge.probability for edge in edges])].node
            noise = _draw(rng, self.graph.stages[node].probabilities)
            visit = self.nodes[node].draw(state, noise)
            outgoing, cost = visit.outgoing, visit.cost
            if self.operate is not None:
                raised, future = self.graph.stages[node].raised(state, noise), self.nodes[node].future()
                outgoing, cost, memory = self.operate(node, state, raised, *future, outgoing, memory)
            steps.append(Step(node, noise, state, outgoing, cost))
            edges, state = self.graph.children[node], outgoing
        return steps

    def backward(self, steps: list[Step]) -> list[Cut]:
        """Add the cuts that a way through the graph teaches, and return them."""
        learned: list[Cut] = []
        for step in reversed(steps):
            children = self.graph.children[step.node]
            if children:
                cuts = self._cuts(step.node, children, step.outgoing)
                self._add(cuts)
                learned += cuts
        return learned

    def iterate(self, rng: np.random.Generator) -> float:
        """Go forward and backward once, and return the cost of the way."""
        cost, _ = self.make_pass(rng)
        self.end_round()
        return cost

    def make_pass(self, rng: np.random.Generator) -> tuple[float, list[Cut]]:
        """Go forward and backward once, and return the cost of the way and the cuts that were added."""
        steps = self.forward(rng)
        return self.cost(steps), self.backward(steps)

    def end_round(self, others: Sequence[list[Cut]] = ()) -> None:
        """Count a pass, and those of others, whose cuts are added; select cuts from time to time."""
        before = self.iterations
        for cuts in others:
            self._add(cuts)
        self.iterations += 1 + len(others)
        if self.selects and self.iterations // SELECT_EVERY > before // SELECT_EVERY:
            for node in self.nodes:
                node.select()

    def cost(self, steps: list[Step]) -> float:
        """Return the discounted cost of a way; without an end, chance has discounted it already."""
        discount = 1.0 if self.graph.is_cyclic else self.graph.discount
        return float(sum(step.cost * discount**place for place, step in enumerate(steps)))

    def settled(self) -> list[Node]:
        """Return the nodes as they are now, to decide by."""
        return [node.settled() for node in self.nodes]

    def to_dict(self) -> dict[str, Any]:
        """Return the cuts, to be written as JSON."""
        nodes = [
            [{"gradients": pool.gradients.tolist(), "intercepts": pool.intercepts.tolist()} for pool in node.pools]
            for node in self.nodes
        ]
        return {"fingerprint": self.fingerprint(), "sha256": _digest(nodes), "nodes": nodes}

    def load_cuts(self, written: dict[str, Any]) -> None:
        """Add cuts that `to_dict` has written of the same graph; what it begins with may differ.

        Raises
        ------
        ValueError
            If they are of another graph, or not as they were written: a cut that was changed may bound nothing.
        """
        nodes = written.get("nodes", [])
        if [len(pools) for pools in nodes] != [len(node.pools) for node in self.nodes]:
            raise ValueError(f"the cuts are of a graph with {len(nodes)} nodes, or other futures; this one has "
                             f"{len(self.nodes)}.")  # fmt: skip
        if written.get("fingerprint") != self.fingerprint():
            raise ValueError("the cuts are of other stages, another discount, risk measure or kind of cuts.")
        if written.get("sha256") != _digest(nodes):
            raise ValueError("the cuts are not those that were written; their checksum is another.")
        for node, pools in zip(self.nodes, nodes, strict=True):
            for future, pool in enumerate(pools):
                for gradient, intercept in zip(pool["gradients"], pool["intercepts"], strict=True):
                    if len(gradient) != len(node.stage.outgoing):
                        raise ValueError(f"a cut has {len(gradient)} states, expected {len(node.stage.outgoing)}.")
                    node.add_cut(future, np.array(gradient), float(intercept), None)

    def fingerprint(self) -> str:
        """Return a hash of all that cuts depend on: not of the beginning, nor of noises that only come there."""
        least = (self.graph.least_cost,) if self.graph.least_cost else ()
        told = (type(self.risk).__name__, self.risk, self.multi_cut, self.graph.discount, *least)
        digest = sha256(repr(told).encode())
        followers = {edge.node for edges in self.graph.children for edge in edges}
        for number, (stage, edges) in enumerate(zip(self.graph.stages, self.graph.children, strict=True)):
            arrays = [stage.cost, stage.lower, stage.upper, stage.matrix.toarray(), stage.row_lower, stage.row_upper]
            if number in followers:
                arrays += [stage.noises, stage.probabilities, np.asarray(stage.noise_slopes, dtype=np.float64)]
            arrays += [] if stage.separate is None else stage.separate.data
            digest.update(repr(edges).encode())
            for array in arrays:
                digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
        return digest.hexdigest()

    # private

    def _weights(self, children: tuple[Edge, ...]) -> list[float]:
        if not children:
            return []
        if not self.multi_cut:
            return [self.graph.discount]
        stages = self.graph.stages
        return [
            self.graph.discount * edge.probability * float(probability)
            for edge in children
            for probability in stages[edge.node].probabilities
        ]

    def _futures(self, edges: tuple[Edge, ...], state: np.ndarray) -> tuple[np.ndarray, list[Visit]]:
        """Solve all nodes that edges lead to for all noises; return probabilities and what comes of them."""
        probabilities, visits = [], []
        for edge in edges:
            stage = self.graph.stages[edge.node]
            probabilities.append(edge.probability * stage.probabilities)
            visits += self.nodes[edge.node].draws(state)
        return np.concatenate(probabilities), visits

    def _cuts(self, number: int, children: tuple[Edge, ...], state: np.ndarray) -> list[Cut]:
        """Return what the children of a node teach of its future at a state."""
        probabilities, visits = self._futures(children, state)
        values = np.array([visit.value for visit in visits])
        gradients = np.array([visit.gradient for visit in visits])
        if self.multi_cut:
            return [
                Cut(number, future, gradient, float(value - gradient @ state), state)
                for future, (value, gradient) in enumerate(zip(values, gradients, strict=True))
            ]
        weighed = self.risk.weigh(probabilities, values)
        gradient = weighed.weights @ gradients
        return [Cut(number, 0, gradient, float(weighed.value(values) - gradient @ state), state)]

    def _add(self, cuts: list[Cut]) -> None:
        for cut in cuts:
            self.nodes[cut.node].add_cut(cut.future, cut.gradient, cut.intercept, cut.state)


def _digest(nodes: Any) -> str:
    return sha256(json.dumps(nodes).encode()).hexdigest()


def _draw(rng: np.random.Generator, probabilities: Any) -> int:
    place = int(np.searchsorted(np.cumsum(probabilities), rng.random(), side="right"))
    return min(place, len(probabilities) - 1)


def train(
    sddp: Sddp,
    rng: np.random.Generator,
    should_stop: Callable[[list[Iteration]], bool],
    clock: Callable[[], float],
    report: Callable[[list[Iteration]], None] = lambda log: None,
    iterate: Callable[[], list[float]] | None = None,
) -> list[Iteration]:
    """Iterate until `should_stop(log)`; the policy is whole after every iteration, also after an interruption.

    Parameters
    ----------
    iterate : callable () -> costs of forward passes, or None
        A round of several iterations at a time, as a `Crew` makes them; None: one, with draws of `rng`.
    """
    log: list[Iteration] = []
    while not should_stop(log):
        costs = [sddp.iterate(rng)] if iterate is None else iterate()
        log.append(Iteration(sddp.iterations, sddp.bound(), costs, clock()))
        report(log)
    return log
