"""What the guard does about a denied flow, here and now: block, redact, flag or let pass.

Layer: enforce. Consulted for denied flows only. Start reading at `Modes.of`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic
from typing import Final

from policyguard.enforce.context import Scope
from policyguard.enforce.ports import At, Mode, Strength
from policyguard.enforce.routes import like
from policyguard.engine.compile import Snapshot
from policyguard.engine.decision import Decision
from policyguard.policy.terms import SELF, at_or_below

STRICTNESS: Final[tuple[Mode, ...]] = ("off", "flag", "redact", "block")
_SWITCH_SECONDS: Final = 0.5
_HUNDRED: Final = 100
_LARGEST_SWITCH: Final = 64
_READ_AT_ONCE: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class Match:
    """Which denied flows an enforcement entry is about; what is left out matches all."""

    rule: str | None = None
    recipient: str | None = None
    kind: str | None = None
    data: str | None = None
    purpose: str | None = None
    reason: str | None = None
    route: str | None = None
    at: At | None = None

    def fits(self, snapshot: Snapshot, decision: Decision, at: At, route: str) -> bool:
        """Whether a denied flow is meant."""
        flow = decision.flow
        who = snapshot.context.recipients.get(flow.recipient)
        return (
            (self.rule is None or self.rule in decision.rules)
            and (self.recipient is None or self.recipient == flow.recipient)
            and (self.kind is None or (who is not None and who.kind == self.kind))
            and (self.data is None or at_or_below(flow.data, self.data))
            and (self.purpose is None or at_or_below(flow.purpose or "", self.purpose))
            and (self.reason is None or self.reason == decision.reason)
            and (self.route is None or like(route, self.route))
            and (self.at is None or self.at == at)
        )


@dataclass(frozen=True, slots=True)
class Enforcement:
    """One entry of the configuration.

    Attributes:
        match: the flows it is about.
        mode: what is done about them.
        start: from which day on (`from` in the file).
        percent: of scopes, by a hash that takes a request whole or not at all.
    """

    match: Match
    mode: Mode
    start: date | None = None
    percent: int = _HUNDRED

    def applies(self, today: date, scope: Scope | None) -> bool:
        """Whether the entry is in force for this scope today."""
        if self.start is not None and today < self.start:
            return False
        if self.percent >= _HUNDRED or scope is None:
            # Outside any scope nothing is a share of anything: only what blocks applies.
            return self.percent >= _HUNDRED or (self.mode == "block" and self.percent > 0)
        return scope.id % _HUNDRED < self.percent


class Switch:
    """A file that holds one word, a mode; read again at most twice a second.

    A missing file switches nothing; one that can't be read, or holds anything else, means block.
    """

    __slots__ = ("_mode", "_next", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = 0.0
        self._mode: Mode | None = None

    def mode(self) -> Mode | None:
        """The mode in the file, None if there is no file."""
        now = monotonic()
        if now >= self._next:
            self._mode = self._read()
            self._next = now + _SWITCH_SECONDS
        return self._mode

    def _read(self) -> Mode | None:
        try:
            # Without waiting: a pipe in the file's place must not hold up the application.
            number = os.open(self.path, _READ_AT_ONCE)
            try:
                plain = stat.S_ISREG(os.fstat(number).st_mode)
                data = os.read(number, _LARGEST_SWITCH) if plain else b""
            finally:
                os.close(number)
        except FileNotFoundError:
            # Denies: nothing by itself; without a file the configuration stands.
            return None
        except (OSError, ValueError):
            # Denies: a switch that can't be read can't relax anything.
            return "block"
        word = data.decode("utf-8", "replace").strip()
        return next((mode for mode in STRICTNESS if mode == word), "block")


@dataclass(slots=True)
class Modes:
    """The mode of every denied flow.

    Attributes:
        default: where nothing else is said.
        entries: first match wins.
        floor: from the policy's `at_least`; neither file nor environment goes below it.
        switch: a file that overrides the default within a second.
        override: from POLICYGUARD_MODE; wins over everything but the floor.
        today: the clock, in UTC.
    """

    default: Mode = "block"
    entries: Sequence[Enforcement] = ()
    floor: Mode | None = None
    switch: Switch | None = None
    override: Mode | None = None
    today: Callable[[], date] = field(default=lambda: datetime.now(UTC).date())

    def of(
        self,
        snapshot: Snapshot,
        decision: Decision,
        at: At,
        strength: Strength,
        scope: Scope | None,
    ) -> Mode:
        """The mode for one denied flow. Cost: O(entries)."""
        return self._at_least_floor(self._wanted(snapshot, decision, at, strength, scope))

    def _wanted(
        self,
        snapshot: Snapshot,
        decision: Decision,
        at: At,
        strength: Strength,
        scope: Scope | None,
    ) -> Mode:
        if self.override is not None:
            return self.override
        switched = self.switch.mode() if self.switch is not None else None
        if switched is not None:
            return switched
        route = scope.route if scope else ""
        try:
            today = self.today()
        except Exception:  # noqa: BLE001 - a clock is the system's or the application's
            # Denies: without a day no entry is known to be in force.
            return "block"
        if type(today) is not date:
            # Denies: as above; a time is no day, and can't be compared with one.
            return "block"
        for entry in self.entries:
            if entry.applies(today, scope) and entry.match.fits(snapshot, decision, at, route):
                return entry.mode
        lenient = strength == "weak" or self._own_read(snapshot, decision, at)
        return "flag" if lenient and self.default not in ("off", "flag") else self.default

    def in_general(self) -> tuple[Mode, str]:
        """The mode where no entry says another, and what says so; for people to read."""
        switched = self.switch.mode() if self.switch is not None else None
        said: tuple[Mode, str] = self.default, "configuration"
        if self.override is not None:
            said = self.override, "POLICYGUARD_MODE"
        elif switched is not None:
            said = switched, "switch_file"
        lifted = self._at_least_floor(said[0])
        return said if lifted == said[0] else (lifted, "at_least")

    @staticmethod
    def _own_read(snapshot: Snapshot, decision: Decision, at: At) -> bool:
        """A read by the application itself, of nothing that must be named, that no rule forbids."""
        if at != "sql" or decision.flow.recipient != SELF or decision.reason == "forbidden":
            return False
        return not snapshot.context.roots(decision.flow.data)

    def _at_least_floor(self, mode: Mode) -> Mode:
        if self.floor is None or STRICTNESS.index(mode) >= STRICTNESS.index(self.floor):
            return mode
        return self.floor


def from_environment() -> Mode | None:
    """POLICYGUARD_MODE as a mode, None if it is unset; an unknown word means block."""
    word = os.environ.get("POLICYGUARD_MODE")
    if word is None:
        return None
    return next((mode for mode in STRICTNESS if mode == word.strip()), "block")
