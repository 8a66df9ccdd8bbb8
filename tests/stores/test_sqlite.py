"""The store in a file keeps what people decided, and nothing that it shouldn't."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from policyguard.enforce.subjects import Subjects
from policyguard.policy.flow import NO_FACTS, Facts
from policyguard.stores import SqliteSubjects
from policyguard.stores.known import StoreError
from tests.enforce.subjects_kit import ADS, ANNA, Clock, await_, wait

ROOT = Path(__file__).resolve().parents[2]
SLOW = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteSubjects]:
    made = SqliteSubjects(path)
    yield made
    made.close()


def test_what_is_said_is_known(store: SqliteSubjects) -> None:
    """Everything that can be said about a person comes back as facts."""
    said = {
        "consent": {ADS: True, "analytics": False},
        "opt_out": {"third_party_sharing.sale": True},
        "restricted": False,
        "age": 33,
        "region": "US-CA",
        "legal_request": True,
        "facts": {"processing_complete": True},
    }
    store.update(ANNA, **said)  # type: ignore[arg-type]  # one dict for all
    assert store.facts(ANNA) == said
    assert Facts.unusable(said) == []


def test_what_is_said_later_is_laid_over_what_was_known(store: SqliteSubjects) -> None:
    """Answers are merged key by key, None removes one, and what isn't said stays."""
    store.update(1, consent={ADS: True, "analytics": True}, age=33, restricted=True)
    store.update(1, consent={ADS: False, "analytics": None}, restricted=None)
    assert store.facts(1) == {"consent": {ADS: False}, "age": 33}
    store.update(1, consent={ADS: None}, age=None)
    assert store.facts(1) == {}


def test_a_withdrawal_is_kept_by_name(store: SqliteSubjects) -> None:
    """False is an answer, not the absence of one."""
    store.update(1, consent={ADS: False})
    assert Facts(store.facts(1)).consent == {ADS: False}


SUBJECTS = [
    *(1, "1", -1, 0, 2**200, "", " ", "1 ", "i:1", "s:1", "%31", UUID(int=1), str(UUID(int=1))),
    *(
        UUID(int=1).hex,
        f"u:{UUID(int=1).hex}",
        "Anna",
        "anna",
        "ANNA",
        "änna",
        "a\u0308nna",
        "\x00",
    ),
    *("a\x00", "'; DROP TABLE subjects; --", "\ud800", "\U0001f600", "a" * 250, "a" * 249),
]


def test_subjects_are_told_apart(store: SqliteSubjects) -> None:
    """A number and its text, capital and small letters, and odd characters are other people."""
    for number, subject in enumerate(SUBJECTS):
        store.update(subject, age=number)
    assert [store.facts(subject) for subject in SUBJECTS] == [
        {"age": number} for number in range(len(SUBJECTS))
    ]
    assert store.facts_of(SUBJECTS) == {
        subject: {"age": number} for number, subject in enumerate(SUBJECTS)
    }


NOBODY = [None, True, 1.0, b"1", (1,), object(), "a" * 300, 10**400]


