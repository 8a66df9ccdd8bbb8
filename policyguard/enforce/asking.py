"""Asks a store what is known about people, and believes nothing that it can't use.

Layer: enforce. A store is foreign: it may raise, hang, answer late or lie. Whatever it does, the
outcome is Facts or None, which is unknown; each kind of failure is told once and counted, and a
store that fails again and again isn't asked for a second. Start reading at `Asking`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from datetime import timedelta
from itertools import islice
from math import nan
from numbers import Number
from threading import Lock
from typing import Any, Final, Protocol

from policyguard.enforce.crew import AllHangError, Crew, Job, renew_after_fork
from policyguard.policy.flow import NO_FACTS, Facts

_LOGGER: Final = logging.getLogger("policyguard")
_TOLD: Final = 100
_IN_A_ROW: Final = 5
_PAUSE_SECONDS: Final = 1.0
_MOST_ANSWERS: Final = 10_000
_LONGEST_NAME: Final = 60
_HANGING: Final = 64
_EACH: Final = 0.05


class Store(Protocol):
    """What is asked about one person; other methods are used where they exist."""

    def facts(self, subject: object, /) -> Mapping[str, Any] | None:
        """What is known about a person, None if nothing is."""


Found = dict[int, Facts]
"""Facts by position of the subject that was asked about; who is missing is unknown."""


def kind_of(thing: object) -> str:
    """The name of a foreign object's class if it is a plain one, else "something"."""
    try:
        name = type(thing).__name__
        plain = type(name) is str and name.isidentifier() and len(name) <= _LONGEST_NAME
    except Exception:  # noqa: BLE001 - even a class may be foreign
        # Denies nothing: a name is only told.
        return "something"
    return name if plain else "something"


class _LieError(Exception):
    """An answer that can't be one."""


