"""What the inspector concludes where the catalog doesn't know every column."""

from __future__ import annotations

from policyguard.inspectors.sql import Catalog, inspect
from policyguard.inspectors.sql.inspection import _inspected
from tests.inspectors.sql.shared import CATALOG, last, sources

PART = Catalog.from_tables({"users": ["email"], "chats": ["body"]}, patterns=["raw.*"])


def test_a_named_column_is_read_even_if_nobody_listed_it() -> None:
    """An unlisted column of a table with unknown columns is reported under its name."""
    answer = last("SELECT email, note FROM users", catalog=PART)
    assert answer.reads == {"users.email", "users.note"}


def test_a_star_over_unknown_columns_is_unresolved() -> None:
    """What can't be spelled out isn't answered: stars, whole rows, NATURAL joins."""
    for sql in (
        "SELECT * FROM users",
        "SELECT u.* FROM users u",
        "SELECT u FROM users u",
        "SELECT to_json(u) FROM users u",
        "SELECT 1 FROM users NATURAL JOIN chats",
        "DELETE FROM users RETURNING *",
        "COPY users TO STDOUT",
        "SELECT x FROM users AS u(x)",
    ):
        assert not last(sql, catalog=PART).resolved, sql


def test_a_name_that_several_tables_may_own_is_read_in_all_of_them() -> None:
    """Without the columns of the inner table, a name may be the outer one's."""
    answer = last("SELECT 1 FROM users WHERE id IN (SELECT email FROM chats)", catalog=PART)
    assert {"users.email", "chats.email", "users.id"} <= answer.reads


def test_a_table_whose_columns_are_complete_can_be_told_apart() -> None:
    """`complete` may name single tables."""
    catalog = Catalog.from_tables({"users": ["id", "email"], "chats": ["body"]}, complete={"users"})
    assert last("SELECT * FROM users", catalog=catalog).reads == {"users.id", "users.email"}
    assert not last("SELECT * FROM chats", catalog=catalog).resolved
    assert not last("SELECT missing FROM users", catalog=catalog).resolved


def test_tables_by_pattern_are_open() -> None:
    """A table that a pattern covers exists, with columns nobody listed."""
    answer = last("SELECT user_email FROM raw.events", catalog=PART)
    assert sources(answer) == [{"raw.events.user_email:direct"}]
    assert not last("SELECT user_email FROM other.events", catalog=PART).resolved


def test_names_are_found_with_and_without_schema() -> None:
    """Parts that either side leaves out fit everything; parts that differ don't."""
    catalog = Catalog.from_mapping({"public.users": {"email": ""}, "t": {"x": ""}})
    assert last("SELECT email FROM users", catalog=catalog).reads == {"public.users.email"}
    assert last("SELECT email FROM db.public.users", catalog=catalog).resolved
    assert last("SELECT x FROM any_schema.t", catalog=catalog).reads == {"t.x"}
    assert not last("SELECT email FROM private.users", catalog=catalog).resolved


def test_spelling_decides_before_letter_case() -> None:
    """Two columns that differ in case are two columns where the dialect says so."""
    catalog = Catalog.from_mapping({"s": {"Email": "", "email": ""}})
    assert last('SELECT "Email" FROM s', catalog=catalog).reads == {"s.Email"}
    assert last("SELECT EMAIL FROM s", catalog=catalog).reads == {"s.email"}
    both = last("SELECT EMAIL FROM s", "mysql", catalog)
    assert both.reads == {"s.Email", "s.email"}


def test_equal_catalogs_have_equal_versions() -> None:
    """The version is a digest of the meaning, and part of the key of cached answers."""
    again = Catalog.from_mapping({"users": {"email": "text"}})
    assert again.version == Catalog.from_mapping({"users": {"email": "text"}}).version
    assert again.version != Catalog.from_mapping({"users": {"email": "int"}}).version
    assert PART.version != Catalog.from_tables({"users": ["email"], "chats": ["body"]}).version


def test_a_repeated_text_is_answered_from_the_cache() -> None:
    """The same text, dialect and catalog give the very same answer."""
    first = inspect("SELECT email FROM patients", "postgres", CATALOG)
    assert inspect("SELECT email FROM patients", "postgres", CATALOG) is first
    assert inspect("SELECT email FROM patients", "duckdb", CATALOG) is not first
    assert _inspected.cache_info().maxsize is not None
