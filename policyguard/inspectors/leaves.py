"""Collect the leaves of documents, and of the documents inside their strings.

Layer: inspectors. Start reading at `Collector.tree`. Used through `policyguard.inspectors.payload`.

INVARIANT: paths hold names only. A key that doesn't look like a name is written `*`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
from array import array
from collections import deque
from datetime import date, time
from decimal import Decimal
from enum import Enum
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote, unquote_plus
from uuid import UUID

from policyguard.inspectors.decoding import Limits, UnreadableError, decompress
from policyguard.policy.held import held, is_lazy
from policyguard.policy.stored import buffer_items, stored_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_VECTOR: Final = 16
_UNKNOWN_OBJECT: Final = "unknown object"  # no data, such as a client
_UNREAD_DATA: Final = "data that shows only when it is read"
_NUMBERS: Final = frozenset({int, float})
_DIGITS_OF_AN_INTEGER: Final = 400
_LONG_KEY: Final = 24  # a document in base64 is no shorter
_NAME: Final = re.compile(r"[A-Za-z0-9_$-]{1,64}")
_MANY_DIGITS: Final = re.compile(r"\d.*\d.*\d.*\d.*\d.*\d")
_FIELD: Final = re.compile(r"[A-Za-z0-9_$.\[\]-]{1,128}")
_PIECES: Final = re.compile(r"[^\[\].]+")
# Possessive, and content with an end that is missing: linear on any text.
_STRINGS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKETS: Final = re.compile(r"[^\[\]{}]+")
_STEP: Final = {"[": 1, "{": 1, "]": -1, "}": -1}
_BASE64_JSON: Final = ("ey", "ew", "e3", "W3", "Wy", "Wz", "H4sI")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{2,}=*\.[A-Za-z0-9_-]+=*\.[A-Za-z0-9_-]*")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s]+")
_FORM: Final = re.compile(r"[\w.%\[\]*-]{1,128}=[^&\s]*(?:&[\w.%\[\]*-]{1,128}=[^&\s]*)*&?")
_SCALARS: Final = (int, float, bytes, bytearray, memoryview, date, time, Decimal, UUID)
# The base type's own iteration: a subclass may have another, and that is the application's code.
_SEQUENCES: Final[tuple[tuple[type, Callable[[Any], Iterable[object]]], ...]] = (
    (list, list.__iter__),
    (tuple, tuple.__iter__),
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
    (deque, deque.__iter__),
)


class Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs: a key that stands twice keeps both values."""


