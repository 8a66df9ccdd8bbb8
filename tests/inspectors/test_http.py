"""Every part of a request is read; recipient and transport follow the connection."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyguard.inspectors.http import OutgoingRequest, parts, recipients_of, transport_of
from policyguard.labels.registry import Registry
from policyguard.policy.flow import Label
from policyguard.policy.hosts import HostTable, parse_host_pattern

if TYPE_CHECKING:
    from collections.abc import Callable

MAIL = "anna.schmidt@example.com"
LABELS = (Label("user.contact.email", source="users.email"),)
PLAIN = OutgoingRequest("POST", "www.facebook.com", "https", "/tr")


def json_body(value: object, **more: Any) -> OutgoingRequest:
    headers = (("Content-Type", "application/json"),)
    return replace(PLAIN, headers=headers, body=json.dumps(value).encode(), **more)


def bearer(user: str) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": user}).encode()).decode()
    return f"Bearer e30.{claims.rstrip('=')}.c2ln"


def byte_headers(value: str) -> Any:
    """What some clients hand over instead of text."""
    return ((b"X-User", value.encode()),)


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:x".encode()).decode()


PLACES: dict[str, tuple[Callable[[str], OutgoingRequest], str]] = {
    "query": (lambda text: replace(PLAIN, query=urlencode({"em": text})), "query.em"),
    "query's name": (lambda text: replace(PLAIN, query=f"{quote(text)}=1"), "query.*#key"),
    "query alone": (lambda text: replace(PLAIN, query=quote(text)), "query.*"),
    "path": (lambda text: replace(PLAIN, path=f"/u/{quote(text, safe='')}/x"), "path[1]"),
    "host": (lambda text: replace(PLAIN, host=text.replace("@", "-at-") + ".evil.test"), "host"),
    "header": (lambda text: replace(PLAIN, headers=(("X-User", text),)), "header.x-user"),
    "header's name": (lambda text: replace(PLAIN, headers=((text, "1"),)), "header.*#key"),
    "user agent": (
        lambda text: replace(PLAIN, headers=(("user-agent", f"app {text}"),)),
        "header.user-agent",
    ),
    "referer": (
        lambda text: replace(PLAIN, headers=(("Referer", f"https://a.test/?m={quote(text)}"),)),
        "header.referer?m",
    ),
    "cookie": (
        lambda text: replace(PLAIN, headers=(("Cookie", f"a=1; who={quote(text)}"),)),
        "cookie.who",
    ),
    "basic auth": (
        lambda text: replace(PLAIN, headers=(("Authorization", basic(text)),)),
        "header.authorization.user",
    ),
    "bearer token": (
        lambda text: replace(PLAIN, headers=(("Authorization", bearer(text)),)),
        "header.authorization.bearer.sub",
    ),
    "JSON": (lambda text: json_body({"user_data": {"em": [text]}}), "body.user_data.em[0]"),
    "JSON list": (lambda text: json_body([text]), "body[0]"),
    "gzip": (
        lambda text: replace(
            PLAIN,
            headers=(("content-encoding", "gzip"),),
            body=gzip.compress(json.dumps({"em": text}).encode()),
        ),
        "body.em",
    ),
    "form": (lambda text: replace(PLAIN, body=urlencode({"x": 1, "em": text}).encode()), "body.em"),
    "text": (lambda text: replace(PLAIN, body=f"hello {text}!".encode()), "body"),
    "header in bytes": (
        lambda text: replace(PLAIN, headers=byte_headers(text)),
        "header.x-user",
    ),
}
DRESSES: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "upper case": str.upper,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "url-safe": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "hexadecimal": lambda text: text.encode().hex(),
    "percent": lambda text: quote(text, safe=""),
    "sha256": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "md5": lambda text: hashlib.md5(text.encode()).hexdigest(),
}
ODD_PLACES = {"host", "query's name", "header's name"}


@pytest.mark.parametrize("place", [place for place in PLACES if place != "host"])
def test_a_value_is_found_where_it_stands(place: str) -> None:
    """A remembered value is found in each part of a request, and the path names the part."""
    request, where = PLACES[place][0](MAIL), PLACES[place][1]
    registry = Registry()
    registry.remember(MAIL, LABELS)
    payload = parts(request)
    assert payload.readable, payload.why
    found = registry.search(payload.leaves)
    assert (where, "strong") in [(found.where, found.strength) for found in found]
    assert "schmidt" not in repr(found) + repr(request) + repr(payload)


@pytest.mark.parametrize("place", PLACES)
def test_a_clean_request_gives_nothing(place: str) -> None:
    """A request without the value gives no evidence at all."""
    registry = Registry()
    registry.remember([MAIL, "Anna Schmidt", "+49 170 1234567"], LABELS)
    assert registry.search(parts(PLACES[place][0]("berta@meier.example")).leaves) == ()


EMAILS = st.from_regex(
    r"[a-z][a-z0-9]{2,10}([._-][a-z0-9]{1,8})?@[a-z]{3,12}\.(com|example)", fullmatch=True
)


@settings(max_examples=300, deadline=None)
@given(EMAILS, st.sampled_from(sorted(set(PLACES) - ODD_PLACES)), st.sampled_from(sorted(DRESSES)))
def test_any_address_in_any_place_and_dress(email: str, place: str, dress: str) -> None:
    """No combination of place and encoding hides an address; another one gives nothing strong."""
    leaves = parts(PLACES[place][0](DRESSES[dress](email))).leaves
    registry, other = Registry(), Registry()
    registry.remember({"id": 7, "email": email}, LABELS)
    other.remember("x" + email[::-1], LABELS)
    assert "strong" in {found.strength for found in registry.search(leaves)}
    assert other.search(leaves) == ()


def test_a_subdomain_can_carry_data() -> None:
    """A value in the host name is evidence too."""
    registry = Registry()
    registry.remember("tok9f8a7b6c5d4e3f2a1b0", LABELS)
    request = replace(PLAIN, host="tok9f8a7b6c5d4e3f2a1b0.evil.test")
    assert [found.where for found in registry.search(parts(request).leaves)] == ["host"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1, 1, width=32), min_size=32, max_size=128, unique=True), st.integers(0, 5)
)
def test_a_vector_in_any_container(vector: list[float], kind: int) -> None:
    """A face embedding is found as JSON, rounded, packed, in base64, in a form and as an object."""
    registry = Registry()
    registry.remember(vector, LABELS)
    single = array("f", vector).tobytes()
    request = [
        lambda: json_body({"props": {"v": vector}}),
        lambda: json_body({"v": list(array("f", vector))}),
        lambda: replace(PLAIN, body=b"\n\x08\x01" + single),
        lambda: json_body({"v": base64.b64encode(single).decode()}),
        lambda: replace(PLAIN, body=urlencode({"v": vector}, doseq=True).encode()),
        lambda: json_body({str(place): number for place, number in enumerate(vector)}),
    ][kind]()
    found = registry.search(parts(request).leaves)
    assert "strong" in {found.strength for found in found} or not registry._index.vectors.count


def test_transport_headers_are_no_leaves() -> None:
    """Headers that a client sets about the transport are left out."""
    request = replace(
        PLAIN, headers=(("Content-Length", "5"), ("HOST", "x"), ("accept", "*/*")), body=b"hello"
    )
    assert parts(request).leaves == (
        ("host", "www.facebook.com"),
        ("path[0]", "tr"),
        ("body", "hello"),
    )


def test_a_stream_is_unreadable() -> None:
    """A body that can't be seen is not a clean one; none at all is."""
    streamed = parts(replace(PLAIN, streaming=True))
    assert (streamed.readable, streamed.why) == (False, "a body that is streamed")
    assert parts(replace(PLAIN, method="HEAD")).readable
    assert parts(replace(PLAIN, streaming=True, body=b"known")).readable


