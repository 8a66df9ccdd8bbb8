"""Labels that stand in type annotations: `Annotated[str, Category("user.contact.email")]`.

Layer: labels. Start reading at `Category`, then `labels_of_annotations` and `labels_of_value`.
"""

from __future__ import annotations

import importlib
import re
import sys
import typing
from dataclasses import dataclass
from inspect import unwrap
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, ForwardRef, NamedTuple, cast
from weakref import WeakKeyDictionary

from policyguard.errors import TermError
from policyguard.policy.flow import RAW, Form, Label, close_form
from policyguard.policy.stored import stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_ID: Final = re.compile(r"[a-z0-9_.-]{1,128}")
_DEPTH: Final = 16
_PARTS: Final = 100_000

# The base type's own iteration: a subclass may have another, and that is the application's code.
_SEQUENCES: Final[tuple[tuple[type, Callable[[Any], Iterable[object]]], ...]] = (
    (list, list.__iter__),
    (tuple, tuple.__iter__),
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
)

_CONTAINERS: Final = (list, tuple, dict)
_LEAVES: Final = (str, bytes, int, float, type(None))

Labels = tuple[Label, ...]


@dataclass(frozen=True, slots=True, init=False)
class Category:
    """Marks a type with the data category of its values.

    Attributes:
        data: data category, dotted.
        form: closed under implication; empty is raw.
    """

    data: str
    form: Form

    def __init__(self, data: str, *, form: str | Iterable[str] = ()) -> None:
        if not _ID.fullmatch(data):
            raise TermError("a category's name has lower-case letters, digits, `_`, `.`, `-` only")
        try:
            closed = close_form(form)
        except ValueError:
            raise TermError(f"category `{data}` has a form that doesn't exist") from None
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "form", closed)


class TypedPart(NamedTuple):
    """A value and the labels of the field that holds it."""

    path: str
    value: object
    labels: Labels

    def __repr__(self) -> str:
        """The path and labels; never the value."""
        return f"TypedPart(path={self.path!r}, labels={self.labels!r})"


def labels_of_annotations(fn: Callable[..., Any]) -> dict[str, Labels]:
    """The labels of a function's parameters, and of its result under `return`.

    A parameter whose type is a class with labelled fields isn't listed: its parts have labels of
    their own, see `labels_of_value`.

    Raises:
        TermError: an annotation that names a category can't be evaluated.

    Cost: some 10 us for each parameter; call it once, when the function is decorated.
    """
    plain = unwrap(fn)
    name = getattr(plain, "__qualname__", "function")
    hints = _hints(plain, getattr(plain, "__globals__", {}), name)
    found: dict[str, Labels] = {}
    for parameter, hint in hints.items():
        source = f"{name}()" if parameter == "return" else f"{name}({parameter})"
        labels = _labels(hint, source)
        if labels:
            found[parameter] = labels
    return found


def labels_of_value(value: object, hint: object = None) -> tuple[TypedPart, ...]:
    """The parts of a value whose fields are annotated, however deep.

    Args:
        value: dataclass, pydantic, SQLAlchemy or other objects of annotated classes; containers of
            them.
        hint: the annotation under which the value stands, where there is one: a dict carries
            labels only by its TypedDict.

    Returns:
        Path of names, value and labels of each labelled part. Fields are read without running
        properties.

    Raises:
        TermError: an annotation that names a category can't be evaluated.

    Cost: the fields of a class are looked up once for each class; then about 1 us a field.
    """
    return tuple(_parts(value, hint))


def _parts(value: object, hint: object) -> Iterator[TypedPart]:
    stack: list[tuple[str, object, object, int]] = [("", value, hint, 0)]
    seen: set[int] = set()
    left = _PARTS
    while stack and left:
        left -= 1
        path, node, annotation, depth = stack.pop()
        labels = _labels(annotation, path)
        if labels:
            yield TypedPart(path, node, labels)
        if depth >= _DEPTH or issubclass(type(node), _LEAVES):
            continue
        if id(node) in seen and not issubclass(type(node), _CONTAINERS):
            continue
        seen.add(id(node))
        stack.extend((*child, depth + 1) for child in _children(path, node, annotation))


def _children(path: str, node: object, hint: object) -> list[tuple[str, object, object]]:
    """Path, value and annotation of what a node holds."""
    inner = _inner(hint)
    if issubclass(type(node), dict):
        fields = _fields(hint_class(hint)) if typing.is_typeddict(hint_class(hint)) else {}
        return [
            (_below(path, key), held, fields.get(cast("str", key), inner[-1] if inner else None))
            for key, held in dict.items(cast("dict[object, object]", node))
        ]
    for kind, iterate in _SEQUENCES:
        if issubclass(type(node), kind):
            item = inner[0] if inner else None
            return [(path, held, item) for held in iterate(node)]
    fields = _fields(type(node))
    if not fields:
        return []
    return [
        (f"{type(node).__name__}.{name}", held, fields[name])
        for name, held in stored(node)
        if name in fields
    ]


