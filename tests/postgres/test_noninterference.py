"""Rewritten queries on PostgreSQL: what is denied has no influence, and everything else stays.

Two databases differ in the cells of one denied column; a query that was rewritten has the same
rows, names and types or error in both. `POLICYGUARD_SQL_QUERIES` sets how many pairs there are
(default 700; two thirds are ordinary queries), `POLICYGUARD_SEED` where the random numbers start.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from policyguard.inspectors.sql import Statement, inspect
from policyguard.inspectors.sql.rewriting import rewritten
from tests.inspectors.sql.ordinary import Ordinary
from tests.postgres.kit import server
from tests.postgres.queries import Queries
from tests.postgres.schema import CATALOG, PARTITIONS, TABLES
from tests.postgres.twins import CHANGED, Twins

QUERIES = int(os.environ.get("POLICYGUARD_SQL_QUERIES", "700"))
SEED = int(os.environ.get("POLICYGUARD_SEED", "1"))
KINDS = {name: TABLES[name] for name in ("people", "orders", "visits", "events", "recent")}
KEYS = [
    *((f"{table}.person_id", "people.id") for table in ("orders", "visits", "events")),
    ("recent.id", "orders.id"),
]
MAY_BE_DENIED = sorted(
    one for one in CHANGED if one.split(".")[0] in KINDS and not one.endswith(("id", "events.kind"))
)
# What a stored view holds was made from another table's column.
STORED = frozenset({"m_totals.person_id", "m_totals.n", "m_totals.last_note"})
MOST = 2000
Outcome = tuple[str, list[tuple[str, int]], list[tuple[Any, ...]]]


def run(twins: Twins, sql: str, column: str = "") -> Outcome:
    """The error's code or "", the names with their types, and the rows of a query in one twin."""
    own = sql.replace("public.", "")
    try:
        twins.link.execute(f"BEGIN; SET LOCAL search_path = {twins.names[column]}".encode())
        cursor = twins.link.execute(own.encode())
        described = [(one.name, one.type_code) for one in cursor.description or ()]
        return "", described, cursor.fetchmany(MOST)
    except psycopg.Error as error:
        return error.sqlstate or type(error).__name__, [], []
    finally:
        with suppress(psycopg.Error):
            twins.link.execute("ROLLBACK")


@dataclass
class Tally:
    """What came of all pairs."""

    pairs: int = 0
    telling: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


def unfaithful(
    sql: str, denied: frozenset[str], answer: Statement, before: Outcome, after: Outcome
) -> str:
    """How a rewritten query's result differs from the original's where nothing is denied."""
    if after[0]:
        return f"error {after[0]}"
    if [name for name, _ in before[1]] != [name for name, _ in after[1]]:
        return f"names {before[1]} {after[1]}"
    if len(before[2]) != len(after[2]):
        return "row count"
    cut = (
        "LIMIT" in sql or len(after[2]) == MOST
    )  # which of several rows that are sorted alike come is for the planner
    for at, output in enumerate(answer.outputs):
        sources = {source.column for source in output.sources}
        if before[1][at][1] != after[1][at][1]:
            return f"type of output {at}"
        new = Counter(repr(row[at]) for row in after[2])
        if not cut and not sources & denied and new != Counter(repr(row[at]) for row in before[2]):
            return f"output {at}"
        # A side of UNION ALL may hold a constant.
        alone = bool(sources) and sources <= denied and "UNION" not in sql and "VALUES" not in sql
        if alone and set(new) - {"None"}:
            return f"output {at} isn't NULL"
    return ""


@pytest.fixture(scope="module")
def tally() -> Tally:
    """Every pair, asked of both databases."""
    with server().database() as made:
        twins, tally = Twins(made), Tally()
        for number in range(QUERIES):
            _ask(twins, tally, number)
        twins.close()
    return tally


def _ask(twins: Twins, tally: Tally, number: int) -> None:
    rng = random.Random(SEED * 9_000_011 + number)
    kind = ("ordinary", "ordinary", "wild")[number % 3]
    several = frozenset(rng.sample(MAY_BE_DENIED, 8))
    if kind == "ordinary":
        sql = Ordinary(rng, KINDS, KEYS, several).query()
    else:
        sql = Queries(rng).query(rng.choice([1, 1, 2, 3]), [])[0]
    answers = inspect(sql, "postgres", CATALOG)
    read = sorted(answers[0].reads & (several if kind == "ordinary" else frozenset(CHANGED)))
    if not read:
        return
    # The cells of one of the denied columns differ; where there are several, others stay.
    column = rng.choice(read)
    denied = frozenset({column}) if rng.random() < 0.5 else several | {column}
    denied |= STORED if column in {"orders.note", "orders.person_id"} else frozenset()
    if column.startswith("events."):
        # The same cells under the names of its partitions.
        denied |= {f"{name}.{column.split('.')[1]}" for name in PARTITIONS}
    before = run(twins, sql)
    if before[0]:
        return
    found = rewritten(sql, "postgres", CATALOG, denied)
    tally.asked[kind] += 1
    if found is None:
        tally.refused[kind] += 1
        return
    tally.pairs += 1
    tally.telling += before != run(twins, sql, column)
    after = run(twins, found)
    if after != run(twins, found, column):
        tally.leaks.append(f"{column}: {sql} -> {found}")
    why = unfaithful(sql, denied, answers[0], before, after)
    if why:
        tally.changed.append(f"{why}: {sorted(denied)}: {sql} -> {found}")


@pytest.mark.slow
def test_denied_cells_have_no_influence(tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows, names, types and errors are the same whatever the denied cells hold."""
    with capsys.disabled():
        print(  # noqa: T201 - the figures are the point
            f"\nsql rewriting, postgres: {tally.pairs} pairs, {len(tally.leaks)} leaks, "
            f"{len(tally.changed)} changed otherwise; refused "
            + ", ".join(f"{tally.refused[k]} of {n} {k}" for k, n in tally.asked.items())
        )
    assert tally.leaks[:3] == []
    # The queries as they were written do tell: the comparison would see a column that was left.
    assert tally.telling >= tally.pairs * 0.5


@pytest.mark.slow
def test_what_is_allowed_stays_as_it_was(tally: Tally) -> None:
    """Names, types, number of rows and all other cells are those of the query as written."""
    assert tally.changed[:3] == []


@pytest.mark.slow
def test_ordinary_queries_are_rewritten(tally: Tally) -> None:
    """Of the queries that applications write, at least six in ten are not refused."""
    assert tally.refused["ordinary"] <= tally.asked["ordinary"] * 0.4
