"""Split a multipart body into its parts.

Layer: inspectors. Imports nothing of policyguard. Start reading at `split_parts`.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

_PARTS: Final = 10_000
_HEADERS: Final = 64 * 1024
_DISPOSITION: Final = 4096
_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")
_FOLD: Final = re.compile(r"\r?\n[ \t]+")
_NAMED: Final = re.compile(
    r';\s*(name|filename)(\*?)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\r\n]*))', re.IGNORECASE
)
_KNOWN: Final = (
    "content-disposition",
    "content-type",
    "content-encoding",
    "content-transfer-encoding",
    "content-length",
)


@dataclass(frozen=True, slots=True)
class Part:
    """One part; `others` are the values of headers with no meaning to us."""

    name: str
    filename: str
    content_type: str
    encoding: str
    others: tuple[str, ...]
    body: bytes

    def __repr__(self) -> str:
        """The size only."""
        return f"Part(size={len(self.body)})"


def split_parts(data: bytes, boundary: str) -> list[Part] | None:
    """The parts of a multipart body; None when its boundary doesn't stand in it.

    What stands before the first and after the last boundary is a part without headers: it is sent
    too.

    Cost: linear in the body; at most 10,000 parts.
    """
    mark = b"--" + boundary.encode("utf-8", "replace")
    if not boundary or (not data.startswith(mark) and b"\n" + mark not in data):
        return None
    pieces = _line(mark).split(data, _PARTS)
    if len(pieces) > _PARTS:
        return None
    parts = [_bare(pieces[0])] if pieces[0].strip() else []
    parts.extend(_part(piece) for piece in pieces[1:] if piece.strip())
    return parts


def raw_parts(data: bytes, boundary: str) -> list[bytes]:
    """The pieces of a multipart body with the boundaries between them; joined, they are the body.

    Pieces stand at even places, boundaries at odd ones.
    """
    line = re.compile(b"(" + _line(b"--" + boundary.encode("utf-8", "replace")).pattern + b")")
    return line.split(data, _PARTS)


def head_and_body(piece: bytes) -> tuple[bytes, bytes] | None:
    """The headers of one piece with the blank line after them, and its body; None without them."""
    skipped = 2 if piece.startswith(b"\r\n") else 1 if piece.startswith(b"\n") else 0
    if piece[skipped : skipped + 2] == b"\r\n" or piece[skipped : skipped + 1] == b"\n":
        return None
    blank = _BLANK_LINE.search(piece, skipped, _HEADERS)
    return None if blank is None else (piece[: blank.end()], piece[blank.end() :])


def _line(mark: bytes) -> re.Pattern[bytes]:
    """A line that is a boundary, with the line's end before it."""
    return re.compile(rb"(?:\A|\r?\n)" + re.escape(mark) + rb"(?:--)?[ \t]*(?=\r?\n|\Z)")


def _part(piece: bytes) -> Part:
    piece = re.sub(rb"\A\r?\n", b"", piece, count=1)
    if piece.startswith((b"\r\n", b"\n")):
        return _bare(piece.lstrip(b"\r\n"))
    blank = _BLANK_LINE.search(piece, 0, _HEADERS)
    if blank is None:
        return _bare(piece)
    headers: dict[str, str] = {}
    others: list[str] = []
    head = piece[: blank.start()].decode("utf-8", "replace")
    for header in _FOLD.sub(" ", head).splitlines():
        name, _, value = header.partition(":")
        if name.strip().lower() in _KNOWN:
            headers[name.strip().lower()] = value.strip()
        else:
            others.append(header)
    disposition = headers.get("content-disposition", "")
    if len(disposition) > _DISPOSITION:  # no honest one is; what isn't parsed is still searched
        others.append(disposition)
    names = _names(disposition[:_DISPOSITION])
    body = _transferred(piece[blank.end() :], headers.get("content-transfer-encoding", ""))
    return Part(
        names.get("name", ""),
        names.get("filename", ""),
        headers.get("content-type", ""),
        headers.get("content-encoding", ""),
        tuple(others),
        body,
    )


def _bare(body: bytes) -> Part:
    return Part("", "", "", "", (), body)


def _names(disposition: str) -> dict[str, str]:
    """Name and file name, also in the extended notation `filename*=UTF-8''...`."""
    names: dict[str, str] = {}
    for match in _NAMED.finditer(disposition):
        value = match[3].replace("\\", "") if match[3] is not None else match[4].strip()
        if match[2]:
            value = unquote(value.rpartition("'")[2])
        key = match[1].lower()
        names[key] = f"{names[key]} {value}" if key in names else value
    return names


def _transferred(body: bytes, encoding: str) -> bytes:
    name = encoding.strip().lower()
    if name == "quoted-printable":
        return quopri.decodestring(body)
    if name != "base64":
        return body
    try:
        return base64.b64decode(body)
    except binascii.Error:
        # Denies nothing: what is no base64 is searched as it stands.
        return body
