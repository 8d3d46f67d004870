"""How long kernels have been compiled in this process: what happens once a machine is counted by no time limit.

`orl.jit` tells it of every compilation. It stands apart because whoever looks at the clock need not load numba.
"""

from __future__ import annotations

import time


class CompilerClock:
    """Runs while something is compiled; what is compiled within another compilation counts once."""

    def __init__(self) -> None:
        self._before, self._began, self._depth = 0.0, 0.0, 0

    def start(self) -> None:
        if self._depth == 0:
            self._began = time.perf_counter()
        self._depth += 1

    def stop(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._before += time.perf_counter() - self._began

    @property
    def seconds(self) -> float:
        """Of all compilations so far, that of now among them."""
        return self._before + (time.perf_counter() - self._began if self._depth else 0.0)


CLOCK = CompilerClock()
