"""The schema of a live database: its structure only, never a row.

Layer: catalogs. The only place that opens a connection; SQLAlchemy is imported when it is first
used. Start reading at `schema_of_database`.

The connection is read-only where the database knows that, and everything happens within a limit of
time. The URL is never shown, for it may hold a password; nor is what a driver says, for it quotes
the URL.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from policyguard.catalogs import postgres
from policyguard.catalogs.reading import SchemaError, check_size, dotted
from policyguard.catalogs.stated import labels_in_comment
from policyguard.inspectors.sql import DIALECTS
from policyguard.inspectors.sql.schematext import ViewText, view_query
from policyguard.policy.loader import printable
from policyguard.policy.schemas import Schema, SchemaColumn, SchemaTable, schema_of

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, Inspector

SECONDS: Final = 60.0
_CONNECT: Final = 10
_OURS: Final = {
    "postgresql": "postgres",
    "mariadb": "mysql",
    "mssql": "tsql",
    "clickhousedb": "clickhouse",
    "spark": "databricks",
}
# A driver that needs an event loop, or none at all: what serves instead, the best first.
_DRIVERS: Final = {
    "postgresql": ("psycopg", "psycopg2", "pg8000"),
    "mysql": ("pymysql", "mysqldb", "mysqlconnector"),
    "mariadb": ("pymysql", "mysqldb", "mysqlconnector"),
}
_MODULES: Final = {
    "mysqldb": "MySQLdb",
    "mysqlconnector": "mysql.connector",
    "clickhousedb": "clickhouse_connect",
}
_INSTALL: Final = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "mysqldb": "mysqlclient",
    "mysqlconnector": "mysql-connector-python",
    "pyodbc": "pyodbc",
    "duckdb": "duckdb-engine",
    "snowflake": "snowflake-sqlalchemy",
    "bigquery": "sqlalchemy-bigquery",
    "redshift": "sqlalchemy-redshift",
    "databricks": "databricks-sqlalchemy",
    "clickhouse": "clickhouse-sqlalchemy",
    "clickhousedb": "clickhouse-connect",
    "trino": "trino[sqlalchemy]",
    "awsathena": "pyathena[sqlalchemy]",
}
_ASYNC: Final = frozenset(
    {"asyncpg", "aiosqlite", "aiomysql", "asyncmy", "psycopg_async", "aioodbc"}
)
_SYSTEM: Final = frozenset(
    {"information_schema", "pg_catalog", "mysql", "performance_schema", "sys", "system"}
    | {"guest", "sysdiagnostics"}
)


def schema_of_database(
    url: str, *, schemas: Sequence[str] = (), seconds: float = SECONDS
) -> Schema:
    """Read tables, views, comments and foreign keys of a database.

    Args:
        url: as SQLAlchemy has it. A driver that needs an event loop is replaced by one that
            doesn't.
        schemas: only these; by default all that the user may see, without the system's.
        seconds: for all of it, connecting included.

    Raises:
        SchemaError: no connection, a driver that isn't there, or not in time.

    Cost: one query on PostgreSQL for all columns; elsewhere some for each schema, as SQLAlchemy
        reflects.
    """
    made = _url(url)
    done: SimpleQueue[Schema | SchemaError] = SimpleQueue()
    work = partial(_read, made, tuple(schemas), seconds, done.put)
    Thread(target=work, name="policyguard-schema", daemon=True).start()
    try:
        found = done.get(timeout=seconds)
    except Empty:
        # Denies: what wasn't read in time isn't known.
        raise SchemaError(
            f"{_kind(made)}: no answer within {seconds:g} seconds",
            hint="is it reachable from here?",
        ) from None
    if isinstance(found, SchemaError):
        raise found
    return found


def our_dialect(name: str) -> str:
    """The name that the inspector has for a dialect of SQLAlchemy's or dbt's, or ""."""
    ours = _OURS.get(name, name)
    return ours if ours in DIALECTS else ""


def _url(text: str) -> URL:
    try:
        from sqlalchemy import make_url  # noqa: PLC0415 - loaded when first used
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - as above
    except ImportError:
        # Denies: there is no other way to ask a database.
        hint = "`pip install sqlalchemy`, and the driver of your database"
        raise SchemaError(
            "a live database needs SQLAlchemy, which isn't installed", hint=hint
        ) from None
    try:
        made = make_url(text)
    except (ArgumentError, ValueError):
        # Denies: a text that is no URL leads nowhere. It isn't shown: it may hold a password.
        raise SchemaError(
            "the URL of the database can't be read",
            hint="it looks like postgresql://user@host/name or sqlite:///file.db",
        ) from None
    backend, _, driver = made.drivername.partition("+")
    if driver in _ASYNC or (not driver and backend in _DRIVERS):
        made = made.set(drivername=_sync(backend))
    return made


def _sync(backend: str) -> str:
    """The name of a driver that is installed; the first, where none is."""
    names = _DRIVERS.get(backend, ())
    for name in names:
        if find_spec(_MODULES.get(name, name).partition(".")[0]) is not None:
            return f"{backend}+{name}"
    return f"{backend}+{names[0]}" if names else backend


def _kind(url: URL) -> str:
    """Which database it is, without anything that could be secret."""
    if url.get_backend_name() == "sqlite":
        return printable(url.database or "sqlite", 200)
    host = printable(url.host or "", 200)
    return f"{url.get_backend_name()}{f' at {host}' if host else ''}"


def _read(
    url: URL, schemas: tuple[str, ...], seconds: float, put: Callable[[Schema | SchemaError], None]
) -> None:
    """The whole work, in a thread of its own so that a driver that hangs hangs nobody else."""
    try:
        with warnings.catch_warnings():
            # A type that SQLAlchemy doesn't know is no news: its name is all that counts here.
            warnings.simplefilter("ignore")
            engine = _engine(url, seconds)
            try:
                with engine.connect() as connection:
                    found = _schema(connection, schemas, seconds)
            finally:
                engine.dispose()
        check_size(found.size, _kind(url))
        put(found)
    except SchemaError as error:
        # Denies: see the caller.
        put(error)
    except Exception as error:  # noqa: BLE001 - drivers raise what they like, and quote the URL
        # Denies: a database that wasn't read has no schema. Only the kind of the error is told.
        put(_unreachable(url, error))


def _unreachable(url: URL, error: Exception) -> SchemaError:
    kind = type(getattr(error, "orig", None) or error).__name__
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    code = f", SQLSTATE {state}" if isinstance(state, str) and state.isalnum() else ""
    return SchemaError(
        f"{_kind(url)}: can't be read ({kind}{code})",
        hint="check host, port, name, user and password of the URL",
    )


def _engine(url: URL, seconds: float) -> Engine:
    from sqlalchemy import create_engine  # noqa: PLC0415 - loaded when first used
    from sqlalchemy.exc import NoSuchModuleError  # noqa: PLC0415 - as above
    from sqlalchemy.pool import NullPool  # noqa: PLC0415 - as above

    backend = url.get_backend_name()
    try:
        if backend == "sqlite" and url.database not in (None, "", ":memory:"):
            return create_engine(
                "sqlite://", creator=partial(_open_sqlite, str(url.database)), poolclass=NullPool
            )
        return create_engine(url, poolclass=NullPool, connect_args=_arguments(url, seconds))
    except NoSuchModuleError:
        # Denies: a database whose dialect isn't there can't be asked.
        name = printable(backend, 40)
        package = _INSTALL.get(backend)
        hint = f"`pip install '{package}'`" if package else "install its SQLAlchemy dialect"
        raise SchemaError(f"SQLAlchemy knows no database `{name}`", hint=hint) from None
    except ModuleNotFoundError as error:
        # Denies: as above, for the driver.
        driver = url.get_driver_name()
        package = _INSTALL.get(driver, driver)
        missing = printable(error.name or driver, 40)
        raise SchemaError(
            f"{backend}: the driver `{missing}` isn't installed", hint=f"`pip install '{package}'`"
        ) from None


def _open_sqlite(name: str) -> sqlite3.Connection:
    """Read-only, and never makes the file."""
    path = Path(name.removeprefix("file:").partition("?")[0])
    if not path.is_file():
        raise SchemaError(f"{printable(str(path), 200)}: no such file")
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_CONNECT)


def _arguments(url: URL, seconds: float) -> dict[str, Any]:
    """How each driver is told not to wait for ever."""
    driver = url.get_driver_name()
    wait = max(1, int(min(seconds, _CONNECT)))
    if driver in ("psycopg", "psycopg2", "pymysql", "mysqldb"):
        return {"connect_timeout": wait}
    if driver == "mysqlconnector":
        return {"connection_timeout": wait}
    return {"timeout": wait} if driver in ("pg8000", "pyodbc") else {}


def _schema(connection: Connection, schemas: tuple[str, ...], seconds: float) -> Schema:
    if connection.dialect.name == "postgresql":
        return postgres.read(connection, schemas, seconds)
    from sqlalchemy import inspect  # noqa: PLC0415 - loaded when first used

    inspector = inspect(connection)
    dialect = our_dialect(connection.dialect.name)
    if dialect == "sqlite":
        names: list[str | None] = [None]
    else:
        names = list(schemas) or _own_schemas(inspector)
    problems: list[str] = []
    tables = [table for name in names for table in _tables(inspector, name, dialect, problems)]
    return schema_of(tables, dialect, problems=tuple(problems))


def _own_schemas(inspector: Inspector) -> list[str | None]:
    """All schemas but the system's; for MySQL only the database of the URL."""
    default = inspector.default_schema_name
    if inspector.dialect.name in ("mysql", "mariadb"):
        return [default]
    names = [name for name in inspector.get_schema_names() if name.casefold() not in _SYSTEM]
    return list(dict.fromkeys(names)) or [default]


