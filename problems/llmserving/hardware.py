"""Models and GPUs by name, and what follows from their sizes: weights, bytes of a block, how many blocks fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from orl.errors import InputError, at
from orl.files import parse_json, read_text
from orl.params import nearest

from .instance import ServingSettings

GIB = 2**30
_BYTES = {
    "float32": 4,
    "float": 4,
    "float16": 2,
    "half": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int8": 1,
}


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a dense decoder with gated feed-forward layers (Llama, Mistral, Qwen).

    Parameters
    ----------
    name : str
    layers, hidden, heads, kv_heads, head_dim, intermediate, vocab : int >= 1
    bytes_per_weight : int
        Of a weight, and of a number in the KV cache.
    tied : bool
        The embedding is the output matrix, too.
    has_bias : bool
        Queries, keys and values have one (Qwen 2).
    has_head_norm : bool
        Queries and keys are normalised by head (Qwen 3).
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    bytes_per_weight: int = 2
    tied: bool = False
    has_bias: bool = False
    has_head_norm: bool = False

    def __post_init__(self) -> None:
        for key in ("layers", "hidden", "heads", "kv_heads", "head_dim", "intermediate", "vocab", "bytes_per_weight"):
            if not 1 <= getattr(self, key) < 2**31:
                raise InputError(f"{self.name}: {key} must be >= 1, got {getattr(self, key)}.")
        if self.heads % self.kv_heads:
            raise InputError(f"{self.name}: kv_heads={self.kv_heads} must divide heads={self.heads}.")

    @property
    def qkv_width(self) -> int:
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def parameters(self) -> int:
        attention = self.hidden * (self.qkv_width + self.heads * self.head_dim) + self.has_bias * self.qkv_width
        norms = 2 * self.hidden + self.has_head_norm * 2 * self.head_dim
        layer = attention + 3 * self.hidden * self.intermediate + norms
        return self.layers * layer + self.hidden + self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def weight_bytes(self) -> int:
        return self.parameters * self.bytes_per_weight

    @property
    def kv_bytes_per_token(self) -> int:
        return self.rank_kv_bytes(1)

    @property
    def pieces(self) -> int:
        """Copies that the transfer of a block takes: keys and values of each layer apart."""
        return 2 * self.layers

    def rank_kv_heads(self, ranks: int) -> int:
        """Return how many heads of keys and values each of so many GPUs holds, at least 1.

        Raises
        ------
        InputError
            If the heads cannot be divided among them.
        """
        is_even = self.kv_heads % ranks == 0 or ranks % self.kv_heads == 0
        if self.heads % ranks or not is_even:
            raise InputError(
                f"tensor_parallel_size must divide the {self.heads} heads of {self.name}, and divide its "
                f"{self.kv_heads} heads of keys and values or be a multiple, got {ranks}."
            )
        return max(self.kv_heads // ranks, 1)

    def rank_kv_bytes(self, ranks: int) -> int:
        """Return the bytes of a token's keys and values on each of so many GPUs."""
        return 2 * self.layers * self.rank_kv_heads(ranks) * self.head_dim * self.bytes_per_weight


class Gpu(NamedTuple):
    """Memory in GiB, its bandwidth in GB/s, and 10^12 operations a second of dense bfloat16, as the data sheets say."""

    memory_gib: float
    bandwidth_gbs: float
    tflops: float


MODELS = {
    model.name: model
    for model in (
        ModelShape("llama-3.1-8b", 32, 4096, 32, 8, 128, 14336, 128256),
        ModelShape("llama-2-7b", 32, 4096, 32, 32, 128, 11008, 32000),
        ModelShape("llama-2-13b", 40, 5120, 40, 40, 128, 13824, 32000),
        ModelShape("llama-3.1-70b", 80, 8192, 64, 8, 128, 28672, 128256),
        ModelShape("qwen3-32b", 64, 5120, 64, 8, 128, 25600, 151936, has_head_norm=True),
        ModelShape("qwen2.5-32b", 64, 5120, 40, 8, 128, 27648, 152064, has_bias=True),
        ModelShape("qwen2.5-7b", 28, 3584, 28, 4, 128, 18944, 152064, has_bias=True),
        ModelShape("mistral-7b", 32, 4096, 32, 8, 128, 14336, 32000),
    )
}
GPUS = {
    "rtx4090": Gpu(24, 1008, 165),
    "a10": Gpu(24, 600, 125),
    "a10g": Gpu(24, 600, 70),
    "a100-40g": Gpu(40, 1555, 312),
    "a100-80g": Gpu(80, 2039, 312),
    "h100-sxm": Gpu(80, 3350, 989),
    "l40s": Gpu(48, 864, 362),
    "rtx-pro-6000": Gpu(96, 1792, 504),
}


