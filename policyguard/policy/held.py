"""What the standard library's containers hold, read without running code of the application.

Layer: policy, the lowest that both labels and inspectors may use. Views, wrappers and buffers can
be looked into; what is read only by using it up can't. Start reading at `held` and `is_lazy`.
"""

from __future__ import annotations

import gc
from collections import ChainMap, UserDict, UserList, UserString
from collections.abc import MappingView
from functools import partial
from io import BytesIO, StringIO
from types import CoroutineType, GenericAlias, MappingProxyType, SimpleNamespace
from typing import Any, Final, cast

from policyguard.policy.stored import stored

_KEYS: Final[type] = type({}.keys())
_VALUES: Final[type] = type({}.values())
_ITEMS: Final[type] = type({}.items())
_WRAPPING: Final = (UserDict, UserList, UserString, ChainMap, SimpleNamespace, partial)
_PLAIN_PARTS: Final = frozenset({"data", "maps", "func", "args", "keywords"})
_STEPS: Final = ("__next__", "__anext__", "__iter__", "__aiter__")
# They iterate over what they loaded, and are passed around as clients.
_CLIENTS: Final = ("sqlalchemy.orm.session", "sqlalchemy.orm.scoping", "sqlalchemy.ext.asyncio")
_LONGEST: Final = 10_000  # of a range that is spelt out
_TYPES: Final = (type, GenericAlias)

VIEWS: Final = (_KEYS, _VALUES, _ITEMS, MappingProxyType)
"""Views of one built-in dict, or of another mapping."""


def held(node: object) -> list[object] | None:
    """What a container of the standard library holds; None for anything else.

    Views of dicts, `MappingProxyType`, `UserDict` and its like, `ChainMap`, `SimpleNamespace`,
    exceptions, `partial`, `StringIO`, `BytesIO`, a `range` of at most 10,000 numbers. A view of
    items or a proxy holds its mapping. Built-in containers are the caller's.

    Cost: O(parts) for keys and values, text and bytes; else a few look-ups.
    """
    kind = type(node)
    if kind is range:
        numbers = cast("range", node)
        return None if numbers[_LONGEST:] else [list(numbers)]
    if issubclass(kind, _KEYS):
        return [list(cast("Any", _KEYS).__iter__(node))]
    if issubclass(kind, _VALUES):
        return [list(cast("Any", _VALUES).__iter__(node))]
    if issubclass(kind, _ITEMS) or kind is MappingProxyType:
        # A proxy shows its mapping by code of the mapping only; what it refers to is the mapping.
        return gc.get_referents(node)[:1] or None
    if MappingView in kind.__mro__:
        return [value for _, value in stored(node)]
    if issubclass(kind, BaseException):
        return [cast("Any", BaseException.args).__get__(node), dict(stored(node))]
    if issubclass(kind, _WRAPPING):
        return _wrapped(node)
    if issubclass(kind, StringIO | BytesIO):
        return _buffered(node)
    return None


def is_lazy(node: object) -> bool:
    """Whether a value is data that shows itself only when it is read, such as a generator.

    Ask it only about what can't be looked into otherwise.
    """
    kind = type(node)
    if kind is CoroutineType:
        return True
    homes = (str(base.__dict__.get("__module__", "")) for base in kind.__mro__)
    if issubclass(kind, _TYPES) or any(home.startswith(_CLIENTS) for home in homes):
        return False
    return any(_has(kind, step) for step in _STEPS)


def _has(kind: type, name: str) -> bool:
    return next((b.__dict__[name] for b in kind.__mro__ if name in b.__dict__), None) is not None


def _wrapped(node: object) -> list[object]:
    """The wrapped values by themselves, so that paths stay the same; other attributes as a dict."""
    kept: list[object] = []
    rest: dict[str, object] = {}
    for name, value in stored(node):
        if name == "maps" and type(value) is list:
            kept += value
        elif name in _PLAIN_PARTS and type(node) is not SimpleNamespace:
            kept.append(value)
        else:
            rest[name] = value
    return [*kept, rest] if rest else kept


def _buffered(node: object) -> list[object] | None:
    try:
        if issubclass(type(node), StringIO):
            whole: object = StringIO.getvalue(cast("StringIO", node))
        else:
            whole = BytesIO.getvalue(cast("BytesIO", node))
    except ValueError:
        # Denies: a buffer that is closed shows nothing, so nobody can tell what it held.
        return None
    return [whole, dict(stored(node))]
