"""Serving by rounds as a mixed-integer linear program, in Pyomo, all requests known beforehand.

Sets
    R       requests
    K_r     tokens of a request's output, 1..O_r
    T_rk    rounds in which token k of request r can come: not before a_r + k - 1, and late enough only to be of use

Parameters
    a_r, P_r, O_r, w_r   arrival, prompt and output tokens, weight
    M, S    tokens of memory, how many may run

Variables
    y_rkt   1 if token k of request r comes in round t; it then has taken P_r + k - 1 tokens of memory
    Y_rkt   1 if it has come by the end of round t

minimise    sum_r w_r sum_t (t + 1 - a_r) y_r,O_r,t

subject to

    by then     Y_rkt = Y_rk,t-1 + y_rkt,  Y = 1 at the end
    order       Y_rkt <= Y_r,k-1,t-1
    memory      sum_rk (P_r + k - 1) y_rkt <= M
    seats       sum_rk y_rkt <= S

Between two tokens a request may stand aside, its keys gone or copied out: by rounds that costs nothing but time. The
form `non-preemptive` is the time-indexed model of Jaillet et al. (arXiv 2502.07115): s_rt = 1 if request r starts in
round t, and y_rkt = s_r,t-k+1. What it finds is no bound on policies that preempt, so it is for comparison alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from orl.errors import Stopped
from orl.problem import Model
from orl.scenario import Scenarios

from .instance import Serving, ServingLog
from .rounds import Rounds, carried_out, rounds_of, rounds_of_tokens

Form = Literal["preemptive", "non-preemptive"]


def build(
    instance: Serving,
    scenarios: Scenarios,
    upper_bound: float | None = None,
    should_stop: Callable[[], bool] | None = None,
    form: Form = "preemptive",
) -> Model:
    """Return the mixed-integer model of one scenario.

    Parameters
    ----------
    instance : Serving
        With clock=rounds.
    scenarios : Scenarios
        One.
    upper_bound : number or None
        The cost of a known schedule of the form that is asked for; rounds that are too late for a better one are left
        out.
    should_stop : callable () -> bool, or None
        Asked from time to time as the model is built.
    form : 'preemptive' or 'non-preemptive'

    Raises
    ------
    InputError
        If time is in seconds, a request arrives within a round, or prefixes are shared.
    """
    import pyomo.environ as pyo

    scenario = scenarios[0]
    rounds = rounds_of(instance, scenario)
    last = _last_rounds(rounds, upper_bound)
    m = pyo.ConcreteModel(instance.name)
    made = _tokens(m, rounds, last, should_stop) if form == "preemptive" else _starts(m, rounds, last, should_stop)
    held: dict[int, list[Any]] = {}
    running: dict[int, list[Any]] = {}
    for (r, k, t), runs in made.items():
        held.setdefault(t, []).append(int(rounds.prompt[r] + k - 1) * runs)
        running.setdefault(t, []).append(runs)
    m.memory = pyo.Constraint(list(held), rule=lambda _, t: pyo.quicksum(held[t]) <= rounds.memory)
    crowded = [t for t, some in running.items() if len(some) > rounds.seats]
    m.seats = pyo.Constraint(crowded, rule=lambda _, t: pyo.quicksum(running[t]) <= rounds.seats)
    ends = {at: runs for at, runs in made.items() if at[1] == rounds.output[at[0]]}
    m.cost = pyo.Objective(
        expr=pyo.quicksum(
            float(rounds.weight[r]) * int(t + 1 - rounds.arrival[r]) * runs for (r, _, t), runs in ends.items()
        )
    )

    def read(value: Callable[[Any], float]) -> ServingLog:
        who = np.zeros((int(last.max()) + 2, len(last)), dtype=bool)
        for (r, _, t), runs in made.items():
            who[t, r] |= value(runs) > 0.5
        if form == "preemptive":
            _fill(rounds, who)
        return carried_out(instance, scenario, lambda now: who[min(now, len(who) - 1)])

    def start(solution: ServingLog) -> Iterator[tuple[Any, float]]:
        if form != "preemptive":
            return
        came = rounds_of_tokens(solution, len(rounds.output))
        yield from ((m.y[r, k, t], float(came[r][k - 1] == t)) for r, k, t in made)

    return Model(m, read, start)


def _last_rounds(rounds: Rounds, upper_bound: float | None) -> np.ndarray:
    """Return in which round each request may have its last token in a schedule no dearer than the known one."""
    # Whoever is there is served, so nobody waits longer than all tokens take one after another.
    latest = rounds.arrival.max() + rounds.output.sum() - 1
    if upper_bound is None:
        return np.full(len(rounds.output), latest)
    least = rounds.weight @ rounds.output
    spare = np.minimum((upper_bound - least + 1e-6 * max(1.0, upper_bound)) / rounds.weight, latest)
    return np.minimum(rounds.arrival + rounds.output + np.floor(spare).astype(np.int64) - 1, latest)


def _tokens(m: Any, rounds: Rounds, last: np.ndarray, should_stop: Callable[[], bool] | None) -> dict[Any, Any]:
    """Add the variables y and Y and what binds them, and return y."""
    import pyomo.environ as pyo

    when = {}
    for r, output in enumerate(rounds.output.tolist()):
        _checked(should_stop)
        for k in range(1, output + 1):
            when[r, k] = range(int(rounds.arrival[r]) + k - 1, int(last[r]) - (output - k) + 1)
    places = [(r, k, t) for (r, k), some in when.items() for t in some]
    m.y = pyo.Var(places, domain=pyo.Binary)
    m.by = pyo.Var(places, bounds=(0, 1))

    def counted(_: Any, r: int, k: int, t: int) -> Any:
        _checked(should_stop)
        before = m.by[r, k, t - 1] if t > when[r, k][0] else 0
        return m.by[r, k, t] == before + m.y[r, k, t]

    m.counted = pyo.Constraint(places, rule=counted)
    m.comes = pyo.Constraint(list(when), rule=lambda _, r, k: m.by[r, k, when[r, k][-1]] == 1)

    def ordered(_: Any, r: int, k: int, t: int) -> Any:
        _checked(should_stop)
        return m.by[r, k, t] <= m.by[r, k - 1, t - 1]

    m.order = pyo.Constraint([(r, k, t) for r, k, t in places if k > 1], rule=ordered)
    return {at: m.y[at] for at in places}


def _checked(should_stop: Callable[[], bool] | None) -> None:
    if should_stop is not None and should_stop():
        raise Stopped


def _starts(m: Any, rounds: Rounds, last: np.ndarray, should_stop: Callable[[], bool] | None) -> dict[Any, Any]:
    """Add the variables s, and return which of them has token k of request r come in round t."""
    import pyomo.environ as pyo

    when = [range(int(a), int(end) - int(o) + 2) for a, end, o in zip(rounds.arrival, last, rounds.output, strict=True)]
    m.s = pyo.Var([(r, t) for r, some in enumerate(when) for t in some], domain=pyo.Binary)

    def once(_: Any, r: int) -> Any:
        _checked(should_stop)
        return pyo.quicksum(m.s[r, t] for t in when[r]) == 1

    m.starts = pyo.Constraint(range(len(when)), rule=once)
    outputs = rounds.output.tolist()
    return {(r, k, t + k - 1): m.s[r, t] for r, t in m.s for k in range(1, outputs[r] + 1)}


def _fill(rounds: Rounds, who: np.ndarray) -> None:
    """Let requests run where nobody does and somebody is there: their next tokens come now instead of later."""
    for t in range(len(who)):
        for r in np.flatnonzero((rounds.arrival <= t) & who[t:].any(axis=0)).tolist() if not who[t].any() else ():
            who[t + int(who[t:, r].argmax()), r] = False
            who[t, r] = True
            break
