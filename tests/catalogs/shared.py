"""Small schemas and files for the tests of catalogs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policyguard.inspectors.sql import Catalog, Statement, inspect
from policyguard.policy.datamap import DataMap, data_map_from_text
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, Stated, schema_of


def table(
    name: str, *columns: str, said: Mapping[str, SchemaColumn] | None = None, **more: Any
) -> SchemaTable:
    """A table with untyped columns, then those about which something is said."""
    plain = {column: SchemaColumn() for column in columns}
    return SchemaTable(name, {**plain, **(said or {})}, **more)


def stated(data: str, *form: str) -> SchemaColumn:
    """A column with one stated label."""
    return SchemaColumn("text", (Stated(data, frozenset(form)),))


def map_of(text: str) -> DataMap:
    """A data map from YAML."""
    return data_map_from_text(text, name="data-map.yaml")


def asked(sql: str, catalog: Catalog, dialect: str = "postgres") -> Statement:
    """The one statement of a text."""
    (statement,) = inspect(sql, dialect, catalog)
    return statement


def sqlite(path: Path, script: str) -> str:
    """A database file made by a script, and its URL."""
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return f"sqlite:///{path}"


def written(folder: Path, name: str, content: str | Mapping[str, Any]) -> Path:
    """A file with text, or with JSON."""
    path = folder / name
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


SHOP: Schema = schema_of(
    [
        table("public.users", "id", "email", "theme"),
        table("public.plans", "id", "price"),
        table("public.mails", "id", "mail", view=True, query="SELECT id, email FROM public.users"),
        table("public.blind", "x", view=True),
    ],
    "postgres",
)