@pytest.mark.parametrize("subject", NOBODY, ids=lambda subject: type(subject).__name__)
def test_a_subject_that_can_have_no_row_is_unknown_and_told(
    store: SqliteSubjects, subject: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Asking about it gives nothing, says so once, and writing about it is an error."""
    assert store.facts(subject) is None
    assert store.facts(subject) is None
    assert len(caplog.records) == 1
    assert "PG205" in caplog.text
    with pytest.raises(ValueError, match="a subject is a text"):
        store.update(subject, age=33)
    with pytest.raises(ValueError, match="a subject is a text"):
        store.forget(subject)


WRONG: list[dict[str, Any]] = [
    {"consent": True},
    {"consent": {ADS: "yes"}},
    {"consent": {ADS: 1}},
    {"consent": {1: True}},
    {"consent": {"": True}},
    {"consent": {"Marketing": True}},
    {"consent": {"marketing.": True}},
    {"consent": {"m" * 129: True}},
    {"consent": [ADS]},
    {"opt_out": {ADS: 0}},
    {"restricted": 1},
    {"restricted": "no"},
    {"age": "33"},
    {"age": True},
    {"age": -1},
    {"age": 151},
    {"age": 33.0},
    {"region": "Germany"},
    {"region": "de"},
    {"region": 49},
    {"legal_request": {}},
    {"facts": {"processing_complete": "done"}},
    {"facts": "processing_complete"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: str(wrong)[:60])
def test_what_is_of_a_wrong_type_is_refused(store: SqliteSubjects, wrong: dict[str, Any]) -> None:
    """A lie isn't stored: the error names the fact, not its value, and nothing changes."""
    store.update(ANNA, consent={ADS: True}, age=20)
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` ") as raised:
        store.update(ANNA, legal_request=True, **wrong) if "legal_request" not in wrong else (
            store.update(ANNA, **wrong)
        )
    assert "Germany" not in str(raised.value)
    assert store.facts(ANNA) == {"consent": {ADS: True}, "age": 20}


def test_forgetting_erases(path: Path) -> None:
    """After `forget` neither the file nor those beside it have a byte of the person."""
    store = SqliteSubjects(path)
    store.update(ANNA, facts={"canary": True})
    store.update("ben", age=20)
    store.update(ANNA, facts={"canary": None, "bird": True})
    assert any(ANNA.encode() in file.read_bytes() for file in path.parent.iterdir())
    store.forget(ANNA)
    assert store.facts(ANNA) is None
    assert store.facts("ben") == {"age": 20}
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert ANNA.encode() not in kept
    assert b"canary" not in kept
    assert b"bird" not in kept
    store.forget("nobody")
    store.close()


def test_the_file_is_read_by_its_owner_only(store: SqliteSubjects, path: Path) -> None:
    """Others on the machine don't see it, nor the files beside it."""
    store.update(ANNA, age=33)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}


def test_what_was_said_outlives_the_program(path: Path) -> None:
    """A store that is opened again knows what the one before was told."""
    first = SqliteSubjects(path)
    first.update(ANNA, age=33)
    first.close()
    first.update("ben", age=20)
    again = SqliteSubjects(path)
    assert again.facts_of([ANNA, "ben", "eve"]) == {ANNA: {"age": 33}, "ben": {"age": 20}}
    first.close()
    again.close()


def test_threads_lose_no_change(store: SqliteSubjects) -> None:
    """Many threads that change the same person end with all their answers."""
    purposes = [f"purpose.p{number}" for number in range(60)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda purpose: store.update(ANNA, consent={purpose: True}), purposes))
    assert store.facts(ANNA) == {"consent": dict.fromkeys(purposes, True)}
    assert len(store._idle) <= 4


WRITES = """
import sys
from policyguard.stores import SqliteSubjects
store = SqliteSubjects(sys.argv[1])
for number in range(20):
    store.update("anna", consent={f"purpose.{sys.argv[2]}.n{number}": True})
store.close()
"""


def test_processes_make_one_file_and_lose_no_change(path: Path) -> None:
    """Several processes start at once and write the same person: every answer is kept."""
    running = [
        subprocess.Popen([sys.executable, "-c", WRITES, str(path), f"p{number}"], cwd=ROOT)
        for number in range(3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    store = SqliteSubjects(path)
    assert len((store.facts("anna") or {})["consent"]) == 60
    store.close()


FORK = """
import os, sys
from policyguard.enforce.subjects import Subjects
from policyguard.stores import SqliteSubjects
store = SqliteSubjects(sys.argv[1])
store.update("anna", age=33)
with store._connection() as used:
    child = os.fork()
    if child == 0:
        assert store.facts("anna") == {"age": 33}
        store.update("anna", age=34)
        assert Subjects(store, limit=30).open("anna").facts().age == 34
        os._exit(0)
    _, status = os.waitpid(child, 0)
store.update("ben", age=20)
print(status, store.facts("anna"), store.facts("ben"))
store.close()
"""


def test_parent_and_child_use_the_file_after_a_fork(path: Path) -> None:
    """The child connects anew, and neither disturbs the other."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert (done.stdout, done.stderr) == ("0 {'age': 34} {'age': 20}\n", "")


def test_a_withdrawal_in_the_file_is_seen_by_a_request_that_runs_on(store: SqliteSubjects) -> None:
    """With the real clock, in a thread and on an event loop, without asking by itself."""
    store.update(ANNA, consent={ADS: True})
    view = Subjects(store, limit=SLOW)
    person = view.open(ANNA)
    assert person.facts().consent == {ADS: True}
    store.update(ANNA, consent={ADS: False})
    wait(lambda: person.facts().consent == {ADS: False})

    async def request() -> None:
        held = await view.aopen("ben")
        assert held.facts() is NO_FACTS
        store.update("ben", consent={ADS: True})
        await await_(lambda: held.facts().consent == {ADS: True})

    asyncio.run(request())


def test_what_is_awaited_is_the_same(store: SqliteSubjects) -> None:
    """`afacts` gives what `facts` gives, from another thread."""
    store.update(ANNA, age=33)
    assert asyncio.run(store.afacts(ANNA)) == {"age": 33}
    assert asyncio.run(store.afacts("ben")) is None


def test_many_people_are_looked_up_at_once(store: SqliteSubjects) -> None:
    """More people than one statement takes."""
    store.update(1, age=33)
    store.update(1999, age=34)
    assert store.facts_of(range(2000)) == {1: {"age": 33}, 1999: {"age": 34}}
    assert store.facts_of([]) == {}
    people = Subjects(store, limit=SLOW).open_all(range(2000))
    assert [person.facts().age for person in people if person.facts().age] == [33, 34]


def _other_program(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE subjects (key TEXT, known TEXT)")
    db.close()


def _later_version(path: Path) -> None:
    SqliteSubjects(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.close()


UNUSABLE = {
    "no folder": lambda path: path.rmdir() if path.is_dir() else None,
    "no database": lambda path: path.write_text("these are letters, not a database. " * 100),
    "another program's": _other_program,
    "a later version's": _later_version,
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("make", UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, make: Any) -> None:
    """The start fails, and the file stays as it was."""
    path = tmp_path / "people.db"
    make(path)
    if not path.exists():
        path = tmp_path / "missing" / "people.db"
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(ValueError, match=r"people\.db"):
        SqliteSubjects(path)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_program_that_changes_its_folder_keeps_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means the folder where the store was made; odd characters don't matter."""
    monkeypatch.chdir(tmp_path)
    store = SqliteSubjects("pe ople?#%41.db")
    monkeypatch.chdir("/")
    store.update(ANNA, age=33)
    store.close()
    assert store.facts(ANNA) == {"age": 33}
    store.close()
    assert [file.name for file in tmp_path.iterdir()] == ["pe ople?#%41.db"]


def test_a_store_without_a_file_is_refused() -> None:
    """A database in memory would forget what people decided."""
    with pytest.raises(ValueError, match="needs a file"):
        SqliteSubjects(":memory:")


def _damage(path: Path, known: str) -> None:
    db = sqlite3.connect(path)
    db.execute("INSERT OR REPLACE INTO subjects VALUES ('s:anna', ?)", (known,))
    db.commit()
    db.close()


@pytest.mark.parametrize("known", ["", "[]", "{", "null", "1", "[" * 100_000])
def test_a_damaged_row_is_unknown(store: SqliteSubjects, path: Path, known: str) -> None:
    """It is an error to the store's user, and unknown to the guard."""
    _damage(path, known)
    with pytest.raises(StoreError):
        store.facts("anna")
    view = Subjects(store, limit=SLOW, clock=Clock())
    assert view.open("anna").facts() is NO_FACTS
    assert view.failures["the store failed with StoreError"] >= 1


def test_a_row_with_a_lie_is_unknown(store: SqliteSubjects, path: Path) -> None:
    """What another program wrote into the file is believed no more than any answer."""
    _damage(path, '{"consent": {"marketing.advertising": "yes"}, "age": "33"}')
    facts = Subjects(store, limit=SLOW).open("anna").facts()
    assert (facts.consent, facts.age) == ({ADS: None}, None)


def test_a_file_that_is_lost_is_unknown(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store that is gone while the program runs gives an error without foreign text."""
    store = SqliteSubjects(path)
    store.update(ANNA, age=33)
    store.close()
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(StoreError) as raised:
        store.facts(ANNA)
    assert str(raised.value) == (
        "PG205 the store of subjects can't be read\n  because: SQLite failed with OperationalError"
    )
    with pytest.raises(StoreError):
        store.update(ANNA, age=33)
    assert Subjects(store, limit=SLOW).open(ANNA).facts() is NO_FACTS
    assert ANNA not in caplog.text + str(raised.value) + repr(store)
    store.close()
    assert list(path.parent.iterdir()) == []
