"""Small systems with a drawn grid."""

import numpy as np

from orl.problems.hydrothermal.grid import Grid
from orl.problems.hydrothermal.instance import HydroThermal, HydroThermalSettings, Network, Reservoirs

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
