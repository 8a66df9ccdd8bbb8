"""Queries that the generator found or that a bug taught: what they read, told by PostgreSQL too.

Add a case for each column that was ever missed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from policyguard.inspectors.sql import inspect
from tests.postgres.kit import server
from tests.postgres.oracle import Privileges
from tests.postgres.schema import CATALOG, setup

ARROW = {"events.payload"}
# SQL, and the columns that it reads.
CASES = [
    # The parser takes `f(a -> 'b')` for a lambda with the parameter `a`.
    ("SELECT jsonb_array_length(payload -> 'list') FROM events", ARROW),
    ("SELECT coalesce(payload -> 'a', payload -> 'b') FROM events", ARROW),
    ("SELECT max(payload -> 'x' ->> 'y') FROM events", ARROW),
    ("SELECT x FROM events, jsonb_array_elements_text(payload -> 'list') AS x", ARROW),
    ("SELECT lower(payload ->> 'email') FROM events", ARROW),
    # `id` isn't the inner view's "Id", so it is the outer table's.
    (
        'SELECT (SELECT count(*) FROM "Mixed Case" m WHERE m."Total" = id) FROM events t1',
        {"Mixed Case.Total", "events.id"},
    ),
    (
        (
            'SELECT 1 FROM events t1, LATERAL (SELECT "select" FROM "Mixed Case" WINDOW w AS '
            "(PARTITION BY id)) AS l"
        ),
        {"Mixed Case.select", "events.id"},
    ),
    # What stands in ROWS FROM.
    (
        "SELECT a FROM people, ROWS FROM (unnest(tags), generate_series(1, 2)) AS f(a, b)",
        {"people.tags"},
    ),
    (
        "SELECT a FROM people, LATERAL ROWS FROM (unnest(tags), generate_series(1, 2)) AS f(a, b)",
        {"people.tags"},
    ),
    # A name for the columns of a join.
    (
        "SELECT email FROM people JOIN visits USING (id) AS k",
        {"people.email", "people.id", "visits.id"},
    ),
    (
        "DELETE FROM outbox USING (SELECT id FROM people) AS q WHERE q.id = outbox.id",
        {"people.id", "outbox.id"},
    ),
    ("DECLARE c CURSOR FOR WITH r AS (SELECT email FROM people) SELECT * FROM r", {"people.email"}),
    (
        (
            "MERGE INTO outbox o USING people p ON o.id = p.id WHEN MATCHED THEN UPDATE SET val = "
            "p.email RETURNING merge_action(), o.val"
        ),
        {"outbox.id", "outbox.val", "people.id", "people.email"},
    ),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[Privileges]:
    """A role with exactly some columns."""
    with server().database(setup()) as made:
        privileges = Privileges(made)
        yield privileges
        privileges.close()


@pytest.mark.parametrize(
    ("sql", "reads"), CASES, ids=lambda part: part[:48] if isinstance(part, str) else "reads"
)
def test_what_was_once_missed_is_read(sql: str, reads: set[str], engine: Privileges) -> None:
    """The answer names these columns, and PostgreSQL runs the query with no others."""
    (answer,) = inspect(sql, "postgres", CATALOG)
    assert answer.resolved, answer.why
    known = {column for column in answer.reads if not column.endswith("Mixed Case.Id")}
    assert known >= reads
    assert engine.run([sql], reads)[0] == "ran"
    for column in reads:
        assert engine.run([sql], reads - {column})[0] == "denied", column


LAYOUTS = [
    "SELECT * FROM people p, unnest(p.tags) AS u",
    "SELECT u.* FROM people p, unnest(p.tags) WITH ORDINALITY AS u(a, b)",
    "SELECT u.* FROM people p, unnest(p.tags) WITH ORDINALITY AS u(a)",
    "SELECT u.* FROM people p, unnest(p.tags) WITH ORDINALITY u",
    "SELECT u.* FROM unnest(ARRAY[1, 2]) u(x)",
    "SELECT u.* FROM people p, unnest(tags, face) u",
    "SELECT u.* FROM people p, unnest(ARRAY[p]) u",
    "SELECT u.* FROM generate_series(1, 2) WITH ORDINALITY u(a, b)",
    "SELECT u.* FROM people, jsonb_each_text(meta) WITH ORDINALITY u(a, b, c)",
    "SELECT u.* FROM people, jsonb_each_text(meta) WITH ORDINALITY u(a)",
    "SELECT * FROM people, regexp_matches(name, 'a') m",
    "SELECT * FROM people NATURAL JOIN recent",
    'SELECT * FROM v_nested JOIN "Mixed Case" USING (email)',
    'SELECT * FROM "Mixed Case" JOIN recent USING (email)',
    'SELECT * FROM "Mixed Case" NATURAL JOIN recent',
    'SELECT * FROM (SELECT "eMail", "Id" FROM "Mixed Case") a NATURAL JOIN recent',
    "SELECT * FROM orders JOIN people USING (id) JOIN recent USING (id, email)",
]


@pytest.mark.parametrize("sql", LAYOUTS)
def test_a_star_has_the_columns_of_the_engine(sql: str, engine: Privileges) -> None:
    """The same names in the same order, or no answer."""
    (answer,) = inspect(sql, "postgres", CATALOG)
    cursor = engine.link.execute(sql.encode())
    named = [column.name for column in cursor.description or ()]
    assert not answer.resolved or [output.name for output in answer.outputs] == named


def test_a_name_for_joined_columns_that_is_used_is_a_doubt() -> None:
    """Which column it stands for isn't followed."""
    (answer,) = inspect("SELECT k.id FROM people JOIN visits USING (id) AS k", "postgres", CATALOG)
    assert not answer.resolved
