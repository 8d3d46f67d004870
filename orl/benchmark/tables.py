"""Rows into tables: one a table of the suite, a line a method, as Markdown and CSV, with performance profiles drawn."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orl.benchmark import statistics
from orl.benchmark.statistics import WinTieLoss, relative_difference
from orl.files import write_atomically
from orl.result import Interval, Status, relative_gap

if TYPE_CHECKING:
    from orl.benchmark.runs import Suite

Row = Mapping[str, Any]
Case = tuple[str, int]  # instance and seed
SHIFT_SECONDS = 1.0  # of the geometric means

RUN_COLUMNS = ("table", "label", "problem", "instance", "seed", "scenarios", "purpose", "solver", "status", "verified",
               "clairvoyant", "value", "low", "high", "bound", "bound_kind", "gap", "best_known", "gap_best_known",
               "seconds", "wall_seconds", "seconds_per_decision", "peak_memory_mb", "time_limit", "message", "commit",
               "started", "key")  # fmt: skip

LEGEND = """\
Only verified solutions count. `gap to best known`: (value - best known) / best known. `gap to proven bound` and `gap to
hindsight bound`: (value - bound) / value, to the best bound that any method of the table proved for the same scenarios;
a hindsight bound is the mean of what each scenario costs at least if it is known beforehand. `difference`: to the
reference, paired, in percent of the larger cost, with a 95 % bootstrap interval over instances, or over scenarios where
there is one instance. `p`: sign-flip permutation test of the mean difference, adjusted by Holm over the table.
`seconds`: shifted geometric mean, shift {shift:g} s, a run without a solution at its time limit. `primal integral`:
mean seconds (Berthold 2013), to the best known value. `peak MB`: of the process, Python and libraries included. Methods
marked * know the scenarios; they bound the others and compete with none."""


@dataclass(frozen=True)
class Line:
    """What a table says of a method.

    Parameters
    ----------
    table, method : str
    is_clairvoyant : bool
        Whether it knows the scenarios; such a method is compared with none.
    is_reference : bool
    runs, verified, proven : int
        How many runs, with a verified solution, with a proven optimum.
    value : float or None
        Mean over the table's instances, where there is one only; of several it would mean nothing.
    gap_best_known, gap_proven, gap_hindsight : float or None
        Mean over instances, of the mean over seeds; a fraction.
    difference : Interval or None
        Mean paired difference to the reference, a fraction.
    p_value : float or None
        Adjusted.
    score : WinTieLoss or None
        Against the reference; a failure loses against a solution.
    seconds, primal_integral, peak_memory_mb : float or None
        Shifted geometric mean, mean, maximum.
    """

    table: str
    method: str
    is_clairvoyant: bool
    is_reference: bool
    runs: int
    verified: int
    proven: int
    value: float | None
    gap_best_known: float | None
    gap_proven: float | None
    gap_hindsight: float | None
    difference: Interval | None
    p_value: float | None
    score: WinTieLoss | None
    seconds: float | None
    primal_integral: float | None
    peak_memory_mb: float | None


def summarise(rows: Sequence[Row], reference: str | None = None, seed: int = 0) -> list[Line]:
    """Return the lines of all tables.

    Parameters
    ----------
    rows : sequence of dict
        As `orl.run_bench` returns them.
    reference : str or None
        Label of the method that differences are taken to; None, or where it has no solution: the best of each table.
    seed : int
        Of the resampling.
    """
    tables: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        tables[row["table"]].append(row)
    return [line for name, of_table in tables.items() for line in _Table(name, of_table, reference, seed).lines()]


class _Table:
    """One table's rows by method and case, with what all methods together know of each case."""

    def __init__(self, name: str, rows: Sequence[Row], reference: str | None, seed: int):
        self.name, self.rows, self.seed = name, rows, seed
        self.of_method: dict[str, dict[Case, Row]] = defaultdict(dict)
        for row in rows:
            self.of_method[row["label"]][row["instance"], row["seed"]] = row
        self.instances = list(dict.fromkeys(row["instance"] for row in rows))
        self.bounds = _best_bounds(rows)
        self.best = best_values(rows)
        self.reference = self._reference(reference)

    def lines(self) -> list[Line]:
        """Return a line a method, those that know the scenarios last; p-values adjusted."""
        lines = sorted((self._line(method) for method in self.of_method), key=lambda line: line.is_clairvoyant)
        raw = [math.nan if line.p_value is None else line.p_value for line in lines]
        return [
            replace(line, p_value=None if math.isnan(p) else p)
            for line, p in zip(lines, statistics.holm(raw), strict=True)
        ]

    def _reference(self, wanted: str | None) -> str | None:
        """Return the wanted method, or that with the most solutions, of these the best on the average."""
        scores = {}
        for method, cases in self.of_method.items():
            solved = {case: row for case, row in cases.items() if row["verified"]}
            if solved and not _is_clairvoyant(cases):
                excess = [relative_difference(row["value"], self.best[case]) for case, row in solved.items()]
                scores[method] = (-len(solved), sum(excess) / len(excess))
        if wanted in scores:
            return wanted
        return min(scores, key=lambda method: scores[method], default=None)

    def _line(self, method: str) -> Line:
        cases = self.of_method[method]
        rows = list(cases.values())
        is_clairvoyant = _is_clairvoyant(cases)
        verified = [row for row in rows if row["verified"]]
        difference = p_value = score = None
        if self.reference is not None and not is_clairvoyant and method != self.reference:
            units = self._differences(method, self.reference)
            finite = [kept for unit in units if (kept := [x for x in unit if math.isfinite(x)])]
            if finite:
                difference = statistics.paired_difference_interval(finite, self.seed)
                p_value = statistics.sign_flip_p_value([sum(unit) / len(unit) for unit in finite], self.seed)
            score = statistics.win_tie_loss([sum(unit) / len(unit) for unit in units])
        memory = [row["peak_memory_mb"] for row in rows if row["peak_memory_mb"] is not None]
        return Line(
            table=self.name,
            method=method,
            is_clairvoyant=is_clairvoyant,
            is_reference=method == self.reference,
            runs=len(rows),
            verified=len(verified),
            proven=sum(row["verified"] and row["status"] == Status.OPTIMAL for row in rows),
            value=_mean([row["value"] for row in verified]) if len(self.instances) == 1 else None,
            gap_best_known=self._mean_gap(verified, lambda row: row["gap_best_known"]),
            gap_proven=self._mean_gap(verified, lambda row: self._gap(row, "proven")),
            gap_hindsight=self._mean_gap(verified, lambda row: self._gap(row, "hindsight-mean")),
            difference=difference,
            p_value=p_value,
            score=score,
            seconds=statistics.shifted_geometric_mean(list(map(_seconds, rows)), SHIFT_SECONDS),
            primal_integral=_mean(list(map(self._primal_integral, rows))),
            peak_memory_mb=max(memory, default=None),
        )

    def _differences(self, method: str, other: str) -> list[list[float]]:
        """Return paired differences: for each instance one a seed; of a single random instance one a scenario.

        A failure against a solution is infinitely worse; two failures are no pair.
        """
        of_instance: dict[str, list[float]] = defaultdict(list)
        of_scenarios: list[list[float]] = []
        for case, a in self.of_method[method].items():
            b = self.of_method[other].get(case)
            if b is None or not (a["verified"] or b["verified"]):
                continue
            if a["verified"] and b["verified"]:
                of_instance[case[0]].append(relative_difference(a["value"], b["value"]))
                if len(a["costs"]) == len(b["costs"]):
                    scale = max(abs(a["value"]), abs(b["value"])) or 1.0
                    pairs = zip(a["costs"], b["costs"], strict=True)
                    of_scenarios += [[(x - y) / scale] for x, y in pairs]
            else:
                of_instance[case[0]].append(worst := math.inf if b["verified"] else -math.inf)
                of_scenarios.append([worst])
        if self.is_over_scenarios:
            return of_scenarios
        return list(of_instance.values())

    @property
    def is_over_scenarios(self) -> bool:
        """Whether there is one instance only, in which something is random, so that scenarios are compared."""
        return len(self.instances) == 1 and all(row["is_random"] for row in self.rows)

    def _gap(self, row: Row, kind: str) -> float | None:
        return relative_gap(row["value"], self.bounds.get(_scenario_key(row), {}).get(kind))

    def _mean_gap(self, rows: Sequence[Row], gap: Any) -> float | None:
        of_instance: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            if (x := gap(row)) is not None:
                of_instance[row["instance"]].append(x)
        return _mean([_mean(values) for values in of_instance.values()])

    def _primal_integral(self, row: Row) -> float | None:
        best = self.best.get((row["instance"], row["seed"]))
        found = incumbents(row)
        return None if best is None or found is None else statistics.primal_integral(found, best, row["time_limit"])


