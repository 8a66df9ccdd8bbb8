"""Bodies of every kind are read into leaves; what can't be read is said to be unreadable."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import struct
import zlib
from collections import deque
from enum import Enum
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyguard.inspectors.payload import Limits, Payload, leaves, value_leaves
from policyguard.labels.registry import Registry
from policyguard.policy.flow import Label

MAIL = "anna.schmidt@example.com"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def at(payload: Payload, value: object = MAIL) -> list[str]:
    """Where a value stands."""
    return [path for path, leaf in payload.leaves if leaf == value]


def multipart(*parts: tuple[str, bytes], boundary: str = "XyZ") -> bytes:
    body = b""
    for head, content in parts:
        body += f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


FIELD = 'Content-Disposition: form-data; name="user[mail]"'
B64 = base64.b64encode(json.dumps({"mail": MAIL}).encode()).decode()

READABLE: dict[str, tuple[bytes, str | None, list[str]]] = {
    "JSON": (b'{"user": {"em": ["%s"]}}', JSON, ["user.em[0]"]),
    "JSON as text": (b'{"a": "%s"}', "text/plain", ["a"]),
    "JSON without a type": (b'[{"a": "%s"}]', None, ["[0].a"]),
    "JSON under a form's type": (b'{"a": "%s"}', FORM, ["a"]),
    "a JSON string": (b'"%s"', JSON, [""]),
    "vendor JSON": (b'{"a": "%s"}', "application/vnd.api+json; charset=utf-8", ["a"]),
    "JSON with a mark": (b'\xef\xbb\xbf{"a": "%s"}', JSON, ["a"]),
    "a JSON key": (b'{"%s": 1}', JSON, ["*#key"]),
    "a key that stands twice": (b'{"a": "%s", "a": 1}', JSON, ["a"]),
    "JSON in a JSON string": (b'{"a": "{\\"b\\": \\"%s\\"}"}', JSON, ["a.b"]),
    "JSON lines": (b'{"a": 1}\n{"a": "%s"}\n', "application/x-ndjson", ["[1].a"]),
    "JSON lines without a type": (b'{"a": 1}\r\n{"a": "%s"}', None, ["[1].a"]),
    "a form": (b"x=1&mail=%s&y=", FORM, ["mail"]),
    "a form without a type": (b"x=1&mail=%s", None, ["mail"]),
    "a form's name": (b"x=1&%s=1", FORM, ["*#key"]),
    "PHP names": (b"user[em][0]=%s", FORM, ["user.em[0]"]),
    "JSON in a form": (b'data=[{"em":"%s"}]', FORM, ["data[0].em"]),
    "text": (b"%s", "text/plain", [""]),
    "HTML": (b"<p>Hi <b>%s</b></p>", "text/html", ["[2]"]),
    "XML without a type": (b"<?xml version='1.0'?><a>%s</a>", None, ["[2]"]),
    "CSV": (b'id;mail\n1;"%s"\n', "text/csv", ["[3]"]),
    "multipart": (multipart((FIELD, b"%s")), "multipart/form-data; boundary=XyZ", ["user.mail"]),
    "multipart, quoted": (
        multipart((FIELD, b"%s"), boundary="X y"),
        'multipart/form-data; boundary="X y"',
        ["user.mail"],
    ),
    "JSON in multipart": (
        multipart((FIELD + "\r\nContent-Type: application/json", b'{"a": "%s"}')),
        "multipart/form-data; boundary=XyZ",
        ["user.mail.a"],
    ),
    "a file's name": (
        multipart((FIELD + '; filename="%s"', b"x")),
        "multipart/form-data; boundary=XyZ",
        ["user.mail#filename"],
    ),
    "nested multipart": (
        multipart(
            ("Content-Type: multipart/mixed; boundary=in", multipart((FIELD, b"%s"), boundary="in"))
        ),
        "multipart/form-data; boundary=XyZ",
        ["user.mail"],
    ),
    "a header of a part": (multipart(("X-Who: %s", b"x")), "multipart/form-data; boundary=XyZ", []),
    "before the first boundary": (
        b"%s\r\n" + multipart((FIELD, b"x")),
        "multipart/form-data; boundary=XyZ",
        [""],
    ),
    "after the last boundary": (
        multipart((FIELD, b"x")) + b"\r\n%s",
        "multipart/form-data; boundary=XyZ",
        [""],
    ),
    "multipart without an end": (
        multipart((FIELD, b"%s"))[:-9],
        "multipart/form-data; boundary=XyZ",
        ["user.mail"],
    ),
}


def filled(body: bytes) -> bytes:
    return body.replace(b"%s", MAIL.encode())


@pytest.mark.parametrize(("body", "kind", "places"), READABLE.values(), ids=READABLE)
def test_a_value_is_a_leaf_of_its_own(body: bytes, kind: str | None, places: list[str]) -> None:
    """A value stands alone at its path, whatever the format and its declaration."""
    payload = leaves(filled(body), kind)
    assert payload.readable, payload.why
    if places:
        assert set(places) <= set(at(payload))
    assert any(isinstance(leaf, str) and MAIL in leaf for _, leaf in payload.leaves)
    assert not any(MAIL in path for path, _ in payload.leaves)


@pytest.mark.parametrize(("body", "kind", "places"), READABLE.values(), ids=READABLE)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate", "unsaid gzip"])
def test_one_compression_layer(
    body: bytes, kind: str | None, places: list[str], coding: str
) -> None:
    """A compressed body gives the leaves of the plain one."""
    plain = filled(body)
    squeezed, said = {
        "gzip": (gzip.compress(plain), "gzip"),
        "deflate": (zlib.compress(plain), "deflate"),
        "raw deflate": (zlib.compress(plain)[2:-4], "Deflate"),
        "unsaid gzip": (gzip.compress(plain), None),
    }[coding]
    assert leaves(squeezed, kind, encoding=said) == leaves(plain, kind)


@pytest.mark.parametrize(
    "charset", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp037"]
)
@pytest.mark.parametrize("declared", [True, False])
def test_other_charsets(charset: str, declared: bool) -> None:
    """A body is read in its declared charset and, for the wide ones, also without declaration."""
    body = json.dumps({"a": MAIL}).encode(charset)
    if not declared and charset in ("utf-7", "cp037"):
        return
    kind = f"{JSON}; charset={charset}" if declared else JSON
    assert at(leaves(body, kind)) == ["a"]


@pytest.mark.parametrize(
    "charset", ["utf-16", "latin-1", "utf-7", "nonsense", "hex", "rot13", '"utf-8"']
)
def test_a_wrong_charset_hides_nothing(charset: str) -> None:
    """UTF-8 that is declared to be something else is still read."""
    body = json.dumps({"a": MAIL, "b": "zwölf"}, ensure_ascii=False).encode()
    assert "a" in at(leaves(body, f"{JSON}; charset={charset}"))


BOMB = gzip.compress(b"0" * 20_000_000)

UNREADABLE: dict[str, tuple[bytes, str | None, str | None, str]] = {
    "two layers, said": (
        gzip.compress(gzip.compress(b"x")),
        None,
        "gzip, gzip",
        "nested compression",
    ),
    "two layers, unsaid": (gzip.compress(gzip.compress(b"x")), None, "gzip", "nested compression"),
    "a bomb": (BOMB, JSON, "gzip", "decompresses beyond the cap"),
    "an unsaid bomb": (BOMB, JSON, None, "decompresses beyond the cap"),
    "an unknown coding": (b"x", JSON, "snappy", "unknown compression"),
    "damaged gzip": (gzip.compress(b"x" * 99)[:-5], JSON, "gzip", "damaged compression"),
    "no gzip at all": (b"plain", JSON, "gzip", "damaged compression"),
    "deep JSON": (b"[" * 100_000 + b"]" * 100_000, JSON, None, "nested too deep"),
    "deep objects": (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, JSON, None, "nested too deep"),
    "deep without an end": (b"[" * 100_000, JSON, None, "nested too deep"),
    "broken JSON": (b'{"a": ', JSON, None, "not the JSON that it is declared to be"),
    "a broken line": (b'{"a": 1}\n{"a"\n', JSON, None, "a line that is no JSON"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(99), "image/png", None, "binary body"),
    "protobuf": (b"\n\x18" + MAIL.encode(), "application/x-protobuf", None, "binary body"),
    "bytes": (b"\xff\xfe\xfd\x00\x81" * 9, None, None, "binary body"),
    "no boundary": (
        multipart((FIELD, b"x")),
        "multipart/form-data",
        None,
        "multipart without its boundary",
    ),
    "a wrong boundary": (
        multipart((FIELD, b"x")),
        "multipart/form-data; boundary=no",
        None,
        "multipart without its boundary",
    ),
    "an image in multipart": (
        multipart((FIELD + "\r\nContent-Type: image/png", b"\x89PNG")),
        "multipart/form-data; boundary=XyZ",
        None,
        "binary body",
    ),
}


@pytest.mark.parametrize(("body", "kind", "encoding", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_can_not_be_read_says_so(
    body: bytes, kind: str | None, encoding: str | None, why: str
) -> None:
    """A body that can't be read in full is unreadable for a reason without content."""
    payload = leaves(body, kind, encoding=encoding)
    assert (payload.readable, payload.why) == (False, why)


