"""The job shop as plain SimPy processes: slow and readable, the oracle against which the kernels are tested.

A job is a process that is sent to one machine after another; a dispatcher steps in once an instant has settled. What
happens at one instant happens in this order: completions and releases, repairs, failures, swaps, decisions; what an
operation of no duration brings about is worked off before the next decision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import numpy as np
import simpy

from orl.errors import IllegalAction
from orl.scenario import Scenarios

from .instance import MAX_HORIZON, JobShop, Schedule, with_history
from .scenario import down_intervals


@dataclass
class State:
    """What is known when a decision is due.

    Parameters
    ----------
    instance : JobShop
    time : int
    next_op : list of int, (num_jobs,)
        Position of the job's first operation that has not started; the number of its operations when all have.
    available : list of int or infinity, (num_jobs,)
        When that operation can start as far as the job goes: its release, or the completion of the operation before;
        infinity while that one is under way.
    place : list of int or None, (num_jobs,)
        The machine that the job holds; None while it is outside, in a buffer, or has left.
    down_since : list of int or None, (num_machines,)
        None: the machine is up.
    """

    instance: JobShop
    time: int
    next_op: list[int]
    available: list[float]
    place: list[int | None]
    down_since: list[int | None]
    _leavable: dict[tuple[tuple[int, int], ...], bool] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def initial(instance: JobShop) -> State:
        """Return the state before anything has happened, or that from which a shop in motion goes on.

        All machines are up in it: of those that are down, the dispatcher takes note before anyone is asked.
        """
        jobs, machines = range(instance.num_jobs), range(instance.num_machines)
        state = State(
            instance, 0, [0 for _ in jobs], instance.releases.tolist(), [None] * len(jobs), [None] * len(machines)
        )
        if instance.state is None:
            return state
        state.time = instance.state.clock
        is_blocking = instance.settings.buffers != "unlimited"
        for job, route in enumerate(instance.machines):
            done = state.next_op[job] = int(instance.state.ops_done[job])
            state.available[job] = int(instance.state.ready_at[job])
            if instance.state.work_left[job] > 0:
                state.next_op[job], state.available[job], state.place[job] = done + 1, math.inf, route[done]
            elif is_blocking and 0 < done < len(route):
                state.place[job] = route[done - 1]
        return state

    @property
    def is_over(self) -> bool:
        """Whether all jobs are complete."""
        return max(self.available) <= self.time and all(
            self.next_machine(job) is None for job in range(self.instance.num_jobs)
        )

    @property
    def can_wait(self) -> bool:
        """Whether something is to come that everybody can see: a completion, release, repair or planned downtime."""
        is_planned = any(start > self.time for _, start, _ in self.instance.calendar)
        return (
            max(self.available) > self.time or not all(map(self.is_up, range(self.instance.num_machines))) or is_planned
        )

    def is_up(self, machine: int) -> bool:
        return self.down_since[machine] is None

    def next_machine(self, job: int) -> int | None:
        """Return the machine of the job's first operation that has not started, None when all have."""
        route = self.instance.machines[job]
        return route[self.next_op[job]] if self.next_op[job] < len(route) else None

    def waiting(self, machine: int) -> list[int]:
        """Return the jobs whose next operation is on the machine and could start as far as the job goes."""
        return [
            job
            for job, available in enumerate(self.available)
            if available <= self.time and self.next_machine(job) == machine
        ]

    def candidates(self) -> dict[int, list[int]]:
        """Return, for each machine on which an operation may start now, the jobs among which to choose."""
        is_safe = self._is_safe_after if self.instance.settings.buffers == "none" else lambda job: True
        found = {}
        for machine in range(self.instance.num_machines):
            if self.is_up(machine) and machine not in self.place:
                jobs = [job for job in self.waiting(machine) if self._can_leave(job) and is_safe(job)]
                if jobs:
                    found[machine] = jobs
        return found

    def startable(self) -> list[list[int]]:
        """Return the candidates alone, a list a machine, in order of machines."""
        return list(self.candidates().values())

    def movers(self) -> list[int]:
        """Return the jobs that move by themselves.

        Those are the finished jobs in a cycle in which each waits for the machine that the next one holds, all of
        these machines being up: any such cycle if swaps are allowed, else only a job that goes on on its own machine.
        """
        finished = {  # and still holding a machine
            machine: job
            for job, machine in enumerate(self.place)
            if machine is not None and self.available[job] <= self.time and self.is_up(machine)
        }
        moving = []
        for machine, job in finished.items():
            path = [machine]
            while (following := self.next_machine(finished[path[-1]])) in finished and following not in path:
                path.append(following)
            if following == machine and (len(path) == 1 or self.instance.settings.buffers == "swap"):
                moving.append(job)
        return moving

    def _can_leave(self, job: int) -> bool:
        place = self.place[job]
        return place is None or self.is_up(place)

    def _is_safe_after(self, job: int) -> bool:
        """Return whether all jobs in the shop could still finish once this one has moved.

        Looks through all positions that can be reached by moving one job at a time, which are too many in large shops.
        """
        following = {
            other: self.next_op[other] + (other == job)
            for other, place in enumerate(self.place)
            if place is not None or other == job
        }
        return self._can_all_leave(tuple(following.items()))

    def _can_all_leave(self, following: tuple[tuple[int, int], ...]) -> bool:
        routes = self.instance.machines
        following = tuple((job, op) for job, op in following if op < len(routes[job]))
        if following not in self._leavable:
            held = [routes[job][op - 1] for job, op in following]
            self._leavable[following] = not following or any(
                self._can_all_leave((*following[:i], (job, op + 1), *following[i + 1 :]))
                for i, (job, op) in enumerate(following)
                if routes[job][op] not in held[:i] + held[i + 1 :]
            )
        return self._leavable[following]


