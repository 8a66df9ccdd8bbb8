"""Which statement it is, by allow-list, and what it does as a whole.

Layer: inspectors. Start reading at `statement_of`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlglot import exp

from policyguard.inspectors.sql.changes import change_relation, target_of
from policyguard.inspectors.sql.commons import with_commons
from policyguard.inspectors.sql.exports import copied
from policyguard.inspectors.sql.facts import facts_of
from policyguard.inspectors.sql.harmless import harmless
from policyguard.inspectors.sql.migrations import altered, index_made
from policyguard.inspectors.sql.model import Export, Fact, Kind, Link, Output, Statement, Use, Write
from policyguard.inspectors.sql.scope import Doubt
from policyguard.inspectors.sql.tables import table_path
from policyguard.inspectors.sql.values import (
    Columns,
    Pair,
    Relation,
    Value,
    as_sources,
    union,
)
from policyguard.inspectors.sql.walk import Env, Made, Walk, every, nodes, only, unknown
from policyguard.inspectors.sql.words import words

KINDS: Final[dict[type[exp.Expr], Kind]] = {
    exp.Select: "select",
    exp.Union: "select",
    exp.Except: "select",
    exp.Intersect: "select",
    exp.Subquery: "select",
    exp.Values: "select",
    exp.Pivot: "select",
    exp.Insert: "insert",
    exp.Update: "update",
    exp.Delete: "delete",
    exp.Merge: "merge",
    exp.Create: "create",
    exp.Drop: "drop",
    exp.Alter: "alter",
    exp.TruncateTable: "truncate",
    exp.Copy: "copy",
    exp.Export: "copy",
    exp.Transaction: "harmless",
    exp.Commit: "harmless",
    exp.Rollback: "harmless",
    exp.Comment: "harmless",
    exp.Set: "harmless",
    exp.Pragma: "harmless",
    exp.Show: "harmless",
    exp.Use: "harmless",
}
_MADE_KINDS: Final = frozenset({"TABLE", "VIEW"})
_DROPPED_KINDS: Final = frozenset({"TABLE", "VIEW", "INDEX", "SEQUENCE"})
_MAKE_PROPERTIES: Final = frozenset(
    {
        *("TemporaryProperty", "MaterializedProperty", "TransientProperty", "UnloggedProperty"),
        "FileFormatProperty",
        "WithDataProperty",
    }
)
_CONSTRAINTS: Final = words(
    """
    AutoIncrementColumnConstraint CheckColumnConstraint CollateColumnConstraint
    CommentColumnConstraint DefaultColumnConstraint GeneratedAsIdentityColumnConstraint
    NotNullColumnConstraint PrimaryKeyColumnConstraint Reference UniqueColumnConstraint
    """
)


def kind_of(tree: exp.Expr) -> Kind:
    """The kind of a statement; `unknown` when it isn't in the list."""
    return KINDS.get(type(tree), "unknown")


def statement_of(walk: Walk, tree: exp.Expr) -> Statement:
    """What a statement does.

    Raises:
        Doubt: it isn't understood in every part.
    """
    kind = kind_of(tree)
    act = _ACTS.get(kind)
    if act is None:
        raise unknown(tree)
    columns, exports = act(walk, tree)
    _complete(walk, tree)
    facts, links = facts_of(walk, tree)
    return answer(walk, kind, columns=columns, exports=exports, facts=facts, links=links)


def answer(
    walk: Walk,
    kind: Kind,
    *,
    why: str = "",
    columns: Columns = (),  # type: ignore[assignment]  # an empty tuple stands for an empty list
    exports: tuple[Export, ...] = (),
    facts: tuple[Fact, ...] = (),
    links: tuple[Link, ...] = (),
) -> Statement:
    """The public form of what was found."""
    found = walk.found
    return Statement(
        kind=kind,
        status="unresolved" if why else "resolved",
        why=why,
        reads=frozenset(found.reads),
        outputs=tuple(Output(name, as_sources(value.sources)) for name, value in columns),
        predicates=frozenset(column for column, _ in found.uses),
        uses=frozenset(Use(column, how) for column, how in found.uses),
        tables=frozenset(found.tables),
        writes=tuple(
            Write(name, how, tuple(Output(col, as_sources(value.sources)) for col, value in cols))
            for _, name, how, cols in found.writes
        ),
        exports=exports,
        facts=facts,
        links=links,
    )


