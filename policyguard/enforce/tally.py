"""Counts of decisions, cheap enough for the allow path.

Layer: enforce. Start reading at `Tally`.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
from threading import Lock
from typing import Final, NamedTuple

from policyguard.enforce.ports import Mode
from policyguard.engine.decision import Decision

_CELLS: Final = 4096


class Key(NamedTuple):
    """What is counted together; never a table, column or person.

    Attributes:
        outcome: allow, or what became of a denied flow: deny, flagged, ignored.
        recipient: a declared recipient, or "unknown".
        mode: the mode that applied to a denied flow, "" on the allow path.
    """

    outcome: str
    recipient: str
    mode: str


class Tally:
    """How many decisions of which kind, since the start. Safe for threads; nothing is lost.

    Cost: one dict look-up and one step of a counter for an allowed flow.
    """

    __slots__ = ("_allowed", "_counters", "_lock", "_others", "_recipients")

    def __init__(self, recipients: frozenset[str]) -> None:
        self._recipients = recipients
        # A step of itertools.count is atomic, so the allow path takes no lock. Decisions are shared
        # and kept with the way to their counter, so their ids stay theirs.
        self._counters: dict[Key, count[int]] = {}
        self._allowed: dict[int, tuple[Decision, count[int]]] = {}
        self._others: Counter[Key] = Counter()
        self._lock = Lock()

    def also(self, recipients: frozenset[str]) -> None:
        """Count these recipients by name too; another policy's decisions come from now on."""
        self._recipients |= recipients
        with self._lock:
            self._allowed = {}

    def allowed(self, decision: Decision) -> None:
        """Count an allowed flow."""
        cell = self._allowed.get(id(decision))
        if cell is None:
            cell = self._cell(decision)
        next(cell[1])

    def counter(self, decision: Decision) -> count[int]:
        """What to step for each allowed flow of this decision."""
        return self._cell(decision)[1]

    def _cell(self, decision: Decision) -> tuple[Decision, count[int]]:
        key = Key("allow", self._name(decision.flow.recipient), "")
        with self._lock:
            if len(self._allowed) >= _CELLS:
                # Bounded: what is counted stands in the counters, and the ways are found again.
                self._allowed = {}
            made = decision, self._counters.setdefault(key, count())
            return self._allowed.setdefault(id(decision), made)

    def denied(self, decision: Decision, outcome: str, mode: Mode) -> None:
        """Count a flow that was blocked, flagged or ignored."""
        key = Key(outcome, self._name(decision.flow.recipient), mode)
        with self._lock:
            self._others[key] += 1

    def _name(self, recipient: str) -> str:
        return recipient if recipient in self._recipients else "unknown"

    def read(self) -> dict[Key, int]:
        """All counts so far."""
        with self._lock:
            found = Counter(self._others)
            counters = list(self._counters.items())
        for key, counter in counters:
            # The only look at a counter that doesn't step it and works in every version.
            steps = int(repr(counter)[len("count(") : -1])
            if steps:
                found[key] += steps
        return dict(found)
