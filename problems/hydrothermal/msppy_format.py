"""Folders in the format of msppy's hydro-thermal example (BSD-3 licence): Brazil as four reservoirs of energy.

hydro.csv (largest storage and generation, initial storage and inflow), demand.csv (a row a month, a column a region),
deficit.csv (cost and share of the load of each segment), exchange.csv and exchange_cost.csv (from region, row, to
region, column; the last one is a node without load), thermal_I.csv (least, most, cost of the plants of region I),
hist_I.csv (a row a year, semicolons, NA where unknown), and for inflow_model=autoregressive exp_mu.csv, gamma.csv and
sigma_M.csv (covariance of month M):

    a_t = exp(e_t) ((1 - gamma_t) mu_t + gamma_t mu_t / mu_{t-1} a_{t-1}),    e_t ~ N(0, sigma_t)

Units are MW and MW-months: K is 1. Spilled energy costs SPILL_COST.

References
----------
A. Shapiro, W. Tekaya, J. P. da Costa, M. P. Soares (2013). Risk neutral and risk averse stochastic dual dynamic
programming method. European Journal of Operational Research 224(2). doi 10.1016/j.ejor.2012.08.022
L. Ding, S. Ahmed, A. Shapiro (2019). A Python package for multi-stage stochastic programming. Optimization Online.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orl.errors import at

from .instance import Autoregression, HydroThermal, HydroThermalSettings, Network, Reservoirs
from .tables import read_table

REGIONS = ("SE", "S", "NE", "N")
SPILL_COST = 0.001
HOURS = 730.0  # of a month; told, but no part of any equation without commitment
MONTHS = 12


def sniff(folder: Path) -> bool:
    """Return whether a folder is in this format."""
    return (folder / "hydro.csv").is_file() and (folder / "exchange.csv").is_file()


def load(folder: Path, chosen: HydroThermalSettings) -> HydroThermal:
    """Read a folder.

    Raises
    ------
    InputError
        One line that names the file and what was expected.
    """
    if chosen.panel == "protocol":
        raise at(folder, None, "this format has no protocol; leave panel=drawn.")
    count = len(REGIONS)
    hydro = _table(folder, "hydro", (3 * count, 2))
    storage, inflow, generation = hydro.reshape(3, count, 2)
    reservoirs = Reservoirs(
        names=REGIONS,
        bus=np.arange(count),
        min_hm3=np.zeros(count),
        max_hm3=storage[:, 0],
        initial_hm3=storage[:, 1],
        min_turn=np.zeros(count),
        max_turn=generation[:, 0],
        mw_per_flow=np.ones(count),
        cost=np.zeros(count),
        spill_cost=np.full(count, SPILL_COST),
        turn_into=np.zeros((count, count), dtype=bool),
        spill_into=np.zeros((count, count), dtype=bool),
    )
    drawn, memory = _autoregressive(folder, chosen) if chosen.inflow_model == "autoregressive" else _history(folder)
    return HydroThermal(
        folder.name,
        _network(folder, chosen.load_factor),
        reservoirs,
        drawn,
        np.full(drawn.shape[:2], 1 / drawn.shape[1]),
        chosen.stage_hours or HOURS,
        chosen,
        str(folder),
        first_inflow=inflow[:, 1],
        autoregression=memory,
        holds_energy=True,
    )


def _network(folder: Path, load_factor: float) -> Network:
    count = len(REGIONS)
    limits = _table(folder, "exchange", (count + 1, count + 1))
    costs = _table(folder, "exchange_cost", (count + 1, count + 1))
    source, target = np.nonzero(limits)
    deficit = _table(folder, "deficit", (None, 2))
    plants = [_table(folder, f"thermal_{region}", (None, 3)) for region in range(count)]
    load = np.zeros((MONTHS, count + 1))
    load[:, :count] = load_factor * _table(folder, "demand", (MONTHS, count))
    low, high, cost = np.concatenate(plants).T
    return Network(
        bus_names=(*REGIONS, "node"),
        load_mw=load,
        gen_names=tuple(f"{REGIONS[r]}-{number}" for r, of_r in enumerate(plants) for number in range(len(of_r))),
        gen_bus=np.repeat(np.arange(count), [len(of_region) for of_region in plants]),
        gen_min_mw=low,
        gen_max_mw=high,
        gen_cost=cost,
        branch_from=source,
        branch_to=target,
        branch_min_mw=np.zeros(len(source)),
        branch_max_mw=limits[source, target],
        branch_cost=costs[source, target],
        branch_mw_per_rad=None,
        deficit_cost=deficit[:, 0],
        deficit_share=deficit[:, 1],
    )


def _history(folder: Path) -> tuple[np.ndarray, None]:
    """Return the inflows of the years that all regions have whole, (12, years, R)."""
    names = [f"hist_{region}" for region in range(len(REGIONS))]
    tables = [_table(folder, name, (None, MONTHS), delimiter=";", missing="NA") for name in names]
    years = {len(table) for table in tables}
    if len(years) > 1:
        raise at(folder / "hist_0.csv", None, f"all regions must have the same years, got {sorted(years)}.")
    by_year = np.stack(tables, axis=2)
    whole = by_year[~np.isnan(by_year).any(axis=(1, 2))]
    if not len(whole):
        raise at(folder / "hist_0.csv", None, "no year is whole in all regions.")
    return whole.transpose(1, 0, 2), None


def _autoregressive(folder: Path, chosen: HydroThermalSettings) -> tuple[np.ndarray, Autoregression]:
    """Return errors drawn once and for all, (12, noise_samples, R), and the regression."""
    count = len(REGIONS)
    mean, gamma = (_table(folder, name, (MONTHS, count)) for name in ("exp_mu", "gamma"))
    rng = np.random.default_rng(chosen.noise_seed)
    errors = np.empty((MONTHS, chosen.noise_samples, count))
    for month in range(MONTHS):
        covariance = _table(folder, f"sigma_{month}", (count, count))
        try:
            drawn = rng.multivariate_normal(np.zeros(count), covariance, chosen.noise_samples, method="cholesky")
        except np.linalg.LinAlgError:
            raise at(folder / f"sigma_{month}.csv", None, "expected a positive definite covariance.") from None
        errors[month] = drawn
    if not (mean > 0).all():
        raise at(folder / "exp_mu.csv", None, "means must be > 0.")
    before = np.roll(mean, 1, axis=0)
    return np.exp(errors), Autoregression(base=(1 - gamma) * mean, slope=gamma * mean / before)


def _table(folder: Path, name: str, shape: tuple[int | None, int], **form: str) -> np.ndarray:
    """Read a table with a line of names and a column of names."""
    path = folder / f"{name}.csv"
    table = read_table(path, header=True, first=1, **form)
    if shape != (shape[0] and len(table), table.shape[1]):
        rows = "some" if shape[0] is None else shape[0]
        raise at(path, None, f"expected {rows} rows of {shape[1]} numbers, got {len(table)} of {table.shape[1]}.")
    return table
