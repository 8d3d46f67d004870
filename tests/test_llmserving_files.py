"""LLM serving: readers and what they say of bad files, hardware, cost models, generators, streams, bounds."""

import csv
import json

import numpy as np
import pytest

from orl import api
from orl.errors import InputError
from orl.files import find_instance, instance_folder, packaged_instances
from orl.problems.llmserving import scenario as drawing
from orl.problems.llmserving.formats import describe, load, save, sniff
from orl.problems.llmserving.generate import ANSWER_S
from orl.problems.llmserving.hardware import GPUS, MODELS, blocks_that_fit, find_gpu, read_model
from orl.problems.llmserving.instance import Generator, Requests, Serving, ServingSettings
from orl.problems.llmserving.profiles import all_reduces, find_profile, read_profile, roofline
from orl.problems.llmserving.workloads import read_requests
from orl.scenario import Purpose, Scenarios

HERE = instance_folder("llmserving")
PACKAGED = sorted(path.stem for path in HERE.glob("*.toml"))
PROFILE = HERE / "profiles" / "rtx4090-llama-3.1-8b"
LLAMA = MODELS["llama-3.1-8b"]


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def message_of(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


CONFIG = {"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
          "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
          "torch_dtype": "bfloat16"}  # fmt: skip


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


SMALL = {
    "dense.csv": "layer,tokens,time_us\nembedding,1,1\nembedding,1024,1\nlayernorm,1,2\nlayernorm,1024,2\n"
    "mlp,1,10\nmlp,1000,1009\nmlp,1024,1033\n",
    "attention.csv": "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n16,0,0,0,4\n16,16,0,0,6\n32,0,0,0,10\n"
    "16,64,0,0,5\n0,0,1,16,3\n0,0,1,32,5\n0,0,4,16,9\n0,0,8,16,12\n16,0,1,16,99\n",
    "per_sequence.csv": "layer,sequences,time_us\nsampler,1,7\nsampler,4,10\n",
}


def profile(folder, **changes):
    for name, text in SMALL.items():
        write(folder, name, changes.get(name.removesuffix(".csv"), text))
    return folder


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


# Requests -----------------------------------------------------------------------------------------------------------


def requests_of(folder, text, name="requests.csv", **settings):
    return read_requests(write(folder, name, text), ServingSettings(**settings))


def test_plain_columns(tmp_path):
    text = (
        "arrival_s,input_tokens,output_tokens,client,priority,weight,note\n"
        "0.5,10,3,bob,2,1.5,x\n\n1.5,20,4,eve,0,1,y\n2,5,1,bob,-1,2,z\n"
    )
    requests = requests_of(tmp_path, text)
    assert requests.arrival.tolist() == [0.5, 1.5, 2]
    assert (requests.prompt.tolist(), requests.output.tolist()) == ([10, 20, 5], [3, 4, 1])
    assert (requests.client.tolist(), requests.priority.tolist()) == ([0, 1, 0], [2, 0, -1])
    assert (requests.weight.tolist(), requests.parent.tolist()) == ([1.5, 1, 2], [-1, -1, -1])


def test_first_requests_and_rate(tmp_path):
    """Four requests a second apart, the first at 5 s: at 2 a second the last arrives after 4 / 2 s."""
    text = "arrival_s,input_tokens,output_tokens\n" + "".join(f"{5 + row},1,1\n" for row in range(6))
    requests = requests_of(tmp_path, text, requests=4, rate=2.0)
    assert requests.arrival.tolist() == pytest.approx([0, 2 / 3, 4 / 3, 2])
    once = "arrival_s,input_tokens,output_tokens\n1,1,1\n"
    assert "all requests arrive at once" in message_of(lambda: requests_of(tmp_path, once, rate=1.0))


def test_unsorted_requests_are_sorted_and_a_note_says_so(tmp_path, capsys):
    text = "arrival_s,input_tokens,output_tokens,parent\n3,30,1,2\n1,10,1,\n2,20,1,1\n"
    requests = requests_of(tmp_path, text)
    assert requests.prompt.tolist() == [10, 20, 30]
    assert requests.parent.tolist() == [-1, 0, 1]
    assert requests.shared.tolist() == [0, 11, 21]
    assert "were not sorted" in capsys.readouterr().err
    assert "must be an integer" in message_of(lambda: requests_of(tmp_path, text.replace("10,1", "10,0")))
    assert "were not sorted" not in capsys.readouterr().err  # one line says what is wrong


def test_azures_own_form_and_the_renamed_one(tmp_path):
    moments = ("2023-11-16 23:59:59.9805900", "2023-11-17 00:00:00.0325999")
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n{},4808,10\n{},3180,8\n".format(*moments)
    requests = requests_of(tmp_path, text)
    assert requests.arrival.tolist() == pytest.approx([0, 0.0520099], abs=1e-9)
    assert requests.prompt.tolist() == [4808, 3180]
    renamed = requests_of(tmp_path, "arrival_s,context_tokens,generated_tokens\n0.0,4808,10\n0.052,3180,8\n")
    assert renamed.output.tolist() == [10, 8]


def test_mooncakes_own_form(tmp_path):
    """The third begins with two blocks of the second, the first of which the first has, too; the fourth with all."""
    lines = [(0, 1100, 5, [1, 2, 3]), (500, 1000, 6, [1, 9]), (1000, 1500, 7, [1, 9, 8]), (1500, 1300, 1, [1, 9, 8]),
             (2000, 100, 1, [77])]  # fmt: skip
    text = "\n".join(json.dumps(dict(zip(("timestamp", "input_length", "output_length", "hash_ids"), row, strict=True)))
                     for row in lines)  # fmt: skip
    requests = requests_of(tmp_path, text, "trace.jsonl")
    assert requests.arrival.tolist() == [0, 0.5, 1, 1.5, 2]
    assert requests.parent.tolist() == [-1, 0, 1, 2, -1]
    assert requests.shared.tolist() == [0, 512, 1006, 1300, 0]  # 1006 is all of the second
    path = tmp_path / "trace.jsonl"
    assert sniff(path, path.read_bytes())
    assert load(path).num_requests == 5


def test_mooncake_as_a_table(tmp_path):
    text = (
        "timestamp_ms,input_length,output_length,n_blocks512,shared_prefix_blocks512,parent_index,conversation_index,turn\n"
        "0,6758,500,14,0,-1,0,1\n0,7322,490,15,1,-1,1,1\n3000,7300,9,15,14,0,0,2\n"
    )
    requests = requests_of(tmp_path, text)
    assert requests.arrival.tolist() == [0, 0, 3]
    assert (requests.parent.tolist(), requests.shared.tolist()) == ([-1, -1, 0], [0, 0, 14 * 512])


SHARED = "arrival_s,input_tokens,vllm_output_tokens,shared_prefix_blocks16\n"
SHARED += "0,100,5,0\n1,20,5,0\n2,90,5,2\n3,64,5,4\n4,200,5,9\n"


@pytest.mark.parametrize(
    ("which", "parents"), [("latest", [0, 2, -1]), ("earliest", [0, 0, -1]), ("none", [-1, -1, -1])]
)
def test_who_holds_a_shared_prefix(tmp_path, which, parents):
    requests = requests_of(tmp_path, SHARED, shared_prefix=which)
    assert requests.parent[2:].tolist() == parents
    assert requests.shared[2:].tolist() == [
        tokens if parent >= 0 else 0 for tokens, parent in zip((32, 64, 0), parents, strict=True)
    ]


def test_random_holders_are_drawn_by_row(tmp_path):
    requests = requests_of(tmp_path, SHARED)
    assert requests.parent[2] == 0
    assert requests.parent[3] == [0, 2][np.random.default_rng([0, 3]).integers(2)]
    assert requests.parent[4] == -1


def test_conversations_in_a_file(tmp_path):
    text = (
        "arrival_s,input_tokens,output_tokens,conversation,turn\n0,10,5,a,1\n1,10,5,b,1\n2,30,5,a,2\n3,12,5,b,2\n"
        "4,50,5,a,3\n5,50,5,,1\n"
    )
    requests = requests_of(tmp_path, text)
    assert requests.parent.tolist() == [-1, -1, 0, 1, 2, -1]
    assert requests.shared.tolist() == [0, 0, 15, 12, 35, 0]
    given = text.replace("turn\n", "turn,shared_prefix_tokens\n").replace(",1\n", ",1,\n").replace(",2\n", ",2,8\n")
    assert requests_of(tmp_path, given.replace(",3\n", ",3,9\n")).shared.tolist() == [0, 0, 8, 8, 9, 0]


HEAD = "arrival_s,input_tokens,output_tokens"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("arrival_s,input_tokens\n0,1\n", "line 1: expected a column output_tokens or"),
        ("", "line 1: expected a column arrival_s or"),
        (f"{HEAD}\n", "expected requests below the header"),
        (f"{HEAD}\n0,-3,1\n", "line 2: input_tokens must be an integer in 1.."),
        (f"{HEAD}\n0,3,1\n1,2.5,1\n", "line 3: input_tokens must be an integer in 1..16777216, got '2.5'"),
        (f"{HEAD}\n0,3,0\n", "line 2: output_tokens must be an integer"),
        (f"{HEAD}\nx,3,1\n", "line 2: arrival_s must be a number >= 0, got 'x'"),
        (f"{HEAD}\nnan,3,1\n", "line 2: arrival_s must be a number >= 0"),
        (f"{HEAD}\n-1,3,1\n", "line 2: arrival_s must be a number >= 0, got '-1'"),
        (f"{HEAD}\n0,3\n", "line 2: expected 3 entries, got 2"),
        (f"{HEAD},weight\n0,3,1,0\n", "line 2: weight must be a number > 0, got '0'"),
        (f"{HEAD},parent\n0,3,1,0\n", "line 2: parent must be the row, from 0, of a request that arrives earlier"),
        (f"{HEAD},parent\n0,3,1,7\n", "line 2: parent must be an integer in -1..0, got '7'"),
        (f"{HEAD},shared_prefix_tokens\n0,3,1,0\n1,3,1,4\n", "line 3: shared_prefix_tokens must be at most"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1\n", "line 2: TIMESTAMP must be a date such as"),
    ],
)  # fmt: skip
def test_requests_that_are_refused(tmp_path, text, words):
    message = message_of(requests_of, tmp_path, text)
    assert words in message
    assert message.startswith(str(tmp_path / "requests.csv"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{"timestamp": 0, "input_length": 5}',
            "line 1: expected timestamp, input_length and output_length; output_length",
        ),
        ('{"timestamp": 0, "input_length": 5, "output_length": "many"}', "line 1: output_length must be an integer"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": 3}', "hash_ids must be a list"),
        ("[1]", "line 1: expected an object"),
        ("{", "line 1: expected JSON"),
    ],
)
def test_lines_of_json_that_are_refused(tmp_path, text, words):
    assert words in message_of(requests_of, tmp_path, text, "trace.jsonl")


