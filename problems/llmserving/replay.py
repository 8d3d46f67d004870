"""What became of requests, replayed from a log by plain arithmetic; shares no code with kernels or the twin."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict, deque

import numpy as np

from orl.problem import Violation
from orl.scenario import Scenarios

from .instance import ADMIT, FINISH, KINDS, PREFILL, RECOMPUTE, SWAP_IN, Serving, ServingLog
from .replay_memory import Copies, Memory, Priorities

MAX_VIOLATIONS = 20
WAITING, FILLING, DECODING, DONE, LOADING, SWAPPED, FINISHED = range(7)  # DONE: no token is left to compute
STATES = ("waiting", "running", "running", "running", "running and not copied yet", "swapped", "finished")
SLACK = 1e-9  # relative: points in time that differ by rounding alone

Calendar = defaultdict[int, list[tuple[int, int]]]  # by epoch: request, and the phase of its life that this is of


def malformed(instance: Serving, scenario: Scenarios, log: ServingLog) -> str:
    """Return why a log cannot be replayed, or ''."""
    from .scenario import realise

    count, epochs = len(realise(instance, scenario).requests), log.decided.size
    for name in ("decided", "start", "end"):
        times = getattr(log, name)
        if times.shape != (epochs,):
            return f"expected {name} of {epochs} epochs, got shape {times.shape}."
        if not np.isfinite(times).all():
            return f"{name} of epoch {int(np.isfinite(times).argmin())} is no finite number."
    if epochs == 0:
        return "expected 1 epoch or more, got none."
    epoch, request, kind, _ = log.events.T
    for name, values, limit in (("epoch", epoch, epochs + 1), ("request", request, count), ("kind", kind, len(KINDS))):
        is_wrong = (values < 0) | (values >= limit)
        if is_wrong.any():
            row = int(is_wrong.argmax())
            return f"event {row}: there is no {name} {values[row]}, expected 0..{limit - 1}."
    if (np.diff(epoch) < 0).any():
        row = int((np.diff(epoch) < 0).argmax()) + 1
        return f"event {row}: epoch {epoch[row]} after epoch {epoch[row - 1]}."
    return ""


class Replay:
    """Plays a log that is not `malformed`: who is where, epoch by epoch, and what is not allowed.

    An event that cannot be is noted and left out; one that may not be is noted and played.

    Parameters
    ----------
    slack : float
        Transfers that end so little after an epoch, relative to the time, have ended in it.

    Attributes
    ----------
    requests : Requests
        Of the scenario.
    violations : list of Violation
        `MAX_VIOLATIONS` at most, in the order of the log; none of durations and of the times of epochs.
    has_close_ends : bool
        Whether it matters what `slack` is.
    epoch_time : ndarray (num_epochs + 1,)
        When decisions were taken, and when the last that was waited for was known.
    admitted, first_token, finish : ndarray (num_requests,)
        Times; nan: never.
    admit_epoch, finish_epoch : int ndarray (num_requests,)
        Of the first admission, and of the end; -1: never.
    preemptions, recomputed, blocks_swapped, stretches_copied : int ndarray (num_requests,)
        Of the latter three: tokens computed again, blocks copied either way, and the stretches in which they lay.
    running, waiting, swapped, used, tokens : int ndarray (num_epochs,)
        Requests after the decisions of each epoch (those whose swap-in goes on are running), blocks of the GPU that are
        held when its batch is decided, tokens of the batch.
    is_empty : bool ndarray (num_epochs,)
        Where there was no batch.
    has_preempted : bool ndarray (num_epochs,)
    stall : ndarray (num_epochs,)
        Seconds that each batch has to wait for transfers, beyond the end of the one before it.
    next_copy : ndarray (num_epochs,)
        After empty batches, when the next transfer ends; inf otherwise.
    decodes, context, members : int ndarray (num_epochs,)
        Of each batch: requests that decode, the sum of their tokens computed when it has ended, all requests.
    chunks : int ndarray (n, 3)
        Epoch, tokens, tokens of the same request before them.
    stretches : int ndarray (n, 3)
        Request, first and last epoch of consecutive batches that gave it a token each.
    lives : list of (request, state, time)
        Changes to 'queued', 'prefill', 'decode', 'swapped' and 'finished', in the order of the log. A decision may be
        earlier than the end of a batch that is under way.
    hit_tokens, copied_in_tokens : int
        Found in the prefix cache; copied in at admissions.
    """

    def __init__(self, instance: Serving, scenario: Scenarios, log: ServingLog, slack: float = 0.0):
        from .scenario import realise

        self.instance, self.log, self._slack, self.has_close_ends = instance, log, slack, False
        realised = realise(instance, scenario)
        self.requests = requests = realised.requests
        count, epochs = len(requests), len(log.decided)
        self.violations: list[Violation] = []
        self.lives: list[tuple[int, str, float]] = []
        self.hit_tokens = self.copied_in_tokens = 0
        self.admitted, self.first_token, self.finish = np.full((3, count), np.nan)
        self.admit_epoch, self.finish_epoch = np.full((2, count), -1)
        self.preemptions, self.recomputed = np.zeros((2, count), dtype=np.int64)
        self.blocks_swapped, self.stretches_copied = np.zeros((2, count), dtype=np.int64)
        self.running, self.waiting, self.swapped, self.used, self.tokens = np.zeros((5, epochs), dtype=np.int64)
        self.stall, self.next_copy = np.zeros(epochs), np.full(epochs, np.inf)
        self.has_preempted = np.zeros(epochs, dtype=bool)
        self.decodes, self.context, self.members = np.zeros((3, epochs), dtype=np.int64)
        self._chunks: list[tuple[int, int, int]] = []
        self._stretches: list[tuple[int, int, int]] = []
        self._memory = Memory(instance, requests.parent.tolist(), requests.shared.tolist())
        self._reuse = instance.kv_reuse
        self._priorities = Priorities(instance, requests.priority, requests.arrival, realised.priority_key)
        self._copies = Copies(self._priorities)
        # Of each request, in plain numbers. Of one that decodes, `_computed` is less by the number of the epoch.
        self._prompt, self._output = requests.prompt.tolist(), requests.output.tolist()
        self._arrival = requests.arrival.tolist()
        self._state, self._sampled, self._computed = [WAITING] * count, [0] * count, [0] * count
        self._place, self._touched, self._phase = [0] * count, [-1] * count, [0] * count
        self._since, self._until, self._last, self._peak = [0] * count, [0] * count, [-1] * count, [0] * count
        self._on_cpu, self._copied_at = [0] * count, [0.0] * count
        # Of the server.
        self._filling: list[tuple[int, int]] = []  # place in the order of admission, request
        self._num_running = self._num_swapped = self._cpu_used = self._places = 0
        self._num_decoding = self._sum_computed = 0
        self._ends: Calendar = defaultdict(list)  # who decodes no more
        self._takes: Calendar = defaultdict(list)  # who needs a block to decode
        self._fills: Calendar = defaultdict(list)  # who fills one
        self._outbound: deque[tuple[float, int, list[int]]] = deque()
        self._inbound: deque[tuple[float, int]] = deque()
        self._out_free = self._in_free = self._waits = 0.0
        self._computing = -np.inf  # when the batch of the epoch before ends, if there was one
        self._last_end = self._held_until = -np.inf  # of the last batch; of copies that the next one waits for
        self._play()
        self._close_books()

    @property
    def cost(self) -> float | None:
        """The weighted time in the system, or None if a request is not finished."""
        if np.isnan(self.finish).any():
            return None
        return float((self.requests.weight * (self.finish - self.requests.arrival)).sum())

    def wrong(self, kind: str, message: str) -> None:
        """Note a violation."""
        if len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(Violation(kind, message))

    # Epochs ---------------------------------------------------------------------------------------------------------

    def _play(self) -> None:
        log, epochs = self.log, len(self.log.decided)
        bounds = np.searchsorted(log.events[:, 0], np.arange(epochs + 2)).tolist()
        events, decided = log.events[:, 1:].tolist(), log.decided.tolist()
        rows: list[tuple[int, int, int, int]] = []
        for epoch, time in enumerate(decided):
            for request, phase in self._ends.pop(epoch, ()):
                if self._phase[request] == phase:
                    self._stop_decoding(request, epoch)
                    self._state[request] = DONE
            if self._outbound or self._inbound:
                self._end_transfers(epoch, time)
            if self._reuse != "off":
                self._priorities.arrive(time)
            chunks: dict[int, int] = {}
            stage = 0
            for request, kind, number in events[bounds[epoch] : bounds[epoch + 1]]:
                rank = 0 if kind == FINISH else 2 if kind == PREFILL else 1
                if rank < stage:
                    self.wrong("order", f"epoch {epoch}, request {request}: {KINDS[kind]} comes too late in its epoch.")
                stage = max(stage, rank)
                if kind == FINISH:
                    self._end(request, number, epoch, time)
                elif kind != PREFILL:
                    self._decide(request, kind, number, epoch, time)
                elif request in chunks:
                    self.wrong("batch", f"epoch {epoch}, request {request}: has two chunks in one batch.")
                else:
                    chunks[request] = number
            decoding = self._num_decoding
            context = self._sum_computed + decoding * (epoch + 1)
            rows.append((decoding, context, self._num_running, self._num_swapped))
            if chunks or self._filling or epoch in self._takes or epoch in self._fills:
                self._run(epoch, chunks)
            self.used[epoch] = self._memory.used
            if decoding or self.tokens[epoch]:
                self.stall[epoch] = self._waits + max(0.0, self._held_until - max(time, self._last_end))
                self._waits, self._held_until = 0.0, -np.inf
                self._computing = self._last_end = float(log.end[epoch])
                if self._reuse != "off":
                    self._priorities.count_batch(self.finish_epoch)
            else:
                self._computing = -np.inf
                self.next_copy[epoch] = min((queue[0][0] for queue in (self._outbound, self._inbound) if queue),
                                            default=np.inf)  # fmt: skip
        self.decodes, self.context, self.running, self.swapped = np.array(rows, dtype=np.int64).T
        for request, kind, number in events[bounds[epochs] :]:
            if kind == FINISH:
                self._end(request, number, epochs, decided[-1])
            else:
                self.wrong("order", f"epoch {epochs}, request {request}: {KINDS[kind]} after the last epoch.")

    def _close_books(self) -> None:
        """Fill what is known of each epoch and each request in the end."""
        log, epochs = self.log, len(self.log.decided)
        self.tokens += self.decodes
        self.members += self.decodes
        self.is_empty = self.members == 0
        self.chunks = np.array(self._chunks, dtype=np.int64).reshape(-1, 3)
        for request, state in enumerate(self._state):
            if state == DECODING:
                self._stop_decoding(request, epochs)
        self.stretches = np.array(self._stretches, dtype=np.int64).reshape(-1, 3)
        last, depth = float(log.decided[-1]), self.instance.depth
        if epochs >= depth and not self.is_empty[-depth]:
            last = max(last, float(log.end[-depth]))
        self.epoch_time = np.append(log.decided, last)
        self.finish = np.where(self.finish_epoch >= 0, self.epoch_time[self.finish_epoch], np.nan)
        finished = np.bincount(self.finish_epoch + 1, minlength=epochs + 2)[1:]
        arrived = np.searchsorted(self.requests.arrival, log.decided, side="right")
        self.waiting = np.maximum(arrived - self.running - self.swapped - np.cumsum(finished[:-1]), 0)
        first = np.full(len(self.requests), epochs)
        np.minimum.at(first, self.stretches[:, 0], self.stretches[:, 1])
        self.first_token = np.where(first < epochs, log.end[np.minimum(first, epochs - 1)], np.nan)
        for request in np.flatnonzero(np.isnan(self.finish)).tolist():
            self.wrong(
                "unfinished",
                f"request {request}: {self._sampled[request]} of {self._output[request]} tokens are computed and it is "
                "not finished.",
            )

    # What takes place before a batch --------------------------------------------------------------------------------

    def _end_transfers(self, epoch: int, time: float) -> None:
        now = time + self._slack * max(1.0, time)
        while self._outbound and self._outbound[0][0] <= now:
            self._memory.release_all(self._outbound.popleft()[2])
        while self._inbound and self._inbound[0][0] <= now:
            request = self._inbound.popleft()[1]
            if self._state[request] == LOADING:
                self._enter(request, epoch, time)
        soon = time + SLACK * max(1.0, time)
        self.has_close_ends |= any(queue[0][0] <= soon for queue in (self._outbound, self._inbound) if queue)

    def _end(self, request: int, number: int, epoch: int, time: float) -> None:
        """A request is finished."""
        place, state = f"epoch {epoch}, request {request}", self._state[request]
        if state == FINISHED:
            self.wrong("life", f"{place}: finish of a request that is finished.")
            return
        if number != 0:
            self.wrong("finish", f"{place}: the number of a finish is 0, got {number}.")
        if state in (FILLING, DECODING, DONE, LOADING):
            self._leave(request, epoch)
        sampled, output, known = (
            self._sampled[request],
            self._output[request],
            self._last[request] + self.instance.depth,
        )
        if sampled < output:
            self.wrong("finish", f"{place}: finishes after {sampled} of {output} tokens.")
        elif epoch != known:
            self.wrong("finish", f"{place}: finishes, its last token is known in epoch {known}.")
        kept, copied = 0, self._copies.of(request)
        full = self._computed[request] // self.instance.block_size if self._reuse == "turns" else 0
        if state == SWAPPED:
            kept = full
            self._num_swapped -= 1
            self._cpu_used -= self._on_cpu[request]
            for _, whose, blocks in self._outbound:
                if whose == request:  # the copy goes on, of what is nobody's any more
                    self._memory.release_all(blocks)
                    blocks.clear()
                    kept = 0
        elif state != WAITING and full <= self.instance.cpu_blocks - self._cpu_used:
            kept = full
        if state != SWAPPED and copied < kept:
            self._copy_out(request, copied, kept, epoch, time)
        else:
            self._memory.release(request)
        self._keep(request, kept)
        self._state[request] = FINISHED
        self.finish_epoch[request] = epoch
        self.lives.append((request, "finished", time))

    def _decide(self, request: int, kind: int, number: int, epoch: int, time: float) -> None:
        place, state = f"epoch {epoch}, request {request}", self._state[request]
        if self._touched[request] == epoch and (kind in (ADMIT, SWAP_IN) or self._batch(epoch)[1] <= self._memory.free):
            self.wrong("touched", f"{place}: {KINDS[kind]} of a request that was touched in this epoch.")
        right = {ADMIT: (WAITING,), SWAP_IN: (SWAPPED,)}.get(kind, (FILLING, DECODING, DONE))
        if state not in right:
            self.wrong("life", f"{place}: {KINDS[kind]} of a request that is {STATES[state]}.")
            return
        if kind not in (ADMIT, SWAP_IN) and self._copied_at[request] > time + SLACK * max(1.0, time):
            self.wrong("life", f"{place}: {KINDS[kind]} of a request that is {STATES[LOADING]}.")
            return
        if kind == ADMIT and self._sampled[request] == self._output[request]:
            self.wrong("life", f"{place}: admit of a request whose tokens are all computed.")
            return
        self._touched[request] = epoch
        if kind == ADMIT:
            self._admit(request, number, epoch, time)
        elif kind == SWAP_IN:
            self._swap_in(request, number, epoch, time)
        else:
            self._preempt(request, kind, number, epoch, time)

    def _admit(self, request: int, number: int, epoch: int, time: float) -> None:
        one, memory = self.instance, self._memory
        place, size = f"epoch {epoch}, request {request}", one.block_size
        if self._arrival[request] > time:
            self.wrong("arrival", f"{place}: admitted at {time:.9g}, it arrives at {self._arrival[request]:.9g}.")
        left, need, members = self._seat(request, epoch)
        total = self._prompt[request] + self._sampled[request]
        hits = memory.find(request, (total - 1) // size)
        copied = self._copies_of_parent(request, (total - 1) // size, time)
        right = max(len(hits), copied) * size
        if number != right:
            what = "found in the prefix cache" + (" or copied in" if copied else "")
            self.wrong("prefix", f"{place}: {number} tokens {what}, there are {right}.")
            if number % size == 0:
                copied = min(copied, max(number // size, 0))
                hits = hits[: max(number // size, 0)]
        missing, computed = max(copied - len(hits), 0), max(len(hits), copied) * size
        tokens = total
        if not one.settings.scheduler_reserve_full_isl:
            tokens = min(total, computed + max(left, 0))
        wanted = -(-tokens // size) - sum(memory.holders[block] > 0 for block in hits)
        if wanted > memory.free - need:
            self.wrong("admit", f"{place}: needs {wanted} blocks, {memory.free - need} are free.")
        memory.share(request, hits)
        self.hit_tokens += len(hits) * size
        self.copied_in_tokens += missing * size
        self._computed[request] = computed
        if np.isnan(self.admitted[request]):
            self.admitted[request] = time
            self.admit_epoch[request] = epoch
        if copied:
            self._keep(int(self.requests.parent[request]), 0)
            self._keep(request, copied)
        if missing:
            self._copy_in(request, missing, members, epoch, time)
        else:
            self._enter(request, epoch, time)

    def _copies_of_parent(self, request: int, most: int, time: float) -> int:
        """Return of how many leading blocks, `most` or fewer, a request takes over its parent's copies."""
        if self._reuse != "turns":
            return 0
        parent = int(self.requests.parent[request])
        if parent < 0 or self._state[parent] != FINISHED:
            return 0
        if self._copied_at[parent] > time + self._slack * max(1.0, time):
            return 0
        return min(self._copies.of(parent), int(self.requests.shared[request]) // self.instance.block_size, most)

    def _swap_in(self, request: int, number: int, epoch: int, time: float) -> None:
        one, memory = self.instance, self._memory
        place, computed = f"epoch {epoch}, request {request}", self._computed[request]
        if number != computed:
            self.wrong("number", f"{place}: swap-in of {number} tokens, it has computed {computed}.")
        if self._copied_at[request] > time + SLACK * max(1.0, time):
            self.wrong(
                "transfer", f"{place}: swap-in at {time:.9g}, its swap-out ends at {self._copied_at[request]:.9g}."
            )
        _, need, members = self._seat(request, epoch)
        wanted = -(-(computed + 1) // one.block_size)
        if wanted > memory.free - need:
            self.wrong("swap-in", f"{place}: needs {wanted} blocks, {memory.free - need} are free.")
        blocks = self._on_cpu[request]
        self._cpu_used -= blocks
        self._num_swapped -= 1
        if self._reuse != "off":
            self._keep(request, computed // one.block_size)
        self._copy_in(request, blocks, members, epoch, time)

    def _seat(self, request: int, epoch: int) -> tuple[int, int, int]:
        """Give a request a place among those that run.

        Return what the batch before it leaves of tokens, the blocks that it needs and that those who are copied in
        need for a token, and how many requests are in it.
        """
        place = f"epoch {epoch}, request {request}"
        left, need, chunks = self._batch(epoch)
        for _, other in self._inbound:
            need += -(-(self._computed[other] + 1) // self.instance.block_size) - self._memory.held_by(other)
        if left < 1:
            self.wrong("budget", f"{place}: the batch leaves no tokens of the budget of {self.instance.token_budget}.")
        if self._num_running >= self.instance.settings.max_num_seqs:
            self.wrong("seats", f"{place}: {self._num_running} requests run already.")
        self._num_running += 1
        self._places += 1
        self._place[request] = self._places
        return left, need, self._num_decoding + len(chunks)

    def _preempt(self, request: int, kind: int, number: int, epoch: int, time: float) -> None:
        one, memory, place = self.instance, self._memory, f"epoch {epoch}, request {request}"
        is_urgent = self._batch(epoch)[1] > memory.free
        self._leave(request, epoch)
        computed = self._computed[request]
        if number != computed:
            self.wrong("number", f"{place}: {KINDS[kind]} of {number} tokens, it has computed {computed}.")
        self.preemptions[request] += 1
        self.has_preempted[epoch] = True
        if kind == RECOMPUTE:
            memory.release(request)
            self._keep(request, 0)
            self._peak[request] = max(self._peak[request], computed)
            self._computed[request] = 0
            self._state[request] = WAITING
            self.lives.append((request, "queued", time))
            return
        blocks = memory.held_by(request)
        if computed == 0:
            self.wrong("swap-out", f"{place}: swap-out of a request that has computed nothing.")
        if self._cpu_used + blocks > one.cpu_blocks:
            message = f"{place}: swap-out of {blocks} blocks, {one.cpu_blocks - self._cpu_used} are free on the CPU."
            self.wrong("cpu-blocks", message)
        self._on_cpu[request] = blocks
        self._cpu_used += blocks
        self._num_swapped += 1
        self._state[request] = SWAPPED
        self.lives.append((request, "swapped", time))
        self._copy_out(request, self._copies.of(request), blocks, epoch, time, is_urgent)
        self._keep(request, 0)

    # Transfers ------------------------------------------------------------------------------------------------------

    def _keep(self, request: int, blocks: int) -> None:
        """Let copies of so many leading blocks of a request stay on the CPU, and give up those that are too many."""
        if self._reuse != "off":
            self._copies.keep(request, blocks)
            self._copies.give_up(self.instance.cpu_blocks - self._cpu_used)

    def _seconds(self, request: int, first: int, last: int) -> float:
        """Count the blocks from `first` to before `last` as copied; return how long that takes."""
        blocks, stretches = last - first, self._memory.stretches(request, first, last)
        self.blocks_swapped[request] += blocks
        self.stretches_copied[request] += stretches
        return stretches * self.instance.start_s + blocks * self.instance.block_s

    def _copy_out(self, request: int, first: int, last: int, epoch: int, time: float, is_urgent: bool = False) -> None:
        """Copy blocks of a request; all are released when that is done or, if it is urgent, at once."""
        one, memory = self.instance, self._memory
        seconds = self._seconds(request, first, last)
        if not one.overlaps or seconds == 0:
            self._waits += seconds
            self._copied_at[request] = time
            memory.release(request)
            return
        begin = max(self._out_free, time, self._computing if one.depth > 1 else time)
        self._out_free = self._copied_at[request] = begin + seconds
        if is_urgent:
            self._held_until = max(self._held_until, self._out_free)
            memory.release(request)
        self._outbound.append((self._out_free, request, memory.detach(request)))
        self._end_transfers(epoch, time)  # one that takes no time

    def _copy_in(self, request: int, blocks: int, members: int, epoch: int, time: float) -> None:
        """Take blocks for what is copied in; the request joins batches of so many members at once or afterwards."""
        one, memory = self.instance, self._memory
        first = memory.held_by(request)
        memory.take(request, blocks)
        seconds = self._seconds(request, first, first + blocks)
        if not one.overlaps or seconds == 0:
            self._waits += seconds
            self._copied_at[request] = time
            self._enter(request, epoch, time)
            return
        self._in_free = max(self._in_free, time) + seconds
        if members < one.settings.overlap_from:
            self._held_until = max(self._held_until, self._in_free)
            self._enter(request, epoch, time)
        else:
            self._copied_at[request] = self._in_free
            self._inbound.append((self._in_free, request))
            self._state[request] = LOADING
        self._end_transfers(epoch, time)

    # Batches --------------------------------------------------------------------------------------------------------

    def _batch(self, epoch: int) -> tuple[int, int, list[tuple[int, int]]]:
        """Return what the batch leaves of the budget, the blocks that it needs, and its chunks: request, tokens."""
        one = self.instance
        left = one.token_budget - self._num_decoding
        need = sum(self._phase[request] == phase for request, phase in self._takes.get(epoch, ()))
        chunks = []
        for _, request in self._filling:
            wanted = self._wanted(request)
            tokens = wanted if wanted <= left else left if one.settings.enable_chunked_prefill else 0
            if tokens > 0:
                left -= tokens
                chunks.append((request, tokens))
                need += -(-(self._computed[request] + tokens) // one.block_size) - self._memory.held_by(request)
        return left, need, chunks

    def _wanted(self, request: int) -> int:
        return self._prompt[request] + self._sampled[request] - self._computed[request]

    def _run(self, epoch: int, chunks: dict[int, int]) -> None:
        """Compute a batch: one request after the other takes blocks and fills some, those that decode first."""
        memory, size, place, phases = self._memory, self.instance.block_size, self._place, self._phase
        right = dict(self._batch(epoch)[2])
        played = self._check_chunks(epoch, chunks, right) if chunks != right else right
        due = [(place[request], False, request, phase) for request, phase in self._takes.pop(epoch, ())]
        due += [(place[request], True, request, phase) for request, phase in self._fills.pop(epoch, ())]
        for _, is_fill, request, phase in sorted(due):
            if phases[request] != phase:
                continue
            if not is_fill:
                memory.take(request, 1)
                until = self._until[request]
                if epoch + size < until:
                    self._takes[epoch + size].append((request, phase))
                if size > 1 and epoch + size - 1 < until:
                    self._fills[epoch + size - 1].append((request, phase))
            if is_fill or size == 1:
                memory.fill(request, (self._computed[request] + epoch) // size)
        for request, tokens in played.items():
            before = self._computed[request]
            after = before + tokens
            memory.take(request, -(-after // size) - memory.held_by(request))
            for block in range(before // size, after // size):
                memory.fill(request, block)
            self._chunks.append((epoch, tokens, before))
            self.recomputed[request] += max(0, min(after, self._peak[request]) - before)
            self._computed[request] = after
            self._after_chunk(request, epoch)
        self.tokens[epoch] = sum(played.values())
        self.members[epoch] = len(played)
        if memory.used > self.instance.num_blocks:
            message = f"epoch {epoch}: {memory.used} blocks are held, there are {self.instance.num_blocks}."
            self.wrong("blocks", message)

    def _check_chunks(self, epoch: int, chunks: dict[int, int], right: dict[int, int]) -> dict[int, int]:
        """Note what is wrong with a batch and return the chunks that can be."""
        total = self._num_decoding + sum(chunks.values())
        if total > self.instance.token_budget:
            message = f"epoch {epoch}: a batch of {total} tokens, {self.instance.token_budget} are allowed."
            self.wrong("budget", message)
        for request in [*chunks, *(request for request in right if request not in chunks)]:
            tokens, expected = chunks.get(request, 0), right.get(request, 0)
            if tokens != expected:
                self.wrong("batch", f"epoch {epoch}, request {request}: a chunk of {tokens} tokens, not of {expected}.")
        return {
            request: tokens
            for request, tokens in chunks.items()
            if self._state[request] == FILLING and 0 < tokens <= self._wanted(request)
        }

    def _after_chunk(self, request: int, epoch: int) -> None:
        wanted = self._wanted(request)
        if wanted > 1 or (wanted == 1 and self._computed[request] < self._prompt[request]):
            return
        self._filling.remove((self._place[request], request))
        self._since[request] = epoch + 1
        self.lives.append((request, "decode", float(self.log.end[epoch])))
        if wanted == 0:
            self._sampled[request] += 1
            self._since[request] = epoch
            if self._sampled[request] == self._output[request]:
                self._state[request] = DONE
                self._last[request] = epoch
                self._stretches.append((request, epoch, epoch))
                return
        self._decode_from(request, epoch + 1)

    def _enter(self, request: int, epoch: int, time: float) -> None:
        """From this epoch on a request takes part in batches."""
        wanted = self._wanted(request)
        if self._sampled[request] == self._output[request]:
            self._state[request] = DONE
        elif wanted == 1 and self._computed[request] >= self._prompt[request]:
            self._since[request] = epoch
            self._decode_from(request, epoch)
            self.lives.append((request, "decode", time))
        else:
            self._state[request] = FILLING
            insort(self._filling, (self._place[request], request))
            self.lives.append((request, "prefill", time))

    def _decode_from(self, request: int, epoch: int) -> None:
        computed, size = self._computed[request], self.instance.block_size
        self._state[request] = DECODING
        phase = self._phase[request]
        until = self._until[request] = epoch + self._output[request] - self._sampled[request]
        self._computed[request] = computed - epoch
        self._num_decoding += 1
        self._sum_computed += computed - epoch
        self._ends[until].append((request, phase))
        full = epoch + -computed % size
        if full < until:
            self._takes[full].append((request, phase))
        if epoch < full <= until:
            self._fills[full - 1].append((request, phase))

    def _stop_decoding(self, request: int, epoch: int) -> None:
        self._num_decoding -= 1
        self._sum_computed -= self._computed[request]
        self._phase[request] += 1
        self._computed[request] += epoch
        self._sampled[request] = self._computed[request] - self._prompt[request] + 1
        if epoch > self._since[request]:
            self._last[request] = epoch - 1
            self._stretches.append((request, self._since[request], epoch - 1))

    def _leave(self, request: int, epoch: int) -> None:
        """A request runs no more."""
        if self._state[request] == FILLING:
            self._filling.remove((self._place[request], request))
        elif self._state[request] == DECODING:
            self._stop_decoding(request, epoch)
        self._num_running -= 1
