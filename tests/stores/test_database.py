"""The store in a database keeps the same as the one in a file, and no statement of it is judged."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from policyguard.enforce.subjects import Subjects
from policyguard.policy.flow import NO_FACTS
from policyguard.stores import DatabaseSubjects
from policyguard.stores.database import OWN
from policyguard.stores.known import Change, StoreError
from tests.enforce.kit import Memory, guard
from tests.enforce.subjects_kit import ADS, ANNA, Clock

ROOT = Path(__file__).resolve().parents[2]
SLOW = 30.0
# The async driver is tested wherever it is installed.
DRIVERS = ["sqlite", *(["sqlite+aiosqlite"] if importlib.util.find_spec("aiosqlite") else [])]


@pytest.fixture(params=DRIVERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:///{tmp_path / 'people.db'}"


@pytest.fixture
def store(url: str) -> Iterator[DatabaseSubjects]:
    made = DatabaseSubjects(url)
    yield made
    made.close()


def test_what_is_said_is_known(store: DatabaseSubjects) -> None:
    """What is said is laid over what was known, and forgotten when asked."""
    store.update(ANNA, consent={ADS: True, "analytics": False}, age=33, region="DE")
    store.update(ANNA, consent={ADS: False}, restricted=True, age=None)
    assert store.facts(ANNA) == {
        "consent": {ADS: False, "analytics": False},
        "region": "DE",
        "restricted": True,
    }
    assert asyncio.run(store.afacts(ANNA)) == store.facts(ANNA)
    store.forget(ANNA)
    assert store.facts(ANNA) is None


def test_who_was_never_heard_of_is_not_known(store: DatabaseSubjects) -> None:
    """The first look-up makes the table, and finds nobody in it."""
    assert store.facts(ANNA) is None
    store.forget(ANNA)
    store.prepare()


def test_subjects_are_told_apart(store: DatabaseSubjects) -> None:
    """Also by a database that compares text without case: keys are small letters only."""
    subjects = [1, "1", "Anna", "anna", UUID(int=1), "\x00", "a" * 249, "ä"]
    for number, subject in enumerate(subjects):
        store.update(subject, age=number)
    expected = {subject: {"age": number} for number, subject in enumerate(subjects)}
    assert store.facts_of([*subjects, "eve", 2]) == expected
    assert store.facts_of(range(1500)) == {1: {"age": 0}}


def test_a_wrong_type_is_refused(store: DatabaseSubjects) -> None:
    """A lie isn't stored."""
    with pytest.raises(ValueError, match="`age` is a whole number"):
        store.update(ANNA, age="33")  # type: ignore[arg-type]  # that is the point
    assert store.facts(ANNA) is None


def test_threads_lose_no_change(store: DatabaseSubjects) -> None:
    """Who changes the same row at the same time is laid over what the other wrote."""
    store.prepare()
    purposes = [f"purpose.p{number}" for number in range(12)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda purpose: store.update(ANNA, consent={purpose: True}), purposes))
    assert store.facts(ANNA) == {"consent": dict.fromkeys(purposes, True)}


def test_an_erased_person_does_not_come_back(url: str, store: DatabaseSubjects) -> None:
    """A change that was worked out before the erasure is worked out again."""
    store.update(ANNA, age=33)
    other = DatabaseSubjects(url)
    erased: list[Any] = []

    class Between(Change):
        def over(self, known: Any) -> dict[str, Any]:
            if not erased:
                erased.append(known)
                store.forget(ANNA)
                store.update(ANNA, region="DE")
            return super().over(known)

    change = Between(
        **dict.fromkeys(("consent", "opt_out", "facts")),
        **dict.fromkeys(("restricted", "age", "region", "legal_request"), ...),  # type: ignore[arg-type]  # nothing is said
    )
    other._lay_over("s:anna.schmidt@mail.example.org", change)
    assert erased == [{"age": 33}]
    assert store.facts(ANNA) == {"region": "DE"}
    other.close()


FORK = """
import os, sys
from policyguard.stores import DatabaseSubjects
store = DatabaseSubjects(sys.argv[1])
store.update("anna", age=33)
child = os.fork()
if child == 0:
    assert store.facts("anna") == {"age": 33}
    store.update("anna", age=34)
    store.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
print(status, store.facts("anna"))
store.close()
"""


