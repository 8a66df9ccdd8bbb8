"""The thirty kinds of SQL that is bad, odd or hostile: one row or more each, with its outcome.

An outcome is the columns that are read, or `OPAQUE`: unresolved, so everything may be. What each
kind can do beyond that is in the tests beside this one.
"""

from __future__ import annotations

import logging

import pytest

from policyguard.errors import PolicyGuardError
from policyguard.inspectors.sql import Catalog, Session, inspect
from tests.inspectors.sql.shared import CATALOG, CLINIC

OPAQUE = None
ALL = {f"patients.{column}" for column in CLINIC["patients"]}
EMAIL = {"patients.email"}
BOTH = {"patients.id", "patients.email"}
WITH_VIEW = Catalog.from_mapping(CLINIC, views={"v": "SELECT email AS e FROM patients"})

KINDS: list[tuple[int, str, str, set[str] | None]] = [
    (1, "mysql", "SELECT 1 /*!50000 UNION SELECT email FROM patients */", OPAQUE),
    (2, "mysql", "/*! SELECT email FROM patients */", OPAQUE),
    (3, "postgres", "", OPAQUE),
    (3, "postgres", "-- nothing", OPAQUE),
    (4, "postgres", "EXPLAIN ANALYZE SELECT email FROM patients", EMAIL),
    (5, "postgres", "PREPARE p AS SELECT email FROM patients; EXECUTE p", EMAIL),
    (5, "postgres", "EXECUTE p", OPAQUE),
    (5, "postgres", "DECLARE c CURSOR FOR SELECT email FROM patients; FETCH 1 FROM c", EMAIL),
    (6, "postgres", "DO $$ BEGIN PERFORM email FROM patients; END $$", OPAQUE),
    (6, "postgres", "CALL p()", OPAQUE),
    (6, "tsql", "EXEC('SELECT email FROM patients')", OPAQUE),
    (6, "snowflake", "EXECUTE IMMEDIATE 'SELECT email FROM patients'", OPAQUE),
    (7, "postgres", "SELECT query_to_xml('select email from patients', true, true, '')", OPAQUE),
    (7, "postgres", "SELECT * FROM dblink('d', 'select 1') AS t(e text)", OPAQUE),
    (7, "tsql", "SELECT * FROM OPENROWSET('a', 'b', 'select 1')", OPAQUE),
    (8, "postgres", "SELECT pg_read_file('/etc/passwd')", OPAQUE),
    (8, "postgres", "SELECT lo_export(1, '/tmp/x')", OPAQUE),
    (8, "duckdb", "SELECT * FROM read_csv('https://example.org/x')", OPAQUE),
    (9, "snowflake", "SELECT * FROM TABLE('patients')", OPAQUE),
    (9, "snowflake", "SELECT * FROM IDENTIFIER(:t)", OPAQUE),
    (9, "snowflake", "SELECT $1 FROM @stage", OPAQUE),
    (10, "postgres", "SELECT p FROM patients p", ALL),
    (10, "postgres", "SELECT row_to_json(p) FROM patients p", ALL),
    (11, "postgres", "SELECT * FROM patients", ALL),
    (11, "postgres", "SELECT p.* FROM patients p", ALL),
    (
        11,
        "postgres",
        "SELECT 1 FROM visits JOIN patients USING (id)",
        {"visits.id", "patients.id"},
    ),
    (11, "postgres", "SELECT * FROM nowhere", OPAQUE),
    (12, "postgres", 'SELECT U&"\\0065mail" FROM patients', OPAQUE),
    (12, "postgres", 'SELECT "email" FROM PATIENTS', EMAIL),
    (13, "postgres", "WITH patients AS (SELECT 1 AS email) SELECT email FROM patients", set()),
    (
        13,
        "postgres",
        (
            "SELECT (WITH patients AS (SELECT 1 AS email) SELECT email FROM patients), email "
            "FROM patients"
        ),
        EMAIL,
    ),
    (14, "postgres", "SELECT e FROM v", EMAIL),
    (14, "postgres", "SELECT e FROM other_view", OPAQUE),
    (15, "postgres", "SET search_path = x; SELECT email FROM patients", OPAQUE),
    (15, "mysql", "USE x; SELECT email FROM patients", OPAQUE),
    (15, "postgres", "SET ROLE x; SELECT email FROM patients", OPAQUE),
    (16, "postgres", "SELECT 1; SELECT email FROM patients;--", EMAIL),
    (17, "postgres", r"SELECT '\' UNION SELECT email FROM patients -- '", EMAIL),
    (17, "mysql", r"SELECT '\' UNION SELECT email FROM patients -- '", set()),
    (17, "mysql", "SELECT `email` # , phone\n FROM patients", EMAIL),
    (17, "mysql", "SELECT 1--1, email FROM patients", OPAQUE),
    (18, "postgres", 'SELECT email FROM "patients\x00"', OPAQUE),
    (19, "postgres", "SELECT\u00a0email FROM patients", OPAQUE),
    (19, "postgres", "\uff33ELECT email FROM patients", OPAQUE),
    (19, "postgres", "SELECT e\u200bmail FROM patients", OPAQUE),
    (20, "postgres", "SELECT " + "(" * 1000 + "1" + ")" * 1000, OPAQUE),
    (20, "postgres", "SELECT " + "(SELECT " * 10_000 + "1" + ")" * 10_000, OPAQUE),
    (20, "postgres", "SELECT " + "CASE WHEN 1 THEN " * 1000 + "1" + " END" * 1000, OPAQUE),
    (20, "postgres", "SELECT " + "NOT " * 10_000 + "true", OPAQUE),
    (21, "postgres", "SELECT 1 WHERE 1 IN (" + "1, " * 3_500_000 + "1)", OPAQUE),
    (21, "postgres", "SELECT 1" + " UNION SELECT 1" * 10_000, OPAQUE),
    (21, "postgres", "WITH a AS (SELECT 1)" + ", a AS (SELECT 1)" * 10_000 + " SELECT 1", OPAQUE),
    (22, "postgres", "SELECT id FROM patients WHERE email = 'x'", BOTH),
    (22, "postgres", "SELECT id FROM patients ORDER BY email", BOTH),
    (22, "postgres", "SELECT id FROM patients GROUP BY 1 HAVING max(email) > ''", BOTH),
    (22, "postgres", "SELECT sum(id) OVER (ORDER BY email) FROM patients", BOTH),
    (23, "postgres", "INSERT INTO outbox SELECT id, email FROM patients", BOTH),
    (23, "postgres", "CREATE TABLE t AS SELECT email FROM patients", EMAIL),
    (
        23,
        "postgres",
        "UPDATE outbox SET val = 'x' FROM patients p WHERE p.id = 1 RETURNING p.email",
        BOTH,
    ),
    (
        23,
        "postgres",
        (
            "MERGE INTO outbox o USING patients p ON o.id = p.id WHEN NOT MATCHED THEN INSERT "
            "VALUES (p.id, p.email)"
        ),
        BOTH | {"outbox.id"},
    ),
    (24, "postgres", "COPY (SELECT email FROM patients) TO STDOUT", EMAIL),
    (24, "postgres", "COPY patients (email) TO PROGRAM 'curl x'", EMAIL),
    (24, "mysql", "SELECT email FROM patients INTO OUTFILE '/tmp/x'", EMAIL),
    (24, "redshift", "UNLOAD ('SELECT email FROM patients') TO 's3://b/p'", EMAIL),
    (25, "postgres", "SELECT meta->>'ssn' FROM devices", {"devices.meta"}),
    (25, "postgres", "SELECT jsonb_path_query(meta, '$.ssn') FROM devices", {"devices.meta"}),
    (25, "postgres", "SELECT coalesce(meta -> 'ssn', meta) FROM devices", {"devices.meta"}),
    (26, "bigquery", "SELECT email FROM `events_*`", OPAQUE),
    (26, "bigquery", "SELECT email FROM patients FOR SYSTEM_TIME AS OF '2020-01-01'", EMAIL),
    (26, "postgres", "SELECT email FROM ONLY patients TABLESAMPLE SYSTEM (1)", EMAIL),
    (27, "postgres", "SELECT {cols} FROM patients", OPAQUE),
    (27, "postgres", "SELECT email FROM %s", OPAQUE),
    (28, "postgres", "SELECT email FROM patients WHERE id = %(id)s LIMIT %s", BOTH),
    (28, "postgres", "SELECT email FROM $1", OPAQUE),
    (30, "postgres", "SELECT id FROM patients WHERE email = 'jo@example.org'", BOTH),
]


