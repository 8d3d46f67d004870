"""A graph of linear or convex stage problems: what SDDP and decision rules stand on.

A node of the graph is a linear program, or a convex one, told by the rows that a decision violates (`convex`). When it
is reached, one of its noises is drawn, the state that comes in is fixed, and the program is solved; the state that goes
out comes in at the next node, drawn along the edges. Costs of a node's children weigh `discount` times those of the
node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.sparse import csr_array

from orl.convex import Separate, build_program
from orl.linear import LinearProgram
from orl.process import Observation


class Edge(NamedTuple):
    """A way to a node, and its probability."""

    node: int
    probability: float


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage problem: minimise cost' x, bounds on x, on matrix x, and what is convex beside.

    Parameters
    ----------
    cost, lower, upper : ndarray (n,)
    matrix : sparse array (m, n)
    row_lower, row_upper : ndarray (m,)
    incoming, outgoing : int ndarray (num_states,)
        Columns that hold the state when the stage begins, and when it ends.
    noise_rows : int ndarray (k,)
        Rows whose bounds a noise raises.
    noises : ndarray (num_noises, k)
        By how much.
    probabilities : ndarray (num_noises,)
    name : str
    noise_slopes : ndarray (num_noises, k, num_states), or None
        What a unit of the incoming state adds to each noise; None: noises do not depend on it.
    separate : Separate or None
        The rows that a decision violates, valid for every state and noise; None: the stage is linear.
    tolerance : float > 0
        By how much decisions may violate such a row.
    """

    cost: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    matrix: csr_array
    row_lower: np.ndarray
    row_upper: np.ndarray
    incoming: np.ndarray
    outgoing: np.ndarray
    noise_rows: np.ndarray
    noises: np.ndarray
    probabilities: np.ndarray
    name: str = "stage"
    noise_slopes: np.ndarray | None = None
    separate: Separate | None = None
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        rows, columns = self.matrix.shape
        for key, length in (("cost", columns), ("lower", columns), ("upper", columns), ("row_lower", rows),
                            ("row_upper", rows), ("probabilities", len(self.noises))):  # fmt: skip
            if np.shape(getattr(self, key)) != (length,):
                raise ValueError(f"{self.name}: {key} must have {length} entries, got {np.shape(getattr(self, key))}.")
        if self.noises.shape[1:] != self.noise_rows.shape:
            raise ValueError(f"{self.name}: noises must have a column a noise row, got shape {self.noises.shape}.")
        if len(self.incoming) != len(self.outgoing):
            raise ValueError(f"{self.name}: as many states must go out as come in.")
        if (self.probabilities < 0).any() or abs(self.probabilities.sum() - 1) > 1e-9:
            raise ValueError(f"{self.name}: probabilities must be >= 0 and sum to 1.")
        expected = (*self.noises.shape, len(self.incoming))
        if self.noise_slopes is not None and self.noise_slopes.shape != expected:
            raise ValueError(f"{self.name}: noise_slopes must have shape {expected}, got {self.noise_slopes.shape}.")

    def raised(self, state: np.ndarray, number: int) -> np.ndarray:
        """Return a noise with what the state that comes in adds to it, (k,)."""
        noise = self.noises[number]
        return noise if self.noise_slopes is None else noise + self.noise_slopes[number] @ state

    def program(self) -> LinearProgram:
        """Return the problem, to be solved for states and noises."""
        parts, limits = [(self.separate, np.arange(len(self.cost)))], (self.row_lower, self.row_upper)
        return build_program(self.cost, self.lower, self.upper, self.matrix, *limits, self.name, parts, self.tolerance)


