"""Places that are not as they should be: unreadable, unwritable, full, oddly named, shared by two at once."""

from __future__ import annotations

import ctypes
import io
import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any

from robustness_commands import HANDLED, REFUSED, RUN, Case, counted, fork, judged, outcome_of_fork

from orl import cli
from orl.learn import checkpoint

SUITE = '[[runs]]\ninstances = ["jobshop/ft06"]\nsolvers = ["spt", "mwr"]\n'
RECIPE = """\
method = "ppo"
problem = "jobshop"
sizes = [{ jobs = 3, machines = 3 }]
validation = [{ jobs = 3, machines = 3 }]
validation_instances = 1
validate_every = 1
[training]
iterations = 2
instances = 1
samples = 2
width = 4
"""
SHOP = RUN.parent / "instances" / "jobshop" / "ft06.txt"
ODD = (
    "with space",
    "ünï-ком",
    "two\nlines",
    "-dash",
    "--json",
    "'quote\"",
    "$HOME",
    "a;b",
    "%s",
    "{x}",
    "*",
    "x" * 200,
)


def rightless() -> None:
    """Give up root's right to read and write what permissions forbid, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    libc, header, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    for right in (1, 2):
        libc.prctl(24, right, 0, 0, 0)  # of whatever is started from here, too
    libc.capget(header, sets)
    for place in (0, 1, 2):  # effective, permitted, inheritable
        sets[place] &= ~0b110
    libc.capset(header, sets)


@contextmanager
def place() -> Iterator[Path]:
    """Yield a folder with a file of each kind that commands read."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "suite.toml").write_text(SUITE)
        (folder / "recipe.toml").write_text(RECIPE)
        shutil.copy(SHOP, folder / "shop.txt")
        quiet(["solve", str(folder / "shop.txt"), "--solver", "spt", "--out", str(folder / "solution.json")])
        quiet(["bench", str(folder / "suite.toml"), "--out", str(folder / "batch")])
        quiet(["train", str(folder / "recipe.toml"), "--out", str(folder / "run")])
        quiet(["solve", "hydrothermal/case3", "--solver", "sddp", "--set", "iterations=1", "--set",
               f"cuts={folder}/cuts.json", "--scenarios", "1"])  # fmt: skip
        yield folder


def quiet(arguments: list[str]) -> None:
    """Do it in this process, so that its forks find all compiled and loaded."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        cli.main(arguments)


def readers(folder: Path, bad: str) -> list[list[str]]:
    """Return commands that read a bad path, each in another role."""
    shop, sddp = str(folder / "shop.txt"), ["solve", "hydrothermal/case3", "--scenarios", "1", "--solver"]
    return [
        ["solve", bad, "--solver", "spt"],
        ["solve", bad, "--problem", "hydrothermal", "--solver", "myopic"],
        ["compare", bad, "--solvers", "spt,mwr"],
        ["check", shop, bad],
        ["check", bad, str(folder / "solution.json")],
        ["bench", bad, "--out", str(folder / "new")],
        ["report", bad],
        ["train", bad, "--out", str(folder / "new")],
        ["solve", shop, "--solver", "ppo", "--set", f"checkpoint={bad}"],
        ["solve", shop, "--solver", "spt", "--set", f"state={bad}"],
        ["solve", shop, "--solver", "spt", "--set", f"plan={bad}"],
        [*sddp, "ts-ddr", "--set", f"checkpoint={bad}"],
        [*sddp, "sddp", "--set", f"cuts={bad}", "--set", "iterations=1"],
        [*sddp, "myopic", "--inflows", bad],
        ["decide", bad, "--solver", "spt", "--schema"],
    ]


def writers(folder: Path, bad: str) -> list[tuple[list[str], str]]:
    """Return commands that write to a bad path, each with the file or folder that it would make."""
    shop = str(folder / "shop.txt")
    return [
        (["solve", shop, "--solver", "spt", f"--out={bad}.json"], f"{bad}.json"),
        (["solve", shop, "--solver", "spt", f"--out={bad}.csv"], f"{bad}.csv"),
        (["solve", shop, "--solver", "spt", f"--plot={bad}.svg"], f"{bad}.svg"),
        (["compare", shop, "--solvers", "spt,mwr", f"--out={bad}.csv"], f"{bad}.csv"),
        (["bench", str(folder / "suite.toml"), f"--out={bad}"], f"{bad}/runs.jsonl"),
        (["train", str(folder / "recipe.toml"), f"--out={bad}"], f"{bad}/last/about.json"),
        (["report", str(folder / "batch"), f"--out={bad}.html"], f"{bad}.html"),
        (["solve", "hydrothermal/case3", "--solver", "sddp", "--scenarios", "1", "--set", f"cuts={bad}.json", "--set",
          "iterations=1"], f"{bad}.json"),
    ]  # fmt: skip


def unreadable(_: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of commands that read what cannot be read, or not as what it is."""
    with place() as folder:
        (folder / "closed.txt").write_bytes(SHOP.read_bytes())
        (folder / "closed.txt").chmod(0)
        (folder / "shut").mkdir()
        (folder / "shut" / "shop.txt").write_bytes(SHOP.read_bytes())
        (folder / "shut").chmod(0)
        (folder / "empty").mkdir()
        (folder / "empty.toml").touch()
        (folder / "nowhere").symlink_to(folder / "gone")
        (folder / "loop").symlink_to(folder / "loop")
        os.mkfifo(folder / "pipe")
        bad = [str(folder / name) for name in ("closed.txt", "shut", "shut/shop.txt", "empty", "empty.toml", "nowhere",
               "loop", "pipe", "none/at/all.toml", "shop.txt/inside")]  # fmt: skip
        bad += ["", "/", ".", "..", "/dev/null", "/dev/zero", "/proc/self/mem", "x" * 300, "/" + "y/" * 3000, "\x00"]
        cases = [Case(command) for name in bad for command in readers(folder, name)]
        found = counted(cases, partial(outcome_of_fork, changed=rightless))
        (folder / "shut").chmod(0o700)
        return found


