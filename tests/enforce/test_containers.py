"""Values in containers that can be looked into, and in those that can't."""

from __future__ import annotations

import asyncio
import functools
import io
import itertools
from collections import ChainMap, UserDict, UserList, UserString
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Annotated, Any

import pytest

from policyguard import Category, PolicyViolation
from policyguard.config import Guard
from policyguard.labels.typed import REDACTED
from tests.enforce.kit import ADDRESS, ADS, EMAIL, guard


@dataclass
class Person:
    email: Annotated[str, Category(EMAIL)]


class Client:
    """No data."""


class Lines:
    """A collection of an application: its content is anybody's guess."""

    def __init__(self) -> None:
        self.load: Callable[[], list[str]] = lambda: [ADDRESS]

    def __iter__(self) -> Iterator[str]:
        return iter(self.load())


async def _draw() -> AsyncIterator[str]:
    yield ADDRESS


OPEN: dict[str, Callable[[object], object]] = {
    "values": lambda held: {"a": held}.values(),
    "items": lambda held: {"a": held}.items(),
    "proxy": lambda held: MappingProxyType({"a": held}),
    "UserDict": lambda held: UserDict(a=held),
    "UserList": lambda held: UserList([held]),
    "ChainMap": lambda held: ChainMap({}, {"a": held}),
    "namespace": lambda held: SimpleNamespace(a=held),
    "exception": ValueError,
    "attribute": lambda held: FileNotFoundError(2, "none", held),
    "partial": lambda held: functools.partial(print, held),
    "named": lambda held: functools.partial(print, a=held),
}
TEXTS: dict[str, Callable[[], object]] = {
    "keys": {ADDRESS: 1}.keys,
    "StringIO": lambda: io.StringIO(ADDRESS),
    "BytesIO": lambda: io.BytesIO(ADDRESS.encode()),
    "memoryview": lambda: memoryview(ADDRESS.encode()),
    "UserString": lambda: UserString(ADDRESS),
}
LAZY: dict[str, Callable[[], object]] = {
    "generator": lambda: (one for one in [ADDRESS]),
    "iterator": lambda: iter([ADDRESS]),
    "map": lambda: map(str, [ADDRESS]),
    "chain": lambda: itertools.chain([ADDRESS]),
    "async": _draw,
    "values": lambda: iter({"a": ADDRESS}.values()),
    "collection": Lines,
}


def publish(asked: Guard) -> Callable[[object], str]:
    """A sink for data that nobody may be identified by."""

    @asked.sink("public")
    def send(event: object) -> str:
        return "sent"

    return send


def refused(asked: Guard, value: object) -> tuple[str, str]:
    """Data and reason of the flow that stops the value."""
    with pytest.raises(PolicyViolation) as caught:
        publish(asked)(value)
    return caught.value.decision.flow.data, caught.value.decision.reason


@pytest.mark.parametrize("name", [*OPEN, *TEXTS])
def test_remembered_values_are_found(name: str) -> None:
    """A remembered value doesn't leave in a container of the standard library."""
    asked = guard()
    with asked.context(purpose=ADS):
        asked.remember(ADDRESS, asked.label(EMAIL))
        value = OPEN[name](ADDRESS) if name in OPEN else TEXTS[name]()
        assert refused(asked, value)[0] == EMAIL
        assert refused(asked, {"deep": [value]})[0] == EMAIL


@pytest.mark.parametrize("name", OPEN)
def test_annotated_values_are_found(name: str) -> None:
    """An annotated field doesn't leave in one either, though nothing is remembered."""
    asked = guard()
    with asked.context(purpose=ADS):
        assert refused(asked, OPEN[name](Person(ADDRESS)))[0] == EMAIL


