"""Proximal policy optimisation: one update, a problem with a known optimum, checkpoints."""

import csv
import itertools
import json
import math
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_choice

import orl
from orl import api
from orl.errors import InputError
from orl.learn import checkpoint, forward
from orl.learn.forms import NetworkSettings
from orl.learn.heads import NARROWEST, WIDEST, make_head
from orl.learn.networks import make_network
from orl.learn.readers import make_reader
from orl.learn.training import Recipe, Source, Training
from orl.problems.jobshop.instance import Breakdowns, JobShopSettings
from orl.problems.jobshop.kernels_candidates import NUM_COLUMNS
from orl.problems.jobshop.scenario import draw
from orl.process import Decision
from orl.registry import find_problem
from orl.result import Status
from orl.scenario import Purpose, Scenarios, generator
from orl.simulate import run_episodes
from orl.solver import Control
from orl.solvers.ppo import train
from orl.solvers.ppo.advantage import decisions_of, judged
from orl.solvers.ppo.play import play
from orl.solvers.ppo.policy import LearnedPolicy, load
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner, update

ROOT = Path(__file__).resolve().parent.parent
JOBSHOP = find_problem("jobshop")
FORM = NetworkSettings(inputs=NUM_COLUMNS, width=16)
ACTIVE = JobShopSettings(dispatch="active")
SMALL = Recipe("jobshop", [{"jobs": 4, "machines": 3}, {"jobs": 5, "machines": 3}], [{"jobs": 4, "machines": 4}],
               validation_instances=4, validate_every=2, instance={"dispatch": "active"})  # fmt: skip
QUICK = {
    "teacher_settings": {"iterations": 300},
    "width": 8,
    "layers": 2,
    "iterations": 4,
    "instances": 2,
    "samples": 4,
    "minibatch": 64,
}
CANDIDATES = make_reader(JOBSHOP, "candidates")


# Updates ------------------------------------------------------------------------------------------------------------


def test_the_first_pass_begins_at_ratio_one():
    """What is stored as the probability of a choice is what the network says of it before any update."""
    torch.manual_seed(0)
    network = make_network(FORM)
    torch.nn.init.normal_(network.score.weight)
    shops = [draw(np.random.default_rng(k), 4 + k, 3, settings=ACTIVE) for k in range(3)]
    played = play(JOBSHOP, network, CANDIDATES, shops, [Scenarios.deterministic()] * 3,
                  torch.Generator().manual_seed(0), has_critic=True)  # fmt: skip
    score, value = network({"rows": torch.from_numpy(played.seen["rows"])}, torch.from_numpy(played.legal))
    logs = score.log_softmax(1).gather(1, torch.from_numpy(played.actions)[:, None])[:, 0]
    assert logs.detach().numpy() == pytest.approx(played.log_probabilities, abs=1e-5)
    assert value.detach().numpy() == pytest.approx(played.values, abs=1e-5)
    settings = PpoSettings(minibatch=10**6, learning_rate=1e-9)
    optimiser = torch.optim.SGD(network.parameters(), 0.0)
    judgement = judged(played, replace(settings, instances=1, samples=3), np.ones(3))
    head = make_head(JOBSHOP.process(shops, [Scenarios.deterministic()] * 3).decision)
    notes = update(network, head, optimiser, played, judgement, settings, np.random.default_rng(0))
    assert notes["kl"] == pytest.approx(0, abs=1e-6) and notes["clipped"] == 0


@pytest.mark.parametrize(
    "judge",
    [
        {},
        {"baseline": "critic"},
        *({"baseline": "critic", "critic": "dual", "advantage": form} for form in ("max", "sum", "post", "half-steps")),
    ],
    ids=str,
)
def test_a_problem_of_two_states_is_solved(judge, tmp_path):
    """Pay 2 now and 0 later, or 1 now and 3 later: patience costs 2, greed 4.

    By `post` all is learned from what critics say, who hear no more of what is given up: entropy keeps it alive.
    """
    settings = PpoSettings(encoder="plain", width=8, layers=1, iterations=60, instances=4, samples=8, minibatch=64,
                           learning_rate=3e-2, entropy=0.2 if "post" in judge.values() else 0.0, **judge)  # fmt: skip
    recipe = Recipe("toy", [{}], [{}], validation_instances=1, validate_every=60)
    learner = PpoLearner(toy_choice.PROBLEM, recipe, settings)
    Training(learner, recipe, 60, tmp_path).run(Control())
    assert learner.validated() == 2.0


