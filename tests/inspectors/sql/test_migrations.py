"""What migrations send: indexes, constraints, and columns that come and go."""

from __future__ import annotations

import pytest

from policyguard.inspectors.sql import Session, inspect
from tests.inspectors.sql.shared import CATALOG, last

READING = [
    ("postgres", "CREATE INDEX i ON patients (email, phone DESC NULLS LAST)", {"email", "phone"}),
    (
        "postgres",
        (
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON public.patients USING btree "
            "(lower(email)) INCLUDE (full_name) WHERE phone IS NOT NULL"
        ),
        {"email", "full_name", "phone"},
    ),
    ("postgres", "CREATE INDEX ON patients USING gin (email gin_trgm_ops)", {"email"}),
    ("mysql", "CREATE INDEX i ON patients (email(10))", {"email"}),
    ("sqlite", "CREATE UNIQUE INDEX i ON patients (email COLLATE NOCASE)", {"email"}),
    ("postgres", "ALTER TABLE patients ADD CONSTRAINT c UNIQUE (email, id)", {"email", "id"}),
    ("postgres", "ALTER TABLE patients ADD COLUMN x text NOT NULL DEFAULT 'a'", set()),
    ("postgres", "ALTER TABLE patients DROP COLUMN phone, ADD COLUMN IF NOT EXISTS y int", set()),
    ("postgres", "ALTER TABLE patients ALTER COLUMN email SET NOT NULL", set()),
    ("postgres", "ALTER TABLE patients ALTER COLUMN id TYPE bigint", set()),
    ("postgres", "DROP INDEX CONCURRENTLY IF EXISTS i", set()),
]


@pytest.mark.parametrize(
    ("dialect", "sql", "columns"),
    READING,
    ids=lambda part: part[:40] if isinstance(part, str) else "reads",
)
def test_a_migration_reads_what_an_index_or_constraint_is_over(
    dialect: str, sql: str, columns: set[str]
) -> None:
    """Nothing more, and it returns no rows."""
    answer = last(sql, dialect)
    assert answer.resolved, answer.why
    assert answer.reads == {f"patients.{column}" for column in columns}
    assert answer.outputs == ()


def test_a_foreign_key_reads_both_sides() -> None:
    """The rows that are there are compared."""
    answer = last("ALTER TABLE visits ADD FOREIGN KEY (patient_id) REFERENCES patients (id)")
    if answer.resolved:
        assert answer.reads == {"visits.patient_id", "patients.id"}
    answer = last(
        "ALTER TABLE visits ADD CONSTRAINT f FOREIGN KEY (patient_id) REFERENCES patients (id)"
    )
    assert answer.reads == {"visits.patient_id", "patients.id"}


OPAQUE = [
    "CREATE INDEX i ON patients (own_function(email))",
    "CREATE INDEX i ON nowhere (email)",
    "CREATE INDEX i ON patients (nothing)",
    "ALTER TABLE patients RENAME COLUMN email TO note",
    "ALTER TABLE patients RENAME TO p2",
    "ALTER TABLE patients ALTER COLUMN id TYPE text USING email",
    "ALTER TABLE patients ADD COLUMN x text GENERATED ALWAYS AS (lower(email)) STORED",
    "ALTER TABLE patients ADD COLUMN x text DEFAULT own_function()",
    "ALTER TABLE patients ALTER COLUMN phone SET DEFAULT own_function()",
    "ALTER TABLE patients INHERIT visits",
    "ALTER TABLE patients ATTACH PARTITION visits DEFAULT",
    "ALTER TABLE nowhere ADD COLUMN x int",
    "ALTER INDEX i RENAME TO j",
    "ALTER TABLE patients DISABLE ROW LEVEL SECURITY",
]


@pytest.mark.parametrize("sql", OPAQUE)
def test_other_changes_are_unresolved(sql: str) -> None:
    """A new name, computed values and unknown functions are a doubt with a reason."""
    answer = last(sql)
    assert not answer.resolved
    assert answer.why


@pytest.mark.parametrize(
    "change", ["ADD COLUMN x text", "DROP COLUMN phone", "ADD COLUMN x text, DROP COLUMN phone"]
)
def test_a_star_after_a_column_came_or_went_is_a_doubt(change: str) -> None:
    """The catalog no longer says what it stands for: in that text, and on that connection."""
    change = f"ALTER TABLE patients {change}"
    assert not last(f"{change}; SELECT * FROM patients").resolved
    assert not last(f"{change}; SELECT p FROM patients p").resolved
    assert last(f"{change}; SELECT email FROM patients").reads == {"patients.email"}
    session = Session()
    for text in (change, "INSERT INTO patients (id, email) VALUES (1, 'x')"):
        assert inspect(text, "postgres", CATALOG, session)[-1].resolved
    (star,) = inspect("SELECT * FROM patients", "postgres", CATALOG, session)
    assert not star.resolved
    (plain,) = inspect("SELECT email FROM patients", "postgres", CATALOG, session)
    assert plain.resolved
    (other,) = inspect("SELECT * FROM visits", "postgres", CATALOG, session)
    assert other.resolved


def test_a_new_column_is_read_under_its_name() -> None:
    """It isn't labelled yet, and nothing of it is known but its name."""
    answer = last("ALTER TABLE patients ADD COLUMN x text; SELECT x FROM patients")
    assert answer.reads == {"patients.x"}
    assert not last("SELECT x FROM patients").resolved


def test_a_table_that_a_migration_makes_and_alters_stays_known() -> None:
    """Its columns come from the text alone."""
    made = (
        "CREATE TABLE t (id int, gone text); ALTER TABLE t ADD COLUMN x text, DROP COLUMN gone; "
        "CREATE INDEX i ON t (x); SELECT * FROM t"
    )
    answer = last(made)
    assert answer.resolved, answer.why
    assert [output.name for output in answer.outputs] == ["id", "x"]
