"""A request is sent without what is denied, byte for byte the rest; or it is not sent."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from array import array
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from policyguard.enforce.redact_request import redacted_request
from policyguard.inspectors.http import OutgoingRequest
from policyguard.labels.registry import Registry
from policyguard.policy.flow import Label
from tests.enforce.kit import ADDRESS, EMAIL, FACE

VECTOR = [((number * 7919) % 1009) / 1009 for number in range(64)]
PICTURE = bytes(range(256)) * 3
Q = "%5Bredacted%5D"
B64 = base64.b64encode(f"to {ADDRESS}".encode()).decode()
BASIC = base64.b64encode(f"{ADDRESS}:pw".encode()).decode()
FORM = "application/x-www-form-urlencoded"


def registry() -> Registry:
    """One in which an address, a vector, a picture and allowed data are remembered."""
    made = Registry(b"key")
    made.remember(ADDRESS, (Label(EMAIL, source="users.email"),))
    made.remember(VECTOR, (Label(FACE, source="faces.embedding"),))
    made.remember(491701234567, (Label("user.contact.phone_number", source="users.phone"),))
    made.remember(PICTURE, (Label("user.content", source="pictures.data"),))
    made.remember("blue whale quarterly", (Label("user.behavior", source="users.likes"),))
    return made


def denied(label: Label) -> bool:
    """Behaviour may go, nothing else."""
    return label.data != "user.behavior"


def request(**given: Any) -> OutgoingRequest:
    """A request to the pixel."""
    plain: dict[str, Any] = {"method": "POST", "host": "pixel.example", "scheme": "https"}
    return OutgoingRequest(**{**plain, "path": "/tr", **given})


def sent(outgoing: OutgoingRequest) -> OutgoingRequest | None:
    """The request as it may leave; a second time changes nothing."""
    made = redacted_request(outgoing, registry(), denied)
    if made is not None:
        assert redacted_request(made, registry(), denied) is made
    return made


def body(kind: str, content: str | bytes, encoding: str = "") -> OutgoingRequest:
    """A request with a body of this content type."""
    data = content.encode() if isinstance(content, str) else content
    headers = [("Content-Type", kind), ("content-length", str(len(data)))]
    headers += [("Content-Encoding", encoding)] if encoding else []
    return request(body=data, headers=tuple(headers))


ODD_JSON = (
    '\ufeff {"a" : 1.50, "m":"%s",\r\n "big":123456789012345678901234567890, "a":[1e5, -0],'
    ' "deep":{"x":[true,null,"\\u00e9","%e"]}, "e":{}, "l":[] }\n'
)
ESCAPED = "\\u0061nna.schmidt\\u0040mail.example.org"
PART = 'Content-Disposition: form-data; name="{}"\r\n{}\r\n'
MANY = (
    "preamble\r\n--b\r\n"
    + PART.format("m", "")
    + "{0}\r\n--b\r\n"
    + PART.format("n", "")
    + "kept\r\n--b\r\n"
    + PART.format("j", "Content-Type: application/json\r\n")
    + '{{"k": 1, "m": "{0}"}}\r\n--b\r\n'
    + PART.format('f"; filename="a.bin', "")
    + "\x01\x02 kept\r\n--b--\r\n"
)
MULTI = "multipart/form-data; boundary=b"
NUMBERS = ", ".join(map(repr, VECTOR))
SPELT = ", ".join(f'"e{place}": {value!r}' for place, value in enumerate(VECTOR))
JSON = "application/json"
BODIES: dict[str, tuple[str, str, str]] = {
    "JSON": (JSON, '{"m": "%s", "n": 1}'.replace("%s", ADDRESS), '{"m": "[redacted]", "n": 1}'),
    "JSON, as it was written": (
        JSON,
        ODD_JSON.replace("%s", ADDRESS).replace("%e", ESCAPED),
        ODD_JSON.replace("%s", "[redacted]").replace("%e", "[redacted]"),
    ),
    "JSON, a key": (JSON, '{"%s": 1, "n": 2}'.replace("%s", ADDRESS), '{"[redacted]": 1, "n": 2}'),
    "JSON, one text": (JSON, f'"{ADDRESS}"', '"[redacted]"'),
    "JSON, undeclared": ("", '[1, "%s"]'.replace("%s", ADDRESS), '[1, "[redacted]"]'),
    "JSON, an inner document": (
        JSON,
        json.dumps({"d": B64, "n": 1}),
        '{"d": "[redacted]", "n": 1}',
    ),
    "JSON, a vector": (
        JSON,
        '{"f": [%s], "n": [1, 2]}'.replace("%s", NUMBERS),
        '{"f": "[redacted]", "n": [1, 2]}',
    ),
    "JSON, a vector spelt out": (
        JSON,
        '{"v": {%s}, "n": 1}'.replace("%s", SPELT),
        '{"v": "[redacted]", "n": 1}',
    ),
    "JSON, a number": (JSON, '{"p": 491701234567, "n": 1}', '{"p": "[redacted]", "n": 1}'),
    "JSON, deep": (
        JSON,
        "[" * 190 + f'"{ADDRESS}"' + "]" * 190,
        "[" * 190 + '"[redacted]"' + "]" * 190,
    ),
    "JSON lines": (
        "application/x-ndjson",
        '{"n": 1}\n{"m": "%s"}\r\n\n{"n":2}\n'.replace("%s", ADDRESS),
        '{"n": 1}\n{"m": "[redacted]"}\r\n\n{"n":2}\n',
    ),
    "a form": (FORM, f"a=%20+b&m={quote(ADDRESS)}&&c", f"a=%20+b&m={Q}&&c"),
    "a form, a name": (FORM, f"{quote(ADDRESS)}=1&n=2", f"{Q}=1&n=2"),
    "a form, undeclared": ("", f"a=1&m={ADDRESS}", f"a=1&m={Q}"),
    "text": ("text/plain", f"send it to {ADDRESS}, please", "[redacted]"),
    "XML": (
        "application/xml",
        f'<?xml version="1.0"?>\n<a x="1"><m>{ADDRESS}</m><n>1 &amp; 2</n></a>',
        '<?xml version="1.0"?>\n<a x="1"><m>[redacted]</m><n>1 &amp; 2</n></a>',
    ),
    "CSV": ("text/csv", f'id,mail\n1,"{ADDRESS}"\n2,x\n', "id,mail\n1,[redacted]\n2,x\n"),
    "CSV, quoted": (
        "text/csv",
        f'a,b\r\n"x, {ADDRESS}",2\r\n"say ""{ADDRESS}""\nhere";"x, y"\r\n "q,""r""" ,{ADDRESS}\r\n',
        'a,b\r\n[redacted],2\r\n[redacted];"x, y"\r\n "q,""r""" ,[redacted]\r\n',
    ),
    "CSV, a quote without an end": (
        "text/csv",
        f'a,"b\n"x"y,{ADDRESS},2\n"{ADDRESS}\n3"" ,4',
        'a,"b\n"x"y,[redacted],2\n[redacted]\n3"" ,4',
    ),
    "multipart": (MULTI, MANY.format(ADDRESS), MANY.format("[redacted]")),
}


