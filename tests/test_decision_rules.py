"""Decision rules: gradients against finite differences, targets that can be reached, duals by hand, what is learned."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from scipy.sparse import csr_array

import orl
from orl import api, cli
from orl.errors import InputError
from orl.learn import checkpoint
from orl.learn.training import Recipe, Training
from orl.problems.hydrothermal.instance import HydroThermal
from orl.problems.hydrothermal.reach import Reach
from orl.problems.hydrothermal.stages import staged
from orl.registry import find_problem, find_solver
from orl.solver import Control, Task
from orl.solvers.decision_rules.policy import DecisionRulePolicy
from orl.solvers.decision_rules.programs import Asked, PathPrograms, StagePrograms
from orl.solvers.decision_rules.settings import DecisionRuleSettings
from orl.solvers.decision_rules.train import (
    DecisionRuleLearner,
    draw_paths,
    shown,
    tail_weights,
    targets_of,
)
from orl.stages import Stage, StageGraph

HYDRO = find_problem("hydrothermal")
HALF_FULL = [0.05, 60, 0.02, 8, 5, 0.1, 4, 0.03, 0.02, 0.0, 1.5]
SHORT = {"stages": 6, "reported_stages": 6, "initial_volumes": HALF_FULL}
CASES = [("hydrothermal/case3", {}), ("hydrothermal/bolivia", SHORT)]


def learner(name="hydrothermal/case3", instance=None, **told):
    one = {"instance": name}
    recipe = Recipe("hydrothermal", [one], [one], validation_instances=4, instance=instance or {})
    return DecisionRuleLearner(HYDRO, recipe, DecisionRuleSettings(**{"width": 6, "paths": 3, **told}))


def shaken(rule, by=0.3, seed=0):
    """Move all weights a little, so that nothing is at a symmetric point."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in rule.parameters():
            weights.add_(by * torch.randn(weights.shape, generator=rng, dtype=weights.dtype))


@pytest.mark.parametrize(("name", "instance"), CASES)
@pytest.mark.parametrize("targets", ["strict", "penalised"])
@pytest.mark.parametrize("encoder", ["lstm", "linear"])
def test_the_gradient_is_that_of_finite_differences(name, instance, targets, encoder):
    """Through the rule, the programs' duals, and in strict mode what can be reached; in thirty of the weights."""
    one = learner(name, instance, targets=targets, encoder=encoder)
    with one:
        shaken(one.rule, 0.1)  # no share is cut
        noises = draw_paths(one.staged, np.random.default_rng(1), 3, True)
        loss, answer = one.loss(noises)
        loss.backward()
        if targets == "strict":
            assert not answer.missed.any()
        gradient = torch.cat([weights.grad.ravel() for weights in one.rule.parameters()]).numpy()
        here = torch.nn.utils.parameters_to_vector(one.rule.parameters()).detach()
        some, by_differences = np.random.default_rng(2).choice(len(here), 30, replace=False), []
        for place in some:
            values = []
            for step in (1e-5, -1e-5):
                moved = here.clone()
                moved[place] += step
                torch.nn.utils.vector_to_parameters(moved, one.rule.parameters())
                values.append(one.loss(noises)[0].item())
            by_differences.append((values[0] - values[1]) / 2e-5)
    ours, theirs = gradient[some], np.array(by_differences)
    assert ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) > 0.9999
    assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(theirs), rel=1e-3)


def test_what_can_be_reached_is_part_of_the_gradient():
    """Without the path through the bounds the gradient points elsewhere."""
    one = learner("hydrothermal/bolivia", SHORT)
    with one:
        shaken(one.rule)
        noises = draw_paths(one.staged, np.random.default_rng(1), 3, True)
        gradients = []
        for reach in (one.staged.reach, _Detached(one.staged.reach)):
            one.staged = dataclasses.replace(one.staged, reach=reach)
            one.optimiser.zero_grad()
            one.loss(noises)[0].backward()
            gradients.append(torch.cat([weights.grad.ravel() for weights in one.rule.parameters()]).clone().numpy())
    whole, part = gradients
    cosine = whole @ part / np.linalg.norm(whole) / np.linalg.norm(part)
    assert cosine < 0.95


class _Detached:
    """Bounds as if they did not depend on the state."""

    def __init__(self, reach):
        self._reach, self.num_shares = reach, reach.num_shares

    def __call__(self, state, noise, share):
        return self._reach(state.detach(), noise, share)


