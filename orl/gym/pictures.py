"""What `render` gives: the family's own picture as an array, or a text."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from orl.errors import InputError
from orl.gym.episodes import Episodes

MODES = ("rgb_array", "ansi")
LAST = 8  # rows of a text's table


def check_mode(render_mode: str | None) -> str | None:
    """Return a render mode if it is one."""
    if render_mode is not None and render_mode not in MODES:
        raise InputError(f"render_mode must be one of {', '.join(MODES)} or None, got {render_mode!r}.")
    return render_mode


def render(episodes: Episodes, env: int, mode: str) -> Any:
    """Return what was done so far in an environment as a picture (height, width, 3) of uint8, or as a text."""
    instance, solution = episodes.process.instances[env], episodes.process.solution(env)
    return _text(episodes, env, instance, solution) if mode == "ansi" else _picture(episodes, env, instance, solution)


def _picture(episodes: Episodes, env: int, instance: Any, solution: Any) -> np.ndarray:
    from matplotlib.image import imread

    plot = episodes.problem.plot
    if plot is None:
        raise InputError(f"{episodes.problem.name} has no pictures yet; use render_mode='ansi'.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.png"
        plot(instance, [solution], path, None, episodes.scenarios[env])
        return np.round(255 * imread(path)[:, :, :3]).astype(np.uint8)


def _text(episodes: Episodes, env: int, instance: Any, solution: Any) -> str:
    """Return size, cost so far and legal actions, and the latest rows of the solution's table."""
    legal = episodes.process.observe().legal[env]
    columns = episodes.problem.columns(instance, solution)
    rows = list(zip(*columns.values(), strict=True))
    actions = legal.tolist()  # bounds of targets
    if legal.dtype == bool:  # choices, a list a machine where there are several
        by_machine = [np.flatnonzero(mask).tolist() for mask in np.atleast_2d(legal)]
        actions = by_machine if legal.ndim > 1 else by_machine[0]
    lines = [
        f"{instance.name}: {episodes.problem.describe(instance)}",
        f"cost so far {episodes.costs[env]:,.10g}; legal actions: {actions}",
        f"... {len(rows) - LAST} rows" if len(rows) > LAST else "",
        tabulate(rows[-LAST:], headers=list(columns)),
    ]
    return "\n".join(line for line in lines if line)
