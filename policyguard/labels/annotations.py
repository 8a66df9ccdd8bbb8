"""What annotations say: evaluated one by one, and taken apart whatever wraps them.

Layer: labels. Evaluates the application's own annotations, as `typing` does; a category that would
get lost in that is an error. Start reading at `fields_of` and `alternatives`.
"""

from __future__ import annotations

import importlib
import sys
import types
import typing
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, ForwardRef, TypeVar
from weakref import WeakKeyDictionary

from policyguard.errors import TermError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DEPTH: Final = 16
_NODES: Final = 1_000
_FOREIGN: Final = frozenset({"builtins", "pydantic.main", "typing"})
_WRAPPERS: Final = frozenset(
    {typing.Union, types.UnionType, typing.ClassVar, typing.Final, typing.Required}
    | {typing.NotRequired, typing.Unpack}
)

_known: WeakKeyDictionary[type, Mapping[str, Any]] = WeakKeyDictionary()
_lock = Lock()


def marks(hint: object, kind: type) -> Iterator[Any]:
    """Metadata of this kind anywhere in an annotation: in unions, containers, aliases, bounds.

    Cost: O(parts), at most 1,000 of them and depth 16.
    """
    stack: list[tuple[object, int]] = [(hint, 0)]
    left = _NODES
    while stack and left:
        left -= 1
        node, depth = stack.pop()
        if type(node) is kind:
            yield node
        elif depth < _DEPTH:
            metadata = getattr(node, "__metadata__", ())
            inner = (*typing.get_args(node), *metadata, *_behind(node))
            stack.extend((part, depth + 1) for part in inner)


def alternatives(hint: object) -> list[object]:
    """The plain annotations that an annotation may stand for.

    Unwraps Annotated, Optional and other unions, Required, aliases, NewType, bounds of a TypeVar; a
    generic class counts as itself and as its parameters.
    """
    found: list[object] = []
    stack, left = [hint], _NODES
    while stack and left:
        left -= 1
        node = stack.pop()
        behind = _behind(node)
        origin = typing.get_origin(node)
        if behind:
            stack.extend(behind)
        elif origin is typing.Annotated:
            stack.append(typing.get_args(node)[0])
        elif origin in _WRAPPERS:
            stack.extend(typing.get_args(node))
        elif node is not None and node is not type(None):
            found.append(node)
            if origin is not None and not _is_container(origin):
                stack.extend(typing.get_args(node))
    return found


def typed_dicts(hint: object) -> list[type]:
    """The TypedDict classes that an annotation may stand for, without those inside of others."""
    return [node for node in map(_class, alternatives(hint)) if typing.is_typeddict(node)]


def items_of(hint: object) -> tuple[object, ...] | None:
    """The annotations of a container's items, of a mapping's values; None if it says nothing."""
    found: list[object] = []
    for node in alternatives(hint):
        origin, arguments = typing.get_origin(node), typing.get_args(node)
        if arguments and isinstance(origin, type) and _is_container(origin):
            mapping = len(arguments) == 2 and not issubclass(origin, tuple)  # noqa: PLR2004 -- key and value
            found.extend(arguments[1:] if mapping else arguments)
    return tuple(found) or None


def says_fields(hint: object) -> bool:
    """Whether a plain dict under this annotation may have labelled keys: a TypedDict is in it."""
    stack: list[tuple[object, int]] = [(hint, 0)]
    while stack:
        node, depth = stack.pop()
        if typed_dicts(node):
            return True
        if depth < _DEPTH:
            stack.extend((part, depth + 1) for part in items_of(node) or ())
    return False


def fields_of(kind: type | None) -> Mapping[str, Any]:
    """The annotations of a class's fields, its bases' too; looked up once for each class.

    Raises:
        TermError: an annotation that names a category can't be evaluated.
    """
    if kind is None or kind.__module__ == "builtins":
        return {}
    known = _known.get(kind)
    if known is None:
        found: dict[str, Any] = {}
        parameters = _parameters(kind)
        for base in reversed(kind.__mro__):
            module = sys.modules.get(base.__module__)
            if base.__module__ not in _FOREIGN:
                scope = {**vars(typing), **(vars(module) if module else {}), **vars(base)}
                given = _of_library(base)
                found |= hints_of(base, scope, base.__name__, given)
        known = {
            name: _filled(hint, parameters) if parameters else hint for name, hint in found.items()
        }
        with _lock:
            _known[kind] = known
    return known


