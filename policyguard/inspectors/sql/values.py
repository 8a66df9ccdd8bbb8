"""What is known about a value and about a relation while a statement is walked.

Layer: inspectors. Imports nothing of policyguard but the model. Start reading at `Value`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from policyguard.inspectors.sql.model import Source, Via

Pair = tuple[str, Via]
Pairs = frozenset[Pair]
NOTHING: Final[Pairs] = frozenset()


@dataclass(frozen=True, slots=True)
class Value:
    """Base columns that flow into a value, and its parts when it is a whole row."""

    sources: Pairs = NOTHING
    fields: tuple[tuple[str, Value], ...] = ()


EMPTY: Final = Value()

_AFTER: Final[Mapping[Via, Mapping[Via, Via]]] = {
    # What a value becomes (outer key) that was already something (inner key). A hash or a total
    # stays what it is, whatever is computed from it; only decrypting brings the value back.
    "derived": {"direct": "derived", "derived": "derived"},
    "hashed": {"direct": "hashed", "derived": "hashed", "encrypted": "hashed"},
    "encrypted": {"direct": "encrypted", "derived": "encrypted"},
    "aggregated": {
        "direct": "aggregated",
        "derived": "aggregated",
        "hashed": "aggregated",
        "encrypted": "aggregated",
    },
    "direct": {},
}


def became(pairs: Pairs, via: Via) -> Pairs:
    """The sources after the value went through something of that kind."""
    if not pairs or via == "direct":
        return pairs
    step = _AFTER[via]
    return frozenset((column, step.get(old, old)) for column, old in pairs)


def opened(pairs: Pairs) -> Pairs:
    """The sources after decryption: nothing protects them any more."""
    return frozenset((column, "derived" if old == "encrypted" else old) for column, old in pairs)


def union(values: Iterable[Value]) -> Pairs:
    """All sources of some values."""
    return frozenset().union(*(value.sources for value in values))


def columns_of(pairs: Pairs) -> frozenset[str]:
    """The base columns, whatever happened to them."""
    return frozenset(column for column, _ in pairs)


def as_sources(pairs: Pairs) -> tuple[Source, ...]:
    """Sorted public form; `derived` beside `direct` of the same column says nothing more."""
    direct = {column for column, via in pairs if via == "direct"}
    return tuple(
        sorted(Source(col, via) for col, via in pairs if via != "derived" or col not in direct)
    )


Columns = list[tuple[str, Value]]


@dataclass(slots=True)
class Relation:
    """A table, view, subquery or function in FROM, as the walk sees it.

    Attributes:
        columns: name and value, in order; a column without a name has "".
        base: its columns are base columns: naming one is a read.
        table: the base table's name; "" for anything else.
        unlisted: the value of a column that isn't listed, by its folded name; None when there
            can't be one.
        shape: base columns that decide which rows it has.
        size_known: whether `*` stands for exactly the listed columns.
        types: declared types of base columns, by name.
    """

    columns: Columns
    base: bool = False
    table: str = ""
    unlisted: Callable[[str], Value] | None = None
    shape: frozenset[str] = frozenset()
    size_known: bool = True
    types: Mapping[str, str] = field(default_factory=dict)
    _exact: dict[str, list[Value]] = field(default_factory=dict)
    _loose: dict[str, list[Value]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Index the columns by name, with and without letter case."""
        for name, value in self.columns:
            self._exact.setdefault(name, []).append(value)
            self._loose.setdefault(name.casefold(), []).append(value)

    def named(self, name: str) -> Value | None:
        """The column of a folded name: by spelling, else by letters; several become one."""
        hits = self._exact.get(name) or self._loose.get(name.casefold())
        if hits is None or not name:
            return None
        return hits[0] if len(hits) == 1 else Value(union(hits))

    def spells(self, name: str) -> bool:
        """Whether a column is listed in exactly that spelling."""
        return name in self._exact

    def unnamed(self) -> Value | None:
        """What a name may mean that isn't listed: a column whose name can't be told."""
        hits = self._exact.get("")
        return Value(union(hits)) if hits else None

    def row(self) -> Value:
        """The whole row as one value."""
        named = tuple((name, value) for name, value in self.columns if name)
        return Value(union(value for _, value in self.columns), named)

    def renamed(self, names: list[str]) -> Relation:
        """With the first columns called otherwise (`AS t(a, b)`)."""
        columns = [
            (names[i] if i < len(names) else name, value)
            for i, (name, value) in enumerate(self.columns)
        ]
        return Relation(
            columns, self.base, self.table, self.unlisted, self.shape, self.size_known, self.types
        )
