"""Put measured tables and tested code into the pages that show them, so that nothing there is typed.

    python benchmarks/readme_tables.py            rewrites the blocks of the pages below
    python benchmarks/readme_tables.py --check    exit code 1 if a block is not what its file says

A block begins with one of these comments and ends with `<!-- end -->`; what is between comes from the file:

    <!-- table: benchmarks/results/jobshop_rules.md "Mean gap" [rule, mean] -->
                         the table below a heading or a line with these words; some columns, or all
    <!-- text: benchmarks/results/solve_ft10.md -->
                         its fenced block, indented
    <!-- code: examples/my_rule.py -->
                         the file, less a docstring at its top
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "docs/measured.md", "docs/cluster.md")
BLOCK = re.compile(r"(<!-- (table|text|code): (\S+)(?: \"(.*?)\")?(?: \[(.*?)\])? -->\n).*?(<!-- end -->)", re.S)


def filled(text: str, root: Path = ROOT) -> str:
    """Return a page with its blocks filled anew from the files that they name."""

    def block(found: re.Match[str]) -> str:
        opening, kind, name, words, columns, closing = found.groups()
        source = (root / name).read_text(encoding="utf-8")
        if kind == "table":
            body = table_of(source, words or "", columns, name)
        else:
            body = indented(source) if kind == "text" else fenced(source, Path(name).suffix.removeprefix("."))
        return f"{opening}\n{body}\n\n{closing}"

    return BLOCK.sub(block, text)


def table_of(source: str, words: str, columns: str | None, place: str) -> str:
    """Return the one table of a page with the words in its caption, the line above it: all columns or those named."""
    captions = re.findall(r"^(.*)\n\n((?:^\|.*\n)+)", source, re.M)
    tables = [table for caption, table in captions if words in caption]
    if len(tables) != 1:
        raise SystemExit(f"{place}: expected one table with {words!r} above it, there are {len(tables)}.")
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in tables[0].splitlines()]
    names = [name.strip() for name in columns.split(",")] if columns else lines[0]
    if missing := set(names) - set(lines[0]):
        raise SystemExit(f"{place}: there is no column {', '.join(sorted(missing))}; known are: {', '.join(lines[0])}.")
    if doubled := {name for name in names if lines[0].count(name) > 1}:
        raise SystemExit(f"{place}: several columns are called {', '.join(sorted(doubled))}.")
    places = [lines[0].index(name) for name in names]
    rows = ["| " + " | ".join(line[place] for place in places) + " |" for line in (lines[0], *lines[2:])]
    rule = "|" + "|".join("---:" if lines[1][place].endswith(":") else "---" for place in places) + "|"
    return "\n".join([rows[0], rule, *rows[1:]])


def indented(source: str) -> str:
    """Return a Markdown page's first fenced block, indented by four."""
    found = re.search(r"```\n(.*?)\n```", source, re.S)
    if found is None:
        raise SystemExit("there is no fenced block.")
    return "\n".join(f"    {line}".rstrip() for line in found.group(1).splitlines())


def fenced(source: str, ending: str) -> str:
    """Return a file's text in a fence of its language, less a docstring at its top."""
    language = {"py": "python"}.get(ending, ending)
    code = re.sub(r'\A""".*?"""\n+', "", source, flags=re.S)
    return f"```{language}\n{code.rstrip()}\n```"


def main() -> int:
    """Rewrite the pages, or say whether that would change one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if something would change")
    is_check, is_changed = parser.parse_args().check, False
    for path in (ROOT / page for page in PAGES):
        old = path.read_text(encoding="utf-8")
        new = filled(old)
        is_changed |= old != new
        if not is_check:
            path.write_text(new, encoding="utf-8")
    return int(is_check and is_changed)


if __name__ == "__main__":
    sys.exit(main())
