"""The versions of ORL, Python and what ORL stands on, for whoever wants to run something again."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def versions() -> dict[str, str]:
    """Return the versions of ORL, Python and what ORL stands on, and the commit of a clone."""
    import platform
    import subprocess
    from importlib import metadata

    found = {"orl": metadata.version("orl"), "python": platform.python_version()}
    for name in ("numpy", "numba", "pyomo", "highspy", "ortools", "torch", "casadi", "clarabel"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    root = Path(__file__).resolve().parent.parent
    if (root / ".git").exists():

        def git(*words: str) -> str:
            command = ["git", "-C", str(root), *words]
            return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()

        with suppress(OSError, subprocess.TimeoutExpired):  # no git here, or a very slow disk: no commit then
            # The tables that benchmarks write are no change of what they measured.
            is_changed = git("status", "--porcelain", "--", ".", ":!benchmarks/results")
            found["commit"] = git("rev-parse", "--short=12", "HEAD") + ("+changes" if is_changed else "")
    return found
