"""Keys that the data map labels: what stands under them is that data, whoever put it there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policyguard import Guard, PolicyViolation
from policyguard.inspectors.http import OutgoingRequest
from tests.enforce.kit import ACCOUNT, ADS, EMAIL, FACE, POLICY

MAP = f"""
fields:
  "*.face_embedding": {FACE}
  mail: {EMAIL}
"""
VECTOR = [0.125, 0.25, 0.5, 0.75] * 16


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    """A guard whose data map labels two keys, and that remembers nothing."""
    file = tmp_path / "map.yaml"
    file.write_text(MAP, encoding="utf-8")
    return Guard.load(POLICY, data_map=file)


def request(body: object, host: str = "pixel.example") -> OutgoingRequest:
    """A JSON body."""
    headers = (("content-type", "application/json"),)
    data = json.dumps(body).encode()
    return OutgoingRequest("POST", host, "https", "/tr", headers=headers, body=data)


BODIES = {
    "a vector": {"user": {"face_embedding": VECTOR}},
    "a number": {"user": {"face_embedding": 7}},
    "in a list": {"users": [{"face_embedding": VECTOR}]},
    "a text": {"mail": "x"},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_stands_under_a_labelled_key_is_judged(guard: Guard, body: object) -> None:
    """In requests and in arguments, though nothing was ever read or declared."""

    @guard.sink("pixel")
    def track(event: object) -> None:
        raise AssertionError("the function ran")

    with guard.purpose(ADS):
        with pytest.raises(PolicyViolation):
            guard.egress(request(body))
        with pytest.raises(PolicyViolation):
            track(body)


def test_a_key_with_nothing_under_it_is_nothing(guard: Guard) -> None:
    """Neither an empty text nor None is data; other keys are not meant."""
    sent = request({"mail": "", "user": {"face_embedding": None, "colour": "red"}})
    with guard.purpose(ADS):
        assert guard.egress(sent) is sent


def test_an_allowed_flow_passes_as_it_is(guard: Guard) -> None:
    """The label is judged like any other."""
    sent = request({"mail": "x"}, "mail.example")
    with guard.purpose(ACCOUNT):
        assert guard.egress(sent) is sent


def test_in_mode_redact_it_is_stopped(guard: Guard) -> None:
    """A label that only a key gives isn't taken out: nothing leaves."""
    guard.modes.default = "redact"
    with guard.purpose(ADS), pytest.raises(PolicyViolation):
        guard.egress(request({"mail": "x"}))