def remember(walk: Walk) -> None:
    """Let later statements of the text know what this one put where."""
    for path, _, how, columns in walk.found.writes:
        if how not in {"insert", "update", "merge"}:
            continue
        made = walk.made.get(path)
        if made is None:
            walk.made[path] = Made(Relation(list(columns), base=True), whole=False)
        elif made.whole:
            walk.made[path] = Made(_filled(made.relation, columns), whole=True)
        else:
            old = made.relation
            more = Relation(
                [*old.columns, *columns],
                base=True,
                unlisted=old.unlisted,
                size_known=old.size_known,
            )
            walk.made[path] = Made(more, whole=False)


def _filled(relation: Relation, columns: Columns) -> Relation:
    fresh = Relation(list(columns))
    placeless = fresh.unnamed()
    parts = [*([placeless] if placeless else [])]
    mixed = [
        (name, Value(union([value, *parts, *([more] if (more := fresh.named(name)) else [])])))
        for name, value in relation.columns
    ]
    return Relation(
        mixed,
        base=True,
        unlisted=relation.unlisted,
        shape=relation.shape,
        size_known=relation.size_known,
    )


def _complete(walk: Walk, tree: exp.Expr) -> None:
    """INVARIANT: every node that names a column, table or anything else was understood.

    This is the second line: it finds what the walk passed over, also in a later version of the
    parser that puts a name into a new place.
    """
    for node in every(tree):
        kind = type(node)
        if kind is exp.Command or (kind in _NAMES and id(node) not in walk.claimed):
            raise unknown(node)


_NAMES: Final = frozenset(
    {exp.Column, exp.TableColumn, exp.Star, exp.Identifier, exp.Table, exp.Pseudocolumn}
)
Act = Callable[[Walk, exp.Expr], tuple[Columns, tuple[Export, ...]]]


def _select(walk: Walk, tree: exp.Expr) -> tuple[Columns, tuple[Export, ...]]:
    into = None if isinstance(tree, exp.Pivot) else tree.args.get("into")
    if into is None:
        return walk.query(tree, None, Env()).columns, ()
    only(into, "this", "temporary", "unlogged")
    path = table_path(walk, into.this)
    tree.set("into", None)
    relation = walk.query(tree, None, Env())
    _make(walk, path, relation.columns, whole=True)
    return [], ()


def _change(walk: Walk, tree: exp.Expr) -> tuple[Columns, tuple[Export, ...]]:
    return change_relation(walk, tree, Env()).columns, ()


def _alter(walk: Walk, tree: exp.Expr) -> tuple[Columns, tuple[Export, ...]]:
    altered(walk, tree)
    return [], ()


def _create(walk: Walk, tree: exp.Expr) -> tuple[Columns, tuple[Export, ...]]:
    if isinstance(tree.this, exp.Index):
        index_made(walk, tree)
        return [], ()
    only(tree, "with_", "this", "kind", "expression", "exists", "properties", "replace")
    kind = str(tree.args.get("kind") or "").upper()
    if kind not in _MADE_KINDS:
        raise unknown(tree)
    names = {type(one).__name__ for one in _properties(tree)}
    if names - _MAKE_PROPERTIES:
        raise Doubt("a table is made with a property that isn't understood")
    env = with_commons(walk, tree, Env())
    table, columns = tree.this, None
    if isinstance(table, exp.Schema):
        only(table, "this", "expressions")
        columns, table = table.expressions, table.this
    if not isinstance(table, exp.Table):
        raise unknown(tree)
    only(table, "this", "db", "catalog")
    path = table_path(walk, table)
    temporary = "TemporaryProperty" in names or bool(table.this.args.get("temporary"))
    there = bool(tree.args.get("exists")) and not temporary and bool(walk.catalog.find(path))
    query = tree.args.get("expression")
    if query is None:
        if kind == "VIEW" or columns is None:
            raise unknown(tree)
        _declare(walk, path, columns, whole=not there, passing=temporary)
        return [], ()
    relation = walk.query(query, None, env)
    if columns is not None:
        walk.claim(*columns)
        relation = relation.renamed([walk.fold(_name(column)) for column in columns])
    view = query if kind == "VIEW" and env.outer is None and columns is None else None
    if kind == "VIEW" and view is None:
        view = _selfless(walk, tree)
    _make(walk, path, relation.columns, whole=not there, query=view)
    return [], ()


def _selfless(walk: Walk, tree: exp.Expr) -> exp.Expr | None:
    """A view with its own column names or CTEs is only followed while nothing else changes."""
    if walk.made:
        raise unknown(tree)
    return None


