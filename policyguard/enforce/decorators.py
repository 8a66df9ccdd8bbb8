"""What stands before functions: purpose and source, for every way Python runs code.

Layer: enforce. Each decorator keeps the function's kind: sync, async, generator, async generator,
method, classmethod, staticmethod. When the flow is allowed, result, exceptions, laziness and
cancellation are those of the bare function. Sinks stand in `sinks`, transforms in `transforms`.
Start reading at `PurposeEntry`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, ParamSpec, TypeVar, cast

from policyguard.enforce.context import CURRENT, Entered, Scope, ScopedGenerator, ScopedSteps
from policyguard.enforce.generators import showing, wrap_async_generator, wrap_generator
from policyguard.enforce.judge import Judge
from policyguard.enforce.site import call_site
from policyguard.enforce.wrappers import Wrapper, wrapper
from policyguard.policy.flow import Label

P = ParamSpec("P")
R = TypeVar("R")

_ENTER: Final = """
    _pg_before = _pg_get()
    if _pg_before is None:
        _pg_set(_pg_below(None))
    else:
        _pg_set(_pg_before.inner.get(_pg_entry) or _pg_below(_pg_before))
    try:
        return {awaited}_pg_function({{call}})
    finally:
        _pg_set(_pg_before)
"""
_RUN: Final = "def _pg_wrapper({head}):" + _ENTER.format(awaited="")
_RUN_ASYNC: Final = "async def _pg_wrapper({head}):" + _ENTER.format(awaited="await ")
_STEPS: Final = """
def _pg_wrapper({head}):
    return (yield from _pg_scoped(_pg_function({call}), _pg_entry))
"""
_REMEMBER: Final = """
def _pg_wrapper({head}):
    _pg_value = _pg_function({call})
    if _pg_value is not None:
        _pg_each(_pg_value)
    return _pg_value
"""
_REMEMBER_ASYNC: Final = """
async def _pg_wrapper({head}):
    _pg_value = await _pg_function({call})
    if _pg_value is not None:
        _pg_each(_pg_value)
    return _pg_value
"""


def inside(function: Any, decorate: Callable[[Wrapper], Wrapper]) -> Any:
    """Decorate a function, or the one inside a classmethod or staticmethod."""
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(decorate(function.__func__))
    return decorate(function)


class PurposeEntry(Entered):
    """`guard.purpose(...)`: a decorator and a block."""

    __slots__ = ("purpose",)

    def __init__(self, judge: Judge, purpose: str) -> None:
        self.purpose = purpose

        def make(scope: Scope) -> None:
            judge.enter(scope, purpose)

        super().__init__(make)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Run the function for this purpose.

        Cost: some 0.3 us a call inside a request or job; its first call there makes the scope.
        """
        return cast("Callable[P, R]", inside(function, self._wrap))

    def _wrap(self, function: Wrapper) -> Wrapper:
        if inspect.isasyncgenfunction(function):
            return wrap_async_generator(function, step=lambda: ScopedSteps(self))
        names = {
            "_pg_get": CURRENT.get,
            "_pg_set": CURRENT.set,
            "_pg_entry": self,
            "_pg_below": self._kept,
            "_pg_scoped": ScopedGenerator,
        }
        if inspect.isgeneratorfunction(function):
            return wrapper(function, _STEPS, names)
        is_async = inspect.iscoroutinefunction(function)
        return wrapper(function, _RUN_ASYNC if is_async else _RUN, names)

    def _kept(self, parent: Scope | None) -> Scope:
        """The scope below another; made once for each, because such scopes never differ."""
        made = self.below(parent)
        if parent is not None:
            parent.inner[self] = made
        return made


class SourceDecorator:
    """`guard.source(...)`: what the function gives carries a label."""

    __slots__ = ("_judge", "_label")

    def __init__(self, judge: Judge, label: Label) -> None:
        self._judge, self._label = judge, label

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Remember every result, and everything a generator yields, in the current scope."""
        return cast("Callable[P, R]", inside(function, self._wrap))

    def _wrap(self, function: Wrapper) -> Wrapper:
        name = f"{getattr(function, '__qualname__', 'function')}()"
        label = replace(self._label, source=name)

        def remember(value: Any) -> None:
            self._judge.remember(value, replace(label, at=call_site()))

        if inspect.isasyncgenfunction(function):
            return wrap_async_generator(function, showing(remember))
        if inspect.isgeneratorfunction(function):
            return wrap_generator(function, showing(remember))
        template = _REMEMBER_ASYNC if inspect.iscoroutinefunction(function) else _REMEMBER
        return wrapper(function, template, {"_pg_each": remember})
