"""What a select list yields: its expressions, with every star spelled out.

Layer: inspectors. Start reading at `projected`.

INVARIANT: one entry for each column of the result, in its order; labels are put on rows by it.
"""

from __future__ import annotations

from sqlglot import exp

from policyguard.inspectors.sql import functions as known
from policyguard.inspectors.sql.scope import Doubt, Scope, Seen
from policyguard.inspectors.sql.values import Columns, Value, became
from policyguard.inspectors.sql.walk import Env, Walk, nodes, only, place, unknown, unnamed


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
        else:
            columns.append(_one(walk, part, scope, env))
    return columns


def _one(walk: Walk, part: exp.Expr, scope: Scope, env: Env) -> tuple[str, Value]:
    inner = part
    while isinstance(inner, exp.Alias | exp.Paren):
        inner = inner.this
    wide = type(inner).__name__
    spreads = walk.traits.name in {"spark", "databricks", "duckdb"} and wide == "Explode"
    if wide in known.WIDE_CLASSES or spreads:
        raise Doubt(f"a function that yields several columns stands for one{place(part)}")
    value = walk.value(part, scope, env)
    if isinstance(part, exp.Alias):
        return walk.fold(part.args["alias"]), value
    if isinstance(part, exp.Column) and isinstance(part.this, exp.Identifier):
        return walk.fold(part.this), value
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
    for one in seen:
        if one.relation.unlisted is not None or not one.relation.size_known:
            raise Doubt("a star over a table whose columns aren't all known")
    for one in seen:
        walk.read(one, one.relation.row())
    if scope.flat is not None and seen is scope.seen:
        return list(scope.flat)
    return [column for one in seen for column in one.relation.columns]
