"""Texts that describe a schema: the query of a view, comments on columns."""

from __future__ import annotations

import pytest

from policyguard.inspectors.sql.schematext import column_comments, view_query

# fmt: off
VIEWS = {
    # what: (dialect, text, query, own names)
    "a query": (
        "postgres", " SELECT id,\n  email\n FROM users;", "SELECT id, email FROM users", ()),
    "a whole statement": (
        "sqlite", "CREATE VIEW v AS SELECT id FROM users", "SELECT id FROM users", ()),
    "own names": (
        "sqlite", "CREATE VIEW v(A, b) AS SELECT id, email FROM users",
        "SELECT id, email FROM users", ("a", "b")),
    "names with comments": (
        "snowflake", "create or replace secure view v (a comment 'x, y', \"b\") as select 1, 2",
        "select 1, 2", ("A", "b")),
    "what MySQL shows": (
        "mysql", "CREATE ALGORITHM=MERGE DEFINER=`r`@`%` SQL SECURITY DEFINER VIEW v AS select a",
        "select a", ()),
    "a materialised view": (
        "postgres", "CREATE MATERIALIZED VIEW v AS SELECT 1 AS a", "SELECT 1 AS a", ()),
    "options before AS": (
        "tsql", "CREATE VIEW dbo.v WITH SCHEMABINDING AS SELECT 1 AS a", "SELECT 1 AS a", ()),
    "late binding": (
        "redshift", "SELECT a FROM t WITH NO SCHEMA BINDING", "SELECT a FROM t", ()),
    "comments": ("postgres", "SELECT /* a@b.de */ a -- c\nFROM t", "SELECT a FROM t", ()),
    "two statements": ("postgres", "SELECT 1; DROP TABLE t", "", ()),
    "no view": ("postgres", "DROP TABLE t", "", ()),
    "nothing": ("postgres", "", "", ()),
    "no text to its end": ("postgres", "SELECT 'a", "", ()),
}
LITERALS = {
    "compared": ("a = 'x@y.de'", "a = ''"),
    "cast": ("a = 'x'::text", "a = ''::text"),
    "on the left": ("('x' = a)", "('' = a)"),
    "a list": ("a IN ('x', 'y')", "a IN ('', '')"),
    "an array": ("a = ANY (ARRAY['x'::text])", "a = ANY (ARRAY[''::text])"),
    "like": ("a NOT LIKE 'x%'", "a NOT LIKE ''"),
    "between": ("a BETWEEN 'x' AND 'y'", "a BETWEEN '' AND ''"),
    "a number": ("a > 4915112345678", "a > 0"),
    "a path": ("a ->> 'email' = 'x'", "a ->> 'email' = ''"),
    "an argument": ("f(a, 'email')", "f(a, 'email')"),
    "a query in IN": ("a IN (SELECT f('x') FROM t)", "a IN (SELECT f('x') FROM t)"),
}
# fmt: on


@pytest.mark.parametrize("name", VIEWS)
def test_the_query_of_a_view_is_found(name: str) -> None:
    """Whatever a database gives for a view becomes its query, or nothing."""
    dialect, text, query, names = VIEWS[name]
    found = view_query(text, dialect)
    assert (found.query, found.names) == (query, names)


@pytest.mark.parametrize("name", LITERALS)
def test_what_a_view_compares_with_is_left_out(name: str) -> None:
    """Values don't belong into a committed file; what may name a column or a path stays."""
    before, after = LITERALS[name]
    found = view_query(f"SELECT a FROM t WHERE {before} LIMIT 5", "postgres")
    assert found.query == f"SELECT a FROM t WHERE {after} LIMIT 5"


def test_comments_are_found_in_ddl() -> None:
    """COMMENT ON COLUMN and a column's own COMMENT; other statements say nothing."""
    text = "COMMENT ON TABLE t IS 'x'; COMMENT ON COLUMN s.t.\"C\" IS 'it''s'; SELECT 'COMMENT'"
    assert list(column_comments(text, "postgres")) == [("s.t", "C", "it's")]
    text = "CREATE TABLE t (a INT COMMENT 'one', b INT) COMMENT = 'table'; COMMENT ON"
    assert list(column_comments(text, "mysql")) == [("t", "a", "one")]
    assert list(column_comments("SELECT 'a", "mysql")) == []