def _tables(
    inspector: Inspector,
    schema: str | None,
    dialect: str,
    problems: list[str],
) -> Iterable[SchemaTable]:
    from sqlalchemy.engine.reflection import ObjectKind  # noqa: PLC0415 - loaded when first used

    views = _views(inspector, schema)
    found = inspector.get_multi_columns(schema=schema, kind=ObjectKind.ANY)
    keys: Mapping[Any, Any] = {}
    foreign: Mapping[Any, Any] = {}
    with suppress(NotImplementedError):
        # Denies nothing: keys are only guessed from.
        keys = inspector.get_multi_pk_constraint(schema=schema, kind=ObjectKind.TABLE)
        foreign = inspector.get_multi_foreign_keys(schema=schema, kind=ObjectKind.TABLE)
    copies = _copies(inspector) if dialect == "sqlite" else frozenset()
    for (_, name), columns in found.items():
        if name in copies:
            continue
        where = dotted(schema, name)
        leads = _leads(foreign.get((schema, name), []), schema)
        primary = (keys.get((schema, name)) or {}).get("constrained_columns", [])
        yield SchemaTable(
            where,
            {
                column["name"]: _column(column, where, leads, primary, problems)
                for column in columns
            },
            view=name in views,
            **_text_of(views.get(name), dialect),
        )


