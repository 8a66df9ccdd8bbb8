"""What a policy is asked about: a flow, and what is known about it.

Layer: policy. Start reading at `Flow`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Final, Literal, NamedTuple

from policyguard.policy.durations import Span, parse_duration
from policyguard.policy.regions import is_region

Verdict = Literal["allow", "deny", "conditional"]
Reason = Literal[
    "no_purpose",
    "purpose_change",
    "forbidden",
    "unknown_term",
    "unknown_recipient",
    "unlabelled",
    "cannot_tell",
    "not_covered",
    "unmet",
    "unknown_facts",
    "permitted",
]
Evidence = Literal["declared", "typed", "sealed", "column", "fingerprint", "suspected"]

Form = frozenset[str]
"""How far a value is from the person: a set of form names; the empty set is raw."""

FORMS: Final = (
    "raw",
    "encrypted",
    "pseudonymised",
    "deidentified",
    "anonymised",
    "aggregated",
)
RAW: Final[Form] = frozenset()
_IMPLIES: Final[Mapping[str, Form]] = {
    "anonymised": frozenset({"deidentified", "pseudonymised"}),
    "deidentified": frozenset({"pseudonymised"}),
}
OLDEST: Final = 150
"""Years; an age above it, or below zero, is nobody's and so unknown."""
TRANSPORTS: Final = frozenset({"https", "http", "local"})


def close_form(names: Iterable[str]) -> Form:
    """The form with everything it implies: anonymised > deidentified > pseudonymised.

    Args:
        names: form names; `raw` alone, or none, is raw.

    Raises:
        ValueError: an unknown name, or `raw` beside another form.

    Cost: O(number of names); raw is the shared empty set.
    """
    form = frozenset((names,) if isinstance(names, str) else names)
    if not form:
        return RAW
    unknown = sorted(form.difference(FORMS))
    if unknown:
        raise ValueError(f"unknown form `{unknown[0]}`")
    if "raw" in form:
        if len(form) > 1:
            raise ValueError("`raw` can't stand beside another form")
        return RAW
    for name in form:
        form |= _IMPLIES.get(name, RAW)
    return form


class Flow(NamedTuple):
    """Data in a form, for a purpose, to a recipient.

    Attributes:
        data: data category, dotted.
        form: closed under implication (`close_form`); empty = raw.
        purpose: dotted; None when the code said none.
        recipient: a recipient's id.
    """

    data: str
    form: Form
    purpose: str | None
    recipient: str


Proven = tuple[tuple[str, str, bool | int | str], ...]
"""Facts about the person whose value it is: (fact, its purpose or name or "", value)."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a value is and where that is known from.

    Attributes:
        data: data category; "" when it can't be told.
        form: closed under implication.
        source: where the value came from, names only: `users.email`, `embed()`.
        evidence: how the label became known.
        at: where in the code the value was read, `file:line`.
        proven: facts that the query proved which read it. Personal data: not shown.
    """

    data: str
    form: Form = RAW
    source: str = ""
    evidence: Evidence = "declared"
    at: str = ""
    proven: Proven = field(default=(), repr=False)