class Collector:
    """The leaves found so far, and the first reason why something couldn't be read."""

    __slots__ = ("_segments", "leaves", "limits", "why")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.leaves: list[tuple[str, object]] = []
        self.why = ""
        self._segments: dict[str, str] = {}

    def add(self, path: str, value: object) -> None:
        """One leaf; beyond the cap the body counts as unreadable."""
        if len(self.leaves) >= self.limits.leaves:
            self.unreadable("too many parts")
        else:
            self.leaves.append((path, value))

    def unreadable(self, why: str) -> None:
        """Something couldn't be read; `why` holds no content. Unread data counts before objects."""
        if self.why in ("", _UNKNOWN_OBJECT):
            self.why = why

    def text(self, path: str, text: str, level: int) -> None:
        """A string, and the document that it may hold."""
        self.add(path, text)
        if level < self.limits.nested and len(text) > 3:  # noqa: PLR2004 -- `[1]` tells nothing new
            self._document(path, text, level + 1)

    def json(self, path: str, text: str, level: int) -> bool:
        """The leaves of a JSON document; False when it is none or nests too deep."""
        if self._too_deep(text):
            self.unreadable("nested too deep")
            return False
        try:
            parsed = json.loads(text, object_pairs_hook=Pairs, parse_int=_integer)
        except (ValueError, RecursionError):
            # Denies nothing yet: the caller searches it as text, and objects where it was declared.
            return False
        self.tree(path, parsed, level)
        return True

    def tree(self, path: str, root: object, level: int) -> None:
        """The leaves of parsed JSON or of built-in Python containers, an object's scalars first.

        Cost: O(nodes), no recursion; reference cycles end at the caps on depth and number.
        """
        stack: list[tuple[str, object, int]] = [(path, root, 0)]
        nodes = self.limits.leaves
        while stack:
            here, node, depth = stack.pop()
            if node is None or type(node) is bool:
                continue
            if issubclass(type(node), str):
                self.text(here, str.__str__(cast("str", node)), level)
                continue
            if issubclass(type(node), _SCALARS):
                self.add(here, node)
                continue
            children = self._children(here, node, level)
            if children is None or depth >= self.limits.depth:
                unknown = _UNREAD_DATA if is_lazy(node) else _UNKNOWN_OBJECT
                self.unreadable("nested too deep" if children is not None else unknown)
                continue
            if nodes <= 0:
                self.unreadable("too many parts")
                return
            nodes -= len(children)
            later: list[tuple[str, object, int]] = []
            for name, child in children:  # plain scalars at once: they are most of any document
                if type(child) is str:
                    self.text(name, child, level)
                elif type(child) is int or type(child) is float:
                    self.add(name, child)
                else:
                    later.append((name, child, depth + 1))
            stack.extend(reversed(later))

    def form(self, path: str, text: str, level: int) -> None:
        """The leaves of a form or query string."""
        for piece in text.split("&"):
            if not piece:
                continue
            name, equals, value = piece.partition("=")
            name, value = unquote_plus(name), unquote_plus(value)
            if not equals:
                self.text(join(path, "*"), name, level)
                continue
            here = self.named(path, name)
            self._key(here, name, level)
            self.text(here, value, level)

    def named(self, path: str, name: str) -> str:
        """`path` extended by a name from outside: `user[em][0]` is `user.em[0]`."""
        plain = _FIELD.fullmatch(name) and not _MANY_DIGITS.search(name)
        for piece in (_PIECES.findall(name)[:8] if plain else []) or ["*"]:
            step = f"[{piece}]" if piece.isdecimal() and len(piece) < 6 else self.segment(piece)  # noqa: PLR2004 -- longer is no index
            path = join(path, step)
        return path

    def segment(self, key: str) -> str:
        """`key` when it looks like a name, else `*`: data may stand where names are expected."""
        known = self._segments.get(key)
        if known is None:
            plain = _NAME.fullmatch(key) and not _MANY_DIGITS.search(key)
            known = self._segments[key] = key if plain else "*"
        return known

    def _children(self, path: str, node: object, level: int) -> list[tuple[str, object]] | None:
        """Paths and values below a container; None when it can't be looked into."""
        if type(node) is Pairs:
            return self._members(path, node, level)
        if issubclass(type(node), dict):
            return self._members(path, dict.items(cast("dict[object, object]", node)), level)
        for kind, iterate in _SEQUENCES:
            if issubclass(type(node), kind):
                return self._items(path, list(iterate(node)))
        numpy = sys.modules.get("numpy")  # never imported for this
        if type(node) is array or (numpy and issubclass(type(node), numpy.ndarray | numpy.generic)):
            return self._buffer(path, node)
        if issubclass(type(node), Enum):
            return [(path, object.__getattribute__(node, "_value_"))]
        if "__policyguard_sealed__" in type(node).__dict__:
            return []  # a seal lets nothing out; its label is found by its type
        parts = held(node)
        if parts is not None:
            return [(path, part) for part in parts]
        fields = stored_fields(node)
        return None if fields is None else self._members(path, fields, level)

    def _key(self, here: str, name: str, level: int) -> None:
        """A key; one that is long enough may hold a document, like any text."""
        if len(name) < _LONG_KEY:
            self.add(f"{here}#key", name)
        else:
            self.text(f"{here}#key", name, level)

    def _members(
        self, path: str, pairs: Iterable[tuple[object, object]], level: int
    ) -> list[tuple[str, object]]:
        children: list[tuple[str, object]] = []
        for key, value in pairs:
            if issubclass(type(key), str):
                name = str.__str__(cast("str", key))
                here = join(path, self.segment(name))
                self._key(here, name, level)
            else:
                here = join(path, "*")
                children.append((f"{here}#key", key))  # a tuple, an enumeration, a frozen object
            children.append((here, value))
        return children

    def _items(self, path: str, items: list[Any]) -> list[tuple[str, object]]:
        if len(items) >= _VECTOR and _NUMBERS.issuperset(map(type, items)):
            self.add(path, tuple(items))
            return []
        return [(f"{path}[{place}]", item) for place, item in enumerate(items)]

    def _buffer(self, path: str, node: object) -> list[tuple[str, object]] | None:
        items = buffer_items(node)
        return None if items is None else self._items(path, items)

    def _document(self, path: str, text: str, level: int) -> None:
        """The document that a string holds: JSON, base64 of JSON, a token, a URL, a form."""
        start = text[0]
        if start.isspace():
            text = text.strip()
            start = text[:1]
        if start in ("{", "[") and text.rstrip()[-1] in "}]":
            self.json(path, text, level)
        elif start == "%" and text[:3].upper() in ("%7B", "%5B"):
            self.json(path, unquote(text), level)
        elif text.startswith(_BASE64_JSON) and (_BASE64.fullmatch(text) or _TOKEN.fullmatch(text)):
            for piece in text.split(".")[:2]:  # the third part of a token is its signature
                self._encoded(path, piece, level)
        elif "://" in text[:24] and "?" in text and _URL.fullmatch(text):
            self.form(f"{path}?", text.partition("?")[2].partition("#")[0], level)
        elif "&" in text and "=" in text and _FORM.fullmatch(text):
            self.form(f"{path}?", text, level)

    def _encoded(self, path: str, piece: str, level: int) -> None:
        plain = piece.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            data = base64.b64decode(plain + "=" * (-len(plain) % 4))
            text = decompress(data, None, self.limits).decode()
        except (binascii.Error, ValueError, UnreadableError):
            # Denies nothing: it stays a leaf, and the search decodes base64 on its own.
            return
        self.text(path, text, level)

    def _too_deep(self, text: str) -> bool:
        """Whether brackets nest beyond the cap, told before a recursive parser sees them."""
        limit = self.limits.depth
        if text.count("[") + text.count("{") <= limit:
            return False
        brackets = _BRACKETS.sub("", _STRINGS.sub("", text))
        return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > limit


def join(path: str, step: str) -> str:
    """`path` and one more step: a name after a dot, an index as it is."""
    if not path:
        return step
    return f"{path}{step}" if step.startswith("[") or path.endswith("?") else f"{path}.{step}"


def looks_like_form(text: str) -> bool:
    """Whether `text` is nothing but `name=value` pairs."""
    # What ends in `=` only is more likely base64; as text it is searched just as well.
    return "=" in text.rstrip("=")[:129] and _FORM.fullmatch(text) is not None


def _integer(text: str) -> int | str:
    """Giant integers stay text: Python refuses to read or write them."""
    return int(text) if len(text) <= _DIGITS_OF_AN_INTEGER else text
