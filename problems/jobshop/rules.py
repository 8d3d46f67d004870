"""The job shop's dispatching rules. The largest number goes first; ties go to the lowest job.

The names and definitions follow Haupt (1989), A survey of priority rule-based scheduling, OR Spektrum 11, 3-16,
doi 10.1007/BF01721162, where no other source is given. `kernels_rules` computes the scores of rules that are no table
itself, so that whole episodes run in one call; the functions here serve step-by-step use and say the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orl.process import Observation
from orl.rule import Rule

from .instance import NO_DUE_DATE, JobShop
from .kernels_codes import ATC, ATC_LOOK_AHEAD, CR, FIFO, LIFO, MDD, RANDOM, SOPN, WINQ

HAUPT = "Haupt 1989, doi 10.1007/BF01721162"


def choices(observation: Observation) -> np.ndarray:
    """Let rules choose among the jobs of the lowest-numbered machine that may be asked; rules never wait."""
    machine = observation.arrays["machine"]
    is_job = observation.legal & (machine >= 0)
    lowest = np.where(is_job, machine, np.iinfo(machine.dtype).max).min(axis=1, keepdims=True)
    return is_job & (machine == lowest)


def spt(instance: JobShop) -> np.ndarray:
    """Shortest processing time: the operation with the least duration goes first."""
    return -instance.op_duration


def lpt(instance: JobShop) -> np.ndarray:
    """Longest processing time: the operation with the greatest duration goes first."""
    return instance.op_duration


def mwr(instance: JobShop) -> np.ndarray:
    """Most work remaining: the job with the most processing time left, this operation included, goes first."""
    return instance.remaining_work


def lwr(instance: JobShop) -> np.ndarray:
    """Least work remaining: the job with the least processing time left goes first."""
    return -instance.remaining_work


def mor(instance: JobShop) -> np.ndarray:
    """Most operations remaining: the job with the most operations left, this one included, goes first."""
    return instance.job_first[instance.op_job + 1] - np.arange(instance.num_ops)


def lor(instance: JobShop) -> np.ndarray:
    """Least operations remaining: the job with the fewest operations left goes first."""
    return -mor(instance)


def fdd_mwr(instance: JobShop) -> np.ndarray:
    """Flow due date over most work remaining: the least ratio of the two goes first.

    The flow due date of an operation is the job's release plus its work up to and with the operation.
    """
    return -(instance.heads + instance.op_duration) / np.maximum(instance.remaining_work, 1)


def fifo(observation: Observation) -> np.ndarray:
    """First in, first out: the job that joined the queue first goes first."""
    return -_arrivals(observation)


def lifo(observation: Observation) -> np.ndarray:
    """Last in, first out: the job that joined the queue last goes first."""
    return _arrivals(observation)


def winq(observation: Observation) -> np.ndarray:
    """Work in next queue: the job whose next machine has the least work waiting goes first."""
    view = observation.arrays
    op, machine = view["candidate"][:, :-1], view["machine"][:, :-1]
    has_come = (view["available"] >= 0) & (view["available"] <= view["clock"][:, None])
    waits = (op >= 0) & has_come
    rows = np.arange(len(op))[:, None]
    work = np.zeros((len(op), int(observation.sizes[:, 1].max())))
    durations = np.take_along_axis(view["op_duration"], np.maximum(op, 0), axis=1)
    np.add.at(work, (np.broadcast_to(rows, op.shape)[waits], machine[waits]), durations[waits])
    is_last = op + 1 >= view["job_first"][:, 1:]
    last_op = view["op_machine"].shape[1] - 1
    next_machine = np.take_along_axis(view["op_machine"], np.clip(op + 1, 0, last_op), axis=1)
    return _with_wait(np.where(is_last, 0.0, -work[rows, next_machine]))


def random(observation: Observation, seeds: np.ndarray) -> np.ndarray:
    """Random: every waiting job is as likely as another, drawn anew at every decision."""
    from .kernels_rules import hash_uniform_many

    scores = np.empty(observation.legal.shape)
    hash_uniform_many(seeds, observation.arrays["num_started"], scores)
    return scores


def edd(instance: JobShop) -> np.ndarray:
    """Earliest due date: the job with the earliest due date goes first; those without one go last."""
    due = np.where(instance.due_dates == NO_DUE_DATE, np.inf, instance.due_dates)
    return -due[instance.op_job]


def mdd(observation: Observation) -> np.ndarray:
    """Modified due date: the due date, or the earliest possible completion if that is later; the least goes first."""
    due, now, work, _, _ = _due(observation)
    return _with_wait(np.where(np.isfinite(due), -np.maximum(due, now + work), -np.inf))


def cr(observation: Observation) -> np.ndarray:
    """Critical ratio: the least time to the due date over work remaining goes first."""
    due, now, work, _, _ = _due(observation)
    return _with_wait(-(due - now) / np.maximum(work, 1))


def s_opn(observation: Observation) -> np.ndarray:
    """Slack per operation: the least slack over operations remaining goes first."""
    due, now, work, ops, _ = _due(observation)
    return _with_wait(-(due - now - work) / ops)


def atc(observation: Observation) -> np.ndarray:
    """Apparent tardiness cost: weight over duration, discounted by the slack; the greatest goes first."""
    due, now, work, _, duration = _due(observation)
    view = observation.arrays
    mean = np.maximum(view["op_duration"].sum(axis=1) / observation.sizes[:, 2], 1.0)[:, None]
    urgency = np.exp(-np.maximum(due - now - work, 0) / (ATC_LOOK_AHEAD * mean))
    return _with_wait(view["weights"] / np.maximum(duration, 1) * urgency)


def _due(observation: Observation) -> tuple[np.ndarray, ...]:
    """Return due date (infinite: none), time, work, operations left and duration of each job's next operation."""
    view = observation.arrays
    op = np.maximum(view["candidate"][:, :-1], 0)
    due = np.where(view["due_dates"] == NO_DUE_DATE, np.inf, view["due_dates"])
    work, duration = (np.take_along_axis(view[key], op, axis=1) for key in ("op_remaining", "op_duration"))
    ops_left = np.maximum(view["job_first"][:, 1:] - op, 1)
    return due, view["clock"][:, None], work, ops_left, duration


