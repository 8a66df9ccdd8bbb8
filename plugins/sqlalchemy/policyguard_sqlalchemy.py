"""Holds every statement of SQLAlchemy to the policy, and labels the rows that come back.

Name `sqlalchemy` under `plugins` in the configuration, or call `guard.install("sqlalchemy")`. Every
engine is covered, sync and async, also those that exist already: the official event
`before_cursor_execute` is heard on the class. The rows of labelled columns are remembered as they
are fetched; a statement that touches no labelled column is left alone.

Start reading at `Plugin.install`.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Engine

from policyguard.enforce.seen import ANYTHING
from policyguard.stores.database import OWN, OWN_MARK

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard
    from policyguard.enforce.sql import SqlCheck

_DIALECTS: Final = {
    "postgresql": "postgres",
    "mariadb": "mysql",
    "mssql": "tsql",
}
Processor = Callable[[Any], Any]
_LARGEST_JSON: Final = 1 << 20
_SMALLEST_VECTOR, _LARGEST_VECTOR = 64, 1 << 17
_SMALLEST, _LARGEST = 1e-12, 1e9


class Plugin:
    """Listens to every engine."""

    name = "sqlalchemy"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Listen before and after each cursor execution."""
        # A second guard looks for labels of its own.
        mine = f"policyguard_check_{id(guard)}"

        def before(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            del cursor
            if connection.get_execution_options().get(OWN) is OWN_MARK:
                # What the guard asks its own store is no flow of the program.
                return
            name, (parameters, context, *_) = connection.dialect.name, rest
            dialect = _DIALECTS.get(name, name)
            check = guard.sql(statement, dialect=dialect, parameters=parameters)
            if context is not None:
                setattr(context, mine, check if check.labelled else None)

        def after(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            del connection, statement
            _, context, many = rest
            check = getattr(context, mine, None)
            if check is None:
                return
            processors = _processors(context, cursor)
            if many:
                _label_returned(context, LabellingCursor(guard, cursor, check, processors))
            elif context.cursor is cursor or isinstance(context.cursor, LabellingCursor):
                context.cursor = LabellingCursor(guard, context.cursor, check, processors)

        event.listen(Engine, "before_cursor_execute", before)
        event.listen(Engine, "after_cursor_execute", after)

        def undo() -> None:
            event.remove(Engine, "before_cursor_execute", before)
            event.remove(Engine, "after_cursor_execute", after)

        return undo


class LabellingCursor:
    """A database cursor whose fetched rows are remembered; everything else is the cursor's own.

    Cost: one step per labelled column of a fetched row.
    """

    def __init__(
        self, guard: Guard, cursor: Any, check: SqlCheck, processors: Sequence[Processor | None]
    ) -> None:
        self._guard, self._cursor = guard, cursor
        self._processors = processors or (None,) * len(check.labels)
        self._columns = tuple((i, labels) for i, labels in enumerate(check.labels) if labels)
        self._everything = check.unresolved

    def __getattr__(self, name: str) -> Any:
        """As of the cursor."""
        return getattr(self._cursor, name)

    def __iter__(self) -> Iterator[Any]:
        """Rows, remembered as they come."""
        for row in self._cursor:
            self._remember((row,))
            yield row

    def fetchone(self) -> Any:
        """As of the cursor."""
        row = self._cursor.fetchone()
        if row is not None:
            self._remember((row,))
        return row

    def fetchmany(self, *size: Any, **more: Any) -> Any:
        """As of the cursor."""
        rows = self._cursor.fetchmany(*size, **more)
        self._remember(rows)
        return rows

    def fetchall(self) -> Any:
        """As of the cursor."""
        rows = self._cursor.fetchall()
        self._remember(rows)
        return rows

    def remembered(self, rows: Sequence[Any]) -> Sequence[Any]:
        """The rows, remembered."""
        self._remember(rows)
        return rows

    def _remember(self, rows: Sequence[Any]) -> None:
        remember = self._guard.remember
        for row in rows:
            if self._everything:
                for value in row:
                    remember(_opened(value), ANYTHING)
            for position, labels in self._columns:
                value = row[position]
                remember(_opened(value), *labels)
                process = self._processors[position]
                if process is not None and value is not None:
                    remember(_processed(process, value), *labels)


def _processors(context: Any, cursor: Any) -> Sequence[Processor | None]:
    """What each column's type makes of the driver's value; empty where columns have no types."""
    entries = getattr(context.compiled, "_result_columns", None) if context.compiled else None
    described = cursor.description or ()
    if not entries or len(entries) != len(described):
        return ()
    dialect = context.dialect
    return [
        entry.type.dialect_impl(dialect).result_processor(dialect, column[1])
        for entry, column in zip(entries, described, strict=True)
    ]


def _processed(process: Processor, value: Any) -> Any:
    """The value as the application will see it: decrypted, unpickled, of its own type."""
    try:
        made = process(value)
    except Exception:  # noqa: BLE001 - a type's code is the application's own
        # Denies nothing: the application gets the same error instead of the value.
        return None
    if isinstance(made, Enum):
        return [made.name, made.value]
    return _opened(made)


def _label_returned(context: Any, labelling: LabellingCursor) -> None:
    """Remember what an INSERT of many rows returns: SQLAlchemy fetches it batch by batch."""
    fetch = getattr(type(context), "fetchall_for_returning", None)
    if fetch is not None:
        context.fetchall_for_returning = lambda cursor: labelling.remembered(fetch(context, cursor))


def _opened(value: Any) -> Any:
    """A column as the application will see it: a driver may give JSON's text, a vector's bytes."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return [value, *_vectors(bytes(value))]
    if isinstance(value, str) and value.lstrip()[:1] in {"[", "{"} and len(value) <= _LARGEST_JSON:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            # Denies nothing: the text itself is remembered instead.
            return value
    return value


def _vectors(data: bytes) -> Iterator[array[float]]:
    """The numbers in a vector's bytes, as `ndarray.tobytes` gives them; none in other bytes."""
    if not _SMALLEST_VECTOR <= len(data) <= _LARGEST_VECTOR:
        return
    for numbers in (array("f"), array("d")):
        if len(data) % numbers.itemsize == 0:
            numbers.frombytes(data)
            # Bytes of anything else, such as a picture, hold numbers of absurd size.
            if all(_SMALLEST < abs(number) < _LARGEST or number == 0 for number in numbers):
                yield numbers
