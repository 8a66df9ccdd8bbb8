"""Any DB-API connection can be wrapped: judged before it sends, remembered as it fetches."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import pandas as pd  # type: ignore[import-untyped]  # pandas ships no types
import psycopg
import pyarrow as pa  # type: ignore[import-untyped]  # as above
import pytest
from policyguard_dbapi import guarded, wrap_connect

from policyguard import PolicyViolation
from policyguard.config import Guard
from tests.enforce.kit import ACCOUNT, ADS, COUNTING, EMAIL, FACE, SECURITY, ToWire, counts, wire
from tests.enforce.kit import guard as make
from tests.postgres.kit import Database, server

VECTOR = [((number * 7919) % 1009) / 1009 - 0.5 for number in range(128)]
DDL = f"""
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, name TEXT, likes TEXT);
CREATE TABLE faces (user_id INTEGER PRIMARY KEY, embedding TEXT);
CREATE TABLE audience (mail TEXT);
INSERT INTO faces VALUES (1, '{VECTOR}');
INSERT INTO users VALUES (0, 'person.0000@mail.example.org', 'Person Number 0', 'likes 0');
INSERT INTO users VALUES (1, 'person.0001@mail.example.org', 'Person Number 1', 'likes 1');
"""
EMAILS = "SELECT email FROM users ORDER BY id"
FIRST = "person.0000@mail.example.org"
Db = Any


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """A real PostgreSQL."""
    with server().database(DDL) as made:
        yield made


@pytest.fixture
def made() -> Guard:
    """A guard; nothing is hooked."""
    installed = make()
    installed.install("dbapi")
    return installed


@pytest.fixture(params=["sqlite3", "psycopg"])
def bare(request: pytest.FixtureRequest, database: Database) -> Iterator[Db]:
    """A driver's own connection."""
    if request.param == "psycopg":
        with psycopg.connect(database.dsn()) as connection:
            yield connection
            if not connection.closed:
                connection.rollback()
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(DDL)
        yield connection


@pytest.fixture
def db(bare: Db, made: Guard) -> Db:
    """A guarded one."""
    return wrap(bare, made)


def wrap(bare: Db, made: Guard) -> Db:
    """Guard a connection of either driver."""
    if isinstance(bare, sqlite3.Connection):
        return guarded(bare, made, dialect="sqlite", paramstyle=sqlite3.paramstyle)
    return guarded(bare, made, dialect="postgres", paramstyle=psycopg.paramstyle)


def known(made: Guard, value: object) -> set[str]:
    """Which data a value is known to be."""
    return {label.data for label, _, _ in made.labels_in(value)}


def mark(db: Db) -> str:
    """How the driver writes a parameter."""
    return "?" if isinstance(db, sqlite3.Connection) else "%s"


def _next(db: Db) -> Any:
    cursor = db.execute(f"SELECT 1; {EMAILS}" if mark(db) == "%s" else EMAILS)
    if mark(db) == "%s":
        assert cursor.nextset()
    return cursor.fetchall()


def _cursor(fetch: Callable[[Any], Any]) -> Callable[[Db], Any]:
    def read(db: Db) -> Any:
        with closing(db.cursor()) as cursor:
            cursor.execute(EMAILS)
            return fetch(cursor)

    return read


