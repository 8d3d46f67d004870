"""Mangled instance files: each is read, or refused in one line; nothing else, and within a second.

python benchmarks/robustness_files.py measure [--count 72000] [--seed 0] [--only jobshop ...]   so many of each format
python benchmarks/robustness_files.py                                                     write the table

A file of each format is mangled at random: bytes changed, cut out, doubled; lines dropped, swapped, repeated; the end
cut off; numbers, words and brackets replaced by what hurts. What can still be read is looked at once more: a scenario
is drawn, and a process begins. Failures are kept as files in --out.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import record
import rows

import orl
from orl import files
from orl.errors import InputError
from orl.registry import find_problem
from orl.scenario import Purpose

RAW = record.RESULTS / "robustness_files"
SLOW = 1.0  # seconds
MEMORY = 6 << 30  # bytes of address space
HURTS = (
    *(b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"1e308", b"-0.0", b"9" * 30, b"2147483648", b"1e-320"),
    *(b"9223372036854775808", b"true", b"null", b'""', b"[]", b"{}", b"[[]]", b"0x10", b"1_000", b"\xff\xfe", b"\x00"),
    *(b"'", b'"', "٣".encode(), b"1.5", b"1e9", b"100000"),
)  # fmt: skip
BASES = {  # the file, or the folder's file, that is mangled
    "jobshop text": ("jobshop", "ft06.txt", ""),
    "jobshop text of Taillard": ("jobshop", "ta01.txt", ""),
    "jobshop TOML": ("jobshop", "ft06.toml", ""),
    "lotsizing TOML": ("lotsizing", "15x5-a.toml", ""),
    "lotsizing JSON": ("lotsizing", "setting_2items_VI.json", ""),
    "pigments": ("lotsizing", "pigment15a.psp", ""),
    "pigments of UniUD": ("lotsizing", "ps-200-10-80.dzn", ""),
    "clsp text": ("clsp", "X11117A.txt", ""),
    "clsp TOML": ("clsp", "X12429A-relaxed.toml", ""),
    "hydrothermal network": ("hydrothermal", "case3", "PowerModels.json"),
    "hydrothermal plants": ("hydrothermal", "case3", "hydro.json"),
    "hydrothermal inflows": ("hydrothermal", "case3", "inflows.csv"),
    "hydrothermal probabilities": ("hydrothermal", "case3", "scenarioprobability.csv"),
    "hydrothermal options": ("hydrothermal", "bolivia", "options.toml"),
    "msppy plants": ("hydrothermal", "brazil", "hydro.csv"),
    "llmserving TOML": ("llmserving", "crowded.toml", ""),
    "llmserving trace": ("llmserving", "arena-27-requests.csv", ""),
    "llmserving JSONL": ("llmserving", "requests.jsonl", ""),
}
NEEDED = {"clsp": {"overtime": 50.0}}  # by processes
REQUESTS = "".join(
    f'{{"timestamp": {250 * i}, "input_length": {100 + i}, "output_length": {10 + i}}}\n' for i in range(12)
)


def prepared(name: str, folder: Path) -> tuple[Path, Path]:
    """Return what is loaded, in a folder of its own, and which of its files is mangled."""
    family, file, inside = BASES[name]
    folders = (family, "lotsizing")  # where files of `clsp` lie, too
    sources = [files.instance_folder(name) / file for name in folders]
    source = next((path for path in sources if path.exists()), sources[0])
    place = folder / file
    if inside:
        shutil.copytree(source, place)
    elif source.exists():
        shutil.copy(source, place)
    elif file.endswith(".jsonl"):
        place.write_text(REQUESTS)
    else:
        find_problem(family).save(orl.load(f"{family}/{source.stem}"), place)
    return place, place / inside if inside else place


def mangled(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one to five things wrong, as far as that is wrong."""
    for _ in range(int(rng.integers(1, 6))):
        data = CHANGES[rng.integers(len(CHANGES))](data, rng) or b" "
    return data


def _place(data: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(len(data)))


def _byte(data: bytes, rng: np.random.Generator) -> bytes:
    place = _place(data, rng)
    return data[:place] + rng.bytes(1) + data[place + 1 :]


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place + int(rng.integers(1, 40)) :]


def _doubled(data: bytes, rng: np.random.Generator) -> bytes:
    place, length = _place(data, rng), int(rng.integers(1, 40))
    return data[: place + length] + data[place:]


