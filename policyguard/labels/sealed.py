"""A value in a seal: it can be carried everywhere and shows nowhere.

Layer: labels. Start reading at `Sealed`. A subclass of `str` would lose its label in most everyday
operations; a container that refuses them loses nothing. The guard opens it after judging.

INVARIANT: no method of `Sealed`, and no error of one, shows the value or a part of it. What a seal
doesn't stop: `gc`, `ctypes`, a debugger, and code that calls `opened` by itself.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

from policyguard.errors import TermError
from policyguard.policy.flow import RAW, Form, Label, close_form

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

T_co = TypeVar("T_co", covariant=True)

_TERM: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_LONGEST: Final = 128

annotated: ContextVar[tuple[str, Form] | None] = ContextVar("policyguard_annotated", default=None)
"""Data and form of the `Category` around the annotation that pydantic reads at the moment."""


def _refuse(self: Sealed[object], *_arguments: object) -> NoReturn:
    """Refuse an operation that would show the value, or something about it."""
    raise TypeError(f"{self!r} does not open by itself; guard.open(..., to=...) opens it")


class Sealed(Generic[T_co]):
    """A value that shows only its data category, until the guard opens it for a recipient.

    Text of it is a placeholder, such as `<sealed user.contact.email>`; every operation that needs
    the value raises TypeError. Two seals are equal when they are the same object. Copies are the
    object itself. It can't be changed and is safe for threads and tasks.

    Args:
        value: what is sealed; not another seal.
        data: its data category. A term that the policy doesn't know is denied when it is judged;
            `guard.seal` tells at once.
        form: names of its form; none = raw.
        source: where the value came from, names only.
        at: where in the code it was read, `file:line`.

    Raises:
        TermError: the category isn't written as one, or the form doesn't exist.
        TypeError: the value is sealed already.

    Cost: some 2 us to make one.
    """

    __slots__ = ("__weakref__", "_label", "_value")

    # What inspectors know a seal by, for they can't import it.
    __policyguard_sealed__: Final = True

    def __init__(
        self,
        value: T_co,
        data: str,
        form: str | Iterable[str] = RAW,
        *,
        source: str = "",
        at: str = "",
    ) -> None:
        if type(value) is Sealed:
            raise TypeError("a sealed value can't be sealed once more")
        _VALUE.__set__(self, value)
        # From here on a traceback that shows locals doesn't show the value from this frame.
        del value
        _LABEL.__set__(self, _label(data, form, source, at))

    @property
    def data(self) -> str:
        """The data category."""
        return self.label.data

    @property
    def form(self) -> Form:
        """How far the value is from the person; empty is raw."""
        return self.label.form

    @property
    def label(self) -> Label:
        """Data, form and origin, as evidence `sealed`."""
        label: Label = _LABEL.__get__(self)
        return label

    def __repr__(self) -> str:
        """The category in a constant text, which tells nothing about the value."""
        try:
            return f"<sealed {_LABEL.__get__(self).data}>"
        except AttributeError:
            # Denies nothing: it was made around its constructor and holds nothing.
            return "<sealed>"

    __str__ = __repr__

    def __format__(self, spec: str, /) -> str:
        """The same constant text whatever the format asks for."""
        return repr(self)

    def __copy__(self) -> Sealed[T_co]:
        return self

    def __deepcopy__(self, memo: object, /) -> Sealed[T_co]:
        return self

    def __setattr__(self, name: str, value: object, /) -> NoReturn:
        # AttributeError: `Sealed[str](...)` tries to note its parameter, and expects this answer.
        raise AttributeError(f"{self!r} can't be changed")

    def __delattr__(self, name: str, /) -> NoReturn:
        raise AttributeError(f"{self!r} can't be changed")

    def __init_subclass__(cls, **_more: object) -> NoReturn:
        raise TypeError("Sealed can't be subclassed: what a subclass does nobody can vouch for")

    if not TYPE_CHECKING:  # a type checker shall go on to say that there is no such attribute

        def __getattr__(self, name: str, /) -> NoReturn:
            raise AttributeError(
                f"{self!r} has no such attribute; guard.open(..., to=...) opens it"
            )

        __reduce__ = __reduce_ex__ = __getstate__ = __setstate__ = _refuse
        __bytes__ = __bool__ = __int__ = __float__ = __complex__ = __index__ = _refuse
        __len__ = __iter__ = __reversed__ = __contains__ = _refuse
        __getitem__ = __setitem__ = __delitem__ = _refuse
        __lt__ = __le__ = __gt__ = __ge__ = _refuse
        __add__ = __sub__ = __mul__ = __matmul__ = __truediv__ = __floordiv__ = __mod__ = _refuse
        __divmod__ = __pow__ = __lshift__ = __rshift__ = __and__ = __xor__ = __or__ = _refuse
        __radd__ = __rsub__ = __rmul__ = __rmatmul__ = __rtruediv__ = __rfloordiv__ = _refuse
        __rmod__ = __rdivmod__ = __rpow__ = __rlshift__ = __rrshift__ = _refuse
        __rand__ = __rxor__ = __ror__ = _refuse
        __neg__ = __pos__ = __abs__ = __invert__ = _refuse
        __round__ = __trunc__ = __floor__ = __ceil__ = _refuse

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        """A field of pydantic: seals what it validates as the type in brackets.

        Raises:
            TermError: the annotation names no category.
        """
        from policyguard.labels.sealedfield import sealed_schema  # noqa: PLC0415 - pydantic comes when a model needs it

        return sealed_schema(cls, source, handler, annotated.get())

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> dict[str, Any]:
        """What a client sends and gets."""
        from policyguard.labels.sealedfield import json_schema  # noqa: PLC0415 - as above

        return json_schema(schema, handler)


# The descriptors leave the class: no attribute, no `vars`, no walk over slots gets at them.
_VALUE: Final[Any] = Sealed.__dict__["_value"]
_LABEL: Final[Any] = Sealed.__dict__["_label"]
for _slot in ("_value", "_label"):
    type.__delattr__(Sealed, _slot)


def opened(sealed: Sealed[T_co]) -> T_co:
    """The value, without any judging: for the guard, which judges first.

    Raises:
        TypeError: it isn't sealed.
    """
    if type(sealed) is not Sealed:
        raise TypeError("only a sealed value can be opened")
    value: T_co = _VALUE.__get__(sealed)
    return value


def _label(data: object, form: str | Iterable[str], source: str, at: str) -> Label:
    """The label; what isn't written like a term may be the value, and is not shown."""
    if not isinstance(data, str) or len(data) > _LONGEST or not _TERM.fullmatch(data):
        raise TermError(
            "a category's name is dotted words of lower-case letters, digits, `_` and `-`",
            hint="the value comes first: Sealed(value, 'user.contact.email')",
        )
    try:
        return Label(data, close_form(form), source, "sealed", at)
    except (TypeError, ValueError):
        # Denies: a form that nobody knows may be anything, so there is no seal.
        why = f"category `{data}` has a form that doesn't exist"
    raise TermError(why)
