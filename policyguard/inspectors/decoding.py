"""From bytes on the wire to bytes and texts that can be read: one compression layer, any charset.

Layer: inspectors. Imports nothing of policyguard. Start reading at `decompress` and `texts`.
"""

from __future__ import annotations

import codecs
import importlib
import re
import zlib
from dataclasses import dataclass
from typing import Any, Final

_MIB: Final = 1024 * 1024
_GZIP: Final = b"\x1f\x8b\x08"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_WINDOW: Final = 8 * _MIB  # what RFC 9659 allows over HTTP
_FLOOR: Final = 64 * 1024
"""Small bodies may be repetitive: the ratio counts from here on."""
_CHARSET: Final = re.compile(
    r"(utf|ucs|ascii|us-ascii|iso-?8859|latin|windows-?\d|cp\d|mac|koi8|shift|sjis|euc|gb|big5|hz|iso-?2022)",
    re.IGNORECASE,
)
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a body is read; what lies beyond is unreadable, not clean.

    Attributes:
        body: bytes of the body as sent.
        decompressed: bytes after decompression.
        ratio: decompressed to compressed, from 64 KiB on.
        depth: of nested JSON.
        leaves: parts of one body.
        nested: documents within documents: JSON in a string, base64 of JSON, a part of a part.
    """

    body: int = 16 * _MIB
    decompressed: int = 64 * _MIB
    ratio: int = 100
    depth: int = 200
    leaves: int = 200_000
    nested: int = 3


class UnreadableError(Exception):
    """A body can't be read; the argument is a reason without content."""


def decompress(data: bytes, encoding: str | None, limits: Limits) -> bytes:
    """`data` without its one layer of compression.

    Args:
        data: the body as sent.
        encoding: the Content-Encoding header; gzip and zstd are also told by their first bytes.
        limits: caps of the result.

    Raises:
        UnreadableError: two layers, an unknown or damaged one, or a bomb.

    Cost: linear in the result, which is capped before it exists.
    """
    names = codings(encoding)
    if len(names) > 1:
        raise UnreadableError("nested compression")
    name = names[0] if names else sniffed(data)
    if not name or not data:
        return data
    expand = _CODINGS.get(name)
    if expand is None:
        raise UnreadableError("unknown compression")
    cap = min(limits.decompressed, max(_FLOOR, limits.ratio * len(data)))
    plain = expand(data, cap)
    if len(plain) > cap:
        raise UnreadableError("decompresses beyond the cap")
    if sniffed(plain):
        raise UnreadableError("nested compression")
    return plain


def texts(data: bytes, charset: str | None) -> list[str]:
    """The readings of `data` as text; none when it is binary.

    The declared charset first, when it is one; then what the bytes look like. Two readings where a
    wrong declaration could hide the right one.
    """
    return [text for _, text in readings(data, charset)]


def readings(data: bytes, charset: str | None) -> list[tuple[str, str]]:
    """As `texts`, each with the name of its charset."""
    found: dict[str, str] = {}
    declared, guessed = _charsets(data, charset)
    for name in (*declared, *guessed):
        try:
            text = data.decode(name)
        except (UnicodeError, LookupError):
            # Denies nothing: the next reading is tried; without any the body is binary.
            continue
        if text not in found and (name in declared or _plausible(text)):
            found[text] = name
    return [(name, text) for text, name in found.items()]


def codings(encoding: str | None) -> list[str]:
    """The layers of compression that a Content-Encoding header names."""
    names = [name.strip().lower() for name in (encoding or "").split(",")]
    return [name for name in names if name not in ("", "identity", "aws-chunked")]


def _charsets(data: bytes, charset: str | None) -> tuple[list[str], list[str]]:
    """Charsets that the body names, by mark or header, and those that it looks like."""
    marked = [name for bom, name in _BOMS if data.startswith(bom)][:1]
    said = charset.strip().strip("\"'").lower() if charset else ""
    known = len(said) < 40 and _CHARSET.match(said) is not None  # noqa: PLR2004 -- no charset is longer
    declared = list(dict.fromkeys([*marked, *([said] if known else [])]))
    head = data[:512]
    if b"\0" not in head:
        # UTF-8 is a second reading even of bytes that are declared to be another charset.
        return declared, [name for name in ("utf-8",) if name not in declared]
    if marked or len(data) % 2:
        return declared, []
    odd, even = head[1::2].count(0), head[::2].count(0)
    if max(odd, even) * 4 < len(head):
        return declared, []
    return declared, ["utf-16-le" if odd >= even else "utf-16-be"]


