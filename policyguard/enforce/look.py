"""Asks whether something that may not leave stands in leaves, in one of them or in several.

Layer: enforce. Redaction asks here, part by part. Start reading at `Look`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from policyguard.enforce.seen import opened
from policyguard.inspectors.payload import value_leaves
from policyguard.labels.recent import Remembers
from policyguard.labels.vectors import SHORTEST
from policyguard.policy.flow import Label

Denied = Callable[[Label], bool]
Leaf = tuple[str, object]

_SHORT: Final = 200
_KEPT: Final = 200_000
_AT_ONCE: Final = 64
"""No more places are reported for one label."""
_PASSES: Final = 8
_SOME: Final = 50_000
_NUMBER: Final = re.compile(r"[-+.0-9eE]{1,32}")


class Look:
    """Asks whether something denied stands in leaves; each label is asked about once."""

    __slots__ = ("_denied", "_known", "_values", "registry")

    def __init__(self, registry: Remembers, denied: Denied) -> None:
        self.registry, self._denied = registry, denied
        self._known: dict[Label, bool] = {}
        self._values: dict[tuple[type, object], bool] = {}

    def denied(self, label: Label) -> bool:
        """Whether what carries this label may not leave."""
        known = self._known.get(label)
        if known is None:
            known = self._known[label] = self._denied(label)
        return known

    def any_of(self, labels: Iterable[Label]) -> bool:
        """Whether one of these labels is denied."""
        return any(self.denied(label) for label in labels)

    def finds(self, leaves: Iterable[Leaf]) -> bool:
        """Whether a remembered value that is denied stands in these leaves."""
        return self.any_of(hit.label for hit in self.registry.search(leaves))

    def leaf(self, value: object) -> bool:
        """The same for one value and the documents that it may hold. What is short stands often."""
        if not is_short(value):
            return self.finds(opened(value_leaves(value))[0])
        known = self._values.get((type(value), value))
        if known is None:
            known = self.finds(value_leaves(value).leaves)
            self._keep(value, found=known)
        return known

    def prepare(self, values: Iterable[object]) -> None:
        """Search many values together; afterwards `leaf` knows the short ones in which nothing is.

        Cost: some 6 us a value, a third of what one by one costs.
        """
        plain = {
            (type(value), value): None
            for value in values
            if is_short(value) and (type(value), value) not in self._values
        }
        single = [
            value
            for kind, value in plain
            if kind is not str or len(value_leaves(value).leaves) == 1
        ]
        for start in range(0, len(single), _AT_ONCE):
            some = single[start : start + _AT_ONCE]
            hits = self.registry.search([(str(place), value) for place, value in enumerate(some)])
            where = {hit.where for hit in hits}
            for place, value in enumerate(some):
                if str(place) not in where:
                    self._keep(value, found=False)

    def _keep(self, value: object, *, found: bool) -> None:
        if len(self._values) < _KEPT:
            self._values[type(value), value] = found


class Together:
    """Asks for values that several leaves are only together: a vector spelt out, number by number.

    Args:
        look: asks.
        size: how many leaves there are; the work is eight times as much, and a little.
    """

    __slots__ = ("_left", "_look", "exhausted")

    def __init__(self, look: Look, size: int) -> None:
        self._look, self._left = look, _PASSES * size + _SOME
        self.exhausted = False

    def finds(
        self, count: int, most: int, leaves: Callable[[], Iterable[tuple[str, object]]]
    ) -> bool:
        """Whether something denied stands in a container; True too where the work got too much.

        Args:
            count: how many numbers there are in it, see `numbers_in`.
            most: how many of them one part holds: where that is all of them, it was asked about.
            leaves: of the container.
        """
        if count < SHORTEST or count == most:
            return False
        if self._left < 0:
            self.exhausted = True
            return True
        found = list(leaves())
        self._left -= len(found)
        return self._look.finds(numbers_of(found))


def numbers_of(leaves: Iterable[Leaf]) -> list[Leaf]:
    """What of the leaves can be a part of something that is a value only together."""
    return [leaf for leaf in leaves if _may_count(leaf[1])]


def numbers_in(value: object) -> int:
    """How many numbers a scalar adds to what is around it, rather too many; cost: some 3 us."""
    if value is None or type(value) is bool:
        return 0
    if type(value) is int or type(value) is float:
        return 1
    if type(value) is not str:
        return SHORTEST
    inside = len(value_leaves(value).leaves)
    return inside if inside > 1 else int(_may_count(value))


def _may_count(value: object) -> bool:
    return type(value) is not str or _NUMBER.fullmatch(value) is not None


def is_short(value: object) -> bool:
    """Whether `Look.leaf` keeps its answer about a value; such a value can be read to its end."""
    if type(value) is str:
        return len(value) <= _SHORT
    return type(value) is int or type(value) is float
