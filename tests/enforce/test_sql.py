"""A statement is judged before it runs, and its rows carry what their columns are."""

from __future__ import annotations

import pytest

from policyguard import PolicyViolation
from policyguard.enforce.sql import SqlCheck
from tests.enforce.kit import (
    ACCOUNT,
    ADDRESS,
    ADS,
    COUNTING,
    EMAIL,
    FACE,
    LIKES,
    SECURITY,
    Memory,
    counts,
    guard,
)

GUARD = guard()


def denied(text: str, purpose: str | None = ADS, parameters: object = None) -> PolicyViolation:
    """The violation of a statement."""
    with GUARD.context(purpose=purpose), pytest.raises(PolicyViolation) as caught:
        GUARD.sql(text, dialect="sqlite", parameters=parameters)
    return caught.value


def test_output_columns_carry_their_labels_in_their_form() -> None:
    """Direct, renamed, hashed and counted columns each say what they are."""
    with GUARD.purpose(ACCOUNT):
        check = GUARD.sql(
            "SELECT email AS e, md5(email), count(email), id FROM users", dialect="postgres"
        )
    found = [[(label.data, sorted(label.form)) for label in column] for column in check.labels]
    assert check.names[0] == "e"
    assert found == [[(EMAIL, [])], [(EMAIL, ["pseudonymised"])], [(EMAIL, ["aggregated"])], []]
    (label,) = check.labels[0]
    assert (label.source, label.evidence) == ("users.email", "column")
    assert label.at.startswith("tests/enforce/test_sql.py:")


@pytest.mark.parametrize(
    "text", ["SELECT 1", "SELECT id FROM users", "SELECT text FROM notes WHERE text = 'x'", "BEGIN"]
)
def test_a_statement_without_labelled_columns_is_no_flow(text: str) -> None:
    """It needs no purpose and is not counted."""
    made = guard()
    if "notes" in text:
        with made.purpose(ACCOUNT):
            made.sql(text, dialect="sqlite")
    else:
        assert made.sql(text, dialect="sqlite") == SqlCheck(text)
        assert counts(made) == {}


def test_named_data_is_blocked_and_the_rest_of_our_own_reads_is_flagged() -> None:
    """Reads to self default to flag, but not of what the policy says must be named."""
    memory = Memory()
    made = guard("block", memory)
    with made.purpose(ADS):
        made.sql("SELECT likes FROM users", dialect="sqlite")
        assert [(r.effect, r.source) for r in memory.records] == [("flagged", "users.likes")]
        with pytest.raises(PolicyViolation) as caught:
            made.sql("SELECT embedding FROM faces", dialect="sqlite")
    assert caught.value.decision.flow == (FACE, frozenset(), ADS, "self")
    with made.purpose(SECURITY):
        assert made.sql("SELECT embedding FROM faces", dialect="sqlite").labelled


def test_a_column_that_only_filters_is_read() -> None:
    """WHERE and JOIN are reads."""
    found = denied("SELECT u.id FROM users u JOIN faces f ON f.user_id = u.id WHERE embedding > 1")
    assert found.decision.flow.data == FACE


def test_a_read_without_a_purpose_is_denied() -> None:
    """Flagged for what is ours to read, blocked for what must be named; in both no_purpose."""
    assert denied("SELECT embedding FROM faces", None).decision.reason == "no_purpose"


def test_another_reader_is_judged_as_the_recipient() -> None:
    """A job that reads for somebody else is a flow to them."""
    with GUARD.context(purpose=ACCOUNT, reader="pixel"), pytest.raises(PolicyViolation) as caught:
        GUARD.sql("SELECT email FROM users", dialect="sqlite")
    assert caught.value.decision.flow.recipient == "pixel"


def test_a_write_to_a_recipients_table_is_a_flow_to_the_recipient() -> None:
    """What lies there leaves."""
    found = denied("INSERT INTO audience SELECT email FROM users", ACCOUNT)
    assert (found.decision.flow.data, found.decision.flow.recipient) == (EMAIL, "pixel")


def test_bound_values_and_literals_in_such_a_write_are_searched() -> None:
    """A value that was seen before leaves through a parameter or a literal just as well."""
    for text, parameters in (
        ("INSERT INTO audience (mail) VALUES (?)", (ADDRESS,)),
        ("INSERT INTO audience (mail) VALUES (?)", [("somebody",), (ADDRESS,)]),
        ("INSERT INTO audience (mail) VALUES (:m)", {"m": ADDRESS}),
        (f"INSERT INTO audience (mail) VALUES ('{ADDRESS}')", None),
    ):
        made = guard()
        with made.purpose(COUNTING):
            made.remember(ADDRESS, made.label(EMAIL))
            if parameters is None:
                made.modes.default = "flag"
                made.sql(text, dialect="sqlite")
                assert ("flagged", "pixel", "flag") in counts(made)
            else:
                with pytest.raises(PolicyViolation) as caught:
                    made.sql(text, dialect="sqlite", parameters=parameters)
                assert caught.value.decision.flow.recipient == "pixel"
            made.sql("INSERT INTO notes (text) VALUES (?)", dialect="sqlite", parameters=(ADDRESS,))


