"""What a select list yields: its expressions, with every star spelled out.

Layer: inspectors. Start reading at `projected`.

INVARIANT: one entry for each column of the result, in its order; labels are put on rows by it.
"""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql import functions as known
from policyguard.inspectors.sql.scope import Doubt, Scope, Seen
from policyguard.inspectors.sql.values import Columns, Value, became, columns_of
from policyguard.inspectors.sql.walk import Env, Walk, nodes, only, place, unknown, unnamed

# Too short for a pattern that takes long, and read alike by every engine of patterns.
_PLAIN_PATTERN: Final = re.compile(r"\^?[A-Za-z0-9_]{0,40}(\.\*)?[A-Za-z0-9_]{0,40}\$?")
EACH: Final = "\0columns"
"""The name under which the column is bound that `COLUMNS(..)` stands for; no text can spell it."""


def projected(walk: Walk, parts: list[exp.Expr], scope: Scope, env: Env) -> Columns:
    """The columns that a select list or RETURNING yields.

    Raises:
        Doubt: a star over something whose columns aren't all known.
    """
    columns: Columns = []
    for part in parts:
        if isinstance(part, exp.Star):
            columns += _star(walk, part, scope.seen, scope, env)
        elif isinstance(part, exp.Column) and isinstance(part.this, exp.Star):
            columns += _qualified_star(walk, part, scope, env)
        elif isinstance(part, exp.Dot) and isinstance(part.args["expression"], exp.Star):
            columns += _row_star(walk, part, scope, env)
        elif isinstance(part, exp.Aliases):
            columns += _several(walk, part, scope, env)
        elif (several := part.find(exp.Columns)) is not None:
            columns += _each(walk, part, several, scope, env)
        else:
            columns.append(_one(walk, part, scope, env))
    return columns


def _each(walk: Walk, part: exp.Expr, several: exp.Columns, scope: Scope, env: Env) -> Columns:
    """An expression over `COLUMNS(..)` stands for one column for each that it matches."""
    if len(list(part.find_all(exp.Columns))) > 1 or isinstance(part, exp.Alias):
        raise Doubt(f"several columns in one expression{place(part)}")
    columns = []
    for name, value in matching(walk, several, _listed(scope.seen, scope)):
        walk.found.reads |= columns_of(value.sources)
        inner = Scope(scope.traits, scope, params={EACH: value})
        columns.append((name if part is several else "", walk.value(part, inner, env)))
    return columns


def matching(walk: Walk, node: exp.Expr, columns: Columns) -> Columns:
    """The columns that DuckDB's `COLUMNS(..)` matches.

    Raises:
        Doubt: a pattern that isn't plain, or one that matches nothing that is known.
    """
    only(node, "this")
    which = node.this
    if isinstance(which, exp.Star):
        only(which, "except_")
        walk.claim(which)
        for part in nodes(which.args.get("except_")):
            columns = _without(columns, walk.fold(_last(part)))
        return columns
    pattern = which.name if isinstance(which, exp.Literal) and which.is_string else ""
    if not pattern or not _PLAIN_PATTERN.fullmatch(pattern):
        raise Doubt("a pattern of columns that isn't understood")
    found = [column for column in columns if re.search(pattern, column[0])]
    if not found:
        raise Doubt("a pattern of columns that fits none that is known")
    return found


def _one(walk: Walk, part: exp.Expr, scope: Scope, env: Env) -> tuple[str, Value]:
    inner = part
    while isinstance(inner, exp.Alias | exp.Paren):
        inner = inner.this
    wide = type(inner).__name__
    spreads = walk.traits.name in {"spark", "databricks", "duckdb"} and wide == "Explode"
    if spreads and isinstance(inner.this, exp.Array) and not inner.args.get("expressions"):
        spreads = False
    if walk.traits.name != "duckdb" and isinstance(part, exp.Alias):
        # One name for what EXPLODE yields: it is given an array, which makes one column.
        spreads = False
    if wide in known.WIDE_CLASSES or spreads:
        raise Doubt(f"a function that yields several columns stands for one{place(part)}")
    value = walk.value(part, scope, env)
    if isinstance(part, exp.Alias):
        return walk.fold(part.args["alias"]), value
    if isinstance(part, exp.Column) and isinstance(part.this, exp.Identifier):
        name = walk.fold(part.this)
        if walk.traits.string_names and not part.args.get("table") and not scope.find(name):
            # It is a string in double quotes, so it isn't a name to be shown.
            return "", value
        return name, value
    if isinstance(part, exp.Dot) and isinstance(part.args["expression"], exp.Identifier):
        return walk.fold(part.args["expression"]), value
    return "", value


