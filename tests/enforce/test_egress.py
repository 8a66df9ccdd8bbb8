"""A request is judged as it leaves: who gets it, what is in it, how it travels."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import Any
from urllib.parse import quote

import pytest

from policyguard import NoPurpose, PolicyViolation
from policyguard.enforce import egress
from policyguard.enforce.modes import Enforcement, Match
from policyguard.inspectors.http import OutgoingRequest
from policyguard.policy.flow import RAW
from tests.enforce.kit import ACCOUNT, ADDRESS, ADS, COUNTING, EMAIL, LIKES, Memory, counts, guard

GUARD = guard()


def request(body: object = None, **more: Any) -> OutgoingRequest:
    """A request to the pixel, with a JSON body."""
    given: dict[str, Any] = {
        "method": "POST",
        "host": "pixel.example",
        "scheme": "https",
        "path": "/tr",
        "headers": (("content-type", "application/json"),),
        "body": json.dumps(body).encode() if isinstance(body, dict) else body,
    }
    return OutgoingRequest(**{**given, **more})


def denied(sent: OutgoingRequest, purpose: str = ADS, data: str = EMAIL) -> PolicyViolation:
    """The violation of a request in whose scope the address was seen."""
    with GUARD.purpose(purpose):
        GUARD.remember(ADDRESS, GUARD.label(data))
        with pytest.raises(PolicyViolation) as caught:
            GUARD.egress(sent)
    return caught.value


def typed(kind: str, content: bytes) -> OutgoingRequest:
    """A request with a body of this content type."""
    return request(body=content, headers=(("content-type", kind),))


def with_header(name: str, value: str) -> OutgoingRequest:
    """A request without a body, with one header."""
    return request(headers=((name, value),))


PART = b'Content-Disposition: form-data; name="m"\r\n\r\n'
MULTIPART = b"--x\r\n" + PART + ADDRESS.encode() + b"\r\n--x--\r\n"
ZIPPED = gzip.compress(json.dumps({"m": ADDRESS}).encode())
B64 = base64.b64encode(ADDRESS.encode()).decode()
BASIC = base64.b64encode(f"{ADDRESS}:pw".encode()).decode()
FORM = "application/x-www-form-urlencoded"
PLACES: dict[str, tuple[OutgoingRequest, str]] = {
    "JSON": (request({"user": {"mail": ADDRESS}}), "body.user.mail"),
    "gzip": (request(body=ZIPPED, headers=(("content-encoding", "gzip"),)), "body.m"),
    "query": (request(query=f"em={quote(ADDRESS)}"), "query.em"),
    "path": (request(path=f"/tr/{quote(ADDRESS)}"), "path[1]"),
    "header": (with_header("x-user", ADDRESS), "header.x-user"),
    "cookie": (with_header("cookie", f"a=1; u={ADDRESS}"), "cookie.u"),
    "basic auth": (with_header("authorization", f"Basic {BASIC}"), "header.authorization"),
    "form": (typed(FORM, f"mail={quote(ADDRESS)}".encode()), "body.mail"),
    "multipart": (typed("multipart/form-data; boundary=x", MULTIPART), "body.m"),
    "plain text": (typed("text/plain", ADDRESS.encode()), "body"),
    "base64": (request({"d": B64}), "body.d"),
}


@pytest.mark.parametrize(("sent", "where"), PLACES.values(), ids=PLACES)
def test_a_labelled_value_is_found_wherever_it_stands(sent: OutgoingRequest, where: str) -> None:
    """Body, query, path, header, cookie: the denial names the place, never the value."""
    found = denied(sent)
    assert (found.decision.flow.data, found.decision.flow.recipient) == (EMAIL, "pixel")
    assert found.sent_at.endswith(f"({where})")
    assert ADDRESS not in str(found)


def test_a_request_without_labelled_values_passes() -> None:
    """Other values of the same kind are nobody's business here."""
    with GUARD.purpose(ADS):
        GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        GUARD.egress(request({"user": {"mail": "somebody@else.example"}}))


def test_an_allowed_request_is_the_same_object() -> None:
    """Nothing found, nothing denied, nothing remembered: what is sent is what was given."""
    for mode in ("block", "redact", "flag"):
        made = guard(mode)
        clean, mail = request({"n": 1}), request({"m": ADDRESS}, host="mail.example", path="/send")
        with made.purpose(ACCOUNT):
            assert made.egress(mail) is mail
            made.remember(ADDRESS, made.label(EMAIL))
            assert made.egress(mail) is mail
            assert made.egress(clean) is clean
    flagging = guard("flag")
    with flagging.purpose(ADS):
        flagging.remember(ADDRESS, flagging.label(EMAIL))
        told = request({"m": ADDRESS})
        assert flagging.egress(told) is told


