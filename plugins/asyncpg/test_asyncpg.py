"""Statements of asyncpg are judged each time they run, and rows of labelled columns are known."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # asyncpg ships no types
import httpx
import pytest

from policyguard import NoPurpose, PluginError, PolicyViolation
from policyguard.config import Guard
from tests.enforce.kit import (
    ACCOUNT,
    ADS,
    COUNTING,
    EMAIL,
    FACE,
    SECURITY,
    ToWireAsync,
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
CREATE TABLE audience (id serial PRIMARY KEY, mail text);
CREATE TYPE mood AS ENUM ('calm', 'glad');
CREATE TABLE notes (id int, mood mood);
INSERT INTO notes VALUES (1, 'glad');
CREATE SEQUENCE reads;
"""
EMAILS = "SELECT email FROM users ORDER BY id"
TRACED = "SELECT embedding, nextval('reads') FROM faces"
Db = Any
Read = Callable[[Db], Awaitable[Any]]


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
    """A guard that is hooked into asyncpg."""
    installed = guard()
    installed.install("asyncpg")
    yield installed
    installed.uninstall()


def places(database: Database) -> dict[str, Any]:
    """Where the server is."""
    own = {"host": database.server.host, "port": database.server.port}
    return {**own, "database": database.name, "user": "postgres"}


@asynccontextmanager
async def connected(database: Database) -> AsyncIterator[Db]:
    """A connection whose changes are rolled back."""
    db = await asyncpg.connect(**places(database))
    change = db.transaction()
    await change.start()
    try:
        yield db
    finally:
        await change.rollback()
        await db.close()


def known(made: Guard, value: object) -> set[str]:
    """Which data a value is known to be."""
    return {label.data for label, _, _ in made.labels_in(value)}


async def _prepared(db: Db, fetch: Callable[[Any], Awaitable[Any]], text: str = EMAILS) -> Any:
    return await fetch(await db.prepare(text))


async def _iterated(db: Db) -> Any:
    return [row async for row in db.cursor(EMAILS, prefetch=3)]


async def _opened(db: Db) -> Any:
    cursor = await db.cursor(EMAILS)
    return [await cursor.fetchrow(), await cursor.fetch(2), await cursor.forward(1)]


async def _prepared_cursor(db: Db) -> Any:
    statement = await db.prepare(EMAILS)
    return [row async for row in statement.cursor()]


async def _copied(db: Db, *args: Any, table: bool = False, **more: Any) -> bytes:
    file = io.BytesIO()
    copy = db.copy_from_table if table else db.copy_from_query
    await copy(*args, output=file, **more)
    return file.getvalue()


async def _plain_cursor(db: Db) -> Any:
    await db.execute(f"DECLARE mine CURSOR FOR {EMAILS}")
    return await db.fetch("FETCH 3 FROM mine")


