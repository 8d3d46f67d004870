"""Requests that are drawn: laws of arrivals and lengths, conversations, predictions; and bounds of instances."""

import numpy as np
import pytest
from test_llmserving_files import HERE, check_files, message_of

from orl.problems.llmserving import scenario as drawing
from orl.problems.llmserving.formats import load
from orl.problems.llmserving.generate import ANSWER_S
from orl.problems.llmserving.instance import Generator, Requests, Serving, ServingSettings
from orl.scenario import Purpose, Scenarios


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
