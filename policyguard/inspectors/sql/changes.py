"""What INSERT, UPDATE, DELETE and MERGE read, write and return.

Layer: inspectors. Start reading at `change_relation`.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql.commons import with_commons
from policyguard.inspectors.sql.projection import projected
from policyguard.inspectors.sql.scope import Doubt, Scope, Seen, whole_row
from policyguard.inspectors.sql.sources import add_source, join_all
from policyguard.inspectors.sql.tables import find_made, named_relation, table_path
from policyguard.inspectors.sql.values import Columns, Relation, Value, union
from policyguard.inspectors.sql.walk import Env, Walk, nodes, only, unknown

_OLD_AND_NEW: Final = ("old", "new", "deleted", "inserted")


def change_relation(walk: Walk, node: exp.Expr, env: Env) -> Relation:
    """The rows that a data-changing statement returns; its writes are noted on the way.

    Raises:
        Doubt: a part that isn't understood, or a table that isn't known.
    """
    if isinstance(node, exp.Insert):
        return _insert(walk, node, env)
    if isinstance(node, exp.Update):
        return _update(walk, node, env)
    if isinstance(node, exp.Delete):
        return _delete(walk, node, env)
    if isinstance(node, exp.Merge):
        return _merge(walk, node, env)
    raise unknown(node)


def target_of(walk: Walk, table: exp.Expr, *, may_be_new: bool) -> tuple[Seen, tuple[str, ...]]:
    """The table that is written, under the name that the statement uses for it."""
    if not isinstance(table, exp.Table):
        raise unknown(table)
    only(table, "this", "db", "catalog", "alias", "only", "joins", "hints", "partition")
    walk.claim(*nodes(table.args.get("hints")), *nodes(table.args.get("partition")))
    path = table_path(walk, table)
    made = find_made(walk, path)
    known = walk.catalog.find(path)
    if any(one.view for one in known):
        raise Doubt("a view is written, and the tables behind it can't be told")
    if may_be_new and made is None and not known and not walk.catalog.is_open(path):
        relation = Relation([], base=True, table=".".join(path), unlisted=lambda _: Value())
    else:
        before = set(walk.found.tables)
        relation = named_relation(walk, table, path)
        walk.found.tables = before
    alias = table.args.get("alias")
    name, shown = path[-1], path
    if alias is not None:
        only(alias, "this")
        name, shown = walk.fold(alias.this), ()
    return Seen(name, relation, shown), path


def _insert(walk: Walk, node: exp.Insert, env: Env) -> Relation:
    only(
        node,
        *("with_", "this", "expression", "conflict", "returning", "overwrite", "alternative"),
        *("ignore", "by_name", "default", "hint", "exists"),
    )
    walk.claim(node.args.get("hint"))
    env = with_commons(walk, node, env)
    into, names = _into(walk, node.this)
    careful = node.args.get("conflict") is not None or node.args.get("returning") is not None
    target, path = target_of(walk, into, may_be_new=not careful)
    given = node.args.get("expression")
    columns: Columns = []
    if given is None and not node.args.get("default"):
        raise unknown(node)
    if given is not None:
        columns = walk.query(given, None, env).columns
        own = [] if target.relation.unlisted is not None else target.relation.columns
        by_name = bool(node.args.get("by_name"))
        listed = names or ([] if by_name else [name for name, _ in own])
        columns = [
            (listed[i] if i < len(listed) else name if by_name else "", value)
            for i, (name, value) in enumerate(columns)
        ]
    scope = Scope(walk.traits, seen=[target])
    conflict = node.args.get("conflict")
    if conflict is not None:
        alias = given.args.get("alias") if isinstance(given, exp.Values) else None
        columns = columns + _conflict(walk, conflict, scope, (alias, columns), env)
    _note(walk, path, target, "insert", columns)
    return _returned(walk, node, scope, (target, columns), env)


def _into(walk: Walk, node: exp.Expr) -> tuple[exp.Expr, list[str]]:
    """The target of INSERT and the columns it names."""
    if not isinstance(node, exp.Schema):
        return node, []
    only(node, "this", "expressions")
    walk.claim(*node.expressions)
    return node.this, [
        walk.fold(part.this if isinstance(part, exp.Column) else part) for part in node.expressions
    ]


def _conflict(
    walk: Walk, node: exp.Expr, scope: Scope, row: tuple[exp.Expr | None, Columns], env: Env
) -> Columns:
    """ON CONFLICT and ON DUPLICATE KEY: what would have been inserted is called `excluded`."""
    only(
        node,
        *("duplicate", "expressions", "action", "conflict_keys", "where", "constraint"),
        "index_predicate",
    )
    constraint = node.args.get("constraint")
    if constraint is not None:
        # Which columns it compares isn't in the text: it may be any.
        walk.claim(constraint)
        walk.use(walk.read(scope.seen[0], whole_row(scope.seen[0].relation)).sources, "filter")
    for part in nodes(node.args.get("conflict_keys")):
        walk.use(walk.value(part, scope, env).sources, "filter")
    alias, columns = row
    inserted = Relation(columns, unlisted=lambda _: Value(union(v for n, v in columns if not n)))
    inner = Scope(walk.traits, seen=[*scope.seen, Seen("excluded", inserted)])
    if alias is not None:
        only(alias, "this")
        inner.seen.append(Seen(walk.fold(alias.this), inserted))
    for key in ("where", "index_predicate"):
        for part in nodes(node.args.get(key)):
            walk.use(walk.value(part, inner, env).sources, "filter")
    sets = [_values_function(part) for part in node.expressions]
    return _assigned(walk, sets, inner, env)


def _values_function(part: exp.Expr) -> exp.Expr:
    """MySQL's VALUES(column) is `excluded.column`."""
    for call in part.find_all(exp.Anonymous):
        if call.name.upper() == "VALUES" and len(call.expressions) == 1:
            name = call.expressions[0]
            name = name.this if isinstance(name, exp.Column) else name
            call.replace(exp.Column(this=name, table=exp.to_identifier("excluded")))
    return part