@dataclass(frozen=True, eq=False)
class StageGraph:
    """Stages and how they follow one another.

    Parameters
    ----------
    stages : tuple of Stage
        One a node.
    children : tuple of tuples of Edge
        Of each node; none: the end. Probabilities sum to 1.
    root : tuple of Edge
        Where it begins.
    initial : ndarray (num_states,)
    discount : float in (0, 1]
        Below 1 if a node can be reached from itself.
    least_cost : float
        No more than what any node's future can cost.
    """

    stages: tuple[Stage, ...]
    children: tuple[tuple[Edge, ...], ...]
    root: tuple[Edge, ...]
    initial: np.ndarray
    discount: float = 1.0
    least_cost: float = 0.0

    def __post_init__(self) -> None:
        for edges in (self.root, *self.children):
            if edges and abs(sum(edge.probability for edge in edges) - 1) > 1e-9:
                raise ValueError(f"probabilities of edges must sum to 1, got {edges}.")
        if self.is_cyclic and not self.discount < 1:
            raise ValueError(f"a graph without an end needs a discount below 1, got {self.discount}.")

    @staticmethod
    def line(stages: Sequence[Stage], initial: np.ndarray, discount: float = 1.0) -> StageGraph:
        """Return the graph in which one stage follows another to the last."""
        count = len(stages)
        children = tuple((Edge(node + 1, 1.0),) if node + 1 < count else () for node in range(count))
        return StageGraph(tuple(stages), children, (Edge(0, 1.0),), np.asarray(initial, dtype=np.float64), discount)

    @staticmethod
    def ring(stages: Sequence[Stage], initial: np.ndarray, discount: float, ahead: int = 0) -> StageGraph:
        """Return the graph in which the first stage, or the first after `ahead` of them, follows the last, for ever."""
        count = len(stages)
        children = tuple((Edge(node + 1 if node + 1 < count else ahead, 1.0),) for node in range(count))
        return StageGraph(tuple(stages), children, (Edge(0, 1.0),), np.asarray(initial, dtype=np.float64), discount)

    @property
    def is_cyclic(self) -> bool:
        """Whether a node can be reached from itself."""
        open_nodes, left = [*range(len(self.stages))], [len({e.node for e in edges}) for edges in self.children]
        parents: dict[int, set[int]] = {node: set() for node in open_nodes}
        for node, edges in enumerate(self.children):
            for edge in edges:
                parents[edge.node].add(node)
        ends = [node for node in open_nodes if left[node] == 0]
        done = 0
        while ends:
            done += 1
            for parent in parents[ends.pop()]:
                left[parent] -= 1
                if left[parent] == 0:
                    ends.append(parent)
        return done < len(self.stages)


class Seen(NamedTuple):
    """What an observation says of a graph: the node that is due, the state that comes in, and the noise there, (k,)."""

    node: int
    state: np.ndarray
    noise: np.ndarray


class Reach(Protocol):
    """Which states a stage can end at: they are reached whatever the shares of the way from lowest to highest are."""

    @property
    def num_shares(self) -> int:
        """How many numbers in [0, 1] choose one."""

    def __call__(self, state: Any, noise: Any, share: Any) -> Sequence[Any]:
        """Return the entries of the state that goes out, (...) each, from arrays or tensors (..., n) of each."""


class Operated(NamedTuple):
    """What was done in a stage as it is: state that goes out, cost of the stage alone, where the next may begin."""

    outgoing: np.ndarray
    cost: float
    memory: Any = None


class Operate(Protocol):
    """Decides a stage as it is, where the graph holds what only comes near it, such as a relaxation."""

    def __call__(
        self,
        node: int,
        state: np.ndarray,
        noise: np.ndarray,
        intercepts: np.ndarray,
        slopes: np.ndarray,
        near: np.ndarray | None = None,
        memory: Any = None,
    ) -> Operated:
        """Return a decision whose cost and future together are least.

        Parameters
        ----------
        node : int
        state : ndarray (num_states,)
            That comes in.
        noise : ndarray (k,)
            That is known, with what the state adds to it.
        intercepts, slopes : ndarray (n,), (n, num_states)
            The future costs the highest of intercepts + slopes . outgoing state; n >= 1.
        near : ndarray (num_states,), or None
            A state that is likely to go out, as the graph's stage has it; it saves time.
        memory : object or None
            Of the stage before on the same way through the graph; it saves time.
        """


@dataclass(frozen=True, eq=False)
class Staged:
    """A process as a graph of stages, and how observations and actions are read in it.

    Parameters
    ----------
    graph : StageGraph
    seen : callable (observation, env) -> Seen, or None at the end of an episode
    action : callable (outgoing state, observation, env) -> ndarray
        What leads there, in the form of the process's decision.
    has_same_end : bool
        Whether an episode ends where the graph does, so that its bound is one on the episode's expected cost.
    reach : Reach or None
        For methods that ask for states; None: it is not known.
    most_worth : float
        More than a unit of any entry of the state can save; infinity: unknown.
    season : int
        After how many stages the same noises come again; 0: never.
    operate : Operate or None
        Stages as the process has them, where the graph's are others: policies decide by it, and forward passes follow
        it. None: the graph's stages are the process's.
    """

    graph: StageGraph
    seen: Callable[[Observation, int], Seen | None]
    action: Callable[[np.ndarray, Observation, int], np.ndarray]
    has_same_end: bool = True
    reach: Reach | None = None
    most_worth: float = float("inf")
    season: int = 0
    operate: Operate | None = None
