"""A query may say its purpose in a comment; nothing else in it is taken for one."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyguard import PolicyGuardError
from policyguard.inspectors.sql import inspect
from policyguard.inspectors.sql.catalog import Catalog
from policyguard.inspectors.sql.comments import NOTHING, Said, commented, said

COUNTING = "analytics.reporting"
# fmt: off
TEXTS = {
    "sqlcommenter": (f"SELECT 1 /*purpose='{COUNTING}'*/", Said(COUNTING)),
    "with others": (f"SELECT 1 /*app='x',purpose='{COUNTING}',to='ga'*/;", Said(COUNTING, "ga")),
    "recipient": (f"SELECT 1 /*recipient='ga',purpose='{COUNTING}'*/", Said(COUNTING, "ga")),
    "encoded": ("SELECT 1 /*purpose='analytics%2Ereporting'*/", Said(COUNTING)),
    "a line": (f"-- policyguard: purpose={COUNTING} to=ga\nSELECT 1", Said(COUNTING, "ga")),
    "a line behind": (f"SELECT 1 -- policyguard: to=ga, purpose={COUNTING}", Said(COUNTING, "ga")),
    "a block": (f"/* policyguard: purpose='{COUNTING}' */ SELECT 1", Said(COUNTING)),
    "the same twice": (f"SELECT 1 /*purpose='{COUNTING}'*/ -- policyguard: purpose={COUNTING}",
                       Said(COUNTING)),
    "two that differ": ("SELECT 1 /*purpose='a.b'*/ -- policyguard: purpose=c.d", NOTHING),
    "in a string": (f"SELECT '/*purpose=''{COUNTING}''*/'", NOTHING),
    "in a string, as a line": (f"SELECT '-- policyguard: purpose={COUNTING}'", NOTHING),
    "in a sentence": ("SELECT 1 -- the purpose='x' of this", NOTHING),
    "not ours": (f"SELECT 1 -- purpose={COUNTING}", NOTHING),
    "not a term": ("SELECT 1 /*purpose='a b; DROP TABLE x'*/", NOTHING),
    "broken text": (f"SELECT '1 /*purpose='{COUNTING}'*/", NOTHING),
    "nothing": ("SELECT 1", NOTHING),
    "empty": ("", NOTHING),
}
# fmt: on


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_a_comment_says_purpose_and_recipient(text: str, expected: Said) -> None:
    """In either form; strings and sentences say nothing."""
    assert said(text, "postgres") == expected


def test_a_dialect_is_needed() -> None:
    """What is a comment depends on it."""
    with pytest.raises(PolicyGuardError):
        said("SELECT 1", "")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "SELECT 1;",
        "SELECT 1 ;  ",
        "SELECT 1 -- note",
        "SELECT 1\n-- note\n",
        "SELECT '--'",
    ],
)
def test_what_is_written_is_read_again_and_changes_nothing_else(text: str) -> None:
    """The purpose comes back, and the database runs the same."""
    made = commented(text, COUNTING)
    assert said(made, "sqlite") == Said(COUNTING)
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute(made).fetchall() == connection.execute(text).fetchall()


def test_a_text_with_a_comment_at_its_end_is_left_alone() -> None:
    """Somebody else's comment isn't doubled; a purpose that is no word is never written."""
    text = "SELECT 1 /*app='x'*/"
    assert commented(text, COUNTING) is text
    assert commented("SELECT 1", "a'*/ DROP TABLE x --") == "SELECT 1"
    assert commented("", COUNTING) == ""


@given(st.text(max_size=60))
def test_any_text_says_something_or_nothing(text: str) -> None:
    """Never an error, whatever stands in it, and the inspector's answer stays that of the text."""
    said(f"{text} /*purpose='{COUNTING}'*/", "postgres")
    made = commented(text, COUNTING)
    before = inspect(text, "postgres", Catalog.from_mapping({}))
    after = inspect(made, "postgres", Catalog.from_mapping({}))
    if all(one.resolved for one in before):
        assert after == before