# Instances ----------------------------------------------------------------------------------------------------------


def check_files(instance, folder):
    """What was written is recognised, and the same when it is written again."""
    save(instance, folder / "instance.toml")
    path = folder / "instance.toml"
    assert sniff(path, path.read_bytes()[: 2**18])
    again = load(path)
    save(again, folder / "again.toml")
    assert path.read_text() == (folder / "again.toml").read_text()
    return again


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_instances(name, tmp_path):
    path = HERE / f"{name}.toml"
    assert sniff(path, path.read_bytes())
    instance = load(
        path, {} if name in ("poisson", "conversations", "crowded", "theory-40") else {"requests": 60, "rate": 3.0}
    )
    assert instance.name == name
    assert "KV cache" in describe(instance)
    check_files(instance, tmp_path)


@pytest.mark.parametrize(("last", "rate"), [("2000", "1 a second"), ("1e-310", "all at once"), ("0", "all at once")])
def test_a_rate_is_told_where_there_is_one(tmp_path, last, rate):
    file = tmp_path / "two.jsonl"
    file.write_text(
        '{"timestamp": 0, "input_length": 3, "output_length": 2}\n'
        f'{{"timestamp": {last}, "input_length": 3, "output_length": 2}}\n'
    )
    with np.errstate(over="raise"):
        assert rate in describe(load(file))


