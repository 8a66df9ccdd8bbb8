"""The denial that a person reads: what, where, why, and honest ways out."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from policyguard import NoPurpose, PolicyGuardError, PolicyViolation
from policyguard.config import Guard
from policyguard.engine.compile import compile_policy
from policyguard.policy.assemble import load_policy
from tests.enforce.kit import ACCOUNT, ADDRESS, ADS, COUNTING, EMAIL, FACE, LIKES, POLICY, guard

GUARD = guard()


def violation(made: Guard = GUARD, **asked: Any) -> PolicyViolation:
    """The violation of a check."""
    given = {"to": "pixel", "data": EMAIL, "purpose": ADS, **asked}
    with pytest.raises(PolicyViolation) as caught:
        made.check("x", **given)
    return caught.value


def test_the_message_has_its_lines_in_order() -> None:
    """Blocked, read at, sent at, because, hint."""

    @GUARD.source(FACE)
    def embed() -> list[float]:
        return [((number * 7919) % 1009) / 1009 for number in range(64)]

    with GUARD.purpose(ADS), pytest.raises(PolicyViolation) as caught:
        GUARD.check({"event": {"features": embed()}}, to="pixel")
    lines = str(caught.value).splitlines()
    heads = [line.split(":")[0].strip() for line in lines]
    assert heads == sorted(
        heads, key=["PG201 blocked", "read at", "sent at", "because", "hint"].index
    )
    assert lines[0].startswith("PG201 blocked: face embedding (")
    assert lines[0].endswith("embed()) to Pixel, for advertising")
    assert "tests/enforce/test_violation.py:" in caught.value.read_at
    assert caught.value.sent_at.startswith("tests/enforce/test_violation.py:")
    assert caught.value.sent_at.endswith(" (event.features)")
    assert "  because: clause 2: faces are recognised on our servers only" in lines
    assert "  hint: developer: leave `event.features` out" in lines


def test_a_forbid_names_its_rule_and_line() -> None:
    """Who wants to look it up finds file and line."""
    with GUARD.context(facts={"transport": "http"}):
        found = violation(to="mailer", purpose=ACCOUNT)
    assert found.decision.rules == ("encrypted-only",)
    line = next(
        number
        for number, text in enumerate(POLICY.read_text().splitlines(), 1)
        if "encrypted-only" in text
    )
    assert f"picnic.yaml:{line}" in found.because
    assert "clause 4: data travel encrypted" in found.because


def test_it_holds_the_decision() -> None:
    """Verdict, reason, rules, clauses, unmet, digest: all are there for a program."""
    found = violation(data=LIKES)
    assert (found.decision.verdict, found.decision.reason) == ("conditional", "unknown_facts")
    assert found.decision.unmet == (f"consent:{ADS}",)
    assert found.decision.digest == GUARD.snapshot.digest
    assert isinstance(found, PolicyGuardError)


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
@pytest.mark.parametrize("purpose", [ADS, None])
def test_it_survives_pickling_and_copying_whole(copied: Any, purpose: str | None) -> None:
    """It crosses process borders with type, message, decision and ways out."""
    found = violation(purpose=purpose)
    again = copied(found)
    assert type(again) is type(found)
    assert (str(again), again.decision) == (str(found), found.decision)
    assert (again.nearest, again.read_at, again.sent_at) == (
        found.nearest,
        found.read_at,
        found.sent_at,
    )
    assert again.decision.clauses == found.decision.clauses
    assert isinstance(again, NoPurpose) is (purpose is None)


@pytest.mark.parametrize("data", [EMAIL, FACE, LIKES, "user.name", "user"])
@pytest.mark.parametrize("to", ["pixel", "counter", "mailer", "public", "nobody", "self"])
@pytest.mark.parametrize("purpose", [ADS, COUNTING, ACCOUNT])
def test_it_never_proposes_another_purpose_and_only_reviewed_forms(
    data: str, to: str, purpose: str
) -> None:
    """The cheapest lie is another purpose; the second a form that nobody made."""
    decision = GUARD.decide(data=data, to=to, purpose=purpose)
    if decision.allowed:
        return
    found = violation(data=data, to=to, purpose=purpose)
    phrase = GUARD.snapshot.context.taxonomy.purposes.phrase
    others = {ADS, COUNTING, ACCOUNT} - {purpose}
    for word in others | {phrase(other) for other in others}:
        assert word not in found.hint
    assert {change.kind for change in found.nearest} <= {"fact", "recipient", "drop"}
    assert "reviewed transform" not in str(found)


def test_a_form_is_proposed_where_a_reviewed_transform_gives_it() -> None:
    """And then it is."""
    made = Guard(compile_policy(load_policy(POLICY)), transforms=["pseudonymised"])
    found = violation(made)
    assert [change.what for change in found.nearest if change.kind == "form"] == ["pseudonymised"]
    assert "pseudonymised first, by a reviewed transform" in found.hint


def test_half_of_the_forms_is_not_enough() -> None:
    """A permit that asks for two forms isn't proposed to who has one."""
    made = Guard(compile_policy(load_policy(POLICY)), transforms=["aggregated"])
    found = violation(made, to="public", purpose=COUNTING)
    assert all(change.kind != "form" for change in found.nearest)
    both = Guard(compile_policy(load_policy(POLICY)), transforms=["aggregated", "anonymised"])
    found = violation(both, to="public", purpose=COUNTING)
    assert any(change.kind == "form" for change in found.nearest)


def test_no_purpose_asks_for_one_without_naming_any() -> None:
    """The hint says where to write it, not what."""
    found = violation(purpose=None)
    assert (found.code, type(found)) == ("PG202", NoPurpose)
    assert found.hint == "developer: say why this code runs, with @guard.purpose(...) or a route"
    assert "without a purpose" in found.what


def test_an_undeclared_recipient_is_the_privacy_officers_case() -> None:
    """Who isn't in the policy has to be named there, or gets nothing."""
    found = violation(to="tracker.example")
    assert found.decision.reason == "unknown_recipient"
    assert "privacy officer: name `tracker.example`" in found.hint


def test_several_stopped_flows_are_told_in_one() -> None:
    """The worst leads; the others are named below it."""
    with GUARD.purpose(ADS):
        GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        GUARD.remember("Anneliese Schmidt-Hohenfels", GUARD.label("user.name"))
        with pytest.raises(PolicyViolation) as caught:
            GUARD.check([ADDRESS, "Anneliese Schmidt-Hohenfels"], to="pixel")
    assert len(caught.value.also) == 1
    assert f"also {caught.value.also[0]}" in str(caught.value)
