"""Changed files while the program runs: read aside, checked whole, swapped in at once.

Layer: config. What can't be used changes nothing and is loud: the last good stays in force. Start
reading at `Reloader`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread, current_thread
from time import time_ns
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
_MOVING_LOOKS: Final = 4
_RETRY_LOOKS: Final = 25
_YOUNG_NANOSECONDS: Final = 50_000_000
_UNSETTLED: Final = (0,)


class Reloader:
    """Reads a guard's files again, when told or when they change. Safe for threads.

    Args:
        guard: kept weakly: a guard that nobody uses any more isn't watched any more.
        read: reads everything anew.
        files: to be watched until the next reading names others.
        since: nanoseconds of the wall clock before they were read: what has changed after may have
            been missed, so it is read once more.
        seconds: between two looks. A change counts when it has stood still for one of them, so half
            a file isn't read; it is in force within a second. Files that are replaced again and
            again, which nobody sees by halves, are read once in some looks.
    """

    def __init__(
        self,
        guard: Guard,
        read: Read,
        files: tuple[Path, ...],
        *,
        since: int | None = None,
        seconds: float = _SECONDS,
    ) -> None:
        self._guard, self._read, self._seconds = ref(guard), read, seconds
        self._files = files
        self._last = _marks(files)
        self._loaded = _settled(self._last, time_ns() if since is None else since)
        self._said = ""
        self._looks = self._moving = 0
        self._lock = Lock()
        self._stop = Event()
        self._thread: Thread | None = None
        _all.add(self)

    def reload(self) -> bool:
        """Read everything anew; whether that is in force now. What is wrong is logged."""
        self._said = ""
        with self._lock:
            return self._reload(_settled(_marks(self._files), time_ns()))

    def _reload(self, marks: _Marks) -> bool:
        """Read; whatever changes from these marks on is seen by the next look."""
        guard, files = self._guard(), self._files
        self._looks = 0
        if guard is None:
            return False
        try:
            now, read = self._read()
        except PolicyGuardError as error:
            # Denies: the change. What it says names places and terms only.
            self._failed(str(error), marks)
            return False
        except Exception as error:  # noqa: BLE001 - memory, recursion, the file system
            # Denies: the change. The error is foreign, so only its kind is told.
            self._failed(f"reading failed with {type(error).__name__}", marks)
            return False
        before = guard.snapshot.digest
        guard.swap(now)
        # A file that is new among them may have changed since it was read: it is read once more.
        known = dict(zip(files, marks, strict=True))
        self._files, self._said = read, ""
        self._loaded = tuple(known.get(file, _UNSETTLED) for file in read)
        _LOGGER.info("policy `%s`: %s is in force", now.snapshot.id, now.snapshot.digest)
        if before != now.snapshot.digest:
            _LOGGER.warning("policy `%s` has changed while running", now.snapshot.id)
        return True

    def _failed(self, what: str, marks: _Marks) -> None:
        """Say it once for each change; what stays wrong is tried again without a word."""
        if marks != self._loaded or what != self._said:
            _say(what)
        self._loaded, self._said = marks, what

    def watch(self) -> None:
        """Look for changes from now on, in a thread of its own."""
        self.close()
        self._stop = Event()
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
        if thread is not None and thread.is_alive() and thread is not current_thread():
            thread.join(5 * self._seconds)

    def look(self) -> bool:
        """One look: reload if the files have changed and stand still. Whether anything was read."""
        if self._guard() is None:
            self._stop.set()
            return False
        with self._lock:
            marks, last = _marks(self._files), self._last
            self._last = marks
            self._looks += 1
            if marks == self._loaded:
                self._moving = 0
                # What failed for want of memory or of open files shows no change when it is well.
                if not self._said or self._looks < _RETRY_LOOKS:
                    return False
            elif marks != last:
                self._moving += 1
                if self._moving < _MOVING_LOOKS or not _replaced(last, marks):
                    return False
            self._moving = 0
            self._reload(marks)
            return True

    def after_fork(self) -> None:
        """The child has no thread of the parent: look again in one of its own."""
        # What the parent's thread may have held at the time stays behind with it.
        self._lock, self._stop = Lock(), Event()
        if self._thread is not None:
            self._thread = None
            self.watch()


def _say(what: str) -> None:
    _LOGGER.error("PG603 a changed file can't be used; what was in force stays:\n%s", what)


def _marks(files: tuple[Path, ...]) -> _Marks:
    """What tells a file from a changed one: every write moves the time of its status."""
    return tuple(_mark(file) for file in files)


def _settled(marks: _Marks, since: int) -> _Marks:
    """The marks, but for files so young that what was read of them may be out of date."""
    return tuple(
        _UNSETTLED if mark and mark[-1] > since - _YOUNG_NANOSECONDS else mark for mark in marks
    )


def _replaced(last: _Marks, marks: _Marks) -> bool:
    """Whether all that has changed was put in place whole."""
    changed = [(one, other) for one, other in zip(last, marks, strict=False) if one != other]
    return all(one and other and one[:2] != other[:2] for one, other in changed)


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
