"""The programs that say what targets cost, kept in HiGHS, and what a little more of each state would change.

With x the state that comes in, w the noise and y the target, a stage costs

    q_t(x, w, y) = min { c' u : u feasible for x and w, ends at y },

and the duals of "begins at x" and "ends at y" are its derivatives. A path of penalised targets is one program,

    min sum_t discount^t ( c' u_t + price |y_t - target_t| ),   u_t feasible for y_{t-1} and w_t, ends at y_t,

and the duals of the targets are its derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import block_diag, coo_array, csr_array, eye_array, hstack, vstack

from orl.convex import ConvexProgram, build_program
from orl.linear import LinearProgram, NotSolved
from orl.stages import Stage, StageGraph


class Asked(NamedTuple):
    """What is asked of paths: states and noises.

    Parameters
    ----------
    states : ndarray (n, T + 1, S)
        The first, and targets.
    noises : ndarray (n, T, k)
    """

    states: np.ndarray
    noises: np.ndarray


class Answer(NamedTuple):
    """What the stages cost.

    Parameters
    ----------
    costs : ndarray (n, T)
    slopes : ndarray (n, T + 1, S)
        Derivatives of the discounted cost of a path by its states.
    missed : ndarray (n, T)
        How far from its target each stage ended, summed over the state; a stage that could not end there at all.
    """

    costs: np.ndarray
    slopes: np.ndarray
    missed: np.ndarray


class StagePrograms:
    """Answer for some stages of a line, each a program of its own that ends at its target.

    Where there is no way to a target, the way to the nearest state is taken, and a unit beside it costs `price`.

    Parameters
    ----------
    graph : StageGraph
    stages : sequence of int
        That it answers for.
    price : float
    """

    def __init__(self, graph: StageGraph, stages: Sequence[int], price: float):
        self._graph, self._stages, self._price = graph, list(stages), price
        self._programs: dict[int, LinearProgram] = {}
        self._elastic: dict[int, LinearProgram] = {}

    def __call__(self, asked: Asked) -> Answer:
        count, horizon = asked.noises.shape[:2]
        answer = Answer(np.zeros((count, horizon)), np.zeros(asked.states.shape), np.zeros((count, horizon)))
        for number in self._stages:
            stage, weight = self._graph.stages[number], self._graph.discount**number
            if number not in self._programs:
                self._programs[number] = _begun(stage.program(), [stage], [0], self._graph.initial)
            program = self._programs[number]
            rows, low, high = stage.noise_rows, stage.row_lower[stage.noise_rows], stage.row_upper[stage.noise_rows]
            for path in range(count):
                before, target = asked.states[path, number : number + 2]
                noise = asked.noises[path, number]
                program.set_columns(stage.incoming, before, before)
                program.set_columns(stage.outgoing, target, target)
                program.set_rows(rows, low + noise, high + noise)
                try:
                    # First from scratch: what is found does not depend on what was asked before.
                    found = program.solve(from_kept=path == 0)
                except NotSolved:
                    self._nearest(number, before, noise, target, answer, path)
                    continue
                reduced = found.reduced_costs
                answer.costs[path, number] = found.value
                answer.slopes[path, number] += weight * reduced[stage.incoming]
                answer.slopes[path, number + 1] += weight * reduced[stage.outgoing]
        return answer

    def _nearest(
        self, number: int, before: np.ndarray, noise: np.ndarray, target: np.ndarray, answer: Answer, path: int
    ) -> None:
        stage, weight = self._graph.stages[number], self._graph.discount**number
        if number not in self._elastic:
            self._elastic[number] = _elastic(stage, self._price)
        program = self._elastic[number]
        targets = len(stage.row_lower) + np.arange(len(stage.outgoing))
        rows = stage.noise_rows
        program.set_columns(stage.incoming, before, before)
        program.set_rows(rows, stage.row_lower[rows] + noise, stage.row_upper[rows] + noise)
        program.set_rows(targets, target, target)
        found = program.solve(from_kept=True)
        answer.costs[path, number] = found.value
        answer.slopes[path, number] += weight * found.reduced_costs[stage.incoming]
        answer.slopes[path, number + 1] += weight * found.row_duals[targets]
        answer.missed[path, number] = found.columns[len(stage.cost) :].sum()


class PathPrograms:
    """Answer for whole paths, each one program in which a unit beside a target costs `price`.

    Parameters
    ----------
    graph : StageGraph
    paths : slice
        Which of the paths that are asked it answers for.
    price : float
        Infinity: there are no targets, and what is answered is the best that could be done, knowing the path.
    """

    def __init__(self, graph: StageGraph, paths: slice, price: float):
        self._graph, self._paths, self._price = graph, paths, price
        widths = [len(stage.cost) for stage in graph.stages]
        self._first = np.cumsum([0, *widths])
        self._first_row = np.cumsum([0, *(len(stage.row_lower) for stage in graph.stages)])
        self._program: LinearProgram | None = None

    def __call__(self, asked: Asked) -> Answer:
        graph, horizon = self._graph, len(self._graph.stages)
        if self._program is None:
            self._program = _begun(self._made(), graph.stages, self._first_row.tolist(), graph.initial)
        program, root = self._program, graph.stages[0]
        count = len(asked.noises)
        answer = Answer(np.zeros((count, horizon)), np.zeros(asked.states.shape), np.zeros((count, horizon)))
        placed = zip(self._first_row.tolist(), graph.stages, strict=False)
        rows = np.concatenate([first + stage.noise_rows for first, stage in placed])
        low = np.concatenate([stage.row_lower[stage.noise_rows] for stage in graph.stages])
        high = np.concatenate([stage.row_upper[stage.noise_rows] for stage in graph.stages])
        last, size = self._first_row[-1] + (horizon - 1) * len(root.outgoing), len(root.outgoing)
        targets = np.arange(last, last + horizon * size)
        for path in range(count)[self._paths]:
            raised = asked.noises[path].ravel()
            program.set_rows(rows, low + raised, high + raised)
            program.set_columns(root.incoming, asked.states[path, 0], asked.states[path, 0])
            if np.isfinite(self._price):
                wanted = asked.states[path, 1:].ravel()
                program.set_rows(targets, wanted, wanted)
            found = program.solve(from_kept=True)
            columns = found.columns
            for number, (first, stage) in enumerate(zip(self._first, graph.stages, strict=False)):
                answer.costs[path, number] = stage.cost @ columns[first : first + len(stage.cost)]
            answer.slopes[path, 0] = found.reduced_costs[root.incoming]
            if np.isfinite(self._price):
                answer.slopes[path, 1:] = found.row_duals[targets].reshape(horizon, size)
                beside = columns[self._first[-1] :].reshape(2, horizon, size)
                answer.missed[path] = beside.sum(axis=(0, 2))
                answer.costs[path] += self._price * answer.missed[path]
        return answer

    def _made(self) -> LinearProgram:
        """Return the program: stages one after another, what goes out of one comes into the next; below, targets."""
        graph, first = self._graph, self._first
        width, horizon, size = int(first[-1]), len(graph.stages), len(graph.stages[0].outgoing)
        weights = graph.discount ** np.arange(horizon)
        placed = list(zip(first.tolist(), graph.stages, strict=False))
        going_out = np.concatenate([at + stage.outgoing for at, stage in placed])
        coming_in = np.concatenate([at + stage.incoming for at, stage in placed[1:]])
        links = (horizon - 1) * size
        number = np.arange(links)
        out = coo_array((np.ones(links), (number, going_out[:links])), shape=(links, width))
        linked = out - coo_array((np.ones(links), (number, coming_in)), shape=(links, width))
        matrix = vstack([block_diag([stage.matrix for stage in graph.stages]), linked])
        cost = np.concatenate([w * stage.cost for w, stage in zip(weights, graph.stages, strict=True)])
        lower, upper, row_lower, row_upper = (
            np.concatenate([getattr(stage, name) for stage in graph.stages])
            for name in ("lower", "upper", "row_lower", "row_upper")
        )
        row_lower, row_upper = (np.concatenate([rows, np.zeros(links)]) for rows in (row_lower, row_upper))
        if np.isfinite(self._price):
            targets = horizon * size
            chosen = coo_array((np.ones(targets), (np.arange(targets), going_out)), shape=(targets, width))
            beside = hstack([-eye_array(targets), eye_array(targets)])
            matrix = vstack([hstack([matrix, coo_array((matrix.shape[0], 2 * targets))]), hstack([chosen, beside])])
            cost = np.concatenate([cost, np.tile(np.repeat(self._price * weights, size), 2)])
            lower = np.concatenate([lower, np.zeros(2 * targets)])
            upper = np.concatenate([upper, np.full(2 * targets, np.inf)])
            row_lower, row_upper = (np.concatenate([rows, np.zeros(targets)]) for rows in (row_lower, row_upper))
        parts = [(stage.separate, at + np.arange(len(stage.cost))) for at, stage in placed]
        tolerance = min(stage.tolerance for stage in graph.stages)
        return build_program(cost, lower, upper, csr_array(matrix), row_lower, row_upper, "path", parts, tolerance)


def _begun(
    program: LinearProgram, stages: Sequence[Stage], first_row: Sequence[int], state: np.ndarray
) -> LinearProgram:
    """Let a convex program begin with the rows that a mean path asks for: whatever comes then begins there.

    Parameters
    ----------
    first_row : sequence of int
        Of each stage.
    state : ndarray (S,)
        That comes in.
    """
    if isinstance(program, ConvexProgram):
        program.set_columns(stages[0].incoming, state, state)
        for row, stage in zip(first_row, stages, strict=False):
            noise = stage.probabilities @ stage.noises
            rows = stage.noise_rows
            program.set_rows(row + rows, stage.row_lower[rows] + noise, stage.row_upper[rows] + noise)
        program.solve()
        program.keep_basis()
    return program


def _elastic(stage: Stage, price: float) -> LinearProgram:
    """Return a stage with rows for its targets, and columns for what it ends beside them, at a price."""
    count, width = len(stage.outgoing), len(stage.cost)
    chosen = coo_array((np.ones(count), (np.arange(count), stage.outgoing)), shape=(count, width))
    wide = hstack([stage.matrix, coo_array((stage.matrix.shape[0], 2 * count))])
    matrix = csr_array(vstack([wide, hstack([chosen, -eye_array(count), eye_array(count)])]))
    nothing = np.zeros(count)
    return build_program(
        np.concatenate([stage.cost, np.full(2 * count, price)]),
        np.concatenate([stage.lower, np.zeros(2 * count)]),
        np.concatenate([stage.upper, np.full(2 * count, np.inf)]),
        matrix,
        np.concatenate([stage.row_lower, nothing]),
        np.concatenate([stage.row_upper, nothing]),
        f"{stage.name}, nearest",
        [(stage.separate, np.arange(width))],
        stage.tolerance,
    )