def test_in_mode_redact_what_is_denied_leaves_as_a_placeholder() -> None:
    """Another request is returned; the one that was given stays, and the record says so."""
    memory = Memory()
    made = guard("redact", memory)
    given = request({"m": ADDRESS, "n": 1}, query=f"em={quote(ADDRESS)}&x=1")
    with made.purpose(ADS):
        made.remember(ADDRESS, made.label(EMAIL))
        sent = made.egress(given)
        assert made.egress(sent) is sent
    assert (sent.body, sent.query) == (b'{"m": "[redacted]", "n": 1}', "em=%5Bredacted%5D&x=1")
    assert given == request({"m": ADDRESS, "n": 1}, query=f"em={quote(ADDRESS)}&x=1")
    assert {(record.effect, record.mode) for record in memory.records} == {("redacted", "redact")}
    assert ADDRESS not in str(memory.records)
    assert counts(made)["redacted", "pixel", "redact"] == 1


def test_what_may_go_stays_beside_what_may_not() -> None:
    """One label is denied, the other allowed: only the denied one is taken out."""
    made = guard("redact")
    likes = "blue whale quarterly"
    with made.context(purpose=ADS, facts={"consent": {ADS: True}}):
        made.remember(ADDRESS, made.label(EMAIL))
        made.remember(likes, made.label(LIKES))
        sent = made.egress(request({"m": ADDRESS, "likes": likes}))
    assert sent.body == b'{"m": "[redacted]", "likes": "blue whale quarterly"}'


def test_a_form_that_may_go_stays() -> None:
    """The hashed address is permitted, the address is not."""
    made = guard("redact")
    hashed = hashlib.sha256(ADDRESS.encode()).hexdigest()
    with made.purpose(ADS):
        made.remember(ADDRESS, made.label(EMAIL))
        sent = made.egress(request({"em": hashed, "m": ADDRESS}))
    assert sent.body == json.dumps({"em": hashed, "m": "[redacted]"}).encode()


DOUBTS: dict[str, OutgoingRequest] = {
    "path": request(path=f"/tr/{quote(ADDRESS)}"),
    "binary": typed("image/png", b"\x89PNG\x00" + ADDRESS.encode() + b"\xff\x00"),
    "a stream": request(streaming=True),
    "a stream with something in its head": request(streaming=True, query=f"em={quote(ADDRESS)}"),
    "begun": request(started=True, query=f"em={quote(ADDRESS)}"),
}


@pytest.mark.parametrize("sent", DOUBTS.values(), ids=DOUBTS)
def test_what_cannot_be_redacted_is_blocked(sent: OutgoingRequest) -> None:
    """Mode redact passes nothing that it couldn't take out."""
    made = guard("redact")
    with made.purpose(ADS):
        made.remember(ADDRESS, made.label(EMAIL))
        with pytest.raises(PolicyViolation) as caught:
            made.egress(sent)
    assert ADDRESS not in str(caught.value)
    assert ("deny", "pixel", "redact") in counts(made)


def test_a_body_that_is_one_remembered_picture_is_blocked() -> None:
    """It is known without being read, and can't be taken out."""
    made, picture = guard("redact"), bytes(range(256)) * 3
    with made.purpose(ADS):
        made.remember(picture, made.label(EMAIL))
        with pytest.raises(PolicyViolation):
            made.egress(typed("image/png", picture))


def test_a_scope_that_could_not_remember_everything_redacts_nothing() -> None:
    """What nobody remembers can't be taken out: the request is blocked."""
    made = guard("redact")
    with made.context(purpose=ADS):
        made.remember(object(), made.label(LIKES))
        made.remember(ADDRESS, made.label(EMAIL))
        with pytest.raises(PolicyViolation):
            made.egress(request({"m": ADDRESS}))


