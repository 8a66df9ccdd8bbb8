"""Literals that come in bulk, made few before a parser sees them: they hold no column.

Layer: inspectors. Start reading at `shortened`.

INVARIANT: only for finding what a statement reads. A text or tokens that went through here are
never sent anywhere: rows are missing in them.
"""

from __future__ import annotations

import re
from typing import Final

from sqlglot.tokenizer_core import Token, TokenType

_MIN: Final = 2048
# No backslash in a string: some dialects read it as an escape. Possessive: never read twice.
_LITERAL: Final = (
    r"(?>'[^'\\]*+(?:''[^'\\]*+)*+'(?!')(?:::[a-z]\w*+)?+|[-+]?+\d[\d.]*+(?:e[-+]?+\d++)?+"
    r"|NULL\b|TRUE\b|FALSE\b|DEFAULT\b|%s|%\(\w++\)s|\?|[$:]\w++)"
)
_ROW: Final = rf"\(\s*+{_LITERAL}\s*+(?:,\s*+{_LITERAL}\s*+)*+\)"
_NAME: Final = r'(?>\w++|"[^"]*+"|`[^`]*+`|\[[^\]]*+\])'
_INSERT: Final = re.compile(
    rf"\s*+(?:INSERT|REPLACE)\s++(?:OR\s++\w++\s++|IGNORE\s++)?+INTO\s++{_NAME}(?:\.{_NAME})*+\s*+"
    rf"(?:\(\s*+{_NAME}\s*+(?:,\s*+{_NAME}\s*+)*+\)\s*+)?+VALUES\s*+({_ROW})(\s*+(?:,\s*+{_ROW})++)",
    re.IGNORECASE,
)
_VALUES: Final = frozenset(
    {TokenType.STRING, TokenType.NUMBER, TokenType.NULL, TokenType.PLACEHOLDER}
)
_PIVOTS: Final = frozenset({TokenType.PIVOT, TokenType.UNPIVOT})


def shortened(text: str) -> str:
    """A bulk INSERT with its first row of literals alone; places in the text stay what they are.

    The other rows become a comment of the same length. Only at the beginning of a text, where no
    quote or comment can be open.

    Cost: O(length), at some 100 MB a second.
    """
    found = _INSERT.match(text) if len(text) > _MIN else None
    if found is None:
        return text
    start, end = found.span(2)
    return f"{text[:start]}/*{' ' * (end - start - 4)}*/{text[end:]}"


def thinned(tokens: list[Token]) -> list[Token]:
    """The tokens of a statement with one literal in each `IN (..)` that has nothing else.

    In PIVOT such a list names columns, so a statement with one is left alone.
    """
    if any(token.token_type in _PIVOTS for token in tokens):
        return tokens
    kept: list[Token] = []
    at = 0
    while at < len(tokens):
        kept.append(tokens[at])
        at += 1
        if kept[-1].token_type != TokenType.IN:
            continue
        end = _list_end(tokens, at)
        if end:
            kept += [tokens[at], tokens[end - 2], tokens[end - 1]]
            at = end
    return kept


def _list_end(tokens: list[Token], at: int) -> int:
    """Behind the bracket that closes a list of plain literals; 0 when it isn't one."""
    if at >= len(tokens) or tokens[at].token_type != TokenType.L_PAREN:
        return 0
    at += 1
    while at + 1 < len(tokens) and tokens[at].token_type in _VALUES:
        after = tokens[at + 1].token_type
        if after == TokenType.R_PAREN:
            return at + 2
        if after != TokenType.COMMA:
            return 0
        at += 2
    return 0