def _assigned(walk: Walk, sets: list[exp.Expr], scope: Scope, env: Env) -> Columns:
    """`column = value` pairs: the columns are written, the values read."""
    columns: Columns = []
    for part in sets:
        if not isinstance(part, exp.EQ):
            raise unknown(part)
        right = part.expression
        if isinstance(right, exp.Column) and right.name.upper() == "DEFAULT" and not right.table:
            walk.claim(right)
            value = Value()
        elif isinstance(right, exp.Query):
            relation = walk.query(right, scope, env)
            value = Value(union(one for _, one in relation.columns))
        else:
            value = walk.value(right, scope, env)
        left = part.this
        for one in left.expressions if isinstance(left, exp.Tuple) else [left]:
            columns.append((_assigned_name(walk, one, scope, env), value))
        walk.claimed.add(id(left))
    return columns


def _assigned_name(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> str:
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier):
        walk.claim(node)
        return walk.fold(node.this)
    if isinstance(node, exp.Identifier):
        return walk.fold(node)
    # A part of a column: the rest of it stays, so it is read as well.
    walk.value(node, scope, env)
    column = node.find(exp.Column)
    if column is None or isinstance(node, exp.Parameter):
        raise unknown(node)
    return walk.fold(column.this)


def _update(walk: Walk, node: exp.Update, env: Env) -> Relation:
    only(node, *("with_", "this", "expressions", "from_", "where", "returning", "order"), "limit")
    env = with_commons(walk, node, env)
    scope, target, path = _changed(walk, node, env)
    columns = _assigned(walk, node.expressions, scope, env)
    _rows(walk, node, scope, env)
    if len(scope.seen) > 1 and node.this.args.get("joins"):
        # MySQL: any of the joined tables may be the one that is written.
        for seen in scope.seen:
            if seen.relation.table:
                _note(walk, tuple(seen.relation.table.split(".")), seen, "update", columns)
    else:
        _note(walk, path, target, "update", columns)
    return _returned(walk, node, scope, (target, columns), env)


def _delete(walk: Walk, node: exp.Delete, env: Env) -> Relation:
    only(node, *("with_", "this", "using", "where", "returning", "order", "limit", "tables"))
    env = with_commons(walk, node, env)
    walk.claim(*nodes(node.args.get("tables")))
    scope, target, path = _changed(walk, node, env)
    _rows(walk, node, scope, env)
    for seen in scope.seen if node.args.get("tables") else [target]:
        _note(walk, path, seen, "delete", [])
    return _returned(walk, node, scope, (target, []), env)


def _changed(walk: Walk, node: exp.Expr, env: Env) -> tuple[Scope, Seen, tuple[str, ...]]:
    """The target and whatever else UPDATE or DELETE looks at."""
    scope = Scope(walk.traits)
    others: list[exp.Expr] = []
    source = node.args.get("from_")
    others += [source.this] if source is not None else []
    others += nodes(node.args.get("using"))
    table = node.this
    if isinstance(table, exp.Table) and len(table.parts) == 1:
        # `UPDATE u SET .. FROM users u`: the target is one of the relations in FROM.
        for other in others:
            add_source(walk, other, scope, env)
        name = walk.fold(table.this)
        same = [one for one in scope.seen if one.alias.casefold() == name.casefold()]
        if same and table.args.get("alias") is None:
            walk.claimed.add(id(table))
            join_all(walk, table.args.get("joins") or [], scope, env)
            own = same[0].path or (tuple(same[0].relation.table.split(".")))
            return scope, same[0], own
        target, path = target_of(walk, table, may_be_new=False)
        scope.seen.insert(0, target)
    else:
        target, path = target_of(walk, table, may_be_new=False)
        scope.seen.append(target)
        for other in others:
            add_source(walk, other, scope, env)
    join_all(walk, table.args.get("joins") or [], scope, env)
    return scope, target, path


