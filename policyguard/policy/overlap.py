"""What rules cover, compared: is one rule wholly inside another, do they touch at all.

Layer: policy. For the lint only. Where it can't be told, rules count as not inside, and as
touching: a warning must be true. Start reading at `Shape.inside`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from policyguard.policy.flow import RAW, Form, close_form
from policyguard.policy.regions import place_in
from policyguard.policy.rules import (
    ANY,
    ANYONE,
    Cover,
    Except,
    FormAsk,
    Permit,
    Policy,
    Recipient,
    Rule,
    Selector,
)
from policyguard.policy.terms import at_or_below

UNDECLARED: Final = "*"
"""Stands, in a set of recipients, for everybody whom the policy doesn't declare."""

Words = Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Shape:
    """The flows that a rule or one of its exceptions is about.

    Attributes:
        data: terms; None means all.
        purposes: terms; None means all.
        to: ids of recipients, with `UNDECLARED`.
        form: the forms asked for.
    """

    data: Words
    purposes: Words
    to: frozenset[str]
    form: FormAsk | None

    def inside(self, other: Shape) -> bool:
        """Whether every flow of this one surely belongs to the other."""
        return (
            _words_inside(self.data, other.data)
            and _words_inside(self.purposes, other.purposes)
            and self.to <= other.to
            and _ask_inside(self.form, other.form)
        )

    def upward(self) -> Shape:
        """This with everything above its terms, as a forbid covers it."""
        data = None if self.data is None else tuple(term.split(".")[0] for term in self.data)
        purposes = None if self.purposes is None else tuple(p.split(".")[0] for p in self.purposes)
        return Shape(data, purposes, self.to, self.form)

    def touches(self, other: Shape) -> bool:
        """Whether some flow might belong to both."""
        return (
            _words_touch(self.data, other.data)
            and _words_touch(self.purposes, other.purposes)
            and not self.to.isdisjoint(other.to)
        )


def shape_of(rule: Rule, recipients: Mapping[str, Recipient]) -> Shape:
    """What a rule covers, without its exceptions and its condition."""
    return _shape(rule.cover, recipients, permit=rule.permit is not None, wide=not rule.permit)


def exceptions_of(rule: Rule, recipients: Mapping[str, Recipient]) -> tuple[Shape, ...]:
    """What is taken out of a rule."""
    permit = rule.permit is not None
    return tuple(_shape(e, recipients, permit=False, wide=permit) for e in rule.excepts)


def _shape(
    cover: Permit | Cover | Except,
    recipients: Mapping[str, Recipient],
    *,
    permit: bool,
    wide: bool,
) -> Shape:
    to = _reached(cover.to, recipients, permit=permit, wide=wide)
    return Shape(_words(cover.data), _words(cover.purposes), to, cover.form)


def _words(terms: Sequence[str] | None) -> Words:
    return None if terms is None or tuple(terms) == ANY else tuple(terms)


def _reached(
    targets: Sequence[str | Selector] | None,
    recipients: Mapping[str, Recipient],
    *,
    permit: bool,
    wide: bool,
) -> frozenset[str]:
    """Recipients as DESIGN 5.1 has them; `wide` counts those in whose place can't be told."""
    if targets is None:
        return frozenset(recipients) | ({UNDECLARED} if not permit else frozenset())
    if tuple(targets) == ANYONE:
        return frozenset(recipients) | ({UNDECLARED} if wide else frozenset())
    found: set[str] = set()
    for target in targets:
        if isinstance(target, str):
            found.add(target)
        elif target.kind is not None:
            found.update(name for name, who in recipients.items() if who.kind == target.kind)
        else:
            found.update(n for n, who in recipients.items() if _placed(who, target, wide=wide))
            found.update({UNDECLARED} if wide else ())
    return frozenset(found)


def _placed(who: Recipient, target: Selector, *, wide: bool) -> bool:
    group = target.located or target.outside or ""
    inside = None if who.located is None else place_in(who.located, group)
    if inside is None:
        return wide
    return inside if target.located is not None else not inside


def _words_inside(mine: Words, theirs: Words) -> bool:
    if theirs is None:
        return True
    return mine is not None and all(_under(term, theirs) for term in mine)


def _under(term: str, tops: Iterable[str]) -> bool:
    return any(at_or_below(term, top) for top in tops)


def _words_touch(mine: Words, theirs: Words) -> bool:
    if mine is None or theirs is None:
        return True
    return any(at_or_below(a, b) or at_or_below(b, a) for a in mine for b in theirs)


def _ask_inside(mine: FormAsk | None, theirs: FormAsk | None) -> bool:
    """Whether every form that meets the one ask meets the other."""
    if theirs is None:
        return True
    if mine is None:
        return False
    groups = [mine.all_of] if mine.all_of else [(name,) for name in mine.any_of or ()]
    return all(_meets(close_form(group), theirs) for group in groups)


def _meets(form: Form, ask: FormAsk) -> bool:
    carried = [form == RAW if name == "raw" else name in form for name in ask.names()]
    return all(carried) if ask.all_of else any(carried)


def named_roots(policy: Policy) -> tuple[str, ...]:
    """Data that a permit on something above never reaches."""
    return tuple(sorted({term for part in policy.named_only for term in part.data}))


def names(data: Words, root: str, term: str) -> bool:
    """Whether a permit on `data` names a `named_only` root for this term: it, or one between."""
    if data is None:
        return False
    between = at_or_below(term, root) and any(
        at_or_below(word, root) and at_or_below(term, word) for word in data
    )
    return root in data or between


def reaches(data: Words, term: str, roots: Collection[str]) -> bool:
    """Whether a permit on `data` covers a flow of `term`, as far as data go."""
    if data is not None and not _under(term, data):
        return False
    related = [r for r in roots if at_or_below(term, r) or at_or_below(r, term)]
    return all(names(data, root, term) for root in related)
