"""The tabu search of the classic job shop: the Python side of `kernels_tabu`, and where the search goes on when stuck.

Restarts follow Peng, Lü and Cheng (2015, doi 10.1016/j.cor.2014.08.006): the best schedules of the searches so far are
the elite, and a new search begins on a path between two of them. Their paths swap operations on machines and repair
cycles. Here a point on the path is a ranking: schedules A and B are taken as topological orders, operation o gets the
rank (1 - w) place_A(o) + w place_B(o), and machines follow the ranks. What both orders agree on, the routings among it,
is so in the new one, so nothing needs repair.
"""

from __future__ import annotations

import numpy as np

from orl.errors import InputError
from orl.local_search import Neighbourhood

from . import kernels_tabu as kernels
from .instance import JobShop, Schedule

NEIGHBOURHOODS = {"N5": kernels.N5, "N6": kernels.N6, "N7": kernels.N7}
MAX_TABU = 2**27  # entries of the table of tabu arcs, half a gigabyte
MAX_ITERATIONS = 2**31 - 2**20  # the table counts in 32 bits
PATH = (0.3, 0.7)  # between which weights a search begins between two elite schedules
NOISE = 0.2  # largest weight of a random schedule, while the elite is not complete


class TabuSearch:
    """A tabu search from a schedule; see `orl.local_search.LocalSearch` for its use.

    Parameters
    ----------
    instance : JobShop
        Makespan, unlimited buffers, no downtime; release dates, recirculation and zero durations are fine.
    start : Schedule
        Feasible; the result is never worse.
    seed : int
    neighbourhood : 'N5', 'N6' or 'N7'
    tenure : float
        Factor of the tabu tenure, see `_tenure`.
    patience : int
        Iterations without improvement, after which the search goes on from elsewhere.
    elite : int, >= 2
        How many schedules the elite holds.

    Raises
    ------
    InputError
        If the shop is not of this kind.
    """

    def __init__(
        self,
        instance: JobShop,
        start: Schedule,
        seed: int = 0,
        neighbourhood: Neighbourhood = "N6",
        tenure: float = 1.0,
        patience: int = 12_500,
        elite: int = 8,
    ):
        _check(instance)
        self._instance = instance
        self._neighbourhood = NEIGHBOURHOODS[neighbourhood]
        self._patience = patience
        self._elite_size = elite
        self._elite: list[tuple[int, np.ndarray]] = []  # makespan and topological order
        self._seed = np.uint64(seed)
        self._rng = np.random.default_rng(seed)
        self.restarts = 0
        self.bound = float(instance.makespan_bound())
        # Arrays of the kernels, by node: see there.
        jobs, ops = instance.num_jobs, instance.num_ops
        none = ops + jobs
        self._node_of = np.arange(ops) + instance.op_job + 1  # (num_ops,)
        self._job_last = instance.job_first[1:] + np.arange(jobs)
        self._op_machine = np.zeros(none + 1, dtype=np.int64)
        self._op_machine[self._node_of] = instance.op_machine
        node = np.zeros((none + 1, 8), dtype=np.int64)
        node[:, [kernels.BEFORE, kernels.AFTER]] = none
        node[:, [kernels.PLACE, kernels.MARK]] = -1
        node[instance.job_first[:-1] + np.arange(jobs), kernels.END] = instance.releases
        node[self._node_of, kernels.DURATION] = instance.op_duration
        by_machine = np.argsort(instance.op_machine, kind="stable")
        count = np.bincount(instance.op_machine, minlength=instance.num_machines)
        node[self._node_of[by_machine], kernels.INDEX] = np.arange(ops) - np.repeat(np.cumsum(count) - count, count)
        self._node = node
        self._tabu = np.zeros((none + 1, count.max()), dtype=np.int32)
        self._path, self._scratch, self._found = (
            np.zeros(width, dtype=np.int64) for width in (ops, ops, kernels.FOUND_WIDTH)
        )
        self._last_on = np.zeros(instance.num_machines, dtype=np.int64)
        self._state = np.zeros(kernels.STATE_WIDTH, dtype=np.int64)
        self._tenure = _tenure(instance, tenure)
        self._order, self._run_order = np.zeros(ops, dtype=np.int64), np.zeros(ops, dtype=np.int64)
        self._start_from(self._node_of[_topological(instance, start)])
        self._best = int(self._state[kernels.BEST]), self._run_order.copy()

    @property
    def value(self) -> float:
        return float(self._best[0])

    @property
    def iterations(self) -> int:
        return int(self._state[kernels.ITERATION])

    def improve(self, iterations: int) -> float:
        state = self._state
        end = min(self.iterations + iterations, MAX_ITERATIONS)
        while self.iterations < end and self.value > self.bound:
            before = self.iterations
            kernels.search(
                self._node,
                self._order,
                self._run_order,
                self._job_last,
                self._tabu,
                self._path,
                self._scratch,
                self._found,
                state,
                self._neighbourhood,
                self._tenure,
                self._patience,
                int(self.bound),
                self._seed,
                end - before,
            )
            self._keep_best()
            if state[kernels.IS_STUCK] or self.iterations - state[kernels.BEST_AT] >= self._patience:
                self._restart()
                self._keep_best()
        return self.value

    def solution(self) -> Schedule:
        """Return the best schedule so far, in which every operation starts as early as its machine's order allows."""
        state = np.zeros_like(self._state)
        node, order = self._node.copy(), self._best[1].copy()
        kernels.start_from(node, order, self._op_machine, self._last_on, state)
        starts = node[self._node_of, kernels.END] - self._instance.op_duration
        return Schedule.from_starts(self._instance, starts)

    def _keep_best(self) -> None:
        if self._state[kernels.BEST] < self._best[0]:
            self._best = int(self._state[kernels.BEST]), self._run_order.copy()

    def _start_from(self, order: np.ndarray) -> None:
        """Let the next search begin at a topological order."""
        self._order[:] = order
        self._run_order[:] = order
        kernels.start_from(self._node, self._order, self._op_machine, self._last_on, self._state)

    def _restart(self) -> None:
        """Take what the last search found into the elite, and go on from a schedule between two."""
        self.restarts += 1
        self._enter_elite(int(self._state[kernels.BEST]), self._run_order.copy())
        if len(self._elite) < self._elite_size:
            best = min(self._elite, key=lambda one: one[0])[1]
            self._start_from(self._between(best, self._random_order(), NOISE * self._rng.random()))
        else:
            a, b = self._rng.choice(len(self._elite), 2, replace=False)
            self._start_from(self._between(self._elite[a][1], self._elite[b][1], self._rng.uniform(*PATH)))

    def _enter_elite(self, makespan: int, order: np.ndarray) -> None:
        """Add a schedule; in a complete elite it takes the place of the worst, if it is new and no worse."""
        if len(self._elite) < self._elite_size:
            self._elite.append((makespan, order))
            return
        worst = max(range(len(self._elite)), key=lambda i: self._elite[i][0])
        is_new = not any(makespan == m and self._is_same(order, other) for m, other in self._elite)
        if makespan <= self._elite[worst][0] and is_new:
            self._elite[worst] = makespan, order

    def _is_same(self, order: np.ndarray, other: np.ndarray) -> bool:
        """Whether two topological orders mean the same sequences on all machines."""
        first, second = (one[np.argsort(self._op_machine[one], kind="stable")] for one in (order, other))
        return np.array_equal(first, second)

    def _between(self, a: np.ndarray, b: np.ndarray, weight: float) -> np.ndarray:
        """Return a topological order between two, (num_ops,)."""
        rank = (1 - weight) * self._places(a) + weight * self._places(b)
        return self._node_of[np.argsort(rank, kind="stable")]

    def _places(self, order: np.ndarray) -> np.ndarray:
        """Return the place of each operation in a topological order, (num_ops,)."""
        place = np.empty(len(self._node))
        place[order] = np.arange(len(order))
        return place[self._node_of]

    def _random_order(self) -> np.ndarray:
        """Return an order in which each place goes to the next operation of a random job."""
        jobs = self._rng.permutation(self._instance.op_job)
        order = np.empty_like(self._node_of)
        order[np.argsort(jobs, kind="stable")] = self._node_of
        return order


