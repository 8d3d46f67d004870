"""The method `sddp`: stochastic dual dynamic programming on a family's graph of linear stages. See README.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from orl.errors import InputError, Stopped
from orl.files import check_writable, packaged, parse_json, read_text, write_atomically
from orl.policy import Memory
from orl.problem import Problem
from orl.process import Observation
from orl.scenario import Purpose, generator
from orl.solver import Certificate, Control, Solver, Task

if TYPE_CHECKING:
    from orl.stages import Staged

    from .node import Node
    from .risk import Risk
    from .train import Sddp

TIME_SHARE = 0.6  # of the time limit, for training; the rest is for simulating
PROOF_SHARE = 0.8  # of the time limit, after which no more cuts are proven
MAX_PROCESSES = 64
SHIPPED = "shipped"


@dataclass(frozen=True)
class SddpSettings:
    """What `sddp` may be told.

    Parameters
    ----------
    iterations : int >= 0
        Forward and backward passes; a time limit may end training before. 0: none, which needs cuts to begin with.
    stall : int >= 0
        Stop when the bound has risen by less than `stall_tolerance` of itself over so many iterations; 0: never.
    stall_tolerance : float >= 0
    simulate_every : int >= 0
        Simulate the policy after every so many iterations, and stop when the bound lies within the 95 % interval of the
        mean cost; 0: never. A weak test, see stopping.py: a wide interval stops early. With the expectation only.
    simulations : int >= 2
        Paths of such a simulation.
    risk : 'expectation', 'worst-case', 'avar', 'entropic' or 'mean-avar'
        What a random future cost is worth. The bound is on the mean cost with the expectation only.
    share : float in (0, 1]
        Of the worst cases, of avar and mean-avar.
    weight : float in [0, 1]
        Of the AVaR in mean-avar; the rest is the mean's.
    gamma : float > 0
        Of the entropic measure.
    processes : int >= 1
        That train side by side, and exchange their cuts after every pass; a round counts as many iterations. The result
        depends on the seed and on how many they are.
    multi_cut : bool
        A cut for each scenario of the next stage in place of one for all; with the expectation only.
    cuts : str or None
        A JSON file of cuts to begin with, and to write the cuts to when training ends; 'shipped': to begin with those
        that come with the instance.
    prove : bool
        Prove a bound in fractions when training ends, from cuts made anew at the states of those of training, and tell
        it as `proven_bound`. For graphs that end, linear stages and the expectation.
    """

    iterations: int = 100
    stall: int = 0
    stall_tolerance: float = 1e-6
    simulate_every: int = 0
    simulations: int = 100
    risk: Literal["expectation", "worst-case", "avar", "entropic", "mean-avar"] = "expectation"
    share: float = 0.1
    weight: float = 0.5
    gamma: float = 1e-3
    processes: int = 1
    multi_cut: bool = False
    cuts: str | None = None
    prove: bool = False

    def __post_init__(self) -> None:
        if self.iterations < (self.cuts is None):
            raise ValueError(f"iterations must be >= 1 without cuts to begin with, else >= 0, got {self.iterations}.")
        if not 1 <= self.processes <= MAX_PROCESSES:
            raise ValueError(f"processes must be in 1..{MAX_PROCESSES}, got {self.processes}.")
        if self.stall < 0 or not self.stall_tolerance >= 0:
            raise ValueError(f"stall and stall_tolerance must be >= 0, got {self.stall} and {self.stall_tolerance}.")
        if self.simulate_every < 0 or self.simulations < 2:
            raise ValueError(
                f"expected simulate_every >= 0 and simulations >= 2, got {self.simulate_every} and {self.simulations}."
            )
        if self.simulate_every and self.risk != "expectation":
            raise ValueError("simulate_every is for risk=expectation: what is simulated is a mean.")
        known = ("expectation", "worst-case", "avar", "entropic", "mean-avar")
        if self.risk not in known:
            raise ValueError(f"risk must be one of {', '.join(known)}, got {self.risk!r}.")
        if not 0 < self.share <= 1 or not 0 <= self.weight <= 1 or not self.gamma > 0:
            raise ValueError(
                f"expected share in (0, 1], weight in [0, 1] and gamma > 0, got {self.share}, {self.weight} and "
                f"{self.gamma}."
            )
        if self.multi_cut and self.risk != "expectation":
            raise ValueError("multi_cut=true is for risk=expectation.")


@dataclass(frozen=True, eq=False)
class SddpPolicy:
    """Decide a stage by its program with the cuts learned; the same question has the same answer, see `Node.settled`.

    Parameters
    ----------
    staged : Staged
    nodes : list of Node
        Settled, one a node of the graph.
    bound : float
    figures : name -> float
        How training went.
    """

    staged: Staged
    nodes: list[Node]
    bound: float
    figures: dict[str, float]
    clairvoyant: bool = False
    batch: int = 1

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> Memory:
        """Return nothing, or with `Staged.operate` what each environment's next stage may begin with."""
        return None if self.staged.operate is None else [None] * len(instances)

    def decide(self, observation: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        actions, operate = np.zeros(observation.legal[:, 0].shape), self.staged.operate
        known, begins = None if operate is None else list(memory), {edge.node for edge in self.staged.graph.root}
        for env in range(len(actions)):
            seen = self.staged.seen(observation, env)
            if seen is None:
                continue
            node = self.nodes[seen.node]
            outgoing = node.visit(seen.state, seen.noise).outgoing
            if operate is not None and known is not None:
                before = None if seen.node in begins else known[env]
                outgoing, _, known[env] = operate(seen.node, *seen[1:], *node.future(), outgoing, before)
            actions[env] = self.staged.action(outgoing, observation, env)
        return actions, memory if operate is None else known


def _policy(task: Task) -> SddpPolicy:
    from .parallel import Crew
    from .stopping import IntervalRule, has_stalled, recent_mean
    from .train import Iteration, Sddp, train

    if task.instance is None:
        raise InputError("sddp makes a policy for one instance; none is given.")
    assert task.problem.stages is not None
    settings, control = task.settings, task.control
    out = check_writable(settings.cuts, (".json",)) if settings.cuts not in (None, SHIPPED) else None
    staged = task.problem.stages(task.instance)
    if settings.multi_cut and staged.operate is not None:
        raise InputError(
            "multi_cut=true is for stages that are the process's own, which those of this instance are not."
        )
    sddp = Sddp(staged.graph, _risk(settings), settings.multi_cut, operate=staged.operate)
    if settings.prove:
        from .proof import check_provable

        check_provable(sddp)
    if settings.cuts == SHIPPED:
        _load(sddp, _shipped(sddp, task.instance.name))
    elif out is not None and out.is_file():
        _load(sddp, out)
    elif not settings.iterations:
        raise InputError(f"{out}: no such file; iterations=0 needs cuts to begin with.")
    # Paths to test the policy on are drawn apart, so that training draws the same with and without the test.
    test = IntervalRule(sddp, generator(task.seed, Purpose.TRAIN, 0, 2), settings.simulate_every, settings.simulations)
    rngs = [generator(task.seed, Purpose.TRAIN, number) for number in range(settings.processes)]
    with control.progress(settings.iterations, "iterations") as bar, Crew(sddp, rngs, control.scheduler) as crew:

        def is_late() -> bool:
            return control.is_interrupted or control.gone > TIME_SHARE

        def should_stop(log: list[Iteration]) -> bool:
            is_done = sddp.iterations >= settings.iterations or is_late()
            return is_done or has_stalled(log, settings.stall, settings.stall_tolerance) or test.is_met(log, is_late)

        def report(log: list[Iteration]) -> None:
            bar.update(min(log[-1].number, settings.iterations) - bar.n)
            mean, count = recent_mean(log)
            passes, bound = f"last {count} passes {mean:.8g}", log[-1].bound
            bar.set_postfix_str(f"bound {bound:.8g}, {passes}")
            if _is_bound(settings, staged):
                control.report(bound=bound, note=passes)
            else:
                control.report(note=f"sddp_bound {bound:.8g}  {passes}")

        log = train(sddp, rngs[0], should_stop, lambda: control.seconds, report, crew.iterate)
    if out is not None:
        write_atomically(out, json.dumps(sddp.to_dict()) + "\n")
    figures = {"iterations": float(sddp.iterations)}
    if settings.prove:
        figures |= _proven(sddp, control)
    if test.interval is not None:
        figures |= {f"simulated_{key}": value for key, value in test.interval._asdict().items()}
    return SddpPolicy(staged, sddp.settled(), log[-1].bound if log else sddp.bound(), figures)


def _proven(sddp: Sddp, control: Control) -> dict[str, float]:
    """Return the bound that is proven in fractions, rounded downwards; nothing if there was no time."""
    from orl.rational import floor

    from .proof import prove_bound

    try:
        proven = prove_bound(sddp, lambda: control.is_interrupted or control.gone > PROOF_SHARE)
    except Stopped as stopped:
        control.report(note=f"no proven bound: {stopped}")
        return {}
    return {"proven_bound": floor(proven)}


def _is_bound(settings: SddpSettings, staged: Staged) -> bool:
    """Whether the value of the beginning bounds the mean cost of episodes."""
    return settings.risk == "expectation" and staged.has_same_end


def _risk(settings: SddpSettings) -> Risk:
    from .risk import AVaR, Entropic, Expectation, Mixture, WorstCase

    if settings.risk == "worst-case":
        return WorstCase()
    if settings.risk == "avar":
        return AVaR(settings.share)
    if settings.risk == "entropic":
        return Entropic(settings.gamma)
    if settings.risk == "mean-avar":
        return Mixture([Expectation(), AVaR(settings.share)], [1 - settings.weight, settings.weight])
    return Expectation()


def _shipped(sddp: Sddp, name: str) -> Path:
    """Return the file of cuts that come with an instance as it is set."""
    path = packaged("orl.solvers.sddp") / "cuts" / f"{name}-{sddp.fingerprint()[:8]}.json"
    if not path.is_file():
        there = ", ".join(sorted(one.stem.rpartition("-")[0] for one in path.parent.glob("*.json"))) or "none"
        raise InputError(f"no cuts come with {name} as it is set, some do with: {there}; train some, cuts=FILE.json.")
    return path


def _load(sddp: Sddp, path: Path) -> None:
    written = parse_json(read_text(path), path)
    try:
        sddp.load_cuts(written)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: expected cuts of this graph: {error}") from None


def certificate(policy: SddpPolicy, task: Task) -> Certificate:
    """Return the bound; with a risk measure, or where an episode ends elsewhere, it is no bound on the mean cost."""
    figures = {"sddp_bound": policy.bound, **policy.figures}
    if not _is_bound(task.settings, policy.staged):
        return Certificate(None, "none", figures)
    is_certain = not task.scenarios.is_random
    return Certificate(policy.bound, "proven" if is_certain else "sddp", figures)


def _fits(problem: Problem) -> bool:
    return problem.stages is not None


SOLVER = Solver(
    name="sddp",
    summary="stochastic dual dynamic programming: cuts on what states are worth, a policy and a bound",
    settings=SddpSettings,
    fits=_fits,
    policy=_policy,
    certificate=certificate,
)
