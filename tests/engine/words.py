"""The terms, recipients, places and values that random policies and flows are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Plain = dict[str, Any]

DATA_BRANCHES = {
    "user.contact": ["user.contact.email", "user.contact.address", "user.contact.address.city"],
    "user.content": ["user.content.chat_message", "user.content.self_image"],
    "user.biometric": ["user.biometric.face_embedding", "user.biometric.face_id"],
    "user.device": ["user.device.cookie", "user.device.ip_address"],
    "user.behavior": ["user.behavior.usage"],
    "user.location": ["user.location.precise"],
    "system": ["system.operations"],
}
PURPOSE_BRANCHES = {
    "marketing": [
        "marketing.advertising",
        "marketing.advertising.third_party",
        "marketing.advertising.third_party.targeted",
        "marketing.communications",
        "marketing.communications.email",
    ],
    "essential": [
        "essential.service",
        "essential.service.provision",
        "essential.service.authentication",
        "essential.legal_obligation",
    ],
    "analytics": ["analytics.reporting", "analytics.reporting.ad_performance"],
    "third_party_sharing": ["third_party_sharing.sale"],
    "train_ai_system": [],
}


def with_leaves(branches: dict[str, list[str]], chosen: Iterable[str]) -> list[str]:
    """The chosen branches and the terms below them."""
    return [term for branch in chosen for term in (branch, *branches[branch])]


BUILT_IN = {
    "data": frozenset({"user", *with_leaves(DATA_BRANCHES, DATA_BRANCHES)}),
    "purposes": frozenset(with_leaves(PURPOSE_BRANCHES, PURPOSE_BRANCHES)),
}
OWN_DATA = ["user.content.diary", "user.biometric.gait", "user.contact.email.alias"]
OWN_PURPOSES = ["marketing.survey", "essential.service.sync", "analytics.reporting.weekly"]
OWN_FACTS = ["saved_by_user", "processing_complete", "vip"]
UNKNOWN_DATA = ["alien.thing", "userland", "users.contact", "systems"]
UNKNOWN_PURPOSES = ["alien.use", "marketings.email", "essentials"]
STRANGERS = ["nobody_declared_me", "stripes", "sel"]

RECIPIENTS: dict[str, Plain] = {
    "staff": {"kind": "first_party_human", "located": "DE"},
    "stripe": {"kind": "processor", "located": "US"},
    "hoster": {"kind": "processor", "located": "DE-BY"},
    "partner": {"kind": "processor", "located": "EEA"},
    "cdn": {"kind": "processor", "located": "NO"},
    "pixel": {"kind": "ad_pixel", "located": "US-CA"},
    "ads": {"kind": "ad_pixel"},
    "metrics": {"kind": "analytics", "located": "EU"},
    "broker": {"kind": "data_broker", "located": "GB"},
    "court": {"kind": "authority"},
    "match": {"kind": "other_user"},
}
FORMS = ["encrypted", "pseudonymised", "deidentified", "anonymised", "aggregated"]
PLACES = ["EU", "EEA", "US", "US-CA", "US-NY", "DE", "DE-BY", "FR", "NO", "GB", "CH"]
DURATIONS = ["P1D", "P30D", "P1M", "P2M", "P59D", "P6M", "P184D", "P12M", "P1Y", "P365D", "P2Y"]
AGES = ["PT5H", "P3W", "P28D", "P31D", "P1Y2M3DT4H5M6S", "P4Y", *DURATIONS]
WRONG: dict[str, list[Any]] = {
    "age": [True, "33", 21.0, None, [21]],
    "region": ["Atlantis", 7, None, "", ["EU"]],
    "restricted": ["true", 1, 0, None],
    "legal_request": ["false", 1, None, []],
    "transport": ["ftp", 443, None, ["https"]],
    "data_age": ["6 months", "P", "PT", -3, None, 180],
    "consent": [True, "yes", None, ["marketing"]],
    "opt_out": [False, "no", None, ["marketing"]],
    "facts": [True, "vip", None, ["vip"]],
}
WRONG_ANSWERS: list[Any] = ["yes", 1, 0, None, "false"]
CLAUSES = ["1", "2.3", "2.4", "4.1", "9", "retention/chat", "preamble", "opt-out"]
CONDITIONS = [
    "consent",
    "opt_out",
    "restricted",
    "legal_request",
    "age",
    "region",
    "transport",
    "data_age",
    "facts",
]
