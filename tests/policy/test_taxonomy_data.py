"""The built-in terms: complete, with all ancestors, in readable phrases."""

from __future__ import annotations

import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = files("policyguard.policy").joinpath("taxonomy")
KINDS = {"data": "data.yaml", "purposes": "purposes.yaml"}

# What the shipped policies use; the shared vocabulary, where it is at hand, is read as well.
USED = {
    "data": """
        user.authorization.access_token user.authorization.two_factor user.behavior.activity_log
        user.behavior.usage user.biometric.age_estimate user.biometric.face_embedding
        user.biometric.face_id user.contact.correspondence user.content.attachment
        user.content.chat_message user.content.generated_image user.content.prompt
        user.content.result_image user.content.source_image user.content.support_request
        user.content.video_call user.payment.transaction user.social.telegram user.telemetry.ai
        system.integration user.account.settings user.account.username
        user.authorization.credentials user.authorization.password user.contact.address
        user.contact.email user.content.self_image user.demographic.date_of_birth
        user.demographic.language user.demographic.profile user.device user.device.cookie
        user.device.device_id user.device.ip_address user.financial.credit_card
        user.location.imprecise user.location.precise user.name user.social user.telemetry
    """,
    "purposes": """
        essential.legal_obligation.age_verification essential.service.account
        essential.service.age_estimation essential.service.face_restriction
        essential.service.provision third_party_sharing.business_transfer third_party_sharing.sale
        third_party_sharing.user_match analytics.reporting analytics.reporting.ad_performance
        essential.fraud_detection essential.legal_obligation essential.service.authentication
        essential.service.notifications.email essential.service.operations
        essential.service.operations.support essential.service.payment_processing
        essential.service.security functional.service.improve functional.storage
        marketing.advertising.profiling marketing.advertising.third_party.targeted
        marketing.communications.email personalize.content train_ai_system
    """,
}


def document(kind: str) -> dict[str, Any]:
    loaded = yaml.safe_load(FOLDER.joinpath(KINDS[kind]).read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def terms(kind: str) -> dict[str, str]:
    found = document(kind)["terms"]
    assert isinstance(found, dict)
    return found


def vocabulary(kind: str) -> set[str]:
    """Keys that seed policies use: those listed here and, in development, the shared list."""
    keys = set(USED[kind].split())
    shared = os.environ.get("POLICYGUARD_SHARED")
    folder = Path(shared) if shared else Path(__file__).parents[3] / "shared"
    file = folder / "vocabulary.yaml"
    if file.is_file():
        part = yaml.safe_load(file.read_text(encoding="utf-8"))[kind]
        keys |= {*part["extends"], *part["fideslang"]}
    return keys


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_the_vocabulary_is_there(kind: str) -> None:
    """No policy of ours needs a term that isn't built in."""
    assert vocabulary(kind) - set(terms(kind)) == set()


@pytest.mark.parametrize(("kind", "fewest"), [("data", 85 + 20), ("purposes", 56 + 8)])
def test_the_whole_base_is_there(kind: str, fewest: int) -> None:
    """The keys of the base taxonomy and our extensions are complete in number."""
    assert len(terms(kind)) == fewest


@pytest.mark.parametrize("kind", KINDS)
def test_every_ancestor_is_a_key(kind: str) -> None:
    """A dotted key hangs below keys that exist."""
    keys = set(terms(kind))
    parents = {key.rpartition(".")[0] for key in keys if "." in key}
    assert parents - keys == set()


@pytest.mark.parametrize("kind", KINDS)
def test_keys_are_ids(kind: str) -> None:
    """Keys hold lower-case letters, digits, dots and underscores, in non-empty segments."""
    for key in terms(kind):
        assert all(part.replace("_", "a").isalnum() for part in key.split(".")), key
        assert key == key.lower()


@pytest.mark.parametrize("kind", KINDS)
def test_phrases_read_well(kind: str) -> None:
    """A phrase is unique within its kind, has 1 to 8 words and starts in lower case."""
    phrases = terms(kind)
    assert len(set(phrases.values())) == len(phrases)
    for key, phrase in phrases.items():
        assert isinstance(phrase, str), key
        assert phrase == " ".join(phrase.split()), key
        assert 1 <= len(phrase.split()) <= 8, key
        first = phrase.split()[0]
        assert first[0].islower() or first == "IP", key
        assert phrase[-1] not in ".;:", key


def test_a_key_means_data_or_a_purpose() -> None:
    """The two kinds share no key, so a message never confuses them."""
    assert set(terms("data")).isdisjoint(terms("purposes"))


def test_one_version_for_both() -> None:
    """Both files name the same version; it is part of every policy's digest."""
    assert {document(kind)["version"] for kind in KINDS} == {"fideslang-3.1+1"}


@pytest.mark.parametrize("kind", KINDS)
def test_no_key_is_written_twice(kind: str) -> None:
    """YAML would let the last of two equal keys win in silence."""
    text = FOLDER.joinpath(KINDS[kind]).read_text(encoding="utf-8")
    written = re.findall(r"^  ([a-z0-9_.]+):", text, flags=re.MULTILINE)
    assert len(written) == len(set(written)) == len(terms(kind))


@pytest.mark.parametrize("name", [*KINDS.values(), "ATTRIBUTION.md"])
def test_source_and_licence_are_named(name: str) -> None:
    """Every file says whom the keys come from and under which licence."""
    text = FOLDER.joinpath(name).read_text(encoding="utf-8")
    for fact in ("fideslang", "Ethyca, Inc.", "CC BY 4.0", "3.1.4"):
        assert fact in text
