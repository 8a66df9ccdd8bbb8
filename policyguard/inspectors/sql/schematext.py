"""Texts that describe a schema: the query of a view, and comments on columns.

Layer: inspectors. Start reading at `view_query`. Works on tokens, so that a text stays as the
database gave it, whatever the version of the parser: it is committed and compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from policyguard.inspectors.sql import guard
from policyguard.inspectors.sql.scope import Doubt
from policyguard.inspectors.sql.traits import Traits, traits_of

_QUERY_STARTS: Final = frozenset(
    {TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN, TokenType.VALUES, TokenType.FROM}
)
# What a literal is only compared with can't name a column, so it needn't be known.
_COMPARES: Final = frozenset(
    {
        TokenType.EQ,
        TokenType.NEQ,
        TokenType.GT,
        TokenType.GTE,
        TokenType.LT,
        TokenType.LTE,
        TokenType.LIKE,
        TokenType.ILIKE,
        TokenType.RLIKE,
        TokenType.SIMILAR_TO,
        TokenType.BETWEEN,
    }
)
# Before a literal on the left side of a comparison; anything else may be a path: `data->>'x' = 1`.
_BEFORE_TERM: Final = frozenset(
    {
        TokenType.AND,
        TokenType.L_PAREN,
        TokenType.NOT,
        TokenType.ON,
        TokenType.OR,
        TokenType.WHEN,
        TokenType.WHERE,
    }
)
_LIST_STARTS: Final = frozenset({TokenType.IN, TokenType.ANY, TokenType.ALL})
_TEXTS: Final = frozenset(
    {TokenType.STRING, TokenType.NATIONAL_STRING, TokenType.RAW_STRING, TokenType.UNICODE_STRING}
)
_NUMBERS: Final = frozenset({TokenType.NUMBER})
_OPEN: Final = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET})
_CLOSE: Final = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET})
_TAIL: Final = ("WITH", "NO", "SCHEMA", "BINDING")


@dataclass(frozen=True, slots=True)
class ViewText:
    """The definition of a view.

    Attributes:
        query: the query on one line, without comments, and without the literals that it compares
            with; "" where the text isn't one query.
        names: the view's own names of its first columns.
    """

    query: str = ""
    names: tuple[str, ...] = ()


def view_query(text: str | None, dialect: str) -> ViewText:
    """The query behind a view.

    Args:
        text: a query, or the whole `CREATE VIEW`.
        dialect: required; see `DIALECTS`.

    Returns:
        The query; an empty one where the text can't be read. Of a view without a query nobody knows
        what it holds.

    Cost: O(length).
    """
    traits = traits_of(dialect)
    try:
        statements = guard.split(text or "", traits)
    except Doubt:
        # Denies: a view whose text can't be read is unresolved.
        return ViewText()
    if len(statements) != 1:
        return ViewText()
    tokens = statements[0]
    names: tuple[str, ...] = ()
    if tokens and tokens[0].token_type not in _QUERY_STARTS:
        start = _behind_as(tokens)
        if start is None:
            return ViewText()
        names = _own_names(tokens[:start], traits)
        tokens = tokens[start:]
    if tuple(token.text.upper() for token in tokens[-len(_TAIL) :]) == _TAIL:
        tokens = tokens[: -len(_TAIL)]
    return ViewText(_joined(tokens, text or ""), names) if tokens else ViewText()


def column_comments(text: str, dialect: str) -> Iterator[tuple[str, str, str]]:
    """(table, column, comment) of what a text of DDL says in COMMENT.

    Both `COMMENT ON COLUMN t.c IS '...'` and a column's own `COMMENT '...'` count. A statement that
    can't be read says nothing.

    Raises:
        PolicyGuardError: no dialect, or an unknown one.
    """
    traits = traits_of(dialect)
    try:
        statements = guard.split(text, traits)
    except Doubt:
        # Denies nothing: who reads the tables of this text refuses it, with the reason.
        return
    for tokens in statements:
        if not any(token.text.upper() == "COMMENT" for token in tokens):
            continue
        if tokens[0].text.upper() == "COMMENT":
            yield from _comment_on(tokens, traits)
            continue
        try:
            tree = guard.parse(tokens, text, traits)
        except Doubt:
            # Denies nothing by itself: the tables that it names are no longer complete.
            continue
        yield from _own_comments(tree, traits)


def _behind_as(tokens: list[Token]) -> int | None:
    """Where the query of a CREATE VIEW begins."""
    words = [token.text.upper() for token in tokens]
    if words[0] not in ("CREATE", "ALTER", "REPLACE") or "VIEW" not in words:
        return None
    depth = 0
    for place in range(words.index("VIEW"), len(tokens)):
        kind = tokens[place].token_type
        depth += (kind in _OPEN) - (kind in _CLOSE)
        if kind is TokenType.ALIAS and depth == 0:
            return place + 1
    return None


def _own_names(tokens: list[Token], traits: Traits) -> tuple[str, ...]:
    """The names in the brackets behind a view's name; comments between them aren't names."""
    words = [token.text.upper() for token in tokens]
    place = words.index("VIEW") + 1
    while place < len(tokens) and tokens[place].token_type is not TokenType.L_PAREN:
        if tokens[place].token_type is TokenType.WITH:
            return ()
        place += 1
    found, wanted, depth = [], True, 0
    for token in tokens[place + 1 :]:
        kind = token.token_type
        if kind in _CLOSE and depth == 0:
            break
        depth += (kind in _OPEN) - (kind in _CLOSE)
        if wanted and depth == 0:
            found.append(traits.folded(token.text, quoted=kind is TokenType.IDENTIFIER))
        wanted = kind is TokenType.COMMA and depth == 0
    return tuple(found)


def _joined(tokens: list[Token], text: str) -> str:
    """The tokens on one line; the compared literals are emptied."""
    parts: list[str] = []
    compared = _compared(tokens)
    for place, token in enumerate(tokens):
        if place and text[tokens[place - 1].end + 1 : token.start]:
            parts.append(" ")
        if place in compared:
            parts.append("''" if token.token_type in _TEXTS else "0")
        else:
            parts.append(text[token.start : token.end + 1])
    return " ".join("".join(parts).split("\n"))


def _compared(tokens: list[Token]) -> frozenset[int]:
    """The places of literals that stand beside a comparison, or in its list."""
    found: set[int] = set()
    depth, lists = 0, [0]
    for place, token in enumerate(tokens):
        kind = token.token_type
        before = tokens[place - 1].token_type if place else None
        after = tokens[place + 1].token_type if place + 1 < len(tokens) else None
        if kind in _OPEN:
            depth += 1
            if before in _LIST_STARTS:
                lists.append(depth)
        elif kind in _CLOSE:
            if lists[-1] == depth:
                lists.pop()
            depth -= 1
        elif kind is TokenType.SELECT and lists[-1]:
            lists.pop()  # a query, no list
        elif kind in _TEXTS | _NUMBERS:
            listed = lists[-1] and kind in _TEXTS
            left = after in _COMPARES and before in _BEFORE_TERM
            ends = before is TokenType.AND and _between(tokens, place)
            if listed or left or ends or before in _COMPARES:
                found.add(place)
    return frozenset(found)


def _between(tokens: list[Token], place: int) -> bool:
    """Whether the AND before a literal belongs to a BETWEEN."""
    near = tokens[max(0, place - 6) : place]
    return any(token.token_type is TokenType.BETWEEN for token in near)


def _comment_on(tokens: list[Token], traits: Traits) -> Iterator[tuple[str, str, str]]:
    """`COMMENT ON COLUMN a.b.c IS 'text'`."""
    words = [token.text.upper() for token in tokens[:3]]
    if words != ["COMMENT", "ON", "COLUMN"] or tokens[-1].token_type not in _TEXTS:
        return
    names = [
        traits.folded(token.text, quoted=token.token_type is TokenType.IDENTIFIER)
        for token in tokens[3:-2]
        if token.token_type is not TokenType.DOT
    ]
    if len(names) > 1:
        yield ".".join(names[:-1]), names[-1], tokens[-1].text


def _own_comments(tree: exp.Expr, traits: Traits) -> Iterator[tuple[str, str, str]]:
    """Comments within CREATE TABLE."""
    schema = tree.this if isinstance(tree, exp.Create) else None
    if not isinstance(schema, exp.Schema) or not isinstance(schema.this, exp.Table):
        return
    parts = [schema.this.args.get(key) for key in ("catalog", "db", "this")]
    table = ".".join(_name(part, traits) for part in parts if isinstance(part, exp.Expr))
    for column in schema.expressions:
        if not isinstance(column, exp.ColumnDef):
            continue
        for constraint in column.args.get("constraints") or ():
            kind = constraint.args.get("kind")
            if isinstance(kind, exp.CommentColumnConstraint):
                yield table, _name(column.this, traits), kind.this.name


def _name(part: exp.Expr, traits: Traits) -> str:
    return traits.folded(part.name, quoted=bool(part.args.get("quoted")))
