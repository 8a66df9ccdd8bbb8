"""SEMI and ANTI are join kinds in some dialects, and names like any other in the rest."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from policyguard.inspectors.sql import Catalog, inspect

CATALOG = Catalog.from_tables({"users": ("id",), "emails": ("addr",)}, complete=True)


@pytest.mark.parametrize("word", ["SEMI", "ANTI"])
@pytest.mark.parametrize(
    "dialect", ["sqlite", "postgres", "mysql", "tsql", "snowflake", "bigquery"]
)
def test_where_it_is_a_name_the_right_side_is_not_lost(dialect: str, word: str) -> None:
    """The address comes back from the database, so the answer is it, or a doubt."""
    text = f"SELECT emails.addr FROM users {word} JOIN emails ON 1 = 1"
    (answer,) = inspect(text, dialect, CATALOG)
    named = {source.column for output in answer.outputs for source in output.sources}
    assert not answer.resolved or named == {"emails.addr"}


@pytest.mark.parametrize("word", ["SEMI", "ANTI"])
def test_where_it_is_a_join_only_the_left_side_goes_on(word: str) -> None:
    """As these databases have it."""
    text = f"SELECT * FROM users LEFT {word} JOIN emails ON users.id = 1"
    (answer,) = inspect(text, "spark", CATALOG)
    assert answer.resolved
    assert [output.name for output in answer.outputs] == ["id"]


def test_sqlite_takes_the_word_for_a_name() -> None:
    """What the doubt is about, on the database itself."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(
            "CREATE TABLE users (id); CREATE TABLE emails (addr);"
            "INSERT INTO users VALUES (1); INSERT INTO emails VALUES ('a');"
        )
        text = "SELECT emails.addr FROM users ANTI JOIN emails ON 1 = 1"
        assert connection.execute(text).fetchall() == [("a",)]
