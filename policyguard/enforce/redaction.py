"""A copy of a Python value without the parts that may not leave.

Layer: enforce. Requests stand in `redact_request`. Start reading at `redacted_value`.

INVARIANT: what can't be looked into never stands in the copy as it is, and no method of an
application's class is called: values are read and copied as they are stored.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, time
from decimal import Decimal
from enum import Enum
from types import MappingProxyType, MemberDescriptorType
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from policyguard.enforce.look import Denied, Look, Together, is_short, numbers_in
from policyguard.enforce.seen import opened
from policyguard.errors import TermError
from policyguard.inspectors.payload import value_leaves
from policyguard.labels.contents import as_vector
from policyguard.labels.recent import Remembers
from policyguard.labels.sealed import Sealed
from policyguard.labels.typed import (
    REDACTED,
    children_of,
    is_redacted,
    labels_of_hint,
    labels_of_value,
)
from policyguard.policy.held import VIEWS, is_lazy
from policyguard.policy.held import held as held_in
from policyguard.policy.stored import stored, stored_fields

Children = list[tuple[str, object, object]]

_BYTES: Final = REDACTED.encode()
_BUFFERS: Final = (bytes, bytearray, memoryview)
_SCALARS: Final = (str, *_BUFFERS, int, float, date, time, Decimal, UUID, Enum)
_DEPTH: Final = 200
_NODES: Final = 200_000
# The base type's own iteration: a subclass may have another, and that is the application's code.
_SEQUENCES: Final[tuple[tuple[type, Callable[[Any], Iterable[object]]], ...]] = (
    (list, list.__iter__),
    (tuple, tuple.__iter__),
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
    (deque, deque.__iter__),
)
_FOREIGN: Final = "__mapper__"
_OWN: Final = ("__", "_sa_")
_ROWS: Final = "sqlalchemy.engine.row"
_EXTRA: Final = "__pydantic_extra__"
_SAME: Final = object()


class Redaction(NamedTuple):
    """A value as it may leave.

    Attributes:
        value: the copy.
        complete: everything was looked into, and nothing that is denied is found in the copy.
    """

    value: object
    complete: bool

    def __repr__(self) -> str:
        """Whether it is complete; never the value."""
        return f"Redaction(complete={self.complete})"


def redacted_value(
    value: object, registry: Remembers, denied: Denied, *, hint: object = None
) -> Redaction:
    """A copy of a value in which every denied part is `REDACTED`.

    A text that only contains a denied value is replaced as a whole, and so is a vector or an array.
    Bytes become the placeholder as bytes. Keys count like values; where two keys are denied, the
    later value stays. Parts without anything denied are shared with the original, which is left as
    it was. A container that holds itself has the placeholder in the inner place.

    Args:
        value: scalars, containers, dataclass, pydantic, attrs and other annotated objects, arrays.
        registry: what is remembered.
        denied: whether a label may not leave.
        hint: the annotation under which the value stands, where there is one.

    Returns:
        The copy. It is not complete where something couldn't be looked into (`REDACTED` stands
        there too) or copied, where it nests deeper than 200, or where the registry is saturated.

    Raises:
        TermError: an annotation that names a category can't be evaluated.

    Cost: one search of the whole where nothing is denied; else one of every leaf, 10 to 20 us each.
    """
    try:
        return _redacted(value, Look(registry, denied), hint)
    except TermError:
        raise
    except Exception:  # noqa: BLE001 - containers may change while they are read; objects are foreign
        # Denies: what couldn't be copied doesn't leave.
        return Redaction(REDACTED, complete=False)


def _redacted(value: object, look: Look, hint: object) -> Redaction:
    if not len(look.registry):
        walk = _Walk(look, searching=False)
        copy = walk.part("", value, hint, 0)
        complete = walk.complete and not look.registry.saturated
        return Redaction(copy, complete and not _typed(copy, look, hint))
    leaves, why = opened(value_leaves(value))
    searching = bool(why) or look.finds(leaves)
    if searching:
        look.prepare(leaf for _, leaf in leaves)
    walk = _Walk(look, searching=searching)
    copy = walk.part("", value, hint, 0)
    complete = walk.complete
    leaves, why = opened(value_leaves(copy))
    found = look.finds(leaves)
    if found:
        # Parts that are a value only together, such as a vector spelt out.
        together = Together(look, len(leaves))
        walk = _Walk(look, searching=True, together=together)
        copy = walk.part("", copy, hint, 0)
        complete = complete and walk.complete and not together.exhausted
        leaves, why = opened(value_leaves(copy))
        found = look.finds(leaves)
    clean = not (why or look.registry.saturated or found)
    return Redaction(copy, complete and clean and not _typed(copy, look, hint))


def _typed(copy: object, look: Look, hint: object) -> bool:
    """Whether an annotated field that is denied still holds something."""
    return any(
        look.any_of(part.labels) and not is_redacted(part.value)
        for part in labels_of_value(copy, hint)
    )


class _Walk:
    """One pass over a value.

    Attributes:
        complete: everything was looked into.
    """

    __slots__ = (
        "_active",
        "_left",
        "_look",
        "_made",
        "_numbers",
        "_searching",
        "_together",
        "complete",
    )

    def __init__(self, look: Look, *, searching: bool, together: Together | None = None) -> None:
        self._look, self._searching, self._together = look, searching, together
        self._active: set[int] = set()
        self._made: dict[tuple[int, int], tuple[object, object, object, int]] = {}
        self._numbers: list[int] = []
        self._left = _NODES
        self.complete = True

    def part(self, path: str, node: object, hint: object, depth: int) -> object:
        """The node as it may leave: itself where nothing in it is denied."""
        if node is None:
            return node  # nothing carries no label
        labels = labels_of_hint(hint, path)
        if type(node) is Sealed:
            label = node.label
            labels = (*labels, label if label.source else replace(label, source=path))
        if labels and self._look.any_of(labels):
            return _placeholder(node)
        if type(node) is Sealed:
            return node  # shut: it shows its category only
        if type(node) is bool:
            return node
        kind = type(node)
        if issubclass(kind, _SCALARS) or _is_array(node):
            return self._scalar(node) if self._searching else node
        key = (id(node), id(hint))
        if key in self._made:
            self._numbers.append(self._made[key][3])
            return self._made[key][2]
        if id(node) in self._active:
            return REDACTED
        self._left -= 1
        if depth >= _DEPTH or self._left < 0:
            return self._unread()
        self._active.add(id(node))
        around, self._numbers = self._numbers, []
        made = self._container(path, node, hint, depth + 1)
        self._active.discard(id(node))
        made, count = self._checked(made)
        self._numbers = around
        self._numbers.append(count)
        # Node and hint are kept so that their ids stay theirs.
        self._made[key] = (node, hint, made, count)
        return made

    def _checked(self, made: object) -> tuple[object, int]:
        """A container unless it is denied as a whole, and how many numbers are left in it."""
        if self._together is None or made is REDACTED:
            return made, 0
        count, most = sum(self._numbers), max(self._numbers, default=0)
        if self._together.finds(count, most, lambda: opened(value_leaves(made))[0]):
            return REDACTED, 0
        return made, count

    def _scalar(self, node: object) -> object:
        if self._together is not None:
            self._numbers.append(numbers_in(node))
            return node
        if is_short(node):
            return REDACTED if self._look.leaf(node) else node
        leaves, why = opened(value_leaves(node))
        if self._look.finds(leaves):
            return _placeholder(node)
        return self._unread() if why else node

    def _unread(self) -> object:
        self.complete = False
        return REDACTED

    def _container(self, path: str, node: object, hint: object, depth: int) -> object:
        children = children_of(path, node, hint)
        if issubclass(type(node), dict):
            return self._mapping(cast("dict[object, object]", node), children, depth)
        for kind, iterate in _SEQUENCES:
            if issubclass(type(node), kind):
                return self._sequence(node, list(iterate(node)), children, depth)
        return self._object(node, children, depth)

    def _mapping(self, node: dict[object, object], children: Children, depth: int) -> object:
        changed = False
        made: dict[object, object] = {}
        for key, (path, held, hint) in zip(list(dict.keys(node)), children, strict=True):
            name = self.part("", key, None, depth)
            if name is not key and not is_redacted(name):
                name = REDACTED
            value = self.part(path, held, hint, depth)
            changed = changed or name is not key or value is not held
            made[name] = value
        return made if changed else node

    def _sequence(
        self, node: object, items: list[object], children: Children, depth: int
    ) -> object:
        if as_vector(items) is not None:
            return REDACTED if self._searching and self._look.leaf(items) else node
        made = [self.part(path, held, hint, depth) for path, held, hint in children]
        if all(after is before for after, before in zip(made, items, strict=True)):
            return node
        kind = type(node)
        if issubclass(kind, tuple):
            return tuple.__new__(kind, made)  # a named tuple keeps its names
        plain = next(base for base in (list, set, frozenset, deque) if issubclass(kind, base))
        return plain(made)

    def _object(self, node: object, children: Children, depth: int) -> object:
        kind = type(node)
        if kind.__module__ == _ROWS:
            # A row can't be made by hand: it leaves as it is or not at all.
            return self._unread() if self._searching and self._look.leaf(node) else node
        parts = held_in(node)
        if parts is not None:
            return self._standard(node, parts, depth)
        if stored_fields(node) is None and (len(self._look.registry) or is_lazy(node)):
            return self._unread()
        fields = {path.removeprefix(f"{kind.__name__}."): (path, h) for path, _, h in children}
        changes = {}
        for name, before in stored(node):
            if name in fields or self._told(name, before):
                path, hint = fields.get(name, (name, None))
                after = self.part(path, before, hint, depth)
                if after is not before:
                    changes[name] = after
        if not changes:
            return node
        copy = _copied(node, changes)
        return self._unread() if copy is None else copy

    def _standard(self, node: object, parts: list[object], depth: int) -> object:
        """A view as a view or list of a copy; other wrappers stay as they are, or don't leave."""
        made = [self.part("", part, None, depth) for part in parts]
        if all(after is before for after, before in zip(made, parts, strict=True)):
            return node
        if not issubclass(type(node), VIEWS):
            return self._unread()
        (copy,) = made
        if type(copy) is not dict:
            return copy
        return MappingProxyType(copy) if type(node) is MappingProxyType else copy.items()

    def _told(self, name: str, value: object) -> bool:
        """Whether what a library stores beside an object's fields holds something denied."""
        if name == _EXTRA:
            return True
        return name.startswith(_OWN) and self._searching and self._look.leaf(value)


