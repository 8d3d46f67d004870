"""The job shop as a `Process`: the Python side of the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orl import choices
from orl.arrays import read_only
from orl.errors import InputError
from orl.process import Decision, Observation, Revealed
from orl.rule import Rule, call_table
from orl.scenario import Scenarios

from . import kernels, kernels_codes
from .instance import MAX_TIME, JobShop, Schedule, with_history
from .kernels_certificate import search_room
from .kernels_layout import layout
from .scenario import downtime

BUFFERS = {"unlimited": kernels_codes.UNLIMITED, "swap": kernels_codes.SWAP, "none": kernels_codes.NO_BUFFERS}
OBJECTIVES = {
    "makespan": kernels_codes.MAKESPAN,
    "flow-time": kernels_codes.FLOW_TIME,
    "weighted-tardiness": kernels_codes.WEIGHTED_TARDINESS,
    "max-lateness": kernels_codes.MAX_LATENESS,
    "tardy-jobs": kernels_codes.TARDY_JOBS,
}
MAX_FAILURES = 200_000  # of one machine in one episode, before a shop is taken to be unable to finish


class JobShopProcess:
    """A batch of job shops, stepped decision by decision or run whole under a rule.

    An action names a job whose next operation starts now, or is `num_jobs` of the widest shop: `wait`. The README of
    this family documents the arrays of an observation. The cost is the objective that the instance's settings name.

    Parameters
    ----------
    instances : sequence of JobShop
        One an environment; sizes may differ, the largest gives the padding.
    scenarios : sequence of Scenarios
        One an environment, of one row each: when machines fail and for how long, or empty.
    fit : sequence of JobShop
        Further shops that the padding must have room for.

    Examples
    --------
    >>> shop = JobShop("two", machines=[[0, 1], [1, 0]], durations=[[3, 2], [2, 4]])
    >>> process = JobShopProcess([shop], [Scenarios.deterministic()])
    >>> process.observe().legal.tolist()       # job 0 on machine 0, job 1 on machine 1; nothing to wait for
    [[True, True, False]]
    """

    def __init__(self, instances: Sequence[JobShop], scenarios: Sequence[Scenarios], fit: Sequence[JobShop] = ()):
        self.num_envs = len(instances)
        self._instances = list(instances)
        self._scenarios = list(scenarios)
        self._jobs = max(shop.num_jobs for shop in (*instances, *fit))
        self._machines = max(shop.num_machines for shop in (*instances, *fit))
        self._ops = max(shop.num_ops for shop in (*instances, *fit))
        self.decision = Decision("choice", width=self._jobs + 1)
        self._has_search = any(shop.settings.buffers == "none" for shop in instances)
        search = search_room(self._machines) if self._has_search else 0
        self._at, self._shop_width, state_width = layout(self._jobs, self._machines, self._ops, search)
        self._states = np.zeros((self.num_envs, state_width), dtype=np.int64)
        self._shops = np.zeros((1, self._shop_width), dtype=np.int64)  # a row a distinct shop, grown when needed
        self._weights = np.zeros((1, self._jobs + 1))
        self._distinct: list[JobShop] = []  # the shop of each row
        self._row_of: dict[int, int] = {}  # its row, by the shop's identity
        self._shop_of = np.full(self.num_envs, -1, dtype=np.int64)
        self._sizes = np.zeros((self.num_envs, 3), dtype=np.int64)
        self._sizes_view = read_only(self._sizes)
        self._by_env: tuple[np.ndarray, np.ndarray] | None = None  # shops and weights by environment, if they differ
        self._legal = np.zeros((self.num_envs, self.decision.width), dtype=bool)
        self._no_legal = read_only(np.zeros_like(self._legal))
        self._paid = np.zeros(self.num_envs)
        self._known_until = np.zeros(self.num_envs, dtype=np.int64)
        self._downtime: list[np.ndarray] = [np.zeros((0, 0, 2), dtype=np.int64)] * self.num_envs
        self._downs = np.zeros((self.num_envs, 0), dtype=np.int64)
        self._never = read_only(np.zeros(self.num_envs, dtype=bool))
        self._rows = np.arange(self.num_envs)
        self._is_over = np.zeros(self.num_envs, dtype=bool)
        self._post = False
        self._take_instances(self._rows)
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
            self._take_instances(envs)
        first: dict[tuple[int, int], int] = {}  # environments may share instance and scenario
        for env in envs.tolist():
            alike = first.setdefault((id(self._instances[env]), id(self._scenarios[env])), env)
            if alike == env:
                self._draw(env, self._instances[env].clock + 1024)
            self._downtime[env], self._known_until[env] = self._downtime[alike], self._known_until[alike]
        self._lay_out_downtime(envs)
        self._restart(envs)
        self._is_over[envs] = False
        self._post = False

    def observe(self) -> Observation:
        legal = self._no_legal if self._post else read_only(self._legal)
        return Observation(self._views, self._sizes_view, legal, self._post)

    def decide(self, actions: np.ndarray) -> np.ndarray:
        if self._post:
            raise RuntimeError("decide was called twice; call reveal in between.")
        actions = choices.checked(actions, self._legal, self._is_over)
        cost = np.empty(self.num_envs)
        kernels.decide(self._shops, self._shop_of, self._weights, self._states, self._at, actions, self._paid, cost)
        self._post = True
        return cost

    def reveal(self) -> Revealed:
        if not self._post:
            raise RuntimeError("reveal was called without decide.")
        cost, is_over = np.zeros(self.num_envs), np.empty(self.num_envs, dtype=bool)
        envs, is_short = self._rows, np.empty(self.num_envs, dtype=bool)
        while len(envs):
            kernels.reveal(
                self._shops,
                self._shop_of,
                self._weights,
                self._states,
                self._downs,
                self._known_until,
                self._legal,
                self._at,
                envs,
                self._paid,
                cost,
                is_over,
                is_short,
            )
            envs = self._draw_further(envs[is_short[envs]])
        self._is_over = is_over
        self._post = False
        return Revealed(cost, np.ones(self.num_envs), is_over, self._never)

    def solution(self, env: int) -> Schedule:
        """Return the operations that have been completed so far in one environment."""
        instance = self._instances[env]
        start = self._field("start", instance.num_ops)[env]
        end = self._field("end", instance.num_ops)[env]
        is_done = end >= 0
        position = np.arange(instance.num_ops) - instance.job_first[instance.op_job]
        rows = (instance.op_job, position, instance.op_machine, start, end)
        return with_history(instance, Schedule(*(row[is_done] for row in rows)))

    def run(self, rule: Rule, seeds: np.ndarray) -> np.ndarray | None:
        tables = np.zeros((len(self._shops), self._ops))
        if rule.table is not None:
            for row, instance in enumerate(self._distinct):
                tables[row, : instance.num_ops] = call_table(rule, instance, instance.num_ops)
        elif not rule.compiled:
            return None
        cost, is_short = np.empty(self.num_envs), np.empty(self.num_envs, dtype=bool)
        envs = self._rows
        while len(envs):
            kernels.run(
                self._shops,
                self._shop_of,
                self._weights,
                self._states,
                self._downs,
                self._known_until,
                self._legal,
                self._at,
                rule.compiled,
                tables,
                seeds,
                envs,
                self._paid,
                cost,
                is_short,
            )
            envs = self._draw_further(envs[is_short[envs]])
        self._is_over[:] = True
        self._post = False
        return cost

    # private: downtime

    def _draw(self, env: int, until: int) -> None:
        """Take the downtime of an environment from its scenario: at least until a time, or to the end of all times.

        An interval is always known before it begins: the clock stops short of the last one's beginning.
        """
        self._downtime[env], self._known_until[env] = downtime(
            self._instances[env], self._scenarios[env], min(until, MAX_TIME)
        )

    def _draw_further(self, envs: np.ndarray) -> np.ndarray:
        """Draw the scenarios of environments further and return these environments."""
        for env in envs.tolist():
            known = int(self._known_until[env])
            failures = self._downtime[env].shape[1]
            if known >= MAX_TIME or failures > MAX_FAILURES:
                raise InputError(
                    f"{self._instances[env].name}: not finished after {failures} failures of a machine, time {known}; "
                    "breakdowns leave no time to work (see breakdowns.probability, breakdowns.repair, on_failure)."
                )
            self._draw(env, 2 * max(known, 512))
        if len(envs):
            self._lay_out_downtime(envs)
        return envs

    def _lay_out_downtime(self, envs: np.ndarray) -> None:
        """Write the downtime of `envs` into one array: (num_envs, machines * intervals * 2), -1 where there is none.

        The array is kept as long as the intervals fit, so a reset costs what it resets.
        """
        room = self._downs.shape[1] // (2 * self._machines)
        longest = max((self._downtime[env].shape[1] for env in envs.tolist()), default=0)
        if longest > room:
            room, envs = max(longest, 2 * room), self._rows
            self._downs = np.empty((self.num_envs, self._machines * room * 2), dtype=np.int64)
        if room == 0:
            return
        self._downs[envs] = -1
        downs = self._downs.reshape(self.num_envs, self._machines, room, 2)
        for env in envs.tolist():
            table = self._downtime[env]
            np.minimum(table, MAX_TIME, out=downs[env, : len(table), : table.shape[1]])

    def _restart(self, envs: np.ndarray) -> None:
        self._paid[envs] = 0
        is_short = np.empty(self.num_envs, dtype=bool)
        while len(envs):
            kernels.reset(
                self._shops,
                self._shop_of,
                self._states,
                self._downs,
                self._known_until,
                self._legal,
                self._at,
                envs,
                is_short,
            )
            envs = self._draw_further(envs[is_short[envs]])

    # private: arrays

    def _field(self, name: str, width: int = 0) -> np.ndarray:
        """Return a read-only view of a state field by environment: (num_envs,), or (num_envs, width)."""
        first = getattr(self._at, name)
        return read_only(self._states[:, first : first + width] if width else self._states[:, first])

    def _check_fit(self, instances: Sequence[JobShop]) -> None:
        for shop in instances:
            if shop.num_jobs > self._jobs or shop.num_machines > self._machines or shop.num_ops > self._ops:
                padding = f"{self._jobs} jobs, {self._machines} machines, {self._ops} operations"
                raise ValueError(f"{shop.name} does not fit into {padding}.")
            if shop.settings.buffers == "none" and not self._has_search:
                raise ValueError(f"{shop.name} has buffers=none, which none had when the process was made.")

    def _take_instances(self, envs: np.ndarray) -> None:
        """Give each of `envs` the row of its shop; a row whose shop nobody plays any more is written over."""
        self._shop_of[envs] = -1
        uses = np.bincount(self._shop_of[self._shop_of >= 0], minlength=len(self._distinct)).tolist()
        unused = [row for row, count in enumerate(uses) if count == 0]
        for env in envs.tolist():
            shop = self._instances[env]
            row = self._row_of.get(id(shop))
            if row is None:
                while unused and uses[unused[-1]]:
                    unused.pop()
                row = self._write_shop(shop, unused.pop() if unused else None)
                uses += [0] * (len(self._distinct) - len(uses))
            uses[row] += 1
            self._shop_of[env] = row
            self._sizes[env] = shop.num_jobs, shop.num_machines, shop.num_ops
        if len(self._distinct) > 1 and self._by_env is None:
            envs = self._rows
            self._by_env = (
                np.empty((self.num_envs, self._shop_width), dtype=np.int64),
                np.empty((self.num_envs, self._jobs + 1)),
            )
        if self._by_env is not None:
            for by_env, by_row in zip(self._by_env, (self._shops, self._weights), strict=True):
                by_env[envs] = by_row[self._shop_of[envs]]
        self._views = self._named_views()

    def _write_shop(self, shop: JobShop, row: int | None) -> int:
        """Lay a shop out in a row, a new one if none is given, and return it."""
        if row is None:
            row = len(self._distinct)
            self._distinct.append(shop)
        else:
            del self._row_of[id(self._distinct[row])]
            self._distinct[row] = shop
        if row == len(self._shops):
            self._shops, self._weights = (np.concatenate([rows, rows]) for rows in (self._shops, self._weights))
        self._row_of[id(shop)] = row
        self._shops[row] = self._shop_row(shop)
        # The kernels read the mean duration behind the weights.
        self._weights[row] = [*_padded(shop.weights, self._jobs), max(shop.op_duration.mean(), 1.0)]
        return row

    def _named_views(self) -> Mapping[str, np.ndarray]:
        """Return the arrays of an observation; one shop for all costs no memory."""
        jobs, machines, ops = self._jobs, self._machines, self._ops
        moving = {
            "clock": 0,
            "num_started": 0,
            "candidate": jobs + 1,
            "machine": jobs + 1,
            "status": jobs,
            "place": jobs,
            "available": jobs,
            "remaining": jobs,
            "free_at": machines,
            "occupant": machines,
            "down_since": machines,
        }
        static = {
            "job_first": jobs + 1,
            "releases": jobs,
            "due_dates": jobs,
            "op_machine": ops,
            "op_duration": ops,
            "op_remaining": ops,
        }
        shops, weights = self._by_env or (
            np.broadcast_to(rows[0], (self.num_envs, rows.shape[1])) for rows in (self._shops, self._weights)
        )
        return {
            **{key: self._field(key, width) for key, width in moving.items()},
            **{
                key: read_only(shops[:, getattr(self._at, key) : getattr(self._at, key) + width])
                for key, width in static.items()
            },
            "weights": read_only(weights[:, :-1]),
        }

    def _shop_row(self, shop: JobShop) -> np.ndarray:
        row, at = np.zeros(self._shop_width, dtype=np.int64), self._at
        row[at.num_jobs], row[at.num_ops] = shop.num_jobs, shop.num_ops
        row[at.is_active] = shop.settings.dispatch == "active"
        row[at.buffers] = BUFFERS[shop.settings.buffers]
        row[at.restarts] = shop.settings.on_failure == "restart"
        row[at.objective] = OBJECTIVES[shop.settings.objective]
        row[at.last_planned] = max((start for _, start, _ in shop.calendar), default=-1)
        row[at.job_first : at.releases] = shop.num_ops  # the padding's jobs have no operations
        begun: tuple[tuple[int, np.ndarray], ...] = ((at.ready_at, shop.releases),)
        if (state := shop.state) is not None:
            row[at.initial_clock] = state.clock
            begun = (
                (at.initial_done, state.ops_done),
                (at.initial_left, state.work_left),
                (at.initial_start, state.started),
                (at.ready_at, state.ready_at),
            )
        for first, values in (
            *begun,
            (at.job_first, shop.job_first),
            (at.releases, shop.releases),
            (at.due_dates, shop.due_dates),
            (at.op_machine, shop.op_machine),
            (at.op_duration, shop.op_duration),
            (at.op_remaining, shop.remaining_work),
        ):
            row[first : first + len(values)] = values
        return row


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
    best_row = np.empty_like(process._states[0])
    cost = kernels.run_randomised(
        process._shops[0],
        process._weights[0],
        process._states[0],
        process._downs[0],
        process._legal[0],
        process._at,
        rule.compiled,
        table,
        np.uint64(seed % 2**63),
        first_run,
        runs,
        epsilon,
        best_row,
    )
    process._states[0] = best_row
    return float(cost), process.solution(0)


def _padded(values: np.ndarray, width: int) -> np.ndarray:
    return np.pad(values, (0, width - len(values)))
