"""One answer for a statement whatever the values in it: its text without what names nothing.

Layer: inspectors. Start reading at `template_of`.

INVARIANT: two texts have the same template only if their tokens are the same but for literals that
an answer can't depend on. What is left out is listed, everything else is kept to the letter, white
space and comments too: a plain string or number that is a whole operand of a comparison in WHERE,
ON, HAVING or SET, a whole `IN (..)` there, a whole cell of INSERT .. VALUES, or a whole LIMIT or
OFFSET; and never one that is short enough to be a proven fact (`country = 'DE'`). A function's
arguments, subscripts, select lists, FROM, orders and groups are kept, and any place that isn't one
of those above: there a literal may name a column, be an ordinal, or be code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from sqlglot.tokenizer_core import Token, TokenType

from policyguard.inspectors.sql.model import Statement
from policyguard.inspectors.sql.session import Left
from policyguard.inspectors.sql.words import words

Template = tuple[tuple[str, ...], tuple[TokenType, ...]]

MAX_LENGTH: Final = 16 * 1024
MAX_TEMPLATES: Final = 1024


def _types(names: str) -> frozenset[TokenType]:
    return frozenset(getattr(TokenType, name) for name in words(names))


_STATEMENTS: Final = _types("SELECT WITH INSERT UPDATE DELETE")
# A statement with one of these may take names of columns from anywhere.
_NEVER: Final = _types("PIVOT UNPIVOT MATCH_RECOGNIZE COMMAND EXECUTE")
_LITERALS: Final = _types("STRING NUMBER")
_OPENERS: Final = _types("WHERE ON HAVING SET")
_COMPARE: Final = _types("EQ NEQ GT GTE LT LTE")
_OPERANDS: Final = _types("VAR IDENTIFIER STRING NUMBER NULL TRUE FALSE PLACEHOLDER")
_LINKS: Final = _types("DOT AND OR NOT IN BETWEEN IS LIKE ILIKE COMMA DASH PLUS STAR SLASH EXISTS")
_ENDS: Final = _OPERANDS | _types("R_PAREN R_BRACKET")
_PLAIN: Final = _OPERANDS | _LINKS | _COMPARE
# Before a bracket that only groups, and before one that holds a query.
_GROUPS: Final = _types("WHERE ON HAVING AND OR NOT L_PAREN EQ NEQ GT GTE LT LTE")
_QUERIES: Final = _GROUPS | _types(
    "FROM JOIN ALIAS UNION EXCEPT INTERSECT ALL COMMA IN EXISTS SELECT"
)
_CLOSERS: Final = _types(
    "AND OR R_PAREN COMMA WHERE GROUP_BY ORDER_BY HAVING LIMIT OFFSET RETURNING UNION"
)
_LIMITS: Final = _types("LIMIT OFFSET")
_AFTER_LIMIT: Final = _types("LIMIT OFFSET R_PAREN")
_BRACKETS: Final = _types("L_PAREN L_BRACKET L_BRACE")
_BRACKETS_END: Final = _types("R_PAREN R_BRACKET R_BRACE")

_STRING: Final = re.compile(r"'[^'\\]*'")
_NUMBER: Final = re.compile(r"\d+(\.\d+)?")
# Wider than what `facts` takes for the value of a fact: one digit, or a word like a code.
_MAYBE_FACT: Final = re.compile(r"'[A-Za-z]{0,4}([-_ ][A-Za-z0-9]{0,4})?'|\d", re.ASCII)


def template_of(statements: list[list[Token]], text: str) -> Template | None:
    """What a text has in common with all that differ from it only in values.

    Args:
        statements: the tokens of the text, as `guard.split` gives them.
        text: as it was given to `guard.split`.

    Returns:
        The pieces of the text between what is left out, and the types of its tokens. None if
        nothing may be left out, or the text isn't one plain query or change of rows.

    Cost: O(length); some 0.2 us a token.
    """
    if len(statements) != 1 or len(text) > MAX_LENGTH:
        return None
    tokens = statements[0]
    types = tuple([token.token_type for token in tokens])
    if types[0] not in _STATEMENTS or not _NEVER.isdisjoint(types):
        return None
    pieces: list[str] = []
    at = 0
    for start, end in _left_out(tokens, types, text):
        pieces.append(text[at:start])
        at = end
    if not pieces:
        return None
    pieces.append(text[at:])
    return tuple(pieces), types


@dataclass(slots=True)
class _Level:
    """What is known of the inside of one bracket, or of the statement itself.

    Attributes:
        dead: nothing in here is ever left out, nor in brackets within.
        free: a comparison may stand here.
        row: this is one row of VALUES.
        rows: rows of VALUES may stand here.
    """

    dead: bool = False
    free: bool = False
    row: bool = False
    rows: bool = False


def _left_out(
    tokens: list[Token], types: tuple[TokenType, ...], text: str
) -> list[tuple[int, int]]:
    """Where in the text the literals stand that no answer depends on."""
    found: list[tuple[int, int]] = []
    level = _Level()
    above: list[_Level] = []
    for at, kind in enumerate(types):
        if kind in _BRACKETS:
            above.append(level)
            level = _entered(level, types, at)
        elif kind in _BRACKETS_END:
            if not above:
                return []
            level = above.pop()
        elif level.dead or level.row:
            pass
        elif kind in _OPENERS:
            level.free, level.rows = True, False
        elif kind == TokenType.VALUES:
            alone = types[0] == TokenType.INSERT and TokenType.SELECT not in types
            level.free, level.rows = False, alone and not above
        elif kind not in _PLAIN or (kind in _OPERANDS and at and types[at - 1] in _ENDS):
            level.free = level.rows = False
        if (kind in _LITERALS) and not level.dead and _is_value(tokens[at], text):
            span = _span(level, tokens, types, at)
            if span is not None:
                found.append(span)
    return found


def _entered(level: _Level, types: tuple[TokenType, ...], at: int) -> _Level:
    """The inside of the bracket at a place."""
    before = types[at - 1] if at else None
    after = types[at + 1] if at + 1 < len(types) else None
    if level.dead or level.row or types[at] != TokenType.L_PAREN:
        return _Level(dead=True)
    if level.rows and before in {TokenType.VALUES, TokenType.COMMA}:
        return _Level(row=True)
    if after == TokenType.SELECT and (before is None or before in _QUERIES):
        return _Level()
    if level.free and (before in _GROUPS or before == TokenType.IN):
        return _Level(free=True)
    return _Level(dead=True)


def _is_value(token: Token, text: str) -> bool:
    """Whether a literal reads the same in every dialect, and can't be the value of a fact."""
    raw = text[token.start : token.end + 1]
    if _MAYBE_FACT.fullmatch(raw):
        return False
    if token.token_type == TokenType.NUMBER:
        return raw == token.text and _NUMBER.fullmatch(raw) is not None
    return raw[1:-1] == token.text and _STRING.fullmatch(raw) is not None


