"""Fix-and-optimise on a compiled model: a bound, a first solution, windows, in the end the whole.

References
----------
S. Helber, F. Sahling (2010). A fix-and-optimize approach for the multi-level capacitated lot sizing problem.
International Journal of Production Economics 123(2). doi 10.1016/j.ijpe.2009.08.022
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from orl.exact import CompiledModel
from orl.hindsight import Solved, Start, is_met
from orl.result import Status
from orl.solver import Control
from orl.windows import Groups

if TYPE_CHECKING:
    from . import FixAndOptimiseSettings

GROWTH = 1.5  # of windows, when none of a round has found anything
BUILD_SHARE = 0.25  # of the time left, for building a first solution
BUILD_GAP = 5e-3  # relative: how near to its optimum a window is decided while the rest may be broken
WINDOW_GAP = 5e-4  # relative: what is nearer to a window's optimum is left for the next round
BETTER = 1e-7  # relative: what counts as better


def search(
    program: Any,
    groupings: Mapping[str, Groups],
    control: Control,
    start: Start,
    settings: FixAndOptimiseSettings,
    seed: int = 0,
) -> Solved:
    """Improve a solution of a Pyomo model window by window; build one if there is none to start from.

    Parameters
    ----------
    program : ConcreteModel
    groupings : name -> Groups
        How its integer variables belong together.
    control : Control
        Hears of every improvement, and of the bound of the relaxation.
    start : iterable of (variable, number)
        A starting solution, or nothing.
    settings : FixAndOptimiseSettings
    seed : int
        Of which groups without order come together.

    Returns
    -------
    Solved
        Its bound is proven: that of the linear relaxation or, if it came to that, of the whole model.
    """
    run = _Search(program, groupings, control, settings, seed)
    run.find_bound()
    if run.status is None and not run.begin_from(list(start)):
        run.build()
    if run.status is None:
        run.improve()
    return run.solved()


class _Parts:
    """One way to part the integer variables, as columns."""

    def __init__(self, compiled: CompiledModel, groups: Groups):
        found = [np.intersect1d(compiled.columns(group), compiled.integers) for group in groups.groups]
        self.groups = [columns for columns in found if len(columns)]
        self.all = np.concatenate([*self.groups, np.zeros(0, dtype=np.int32)]).astype(np.int32)
        self.is_ordered = groups.is_ordered

    def windows(self, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
        """Yield which groups come together, about `size` columns at a time.

        Those in order overlap by half, those without are drawn.
        """
        count = len(self.groups)
        order = list(range(count)) if self.is_ordered else rng.permutation(count).tolist()
        first = reached = 0
        while first < count:
            last, columns = first, 0
            while last < count and (last == first or columns + len(self.groups[order[last]]) <= size):
                columns += len(self.groups[order[last]])
                last += 1
            if last > reached:  # else it is part of the window before
                yield order[first:last]
            if last == count:
                return
            reached = last
            first += max(1, (last - first + 1) // 2) if self.is_ordered else last - first

    def columns(self, window: Sequence[int]) -> np.ndarray:
        return np.concatenate([self.groups[group] for group in window])


class _Search:
    """What is known of a model's solutions.

    Attributes
    ----------
    values : ndarray of all columns, or None
        The best solution.
    cost, bound : float or None
    status : Status or None
        Set when there is nothing more to look for.
    """

    def __init__(
        self,
        program: Any,
        groupings: Mapping[str, Groups],
        control: Control,
        settings: FixAndOptimiseSettings,
        seed: int,
    ):
        self.control, self.rng = control, np.random.default_rng(seed)
        self.size, self.seconds = settings.window, settings.window_time
        self.compiled = CompiledModel(program, settings.threads, seed)
        parts = [_Parts(self.compiled, groups) for groups in groupings.values()]
        self.parts = [part for part in parts if part.groups]
        self.values: np.ndarray | None = None
        self.cost: float | None = None
        self.bound: float | None = None
        self.status: Status | None = None
        self.nodes = 0

    def find_bound(self) -> None:
        """Solve the linear relaxation."""
        self.compiled.relax(self.compiled.integers)
        relaxed = self.compiled.solve(self.control.within(math.inf))
        self.compiled.relax(self.compiled.integers[:0])
        if relaxed.status in (Status.INFEASIBLE, Status.UNBOUNDED):
            self.status = relaxed.status
        self._raise(relaxed.bound)

    def begin_from(self, start: Sequence[tuple[Any, float]]) -> bool:
        """Take integer variables from a solution, and the rest as is best with them; return whether that goes."""
        number = {id(variable): value for variable, value in start}
        columns = self.compiled.columns(variable for variable, _ in start)
        numbers = np.array([number[id(variable)] for variable, _ in start if len(self.compiled.columns([variable]))])
        is_whole = np.isin(columns, self.compiled.integers)
        if is_whole.sum() < len(self.compiled.integers) or self.control.should_stop:
            return False
        self._take(self._decide(columns[is_whole], numbers[is_whole], math.inf))
        return self.values is not None

    def build(self) -> None:
        """Build a solution by relax-and-fix: window after window is decided while what comes later may be broken.

        If that leads nowhere it is tried again with windows twice as large, in the end with the whole model.
        """
        size, compiled = self.size, self.compiled
        part = next((part for part in self.parts if part.is_ordered), self.parts[0] if self.parts else None)
        while part is not None and size < len(part.all) and not self.control.should_stop:
            if self._build(part, size):
                return
            size *= 2
        compiled.let_go()
        whole = compiled.solve(self.control, is_first_enough=True)
        if whole.status in (Status.INFEASIBLE, Status.UNBOUNDED):
            self.status = whole.status
        self._raise(whole.bound)
        self._take(whole)

    def improve(self) -> None:
        """Decide windows anew, larger ones whenever a round finds nothing, until the window is the whole model."""
        settled: set[tuple[int, frozenset[int]]] = set()  # windows that are best as they are
        with self.control.progress(0, "windows") as bar:
            while self.values is not None and not self._is_done():
                if self.size >= len(self.compiled.integers) or not self.parts:
                    self._finish()
                    return
                before, is_cut = self.cost, False
                for number, part in enumerate(self.parts):
                    for window in part.windows(self.size, self.rng):
                        key = number, frozenset(window)
                        if key in settled:
                            continue
                        if self._is_done():
                            return
                        held = np.setdiff1d(part.all, part.columns(window))
                        found = self._decide(held, self.values[held].round(), self.seconds, WINDOW_GAP)
                        bar.update(1)
                        if self._take(found):
                            settled.clear()
                        if self._is_settled(found):
                            settled.add(key)
                        else:
                            is_cut = True
                if self.cost == before:
                    self.size = math.ceil(GROWTH * self.size)
                    self.seconds *= 2 if is_cut else 1

    def solved(self) -> Solved:
        status = self.status or (Status.NO_SOLUTION if self.values is None else Status.FEASIBLE)
        if self.status is None and self.control.is_interrupted:
            status = Status.INTERRUPTED
        elif self.status is None and is_met(self.cost, self.bound):
            status = Status.OPTIMAL
        of = None if self.values is None else self.compiled.reader(self.values)
        return Solved(status, self.cost, self.bound, of, self.nodes)

    # private

    def _is_done(self) -> bool:
        return self.control.should_stop or is_met(self.cost, self.bound)

    def _is_settled(self, found: Solved) -> bool:
        """Whether a window was solved to the end."""
        return (
            found.bound is not None
            and self.cost is not None
            and (self.cost - found.bound <= 2 * WINDOW_GAP * max(1.0, abs(self.cost)))
        )

    def _decide(self, held: np.ndarray, numbers: np.ndarray, seconds: float, gap: float = 0.0) -> Solved:
        """Solve the model with some columns held."""
        self.compiled.let_go()
        self.compiled.hold(held, numbers)
        start = () if self.values is None else self.values
        return self.compiled.solve(self.control.within(seconds), start, gap)

    def _build(self, part: _Parts, size: int) -> bool:
        """Try relax-and-fix with windows of one size; return whether it found a solution."""
        compiled, open_ = self.compiled, part.all
        compiled.let_go()
        windows = list(part.windows(size, self.rng))
        for place, window in enumerate(windows):
            kept = [group for group in window if place + 1 < len(windows) and group not in windows[place + 1]]
            later = np.setdiff1d(open_, part.columns(window))
            compiled.relax(later)
            left = (BUILD_SHARE * self.control.remaining) / (len(windows) - place)
            found = compiled.solve(self.control.within(min(self.seconds, left)), relative_gap=BUILD_GAP)
            self.nodes += found.nodes
            if found.of is None or compiled.values is None or self.control.should_stop:
                compiled.relax(compiled.integers[:0])
                return False
            if kept:
                decided = part.columns(kept)
                compiled.hold(decided, compiled.values[decided].round())
                open_ = np.setdiff1d(open_, decided)
        compiled.relax(compiled.integers[:0])
        self.nodes -= found.nodes  # counted twice below
        return self._take(found)

    def _finish(self) -> None:
        """Solve the whole model from the best solution, with the time that is left."""
        self.compiled.let_go()
        assert self.values is not None
        whole = self.compiled.solve(self.control, self.values)
        self._raise(whole.bound)
        self._take(whole)

    def _take(self, found: Solved) -> bool:
        """Keep a solution that is better; return whether it is."""
        self.nodes += found.nodes
        is_better = found.value is not None and (
            self.cost is None or found.value < self.cost - BETTER * max(1.0, abs(self.cost))
        )
        if is_better:
            self.cost, self.values = found.value, self.compiled.values
            self.control.report(value=self.cost)
        return is_better

    def _raise(self, bound: float | None) -> None:
        if bound is not None and (self.bound is None or bound > self.bound):
            self.bound = bound
            self.control.report(bound=bound)
