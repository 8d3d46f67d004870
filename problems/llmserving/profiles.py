"""Cost models: from a folder of measured kernel times, or from a roofline whose efficiencies were fitted.

A profile has three files, all times in microseconds of ONE layer, on one GPU of `tensor_parallel_size` many:

- dense.csv: layer, tokens, time_us
- per_sequence.csv: layer, sequences, time_us
- attention.csv: prefill_chunk, kv_prefill, n_decode, kv_decode, time_us

Rows of attention.csv in which requests prefill and decode at a time are not used: each chunk is a kernel by itself.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from orl.errors import InputError, at
from orl.files import instance_folder, read_text
from orl.params import nearest

from .hardware import Gpu, ModelShape, read_model
from .instance import CostModel, ServingSettings

LEAST_TOKENS = 2048  # that the table `dense` goes up to
CAPTURE_SIZES = (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16))  # batches that vLLM captures as CUDA graphs
_ONCE = ("embedding", "final_layernorm", "lm_head", "sampler")  # not in every layer
_SIZES = ("layers", "hidden", "heads", "kv_heads", "head_dim", "intermediate", "vocab")


# Folders ------------------------------------------------------------------------------------------------------------


def find_profile(name: str, folder: Path | None = None) -> Path:
    """Return a profile's folder: a path, relative to `folder`, or the name of a packaged one."""
    path = (folder or Path()) / name
    try:
        if path.is_dir():
            return path
    except OSError:  # too long to be a name: it is answered below
        pass
    packaged = instance_folder("llmserving") / "profiles"
    names = sorted(entry.name for entry in packaged.iterdir() if entry.is_dir()) if packaged.is_dir() else []
    if name in names:
        return packaged / name
    raise InputError(f"profile: there is no folder and no profile {name[:60]!r}; {nearest(name, names)}")


def read_profile(folder: Path, shape: ModelShape, settings: ServingSettings) -> CostModel:
    """Return the cost model of a measured profile.

    Parameters
    ----------
    folder : Path
        Of the three files; those of several GPUs lie in subfolders tp1, tp2, ... If there is a config.json (as Hugging
        Face has it) the profile is of that model, and of no other.
    shape : ModelShape
    settings : ServingSettings
        tensor_parallel_size, link_gbs, link_us.

    Raises
    ------
    InputError
        One line that names file, line and column.
    """
    folder = Path(folder)
    _check_model(folder, shape)
    place = _of_ranks(folder, settings.tensor_parallel_size)
    chunk, past, prefill, count, context, decode = _attention(place / "attention.csv")
    dense = _by_layer(place / "dense.csv", "tokens", shape.layers, LEAST_TOKENS)
    return CostModel(
        dense=_with_graphs(dense + all_reduces(shape, settings, len(dense) - 1)),
        sequence=_by_layer(place / "per_sequence.csv", "sequences", shape.layers, 1),
        chunk=chunk,
        past=past,
        prefill=shape.layers * 1e-6 * prefill,
        count=count,
        context=context,
        decode=shape.layers * 1e-6 * decode,
    )


def _check_model(folder: Path, shape: ModelShape) -> None:
    path = folder / "config.json"
    if not path.is_file():
        return
    own = read_model(str(path))
    for key in _SIZES:
        if getattr(own, key) != getattr(shape, key):
            raise InputError(
                f"{folder}: was measured with a model that has {key}={getattr(own, key)}, {shape.name} has "
                f"{getattr(shape, key)}; set profile= for the roofline."
            )


def _of_ranks(folder: Path, ranks: int) -> Path:
    inside = folder / f"tp{ranks}"
    if inside.is_dir():
        return inside
    if ranks == 1 and (folder / "dense.csv").is_file():
        return folder
    found = [path.name for path in sorted(folder.glob("tp*")) if path.is_dir()]
    has = ", ".join(found) or ("one GPU alone" if (folder / "dense.csv").is_file() else "no dense.csv")
    raise InputError(f"{folder}: has no profile for tensor_parallel_size={ranks}; there is {has}.")


# Tables -------------------------------------------------------------------------------------------------------------


def _read(path: Path, keys: Sequence[str], is_named: bool = False) -> list[tuple]:
    """Return the rows of a table: the layer if `is_named`, integers >= 0 for `keys`, the time."""
    reader = csv.DictReader(io.StringIO(read_text(path)))
    columns = [*(["layer"] if is_named else []), *keys, "time_us"]
    missing = [name for name in columns if name not in (reader.fieldnames or [])]
    if missing:
        raise at(path, 1, f"expected columns {', '.join(columns)}; {missing[0]} is missing.")
    rows = []
    try:
        for row in reader:
            texts = [row[name] for name in columns]
            if None in texts:
                raise at(path, reader.line_num, f"expected {len(columns)} entries ({', '.join(columns)}).")
            numbers = [
                _number(path, reader.line_num, name, row[name], name != "time_us") for name in columns[is_named:]
            ]
            rows.append((*([row["layer"]] if is_named else []), *numbers))
    except csv.Error as error:
        raise at(path, reader.line_num, f"expected CSV: {error}.") from None
    if not rows:
        raise at(path, None, "expected rows below the header, found none.")
    return rows


