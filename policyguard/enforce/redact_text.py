"""Documents with placeholders in the place of what may not leave: JSON, forms, XML, CSV, text.

Layer: enforce. Everything that isn't replaced stays as it was written, sign by sign. What a
document becomes is checked by the caller: a replacement that isn't enough is found there. Start
reading at `redacted_text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import unescape
from typing import Final
from urllib.parse import unquote_plus

from policyguard.enforce.look import Look, Together, numbers_in, numbers_of
from policyguard.inspectors.leaves import Collector, looks_like_form
from policyguard.inspectors.payload import DEFAULT_LIMITS, leaves
from policyguard.labels.typed import REDACTED
from policyguard.labels.vectors import SHORTEST

QUOTED: Final = "%5Bredacted%5D"
"""The placeholder in a URL or form."""

_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = json.dumps(REDACTED)
_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}:,]|[^\s\[\]{}:,"]++', re.DOTALL)
_MARKUP: Final = re.compile(r"(?<=>)[^<>]+(?=<)")
_CELL: Final = re.compile(
    r"""(?:\A|(?<=[,;\t\r\n]))\ *+"(?:[^"]++|"")*+"(?=\ *(?:[,;\t\r\n]|\Z))|[^,;\t\r\n]+"""
)
"""A cell of CSV, whole where it is quoted."""
_PIECE: Final = re.compile(r"[^,;\t\r\n]+")
_DIGITS: Final = 400

Holds = Callable[[object], bool]


def redacted_text(text: str, mime: str, look: Look) -> str | None:
    """A document without what is denied; None where there is no safe way.

    JSON keeps its shape: a value or key becomes the placeholder, a vector one placeholder. Forms
    keep their fields, XML and HTML their tags, CSV its cells. Any other text is replaced whole.

    Args:
        text: something denied stands in it.
        mime: its declared type, "" if none.
        look: what is denied.
    """
    plain = text.strip().removeprefix("\ufeff")
    start = text.find(plain)
    made = _document(plain, mime, look)
    return None if made is None else text[:start] + made + text[start + len(plain) :]


def redacted_form(text: str, holds: Holds) -> str:
    """A form or a query string with the placeholder for denied names and values.

    Args:
        text: as sent.
        holds: whether something denied stands in one decoded name or value.
    """
    return "&".join(_pair(piece, holds) for piece in text.split("&"))


def _pair(piece: str, holds: Holds) -> str:
    name, equals, value = piece.partition("=")
    if name and holds(unquote_plus(name)):
        name = QUOTED
    if value and holds(unquote_plus(value)):
        value = QUOTED
    return f"{name}{equals}{value}"


def _document(plain: str, mime: str, look: Look) -> str | None:
    declared = "json" in mime
    if declared or plain[:1] in ("{", "[", '"'):
        made = _json(plain, look)
        if made is not None or declared:
            return made
    if mime == _FORM or looks_like_form(plain):
        return redacted_form(plain, look.leaf)
    if "xml" in mime or "html" in mime or plain.startswith("<"):
        return _MARKUP.sub(lambda found: _between(found, look), plain)
    if "csv" in mime or "tab-separated" in mime:
        return _CELL.sub(lambda found: _cell(found, look), plain)
    return REDACTED


def _between(found: re.Match[str], look: Look) -> str:
    """What stands between two tags."""
    return REDACTED if look.leaf(unescape(found[0])) else found[0]


def _cell(found: re.Match[str], look: Look) -> str:
    """A cell of CSV; what a reader that knows no quotes makes of it counts too."""
    plain = found[0].strip(" \"'").replace('""', '"')
    pieces = [piece.strip(" \"'") for piece in _PIECE.findall(found[0])]
    return REDACTED if any(map(look.leaf, {plain, *pieces})) else found[0]


def _json(text: str, look: Look) -> str | None:
    """One JSON document, or one on each line; None for anything else."""
    if _is_json(text):
        return _redacted_json(text, look)
    lines = text.splitlines(keepends=True)
    if len(lines) < 2 or lines[0].lstrip()[:1] not in ("{", "["):  # noqa: PLR2004 -- one line was tried
        return None
    made = []
    for line in lines:
        plain = line.rstrip()
        if _is_json(plain):
            document = _redacted_json(plain, look)
            if document is None:
                return None
            made.append(document + line[len(plain) :])
        elif look.leaf(line):
            return None
        else:
            made.append(line)
    return "".join(made)