@pytest.mark.parametrize(("kind", "before", "after"), BODIES.values(), ids=BODIES)
def test_a_body_keeps_everything_but_what_is_denied(kind: str, before: str, after: str) -> None:
    """Every sign that isn't replaced stays where it was, and the length is right."""
    made = sent(body(kind, before))
    assert made is not None
    assert made.body == after.encode()
    assert made == replace(body(kind, after), headers=made.headers)
    assert dict(made.headers)["content-length"] == str(len(after.encode()))


PLACES: dict[str, tuple[OutgoingRequest, OutgoingRequest]] = {
    "query": (
        request(query=f"a=%20+b&em={quote_plus(ADDRESS)}&c&x="),
        request(query=f"a=%20+b&em={Q}&c&x="),
    ),
    "query without a name": (request(query=quote(ADDRESS)), request(query=Q)),
    "query, encoded": (request(query=f"d={quote(B64)}&n=1"), request(query=f"d={Q}&n=1")),
    "a header": (
        request(headers=(("X-User", ADDRESS), ("x-n", "1"))),
        request(headers=(("X-User", "[redacted]"), ("x-n", "1"))),
    ),
    "basic auth": (
        request(headers=(("authorization", f"Basic {BASIC}"),)),
        request(headers=(("authorization", "[redacted]"),)),
    ),
    "the page before": (
        request(headers=(("referer", f"https://x.example/?m={ADDRESS}"),)),
        request(headers=(("referer", "[redacted]"),)),
    ),
    "cookies": (
        request(headers=(("Cookie", f"a=1; u={ADDRESS};  c=2"),)),
        request(headers=(("Cookie", "a=1; u=[redacted];  c=2"),)),
    ),
    "a stream's head": (
        request(query=f"m={ADDRESS}", streaming=True),
        request(query=f"m={Q}", streaming=True),
    ),
    "an unread body's head": (
        replace(body("image/jpeg", b"\xff\xd8 nothing"), query=f"m={ADDRESS}"),
        replace(body("image/jpeg", b"\xff\xd8 nothing"), query=f"m={Q}"),
    ),
}


