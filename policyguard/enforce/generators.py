"""Wrappers that step generators on behalf of their caller, and lose nothing on the way.

Layer: enforce. What is sent, thrown and closed reaches the wrapped generator, and what it yields,
returns and raises reaches the caller. Start reading at `wrap_generator`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Final

from policyguard.enforce.context import ScopedSteps
from policyguard.enforce.wrappers import Wrapper, wrapper

Each = Callable[[Any], None]
NewArguments = tuple[tuple[Any, ...], dict[str, Any]] | None
Begin = Callable[[tuple[Any, ...], dict[str, Any]], tuple[NewArguments, Each]]
Step = Callable[..., Any]
"""Makes a step: of a generator, a move with its argument; of an async one, something awaitable."""

# What was thrown is handed on outside of the `except` in which it came, or it would show up as the
# context of whatever the generator raises afterwards. Nothing is held while the caller has a value.
_MACHINE: Final = """
def _pg_wrapper({head}):
    _pg_new, _pg_each = _pg_begin({positional}, {named})
    if _pg_new is None:
        _pg_inner = [_pg_function({call})]
    else:
        _pg_inner = [_pg_function(*_pg_new[0], **_pg_new[1])]
    _pg_on = _pg_stepping()
    _pg_sent = _pg_error = None
    while True:
        try:
            if _pg_error is None:
                _pg_value = [STEP_SEND]
            else:
                _pg_value = [STEP_THROW]
        except _pg_FINISHED as _pg_end:
            return RESULT
        except _pg_exit:
            _pg_drop(_pg_on, _pg_inner)
            raise
        finally:
            _pg_sent = _pg_error = None
        _pg_each(_pg_value[0])
        try:
            _pg_sent = yield _pg_value.pop()
        except _pg_any_error as _pg_thrown:
            _pg_error = _pg_thrown
"""


def _machine(start: str, send: str, throw: str, end: str, result: str) -> str:
    """The machine that steps a generator of one kind."""
    made = _MACHINE.replace("\ndef", f"\n{start}def").replace("FINISHED", end)
    return made.replace("RESULT", result).replace("STEP_SEND", send).replace("STEP_THROW", throw)


_STEPS: Final = _machine(
    "",
    "_pg_on(_pg_inner[0].send, _pg_sent)",
    "_pg_on(_pg_inner[0].throw, _pg_error)",
    "stop",
    "_pg_end.value",
)
# There is no `yield from` for async generators.
_ASYNC_STEPS: Final = _machine(
    "async ",
    "await _pg_on(_pg_asend(_pg_inner[0], _pg_sent))",
    "await _pg_on(_pg_inner[0].athrow(_pg_error))",
    "async_stop",
    "",
)


def nothing(*_: object) -> None:
    """Do nothing with a value."""


def showing(each: Each) -> Begin:
    """A beginning after which `each` is shown everything that is yielded."""

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[NewArguments, Each]:
        del args, kwargs
        return None, each

    return begin


def _at_once(move: Callable[[Any], Any], given: Any) -> Any:
    return move(given)


def _as_it_is(step: Awaitable[Any]) -> Awaitable[Any]:
    return step


def wrap_generator(
    function: Wrapper, begin: Begin | None = None, *, step: Callable[[], Step] = lambda: _at_once
) -> Wrapper:
    """A generator function, stepped.

    Args:
        function: the bare one.
        begin: runs at the first step, as the function's own first line does, with the arguments;
            may give others in their place, and gives what is shown everything that is yielded.
        step: gives, for each generator, what makes its steps.
    """
    names = {"_pg_begin": begin or _NOTHING, "_pg_stepping": step, "_pg_drop": nothing}
    return wrapper(function, _STEPS, names)


def stepped(inner: Callable[[], Generator[Any, Any, Any]], on: Step) -> Generator[Any, Any, Any]:
    """A generator that makes the steps of another, which is made at once.

    The outer one is made first: where both are garbage, the collector closes it before the inner.
    """
    box: list[Generator[Any, Any, Any]] = []
    made = _shown(box, nothing, on)
    box.append(inner())
    return made


def shown(inner: Generator[Any, Any, Any], each: Each) -> Generator[Any, Any, Any]:
    """A generator that does what the inner one does, and shows everything that it yields."""
    return _shown([inner], each, _at_once)


def _shown(inner: list[Generator[Any, Any, Any]], each: Each, on: Step) -> Generator[Any, Any, Any]:
    sent = error = None
    while True:
        try:
            value = [on(inner[0].send, sent) if error is None else on(inner[0].throw, error)]
        except StopIteration as end:
            # Denies: nothing; the bare generator has ended.
            return end.value
        finally:
            sent = error = None
        each(value[0])
        try:
            sent = yield value.pop()
        except BaseException as thrown:  # noqa: BLE001 - handed on to the generator
            # Denies: nothing; what is thrown belongs to the bare generator.
            error = thrown


def wrap_async_generator(
    function: Wrapper, begin: Begin | None = None, *, step: Callable[[], Step] = lambda: _as_it_is
) -> Wrapper:
    """As `wrap_generator`, for an async generator function."""
    names = {
        "_pg_begin": begin or _NOTHING,
        "_pg_stepping": step,
        "_pg_asend": _asend,
        "_pg_drop": _drop,
    }
    return wrapper(function, _ASYNC_STEPS, names)


def _drop(on: Step, inner: list[AsyncGenerator[Any, Any]]) -> None:
    """Let go of a generator that is given up in the middle of a step: it cleans up in its scope."""
    if isinstance(on, ScopedSteps):
        on.now(inner.clear)


def _asend(inner: AsyncGenerator[Any, Any], sent: Any) -> Awaitable[Any]:
    """A step of the inner generator, which the event loop isn't told of at its start.

    A loop closes at its end every generator that it was told of; the outer one closes the inner.
    """
    first, last = sys.get_asyncgen_hooks()
    if first is None:
        return inner.asend(sent)
    sys.set_asyncgen_hooks(None, last)
    try:
        return inner.asend(sent)
    finally:
        sys.set_asyncgen_hooks(first, last)


_NOTHING: Final = showing(nothing)
