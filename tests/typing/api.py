"""Only type-checked, never run: decorated functions keep their types.

`mypy --strict` must accept every line; `assert_type` fails where a signature got lost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Annotated, Any, assert_type

import policyguard
from policyguard import Category, Decision, Guard, PolicyViolation, Sealed

guard: Guard = policyguard.install()
loaded = Guard.load("policy.yaml", data_map="data-map.yaml", mode="flag")
assert_type(loaded, Guard)


@guard.purpose("essential.service.account")
def plain(number: int, *, text: str = "") -> list[str]:
    """A plain function."""
    return [text] * number


@guard.source("user.contact.email")
async def later(number: int) -> bytes:
    """A coroutine function."""
    return bytes(number)


@guard.sink("pixel", data=["user.contact.email"])
def steps(number: int) -> Generator[int, str, bool]:
    """A generator function."""
    yield number
    return True


@guard.purpose("essential.service.account")
async def async_steps() -> AsyncGenerator[int, None]:
    """An async generator function."""
    yield 1


@guard.transform("aggregated", reviewed_by="privacy", expires="2030-01-01")
def total(rows: list[int], /, *, start: int = 0) -> float:
    """A reviewed claim keeps the types too."""
    return float(sum(rows, start))


class Holder:
    """A class with decorated methods."""

    @guard.purpose("essential.service.account")
    def method(self, number: int) -> str:
        """A method."""
        return str(number)

    @classmethod
    @guard.sink("pixel")
    def of_class(cls, mail: Annotated[str, Category("user.contact.email")]) -> str:
        """A class method."""
        return mail

    @staticmethod
    @guard.source("user.contact.email")
    def alone() -> int:
        """A static method."""
        return 1


assert_type(plain(1, text="x"), list[str])
assert_type(steps(1), Generator[int, str, bool])
assert_type(async_steps(), AsyncGenerator[int, None])
assert_type(Holder().method(1), str)
assert_type(Holder.of_class("x"), str)
assert_type(Holder.alone(), int)

plain("1")  # type: ignore[arg-type]  # a wrong argument is still found
plain(1, "x")  # type: ignore[call-arg]  # keyword-only stays keyword-only
Holder().method()  # type: ignore[call-arg]  # a missing argument is still found

with guard.purpose("a"), guard.context(subject=1, facts={"age": 30}, reader="self"):
    decision = guard.check("x", to="pixel")
assert_type(decision, Decision)
assert_type(decision.allowed, bool)
assert_type(guard.decide(data="a", to="b", form=["aggregated"], facts={}), Decision)


async def blocks() -> None:
    """`async with` is a block too."""
    async with guard.purpose("a"):
        assert_type(await later(1), bytes)


def caught(error: PolicyViolation) -> tuple[Decision, str, str]:
    """A violation holds what a program needs."""
    return error.decision, error.read_at, error.sent_at


bound: Callable[..., Any] = guard.bind(plain)
assert_type(guard.bind(plain)(1, text="x"), list[str])
guard.bind(plain)("1")  # type: ignore[arg-type]  # bound functions keep their parameters
assert_type(total([1], start=2), float)
total(rows=[1])  # type: ignore[call-arg]  # positional-only stays positional-only

sealed = guard.seal("x@example.org", "user.contact.email")
assert_type(sealed, Sealed[str])
assert_type(guard.open(sealed, to="self"), str)
assert_type(guard.redact({"a": [1]}, to="pixel"), dict[str, list[int]])
guard.open("x", to="self")  # type: ignore[arg-type]  # only what is sealed can be opened


async def requests() -> None:
    """Scopes of requests, jobs and batches are blocks of both kinds."""
    async with guard.request("GET", "/me", subject=1, region="DE", gpc=True):
        with guard.job("reports.daily", purpose="analytics.reporting"):
            async with guard.context(subjects=[1, 2, 3]):
                assert_type(guard.reload(), bool)