def _properties(tree: exp.Expr) -> list[exp.Expr]:
    holder = tree.args.get("properties")
    return list(holder.expressions) if holder is not None else []


def _name(column: exp.Expr) -> exp.Expr:
    return column.this if isinstance(column, exp.ColumnDef | exp.Column) else column


def _make(
    walk: Walk,
    path: tuple[str, ...],
    columns: Columns,
    *,
    whole: bool,
    query: exp.Expr | None = None,
) -> None:
    walk.found.writes.append((path, ".".join(path), "create", columns))
    walk.made.pop(path, None)
    walk.made[path] = Made(Relation(list(columns), base=True), whole=whole, query=query)


def _declare(
    walk: Walk, path: tuple[str, ...], parts: list[exp.Expr], *, whole: bool, passing: bool
) -> None:
    """CREATE TABLE with columns: a new, empty table. A temporary one is no base table."""
    columns: Columns = []
    table = ".".join(path)
    for part in parts:
        if isinstance(part, exp.ColumnDef):
            only(part, "this", "kind", "constraints")
            name = walk.fold(part.this)
            base: Pair = (f"{table}.{name}", "direct")
            columns.append((name, Value() if passing else Value(frozenset({base}))))
            for constraint in nodes(part.args.get("constraints")):
                _plain_constraint(constraint.args.get("kind"))
        elif isinstance(part, exp.LikeProperty):
            columns += _alike(walk, part, table, passing=passing)
        elif not isinstance(part, _TABLE_CONSTRAINTS):
            raise unknown(part)
        if any(isinstance(one, exp.Query | exp.Anonymous) for one in part.walk()):
            raise unknown(part)
        walk.claim(part)
    walk.found.writes.append((path, table, "create", [(name, Value()) for name, _ in columns]))
    if whole:
        walk.made.pop(path, None)
        walk.made[path] = Made(Relation(columns, base=True), whole=True)


_TABLE_CONSTRAINTS: Final = (
    *(exp.PrimaryKey, exp.UniqueColumnConstraint, exp.Constraint, exp.ForeignKey, exp.Check),
    exp.CheckColumnConstraint,
)


def _alike(walk: Walk, part: exp.Expr, table: str, *, passing: bool) -> Columns:
    """`LIKE t`: the columns of another table, without its rows."""
    seen, _ = target_of(walk, part.this, may_be_new=False)
    if seen.relation.unlisted is not None:
        raise Doubt("a table is made like one whose columns aren't all known")
    # Only who may read the whole table may copy its shape.
    walk.read(seen, seen.relation.row())
    names = [name for name, _ in seen.relation.columns]
    if passing:
        return [(name, Value()) for name in names]
    return [(name, Value(frozenset({(f"{table}.{name}", "direct")}))) for name in names]


def _plain_constraint(kind: object) -> None:
    if type(kind).__name__ not in _CONSTRAINTS:
        raise Doubt("a column constraint isn't understood")


def _drop(walk: Walk, tree: exp.Expr) -> tuple[Columns, tuple[Export, ...]]:
    only(
        tree,
        *("kind", "tables", "exists", "temporary", "materialized", "cascade", "restrict", "this"),
        "concurrently",
    )
    if str(tree.args.get("kind") or "").upper() not in _DROPPED_KINDS:
        raise unknown(tree)
    for table in nodes(tree.args.get("tables") or tree.args.get("this")):
        path = table_path(walk, table) if isinstance(table, exp.Table) else ()
        walk.claim(table)
        if path:
            walk.made.pop(path, None)
            walk.found.writes.append((path, ".".join(path), "drop", []))
    return [], ()


def _truncate(walk: Walk, tree: exp.Expr) -> tuple[Columns, tuple[Export, ...]]:
    only(tree, "expressions", "exists", "identity", "option", "is_database")
    if tree.args.get("is_database"):
        raise unknown(tree)
    for table in tree.expressions:
        target, path = target_of(walk, table, may_be_new=True)
        walk.found.writes.append((path, target.relation.table or ".".join(path), "delete", []))
    return [], ()


_ACTS: Final[dict[Kind, Act]] = {
    "select": _select,
    "insert": _change,
    "update": _change,
    "delete": _change,
    "merge": _change,
    "create": _create,
    "drop": _drop,
    "alter": _alter,
    "truncate": _truncate,
    "copy": copied,
    "harmless": harmless,
}
