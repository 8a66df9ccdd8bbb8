"""An outgoing request without the parts that may not leave, or none at all.

Layer: enforce. Start reading at `redacted_request`.

What is rewritten is searched again; a request in which something denied is still found doesn't
exist here. So a value in the host, in the path, in the name of a header or in bytes that nobody can
rewrite blocks the request.
"""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import replace
from typing import Final
from urllib.parse import unquote_plus

from policyguard.enforce.look import Denied, Look
from policyguard.enforce.redact_text import redacted_form, redacted_text
from policyguard.inspectors.decoding import (
    UnreadableError,
    codings,
    decompress,
    readings,
    sniffed,
)
from policyguard.inspectors.http import (
    OutgoingRequest,
    content_encoding_of,
    content_type_of,
    parts,
)
from policyguard.inspectors.multipart import head_and_body, raw_parts, split_parts
from policyguard.inspectors.payload import (
    DEFAULT_LIMITS,
    is_binary,
    leaves,
    media_type,
)
from policyguard.labels.recent import Remembers
from policyguard.labels.typed import REDACTED
from policyguard.policy.flow import Label

_NESTED: Final = 3
_SUM: Final = re.compile(r"hash|crc|sha-?\d|\bsha\b|md5|digest|etag|checksum")
"""In a header's name: a sum over the body, which the rewritten one no longer fits, and by which
what was taken out can be found again."""
_SIGNATURE: Final = re.compile(r"signature|hmac|\bsig\b")
"""In a name: what the sender vouched for. Whoever can check it can find what stood there."""
_SIGNED: Final = re.compile(r"\s*(aws|goog4|signature|hmac|sharedkey)|.*signature=", re.IGNORECASE)
"""In the value of an Authorization header: the same."""


def redacted_request(
    request: OutgoingRequest, registry: Remembers, denied: Denied
) -> OutgoingRequest | None:
    """The request as it may leave; None where it may not leave at all.

    Denied values of the query, of headers and cookies, of a form, of JSON, of JSON lines, of XML
    and CSV, and of the parts of a multipart body become the placeholder; a plain text becomes it as
    a whole. Everything else stays byte for byte, JSON too: nothing is written anew but what is
    denied. Headers with a sum over a body that changes are left out. The length is right; a body
    in gzip or deflate is compressed again, one in another compression leaves without.

    Args:
        request: as it is about to be sent; left as it is.
        registry: what is remembered.
        denied: whether a label may not leave.

    Returns:
        The same object where nothing denied is found. None where a denied value stands in the host,
        the path, a name of a header or cookie, or binary; where the request is signed, for its
        receiver would refuse it; where the request has begun to leave; and where anything fails.

    Cost: five searches of the whole; eight more of the numbers in JSON, at most.
    """
    try:
        return _redacted(request, Look(registry, denied))
    except Exception:  # noqa: BLE001 - requests come from anywhere
        # Denies: a request that couldn't be rewritten is blocked.
        return None


def _redacted(request: OutgoingRequest, look: Look) -> OutgoingRequest | None:
    before, readable = _said(request, look)
    if not look.any_of(before):
        return request
    if request.started or _is_signed(request):
        return None
    only_body = not look.finds(parts(replace(request, body=None)).leaves)
    made = _with_body(
        replace(
            request,
            query=redacted_form(request.query, look.leaf) if request.query else "",
            headers=tuple((name, _header(name, value, look)) for name, value in request.headers),
        ),
        look,
        holds=only_body,
    )
    if made is None:
        return None
    after, still_readable = _said(made, look)
    # A label that wasn't there before was never judged.
    if look.any_of(after) or not after <= before:
        return None
    return made if still_readable or not readable else None


def _said(request: OutgoingRequest, look: Look) -> tuple[set[Label], bool]:
    """The labels that are found in a request, and whether all of it could be read."""
    payload = parts(request)
    found = {hit.label for hit in look.registry.search(payload.leaves)}
    whole = look.registry.exactly(request.body) if request.body else ()
    return found.union(whole), payload.readable


