"""What is refused before a parser sees it, and the parse itself.

Layer: inspectors. Start reading at `split`. The caps come first because a deeply nested text kills
the process in the compiled parser, and because a long one takes a minute.

INVARIANT: nothing of the text reaches a log or an error: the parser's own messages quote it, so
they are neither kept nor let through.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Final

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, ParseError
from sqlglot.tokenizer_core import Token, TokenType

from policyguard.inspectors.sql.bulk import shortened, thinned
from policyguard.inspectors.sql.scope import Doubt
from policyguard.inspectors.sql.spelling import spelled
from policyguard.inspectors.sql.traits import Traits
from policyguard.inspectors.sql.words import words

MAX_BYTES: Final = 256 * 1024
MAX_TOKENS: Final = 20_000
MAX_KEPT: Final = 10_500
MAX_NODES: Final = 30_000
MAX_DEPTH: Final = 40
MAX_RUN: Final = 40
MAX_ARROWS: Final = 60
MAX_STATEMENTS: Final = 200
_COMMAND_LENGTH: Final = 2

# Control characters, and signs that a reader takes for a space or doesn't see at all.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u3000\ufeff\ufff9-\ufffb]"
)
_EXECUTABLE: Final = re.compile(r"/\*M?!")
_ESCAPED_NAME: Final = re.compile(r"\bU&[\"']", re.IGNORECASE)
_MINUS_MINUS: Final = re.compile(r"--(?![\s]|$)")

_BEFORE_VALUE: Final = frozenset(
    getattr(TokenType, name)
    for name in words(
        """
        AND BETWEEN COMMA DASH DPIPE ELSE EQ ESCAPE GT GTE ILIKE IN INTERVAL L_BRACKET L_PAREN LIKE
        LIMIT LT LTE NEQ NOT OFFSET ON OR PLUS RLIKE SELECT SLASH STAR THEN TOP WHEN WHERE
        """
    )
)
# About a token each, with strings and comments as one: only to spare the tokenizer long texts.
_ROUGH_TOKEN: Final = re.compile(
    r"'[^']*(?:'|\Z)|\"[^\"]*(?:\"|\Z)|`[^`]*(?:`|\Z)|--[^\n]*|/\*.*?(?:\*/|\Z)"
    r"|[^\W\d]\w*|[\d.]+|[^\s\w]",
    re.DOTALL,
)

_OPEN: Final = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE})
_CLOSE: Final = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE})
_ARROWS: Final = frozenset({TokenType.ARROW, TokenType.FARROW})

_warned: ContextVar[list[bool] | None] = ContextVar("policyguard_sql_warned", default=None)


class _Quiet(logging.Filter):
    """Keeps the parser's warnings, which quote the text, out of the logs while we parse."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - a filter's signature
        warned = _warned.get()
        if warned is None:
            return True
        warned.append(True)
        return False


logging.getLogger("sqlglot").addFilter(_Quiet())


def split(text: object, traits: Traits, *, thin: bool = False) -> list[list[Token]]:
    """The tokens of each statement of a text, after the caps.

    Args:
        text: as it will be sent.
        traits: of its dialect.
        thin: leave out literals that come in bulk. What is left names the same columns, but it
            isn't the statement any more.

    Raises:
        Doubt: the text is too long, too deep, holds something a reader can't see or a database
            may read differently, or has no statement at all.

    Cost: O(length).
    """
    if not isinstance(text, str):
        raise Doubt("the query isn't text")
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise Doubt(f"the text is longer than {MAX_BYTES} bytes")
    _refuse_signs(text, traits)
    if thin:
        text = shortened(text)
    tokens = _tokenized(text, traits)
    statements: list[list[Token]] = [[]]
    for token in _with_placeholders(tokens) if "%" in text else tokens:
        if token.token_type == TokenType.SEMICOLON:
            statements.append([])
        else:
            statements[-1].append(token)
    found = [_respelled(statement, traits) for statement in statements if statement]
    if thin:
        found = [thinned(statement) for statement in found]
    if thin and traits.name == "postgres":
        found = [spelled(statement) for statement in found]
    if not found:
        raise Doubt("there is no statement in the text")
    if len(found) > MAX_STATEMENTS:
        raise Doubt(f"the text has more than {MAX_STATEMENTS} statements")
    if sum(map(len, found)) > MAX_KEPT:
        raise Doubt(f"the text has more than {MAX_KEPT} tokens beside its lists of literals")
    return found


def _tokenized(text: str, traits: Traits) -> list[Token]:
    """The tokens of a text, if they are neither too many nor nested too deep."""
    if len(text) > MAX_TOKENS and sum(1 for _ in _ROUGH_TOKEN.finditer(text)) > MAX_TOKENS:
        raise Doubt(f"the text has more than {MAX_TOKENS} tokens")
    try:
        with _quiet():
            tokens = Dialect.get_or_raise(traits.name).tokenize(text)
    except Exception:  # noqa: BLE001 - as for the parser
        # Denies: a text without tokens has no known meaning. The message quotes it: dropped.
        raise Doubt("the text can't be split into tokens") from None
    if len(tokens) > MAX_TOKENS:
        raise Doubt(f"the text has more than {MAX_TOKENS} tokens")
    _refuse_depth(tokens)
    return list(tokens)


