"""Labels that stand in type annotations: `Annotated[str, Category("user.contact.email")]`.

Layer: labels. Start reading at `Category`, then `labels_of_annotations` and `labels_of_value`. What
annotations say is read in `annotations`.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from inspect import isfunction, isroutine, unwrap
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast, get_args, get_origin

from policyguard.errors import TermError
from policyguard.labels.annotations import (
    alternatives,
    fields_of,
    hints_of,
    items_of,
    marks,
    typed_dicts,
)
from policyguard.labels.sealed import Sealed, annotated
from policyguard.policy.flow import RAW, Form, Label, close_form
from policyguard.policy.held import held as held_in
from policyguard.policy.stored import stored, stored_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_ID: Final = re.compile(r"[a-z0-9_.-]{1,128}")
_DEPTH: Final = 200
_NODES: Final = 250_000
_SEALS: Final = 16
# What lies beyond may be anything.
_TOO_DEEP: Final = Label("", source="a value that nests too deep", evidence="suspected")
_TOO_MANY: Final = Label("", source="a value with too many parts", evidence="suspected")

# The base type's own iteration: a subclass may have another, and that is the application's code.
_SEQUENCES: Final[tuple[tuple[type, Callable[[Any], Iterable[object]]], ...]] = (
    (list, list.__iter__),
    (tuple, tuple.__iter__),
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
    (deque, deque.__iter__),
)

_PLAIN_SEQUENCES: Final = dict(_SEQUENCES)
_BUILT_IN: Final = tuple(_PLAIN_SEQUENCES)
_LEAVES: Final = (str, bytes, int, float, type(None))

_PLAIN: Final = frozenset((*_LEAVES, bool))

_EXTRA: Final = "__pydantic_extra__"

Labels = tuple[Label, ...]

REDACTED: Final = "[redacted]"
"""Stands where a value stood: always the same, so it tells neither length nor kind."""


def is_redacted(value: object) -> bool:
    """Whether nothing is left of a value but the placeholder."""
    kind = type(value)
    return (kind is str and value == REDACTED) or (kind is bytes and value == REDACTED.encode())


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

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        """Nothing of its own for pydantic, but a sealed field learns its category from here."""
        sealed = _seals(source)
        token = annotated.set((self.data, self.form) if sealed else None)
        try:
            schema = handler(source)
        finally:
            annotated.reset(token)
        if not sealed:
            return schema
        from policyguard.labels.sealedfield import quiet_schema  # noqa: PLC0415 -- needs pydantic

        return quiet_schema(schema, self.data)


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
    name = getattr(_written(fn), "__qualname__", "function")
    found: dict[str, Labels] = {}
    for parameter, hint in annotations_of(fn).items():
        source = f"{name}()" if parameter == "return" else f"{name}({parameter})"
        labels = labels_of_hint(hint, source)
        if labels:
            found[parameter] = labels
    return found


def annotations_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """The evaluated annotations of a function, also of one that a decorator wraps.

    Raises:
        TermError: an annotation that names a category can't be evaluated.
    """
    plain = _written(fn)
    scope = getattr(plain, "__globals__", {})
    return hints_of(plain, scope, getattr(plain, "__qualname__", "function"))


def _written(fn: Callable[..., Any]) -> Any:
    """The function whose annotations count: inside decorators, partials, and objects to be called.

    Of a class it is what it is made with; a class without any Python there is taken by its fields.
    """
    plain: Any = unwrap(fn)
    while isinstance(plain, partial):
        plain = unwrap(plain.func)
    if not isroutine(plain):
        inner = vars(plain).get("__init__") if isinstance(plain, type) else type(plain).__call__
        plain = unwrap(inner) if isfunction(inner) else plain
    return plain


def labels_of_value(value: object, hint: object = None) -> tuple[TypedPart, ...]:
    """The parts of a value that are sealed or whose fields are annotated, however deep.

    Args:
        value: a seal; dataclass, pydantic, attrs, SQLAlchemy or other objects of annotated classes;
            containers of them.
        hint: the annotation under which the value stands, where there is one: a dict carries
            labels only by its TypedDict.

    Returns:
        Path of names, value and labels of each labelled part. Fields are read without running
        properties; a seal stays shut. None is nothing, so it carries no label. What nests deeper
        than 200 or has more than 250,000 parts that aren't plain scalars ends with a part whose
        label nobody can tell (data "", evidence `suspected`).

    Raises:
        TermError: an annotation that names a category can't be evaluated.

    Cost: the fields of a class are looked up once for each class; then about 1 us a field.
    """
    if hint is None and type(value) in _PLAIN:
        return ()
    return tuple(_parts(value, hint))


def _parts(value: object, hint: object) -> Iterator[TypedPart]:
    """Breadth first, so that a large part hides no small one beside it."""
    queue: deque[tuple[str, object, object, int]] = deque([("", value, hint, 0)])
    # Node and hint are kept so that their ids stay theirs.
    seen: dict[tuple[int, int], tuple[object, object]] = {}
    while queue:
        path, node, annotation, depth = queue.popleft()
        labels = labels_of_hint(annotation, path)
        if type(node) is Sealed:
            yield TypedPart(path, node, _of_seal(node, path, labels))
            continue
        if labels and not (node is None or is_redacted(node)):
            yield TypedPart(path, node, labels)
        key = (id(node), id(annotation))
        if type(node) in _PLAIN or key in seen:
            continue
        if depth >= _DEPTH or len(seen) >= _NODES:
            yield TypedPart(path, None, (_TOO_DEEP if depth >= _DEPTH else _TOO_MANY,))
            return
        seen[key] = (node, annotation)
        for child in _inside(path, node, annotation):
            if type(child[1]) not in _PLAIN or child[2] is not None:
                queue.append((*child, depth + 1))


def _inside(path: str, node: object, hint: object) -> Iterator[tuple[str, object, object]]:
    """Children that may carry labels; plain values without an annotation at most in part."""
    kind = type(node)
    if issubclass(kind, _LEAVES):
        yield from _beside(node)
    elif issubclass(kind, dict):
        mapping = cast("dict[object, object]", node)
        if hint is not None:
            yield from children_of(path, node, hint)
        else:
            held_by = list(dict.items(mapping))
            yield from ((_below(path, k), v, None) for k, v in held_by if type(v) not in _PLAIN)
        yield from _keys(path, mapping)
        yield from _beside(node)
    elif hint is None and kind in _PLAIN_SEQUENCES:
        items = list(_PLAIN_SEQUENCES[kind](node))
        yield from ((path, item, None) for item in items if type(item) not in _PLAIN)
    else:
        yield from _said(path, children_of(path, node, hint))
        if issubclass(kind, _BUILT_IN):
            yield from _beside(node)


def _said(
    path: str, children: list[tuple[str, object, object]]
) -> Iterator[tuple[str, object, object]]:
    """The children without the plain ones whose annotation says nothing: there may be many."""
    nothing: object = None
    for child in children:
        _, value, said = child
        if said is not None and said is not nothing and type(value) in _PLAIN:
            if labels_of_hint(said, path):
                yield child
            else:
                nothing = said
        elif said is not nothing or type(value) not in _PLAIN:
            yield child


def _beside(node: object) -> Iterator[tuple[str, object, object]]:
    """Annotated attributes of what derives from a built-in type."""
    kind = type(node)
    fields = fields_of(kind)
    if fields and type(kind.__dict__.get("_fields")) is not tuple:
        for name, value in stored(node):
            if name in fields:
                yield f"{kind.__name__}.{name}", value, fields[name]


def _of_seal(sealed: Sealed[object], path: str, typed: Labels) -> Labels:
    """The label of a seal, and what its annotation says beside that."""
    label = sealed.label
    others = [one for one in typed if (one.data, one.form) != (label.data, label.form)]
    return (label if label.source else replace(label, source=path), *others)


def children_of(path: str, node: object, hint: object) -> list[tuple[str, object, object]]:
    """Path, value and annotation of what a node holds; of a dict its values, one for each key."""
    kind = type(node)
    if issubclass(kind, dict):
        return _of_dict(path, cast("dict[object, object]", node), hint)
    names = kind.__dict__.get("_fields") if issubclass(kind, tuple) else None
    if type(names) is tuple:
        fields = fields_of(kind)
        items = zip(names, tuple.__iter__(cast("tuple[object]", node)), strict=False)
        return [(f"{kind.__name__}.{name}", held, fields.get(name)) for name, held in items]
    for sequence, iterate in _SEQUENCES:
        if issubclass(kind, sequence):
            item = items_of(hint) if hint is not None else None
            return [(path, held, item) for held in iterate(node)]
    parts = [(path, part, hint) for part in _wrapped(node)]
    fields = fields_of(kind)
    held_by = stored_fields(node)
    if held_by is None:
        held_by = [(name, held) for name, held in stored(node) if name in fields] if fields else []
    others = items_of(fields.get(_EXTRA))
    parts += [(f"{kind.__name__}.{name}", held, fields.get(name, others)) for name, held in held_by]
    return parts


def _wrapped(node: object) -> list[object]:
    """What a container of the standard library holds, or a member of an enumeration."""
    if issubclass(type(node), Enum):
        return [object.__getattribute__(node, "_value_")]
    return held_in(node) or []


def _of_dict(
    path: str, node: dict[object, object], hint: object
) -> list[tuple[str, object, object]]:
    fields: dict[str, Any] = {}
    rest = None
    if hint is not None:
        rest = items_of(hint)
        for kind in typed_dicts(hint):
            for name, said in fields_of(kind).items():
                fields[name] = (fields[name], said) if name in fields else said
    return [
        (
            _below(path, key),
            held,
            fields.get(str.__str__(cast("str", key)), rest) if issubclass(type(key), str) else rest,
        )
        for key, held in dict.items(node)
    ]


def _keys(path: str, node: dict[object, object]) -> Iterator[tuple[str, object, None]]:
    """Keys that may hold a seal or an annotated field: tuples, frozen objects, a seal itself."""
    for key in dict.keys(node):
        if not issubclass(type(key), _LEAVES):
            yield _below(path, key), key, None


def labels_of_hint(hint: object, source: str) -> Labels:
    """The categories of an annotation, also inside unions and containers."""
    if hint is None or (isinstance(hint, type | str) and not get_args(hint)):
        return ()
    found = (Label(one.data, one.form or RAW, source, "typed") for one in marks(hint, Category))
    return tuple(dict.fromkeys(found))


def _seals(hint: object) -> bool:
    """Whether a value of this annotation is a seal, or a container of seals."""
    stack, left = [hint], _SEALS
    while stack and left:
        left -= 1
        for node in alternatives(stack.pop()):
            if node is Sealed or (get_origin(node) is Sealed):
                return True
            stack.extend(items_of(node) or ())
    return False


def _below(path: str, key: object) -> str:
    plain = isinstance(key, str) and key.isidentifier() and len(key) <= 64  # noqa: PLR2004 -- longer is no name
    return f"{path}.{key}" if path and plain else str(key) if plain else f"{path}.*".lstrip(".")