Choose = Callable[[State], int | None]
Steps = Generator[simpy.Event, object, None]


def simulate(instance: JobShop, choose: Choose, scenario: Scenarios | None = None) -> Schedule:
    """Simulate the process under a policy, from the beginning or from where a shop in motion is.

    Parameters
    ----------
    instance : JobShop
    choose : callable (State) -> int or None
        Asked whenever there is a candidate: the job whose next operation starts now, or None to hold all machines
        until the next completion, release, repair or failure.
    scenario : Scenarios or None
        One row of failures and repairs; None: no machine breaks down.

    Returns
    -------
    Schedule
        Rows in order of execution, after those of the history; an operation that is interrupted ends when all of its
        work is done.

    Raises
    ------
    IllegalAction
        If the job chosen is no candidate, or if None is chosen while nothing visible is to come.
    """
    shop = _Shop(instance, choose, scenario or Scenarios.deterministic())
    shop.env.run(until=shop.env.process(shop.dispatch()))
    return with_history(instance, Schedule(*np.array(shop.rows).T))


class _Shop:
    """Jobs, machines and the dispatcher of one simulation."""

    def __init__(self, instance: JobShop, choose: Choose, scenario: Scenarios) -> None:
        self.instance = instance
        self.choose = choose
        self.env = simpy.Environment(initial_time=instance.clock)
        self.state = State.initial(instance)
        self.downtime = _Downtime(instance, scenario)
        self.rows: list[list[int]] = []
        self.news = self.env.event()  # of a release or a completion
        self.go = [self.env.event() for _ in range(instance.num_jobs)]
        self.repaired = [self.env.event() for _ in range(instance.num_machines)]
        self.jobs = [self.env.process(self.job(job)) for job in range(instance.num_jobs)]

    @property
    def now(self) -> int:
        return int(self.env.now)

    def job(self, job: int) -> Steps:
        state, route = self.state, self.instance.machines[job]
        if state.available[job] == math.inf:  # in an operation as the shop goes on
            assert self.instance.state is not None
            started, left = int(self.instance.state.started[job]), int(self.instance.state.work_left[job])
            yield from self.operation(job, state.next_op[job] - 1, started, left)
        else:
            yield self.env.timeout(max(int(self.instance.releases[job]) - self.now, 0))
            self.announce()
        for position in range(state.next_op[job], len(route)):
            yield self.go[job]
            self.go[job] = self.env.event()
            state.place[job], state.next_op[job], state.available[job] = route[position], position + 1, math.inf
            yield from self.operation(job, position, self.now, self.instance.durations[job][position])

    def operation(self, job: int, position: int, started: int, left: int) -> Steps:
        """Process what is left of an operation; then its job leaves the machine if it can."""
        state, route = self.state, self.instance.machines[job]
        row = [job, position, route[position], started, started]
        self.rows.append(row)
        yield from self.work(route[position], self.instance.durations[job][position], left)
        row[-1] = self.now
        state.available[job] = self.now
        if self.instance.settings.buffers == "unlimited" or position + 1 == len(route):
            state.place[job] = None
        self.announce()

    def work(self, machine: int, duration: int, remaining: int) -> Steps:
        """Work, until the dispatcher interrupts it because the machine fails, and again from the repair on."""
        while True:
            begun = self.now
            try:
                yield self.env.timeout(remaining)
                return
            except simpy.Interrupt:
                is_kept = self.instance.settings.on_failure == "resume"
                remaining = remaining - (self.now - begun) if is_kept else duration
                yield self.repaired[machine]

    def announce(self) -> None:
        if not self.news.triggered:
            self.news.succeed()

    def settle(self) -> Steps:
        """Step behind everything else that happens at this instant."""
        while self.env.peek() == self.now:
            yield self.env.timeout(0)
        self.state.time = self.now

    def dispatch(self) -> Steps:
        while True:
            yield from self.settle()
            self.turn_machines()
            yield from self.decide()
            if self.state.is_over:
                return
            self.news = self.env.event()
            change = self.downtime.next_change(self.now)
            # The timeout of an interrupted operation still runs out one day, so wait for news, not for any event.
            yield self.news if change is None else self.news | self.env.timeout(change - self.now)

    def turn_machines(self) -> None:
        """Repair and fail the machines whose time has come."""
        state = self.state
        for machine, since in enumerate(self.downtime.down_since(state.time)):
            if state.down_since[machine] is not None and since is None:
                self.repaired[machine].succeed()
                self.repaired[machine] = self.env.event()
            if state.down_since[machine] is None and since is not None:
                for job, place in enumerate(state.place):
                    if place == machine and state.available[job] == math.inf:
                        self.jobs[job].interrupt()
            state.down_since[machine] = since

    def decide(self) -> Steps:
        """Let jobs move, by themselves or as the policy says, until none can or the policy waits."""
        while True:
            yield from self.settle()
            jobs = self.state.movers()
            if not jobs:
                candidates = self.state.startable()
                if not candidates:
                    return
                job = self.choose(self.state)
                if job is None:
                    if not self.state.can_wait:
                        raise IllegalAction(f"waiting at {self.now} must be for something to see, none will come.")
                    return
                if not any(job in queue for queue in candidates):
                    raise IllegalAction(f"job {job} must be a candidate to start at {self.now}: {candidates}.")
                jobs = [job]
            for job in jobs:
                self.go[job].succeed()


