"""Live states of a shop that somebody else runs: read, decided by a rule in one kernel call, answered.

A state is either of a shop that is known (an instance; jobs and machines are named as there), or brings its jobs along.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from orl.embed import Chosen, Live
from orl.errors import InputError
from orl.params import nearest
from orl.process import Observation
from orl.rule import Rule, call_table

from .instance import JobShop, JobShopSettings
from .state import ShopState, state_from

State = Mapping[str, Any]
ARRAYS = ("clock", "ops_done", "work_left", "started", "ready_at", "down_since")
OF_JOB = ("operations", "release", "due", "weight")


def read(given: JobShop | JobShopSettings, state: State) -> JobShop:
    """Return the shop as it stands in a live state.

    Parameters
    ----------
    given : JobShop or JobShopSettings
        The shop that the state speaks of, or the settings of the one that it brings along.
    state : mapping
        As `schema` describes it; or with arrays by the names of `ShopState`'s fields, for a shop that is known.

    Raises
    ------
    InputError
        Names key, rule and value.
    """
    if not isinstance(state, Mapping):
        raise InputError("a state must be an object with clock, jobs and machines.")
    if "ops_done" in state:
        if not isinstance(given, JobShop):
            raise InputError("a state of arrays needs a shop that is known; make the policy with an instance.")
        return given.in_motion(_of_arrays(given, state))
    if isinstance(given, JobShop):
        return given.in_motion(state_from(given, state))
    shop, rest = _brought(given, state)
    return shop.in_motion(state_from(shop, rest))


def _of_arrays(shop: JobShop, state: State) -> ShopState:
    for key in state:
        if key not in ARRAYS:
            raise InputError(f"state: unknown array {key!r}; {nearest(str(key), ARRAYS)}")
    if "clock" not in state:
        raise InputError("state: clock is missing.")
    for key, values in state.items():
        if np.asarray(values).dtype.kind not in "iu":
            raise InputError(f"state: {key} must hold whole numbers, got {str(values)[:60]}.")
    jobs, machines = np.zeros(shop.num_jobs, dtype=np.int64), np.full(shop.num_machines, -1)
    default = {"work_left": jobs, "started": jobs - 1, "ready_at": jobs - 1, "down_since": machines}
    return ShopState(**{**default, **state})


def _brought(settings: JobShopSettings, state: State) -> tuple[JobShop, dict[str, Any]]:
    """Return the shop that a state brings along, and the state without it."""
    entries = state.get("jobs")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, Mapping) for entry in entries):
        raise InputError("state: jobs must be a list of objects, one or more.")
    machines = state.get("machines", [])
    if not isinstance(machines, list) or not all(isinstance(entry, Mapping) for entry in machines):
        raise InputError("state: machines must be a list of objects.")
    names = {str(entry.get("machine")): None for entry in machines}
    for i, entry in enumerate(entries):
        route = entry.get("operations")
        is_route = isinstance(route, list) and route and all(isinstance(op, list) and len(op) == 2 for op in route)
        if not is_route:
            raise InputError(f"state: jobs[{i}].operations must be a list of [machine, duration], got {route!r}.")
        names.update(dict.fromkeys(str(machine) for machine, _ in route))
    index = {name: i for i, name in enumerate(names)}
    columns = {key: [entry.get(key) for entry in entries] for key in OF_JOB}
    shop = JobShop(
        "state",
        machines=[[index[str(machine)] for machine, _ in route] for route in columns["operations"]],
        durations=[[duration for _, duration in route] for route in columns["operations"]],
        num_machines=len(index),
        releases=_filled(columns["release"], 0),
        due_dates=_filled(columns["due"], None),
        weights=_filled(columns["weight"], 1.0),
        job_names=tuple(str(entry.get("job")) for entry in entries),
        machine_names=tuple(index),
        settings=settings,
    )
    rest = [
        {key: entry[key] for key in entry if key not in OF_JOB} | {"job": str(entry.get("job"))} for entry in entries
    ]
    down = [{**entry, "machine": str(entry.get("machine"))} for entry in machines]
    return shop, {**state, "jobs": rest, "machines": down}


def _filled(values: list[Any], default: Any) -> Any:
    """Return values with a default where there is none; `JobShop` checks them."""
    return [default if value is None else value for value in values]


def answer(instance: JobShop, observation: Observation, action: int) -> tuple[dict[str, Any] | None, list[Any]]:
    """Return what an action means, and the label of each candidate."""
    labels = [*(instance.job_label(job) for job in range(instance.num_jobs)), "wait"]
    if int(observation.arrays["clock"][0]) != instance.clock:
        return None, labels
    if action == instance.num_jobs:
        return {"wait": True}, labels
    machine = int(observation.arrays["machine"][0, action])
    return {"job": labels[action], "machine": instance.machine_label(machine)}, labels


def chooser(given: JobShop | JobShopSettings, rule: Rule, seed: int) -> Callable[..., Chosen | None] | None:
    """Return a function that decides by a rule in one call of a kernel; None: the kernel does not know the rule."""
    if rule.table is None and not rule.compiled:
        return None
    if isinstance(given, JobShop):
        return _Chooser(given, rule, seed)

    def choose(state: State, with_scores: bool = False) -> Chosen | None:
        if not isinstance(state, Mapping) or "ops_done" in state:
            return None  # what is wrong with it, `read` tells
        shop, rest = _brought(given, state)
        return _Chooser(shop, rule, seed)(rest, with_scores)

    return choose


class _Chooser:
    """Writes states into the row of a shop and asks the kernel."""

    def __init__(self, shop: JobShop, rule: Rule, seed: int):
        from orl.scenario import Scenarios

        from .kernels import choose
        from .process import JobShopProcess

        self.kernel = choose
        process = JobShopProcess([shop.in_motion(None)], [Scenarios.deterministic()])
        self.shop, self.code, self.at = shop, rule.compiled, process._at
        self.row, self.weights, self.state_width = process._shops[0], process._weights[0], process._states.shape[1]
        self.table = call_table(rule, shop, shop.num_ops) if rule.table is not None else np.zeros(shop.num_ops)
        # The seed that a policy of this seed draws for its one episode.
        self.seed = np.random.default_rng(seed).integers(0, 2**63, size=1, dtype=np.uint64)[0]
        jobs, machines, at = shop.num_jobs, shop.num_machines, self.at
        self.places = [
            (key, slice(first, first + jobs))
            for key, first in (
                ("ops_done", at.initial_done),
                ("work_left", at.initial_left),
                ("ready_at", at.ready_at),
            )
        ]
        self.never = np.full(2 * machines, -1, dtype=np.int64)
        self.labels = [shop.job_label(job) for job in range(jobs)]
        self.local = threading.local()

    def __call__(self, state: State, with_scores: bool = False) -> Chosen | None:
        shop, at, local = self.shop, self.at, self.local
        if not hasattr(local, "row"):
            local.row = self.row.copy()
            local.state = np.zeros(self.state_width, dtype=np.int64)
            local.scores = np.zeros(shop.num_jobs)
        row, down = local.row, self.never
        if not isinstance(state, Mapping) or "clock" not in state or not state.keys() <= _KEYS:
            return None  # what is wrong with it, the ordinary way tells
        if "ops_done" not in state or shop.calendar or shop.settings.buffers == "none":
            moving = read(shop, state).state  # checked and filled in
            assert moving is not None
            state = {key: getattr(moving, key) for key in ARRAYS}
        clock = state["clock"]
        if not isinstance(clock, int | np.integer) or clock < 0:
            return None
        row[at.initial_clock] = clock
        for key, place in self.places:
            values = state.get(key)
            if values is None:
                row[place] = 0 if key == "work_left" else -1
            elif not _is_whole(values, shop.num_jobs):
                return None
            else:
                row[place] = values
        if (since := state.get("down_since")) is not None:
            if not _is_whole(since, shop.num_machines):
                return None
            down = np.empty((shop.num_machines, 2), dtype=np.int64)
            down[:, 0] = since
            down[:, 1] = clock + 1
            if (down[:, 0] > clock).any():
                return None
            down = down.ravel()
        job = self.kernel(row, self.weights, local.state, down, at, self.code, self.table, self.seed, local.scores)
        if job < 0:
            return Chosen(None, None) if job == -1 else None
        scores = None
        if with_scores:
            rivals = np.flatnonzero(~np.isnan(local.scores)).tolist()
            scores = {self.labels[i]: float(local.scores[i]) for i in rivals}
        machine = int(shop.op_machine[row[at.job_first + job] + row[at.initial_done + job]])
        return Chosen({"job": self.labels[job], "machine": shop.machine_label(machine)}, scores)


_KEYS = frozenset((*ARRAYS, "jobs", "machines"))


def _is_whole(values: Any, size: int) -> bool:
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    return array.dtype.kind in "iu" and array.shape == (size,)


def example(given: JobShop | JobShopSettings) -> State:
    """Return a state to warm up with: two jobs, or the beginning of a shop that is known."""
    if isinstance(given, JobShop):
        return {"clock": 0, "ops_done": np.zeros(given.num_jobs, dtype=np.int64)}
    ops = {"operations": [["A", 1], ["B", 1]], "due": 9}
    return {"clock": 0, "jobs": [{"job": "1", **ops}, {"job": "2", **ops}]}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a state and of the decision about it."""
    time = {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**40}
    label = {"type": ["string", "integer"], "description": "name, or number where the shop has no names"}

    def known(description: str, **kind: Any) -> dict[str, Any]:
        return {**time, **kind, "description": description}

    job = {
        "type": "object",
        "required": ["job"],
        "additionalProperties": False,
        "properties": {
            "job": label,
            "ops_done": known("operations completed; default 0"),
            "work_left": known("time units left of the operation that the job is in; 0, the default: it is in none"),
            "started": known("when that operation started"),
            "ready_at": known("when the job became ready for its next operation, or complete; default: the clock"),
            "operations": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "array", "prefixItems": [label, time], "minItems": 2, "maxItems": 2},
                "description": "the whole route, [machine, duration]; only if the policy was made without an instance",
            },
            "release": known("likewise; default 0"),
            "due": known("likewise; default: none"),
            "weight": {"type": "number", "minimum": 0, "description": "likewise; default 1"},
        },
    }
    machine = {
        "type": "object",
        "required": ["machine"],
        "additionalProperties": False,
        "properties": {"machine": label, "down_since": known("when it failed; absent: it is up")},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Job shop",
        "$defs": {
            "state": {
                "type": "object",
                "required": ["clock"],
                "additionalProperties": False,
                "properties": {
                    "clock": known("now"),
                    "jobs": {"type": "array", "items": job, "description": "those not mentioned have not begun"},
                    "machines": {"type": "array", "items": machine, "description": "those not mentioned are up"},
                },
            },
            "decision": {
                "description": "start a job on a machine, wait for the next event, or null: nothing can start now",
                "oneOf": [
                    {"type": "null"},
                    {
                        "type": "object",
                        "required": ["job", "machine"],
                        "additionalProperties": False,
                        "properties": {"job": label, "machine": label},
                    },
                    {
                        "type": "object",
                        "required": ["wait"],
                        "additionalProperties": False,
                        "properties": {"wait": {"const": True}},
                    },
                ],
            },
        },
        "$ref": "#/$defs/state",
    }


LIVE = Live(schema, read, answer, chooser, example)
