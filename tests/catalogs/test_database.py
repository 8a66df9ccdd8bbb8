"""The schema of real databases: PostgreSQL and SQLite."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from policyguard.catalogs import SchemaError, differences, dump_lock, schema_of_database
from policyguard.inspectors.sql import Catalog
from policyguard.policy.schemas import Schema
from tests.catalogs.shared import asked, sqlite
from tests.postgres.kit import Database, server

SECRET = "hunter2-canary"
DDL = """
CREATE SCHEMA audit;
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE TABLE users (
    id serial PRIMARY KEY, email text, country text, mood mood, "Odd Name" text, gone int);
ALTER TABLE users DROP COLUMN gone;
COMMENT ON COLUMN users.email IS 'Where to write. policyguard: user.contact.email, user.name';
COMMENT ON COLUMN users.country IS 'policyguard: where they live';
INSERT INTO users (email, country) VALUES ('alice-canary@example.com', 'DE');
CREATE TABLE audit.users (id int, ip inet);
CREATE TABLE events (id int, user_id int REFERENCES users, at date, body text)
    PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE base (a text);
CREATE TABLE heir (b text) INHERITS (base);
CREATE VIEW germans AS
    SELECT id, email AS mail FROM users
    WHERE country = 'DE' AND email <> 'alice-canary@example.com';
CREATE MATERIALIZED VIEW countries AS SELECT country, count(*) AS n FROM users GROUP BY 1;
CREATE VIEW named (a, b) AS SELECT id, md5(email) FROM users;
CREATE VIEW over_view AS SELECT * FROM germans;
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """A PostgreSQL with everything that can hold columns."""
    with server().database(DDL) as made:
        yield made


@pytest.fixture(scope="module")
def found(database: Database) -> Schema:
    """Its schema."""
    return schema_of_database(database.url("postgresql"))


def test_postgres_tables_columns_and_types(found: Schema) -> None:
    """Every table of every schema, with the types as PostgreSQL writes them."""
    users = found.tables["public.users"]
    assert found.dialect == "postgres"
    assert {name: one.type for name, one in users.columns.items()} == {
        "id": "integer",
        "email": "text",
        "country": "text",
        "mood": "mood",
        "Odd Name": "text",
    }
    assert found.tables["audit.users"].columns["ip"].type == "inet"
    assert users.columns["id"].key
    assert found.tables["public.events"].columns["user_id"].leads_to == "public.users"


def test_postgres_comments_are_labels(found: Schema) -> None:
    """A readable comment is its labels, an unreadable one the widest label and a problem."""
    columns = found.tables["public.users"].columns
    assert [one.data for one in columns["email"].labels] == ["user.contact.email", "user.name"]
    assert [one.data for one in columns["country"].labels] == ["user"]
    (problem,) = found.problems
    assert problem.startswith("public.users.country: ")


def test_postgres_partitions_and_heirs_belong_to_their_table(found: Schema) -> None:
    """What is known of the whole is known of its parts."""
    assert found.tables["public.events_2024"].part_of == ("public.events",)
    assert found.tables["public.heir"].part_of == ("public.base",)


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("SELECT mail FROM germans", {"id", "email", "country"}),
        ("SELECT * FROM over_view", {"id", "email", "country"}),
        ("SELECT * FROM countries", {"country"}),
        ("SELECT b FROM named", {"id", "email"}),
    ],
)
def test_postgres_views_are_read_through(sql: str, reads: set[str], found: Schema) -> None:
    """Views, views over views and materialised views lead to the columns of one table."""
    answer = asked(sql, Catalog.from_schema(found))
    assert answer.resolved
    assert answer.reads <= {f"public.users.{column}" for column in reads}
    assert ("public.users.email" in answer.reads) == ("email" in reads)


def test_a_view_reads_every_column_that_postgres_says(database: Database, found: Schema) -> None:
    """The columns that PostgreSQL itself notes for a view are among those that are told."""
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT view_schema, view_name, table_schema, table_name, column_name"
            " FROM information_schema.view_column_usage WHERE view_schema = 'public'"
        ).fetchall()
    assert len(rows) >= 7
    catalog = Catalog.from_schema(found)
    for schema, view, *column in rows:
        answer = asked(f"SELECT * FROM {schema}.{view}", catalog)
        assert answer.resolved
        used = ".".join(column)
        inner = found.tables[f"{column[0]}.{column[1]}"].view
        assert inner or used in answer.reads, (view, used)


def test_no_value_of_postgres_reaches_a_lock(found: Schema) -> None:
    """Neither a row nor what a view compares with."""
    assert "canary" not in dump_lock(found)


def test_only_the_schemas_that_are_asked_for(database: Database) -> None:
    """`schemas` narrows what is read."""
    assert list(schema_of_database(database.url("postgresql"), schemas=["audit"]).tables) == [
        "audit.users"
    ]


def test_reading_postgres_needs_no_right_to_read_rows(database: Database) -> None:
    """A role without any grant sees the same structure: no row is read."""
    role = database.role()
    again = schema_of_database(database.url("postgresql+psycopg", role))
    whole = schema_of_database(database.url("postgresql+asyncpg"))
    assert list(differences(whole, again)) == []


