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
# The only literals in which the writer changes letters: SQL reads them in any case.
_SPAN: Final = re.compile(r"\A-?\d+(?:\.\d+)? [A-Za-z]+\Z")
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
    """Whether a text, parsed and written, is the same tree with the same literals."""
    tree = parsed(text, traits)
    again = emitted(tree, traits)
    return same(parsed(again, traits), tree) and _literals(again, traits) == _literals(text, traits)


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
    """All literals of a text with their kinds."""
    tokens = [token for statement in guard.split(text, traits) for token in statement]
    return Counter(
        (token.token_type.name, _SPAN.sub(lambda found: found[0].lower(), token.text))
        for token in tokens
        if token.token_type in _LITERALS
    )
