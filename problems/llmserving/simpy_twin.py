"""LLM serving as plain SimPy processes: slow and readable, the oracle against which the kernels are tested.

Requests arrive, a GPU computes batches, two queues copy blocks; a server is told what to do between them. Written from
the README's statement, not from the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import simpy

from orl.errors import IllegalAction

from .instance import KINDS, Requests, Serving, ServingLog
from .simpy_twin_batches import Batch, Job, planned, seconds_of
from .simpy_twin_blocks import Blocks, Content

RUN = (-1, "run")
Choice = tuple[int, str]


class Server:
    """A server that is told one thing after another; in between, what happens by itself happens as SimPy processes.

    Parameters
    ----------
    instance : Serving
    requests : Requests
    predicted : sequence of float, optional
        Output lengths as they are predicted, for those who choose; the true ones without.

    Attributes
    ----------
    jobs : list of Job
    blocks : Blocks
    cpu_free : int
        Blocks that no swapped request holds; copies lie in them.
    kept : list of int
        k of each request.
    priority : list of int
        Of each request, as it is now; whoever draws it anew sets it.
    served, counter : list of int, (num_clients,)
    running : list of Job
        In the order of admission.
    """

    def __init__(self, instance: Serving, requests: Requests, predicted: Sequence[float] | None = None) -> None:
        self.instance, self.requests = instance, requests
        self.predicted = requests.output.tolist() if predicted is None else [float(value) for value in predicted]
        columns = (requests.arrival, requests.prompt, requests.output, requests.client, requests.weight)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        self.jobs = [Job(number, *row) for number, row in enumerate(rows)]
        self.blocks = Blocks(instance.num_blocks, instance.block_group)
        self.cpu_free = instance.cpu_blocks
        self.kept = [0] * len(self.jobs)
        self.priority: list[int] = requests.priority.tolist()
        self.served = [0] * requests.num_clients
        self.counter = [0] * requests.num_clients
        self.running: list[Job] = []
        self.under_way: list[Batch] = []

        self._touched: set[int] = set()
        self._has_preempted = False
        self._last_admitted: int | None = None  # a client
        self._gpu_end = 0.0  # of the latest batch
        self._owed = 0.0  # seconds of transfers for which the next batch waits
        self._in_end = self._out_end = 0.0  # of the latest copy in or out, with overlap
        self._not_before = 0.0  # the end of the copies for which the next batch waits, with overlap
        self._decided_batch: Batch | None = None  # "run" was decided, and time has not passed yet
        self._epochs: list[tuple[float, float, float]] = []
        self._events: list[tuple[int, int, int, int]] = []

        # Time is kept in fractions, so that an instant is the same whatever it is reached from.
        self.environment = simpy.Environment()
        self._news = self.environment.event()  # the next arrival or the next end of a transfer
        self._arrived: list[Job] = []  # since the last epoch
        self._num_coming, self._num_copies = len(self.jobs), 0
        self._orders = simpy.Store(self.environment)
        self._out, self._in = simpy.Store(self.environment), simpy.Store(self.environment)
        self.environment.process(self._clients())
        self.environment.process(self._gpu())
        self.environment.process(self._link(self._out))
        self.environment.process(self._link(self._in))
        self._settle()
        self._receive()

    # What can be read -------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return float(self.environment.now)

    @property
    def is_over(self) -> bool:
        return all(job.state == "finished" for job in self.jobs)

    @property
    def state(self) -> list[str]:
        return [job.state for job in self.jobs]

    @property
    def g(self) -> list[int]:
        return [job.g for job in self.jobs]

    @property
    def q(self) -> list[int]:
        return [job.q for job in self.jobs]

    @property
    def c(self) -> list[int]:
        return [job.c for job in self.jobs]

    @property
    def held(self) -> list[int]:
        """How many blocks each request holds on the GPU, shared ones included."""
        return [len(job.blocks) for job in self.jobs]

    @property
    def held_on_cpu(self) -> list[int]:
        return [job.cpu for job in self.jobs]

    @property
    def free(self) -> int:
        """How many blocks nobody holds, known or not."""
        return len(self.blocks.free)

    def log(self) -> ServingLog:
        """Return what was done so far."""
        decided, start, end = np.array(self._epochs, dtype=np.float64).reshape(-1, 3).T
        return ServingLog(decided, start, end, np.array(self._events, dtype=np.int64).reshape(-1, 4))

    # Decisions --------------------------------------------------------------------------------------------------------

    def legal(self) -> list[Choice]:
        """Return what may be decided now, by request; "run" is the last."""
        if self.is_over or self._decided_batch is not None:
            return []
        batch = self.batch()
        spare_blocks = self.free - self._needs(batch)
        pending = sum(self._count(job.c + 1) - len(job.blocks) for job in self.running if job.is_copying)
        spare_tokens = self.instance.token_budget - batch.tokens
        has_room = len(self.running) < self.instance.settings.max_num_seqs and spare_tokens > 0
        choices: list[Choice] = []
        for job in self.jobs:
            is_short = job.state == "running" and spare_blocks < 0  # somebody must give way, whoever it is
            if job.is_copying or (job.number in self._touched and not is_short):
                continue
            if job.state == "waiting" and has_room and self._admission(job, spare_tokens) <= spare_blocks - pending:
                choices.append((job.number, "admit"))
            if job.state == "running":
                choices.append((job.number, "recompute"))
                if job.c > 0 and len(job.blocks) <= self.cpu_free:
                    choices.append((job.number, "swap-out"))
            if job.state == "swapped" and has_room and self._count(job.c + 1) <= spare_blocks - pending:
                choices.append((job.number, "swap-in"))
        goes_on = self.under_way or self._num_coming or self._num_copies or self._has_preempted
        if spare_blocks >= 0 and (batch.parts or goes_on):
            choices.append(RUN)
        return choices

    def batch(self) -> Batch:
        """Return who would get how many tokens now."""
        return planned(self.instance, self.running)

    def decide(self, choice: Choice) -> None:
        """Do one thing.

        Raises
        ------
        IllegalAction
            If it is not legal.
        """
        if choice not in self.legal():
            raise IllegalAction(f"{choice} is illegal at {self.now:g}.")
        if choice == RUN:
            self._run()
        else:
            number, kind = choice
            job = self.jobs[number]
            self._touched.add(number)
            {"admit": self._admit, "recompute": self._recompute, "swap-out": self._swap_out, "swap-in": self._swap_in}[
                kind
            ](job)
        self._settle()

    def reveal(self) -> float:
        """Let pass what time there is to the next epoch.

        Returns
        -------
        cost : float
            Of this time; 0 if "run" was not the last decision.
        """
        batch, self._decided_batch = self._decided_batch, None
        if batch is None:
            return 0.0
        before = self.now
        inside = [job for job in self.jobs if job.state not in ("future", "finished")]
        self._touched, self._has_preempted = set(), False
        if batch.parts and len(self.under_way) < self.instance.depth:
            return 0.0
        if self.under_way:
            self.environment.run(until=self.under_way[0].ended)
            self._settle()
            self._finish(self.under_way.pop(0))
        elif self._num_coming or self._num_copies:
            self.environment.run(until=self._news)
            self._settle()
        inside += self._arrived
        self._receive()
        return sum(job.weight * (self.now - max(before, job.arrival)) for job in inside)

    # What decisions do ------------------------------------------------------------------------------------------------

    def _admit(self, job: Job) -> None:
        joins, copies = self._joins_at_once(), self._copies_for(job)
        for block in self._found(job):
            self.blocks.share(block)
            job.blocks.append(block)
        if copies > 0:
            parent = self.jobs[self.requests.parent[job.number]]
            job.copies = {number: parent.copies.get(number) for number in range(copies)}
            self.kept[job.number] = copies
            self._keep_nothing(parent)
        found = len(job.blocks)
        while len(job.blocks) < copies:
            self.blocks.take(job.blocks)
        self._copy_in(job, found, joins)
        job.c = len(job.blocks) * self.instance.block_size
        job.state = "running"
        self.running.append(job)
        if not job.was_admitted:
            job.was_admitted = True
            self._serve(job.client, job.prompt)
        self._last_admitted = job.client
        self._note(job, "admit", job.c)

    def _recompute(self, job: Job) -> None:
        self._note(job, "recompute", job.c)
        self.blocks.release(job.blocks)
        self._keep_nothing(job)
        job.c, job.state = 0, "waiting"
        self.running.remove(job)
        self._has_preempted = True

    def _swap_out(self, job: Job) -> None:
        self._note(job, "swap-out", job.c)
        is_urgent = self._needs(self.batch()) > self.free
        job.cpu = len(job.blocks)
        self.cpu_free -= job.cpu
        job.state = "swapped"
        self.running.remove(job)
        self._has_preempted = True
        first, self.kept[job.number] = self.kept[job.number], 0
        self._give_up_copies()
        self._copy_out(job, first, job.cpu, is_urgent)

    def _swap_in(self, job: Job) -> None:
        self._note(job, "swap-in", job.c)
        joins = self._joins_at_once()
        while len(job.blocks) < job.cpu:
            self.blocks.take(job.blocks)
        self.cpu_free += job.cpu
        job.cpu, job.state = 0, "running"
        self.running.append(job)
        if self.instance.kv_reuse != "off":
            self.kept[job.number] = self._full(job.c)
        self._copy_in(job, 0, joins)

    def _run(self) -> None:
        batch = self._decided_batch = self.batch()
        if not batch.parts:
            self._epochs.append((self.now, self.now, self.now))
            return
        seconds = seconds_of(self.instance, batch)
        for job, count in batch.parts:
            assert self._is_intact(job), f"request {job.number} would read stale tokens at {self.now:g}."
            while len(job.blocks) < self._count(job.c + count):
                self.blocks.take(job.blocks)
            job.c += count
            self._write(job, job.c - count)
            if job.missing == 0:
                job.q += 1
                batch.yields.append(job)
            if self._has_cache:
                for number in range(self._full(job.c - count), self._full(job.c)):
                    self.blocks.fill(job.blocks[number], self._content(job.number, number))
        for job, count in batch.chunks:
            self._note(job, "prefill", count)
        start = max(self._gpu_end, self.now, self._not_before) + self._owed
        self._gpu_end = batch.end = start + seconds
        self._owed = self._not_before = 0.0
        batch.ended = self.environment.event()
        self.under_way.append(batch)
        self._orders.put(batch)
        self._epochs.append((self.now, start, batch.end))

    # Transfers and copies ---------------------------------------------------------------------------------------------

    def _joins_at_once(self) -> bool:
        """Whether the next batch would wait for a request that is copied in now."""
        return len(self.batch().parts) < self.instance.settings.overlap_from

    def _transfer_s(self, blocks: list[int]) -> float:
        return self.blocks.stretches(blocks) * self.instance.start_s + len(blocks) * self.instance.block_s

    def _copy_out(self, job: Job, first: int, stop: int, is_urgent: bool = False) -> None:
        """Copy some of a request's blocks out, and release all of them when that is done; the next batch may wait."""

        def release() -> None:
            for number, block in list(enumerate(job.blocks))[first:stop]:
                job.copies[number] = self.blocks.written[block]
            self.blocks.release(job.blocks)

        def end() -> None:
            release()
            job.is_copying = False

        seconds = self._transfer_s(job.blocks[first:stop])
        if self.instance.overlaps and seconds > 0:
            job.is_copying = True
            self._num_copies += 1
            begins = max([self.now, self._out_end, *(batch.end for batch in self.under_way)])
            self._out_end = begins + seconds
            if is_urgent:
                self._not_before = max(self._not_before, self._out_end)
                release()
            self._out.put((seconds, [batch.ended for batch in self.under_way], end))
        else:
            self._owed += seconds
            end()

    def _copy_in(self, job: Job, first: int, joins: bool) -> None:
        """Copy a request's blocks in, from one on; with overlap it joins at once or waits for it."""

        def end() -> None:
            job.is_copying = False

        for number, block in list(enumerate(job.blocks))[first:]:
            self.blocks.written[block] = job.copies.get(number)
        seconds = self._transfer_s(job.blocks[first:])
        if self.instance.overlaps and seconds > 0:
            self._in_end = max(self.now, self._in_end) + seconds
            if joins:
                self._not_before = max(self._not_before, self._in_end)
                self._in.put((seconds, [], None))
            else:
                self._num_copies += 1
                job.is_copying = True
                self._in.put((seconds, [], end))
        else:
            self._owed += seconds

    def _copies_for(self, job: Job) -> int:
        """Return how many leading blocks of a request could be copied in from what its parent left."""
        parent = int(self.requests.parent[job.number])
        if self.instance.kv_reuse != "turns" or parent < 0:
            return 0
        if self.jobs[parent].state != "finished" or self.jobs[parent].is_copying:
            return 0
        shared = int(self.requests.shared[job.number])
        return min(self.kept[parent], self._full(shared), self._full(job.prompt + job.g - 1))

    def _keep_nothing(self, job: Job) -> None:
        self.kept[job.number] = 0
        job.copies = {}

    def _give_up_copies(self) -> None:
        """Give up copies until the rest is no more than what is free on the CPU."""
        while sum(self.kept) > self.cpu_free:
            keepers = [job for job in self.jobs if self.kept[job.number] > 0]
            job = min(keepers, key=lambda keeper: (-self.priority[keeper.number], keeper.number))
            self.kept[job.number] -= 1
            job.copies.pop(self.kept[job.number], None)

    def _write(self, job: Job, before: int) -> None:
        """Note what is in the blocks that a batch writes, of a request which had so many tokens computed before."""
        size = self.instance.block_size
        for number in range(self._full(before), len(job.blocks)):
            content = self._content(job.number, number)
            self.blocks.written[job.blocks[number]] = content, min(job.c - number * size, size)

    def _is_intact(self, job: Job) -> bool:
        """Whether the blocks of a request contain just the tokens that it has computed."""
        size, full = self.instance.block_size, self._full(job.c)
        while len(job.wanted) < full:
            job.wanted.append((self._content(job.number, len(job.wanted)), size))
        wanted = job.wanted[:full]
        if job.c % size > 0:
            wanted.append((self._content(job.number, full), job.c % size))
        return [self.blocks.written[block] for block in job.blocks] == wanted

    # What happens by itself -------------------------------------------------------------------------------------------

    def _clients(self) -> Generator[simpy.Event, Any, None]:
        for job in self.jobs:
            yield self._at(job.arrival)
            self._arrived.append(job)
            self._num_coming -= 1
            self._tell()

    def _gpu(self) -> Generator[simpy.Event, Any, None]:
        while True:
            batch = yield self._orders.get()
            yield self._at(batch.end)
            batch.ended.succeed()

    def _link(self, queue: simpy.Store) -> Generator[simpy.Event, Any, None]:
        while True:
            seconds, waits_for, end = yield queue.get()
            for ended in waits_for:
                if not ended.processed:
                    yield ended
            yield self._at(self.now + seconds)
            if end is not None:
                end()
                self._num_copies -= 1
                self._tell()

    def _at(self, time: float) -> simpy.Event:
        return self.environment.timeout(Fraction(time) - self.environment.now)

    def _tell(self) -> None:
        news, self._news = self._news, self.environment.event()
        news.succeed()

    def _settle(self) -> None:
        """Let everything happen that happens at this very instant."""
        while self.environment.peek() <= self.environment.now:
            self.environment.step()

    # What an epoch begins with ----------------------------------------------------------------------------------------

    def _finish(self, batch: Batch) -> None:
        for job in batch.yields:
            job.g, job.q = job.g + 1, job.q - 1
            self._serve(job.client, 2)
            if job.g == job.output:
                self._leave(job)
                self._note(job, "finish", 0)

    def _leave(self, job: Job) -> None:
        before, job.state = job.state, "finished"
        first, full = self.kept[job.number], self._full(job.c)
        self.cpu_free += job.cpu
        job.cpu = 0
        if before == "running":
            self.running.remove(job)
        stays = self.instance.kv_reuse == "turns" and not job.is_copying and full <= self.cpu_free
        if stays and before in ("running", "swapped"):
            self.kept[job.number] = full
        else:
            self._keep_nothing(job)
        self._give_up_copies()
        if stays and before == "running":
            self._copy_out(job, first, full)
        else:
            self.blocks.release(job.blocks)

    def _receive(self) -> None:
        for job in self._arrived:
            waiting = {other.client for other in self.jobs if other.state == "waiting"}
            if job.client not in waiting:
                if waiting:
                    least = min(self.counter[client] for client in waiting)
                else:
                    least = 0 if self._last_admitted is None else self.counter[self._last_admitted]
                self.counter[job.client] = max(self.counter[job.client], least)
            job.state = "waiting"
        self._arrived = []

    def _serve(self, client: int, amount: int) -> None:
        self.served[client] += amount
        self.counter[client] += amount

    def _note(self, job: Job, kind: str, number: int) -> None:
        self._events.append((len(self._epochs), job.number, KINDS.index(kind), number))

    # Blocks and times -------------------------------------------------------------------------------------------------

    @property
    def _has_cache(self) -> bool:
        return self.instance.settings.enable_prefix_caching

    def _count(self, tokens: int) -> int:
        return -(-tokens // self.instance.block_size)

    def _full(self, tokens: int) -> int:
        return tokens // self.instance.block_size

    def _needs(self, batch: Batch) -> int:
        return sum(max(self._count(job.c + count) - len(job.blocks), 0) for job, count in batch.parts)

    def _content(self, request: int, number: int) -> Content:
        parent = int(self.requests.parent[request])
        if parent >= 0 and (number + 1) * self.instance.block_size <= self.requests.shared[request]:
            return self._content(parent, number)
        return request, number

    def _found(self, job: Job) -> list[int]:
        found: list[int] = []
        if self._has_cache:
            for number in range(self._full(job.prompt + job.g - 1)):
                block = self.blocks.known.get(self._content(job.number, number))
                if block is None:
                    break
                found.append(block)
        return found

    def _admission(self, job: Job, spare_tokens: int) -> int:
        """Return how many free blocks there must be to admit a request."""
        found, tokens = self._found(job), job.prompt + job.g
        if not self.instance.settings.scheduler_reserve_full_isl:
            leading = max(len(found), self._copies_for(job))
            tokens = min(tokens, leading * self.instance.block_size + spare_tokens)
        return self._count(tokens) - sum(self.blocks.holders[block] > 0 for block in found)


def play(instance: Serving, requests: Requests, choose: Callable[[Server], Choice]) -> tuple[float, ServingLog]:
    """Serve all requests; `choose` tells the server one thing after another.

    Returns
    -------
    cost : float
    log : ServingLog

    Raises
    ------
    IllegalAction
        If `choose` asks for what is not legal.

    Examples
    --------
    >>> from .instance import CostModel, ServingSettings
    >>> costs = CostModel([0, 1], [0, 0], [0, 1], [0, 1], [[0, 0]] * 2, [0, 1], [0, 1], [[0, 0]] * 2)
    >>> requests = Requests([0.0], [3], [2], [0], [0], [1.0], [-1], [0])
    >>> one = Serving("one", requests, costs, 9, 0, 1, 1, ServingSettings(clock="rounds"))
    >>> play(one, requests, lambda server: server.legal()[0 if server.state[0] == "waiting" else -1])[0]
    2.0
    """
    server, cost = Server(instance, requests), 0.0
    while not server.is_over:
        server.decide(choose(server))
        cost += server.reveal()
    return cost, server.log()
