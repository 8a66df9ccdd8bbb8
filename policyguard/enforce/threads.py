"""Threads and executors work in the scope in which they were asked to.

Layer: enforce. `threading.Thread.start` and `ThreadPoolExecutor.submit` are hooked for the whole
process (`map` and asyncio's `run_in_executor` go through `submit`): the new thread, or the
submitted call, runs in the scope that is current there, and the worker has its own again when it
ends. A copied context, as `asyncio.to_thread` makes one, holds the same scope and wins inside.

A thread that a library starts to serve everybody, such as a pool's worker or the sender of an SDK,
would show the purpose and facts of the one request that happened to start it: it starts in no
scope. So does a forked worker process: what may cross is in `policyguard.enforce.claims`.

Start reading at `carry`.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, wraps
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar

from policyguard.enforce.context import Scope, current_scope, restore

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

_SERVE_EVERYBODY: Final = frozenset(
    {
        "amplitude",
        "anyio",
        "asgiref",
        "datadog",
        "ddtrace",
        "mixpanel",
        "opentelemetry",
        "policyguard",
        "posthog",
        "rudderstack",
        "segment",
        "sentry_sdk",
    }
)
"""Packages whose threads outlive the request that starts them, whether daemons or not."""
# Wrappers of `start` and `submit`: whoever called them is asked instead.
_ON_BEHALF: Final = (__name__, "wrapt.", "sentry_sdk.integrations.", "opentelemetry.instrum")
_STANDARD: Final = tuple(
    {os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")}
)
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_FORKS: Final = "multiprocessing.popen_fork"
P = ParamSpec("P")
R = TypeVar("R")
Owner = Literal["standard", "installed", "application"]


class ThreadsPlugin:
    """Keeps the scope in threads and executors; the integration `threads`."""

    name = "threads"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Hook threads and executors; scopes belong to no guard, so all guards profit."""
        del guard
        return carry()


def carry() -> Callable[[], None]:
    """Hook threads and executors for the whole process.

    Returns:
        What takes the hook back. It is taken out when the last one who asked for it has done so, in
        any order; calls that run are finished as they were begun.

    Cost: some 2 us a thread, 1 us a submitted call.
    """
    token = object()
    with _lock:
        if not _users:
            _hooks.append(_Hook())
        _users.append(token)

    def undo() -> None:
        with _lock:
            if token in _users:
                _users.remove(token)
                if not _users:
                    _hooks.pop().withdraw()

    return undo


class _Hook:
    """One stretch of time in which threads and executors are hooked.

    Attributes:
        live: whether it still stands; one that others have wrapped since only passes calls on.
    """

    def __init__(self) -> None:
        self.live = True
        self._made: dict[tuple[type, str], tuple[Any, Any]] = {}
        for (owner, name), make in PATCHES.items():
            before = getattr(owner, name)
            made = make(self, before)
            self._made[owner, name] = before, made
            setattr(owner, name, made)

    def withdraw(self) -> None:
        """Put back what was there, unless somebody has built on the hook."""
        self.live = False
        for (owner, name), (before, made) in self._made.items():
            if getattr(owner, name) is made:
                setattr(owner, name, before)


_lock: Final = threading.Lock()
_users: Final[list[object]] = []
_hooks: Final[list[_Hook]] = []


def _start(hook: _Hook, before: Callable[[threading.Thread], None]) -> Callable[..., None]:
    @wraps(before)
    def start(self: threading.Thread) -> None:
        scope = current_scope()
        # A context that the program chose (Python 3.14) has the scope that it chose.
        if scope is None or not hook.live or vars(self).get("_context") is not None:
            return before(self)
        if _serves_everybody(self, sys._getframe(1)):  # noqa: SLF001 - the documented way to look at one's callers
            return _outside(scope, before, self)
        carried = _Carried(self, scope)
        try:
            return before(self)
        except BaseException:
            # Denies nothing: the thread didn't start, and stays as it was.
            carried.withdraw()
            raise

    return start