def _span(
    level: _Level, tokens: list[Token], types: tuple[TokenType, ...], at: int
) -> tuple[int, int] | None:
    """What is left out of the text for the literal at a place; None if it stays."""
    before = types[at - 1] if at else None
    after = types[at + 1] if at + 1 < len(types) else None
    own = tokens[at].start, tokens[at].end + 1
    if before in _LIMITS:
        whole = types[at] == TokenType.NUMBER and (after is None or after in _AFTER_LIMIT)
        return own if whole else None
    if level.row:
        cell = before in {TokenType.L_PAREN, TokenType.COMMA}
        return own if cell and after in {TokenType.COMMA, TokenType.R_PAREN} else None
    if not level.free or not (after is None or after in _CLOSERS):
        return None
    if before == TokenType.L_PAREN:
        # The other literals of the list were taken out of the tokens, so the whole list is.
        listed = after == TokenType.R_PAREN and at > 1 and types[at - 2] == TokenType.IN
        return (tokens[at - 1].end + 1, tokens[at + 1].start) if listed else None
    if before in _COMPARE or before == TokenType.BETWEEN:
        return own
    ranged = before == TokenType.AND and types[max(at - 3, 0)] == TokenType.BETWEEN
    return own if ranged and types[at - 2] in _OPERANDS else None


@dataclass(slots=True)
class Templates:
    """Answers by template, and what the texts leave behind: bounded, and emptied when full."""

    _known: dict[object, tuple[tuple[Statement, ...], Left]] = field(default_factory=dict)

    def get(self, key: object) -> tuple[tuple[Statement, ...], Left] | None:
        """The answer for a template, a dialect and a catalog."""
        return self._known.get(key)

    def keep(self, key: object, answers: tuple[Statement, ...], left: Left) -> None:
        """Remember an answer, unless anything is in doubt or what is left behind holds a text."""
        trees = left.prepared or any(made.query is not None for made in left.made.values())
        if trees or not all(one.resolved for one in answers):
            return
        if len(self._known) >= MAX_TEMPLATES:
            self._known = {}
        self._known[key] = answers, left

    def clear(self) -> None:
        """Forget everything."""
        self._known = {}
