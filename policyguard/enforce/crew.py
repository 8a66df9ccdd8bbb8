"""A few threads for calls that may hang, and what a forked process must not inherit.

Layer: enforce. What the guard asks of others, such as a store of subjects, runs here, so that a
call that never comes back costs one of few threads and never the caller's time. The threads are
daemons: they hold up no exit. Start reading at `Crew`.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from threading import Condition, Thread
from typing import Any, Final, Generic, Literal, Protocol, TypeVar
from weakref import ref

_T = TypeVar("_T")
_MOST: Final = 4
_IDLE_SECONDS: Final = 10.0
_NAME: Final = "policyguard-asks"


class AllHangError(Exception):
    """Every thread is held by a call that was given up."""


class Renewed(Protocol):
    """What holds threads, locks or connections, none of which live on in a forked process."""

    def before_fork(self) -> None:
        """Let go of what a child must not even hold."""

    def after_fork(self) -> None:
        """Start anew in the child."""


# Copied in one step, so that a fork in the middle of an addition finds it whole.
_RENEWED: Final[dict[int, ref[Renewed]]] = {}


def renew_after_fork(thing: Renewed) -> None:
    """From now on the thing is told of forks, for as long as it lives."""
    key = id(thing)
    _RENEWED[key] = ref(thing, lambda _: _RENEWED.pop(key, None))


def _renewed() -> list[Renewed]:
    return [thing for one in list(_RENEWED.values()) if (thing := one()) is not None]


def _before_fork() -> None:
    for thing in _renewed():
        thing.before_fork()


def _after_fork() -> None:
    for thing in _renewed():
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which never forks
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


class Job(Generic[_T]):
    """One call that a thread of the crew makes.

    Attributes:
        call: takes the job, so that a long call can see that it was given up.
        crew: the condition of the crew that it was given to, another one after a fork.
        done: its outcome.
        given_up: nobody waits any more.
        state: where it stands.
    """

    __slots__ = ("call", "crew", "done", "given_up", "state")

    def __init__(self, call: Callable[[Job[_T]], _T], crew: Condition) -> None:
        self.call, self.crew = call, crew
        self.done: Future[_T] = Future()
        self.given_up = False
        self.state: Literal["waiting", "running", "over"] = "waiting"


class Crew:
    """A bounded number of daemon threads, started when needed and ended when idle.

    Calls run outside of any scope: what a store is asked depends on no purpose. Safe for threads
    and after a fork.

    Args:
        most: threads at the same time.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self.after_fork()
        renew_after_fork(self)

    def before_fork(self) -> None:
        """Nothing: threads simply don't exist in the child."""

    def after_fork(self) -> None:
        """Forget the threads, the calls they were at, and the lock that one of them may hold."""
        self._changed = Condition()
        self._waiting: deque[Job[Any]] = deque()
        self._threads = self._free = self._lost = 0

    def start(self, call: Callable[[Job[_T]], _T]) -> Job[_T]:
        """Have a call made.

        Raises:
            AllHangError: every thread is held by a call that was given up.
            RuntimeError: the system gives no thread.
        """
        job = Job(call, self._changed)
        with self._changed:
            if self._lost >= self._most:
                raise AllHangError
            if len(self._waiting) >= self._free and self._threads < self._most:
                Thread(target=self._work, args=(self._changed,), daemon=True, name=_NAME).start()
                self._threads += 1
                self._free += 1
            self._waiting.append(job)
            self._changed.notify()
        return job

    def give_up(self, job: Job[Any]) -> None:
        """Wait no longer; a call that hasn't begun is dropped, another keeps its thread."""
        with self._changed:
            if job.given_up or job.state == "over" or job.crew is not self._changed:
                return
            job.given_up = True
            if job.state == "running":
                self._lost += 1
            else:
                self._waiting.remove(job)

    def call(self, call: Callable[[Job[_T]], _T], limit: float) -> _T:
        """Have a call made and wait for it.

        Args:
            call: takes its job.
            limit: seconds.

        Raises:
            TimeoutError: it isn't done by then.
            AllHangError: it can't even begin.
            BaseException: whatever the call raises.
        """
        job = self.start(call)
        try:
            return job.done.result(limit)
        finally:
            self.give_up(job)

    async def acall(self, call: Callable[[Job[_T]], _T], limit: float | None = None) -> _T:
        """As `call`, without holding up the event loop; without a limit until it is cancelled."""
        job = self.start(call)
        waiting = asyncio.wrap_future(job.done)
        # An error that nobody waits for any more is looked at, so that the loop doesn't show it.
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait({waiting}, timeout=limit)
            if not waiting.done():
                raise TimeoutError
            return waiting.result()
        finally:
            self.give_up(job)
            # Cancelled, it needs the loop no more, should the call come back after the loop's end.
            waiting.cancel()

    def _work(self, mine: Condition) -> None:
        """One thread: takes calls until none has come for a while."""
        while True:
            with mine:
                came = mine.wait_for(lambda: self._waiting, _IDLE_SECONDS)
                self._free -= 1
                if not came:
                    self._threads -= 1
                    return
                job = self._waiting.popleft()
                job.state = "running"
            outcome, error = None, None
            try:
                # An empty context, whatever the thread was started with.
                outcome = Context().run(job.call, job)
            except BaseException as raised:  # noqa: BLE001 - a thread of few must outlive any call
                # Denies: whoever waits gets the error, and takes it for no answer.
                error = raised
            with mine:
                self._free += 1
                self._lost -= job.given_up
                job.state = "over"
            _finish(job, outcome, error)
            # Nothing of the call outlives it here.
            del job, outcome, error


def _finish(job: Job[Any], outcome: object, error: BaseException | None) -> None:
    if not job.done.set_running_or_notify_cancel():
        return
    if error is None:
        job.done.set_result(outcome)
    else:
        job.done.set_exception(error)
