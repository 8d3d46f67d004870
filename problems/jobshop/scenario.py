"""What is drawn in the job shop: nothing during an episode; whole instances for training and tests."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from orl.errors import InputError
from orl.scenario import Purpose, Scenarios

from .instance import MAX_HORIZON, MAX_TIME, JobShop, JobShopSettings

BLOCK = 16  # failures of each machine drawn at a time


def sample(instance: JobShop, seed: int, purpose: Purpose, n: int) -> Scenarios:
    """Return breakdown scenarios, or the one empty scenario of a shop without breakdowns.

    A row holds, for the k-th failure of each machine, (up time before it, repair time), (failures, num_machines, 2).
    Of a shop in motion the first up time counts from its clock. A machine that is down, and not because its calendar
    says so, is up again after the rest of a repair that has lasted since it failed.
    """
    breakdowns = instance.settings.breakdowns
    is_failed, elapsed = _failed(instance)
    if breakdowns.probability == 0 and not is_failed.any():
        if n != 1:
            raise InputError(f"{instance.name} is deterministic: it has 1 scenario, not {n}.")
        return Scenarios.deterministic(seed, purpose)
    law, low, high = breakdowns.repair_law

    def draw_block(rng: np.random.Generator, block: int) -> np.ndarray:
        shape = (BLOCK, instance.num_machines)
        up = np.full(shape, MAX_HORIZON)
        if breakdowns.probability > 0:
            up = np.minimum(rng.geometric(breakdowns.probability, size=shape), MAX_HORIZON)
        if law == "geometric":
            repair = np.minimum(rng.geometric(1 / low, size=shape), MAX_HORIZON)
        else:
            repair = rng.integers(int(low), int(high) + 1, size=shape)
        if block == 0 and is_failed.any():
            up[0, is_failed] = 0
            if law != "geometric":  # a geometric one has no memory
                lasts = np.where(elapsed < high, np.maximum(elapsed + 1, low), low + elapsed)
                rest = rng.integers(lasts.astype(int), np.maximum(lasts, high).astype(int) + 1) - elapsed
                repair[0, is_failed] = rest[is_failed]
        return np.stack([up, repair], axis=-1)

    return Scenarios(seed, purpose, tuple(range(n)), draw_block)


def nominal(instance: JobShop) -> tuple[JobShop, Scenarios]:
    """Return the shop, and the scenario in which no machine fails any more, and one that is down comes back after the
    mean of what its repair may still take, rounded up.
    """
    is_failed, elapsed = _failed(instance)
    if not is_failed.any():
        return instance, Scenarios.deterministic()
    law, low, high = instance.settings.breakdowns.repair_law
    rest = np.full(instance.num_machines, low)
    if law != "geometric":
        least = np.maximum(elapsed + 1, low)
        rest = np.where(elapsed < high, (least + high) / 2 - elapsed, low)

    def draw_block(rng: np.random.Generator, block: int) -> np.ndarray:
        gaps = np.full((2, instance.num_machines, 2), MAX_HORIZON)
        if block == 0:
            gaps[0, is_failed] = np.stack([np.zeros_like(rest), np.ceil(rest)], axis=-1)[is_failed]
        return gaps

    return instance, Scenarios(0, Purpose.EVALUATE, (0,), draw_block)


def _failed(instance: JobShop) -> tuple[np.ndarray, np.ndarray]:
    """Return which machines are down without their calendar saying so, and for how long by now, (num_machines,)."""
    if instance.state is None:
        return np.zeros(instance.num_machines, dtype=bool), np.zeros(instance.num_machines, dtype=np.int64)
    since = instance.state.down_since
    planned = {machine: start for machine, start, end in instance.calendar if start <= instance.clock < end}
    is_planned = np.array([planned.get(machine) == since[machine] for machine in range(instance.num_machines)])
    return (since >= 0) & ~is_planned, instance.clock - since


Intervals = list[tuple[int, int]]


def down_intervals(instance: JobShop, scenario: Scenarios, until: int) -> list[Intervals]:
    """Return when each machine is down, [from, to), planned or not: all intervals that begin before `until`.

    As `downtime` has them.
    """
    table = downtime(instance, scenario, until)[0]
    return [[(a, b) for a, b in pairs if 0 <= a < until] for pairs in table.tolist()]


def downtime(instance: JobShop, scenario: Scenarios, until: int) -> tuple[np.ndarray, int]:
    """Return when each machine is down, planned or not, and until when that is known: `until` at least.

    The intervals of a machine are in order and apart: where planned and unplanned ones touch or overlap they are
    joined. Up time is counted from the last repair, also while the calendar has the machine down. Of a shop in motion
    what has ended by its clock is left out.

    Returns
    -------
    intervals : int ndarray (num_machines, intervals, 2)
        [from, to), -1 where a machine has no more.
    known_until : int
        An interval is known before it begins: those of the stream's part that is not drawn yet begin later.
    """
    clock = instance.clock
    planned: list[Intervals] = [[] for _ in range(instance.num_machines)]
    for machine, start, end in instance.calendar:
        if end > clock:
            planned[machine].append((start, end))
    if scenario.draw is None:
        return _table(planned), MAX_TIME
    length = BLOCK
    while True:
        gaps = scenario.values(0, length)  # (failures, num_machines, 2)
        ends = clock + gaps.reshape(len(gaps), -1, 2).sum(axis=2).cumsum(axis=0)  # (failures, num_machines)
        known_until = int((ends[-1] - gaps[-1, :, 1]).min())
        if known_until >= until:
            break
        length = 2 * len(gaps)
    starts = ends - gaps[:, :, 1]
    if instance.state is not None:
        is_down = gaps[0, :, 0] == 0
        starts[0, is_down] = instance.state.down_since[is_down]
    intervals = np.stack([starts.T, ends.T], axis=-1)
    if instance.calendar:
        lists = intervals.tolist()
        intervals = _table([joined([*planned[m], *map(tuple, lists[m])]) for m in range(instance.num_machines)])
    return intervals, min(known_until, MAX_TIME)


def _table(intervals: list[Intervals]) -> np.ndarray:
    """Return intervals as an array (num_machines, intervals, 2)."""
    table = np.full((len(intervals), max(map(len, intervals)), 2), -1, dtype=np.int64)
    for machine, pairs in enumerate(intervals):
        table[machine, : len(pairs)] = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table


def joined(pairs: Iterable[tuple[int, int]]) -> Intervals:
    """Return intervals in order, those that touch or overlap as one."""
    apart: Intervals = []
    for start, end in sorted(pairs):
        if apart and start <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart


def bound(instance: JobShop, scenario: Scenarios) -> float:
    """Return a proven lower bound on the cost: of the makespan from jobs and loads, of the others from each job alone.

    Downtime and blocking only delay, so what holds without them holds with them.
    """
    if instance.settings.objective == "makespan":
        return float(instance.makespan_bound())
    last = instance.job_first[1:] - 1
    completions = instance.earliest_starts[last] + instance.work_left[last]
    if instance.state is not None:
        is_done = instance.is_done[last]
        completions = np.where(is_done, instance.state.ready_at, completions)
    return instance.cost(completions)


def draw(
    rng: np.random.Generator,
    jobs: int = 6,
    machines: int = 6,
    shortest: int = 1,
    longest: int = 99,
    name: str = "drawn",
    settings: JobShopSettings | None = None,
) -> JobShop:
    """Draw a classic instance: every job visits every machine once in random order, durations are uniform integers.

    The distribution is that of Taillard (1993), Benchmarks for basic scheduling problems, EJOR 64, 278-285,
    doi 10.1016/0377-2217(93)90182-M; the random numbers are NumPy's.

    Examples
    --------
    >>> draw(np.random.default_rng(0), jobs=3, machines=2).num_ops
    6
    """
    return JobShop(
        name,
        machines=[rng.permutation(machines).tolist() for _ in range(jobs)],
        durations=rng.integers(shortest, longest + 1, size=(jobs, machines)).tolist(),
        num_machines=machines,
        settings=settings or JobShopSettings(),
    )
