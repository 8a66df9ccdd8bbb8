"""What all guards of a process denied, counted.

Layer: testing. Start reading at `Denied`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from policyguard.enforce.claims import each_guard
from policyguard.enforce.ports import Record

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

_MOST: Final = 10_000
Key = tuple[str, str]


class Denied:
    """A reporter of every guard in this process: each denied flow once, with its count."""

    def __init__(self) -> None:
        self._counts: Counter[Key] = Counter()
        self._lock = threading.Lock()
        self._guards: WeakSet[Guard] = WeakSet()
        self._end = each_guard(self._follow)

    def _follow(self, guard: Guard) -> None:
        guard.reporters = (*guard.reporters, self)
        self._guards.add(guard)

    def end(self) -> None:
        """Follow no guard any more."""
        self._end()
        for guard in tuple(self._guards):
            guard.reporters = tuple(one for one in guard.reporters if one is not self)
        self._guards.clear()

    def report(self, record: Record) -> None:
        """Count a record; called by guards."""
        decision = record.decision
        flow = decision.flow
        source = f" from {record.source}" if record.source else ""
        place = f", sent at {record.sent_at}" if record.sent_at else ""
        line = (
            f"{flow.data or 'data of no known category'}{source} to {flow.recipient}, "
            f"for {flow.purpose or 'no purpose'} ({decision.reason}){place}"
        )
        # A term that code made up may hold half a character; other processes must read it.
        line = line.encode("utf-8", "backslashreplace").decode()
        self.add([[record.effect, line, 1]])

    def add(self, counted: Iterable[Any]) -> None:
        """Add counts, such as those of another process: (effect, line, times)."""
        with self._lock:
            for effect, line, times in counted:
                key = (str(effect), str(line))
                # Bounded; past it flows are still blocked, only not listed.
                if key in self._counts or len(self._counts) < _MOST:
                    self._counts[key] += int(times)

    def as_lists(self) -> list[list[Any]]:
        """The counts as plain data, for another process."""
        with self._lock:
            return [[effect, line, times] for (effect, line), times in self._counts.items()]

    def lines(self) -> list[str]:
        """One line for each flow, the most frequent first."""
        with self._lock:
            ordered = sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return [f"{times:>5} x {effect}: {line}" for (effect, line), times in ordered]
