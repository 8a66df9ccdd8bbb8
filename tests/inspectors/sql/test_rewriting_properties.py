"""Rewritten queries on SQLite: what is denied has no influence, and everything else stays.

Two databases differ in the cells of denied columns only; a query that was rewritten has the same
rows, names or error in both. `POLICYGUARD_SQL_QUERIES` sets how many pairs there are (default
900; half of them ordinary ones), `POLICYGUARD_SEED` where the random numbers start.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections import Counter
from dataclasses import dataclass, field

import pytest

from policyguard.inspectors.sql import Statement, inspect
from policyguard.inspectors.sql.rewriting import rewritten
from tests.inspectors.sql.generator import TABLES, Maker
from tests.inspectors.sql.ordinary import Ordinary
from tests.inspectors.sql.shared import CATALOG

QUERIES = int(os.environ.get("POLICYGUARD_SQL_QUERIES", "900"))
SEED = int(os.environ.get("POLICYGUARD_SEED", "1"))
KINDS = {
    table: {name: "I" if name in {"id", "patient_id"} else "T" for name in columns}
    for table, columns in TABLES.items()
}
KEYS = [
    (f"{table}.patient_id", "patients.id")
    for table, columns in TABLES.items()
    if "patient_id" in columns
]
MAY_BE_DENIED = sorted(
    f"{table}.{name}" for table, cols in KINDS.items() for name in cols if cols[name] == "T"
)
Outcome = tuple[str, list[str], list[tuple[object, ...]]]


class Twins:
    """Databases by the columns in whose cells they differ from the first."""

    def __init__(self) -> None:
        self._made: dict[frozenset[str], sqlite3.Connection] = {}

    def run(self, sql: str, changed: frozenset[str] = frozenset()) -> Outcome:
        """The error or "", and the names and rows of a query."""
        link = self._made.get(changed) or self._make(changed)
        steps = 0

        def stop() -> int:
            nonlocal steps
            steps += 1
            return int(steps > 40)

        link.set_progress_handler(stop, 10_000)
        link.execute("BEGIN")
        try:
            cursor = link.execute(sql)
            rows = cursor.fetchall()
            return "", [column[0] for column in cursor.description or ()], rows
        except sqlite3.Error as error:
            return str(error), [], []
        finally:
            link.execute("ROLLBACK")

    def _make(self, changed: frozenset[str]) -> sqlite3.Connection:
        if len(self._made) > 60:
            for old in self._made.values():
                old.close()
            self._made.clear()
        link = self._made[changed] = sqlite3.connect(":memory:", isolation_level=None)
        for table, columns in TABLES.items():
            kinds = ["id INTEGER PRIMARY KEY", *(f"{column} text" for column in columns[1:])]
            link.execute(f"CREATE TABLE {table} ({', '.join(kinds)})")
            for key in range(1, 5):
                cells = [key, *(_cell(f"{table}.{name}", key, changed) for name in columns[1:])]
                link.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(cells))})", cells)
        return link

    def close(self) -> None:
        """Close them all."""
        for link in self._made.values():
            link.close()


def _cell(column: str, key: int, changed: frozenset[str]) -> str | None:
    if column.endswith("patient_id"):
        return str(key % 3 + 1 if column not in changed else 9)
    if column in changed:
        return [None, "{}", "secret", f"z{key}"][key % 4]
    return None if key == 4 else f"{column.split('.')[1][0]}{key}"


@dataclass
class Tally:
    """What came of all pairs."""

    pairs: int = 0
    telling: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


def unfaithful(
    sql: str, denied: frozenset[str], answer: Statement, before: Outcome, after: Outcome
) -> str:
    """How a rewritten query's result differs from the original's where nothing is denied."""
    if after[0]:
        return f"error {after[0]}"
    if before[1] != after[1]:
        return f"names {before[1]} {after[1]}"
    if len(before[2]) != len(after[2]):
        return "row count"
    for at, output in enumerate(answer.outputs):
        sources = {source.column for source in output.sources}
        new = Counter(repr(row[at]) for row in after[2])
        cut = "LIMIT" in sql  # which of several rows that are sorted alike come is for the planner
        if not cut and not sources & denied and new != Counter(repr(row[at]) for row in before[2]):
            return f"output {at}"
        # A side of UNION ALL may hold a constant.
        alone = bool(sources) and sources <= denied and "UNION" not in sql
        if alone and set(new) - {"None"}:
            return f"output {at} isn't NULL"
    return ""


@pytest.fixture(scope="module")
def tally() -> Tally:
    """Every pair, asked of both databases."""
    twins, tally = Twins(), Tally()
    for number in range(QUERIES):
        rng = random.Random(SEED * 7_000_003 + number)
        kind = ("ordinary", "ordinary", "careless", "wild")[number % 4]
        denied = frozenset(rng.sample(MAY_BE_DENIED, rng.randint(3, 7)))
        if kind != "wild":
            sql = Ordinary(rng, KINDS, KEYS, denied, strict=kind == "ordinary").query()
        else:
            sql = Maker(rng).query(rng.choice([1, 2, 2, 3]), [])[0]
        answers = inspect(sql, "sqlite", CATALOG)
        if kind == "wild" and answers[0].reads and not answers[0].reads & denied:
            denied = frozenset(rng.sample(sorted(answers[0].reads), 1))
        found = rewritten(sql, "sqlite", CATALOG, denied)
        if rewritten(sql, "sqlite", CATALOG, frozenset()) is not sql:
            tally.other.append(sql)
        if found is sql:
            continue
        before = twins.run(sql)
        if before[0]:
            continue
        tally.asked[kind] += 1
        if found is None:
            tally.refused[kind] += 1
            continue
        tally.pairs += 1
        tally.telling += before != twins.run(sql, denied)
        after = twins.run(found)
        if after != twins.run(found, denied):
            tally.leaks.append(f"{sorted(denied)}: {sql} -> {found}")
        why = unfaithful(sql, denied, answers[0], before, after)
        if why:
            tally.changed.append(f"{why}: {sorted(denied)}: {sql} -> {found}")
    twins.close()
    return tally


@pytest.mark.slow
def test_denied_cells_have_no_influence(tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows, names and errors are the same whatever the denied cells hold."""
    with capsys.disabled():
        print(  # noqa: T201 - the figures are the point
            f"\nsql rewriting, sqlite: {tally.pairs} pairs, {len(tally.leaks)} leaks, "
            f"{len(tally.changed)} changed otherwise; refused "
            + ", ".join(f"{tally.refused[k]} of {n} {k}" for k, n in tally.asked.items())
        )
    assert tally.leaks[:3] == []
    # The queries as they were written do tell: the comparison would see a column that was left.
    assert tally.telling >= tally.pairs * 0.5


@pytest.mark.slow
def test_what_is_allowed_stays_as_it_was(tally: Tally) -> None:
    """Names, number of rows and all other cells are those of the query as it was written."""
    assert tally.changed[:3] == []


@pytest.mark.slow
def test_a_text_of_which_nothing_is_denied_is_the_same_object(tally: Tally) -> None:
    """It is sent byte for byte."""
    assert tally.other == []


@pytest.mark.slow
def test_ordinary_queries_are_rewritten(tally: Tally) -> None:
    """Of the queries that applications write, at least six in ten are not refused."""
    refused = tally.refused["ordinary"] + tally.refused["careless"]
    assert refused <= (tally.asked["ordinary"] + tally.asked["careless"]) * 0.4
    assert tally.refused["ordinary"] <= tally.asked["ordinary"] * 0.05
