"""Statements of psycopg are judged as they run, and rows of labelled columns are known."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import namedtuple
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import rows, sql
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from policyguard import NoPurpose, PolicyViolation
from policyguard.config import Guard
from tests.enforce.kit import (
    ACCOUNT,
    ADS,
    COUNTING,
    EMAIL,
    FACE,
    SECURITY,
    ToWire,
    counts,
    guard,
    wire,
)
from tests.postgres.kit import Database, server

VECTOR = [((number * 7919) % 1009) / 1009 - 0.5 for number in range(128)]
DDL = f"""
CREATE TABLE users (id int PRIMARY KEY, email text, name text, likes text);
INSERT INTO users SELECT n, 'person.' || lpad(n::text, 4, '0') || '@mail.example.org',
    'Person Number ' || n, 'likes number ' || n || ' of many' FROM generate_series(0, 19) AS n;
CREATE TABLE faces (user_id int PRIMARY KEY, embedding float8[]);
INSERT INTO faces VALUES (1, ARRAY{VECTOR});
CREATE TABLE notes (id int, text text);
CREATE TABLE audience (id serial PRIMARY KEY, mail text);
CREATE SEQUENCE reads;
"""
EMAILS = "SELECT email FROM users ORDER BY id"
# A read that leaves a trace in the server, whatever becomes of its rows.
TRACED = "SELECT embedding, nextval('reads') FROM faces"


def address(number: int) -> str:
    """One person's address."""
    return f"person.{number:04}@mail.example.org"


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """Twenty people in a real PostgreSQL."""
    with server().database(DDL) as made:
        yield made


@pytest.fixture
def made() -> Iterator[Guard]:
    """A guard that is hooked into psycopg."""
    installed = guard()
    installed.install("psycopg")
    yield installed
    installed.uninstall()


