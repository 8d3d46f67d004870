"""The job shop as a constraint program, for CP-SAT of OR-Tools.

Sets, parameters and windows are those of the mixed-integer model in `exact`.

Variables
    s_o     start of operation o, e_o <= s_o <= l_o, and its interval [s_o, s_o + d_o)
    C       makespan, between the bounds that heads, tails and loads give and U

Minimise C subject to

    precedence     s_{o+1} >= s_o + d_o                        o not the last of its job
    makespan       C >= s_o + d_o                              o the last of its job
    machines       the intervals on a machine do not overlap

An interval of duration 0 may touch others on its machine but not lie inside one: CP-SAT's no-overlap means by it what
`verify` does.

References
----------
P. Laborie, J. Rogerie, P. Shaw, P. Vilim (2018). IBM ILOG CP optimizer for scheduling. Constraints 23.
doi 10.1007/s10601-018-9281-x: intervals and no-overlap as modelling concepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ortools.sat.python import cp_model

from orl.problem import Model
from orl.scenario import Scenarios

from .exact import starts_by_op, time_windows
from .instance import JobShop, Schedule


def build(
    instance: JobShop,
    scenarios: Scenarios | None = None,
    start: Any = None,
    horizon: Any = None,
    upper_bound: float | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Model:
    """Return the constraint program of an instance; parameters and errors are those of `exact.build`.

    `should_stop` is not asked: the program is built in a blink.
    """
    earliest, latest, upper = time_windows(instance, start, horizon, upper_bound)
    duration = instance.op_duration.tolist()
    program = cp_model.CpModel()
    s = [
        program.new_int_var(low, high, f"s{o}")
        for o, (low, high) in enumerate(zip(earliest.tolist(), latest.tolist(), strict=True))
    ]
    interval = [program.new_fixed_size_interval_var(s[o], duration[o], f"i{o}") for o in range(instance.num_ops)]
    makespan = program.new_int_var(instance.makespan_bound(), upper, "C")
    for o in range(instance.num_ops):
        is_last = o + 1 in instance.job_first
        program.add((makespan if is_last else s[o + 1]) >= s[o] + duration[o])
    for machine in range(instance.num_machines):
        program.add_no_overlap([interval[o] for o in np.flatnonzero(instance.op_machine == machine)])
    program.minimize(makespan)

    def read(value: Callable[[Any], float]) -> Schedule:
        return Schedule.from_starts(instance, [round(value(variable)) for variable in s])

    def start_values(schedule: Schedule) -> Iterator[tuple[Any, float]]:
        yield makespan, schedule.makespan
        yield from zip(s, starts_by_op(instance, schedule).tolist(), strict=True)

    return Model(program, read, start_values)