def find_gpu(name: str) -> Gpu:
    """Return a preset; an unknown name is an `InputError` with the nearest known ones."""
    if name not in GPUS:
        raise InputError(f"gpu: {name!r} is unknown; {nearest(name, GPUS)}")
    return GPUS[name]


def read_model(name: str, folder: Path | None = None) -> ModelShape:
    """Return a preset, or what a Hugging Face config.json says.

    Parameters
    ----------
    name : str
        A preset's, or a path of the file or of the folder that holds it.
    folder : Path, optional
        What the path is relative to.

    Raises
    ------
    InputError
        For an unknown name (with the nearest known ones), and for a file that does not describe such a model.
    """
    if name in MODELS:
        return MODELS[name]
    path = (folder or Path()) / name
    try:
        path = path / "config.json" if path.is_dir() else path
        is_there = path.exists()
    except OSError:  # too long to be a name
        is_there = False
    if not is_there:
        raise InputError(f"model: there is no file and no model {name[:60]!r}; {nearest(name, MODELS)}")
    return _shape_of(path)


def _shape_of(path: Path) -> ModelShape:
    data = parse_json(read_text(path), path)
    if isinstance(data, dict) and isinstance(data.get("text_config"), dict):
        data = {**data, **data["text_config"]}  # of a model that sees pictures, too
    if not isinstance(data, dict):
        raise at(path, None, "expected an object with num_hidden_layers and so on.")
    for key in ("num_local_experts", "num_experts", "n_routed_experts", "kv_lora_rank"):
        if data.get(key):
            raise at(path, None, f"{key}: mixtures of experts and latent attention are not covered.")
    heads = _size(path, data, "num_attention_heads")
    hidden = _size(path, data, "hidden_size")
    try:
        return ModelShape(
            path.parent.name or path.stem,
            layers=_size(path, data, "num_hidden_layers"),
            hidden=hidden,
            heads=heads,
            kv_heads=_size(path, data, "num_key_value_heads", heads),
            head_dim=_size(path, data, "head_dim", hidden // heads),
            intermediate=_size(path, data, "intermediate_size"),
            vocab=_size(path, data, "vocab_size"),
            bytes_per_weight=_weight_bytes(path, data),
            tied=data.get("tie_word_embeddings") is True,
            has_bias=data.get("attention_bias") is True or data.get("model_type") == "qwen2",
            has_head_norm=data.get("model_type") == "qwen3",
        )
    except InputError as error:
        raise at(path, None, str(error).removeprefix(f"{path}: ")) from None


def _size(path: Path, data: dict[str, Any], key: str, default: int | None = None) -> int:
    value = data.get(key)
    if value is None and default is not None:
        return default
    if value is None:
        raise at(path, None, f"{key} is missing.")
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
        raise at(path, None, f"{key} must be an integer >= 1, got {str(value)[:40]!r}.")
    return value


def _weight_bytes(path: Path, data: dict[str, Any]) -> int:
    name = str(data.get("torch_dtype") or data.get("dtype") or "bfloat16").removeprefix("torch.")
    if name not in _BYTES:
        raise at(path, None, f"torch_dtype: {name[:40]!r} is unknown; {nearest(name, _BYTES)}")
    return _BYTES[name]


def block_bytes(shape: ModelShape, settings: ServingSettings) -> int:
    """Return the bytes of a block on each GPU; with clock=rounds a block is a token."""
    size = 1 if settings.clock == "rounds" else settings.block_size
    return shape.rank_kv_bytes(settings.tensor_parallel_size) * size


def blocks_that_fit(shape: ModelShape, gpu: Gpu, settings: ServingSettings) -> int:
    """Return the blocks that requests can have: what weights leave of the memory, less one that the engine keeps.

    What activations and CUDA graphs take is not known here and not subtracted: a real engine has fewer blocks (a
    quarter less for Llama 3.1 8B on 24 GiB); `num_gpu_blocks_override` says what it reports.

    Raises
    ------
    InputError
        If there is no room.
    """
    weights = shape.weight_bytes / settings.tensor_parallel_size
    room = gpu.memory_gib * GIB * settings.gpu_memory_utilization - weights
    blocks = int(room // block_bytes(shape, settings)) - 1
    if blocks < 1:
        raise InputError(
            f"{shape.name} needs {weights / GIB:.1f} GiB for its weights on each GPU; "
            f"{settings.gpu_memory_utilization:g} of {gpu.memory_gib:g} GiB leaves no room for the KV cache; set "
            f"another gpu or more tensor_parallel_size."
        )
    return blocks


def blocks_on_cpu(shape: ModelShape, settings: ServingSettings) -> int:
    """Return the blocks for which `swap_space` has room."""
    return int(settings.swap_space * GIB // block_bytes(shape, settings))
