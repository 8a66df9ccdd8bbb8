"""What a query returns and what it reads on the way.

Layer: inspectors. Start reading at `query_relation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql.commons import with_commons
from policyguard.inspectors.sql.pivots import pivoted
from policyguard.inspectors.sql.projection import projected
from policyguard.inspectors.sql.scope import Doubt, Scope, Seen
from policyguard.inspectors.sql.sources import add_source, join_all
from policyguard.inspectors.sql.values import (
    Columns,
    Pairs,
    Relation,
    Value,
    became,
    columns_of,
    union,
)
from policyguard.inspectors.sql.walk import Env, Walk, nodes, only, unknown
from policyguard.inspectors.sql.windows import window_frame

_SELECT_PARTS: Final = (
    *("with_", "expressions", "hint", "distinct", "from_", "laterals", "joins", "kind"),
    *("where", "prewhere", "group", "having", "qualify", "windows", "order", "sort"),
    *("distribute", "cluster", "limit", "offset", "locks", "sample", "operation_modifiers"),
    *("settings", "format", "options", "for_"),
)
_DEPTH: Final = 60


def query_relation(walk: Walk, node: exp.Expr, scope: Scope | None, env: Env) -> Relation:
    """The relation that a query returns; everything it reads is noted on the way.

    Args:
        walk: collects what is read.
        node: SELECT, a set operation, VALUES or one of them in brackets.
        scope: what the place of the query sees, for correlated names.
        env: the CTEs that can be named.

    Raises:
        Doubt: a part that isn't understood.
    """
    walk.spend(10)
    if isinstance(node, exp.Select):
        return _select(walk, node, scope, env)
    if isinstance(node, exp.SetOperation):
        return _combined(walk, node, scope, env)
    if isinstance(node, exp.Subquery):
        return _bracketed(walk, node, scope, env)
    if isinstance(node, exp.Values):
        return values_relation(walk, node, scope, env)
    if isinstance(node, exp.Pivot):
        inner = Scope(walk.traits, scope)
        env = with_commons(walk, node, env)
        shape = add_source(walk, node.this, inner, env)
        relation = pivoted(walk, node, inner.seen, inner, env)
        columns = projected(walk, [exp.Star()], Scope(walk.traits, seen=[Seen("", relation)]), env)
        return Relation(columns, shape=shape | relation.shape)
    if isinstance(node, exp.Table):
        inner = Scope(walk.traits, scope)
        shape = add_source(walk, node, inner, env)
        columns = projected(walk, [exp.Star()], inner, env)
        return Relation(columns, shape=shape)
    raise unknown(node)


def _bracketed(walk: Walk, node: exp.Expr, scope: Scope | None, env: Env) -> Relation:
    """A query in brackets, which may be ordered and cut on its own."""
    only(node, "this", "alias", "with_", "order", "limit", "offset")
    env = with_commons(walk, node, env)
    walk.claim(node.args.get("alias"))
    relation = walk.query(node.this, scope, env)
    return _ordered(walk, node, relation, scope, env)


def _combined(walk: Walk, node: exp.SetOperation, scope: Scope | None, env: Env) -> Relation:
    """UNION, INTERSECT and EXCEPT: columns by position, or by name where the text says so."""
    only(node, "with_", "this", "expression", "distinct", "by_name", "order", "limit", "offset")
    env = with_commons(walk, node, env)
    chain: list[exp.SetOperation] = []
    first: exp.Expr = node
    while isinstance(first, exp.SetOperation) and (first is node or not first.args.get("with_")):
        if first is not node:
            only(first, "this", "expression", "distinct", "by_name")
        chain.append(first)
        first = first.this
    relation = walk.query(first, scope, env)
    for operation in reversed(chain):
        other = walk.query(operation.expression, scope, env)
        relation = _merged(operation, relation, other)
    return _ordered(walk, node, relation, scope, env)


def _merged(operation: exp.SetOperation, left: Relation, right: Relation) -> Relation:
    shape = left.shape | right.shape
    if not isinstance(operation, exp.Union):
        # Which rows remain tells what is on the other side.
        sides = union(value for _, value in [*left.columns, *right.columns])
        shape |= columns_of(sides)
    if isinstance(operation, exp.Except):
        return Relation(left.columns, shape=shape)
    if operation.args.get("by_name"):
        names = list(dict.fromkeys(name for name, _ in [*left.columns, *right.columns]))
        pairs = [[side.named(name) for side in (left, right)] for name in names]
        columns = [
            (name, Value(union(value for value in pair if value is not None)))
            for name, pair in zip(names, pairs, strict=True)
        ]
        return Relation(columns, shape=shape)
    if len(left.columns) != len(right.columns):
        raise Doubt("the sides of a set operation don't have the same number of columns")
    columns = [
        (name, Value(union([value, other])))
        for (name, value), (_, other) in zip(left.columns, right.columns, strict=True)
    ]
    return Relation(columns, shape=shape)


def _ordered(
    walk: Walk, node: exp.Expr, relation: Relation, scope: Scope | None, env: Env
) -> Relation:
    """ORDER BY and LIMIT over a result: names are those of its columns."""
    inner = Scope(walk.traits, scope, seen=[Seen("", relation)])
    shape = _order(walk, node.args.get("order"), inner, env, relation.columns)
    shape |= _limits(walk, node, inner, env)
    return Relation(relation.columns, shape=relation.shape | shape)


def values_relation(walk: Walk, node: exp.Expr, scope: Scope | None, env: Env) -> Relation:
    """VALUES: the rows' values by position."""
    only(node, "expressions", "alias")
    inner = Scope(walk.traits, scope)
    rows = [
        list(row.expressions) if isinstance(row, exp.Tuple) else [row] for row in node.expressions
    ]
    width = max((len(row) for row in rows), default=0)
    if any(len(row) != width for row in rows):
        raise Doubt("the rows of VALUES don't have the same number of columns")
    cells = [[walk.value(cell, inner, env) for cell in row] for row in rows]
    columns: Columns = [
        (f"column{i + 1}", Value(union(row[i] for row in cells))) for i in range(width)
    ]
    return Relation(columns)


