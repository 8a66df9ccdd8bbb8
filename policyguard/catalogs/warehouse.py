"""The schema of a warehouse from files that anybody may export: its information_schema as CSV.

Layer: catalogs. Start reading at `schema_of_csv`.

`columns` alone lists views beside tables and doesn't tell them apart: a view of labelled columns
would look like a clean table. So either the file has a column `table_type`, or files of `tables`
and `views` come with it; otherwise the schema says that its views aren't known.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Final

from policyguard.catalogs.reading import (
    MOST_COLUMNS,
    MOST_NAME,
    SchemaError,
    check_size,
    dotted,
    read_utf8,
)
from policyguard.catalogs.stated import labels_in_comment
from policyguard.inspectors.sql.schematext import ViewText, view_query
from policyguard.inspectors.sql.traits import traits_of
from policyguard.policy.loader import printable
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, schema_of

_MOST: Final = 1 << 26
_LONGEST_CELL: Final = 1 << 20
_LONGEST_NAME: Final = 512
# What each column of the file means, under the names that warehouses and people give it.
_HEADERS: Final = {
    "database": ("table_catalog", "table_database", "database_name", "database", "project_id"),
    "schema": ("table_schema", "schema_name", "schemaname", "dataset", "schema", "dataset_id"),
    "table": ("table_name", "tablename", "table", "tbl", "relation", "view_name"),
    "column": ("column_name", "columnname", "column", "field", "col", "name"),
    "path": ("field_path",),
    "type": ("full_data_type", "data_type", "column_type", "type", "datatype"),
    "comment": ("comment", "description", "remarks", "column_comment"),
    "position": ("ordinal_position", "position", "column_id"),
    "kind": ("table_type",),
    "query": ("view_definition", "definition", "view_query", "ddl"),
}
_SYSTEM: Final = frozenset({"information_schema", "pg_catalog", "pg_internal", "sys"})


@dataclass(slots=True)
class _Reading:
    """What the files so far have said."""

    columns: dict[str, list[tuple[int, str, SchemaColumn]]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)
    views_listed: bool = False
    problems: list[str] = field(default_factory=list)
    size: int = 0


def schema_of_csv(paths: Sequence[Path], dialect: str) -> Schema:
    """Tables and views of exports of information_schema: `columns`, `tables`, `views`.

    Which file is which is told by its header; names of Snowflake, BigQuery (with `field_path`),
    Redshift, Databricks, and plain ones (`schema,table,column,type`) are known.

    Args:
        paths: at least one with columns.
        dialect: of the warehouse; required.

    Raises:
        SchemaError: a file can't be read, isn't CSV, or has no header that says what it holds.
        PolicyGuardError: no dialect, or an unknown one.

    Cost: O(bytes).
    """
    name = traits_of(dialect).name
    found = _Reading()
    for path in paths:
        _read(path, found)
    if not found.columns:
        shown = ", ".join(printable(str(path), 200) for path in paths)
        raise SchemaError(f"{shown}: no columns", hint="export information_schema.columns")
    tables = [_table(table, found, name) for table in found.columns]
    known = found.views_listed or found.columns.keys() <= found.kinds.keys()
    return schema_of(tables, name, views_known=known, problems=tuple(found.problems))


def _read(path: Path, found: _Reading) -> None:
    shown = printable(str(path), MOST_NAME)
    text = read_utf8(path, _MOST)
    if "\0" in text:
        raise SchemaError(f"{shown}: holds a NUL character")
    first = text[: text.find("\n")] if "\n" in text else text
    delimiter = max(",;\t|", key=first.count)
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        rows = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = [cell.strip().casefold() for cell in next(rows, [])]
        places = _places(header)
        if "table" not in places or len(places) < 2:  # noqa: PLR2004 - a table, and something of it
            hint = "the first line names the columns: table_schema,table_name,column_name,data_type"
            raise SchemaError(f"{shown}:1: no header that is known", hint=hint)
        if "column" not in places and "path" not in places and "query" in places:
            found.views_listed = True
        for row in rows:
            if row:
                _row(_Row(places, row), found, f"{shown}:{rows.line_num}")
    except csv.Error:
        # Denies: a file that isn't read to its end lists only some of the columns.
        raise SchemaError(f"{shown}:{rows.line_num}: not CSV") from None
    finally:
        csv.field_size_limit(before)


@dataclass(frozen=True, slots=True)
class _Row:
    places: dict[str, int]
    cells: list[str]

    def get(self, key: str) -> str:
        """A cell by its meaning; "" where the file has no such column or the row is short."""
        place = self.places.get(key, len(self.cells))
        return self.cells[place].strip() if place < len(self.cells) else ""


def _places(header: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for meaning, names in _HEADERS.items():
        for name in names:
            if name in header and header.index(name) not in found.values():
                found[meaning] = header.index(name)
                break
    return found


def _row(row: _Row, found: _Reading, where: str) -> None:
    table, schema = row.get("table"), row.get("schema")
    if not table or len(table) > _LONGEST_NAME:
        raise SchemaError(f"{where}: a row without a table's name")
    if schema.casefold() in _SYSTEM:
        return
    name = dotted(row.get("database"), schema, table)
    if kind := row.get("kind"):
        found.kinds[name] = kind.upper()
    if query := row.get("query"):
        found.queries[name] = query
    column = row.get("column") or row.get("path").partition(".")[0]
    if not column:
        if row.places.keys() & {"column", "path"}:
            raise SchemaError(f"{where}: a row without a column's name")
        return
    if len(column) > _LONGEST_NAME:
        raise SchemaError(f"{where}: a name is longer than {_LONGEST_NAME} characters")
    found.size += 1
    if found.size > MOST_COLUMNS:
        check_size(found.size, where)
    labels, wrong = labels_in_comment(row.get("comment"), f"{name}.{column}")
    found.problems += wrong
    position = row.get("position")
    place = int(position[:9]) if position.isascii() and position.isdigit() else 0
    # Of a nested field only the labels count, for the column that it is in.
    nested = row.get("path") not in ("", column)
    kind = "" if nested else row.get("type")
    made = SchemaColumn(kind, labels, comment=row.get("comment"))
    found.columns.setdefault(name, []).append((place, column, made))


def _table(name: str, found: _Reading, dialect: str) -> SchemaTable:
    columns: dict[str, SchemaColumn] = {}
    for _, column, one in sorted(found.columns[name], key=lambda item: item[0]):
        known = columns.get(column, SchemaColumn())
        labels = tuple(dict.fromkeys((*known.labels, *one.labels)))
        comment = known.comment or one.comment
        columns[column] = SchemaColumn(known.type or one.type, labels, comment=comment)
    query = found.queries.get(name, "")
    view = bool(query) or "VIEW" in found.kinds.get(name, "")
    made = view_query(query, dialect) if query else ViewText()
    return SchemaTable(name, columns, view=view, query=made.query, names=made.names)