def unwritable(_: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of commands that write where they may not, or where something else is."""
    with place() as folder:
        (folder / "shut").mkdir(mode=0o555)
        (folder / "is").mkdir()
        for suffix in ("json", "csv", "svg", "html"):
            (folder / f"is/dir.{suffix}").mkdir()
        (folder / "is/dir").touch()
        for name in ("last", "best"):
            (folder / "half" / name).mkdir(parents=True)
        for name in ("last", "best"):
            (folder / "half" / name).chmod(0o555)
        bad = [str(folder / name) for name in ("shut/one", "none/at/all", "shop.txt/inside", "is/dir")]
        bad += ["/proc/one", "x" * 300, "/" + "y/" * 3000, "\x00"]
        cases = []
        for name in bad:
            # Each has a folder of its own that is not there: some make it.
            own = [name] * 8 if not name.endswith("at/all") else [name.replace("none", f"none-{k}") for k in range(8)]
            for command in (writers(folder, own[k])[k][0] for k in range(8)):
                is_made = name.endswith("at/all") and command[0] in ("bench", "train")  # with the folders above it
                cases.append(Case(command, may_pass=is_made, holds=partial(left, folder)))
        cases.append(Case(["train", str(folder / "recipe.toml"), f"--out={folder}/half", "--resume"], may_pass=False))
        return counted(cases, partial(outcome_of_fork, changed=rightless))


def left(folder: Path) -> str:
    """Return what half-written files there are; '' for none."""
    found = [path.name for path in folder.rglob(".orl-*")]
    return f"left over: {', '.join(found)}" if found else ""


def odd_names(_: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of commands whose files have names that are odd and allowed: they must work."""
    with place() as folder:
        cases = []
        for number, name in enumerate(ODD):
            inside = folder / f"{number}"
            inside.mkdir()
            shop = inside / f"{name}.txt"
            shop.write_bytes(SHOP.read_bytes())
            cases.append(Case(["solve", str(shop), "--solver", "spt", "--json"], holds=partial(left, folder)))
            solution = str(inside / f"{name}-solution.json")
            cases.append(Case(["solve", str(shop), "--solver", "spt", f"--out={solution}"]))
            cases.append(Case(["check", str(shop), solution]))
            for k in range(8):  # each in a folder of its own: what one writes another would read
                (inside / f"{k}").mkdir()
                command, made = writers(folder, str(inside / f"{k}" / name))[k]
                cases.append(Case(command, holds=partial(missing, Path(made))))
            recipe = inside / f"{name}.toml"
            recipe.write_text(RECIPE)
            cases.append(Case(["train", str(recipe), f"--out={inside}/run", "--set", "training.iterations=1"]))
        return counted(cases, partial(must, run=outcome_of_fork))


def must(case: Case, run: Callable[[Case], str]) -> str:
    """Return what became of a command that must be done."""
    found = run(case)
    return found if found != REFUSED else "refused, though nothing is wrong"


def missing(path: Path) -> str:
    return "" if path.exists() else f"{path.name} is not there"


# A full disk --------------------------------------------------------------------------------------------------------


@contextmanager
def disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """Mount a small file system on a folder."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise SystemExit("a small tmpfs cannot be mounted here; run as root.")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def whole(folder: Path, before: Mapping[str, bytes]) -> str:
    """Return what is half-written or was lost on a disk; '' for nothing."""
    for path in folder.rglob("*.json"):
        try:
            json.loads(path.read_text())
        except ValueError:
            return f"{path.name} is no JSON"
    for path in folder.rglob("runs.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        if any(not line.endswith(b"\n") for line in lines):
            return "half a row"
    for about in folder.rglob(checkpoint.ABOUT):
        try:
            checkpoint.load(about.parent)
        except ValueError as error:
            return str(error)
    for name, content in before.items():
        if not (folder / name).exists() or not (folder / name).read_bytes().startswith(content):
            return f"{name} was lost"
    return left(folder)


def full_disk(_: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of commands on disks of 1 MB with so many kilobytes left."""
    with place() as folder:
        cases, mount = [], folder / "disk"
        with disk(mount, 1024):
            for spare in (0, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)[:count]:

                def fill(spare: int = spare, has_batch: bool = False, has_run: bool = False) -> None:
                    for path in mount.iterdir():
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
                    if has_batch:
                        shutil.copytree(folder / "batch", mount / "batch")
                    if has_run:
                        shutil.copytree(folder / "run", mount / "run")
                    (mount / "ballast").write_bytes(bytes(spare << 10))
                    with suppress(OSError), (mount / "filler").open("wb", buffering=0) as file:
                        while True:
                            file.write(bytes(4096))
                    (mount / "ballast").unlink()

                kept = {f"batch/{name}": (folder / "batch" / name).read_bytes() for name in ("runs.jsonl",)}
                holds = partial(whole, mount, {})
                for command, _made in writers(folder, str(mount / "one")):
                    cases.append(Case(command, holds=holds, before=fill))
                again = folder / "more.toml"
                again.write_text(SUITE.replace('"mwr"', '"mwr", "lpt", "lwr"'))
                longer = folder / "longer.toml"
                longer.write_text(RECIPE)
                cases += [
                    Case(["report", str(mount / "batch")], holds=partial(whole, mount, kept),
                         before=partial(fill, has_batch=True)),
                    Case(["bench", str(again), f"--out={mount}/batch", "--resume"], holds=partial(whole, mount, kept),
                         before=partial(fill, has_batch=True)),
                ]  # fmt: skip
            return counted(cases, outcome_of_fork)


def told_before(_: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of solutions that cannot be written: the result is printed all the same."""
    with place() as folder:

        def little() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

        def run(case: Case) -> str:
            with tempfile.TemporaryFile("w+") as err:
                reading, writing = os.pipe()
                with os.fdopen(writing, "w") as out:
                    pid = fork(case.arguments, out, err, little)
                with os.fdopen(reading) as out:
                    said = out.read()
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return REFUSED if code == cli.BAD_INPUT and '"verified": true' in said else f"code {code}: {said[:80]}"

        cases = [
            Case(["solve", str(folder / "shop.txt"), "--solver", "spt", "--json", f"--{kind}={folder}/one.{end}"])
            for kind, end in (("out", "json"), ("out", "csv"), ("plot", "svg"), ("plot", "png"), ("plot", "html"))
        ]
        return counted(cases, run)  # fmt: skip


# Two at once --------------------------------------------------------------------------------------------------------


def two_at_once(what: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of two commands started together with one folder or file: at least one does all."""
    counts, failures = Counter[str](), []
    with place() as folder:
        for number in range(count):
            out = folder / f"at-{number}"
            command, made = {
                "benches": (["bench", str(folder / "suite.toml"), f"--out={out}"], out / "summary.md"),
                "trainings": (["train", str(folder / "recipe.toml"), f"--out={out}"], out / "best/about.json"),
                "solves": (["solve", str(folder / "shop.txt"), "--solver", "spt", f"--out={out}.json"],
                           Path(f"{out}.json")),
            }[what]  # fmt: skip
            files = [tempfile.TemporaryFile("w+") for _ in range(4)]  # noqa: SIM115
            pids = [fork(command, files[2 * k], files[2 * k + 1]) for k in (0, 1)]
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
            for file in files:
                file.seek(0)
            said = [file.read() for file in files]
            wrong = missing(made) or whole(folder, {})
            ends = [wrong or judged(codes[k], said[2 * k], said[2 * k + 1], 0.0, True) for k in (0, 1)]
            if HANDLED not in ends and not wrong:
                ends = ["nobody did it"] * 2
            for end in ends:
                counts[end if end in (REFUSED, HANDLED) else "failed"] += 1
                if end not in (REFUSED, HANDLED):
                    failures.append(f"{what}: {end}")
                    print(failures[-1], flush=True)
            for file in files:
                file.close()
    return {"counts": dict(counts), "failures": failures}
