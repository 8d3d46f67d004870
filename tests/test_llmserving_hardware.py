"""What servers are made of: GPUs, models, profiles of what was measured, and rooflines."""

import csv
import json

import numpy as np
import pytest
from test_llmserving_files import CONFIG, HERE, message_of, profile, write

from orl.problems.llmserving.hardware import GPUS, MODELS, blocks_that_fit, find_gpu, read_model
from orl.problems.llmserving.instance import ServingSettings
from orl.problems.llmserving.profiles import all_reduces, find_profile, read_profile, roofline

PROFILE = HERE / "profiles" / "rtx4090-llama-3.1-8b"
LLAMA = MODELS["llama-3.1-8b"]

# Hardware -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "billions"),
    [("llama-3.1-8b", 8.030), ("llama-2-7b", 6.738), ("llama-2-13b", 13.016), ("llama-3.1-70b", 70.554),
     ("qwen3-32b", 32.762), ("qwen2.5-7b", 7.616), ("mistral-7b", 7.242)],
)  # fmt: skip
def test_presets_have_as_many_parameters_as_their_makers_say(name, billions):
    model = read_model(name)
    assert model.parameters / 1e9 == pytest.approx(billions, abs=6e-4)
    assert model.weight_bytes == 2 * model.parameters


def test_bytes_of_keys_and_values():
    """Llama 3.1 8B in bfloat16: 2 x 32 layers x 8 heads x 128 x 2 bytes a token; halves of it on two GPUs."""
    assert LLAMA.kv_bytes_per_token == 131072
    assert [LLAMA.rank_kv_bytes(ranks) for ranks in (2, 8, 16, 32)] == [65536, 16384, 16384, 16384]
    assert LLAMA.pieces == 64
    assert "must divide the 32 heads" in message_of(LLAMA.rank_kv_bytes, 3)
    assert "28 heads" in message_of(MODELS["qwen2.5-7b"].rank_kv_bytes, 7)


def test_blocks_that_fit():
    settings = ServingSettings()
    room = 24 * 2**30 * 0.9 - LLAMA.weight_bytes
    assert blocks_that_fit(LLAMA, GPUS["rtx4090"], settings) == int(room / (16 * 131072)) - 1
    two = ServingSettings(tensor_parallel_size=2)
    room = 24 * 2**30 * 0.9 - LLAMA.weight_bytes / 2
    assert blocks_that_fit(LLAMA, GPUS["rtx4090"], two) == int(room / (16 * 65536)) - 1
    assert "leaves no room" in message_of(blocks_that_fit, MODELS["llama-3.1-70b"], GPUS["rtx4090"], settings)


def test_unknown_names_are_answered_with_the_nearest():
    assert "did you mean rtx4090 or" in message_of(find_gpu, "rtx-4090")
    assert "llama-3.1-8b" in message_of(read_model, "llama3.1-8b")
    assert "rtx4090-llama-3.1-8b" in message_of(find_profile, "rtx4090-llama")
    for name in ("", "x" * 5000, "\0"):
        assert "there is no file and no model" in message_of(read_model, name)
    for name in ("x" * 5000, "\0"):
        assert "there is no folder and no profile" in message_of(find_profile, name)


def test_a_config_of_hugging_face(tmp_path):
    write(tmp_path, "mine/config.json", json.dumps(CONFIG))
    for name in ("mine", "mine/config.json"):
        model = read_model(name, tmp_path)
        assert (model.name, model.parameters, model.head_dim) == ("mine", LLAMA.parameters, 128)
    tied = {**CONFIG, "tie_word_embeddings": True, "torch_dtype": "float32", "num_key_value_heads": None}
    model = read_model(str(write(tmp_path, "tied.json", json.dumps(tied))))
    assert (model.kv_heads, model.bytes_per_weight) == (32, 4)
    assert model.parameters == LLAMA.parameters + 32 * 2 * 4096 * (32 - 8) * 128 - 128256 * 4096


@pytest.mark.parametrize(
    ("change", "words"),
    [({"num_hidden_layers": None}, "num_hidden_layers is missing"), ({"hidden_size": -1}, "hidden_size must be"),
     ({"vocab_size": True}, "vocab_size must be an integer"), ({"torch_dtype": "bfloat61"}, "did you mean bfloat16"),
     ({"num_local_experts": 8}, "mixtures of experts"), ({"num_key_value_heads": 5}, "kv_heads=5 must divide")],
)  # fmt: skip
def test_configs_that_are_refused(tmp_path, change, words):
    path = write(tmp_path, "config.json", json.dumps({**CONFIG, **change}))
    message = message_of(read_model, str(path))
    assert words in message
    assert str(path) in message


