"""Databases that differ in the cells of one column: what changes in a result comes from there.

Start reading at `Twins.leaks`. Each twin is a schema with all tables; a query runs in the first and
in those of the columns it is said to read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from policyguard.inspectors.sql import Statement
from tests.postgres.kit import Database
from tests.postgres.schema import STORED, TABLES, setup

CHANGED: Final = tuple(
    f"{table}.{column}"
    for table, columns in TABLES.items()
    for column in columns
    # A row's key decides where others join; an event's kind in which partition it is.
    if table != "events" or column != "kind"
)
# Rows that are alike become one: which ones are depends on every column of the list.
_ALIKE: Final = ("DISTINCT", "UNION", "INTERSECT", "EXCEPT")
_STORED: Final = frozenset({"orders.note", "orders.person_id"})
Rows = list[tuple[Any, ...]]


@dataclass
class Twins:
    """The schemas, and a connection to run queries in each."""

    database: Database
    link: psycopg.Connection[Any] = field(init=False)
    names: dict[str, str] = field(default_factory=dict)
    header: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.link = self.database.connect()
        self.link.prepare_threshold = None
        for number, column in enumerate(("", *CHANGED)):
            name = self.names[column] = f"twin{number}"
            self.link.execute(f"CREATE SCHEMA {name}; SET search_path = {name}".encode())
            self.link.execute(setup(column).encode())
        # Rows come in an order that only the columns of sorts and joins decide.
        self.link.execute("SET enable_hashagg = off; SET enable_hashjoin = off")
        self.link.execute("SET statement_timeout = '2s'; SET jit = off")

    def close(self) -> None:
        """Give the connection back."""
        self.link.close()

    def rows(self, sql: str, column: str = "") -> Rows | None:
        """What a query returns where that column has other cells; None if it fails."""
        try:
            self.link.execute(f"BEGIN; SET LOCAL search_path = {self.names[column]}".encode())
            cursor = self.link.execute(sql.encode())
            self.header = [column.name for column in cursor.description or ()]
            rows = cursor.fetchmany(500)
        except psycopg.Error:
            return None
        else:
            return rows
        finally:
            with suppress(psycopg.Error):
                self.link.execute("ROLLBACK")

    def leaks(self, sql: str, answer: Statement) -> tuple[int, list[str]]:
        """How many columns were changed, and those whose change shows where no answer says so."""
        own = sql.replace("public.", "")
        first = self.rows(own)
        if first is None:
            return 0, []
        named = [output.name for output in answer.outputs]
        if len(named) != len(self.header):
            return 0, [f"{len(named)} columns for {len(self.header)}"]
        pairs = zip(named, self.header, strict=True)
        if wrong := [f"`{one}` for `{other}`" for one, other in pairs if one not in {"", other}]:
            return 0, wrong
        tried, found = 0, []
        for column in sorted(answer.reads.intersection(CHANGED)):
            other = self.rows(own, column)
            if other is None or column in _whole(answer.predicates):
                continue
            if column in _STORED and any(one.split(".")[0] in STORED for one in answer.reads):
                # A stored view is a table of its own, whose cells are made from another's.
                continue
            tried += 1
            found += [f"{column} in output {at}" for at in _changed(answer, column, first, other)]
        return tried, [] if any(word in sql for word in _ALIKE) and found else found


def _whole(columns: Iterable[str]) -> set[str]:
    """Columns, with those of a partition as those of the table it is part of."""
    return {re.sub(r"^events_(a|rest)\.", "events.", column) for column in columns}


def _changed(answer: Statement, column: str, first: Rows, other: Rows) -> list[int]:
    """The outputs that differ without naming the column."""
    return [
        at
        for at, output in enumerate(answer.outputs)
        if column not in _whole(source.column for source in output.sources)
        and Counter(repr(row[at]) for row in first) != Counter(repr(row[at]) for row in other)
    ]
