"""Which columns a name in an expression reads.

Layer: inspectors. Start reading at `column_value`.
"""

from __future__ import annotations

from sqlglot import exp

from policyguard.inspectors.sql.scope import Doubt, Scope, Seen, whole_row
from policyguard.inspectors.sql.values import EMPTY, Value, became, union
from policyguard.inspectors.sql.walk import Walk, only, unknown, unnamed


def column_value(walk: Walk, node: exp.Expr, scope: Scope) -> Value:
    """What a column reference reads: a column, a field of one, or a whole row.

    Raises:
        Doubt: the name means nothing that is known.
    """
    only(node, "this", "table", "db", "catalog", "join_mark")
    walk.claimed.add(id(node))
    path = tuple(
        walk.fold(part)
        for part in (node.args.get(key) for key in ("catalog", "db", "table"))
        if isinstance(part, exp.Expr)
    )
    if isinstance(node.this, exp.Star):
        walk.claim(node.this)
        return _rows(walk, node, scope, path)
    if not isinstance(node.this, exp.Identifier | exp.Literal):
        raise unknown(node)
    if not path:
        return name_value(walk, node.this, scope)
    return _dotted(walk, node, scope, (*path, walk.fold(node.this)))


def name_value(walk: Walk, node: exp.Expr, scope: Scope) -> Value:
    """What a plain name reads."""
    name = walk.fold(node)
    merged = scope.merged.get(name)
    if merged is not None:
        return merged
    walk.spend(sum(len(part.seen) for part in scope.chain()))
    found = scope.find(name)
    if found:
        values = [walk.read(seen, value) for seen, value in found]
        return values[0] if len(values) == 1 else Value(union(values))
    return _hidden(walk, node, name, [seen for part in scope.chain() for seen in part.seen])


def _dotted(walk: Walk, node: exp.Expr, scope: Scope, path: tuple[str, ...]) -> Value:
    """`relation.column`, `schema.relation.column`, `column.field`, longest relation first."""
    walk.spend(sum(len(part.seen) for part in scope.chain()))
    values: list[Value] = []
    for split in range(len(path) - 1, 0, -1):
        for seen in scope.relations(path[:split]):
            value = _own(walk, seen, path[split])
            if value is not None:
                fields = len(path) > split + 1
                values.append(Value(became(value.sources, "derived")) if fields else value)
        if values:
            break
    relations = scope.relations(path[:-1])
    hidden = path[-1].casefold() in walk.traits.row_id | walk.traits.hidden
    if not values and not (relations and hidden):
        values = _fields(walk, scope, path[0])
    if values:
        return values[0] if len(values) == 1 else Value(union(values))
    if relations:
        return _hidden(walk, node.this, path[-1], relations)
    raise unnamed(node.this, "column")


def _fields(walk: Walk, scope: Scope, name: str) -> list[Value]:
    """The columns and parameters of that name, of which a field is read.

    A whole row doesn't count: what looks like a field that it hasn't may be a function.
    """
    return [
        Value(became(walk.read(seen, value).sources, "derived"))
        for seen, value in scope.find(name)
        if seen is None
        or seen.relation.named(name) is not None
        or seen.relation.unlisted is not None
    ]


def _own(walk: Walk, seen: Seen, name: str) -> Value | None:
    """A relation's column of that name, listed or not."""
    value = seen.relation.named(name)
    if value is None and seen.relation.unlisted is not None:
        value = seen.relation.unlisted(name)
    if value is None:
        value = seen.relation.unnamed()
    return None if value is None else walk.read(seen, value)


def _hidden(walk: Walk, node: exp.Expr, name: str, seen: list[Seen]) -> Value:
    """A column that every table has without listing it; or a string in double quotes."""
    low = name.casefold()
    if low in walk.traits.row_id and seen:
        keys = [Value(union(walk.read(one, value) for one in seen for value in row_keys(one)))]
        return Value(union(keys))
    if low in walk.traits.hidden and seen:
        # Only who may read the whole table may read these; what they hold isn't anybody's data.
        for one in seen:
            walk.read(one, one.relation.row())
        return EMPTY
    if walk.traits.string_names and node.args.get("quoted"):
        return EMPTY
    raise unnamed(node, "column")


def row_keys(seen: Seen) -> list[Value]:
    """The columns that may be another name of the row's key: those declared as integers."""
    typed = seen.relation.types
    if seen.relation.unlisted is not None:
        raise Doubt("the row's key of a table whose columns aren't all known")
    whole = [
        value
        for name, value in seen.relation.columns
        if not typed.get(name) or typed[name].lower().startswith("int")
    ]
    return whole if seen.relation.base else [value for _, value in seen.relation.columns]


def _rows(walk: Walk, node: exp.Expr, scope: Scope, path: tuple[str, ...]) -> Value:
    """`t.*` as an argument: the whole row."""
    relations = scope.relations(path)
    if not relations:
        raise unnamed(node, "table")
    rows = [walk.read(seen, whole_row(seen.relation)) for seen in relations]
    return Value(union(rows))
