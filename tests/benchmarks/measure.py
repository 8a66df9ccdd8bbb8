"""Clocks for the benchmarks: rounds of all candidates in turn, CPU time, medians.

Candidates of one comparison take turns within each round, so that a slow moment of the machine hits
all of them; what is printed are ratios of medians. Start reading at `compare`.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

ROUNDS = 9
PATIENCE = 2_000_000_000
"""CPU nanoseconds for all rounds of one candidate; a slow one gets fewer, but at least two."""


@dataclass(frozen=True, slots=True)
class Work:
    """One candidate: `run` does `units` units of work."""

    run: Callable[[], object]
    units: int


@dataclass(slots=True)
class Figure:
    """One line of the report.

    Attributes:
        part: which section it belongs to.
        name: what was measured.
        value: the measured number.
        unit: of the number; `x` for a ratio.
        target: what it should be, None where nothing was promised.
        at_least: whether the target is a lower bound.
        note: what the number holds, in a few words.
    """

    part: str
    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def ok(self) -> bool | None:
        """Whether the target is met, None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(slots=True)
class Report:
    """All figures of one run, and what could not be measured."""

    figures: list[Figure] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(
        self,
        part: str,
        name: str,
        value: float,
        unit: str,
        *,
        most: float | None = None,
        least: float | None = None,
        note: str = "",
    ) -> None:
        """Take down a figure, with its upper or lower bound if it has one."""
        target = most if least is None else least
        figure = Figure(part, name, value, unit, target, least is not None, note)
        self.figures.append(figure)


def compare(
    works: Mapping[str, Work], *, rounds: int = ROUNDS, collect: bool = False
) -> dict[str, float]:
    """CPU nanoseconds for one unit of each candidate: the median of interleaved rounds.

    One round of each runs before, so everything is warm.

    Args:
        works: the candidates.
        rounds: how often each has its turn; a slow one gets fewer.
        collect: leave the collector on. Else it is off while the clock runs, because its share
            would fall on whoever happens to allocate when it is due.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    limits = dict.fromkeys(works, rounds)
    for name, work in works.items():
        spent = _cpu(work, collect=collect)
        limits[name] = max(2, min(rounds, PATIENCE // max(1, spent)))
    for number in range(rounds):
        for name, work in works.items():
            if number < limits[name]:
                taken[name].append(_cpu(work, collect=collect) / work.units)
    return {name: statistics.median(times) for name, times in taken.items()}


def _cpu(work: Work, *, collect: bool) -> int:
    gc.collect()
    if not collect:
        gc.disable()
    try:
        before = time.process_time_ns()
        work.run()
        return time.process_time_ns() - before
    finally:
        gc.enable()


def spread(call: Callable[[int], object], count: int) -> tuple[float, float]:
    """The 50th and 99th percentile of single calls in nanoseconds, the clock's own cost taken off.

    Args:
        call: gets the number of the call.
        count: how many.
    """
    clock = time.thread_time_ns
    empty = statistics.median(-(clock() - clock()) for _ in range(2_000))
    gc.collect()
    gc.disable()
    try:
        times = []
        for number in range(count):
            before = clock()
            call(number)
            times.append(clock() - before - empty)
    finally:
        gc.enable()
    times.sort()
    return max(1.0, times[count // 2]), max(1.0, times[count * 99 // 100])