@pytest.mark.parametrize(("text", "words"), [("{", "line 1: expected JSON"), ("[]", "expected an object")])
def test_configs_that_are_no_json(tmp_path, text, words):
    assert words in message_of(read_model, str(write(tmp_path, "config.json", text)))


# Profiles -----------------------------------------------------------------------------------------------------------


def rows_of(path):
    with path.open(newline="") as file:
        return [
            {key: float(value) if key != "layer" else value for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def line(points, x):
    """Interpolate by hand: points is {x: y}."""
    xs = sorted(points)
    if x <= xs[0]:
        return points[xs[0]]
    low = max(size for size in xs[:-1] if size <= x)
    high = min(size for size in xs if size > low)
    return points[low] + (points[high] - points[low]) * (x - low) / (high - low)


def plane(points, x, y):
    """Interpolate by hand along y on both sides of x, then along x: points is {(x, y): z}."""
    return line({a: line({b: z for (c, b), z in points.items() if c == a}, y) for a in {a for a, _ in points}}, x)


def by_hand(tokens, sequences, decode=None, chunks=()):
    """Seconds of an iteration of Llama 3.1 8B, straight from the files."""
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]
    padded = min((size for size in sizes if size >= tokens), default=tokens)
    total = 0.0
    for name, key, x in (("dense", "tokens", padded), ("per_sequence", "sequences", sequences)):
        layers = {}
        for row in rows_of(PROFILE / f"{name}.csv"):
            layers.setdefault(row["layer"], {})[row[key]] = row["time_us"]
        for layer, points in layers.items():
            once = layer in ("embedding", "final_layernorm", "lm_head", "sampler")
            total += (1 if once else 64 if layer == "layernorm" else 32) * line(points, x)
    rows = rows_of(PROFILE / "attention.csv")
    if decode is not None:
        points = {(row["n_decode"], row["kv_decode"]): row["time_us"] for row in rows if row["prefill_chunk"] == 0}
        points |= {(0, kv): 0.0 for _, kv in points} | {(n, 0): 0.0 for n, _ in points} | {(0, 0): 0.0}
        total += 32 * plane(points, *decode)
    points = {(row["prefill_chunk"], row["kv_prefill"]): row["time_us"] for row in rows if row["n_decode"] == 0}
    points |= {(0, past): 0.0 for _, past in points}
    return 1e-6 * (total + 32 * sum(plane(points, *chunk) for chunk in chunks))


def bilinear(table, rows, columns, row, column):
    """Evaluate a table of a cost model as its docstring says."""
    i = min(np.searchsorted(rows, row, side="right") - 1, len(rows) - 2)
    j = min(np.searchsorted(columns, column, side="right") - 1, len(columns) - 2)
    s, t = (row - rows[i]) / (rows[i + 1] - rows[i]), (column - columns[j]) / (columns[j + 1] - columns[j])
    left, right = ((1 - t) * table[k, j] + t * table[k, j + 1] for k in (i, i + 1))
    return (1 - s) * left + s * right


def of_model(costs, tokens, sequences, decode=None, chunks=()):
    total = costs.dense[tokens] + costs.sequence[sequences]
    if decode is not None:
        total += bilinear(costs.decode, costs.count, costs.context, *decode)
    return total + sum(bilinear(costs.prefill, costs.chunk, costs.past, *chunk) for chunk in chunks)


@pytest.mark.parametrize(
    "batch",
    [
        (1, 1, (1, 16)), (3, 3, (3, 700.5)), (17, 17, (17, 1000.25)), (256, 256, (256, 512)), (100, 100, (100, 9.0)),
        (2048, 1, None, [(2048, 0)]), (513, 1, None, [(513, 77)]), (512, 2, None, [(256, 0), (256, 16384)]),
        (1300, 66, (64, 2048), [(1000, 300), (236, 5000)]), (16, 1, None, [(16, 1)]), (5, 1, None, [(5, 100)]),
    ],
)  # fmt: skip
def test_a_profile_gives_what_its_files_say(batch):
    """On the grid and off it: the sum over layers, filled up to CUDA graphs, each chunk's attention by itself."""
    costs = read_profile(PROFILE, LLAMA, ServingSettings())
    assert of_model(costs, *batch) == pytest.approx(by_hand(*batch), rel=1e-9)


def test_a_known_iteration_of_the_profile():
    """One request that decodes reads 15 GB of weights: more than 14.9 ms at 1008 GB/s, less than a fifth more."""
    seconds = of_model(read_profile(PROFILE, LLAMA, ServingSettings()), 1, 1, (1, 512))
    assert 0.0149 < seconds < 0.018


def test_holes_and_ends_of_a_profile(tmp_path):
    """Holes go on with the last slope, never down; layernorm is there twice a layer, the embedding once."""
    costs = read_profile(profile(tmp_path), LLAMA, ServingSettings())
    assert costs.dense[0] == 0
    assert costs.dense[600] == pytest.approx(1e-6 * (1 + 64 * 2 + 32 * 609))
    assert costs.dense[2048] == pytest.approx(1e-6 * (1 + 64 * 2 + 32 * 2057))
    assert costs.dense[9] == costs.dense[16] == pytest.approx(1e-6 * (1 + 64 * 2 + 32 * 25))
    assert costs.sequence.tolist() == pytest.approx([0, 7e-6, 8e-6, 9e-6, 10e-6])
    assert costs.past.tolist() == [0, 16, 64]
    assert (costs.prefill * 1e6 / 32).tolist() == [pytest.approx(row) for row in ([0, 0, 0], [4, 6, 5], [10, 12, 10])]
    assert (costs.decode * 1e6 / 32).tolist() == [
        pytest.approx(row) for row in ([0, 0, 0], [0, 3, 5], [0, 9, 18], [0, 12, 24])
    ]


def test_profiles_of_several_gpus(tmp_path):
    two = ServingSettings(tensor_parallel_size=2)
    assert "no profile for tensor_parallel_size=2; there is one GPU alone" in message_of(
        read_profile, profile(tmp_path), LLAMA, two
    )
    profile(tmp_path / "tp2")
    one, other = (read_profile(tmp_path, LLAMA, settings) for settings in (ServingSettings(), two))
    sent = 2 * 600 * 4096 * 2 / 2 / 25e9 + 10e-6
    assert other.dense[600] - one.dense[600] == pytest.approx(64 * sent)
    assert (all_reduces(LLAMA, ServingSettings(), 5) == 0).all()
    assert other.dense[0] == 0


def test_a_profile_is_of_one_model():
    assert "kv_heads=8, llama-2-7b has 32" in message_of(read_profile, PROFILE, MODELS["llama-2-7b"], ServingSettings())


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("dense", "layer,tokens\nmlp,1\n", "line 1: expected columns layer, tokens, time_us; time_us is missing"),
        ("dense", "layer,tokens,time_us\nmlp,1.5,3\n", "dense.csv, line 2: tokens must be an integer >= 0, got '1.5'"),
        ("dense", "layer,tokens,time_us\nmlp,1,-3\n", "line 2: time_us must be a number >= 0, got '-3'"),
        ("dense", "layer,tokens,time_us\nmlp,1,nan\n", "line 2: time_us must be a number"),
        ("dense", "layer,tokens,time_us\nmlp,1\n", "line 2: expected 3 entries"),
        ("dense", "layer,tokens,time_us\n", "expected rows below the header"),
        ("attention", "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n0,0,1,16,3\n", "with prefill_chunk > 0"),
    ],
)  # fmt: skip
def test_profiles_that_are_refused(tmp_path, name, text, words):
    folder = profile(tmp_path, **{name: text})
    assert words in message_of(read_profile, folder, LLAMA, ServingSettings())


