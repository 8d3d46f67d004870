"""Drawn lot sizing: small, and as odd as the data model allows."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from orl.problems.lotsizing.demand import IndependentDemand, PathDemand, SeasonalDemand, binomial, discrete, uniform
from orl.problems.lotsizing.instance import LotSizing, LotSizingSettings
from orl.problems.lotsizing.process import LotSizingProcess
from orl.problems.lotsizing.scenario import sample
from orl.problems.lotsizing.state import in_motion
from orl.scenario import Purpose, Scenarios

LAWS = ("binomial", "pmf", "independent", "uniform", "poisson", "seasonal", "path")
COSTS = st.sampled_from((0.0, 0.01, 0.3, 1.0, 2.5, 17.0))


@st.composite
def demands(draw, items, periods, laws=LAWS):
    """Draw demand of every law; that of a path is known for `periods`."""
    law = draw(st.sampled_from(laws))
    if law == "binomial":
        return binomial(items, draw(st.integers(0, 6)), draw(st.sampled_from((0.0, 0.3, 0.5, 1.0))))
    if law == "pmf":
        values = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))  # some of them twice
        return discrete(items, values, [1 / len(values)] * len(values))
    if law == "independent":
        weights = draw(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=items, max_size=items))
        assume(all(map(any, weights)))
        return IndependentDemand([np.array(row) / sum(row) for row in weights])
    if law == "uniform":
        ends = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted)
        return uniform(draw(st.lists(ends, min_size=items, max_size=items)))
    if law == "path":
        row = st.lists(st.integers(0, 6), min_size=items, max_size=items)
        return PathDemand(draw(st.lists(row, min_size=periods, max_size=periods + 2)))
    means = draw(st.lists(st.sampled_from((0.0, 0.5, 2.0, 7.25)), min_size=items, max_size=items))
    if law == "poisson":
        return SeasonalDemand(means)
    season = draw(st.lists(st.sampled_from((0.0, 0.5, 1.0, 2.0)), min_size=1, max_size=4))
    return SeasonalDemand(means, season, draw(st.sampled_from((0.0, 0.25, 0.5))))


@st.composite
def lots(draw, max_machines=3, max_items=3, max_periods=7, laws=LAWS, **settings):
    """Draw lot sizing with every setting, law of demand and table of set-ups; `settings` fixes some of the settings."""
    machines, items = draw(st.integers(1, max_machines)), draw(st.integers(1, max_items))
    periods = draw(st.integers(1, max_periods))
    chosen = {
        "discount": draw(st.sampled_from((1.0, 1.0, 0.9, 0.5))),
        "horizon": draw(st.sampled_from(("auto", "file", "1", "4"))),
        "tail": 0.1,
        "decision": draw(st.sampled_from(("machine", "machine", "joint"))),
        "unmet": draw(st.sampled_from(("lost", "backlog"))),
        "overflow": draw(st.sampled_from(("discard", "forbid"))),
        "idle": draw(st.sampled_from(("loses-setup", "keeps-setup"))),
        "item_machines": draw(st.sampled_from(("any", "one"))),
        "start": draw(st.sampled_from(("file", "random"))),
        "cost_noise": draw(st.sampled_from((0.0, 0.0, 0.25, 0.9))),
        **settings,
    }
    if chosen["decision"] == "joint" and machines > 1:
        chosen |= {"overflow": "discard", "item_machines": "any"}
    options = LotSizingSettings(**chosen)

    def table(entry, *shape):
        flat = draw(st.lists(entry, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        return np.array(flat).reshape(shape)

    needed = int(options.horizon) if options.horizon.isdigit() else periods
    demand = draw(demands(items, needed, [law for law in laws if not (law == "path" and options.is_infinite)]))
    limits = table(st.integers(0, 12), items)
    tables = {}
    for kind, entry in (("costs", COSTS), ("losses", st.integers(0, 3))):
        if draw(st.booleans()):
            tables[f"changeover_{kind}"] = table(entry, machines, items + 1, items + 1)
            tables[f"changeover_{kind}"][:, :, 0] = 0
        elif draw(st.integers(0, 3)):
            tables[f"setup_{kind}"] = table(entry, machines, items)
    return LotSizing(
        "drawn",
        rates=table(st.integers(0, 5), machines, items),
        holding_costs=table(COSTS, items),
        shortage_costs=table(COSTS, items),
        stock_limits=limits,
        demand=demand,
        num_periods=periods,
        initial_setup=draw(st.none() | st.just(table(st.integers(0, items), machines))),
        initial_stock=draw(st.none() | st.just(np.minimum(table(st.integers(0, 12), items), limits))),
        item_names=[f"item {item}" for item in range(items)] if draw(st.booleans()) else None,
        settings=options,
        **tables,
    )


@st.composite
def lots_in_motion(draw, **drawn):
    """Draw lot sizing that was played at random for some decisions."""
    lot = draw(lots(**drawn))
    seed = draw(st.integers(0, 2**32))
    process = stopped(lot, scenario_of(lot, seed), np.random.default_rng(seed), draw(st.integers(0, 12)))
    return in_motion(lot, process.observe(), 0)


def stopped(lot: LotSizing, scenario: Scenarios, rng: np.random.Generator, decisions: int) -> LotSizingProcess:
    """Return a process after some random decisions, before an end."""
    process = LotSizingProcess([lot], [scenario])
    for _ in range(decisions):
        process.decide(random_action(process, rng))
        process.reveal()
    assume(process.observe().legal.any())
    return process


def random_action(process: LotSizingProcess, rng: np.random.Generator) -> np.ndarray:
    legal = process.observe().legal
    return np.where(legal, rng.random(legal.shape), -1).argmax(axis=-1)


def scenario_of(lot: LotSizing, seed: int) -> Scenarios:
    """Return one row, the empty one if nothing is random."""
    return sample(lot, seed, Purpose.EVALUATE, 1)


def scenario_with(uniforms: np.ndarray, start: np.ndarray | None = None) -> Scenarios:
    """Return one row that holds these uniform numbers, (periods, 1 or 2, num_items), and then halves."""

    def draw_block(rng: np.random.Generator, block: int) -> np.ndarray:
        return uniforms.copy() if block == 0 else np.full((64, *uniforms.shape[1:]), 0.5)

    return Scenarios(0, Purpose.EVALUATE, (0,), draw_block, None if start is None else lambda rng: start.copy())


def same(one: object, other: object) -> bool:
    """Whether two records hold the same, source files apart."""
    if type(one) is not type(other):
        return False
    for key in (item.name for item in fields(one)):  # type: ignore[arg-type]
        a, b = getattr(one, key), getattr(other, key)
        if key in ("source", "name"):
            continue
        if hasattr(a, "num_items"):
            if not same(a, b):
                return False
        elif isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            if a is None or b is None or not np.array_equal(a, b):
                return False
        elif a != b:
            return False
    return True


def with_settings(lot: LotSizing, **settings) -> LotSizing:
    return replace(lot, settings=replace(lot.settings, **settings))
