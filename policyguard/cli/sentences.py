"""Rules in sentences that the author of the notice can check.

Layer: cli. Start reading at `Speaker`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from policyguard.policy.conditions import When
from policyguard.policy.rules import (
    ANY,
    ANYONE,
    Except,
    FormAsk,
    Obligation,
    Policy,
    Retention,
    Rule,
    Selector,
    Targets,
)
from policyguard.policy.taxonomy import Terms
from policyguard.policy.terms import SELF, SUBJECT, in_words

_KINDS: Final = {
    "first_party": "the company itself",
    "first_party_human": "the company's own staff",
    "store": "any store of the company",
    "processor": "any processor",
    "analytics": "any analytics service",
    "ad_pixel": "any ad pixel",
    "data_broker": "any data broker",
    "authority": "any authority",
    "successor": "any successor of the company",
    "other_user": "other users",
    "data_subject": "the person themselves",
}
_ANY_DATA: Final = "any data"
_LEGAL: Final = "documented legal duty or request"
_PARTS: Final = re.compile(r"(\d+)([YMWD])|(T)|(\d+)([HMS])")
_DATE_UNITS: Final = {"Y": "year", "M": "month", "W": "week", "D": "day"}
_TIME_UNITS: Final = {"H": "hour", "M": "minute", "S": "second"}


@dataclass(frozen=True, slots=True)
class _Said:
    """A condition in words, and whether it joins several."""

    text: str
    joined: bool = False


class Speaker:
    """Says the parts of one policy in its own phrases."""

    def __init__(self, policy: Policy) -> None:
        self._words = policy.words

    def rule(self, rule: Rule) -> str:
        """A permit or a forbid with its exceptions and its condition."""
        cover = rule.cover
        permit = rule.permit is not None
        verb = "may go to" if permit else "must not go to"
        everyone = "every declared recipient" if permit else "anyone"
        data = self.data(cover.data)
        if not permit and data == _ANY_DATA:
            data, verb = "no data", "may go to"
        text = f"{data} {verb} {self._to(cover.to, everyone, 'or')}"
        if cover.purposes in (None, ANY):
            text += ", for any purpose"
        else:
            text += f", for {self._terms(cover.purposes or (), self._words.purposes, 'or')}"
        if cover.form is not None:
            text += f", {'but only ' if permit else ''}in {_form(cover.form)}"
        text += self._excepts(rule.excepts)
        if rule.when is not None:
            text += f", if {self.condition(rule.when)}"
        if rule.if_unknown is not None:
            text += " (where that is not known, this does not apply)"
        return _sentence(text)

    def retention(self, kept: Retention) -> str:
        """How long data are kept, from when on, and what lifts it."""
        text = f"{self.data(kept.data)}: kept for {duration(kept.keep)} since"
        text += f" {_plain(kept.since)}{self._excepts(kept.excepts)}; after that nothing may use it"
        if kept.unless:
            known = {"legal_request": f"there is a {_LEGAL}", **self._words.facts.phrases}
            text += f", unless {_join([known.get(f, _plain(f)) for f in kept.unless], 'or')}"
        return _sentence(text)

    def obligation(self, promise: Obligation) -> str:
        """What must happen after what, and by when."""
        text = f"{_plain(promise.do)} after {_plain(promise.after)}"
        if promise.within is not None:
            text += f", within {duration(promise.within)}"
        return _sentence(text)

    def named_only(self, data: Sequence[str]) -> str:
        """Data that a permit must name."""
        return _sentence(f"only a permit that names {self.data(data)} reaches it")

    def data(self, terms: Sequence[str] | None) -> str:
        """Data categories in their phrases."""
        if terms is None or tuple(terms) == ANY:
            return _ANY_DATA
        return self._terms(terms, self._words.data, "and")

    def condition(self, when: When) -> str:
        """A condition; several keys mean all of them."""
        return self._condition(when).text

    def _condition(self, when: When) -> _Said:
        return _joined(list(self._conditions(when)), "and")

    def _conditions(self, when: When) -> Iterator[_Said]:
        if when.all is not None:
            yield _joined([self._condition(part) for part in when.all], "and")
        if when.any is not None:
            yield _joined([self._condition(part) for part in when.any], "or")
        if when.not_ is not None:
            yield self._denied(when.not_)
        yield from map(_Said, self._facts(when))

    def _denied(self, when: When) -> _Said:
        if when.region is not None and when.model_fields_set == {"region"}:
            return _Said(f"the person is not in {_join(when.region, 'or')}")
        # In brackets beside others, so that nobody reads the denial as reaching over them.
        return _Said(f"it is not so that {_grouped(self._condition(when))}", joined=True)

    def _facts(self, when: When) -> Iterator[str]:
        yield from self._answers(when)
        if when.restricted is not None:
            yield f"the person {'' if when.restricted else 'has not '}restricted the processing"
        if when.legal_request is not None:
            yield f"there is {'a' if when.legal_request else 'no'} documented legal duty or request"
        yield from self._measures(when)
        for name, wanted in (when.facts or {}).items():
            said = self._words.facts.phrases.get(name, _plain(name))
            yield said if wanted else f"it is not so that {said}"

    def _answers(self, when: When) -> Iterator[str]:
        words = {
            "consent": ("the person agreed to", "the person refused, or took back, consent to"),
            "opt_out": ("the person opted out of", "the person has not opted out of"),
        }
        for key, (yes, no) in words.items():
            asked = getattr(when, key)
            if isinstance(asked, bool):
                yield f"{yes if asked else no} this purpose"
            elif asked is not None:
                for purpose, answer in asked.items():
                    yield f"{yes if answer else no} {self._words.purposes.phrase(purpose)}"

    @staticmethod
    def _measures(when: When) -> Iterator[str]:
        if when.age is not None and when.age.below is not None:
            yield f"the person is younger than {when.age.below}"
        if when.age is not None and when.age.from_ is not None:
            yield f"the person is {when.age.from_} or older"
        if when.region is not None:
            yield f"the person is in {_join(when.region, 'or')}"
        if when.transport is not None:
            yield f"it travels over {_join(when.transport, 'or')}"
        if when.data_age is not None:
            yield f"the data are older than {duration(when.data_age.above)}"

    def _to(self, targets: Targets | None, everyone: str, last: str) -> str:
        if targets is None or tuple(targets) == ANYONE:
            return everyone
        return _join(dict.fromkeys(_target(target) for target in targets), last)

    def _terms(self, terms: Iterable[str], known: Terms, last: str) -> str:
        return _join(dict.fromkeys(known.phrase(term) for term in terms), last)

    def _excepts(self, excepts: Sequence[Except]) -> str:
        found = []
        for part in excepts:
            text = self.data(part.data) if part.data is not None else "what goes"
            if part.to is not None:
                text += f" to {self._to(part.to, 'anyone', 'or')}"
            if part.purposes == ANY:
                text += " for any purpose"
            elif part.purposes is not None:
                text += f" for {self._terms(part.purposes, self._words.purposes, 'or')}"
            if part.form is not None:
                text += f" in {_form(part.form)}"
            found.append(text)
        return f", except {_join(found, 'and')}" if found else ""


def duration(text: str) -> str:
    """An ISO 8601 duration in words: `P1Y6M` gives `1 year and 6 months`."""
    units, found = _DATE_UNITS, []
    for days, day_unit, time, hours, hour_unit in _PARTS.findall(text):
        if time:
            units = _TIME_UNITS
            continue
        number, unit = days or hours, units[day_unit or hour_unit]
        found.append(f"{int(number)} {unit}{'' if int(number) == 1 else 's'}")
    return _join(found, "and")


def _target(target: str | Selector) -> str:
    if isinstance(target, str):
        known = {SELF: _KINDS["first_party"], SUBJECT: _KINDS["data_subject"]}
        return known.get(target, in_words(target))
    if target.kind is not None:
        return _KINDS[target.kind]
    if target.located is not None:
        return f"anyone in {target.located}"
    return f"anyone outside {target.outside}"


def _form(ask: FormAsk) -> str:
    names = ask.names()
    return f"{_join(names, 'and' if ask.all_of else 'or')} form"


def _grouped(part: _Said) -> str:
    """In brackets when it joins several things, so that `and` and `or` can't be misread."""
    return f"({part.text})" if part.joined else part.text


def _joined(parts: Sequence[_Said], last: str) -> _Said:
    """Several as one; a single one stays as it is."""
    if len(parts) == 1:
        return parts[0]
    return _Said(_join([_grouped(part) for part in parts], last), joined=True)


def _join(parts: Iterable[str], last: str) -> str:
    words = list(parts)
    if len(words) < 2:  # noqa: PLR2004 - one needs no joining
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def _plain(identifier: str) -> str:
    return re.sub(r"[_.-]+", " ", identifier).strip() or identifier


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
