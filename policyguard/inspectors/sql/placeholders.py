"""Placeholders of a text, kept apart while its tree is written anew.

Layer: inspectors. A parser takes all ways to write a placeholder for one, and writes its own; so
each is a string that stands nowhere else while a text is parsed and written, and is put back after.
Start reading at `marked`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sqlglot.tokenizer_core import Token, TokenType

from policyguard.inspectors.sql import guard
from policyguard.inspectors.sql.traits import Traits
from policyguard.inspectors.sql.words import words

_SPELLINGS: Final = re.compile(r"\?\d*|%s|%\(\w+\)s|[:@$]\w+")
_TEXTS: Final = frozenset({TokenType.STRING, TokenType.IDENTIFIER})
_SYMBOLS: Final = frozenset("(,=<>!+-*/|&^~@#")
_WORDS: Final = words(
    """
    and any as between by case distinct else escape glob having ilike in interval is like limit
    not offset on or regexp returning rlike select set similar then values when where
    """
)


@dataclass(frozen=True, slots=True)
class Marked:
    """A text whose placeholders are strings.

    Attributes:
        text: with marks.
        marks: in order; each stands in the text once.
        spellings: of the placeholders, in order.
    """

    text: str
    marks: tuple[str, ...]
    spellings: tuple[str, ...]

    def in_order(self, emitted: str) -> str:
        """A text in which LIMIT has its two numbers in the order that they had."""
        for one, two in pairwise(self.marks):
            if re.search(rf"LIMIT\s+'{one}'\s*,\s*'{two}'", self.text, re.IGNORECASE):
                turned = f"LIMIT '{two}' OFFSET '{one}'"
                emitted = emitted.replace(turned, f"LIMIT '{one}', '{two}'")
        return emitted

    def restored(self, emitted: str) -> str | None:
        """A text with the placeholders back; None if one is lost, doubled or out of its order."""
        places = [emitted.find(f"'{mark}'") for mark in self.marks]
        if -1 in places or any(one >= two for one, two in pairwise(places)):
            return None
        if any(emitted.count(mark) != 1 for mark in self.marks):
            return None
        for mark, spelling in zip(self.marks, self.spellings, strict=True):
            emitted = emitted.replace(f"'{mark}'", spelling)
        return emitted


def spellings(text: str, traits: Traits) -> tuple[str, ...]:
    """All placeholders of a text, as they are written, in order.

    Raises:
        Doubt: as `guard.split`.
    """
    return tuple(text[start:end] for start, end in _spans(text, traits))


def marked(text: str, traits: Traits) -> Marked:
    """A text with a string of its own for each placeholder.

    Raises:
        Doubt: as `guard.split`.
    """
    stem, number = "zqx", 0
    while stem in text.casefold():
        number += 1
        stem = f"zq{number}x"
    pieces: list[str] = []
    marks: list[str] = []
    spelled: list[str] = []
    at = 0
    for start, end in _spans(text, traits):
        mark = f"{stem}{len(marks):06}"
        pieces += [text[at:start], f"'{mark}'"]
        marks.append(mark)
        spelled.append(text[start:end])
        at = end
    return Marked("".join([*pieces, text[at:]]), tuple(marks), tuple(spelled))


def _spans(text: str, traits: Traits) -> list[tuple[int, int]]:
    tokens = [token for statement in guard.split(text, traits) for token in statement]
    spans: list[tuple[int, int]] = []
    for before, token in pairwise(tokens):
        # A sign after an operand is an operator: `payload ? 'key'`, `row:field`, `a[1:n]`.
        if token.token_type in _TEXTS or not _before_value(before):
            continue
        found = _SPELLINGS.match(text, token.start)
        if found is not None:
            spans.append(found.span())
    return spans


def _before_value(token: Token) -> bool:
    if token.token_type in _TEXTS:
        return False
    return token.text.lower() in _WORDS or set(token.text) <= _SYMBOLS
