"""One incoming request: its purpose by route, who asks, from where, and what they opted out of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from policyguard import NoPurpose, PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.context import current_scope
from policyguard.enforce.routes import Route, Routes, parse_route
from policyguard.enforce.subjects import Subjects
from tests.enforce.kit import ACCOUNT, ADS, EMAIL, LIKES, POLICY, guard
from tests.enforce.subjects_kit import Kept

SOLD = "third_party_sharing.sale"
NARROW = "marketing.advertising.third_party.targeted"
LETTERS = "marketing.communications"
SLOW = 30.0
ADS_TO: dict[str, Any] = {"to": "pixel", "data": LIKES}
RULES = """
  - id: letters
    permit: {data: [user.contact.email], purposes: [marketing.communications], to: [mailer]}
    cites: ["1"]
  - id: for-sale
    permit: {data: [user.behavior], purposes: [third_party_sharing], to: [public]}
    cites: ["6"]
  - id: opted-out
    forbid: {data: [user]}
    when: {opt_out: true}
    if_unknown: does_not_apply
    cites: ["3"]
  - id: not-in-california
    forbid: {data: [user.name], purposes: [essential.service.account]}
    when: {region: US-CA}
    cites: ["3"]
"""


def asking(folder: Path, **people: Mapping[str, Any]) -> Guard:
    """A guard with routes, a store and rules about opting out."""
    file = folder / "policy.yaml"
    file.write_text(POLICY.read_text() + RULES)
    made = Guard.load(file)
    routes = {"POST /ads": ADS, "/account/{id}": ACCOUNT, "/sell": SOLD, "/narrow": NARROW}
    made.in_force = made.in_force.but(
        routes=Routes(parse_route(text, purpose) for text, purpose in routes.items())
    )
    made.subjects = Subjects(Kept(**people), limit=SLOW)
    return made


def route_of() -> str:
    """The route of the current scope."""
    scope = current_scope()
    assert scope is not None
    return scope.route


# Purpose and route.


def test_a_route_gives_the_purpose_and_its_pattern_is_the_name(tmp_path: Path) -> None:
    """The path itself, which may hold personal data, is kept nowhere."""
    asked = asking(tmp_path)
    with asked.request("get", "/account/anna.schmidt@mail.example.org"):
        assert asked.current_purpose() == ACCOUNT
        assert route_of() == "/account/{id}"
        assert "anna" not in repr(current_scope())
        assert asked.check("x", to="mailer", data=EMAIL).allowed
    assert asked.current_purpose() is None


@pytest.mark.parametrize("path", ["/nowhere", "", "/account", "/ads"])
def test_an_unknown_route_has_no_purpose(tmp_path: Path, path: str) -> None:
    """So what is sent is stopped, until somebody says why."""
    asked = asking(tmp_path)
    with asked.request("GET", path):
        with pytest.raises(NoPurpose):
            asked.check("x", to="mailer", data=EMAIL)
        with asked.purpose(ACCOUNT):
            assert asked.check("x", to="mailer", data=EMAIL).allowed


def test_a_purpose_that_the_policy_no_longer_knows_is_none(tmp_path: Path) -> None:
    """A route of before a reload doesn't break the request: it has no purpose."""
    asked = asking(tmp_path)
    asked.in_force = asked.in_force.but(routes=Routes([Route("", ("x",), "no.such.purpose")]))
    with asked.request("GET", "/x"):
        assert asked.current_purpose() is None
        assert route_of() == "/x"


# Who asks.


def test_the_subject_brings_what_the_store_knows(tmp_path: Path) -> None:
    """And nobody brings nothing."""
    asked = asking(tmp_path, ann={"consent": {ADS: True}})
    with asked.request("POST", "/ads", subject="ann"):
        assert asked.check("x", **ADS_TO).allowed
    for subject in (None, "bea"):
        with asked.request("POST", "/ads", subject=subject):
            assert asked.decide(**ADS_TO).verdict == "conditional"


