"""The job shop as a `Process`: the Python side of the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orl.errors import IllegalAction
from orl.process import Decision, Observation, Revealed
from orl.rule import Rule, call_table
from orl.scenario import Scenarios

from . import kernels
from .instance import JobShop, Schedule
from .kernels_layout import layout


class JobShopProcess:
    """A batch of job shops, stepped decision by decision or run whole under a rule.

    An action names a job whose next operation starts now, or is `num_jobs` of the widest shop: `wait`. The README of
    this family documents the arrays of an observation. The cost is the makespan.

    Parameters
    ----------
    instances : sequence of JobShop
        One an environment; sizes may differ, the largest gives the padding.
    scenarios : sequence of Scenarios
        One an environment; empty, as nothing is random here.

    Examples
    --------
    >>> shop = JobShop("two", machines=[[0, 1], [1, 0]], durations=[[3, 2], [2, 4]])
    >>> process = JobShopProcess([shop], [Scenarios.deterministic()])
    >>> process.observe().legal.tolist()       # job 0 on machine 0, job 1 on machine 1; nothing to wait for
    [[True, True, False]]
    """

    def __init__(self, instances: Sequence[JobShop], scenarios: Sequence[Scenarios]):
        self.num_envs = len(instances)
        self._instances = list(instances)
        self._scenarios = list(scenarios)
        self._jobs = max(shop.num_jobs for shop in instances)
        self._machines = max(shop.num_machines for shop in instances)
        self._ops = max(shop.num_ops for shop in instances)
        self.decision = Decision("choice", width=self._jobs + 1)
        self._at, self._shop_width, state_width = layout(self._jobs, self._machines, self._ops)
        self._states = np.zeros((self.num_envs, state_width), dtype=np.int64)
        self._shop_of = np.zeros(self.num_envs, dtype=np.int64)
        self._legal = np.zeros((self.num_envs, self.decision.width), dtype=bool)
        self._no_legal = _view(np.zeros_like(self._legal))
        self._never = _view(np.zeros(self.num_envs, dtype=bool))
        self._rows = np.arange(self.num_envs)
        self._is_over = np.zeros(self.num_envs, dtype=bool)
        self._post = False
        self._take_instances()
        self.reset()

    @property
    def instances(self) -> Sequence[JobShop]:
        return tuple(self._instances)

    @property
    def scenarios(self) -> Sequence[Scenarios]:
        """The stream of each environment."""
        return tuple(self._scenarios)

    def reset(
        self,
        envs: Sequence[int] | np.ndarray | None = None,
        instances: Sequence[JobShop] | None = None,
        scenarios: Sequence[Scenarios] | None = None,
    ) -> None:
        """Start `envs` anew; a new instance must fit into the padding."""
        if self._post and envs is not None:
            raise RuntimeError("some environments cannot be reset between decide and reveal; call reveal first.")
        envs = self._rows if envs is None else np.asarray(envs, dtype=np.int64)
        self._check_fit(instances or ())
        for kept, new in ((self._instances, instances), (self._scenarios, scenarios)):
            for env, one in zip(envs.tolist(), new or (), strict=new is not None):
                kept[env] = one  # type: ignore[call-overload]
        if instances is not None:
            self._take_instances()
        kernels.reset(self._shops, self._shop_of, self._states, self._legal, self._at, envs)
        self._is_over[envs] = False
        self._post = False

    def observe(self) -> Observation:
        return Observation(self._views, self._sizes, self._no_legal if self._post else _view(self._legal), self._post)

    def decide(self, actions: np.ndarray) -> np.ndarray:
        actions = np.asarray(actions)
        if not np.issubdtype(actions.dtype, np.integer):
            is_whole = np.issubdtype(actions.dtype, np.floating) and (actions == np.floor(actions)).all()
            if not is_whole:
                raise IllegalAction(f"actions must be whole numbers, got {actions.dtype}.")
        actions = actions.astype(np.int64)
        if self._post:
            raise RuntimeError("decide was called twice; call reveal in between.")
        if actions.shape != (self.num_envs,):
            raise IllegalAction(f"actions must have shape ({self.num_envs},), got {actions.shape}.")
        in_range = (actions >= 0) & (actions < self.decision.width)
        is_legal = self._legal[self._rows, np.where(in_range, actions, 0)] & in_range
        if not (is_legal | self._is_over).all():
            env = int((is_legal | self._is_over).argmin())
            raise IllegalAction(
                f"action {actions[env]} is illegal in environment {env}; legal are "
                f"{np.flatnonzero(self._legal[env]).tolist()}."
            )
        cost = np.empty(self.num_envs)
        kernels.decide(self._shops, self._shop_of, self._states, self._at, actions, cost)
        self._post = True
        return cost

    def reveal(self) -> Revealed:
        if not self._post:
            raise RuntimeError("reveal was called without decide.")
        cost, is_over = np.empty(self.num_envs), np.empty(self.num_envs, dtype=bool)
        kernels.reveal(self._shops, self._shop_of, self._states, self._legal, self._at, cost, is_over)
        self._is_over = is_over
        self._post = False
        return Revealed(cost, np.ones(self.num_envs), is_over, self._never)

    def solution(self, env: int) -> Schedule:
        """Return what has started so far in one environment."""
        instance = self._instances[env]
        start = self._field("start", instance.num_ops)[env]
        schedule = Schedule.from_starts(instance, start)
        if (start >= 0).all():
            return schedule
        rows = [getattr(schedule, key)[start >= 0] for key in ("job", "position", "machine", "start", "end")]
        return Schedule(*rows)

    def run(self, rule: Rule, seeds: np.ndarray) -> np.ndarray | None:
        tables = np.zeros((len(self._shops), self._ops))
        if rule.table is not None:
            for row, instance in enumerate(self._distinct):
                tables[row, : instance.num_ops] = call_table(rule, instance, instance.num_ops)
        elif not rule.compiled:
            return None
        cost = np.empty(self.num_envs)
        kernels.run(self._shops, self._shop_of, self._states, self._legal, self._at, rule.compiled, tables, seeds, cost)
        self._is_over[:] = True
        self._post = False
        return cost

    # private: arrays

    def _field(self, name: str, width: int = 0) -> np.ndarray:
        """Return a read-only view of a state field by environment: (num_envs,), or (num_envs, width)."""
        first = getattr(self._at, name)
        return _view(self._states[:, first : first + width] if width else self._states[:, first])

    def _check_fit(self, instances: Sequence[JobShop]) -> None:
        for shop in instances:
            if shop.num_jobs > self._jobs or shop.num_machines > self._machines or shop.num_ops > self._ops:
                padding = f"{self._jobs} jobs, {self._machines} machines, {self._ops} operations"
                raise ValueError(f"{shop.name} does not fit into {padding}.")

    def _take_instances(self) -> None:
        """Lay the distinct instances out as rows and view them by environment."""
        sizes = [(shop.num_jobs, shop.num_machines, shop.num_ops) for shop in self._instances]
        distinct = {id(shop): shop for shop in self._instances}
        row_of = {key: row for row, key in enumerate(distinct)}
        self._distinct = list(distinct.values())
        self._shop_of[:] = [row_of[id(shop)] for shop in self._instances]
        self._shops = np.array([self._shop_row(shop) for shop in self._distinct])
        jobs, machines, ops = self._jobs, self._machines, self._ops
        moving = {
            "clock": 0,
            "num_started": 0,
            "candidate": jobs + 1,
            "machine": jobs + 1,
            "available": jobs,
            "free_at": machines,
        }
        static = {"job_first": jobs + 1, "releases": jobs, "op_machine": ops, "op_duration": ops}
        of_shop = {
            key: self._shops[:, getattr(self._at, key) : getattr(self._at, key) + width]
            for key, width in static.items()
        }
        of_shop["due_dates"] = np.array([_padded(shop.due_dates, jobs) for shop in self._distinct])
        of_shop["weights"] = np.array([_padded(shop.weights, jobs) for shop in self._distinct])
        self._views: Mapping[str, np.ndarray] = {
            **{key: self._field(key, width) for key, width in moving.items()},
            **{key: _view(self._by_env(array)) for key, array in of_shop.items()},
        }
        self._sizes = _view(np.array(sizes))

    def _shop_row(self, shop: JobShop) -> np.ndarray:
        row, at = np.zeros(self._shop_width, dtype=np.int64), self._at
        row[at.num_jobs], row[at.num_ops] = shop.num_jobs, shop.num_ops
        row[at.is_active] = shop.settings.dispatch == "active"
        row[at.job_first : at.releases] = shop.num_ops  # the padding's jobs have no operations
        for first, values in (
            (at.job_first, shop.job_first),
            (at.releases, shop.releases),
            (at.op_machine, shop.op_machine),
            (at.op_duration, shop.op_duration),
        ):
            row[first : first + len(values)] = values
        return row

    def _by_env(self, array: np.ndarray) -> np.ndarray:
        """Return per-shop rows by environment; one shop for all costs no memory."""
        if len(array) == 1:
            return np.broadcast_to(array[0], (self.num_envs, *array.shape[1:]))
        return array[self._shop_of]


def randomise(
    instance: JobShop, rule: Rule, runs: int, first_run: int, epsilon: float, seed: int
) -> tuple[float, Schedule]:
    """Return cost and schedule of the best of `runs` randomised runs of a rule; run 0 is the rule itself.

    In every other run each decision is drawn at random with probability `epsilon`.
    """
    process = JobShopProcess([instance], [Scenarios.deterministic()])
    table = np.zeros(instance.num_ops)
    if rule.table is not None:
        table = call_table(rule, instance, instance.num_ops)
    best_start = np.empty(instance.num_ops, dtype=np.int64)
    cost = kernels.run_randomised(
        process._shops[0],
        process._states[0],
        process._legal[0],
        process._at,
        rule.compiled,
        table,
        np.uint64(seed % 2**63),
        first_run,
        runs,
        epsilon,
        best_start,
    )
    return float(cost), Schedule.from_starts(instance, best_start)


def _padded(values: np.ndarray, width: int) -> np.ndarray:
    return np.pad(values, (0, width - len(values)))


def _view(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.setflags(write=False)
    return view