@pytest.mark.parametrize(("clock", "unit"), [("seconds", "second"), ("rounds", "round")])
def test_the_rate_of_a_law_is_told_in_the_unit_of_the_clock(clock, unit):
    server = api.load("llmserving/crowded", settings={"clock": clock})
    assert f"(poisson, 10 a {unit}, mean prompt 200" in describe(server)


def test_packaged_names():
    """The folder of profiles is no instance, and tables of requests do not stand in the way of the TOML."""
    assert sorted(packaged_instances("llmserving")) == [f"llmserving/{name}" for name in PACKAGED]
    assert find_instance("llmserving/arena-27", ["llmserving"]).name == "arena-27.toml"


def test_the_real_run():
    instance = load(HERE / "sharegpt-rtx4090.toml")
    assert (instance.num_requests, instance.num_blocks, instance.block_bytes, instance.pieces) == (300, 2587, 2**21, 64)
    assert instance.cpu_blocks == 2048
    assert (instance.source.parent >= 0).sum() == 32


def test_settings_override_the_file():
    path = HERE / "sharegpt-rtx4090.toml"
    assert load(path, {"num_gpu_blocks_override": 3001}).num_blocks == 3000
    assert load(path, {"clock": "rounds"}).num_blocks == 2587 * 16
    assert load(path, {"profile": ""}).costs.dense[1] != load(path).costs.dense[1]
    assert (load(path, {"shared_prefix": "none"}).source.parent == -1).all()
    generated = load(HERE / "poisson.toml", {"requests": 7, "rate": 3})
    assert (generated.source.count, generated.source.rate) == (7, 3.0)