def test_a_change_of_the_database_shows(database: Database, found: Schema) -> None:
    """A column that was added is a difference to the lock."""
    with database.connect() as connection:
        connection.execute("ALTER TABLE audit.users ADD COLUMN phone text")
    changed = schema_of_database(database.url("postgresql"))
    assert list(differences(found, changed)) == ["+ column audit.users.phone: text"]


LITE = """
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, face BLOB);
CREATE TABLE chats (id, user_id REFERENCES users(id), body);
CREATE VIEW v(a, b) AS SELECT id, email FROM users WHERE email <> 'alice-canary@example.com';
CREATE VIEW w AS SELECT * FROM v;
CREATE VIRTUAL TABLE notes USING fts5(body);
INSERT INTO users VALUES (1, 'alice-canary@example.com', NULL);
"""


def test_sqlite_tables_and_views(tmp_path: Path) -> None:
    """Views keep their own names; copies that a module keeps are left out, so they are unknown."""
    url = sqlite(tmp_path / "lite.db", LITE)
    schema = schema_of_database(url)
    assert set(schema.tables) == {"users", "chats", "notes", "v", "w"}
    assert schema.tables["chats"].columns["user_id"].leads_to == "users"
    assert schema.tables["users"].columns["face"].type == "BLOB"
    answer = asked("SELECT b FROM w", Catalog.from_schema(schema), "sqlite")
    assert answer.reads >= {"users.email"}
    assert [output.name for output in answer.outputs] == ["b"]
    assert "canary" not in dump_lock(schema)
    assert schema_of_database(url.replace("sqlite:", "sqlite+aiosqlite:")).version == schema.version


def test_a_database_is_never_made_or_written(tmp_path: Path) -> None:
    """A file that isn't there stays so; one that is there isn't touched."""
    with pytest.raises(SchemaError, match="no such file"):
        schema_of_database(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []
    url = sqlite(tmp_path / "lite.db", LITE)
    before = (tmp_path / "lite.db").read_bytes()
    schema_of_database(url)
    assert (tmp_path / "lite.db").read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """The driver's own text isn't shown."""
    (tmp_path / "x.db").write_bytes(b"secret-canary " * 400)
    with pytest.raises(SchemaError) as caught:
        schema_of_database(f"sqlite:///{tmp_path}/x.db")
    assert "canary" not in str(caught.value)
    assert "DatabaseError" in caught.value.what


# fmt: off
UNREACHABLE = {
    # what: (url, what the line says, what the hint says)
    "nobody listens": (f"postgresql://app:{SECRET}@127.0.0.1:1/shop",
                       "postgresql at 127.0.0.1: can't be read (OperationalError", "check host"),
    "an async driver": (f"postgresql+asyncpg://app:{SECRET}@127.0.0.1:1/shop",
                        "can't be read (OperationalError", "check host"),
    "no URL": (f"app {SECRET} localhost", "can't be read", "postgresql://user@host/name"),
    "a port that is none": (f"postgresql://app:{SECRET}@host:port/x", "can't be read",
                            "looks like"),
    "an unknown database": (f"nosuchdb://app:{SECRET}@host/x", "no database `nosuchdb`", "install"),
    "a dialect to install": (f"snowflake://app:{SECRET}@host/x", "no database `snowflake`",
                             "pip install 'snowflake-sqlalchemy'"),
    "a driver to install": (f"oracle+oracledb://app:{SECRET}@host/x",
                            "the driver `oracledb` isn't installed", "pip install 'oracledb'"),
    "no folder": ("sqlite:////no/such/folder/x.db", "/no/such/folder/x.db: no such file", ""),
}
# fmt: on


@pytest.mark.parametrize("name", UNREACHABLE)
def test_a_database_that_cant_be_read_is_one_clear_line(name: str) -> None:
    """Place, cause and way out, and never the URL with its password."""
    url, what, hint = UNREACHABLE[name]
    with pytest.raises(SchemaError) as caught:
        schema_of_database(url)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_wrong_password_tells_the_state_and_no_name(database: Database) -> None:
    """What PostgreSQL says quotes the role; only its kind and state are told."""
    url = database.url("postgresql", "nobody_canary")
    with pytest.raises(SchemaError) as caught:
        schema_of_database(url)
    assert "canary" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up() -> None:
    """Everything happens within the limit, connecting included."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(SchemaError):
            schema_of_database(f"postgresql://a:{SECRET}@127.0.0.1:{port}/x", seconds=1)
    waiting = [one for one in threading.enumerate() if one.name == "policyguard-schema"]
    for one in waiting:
        one.join(20)


def test_names_with_escape_sequences_are_only_names(tmp_path: Path) -> None:
    """Whatever a database calls its columns, it is kept as a name."""
    path = tmp_path / "odd.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute('CREATE TABLE "t\x1b[31m" ("a\nb" TEXT, "ü""\'" TEXT, "{}" TEXT)')
    connection.close()
    schema = schema_of_database(f"sqlite:///{path}")
    assert list(schema.tables["t\x1b[31m"].columns) == ["a\nb", "ü\"'", "{}"]
    assert dump_lock(schema).isascii()


def test_fifty_thousand_columns_of_a_database(tmp_path: Path) -> None:
    """Many wide tables are read in bounded time."""
    columns = ", ".join(f"c{n}" for n in range(1_000))
    script = "".join(f"CREATE TABLE t{n} ({columns});" for n in range(50))
    assert schema_of_database(sqlite(tmp_path / "wide.db", script)).size == 50_000
