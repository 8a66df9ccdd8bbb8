"""A Decision in plain sentences, with the nearest allowed flow. Computed only on demand.

Layer: engine. Start reading at `explain`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from policyguard.engine.compile import Snapshot
from policyguard.engine.covers import Compiled
from policyguard.engine.decide import Context
from policyguard.engine.decision import Decision
from policyguard.engine.establish import asked_atoms, liftable, proposals
from policyguard.policy.flow import NO_FACTS, Facts, Flow, close_form
from policyguard.policy.terms import SELF, SUBJECT, at_or_below, in_words, is_term

REASONS: Final = {
    "no_purpose": "the code that asked said no purpose",
    "purpose_change": "the policy doesn't let this purpose follow the one before",
    "forbidden": "a rule forbids it",
    "unknown_term": "the policy doesn't know this data category or purpose",
    "unknown_recipient": "the policy names no such recipient",
    "unlabelled": "nobody has said what this data is",
    "cannot_tell": "what flows here can't be told",
    "not_covered": "no permit covers it",
    "unmet": "the permits that cover it ask for something that doesn't hold",
    "unknown_facts": "it depends on facts that are not known",
    "permitted": "a permit covers it",
}
_OWN: Final = {SELF: "the company itself", SUBJECT: "the person themselves"}
_VERDICTS: Final = {"allow": "allowed", "deny": "denied", "conditional": "conditional"}


@dataclass(frozen=True, slots=True)
class Change:
    """One single change that makes the flow allowed with the facts that are known.

    Attributes:
        kind: what is changed.
        what: the fact's name, the forms, the recipient's id, or the data.
        sentence: the change in words.
    """

    kind: Literal["fact", "form", "recipient", "drop"]
    what: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a flow got its verdict.

    Attributes:
        headline: the flow and its verdict.
        because: the reason, then one line for each deciding rule or clause.
        nearest: every single change that gives allow; facts, forms, recipients, then dropping.
    """

    headline: str
    because: tuple[str, ...]
    nearest: tuple[Change, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it, a line each."""
        changes = tuple(f"allowed if: {change.sentence}" for change in self.nearest)
        return (self.headline, *self.because, *changes)


def explain(snapshot: Snapshot, decision: Decision, facts: Facts = NO_FACTS) -> Explanation:
    """Explain a decision.

    Args:
        snapshot: the policy that decided.
        decision: its answer.
        facts: what was known then; never shown, only names of facts are.

    Cost: a few decisions a change that is tried; not for the hot path.
    """
    context = snapshot.context
    nearest = () if decision.allowed else tuple(_nearest(snapshot, decision, facts))
    verdict = _VERDICTS[decision.verdict]
    return Explanation(
        headline=f"{in_sentence(context, decision.flow)}: {verdict}",
        because=(_reason(decision), *_sources(context, decision)),
        nearest=nearest,
    )


def in_sentence(context: Context, flow: Flow) -> str:
    """A flow in words: `face embedding to Facebook Pixel, for targeted advertising`."""
    data = context.taxonomy.data.phrase(flow.data) if flow.data else "unlabelled data"
    form = f" ({', '.join(sorted(flow.form))})" if flow.form else ""
    return f"{data}{form}{destination(context, flow)}"


def destination(context: Context, flow: Flow) -> str:
    """Where a flow goes and why: ` to Facebook Pixel, for targeted advertising`."""
    who = recipient_in_words(context, flow.recipient)
    if flow.purpose is None:
        return f" to {who}, without a purpose"
    return f" to {who}, for {context.taxonomy.purposes.phrase(flow.purpose)}"


def recipient_in_words(context: Context, recipient: str) -> str:
    """A recipient as a person reads it; one that nobody declared stays as it is."""
    if recipient in _OWN:
        return _OWN[recipient]
    if recipient in context.recipients:
        return in_words(recipient)
    # Code may hand over anything as a recipient, a person's address too.
    return f"`{recipient}`" if is_term(recipient) else "a recipient that is none"


def _reason(decision: Decision) -> str:
    why = REASONS[decision.reason]
    return f"{why}: {', '.join(decision.unmet)}" if decision.unmet else why


def _sources(context: Context, decision: Decision) -> Iterator[str]:
    """Deciding rules with their places, then the clauses in words."""
    for rule in decision.rules:
        place = context.places.get(rule)
        yield f"rule `{rule}`" + (f" ({place})" if place else "")
    for clause in decision.clauses:
        said = context.notice.clauses.get(clause)
        yield f"clause {clause}" + (f": {said.says}" if said else "")


def _nearest(snapshot: Snapshot, decision: Decision, facts: Facts) -> Iterator[Change]:
    """Every single change that gives allow, in the order of DESIGN section 5."""
    context, flow = snapshot.context, decision.flow
    if flow.purpose is not None and decision.reason != "purpose_change":
        yield from _facts(snapshot, decision, facts)
        yield from _forms(snapshot, flow, facts)
        yield from _recipients(snapshot, flow, facts)
    data = context.taxonomy.data.phrase(flow.data) if flow.data else "this data"
    yield Change("drop", flow.data, f"{data} is left out")


def _facts(snapshot: Snapshot, decision: Decision, facts: Facts) -> Iterator[Change]:
    context, flow = snapshot.context, decision.flow
    atoms = asked_atoms(context, flow)

    def allowed(given: dict[str, Any]) -> bool:
        return snapshot.decide(*flow, facts.merged(given)).allowed

    # A refusal is an answer, not a fact to establish; how data travel can be changed always.
    names = list(decision.unmet) if decision.reason == "unknown_facts" else []
    names += [name for name in liftable(atoms) if name not in names and _unknown(facts, name)]
    if any(atom.kind == "transport" for atom in atoms) and "transport" not in names:
        names.append("transport")
    for name in names:
        for fact, sentence in proposals(context, name, atoms, allowed):
            yield Change("fact", fact, sentence)


def _unknown(facts: Facts, name: str) -> bool:
    if name == "legal_request":
        return facts.legal_request is None
    return name.partition(":")[2] not in facts.facts


def _forms(snapshot: Snapshot, flow: Flow, facts: Facts) -> Iterator[Change]:
    context = snapshot.context
    declared = flow.recipient in context.recipients
    where = (flow.data, flow.purpose or "", flow.recipient)
    tried: set[frozenset[str]] = set()
    for number in context.permits.candidates(*where, declared=declared):
        rule: Compiled = context.rules[number]
        for choice in rule.ask.choices():
            form = close_form(choice)
            if form == flow.form or choice in tried or not form:
                continue
            tried.add(choice)
            if snapshot.decide(flow.data, form, flow.purpose, flow.recipient, facts).allowed:
                names = " and ".join(sorted(choice))
                yield Change("form", names, f"it is {names} first, by a reviewed transform")


def _recipients(snapshot: Snapshot, flow: Flow, facts: Facts) -> Iterator[Change]:
    known = snapshot.context.recipients
    asked = known.get(flow.recipient)
    for name in sorted(known, key=lambda other: (other == SELF, other)):
        same_kind = asked is not None and known[name].kind == asked.kind
        if name == flow.recipient or not (same_kind or name == SELF):
            continue
        if snapshot.decide(flow.data, flow.form, flow.purpose, name, facts).allowed:
            stays = "it stays with the company itself" if name == SELF else ""
            who = recipient_in_words(snapshot.context, name)
            yield Change("recipient", name, stays or f"it goes to {who} instead")


def clause_of(context: Context, decision: Decision) -> str:
    """The clause that says most about a denial, as a line; empty if there is none.

    A clause that a `named_only` root cites comes before the others: it is the one that says no.
    Without a rule that decided, the others are only the nearest.
    """
    roots = [
        c
        for root, cites in context.named_only
        for c in cites
        if at_or_below(decision.flow.data, root)
    ]
    for clause in (*roots, *decision.clauses):
        if clause in decision.clauses:
            says = context.notice.clauses.get(clause)
            word = "clause" if decision.rules or clause in roots else "nearest clause"
            return f"{word} {clause}" + (f": {says.says}" if says else "")
    return ""