def test_caps() -> None:
    """Size and number of leaves are bounded; what was read before is kept."""
    big = leaves(MAIL.encode() + b" " * 2_000, "text/plain", limits=Limits(body=1_000))
    assert (big.readable, big.why) == (False, "larger than the cap")
    many = leaves(json.dumps(["x", MAIL] * 100).encode(), JSON, limits=Limits(leaves=50))
    assert (many.readable, many.why, len(many.leaves)) == (False, "too many parts", 50)


def test_what_is_unreadable_is_still_searched() -> None:
    """Text in a binary, broken or mislabelled body is a leaf."""
    for body, kind in (
        (b"\n\x18" + MAIL.encode() + b"\x12\x00", "application/x-protobuf"),
        (b"\x00\x01" + MAIL.encode("utf-16-le") + b"\x00\xff\x81", "application/octet-stream"),
        (b'{"a": "%s"' % MAIL.encode(), JSON),
        (multipart((FIELD, MAIL.encode())), "multipart/form-data; boundary=other"),
    ):
        payload = leaves(body, kind)
        assert not payload.readable
        assert any(MAIL in leaf for _, leaf in payload.leaves if isinstance(leaf, str))


def test_vectors_are_one_leaf() -> None:
    """At least 16 numbers in a row are one leaf; fewer are many."""
    vector = [0.25 * number for number in range(16)]
    payload = leaves(json.dumps({"v": vector, "w": vector[:3]}).encode(), JSON)
    assert at(payload, tuple(vector)) == ["v"]
    assert at(payload, 0.5) == ["w[2]"]
    packed = leaves(struct.pack("<16f", *vector), "application/octet-stream")
    assert at(packed, struct.pack("<16f", *vector)) == [""]