@pytest.mark.parametrize(("before", "after"), PLACES.values(), ids=PLACES)
def test_query_headers_and_cookies(before: OutgoingRequest, after: OutgoingRequest) -> None:
    """Only what is denied is replaced, encoded as its place asks for."""
    assert sent(before) == after


PLAIN = '{"m": "%s", "n": 1}'
DENIED_JSON, CLEAN_JSON = (
    (PLAIN.replace("%s", ADDRESS)).encode(),
    (PLAIN.replace("%s", "[redacted]")).encode(),
)


@pytest.mark.parametrize(
    ("encoding", "pack", "unpack"),
    [
        ("gzip", gzip.compress, gzip.decompress),
        ("x-gzip", gzip.compress, gzip.decompress),
        ("deflate", zlib.compress, zlib.decompress),
        ("", gzip.compress, gzip.decompress),
    ],
)
def test_what_was_compressed_is_compressed_again(encoding: str, pack: Any, unpack: Any) -> None:
    """The coding stays, and the length fits."""
    before = body(JSON, pack(DENIED_JSON), encoding)
    made = sent(before)
    assert made is not None
    assert made.body is not None
    assert unpack(made.body) == CLEAN_JSON
    assert len(made.headers) == len(before.headers)
    assert dict(made.headers)["content-length"] == str(len(made.body))


def test_a_coding_that_is_only_read_is_left_out() -> None:
    """With a library the body leaves uncompressed and says so; without one nobody read it."""
    packed = b'(\xb5/\xfd !\t\x01\x00{"a": "anna.schmidt@example.com"}'
    before = body(JSON, packed, "zstd")
    known = registry()
    known.remember("anna.schmidt@example.com", (Label(EMAIL),))
    made = redacted_request(before, known, denied)
    assert made is not None
    readable = made is not before
    assert made.body == (b'{"a": "[redacted]"}' if readable else packed)
    assert ("Content-Encoding" in dict(made.headers)) is not readable


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "latin-1", "utf-8-sig", "cp1252"])
def test_a_text_keeps_its_charset(charset: str) -> None:
    """Read and written in the same way."""
    kind = f"application/json; charset={charset}"
    made = sent(body(kind, f'{{"é": "{ADDRESS}"}}'.encode(charset)))
    assert made is not None
    assert made.body == '{"é": "[redacted]"}'.encode(charset)


def with_header(name: str, value: str) -> OutgoingRequest:
    """A request whose body holds an address, with one more header."""
    return replace(body(JSON, DENIED_JSON), headers=(("content-type", JSON), (name, value)))


@pytest.mark.parametrize(
    "name",
    [
        "Content-Digest",
        "Repr-Digest",
        "Digest",
        "Content-MD5",
        "X-Goog-Hash",
        "x-bz-content-sha1",
        "x-amz-content-sha256",
        "x-amz-checksum-crc32",
        "X-Checksum",
        "ETag",
    ],
)
def test_a_sum_over_a_body_that_changes_is_left_out(name: str) -> None:
    """By the sum of the body that was not sent, what stood in it could be found again."""
    made = sent(with_header(name, "x"))
    assert made is not None
    assert (made.headers, made.body) == ((("content-type", JSON),), CLEAN_JSON)


def test_a_sum_over_a_body_that_stays_is_kept() -> None:
    """It fits, and tells nothing about what was taken out elsewhere."""
    clean = with_header("content-md5", "x")
    before = replace(clean, body=CLEAN_JSON, query=f"m={ADDRESS}")
    assert sent(before) == replace(before, query=f"m={Q}")


def test_names_that_only_look_like_sums_stay() -> None:
    """A share is no sum, a bearer's token is no signature."""
    before = replace(
        body(JSON, DENIED_JSON), headers=(("x-share", "1"), ("authorization", "Bearer abc"))
    )
    assert sent(before) == replace(before, body=CLEAN_JSON)