def hints_of(
    holder: object, scope: Mapping[str, Any], name: str, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Evaluated annotations, one by one: one that can't be evaluated must not hide the others.

    Args:
        holder: a class or function.
        scope: the names that annotations may use.
        name: of the holder, for errors.
        given: what the library behind a class knows about its fields; it counts too.

    Raises:
        TermError: an annotation that names a category can't be evaluated.
    """
    known = dict(given or {})
    try:
        hints = dict(typing.get_type_hints(holder, include_extras=True))
        return hints | {
            field: (hints[field], known[field]) if field in hints else known[field]
            for field in known
        }
    except Exception:  # noqa: BLE001 -- annotations are code; evaluating one may raise anything
        # Denies nothing yet: each annotation is tried alone, and a lost category is an error.
        annotations = _raw_annotations(holder)
    hints = {}
    for field, annotation in annotations.items():
        if field in known:
            continue
        text = annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation
        try:
            hints[field] = _evaluated(text, scope)
        except Exception:  # noqa: BLE001 -- as above
            # Denies: a category that can't be read would be data without a label.
            if _may_name_category(text, scope):
                raise TermError(
                    f"the annotation of `{field}` in `{name}` can't be evaluated",
                    "it may carry a category",
                    "import what it names outside of `if TYPE_CHECKING:`",
                ) from None
            if not isinstance(text, str):
                hints[field] = annotation
    return hints | known


def _evaluated(annotation: object, scope: Mapping[str, Any]) -> object:
    """One annotation, with the texts that stand inside of it."""

    def alone() -> None:
        """Holds the annotation, for `typing` evaluates what a function has."""

    alone.__annotations__ = {"it": annotation}
    return typing.get_type_hints(alone, globalns=dict(scope), include_extras=True)["it"]


def _may_name_category(annotation: object, scope: Mapping[str, Any]) -> bool:
    text = annotation if isinstance(annotation, str) else repr(annotation)
    return "Category" in text or ("Annotated" in text and _knows_categories(scope))


def _knows_categories(scope: Mapping[str, Any]) -> bool:
    """Whether a module names categories: elsewhere `Annotated` says nothing about data."""
    home = "policyguard.labels.typed"
    return any(
        getattr(value if isinstance(value, type) else type(value), "__module__", "") == home
        for value in scope.values()
    )


def _raw_annotations(holder: object) -> dict[str, Any]:
    """Annotations as written; from Python 3.14 on, with a mark for each name that is missing."""
    if sys.version_info < (3, 14):
        own = vars(holder) if isinstance(holder, type) else {}
        return dict(own.get("__annotations__") or getattr(holder, "__annotations__", {}))
    library = importlib.import_module("annotationlib")
    found: dict[str, Any] = library.get_annotations(holder, format=library.Format.FORWARDREF)
    return found


def _of_library(kind: type) -> dict[str, Any]:
    """Annotations of fields as pydantic and attrs resolved them, where there is metadata."""
    found: dict[str, Any] = {}
    pydantic = kind.__dict__.get("__pydantic_fields__")
    if type(pydantic) is dict:
        for name, field in pydantic.items():
            for part in (field.annotation, *field.metadata):
                found[name] = (*found.get(name, ()), part)
    for field in kind.__dict__.get("__attrs_attrs__", ()):
        if field.type is not None and not isinstance(field.type, str):
            found[field.name] = field.type
    return found


def _parameters(kind: type) -> dict[object, tuple[object, ...]]:
    """What the TypeVars of generic bases are filled with: `class Mails(Page[Email])`."""
    found: dict[object, tuple[object, ...]] = {}
    for base in kind.__mro__:
        for generic in base.__dict__.get("__orig_bases__", ()):
            of = getattr(typing.get_origin(generic), "__parameters__", ())
            for variable, argument in zip(of, typing.get_args(generic), strict=False):
                if argument is not variable:
                    found[variable] = (*found.get(variable, ()), argument)
    return found


def _filled(hint: object, parameters: Mapping[object, tuple[object, ...]]) -> object:
    """An annotation and, beside it, what fills its TypeVars; too many rather than too few."""
    inside = (hint, *marks(hint, TypeVar))
    more = [
        part for node in inside if isinstance(node, TypeVar) for part in parameters.get(node, ())
    ]
    return (hint, *more) if more else hint


def _behind(node: object) -> tuple[object, ...]:
    """What stands behind a name: an alias, a NewType, a TypeVar, several annotations of ours."""
    if type(node) is tuple:
        return node
    if isinstance(node, typing.NewType):
        return (node.__supertype__,)
    if isinstance(node, TypeVar):
        return tuple(part for part in (node.__bound__, *node.__constraints__) if part is not None)
    if type(typing.get_origin(node) or node).__name__ == "TypeAliasType":
        return (_value_of(node), *typing.get_args(node))
    return ()


def _value_of(alias: Any) -> object:
    """What `type X = ...` says; it is evaluated when it is first asked for."""
    try:
        return alias.__value__
    except Exception:  # noqa: BLE001 -- annotations are code; evaluating one may raise anything
        # Denies: an alias that can't be read may name a category.
        name = getattr(alias, "__name__", "alias")
    raise TermError(
        f"the type alias `{name}` can't be evaluated",
        "it may carry a category",
        "import what it names outside of `if TYPE_CHECKING:`",
    )


def _class(node: object) -> Any:
    """The class of an annotation; of a generic one, what it was made of."""
    return typing.get_origin(node) or node


def _is_container(origin: object) -> bool:
    """list, dict and their like, and the abstract ones: Sequence, Mapping, Iterable."""
    if not isinstance(origin, type):
        return False
    plain = issubclass(origin, list | tuple | set | frozenset | dict | types.MappingProxyType)
    return plain or origin.__module__ in ("collections", "collections.abc")
