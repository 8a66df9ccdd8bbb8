"""What rules cover, compared: is one rule wholly inside another, do they touch at all.

Layer: policy. For the lint only. Where it can't be told, rules count as not inside, and as
touching: a warning must be true. Start reading at `Shape.inside`.
"""

from __future__ import annotations

from collections import defaultdict
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
from policyguard.policy.terms import ancestors

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

    @property
    def size(self) -> int:
        """How many words it takes to compare it."""
        return len(self.data or ()) + len(self.purposes or ())

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
        data = None if self.data is None else _tops(self.data)
        purposes = None if self.purposes is None else _tops(self.purposes)
        return Shape(data, purposes, self.to, self.form)

    def touches(self, other: Shape) -> bool:
        """Whether some flow might belong to both."""
        return (
            _words_touch(self.data, other.data)
            and _words_touch(self.purposes, other.purposes)
            and not self.to.isdisjoint(other.to)
        )


class Shapes:
    """Makes shapes of the rules of one policy; equal sets of recipients are shared.

    Attributes:
        members: how many recipients the sets hold together: what they cost in memory.
    """

    def __init__(self, recipients: Mapping[str, Recipient]) -> None:
        self.members = 0
        self._recipients = recipients
        self._sets: dict[object, frozenset[str]] = {}

    def of(self, rule: Rule) -> Shape:
        """What a rule covers, without its exceptions and its condition."""
        return self._shape(rule.cover, permit=rule.permit is not None, wide=not rule.permit)

    def taken(self, rule: Rule) -> tuple[Shape, ...]:
        """What is taken out of a rule."""
        permit = rule.permit is not None
        return tuple(self._shape(part, permit=False, wide=permit) for part in rule.excepts)

    def _shape(self, cover: Permit | Cover | Except, *, permit: bool, wide: bool) -> Shape:
        key = cover.to, permit, wide
        to = self._sets.get(key)
        if to is None:
            to = _reached(cover.to, self._recipients, permit=permit, wide=wide)
            self._sets[key] = to
            self.members += len(to)
        return Shape(_words(cover.data), _words(cover.purposes), to, cover.form)


def _words(terms: Sequence[str] | None) -> Words:
    return None if terms is None or tuple(terms) == ANY else tuple(dict.fromkeys(terms))


def _tops(terms: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(term.split(".")[0] for term in terms))


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
    if mine is None:
        return False
    tops = frozenset(theirs)
    return all(not tops.isdisjoint(ancestors(term)) for term in mine)


def _words_touch(mine: Words, theirs: Words) -> bool:
    if mine is None or theirs is None:
        return True
    a, b = frozenset(mine), frozenset(theirs)
    return not all(b.isdisjoint(ancestors(term)) for term in a) or not all(
        a.isdisjoint(ancestors(term)) for term in b
    )


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


class Roots:
    """The terms under `named_only`: data that a permit on something above never reaches."""

    __slots__ = ("_below", "terms")

    def __init__(self, policy: Policy) -> None:
        self.terms = frozenset(term for part in policy.named_only for term in part.data)
        self._below: dict[str, list[str]] = defaultdict(list)
        for root in sorted(self.terms):
            for above in ancestors(root)[1:]:
                self._below[above].append(root)

    def below(self, term: str) -> Sequence[str]:
        """The roots strictly below a term, sorted."""
        return self._below.get(term, ())

    def names(self, data: Collection[str], term: str) -> bool:
        """Whether a permit on `data` names every root at or above this term: it, or one between.

        One that lies at or below the lowest root lies at or below all of them.
        """
        for above in ancestors(term):
            if above in data:
                return True
            if above in self.terms:
                return False
        return True

    def named(self, data: Collection[str], term: str) -> frozenset[str]:
        """The roots at, above and below this term that a permit on `data` names."""
        named: set[str] = set()
        between = False
        for above in ancestors(term):
            between = between or above in data
            if between and above in self.terms:
                named.add(above)
        return frozenset(named.union(root for root in self.below(term) if root in data))

    def reached(self, data: frozenset[str] | None, term: str) -> bool:
        """Whether a permit on `data` (None: any) covers a flow of `term`, as far as data go."""
        below = self.below(term)
        if data is None:
            return not below and self.terms.isdisjoint(ancestors(term))
        if data.isdisjoint(ancestors(term)) or not self.names(data, term):
            return False
        return len(below) <= len(data) and all(root in data for root in below)