def test_what_a_file_says_outright_holds_until_its_cause_is_set(tmp_path):
    """Saved files carry blocks and costs; another model, or other blocks, are worked out anew."""
    save(load(HERE / "sharegpt-rtx4090.toml", {"requests": 5}), tmp_path / "saved.toml")
    path = tmp_path / "saved.toml"
    assert load(path).num_blocks == 2587
    assert load(path, {"num_gpu_blocks_override": 1001}).num_blocks == 1000
    assert load(path, {"block_size": 32}).num_blocks == 2587 // 2
    assert load(path, {"block_size": 32}).block_bytes == 2**22
    assert load(path, {"swap_space": 8}).cpu_blocks == 4096
    other = load(path, {"profile": "", "gpu": "h100-sxm", "num_gpu_blocks_override": 0})
    assert other.num_blocks > 2587
    assert other.costs.dense[1] < load(path).costs.dense[1]
    assert "'rtx5091' is unknown" in message_of(load, path, {"gpu": "rtx5091"})  # though a profile gives the times


def test_paths_are_relative_to_the_file(tmp_path):
    profile(tmp_path / "times")
    write(tmp_path, "model/config.json", json.dumps(CONFIG))
    write(tmp_path, "in/requests.csv", f"{HEAD}\n0,3,4\n")
    text = 'requests = "in/requests.csv"\n[options]\nprofile = "times"\nmodel = "model"\ngpu = "a100-40g"\n'
    instance = load(write(tmp_path, "mine.toml", 'problem = "llmserving"\n' + text))
    assert (instance.name, instance.num_requests, len(instance.costs.sequence)) == ("mine", 1, 5)


def test_low_level_fields(tmp_path):
    text = """
    num_blocks = 9
    cpu_blocks = 0
    [requests]
    arrival = [0, 1.5]
    prompt = [3, 4]
    output = [5, 5]
    [options]
    block_size = 1
    [costs]
    dense = [0, 1]
    sequence = [0, 0]
    chunk = [0, 1]
    past = [0, 1]
    prefill = [[0, 0], [0, 0]]
    count = [0, 1]
    context = [0, 1]
    decode = [[0, 0], [0, 0]]
    """
    instance = load(write(tmp_path, "low.toml", 'problem = "llmserving"\n' + text))
    assert (instance.num_blocks, instance.cpu_blocks) == (9, 0)
    assert instance.costs.dense.tolist() == [0, 1]
    assert instance.source.weight.tolist() == [1, 1]
    check_files(instance, tmp_path)


