"""The inspector against SQLite itself, on thousands of generated queries.

SQLite's authorizer names every column that a statement reads, and marked cells show which column
a value in a result comes from. `POLICYGUARD_SQL_QUERIES` sets how many queries there are, of which
three quarters are compared here and the rest in PostgreSQL (default 20,000), `POLICYGUARD_SEED`
where the random numbers start.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections import Counter
from dataclasses import dataclass, field

import pytest

from policyguard.inspectors.sql import Statement, inspect
from tests.inspectors.sql.generator import TABLES, Maker
from tests.inspectors.sql.shared import CATALOG

SHARDS = 8
QUERIES = int(os.environ.get("POLICYGUARD_SQL_QUERIES", "20000")) * 3 // 4
SEED = int(os.environ.get("POLICYGUARD_SEED", "1"))


@dataclass
class Engine:
    """A SQLite database whose cells say which column they stand in."""

    reads: set[str] = field(default_factory=set)
    link: sqlite3.Connection = field(default_factory=lambda: sqlite3.connect(":memory:"))

    def __post_init__(self) -> None:
        for table, columns in TABLES.items():
            kinds = ["id INTEGER PRIMARY KEY", *(f"{column} text" for column in columns[1:])]
            self.link.execute(f"CREATE TABLE {table} ({', '.join(kinds)})")
            for key in (1, 2):
                cells = [key, *(f"<{table}.{column}>" for column in columns[1:])]
                marks = ", ".join("?" * len(cells))
                self.link.execute(f"INSERT INTO {table} VALUES ({marks})", cells)
        self.link.commit()
        self.link.isolation_level = None
        self.link.set_authorizer(self.note)

    def note(
        self, action: int, table: str | None, column: str | None, _db: str | None, _why: str | None
    ) -> int:
        """The authorizer: called for each column when a statement is prepared."""
        if action == sqlite3.SQLITE_READ and table in TABLES and column:
            self.reads.add(f"{table}.{'id' if column == 'ROWID' else column}")
        return sqlite3.SQLITE_OK

    def run(self, script: str) -> tuple[set[str], list[tuple[object, ...]]] | None:
        """What a script reads and what its last statement returns; None if it isn't valid."""
        self.reads.clear()
        rows: list[tuple[object, ...]] = []
        steps = 0

        def stop() -> int:
            nonlocal steps
            steps += 1
            return int(steps > 40)

        self.link.set_progress_handler(stop, 10_000)
        self.link.execute("BEGIN")
        try:
            for part in script.split("; "):
                rows = self.link.execute(part).fetchmany(20)
            return set(self.reads), rows
        except sqlite3.Error as error:
            if "interrupted" in str(error):
                return set(self.reads), []
            return None
        finally:
            self.link.execute("ROLLBACK")


@dataclass
class Tally:
    """What came of all comparisons."""

    compared: int = 0
    true: int = 0
    reported: int = 0
    missed: list[str] = field(default_factory=list)
    mislabelled: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    invalid: int = 0


def mislabelled(statement: Statement, rows: list[tuple[object, ...]]) -> bool:
    """Whether a result holds a marked cell in a place whose output doesn't name its column."""
    for row in rows:
        if len(row) != len(statement.outputs):
            return True
        for cell, output in zip(row, statement.outputs, strict=True):
            named = {source.column for source in output.sources}
            text = str(cell)
            marks = {part.split(">")[0] for part in text.split("<")[1:] if ">" in part}
            if not marks.intersection(all_columns) <= named:
                return True
    return False


all_columns = {f"{table}.{column}" for table, columns in TABLES.items() for column in columns}


def compared(shard: int) -> Tally:
    """A share of the generated queries, asked of SQLite and of the inspector."""
    engine, tally = Engine(), Tally()
    for number in range(shard, QUERIES, SHARDS):
        script = Maker(random.Random(SEED * 1_000_003 + number)).script()
        truth = engine.run(script)
        if truth is None:
            tally.invalid += 1
            continue
        tally.compared += 1
        found = inspect(script, "sqlite", CATALOG)
        doubts = [statement.why for statement in found if not statement.resolved]
        if doubts:
            tally.refused[doubts[0]] += 1
            continue
        reads, rows = truth
        reported = frozenset[str]().union(*(statement.reads for statement in found))
        if "USING" not in script:
            # The authorizer is silent about the columns that USING compares.
            tally.true += len(reads)
            tally.reported += len(reported)
        if not reads <= reported:
            tally.missed.append(f"{sorted(reads - reported)}: {script}")
        if mislabelled(found[-1], rows):
            tally.mislabelled.append(script)
    engine.link.close()
    return tally


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_read_column_is_missed(shard: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Every column that SQLite reads is in the answer of each query that is answered.

    A cell that holds a column's value stands where the answer lists that column. Ordinary queries
    are answered, and little is reported beyond what is read.
    """
    tally = compared(shard)
    with capsys.disabled():
        print(  # noqa: T201 - the figures are the point
            f"\nsql on SQLite, part {shard + 1}: {tally.compared} compared, "
            f"{len(tally.missed)} missed, "
            f"{sum(tally.refused.values())} refused, {tally.invalid} invalid, "
            f"{tally.reported} columns reported for {tally.true} read"
        )
    assert tally.missed[:3] == []
    assert tally.mislabelled[:3] == []
    assert tally.compared >= QUERIES // SHARDS * 0.8
    assert sum(tally.refused.values()) <= tally.compared * 0.025 + 3, tally.refused
    assert tally.reported <= tally.true * 1.05 + 10