class _Downtime:
    """When machines are down, looked up as far ahead as needed."""

    def __init__(self, instance: JobShop, scenario: Scenarios) -> None:
        self.instance, self.scenario = instance, scenario
        self.look_ahead(instance.clock + 64 if scenario.is_random else MAX_HORIZON)

    def look_ahead(self, horizon: int) -> None:
        self.horizon = horizon
        self.intervals = down_intervals(self.instance, self.scenario, horizon)

    def down_since(self, time: int) -> list[int | None]:
        """Return since when each machine is down, None for those that are up; for times up to the next change."""
        return [next((start for start, end in intervals if start <= time < end), None) for intervals in self.intervals]

    def next_change(self, time: int) -> int | None:
        """Return when the next machine fails or is repaired, None if none ever does."""
        while True:
            # An interval may yet grow at its end if that is not before the horizon.
            ahead = [t for pairs in self.intervals for pair in pairs for t in pair if time < t < self.horizon]
            if ahead or not self.scenario.is_random:
                return min(ahead, default=None)
            self.look_ahead(2 * self.horizon)


def giffler_thompson(instance: JobShop, choose: Callable[[State, list[int]], int]) -> Schedule:
    """Build an active schedule, operation by operation.

    Parameters
    ----------
    instance : JobShop
    choose : callable (State, jobs) -> int
        Names one of the jobs in conflict. There is no clock: the state's time is the earliest start in conflict, and
        a job in conflict may be yet to arrive. The state has no places.

    Returns
    -------
    Schedule
        Rows in order of decision.

    References
    ----------
    Giffler and Thompson (1960), doi 10.1287/opre.8.4.487
    """
    state = State.initial(instance)
    free_at = [0] * instance.num_machines
    rows = []
    while pending := [job for job, route in enumerate(instance.machines) if state.next_op[job] < len(route)]:
        machine_of = {job: instance.machines[job][state.next_op[job]] for job in pending}
        start = {job: max(int(state.available[job]), free_at[machine_of[job]]) for job in pending}
        end = {job: start[job] + instance.durations[job][state.next_op[job]] for job in pending}
        first_end, machine = min((end[job], machine_of[job]) for job in pending)
        rivals = [job for job in pending if machine_of[job] == machine]
        conflict = [job for job in rivals if start[job] < first_end or end[job] == first_end]
        state.time = min(start[job] for job in conflict)
        job = choose(state, conflict)
        if job not in conflict:
            raise IllegalAction(f"job {job} must be one of the jobs in conflict, {conflict}.")
        rows.append((job, state.next_op[job], machine, start[job], end[job]))
        state.next_op[job] += 1
        state.available[job] = free_at[machine] = end[job]
    return Schedule(*np.array(rows).T)
