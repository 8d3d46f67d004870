"""Mangled files: each is read, or refused in one line; how fast, the benchmark tells."""

import importlib
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import orl
from orl.errors import InputError
from orl.problems.clsp.instance import CapacitatedLotSizing
from orl.problems.hydrothermal.tables import read_json
from orl.problems.llmserving.hardware import read_model

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
robustness = importlib.import_module("robustness_files")


@pytest.mark.parametrize("name", robustness.BASES)
def test_a_mangled_file_is_read_or_refused(name, tmp_path):
    """Two hundred drawn ways of being wrong, in every format; the benchmark draws more."""
    place, file = robustness.prepared(name, tmp_path)
    family, data, rng = robustness.BASES[name][0], file.read_bytes(), np.random.default_rng(7)
    assert robustness.outcome(family, place) in ("read", "slow, read")
    found = Counter()
    for _ in range(200):
        file.write_bytes(robustness.mangled(data, rng))
        found[robustness.outcome(family, place).removeprefix("slow, ")] += 1  # a busy machine may be slow
    assert set(found) <= {"read", "refused"}, found
    assert found["refused"] > 20


def test_a_law_of_demand_whose_name_is_no_name_is_refused(tmp_path):
    """A list cannot even be looked up among the names."""
    place, file = robustness.prepared("lotsizing JSON", tmp_path)
    data = json.loads(file.read_text())
    for name in ([], {}, 5, None):
        data["demand_distribution"]["name"] = name
        file.write_text(json.dumps(data))
        with pytest.raises(InputError, match="name must be one of binomial"):
            orl.load(place)


def test_a_unit_time_next_to_zero_is_as_good_as_none():
    """1e-320 is a number; what could be made of it in a period is none, and demand is the limit."""
    table = {"demand": [[3.0], [4.0]], "capacity": [10.0, 10.0], "setup_times": [1.0], "setup_costs": [1.0],
             "holding_costs": [1.0]}  # fmt: skip
    with np.errstate(all="raise"):
        tiny, none = (
            CapacitatedLotSizing("x", unit_times=[time], **table).largest_lots.tolist() for time in (1e-320, 0.0)
        )
    assert tiny == none == [[7.0], [4.0]]


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5_000], ids=["nested", "long"])
@pytest.mark.parametrize("kind", ["state", "hydro", "model", "lots"])
def test_json_that_python_cannot_take_is_refused(kind, text, tmp_path):
    """Lists in lists a hundred thousand deep; a number of five thousand digits."""
    file = tmp_path / "wrong.json"
    file.write_text(text)
    read = {
        "state": lambda: orl.load("jobshop/ft06", settings={"state": str(file)}),
        "hydro": lambda: read_json(file),
        "model": lambda: read_model(str(file)),
        "lots": lambda: orl.load(file, problem="lotsizing"),
    }[kind]
    with pytest.raises(InputError, match=r"wrong\.json: (expected JSON|found JSON nested too deeply)"):
        read()


def test_what_is_quoted_from_a_file_is_on_one_line():
    assert str(InputError("x.csv, line 1: found a\nb\r\nc")) == "x.csv, line 1: found a b c"


@pytest.mark.parametrize(
    ("family", "setting", "value"),
    [
        ("hydrothermal/case3", "stages", 10**19),
        ("hydrothermal/brazil", "noise_samples", 10**9),
        ("llmserving/crowded", "num_gpu_blocks_override", 10**9),
        ("llmserving/crowded", "max_num_seqs", 10**9),
    ],
)
def test_a_size_that_no_memory_holds_is_refused(family, setting, value):
    with pytest.raises(InputError, match=r"at most|finite"):
        orl.load(family, settings={setting: value})
