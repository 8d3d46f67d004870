"""Compiled kernels: the cache follows the sources, and does without a place to write."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numba
import pytest

from orl import jit
from orl.solver import Control

CODE = "import orl; print(orl.solve('jobshop/ft06', 'spt').value)"


def test_the_cache_folder_depends_on_every_kernel_source(monkeypatch):
    """An edit in any kernel file leads to another folder, so no stale code runs."""
    before = jit._cache_folder.__wrapped__()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"\n# edited")
    assert jit._cache_folder.__wrapped__() != before


def test_kernels_run_where_nothing_can_be_written(tmp_path):
    """No home and a cache path that is no folder: the kernels compile anew, and nothing is left behind."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "NUMBA_CACHE_DIR")}
    environment["XDG_CACHE_HOME"] = str(blocked / "below")
    run = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == "88.0", run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_other_peoples_kernels_keep_their_own_cache():
    before = numba.config.CACHE_DIR
    jit.kernel(lambda x: x)
    assert before == numba.config.CACHE_DIR


def test_a_time_limit_does_not_count_compilation():
    """A kernel, and the one that it calls, are compiled: hardly anything of the time limit is gone, and no less."""
    control, began = Control(time_limit=1.0), time.perf_counter()
    inner = numba.njit(lambda x: x**2 + 1.0)
    numba.njit(lambda x: inner(x) + inner(x + 1.0))(1.0)
    took = time.perf_counter() - began
    assert 0 <= 1.0 - control.remaining < 0.5 * took
    assert control.seconds >= took
    assert control.gone == pytest.approx(1.0 - control.remaining, abs=0.01)
