"""Statements and relations of DuckDB are judged, and labelled columns are known."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pandas as pd  # type: ignore[import-untyped]  # pandas ships no types
import pytest

from policyguard import PluginError, PolicyViolation
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

VECTOR = [((number * 7919) % 1009) / 1009 - 0.5 for number in range(128)]
DDL = f"""
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, name TEXT, likes TEXT);
CREATE TABLE faces (user_id INTEGER PRIMARY KEY, embedding DOUBLE[]);
CREATE TABLE audience (id INTEGER, mail TEXT);
CREATE TABLE notes (id INTEGER, text TEXT);
INSERT INTO faces VALUES (1, {VECTOR});
INSERT INTO users SELECT n, 'person.' || lpad(n::text, 4, '0') || '@mail.example.org',
    'Person Number ' || n, 'likes number ' || n FROM range(20) AS t(n);
CREATE SEQUENCE reads;
"""
EMAILS = "SELECT email FROM users ORDER BY id"
Db = Any


def address(number: int) -> str:
    """One person's address."""
    return f"person.{number:04}@mail.example.org"


@pytest.fixture
def bare() -> Iterator[Db]:
    """Twenty people, in a connection from before any guard."""
    with duckdb.connect() as connection:
        connection.execute(DDL)
        yield connection


@pytest.fixture
def made(bare: Db) -> Iterator[Guard]:
    """A guard that is hooked into DuckDB, after the connection was there."""
    del bare
    installed = guard()
    installed.install("duckdb")
    yield installed
    installed.uninstall()


@pytest.fixture
def db(bare: Db, made: Guard) -> Db:
    """The same connection, after the guard came."""
    del made
    return bare


def known(made: Guard, value: object) -> set[str]:
    """Which data a value is known to be."""
    return {label.data for label, _, _ in made.labels_in(value)}


def _late(db: Db) -> Any:
    db.execute(EMAILS)
    return [db.fetchone(), db.fetchmany(2), db.fetchall()]


