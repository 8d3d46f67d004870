"""Pigment sequencing (CSPLib 058): what methods find and prove on the 21 instances.

python benchmarks/lotsizing_psp.py measure [--seconds 600] [--periods 200] [--methods dp,exact,cp-sat,greedy]
python benchmarks/lotsizing_psp.py                                                   write the table

Rows that are there are not measured again, so a long measurement goes on where it was.
"""

from __future__ import annotations

import argparse

import record
import rows

import orl
from orl.files import bounds_table

METHODS = ("greedy", "dp", "exact", "cp-sat")
SETTINGS = {"dp": {"width": 2_000_000}, "exact": {"threads": 1}, "cp-sat": {"threads": 1}, "greedy": {}}
SECONDS = {15: 60, 20: 60, 30: 60, 100: 600, 150: 600, 200: 600}  # by number of periods
RAW = record.RESULTS / "lotsizing_psp"
FILE_VALUES = {  # of the files' last lines, where `bounds.csv` has others
    "pigment15c": "1141",
    "pigment30c": "1471",
    "PSP_150_1": "17717 to 18011",
    "PSP_150_2": "25076 to 26032",
    "PSP_150_4": "18098",
    "PSP_200_4": "20800",
}


def solved(name: str, method: str, seconds: float) -> rows.Row:
    """Return what a method finds and proves in a time."""
    result = orl.solve(f"lotsizing/{name}", method, settings=SETTINGS[method], time_limit=seconds)
    return {
        "value": result.value,
        "verified": result.verified,
        "bound": result.bound,
        "status": result.status.value,
        "seconds": round(result.seconds, 2),
    }


def cells(names: list[str], methods: list[str], seconds: float | None) -> list[rows.Cell]:
    """Return the rows to be measured; `seconds` cuts the limits short."""
    found = []
    for name in names:
        limit = SECONDS[int(bounds_table("lotsizing")[name]["periods"])]
        limit = limit if seconds is None else min(limit, seconds)
        for method in methods:
            key = {"part": method, "instance": name, "limit": limit}
            found.append((key, lambda name=name, method=method, limit=limit: solved(name, method, limit)))
    return found


def table(found: list[rows.Row]) -> list[list[str]]:
    """Return a line an instance and method, by the longest limit that was measured."""
    longest: dict[tuple[str, str], rows.Row] = {}
    for row in sorted(found, key=lambda row: row["limit"]):
        longest[row["instance"], row["part"]] = row
    lines = []
    for name, known in bounds_table("lotsizing").items():
        low, high = known["lower_bound"], known["upper_bound"]
        reported = FILE_VALUES.get(name, high if low == high else f"{low} to {high}")
        for method in METHODS:
            if (row := longest.get((name, method))) is None:
                continue
            value, bound = row["value"], row["bound"]
            has_gap = value is not None and bound is not None
            lines.append([
                name, f"{known['items']} x {known['periods']}", reported, method,
                "-" if value is None else f"{value:.0f}", "-" if bound is None else f"{bound:.1f}",
                f"{(value - bound) / value:.2%}" if has_gap else "-",
                "-" if value is None else f"{value / float(high) - 1:+.2%}",
                row["status"], f"{row['seconds']:.1f}", f"{row['limit']:.0f}",
            ])  # fmt: skip
            if not row["verified"] and value is not None:
                raise RuntimeError(f"{name}: {method} gave a plan that does not verify.")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--seconds", type=float, help="at most so many for each run")
    parser.add_argument("--periods", type=int, default=200, help="of the longest instances that are run")
    parser.add_argument("--methods", default=",".join(METHODS))
    options = parser.parse_args()
    if options.action:
        names = [name for name, row in bounds_table("lotsizing").items() if int(row["periods"]) <= options.periods]
        orl.solve("lotsizing/pigment15a", "dp")  # kernels are compiled before the clock runs
        for method in options.methods.split(","):
            rows.measure(RAW, method, cells(names, [method], options.seconds))
        return
    found = rows.read(RAW)
    text = (
        "Every plan was verified. `dp` goes through states in layers, wider and wider, with bounds from prices "
        "(2,000,000 states of a layer at most); `exact` is the network form in HiGHS, on the smaller ones only, "
        "with one thread; both start from the best rule. File: the optimum or bounds of the file's last "
        "line. Against best known: below 0 it is better than what `bounds.csv` has. Four files are wrong: pigment15c "
        "says 8 items but holds 10 x 10 changeover costs (8 x 8 are read); pigment30c gives 1471 and PSP_150_4 18098, "
        "each below what is proven to be the optimum; PSP_200_4 gives 20800, above it. PSP_150_1 and PSP_150_2 are "
        "known better here than their files say. " + rows.commits(found)
    )
    headers = ["instance", "items x periods", "file", "method", "value", "bound", "gap", "against best known", "status",
               "s", "limit, s"]  # fmt: skip
    record.write("lotsizing_psp", "Pigment sequencing", [(text, headers, table(found))])


if __name__ == "__main__":
    main()
