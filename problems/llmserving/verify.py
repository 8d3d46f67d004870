"""Cost and violations of a log, by plain arithmetic; shares no code with kernels or the twin."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from orl.problem import Report, Violation
from orl.scenario import Scenarios

from .instance import CostModel, Serving, ServingLog
from .replay import SLACK, Replay, malformed

DURATION_TOLERANCE = 1e-6  # relative


def verify(instance: Serving, scenario: Scenarios, log: ServingLog) -> Report:
    """Replay a log event by event.

    Returns
    -------
    Report
        Without a cost if the log cannot be replayed or a request is not finished.

    Raises
    ------
    InputError
        If the instance is in motion.
    """
    instance.must_begin()
    broken = malformed(instance, scenario, log)
    if broken:
        return Report(None, (Violation("shape", broken),))
    replay = replayed(instance, scenario, log)
    return Report(replay.cost, tuple(replay.violations))


@lru_cache(maxsize=1)  # the metrics ask for what was verified just before
def replayed(instance: Serving, scenario: Scenarios, log: ServingLog) -> Replay:
    """Return the replay of a log that is not `malformed`, its times checked.

    Where the end of a transfer and an epoch differ by rounding alone it is open which was first: first our own
    arithmetic is taken at its word, then, if there are violations, the transfer has ended.
    """
    replay = Replay(instance, scenario, log)
    _check_batches(replay)
    _check_epochs(replay)
    if replay.violations and replay.has_close_ends:
        other = Replay(instance, scenario, log, SLACK)
        _check_batches(other)
        _check_epochs(other)
        return min(replay, other, key=lambda one: len(one.violations))
    return replay


# Times --------------------------------------------------------------------------------------------------------------


def _check_batches(replay: Replay) -> None:
    """Check when batches begin, and how long they take."""
    log, is_empty = replay.log, replay.is_empty
    epochs = np.arange(len(log.decided))
    latest = np.maximum.accumulate(np.where(is_empty, -1, epochs))
    before = np.concatenate([[-1], latest[:-1]])  # the last batch before
    free = np.where(before >= 0, log.end[before], -np.inf)
    start = np.where(is_empty, log.decided, np.maximum(log.decided, free) + replay.stall)
    for epoch in np.flatnonzero(~_is_same(log.start, start)).tolist():
        what = "starts" if not is_empty[epoch] else "is empty and starts"
        replay.wrong(
            "start", f"epoch {epoch}: the batch {what} at {log.start[epoch]:.9g}, {start[epoch]:.9g} would be right."
        )
    took, right = log.end - log.start, durations(replay)
    slack = DURATION_TOLERANCE * right + SLACK * np.maximum(1, np.abs(log.end))
    for epoch in np.flatnonzero(np.abs(took - right) > slack).tolist():
        replay.wrong(
            "duration",
            f"epoch {epoch}: the batch of {replay.tokens[epoch]} tokens, {replay.members[epoch]} requests takes "
            f"{took[epoch]:.9g}, the cost model says {right[epoch]:.9g}.",
        )


def _check_epochs(replay: Replay) -> None:
    """Check when decisions are taken."""
    log, depth, arrival = replay.log, replay.instance.depth, replay.requests.arrival
    decided, is_empty = log.decided, replay.is_empty
    if decided[0] != 0:
        replay.wrong("epoch", f"epoch 0: decided at {decided[0]:.9g}, the first is at 0.")
    following = np.append(arrival, np.inf)[np.searchsorted(arrival, decided, side="right")]
    right = np.minimum(following, replay.next_copy)  # where nothing is under way
    if depth == 1:
        right = np.where(is_empty, right, np.maximum(decided, log.end))
    else:
        is_under_way = np.append(False, ~is_empty[:-1])  # the batch of the epoch before
        oldest = np.maximum(decided, np.append(-np.inf, log.end[:-1]))
        right = np.where(is_under_way, oldest, np.where(is_empty, right, decided))
    right = np.where(np.isinf(right) & replay.has_preempted, decided, right)
    is_idle = np.isinf(right)
    for epoch in np.flatnonzero(is_idle).tolist():
        replay.wrong("idle", f"epoch {epoch}: the batch is empty and there is nothing to wait for.")
    is_wrong = ~_is_same(decided[1:], right[:-1]) & ~is_idle[:-1]
    for epoch in (np.flatnonzero(is_wrong) + 1).tolist():
        replay.wrong("epoch", f"epoch {epoch}: decided at {decided[epoch]:.9g}, {right[epoch - 1]:.9g} would be right.")


def _is_same(times: np.ndarray, right: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # inf - inf
        return np.abs(times - right) <= SLACK * np.maximum(1, np.abs(times))


def durations(replay: Replay) -> np.ndarray:
    """Return how long the cost model says that each batch takes, 0 where there is none."""
    if replay.instance.is_rounds:
        return np.where(replay.is_empty, 0.0, 1.0)
    costs: CostModel = replay.instance.costs
    total = _line(costs.dense, replay.tokens) + _line(costs.sequence, replay.members)
    mean = replay.context / np.maximum(replay.decodes, 1)
    decode = _surface(costs.count, costs.context, costs.decode, replay.decodes, mean)
    total += np.where(replay.decodes > 0, decode, 0.0)
    epoch, tokens, before = replay.chunks.T
    np.add.at(total, epoch, _surface(costs.chunk, costs.past, costs.prefill, tokens, before))
    return np.where(replay.is_empty, 0.0, total)


def _line(table: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return what a table of 0, 1, 2, ... says, on its last line beyond its end."""
    low = np.clip(place, 0, len(table) - 2)
    return table[low] + (table[low + 1] - table[low]) * (place - low)


def _surface(rows: np.ndarray, columns: np.ndarray, table: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return what a table says between its points and beyond the last, linear along either axis."""
    row = np.clip(np.searchsorted(rows, x, side="right") - 1, 0, len(rows) - 2)
    column = np.clip(np.searchsorted(columns, y, side="right") - 1, 0, len(columns) - 2)
    right = (x - rows[row]) / (rows[row + 1] - rows[row])
    down = (y - columns[column]) / (columns[column + 1] - columns[column])
    near = table[row, column] * (1 - right) + table[row + 1, column] * right
    far = table[row, column + 1] * (1 - right) + table[row + 1, column + 1] * right
    return near * (1 - down) + far * down
