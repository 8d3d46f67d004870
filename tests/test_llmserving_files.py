"""LLM serving: readers of requests and instances, and what they say of bad files."""

import json

import numpy as np
import pytest

from orl import api
from orl.errors import InputError
from orl.files import find_instance, instance_folder, packaged_instances
from orl.problems.llmserving.formats import describe, load, save, sniff
from orl.problems.llmserving.instance import ServingSettings
from orl.problems.llmserving.workloads import read_requests

HERE = instance_folder("llmserving")
PACKAGED = sorted(path.stem for path in HERE.glob("*.toml"))


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


CONFIG = {"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
          "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
          "torch_dtype": "bfloat16"}  # fmt: skip
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
