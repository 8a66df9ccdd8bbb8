"""PIVOT with listed values: a star over it is as wide as DuckDB's, and holds what it is made of."""

from __future__ import annotations

import duckdb
import pytest

from tests.inspectors.sql.shared import last, sources

INNER = "(SELECT patient_id, iban, total FROM invoices)"
LISTED = [
    "SELECT * FROM invoices PIVOT (sum(total) FOR iban IN ('a', 'b'))",
    "SELECT * FROM invoices PIVOT (sum(total), max(id) FOR iban IN ('a', 'b'))",
    f"SELECT p.*, 1 FROM {INNER} PIVOT (sum(total) FOR iban IN ('a', 'b')) AS p",
    f"SELECT * FROM {INNER} PIVOT (sum(total) FOR iban IN ('a', 'b')) AS p(q, r, s)",
    "PIVOT invoices ON iban IN ('a', 'b') USING sum(total)",
    "PIVOT invoices ON iban IN ('a', 'b') USING sum(total) GROUP BY patient_id",
    "FROM (PIVOT invoices ON iban IN ('a', 'b') USING sum(total) GROUP BY patient_id)",
]


@pytest.mark.parametrize("sql", LISTED)
def test_a_star_over_a_pivot_has_the_width_of_the_engine(sql: str) -> None:
    """Grouping columns keep their names; the others may hold anything of the table."""
    link = duckdb.connect()
    link.execute("CREATE TABLE invoices (id int, patient_id int, iban text, total numeric)")
    link.execute("INSERT INTO invoices VALUES (1, 1, 'a', 3), (2, 1, 'b', 4)")
    names = [column[0] for column in link.execute(sql).description or ()]
    link.close()
    answer = last(sql, "duckdb")
    assert answer.resolved, answer.why
    assert len(answer.outputs) == len(names)
    for output, name in zip(answer.outputs, names, strict=True):
        assert output.name in {"", name}
    assert "invoices.total:derived" in set.union(*sources(answer))


@pytest.mark.parametrize(
    "sql",
    [
        "PIVOT invoices ON iban USING sum(total)",
        "SELECT * FROM invoices PIVOT (sum(total) FOR iban IN ('a', 'b') id IN (1, 2))",
        "SELECT * FROM invoices PIVOT (count(*) FOR iban IN ('a', 'b'))",
    ],
)
def test_a_star_over_columns_made_of_values_is_a_doubt(sql: str) -> None:
    """How many there are stands in the rows, or can't be told."""
    assert not last(sql, "duckdb").resolved
