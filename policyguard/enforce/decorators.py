"""What stands before functions: purpose, source and sink, for every way Python runs code.

Layer: enforce. Each decorator keeps the function's kind: sync, async, generator, async generator,
method, classmethod, staticmethod. When the flow is allowed, result, exceptions, laziness and
cancellation are those of the bare function. Start reading at `PurposeEntry`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from policyguard.enforce.context import Entered, Scope, ScopedGenerator, ScopedSteps
from policyguard.enforce.generators import wrap_async_generator, wrap_generator
from policyguard.enforce.judge import Judge
from policyguard.enforce.site import call_site
from policyguard.labels.typed import labels_of_annotations
from policyguard.policy.flow import Label

P = ParamSpec("P")
R = TypeVar("R")
Wrapper = Callable[..., Any]


def _inside(function: Any, decorate: Callable[[Wrapper], Wrapper]) -> Any:
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
        """Run the function for this purpose. Cost: one scope, some 0.5 us a call."""
        return cast("Callable[P, R]", _inside(function, self._wrap))

    def _wrap(self, function: Wrapper) -> Wrapper:
        if inspect.isasyncgenfunction(function):
            return wrap_async_generator(function, step=lambda: ScopedSteps(self))
        if inspect.isgeneratorfunction(function):
            return self._generator(function)
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return run_async

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return run

    def _generator(self, function: Wrapper) -> Wrapper:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            return (yield from ScopedGenerator(function(*args, **kwargs), self))

        return run


class SourceDecorator:
    """`guard.source(...)`: what the function gives carries a label."""

    __slots__ = ("_judge", "_label")

    def __init__(self, judge: Judge, label: Label) -> None:
        self._judge, self._label = judge, label

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Remember every result, and everything a generator yields, in the current scope."""
        return cast("Callable[P, R]", _inside(function, self._wrap))

    def _wrap(self, function: Wrapper) -> Wrapper:
        name = f"{getattr(function, '__qualname__', 'function')}()"

        def remember(value: Any) -> Any:
            self._judge.remember(value, replace(self._label, source=name, at=call_site()))
            return value

        if inspect.isasyncgenfunction(function):
            return wrap_async_generator(function, each=remember)
        if inspect.isgeneratorfunction(function):
            return wrap_generator(function, remember)
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                return remember(await function(*args, **kwargs))

            return run_async

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            return remember(function(*args, **kwargs))

        return run


class SinkDecorator:
    """`guard.sink(...)`: the arguments leave to a recipient, so they are judged first."""

    __slots__ = ("_declared", "_judge", "recipient")

    def __init__(self, judge: Judge, recipient: str, declared: tuple[Label, ...]) -> None:
        self._judge, self.recipient, self._declared = judge, recipient, declared

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Judge every call before the function runs.

        A call without a purpose is denied whatever its arguments are. Raises, when called,
        PolicyViolation in mode block.
        """
        return cast("Callable[P, R]", _inside(function, self._wrap))

    def _wrap(self, function: Wrapper) -> Wrapper:
        typed = labels_of_annotations(function)
        signature = inspect.signature(function).parameters
        parameters = list(signature)
        rest = {p.name for p in signature.values() if p.kind is p.VAR_KEYWORD}
        of_rest = tuple(label for name in rest for label in typed.get(name, ()))
        # A method's own object doesn't leave; what it holds isn't an argument.
        skip = 1 if parameters[:1] in (["self"], ["cls"]) else 0
        by_position = {i: typed[name] for i, name in enumerate(parameters) if name in typed}

        def judge(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found: list[tuple[Label, str, Any]] = [(each, "", "strong") for each in self._declared]
            for i, value in enumerate(args[skip:], skip):
                found += [
                    (label, parameters[min(i, len(parameters) - 1)], "strong")
                    for label in by_position.get(i, ())
                ]
                found += self._judge.labels_in(value)
            for name, value in kwargs.items():
                labels = typed.get(name, ()) if name in signature else of_rest
                found += [(label, name, "strong") for label in labels]
                found += self._judge.labels_in(value)
            if not found and self._judge.current_purpose() is None:
                found.append((Label(""), "", "strong"))
            if found:
                self._judge.judge(found, self.recipient, at="call")

        if inspect.isasyncgenfunction(function):
            return wrap_async_generator(function, before=judge)
        if inspect.isgeneratorfunction(function):

            @wraps(function)
            def run_generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
                judge(args, kwargs)
                return (yield from function(*args, **kwargs))

            return run_generator
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                judge(args, kwargs)
                return await function(*args, **kwargs)

            return run_async

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            judge(args, kwargs)
            return function(*args, **kwargs)

        return run