def _arrivals(observation: Observation) -> np.ndarray:
    return _with_wait(observation.arrays["available"].astype(np.float64))


def _with_wait(scores: np.ndarray) -> np.ndarray:
    """Append the score of `wait`, which rules never choose: (num_envs, jobs) -> (num_envs, jobs + 1)."""
    return np.pad(scores, ((0, 0), (0, 1)))


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("spt", table=spt, source=HAUPT),
        Rule("lpt", table=lpt, source=HAUPT),
        Rule("mwr", table=mwr, source=HAUPT),
        Rule("lwr", table=lwr, source=HAUPT),
        Rule("mor", table=mor, source=HAUPT),
        Rule("lor", table=lor, source=HAUPT),
        Rule("fdd/mwr", table=fdd_mwr, source="Sels, Gheysen, Vanhoucke 2012, doi 10.1080/00207543.2011.611539"),
        Rule("fifo", score=fifo, compiled=FIFO, source=HAUPT),
        Rule("lifo", score=lifo, compiled=LIFO, source=HAUPT),
        Rule("winq", score=winq, compiled=WINQ, source=HAUPT),
        Rule("edd", table=edd, source="Jackson 1955, in " + HAUPT),
        Rule("mdd", score=mdd, compiled=MDD, source="Baker and Bertrand 1982, doi 10.1016/0272-6963(82)90020-9"),
        Rule("cr", score=cr, compiled=CR, source=HAUPT),
        Rule("s/opn", score=s_opn, compiled=SOPN, source=HAUPT),
        Rule("atc", score=atc, compiled=ATC, source="Vepsalainen and Morton 1987, doi 10.1287/mnsc.33.8.1035"),
        Rule("random", score=random, compiled=RANDOM, source=HAUPT),
    )
}

DUE_DATE_RULES = ("edd", "mdd", "cr", "s/opn", "atc")  # which all go by job numbers where there are no due dates
