"""Which tables, columns and views there are: an immutable snapshot with a version.

Layer: inspectors. Start reading at `Catalog`, then `catalog_of`: what a guard knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal

from policyguard.inspectors.sql.words import words
from policyguard.policy.patterns import TablePattern

if TYPE_CHECKING:
    from policyguard.policy.datamap import DataMap
    from policyguard.policy.schemas import Schema, SchemaTable

_SYSTEM: Final[Mapping[str, frozenset[str]]] = {
    # Structure only, no statistics and no texts of sessions: those hold values of people.
    "information_schema": words(
        """
    tables columns schemata views key_column_usage table_constraints referential_constraints
    constraint_column_usage check_constraints sequences routines parameters triggers
    """
    ),
    "pg_catalog": words(
        """
    pg_class pg_attribute pg_namespace pg_type pg_index pg_constraint pg_attrdef
    pg_description pg_enum pg_collation pg_depend pg_am pg_sequence pg_inherits pg_database
    pg_extension pg_opclass pg_range pg_tables pg_views pg_indexes
    """
    ),
    "": frozenset({"sqlite_master", "sqlite_schema"}),
}


@dataclass(frozen=True, slots=True)
class Table:
    """One table or view.

    Attributes:
        name: as the catalog spells it: `users`, `public.users`.
        columns: name to type, in order; a type may be "".
        complete: no other columns exist. When not, `*` can't be expanded.
        view: the defining query of a view, or "".
    """

    name: str
    columns: Mapping[str, str]
    complete: bool = True
    view: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Tables by name. Build it with `from_mapping`, `from_tables` or `from_schema`.

    Attributes:
        tables: by the name the catalog gives them. A view that has labels of its own stands here as
            its query; that its name also means a table with those labels, `find` tells.
        patterns: shapes of names of tables that exist but aren't listed (`raw.*`); their columns
            are open, as in a table that isn't complete.
        functions: own functions that were reviewed, by name, to what they do to a value.
        version: digest of all of this; part of the key of every cached answer.
        search_path: schemas in which a bare name is looked up, in their order; where it isn't
            known, a bare name means every table of that name.
        dialect: in which the queries of its views are written, or "" where it isn't known.
    """

    tables: Mapping[str, Table]
    patterns: tuple[str, ...] = ()
    functions: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    search_path: tuple[str, ...] = ()
    dialect: str = ""
    _by_last: Mapping[str, tuple[Table, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def from_mapping(
        cls,
        columns: Mapping[str, Mapping[str, str]],
        *,
        views: Mapping[str, str] | None = None,
        functions: Mapping[str, str] | None = None,
    ) -> Catalog:
        """A complete catalog: `{table: {column: type}}`, and views by their defining queries."""
        tables = [Table(name, dict(cols)) for name, cols in columns.items()]
        tables += [Table(name, {}, view=text) for name, text in (views or {}).items()]
        return _build(tables, (), functions or {})

    @classmethod
    def from_tables(
        cls,
        tables: Mapping[str, Iterable[str]],
        *,
        complete: bool | Collection[str] = False,
        patterns: Iterable[str] = (),
        functions: Mapping[str, str] | None = None,
    ) -> Catalog:
        """A catalog from what a data map knows.

        Args:
            tables: table name to its known column names.
            complete: whether the tables have no other columns; or the names of those tables.
            patterns: shapes of further tables, with `*`; matched without case.
            functions: reviewed own functions: name to `direct`, `derived`, `hashed`,
                `aggregated` or `encrypted`.
        """
        full = set(tables) if complete is True else set(complete or ())
        made = [Table(name, dict.fromkeys(cols, ""), name in full) for name, cols in tables.items()]
        return _build(made, tuple(patterns), functions or {})

    @classmethod
    def from_schema(
        cls,
        schema: Schema,
        *,
        patterns: Iterable[str] = (),
        functions: Mapping[str, str] | None = None,
    ) -> Catalog:
        """A catalog of everything that a schema holds.

        A view whose query isn't known is left out, so that a query on it is unresolved: a column of
        it may be any column there is.

        Args:
            schema: tables, columns and views.
            patterns: as in `from_tables`.
            functions: as in `from_tables`.
        """
        tables = [_table(one) for one in schema.tables.values() if not one.view or one.query]
        return _build(tables, tuple(patterns), functions or {}, schema)

    def find(self, parts: tuple[str, ...]) -> tuple[Table, ...]:
        """All tables that the dotted name in a text may mean; several when it is ambiguous.

        Args:
            parts: folded, the table's name last. Parts that either side leaves out fit
                everything. Spelling decides first, letter case only when nothing fits exactly.

        Cost: a dict look-up and a comparison for each table of that last name.
        """
        near = self._by_last.get(parts[-1].casefold(), ())
        fits = [table for table in near if _fits(table.name.split("."), parts)]
        exact = [table for table in fits if table.name.split(".")[-1] == parts[-1]]
        whole = [table for table in exact or fits if len(table.name.split(".")) == len(parts)]
        found = tuple(whole or exact or fits)
        return found if len(parts) > 1 or len(found) == 1 else self._on_path(found)

    def _on_path(self, found: tuple[Table, ...]) -> tuple[Table, ...]:
        """Those of the first schema of the search path that has any; all of them if none has."""
        for schema in self.search_path:
            here = tuple(t for t in found if _schema_of(t.name) == schema.casefold())
            if here:
                return here
        return found

    def is_open(self, parts: tuple[str, ...]) -> bool:
        """Whether an unlisted table exists with unknown columns."""
        name = ".".join(parts).casefold()
        if any(fnmatchcase(name, pattern.casefold()) for pattern in self.patterns):
            return True
        schema = parts[-2].casefold() if len(parts) > 1 else ""
        last = parts[-1].casefold()
        if not schema:
            return last in _SYSTEM["pg_catalog"] or last in _SYSTEM[""]
        return last in _SYSTEM.get(schema, ())


def _fits(own: list[str], parts: tuple[str, ...]) -> bool:
    """Whether two dotted names agree, without case, in the parts that both have."""
    pairs = zip(reversed(own), reversed(parts), strict=False)
    return all(a.casefold() == b.casefold() for a, b in pairs)


def catalog_of(
    data_map: DataMap,
    schema: Schema | None = None,
    *,
    undescribed: Literal["cannot_tell", "clean"] = "cannot_tell",
    functions: Mapping[str, str] | None = None,
) -> Catalog:
    """What a guard knows about tables: the data map, and the schema where there is one.

    With a schema, `*` stands for the columns of a described table, and a view for its query. A view
    that is described, too, carries its own labels beside those of what it is made of.

    Args:
        data_map: which tables are described. Without a schema its columns may not be all.
        schema: all tables with all columns, and views with their queries.
        undescribed: what a table of the schema is about which neither the data map nor the schema
            says anything: unknown, as without a schema, or known to hold nothing personal.
        functions: reviewed own functions, as in `Catalog.from_tables`.

    Cost: O(tables of the schema x entries of the data map).
    """
    patterns = [name for name in data_map.model.tables if name not in data_map.tables]
    if schema is None:
        return Catalog.from_tables(data_map.tables, patterns=patterns, functions=functions)
    told = _told(data_map, schema)
    tables: list[Table] = []
    for one in schema.tables.values():
        if one.view:
            tables += _view(one, told=one.name in told)
        elif one.name in told or (undescribed == "clean" and schema.views_known):
            tables.append(_table(one))
    for name, columns in data_map.tables.items():
        if not schema.fitting(name):
            tables.append(Table(name, dict.fromkeys(columns, ""), complete=False))
    return _build(tables, tuple(patterns), functions or {}, schema)


def _told(data_map: DataMap, schema: Schema) -> set[str]:
    """The tables about which the data map or the schema says something.

    An entry of what a table is part of counts, and one of its parts: they hold the same rows.
    """
    shapes = [TablePattern(name) for name in data_map.model.tables]
    told: set[str] = set()
    for one in schema.tables.values():
        if one.name in told:
            continue
        if one.labelled() or any(shape.fits(one.name) for shape in shapes):
            told |= {one.name, *(member.name for member in schema.family(one.name))}
    return told


def _view(one: SchemaTable, *, told: bool) -> list[Table]:
    """A view as its query; as a table, too, if its own columns carry labels.

    Without a query it is only known where somebody told what it holds.
    """
    found = [_table(one)] if one.query else []
    if told:
        columns = {name: column.type for name, column in one.columns.items()}
        found.append(Table(one.name, columns, complete=one.complete and bool(columns)))
    return found


def _table(one: SchemaTable) -> Table:
    if one.view and one.query:
        return Table(one.name, dict.fromkeys(one.names, ""), view=one.query)
    columns = {name: column.type for name, column in one.columns.items()}
    return Table(one.name, columns, complete=one.complete)


def _schema_of(name: str) -> str:
    parts = name.casefold().split(".")
    return parts[-2] if len(parts) > 1 else ""


def _build(
    tables: Iterable[Table],
    patterns: tuple[str, ...],
    functions: Mapping[str, str],
    schema: Schema | None = None,
) -> Catalog:
    # A name has at most one table and one view.
    listed = {(table.name, bool(table.view)): table for table in tables}
    digest = sha256()
    for table in listed.values():
        digest.update(repr((table.name, list(table.columns.items()))).encode())
        digest.update(repr((table.complete, table.view)).encode())
    folded = {name.lower(): via for name, via in functions.items()}
    search_path = schema.search_path if schema is not None else ()
    dialect = schema.dialect if schema is not None else ""
    digest.update(repr((patterns, sorted(folded.items()), search_path, dialect)).encode())
    by_last: dict[str, list[Table]] = {}
    for table in listed.values():
        by_last.setdefault(table.name.split(".")[-1].casefold(), []).append(table)
    found = {last: tuple(near) for last, near in by_last.items()}
    named = {name: table for (name, _), table in sorted(listed.items(), key=lambda one: one[0][1])}
    return Catalog(named, patterns, folded, digest.hexdigest(), search_path, dialect, found)