def test_parent_and_child_use_the_database_after_a_fork(url: str) -> None:
    """The child connects anew."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, url],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert (done.stdout, done.stderr) == ("0 {'age': 34}\n", "")


def test_a_database_that_fails_is_unknown(
    url: str, store: DatabaseSubjects, caplog: pytest.LogCaptureFixture
) -> None:
    """It is an error without foreign text to the store's user, and unknown to the guard."""
    caplog.set_level(logging.ERROR)
    store.update(ANNA, age=33)
    engine = sa.create_engine(url.replace("+aiosqlite", ""))
    with engine.begin() as db:
        db.execute(sa.text("DROP TABLE policyguard_subjects"))
    engine.dispose()
    with pytest.raises(StoreError) as raised:
        store.facts(ANNA)
    assert "OperationalError" in str(raised.value)
    assert Subjects(store, limit=SLOW, clock=Clock()).open(ANNA).facts() is NO_FACTS
    for shown in (str(raised.value), repr(store), caplog.text):
        assert ANNA not in shown
        assert "people.db" not in shown
        assert "SELECT" not in shown


def test_a_row_of_a_later_version_is_unknown(url: str, store: DatabaseSubjects) -> None:
    """What a newer program wrote may mean something else."""
    store.update(ANNA, age=33)
    engine = sa.create_engine(url.replace("+aiosqlite", ""))
    with engine.begin() as db:
        db.execute(sa.text("UPDATE policyguard_subjects SET version = 2"))
    engine.dispose()
    with pytest.raises(StoreError):
        store.facts(ANNA)
    with pytest.raises(StoreError):
        store.update(ANNA, age=34)


BAD = {
    "no URL": "hunter2",
    "no such database": "nodb://anna:hunter2@db.example/people",
    "no such driver": "postgresql+nodriver://anna:hunter2@db.example/people",
    "no port": "postgresql://anna:hunter2@db.example:hunter2/people",
    "in memory": "sqlite://",
    "in memory too": "sqlite:///:memory:",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_url_that_cannot_be_used_is_refused_without_being_shown(text: str) -> None:
    """The start fails; a password stays where it was written."""
    with pytest.raises(ValueError, match=r"URL|in memory") as raised:
        DatabaseSubjects(text)
    assert "hunter2" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


MISSING = """
import sys
sys.modules[sys.argv[1]] = None
from policyguard.errors import PluginError
from policyguard.stores import DatabaseSubjects
assert "sqlalchemy" not in sys.modules or sys.argv[1] == "sqlalchemy"
try:
    DatabaseSubjects(sys.argv[2])
except PluginError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("sqlalchemy", "postgresql://anna:hunter2@db.example/people"),
        ("psycopg2", "postgresql+psycopg2://anna:hunter2@db.example/people"),
        ("asyncpg", "postgresql+asyncpg://anna:hunter2@db.example/people"),
        ("aiosqlite", "sqlite+aiosqlite:///people.db"),
    ],
)
def test_a_missing_library_is_named(module: str, text: str) -> None:
    """SQLAlchemy is imported when first needed; what is missing is an error of the start."""
    done = subprocess.run(
        [sys.executable, "-c", MISSING, module, text],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert done.stdout.startswith("PG601 a store in a database needs SQLAlchemy"), done.stderr
    assert "isn't there" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_what_the_store_asks_is_no_flow_of_the_program(store: DatabaseSubjects) -> None:
    """With the integration installed the store's own statements are neither judged nor told."""
    memory = Memory()
    made = guard("block", memory)
    made.install("sqlalchemy")
    try:
        store.update(ANNA, age=33)
        person = Subjects(store, limit=SLOW).open(ANNA)
        assert person.facts().age == 33
        store.forget(ANNA)
    finally:
        made.uninstall()
    assert memory.records == []
    assert made.tally.read() == {}


@pytest.mark.parametrize("mark", [True, 1, "own", OWN, object()])
def test_nobody_else_can_say_that_statements_are_the_stores_own(mark: object) -> None:
    """An engine whose option has another value is judged as any other."""
    memory = Memory()
    made = guard("flag", memory)
    made.install("sqlalchemy")
    engine = sa.create_engine("sqlite://", execution_options={OWN: mark})
    try:
        with engine.begin() as db:
            db.execute(sa.text("CREATE TABLE faces (user_id INTEGER, embedding TEXT)"))
            db.execute(sa.text("SELECT embedding FROM faces"))
    finally:
        made.uninstall()
        engine.dispose()
    assert memory.records
