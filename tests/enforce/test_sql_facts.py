"""What a query proves about its rows, and how old they are, decides whether they may be used."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from policyguard import Guard, PolicyViolation
from policyguard.enforce.rows import Rows
from policyguard.inspectors.http import OutgoingRequest

LETTERS = "marketing.communications.email"
SUPPORT = "essential.service.operations.support"
POLICY = f"""
policyguard: 1
id: letters
title: Letters
version: "1"
notice:
  title: Privacy Policy
  updated: 2026-01-01
  clauses:
    "1": {{says: letters go to who wants them}}
    "2": {{says: chats are read by support}}
    "3": {{says: chats are kept for half a year}}
    "4": {{says: people who restricted the use are left alone}}
taxonomy: fideslang
terms: {{facts: {{saved_by_user: the person saved it}}}}
recipients:
  self: {{kind: first_party}}
  mailer: {{kind: processor, hosts: [mail.example]}}
rules:
  - id: letters
    permit: {{data: [user.contact.email, user.name], purposes: [{LETTERS}], to: [self, mailer]}}
    when: {{all: [{{consent: true}}, {{region: EU}}]}}
    cites: ["1"]
  - id: chats
    permit: {{data: [user.content], purposes: [{SUPPORT}], to: [self]}}
    cites: ["2"]
  - id: left-alone
    forbid: {{data: [user], purposes: [{LETTERS}]}}
    when: {{restricted: true}}
    if_unknown: does_not_apply
    cites: ["4"]
retention:
  - data: [user.content]
    keep: P6M
    since: last_interaction
    unless: [saved_by_user]
    cites: ["3"]
"""
MAP = f"""
tables:
  users:
    columns:
      id: {{subject: true}}
      email: user.contact.email
      opt_in: {{fact: consent, purpose: {LETTERS}}}
      country: {{fact: region}}
      frozen: {{fact: restricted}}
  names:
    columns:
      user_id: {{subject: true}}
      number: system
      name: user.name
  messages:
    columns:
      sender_id: {{subject: true}}
      rcpt_id: {{subject: true}}
      subject_line: user.name
      agreed: {{fact: consent, purpose: {LETTERS}}}
  numbers:
    clock: {{last_interaction: made}}
    columns:
      number: system
      made: system
  chats:
    clock: {{last_interaction: spoken_at}}
    columns:
      user_id: {{subject: true}}
      body: user.content
      spoken_at: system
