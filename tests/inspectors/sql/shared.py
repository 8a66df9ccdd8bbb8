"""The schema and short ways to ask that the tests of the SQL inspector share."""

from __future__ import annotations

import json
from pathlib import Path

from policyguard.inspectors.sql import Catalog, Statement, inspect

FIXTURES = Path(__file__).parent / "fixtures"
CLINIC: dict[str, dict[str, str]] = json.loads((FIXTURES / "clinic.json").read_text())
CATALOG = Catalog.from_mapping(CLINIC)


def last(sql: str, dialect: str = "postgres", catalog: Catalog = CATALOG) -> Statement:
    """The answer for the last statement of a text."""
    return inspect(sql, dialect, catalog)[-1]


def sources(statement: Statement) -> list[set[str]]:
    """`column:via` of each output."""
    return [{f"{one.column}:{one.via}" for one in out.sources} for out in statement.outputs]


def flowing(statements: tuple[Statement, ...]) -> set[str]:
    """Every column whose value leaves in a result, a written table or an export."""
    return {
        source.column
        for statement in statements
        for outputs in [
            statement.outputs,
            *(write.outputs for write in statement.writes),
            *(export.outputs for export in statement.exports),
        ]
        for output in outputs
        for source in output.sources
    }
