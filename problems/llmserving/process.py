"""LLM serving as a `Process`: the Python side of the kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orl import choices
from orl.arrays import read_only
from orl.process import Decision, Observation, Revealed
from orl.rule import Rule, call_table
from orl.scenario import Scenarios

from . import kernels
from . import kernels_codes as codes
from .instance import Serving, ServingLog
from .layout import BLOCKS, GIVEN, KNOWN, LOGS, REAL, TABLES, Room, begin, lay_out, lay_out_costs
from .scenario import realise

_UNSEEN = np.array([0, 0, 0, -1, 0, 0])
_NO_MASK = np.zeros(0, dtype=bool)


class ServingProcess:
    """A batch of servers, stepped decision by decision or run whole under a rule.

    Action 0 is "run"; 1 + 2 r admits request r, swaps it in, or preempts it by recomputing, whichever its state allows;
    2 + 2 r preempts it by swapping. The README of this family documents the arrays of an observation.

    Parameters
    ----------
    instances : sequence of Serving
        One an environment; sizes may differ, the largest gives the padding.
    scenarios : sequence of Scenarios
        One an environment, of one row each.
    fit : sequence of Serving
        Further instances that the padding must have room for.
    """

    def __init__(self, instances: Sequence[Serving], scenarios: Sequence[Scenarios], fit: Sequence[Serving] = ()):
        self.num_envs = len(instances)
        self._instances, self._scenarios = list(instances), list(scenarios)
        self._room = Room.of([*instances, *fit])
        self.decision = Decision("choice", 1 + 2 * self._room.requests)
        self._work, self._states = self._room.work(self.num_envs), self._room.states(self.num_envs)
        self._legal = np.zeros((self.num_envs, self.decision.width), dtype=bool)
        self._actions = np.zeros(self.num_envs, dtype=np.int64)
        self._post = False
        self._start(np.arange(self.num_envs))

    @property
    def instances(self) -> Sequence[Serving]:
        return self._instances

    def reset(
        self,
        envs: Sequence[int] | np.ndarray | None = None,
        instances: Sequence[Serving] | None = None,
        scenarios: Sequence[Scenarios] | None = None,
    ) -> None:
        if envs is not None and self._post:
            raise RuntimeError("a partial reset must not come between decide and reveal.")
        which = np.arange(self.num_envs) if envs is None else np.asarray(envs, dtype=np.int64)
        for one in instances or ():
            self._room.check(one)
        for place, env in enumerate(which.tolist()):
            if instances is not None:
                self._instances[env] = instances[place]
            if scenarios is not None:
                self._scenarios[env] = scenarios[place]
        self._start(which)
        if envs is None:
            self._post = False

    def observe(self) -> Observation:
        work, states = self._work, self._states
        has_arrived = states.request[:, :, codes.STATUS] > codes.FUTURE
        given = np.where(has_arrived[..., None], work.request, _UNSEEN)
        given[..., codes.OUTPUT] = 0
        real = np.where(has_arrived[..., None], work.real, 0.0)
        real[..., codes.PREDICTED] = 0.0
        declares = np.array([one.settings.reserve_output for one in self._instances])
        arrays = {name: given[..., column] for name, column in GIVEN.items()}
        arrays["limit"] = np.where(has_arrived & declares[:, None], work.request[..., codes.OUTPUT], 0)
        arrays |= {name: real[..., column] for name, column in REAL.items()}
        arrays |= {name: states.request[..., column] for name, column in KNOWN.items()}
        under_way = arrays["under_way"]
        arrays["is_last"] = (under_way > 0) & (arrays["generated"] + under_way == work.request[..., codes.OUTPUT])
        arrays["flight"] = self._flight()
        arrays |= {name: states.blocks[..., column] for name, column in BLOCKS.items()}
        arrays |= {"ready": states.ready, "counters": states.num, "clock": states.clock, "clients": states.clients}
        arrays |= {"engine": work.sizes, "times": work.times, "running": states.seats[..., codes.SEATED]}
        arrays |= {name: getattr(work, name) for name in TABLES}
        hidden = {
            "output": work.request[..., codes.OUTPUT],
            "predicted": work.real[..., codes.PREDICTED],
        }
        legal = np.zeros_like(self._legal) if self._post else self._legal
        sizes = work.sizes[:, : codes.NUM_REQUESTS + 1]
        shown, unshown = ({name: read_only(array) for name, array in some.items()} for some in (arrays, hidden))
        return Observation(shown, read_only(sizes), read_only(legal), self._post, unshown)

    def decide(self, actions: np.ndarray) -> np.ndarray:
        if self._post:
            raise RuntimeError("decide was called twice; call reveal in between.")
        actions = choices.checked(actions, self._legal, self._is_over)
        kernels.decide(self._work, self._states, actions)
        self._actions, self._post = actions, True
        return np.zeros(self.num_envs)

    def reveal(self) -> Revealed:
        if not self._post:
            raise RuntimeError("reveal was called without decide.")
        cost = np.zeros(self.num_envs)
        self._lengthen_log()
        kernels.reveal(self._work, self._states, self._actions, cost, self._legal)
        self._post = False
        is_over = self._is_over
        return Revealed(cost, np.ones(self.num_envs), is_over, np.zeros(self.num_envs, dtype=bool))

    def solution(self, env: int) -> ServingLog:
        """Return what has been done so far in one environment."""
        states = self._states
        epochs, events = states.num[env, codes.EPOCH], states.num[env, codes.EVENTS]
        decided, start, end = (states.epochs[env, :epochs, column].copy() for column in range(3))
        return ServingLog(decided, start, end, states.events[env, :events])

    def run(self, rule: Rule, seeds: np.ndarray) -> np.ndarray | None:
        if not rule.compiled:
            return None
        tables = {id(one): call_table(rule, one, codes.NUM_PARAMETERS) for one in set(self._instances)}
        parameters = np.stack([tables[id(one)] for one in self._instances])
        cost = np.zeros(self.num_envs)
        while kernels.run(self._work, self._states, parameters, _NO_MASK, cost) >= 0:
            self._lengthen_log()
        self._legal[:] = False
        self._post = False
        return cost

    # private

    @property
    def _is_over(self) -> np.ndarray:
        return self._states.num[:, codes.UNFINISHED] == 0

    def _flight(self) -> np.ndarray:
        """Return who gets a token of the batch under way, -1 behind; between two decisions there is one at most."""
        states, envs = self._states, np.arange(self.num_envs)
        oldest = states.num[:, codes.OLDEST]
        count = np.where(states.num[:, codes.FLIGHTS] > 0, states.sampled[envs, oldest], 0)
        return np.where(np.arange(states.flight.shape[2]) < count[:, None], states.flight[envs, oldest], -1)

    def _start(self, envs: np.ndarray) -> None:
        """Put environments at the beginning of their episodes; what several share is made once and copied."""
        same_costs: dict[int, int] = {}
        same: dict[tuple[int, int], int] = {}
        like = np.empty((2, len(envs)), dtype=np.int64)  # the first of the same cost model; of the same everything
        for place, env in enumerate(envs.tolist()):
            one, scenario = self._instances[env], self._scenarios[env]
            like[:, place] = same_costs.setdefault(id(one.costs), env), same.setdefault((id(one), id(scenario)), env)
            if like[0, place] == env:
                lay_out_costs(self._work, env, one.costs)
            if like[1, place] == env:
                realised = realise(one, scenario)
                lay_out(self._work, env, one, realised)
                begin(self._states, env, one, realised)
        firsts = envs[like[1] == envs]
        moves = [self._instances[env].state is not None for env in firsts.tolist()]
        kernels.go_on(self._work, self._states, firsts[moves])
        kernels.begin(self._work, self._states, firsts)
        kernels.write_masks(self._work, self._states, firsts, self._legal)
        given = [getattr(self._work, name) for name in self._work._fields if name not in TABLES]
        state = [getattr(self._states, name) for name in self._states._fields if name not in LOGS]
        _copy([getattr(self._work, name) for name in TABLES], like[0], envs)
        _copy([*given, *state, self._legal], like[1], envs)

    def _lengthen_log(self) -> None:
        """Double the log's arrays if one is nearly full."""
        states = self._states
        spare = 4 * self._room.seats + 2 * self._room.requests + 16
        for name, used, needs in (("epochs", codes.EPOCH, 4), ("events", codes.EVENTS, spare)):
            array = getattr(states, name)
            if (states.num[:, used] + needs >= array.shape[1]).any():
                longer = np.zeros((array.shape[0], 2 * array.shape[1] + needs, array.shape[2]), dtype=array.dtype)
                longer[:, : array.shape[1]] = array
                self._states = self._states._replace(**{name: longer})


