"""Labels in comments and in dbt's meta."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyguard.catalogs.stated import (
    UNREADABLE,
    labels_in_comment,
    labels_of_terms,
    unknown_terms,
)
from policyguard.policy.schemas import Stated

EMAIL = Stated("user.contact.email")
NAME = Stated("user.name")
HASHED = Stated("user.contact.email", frozenset({"pseudonymised"}))

# fmt: off
COMMENTS = {
    "nothing": (None, ()),
    "a sentence": ("where policyguard mails go", ()),
    "one": ("policyguard: user.contact.email", (EMAIL,)),
    "behind a sentence": ("Where to write. PolicyGuard : user.contact.email.", (EMAIL,)),
    "several": ("policyguard: user.contact.email, user.name", (EMAIL, NAME)),
    "a form": ("policyguard: user.contact.email as pseudonymised, user.name", (HASHED, NAME)),
    "two forms": ("policyguard: user.name as encrypted+aggregated",
                  (Stated("user.name", frozenset({"encrypted", "aggregated"})),)),
    "what a form implies": ("policyguard: user.name as anonymised",
        (Stated("user.name", frozenset({"anonymised", "deidentified", "pseudonymised"})),)),
    "up to a semicolon": ("policyguard: user.name; see the wiki, please", (NAME,)),
    "up to the end of the line": ("policyguard: user.name\nnot, this", (NAME,)),
    "twice": ("policyguard: user.name; policyguard: user.contact.email", (NAME, EMAIL)),
    "an unknown form": ("policyguard: user.name as secret", (UNREADABLE,)),
    "no term": ("policyguard: E-Mail!", (UNREADABLE,)),
    "nothing behind it": ("policyguard:", (UNREADABLE,)),
    "more than a term": ("policyguard: user.name of the user", (UNREADABLE,)),
}
# fmt: on


@pytest.mark.parametrize("name", COMMENTS)
def test_a_comment_states_labels(name: str) -> None:
    """What can't be read is the widest label there is, and a problem."""
    comment, labels = COMMENTS[name]
    found, problems = labels_in_comment(comment, "t.c")
    assert found == labels
    assert bool(problems) == (UNREADABLE in labels)
    assert all(problem.startswith("t.c: ") for problem in problems)


@settings(deadline=None)
@given(st.text())
def test_a_comment_with_the_mark_always_states_something(rest: str) -> None:
    """No text behind the mark makes a column look clean."""
    assert labels_in_comment(f"policyguard:{rest}", "t.c")[0]


def test_long_and_hostile_comments_are_bounded() -> None:
    """A comment of megabytes, or of many commas, costs next to nothing."""
    found, problems = labels_in_comment("policyguard: " + "user.name," * 200_000, "t.c")
    assert NAME in found
    assert len(found) <= 2
    assert len(problems) <= 64
    shown = labels_in_comment("policyguard: \x1b[31mred", "t\x1b.c")[1]
    assert all(problem.isprintable() for problem in shown)


def test_terms_of_meta_are_text_or_lists() -> None:
    """Anything else is unreadable; a form that nobody knows leaves the value raw."""
    assert labels_of_terms(None, None, "t.c") == ((), ())
    assert labels_of_terms("user.name, user.contact.email", None, "t.c")[0] == (NAME, EMAIL)
    assert labels_of_terms(["user.contact.email"], "pseudonymised", "t.c")[0] == (HASHED,)
    assert labels_of_terms({"a": 1}, None, "t.c")[0] == (UNREADABLE,)
    found, problems = labels_of_terms(["user.name"], "secret", "t.c")
    assert found == (NAME,)
    assert len(problems) == 1


def test_unknown_terms_come_with_the_nearest() -> None:
    """A term below a known one is the policy's own business; another is likely a mistake."""
    assert unknown_terms([Stated("user.contact.email.work")]) == []
    ((term, near),) = unknown_terms([Stated("users.contact.email"), EMAIL])
    assert (term, near) == ("users.contact.email", "user.contact.email")
