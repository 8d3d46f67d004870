"""The efficiencies of LLM serving's roofline: fitted to one half of measured kernels, judged on the other half.

python benchmarks/llmserving_roofline.py FOLDER

FOLDER holds aic_vllm_gemm_bf16.csv and aic_vllm_attention_bf16.csv (NVIDIA aiconfigurator, A100, H100, L40S), and
vidur_linear_ops_tp1.csv (microsoft/vidur, A100, H100).
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import record
from scipy.optimize import least_squares

from orl.problems.llmserving import profiles
from orl.problems.llmserving.hardware import GPUS, Gpu, read_model
from orl.problems.llmserving.instance import CostModel, ServingSettings
from orl.problems.llmserving.profiles import Efficiency, decode_work, elementwise_bytes, matrix_work, prefill_work

NAMES = {"a100_sxm": "a100-80g", "h100_sxm": "h100-sxm", "l40s": "l40s", "a100": "a100-80g", "h100": "h100-sxm"}
MODELS = {"Meta-Llama-3-8B": "llama-3.1-8b", "Llama-2-7b-hf": "llama-2-7b"}
ELEMENTWISE = ("input_layernorm", "attn_rope", "post_attention_layernorm", "mlp_act", "add")
SIZE = 2  # bytes of a number in bfloat16
SMALL, CACHES = 4e6, 128e6  # bytes; the L40S has 96 MB of cache
FITTED = (
    "Efficiencies fitted to half of the rows, one set for all GPUs: shares of the data sheet's arithmetic and "
    "bandwidth, and what starting a kernel takes (ELEMENTWISE: all of a layer). PREFILL was measured without tokens "
    "before the chunk only; its bandwidth, and the arithmetic of DECODE and ELEMENTWISE, never decide."
)
JUDGED = (
    "Errors on the other half in percent: median with its sign, mean and 90 % quantile of the size; last, the mean "
    "size with the numbers that the code has."
)
WHOLE = (
    "Whole iterations of Llama 3.1 8B on an RTX 4090, of which nothing was fitted: measured profile, roofline "
    "(milliseconds), and the error in percent."
)
Row = tuple[str, float, float, float]  # GPU, operations, bytes, seconds


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def matrices(folder: Path) -> list[Row]:
    """Matrices as layers have them, not the narrowest: n and k of 2048 and more."""
    found = []
    for row in rows_of(folder / "aic_vllm_gemm_bf16.csv"):
        m, n, k = (int(row[key]) for key in "mnk")
        if min(n, k) >= 2048 and m <= profiles.LEAST_TOKENS:
            found.append((NAMES[row["gpu"]], *matrix_work(m, n, k, SIZE), float(row["latency_ms"]) * 1e-3))
    return found


def attention(folder: Path, phase: str) -> list[Row]:
    """One request's prompt; one new token each of up to 256 requests with 127 tokens of context and more.

    Kernels are measured again and again on the same data: what fits the caches is faster than it is in a server. So of
    decoding only rows count with more keys and values than caches hold, or with next to none, which tell the start.
    """
    found = []
    for row in rows_of(folder / "aic_vllm_attention_bf16.csv"):
        heads, kv, count, new, past = (
            int(row[key])
            for key in ("n_heads", "n_kv_heads", "batch_size", "new_tokens_per_seq", "past_tokens_per_seq")
        )
        if row["phase"] != phase:
            continue
        if phase == "context":
            is_used, work = count == 1, prefill_work(new, past, heads, kv, 128, SIZE)
        else:
            work = decode_work(count, past + 1, heads, kv, 128, SIZE)
            is_used = count <= 256 and past >= 127 and not SMALL < work[1] < CACHES
        if is_used:
            found.append((NAMES[row["gpu"]], *work, float(row["latency_ms"]) * 1e-3))
    return found


def elementwise(folder: Path) -> list[Row]:
    """What a layer does besides matrices and attention; the second residual, missing there, is as the first."""
    found = []
    for row in rows_of(folder / "vidur_linear_ops_tp1.csv"):
        if row["gpu"] in NAMES and int(row["num_tokens"]) <= profiles.LEAST_TOKENS:
            moved = elementwise_bytes(int(row["num_tokens"]), read_model(MODELS[row["model"]]))
            seconds = sum(float(row[f"{name}_ms"]) for name in ELEMENTWISE) + float(row["add_ms"])
            found.append((NAMES[row["gpu"]], 0.0, moved, seconds * 1e-3))
    return found


def columns(rows: Sequence[Row]) -> tuple[Gpu, np.ndarray, np.ndarray, np.ndarray]:
    gpus = [GPUS[row[0]] for row in rows]
    each = Gpu(*(np.array([gpu[place] for gpu in gpus]) for place in range(3)))
    return each, *(np.array([row[place] for row in rows]) for place in (1, 2, 3))


def errors(kind: Efficiency, rows: Sequence[Row]) -> np.ndarray:
    gpu, flops, moved, seconds = columns(rows)
    return kind.seconds(flops, moved, gpu) / seconds - 1


def fitted(rows: Sequence[Row]) -> Efficiency:
    """Least squares of the relative error, from several beginnings."""
    best = None
    for compute in (0.3, 0.6, 0.9):
        begin = np.log([compute, 0.7, 5e-6])  # the first two stay below 1
        result = least_squares(lambda x: errors(Efficiency(*np.exp(x)), rows), begin, bounds=(-20, 0))
        if best is None or result.cost < best.cost:
            best = result
    assert best is not None
    return Efficiency(*np.exp(best.x))


def words(values: np.ndarray) -> list[float]:
    size = np.abs(values)
    return [len(values), *(round(100 * float(x), 1) for x in (np.median(values), size.mean(), np.quantile(size, 0.9)))]


def end_to_end(folder: Path) -> list[list]:
    """Whole iterations of Llama 3.1 8B on an RTX 4090, of which nothing was fitted: roofline against profile."""
    shape, settings = read_model("llama-3.1-8b"), ServingSettings()
    guess = profiles.roofline(shape, GPUS["rtx4090"], settings)
    real = profiles.read_profile(profiles.find_profile("rtx4090-llama-3.1-8b"), shape, settings)

    def seconds(costs: CostModel, tokens: int, count: int, context: int, chunk: int) -> float:
        total = costs.dense[tokens] + costs.sequence[max(count, 1)]
        total += bilinear(costs.decode, costs.count, costs.context, count, context)
        return total + bilinear(costs.prefill, costs.chunk, costs.past, chunk, 0)

    cases = [(f"{n} decode at {kv}", (n, n, kv, 0)) for n in (1, 16, 64, 256) for kv in (512, 2048) if n * kv < 200_000]
    cases += [(f"a prompt of {n}", (n, 0, 0, n)) for n in (128, 512, 2048)]
    table = []
    for name, case in cases:
        there, here = seconds(real, *case), seconds(guess, *case)
        table.append([name, there * 1e3, here * 1e3, 100 * (here / there - 1)])
    return table


def bilinear(table: np.ndarray, rows: np.ndarray, cols: np.ndarray, row: float, col: float) -> float:
    return float(np.interp(row, rows, [np.interp(col, cols, line) for line in table]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    kinds = {
        "MATRIX": matrices(folder),
        "PREFILL": attention(folder, "context"),
        "DECODE": attention(folder, "generation"),
        "ELEMENTWISE": elementwise(folder),
    }
    constants, judged, found = [], [], {}
    for name, rows in kinds.items():
        order = np.random.default_rng(0).permutation(len(rows))
        half = len(rows) // 2
        fit, rest = ([rows[place] for place in part] for part in (order[:half], order[half:]))
        kind = found[name] = fitted(fit)
        constants.append([name, kind.compute, kind.memory, kind.start_s * 1e6])
        for gpu in ("all", *dict.fromkeys(row[0] for row in rows)):
            own = [row for row in rest if gpu in ("all", row[0])]
            used = errors(getattr(profiles, name), own)
            judged.append([name, gpu, *words(errors(kind, own)), round(100 * float(np.abs(used).mean()), 1)])
    record.write(
        "llmserving_roofline",
        "The roofline of LLM serving",
        [
            (
                FITTED,
                ["kernel", "arithmetic", "bandwidth", "start, us"],
                constants,
            ),
            (
                JUDGED,
                ["kernel", "GPU", "rows", "median", "mean", "90 %", "mean, as rounded"],
                judged,
            ),
            (
                WHOLE,
                ["iteration", "profile", "roofline", "error"],
                end_to_end(folder),
            ),
        ],
        json.dumps({name: [float(f"{x:.3g}") for x in kind] for name, kind in found.items()}),
        digits=3,
    )


if __name__ == "__main__":
    main()
