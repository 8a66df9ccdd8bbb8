"""Big statements of literals are answered, and no shape of a text takes long."""

from __future__ import annotations

import pytest

from policyguard.inspectors.sql import guard
from policyguard.inspectors.sql.bulk import shortened, thinned
from policyguard.inspectors.sql.traits import traits_of
from tests.inspectors.sql.shared import last

INTO = "INSERT INTO outbox (id, val) VALUES "
PLAIN = [
    "(1, 'it''s')",
    "(-1.5e3, NULL)",
    "(%s, %(name)s)",
    "( $1 , ? )",
    "(:id, 'x'::text)",
    "(DEFAULT, TRUE)",
]


@pytest.mark.parametrize("row", PLAIN)
def test_a_bulk_insert_of_literals_is_one_row(row: str) -> None:
    """However many rows a program sends at once, the answer comes, and places stay."""
    count = 240_000 // (len(row) + 2)
    text = INTO + ", ".join([row] * count) + " RETURNING id"
    short = shortened(text)
    assert len(short) == len(text)
    assert short.endswith("*/ RETURNING id")
    answer = last(text)
    assert answer.resolved, answer.why
    assert [write.table for write in answer.writes] == ["outbox"]
    assert answer.reads == {"outbox.id"}


@pytest.mark.parametrize(
    "row",
    [
        "(1, email)",
        "(1, (SELECT email FROM patients LIMIT 1))",
        "(1, 'a' || email)",
        "(1, lower(email))",
        r"(1, '\'), (2, ')",
        "(1, 'x' /* ), (1, 2 */)",
    ],
)
def test_a_row_that_is_more_than_literals_stays(row: str) -> None:
    """Where it stands among thousands of plain rows doesn't matter."""
    for place in (0, 1, 200, 399):
        rows = ["(1, 'x')"] * 400
        rows[place] = row
        assert row in shortened(INTO + ", ".join(rows))


def test_a_subquery_behind_a_thousand_rows_is_read() -> None:
    """What hides behind plain rows is found."""
    rows = ", ".join(["(1, 'x')"] * 1000)
    answer = last(f"{INTO}{rows}, (1, (SELECT email FROM patients LIMIT 1))")
    assert "patients.email" in answer.reads
    answer = last(f"{INTO}{rows}; SELECT phone FROM patients")
    assert answer.reads == {"patients.phone"}


def test_long_lists_of_literals_are_answered() -> None:
    """As are the columns around them; a list that holds anything else stays whole."""
    listed = ", ".join(["'abc'"] * 8000)
    answer = last(f"SELECT id FROM patients WHERE email IN ({listed}) AND phone = 'x'")
    assert answer.reads == {"patients.id", "patients.email", "patients.phone"}
    answer = last(f"SELECT id FROM patients WHERE 'a' IN ({', '.join(['1'] * 50)}, email)")
    assert answer.reads == {"patients.id", "patients.email"}


def test_the_list_of_a_pivot_stays() -> None:
    """It names columns."""
    traits = traits_of("duckdb")
    (tokens,) = guard.split("PIVOT t ON x IN ('a', 'b') USING sum(y)", traits)
    assert thinned(tokens) == tokens


def test_the_tokens_of_a_statement_are_whole_unless_asked() -> None:
    """What is sent on is never made of the thinned text."""
    text = INTO + ", ".join(["(1, 'x')"] * 500)
    (tokens,) = guard.split(text, traits_of("postgres"))
    assert len(tokens) > 2500


@pytest.mark.parametrize("count", [400, 20_000])
def test_hostile_shapes_end(count: int) -> None:
    """A text made to keep a pattern busy is read once."""
    for tail in ("(1, ", "(1, '", "(", "(1, 2", "((((", '("', "(1 1"):
        text = INTO + ", ".join(["(1, 'x')"] * count) + ", " + tail
        assert not last(text).resolved
