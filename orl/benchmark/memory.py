"""A process's peak memory, measured anew for each run, and a limit on what a run may take."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def forget_peak() -> bool:
    """Begin to measure the peak anew; return whether the system can (Linux can)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory_mb() -> float | None:
    """Return the peak resident memory of this process since `forget_peak`, in MB; None where that is not told."""
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        return None
    return int(found.group(1)) / 2**10 if found else None


@contextmanager
def limited_memory(limit_gb: float | None) -> Iterator[None]:
    """Limit the private memory of this process, and of those that it starts, within the block.

    Private memory (RLIMIT_DATA) is what a program allocates; what it maps from files does not count, nor what it merely
    reserves.
    """
    if limit_gb is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = int(limit_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))
    try:
        yield
    finally:
        with suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