@pytest.mark.parametrize(
    ("kind", "dialect", "sql", "reads"),
    KINDS,
    ids=[f"{row[0]}-{row[1]}-{at}" for at, row in enumerate(KINDS)],
)
def test_each_kind_has_its_outcome(
    kind: int, dialect: str, sql: str, reads: set[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Read as the dialect reads it, or unresolved with a reason; no literal in either."""
    with caplog.at_level(logging.DEBUG):
        found = inspect(sql, dialect, WITH_VIEW)
    assert "jo@example.org" not in repr(found) + caplog.text
    if reads is None:
        assert not found[-1].resolved
        assert found[-1].why
    else:
        assert [one.why for one in found if not one.resolved] == []
        assert frozenset[str]().union(*(one.reads for one in found)) == reads


@pytest.mark.parametrize("text", [b"SELECT 1", object(), (part for part in ("SELECT", "1"))])
def test_kind_29_what_is_not_text_is_unresolved(text: str) -> None:
    """A driver renders it first."""
    assert not inspect(text, "postgres", CATALOG)[0].resolved


def test_kind_17_a_dialect_is_required() -> None:
    """There is none to guess."""
    with pytest.raises(PolicyGuardError):
        inspect("SELECT 1", "", CATALOG)


def test_all_thirty_kinds_have_a_row() -> None:
    """29 has a test of its own."""
    assert {row[0] for row in KINDS} | {29} == set(range(1, 31))


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        ("postgres", "SET search_path = x"),
        ("postgres", "SET ROLE x"),
        ("postgres", "set local search_path to x, public"),
        ("mysql", "USE x"),
        ("snowflake", "USE SCHEMA x"),
    ],
)
def test_kind_15_after_it_the_connection_is_in_doubt(dialect: str, text: str) -> None:
    """Whatever comes later on this connection is unresolved, until it is reset; others go on."""
    session = Session()
    assert not inspect(text, dialect, CATALOG, session)[0].resolved
    query = "SELECT email FROM patients"
    assert not inspect(query, dialect, CATALOG, session)[0].resolved
    assert inspect(query, dialect, CATALOG, Session())[0].resolved
    session.reset()
    assert inspect(query, dialect, CATALOG, session)[0].resolved