def test_documents_inside_strings() -> None:
    """JSON, base64 of JSON, gzip in base64, tokens, URLs and forms inside a string are read."""
    inner = json.dumps({"mail": MAIL})
    squeezed = base64.b64encode(gzip.compress(inner.encode())).decode()
    token = f"{B64.rstrip('=')}.{B64.rstrip('=')}.c2ln"
    for text, place in (
        (inner, "a.mail"),
        (quote(inner), "a.mail"),
        (B64, "a.mail"),
        (squeezed, "a.mail"),
        (token, "a.mail"),
        (f"https://shop.example/x?{urlencode({'mail': MAIL})}#top", "a?mail"),
        (f"x=1&mail={quote(MAIL)}", "a?mail"),
    ):
        payload = leaves(json.dumps({"a": text}).encode(), JSON)
        assert place in at(payload), text
        assert ("a", text) in payload.leaves


def test_giant_and_odd_numbers() -> None:
    """Integers that Python refuses to read stay text; NaN is a number."""
    body = b'{"a": ' + b"9" * 6_000 + b', "b": NaN, "c": 1e999, "d": -Infinity}'
    payload = leaves(body, JSON)
    assert payload.readable
    assert at(payload, "9" * 6_000) == ["a"]


def test_nothing_to_read_is_readable() -> None:
    """No body, an empty one and white space are clean."""
    for body in (None, b"", b" \r\n"):
        assert leaves(body, JSON) == Payload((), readable=True, why="")


def test_nothing_in_reprs() -> None:
    """A payload shows counts only."""
    payload = leaves(json.dumps({MAIL: MAIL}).encode(), JSON)
    assert repr(payload) == "Payload(leaves=2, readable=True, why='')"


def test_paths_hold_names_only() -> None:
    """A key that may be data is starred: addresses, long numbers, spaces, other alphabets."""
    keys = [MAIL, "4917012345678", "Anna Schmidt", "Мария", "x" * 80, "ok_name", "$set"]
    payload = leaves(json.dumps(dict.fromkeys(keys, True)).encode(), JSON)
    assert [path for path, _ in payload.leaves] == [*["*#key"] * 5, "ok_name#key", "$set#key"]


