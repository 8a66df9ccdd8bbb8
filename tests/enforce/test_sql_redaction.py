"""In mode redact a statement runs with NULL for what is denied, or it doesn't run."""

from __future__ import annotations

import sqlite3

import pytest

from policyguard import PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.modes import Enforcement, Match, Modes
from policyguard.enforce.rows import Rows
from policyguard.enforce.sql import SqlCheck
from tests.enforce.kit import ACCOUNT, ADDRESS, ADS, COUNTING, EMAIL, LIKES, Memory, counts, guard


def redacting(*entries: Enforcement, memory: Memory | None = None) -> Guard:
    """A guard that redacts what statements read, where nothing else is said."""
    made = guard("block", *([memory] if memory else []))
    made.modes = Modes(entries=[*entries, Enforcement(Match(at="sql"), "redact")])
    return made


def checked(made: Guard, text: str, purpose: str = ADS, dialect: str = "sqlite") -> SqlCheck:
    """What the guard says of a statement."""
    with made.purpose(purpose):
        return made.sql(text, dialect=dialect)


def test_a_denied_column_becomes_null_and_its_output_carries_nothing() -> None:
    """What is sent doesn't read it; the others keep their places, names and labels."""
    made = redacting()
    check = checked(made, "SELECT id, email AS mail, likes FROM users WHERE id = ?", COUNTING)
    assert check.text == "SELECT id, NULL AS mail, likes FROM users WHERE id = ?"
    assert check.names == ("id", "mail", "likes")
    assert [[label.data for label in column] for column in check.labels] == [[], [], [LIKES]]
    assert not check.unresolved
    assert counts(made) == {("redacted", "self", "redact"): 1, ("allow", "self", ""): 1}


def test_an_allowed_statement_is_the_same_object() -> None:
    """It is sent byte for byte."""
    made, text = redacting(), "SELECT  email FROM users -- all\n"
    assert checked(made, text, ACCOUNT).text is text
    assert checked(made, "SELECT id FROM users").text == "SELECT id FROM users"


def test_a_flagged_column_stays() -> None:
    """Only what is to be redacted becomes NULL."""
    made = redacting(Enforcement(Match(data="user.name"), "flag"))
    check = checked(made, "SELECT email, name FROM users")
    assert check.text == "SELECT NULL AS email, name FROM users"
    assert [len(column) for column in check.labels] == [0, 1]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM users WHERE email = 'x'",
        "SELECT id FROM users ORDER BY email LIMIT 1",
        "SELECT count(email) FROM users",
        "SELECT lower(email) FROM users",
        "SELECT DISTINCT email FROM users",
        "SELECT email FROM users UNION SELECT 'x'",
        "SELECT email FROM users; SELECT 1",
        "UPDATE users SET name = email",
    ],
)
def test_what_cannot_be_taken_out_is_blocked(text: str) -> None:
    """A denied column that decides anything stops the statement."""
    memory = Memory()
    made = redacting(memory=memory)
    with pytest.raises(PolicyViolation) as caught:
        checked(made, text)
    assert caught.value.decision.flow.data == EMAIL
    assert {record.effect for record in memory.records} == {"blocked"}


def test_one_column_that_cannot_be_taken_out_blocks_all() -> None:
    """Half a redaction is none."""
    with pytest.raises(PolicyViolation):
        checked(redacting(), "SELECT name, email FROM users WHERE likes = 'x'")


def test_a_blocked_column_blocks_whatever_else_is_redacted() -> None:
    """The stricter mode counts."""
    made = redacting(Enforcement(Match(data="user.name"), "block"))
    with pytest.raises(PolicyViolation):
        checked(made, "SELECT name, email FROM users")


def test_what_cannot_be_resolved_is_blocked() -> None:
    """In what isn't understood nothing can be taken out."""
    with pytest.raises(PolicyViolation) as caught:
        checked(redacting(), "SELECT * FROM somewhere_else", ACCOUNT)
    assert caught.value.decision.reason == "cannot_tell"


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO audience SELECT email FROM users",
        "INSERT INTO audience (mail) SELECT name FROM users RETURNING mail",
    ],
)
def test_what_leaves_by_writing_is_blocked(text: str) -> None:
    """A recipient's table gets no row that was made up."""
    with pytest.raises(PolicyViolation):
        checked(redacting(), text, ACCOUNT)


def test_bound_values_that_leave_are_blocked() -> None:
    """Parameters are as they are."""
    made = redacting()
    with made.purpose(COUNTING):
        made.remember(ADDRESS, made.label(EMAIL))
        with pytest.raises(PolicyViolation):
            made.sql(
                "INSERT INTO audience (mail) VALUES (?)", dialect="sqlite", parameters=(ADDRESS,)
            )


def test_another_reader_gets_null() -> None:
    """What a back-office tool may not see is redacted for it."""
    made = redacting()
    with made.context(purpose=ACCOUNT, reader="pixel"):
        check = made.sql("SELECT email, id FROM users", dialect="postgres")
    assert check.text == "SELECT NULL AS email, id FROM users"


def test_redaction_by_default_leaves_own_reads_flagged() -> None:
    """The default mode redacts what leaves; a read of our own rows stays flagged."""
    text = "SELECT email FROM users"
    memory = Memory()
    assert checked(guard("redact", memory), text).text is text
    assert [record.effect for record in memory.records] == ["flagged"]


def test_named_data_is_redacted_by_default() -> None:
    """What the policy says must be named doesn't count as an own read."""
    check = checked(guard("redact"), "SELECT user_id, embedding FROM faces")
    assert check.text == "SELECT user_id, NULL AS embedding FROM faces"


def test_a_returned_column_is_null() -> None:
    """RETURNING is a read like any other."""
    text = "INSERT INTO users (email) VALUES (?) RETURNING id, email"
    want = "INSERT INTO users (email) VALUES (?) RETURNING id, NULL AS email"
    assert checked(redacting(), text).text == want


def test_tables_of_the_connection_are_known() -> None:
    """A temporary table of denied values gives NULL as well."""
    made = redacting()
    session = made.sql_session()
    with made.purpose(ACCOUNT):
        made.sql(
            "CREATE TEMP TABLE t AS SELECT email FROM users", dialect="sqlite", session=session
        )
    with made.purpose(ADS):
        check = made.sql("SELECT email FROM t", dialect="sqlite", session=session)
    assert check.text == "SELECT NULL AS email FROM t"


def test_rows_of_a_redacted_statement_are_not_remembered() -> None:
    """NULL carries nothing; what comes beside it is known as ever."""
    link = sqlite3.connect(":memory:")
    link.execute("CREATE TABLE users (id int, email text, name text, likes text)")
    link.execute("INSERT INTO users VALUES (1, ?, 'x', 'hiking-in-the-alps')", (ADDRESS,))
    made = redacting()
    with made.purpose(COUNTING):
        check = made.sql("SELECT email, likes FROM users", dialect="sqlite")
        rows = link.execute(check.text).fetchall()
        Rows(made, check).seen(rows)
        assert rows == [(None, "hiking-in-the-alps")]
        assert made.labels_in(["hiking-in-the-alps"])
        assert not made.labels_in([None, ADDRESS])
    link.close()


def test_a_purpose_that_may_read_gets_the_text_as_it_is() -> None:
    """The same text is judged anew for each purpose."""
    made, text = redacting(), "SELECT email FROM users"
    for _ in range(2):
        assert checked(made, text, ADS).text == "SELECT NULL AS email FROM users"
        assert checked(made, text, ACCOUNT).text is text