def _rows(walk: Walk, node: exp.Expr, scope: Scope, env: Env) -> None:
    """The clauses that say which rows."""
    for part in nodes(node.args.get("where")):
        walk.use(walk.value(part, scope, env).sources, "filter")
    for part in nodes(node.args.get("order")):
        walk.use(walk.value(part, scope, env).sources, "order")
    limit = node.args.get("limit")
    if limit is not None:
        only(limit, "expression")
        walk.use(walk.value(limit.expression, scope, env).sources, "filter")


def _merge(walk: Walk, node: exp.Merge, env: Env) -> Relation:
    only(node, "with_", "this", "using", "on", "whens", "returning")
    env = with_commons(walk, node, env)
    target, path = target_of(walk, node.this, may_be_new=False)
    scope = Scope(walk.traits, seen=[target])
    add_source(walk, node.args["using"], scope, env)
    walk.use(walk.value(node.args["on"], scope, env).sources, "join")
    columns: Columns = []
    for when in node.args["whens"].expressions:
        only(when, "matched", "source", "condition", "then")
        for part in nodes(when.args.get("condition")):
            walk.use(walk.value(part, scope, env).sources, "filter")
        columns += _then(walk, when.args["then"], scope, target, env)
    _note(walk, path, target, "merge", columns)
    return _returned(walk, node, scope, (target, columns), env)


def _then(walk: Walk, then: exp.Expr, scope: Scope, target: Seen, env: Env) -> Columns:
    """One branch of MERGE."""
    if isinstance(then, exp.Var):
        return []
    if isinstance(then, exp.Update):
        only(then, "expressions", "where")
        for part in nodes(then.args.get("where")):
            walk.use(walk.value(part, scope, env).sources, "filter")
        return _assigned(walk, then.expressions, scope, env)
    if not isinstance(then, exp.Insert):
        raise unknown(then)
    only(then, "this", "expression", "where")
    if not isinstance(then.args.get("expression"), exp.Tuple):
        raise unknown(then)
    named = then.this.expressions if isinstance(then.this, exp.Tuple) else []
    walk.claim(*named)
    names = [walk.fold(part.this if isinstance(part, exp.Column) else part) for part in named]
    if not names and target.relation.unlisted is None:
        names = [name for name, _ in target.relation.columns]
    values = [walk.value(part, scope, env) for part in then.expression.expressions]
    return [(names[i] if i < len(names) else "", value) for i, value in enumerate(values)]


def _note(walk: Walk, path: tuple[str, ...], target: Seen, how: str, columns: Columns) -> None:
    name = target.relation.table or ".".join(path)
    walk.found.writes.append((path, name, how, columns))


def _returned(
    walk: Walk, node: exp.Expr, scope: Scope, written: tuple[Seen, Columns], env: Env
) -> Relation:
    """RETURNING: the target's columns hold what was there and what was just written."""
    clause = node.args.get("returning")
    if clause is None:
        return Relation([])
    only(clause, "expressions")
    target, fresh = written
    rows = _freshened(target.relation, Relation(fresh))
    inner = Scope(walk.traits)
    for seen in scope.seen:
        relation = rows if seen is target else seen.relation
        inner.seen.append(Seen(seen.alias, relation, seen.path))
    outer = Scope(walk.traits, seen=[Seen(name, rows) for name in _OLD_AND_NEW])
    inner.parent = outer
    if walk.traits.name != "postgres":
        # Elsewhere `*` stands for the target alone.
        star = exp.Column(this=exp.Star(), table=exp.to_identifier(target.alias, quoted=True))
        parts = [star if isinstance(one, exp.Star) else one for one in clause.expressions]
        walk.claim(*(one for one in clause.expressions if isinstance(one, exp.Star)))
        return Relation(projected(walk, parts, inner, env))
    return Relation(projected(walk, clause.expressions, inner, env))


def _freshened(relation: Relation, fresh: Relation) -> Relation:
    placeless = fresh.unnamed()
    columns = []
    for name, value in relation.columns:
        parts = [value, *([placeless] if placeless else [])]
        more = fresh.named(name)
        columns.append((name, Value(union([*parts, *([more] if more else [])]))))
    inner = relation.unlisted

    def unlisted(name: str) -> Value:
        more = fresh.named(name)
        parts = [more] if more else []
        parts += [placeless] if placeless else []
        return Value(union([*parts, *([inner(name)] if inner else [])]))

    return Relation(
        columns,
        relation.base,
        relation.table,
        unlisted if inner else None,
        relation.shape,
        relation.size_known,
        relation.types,
    )