def test_what_the_request_says_comes_before_the_store(tmp_path: Path) -> None:
    """It is newer, and about this very request."""
    asked = asking(tmp_path, ann={"consent": {ADS: True}, "region": "DE"})
    with asked.request("POST", "/ads", subject="ann", facts={"consent": {ADS: False}}):
        assert asked.decide(**ADS_TO).verdict == "deny"


def test_an_omitted_subject_keeps_the_person_and_none_drops_them(tmp_path: Path) -> None:
    """None is an answer: nobody knows who it is. Saying nothing changes nobody."""
    asked = asking(tmp_path, ann={"consent": {ADS: True}})
    with asked.request("POST", "/ads", subject="ann", facts={"age": 33}):
        with asked.context(reader="self"):
            assert asked.check("x", **ADS_TO).allowed
        with asked.context(subject="ann"):
            assert asked.check("x", **ADS_TO).allowed
        for subject in (None, "bea", True):
            with asked.context(subject=subject):
                assert asked.decide(**ADS_TO).verdict == "conditional"
                scope = current_scope()
                assert scope is not None
                assert scope.facts.age is None
        assert asked.check("x", **ADS_TO).allowed


def test_equal_subjects_of_other_types_are_other_people(tmp_path: Path) -> None:
    """1 and True are equal to Python, and nobody would want to be True."""
    asked = asking(tmp_path)
    with asked.context(subject=1, facts={"consent": {ADS: True}}, purpose=ADS):
        for subject, verdict in ((1, "allow"), (True, "conditional"), (1.0, "conditional")):
            with asked.context(subject=subject):
                assert asked.decide(**ADS_TO).verdict == verdict


def test_with_await_the_store_is_asked_first(tmp_path: Path) -> None:
    """Within a request on an event loop nothing else may wait."""
    asked = asking(tmp_path, ann={"consent": {ADS: True}})

    async def both() -> tuple[str, str]:
        async with asked.request("POST", "/ads", subject="ann"):
            known = asked.decide(**ADS_TO).verdict
        with asked.request("POST", "/ads", subject="eve"):
            return known, asked.decide(**ADS_TO).verdict

    assert asyncio.run(both()) == ("allow", "conditional")


def test_requests_side_by_side_never_mix(tmp_path: Path) -> None:
    """Each task has its own person, purpose and route."""
    asked = asking(tmp_path, ann={"consent": {ADS: True}}, bea={"consent": {ADS: False}})

    async def one(name: str) -> str:
        async with asked.request("POST", "/ads", subject=name):
            await asyncio.sleep(0)
            return asked.decide(**ADS_TO).verdict

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(name) for name in ["ann", "bea", "cid"] * 20))

    assert asyncio.run(all_of_them()) == ["allow", "deny", "conditional"] * 20


# Region.


def test_a_region_counts_and_a_bad_one_is_unknown_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A doubt is denied, and the log doesn't repeat it for each request, nor show the value."""
    asked = asking(tmp_path)
    for region, verdict in (("DE", "allow"), ("US-CA", "deny"), ("canary-4711", "conditional")):
        for _ in range(3):
            with asked.request("GET", "/account/7", region=region):
                assert asked.decide(data="user.name", to="self").verdict == verdict
    assert caplog.text.count("PG204") == 1
    assert "`region`" in caplog.text
    assert "canary" not in caplog.text


# Global Privacy Control.


def test_gpc_opts_out_of_sale_and_of_all_advertising(tmp_path: Path) -> None:
    """And of nothing else."""
    asked = asking(tmp_path, ann={"consent": {ADS: True}})
    for path, to, verdict in (("/ads", "pixel", "deny"), ("/sell", "public", "deny")):
        with asked.request("POST", path, subject="ann"):
            assert asked.decide(data=LIKES, to=to).verdict == "allow"
        with asked.request("POST", path, subject="ann", gpc=True):
            decision = asked.decide(data=LIKES, to=to)
            assert (decision.verdict, decision.rules) == (verdict, ("opted-out",))
    with asked.request("GET", "/account/7", subject="ann", gpc=True):
        assert asked.check("x", to="mailer", data=EMAIL).allowed
        assert asked.decide(data=EMAIL, to="mailer", purpose=LETTERS).allowed


