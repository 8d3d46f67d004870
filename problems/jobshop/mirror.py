"""The shop with time turned round: every route from its end to its beginning. Schedules of one are those of the other.

A method that decides from the beginning to the end decides otherwise in the mirror; some shops are easier from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from .instance import JobShop, Schedule


def mirrored(instance: JobShop) -> tuple[JobShop, Callable[[Schedule], Schedule]] | None:
    """Return the mirror, and what turns its schedules back, of equal makespan; None if there is no such mirror.

    There is one for the makespan with unlimited buffers, without downtime, if all begins at 0.

    Examples
    --------
    >>> shop = JobShop("two", machines=[[0, 1], [1, 0]], durations=[[3, 2], [2, 4]])
    >>> mirror, back = mirrored(shop)
    >>> mirror.op_duration.tolist()
    [2, 3, 4, 2]
    >>> back(Schedule.from_starts(mirror, [0, 4, 0, 4])).start.tolist()
    [0, 5, 1, 3]
    """
    settings = instance.settings
    is_plain = settings.objective == "makespan" and settings.buffers == "unlimited"
    if not is_plain or instance.has_downtime or instance.state is not None or instance.releases.any():
        return None
    routes = [slice(first, last) for first, last in zip(instance.job_first, instance.job_first[1:], strict=False)]
    mirror = JobShop(
        f"{instance.name} mirrored",
        machines=[instance.op_machine[route][::-1].tolist() for route in routes],
        durations=[instance.op_duration[route][::-1].tolist() for route in routes],
        num_machines=instance.num_machines,
        settings=settings,
    )

    def back(schedule: Schedule) -> Schedule:
        end = schedule.makespan
        last = (instance.job_first[1:] - instance.job_first[:-1])[schedule.job] - 1
        turned = dataclasses.replace(
            schedule, position=last - schedule.position, start=end - schedule.end, end=end - schedule.start
        )
        order = (instance.job_first[turned.job] + turned.position).argsort()
        return Schedule(*(getattr(turned, key)[order] for key in ("job", "position", "machine", "start", "end")))

    return mirror, back