def _placeholder(node: object) -> object:
    return _BYTES if issubclass(type(node), _BUFFERS) else REDACTED


def _copied(node: object, changes: dict[str, object]) -> object | None:
    """A copy with other values in some fields, no code of the class run; None if impossible."""
    kind = type(node)
    if any(_FOREIGN in base.__dict__ for base in kind.__mro__):
        return None  # an entity belongs to its session, and so would the copy
    try:
        copy = object.__new__(kind)
        for base in kind.__mro__:
            for name, member in base.__dict__.items():
                if type(member) is MemberDescriptorType:
                    _fill(member, node, copy, changes.get(name, _SAME))
        held = _dict_of(node)
        kept = {name: changes.get(name, value) for name, value in held.items()}
        _dict_of(copy).update(kept)
    except (TypeError, AttributeError):
        # Denies: what can't be copied doesn't leave.
        return None
    return copy


def _fill(member: MemberDescriptorType, node: object, copy: object, changed: object) -> None:
    try:
        value = member.__get__(node) if changed is _SAME else changed
    except AttributeError:
        # Denies nothing: a slot that was never set stays so.
        return
    member.__set__(copy, value)


def _dict_of(node: object) -> dict[str, object]:
    """The instance's dict; an empty one of nobody's for a class that has none."""
    try:
        held: dict[str, object] = object.__getattribute__(node, "__dict__")
    except AttributeError:
        # Denies nothing: without a dict there are only slots.
        return {}
    return held


def _is_array(node: object) -> bool:
    numpy = sys.modules.get("numpy")  # never imported for this: no numpy, no arrays
    kinds = (array,) if numpy is None else (array, numpy.ndarray, numpy.generic)
    return issubclass(type(node), kinds)
