"""Hard queries whose reads PostgreSQL 15 told by its column privileges.

Each query ran once for every column of the schema as a role that may read all but that column; it
reads the column if that fails. `fixtures/postgres.jsonl` holds what was measured.
"""

from __future__ import annotations

import json

import pytest

from policyguard.inspectors.sql import inspect
from tests.inspectors.sql.shared import CATALOG, FIXTURES

ROWS = [json.loads(line) for line in (FIXTURES / "postgres.jsonl").read_text().splitlines()]


def test_no_read_is_missed_and_few_queries_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Every answered query names all columns that the engine reads; the counts are printed."""
    missed, refused, extra, true = [], [], 0, 0
    for row in ROWS:
        found = inspect(row["sql"], "postgres", CATALOG)
        if not all(statement.resolved for statement in found):
            refused.append(row["sql"])
            continue
        reads = frozenset[str]().union(*(statement.reads for statement in found))
        truth = set(row["reads"])
        true += len(truth)
        extra += len({column for column in reads if not column.startswith("pg_")} - truth)
        if not truth <= reads:
            missed.append((sorted(truth - reads), row["sql"]))
    with capsys.disabled():
        print(  # noqa: T201 - the figures are the point
            f"\nsql on PostgreSQL: {len(ROWS)} queries, {len(missed)} missed, "
            f"{len(refused)} refused, {extra} extra of {true}"
        )
    assert missed == []
    assert len(refused) <= 26
    assert extra <= true * 0.02
