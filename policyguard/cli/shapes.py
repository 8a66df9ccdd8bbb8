"""Options that commands share, and plain tables.

Layer: cli. Start reading at `rows_in_columns`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final

import typer

_WIDTH: Final = 96

Table = Iterator[tuple[str, ...]]
PolicyWord = Annotated[str, typer.Argument(metavar="POLICY", help="File or id of the policy.")]


class Listing(StrEnum):
    """For a person, or for a program."""

    text = "text"
    json = "json"


Format = Annotated[Listing, typer.Option("--format", help="How to print it.")]


class Rows(StrEnum):
    """For a person, or one JSON object a line."""

    text = "text"
    jsonl = "jsonl"


class Page(StrEnum):
    """A document to read."""

    text = "text"
    markdown = "markdown"
    html = "html"


class SchemaKind(StrEnum):
    """Which file a JSON Schema describes."""

    policy = "policy"
    data_map = "data-map"
    config = "config"


def rows_in_columns(rows: Table) -> list[str]:
    """Rows of cells as lines, the columns as wide as their widest cell."""
    cells = list(rows)
    columns = max((len(row) for row in cells), default=0)
    widths = [max((len(r[i]) for r in cells if i < len(r)), default=0) for i in range(columns)]
    return [
        "  ".join(cell.ljust(widths[i]) for i, cell in enumerate(row)).rstrip() for row in cells
    ]


def wrapped(text: str, mark: str = "") -> list[str]:
    """A paragraph as lines; the first starts with the mark, the others below its text."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )
