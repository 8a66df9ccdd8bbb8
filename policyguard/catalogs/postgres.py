"""The schema of a PostgreSQL database from its system catalogs, in four queries.

Layer: catalogs. Start reading at `read`. SQLAlchemy's own reflection doesn't name types of
extensions (`vector`), partitions and heirs; the catalogs do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from policyguard.catalogs.stated import labels_in_comment
from policyguard.inspectors.sql.schematext import ViewText, view_query
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

_OURS: Final = """
    n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND (CAST(:all AS boolean) OR n.nspname = ANY (CAST(:schemas AS text[])))
"""
_COLUMNS: Final = f"""
    SELECT n.nspname, c.relname, c.relkind, a.attname,
        pg_catalog.format_type(a.atttypid, a.atttypmod),
        pg_catalog.col_description(c.oid, a.attnum)
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a
        ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {_OURS}
    ORDER BY n.nspname, c.relname, a.attnum
"""  # noqa: S608 - fixed text of our own
_QUERIES: Final = f"""
    SELECT n.nspname, c.relname, pg_catalog.pg_get_viewdef(c.oid)
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm') AND {_OURS}
"""  # noqa: S608 - as above
_PARTS: Final = f"""
    SELECT n.nspname, c.relname, pn.nspname, p.relname
    FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
    JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f') AND {_OURS}
    ORDER BY 1, 2, i.inhseqno
"""  # noqa: S608 - as above
_KEYS: Final = f"""
    SELECT n.nspname, c.relname, a.attname, k.contype, fn.nspname, f.relname
    FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
    LEFT JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
    LEFT JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
    WHERE k.contype IN ('p', 'f') AND cardinality(k.conkey) = 1 AND {_OURS}
    ORDER BY 1, 2, k.conname
"""  # noqa: S608 - as above
_VIEWS: Final = frozenset("vm")


def read(connection: Connection, schemas: tuple[str, ...], seconds: float) -> Schema:
    """Tables, partitions, foreign tables, views and materialised views with their labels.

    Args:
        connection: open; its transaction becomes read-only.
        schemas: only these; empty for all but the system's.
        seconds: after which the server gives up.
    """
    from sqlalchemy import text  # noqa: PLC0415 - loaded when first used

    connection.execute(text("SET TRANSACTION READ ONLY"))
    connection.execute(text(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}"))
    asked = {"all": not schemas, "schemas": list(schemas)}
    columns = connection.execute(text(_COLUMNS), asked).all()
    parts = connection.execute(text(_PARTS), asked).all()
    keys = connection.execute(text(_KEYS), asked).all()
    # Without a path every name in a query is written with its schema, so it means one table.
    connection.execute(text("SET LOCAL search_path = ''"))
    queries = connection.execute(text(_QUERIES), asked).all()
    connection.rollback()
    texts = {f"{schema}.{view}": query for schema, view, query in queries}
    return _built(columns, parts, keys, texts)


def _built(
    columns: Iterable[Sequence[Any]],
    parts: Iterable[Sequence[Any]],
    keys: Iterable[Sequence[Any]],
    queries: Mapping[str, str],
) -> Schema:
    primary: set[tuple[str, str]] = set()
    leads: dict[tuple[str, str], str] = {}
    for schema, table, column, kind, other, target in keys:
        name = f"{schema}.{table}"
        if _text(kind) == "p":
            primary.add((name, column))
        else:
            leads.setdefault((name, column), f"{other}.{target}")
    wholes: dict[str, tuple[str, ...]] = {}
    for schema, table, other, target in parts:
        name = f"{schema}.{table}"
        wholes[name] = (*wholes.get(name, ()), f"{other}.{target}")
    tables: dict[str, SchemaTable] = {}
    found: dict[str, dict[str, SchemaColumn]] = {}
    problems: list[str] = []
    for schema, table, kind, column, type_, comment in columns:
        name = f"{schema}.{table}"
        own = found.setdefault(name, {})
        if name not in tables:
            view = _text(kind) in _VIEWS
            made = view_query(queries.get(name), "postgres") if view else ViewText()
            tables[name] = SchemaTable(
                name, own, view=view, query=made.query, part_of=wholes.get(name, ())
            )
        if column is not None:
            labels, wrong = labels_in_comment(comment, f"{name}.{column}")
            problems += wrong
            key = name, column
            told = leads.get(key, ""), key in primary
            own[column] = SchemaColumn(type_, labels, *told, comment=comment or "")
    return schema_of(tables.values(), "postgres", problems=tuple(problems))


def _text(kind: str | bytes) -> str:
    """PostgreSQL's type "char" comes as bytes from some drivers."""
    return kind.decode() if isinstance(kind, bytes) else kind