def test_the_roofline_never_beats_the_data_sheet():
    """Weights are read once an iteration, two operations a weight and token; two GPUs are faster than one."""
    for name in MODELS:
        for gpu in GPUS.values():
            model, costs = MODELS[name], roofline(MODELS[name], gpu, ServingSettings())
            weights = model.parameters - model.vocab * model.hidden * 2
            assert costs.dense[1] > 2 * weights / (gpu.bandwidth_gbs * 1e9)
            assert costs.dense[2048] > 2 * weights * 2048 / (gpu.tflops * 1e12)
            assert (np.diff(costs.dense) >= 0).all()
            two = roofline(model, gpu, ServingSettings(tensor_parallel_size=2))
            assert (
                two.dense[2048]
                < costs.dense[2048] + all_reduces(model, ServingSettings(tensor_parallel_size=2), 2048)[-1]
            )


def test_the_roofline_is_near_the_profile():
    """Nothing was fitted to this GPU: decoding within 30 %, prompts within 45 %."""
    real, guess = (
        make(LLAMA, ServingSettings())
        for make in (lambda *a: read_profile(PROFILE, *a), lambda model, s: roofline(model, GPUS["rtx4090"], s))
    )
    for batch, within in (((1, 1, (1, 512)), 0.3), ((64, 64, (64, 1024)), 0.3), ((2048, 1, None, [(2048, 0)]), 0.45)):
        assert of_model(guess, *batch) == pytest.approx(of_model(real, *batch), rel=within)