def _with_placeholders(tokens: list[Token]) -> list[Token]:
    """`%s` and `%(name)s`, which drivers fill in, as the placeholder that every dialect has.

    Only where a value is expected: after an operand `%` divides.
    """
    kept: list[Token] = []
    at = 0
    while at < len(tokens):
        length = _placeholder(tokens, at) if kept and kept[-1].token_type in _BEFORE_VALUE else 0
        token = tokens[at]
        if length:
            mark = (token.line, token.col, token.start, tokens[at + length - 1].end)
            kept.append(Token(TokenType.PLACEHOLDER, "?", *mark))
        else:
            kept.append(token)
        at += length or 1
    return kept


def _placeholder(tokens: list[Token], at: int) -> int:
    """How many tokens a driver's placeholder takes at a place; 0 for none."""
    for shape in (("%", "s"), ("%", "(", None, ")", "s")):
        part = tokens[at : at + len(shape)]
        near = all(one.end + 1 == two.start for one, two in pairwise(part))
        fits = len(part) == len(shape) and all(
            want in {None, token.text} for want, token in zip(shape, part, strict=True)
        )
        if near and fits:
            return len(shape)
    return 0


def _respelled(tokens: list[Token], traits: Traits) -> list[Token]:
    """The tokens of a statement whose rest the tokenizer took for one string.

    It does that after the first word of what the parser knows only as a command.
    """
    commands = Dialect.get_or_raise(traits.name).tokenizer_class.COMMANDS
    if len(tokens) != _COMMAND_LENGTH or tokens[0].token_type not in commands:
        return tokens
    try:
        with _quiet():
            # A word in front keeps the rest from being taken for a command itself.
            rest = Dialect.get_or_raise(traits.name).tokenize("_ " + tokens[1].text)[1:]
    except Exception:  # noqa: BLE001 - as for the parser
        # Denies: as above.
        raise Doubt("the text can't be split into tokens") from None
    _refuse_depth(rest)
    return [tokens[0], *rest]


def parse(tokens: list[Token], text: str, traits: Traits) -> exp.Expr:
    """The syntax tree of one statement.

    Raises:
        Doubt: it can't be parsed, only with a warning, or only as an opaque command.
    """
    try:
        with _quiet() as warned:
            trees = (
                Dialect.get_or_raise(traits.name)
                .parser(error_level=ErrorLevel.IMMEDIATE, max_nodes=MAX_NODES)
                .parse(tokens, text)
            )
    except ParseError as error:
        # Denies: what can't be parsed may read anything. Only the place is kept.
        first = error.errors[0] if error.errors else {}
        raise Doubt(f"can't be parsed{_at(first.get('line'), first.get('col'))}") from None
    except RecursionError:
        # Denies: too deep for the parser, whatever the caps thought of it.
        raise Doubt("nested too deep to be parsed") from None
    except Exception:  # noqa: BLE001 - the parser raises anything on odd input
        # Denies: a parser that fails in its own way has understood nothing.
        raise Doubt("can't be parsed") from None
    tree = trees[0] if len(trees) == 1 else None
    if tree is None or isinstance(tree, exp.Command | exp.Block | exp.Semicolon):
        raise Doubt("a statement that the parser doesn't know")
    if warned:
        raise Doubt("parsed with a warning")
    return tree


def _at(line: object, col: object) -> str:
    return f" ({line}:{col})" if isinstance(line, int) and isinstance(col, int) else ""


def _refuse_signs(text: str, traits: Traits) -> None:
    """Signs whose meaning depends on who reads them."""
    if _UNSEEN.search(text):
        raise Doubt("the text holds a control or invisible character")
    if "/*" in text and _EXECUTABLE.search(text):
        raise Doubt("the text holds an executable comment")
    if _ESCAPED_NAME.search(text):
        raise Doubt("the text holds a name or string in unicode escapes")
    if traits.name == "mysql" and _MINUS_MINUS.search(text):
        raise Doubt("`--` without a space isn't a comment in MySQL")


def _refuse_depth(tokens: list[Token]) -> None:
    """Nesting of brackets and CASE, runs of one prefix operator, chains that the parser nests."""
    depth = cases = run = arrows = subscripts = 0
    before = None
    for token in tokens:
        kind = token.token_type
        if kind in _OPEN:
            depth += 1
        elif kind in _CLOSE:
            depth -= 1
        elif kind == TokenType.CASE:
            cases += 1
        elif kind == TokenType.END:
            cases -= 1
        arrows += kind in _ARROWS
        subscripts += kind == TokenType.L_BRACKET and before == TokenType.R_BRACKET
        run = run + 1 if kind == before else 0
        before = kind
        deep = max(depth, cases) > MAX_DEPTH or run > MAX_RUN
        if deep or arrows > MAX_ARROWS or subscripts > MAX_ARROWS:
            raise Doubt("nested too deep")


@contextmanager
def _quiet() -> Iterator[list[bool]]:
    """Collect the parser's warnings instead of logging them."""
    warned: list[bool] = []
    token = _warned.set(warned)
    try:
        yield warned
    finally:
        _warned.reset(token)