class Facts:
    """What is known about one flow's person and circumstances; what is absent is unknown.

    A fact of a wrong type is unknown. Immutable by convention: build a new one with `merged`.
    `memo` belongs to compiled conditions and is never shown.
    """

    __slots__ = (
        "age",
        "consent",
        "data_age",
        "facts",
        "legal_request",
        "memo",
        "opt_out",
        "region",
        "restricted",
        "transport",
    )

    consent: Mapping[str, bool | None]
    opt_out: Mapping[str, bool | None]
    restricted: bool | None
    age: int | None
    region: str | None
    legal_request: bool | None
    transport: str | None
    data_age: Span | None
    facts: Mapping[str, bool]
    memo: dict[object, bool | None]

    def __init__(self, context: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        given: Mapping[str, Any] = {**(context or {}), **more} if more else (context or {})
        self.consent = _answers(given.get("consent"))
        self.opt_out = _answers(given.get("opt_out"))
        self.restricted = _bool(given.get("restricted"))
        age = given.get("age")
        self.age = age if type(age) is int and 0 <= age <= OLDEST else None
        region = given.get("region")
        self.region = region if isinstance(region, str) and is_region(region) else None
        self.legal_request = _bool(given.get("legal_request"))
        transport = given.get("transport")
        known = isinstance(transport, str) and transport in TRANSPORTS
        self.transport = transport if known else None
        self.data_age = _span(given.get("data_age"))
        named = given.get("facts")
        self.facts = (
            {str(name): value for name, value in named.items() if type(value) is bool}
            if isinstance(named, Mapping)
            else {}
        )
        self.memo = {}

    @staticmethod
    def unusable(context: Mapping[str, Any]) -> list[str]:
        """Names of facts that are given but can't be used: misspelt, or of a wrong type."""
        found = Facts(context)
        wrong = []
        for name, value in context.items():
            if name not in CONTEXT_KEYS:
                # The key itself isn't shown: it may come from anywhere.
                near = get_close_matches(str(name), CONTEXT_KEYS, n=1)
                wrong.append("a key is no fact" + (f"; meant: `{near[0]}`?" if near else ""))
            elif value is None:
                continue
            elif isinstance(kept := getattr(found, name), Mapping):
                whole = isinstance(value, Mapping) and len(kept) == len(value)
                if not whole or None in kept.values():
                    wrong.append(f"`{name}` is a mapping to true or false")
            elif kept is None:
                wrong.append(f"`{name}` has a value that can't be used")
        return wrong

    def merged(self, context: Mapping[str, Any]) -> Facts:
        """These facts with others on top; answers and named facts are merged key by key."""
        other = Facts(context)
        found = Facts()
        for name in CONTEXT_KEYS:
            mine, given = getattr(self, name), getattr(other, name)
            if isinstance(mine, Mapping):
                setattr(found, name, {**mine, **given})
            else:
                setattr(found, name, given if name in context else mine)
        return found

    def above(self, other: Facts) -> Facts:
        """These facts on top of others: answers key by key, the rest where these know it."""
        found = Facts()
        for name in CONTEXT_KEYS:
            mine, below = getattr(self, name), getattr(other, name)
            if isinstance(mine, Mapping):
                setattr(found, name, {**below, **mine} if mine else below)
            else:
                setattr(found, name, below if mine is None else mine)
        return found

    def proving(self, proven: Proven) -> Facts:
        """These facts with proven ones, where these know nothing; where both differ, unknown."""
        found = self.above(NO_FACTS)
        for fact, name, value in proven:
            mine = getattr(found, fact)
            if isinstance(mine, Mapping):
                kept = value if mine.get(name, value) is value else None
                setattr(found, fact, {**mine, name: kept})
            else:
                setattr(found, fact, value if mine in (None, value) else None)
        return found

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for facts that say the same. Personal data: for comparing, not for showing."""
        return tuple(
            frozenset(value.items()) if isinstance(value, Mapping) else value
            for value in (getattr(self, name) for name in _ORDERED_KEYS)
        )

    def __repr__(self) -> str:
        """Names of what is known, never a value: facts are personal data."""
        known = [
            name
            for name in self.__slots__
            if name != "memo" and getattr(self, name) not in (None, {})
        ]
        return f"Facts(known={known})"


CONTEXT_KEYS: Final = frozenset(Facts.__slots__) - {"memo"}
_ORDERED_KEYS: Final = tuple(sorted(CONTEXT_KEYS))


def _bool(value: object) -> bool | None:
    return value if type(value) is bool else None


def _answers(value: object) -> Mapping[str, bool | None]:
    """Purpose to answer; an answer of a wrong type is kept as None, which is a doubt."""
    if not isinstance(value, Mapping):
        return {}
    return {purpose: _bool(answer) for purpose, answer in value.items() if isinstance(purpose, str)}


def _span(value: object) -> Span | None:
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        return (seconds, seconds) if seconds >= 0 else None
    if not isinstance(value, str):
        return None
    try:
        return parse_duration(value)
    except ValueError:
        # Denies: an age that can't be read is unknown, so nothing may rest on it.
        return None


NO_FACTS: Final = Facts()
