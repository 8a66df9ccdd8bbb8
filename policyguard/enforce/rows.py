"""Rows that come back from a database: the values of labelled columns are remembered.

Layer: enforce. For integrations with databases. A statement that reads no labelled column needs
none of this; `SqlCheck.labelled` says so. Start reading at `Rows`.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from policyguard.enforce.ages import Ages
from policyguard.enforce.judge import Judge
from policyguard.enforce.seen import ANYTHING

if TYPE_CHECKING:
    from policyguard.enforce.sql import SqlCheck

Processor = Callable[[Any], Any]
_LARGEST_JSON: Final = 1 << 20
_SMALLEST_VECTOR, _LARGEST_VECTOR = 64, 1 << 17
_SMALLEST, _LARGEST = 1e-12, 1e9


class Rows:
    """The labels of one statement's columns, put on the values of its rows.

    Args:
        guard: in whose current scope the values are remembered.
        check: what `guard.sql` said of the statement.
        processors: for each column what the application's own type makes of the driver's value.

    Cost: one step for each labelled column of a row; rows are neither copied nor changed.
    """

    __slots__ = ("_ages", "_columns", "_everything", "_guard", "_named", "_processors", "_width")

    def __init__(
        self, guard: Judge, check: SqlCheck, processors: Sequence[Processor | None] = ()
    ) -> None:
        self._guard, self._everything = guard, check.unresolved
        self._width = len(check.labels)
        self._ages = Ages(guard, check.clocks, check.names) if check.clocks else None
        self._processors = processors or (None,) * self._width
        self._columns = tuple((i, labels) for i, labels in enumerate(check.labels) if labels)
        self._named = {
            name: labels
            for name, labels in zip(check.names, check.labels, strict=False)
            if labels and name
        }

    def seen(self, rows: Iterable[Any]) -> None:
        """Remember the labelled values of rows: sequences in the statement's order, or mappings."""
        for row in rows:
            self.seen_one(row)

    def seen_one(self, row: Any) -> None:
        """Remember the labelled values of one row.

        Raises:
            PolicyViolation: the row is older than its data may be kept, and the mode is block.
        """
        if row is None:
            return
        if self._ages is not None:
            self._ages.seen(row)
        if self._everything or (isinstance(row, Sequence) and len(row) != self._width):
            # A row of another width, such as a plan, may hold any column anywhere.
            self._all(row)
        elif isinstance(row, Mapping):
            self._by_name(row)
        else:
            self._by_place(row)

    def _by_place(self, row: Sequence[Any]) -> None:
        remember = self._guard.remember
        for place, labels in self._columns:
            value = row[place]
            remember(opened(value), *labels)
            process = self._processors[place]
            if process is not None and value is not None:
                remember(_processed(process, value), *labels)

    def _by_name(self, row: Mapping[Any, Any]) -> None:
        if len(self._named) != len(self._columns):
            # Two columns of one name, or one without: which of them stands here can't be told.
            every = tuple({label: None for _, labels in self._columns for label in labels})
            for value in row.values():
                self._guard.remember(opened(value), *every)
            return
        for name, labels in self._named.items():
            if name in row:
                self._guard.remember(opened(row[name]), *labels)
            else:
                # The driver calls it otherwise.
                self._all(row)
                return

    def _all(self, row: Any) -> None:
        """Every value may be anything that the statement read."""
        values = row.values() if isinstance(row, Mapping) else row
        labels = tuple({label: None for _, labels in self._columns for label in labels})
        for value in values:
            self._guard.remember(opened(value), *(() if self._everything else labels), ANYTHING)


def opened(value: Any) -> Any:
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


def _processed(process: Processor, value: Any) -> Any:
    """The value as the application will see it: decrypted, unpickled, of its own type."""
    try:
        made = process(value)
    except Exception:  # noqa: BLE001 - a type's code is the application's own
        # Denies nothing: the application gets the same error instead of the value.
        return None
    if isinstance(made, Enum):
        return [made.name, made.value]
    return opened(made)


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
