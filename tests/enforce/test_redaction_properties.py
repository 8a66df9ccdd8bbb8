"""Whatever dress a denied value wears, nothing of it is left after redaction; the rest is."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_plus

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policyguard.enforce.redact_request import redacted_request
from policyguard.enforce.redaction import redacted_value
from policyguard.inspectors.http import OutgoingRequest
from policyguard.labels.registry import Registry
from policyguard.labels.typed import REDACTED
from policyguard.policy.flow import Label

SECRETS = ("anna.schmidt@mail.example.org", "quillfeather-9482-blackbird-ivory")
LABEL = Label("user.contact.email", source="users.email")
KNOWN = Registry(b"key")
KNOWN.remember(list(SECRETS), (LABEL,))


def _base64(shift: int) -> Callable[[str], str]:
    return lambda secret: base64.b64encode(b"xy"[:shift] + secret.encode() + b"!").decode()


def _utf16(secret: str) -> str:
    return base64.b64encode(secret.encode("utf-16-le")).decode()


DRESSES: dict[str, Callable[[str], str]] = {
    "raw": str,
    "upper case": str.upper,
    "escaped": lambda secret: "".join(f"\\u{ord(sign):04x}" for sign in secret),
    "percent": lambda secret: quote(secret, safe=""),
    "every sign percent": lambda secret: "".join(f"%{ord(sign):02X}" for sign in secret),
    "base64, first alignment": _base64(0),
    "base64, second alignment": _base64(1),
    "base64, third alignment": _base64(2),
    "base64 of the URL": lambda secret: base64.urlsafe_b64encode(f"?{secret}?".encode()).decode(),
    "hexadecimal": lambda secret: secret.encode().hex(),
    "UTF-16": _utf16,
    "gzip": lambda secret: base64.b64encode(gzip.compress(secret.encode(), mtime=0)).decode(),
    "JSON in JSON": lambda secret: json.dumps({"inner": [secret]}),
}
FRAMES = (("", ""), ("to ", " now"), ("a=", ""), ("<b>", "</b>"))
# A compressed value is read where it stands alone.
planted = st.sampled_from(
    [
        before + DRESSES[dress](secret) + after
        for dress in DRESSES
        for secret in SECRETS
        for before, after in (FRAMES[:1] if dress == "gzip" else FRAMES)
    ]
)
harmless = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet='xyzXYZ 019é€"\\/{}[]:,&=%+\n', max_size=12)
)
names = st.text(alphabet="xyz_9", min_size=1, max_size=6)
documents = st.recursive(
    harmless | planted,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | planted, inner, max_size=4),
    max_leaves=12,
)


def plain(text: str) -> str:
    """What a curious reader makes of a text: every decoding after every other, all in one."""
    seen, todo = {text}, [text]
    while todo and len(seen) < 500:
        for view in _read(todo.pop()):
            if view not in seen:
                seen.add(view)
                todo.append(view)
    return "\n".join(seen).lower()


def _read(text: str) -> list[str]:
    found = [unquote_plus(text), text.replace("\0", "")]
    found.append(re.sub(r"\\u([0-9a-f]{4})", lambda sign: chr(int(sign[1], 16)), text))
    for word in (
        text.replace('"', " ").replace("<", " ").replace(">", " ").replace("=", " ").split()
    ):
        for cut in (word, word[:-1], word[1:]):
            found += _bytes(cut)
    return found


def _bytes(word: str) -> list[str]:
    made: list[bytes] = []
    for read in (bytes.fromhex, _unbase64):
        try:
            made.append(read(word))
        except ValueError:
            continue
    return [_unzipped(data).decode("latin-1") for data in made if data]


def _unbase64(word: str) -> bytes:
    return base64.b64decode(word.replace("-", "+").replace("_", "/") + "=" * (-len(word) % 4))


def _unzipped(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError):
        return data


def tells(text: str) -> bool:
    """Whether a curious reader finds a secret in a text."""
    read = plain(text)
    return any(secret in read for secret in SECRETS)


def expected(value: Any) -> Any:
    """The same by hand: each text or key that tells is the placeholder."""
    if isinstance(value, str):
        return REDACTED if tells(value) else value
    if isinstance(value, list):
        return [expected(item) for item in value]
    if isinstance(value, dict):
        return {expected(key): expected(item) for key, item in value.items()}
    return value


MORE = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@MORE
@given(documents)
def test_a_value_keeps_everything_but_what_is_denied(value: Any) -> None:
    """The copy is what one would make by hand; nothing denied is in it; the original stays."""
    before = json.dumps(value)
    made = redacted_value(value, KNOWN, lambda label: label.data == LABEL.data)
    assert made.complete
    assert made.value == expected(value)
    assert not tells(json.dumps(made.value, ensure_ascii=False))
    assert json.dumps(value) == before
    assert redacted_value(made.value, KNOWN, lambda _: True) == made


@MORE
@given(documents, st.sampled_from([None, 1]), st.booleans(), st.booleans())
def test_a_json_body_keeps_everything_but_what_is_denied(
    value: Any, indent: int | None, ascii_only: bool, packed: bool
) -> None:
    """The same for bodies, whatever their layout and charset, compressed or not."""
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    headers = [("content-type", "application/json")]
    if packed:
        body = gzip.compress(body)
        headers.append(("content-encoding", "gzip"))
    sent = OutgoingRequest("POST", "x.example", "https", "/", headers=tuple(headers), body=body)
    made = redacted_request(sent, KNOWN, lambda _: True)
    assert made is not None
    assert made.body is not None
    text = (gzip.decompress(made.body) if packed else made.body).decode()
    wanted = expected(value)
    assert json.loads(text) == wanted
    assert not tells(text)
    if wanted == value:
        assert made is sent
    if ascii_only and not _has_twice(value):
        assert text == json.dumps(wanted, indent=indent)
    assert redacted_request(made, KNOWN, lambda _: True) is made


def _has_twice(value: Any) -> bool:
    """Whether two keys of one object become the same placeholder: a dict keeps only one."""
    if isinstance(value, list):
        return any(map(_has_twice, value))
    if not isinstance(value, dict):
        return False
    return len(expected(value)) < len(value) or any(map(_has_twice, value.values()))


@MORE
@given(st.lists(st.tuples(names | planted, st.text("xyz 9é", max_size=5) | planted), max_size=5))
def test_a_query_keeps_everything_but_what_is_denied(pairs: list[tuple[str, str]]) -> None:
    """The same for query strings: each pair by itself, or nothing at all."""
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    sent = OutgoingRequest("GET", "x.example", "https", "/", query=query)
    made = redacted_request(sent, KNOWN, lambda _: True)
    assert made is not None
    assert made.query == "&".join(
        f"{quote(expected(name), safe='')}={quote(expected(value), safe='')}"
        for name, value in pairs
    )
    assert not tells(made.query)


@MORE
@given(planted, st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1"]))
def test_a_text_body_is_replaced_or_not_sent(text: str, charset: str) -> None:
    """Whatever the charset: nothing denied is left, or there is no request."""
    kind = (("content-type", f"text/plain; charset={charset}"),)
    body = text.encode(charset)
    sent = OutgoingRequest("POST", "x.example", "https", "/", headers=kind, body=body)
    made = redacted_request(sent, KNOWN, lambda _: True)
    if made is not None:
        assert made.body is not None
        assert not tells(made.body.decode(charset))


@MORE
@given(planted)
def test_the_curious_reader_sees_through_every_dress(text: str) -> None:
    """What the properties above rest on."""
    assert tells(text)
    assert not tells(REDACTED)
