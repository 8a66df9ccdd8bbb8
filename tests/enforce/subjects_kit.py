"""Stores that answer, hang and lie, a clock that can be moved, and waiting without a fixed time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic, sleep
from typing import Any

ANNA = "anna.schmidt@mail.example.org"
ADS = "marketing.advertising"
PATIENCE = 10.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """A store in memory; remembers who was asked about and in which threads."""

    def __init__(self, **people: Mapping[str, Any]) -> None:
        self.people: dict[object, Any] = {}
        self.people.update(people)
        self.asked: list[object] = []
        self.threads: set[int] = set()

    def facts(self, subject: object, /) -> Mapping[str, Any] | None:
        self.asked.append(subject)
        self.threads.add(threading.get_ident())
        found: Mapping[str, Any] | None = self.people.get(subject)
        return found


class KeptAsync(Kept):
    """As `Kept`, with a method for event loops."""

    async def afacts(self, subject: object, /) -> Mapping[str, Any] | None:
        await asyncio.sleep(0)
        return self.people.get(subject)


class KeptBatch(Kept):
    """As `Kept`, with a method for many."""

    def facts_of(self, subjects: Iterable[object], /) -> Mapping[object, Any]:
        self.asked.append(tuple(subjects))
        return {subject: self.people[subject] for subject in subjects if subject in self.people}


class Does:
    """A store that does what it is given, for threads and for loops."""

    def __init__(self, does: Callable[[], Any]) -> None:
        self.does, self.calls = does, 0

    def facts(self, subject: object, /) -> Any:
        self.calls += 1
        return self.does()

    async def afacts(self, subject: object, /) -> Any:
        return self.facts(subject)


class Hangs(Kept):
    """A store whose calls come back when the test lets them."""

    def __init__(self, **people: Mapping[str, Any]) -> None:
        super().__init__(**people)
        self.let_go = threading.Event()

    def facts(self, subject: object, /) -> Mapping[str, Any] | None:
        known = super().facts(subject)
        assert self.let_go.wait(PATIENCE)
        return known


def waiting(until: Callable[[], object]) -> Iterator[None]:
    """Steps of waiting until something is so; fails when it never is."""
    end = monotonic() + PATIENCE
    while not until():
        assert monotonic() < end, "it never came"
        yield


def wait(until: Callable[[], object]) -> None:
    """Wait in a thread."""
    for _ in waiting(until):
        sleep(0.005)


async def await_(until: Callable[[], object]) -> None:
    """Wait on an event loop."""
    for _ in waiting(until):
        await asyncio.sleep(0.005)
