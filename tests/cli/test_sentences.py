"""Rules as sentences: nothing that changes a verdict is left out, and nothing can be misread."""

from __future__ import annotations

from typing import Any

import pytest

from policyguard.cli.sentences import Speaker, duration
from policyguard.policy.assemble import policy_from_dict
from policyguard.policy.conditions import When

ALL = {"data": "any", "purposes": "any", "to": "anyone"}


def speak(**rule: Any) -> str:
    """The sentence of one rule, about names unless it says otherwise."""
    policy = policy_from_dict(
        {
            "policyguard": 1,
            "id": "p",
            "recipients": {"mailer": {"kind": "processor"}},
            "terms": {"facts": {"delivered": "the parcel has arrived"}},
            "rules": [{"id": "r", **rule}],
        }
    )
    return Speaker(policy).rule(policy.rules[0])


def when(**condition: Any) -> str:
    """The condition of a permit in words."""
    head, _, text = speak(permit=ALL, when=condition).partition(", if ")
    assert head == "Any data may go to every declared recipient, for any purpose"
    return text.removesuffix(".")


# fmt: off
COVERS: dict[str, tuple[dict[str, Any], str]] = {
    "everything": (
        {"permit": ALL},
        "Any data may go to every declared recipient, for any purpose."),
    "lists": (
        {"permit": {"data": ["user.name", "user.contact"], "purposes": ["marketing", "analytics"],
                    "to": ["self", "subject", "mailer"]}},
        ("Name and contact data may go to the company itself, the person themselves or Mailer, for "
        "marketing or analytics.")),
    "a forbid of all": (
        {"forbid": {}},
        "No data may go to anyone, for any purpose."),
    "a forbid of some": (
        {"forbid": {"data": "user.name", "to": [{"outside": "EEA"}, {"located": "US"}]}},
        "Name must not go to anyone outside EEA or anyone in US, for any purpose."),
    "kinds": (
        {"permit": {**ALL, "to": [{"kind": "ad_pixel"}, {"kind": "first_party_human"}]}},
        "Any data may go to any ad pixel or the company's own staff, for any purpose."),
    "all forms": (
        {"permit": {**ALL, "form": {"all_of": ["aggregated", "anonymised"]}}},
        ("Any data may go to every declared recipient, for any purpose, but only in aggregated and "
        "anonymised form.")),
    "any form": (
        {"permit": {**ALL, "form": {"any_of": ["aggregated", "anonymised"]}}},
        ("Any data may go to every declared recipient, for any purpose, but only in aggregated or "
        "anonymised form.")),
    "the raw form": (
        {"forbid": {"form": "raw"}},
        "No data may go to anyone, for any purpose, in raw form."),
    "exceptions": (
        {"permit": ALL, "except": [{"data": "user.name", "to": "mailer"},
                                   {"purposes": "marketing", "form": "raw"}]},
        ("Any data may go to every declared recipient, for any purpose, except name to Mailer and "
        "what goes for marketing in raw form.")),
    "what is not known": (
        {"forbid": {}, "when": {"age": {"below": 21}}, "if_unknown": "does_not_apply"},
        ("No data may go to anyone, for any purpose, if the person is younger than 21 (where that "
        "is not known, this does not apply).")),
}
CONDITIONS: dict[str, tuple[dict[str, Any], str]] = {
    "consent": ({"consent": True}, "the person agreed to this purpose"),
    "refusal": (
        {"consent": False},
        "the person refused, or took back, consent to this purpose"),
    "consent to a purpose": (
        {"consent": {"marketing": True}}, "the person agreed to marketing"),
    "opt-out": ({"opt_out": True}, "the person opted out of this purpose"),
    "no opt-out": (
        {"opt_out": {"analytics": False}}, "the person has not opted out of analytics"),
    "restriction": ({"restricted": True}, "the person restricted the processing"),
    "no restriction": ({"restricted": False}, "the person has not restricted the processing"),
    "duty": ({"legal_request": True}, "there is a documented legal duty or request"),
    "no duty": ({"legal_request": False}, "there is no documented legal duty or request"),
    "range of ages": (
        {"age": {"from": 13, "below": 18}},
        "the person is younger than 18 and the person is 13 or older"),
    "regions": ({"region": ["EU", "CH"]}, "the person is in EU or CH"),
    "other regions": ({"not": {"region": ["EU", "CH"]}}, "the person is not in EU or CH"),
    "transport": ({"transport": "https"}, "it travels over https"),
    "old data": ({"data_age": {"above": "P6M"}}, "the data are older than 6 months"),
    "fact": ({"facts": {"delivered": True}}, "the parcel has arrived"),
    "no fact": (
        {"facts": {"delivered": False}}, "it is not so that the parcel has arrived"),
    "any of all": (
        {"any": [{"region": "EU", "consent": True}, {"age": {"from": 18}}]},
        "(the person agreed to this purpose and the person is in EU) or the person is 18 or older"),
    "all of any": (
        {"all": [{"any": [{"region": "EU"}, {"consent": True}]}, {"restricted": False}]},
        ("(the person is in EU or the person agreed to this purpose) and the person has not "
        "restricted the processing")),
    "not beside another": (
        {"not": {"consent": True}, "region": "EU"},
        "(it is not so that the person agreed to this purpose) and the person is in EU"),
    "not of several": (
        {"not": {"consent": True, "region": "EU"}},
        "it is not so that (the person agreed to this purpose and the person is in EU)"),
    "one of one": ({"all": [{"any": [{"consent": True}]}]}, "the person agreed to this purpose"),
}
# fmt: on


@pytest.mark.parametrize("case", COVERS)
def test_a_rule_as_a_sentence(case: str) -> None:
    """What a rule covers is said in full."""
    rule, sentence = COVERS[case]
    assert speak(**rule) == sentence


@pytest.mark.parametrize("case", CONDITIONS)
def test_a_condition_in_words(case: str) -> None:
    """Each condition has its words, and brackets where `and` and `or` meet."""
    condition, words = CONDITIONS[case]
    assert when(**condition) == words


def test_every_kind_of_condition_is_said() -> None:
    """A condition that is added to the language needs its words and its row here."""
    asked = {key.rstrip("_") for key in When.model_fields}
    assert asked == {key for condition, _ in CONDITIONS.values() for key in _keys(condition)}


def _keys(condition: object) -> set[str]:
    """The condition keys in a row, at any depth."""
    if isinstance(condition, list):
        return set().union(*map(_keys, condition))
    if not isinstance(condition, dict):
        return set()
    inner = [value for key, value in condition.items() if key in ("all", "any", "not")]
    return set(condition) | _keys(inner)


# fmt: off
DURATIONS = {
    "P6M":     "6 months",
    "P1Y":     "1 year",
    "P1Y6M":   "1 year and 6 months",
    "PT72H":   "72 hours",
    "PT1M":    "1 minute",
    "P1M":     "1 month",
    "P2W3DT4H5M6S": "2 weeks, 3 days, 4 hours, 5 minutes and 6 seconds",
}
# fmt: on


@pytest.mark.parametrize("text", DURATIONS)
def test_a_duration_in_words(text: str) -> None:
    """Months and minutes aren't mixed up."""
    assert duration(text) == DURATIONS[text]
