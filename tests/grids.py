"""Small systems with a drawn grid, and drawn ones without losses of all that there is."""

from dataclasses import replace

import numpy as np

from orl.problems.hydrothermal.grid import Grid
from orl.problems.hydrothermal.instance import Autoregression, HydroThermal, HydroThermalSettings, Network, Reservoirs

BASE = 100.0


def draw_system(seed, network="soc", stages=2, has_turns=True):
    """Return a connected grid of 2-5 buses with one or two reservoirs; what it needs of power can be made."""
    rng = np.random.default_rng(seed)
    buses = int(rng.integers(2, 6))
    ends = [(int(rng.integers(bus)), bus) for bus in range(1, buses)]
    for _ in range(int(rng.integers(3))):
        ends.append(tuple(int(x) for x in rng.choice(buses, 2, replace=False)))
    ends.append(ends[0][:: int(rng.choice([1, -1]))])  # a parallel one
    source, target = np.array(ends).T
    branches, thermal, plants = len(ends), int(rng.integers(1, 3)), int(rng.integers(1, 3))
    turns = rng.random(branches) < 0.3 if has_turns else np.zeros(branches, dtype=bool)
    load = BASE * rng.uniform(0, 0.4, buses)
    limit = rng.uniform(0.3, 1.2)  # rad
    wide = np.full(thermal, 999.0), np.full(plants, 60.0)
    grid = Grid(
        base_mva=BASE,
        branch_r=rng.uniform(0.0, 0.05, branches),
        branch_x=rng.uniform(0.05, 0.3, branches),
        branch_g_from=np.where(turns, 0.002, 0.0),
        branch_b_from=rng.uniform(0, 0.1, branches),
        branch_g_to=np.zeros(branches),
        branch_b_to=rng.uniform(0, 0.1, branches),
        branch_tap=np.where(turns, rng.uniform(0.95, 1.05, branches), 1.0),
        branch_shift=np.where(turns, rng.uniform(-0.05, 0.05, branches), 0.0),
        branch_rate=rng.choice([np.inf, 1.0, 0.5], branches),
        branch_angle_min=np.full(branches, -limit),
        branch_angle_max=np.full(branches, limit),
        bus_v_min=np.full(buses, 0.9),
        bus_v_max=np.full(buses, 1.1),
        bus_shunt_g=np.zeros(buses),
        bus_shunt_b=rng.choice([0.0, 0.05], buses),
        load_mvar=rng.uniform(-0.2, 0.4, (1, buses)) * load,
        gen_min_mvar=-wide[0],
        gen_max_mvar=wide[0],
        hydro_min_mvar=-wide[1],
        hydro_max_mvar=wide[1],
    )
    made = Network(
        bus_names=tuple(f"b{bus}" for bus in range(buses)),
        load_mw=load[None],
        gen_names=tuple(f"g{g}" for g in range(thermal)),
        gen_bus=rng.integers(buses, size=thermal),
        gen_min_mw=np.zeros(thermal),
        gen_max_mw=np.full(thermal, 0.7 * load.sum()),
        gen_cost=rng.uniform(10, 40, thermal),
        branch_from=source,
        branch_to=target,
        branch_min_mw=np.full(branches, -10 * BASE),
        branch_max_mw=np.full(branches, 10 * BASE),
        branch_cost=np.zeros(branches),
        branch_mw_per_rad=BASE / grid.branch_x,
        deficit_cost=np.array([500.0]),
        deficit_share=np.array([np.inf]),
        grid=grid,
    )
    chain = np.triu(np.ones((plants, plants), dtype=bool), 1)
    reservoirs = Reservoirs(
        names=tuple(f"r{r}" for r in range(plants)),
        bus=rng.integers(buses, size=plants),
        min_hm3=np.zeros(plants),
        max_hm3=rng.uniform(20, 60, plants),
        initial_hm3=np.zeros(plants),
        min_turn=np.zeros(plants),
        max_turn=np.full(plants, 60.0),
        mw_per_flow=rng.uniform(0.5, 1.5, plants),
        cost=np.full(plants, 0.1),
        spill_cost=np.full(plants, 0.01),
        turn_into=chain,
        spill_into=chain,
    )
    inflows = rng.uniform(0, 60, (stages, 3, plants))
    settings = HydroThermalSettings(network=network, stage_hours=168)
    return HydroThermal(f"drawn{seed}", made, reservoirs, inflows, np.full((stages, 3), 1 / 3), 168.0, settings)


