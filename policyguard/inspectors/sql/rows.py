"""Functions in FROM: they make rows out of what they are given.

Layer: inspectors. Start reading at `add_rows`.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql import functions as known
from policyguard.inspectors.sql.scope import Doubt, Scope, Seen
from policyguard.inspectors.sql.values import Columns, Relation, Value, became, columns_of, union
from policyguard.inspectors.sql.walk import Env, Walk, nodes, only, unknown
from policyguard.inspectors.sql.words import words

# Functions of the parser's own classes that yield one column and never a row of several.
_ONE_COLUMN: Final = frozenset({"ExplodingGenerateSeries", "GenerateSeries"})
_SCALARS: Final = words(
    """
    text varchar char bpchar int integer int4 int8 bigint smallint int2 numeric decimal real float4
    float8 boolean bool uuid date timestamp timestamptz time bytea json jsonb inet
    """
) | {"double precision", "character varying"}


def add_rows(walk: Walk, call: exp.Expr, holder: exp.Expr, scope: Scope, env: Env) -> None:
    """Put a function in FROM into a scope: every column is derived from all it is given.

    Args:
        walk: collects what is read.
        call: the function, or a Table with `ROWS FROM (..)`.
        holder: the node with the alias.
        scope: what stands before it in FROM can be an argument.
        env: the CTEs that can be named.

    Raises:
        Doubt: the function isn't in the table of functions.
    """
    listed_calls = list(nodes(call.args.get("rows_from")))
    calls = [one if isinstance(one, exp.Unnest) else one.this for one in listed_calls] or [call]
    for one in listed_calls:
        if not isinstance(one, exp.Unnest):
            only(one, "this", "alias")
        walk.claimed.add(id(one))
    parts = [part for one in calls for part in _arguments(walk, one)]
    value = Value(became(union(walk.value(part, scope, env) for part in parts), "derived"))
    # How many rows come tells how many elements or words it holds, or the number itself.
    walk.use(value.sources, "join")
    title, names, typed = _names(walk, holder)
    if not title and isinstance(call, exp.Anonymous):
        title = walk.fold(call.name)
    offset = call.args.get("offset")
    fixed = _fixed(walk, call, title, scope) if len(calls) == 1 else None
    listed = names + [walk.fold(column) for column in (fixed or ())[len(names) :]]
    if isinstance(offset, exp.Identifier):
        listed.append(walk.fold(offset))
    elif (offset or holder.args.get("ordinality")) and not len(names) > len(fixed or names):
        listed.append("ordinality")
    columns: Columns = [(column, value) for column in listed]
    exact = typed or fixed is not None
    relation = Relation(
        columns,
        unlisted=None if exact else lambda _: value,
        shape=columns_of(value.sources),
    )
    scope.seen.append(Seen(title, relation))


def column_name(walk: Walk, column: exp.Expr) -> str:
    """A name in an alias's column list, which may declare a type."""
    walk.claim(column)
    return walk.fold(column.this if isinstance(column, exp.ColumnDef) else column)


def _names(walk: Walk, holder: exp.Expr) -> tuple[str, list[str], bool]:
    """Alias, column names, and whether the text declares the columns with their types."""
    alias = holder.args.get("alias")
    if alias is None:
        return "", [], False
    only(alias, "this", "columns")
    title = walk.fold(alias.this) if alias.this is not None else ""
    columns = alias.args.get("columns") or []
    typed = bool(columns) and all(isinstance(column, exp.ColumnDef) for column in columns)
    return title, [column_name(walk, column) for column in columns], typed


def _arguments(walk: Walk, call: exp.Expr) -> list[exp.Expr]:
    """The expressions that a function is given."""
    name = call.name.lower() if isinstance(call, exp.Anonymous) else ""
    if name not in known.ROW_FUNCTIONS and type(call).__name__ not in known.ROW_CLASSES:
        raise Doubt("a function in FROM isn't in the table of functions")
    if isinstance(call, exp.Unnest):
        only(call, "expressions", "alias", "offset", "explode_array")
        walk.claim(*nodes(call.args.get("offset")))
        return call.expressions
    if isinstance(call, exp.JSONTable | exp.OpenJSON | exp.XMLTable):
        given = [*nodes(call.this), *nodes(call.args.get("path"))]
        schema = [*nodes(call.args.get("schema")), *call.expressions]
        if any(isinstance(one, exp.Column | exp.Query) for part in schema for one in part.walk()):
            raise unknown(call)
        only(call, "this", "path", "schema", "expressions", "error_handling", "empty_handling")
        walk.claim(*schema)
        return given
    return [part for key, value in call.args.items() if key != "alias" for part in nodes(value)]


def _fixed(walk: Walk, call: exp.Expr, title: str, scope: Scope) -> tuple[str, ...] | None:
    """The names of a function's columns, if they can be told."""
    name = call.name.lower() if isinstance(call, exp.Anonymous) else ""
    if name in known.JSON_TREES and walk.traits.name == "sqlite":
        return known.JSON_TREES[name]
    if walk.traits.name in {"postgres", "redshift"}:
        if name in known.ONE_COLUMN or type(call).__name__ in _ONE_COLUMN:
            return (title,)
        if isinstance(call, exp.Unnest) and all(
            _flat(walk, one, scope) for one in call.expressions
        ):
            return (title,) if len(call.expressions) == 1 else ("unnest",) * len(call.expressions)
        return known.ROW_FUNCTIONS.get(name) or None
    return None


def _flat(walk: Walk, part: exp.Expr, scope: Scope) -> bool:
    """Whether an array is for certain one of plain values: of rows, UNNEST makes more columns."""
    if isinstance(part, exp.Paren):
        return _flat(walk, part.this, scope)
    if isinstance(part, exp.Cast):
        kind = part.args.get("to")
        return isinstance(kind, exp.DataType) and _plain_array(kind.sql("postgres"))
    if isinstance(part, exp.Array):
        return bool(part.expressions) and all(_plain(one) for one in part.expressions)
    if isinstance(part, exp.Column) and isinstance(part.this, exp.Identifier):
        name, owner = walk.fold(part.this), part.args.get("table")
        alias = walk.fold(owner) if isinstance(owner, exp.Expr) else None
        near = [seen for seen in scope.seen if alias in {None, seen.alias}]
        owners = [seen.relation for seen in near if seen.relation.named(name) is not None]
        return len(owners) == 1 and _plain_array(owners[0].types.get(name, ""))
    return isinstance(part, exp.StringToArray)


def _plain_array(kind: str) -> bool:
    return kind.endswith("[]") and kind.lower().rstrip("[]").split("(")[0].strip() in _SCALARS


def _plain(part: exp.Expr) -> bool:
    if isinstance(part, exp.Cast):
        kind = part.args.get("to")
        return isinstance(kind, exp.DataType) and kind.sql("postgres").lower() in _SCALARS
    return isinstance(part, exp.Literal | exp.Boolean | exp.Neg)
