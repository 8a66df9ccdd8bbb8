"""Texts that were made to mislead the inspector: each is answered as the database would, or not."""

from __future__ import annotations

import pytest

from policyguard.inspectors.sql import Catalog, Session, inspect

CATALOG = Catalog.from_mapping(
    {
        "users": {"id": "int", "email": "text", "consent": "int", "country": "text"},
        "notes": {"id": "int", "text": "text"},
        "ads": {"id": "int", "mail": "text"},
    }
)


@pytest.mark.parametrize(
    "text",
    [
        "ANALYZE INSERT ads SELECT id, email FROM users",
        "ANALYZE REPLACE ads SELECT id, email FROM users",
        "ANALYZE UPDATE users SET country = email",
        "ANALYZE DELETE FROM users",
    ],
)
def test_what_analyze_runs_is_not_harmless(text: str) -> None:
    """MariaDB runs it."""
    (found,) = inspect(text, "mysql", CATALOG)
    assert not found.resolved


@pytest.mark.parametrize("text", ["ANALYZE TABLE users", "ANALYZE LOCAL TABLE users, notes"])
def test_plain_upkeep_still_is(text: str) -> None:
    """It reads nothing that anybody gets."""
    (found,) = inspect(text, "mysql", CATALOG)
    assert found.resolved
    assert not found.reads


def test_a_name_that_is_prepared_twice_may_be_either() -> None:
    """The database refuses the second and goes on with the first."""
    session = Session()
    for text in ("PREPARE p AS SELECT email FROM users", "PREPARE p AS SELECT text FROM notes"):
        assert inspect(text, "postgres", CATALOG, session)[0].resolved
    assert not inspect("EXECUTE p", "postgres", CATALOG, session)[0].resolved


def test_the_same_prepared_again_is_the_same() -> None:
    """Programs do that on every connection."""
    session = Session()
    for _ in range(2):
        inspect("PREPARE p AS SELECT email FROM users", "postgres", CATALOG, session)
    (found,) = inspect("EXECUTE p", "postgres", CATALOG, session)
    assert found.resolved
    assert found.reads == {"users.email"}


def test_unload_knows_what_the_connection_made() -> None:
    """A temporary table hides the one of that name."""
    session = Session()
    made = "CREATE TEMP TABLE notes AS SELECT id, email AS text FROM users"
    inspect(made, "redshift", CATALOG, session)
    (found,) = inspect(
        "UNLOAD ('SELECT text FROM notes') TO 's3://x/y'", "redshift", CATALOG, session
    )
    sources = {one.column for output in found.exports[0].outputs for one in output.sources}
    assert "users.email" in sources


def test_an_alias_forges_no_fact() -> None:
    """Where a database takes the alias, the condition says nothing about the row."""
    forged = "SELECT email, 1 AS consent FROM users WHERE consent = 1"
    assert inspect(forged, "clickhouse", CATALOG)[0].facts == ()
    plain = "SELECT email FROM users WHERE consent = 1"
    assert inspect(plain, "clickhouse", CATALOG)[0].facts


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        ("postgres", "SELECT set_config('search_path', 'hr', false)"),
        ("postgres", "UPDATE pg_settings SET setting = 'hr' WHERE name = 'search_path'"),
        ("postgres", "ALTER TABLE users RENAME TO notes2"),
        ("mysql", "RENAME TABLE notes TO n2, users TO notes"),
        ("postgres", "CREATE FUNCTION pg_temp.lower(text) RETURNS text AS 'x' LANGUAGE sql"),
        ("duckdb", "CREATE MACRO lower(x) AS x"),
    ],
)
def test_what_moves_names_puts_the_connection_in_doubt(dialect: str, text: str) -> None:
    """Later texts would be read with the old names."""
    session = Session()
    assert not inspect(text, dialect, CATALOG, session)[0].resolved
    assert not inspect("SELECT id FROM notes", dialect, CATALOG, session)[0].resolved
