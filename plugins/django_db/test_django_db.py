"""Statements of Django are judged on every database, and rows of labelled columns are known."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django  # type: ignore[import-untyped]  # Django ships no types
import httpx
import pytest
from django.conf import settings  # type: ignore[import-untyped]  # Django ships no types

from policyguard import PolicyViolation
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

if not settings.configured:
    settings.configure()
django.setup()

from django.db import connections, models, transaction  # type: ignore[import-untyped]  # noqa: E402 - needs settings
from django.db.utils import (  # type: ignore[import-untyped]  # noqa: E402 - as above
    ConnectionHandler,
    IntegrityError,
    OperationalError,
    ProgrammingError,
)

VECTOR = [((number * 7919) % 1009) / 1009 - 0.5 for number in range(128)]
DDL = f"""
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, name TEXT, likes TEXT);
CREATE TABLE faces (user_id INTEGER PRIMARY KEY, embedding TEXT);
CREATE TABLE audience (id INTEGER, mail TEXT);
INSERT INTO faces VALUES (1, '{VECTOR}');
"""
FIRST, EMAILS = "person.0000@mail.example.org", "SELECT email FROM users ORDER BY id"


def address(number: int) -> str:
    """One person's address."""
    return f"person.{number:04}@mail.example.org"


class User(models.Model):  # type: ignore[misc]  # as above
    """A labelled table."""

    id = models.IntegerField(primary_key=True)
    email = models.TextField()
    name = models.TextField(default="")
    likes = models.TextField(default="")

    class Meta:
        """Where it is."""

        app_label, managed, db_table = "people", False, "users"

    def __str__(self) -> str:
        return f"user {self.pk}"


class Face(models.Model):  # type: ignore[misc]  # as above
    """A table with data that must be named."""

    user_id = models.IntegerField(primary_key=True)
    embedding = models.JSONField()

    class Meta:
        """Where it is."""

        app_label, managed, db_table = "people", False, "faces"

    def __str__(self) -> str:
        return f"face {self.pk}"


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """A real PostgreSQL."""
    with server().database(DDL.replace("embedding TEXT", "embedding JSONB")) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def alias(request: pytest.FixtureRequest, tmp_path: Path, database: Database) -> Iterator[str]:
    """A database of the project, connected before any guard, with twenty people."""
    own = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "people.db")}
    if request.param == "postgresql":
        own = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database.name,
            "HOST": database.server.host,
            "PORT": str(database.server.port),
            "USER": "postgres",
        }
    before = connections.settings
    connections.settings = ConnectionHandler({"default": own, "other": own}).settings
    with connections["default"].cursor() as cursor:
        if request.param == "sqlite":
            cursor.connection.executescript(DDL)
        User.objects.all().delete()
        User.objects.bulk_create(User(id=n, email=address(n)) for n in range(20))
    yield "default"
    for name in ("default", "other"):
        connections[name].close()
        del connections[name]
    connections.settings = before


@pytest.fixture
def made(alias: str) -> Iterator[Guard]:
    """A guard that is hooked into Django, after the connection was there."""
    del alias
    installed = guard()
    installed.install("django_db")
    yield installed
    installed.uninstall()


def known(made: Guard, value: object) -> set[str]:
    """Which data a value is known to be."""
    return {label.data for label, _, _ in made.labels_in(value)}


def _cursor(
    fetch: Callable[[Any], Any], text: str = EMAILS, params: Any = None
) -> Callable[[], Any]:
    def read() -> Any:
        with connections["default"].cursor() as cursor:
            cursor.execute(text, params)
            return fetch(cursor)

    return read


def _debugged() -> Any:
    connection = connections["default"]
    connection.force_debug_cursor = True
    try:
        return _cursor(lambda c: c.fetchall())()
    finally:
        connection.force_debug_cursor = False


def _rewritten() -> Any:
    def rewrite(execute: Any, sql: str, *rest: Any) -> Any:
        return execute(sql.replace("SELECT 1", EMAILS), *rest)

    with connections["default"].execute_wrapper(rewrite):
        return _cursor(lambda c: c.fetchall(), "SELECT 1")()


def _in_parts() -> Any:
    with transaction.atomic():
        return [user.email for user in User.objects.order_by("id").iterator(chunk_size=3)]


