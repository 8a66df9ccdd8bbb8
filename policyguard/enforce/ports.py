"""What the guard needs from outside: reporters, and the records they get.

Layer: enforce. Start reading at `Record`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from policyguard.engine.decision import Decision

Mode = Literal["block", "redact", "flag", "off"]
At = Literal["call", "sql", "http"]
Effect = Literal["blocked", "redacted", "waived", "flagged", "ignored"]
Strength = Literal["strong", "weak"]


@dataclass(frozen=True)
class Record:
    """One denied flow, for reporters. Names and places only, never a value.

    Attributes:
        decision: what the policy says.
        mode: the mode that applied.
        effect: what the guard did.
        at: where the flow was seen.
        source: what was read, such as `faces.embedding`; "" if unknown.
        read_at: file:line where it was read; "" if unknown.
        sent_at: file:line where it was about to leave.
        where: the part of the payload or the statement, such as `body.user.email`.
        host: for http the host it was sent to.
        strength: of the evidence.
        route: of the request or job.
        fingerprint: the same for the same flow at the same place, across runs.
        policy: the policy's id.
        say: makes the message.
    """

    decision: Decision
    mode: Mode
    effect: Effect
    at: At
    source: str
    read_at: str
    sent_at: str
    where: str
    host: str
    strength: Strength
    route: str
    fingerprint: str
    policy: str
    say: Callable[[], str] = field(repr=False, compare=False)

    @cached_property
    def message(self) -> str:
        """The whole message in plain words.

        Cost: some 40 us when it is first asked for: of a flow that is flagged again and again
        nobody needs it.
        """
        return self.say()


class Reporter(Protocol):
    """Is told of every denied flow. What it raises changes nothing about the verdict."""

    def report(self, record: Record) -> None:
        """Take notice of a record; must be quick and safe for threads."""
