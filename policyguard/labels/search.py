"""Find remembered values in the leaves of a payload.

Layer: labels. Start reading at `Search.run`. Used through `policyguard.labels.registry`.

Most look-ups end at a sieve of short hashes, which costs a twentieth of a keyed digest; only what
passes is digested and looked up.
"""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from policyguard.labels.contents import as_vector, number_text, scalar_text
from policyguard.labels.variants import (
    fold,
    hashes_in,
    is_hash_size,
    views,
    words,
)
from policyguard.labels.vectors import SHORTEST, Vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from policyguard.policy.flow import Label

_WEAK, _STRONG, _LONG = 1, 2, 3  # grades of registry.py; 0 is never looked for inside text
_SIEVE: Final = 0x3FFFF
_SHORT: Final = 0xFFFF
_ANCHOR: Final = 8
_HASH: Final = 32
"""The shortest hash in hexadecimal."""
_CODED: Final = re.compile(r"[%\\&]|[A-Za-z0-9+/_-]{8}|(?:[0-9A-Fa-f]{2}[ :-]){3}")
"""Without one of these nothing is encoded: base64 of the shortest address has eight characters."""
_WINDOWS: Final = 64 * 1024
_DECODED: Final = 64 * 1024 * 1024
_EACH: Final = 256
"""A decoding costs at least as much as so many characters."""
_LAYERS: Final = 4
_PLACES: Final = 64
_MEMO: Final = 50_000
_NUMBER: Final = re.compile(r"[-+]?(?:\d{1,20}\.?\d{0,30}|\.\d{1,30})(?:[eE][-+]?\d{1,3})?")
_SPACING: Final = re.compile(r"[,;\s|&]")
_DIGITS: Final = re.compile(r"\d+")

_BYTES: Final = frozenset({bytes, bytearray, memoryview})
_SEQUENCES: Final = frozenset({list, tuple, array})

Hits = frozenset[tuple["Label", bool]]
_NONE: Final[Hits] = frozenset()


class Mark(NamedTuple):
    """Labels of a remembered value, and how much the value tells (0 tiny to 3 long)."""

    labels: tuple[Label, ...]
    grade: int


class Index:
    """The fingerprints of one scope. Written under the registry's lock, read without.

    The short hashes in `sieve`, `firsts`, `runs` and `anchors` are Python's own, 16 or 18 bits:
    they only save digests and decide nothing.
    """

    __slots__ = (
        "anchors",
        "count",
        "firsts",
        "leaves",
        "longest_raw",
        "runs",
        "shortest",
        "sieve",
        "vectors",
    )

    def __init__(self) -> None:
        self.count = 0
        self.leaves: dict[int, tuple[Mark, ...]] = {}
        self.sieve: set[int] = set()
        self.firsts: set[int] = set()
        self.runs: dict[int, tuple[int, ...]] = {}
        self.anchors: dict[int, tuple[int, ...]] = {}
        self.vectors: Vectors[Mark] = Vectors()
        self.longest_raw = 0
        self.shortest = 1 << 30  # of the values in `anchors`

    def put(self, digest: int, text: str | None, mark: Mark) -> None:
        """A digest and its mark; `text` feeds the sieve and is not kept."""
        marks = self.leaves.get(digest, ())
        if mark not in marks:
            self.leaves[digest] = (*marks, mark)
        if text is not None:
            self.sieve.add(hash(text) & _SIEVE)

    def add_run(self, parts: Sequence[str]) -> None:
        """So many words, starting with these two, are to be tried as one value."""
        if not parts:
            return
        first = hash(parts[0]) & _SHORT
        second = hash(parts[1]) & _SHORT if len(parts) > 1 else 0
        _extend(self.runs, first << 16 | second if len(parts) > 1 else -1 - first, len(parts))
        self.firsts.add(first)

    def add_anchor(self, folded: str, *, strong: bool) -> None:
        """So many characters, starting with these eight, are to be tried as one value."""
        if strong and len(folded) >= _ANCHOR:
            _extend(self.anchors, hash(folded[:_ANCHOR]) & _SHORT, len(folded))
            self.shortest = min(self.shortest, len(folded))


