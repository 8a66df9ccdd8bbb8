"""Rules that are legal but surely not meant: that never match, change nothing, or allow too much.

Layer: policy. Start reading at `check_rules`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from typing import Final

from policyguard.errors import Problem
from policyguard.policy.durations import describe_duration, looks_like_minutes
from policyguard.policy.overlap import Roots, Shape, Shapes
from policyguard.policy.rules import ANY, ANYONE, Policy, Rule
from policyguard.policy.satisfiable import Search
from policyguard.policy.terms import ancestors, at_or_below

_MOST_COMPARED: Final = 64
"""Rules that one rule is compared with: the lint of 10,000 rules must stay a matter of seconds."""
_MOST_MEMBERS: Final = 400_000
"""Of all sets of recipients together; rules after that are not looked at."""
_MOST_WORDS: Final = 1_000_000
"""Of large rules, compared one by one; comparisons after that find nothing."""
_LARGE: Final = 32


def warning(policy: Policy, name: str, code: str, message: str, hint: str = "") -> Problem:
    """A warning at a part of the policy (`Policy.mark`)."""
    file, line, col = policy.mark(name)
    return Problem(file or policy.id, line, col, code, message, hint, "warning")


def check_rules(policy: Policy) -> Iterator[Problem]:
    """Every warning about a rule or a retention.

    Cost: O(rules x rules on the same data and purpose, at most 64).
    """
    check = _Rules(policy)
    for part in check.parts:
        yield from check.never(part)
        yield from check.wide(part.rule)
        yield from check.durations(part.rule)
    yield from check.compared()
    for kept in policy.retention:
        if looks_like_minutes(kept.keep):
            yield _minutes(policy, kept.id, kept.keep)
    for promise in policy.obligations:
        if promise.within and looks_like_minutes(promise.within):
            yield _minutes(policy, f"obligations {promise.id}", promise.within)


def _minutes(policy: Policy, name: str, text: str) -> Problem:
    message = f"`{text}` is {describe_duration(text)}"
    return warning(policy, name, "PG314", message, f"months are `{text.replace('PT', 'P')}`")


@dataclass(frozen=True)
class _Part:
    rule: Rule
    shape: Shape
    excepts: tuple[Shape, ...]


class _Rules:
    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.roots = Roots(policy)
        self._words = _MOST_WORDS
        self._search = Search()
        shapes = Shapes(policy.everyone)
        self.parts = [
            _Part(rule, shapes.of(rule), shapes.taken(rule))
            for rule in policy.rules
            if shapes.members < _MOST_MEMBERS
        ]
        self._empty = cache(self._holds_nothing)

    @cached_property
    def declared(self) -> tuple[str, ...]:
        """All declared data categories, sorted."""
        return tuple(sorted(self.policy.words.data.phrases))

    def never(self, part: _Part) -> Iterator[Problem]:
        """A condition that can't hold; exceptions or named_only data that leave nothing."""
        rule = part.rule
        if rule.when is not None and not self._search.can_hold(rule.when):
            message = f"rule `{rule.id}` never applies: its condition contradicts itself"
            yield self._say(rule, "PG301", message, "mend the condition or remove the rule")
        # A forbid also covers what lies above its terms, which its `except` must then take out too.
        whole = part.shape if rule.permit is not None else part.shape.upward()
        if any(self._within(whole, taken) for taken in part.excepts):
            message = f"rule `{rule.id}` never applies: `except` takes everything out"
            yield self._say(rule, "PG302", message, "narrow the `except` or remove the rule")
        if not part.shape.to:
            message = f"rule `{rule.id}` never applies: no recipient is of this kind or place"
            yield self._say(rule, "PG302", message, "declare the recipient or remove the rule")
        if rule.permit is not None and part.shape.data is not None:
            named = self.roots.terms.intersection(part.shape.data)
            for term in part.shape.data:
                if self._empty(term, named):
                    below = next(root for root in self.roots.below(term) if root not in named)
                    message = f"rule `{rule.id}` permits nothing of `{term}`"
                    hint = f"name what is meant: `{below}` is under `named_only`"
                    yield self._say(rule, "PG302", message, hint)

    def wide(self, rule: Rule) -> Iterator[Problem]:
        """A permit that says `any` or `anyone`, names a whole tree, or asks for raw."""
        permit = rule.permit
        if permit is None:
            return
        found = ["any data"] if permit.data == ANY else []
        found += ["any purpose"] if permit.purposes == ANY else []
        found += ["anyone"] if permit.to == ANYONE else []
        if found and permit.form is None:
            # A whole tree for one purpose to one recipient is how an access right is written.
            found += [f"all of `{t}`" for t in permit.data if "." not in t and t != "any"]
        if found:
            message = f"rule `{rule.id}` permits very much: {', '.join(found)}"
            hint = "name what is meant; whatever is added later is permitted too"
            yield self._say(rule, "PG311", message, hint)
        if permit.form is not None and "raw" in permit.form.names():
            message = f"rule `{rule.id}` asks for form `raw`, which shuts out safer forms"
            yield self._say(rule, "PG315", message, "leave `form` out to permit every form")

    def durations(self, rule: Rule) -> Iterator[Problem]:
        """Minutes where months may be meant."""
        for part in rule.when.walk() if rule.when else ():
            if part.data_age is not None and looks_like_minutes(part.data_age.above):
                yield _minutes(self.policy, rule.id, part.data_age.above)

    def compared(self) -> Iterator[Problem]:
        """Rules that change nothing because another, unconditional one says the same or more."""
        always = [part for part in self.parts if part.rule.when is None]
        permits = _Near([part for part in always if part.rule.permit])
        forbids = _Near([part for part in always if part.rule.forbid])
        for part in self.parts:
            name = part.rule.id
            permit = part.rule.permit is not None
            by = next((o for o in forbids.above(part.shape) if self._inside(part, o)), None)
            if permit and by is not None:
                message = f"rule `{name}` never permits: `{by.rule.id}` forbids all of it"
                yield self._say(part.rule, "PG304", message, "remove one of them")
                continue
            near = (permits if permit else forbids).above(part.shape)
            by = next((other for other in near if self._shadows(part, other)), None)
            if by is not None:
                message = f"rule `{name}` changes nothing: `{by.rule.id}` covers it"
                yield self._say(part.rule, "PG303", message, "remove it, or narrow the other")

    def _shadows(self, part: _Part, other: _Part) -> bool:
        if not self._inside(part, other):
            return False
        if part.rule.permit is not None and not self._names_as_much(part, other):
            return False
        same = part.rule.when is None and self._inside(other, part)
        # Two that say the same: one warning, at the later id.
        return not same or part.rule.id > other.rule.id

    def _inside(self, part: _Part, other: _Part) -> bool:
        if other is part or not self._within(part.shape, other.shape):
            return False
        return other.excepts == part.excepts or not any(
            not self._spend(part.shape.size + taken.size) or part.shape.touches(taken)
            for taken in other.excepts
        )

    def _within(self, shape: Shape, other: Shape) -> bool:
        """Whether one shape is surely inside another, as long as there is patience left."""
        return self._spend(shape.size + other.size) and shape.inside(other)

    def _spend(self, words: int) -> bool:
        self._words -= words if words > _LARGE else 0
        return self._words > 0

    def _names_as_much(self, part: _Part, other: _Part) -> bool:
        """Whether the other permit reaches every named_only root that this one names."""
        if not self.roots.terms:
            return True
        mine, theirs = frozenset(part.shape.data or ()), frozenset(other.shape.data or ())
        for term in mine:
            # Denies nothing: without patience left the rules count as different.
            if not self._spend(_LARGE + len(self.roots.below(term))):
                return False
            if not self.roots.named(mine, term) <= self.roots.named(theirs, term):
                return False
        return True

    def _holds_nothing(self, term: str, named: frozenset[str]) -> bool:
        if all(root in named for root in self.roots.below(term)):
            return False
        words = named | {term}
        first = bisect_left(self.declared, term)
        for below in islice(self.declared, first, None):
            if not below.startswith(term):
                break
            if not self._spend(_LARGE + 1) or (
                at_or_below(below, term) and self.roots.reached(words, below)
            ):
                return False
        return True

    def _say(self, rule: Rule, code: str, message: str, hint: str) -> Problem:
        return warning(self.policy, rule.id, code, message, hint)


class _Near:
    """Rules by data and purpose, to find those that could hold another one."""

    def __init__(self, parts: list[_Part]) -> None:
        self._by: dict[tuple[str, str], list[_Part]] = defaultdict(list)
        for part in parts:
            for term in part.shape.data or ("",):
                for purpose in part.shape.purposes or ("",):
                    self._by[term, purpose].append(part)

    def above(self, shape: Shape) -> Iterator[_Part]:
        """Rules at or above the first data category and purpose of a shape."""
        data = ("", *ancestors(shape.data[0])) if shape.data else ("",)
        purposes = ("", *ancestors(shape.purposes[0])) if shape.purposes else ("",)
        found = 0
        for term in data:
            for purpose in purposes:
                for part in self._by.get((term, purpose), ()):
                    yield part
                    found += 1
                    if found >= _MOST_COMPARED:
                        return
