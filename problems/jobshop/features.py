"""What a network reads of a job shop. Every time t is shown as t / (t + scale): bounded, increasing, never clipped.

The scale is the mean duration of the shop's operations (D) for what happens on the machines, the mean work of its jobs
(W) for sums of durations, so that shops of all sizes and time units look alike. The README of this family tables the
columns. What an interrupted operation still takes on its machine is not known to anybody and shown as 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orl.features import Features
from orl.process import Observation

from .kernels_codes import DONE, NO_DUE_DATE, RUNNING, TO_COME

FLAT_ARRAYS = (
    "clock", "num_started", "candidate", "machine", "status", "available", "remaining", "free_at", "occupant",
    "down_since", "job_first", "due_dates", "weights", "op_machine", "op_duration", "op_remaining",
)  # fmt: skip
CANDIDATE_ARRAYS = (
    "clock", "candidate", "machine", "status", "place", "available", "remaining", "free_at", "occupant", "down_since",
    "job_first", "op_machine", "op_duration", "op_remaining",
)  # fmt: skip
OP_COLUMNS = 13
MACHINE_COLUMNS = 7


def flat(observation: Observation) -> np.ndarray:
    """Return one vector an environment, float32 (num_envs, F), within [-1, 1].

    F is (J + 1) + 4 + 17 J + 8 M for J jobs and M machines of padding; the first J + 1 entries are the mask.

    Examples
    --------
    >>> from orl.scenario import Scenarios
    >>> from .instance import JobShop
    >>> from .process import JobShopProcess
    >>> shop = JobShop("two", machines=[[0, 1], [1, 0]], durations=[[3, 2], [2, 4]])
    >>> process = JobShopProcess([shop], [Scenarios.deterministic()])
    >>> flat(process.observe()).shape
    (1, 57)
    >>> flat(process.observe())[0, :3]         # both jobs may start, there is nothing to wait for
    array([1., 1., 0.], dtype=float32)
    """
    from . import kernels_features as kernels  # numba is slow to load

    view = observation.arrays
    (num_envs, width), machines = observation.legal.shape, view["free_at"].shape[1]
    columns = width + kernels.NUM_GLOBAL + (width - 1) * kernels.NUM_BY_JOB + machines * kernels.NUM_BY_MACHINE
    out = np.empty((num_envs, columns), dtype=np.float32)
    kernels.flat(
        *(view[name] for name in FLAT_ARRAYS),
        observation.sizes,
        observation.legal,
        observation.post,
        np.empty(machines, dtype=np.int64),
        out,
    )
    return out


def candidates(observation: Observation, envs: np.ndarray | None = None) -> np.ndarray:
    """Return a row a choice, float32 (len(envs), J + 1, 59), within [-1, 1]; 0 where a job has no next operation.

    Examples
    --------
    >>> from orl.scenario import Scenarios
    >>> from .instance import JobShop
    >>> from .process import JobShopProcess
    >>> shop = JobShop("two", machines=[[0, 1], [1, 0]], durations=[[3, 2], [2, 4]])
    >>> process = JobShopProcess([shop], [Scenarios.deterministic()])
    >>> candidates(process.observe())[0, :, 1]         # both jobs may start, there is nothing to wait for
    array([1., 1., 0.], dtype=float32)
    """
    from . import kernels_candidates as kernels  # numba is slow to load

    view = observation.arrays
    num_envs, width = observation.legal.shape
    envs = np.arange(num_envs) if envs is None else envs
    out = np.empty((len(envs), width, kernels.NUM_COLUMNS), dtype=np.float32)
    kernels.candidates(
        envs,
        *(view[name] for name in CANDIDATE_ARRAYS),
        observation.sizes,
        observation.legal,
        np.empty(width - 1, dtype=np.int64),
        np.empty((view["free_at"].shape[1], 4), dtype=np.int64),
        np.empty((7, max(width, view["free_at"].shape[1])), dtype=np.int64),
        np.empty(view["op_machine"].shape[1], dtype=np.int64),
        np.empty((5, view["op_machine"].shape[1]), dtype=np.int64),
        out,
    )
    return out


def graph(observation: Observation) -> Mapping[str, np.ndarray]:
    """Return one graph an environment, as `orl.features` documents it: N operations, then M machines, are the nodes.

    Edges go from each operation to the next of its job and back, and from each operation to its machine and back:
    linear in the operations, where the cliques of the disjunctive graph (Roy and Sussmann 1964) are quadratic; a
    machine's node stands for its clique.

    Examples
    --------
    >>> from orl.scenario import Scenarios
    >>> from .instance import JobShop
    >>> from .process import JobShopProcess
    >>> shop = JobShop("two", machines=[[0, 1], [1, 0]], durations=[[3, 2], [2, 4]])
    >>> process = JobShopProcess([shop], [Scenarios.deterministic()])
    >>> {name: array.shape for name, array in graph(process.observe()).items()}  # doctest: +NORMALIZE_WHITESPACE
    {'nodes': (1, 6, 22), 'is_node': (1, 6), 'edges': (1, 2, 14), 'edge_features': (1, 14, 4), 'legal': (1, 3),
     'choice_nodes': (1, 3)}
    """
    view, sizes = observation.arrays, observation.sizes
    num_envs, ops = view["op_machine"].shape
    machines = view["free_at"].shape[1]
    is_op = np.arange(ops) < sizes[:, 2:3]  # (num_envs, ops)
    is_machine = np.arange(machines) < sizes[:, 1:2]  # (num_envs, machines)
    op_job = _job_of_op(view["job_first"], ops)

    nodes = np.zeros((num_envs, ops + machines, 2 + OP_COLUMNS + MACHINE_COLUMNS), dtype=np.float32)
    nodes[:, :ops, 0] = is_op
    nodes[:, ops:, 1] = is_machine
    for column, values in enumerate(_of_operations(observation, op_job, is_op), start=2):
        nodes[:, :ops, column] = np.where(is_op, values, 0)
    for column, values in enumerate(_of_machines(observation, op_job, is_op), start=2 + OP_COLUMNS):
        nodes[:, ops:, column] = np.where(is_machine, values, 0)

    has_next = is_op[:, 1:] & (op_job[:, 1:] == op_job[:, :-1])  # (num_envs, ops - 1)
    op = np.broadcast_to(np.arange(ops), (num_envs, ops))
    machine = ops + view["op_machine"]
    parts = [(op[:, :-1], op[:, 1:], has_next), (op[:, 1:], op[:, :-1], has_next), (op, machine, is_op),
             (machine, op, is_op)]  # fmt: skip
    is_edge = np.concatenate([there for *_, there in parts], axis=1)
    ends = [np.concatenate([part[side] for part in parts], axis=1) for side in (0, 1)]
    kinds = np.repeat(np.eye(4, dtype=np.float32), [part[0].shape[1] for part in parts], axis=0)  # (edges, 4)
    return {
        "nodes": nodes,
        "is_node": np.concatenate([is_op, is_machine], axis=1),
        "edges": np.where(is_edge[:, None], np.stack(ends, axis=1), -1),
        "edge_features": is_edge[:, :, None] * kinds,
        "legal": observation.legal.copy(),
        "choice_nodes": choice_nodes(observation),
    }


def choice_nodes(observation: Observation) -> np.ndarray:
    """Return the node of each job's next operation, which has the operation's number, (num_envs, J + 1); -1: none."""
    return observation.arrays["candidate"].copy()


FEATURES = Features(flat=flat, graph=graph, candidates=candidates, choice_nodes=choice_nodes)


def _job_of_op(job_first: np.ndarray, ops: int) -> np.ndarray:
    """Return the job of each operation, (num_envs, ops); the padding belongs to the last one."""
    num_envs, jobs = len(job_first), job_first.shape[1] - 1
    begins = np.zeros((num_envs, ops + 1), dtype=np.int64)
    np.add.at(begins, (np.arange(num_envs)[:, None], job_first[:, 1:]), 1)
    return np.minimum(begins.cumsum(axis=1)[:, :ops], jobs - 1)


def _squash(time: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return time / (time + scale)


def _scales(observation: Observation, is_op: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean duration and mean work of a job, (num_envs, 1) each, at least 1."""
    work = np.where(is_op, observation.arrays["op_duration"], 0).sum(axis=1, keepdims=True)
    return np.maximum(work / observation.sizes[:, 2:3], 1.0), np.maximum(work / observation.sizes[:, 0:1], 1.0)


