"""`@guard.transform`: a reviewed claim that a function's result has another form than what went in.

Layer: enforce. What labels the result carries is found, not said: those of the arguments, by
annotation and by what the scope remembers, in the new form. A claim that has expired claims
nothing: the result then counts as what went in. Start reading at `TransformDecorator`.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import Any, Final, ParamSpec, TypeVar, cast

from policyguard.enforce.decorators import inside
from policyguard.enforce.generators import (
    Each,
    NewArguments,
    nothing,
    wrap_async_generator,
    wrap_generator,
)
from policyguard.enforce.judge import Judge
from policyguard.enforce.site import call_site
from policyguard.enforce.waivers import utc_today
from policyguard.enforce.wrappers import Wrapper, wrapper
from policyguard.errors import TermError
from policyguard.labels.typed import labels_of_annotations
from policyguard.policy.flow import Form, Label

P = ParamSpec("P")
R = TypeVar("R")

_LOGGER: Final = logging.getLogger("policyguard")
_RUN: Final = """
    _, _pg_each = _pg_begin({positional}, {named})
    _pg_value = AWAITED_pg_function({call})
    if _pg_value is not None:
        _pg_each(_pg_value)
    return _pg_value
"""
_SYNC: Final = "def _pg_wrapper({head}):" + _RUN.replace("AWAITED", "")
_ASYNC: Final = "async def _pg_wrapper({head}):" + _RUN.replace("AWAITED", "await ")


def last_day(expires: date | str) -> date:
    """The last day of a claim; raises TermError for what is no day."""
    try:
        return date.fromisoformat(expires) if isinstance(expires, str) else expires
    except ValueError:
        what = "a transform's `expires` is a day such as 2027-06-30"
        raise TermError(what, hint="a reviewed claim ends, and is reviewed again") from None


class TransformDecorator:
    """`guard.transform(...)`: the result carries the labels of what went in, in another form."""

    __slots__ = ("_expires", "_form", "_judge", "_reviewed_by", "_today", "_told")

    def __init__(
        self,
        judge: Judge,
        form: Form,
        reviewed_by: str,
        expires: date,
        today: Callable[[], date] = utc_today,
    ) -> None:
        self._judge, self._form, self._today = judge, form, today
        self._reviewed_by, self._expires, self._told = reviewed_by, expires, False

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Remember every result, and everything a generator yields, in its new form."""
        return cast("Callable[P, R]", inside(function, self._wrap))

    def _wrap(self, function: Wrapper) -> Wrapper:
        begin = _Claimed(self, function).begin
        if inspect.isasyncgenfunction(function):
            return wrap_async_generator(function, begin)
        if inspect.isgeneratorfunction(function):
            return wrap_generator(function, begin)
        template = _ASYNC if inspect.iscoroutinefunction(function) else _SYNC
        return wrapper(function, template, {"_pg_begin": begin})

    def form_of(self, form: Form, name: str) -> Form:
        """The form of a result made of data in a form: without a claim in force, the same."""
        if self._in_force():
            return form | self._form
        self._tell(name)
        return form

    def remember(self, value: object, labels: Iterable[Label]) -> None:
        """The value carries these labels from now on."""
        self._judge.remember(value, *labels)

    def labels_in(self, value: object) -> Iterator[Label]:
        """The labels that an argument carries."""
        for label, _, _ in self._judge.labels_in(value):
            if label.data:
                yield label

    def _in_force(self) -> bool:
        try:
            return self._today() <= self._expires
        except Exception:  # noqa: BLE001 - a clock is the system's or the application's
            # Denies: without a day no claim is known to be in force.
            return False

    def _tell(self, name: str) -> None:
        if not self._told:
            self._told = True
            _LOGGER.error(
                "PG208 the transform %s has expired on %s and counts as absent (reviewed by %s)",
                name,
                self._expires,
                self._reviewed_by,
            )


class _Claimed:
    """One function that transforms."""

    def __init__(self, transform: TransformDecorator, function: Wrapper) -> None:
        self._transform = transform
        self._name = f"{getattr(function, '__qualname__', 'function')}()"
        typed = labels_of_annotations(function)
        names = list(inspect.signature(function).parameters)
        self._by_name = typed
        self._by_position = {i: typed[name] for i, name in enumerate(names) if name in typed}

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[NewArguments, Each]:
        """Find what goes in; gives what shall be shown the results."""
        found: dict[Label, None] = {}
        for i, value in enumerate(args):
            found |= dict.fromkeys(self._by_position.get(i, ()))
            found |= dict.fromkeys(self._transform.labels_in(value))
        for name, value in kwargs.items():
            found |= dict.fromkeys(self._by_name.get(name, ()))
            found |= dict.fromkeys(self._transform.labels_in(value))
        if not found:
            return None, nothing
        at = call_site()
        labels = {
            Label(
                label.data,
                self._transform.form_of(label.form, self._name),
                self._name,
                "suspected" if label.evidence == "suspected" else "declared",
                at,
            )
            for label in found
        }

        def remember(value: object) -> None:
            self._transform.remember(value, labels)

        return None, remember
