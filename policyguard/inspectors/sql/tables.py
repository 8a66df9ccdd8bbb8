"""Which relation a table's name means: a CTE, one the text made, a view, or a base table.

Layer: inspectors. Start reading at `table_relation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from policyguard.inspectors.sql.scope import Doubt
from policyguard.inspectors.sql.values import Relation, Value, union
from policyguard.inspectors.sql.walk import Env, Walk, unnamed

if TYPE_CHECKING:
    from policyguard.inspectors.sql.catalog import Table

_DEPTH: Final = 16


def table_relation(walk: Walk, node: exp.Table, env: Env) -> tuple[Relation, tuple[str, ...]]:
    """The relation that a table's name means, and its folded dotted name.

    Raises:
        Doubt: nothing of that name is known. It is never taken for an empty table.
    """
    path = table_path(walk, node)
    if len(path) == 1:
        common = env.find(path[0])
        if common is not None:
            return walk.name(common), path
        if env.resembles(path[0]) and not walk.catalog.find(path):
            raise unnamed(node.this, "table")
    return named_relation(walk, node, path), path


def named_relation(walk: Walk, node: exp.Table, path: tuple[str, ...]) -> Relation:
    """What the text or the connection made under a name, or the base table, or either.

    Raises:
        Doubt: nothing of that name is known.
    """
    made = find_made(walk, path)
    if made is None or _only_values(made):
        return base_relation(walk, node, path, None)
    walk.expanded = True
    relation, whole, sure = made
    if not whole:
        return base_relation(walk, node, path, relation)
    if sure or not (walk.catalog.find(path) or walk.catalog.is_open(path)):
        return relation
    return _either([base_relation(walk, node, path, None), relation])


def _only_values(made: tuple[Relation, bool, bool]) -> bool:
    """Whether a text put nothing but values of its own into a table: it means what it meant."""
    relation, whole, _ = made
    moved = any(value.sources for _, value in relation.columns)
    altered = relation.unlisted is not None or not relation.size_known
    return not (whole or moved or altered or relation.shape)


def table_path(walk: Walk, node: exp.Table) -> tuple[str, ...]:
    """The folded dotted name of a table."""
    walk.claimed.add(id(node))
    parts = [node.args.get(key) for key in ("catalog", "db", "this")]
    if not isinstance(node.this, exp.Identifier):
        raise unnamed(node, "table")
    return tuple(walk.fold(part) for part in parts if isinstance(part, exp.Identifier))


def find_made(walk: Walk, path: tuple[str, ...]) -> tuple[Relation, bool, bool] | None:
    """What earlier statements of the text made of, or put into, a relation."""
    for own, made in reversed(walk.made.items()):
        short = min(len(own), len(path))
        if own[-short:] != path[-short:]:
            continue
        # `public.visits` is no temporary table `visits`, but where only that is known it may be.
        sure = made.sure and own == path
        if made.query is None:
            return made.relation, made.whole, sure
        if len(walk.views) > _DEPTH:
            raise Doubt("views are nested too deep")
        walk.views.append("")
        try:
            now = walk.query(made.query, None, Env())
        finally:
            walk.views.pop()
        return _joined(made.relation, now), made.whole, sure
    return None


def _joined(then: Relation, now: Relation) -> Relation:
    """What a view held when it was made, and what it holds now."""
    columns = [
        (name, Value(union([value, other])))
        for (name, value), (_, other) in zip(then.columns, now.columns, strict=True)
    ]
    return Relation(columns, base=True, shape=then.shape | now.shape)


def base_relation(
    walk: Walk, node: exp.Table, path: tuple[str, ...], added: Relation | None
) -> Relation:
    """A table or view of the catalog. Several that the name may mean become one."""
    tables = walk.catalog.find(path)
    if not tables:
        if path[-1].casefold() == "dual" and len(path) == 1:
            return Relation([])
        if not walk.catalog.is_open(path):
            raise unnamed(node.this, "table")
        return _open(".".join(path), walk)
    relations = [_view(walk, table) if table.view else _listed(walk, table) for table in tables]
    for table in tables:
        walk.found.tables.add(table.name)
    relation = relations[0] if len(relations) == 1 else _either(relations)
    return relation if added is None else _with_added(relation, added)


def _listed(walk: Walk, table: Table) -> Relation:
    """A base table; the same object each time the statement names it."""
    known = walk.listed.get(table.name)
    if known is None:
        columns = [
            (name, Value(frozenset({(f"{table.name}.{name}", "direct")}))) for name in table.columns
        ]
        unlisted = None if table.complete else _any_column(table.name)
        known = walk.listed[table.name] = Relation(
            columns, base=True, table=table.name, unlisted=unlisted, types=table.columns
        )
    return known


def _open(name: str, walk: Walk) -> Relation:
    """A table that exists, with columns nobody listed."""
    walk.found.tables.add(name)
    return Relation([], base=True, table=name, unlisted=_any_column(name))


def _any_column(table: str) -> Callable[[str], Value]:
    return lambda name: Value(frozenset({(f"{table}.{name}", "direct")}))


def _either(relations: list[Relation]) -> Relation:
    """A name that may mean several tables: a column is that of all of them."""
    names = list(dict.fromkeys(name for one in relations for name, _ in one.columns))
    columns = [
        (
            name,
            Value(union(value for one in relations if (value := one.named(name)) is not None)),
        )
        for name in names
    ]
    opens = [one.unlisted for one in relations if one.unlisted is not None]
    unlisted = (lambda name: Value(union(one(name) for one in opens))) if opens else None
    shape = frozenset[str]().union(*(one.shape for one in relations))
    return Relation(columns, base=True, unlisted=unlisted, shape=shape, size_known=False)


def _with_added(relation: Relation, added: Relation) -> Relation:
    """A table into which the text put other values: its columns hold those too."""
    everything = Value(union(value for name, value in added.columns if not name))
    columns = []
    for name, value in relation.columns:
        more = added.named(name)
        columns.append((name, Value(union([value, everything, *([more] if more else [])]))))
    # An altered table has columns that the catalog doesn't list.
    inner = relation.unlisted or added.unlisted

    def unlisted(name: str) -> Value:
        more = added.named(name)
        base = inner(name) if inner is not None else Value()
        return Value(union([base, everything, *([more] if more else [])]))

    return Relation(
        columns,
        relation.base,
        relation.table,
        unlisted if inner is not None else None,
        relation.shape | added.shape,
        relation.size_known and added.size_known,
        relation.types,
    )


def _view(walk: Walk, table: Table) -> Relation:
    """A view, expanded from its definition.

    INVARIANT: a definition is read in the catalog's own names, not in the CTEs of the statement.
    """
    if table.name in walk.views or len(walk.views) > _DEPTH:
        raise Doubt(f"view `{table.name}` is defined by itself")
    if walk.catalog.dialect not in ("", walk.traits.name):
        # Another database's text may mean something else in this one's language.
        raise Doubt(f"view `{table.name}` is written in another dialect")
    walk.expanded = True
    walk.views.append(table.name)
    try:
        relation = walk.view(table.view)
    finally:
        walk.views.pop()
    names = [walk.traits.folded(name, quoted=True) for name in table.columns]
    return relation.renamed(names) if names else relation
