"""Where denied columns stand in a statement, and whether they are only carried to its result.

Layer: inspectors. Start reading at `places_of`. The inspector's own walk is listened to, so what a
name means is decided in one place only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from policyguard.inspectors.sql.commons import with_commons
from policyguard.inspectors.sql.inspection import new_walk
from policyguard.inspectors.sql.scope import Scope, Seen
from policyguard.inspectors.sql.sources import add_source, join_all
from policyguard.inspectors.sql.statement import statement_of
from policyguard.inspectors.sql.values import Relation, Value
from policyguard.inspectors.sql.walk import Env, Made, Walk

if TYPE_CHECKING:
    from policyguard.inspectors.sql.catalog import Catalog
    from policyguard.inspectors.sql.traits import Traits

_AROUND: Final = (exp.Paren, exp.Cast, exp.TryCast)
_CARRIERS: Final = (*_AROUND, exp.Alias, exp.Subquery, exp.Select, exp.SetOperation)


class Used(Exception):  # noqa: N818 - it is an answer: the statement can't be rewritten
    """A denied column isn't only carried to the result."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One column that a star stands for.

    Attributes:
        name: its name.
        owner: the relation it is written with; "" where none is needed.
        columns: the base columns that have to be NULL there; empty if it stays.
    """

    name: str
    owner: str
    columns: frozenset[str] = frozenset()


@dataclass(slots=True)
class Places:
    """Where a tree has to be changed. Nodes are numbered in the order of `walk()`.

    Attributes:
        nulls: column references that become NULL, with their base columns.
        stars: stars that have to be spelled out, with the columns they stand for.
    """

    nulls: dict[int, frozenset[str]] = field(default_factory=dict)
    stars: dict[int, list[Cell]] = field(default_factory=dict)


def places_of(
    tree: exp.Expr,
    traits: Traits,
    catalog: Catalog,
    made: dict[tuple[str, ...], Made],
    denied: frozenset[str],
) -> Places:
    """Where denied columns stand in a statement.

    Args:
        tree: the statement's; spoilt by the walk.
        traits: of its dialect.
        catalog: what is known about tables.
        made: relations of earlier statements of the connection.
        denied: base columns.

    Raises:
        Used: one of them isn't only carried to the result.
        Doubt: the statement isn't understood.
    """
    walk = new_walk(traits, catalog, made)
    listener = _Listener(walk, denied, list(tree.walk()))
    statement_of(walk, tree)
    return listener.places


class _Listener:
    """Hears every value and query that a walk evaluates.

    INVARIANT: all nodes it knows are kept, so that an id means one node.
    """

    def __init__(self, walk: Walk, denied: frozenset[str], nodes: list[exp.Expr]) -> None:
        self.places = Places()
        self._walk, self._denied, self._nodes = walk, denied, nodes
        self._number = {id(node): number for number, node in enumerate(nodes)}
        self._value, self._query = walk.value, walk.query
        walk.value, walk.query = self.value, self.query

    def value(self, node: exp.Expr, scope: Scope, env: Env) -> Value:
        """As of the walk."""
        found = self._value(node, scope, env)
        if self._of(found):
            self._carried(node, found)
        return found

    def query(self, node: exp.Expr, scope: Scope | None, env: Env) -> Relation:
        """As of the walk."""
        relation = self._query(node, scope, env)
        if any(self._of(value) for _, value in relation.columns):
            self._returned(node, relation, scope, env)
        return relation

    def _of(self, value: Value) -> frozenset[str]:
        return frozenset(column for column, _ in value.sources) & self._denied

    def _all_of(self, value: Value) -> bool:
        """Whether a value is nothing but a denied column's own."""
        own = all(column in self._denied and via == "direct" for column, via in value.sources)
        return own and not value.fields

    def _carried(self, node: exp.Expr, found: Value) -> None:
        """A value that holds a denied column: a name, or what hands it on unchanged, on its way."""
        number = self._number.get(id(node))
        if number is None:
            # A view's definition: it can't be changed.
            raise Used
        if not _on_its_way(node):
            raise Used
        if type(node) is exp.Column and isinstance(node.this, exp.Identifier):
            # Of several columns below UNION ALL some may stay; the others become NULL there.
            if self._all_of(found):
                self.places.nulls[number] = self._of(found)
        elif not isinstance(node, _CARRIERS):
            raise Used

    def _returned(self, node: exp.Expr, relation: Relation, scope: Scope | None, env: Env) -> None:
        """A query whose result holds a denied column: no row may depend on it."""
        if id(node) not in self._number:
            raise Used
        if not _keeps_all_rows(node):
            raise Used
        if isinstance(node, exp.SetOperation):
            below: exp.Expr = node
            while isinstance(below, exp.SetOperation):
                if not _keeps_all_rows(below.expression):
                    raise Used
                below = below.this
        elif isinstance(node, exp.Select):
            if any(node.args.get(key) for key in ("distinct", "for_", "kind")):
                raise Used
            self._spread(node, relation, scope, env)
        elif not isinstance(node, exp.Subquery):
            raise Used

    def _spread(self, node: exp.Select, relation: Relation, outer: Scope | None, env: Env) -> None:
        """Spell out the stars of a select list that hold denied columns."""
        if not any(map(_is_star, node.expressions)):
            return
        inner = self._sources(node, outer, env)
        lists = [self._cells(part, inner) if _is_star(part) else None for part in node.expressions]
        names = [name for name, _ in relation.columns]
        at = 0
        for part, cells in zip(node.expressions, lists, strict=True):
            if cells is None:
                at += 1
                continue
            own = [cell.name for cell in cells]
            if names[at : at + len(own)] != own:
                raise Used
            at += len(own)
            if any(cell.columns for cell in cells):
                self.places.stars[self._number[id(part)]] = cells
        if at != len(names):
            raise Used

    def _sources(self, node: exp.Select, outer: Scope | None, env: Env) -> Scope:
        """What the select list of a query sees in FROM."""
        walk = self._walk
        inner = Scope(walk.traits, outer)
        env = with_commons(walk, node, env)
        source = node.args.get("from_")
        if source is not None:
            add_source(walk, source.this, inner, env)
        for lateral in node.args.get("laterals") or ():
            add_source(walk, lateral, inner, env)
        join_all(walk, node.args.get("joins") or [], inner, env)
        return inner

    def _cells(self, part: exp.Expr, scope: Scope) -> list[Cell]:
        """The columns of one star, each with the relation it belongs to."""
        star = part if isinstance(part, exp.Star) else part.this
        if any(star.args.get(key) for key in ("replace", "rename")):
            raise Used
        seen = scope.seen
        if star is not part:
            fold = self._walk.fold
            path = tuple(
                fold(name)
                for name in (part.args.get(key) for key in ("catalog", "db", "table"))
                if isinstance(name, exp.Expr)
            )
            seen = scope.relations(path)
        names = [one.alias.casefold() for one in scope.seen]
        if len(set(names)) != len(names) or "" in names:
            raise Used
        if scope.flat is not None and seen is scope.seen:
            cells = [self._flat(scope, name, value) for name, value in scope.flat]
        else:
            cells = [
                self._cell(one, name, value) for one in seen for name, value in one.relation.columns
            ]
        dropped = {_last(one).name.casefold() for one in star.args.get("except_") or ()}
        return [cell for cell in cells if cell.name.casefold() not in dropped]

    def _flat(self, scope: Scope, name: str, value: Value) -> Cell:
        """A column that `*` shows after a join with USING or NATURAL."""
        if scope.merged.get(name) is value:
            return Cell(name, "")
        owners = [one for one in scope.seen if one.relation.named(name) is value]
        if len(owners) != 1:
            raise Used
        return self._cell(owners[0], name, value)

    def _cell(self, owner: Seen, name: str, value: Value) -> Cell:
        same = [own for own, _ in owner.relation.columns if own.casefold() == name.casefold()]
        if not name or len(same) != 1:
            raise Used
        # A subquery's column becomes NULL inside of it, and keeps its name.
        denied = self._of(value) if owner.relation.base else frozenset()
        if denied and not self._all_of(value):
            raise Used
        return Cell(name, owner.alias, denied)


def _keeps_all_rows(node: exp.Expr) -> bool:
    """Whether a query is no side of a set operation that compares rows or goes by names."""
    around = node.parent
    while isinstance(around, exp.Subquery):
        around = around.parent
    while isinstance(around, exp.SetOperation):
        plain = isinstance(around, exp.Union) and around.args.get("distinct") is False
        if not plain or around.args.get("by_name"):
            return False
        around = around.parent
    return True


def _is_star(part: exp.Expr) -> bool:
    return isinstance(part, exp.Star) or (
        isinstance(part, exp.Column) and isinstance(part.this, exp.Star)
    )


def _last(part: exp.Expr) -> exp.Expr:
    return part.this if isinstance(part, exp.Column) else part


def _on_its_way(node: exp.Expr) -> bool:
    """Whether a value goes into a select list or RETURNING as it is."""
    child, parent = node, node.parent
    while isinstance(parent, (*_AROUND, exp.Alias)) and child.arg_key == "this":
        child, parent = parent, parent.parent
    return isinstance(parent, exp.Select | exp.Returning) and child.arg_key == "expressions"
