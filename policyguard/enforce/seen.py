"""Which labels a value carries by what its scope has seen: the search of an argument.

Layer: enforce. Start reading at `labels_seen`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from policyguard.enforce.ports import Strength
from policyguard.inspectors.payload import Payload, leaves, value_leaves
from policyguard.labels.recent import Remembers
from policyguard.policy.datamap import DataMap
from policyguard.policy.flow import Label

# What was labelled here can't all be searched for, so nothing that leaves is known to be clean.
INCOMPLETE: Final = Label(
    "", source="a labelled value that can't be searched for", evidence="suspected"
)
# What an unresolved statement may give: any data, so any label, so none that can be named.
ANYTHING: Final = Label("", source="a statement that can't be resolved", evidence="suspected")
_NO_KEYS: Final = (type(None), bool, int, float)
_UNKNOWN_OBJECT: Final = "unknown object"
_BINARY: Final = "binary body"


class Seen(NamedTuple):
    """A label that a value carries.

    Attributes:
        label: what it is; data "" when it can't be told.
        where: path of names inside the value.
        strength: of the evidence.
    """

    label: Label
    where: str
    strength: Strength


def labels_seen(registry: Remembers, value: object, fields: DataMap | None = None) -> list[Seen]:
    """The labels of a value that is about to leave, and the doubts about it.

    Args:
        registry: what the scope remembers.
        value: what is about to leave.
        fields: a data map that labels keys; None where none does.

    Cost: nothing but a look where nothing labelled was seen; else that of `Registry.search`. A
        data map that labels keys has every value looked at.
    """
    blank = not len(registry) and not registry.saturated
    if blank and (fields is None or type(value) in _NO_KEYS):
        return []
    payload = value_leaves(value)
    parts, why = opened(payload)
    found = [*labels_named(parts, fields), *(Seen(*hit) for hit in registry.search(parts))]
    if blank:
        return found
    if registry.saturated:
        found.append(Seen(INCOMPLETE, "", "strong"))
    elif why:
        # An object that is no data, such as a client, is shown; data that nobody can read to the
        # end may hold anything that was seen.
        strength: Strength = "weak" if why == _UNKNOWN_OBJECT else "strong"
        found.append(Seen(Label("", source=why, evidence="suspected"), "", strength))
    return found


def labels_named(parts: Iterable[tuple[str, object]], fields: DataMap | None) -> Iterator[Seen]:
    """The labels that the data map gives to keys, for values that are there."""
    if fields is None:
        return
    for path, leaf in parts:
        if leaf is None or leaf == "" or path.endswith("#key"):
            continue
        for label in fields.field(path):
            yield Seen(label, path, "strong")


def is_opaque(value: object) -> bool:
    """Whether a value is an object that is no data and shows none, such as a client."""
    payload = value_leaves(value)
    return payload.why == _UNKNOWN_OBJECT and not payload.leaves


def opened(payload: Payload) -> tuple[list[tuple[str, object]], str]:
    """All leaves, and those of the documents in bytes, such as encoded JSON; why not all of them.

    Bytes that are no text are searched for as a whole, like any other value.
    """
    parts, why = list(payload.leaves), payload.why
    for path, leaf in payload.leaves:
        if isinstance(leaf, bytes | bytearray | memoryview):
            inner = leaves(bytes(leaf), None)
            parts += [(f"{path}.{name}".strip("."), part) for name, part in inner.leaves]
            if not inner.readable and inner.why != _BINARY and why in {"", _UNKNOWN_OBJECT}:
                why = inner.why
    return parts, why