def _is_clairvoyant(cases: Mapping[Case, Row]) -> bool:
    return any(row["clairvoyant"] for row in cases.values())


def incumbents(row: Row) -> list[tuple[float, float | None, float | None]] | None:
    """Return a run's trace up to its verified value; None where a primal gap means nothing."""
    if row["is_random"] or row["status"] in ("infeasible", "unbounded"):
        return None
    trace = [tuple(point) for point in row["trace"] if row["verified"]]
    if row["verified"] and row["seconds"] is not None:
        trace.append((row["seconds"], row["value"], None))
    return trace


def _scenario_key(row: Row) -> str:
    """Return what two rows must share for a bound of one to be a bound of the other."""
    return repr((row["instance"], row["instance_settings"], row["is_random"] and (row["seed"], row["scenarios"])))


def _best_bounds(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return the best bounds by kind; a bound of fewer scenarios than asked for is nobody else's."""
    best: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        is_whole = row["status"] != Status.INTERRUPTED and (
            not row["is_random"] or len(row["costs"]) == row["scenarios"]
        )
        if row["bound"] is not None and is_whole:
            kinds = best[_scenario_key(row)]
            kinds[row["bound_kind"]] = max(row["bound"], kinds.get(row["bound_kind"], -math.inf))
    return best


def best_values(rows: Sequence[Row]) -> dict[Case, float]:
    """Return the best known value of each case: the literature's, or the best of those found without foresight."""
    best: dict[Case, float] = {}
    for row in rows:
        values = [row["best_known"]] if row["best_known"] is not None else []
        if row["verified"] and not row["clairvoyant"]:
            values.append(row["value"])
        if values:
            case = (row["instance"], row["seed"])
            best[case] = min(*values, best.get(case, math.inf))
    return best


def _seconds(row: Row) -> float:
    return row["seconds"] if row["verified"] and row["seconds"] is not None else row["time_limit"]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [x for x in values if x is not None]
    return sum(known) / len(known) if known else None


# Writing -----------------------------------------------------------------------------------------------------------


def write_tables(rows: Sequence[Row], folder: Path, suite: Suite) -> None:
    """Write `runs.csv`, `summary.csv`, `summary.md` and `profiles.png` into a folder; nothing where there is no row."""
    from orl.benchmark.picture import draw_profiles

    if not rows:
        return
    lines = summarise(rows, suite.reference)
    write_atomically(folder / "runs.csv", runs_csv(rows))
    write_atomically(folder / "summary.csv", summary_csv(lines))
    picture = draw_profiles(rows)
    if picture:
        write_atomically(folder / "profiles.png", picture)
    write_atomically(folder / "summary.md", summary_markdown(rows, lines, suite, bool(picture)))


def runs_csv(rows: Sequence[Row]) -> str:
    """Return a line a run, swept settings as columns."""
    swept = list(dict.fromkeys(key for row in rows for key in row["swept"]))
    entries = []
    for row in rows:
        low, high = row["interval"] or (None, None)
        more = {"low": low, "high": high, "commit": row["versions"].get("commit")}
        entry = {**row, **more}
        entries.append([*(entry.get(key) for key in RUN_COLUMNS), *(row["swept"].get(key) for key in swept)])
    return _csv([*RUN_COLUMNS, *swept], entries)


def summary_csv(lines: Sequence[Line]) -> str:
    """Return the lines of all tables; gaps and differences are fractions."""
    header = ("table", "method", "clairvoyant", "reference", "runs", "verified", "proven", "value", "gap_best_known",
              "gap_proven", "gap_hindsight", "difference", "difference_low", "difference_high", "p_value", "wins",
              "ties", "losses", "seconds", "primal_integral", "peak_memory_mb")  # fmt: skip
    entries = [
        [line.table, line.method, line.is_clairvoyant, line.is_reference, line.runs, line.verified, line.proven,
         line.value, line.gap_best_known, line.gap_proven, line.gap_hindsight, *(line.difference or (None,) * 3),
         line.p_value, *(line.score or (None,) * 3), line.seconds, line.primal_integral, line.peak_memory_mb]
        for line in lines
    ]  # fmt: skip
    return _csv(header, entries)


def summary_markdown(rows: Sequence[Row], lines: Sequence[Line], suite: Suite, has_picture: bool = False) -> str:
    """Return all tables as Markdown, headed by what they were measured with."""
    by_table: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_table[line.table].append(line)
    missing = len(suite.runs) - len(rows)
    parts = [f"# {suite.name}", suite.description, measured(rows)]
    parts += [f"**{missing} of {len(suite.runs)} runs are missing.**"] if missing else []
    failures = [row for row in rows if not row["verified"]]
    for name, of_table in by_table.items():
        instances = len({row["instance"] for row in rows if row["table"] == name})
        parts += [f"## {name}", f"{instances} instance{'s' * (instances > 1)}.", _table_markdown(of_table)]
    if failures:
        shown = [[row["table"], row["label"], row["instance"], row["seed"], row["status"],
                  what_failed(row)] for row in failures[:50]]  # fmt: skip
        title = "## Without a verified solution" + (f" (50 of {len(failures)})" if len(failures) > 50 else "")
        parts += [title, _markdown(["table", "method", "instance", "seed", "status", "message"], shown)]
    if has_picture:
        parts += ["## Performance profiles", "![Performance profiles](profiles.png)"]
    parts += [LEGEND.format(shift=SHIFT_SECONDS)]
    return "\n\n".join(part for part in parts if part) + "\n"


def measured(rows: Sequence[Row]) -> str:
    """Return in a sentence when rows were measured, and with what."""
    days = sorted({row["started"][:10] for row in rows})
    machines = {f"{row['machine']['cores']} cores, {row['machine']['processor']}" for row in rows}
    versions: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for name, version in row["versions"].items():
            versions[name].add(version)
    about = ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in versions.items())
    span = " to ".join(dict.fromkeys([days[0], days[-1]]))
    return f"Measured on {span} with {about}; {' and '.join(sorted(machines))}."


