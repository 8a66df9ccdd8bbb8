"""Changed files while the program runs: read aside, checked whole, swapped in at once.

Layer: config. What can't be used changes nothing and is loud: the last good stays in force. Start
reading at `Reloader`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final
from weakref import ReferenceType, WeakSet, ref

from policyguard.enforce.guard import Guard
from policyguard.enforce.inforce import InForce
from policyguard.errors import PolicyGuardError

Read = Callable[[], tuple[InForce, tuple[Path, ...]]]
"""Reads everything anew; what comes into force, and the files it came from."""
_Marks = tuple[tuple[int, ...] | None, ...]
_LOGGER: Final = logging.getLogger("policyguard")
_SECONDS: Final = 0.4


class Reloader:
    """Reads a guard's files again, when told or when they change. Safe for threads.

    Args:
        guard: kept weakly: a guard that nobody uses any more isn't watched any more.
        read: reads everything anew.
        files: to be watched until the next reading names others.
        seconds: between two looks. A change counts when it has stood still for one of them, so half
            a file isn't read; it is in force within a second.
    """

    def __init__(
        self, guard: Guard, read: Read, files: tuple[Path, ...], *, seconds: float = _SECONDS
    ) -> None:
        self._guard, self._read, self._seconds = ref(guard), read, seconds
        self._files = files
        self._loaded = self._last = _marks(files)
        self._lock = Lock()
        self._stop = Event()
        self._thread: Thread | None = None
        _all.add(self)

    def reload(self) -> bool:
        """Read everything anew; whether that is in force now. What is wrong is logged."""
        with self._lock:
            self._loaded = _marks(self._files)
            guard = self._guard()
            if guard is None:
                return False
            try:
                now, files = self._read()
            except PolicyGuardError as error:
                # Denies: the change. What it says names places and terms only.
                _say(str(error))
                return False
            except Exception as error:  # noqa: BLE001 - memory, recursion, the file system
                # Denies: the change. The error is foreign, so only its kind is told.
                _say(f"reading failed with {type(error).__name__}")
                return False
            self._files, self._loaded = files, _marks(files)
            before = guard.snapshot.digest
            guard.swap(now)
            _LOGGER.info("policy `%s`: %s is in force", now.snapshot.id, now.snapshot.digest)
            if before != now.snapshot.digest:
                _LOGGER.warning("policy `%s` has changed while running", now.snapshot.id)
            return True

    def watch(self) -> None:
        """Look for changes from now on, in a thread of its own."""
        self._stop.clear()
        self._thread = Thread(
            target=_watch,
            args=(ref(self), self._stop, self._seconds),
            name="policyguard-reload",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            thread.join(5 * self._seconds)

    def look(self) -> bool:
        """One look: reload if the files have changed and stand still. Whether anything was read."""
        if self._guard() is None:
            self._stop.set()
            return False
        marks = _marks(self._files)
        changed, still = marks != self._loaded, marks == self._last
        self._last = marks
        if changed and still:
            self.reload()
        return changed and still

    def after_fork(self) -> None:
        """The child has no thread of the parent: look again in one of its own."""
        self._lock = Lock()
        if self._thread is not None:
            self._stop = Event()
            self.watch()


def _say(what: str) -> None:
    _LOGGER.error("PG603 a changed file can't be used; what was in force stays:\n%s", what)


def _marks(files: tuple[Path, ...]) -> _Marks:
    """What tells a file from a changed one: every write moves the time of its status."""
    return tuple(_mark(file) for file in files)


def _mark(file: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - follows a link, as the reading does
    except (OSError, ValueError):
        # Denies: nothing; a file that is gone has changed, and reading it anew will tell.
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _watch(mine: ReferenceType[Reloader], stop: Event, seconds: float) -> None:
    while not stop.wait(seconds):
        reloader = mine()
        if reloader is None:
            return
        try:
            reloader.look()
        except Exception as error:  # noqa: BLE001 - this thread must not end by a fault
            # Denies: the change; the next look tries again.
            _say(f"looking failed with {type(error).__name__}")
        del reloader


_all: Final[WeakSet[Reloader]] = WeakSet()


def _in_child() -> None:
    for reloader in tuple(_all):
        reloader.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
