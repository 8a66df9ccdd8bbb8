"""The schema that SQLAlchemy's `MetaData` describes: what the program itself declares.

Layer: catalogs. Imports nothing of SQLAlchemy: the objects are only asked. Start reading at
`schema_of_metadata`.
"""

from __future__ import annotations

from typing import Any

from policyguard.catalogs.database import our_dialect
from policyguard.catalogs.reading import dotted
from policyguard.catalogs.stated import DATA, FORM, TO, labels_in_comment, labels_of_terms
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, schema_of


def schema_of_metadata(metadata: Any, *, complete: bool = False, dialect: str = "") -> Schema:
    """Tables of a `MetaData`, with the labels in comments and in `info`.

    Args:
        metadata: an `sqlalchemy.MetaData`, such as `Base.metadata`.
        complete: whether the tables of the database have no other columns. A migration may add one
            that the program doesn't declare, and `*` returns it.
        dialect: of the database, as SQLAlchemy or the inspector calls it.

    Labels stand in a column's comment, or in `info={"policyguard_data": ..., "policyguard_form":
    ...}`; a table's recipient in its `info={"policyguard_to": ...}`.
    """
    problems: list[str] = []
    tables = [_table(table, problems, complete=complete) for table in metadata.tables.values()]
    return schema_of(tables, our_dialect(dialect), problems=tuple(problems))


def _table(table: Any, problems: list[str], *, complete: bool) -> SchemaTable:
    name = dotted(table.schema, table.name)
    primary = [column.name for column in table.primary_key.columns]
    columns: dict[str, SchemaColumn] = {}
    for column in table.columns:
        where = f"{name}.{column.name}"
        said, wrong = labels_in_comment(column.comment, where)
        info, more = labels_of_terms(column.info.get(DATA), column.info.get(FORM), where)
        problems += [*wrong, *more]
        target = next((key.target_fullname for key in column.foreign_keys), "")
        columns[str(column.name)] = SchemaColumn(
            _type(column.type),
            tuple(dict.fromkeys((*said, *info))),
            target.rpartition(".")[0],
            primary == [column.name],
        )
    recipient = table.info.get(TO)
    return SchemaTable(
        name,
        columns,
        complete=complete,
        recipient=recipient if isinstance(recipient, str) else "",
    )


def _type(kind: object) -> str:
    try:
        return str(kind)
    except Exception:  # noqa: BLE001 - a type of the application's own
        # Denies nothing: the name of the class says what it is.
        return type(kind).__name__