# Checkpoints and policies -------------------------------------------------------------------------------------------


def network(seed=0, width=16):
    torch.manual_seed(seed)
    made = make_network(replace(FORM, width=width))
    torch.nn.init.normal_(made.score.weight)
    return made, {name: tensor.numpy().copy() for name, tensor in made.state_dict().items()}


def scores_of(weights, rows, legal):
    return forward.output("candidates", weights, {"rows": rows}, legal)


def observed(count=6, steps=4):
    """Observations in the middle of episodes of shops of several sizes."""
    shops = [draw(np.random.default_rng(k), 3 + k % 4, 4, settings=ACTIVE) for k in range(count)]
    process = JOBSHOP.process(shops, [Scenarios.deterministic()] * count)
    for _ in range(steps):
        process.decide(process.observe().legal.argmax(axis=1))
        process.reveal()
    return process.observe()


SIZES = {
    "jobshop": {"jobs": 4, "machines": 3},
    "lotsizing": {"items": 3, "machines": 2, "periods": 5},
    "hydrothermal": {"instance": "hydrothermal/case3"},
    "llmserving": {"requests": 12},
}


@pytest.mark.parametrize(
    ("family", "encoder"),
    [("jobshop", "candidates"), ("jobshop", "graph"), ("jobshop", "graph-once"), ("jobshop", "plain"),
     ("lotsizing", "plain"), ("lotsizing", "candidates"),
     ("hydrothermal", "plain"), ("llmserving", "plain"), ("llmserving", "graph"),
     ("llmserving", "candidates")],
)  # fmt: skip
def test_every_family_is_learned_and_numpy_decides_as_torch_does(family, encoder, tmp_path):
    """Two iterations, then greedy episodes: torch's and NumPy's cost the same, on padded instances of two sizes."""
    problem = find_problem(family)
    size = SIZES[family]
    larger = {key: count + 1 if key in ("jobs", "requests") else count for key, count in size.items()}
    training = {**QUICK, "encoder": encoder, "iterations": 2, "learning_rate": 0.1}
    recipe = Recipe(family, [size, larger], [size, larger], validation_instances=3, training=training)
    learner = PpoLearner(problem, recipe, PpoSettings(**training))
    Training(learner, recipe, 2, tmp_path).run(Control())
    policy, about = load(problem, str(tmp_path / "last"), learner.source.validation[0].instances[0])
    assert about["validation"] == learner.validated()
    for drawn in learner.source.validation:
        played = learner._play(drawn.instances, drawn.scenarios, None)
        process = problem.process(drawn.instances, drawn.scenarios, learner.fit)
        costs, is_over = run_episodes(process, pickle.loads(pickle.dumps(policy)), np.random.default_rng(0), None)
        assert is_over.all() and costs == pytest.approx(played.totals, rel=1e-4)


def test_targets_are_drawn_and_judged_as_a_normal_distribution_says():
    head, legal = make_head(Decision("targets", 2)), torch.tensor([[[0.0, 1.0], [4.0, 1.0]]])  # the second is fixed
    said = torch.tensor([[[0.3, 0.1], [0.5, 0.2]]])
    output, wide = said.expand(20000, 2, 2), legal.expand(20000, 2, 2)
    drawn = head.draw(output, wide, torch.Generator().manual_seed(0))[:, 0].numpy()
    deviation = math.exp(NARROWEST + (WIDEST - NARROWEST) / (1 + math.exp(-1.5)))
    assert drawn.mean() == pytest.approx(0.3, abs=0.02) and drawn.std() == pytest.approx(deviation, rel=0.02)
    right = torch.distributions.Normal(0.3, deviation)
    logs, entropy = head.judge(said, legal, torch.tensor([[0.7, 5.0]]))
    assert logs.item() == pytest.approx(right.log_prob(torch.tensor(0.7)).item(), abs=1e-5)
    assert entropy.item() == pytest.approx(right.entropy().item(), abs=1e-5)
    assert head.mode(said, legal).tolist() == [pytest.approx([0.3, 0.1])]


