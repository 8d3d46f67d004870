"""States on the way: whether an instance can be in one, and how it goes on from what an observation shows."""

from __future__ import annotations

import numpy as np

from orl.errors import InputError
from orl.process import Observation

from .demand import MAX_PERIODS
from .instance import MAX_UNITS, LotSizing, LotState

TINY = float(np.finfo(np.float64).tiny)


def check_state(instance: LotSizing, state: LotState) -> None:
    """Refuse a state that an instance cannot be in.

    Raises
    ------
    InputError
        Names field, rule, value and place.
    """
    settings, items, machines = instance.settings, instance.num_items, instance.num_machines
    last = MAX_PERIODS if settings.is_infinite else instance.horizon - 1
    is_whole = isinstance(state.period, int | np.integer) and not isinstance(state.period, bool)
    if not is_whole or not 0 <= state.period <= last:
        raise _error(instance, f"period must be a whole number in 0..{last}, got {state.period!r}.")
    lengths = {"setup": machines, "stock": items, "last_demand": items, "cost_factors": items}
    for key, length in lengths.items():
        values = getattr(state, key)
        if values is not None and values.shape != (length,):
            raise _error(instance, f"{key} must have {length} entries, got shape {values.shape}.")
    if state.booked.size and settings.decision == "joint":
        raise _error(instance, "with decision=joint nothing is booked between two decisions.")
    if state.booked.ndim != 1 or len(state.booked) >= machines:
        rule = f"booked must be choices of fewer than all {machines} machines"
        raise _error(instance, f"{rule}, got shape {state.booked.shape}.")
    low, words = (
        (1 - MAX_UNITS, "above -2**40 and") if settings.unmet == "backlog" else (0, ">= 0, unless unmet=backlog, and")
    )
    _check(instance, "setup", state.setup, 0, items, f"in 0..{items}")
    _check(instance, "booked", state.booked, 0, items, f"in 0..{items}")
    _check(instance, "stock", state.stock, low, MAX_UNITS - 1, f"{words} below 2**40")
    if state.last_demand is not None:
        _check(instance, "last_demand", state.last_demand, 0, MAX_UNITS - 1, ">= 0 and below 2**40")
    if state.cost_factors is not None:
        _check(instance, "cost_factors", state.cost_factors, TINY, 1 / TINY, "> 0 and finite")
    for machine, choice in enumerate(state.booked.tolist()):
        if choice and not instance.possible[machine, choice]:
            raise _error(instance, f"booked: {_place(instance, 'booked', machine)} cannot make choice {choice}.")
        if choice and choice != (setup := state.setup[machine]):
            rule = f"setup must be what it is after what is booked, {choice}"
            raise _error(instance, f"{rule}, got {setup} at {_place(instance, 'setup', machine)}.")


def _check(instance: LotSizing, key: str, values: np.ndarray, low: float, high: float, rule: str) -> None:
    if len(values) and not (values.min() >= low and values.max() <= high):  # NaN is out of bounds, too
        index = int((~((values >= low) & (values <= high))).argmax())
        raise _error(instance, f"{key} must be {rule}, got {values[index]} at {_place(instance, key, index)}.")


def _place(instance: LotSizing, key: str, index: int) -> str:
    if key in ("setup", "booked"):
        return f"machine {instance.machine_label(index)}"
    return f"item {instance.item_label(index)}"


def _error(instance: LotSizing, message: str) -> InputError:
    return InputError(f"{instance.source or instance.name}: state: {message}")


def in_motion(instance: LotSizing, observation: Observation, env: int) -> LotSizing:
    """Return the instance from the state of one environment on, between two decisions."""
    view = {key: observation.arrays[key][env] for key in ("setup", "stock", "last_demand", "factors")}
    machines, items = instance.num_machines, instance.num_items
    last = view["last_demand"][:items]
    return instance.derived(
        state=LotState(
            period=instance.first_period + int(observation.arrays["period"][env]),
            setup=view["setup"][:machines],
            stock=view["stock"][:items],
            booked=observation.arrays["choice"][env, : int(observation.arrays["machine"][env])],
            last_demand=last if (last >= 0).all() else None,
            cost_factors=view["factors"][:items] if instance.settings.cost_noise > 0 else None,
        )
    )
