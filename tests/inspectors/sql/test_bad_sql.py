"""Thirty kinds of SQL that is bad, odd or hostile, each with its outcome.

Opaque texts are unresolved, others are resolved to what is really read.
"""

from __future__ import annotations

import pytest

from policyguard.errors import PolicyGuardError
from policyguard.inspectors.sql import Catalog, inspect
from tests.inspectors.sql.shared import CATALOG, last

OPAQUE = [
    ("mysql", "SELECT 1 /*!50000 UNION SELECT email FROM patients */"),
    ("mysql", "/*! SELECT email FROM patients */"),
    ("mysql", "SELECT 1 /*M! , email */ FROM patients"),
    ("postgres", ""),
    ("postgres", "   -- nothing\n /* at all */ ;;"),
    ("postgres", "EXECUTE p"),
    ("postgres", "FETCH ALL FROM c"),
    ("mysql", "PREPARE s FROM 'SELECT email FROM patients'"),
    ("postgres", "DO $$ BEGIN PERFORM email FROM patients; END $$"),
    ("postgres", "CALL leak()"),
    ("tsql", "EXEC('SELECT email FROM patients')"),
    ("snowflake", "EXECUTE IMMEDIATE 'SELECT email FROM patients'"),
    ("postgres", "SELECT query_to_xml('select email from patients', true, false, '')"),
    ("postgres", "SELECT * FROM dblink('x', 'select email from patients') AS t(e text)"),
    ("tsql", "SELECT * FROM OPENROWSET('x', 'y', 'select email from patients')"),
    ("postgres", "SELECT pg_read_file('/etc/passwd')"),
    ("postgres", "SELECT lo_export(1, '/tmp/x')"),
    ("mysql", "SELECT LOAD_FILE('/etc/passwd')"),
    ("duckdb", "SELECT * FROM read_csv('https://example.org/x.csv')"),
    ("duckdb", "SELECT * FROM 'people.parquet'"),
    ("duckdb", "SELECT * FROM query('SELECT email FROM patients')"),
    ("duckdb", "SELECT * FROM query_table('patients')"),
    ("snowflake", "SELECT * FROM TABLE('patients')"),
    ("snowflake", "SELECT * FROM IDENTIFIER('patients')"),
    ("snowflake", "SELECT $1 FROM @stage/x"),
    ("snowflake", "SELECT $2 FROM patients"),
    ("postgres", 'SELECT U&"\\0065mail" FROM patients'),
    ("postgres", "SELECT * FROM unknown_table"),
    ("postgres", "SELECT own_function(email) FROM patients"),
    ("postgres", "SELECT hidden.f(email) FROM patients"),
    ("postgres", "SET search_path = other; SELECT email FROM patients"),
    ("mysql", "USE other; SELECT email FROM patients"),
    ("postgres", "SET ROLE admin; SELECT email FROM patients"),
    ("postgres", "SELECT email FROM patients\x00"),
    ("postgres", 'SELECT email FROM "patients\x00"'),
    ("postgres", "SELECT\u00a0email FROM patients"),
    ("postgres", "SELECT e\u200bmail FROM patients"),
    ("postgres", "\uff33\uff25\uff2c\uff25\uff23\uff34 email FROM patients"),
    ("postgres", "SELECT email FROM patients WHERE {cols}"),
    ("mysql", "SELECT 1--1, email FROM patients"),
    ("mysql", "SELECT @x := email FROM patients"),
    ("mysql", "SELECT email INTO @x FROM patients"),
    ("postgres", "CREATE FUNCTION f() RETURNS int AS 'SELECT 1' LANGUAGE sql"),
    ("postgres", "CREATE RULE r AS ON SELECT TO t DO INSTEAD SELECT * FROM patients"),
    ("sqlite", "CREATE TRIGGER g AFTER INSERT ON visits BEGIN SELECT 1; END"),
    ("sqlite", "ATTACH 'x' AS y"),
    ("duckdb", "SUMMARIZE patients"),
    ("duckdb", "CREATE MACRO m() AS 1"),
    ("postgres", "GRANT SELECT ON patients TO public"),
    ("postgres", "ALTER TABLE patients RENAME TO p2"),
    ("postgres", "SELECT email FROM patients WHERE"),
    ("postgres", "SELECT most_common_vals FROM pg_stats"),
    ("bigquery", "SELECT email FROM `events_*`"),
    ("clickhouse", "INSERT INTO FUNCTION file('x.csv') SELECT email FROM patients"),
]


@pytest.mark.parametrize(("dialect", "sql"), OPAQUE)
def test_what_cannot_be_understood_is_unresolved(dialect: str, sql: str) -> None:
    """An opaque text is never answered with what happened to be found, and says why."""
    found = inspect(sql, dialect, CATALOG)
    assert found
    assert any(statement.status == "unresolved" and statement.why for statement in found)
    assert found[-1].status == "unresolved"


