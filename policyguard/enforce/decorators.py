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
from inspect import CO_COROUTINE
from typing import Any, Final, ParamSpec, TypeVar, cast

from policyguard.enforce.context import CURRENT, Entered, Scope, ScopedSteps, Steps, awaited
from policyguard.enforce.generators import showing, wrap_async_generator, wrap_generator
from policyguard.enforce.judge import Judge
from policyguard.enforce.site import call_site
from policyguard.enforce.wrappers import Wrapper, behind, wrapper
from policyguard.policy.flow import Label

P = ParamSpec("P")
R = TypeVar("R")

_RUN: Final = """
def _pg_wrapper({head}):
    _pg_before = _pg_get()
    if _pg_before is None:
        _pg_set(_pg_below(None))
    else:
        _pg_set(_pg_before.inner.get(_pg_entry) or _pg_below(_pg_before))
    try:
        return _pg_function({call})
    finally:
        _pg_set(_pg_before)
"""
# Not as above: a coroutine that is dropped half-run is closed in a scope that isn't its own.
_RUN_ASYNC: Final = """
async def _pg_wrapper({head}):
    return await _pg_awaited(_pg_function({call}), _pg_entry)
"""
# What isn't written as a coroutine function, but is one, may do something when it is called.
_NATIVE: Final = """
async def _pg_wrapper({head}):
    return await _pg_function({call})
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
    """Decorate a function, or the one inside a classmethod or staticmethod.

    Raises:
        TypeError: it isn't a function, such as a property: what is inside is to be decorated.
    """
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(inside(function.__func__, decorate))
    if not callable(function):
        kind = type(function).__name__
        raise TypeError(f"only what can be called can be decorated, not a {kind}; below it, then")
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

    def step_into(self, before: Scope | None) -> None:
        """Make the scope of a decorated generator's or coroutine's steps the current one."""
        CURRENT.set((before and before.inner.get(self)) or self._kept(before))

    def _wrap(self, function: Wrapper) -> Wrapper:
        code = behind(function)
        if inspect.isasyncgenfunction(code):
            return wrap_async_generator(function, step=lambda: ScopedSteps(self))
        if inspect.isgeneratorfunction(code):
            return wrap_generator(function, step=lambda: Steps(self))
        if inspect.iscoroutinefunction(code):
            names = {"_pg_awaited": awaited, "_pg_entry": self}
            native = inspect.isfunction(function) and function.__code__.co_flags & CO_COROUTINE
            return wrapper(
                function if native else wrapper(function, _NATIVE, {}), _RUN_ASYNC, names
            )
        names = {
            "_pg_get": CURRENT.get,
            "_pg_set": CURRENT.set,
            "_pg_entry": self,
            "_pg_below": self._kept,
        }
        return wrapper(function, _RUN, names)

    def _kept(self, parent: Scope | None) -> Scope:
        """The scope below another; made once for each, because such scopes never differ."""
        made = self.below(parent)
        if parent is not None:
            parent.keep(self, made)
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

        code = behind(function)
        if inspect.isasyncgenfunction(code):
            return wrap_async_generator(function, showing(remember))
        if inspect.isgeneratorfunction(code):
            return wrap_generator(function, showing(remember))
        template = _REMEMBER_ASYNC if inspect.iscoroutinefunction(code) else _REMEMBER
        return wrapper(function, template, {"_pg_each": remember})