READS: dict[str, Callable[[Db], Any]] = {
    "one": _cursor(lambda c: c.fetchone()),
    "many": _cursor(lambda c: c.fetchmany(1)),
    "all": _cursor(lambda c: c.fetchall()),
    "iteration": _cursor(list),
    "next": _cursor(next),
    "short cut": lambda db: db.execute(EMAILS).fetchall(),
    "chained": lambda db: db.cursor().execute(EMAILS).fetchall(),
    "value": lambda db: db.execute(
        f"SELECT email FROM users WHERE id = {mark(db)}", (0,)
    ).fetchall(),
    "next result": _next,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_rows_are_known_and_are_those_of_the_driver(
    made: Guard, bare: Db, read: Callable[[Db], Any]
) -> None:
    """Whatever way the first address comes, it is known; what comes is what came before."""
    expected = read(bare)
    with made.context(purpose=ACCOUNT):
        assert read(wrap(bare, made)) == expected
        assert known(made, {"to": FIRST}) == {EMAIL}
        assert known(made, {"to": FIRST.replace("0", "7")}) == set()


def test_a_denied_read_does_not_run(made: Guard, db: Db, bare: Db) -> None:
    """Faces for ads: nothing reaches the driver."""
    sent: list[str] = []
    if isinstance(bare, sqlite3.Connection):
        bare.set_trace_callback(sent.append)
    with made.purpose(ADS):
        for text in (
            "SELECT embedding FROM faces",
            f"SELECT 1; {EMAILS}; SELECT embedding FROM faces",
        ):
            for send in (db.execute, db.cursor().execute):
                with pytest.raises(PolicyViolation) as caught:
                    send(text)
                assert caught.value.decision.flow.data == FACE
        with pytest.raises(PolicyViolation):
            db.cursor().executemany("CREATE TABLE x AS SELECT embedding FROM faces", [(1,)])
    assert sent == []
    assert db.execute("SELECT 1").fetchone() == (1,)


def test_values_bound_for_a_recipients_table_are_judged(made: Guard, db: Db) -> None:
    """What was read and is now written into the pixel's table leaves to the pixel."""
    insert = f"INSERT INTO audience (mail) VALUES ({mark(db)})"
    with made.context(purpose=COUNTING):
        mails = [row[0] for row in db.execute(EMAILS)]
        writes: list[Callable[[], Any]] = [
            lambda: db.execute(insert, (mails[0],)),
            lambda: db.cursor().executemany(insert, [("a",), (mails[1],)]),
            lambda: db.cursor().executemany(insert, ((one,) for one in ("a", mails[1]))),
        ]
        for write in writes:
            with pytest.raises(PolicyViolation) as caught:
                write()
            assert caught.value.decision.flow.recipient == "pixel"
            db.rollback()
        db.cursor().executemany(insert, ((one,) for one in ("a", "b")))
        assert db.execute("SELECT count(*) FROM audience").fetchone() == (2,)


def test_a_temporary_table_does_not_launder(made: Guard, db: Db) -> None:
    """What was copied on this connection is what it was, under any name."""
    with made.context(purpose=SECURITY):
        db.execute("CREATE TEMP TABLE plain AS SELECT embedding AS e FROM faces")
        assert known(made, db.execute("SELECT e FROM plain").fetchone()[0]) == {FACE}
    with made.purpose(ADS), pytest.raises(PolicyViolation):
        db.cursor().execute("SELECT e FROM plain")


def test_a_face_fetched_here_does_not_reach_the_pixel(made: Guard, db: Db) -> None:
    """End to end: from a real database to a real request."""
    made.install("httpx")
    try:
        with wire() as outside, httpx.Client(transport=ToWire(outside)) as client:
            with made.context(purpose=SECURITY):
                (text,) = db.execute("SELECT embedding FROM faces").fetchone()
                with pytest.raises(PolicyViolation), made.purpose(ADS):
                    client.post("https://www.pixel.example/tr", json={"f": text})
                with pytest.raises(PolicyViolation), made.purpose(ADS):
                    client.post("https://www.pixel.example/tr", json={"f": VECTOR})
            assert outside.received == []
    finally:
        made.uninstall()


def test_a_proxy_is_like_what_it_stands_for(made: Guard, db: Db, bare: Db) -> None:
    """`isinstance`, attributes, settings and context managers are the driver's."""
    assert isinstance(db, type(bare))
    with db as entered, closing(entered.cursor()) as cursor:
        assert entered is db
        assert isinstance(cursor, type(bare.cursor()))
        cursor.arraysize = 7
        assert cursor.__wrapped__.arraysize == 7
        cursor.execute("SELECT 1 AS one")
        assert cursor.description[0][0] == "one"
        assert cursor.connection is db
        assert not hasattr(cursor, "no_such_thing")
        assert guarded(db, made, dialect="sqlite").__wrapped__ is bare


def test_unlabelled_rows_cost_nothing(made: Guard, db: Db) -> None:
    """No purpose needed, nothing counted, the driver's own method fetches."""
    cursor = db.execute("SELECT id FROM users")
    assert cursor.fetchall.__self__ is cursor.__wrapped__
    assert len(cursor.fetchall()) == 2
    assert counts(made) == {}


def test_errors_are_the_drivers(made: Guard, db: Db, bare: Db) -> None:
    """What is wrong is said by the driver, and with its own types."""
    error = sqlite3.OperationalError if isinstance(bare, sqlite3.Connection) else psycopg.Error
    with made.purpose(ACCOUNT), pytest.raises(error):
        db.execute("SELECT email, no_such FROM users")


def test_per_cents_are_read_as_the_driver_reads_them(made: Guard, database: Database) -> None:
    """Two stand for one where values are put in; what is sent is the text itself."""
    with psycopg.connect(database.dsn()) as connection, made.context(purpose=ACCOUNT):
        db = guarded(connection, made, dialect="postgres", paramstyle="pyformat")
        text = "SELECT email FROM users WHERE id %% 2 = %s AND email LIKE 'person%%' ORDER BY id"
        assert db.execute(text, (0,)).fetchall() == [(FIRST,)]
        assert known(made, FIRST) == {EMAIL}


def test_what_is_denied_is_redacted_before_it_is_sent(bare: Db) -> None:
    """In mode redact another text is sent, with its per cents doubled where the driver wants it."""
    made = make("redact")
    text = (
        f"SELECT user_id, embedding FROM faces WHERE embedding <> '%%' AND user_id = {mark(bare)}"
    )
    if mark(bare) == "?":
        text = text.replace("%%", "%")
    plain = text.replace("embedding <>", "'x%' <>" if mark(bare) == "?" else "'x%%' <>")
    with made.purpose(ADS):
        assert wrap(bare, made).execute(plain, (1,)).fetchall() == [(1, None)]
        with pytest.raises(PolicyViolation):
            wrap(bare, made).execute(text, (1,))
    with made.purpose(SECURITY):
        assert len(wrap(bare, made).execute(text, (1,)).fetchall()[0][1]) > 100


def test_a_procedure_cannot_be_told(made: Guard) -> None:
    """It may read anything: after it nothing that leaves is known to be clean."""

    class Cursor:
        """What a driver with procedures has; sqlite3 and psycopg have none."""

        description = (("x",),)

        def callproc(self, name: str, parameters: list[int]) -> list[int]:
            """Give the parameters back."""
            del name
            return parameters

        def fetchone(self) -> tuple[str]:
            """A row."""
            return ("some row of a procedure",)

    class Driver:
        """A driver."""

        def cursor(self) -> Cursor:
            """A cursor."""
            return Cursor()

    with made.context(purpose=ACCOUNT):
        cursor = guarded(Driver(), made, dialect="mysql").cursor()
        assert cursor.callproc("everything", [1]) == [1]
        assert cursor.fetchone() == ("some row of a procedure",)
        with pytest.raises(PolicyViolation):
            made.check("any words at all", to="pixel")
    assert counts(made)


def test_frames_of_pandas_are_known(made: Guard) -> None:
    """`pandas.read_sql` works over a guarded connection, whole and in parts."""
    with closing(sqlite3.connect(":memory:")) as bare:
        bare.executescript(DDL)
        db = guarded(bare, made, dialect="sqlite")
        reads: list[Callable[[], Any]] = [
            lambda: pd.read_sql(EMAILS, db),
            lambda: pd.concat(pd.read_sql(EMAILS, db, chunksize=1)),
        ]
        for read in reads:
            with made.context(purpose=ACCOUNT):
                frame = read()
                assert frame.iloc[0, 0] == FIRST
                assert known(made, FIRST) == {EMAIL}
        with made.purpose(ADS), pytest.raises(PolicyViolation):
            pd.read_sql("SELECT embedding FROM faces", db)


@pytest.mark.parametrize("kind", [pa.Table, pd.DataFrame, list])
def test_whole_tables_of_a_driver_are_known(made: Guard, kind: Any) -> None:
    """What drivers of warehouses give beside rows: frames, Arrow tables, batches of them."""

    class Cursor:
        """What such a driver has."""

        def execute(self, text: str) -> None:
            """Nothing to do."""

        def fetch_all_of_it(self) -> Any:
            """A table."""
            held = {"email": [FIRST, None]}
            made = pa.table(held)
            return {list: iter([made]), pa.Table: made}.get(kind, pd.DataFrame(held))

    class Driver:
        """A driver."""

        cursor = Cursor

    with made.context(purpose=ACCOUNT):
        cursor = guarded(Driver(), made, dialect="snowflake").cursor()
        cursor.execute("SELECT EMAIL FROM USERS")
        found = cursor.fetch_all_of_it()
        assert (list(found) if kind is list else found) is not None
        assert known(made, FIRST) == {EMAIL}


def test_a_module_is_wrapped_and_put_back_exactly(made: Guard) -> None:
    """`connect` gives guarded connections until it is undone, in any order."""
    bare = sqlite3.connect
    undo = wrap_connect(sqlite3, made, dialect="sqlite")
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(DDL)
        with made.purpose(ADS), pytest.raises(PolicyViolation):
            db.execute("SELECT embedding FROM faces")
    undo()
    undo()
    assert sqlite3.connect is bare
