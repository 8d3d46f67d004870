"""The rules of LLM serving: an order of requests, and when and how somebody is preempted for it.

`kernels_rules` computes them, within whole episodes or, through the score here, decision by decision. Whom a rule
preempts and how is set by `victim` and `preemption`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from orl.process import Observation
from orl.rule import Rule

from . import kernels_codes as codes
from .instance import Serving

_MODES = {"recompute": codes.BY_RECOMPUTE, "swap": codes.BY_SWAP, "cheaper": codes.BY_CHEAPER}
_VICTIMS = {
    "last": codes.THE_LAST,
    "latest": codes.THE_LATEST,
    "largest": codes.THE_LARGEST,
    "smallest": codes.THE_SMALLEST,
}


def fcfs(instance: Serving) -> np.ndarray:
    """First come, first served; somebody is preempted when memory is short, as in vLLM."""
    return _parameters(instance, codes.BY_ARRIVAL)


def fcfs_swap(instance: Serving) -> np.ndarray:
    """First come, first served, and who is preempted is swapped to the CPU."""
    return _parameters(instance, codes.BY_ARRIVAL, mode=codes.BY_SWAP)


def priority(instance: Serving) -> np.ndarray:
    """The most urgent first; less urgent ones are preempted when memory is short for more urgent ones."""
    return _parameters(instance, codes.BY_PRIORITY, codes.FOR_ROOM)


def priority_seats(instance: Serving) -> np.ndarray:
    """As priority, and less urgent ones are preempted at the limit of running requests, too."""
    return _parameters(instance, codes.BY_PRIORITY, codes.FOR_SEATS)


def shortest(instance: Serving) -> np.ndarray:
    """The fewest output tokens still to come first (clairvoyant)."""
    return _parameters(instance, codes.BY_OUTPUT)


def memory_shortest(instance: Serving) -> np.ndarray:
    """Shortest first, as many as memory holds to the end of each (clairvoyant; arXiv 2502.07115)."""
    return _parameters(instance, codes.BY_OUTPUT, looks_ahead=True)


def predicted_shortest(instance: Serving) -> np.ndarray:
    """As mc-sf, on predictions of the output as noisy as prediction_noise says."""
    return _parameters(instance, codes.BY_PREDICTED, looks_ahead=True)


def least_attained(instance: Serving) -> np.ndarray:
    """The least service so far first, in levels that double; others are preempted for it."""
    return _parameters(instance, codes.BY_ATTAINED, codes.FOR_SEATS)


def virtual_counter(instance: Serving) -> np.ndarray:
    """The client with the least virtual counter first (VTC, arXiv 2401.00588)."""
    return _parameters(instance, codes.BY_COUNTER)


def virtual_counter_preemptive(instance: Serving) -> np.ndarray:
    """As vtc, and clients far ahead are preempted for those behind."""
    return _parameters(instance, codes.BY_COUNTER, codes.FOR_SEATS)


def least_counter(instance: Serving) -> np.ndarray:
    """The client that was served least first (LCF: VTC without lifting who comes back)."""
    return _parameters(instance, codes.BY_SERVED)


def smallest(instance: Serving) -> np.ndarray:
    """The fewest tokens so far first; of declared limits, the least tokens held in the mean times output to come."""
    return _parameters(instance, codes.BY_WORK if instance.settings.reserve_output else codes.BY_KNOWN)


def smallest_now(instance: Serving) -> np.ndarray:
    """As smallest, and admits what fits now, even where limits are declared."""
    values = smallest(instance)
    values[codes.LOOKS_AHEAD] = 0
    return values


def _parameters(
    instance: Serving, order: int, trigger: int = codes.ON_SHORTAGE, mode: int | None = None, looks_ahead: bool = False
) -> np.ndarray:
    values = np.zeros(codes.NUM_PARAMETERS)
    values[codes.ORDER], values[codes.TRIGGER] = order, trigger
    values[codes.LOOKS_AHEAD] = looks_ahead or instance.settings.reserve_output
    values[codes.MODE] = _MODES[instance.settings.preemption] if mode is None else mode
    values[codes.VICTIM] = _VICTIMS[instance.settings.victim]
    return values


def score(observation: Observation, parameters: np.ndarray) -> np.ndarray:
    """Return 1 for the action that the rule of these parameters takes, else 0."""
    from .process import actions_of_rule  # numba is slow to load

    scores = np.zeros(observation.legal.shape)
    scores[np.arange(len(scores)), actions_of_rule(observation, parameters)] = 1.0
    return scores


def _rule(name: str, table: Callable[[Serving], np.ndarray], source: str = "", clairvoyant: bool = False) -> Rule:
    return Rule(name, table=table, score=score, compiled=1, source=source, clairvoyant=clairvoyant)


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        _rule("fcfs", fcfs),
        _rule("fcfs-swap", fcfs_swap),
        _rule("priority", priority),
        _rule("priority-seats", priority_seats),
        _rule("shortest", shortest, clairvoyant=True),
        _rule("mc-sf", memory_shortest, "arXiv 2502.07115", clairvoyant=True),
        _rule("mc-sf-predicted", predicted_shortest, "arXiv 2502.07115", clairvoyant=True),
        _rule("las", least_attained),
        _rule("vtc", virtual_counter, "arXiv 2401.00588"),
        _rule("vtc-preemptive", virtual_counter_preemptive, "arXiv 2401.00588"),
        _rule("lcf", least_counter),
        _rule("smallest", smallest),
        _rule("smallest-now", smallest_now),
    )
}
