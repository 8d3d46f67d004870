"""The records of LLM serving: requests, an engine with its cost model, and what was done. Checked when made."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args, get_origin, get_type_hints

import numpy as np

from orl.arrays import frozen, whole_numbers
from orl.errors import InputError

if TYPE_CHECKING:
    from .state import ServingState

MAX_TOKENS = 2**24  # of one request
LEAST_RATE = 1e-6  # requests a second: one in eleven days
MAX_GROUP = 1024  # blocks
MAX_BLOCKS, MAX_SEQS = 2**24, 2**20  # of a memory, of a batch; a simulator holds some numbers of each
ADMIT, RECOMPUTE, SWAP_OUT, SWAP_IN, PREFILL, FINISH = range(6)
KINDS = ("admit", "recompute", "swap-out", "swap-in", "prefill", "finish")


@dataclass(frozen=True)
class ServingSettings:
    """What `--set` may change about LLM serving; engine settings have vLLM's names.

    Parameters
    ----------
    requests : int >= 0
        Only the first so many; 0: all. Of a generator: how many are drawn, 0: 200.
    rate : float >= 0
        Requests a second (a round with clock=rounds): arrivals are stretched to it; 0: as they are.
    clock : 'seconds' or 'rounds'
        Durations of the cost model; or the scheduling theory's: every iteration is a round, prompts are computed whole,
        a block is a token, transfers take no time.
    model : str
        A preset's name or the path of a Hugging Face config.json.
    profile : str
        Folder of dense.csv, attention.csv and per_sequence.csv, or a packaged one's name; '': the roofline of `gpu`.
    gpu : str
        A preset's name: memory, bandwidth, arithmetic.
    tensor_parallel_size : int >= 1
    block_size : int >= 1
        Tokens.
    num_gpu_blocks_override : int >= 0
        As the engine reports them, one of which it keeps for itself; 0: what fits.
    gpu_memory_utilization : float in (0, 1]
        Share of the GPU's memory for weights and KV cache.
    swap_space : float >= 0
        GiB of CPU memory for swapped requests.
    max_num_seqs, max_num_batched_tokens : int >= 1
        Of an iteration.
    enable_chunked_prefill, enable_prefix_caching : bool
    scheduler_reserve_full_isl : bool
        A request is admitted only if everything it is known to need fits now, not its first chunk alone.
    async_scheduling : bool
        The next batch is decided while one is computed.
    reserve_output : bool
        Requests declare their output tokens as a limit, and rules admit only what memory holds to the end of all, as
        S-LoRA and LightLLM do; nobody is preempted for memory then, as long as prompts are computed in one iteration
        and no turns are copied beside the computing (overlap=on with kv_reuse=turns).
    preemption : 'recompute', 'swap' or 'cheaper'
        How rules preempt.
    victim : 'last', 'latest', 'largest' or 'smallest'
        Whom they preempt: the last in their own order, the latest to arrive, the one with most or with fewest blocks.
    pcie_gbs, copy_us : float
        Bandwidth of a transfer in GB/s each way (inf: bytes take no time), and what starting each copy costs, in
        microseconds.
    overlap : bool
        Transfers go on while batches are computed; else batches wait for them.
    overlap_from : int >= 0
        With overlap: the next batch waits for a copy in, and computes its request, too, while it has fewer requests
        than this without; 0: it never waits.
    block_group : int
        1: a copy moves one block. More, a power of two: blocks of a request are laid side by side in groups of so many
        where that can be, and a copy moves what lies side by side.
    kv_reuse : 'off', 'preemptions' or 'turns'
        Whether copies on the CPU are kept, so that only what has changed is copied out again; turns: requests are
        copied out when they finish, too, and those that go on from there (`parent`) copy in what they share.
    shared_prefix : 'random', 'latest', 'earliest' or 'none'
        Which earlier request holds a shared prefix where the file does not say; random: any that is long enough.
    priorities : 'file', 'random' or 'markov'
        Priorities of the file; or drawn anew at every update, independently or with memory.
    priority_levels : int >= 1
        Drawn priorities are 0, the most urgent, to this less 1.
    priority_frequency : float in [0, 1]
        Updates an iteration.
    priority_stay : float in [0, 1]
        With markov: the probability that an update leaves a request's priority as it is.
    prediction_noise : float >= 0
        Standard deviation of the logarithm of predicted over true output length.
    link_gbs, link_us : float
        Bandwidth and start of an all-reduce between GPUs, with tensor_parallel_size > 1.
    slo_ttft_s, slo_tpot_s : float
        What counts as good in the key figure `goodput`.
    """

    requests: int = 0
    rate: float = 0.0
    clock: Literal["seconds", "rounds"] = "seconds"
    model: str = "llama-3.1-8b"
    profile: str = ""
    gpu: str = "rtx4090"
    tensor_parallel_size: int = 1
    block_size: int = 16
    num_gpu_blocks_override: int = 0
    gpu_memory_utilization: float = 0.9
    swap_space: float = 4.0
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    enable_chunked_prefill: bool = True
    enable_prefix_caching: bool = True
    scheduler_reserve_full_isl: bool = True
    async_scheduling: bool = True
    reserve_output: bool = False
    preemption: Literal["recompute", "swap", "cheaper"] = "recompute"
    victim: Literal["last", "latest", "largest", "smallest"] = "last"
    pcie_gbs: float = 25.0
    copy_us: float = 10.0
    overlap: bool = False
    overlap_from: int = 0
    block_group: int = 1
    kv_reuse: Literal["off", "preemptions", "turns"] = "off"
    shared_prefix: Literal["random", "latest", "earliest", "none"] = "random"
    priorities: Literal["file", "random", "markov"] = "file"
    priority_levels: int = 4
    priority_frequency: float = 0.02
    priority_stay: float = 0.9
    prediction_noise: float = 0.0
    link_gbs: float = 25.0
    link_us: float = 10.0
    slo_ttft_s: float = 2.0
    slo_tpot_s: float = 0.1

    def __post_init__(self) -> None:
        for key, kind in get_type_hints(type(self)).items():
            value = getattr(self, key)
            if get_origin(kind) is Literal and value not in get_args(kind):
                raise ValueError(f"{key} must be one of {', '.join(get_args(kind))}, got {value!r}.")
        least = {
            "requests": 0, "rate": 0, "tensor_parallel_size": 1, "block_size": 1, "num_gpu_blocks_override": 0,
            "swap_space": 0, "max_num_seqs": 1, "max_num_batched_tokens": 1, "copy_us": 0, "priority_levels": 1,
            "priority_frequency": 0, "priority_stay": 0, "prediction_noise": 0, "link_us": 0, "overlap_from": 0,
        }  # fmt: skip
        for key, low in least.items():
            if not low <= getattr(self, key) < 2**31:
                raise ValueError(f"{key} must be >= {low} and finite, got {getattr(self, key)}.")
        if self.max_num_seqs > MAX_SEQS:
            raise ValueError(f"max_num_seqs must be at most {MAX_SEQS}, got {self.max_num_seqs}.")
        if self.pcie_gbs != float("inf") and not 0 < self.pcie_gbs < 2**31:
            raise ValueError(f"pcie_gbs must be > 0, or inf, got {self.pcie_gbs}.")
        for key in ("link_gbs", "slo_ttft_s", "slo_tpot_s", "gpu_memory_utilization"):
            if not 0 < getattr(self, key) < 2**31:
                raise ValueError(f"{key} must be > 0 and finite, got {getattr(self, key)}.")
        for key in ("gpu_memory_utilization", "priority_frequency", "priority_stay"):
            if getattr(self, key) > 1:
                raise ValueError(f"{key} must be at most 1, got {getattr(self, key)}.")
        if not 1 <= self.block_group <= MAX_GROUP or self.block_group & (self.block_group - 1):
            raise ValueError(f"block_group must be a power of two in 1..{MAX_GROUP}, got {self.block_group}.")
        if self.max_num_seqs > self.max_num_batched_tokens:
            raise ValueError(
                f"max_num_seqs must not exceed max_num_batched_tokens, got {self.max_num_seqs} and "
                f"{self.max_num_batched_tokens}."
            )


@dataclass(frozen=True, eq=False)
class Requests:
    """What clients ask for, sorted by arrival. All arrays are (num_requests,), read-only.

    Parameters
    ----------
    arrival : float
        Seconds (rounds with clock=rounds) from the beginning, >= 0.
    prompt, output : int >= 1
        Tokens. `output` is not known to the engine.
    client : int >= 0
    priority : int
        Smaller is more urgent.
    weight : float > 0
        Of its time in the system in the cost.
    parent : int
        The earlier request whose content its first `shared` tokens repeat, -1: none.
    shared : int >= 0
        Tokens.
    """

    arrival: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    client: np.ndarray
    priority: np.ndarray
    weight: np.ndarray
    parent: np.ndarray
    shared: np.ndarray

    def __post_init__(self) -> None:
        for name in ("arrival", "weight"):
            object.__setattr__(self, name, frozen(np.array(getattr(self, name), dtype=np.float64)))
        for name in ("prompt", "output", "client", "priority", "parent", "shared"):
            object.__setattr__(self, name, whole_numbers(name, getattr(self, name)))
        count = len(self.arrival)
        for name in self.__dataclass_fields__:
            if getattr(self, name).shape != (count,):
                raise InputError(f"{name} must have {count} entries, got shape {getattr(self, name).shape}.")
        if count == 0:
            raise InputError("there must be 1 request or more, got none.")
        checks = (
            ("arrival", self.arrival, np.isfinite(self.arrival) & (self.arrival >= 0), "finite and >= 0"),
            ("prompt", self.prompt, (self.prompt >= 1) & (self.prompt <= MAX_TOKENS), f"in 1..{MAX_TOKENS}"),
            ("output", self.output, (self.output >= 1) & (self.output <= MAX_TOKENS), f"in 1..{MAX_TOKENS}"),
            ("client", self.client, (self.client >= 0) & (self.client < 2**20), f"in 0..{2**20 - 1}"),
            ("weight", self.weight, np.isfinite(self.weight) & (self.weight > 0), "finite and > 0"),
            ("shared", self.shared, (self.shared >= 0) & (self.shared <= self.prompt), "in 0..prompt"),
            ("parent", self.parent, (self.parent >= -1) & (self.parent < np.arange(count)), "an earlier request or -1"),
        )
        for name, values, is_right, rule in checks:
            if not is_right.all():
                place = int(is_right.argmin())
                raise InputError(f"{name} must be {rule}, got {values[place]} at request {place}.")
        total = np.where(self.parent >= 0, (self.prompt + self.output)[self.parent], 0)
        if (self.shared > total).any():
            place = int((self.shared > total).argmax())
            raise InputError(
                f"shared must not exceed the tokens of the parent, got {self.shared[place]} at request {place}, whose "
                f"parent has {total[place]}."
            )
        if (np.diff(self.arrival) < 0).any():
            place = int((np.diff(self.arrival) < 0).argmax()) + 1
            raise InputError(f"arrivals must be sorted, got {self.arrival[place]:g} after {self.arrival[place - 1]:g}.")

    def __len__(self) -> int:
        return len(self.arrival)

    @property
    def num_clients(self) -> int:
        return int(self.client.max()) + 1


@dataclass(frozen=True, eq=False)
class CostModel:
    """How long an iteration takes: dense(tokens) + sum of prefill(chunk, past) + decode(n, mean KV) + sequence(n).

    Tables are linear between their points and beyond the last ones; times are in seconds, all layers together.

    Parameters
    ----------
    dense : ndarray (T + 1,)
        By tokens of the batch, from 0.
    sequence : ndarray (S + 1,)
        By requests of the batch, from 0.
    chunk, past : ndarray (a,), (b,)
        Increasing, from 0: new tokens of one request, and tokens before them.
    prefill : ndarray (a, b)
        Attention of one request's chunk.
    count, context : ndarray (c,), (d,)
        Increasing, from 0: requests that decode, and mean tokens that each attends to.
    decode : ndarray (c, d)
        Attention of all that decode.
    """

    dense: np.ndarray
    sequence: np.ndarray
    chunk: np.ndarray
    past: np.ndarray
    prefill: np.ndarray
    count: np.ndarray
    context: np.ndarray
    decode: np.ndarray

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            values = frozen(np.array(getattr(self, name), dtype=np.float64))
            object.__setattr__(self, name, values)
            if not np.isfinite(values).all() or (values < 0).any():
                raise InputError(f"the cost model's {name} must be finite and >= 0.")
        for name in ("chunk", "past", "count", "context"):
            axis = getattr(self, name)
            if len(axis) < 2 or axis[0] != 0 or (np.diff(axis) <= 0).any():
                raise InputError(f"the cost model's {name} must increase from 0 and have 2 points or more.")
        if self.prefill.shape != (len(self.chunk), len(self.past)):
            raise InputError("the cost model's prefill does not fit its axes.")
        if self.decode.shape != (len(self.count), len(self.context)):
            raise InputError("the cost model's decode does not fit its axes.")
        if len(self.dense) < 2 or len(self.sequence) < 2:
            raise InputError("the cost model needs times of 0 and 1 tokens or requests at least.")


@dataclass(frozen=True)
class Generator:
    """Requests that are drawn, a new row in every scenario.

    Parameters
    ----------
    arrivals : 'poisson', 'bursty' or 'conversations'
        Exponential gaps; gamma gaps with coefficient of variation `burstiness`; conversations that begin as Poisson,
        with a geometric number of turns of mean `turns`, each `think_s` (exponential mean) after the answer's estimate,
        its prompt the conversation so far and a new question.
    rate : float >= 1e-6
        Requests a second (conversations: a second, too, counted in requests).
    count : int >= 1
    prompt_mean, output_mean : float >= 1
        Of log-normal lengths.
    spread : float >= 0
        Standard deviation of the logarithm of a length.
    longest : int >= 2
        Lengths are cut here.
    burstiness : float >= 1e-6
    turns : float >= 1
    think_s : float >= 1e-6
    clients : int >= 1
        Drawn evenly.
    """

    arrivals: Literal["poisson", "bursty", "conversations"] = "poisson"
    rate: float = 2.0
    count: int = 200
    prompt_mean: float = 300.0
    output_mean: float = 200.0
    spread: float = 1.0
    longest: int = 2048
    burstiness: float = 3.0
    turns: float = 5.5
    think_s: float = 30.0
    clients: int = 1

    def __post_init__(self) -> None:
        if self.arrivals not in ("poisson", "bursty", "conversations"):
            raise ValueError(f"arrivals must be poisson, bursty or conversations, got {self.arrivals!r}.")
        for key, low in (("count", 1), ("prompt_mean", 1), ("output_mean", 1), ("spread", 0), ("longest", 2),
                         ("turns", 1), ("clients", 1)):  # fmt: skip
            if not low <= getattr(self, key) < 2**24:
                raise ValueError(f"{key} must be in {low}..{2**24 - 1}, got {getattr(self, key)}.")
        for key in ("rate", "burstiness", "think_s"):
            if not LEAST_RATE <= getattr(self, key) < 2**24:
                raise ValueError(f"{key} must be in {LEAST_RATE:g}..{2**24 - 1}, got {getattr(self, key)}.")


@dataclass(frozen=True, eq=False)
class Serving:
    """A server and what it is asked for.

    Parameters
    ----------
    name : str
    source : Requests or Generator
    costs : CostModel
    num_blocks : int >= 1
        Of the KV cache on the GPU, for requests.
    cpu_blocks : int >= 0
    block_bytes : int >= 1
        Of one block in all layers.
    pieces : int >= 1
        Copies that the transfer of one block takes.
    settings : ServingSettings
    state : ServingState or None
        Of a server in motion, see `state.in_motion`.
    """

    name: str
    source: Requests | Generator
    costs: CostModel
    num_blocks: int
    cpu_blocks: int
    block_bytes: int
    pieces: int
    settings: ServingSettings = field(default_factory=ServingSettings)
    state: ServingState | None = None

    problem = "llmserving"

    def __post_init__(self) -> None:
        for key, low in (("num_blocks", 1), ("cpu_blocks", 0), ("block_bytes", 1), ("pieces", 1)):
            if not low <= getattr(self, key) < 2**40:
                raise InputError(f"{self.name}: {key} must be >= {low}, got {getattr(self, key)}.")
        for key in ("num_blocks", "cpu_blocks"):
            if getattr(self, key) > MAX_BLOCKS:
                raise InputError(f"{self.name}: {key} must be at most {MAX_BLOCKS}, got {getattr(self, key)}.")
        if isinstance(self.source, Requests):
            self.check_fit(self.source)
        elif self.source.longest * 2 > self.num_blocks * self.block_size:
            raise InputError(
                f"{self.name}: drawn requests of up to {2 * self.source.longest} tokens do not fit the KV cache of "
                f"{self.num_blocks * self.block_size}; set a smaller longest or more blocks."
            )

    def check_fit(self, requests: Requests) -> None:
        """Refuse requests that could never be served, alone on the server."""
        total = requests.prompt + requests.output
        room = self.num_blocks * self.block_size
        if (total > room).any():
            place = int((total > room).argmax())
            raise InputError(
                f"{self.name}: request {place} needs {total[place]} tokens of KV cache "
                f"({requests.prompt[place]} prompt, {requests.output[place]} output), there is room for {room}; "
                "set more num_gpu_blocks_override."
            )
        if not self.settings.enable_chunked_prefill and (total > self.token_budget).any():
            place = int((total > self.token_budget).argmax())
            raise InputError(
                f"{self.name}: request {place} may have to compute {total[place]} tokens at once, more than "
                f"max_num_batched_tokens={self.token_budget}; allow enable_chunked_prefill."
            )

    def must_begin(self) -> None:
        """Refuse a server in motion: what is asked for is of whole episodes."""
        if self.state is not None:
            raise InputError(
                f"{self.name}: a server in motion can only be simulated; take the instance that it comes from."
            )

    @property
    def is_rounds(self) -> bool:
        return self.settings.clock == "rounds"

    @property
    def block_size(self) -> int:
        return 1 if self.is_rounds else self.settings.block_size

    @property
    def token_budget(self) -> int:
        return 2**30 if self.is_rounds else self.settings.max_num_batched_tokens

    @property
    def depth(self) -> int:
        """How many batches may be under way."""
        return 2 if self.settings.async_scheduling and not self.is_rounds else 1

    @property
    def block_group(self) -> int:
        return 1 if self.is_rounds else self.settings.block_group

    @property
    def overlaps(self) -> bool:
        return self.settings.overlap and not self.is_rounds

    @property
    def kv_reuse(self) -> str:
        return "off" if self.is_rounds else self.settings.kv_reuse

    @property
    def start_s(self) -> float:
        """Seconds that it takes to start copying blocks that lie side by side, however many."""
        return 0.0 if self.is_rounds else self.pieces * self.settings.copy_us * 1e-6

    @property
    def block_s(self) -> float:
        """Seconds that a block's bytes take."""
        return 0.0 if self.is_rounds else self.block_bytes / (self.settings.pcie_gbs * 1e9)

    @property
    def priority_every(self) -> int:
        """Iterations between two updates of drawn priorities; 0: none."""
        often = self.settings.priority_frequency
        return max(round(1 / often), 1) if self.settings.priorities != "file" and often > 0 else 0

    @property
    def is_random(self) -> bool:
        return (
            isinstance(self.source, Generator)
            or self.settings.priorities != "file"
            or self.settings.prediction_noise > 0
        )

    @cached_property
    def num_requests(self) -> int:
        return len(self.source) if isinstance(self.source, Requests) else self.source.count


@dataclass(frozen=True, eq=False)
class ServingLog:
    """What was done.

    Parameters
    ----------
    decided : float ndarray (num_epochs,)
        When each epoch's decisions were taken.
    start, end : float ndarray (num_epochs,)
        When its batch was computed; both are `decided` where there was none.
    events : int ndarray (num_events, 4)
        Epoch, request, kind (`KINDS`), and a number: tokens found in the prefix cache or copied in (admit), tokens
        computed (prefill: whatever is not one decoded token; recompute, swap-out, swap-in: what the request had
        computed), 0 (finish: its epoch is the first whose decisions know of it). In the order in which they took place.
    """

    decided: np.ndarray
    start: np.ndarray
    end: np.ndarray
    events: np.ndarray

    def __post_init__(self) -> None:
        for name in ("decided", "start", "end"):
            object.__setattr__(self, name, frozen(np.array(getattr(self, name), dtype=np.float64)))
        object.__setattr__(self, "events", whole_numbers("events", self.events).reshape(-1, 4))
