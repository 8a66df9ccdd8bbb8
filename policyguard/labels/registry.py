"""What was fetched, opened or declared in the scope of one request, as fingerprints.

Layer: labels. Start reading at `Registry.remember`; `policyguard.labels.search` does the finding.

INVARIANT: no value is kept. Leaves are kept as 64-bit keyed digests (BLAKE2b, a random key for each
registry), vectors as a sample of at most 16 components.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import lru_cache, partial
from hashlib import blake2b
from threading import Lock
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from policyguard.labels.contents import OPAQUE, Numbers, Raw, atoms
from policyguard.labels.search import Index, Mark, Search
from policyguard.labels.variants import (
    LONG_BITS,
    STRONG_BITS,
    TINY_BITS,
    fold,
    hashed_forms,
    words,
)
from policyguard.policy.flow import Label, close_form

if TYPE_CHECKING:
    from collections.abc import Iterable

Strength = Literal["strong", "weak"]

_TINY, _WEAK, _STRONG, _LONG = range(4)
_HASH_CAP: Final = 256  # nobody hashes longer identifiers; a longer text is hashed as it is only


class Found(NamedTuple):
    """A label that travels in a payload.

    Attributes:
        label: evidence `fingerprint`; form pseudonymised when only a hash of the value was found.
        where: path of the leaf, names only.
        strength: weak for low entropy and for parts of longer text.
    """

    label: Label
    where: str
    strength: Strength


class Touch:
    """Whether something was ever to be remembered; False proves that nothing can be found.

    A plain attribute of a small object, so that a look costs next to nothing.
    """

    __slots__ = ("used",)

    def __init__(self, *, used: bool = False) -> None:
        self.used = used


class Registry:
    """Remembers labelled values and finds them again in what is about to leave.

    Safe for threads: `remember` takes a lock, `search` takes none and sees each value whole or not
    at all.

    Args:
        key: for the digests; random when None.
        max_values: distinct leaves to remember; more set `saturated`.
        max_vectors: vectors to remember; more set `saturated`.

    Attributes:
        saturated: a cap was hit, so an empty search proves nothing.
        touch: whether something was to be remembered.

    Cost: 10 to 20 us and about 1 KB for each remembered text, 200 us for a vector of 512 numbers.
    """

    __slots__ = ("_index", "_key", "_lock", "_max_values", "_max_vectors", "_saturated", "touch")

    def __init__(
        self, key: bytes | None = None, *, max_values: int = 10_000, max_vectors: int = 1_000
    ) -> None:
        self._key = secrets.token_bytes(32) if key is None else blake2b(key).digest()[:32]
        self._max_values, self._max_vectors = max_values, max_vectors
        self._lock = Lock()
        self._index = Index()
        self._saturated = False
        self.touch = Touch()

    @property
    def saturated(self) -> bool:
        """A cap was hit, so an empty search proves nothing."""
        return self._saturated

    @saturated.setter
    def saturated(self, full: bool) -> None:
        # First: whoever sees the doubt must look.
        self.touch.used = self.touch.used or full
        self._saturated = full

    def __repr__(self) -> str:
        """Counts only."""
        index = self._index
        return f"Registry(values={index.count}, vectors={index.vectors.count})"

    def __len__(self) -> int:
        """How many leaves and vectors are remembered."""
        return self._index.count + self._index.vectors.count

    def remember(self, value: object, labels: tuple[Label, ...]) -> bool:
        """From now on `value`, and everything in it, carries `labels`.

        Args:
            value: scalars, bytes, containers of them, dataclass, pydantic and attrs objects, numpy
                arrays, `array.array`; at least 16 numbers in a row are a vector.
            labels: none means nothing to remember.

        Returns:
            False when some part couldn't be looked into or a cap was hit: the caller then treats
            what leaves as cannot-tell.
        """
        if not labels:
            return True
        self.touch.used = True
        kept, hashed = _as_found(labels)
        complete = True
        with self._lock:
            index = self._index
            for atom in atoms(value):
                if atom is OPAQUE:
                    complete = False
                elif isinstance(atom, Numbers):
                    complete &= self._add_vector(index, atom, kept)
                elif isinstance(atom, Raw):
                    complete &= self._add(index, b"b" + atom.data, Mark(kept, _LONG))
                    index.longest_raw = max(index.longest_raw, len(atom.data))
                else:
                    for text in atom.spellings:
                        complete &= self._add_text(index, text, atom.bits, kept, hashed)
        return complete

    def search(self, leaves: Iterable[tuple[str, object]]) -> tuple[Found, ...]:
        """Which remembered values stand in these leaves.

        Args:
            leaves: (path, value) as `policyguard.inspectors.payload` yields them; a sequence of
                numbers as one leaf, bytes where a part is not text.

        Returns:
            A label once for each place, strong ones first; at most 64 places for each label and
            strength. A path that holds a remembered value as a key is masked.

        Cost: nothing remembered, nothing looked at. Else about 3 us a leaf, 120 ms a megabyte of
        prose, whatever the number of values; 0.2 ms for a vector of 512 numbers, and 1.5 us more
        for each remembered one of its length. Parts that don't begin and end at a word's boundary
        are looked for in the first 64 K characters only, encoded ones in the first 64 M.
        """
        index = self._index
        if not index.count and not index.vectors.count:
            return ()
        hits = Search(index, partial(_digest, self._key)).run(leaves)
        return tuple(
            Found(label, where, "strong" if strong else "weak") for label, where, strong in hits
        )

    def exactly(self, data: bytes) -> tuple[Label, ...]:
        """The labels of bytes that were remembered as a whole, such as a picture; none if not."""
        marks = self._index.leaves.get(_digest(self._key, b"b" + data), ())
        return tuple(label for mark in marks for label in mark.labels)

    def clear(self) -> None:
        """Forget everything; a search under way ends on what it started with."""
        with self._lock:
            self._index = Index()
            self.saturated = False

    def _add_vector(self, index: Index, atom: Numbers, labels: tuple[Label, ...]) -> bool:
        if index.vectors.count >= self._max_vectors:
            self.saturated = True
            return False
        # A vector too regular to tell (all zeros) says nothing about anybody: nothing is missed.
        index.vectors.add(atom.numbers, Mark(labels, _LONG))
        return True

    def _add_text(
        self,
        index: Index,
        text: str,
        told: float,
        labels: tuple[Label, ...],
        hashed: tuple[Label, ...],
    ) -> bool:
        folded = fold(text)
        if not folded:
            return True
        grade = (told >= TINY_BITS) + (told >= STRONG_BITS) + (told >= LONG_BITS)
        mark = Mark(labels, grade)
        digest = _digest(self._key, b"t" + folded.encode("utf-8", "surrogatepass"))
        if mark in index.leaves.get(digest, ()):
            return True
        if not self._room(index, digest):
            return False
        parts = words(folded)
        core = "".join(parts)
        # The helpers first: a search that sees the digest must see them too.
        if grade > _TINY:
            index.add_run(parts)
            index.add_anchor(folded, strong=grade >= _STRONG)
        index.put(digest, folded, mark)
        if core and core != folded:
            index.put(_digest(self._key, b"t" + core.encode("utf-8", "surrogatepass")), core, mark)
        if len(text) <= _HASH_CAP:
            strong = Mark(hashed, _LONG if grade > _TINY else _TINY)
            for raw in hashed_forms(text):
                index.put(_digest(self._key, b"h" + raw), None, strong)
        return True

    def _add(self, index: Index, data: bytes, mark: Mark) -> bool:
        digest = _digest(self._key, data)
        if mark in index.leaves.get(digest, ()):
            return True
        if not self._room(index, digest):
            return False
        index.put(digest, None, mark)
        return True

    def _room(self, index: Index, digest: int) -> bool:
        if digest in index.leaves:
            return True
        if index.count >= self._max_values:
            self.saturated = True
            return False
        index.count += 1
        return True


def _digest(key: bytes, data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8, key=key).digest())


@lru_cache(maxsize=1024)
def _as_found(labels: tuple[Label, ...]) -> tuple[tuple[Label, ...], tuple[Label, ...]]:
    """The labels as a search reports them: for the value itself, and for a hash of it."""
    # What was only suspected when it was read is no stronger when it is found again.
    kept = tuple(
        label if label.evidence == "suspected" else replace(label, evidence="fingerprint")
        for label in labels
    )
    hashed = tuple(
        replace(label, form=close_form({*label.form, "pseudonymised"})) for label in kept
    )
    return kept, hashed
