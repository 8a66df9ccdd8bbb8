"""What the statements sent over one connection leave to those after them.

Layer: inspectors. Start reading at `Session`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from sqlglot.tokenizer_core import Token

from policyguard.inspectors.sql.model import Statement
from policyguard.inspectors.sql.values import Relation, Value, union
from policyguard.inspectors.sql.walk import Made

# What makes a name mean another table, or shows other rows; in a comment or a string too, which is
# the strict side.
_SHIFTS: Final = re.compile(
    r"\b(?:set_config\s*\(|pg_settings\b|rename\b"
    r"|create\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+)?"
    r"(?:rule|function|macro|procedure|operator)\b"
    r"|set\s+(?:(?:session|local)\s+)?(?:search_path|schema|role|session|catalog)\b"
    r"|use\s+\w|alter\s+session\b|reset\s+(?:all|role|search_path)\b|discard\s+all\b)",
    re.IGNORECASE,
)
_FULL: Final = "too many tables and statements were made on this connection"
_SHIFTED: Final = "names may mean something else on this connection since an earlier statement"
MAX_MADE: Final = 500
MAX_MEMO: Final = 256

Paths = dict[tuple[str, ...], Made]
Prepared = dict[str, tuple[list[Token], str, Statement]]


@dataclass(slots=True)
class Left:
    """What one text leaves behind.

    Attributes:
        made: relations that were made or filled.
        prepared: tokens, text and answer of prepared statements and cursors, by name.
    """

    made: Paths = field(default_factory=dict)
    prepared: Prepared = field(default_factory=dict)


@dataclass(slots=True)
class Session:
    """One connection: temporary tables, views and prepared statements of all its texts.

    Keep one for each connection and pass it to `inspect`. Not shared by threads.

    INVARIANT: nothing is ever forgotten and nothing hides a base table. Whether a statement really
    ran, or was rolled back, isn't seen here, so a name means all that it may mean.

    Attributes:
        left: what all texts so far left behind.
        doubt: why everything from now on is unresolved, or "": too much was left to be kept, or
            names may mean other tables since a SET or USE.
        memo: answers that are good until something new is left behind.
    """

    left: Left = field(default_factory=Left)
    doubt: str = ""
    memo: dict[object, tuple[Statement, ...]] = field(default_factory=dict, repr=False)

    @property
    def empty(self) -> bool:
        """Whether no text left anything."""
        return not self.left.made and not self.left.prepared and not self.doubt

    def begin(self) -> Left:
        """A working copy for one text, in which nothing is sure."""
        made = {path: replace(one, sure=False) for path, one in self.left.made.items()}
        return Left(made, dict(self.left.prepared))

    def absorb(self, left: Left) -> None:
        """Take over what a text left behind."""
        before = (dict(self.left.made), dict(self.left.prepared))
        for path, made in left.made.items():
            old = self.left.made.get(path)
            self.left.made[path] = made if old is None or old is made else _both(old, made)
        self.left.prepared.update(left.prepared)
        if len(self.left.made) + len(self.left.prepared) > MAX_MADE:
            self.doubt = _FULL
        if before != (self.left.made, self.left.prepared):
            self.memo.clear()

    def notice(self, text: str) -> None:
        """Take notice of a text that isn't understood: it may change what names mean."""
        if _SHIFTS.search(text):
            self.doubt = _SHIFTED

    def reset(self) -> None:
        """Forget everything: the connection was closed, or given back and cleaned."""
        self.left, self.doubt = Left(), ""
        self.memo.clear()


def _both(old: Made, new: Made) -> Made:
    """A name that was made twice holds what either put there."""
    if old.relation.columns == new.relation.columns:
        return replace(new, whole=old.whole or new.whole)
    merged: Mapping[str, Value] = {
        name: Value(
            union(
                value
                for relation in (old.relation, new.relation)
                for own, value in relation.columns
                if own == name
            )
        )
        for name, _ in [*old.relation.columns, *new.relation.columns]
    }
    shape = old.relation.shape | new.relation.shape
    # What is only put into a table doesn't change its columns.
    added = not (old.whole or new.whole)
    size = added and old.relation.size_known and new.relation.size_known
    relation = Relation(list(merged.items()), base=True, shape=shape, size_known=size)
    return Made(relation, whole=old.whole or new.whole, query=None, sure=False)
