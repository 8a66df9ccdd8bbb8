"""Words of PostgreSQL that the parser doesn't know and that change nothing where they stand.

Layer: inspectors. Start reading at `spelled`.

INVARIANT: only for finding what a statement reads, as for `bulk`.
"""

from __future__ import annotations

from sqlglot.tokenizer_core import Token, TokenType

_NAMES = frozenset({TokenType.VAR, TokenType.IDENTIFIER, TokenType.COMMA})


def spelled(tokens: list[Token]) -> list[Token]:
    """The tokens without LATERAL before ROWS FROM, and without a name for a join's columns.

    A function in FROM sees what stands before it with and without LATERAL. `USING (a) AS k` gives
    the joined columns a name; it is left out only if nothing uses it.
    """
    kept: list[Token] = []
    at = 0
    while at < len(tokens):
        if _says(tokens, at, "LATERAL", "ROWS", "FROM", "("):
            at += 1
        kept.append(tokens[at])
        at += 1
        if kept[-1].token_type == TokenType.USING and (end := _named_join(tokens, at)):
            kept += tokens[at:end]
            at = end + 2
    return kept


def _says(tokens: list[Token], at: int, *words: str) -> bool:
    part = tokens[at : at + len(words)]
    return [token.text.upper() for token in part] == list(words)


def _named_join(tokens: list[Token], at: int) -> int:
    """Behind the bracket of `USING (a, b) AS k` where nothing else is called k; else 0."""
    if not _says(tokens, at, "("):
        return 0
    end = at + 1
    while end < len(tokens) and tokens[end].token_type in _NAMES:
        end += 1
    if not (_says(tokens, end, ")", "AS") and end + 2 < len(tokens)):
        return 0
    name = tokens[end + 2]
    same = [token for token in tokens if token.text.casefold() == name.text.casefold()]
    return end + 1 if name.token_type in _NAMES and len(same) == 1 else 0