def test_machines_choose_independently_and_those_of_the_padding_do_not_count():
    legal = torch.tensor([[[True, True, False], [True, True, True], [False, False, False]]])
    output = torch.tensor([[[1.0, 2.0, 9.0], [0.0, 0.0, 0.0], [3.0, 3.0, 3.0]]]).masked_fill(~legal, -math.inf)
    head = make_head(Decision("per_machine", 3, 3))
    logs, entropy = head.judge(output, legal, torch.tensor([[1, 2, 0]]))
    first = 1 / (1 + math.exp(-1))
    assert logs.item() == pytest.approx(math.log(first / 3), abs=1e-6)
    right = -first * math.log(first) - (1 - first) * math.log(1 - first) + math.log(3)
    assert entropy.item() == pytest.approx(right, abs=1e-6)
    drawn = head.draw(output.expand(9000, 3, 3), legal, torch.Generator().manual_seed(0)).numpy()
    assert np.bincount(drawn[:, 0], minlength=3) / 9000 == pytest.approx([1 - first, first, 0], abs=0.02)
    assert np.bincount(drawn[:, 1], minlength=3) / 9000 == pytest.approx([1 / 3] * 3, abs=0.02)


def test_what_is_imitated_becomes_likelier_and_sizes_join_by_the_curriculum():
    recipe = replace(SMALL, curriculum=10, training={**QUICK, "learning_rate": 0.03})
    learner = PpoLearner(JOBSHOP, recipe, PpoSettings(**recipe.training))
    sizes = [{len(one.job_first) - 1 for k in range(20)
              for one in learner.source.draw(np.random.default_rng(k), number, 1).instances}
             for number in (0, 9, 10)]  # fmt: skip
    assert sizes == [{4}, {4}, {4, 5}]
    drawn = learner.source.draw(np.random.default_rng(0), 0, 2)
    envs, streams = ([one for one in many for _ in range(4)] for many in (drawn.instances, drawn.scenarios))
    played = learner._play(envs, streams, torch.Generator().manual_seed(0), 4)
    best = decisions_of(played, 4, [0])
    assert set(played.place[best] % 8) == {played.totals[:4].argmin(), 4 + played.totals[4:].argmin()}
    judgement = judged(played, learner.settings, np.ones(8))

    def likelihood():
        legal = torch.from_numpy(played.legal[best])
        output = learner.network.scores({"rows": torch.from_numpy(played.seen["rows"][best])}, legal)
        return learner.head.judge(output, legal, torch.from_numpy(played.actions[best]))[0].mean().item()

    before = likelihood()
    for _ in range(10):
        update(learner.network, learner.head, learner.optimiser, played, judgement, learner.settings,
               np.random.default_rng(0), best, imitates=True)  # fmt: skip
    assert likelihood() > before + 0.05


def test_a_teacher_is_followed_and_imitated(tmp_path):
    """What is played is what the teacher planned, at its cost; ten iterations make the teacher's choices likelier."""
    told = {**QUICK, "taught": 10, "teacher_settings": {"iterations": 500}, "learning_rate": 0.03, "iterations": 10}
    learner = PpoLearner(JOBSHOP, replace(SMALL, training=told), PpoSettings(**told))
    drawn = learner.source.draw(np.random.default_rng(0), 0, 4)
    plans = [learner._plan(shop, Scenarios.deterministic(), 0) for shop in drawn.instances]
    played = learner._play(drawn.instances, drawn.scenarios, plans=plans)
    assert (played.totals <= [plan.makespan for plan in plans]).all()  # its order kept, nothing is later
    kl = [learner.iterate(number)["kl"] for number in range(10)]  # of one update: before it less after it
    assert all(np.isfinite(kl))
    legal = torch.from_numpy(played.legal)
    output = learner.network.scores({"rows": torch.from_numpy(played.seen["rows"])}, legal)
    logs = learner.head.judge(output, legal, torch.from_numpy(played.actions))[0].mean().item()
    assert logs > played.log_probabilities.mean() + 0.02


@pytest.mark.parametrize(
    ("told", "message"),
    [({"teacher": "spt-of-nobody"}, "spt-of-nobody"), ({"teacher_settings": {"iteration": 5}}, "iteration")],
)
def test_a_wrong_teacher_gives_a_message(told, message):
    told = {**QUICK, "taught": 1, **told}
    instance = {"breakdowns": {"probability": 0.1}}
    assert PpoSettings(taught=1).teacher_settings == {"iterations": 100_000}
    assert PpoSettings(taught=1, teacher="lagrangian").teacher_settings == {}, "its own defaults"
    recipe = Recipe("hydrothermal", [SIZES["hydrothermal"]], [SIZES["hydrothermal"]], validation_instances=1)
    with pytest.raises(InputError, match="cannot be followed there; set taught=0"):
        PpoLearner(find_problem("hydrothermal"), recipe, PpoSettings(encoder="plain", taught=1, teacher="sddp"))
    with pytest.raises(InputError, match="tabu gives no policy"):
        PpoLearner(JOBSHOP, replace(SMALL, instance=instance), PpoSettings(**QUICK, taught=1))
    with pytest.raises(InputError, match=message):
        PpoLearner(JOBSHOP, replace(SMALL, training=told), PpoSettings(**told)).iterate(0)


