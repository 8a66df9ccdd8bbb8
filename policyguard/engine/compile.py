"""A policy as an immutable snapshot that answers flows.

Layer: engine. A flow's key (data, form, purpose, recipient) is resolved once (`policyguard.engine.
decide`) to a constant Decision, or to the few rules whose conditions depend on facts; both are
remembered. Start reading at `compile_policy` and `Snapshot.decide`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Final

from policyguard.engine.atoms import Compiler, Logic, outlived, split
from policyguard.engine.covers import (
    NO_ASK,
    Compiled,
    Reach,
    ask,
    exceptions,
    reach,
    words,
)
from policyguard.engine.decide import Answer, Context, constant, resolve
from policyguard.engine.decision import Decision
from policyguard.engine.index import Index
from policyguard.engine.nearest import nearest_clauses
from policyguard.policy.conditions import When
from policyguard.policy.digest import policy_digest
from policyguard.policy.flow import NO_FACTS, Facts, Flow, Form, Reason
from policyguard.policy.loader import collector_paused
from policyguard.policy.rules import NamedOnly, Policy, Recipient, Retention, Rule, Selector
from policyguard.policy.terms import at_or_below

MEMO_SIZE: Final = 1 << 17


class Snapshot:
    """A compiled policy. Never changes; share it freely between threads.

    Attributes:
        digest: of the policy's meaning.
        id: the policy's id.
        context: compiled rules and everything that decisions and explanations need.
    """

    __slots__ = ("_memo", "_most", "context", "digest", "id")

    def __init__(self, context: Context, *, memo_size: int = MEMO_SIZE) -> None:
        self.context = context
        self.digest = context.digest
        self.id = context.id
        self._memo: dict[tuple[str, Form, str | None, str], Answer] = {}
        self._most = memo_size

    def decide(
        self,
        data: str,
        form: Form,
        purpose: str | None,
        recipient: str,
        facts: Facts = NO_FACTS,
    ) -> Decision:
        """May this flow happen?

        Args:
            data: data category; "" means the value is unlabelled.
            form: closed under implication (`close_form`); empty = raw.
            purpose: dotted; None means the code said none.
            recipient: a recipient's id.
            facts: what is known; absent is unknown.

        Returns:
            The shared Decision for this flow and these facts. Never raises for strings.

        Cost: warm, about four dict look-ups; cold, O(candidate rules). Source: DESIGN section 5.
        """
        answer = self._memo.get((data, form, purpose, recipient))
        if answer is None:
            answer = self._learn(data, form, purpose, recipient)
        atoms = answer.atoms
        if atoms is None:
            return answer.always  # type: ignore[return-value]  # set whenever atoms is None
        state = atoms(facts)
        found = answer.table.get(state)
        return answer.settle(state) if found is None else found

    def _learn(self, data: str, form: Form, purpose: str | None, recipient: str) -> Answer:
        flow = Flow(data, form, purpose, recipient)
        answer = resolve(self.context, flow)
        # Bounded, and only for words the policy knows: a flood of made-up names evicts nothing.
        if answer.known and len(self._memo) < self._most:
            self._memo[data, form, purpose, recipient] = answer
        return answer

    def deny(self, flow: Flow, reason: Reason) -> Decision:
        """A denial for a reason that the caller found, citing what comes nearest."""
        return constant(self.context, flow, "deny", reason)

    def change_allowed(self, before: str, after: str) -> bool:
        """Whether a chain of calls may go from one purpose to another.

        Always, unless the policy lists purpose changes; then only those, and the same purpose. A
        listed purpose stands for those below it too.
        """
        changes = self.context.changes
        if changes is None or after == before:
            return True
        return any(at_or_below(before, a) and at_or_below(after, b) for a, b in changes)

    def forget(self) -> None:
        """Drop remembered answers; they are made again when asked for."""
        self._memo = {}


def compile_policy(policy: Policy, *, memo_size: int = MEMO_SIZE) -> Snapshot:
    """Compile a loaded policy.

    Args:
        policy: n rules; their order has no meaning.
        memo_size: how many distinct flows are remembered.

    Returns:
        A Snapshot that no longer holds the policy's own models.

    Cost: O(n).
    """
    with collector_paused():
        return Snapshot(_context(policy), memo_size=memo_size)


def _context(policy: Policy) -> Context:
    recipients = policy.everyone
    taxonomy = policy.words
    permits = Index(taxonomy.data, taxonomy.purposes, from_below=False)
    forbids = Index(taxonomy.data, taxonomy.purposes, from_below=True)
    # Rules name the same recipients over and over: each list of them is resolved once.
    reached = cache(partial(_reached, recipients))
    conditions = _Split()
    parts = [_rule(rule, recipients, reached, conditions) for rule in policy.rules]
    parts += [_retention(kept, recipients) for kept in policy.retention]
    for number, rule in enumerate(parts):
        index = permits if rule.effect == "permit" else forbids
        index.add(number, rule.data, rule.purposes, rule.to.ids, undeclared=rule.to.undeclared)
    changes = policy.purpose_changes
    return Context(
        id=policy.id,
        digest=policy_digest(policy),
        rules=tuple(parts),
        permits=permits,
        forbids=forbids,
        named_only=_roots(policy.named_only),
        recipients=recipients,
        taxonomy=taxonomy,
        notice=policy.notice,
        places={rule.id: policy.place(rule.id) for rule in parts},
        since={kept.id: kept.since for kept in policy.retention},
        changes=None if changes is None else tuple((c.from_, c.to) for c in changes),
        nearest=nearest_clauses,
        compiler=Compiler(taxonomy.purposes),
    )


def _roots(parts: Iterable[NamedOnly]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, set[str]] = {}
    for part in parts:
        for term in part.data:
            found.setdefault(term, set()).update(part.cites)
    return tuple((term, tuple(sorted(cites))) for term, cites in sorted(found.items()))


def _reached(
    recipients: Mapping[str, Recipient],
    targets: tuple[str | Selector, ...] | None,
    *,
    permit: bool,
) -> Reach:
    return reach(targets, recipients, wide=not permit, permit=permit)


class _Split(dict[When, Logic]):
    """Conditions as logic, each distinct one split once: rules share a handful of them."""

    def of(self, when: When) -> Logic:
        """The condition as logic over atoms."""
        try:
            found = self.get(when)
            if found is None:
                found = self[when] = split(when)
        except TypeError:
            # Denies nothing: a condition that names purposes has no hash, and is split anew.
            return split(when)
        return found


def _rule(
    rule: Rule,
    recipients: Mapping[str, Recipient],
    reached: Callable[..., Reach],
    conditions: _Split,
) -> Compiled:
    permit = rule.permit is not None
    cover = rule.cover
    return Compiled(
        id=sys.intern(rule.id),
        effect="permit" if permit else "forbid",
        data=words(cover.data),
        purposes=words(cover.purposes),
        to=reached(cover.to, permit=permit),
        ask=ask(cover.form),
        excepts=exceptions(rule.excepts, recipients, permit=permit),
        when=None if rule.when is None else conditions.of(rule.when),
        lenient=rule.if_unknown is not None,
        cites=tuple(sorted({sys.intern(clause) for clause in rule.cites})),
    )


def _retention(kept: Retention, recipients: Mapping[str, Recipient]) -> Compiled:
    return Compiled(
        id=kept.id,
        effect="retention",
        data=words(kept.data),
        purposes=None,
        to=Reach(None, undeclared=True),
        ask=NO_ASK,
        excepts=exceptions(kept.excepts, recipients, permit=False),
        when=outlived(kept.keep, kept.unless),
        lenient=False,
        cites=tuple(sorted(set(kept.cites))),
    )
