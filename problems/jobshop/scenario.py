"""What is drawn in the job shop: nothing during an episode; whole instances for training and tests."""

from __future__ import annotations

import numpy as np

from orl.errors import InputError
from orl.scenario import Purpose, Scenarios

from .instance import JobShop, JobShopSettings


def sample(instance: JobShop, seed: int, purpose: Purpose, n: int) -> Scenarios:
    """Return the one empty scenario of a deterministic shop."""
    if n != 1:
        raise InputError(f"{instance.name} is deterministic: it has 1 scenario, not {n}.")
    return Scenarios.deterministic(seed, purpose)


def bound(instance: JobShop, scenario: Scenarios) -> float:
    """Return a proven lower bound on the makespan, from the longest job and the machines' loads."""
    return float(instance.makespan_bound())


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