def test_variants_that_no_batch_holds_give_a_message():
    size = {"items": 2, "machines": 2, "periods": 3}
    recipe = Recipe("lotsizing", [size], [size], validation_instances=1, variants=[{}, {"decision": "joint"}])
    learner = PpoLearner(find_problem("lotsizing"), recipe, PpoSettings(encoder="plain", instances=8, samples=2))
    with pytest.raises(InputError, match="must agree in their setting decision"):
        for number in range(5):
            learner.iterate(number)


def test_a_teacher_with_a_policy_teaches_both_critics_and_is_kept_for_an_instance_that_comes_again():
    lots, name = find_problem("lotsizing"), {"instance": "lotsizing/setting_2items_VI"}
    told = {"baseline": "critic", "critic": "dual", "taught": 2, "teacher": "greedy", "instances": 2, "samples": 2,
            "width": 4, "gae_decay": 0.9}  # fmt: skip
    learner = PpoLearner(lots, Recipe("lotsizing", [name], [name], validation_instances=1), PpoSettings(**told))
    before = {key: value.copy() for key, value in learner.weights().items()}
    learner.iterate(0)
    changed = {key for key, value in learner.weights().items() if (value != before[key]).any()}
    assert "critic.0.weight" in changed and "post.critic.0.weight" in changed and "score.weight" in changed
    learner.iterate(1)
    assert len(learner.teachers) == 1
    drawn = {"items": 2, "machines": 1, "periods": 4}
    learner = PpoLearner(lots, Recipe("lotsizing", [drawn], [drawn], validation_instances=1), PpoSettings(**told))
    learner.iterate(0)
    assert not learner.teachers, "none of these comes again"


def test_tensorboard_has_what_the_log_has(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = replace(SMALL, training=QUICK, tensorboard=True)
    Training(PpoLearner(JOBSHOP, recipe, PpoSettings(**QUICK)), recipe, 4, tmp_path).run(Control())
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    lines = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    for name in ("cost", "entropy", "validation"):
        there = [(event.step, event.value) for event in events.Scalars(name)]
        assert there == [(int(x["iteration"]), pytest.approx(float(x[name]), rel=1e-4)) for x in lines if x[name]]


def test_where_few_rows_are_there_these_alone_are_scored():
    """Among many rows of zeros the same rows have the same scores, in torch and in NumPy, and the same value."""
    made, weights = network()
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1, 1, (3, 4, NUM_COLUMNS)).astype(np.float32)
    legal = np.array([[1, 1, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1]], dtype=bool)
    wide, mask = np.zeros((3, 12, NUM_COLUMNS), dtype=np.float32), np.zeros((3, 12), dtype=bool)
    for env in range(3):
        place = np.sort(rng.permutation(12)[:4])
        wide[env, place], mask[env, place] = rows[env], legal[env]
    few = [tensor.detach() for tensor in made({"rows": torch.from_numpy(rows)}, torch.from_numpy(legal))]
    many = [tensor.detach() for tensor in made({"rows": torch.from_numpy(wide)}, torch.from_numpy(mask))]
    assert many[0].numpy()[mask] == pytest.approx(few[0].numpy()[legal], abs=1e-5)
    assert np.isneginf(many[0].numpy()[~mask]).all() and many[1].numpy() == pytest.approx(few[1].numpy(), abs=1e-5)
    scores = scores_of(weights, wide, mask)
    assert scores[mask] == pytest.approx(few[0].numpy()[legal], abs=1e-5) and np.isneginf(scores[~mask]).all()


def test_neither_padding_nor_company_nor_order_changes_a_score():
    _, weights = network()
    observation = observed()
    rows, legal = CANDIDATES.read(observation, np.arange(6))["rows"], np.array(observation.legal)
    together = scores_of(weights, rows, legal)
    wide = scores_of(weights, np.pad(rows, ((0, 0), (0, 5), (0, 0))), np.pad(legal, ((0, 0), (0, 5))))
    assert wide[:, : legal.shape[1]][legal] == pytest.approx(together[legal], abs=1e-4)
    order = np.random.default_rng(0).permutation(legal.shape[1])
    for env in range(len(rows)):
        alone = scores_of(weights, rows[env : env + 1], legal[env : env + 1])[0]
        assert alone[legal[env]] == pytest.approx(together[env][legal[env]], abs=1e-4)
    mixed = scores_of(weights, rows[:, order], legal[:, order])
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
        about["network"] = {"encoder": "plane"}
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
        "family": "a policy for lotsizing, not for jobshop", "encoder": "encoder: expected candidates or plain",
    }[spoil]  # fmt: skip
    with pytest.raises(InputError, match=message):
        orl.solve("jobshop/ft06", "ppo", settings={"checkpoint": str(tmp_path / "c")})


