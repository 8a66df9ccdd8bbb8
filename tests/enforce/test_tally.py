"""Every decision is counted once, exactly, whatever runs at the same time."""

from __future__ import annotations

import threading

import pytest

from policyguard import PolicyViolation
from policyguard.enforce.tally import Key, Tally
from policyguard.engine.decision import Decision
from policyguard.policy.flow import RAW, Flow
from tests.enforce.kit import ACCOUNT, EMAIL, counts, guard


def test_allowed_and_denied_flows_are_counted_apart() -> None:
    """Outcome, recipient and mode make a cell; nothing else does."""
    made = guard()
    with made.purpose(ACCOUNT):
        for _ in range(3):
            made.check("x", to="mailer", data=EMAIL)
        for recipient in ("pixel", "nobody-knows"):
            with pytest.raises(PolicyViolation):
                made.check("x", to=recipient, data=EMAIL)
    assert counts(made) == {
        ("allow", "mailer", ""): 3,
        ("deny", "pixel", "block"): 1,
        ("deny", "unknown", "block"): 1,
    }


def test_threads_lose_no_count() -> None:
    """Eight threads count 10,000 each; the sum is 80,000."""
    tally = Tally(frozenset({"mailer"}))
    decisions = [
        Decision("allow", "permitted", Flow(EMAIL, RAW, purpose, "mailer"), "d")
        for purpose in ("a", "b")
    ]

    def count() -> None:
        for number in range(10_000):
            tally.allowed(decisions[number % 2])

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.read() == {Key("allow", "mailer", ""): 80_000}


def test_more_kinds_of_decisions_than_cells_are_still_counted() -> None:
    """Past its bound the tally keeps no more cells and loses no count."""
    tally = Tally(frozenset({"mailer"}))
    for number in range(5_000):
        tally.allowed(Decision("allow", "permitted", Flow(EMAIL, RAW, f"p{number}", "mailer"), "d"))
    assert tally.read() == {Key("allow", "mailer", ""): 5_000}


def test_reading_does_not_count() -> None:
    """Two readings without a decision between are equal."""
    made = guard()
    made.check("x", to="mailer", data=EMAIL, purpose=ACCOUNT)
    assert counts(made) == counts(made) == {("allow", "mailer", ""): 1}
