"""The schema that files of DDL leave behind: a dump, migrations in their order.

Layer: catalogs. Start reading at `schema_of_ddl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from policyguard.catalogs.reading import SchemaError, check_size, read_utf8
from policyguard.catalogs.stated import labels_in_comment
from policyguard.errors import PolicyGuardError
from policyguard.inspectors.sql.ddl import catalog_from_ddl
from policyguard.inspectors.sql.schematext import column_comments, view_query
from policyguard.inspectors.sql.traits import traits_of
from policyguard.policy.loader import printable
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, schema_of

_MOST = 1 << 26


def schema_of_ddl(paths: Sequence[Path], dialect: str) -> Schema:
    """Tables and views of DDL files, read one after the other as one text.

    Args:
        paths: in the order in which they are run.
        dialect: required; see `DIALECTS`.

    Raises:
        SchemaError: a file can't be read.
        PolicyGuardError: no dialect, an unknown one, or a text that is too long or can't be split.
    """
    name = traits_of(dialect).name
    texts = [read_utf8(path, _MOST) for path in paths]
    whole = "\n;\n".join(texts)
    try:
        catalog = catalog_from_ddl(whole, name)
    except PolicyGuardError as error:
        # Denies: without tables nothing is resolved. The reason names no part of the text.
        files = ", ".join(printable(str(path), 200) for path in paths)
        raise SchemaError(
            f"{files}: {error.because or error.what}", hint="a database itself (--db) has no limit"
        ) from None
    problems: list[str] = []
    columns = {
        table.name: {column: SchemaColumn(kind) for column, kind in table.columns.items()}
        for table in catalog.tables.values()
    }
    _add_labels(whole, name, columns, problems)
    tables = [
        SchemaTable(
            table.name,
            columns[table.name],
            view=bool(table.view),
            query=view_query(table.view, name).query if table.view else "",
            names=tuple(table.columns) if table.view else (),
            complete=table.complete,
        )
        for table in catalog.tables.values()
    ]
    found = schema_of(tables, name, problems=tuple(problems))
    check_size(found.size, str(paths[0]) if paths else "DDL")
    return found


def _add_labels(
    text: str, dialect: str, columns: dict[str, dict[str, SchemaColumn]], problems: list[str]
) -> None:
    """Put what comments state onto the columns they are about."""
    for table, column, comment in column_comments(text, dialect):
        labels, wrong = labels_in_comment(comment, f"{table}.{column}")
        problems += wrong
        for known in _meant(table, columns):
            own = columns[known].get(column, SchemaColumn())
            columns[known][column] = replace(own, labels=(*own.labels, *labels))


def _meant(name: str, known: dict[str, dict[str, SchemaColumn]]) -> list[str]:
    """The tables a name means, with or without its schema."""
    last = name.rsplit(".", 1)[-1]
    return [one for one in known if one in (name, last) or one.endswith(f".{last}")]