"""
ADDRESS = "anna.schmidt@mail.example.org"


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    """A guard that blocks, for the policy above."""
    (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")
    (tmp_path / "map.yaml").write_text(MAP, encoding="utf-8")
    return Guard.load(tmp_path / "policy.yaml", data_map=tmp_path / "map.yaml")


def verdicts(guard: Guard, text: str, **context: Any) -> set[str]:
    """The reasons with which the reads of a statement are decided; "" for allowed ones."""
    found: set[str] = set()
    guard.watchers = (lambda judged, _: found.add(judged.decision.reason),)
    with guard.context(purpose=LETTERS, **context), suppress(PolicyViolation):
        guard.sql(text, dialect="postgres")
    return found


# fmt: off
PROOFS = {
    "proven for its rows":
        ("SELECT email FROM users WHERE opt_in AND country = 'DE'", {"permitted"}),
    "with a comparison":
        ("SELECT email FROM users WHERE opt_in = true AND country = 'FR'", {"permitted"}),
    "numbers for booleans":
        ("SELECT email FROM users WHERE opt_in = 1 AND country = 'FR'", {"permitted"}),
    "half of it":
        ("SELECT email FROM users WHERE opt_in", {"unknown_facts"}),
    "nothing":
        ("SELECT email FROM users", {"unknown_facts"}),
    "behind OR":
        ("SELECT email FROM users WHERE opt_in OR country = 'DE'", {"unknown_facts"}),
    "the contrary":
        ("SELECT email FROM users WHERE NOT opt_in AND country = 'DE'", {"unmet"}),
    "outside of the region":
        ("SELECT email FROM users WHERE opt_in AND country = 'US'", {"unmet"}),
    "no such region":
        ("SELECT email FROM users WHERE opt_in AND country = 'ZZ'", {"unknown_facts"}),
    "a parameter proves nothing":
        ("SELECT email FROM users WHERE opt_in AND country = $1", {"unknown_facts"}),
    "two countries at once":
        ("SELECT email FROM users WHERE opt_in AND country = 'DE' AND country = 'FR'",
         {"unknown_facts"}),
    "restricted people":
        ("SELECT email FROM users WHERE opt_in AND country = 'DE' AND frozen", {"forbidden"}),
    "joined by whose row it is":
        (("SELECT name FROM names n JOIN users u ON n.user_id = u.id"
         " WHERE u.opt_in AND u.country = 'DE'"), {"permitted"}),
    "joined in WHERE":
        (("SELECT name FROM names n, users u WHERE u.id = n.user_id"
         " AND u.opt_in AND u.country = 'DE'"), {"permitted"}),
    "joined by something else":
        (("SELECT name FROM names n JOIN users u ON n.number = u.id"
         " WHERE u.opt_in AND u.country = 'DE'"), {"unknown_facts", "not_covered"}),
    "not joined at all":
        ("SELECT name FROM names, users WHERE opt_in AND country = 'DE'", {"unknown_facts"}),
    "another table's outer join": (
        ("SELECT name FROM users u CROSS JOIN names n LEFT JOIN chats c ON u.id = n.user_id"
        " WHERE u.opt_in AND u.country = 'DE'"),
        {"unknown_facts"},
    ),
    "an outer join of its own": (
        ("SELECT name FROM users u LEFT JOIN names n ON u.id = n.user_id"
        " WHERE u.opt_in AND u.country = 'DE'"),
        {"permitted"},
    ),
    "over a row of two people": (
        ("SELECT n.name FROM messages m JOIN users u ON m.sender_id = u.id"
        " JOIN names n ON m.rcpt_id = n.user_id WHERE u.opt_in AND u.country = 'DE'"),
        {"unknown_facts"},
    ),
    "of a row of two people": (
        "SELECT subject_line FROM messages WHERE agreed",
        {"unknown_facts"},
    ),
    "read twice":
        ("SELECT a.email FROM users a, users b WHERE b.opt_in AND b.country = 'DE'",
         {"unknown_facts"}),
    "in a subquery only":
        ("SELECT email FROM users WHERE id IN (SELECT id FROM users WHERE opt_in)",
         {"unknown_facts"}),
}
# fmt: on


@pytest.mark.parametrize(("text", "expected"), PROOFS.values(), ids=PROOFS)
def test_a_query_proves_facts_about_its_rows(guard: Guard, text: str, expected: set[str]) -> None:
    """A top-level condition on a fact column holds for the rows of that person, and no others."""
    assert verdicts(guard, text) == expected


def test_two_answers_that_differ_are_a_doubt(guard: Guard) -> None:
    """The row says yes, the subject store or the code says no: nobody knows."""
    text = "SELECT email FROM users WHERE opt_in AND country = 'DE'"
    assert verdicts(guard, text, facts={"consent": {LETTERS: False}}) == {"unknown_facts"}
    assert verdicts(guard, text, facts={"consent": {LETTERS: True}}) == {"permitted"}


def test_what_was_proven_goes_with_the_values(guard: Guard) -> None:
    """A row that was read with proof may be sent; one that was read without may not."""
    letter = OutgoingRequest("POST", "mail.example", "https", "/", body=ADDRESS.encode())
    for text, sent in (
        ("SELECT email FROM users WHERE opt_in AND country = 'DE'", True),
        ("SELECT email FROM users WHERE opt_in", False),
    ):
        with guard.context(purpose=LETTERS):
            check = guard.sql(text, dialect="postgres")
            Rows(guard, check).seen([(ADDRESS,)])
            if sent:
                assert guard.egress(letter) is letter
            else:
                with pytest.raises(PolicyViolation) as caught:
                    guard.egress(letter)
                assert caught.value.decision.reason == "unknown_facts"


def test_proven_facts_are_in_no_text(guard: Guard) -> None:
    """Whether a person agreed is personal data too."""
    with guard.context(purpose=LETTERS):
        text = "SELECT email FROM users WHERE NOT opt_in AND country = 'DE'"
        check = guard.sql(text, dialect="postgres")
        assert "DE" not in repr(check.labels)
        assert check.labels[0][0].proven


YEAR_AGO = datetime.now(UTC) - timedelta(days=365)

# fmt: off
AGES: dict[str, tuple[Any, bool]] = {
    "yesterday":           (datetime.now(UTC) - timedelta(days=1),     True),
    "five months":         (datetime.now(UTC) - timedelta(days=150),   True),
    "a year":              (YEAR_AGO,   False),
    "without a time zone": (YEAR_AGO.replace(tzinfo=None), False),
    "a day":               (YEAR_AGO.date(), False),
    "as text":             (YEAR_AGO.isoformat(), False),
    "seconds since 1970":  (YEAR_AGO.timestamp(), False),
    "milliseconds":        (int(YEAR_AGO.timestamp() * 1000), False),
    "in the future":       (datetime.now(UTC) + timedelta(days=365),   True),
    "nothing":             (None,                                      True),
    "no date":             ("soon",                                    True),
    "a year beyond all":   (10**30,                                    True),
}
# fmt: on


@pytest.mark.parametrize(("began", "kept"), AGES.values(), ids=AGES)
def test_a_row_that_is_too_old_is_not_handed_out(guard: Guard, began: Any, *, kept: bool) -> None:
    """The clock column of the data map tells the age; the retention says how old is too old."""
    with guard.context(purpose=SUPPORT):
        check = guard.sql("SELECT body, spoken_at FROM chats", dialect="postgres")
        rows = Rows(guard, check)
        if kept:
            rows.seen([("hello", began)])
            return
        with pytest.raises(PolicyViolation) as caught:
            rows.seen([("hello", began)])
    assert caught.value.decision.rules == ("retention:user.content",)
    assert "hello" not in str(caught.value)


def test_a_saved_row_may_be_old(guard: Guard) -> None:
    """What lifts a retention lifts it here too."""
    old = datetime.now(UTC) - timedelta(days=365)
    with guard.context(purpose=SUPPORT, facts={"facts": {"saved_by_user": True}}):
        check = guard.sql("SELECT body, spoken_at FROM chats", dialect="postgres")
        Rows(guard, check).seen([{"body": "hello", "spoken_at": old}])


def test_without_its_clock_a_row_has_no_age(guard: Guard) -> None:
    """An unknown age ends no retention: so the language says."""
    with guard.context(purpose=SUPPORT):
        check = guard.sql("SELECT body FROM chats", dialect="postgres")
        assert check.clocks == ()
        Rows(guard, check).seen([("hello",)])


def test_each_clock_is_looked_at_by_itself(guard: Guard) -> None:
    """That one column of an age was fine says nothing about another of the same age."""
    old = datetime.now(UTC) - timedelta(days=365)
    text = "SELECT n.number, n.made, c.body, c.spoken_at FROM numbers n, chats c"
    with guard.context(purpose=SUPPORT):
        check = guard.sql(text, dialect="postgres")
        with pytest.raises(PolicyViolation):
            Rows(guard, check).seen([(1, old, "hello", old)])


@pytest.mark.parametrize(
    "row",
    [
        {"BODY": "hello", "SPOKEN_AT": YEAR_AGO},
        {"body": "hello", "when": YEAR_AGO},
        {"body": "hello", "when": YEAR_AGO.isoformat()},
    ],
)
def test_a_row_by_names_is_as_old_as_its_clock(guard: Guard, row: dict[str, Any]) -> None:
    """However the driver spells the name; if it isn't found, the oldest day of the row counts."""
    with guard.context(purpose=SUPPORT):
        check = guard.sql("SELECT body, spoken_at FROM chats", dialect="postgres")
        with pytest.raises(PolicyViolation):
            Rows(guard, check).seen([row])


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO users (email, opt_in) VALUES ($1, true)",
        "UPDATE users SET email = $1 WHERE id = $2",
        "DELETE FROM users WHERE id = $1",
    ],
)
def test_writing_values_of_ones_own_changes_no_later_proof(guard: Guard, text: str) -> None:
    """The same statement has the same answer on every connection of a pool."""
    query = "SELECT email FROM users WHERE opt_in AND country = 'DE'"
    session = guard.sql_session()
    with guard.context(purpose=LETTERS):
        for sent in (text, "INSERT INTO users (id) VALUES (7)", text):
            guard.sql(sent, dialect="postgres", session=session)
        check = guard.sql(query, dialect="postgres", session=session)
    assert check.labels[0][0].proven


def test_moving_data_into_a_table_ends_its_proofs(guard: Guard) -> None:
    """Whose address stands in a row is not known any more."""
    session = guard.sql_session()
    with guard.context(purpose=LETTERS), suppress(PolicyViolation):
        moved = "UPDATE users SET email = n.name FROM names n WHERE n.number = users.id"
        guard.sql(moved, dialect="postgres", session=session)
        query = "SELECT email FROM users WHERE opt_in AND country = 'DE'"
        check = guard.sql(query, dialect="postgres", session=session)
        assert not any(label.proven for label in check.labels[0])
