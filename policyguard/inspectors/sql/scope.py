"""Which column a name means: the relations, aliases and parameters that a place in a query sees.

Layer: inspectors. Start reading at `Scope.find`.

INVARIANT: where a name may mean several things, it means all of them. A name that means nothing
is a doubt, never an empty answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from policyguard.inspectors.sql.traits import Traits
from policyguard.inspectors.sql.values import Columns, Relation, Value, union


class Doubt(Exception):  # noqa: N818 - it is an answer, not an error: the statement is unresolved
    """Something in the statement isn't understood. Carries names and places, never literals."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(slots=True)
class Seen:
    """One relation in FROM under its name.

    Attributes:
        alias: folded name it is called by; "" for none.
        relation: what it holds.
        path: the folded dotted name when no alias hides it.
    """

    alias: str
    relation: Relation
    path: tuple[str, ...] = ()


@dataclass(slots=True)
class Scope:
    """What names mean inside one query, with the queries around it as parents.

    Attributes:
        seen: the relations in FROM, in order.
        aliases: names given in the select list, evaluated when asked for.
        merged: columns that USING or NATURAL made one of.
        flat: what `*` stands for, once USING or NATURAL made columns one.
        inner: the same for joins in brackets that are being joined.
        params: names bound by a lambda.
        windows: named windows and the columns they order and part by.
    """

    traits: Traits
    parent: Scope | None = None
    seen: list[Seen] = field(default_factory=list)
    aliases: dict[str, Callable[[], Value]] = field(default_factory=dict)
    merged: dict[str, Value] = field(default_factory=dict)
    flat: Columns | None = None
    inner: Columns | None = None
    params: dict[str, Value] = field(default_factory=dict)
    windows: dict[str, Value] = field(default_factory=dict)

    def chain(self) -> Iterator[Scope]:
        """This scope and those around it."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def find(self, name: str) -> list[tuple[Seen | None, Value]]:
        """Everything a plain name may mean, nearest scope first.

        Args:
            name: folded by the dialect.

        Returns:
            Each meaning with the relation that owns it (None for an alias or parameter). The
            search ends in the first scope with a listed column spelled so; columns in other
            letter case, columns that may exist in relations with unknown columns, aliases and
            whole rows on the way count too.
        """
        found: list[tuple[Seen | None, Value]] = []
        for scope in self.chain():
            if name in scope.params:
                return [*found, (None, scope.params[name])]
            alias = scope.aliases.get(name)
            if alias is not None:
                found.append((None, alias()))
            hits: list[tuple[Seen | None, Value]] = [
                (seen, value)
                for seen in scope.seen
                if (value := seen.relation.named(name)) is not None
            ]
            spelled = [hit for hit in hits if hit[0] is None or hit[0].relation.spells(name)]
            if spelled:
                return [*found, *spelled]
            found += [*hits, *scope.maybe(name)]
        return found

    def maybe(self, name: str) -> Iterator[tuple[Seen | None, Value]]:
        """Whole rows of that name, and columns that may be there without being listed."""
        for seen in self.seen:
            if seen.alias == name and self.traits.row_names:
                yield seen, whole_row(seen.relation)
            if seen.relation.unlisted is not None:
                yield seen, seen.relation.unlisted(name)
            elif (unnamed := seen.relation.unnamed()) is not None:
                yield seen, unnamed

    def relations(self, path: tuple[str, ...]) -> list[Seen]:
        """The relations that a dotted prefix means: by spelling first, then by letters."""
        for same in (_spelled, _lettered):
            for scope in self.chain():
                hits = [seen for seen in scope.seen if same(seen, path)]
                if hits:
                    return hits
        return []

    def window(self, name: str) -> Value | None:
        """The columns of a named window."""
        for scope in self.chain():
            if name in scope.windows:
                return scope.windows[name]
        return None


def whole_row(relation: Relation) -> Value:
    """A relation's row as one value.

    Raises:
        Doubt: it may have columns that nobody listed.
    """
    if relation.unlisted is not None and relation.base:
        raise Doubt("a whole row of a table whose columns aren't all known")
    row = relation.row()
    if relation.unlisted is None:
        return row
    return Value(union([row, relation.unlisted("")]))


def _spelled(seen: Seen, path: tuple[str, ...]) -> bool:
    if len(path) == 1:
        return seen.alias == path[0]
    return bool(seen.path) and seen.path[-len(path) :] == path[-len(seen.path) :]


def _lettered(seen: Seen, path: tuple[str, ...]) -> bool:
    low = tuple(part.casefold() for part in path)
    if len(path) == 1:
        return seen.alias.casefold() == low[0]
    own = tuple(part.casefold() for part in seen.path)
    return bool(own) and own[-len(low) :] == low[-len(own) :]
