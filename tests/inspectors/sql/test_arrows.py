"""`->` inside of a call: the JSON operator in some dialects, a lambda in others, or both."""

from __future__ import annotations

import pytest

from policyguard.inspectors.sql import Catalog
from tests.inspectors.sql.shared import last

CATALOG = Catalog.from_mapping({"t": {"id": "int", "meta": "json", "items": "text[]", "x": "text"}})
META, ITEMS, X = {"t.meta"}, {"t.items"}, {"t.x"}
CASES = [
    ("postgres", "SELECT jsonb_array_length(meta -> 'a') FROM t", META),
    ("postgres", "SELECT coalesce(meta -> 'a' ->> 'b', x) FROM t", META | X),
    ("postgres", "SELECT coalesce(t.meta -> x, meta) FROM t", META | X),
    ("sqlite", "SELECT json_type(meta -> '$.a') FROM t", META),
    ("sqlite", "SELECT coalesce(meta -> x, 1) FROM t", META | X),
    ("mysql", "SELECT coalesce(meta -> '$.a', 1) FROM t", META),
    ("duckdb", "SELECT coalesce(meta -> '$.a', 1) FROM t", META),
    ("duckdb", "SELECT list_transform(items, e -> e || x) FROM t", ITEMS | X),
    ("duckdb", "SELECT list_transform(items, x -> x || 'a') FROM t", ITEMS | X),
    ("duckdb", "SELECT list_transform(items, lambda e: e || x) FROM t", ITEMS | X),
    ("bigquery", "SELECT ARRAY_FILTER(items, e -> e = x) FROM t", ITEMS | X),
    ("databricks", "SELECT transform(items, e -> concat(e, x)) FROM t", ITEMS | X),
    ("databricks", "SELECT transform(items, x -> concat(x, 'a')) FROM t", ITEMS),
    ("snowflake", "SELECT FILTER(ITEMS, e -> e = X) FROM T", ITEMS | X),
    ("trino", "SELECT filter(items, e -> e = x) FROM t", ITEMS | X),
]


@pytest.mark.parametrize(("dialect", "sql", "reads"), CASES, ids=[row[1] for row in CASES])
def test_the_left_of_an_arrow_is_a_column_or_a_parameter(
    dialect: str, sql: str, reads: set[str]
) -> None:
    """As the dialect has it; where it may be either, the column counts as read."""
    answer = last(sql, dialect, CATALOG)
    assert not answer.resolved or answer.reads == reads
    if dialect in {"postgres", "sqlite", "duckdb", "databricks"}:
        assert answer.resolved, answer.why