RESOLVED = [
    ("postgres", "EXPLAIN ANALYZE SELECT email FROM patients", {"email"}),
    ("postgres", "PREPARE p AS SELECT email FROM patients", {"email"}),
    ("postgres", "SELECT 1; SELECT email FROM patients;--", {"email"}),
    ("mysql", r"SELECT '\' UNION SELECT email FROM patients -- '", set()),
    ("postgres", r"SELECT '\' UNION SELECT email FROM patients -- '", {"email"}),
    ("mysql", 'SELECT "email" FROM patients', set()),
    ("postgres", 'SELECT "email" FROM patients', {"email"}),
    ("sqlite", 'SELECT "email", "no such" FROM patients', {"email"}),
    ("mysql", "SELECT `email` # , phone\n FROM patients", {"email"}),
    ("tsql", "SELECT [email] FROM [patients]", {"email"}),
    ("postgres", "SELECT id FROM patients ORDER BY email", {"id", "email"}),
    ("postgres", "SELECT id FROM patients GROUP BY id HAVING max(email) > 'a'", {"id", "email"}),
    ("postgres", "SELECT email FROM ONLY patients TABLESAMPLE SYSTEM (1)", {"email"}),
    ("bigquery", "SELECT email FROM patients FOR SYSTEM_TIME AS OF '2020-01-01'", {"email"}),
    ("postgres", "SELECT email FROM patients WHERE id = %(id)s AND phone = $1", {"*"}),
    ("sqlite", "SELECT email FROM patients WHERE id = ? LIMIT :n", {"id", "email"}),
    ("postgres", "SELECT p FROM patients p", {"*all"}),
    ("postgres", "SELECT row_to_json(p) FROM patients p", {"*all"}),
    ("snowflake", "SELECT EMAIL FROM Patients", {"email"}),
    ("snowflake", 'SELECT "EMAIL" FROM PATIENTS', {"email"}),
]
ALL = {"id", "full_name", "email", "birth_date", "phone"}


@pytest.mark.parametrize(("dialect", "sql", "columns"), RESOLVED)
def test_what_can_be_understood_is_read_as_the_dialect_reads_it(
    dialect: str, sql: str, columns: set[str]
) -> None:
    """Quotes, comments, placeholders and prefixes mean what the dialect says."""
    found = inspect(sql, dialect, CATALOG)
    assert [statement.why for statement in found if not statement.resolved] == []
    reads = frozenset[str]().union(*(statement.reads for statement in found))
    want = {"*": {"id", "email", "phone"}, "*all": ALL}.get(next(iter(columns), ""), columns)
    assert reads == {f"patients.{column}" for column in want}


DEEP = [
    "SELECT " + "(" * 1000 + "1" + ")" * 1000,
    "SELECT " + "(" * 10_000 + "1" + ")" * 10_000,
    "SELECT * FROM " + "(SELECT * FROM " * 5000 + "patients" + ")" * 5000,
    "SELECT " + "CASE WHEN 1 THEN " * 1000 + "1" + " END" * 1000,
    "SELECT " + "NOT " * 10_000 + "true",
    "SELECT " + "- " * 10_000 + "1",
    "SELECT " + "x -> " * 10_000 + "1",
    "SELECT " + "[" * 10_000,
    "SELECT email" + "[1]" * 4000 + " FROM patients",
    "SELECT 1 " + "/* " * 80_000,
    "SELECT id FROM patients WHERE id IN (" + "1, " * 100_000 + "1)",
    "SELECT 1" + " UNION SELECT 1" * 60_000,
    "SELECT 1" + " OR 1" * 60_000,
    "x" * (256 * 1024 + 1),
    "; SELECT 1" * 5000,
]


@pytest.mark.parametrize("sql", DEEP, ids=lambda sql: str(sql)[:24])
def test_deep_and_long_texts_are_refused_before_the_parser(sql: str) -> None:
    """Nesting and length end in an answer, not in a crash or a wait."""
    assert last(sql).status == "unresolved"


def test_long_chains_of_operators_are_answered() -> None:
    """A condition of a thousand terms, as programs write it, is walked without recursion."""
    chain = " OR ".join(f"(id = {number} AND email <> 'x')" for number in range(1000))
    answer = last(f"SELECT id FROM patients WHERE {chain}")
    assert answer.resolved
    assert answer.reads == {"patients.id", "patients.email"}


@pytest.mark.parametrize("dialect", ["", "  ", "oraqle", None])
def test_a_dialect_is_required(dialect: str) -> None:
    """Without a known dialect there is no answer at all: most texts parse under a wrong one."""
    with pytest.raises(PolicyGuardError, match="PG401"):
        inspect("SELECT 1", dialect, CATALOG)


@pytest.mark.parametrize("text", [b"SELECT 1", None, 7, object()])
def test_what_is_not_text_is_unresolved(text: str) -> None:
    """Bytes and objects that only a driver can render are a doubt."""
    assert last(text).status == "unresolved"


def test_no_statement_after_a_doubt_is_answered() -> None:
    """What an opaque statement did to names is unknown to those after it."""
    found = inspect("CALL p(); SELECT email FROM patients", "postgres", CATALOG)
    assert [statement.status for statement in found] == ["unresolved", "unresolved"]


def test_ambiguous_tables_are_read_in_both_schemas() -> None:
    """A name that two schemas have reads both."""
    catalog = Catalog.from_mapping({"a.t": {"x": ""}, "b.t": {"x": ""}})
    assert last("SELECT x FROM t", catalog=catalog).reads == {"a.t.x", "b.t.x"}
    assert last("SELECT x FROM b.t", catalog=catalog).reads == {"b.t.x"}
