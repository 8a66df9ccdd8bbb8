"""What one rule covers, compiled: terms, recipients resolved to ids, forms, exceptions.

Layer: engine. A recipient's place is known when a policy is compiled, so `located` and `outside`
become sets of ids here. Where a place can't be told, a forbid and a permit's `except` count it in
(*wide*), a permit and a forbid's `except` leave it out (*narrow*). Start reading at `Reach`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from policyguard.engine.atoms import Logic
from policyguard.policy.flow import Flow, Form
from policyguard.policy.regions import place_in
from policyguard.policy.rules import ANY, ANYONE, Except, FormAsk, Recipient, Selector
from policyguard.policy.terms import at_or_below

Words = tuple[str, ...] | None
Effect = Literal["permit", "forbid", "retention"]


@dataclass(frozen=True, slots=True)
class Reach:
    """Recipients that a rule reaches.

    Attributes:
        ids: declared recipients; None means all of them.
        undeclared: whether a recipient that nobody declared is reached.
    """

    ids: frozenset[str] | None
    undeclared: bool

    def holds(self, recipient: str, *, declared: bool) -> bool:
        """Whether the recipient is reached."""
        if not declared:
            return self.undeclared
        return self.ids is None or recipient in self.ids


@dataclass(frozen=True, slots=True)
class Ask:
    """The forms that a rule asks for; no ask is always met."""

    all_of: Form = frozenset()
    any_of: Form = frozenset()

    def met(self, form: Form) -> bool:
        """Whether a flow in this (closed) form carries what is asked."""
        if self.all_of and not all(_carries(form, name) for name in self.all_of):
            return False
        return not self.any_of or any(_carries(form, name) for name in self.any_of)

    def choices(self) -> list[frozenset[str]]:
        """The smallest sets of forms that meet the ask."""
        if self.all_of:
            return [self.all_of]
        return [frozenset({name}) for name in sorted(self.any_of)]


def _carries(form: Form, name: str) -> bool:
    return not form if name == "raw" else name in form


NO_ASK = Ask()


@dataclass(frozen=True, slots=True)
class Exempt:
    """One `except` entry. `wide`: of a permit, so it takes out what may reach its data too."""

    data: Words
    purposes: Words
    to: Reach
    ask: Ask
    wide: bool

    def takes_out(self, flow: Flow, *, declared: bool) -> bool:
        """Whether the flow is taken out of the rule."""
        return (
            self._under(flow.data, self.data)
            and self._under(flow.purpose or "", self.purposes)
            and self.to.holds(flow.recipient, declared=declared)
            and self.ask.met(flow.form)
        )

    def _under(self, term: str, words: Words) -> bool:
        if words is None:
            return True
        if any(at_or_below(term, word) for word in words):
            return True
        return self.wide and any(at_or_below(word, term) for word in words)


@dataclass(slots=True)
class Compiled:
    """A rule or retention, ready to be decided. Never changed; a frozen class costs double to make.

    Attributes:
        id: its id.
        effect: permit, forbid or retention (a forbid on old data).
        data: its terms; None means any.
        purposes: its terms; None means any.
        to: the recipients it reaches.
        ask: the forms it asks for.
        excepts: what is taken out.
        when: its condition; None always holds.
        lenient: an unknown condition doesn't apply (`if_unknown: does_not_apply`).
        cites: clause ids.
    """

    id: str
    effect: Effect
    data: Words
    purposes: Words
    to: Reach
    ask: Ask
    excepts: tuple[Exempt, ...]
    when: Logic | None
    lenient: bool
    cites: tuple[str, ...]

    def takes(self, flow: Flow, *, declared: bool) -> bool:
        """Whether form and exceptions let the rule cover a flow that its index proposed."""
        if not self.ask.met(flow.form):
            return False
        return not any(part.takes_out(flow, declared=declared) for part in self.excepts)

    def names(self, root: str, data: str) -> bool:
        """Whether the rule names a `named_only` root for this data: it, or a term between."""
        if self.data is None:
            return False
        if root in self.data:
            return True
        return at_or_below(data, root) and any(
            at_or_below(term, root) and at_or_below(data, term) for term in self.data
        )


def words(terms: Sequence[str] | None) -> Words:
    """A rule's terms, interned; None for any."""
    if terms is None or tuple(terms) == ANY:
        return None
    return tuple(dict.fromkeys(sys.intern(term) for term in terms))


def reach(
    targets: Iterable[str | Selector] | None,
    recipients: Mapping[str, Recipient],
    *,
    wide: bool,
    permit: bool,
) -> Reach:
    """Resolve `to` against the declared recipients.

    Args:
        targets: as written; None if it was left out.
        recipients: all declared ones, built-in ones included.
        wide: count a recipient in whose place can't be told.
        permit: the rule is a permit: `anyone` means every declared recipient.
    """
    if targets is None:
        return Reach(None, undeclared=not permit)
    targets = tuple(targets)
    if targets == ANYONE:
        return Reach(None, undeclared=wide and not permit)
    found: set[str] = set()
    undeclared = False
    for target in targets:
        if isinstance(target, str):
            found.add(sys.intern(target))
        elif target.kind is not None:
            found.update(name for name, who in recipients.items() if who.kind == target.kind)
        else:
            undeclared = undeclared or wide
            found.update(
                name for name, who in recipients.items() if _placed(who, target, wide=wide)
            )
    return Reach(frozenset(found), undeclared)


def _placed(who: Recipient, target: Selector, *, wide: bool) -> bool:
    group = target.located or target.outside
    inside = None if who.located is None or group is None else place_in(who.located, group)
    if inside is None:
        return wide
    return inside if target.located is not None else not inside


def ask(form: FormAsk | None) -> Ask:
    """The forms that a rule asks for."""
    if form is None:
        return NO_ASK
    return Ask(frozenset(form.all_of or ()), frozenset(form.any_of or ()))


def exceptions(
    parts: Iterable[Except], recipients: Mapping[str, Recipient], *, permit: bool
) -> tuple[Exempt, ...]:
    """The `except` entries of a rule; a permit's are wide, a forbid's narrow."""
    return tuple(
        Exempt(
            words(part.data),
            words(part.purposes),
            reach(part.to, recipients, wide=permit, permit=False),
            ask(part.form),
            wide=permit,
        )
        for part in parts
    )