def cascade(reservoirs, turn, spill, least):
    """Return a chain of reservoirs on one bus; `turn`, `spill`: whether turbined and spilled water goes on."""
    case = orl.load("hydrothermal/case3", settings={"network": "single-bus"})
    count = len(reservoirs)
    flows_on = [np.diag([bool(x) for x in on[: count - 1]], 1) if count > 1 else np.zeros((1, 1), bool)
                for on in (turn, spill)]  # fmt: skip
    high, start, most = (np.array(x, dtype=float) for x in zip(*reservoirs, strict=True))
    water = dataclasses.replace(
        case.reservoirs, names=tuple(f"r{i}" for i in range(count)), bus=np.zeros(count, dtype=int),
        min_hm3=0 * high, max_hm3=high, initial_hm3=start, min_turn=least * most, max_turn=most,
        mw_per_flow=np.full(count, 0.01), cost=np.zeros(count), spill_cost=np.zeros(count),
        turn_into=flows_on[0].astype(bool), spill_into=flows_on[1].astype(bool),
    )  # fmt: skip
    inflows = np.zeros((len(case.inflows), 2, count))
    halves = np.full(inflows.shape[:2], 0.5)
    return dataclasses.replace(case, reservoirs=water, inflows=inflows, probabilities=halves, stage_hours=1000.0)


RESERVOIR = st.tuples(st.floats(0.5, 50), st.floats(0, 0.5), st.floats(0.1, 20))