@pytest.fixture
def db(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection whose changes are rolled back."""
    with psycopg.connect(database.dsn()) as connection:
        yield connection
        connection.rollback()


def known(made: Guard, value: object) -> set[str]:
    """Which data a value is known to be."""
    return {label.data for label, _, _ in made.labels_in(value)}


def trace(db: psycopg.Connection[Any]) -> int:
    """How often the server ran what is traced."""
    row = db.execute("SELECT last_value, is_called FROM reads").fetchone()
    assert row is not None
    return int(row[0]) * bool(row[1])


@dataclass
class Mail:
    """What `class_row` makes."""

    email: str


def _copied(db: Any, text: str, read: Callable[[Any], Any] = b"".join) -> Any:
    with db.cursor() as cursor, cursor.copy(text) as copy:
        return read(bytes(data) if not isinstance(data, tuple) else data for data in copy)


def _rows(db: Any, text: str) -> list[Any]:
    with db.cursor() as cursor, cursor.copy(text) as copy:
        return list(copy.rows())


def _declared(db: Any, fetch: Callable[[Any], Any], **more: Any) -> Any:
    with db.cursor("people", **more) as cursor:
        cursor.execute(EMAILS)
        return fetch(cursor)


def _stolen(db: Any) -> Any:
    db.execute(f"DECLARE taken CURSOR FOR {EMAILS}")
    with db.cursor("taken") as cursor:
        return cursor.fetchmany(3)


def _pipelined(db: Any) -> Any:
    with db.pipeline():
        first, second = db.execute("SELECT 1"), db.execute(EMAILS)
        return [first.fetchall(), second.fetchall()]


def _many(db: Any, cursor: Any = None) -> Any:
    cursor = cursor or db.cursor()
    text = "SELECT email FROM users WHERE id = %s"
    cursor.executemany(text, [(0,), (1,)], returning=True)
    return _results(cursor)


def _results(cursor: Any) -> list[Any]:
    found = [cursor.fetchall()]
    while cursor.nextset():
        found.append(cursor.fetchall())
    return found


def _late_factory(db: Any) -> Any:
    cursor = db.execute(EMAILS)
    cursor.row_factory = rows.dict_row
    return cursor.fetchall()


class Own(psycopg.Cursor[Any]):
    """A cursor class of the program's own."""

    def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        """Ask something else than what it was given."""
        del query
        return super().execute(EMAILS, params, **more)


def _factory(factory: Any) -> Callable[[Any], Any]:
    return lambda db: db.cursor(row_factory=factory).execute(EMAILS).fetchall()


Read = Callable[[Any], Any]
TAKEN = sql.SQL("SELECT {} FROM {} ORDER BY id").format(
    sql.Identifier("email"), sql.Identifier("users")
)
READS: dict[str, Read] = {
    "all": lambda db: db.execute(EMAILS).fetchall(),
    "one": lambda db: db.execute(EMAILS).fetchone(),
    "many rows": lambda db: db.execute(EMAILS).fetchmany(3),
    "iteration": lambda db: list(db.execute(EMAILS)),
    "bytes": lambda db: db.execute(EMAILS.encode()).fetchall(),
    "composed": lambda db: db.execute(TAKEN).fetchall(),
    "parameters": lambda db: db.execute(
        "SELECT email FROM users WHERE id = %(id)s", {"id": 0}
    ).fetchall(),
    "prepared": lambda db: [db.execute(EMAILS, prepare=True).fetchall() for _ in range(2)],
    "binary": lambda db: db.execute(EMAILS, binary=True).fetchall(),
    "stream": lambda db: list(db.cursor().stream(EMAILS)),
    "stream in chunks": lambda db: list(db.cursor().stream(EMAILS, size=7)),
    "server cursor": lambda db: _declared(db, lambda c: c.fetchall()),
    "server cursor, one": lambda db: _declared(db, lambda c: c.fetchone()),
    "server cursor, steps": lambda db: _declared(db, list),
    "server cursor, scrolled": lambda db: _declared(
        db, lambda c: (c.scroll(1), c.scroll(0, "absolute"), c.fetchall()), scrollable=True
    ),
    "somebody's cursor": _stolen,
    "client cursor": lambda db: psycopg.ClientCursor(db).execute(EMAILS).fetchall(),
    "raw cursor": lambda db: (
        psycopg.RawCursor(db).execute("SELECT email FROM users WHERE id = $1", (0,)).fetchall()
    ),
    "own class": lambda db: Own(db).execute("SELECT 1").fetchall(),
    "executemany": _many,
    "pipeline": _pipelined,
    "tuples": _factory(rows.tuple_row),
    "dicts": _factory(rows.dict_row),
    "named tuples": _factory(rows.namedtuple_row),
    "classes": _factory(rows.class_row(Mail)),
    "scalars": _factory(rows.scalar_row),
    "a factory set later": _late_factory,
    "copy": lambda db: _copied(db, "COPY (SELECT email FROM users ORDER BY id) TO STDOUT"),
    "copy rows": lambda db: _rows(db, "COPY (SELECT email FROM users ORDER BY id) TO STDOUT"),
    "copy a table": lambda db: _copied(db, "COPY users (id, email) TO STDOUT"),
    "copy csv": lambda db: _copied(
        db, "COPY users (email, name) TO STDOUT (FORMAT csv, HEADER, DELIMITER '|')"
    ),
    "copy binary": lambda db: _copied(
        db, "COPY (SELECT email FROM users ORDER BY id) TO STDOUT (FORMAT binary)"
    ),
    "plain cursor": lambda db: (
        db.execute(f"DECLARE mine CURSOR FOR {EMAILS}"),
        db.execute("FETCH 3 FROM mine").fetchall(),
    )[1],
    "several": lambda db: _results(db.execute(f"{EMAILS}; SELECT id::text FROM users")),
    "renamed": lambda db: db.execute(
        "WITH x AS (SELECT email AS y FROM users) SELECT upper(y) AS z FROM x ORDER BY z"
    ).fetchall(),
}
COPIES = [name for name in READS if name.startswith("copy")]


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_rows_are_known_however_they_are_fetched(
    made: Guard, db: psycopg.Connection[Any], read: Read
) -> None:
    """Whatever way the first address comes, it is known afterwards; another one isn't."""
    with made.purpose(ACCOUNT):
        read(db)
        assert EMAIL in known(made, {"to": address(0)})
        assert EMAIL not in known(made, {"to": address(77)})


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_results_are_those_without_a_guard(db: psycopg.Connection[Any], read: Read) -> None:
    """What the program gets is what it would have got, byte for byte and type for type."""
    bare = read(db)
    db.rollback()
    installed = guard()
    installed.install("psycopg")
    with installed.purpose(ACCOUNT):
        assert repr(read(db)) == repr(bare)
    installed.uninstall()


WAYS: dict[str, Callable[[Any], Any]] = {
    "execute": lambda db: db.execute(TRACED),
    "stream": lambda db: list(db.cursor().stream(TRACED)),
    "executemany": lambda db: db.cursor().executemany(f"{TRACED} WHERE user_id = %s", [(1,)]),
    "server cursor": lambda db: _declared_face(db),  # noqa: PLW0108 - defined below
    "copy": lambda db: _copied(db, f"COPY ({TRACED}) TO STDOUT"),
    "copy to a file": lambda db: db.execute("COPY faces (embedding) TO '/tmp/taken'"),
    "client cursor": lambda db: psycopg.ClientCursor(db).execute(TRACED),
    "several statements": lambda db: db.execute(f"SELECT 1; {TRACED}"),
    "hidden": lambda db: db.execute(f"CREATE TEMP TABLE x AS {TRACED}"),
    "explain": lambda db: db.execute(f"EXPLAIN ANALYZE {TRACED}"),
}


def _declared_face(db: Any) -> Any:
    with db.cursor("faces_of_all") as cursor:
        cursor.execute(TRACED)
        return cursor.fetchall()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_denied_read_does_not_run(
    made: Guard, db: psycopg.Connection[Any], way: Callable[[Any], Any]
) -> None:
    """Faces for ads: the server runs nothing, and the connection goes on after it."""
    before = trace(db)
    with made.purpose(ADS), pytest.raises(PolicyViolation) as caught:
        way(db)
    assert caught.value.decision.flow.data == FACE
    assert trace(db) == before
    assert db.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    with pytest.raises(NoPurpose):
        way(db)


def test_a_denied_statement_in_a_pipeline_leaves_the_others(
    made: Guard, db: psycopg.Connection[Any]
) -> None:
    """It is never queued; what was queued before is answered."""
    before = trace(db)
    with made.purpose(ADS), db.pipeline():
        first = db.execute("SELECT 7")
        with pytest.raises(PolicyViolation):
            db.execute(TRACED)
        assert first.fetchall() == [(7,)]
    assert trace(db) == before


@pytest.mark.parametrize("column", ["embedding", "to_jsonb(embedding)"])
def test_a_face_fetched_here_does_not_reach_the_pixel(
    made: Guard, db: psycopg.Connection[Any], column: str
) -> None:
    """End to end: from a real database to a real request, with no label in the code between."""
    made.install("httpx")
    with wire() as outside, httpx.Client(transport=ToWire(outside)) as client:
        with made.context(purpose=SECURITY):
            row = db.execute(f"SELECT {column} FROM faces").fetchone()
            assert row is not None
            assert row[0] == VECTOR
            for sent in (row[0], [round(number, 9) for number in row[0]], json.dumps(row[0])):
                with pytest.raises(PolicyViolation) as caught, made.purpose(ADS):
                    client.post("https://www.pixel.example/tr", json={"face": sent})
                assert caught.value.decision.flow.recipient == "pixel"
        assert outside.received == []
        with made.context(purpose=ADS, facts={"consent": True}):
            db.execute("SELECT id FROM users").fetchall()
            assert client.post("https://www.pixel.example/tr", json={"n": 1}).status_code == 200
        assert len(outside.received) == 1


def test_values_bound_for_a_recipients_table_are_judged(
    made: Guard, db: psycopg.Connection[Any]
) -> None:
    """What was read and is now written into the pixel's table leaves to the pixel."""
    insert = "INSERT INTO audience (mail) VALUES (%s)"
    with made.purpose(COUNTING):
        mails = [row[0] for row in db.execute(EMAILS)]
        writes: dict[str, Callable[[], Any]] = {
            "execute": lambda: db.execute(insert, (mails[0],)),
            "client": lambda: psycopg.ClientCursor(db).execute(insert, (mails[0],)),
            "list": lambda: db.cursor().executemany(insert, [(None,), (mails[3],)]),
            "generator": lambda: db.cursor().executemany(
                insert, ((mail,) for mail in (None, mails[3]))
            ),
            "select": lambda: db.execute("INSERT INTO audience (mail) SELECT email FROM users"),
            "copy rows": lambda: _written(db, lambda copy: copy.write_row((mails[1],))),
            "copy text": lambda: _written(db, lambda copy: copy.write(f"{mails[1]}\n")),
            "copy csv": lambda: _written(
                db, lambda copy: copy.write(f'"{mails[1]}"\n'), "(FORMAT csv)"
            ),
            "copy binary": lambda: _written(
                db, lambda copy: copy.write_row((mails[1],)), "(FORMAT binary)"
            ),
            "copy bytes": lambda: _written(db, lambda copy: copy.write(f"{mails[1]}\n".encode())),
        }
        for name, write in writes.items():
            with pytest.raises(PolicyViolation) as caught:
                write()
            assert caught.value.decision.flow.recipient == "pixel", name
            db.rollback()
    assert db.execute("SELECT id FROM audience").fetchall() == []


def _written(db: Any, write: Callable[[Any], Any], options: str = ";") -> None:
    with db.cursor() as cursor, cursor.copy(f"COPY audience (mail) FROM STDIN {options}") as copy:
        write(copy)


def test_what_may_be_written_is(made: Guard, db: psycopg.Connection[Any]) -> None:
    """COPY FROM and executemany are as ever: one-shot values, rows and text."""
    with made.purpose(COUNTING):
        db.cursor().executemany(
            "INSERT INTO audience (mail) VALUES (%s)", (("a theme",) for _ in range(3))
        )
        _written(db, lambda copy: [copy.write_row(("x\ty",)), copy.write_row((None,))])
        _written(db, lambda copy: copy.write("tail\n"))
    found = db.execute("SELECT mail FROM audience ORDER BY id").fetchall()
    assert found == [("a theme",)] * 3 + [("x\ty",), (None,), ("tail",)]


def test_a_temporary_table_does_not_launder(made: Guard, db: psycopg.Connection[Any]) -> None:
    """What was copied on this connection is what it was, under any name, and still judged."""
    with made.purpose(SECURITY):
        db.execute("CREATE TEMP TABLE plain AS SELECT embedding AS e FROM faces")
    with made.purpose(SECURITY):
        row = db.execute("SELECT e FROM plain").fetchone()
        assert row is not None
        assert known(made, row[0]) == {FACE}
    with made.purpose(ADS), pytest.raises(PolicyViolation):
        db.execute("SELECT e FROM plain")


def test_every_result_of_a_text_is_labelled(made: Guard, db: psycopg.Connection[Any]) -> None:
    """The last statement reads nothing, the first does: its rows are known all the same."""
    with made.purpose(ACCOUNT):
        assert len(_results(db.execute(f"{EMAILS}; SELECT 'a harmless text'"))) == 2
        assert known(made, address(0)) == {EMAIL}


def test_a_cursor_reused_in_a_pipeline_is_not_mixed_up(
    made: Guard, db: psycopg.Connection[Any]
) -> None:
    """Which of two statements a result belongs to isn't told, so it counts as either's."""
    with made.purpose(ACCOUNT):
        with db.pipeline(), db.cursor() as cursor:
            cursor.execute(EMAILS)
            cursor.execute("SELECT 'a harmless text of ' || id FROM users ORDER BY id")
            found = cursor.fetchall()
        assert EMAIL in known(made, found[0][0])


def test_unlabelled_rows_cost_nothing(made: Guard, db: psycopg.Connection[Any]) -> None:
    """No label, no purpose needed, nothing around the rows, nothing counted."""
    cursor = db.execute("SELECT id, count(*) FROM users GROUP BY id")
    assert cursor._make_row is tuple
    assert len(cursor.fetchall()) == 20
    assert counts(made) == {}
    assert len(made.registry) == 0


def test_types_stay_what_they_are(made: Guard, db: psycopg.Connection[Any]) -> None:
    """Connections, cursors and rows are psycopg's own."""
    assert type(db) is psycopg.Connection
    assert type(db.cursor()) is psycopg.Cursor
    pair = namedtuple("pair", "a")  # noqa: PYI024 - what a program has
    with made.purpose(ACCOUNT):
        cursor = db.cursor(row_factory=rows.args_row(pair)).execute(EMAILS)
        assert type(cursor.fetchone()) is pair


def test_a_text_that_is_only_asked_for_is_no_flow(made: Guard, db: psycopg.Connection[Any]) -> None:
    """`mogrify` sends nothing."""
    text = psycopg.ClientCursor(db).mogrify("SELECT embedding FROM faces WHERE user_id = %s", (1,))
    assert text == "SELECT embedding FROM faces WHERE user_id = 1"
    assert counts(made) == {}


def test_errors_are_the_drivers(made: Guard, db: psycopg.Connection[Any]) -> None:
    """What is wrong is said by the server, and with its own types."""
    with made.purpose(ACCOUNT):
        with pytest.raises(psycopg.errors.UndefinedColumn):
            db.execute("SELECT email, nothing FROM users")
        db.rollback()
        with pytest.raises(psycopg.ProgrammingError):
            db.execute("SELECT %s", ())
        with pytest.raises(psycopg.errors.UniqueViolation):
            db.cursor().executemany("INSERT INTO users (id) VALUES (%s)", ((0,) for _ in range(2)))
        db.rollback()
        cursor = db.cursor()
        cursor.close()
        with pytest.raises(psycopg.InterfaceError):
            cursor.execute("SELECT 1")


def _hooked() -> list[object]:
    from policyguard_psycopg import _patches  # noqa: PLC0415 - installed by the tests above

    return [vars(owner).get(name) for owner, name in _patches()]


def test_hooks_are_counted_and_taken_off_exactly() -> None:
    """Several guards, in any order: the last one restores what was there."""
    first, second = guard(), guard()
    bare = _hooked()
    first.install("psycopg")
    hooked = _hooked()
    assert all(one is not other for one, other in zip(bare, hooked, strict=True))
    second.install("psycopg")
    first.install("psycopg")
    assert _hooked() == hooked
    first.uninstall()
    assert _hooked() == hooked
    first.install("psycopg")
    second.uninstall()
    first.uninstall("psycopg")
    assert all(one is other for one, other in zip(bare, _hooked(), strict=True))


REDACTED: dict[str, Callable[[Any], Any]] = {
    "execute": lambda db: db.execute("SELECT user_id, embedding FROM faces").fetchall(),
    "value": lambda db: db.execute(
        "SELECT user_id, embedding FROM faces WHERE user_id = %s", (1,)
    ).fetchall(),
    "client cursor": lambda db: (
        psycopg.ClientCursor(db).execute("SELECT user_id, embedding FROM faces").fetchall()
    ),
    "stream": lambda db: list(db.cursor().stream("SELECT user_id, embedding FROM faces")),
    "server cursor": lambda db: _redacted_cursor(db),  # noqa: PLW0108 - defined below
    "copy": lambda db: [
        (int(one), two) for one, two in _rows(db, "COPY faces (user_id, embedding) TO STDOUT")
    ],
}


def _redacted_cursor(db: Any) -> Any:
    with db.cursor("people") as cursor:
        cursor.execute("SELECT user_id, embedding FROM faces")
        return cursor.fetchall()


@pytest.mark.parametrize("read", REDACTED.values(), ids=REDACTED)
def test_what_is_denied_is_redacted_before_it_is_sent(
    db: psycopg.Connection[Any], read: Callable[[Any], Any]
) -> None:
    """In mode redact another text is sent: the server itself gives NULL."""
    made = guard("redact")
    made.install("psycopg")
    try:
        with made.purpose(ADS):
            assert read(db) == [(1, None)]
        with made.purpose(SECURITY):
            assert read(db) != [(1, None)]
    finally:
        made.uninstall()


def test_two_guards_each_judge_and_label(made: Guard, db: psycopg.Connection[Any]) -> None:
    """A second guard takes nothing from the first; after it left only the first sees."""
    second = guard()
    second.install("psycopg")
    with made.context(purpose=ACCOUNT), second.context(purpose=ACCOUNT):
        db.execute(EMAILS).fetchone()
        assert known(made, address(0)) == known(second, address(0)) == {EMAIL}
    second.uninstall()
    with made.purpose(ACCOUNT):
        db.execute(EMAILS).fetchone()
    assert sum(counts(second).values()) == 1
    assert sum(counts(made).values()) == 2


def test_connections_from_before_and_of_pools_are_covered(database: Database) -> None:
    """Classes are hooked, so nothing is too early; a returned connection is judged again."""
    with ConnectionPool(database.dsn(), min_size=1, max_size=1, open=True) as pool:
        with pool.connection() as early:
            early.execute("SELECT 1")
        made = guard()
        made.install("psycopg")
        try:
            for _ in range(2):
                with (
                    made.purpose(ADS),
                    pytest.raises(PolicyViolation),
                    pool.connection() as connection,
                ):
                    connection.execute(TRACED)
        finally:
            made.uninstall()


def test_threads_keep_their_purposes(made: Guard, database: Database) -> None:
    """Two purposes at once: each thread is judged by its own."""
    start = threading.Barrier(4)

    def work(number: int) -> str:
        purpose = (SECURITY, ADS)[number % 2]
        with psycopg.connect(database.dsn()) as connection, made.purpose(purpose):
            start.wait()
            try:
                for _ in range(20):
                    connection.execute("SELECT embedding FROM faces").fetchall()
            except PolicyViolation:
                return "denied"
            return "ran"

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == ["ran", "denied"] * 2


@asynccontextmanager
async def _connected(database: Database) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(database.dsn()) as connection:
        yield connection
        await connection.rollback()


async def _streamed(db: Any) -> Any:
    return [row async for row in db.cursor().stream(EMAILS)]


async def _async_copy(db: Any) -> Any:
    async with db.cursor() as cursor, cursor.copy(f"COPY ({EMAILS}) TO STDOUT") as copy:
        return [bytes(data) async for data in copy]


async def _async_server(db: Any) -> Any:
    async with db.cursor("people") as cursor:
        await cursor.execute(EMAILS)
        return [row async for row in cursor]


async def _async_execute(db: Any) -> Any:
    return await (await db.execute(EMAILS)).fetchall()


@pytest.mark.parametrize("read", [_async_execute, _streamed, _async_copy, _async_server])
def test_async_rows_are_known(made: Guard, database: Database, read: Any) -> None:
    """As for sync connections; two tasks on one connection don't mix."""

    async def main() -> None:
        async with _connected(database) as db:
            async with made.context(purpose=ACCOUNT):
                await read(db)
                assert known(made, address(0)) == {EMAIL}
            with made.purpose(ADS), pytest.raises(PolicyViolation):
                await db.execute(TRACED)
            assert (await (await db.execute("SELECT 1")).fetchone()) == (1,)

    asyncio.run(main())


def test_async_copy_into_a_recipients_table_is_judged(made: Guard, database: Database) -> None:
    """Row by row, and the table stays as it was."""

    async def main() -> None:
        async with _connected(database) as db, made.context(purpose=COUNTING):
            mails = await _async_execute(db)
            with pytest.raises(PolicyViolation):
                async with (
                    db.cursor() as cursor,
                    cursor.copy("COPY audience (mail) FROM STDIN") as copy,
                ):
                    await copy.write_row(mails[0])
            await db.rollback()
            assert await (await db.execute("SELECT id FROM audience")).fetchall() == []

    asyncio.run(main())


def test_cancellation_is_as_ever(made: Guard, database: Database) -> None:
    """A cancelled fetch ends as cancelled, and the pool's connection is of use afterwards."""

    async def main() -> None:
        async with AsyncConnectionPool(database.dsn(), min_size=1, max_size=1) as pool:
            async with pool.connection() as db:
                with made.purpose(ACCOUNT):
                    task = asyncio.create_task(_async_slow(db))
                    await asyncio.sleep(0.1)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
            async with pool.connection() as db, made.context(purpose=ACCOUNT):
                assert len(await _async_execute(db)) == 20

    asyncio.run(main())


async def _async_slow(db: Any) -> None:
    await db.execute("SELECT email, pg_sleep(20) FROM users")
