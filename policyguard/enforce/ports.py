"""What the guard needs from outside: reporters, and the records they get.

Layer: enforce. Start reading at `Record`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from policyguard.engine.decision import Decision

Mode = Literal["block", "redact", "flag", "off"]
At = Literal["call", "sql", "http"]
Effect = Literal["blocked", "redacted", "waived", "flagged", "ignored"]
Strength = Literal["strong", "weak"]


@dataclass(frozen=True, slots=True)
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
        message: the whole message in plain words.
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
    message: str


class Reporter(Protocol):
    """Is told of every denied flow. What it raises changes nothing about the verdict."""

    def report(self, record: Record) -> None:
        """Take notice of a record; must be quick and safe for threads."""