@given(
    st.lists(RESERVOIR, min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.sampled_from([0.0, 0.5]),
    st.data(),
)
@profile(max_examples=60, deadline=None)
def test_whatever_is_asked_for_can_be_reached(reservoirs, flows, least, data):
    """Any volumes, cascades and shares, inflows that are enough for what must be turbined: the stage's program has a
    solution that ends just there.
    """
    system: HydroThermal = cascade(reservoirs, flows[:4], flows[4:], least)
    of = staged(system)
    count = len(reservoirs)
    numbers = st.lists(st.floats(0, 1), min_size=count, max_size=count).map(np.array)
    state = data.draw(numbers) * system.reservoirs.max_hm3
    noise, share = 30 * data.draw(numbers) + 3.6 * system.reservoirs.min_turn, data.draw(numbers)
    target = np.stack(of.reach(state, noise, share))
    assert (target >= 0).all() and (target <= system.reservoirs.max_hm3 + 1e-9).all()
    graph = dataclasses.replace(of.graph, stages=of.graph.stages[:1], children=((),))
    program = StagePrograms(graph, [0], 1e6)
    answer = program(Asked(np.stack([state, target])[None], noise[None, None]))
    assert not answer.missed.any() and program._elastic == {}


def test_reach_of_a_cascade_on_paper():
    """Turbined water alone goes on: what is released beyond the turbines is lost to the reservoir below."""
    system = cascade([(10, 0, 1.0), (8, 0, 2.0)], [True], [False], 0.0)  # turbines take 3.6 and 7.2 hm3
    reach = Reach(system)
    state, noise = np.array([6.0, 1.0]), np.array([2.0, 0.5])
    assert reach(state, noise, np.ones(2)) == pytest.approx([8.0, 1.5]), "all is kept"
    assert reach(state, noise, np.array([0.0, 1.0])) == pytest.approx([0.0, 5.1]), "3.6 of 8 arrive"
    both = Reach(cascade([(10, 0, 1.0), (8, 0, 2.0)], [True], [True], 0.0))
    assert both(state, noise, np.array([0.0, 1.0])) == pytest.approx([0.0, 8.0]), "all arrive, 8 fit"


def two_reservoirs():
    """Two stages, two reservoirs of 10; a unit of water saves 3 (first) or 5 (second) up to 4 a stage, then nothing.

    Columns: in 1, in 2, out 1, out 2, used 1, used 2, spilled 1, spilled 2, bought.
    """
    cost = np.array([0, 0, 0, 0, -3, -5, 0, 0, 0.0])
    lower = np.array([-np.inf, -np.inf, *[0] * 7])
    upper = np.array([np.inf, np.inf, 10, 10, 4, 4, np.inf, np.inf, 0.0])
    matrix = csr_array(np.array([[-1, 0, 1, 0, 1, 0, 1, 0, 0], [0, -1, 0, 1, 0, 1, 0, 1, 0.0]]))
    zero = np.zeros(2)
    stage = Stage(cost, lower, upper, matrix, zero, zero, np.array([0, 1]), np.array([2, 3]), np.array([0, 1]),
                  np.ones((1, 2)), np.ones(1))  # fmt: skip
    return StageGraph.line([stage, stage], np.array([5.0, 2.0]), discount=0.5)


def test_duals_of_targets_by_hand():
    """Where water is used it is worth its price, at the beginning and (with the other sign) at the end; where the
    turbines are full it is worth nothing.
    """
    graph = two_reservoirs()
    states = np.array([[[5.0, 2.0], [3.5, 0.5], [0.3, 1.0]]])
    noises = np.ones((1, 2, 2))
    # Stage 1: used 2.5 and 2.5. Stage 2: 4.2 to be rid of, 4 used and 0.2 spilled; and 0.5 used.
    answer = StagePrograms(graph, [0, 1], 1e3)(Asked(states, noises))
    assert answer.costs[0] == pytest.approx([-2.5 * 8, -12 - 2.5])
    assert answer.slopes[0] == pytest.approx(np.array([[-3, -5], [3 - 0.5 * 0, 5 - 0.5 * 5], [0, 0.5 * 5]]))
    # As one program the same targets cost the same, and have the same duals.
    path = PathPrograms(graph, slice(None), 1e3)(Asked(states, noises))
    assert path.costs[0] == pytest.approx(answer.costs[0]) and not path.missed.any()
    # A target's dual is what this target alone would change: what came before stays where it was asked to be.
    assert path.slopes[0, 1:] == pytest.approx(answer.slopes[0, 1:])


def test_a_target_out_of_reach_is_paid_for_and_counted():
    graph = two_reservoirs()
    states = np.array([[[5.0, 2.0], [9.0, 0.5], [0.0, 1.0]]])  # 6 at most
    answer = StagePrograms(graph, [0], 1e3)(Asked(states, np.ones((1, 2, 2))))
    assert answer.missed[0] == pytest.approx([3.0, 0.0])
    assert answer.costs[0, 0] == pytest.approx(3e3 - 2.5 * 5) and answer.slopes[0, 1, 0] == pytest.approx(1e3)


def test_known_paths_cost_what_the_exact_model_says():
    """A path program without targets is the hindsight optimum, on a case with nothing random."""
    one = learner("hydrothermal/case3deterministic")
    exact = orl.solve("hydrothermal/case3deterministic", "exact")
    assert one.reference == pytest.approx(exact.value, rel=1e-9)


@pytest.mark.parametrize("encoder", ["lstm", "linear"])
@pytest.mark.parametrize("targets", ["strict", "penalised"])
def test_numpy_decides_as_torch_trained(encoder, targets, tmp_path):
    """States of a played episode are the targets of training on the same noises."""
    one = learner("hydrothermal/bolivia", SHORT, encoder=encoder, targets=targets)
    with one:
        shaken(one.rule, 0.2)
        instance, scenario = one.instance, one.source.validation[0].scenarios[0]
        process, policy = HYDRO.process([instance], [scenario]), one.policy()
        memory, noises, states = policy.start([instance], np.random.default_rng(0)), [], []
        for _ in range(6):
            observation = process.observe()
            seen = one.staged.seen(observation, 0)
            actions, memory = policy.decide(observation, memory)
            process.decide(actions)
            noises.append(seen.noise), states.append(actions[0])
            process.reveal()
        noises = np.array(noises)[None]
        with torch.no_grad():
            told = shown(noises, one.scale, one.staged.season)
            wanted = targets_of(one.rule, one.staged, told, one.scale, targets == "strict")[0, 1:].numpy()
        if targets == "strict":
            assert np.array(states) == pytest.approx(wanted, abs=1e-8)
            assert process.solution(0).volume == pytest.approx(wanted, abs=1e-6)
        else:  # the state that was reached is shown, not the one that was asked for
            assert states[0] == pytest.approx(wanted[0], abs=1e-8)


def trained(folder, until, resume=False, name="hydrothermal/case3", instance=None, **told):
    one = {"instance": name}
    settings = {"width": 8, "paths": 6, "iterations": 12, **told}
    recipe = Recipe("hydrothermal", [one], [one], validation_instances=3, validate_every=4, training=settings,
                    instance=instance or {})  # fmt: skip
    with DecisionRuleLearner(HYDRO, recipe, DecisionRuleSettings(**settings)) as made:
        Training(made, recipe, until, folder, resume).run(Control())
    return made


def test_processes_and_a_stop_change_nothing(tmp_path):
    """One process or two, in one go or resumed: the same weights, to the bit."""
    whole = trained(tmp_path / "whole", 8).weights()
    crew = trained(tmp_path / "crew", 8, processes=2).weights()
    trained(tmp_path / "parts", 4)
    parts = trained(tmp_path / "parts", 8, resume=True).weights()
    for name, array in whole.items():
        assert (array == crew[name]).all() and (array == parts[name]).all(), name


@pytest.mark.parametrize("encoder", ["lstm", "linear"])
def test_a_deterministic_instance_trains_to_its_optimum(encoder, tmp_path):
    """Within 0.1 % of the linear program."""
    made = trained(tmp_path, 300, name="hydrothermal/case3deterministic", encoder=encoder, paths=1, iterations=300,
                   width=16, learning_rate=0.02)  # fmt: skip
    optimum = orl.solve("hydrothermal/case3deterministic", "exact").value
    assert made.validated() == pytest.approx(optimum, rel=1e-3)


def test_a_rule_learns_and_is_a_method(tmp_path):
    """On case3 it comes within 3 % of the optimal expected cost, on record; it is simulated and verified by name."""
    trained(tmp_path / "run", 60, iterations=60, paths=12, learning_rate=0.02)
    settings = {"checkpoint": str(tmp_path / "run" / "best")}
    found = orl.solve("hydrothermal/case3", "ts-ddr", settings=settings, scenarios=100)
    sddp = orl.solve("hydrothermal/case3", "sddp", settings={"iterations": 30}, scenarios=100)
    assert found.verified and np.mean(found.costs) < 1.03 * np.mean(sddp.costs)


def test_a_forged_rule_decides_nothing(tmp_path):
    """Whatever was changed in weights or in what is told of them, checksum mended: one line."""
    trained(tmp_path / "run", 1, iterations=1)
    whole, about = checkpoint.load(tmp_path / "run" / "best")
    about = {key: value for key, value in about.items() if key not in ("weights", "sha256")}
    cases = [
        ({k: v for k, v in whole.items() if k != "last.bias"}, {}, "expected weights last.bias"),
        ({k: v for k, v in whole.items() if k != "scale.size"}, {}, "the rule is for 0 states"),
        ({**whole, "last.weight": whole["last.weight"][:, 1:]}, {}, "last.weight must have the shape"),
        ({**whole, "scale.size": 0 * whole["scale.size"]}, {}, "scale.size must be > 0"),
        ({**whole, "last.bias": np.full_like(whole["last.bias"], np.nan)}, {}, "last.bias must be finite"),
        (whole, {"network": {"encoder": "linear", "width": 8}}, "must have the shape"),
        (whole, {"network": {"encoder": "lstm"}}, "network"),
        (whole, {"network": []}, "expected settings, got"),
        (whole, {"targets": "loose"}, "no decision rule"),
        (whole, {"targets": []}, "no decision rule"),
    ]
    for number, (weights, told, message) in enumerate(cases):
        folder = tmp_path / str(number)
        checkpoint.save(folder, weights, {**about, **told})
        with pytest.raises(InputError, match=message):
            orl.solve("hydrothermal/case3", "ts-ddr", settings={"checkpoint": str(folder)}, scenarios=1)


def test_tail_weights():
    """Of four paths the dearest two are the tail, the second of them to a half."""
    costs = np.array([1.0, 4.0, 3.0, 2.0])
    assert tail_weights(costs, 0.375, 1.0) == pytest.approx([0, 2 / 3, 1 / 3, 0])
    assert tail_weights(costs, 0.5, 0.5) == pytest.approx([0.125, 0.375, 0.375, 0.125])
    assert tail_weights(costs, 0.5, 0.0) == pytest.approx(np.full(4, 0.25))


def test_balanced_paths_have_all_noises_equally_often():
    of = staged(orl.load("hydrothermal/bolivia", settings=SHORT))
    noises = draw_paths(of, np.random.default_rng(0), 30, True)
    for stage, drawn in zip(of.graph.stages, noises.swapaxes(0, 1), strict=True):
        count = [(drawn == noise).all(axis=1).sum() for noise in np.unique(stage.noises, axis=0)]
        assert sum(count) == 30 and len(set(count)) == 1


@pytest.mark.parametrize(
    ("instance", "told", "message"),
    [
        ({"horizon": "periodic", "discount": 0.9}, {}, "one stage after another"),
        ({}, {"tail": 0.0}, "tail in"),
        ({}, {"processes": 0}, "processes must be"),
    ],
)
def test_what_cannot_be_trained_is_said(instance, told, message):
    with pytest.raises((InputError, ValueError), match=message):
        learner("hydrothermal/case3", instance, **told)


def test_a_rule_for_another_system_is_refused(tmp_path):
    trained(tmp_path / "run", 4, iterations=4)
    settings = {"checkpoint": str(tmp_path / "run" / "last")}
    with pytest.raises(InputError, match="1 states and 1 noises"):
        orl.solve("hydrothermal/bolivia", "ts-ddr", settings=settings, scenarios=1)
    with pytest.raises(InputError, match="no rule of ts-ldr comes with case3"):
        orl.solve("hydrothermal/case3", "ts-ldr", scenarios=1)


def test_autoregressive_inflows_are_part_of_the_state(tmp_path):
    """The Brazilian system: noises depend on those before, memory is no target."""
    one = learner("hydrothermal/brazil", {"stages": 4, "inflow_model": "autoregressive", "noise_samples": 5})
    with one:
        assert one.num_shares == 4 and len(one.staged.graph.initial) == 8
        loss, answer = one.loss(draw_paths(one.staged, np.random.default_rng(0), 5, True))
        assert not answer.missed.any() and loss.item() > 0.9
        assert one.validated() > 0


def test_it_is_picklable(tmp_path):
    import pickle

    trained(tmp_path / "run", 4, iterations=4)
    solver = find_solver("ts-ddr", HYDRO)
    instance = orl.load("hydrothermal/case3")
    settings = dataclasses.replace(solver.settings(), checkpoint=str(tmp_path / "run" / "last"))
    policy = solver.policy(Task(HYDRO, instance, None, settings, 0, Control()))
    assert isinstance(policy, DecisionRulePolicy) and pickle.loads(pickle.dumps(policy)).is_strict


def test_a_rule_that_asks_for_the_end_finds_back():
    """Shares far beyond 1, where all water is kept and the thermal plants pay: descent leads back, and no further."""
    one = learner("hydrothermal/case3")
    with one, torch.no_grad():
        one.rule.last.bias.fill_(4.0)
        noises = draw_paths(one.staged, np.random.default_rng(0), 3, True)
        told = shown(noises, one.scale, one.staged.season)
        with torch.enable_grad():
            one.loss(noises)[0].backward()
            assert (one.rule.last.bias.grad > 0).all()
            one.optimiser.zero_grad()
            (-targets_of(one.rule, one.staged, told, one.scale, True).sum()).backward()
            assert not one.rule.last.bias.grad.any(), "more than all cannot be asked for"


def test_train_from_the_command_line(tmp_path, capsys):
    """A linear rule by name, and how to use it; what a recipe names but a rule cannot have is one line."""
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    one = '[{ instance = "hydrothermal/case3" }]'
    text = (
        f'method = "ts-ldr"\nproblem = "hydrothermal"\nvalidation_instances = 2\nvalidate_every = 2\nsizes = {one}\n'
        f"validation = {one}\n[training]\niterations = 2\npaths = 3\n"
    )
    recipe.write_text(text)
    assert cli.main(["train", str(recipe), "--out", str(out)]) == 0
    assert f"--solver ts-ldr --set checkpoint={out / 'best'}" in capsys.readouterr().out
    about = json.loads((out / "best" / "about.json").read_text())
    assert (about["network"]["encoder"], about["recipe"]["training"]["learning_rate"]) == ("linear", 0.003)
    assert about["recipe"]["method"] == "ts-ldr"
    recipe.write_text(text.replace("case3", "bolivia", 1))
    assert cli.main(["train", str(recipe), "--out", str(tmp_path / "no")]) == 2
    assert "must each name it alone" in capsys.readouterr().err


def test_a_recipe_that_is_gone_when_training_ends_is_not_missed(tmp_path, capsys, monkeypatch):
    """Hours may have gone by."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('method = "ts-ddr"\nproblem = "hydrothermal"\n')

    def trained_meanwhile(*told):
        recipe.unlink()
        (tmp_path / "run" / "best").mkdir(parents=True)
        return tmp_path / "run"

    monkeypatch.setattr(api, "train", trained_meanwhile)
    assert cli.main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 0
    assert "--solver ts-ddr" in capsys.readouterr().out