ONE = "SELECT email FROM users WHERE id = $1"
READS: dict[str, Read] = {
    "fetch": lambda db: db.fetch(EMAILS),
    "fetchrow": lambda db: db.fetchrow(ONE, 0),
    "fetchval": lambda db: db.fetchval(ONE, 0),
    "fetchmany": lambda db: db.fetchmany(ONE, [(0,), (1,)]),
    "prepared fetch": lambda db: _prepared(db, lambda s: s.fetch()),
    "prepared fetchrow": lambda db: _prepared(db, lambda s: s.fetchrow()),
    "prepared fetchval": lambda db: _prepared(db, lambda s: s.fetchval()),
    "prepared many": lambda db: _prepared(db, lambda s: s.fetchmany([(0,), (1,)]), ONE),
    "cursor iteration": _iterated,
    "cursor steps": _opened,
    "prepared cursor": _prepared_cursor,
    "plain cursor": _plain_cursor,
    "copy query": lambda db: _copied(db, EMAILS),
    "copy query with a value": lambda db: _copied(db, ONE, 0),
    "copy table": lambda db: _copied(db, "users", columns=["email", "name"], table=True),
    "copy csv": lambda db: _copied(db, EMAILS, format="csv", header=True),
    "copy binary": lambda db: _copied(db, EMAILS, format="binary"),
    "upper": lambda db: db.fetch("SELECT upper(email) AS x FROM users ORDER BY x"),
    "returning": lambda db: db.fetch("UPDATE users SET name = 'x' RETURNING email"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_rows_are_known_however_they_are_fetched(
    made: Guard, database: Database, read: Read
) -> None:
    """Whatever way the first address comes, it is known afterwards; another one isn't."""

    async def main() -> None:
        async with connected(database) as db, made.context(purpose=ACCOUNT):
            await read(db)
            assert EMAIL in known(made, {"to": address(0)})
            assert EMAIL not in known(made, {"to": address(77)})

    asyncio.run(main())


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_results_are_those_without_a_guard(database: Database, read: Read) -> None:
    """What the program gets is what it would have got, byte for byte and type for type."""

    async def main() -> str:
        async with connected(database) as db:
            return repr(await read(db))

    bare = asyncio.run(main())
    installed = guard()
    installed.install("asyncpg")
    with installed.purpose(ACCOUNT):
        assert asyncio.run(main()) == bare
    installed.uninstall()


async def _many(db: Db) -> Any:
    return await db.executemany(f"{TRACED} WHERE user_id = $1", [(1,)])


async def _cursor(db: Db) -> Any:
    return [row async for row in db.cursor(TRACED)]


WAYS: dict[str, Read] = {
    "execute": lambda db: db.execute(TRACED),
    "execute with a value": lambda db: db.execute(f"{TRACED} WHERE user_id = $1", 1),
    "fetch": lambda db: db.fetch(TRACED),
    "executemany": _many,
    "prepared": lambda db: _prepared(db, lambda s: s.fetch(), TRACED),
    "cursor": _cursor,
    "opened cursor": lambda db: db.cursor(TRACED),
    "copy": lambda db: _copied(db, TRACED),
    "copy to a file": lambda db: db.execute("COPY faces (embedding) TO '/tmp/taken'"),
    "several statements": lambda db: db.execute(f"SELECT 1; {TRACED}"),
    "hidden": lambda db: db.execute(f"CREATE TEMP TABLE x AS {TRACED}"),
}


async def _await(value: Any) -> Any:
    return await value


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_denied_read_does_not_run(made: Guard, database: Database, way: Read) -> None:
    """Faces for ads: the server runs nothing, the connection and its transaction go on."""

    async def main() -> None:
        async with connected(database) as db:
            before = await db.fetchrow("SELECT last_value, is_called FROM reads")
            with made.purpose(ADS), pytest.raises(PolicyViolation) as caught:
                await _await(way(db))
            assert caught.value.decision.flow.data == FACE
            with pytest.raises(NoPurpose):
                await _await(way(db))
            assert await db.fetchrow("SELECT last_value, is_called FROM reads") == before

    asyncio.run(main())


def test_a_statement_prepared_for_one_purpose_is_judged_for_the_next(
    made: Guard, database: Database
) -> None:
    """Prepared statements and open cursors don't carry a purpose along."""

    async def main() -> None:
        async with connected(database) as db:
            with made.purpose(SECURITY):
                statement = await db.prepare(TRACED)
                cursor = await db.cursor("SELECT embedding FROM faces")
                assert len(await statement.fetch()) == 1
            with made.purpose(ADS):
                with pytest.raises(PolicyViolation):
                    await statement.fetch()
                with pytest.raises(PolicyViolation):
                    await cursor.fetch(1)
            with made.purpose(SECURITY):
                assert len(await cursor.fetch(1)) == 1

    asyncio.run(main())


def test_a_face_fetched_here_does_not_reach_the_pixel(made: Guard, database: Database) -> None:
    """End to end: from a real database to a real request, with no label in the code between."""
    made.install("httpx")

    async def main() -> None:
        with wire() as outside:
            async with connected(database) as db, _client(outside) as client:
                with made.context(purpose=SECURITY):
                    face = await db.fetchval("SELECT embedding FROM faces")
                    assert face == VECTOR
                    for sent in (face, [round(number, 9) for number in face]):
                        with pytest.raises(PolicyViolation) as caught, made.purpose(ADS):
                            await client.post("https://www.pixel.example/tr", json={"f": sent})
                        assert caught.value.decision.flow.recipient == "pixel"
                assert outside.received == []
                with made.context(purpose=ADS, facts={"consent": True}):
                    await db.fetch("SELECT id FROM users")
                    answer = await client.post("https://www.pixel.example/tr", json={"n": 1})
                assert answer.status_code == 200

    asyncio.run(main())


def _client(outside: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=ToWireAsync(outside))


async def _rows(values: list[Any]) -> AsyncIterator[Any]:
    for value in values:
        yield value


INSERT = "INSERT INTO audience (mail) VALUES ($1)"
WRITES: dict[str, Callable[[Db, str], Any]] = {
    "execute": lambda db, mail: db.execute(INSERT, mail),
    "fetch": lambda db, mail: db.fetch(f"{INSERT} RETURNING id", mail),
    "text": lambda db, mail: db.execute(f"INSERT INTO audience (mail) VALUES ('{mail}')"),
    "list": lambda db, mail: db.executemany(INSERT, [("a",), (mail,)]),
    "generator": lambda db, mail: db.executemany(INSERT, ((one,) for one in ("a", mail))),
    "select": lambda db, _: db.execute("INSERT INTO audience (mail) SELECT email FROM users"),
    "records": lambda db, mail: db.copy_records_to_table(
        "audience", records=[("a",), (mail,)], columns=["mail"]
    ),
    "later records": lambda db, mail: db.copy_records_to_table(
        "audience", records=((one,) for one in ("a", mail)), columns=["mail"]
    ),
    "async records": lambda db, mail: db.copy_records_to_table(
        "audience", records=_rows([("a",), (mail,)]), columns=["mail"]
    ),
    "file": lambda db, mail: db.copy_to_table(
        "audience", source=io.BytesIO(f"a\n{mail}\n".encode()), columns=["mail"]
    ),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_values_bound_for_a_recipients_table_are_judged(
    made: Guard, database: Database, write: Callable[[Db, str], Any]
) -> None:
    """What was read and is now written into the pixel's table leaves to the pixel."""

    async def main() -> None:
        async with connected(database) as db, made.context(purpose=COUNTING):
            mail = await db.fetchval(EMAILS)
            step = db.transaction()
            await step.start()
            with pytest.raises(PolicyViolation) as caught:
                await write(db, mail)
            assert caught.value.decision.flow.recipient == "pixel"
            await step.rollback()
            assert await db.fetch("SELECT id FROM audience") == []
            if write is not WRITES["select"]:
                await write(db, "no words of anybody")
                assert await db.fetchval("SELECT count(*) FROM audience") >= 1

    asyncio.run(main())


def test_a_temporary_table_does_not_launder(made: Guard, database: Database) -> None:
    """What was copied on this connection is what it was, under any name."""

    async def main() -> None:
        async with connected(database) as db:
            with made.context(purpose=SECURITY):
                await db.execute("CREATE TEMP TABLE plain AS SELECT embedding AS e FROM faces")
            with made.context(purpose=SECURITY):
                assert known(made, await db.fetchval("SELECT e FROM plain")) == {FACE}
            with made.purpose(ADS), pytest.raises(PolicyViolation):
                await db.fetch("SELECT e FROM plain")

    asyncio.run(main())


def test_unlabelled_rows_cost_nothing(made: Guard, database: Database) -> None:
    """No purpose needed, nothing counted; also not what asyncpg itself asks about types."""

    async def main() -> None:
        async with connected(database) as db:
            assert len(await db.fetch("SELECT id FROM users")) == 20
            assert await db.fetchval("SELECT mood FROM notes") == "glad"
            await db.set_type_codec("mood", encoder=str, decoder=str.upper, schema="public")
            assert await db.fetchval("SELECT mood FROM notes") == "GLAD"
        async with asyncpg.create_pool(**places(database), min_size=1, max_size=1) as pool:
            assert await pool.fetchval("SELECT 1") == 1

    asyncio.run(main())
    assert counts(made) == {}
    assert len(made.registry) == 0


def test_what_is_denied_is_redacted_before_it_is_sent(database: Database) -> None:
    """In mode redact another text is prepared; one that is prepared already doesn't run."""
    made, text = guard("redact"), "SELECT user_id, embedding FROM faces"
    made.install("asyncpg")

    async def main() -> None:
        async with connected(database) as db:
            with made.purpose(SECURITY):
                statement = await db.prepare(text)
                assert (await statement.fetchrow())["embedding"] == VECTOR
            with made.purpose(ADS):
                assert tuple(await db.fetchrow(text)) == (1, None)
                assert await _copied(db, text) == b"1\t\\N\n"
                with pytest.raises(PluginError):
                    await statement.fetch()
            with made.purpose(SECURITY):
                assert tuple(await db.fetchrow(text)) == (1, VECTOR)

    try:
        asyncio.run(main())
    finally:
        made.uninstall()


class Own(asyncpg.Record):  # type: ignore[misc]  # as above
    """Records of the program's own class, with other ideas of what a value is."""

    def values(self) -> Any:
        """Nothing."""
        return iter(())


class OwnConnection(asyncpg.Connection):  # type: ignore[misc]  # as above
    """A connection of the program's own class."""

    async def fetch(self, query: str, *args: Any, **more: Any) -> Any:
        """As ever."""
        return await super().fetch(query, *args, **more)


def test_pools_and_own_classes_are_covered(made: Guard, database: Database) -> None:
    """Connections, proxies and records keep their types, and what they give is known."""

    async def main() -> None:
        pool = asyncpg.create_pool(
            **places(database),
            min_size=1,
            max_size=1,
            record_class=Own,
            connection_class=OwnConnection,
        )
        async with pool, pool.acquire() as db, made.context(purpose=ACCOUNT):
            assert isinstance(db._con, OwnConnection)
            row = await db.fetchrow(EMAILS)
            assert type(row) is Own
            assert known(made, row["email"]) == {EMAIL}
            with made.purpose(ADS), pytest.raises(PolicyViolation):
                await db.fetch(TRACED)

    asyncio.run(main())


def test_errors_are_the_drivers(made: Guard, database: Database) -> None:
    """What is wrong is said by the server, and with its own types."""

    async def main() -> None:
        async with connected(database) as db, made.context(purpose=ACCOUNT):
            for text, kind in (
                ("SELECT email, nothing FROM users", asyncpg.UndefinedColumnError),
                ("SELECT 1; SELECT $1", asyncpg.PostgresSyntaxError),
            ):
                with pytest.raises(kind):
                    async with db.transaction():
                        await db.fetch(text)
            with pytest.raises(asyncpg.DataError):
                await db.fetch(ONE, "no number")
            with pytest.raises(asyncpg.UniqueViolationError):
                async with db.transaction():
                    await db.executemany("INSERT INTO users (id) VALUES ($1)", ((0,), (0,)))

    asyncio.run(main())


def _hooked() -> list[object]:
    from policyguard_asyncpg import _patches  # noqa: PLC0415 - installed by the tests above

    return [vars(owner).get(name) for owner, name in _patches()]


def test_hooks_are_counted_and_taken_off_exactly(database: Database) -> None:
    """Several guards, in any order: the last one restores what was there, for open connections."""

    async def main() -> None:
        first, second = guard(), guard()
        bare = _hooked()
        async with connected(database) as db:
            first.install("asyncpg")
            hooked = _hooked()
            second.install("asyncpg")
            with pytest.raises(NoPurpose):
                await db.fetch(TRACED)
            first.uninstall()
            assert _hooked() == hooked
            with pytest.raises(NoPurpose):
                await db.fetch(TRACED)
            second.uninstall()
            assert all(one is other for one, other in zip(bare, _hooked(), strict=True))
            assert len(await db.fetch(EMAILS)) == 20
        assert len(counts(second)) == 1

    asyncio.run(main())


def test_tasks_keep_their_purposes(made: Guard, database: Database) -> None:
    """Two purposes at once over one pool: each task is judged by its own."""

    async def main() -> None:
        async with asyncpg.create_pool(**places(database), min_size=2, max_size=2) as pool:

            async def work(purpose: str) -> str:
                with made.context(purpose=purpose):
                    try:
                        for _ in range(20):
                            await pool.fetch("SELECT embedding FROM faces")
                    except PolicyViolation:
                        return "denied"
                    return "ran"

            found = await asyncio.gather(*(work(purpose) for purpose in (SECURITY, ADS) * 3))
            assert found == ["ran", "denied"] * 3

    asyncio.run(main())


def test_cancellation_and_timeouts_are_as_ever(made: Guard, database: Database) -> None:
    """A cancelled fetch ends as cancelled, and the pool's connection is of use afterwards."""

    async def main() -> None:
        slow = "SELECT email, pg_sleep(20) FROM users"
        async with asyncpg.create_pool(**places(database), min_size=1, max_size=1) as pool:
            with made.context(purpose=ACCOUNT):
                async with pool.acquire() as db:
                    task = asyncio.create_task(db.fetch(slow))
                    await asyncio.sleep(0.1)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                with pytest.raises(TimeoutError):
                    await pool.fetch(slow, timeout=0.1)
                assert len(await pool.fetch(EMAILS)) == 20

    asyncio.run(main())