def _select(walk: Walk, node: exp.Select, outer: Scope | None, env: Env) -> Relation:
    only(node, *_SELECT_PARTS)
    if node.args.get("kind") not in {None, "STRUCT"}:
        raise unknown(node)
    walk.claim(node.args.get("hint"))
    env = with_commons(walk, node, env)
    scope = Scope(walk.traits, outer)
    shape = frozenset[str]()
    source = node.args.get("from_")
    if source is not None:
        shape |= add_source(walk, source.this, scope, env)
    for lateral in node.args.get("laterals") or ():
        shape |= add_source(walk, lateral, scope, env)
    shape |= join_all(walk, node.args.get("joins") or [], scope, env)
    walk.claim(*nodes(node.args.get("locks")))
    for sample in nodes(node.args.get("sample")):
        shape |= walk.use(_parts(walk, sample, scope, env), "filter")
    aliases = _aliases(walk, node, scope, env)
    if walk.traits.forward_aliases:
        scope.aliases = aliases
    for window in node.args.get("windows") or ():
        only(window, "this", "partition_by", "order", "spec", "alias", "over", "first")
        scope.windows[walk.fold(window.this)] = window_frame(walk, window, scope, env)
    columns = projected(walk, node.expressions, scope, env)
    scope.aliases = aliases if walk.traits.forward_aliases else {}
    for key in ("where", "prewhere"):
        shape |= walk.use(_clause(walk, node.args.get(key), scope, env), "filter")
    scope.aliases = aliases
    shape |= _tail(walk, node, scope, env, columns)
    if _afterthoughts(walk, node):
        # FOR JSON and FOR XML put all rows into one text.
        everything = union(value for _, value in columns)
        columns = [("", Value(became(everything, "derived")))]
    if node.args.get("kind") == "STRUCT":
        columns = [("", Value(union(value for _, value in columns), tuple(columns)))]
    return Relation(columns, shape=shape)


def _afterthoughts(walk: Walk, node: exp.Select) -> bool:
    """Clauses at the end that name no column; whether one puts the result into one text."""
    for key in ("settings", "format", "options", "for_"):
        for part in nodes(node.args.get(key)):
            if any(isinstance(one, exp.Query | exp.Func) for one in part.walk()):
                raise unknown(part)
            walk.claim(part)
    return node.args.get("for_") is not None


def _tail(walk: Walk, node: exp.Select, scope: Scope, env: Env, columns: Columns) -> frozenset[str]:
    """The clauses after WHERE; they see the names of the select list."""
    shape = _group(walk, node.args.get("group"), scope, env, columns)
    for key in ("having", "qualify"):
        shape |= walk.use(_clause(walk, node.args.get(key), scope, env), "filter")
    distinct = node.args.get("distinct")
    if distinct is not None:
        only(distinct, "on", "expressions")
        for part in [*nodes(distinct.args.get("on")), *distinct.expressions]:
            shape |= walk.use(_keys(walk, part, scope, env, columns), "order")
    for key in ("order", "sort", "distribute", "cluster"):
        shape |= _order(walk, node.args.get(key), scope, env, columns)
    return shape | _limits(walk, node, scope, env)