def _is_json(text: str) -> bool:
    return Collector(DEFAULT_LIMITS).json("", text, 0)


def _redacted_json(text: str, look: Look) -> str | None:
    tree, tokens = _tree(text)
    look.prepare(tokens.values())
    denied = {token for token, value in tokens.items() if look.leaf(value)}
    pieces: list[str] = []
    _write(text, tree, look, denied, pieces)
    made = "".join(pieces)
    found = _leaves(made)
    if not look.finds(numbers_of(found)):
        return made
    # Parts that are a value only together, such as a vector spelt out.
    together, pieces = Together(look, len(found)), []
    tree, tokens = _tree(made)
    counts = {token: numbers_in(value) for token, value in tokens.items()}
    _write_joined(made, tree, counts, together, pieces)
    return None if together.exhausted else "".join(pieces)


def _leaves(text: str) -> tuple[tuple[str, object], ...]:
    return leaves(text.encode("utf-8", "surrogatepass"), "application/json").leaves


@dataclass(slots=True)
class _Node:
    """One value or key of a JSON text, by its place; the first sign tells its kind."""

    start: int
    end: int = 0
    parts: list[_Node] = field(default_factory=list)


def _tree(text: str) -> tuple[_Node, dict[str, object]]:
    """The places of everything in a text that is known to be JSON, and what its scalars stand for.

    Cost: linear.
    """
    root = _Node(0, len(text))
    open_nodes = [root]
    tokens: dict[str, object] = {}
    for found in _TOKEN.finditer(text):
        token = found[0]
        sign = token[0]
        if sign in ":,":
            continue
        if sign in "]}":
            open_nodes.pop().end = found.end()
            continue
        node = _Node(found.start(), found.end())
        open_nodes[-1].parts.append(node)
        if sign in "[{":
            open_nodes.append(node)
        elif token not in tokens:
            tokens[token] = json.loads(token, parse_int=_integer)
    return root, tokens


def _write(text: str, node: _Node, look: Look, denied: set[str], pieces: list[str]) -> None:
    """Add the text of a node with placeholders for what is denied.

    Args:
        text: the whole document.
        node: in it.
        look: for vectors.
        denied: scalars, as they are written.
        pieces: what is written so far.
    """
    if not node.parts:
        token = text[node.start : node.end]
        pieces.append(_JSON if token in denied else token)
        return
    vector = _vector(text, node)
    if vector is not None:
        pieces.append(_JSON if look.leaf(vector) else text[node.start : node.end])
        return
    at = node.start
    for part in node.parts:
        pieces.append(text[at : part.start])
        _write(text, part, look, denied, pieces)
        at = part.end
    pieces.append(text[at : node.end])


def _write_joined(
    text: str, node: _Node, counts: dict[str, int], together: Together, pieces: list[str]
) -> int:
    """Add the text of a node with placeholders for containers that are denied as a whole.

    Args:
        text: the whole document.
        node: in it.
        counts: how many numbers a scalar holds, as it is written.
        together: what is denied as a whole.
        pieces: what is written so far.

    Returns:
        How many numbers are left in the node.
    """
    if not node.parts or _vector(text, node) is not None:
        token = text[node.start : node.end]
        pieces.append(token)
        return counts.get(token, 0)
    at, first, numbers = node.start, len(pieces), []
    for part in node.parts:
        pieces.append(text[at : part.start])
        numbers.append(_write_joined(text, part, counts, together, pieces))
        at = part.end
    pieces.append(text[at : node.end])
    count = sum(numbers)
    if not together.finds(count, max(numbers), lambda: _leaves("".join(pieces[first:]))):
        return count
    pieces[first:] = [_JSON]
    return 0


def _vector(text: str, node: _Node) -> tuple[int | float | str, ...] | None:
    """The numbers of an array that holds nothing else, at least 16 of them."""
    if text[node.start : node.start + 1] != "[" or len(node.parts) < SHORTEST:
        return None
    tokens = [text[part.start : part.end] for part in node.parts]
    if any(token[0] in '"{[tfn' for token in tokens):
        return None
    return tuple(json.loads(token, parse_int=_integer) for token in tokens)


def _integer(text: str) -> int | str:
    """Giant integers stay text, as the search reads them."""
    return int(text) if len(text) <= _DIGITS else text
