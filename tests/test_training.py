"""Trainings as runs in a folder: resumed, killed, locked, checked before they go on, and from the command line."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from test_ppo import CANDIDATES, JOBSHOP, QUICK, SMALL, network

import orl
from orl import cli
from orl.errors import InputError
from orl.learn import checkpoint
from orl.learn.forms import NetworkSettings, deciding
from orl.learn.networks import make_network
from orl.learn.training import Source, Training
from orl.problems.jobshop.kernels_candidates import NUM_COLUMNS
from orl.registry import find_problem
from orl.scenario import Purpose, generator
from orl.solver import Control
from orl.solvers.ppo.play import play
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner


def test_policies_of_several_seeds_are_judged_on_the_same_instances():
    """Shops and breakdowns of validation are those of any seed, those of training are not."""
    settings = {"buffers": "swap", "breakdowns": {"probability": 0.1}}
    first, second = (Source(JOBSHOP, replace(SMALL, seed=seed, instance=settings)) for seed in (0, 1))

    def told(drawn):
        played = play(JOBSHOP, narrow, CANDIDATES, drawn.instances, drawn.scenarios, None)
        return [shop.durations for shop in drawn.instances], played.totals.tolist()

    narrow = make_network(NetworkSettings(inputs=NUM_COLUMNS, width=4))
    assert told(first.validation[0]) == told(second.validation[0])
    shops = [source.draw(generator(source.recipe.seed, Purpose.TRAIN, 0), 0, 2) for source in (first, second)]
    assert told(shops[0]) != told(shops[1])


def trained(folder, resume=False, stop_at=None, seed=0, **changed):
    settings = {**QUICK, **changed}
    recipe = replace(SMALL, seed=seed, training=settings)
    learner = PpoLearner(JOBSHOP, recipe, PpoSettings(**settings))
    training = Training(learner, recipe, settings["iterations"], folder, resume)

    class Stop(Control):
        @property
        def should_stop(self):
            return training.done == stop_at

    training.run(Stop())
    return checkpoint.load(folder / "last")


@pytest.mark.parametrize(
    "changed",
    [{}, {"baseline": "critic"}, {"baseline": "critic", "critic": "dual"},
     {"self_labelling": 3}, {"extremes": 1}, {"taught": 3}, {"encoder": "plain"},
     {"taught": 4, "lessons": 2},
     {"baseline": "critic", "critic": "dual", "taught": 3},
     {"encoder": "graph"}, {"encoder": "graph-once"}],
    ids=str,
)  # fmt: skip
def test_equal_seeds_give_equal_weights_and_a_resumed_run_those_of_an_uninterrupted_one(changed, tmp_path):
    whole, about = trained(tmp_path / "whole", **changed)
    trained(tmp_path / "part", stop_at=2, **changed)
    again, about_again = trained(tmp_path / "part", resume=True, **changed)
    assert whole.keys() == again.keys() and all((whole[name] == again[name]).all() for name in whole)
    assert (about["validation"], about["best"]) == (about_again["validation"], about_again["best"])
    lines = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "part")]
    columns_kept = [[line.split(",")[3:] for line in text] for text in lines]  # not the times
    assert columns_kept[0] == columns_kept[1] and len(lines[0]) == 5
    other, _ = trained(tmp_path / "other", seed=1, **changed)
    assert any((whole[name] != other[name]).any() for name in whole)


def test_a_stop_between_two_validations_loses_nothing(tmp_path):
    """A stop at iteration 1 leaves a checkpoint of it; what is resumed ends as if nothing had happened."""
    whole, about = trained(tmp_path / "whole")
    trained(tmp_path / "part", stop_at=1)
    assert checkpoint.load(tmp_path / "part" / "last")[1]["iteration"] == 1 and not (tmp_path / "part/best").exists()
    again, about_again = trained(tmp_path / "part", resume=True)
    assert all((whole[name] == again[name]).all() for name in whole)
    assert about["best"] == about_again["best"]


@pytest.mark.parametrize("writes", [0, 1])
def test_a_kill_while_a_checkpoint_is_written_leaves_the_old_one(writes, tmp_path, monkeypatch):
    """Whichever file is the last that is written."""
    _, weights = network()
    checkpoint.save(tmp_path, weights, {"iteration": 1})
    left = iter(range(writes))

    def write(path, content, right=checkpoint.write_atomically):
        next(left)  # StopIteration is the kill
        right(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", write)
    with pytest.raises(StopIteration):
        checkpoint.save(tmp_path, {name: 2 * array for name, array in weights.items()}, {"iteration": 2})
    arrays, about = checkpoint.load(tmp_path)
    assert about["iteration"] == 1 and all((arrays[name] == weights[name]).all() for name in weights)


def test_a_folder_is_not_trained_over(tmp_path):
    trained(tmp_path, stop_at=2)
    with pytest.raises(InputError, match="holds a training already; go on with --resume"):
        trained(tmp_path)
    with pytest.raises(InputError, match="was trained by another recipe"):
        trained(tmp_path, resume=True, seed=5)


def test_a_folder_is_trained_by_one_at_a_time(tmp_path):
    """Another process that has it keeps this one out, until it ends."""
    holds = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(); input()"
    command = [sys.executable, "-u", "-c", holds, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match="another training is writing to it"):
            trained(tmp_path)
        other.kill()
    assert trained(tmp_path, stop_at=1)[1]["iteration"] == 1


def test_a_kill_before_the_first_checkpoint_is_resumed_from_the_beginning(tmp_path):
    """Weights without what tells of them are none; files that were being written are swept away."""
    (tmp_path / "last").mkdir()
    left = [tmp_path / "last/weights-00000000.safetensors", tmp_path / "last/.orl-1", tmp_path / ".orl-2"]
    for path in left:
        path.write_bytes(b"half")
    trained(tmp_path, resume=True, stop_at=1)
    assert not any(path.exists() for path in left)


def test_a_training_of_a_version_that_did_not_name_the_method_goes_on(tmp_path):
    """Its recipe is the same but for the method, which nobody said."""
    trained(tmp_path, stop_at=2)
    path = tmp_path / "last" / checkpoint.ABOUT
    about = json.loads(path.read_text())
    del about["recipe"]["method"]
    path.write_text(json.dumps(about))
    assert trained(tmp_path, resume=True, stop_at=3)[1]["iteration"] == 3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("iteration", "x", "iteration"), ("iteration", -1, "iteration >= 1"), ("iteration", 7, "a line for each of the 7"),
     ("best", None, "best"), ("best", float("nan"), "a best value"), ("seconds", [], "seconds"),
     ("recipe", None, "another recipe"), ("sha256", "0", "its checksum"), ("weights", "no.safetensors", "is missing"),
     ("weights", 5, "is missing"), ("format", 9, "of format 1")],
)  # fmt: skip
def test_what_is_told_of_a_checkpoint_is_checked_before_a_training_goes_on(key, value, message, tmp_path):
    trained(tmp_path, stop_at=2)
    path = tmp_path / "last" / checkpoint.ABOUT
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(InputError, match=message):
        trained(tmp_path, resume=True)


def forged(folder, change):
    """Write a checkpoint anew with other weights, so that its checksum holds."""
    arrays, about = checkpoint.load(folder)
    checkpoint.save(folder, change(arrays), {k: v for k, v in about.items() if k not in ("weights", "sha256")})


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda a: {**a, "score.weight": a["score.weight"][:, :-1]}, r"score.weight must have the shape"),
     (lambda a: {k: v for k, v in a.items() if k != "score.weight"}, "expected weights score.weight"),
     (lambda a: {**a, "score.weight": a["score.weight"] * np.nan}, "score.weight must be finite, got nan"),
     (lambda a: {**a, "optimiser.exp_avg.0": np.zeros(3)}, "optimiser.exp_avg.0"),
     (lambda a: {**a, "optimiser.fall.0": np.zeros(3)}, "optimiser.fall.0"),
     (lambda a: {**a, "optimiser.exp_avg.999": np.zeros(3)}, "optimiser.exp_avg.999"),
     (lambda a: {**a, "spread": np.zeros((2, 2))}, "spread")],
)  # fmt: skip
def test_weights_of_another_form_are_refused_before_a_training_goes_on(change, message, tmp_path):
    trained(tmp_path, stop_at=2)
    forged(tmp_path / "last", change)
    with pytest.raises(InputError, match=message):
        trained(tmp_path, resume=True)


@pytest.mark.parametrize("encoder", ["candidates", "plain", "graph", "graph-once"])
def test_what_decides_has_the_shapes_that_torch_gives_it(encoder):
    """All weights but those of critics, by name and shape, known without torch."""
    form = NetworkSettings(encoder, inputs=5, nodes=3, relations=2, outputs=(2, 4), width=6, layers=2, graph_layers=3)
    made = {name: tuple(tensor.shape) for name, tensor in make_network(form).state_dict().items()}
    assert deciding(form) == {name: shape for name, shape in made.items() if "critic" not in name}


def test_a_forged_checkpoint_decides_nothing(tmp_path):
    """Whatever was changed in weights or in what is told of them, checksum mended: one line."""
    trained(tmp_path, stop_at=1)
    whole, about = checkpoint.load(tmp_path / "last")
    about = {key: value for key, value in about.items() if key not in ("weights", "sha256")}
    network = about["network"]
    cases = [
        ({k: v for k, v in whole.items() if k != "score.bias"}, {}, "expected weights score.bias"),
        ({**whole, "first.weight": whole["first.weight"][:, 1:]}, {}, "first.weight must have the shape"),
        ({**whole, "first.weight": np.full_like(whole["first.weight"], np.inf)}, {}, "first.weight must be finite"),
        ({**whole, "first.bias": whole["first.bias"].astype(int)}, {}, "first.bias must be floating point"),
        (whole, {"network": None}, "expected settings, got None"),
        (whole, {"network": {**network, "encoder": "deep"}}, "expected candidates or plain"),
        (whole, {"network": {**network, "layers": 10**9}}, "layers must be in 1..64"),
        (whole, {"network": {**network, "inputs": -1}}, "inputs must be >= 0"),
        (whole, {"network": {**network, "widht": 8}}, "did you mean width"),
        (whole, {"network": {**network, "encoder": "plain"}}, "expected weights actor.0.weight"),
        (whole, {"instance": 5}, "expected settings of instances"),
        (whole, {"problem": "lotsizing"}, "a policy for lotsizing"),
    ]
    for number, (weights, told, message) in enumerate(cases):
        folder = tmp_path / str(number)
        checkpoint.save(folder, weights, {**about, **told})
        with pytest.raises(InputError, match=message):
            orl.solve("jobshop/ft06", "ppo", settings={"checkpoint": str(folder)})


def test_a_training_that_leaves_the_numbers_ends_in_one_line(tmp_path, monkeypatch):
    """What was kept before stays; settings that alone would lead there are refused."""

    def lost(learner, number, iterate=PpoLearner.iterate):
        said = iterate(learner, number)
        if number == 1:
            learner.network.score.bias.data.fill_(math.nan)
        return said

    monkeypatch.setattr(PpoLearner, "iterate", lost)
    with pytest.raises(InputError, match="iteration 1: weights are not finite any more"):
        trained(tmp_path, iterations=4)
    assert not (tmp_path / "last").exists() or checkpoint.load(tmp_path / "last")
    for key in ("learning_rate", "clip", "max_gradient"):
        for value in (0.0, math.inf, 1e300):
            with pytest.raises(ValueError, match=f"{key} must be > 0 and below"):
                PpoSettings(**{key: value})


SHORT = (
    'method = "ppo"\nproblem = "jobshop"\nsizes = [{jobs = 4, machines = 3}]\nvalidation = [{jobs = 4, machines = 3}]\n'
)


def test_train_from_the_command_line(tmp_path, capsys):
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'method = "ppo"\nproblem = "jobshop"\nsizes = [{jobs = 4, machines = 3}]\n'
        "validation = [{jobs = 4, machines = 3}]\nvalidation_instances = 2\nvalidate_every = 1\n"
        '[instance]\ndispatch = "active"\n'
        "[training]\nwidth = 8\niterations = 2\ninstances = 2\nsamples = 2\n"
    )
    out = str(tmp_path / "run")
    assert cli.main(["train", str(recipe), "--out", out]) == 0
    assert "best policy" in capsys.readouterr().out
    assert cli.main(["train", str(recipe), "--out", out, "--set", "training.iterations=3", "--resume"]) == 2
    assert cli.main(["solve", "jobshop/ft06", "--solver", "ppo", "--set", f"checkpoint={out}/best", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["verified"] and result["value"] >= 55
    assert checkpoint.load(tmp_path / "run/last")[1]["recipe"]["method"] == "ppo"
    assert "Method ppo, family jobshop; the checkpoint is of iteration 2." in orl.write_report(out).read_text()
    for text, message in [
        ('problem = "jobshop"\n', "expected method = a name"),
        ('method = "spt"\nproblem = "jobshop"\n', "spt is not trained by recipes"),
        ('method = "ppo"\nproblem = "jobshop"\nsizes = []\nvalidation = []\n', "must each name one size or more"),
        ('method = "ppo"\nproblem = "jobshop"\nsise = []\nsizes=[]\nvalidation=[]\n', "sise"),
        (
            'method = "ppo"\nproblem = "jobshop"\nsizes=[{jobs=3,machines=3}]\nvalidation=[{jobs=3,machines=3}]\n'
            '[training]\nencoder = "plane"\n',
            "encoder",
        ),
        (SHORT + "training = 5\n", "training: expected"),
        (SHORT + "seed = -1\n", "seed must be in 0.."),
        (SHORT + "curriculum = -1\n", "curriculum must be in 0.."),
        (SHORT + "validation_instances = 9223372036854775807\n", "validation_instances must be in 1..100000"),
        (SHORT + "[training]\nwidth = 1000000000\n", "width must be in 1..16384"),
        (SHORT + "[training]\ninstances = 1000000000\n", "environments at most"),
        (SHORT + "[training]\ntaught = -1\n", "taught must be >= 0"),
        (SHORT + "[training]\nepochs = 2147483648\n", "epochs must be at most 1000"),
        (SHORT + "[training]\nentropy = nan\n", "training.entropy: expected a number"),
        (SHORT.replace("jobs = 4", "jobs = 1000000000"), "their product at most"),
        (SHORT.replace("jobs = 4", "jobs = -4"), "sizes must be >= 0"),
    ]:
        recipe.write_text(text)
        assert cli.main(["train", str(recipe), "--out", str(tmp_path / "no")]) == 2
        assert message in capsys.readouterr().err


def test_a_recipe_is_changed_where_it_says_nothing_of_the_kind(tmp_path, capsys):
    """`--set training.width=8` on a recipe whose training is a number: what is set counts."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(SHORT + "training = 5\n")
    assert cli.main(["train", str(recipe), "--set", "training.width=0", "--out", str(tmp_path / "no")]) == 2
    assert "width must be in 1..16384, got 0" in capsys.readouterr().err


def test_pdppo_is_ppo_with_two_critics_unless_the_recipe_says_otherwise(tmp_path):
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'method = "pdppo"\nproblem = "lotsizing"\nvalidation_instances = 2\n'
        "sizes = [{items = 3, machines = 2, periods = 5}]\nvalidation = [{items = 3, machines = 2, periods = 5}]\n"
        "[training]\nwidth = 8\niterations = 1\ninstances = 2\nsamples = 2\n"
    )
    for told, has_post_critic in (({}, True), ({"training": {"critic": "single"}}, False)):
        folder = orl.train(recipe, tmp_path / str(has_post_critic), told)
        weights, about = checkpoint.load(folder / "best")
        assert about["network"]["has_post_critic"] == any("post." in name for name in weights) == has_post_critic
        settings = {"checkpoint": str(folder / "best")}
        plant = find_problem("lotsizing").draw(np.random.default_rng(0), items=5, machines=3, periods=8)
        assert orl.solve(plant, "pdppo", settings=settings, scenarios=3).verified, "of a larger size, too"
    with pytest.raises(InputError, match="no policy of pdppo comes with jobshop"):
        orl.solve("jobshop/ft06", "pdppo")
