"""Stays: how long a job holds a machine, whatever the buffers; the nodes of the alternative graph of the exact models.

With unlimited buffers every operation is a stay, from its start to its end. In a blocking shop a job that goes on on
its own machine holds it throughout, so successive operations of a job on one machine are one stay; it lasts from the
start of the first of them to the start of the operation after the last of them, or, of the job's last stay, to its end.

In a shop in motion, stays before its clock are over. One in which a job is on a machine at the clock is pinned: entered
at the clock, before all others on its machine. Its work is what is left; of a job that waits there, blocked, it begins
with the operation completed last, as one without work. No move enters it, so it is not one that is passed in no time.

Moves at one time have an order, too. Entering a stay is a move, the one that leaves the job's stay before; so is
leaving the shop. If stay a is before stay b on a machine, the move that leaves a comes before the move that enters b;
with swaps it may also be made together with it. All these arcs must have no cycle, with swaps none but of moves that
can be made together. Along an arc time does not go back, so such a cycle is one of moves at equal times, and where
there is none, numbers can be given to all moves that grow along the arcs (with swaps: do not fall). They also grow from
the move that enters a stay without work to the one that leaves it, for a job that passes a machine in no time does one
after the other; of a stay with work the two are at different times. So nothing is asked with swaps where all stays have
work. Without swaps it is then only the arcs between moves from one machine to another that matter: the others have no
arc in, or none out.

References
----------
A. Mascis, D. Pacciarelli (2002). Job-shop scheduling with blocking and no-wait constraints. European Journal of
Operational Research 143(3), 498-517. doi 10.1016/S0377-2217(01)00338-1: the alternative graph.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .exact_windows import TimeWindows
from .instance import JobShop
from .state import held_machines


class Stays(NamedTuple):
    """The stays of a shop that are not over, numbered through job by job in routing order.

    Parameters
    ----------
    first, last : list of int
        Operations that a stay begins and ends with.
    job, machine, work : list of int
        Work in time units.
    is_first, is_last : list of bool
        Of its job's stays.
    is_pinned : list of bool
        The job is there as the shop goes on.
    passing : list of int
        The stays without work, but for pinned ones.
    is_blocking, has_swaps : bool
    """

    first: list[int]
    last: list[int]
    job: list[int]
    machine: list[int]
    work: list[int]
    is_first: list[bool]
    is_last: list[bool]
    is_pinned: list[bool]
    passing: list[int]
    is_blocking: bool
    has_swaps: bool

    def leaves_at_end(self, k: int) -> bool:
        """Whether stay k ends with the work, not with the start of stay k + 1."""
        return self.is_last[k] or not self.is_blocking

    def pairs(self) -> list[tuple[int, int]]:
        """Return all (a, b), a < b, on one machine."""
        on_machine: dict[int, list[int]] = {}
        for k, machine in enumerate(self.machine):
            on_machine.setdefault(machine, []).append(k)
        return [(a, b) for ks in on_machine.values() for i, a in enumerate(ks) for b in ks[i + 1 :]]

    def order(self, windows: TimeWindows, a: int, b: int) -> int | None:
        """Return 1 if a must be before b on their machine, 0 if b before a, None if that is to be decided."""
        if self.job[a] == self.job[b]:
            return int(a < b)
        if self.is_pinned[a] or self.is_pinned[b]:
            return int(self.is_pinned[a])
        if self._earliest_leave(windows, b) > windows.latest[self.first[a]]:
            return 1
        return 0 if self._earliest_leave(windows, a) > windows.latest[self.first[b]] else None

    def _earliest_leave(self, windows: TimeWindows, k: int) -> int:
        if self.leaves_at_end(k):
            return int(windows.earliest_end[self.last[k]])
        return int(windows.earliest[self.first[k + 1]])

    @property
    def has_move_order(self) -> bool:
        """Whether an order of moves is asked for."""
        return self.is_blocking and (not self.has_swaps or bool(self.passing))

    @property
    def moves(self) -> range:
        """Numbers of the moves: the stays that are entered, then the jobs that leave the shop."""
        return range(len(self.first) + self.job[-1] + 1)

    def leaving(self, k: int) -> int:
        """Return the move that leaves stay k."""
        return len(self.first) + self.job[k] if self.is_last[k] else k + 1

    def is_arc(self, a: int, b: int) -> bool:
        """Whether a before b on a machine asks for an order of the moves that leave a and enter b."""
        return bool(self.passing) or not (self.is_last[a] or self.is_first[b])

    def leave(self, k: int, starts: np.ndarray, ends: np.ndarray) -> int:
        """Return when stay k ends if operations start and end as given, (num_ops,)."""
        return int(ends[self.last[k]] if self.leaves_at_end(k) else starts[self.first[k + 1]])

    def is_before(self, a: int, b: int, starts: np.ndarray, ends: np.ndarray) -> bool:
        """Whether a is before b on their machine; of two without length at one time, the lower number is."""
        return self.leave(a, starts, ends) <= int(starts[self.first[b]])


def stays_of(instance: JobShop) -> Stays:
    """Return the stays of a shop, or of a shop in motion those that are not over."""
    is_blocking = instance.settings.buffers != "unlimited"
    is_pinned = np.zeros(instance.num_ops, dtype=bool)  # the operation that a job on a machine is in, or was in last
    if (state := instance.state) is not None:
        jobs = np.flatnonzero(held_machines(instance, state) >= 0)
        is_pinned[instance.job_first[jobs] + state.ops_done[jobs] - (state.work_left[jobs] == 0)] = True
    ops = np.flatnonzero(~instance.is_done | is_pinned)
    machine, job = instance.op_machine[ops], instance.op_job[ops]
    goes_on = (np.diff(machine) == 0) & (np.diff(job) == 0) & is_blocking
    first = np.flatnonzero(np.concatenate([[True], ~goes_on]))  # places in `ops`
    last = np.concatenate([first[1:], [len(ops)]]) - 1
    work = np.add.reduceat(instance.work_left[ops], first)
    is_new_job = np.concatenate([[True], np.diff(job[first]) > 0, [True]])
    return Stays(
        ops[first].tolist(),
        ops[last].tolist(),
        job[first].tolist(),
        machine[first].tolist(),
        work.tolist(),
        is_new_job[:-1].tolist(),
        is_new_job[1:].tolist(),
        is_pinned[ops[first]].tolist(),
        np.flatnonzero((work == 0) & ~is_pinned[ops[first]]).tolist(),
        is_blocking,
        instance.settings.buffers == "swap",
    )
