"""Names and patterns of tables, columns and payload keys: `*` is any characters, `?` is one.

Layer: policy. Imports nothing of policyguard. Start reading at `TablePattern`.
"""

from __future__ import annotations

import re
from typing import Final

Rank = tuple[int, int, int]
"""Greater is more exact."""

_INDEX: Final = re.compile(r"\[\d*\]")
_LONGEST_PATH: Final = 1_024


def _compiled(pattern: str) -> re.Pattern[str]:
    # Atomic groups: the text may come from a payload, and a match must stay linear per star.
    first, *rest = (re.escape(p).replace(r"\?", ".") for p in re.split(r"\*+", pattern))
    body = first
    if rest:
        *inner, last = rest
        body += "".join(f"(?>.*?{part})" for part in inner) + f".*{last}"
    return re.compile(body, re.DOTALL)


class NamePattern:
    """The name of one column, or a pattern of such names."""

    __slots__ = ("_shape", "_text", "rank", "wild")

    def __init__(self, text: str) -> None:
        self._text = text.casefold()
        self.wild = "*" in text or "?" in text
        self._shape = _compiled(self._text) if self.wild else None
        self.rank = (not self.wild, _literal(text))

    def matches(self, folded: str) -> bool:
        """Whether this means the name, which is case-folded already."""
        return bool(self._shape.fullmatch(folded)) if self._shape else folded == self._text


class TablePattern:
    """A table with or without its schema, or a pattern of such names.

    A name that holds `/` or begins with `@` (a bucket, a stage, a file) is one piece.
    """

    __slots__ = ("_parts", "rank", "wild")

    def __init__(self, text: str) -> None:
        self._parts = tuple(NamePattern(part) for part in _pieces(text))
        self.wild = any(part.wild for part in self._parts)
        self.rank = len(self._parts), _literal(text)

    def fits(self, table: str) -> Rank | None:
        """How exactly this means the table; None if it doesn't."""
        names = _pieces(table.casefold())
        mine = self._parts
        if len(names) < len(mine):
            if self.wild:
                # `raw.*` says something about one schema; a bare name might lie in any.
                return None
            mine, level = mine[-len(names) :], 1
        else:
            names, level = names[-len(mine) :], 0 if self.wild else 2
        fits = all(part.matches(name) for part, name in zip(mine, names, strict=True))
        return (level, *self.rank) if fits else None


class FieldPattern:
    """A dotted path of keys, or a pattern of such paths; it fits the end of a path."""

    __slots__ = ("_shape", "rank")

    def __init__(self, text: str) -> None:
        bare = text.casefold()
        while bare.startswith("*."):
            bare = bare[2:]
        self._shape = re.compile(rf"(?:^|(?<=\.))(?:{_compiled(bare).pattern})\Z", re.DOTALL)
        self.rank = "*" not in bare and "?" not in bare, _literal(bare)

    def matches(self, path: str) -> bool:
        """Whether the end of the path is meant. List positions don't count."""
        folded = _INDEX.sub("", path[-_LONGEST_PATH:]).casefold()
        keys = [key for key in folded.split(".") if not key.isdigit()]
        return self._shape.search(".".join(keys)) is not None


def _pieces(name: str) -> tuple[str, ...]:
    return (name,) if "/" in name or name.startswith("@") else tuple(name.split("."))


def _literal(text: str) -> int:
    return len(text) - text.count("*") - text.count("?")
