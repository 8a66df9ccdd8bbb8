"""`@guard.transform`: a reviewed claim that a function's result has another form than what went in.

Layer: enforce. What labels the result carries is found, not said: those of the arguments, by
annotation and by what the scope remembers, in the new form. A generator among them is looked at
while the function takes from it; what can't be looked at makes a result of which nobody can tell
what it is. A claim that has expired claims nothing: the result then counts as what went in. Start
reading at `TransformDecorator`.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from datetime import date
from functools import partial
from types import GeneratorType
from typing import Any, Final, ParamSpec, TypeVar, cast

from policyguard.enforce.decorators import inside
from policyguard.enforce.generators import (
    Each,
    NewArguments,
    wrap_async_generator,
    wrap_generator,
)
from policyguard.enforce.judge import Judge
from policyguard.enforce.site import call_site
from policyguard.enforce.waivers import utc_today
from policyguard.enforce.wrappers import Wrapper, behind, wrapper
from policyguard.errors import TermError
from policyguard.labels.annotations import items_of
from policyguard.labels.parameters import Parameters
from policyguard.policy.flow import Evidence, Form, Label

P = ParamSpec("P")
R = TypeVar("R")

_LOGGER: Final = logging.getLogger("policyguard")
_UNSEEN: Final = Label("", evidence="suspected")
_RUN: Final = """
    _pg_new, _pg_each = _pg_begin({positional}, {named})
    if _pg_new is None:
        _pg_value = AWAITED_pg_function({call})
    else:
        _pg_value = AWAITED_pg_function(*_pg_new[0], **_pg_new[1])
    if _pg_value is not None:
        _pg_each(_pg_value)
    return _pg_value
"""
_SYNC: Final = "def _pg_wrapper({head}):" + _RUN.replace("AWAITED", "")
_ASYNC: Final = "async def _pg_wrapper({head}):" + _RUN.replace("AWAITED", "await ")


def last_day(expires: date | str) -> date:
    """The last day of a claim; raises TermError for what is no day."""
    try:
        day = date.fromisoformat(expires) if isinstance(expires, str) else expires
        # A time of that day may be in any zone, so that it isn't told which day is the last.
        if type(day) is date:
            return day
    except ValueError:
        # Denies: the decoration, below.
        pass
    what = "a transform's `expires` is a day such as 2027-06-30"
    raise TermError(what, hint="a reviewed claim ends, and is reviewed again")


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
        code = behind(function)
        if inspect.isasyncgenfunction(code):
            return wrap_async_generator(function, begin)
        if inspect.isgeneratorfunction(code):
            return wrap_generator(function, begin)
        template = _ASYNC if inspect.iscoroutinefunction(code) else _SYNC
        return wrapper(function, template, {"_pg_begin": begin})

    def form_of(self, form: Form, name: str) -> Form:
        """The form of a result made of data in a form: without a claim in force, the same."""
        if self.in_force():
            return form | self._form
        self._tell(name)
        return form

    def remember(self, value: object, labels: Iterable[Label]) -> None:
        """The value carries these labels from now on."""
        self._judge.remember(value, *labels)

    def labels_in(self, value: object, hint: object = None) -> Iterator[Label]:
        """The labels that an argument carries, and that some of them can't be told.

        An object that is no data, such as a client, is a weak doubt: a result isn't made of it.
        """
        for label, _, strength in self._judge.labels_in(value, hint=hint):
            if label.data or strength == "strong":
                yield label

    def in_force(self) -> bool:
        """Whether somebody vouches for the claim today."""
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
        self._said = Parameters(function)

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[NewArguments, Each]:
        """Find what goes in; gives what shall be shown the results."""
        going, said = _GoingIn(self._transform, self._name), self._said
        positional = tuple(
            going.take(value, said.labels(place), said.hint(place))
            for place, value in enumerate(args)
        )
        named = {
            name: going.take(value, said.labels(name), said.hint(name))
            for name, value in kwargs.items()
        }
        return (positional, named) if going.watched else None, going.remember


class _GoingIn:
    """What goes into one call, and so comes out of it in another form.

    Attributes:
        watched: generators are among the arguments, whose labels show while they are used.
    """

    __slots__ = ("_at", "_found", "_name", "_transform", "watched")

    def __init__(self, transform: TransformDecorator, name: str) -> None:
        self._transform, self._name, self._at = transform, name, ""
        self._found: dict[Label, None] = {}
        self.watched = False

    def take(self, value: Any, typed: Iterable[Label], hint: object) -> Any:
        """Look at an argument; what the function gets in its place."""
        if value is None:
            return None
        if typed:
            self._found |= dict.fromkeys(typed)
        if type(value) is GeneratorType:
            self.watched = True
            return _watched(value, partial(self._look, hint=items_of(hint)))
        if isinstance(value, Iterator | AsyncIterator):
            # To look would use it up, so nobody can tell what goes in.
            self._found[_UNSEEN] = None
        else:
            self._look(value, hint)
        return value

    def _look(self, value: object, hint: object) -> None:
        self._found |= dict.fromkeys(self._transform.labels_in(value, hint))

    def remember(self, result: object) -> None:
        """The result carries the labels of what went in so far, in the claimed form."""
        if self._found:
            self._at = self._at or call_site()
            self._transform.remember(result, {self._claimed(label) for label in self._found})

    def _claimed(self, label: Label) -> Label:
        evidence: Evidence = "suspected" if label.evidence == "suspected" else "declared"
        form = self._transform.form_of(label.form, self._name) if label.data else label.form
        return Label(label.data, form, self._name, evidence, self._at)


def _watched(
    inner: Generator[Any, Any, Any], look: Callable[[Any], None]
) -> Generator[Any, Any, Any]:
    """A generator that does what the inner one does, and shows everything that it yields."""
    step: Callable[[], Any] = partial(next, inner)
    while True:
        try:
            value = step()
        except StopIteration as end:
            # Denies: nothing; the inner one has ended.
            return end.value
        look(value)
        try:
            sent = yield value
        except GeneratorExit:
            inner.close()
            raise
        except BaseException as error:  # noqa: BLE001 - handed on to the inner one
            # Denies: nothing; what is thrown belongs to the inner one.
            step = partial(inner.throw, error)
        else:
            step = partial(inner.send, sent)
