"""Learning from teachers: what they do is followed, imitated, and kept; what cannot be taught is told."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_ppo import JOBSHOP, QUICK, SIZES, SMALL

import orl
from orl.errors import InputError
from orl.learn import checkpoint
from orl.learn.training import Recipe, Training
from orl.registry import find_problem
from orl.result import Status
from orl.scenario import Scenarios
from orl.solver import Control
from orl.solvers.ppo import train
from orl.solvers.ppo.advantage import decisions_of, judged
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner, update


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
