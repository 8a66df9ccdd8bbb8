"""Sixty queries whose true reads and flows were measured on database engines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policyguard.inspectors.sql import inspect
from tests.inspectors.sql.shared import CATALOG, FIXTURES, flowing

ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (FIXTURES / "corpus.jsonl").read_text().splitlines()
]
REFUSED = {"sample-pg-48"}  # SQL in a string argument: it can't be told what that reads


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["id"]))
def test_no_read_and_no_flow_is_missed(row: dict[str, Any]) -> None:
    """An answered query names every column that the engine says is read or returned."""
    found = inspect(row["sql"], row["dialect"], CATALOG)
    if row["id"] in REFUSED:
        assert not all(statement.resolved for statement in found)
        return
    assert [statement.why for statement in found if not statement.resolved] == []
    reads = frozenset[str]().union(*(statement.reads for statement in found))
    assert set(row["reads"]) <= reads
    assert set(row["flows"]) <= flowing(found)


def test_the_price_of_caution_is_small(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns reported beyond the truth, and refusals, stay few; the counts are printed."""
    extra = refused = true = 0
    for row in ROWS:
        found = inspect(row["sql"], row["dialect"], CATALOG)
        if not all(statement.resolved for statement in found):
            refused += 1
            continue
        reads = frozenset[str]().union(*(statement.reads for statement in found))
        extra += len(reads - set(row["reads"]))
        true += len(row["reads"])
    with capsys.disabled():
        print(f"\nsql corpus: {len(ROWS)} queries, {refused} refused, {extra} extra of {true}")  # noqa: T201 - the figure is the point
    assert refused <= len(REFUSED)
    assert extra <= 2