def _number(path: Path, line: int, column: str, text: str, is_integer: bool) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 2**40 or (is_integer and value != int(value)):
        raise at(path, line, f"{column} must be {'an integer' if is_integer else 'a number'} >= 0, got {text[:40]!r}.")
    return value


def _by_layer(path: Path, key: str, layers: int, least: int) -> np.ndarray:
    """Return the seconds of all layers by 0, 1, ... up to the largest that was measured, `least` at least."""
    points: dict[str, dict[int, float]] = {}
    for layer, at_size, time in _read(path, [key], is_named=True):
        points.setdefault(layer, {})[int(at_size)] = time
    sizes = np.arange(max(least, *(max(times) for times in points.values())) + 1, dtype=np.float64)
    total = np.zeros(len(sizes))
    for layer, times in points.items():
        often = 1 if layer in _ONCE else 2 * layers if layer == "layernorm" else layers
        xs = np.array(sorted(times), dtype=np.float64)
        total += often * 1e-6 * _line(sizes, xs, np.array([times[int(x)] for x in xs]))
    total[0] = 0.0
    return total


def _line(at_sizes: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Interpolate linearly, and go on with the slope of the last two points, which is not negative."""
    values = np.interp(at_sizes, xs, ys)
    if len(xs) > 1:
        slope = max((ys[-1] - ys[-2]) / (xs[-1] - xs[-2]), 0.0)
        values = values + slope * np.maximum(at_sizes - xs[-1], 0.0)
    return values


def _with_graphs(dense: np.ndarray) -> np.ndarray:
    """Return the times as they are with CUDA graphs: a batch is filled up to the next size that was captured."""
    sizes = np.array(CAPTURE_SIZES)
    tokens = np.arange(len(dense))
    padded = np.where(tokens <= sizes[-1], sizes[np.minimum(np.searchsorted(sizes, tokens), len(sizes) - 1)], tokens)
    result = dense[padded]
    result[0] = 0.0
    return result


def all_reduces(shape: ModelShape, settings: ServingSettings, tokens: int) -> np.ndarray:
    """Return the seconds of two all-reduces a layer by 0, 1, ... tokens; 0 on one GPU."""
    ranks = settings.tensor_parallel_size
    if ranks == 1:
        return np.zeros(tokens + 1)
    sent = 2 * (ranks - 1) / ranks * shape.hidden * shape.bytes_per_weight / (settings.link_gbs * 1e9)
    return 2 * shape.layers * (sent * np.arange(tokens + 1) + settings.link_us * 1e-6)


def _attention(path: Path) -> tuple[np.ndarray, ...]:
    rows = np.array(_read(path, ["prefill_chunk", "kv_prefill", "n_decode", "kv_decode"]))
    chunk, past, prefill = _grid(path, rows[(rows[:, 2] == 0) & (rows[:, 0] > 0)][:, [0, 1, 4]], "prefill_chunk")
    count, context, decode = _grid(path, rows[(rows[:, 0] == 0) & (rows[:, 2] > 0)][:, [2, 3, 4]], "n_decode")
    decode[:, 0] = 0.0
    return chunk, past, prefill, count, context, decode


def _grid(path: Path, rows: np.ndarray, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return axes from 0 and the table: 0 where nothing is computed, holes filled along the second, then the first."""
    if len(rows) == 0:
        raise at(path, None, f"expected rows with {column} > 0 and nothing else in the batch, found none.")
    first, second = (np.unique(np.append(rows[:, axis], 0.0)) for axis in (0, 1))
    if len(second) < 2:
        raise at(path, None, f"expected several lengths of context in the rows with {column} > 0, found one.")
    table = np.full((len(first), len(second)), np.nan)
    table[np.searchsorted(first, rows[:, 0]), np.searchsorted(second, rows[:, 1])] = rows[:, 2]
    table[0] = 0.0
    if column == "n_decode":
        table[:, 0] = 0.0
    table = _filled(_filled(table, second).T, first).T
    if np.isnan(table).any():
        raise at(path, None, f"too few rows with {column} > 0 to fill the table.")
    return first, second, table


def _filled(table: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """Fill holes of each row that has two points: between them on the line, beyond the last with its slope."""
    table = table.copy()
    for row in table:
        known = ~np.isnan(row)
        if known.sum() >= 2 and not known.all():
            row[~known] = _line(xs[~known], xs[known], row[known])
    return table


# The roofline -------------------------------------------------------------------------------------------------------


Work = tuple[np.ndarray, np.ndarray]  # operations, bytes


class Efficiency(NamedTuple):
    """Shares of the data sheet's arithmetic and bandwidth that kernels reach, and seconds that starting one takes."""

    compute: float
    memory: float
    start_s: float

    def seconds(self, flops: np.ndarray | float, moved: np.ndarray | float, gpu: Gpu) -> np.ndarray:
        """Return how long a kernel takes that does so many operations on so many bytes."""
        by_compute = np.asarray(flops) / (gpu.tflops * 1e12 * self.compute)
        return np.maximum(by_compute, np.asarray(moved) / (gpu.bandwidth_gbs * 1e9 * self.memory)) + self.start_s


# Fitted to kernels measured on A100, H100 and L40S: benchmarks/llmserving_roofline.py.
MATRIX = Efficiency(0.72, 0.80, 2.7e-6)
PREFILL = Efficiency(0.50, 0.79, 10e-6)
DECODE = Efficiency(0.50, 0.79, 12.5e-6)
ELEMENTWISE = Efficiency(1.0, 0.55, 16.5e-6)  # all of a layer


def matrices(shape: ModelShape, ranks: int = 1) -> list[tuple[int, int]]:
    """Return the (outputs, inputs) of a layer's four matrices on each of so many GPUs."""
    kv = shape.rank_kv_heads(ranks)
    attention = shape.heads // ranks * shape.head_dim
    inner = -(-shape.intermediate // ranks)
    return [
        (attention + 2 * kv * shape.head_dim, shape.hidden),
        (shape.hidden, attention),
        (2 * inner, shape.hidden),
        (shape.hidden, inner),
    ]


def matrix_work(rows: np.ndarray, outputs: int, inputs: int, size: int) -> Work:
    """Return operations and bytes of `rows` vectors times a matrix."""
    return 2.0 * rows * outputs * inputs, size * (1.0 * outputs * inputs + rows * (outputs + inputs))


def prefill_work(chunk: np.ndarray, past: np.ndarray, heads: int, kv_heads: int, head_dim: int, size: int) -> Work:
    """Return operations and bytes of causal attention of new tokens of one request."""
    flops = 4.0 * heads * head_dim * chunk * (past + (chunk + 1) / 2)
    return flops, size * head_dim * (2.0 * kv_heads * (past + chunk) + 2.0 * heads * chunk)


def decode_work(count: np.ndarray, context: np.ndarray, heads: int, kv_heads: int, head_dim: int, size: int) -> Work:
    """Return operations and bytes of attention of one new token each of so many requests."""
    flops = 4.0 * heads * head_dim * count * context
    return flops, size * head_dim * count * (2.0 * kv_heads * context + 2.0 * heads)


def elementwise_bytes(tokens: np.ndarray, shape: ModelShape, ranks: int = 1) -> np.ndarray:
    """Return what a layer's two norms with residuals, rotations and activation read and write."""
    rotated = 2 * (shape.heads + shape.kv_heads) * shape.head_dim / ranks
    return shape.bytes_per_weight * tokens * (8.0 * shape.hidden + rotated + 3 * shape.intermediate / ranks)


def roofline(shape: ModelShape, gpu: Gpu, settings: ServingSettings) -> CostModel:
    """Return a cost model from sizes alone: each kernel is limited by arithmetic or by bandwidth.

    The efficiencies are one set for all GPUs, fitted to some and off by 10 to 20 % on single kernels, by 5 to 45 %
    on whole iterations of a GPU that was not among them: good for what no profile exists of, no replacement for one.
    See benchmarks/results/llmserving_roofline.md.
    """
    ranks, size = settings.tensor_parallel_size, shape.bytes_per_weight
    heads, kv = shape.heads // ranks, shape.rank_kv_heads(ranks)
    tokens = np.arange(LEAST_TOKENS + 1, dtype=np.float64)
    layer = ELEMENTWISE.seconds(0.0, elementwise_bytes(tokens, shape, ranks), gpu)
    for outputs, inputs in matrices(shape, ranks):
        layer = layer + MATRIX.seconds(*matrix_work(tokens, outputs, inputs, size), gpu)
    sequences = np.arange(257, dtype=np.float64)
    sequence = MATRIX.seconds(*matrix_work(sequences, -(-shape.vocab // ranks), shape.hidden, size), gpu)
    sequence[0] = 0.0
    powers = np.array([0.0, *(2.0 ** np.arange(4, 18))])
    ones = np.array([0.0, *(2.0 ** np.arange(0, 12))])
    chunk, count = np.concatenate([[0.0, 1.0], powers[1:]]), ones
    prefill = PREFILL.seconds(*prefill_work(chunk[:, None], powers[None, :], heads, kv, shape.head_dim, size), gpu)
    decode = DECODE.seconds(*decode_work(count[:, None], powers[None, :], heads, kv, shape.head_dim, size), gpu)
    prefill[0], decode[0], decode[:, 0] = 0.0, 0.0, 0.0
    return CostModel(
        dense=_with_graphs(shape.layers * layer + all_reduces(shape, settings, LEAST_TOKENS)),
        sequence=sequence,
        chunk=chunk,
        past=powers,
        prefill=shape.layers * prefill,
        count=count,
        context=powers,
        decode=shape.layers * decode,
    )
