"""Live states of machines that somebody else runs: read, decided by a rule in one kernel call, answered.

A state speaks of an instance that is known. Machines and items are named as there, or by number where it has no names.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from orl.embed import Chosen, Live
from orl.errors import InputError
from orl.params import nearest
from orl.policy import rule_seeds
from orl.process import Observation
from orl.rule import Rule, call_table
from orl.scenario import Scenarios

from . import kernels_codes as codes
from .instance import LotSizing, LotState
from .plans import IDLE
from .state import check_state

if TYPE_CHECKING:
    from .process import LotSizingProcess

KEYS = tuple(field.name for field in fields(LotState))
OF_MACHINES = ("setup", "booked")
OF_ITEMS = ("stock", "last_demand", "cost_factors")


def read(given: Any, state: Any) -> LotSizing:
    """Return the instance as it stands in a live state.

    Parameters
    ----------
    given : LotSizing
        What the state speaks of.
    state : LotState or mapping
        As `schema` describes it; arrays are those of a `LotState`.

    Raises
    ------
    InputError
        Names key, rule and value.
    """
    reader = _Reader(given)
    return reader.instance.derived(state=reader(state))


class _Reader:
    """Makes records of live states of an instance; what they hold is checked by the instance."""

    def __init__(self, given: Any):
        if not isinstance(given, LotSizing):
            raise InputError("a state of lot sizing speaks of an instance that is known: make the policy with one.")
        self.instance = given
        self.machines = {given.machine_label(machine): machine for machine in range(given.num_machines)}
        self.items = {given.item_label(item): item for item in range(given.num_items)}
        self.choices = {label: choice for choice, label in enumerate((IDLE, *self.items))}

    def __call__(self, state: Any) -> LotState:
        if not isinstance(state, LotState):
            state = self._of_mapping(state)
        first = self.instance.first_period
        if isinstance(state.period, int | np.integer) and state.period < first:
            raise InputError(f"state: period must be >= {first}, where the instance goes on, got {state.period}.")
        has_noise = self.instance.settings.cost_noise > 0
        if state.cost_factors is not None and not has_noise:
            raise InputError("state: cost_factors are for instances with cost_noise above 0.")
        if state.cost_factors is None and has_noise:
            return replace(state, cost_factors=np.ones(self.instance.num_items))
        return state

    def _of_mapping(self, state: Any) -> LotState:
        if not isinstance(state, Mapping):
            raise InputError(f"a state must be an object with period, setup and stock, got {str(state)[:60]}.")
        for key in state:
            if key not in KEYS:
                raise InputError(f"state: unknown key {key!r}; {nearest(str(key), KEYS)}")
        for key in ("period", "setup", "stock"):
            if state.get(key) is None:
                raise InputError(f"state: {key} is missing.")
        period = state["period"]
        arrays: dict[str, Any] = {"booked": ()}
        for key in (*OF_MACHINES, *OF_ITEMS):
            if state.get(key) is not None:
                arrays[key] = self._column(key, state[key])
        return LotState(int(period) if _is_number(period, whole=True) else period, **arrays)

    def _column(self, key: str, given: Any) -> np.ndarray:
        kind, labels = ("machine", self.machines) if key in OF_MACHINES else ("item", self.items)
        if isinstance(given, Mapping):
            given = self._in_order(key, given, kind, labels)
        elif not isinstance(given, list | tuple | np.ndarray):
            raise InputError(f"state: {key} must be an object, by {kind}, or an array, got {str(given)[:60]}.")
        return _numbers(key, given, labels, whole=key != "cost_factors")

    def _in_order(self, key: str, given: Mapping[Any, Any], kind: str, labels: Mapping[str, int]) -> list[Any]:
        """Return the entries of an object in the order of machines or items; set-ups as numbers of choices."""
        entries = {str(label): entry for label, entry in given.items()}
        for label in entries:
            if label not in labels:
                raise InputError(f"state: {key}: there is no {kind} {label[:40]!r}; {nearest(label[:40], labels)}")
        if len(entries) < len(given):
            raise InputError(f"state: {key} names one {kind} twice, by number and by text.")
        told = list(labels)[: len(entries) if key == "booked" else None]
        for label in told:
            if label not in entries:
                rule = "be of the first machines, in their order" if key == "booked" else f"tell of every {kind}"
                raise InputError(f"state: {key} must {rule}; {kind} {label!r} is missing.")
        if key in OF_ITEMS:
            return [entries[label] for label in told]
        for label in told:
            if (text := str(entries[label])) not in self.choices:
                got = f"{text[:40]!r}; {nearest(text[:40], self.choices)}"
                raise InputError(f"state: {key} of {label!r} must be an item or {IDLE!r}, got {got}")
        return [self.choices[str(entries[label])] for label in told]

    def told(self, machine: int, action: Any) -> dict[str, Any]:
        """Return what an action means: a choice of one machine, or an array of choices of all."""
        labels = tuple(self.choices)
        if np.ndim(action) == 0:
            return {"machine": self.instance.machine_label(machine), "item": labels[int(action)]}
        return {"machines": {name: labels[choice] for name, choice in zip(self.machines, action.tolist(), strict=True)}}

    @property
    def candidates(self) -> list[str]:
        """The label of each candidate, with decision=joint of each machine in turn."""
        if self.instance.settings.decision == "machine":
            return list(self.choices)
        return [f"{machine}: {choice}" for machine in self.machines for choice in self.choices]


def _numbers(key: str, given: Any, labels: Mapping[str, int], whole: bool) -> np.ndarray:
    """Return entries as numbers; whoever is none is named."""
    if isinstance(given, np.ndarray) and given.dtype.kind == "i":
        return given
    for place, entry in enumerate(np.atleast_1d(given).tolist() if isinstance(given, np.ndarray) else given):
        if not _is_number(entry, whole):
            where, words = [*labels, place][min(place, len(labels))], "a whole number" if whole else "a number"
            raise InputError(f"state: {key} of {where!r} must be {words}, got {str(entry)[:60]!r}.")
    return np.asarray(given)


def _is_number(entry: Any, whole: bool) -> bool:
    is_number = isinstance(entry, int | float | np.integer | np.floating) and not isinstance(entry, bool)
    return is_number and (not whole or (abs(entry) < 2**53 and entry == int(entry)))


def answer(instance: LotSizing, observation: Observation, action: Any) -> tuple[dict[str, Any] | None, list[Any]]:
    """Return what an action means, and the label of each candidate."""
    reader = _Reader(instance)
    return reader.told(int(observation.arrays["machine"][0]), action), reader.candidates


def chooser(given: Any, rule: Rule, seed: int) -> Callable[..., Chosen | None] | None:
    """Return a function that decides by a rule in one call of a kernel; None: the kernel does not know the rule."""
    reader = _Reader(given)
    return _Chooser(reader, rule, seed) if rule.compiled else None


class _Chooser:
    """Writes states into the row of an instance and asks the kernel."""

    def __init__(self, reader: _Reader, rule: Rule, seed: int):
        self.reader, self.code, instance = reader, rule.compiled, reader.instance
        self.parameters = np.zeros((1, max(instance.num_machines, codes.NUM_PARAMETERS)))
        if rule.table is not None:
            values = call_table(rule, instance)
            self.parameters[0, : len(values)] = values
        self.seeds = rule_seeds(np.random.default_rng(seed), 1)
        self.local = threading.local()

    def __call__(self, state: Any, with_scores: bool = False) -> Chosen:
        from . import kernels

        instance, now = self.reader.instance, self.reader(state)
        check_state(instance, now)
        process = self._process()
        lots, states, legal = process._lots, process._states, process._legal
        is_joint, told = instance.settings.decision == "joint", len(now.booked)
        lots.sizes[0, codes.FIRST_PERIOD] = now.period
        lots.sizes[0, codes.PERIODS] = instance.horizon - (0 if instance.settings.is_infinite else now.period)
        states.setup[0], states.stock[0], states.machine[0] = now.setup, now.stock, told
        states.choice[0, :told], states.choice[0, told:] = now.booked, -1
        states.last_demand[0] = -1 if now.last_demand is None else now.last_demand
        states.factors[0] = 1.0 if now.cost_factors is None else now.cost_factors
        if with_scores:  # before the next line writes over set-ups and stock
            kernels.write_masks(lots, states, is_joint, states.row, legal)
        scores = np.empty(legal.shape)
        moving = states.period, *states[2:8]
        kernels.options_of_rule(lots, states.row, *moving, is_joint, self.code, self.parameters, self.seeds, scores)
        choices = scores[0].argmax(axis=-1)
        decision = self.reader.told(told, choices if is_joint else choices[0])
        if not with_scores:
            return Chosen(decision, None)
        labels, flat = self.reader.candidates, scores.ravel().tolist()
        return Chosen(decision, {labels[place]: flat[place] for place in np.flatnonzero(legal).tolist()})

    def _process(self) -> LotSizingProcess:
        """Return the process of this thread, whose one row states are written into."""
        from .process import LotSizingProcess

        if not hasattr(self.local, "process"):
            instance = self.reader.instance
            start = instance.derived(state=example(instance))
            self.local.process = LotSizingProcess([start], [Scenarios.deterministic()])
        process: LotSizingProcess = self.local.process
        return process


def example(given: Any) -> LotState:
    """Return a state to warm up with: the beginning."""
    instance = _Reader(given).instance
    if instance.state is not None:
        return instance.state
    assert instance.initial_setup is not None and instance.initial_stock is not None
    factors = np.ones(instance.num_items) if instance.settings.cost_noise > 0 else None
    return LotState(0, instance.initial_setup, instance.initial_stock, np.zeros(0), cost_factors=factors)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a state and of the decision about it."""
    label = {"type": ["string", "integer"], "description": "name, or number where the instance has no names"}
    told = {"type": ["string", "integer"], "description": f"an item, or {IDLE!r}"}
    whole, natural, factor = {"type": "integer"}, {"type": "integer", "minimum": 0}, {"type": "number"}

    def column(description: str, entry: dict[str, Any], number: dict[str, Any]) -> dict[str, Any]:
        by_label = {"type": "object", "additionalProperties": entry}
        return {"description": description, "oneOf": [by_label, {"type": "array", "items": number}]}

    def record(**properties: Any) -> dict[str, Any]:
        keys = list(properties)
        return {"type": "object", "required": keys, "additionalProperties": False, "properties": properties}

    plus = {**factor, "exclusiveMinimum": 0}
    state = record(
        period={**natural, "description": "that is decided now, counted from 0"},
        setup=column(
            "what every machine is set up for, after what is booked; arrays: 0 idle, i + 1 item i", told, natural
        ),
        stock=column("of every item, what is booked included; negative: backlog", whole, whole),
        booked=column("what the first machines have been told in this period, in order; default: none", told, natural),
        last_demand=column("of every item in the period before; default: unknown", natural, natural),
        cost_factors=column("of every item in this period, with cost_noise; default: 1", plus, plus),
    )
    state["required"] = ["period", "setup", "stock"]
    machines = {"type": "object", "additionalProperties": told}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lot sizing",
        "$defs": {
            "state": state,
            "decision": {
                "description": "what the next machine makes; with decision=joint, what every machine makes",
                "oneOf": [record(machine=label, item=told), record(machines=machines)],
            },
        },
        "$ref": "#/$defs/state",
    }


LIVE = Live(schema, read, answer, chooser, example)