def _of_operations(observation: Observation, op_job: np.ndarray, is_op: np.ndarray) -> list[np.ndarray]:
    """Return the columns of operations, (num_envs, ops) each, or what broadcasts to it."""
    view = observation.arrays

    def by_op(by_job: np.ndarray) -> np.ndarray:
        return np.take_along_axis(by_job, op_job, axis=1)

    duration_scale, work_scale = _scales(observation, is_op)
    clock = view["clock"][:, None]
    status, available, weights, due = (by_op(view[key]) for key in ("status", "available", "weights", "due_dates"))
    candidate = view["candidate"][:, :-1]
    next_op = by_op(np.where(candidate < 0, view["job_first"][:, 1:], candidate))
    op = np.arange(op_job.shape[1])
    is_started = op < next_op
    is_on_machine = (op == next_op - 1) & (status == RUNNING)
    is_interrupted = is_on_machine & (available < 0)
    left = np.where(is_interrupted, by_op(view["remaining"]), np.maximum(available - clock, 0))
    # The earliest completion if no machine were ever taken; what is interrupted could go on at once.
    first = np.minimum(next_op, op.size - 1)
    before = np.take_along_axis(view["op_remaining"], first, axis=1) - view["op_remaining"]
    ends_in = np.where(is_started, np.where(is_on_machine, left, 0), left + before + view["op_duration"])
    has_due = (due != NO_DUE_DATE) & (status != DONE)
    slack = np.where(has_due, due, 0) - clock - np.where(is_started, 0, view["op_remaining"])
    return [
        is_started,
        is_on_machine,
        is_interrupted,
        op == next_op,
        (op == next_op) & by_op(observation.legal[:, :-1]),
        status == TO_COME,
        _squash(view["op_duration"], duration_scale),
        _squash(view["op_remaining"], work_scale),
        _squash(ends_in, work_scale),
        np.where((op == next_op) & (available >= 0), _squash(np.maximum(clock - available, 0), duration_scale), 0),
        has_due,
        np.where(has_due, slack / (np.abs(slack) + work_scale), 0),
        weights / (weights + 1),
    ]


