"""The record of hydrothermal dispatch: a network, its plants and reservoirs, inflows. Checked when made; immutable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from orl.errors import InputError

from .grid import Grid
from .limits import MAX_NUMBER, check_numbers

MAX_STAGES = MAX_SAMPLES = 100_000
HM3_PER_FLOW_HOUR = 0.0036  # hm3 that 1 m3/s brings in an hour
COMMITMENT = ("min_output", "start_cost", "min_up", "min_down")  # settings that need commitment=on


@dataclass(frozen=True)
class HydroThermalSettings:
    """What `--set` may change about hydrothermal dispatch.

    Parameters
    ----------
    network : 'dc', 'ac', 'soc', 'transport' or 'single-bus'
        Lossless linear flow over the branches; alternating current with voltages and reactive power (needs the extra
        `power`); its second-order cone relaxation; flow within the branches' limits alone; or one bus for all.
    stage_hours : float > 0, or None
        Length of a stage; None: the folder's, else 1.
    load_factor : float > 0
        By which all loads are multiplied.
    stages : int in 1..100000, or None
        Length of an episode; None: as many as rows of inflows.
    reported_stages : int >= 1, or None
        Whose cost is told apart from that of all; None: all.
    discount : float in (0, 1]
        Of a cost one stage later.
    horizon : 'finite' or 'periodic'
        Whether the last stage is the end, or the first row of inflows follows the last for ever (needs a discount
        below 1).
    initial_volumes : tuple of float >= 0, or None
        hm3, one a reservoir; None: the file's.
    initial_inflows : tuple of float >= 0, or None
        m3/s, one a reservoir: those of the first stage, known beforehand; None: the file's, or drawn where it has none.
    probabilities : 'file' or 'uniform'
        Weights of the inflow scenarios: those of scenarioprobability.csv where it exists, or equal ones.
    inflow_model : 'history' or 'autoregressive'
        Of the files of msppy: the years on record, each stage's drawn apart, or a periodic autoregression of order 1
        with multiplicative errors.
    noise_samples : int in 1..100000
        How many errors of the autoregression are drawn for each month, once and for all: the process is that of these.
    noise_seed : int >= 0
        Of that draw.
    panel : 'drawn' or 'protocol'
        Whether scenarios to evaluate on are drawn, or those of the folder's protocol.csv: row t, column i holds the
        number (from 1) of the inflow scenario of stage t in scenario i.
    inflows : str or None
        A CSV file with the one path of inflows to play, m3/s: a row a stage, a column a reservoir. Policies are made
        for the folder's inflows all the same.
    commitment : 'off' or 'on'
        Whether thermal plants are started and stopped: one that is off makes no power, one that runs its least at
        least. Off: all are always ready, within the file's limits. On is for the method `exact` alone. Before the first
        stage all plants are off, and have been long enough.
    min_output : float in 0..1, or None
        Least power of a thermal plant that runs, as a share of its largest; None: the file's. This and what follows
        need commitment=on.
    start_cost : float >= 0
        USD a start and MW of the plant's largest power. The default, 0, adds nothing to what the files say.
    min_up, min_down : int >= 1
        Stages that a plant stays on once started, and off once stopped.
    """

    network: Literal["dc", "ac", "soc", "transport", "single-bus"] = "dc"
    stage_hours: float | None = None
    load_factor: float = 1.0
    stages: int | None = None
    reported_stages: int | None = None
    discount: float = 1.0
    horizon: Literal["finite", "periodic"] = "finite"
    initial_volumes: tuple[float, ...] | None = None
    initial_inflows: tuple[float, ...] | None = None
    probabilities: Literal["file", "uniform"] = "file"
    inflow_model: Literal["history", "autoregressive"] = "history"
    noise_samples: int = 50
    noise_seed: int = 0
    panel: Literal["drawn", "protocol"] = "drawn"
    inflows: str | None = None
    commitment: Literal["off", "on"] = "off"
    min_output: float | None = None
    start_cost: float = 0.0
    min_up: int = 1
    min_down: int = 1

    def __post_init__(self) -> None:
        for key, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, key) not in get_args(kind):
                raise ValueError(f"{key} must be one of {', '.join(get_args(kind))}, got {getattr(self, key)!r}.")
        for key in ("stage_hours", "load_factor"):
            value = getattr(self, key)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{key} must be > 0, got {value}.")
        for key in ("stages", "reported_stages", "noise_samples", "min_up", "min_down"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise ValueError(f"{key} must be >= 1, got {getattr(self, key)}.")
        for key, most in (("stages", MAX_STAGES), ("reported_stages", MAX_STAGES), ("noise_samples", MAX_SAMPLES)):
            if (getattr(self, key) or 0) > most:
                raise ValueError(f"{key} must be at most {most}, got {getattr(self, key)}.")
        if self.noise_seed < 0:
            raise ValueError(f"noise_seed must be >= 0, got {self.noise_seed}.")
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount must be > 0 and at most 1, got {self.discount}.")
        if self.horizon == "periodic" and self.discount == 1:
            raise ValueError("horizon=periodic needs a discount below 1, got 1.")
        if self.min_output is not None and not 0 <= self.min_output <= 1:
            raise ValueError(f"min_output must be in 0..1, got {self.min_output}.")
        if not 0 <= self.start_cost < float("inf"):
            raise ValueError(f"start_cost must be >= 0, got {self.start_cost}.")
        for field_ in fields(self):
            if field_.name in COMMITMENT and self.commitment == "off" and getattr(self, field_.name) != field_.default:
                raise ValueError(f"{field_.name} needs commitment=on.")


@dataclass(frozen=True, eq=False)
class Network:
    """Buses, loads, thermal plants and branches.

    Parameters
    ----------
    bus_names : tuple of str, (B,)
    load_mw : ndarray (rows, B)
        Stage t takes row t modulo rows.
    gen_names : tuple of str, (G,)
    gen_bus : int ndarray (G,)
    gen_min_mw, gen_max_mw : ndarray (G,)
    gen_cost : ndarray (G,)
        USD/MWh.
    branch_from, branch_to : int ndarray (E,)
        Buses.
    branch_min_mw, branch_max_mw : ndarray (E,)
        Least flow, negative where it may go backwards, and largest; the largest angle difference counts, too.
    branch_cost : ndarray (E,)
        USD/MWh of flow; 0 where it may go backwards.
    branch_mw_per_rad : ndarray (E,), or None
        Flow for an angle difference of one radian; None: unknown, so there is no network=dc.
    deficit_cost : ndarray (S,)
        USD/MWh of load that is not served, in segments, ascending.
    deficit_share : ndarray (S,)
        Of the bus's load, that each segment has room for; may be infinite.
    reference_bus : int
    fixed_cost : float
        USD/h, whatever is decided.
    grid : Grid or None
        What network=ac and network=soc need beside; None: not asked for, or not known.
    """

    bus_names: tuple[str, ...]
    load_mw: np.ndarray
    gen_names: tuple[str, ...]
    gen_bus: np.ndarray
    gen_min_mw: np.ndarray
    gen_max_mw: np.ndarray
    gen_cost: np.ndarray
    branch_from: np.ndarray
    branch_to: np.ndarray
    branch_min_mw: np.ndarray
    branch_max_mw: np.ndarray
    branch_cost: np.ndarray
    branch_mw_per_rad: np.ndarray | None
    deficit_cost: np.ndarray
    deficit_share: np.ndarray
    reference_bus: int = 0
    fixed_cost: float = 0.0
    grid: Grid | None = None

    def __post_init__(self) -> None:
        check_numbers(self, ("branch_min_mw", "branch_max_mw", "deficit_share"))
        wrong = self.gen_min_mw > self.gen_max_mw
        if wrong.any():
            place = int(wrong.argmax())
            raise InputError(
                f"{self.gen_names[place]}: expected least power <= largest, got {self.gen_min_mw[place]:g} and "
                f"{self.gen_max_mw[place]:g} MW."
            )
        wrong = (self.branch_cost != 0) & (self.branch_min_mw < 0) | (self.branch_min_mw > self.branch_max_mw)
        if wrong.any():
            place = int(wrong.argmax())
            raise InputError(
                f"branch {place}: expected least flow <= largest, and no cost where it may go backwards, got "
                f"{self.branch_min_mw[place]:g}..{self.branch_max_mw[place]:g} MW at {self.branch_cost[place]:g}."
            )
        costs = (self.gen_cost, self.branch_cost, self.deficit_cost, np.array([self.fixed_cost]))
        if not all((of >= 0).all() for of in costs):
            raise InputError("costs of plants, branches and deficit must be >= 0.")
        if not (np.diff(self.deficit_cost) > 0).all() or (self.deficit_share < 0).any():
            raise InputError("costs of deficit segments must ascend, and their shares be >= 0.")
        if (grid := self.grid) is not None:
            if self.branch_cost.any():
                raise InputError("flow over the branches of a grid costs nothing; branch_cost must be 0.")
            expected = (self.branch_from.shape, (len(self.bus_names),), self.gen_cost.shape)
            found = (grid.branch_r.shape, grid.bus_v_min.shape, grid.gen_min_mvar.shape)
            if found != expected:
                raise InputError(f"the grid must be of as many branches, buses and plants, {expected}, got {found}.")
            grid.check_joined((self.branch_from, self.branch_to), self.reference_bus, self.bus_names)


@dataclass(frozen=True, eq=False)
class Reservoirs:
    """Reservoirs, each with its power plant.

    Parameters
    ----------
    names : tuple of str, (R,)
    bus : int ndarray (R,)
    min_hm3, max_hm3, initial_hm3 : ndarray (R,)
    min_turn, max_turn : ndarray (R,)
        m3/s through the turbines, as far as the plant's power allows.
    mw_per_flow : ndarray (R,)
        MW for 1 m3/s.
    cost : ndarray (R,)
        USD/MWh.
    spill_cost : ndarray (R,)
        USD/hm3.
    turn_into, spill_into : bool ndarray (R, R)
        Whether what reservoir i (row) turbines or spills flows into reservoir j (column).
    """

    names: tuple[str, ...]
    bus: np.ndarray
    min_hm3: np.ndarray
    max_hm3: np.ndarray
    initial_hm3: np.ndarray
    min_turn: np.ndarray
    max_turn: np.ndarray
    mw_per_flow: np.ndarray
    cost: np.ndarray
    spill_cost: np.ndarray
    turn_into: np.ndarray
    spill_into: np.ndarray

    def __post_init__(self) -> None:
        check_numbers(self, ("max_hm3", "max_turn"))
        for low, high, unit in (("min_hm3", "max_hm3", "hm3"), ("min_turn", "max_turn", "m3/s")):
            lows, highs = getattr(self, low), getattr(self, high)
            bad = ~((lows >= 0) & (highs >= lows))
            if bad.any():
                place = int(bad.argmax())
                raise InputError(
                    f"{self.names[place]}: expected 0 <= {low} <= {high}, got {lows[place]:g} and {highs[place]:g} "
                    f"{unit}."
                )
        if not self.names:
            raise InputError("expected at least one reservoir.")
        if not ((self.cost >= 0).all() and (self.spill_cost >= 0).all()):
            raise InputError("costs of reservoirs must be >= 0.")
        outside = ~((self.initial_hm3 >= self.min_hm3) & (self.initial_hm3 <= self.max_hm3))
        if outside.any():
            place = int(outside.argmax())
            raise InputError(
                f"{self.names[place]}: the initial volume must be in {self.min_hm3[place]:g}.."
                f"{self.max_hm3[place]:g} hm3, got {self.initial_hm3[place]:g}."
            )


@dataclass(frozen=True, eq=False)
class Autoregression:
    """Inflows that depend on those before: a_t = z_t (base_t + slope_t a_{t-1}), the errors z_t drawn stage by stage.

    Parameters
    ----------
    base, slope : ndarray (rows, R)
        m3/s; no unit. Of the stage's row.
    """

    base: np.ndarray
    slope: np.ndarray

    def __post_init__(self) -> None:
        check_numbers(self)


@dataclass(frozen=True, eq=False)
class HydroThermal:
    """Long-term dispatch of reservoirs and thermal plants under uncertain inflows.

    Parameters
    ----------
    name : str
    network : Network
    reservoirs : Reservoirs
    inflows : ndarray (rows, scenarios, R)
        m3/s; with an autoregression its errors, no unit. Stage t takes row t modulo rows; one scenario is drawn for
        all reservoirs together.
    probabilities : ndarray (rows, scenarios)
    stage_hours : float
    settings : HydroThermalSettings
    source : str
        For messages.
    panel : int ndarray (stages, S), or None
        Numbers (from 0) of the inflow scenarios of S scenarios to evaluate on.
    path : ndarray (stages, R), or None
        The one path of inflows, m3/s.
    first_inflow : ndarray (R,), or None
        Of the first stage, m3/s, if it is known beforehand.
    autoregression : Autoregression or None
    holds_energy : bool
        Whether reservoirs are those of energy: volumes in MW-stages, flows in MW, all else as it is.
    first_stage : int
        What the first stage is counted as, in an episode on the way.
    origin : HydroThermal or None
        What this goes on from, or was made of to plan with: the same but for volumes, inflows and horizon.
    """

    name: str
    network: Network
    reservoirs: Reservoirs
    inflows: np.ndarray
    probabilities: np.ndarray
    stage_hours: float = 1.0
    settings: HydroThermalSettings = field(default_factory=HydroThermalSettings)
    source: str = ""
    panel: np.ndarray | None = None
    path: np.ndarray | None = None
    first_inflow: np.ndarray | None = None
    autoregression: Autoregression | None = None
    holds_energy: bool = False
    first_stage: int = 0
    origin: HydroThermal | None = None

    problem = "hydrothermal"

    def __post_init__(self) -> None:
        count = len(self.reservoirs.names)
        if not 0 < self.stage_hours <= MAX_NUMBER:
            raise self._error(f"stage_hours must be > 0 and at most {MAX_NUMBER:g}, got {self.stage_hours:g}.")
        if self.path is not None and self.settings.initial_inflows is not None:
            raise self._error("initial_inflows and a path of inflows cannot both be given.")
        if self.settings.network == "dc" and self.network.branch_mw_per_rad is None:
            raise self._error("nothing is known of the branches' reactances; set network to transport or single-bus.")
        if (kind := self.settings.network) in ("ac", "soc"):
            if (grid := self.network.grid) is None:
                raise self._error(
                    f"nothing is known of the grid (voltages, resistances, reactive power) that network={kind} needs; "
                    "set network to transport or single-bus, or read another file."
                )
            self.refuse_commitment(f"network={kind}", "set network to dc, transport or single-bus")
            if len(grid.hydro_min_mvar) != count:
                raise self._error(f"the grid must be of {count} reservoirs, got {len(grid.hydro_min_mvar)}.")
        if self.first_inflow is not None and (
            self.first_inflow.shape != (count,)
            or not ((self.first_inflow >= 0) & (self.first_inflow <= MAX_NUMBER)).all()
        ):
            raise self._error(f"initial_inflows must be {count} numbers >= 0.")
        if self.autoregression is not None and self.first_inflow is None:
            raise self._error("an autoregression begins with known inflows; set initial_inflows.")
        if (memory := self.autoregression) is not None and not (
            memory.base.shape == memory.slope.shape == (len(self.inflows), count)
        ):
            shapes = f"{memory.base.shape} and {memory.slope.shape}"
            raise self._error(f"an autoregression must be of {len(self.inflows)} rows x {count}, got {shapes}.")
        if self.path is not None:
            if self.path.ndim != 2 or self.path.shape[1] != count:
                raise self._error(f"a path of inflows must have {count} columns, got shape {self.path.shape}.")
            if not (np.abs(self.path) <= MAX_NUMBER).all():
                raise self._error(f"a path of inflows must be of numbers, at most {MAX_NUMBER:g} in size.")
        if self.inflows.ndim != 3 or self.inflows.shape[2] != len(self.reservoirs.names):
            raise self._error(f"inflows must be of {len(self.reservoirs.names)} reservoirs, got {self.inflows.shape}.")
        if not ((self.inflows >= 0) & (self.inflows <= MAX_NUMBER)).all():
            raise self._error(f"inflows must be numbers >= 0, at most {MAX_NUMBER:g}.")
        if self.probabilities.shape != self.inflows.shape[:2]:
            raise self._error(
                f"there must be {self.inflows.shape[0]} x {self.inflows.shape[1]} probabilities, one a row and "
                f"scenario, got {self.probabilities.shape[0]} x {self.probabilities.shape[1]}."
            )
        sums = self.probabilities.sum(axis=1)
        if (self.probabilities < 0).any() or (abs(sums - 1) > 1e-6).any():
            row = int(abs(sums - 1).argmax())
            raise self._error(f"probabilities must be >= 0 and sum to 1, row {row} sums to {sums[row]:g}.")
        for key, table in (("panel", self.panel), ("inflows", self.path)):
            if table is not None and len(table) < self.num_stages:
                raise self._error(f"{key} must have a row a stage, {self.num_stages}, got {len(table)}.")
        if self.panel is not None and ((self.panel < 0) | (self.panel >= self.inflows.shape[1])).any():
            raise self._error(f"panel must number inflow scenarios from 1 to {self.inflows.shape[1]}.")
        if (reported := self.settings.reported_stages) is not None and reported > self.num_stages:
            raise self._error(f"reported_stages must be at most {self.num_stages}, got {reported}.")

    @property
    def num_stages(self) -> int:
        """Of an episode."""
        return self.settings.stages or len(self.inflows)

    @property
    def is_random(self) -> bool:
        """Whether scenarios differ."""
        is_known = self.num_stages == 1 and self.first_inflow is not None
        return self.path is None and self.inflows.shape[1] > 1 and not is_known

    @property
    def has_commitment(self) -> bool:
        """Whether thermal plants are started and stopped."""
        return self.settings.commitment == "on"

    @property
    def least_mw(self) -> np.ndarray:
        """Least power of a thermal plant that runs, MW, (G,)."""
        share = self.settings.min_output
        return self.network.gen_min_mw if share is None else share * self.network.gen_max_mw

    def refuse_commitment(self, what: str, advice: str = "solve it by the method exact (--solver exact)") -> None:
        """Raise an error if thermal plants are started and stopped, which `what` cannot do."""
        if self.has_commitment:
            raise self._error(f"{what} knows no commitment=on; {advice}.")

    @property
    def hm3_per_flow(self) -> float:
        """K: hm3 that 1 m3/s brings in a stage; 1 where reservoirs hold energy."""
        return 1.0 if self.holds_energy else HM3_PER_FLOW_HOUR * self.stage_hours

    @property
    def volume_unit(self) -> str:
        return "MW-stages" if self.holds_energy else "hm3"

    @property
    def flow_unit(self) -> str:
        return "MW" if self.holds_energy else "m3/s"

    def row(self, stage: int) -> int:
        """Return the row of inflows of a stage."""
        return (self.first_stage + stage) % len(self.inflows)

    def load_mw(self, stage: int) -> np.ndarray:
        """Return the load of a stage, (B,)."""
        return self.network.load_mw[(self.first_stage + stage) % len(self.network.load_mw)]

    def reactive_limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return least and most reactive power of all plants at each bus together, Mvar, (B,) each."""
        network, low, high = self.network, *np.zeros((2, len(self.network.bus_names)))
        grid, place = network.grid, np.concatenate([network.gen_bus, self.reservoirs.bus])
        assert grid is not None
        np.add.at(low, place, np.concatenate([grid.gen_min_mvar, grid.hydro_min_mvar]))
        np.add.at(high, place, np.concatenate([grid.gen_max_mvar, grid.hydro_max_mvar]))
        return low, high

    def load_mvar(self, stage: int) -> np.ndarray:
        """Return the reactive load of a stage, (B,), of a network with a grid."""
        assert self.network.grid is not None
        load = self.network.grid.load_mvar
        return load[(self.first_stage + stage) % len(load)]

    @cached_property
    def stages_of_storage(self) -> float:
        """How many stages of mean inflow the reservoirs hold."""
        inflow = self.mean_inflow.sum() * self.hm3_per_flow
        return float(self.reservoirs.max_hm3.sum()) / float(inflow) if inflow else float("inf")

    @cached_property
    def mean_inflows(self) -> np.ndarray:
        """Expected inflow of each row in the long run, m3/s, (rows, R)."""
        rows = len(self.inflows)
        if self.autoregression is None:
            return expected_inflows(replace(self, first_inflow=None, first_stage=0), rows)
        years = 10  # long enough to forget the first inflow
        return expected_inflows(replace(self, first_stage=0), years * rows)[-rows:]

    @property
    def mean_inflow(self) -> np.ndarray:
        """The mean of `mean_inflows` over the rows, (R,)."""
        return self.mean_inflows.mean(axis=0)

    @cached_property
    def mw_downstream(self) -> np.ndarray:
        """Power of a flow through a plant and all plants that its water is turbined into, MW per m3/s, (R,)."""
        water = self.reservoirs
        power = water.mw_per_flow
        for _ in range(len(power) - 1):  # the longest way down; a ring of plants is followed no further
            power = water.mw_per_flow + water.turn_into @ power
        return power

    def _error(self, message: str) -> InputError:
        return InputError(f"{self.source or self.name}: {message}")


