"""Take a value apart into the atoms that can be remembered, without running application code.

Layer: labels. Start reading at `atoms`.

INVARIANT: nothing here calls `str`, `repr`, `==`, `hash`, properties or iteration of an
application's classes: only methods of built-in types, applied to what is exactly that type or a
subclass of it. Types are asked by `type`, for `isinstance` reads `__class__`, which may be code.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import UUID

from policyguard.labels.sealed import Sealed
from policyguard.labels.variants import STRONG_BITS, bits
from policyguard.labels.vectors import SHORTEST, unpack
from policyguard.policy.stored import buffer_items, stored_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_DEPTH: Final = 64
_NODES: Final = 200_000
_NUMBER_TYPES: Final = frozenset({int, float})
_MANY_DIGITS: Final = 4_000  # bits of an integer whose decimal text every Python will write


class Text(NamedTuple):
    """A scalar, in the spellings that a serialiser may choose."""

    spellings: tuple[str, ...]
    bits: float


class Numbers(NamedTuple):
    """A vector."""

    numbers: Sequence[float]


class Raw(NamedTuple):
    """Bytes that are not text."""

    data: bytes


OPAQUE: Final = Text((), 0.0)
"""Stands for a part that can't be looked into."""

Atom = Text | Numbers | Raw


def atoms(value: object) -> Iterator[Atom]:
    """Everything in `value` that can be remembered, `OPAQUE` for what can't be looked into.

    Args:
        value: scalars, containers, dataclass, pydantic and attrs objects, arrays.

    Cost: O(parts), at most 200,000 parts and depth 64; what lies beyond is `OPAQUE`. Reference
    cycles end there too.
    """
    stack: list[tuple[object, int]] = [(value, 0)]
    left = _NODES
    while stack:
        node, depth = stack.pop()
        left -= 1
        if left < 0:
            yield OPAQUE
            return
        scalar = scalar_text(node)
        if scalar is not None:
            yield scalar
        elif node is None or type(node) is bool:
            continue
        elif issubclass(type(node), bytes | bytearray | memoryview):
            yield from _of_bytes(bytes(cast("bytes", node)))
        else:
            parts = _parts(node)
            if parts is None or depth >= _DEPTH:
                yield OPAQUE
                continue
            vector = as_vector(parts)
            if vector is not None:
                yield Numbers(vector)
                parts = [part for part in parts if type(part) is int]
            stack.extend((part, depth + 1) for part in reversed(parts))


def scalar_text(value: object) -> Text | None:
    """The spellings of a scalar; None when it is not one."""
    kind = type(value)
    if issubclass(kind, str):
        plain = str.__str__(cast("str", value))
        return Text((plain,), bits(plain)) if plain and not plain.isspace() else Text(("",), 0.0)
    if kind is bool:
        return None
    if issubclass(kind, int):
        return _of_int(int.__int__(cast("int", value)))
    if issubclass(kind, float):
        text = number_text(float.__float__(cast("float", value)))
        return Text((text,), bits(text))
    for spelled, spell in _SPELLED:
        if kind is spelled:
            return spell(value)
    return None


def number_text(number: float) -> str:
    """The decimal text of a number, the same for 3 and 3.0; "" for what no text stands for."""
    if type(number) is int:
        return str(number) if number.bit_length() <= _MANY_DIGITS else ""
    if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124 -- not-a-number differs from itself
        return ""
    return str(int(number)) if number.is_integer() and abs(number) < 1e16 else repr(number)  # noqa: PLR2004 -- exact integers


def as_vector(parts: Sequence[object]) -> array[float] | None:
    """`parts` as numbers when they are nothing but at least 16 numbers.

    All-integer lists count too: pixels, histograms and quantised embeddings.
    """
    if len(parts) < SHORTEST or not _NUMBER_TYPES.issuperset(map(type, parts)):
        return None
    try:
        return array("d", parts)  # type: ignore[arg-type]  # all parts are int or float, tested above
    except OverflowError:
        # Denies nothing: integers beyond a float are remembered one by one as text.
        return None


def _of_int(number: int) -> Text:
    text = number_text(number)
    return Text((text,), bits(text)) if text else Text((hex(number),), STRONG_BITS)


def _of_decimal(number: Decimal) -> Text:
    if not number.is_finite() or not -64 < number.adjusted() < 64:  # noqa: PLR2004 -- no giant texts
        return OPAQUE
    plain = format(number, "f")
    short = plain.rstrip("0").rstrip(".") if "." in plain else plain
    spellings = (plain, short, number_text(float(number)))
    return Text(tuple(dict.fromkeys(spellings)), bits(plain))


def _of_date(day: date) -> Text:
    y, m, d = f"{day.year:04}", f"{day.month:02}", f"{day.day:02}"
    return Text(
        (f"{y}-{m}-{d}", f"{y}{m}{d}", f"{d}.{m}.{y}", f"{d}/{m}/{y}", f"{m}/{d}/{y}"), 15.0
    )


def _of_datetime(moment: datetime) -> Text:
    iso = moment.isoformat()
    spellings = [iso, iso.replace("T", " ")]
    if moment.utcoffset() is not None:
        try:
            seconds = moment.timestamp()
        except (OverflowError, ValueError):
            # Denies nothing: a moment outside the epoch's range has no such spelling.
            return Text(tuple(spellings), 32.0)
        spellings += [iso.replace("+00:00", "Z"), number_text(seconds), str(int(seconds * 1000))]
    return Text(tuple(dict.fromkeys(spellings)), 50.0 if moment.microsecond else 32.0)


def _of_uuid(uuid: UUID) -> Text:
    return Text((str(uuid), uuid.hex), 122.0)


_SPELLED: Final[tuple[tuple[type, Callable[[Any], Text]], ...]] = (
    (Decimal, _of_decimal),
    (datetime, _of_datetime),
    (date, _of_date),
    (time, lambda value: Text((value.isoformat(),), 15.0)),
    (UUID, _of_uuid),
)


def _of_bytes(data: bytes) -> Iterator[Atom]:
    if not data:
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:
        # Denies nothing: bytes that are not text are remembered as bytes.
        text = ""
    if text.isprintable() and text:
        yield Text((text,), bits(text))
        return
    yield Raw(data)
    for numbers in unpack(data):
        yield Numbers(numbers)


def _parts(value: object) -> Sequence[object] | None:
    """What a container or object holds; None when it can't be looked into."""
    for kind, iterate in _CONTAINERS:
        if issubclass(type(value), kind):
            return list(iterate(value))
    if type(value) is array or _is_numpy(value):
        return buffer_items(value)
    if issubclass(type(value), Enum):
        return (object.__getattribute__(value, "_value_"),)
    if type(value) is Sealed:
        return ()  # it lets nothing out, so there is nothing to find again
    fields = stored_fields(value)
    return None if fields is None else [held for _, held in fields]


def _values_of_dict(mapping: dict[object, object]) -> Iterator[object]:
    """Keys too: a dict from e-mail to count holds the e-mail."""
    for key, value in dict.items(mapping):
        if not (type(key) is str and key.isidentifier()):
            yield key
        yield value


_CONTAINERS: Final[tuple[tuple[type, Callable[[Any], Iterable[object]]], ...]] = (
    (list, list.__iter__),
    (tuple, tuple.__iter__),
    (dict, _values_of_dict),
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
    (deque, deque.__iter__),
)


def _is_numpy(value: object) -> bool:
    numpy = sys.modules.get("numpy")  # never imported for this: no numpy, no arrays
    return numpy is not None and issubclass(type(value), numpy.ndarray | numpy.generic)
