"""Several methods on the same instance and the same scenarios: one table, paired, with gaps to the best bound."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orl import api, params
from orl.errors import InputError
from orl.result import Interval, Result, Status, paired_difference, relative_gap
from orl.run import run_method

COLUMNS = ("solver", "value", "low", "high", "difference", "difference_low", "difference_high", "bound", "gap",
           "gap_best_known", "status", "verified", "seconds")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One method's line.

    Parameters
    ----------
    result : Result
    swept : (key, value) or None
    difference : Interval or None
        Paired difference to the best method at the same swept value that does not know the scenarios beforehand.
    bound, gap : float or None
        The best bound that any method found, where instance and scenarios are the same; the gap to it.
    """

    result: Result
    swept: tuple[str, Any] | None
    difference: Interval | None
    bound: float | None
    gap: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return what the JSON holds: the result and what the comparison adds."""
        difference = None
        if self.difference is not None:
            difference = {k: v if math.isfinite(v) else None for k, v in self.difference._asdict().items()}
        swept = dict([self.swept]) if self.swept else None
        return {**self.result.to_dict(), "swept": swept, "difference": difference, "bound": self.bound, "gap": self.gap}


def compare(
    instance: Any,
    solvers: Sequence[str],
    *,
    problem: str | None = None,
    settings: Mapping[str, Any] | None = None,
    sweep: tuple[str, list[str]] | None = None,
    scenarios: int | None = None,
    time_limit: float | None = api.DEFAULT_TIME_LIMIT,
    seed: int = 0,
    verbose: bool = False,
) -> list[Row]:
    """Run each method on the same scenarios, once for each value of a swept setting.

    A setting goes to the instance if it is one of the instance's, else to every method that knows it.
    """
    if len(set(solvers)) != len(solvers) or not solvers:
        raise InputError(f"--solvers expects different names, got {', '.join(solvers) or 'none'}.")
    prepared = []  # all before any runs, so that a mistake in the last setting costs nothing
    for value in sweep[1] if sweep else [None]:
        given = dict(settings or {})
        if sweep:
            if sweep[0] in given:
                raise InputError(f"setting {sweep[0]!r} is both set and swept.")
            given = params.merged(given, params.nested(sweep[0], value))
        prepared.append((value, api.prepare(instance, solvers, problem, given)))
    rows: list[Row] = []
    for value, (family, loaded, methods) in prepared:
        results: list[Result] = []
        for method, options in methods:
            if verbose:
                print(method.name + (f" at {sweep[0]}={value}" if sweep else ""), file=sys.stderr)
            run = run_method(
                family, loaded, method, options, scenarios=scenarios, time_limit=time_limit, seed=seed, verbose=verbose
            )
            results.append(run)
            if run.status == Status.INTERRUPTED:
                break
        rows += _rows(results, (sweep[0], value) if sweep else None)
        if rows[-1].result.status == Status.INTERRUPTED:  # one Ctrl-C ends the comparison, not the table
            break
    return rows


def sweep_values(text: str) -> tuple[str, list[str]]:
    """Return key and values of `key=a:b:n`: n values from a to b; whole numbers if all of them are.

    >>> sweep_values("runs=10:30:3")
    ('runs', ['10', '20', '30'])
    """
    key, equals, span = text.partition("=")
    parts = span.split(":")
    try:
        low, high, count = float(parts[0]), float(parts[1]), int(parts[2])
        is_good = bool(equals and key) and len(parts) == 3 and count >= 2 and math.isfinite(low + high)
    except (ValueError, IndexError):
        is_good = False
    if not is_good or count > 10_000:
        raise InputError(f"--sweep expects key=a:b:n with n from 2 to 10000, got {text!r}.")
    values = [low + (high - low) * i / (count - 1) for i in range(count)]
    return key, [f"{value:.12g}" for value in values]


def to_table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text."""
    from tabulate import tabulate

    cells = [[_cell(key, value) for key, value in _entries(row).items()] for row in rows]
    keep = [i for i in range(len(cells[0])) if any(line[i] for line in cells)]
    headers = list(_entries(rows[0]))
    table = tabulate(
        [[line[i] for i in keep] for line in cells], headers=[headers[i].replace("_", " ") for i in keep],
        disable_numparse=True, colalign=["left"] + ["right"] * (len(keep) - 1),
    )  # fmt: skip
    is_note = any(row.result.clairvoyant for row in rows)
    return table + ("\n* knows the scenarios beforehand: a bound for the others, not a rival" if is_note else "")


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_entries(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_entries(row) for row in rows)
    return text.getvalue()


def _entries(row: Row) -> dict[str, Any]:
    result, difference = row.result, row.difference
    interval = result.interval or (None, None)
    of_difference = (None, None, None) if difference is None else difference
    name = result.solver + " *" * result.clairvoyant
    values = (name, result.value, *interval, *of_difference, row.bound, row.gap, result.gap_best_known,
              result.status.value, result.verified, result.seconds)  # fmt: skip
    swept = dict([row.swept]) if row.swept else {}
    entries = {**swept, **dict(zip(COLUMNS, values, strict=True))}
    is_nan = [key for key, x in entries.items() if isinstance(x, float) and math.isnan(x)]
    return {**entries, **dict.fromkeys(is_nan)}


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key.startswith("gap"):
        return f"{100 * value:.2f} %"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if key == "seconds":
        return f"{value:.3g}"
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _rows(results: Sequence[Result], swept: tuple[str, Any] | None) -> list[Row]:
    # The methods were run on the same scenarios, so what bounds one mean from below bounds them all.
    bounds = [r.bound for r in results if r.bound is not None and r.bound_kind in ("proven", "hindsight-mean")]
    bound = max(bounds, default=None) if len({len(r.costs) for r in results if r.costs}) <= 1 else None
    solved = [r for r in results if r.verified and r.value is not None and not r.clairvoyant]
    best = min(solved, key=lambda r: r.value, default=None)  # type: ignore[arg-type,return-value]
    rows = []
    for result in results:
        is_paired = best is not None and result.verified and len(result.costs) == len(best.costs)
        difference = paired_difference(result.costs, best.costs) if is_paired and best is not None else None
        own = bound if bound is not None else result.bound
        gap = relative_gap(result.value, own) if result.verified else None
        rows.append(Row(result, swept, difference, own, gap))
    return rows
