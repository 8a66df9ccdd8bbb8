"""Which labels a value carries by what its scope has seen: the search of an argument.

Layer: enforce. Start reading at `labels_seen`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from policyguard.enforce.ports import Strength
from policyguard.inspectors.payload import Payload, leaves, value_leaves
from policyguard.labels.registry import Registry
from policyguard.policy.flow import Label

# What was labelled here can't all be searched for, so nothing that leaves is known to be clean.
INCOMPLETE: Final = Label(
    "", source="a labelled value that can't be searched for", evidence="suspected"
)
_UNKNOWN_OBJECT: Final = "unknown object"


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


def labels_seen(registry: Registry, value: object) -> list[Seen]:
    """The labels of a value that is about to leave, and the doubts about it.

    Cost: nothing but a look where nothing labelled was seen; else that of `Registry.search`.
    """
    if not len(registry) and not registry.saturated:
        return []
    payload = value_leaves(value)
    found = [Seen(*hit) for hit in registry.search(_opened(payload))]
    if registry.saturated:
        found.append(Seen(INCOMPLETE, "", "strong"))
    elif not payload.readable:
        # An object that is no data, such as a client, is shown; data that nobody can read to the
        # end may hold anything that was seen.
        weak = payload.why == _UNKNOWN_OBJECT
        label = Label("", source=payload.why, evidence="suspected")
        found.append(Seen(label, "", "weak" if weak else "strong"))
    return found


def _opened(payload: Payload) -> Iterator[tuple[str, object]]:
    """All leaves, and those of the documents that stand in bytes, such as encoded JSON."""
    for path, leaf in payload.leaves:
        yield path, leaf
        if isinstance(leaf, bytes | bytearray | memoryview):
            for inner, part in leaves(bytes(leaf), None).leaves:
                yield f"{path}.{inner}".strip("."), part