def _submit(hook: _Hook, before: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    @wraps(before)
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not hook.live or _in_other_interpreters(type(self).__mro__):
            return before(self, fn, *args, **kwargs)
        scope = current_scope()
        if scope is None:
            return before(self, _run_in, None, fn, *args, **kwargs)
        # A worker that is started by this very call serves later ones too.
        return _outside(scope, before, self, _run_in, scope, fn, *args, **kwargs)

    return submit


PATCHES: Final[dict[tuple[type, str], Callable[[_Hook, Any], Callable[..., Any]]]] = {
    (threading.Thread, "start"): _start,
    (ThreadPoolExecutor, "submit"): _submit,
}


def _outside(scope: Scope, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call what starts a thread from no scope, so that the thread inherits none."""
    restore(None)
    try:
        return call(*args, **kwargs)
    finally:
        restore(scope)


def _run_in(scope: Scope | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a submitted call in its scope; the worker has its own back, whatever was left open."""
    before = current_scope()
    if scope is not None:
        restore(scope)
    try:
        return function(*args, **kwargs)
    finally:
        restore(before)
        # An exception keeps this frame; it must not keep the scope and the arguments too.
        del scope, before, function, args, kwargs


class _Carried:
    """Stands in place of one thread's `run` until the thread gets there.

    On the object and not on the class, so that subclasses with a `run` of their own are covered.
    """

    __slots__ = ("_own", "_run", "_scope", "_thread")

    def __init__(self, thread: threading.Thread, scope: Scope) -> None:
        self._thread: threading.Thread | None = thread
        self._scope: Scope | None = scope
        self._run: Callable[[], Any] | None = thread.run
        self._own = vars(thread).get("run")
        vars(thread)["run"] = self

    def withdraw(self) -> None:
        """Give the thread its own `run` back, and let go of it and of the scope."""
        thread, own = self._thread, self._own
        if thread is not None and vars(thread).get("run") is self:
            if own is None:
                del vars(thread)["run"]
            else:
                vars(thread)["run"] = own
        self._thread = self._scope = self._run = self._own = None

    def __call__(self) -> Any:
        """Run the thread in the scope."""
        scope, run = self._scope, self._run
        self.withdraw()
        if run is None:
            return None
        before = current_scope()
        restore(scope)
        del scope
        try:
            return run()
        finally:
            restore(before)
            del run, before


def _serves_everybody(thread: threading.Thread, frame: FrameType | None) -> bool:
    """Whether a library starts this thread for its own service and not for its caller's work.

    That is: the standard library (pools, queues), a package known for it, or a daemon that any
    other installed package starts.
    """
    while frame is not None and _passes_on(frame, thread):
        frame = frame.f_back
    if frame is None:
        return False
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    if package in _SERVE_EVERYBODY:
        return True
    owner = _owner(frame.f_code.co_filename)
    return owner == "standard" or (owner == "installed" and vars(thread).get("_daemonic") is True)


def _passes_on(frame: FrameType, thread: threading.Thread) -> bool:
    """Whether a frame starts the thread for its own caller: it was handed the thread."""
    if str(frame.f_globals.get("__name__", "")).startswith(_ON_BEHALF):
        return True
    code = frame.f_code
    handed = code.co_varnames[: code.co_argcount]
    seen = frame.f_locals
    return any(seen.get(name) is thread for name in handed)


@lru_cache(maxsize=1024)
def _owner(file: str) -> Owner:
    """Whose code a file is."""
    if file.startswith("<"):
        return "standard" if file.startswith("<frozen") else "application"
    real = os.path.realpath(file)
    if any(part in real for part in _INSTALLED):
        return "installed"
    return "standard" if real.startswith(_STANDARD) else "application"


@lru_cache(maxsize=64)
def _in_other_interpreters(bases: tuple[type, ...]) -> bool:
    """Whether calls are pickled and run elsewhere (Python 3.14), where no scope can go along."""
    return any(base.__name__ == "InterpreterPoolExecutor" for base in bases)


def _in_child() -> None:
    """In a process that multiprocessing forks: start in no scope, as a spawned one does."""
    if _users and sys._getframe(1).f_globals.get("__name__") == _FORKS:  # noqa: SLF001 - as above
        restore(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
