"""Judging labels: which flows are there, may they happen, what is done about those that may not.

Layer: enforce. What decorators, statements and requests share. Start reading at `Judge.judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from policyguard.enforce.context import Scope, current_scope
from policyguard.enforce.incoming import Doubts
from policyguard.enforce.inforce import InForce, hosts_of
from policyguard.enforce.logreport import LogReporter
from policyguard.enforce.modes import Modes
from policyguard.enforce.ports import At, Reporter, Strength
from policyguard.enforce.seen import labels_seen
from policyguard.enforce.settle import Redact, settle
from policyguard.enforce.shadow import Difference, Shadow
from policyguard.enforce.tally import Tally
from policyguard.enforce.violation import Judged
from policyguard.engine.compile import Snapshot
from policyguard.engine.decision import Decision
from policyguard.labels.recent import Job, Recent, Remembers
from policyguard.labels.typed import labels_of_value
from policyguard.policy.datamap import DataMap
from policyguard.policy.flow import NO_FACTS, Facts, Flow, Label
from policyguard.policy.hosts import HostTable

if TYPE_CHECKING:
    from policyguard.enforce.asking import Store
    from policyguard.enforce.subjects import Subjects

_INSIDE: Final = frozenset({"first_party", "first_party_human", "store"})
_UNKNOWN: Final[tuple[Facts, ...]] = (NO_FACTS,)
OnBlock = Literal["raise", "respond"]
Watcher = Callable[[Judged, At], None]


class Asked(NamedTuple):
    """What is asked about a label, besides the label.

    Attributes:
        recipient: id.
        purpose: dotted; None if no one said any.
        known: facts; several for a batch whose persons differ.
        path: all purposes that led here.
        last: the innermost of them.
    """

    recipient: str
    purpose: str | None
    known: tuple[Facts, ...]
    path: tuple[str, ...]
    last: str | None


class Judge:
    """One policy, what is done about denied flows, and who is told. Safe for threads and tasks.

    Attributes:
        in_force: the policy and everything derived from it; exchanged as a whole.
        reporters: told of every denied flow.
        tally: counts of all decisions.
        job_purpose: the purpose where code and route say none (`POLICYGUARD_PURPOSE`).
        transforms: forms that reviewed transforms of this program give.
        on_block: whether integrations raise or answer a blocked request themselves.
        sql_comment: whether statements carry their purpose as a comment.
        exempt: whether a request is telemetry's own; set together with telemetry.
        took: told how long statements and requests took to check; set together with telemetry.
        recent: labelled values beyond one request.
        doubts: facts that count as unknown, each told once.
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
        self.in_force = InForce(
            snapshot, data_map=data_map, modes=modes or Modes(), hosts=hosts_of(snapshot)
        )
        self.reporters: tuple[Reporter, ...] = (LogReporter(), *reporters)
        self.job_purpose = job_purpose
        self.transforms = frozenset(transforms)
        self.tally = Tally(frozenset(snapshot.context.recipients))
        self._subjects: Subjects | None = None
        self.on_block: OnBlock = "raise"
        self.sql_comment = False
        self.exempt: Callable[[], bool] = lambda: False
        self.took: Callable[[At, str, float], None] | None = None
        self.recent = Recent()
        self.doubts = Doubts()
        self._shadow = Shadow()
        self._watchers: tuple[Watcher, ...] = ()

    # Parts of what is in force. Setting one swaps the whole.

    @property
    def snapshot(self) -> Snapshot:
        """The compiled policy."""
        return self.in_force.snapshot

    @property
    def data_map(self) -> DataMap | None:
        """What tables, columns and fields hold; None if there is none."""
        return self.in_force.data_map

    @property
    def hosts(self) -> HostTable:
        """Which hosts belong to which recipient."""
        return self.in_force.hosts

    @hosts.setter
    def hosts(self, table: HostTable) -> None:
        self.in_force = self.in_force.but(hosts=table)

    @property
    def modes(self) -> Modes:
        """What is done about denied flows."""
        return self.in_force.modes

    @modes.setter
    def modes(self, modes: Modes) -> None:
        self.in_force = self.in_force.but(modes=modes)

    @property
    def subjects(self) -> Subjects | None:
        """What is known about persons; None without a subject store. A store may be set too."""
        return self._subjects

    @subjects.setter
    def subjects(self, known: Subjects | Store | None) -> None:
        from policyguard.enforce.subjects import Subjects  # noqa: PLC0415 - only where there are persons

        bare = known is not None and not isinstance(known, Subjects)
        self._subjects = Subjects(known) if bare else known  # type: ignore[arg-type, assignment]  # told apart just above

    @property
    def watchers(self) -> tuple[Watcher, ...]:
        """Told of every judged flow, allowed ones too; what they raise reaches the caller."""
        return self._watchers

    @watchers.setter
    def watchers(self, watchers: Iterable[Watcher]) -> None:
        self._watchers = tuple(watchers)
        # Sinks remember what is allowed under what is in force; watchers want to see it again.
        self.in_force = self.in_force.but()

    def differences(self) -> dict[Difference, int]:
        """Flows that the shadow policy answers differently, and how often each was judged."""
        return self._shadow.differences()

    def enter(self, scope: Scope, purpose: str) -> None:
        """Make a purpose the innermost one of a scope.

        Without a request around it the scope shares what jobs remember: one function reads, another
        sends, and each says its own purpose.
        """
        if scope.registry is None:
            scope.registry = Job(self.recent.jobs)
        scope.purpose = purpose
        scope.path = (*scope.path, purpose)

    def labels_in(
        self, value: object, known: Iterable[tuple[Label, str]] = (), *, hint: object = None
    ) -> list[tuple[Label, str, Any]]:
        """All labels of a value: those known, annotated fields, and what the scope remembers.

        Args:
            value: what is about to leave.
            known: labels that are known otherwise.
            hint: its annotation, where one labels the keys of a dict.

        Returns:
            (label, path of names, strength).
        """
        found: list[tuple[Label, str, Any]] = [(label, where, "strong") for label, where in known]
        for part in labels_of_value(value, hint):
            found += [(label, part.path, "strong") for label in part.labels]
        return found + labels_seen(self.registry, value, self.in_force.fields)

    def remember(self, value: object, *labels: Label | str) -> None:
        """From now on the value carries these labels in the current scope.

        A data category may stand for its label; one that the policy doesn't know is a TermError.

        A value that can't be looked into, or one too many, makes what leaves the scope cannot-tell.
        """
        registry = self.registry
        made: tuple[Any, ...] = labels
        if str in map(type, labels):
            # Rare, and this runs for every labelled cell of a fetched row.
            named = self.in_force.named
            made = tuple(named.label(one) if isinstance(one, str) else one for one in labels)
        if not registry.remember(value, made):
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
        redact: Redact | None = None,
        now: InForce | None = None,
    ) -> Decision:
        """Decide every label's flow to a recipient and act on the answers.

        Args:
            found: (label, where, strength), at least one. A label found in many places is one flow.
            recipient: id; a host that nobody declared is its own id.
            at: where the flows were seen.
            purpose: by default the scope's.
            observed: facts that the guard saw itself, such as the transport.
            host: for http.
            redact: takes the labels that are denied out of what leaves, where the mode is redact;
                tells whether it could.
            now: the policy to judge by; by default what is in force.

        Returns:
            The worst decision.

        Raises:
            PolicyViolation: for the worst flow that is blocked.
        """
        now = now or self.in_force
        asked = self.asked(recipient, purpose, observed)
        judged: dict[tuple[Label, Strength], Judged] = {}
        for label, where, strength in found:
            weighed = self._weighed(now, label, recipient, strength)
            if (label, weighed) not in judged:
                decision, facts = self.worst(now, label, asked)
                judged[label, weighed] = Judged(decision, label, where, weighed, facts)
        self.settle(tuple(judged.values()), at=at, host=host, redact=redact, now=now)
        return max(judged.values(), key=lambda one: one.rank).decision

    def asked(
        self, recipient: str, purpose: str | None, observed: Mapping[str, Any] | None = None
    ) -> Asked:
        """What the current scope adds to a question."""
        scope = current_scope()
        if scope is None:
            asked = Asked(recipient, purpose or self.job_purpose, _UNKNOWN, (), None)
        else:
            # A batch of nobody: nothing is known about anybody.
            known, last = scope.known() or _UNKNOWN, scope.purpose
            asked = Asked(recipient, purpose or last or self.job_purpose, known, scope.path, last)
        if observed:
            known = tuple(facts.merged(observed) for facts in asked.known)
            asked = asked._replace(known=known)
        return asked

    def worst(self, now: InForce, label: Label, asked: Asked) -> tuple[Decision, Facts]:
        """The decision for one person; for a batch the worst of all cases; with its facts."""
        known = asked.known
        if label.proven:
            known = tuple(facts.proving(label.proven) for facts in known)
        found = [(self._decide(now, label, asked, facts), facts) for facts in known]
        return max(found, key=lambda pair: Judged(pair[0], label).rank) if found[1:] else found[0]

    def _decide(self, now: InForce, label: Label, asked: Asked, facts: Facts) -> Decision:
        snapshot, purpose = now.snapshot, asked.purpose
        if snapshot.context.changes is not None and _change_denied(snapshot, asked):
            flow = Flow(label.data, label.form, purpose, asked.recipient)
            decision = snapshot.deny(flow, "purpose_change")
            self._compare(now, decision, asked, facts)
            return decision.along(asked.path)
        decision = snapshot.decide(label.data, label.form, purpose, asked.recipient, facts)
        if now.shadow is not None:
            self._compare(now, decision, asked, facts)
        if decision.reason == "unlabelled" and label.evidence != "declared":
            # Nobody failed to label it: what it is can't be told.
            decision = snapshot.deny(decision.flow, "cannot_tell")
        if not decision.allowed and len(asked.path) > 1:
            return decision.along(asked.path)
        return decision

    def _compare(self, now: InForce, decision: Decision, asked: Asked, facts: Facts) -> None:
        """Tell where the shadow, if there is one, answers differently."""
        shadow = now.shadow
        if shadow is not None:
            changed = shadow.context.changes is not None and _change_denied(shadow, asked)
            self._shadow.compare(shadow, decision, facts, changed=changed)

    def stops(self, labels: Iterable[Label], recipient: str, *, at: At) -> bool:
        """Whether a flow of one of these labels would be stopped; nothing is reported."""
        now, asked, scope = self.in_force, self.asked(recipient, None), current_scope()
        for label in labels:
            decision, _ = self.worst(now, label, asked)
            if decision.allowed:
                continue
            strength = self._weighed(now, label, recipient, "strong")
            if now.modes.of(now.snapshot, decision, at, strength, scope) in ("block", "redact"):
                return True
        return False

    @staticmethod
    def _weighed(now: InForce, label: Label, recipient: str, strength: Strength) -> Strength:
        """Weak where a label is only suspected, and where a doubt stays inside the company."""
        if label.evidence != "suspected":
            return strength
        who = now.snapshot.context.recipients.get(recipient)
        inside = who is not None and who.kind in _INSIDE
        return "weak" if label.data or inside else strength

    def settle(
        self,
        judged: Sequence[Judged],
        *,
        at: At,
        host: str = "",
        redact: Redact | None = None,
        now: InForce | None = None,
        strict: bool = False,
    ) -> None:
        """Count, report and, in mode block or where it is strict, raise; see `enforce.settle`.

        Raises:
            PolicyViolation: for the worst flow that is blocked.
        """
        for watch in self._watchers:
            for one in judged:
                watch(one, at)
        for one in judged:
            if one.decision.allowed:
                self.tally.allowed(one.decision)
        denied = [one for one in judged if not one.decision.allowed]
        if denied:
            now = now or self.in_force
            settle(self, now, denied, at=at, host=host, redact=redact, strict=strict)


def _change_denied(snapshot: Snapshot, asked: Asked) -> bool:
    """Whether some step of the purposes isn't listed; a call may name its own last step."""
    own = asked.purpose is not None and asked.purpose != asked.last and asked.last is not None
    path = (*asked.path, asked.purpose) if own else asked.path
    return not all(snapshot.change_allowed(str(one), str(next_)) for one, next_ in pairwise(path))
