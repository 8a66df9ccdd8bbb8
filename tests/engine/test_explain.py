"""Explanations: the nearest allowed flows are allowed, complete, and never another purpose."""

from __future__ import annotations

from typing import Any

import pytest

from policyguard.engine.compile import Snapshot, compile_policy
from policyguard.engine.explain import Change, explain
from policyguard.policy.assemble import policy_from_dict
from policyguard.policy.flow import RAW, Facts, close_form

ADS = "marketing.advertising"
EMAIL = "user.contact.email"
PERMIT = {"data": [EMAIL], "purposes": [ADS], "to": ["pixel"]}


def compiled(*rules: dict[str, Any], **more: Any) -> Snapshot:
    """A policy of these rules."""
    named = [{"id": f"r{i}", **rule} for i, rule in enumerate(rules)]
    tree = {
        "policyguard": 1,
        "id": "p",
        "recipients": {
            "pixel": {"kind": "ad_pixel"},
            "other_pixel": {"kind": "ad_pixel"},
            "shop": {"kind": "processor"},
        },
        "terms": {"facts": {"saved": "kept by the person"}},
        "rules": named,
        **more,
    }
    return compile_policy(policy_from_dict(tree))


def nearest(snapshot: Snapshot, facts: Facts | None = None, **flow: Any) -> tuple[Change, ...]:
    """What would make a flow of e-mail to the pixel allowed."""
    facts = facts or Facts()
    asked = {"data": EMAIL, "form": RAW, "purpose": ADS, "recipient": "pixel", **flow}
    decision = snapshot.decide(
        asked["data"], asked["form"], asked["purpose"], asked["recipient"], facts
    )
    return explain(snapshot, decision, facts).nearest


def said(changes: tuple[Change, ...], kind: str = "fact") -> list[str]:
    """Sentences of one kind of change."""
    return [change.sentence for change in changes if change.kind == kind]


# fmt: off
AGES = {
    #                                     conditions of permit and forbid               sentences
    "one limit":            (({"age": {"from": 13}}, None),
                             ["the person is known to be 13 or older"]),
    "a range":              (({"age": {"from": 13, "below": 18}}, None),
                             ["the person is known to be between 13 and 17"]),
    "a forbid above":       (({"age": {"from": 13}}, {"age": {"from": 65}}),
                             ["the person is known to be between 13 and 64"]),
    "two ranges":           (({"any": [{"age": {"below": 13}}, {"age": {"from": 65}}]}, None),
                             ["the person is known to be younger than 13",
                              "the person is known to be 65 or older"]),
    "neighbours are one":   (({"any": [{"age": {"below": 13}}, {"age": {"from": 13}}]}, None),
                             ["the person is known to be 0 or older"]),
}
# fmt: on


@pytest.mark.parametrize(("rules", "expected"), AGES.values(), ids=AGES)
def test_ages_are_whole_intervals(
    rules: tuple[dict[str, Any], dict[str, Any] | None], expected: list[str]
) -> None:
    """An interval is proposed only if every age in it gives allow."""
    permit, forbid = rules
    parts: list[dict[str, Any]] = [{"permit": PERMIT, "when": permit}]
    if forbid is not None:
        parts.append({"forbid": {"data": [EMAIL]}, "when": forbid})
    assert said(nearest(compiled(*parts))) == expected


# fmt: off
FACTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "consent":        ({"consent": True}, ["consent is given for advertising"]),
    "opt-out":        ({"opt_out": False},
                       ["the person is known not to have opted out of advertising"]),
    "restriction":    ({"restricted": False}, ["the person has not restricted the processing"]),
    "a legal request": ({"legal_request": True},
                       ["there is a documented legal duty, order or request"]),
    "a declared fact": ({"facts": {"saved": True}}, ["it is known that `saved` is true"]),
    "a region":       ({"region": ["DE", "FR"]}, ["the person is known to be in DE or FR"]),
    "elsewhere":      ({"not": {"region": ["EU", "US-CA"]}},
                       ["the person is known to be outside EU, US-CA"]),
    "transport":      ({"transport": "https"}, ["it is sent over https"]),
    "a local transport": ({"transport": "local"}, ["it stays on the machine"]),
    "old data":       ({"data_age": {"above": "P30D"}},
                       ["the data are known to be older than 30 days"]),
    "fresh data":     ({"not": {"data_age": {"above": "P30D"}}},
                       ["the data are known to be younger than 30 days"]),
}
# fmt: on


