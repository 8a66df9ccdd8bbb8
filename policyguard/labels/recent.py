"""Labelled values beyond one request: what jobs see, and what closed scopes have seen.

Layer: labels. A request has a `Registry` of its own. A script or worker that only says its purpose
has no request, so what it reads is remembered for all of its scopes, and forgotten by age. Code
that runs in no scope, such as a thread that nobody bound, is searched against everything recent.
Start reading at `Rolling`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock
from time import monotonic
from typing import Final, Protocol

from policyguard.labels.registry import Found, Registry, Touch
from policyguard.policy.flow import Label

KEPT_SECONDS: Final = 120.0
_SCOPES: Final = 256


class Remembers(Protocol):
    """What remembers labelled values and finds them again; see `Registry`."""

    saturated: bool

    @property
    def touch(self) -> Touch:
        """Whether something was to be remembered; to be asked before what is searched."""

    def remember(self, value: object, labels: tuple[Label, ...]) -> bool:
        """From now on the value carries the labels."""

    def search(self, leaves: Iterable[tuple[str, object]]) -> tuple[Found, ...]:
        """Which remembered values stand in these leaves."""

    def exactly(self, data: bytes) -> tuple[Label, ...]:
        """The labels of bytes that were remembered whole."""

    def __len__(self) -> int:
        """How many values are remembered."""


class Rolling:
    """A registry that forgets by age: a value is kept for two to four minutes.

    Full within one generation it is saturated, and recovers with the next. Safe for threads.

    Args:
        seconds: how long a generation lasts; two are searched.
        clock: monotonic seconds.
    """

    def __init__(
        self, seconds: float = KEPT_SECONDS, clock: Callable[[], float] = monotonic
    ) -> None:
        self._seconds, self._clock = seconds, clock
        self._lock = Lock()
        self._since = clock()
        self._kept: tuple[Registry, Registry] = (Registry(), Registry())
        self.touch = Touch()

    def _current(self) -> tuple[Registry, Registry]:
        """The newest generation and the one before it."""
        age = self._clock() - self._since
        if age >= self._seconds:
            with self._lock:
                age = self._clock() - self._since
                if age >= self._seconds:
                    before = self._kept[0] if age < 2 * self._seconds else Registry()
                    self._kept = (Registry(), before)
                    if self.touch.used:
                        # A new one: whoever looked at the old one goes on seeing that it was used.
                        self.touch = Touch(used=before.touch.used)
                    self._since = self._clock()
        return self._kept

    @property
    def saturated(self) -> bool:
        """A cap was hit, so an empty search proves nothing."""
        return any(one.saturated for one in self._current())

    @saturated.setter
    def saturated(self, full: bool) -> None:
        newest = self._current()[0]
        self.touch.used = self.touch.used or full
        newest.saturated = full

    def remember(self, value: object, labels: tuple[Label, ...]) -> bool:
        """As `Registry.remember`."""
        newest = self._current()[0]
        # First: whoever sees the value must look.
        self.touch.used = self.touch.used or bool(labels)
        return newest.remember(value, labels)

    def search(self, leaves: Iterable[tuple[str, object]]) -> tuple[Found, ...]:
        """As `Registry.search`."""
        return _searched(self._current(), leaves)

    def exactly(self, data: bytes) -> tuple[Label, ...]:
        """As `Registry.exactly`."""
        return _exactly(self._current(), data)

    def __len__(self) -> int:
        """How many values are remembered."""
        return sum(map(len, self._current()))


class Job:
    """One job's view of what all jobs remember: a value it couldn't remember is its own doubt."""

    __slots__ = ("_incomplete", "_jobs")

    def __init__(self, jobs: Rolling) -> None:
        self._jobs, self._incomplete = jobs, False

    @property
    def saturated(self) -> bool:
        """Something is missing, so an empty search proves nothing."""
        return self._incomplete or self._jobs.saturated

    @saturated.setter
    def saturated(self, full: bool) -> None:
        self._jobs.touch.used = self._jobs.touch.used or full
        self._incomplete = full

    @property
    def touch(self) -> Touch:
        """As of all jobs; where this one is incomplete, always used."""
        return Touch(used=True) if self._incomplete else self._jobs.touch

    def remember(self, value: object, labels: tuple[Label, ...]) -> bool:
        """As `Registry.remember`, for all jobs."""
        return self._jobs.remember(value, labels)

    def search(self, leaves: Iterable[tuple[str, object]]) -> tuple[Found, ...]:
        """As `Registry.search`, over what all jobs remember."""
        return self._jobs.search(leaves)

    def exactly(self, data: bytes) -> tuple[Label, ...]:
        """As `Registry.exactly`, over what all jobs remember."""
        return self._jobs.exactly(data)

    def __len__(self) -> int:
        """How many values are remembered."""
        return len(self._jobs)


class Recent:
    """Everything that was seen lately: of jobs, and of scopes that are open or closed not long ago.

    What is remembered goes to the jobs' part. Bounded to the newest scopes.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.jobs = Rolling(clock=clock)
        self._scopes: deque[tuple[float, Registry]] = deque(maxlen=_SCOPES)

    def opened(self) -> Registry:
        """A registry for a new scope; it is found here for as long as values are kept."""
        made = Registry()
        self._scopes.append((self._clock(), made))
        return made

    def _all(self) -> list[Remembers]:
        oldest = self._clock() - 2 * KEPT_SECONDS
        return [self.jobs, *(one for since, one in tuple(self._scopes) if since >= oldest)]

    @property
    def saturated(self) -> bool:
        """Some cap was hit, so an empty search proves nothing."""
        return any(one.saturated for one in self._all())

    @saturated.setter
    def saturated(self, full: bool) -> None:
        self.jobs.saturated = full

    @property
    def touch(self) -> Touch:
        """Whether any of them was used. Not to be kept: scopes come and go."""
        return Touch(used=any(one.touch.used for one in self._all()))

    def remember(self, value: object, labels: tuple[Label, ...]) -> bool:
        """As `Registry.remember`, for jobs."""
        return self.jobs.remember(value, labels)

    def search(self, leaves: Iterable[tuple[str, object]]) -> tuple[Found, ...]:
        """As `Registry.search`, over everything. Cost: that for each scope with values."""
        return _searched(self._all(), leaves)

    def exactly(self, data: bytes) -> tuple[Label, ...]:
        """As `Registry.exactly`, over everything."""
        return _exactly(self._all(), data)

    def __len__(self) -> int:
        """How many values are remembered."""
        return sum(map(len, self._all()))


def _searched(
    registries: Iterable[Remembers], leaves: Iterable[tuple[str, object]]
) -> tuple[Found, ...]:
    kept = tuple(leaves)
    hits = (hit for one in registries if len(one) for hit in one.search(kept))
    return tuple(sorted(dict.fromkeys(hits), key=lambda hit: hit.strength != "strong"))


def _exactly(registries: Iterable[Remembers], data: bytes) -> tuple[Label, ...]:
    return tuple(dict.fromkeys(label for one in registries for label in one.exactly(data)))
