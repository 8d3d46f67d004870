"""The kernels' arrays for a batch of servers: made, and filled with an instance and what its scenario brings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import kernels_codes as codes
from .instance import MAX_GROUP, CostModel, Requests, Serving
from .kernels_layout import States, Work

if TYPE_CHECKING:
    from .scenario import Realised
    from .state import ServingState

TABLES = ("dense", "sequence", "chunk", "past", "prefill", "count", "context", "decode")
GIVEN = {"prompt": codes.PROMPT, "client": codes.CLIENT, "parent": codes.PARENT, "shared": codes.SHARED}
REAL = {"arrival": codes.ARRIVAL, "weight": codes.WEIGHT_OF}
KNOWN = {
    "status": codes.STATUS,
    "generated": codes.GENERATED,
    "under_way": codes.UNDER_WAY,
    "computed": codes.COMPUTED,
    "blocks": codes.HELD,
    "cpu_blocks": codes.ON_CPU,
    "found": codes.FOUND,
    "filled": codes.FILLED,
    "touched": codes.TOUCHED,
    "was_admitted": codes.WAS_ADMITTED,
    "priority": codes.PRIORITY,
    "kept": codes.KEPT,
    "stretches": codes.STRETCHES,
}
BLOCKS = {
    "block_taken_by": codes.TAKEN_BY,
    "block_place": codes.PLACE,
    "block_is_known": codes.IS_KNOWN,
    "block_after": codes.AFTER,
}
LOGS = ("epochs", "events")
LOG_START = 256  # epochs, to begin with
_REUSE = {"off": codes.NO_REUSE, "preemptions": codes.OF_PREEMPTIONS, "turns": codes.OF_TURNS}
_PRIORITY_KINDS = {"file": codes.BY_FILE, "random": codes.BY_DRAW, "markov": codes.BY_MARKOV}


@dataclass(frozen=True)
class Room:
    """What the arrays of a batch have room for."""

    requests: int
    seats: int
    blocks: int
    contents: int
    clients: int
    tables: tuple[tuple[int, ...], ...]

    @property
    def leaves(self) -> int:
        """The least power of two that is no less than the number of blocks."""
        return 1 << max(self.blocks - 1, 0).bit_length()

    @staticmethod
    def of(instances: Iterable[Serving]) -> Room:
        """Return room for the largest of some instances."""
        rooms = [_needs(one) for one in {id(one): one for one in instances}.values()]
        tables = [
            tuple(np.max(shapes, axis=0).tolist()) for shapes in zip(*(room.tables for room in rooms), strict=True)
        ]
        whole = {
            name: max(getattr(room, name) for room in rooms)
            for name in ("requests", "seats", "blocks", "contents", "clients")
        }
        return Room(tables=tuple(tables), **whole)

    def check(self, one: Serving) -> None:
        """Refuse an instance for which there is no room."""
        needs = _needs(one)
        for name in ("requests", "seats", "blocks", "contents", "clients"):
            if getattr(needs, name) > getattr(self, name):
                raise ValueError(
                    f"{one.name} does not fit: {getattr(needs, name)} {name}, room for {getattr(self, name)}."
                )
        for name, shape, most in zip(TABLES, needs.tables, self.tables, strict=True):
            if any(size > limit for size, limit in zip(shape, most, strict=True)):
                raise ValueError(f"{one.name} does not fit: the table {name} of its cost model is larger.")

    def work(self, envs: int) -> Work:
        """Return empty arrays for instances and scenarios."""
        tables = {name: np.zeros((envs, *shape)) for name, shape in zip(TABLES, self.tables, strict=True)}
        return Work(
            sizes=np.zeros((envs, codes.SIZES_WIDTH), dtype=np.int64),
            times=np.zeros((envs, codes.TIMES_WIDTH)),
            key=np.zeros((envs, 1), dtype=np.uint64),
            request=np.zeros((envs, self.requests, codes.GIVEN_WIDTH), dtype=np.int64),
            real=np.zeros((envs, self.requests, codes.REAL_WIDTH)),
            **tables,
        )

    def states(self, envs: int) -> States:
        """Return empty arrays for where the environments are."""
        whole, small = np.int64, np.int32
        return States(
            num=np.zeros((envs, codes.NUM_WIDTH), dtype=whole),
            clock=np.zeros((envs, codes.CLOCK_WIDTH)),
            request=np.zeros((envs, self.requests, codes.REQUEST_WIDTH), dtype=whole),
            ready=np.zeros((envs, self.requests)),
            seats=np.zeros((envs, self.seats, codes.SEAT_WIDTH), dtype=whole),
            flight=np.zeros((envs, 2, self.seats), dtype=whole),
            sampled=np.zeros((envs, 2), dtype=whole),
            leaving=np.zeros((envs, self.requests), dtype=whole),
            clients=np.zeros((envs, self.clients, codes.CLIENT_WIDTH)),
            contents=np.zeros((envs, self.contents, codes.CONTENT_WIDTH), dtype=small),
            blocks=np.zeros((envs, self.blocks + 1, codes.BLOCK_WIDTH), dtype=small),
            areas=np.zeros((envs, 2 * self.leaves), dtype=small),
            levels=np.zeros((envs, MAX_GROUP.bit_length()), dtype=small),
            epochs=np.zeros((envs, LOG_START, 3)),
            events=np.zeros((envs, 4 * self.seats + 2 * self.requests + 64, 4), dtype=whole),
        )


def lay_out(work: Work, env: int, one: Serving, realised: Realised) -> None:
    """Write an instance, its cost model left out, and what its scenario brings to one environment's arrays."""
    requests, settings = realised.requests, one.settings
    count = len(requests)
    sizes = work.sizes[env]
    sizes[codes.NUM_REQUESTS], sizes[codes.NUM_BLOCKS], sizes[codes.CPU_BLOCKS] = count, one.num_blocks, one.cpu_blocks
    sizes[codes.BLOCK_SIZE], sizes[codes.MAX_SEQS] = one.block_size, settings.max_num_seqs
    sizes[codes.BUDGET], sizes[codes.DEPTH] = one.token_budget, one.depth
    sizes[codes.IS_CHUNKED] = settings.enable_chunked_prefill
    sizes[codes.IS_CACHING] = settings.enable_prefix_caching
    sizes[codes.RESERVES_ALL] = settings.scheduler_reserve_full_isl
    sizes[codes.IS_OVERLAPPED], sizes[codes.OVERLAP_FROM] = one.overlaps, settings.overlap_from
    sizes[codes.GROUP], sizes[codes.REUSE] = one.block_group, _REUSE[one.kv_reuse]
    sizes[codes.IS_ROUNDS] = one.is_rounds
    sizes[codes.PRIORITY_EVERY], sizes[codes.PRIORITY_LEVELS] = one.priority_every, settings.priority_levels
    sizes[codes.PRIORITY_KIND] = _PRIORITY_KINDS[settings.priorities]
    sizes[codes.NUM_CLIENTS] = requests.num_clients
    work.times[env] = one.start_s, one.block_s, settings.priority_stay
    work.key[env] = realised.priority_key
    given, real = work.request[env], work.real[env]
    given[:], real[:] = 0, 0.0
    for column, name in enumerate(("prompt", "output", "client", "parent", "shared")):
        given[:count, column] = getattr(requests, name)
    given[:count, codes.OFFSET] = offsets(requests, one.block_size)[:-1]
    real[:count, codes.ARRIVAL], real[:count, codes.WEIGHT_OF] = requests.arrival, requests.weight
    real[:count, codes.PREDICTED] = realised.predicted