@pytest.mark.parametrize("name", LAZY)
def test_what_shows_only_when_it_is_read_is_in_doubt(name: str) -> None:
    """Such data don't leave where something labelled was seen, and aren't used up by the look."""
    asked = guard()
    with asked.context(purpose=ADS):
        assert publish(asked)(LAZY[name]()) == "sent"
        asked.remember(ADDRESS, asked.label(EMAIL))
        value = LAZY[name]()
        assert refused(asked, value) == ("", "cannot_tell")
        assert refused(asked, [Client(), {"deep": value}]) == ("", "cannot_tell")
        if isinstance(value, Iterator):
            assert list(value) == [ADDRESS]


def test_objects_that_are_no_data_pass() -> None:
    """A client or a class among the arguments stops nothing."""
    asked = guard()
    with asked.context(purpose=ADS):
        asked.remember(ADDRESS, asked.label(EMAIL))
        for value in (Client(), Lines, print, range(20), functools.partial(print, 1)):
            assert publish(asked)(value) == "sent"


def test_numbers_in_a_range() -> None:
    """A range holds the numbers that it gives; a long one is in doubt."""
    asked, number = guard(), 4915112345678
    with asked.context(purpose=ADS):
        asked.remember(number, asked.label(EMAIL))
        assert refused(asked, range(number - 1, number + 2))[0] == EMAIL
        assert refused(asked, range(number + 10**9)) == ("", "cannot_tell")


def test_too_much_to_look_at_is_in_doubt() -> None:
    """What nests too deep for anybody to tell what it holds doesn't leave."""
    asked = guard()
    deep: object = Person(ADDRESS)
    for _ in range(300):
        deep = [deep]
    with asked.context(purpose=ADS):
        assert refused(asked, deep) == ("", "cannot_tell")
        assert refused(asked, {"owner": Person(ADDRESS), "n": [0.1] * 100_000})[0] == EMAIL


@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("name", LAZY)
def test_no_copy_of_what_cannot_be_read(name: str, remembered: bool) -> None:
    """A generator can't be redacted, whether or not something was remembered."""
    asked = guard()
    with asked.context(purpose=ADS):
        if remembered:
            asked.remember(ADDRESS, asked.label(EMAIL))
        for value in (LAZY[name](), {"deep": [LAZY[name]()]}):
            with pytest.raises(PolicyViolation):
                asked.redact(value, to="public")


@pytest.mark.parametrize("name", OPEN)
def test_a_copy_of_a_container_lets_nothing_out(name: str) -> None:
    """Either the copy is without it, or there is no copy."""
    asked = guard()
    with asked.context(purpose=ADS):
        for held in (Person(ADDRESS), ADDRESS):
            if held == ADDRESS:
                asked.remember(ADDRESS, asked.label(EMAIL))
            try:
                copy = asked.redact(OPEN[name](held), to="public")
            except PolicyViolation:
                # Denies: the copy, as it may.
                continue
            assert ADDRESS not in f"{list(copy)} {copy}"  # type: ignore[call-overload]  # containers only


def test_copies_of_views() -> None:
    """A view gives a view or list of what is left; one without anything denied is the same."""
    asked = guard()
    with asked.context(purpose=ADS):
        asked.remember(ADDRESS, asked.label(EMAIL))
        row: dict[str, Any] = {"mail": ADDRESS, "n": 1}
        assert list(asked.redact(row.values(), to="public")) == [REDACTED, 1]
        assert dict(asked.redact(row.items(), to="public")) == {"mail": REDACTED, "n": 1}
        proxy = asked.redact(MappingProxyType(row), to="public")
        assert (type(proxy), proxy["mail"]) == (MappingProxyType, REDACTED)
        clean = {"n": 1}.values()
        assert asked.redact(clean, to="public") is clean
        assert row["mail"] == ADDRESS


def test_a_coroutine_is_not_awaited() -> None:
    """What a coroutine will give is unknown too."""
    asked = guard()

    async def later() -> str:
        return ADDRESS

    async def run() -> str:
        waiting = later()
        with asked.context(purpose=ADS):
            asked.remember(ADDRESS, asked.label(EMAIL))
            assert refused(asked, waiting) == ("", "cannot_tell")
        return await waiting

    assert asyncio.run(run()) == ADDRESS