INLINE = "[requests]\narrival = [0]\nprompt = [3]\noutput = [4]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("num_block = 3\n" + INLINE, "line 1: num_block: unknown; did you mean num_blocks"),
        ("", "expected either requests"),
        ("[generator]\n" + INLINE, "expected either requests"),
        ('problem = "jobshop"\n' + INLINE, "line 1: problem: expected 'llmserving'"),
        ("name = 3\n" + INLINE, "line 1: name must be text"),
        ("num_blocks = 0\n" + INLINE, "num_blocks must be >= 1, got 0"),
        ("num_blocks = 1.5\n" + INLINE, "line 1: num_blocks must be an integer"),
        (INLINE.replace("[4]", "[-4]"), "line 4: output must be in 1..16777216, got -4 at request 0"),
        (INLINE.replace("[4]", "[4, 5]"), "output must have 1 entries"),
        (INLINE.replace("[4]", '["x"]'), "requests: output must be a list of integers"),
        (INLINE.replace("[4]", "4"), "requests: output must be a list of integers"),
        (INLINE.replace("output", "outputs"), "requests: output is missing"),
        (INLINE + "wait = [1]\n", "line 5: requests: wait is unknown"),
        (INLINE + "[options]\nclock = 'days'\n", "setting clock: expected seconds or rounds, got 'days'"),
        (INLINE + "[options]\nblocksize = 3\n", "unknown setting 'blocksize'; did you mean block_size"),
        (INLINE + "[options]\nmodel = 'lama'\n", "model: there is no file and no model 'lama'"),
        (INLINE + "[options]\nmax_num_seqs = 4096\n", "max_num_seqs must not exceed max_num_batched_tokens"),
        (INLINE + "[costs]\ndense = [0, 1]\n", "costs: sequence is missing"),
        ("options = 3\n" + INLINE, "line 1: options must be a table"),
        ('requests = "none.csv"\n', "there is no such file"),
        ("requests = 3\n", "requests must be a table"),
        ("[generator]\nrates = 3\n", "unknown setting 'rates'; did you mean rate"),
        ("[generator]\nrate = -3\n", "rate must be in 1e-06..16777215, got -3"),
        ("[generator]\nrate = 1e-320\n", "rate must be in 1e-06..16777215"),
        ("num_blocks = 9\n[generator]\n", "do not fit the KV cache"),
        ("num_blocks = 1\n[options]\nblock_size = 4\n" + INLINE, "needs 7 tokens of KV cache"),
        ("x = [\n", "expected TOML"),
    ],
)
def test_files_that_are_refused(tmp_path, text, words):
    path = write(tmp_path, "bad.toml", text)
    message = message_of(load, path)
    assert words in message
    assert str(tmp_path) in message


def test_requests_alone_are_an_instance(tmp_path):
    path = write(tmp_path, "mine.csv", f"{HEAD}\n0,3,4\n1,4,5\n")
    assert sniff(path, path.read_bytes())
    assert not sniff(path, b"a,b\n")
    instance = load(path, {"gpu": "l40s", "requests": 1})
    assert (instance.name, instance.num_requests) == ("mine", 1)
    check_files(instance, tmp_path)
    assert "ending in .toml" in message_of(save, instance, tmp_path / "x.csv")
    assert "found a folder" in message_of(load, tmp_path)
    assert "leaves no room" in message_of(load, path, {"model": "llama-3.1-70b"})


# What is drawn ------------------------------------------------------------------------------------------------------


def serving(law=None, **settings):
    return load(HERE / "poisson.toml", settings) if law is None else Serving(
        "drawn", law, drawing.tiny_costs(), num_blocks=2 * law.longest, cpu_blocks=0, block_bytes=1, pieces=1,
        settings=ServingSettings(**settings),
    )  # fmt: skip


def realised(law, row=0, **settings):
    instance = serving(law, **settings)
    return drawing.realise(instance, drawing.sample(instance, 0, Purpose.EVALUATE, row + 1)[row])


@pytest.mark.parametrize(("arrivals", "variation"), [("poisson", 1.0), ("bursty", 3.0)])
def test_rates_and_gaps(arrivals, variation):
    requests = realised(Generator(arrivals=arrivals, rate=4.0, count=20_000)).requests
    gaps = np.diff(requests.arrival, prepend=0)
    assert gaps.mean() == pytest.approx(0.25, rel=0.08)
    assert gaps.std() / gaps.mean() == pytest.approx(variation, rel=0.1)
    assert (requests.parent == -1).all()


def test_lengths():
    """Log-normal with the mean asked for, unless they are cut."""
    law = Generator(count=20_000, prompt_mean=300, output_mean=50, spread=0.5, clients=4)
    requests = realised(law).requests
    assert requests.prompt.mean() == pytest.approx(300, rel=0.02)
    assert requests.output.mean() == pytest.approx(50, rel=0.02)
    assert np.log(requests.prompt).std() == pytest.approx(0.5, rel=0.03)
    assert np.bincount(requests.client).tolist() == pytest.approx([5000] * 4, rel=0.05)
    cut = realised(Generator(count=2000, prompt_mean=300, spread=2.0, longest=400)).requests
    assert cut.prompt.max() == 400
    assert cut.output.min() >= 1


