"""Wrappers that step generators on behalf of their caller, and lose nothing on the way.

Layer: enforce. What is sent, thrown and closed reaches the wrapped generator, and what it yields,
returns and raises reaches the caller. Start reading at `wrap_generator`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import wraps
from typing import Any

Wrapper = Callable[..., Any]
Each = Callable[[Any], Any]
Before = Callable[[tuple[Any, ...], dict[str, Any]], None]
Step = Callable[[Awaitable[Any]], Awaitable[Any]]


def nothing(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Do nothing before the first step."""
    del args, kwargs


def wrap_generator(function: Wrapper, each: Each) -> Wrapper:
    """A generator function with `each` applied to everything that is yielded."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        inner = function(*args, **kwargs)
        try:
            value = each(next(inner))
            while True:
                try:
                    sent = yield value
                except GeneratorExit:
                    inner.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - handed on to the generator
                    # Denies: nothing; what is thrown belongs to the bare generator.
                    value = each(inner.throw(error))
                else:
                    value = each(inner.send(sent))
        except StopIteration as end:
            # Denies: nothing; the bare generator has ended.
            return end.value

    return run


def wrap_async_generator(
    function: Wrapper,
    *,
    before: Before = nothing,
    each: Each = lambda value: value,
    step: Callable[[], Step] = lambda: _plain,
) -> Wrapper:
    """An async generator function, stepped.

    Args:
        function: the bare one.
        before: runs before the first step, with the arguments.
        each: applied to everything that is yielded.
        step: gives, for each generator, what awaits its steps.
    """

    @wraps(function)
    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        before(args, kwargs)
        inner: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        on = step()
        try:
            value = each(await on(inner.__anext__()))
            while True:
                try:
                    sent = yield value
                except GeneratorExit:
                    await on(inner.aclose())
                    raise
                except BaseException as error:  # noqa: BLE001 - handed on to the generator
                    # Denies: nothing; what is thrown belongs to the bare generator.
                    value = each(await on(inner.athrow(error)))
                else:
                    value = each(await on(inner.asend(sent)))
        except StopAsyncIteration:
            # Denies: nothing; the bare generator has ended.
            return

    return run


async def _plain(step: Awaitable[Any]) -> Any:
    return await step
