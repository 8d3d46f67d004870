"""No home, or one that cannot be written to; an install that cannot be written to: all works, only slower."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from robustness_commands import REFUSED, RUN, Case, counted, outcome_of_process
from robustness_places import RECIPE, SUITE, missing, rightless

ROOT = RUN.parent


def commands(folder: Path, number: int) -> list[Case]:
    """Return commands that use caches, fonts and other things of a home, each with what it must leave."""
    (folder / "suite.toml").write_text(SUITE)
    (folder / "recipe.toml").write_text(RECIPE)
    out = folder / str(number)
    out.mkdir()
    return [
        Case(["list"]),
        Case(["versions"]),
        Case(["solve", "jobshop/ft06", "--solver", "spt", "--json"]),
        Case(
            ["solve", "jobshop/ft06", "--solver", "spt", f"--plot={out}/one.png"],
            holds=partial(missing, out / "one.png"),
        ),
        Case(
            ["bench", str(folder / "suite.toml"), f"--out={out}/batch"],
            holds=partial(missing, out / "batch/summary.md"),
        ),
        Case(
            ["train", str(folder / "recipe.toml"), f"--out={out}/run"],
            holds=partial(missing, out / "run/best/about.json"),
        ),
    ]


def done(case: Case, env: Mapping[str, str], changed: Any) -> str:
    """Return what became of a command that must be done."""
    command = "import sys; from orl.cli import main; sys.exit(main())"
    found = outcome_of_process(case, [sys.executable, "-c", command], env=dict(env), preexec_fn=changed, cwd="/")
    return "refused, though nothing is wrong" if found == REFUSED else found


def homes(what: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of commands without a home, with one that is missing, that is a file, or that is shut."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "shut").mkdir(mode=0o555)
        (folder / "file").touch()
        told = {"unset": None, "missing": "/nonexistent", "a file": str(folder / "file"), "shut": str(folder / "shut"),
                "relative": "here"}  # fmt: skip
        env = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR")}
        env |= {"PYTHONPATH": str(ROOT)} | ({"HOME": home} if (home := told[what]) is not None else {})
        return counted(commands(folder, 0), partial(done, env=env, changed=rightless))


def install(what: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of commands of an install in which nothing may be written, with a home or without."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, site = Path(scratch), Path(scratch) / "site"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "orl", site / "orl", symlinks=True, ignore=ignored)
        for name in ("problems", "solvers", "instances"):  # as the wheel lays them out
            inside = site / "orl" / name
            inside.unlink() if inside.is_symlink() else shutil.rmtree(inside, ignore_errors=True)
            shutil.copytree(ROOT / name, inside, ignore=ignored)
        for path in (site, *site.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        (folder / "home").mkdir(mode=0o755 if what == "with a home" else 0o555)
        env = {key: value for key, value in os.environ.items() if key not in ("XDG_CACHE_HOME", "MPLCONFIGDIR")}
        env |= {"PYTHONPATH": str(site), "HOME": str(folder / "home")}
        try:
            return counted(commands(folder, 0), partial(done, env=env, changed=rightless))
        finally:
            for path in (site, *site.rglob("*")):
                path.chmod(0o755)