def expected_inflows(instance: HydroThermal, num_stages: int) -> np.ndarray:
    """Return the expected inflow of each stage from the first on, m3/s, (num_stages, R); a path is not looked at."""
    row = [instance.row(stage) for stage in range(num_stages)]
    return course(instance, np.einsum("ts,tsr->tr", instance.probabilities[row], instance.inflows[row]), row)


def course(instance: HydroThermal, drawn: np.ndarray, row: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the inflows that come of what is drawn (num_stages, R) in stages of some rows; `drawn` is overwritten."""
    if instance.first_inflow is not None:
        drawn[0] = instance.first_inflow
    if (memory := instance.autoregression) is not None:
        for stage in range(1, len(drawn)):
            drawn[stage] *= memory.base[row[stage]] + memory.slope[row[stage]] * drawn[stage - 1]
    return drawn


def describe(instance: HydroThermal) -> str:
    """Say size, stage, load and storage in one line."""
    network, reservoirs = instance.network, instance.reservoirs
    rows, scenarios, _ = instance.inflows.shape
    ends = "for ever" if instance.settings.horizon == "periodic" else f"{instance.num_stages} stages"
    words: list[Any] = [
        f"{len(reservoirs.names)} reservoirs, {len(network.gen_names)} thermal plants, {len(network.bus_names)} buses, "
        f"{len(network.branch_from)} branches ({instance.settings.network})",
        f"{ends} of {instance.stage_hours:g} h (K = {instance.hm3_per_flow:g} {instance.volume_unit} per "
        f"{instance.flow_unit})",
        f"load {network.load_mw.sum(axis=1).mean():.1f} MW",
        f"{rows} x {scenarios} {'inflows' if instance.autoregression is None else 'errors of autoregressive inflows'}",
        f"storage of {instance.stages_of_storage:.3g} stages of mean inflow",
    ]
    return "; ".join(words)
