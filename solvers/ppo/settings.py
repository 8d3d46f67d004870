"""What a training by proximal policy optimisation may be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from orl.learn import forms
from orl.learn.readers import Encoder
from orl.params import check_threads

TABU_MOVES = 100_000
MAX_ENVIRONMENTS = 2**20
MAX_EPOCHS = 1000
LARGEST = 1e30  # that weights of single precision can be multiplied by
Form = Literal["max", "sum", "post", "half-steps"]


@dataclass(frozen=True)
class PpoSettings:
    """How a policy is trained.

    Parameters
    ----------
    encoder : 'candidates', 'plain', 'graph' or 'graph-once'
        What the network reads, see `orl.learn.readers`.
    columns : int
        Of a candidate's features so many are read, the first ones; 0: all.
    width, layers, graph_layers : int
        Of the network.
    iterations : int
        Of playing and updating.
    taught : int
        So many iterations at first imitate a teacher on `instances` instances: what its policy does, or the solutions
        of a method without one, on instances of the first variant, in which nothing may be random.
    lessons : int
        After so many of these iterations the same instances come again, since solutions are dear; 0: always new ones.
    teacher, teacher_settings : str, mapping
        A method and its settings.
    self_labelling : int
        So many iterations, after those, imitate the best of the environments that play the same instance (Corsini et
        al. 2024, arXiv 2401.11849), instead of the clipped objective.
    instances, samples : int
        Of an iteration: drawn instances with a scenario each, and environments that play each of them.
    extremes : int
        Learn from so many of the best and as many of the worst environments of an instance alone, which tell most for
        the time of an update (Xu et al. 2025, arXiv 2504.13818); 0: from all of them.
    baseline : 'group' or 'critic'
        What costs are compared with: the mean of the environments that play the same instance and scenario, divided by
        their spread (as Kwon et al. 2020, POMO, arXiv 2010.16011); or a critic, by generalised advantage estimation.
    critic : 'single' or 'dual'
        Whether a second critic judges the post-decision state, a network of its own; with baseline=critic.
    advantage : 'max', 'sum', 'post' or 'half-steps'
        With a dual critic; the formulas stand in `advantage`.
    gae_decay : float in [0, 1]
        Lambda, with a critic.
    discount : float in (0, 1]
        Of a cost one decision later, on top of the process': below 1 advantages look less far and vary less.
    normalise : 'returns' or 'none'
        Whether costs are divided by the spread of what is left to pay, so that critics learn numbers about 1.
    epochs, minibatch : int
        Passes over an iteration's decisions, at most 1000, and decisions of an update.
    clip : float
        How far an update may move the probability of a choice, as a ratio.
    learning_rate : float
        Annealed to a twentieth along half a cosine.
    entropy : float
        Weight of the entropy, which keeps samples different.
    threads : int
        Of torch. Equal seeds give equal weights with 1.
    value_weight, max_gradient : float
        Weight of the critic's squared error; the norm that gradients are cut to.
    """

    encoder: Encoder = "candidates"
    columns: int = 0
    width: int = 64
    layers: int = 3
    graph_layers: int = 2
    iterations: int = 1000
    taught: int = 0
    teacher: str = "tabu"
    teacher_settings: dict[str, Any] = field(default_factory=dict)
    lessons: int = 0
    self_labelling: int = 0
    instances: int = 8
    samples: int = 32
    extremes: int = 0
    baseline: Literal["group", "critic"] = "group"
    critic: Literal["single", "dual"] = "single"
    advantage: Form = "half-steps"
    gae_decay: float = 0.95
    discount: float = 1.0
    normalise: Literal["returns", "none"] = "returns"
    epochs: int = 1
    minibatch: int = 4096
    clip: float = 0.2
    learning_rate: float = 1e-3
    entropy: float = 0.01
    value_weight: float = 0.5
    max_gradient: float = 1.0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.teacher == "tabu" and not self.teacher_settings:
            object.__setattr__(self, "teacher_settings", {"iterations": TABU_MOVES})
        forms.check_size(self)
        check_threads(self.threads)
        for key in ("iterations", "instances", "samples", "epochs", "minibatch", "threads"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be >= 1, got {getattr(self, key)}.")
        if self.epochs > MAX_EPOCHS:  # no time limit ends an update
            raise ValueError(f"epochs must be at most {MAX_EPOCHS}, got {self.epochs}.")
        if self.instances * self.samples > MAX_ENVIRONMENTS:
            raise ValueError(
                f"instances and samples are {MAX_ENVIRONMENTS} environments at most, got {self.instances} times "
                f"{self.samples}."
            )
        for key in ("columns", "taught", "lessons", "self_labelling", "entropy", "value_weight"):
            if not 0 <= getattr(self, key) < LARGEST:
                raise ValueError(f"{key} must be >= 0 and below {LARGEST:g}, got {getattr(self, key)}.")
        for key in ("clip", "learning_rate", "max_gradient"):
            if not 0 < getattr(self, key) < LARGEST:
                raise ValueError(f"{key} must be > 0 and below {LARGEST:g}, got {getattr(self, key)}.")
        if self.baseline == "group" and self.samples < 2:
            raise ValueError("baseline=group compares environments of the same instance: samples must be >= 2.")
        if not 0 <= 2 * self.extremes <= self.samples:
            raise ValueError(f"extremes must be in 0..samples / 2, got {self.extremes}.")
        if not 0 <= self.gae_decay <= 1:
            raise ValueError(f"gae_decay must be in 0..1, got {self.gae_decay}.")
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount must be > 0 and at most 1, got {self.discount}.")
        if self.critic == "dual" and self.baseline != "critic":
            raise ValueError("critic=dual needs baseline=critic.")