def test_two_content_encodings_are_two_layers() -> None:
    """Repeated headers add up, as they do for the receiver."""
    headers = (("Content-Encoding", "gzip"), ("content-encoding", "gzip"))
    body = gzip.compress(gzip.compress(MAIL.encode()))
    assert parts(replace(PLAIN, headers=headers, body=body)).why == "nested compression"


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=60),
    st.text(max_size=60),
    st.lists(st.tuples(st.text(), st.text()), max_size=3),
    st.binary(max_size=80),
)
def test_no_request_raises(
    path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Whatever a client hands over, the answer is a payload."""
    request = replace(PLAIN, path=path, query=query, headers=tuple(headers), body=body)
    payload = parts(request)
    assert payload.readable is (payload.why == "")


TRANSPORTS = {
    "https": ("https", "example.com", "https"),
    "upper case": ("HTTPS", "example.com", "https"),
    "secure socket": ("wss", "example.com", "https"),
    "clear": ("http", "example.com", "http"),
    "private network": ("http", "10.0.0.1", "http"),
    "loopback": ("http", "127.0.0.1", "local"),
    "all of 127": ("http", "127.9.9.9", "local"),
    "IPv6 loopback": ("http", "[::1]", "local"),
    "mapped loopback": ("http", "[::ffff:127.0.0.1]", "local"),
    "localhost": ("http", "localhost", "local"),
    "a lookalike": ("http", "localhost.evil.test", "http"),
    "another": ("http", "127.0.0.1.evil.test", "http"),
    "everywhere": ("http", "0.0.0.0", "http"),
    "unix": ("http+unix", "%2Frun%2Fx.sock", "local"),
    "unix socket": ("http", "unix:/run/x.sock", "local"),
    "unknown": ("gopher", "example.com", "http"),
}
RECIPIENTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "as declared": ("www.facebook.com", "/tr", ("pixel",)),
    "other case, dot": ("WWW.Facebook.COM.", "/tr/", ("pixel",)),
    "port, user": ("me@www.facebook.com:443", "/tr", ("pixel",)),
    "other path": ("www.facebook.com", "/track", ()),
    "hidden path": ("www.facebook.com", "/x/%2e%2e/tr", ("pixel",)),
    "below a suffix": ("a.b.internal", "/", ("self",)),
    "a lookalike": ("evilinternal", "/", ()),
    "no host": ("a\\@b", "/tr", ()),
    "escaped dot": ("a%2eb", "/", ()),
    "decimal address": ("2130706433", "/", ("loop",)),
    "empty": ("", "/", ()),
}


@pytest.mark.parametrize(("scheme", "host", "transport"), TRANSPORTS.values(), ids=TRANSPORTS)
def test_transport(scheme: str, host: str, transport: str) -> None:
    """TLS is https; only sockets and loopback are local; all else is in clear."""
    assert transport_of(replace(PLAIN, scheme=scheme, host=host)) == transport


@pytest.mark.parametrize(("host", "path", "recipients"), RECIPIENTS.values(), ids=RECIPIENTS)
def test_recipients(host: str, path: str, recipients: tuple[str, ...]) -> None:
    """Who gets a request is told by the host that the client connects with, canonical."""
    table = HostTable(
        [
            ("pixel", [parse_host_pattern("www.facebook.com/tr")]),
            ("self", [parse_host_pattern("*.internal")]),
            ("loop", [parse_host_pattern("127.0.0.1")]),
        ]
    )
    assert recipients_of(table, replace(PLAIN, host=host, path=path)) == recipients
