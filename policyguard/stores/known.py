"""What the stores here keep about one person: under which key, and how a change is taken over.

Layer: stores. Start reading at `key_of` and `Change`.

INVARIANT: only what `Facts` can use is ever stored, so that a wrong type is an error where it is
written and not an unknown fact where it is needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import EllipsisType
from typing import Any, Final
from uuid import UUID

from policyguard.errors import PolicyGuardError
from policyguard.policy.flow import OLDEST
from policyguard.policy.regions import is_region

LONGEST_KEY: Final = 255
_BITS: Final = 800
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-@+/:")
_TERM: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_LONGEST_TERM: Final = 128

Said = bool | EllipsisType | None
Answers = Mapping[str, bool | None] | None


class StoreError(PolicyGuardError):
    """What is known about people can't be read or written."""

    code = "PG205"


def key_of(subject: object) -> str | None:
    """The key of a subject, None if it has none: text, whole numbers and UUIDs have one.

    1 and "1" are two subjects, and so are "Ann" and "ann", also in a database that compares without
    case: what isn't a small letter, a digit or one of `._-@+/:` is written as `%` and hexadecimal.
    """
    if isinstance(subject, str):
        data = str.__str__(subject).encode("utf-8", "surrogatepass")
        if len(data) > LONGEST_KEY:
            return None
        key = "s:" + "".join(chr(one) if one in _PLAIN else f"%{one:02x}" for one in data)
    elif isinstance(subject, int) and not isinstance(subject, bool):
        if int.bit_length(subject) > _BITS:
            return None
        key = f"i:{int.__int__(subject)}"
    elif isinstance(subject, UUID):
        key = f"u:{subject.hex}"
    else:
        return None
    return key if len(key) <= LONGEST_KEY else None


def required_key(subject: object) -> str:
    """As `key_of`.

    Raises:
        ValueError: the subject has no key.
    """
    key = key_of(subject)
    if key is None:
        raise ValueError("a subject is a text of at most 250 bytes, a whole number or a UUID")
    return key


class Change:
    """What is said about a person now, checked; to be laid over what was known.

    Args:
        consent: purpose to True, False (refused or withdrawn) or None (no answer any more).
        opt_out: likewise.
        restricted: a bool; None: not known any more; `...`: nothing is said. So the others:
        age: whole years.
        region: an ISO 3166 code, EU or EEA.
        legal_request: a bool.
        facts: name to bool or None, as `consent`.

    Raises:
        ValueError: something isn't of its type.
    """

    __slots__ = ("_answers", "_values")

    def __init__(
        self,
        *,
        consent: Answers,
        opt_out: Answers,
        restricted: Said,
        age: int | EllipsisType | None,
        region: str | EllipsisType | None,
        legal_request: Said,
        facts: Answers,
    ) -> None:
        self._answers = {
            name: _answers(name, given)
            for name, given in (("consent", consent), ("opt_out", opt_out), ("facts", facts))
        }
        self._values: dict[str, Any] = {}
        for name, value in (("restricted", restricted), ("legal_request", legal_request)):
            self._say(name, value, type(value) is bool, "is True, False or None")
        fits = type(age) is int and 0 <= age <= OLDEST
        self._say("age", age, fits, f"is a whole number from 0 to {OLDEST}, or None")
        fits = type(region) is str and is_region(region)
        self._say("region", region, fits, "is an ISO 3166 code such as `DE`, or None")

    def _say(self, name: str, value: object, fits: object, what: str) -> None:
        if value is ...:
            return
        if value is not None and not fits:
            raise ValueError(f"`{name}` {what}")
        self._values[name] = value

    def over(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """What is known afterwards; what is not known any more is left out."""
        merged = {**known, **self._values}
        for name, given in self._answers.items():
            merged[name] = _known({**merged.get(name, {}), **given})
        return {name: value for name, value in merged.items() if value not in (None, {})}


def _answers(name: str, given: object) -> dict[str, bool | None]:
    if given is None:
        return {}
    what = "names" if name == "facts" else "purposes"
    if not isinstance(given, Mapping):
        raise ValueError(f"`{name}` maps {what} to True, False or None")  # noqa: TRY004 - one kind of error for all that is wrong
    answers = dict(given)
    for key, answer in answers.items():
        if type(key) is not str or len(key) > _LONGEST_TERM or not _TERM.fullmatch(key):
            raise ValueError(f"`{name}` maps {what} in small letters, such as `marketing`")
        if answer is not None and type(answer) is not bool:
            raise ValueError(f"`{name}` maps {what} to True, False or None")
    return answers


def _known(answers: Mapping[str, bool | None]) -> dict[str, bool]:
    return {name: answer for name, answer in answers.items() if answer is not None}


def written(known: Mapping[str, Any]) -> str:
    """What is known as text for a database."""
    return json.dumps(known, sort_keys=True, separators=(",", ":"))


def read(text: object) -> dict[str, Any]:
    """What `written` wrote.

    Raises:
        StoreError: it wrote something else.
    """
    try:
        known = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        # Denies: what can't be read is unknown.
        known = None
    if not isinstance(known, dict):
        raise StoreError("what is known about a person can't be read", "the row is damaged")
    return known