def _copies(inspector: Inspector) -> frozenset[str]:
    """Tables in which SQLite's modules keep copies of rows: unknown, so that nobody reads them."""
    from sqlalchemy import text  # noqa: PLC0415 - loaded when first used

    rows = inspector.bind.execute(text("PRAGMA table_list"))  # type: ignore[union-attr]  # a connection
    return frozenset(row.name for row in rows if row.type == "shadow")


def _column(
    column: Any, where: str, leads: dict[str, str], primary: Sequence[str], problems: list[str]
) -> SchemaColumn:
    name = column["name"]
    labels, wrong = labels_in_comment(column.get("comment"), f"{where}.{name}")
    problems += wrong
    comment = column.get("comment") or ""
    key = list(primary) == [name]
    return SchemaColumn(_type(column["type"]), labels, leads.get(name, ""), key, comment=comment)


def _type(kind: object) -> str:
    """A type as the database writes it, "" where SQLAlchemy doesn't know it."""
    try:
        shown = str(kind)
    except Exception:  # noqa: BLE001 - a type that needs its own dialect to be written
        # Denies nothing: the name of the class says what it is.
        shown = type(kind).__name__
    return "" if shown == "NULL" else shown


def _leads(keys: Iterable[Any], schema: str | None) -> dict[str, str]:
    """Column to the table that its foreign key leads to; keys of several columns are none."""
    return {
        key["constrained_columns"][0]: dotted(
            key["referred_schema"] or schema, key["referred_table"]
        )
        for key in keys
        if len(key["constrained_columns"]) == 1
    }


def _views(inspector: Inspector, schema: str | None) -> dict[str, str | None]:
    """Views with their definitions; None where the database doesn't give one."""
    names = list(inspector.get_view_names(schema=schema))
    with suppress(NotImplementedError):
        # Denies nothing: this database has none.
        names += inspector.get_materialized_view_names(schema=schema)
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = inspector.get_view_definition(name, schema=schema)
        except Exception:  # noqa: BLE001 - no right to read it, or a dialect that can't
            # Denies: a view without a query is unresolved.
            found[name] = None
    return found


def _text_of(definition: str | None, dialect: str) -> dict[str, Any]:
    made = view_query(definition, dialect) if definition and dialect else ViewText()
    return {"query": made.query, "names": made.names}
