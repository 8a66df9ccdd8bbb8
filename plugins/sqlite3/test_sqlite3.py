"""Statements of sqlite3 are judged before they run, by their text and by what SQLite says."""

from __future__ import annotations

import asyncio
import gc
import json
import sqlite3
import threading
import weakref
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import httpx
import pytest

from policyguard import PolicyViolation
from policyguard.config import Guard
from policyguard.stores.sqlite import SqliteSubjects
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
DDL = """
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, name TEXT, likes TEXT);
CREATE TABLE faces (user_id INTEGER PRIMARY KEY, embedding BLOB);
CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
CREATE TABLE audience (id INTEGER PRIMARY KEY, mail TEXT);
"""
EMAILS = "SELECT email FROM users ORDER BY id"


def address(number: int) -> str:
    """One person's address."""
    return f"person.{number:04}@mail.example.org"


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Twenty people and a face, written before any guard is there."""
    path = str(tmp_path / "people.db")
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(DDL)
        rows = ((n, address(n), f"Person Number {n}", f"likes {n}") for n in range(20))
        db.executemany("INSERT INTO users VALUES (?, ?, ?, ?)", rows)
        db.execute("INSERT INTO faces VALUES (1, ?)", (json.dumps(VECTOR),))
        db.execute("INSERT INTO faces VALUES (2, ?)", (array("d", VECTOR).tobytes(),))
    return path


@pytest.fixture
def made() -> Iterator[Guard]:
    """A guard that is hooked into sqlite3."""
    installed = guard()
    installed.install("sqlite3")
    yield installed
    installed.uninstall()


@pytest.fixture
def db(made: Guard, file: str) -> Iterator[sqlite3.Connection]:
    """A guarded connection; `ran` counts what the database really does."""
    del made
    with closing(sqlite3.connect(file)) as connection:
        yield connection


def known(made: Guard, value: object) -> set[str]:
    """Which data a value is known to be."""
    return {label.data for label, _, _ in made.labels_in(value)}


class Mail:
    """What a program's row factory makes."""

    def __init__(self, cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> None:
        self.email, self.name = row[0], cursor.description[0][0]

    def __repr__(self) -> str:
        return f"Mail({self.email}, {self.name})"


def _with(factory: Any) -> Callable[[sqlite3.Connection], Any]:
    def read(db: sqlite3.Connection) -> Any:
        db.row_factory = factory
        found = db.execute(EMAILS).fetchall()
        return [tuple(row) if isinstance(row, sqlite3.Row) else row for row in found]

    return read


def _late(db: sqlite3.Connection) -> Any:
    cursor = db.execute(EMAILS)
    assert cursor.row_factory is None
    cursor.row_factory = Mail
    assert cursor.row_factory is Mail
    return cursor.fetchall()


class OwnCursor(sqlite3.Cursor):
    """A cursor class of the program's own: asks something else than what it was given."""

    def execute(self, *args: Any) -> Any:
        """Ask for addresses."""
        del args
        return super().execute(EMAILS)


def _blob(db: sqlite3.Connection) -> Any:
    with db.blobopen("users", "email", 0, readonly=True) as blob:
        return blob.read()


READS: dict[str, Callable[[sqlite3.Connection], Any]] = {
    "all": lambda db: db.execute(EMAILS).fetchall(),
    "one": lambda db: db.execute(EMAILS).fetchone(),
    "many": lambda db: db.cursor().execute(EMAILS).fetchmany(3),
    "iteration": lambda db: list(db.execute(EMAILS)),
    "next": lambda db: next(db.execute(EMAILS)),
    "values": lambda db: db.execute("SELECT email FROM users WHERE id = ?", (0,)).fetchall(),
    "names": lambda db: db.execute("SELECT email FROM users WHERE id = :id", {"id": 0}).fetchall(),
    "rows": _with(sqlite3.Row),
    "dicts": _with(lambda cursor, row: {cursor.description[0][0]: row[0]}),
    "objects": _with(Mail),
    "a factory set later": _late,
    "own cursor": lambda db: db.cursor(OwnCursor).execute("SELECT 1").fetchall(),
    "cursor from a function": lambda db: (
        db.cursor(
            lambda connection: OwnCursor(connection)  # noqa: PLW0108 - a function, not a class
        )
        .execute("SELECT 1")
        .fetchall()
    ),
    "returning": lambda db: db.execute("DELETE FROM users RETURNING email").fetchall(),
    "blob": _blob,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_rows_are_known_however_they_are_fetched(
    made: Guard, db: sqlite3.Connection, read: Callable[[sqlite3.Connection], Any]
) -> None:
    """Whatever way the first address comes, it is known afterwards; another one isn't."""
    with made.purpose(ACCOUNT):
        read(db)
        assert known(made, {"to": address(0)}) == {EMAIL}
        assert known(made, {"to": address(77)}) == set()


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_results_are_those_without_a_guard(
    file: str, read: Callable[[sqlite3.Connection], Any]
) -> None:
    """What the program gets is what it would have got."""
    with closing(sqlite3.connect(file)) as plain:
        bare = repr(read(plain))
    installed = guard()
    installed.install("sqlite3")
    with installed.purpose(ACCOUNT), closing(sqlite3.connect(file)) as db:
        assert repr(read(db)) == bare
    installed.uninstall()


TRACED = "SELECT trace(embedding) FROM faces"
WAYS: dict[str, Callable[[sqlite3.Connection], Any]] = {
    "execute": lambda db: db.execute("SELECT embedding, trace() FROM faces").fetchall(),
    "cursor": lambda db: db.cursor().execute("SELECT embedding, trace() FROM faces").fetchall(),
    "script": lambda db: db.executescript("SELECT embedding FROM faces; SELECT trace();"),
    "many": lambda db: db.executemany(
        "INSERT INTO notes (text) SELECT trace() FROM faces WHERE embedding > ?", [(1,)]
    ),
    "hidden": lambda db: db.execute("CREATE TABLE x AS SELECT embedding, trace() FROM faces"),
    "predicate": lambda db: db.execute(
        "SELECT trace() FROM faces WHERE length(embedding) > 1"
    ).fetchall(),
    "blob": lambda db: db.blobopen("faces", "embedding", 1),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_denied_read_does_not_run(
    made: Guard, db: sqlite3.Connection, way: Callable[[sqlite3.Connection], Any]
) -> None:
    """Faces for ads: the database runs nothing, and the connection goes on after it."""
    ran: list[object] = []
    db.create_function("trace", -1, lambda *values: ran.append(values))
    with made.purpose(ADS):
        with pytest.raises(PolicyViolation) as caught:
            way(db)
        assert caught.value.decision.flow.data == FACE
        assert ran == []
        assert not db.in_transaction
        assert db.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_a_cursor_made_past_the_connection_is_refused_by_the_database(
    made: Guard, db: sqlite3.Connection
) -> None:
    """`sqlite3.Cursor(connection)` isn't ours, but the database asks us all the same."""
    with made.purpose(ADS):
        with pytest.raises(sqlite3.DatabaseError):
            sqlite3.Cursor(db).execute("SELECT embedding FROM faces")
        with pytest.raises(sqlite3.DatabaseError):
            sqlite3.Connection.cursor(db).execute("SELECT embedding FROM faces WHERE 1")
    with made.context(purpose=SECURITY):
        sqlite3.Cursor(db).execute("SELECT embedding, 1 FROM faces").fetchall()
        with pytest.raises(PolicyViolation):
            made.check("any words at all", to="pixel")


def test_what_a_text_hides_is_told_by_the_database(made: Guard, db: sqlite3.Connection) -> None:
    """A star, a function that nobody knows: the columns are judged all the same."""
    db.create_function("own", 1, lambda value: value)
    texts = (
        "SELECT * FROM faces",
        "SELECT own(1); SELECT embedding FROM faces",
        "WITH x AS (SELECT own(user_id) AS u FROM faces) SELECT * FROM x, faces",
    )
    for text in texts:
        with made.purpose(ADS), pytest.raises(PolicyViolation) as caught:
            (db.executescript if ";" in text else db.execute)(text)
        assert caught.value.decision.flow.data == FACE
    with made.context(purpose=SECURITY):
        for _ in range(2):
            with made.context(purpose=SECURITY):
                held = db.execute("SELECT * FROM faces").fetchone()[1]
                assert known(made, held) == {FACE}
        db.execute("SELECT *, own('some words of nobody') AS w FROM notes").fetchall()
        assert known(made, "some words of nobody") == set()


def test_what_a_trigger_reads_is_judged(file: str) -> None:
    """The text reads nothing, the trigger does: SQLite tells, every time the text runs."""
    with closing(sqlite3.connect(file)) as plain, plain:
        plain.execute(
            "CREATE TRIGGER t AFTER INSERT ON notes BEGIN"
            " UPDATE notes SET text = (SELECT embedding FROM faces); END"
        )
    made = guard()
    made.install("sqlite3")
    insert = "INSERT INTO notes (text) VALUES ('a note') RETURNING text"
    with closing(sqlite3.connect(file)) as db:
        with made.purpose(ADS):
            for _ in range(2):
                with pytest.raises(PolicyViolation) as caught:
                    db.execute(insert)
                assert caught.value.decision.flow.data == FACE
                assert caught.value.__cause__ is None
        for _ in range(2):
            with made.context(purpose=SECURITY):
                text = db.execute(insert).fetchone()[0]
                assert FACE in known(made, text)
        with made.purpose(ADS), pytest.raises(PolicyViolation):
            db.execute(insert)
        db.rollback()
    made.uninstall()


def test_what_a_trigger_writes_to_a_recipient_is_refused(file: str) -> None:
    """A trigger that fills the pixel's table: what leaves isn't told, so it is blocked."""
    with closing(sqlite3.connect(file)) as plain, plain:
        plain.execute(
            "CREATE TRIGGER t AFTER UPDATE ON users BEGIN"
            " INSERT INTO audience (mail) VALUES (new.email); END"
        )
    made = guard()
    made.install("sqlite3")
    with closing(sqlite3.connect(file)) as db, made.purpose(ACCOUNT):
        with pytest.raises(PolicyViolation) as caught:
            db.execute("UPDATE users SET name = 'x'")
        assert caught.value.decision.flow.recipient == "pixel"
        assert db.execute("SELECT count(*) FROM audience").fetchone() == (0,)
    made.uninstall()


def test_the_programs_own_authorizer_still_counts(made: Guard, db: sqlite3.Connection) -> None:
    """Its refusal is a refusal with the driver's own error, and None takes it off again."""
    asked: list[int] = []

    def refuse(action: int, *rest: Any) -> int:
        asked.append(action)
        return sqlite3.SQLITE_DENY if "likes" in rest else sqlite3.SQLITE_OK

    db.set_authorizer(refuse)
    with made.purpose(ACCOUNT):
        with pytest.raises(sqlite3.DatabaseError, match="prohibited"):
            db.execute("SELECT likes FROM users")
        assert len(db.execute(EMAILS).fetchall()) == 20
        with pytest.raises(PolicyViolation):
            db.execute("SELECT embedding FROM faces")
        db.set_authorizer(None)
        assert sqlite3.SQLITE_READ in asked
        asked.clear()
        assert len(db.execute("SELECT id FROM users").fetchall()) == 20
        assert asked == []


@pytest.mark.parametrize("person", [1, 2])
def test_a_face_fetched_here_does_not_reach_the_pixel(
    made: Guard, db: sqlite3.Connection, person: int
) -> None:
    """End to end: from a real database to a real request; the bytes of a vector as numbers too."""
    made.install("httpx")
    with wire() as outside, httpx.Client(transport=ToWire(outside)) as client:
        with made.context(purpose=SECURITY):
            text = "SELECT embedding FROM faces WHERE user_id = ?"
            (held,) = db.execute(text, (person,)).fetchone()
            face = json.loads(held) if person == 1 else array("d", held).tolist()
            assert face == VECTOR
            for sent in (face, [round(number, 9) for number in face], json.dumps(face)):
                with pytest.raises(PolicyViolation) as caught, made.purpose(ADS):
                    client.post("https://www.pixel.example/tr", json={"face": sent})
                assert caught.value.decision.flow.recipient == "pixel"
        assert outside.received == []
        with made.context(purpose=ADS, facts={"consent": True}):
            assert client.post("https://www.pixel.example/tr", json={"n": 1}).status_code == 200


def test_values_bound_for_a_recipients_table_are_judged(
    made: Guard, db: sqlite3.Connection
) -> None:
    """What was read and is now written into the pixel's table leaves to the pixel."""
    insert = "INSERT INTO audience (mail) VALUES (?)"
    with made.context(purpose=COUNTING):
        mails = [row[0] for row in db.execute(EMAILS)]
        writes: list[Callable[[], Any]] = [
            lambda: db.execute(insert, (mails[0],)),
            lambda: db.executemany(insert, [(None,), (mails[3],)]),
            lambda: db.executemany(insert, ((mail,) for mail in (None, mails[3]))),
            lambda: db.execute("INSERT INTO audience (mail) SELECT email FROM users"),
            lambda: db.executescript(f"INSERT INTO audience (mail) VALUES ('{mails[0]}');"),
            lambda: db.blobopen("audience", "mail", 1),
        ]
        for write in writes:
            with pytest.raises(PolicyViolation) as caught:
                write()
            assert caught.value.decision.flow.recipient == "pixel"
            db.rollback()
        assert db.execute("SELECT count(*) FROM audience").fetchone() == (0,)
        db.executemany(insert, ((word,) for word in ("a theme", "another")))
        assert db.execute("SELECT count(*) FROM audience").fetchone() == (2,)


def test_a_temporary_table_does_not_launder(made: Guard, db: sqlite3.Connection) -> None:
    """What was copied on this connection is what it was, under any name."""
    with made.context(purpose=SECURITY):
        db.execute("CREATE TEMP TABLE plain AS SELECT embedding AS e FROM faces")
    with made.context(purpose=SECURITY):
        assert known(made, db.execute("SELECT e FROM plain").fetchone()[0]) == {FACE}
    with made.purpose(ADS), pytest.raises(PolicyViolation):
        db.execute("SELECT e FROM plain")


def test_whole_copies_of_a_database_cannot_be_told(made: Guard, db: sqlite3.Connection) -> None:
    """A dump holds any column: after it nothing that leaves is known to be clean."""
    dumps: list[Callable[[], Any]] = [lambda: list(db.iterdump()), db.serialize]
    for dump in dumps:
        with made.context(purpose=SECURITY):
            assert dump()
            with pytest.raises(PolicyViolation):
                made.check("any words at all", to="pixel")
    before = sum(counts(made).values())
    with made.purpose(SECURITY), closing(sqlite3.connect(":memory:")) as target:
        db.backup(target)
        assert sum(counts(made).values()) == before + 1
        assert known(made, target.execute("SELECT embedding FROM faces").fetchone()[0]) == {FACE}


def test_unlabelled_rows_cost_nothing(made: Guard, db: sqlite3.Connection) -> None:
    """No label, no purpose needed, no factory around the rows, nothing counted."""
    cursor = db.execute(EMAILS.replace("email", "id"))
    assert vars(sqlite3.Cursor)["row_factory"].__get__(cursor) is None
    assert len(cursor.fetchall()) == 20
    db.execute("PRAGMA user_version").fetchone()
    with db:
        db.execute("INSERT INTO notes (text) VALUES (?)", ("a note",))
    assert counts(made) == {}
    assert len(made.registry) == 0


def test_a_cursor_forgets_the_statement_before(made: Guard, db: sqlite3.Connection) -> None:
    """A labelled statement, then an unlabelled one on the same cursor, with a row factory."""
    cursor = db.cursor()
    cursor.row_factory = sqlite3.Row
    with made.context(purpose=ACCOUNT):
        cursor.execute(EMAILS).fetchone()
        found = cursor.execute("SELECT 'a harmless text of some length' AS t").fetchone()
        assert type(found) is sqlite3.Row
        assert known(made, found["t"]) == set()
        assert vars(sqlite3.Cursor)["row_factory"].__get__(cursor) is sqlite3.Row


class OwnConnection(sqlite3.Connection):
    """A connection class of the program's own."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.opened = self.execute("SELECT 1").fetchone()

    def cursor(self, *args: Any, **more: Any) -> Any:
        """Always the program's own cursors."""
        return super().cursor(OwnCursor)


def test_own_classes_keep_working(made: Guard, file: str) -> None:
    """Connections and cursors are of the program's classes, and of sqlite3's, and judged."""
    with closing(sqlite3.connect(file)) as db:
        assert isinstance(db, sqlite3.Connection)
        assert isinstance(db.cursor(), sqlite3.Cursor)
        assert type(db).__qualname__ == "Connection"
        assert db.execute("SELECT 1").connection is db
    with closing(sqlite3.connect(file, factory=OwnConnection)) as own, made.purpose(ACCOUNT):
        assert isinstance(own, OwnConnection)
        assert own.opened == (1,)
        cursor = own.cursor()
        assert isinstance(cursor, OwnCursor)
        assert cursor.execute("SELECT 1").fetchone() == (address(0),)
        assert known(made, address(0)) == {EMAIL}
    with closing(
        sqlite3.connect(file, factory=lambda *args, **more: OwnConnection(*args, **more))  # type: ignore[call-overload]  # noqa: PLW0108 - a function, not a class
    ) as third:
        assert isinstance(third, OwnConnection)
        with made.purpose(ADS), pytest.raises(PolicyViolation):
            third.execute("SELECT embedding FROM faces")


def test_connections_are_not_kept_alive(made: Guard, file: str) -> None:
    """The hook in the database holds no reference."""
    db = sqlite3.connect(file)
    with made.purpose(ACCOUNT):
        db.execute(EMAILS).fetchall()
    gone = weakref.ref(db)
    db.close()
    del db
    gc.collect()
    assert gone() is None


def test_errors_are_the_drivers(made: Guard, db: sqlite3.Connection) -> None:
    """What is wrong is said by sqlite3, and with its own types."""
    with made.purpose(ACCOUNT):
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            db.execute("SELECT email, no_such FROM users")
        with pytest.raises(sqlite3.IntegrityError):
            db.executemany("INSERT INTO users (id) VALUES (?)", ((0,) for _ in range(2)))
        with pytest.raises(sqlite3.ProgrammingError):
            db.execute("SELECT ?", ())
        for wrong in (7, None):
            with pytest.raises(TypeError):
                db.execute(wrong)  # type: ignore[arg-type]  # what a program gets wrong
        with pytest.raises(TypeError):
            db.execute("SELECT 1", (), ())  # type: ignore[call-arg]  # as above
    cursor = db.cursor()
    db.close()
    with pytest.raises(sqlite3.ProgrammingError):
        cursor.execute("SELECT 1")


def test_policyguards_own_store_is_no_flow(made: Guard, tmp_path: Path) -> None:
    """What is asked about a person isn't what the program reads."""
    store = SqliteSubjects(tmp_path / "subjects.db")
    store.update("anna", age=33)
    known_of = store.facts("anna")
    assert known_of is not None
    assert known_of["age"] == 33
    store.close()
    assert counts(made) == {}


def test_hooks_are_counted_and_taken_off_exactly(file: str) -> None:
    """Several guards, in any order: the last one restores what was there."""
    first, second = guard(), guard()
    bare = sqlite3.connect
    first.install("sqlite3")
    hooked = sqlite3.connect
    assert hooked is not bare
    second.install("sqlite3")
    assert sqlite3.connect is hooked
    with closing(sqlite3.connect(file)) as db:
        with pytest.raises(PolicyViolation):
            db.execute("SELECT embedding FROM faces")
        first.uninstall()
        with pytest.raises(PolicyViolation):
            db.execute("SELECT embedding FROM faces")
        second.uninstall()
        assert sqlite3.connect is sqlite3.dbapi2.connect is bare
        assert len(db.execute("SELECT embedding FROM faces").fetchall()) == 2
    assert sum(counts(first).values()) == 1
    with closing(sqlite3.connect(file)) as db:
        assert type(db) is sqlite3.Connection


def test_what_is_denied_is_redacted_before_it_is_sent(file: str) -> None:
    """In mode redact another text is sent: the database itself gives NULL."""
    made, text = guard("redact"), "SELECT user_id, embedding FROM faces WHERE user_id = ?"
    made.install("sqlite3")
    with closing(sqlite3.connect(file)) as db:
        for _ in range(2):
            with made.purpose(ADS):
                assert db.execute(text, (1,)).fetchall() == [(1, None)]
            with made.purpose(SECURITY):
                assert db.execute(text, (1,)).fetchall() == [(1, json.dumps(VECTOR))]
    made.uninstall()


def test_two_guards_each_judge_and_label(made: Guard, db: sqlite3.Connection) -> None:
    """A second guard takes nothing from the first."""
    second = guard()
    second.install("sqlite3")
    with made.context(purpose=ACCOUNT), second.context(purpose=ACCOUNT):
        db.execute(EMAILS).fetchone()
        assert known(made, address(0)) == known(second, address(0)) == {EMAIL}
    second.uninstall()


def test_threads_keep_their_purposes(made: Guard, file: str) -> None:
    """Two purposes at once on one connection: each thread is judged by its own."""
    found: dict[int, str] = {}
    start = threading.Barrier(4)

    with closing(sqlite3.connect(file, check_same_thread=False)) as db:

        def work(number: int) -> None:
            with made.purpose((SECURITY, ADS)[number % 2]):
                start.wait()
                try:
                    for step in range(30):
                        text = f"SELECT embedding FROM faces WHERE user_id <> {step % 7 + 10}"
                        db.cursor().execute(text).fetchall()
                except PolicyViolation:
                    found[number] = "denied"
                else:
                    found[number] = "ran"

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {0: "ran", 1: "denied", 2: "ran", 3: "denied"}


def test_async_programs_are_covered(made: Guard, file: str) -> None:
    """What aiosqlite opens runs in a thread, where nobody said a purpose: it is judged."""

    async def main() -> None:
        async with aiosqlite.connect(file) as db:
            with pytest.raises(PolicyViolation):
                await db.execute("SELECT embedding FROM faces")
            async with db.execute("SELECT id FROM users") as cursor:
                assert len(list(await cursor.fetchall())) == 20

    asyncio.run(main())
    assert counts(made)