def test_conversations():
    """5.5 turns on average; a turn repeats the one before, answer included, and comes 30 s of thought later."""
    law = Generator(arrivals="conversations", rate=2.0, count=20_000, prompt_mean=50, output_mean=50, longest=4096)
    requests = realised(law).requests
    firsts = requests.parent == -1
    assert law.count / firsts.sum() == pytest.approx(5.5, rel=0.05)
    rows = np.flatnonzero(~firsts)
    before = requests.parent[rows]
    assert (
        requests.shared[rows] == np.minimum((requests.prompt + requests.output)[before], requests.prompt[rows])
    ).all()
    waits = requests.arrival[rows] - requests.arrival[before] - ANSWER_S * requests.output[before]
    assert waits.mean() == pytest.approx(30, rel=0.05)
    assert waits.min() >= -1e-9
    starts = requests.arrival[firsts]
    assert len(starts) / starts[-1] == pytest.approx(2.0 / 5.5, rel=0.05)
    assert (requests.client[rows] == requests.client[before]).all()


def test_rows_of_a_stream():
    """A row depends on seed, purpose and number; the engine's settings change nothing; a longer row begins the same."""
    law = Generator(count=100)
    one = realised(law).requests
    for other in (realised(law, max_num_seqs=4, block_size=1), realised(law, prediction_noise=0.5)):
        for name in Requests.__dataclass_fields__:
            assert (getattr(one, name) == getattr(other.requests, name)).all()
    assert (realised(Generator(count=200)).requests.prompt[:100] == one.prompt).all()
    assert (realised(law, row=1).requests.prompt != one.prompt).any()
    instance = serving(law)
    many = drawing.sample(instance, 0, Purpose.EVALUATE, 3)
    assert (many.values(2, 100) == drawing.sample(instance, 0, Purpose.EVALUATE, 3)[2].values(0, 300)[:128]).all()
    assert (drawing.sample(instance, 0, Purpose.TRAIN, 1).values(0, 100) != many.values(0, 100)).any()


def test_predictions_and_keys():
    law = Generator(count=20_000, output_mean=1000, spread=0.1)
    exact = realised(law)
    assert (exact.predicted == exact.requests.output).all()
    assert exact.priority_key == 0
    noisy = realised(law, prediction_noise=0.4, priorities="markov")
    errors = np.log(noisy.predicted / noisy.requests.output)
    assert (errors.mean(), errors.std()) == (pytest.approx(0, abs=0.01), pytest.approx(0.4, rel=0.02))
    assert noisy.predicted.min() >= 1
    assert 0 < noisy.priority_key < 2**64
    assert noisy.priority_key != realised(law, row=1, priorities="markov").priority_key


def test_a_file_without_noise_is_deterministic():
    instance = load(HERE / "theory-40.toml")
    assert drawing.realise(instance, Scenarios.deterministic()).requests is instance.source
    assert "it has 1 scenario, not 2" in message_of(drawing.sample, instance, 0, Purpose.EVALUATE, 2)
    noisy = load(HERE / "theory-40.toml", {"prediction_noise": 0.3})
    seen = drawing.realise(noisy, drawing.sample(noisy, 0, Purpose.EVALUATE, 2)[1])
    assert (seen.predicted != noisy.source.output).any()


@pytest.mark.parametrize("settings", [{}, {"clock": "rounds"}, {"enable_chunked_prefill": False}, {"overlap": True}])
def test_drawn_instances(settings, tmp_path):
    """They are short of room: together they need more than there is, each alone fits."""
    for seed in range(20):
        instance = drawing.draw(np.random.default_rng(seed), **settings)
        total = (instance.source.prompt + instance.source.output).sum()
        assert total > instance.num_blocks * instance.block_size
    check_files(instance, tmp_path)


def test_bounds():
    """Rounds: one for each token of output. Seconds: each iteration takes what one token and one request take."""
    theory = load(HERE / "theory-40.toml")
    assert drawing.bound(theory, Scenarios.deterministic()) == pytest.approx(theory.source.output.sum())
    instance = drawing.draw(np.random.default_rng(0))
    least = 0.0102 + 0.0001
    assert drawing.least_iteration(instance) == pytest.approx(least)
    weighed = float(instance.source.weight @ instance.source.output)
    assert drawing.bound(instance, Scenarios.deterministic()) == pytest.approx(weighed * least)


def test_a_bound_is_careful_where_tables_fall_beyond_their_points():
    instance = drawing.draw(np.random.default_rng(0))
    costs = {name: getattr(instance.costs, name) for name in instance.costs.__dataclass_fields__}
    falling = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    for changed in ({**costs, "decode": falling}, {**costs, "dense": [0.0, 1.0, 0.9]}):
        other = Serving("falling", instance.source, type(instance.costs)(**changed), 100, 0, 1, 1, ServingSettings())
        assert drawing.least_iteration(other) == 0