def lay_out_costs(work: Work, env: int, costs: CostModel) -> None:
    """Write a cost model to one environment's arrays."""
    for name in ("dense", "sequence", "chunk", "past", "count", "context"):
        _continued(getattr(costs, name), getattr(work, name)[env])
    for name in ("prefill", "decode"):
        table, place = getattr(costs, name), getattr(work, name)[env]
        rows = np.zeros((len(table), place.shape[1]))
        for row, target in zip(table, rows, strict=True):
            _continued(row, target)
        for column in range(place.shape[1]):
            _continued(rows[:, column], place[:, column])


def begin(states: States, env: int, one: Serving, realised: Realised) -> None:
    """Write the beginning of an episode to one environment's arrays."""
    for name in States._fields:
        getattr(states, name)[env] = 0
    num, blocks = states.num[env], one.num_blocks
    num[codes.FREE], num[codes.CPU_FREE], num[codes.UNFINISHED] = blocks, one.cpu_blocks, len(realised.requests)
    num[codes.LAST_CLIENT] = -1
    states.request[env, :, codes.TOUCHED] = -1
    states.request[env, : len(realised.requests), codes.PRIORITY] = realised.requests.priority
    states.contents[env, :, codes.KNOWN] = -1
    states.blocks[env, :, [codes.OWNER, codes.TAKEN_BY]] = -1
    ring = np.arange(blocks + 1)
    states.blocks[env, : blocks + 1, codes.AFTER] = np.roll(ring, -1)
    states.blocks[env, : blocks + 1, codes.BEFORE] = np.roll(ring, 1)
    if one.block_group > 1:
        _count_areas(states.areas[env], states.levels[env], blocks, one.block_group)
    if one.state is not None:
        _go_on(states, env, one.state)