def test_a_network_of_other_features_or_sizes_gives_a_message(tmp_path):
    torch.manual_seed(0)
    for encoder, count in (("candidates", 99), ("plain", 99)):
        form = NetworkSettings(encoder=encoder, inputs=count, outputs=(7,), width=8)
        weights = {name: tensor.numpy() for name, tensor in make_network(form).state_dict().items()}
        checkpoint.save(tmp_path, weights, {"problem": "jobshop", "network": asdict(form), "instance": {}})
        with pytest.raises(InputError, match=f"reads {count} features and is shown"):
            orl.solve("jobshop/ft06", "ppo", settings={"checkpoint": str(tmp_path)})


def test_samples_are_never_worse_than_the_first_and_equal_seeds_are_equal(tmp_path):
    _, weights = network()
    checkpoint.save(
        tmp_path,
        weights,
        {"problem": "jobshop", "network": asdict(FORM), "instance": {"dispatch": "active"}},
    )
    given = {"checkpoint": str(tmp_path)}
    greedy = orl.solve("jobshop/la01", "ppo", settings=given)
    many, again = (orl.solve("jobshop/la01", "ppo", settings={**given, "samples": 40}, seed=3) for _ in range(2))
    assert many.value == again.value <= greedy.value and many.verified and many.metrics["samples"] == 40


def test_a_policy_for_classic_shops_plays_others_too(tmp_path):
    """With breakdowns or without buffers it chooses among what is legal there; live use is one decision at a time."""
    _, weights = network()
    about = {"problem": "jobshop", "network": asdict(FORM), "instance": {"dispatch": "active"}}
    checkpoint.save(tmp_path, weights, about)
    given = {"checkpoint": str(tmp_path)}
    for changed in ({"buffers": "swap"}, {"breakdowns": {"probability": 0.01}}):
        shop = orl.load("jobshop/ft06", settings=changed)
        result = orl.solve(shop, "ppo", settings=given, scenarios=3 if "breakdowns" in changed else None)
        assert result.verified and not result.clairvoyant
    live = api.make_policy("jobshop/ft06", "ppo", given)
    answer = live.decide({"clock": 0}, with_scores=True)
    assert answer.decision["job"] == max(answer.scores, key=answer.scores.get) and len(answer.scores) == 6


def test_the_policy_draws_by_its_scores():
    """At temperature 1 choices come as often as the softmax says, at 0 always the likeliest."""
    _, weights = network()
    observation = observed(count=1, steps=0)
    policy = LearnedPolicy(JOBSHOP, "candidates", weights, 1.0)
    scores = policy.output(observation, np.array([0]), policy.start([None], np.random.default_rng(0)))[0]
    right = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    rng = np.random.default_rng(0)
    memory = policy.start([None], rng)
    drawn = np.bincount([policy.decide(observation, memory)[0][0] for _ in range(3000)], minlength=len(right)) / 3000
    assert drawn == pytest.approx(right, abs=0.04)
    greedy = replace(policy, temperature=0.0)
    assert greedy.decide(observation, memory)[0][0] == scores.argmax()


SHIPPED = ROOT / "solvers" / "ppo" / "checkpoints"


@pytest.mark.parametrize(
    "folder", sorted(str(path.parent.relative_to(SHIPPED)) for path in SHIPPED.rglob("about.json"))
)
def test_a_policy_that_is_shipped_is_as_good_as_it_says(folder):
    """On the validation instances of its recipe NumPy's greedy decisions cost what torch's did when it was saved."""
    method, family = Path(folder).parts[:2]
    problem = find_problem(family)
    source = Source(problem, Recipe(**checkpoint.load(SHIPPED / folder)[1]["recipe"]))
    ratios = []
    for drawn in source.validation:
        policy, about = load(problem, "", drawn.instances[0], method)
        process = problem.process(drawn.instances, drawn.scenarios)
        costs, _ = run_episodes(process, policy, np.random.default_rng(0), None)
        for env in range(0, len(costs), 6):
            report = problem.verify(drawn.instances[env], drawn.scenarios[env], process.solution(env))
            assert report.is_feasible and report.cost == pytest.approx(costs[env], rel=1e-9)
        ratios += (costs / drawn.scale).tolist()
    assert about["recipe"]["instance"] == source.recipe.instance
    assert np.mean(ratios) == pytest.approx(about["validation"], abs=2e-3)


