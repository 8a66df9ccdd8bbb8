"""Kinds of statements that read no data."""

from __future__ import annotations

import pytest

from policyguard.inspectors.sql import Catalog, inspect

CATALOG = Catalog.from_mapping({"users": {"id": "int", "email": "text"}})


@pytest.mark.parametrize(
    "text",
    [
        'PRAGMA main.table_info("users")',
        "PRAGMA table_xinfo(users)",
        'PRAGMA temp.foreign_key_list("users")',
        "PRAGMA index_info(ix)",
        "PRAGMA foreign_keys = ON",
    ],
)
def test_what_describes_a_schema_reads_no_data(text: str) -> None:
    """Libraries ask for it before they make tables; it is no flow."""
    (statement,) = inspect(text, "sqlite", CATALOG)
    assert statement.resolved
    assert statement.reads == frozenset()


@pytest.mark.parametrize("text", ["PRAGMA writable_schema = ON", "PRAGMA main.load_extension(x)"])
def test_other_pragmas_are_unresolved(text: str) -> None:
    """What isn't on the list may do anything."""
    (statement,) = inspect(text, "sqlite", CATALOG)
    assert not statement.resolved