def _copy(arrays: Sequence[np.ndarray], sources: np.ndarray, envs: np.ndarray) -> None:
    """Copy rows to environments from others."""
    is_other = sources != envs
    if is_other.any():
        for array in arrays:
            array[envs[is_other]] = array[sources[is_other]]


def actions_of_rule(observation: Observation, parameters: np.ndarray) -> np.ndarray:
    """Return the action that a compiled rule takes in each environment, (num_envs,); 0 where there is none.

    Parameters
    ----------
    parameters : ndarray (num_envs, n)
    """
    view, legal = observation.arrays, np.array(observation.legal)
    envs, requests = view["status"].shape
    shapes = tuple(view[name].shape[1:] for name in TABLES)
    room = Room(requests, view["running"].shape[1], 0, 0, view["clients"].shape[1], shapes)
    work, states = room.work(envs), room.states(envs)
    for name, column in KNOWN.items():
        states.request[..., column] = view[name]
    for name, column in GIVEN.items():
        work.request[..., column] = view[name]
    states.ready[:], states.num[:], states.clock[:] = view["ready"], view["counters"], view["clock"]
    states.clients[:], states.seats[..., codes.SEATED] = view["clients"], view["running"]
    work.sizes[:], work.times[:] = view["engine"], view["times"]
    for name in TABLES:
        getattr(work, name)[:] = view[name]
    work.request[..., codes.OUTPUT] = view["limit"]
    if observation.hidden:
        work.request[..., codes.OUTPUT] = observation.hidden["output"]
        work.real[..., codes.PREDICTED] = observation.hidden["predicted"]
    actions = np.zeros(envs, dtype=np.int64)
    kernels.actions_of_rule(work, states, np.ascontiguousarray(parameters[:, : codes.NUM_PARAMETERS]), legal, actions)
    return actions
