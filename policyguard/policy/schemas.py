"""What a database holds by structure: tables, columns and views, and the labels it states itself.

Layer: policy. Where it is read from stands in `policyguard.catalogs`; what it means for SQL in
`policyguard.inspectors.sql.catalog`, and for labels in `policyguard.policy.schemamap`. Start
reading at `Schema`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

from policyguard.policy.flow import RAW, Form


class Stated(NamedTuple):
    """A label that the database, dbt or a fides dataset states about a column.

    Attributes:
        data: data category.
        form: closed under implication; empty = raw.
    """

    data: str
    form: Form = RAW


@dataclass(frozen=True, slots=True)
class SchemaColumn:
    """One column.

    Attributes:
        type: as the database writes it, or "".
        labels: what is stated about it; empty if nothing is.
        leads_to: the table that a foreign key of this column leads to, or "".
        key: the column is the primary key of its table, alone.
        comment: what people wrote beside it; only to guess from, never kept or shown.
    """

    type: str = ""
    labels: tuple[Stated, ...] = ()
    leads_to: str = ""
    key: bool = False
    comment: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SchemaTable:
    """One table or view.

    Attributes:
        name: dotted, as the database spells it.
        columns: by name, in their order.
        view: whether it is defined by a query.
        query: that query, "" where it isn't known: then nobody knows what it holds.
        names: the view's own names for the first columns of its query, where it has some.
        complete: no other columns exist.
        part_of: tables whose rows these are too: of a partition or an heir.
        recipient: what is written here leaves to this recipient, or "".
        purpose: the purpose the rows were made for, or "".
        described: somebody said what every listed column holds; one without a label is clean.
    """

    name: str
    columns: Mapping[str, SchemaColumn]
    view: bool = False
    query: str = ""
    names: tuple[str, ...] = ()
    complete: bool = True
    part_of: tuple[str, ...] = ()
    recipient: str = ""
    purpose: str = ""
    described: bool = False

    @property
    def last(self) -> str:
        """The name without schema and database, folded."""
        return last_of(self.name)

    def labelled(self) -> bool:
        """Whether anything is stated about it."""
        stated = any(column.labels for column in self.columns.values())
        return self.described or bool(self.recipient) or stated


@dataclass(frozen=True)
class Schema:
    """The structure of a database. Immutable; `version` is a digest of all of it.

    Attributes:
        tables: tables and views by name.
        dialect: of the definitions of its views, or "".
        search_path: schemas in which a bare name is looked up, the first first. Empty when it
            isn't known: then a bare name means every table of that name.
        views_known: whether views are told from tables. A list of columns alone doesn't do that.
        problems: what was stated and can't be used as it stands; names only.
    """

    tables: Mapping[str, SchemaTable] = field(default_factory=dict)
    dialect: str = ""
    search_path: tuple[str, ...] = ()
    views_known: bool = True
    problems: tuple[str, ...] = ()

    @cached_property
    def version(self) -> str:
        """SHA-256 of everything but the problems. Cost: O(columns), once."""
        digest = sha256(repr((self.dialect, self.search_path, self.views_known)).encode())
        for name in sorted(self.tables):
            table = self.tables[name]
            columns = [
                (column, one.type, one.labels and _plain(one.labels), one.leads_to, one.key)
                for column, one in table.columns.items()
            ]
            rest = (table.view, table.query, table.names, table.complete, table.part_of)
            said = (table.recipient, table.purpose, table.described)
            digest.update(repr((name, columns, rest, said)).encode())
        return digest.hexdigest()

    @cached_property
    def _by_last(self) -> Mapping[str, tuple[SchemaTable, ...]]:
        found: dict[str, list[SchemaTable]] = {}
        for table in self.tables.values():
            found.setdefault(table.last, []).append(table)
        return {last: tuple(tables) for last, tables in found.items()}

    def fitting(self, name: str) -> tuple[SchemaTable, ...]:
        """The tables that a name means, with or without its schema, in either direction."""
        parts = name.casefold().split(".")
        return tuple(t for t in self._by_last.get(parts[-1], ()) if _agree(t.name, parts))

    def family(self, name: str) -> tuple[SchemaTable, ...]:
        """The tables that a name means, those they are parts of, and their other parts.

        Cost: O(members), once O(tables).
        """
        fits = self.fitting(name)
        if len(fits) == 1:
            return self._families.get(fits[0].name, fits)
        found = (one for fit in fits for one in self._families.get(fit.name, (fit,)))
        return tuple({one.name: one for one in found}.values())

    @cached_property
    def _families(self) -> Mapping[str, tuple[SchemaTable, ...]]:
        """The members of each family of several, by the name of each member."""
        head: dict[str, str] = {}

        def first(name: str) -> str:
            while (above := head.setdefault(name, name)) != name:
                head[name] = head[above]
                name = head[name]
            return name

        for table in self.tables.values():
            for whole in table.part_of:
                if whole in self.tables:
                    head[first(table.name)] = first(whole)
        groups: dict[str, list[SchemaTable]] = {}
        for name in head:
            groups.setdefault(first(name), []).append(self.tables[name])
        families = [tuple(sorted(group, key=lambda one: one.name)) for group in groups.values()]
        return {one.name: family for family in families for one in family}

    @property
    def size(self) -> int:
        """How many columns there are."""
        return sum(len(table.columns) for table in self.tables.values())

    def merged(self, other: Schema) -> Schema:
        """Both: every table, column and label that either has.

        A table of the other fits one of these by its name with or without the schema. Where the two
        disagree, all labels count, and the type and the query that were known first.
        """
        tables = dict(self.tables)
        for table in other.tables.values():
            targets = [one.name for one in self.fitting(table.name)] or [table.name]
            for target in targets:
                known = tables.get(target)
                named = replace(table, name=target)
                tables[target] = named if known is None else _merged(known, named)
        return Schema(
            tables,
            self.dialect or other.dialect,
            self.search_path or other.search_path,
            # Who knows its views vouches for all tables only where it lists them all.
            self.views_known or (other.views_known and self.tables.keys() <= other.tables.keys()),
            tuple(dict.fromkeys((*self.problems, *other.problems))),
        )


def schema_of(tables: Iterable[SchemaTable], dialect: str = "", **more: object) -> Schema:
    """A schema of tables, sorted by name; two of one name are merged."""
    found: dict[str, SchemaTable] = {}
    for table in tables:
        known = found.get(table.name)
        found[table.name] = table if known is None else _merged(known, table)
    return replace(Schema(dict(sorted(found.items())), dialect), **more)  # type: ignore[arg-type]  # the fields of Schema by name


def last_of(name: str) -> str:
    """The last part of a dotted name, folded."""
    return name.rsplit(".", 1)[-1].casefold()


def _agree(name: str, parts: list[str]) -> bool:
    pairs = zip(reversed(name.casefold().split(".")), reversed(parts), strict=False)
    return all(a == b for a, b in pairs)


def _plain(labels: tuple[Stated, ...]) -> list[tuple[str, list[str]]]:
    return sorted((label.data, sorted(label.form)) for label in labels)


def _merged(one: SchemaTable, other: SchemaTable) -> SchemaTable:
    columns = dict(one.columns)
    folded = {name.casefold(): name for name in columns}
    for name, column in other.columns.items():
        own = name if name in columns else folded.get(name.casefold(), name)
        known = columns.get(own)
        columns[own] = column if known is None else _both(known, column)
    return replace(
        one,
        columns=columns,
        view=one.view or other.view,
        query=one.query or other.query,
        names=one.names if one.query else other.names,
        complete=one.complete or other.complete,
        part_of=tuple(dict.fromkeys((*one.part_of, *other.part_of))),
        recipient=one.recipient or other.recipient,
        purpose=one.purpose or other.purpose,
        described=one.described or other.described,
    )


def _both(one: SchemaColumn, other: SchemaColumn) -> SchemaColumn:
    return SchemaColumn(
        one.type or other.type,
        tuple(dict.fromkeys((*one.labels, *other.labels))),
        one.leads_to or other.leads_to,
        one.key or other.key,
        one.comment or other.comment,
    )