def _several(walk: Walk, part: exp.Expr, scope: Scope, env: Env) -> Columns:
    """`posexplode(x) AS (a, b)`: each name may be any of it."""
    only(part, "this", "expressions")
    value = Value(became(walk.value(part.this, scope, env).sources, "derived"))
    return [(walk.fold(name), value) for name in part.expressions]


def _row_star(walk: Walk, part: exp.Expr, scope: Scope, env: Env) -> Columns:
    """`(row).*`: the fields of a whole row."""
    walk.claim(part.args["expression"])
    row = walk.value(part.this, scope, env)
    if not row.fields:
        raise Doubt(f"the fields of a value aren't known{place(part)}")
    return list(row.fields)


def _qualified_star(walk: Walk, part: exp.Expr, scope: Scope, env: Env) -> Columns:
    only(part, "this", "table", "db", "catalog")
    walk.claimed.add(id(part))
    path = tuple(
        walk.fold(name)
        for name in (part.args.get(key) for key in ("catalog", "db", "table"))
        if isinstance(name, exp.Expr)
    )
    seen = scope.relations(path)
    if not seen:
        raise unnamed(part, "table")
    if len(seen) > 1:
        raise Doubt(f"a star may mean several tables{place(part)}")
    bare = Scope(scope.traits, scope, seen=seen)
    return _star(walk, part.this, seen, bare, env)


def _star(walk: Walk, star: exp.Expr, seen: list[Seen], scope: Scope, env: Env) -> Columns:
    only(star, "except_", "replace", "rename")
    walk.claimed.add(id(star))
    if not seen:
        raise unknown(star)
    columns = _spread(walk, seen, scope)
    for part in nodes(star.args.get("except_")):
        walk.claim(part)
    for part in nodes(star.args.get("except_")):
        columns = _without(columns, walk.fold(_last(part)))
    for part in nodes(star.args.get("replace")):
        name = walk.fold(part.args["alias"])
        value = walk.value(part.this, scope, env)
        columns = [(own, value if _same(own, name) else old) for own, old in columns]
    for part in nodes(star.args.get("rename")):
        old_name, new_name = walk.fold(_last(part.this)), walk.fold(part.args["alias"])
        walk.claim(part)
        columns = [(new_name if _same(own, old_name) else own, value) for own, value in columns]
    return columns


def _without(columns: Columns, dropped: str) -> Columns:
    """The columns but one, which is found by spelling, else by letters."""
    if any(name == dropped for name, _ in columns):
        return [(name, value) for name, value in columns if name != dropped]
    return [(name, value) for name, value in columns if not _same(name, dropped)]


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def _last(part: exp.Expr) -> exp.Expr:
    """The identifier of a column reference."""
    return part.this if isinstance(part, exp.Column) else part


def _spread(walk: Walk, seen: list[Seen], scope: Scope) -> Columns:
    """All columns of some relations in order; columns joined by USING come once, and first."""
    columns = _listed(seen, scope)
    walk.spend(len(columns))
    for one in seen:
        walk.read(one, one.relation.row())
    return columns


def _listed(seen: list[Seen], scope: Scope) -> Columns:
    if any(one.relation.unlisted is not None or not one.relation.size_known for one in seen):
        raise Doubt("a star over a table whose columns aren't all known")
    if scope.flat is not None and seen is scope.seen:
        return list(scope.flat)
    return [column for one in seen for column in one.relation.columns]