def test_a_redaction_that_fails_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks in it, and whatever text the error has."""

    def broken(*_: object) -> OutgoingRequest:
        raise RuntimeError(ADDRESS)

    monkeypatch.setattr(egress, "redacted_request", broken)
    made = guard("redact")
    with made.purpose(ADS):
        made.remember(ADDRESS, made.label(EMAIL))
        with pytest.raises(PolicyViolation) as caught:
            made.egress(request({"m": ADDRESS}))
    assert ADDRESS not in str(caught.value)


def test_where_two_claim_a_host_both_must_be_satisfied() -> None:
    """What either may not have is taken out; where one of them blocks, nothing is sent."""
    shared = request({"page": ADDRESS}, host="shared.example", path="/")
    made = guard("redact")
    with made.purpose(COUNTING):
        made.remember(ADDRESS, made.label(LIKES))
        assert made.egress(shared).body == b'{"page": "[redacted]"}'
    strict = guard("redact")
    strict.modes.entries = [Enforcement(Match(recipient="other_counter"), "block")]
    with strict.purpose(ADS):
        strict.remember(ADDRESS, strict.label(EMAIL))
        with pytest.raises(PolicyViolation) as caught:
            strict.egress(shared)
    assert caught.value.decision.flow.recipient == "other_counter"


@pytest.mark.parametrize(("first", "second"), [("flag", "redact"), ("redact", "flag")])
def test_what_each_of_two_may_not_have_is_taken_out(first: str, second: str) -> None:
    """One label because of the one, another because of the other: neither is sent."""
    made = guard("redact")
    both = ("counter", first), ("other_counter", second)
    made.modes.entries = [
        Enforcement(Match(recipient=name, data=EMAIL), mode)  # type: ignore[arg-type]  # a table names modes as text
        for name, mode in both
    ]
    likes = "blue whale quarterly"
    with made.purpose(COUNTING):
        made.remember(ADDRESS, made.label(EMAIL))
        made.remember(likes, made.label(LIKES))
        sent = made.egress(request({"m": ADDRESS, "l": likes}, host="shared.example", path="/"))
    assert sent.body == b'{"m": "[redacted]", "l": "[redacted]"}'


def test_the_answer_to_a_blocked_request_holds_names_only() -> None:
    """What an integration answers by itself: code, reason, recipient, rules."""
    found = denied(request({"m": ADDRESS}, host="mail.example", scheme="http"), ACCOUNT)
    answer = json.loads(egress.blocked_answer(found))
    assert answer == {
        "schema": "policyguard/blocked/1",
        "blocked": True,
        "code": "PG201",
        "reason": "forbidden",
        "recipient": "mailer",
        "rules": ["encrypted-only"],
    }


def test_nothing_seen_means_nothing_to_look_for() -> None:
    """A scope without labelled values sends what it likes, and nothing is counted."""
    made = guard()
    with made.purpose(ADS):
        made.egress(request({"user": ADDRESS}))
    assert counts(made) == {}


NOBODY = "unknown_recipient"
EVIL = "pixel.example.evil.example"
HOSTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "declared": ({}, "pixel", "not_covered"),
    "declared subdomain": ({"host": "eu.pixel.example", "path": "/"}, "pixel", "not_covered"),
    "upper case, dot": ({"host": "PIXEL.example."}, "pixel", "not_covered"),
    "other path": ({"path": "/track"}, "pixel.example", NOBODY),
    "undeclared": ({"host": "tracker.example"}, "tracker.example", NOBODY),
    "looks declared": ({"host": EVIL}, EVIL, NOBODY),
    "unreadable": ({"host": "a b"}, "unreadable-host", NOBODY),
    "empty": ({"host": ""}, "unreadable-host", NOBODY),
}


@pytest.mark.parametrize(("sent", "recipient", "reason"), HOSTS.values(), ids=HOSTS)
def test_the_host_says_who_gets_it(sent: dict[str, Any], recipient: str, reason: str) -> None:
    """Declared by host and path, or nobody."""
    found = denied(request({"m": ADDRESS}, **sent))
    assert (found.decision.flow.recipient, found.decision.reason) == (recipient, reason)


def test_where_two_claim_a_host_the_stricter_verdict_counts() -> None:
    """One of the two may get it, the other may not: nobody gets it."""
    alone = request({"page": ADDRESS}, host="count.example", path="/")
    shared = request({"page": ADDRESS}, host="shared.example", path="/")
    with GUARD.purpose(COUNTING):
        GUARD.remember(ADDRESS, GUARD.label(LIKES))
        GUARD.egress(alone)
    found = denied(shared, COUNTING, LIKES)
    assert found.decision.flow.recipient == "other_counter"


def test_what_is_allowed_over_https_is_denied_over_http() -> None:
    """The transport is a fact that the guard sees itself."""
    secure = request({"m": ADDRESS}, host="mail.example", path="/send")
    with GUARD.purpose(ACCOUNT):
        GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        GUARD.egress(secure)
    found = denied(request({"m": ADDRESS}, host="mail.example", path="/", scheme="http"), ACCOUNT)
    assert found.decision.rules == ("encrypted-only",)


def test_a_claimed_transport_does_not_count() -> None:
    """What the code says about the transport gives way to what is seen."""
    sent = request({"m": ADDRESS}, host="mail.example", path="/", scheme="http")
    with GUARD.context(purpose=ACCOUNT, facts={"transport": "https"}):
        GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        with pytest.raises(PolicyViolation):
            GUARD.egress(sent)


def test_a_stream_in_a_scope_that_saw_something_cannot_be_told() -> None:
    """A body nobody can read may hold what was seen, whoever gets it."""
    found = denied(request(streaming=True))
    assert found.decision.reason in {"cannot_tell", "unknown_recipient"}
    assert "a body that is streamed" in str(found)
    with GUARD.context(purpose=ADS):
        GUARD.egress(request(streaming=True))


def test_without_a_purpose_nothing_labelled_leaves() -> None:
    """Outside any scope too: what the process saw is remembered."""
    made = guard()
    made.remember(ADDRESS, made.label(EMAIL))
    with pytest.raises(NoPurpose):
        made.egress(request({"m": ADDRESS}, host="mail.example", path="/"))


def test_a_record_names_the_host_and_the_place() -> None:
    """For reports: host, place in the body, where it was about to leave."""
    memory = Memory()
    made = guard("flag", memory)
    with made.purpose(ADS):
        made.remember(ADDRESS, made.label(EMAIL))
        made.egress(request({"m": ADDRESS}, host="Tracker.example."))
    (record,) = memory.records
    assert (record.at, record.host, record.where) == ("http", "tracker.example", "body.m")
    assert record.decision.flow == (EMAIL, RAW, ADS, "tracker.example")