@pytest.mark.parametrize(("when", "expected"), FACTS.values(), ids=FACTS)
def test_each_kind_of_fact_can_be_established(when: dict[str, Any], expected: list[str]) -> None:
    """A single unknown fact that a permit asks for is proposed in words."""
    assert said(nearest(compiled({"permit": PERMIT, "when": when}))) == expected


def test_two_unknown_facts_are_no_single_change() -> None:
    """Nothing is proposed that alone would not give allow."""
    snapshot = compiled({"permit": PERMIT, "when": {"consent": True, "age": {"from": 18}}})
    assert said(nearest(snapshot)) == []
    assert said(nearest(snapshot, Facts(age=20))) == ["consent is given for advertising"]


def test_a_refusal_is_an_answer() -> None:
    """Nobody is asked again because they said no."""
    snapshot = compiled({"permit": PERMIT, "when": {"consent": True}})
    assert said(nearest(snapshot, Facts(consent={ADS: False}))) == []


def test_a_known_bad_transport_can_be_changed() -> None:
    """How data travel is a choice, so https is proposed under a forbid too."""
    forbid = {"forbid": {"data": [EMAIL]}, "when": {"transport": "http"}}
    snapshot = compiled({"permit": PERMIT}, forbid)
    assert said(nearest(snapshot, Facts(transport="http"))) == ["it is sent over https"]


def test_a_fact_that_lifts_a_retention() -> None:
    """What would keep expired data alive is proposed while it is unknown, not once it is denied."""
    kept = {"data": [EMAIL], "keep": "P6M", "since": "last_use", "unless": ["saved"]}
    snapshot = compiled({"permit": PERMIT}, retention=[kept])
    old = Facts(data_age="P1Y")
    assert said(nearest(snapshot, old)) == ["it is known that `saved` is true"]
    assert said(nearest(snapshot, old.merged({"facts": {"saved": False}}))) == []


def test_forms_come_from_one_permit() -> None:
    """All forms that one permit asks for are one change."""
    form = {"all_of": ["aggregated", "anonymised"]}
    snapshot = compiled({"permit": {**PERMIT, "form": form}})
    assert said(nearest(snapshot), "form") == [
        "it is aggregated and anonymised first, by a reviewed transform"
    ]
    assert said(nearest(snapshot, form=close_form(["aggregated"])), "form") != []


def test_other_recipients_are_of_the_same_kind_or_the_company() -> None:
    """A processor is no substitute for a pixel; staying at home always is one."""
    to = ["other_pixel", "shop", "self"]
    changes = nearest(compiled({"permit": {**PERMIT, "to": to}}))
    assert [change.what for change in changes if change.kind == "recipient"] == [
        "other_pixel",
        "self",
    ]


def test_the_order_is_fact_form_recipient_drop_and_never_a_purpose() -> None:
    """The order of kinds is fixed, and another purpose is no way out."""
    other = {"data": [EMAIL], "purposes": ["analytics.reporting"], "to": ["pixel"]}
    snapshot = compiled(
        {"permit": PERMIT, "when": {"consent": True}},
        {"permit": {**PERMIT, "form": "aggregated"}},
        {"permit": {**PERMIT, "to": ["self"]}},
        {"permit": other},
    )
    assert [change.kind for change in nearest(snapshot)] == ["fact", "form", "recipient", "drop"]
    assert [change.kind for change in nearest(compiled({"permit": other}))] == ["drop"]


def test_no_fact_of_the_person_is_in_an_explanation() -> None:
    """Names of facts are told, their values never."""
    snapshot = compiled({"permit": PERMIT, "when": {"age": {"from": 18}}})
    facts = Facts(age=17, region="DE")
    decision = snapshot.decide(EMAIL, RAW, ADS, "pixel", facts)
    text = "\n".join(explain(snapshot, decision, facts).lines)
    assert "17" not in text
    assert "DE" not in text