def _end(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def _line(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.splitlines(keepends=True)
    one, other = (int(rng.integers(len(lines))) for _ in range(2))
    kind = rng.integers(3)
    if kind == 0:
        del lines[one]
    elif kind == 1:
        lines.insert(one, lines[other])
    else:
        lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def _word(pattern: bytes) -> Callable[[bytes, np.random.Generator], bytes]:
    compiled = re.compile(pattern)

    def change(data: bytes, rng: np.random.Generator) -> bytes:
        start = _place(data, rng)
        found = compiled.search(data, start) or compiled.search(data)
        if found is None:
            return data
        return data[: found.start()] + HURTS[rng.integers(len(HURTS))] + data[found.end() :]

    return change


CHANGES = (_byte, _cut, _doubled, _end, _line, _word(rb"-?[0-9.]+(e-?[0-9]+)?"), _word(rb"-?[0-9.]+(e-?[0-9]+)?"),
           _word(rb"[A-Za-z_]+"), _word(rb"[\[\]{},:=\n]"))  # fmt: skip


def outcome(family: str, path: Path) -> str:
    """Return what became of a file: 'read', 'refused', or what should not be."""
    problem, started, worked = find_problem(family), time.perf_counter(), time.process_time()
    try:
        instance = orl.load(path, problem=family, settings=NEEDED.get(family, {}))
        problem.describe(instance)
        problem.process([instance], [problem.sample(instance, 0, Purpose.EVALUATE, 1)[0]]).observe()
        found = "read"
    except InputError as error:
        found = "refused" if "\n" not in str(error).strip() and str(error).strip() else "refused in several lines"
    except MemoryError:
        found = "MemoryError"
    except Exception as error:
        found = f"{type(error).__name__}: {error}"[:200]
    # The clock alone would blame us for what else the machine does.
    seconds = min(time.perf_counter() - started, time.process_time() - worked)
    return found if seconds < SLOW else f"slow, {found}"


def measured(name: str, count: int, seed: int, out: Path) -> rows.Row:
    """Return how often each outcome was; what should not be is kept."""
    np.seterr(over="raise", divide="raise", invalid="raise")  # what would be a warning
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rng, counts, kept = np.random.default_rng([seed, *name.encode()]), Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="orl-mangled-", dir=_memory()) as scratch:
        place, file = prepared(name, Path(scratch))
        family, data = BASES[name][0], file.read_bytes()
        assert outcome(family, place) in ("read", "slow, read")  # compiles
        assert outcome(family, place) == "read"
        for _ in range(count):
            broken = mangled(data, rng)
            file.write_bytes(broken)
            found = outcome(family, place)
            counts[found] += 1
            if found not in ("read", "refused") and kept < 20:
                kept += 1
                out.mkdir(parents=True, exist_ok=True)
                (out / f"{name.replace(' ', '-')}-{kept}{file.suffix}").write_bytes(broken)
                print(name, kept, found, flush=True)
    return {"counts": dict(counts), "seed": seed}


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--count", type=int, default=72_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "orl-mangled")
    options = parser.parse_args()
    if options.action:
        names = [name for name in BASES if not options.only or any(name.startswith(one) for one in options.only)]
        cells = [
            ({"part": "files", "format": name, "count": options.count},
             partial(measured, name, options.count, options.seed, options.out))
            for name in names
        ]  # fmt: skip
        rows.measure(RAW, "files", cells)
        return
    found = rows.read(RAW)
    lines = []
    for row in found:
        counts = row["counts"]
        others = row["count"] - counts.get("read", 0) - counts.get("refused", 0)
        slow = sum(number for what, number in counts.items() if what.startswith("slow"))
        lines.append([row["format"], row["count"], counts.get("refused", 0), counts.get("read", 0), others - slow, slow,
                      row["commit"]])  # fmt: skip
    lines.append(["all", *(sum(line[place] for line in lines) for place in range(1, 6)), ""])
    text = (
        "Mangled files: how many, refused in one line, read (what is wrong may be harmless, and a changed number is "
        "another instance), another exception, or what a number that overflows would warn of, and over "
        f"{SLOW:g} s of work. What exceptions showed was mended; a later row of a format is of after that, with other "
        "files."
    )
    header = ["format", "files", "refused", "read", "exceptions", "slow", "measured at"]
    record.write("robustness_files", "Mangled instance files", [(text, header, lines)], digits=9)


if __name__ == "__main__":
    main()
