"""What a planned schedule asks for while a shop runs differently from what was planned."""

from __future__ import annotations

import numpy as np

from orl.process import Observation

from .instance import JobShop, Schedule


def is_disturbed(planned: JobShop, observation: Observation, env: int) -> bool:
    """Return whether another set of machines is down than when plans were made, or one has failed again.

    What the calendar foresees is no disturbance.
    """
    down_since = observation.arrays["down_since"][env, : planned.num_machines]
    calendar = {(machine, start) for machine, start, _ in planned.calendar}
    before = np.full(planned.num_machines, -1) if planned.state is None else planned.state.down_since
    for machine in np.flatnonzero(down_since != before).tolist():
        known = [(machine, int(times[machine])) for times in (down_since, before) if times[machine] >= 0]
        if any(one not in calendar for one in known):
            return True
    return False


def follow(planned: JobShop, schedule: Schedule, observation: Observation, env: int) -> int:
    """Return the next move of a schedule: its order on each machine is kept, its times are not.

    Parameters
    ----------
    planned : JobShop
        For which the schedule was made; in motion if it was made on the way.
    schedule : Schedule
    observation : Observation
        Between two decisions.

    Returns
    -------
    int
        The job that is next on its machine, the one planned first if there are several, else `wait`. Where waiting is
        illegal (nothing is to come), the legal job planned first: blocking may have made the order impossible.
    """
    view = {key: array[env] for key, array in observation.arrays.items()}
    start_of = np.full(planned.num_ops, np.iinfo(np.int64).max)
    start_of[planned.job_first[schedule.job] + schedule.position] = schedule.start
    candidate = view["candidate"][: planned.num_jobs]
    next_op = np.where(candidate < 0, planned.job_first[1:], candidate)
    is_to_come = np.arange(planned.num_ops) >= next_op[planned.op_job]
    first_on = np.full(planned.num_machines, np.iinfo(np.int64).max)
    np.minimum.at(first_on, planned.op_machine[is_to_come], start_of[is_to_come])
    legal = np.flatnonzero(observation.legal[env, : planned.num_jobs])
    op = candidate[legal]
    is_next = start_of[op] == first_on[planned.op_machine[op]]
    wait = observation.legal.shape[1] - 1
    if not is_next.any() and observation.legal[env, wait]:
        return wait
    among = legal[is_next] if is_next.any() else legal
    return int(among[start_of[candidate[among]].argmin()])