USERS: Any = User.objects
READS: dict[str, Callable[[], Any]] = {
    "one": _cursor(lambda c: c.fetchone()),
    "many": _cursor(lambda c: c.fetchmany(3)),
    "all": _cursor(lambda c: c.fetchall()),
    "iteration": _cursor(list),
    "value": _cursor(lambda c: c.fetchall(), "SELECT email FROM users WHERE id = %s", [0]),
    "per cents": _cursor(
        lambda c: c.fetchall(),
        "SELECT email FROM users WHERE id %% 2 = %s AND email LIKE 'p%%' ORDER BY id",
        [0],
    ),
    "debug cursor": _debugged,
    "the program's wrapper": _rewritten,
    "entities": lambda: [user.email for user in USERS.order_by("id")],
    "get": lambda: USERS.get(id=0).email,
    "values": lambda: list(USERS.order_by("id").values("email")),
    "flat": lambda: list(USERS.order_by("id").values_list("email", flat=True)),
    "iterator": _in_parts,
    "raw": lambda: [user.email for user in USERS.raw("SELECT id, email FROM users ORDER BY id")],
    "deferred": lambda: USERS.defer("email").get(id=0).email,
    "upper": lambda: list(USERS.annotate(e=models.functions.Upper("email")).values_list("e")),
    "another alias": lambda: USERS.using("other").get(id=0).email,
    "async": lambda: asyncio.run(USERS.aget(id=0)).email,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_rows_are_known_and_are_those_of_django(
    alias: str, read: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever way the first address comes, it is known; what comes is what came before."""
    assert alias
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    expected = read()
    made = guard()
    made.install("django_db")
    try:
        with made.context(purpose=ACCOUNT):
            assert read() == expected
            assert known(made, {"to": FIRST}) == {EMAIL}
            assert known(made, {"to": address(77)}) == set()
    finally:
        made.uninstall()


WAYS: dict[str, Callable[[], Any]] = {
    "orm": lambda: list(Face.objects.all()),
    "get": lambda: Face.objects.get(user_id=1),
    "raw": lambda: list(Face.objects.raw("SELECT user_id, embedding FROM faces")),
    "filter": lambda: Face.objects.filter(embedding__isnull=False).exists(),
    "cursor": _cursor(lambda c: c.fetchall(), "SELECT embedding FROM faces"),
    "hidden": _cursor(lambda c: c, "CREATE TEMP TABLE x AS SELECT embedding FROM faces"),
    "async": lambda: asyncio.run(Face.objects.aget(user_id=1)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_denied_read_does_not_run(made: Guard, way: Callable[[], Any]) -> None:
    """Faces for ads: the driver gets nothing, and the transaction goes on."""
    sent: list[str] = []
    driver = connections["default"].connection
    if hasattr(driver, "set_trace_callback"):
        driver.set_trace_callback(sent.append)
    with transaction.atomic():
        USERS.filter(id=0).update(name="changed")
        with made.purpose(ADS), pytest.raises(PolicyViolation) as caught:
            way()
        assert caught.value.decision.flow.data == FACE
        assert not connections["default"].needs_rollback
        USERS.filter(id=1).update(name="changed")
    assert [text for text in sent if "embedding" in text] == []
    with made.purpose(ACCOUNT):
        assert USERS.filter(name="changed").count() == 2
        with pytest.raises((OperationalError, ProgrammingError)):
            _cursor(lambda c: c, "SELECT 1 FROM x")()


def test_a_face_fetched_here_does_not_reach_the_pixel(made: Guard) -> None:
    """End to end: from a real database to a real request, with no label in the code between."""
    made.install("httpx")
    with wire() as outside, httpx.Client(transport=ToWire(outside)) as client:
        with made.context(purpose=SECURITY):
            face = Face.objects.get(user_id=1).embedding
            assert face == VECTOR
            for sent in (face, [round(number, 9) for number in face]):
                with pytest.raises(PolicyViolation) as caught, made.purpose(ADS):
                    client.post("https://www.pixel.example/tr", json={"face": sent})
                assert caught.value.decision.flow.recipient == "pixel"
        assert outside.received == []
        with made.context(purpose=ADS, facts={"consent": True}):
            assert client.post("https://www.pixel.example/tr", json={"n": 1}).status_code == 200


def test_values_bound_for_a_recipients_table_are_judged(made: Guard) -> None:
    """What was read and is now written into the pixel's table leaves to the pixel."""
    insert = "INSERT INTO audience (mail) VALUES (%s)"
    with made.context(purpose=COUNTING), transaction.atomic():
        mails = list(USERS.order_by("id").values_list("email", flat=True))
        with connections["default"].cursor() as cursor:
            writes: list[Callable[[], Any]] = [
                lambda: cursor.execute(insert, [mails[0]]),
                lambda: cursor.executemany(insert, [["a"], [mails[1]]]),
                lambda: cursor.executemany(insert, ([one] for one in ("a", mails[1]))),
                lambda: cursor.execute("INSERT INTO audience (mail) SELECT email FROM users"),
            ]
            for write in writes:
                with pytest.raises(PolicyViolation) as caught, transaction.atomic():
                    write()
                assert caught.value.decision.flow.recipient == "pixel"
            cursor.execute("SELECT count(*) FROM audience")
            assert cursor.fetchone() == (0,)
            cursor.executemany(insert, [["a"], ["b"]])
            cursor.execute("SELECT count(*) FROM audience")
            assert cursor.fetchone() == (2,)
        transaction.set_rollback(True)


def test_a_temporary_table_does_not_launder(made: Guard) -> None:
    """What was copied on this connection is what it was, under any name."""
    with made.context(purpose=SECURITY):
        _cursor(lambda c: c, "CREATE TEMP TABLE plain AS SELECT embedding AS e FROM faces")()
        (held,) = _cursor(lambda c: c.fetchone(), "SELECT e FROM plain")()
        assert known(made, held) == {FACE}
    with made.purpose(ADS), pytest.raises(PolicyViolation):
        _cursor(lambda c: c.fetchone(), "SELECT e FROM plain")()


def test_unlabelled_rows_cost_nothing(made: Guard) -> None:
    """No label, no purpose needed, the driver's own cursor fetches, nothing counted."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT id FROM users")
        assert type(cursor.cursor).__module__.partition(".")[0] in {"django", "psycopg"}
        assert len(cursor.fetchall()) == 20
        with transaction.atomic(), transaction.atomic():
            cursor.execute("UPDATE users SET name = %s WHERE id = 3", ["x"])
        assert counts(made) == {}
        with made.context(purpose=ACCOUNT):
            cursor.execute(EMAILS)
            assert type(cursor.cursor).__name__ == "LabellingCursor"
            cursor.execute("SELECT id FROM users")
            assert type(cursor.cursor).__module__.partition(".")[0] in {"django", "psycopg"}


def test_errors_are_djangos(made: Guard) -> None:
    """What is wrong is said by Django, and with its own types."""
    with made.purpose(ACCOUNT):
        with pytest.raises((OperationalError, ProgrammingError)), transaction.atomic():
            _cursor(lambda c: c, "SELECT email, no_such FROM users")()
        with pytest.raises(IntegrityError), transaction.atomic():
            USERS.create(id=0, email="x")
        with pytest.raises(User.DoesNotExist):
            USERS.get(id=99)


def _hooked() -> list[object]:
    from policyguard_django_db import _patches  # noqa: PLC0415 - installed by the tests above

    return [vars(owner).get(name) for owner, name in _patches()]


def test_hooks_are_counted_and_taken_off_exactly(alias: str) -> None:
    """Several guards, in any order: the last one restores what was there."""
    assert alias
    first, second = guard(), guard()
    before = _hooked()
    first.install("django_db")
    second.install("django_db")
    first.uninstall()
    with pytest.raises(PolicyViolation):
        Face.objects.get(user_id=1)
    second.uninstall()
    assert all(one is other for one, other in zip(before, _hooked(), strict=True))
    assert Face.objects.get(user_id=1).embedding == VECTOR


def test_what_is_denied_is_redacted_before_it_is_sent(alias: str) -> None:
    """In mode redact another text is sent: the database itself gives NULL."""
    assert alias
    made = guard("redact")
    made.install("django_db")
    text = "SELECT user_id, embedding FROM faces WHERE user_id = %s"
    with made.purpose(ADS):
        assert _cursor(lambda c: c.fetchall(), text, [1])() == [(1, None)]
    with made.purpose(SECURITY):
        assert _cursor(lambda c: c.fetchall(), text, [1])() != [(1, None)]
    made.uninstall()


def test_threads_keep_their_purposes(made: Guard) -> None:
    """Two purposes at once, each thread with Django's connection of its own."""
    found: dict[int, str] = {}

    def work(number: int) -> None:
        with made.context(purpose=(SECURITY, ADS)[number % 2]):
            try:
                for _ in range(10):
                    Face.objects.get(user_id=1)
            except PolicyViolation:
                found[number] = "denied"
            else:
                found[number] = "ran"
            finally:
                connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: "ran", 1: "denied", 2: "ran", 3: "denied"}