def _check(instance: JobShop) -> None:
    settings = instance.settings
    obstacles = {
        f"objective={settings.objective}": settings.objective != "makespan",
        f"buffers={settings.buffers}": settings.buffers != "unlimited",
        "machines that go down": instance.has_downtime,
        "a shop in motion": instance.state is not None,
    }
    found = [name for name, is_there in obstacles.items() if is_there]
    if found:
        rule = "local search is for the makespan with unlimited buffers, no downtime, and from the beginning"
        raise InputError(f"{instance.name}: {rule}; got {', '.join(found)}.")
    size = (instance.num_ops + instance.num_jobs + 1) * int(np.bincount(instance.op_machine).max())
    if size > MAX_TABU:
        rule = "operations times the most operations of a machine must be below 2**27 for local search"
        raise InputError(f"{instance.name}: {rule}, got {size}.")


def _tenure(instance: JobShop, factor: float) -> np.ndarray:
    """Return the least and the largest tabu tenure, as Zhang et al. (2008, doi 10.1016/j.cor.2006.02.024)."""
    least = factor * (10 + instance.num_jobs / instance.num_machines)
    spread = 1.4 if instance.num_jobs <= 2 * instance.num_machines else 1.5
    return np.array([int(least), int(least * spread)], dtype=np.int64)


def _topological(instance: JobShop, schedule: Schedule) -> np.ndarray:
    """Return the operations in an order that agrees with a schedule's machines, and with the routings, (num_ops,)."""
    by_time = np.lexsort((schedule.position, schedule.end, schedule.start))
    return instance.job_first[schedule.job[by_time]] + schedule.position[by_time]