class Asking:
    """Asks one store, each time within a limit. Safe for threads and after a fork.

    Args:
        store: whom to ask.
        limit: seconds for one person; more for a batch, never more than `longest`.
        longest: seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self, store: Store, *, limit: float, longest: float, clock: Callable[[], float]
    ) -> None:
        self.store = store
        self._limit, self._longest, self._clock = limit, max(limit, longest), clock
        self._crew = Crew()
        self._hanging: set[asyncio.Task[Any]] = set()
        self._told: set[str] = set()
        self._failed: Counter[str] = Counter()
        self.after_fork()
        renew_after_fork(self)

    def before_fork(self) -> None:
        """Nothing is held that a child must not have."""

    def after_fork(self) -> None:
        """A child finds out for itself whether the store answers."""
        self._lock = Lock()
        self._hanging = set()
        self._in_a_row, self._until = 0, 0.0

    @property
    def failures(self) -> dict[str, int]:
        """How often the store failed, by kind."""
        with self._lock:
            return dict(self._failed)

    def now(self) -> float:
        """The clock's time; not a number, which is never fresh, when it fails."""
        try:
            return float(self._clock())
        except Exception as error:  # noqa: BLE001 - a clock that is given is foreign
            # Denies: without a time nothing is fresh, and a store that paused isn't asked.
            self.tell(f"the clock failed with {kind_of(error)}")
            return nan

    def tell(self, what: str) -> None:
        """Count a failure; the first of its kind is logged."""
        with self._lock:
            if what not in self._failed and len(self._failed) >= _TOLD:
                what = "it failed in yet other ways"
            self._failed[what] += 1
            new = what not in self._told
            self._told.add(what)
        if new:
            _LOGGER.error(
                "PG205 what is known about a person counts as unknown: %s"
                " (told once, then counted)",
                what,
            )

    # In a thread.

    def ask(self, subjects: Sequence[object]) -> Found:
        """What is known about people, asked in a thread of its own within the limit."""
        if not subjects or not self._may_ask():
            return {}
        found: Found = {}
        try:
            failed = self._crew.call(
                lambda job: self._answers(subjects, found, job), self._limit_for(subjects)
            )
        except (TimeoutError, AllHangError, RuntimeError) as error:
            # Denies: who isn't in `found` by now is unknown.
            failed = self._why_not(error)
        return self._over(found, failed)

    def _answers(self, subjects: Sequence[object], found: Found, job: Job[str]) -> str:
        """Ask about one after the other, or about all at once; what went wrong, "" if nothing."""
        failed, batch = "", None
        try:
            batch = getattr(self.store, "facts_of", None) if _apart(subjects) else None
            if batch is not None:
                return self._read_batch(subjects, batch(tuple(subjects)), found)
        except BaseException as error:  # noqa: BLE001 - a store may raise anything
            # Denies: the batch is unknown.
            return _how(error)
        for position, subject in enumerate(subjects):
            if job.given_up:
                break
            try:
                found[position] = self._read(self.store.facts(subject))
            except BaseException as error:  # noqa: BLE001 - a store may raise anything
                # Denies: this person is unknown.
                failed = _how(error)
        return failed

    # On an event loop.

    async def aask(self, subjects: Sequence[object]) -> Found:
        """As `ask`, by the store's `afacts` where it exists.

        A store that swallows cancellation is left to itself after the limit; one that blocks the
        loop holds up everything, and nothing here can help it.
        """
        if not subjects or not self._may_ask():
            return {}
        found: Found = {}
        limit = self._limit_for(subjects)
        try:
            one = getattr(self.store, "afacts", None)
            if one is None or (_apart(subjects) and hasattr(self.store, "facts_of")):
                failed = await self._crew.acall(
                    lambda job: self._answers(subjects, found, job), limit
                )
            else:
                failed = await self._awaited(subjects, one, found, limit)
        except Exception as error:  # noqa: BLE001 - as above, and a lookup of a name may raise too
            # Denies: who isn't in `found` by now is unknown.
            failed = self._why_not(error)
        return self._over(found, failed)

    async def _awaited(
        self,
        subjects: Sequence[object],
        one: Callable[[object], Awaitable[object]],
        found: Found,
        limit: float,
    ) -> str:
        if len(self._hanging) >= _HANGING:
            # What a loop left behind when it closed hangs no more.
            for left in [one for one in tuple(self._hanging) if one.get_loop().is_closed()]:
                self._hanging.discard(left)
            if len(self._hanging) >= _HANGING:
                raise AllHangError
        task = asyncio.create_task(self._aanswers(subjects, one, found), context=Context())
        self._hanging.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait({task}, timeout=limit)
            if not task.done():
                raise TimeoutError
            return "the store cancelled itself" if task.cancelled() else task.result()
        finally:
            task.cancel()

    async def _aanswers(
        self,
        subjects: Sequence[object],
        one: Callable[[object], Awaitable[object]],
        found: Found,
    ) -> str:
        failed = ""
        for position, subject in enumerate(subjects):
            try:
                found[position] = self._read(await one(subject))
            except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
                # Denies: this person and all after are unknown. Somebody stops this task or the
                # whole program.
                raise
            except BaseException as error:  # noqa: BLE001 - a store may raise anything
                # Denies: this person is unknown.
                failed = _how(error)
        return failed

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._hanging.discard(task)
        if not task.cancelled():
            # Looked at, so that the loop doesn't show a foreign error.
            task.exception()

    # The breaker.

    def _may_ask(self) -> bool:
        """Not within a second of the last of several failures; then one call tries."""
        now = self.now()
        with self._lock:
            if self._in_a_row < _IN_A_ROW:
                return True
            if now >= self._until:
                self._until = now + _PAUSE_SECONDS
                return True
        self.tell("the store failed several times in a row and isn't asked for a second")
        return False

    def _over(self, found: Found, failed: str) -> Found:
        """Count how it went. A batch in which somebody was answered is no failure of the store."""
        now = self.now()
        with self._lock:
            self._in_a_row = self._in_a_row + 1 if failed and not found else 0
            if self._in_a_row == _IN_A_ROW:
                self._until = now + _PAUSE_SECONDS
        if failed:
            self.tell(failed)
        # A call that was given up may still add to its own dict, too late to count.
        return dict(found)

    def _limit_for(self, subjects: Sequence[object]) -> float:
        return min(self._limit * (1 + _EACH * (len(subjects) - 1)), self._longest)

    def _why_not(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"the store didn't answer in time ({self._limit * 1000:g} ms for one person)"
        if isinstance(error, AllHangError):
            return "the store still hangs in all calls that may run at once"
        return _how(error)

    # Answers.

    def _read_batch(self, subjects: Sequence[object], answers: object, found: Found) -> str:
        if not isinstance(answers, Mapping):
            raise _LieError(_no_mapping(answers))
        failed = ""
        for position, subject in enumerate(subjects):
            try:
                found[position] = self._read(answers.get(subject))
            except BaseException as error:  # noqa: BLE001 - a mapping of a store may raise anything
                # Denies: this person is unknown.
                failed = _how(error)
        return failed

    def _read(self, answer: object) -> Facts:
        """An answer as Facts of plain values, so that nothing foreign is called later.

        Raises:
            _LieError: it is no answer.
            BaseException: whatever its methods raise.
        """
        if answer is None:
            return NO_FACTS
        if not isinstance(answer, Mapping):
            if inspect.iscoroutine(answer):
                answer.close()
            raise _LieError(_no_mapping(answer))
        plain = {name: _plain(value) for name, value in _pairs(answer)}
        for wrong in Facts.unusable(plain):
            self.tell(f"in the store's answer {wrong}")
        return Facts(plain)


def _apart(subjects: Sequence[object]) -> bool:
    """Whether a mapping can tell many subjects from each other: 1, True and 1.0 are one key."""
    return len(subjects) > 1 and all(
        type(subject) is int or not isinstance(subject, Number) for subject in subjects
    )


def _how(error: BaseException) -> str:
    if type(error) is _LieError:
        return str(error)
    return f"the store failed with {kind_of(error)}"


def _no_mapping(answer: object) -> str:
    return f"the store answered with {kind_of(answer)} instead of a mapping"


def _pairs(given: Mapping[Any, Any]) -> list[tuple[str, object]]:
    """Keys and values of a mapping that may claim to have no end; a key that is no text is ""."""
    pairs = list(islice(given.items(), _MOST_ANSWERS + 1))
    if len(pairs) > _MOST_ANSWERS:
        raise _LieError("the store's answer has no end")
    return [(_text(key) or "", value) for key, value in pairs]


def _plain(value: object) -> object:
    """None, or a value of a built-in type: what it is worth, `Facts` knows."""
    if value is None or type(value) in {bool, int, timedelta}:
        return value
    if isinstance(value, Mapping):
        # An answer under a key that is no text is somebody's answer to something: a doubt.
        return {name: one if name and type(one) is bool else None for name, one in _pairs(value)}
    return _text(value) or ()


def _text(value: object) -> str | None:
    """The text of a text, also of one that changes how it shows itself."""
    return str.__str__(value) if isinstance(value, str) else None
