"""What a query says about itself in a comment: its purpose, and who gets its result.

Layer: inspectors. Two forms are read, and one is written:
`/*purpose='analytics.reporting',to='google_analytics'*/` (sqlcommenter, values percent-encoded) and
`-- policyguard: purpose=analytics.reporting to=google_analytics`. Start reading at `said`.

A comment is a claim of whoever wrote the text. Tools that read files and logs may take it for the
purpose; a running program's purpose is that of its scope.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from sqlglot.dialects.dialect import Dialect

from policyguard.inspectors.sql.traits import traits_of

_OURS: Final = re.compile(r"\s*policyguard\s*:(?P<pairs>.*)", re.DOTALL | re.IGNORECASE)
_PAIR: Final = re.compile(r"\b(purpose|to)\s*=\s*'?([A-Za-z0-9_.\-]{1,128})'?(?=[\s,;]|$)")
_ENTRY: Final = r"(\w[\w.%-]*)='((?:[^'\\]|\\.)*)'"
_COMMENTED: Final = re.compile(_ENTRY)
_COMMENTER: Final = re.compile(rf"\s*{_ENTRY}(?:\s*,\s*{_ENTRY})*\s*")
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_KEYS: Final = {"purpose": "purpose", "to": "to", "recipient": "to"}


class Said(NamedTuple):
    """What a text says about itself.

    Attributes:
        purpose: None if it says none, or two different ones.
        to: the recipient of its result; likewise.
    """

    purpose: str | None = None
    to: str | None = None


NOTHING: Final = Said()


def said(text: str, dialect: str) -> Said:
    """What the comments of a text say.

    Args:
        text: one statement or several; what looks like a comment in a string is none.
        dialect: as of `inspect`.

    Raises:
        PolicyGuardError: no dialect, or an unknown one.

    Cost: O(length); next to nothing where neither word stands in the text.
    """
    traits = traits_of(dialect)
    if "purpose" not in text and "policyguard" not in text.casefold():
        return NOTHING
    try:
        tokens = Dialect.get_or_raise(traits.name).tokenize(text)
    except Exception:  # noqa: BLE001 - as for the parser: odd texts raise odd errors
        # Denies: a text that can't be split says nothing.
        return NOTHING
    found: dict[str, set[str]] = {"purpose": set(), "to": set()}
    for token in tokens:
        for comment in token.comments:
            for key, value in _pairs(comment):
                found[key].add(value)
    return Said(_only(found["purpose"]), _only(found["to"]))


def commented(text: str, purpose: str) -> str:
    """The text with its purpose at its end; unchanged if it ends in a comment already.

    Nothing about a person is written, and nothing but a declared term.
    """
    body = text.rstrip()
    end = ";" if body.endswith(";") else ""
    body = body.removesuffix(";").rstrip()
    if not body or body.endswith("*/") or not _WORD.fullmatch(purpose):
        return text
    last = body.rpartition("\n")[2]
    # A comment to the end of the line would swallow ours.
    gap = "\n" if "--" in last or "#" in last else " "
    return f"{body}{gap}/*purpose='{quote(purpose, safe='')}'*/{end}"


def _pairs(comment: str) -> list[tuple[str, str]]:
    ours = _OURS.match(comment)
    if ours is not None:
        return _PAIR.findall(ours["pairs"])
    if not _COMMENTER.fullmatch(comment):
        return []
    pairs = ((unquote(key), unquote(value)) for key, value in _COMMENTED.findall(comment))
    return [(_KEYS[key], value) for key, value in pairs if key in _KEYS and _WORD.fullmatch(value)]


def _only(values: set[str]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None
