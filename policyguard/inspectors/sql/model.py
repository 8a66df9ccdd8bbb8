"""What one SQL statement reads, returns, writes and exports: plain frozen data.

Layer: inspectors. Imports nothing but the standard library. Start reading at `Statement`.

INVARIANT: no field's repr ever shows a literal of the inspected text. Places and proven values
are kept out of every repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Via = Literal["direct", "derived", "hashed", "aggregated", "encrypted"]
How = Literal["filter", "join", "group", "order", "window"]
Link = tuple[str, str]
"""Two base columns that are equal in every row, where both have a value."""
Kind = Literal[
    "select",
    "insert",
    "update",
    "delete",
    "merge",
    "create",
    "drop",
    "alter",
    "truncate",
    "copy",
    "harmless",
    "unknown",
]


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """A base column and what happened to its value on the way.

    Attributes:
        column: `table.column`, as the catalog spells it.
        via: `direct` (the value itself), `derived` (computed from it, or it can be inferred),
            `hashed`, `aggregated`, `encrypted`.
    """

    column: str
    via: Via


@dataclass(frozen=True, slots=True)
class Output:
    """One column of a result, or one column that is written.

    Attributes:
        name: the column's name; "" when the text gives it none.
        sources: sorted; empty when no column flows into it.
    """

    name: str
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """A column that decides which rows come or in which order, without being returned."""

    column: str
    how: How


@dataclass(frozen=True, slots=True)
class Write:
    """Values that are put into a table, or rows taken out of it.

    Attributes:
        table: as the catalog spells it, else as the text does, folded.
        how: insert, update, delete, merge, create, drop.
        outputs: the written columns, each with the sources of its new value.
    """

    table: str
    how: str
    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True, slots=True)
class Export:
    """Rows that leave the database for a place outside of it.

    Attributes:
        kind: stdout, file, program, url or stage.
        place: `s3://bucket`, `@stage` or ""; never a path, a query string or a credential.
        outputs: the exported columns.
    """

    kind: str
    place: str = field(default="", repr=False)
    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """A top-level condition that every returned row meets: `column = value`.

    Attributes:
        column: a base column of a table that the statement reads exactly once.
        value: a boolean, an integer or a short code; not shown in the repr.
    """

    column: str
    value: bool | int | str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Statement:
    """What one statement of a text does with columns.

    Attributes:
        kind: what it is; `unknown` when not even that can be told.
        status: `unresolved` means that anything may be read, written or exported: the other
            fields then hold what was found before the doubt, and must not be relied upon.
        why: for `unresolved`, the reason; "" otherwise. Names and places in the text only.
        reads: every base column that is read anywhere.
        outputs: the result's columns in order; empty when it returns no rows. A result of
            another width (a plan, a driver's own columns) may hold any of `reads` anywhere.
        predicates: the base columns of `uses`.
        uses: predicates with how they are used.
        tables: base tables and views that are read.
        writes: tables written.
        exports: places outside the database.
        facts: what the statement itself proves about its rows.
        links: base columns that are equal in each of its rows.
    """

    kind: Kind
    status: Literal["resolved", "unresolved"]
    why: str = ""
    reads: frozenset[str] = frozenset()
    outputs: tuple[Output, ...] = ()
    predicates: frozenset[str] = frozenset()
    uses: frozenset[Use] = frozenset()
    tables: frozenset[str] = frozenset()
    writes: tuple[Write, ...] = ()
    exports: tuple[Export, ...] = ()
    facts: tuple[Fact, ...] = ()
    links: tuple[Link, ...] = ()

    @property
    def resolved(self) -> bool:
        """Whether the answer may be relied upon."""
        return self.status == "resolved"
