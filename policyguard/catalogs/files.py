"""The schema in a file, whatever kind of file it is.

Layer: catalogs. Start reading at `load_schema`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from policyguard.catalogs.dbt import schema_of_dbt_catalog, schema_of_manifest
from policyguard.catalogs.ddlfiles import schema_of_ddl
from policyguard.catalogs.fides import schema_of_fides
from policyguard.catalogs.lock import LOCK, lock_from_tree
from policyguard.catalogs.reading import SchemaError, check_size, mapping, read_object, text
from policyguard.catalogs.warehouse import schema_of_csv
from policyguard.policy.loader import printable
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, schema_of

_DDL: Final = (".sql", ".ddl")
_PLAIN: Final = "needs the shape {table: {column: type}}"
_YAML: Final = (".yaml", ".yml")


def load_schema(path: Path, dialect: str = "") -> Schema:
    """Read a schema lock, dbt's manifest or catalog, a fides dataset, a CSV, DDL, or plain JSON.

    Args:
        path: told by its ending, and JSON by what it says of itself.
        dialect: of DDL and CSV, which don't say it, and of plain JSON; a lock knows its own.

    Raises:
        SchemaError: it can't be read, or is of no kind that is known.
        PolicyGuardError: DDL or a CSV without a dialect.
    """
    suffix = path.suffix.lower()
    if suffix in _DDL:
        return schema_of_ddl([path], dialect)
    if suffix == ".csv":
        return schema_of_csv([path], dialect)
    if suffix in _YAML:
        return schema_of_fides(path)
    if suffix != ".json":
        hint = "use .json, .sql, .csv or .yaml"
        raise SchemaError(f"{printable(str(path), 1_024)}: unknown kind of file", hint=hint)
    tree = read_object(path, _PLAIN)
    version = text(mapping(tree.get("metadata")).get("dbt_schema_version"))
    if "/manifest/" in version:
        return schema_of_manifest(path)
    if "/catalog/" in version:
        return schema_of_dbt_catalog(path)
    if isinstance(tree.get("schema"), str):
        return lock_from_tree(tree, str(path))
    return plain_schema(tree, str(path), dialect)


def plain_schema(tree: dict[str, Any], name: str, dialect: str = "") -> Schema:
    """A tree of the shape `{table: {column: type}}`.

    Raises:
        SchemaError: it has another shape.
    """
    good = all(
        isinstance(columns, dict) and all(isinstance(kind, str) for kind in columns.values())
        for columns in tree.values()
    )
    if not good:
        shown = printable(name, 1_024)
        hint = f"or a lock, which begins with `schema: {LOCK}`"
        raise SchemaError(f"{shown}: {_PLAIN}", hint=hint)
    tables = [
        SchemaTable(table, {column: SchemaColumn(kind) for column, kind in columns.items()})
        for table, columns in tree.items()
    ]
    found = schema_of(tables, dialect)
    check_size(found.size, name)
    return found
