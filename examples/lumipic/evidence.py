"""Is it in there? Searches recorded bytes for an embedding or an e-mail address.

This is the demo's own search. It shares no code with the guard, so that neither can hide the
other's mistakes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_RUN: Final = 6  # so many numbers in a row are no accident
_ROUNDED: Final = 0.0051  # two decimals are enough to recognise somebody
_NUMBER: Final = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_ENCODED: Final = re.compile(rb"[A-Za-z0-9+/_-]{16,}")
_PACKED: Final = ("<f8", ">f8", "<f4", ">f4", "<f2", ">f2")
_DIGESTS: Final = ("sha256", "sha1", "md5", "sha512")


def holds_vector(wire: bytes, vector: Sequence[float]) -> bool:
    """Whether a run of the vector's numbers is in the bytes: as text, even rounded, or packed."""
    exact = np.asarray(vector, dtype=np.float64)
    needles = _packed_runs(tuple(vector))
    # Packed numbers are never plain text, and most of what is read here is.
    return any(
        _numbers_follow(text, exact)
        or (not text.isascii() and any(needle in text for needle in needles))
        for text in _readings(wire)
    )


def holds_email(wire: bytes, email: str) -> bool:
    """Whether an address is in the bytes: plain, encoded, or as a usual digest of it."""
    address = email.strip().lower().encode()
    needles = [address, quote(address, safe="").lower().encode()]
    for name in _DIGESTS:
        digest = hashlib.new(name, address, usedforsecurity=False)
        needles += [digest.hexdigest().encode(), digest.digest()]
        needles += [base64.b64encode(digest.digest()).lower()]
    return any(
        needle in text or needle in text.lower() for text in _readings(wire) for needle in needles
    )


@lru_cache(maxsize=64)
def _packed_runs(vector: tuple[float, ...]) -> frozenset[bytes]:
    """Every run of the vector's numbers as bytes, in the usual sizes and byte orders."""
    exact = np.asarray(vector, dtype=np.float64)
    return frozenset(
        exact[start : start + _RUN].astype(kind).tobytes()
        for kind in _PACKED
        for start in range(len(exact) - _RUN + 1)
    )


def _numbers_follow(text: bytes, vector: NDArray[np.float64]) -> bool:
    found = np.array([float(number) for number in _NUMBER.findall(text)])
    if len(found) < _RUN:
        return False
    near = abs(found[:, None] - vector[None, :]) < _ROUNDED
    rows, columns = (length - _RUN + 1 for length in near.shape)
    diagonals = [near[step : rows + step, step : columns + step] for step in range(_RUN)]
    return bool(np.logical_and.reduce(diagonals).any())


def _readings(wire: bytes) -> Iterator[bytes]:
    """The bytes as they are, and as whatever encoding they may be in, one layer deep."""
    yield wire
    yield unquote_to_bytes(wire)
    yield from _unpacked(wire.partition(b"\r\n\r\n")[2])
    for word in _ENCODED.findall(wire):
        for start in range(4):
            for decoded in _decoded(word[start:]):
                yield decoded
                yield from _unpacked(decoded)


def _decoded(word: bytes) -> Iterator[bytes]:
    whole = word[: len(word) - (len(word) % 4 == 1)]
    padded = whole + b"=" * (-len(whole) % 4)
    yield base64.b64decode(padded, altchars=b"-_" if b"-" in word or b"_" in word else None)
    try:
        yield binascii.unhexlify(word[: len(word) // 2 * 2])
    except binascii.Error:
        return  # not hexadecimal, nothing to read here


def _unpacked(data: bytes) -> Iterator[bytes]:
    try:
        yield zlib.decompressobj(wbits=47).decompress(data, 1 << 20)
    except zlib.error:
        return  # not compressed, nothing to read here
