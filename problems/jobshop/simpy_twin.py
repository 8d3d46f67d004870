"""The job shop as plain SimPy processes: slow and readable, the oracle against which the kernels are tested.

A job is a process that queues for one machine after another; a dispatcher steps in once an instant has settled, that
is, when all that happens at this time, completions and releases, has happened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from orl.errors import IllegalAction

from .instance import JobShop, Schedule


@dataclass
class State:
    """What is known when a decision is due.

    Parameters
    ----------
    time : int
    next_op : list of int, (num_jobs,)
        Position of the job's first operation that has not started; the number of its operations when all have.
    available : list of int, (num_jobs,)
        When that operation can start as far as the job goes: the end of the one before, or the job's release.
    free_at : list of int, (num_machines,)
        When the machine has done what it has started; it is free if this is not after `time`.
    queues : list of lists of int, (num_machines,)
        Jobs that wait for the machine, in order of arrival.
    """

    time: int
    next_op: list[int]
    available: list[int]
    free_at: list[int]
    queues: list[list[int]]

    @staticmethod
    def initial(instance: JobShop) -> State:
        """Return the state before anything has happened."""
        machines = range(instance.num_machines)
        return State(
            0, [0] * instance.num_jobs, instance.releases.tolist(), [0 for _ in machines], [[] for _ in machines]
        )

    def startable(self) -> list[list[int]]:
        """Return, for each free machine with a queue, by machine number, the jobs that wait there."""
        return [
            queue for queue, free_at in zip(self.queues, self.free_at, strict=True) if queue and free_at <= self.time
        ]


Score = Callable[[JobShop, State, int], float]


def simulate(instance: JobShop, choose: Callable[[State], int | None]) -> Schedule:
    """Simulate the non-delay process under a policy.

    Parameters
    ----------
    instance : JobShop
    choose : callable (State) -> int or None
        Asked whenever a free machine has an operation waiting: the job whose next operation starts now, or None to
        hold all machines until the next completion or release.

    Returns
    -------
    Schedule
        Rows in order of execution.

    Raises
    ------
    IllegalAction
        If the job chosen cannot start now, or if None is chosen while nothing is yet to happen.
    """
    env = simpy.Environment()
    state = State.initial(instance)
    rows: list[tuple[int, int, int, int, int]] = []
    go = [env.event() for _ in range(instance.num_jobs)]

    def job_process(job: int) -> Generator[simpy.Event, object, None]:
        yield env.timeout(int(instance.releases[job]))
        for position, (machine, duration) in enumerate(
            zip(instance.machines[job], instance.durations[job], strict=True)
        ):
            state.queues[machine].append(job)
            yield go[job]
            go[job] = env.event()
            state.queues[machine].remove(job)
            state.next_op[job] += 1
            end = int(env.now) + duration
            state.available[job] = state.free_at[machine] = end
            rows.append((job, position, machine, end - duration, end))
            yield env.timeout(duration)

    def dispatcher() -> Generator[simpy.Event, object, None]:
        while True:
            while env.peek() == env.now:  # step behind everything else that happens at this instant
                yield env.timeout(0)
            state.time = int(env.now)
            job = choose(state) if state.startable() else None
            if job is not None:
                if not any(job in queue for queue in state.startable()):
                    raise IllegalAction(f"job {job} must wait for a free machine to start at {env.now}.")
                go[job].succeed()
            elif env.peek() < math.inf:
                yield env.timeout(env.peek() - env.now)
            elif state.startable():
                raise IllegalAction(f"waiting at {env.now} must be for a completion or a release, and none will come.")
            else:
                return

    for job in range(instance.num_jobs):
        env.process(job_process(job))
    env.process(dispatcher())
    env.run()
    return Schedule(*np.array(rows).T)


def giffler_thompson(instance: JobShop, choose: Callable[[State, list[int]], int]) -> Schedule:
    """Build an active schedule, operation by operation.

    Parameters
    ----------
    instance : JobShop
    choose : callable (State, jobs) -> int
        Names one of the jobs in conflict. There is no clock: the state's time is the earliest start in conflict, and
        the queues are those of that time; a job in conflict may be yet to arrive.

    Returns
    -------
    Schedule
        Rows in order of decision.

    References
    ----------
    Giffler and Thompson (1960), doi 10.1287/opre.8.4.487
    """
    state = State.initial(instance)
    rows = []
    while pending := [job for job, route in enumerate(instance.machines) if state.next_op[job] < len(route)]:
        machine_of = {job: instance.machines[job][state.next_op[job]] for job in pending}
        start = {job: max(state.available[job], state.free_at[machine_of[job]]) for job in pending}
        end = {job: start[job] + instance.durations[job][state.next_op[job]] for job in pending}
        first_end, machine = min((end[job], machine_of[job]) for job in pending)
        rivals = [job for job in pending if machine_of[job] == machine]
        conflict = [job for job in rivals if start[job] < first_end or end[job] == first_end]
        state.time = min(start[job] for job in conflict)
        arrived = [job for job in pending if state.available[job] <= state.time]
        by_arrival = sorted(arrived, key=lambda job: state.available[job])
        state.queues = [[job for job in by_arrival if machine_of[job] == m] for m in range(instance.num_machines)]
        job = choose(state, conflict)
        if job not in conflict:
            raise IllegalAction(f"job {job} must be one of the jobs in conflict, {conflict}.")
        rows.append((job, state.next_op[job], machine, start[job], end[job]))
        state.next_op[job] += 1
        state.available[job] = state.free_at[machine] = end[job]
    return Schedule(*np.array(rows).T)


# Rules --------------------------------------------------------------------------------------------------------------


def rule_choice(
    instance: JobShop, score: Score | Sequence[float] | np.ndarray
) -> Callable[[State, Sequence[int] | None], int]:
    """Return the `choose` that follows a dispatching rule, for `simulate` and for `giffler_thompson`.

    Parameters
    ----------
    instance : JobShop
    score : callable (instance, State, job) -> number, or priorities (num_ops,)
        The largest goes first, ties go to the lowest job. In `simulate`, the free machine of lowest number that has a
        queue is served first.
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
    return sum(_duration(instance, state, other) for other in state.queues[instance.machines[job][after]])


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
}
