"""Every flow that a guard judges while a test looks, allowed ones too; names only, never a value.

Layer: testing. A recorder changes no verdict. Start reading at `Recorder`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from policyguard.enforce.ports import At, Effect, Record
from policyguard.enforce.site import call_site
from policyguard.policy.flow import Form, Reason, Verdict

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard
    from policyguard.enforce.violation import Judged

_MOST: Final = 100_000
_INSIDE: Final = frozenset({"first_party", "first_party_human", "store", "data_subject"})
_PASSES: Final = frozenset({"allowed", "flagged", "ignored", "waived"})


@dataclass(frozen=True, slots=True)
class Seen:
    """One flow that was judged.

    Attributes:
        data: data category; "" where it can't be told.
        form: form names; empty = raw.
        purpose: None where the code said none.
        recipient: a recipient's id, or the host of one that nobody declared.
        kind: of the recipient; "" if nobody declared it.
        verdict: allow, deny or conditional.
        reason: why, one word.
        effect: what became of it: allowed, blocked, redacted, waived, flagged or ignored.
        at: where it was seen: call, sql or http.
        source: what was read, such as `users.email`; "" if unknown.
        where: the part of the payload or statement.
        read_at: file:line where it was read; "" if unknown.
        sent_at: file:line where it was about to leave.
    """

    data: str
    form: Form
    purpose: str | None
    recipient: str
    kind: str
    verdict: Verdict
    reason: Reason
    effect: Effect | Literal["allowed"]
    at: At
    source: str
    where: str
    read_at: str
    sent_at: str

    @property
    def left(self) -> bool:
        """Whether it passed, to a recipient outside of the company that isn't the person."""
        return self.effect in _PASSES and self.kind not in _INSIDE

    def __str__(self) -> str:
        """One line: the flow and what became of it."""
        form = f" ({', '.join(sorted(self.form))})" if self.form else ""
        source = f" from {self.source}" if self.source else ""
        why = "" if self.verdict == "allow" else f" ({self.reason})"
        return (
            f"{self.data or 'data of no known category'}{form}{source} to {self.recipient}, "
            f"for {self.purpose or 'no purpose'}: {self.effect}{why}"
        )


class Recorder:
    """Flows of one guard, from `start` to `stop`, of all threads and tasks.

    Attributes:
        guard: whose flows.
        full: more were judged than are kept; no assertion holds then.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.full = False
        # Each in a list of its own, so that what becomes of it can be taken down later.
        self._flows: list[list[Seen]] = []
        self._lock = threading.Lock()
        # The guard tells of a flow first, then in the same thread what becomes of a denied one.
        self._open = threading.local()

    @property
    def flows(self) -> tuple[Seen, ...]:
        """Everything so far, in order."""
        with self._lock:
            return tuple(kept[0] for kept in self._flows)

    @property
    def denied(self) -> tuple[Seen, ...]:
        """Flows that the policy doesn't allow, whatever became of them."""
        return tuple(one for one in self.flows if one.verdict != "allow")

    def clear(self) -> None:
        """Forget what was recorded."""
        with self._lock:
            self._flows.clear()
            self.full = False

    def start(self) -> None:
        """Record from now on."""
        self.guard.watchers = (*self.guard.watchers, self._watch)
        self.guard.reporters = (*self.guard.reporters, self)

    def stop(self) -> None:
        """Record no more; what was recorded stays."""
        mine = self._watch
        self.guard.watchers = tuple(one for one in self.guard.watchers if one != mine)
        self.guard.reporters = tuple(one for one in self.guard.reporters if one is not self)

    def report(self, record: Record) -> None:
        """Take down what became of a denied flow; called by the guard."""
        key = (record.decision, record.source, record.read_at, record.where, record.strength)
        kept = getattr(self._open, "denied", {}).pop(key, None)
        if kept is not None:
            kept[0] = replace(kept[0], effect=record.effect)

    def _watch(self, judged: Judged, at: At) -> None:
        decision, label = judged.decision, judged.label
        flow = decision.flow
        who = self.guard.snapshot.context.recipients.get(flow.recipient)
        seen = Seen(
            data=flow.data,
            form=flow.form,
            purpose=flow.purpose,
            recipient=flow.recipient,
            kind="" if who is None else who.kind,
            verdict=decision.verdict,
            reason=decision.reason,
            # Of a denied flow that is ignored (mode off) nobody is told more.
            effect="allowed" if decision.allowed else "ignored",
            at=at,
            source=label.source,
            where=judged.where,
            read_at=label.at,
            sent_at=call_site(),
        )
        with self._lock:
            if len(self._flows) >= _MOST:
                self.full = True
                return
            kept = [seen]
            self._flows.append(kept)
        if not decision.allowed:
            if not hasattr(self._open, "denied"):
                self._open.denied = {}
            key = (decision, label.source, label.at, judged.where, judged.strength)
            self._open.denied[key] = kept


@contextmanager
def recording(guard: Guard) -> Iterator[Recorder]:
    """Record what a guard judges in a `with` block, in all threads and tasks.

    Returns:
        The recorder; it keeps what it has after the block.

    Cost: some 5 us a flow, and sinks remember no answers meanwhile.
    """
    recorder = Recorder(guard)
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.stop()