def _name(name: str) -> str:
    return name.strip().lower()


def _header(name: str, value: str, look: Look) -> str:
    if not _says(name, value, look):
        return value
    if _name(name) != "cookie":
        return REDACTED
    return ";".join(_cookie(pair, look) for pair in value.split(";"))


def _cookie(pair: str, look: Look) -> str:
    if not _says("cookie", pair, look):
        return pair
    name, equals, _ = pair.partition("=")
    return f"{name}{equals}{REDACTED}"


def _says(name: str, value: str, look: Look) -> bool:
    alone = OutgoingRequest("", "", "", "", headers=((name, value),))
    return look.finds(parts(alone).leaves)


def _is_signed(request: OutgoingRequest) -> bool:
    """Whether a header or the query vouches for what was to be sent."""
    names = [_name(name) for name, _ in request.headers]
    names += [unquote_plus(pair.partition("=")[0]).lower() for pair in request.query.split("&")]
    return any(_SIGNATURE.search(name) for name in names) or any(
        _SIGNED.match(value) for name, value in request.headers if _name(name) == "authorization"
    )


def _with_body(request: OutgoingRequest, look: Look, *, holds: bool) -> OutgoingRequest | None:
    """The request with a rewritten body and headers that fit it; itself if its body may leave.

    Args:
        request: its head is rewritten already.
        look: what is denied.
        holds: it is known that the body holds something denied.
    """
    body, encoding = request.body or b"", content_encoding_of(request)
    try:
        plain = decompress(body, encoding, DEFAULT_LIMITS)
    except UnreadableError:
        # Denies nothing here: what can't be read is a doubt of its own, and is judged as one.
        return request
    made = _document(plain, content_type_of(request) or "", look, holds=holds)
    if made is None or made == plain:
        return None if made is None else request
    if "aws-chunked" in encoding.lower():
        return None  # its lengths and signatures stand in the body
    coding = "".join(codings(encoding)) or sniffed(body)
    headers = tuple(pair for pair in request.headers if not _SUM.search(_name(pair[0])))
    if coding in ("gzip", "x-gzip"):
        made = gzip.compress(made, mtime=0)
    elif coding == "deflate":
        made = zlib.compress(made)
    elif coding:
        headers = tuple(pair for pair in headers if _name(pair[0]) != "content-encoding")
    length = str(len(made))
    headers = tuple(
        (name, length if _name(name) == "content-length" else value) for name, value in headers
    )
    return replace(request, headers=headers, body=made)


def _document(
    data: bytes, content_type: str, look: Look, level: int = 0, *, holds: bool = False
) -> bytes | None:
    """A body without what is denied; itself where nothing is, None where there is no safe way."""
    if not holds and not look.finds(leaves(data, content_type).leaves):
        return data
    mime, parameters = media_type(content_type)
    if mime.startswith("multipart/"):
        return _multipart(data, parameters.get("boundary", ""), look, level)
    read = [] if is_binary(mime) else readings(data, parameters.get("charset"))
    for charset, text in read[:1]:
        made = redacted_text(text, mime, look)
        if made is not None and text.encode(charset) == data:
            return made.encode(charset)
    return None


def _multipart(data: bytes, boundary: str, look: Look, level: int) -> bytes | None:
    """Each part by itself; what stands in the headers of a part can't be taken out."""
    if level >= _NESTED or split_parts(data, boundary) is None:
        return None
    pieces = raw_parts(data, boundary)
    for place in range(2, len(pieces), 2):
        halves = head_and_body(pieces[place])
        if halves is None:
            continue
        head, body = halves
        alone = split_parts(b"--x" + pieces[place] + b"\r\n--x--\r\n", "x") or []
        part = alone[0] if len(alone) == 1 else None
        if part is None or part.encoding or part.body != body:
            continue  # compressed or transfer-encoded: if it is denied, the last search finds it
        made = _document(body, part.content_type, look, level + 1)
        if made is None or (made != body and _SUM.search(head.decode("latin-1").lower())):
            return None
        pieces[place] = head + made
    return b"".join(pieces)
