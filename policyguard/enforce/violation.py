"""The denial that callers see.

Layer: enforce. Start reading at `PolicyViolation` and `build`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from policyguard.enforce.ports import At, Strength
from policyguard.enforce.seen import INCOMPLETE
from policyguard.engine.compile import Snapshot
from policyguard.engine.decision import Decision
from policyguard.engine.explain import REASONS, Change, clause_of, destination, explain
from policyguard.errors import PolicyGuardError
from policyguard.policy.flow import NO_FACTS, Facts, Label

_FINGERPRINT: Final = 16


class PolicyViolation(PolicyGuardError):  # noqa: N818 - the field's word, and the interface
    """A flow that the policy doesn't cover was stopped.

    Attributes:
        decision: verdict, reason, rules, clauses, unmet facts, digest.
        nearest: every single change that would make the flow allowed.
        read_at: file:line where the value was read, "" if unknown.
        sent_at: file:line where it was about to leave, "" if unknown.
        also: other flows that were stopped with this one, in words.
    """

    code = "PG201"
    decision: Decision
    nearest: tuple[Change, ...] = ()
    read_at: str = ""
    sent_at: str = ""
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What, read at, sent at, because, and ways out with who can take them."""
        lines = [f"{self.code} {self.what}"]
        lines += [f"  read at: {self.read_at}"] if self.read_at else []
        lines += [f"  sent at: {self.sent_at}"] if self.sent_at else []
        lines += [f"  because: {line}" for line in self.because.splitlines()]
        lines += [f"  hint: {line}" for line in self.hint.splitlines()]
        lines += [f"  also {line}" for line in self.also]
        # A term that code made up may hold half a character; a log must be able to write it.
        return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


class NoPurpose(PolicyViolation):
    """A flow was stopped because the code that asked said no purpose."""

    code = "PG202"


@dataclass(frozen=True, slots=True)
class Judged:
    """One flow that was judged, with where it was seen.

    Attributes:
        decision: the policy's answer.
        label: what the value is and where it came from.
        where: the part of a payload or statement.
        strength: of the evidence.
        facts: what was known, for the nearest allowed flow.
    """

    decision: Decision
    label: Label
    where: str = ""
    strength: Strength = "strong"
    facts: Facts = NO_FACTS

    @property
    def rank(self) -> tuple[int, int, int]:
        """Larger is worse: denied before conditional, strong evidence before weak."""
        severity = {"allow": 0, "conditional": 1, "deny": 2}[self.decision.verdict]
        decided = int(self.decision.reason == "forbidden")
        return severity, int(self.strength == "strong"), decided


def fingerprint(decision: Decision, at: str, source: str, sent_at: str) -> str:
    """The same for the same flow at the same place; holds names only."""
    flow = decision.flow
    parts = (flow.data, *sorted(flow.form), flow.purpose or "", flow.recipient, at, source, sent_at)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[
        :_FINGERPRINT
    ]


def build(
    snapshot: Snapshot,
    judged: Judged,
    *,
    at: At,
    sent_at: str,
    transforms: frozenset[str],
) -> PolicyViolation:
    """The violation of one denied flow, in words.

    Args:
        snapshot: the policy that decided.
        judged: the flow.
        at: where it was seen.
        sent_at: file:line.
        transforms: forms that a reviewed transform of this program gives; no other is proposed.
    """
    decision, label, context = judged.decision, judged.label, snapshot.context
    kind = NoPurpose if decision.reason == "no_purpose" else PolicyViolation
    source = f" ({label.source})" if label.source else ""
    data = context.taxonomy.data.phrase(decision.flow.data) if decision.flow.data else "data"
    form = f" ({', '.join(sorted(decision.flow.form))})" if decision.flow.form else ""
    place = f" ({judged.where})" if judged.where and sent_at else ""
    explained = explain(snapshot, decision, judged.facts)
    nearest = tuple(
        change
        for change in explained.nearest
        if change.kind != "form" or set(change.what.split(" and ")) <= transforms
    )
    violation = kind(
        f"blocked: {data}{form}{source}{destination(context, decision.flow)}",
        "\n".join(_because(snapshot, decision)),
        "\n".join(_ways_out(judged, nearest, at)),
    )
    violation.decision, violation.nearest = decision, nearest
    # A statement reads where it runs; what it gives leaves later.
    violation.read_at = label.at or (sent_at if at == "sql" else "")
    violation.sent_at = "" if at == "sql" else f"{sent_at}{place}"
    return violation


def _because(snapshot: Snapshot, decision: Decision) -> list[str]:
    """The reason, the clause in words, the rules with their places."""
    context = snapshot.context
    why = REASONS[decision.reason]
    if decision.unmet:
        why += f": {', '.join(decision.unmet)}"
    lines = [why]
    if len(set(decision.path)) > 1:
        lines.append("the purpose changed on the way: " + " > ".join(decision.path))
    clause = clause_of(context, decision)
    if clause and decision.flow.data:
        lines.append(clause)
    for rule in decision.rules:
        place = context.places.get(rule)
        lines.append(f"rule `{rule}`" + (f" ({place})" if place else ""))
    return lines


def _ways_out(judged: Judged, nearest: tuple[Change, ...], at: At) -> list[str]:
    """What can be done, and who can do it. Never another purpose."""
    decision, source = judged.decision, judged.label.source
    if decision.reason == "no_purpose":
        return ["developer: say why this code runs, with @guard.purpose(...) or a route"]
    if judged.label == INCOMPLETE:
        too_much = "more was read in this scope than can be searched for"
        return [f"developer: {too_much}; read and send in parts, each in a scope of its own"]
    if decision.reason == "cannot_tell":
        return [
            "developer: make it readable: name the columns, split what can't be told from the rest",
        ]
    if decision.reason == "unlabelled":
        return ["developer: say what it is: data=..., an annotation, or guard.remember(...)"]
    lines = []
    for change in nearest:
        if change.kind == "drop":
            what = judged.where or source
            lines.append(f"developer: leave `{what}` out" if what else "developer: leave it out")
        else:
            lines.append(f"developer: allowed if {change.sentence}")
    if decision.reason == "unknown_recipient":
        lines.append(
            f"privacy officer: name `{decision.flow.recipient}` in the notice and the policy, "
            "or have the request removed"
        )
    if source and at != "call" and judged.label.evidence != "declared":
        lines.append(f"data owner: if `{source}` holds something else, correct the data map")
    if decision.reason == "not_covered":
        lines.append(
            "privacy officer: if the notice covers this, add a permit that cites the clause"
        )
    return lines