def _plausible(text: str) -> bool:
    """Whether a guessed reading looks like text: packed numbers, too, may decode."""
    head = text[:512]
    odd = sum(1 for sign in head if not sign.isprintable() and sign not in "\t\r\n\ufeff")
    return odd * 10 <= len(head)


def sniffed(data: bytes) -> str:
    """The compression that bytes begin with; "" for none."""
    if data.startswith(_GZIP):
        return "gzip"
    return "zstd" if data.startswith(_ZSTD) else ""


def _gzip(data: bytes, cap: int) -> bytes:
    return _inflate(data, cap, 31)


def _deflate(data: bytes, cap: int) -> bytes:
    """HTTP's deflate is zlib's format; some clients send the bare stream."""
    try:
        return _inflate(data, cap, 15)
    except UnreadableError:
        # Denies nothing yet: the bare stream is tried, and its failure counts.
        return _inflate(data, cap, -15)


def _inflate(data: bytes, cap: int, window: int) -> bytes:
    plain = bytearray()
    while data:
        stream = zlib.decompressobj(window)
        try:
            plain += stream.decompress(data, cap + 1 - len(plain))
        except zlib.error:
            # Denies: a damaged body can't be searched.
            raise UnreadableError("damaged compression") from None
        if len(plain) > cap:
            break
        if not stream.eof:
            raise UnreadableError("damaged compression")
        data = stream.unused_data if window > 15 else b""  # noqa: PLR2004 -- only gzip has members
    return bytes(plain)


def _zstd(data: bytes, cap: int) -> bytes:
    try:
        own: Any = importlib.import_module("compression.zstd")
    except ImportError:
        # Denies nothing yet: Python before 3.14 has no zstd of its own; the library is tried.
        own = None
    expand = _zstd_frame if own is None else _zstd_frame_of_python
    library = _library("zstandard") if own is None else own
    plain = bytearray()
    try:
        while data and len(plain) <= cap:
            piece, data = expand(library, data, cap + 1 - len(plain))
            plain += piece
    except Exception:  # noqa: BLE001 -- each library has its own error
        # Denies: a damaged body can't be searched.
        raise UnreadableError("damaged compression") from None
    return bytes(plain)


def _zstd_frame_of_python(library: Any, data: bytes, most: int) -> tuple[bytes, bytes]:
    """One frame, at most so many bytes of it, and what follows it."""
    stream = library.ZstdDecompressor()
    piece = stream.decompress(data, most)
    if not stream.eof and len(piece) < most:
        raise UnreadableError("damaged compression")
    return piece, stream.unused_data if stream.eof else b""


def _zstd_frame(library: Any, data: bytes, most: int) -> tuple[bytes, bytes]:
    """The same by the library, which has no bound: 64 bytes at a time give at most 3 MB."""
    stream = library.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    piece = bytearray()
    for start in range(0, len(data), 64):
        piece += stream.decompress(data[start : start + 64])
        if stream.eof:
            return bytes(piece), stream.unused_data + data[start + 64 :]
        if len(piece) >= most:
            return bytes(piece), b""
    raise UnreadableError("damaged compression")


def _brotli(data: bytes, cap: int) -> bytes:
    stream = _library("brotli").Decompressor()
    try:
        plain = bytearray(stream.process(data, output_buffer_limit=cap + 1))
        while len(plain) <= cap and not stream.is_finished() and not stream.can_accept_more_data():
            plain += stream.process(b"", output_buffer_limit=cap + 1)
        finished = stream.is_finished() or len(plain) > cap
    except Exception:  # noqa: BLE001 -- the library's own error, or a version that can't bound its output
        # Denies: a damaged body, or one that could only be read without a bound.
        raise UnreadableError("damaged compression") from None
    if not finished:
        raise UnreadableError("damaged compression")
    return bytes(plain)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        # Denies: without a library for this compression the body can't be searched.
        raise UnreadableError("no library for this compression") from None


_CODINGS: Final = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
    "br": _brotli,
}
