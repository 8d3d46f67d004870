"""Drawn cases, kernels and processes against SimPy twins and verifiers: 100,000 of each family.

python benchmarks/robustness_twins.py measure [--cases 100000] [--chunk 1000] [--seed 0] [--only jobshop ...]
python benchmarks/robustness_twins.py again FILE      what was kept of a case that failed
python benchmarks/robustness_twins.py                 write the table

A case is a small instance, drawn over all that the family knows by the strategies of the tests, with a drawn rule,
drawn decisions and a drawn scenario; each instance has four cases. What must agree is said in tests/twins.py. Chunks
are rows, so a measurement goes on where it was. The first case that disagrees ends it, and is kept as a file in --out.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import record
import rows
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import twins
from grids import draw_lossless, draw_system
from lots import capacitated, lots, pigments
from servers import random_server, servers
from shops import EVERY_MODE, scenario_of, shops, shops_in_motion

from orl.problems.clsp.simpy_twin import RULES as CAPACITATED_RULES
from orl.problems.jobshop.simpy_twin_rules import SCORES
from orl.problems.llmserving.rules import RULES as SERVING_RULES
from orl.problems.llmserving.scenario import sample
from orl.problems.lotsizing.rules import RULES as LOT_RULES
from orl.scenario import Purpose

RAW = record.RESULTS / "robustness_twins"
SEEDS = st.integers(0, 2**32 - 1)
PLAYS = 4  # of an instance, whose drawing takes longer


def _shops(shop: Any, number: int) -> None:
    twins.shop_rules_agree(shop, scenario_of(shop, number), (_one_of(SCORES, number),))
    twins.shop_decisions_agree(shop, scenario_of(shop, number + 1), np.random.default_rng(number))


def _lots(instance: Any, number: int) -> None:
    twins.lots_rule_agrees(instance, _one_of(LOT_RULES, number), number)
    twins.lots_decisions_agree(instance, number)


def _capacitated(instance: Any, number: int) -> None:
    twins.capacitated_targets_agree(instance, number)
    twins.capacitated_rule_agrees(instance, _one_of(CAPACITATED_RULES, number), number)
    twins.targets_verify("clsp", instance, number)
    twins.lots_of_items_are_cheapest(instance)


def _systems(kind: tuple[str, int, float], number: int) -> None:
    network, stages, discount = kind
    if network == "lossless":
        twins.dispatches_agree(draw_lossless(number), number)
        return
    system = draw_system(number, network, stages)
    system = replace(system, settings=replace(system.settings, discount=discount))
    twins.targets_verify("hydrothermal", system, number)


def _servers(instance: Any, number: int) -> None:
    rng = np.random.default_rng([11, number])
    twins.server_decisions_agree(random_server(rng), rng)
    rule = _one_of(SERVING_RULES, number)
    twins.server_rule_verifies(instance, sample(instance, number, Purpose.EVALUATE, 1), rule)


def _one_of(names: Iterable[str], number: int) -> str:
    return sorted(names)[np.random.default_rng(number).integers(len(list(names)))]


_OVERTIME = st.fixed_dictionaries({
    "setups": st.sampled_from(["binary", "relaxed"]),
    "demand": st.sampled_from(["file", "random"]),
    "samples": st.integers(1, 3),
    "stock_limit": st.sampled_from([float("inf"), 1.5]),
    "most_periods": st.just(7),
})  # fmt: skip
CASES: dict[str, tuple[str, st.SearchStrategy[Any], Callable[[Any, int], None]]] = {
    "jobshop": (
        "a rule in the kernel and random decisions in the process against the SimPy twin, every schedule verified; "
        "every buffer, failure, calendar, objective and dispatch, half of the shops in motion",
        st.one_of(shops(**EVERY_MODE), shops_in_motion().map(lambda drawn: drawn[0])),
        _shops,
    ),
    "lotsizing": (
        "a rule in the kernel and random decisions in the process against the SimPy twin, plans verified; every "
        "setting, half of them pigments",
        st.one_of(lots(), pigments(), lots(), pigments(due=2)),
        _lots,
    ),
    "clsp": (
        "a rule and random targets in the process against the SimPy twin, period by period, and against the verifier; "
        "the dynamic program of items against plain recursion",
        _OVERTIME.flatmap(lambda chosen: capacitated(**chosen)),
        _capacitated,
    ),
    "hydrothermal": (
        "random targets in the process against the SimPy twin, stage by stage, and against the verifier, on networks "
        "of 2-5 buses; a tenth with the cone relaxation, against the verifier alone",
        st.tuples(st.sampled_from([*["lossless"] * 9, "soc"]), st.integers(1, 3), st.sampled_from([1.0, 0.9])),
        _systems,
    ),
    "llmserving": (
        "random decisions in the process against the SimPy twin at every step, logs verified; and a rule in the kernel "
        "of another server against the verifier",
        servers(),
        _servers,
    ),
}  # fmt: skip


class Disagreement(Exception):
    """A case of which two accounts differ."""


def checked(family: str, start: int, first: int, count: int, out: Path) -> rows.Row:
    """Check the cases of a chunk; keep the first that disagrees and stop there."""
    _, strategy, check = CASES[family]
    cases, instances, began = 0, 0, time.process_time()

    @seed(f"{family} {start} {first}")
    @settings(
        max_examples=count // PLAYS, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy, SEEDS)
    def play(drawn: Any, number: int) -> None:
        nonlocal cases, instances
        instances += 1
        case = drawn, number
        try:
            for more in range(PLAYS):
                case = drawn, number + more
                cases += 1
                check(*case)
        except Exception as error:
            out.mkdir(parents=True, exist_ok=True)
            path = out / f"{family}-{start}-{first}-{cases}.pickle"
            path.write_bytes(pickle.dumps(case))
            raise Disagreement(f"{family}: {path}: {error}") from error

    play()
    return {"cases": cases, "instances": instances, "failures": 0, "cpu_seconds": round(time.process_time() - began, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure", "again"])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--chunk", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "orl-twins")
    options = parser.parse_args()
    if options.action == "again":
        CASES[options.file.name.split("-")[0]][2](*pickle.loads(options.file.read_bytes()))
        return
    if options.action == "measure":
        for first in range(0, options.cases, options.chunk):  # all families grow together
            for family in options.only:
                key = {"part": family, "seed": options.seed, "first": first}
                work = partial(checked, family, options.seed, first, options.chunk, options.out)
                rows.measure(RAW, family, [(key, work)])
        return
    lines = []
    for family, (what, _, _) in CASES.items():
        found = [row for row in rows.read(RAW) if row["part"] == family]
        if found:
            cases, *others = (sum(row[key] for row in found) for key in ("cases", "instances", "failures"))
            seconds = sum(row["cpu_seconds"] for row in found)
            lines.append([family, cases, *others, 1e3 * seconds / cases, what])
    text = f"{rows.commits(rows.read(RAW))}\n\nDrawn cases, of how many two accounts differ, and what a case takes."
    record.write(
        "robustness_twins", "Kernels against twins",
        [(text, ["family", "cases", "instances", "differ", "ms", "what is compared"], lines)],
    )  # fmt: skip


if __name__ == "__main__":
    main()
