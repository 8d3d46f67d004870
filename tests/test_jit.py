"""Compiled kernels: the cache follows the sources, and does without a place to write."""

import os
import subprocess
import sys
from pathlib import Path

from orl import jit

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
    import numba

    before = numba.config.CACHE_DIR
    jit.kernel(lambda x: x)
    assert before == numba.config.CACHE_DIR