def test_an_export_to_nobody_declared_is_denied() -> None:
    """A file or place that no recipient owns is an unknown recipient."""
    made = guard()
    with made.purpose(COUNTING), pytest.raises(PolicyViolation) as caught:
        made.sql("COPY users (likes) TO STDOUT", dialect="postgres")
    assert caught.value.decision.reason == "unknown_recipient"


def test_what_cannot_be_resolved_is_reported_and_its_rows_are_suspect() -> None:
    """Flagged as cannot-tell where it is our own read; every value of its rows is suspect."""
    memory = Memory()
    made = guard("block", memory)
    with made.purpose(ACCOUNT):
        check = made.sql("SELECT * FROM somewhere_else", dialect="sqlite")
    assert check.unresolved
    assert check.labelled
    assert [record.decision.reason for record in memory.records] == ["cannot_tell"]


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO audience SELECT * FROM somewhere_else",
        "INSERT INTO main.AUDIENCE SELECT mystery(x) FROM (SELECT * FROM somewhere_else)",
    ],
)
def test_an_unresolved_write_to_a_recipient_is_denied(text: str) -> None:
    """What may write to a recipient's table and can't be told is stopped."""
    found = denied(text, ACCOUNT)
    assert (found.decision.reason, found.decision.flow.recipient) == ("cannot_tell", "pixel")


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("COPY INTO @stage/people FROM users", "snowflake"),
        ("SELECT * FROM somewhere INTO OUTFILE '/tmp/x'", "mysql"),
        ("EXPORT DATA OPTIONS(uri='gs://x/y') AS SELECT * FROM somewhere", "bigquery"),
    ],
)
def test_an_unresolved_export_is_denied(text: str, dialect: str) -> None:
    """What may leave and can't be told is stopped, whoever would get it."""
    with GUARD.purpose(ACCOUNT), pytest.raises(PolicyViolation) as caught:
        GUARD.sql(text, dialect=dialect)
    assert caught.value.decision.reason in {"cannot_tell", "unknown_recipient"}


@pytest.mark.parametrize(
    "text",
    ['PRAGMA main.table_info("audience")', "SELECT * FROM audience", "VACUUM audience"],
)
def test_what_only_looks_at_a_recipients_table_passes(text: str) -> None:
    """Reflection and reads of it are no flow to the recipient, understood or not."""
    made = guard()
    with made.purpose(ACCOUNT):
        made.sql(text, dialect="sqlite")
    assert all(recipient != "pixel" for _, recipient, _ in counts(made))


@pytest.mark.parametrize("dialect", ["", "firebird", "SQLITE3"])
def test_a_dialect_nobody_knows_denies(dialect: str) -> None:
    """Without its dialect a text may say anything."""
    with GUARD.purpose(ACCOUNT), pytest.raises(PolicyViolation) as caught:
        GUARD.sql("SELECT 1", dialect=dialect)
    assert caught.value.decision.reason == "cannot_tell"


@pytest.mark.parametrize("text", [None, 7, b"SELECT 1", object()])
def test_what_is_no_text_is_denied(text: object) -> None:
    """A driver's own statement object can't be read, so it can't be told."""
    with GUARD.purpose(ACCOUNT), pytest.raises(PolicyViolation) as caught:
        GUARD.sql(text, dialect="sqlite")  # type: ignore[arg-type]  # that is the point
    assert caught.value.decision.reason == "cannot_tell"


def test_a_plan_is_the_same_the_second_time() -> None:
    """A text seen before gives the same answer for whatever purpose asks."""
    text = "SELECT likes, email FROM users"
    with GUARD.purpose(COUNTING):
        first = GUARD.sql(text, dialect="sqlite")
        again = GUARD.sql(text, dialect="sqlite")
    assert [[label.data for label in column] for column in first.labels] == [[LIKES], [EMAIL]]
    assert [[(label.data, label.source) for label in column] for column in again.labels] == [
        [(label.data, label.source) for label in column] for column in first.labels
    ]


def test_without_a_data_map_there_is_nothing_to_see() -> None:
    """A guard without a data map lets statements be."""
    made = type(GUARD)(GUARD.snapshot)
    text = "SELECT embedding FROM faces"
    assert made.sql(text, dialect="sqlite") == SqlCheck(text)
