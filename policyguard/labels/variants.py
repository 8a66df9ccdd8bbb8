"""The spellings under which one value travels, and how much a value tells.

Layer: labels. Start reading at `fold`, then `views`.

Everything here is a pure function of its argument; nothing is kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
import unicodedata
from html import unescape
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterator

TINY_BITS: Final = 20.0
"""Below this a value is not looked for inside longer text: it would be found everywhere."""
STRONG_BITS: Final = 40.0
"""From here on an exact leaf is strong evidence."""
LONG_BITS: Final = 64.0
"""From here on even a part of a longer text is strong evidence."""

_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
_WORD: Final = re.compile(r"[^\W\d_]+|\d+")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_DATE: Final = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}")
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d)?([.,]\d+)?([Zz]|[-+]\d\d:?\d\d)?"
)
_PERSON_NUMBER: Final = re.compile(r"\d{3}-\d{2}-\d{4}|\+\d[\d ()./-]{8,}|\(\d{3}\) ?\d{3}-\d{4}")
_HASHED: Final = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{32,64}(?![0-9A-Za-z])")
_HASH_SIZES: Final = frozenset({16, 20, 32})
_HEX: Final = re.compile(r"(?:0x|\\x)?((?:[0-9A-Fa-f]{2}){4,})")
_HEX_RUN: Final = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}){6,}(?![0-9A-Fa-f])")
_SPACED_HEX: Final = re.compile(r"[0-9A-Fa-f]{2}(?:[ :-][0-9A-Fa-f]{2}){3,}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{11,}={0,2}")
_WHOLE_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{6,}={0,2}")
_PERCENT: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_SIMPLE_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_SPACE: Final = re.compile(r"\s+")
_RUNS: Final = 2_000
"""At most so many base64-like runs of one text are decoded."""


def fold(text: str) -> str:
    """One spelling for all that differ in case, width, white space or invisible characters.

    Cost: one pass in C; about 0.4 us for 20 ASCII characters.
    """
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold()
        return " ".join(text.split())
    return " ".join(text.lower().split())


def words(folded: str) -> list[str]:
    """The runs of letters and the runs of digits of a folded text; joined, they are its core."""
    return _WORD.findall(folded)


def bits(text: str) -> float:
    """A cautious estimate of how many bits it takes to hit on `text` by chance.

    Letters of words count 2.5, of mixed codes 3.5, digits 3.4, the rest 3; a date is one of some
    thirty thousand days however it is written; an e-mail address, however short, names a person.

    Cost: O(min(length, 64)), about 3 us.
    """
    head = text[:64].strip()
    if _EMAIL.fullmatch(head):
        return LONG_BITS
    if _PERSON_NUMBER.fullmatch(head):
        return STRONG_BITS
    if _DATE.fullmatch(head):
        return 15.0
    moment = _MOMENT.fullmatch(head)
    if moment:
        return 50.0 if moment[2] and moment[2].strip(".,0") else 32.0
    digits = sum(map(str.isdigit, head))
    letters = sum(map(str.isalpha, head))
    mixed = digits >= 2 and letters >= 2 and " " not in head  # noqa: PLR2004 -- two of each make a code
    told = digits * 3.4 + letters * (3.5 if mixed else 2.5) + (len(head) - digits - letters) * 3.0
    told = min(told, len(head) * math.log2(len(set(head)) or 1))
    return max(told, STRONG_BITS) if _is_card(head, digits) else told


def _is_card(text: str, digits: int) -> bool:
    """Whether these are the 13 to 19 digits of a payment card, with a check digit that fits."""
    if not 13 <= digits <= 19 or not text.isascii():  # noqa: PLR2004 -- ISO/IEC 7812
        return False
    plain = text.replace(" ", "").replace("-", "")
    if not plain.isdigit():
        return False
    total = 0
    for place, digit in enumerate(reversed(plain)):
        number = int(digit) * (1 + place % 2)
        total += number - 9 if number > 9 else number  # noqa: PLR2004 -- Luhn
    return total % 10 == 0


def hashed_forms(text: str) -> Iterator[bytes]:
    """The raw md5, sha1 and sha256 of the spellings that ad interfaces ask to be hashed.

    As is, lower case and trimmed, without punctuation and white space, digits with and without
    plus, an address at Gmail without dots and suffix.

    Cost: 3 to 12 hashes, 2 to 8 us.
    """
    for form in _ad_spellings(text):
        data = form.encode("utf-8", "surrogatepass")
        yield hashlib.md5(data, usedforsecurity=False).digest()
        yield hashlib.sha1(data, usedforsecurity=False).digest()
        yield hashlib.sha256(data).digest()


def _ad_spellings(text: str) -> set[str]:
    lower = text.strip().lower()
    forms = {text, lower}
    if "@" in lower:
        local, _, domain = lower.rpartition("@")
        plain = local.partition("+")[0]
        forms.add(f"{plain}@{domain}")
        if domain in {"gmail.com", "googlemail.com"}:
            forms |= {f"{plain.replace('.', '')}@{domain}", f"{plain.replace('.', '')}@gmail.com"}
        return forms
    core = "".join(_WORD.findall(lower))
    forms.add(core)
    if core.isdigit() and len(core) >= 7:  # noqa: PLR2004 -- the shortest telephone numbers
        forms |= {f"+{core}", core.lstrip("0")}
    return forms - {""}


def hashes_in(text: str) -> Iterator[bytes]:
    """The raw bytes of every md5-, sha1- or sha256-sized hexadecimal run of `text`."""
    for match in _HASHED.finditer(text):
        if len(match[0]) // 2 in _HASH_SIZES and len(match[0]) % 2 == 0:
            yield bytes.fromhex(match[0])
    plain = text.replace("-", "")
    if len(plain) != len(text) and len(plain) == 32 and _HASHED.fullmatch(plain):  # noqa: PLR2004 -- md5
        yield bytes.fromhex(plain)


def is_hash_size(data: bytes) -> bool:
    """Whether `data` could be the raw bytes of an md5, sha1 or sha256."""
    return len(data) in _HASH_SIZES


def views(text: str) -> Iterator[str | bytes]:
    """What `text` says after one decoding: percent, escapes, entities, hexadecimal, base64.

    Yields:
        Decoded text; bytes where the decoded bytes are not text.

    Cost: O(length) for each kind whose mark is present; nothing is decoded on suspicion of length
    alone but runs of the base64 alphabet, at most 2,000 of them.
    """
    if "%" in text and _PERCENT.search(text):
        yield unquote_plus(text, errors="replace")
    if "\\" in text:
        yield _unescape(text)
    if "&" in text and ";" in text:
        yield unescape(text)
    lined = len(text) > 76 and " " not in text[:76]  # noqa: PLR2004 -- MIME breaks lines at 76
    dense = _SPACE.sub("", text) if lined else text.strip()
    match = _HEX.fullmatch(dense) if len(dense) > 7 else None  # noqa: PLR2004 -- four bytes
    if match:
        yield from _as_text(bytes.fromhex(match[1]))
    elif _SPACED_HEX.fullmatch(dense):
        yield from _as_text(bytes.fromhex(re.sub("[ :-]", "", dense)))
    else:
        for count, run in enumerate(_HEX_RUN.finditer(text)):
            if count >= _RUNS:
                break
            yield from _as_text(bytes.fromhex(run[0]))
    if _WHOLE_BASE64.fullmatch(dense):
        yield from _unbase64(dense)
    else:
        for count, run in enumerate(_BASE64.finditer(text)):
            if count >= _RUNS:
                return
            yield from _unbase64(run[0])


def _unescape(text: str) -> str:
    r"""`\\u0040`, `\\x40`, `\\/` and friends as the characters they stand for."""

    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        return chr(int(code, 16)) if code else _SIMPLE_ESCAPES.get(match[3], match[3])

    plain = _ESCAPE.sub(character, text)
    return _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), plain)


def _unbase64(run: str) -> Iterator[str | bytes]:
    """Decode a run of the standard or the URL-safe alphabet; a run may start at a cut."""
    plain = run.rstrip("=").replace("-", "+").replace("_", "/")
    for offset in range(4):
        piece = plain[offset:]
        piece = piece[:-1] if len(piece) % 4 == 1 else piece
        try:
            data = base64.b64decode(piece + "=" * (-len(piece) % 4))
        except (
            binascii.Error,
            ValueError,
        ):  # pragma: no cover - the pattern admits only the alphabet
            # Denies nothing: what is not base64 is still searched as the text it is.
            return
        decoded = list(_as_text(data))
        if offset == 0 or any(isinstance(view, str) for view in decoded):
            yield from decoded
        if len(piece) < 24 or any(isinstance(view, str) for view in decoded):  # noqa: PLR2004 -- too short for a cut
            return


def _as_text(data: bytes) -> Iterator[str | bytes]:
    """Text where the bytes are UTF-8 or UTF-16 text, else the bytes."""
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        if encoding != "utf-8" and (len(data) % 2 or b"\0" not in data):
            continue
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            # Denies nothing: the next encoding is tried and the bytes themselves are searched.
            continue
        if _mostly_printable(text):
            yield text
            if encoding == "utf-8":
                return
    yield data


def _mostly_printable(text: str) -> bool:
    head = text[:256]
    odd = sum(1 for character in head if not character.isprintable() and character not in "\t\n\r")
    return odd * 10 <= len(head)
