"""Data that COPY moves: which query it runs, and which rows its bytes are.

Layer: enforce. For integrations with PostgreSQL. COPY TO STDOUT hands rows to the program itself,
so what it copies is judged as the query that it is. Start reading at `copied_query`.
"""

from __future__ import annotations

import csv
import json
import re
import struct
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple

from policyguard.enforce.drivers import Checked
from policyguard.enforce.rows import Rows

_PIECE: Final = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | \$(\w*)\$.*?\$\1\$ | --[^\n]* | /\*.*?\*/ | [()] """,
    re.DOTALL | re.VERBOSE,
)
_NAME: Final = r"""(?:"(?:[^"]|"")+"|[A-Za-z_]\w*)"""
_TABLE: Final = re.compile(
    rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*(?:\(([^()']*)\)\s*)?(?=to\b)", re.IGNORECASE
)
_INTO: Final = re.compile(
    rf"\s*{_NAME}(?:\s*\.\s*{_NAME})*\s*(?:\([^()']*\)\s*)?from\s+stdin\b", re.IGNORECASE
)
_WHERE: Final = re.compile(r"\bwhere\b", re.IGNORECASE)
_COPY: Final = re.compile(r"\s*copy\b\s*", re.IGNORECASE)
_OUT: Final = re.compile(r"\s*to\s+stdout\b[^;]*;?\s*\Z", re.IGNORECASE)
_DELIMITER: Final = re.compile(r"\bdelimiter\s+(?:as\s+)?e?'(\\t|.)'", re.IGNORECASE)
_ODD: Final = re.compile(r"\b(quote|escape|encoding)\b", re.IGNORECASE)
_BINARY: Final = re.compile(r"\bbinary\b", re.IGNORECASE)
_CSV: Final = re.compile(r"\bcsv\b", re.IGNORECASE)
_HEADER: Final = re.compile(r"\bheader\b(?!\s+(false|off|0)\b)", re.IGNORECASE)
_ESCAPED: Final = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_FLOATS: Final = {700: ">f", 701: ">d"}


class Copy(NamedTuple):
    """COPY ... TO STDOUT, taken apart: `before + query + after` copies the same.

    Attributes:
        before: up to the query.
        query: what is copied.
        after: from the query on, with the options.
    """

    before: str
    query: str
    after: str


def copied_query(text: str) -> Copy | None:
    """The query whose rows a COPY TO STDOUT gives; None if the text is anything else."""
    start = _COPY.match(text)
    if start is None:
        return None
    if text[start.end() : start.end() + 1] == "(":
        end = _closing(text, start.end())
        if end and _OUT.match(text, end):
            return Copy(text[: start.end() + 1], text[start.end() + 1 : end - 1], text[end - 1 :])
        return None
    table = _TABLE.match(text, start.end())
    if table is None or not _OUT.match(text, table.end()):
        return None
    query = f"SELECT {table[2] or '*'} FROM {table[1]}"  # noqa: S608 - the same statement, said otherwise
    return Copy(f"{start[0]}(", query, f") {text[table.end() :]}")


def copied_into(text: str) -> Copy | None:
    """A COPY FROM STDIN without its options, which read nothing; None if the text isn't one."""
    start = _COPY.match(text)
    table = _INTO.match(text, start.end()) if start is not None else None
    if table is None or _WHERE.search(text, table.end()) or ";" in text[table.end() :].rstrip("; "):
        return None
    return Copy("", text[: table.end()], text[table.end() :])


def _closing(text: str, opening: int) -> int:
    """Where the bracket that opens at a place is closed, after it; 0 if nowhere."""
    depth = 0
    for piece in _PIECE.finditer(text, opening):
        depth += {"(": 1, ")": -1}.get(piece[0], 0)
        if depth == 0:
            return piece.end()
    return 0


class CopiedRows:
    """Remembers the rows in the bytes that a COPY TO STDOUT gives.

    What isn't understood is remembered as anything: nothing that leaves is known to be clean then.

    Args:
        checked: what was found of the query.
        options: what stands after it.
        binary: whether the server sends its binary format.
    """

    def __init__(self, checked: Checked, options: str, *, binary: bool | None = None) -> None:
        self._checked, self._binary = checked, binary
        if binary is None:
            self._binary = bool(_BINARY.search(options))
        found = _DELIMITER.search(options)
        self._csv = bool(_CSV.search(options))
        self._delimiter = found[1].replace("\\t", "\t") if found else "," if self._csv else "\t"
        self._odd = bool(_ODD.search(options))
        self._header = bool(_HEADER.search(options)) and not self._binary
        self._rest = b""

    def seen(self, data: bytes | memoryview) -> None:
        """Remember the rows of a chunk."""
        raw = self._rest + bytes(data)
        try:
            rows = list(_binary_rows(raw) if self._binary else self._text_rows(raw))
        except (ValueError, csv.Error, struct.error, IndexError):
            # Denies: what leaves from now on: any value may be hidden in what wasn't understood.
            rows, self._odd = [], True
        if self._odd:
            self._unknown(raw)
        if self._header and rows:
            # Names of columns are no data.
            self._header, rows = False, rows[1:]
        self._checked.seen(rows)

    def row(self, values: Sequence[Any]) -> None:
        """Remember a row as the driver made it of the bytes."""
        self._checked.seen_one(values)

    def _text_rows(self, raw: bytes) -> Iterator[list[Any]]:
        lines = raw.decode()
        if self._csv:
            return iter(
                list(csv.reader(lines.splitlines(keepends=True), delimiter=self._delimiter))
            )
        # A line that is cut off goes on in the next chunk.
        whole, _, rest = lines.rpartition("\n")
        self._rest = rest.encode()
        found = (line.rstrip("\r") for line in whole.split("\n") if line)
        return ([_unescaped(field) for field in line.split(self._delimiter)] for line in found)

    def _unknown(self, raw: bytes) -> None:
        for part in self._checked.parts:
            check = replace(part.check, unresolved=True) if part.check.labelled else None
            if check is not None:
                Rows(part.guard, check).seen_one([raw.decode(errors="replace")])


def fields_of(data: object) -> list[Any]:
    """What is written by COPY FROM STDIN, in pieces that can be looked for."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        raw = bytes(data)
        if raw.startswith(_SIGNATURE):
            with suppress(ValueError, struct.error, IndexError):
                # Denies nothing by itself: the bytes are searched as they are, too.
                return [raw, *_binary_rows(raw)]
        data = raw.decode(errors="replace")
    if not isinstance(data, str):
        return [data]
    lines = data.splitlines()
    cut = [re.split(r"[\t,;|]", line) for line in lines]
    return [data, *([_unescaped(field.strip('"')) for field in fields] for fields in cut)]


def _unescaped(field: str) -> Any:
    """A field of the text format; an array of numbers as numbers."""
    if field == r"\N":
        return None
    if field[:1] == "{" and field[-1:] == "}":
        with suppress(ValueError):
            # Denies nothing: an array of anything else is remembered as its text.
            return json.loads(f"[{field[1:-1]}]")
    return _ESCAPED.sub(_letter, field) if "\\" in field else field


def _letter(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8))
    return _LETTERS.get(code, code)


def _binary_rows(raw: bytes) -> Iterator[list[Any]]:
    """Rows of the binary format, one or many in a chunk."""
    place = 0
    if raw.startswith(_SIGNATURE):
        (extension,) = struct.unpack_from(">I", raw, len(_SIGNATURE) + 4)
        place = len(_SIGNATURE) + 8 + extension
    while place < len(raw):
        (width,) = struct.unpack_from(">h", raw, place)
        place += 2
        if width < 0:
            break
        row: list[Any] = []
        for _ in range(width):
            (size,) = struct.unpack_from(">i", raw, place)
            place += 4
            if size < 0:
                row.append(None)
                continue
            if place + size > len(raw):
                raise ValueError("a row is cut off")
            row.append(_meant(raw[place : place + size]))
            place += size
        yield row


def _meant(field: bytes) -> Any:
    """A binary field as all that it may stand for: its type isn't told."""
    found: list[Any] = [field]
    with suppress(UnicodeDecodeError):
        # Denies nothing: bytes that are no text are remembered as they are.
        found.append(field.decode())
    with suppress(struct.error, ValueError):
        # As above.
        found.append(_numbers(field))
    for size, code in ((2, ">h"), (4, ">i"), (4, ">f"), (8, ">q"), (8, ">d")):
        if len(field) == size:
            found.append(struct.unpack(code, field)[0])
    return found


def _numbers(field: bytes) -> array[float]:
    """An array of one dimension, whose elements are numbers.

    Raises:
        ValueError: it is none.
    """
    dimensions, _, kind, count = struct.unpack_from(">iiIi", field)
    if dimensions != 1 or kind not in _FLOATS or not 0 < count <= len(field):
        raise ValueError("no array of numbers")
    made, place = array("d"), 20
    for _ in range(count):
        (size,) = struct.unpack_from(">i", field, place)
        made.append(struct.unpack_from(_FLOATS[kind], field, place + 4)[0])
        place += 4 + size
    return made
