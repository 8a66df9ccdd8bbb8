"""Which tables, columns and views there are: an immutable snapshot with a version.

Layer: inspectors. Imports nothing of policyguard. Start reading at `Catalog`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Final

from policyguard.inspectors.sql.words import words

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
    """Tables by name. Build it with `from_mapping` or `from_tables`.

    Attributes:
        tables: by the name the catalog gives them.
        patterns: shapes of names of tables that exist but aren't listed (`raw.*`); their columns
            are open, as in a table that isn't complete.
        functions: own functions that were reviewed, by name, to what they do to a value.
        version: digest of all of this; part of the key of every cached answer.
    """

    tables: Mapping[str, Table]
    patterns: tuple[str, ...] = ()
    functions: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
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
        return tuple(whole or exact or fits)

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


def _build(
    tables: Iterable[Table], patterns: tuple[str, ...], functions: Mapping[str, str]
) -> Catalog:
    listed = {table.name: table for table in tables}
    digest = sha256()
    for table in listed.values():
        digest.update(repr((table.name, list(table.columns.items()))).encode())
        digest.update(repr((table.complete, table.view)).encode())
    folded = {name.lower(): via for name, via in functions.items()}
    digest.update(repr((patterns, sorted(folded.items()))).encode())
    by_last: dict[str, tuple[Table, ...]] = {}
    for table in listed.values():
        last = table.name.split(".")[-1].casefold()
        by_last[last] = (*by_last.get(last, ()), table)
    return Catalog(listed, patterns, folded, digest.hexdigest(), by_last)
