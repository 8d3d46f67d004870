"""Dispatching rules in the words of the SimPy twin, against which the compiled ones are tested."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .instance import NO_DUE_DATE, JobShop
from .simpy_twin import State

Score = Callable[[JobShop, State, int], float]


def rule_choice(
    instance: JobShop, score: Score | Sequence[float] | np.ndarray
) -> Callable[[State, Sequence[int] | None], int]:
    """Return the `choose` that follows a dispatching rule, for `simulate` and for `giffler_thompson`.

    Parameters
    ----------
    instance : JobShop
    score : callable (instance, State, job) -> number, or priorities (num_ops,)
        The largest goes first, ties go to the lowest job. In `simulate`, the machine of lowest number that has a
        candidate is served first; nobody ever waits.
    """

    def score_of(state: State, job: int) -> float:
        return score(instance, state, job) if callable(score) else score[instance.job_first[job] + state.next_op[job]]

    def choose(state: State, jobs: Sequence[int] | None = None) -> int:
        jobs = state.startable()[0] if jobs is None else jobs
        return max(sorted(jobs), key=lambda job: score_of(state, job))  # max keeps the first of equals

    return choose


def _duration(instance: JobShop, state: State, job: int) -> int:
    return instance.durations[job][state.next_op[job]]


def _remaining_work(instance: JobShop, state: State, job: int) -> int:
    return sum(instance.durations[job][state.next_op[job] :])


def _remaining_ops(instance: JobShop, state: State, job: int) -> int:
    return len(instance.durations[job]) - state.next_op[job]


def _flow_due_date_ratio(instance: JobShop, state: State, job: int) -> float:
    """Return the earliest completion were no machine ever taken, over the remaining work (or 1, if there is none)."""
    flow_due_date = int(instance.releases[job]) + sum(instance.durations[job][: state.next_op[job] + 1])
    return flow_due_date / max(_remaining_work(instance, state, job), 1)


def _work_in_next_queue(instance: JobShop, state: State, job: int) -> int:
    """Return the work now waiting for the machine of the job's operation after this one; 0 if this is the last."""
    after = state.next_op[job] + 1
    if after == len(instance.machines[job]):
        return 0
    return sum(_duration(instance, state, other) for other in state.waiting(instance.machines[job][after]))


def _due_date(instance: JobShop, job: int) -> float:
    due = int(instance.due_dates[job])
    return math.inf if due == NO_DUE_DATE else due


def _slack(instance: JobShop, state: State, job: int) -> float:
    return _due_date(instance, job) - state.time - _remaining_work(instance, state, job)


def _modified_due_date(instance: JobShop, state: State, job: int) -> float:
    """Return the due date, or the earliest completion from now on if that is later."""
    return max(_due_date(instance, job), state.time + _remaining_work(instance, state, job))


def _critical_ratio(instance: JobShop, state: State, job: int) -> float:
    return (_due_date(instance, job) - state.time) / max(_remaining_work(instance, state, job), 1)


def _apparent_tardiness_cost(instance: JobShop, state: State, job: int) -> float:
    """Return the index of Vepsalainen and Morton (1987, doi 10.1287/mnsc.33.8.1035) with look-ahead factor 2."""
    mean_duration = max(sum(map(sum, instance.durations)) / instance.num_ops, 1)
    urgency = math.exp(-max(_slack(instance, state, job), 0) / (2 * mean_duration))
    return instance.weights[job] / max(_duration(instance, state, job), 1) * urgency


SCORES: Mapping[str, Score] = {
    "spt": lambda instance, state, job: -_duration(instance, state, job),
    "lpt": _duration,
    "mwr": _remaining_work,
    "lwr": lambda instance, state, job: -_remaining_work(instance, state, job),
    "mor": _remaining_ops,
    "lor": lambda instance, state, job: -_remaining_ops(instance, state, job),
    "fifo": lambda instance, state, job: -state.available[job],
    "lifo": lambda instance, state, job: state.available[job],
    "fdd/mwr": lambda instance, state, job: -_flow_due_date_ratio(instance, state, job),
    "winq": lambda instance, state, job: -_work_in_next_queue(instance, state, job),
    "edd": lambda instance, state, job: -_due_date(instance, job),
    "mdd": lambda instance, state, job: -_modified_due_date(instance, state, job),
    "cr": lambda instance, state, job: -_critical_ratio(instance, state, job),
    "s/opn": lambda instance, state, job: -_slack(instance, state, job) / _remaining_ops(instance, state, job),
    "atc": _apparent_tardiness_cost,
}