_known: WeakKeyDictionary[type, Mapping[str, Any]] = WeakKeyDictionary()
_lock = Lock()


def _fields(kind: type | None) -> Mapping[str, Any]:
    """The annotations of a class's fields, looked up once for each class."""
    if kind is None or kind.__module__ == "builtins":
        return {}
    known = _known.get(kind)
    if known is None:
        known = {}
        for base in reversed(kind.__mro__):
            module = sys.modules.get(base.__module__)
            if base.__module__ not in ("builtins", "pydantic.main", "typing"):
                scope = {**vars(typing), **(vars(module) if module else {}), **vars(base)}
                known |= _hints(base, scope, base.__name__)
        with _lock:
            _known[kind] = known
    return known


def _hints(holder: object, scope: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Evaluated annotations, one by one: one that can't be evaluated must not hide the others."""
    try:
        return dict(typing.get_type_hints(holder, include_extras=True))
    except Exception:  # noqa: BLE001 -- annotations are code; evaluating one may raise anything
        # Denies nothing yet: each annotation is tried alone, and a lost category is an error.
        annotations = _raw_annotations(holder)
    hints: dict[str, Any] = {}
    for field, annotation in annotations.items():
        text = annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation
        if not isinstance(text, str):
            hints[field] = annotation
            continue
        try:
            hints[field] = eval(text, dict(scope))  # noqa: S307 -- the application's own annotation, as typing evaluates it
        except Exception:  # noqa: BLE001 -- as above
            # Denies: a category that can't be read would be data without a label.
            if "Category" in text or ("Annotated" in text and _knows_categories(scope)):
                raise TermError(
                    f"the annotation of `{field}` in `{name}` can't be evaluated",
                    "it may carry a category",
                    "import what it names outside of `if TYPE_CHECKING:`",
                ) from None
    return hints


def _raw_annotations(holder: object) -> dict[str, Any]:
    """Annotations as written; from Python 3.14 on, with a mark for each name that is missing."""
    if sys.version_info < (3, 14):
        return dict(getattr(holder, "__annotations__", {}))
    library = importlib.import_module("annotationlib")
    found: dict[str, Any] = library.get_annotations(holder, format=library.Format.FORWARDREF)
    return found


def _knows_categories(scope: Mapping[str, Any]) -> bool:
    """Whether a module names categories: elsewhere `Annotated` says nothing about data."""
    return any(value is Category or type(value) is Category for value in scope.values())


def _labels(hint: object, source: str) -> Labels:
    """The categories of an annotation, also inside unions and containers."""
    if hint is None or (isinstance(hint, type | str) and not typing.get_args(hint)):
        return ()
    found: dict[Label, None] = {}
    stack: list[tuple[object, int]] = [(hint, 0)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, Category):
            found[Label(node.data, node.form or RAW, source, "typed")] = None
        elif depth < _DEPTH:
            metadata = getattr(node, "__metadata__", ())
            stack.extend((part, depth + 1) for part in (*typing.get_args(node), *metadata))
            alias = getattr(node, "__value__", None)  # `type Email = Annotated[...]`
            stack.extend([(alias, depth + 1)] if alias is not None else [])
    return tuple(found)


def hint_class(hint: object) -> type | None:
    """The class that an annotation stands for, through Annotated, Optional and Required."""
    for _ in range(_DEPTH):
        if isinstance(hint, type) and not typing.get_args(hint):
            return hint
        candidates = [part for part in typing.get_args(hint) if part is not type(None)]
        if not candidates:
            return None
        hint = candidates[0]
    return None


def _inner(hint: object) -> tuple[object, ...]:
    """The annotations of a container's items, through Annotated and Optional."""
    for _ in range(_DEPTH):
        origin = typing.get_origin(hint)
        arguments = tuple(part for part in typing.get_args(hint) if part is not type(None))
        if origin is None or not arguments:
            return ()
        if isinstance(origin, type) and issubclass(origin, list | tuple | set | frozenset | dict):
            return arguments
        if hasattr(origin, "__abstractmethods__"):  # Sequence, Mapping and their like
            return arguments
        hint = arguments[0]
    return ()


def _below(path: str, key: object) -> str:
    plain = isinstance(key, str) and key.isidentifier() and len(key) <= 64  # noqa: PLR2004 -- longer is no name
    return f"{path}.{key}" if path and plain else str(key) if plain else f"{path}.*".lstrip(".")