READS: dict[str, Callable[[Db], Any]] = {
    "all": lambda db: db.execute(EMAILS).fetchall(),
    "steps": _late,
    "one": lambda db: db.execute(EMAILS).fetchone(),
    "value": lambda db: db.execute("SELECT email FROM users WHERE id = ?", [0]).fetchall(),
    "named": lambda db: db.execute("SELECT email FROM users WHERE id = $id", {"id": 0}).fetchall(),
    "frame": lambda db: db.execute(EMAILS).df().to_dict(),
    "frame of a relation": lambda db: db.sql(EMAILS).df().to_dict(),
    "chunk": lambda db: db.execute(EMAILS).fetch_df_chunk().to_dict(),
    "arrays": lambda db: {k: list(v) for k, v in db.execute(EMAILS).fetchnumpy().items()},
    "arrow": lambda db: db.sql(EMAILS).to_arrow_table().to_pydict(),
    "dicts": lambda db: db.sql(EMAILS).to_dicts(),
    "iteration": lambda db: list(db.sql(EMAILS).iter_rows()),
    "relation": lambda db: db.sql(EMAILS).fetchall(),
    "relation, one": lambda db: db.query(EMAILS).limit(1).fetchall(),
    "from query": lambda db: db.from_query(EMAILS).limit(3).fetchall(),
    "table": lambda db: db.table("users").project("email").fetchall(),
    "chain": lambda db: db.sql(EMAILS).filter("email LIKE 'p%'").order("email").fetchall(),
    "cursor": lambda db: db.cursor().execute(EMAILS).fetchall(),
    "statement": lambda db: db.execute(db.extract_statements(EMAILS)[0]).fetchall(),
    "over a relation": lambda db: (
        db.sql(EMAILS).query("people", "SELECT upper(email) AS e FROM people ORDER BY e").fetchall()
    ),
    "from first": lambda db: db.execute("FROM users SELECT email ORDER BY id").fetchall(),
    "returning": lambda db: db.execute("DELETE FROM users RETURNING email").fetchall(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_rows_are_known_however_they_are_fetched(
    made: Guard, db: Db, read: Callable[[Db], Any]
) -> None:
    """Whatever way the first address comes, it is known afterwards; another one isn't."""
    with made.purpose(ACCOUNT):
        read(db)
        assert EMAIL in known(made, {"to": address(0)})
        assert EMAIL not in known(made, {"to": address(77)})


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_results_are_those_without_a_guard(bare: Db, read: Callable[[Db], Any]) -> None:
    """What the program gets is what it would have got."""
    bare.execute("BEGIN")
    expected = repr(read(bare))
    bare.execute("ROLLBACK")
    installed = guard()
    installed.install("duckdb")
    with installed.purpose(ACCOUNT):
        assert repr(read(bare)) == expected
    installed.uninstall()


TRACED = "SELECT embedding, nextval('reads') FROM faces"
WAYS: dict[str, Callable[[Db, Path], Any]] = {
    "execute": lambda db, _: db.execute(TRACED),
    "several": lambda db, _: db.execute(f"SELECT 1; {TRACED}"),
    "many": lambda db, _: db.executemany(f"{TRACED} WHERE user_id = ?", [[1]]),
    "sql": lambda db, _: db.sql(TRACED),
    "query": lambda db, _: db.query(TRACED),
    "relation": lambda db, _: db.table("faces").project("embedding, nextval('reads')").fetchall(),
    "shown": lambda db, _: str(db.table("faces").project("embedding, nextval('reads')")),
    "hidden": lambda db, _: db.execute(f"CREATE TABLE x AS {TRACED}"),
    "view of a relation": lambda db, _: (
        db.table("faces").project("embedding, nextval('reads') AS n").create("x")
    ),
    "file": lambda db, path: db.execute(f"COPY ({TRACED}) TO '{path}/x.parquet'"),
    "csv": lambda db, path: db.table("faces").project("embedding").write_csv(f"{path}/x.csv"),
    "parquet": lambda db, path: (
        db.table("faces").project("embedding").to_parquet(f"{path}/x.parquet")
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_denied_read_does_not_run(
    made: Guard, db: Db, way: Callable[[Db, Path], Any], tmp_path: Path
) -> None:
    """Faces for ads: DuckDB runs nothing and writes no file; the connection goes on."""
    with made.purpose(ADS), pytest.raises(PolicyViolation) as caught:
        way(db, tmp_path)
    assert caught.value.decision.flow.data == FACE
    assert db.execute("SELECT nextval('reads')").fetchone() == (1,)
    assert list(tmp_path.iterdir()) == []
    assert db.execute("SELECT table_name FROM information_schema.tables").fetchall()
    with pytest.raises(duckdb.CatalogException):
        db.execute("SELECT 1 FROM x")


def test_an_allowed_read_is_not_an_allowed_export(made: Guard, db: Db, tmp_path: Path) -> None:
    """Addresses may be read for the account; a file is nobody's whom the policy knows."""
    with made.purpose(ACCOUNT), pytest.raises(PolicyViolation):
        db.sql(EMAILS).write_csv(str(tmp_path / "x.csv"))
    assert list(tmp_path.iterdir()) == []


def test_a_relation_is_judged_for_the_purpose_of_then(made: Guard, db: Db) -> None:
    """It is lazy: made for one purpose, fetched for another."""
    with made.purpose(SECURITY):
        relation = db.sql("SELECT embedding FROM faces")
        assert len(relation.fetchall()) == 1
    with made.purpose(ADS), pytest.raises(PolicyViolation):
        relation.fetchall()


def test_a_face_fetched_here_does_not_reach_the_pixel(made: Guard, db: Db) -> None:
    """End to end: from a real database to a real request, by rows and by a frame."""
    made.install("httpx")
    reads: list[Callable[[], Any]] = [
        lambda: db.execute("SELECT embedding FROM faces").fetchall()[0][0],
        lambda: list(db.sql("SELECT embedding FROM faces").df()["embedding"][0]),
    ]
    with wire() as outside, httpx.Client(transport=ToWire(outside)) as client:
        for read in reads:
            with made.context(purpose=SECURITY):
                face = read()
                assert face == VECTOR
                for sent in (face, [round(number, 9) for number in face]):
                    with pytest.raises(PolicyViolation) as caught, made.purpose(ADS):
                        client.post("https://www.pixel.example/tr", json={"face": sent})
                    assert caught.value.decision.flow.recipient == "pixel"
        assert outside.received == []
        with made.context(purpose=ADS, facts={"consent": True}):
            assert client.post("https://www.pixel.example/tr", json={"n": 1}).status_code == 200


def test_values_bound_for_a_recipients_table_are_judged(made: Guard, db: Db) -> None:
    """What was read and is now written into the pixel's table leaves to the pixel."""
    insert = "INSERT INTO audience (mail) VALUES (?)"
    with made.context(purpose=COUNTING):
        mails = [row[0] for row in db.execute(EMAILS).fetchall()]
        writes: dict[str, Callable[[], Any]] = {
            "execute": lambda: db.execute(insert, [mails[0]]),
            "many": lambda: db.executemany(insert, [["a"], [mails[1]]]),
            "select": lambda: db.execute("INSERT INTO audience (mail) SELECT email FROM users"),
            "relation": lambda: db.table("users").project("id, email").insert_into("audience"),
            "frame": lambda: db.append("audience", pd.DataFrame({"id": [1], "mail": [mails[0]]})),
            "appender": lambda: db.appender("audience"),
        }
        for name, write in writes.items():
            with pytest.raises(PolicyViolation) as caught:
                write()
            assert caught.value.decision.flow.recipient == "pixel", name
        assert db.execute("SELECT count(*) FROM audience").fetchone() == (0,)
        db.executemany(insert, [["a"], ["b"]])
        db.append("audience", pd.DataFrame({"id": [1], "mail": ["some theme"]}))
        assert db.execute("SELECT count(*) FROM audience").fetchone() == (3,)


def test_a_table_does_not_launder(made: Guard, db: Db) -> None:
    """What was copied is what it was, under any name, on this connection and on the next."""
    with made.context(purpose=SECURITY):
        db.execute("CREATE TABLE plain AS SELECT embedding AS e FROM faces")
        assert known(made, db.execute("SELECT e FROM plain").fetchone()[0]) == {FACE}
    with made.purpose(ADS):
        for other in (db, db.cursor()):
            with pytest.raises(PolicyViolation):
                other.execute("SELECT e FROM plain")


GLOBAL_FRAME = pd.DataFrame({"x": ["some words of a frame"]})


@pytest.mark.parametrize("name", ["own_frame", "GLOBAL_FRAME"])
def test_a_frame_read_by_name_cannot_be_told(made: Guard, db: Db, name: str) -> None:
    """It is found as ever; after it nothing that leaves is known to be clean."""
    own_frame = GLOBAL_FRAME.copy()
    with made.context(purpose=ACCOUNT):
        for found in (db.execute(f"SELECT x FROM {name}"), db.sql(f"SELECT x FROM {name}")):
            assert found.fetchall() == [("some words of a frame",)]
        with pytest.raises(PolicyViolation):
            made.check("any words at all", to="pixel")
    assert len(own_frame) == 1


def test_what_a_reader_gives_later_is_not_seen(made: Guard, db: Db) -> None:
    """After a reader of labelled columns nothing that leaves is known to be clean."""
    with made.context(purpose=ACCOUNT):
        assert db.sql(EMAILS).to_arrow_reader().read_all().num_rows == 20
        with pytest.raises(PolicyViolation):
            made.check("any words at all", to="pixel")


def test_functions_of_the_module_are_covered(made: Guard) -> None:
    """The default connection is one like any other."""
    duckdb.execute("CREATE OR REPLACE TABLE users (id INTEGER, email TEXT)")
    duckdb.execute("CREATE OR REPLACE TABLE faces (user_id INTEGER, embedding TEXT)")
    duckdb.execute("INSERT INTO users VALUES (0, ?)", [address(0)])
    try:
        default: Any = duckdb
        reads: list[Callable[[], Any]] = [
            lambda: default.execute("SELECT email FROM users").fetchall(),
            lambda: (default.execute("SELECT email FROM users"), default.fetchall())[1],
            lambda: default.sql("SELECT email FROM users").fetchall(),
        ]
        for read in reads:
            with made.context(purpose=ACCOUNT):
                assert read() == [(address(0),)]
                assert known(made, address(0)) == {EMAIL}
        with made.purpose(ADS):
            for run in (duckdb.execute, duckdb.sql, duckdb.query):
                with pytest.raises(PolicyViolation):
                    run("SELECT embedding FROM faces")
    finally:
        duckdb.execute("DROP TABLE users; DROP TABLE faces")


def test_unlabelled_rows_cost_nothing(made: Guard, db: Db) -> None:
    """No label, no purpose needed, nothing counted."""
    assert len(db.execute("SELECT id FROM users").fetchall()) == 20
    assert db.sql("SELECT count(*) AS n FROM notes").fetchall() == [(0,)]
    assert type(db) is duckdb.DuckDBPyConnection
    assert counts(made) == {}
    assert len(made.registry) == 0


def test_errors_are_the_drivers(made: Guard, db: Db) -> None:
    """What is wrong is said by DuckDB, and with its own types."""
    with made.purpose(ACCOUNT):
        with pytest.raises(duckdb.BinderException):
            db.execute("SELECT email, no_such FROM users")
        with pytest.raises(duckdb.ConstraintException):
            db.executemany("INSERT INTO users (id) VALUES (?)", [[0], [0]])
        with pytest.raises((TypeError, duckdb.Error)):
            db.execute(7)


def test_what_is_denied_is_redacted_before_it_runs(bare: Db) -> None:
    """In mode redact another text runs; a relation that is lazy already doesn't."""
    made, text = guard("redact"), "SELECT user_id, embedding FROM faces"
    made.install("duckdb")
    with made.purpose(SECURITY):
        relation = bare.sql(text)
    with made.purpose(ADS):
        assert bare.execute(text).fetchall() == bare.sql(text).fetchall() == [(1, None)]
        with pytest.raises(PluginError):
            relation.fetchall()
    made.uninstall()


def _hooked() -> list[object]:
    from policyguard_duckdb import _patches  # noqa: PLC0415 - installed by the tests above

    return [vars(owner).get(name) for owner, name in _patches()]


def test_hooks_are_counted_and_taken_off_exactly(bare: Db) -> None:
    """Several guards, in any order: the last one restores what was there."""
    first, second = guard(), guard()
    before = _hooked()
    first.install("duckdb")
    second.install("duckdb")
    first.uninstall()
    with pytest.raises(PolicyViolation):
        bare.execute("SELECT embedding FROM faces")
    second.uninstall()
    assert all(one is other for one, other in zip(before, _hooked(), strict=True))
    assert len(bare.execute("SELECT embedding FROM faces").fetchall()) == 1


def test_threads_and_tasks_keep_their_purposes(made: Guard, db: Db) -> None:
    """Two purposes at once, each on a cursor of its own."""
    found: dict[int, str] = {}

    def work(number: int, cursor: Db) -> None:
        with made.context(purpose=(SECURITY, ADS)[number % 2]):
            try:
                for _ in range(20):
                    cursor.execute("SELECT embedding FROM faces").fetchall()
            except PolicyViolation:
                found[number] = "denied"
            else:
                found[number] = "ran"

    threads = [threading.Thread(target=work, args=(n, db.cursor())) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: "ran", 1: "denied", 2: "ran", 3: "denied"}

    async def main() -> None:
        cursors = [db.cursor() for _ in range(4)]
        await asyncio.gather(*(asyncio.to_thread(work, n, c) for n, c in enumerate(cursors)))

    found.clear()
    asyncio.run(main())
    assert found == {0: "ran", 1: "denied", 2: "ran", 3: "denied"}