def _go_on(states: States, env: int, state: ServingState) -> None:
    """Write what an instance in motion says outright of its state; the kernel `go_on` adds what follows."""
    count, oldest = len(state.seen), state.counters[codes.OLDEST]
    states.num[env], states.clock[env] = state.counters, state.clock
    states.request[env, :count], states.ready[env, :count] = state.known, state.ready
    states.seats[env, : len(state.running), codes.SEATED] = state.running
    states.flight[env, oldest, : len(state.flight)] = state.flight
    states.sampled[env, oldest] = len(state.flight)
    clients = min(len(state.clients), states.clients.shape[1])
    states.clients[env, :clients] = state.clients[:clients]
    states.blocks[env, : len(state.blocks)] = state.blocks


def _count_areas(areas: np.ndarray, levels: np.ndarray, blocks: int, group: int) -> None:
    """Write the tree of free blocks where all are free."""
    nodes = len(areas) // 2
    areas[nodes : nodes + blocks] = 1
    while nodes > 1:
        areas[nodes // 2 : nodes] = areas[nodes : 2 * nodes].reshape(-1, 2).sum(axis=1)
        nodes //= 2
    for level in range(group.bit_length()):
        levels[level] = blocks >> level


def _needs(one: Serving) -> Room:
    if isinstance(one.source, Requests):
        contents, clients = int(offsets(one.source, one.block_size)[-1]), one.source.num_clients
    else:
        contents = one.source.count * (2 * one.source.longest // one.block_size + 1)
        clients = one.source.clients
    return Room(
        requests=one.num_requests,
        seats=min(one.settings.max_num_seqs, one.num_requests),
        blocks=one.num_blocks,
        contents=max(contents, 1),
        clients=clients,
        tables=tuple(getattr(one.costs, name).shape for name in TABLES),
    )


def offsets(requests: Requests, size: int) -> np.ndarray:
    """Return where each request's contents begin, (num_requests + 1,)."""
    return np.concatenate([[0], np.cumsum((requests.prompt + requests.output) // size + 1)])


def _continued(values: np.ndarray, place: np.ndarray) -> None:
    """Write values to the beginning of an array, and continue them linearly to its end."""
    count = len(values)
    place[:count] = values
    place[count:] = values[-1] + (values[-1] - values[-2]) * np.arange(1, len(place) - count + 1)
