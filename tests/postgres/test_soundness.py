"""The inspector against PostgreSQL, on thousands of generated queries.

A query that runs with just the reported columns reads no other; a result that changes with the
cells of a column comes from it. `POLICYGUARD_SQL_QUERIES` sets how many queries there are, of which
a quarter is run here and the rest in SQLite (default 20,000), `POLICYGUARD_SEED` where the random
numbers start.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from policyguard.inspectors.sql import Session, Statement, inspect
from tests.postgres.kit import server
from tests.postgres.oracle import Privileges
from tests.postgres.schema import CATALOG, COLUMNS, setup
from tests.postgres.statements import Statements
from tests.postgres.twins import Twins

QUERIES = int(os.environ.get("POLICYGUARD_SQL_QUERIES", "20000")) // 4
SEED = int(os.environ.get("POLICYGUARD_SEED", "1"))
SHARDS = 8
_PLACE = re.compile(r"\(\d+:\d+\)")


@dataclass
class Tally:
    """What came of all comparisons."""

    compared: int = 0
    invalid: int = 0
    reported: int = 0
    needless: int = 0
    changed: int = 0
    missed: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def figures(self) -> str:
        """One line."""
        return (
            f"{self.compared} compared, {len(self.missed)} missed, "
            f"{sum(self.refused.values())} unresolved, {self.invalid} invalid, "
            f"{self.needless} of {self.reported} reported columns not needed; "
            f"{self.changed} changes of a column, {len(self.leaked)} seen where not named"
        )


@pytest.fixture(scope="module")
def engine() -> Iterator[Privileges]:
    """A role with exactly some columns."""
    with server().database(setup()) as made:
        privileges = Privileges(made)
        yield privileges
        privileges.close()


@pytest.fixture(scope="module")
def twins() -> Iterator[Twins]:
    """Schemas that differ in one column each."""
    with server().database() as made:
        both = Twins(made)
        yield both
        both.close()


def answers(script: list[str], number: int) -> list[Statement]:
    """The inspector's answer, for one text or for several that are sent over one connection."""
    if len(script) == 1 or number % 2:
        return list(inspect("; ".join(script), "postgres", CATALOG))
    session = Session()
    return [one for text in script for one in inspect(text, "postgres", CATALOG, session)]


def compare(number: int, tally: Tally, engine: Privileges, twins: Twins) -> None:
    """One script, asked of both."""
    script = Statements(random.Random(SEED * 1_000_003 + number)).script()
    found = answers(script, number)
    doubts = [one.why for one in found if not one.resolved]
    reads = frozenset[str]().union(*(one.reads for one in found))
    verdict, why = engine.run(script, COLUMNS if doubts else reads)
    if verdict == "invalid":
        tally.invalid += 1
        return
    tally.compared += 1
    if doubts:
        tally.refused[_PLACE.sub("", doubts[0])] += 1
        return
    if verdict == "denied":
        tally.missed.append(f"{number}: {why.splitlines()[0]}: {'; '.join(script)}")
    elif number // SHARDS % 20 == 0 and "excluded" not in script[0].lower():
        own = reads.intersection(COLUMNS)
        tally.reported += len(own)
        tally.needless += len(engine.needless(script, own))
    plain = len(script) == 1 and script[0].startswith(("SELECT", "(SELECT", "WITH"))
    if number // SHARDS % 10 == 1 and plain:
        tried, leaks = twins.leaks(script[0], found[0])
        tally.changed += tried
        tally.leaked += [f"{number}: {leak}: {script[0]}" for leak in leaks]


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_column_is_missed(
    shard: int, engine: Privileges, twins: Twins, capsys: pytest.CaptureFixture[str]
) -> None:
    """No query reads a column that isn't reported, and none shows one where it isn't named.

    Few queries are unresolved, and few columns are reported that aren't read.
    """
    tally = Tally()
    for number in range(shard, QUERIES, SHARDS):
        compare(number, tally, engine, twins)
    with capsys.disabled():
        print(f"\nsql on PostgreSQL, part {shard + 1}: {tally.figures()}")  # noqa: T201 - the point
    assert tally.missed[:3] == []
    assert tally.leaked[:3] == []
    assert sum(tally.refused.values()) <= tally.compared * 0.02 + 3, tally.refused
    assert tally.needless <= tally.reported * 0.05 + 10
    assert tally.compared >= QUERIES // SHARDS * 0.9 - 10


def test_what_an_answer_leaves_out_is_seen(engine: Privileges, twins: Twins) -> None:
    """Both oracles find a column that is taken out of a right answer."""
    sql = "SELECT p.id, upper(p.email) AS e, count(o.id) AS n FROM people p JOIN orders o "
    sql += "ON o.person_id = p.id GROUP BY p.id"
    (answer,) = inspect(sql, "postgres", CATALOG)
    assert engine.run([sql], answer.reads)[0] == "ran"
    assert engine.run([sql], answer.reads - {"people.email"})[0] == "denied"
    assert twins.leaks(sql, answer)[1] == []
    blind = replace(answer, outputs=tuple(replace(output, sources=()) for output in answer.outputs))
    assert twins.leaks(sql, blind)[1] == ["people.email in output 1"]
    narrow = replace(answer, outputs=answer.outputs[:2])
    assert twins.leaks(sql, narrow)[1] == ["2 columns for 3"]
