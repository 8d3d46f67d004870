"""Proximal policy optimisation: advantages by hand, one update, a problem with a known optimum, checkpoints."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_choice

import orl
from orl import api, cli
from orl.errors import InputError
from orl.learn import checkpoint, forward
from orl.learn.advantages import advantages
from orl.learn.networks import NetworkSettings, make_network
from orl.problems.jobshop.instance import JobShopSettings
from orl.problems.jobshop.scenario import draw
from orl.registry import find_problem
from orl.scenario import Purpose, Scenarios, generator
from orl.solver import Control
from orl.solvers.ppo.policy import LearnedPolicy
from orl.solvers.ppo.train import PpoSettings, Recipe, Trainer, judged, play, update

ROOT = Path(__file__).resolve().parent.parent
JOBSHOP = find_problem("jobshop")
ACTIVE = JobShopSettings(dispatch="active")
SMALL = Recipe("jobshop", [{"jobs": 4, "machines": 3}, {"jobs": 5, "machines": 3}], [{"jobs": 4, "machines": 4}],
               validation_instances=4, instance={"dispatch": "active"})  # fmt: skip
QUICK = PpoSettings(width=8, layers=2, iterations=4, instances=2, samples=4, minibatch=64, validate_every=2)


# Advantages ---------------------------------------------------------------------------------------------------------


def test_advantages_by_hand():
    """Environment 0 ends, 1 is cut off (worth -10 then), 2 has a forced decision in the middle."""
    costs = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0]])
    discounts = np.full((3, 3), 0.5)
    values = np.array([[-1.0, -1.0, -1.0], [-2.0, -2.0, -9.0], [-3.0, -3.0, -3.0]])
    is_open = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1]], dtype=bool)
    ended, cut = np.zeros((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool)
    ended[2, [0, 2]], cut[2, 1] = True, True
    cut_values = np.zeros((3, 3))
    cut_values[2, 1] = -10.0
    found = advantages(costs, discounts, values, is_open, ended, cut, cut_values, 0.5)
    # 0: d2 = -4 + 3 = -1; d1 = -2 - 1.5 + 2 = -1.5; d0 = -1 - 1 + 1 = -1; each takes a quarter of the next one's.
    assert found[:, 0].tolist() == [-1 - 1.75 / 4, -1.75, -1.0]
    # 1: d2 = -4 - 5 + 3 = -6.
    assert found[:, 1].tolist() == [-1 - 3 / 4, -1.5 - 6 / 4, -6.0]
    # 2: the first decision costs 1 + 2 / 2 and is followed by the third, at a quarter: -2 - 0.75 + 1, and -1 / 8.
    assert found[:, 2].tolist() == [-1.75 - 1 / 8, 0.0, -1.0]


def test_a_group_is_compared_with_its_mean():
    """Two instances, two environments each: the cheaper one is better by one spread, whatever the size."""
    played = play(JOBSHOP, make_network(NetworkSettings(inputs=30, width=4)), JOBSHOP.features().candidates,
                  [draw(np.random.default_rng(k), 3, 3, settings=ACTIVE) for k in (0, 0, 1, 1)],
                  [Scenarios.deterministic()] * 4, torch.Generator().manual_seed(0))  # fmt: skip
    played = played._replace(totals=np.array([10.0, 20.0, 500.0, 300.0]))
    settings = PpoSettings(instances=2, samples=2)
    advantage, _ = judged(played, settings, np.array([1.0, 1.0, 50.0, 50.0]))
    assert advantage == pytest.approx(np.array([1.0, -1.0, -1.0, 1.0])[played.place % 4], abs=1e-6)


# Updates ------------------------------------------------------------------------------------------------------------


def test_the_first_pass_begins_at_ratio_one():
    """What is stored as the probability of a choice is what the network says of it before any update."""
    torch.manual_seed(0)
    network = make_network(NetworkSettings(inputs=30, width=8))
    torch.nn.init.normal_(network.score.weight)
    shops = [draw(np.random.default_rng(k), 4 + k, 3, settings=ACTIVE) for k in range(3)]
    played = play(JOBSHOP, network, JOBSHOP.features().candidates, shops, [Scenarios.deterministic()] * 3,
                  torch.Generator().manual_seed(0), has_critic=True)  # fmt: skip
    score, value = network(torch.from_numpy(played.seen), torch.from_numpy(played.legal))
    logs = score.log_softmax(1).gather(1, torch.from_numpy(played.actions)[:, None])[:, 0]
    assert logs.detach().numpy() == pytest.approx(played.log_probabilities, abs=1e-5)
    assert value.detach().numpy() == pytest.approx(played.values, abs=1e-5)
    settings = PpoSettings(minibatch=10**6, learning_rate=1e-9)
    optimiser = torch.optim.SGD(network.parameters(), 0.0)
    judgement = judged(played, replace(settings, instances=1, samples=3), np.ones(3))
    notes = update(network, optimiser, played, judgement, settings, np.random.default_rng(0))
    assert notes["kl"] == pytest.approx(0, abs=1e-6) and notes["clipped"] == 0


@pytest.mark.parametrize("baseline", ["group", "critic"])
def test_a_problem_of_two_states_is_solved(baseline, tmp_path):
    """Pay 2 now and 0 later, or 1 now and 3 later: patience costs 2, greed 4."""
    settings = PpoSettings(encoder="plain", width=8, layers=1, iterations=60, instances=4, samples=8, minibatch=64,
                           baseline=baseline, learning_rate=3e-2, entropy=0.0, validate_every=60)  # fmt: skip
    recipe = Recipe("toy", [{}], [{}], validation_instances=1)
    trainer = Trainer(toy_choice.PROBLEM, recipe, settings, tmp_path)
    trainer.run(Control())
    assert trainer.validated() == 2.0


# Runs ---------------------------------------------------------------------------------------------------------------


def trained(folder, resume=False, stop_at=None, seed=0, settings=QUICK):
    trainer = Trainer(JOBSHOP, replace(SMALL, seed=seed), settings, folder, resume)

    class Stop(Control):
        @property
        def should_stop(self):
            return trainer.done == stop_at

    trainer.run(Stop())
    return checkpoint.load(folder / "last")


@pytest.mark.parametrize("baseline", ["group", "critic"])
def test_equal_seeds_give_equal_weights_and_a_resumed_run_those_of_an_uninterrupted_one(baseline, tmp_path):
    settings = replace(QUICK, baseline=baseline)
    whole, about = trained(tmp_path / "whole", settings=settings)
    trained(tmp_path / "part", stop_at=2, settings=settings)
    again, about_again = trained(tmp_path / "part", resume=True, settings=settings)
    assert whole.keys() == again.keys() and all((whole[name] == again[name]).all() for name in whole)
    assert (about["validation"], about["best"]) == (about_again["validation"], about_again["best"])
    lines = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "part")]
    columns_kept = [[line.split(",")[3:] for line in text] for text in lines]  # not the times
    assert columns_kept[0] == columns_kept[1] and len(lines[0]) == 5
    other, _ = trained(tmp_path / "other", seed=1, settings=settings)
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


def test_train_from_the_command_line(tmp_path, capsys):
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'method = "ppo"\nproblem = "jobshop"\nsizes = [{jobs = 4, machines = 3}]\n'
        'validation = [{jobs = 4, machines = 3}]\nvalidation_instances = 2\n[instance]\ndispatch = "active"\n'
        "[ppo]\nwidth = 8\niterations = 2\ninstances = 2\nsamples = 2\nvalidate_every = 1\n"
    )
    out = str(tmp_path / "run")
    assert cli.main(["train", str(recipe), "--out", out]) == 0
    assert "best policy" in capsys.readouterr().out
    assert cli.main(["train", str(recipe), "--out", out, "--set", "ppo.iterations=3", "--resume"]) == 2
    assert cli.main(["solve", "jobshop/ft06", "--solver", "ppo", "--set", f"checkpoint={out}/best", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["verified"] and result["value"] >= 55
    for text, message in [
        ('problem = "jobshop"\n', "expected method = a name"),
        ('method = "spt"\nproblem = "jobshop"\n', "spt is not trained by recipes"),
        ('method = "ppo"\nproblem = "jobshop"\nsizes = []\nvalidation = []\n', "must each name one size or more"),
        ('method = "ppo"\nproblem = "jobshop"\nsise = []\nsizes=[]\nvalidation=[]\n', "sise"),
        ('method = "ppo"\nproblem = "hydrothermal"\n', "does not fit hydrothermal"),
    ]:
        recipe.write_text(text)
        assert cli.main(["train", str(recipe), "--out", str(tmp_path / "no")]) == 2
        assert message in capsys.readouterr().err


# Checkpoints and policies -------------------------------------------------------------------------------------------


def network(seed=0, width=16):
    torch.manual_seed(seed)
    made = make_network(NetworkSettings(inputs=30, width=width))
    torch.nn.init.normal_(made.score.weight)
    return made, {name: tensor.numpy().copy() for name, tensor in made.state_dict().items()}


def observed(count=6, steps=4):
    """Observations in the middle of episodes of shops of several sizes."""
    shops = [draw(np.random.default_rng(k), 3 + k % 4, 4, settings=ACTIVE) for k in range(count)]
    process = JOBSHOP.process(shops, [Scenarios.deterministic()] * count)
    for _ in range(steps):
        process.decide(process.observe().legal.argmax(axis=1))
        process.reveal()
    return process.observe()


def test_numpy_and_torch_say_the_same():
    made, weights = network()
    observation = observed()
    rows, legal = JOBSHOP.features().candidates(observation), np.array(observation.legal)
    ours = forward.scores(weights, rows, legal)
    theirs = made.scores(torch.from_numpy(rows), torch.from_numpy(legal)).detach().numpy()
    assert (np.isinf(ours) == np.isinf(theirs)).all()
    assert ours[legal] == pytest.approx(theirs[legal], rel=1e-4, abs=1e-4)
    assert (ours.argmax(1) == theirs.argmax(1)).all()


def test_neither_padding_nor_company_nor_order_changes_a_score():
    _, weights = network()
    observation = observed()
    rows, legal = JOBSHOP.features().candidates(observation), np.array(observation.legal)
    together = forward.scores(weights, rows, legal)
    wide = forward.scores(weights, np.pad(rows, ((0, 0), (0, 5), (0, 0))), np.pad(legal, ((0, 0), (0, 5))))
    assert wide[:, : legal.shape[1]][legal] == pytest.approx(together[legal], abs=1e-4)
    order = np.random.default_rng(0).permutation(legal.shape[1])
    for env in range(len(rows)):
        alone = forward.scores(weights, rows[env : env + 1], legal[env : env + 1])[0]
        assert alone[legal[env]] == pytest.approx(together[env][legal[env]], abs=1e-4)
    mixed = forward.scores(weights, rows[:, order], legal[:, order])
    assert mixed[legal[:, order]] == pytest.approx(together[:, order][legal[:, order]], abs=1e-4)


def test_relabelled_jobs_and_machines_have_the_same_features():
    shop = draw(np.random.default_rng(0), 5, 4, settings=ACTIVE)
    jobs, machines = np.random.default_rng(1).permutation(5), np.random.default_rng(2).permutation(4)
    routes = [machines[np.array(shop.op_machine[shop.job_first[j] : shop.job_first[j + 1]])].tolist() for j in jobs]
    times = [shop.op_duration[shop.job_first[j] : shop.job_first[j + 1]].tolist() for j in jobs]
    other = orl.problems.jobshop.instance.JobShop("relabelled", machines=routes, durations=times, settings=ACTIVE)
    read = JOBSHOP.features().candidates
    here, there = (JOBSHOP.process([one], [Scenarios.deterministic()]) for one in (shop, other))
    for _ in range(shop.num_ops):
        a, b = here.observe(), there.observe()
        rows, others = read(a)[0], read(b)[0]
        if set(jobs[np.flatnonzero(b.legal[0][:-1])]) != set(np.flatnonzero(a.legal[0][:-1])):
            break  # two machines are done at once: the lowest number goes first, and names matter
        assert others[:-1] == pytest.approx(rows[:-1][jobs], abs=1e-6)
        choice = int(a.legal[0].argmax())
        here.decide(np.array([choice])), there.decide(np.array([int(np.flatnonzero(jobs == choice)[0])]))
        here.reveal(), there.reveal()


@pytest.mark.parametrize("spoil", ["missing", "truncated", "tampered", "no json", "format", "family", "encoder"])
def test_a_spoiled_checkpoint_gives_a_message(spoil, tmp_path):
    _, weights = network()
    about = {"problem": "jobshop", "network": {"encoder": "candidates"}, "instance": {}}
    if spoil == "family":
        about["problem"] = "lotsizing"
    if spoil == "encoder":
        about["network"] = {"encoder": "plain"}
    checkpoint.save(tmp_path / "c", weights, about)
    data, said = next((tmp_path / "c").glob("*.safetensors")), tmp_path / "c" / checkpoint.ABOUT
    if spoil == "missing":
        data.unlink()
    elif spoil == "truncated":
        data.write_bytes(data.read_bytes()[:-7])
    elif spoil == "tampered":
        data.write_bytes(data.read_bytes()[:-1] + b"x")
    elif spoil == "no json":
        said.write_text("{")
    elif spoil == "format":
        said.write_text(json.dumps({**json.loads(said.read_text()), "format": 99}))
    message = {
        "missing": "safetensors is missing", "truncated": "truncated or changed",
        "tampered": "truncated or changed", "no json": "expected JSON", "format": "expected a checkpoint of format 1",
        "family": "a policy for lotsizing, not for jobshop", "encoder": "expected a network that reads candidates",
    }[spoil]  # fmt: skip
    with pytest.raises(InputError, match=message):
        orl.solve("jobshop/ft06", "ppo", settings={"checkpoint": str(tmp_path / "c")})


def test_samples_are_never_worse_than_the_first_and_equal_seeds_are_equal(tmp_path):
    _, weights = network()
    checkpoint.save(
        tmp_path,
        weights,
        {"problem": "jobshop", "network": {"encoder": "candidates"}, "instance": {"dispatch": "active"}},
    )
    given = {"checkpoint": str(tmp_path)}
    greedy = orl.solve("jobshop/la01", "ppo", settings=given)
    many, again = (orl.solve("jobshop/la01", "ppo", settings={**given, "samples": 40}, seed=3) for _ in range(2))
    assert many.value == again.value <= greedy.value and many.verified and many.metrics["samples"] == 40


def test_a_policy_for_classic_shops_plays_others_too(tmp_path):
    """With breakdowns or without buffers it chooses among what is legal there; live use is one decision at a time."""
    _, weights = network()
    about = {"problem": "jobshop", "network": {"encoder": "candidates"}, "instance": {"dispatch": "active"}}
    checkpoint.save(tmp_path, weights, about)
    given = {"checkpoint": str(tmp_path)}
    for changed in ({"buffers": "swap"}, {"breakdowns": {"probability": 0.01}}):
        shop = orl.load("jobshop/ft06", settings=changed)
        result = orl.solve(shop, "ppo", settings=given, scenarios=3 if "breakdowns" in changed else None)
        assert result.verified and not result.clairvoyant
    live = api.make_policy("jobshop", "ppo", given)
    assert live is not None


def test_the_policy_draws_by_its_scores():
    """At temperature 1 choices come as often as the softmax says, at 0 always the likeliest."""
    _, weights = network()
    observation = observed(count=1, steps=0)
    policy = LearnedPolicy(weights, JOBSHOP.features().candidates, 1.0)
    scores = policy.scores(observation, np.array([0]))[0]
    right = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    rng = np.random.default_rng(0)
    drawn = np.bincount([policy.decide(observation, rng)[0][0] for _ in range(3000)], minlength=len(right)) / 3000
    assert drawn == pytest.approx(right, abs=0.04)
    greedy = replace(policy, temperature=0.0)
    assert greedy.decide(observation, rng)[0][0] == scores.argmax()


def test_the_policy_that_is_shipped_is_as_good_as_it_says():
    """On the validation shops of its recipe NumPy's greedy decisions cost what torch's did when it was saved."""
    _, about = checkpoint.load(ROOT / "solvers" / "ppo" / "checkpoints" / "jobshop")
    recipe = about["recipe"]
    ratios = []
    for size in recipe["validation"]:
        for row in range(recipe["validation_instances"]):
            shop = draw(generator(recipe["seed"], Purpose.SELECT, row), **size)
            result = orl.solve(shop, "ppo")
            assert result.verified
            ratios.append(result.value / shop.makespan_bound())
    assert np.mean(ratios) == pytest.approx(about["validation"], abs=2e-3)
