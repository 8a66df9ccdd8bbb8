"""What an object stores, read without running any of its code.

Layer: policy, the lowest that both labels and inspectors may use. A property may load from a
database or answer anything, so only what lies in an instance's dict or slots counts. Start reading
at `stored_fields`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import MemberDescriptorType
from typing import Any, Final

# Classes with fields: dataclass, pydantic, attrs, and entities that SQLAlchemy maps.
_MODELS: Final = ("__dataclass_fields__", "__pydantic_fields__", "__attrs_attrs__", "__mapper__")
_ROWS: Final = "sqlalchemy.engine.row"
_OWN: Final = ("__", "_sa_")
_BUFFER: Final = 8 * 1024 * 1024


def stored_fields(node: object) -> list[tuple[str, object]] | None:
    """Names and values that an object of a class with fields stores; None for others.

    A row of SQLAlchemy stores its values without names: they are called by their numbers.
    """
    kind = type(node)
    if kind.__module__ == _ROWS:
        return _row(node)
    if not any(mark in base.__dict__ for base in kind.__mro__ for mark in _MODELS):
        return None
    held = list(stored(node))
    for name, extra in held:
        if name == "__pydantic_extra__" and type(extra) is dict:
            held.extend(extra.items())
    return [(name, value) for name, value in held if not name.startswith(_OWN)]


def stored(node: object) -> Iterator[tuple[str, object]]:
    """The instance's dict and slots, read without running a descriptor of the application."""
    for base in type(node).__mro__:
        for name, member in base.__dict__.items():
            if type(member) is MemberDescriptorType:
                try:
                    yield name, member.__get__(node)
                except AttributeError:
                    # Denies nothing: a slot that was never set holds no value.
                    continue
    try:
        held = object.__getattribute__(node, "__dict__")
    except AttributeError:
        # Denies nothing: without a dict there are only slots.
        return
    if type(held) is dict:
        yield from held.items()


def buffer_items(node: object) -> list[Any] | None:
    """The items of an array, or of a numpy array or number; None if unreadable or too large."""
    try:
        view = memoryview(node)  # type: ignore[arg-type]  # arrays and numpy export a buffer
        if view.nbytes > _BUFFER or "O" in view.format:
            return None
        numpy = sys.modules.get("numpy")  # never imported for this: no numpy, no arrays
        if numpy and issubclass(type(node), numpy.ndarray):
            listed: Any = numpy.ndarray.tolist(node)  # knows float16, which memoryview doesn't
        else:
            listed = view.tolist()
    except (TypeError, NotImplementedError, ValueError, BufferError):
        # Denies: an array that can't be read is opaque, and counts as unreadable.
        return None
    return listed if type(listed) is list else [listed]


def _row(node: object) -> list[tuple[str, object]] | None:
    try:
        values = object.__getattribute__(node, "_data")
    except AttributeError:
        # Denies: a row that stores its values elsewhere can't be looked into.
        return None
    return [(f"[{i}]", value) for i, value in enumerate(values)] if type(values) is tuple else None