BASE64_PART = PART.format("m", "Content-Transfer-Encoding: base64\r\n")
BLOCKED: dict[str, OutgoingRequest] = {
    "host": request(host="anna.schmidt.mail.example.org"),
    "path": request(path=f"/tr/{quote(ADDRESS)}"),
    "a header's name": request(headers=((f"x-{ADDRESS.replace('@', '-')}", "1"),)),
    "a cookie's name": request(headers=(("cookie", f"{ADDRESS}=1"),)),
    "a picture": body("image/png", PICTURE),
    "text in binary": body(
        "application/octet-stream", b"\x00\x01\x02" + ADDRESS.encode() + b"\xff"
    ),
    "a packed vector": body("application/octet-stream", array("f", VECTOR).tobytes()),
    "JSON that is none": body(JSON, '{"m": "%s"'.replace("%s", ADDRESS)),
    "a line that is no JSON": body(
        "application/x-ndjson", '{"n": 1}\n{"m": %s}\n'.replace("%s", ADDRESS)
    ),
    "nested too deep": body(JSON, "[" * 300 + f'"{ADDRESS}"' + "]" * 300),
    "an attribute": body("text/xml", f'<a m="{ADDRESS}">x</a>'),
    "over two elements": body("text/xml", f"<a><b>{ADDRESS[:12]}</b>{ADDRESS[12:]}</a> {ADDRESS}"),
    "a vector over a query": request(query="&".join(f"e{n}={v}" for n, v in enumerate(VECTOR))),
    "a name in a part": body(MULTI, "--b\r\n" + PART.format(ADDRESS, "") + "x\r\n--b--\r\n"),
    "a part in base64": body(MULTI, f"--b\r\n{BASE64_PART}{B64}\r\n--b--\r\n"),
    "a part of bytes": body(
        MULTI,
        b"--b\r\n" + PART.format("m", "").encode() + b"\xff\x00" + ADDRESS.encode() + b"\r\n--b--",
    ),
    "a picture in a part": body(
        MULTI, b"--b\r\n" + PART.format("m", "").encode() + PICTURE + b"\r\n--b--\r\n"
    ),
    "before the first part": body(
        MULTI, f"{ADDRESS}\r\n--b\r\n" + PART.format("n", "") + "\r\n--b--"
    ),
    "without its boundary": body("multipart/form-data", f"--b\r\n\r\n{ADDRESS}\r\n--b--"),
    "chunks with signatures": body("text/plain", f"1e;sig=x\r\n{ADDRESS}", "aws-chunked"),
    "a signed body": with_header("X-Hub-Signature-256", "sha256=x"),
    "a signature by its sum": with_header("x-signature-sha1", "x"),
    "a sealed body": with_header("X-HMAC", "x"),
    "an AWS signature": with_header("Authorization", "AWS4-HMAC-SHA256 Credential=a, Signature=x"),
    "an OAuth signature": with_header("authorization", 'OAuth realm="", oauth_signature="x"'),
    "a signed query": request(query=f"m={ADDRESS}&X-Amz-Signature=x"),
    "a sum over a part": body(
        MULTI, f"--b\r\n{PART.format('m', 'Content-MD5: x' + chr(13) + chr(10))}{ADDRESS}\r\n--b--"
    ),
    "one that has begun to leave": request(query=f"m={ADDRESS}", streaming=True, started=True),
}


@pytest.mark.parametrize("outgoing", BLOCKED.values(), ids=BLOCKED)
def test_what_cannot_be_rewritten_is_not_sent(outgoing: OutgoingRequest) -> None:
    """Where it stands in something that names, routes, or can't be written: nothing is sent."""
    assert sent(outgoing) is None


def test_what_may_go_is_the_same_request() -> None:
    """Nothing denied in it, nothing changed; allowed data are no reason."""
    for outgoing in (
        request(query="a=1"),
        body(JSON, '{"likes": "blue whale quarterly"}'),
        # Nobody can read it: that is a doubt about the whole, and judged as one.
        body(JSON, gzip.compress(gzip.compress(DENIED_JSON)), "gzip, gzip"),
        request(streaming=True),
        request(body=b""),
    ):
        assert sent(outgoing) is outgoing


def test_a_search_that_fails_sends_nothing() -> None:
    """Whatever goes wrong in rewriting, there is no request."""

    def broken(label: Label) -> bool:
        raise RuntimeError(label.source)

    assert redacted_request(body(JSON, DENIED_JSON), registry(), broken) is None