@pytest.mark.parametrize(("teacher", "taught"), [("tabu", {"swap"}), ("mwr", {"swap", "unlimited"})])
def test_lessons_come_again_and_are_of_the_first_variant_unless_the_teacher_has_a_policy(teacher, taught):
    """Solved once each, however often they are learned from; what follows is drawn from all variants."""
    training = {**QUICK, "taught": 8, "lessons": 4, "iterations": 9, "teacher": teacher, "teacher_settings": {}}
    variants = [{"buffers": "swap"}, {"breakdowns": {"probability": 0.01}}]
    size = {"jobs": 3, "machines": 3}
    recipe = Recipe("jobshop", [size], [size], validation_instances=2, variants=variants, training=training)
    learner = PpoLearner(JOBSHOP, recipe, PpoSettings(**training))
    solved = []
    learner._plan = lambda shop, scenario, seed: (solved.append(shop), orl.solve(shop, "mwr").solutions[0])[1]
    for number in range(9):
        learner.iterate(number)
    assert len(solved) == 4 * training["instances"] and {shop.settings.buffers for shop in solved} == taught
    drawn = learner.source.draw(np.random.default_rng(0), 9, 20)
    assert {shop.settings.buffers for shop in drawn.instances} == {"swap", "unlimited"}


def test_columns_leave_out_what_was_added_later():
    """A policy that reads few columns decides by these alone."""
    few = make_reader(JOBSHOP, "candidates", 5)
    observation = observed(count=1, steps=2)
    assert (
        few.read(observation, np.arange(1))["rows"] == CANDIDATES.read(observation, np.arange(1))["rows"][..., :5]
    ).all()


def test_an_interruption_that_reaches_the_teacher_ends_the_training(tmp_path, monkeypatch):
    """The lesson is not learned from; the run goes on to the weights of one that was never stopped."""
    training = {**QUICK, "taught": 3, "iterations": 3, "teacher": "tabu", "teacher_settings": {"iterations": 20}}
    size = {"jobs": 3, "machines": 3}
    recipe = Recipe("jobshop", [size], [size], validation_instances=2, training=training)

    def run(folder, resume=False):
        learner = PpoLearner(JOBSHOP, recipe, PpoSettings(**training))
        made = Training(learner, recipe, 3, folder, resume)
        made.run(control := Control())
        return made.done, control.is_interrupted

    calls, solve = itertools.count(), train.solve

    def interrupted(*args, **settings):
        result = solve(*args, **settings)
        return replace(result, status=Status.INTERRUPTED) if next(calls) == 3 else result

    assert run(tmp_path / "whole") == (3, False)
    monkeypatch.setattr(train, "solve", interrupted)
    assert run(tmp_path / "part") == (1, True)
    assert run(tmp_path / "part", resume=True) == (3, False)
    whole, part = (checkpoint.load(tmp_path / name / "last")[0] for name in ("whole", "part"))
    assert all((whole[name] == part[name]).all() for name in whole)


@pytest.mark.parametrize("probability", [0.0, 0.01])
def test_the_policy_for_swaps_beats_the_rules_on_drawn_shops(probability):
    """On twelve drawn shops of the evaluation stream, a scenario each, its mean is below that of every rule."""
    settings = JobShopSettings(buffers="swap", breakdowns=Breakdowns(probability))
    shops = [draw(generator(0, Purpose.EVALUATE, row), 15, 10, settings=settings) for row in range(12)]
    scenarios = [JOBSHOP.sample(shop, row, Purpose.EVALUATE, 1)[0] for row, shop in enumerate(shops)]
    process = JOBSHOP.process(shops, scenarios)
    policy, about = load(JOBSHOP, "", shops[0])
    costs, _ = run_episodes(process, policy, np.random.default_rng(0), None)
    assert about["instance"] == {"buffers": "swap"}
    for name, rule in JOBSHOP.rules().items():
        process.reset()
        assert costs.mean() < process.run(rule, np.arange(12, dtype=np.uint64)).mean(), name
