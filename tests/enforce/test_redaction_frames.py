"""What stopped a call shows nothing of its arguments, in tracebacks that print locals too."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from policyguard import PolicyViolation
from tests.enforce.kit import ADDRESS, ADS, EMAIL, guard


def shown(error: BaseException) -> str:
    """The locals of our own frames; the wrapper has the parameters that its caller has too."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame for frame in frames if "/policyguard/" in frame.f_code.co_filename]
    assert ours
    held = [value for frame in ours for value in frame.f_locals.values()]
    return "\n".join(map(repr, held))


async def drained(stream: AsyncIterator[Any]) -> None:
    """All that comes."""
    async for _ in stream:
        pass


@pytest.mark.parametrize("mode", ["block", "redact"])
@pytest.mark.parametrize("kind", ["function", "coroutine", "generator", "stream"])
def test_frames_of_a_blocked_sink_hold_no_arguments(kind: str, mode: str) -> None:
    """Whatever kind the function is of, and where its arguments could not be redacted."""
    it = guard(mode)

    @it.sink("pixel", data=EMAIL)
    def function(*given: object, **named: object) -> None:
        pass

    @it.sink("pixel", data=EMAIL)
    async def coroutine(*given: object, **named: object) -> None:
        pass

    @it.sink("pixel", data=EMAIL)
    def generator(*given: object, **named: object) -> Iterator[int]:
        yield 1

    @it.sink("pixel", data=EMAIL)
    async def stream(*given: object, **named: object) -> AsyncIterator[int]:
        yield 1

    calls: dict[str, Callable[[], object]] = {
        "function": lambda: function([ADDRESS], key=ADDRESS),
        "coroutine": lambda: asyncio.run(coroutine([ADDRESS], key=ADDRESS)),
        "generator": lambda: list(generator([ADDRESS], key=ADDRESS)),
        "stream": lambda: asyncio.run(drained(stream([ADDRESS], key=ADDRESS))),
    }
    with it.context(purpose=ADS):
        it.remember(ADDRESS, it.label(EMAIL))
        with pytest.raises(PolicyViolation) as caught:
            calls[kind]()
    assert ADDRESS not in shown(caught.value)
    assert caught.value.__context__ is None
