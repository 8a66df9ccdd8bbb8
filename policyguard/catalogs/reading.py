"""Files that describe a schema, read within bounds; and the one error of this layer.

Layer: catalogs. Start reading at `read_bytes`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from policyguard.errors import PolicyGuardError
from policyguard.policy.loader import Limits, printable, read_regular

MOST_BYTES: Final = 1 << 28
MOST_COLUMNS: Final = 500_000
MOST_NAME: Final = 1_024


class SchemaError(PolicyGuardError):
    """A schema can't be read: no such file, no connection, or it says nothing usable.

    Holds names of files, tables and drivers; never a password, a value or a foreign text.
    """

    code = "PG507"


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file.

    Raises:
        SchemaError: it can't be read, or is larger than `most`.
    """
    shown = printable(str(path), MOST_NAME)
    try:
        return read_regular(path, Limits(size=most))
    except (OSError, ValueError) as error:
        # Denies: without its file there is no schema.
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise SchemaError(f"{shown}: {str(why or 'unknown cause').lower()}") from None


def read_utf8(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a file.

    Raises:
        SchemaError: as `read_bytes`, or it isn't UTF-8.
    """
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Denies: bytes that aren't UTF-8 could read as anything.
        shown = printable(str(path), MOST_NAME)
        raise SchemaError(f"{shown}: not UTF-8 text (byte {error.start + 1})") from None


def read_object(path: Path, needs: str = "not a JSON object") -> dict[str, Any]:
    """A file that holds one JSON object.

    Args:
        path: the file.
        needs: what is said of a file that holds something else.

    Raises:
        SchemaError: it can't be read, isn't JSON, is nested too deep, or is no object.
    """
    shown = printable(str(path), MOST_NAME)
    try:
        tree = json.loads(read_utf8(path))
    except json.JSONDecodeError as error:
        # Denies: text that isn't JSON to its end describes nothing.
        raise SchemaError(f"{shown}:{error.lineno}:{error.colno}: not JSON") from None
    except RecursionError:
        # Denies: as above.
        raise SchemaError(f"{shown}: nested too deep") from None
    except ValueError:
        # Denies: as above; a number of too many digits.
        raise SchemaError(f"{shown}: not JSON") from None
    if not isinstance(tree, dict):
        raise SchemaError(f"{shown}: {needs}")
    return tree


def mapping(value: object) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one: what isn't there says nothing."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str:
    """The value if it is text, else ""."""
    return value if isinstance(value, str) else ""


def dotted(*parts: object) -> str:
    """The parts of a table's name that there are, with dots between."""
    return ".".join(part for part in parts if isinstance(part, str) and part)


def check_size(columns: int, name: str) -> None:
    """Refuse a schema that nobody has.

    Raises:
        SchemaError: more than `MOST_COLUMNS` columns.
    """
    if columns > MOST_COLUMNS:
        raise SchemaError(f"{printable(name, MOST_NAME)}: more than {MOST_COLUMNS} columns")
