"""What stands in FROM: tables, views, subqueries, functions, and how joins put them together.

Layer: inspectors. Start reading at `add_source`.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql.pivots import pivoted
from policyguard.inspectors.sql.rows import add_rows, column_name
from policyguard.inspectors.sql.scope import Doubt, Scope, Seen
from policyguard.inspectors.sql.tables import table_relation
from policyguard.inspectors.sql.values import Columns, Relation, Value, union
from policyguard.inspectors.sql.walk import Env, Walk, nodes, only, unknown

# Elsewhere SEMI and ANTI are names like any other, so that `users ANTI JOIN x` joins as ever.
_HALF_JOINS: Final = frozenset({"spark", "databricks", "duckdb", "clickhouse"})
# Where `*` shows a column of USING at its place in the left table; elsewhere it comes first.
_KEYS_IN_PLACE: Final = frozenset({"sqlite", "duckdb", "clickhouse"})
_KINDS: Final = frozenset(
    {
        "",
        "INNER",
        "OUTER",
        "CROSS",
        "SEMI",
        "ANTI",
        "ANY",
        "ALL",
        "STRAIGHT",
        "STRAIGHT_JOIN",
        "APPLY",
    }
)


def add_source(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> frozenset[str]:
    """Put one item of FROM into a scope, with the joins that hang below it.

    Returns:
        The base columns that decide which rows it has.

    Raises:
        Doubt: a relation that isn't known, or a part that isn't understood.
    """
    if isinstance(node, exp.Table):
        return _table(walk, node, scope, env)
    if isinstance(node, exp.Final):
        only(node, "this")
        return add_source(walk, node.this, scope, env)
    if isinstance(node, exp.Subquery):
        return _subquery(walk, node, scope, env)
    if isinstance(node, exp.Lateral):
        return _lateral(walk, node, scope, env)
    if isinstance(node, exp.Values):
        relation = walk.query(_bare_values(node), scope, env)
        return _named(walk, node, relation, scope)
    if isinstance(node, exp.TableFromRows):
        only(node, "this", "alias", "joins")
        add_rows(walk, node.this, node, scope, env)
        return join_all(walk, node.args.get("joins") or [], scope, env)
    if isinstance(node, exp.Unnest):
        add_rows(walk, node, node, scope, env)
        return frozenset()
    raise unknown(node)


def _bare_values(node: exp.Expr) -> exp.Expr:
    only(node, "expressions", "alias")
    return node


def _table(walk: Walk, node: exp.Table, scope: Scope, env: Env) -> frozenset[str]:
    only(
        node,
        *("this", "db", "catalog", "alias", "joins", "laterals", "hints", "only", "sample"),
        *("indexed", "ordinality", "system_time", "version", "when", "partition", "pivots"),
        "rows_from",
    )
    walk.claimed.add(id(node))
    before = len(scope.seen)
    for key in ("hints", "indexed", "partition"):
        walk.claim(*nodes(node.args.get(key)))
    shape = frozenset[str]()
    for key in ("sample", "system_time", "version", "when"):
        for part in nodes(node.args.get(key)):
            below = [child for value in part.args.values() for child in nodes(value)]
            shape |= walk.use(union(walk.value(one, scope, env) for one in below), "filter")
    if isinstance(node.this, exp.Identifier):
        relation, path = table_relation(walk, node, env)
        shape |= _named(walk, node, relation, scope, path)
    elif node.args.get("rows_from"):
        add_rows(walk, node, node, scope, env)
    elif isinstance(node.this, exp.Func):
        add_rows(walk, node.this, node, scope, env)
    else:
        raise unknown(node.this if isinstance(node.this, exp.Expr) else node)
    shape |= _pivots(walk, node, before, scope, env)
    for lateral in node.args.get("laterals") or ():
        shape |= add_source(walk, lateral, scope, env)
    return shape | join_all(walk, node.args.get("joins") or [], scope, env)


def _pivots(walk: Walk, node: exp.Expr, before: int, scope: Scope, env: Env) -> frozenset[str]:
    """PIVOT and UNPIVOT take the place of what they are applied to."""
    shape = frozenset[str]()
    for pivot in node.args.get("pivots") or ():
        taken = scope.seen[before:]
        relation = pivoted(walk, pivot, taken, scope, env)
        del scope.seen[before:]
        hidden = Scope(walk.traits)
        shape |= _named(walk, pivot, relation, hidden)
        # The old name goes on to be understood where the text gives no new one.
        new = hidden.seen[0]
        scope.seen.append(Seen(new.alias or taken[0].alias, new.relation))
    return shape


def _named(
    walk: Walk, node: exp.Expr, relation: Relation, scope: Scope, path: tuple[str, ...] = ()
) -> frozenset[str]:
    """Enter a relation under its alias, with the column names that the alias gives."""
    alias = node.args.get("alias")
    name = path[-1] if path else ""
    if alias is not None:
        only(alias, "this", "columns")
        if alias.this is not None:
            name, path = walk.fold(alias.this), ()
        names = [column_name(walk, column) for column in alias.args.get("columns") or ()]
        if names:
            if relation.unlisted is not None:
                raise Doubt("new column names for a table whose columns aren't all known")
            relation = relation.renamed(names)
    scope.seen.append(Seen(name, relation, path))
    return relation.shape


def _subquery(walk: Walk, node: exp.Subquery, scope: Scope, env: Env) -> frozenset[str]:
    """A subquery, or joins in brackets."""
    only(node, "this", "alias", "joins", "with_", "order", "limit", "offset", "laterals", "pivots")
    before = len(scope.seen)
    if isinstance(node.this, exp.Table | exp.Subquery) and not node.args.get("with_"):
        shape = _group(walk, node, scope, env)
    else:
        around = scope if walk.traits.implicit_lateral else scope.parent
        bare = exp.Subquery(**{key: node.args.get(key) for key in ("order", "limit", "offset")})
        relation = _inner(walk, node, bare, around, env)
        shape = _named(walk, node, relation, scope)
    shape |= _pivots(walk, node, before, scope, env)
    for lateral in node.args.get("laterals") or ():
        shape |= add_source(walk, lateral, scope, env)
    return shape | join_all(walk, node.args.get("joins") or [], scope, env)


def _inner(
    walk: Walk, node: exp.Subquery, bare: exp.Subquery, scope: Scope | None, env: Env
) -> Relation:
    if not any(bare.args.values()) and not node.args.get("with_"):
        return walk.query(node.this, scope, env)
    if node.args.get("joins") or node.args.get("laterals"):
        raise unknown(node)
    return walk.query(node, scope, env)


def _group(walk: Walk, node: exp.Subquery, scope: Scope, env: Env) -> frozenset[str]:
    """`(a JOIN b)`: its relations are seen outside, unless an alias hides them."""
    only(node, "this", "alias", "joins", "laterals", "pivots")
    inner = Scope(walk.traits, scope.parent)
    shape = add_source(walk, node.this, inner, env)
    if node.args.get("alias") is None:
        for name, value in inner.merged.items():
            scope.merged[name] = value
        if inner.flat is not None and not scope.seen:
            scope.flat = inner.flat
        elif inner.flat is not None:
            scope.inner = inner.flat
        scope.seen += inner.seen
        return shape
    if any(one.relation.unlisted is not None for one in inner.seen):
        raise Doubt("an alias for joined tables whose columns aren't all known")
    return shape | _named(walk, node, Relation(spelled(inner), base=True), scope)


def _lateral(walk: Walk, node: exp.Lateral, scope: Scope, env: Env) -> frozenset[str]:
    only(node, "this", "view", "outer", "alias", "cross_apply", "ordinality")
    if isinstance(node.this, exp.Subquery):
        only(node.this, "this")
        relation = walk.query(node.this.this, scope, env)
        return _named(walk, node, relation, scope)
    add_rows(walk, node.this, node, scope, env)
    return frozenset()


def join_all(walk: Walk, joins: list[exp.Expr], scope: Scope, env: Env) -> frozenset[str]:
    """Put the joined items into a scope, with their conditions."""
    shape = frozenset[str]()
    for join in joins:
        only(
            join,
            *("this", "on", "side", "kind", "using", "method", "global_", "hint"),
            *("match_condition", "directed"),
        )
        kind = str(join.args.get("kind") or "").upper()
        half = kind in {"SEMI", "ANTI"}
        if kind not in _KINDS or (half and walk.traits.name not in _HALF_JOINS):
            raise unknown(join)
        before, flat, merged = len(scope.seen), scope.flat, dict(scope.merged)
        shape |= add_source(walk, join.this, scope, env)
        for key in ("on", "match_condition"):
            for part in nodes(join.args.get(key)):
                shape |= walk.use(walk.value(part, scope, env).sources, "join")
        shape |= _laid_out(walk, join, before, scope)
        if half:
            # Only the left side goes on.
            del scope.seen[before:]
            scope.flat, scope.merged = flat, merged
    return shape


def _laid_out(walk: Walk, join: exp.Expr, before: int, scope: Scope) -> frozenset[str]:
    """What `*` stands for after a join, and the columns that USING or NATURAL reads."""
    keys = [walk.fold(_key(part)) for part in join.args.get("using") or ()]
    walk.claim(*(join.args.get("using") or ()))
    natural = str(join.args.get("method") or "").upper() == "NATURAL"
    inner, scope.inner = scope.inner, None
    if not keys and not natural and scope.flat is None and inner is None:
        return frozenset()
    listed = [column for one in scope.seen[:before] for column in one.relation.columns]
    left = listed if scope.flat is None else list(scope.flat)
    right = [column for one in scope.seen[before:] for column in one.relation.columns]
    right = right if inner is None else inner
    walk.spend(len(left) + len(right))
    if keys or natural:
        return _merge(walk, None if natural else keys, (left, right), before, scope)
    scope.flat = left + right
    return frozenset()


def _key(part: exp.Expr) -> exp.Expr:
    return part.this if isinstance(part, exp.Column) else part


def _merge(
    walk: Walk, keys: list[str] | None, both: tuple[Columns, Columns], before: int, scope: Scope
) -> frozenset[str]:
    """Columns of both sides that a join makes one of; both are read."""
    sides = scope.seen[:before], scope.seen[before:]
    left, right = both
    if keys is None:
        if any(one.relation.unlisted is not None for one in scope.seen):
            raise Doubt("a natural join of a table whose columns aren't all known")
        low = {name.casefold() for name, _ in right}
        keys = list(dict.fromkeys(name for name, _ in left if name.casefold() in low))
        if walk.traits.fold != "ignore" and walk.traits.name != "mysql":
            # Spelling decides what is joined; what only the letters share is read to be safe.
            walk.use(
                union(v for key in keys for one in scope.seen for v in _owned(walk, one, key)),
                "join",
            )
            exact = {name for name, _ in right}
            keys = [key for key in keys if key in exact]
    merged: dict[str, Value] = {}
    for key in keys:
        values = [value for side in sides for one in side for value in _owned(walk, one, key)]
        if not values:
            raise Doubt("a column of USING isn't known")
        merged[key] = Value(union(values))
    scope.merged.update(merged)
    rest = _rest(right, keys)
    if walk.traits.name in _KEYS_IN_PLACE:
        own = {key.casefold(): value for key, value in merged.items()}
        scope.flat = [(name, own.get(name.casefold(), value)) for name, value in left] + rest
    else:
        scope.flat = [*merged.items(), *_rest(left, keys), *rest]
    return walk.use(union(merged.values()), "join")


def _rest(columns: Columns, keys: list[str]) -> Columns:
    """The columns that a join doesn't make one of; a key is found by spelling, else by letters."""
    spelled_so = {name for name, _ in columns}
    low = {key.casefold() for key in keys if key not in spelled_so}
    gone = spelled_so.intersection(keys)
    return [one for one in columns if one[0] not in gone and one[0].casefold() not in low]


def _owned(walk: Walk, seen: Seen, key: str) -> list[Value]:
    """A side's column of that name, listed or not."""
    value = seen.relation.named(key)
    if value is None and seen.relation.unlisted is not None:
        value = seen.relation.unlisted(key)
    return [] if value is None else [walk.read(seen, value)]


def spelled(scope: Scope) -> Columns:
    """The columns that `*` stands for, as far as they are listed."""
    if scope.flat is not None:
        return list(scope.flat)
    return [column for one in scope.seen for column in one.relation.columns]
