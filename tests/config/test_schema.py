"""What the configuration says about SQL: a schema, own functions, comments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from policyguard import ConfigError, Guard
from policyguard.config import load_config
from tests.enforce.kit import ACCOUNT, ADS, DATA_MAP, POLICY

TABLES = {
    "users": {"id": "int", "email": "text", "name": "text", "likes": "text", "created": "date"},
    "faces": {"user_id": "int", "embedding": "bytea"},
    "orders": {"id": "int", "total": "numeric"},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with policy, data map, schema and configuration."""
    shutil.copy(POLICY, tmp_path / "policy.yaml")
    shutil.copy(DATA_MAP, tmp_path / "map.yaml")
    (tmp_path / "schema.json").write_text(json.dumps(TABLES), encoding="utf-8")
    _write(tmp_path, 'schema = "schema.json"')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(home: Path, *lines: str) -> None:
    text = "\n".join(['policy = "policy.yaml"', 'data_map = "map.yaml"', *lines])
    (home / "policyguard.toml").write_text(text, encoding="utf-8")


def unresolved(guard: Guard, text: str) -> bool:
    """Whether a statement can't be told."""
    guard.modes.default = "off"
    with guard.purpose(ACCOUNT):
        return guard.sql(text, dialect="postgres").unresolved


def test_with_a_schema_a_star_is_its_columns(home: Path) -> None:
    """Each output carries the labels of its own column, and the unlabelled ones carry none."""
    guard = Guard.from_config()
    with guard.purpose(ACCOUNT):
        guard.modes.default = "off"
        check = guard.sql("SELECT * FROM users", dialect="postgres")
    assert check.names == ("id", "email", "name", "likes", "created")
    labelled = [[label.data for label in labels] for labels in check.labels]
    assert labelled == [[], ["user.contact.email"], ["user.name"], ["user.behavior"], []]


def test_without_a_schema_a_star_is_a_doubt(home: Path) -> None:
    """The data map needn't list all columns of a table."""
    _write(home)
    assert unresolved(Guard.from_config(), "SELECT * FROM users")


@pytest.mark.parametrize(("word", "doubt"), [("cannot_tell", True), ("clean", False)])
def test_what_nobody_described_is_what_the_configuration_says(
    home: Path, word: str, *, doubt: bool
) -> None:
    """By default a doubt: nobody has looked at the table yet."""
    _write(home, 'schema = "schema.json"', f'undescribed = "{word}"')
    assert unresolved(Guard.from_config(), "SELECT total FROM orders") is doubt


def test_by_hand_it_is_the_same(home: Path) -> None:
    """Guard.load takes a schema too, and reads it again with the rest."""
    guard = Guard.load("policy.yaml", data_map="map.yaml", schema="schema.json")
    assert not unresolved(guard, "SELECT * FROM faces")
    more = {**TABLES, "faces": {**TABLES["faces"], "taken": "date"}}
    (home / "schema.json").write_text(json.dumps(more), encoding="utf-8")
    assert guard.reload()
    with guard.purpose(ADS):
        guard.modes.default = "off"
        assert len(guard.sql("SELECT * FROM faces", dialect="postgres").labels) == 3


def test_own_functions_do_what_the_configuration_says(home: Path) -> None:
    """A reviewed function hashes; one that nobody reviewed may do anything."""
    _write(home, 'schema = "schema.json"', 'functions = { "fold_away" = "hashed" }')
    guard = Guard.from_config()
    with guard.purpose(ACCOUNT):
        guard.modes.default = "off"
        check = guard.sql("SELECT fold_away(email) FROM users", dialect="postgres")
    assert [sorted(label.form) for label in check.labels[0]] == [["pseudonymised"]]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"users": 7}'])
def test_a_schema_that_cannot_be_read_stops_the_start(home: Path, content: str) -> None:
    """One clear problem at the line that names it."""
    (home / "schema.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config()
    (problem,) = caught.value.problems
    assert problem.code == "PG505"
    assert problem.line == 3
    assert "schema" in problem.message


def test_a_statement_says_its_purpose_where_it_is_asked_for(home: Path) -> None:
    """Only what is understood is written into; without a purpose there is nothing to say."""
    _write(home, "sql_comment = true")
    guard = Guard.from_config()
    guard.modes.default = "off"
    text = "SELECT email FROM users"
    assert guard.sql(text, dialect="postgres").text is text
    with guard.purpose(ACCOUNT):
        assert guard.sql(text, dialect="postgres").text == f"{text} /*purpose='{ACCOUNT}'*/"
        assert guard.sql("SELECT 1", dialect="postgres").text.endswith(f"='{ACCOUNT}'*/")
        odd = "SELECT f(email) FROM nowhere /*"
        assert guard.sql(odd, dialect="postgres").text is odd