def shown_columns(lines: Sequence[Line]) -> dict[str, list[str]]:
    """Return the lines of one table as people read them, a column an entry; columns that say nothing are left out."""
    columns: dict[str, list[str]] = {
        "method": [line.method + " *" * line.is_clairvoyant for line in lines],
        "verified": [f"{line.verified}/{line.runs}" for line in lines],
        "proven": [str(line.proven) if any(other.proven for other in lines) else "" for line in lines],
        "value": [number(line.value, 8) for line in lines],
        "gap to best known, %": [percent(line.gap_best_known) for line in lines],
        "gap to proven bound, %": [percent(line.gap_proven) for line in lines],
        "gap to hindsight bound, %": [percent(line.gap_hindsight) for line in lines],
        "difference, %": [_difference(line) for line in lines],
        "p": [_p_value(line.p_value) for line in lines],
        "win/tie/loss": ["/".join(map(str, line.score)) if line.score else "" for line in lines],
        "seconds": [number(line.seconds, 3) for line in lines],
        "primal integral, s": [number(line.primal_integral, 3) for line in lines],
        "peak MB": [number(line.peak_memory_mb, 4) for line in lines],
    }
    return {name: cells for name, cells in columns.items() if any(cells)}


def _table_markdown(lines: Sequence[Line]) -> str:
    kept = shown_columns(lines)
    return _markdown(list(kept), list(zip(*kept.values(), strict=True)))


def what_failed(row: Row) -> str:
    """Return in a line why a row has no verified solution."""
    return row["message"] or "; ".join(violation["message"] for violation in row["violations"])


def number(x: float | None, digits: int) -> str:
    """Return a number with so many digits; nothing for None."""
    return "" if x is None else f"{x:.{digits}g}"


def percent(x: float | None) -> str:
    """Return a fraction in percent; nothing for None."""
    return "" if x is None else f"{100 * x:.2f}"


def _difference(line: Line) -> str:
    if line.is_reference:
        return "reference"
    if line.difference is None:
        return ""
    mean, low, high = (f"{100 * x:+.2f}" for x in line.difference)
    return mean if math.isnan(line.difference.low) else f"{mean} [{low}, {high}]"


def _p_value(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _markdown(headers: Sequence[str], cells: Sequence[Sequence[Any]]) -> str:
    from tabulate import tabulate

    align = ["left", *["right"] * (len(headers) - 1)]
    shown = [[str(cell).replace("|", "\\|") for cell in line] for line in cells]
    return tabulate(shown, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=align)


def _csv(header: Sequence[str], entries: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for line in entries:
        writer.writerow([None if isinstance(x, float) and math.isnan(x) else x for x in line])
    return text.getvalue()
