"""Words as validated values: ids, terms, answers, numbers and dates as a person writes them.

Layer: policy. The validators turn what YAML gives (text, mostly) into typed values, and refuse with
a code, a sentence and a hint; `policyguard.policy.assemble` adds the place. Start reading at `Id`.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from policyguard.policy.durations import parse_duration
from policyguard.policy.hosts import parse_host_pattern
from policyguard.policy.regions import is_region, suggest_region

_ID: Final = re.compile(r"[a-z0-9_.-]{1,128}")
_CLAUSE: Final = re.compile(r"[a-z0-9_./-]{1,128}")
_TERM: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MAX_ID: Final = 128
_MAX_DIGITS: Final = 9

RecipientKind = Literal[
    "first_party",
    "first_party_human",
    "store",
    "processor",
    "analytics",
    "ad_pixel",
    "data_broker",
    "authority",
    "successor",
    "other_user",
    "data_subject",
]
SELF: Final = "self"
SUBJECT: Final = "subject"
BUILT_IN_RECIPIENTS: Final = {SELF: "first_party", SUBJECT: "data_subject"}


class Ambiguous(str):
    """Plain YAML text that other YAML readers take for a boolean or a date: `no`, `2024-11-11`."""

    __slots__ = ()


def refuse(code: str, message: str, hint: str = "", *, at: str = "") -> PydanticCustomError:
    """The error of a validator: a stable code, a sentence, a way out.

    Args:
        code: PGnnn.
        message: the fact.
        hint: the way out.
        at: the key inside the validated part that is meant, "" for the whole part.
    """
    # Braces are the template language of the error class; the sentence travels beside it.
    return PydanticCustomError(code, "refused", {"says": message, "hint": hint, "at": at})


def _text(value: object, what: str) -> str:
    if isinstance(value, Ambiguous):
        raise refuse("PG109", f"{what} looks like a boolean or a date", "put it in quotes")
    if not isinstance(value, str):
        raise refuse("PG109", f"{what} must be text")
    return value


def _id(value: object) -> str:
    text = _text(value, "an id")
    if not _ID.fullmatch(text):
        raise refuse(
            "PG109",
            "an id must match [a-z0-9_.-], 1 to 128 characters",
            "use small letters, digits, `_`, `.` and `-`",
        )
    return text


def _clause_id(value: object) -> str:
    text = _text(value, "a clause id") if not isinstance(value, Ambiguous) else str(value)
    if not _CLAUSE.fullmatch(text):
        raise refuse("PG109", "a clause id must match [a-z0-9_./-], up to 128 characters")
    return text


def _term(value: object) -> str:
    text = _text(value, "a term")
    if not is_term(text):
        raise refuse("PG109", "a term is dotted words of small letters, digits, `_` and `-`")
    return text


def is_term(text: str) -> bool:
    """Whether a text is well written as a data category or purpose."""
    return len(text) <= _MAX_ID and _TERM.fullmatch(text) is not None


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, Ambiguous) and value in ("true", "false"):
        return value == "true"
    raise refuse("PG103", "must be true or false", "write `true` or `false`, without quotes")


def _int(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        if value != "0" and value.startswith("0"):
            raise refuse("PG103", "a number must not start with 0")
        return int(value)
    raise refuse("PG103", "must be a whole number of at most 9 digits")


def _date(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            # Denies: a date that can't be read stops the load.
            pass
    raise refuse("PG103", "must be a date", "write it as 2027-01-31")


def _duration(value: object) -> str:
    if isinstance(value, str):
        try:
            parse_duration(value)
        except ValueError:
            # Denies: a duration that can't be read stops the load.
            pass
        else:
            return value
    raise refuse("PG112", "must be an ISO 8601 duration", "for example P6M, P45D or PT72H")


def _region(value: object) -> str:
    text = str(value) if isinstance(value, str) else ""
    if is_region(text):
        return text
    near = suggest_region(text) if text else None
    hint = (
        f"did you mean `{near}`?" if near else "use ISO 3166 codes such as DE or US-CA, or EU, EEA"
    )
    raise refuse("PG113", "unknown region", hint)


def _host(value: object) -> str:
    if not isinstance(value, str):
        raise refuse("PG114", "a host must be text")
    try:
        parse_host_pattern(value)
    except ValueError as error:
        # Denies: a pattern that can't be read stops the load. The text is our own sentence.
        raise refuse(
            "PG114",
            f"bad host: {error}",
            "write `www.example.com`, `*.example.com` or `www.example.com/path`",
        ) from None
    return value


def _sha256(value: object) -> str:
    if isinstance(value, str) and _SHA256.fullmatch(value):
        return value
    raise refuse("PG103", "must be a SHA-256 digest: 64 small hexadecimal digits")


def _free(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    raise refuse("PG103", "must be text")


_ID_SCHEMA: Final = {"type": "string", "pattern": f"^{_ID.pattern}$"}
_NUMBER_OR_TEXT: Final = {"type": ["string", "number"]}

Id = Annotated[str, BeforeValidator(_id), WithJsonSchema(_ID_SCHEMA)]
# Editors read an unquoted 2.10 as a number; the loader keeps its text.
ClauseId = Annotated[str, BeforeValidator(_clause_id), WithJsonSchema(_NUMBER_OR_TEXT)]
Term = Annotated[
    str,
    BeforeValidator(_term),
    WithJsonSchema({"type": "string", "pattern": f"^{_TERM.pattern}$", "maxLength": _MAX_ID}),
]
Bool = Annotated[bool, BeforeValidator(_bool)]
Int = Annotated[int, BeforeValidator(_int)]
Date = Annotated[str, BeforeValidator(_date), WithJsonSchema({"type": "string", "format": "date"})]
Duration = Annotated[
    str,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": "^P", "examples": ["P6M", "P45D", "PT72H"]}),
]
Region = Annotated[
    str,
    BeforeValidator(_region),
    WithJsonSchema({"type": "string", "examples": ["EU", "DE", "US-CA"]}),
]
Host = Annotated[
    str,
    BeforeValidator(_host),
    WithJsonSchema({"type": "string", "examples": ["www.example.com", "*.example.com"]}),
]
Sha256 = Annotated[
    str,
    BeforeValidator(_sha256),
    WithJsonSchema({"type": "string", "pattern": f"^{_SHA256.pattern}$"}),
]
Text = Annotated[str, BeforeValidator(_free), WithJsonSchema({"type": ["string", "number"]})]


class OneOrList:
    """Marks a tuple field that a file may fill with one value or a list of them.

    Attributes:
        every: the plain word that stands for all, or "" if there is none.
    """

    __slots__ = ("every",)

    def __init__(self, every: str = "") -> None:
        self.every = every

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Normalise to a list before the items are checked."""
        return core_schema.no_info_before_validator_function(self.normalise, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The item itself, a list of items, or the word for all."""
        many = handler(schema)
        choices: list[Any] = [many.get("items", {}), {**many, "minItems": 1}]
        return {"anyOf": [{"const": self.every}, *choices] if self.every else choices}

    def normalise(self, value: object) -> object:
        """One value as a list; a list as it is, if it names something."""
        every = self.every
        if value is None or isinstance(value, tuple):
            return value
        if not isinstance(value, list):
            return [value]
        if not value:
            raise refuse("PG103", "an empty list names nothing", f"{every and 'write '}{every}")
        if every and every in [item for item in value if isinstance(item, str)]:
            hint = f"write `{every}` as a plain word, without a list"
            raise refuse("PG103", f"`{every}` can't stand in a list", hint)
        return value


def ancestors(term: str) -> tuple[str, ...]:
    """The term and everything above it, nearest first: `a.b` gives `a.b`, `a`."""
    found = [term]
    while (cut := term.rfind(".")) > 0:
        term = term[:cut]
        found.append(term)
    return tuple(found)


def at_or_below(term: str, top: str) -> bool:
    """Whether `term` equals `top` or lies below it by dotted path."""
    return term == top or (term.startswith(top) and term[len(top)] == ".")


def in_words(identifier: str) -> str:
    """An id as a person reads it: `facebook_pixel` gives `Facebook Pixel`."""
    return " ".join(part.capitalize() for part in re.split(r"[_.-]+", identifier) if part)