def test_no_narrower_answer_of_the_past_stands_against_gpc(tmp_path: Path) -> None:
    """Who once opted in to a kind of ads in the settings says no to it today."""
    past = {"opt_out": {ADS: False, NARROW: False, SOLD: False}, "consent": {ADS: True}}
    asked = asking(tmp_path, ann=past)
    for path in ("/ads", "/narrow", "/sell"):
        with asked.request("POST", path, subject="ann", gpc=True):
            decision = asked.decide(data=LIKES, to="public" if path == "/sell" else "pixel")
            assert decision.rules == ("opted-out",)
    given = {"opt_out": {NARROW: False, LETTERS: True}}
    with asked.request("POST", "/narrow", facts=given, gpc=True):
        assert asked.decide(**ADS_TO).rules == ("opted-out",)
        assert asked.decide(data=EMAIL, to="mailer", purpose=LETTERS).rules == ("opted-out",)


def test_gpc_holds_when_the_application_finds_out_who_asks(tmp_path: Path) -> None:
    """The signal came before the name; it is theirs, and what is known of others isn't."""
    asked = asking(tmp_path, ann={"consent": {ADS: True}, "opt_out": {ADS: False}})
    with asked.request("POST", "/ads", gpc=True):
        with asked.context(subject="ann"):
            assert asked.decide(**ADS_TO).rules == ("opted-out",)
            with asked.context(subject="bea"):
                assert asked.decide(**ADS_TO).verdict == "conditional"
        with asked.context(subject=None):
            assert asked.decide(**ADS_TO).rules == ("opted-out",)


def test_gpc_of_one_person_is_not_another_ones(tmp_path: Path) -> None:
    """A request of Ann's that handles data of Bea's."""
    asked = asking(tmp_path, bea={"consent": {ADS: True}})
    with asked.request("POST", "/ads", subject="ann", gpc=True), asked.context(subject="bea"):
        assert asked.decide(**ADS_TO).allowed


@pytest.mark.parametrize("opt_out", [None, "all", {}, []])
def test_gpc_holds_whatever_else_is_said(tmp_path: Path, opt_out: object) -> None:
    """Facts that can't be used don't take the signal away."""
    asked = asking(tmp_path)
    with asked.request("POST", "/ads", facts={"opt_out": opt_out}, gpc=True):
        assert asked.decide(**ADS_TO).rules == ("opted-out",)


def test_without_gpc_nobody_opted_out(tmp_path: Path) -> None:
    """No signal is no answer, neither yes nor no."""
    asked = asking(tmp_path)
    with asked.request("POST", "/ads"), pytest.raises(PolicyViolation) as caught:
        asked.check("x", **ADS_TO)
    assert caught.value.decision.unmet == (f"consent:{ADS}",)


def test_a_guard_without_routes_takes_requests_too() -> None:
    """It only has no purposes for them."""
    asked = guard()
    with asked.request("GET", "/"):
        assert asked.current_purpose() is None


def test_a_signal_stays_with_whoever_sent_it(tmp_path: Path) -> None:
    """Through other people, nobody and batches, and back: it counts wherever it may be theirs."""
    asked = asking(tmp_path)

    def opted_out() -> bool | None:
        scope = current_scope()
        assert scope is not None
        return scope.known()[0].opt_out.get("marketing.advertising")

    with asked.request("POST", "/ads", subject="ann", gpc=True):
        with asked.context(subject="bea"):
            assert opted_out() is None
            with asked.context(subject="ann"):
                assert opted_out()
        with asked.context(subject=None):
            assert opted_out()
            with asked.context(subject="ann"):
                assert opted_out()
        with asked.context(subjects=["bea", "ann"]):
            assert opted_out()
        with asked.context(subjects=["bea"]):
            assert opted_out() is None
        with asked.job("letters"):
            assert opted_out()
    with asked.request("POST", "/ads", gpc=True), asked.context(subjects=["bea"]):
        assert opted_out()
    with asked.context(subject="ann"), asked.request("POST", "/ads", subject="ann", gpc=True):
        assert opted_out()
