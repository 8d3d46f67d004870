"""Drawn lot-sizing instances of every setting, for property tests."""

import numpy as np
from hypothesis import strategies as st

from orl.problems.clsp.instance import CapacitatedLotSizing, CapacitatedSettings
from orl.problems.lotsizing.demand import IndependentDemand, PathDemand, SeasonalDemand, binomial
from orl.problems.lotsizing.instance import LotSizing, LotSizingSettings, LotState

COSTS = st.sampled_from([0.0, 0.5, 1.0, 2.5, 10.0])


def demands(items, periods):
    """Return a strategy of every law."""
    tables = st.lists(
        st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(any), min_size=items, max_size=items
    ).map(lambda rows: IndependentDemand(np.array(rows) / np.sum(rows, axis=1, keepdims=True)))
    paths = st.lists(
        st.lists(st.integers(0, 4), min_size=items, max_size=items), min_size=periods, max_size=periods
    ).map(PathDemand)
    seasonal = st.builds(
        SeasonalDemand,
        st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=items, max_size=items),
        st.sampled_from([[1.0], [1.0, 0.0, 2.0]]),
        st.sampled_from([0.0, 0.5]),
    )
    return st.one_of(st.just(binomial(items, 3, 0.4)), tables, paths, seasonal)


@st.composite
def lots(draw):
    """Return an instance of up to 3 machines and 3 items over up to 6 periods."""

    def pick(*options):
        return draw(st.sampled_from(options))

    def table(values, *shape):
        count = int(np.prod(shape))
        return np.array(draw(st.lists(values, min_size=count, max_size=count))).reshape(shape)

    machines, items, periods = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    decision = pick("machine", "joint")
    is_joint = decision == "joint" and machines > 1
    demand = draw(demands(items, periods))
    discount = pick(1.0, 0.9)
    settings = LotSizingSettings(
        discount=discount,
        horizon=pick("file", "infinite") if discount < 1 and not isinstance(demand, PathDemand) else "file",
        tail=0.3,
        decision=decision,
        unmet=pick("lost", "backlog"),
        overflow="discard" if is_joint else pick("discard", "forbid"),
        idle=pick("loses-setup", "keeps-setup"),
        item_machines="any" if is_joint else pick("any", "one"),
        start=pick("file", "random"),
        cost_noise=pick(0.0, 0.3),
    )
    units = st.integers(0, 3)
    tables = {}
    for setup, changeover, values in (
        ("setup_costs", "changeover_costs", COSTS),
        ("setup_losses", "changeover_losses", units),
    ):
        if draw(st.booleans()):
            tables[changeover] = table(values, machines, items + 1, items + 1)
            tables[changeover][:, :, 0] = 0
        else:
            tables[setup] = table(values, machines, items)
    limits = table(st.integers(0, 6), items)
    state = None
    if draw(st.booleans()):
        low = -3 if settings.unmet == "backlog" else 0
        booked = [] if decision == "joint" else [0] * draw(st.integers(0, machines - 1))
        state = LotState(
            draw(st.integers(0, periods - 1)),
            table(st.integers(0, items), machines),
            table(st.integers(low, 4), items),
            booked,
            pick(None, [1] * items),
            [1.1] * items if settings.cost_noise else None,
        )
    return LotSizing(
        "drawn",
        table(units, machines, items),
        table(COSTS, items),
        table(COSTS, items),
        limits,
        demand,
        periods,
        **tables,
        initial_setup=table(st.integers(0, items), machines),
        initial_stock=np.minimum(table(units, items), limits),
        settings=settings,
        state=state,
    )


@st.composite
def pigments(draw, due=1, most_items=3, most_periods=6):
    """Return an instance with unmet=forbid, of up to 3 items over up to 6 periods, in any setting that there is with
    it; it may have no plan that meets all demand.
    """

    def pick(*options):
        return draw(st.sampled_from(options))

    def table(values, *shape):
        count = int(np.prod(shape))
        return np.array(draw(st.lists(values, min_size=count, max_size=count))).reshape(shape)

    items, periods = draw(st.integers(1, most_items)), draw(st.integers(1, most_periods))
    demand = PathDemand(table(st.sampled_from([0] * items + [due]), periods, items))
    settings = LotSizingSettings(
        discount=pick(1.0, 0.9),
        horizon="file",
        decision=pick("machine", "joint"),
        unmet="forbid",
        overflow=pick("discard", "forbid"),
        idle=pick("loses-setup", "keeps-setup"),
        item_machines=pick("any", "one"),
        cost_noise=pick(0.0, 0.3),
    )
    tables = {}
    if draw(st.booleans()):
        tables["changeover_costs"] = table(COSTS, 1, items + 1, items + 1)
        tables["changeover_costs"][:, :, 0] = 0
    else:
        tables["setup_costs"] = table(COSTS, 1, items)
    state = None
    if draw(st.booleans()):
        state = LotState(
            draw(st.integers(0, periods - 1)),
            table(st.integers(0, items), 1),
            table(st.integers(0, 2), items),
            [],
            None,
            [1.1] * items if settings.cost_noise else None,
        )
    return LotSizing(
        "drawn",
        table(st.sampled_from([1, 1, 1, 0]), 1, items),
        table(COSTS, items),
        table(COSTS, items),
        demand.path.sum(axis=0) + table(st.integers(0, 2), items),
        demand,
        periods,
        **tables,
        initial_setup=table(st.integers(0, items), 1),
        settings=settings,
        state=state,
    )


@st.composite
def capacitated(draw, most_periods=4, **settings):
    """Return a capacitated instance of up to 3 items over up to 4 periods, with a price for overtime."""
    periods, items = draw(st.integers(1, most_periods)), draw(st.integers(1, 3))
    numbers = st.integers(0, 9)
    demand = draw(st.lists(st.lists(numbers, min_size=items, max_size=items), min_size=periods, max_size=periods))
    columns = [draw(st.lists(st.integers(low, 9), min_size=items, max_size=items)) for low in (1, 0, 0, 0)]
    columns[2] = [cost * draw(st.sampled_from([1, 10])) for cost in columns[2]]  # set-ups, some for many periods
    capacity = draw(st.lists(st.integers(0, 60), min_size=periods, max_size=periods))
    chosen = CapacitatedSettings(**{"overtime": float(draw(st.integers(1, 20))), **settings})
    most = 3 if chosen.stock_limit == np.inf else 0
    stock = draw(st.lists(st.integers(0, most), min_size=items, max_size=items))
    return CapacitatedLotSizing("drawn", demand, capacity, *columns, initial_stock=stock, settings=chosen)
