"""Rewritten queries on DuckDB: what is denied has no influence, and everything else stays.

`POLICYGUARD_SQL_QUERIES` sets how many ordinary queries are tried (default 250).
"""

from __future__ import annotations

import os
import random

import duckdb
import pytest

from policyguard.inspectors.sql import Catalog
from policyguard.inspectors.sql.rewriting import rewritten
from tests.inspectors.sql.ordinary import Ordinary

QUERIES = int(os.environ.get("POLICYGUARD_SQL_QUERIES", "250"))
KINDS = {
    "users": {"id": "I", "Email": "T", "name": "T", "City": "T"},
    "orders": {"id": "I", "user_id": "I", "note": "T", "state": "T"},
    "parcels": {"id": "I", "user_id": "I", "street": "T"},
}
KEYS = [("orders.user_id", "users.id"), ("parcels.user_id", "users.id")]
TYPES = {
    table: {name: "INTEGER" if kind == "I" else "VARCHAR" for name, kind in columns.items()}
    for table, columns in KINDS.items()
}
CATALOG = Catalog.from_mapping(TYPES)
DENIED = frozenset({"users.Email", "orders.note", "parcels.street"})
Outcome = tuple[list[tuple[str, str]], list[str]]


def database(secret: str) -> duckdb.DuckDBPyConnection:
    """Three tables whose denied cells hold something of their own."""
    link = duckdb.connect()
    link.execute("SET threads = 1")
    for table, columns in TYPES.items():
        listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        link.execute(f"CREATE TABLE {table} ({listed})")
        for key in range(1, 6):
            cells: list[object] = [
                secret * (key % 3)
                if f"{table}.{name}" in DENIED
                else (key % 3 + 1 if name == "user_id" else key if kind == "INTEGER" else f"a{key}")
                for name, kind in columns.items()
            ]
            link.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(cells))})", cells)
    return link


def outcome(link: duckdb.DuckDBPyConnection, sql: str) -> Outcome:
    """Names, types and rows; only the number of rows where a cut may fall among equals."""
    cursor = link.execute(sql)
    described = [(str(one[0]), str(one[1])) for one in cursor.description or ()]
    rows = sorted(map(repr, cursor.fetchall()))
    return described, ["row"] * len(rows) if "LIMIT" in sql else rows


@pytest.mark.slow
def test_ordinary_queries_on_duckdb() -> None:
    """Rows, names and types are the same whatever the denied cells hold, and none is refused."""
    one, two = database("x"), database("other")
    pairs = telling = 0
    for number in range(QUERIES):
        sql = Ordinary(random.Random(number), KINDS, KEYS, DENIED).query()
        found = rewritten(sql, "duckdb", CATALOG, DENIED)
        assert found is not None, sql
        if found is sql:
            continue
        pairs += 1
        before, after = outcome(one, sql), outcome(one, found)
        telling += before != outcome(two, sql)
        assert after == outcome(two, found), f"{sql} -> {found}"
        assert before[0] == after[0], f"{sql} -> {found}"
        assert len(before[1]) == len(after[1]), f"{sql} -> {found}"
    assert pairs >= QUERIES * 0.5
    assert telling >= pairs * 0.4
    one.close()
    two.close()
