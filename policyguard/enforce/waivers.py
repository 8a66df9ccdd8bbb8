"""Waivers: reviewed exceptions that end by themselves.

Layer: enforce. A flow that the policy denies passes while a waiver for it is in force; it is still
reported and counted, with the waiver's owner and reason. An expired waiver counts as absent and is
an error that is told. Start reading at `Waivers.find`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from policyguard.enforce.modes import Match
from policyguard.enforce.ports import At
from policyguard.engine.compile import Snapshot
from policyguard.engine.decision import Decision

_LOGGER: Final = logging.getLogger("policyguard")


def utc_today() -> date:
    """The day, in UTC."""
    return datetime.now(UTC).date()


@dataclass(frozen=True, slots=True)
class Waiver:
    """One exception.

    Attributes:
        match: the denied flows that it lets pass; names a rule, data, purpose or recipient.
        owner: who answers for it.
        reason: why it is needed.
        expires: its last day, in UTC.
    """

    match: Match
    owner: str
    reason: str
    expires: date

    @property
    def sentence(self) -> str:
        """For messages and lists."""
        return f"waived until {self.expires} by {self.owner}: {self.reason}"

    @property
    def subject(self) -> str:
        """The flows it is about, in the words of the configuration."""
        named = ((name, getattr(self.match, name)) for name in Match.__dataclass_fields__)
        return ", ".join(f"{name} `{value}`" for name, value in named if value is not None)


class Waivers:
    """All waivers of a configuration.

    Args:
        waivers: in the order of the configuration; the first that fits counts.
        today: the clock, in UTC.
    """

    __slots__ = ("_today", "_told", "all")

    def __init__(
        self, waivers: Iterable[Waiver] = (), *, today: Callable[[], date] = utc_today
    ) -> None:
        self.all = tuple(waivers)
        self._today = today
        self._told: set[Waiver] = set()

    def find(self, snapshot: Snapshot, decision: Decision, at: At, route: str) -> Waiver | None:
        """The waiver that lets a denied flow pass today, None if there is none."""
        for waiver in self.all:
            if waiver.match.fits(snapshot, decision, at, route):
                if self._in_force(waiver):
                    return waiver
                self._tell(waiver)
        return None

    def expired(self) -> list[Waiver]:
        """Those that count as absent today. If the day can't be told, all of them."""
        return [waiver for waiver in self.all if not self._in_force(waiver)]

    def tell(self) -> None:
        """Say of every expired waiver, once, that it counts as absent."""
        for waiver in self.expired():
            self._tell(waiver)

    def _in_force(self, waiver: Waiver) -> bool:
        try:
            return self._today() <= waiver.expires
        except Exception:  # noqa: BLE001 - a clock is the system's or the application's
            # Denies: without a day no waiver is known to be in force.
            return False

    def _tell(self, waiver: Waiver) -> None:
        if waiver not in self._told:
            self._told.add(waiver)
            _LOGGER.error(
                "PG206 a waiver has expired on %s and counts as absent: %s (owner: %s)",
                waiver.expires,
                waiver.subject,
                waiver.owner,
            )


NO_WAIVERS: Final = Waivers()
