"""Wrappers that step generators on behalf of their caller, and lose nothing on the way.

Layer: enforce. What is sent, thrown and closed reaches the wrapped generator, and what it yields,
returns and raises reaches the caller. Start reading at `wrap_generator`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

from policyguard.enforce.wrappers import Wrapper, wrapper

Each = Callable[[Any], None]
NewArguments = tuple[tuple[Any, ...], dict[str, Any]] | None
Begin = Callable[[tuple[Any, ...], dict[str, Any]], tuple[NewArguments, Each]]
Step = Callable[[Awaitable[Any]], Awaitable[Any]]

_STEPS: Final = """
def _pg_wrapper({head}):
    _pg_new, _pg_each = _pg_begin({positional}, {named})
    return (yield from _pg_shown(_pg_function({call}), _pg_each))
"""
# There is no `yield from` for async generators, so their steps stand here in full.
_ASYNC_STEPS: Final = """
async def _pg_wrapper({head}):
    _pg_new, _pg_each = _pg_begin({positional}, {named})
    if _pg_new is None:
        _pg_inner = _pg_function({call})
    else:
        _pg_inner = _pg_function(*_pg_new[0], **_pg_new[1])
    _pg_on = _pg_stepping()
    try:
        _pg_value = await _pg_on(_pg_inner.__anext__())
        while True:
            _pg_each(_pg_value)
            try:
                _pg_sent = yield _pg_value
            except GeneratorExit:
                await _pg_on(_pg_inner.aclose())
                raise
            except BaseException as _pg_error:
                # Denies: nothing; what is thrown belongs to the bare generator.
                _pg_value = await _pg_on(_pg_inner.athrow(_pg_error))
            else:
                _pg_value = await _pg_on(_pg_inner.asend(_pg_sent))
    except StopAsyncIteration:
        return
"""


def nothing(_: object) -> None:
    """Do nothing with a value."""


def showing(each: Each) -> Begin:
    """A beginning after which `each` is shown everything that is yielded."""

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[NewArguments, Each]:
        del args, kwargs
        return None, each

    return begin


def wrap_generator(function: Wrapper, begin: Begin) -> Wrapper:
    """A generator function whose values are shown to what `begin` gives for each call.

    `begin` runs at the first step, as the function's own first line does.
    """
    return wrapper(function, _STEPS, {"_pg_shown": _shown, "_pg_begin": begin})


def _shown(inner: Generator[Any, Any, Any], each: Each) -> Generator[Any, Any, Any]:
    try:
        value = next(inner)
        while True:
            each(value)
            try:
                sent = yield value
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as error:  # noqa: BLE001 - handed on to the generator
                # Denies: nothing; what is thrown belongs to the bare generator.
                value = inner.throw(error)
            else:
                value = inner.send(sent)
    except StopIteration as end:
        # Denies: nothing; the bare generator has ended.
        return end.value


_NOTHING: Final = showing(nothing)


def wrap_async_generator(
    function: Wrapper, begin: Begin = _NOTHING, *, step: Callable[[], Step] = lambda: _plain
) -> Wrapper:
    """An async generator function, stepped.

    Args:
        function: the bare one.
        begin: runs before the first step, with the arguments; may give others in their place, and
            gives what is shown everything that is yielded.
        step: gives, for each generator, what awaits its steps.
    """
    return wrapper(function, _ASYNC_STEPS, {"_pg_begin": begin, "_pg_stepping": step})


async def _plain(step: Awaitable[Any]) -> Any:
    return await step