class Search:
    """One search: its budgets, and what it has seen already."""

    __slots__ = ("_decoded", "_digest", "_found", "_index", "_keys", "_memo", "_windows")

    def __init__(self, index: Index, digest: Callable[[bytes], int]) -> None:
        self._index, self._digest = index, digest
        self._windows, self._decoded = _WINDOWS, _DECODED
        self._memo: dict[str, Hits] = {}
        self._found: dict[tuple[Label, bool], dict[str, None]] = {}
        self._keys: set[str] = set()

    def run(self, leaves: Iterable[tuple[str, object]]) -> Iterator[tuple[Label, str, bool]]:
        """Label, place and strength of everything found, strong first."""
        series: dict[str, list[float]] = {}
        vectors = self._index.vectors.count > 0
        for path, value in leaves:
            self._note(path, self._leaf(value))
            if vectors and not path.endswith("#key"):
                number = _number(value)
                if number is not None:
                    series.setdefault(_DIGITS.sub("", path), []).append(number)
        for stem, numbers in series.items():
            self._series(stem, numbers)
        for strong in (True, False):
            for (label, is_strong), places in self._found.items():
                if is_strong is strong:
                    for place in places:
                        yield label, self._masked(place), strong

    def _leaf(self, value: object) -> Hits:
        if type(value) is str:
            return self._text(value, _LAYERS)
        if value is None or type(value) is bool:
            return _NONE
        if type(value) in _BYTES:
            return self._raw(bytes(cast("bytes", value)))
        if type(value) in _SEQUENCES:
            return self._numbers(list(cast("list[object]", value)))
        if type(value) is int or type(value) is float:
            return self._exact(number_text(value))
        scalar = scalar_text(value)
        if scalar is None:
            return _NONE
        return _NONE.union(*(self._exact(fold(text)) for text in scalar.spellings))

    def _text(self, text: str, layers: int) -> Hits:
        known = self._memo.get(text)
        if known is not None:
            return known
        folded = fold(text)
        hits = self._exact(folded)
        parts = words(folded)
        core = "".join(parts)
        if core != folded:
            hits |= self._exact(core)
        if len(parts) > 1:
            hits |= self._word_runs(parts)
        if len(folded) > self._index.shortest:
            hits |= self._anchored(folded)
        if len(text) >= _HASH:
            for raw in hashes_in(text):
                hits |= self._look_up(b"h" + raw, whole=True)
        if layers and _CODED.search(text):
            hits |= self._decodings(text, layers - 1)
        if self._index.vectors.count:
            hits |= self._written_vector(text)
        if len(self._memo) < _MEMO:
            self._memo[text] = hits
        return hits

    def _exact(self, folded: str) -> Hits:
        if hash(folded) & _SIEVE not in self._index.sieve:
            return _NONE
        return self._look_up(b"t" + folded.encode("utf-8", "surrogatepass"), whole=True)

    def _part(self, folded: str) -> Hits:
        if hash(folded) & _SIEVE not in self._index.sieve:
            return _NONE
        return self._look_up(b"t" + folded.encode("utf-8", "surrogatepass"), whole=False)

    def _look_up(self, data: bytes, *, whole: bool) -> Hits:
        marks = self._index.leaves.get(self._digest(data))
        if marks is None:
            return _NONE
        needed = _STRONG if whole else _LONG
        return frozenset(
            (label, mark.grade >= needed)
            for mark in marks
            if whole or mark.grade >= _WEAK
            for label in mark.labels
        )

    def _word_runs(self, parts: list[str]) -> Hits:
        """Values that stand between word boundaries of a longer text."""
        firsts, runs = self._index.firsts, self._index.runs
        short = [hash(part) & _SHORT for part in parts]
        hits = _NONE
        last = len(parts) - 1
        for place, first in enumerate(short):
            if first not in firsts:
                continue
            if -1 - first in runs:
                hits |= self._part(parts[place])
            if place < last:
                for size in runs.get(first << 16 | short[place + 1], ()):
                    if place + size <= last + 1 and size <= last:
                        hits |= self._part("".join(parts[place : place + size]))
        return hits

    def _anchored(self, folded: str) -> Hits:
        """Values that stand anywhere in a longer text, glued to what is around them."""
        anchors = self._index.anchors
        stop = min(len(folded) - self._index.shortest + 1, self._windows)
        if not anchors or stop <= 0:
            return _NONE
        self._windows -= stop
        hits = _NONE
        for start in [at for at in range(stop) if hash(folded[at : at + 8]) & 0xFFFF in anchors]:
            for size in anchors[hash(folded[start : start + _ANCHOR]) & _SHORT]:
                if start + size <= len(folded) and size < len(folded):
                    hits |= self._part(folded[start : start + size])
        return hits

    def _decodings(self, text: str, layers: int) -> Hits:
        hits = _NONE
        for view in views(text):
            self._decoded -= len(view) + _EACH
            if self._decoded < 0:
                break
            if isinstance(view, bytes):
                hits |= self._raw(view)
            elif view != text:
                hits |= self._text(view, layers)
        return hits

    def _raw(self, data: bytes) -> Hits:
        hits = self._look_up(b"h" + data, whole=True) if is_hash_size(data) else _NONE
        if len(data) <= self._index.longest_raw:
            hits |= self._look_up(b"b" + data, whole=True)
        if self._index.vectors.count:
            hits |= _labels(self._index.vectors.find_packed(data))
        return hits

    def _numbers(self, numbers: list[object]) -> Hits:
        hits = _NONE
        for number in numbers:
            if type(number) is int or len(numbers) < SHORTEST:
                hits |= self._leaf(number)
        vector = as_vector(numbers) if self._index.vectors.count else None
        return hits | _labels(self._index.vectors.find(vector)) if vector is not None else hits

    def _written_vector(self, text: str) -> Hits:
        """Numbers in a text: CSV, PostgreSQL's vector type, a repr."""
        if len(text) < 2 * SHORTEST or len(_SPACING.findall(text, 0, 4096)) < SHORTEST - 1:
            return _NONE
        numbers = array("d", map(float, _NUMBER.findall(text)))
        return _labels(self._index.vectors.find(numbers))

    def _series(self, stem: str, series: list[float]) -> None:
        """Numbers under paths that differ in their digits only: a vector spelt out as leaves."""
        if len(series) >= SHORTEST:
            self._note(stem, _labels(self._index.vectors.find(array("d", series))))

    def _note(self, path: str, hits: Hits) -> None:
        if not hits:
            return
        if path.endswith("#key"):
            self._keys.add(path.removesuffix("#key"))
        for label, strong in hits:
            if strong or path not in self._found.get((label, True), ()):
                places = self._found.setdefault((label, strong), {})
                if len(places) < _PLACES:
                    places[path] = None

    def _masked(self, path: str) -> str:
        """`path` without the keys that turned out to be remembered values."""
        if not self._keys:
            return path
        clean = path
        for key in sorted(self._keys, key=len, reverse=True):
            rest = path[len(key) :]
            if path.startswith(key) and (not rest or rest[0] in ".[#"):
                head = key.rpartition(".")[0]
                clean = f"{head}.*{clean[len(key) :]}" if head else f"*{clean[len(key) :]}"
        return clean


def _labels(marks: Iterator[Mark]) -> Hits:
    return frozenset((label, True) for mark in marks for label in mark.labels)


def _number(value: object) -> float | None:
    """A number, or a text that is nothing but one: a component of a vector spelt out as leaves."""
    if type(value) is str:
        if len(value) > 32 or not _NUMBER.fullmatch(value):  # noqa: PLR2004 -- no float is longer
            return None
        return float(value)
    if type(value) is float or (type(value) is int and number_text(value)):
        return float(value) if abs(value) < 1e300 else None  # noqa: PLR2004 -- giant integers are no components
    return None


def _extend(table: dict[int, tuple[int, ...]], key: int, size: int) -> None:
    sizes = table.get(key, ())
    if size not in sizes:
        table[key] = (*sizes, size)
