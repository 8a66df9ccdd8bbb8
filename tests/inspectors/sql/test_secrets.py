"""Nothing of a text's literals comes out of the inspector: not in answers, logs or errors."""

from __future__ import annotations

import logging

import pytest

from policyguard.inspectors.sql import inspect
from policyguard.inspectors.sql.traits import DIALECTS
from tests.inspectors.sql.shared import CATALOG

CANARY = "cAnArY7391"
TEXTS = [
    "SELECT '{c}'",
    "SELECT email FROM patients WHERE email = '{c}'",
    "SELECT email FROM patients WHERE email = '{c}",
    "SELECT own_function('{c}') FROM patients",
    'SELECT "{c}" FROM patients',
    "SELECT `{c}` FROM patients",
    "SELECT email FROM '{c}'",
    'SELECT email FROM "{c}"',
    "EXPLAIN ANALYZE SELECT '{c}'",
    "CALL p('{c}')",
    "DO $$ {c} $$",
    "PREPARE s FROM '{c}'",
    "EXECUTE s('{c}')",
    "COPY patients TO '/tmp/{c}'",
    "COPY patients TO 's3://user:{c}@bucket/{c}?k={c}'",
    "INSERT INTO outbox VALUES (1, '{c}') RETURNING *",
    "SELECT * FROM read_csv('{c}')",
    "SELECT COLUMNS('{c}') FROM patients",
    "SELECT meta->>'{c}' FROM devices",
    "UNLOAD ('select ''{c}'' from') TO 's3://b/{c}'",
    "SELECT email FROM patients WHERE phone = '{c}' AND )",
    "SELECT /* {c} */ email FROM patients -- {c}",
    "SET application_name = '{c}'",
    "SELECT '{c}' + + + FROM",
    "{c} {c} {c}",
    "SELECT full_name FROM patients WHERE full_name = 'ZZ' -- {c}",
]


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_no_literal_is_in_an_answer_a_log_or_an_output(
    dialect: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A canary in every place where a text can hold a value is found nowhere afterwards."""
    caplog.set_level(logging.DEBUG)
    for text in TEXTS:
        found = inspect(text.replace("{c}", CANARY), dialect, CATALOG)
        assert CANARY.lower() not in repr(found).lower(), text
    assert CANARY not in caplog.text
    said = capsys.readouterr()
    assert CANARY not in said.out + said.err


def test_a_proven_value_is_not_shown() -> None:
    """The value of a fact is kept for the judge and out of every repr."""
    (answer,) = inspect("SELECT email FROM patients WHERE full_name = 'ZZ'", "postgres", CATALOG)
    assert answer.facts[0].value == "ZZ"
    assert "ZZ" not in repr(answer)


def test_the_parser_logs_as_before_outside_of_an_inspection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only warnings about inspected texts are kept back."""
    logging.getLogger("sqlglot").warning("something else")
    assert "something else" in caplog.text
