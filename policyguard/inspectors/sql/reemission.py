"""A tree as text again, and how to tell that nothing was lost on the way.

Layer: inspectors. Start reading at `emitted`, then `faithful`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from sqlglot import exp
from sqlglot.errors import ErrorLevel
from sqlglot.tokenizer_core import TokenType

from policyguard.inspectors.sql import guard
from policyguard.inspectors.sql.scope import Doubt
from policyguard.inspectors.sql.traits import Traits

_LITERALS: Final = frozenset(
    kind for kind in TokenType if kind.name.endswith("STRING") or kind.name == "NUMBER"
)
# Literals that SQL reads alike in any case, and numbers that it reads alike in quotes: the parser
# makes a span of time and its unit out of them wherever they are one.
_SPAN: Final = re.compile(
    r"\A(?:-?\d+(?:\.\d+)? [A-Za-z]+"
    r"|(?i:year|quarter|month|week|day|hour|minute|second|millisecond|microsecond))\Z"
)
_SIGNS: Final = frozenset("=<>!+-*/|&^~@#%?")
_ALIKE: Final = {"!=": "<>", "==": "="}
# Where the name of a column that the text doesn't name is made from its text.
_NAMED_BY_TEXT: Final = frozenset({"sqlite", "mysql"})
_NAMED_BY_MEANING: Final = frozenset({"postgres", "redshift", "duckdb"})


def parsed(text: str, traits: Traits) -> exp.Expr:
    """The tree of a text that is one statement.

    Raises:
        Doubt: it is several, or isn't understood.
    """
    statements = guard.split(text, traits)
    if len(statements) != 1:
        raise Doubt("several statements")
    return guard.parse(statements[0], text, traits)


def emitted(tree: exp.Expr, traits: Traits) -> str:
    """A tree as text, without its comments.

    Raises:
        UnsupportedError: the dialect has no way to write a part.
    """
    return tree.sql(
        dialect=traits.name,
        comments=False,
        normalize_functions=False,
        unsupported_level=ErrorLevel.RAISE,
    )


def faithful(text: str, traits: Traits) -> bool:
    """Whether a text, parsed and written, is the same tree with the same literals and operators.

    A tree can't tell whether the parser and the database group operators alike. They needn't,
    where the same operators come out in their old places.
    """
    tree = parsed(text, traits)
    again = emitted(tree, traits)
    kept = _literals(again, traits) == _literals(text, traits)
    kept = kept and not any(isinstance(node, exp.Not) and _moved(node) for node in tree.walk())
    return kept and same(parsed(again, traits), tree)


def _moved(node: exp.Not) -> bool:
    """Whether `a = b NOT IN (..)` would be written as `a = NOT b IN (..)`."""
    around = node.parent
    inside = isinstance(around, exp.Binary | exp.In | exp.Between | exp.Cast | exp.Neg)
    return inside and not isinstance(around, exp.Connector)


def same(one: object, other: object) -> bool:
    """Whether two trees agree in every part, letter case included; comments don't count."""
    waiting = [(one, other)]
    while waiting:
        a, b = waiting.pop()
        if isinstance(a, exp.Expr) and isinstance(b, exp.Expr):
            if type(a) is not type(b):
                return False
            keys = {*a.args, *b.args}
            waiting += [(a.args.get(key), b.args.get(key)) for key in keys]
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            waiting += zip(a, b, strict=True)
        elif a != b and (a or b):
            return False
    return True


def named_alike(tree: exp.Expr, text: str, traits: Traits) -> bool:
    """Whether columns without a name of their own keep the one that the database gives them.

    Args:
        tree: whose select lists are looked at; where the name is the text itself, it is put there.
        text: as it was written, without placeholders.
        traits: of its dialect.
    """
    holders = [one for one in tree.walk() if isinstance(one, exp.Select | exp.Returning)]
    return all(
        _kept(part, text, traits)
        for holder in holders
        for part in list(holder.expressions)
        if not isinstance(part, exp.Alias | exp.Column | exp.Star | exp.Aliases)
    )


def _kept(part: exp.Expr, text: str, traits: Traits) -> bool:
    inner = part
    while isinstance(inner, exp.Cast | exp.Paren):
        inner = inner.this
    if isinstance(inner, exp.Column) and traits.name in _NAMED_BY_MEANING:
        return True
    pattern = r"\s*".join(re.escape(sign) for sign in _pieces(emitted(part, traits)))
    found = re.search(pattern, text, re.IGNORECASE)
    if found is None:
        return False
    if traits.name in _NAMED_BY_MEANING:
        return True
    if traits.name in _NAMED_BY_TEXT:
        if any(sign in found[0] for sign in "?%:@$\"`'"):
            return False
        part.replace(exp.alias_(part.copy(), found[0], quoted=True))
        return True
    return found[0] == emitted(part, traits)


def _pieces(text: str) -> Iterator[str]:
    """Words, strings and signs of a text, without the white space between them."""
    for found in re.finditer(r"'[^']*'|\w+|[^\w\s]", text):
        yield found[0]


def _literals(text: str, traits: Traits) -> Counter[tuple[str, str]]:
    """All literals of a text with their kinds, and all operators that are signs."""
    found: Counter[tuple[str, str]] = Counter()
    for token in (token for statement in guard.split(text, traits) for token in statement):
        name, spelling = token.token_type.name, token.text
        if token.token_type in _LITERALS:
            spelling = _SPAN.sub(lambda span: span[0].lower(), spelling)
            found["" if spelling.isdecimal() else name, spelling] += 1
        elif set(spelling) <= _SIGNS and token.token_type != TokenType.IDENTIFIER:
            found["", _ALIKE.get(spelling, spelling)] += 1
    return found