def _of_machines(observation: Observation, op_job: np.ndarray, is_op: np.ndarray) -> list[np.ndarray]:
    """Return the columns of machines, (num_envs, machines) each."""
    view, clock = observation.arrays, observation.arrays["clock"][:, None]
    rows, machines = np.arange(len(op_job))[:, None], view["free_at"].shape[1]
    duration_scale, work_scale = _scales(observation, is_op)
    is_up = view["down_since"] < 0
    candidate, available = view["candidate"][:, :-1], view["available"]
    is_waiting = (candidate >= 0) & (available >= 0) & (available <= clock)
    durations = np.take_along_axis(view["op_duration"], np.maximum(candidate, 0), axis=1)
    next_op = np.where(candidate < 0, view["job_first"][:, 1:], candidate)
    is_to_come = is_op & (np.arange(op_job.shape[1]) >= np.take_along_axis(next_op, op_job, axis=1))
    waiting_work, num_waiting, work_to_come = np.zeros((3, len(op_job), machines))
    at = (rows, np.maximum(view["machine"][:, :-1], 0))
    np.add.at(waiting_work, at, np.where(is_waiting, durations, 0))
    np.add.at(num_waiting, at, is_waiting)
    np.add.at(work_to_come, (rows, view["op_machine"]), np.where(is_to_come, view["op_duration"], 0))
    free_in = _squash(np.maximum(view["free_at"] - clock, 0), duration_scale)
    return [
        is_up,
        view["occupant"] >= 0,
        np.where(view["free_at"] < 0, 1.0, free_in),
        np.where(is_up, 0, _squash(np.where(is_up, 0, clock - view["down_since"]), duration_scale)),
        _squash(waiting_work, work_scale),
        num_waiting / observation.sizes[:, 0:1],
        _squash(work_to_come, work_scale),
    ]