@dataclasses.dataclass
class Event:
    who: str
    what: dict[str, Any]


class Kind(Enum):
    MAIL = MAIL


class Hostile(dict[str, Any]):
    def items(self) -> Any:
        raise AssertionError("application code was called")

    __iter__ = keys = __getitem__ = __repr__ = items  # type: ignore[assignment]


class Opaque:
    def __getattribute__(self, name: str) -> Any:
        raise AssertionError("application code was called")


def test_values_of_the_application() -> None:
    """Containers and dataclasses are read by their base types; other objects are unreadable."""
    event = Event("x", Hostile(mail=MAIL))
    assert at(value_leaves([event])) == ["[0].what.mail"]
    assert value_leaves([event]).readable
    assert at(value_leaves({"kind": deque([Kind.MAIL])})) == ["kind[0]"]
    opaque = value_leaves({"a": Opaque(), "b": MAIL})
    assert (opaque.readable, opaque.why) == (False, "unknown object")
    assert at(opaque) == ["b"]
    cycle: list[object] = [MAIL]
    cycle.append(cycle)
    assert value_leaves(cycle).why == "nested too deep"


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from(
        [None, JSON, FORM, "text/html", "multipart/x; boundary=a", "text/x; charset=utf-16"]
    ),
    st.sampled_from([None, "gzip", "deflate", "br", "zstd", "x, y"]),
)
def test_no_body_raises(body: bytes, kind: str | None, encoding: str | None) -> None:
    """Whatever bytes come, the answer is a payload whose reason holds none of them."""
    payload = leaves(body, kind, encoding=encoding)
    assert payload.readable is (payload.why == "")
    assert payload.why.replace(" ", "").isalpha() or payload.readable


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(TREES, st.sampled_from(["plain", "gzip", "utf-16", "in a string"]))
def test_every_text_of_a_document_is_a_leaf(tree: object, dress: str) -> None:
    """No text of a JSON document, key or value, is missing from the leaves."""
    texts: list[str] = []
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, dict):
            texts += node
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node
    text = json.dumps({"root": tree})
    body = {
        "plain": text.encode(),
        "gzip": gzip.compress(text.encode()),
        "utf-16": text.encode("utf-16"),
        "in a string": json.dumps([text]).encode(),
    }[dress]
    found = {leaf for _, leaf in leaves(body, JSON).leaves if isinstance(leaf, str)}
    assert found.issuperset(texts)


MORE_CODINGS = {
    "br": b'\x0b\x10\x80{"a": "anna.schmidt@example.com"}\x03',
    "zstd": b'(\xb5/\xfd !\t\x01\x00{"a": "anna.schmidt@example.com"}',
}


@pytest.mark.parametrize("coding", MORE_CODINGS)
def test_codings_that_need_a_library(coding: str) -> None:
    """With a library brotli and zstd are read; without one, or cut short, they are unreadable."""
    body = MORE_CODINGS[coding]
    payload = leaves(body, JSON, encoding=coding)
    assert at(payload) == ["a"] or payload.why == "no library for this compression"
    cut = leaves(body[:-3], JSON, encoding=coding)
    assert cut.why in ("damaged compression", "no library for this compression")


def test_endless_values_end() -> None:
    """A container that holds itself twice would never end; it is left at the cap."""
    cycle: list[object] = []
    cycle += [cycle, cycle]
    assert not value_leaves(cycle, limits=Limits(leaves=1_000)).readable


@pytest.mark.parametrize(
    "text",
    [
        '"' + '\\"' * 200_000,
        "[" * 150 + '"' + '\\"' * 200_000,
        "[[]" * 200_000,
        "{[" * 100_000 + "]}" * 100_000,
        "=" * 300_000,
        "a=b&" * 100_000 + " ",
        "<" * 300_000,
        "%" * 300_000,
        "a" * 300_000 + "!",
    ],
    ids=lambda text: text[:4],
)
def test_crafted_bodies_end_soon(text: str) -> None:
    """No body makes the reading quadratic: 300 KB would then take minutes."""
    registry = Registry()
    registry.remember([MAIL, [0.5 * place**2 for place in range(32)]], (Label("user"),))
    leaves(text.encode(), JSON)
    leaves(text.encode(), "multipart/form-data; boundary=a" + text[:9_000])
    registry.search(leaves(text.encode(), None).leaves)
