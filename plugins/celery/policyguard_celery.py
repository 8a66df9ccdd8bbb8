"""Purpose and opt-out for tasks of Celery, carried from whoever sends a task to the worker.

Name `celery` under `plugins` in the configuration, on both sides. Whoever sends a task claims, in
the message's headers, for which purpose the sending code runs. The worker runs the task for the
purpose that its own configuration gives the task's name, else for the claimed one, else for that of
`POLICYGUARD_PURPOSE`. A claim names purposes and, if a person's browser asked for it, the opt-out
of sale and advertising: nothing about who the person is. For that, tell the plugin which argument
it is::

    guard.install(Plugin(subject=lambda task, args, kwargs: kwargs.get("user_id")))

A claim comes from the broker, so it is hostile until it is read. One that isn't exactly what this
module writes, or names a purpose that the worker's policy doesn't know, may hide an opt-out or a
change of purposes. So the person counts as opted out, and the task runs for no purpose that any
policy knows, unless the worker's configuration names one for it; `POLICYGUARD_PURPOSE` doesn't
count. Where a policy gets new purposes, let the workers have it before the senders. A claim is as
trustworthy as the broker: whoever can write there can run any task with any arguments.

The next task of a chain and the body of a chord carry the claim of the task before, and a retry its
own: whatever purposes the tasks between were configured for, they run for whoever sent them.

Start reading at `Plugin.install` and `read_claim`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from celery import (  # type: ignore[import-untyped]  # Celery ships no types
    __version__,
    current_task,
    signals,
)

from policyguard.enforce.claims import UNREADABLE
from policyguard.enforce.context import Scope, current_scope, restore
from policyguard.enforce.incoming import Doubts
from policyguard.errors import PluginError
from policyguard.policy.terms import is_term

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

Subject = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any]
HEADER: Final = "policyguard"
_VERSION: Final = 1
_LONGEST: Final = 8
_NODES: Final = 10_000
_RUNNING: Final = "policyguard_running"


@dataclass(frozen=True, slots=True)
class Claim:
    """For what a task was sent.

    Attributes:
        path: purposes of the sender from the outermost on; the last one counts.
        gpc: the request that the sender serves opted out of sale and advertising.
    """

    path: tuple[str, ...]
    gpc: bool = False

    @property
    def header(self) -> dict[str, object]:
        """As it stands in a message."""
        gpc = {"gpc": True} if self.gpc else {}
        return {"v": _VERSION, "purpose": list(self.path), **gpc}


NONE: Final = Claim(())
_ABSENT: Final = object()
# No policy knows its purpose, so the next worker that reads it can't either.
_UNREAD: Final = Claim((UNREADABLE,), gpc=True)


def read_claim(header: object, purposes: Container[str]) -> Claim:
    """The claim of a message; one that every policy denies for anything that isn't exactly a claim.

    Args:
        header: whatever the broker handed over.
        purposes: those that the worker's policy knows.
    """
    if type(header) is not dict or not header.keys() <= {"v", "purpose", "gpc"}:
        return _UNREAD
    version, path, gpc = header.get("v"), header.get("purpose"), header.get("gpc", False)
    if type(version) is not int or version != _VERSION or type(gpc) is not bool:
        return _UNREAD
    if type(path) is not list or len(path) > _LONGEST:
        return _UNREAD
    if not all(type(one) is str and is_term(one) and one in purposes for one in path):
        return _UNREAD
    return Claim(tuple(path), gpc)


def shortened(path: tuple[str, ...], allowed: Callable[[str, str], bool]) -> tuple[str, ...]:
    """A path that is worth the same; tasks that send tasks would lengthen it for ever.

    Args:
        path: purposes from the outermost on.
        allowed: whether a purpose may become another.
    """
    path = path[:1] + tuple(after for before, after in pairwise(path) if after != before)
    if len(path) <= _LONGEST:
        return path
    for before, after in pairwise(path):
        if not allowed(before, after):
            return before, after, path[-1]
    return path[-_LONGEST:]


class Plugin:
    """Connects to Celery's signals.

    Args:
        subject: task, positional and keyword arguments to the person's id. An error means: unknown.
    """

    name = "celery"
    api = 1

    def __init__(self, subject: Subject | None = None) -> None:
        self._subject = subject

    def install(self, guard: Guard) -> Callable[[], None]:
        """Connect.

        Raises:
            PluginError: another guard is connected; signals are the process's, and so is the scope.
        """
        hooks = _Hooks(guard, self._subject)
        with _lock:
            if _connected:
                raise PluginError(f"celery {__version__} is hooked by another guard")
            _connected.append(hooks)
            for signal, receiver in hooks.table():
                signal.connect(receiver, weak=False)

        def undo() -> None:
            with _lock:
                if hooks in _connected:
                    _connected.remove(hooks)
                    for signal, receiver in hooks.table():
                        signal.disconnect(receiver)

        return undo


_lock: Final = Lock()
_connected: Final[list[_Hooks]] = []


@dataclass(frozen=True, slots=True)
class _Running:
    """One task that runs: how to leave its scope, and what follows it.

    Attributes:
        scopes: entered for it.
        before: the scope that it was started in.
        claim: what it was sent for; None: it runs in the caller's thread, and was never sent.
        following: ids of tasks that Celery itself sends when it has ended.
    """

    scopes: ExitStack
    before: Scope | None
    claim: Claim | None
    following: frozenset[str]


class _Hooks:
    """What runs when a task is sent, before it starts and after it ended."""

    def __init__(self, guard: Guard, subject: Subject | None) -> None:
        self._guard, self._subject = guard, subject
        self._doubts = Doubts()

    def table(self) -> tuple[tuple[Any, Callable[..., None]], ...]:
        """Signals and what is connected to them."""
        return (
            (signals.before_task_publish, self.sending),
            (signals.task_prerun, self.starting),
            (signals.task_postrun, self.ended),
        )

    def sending(self, *, headers: dict[str, Any], **_: Any) -> None:
        """Claim the purpose; what stands there is a copy of another task's."""
        headers.pop(HEADER, None)
        running = getattr(current_task.request, _RUNNING, None) if current_task else None
        claim = None
        if isinstance(running, _Running) and headers.get("id") in running.following:
            claim = running.claim
        claim = self._now() if claim is None else claim
        if claim != NONE:
            headers[HEADER] = claim.header

    def _now(self) -> Claim:
        """What the running code would claim."""
        scope, job = current_scope(), self._guard.job_purpose
        path = (scope.path if scope else ()) or ((job,) if job else ())
        if UNREADABLE in path:
            # Shortened, it might be lost.
            return _UNREAD
        gpc = scope is not None and scope.gpc
        return Claim(shortened(path, self._guard.snapshot.change_allowed), gpc)

    def starting(self, *, task: Any, args: Any, kwargs: Any, **_: Any) -> None:
        """Enter the task's scope."""
        request, before = task.request, current_scope()
        scopes = ExitStack()
        claim, following = None, frozenset[str]()
        if not request.is_eager:
            # A worker's thread has no scope; what a killed task left behind is none either.
            restore(None)
            known = self._guard.snapshot.context.taxonomy.purposes
            header = getattr(request, HEADER, _ABSENT)
            claim = NONE if header is _ABSENT else read_claim(header, known)
            following = _following(request)
        setattr(request, _RUNNING, _Running(scopes, before, claim, following))
        try:
            self._enter(scopes, task, args, kwargs, claim)
        except BaseException:
            # Denies: whatever needs a purpose: the task runs without any. Celery logs the error.
            restore(None)
            raise

    def _enter(
        self, scopes: ExitStack, task: Any, args: Any, kwargs: Any, claim: Claim | None
    ) -> None:
        guard = self._guard
        # A task in the caller's thread is in its scope, with the opt-out of whoever it is about.
        gpc = claim is not None and claim.gpc
        # What the callable reads is remembered for the whole task, so a scope around both holds
        # the labelled values.
        scopes.enter_context(guard.context())
        path, scope = claim.path if claim else (), current_scope()
        if claim is _UNREAD and scope is not None:
            # Denies: whatever needs a purpose, and any change of purposes that the policy limits.
            guard.enter(scope, UNREADABLE)
            path = ()
        found = guard.in_force.jobs.find(task.name)
        purpose = found.purpose if found else path[-1] if path else None
        if purpose in guard.snapshot.context.taxonomy.purposes:
            for one in path if path[-1:] != (purpose,) else path[:-1]:
                # Sending a task is no way around the policy's `purpose_changes`.
                scopes.enter_context(guard.purpose(one))
        with guard.job(task.name, purpose=purpose, gpc=gpc):
            subject = self._asked(task, args, kwargs)
        scopes.enter_context(guard.job(task.name, purpose=purpose, subject=subject, gpc=gpc))

    def _asked(self, task: Any, args: Any, kwargs: Any) -> Any:
        if self._subject is None:
            return None
        try:
            return self._subject(task, args, kwargs)
        except Exception as error:  # noqa: BLE001 - the application's own code
            # Denies: whatever rests on the person, who is unknown now. The error's text may hold
            # data, so only its kind is told.
            self._doubts.tell(f"`subject` failed with {type(error).__name__}")
            return None

    def ended(self, *, task: Any, **_: Any) -> None:
        """Leave the task's scope."""
        running = task.request.__dict__.pop(_RUNNING, None)
        if isinstance(running, _Running):
            running.scopes.close()
            restore(running.before)


def _following(request: Any) -> frozenset[str]:
    """The ids of the task itself, for a retry, and of those behind it in a chain or chord."""
    found, open_, seen = {request.id}, [request.chain, request.chord], 0
    while open_ and seen < _NODES:
        one, seen = open_.pop(), seen + 1
        if isinstance(one, Mapping):
            options, inner = one.get("options"), one.get("kwargs")
            if isinstance(options, Mapping):
                found.add(options.get("task_id"))
            if isinstance(inner, Mapping):
                open_ += [inner.get("tasks"), inner.get("header"), inner.get("body")]
        elif isinstance(one, list | tuple):
            open_ += one
    return frozenset(one for one in found if isinstance(one, str))
