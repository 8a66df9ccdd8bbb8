"""The text in a configuration names a store, or the start fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from policyguard.enforce.subjects import Subjects
from policyguard.stores import DatabaseSubjects, SqliteSubjects, open_store

OWN = "tests.stores.own_store"


def test_a_file_is_opened_beside_the_configuration(tmp_path: Path) -> None:
    """A relative path starts in the folder that is given, an absolute one doesn't."""
    store = open_store("sqlite:///people.db", folder=tmp_path)
    assert isinstance(store, SqliteSubjects)
    store.update("anna", age=33)
    store.close()
    again = open_store(f"sqlite:///{tmp_path}/people.db", folder=Path("/nowhere"))
    assert isinstance(again, SqliteSubjects)
    assert again.facts("anna") == {"age": 33}
    again.close()


def test_another_url_is_a_database(tmp_path: Path) -> None:
    """The table is there before the first request needs it."""
    store = open_store(f"sqlite+pysqlite:///{tmp_path}/people.db")
    assert isinstance(store, DatabaseSubjects)
    assert store._ready
    store.close()


def test_a_database_that_is_down_at_the_start_does_not_stop_it(tmp_path: Path) -> None:
    """Until it is back everybody is unknown."""
    store = open_store(f"sqlite+pysqlite:///{tmp_path}/missing/people.db")
    assert isinstance(store, DatabaseSubjects)
    view = Subjects(store, limit=30)
    assert view.open("anna").facts().age is None
    (tmp_path / "missing").mkdir()
    store.update("anna", age=33)
    assert view.open("anna").facts().age == 33
    store.close()


@pytest.mark.parametrize("name", ["store", "Store", "make", "called"])
def test_a_store_of_the_application_is_imported(name: str) -> None:
    """An object that can be asked, or a class or function that makes one."""
    store = open_store(f"{OWN}:{name}")
    assert store.facts("anna") == {"age": 33}


BAD = {
    "nothing": "",
    "a word": "hunter2",
    "a path": "people.db",
    "an unknown module": "nomodule.hunter:store",
    "an unknown name": f"{OWN}:hunter2",
    "no store": f"{OWN}:nothing",
    "a function that fails": f"{OWN}:fails",
    "a function that makes nothing": f"{OWN}:makes_nothing",
    "no URL": "postgresql//anna:hunter2@db.example/people",
    "a URL of nothing": "nodb://anna:hunter2@db.example/people",
    "no file": "sqlite:///",
    "no file either": "sqlite://",
    "memory": "sqlite:///:memory:",
    "parameters": "sqlite:///people.db?password=hunter2",
    "relative imports": "..stores:store",
    "an expression": "os:system('hunter2')",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_names_no_store_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start fails with a sentence of our own that shows no password."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"store|database|`sqlite:///FILE`") as raised:
        open_store(text)
    assert "hunter2" not in str(raised.value)
    assert not list(tmp_path.iterdir())
