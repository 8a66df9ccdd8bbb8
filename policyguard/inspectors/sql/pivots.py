"""PIVOT and UNPIVOT: columns whose names come from values, or values from columns.

Layer: inspectors. Start reading at `pivoted`.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql.projection import matching
from policyguard.inspectors.sql.scope import Doubt, Scope, Seen, whole_row
from policyguard.inspectors.sql.values import Columns, Relation, Value, became, columns_of, union
from policyguard.inspectors.sql.walk import Env, Walk, nodes, only, unknown

_PARTS: Final = (
    *("this", "alias", "with_", "expressions", "fields", "unpivot", "using", "group", "columns"),
    *("include_nulls", "into", "identify_pivot_strings", "prefixed_pivot_columns"),
    *("pivot_column_naming", "value_columns_first"),
)


def pivoted(walk: Walk, node: exp.Expr, seen: list[Seen], scope: Scope, env: Env) -> Relation:
    """What PIVOT or UNPIVOT makes of the relations before it.

    Raises:
        Doubt: a form that isn't understood, or a table whose columns aren't all known.
    """
    only(node, *_PARTS)
    for one in seen:
        walk.read(one, whole_row(one.relation))
    columns: Columns = [column for one in seen for column in one.relation.columns]
    inner = Scope(scope.traits, scope.parent, seen=seen)
    if node.args.get("unpivot"):
        return _unpivoted(walk, node, columns, inner)
    walk.claim(*nodes(node.args.get("columns")))
    used: set[str] = set()
    for key in ("expressions", "fields", "using", "group"):
        for part in nodes(node.args.get(key)):
            below = part.expressions if isinstance(part, exp.Group) else [part]
            for key_part in below:
                used |= walk.use(walk.value(key_part, inner, env).sources, "group")
    everything = Value(became(union(value for _, value in columns), "derived"))
    made = _made_columns(walk, node)
    if made is not None and all(one.relation.unlisted is None for one in seen):
        named, count = made
        stay = _staying(walk, node, columns, named)
        if stay is not None:
            shape = columns_of(everything.sources)
            return Relation([*stay, *([("", everything)] * count)], shape=shape)
    # A column that no part of PIVOT names stays as it is; the others have names made of values.
    kept = [(name, value) for name, value in columns if not columns_of(value.sources) & used]
    return Relation(
        [*kept, *((name, value) for name, value in columns if (name, value) not in kept)],
        unlisted=lambda _: everything,
        shape=columns_of(everything.sources),
        size_known=False,
    )


def _made_columns(walk: Walk, node: exp.Expr) -> tuple[set[str], int] | None:
    """The names that PIVOT uses up, and how many columns it makes; None when that can't be told.

    It can where the values are listed as plain literals: one column for each and each total.
    """
    fields, totals = nodes(node.args.get("fields")), list(nodes(node.args.get("expressions")))
    if node.args.get("using"):
        fields, totals = totals, list(nodes(node.args.get("using")))
    keys = list(fields)
    if len(keys) != 1 or not isinstance(keys[0], exp.In) or not totals:
        return None
    values = keys[0].expressions
    literals = {one.sql() for one in values if isinstance(one, exp.Literal)}
    if not values or len(literals) != len(values) or not isinstance(keys[0].this, exp.Column):
        return None
    if any(isinstance(one, exp.Star) for part in totals for one in part.walk()):
        return None
    named = {
        walk.fold(column.this).casefold()
        for part in [keys[0].this, *totals]
        for column in part.find_all(exp.Column)
    }
    return named, len(values) * len(totals)


def _staying(walk: Walk, node: exp.Expr, columns: Columns, named: set[str]) -> Columns | None:
    """The columns by which PIVOT groups: those it is told, or those that it doesn't use."""
    group = node.args.get("group")
    if group is None:
        return [column for column in columns if column[0].casefold() not in named]
    if any(not isinstance(part, exp.Column) for part in group.expressions):
        return None
    keys = [walk.fold(part.this).casefold() for part in group.expressions]
    found = [[column for column in columns if column[0].casefold() == key] for key in keys]
    return [one[0] for one in found] if all(len(one) == 1 for one in found) else None


def _unpivoted(walk: Walk, node: exp.Expr, columns: Columns, scope: Scope) -> Relation:
    """Each listed column becomes rows of a name and a value."""
    key, value, listed = _unpivot_parts(walk, node, scope, columns)
    low = {name.casefold() for name, _ in listed}
    kept = [column for column in columns if column[0].casefold() not in low]
    sources = Value(union(one for _, one in listed))
    made: Columns = [(key, Value()), (value, sources)]
    if node.args.get("value_columns_first"):
        made.reverse()
    return Relation([*kept, *made], shape=columns_of(sources.sources))


def _unpivot_parts(
    walk: Walk, node: exp.Expr, scope: Scope, columns: Columns
) -> tuple[str, str, Columns]:
    fields = node.args.get("fields") or []
    into = node.args.get("into")
    if fields:
        if len(fields) != 1 or len(node.expressions) != 1:
            raise unknown(node)
        key, value = fields[0].this, node.expressions[0]
        parts = fields[0].expressions
    else:
        parts = node.expressions
        key = into.this if into is not None else exp.to_identifier("name")
        value = _one_value(into)
    walk.claim(into)
    listed: Columns = []
    for part in parts:
        if isinstance(part, exp.Columns):
            listed += matching(walk, part, columns)
            continue
        if not isinstance(part, exp.Column | exp.Identifier):
            raise Doubt("UNPIVOT of something that isn't a column")
        name = walk.fold(_plain(part))
        listed.append((name, walk.value(part, scope, Env())))
    return walk.fold(_plain(key)), walk.fold(_plain(value)), listed


def _one_value(into: exp.Expr | None) -> exp.Expr:
    """The name of the value column."""
    if into is None:
        return exp.to_identifier("value")
    only(into, "this", "expressions")
    if len(into.expressions) != 1:
        raise unknown(into)
    return _plain(into.expressions[0])


def _plain(part: exp.Expr) -> exp.Expr:
    return part.this if isinstance(part, exp.Column) else part
