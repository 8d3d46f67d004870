"""Numba compilation with a cache that sees edits in every kernel file.

Numba's own cache checks the file of the compiled function only, so an edit in a kernel that another one calls would go
unnoticed. Here the cache folder is named by a hash of all kernel sources. Where nothing can be written, kernels compile
anew in every process.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numba
import platformdirs
from numba.core import event

from orl.compiling import CLOCK

_DECORATING = threading.Lock()
# A kernel allocates nothing, so it needs no reference counts (`_nrt`): counting took three quarters of an episode's
# time, two atomic operations for each array that one kernel passes to another.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
_NUMBA: Any = numba.config  # its attributes are made at run time, where types do not see them


class _Compilations(event.Listener):
    """Lets the clock run while numba compiles, which it does for one thread at a time."""

    def on_start(self, event: Any) -> None:
        CLOCK.start()

    def on_end(self, event: Any) -> None:
        CLOCK.stop()


event.register("numba:compile", _Compilations())


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel: arithmetic over arrays, nothing validated or allocated, the interpreter lock released.

    Kernels live in files named `kernels*.py`; the cache folder depends on all of them.
    """
    folder = _cache_folder()
    if folder is None:
        return numba.njit(**_OPTIONS)(function)
    with _DECORATING:
        previous = _NUMBA.CACHE_DIR
        _NUMBA.CACHE_DIR = folder  # read when the decorator runs, so nobody else's kernels are moved
        try:
            return numba.njit(cache=True, **_OPTIONS)(function)
        finally:
            _NUMBA.CACHE_DIR = previous


@cache
def _cache_folder() -> str | None:
    digest = hashlib.sha256(f"{numba.__version__} {_OPTIONS}".encode())
    for package in ("orl", "orl.problems", "orl.solvers"):
        for root in import_module(package).__path__:
            for path in sorted(Path(root).rglob("kernels*.py")):
                digest.update(path.read_bytes())
    parent = _NUMBA.CACHE_DIR or platformdirs.user_cache_dir("orl")
    folder = Path(parent) / f"numba-{digest.hexdigest()[:16]}"
    if not folder.is_absolute():  # there is no home to expand
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder) if os.access(folder, os.W_OK) else None
