"""Judging labels: which flows are there, may they happen, what is done about those that may not.

Layer: enforce. What decorators, statements and requests share. Start reading at `Judge.judge`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from policyguard.enforce.context import Scope, current_scope
from policyguard.enforce.logreport import LogReporter
from policyguard.enforce.modes import Modes
from policyguard.enforce.ports import At, Effect, Mode, Record, Reporter, Strength
from policyguard.enforce.seen import labels_seen
from policyguard.enforce.site import call_site
from policyguard.enforce.tally import Tally
from policyguard.enforce.violation import Judged, PolicyViolation, build, fingerprint
from policyguard.engine.compile import Snapshot
from policyguard.engine.decision import Decision
from policyguard.labels.recent import Job, Recent, Remembers
from policyguard.labels.typed import labels_of_value
from policyguard.policy.datamap import DataMap
from policyguard.policy.flow import Facts, Flow, Label
from policyguard.policy.hosts import HostTable, parse_host_pattern

_INSIDE: Final = frozenset({"first_party", "first_party_human", "store"})
_LOGGER: Final = logging.getLogger("policyguard")


class Judge:
    """One policy, what is done about denied flows, and who is told. Safe for threads and tasks.

    Attributes:
        snapshot: the compiled policy.
        data_map: what tables, columns and fields hold; None if there is none.
        modes: what is done about denied flows.
        reporters: told of every denied flow.
        tally: counts of all decisions.
        hosts: which hosts belong to which recipient.
        job_purpose: the purpose where code and route say none (`POLICYGUARD_PURPOSE`).
        transforms: forms that reviewed transforms of this program give.
        exempt: whether a request is telemetry's own; set together with telemetry.
        took: told how long statements and requests took to check; set together with telemetry.
        planner: plans of statements, made when the first one is checked.
        recent: labelled values beyond one request.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        data_map: DataMap | None = None,
        modes: Modes | None = None,
        reporters: Sequence[Reporter] = (),
        job_purpose: str | None = None,
        transforms: Iterable[str] = (),
    ) -> None:
        self.snapshot = snapshot
        self.data_map = data_map
        self.modes = modes or Modes()
        self.reporters: tuple[Reporter, ...] = (LogReporter(), *reporters)
        self.job_purpose = job_purpose
        self.transforms = frozenset(transforms)
        recipients = snapshot.context.recipients
        self.tally = Tally(frozenset(recipients))
        self.hosts = HostTable(
            (name, [parse_host_pattern(host) for host in who.hosts])
            for name, who in recipients.items()
        )
        self.exempt: Callable[[], bool] = lambda: False
        self.took: Callable[[At, str, float], None] | None = None
        self.planner: Any = None
        self.recent = Recent()

    def enter(self, scope: Scope, purpose: str) -> None:
        """Make a purpose the innermost one of a scope.

        Without a request around it the scope shares what jobs remember: one function reads, another
        sends, and each says its own purpose.
        """
        if scope.registry is None:
            scope.registry = Job(self.recent.jobs)
        before = scope.purpose
        if before is not None and not self.snapshot.change_allowed(before, purpose):
            scope.change_denied = True
        scope.purpose = purpose
        scope.path = (*scope.path, purpose)

    def labels_in(
        self, value: object, known: Iterable[tuple[Label, str]] = ()
    ) -> list[tuple[Label, str, Any]]:
        """All labels of a value: those known, annotated fields, and what the scope remembers.

        Returns:
            (label, path of names, strength).
        """
        found: list[tuple[Label, str, Any]] = [(label, where, "strong") for label, where in known]
        for part in labels_of_value(value):
            found += [(label, part.path, "strong") for label in part.labels]
        return found + labels_seen(self.registry, value)

    def remember(self, value: object, *labels: Label) -> None:
        """From now on the value carries these labels in the current scope.

        A value that can't be looked into, or one too many, makes what leaves the scope cannot-tell.
        """
        registry = self.registry
        if not registry.remember(value, labels):
            registry.saturated = True

    @property
    def registry(self) -> Remembers:
        """The labelled values of the current scope; outside any, everything recent."""
        scope = current_scope()
        if scope is None or scope.registry is None:
            return self.recent
        return scope.registry

    def current_purpose(self) -> str | None:
        """The purpose that counts here: code or route first, then the job's."""
        scope = current_scope()
        return (scope.purpose if scope else None) or self.job_purpose

    def judge(
        self,
        found: Iterable[tuple[Label, str, Any]],
        recipient: str,
        *,
        at: At,
        purpose: str | None = None,
        observed: Mapping[str, Any] | None = None,
        host: str = "",
    ) -> Decision:
        """Decide every label's flow to a recipient and act on the answers.

        Args:
            found: (label, where, strength), at least one.
            recipient: id; a host that nobody declared is its own id.
            at: where the flows were seen.
            purpose: by default the scope's.
            observed: facts that the guard saw itself, such as the transport.
            host: for http.

        Returns:
            The worst decision.

        Raises:
            PolicyViolation: for the worst flow whose mode is block.
        """
        scope = current_scope()
        facts = scope.facts if scope else Facts()
        if observed:
            facts = facts.merged(observed)
        purpose = purpose or self.current_purpose()
        judged = [
            Judged(
                self._decide(label, purpose, recipient, facts, scope),
                label,
                where,
                self._weighed(label, recipient, strength),
            )
            for label, where, strength in found
        ]
        self.settle(judged, facts, at=at, host=host)
        return max(judged, key=lambda one: one.rank).decision

    def _decide(
        self, label: Label, purpose: str | None, recipient: str, facts: Facts, scope: Scope | None
    ) -> Decision:
        if scope is not None and self._change_denied(scope, purpose):
            flow = Flow(label.data, label.form, purpose, recipient)
            return self.snapshot.deny(flow, "purpose_change").along(scope.path)
        decision = self.snapshot.decide(label.data, label.form, purpose, recipient, facts)
        if decision.reason == "unlabelled" and label.evidence != "declared":
            # Nobody failed to label it: what it is can't be told.
            decision = self.snapshot.deny(decision.flow, "cannot_tell")
        if not decision.allowed and scope is not None and len(scope.path) > 1:
            return decision.along(scope.path)
        return decision

    def _weighed(self, label: Label, recipient: str, strength: Strength) -> Strength:
        """Weak where a label is only suspected, and where a doubt stays inside the company."""
        if label.evidence != "suspected":
            return strength
        who = self.snapshot.context.recipients.get(recipient)
        inside = who is not None and who.kind in _INSIDE
        return "weak" if label.data or inside else strength

    def _change_denied(self, scope: Scope, purpose: str | None) -> bool:
        """Whether the scope's purpose may not become this one; a call may name its own."""
        if scope.change_denied or purpose is None or scope.purpose is None:
            return scope.change_denied
        return not self.snapshot.change_allowed(scope.purpose, purpose)

    def settle(self, judged: Sequence[Judged], facts: Facts, *, at: At, host: str = "") -> None:
        """Count, report and, in mode block, raise.

        Raises:
            PolicyViolation: for the worst flow whose mode is block.
        """
        denied = [one for one in judged if not one.decision.allowed]
        for one in judged:
            if one.decision.allowed:
                self.tally.allowed(one.decision)
        if not denied:
            return
        scope, sent_at = current_scope(), call_site()
        blocked = []
        for one in sorted(denied, key=lambda each: each.rank, reverse=True):
            mode = self.modes.of(self.snapshot, one.decision, at, one.strength, scope)
            violation = self._report(one, facts, mode, at=at, host=host, sent_at=sent_at)
            if violation is not None:
                blocked.append(violation)
        if blocked:
            others = dict.fromkeys(other.what for other in blocked[1:])
            blocked[0].also = tuple(what for what in others if what != blocked[0].what)
            raise blocked[0]

    def _report(
        self, one: Judged, facts: Facts, mode: Mode, *, at: At, host: str, sent_at: str
    ) -> PolicyViolation | None:
        """Count and report one denied flow; the violation if it is to be raised."""
        effect: Effect = {"off": "ignored", "flag": "flagged"}.get(mode, "blocked")  # type: ignore[assignment]  # the three effects
        self.tally.denied(one.decision, "deny" if effect == "blocked" else effect, mode)
        if effect == "ignored":
            return None
        violation = build(
            self.snapshot, one, facts, at=at, sent_at=sent_at, transforms=self.transforms
        )
        if effect != "blocked":
            violation.what = violation.what.replace("blocked:", "flagged:", 1)
        scope = current_scope()
        record = Record(
            decision=one.decision,
            mode=mode,
            effect=effect,
            at=at,
            source=one.label.source,
            read_at=one.label.at,
            sent_at=sent_at,
            where=one.where,
            host=host,
            strength=one.strength,
            route=scope.route if scope else "",
            fingerprint=fingerprint(one.decision, at, one.label.source, sent_at),
            policy=self.snapshot.id,
            message=str(violation),
        )
        for reporter in self.reporters:
            self._tell(reporter, record)
        return violation if effect == "blocked" else None

    @staticmethod
    def _tell(reporter: Reporter, record: Record) -> None:
        try:
            reporter.report(record)
        except Exception:  # noqa: BLE001 - a reporter is foreign code
            # Denies: nothing, and allows nothing: the verdict stands whatever a reporter does. Its
            # error may quote data, so only its kind is told.
            kind = type(reporter).__name__
            with suppress(Exception):  # the logging that failed may be the application's own
                _LOGGER.error("PG602 reporter %s failed; the verdict stands", kind)  # noqa: TRY400 - the trace may hold data
