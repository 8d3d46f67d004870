"""Key figures of a log in a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np

from orl.scenario import Scenarios

from .instance import Serving, ServingLog
from .replay import Replay
from .verify import replayed

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}
INPUT_WEIGHT, OUTPUT_WEIGHT = 1, 2  # of served tokens, as in arXiv 2401.00588
MAX_PAIRED = 50  # clients


def metrics(instance: Serving, scenario: Scenarios, log: ServingLog) -> Mapping[str, float]:
    """Return key figures by name; where there is nothing to measure they are 0.

    Times are in seconds, or in rounds with clock=rounds. Each of the first three is a mean and the quantiles `_p50`,
    `_p95`, `_p99` and `_p999`.

    | name | unit | meaning |
    |---|---|---|
    | `ttft_mean`, ... | s | from a request's arrival to its first token |
    | `tpot_mean`, ... | s | from the first token to the last, a token after the first; requests of one token are left out |
    | `latency_mean`, ... | s | from arrival to the last token |
    | `tbt_p99`, `tbt_p999` | s | between two tokens of a request, of all such times |
    | `throughput_tokens_s`, `throughput_requests_s` | 1/s | output tokens and requests, from the first arrival to the end |
    | `goodput_requests_s` | 1/s | requests whose times to the first and to a further token are within the settings' slo |
    | `service_difference` | tokens | the largest, over epochs, of the difference in what two clients were served so far, prompt + 2 output tokens known, that both have requests in the system |
    | `backlogged_difference` | tokens | the most that the difference changes while both have requests waiting that were never admitted; of the 50 clients that wait longest |
    | `vtc_bound` | tokens | what VTC guarantees for the latter where nobody is preempted |
    | `preemptions` | | |
    | `recomputed_tokens` | tokens | computed again |
    | `swapped_bytes` | bytes | copied, out and in, at preemptions, finishes and admissions |
    | `copies` | | stretches of blocks side by side that are copied, out and in |
    | `blocks_per_copy` | blocks | their mean length |
    | `copied_in_tokens` | tokens | copied in at admissions instead of being computed |
    | `stalled_share` | share | of the time in which batches wait for transfers, or nothing can be computed until one ends, though there are requests |
    | `kv_use` | share | of the blocks that are held, mean over time |
    | `hit_tokens` | tokens | found in the prefix cache |
    """  # noqa: E501
    instance.must_begin()
    replay = replayed(instance, scenario, log)
    requests, settings = replay.requests, instance.settings
    is_served = np.isfinite(replay.finish) & np.isfinite(replay.first_token)
    arrival, output = requests.arrival[is_served], requests.output[is_served]
    ttft = replay.first_token[is_served] - arrival
    latency = replay.finish[is_served] - arrival
    tpot = (latency - ttft) / np.maximum(output - 1, 1)
    span = float(replay.epoch_time[-1] - requests.arrival[0])
    a_second = 1 / span if span > 0 else 0.0
    is_good = (ttft <= settings.slo_ttft_s) & (tpot <= settings.slo_tpot_s)
    figures: dict[str, float] = {}
    for name, values in (("ttft", ttft), ("tpot", tpot[output > 1]), ("latency", latency)):
        figures[f"{name}_mean"] = float(values.mean()) if values.size else 0.0
        for suffix, share in QUANTILES.items():
            figures[f"{name}_{suffix}"] = float(np.quantile(values, share)) if values.size else 0.0
    between = time_between_tokens(replay)
    blocks, copies = int(replay.blocks_swapped.sum()), int(replay.stretches_copied.sum())
    lengths, differences = np.diff(replay.epoch_time), service_differences(replay)
    return figures | {
        "tbt_p99": _weighted_quantile(*between, 0.99),
        "tbt_p999": _weighted_quantile(*between, 0.999),
        "throughput_tokens_s": float(output.sum()) * a_second,
        "throughput_requests_s": len(output) * a_second,
        "goodput_requests_s": int(is_good.sum()) * a_second,
        "service_difference": differences[0],
        "backlogged_difference": differences[1],
        "vtc_bound": 2.0
        * max(INPUT_WEIGHT * int(requests.prompt.max()), OUTPUT_WEIGHT * instance.num_blocks * instance.block_size),
        "preemptions": float(replay.preemptions.sum()),
        "recomputed_tokens": float(replay.recomputed.sum()),
        "swapped_bytes": float(blocks) * instance.block_bytes,
        "copies": float(copies),
        "blocks_per_copy": blocks / max(copies, 1),
        "copied_in_tokens": float(replay.copied_in_tokens),
        "stalled_share": float(stalled(replay).sum()) * a_second,
        "kv_use": float((replay.used * lengths).sum() / (instance.num_blocks * lengths.sum()))
        if lengths.sum()
        else 0.0,
        "hit_tokens": float(replay.hit_tokens),
    }


def stalled(replay: Replay) -> np.ndarray:
    """Return the seconds of each epoch in which a batch waits for transfers or there is none until one ends."""
    following = np.append(replay.requests.arrival, np.inf)[
        np.searchsorted(replay.requests.arrival, replay.log.decided, side="right")
    ]
    is_waiting = np.isfinite(replay.next_copy) & (replay.next_copy <= following)
    is_waiting &= replay.running + replay.waiting + replay.swapped > 0  # else what is copied out has finished
    if replay.instance.depth > 1:
        is_waiting[1:] &= replay.is_empty[:-1]  # no batch is under way
    return replay.stall + np.where(is_waiting, np.diff(replay.epoch_time), 0.0)


def time_between_tokens(replay: Replay) -> tuple[np.ndarray, np.ndarray]:
    """Return the times between two tokens of a request, and how often there is each."""
    end, stretches = replay.log.end, replay.stretches
    both = np.zeros(len(end), dtype=np.int64)  # who gets a token in this batch and in the next
    np.add.at(both, stretches[:, 1], 1)
    np.subtract.at(both, stretches[:, 2], 1)
    times, counts = np.diff(end), np.cumsum(both)[:-1]
    rows = stretches[np.lexsort((stretches[:, 1], stretches[:, 0]))]
    is_next = rows[1:, 0] == rows[:-1, 0]
    gaps = (end[rows[1:, 1]] - end[rows[:-1, 2]])[is_next]
    return np.concatenate([times, gaps]), np.concatenate([counts, np.ones(len(gaps), dtype=np.int64)])


def _weighted_quantile(values: np.ndarray, counts: np.ndarray, share: float) -> float:
    """Return the least value that at least this share of all does not exceed; 0 if there is none."""
    if counts.sum() == 0:
        return 0.0
    order = np.argsort(values)
    total = np.cumsum(counts[order])
    return float(values[order][np.searchsorted(total, share * total[-1])])


class _Client(NamedTuple):
    """What became of a client from the epoch in which its first request arrives until its last one is finished.

    Parameters
    ----------
    first : int
        Epoch.
    served : int ndarray (epochs,)
        Tokens, weighted, that are known in the decisions of each epoch.
    is_present, is_backlogged : bool ndarray (epochs,)
        Whether it has requests in the system, and whether one waits after these decisions that was never admitted.
    """

    first: int
    served: np.ndarray
    is_present: np.ndarray
    is_backlogged: np.ndarray


def _clients(replay: Replay) -> Iterator[_Client]:
    requests, epochs = replay.requests, len(replay.log.decided)
    arrived = np.searchsorted(replay.epoch_time, requests.arrival)
    admitted = np.where(replay.admit_epoch < 0, epochs + 1, replay.admit_epoch)
    finished = np.where(replay.finish_epoch < 0, epochs + 1, replay.finish_epoch)
    of_stretch = requests.client[replay.stretches[:, 0]]
    order, whose = np.argsort(of_stretch, kind="stable"), np.argsort(requests.client, kind="stable")
    for client in np.unique(requests.client).tolist():
        mine = whose[slice(*np.searchsorted(requests.client[whose], [client, client + 1]))]
        rows = replay.stretches[order[slice(*np.searchsorted(of_stretch[order], [client, client + 1]))]]
        first, last = int(arrived[mine].min()), int(finished[mine].max())
        width = last - first
        if width <= 0:
            continue
        rate, at_once, present, backlogged = np.zeros((4, width + 1), dtype=np.int64)
        known = np.minimum(rows[:, 1:] + replay.instance.depth + (0, 1) - first, width)
        np.add.at(rate, known[:, 0], OUTPUT_WEIGHT)
        np.subtract.at(rate, known[:, 1], OUTPUT_WEIGHT)
        np.add.at(at_once, np.minimum(admitted[mine] - first, width), INPUT_WEIGHT * requests.prompt[mine])
        for counts, end in ((present, finished), (backlogged, admitted)):
            np.add.at(counts, np.minimum(arrived[mine] - first, width), 1)
            np.subtract.at(counts, np.minimum(end[mine] - first, width), 1)
        served = np.cumsum(np.cumsum(rate) + at_once)
        yield _Client(first, served[:-1], np.cumsum(present)[:-1] > 0, np.cumsum(backlogged)[:-1] > 0)


def service_differences(replay: Replay) -> tuple[float, float]:
    """Return `service_difference` and `backlogged_difference`."""
    epochs = len(replay.log.decided) + 1
    most, least = np.full(epochs, -np.inf), np.full(epochs, np.inf)
    clients = list(_clients(replay))
    for one in clients:
        part = slice(one.first, one.first + len(one.served))
        most[part] = np.maximum(most[part], np.where(one.is_present, one.served, -np.inf))
        least[part] = np.minimum(least[part], np.where(one.is_present, one.served, np.inf))
    is_any = np.isfinite(most)
    widest = float((most[is_any] - least[is_any]).max(initial=0.0))
    longest = sorted(clients, key=lambda one: -int(one.is_backlogged.sum()))[:MAX_PAIRED]
    return widest, max((_range_of_difference(a, b) for a, b in combinations(longest, 2)), default=0.0)


def _range_of_difference(a: _Client, b: _Client) -> float:
    """Return how much the difference of two clients' service changes while both are backlogged, at most."""
    low, high = max(a.first, b.first), min(a.first + len(a.served), b.first + len(b.served))
    if low >= high:
        return 0.0
    here, there = (slice(low - one.first, high - one.first) for one in (a, b))
    places = np.flatnonzero(a.is_backlogged[here] & b.is_backlogged[there])
    if not places.size:
        return 0.0
    difference = (a.served[here] - b.served[there])[places]
    begins = np.flatnonzero(np.diff(places, prepend=-2) > 1)
    return float((np.maximum.reduceat(difference, begins) - np.minimum.reduceat(difference, begins)).max())
