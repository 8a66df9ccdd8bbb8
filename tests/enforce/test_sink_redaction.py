"""In mode redact a sink runs with what is left of its arguments, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from policyguard import Category, PolicyViolation
from tests.enforce.kit import ADDRESS, ADS, EMAIL, Memory, guard


class Client:
    """Something to send with: no data, and nothing to look into."""

    __slots__ = ("_socket",)

    def __init__(self) -> None:
        self._socket = object()


@dataclass
class Person:
    """A record with a labelled field."""

    email: Annotated[str, Category(EMAIL)]
    colour: str = "red"


def test_what_is_denied_is_taken_out_and_the_rest_arrives() -> None:
    """Remembered values, annotated fields and annotated parameters; the originals stay whole."""
    memory = Memory()
    made = guard("redact", memory)
    got: list[Any] = []

    @made.sink("pixel")
    def track(event: Any, mail: Annotated[str | None, Category(EMAIL)] = None) -> None:
        got.append((event, mail))

    event = {"user": {"mail": ADDRESS}, "page": "/start"}
    person = Person(ADDRESS)
    with made.purpose(ADS):
        made.remember(ADDRESS, made.label(EMAIL))
        track(event)
        track(person, mail=ADDRESS)
        track("nothing")
    assert got[0] == ({"user": {"mail": "[redacted]"}, "page": "/start"}, None)
    assert got[1] == (Person("[redacted]"), "[redacted]")
    assert got[2] == ("nothing", None)
    assert event["user"] == {"mail": ADDRESS}
    assert person.email == ADDRESS
    assert {record.effect for record in memory.records} == {"redacted"}


def test_an_object_that_is_no_data_passes_beside_what_is_redacted() -> None:
    """A client among the arguments is the very same object."""
    made = guard("redact")
    client = Client()
    got: list[Any] = []

    @made.sink("pixel")
    def send(by: Client, body: dict[str, str]) -> None:
        got.extend([by, body])

    with made.purpose(ADS):
        made.remember(ADDRESS, made.label(EMAIL))
        send(client, {"m": ADDRESS})
    assert got[0] is client
    assert got[1] == {"m": "[redacted]"}


def test_what_was_redacted_may_go() -> None:
    """The placeholder is nobody's data, also in an annotated field."""
    made = guard()
    with made.purpose(ADS):
        made.remember(ADDRESS, made.label(EMAIL))
        safe = made.redact(Person(ADDRESS), to="pixel")
        with pytest.raises(PolicyViolation) as caught:
            made.check(safe, to="pixel")
    assert caught.value.decision.reason == "unlabelled"


def test_declared_data_cannot_be_taken_out() -> None:
    """Nobody said which argument it is, so nothing runs."""
    made = guard("redact")

    @made.sink("pixel", data=[EMAIL])
    def track(event: object) -> None:
        raise AssertionError("the function ran")

    with made.purpose(ADS), pytest.raises(PolicyViolation):
        track({"m": 1})


def test_every_kind_of_function_gets_the_redacted_arguments() -> None:
    """Async functions, generators and async generators too."""
    made = guard("redact")
    got: list[Any] = []

    @made.sink("pixel")
    async def later(event: str) -> None:
        got.append(event)

    @made.sink("pixel")
    def steps(event: str) -> Any:
        got.append(event)
        yield 1

    @made.sink("pixel")
    async def async_steps(event: str) -> Any:
        got.append(event)
        yield 1

    async def run() -> None:
        await later(ADDRESS)
        assert [one async for one in async_steps(ADDRESS)] == [1]

    with made.purpose(ADS):
        made.remember(ADDRESS, made.label(EMAIL))
        asyncio.run(run())
        assert list(steps(ADDRESS)) == [1]
    assert got == ["[redacted]"] * 3