def draw_lossless(seed):
    """Return a system of any kind that linear stages know: reservoirs in any order, plants and flows with least values,
    segments of deficit, loads by season, inflows of every law, an episode at its beginning or on the way.

    A stage may have no dispatch at all.
    """
    rng = np.random.default_rng([1, seed])
    network = str(rng.choice(["dc", "transport", "single-bus"]))
    rows, stages, plants = (int(of) for of in rng.integers(1, 4, 3))
    one = draw_system(seed, network, rows)
    buses, branches = len(one.network.bus_names), len(one.network.branch_from)

    def maybe(value, other, probability=0.5):
        return value if rng.random() < probability else other

    least = maybe(0.0, -rng.uniform(0.1, 0.6, branches) * BASE)
    segments = int(rng.integers(1, 4))
    share = rng.uniform(0.05, 0.5, segments)
    share[-1] = rng.choice([np.inf, 1.0])
    loads = one.network.load_mw * rng.choice([0.25, 1.0, 2.0, 3.0], (rng.integers(1, 4), 1))
    system = replace(
        one.network,
        load_mw=loads,
        gen_min_mw=maybe(0.0, 0.05 * loads.min(), 0.8) * np.ones(len(one.network.gen_cost)),
        branch_min_mw=np.broadcast_to(least, branches),
        branch_max_mw=rng.uniform(0.1, 0.6, branches) * BASE,
        branch_cost=np.where(np.broadcast_to(least, branches) < 0, 0.0, rng.choice([0.0, 0.5, 3.0], branches)),
        deficit_cost=np.cumsum(rng.uniform(20, 300, segments)),
        deficit_share=share,
        reference_bus=int(rng.integers(buses)),
        fixed_cost=float(maybe(0.0, 7.0)),
        grid=None,
    )
    into = [~np.eye(plants, dtype=bool) & (rng.random((plants, plants)) < 0.3) for _ in range(2)]
    if rng.random() < 0.8:  # else water may go round
        into = [np.triu(of) for of in into]
    low, most = rng.choice([0.0, 5.0], plants), rng.uniform(20, 60, plants)
    reservoirs = Reservoirs(
        names=tuple(f"r{r}" for r in range(plants)),
        bus=rng.integers(buses, size=plants),
        min_hm3=low,
        max_hm3=most,
        initial_hm3=low + rng.random(plants) * (most - low),
        min_turn=maybe(0.0, rng.uniform(0, 3, plants), 0.7) * np.ones(plants),
        max_turn=rng.uniform(10, 80, plants),
        mw_per_flow=rng.uniform(0.3, 1.5, plants),
        cost=rng.choice([0.0, 0.1], plants),
        spill_cost=rng.choice([0.0, 0.01, 1.0], plants),
        turn_into=into[0],
        spill_into=into[1],
    )
    samples, inflows = int(rng.integers(1, 4)), (0.0, 60.0)
    weights = rng.random((rows, samples)) + 0.1
    law = str(rng.choice(["history", "known", "autoregressive", "path", "panel"]))
    first, memory = rng.uniform(*inflows, plants) if law in ("known", "autoregressive") else None, None
    if law == "autoregressive":
        memory, inflows = (
            Autoregression(rng.uniform(0, 40, (rows, plants)), rng.uniform(0, 1, (rows, plants))),
            (0.5, 1.5),
        )
    is_ring = rng.random() < 0.5
    return HydroThermal(
        f"lossless{seed}",
        system,
        reservoirs,
        rng.uniform(*inflows, (rows, samples, plants)),
        weights / weights.sum(axis=1, keepdims=True),
        float(rng.choice([1.0, 168.0, 720.0])),
        HydroThermalSettings(
            network=network, stages=stages, discount=0.9 if is_ring else float(rng.choice([1.0, 0.9])),
            horizon="periodic" if is_ring else "finite",
        ),
        panel=rng.integers(samples, size=(stages, 5)) if law == "panel" else None,
        path=rng.uniform(*inflows, (stages, plants)) if law == "path" else None,
        first_inflow=first,
        autoregression=memory,
        holds_energy=bool(rng.random() < 0.2),
        first_stage=int(rng.integers(5)),
    )  # fmt: skip