def _aliases(
    walk: Walk, node: exp.Select, scope: Scope, env: Env
) -> dict[str, Callable[[], Value]]:
    """The names of the select list, each evaluated when something asks for it."""
    busy: set[int] = set()

    def ask(part: exp.Expr) -> Callable[[], Value]:
        def answer() -> Value:
            if id(part) in busy:
                return Value()
            if len(busy) > _DEPTH:
                raise Doubt("names of the select list are nested too deep")
            busy.add(id(part))
            try:
                return walk.value(part, scope, env)
            finally:
                busy.discard(id(part))

        return answer

    named = [part for part in node.expressions if isinstance(part, exp.Alias)]
    if walk.traits.name == "clickhouse":
        # There a name can be given anywhere inside an expression.
        inside = node.find_all(exp.Alias)
        named = [part for part in inside if part.find_ancestor(exp.Select) is node]
    found: dict[str, list[Callable[[], Value]]] = {}
    for part in named:
        found.setdefault(walk.fold(part.args["alias"]), []).append(ask(part.this))
    return {name: _all_of(asks) for name, asks in found.items()}


def _all_of(asks: list[Callable[[], Value]]) -> Callable[[], Value]:
    if len(asks) == 1:
        return asks[0]
    return lambda: Value(union(ask() for ask in asks))


def _clause(walk: Walk, clause: exp.Expr | None, scope: Scope, env: Env) -> Pairs:
    if clause is None:
        return frozenset()
    only(clause, "this")
    return walk.value(clause.this, scope, env).sources


def _parts(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> Pairs:
    parts = [part for value in node.args.values() for part in nodes(value)]
    return union(walk.value(part, scope, env) for part in parts)


def _group(
    walk: Walk, group: exp.Expr | None, scope: Scope, env: Env, columns: Columns
) -> frozenset[str]:
    if group is None:
        return frozenset()
    only(group, "expressions", "grouping_sets", "cube", "rollup", "totals", "all")
    if group.args.get("all"):
        keys = [value for _, value in columns]
        return walk.use(became(union(keys), "derived"), "group")
    shape = frozenset[str]()
    for key in ("expressions", "grouping_sets", "cube", "rollup"):
        for part in nodes(group.args.get(key)):
            shape |= walk.use(_keys(walk, part, scope, env, columns), "group")
    return shape


def _order(
    walk: Walk, order: exp.Expr | None, scope: Scope, env: Env, columns: Columns
) -> frozenset[str]:
    if order is None:
        return frozenset()
    only(order, "expressions", "this")
    shape = frozenset[str]()
    for part in order.expressions:
        key = part.this if isinstance(part, exp.Ordered) else part
        plain = isinstance(key, exp.Column) and not key.args.get("table")
        alias = scope.aliases.get(walk.fold(key.this)) if plain else None
        if alias is not None:
            # A plain name in ORDER BY is first of all one of the select list.
            walk.claim(key)
            shape |= walk.use(alias().sources, "order")
        else:
            shape |= walk.use(_keys(walk, part, scope, env, columns), "order")
    return shape


def _keys(walk: Walk, part: exp.Expr, scope: Scope, env: Env, columns: Columns) -> Pairs:
    """The sources of a sort or group key: a number is a column of the select list."""
    key = part.this if isinstance(part, exp.Ordered) else part
    if isinstance(part, exp.Ordered):
        only(part, "this", "desc", "nulls_first")
    if isinstance(key, exp.Literal) and not key.is_string:
        place = int(key.name) - 1 if key.name.isdigit() else -1
        return columns[place][1].sources if 0 <= place < len(columns) else frozenset()
    if isinstance(key, exp.Var):
        return union(value for _, value in columns)
    return walk.value(key, scope, env).sources


def _limits(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> frozenset[str]:
    """LIMIT, OFFSET and FETCH may hold a subquery."""
    shape = frozenset[str]()
    for key in ("limit", "offset"):
        clause = node.args.get(key)
        if clause is None:
            continue
        only(clause, "this", "expression", "expressions", "count", "direction", "limit_options")
        options = clause.args.get("limit_options")
        if options is not None:
            only(options, "rows", "percent", "with_ties")
        parts = [clause.args.get(name) for name in ("this", "expression", "count")]
        parts += clause.args.get("expressions") or []
        for part in parts:
            if isinstance(part, exp.Expr):
                shape |= walk.use(walk.value(part, scope, env).sources, "filter")
    return shape
